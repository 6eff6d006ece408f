//! What caller and called say to each other while it still rings: early media, UPDATE, PRACK.

use super::Call;
use super::caller::Caller;
use super::fork::Target;
use super::leg::Leg;
use super::media::read_body;
use super::ringing::Ringing;
use crate::core::Core;
use cheling_model::directory::EarlyMedia;
use cheling_sip::dialog::scheme_of_answer;
use cheling_sip::sdp::{CONTENT_TYPE, Sdp};
use cheling_sip::{Flow, Name, Request, ServerId};

impl Call {
    /// Has the caller hear what whoever is rung now plays before the answer, or not.
    pub(super) fn let_through(&mut self, core: &mut Core, caller: &Caller, targets: &[Target]) {
        let passes = |target: &Target| {
            core.manners(&target.side).is_none_or(|m| m.early_media == EarlyMedia::Pass)
        };
        let is_heard = targets.iter().all(passes);
        let lane = self.caller_lane;
        let (Some(media), Some(theirs)) = (self.media.as_mut(), caller.offer()) else { return };
        let changes = if is_heard { media.point(lane, theirs) } else { media.mute(lane) };
        self.changed(core, changes);
    }

    /// The caller offers anew before the call is answered (RFC 3311 §5.2, RFC 3262 §5): it is
    /// answered by us, since the relay stands between, with what is left of the first answer. The
    /// callee is told when it has answered. The answer's body comes back.
    ///
    /// # Errors
    /// The status to refuse it with.
    fn early_offer(
        &mut self,
        core: &mut Core,
        ringing: &mut Ringing,
        request: &Request,
    ) -> Result<Sdp, u16> {
        let lane = self.caller_lane;
        let Caller::Invited(invited) = &mut ringing.caller else { return Err(491) };
        // The first offer must have had its answer, and that must have arrived.
        let is_first_over = ringing.early.is_some() || invited.has_offered_anew;
        let is_answered = is_first_over && invited.has_had_answer();
        let offer = match read_body(&request.headers, &request.body) {
            Ok(Some(offer)) if is_answered => offer,
            Ok(_) => return Err(491),
            Err(err) => return Err(err.status()),
        };
        let media = self.media.as_mut().ok_or(500_u16)?;
        media.check(lane, &offer).map_err(|_| 488_u16)?;
        let answer = media.early_answer(lane, &offer).ok_or(488_u16)?;
        let change = media.point(lane, &offer);
        invited.offer = Some(offer);
        invited.has_offered_anew = true;
        self.changed(core, change);
        Ok(answer)
    }

    /// The caller answers the offer that we made before anybody rang: from now on it is as if the
    /// answer had been its offer.
    ///
    /// # Errors
    /// The status to refuse it with.
    fn early_answer(
        &mut self,
        core: &mut Core,
        ringing: &mut Ringing,
        request: &Request,
    ) -> Result<Option<Sdp>, u16> {
        let lane = self.caller_lane;
        let Caller::Invited(invited) = &mut ringing.caller else { return Err(481) };
        let answer = read_body(&request.headers, &request.body).map_err(|err| err.status())?;
        let answer = answer.filter(Sdp::has_audio).ok_or(488_u16)?;
        let media = self.media.as_mut().ok_or(500_u16)?;
        media.check(lane, &answer).map_err(|_| 488_u16)?;
        let changes = media.says(lane, answer.clone());
        invited.offer = Some(answer);
        invited.has_offered_anew = true;
        self.changed(core, changes);
        Ok(None)
    }

    /// An UPDATE of the caller with an offer before the answer.
    pub(super) fn early_update(
        &mut self,
        core: &mut Core,
        ringing: &mut Ringing,
        server: ServerId,
        request: &Request,
    ) {
        let Caller::Invited(invited) = &ringing.caller else {
            return core.refuse(server, request, 491);
        };
        let to = request.headers.to();
        if to.as_ref().and_then(|to| to.tag()) != Some(invited.tag.as_str()) {
            return core.refuse(server, request, 491);
        }
        let contact = core.contact(invited.flow, scheme_of_answer(&invited.request));
        let answer = match self.early_offer(core, ringing, request) {
            Ok(answer) => answer,
            Err(status) => return core.refuse(server, request, status),
        };
        self.caller_changed(core, request);
        core.refuse_with(server, request, 200, |response| {
            response.headers.push(Name::Contact, contact);
            response.set_body(CONTENT_TYPE, answer.to_bytes());
        });
    }

    /// A PRACK of the caller, with an offer perhaps (RFC 3262 §5).
    pub(super) fn early_prack(
        &mut self,
        core: &mut Core,
        ringing: &mut Ringing,
        server: ServerId,
        request: &Request,
    ) {
        let next = match ringing.caller.acknowledged(core, request) {
            Ok(next) => next,
            Err(status) => return core.refuse(server, request, status),
        };
        let answer = match request.body.is_empty() {
            _ if ringing.awaits.is_some() => self.early_answer(core, ringing, request),
            true => Ok(None),
            false => self.early_offer(core, ringing, request).map(Some),
        };
        match answer {
            Ok(answer) => core.refuse_with(server, request, 200, |response| {
                if let Some(answer) = answer {
                    response.set_body(CONTENT_TYPE, answer.to_bytes());
                }
            }),
            Err(status) => core.refuse(server, request, status),
        }
        if let (Caller::Invited(invited), Some(next)) = (&ringing.caller, next) {
            core.respond(invited.server, next);
        }
    }
}

/// The agent who has been fetched shows that he is still there while the other side rings.
pub(super) fn sign_of_life(
    core: &mut Core,
    leg: &mut Leg,
    server: ServerId,
    flow: Flow,
    request: &Request,
) {
    if let Err(err) = leg.receive(request, flow) {
        return core.refuse(server, request, err.status());
    }
    let terms = leg.accept_timer(core, request);
    core.refuse_with(server, request, 200, |response| {
        if let Some(terms) = terms {
            terms.put_into(response);
        }
    });
}
