//! Offers within the talk: one side asks, the other is asked, and both hold to what they agreed.
//!
//! One offer is under way at a time; a second one is refused as RFC 3261 §14.2 says.

use super::exchange::{Asked, Exchange, Step};
use super::leg::Leg;
use super::media::read_body;
use super::talk::Talk;
use super::{Call, Ending};
use crate::core::{ALLOW, Core, SUPPORTED};
use cheling_model::{EndCause, Lane};
use cheling_sip::sdp::{CONTENT_TYPE, Direction, Sdp};
use cheling_sip::session_timer::{self, Judgement, judge};
use cheling_sip::{Method, Name, Request, Response, ServerId};
use std::time::Duration;

/// How long the other side may think about a re-INVITE before we give it up.
const EXCHANGE_PATIENCE: Duration = Duration::from_secs(60);

impl Call {
    /// The exchange under way has taken long enough, or may go on.
    pub(super) fn exchange_due(&mut self, core: &mut Core, talk: &mut Talk) {
        let now = core.now.monotonic;
        let is_due = |exchange: &mut Exchange| exchange.until().is_some_and(|at| at <= now);
        let Some(mut exchange) = talk.exchange.take_if(is_due) else { return };
        match exchange.step {
            Step::Again { step, .. } => {
                exchange.step = *step;
                self.ask_again(core, talk, exchange);
            }
            Step::Asked(ref mut asked) => {
                core.cancel(asked.client, None);
                asked.until = now + EXCHANGE_PATIENCE;
                talk.exchange = Some(exchange);
            }
            _ => talk.exchange = Some(exchange),
        }
    }

    /// Makes an offer of an exchange again: with a longer session interval, or after glare.
    pub(super) fn ask_again(&mut self, core: &mut Core, talk: &mut Talk, mut exchange: Exchange) {
        let to = exchange.from.other();
        let sent = |lane: Lane| self.media.as_ref().and_then(|media| media.sent(lane)).cloned();
        let (lane, method, offer) = match &exchange.step {
            Step::Asked(asked) => {
                let offer = asked.offer.as_ref().and_then(|_| sent(to));
                (to, talk.leg(to).session.way_for(&asked.request.method), offer)
            }
            Step::Adopting { offer, .. } => {
                (exchange.from, Method::Invite, Some(offer.as_ref().clone()))
            }
            _ => (to, Method::Invite, sent(to)),
        };
        let leg = talk.leg(lane);
        let again = leg.request(core, self.id, &mut self.entries, method, |request| {
            if let Some(offer) = &offer {
                request.set_body(CONTENT_TYPE, offer.to_bytes());
            }
        });
        let Some(again) = again else { return exchange.refuse(core, 503) };
        match &mut exchange.step {
            Step::Asked(asked) => asked.client = again,
            Step::Ours { client, .. }
            | Step::Adopting { client, .. }
            | Step::Refreshing { client } => *client = again,
            Step::WaitsForAnswer { .. }
            | Step::Taking { .. }
            | Step::BothLate(_)
            | Step::WaitsForAck
            | Step::Again { .. } => {}
        }
        talk.exchange = Some(exchange);
    }

    /// A re-INVITE or UPDATE: passed on, unless it changes nothing or comes at a bad time.
    pub(super) fn ask(
        &mut self,
        core: &mut Core,
        talk: &mut Talk,
        from: Lane,
        server: ServerId,
        request: Request,
    ) {
        if from == self.caller_lane {
            self.caller_changed(core, &request);
        }
        if let Judgement::TooSmall { min_se_s } = judge(&core.settings.session_timer, &request) {
            return core.respond(server, session_timer::refuse(&request, min_se_s, None));
        }
        if let Some(exchange) = &talk.exchange {
            // RFC 3261 §14.2: our own offer is under way to this side, or its own was first.
            let is_glare = exchange.from != from;
            if is_glare {
                core.refuse(server, &request, 491);
            } else {
                core.refuse_with(server, &request, 500, |response| {
                    response.headers.push(Name::RetryAfter, 2);
                });
            }
            return;
        }
        let offer = match read_body(&request.headers, &request.body) {
            Ok(offer) => offer,
            Err(err) => return core.refuse(server, &request, err.status()),
        };
        if offer.as_ref().is_some_and(|offer| !offer.has_audio()) {
            return core.refuse(server, &request, 488);
        }
        let Some(media) = self.media.as_mut() else {
            return core.refuse(server, &request, 500);
        };
        if let Some(Err(err)) = offer.as_ref().map(|offer| media.check(from, offer)) {
            tracing::warn!(call_id = %self.id, %err, "offer refused");
            return core.refuse(server, &request, 488);
        }
        let is_refresh = match (&offer, media.agreed(from)) {
            // An UPDATE without an offer keeps a session timer alive (RFC 4028).
            (None, _) => request.method == Method::Update,
            (Some(offer), agreed) => agreed == Some(offer),
        };
        if is_refresh {
            let sent = offer.as_ref().and_then(|_| media.sent(from)).cloned();
            let is_invite = request.method == Method::Invite;
            self.accept(core, &mut talk.legs[from.index()], server, &request, sent.as_ref());
            if is_invite {
                talk.exchange = Some(Exchange::new(from, &request, Step::WaitsForAck));
            }
            return;
        }
        let to = from.other();
        let told_before = media.sent(to).cloned();
        // Who is held hears something of ours, whatever the phone that holds would send.
        let is_silent = offer.as_ref().is_some_and(is_silent) && self.fills_hold_of[from.index()];
        let passed = offer.as_ref().map(|offer| match is_silent {
            true => {
                let mut theirs = offer.clone();
                theirs.set_direction(Direction::SendOnly);
                media.pass_offer(to, &theirs)
            }
            false => media.pass_offer(to, offer),
        });
        let method = talk.leg(to).session.way_for(&request.method);
        let client =
            talk.legs[to.index()].request(core, self.id, &mut self.entries, method, |request| {
                if let Some(passed) = &passed {
                    request.set_body(CONTENT_TYPE, passed.to_bytes());
                }
            });
        let Some(client) = client else {
            return core.refuse(server, &request, 503);
        };
        core.bind_server(self.id, &mut self.entries, server);
        if request.method == Method::Invite {
            core.respond(server, Response::to(&request, 100, "", None));
        }
        let until = core.now.monotonic + EXCHANGE_PATIENCE;
        let asked = Asked { server, request: request.clone(), client, offer, told_before, until };
        talk.exchange = Some(Exchange::new(from, &request, Step::Asked(Box::new(asked))));
    }

    /// Says 200 to a re-INVITE or UPDATE.
    pub(super) fn accept(
        &mut self,
        core: &mut Core,
        leg: &mut Leg,
        server: ServerId,
        request: &Request,
        sdp: Option<&Sdp>,
    ) {
        if request.method == Method::Invite {
            core.bind_server(self.id, &mut self.entries, server);
        }
        let mut response = Response::to(request, 200, "", None);
        response.headers.push(Name::Contact, leg.contact(core));
        response.headers.push(Name::Allow, ALLOW);
        response.headers.push(Name::Supported, SUPPORTED);
        if let Some(terms) = leg.accept_timer(core, request) {
            terms.put_into(&mut response);
        }
        if let Some(sdp) = sdp {
            response.set_body(CONTENT_TYPE, sdp.to_bytes());
        }
        core.respond(server, response);
    }

    /// An offer is made again where its refusal says how: later, where it met one of theirs, and
    /// with the session interval that they insist on. What is not put off comes back.
    pub(super) fn put_off(
        &mut self,
        core: &mut Core,
        talk: &mut Talk,
        mut exchange: Exchange,
        response: &Response,
    ) -> Option<Exchange> {
        if matches!(exchange.step, Step::Refreshing { .. }) {
            return Some(exchange);
        }
        let Some(lane) = exchange.asks() else { return Some(exchange) };
        let leg = talk.leg(lane);
        let is_own = !matches!(exchange.step, Step::Asked(_));
        if response.status == 422 && leg.session.insist(response) {
            self.ask_again(core, talk, exchange);
            return None;
        }
        if response.status == 491 && is_own {
            let at = core.now.monotonic + leg.glare_wait(core);
            exchange.step = Step::Again { at, step: Box::new(exchange.step) };
            talk.exchange = Some(exchange);
            return None;
        }
        Some(exchange)
    }

    /// The other side took the offer, or made one where none came.
    pub(super) fn agreed(
        &mut self,
        core: &mut Core,
        talk: &mut Talk,
        from: Lane,
        asked: Asked,
        response: &Response,
    ) -> Option<Ending> {
        let Asked { server, request, client, offer, .. } = asked;
        let is_invite = request.method == Method::Invite;
        let to = from.other();
        talk.leg(to).renewed(core.now.monotonic, client, response);
        let sdp = read_body(&response.headers, &response.body).ok().flatten();
        let sdp = sdp.filter(|sdp| sdp.has_audio() || offer.is_some());
        let (Some(sdp), Some(media)) = (sdp, self.media.as_mut()) else {
            // An answer that says nothing: both go on as they were.
            talk.leg(to).ack(core, None);
            core.refuse(server, &request, 488);
            return None;
        };
        let (passed, step) = match &offer {
            Some(offer) => {
                let mut sdp = sdp;
                if is_silent(offer) {
                    // Nothing else answers it (RFC 3264 §6.1).
                    sdp.set_direction(Direction::Inactive);
                }
                let changes = media.agree(from, offer, &sdp);
                let passed = media.pass_answer(from, &sdp);
                self.changed(core, changes);
                self.resumed_by_phone(core);
                talk.leg(to).ack(core, None);
                (passed, Step::WaitsForAck)
            }
            None => {
                let passed = media.pass_offer(from, &sdp);
                (passed, Step::WaitsForAnswer { offer: Box::new(sdp) })
            }
        };
        self.accept(core, talk.leg(from), server, &request, Some(&passed));
        if is_invite {
            talk.exchange = Some(Exchange::new(from, &request, step));
        }
        None
    }

    /// The other side refused: both go on as they were, unless its dialog is gone.
    pub(super) fn disagreed(
        &mut self,
        core: &mut Core,
        from: Lane,
        asked: Asked,
        response: &Response,
    ) -> Option<Ending> {
        if let Some(media) = self.media.as_mut() {
            media.take_back(from.other(), asked.told_before);
        }
        let status = match response.status {
            401 | 407 | 300..=399 => 488,
            status => status,
        };
        core.refuse_with(asked.server, &asked.request, status, |refusal| {
            for name in [Name::RetryAfter, Name::Warning, Name::Reason] {
                refusal.headers.copy_from(&response.headers, name);
            }
        });
        // RFC 3261 §12.2.1.2: these two end the dialog, not only the transaction.
        let is_gone = matches!(response.status, 408 | 481);
        is_gone.then_some(Ending { cause: EndCause::Failed, by: None, status: Some(status) })
    }
}

/// Whether an offer stops media both ways: how some phones hold.
fn is_silent(offer: &Sdp) -> bool {
    offer.audio().is_some_and(|line| line.direction == Direction::Inactive)
}
