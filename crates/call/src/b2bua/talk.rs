//! Both sides are connected: what one says within its dialog goes to the other, and BYE from either
//! ends both. Offers within the talk are in `offers`.

use std::time::{Duration, Instant};

use cheling_model::{EndCause, Lane};
use cheling_sip::sdp::{CONTENT_TYPE, Direction};
use cheling_sip::{ClientId, Flow, Method, Name, Request, Response, ServerId};

use super::exchange::{Exchange, Step};
use super::fork::{ANSWERED_ELSEWHERE, ENDED_BY_US, Fork, SHUTDOWN};
use super::leg::{Leg, Side};
use super::media::read_body;
use super::pause::info_digit;
use super::referral::Referral;
use super::session::EXPIRED;
use super::transfer::Transfer;
use super::{Call, Ending, Event, State};
use crate::core::Core;
use crate::occupancy::Hold;

/// How often both sides are asked whether they are still there.
pub(super) const KEEP_ALIVE: Duration = Duration::from_secs(300);
/// What a side hears when the other is not there any more.
const GONE: &str = "SIP;cause=408;text=\"The other side is gone\"";
/// What both sides hear when whoever has taken a place says nothing of its media.
const NO_ANSWER_TO_OURS: &str = "SIP;cause=488;text=\"No answer to the offer\"";
/// Requests that are merely passed on, on their way at once; more are refused.
const MAX_RELAYED: usize = 16;

/// Two connected sides.
#[derive(Debug)]
pub(crate) struct Talk {
    /// By lane.
    pub(super) legs: [Leg; 2],
    pub(super) exchange: Option<Exchange>,
    pub(super) relayed: Vec<Relayed>,
    /// INVITEs given up whose last answer is still to come.
    pub(super) forks: Vec<Fork>,
    /// The one that was answered: a proxy beyond may have more than one phone answer it.
    pub(super) winner: Option<Fork>,
    /// One side is handing the call on.
    pub(super) transfer: Option<Box<Transfer>>,
    /// Whether there has been a REFER: others need an id in their NOTIFYs.
    pub(super) has_referred: bool,
    /// REFERs of the telephone system that a phone follows.
    pub(super) referrals: Vec<Referral>,
    /// A side that has hung up while it handed on, or left its place to a guest.
    pub(super) gone: Option<Lane>,
    /// OPTIONS whose answer says that a side is still there.
    pub(super) asked_alive: Vec<ClientId>,
    /// When to ask next.
    ask_alive_at: Instant,
    /// What the side that holds by an order is to be told when the other knows.
    pub(super) turn: Option<(Lane, Direction)>,
}

/// A request that was merely passed on (INFO, MESSAGE, REFER, NOTIFY) and waits for the other side's
/// answer.
#[derive(Debug)]
pub(super) struct Relayed {
    pub(super) client: ClientId,
    pub(super) server: ServerId,
    pub(super) request: Request,
}

fn gone(ending: Ending) -> Option<&'static str> {
    (ending.cause == EndCause::Failed).then_some(GONE)
}

impl Talk {
    pub(super) fn new(
        legs: [Leg; 2],
        exchange: Option<Exchange>,
        forks: Vec<Fork>,
        winner: Option<Fork>,
        now: Instant,
    ) -> Self {
        let forks = forks.into_iter().filter(Fork::is_pending).collect();
        Self {
            legs,
            exchange,
            relayed: Vec::new(),
            forks,
            winner,
            transfer: None,
            has_referred: false,
            referrals: Vec::new(),
            gone: None,
            asked_alive: Vec::new(),
            ask_alive_at: now + KEEP_ALIVE,
            turn: None,
        }
    }

    /// When to be woken.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        let transfer = self.transfer.as_ref().map(|transfer| transfer.until());
        let exchange = self.exchange.as_ref().and_then(Exchange::until);
        let sessions = self.legs.iter().filter_map(|leg| leg.session.next_timeout());
        sessions.chain(transfer).chain(exchange).chain([self.ask_alive_at]).min()
    }

    /// The phones and trunks in use.
    pub(super) fn sides(&self) -> impl Iterator<Item = (&Side, Hold)> {
        let legs = self.legs.iter().map(|leg| (&leg.side, Hold::Talking));
        let rung = self.transfer.iter().flat_map(|transfer| transfer.sides());
        legs.chain(rung)
    }

    /// Whether this extension talks.
    pub(super) fn holds(&self, extension: &str) -> bool {
        self.legs.iter().any(|leg| leg.side.extension() == Some(extension))
    }

    pub(super) fn leg(&mut self, lane: Lane) -> &mut Leg {
        &mut self.legs[lane.index()]
    }

    /// A re-INVITE whose answer nobody waits for any more is acknowledged like any other, or the
    /// side that gave it would hang up (RFC 3261 §13.3.1.4).
    fn acknowledge(&mut self, core: &mut Core, client: ClientId, response: &Response) {
        let is_invite = response.headers.cseq().is_some_and(|it| it.method == Method::Invite);
        let leg = self.legs.iter_mut().find(|leg| leg.is_from_there(response));
        if let Some(leg) = leg.filter(|_| is_invite && response.is_success()) {
            leg.renewed(core.now.monotonic, client, response);
            leg.ack(core, None);
        }
    }

    pub(super) fn lane_of(&self, request: &Request) -> Option<Lane> {
        let to = request.headers.to()?;
        Lane::BOTH.into_iter().find(|lane| to.tag() == Some(self.legs[lane.index()].tag()))
    }
}

impl Call {
    pub(super) fn talking(
        &mut self,
        core: &mut Core,
        mut talk: Box<Talk>,
        event: Event<'_>,
    ) -> State {
        match event {
            Event::Request { server, flow, request } => {
                return self.within(core, talk, server, flow, *request);
            }
            Event::Response(client, response) => {
                if let Some(ending) = self.response(core, &mut talk, client, response) {
                    return self.part(core, talk, ending, None, gone(ending));
                }
            }
            Event::NoResponse(client, status) => {
                if let Some(ending) = self.no_response(core, &mut talk, client, status) {
                    return self.part(core, talk, ending, None, gone(ending));
                }
            }
            Event::Ack(request) => {
                if let Some(ending) = self.acknowledged(core, &mut talk, request) {
                    return self.part(core, talk, ending, None, Some(NO_ANSWER_TO_OURS));
                }
            }
            Event::Cancelled(server) => {
                // The other side decides: its answer, 487 or a 2xx that crossed, goes back.
                if let Some(Exchange { step: Step::Asked(asked), .. }) = &talk.exchange
                    && asked.server == server
                {
                    core.cancel(asked.client, None);
                }
            }
            // Who has left acknowledges nothing, and somebody else is about to take the place.
            Event::NotAcknowledged if talk.gone.is_some() => {}
            Event::NotAcknowledged => {
                // RFC 3261 §13.3.1.4: whoever does not acknowledge is not there.
                tracing::warn!(call_id = %self.id, "2xx was never acknowledged");
                let ending = Ending { cause: EndCause::Failed, by: None, status: None };
                return self.part(core, talk, ending, None, None);
            }
            Event::Timeout => {
                if let Some(ending) = self.transfer_timeout(core, &mut talk).flatten() {
                    return self.part(core, talk, ending, None, None);
                }
                if let Some(ending) = self.sessions_due(core, &mut talk) {
                    return self.part(core, talk, ending, None, Some(EXPIRED));
                }
                self.exchange_due(core, &mut talk);
                self.ask_alive(core, &mut talk);
            }
            Event::HangUp => {
                let ending = Ending { cause: EndCause::HungUp, by: None, status: None };
                return self.part(core, talk, ending, None, Some(ENDED_BY_US));
            }
            Event::Shutdown => {
                let ending = Ending { cause: EndCause::Shutdown, by: None, status: None };
                return self.part(core, talk, ending, None, Some(SHUTDOWN));
            }
            Event::RelayOpened(_)
            | Event::RelayFailed
            | Event::RelayClosed { .. }
            | Event::PauseRecording(_)
            | Event::RecordingPaused { .. }
            | Event::Digit(_)
            | Event::GuestOpened { .. }
            | Event::FlowClosed { .. }
            | Event::Renumbered { .. }
            | Event::Returned { .. } => {}
        }
        State::Talking(talk)
    }

    /// Asks the sides without a session timer whether they are still there: a phone without power
    /// says no BYE.
    fn ask_alive(&mut self, core: &mut Core, talk: &mut Talk) {
        if talk.ask_alive_at > core.now.monotonic {
            return;
        }
        talk.ask_alive_at = core.now.monotonic + KEEP_ALIVE;
        for leg in talk.legs.iter_mut().filter(|leg| !leg.session.is_timed()) {
            let client = leg.request(core, self.id, &mut self.entries, Method::Options, |_| {});
            talk.asked_alive.extend(client);
        }
    }

    /// Hangs up both sides but the one that hung up itself.
    pub(super) fn part(
        &mut self,
        core: &mut Core,
        talk: Box<Talk>,
        ending: Ending,
        gone: Option<Lane>,
        reason: Option<&str>,
    ) -> State {
        let Talk { legs, exchange, relayed, mut forks, transfer, gone: left, .. } = *talk;
        let left = left.or_else(|| transfer.as_ref()?.gone());
        if let Some(transfer) = transfer {
            forks.extend(self.end_transfer(core, *transfer));
        }
        for (lane, leg) in Lane::BOTH.into_iter().zip(legs) {
            if gone == Some(lane) || left == Some(lane) {
                continue;
            }
            if let Some(mut leg) = self.give_back(core, lane, gone, leg) {
                leg.bye(core, self.id, &mut self.entries, reason);
            }
        }
        if let Some(Exchange { step: Step::Asked(asked), .. }) = exchange {
            core.refuse(asked.server, &asked.request, 487);
        }
        for Relayed { server, request, .. } in relayed {
            core.refuse(server, &request, 481);
        }
        self.end(core, ending, forks)
    }

    /// A request within one of the two dialogs.
    pub(super) fn within(
        &mut self,
        core: &mut Core,
        mut talk: Box<Talk>,
        server: ServerId,
        flow: Flow,
        request: Request,
    ) -> State {
        let Some(from) = talk.lane_of(&request) else {
            core.refuse(server, &request, 481);
            return State::Talking(talk);
        };
        if let Err(err) = talk.leg(from).receive(&request, flow) {
            core.refuse(server, &request, err.status());
            return State::Talking(talk);
        }
        match request.method {
            Method::Bye => {
                core.refuse(server, &request, 200);
                if self.referrer_left(&mut talk, from) {
                    return State::Talking(talk);
                }
                if self.leaves(core, &mut talk, from) {
                    return self.filled(core, talk);
                }
                let ending = Ending { cause: EndCause::HungUp, by: Some(from), status: None };
                let reason = request.headers.get(Name::Reason).map(|reason| reason.into_owned());
                return self.part(core, talk, ending, Some(from), reason.as_deref());
            }
            Method::Invite | Method::Update if talk.gone.is_some() => {
                core.refuse(server, &request, 491);
            }
            Method::Invite | Method::Update => self.ask(core, &mut talk, from, server, request),
            Method::Refer if talk.legs[from.index()].side.extension().is_none() => {
                self.pass_refer(core, &mut talk, from, server, request);
            }
            Method::Refer => self.refer(core, &mut talk, from, server, &request),
            Method::Notify => self.pass_notify(core, &mut talk, from, server, request),
            Method::Info | Method::Message => {
                if from == self.caller_lane {
                    self.caller_changed(core, &request);
                }
                if from == Lane::Agent
                    && let Some(digit) = info_digit(&request)
                {
                    self.dialled_digit(core, digit);
                }
                let copy_package = |passed: &mut Request, request: &Request| {
                    passed.headers.copy_from(&request.headers, "Info-Package");
                };
                self.pass(core, &mut talk, from, (server, request), copy_package);
            }
            Method::Options => core.refuse_with(server, &request, 200, |response| {
                response.headers.push(Name::Accept, CONTENT_TYPE);
            }),
            // It crossed our 2xx.
            Method::Prack if from == self.caller_lane && request.headers.rack().is_some() => {
                core.refuse(server, &request, 200);
            }
            Method::Prack => core.refuse(server, &request, 481),
            _ => core.refuse(server, &request, 405),
        }
        State::Talking(talk)
    }

    /// An answer to a request of ours. What is returned ends the call.
    pub(super) fn response(
        &mut self,
        core: &mut Core,
        talk: &mut Talk,
        client: ClientId,
        response: &Response,
    ) -> Option<Ending> {
        if let Some(at) = talk.forks.iter().position(|fork| fork.client == client) {
            if !response.is_provisional() {
                let fork = talk.forks.swap_remove(at);
                if response.is_success() {
                    let reason = ANSWERED_ELSEWHERE;
                    fork.hang_up(core, self.id, &mut self.entries, response, reason);
                }
            }
            return None;
        }
        if let Some(ending) = self.transfer_response(core, talk, client, response) {
            return ending;
        }
        if response.is_provisional() {
            return None;
        }
        if let Some(winner) = talk.winner.as_ref().filter(|winner| winner.client == client)
            && response.is_success()
        {
            let is_known = talk.legs.iter().any(|leg| leg.is_from_there(response));
            if !is_known {
                let reason = ANSWERED_ELSEWHERE;
                winner.hang_up(core, self.id, &mut self.entries, response, reason);
            }
            return None;
        }
        talk.asked_alive.retain(|asked| *asked != client);
        if let Some(at) = talk.relayed.iter().position(|relayed| relayed.client == client) {
            let Relayed { server, request, .. } = talk.relayed.swap_remove(at);
            let mut passed = Response::to(&request, response.status, "", None);
            passed.headers.copy_from(&response.headers, Name::ContentType);
            if request.method == Method::Refer {
                passed.headers.copy_from(&response.headers, "Refer-Sub");
                if !response.is_success() {
                    Self::refer_refused(talk, &request);
                }
            }
            passed.body = response.body.clone();
            core.respond(server, passed);
            // It knows the dialog no more (RFC 5057 §5.1), while 408 is the request's own affair, and
            // whoever listens no more to how a transfer goes knows that alone no more.
            let is_gone = response.status == 481 && request.method != Method::Notify;
            let ending = Ending { cause: EndCause::Failed, by: None, status: Some(481) };
            return is_gone.then_some(ending);
        }
        if let Some(ending) = self.update_answered(core, talk, client, response) {
            return ending;
        }
        let Some(exchange) = talk.exchange.take_if(|exchange| exchange.is_for(client)) else {
            talk.acknowledge(core, client, response);
            return None;
        };
        let exchange = self.put_off(core, talk, exchange, response)?;
        match exchange {
            Exchange { from, step: Step::Asked(asked), .. } => {
                if response.is_success() {
                    self.agreed(core, talk, from, *asked, response)
                } else {
                    self.disagreed(core, from, *asked, response)
                }
            }
            Exchange { from, step: Step::Adopting { offer, .. }, .. } => {
                if response.is_success() {
                    talk.leg(from).renewed(core.now.monotonic, client, response);
                }
                self.adopted(core, talk, from, *offer, response)
            }
            Exchange { from, step: Step::Ours { sdp, .. }, .. } => {
                let mut answer = None;
                if response.is_success() {
                    let leg = talk.leg(from.other());
                    leg.renewed(core.now.monotonic, client, response);
                    leg.ack(core, None);
                    answer = read_body(&response.headers, &response.body).ok().flatten();
                } else {
                    // It goes on as it was: what it sends may still be understood.
                    tracing::warn!(call_id = %self.id, status = response.status,
                        "the side that stays refused the new description");
                }
                self.joined(core, from, &sdp, answer);
                self.turn(core, talk);
                None
            }
            Exchange { from, step: Step::Refreshing { .. }, .. } => {
                self.refreshed(core, talk, from.other(), client, response)
            }
            _ => None,
        }
    }

    /// A request of ours had no answer at all.
    pub(super) fn no_response(
        &mut self,
        core: &mut Core,
        talk: &mut Talk,
        client: ClientId,
        status: u16,
    ) -> Option<Ending> {
        talk.forks.retain(|fork| fork.client != client);
        if let Some(ending) = self.transfer_no_response(core, talk, client, status) {
            return ending;
        }
        if let Some(at) = talk.relayed.iter().position(|relayed| relayed.client == client) {
            let Relayed { server, request, .. } = talk.relayed.swap_remove(at);
            core.refuse(server, &request, status);
            core.forget_client(&mut self.entries, client);
            return None;
        }
        let exchange = talk.exchange.take_if(|exchange| exchange.is_for(client));
        let refreshed = match &exchange {
            Some(Exchange { from, step: Step::Refreshing { .. }, .. }) => Some(from.other()),
            _ => talk.lane_refreshing(client),
        };
        if let Some(lane) = refreshed {
            talk.refresh_later(lane, core.now.monotonic);
        }
        if exchange.is_none() && refreshed.is_none() && !talk.asked_alive.contains(&client) {
            return None;
        }
        if let Some(exchange) = exchange {
            exchange.refuse(core, status);
        }
        talk.asked_alive.retain(|asked| *asked != client);
        if talk.legs.iter().any(|leg| leg.is_lost(core.now.monotonic)) {
            return None;
        }
        tracing::warn!(call_id = %self.id, "the other side is gone");
        Some(Ending { cause: EndCause::Failed, by: None, status: Some(status) })
    }

    /// The ACK to a 2xx of ours, with the answer in it if the 2xx had the offer. What is returned
    /// ends the call.
    pub(super) fn acknowledged(
        &mut self,
        core: &mut Core,
        talk: &mut Talk,
        ack: &Request,
    ) -> Option<Ending> {
        let from = talk.lane_of(ack)?;
        if let Some(ending) = self.both_late_acknowledged(core, talk, from, ack) {
            return ending;
        }
        let cseq = ack.headers.cseq().map_or(0, |cseq| cseq.number);
        let exchange = talk.exchange.take_if(|exchange| {
            let is_meant = exchange.from == from && exchange.cseq == cseq;
            let is_waited_for = matches!(
                exchange.step,
                Step::WaitsForAnswer { .. } | Step::Taking { .. } | Step::WaitsForAck
            );
            is_meant && is_waited_for
        })?;
        let answer = read_body(&ack.headers, &ack.body).ok().flatten();
        let offer = match exchange.step {
            Step::WaitsForAnswer { offer } => offer,
            Step::Taking { offer } => return self.taken_over(core, talk, from, *offer, answer),
            _ => return None,
        };
        let to = from.other();
        let passed = match (self.media.as_mut(), answer) {
            (Some(media), Some(answer)) => {
                let changes = media.agree(to, &offer, &answer);
                let passed = media.pass_answer(to, &answer);
                self.changed(core, changes);
                Some(passed)
            }
            // An ACK that should have had an answer: say again what held before.
            (Some(media), None) => media.sent(to).cloned(),
            (None, _) => None,
        };
        talk.leg(to).ack(core, passed.as_ref());
        None
    }

    /// Passes a request on with its body, and what `fill` takes from it; false if it was refused.
    pub(super) fn pass(
        &mut self,
        core: &mut Core,
        talk: &mut Talk,
        from: Lane,
        (server, request): (ServerId, Request),
        fill: impl FnOnce(&mut Request, &Request),
    ) -> bool {
        if talk.relayed.len() >= MAX_RELAYED {
            core.refuse(server, &request, 503);
            return false;
        }
        let to = &mut talk.legs[from.other().index()];
        let method = request.method.clone();
        let client = to.request(core, self.id, &mut self.entries, method, |passed| {
            for name in [Name::ContentType, Name::ContentDisposition, Name::ContentEncoding] {
                passed.headers.copy_from(&request.headers, name);
            }
            fill(passed, &request);
            passed.body = request.body.clone();
        });
        let Some(client) = client else {
            core.refuse(server, &request, 503);
            return false;
        };
        talk.relayed.push(Relayed { client, server, request });
        true
    }
}
