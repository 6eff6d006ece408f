//! A REFER of the telephone system that we stand before (FreeSWITCH `deflect`, Asterisk
//! `Transfer()`): it passes to the phone, which makes the new call itself, by us, and whose NOTIFYs
//! go back (RFC 3515 §2.4).
//!
//! Only in that way of standing: there phones are the telephone system's own, and what they dial it
//! decides. What any other trunk asks for is refused, or whoever calls in could have our phones, and
//! us, call out at our cost.

use cheling_model::Lane;
use cheling_sip::refer::PACKAGE;
use cheling_sip::{Method, Name, Request, ServerId};

use super::Call;
use super::leg::Side;
use super::talk::Talk;
use crate::core::Core;
use crate::passage;

/// REFERs of one call whose NOTIFYs are awaited.
const MAX_REFERRALS: usize = 4;

/// A REFER that was passed on, by the numbers that name it on either side (RFC 3515 §2.4.6).
#[derive(Clone, Copy, Debug)]
pub(super) struct Referral {
    /// The CSeq number that it came with.
    came_as: u32,
    /// The CSeq number that it went on with.
    went_as: u32,
}

impl Call {
    /// A REFER within the call from a side that is no phone of ours.
    pub(super) fn pass_refer(
        &mut self,
        core: &mut Core,
        talk: &mut Talk,
        from: Lane,
        server: ServerId,
        request: Request,
    ) {
        let to = &talk.legs[from.other().index()];
        let is_before = matches!(to.side, Side::Phone { .. })
            && passage::is_with_pbx(core, &talk.legs[from.index()].side);
        if !is_before {
            return core.refuse(server, &request, 403);
        }
        if !to.session.takes_refer() {
            return core.refuse(server, &request, 405);
        }
        match request.headers.refer_to() {
            Ok(refer_to) if refer_to.method == Method::Invite => {}
            Ok(_) => return core.refuse(server, &request, 501),
            Err(err) => {
                tracing::warn!(call_id = %self.id, %err, "REFER refused");
                return core.refuse(server, &request, 400);
            }
        }
        let refer_to = passage::by_us(core, &request, to.flow());
        let contact = to.contact(core);
        let came_as = request.headers.cseq().map_or(0, |cseq| cseq.number);
        let is_passed = self.pass(core, talk, from, (server, request), |passed, request| {
            passed.headers.push(Name::Contact, contact);
            passed.headers.push(Name::ReferTo, refer_to);
            for name in ["Referred-By", "Refer-Sub", "Target-Dialog"] {
                passed.headers.copy_from(&request.headers, name);
            }
        });
        if is_passed {
            let went_as = talk.legs[from.other().index()].last_cseq();
            // The oldest has most likely come to its end unsaid.
            talk.referrals.truncate(MAX_REFERRALS - 1);
            talk.referrals.insert(0, Referral { came_as, went_as });
        }
    }

    /// A phone does not do what it was asked for.
    pub(super) fn refer_refused(talk: &mut Talk, refer: &Request) {
        let number = refer.headers.cseq().map(|cseq| cseq.number);
        talk.referrals.retain(|it| Some(it.came_as) != number);
    }

    /// A phone tells how it gets on with what it was asked for.
    pub(super) fn pass_notify(
        &mut self,
        core: &mut Core,
        talk: &mut Talk,
        from: Lane,
        server: ServerId,
        request: Request,
    ) {
        let event = request.headers.event().filter(|event| event.package == PACKAGE);
        // The first REFER need not be named.
        let meant = event.and_then(|event| match &event.id {
            Some(id) => talk.referrals.iter().position(|it| it.went_as.to_string() == *id),
            None => talk.referrals.len().checked_sub(1),
        });
        let Some((event, at)) = request.headers.event().zip(meant) else {
            return core.refuse(server, &request, 481);
        };
        let state = request.headers.get(Name::SubscriptionState).unwrap_or_default();
        let is_last = state.trim_start().to_ascii_lowercase().starts_with("terminated");
        let id = event.id.map(|_| talk.referrals[at].came_as.to_string());
        let contact = talk.legs[from.other().index()].contact(core);
        let is_passed = self.pass(core, talk, from, (server, request), |passed, request| {
            passed.headers.push(Name::Contact, contact);
            let id = id.map(|id| format!(";id={id}")).unwrap_or_default();
            passed.headers.push(Name::Event, format!("{PACKAGE}{id}"));
            passed.headers.copy_from(&request.headers, Name::SubscriptionState);
        });
        if is_last && is_passed {
            talk.referrals.remove(at);
        }
    }
}
