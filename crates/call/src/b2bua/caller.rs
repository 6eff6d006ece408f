//! Who waits for the answer: whoever sent us an INVITE, or an agent who has been fetched.

use std::time::Instant;

use cheling_sip::dialog::scheme_of_answer;
use cheling_sip::diversion::History;
use cheling_sip::reliable::{Prack, Uas, UasOutput, Wish};
use cheling_sip::sdp::{CONTENT_TYPE, Sdp};
use cheling_sip::transaction::Timers;
use cheling_sip::via::host_text;
use cheling_sip::{Flow, Method, Name, Request, Response, ServerId};

use super::leg::{Leg, Side};
use crate::core::{ALLOW, Core, RETRY_AFTER_S, SUPPORTED};
use crate::dialling::Refusal;

/// A caller whose INVITE has no final answer yet.
#[derive(Debug)]
pub(crate) struct Invited {
    /// The INVITE's transaction.
    pub(crate) server: ServerId,
    /// The INVITE.
    pub(crate) request: Request,
    /// The way it came.
    pub(crate) flow: Flow,
    /// Our tag towards the caller.
    pub(crate) tag: String,
    /// Who calls.
    pub(crate) side: Side,
    /// What the caller offers; `None` if the answer will bring the offer.
    pub(crate) offer: Option<Sdp>,
    /// Provisional responses that the caller acknowledges.
    pub(crate) reliable: Uas,
    /// Whether the caller has offered anew since, and been answered; or has answered an offer of
    /// ours. The 2xx says nothing of media then.
    pub(crate) has_offered_anew: bool,
}

impl Invited {
    /// What an INVITE's own reliable provisional responses begin with.
    pub(crate) fn reliable(core: &mut Core, invite: &Request) -> Uas {
        let cseq = invite.headers.cseq().map_or(0, |cseq| cseq.number);
        let [a, b, c, d] = core.random.bytes();
        Uas::new(cseq, u32::from_be_bytes([a, b, c, d]) >> 8, Timers::default())
    }

    /// Says how the call goes: reliably if the caller wants that, or can have it and there is a
    /// description to lose (RFC 3262 §3).
    pub(super) fn progress(&mut self, core: &mut Core, status: u16, sdp: Option<&Sdp>) {
        let response = self.response(core, status, sdp);
        let is_reliable = match Wish::of(&self.request) {
            Wish::Unsupported => false,
            Wish::Supported => sdp.is_some(),
            Wish::Required => true,
        };
        if !is_reliable {
            return core.respond(self.server, response);
        }
        match self.reliable.send(core.now.monotonic, response) {
            Ok(Some(response)) => core.respond(self.server, response),
            Ok(None) => {}
            Err(err) => tracing::debug!(from = %self.flow, %err, "provisional response left out"),
        }
    }

    /// Whether the caller makes no offer and wants one before the answer: all that is said before it
    /// is to be reliable, and the first reliable message brings the offer (RFC 3261 §13.2.1).
    pub(super) fn wants_offer(&self) -> bool {
        self.offer.is_none() && Wish::of(&self.request) == Wish::Required
    }

    /// Makes our offer in a reliable 183, which the PRACK is to answer (RFC 3262 §5).
    pub(super) fn make_offer(&mut self, core: &mut Core, offer: &Sdp) {
        let response = self.response(core, 183, Some(offer));
        // Nothing has been sent before it.
        if let Ok(Some(response)) = self.reliable.send(core.now.monotonic, response) {
            core.respond(self.server, response);
        }
    }

    /// Whether the caller is known to have a description of ours: it was sent reliably, and
    /// nothing of it still waits.
    pub(super) fn has_had_answer(&self) -> bool {
        Wish::of(&self.request) != Wish::Unsupported && self.reliable.may_accept()
    }

    /// Answers the INVITE: the call is taken. `None`, and no answer, if it makes no dialog.
    pub(super) fn answer(&self, core: &mut Core, sdp: Option<&Sdp>) -> Option<Leg> {
        let mut leg = Leg::caller(self.side.clone(), self.flow, &self.request, &self.tag)?;
        let mut response = self.response(core, 200, sdp);
        if let Some(terms) = leg.accept_timer(core, &self.request) {
            terms.put_into(&mut response);
        }
        core.respond(self.server, response);
        Some(leg)
    }

    fn response(&self, core: &Core, status: u16, sdp: Option<&Sdp>) -> Response {
        let mut response = Response::to(&self.request, status, "", Some(&self.tag));
        let contact = core.contact(self.flow, scheme_of_answer(&self.request));
        response.headers.push(Name::Contact, contact);
        if status >= 200 {
            response.headers.push(Name::Allow, ALLOW);
            response.headers.push(Name::Supported, SUPPORTED);
        }
        if let Some(sdp) = sdp {
            response.set_body(CONTENT_TYPE, sdp.to_bytes());
        }
        response
    }

    /// Passes on what whoever is called wants proved.
    pub(crate) fn challenge(&self, core: &mut Core, challenge: &Response) {
        let mut response = Response::to(&self.request, challenge.status, "", Some(&self.tag));
        for name in [Name::WwwAuthenticate, Name::ProxyAuthenticate] {
            response.headers.copy_from(&challenge.headers, name);
        }
        core.respond(self.server, response);
    }

    /// Refuses the INVITE.
    pub(crate) fn refuse(&self, core: &mut Core, status: u16, reason: Option<&str>) {
        let mut response = Response::to(&self.request, status, "", Some(&self.tag));
        if status == 503 {
            response.headers.push(Name::RetryAfter, RETRY_AFTER_S);
        }
        if let Some(reason) = reason {
            response.headers.push(Name::Reason, reason);
        }
        // Nobody was to be had by TLS (RFC 5630 §4).
        if status == 480 && self.request.uri.is_sips() {
            let agent = host_text(core.settings.advertised_to(self.flow.remote.ip()));
            response.headers.push(Name::Warning, format!("380 {agent} \"SIPS Not Allowed\""));
        }
        core.respond(self.server, response);
    }

    /// Refuses the INVITE, saying why in words that phones show and log (RFC 3326, RFC 3261
    /// §20.43).
    pub(crate) fn refuse_for(&self, core: &mut Core, refusal: Refusal) {
        let status = refusal.status();
        let mut response = Response::to(&self.request, status, "", Some(&self.tag));
        if status == 503 {
            response.headers.push(Name::RetryAfter, RETRY_AFTER_S);
        }
        let reason = format!("Q.850;cause={};text=\"{refusal}\"", refusal.q850());
        response.headers.push(Name::Reason, reason);
        let agent = host_text(core.settings.advertise);
        response.headers.push(Name::Warning, format!("399 {agent} \"{refusal}\""));
        core.respond(self.server, response);
    }
}

/// Who waits for the answer.
#[derive(Debug)]
pub(super) enum Caller {
    /// Whoever sent us an INVITE.
    Invited(Box<Invited>),
    /// The agent, who has answered already; and what his phone chose.
    Fetched { leg: Box<Leg>, chosen: Box<Sdp> },
}

impl Caller {
    /// The description that an answer answers.
    pub(super) fn offer(&self) -> Option<&Sdp> {
        match self {
            Self::Invited(invited) => invited.offer.as_ref(),
            Self::Fetched { chosen, .. } => Some(chosen),
        }
    }

    /// The INVITE that waits for its answer.
    pub(super) fn invite(&self) -> Option<&Request> {
        match self {
            Self::Invited(invited) => Some(&invited.request),
            Self::Fetched { .. } => None,
        }
    }

    /// Whether the caller has offered anew, and been answered.
    pub(super) fn has_offered_anew(&self) -> bool {
        matches!(self, Self::Invited(invited) if invited.has_offered_anew)
    }

    /// The way that the call has come; what a phone of ours says of that is not believed.
    pub(super) fn history(&self) -> History {
        match self {
            Self::Invited(invited) if invited.side.extension().is_none() => {
                History::of(&invited.request.headers)
            }
            Self::Invited(_) | Self::Fetched { .. } => History::default(),
        }
    }

    /// Whether a 2xx may go back now: not while a description waits for its PRACK (RFC 3262 §3).
    pub(super) fn may_accept(&self) -> bool {
        match self {
            Self::Invited(invited) => invited.reliable.may_accept(),
            Self::Fetched { .. } => true,
        }
    }

    /// When a provisional response is to be repeated, or a sign of life is due.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        match self {
            Self::Invited(invited) => invited.reliable.next_timeout(),
            Self::Fetched { leg, .. } => leg.session.next_timeout(),
        }
    }

    /// Whether it is an agent who has answered already.
    pub(super) fn is_fetched(&self) -> bool {
        matches!(self, Self::Fetched { .. })
    }

    /// Repeats a provisional response that is due; false if the caller has never acknowledged it.
    pub(super) fn repeat(&mut self, core: &mut Core) -> bool {
        let Self::Invited(invited) = self else { return true };
        match invited.reliable.handle_timeout(core.now.monotonic) {
            Some(UasOutput::Send(response)) => core.respond(invited.server, response),
            Some(UasOutput::GiveUp) => return false,
            None => {}
        }
        true
    }

    /// Takes a PRACK: the response that has waited for it comes back.
    ///
    /// # Errors
    /// The status to refuse it with.
    pub(super) fn acknowledged(
        &mut self,
        core: &Core,
        prack: &Request,
    ) -> Result<Option<Response>, u16> {
        let to = prack.headers.to();
        let Self::Invited(invited) = self else { return Err(481) };
        if to.as_ref().and_then(|to| to.tag()) != Some(invited.tag.as_str()) {
            return Err(481);
        }
        match invited.reliable.acknowledge(core.now.monotonic, prack) {
            Prack::Acknowledged { next } => Ok(next),
            Prack::Unknown => Err(481),
            Prack::Malformed => Err(400),
        }
    }

    /// Who waits.
    pub(super) fn side(&self) -> &Side {
        match self {
            Self::Invited(invited) => &invited.side,
            Self::Fetched { leg, .. } => &leg.side,
        }
    }

    /// Whether a request within a dialog is the caller's.
    pub(super) fn receive(&mut self, request: &Request, flow: Flow) -> bool {
        match self {
            Self::Invited(invited) => {
                request.headers.to_tag().is_some_and(|tag| tag == invited.tag)
            }
            Self::Fetched { leg, .. } => leg.receive(request, flow).is_ok(),
        }
    }
}

/// Answers a request within a dialog of a call that is not answered yet.
pub(super) fn early_request(core: &mut Core, server: ServerId, request: &Request) {
    let status = match request.method {
        Method::Bye | Method::Options => 200,
        Method::Update if request.body.is_empty() => 200,
        // It may tell a number (`late_caller`), and asks for nothing (RFC 2976 §2.2).
        Method::Info if request.body.is_empty() => 200,
        // Offers would cross the one that is being answered (RFC 3261 §14.2, RFC 3311 §5.2).
        Method::Invite | Method::Update => 491,
        Method::Info | Method::Message => 480,
        Method::Prack => 481,
        _ => 405,
    };
    core.refuse(server, request, status);
}
