//! Who waits for the answer: whoever sent us an INVITE, or an agent who has been fetched.

use cheling_sip::sdp::{CONTENT_TYPE, Sdp};
use cheling_sip::{Flow, Method, Name, Request, Response, ServerId};

use super::leg::{Leg, Side};
use crate::core::{ALLOW, Core, RETRY_AFTER_S};

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
    /// Whether nobody has the number: 404 rather than 480.
    pub(crate) is_unknown_number: bool,
}

impl Invited {
    /// Answers the INVITE.
    pub(super) fn respond(&self, core: &mut Core, status: u16, sdp: Option<&Sdp>) {
        let mut response = Response::to(&self.request, status, "", Some(&self.tag));
        response.headers.push(Name::Contact, core.contact(self.flow.transport));
        if status >= 200 {
            response.headers.push(Name::Allow, ALLOW);
        }
        if let Some(sdp) = sdp {
            response.set_body(CONTENT_TYPE, sdp.to_bytes());
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

    /// Whether a request within a dialog is the caller's.
    pub(super) fn receive(&mut self, request: &Request, flow: Flow) -> bool {
        match self {
            Self::Invited(invited) => {
                request.headers.to().is_some_and(|to| to.tag() == Some(invited.tag.as_str()))
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
        // Offers would cross the one that is being answered (RFC 3261 §14.2, RFC 3311 §5.2).
        Method::Invite | Method::Update => 491,
        Method::Info | Method::Message => 480,
        Method::Prack => 481,
        _ => 405,
    };
    core.refuse(server, request, status);
}
