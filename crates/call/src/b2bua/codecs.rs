//! A side that refuses what it is offered is asked again: for all codecs that we can transcode, then
//! with or without SRTP.
//!
//! Every call is offered as it came first, so that packets pass untouched wherever they can. Only
//! who refuses that (488, 606) gets a second INVITE: with more codecs, if the other side speaks what
//! we can read and write, and after that in the other profile, if SRTP is optional there.

use cheling_model::Lane;
use cheling_sip::ClientId;
use cheling_sip::sdp::Sdp;

use super::Call;
use super::fork::Fork;
use crate::core::Core;

impl Call {
    /// Asks a phone or trunk again that has refused with `status`, now with more codecs or in
    /// another profile. `theirs` is what the other side speaks. False if nothing could be asked: then
    /// the refusal stands.
    pub(super) fn offer_more(
        &mut self,
        core: &mut Core,
        forks: &mut [Fork],
        client: ClientId,
        status: u16,
        lane: Lane,
        theirs: Option<&Sdp>,
    ) -> bool {
        if !matches!(status, 488 | 606) {
            return false;
        }
        let Some(fork) = forks.iter_mut().find(|fork| fork.client == client) else { return false };
        let (Some(offered), Some(theirs), Some(media)) =
            (fork.offer.as_ref(), theirs, self.media.as_ref())
        else {
            return false;
        };
        if let Some(offer) = media.broad_offer(lane, theirs, offered) {
            tracing::info!(call_id = %self.id, to = %fork.target.flow, "asked again with all codecs");
            return fork.offer_again(core, self.id, &mut self.entries, &offer);
        }
        let mut offer = offered.clone();
        offer.set_crypto("RTP/AVP", &[]);
        if !fork.protection.offer_otherwise() {
            return false;
        }
        tracing::info!(call_id = %self.id, to = %fork.target.flow, "asked again in another profile");
        fork.offer_again(core, self.id, &mut self.entries, &offer)
    }
}
