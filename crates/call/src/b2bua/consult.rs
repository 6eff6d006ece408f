//! A consultation by an order: the agent speaks with a third while the other side waits.
//!
//! It is what a phone does with two lines, without needing a second one: the waiting call puts its
//! other side on hold and lends the agent's dialog to a second call, which offers it another port of
//! ours by re-INVITE and rings whoever is to be asked. So the consultation is a call of its own, with
//! a recording of its own, and nothing of it comes near the customer's. Completed, whoever was asked
//! takes the agent's place in the waiting call; cancelled, refused or hung up, the dialog goes back;
//! joined, both come back and all three talk (`coming`).
//!
//! Who hangs up his phone while he consults hands the waiting side over, if the other has answered.

use std::time::Instant;

use cheling_model::call::TransferStage;
use cheling_model::{CallId, EndCause, Lane, TapKind};
use cheling_sip::sdp::{CONTENT_TYPE, Direction, Sdp};
use cheling_sip::{ClientId, Flow, Method, Request, Response, ServerId};

use super::caller::{Caller, early_request};
use super::exchange::Exchange;
use super::fork::{ENDED_BY_US, Fork, SHUTDOWN};
use super::leg::Leg;
use super::media::read_body;
use super::protection::Protection;
use super::ringing::Ringing;
use super::setup::Opening;
use super::talk::Talk;
use super::{Call, Ending, Event, Plan, State};
use crate::core::{ALLOW, Core};
use crate::hunt::{Fate, Hunt};

/// A dialog that goes from call to call, and how its media is protected.
pub(crate) type Given = (Leg, Protection);

/// One side waits while the other consults.
#[derive(Debug)]
pub(crate) struct Parked {
    /// The side that waits.
    waiting: Lane,
    leg: Leg,
    /// Our re-INVITE that puts it on hold, and what it stands for.
    pending: Option<(ClientId, Sdp)>,
    /// Who came while that had no answer.
    coming: Option<(Given, Option<String>)>,
    forks: Vec<Fork>,
    winner: Option<Fork>,
    /// The consultation.
    with: CallId,
}

/// The dialog that was lent is on its way to this call's ports.
#[derive(Debug)]
pub(crate) struct Moving {
    leg: Leg,
    client: ClientId,
    hunt: Box<Hunt>,
}

/// What a call tells another through the switch.
#[derive(Debug)]
pub(crate) enum Errand {
    /// The agent is back; or, by this number, somebody in his place.
    Come { to: CallId, leg: Box<Given>, instead: Option<String> },
    /// The agent has hung up and nobody is there in his place.
    Nobody { to: CallId },
    /// The waiting side is gone: this consultation is a call like any other.
    Alone { to: CallId },
}

impl Parked {
    pub(super) fn leg_mut(&mut self) -> &mut Leg {
        &mut self.leg
    }

    /// Whether the side that waits has not said yes to that.
    pub(super) fn is_pending(&self) -> bool {
        self.pending.is_some()
    }

    /// Whether somebody is on the way to the side that waits.
    pub(super) fn is_left(&self) -> bool {
        self.coming.is_some()
    }

    /// When to be woken.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        self.leg.session.next_timeout()
    }

    /// The side that waits.
    pub(super) fn waiting(&self) -> (Lane, &Leg) {
        (self.waiting, &self.leg)
    }

    /// Whether this extension waits.
    pub(super) fn holds(&self, extension: &str) -> bool {
        self.leg.side.extension() == Some(extension)
    }
}

impl Moving {
    pub(super) fn leg(&self) -> &Leg {
        &self.leg
    }

    pub(super) fn leg_mut(&mut self) -> &mut Leg {
        &mut self.leg
    }
}

impl Call {
    /// The side and phone that could consult now.
    pub(crate) fn may_consult(&self, extension: Option<&str>) -> Option<(Lane, String)> {
        let is_free = self.is_steady() && self.guests.voices().next().is_none();
        self.side_of(extension).filter(|_| is_free && self.consults_for.is_none())
    }

    /// The consultation that this call waits for.
    pub(crate) fn consultation(&self) -> Option<CallId> {
        match &self.state {
            State::Parked(parked) => Some(parked.with),
            _ => None,
        }
    }

    /// The call that waits for this consultation.
    pub(crate) fn consults_for(&self) -> Option<CallId> {
        self.consults_for
    }

    /// Ends this consultation, giving whoever was asked to the call that waits; `None` if nobody has
    /// answered yet.
    pub(crate) fn hand_over(&mut self, core: &mut Core) -> Option<(Given, String)> {
        if !self.is_steady() {
            return None;
        }
        self.consults_for = None;
        let leg = self.release(core, self.caller_lane)?;
        Some((leg, self.offer.called.clone()))
    }

    /// Puts the other side on hold and gives the agent's dialog away.
    pub(crate) fn lend(&mut self, core: &mut Core, by: Lane, with: CallId) -> Option<Given> {
        let mut theirs = self.media.as_ref()?.agreed(by)?.clone();
        theirs.set_direction(Direction::SendOnly);
        let state = std::mem::replace(&mut self.state, State::Over(Vec::new()));
        let State::Talking(talk) = state else {
            self.state = state;
            return None;
        };
        let Talk { legs: [customer, agent], forks, winner, .. } = *talk;
        let (lent, mut leg) = match by {
            Lane::Customer => (customer, agent),
            Lane::Agent => (agent, customer),
        };
        core.unbind_tag(&mut self.entries, lent.tag());
        let protection = self.media.as_ref().map(|media| media.protection(by).clone());
        let passed = self.media.as_mut().map(|media| media.pass_offer(by.other(), &theirs));
        let client = passed.and_then(|it| leg.reinvite(core, self.id, &mut self.entries, &it));
        let pending = client.map(|client| (client, theirs));
        let waiting = by.other();
        let parked = Parked { waiting, leg, pending, coming: None, forks, winner, with };
        self.state = State::Parked(Box::new(parked));
        self.holds_by_order = Some(by);
        core.tap(self.id, TapKind::Consulting { with: Some(with) });
        self.remix(core);
        self.wake_at = None;
        Some((lent, protection.unwrap_or_default()))
    }

    /// A consultation by the agent whose dialog was lent by the call `waits`.
    pub(crate) fn consulting(
        core: &mut Core,
        id: CallId,
        waits: CallId,
        (leg, protection): Given,
        plan: Plan,
    ) -> Self {
        let mut call = Self::new(id, &plan);
        call.consults_for = Some(waits);
        core.bind_tag(id, &mut call.entries, leg.tag());
        core.tap(id, TapKind::Offered(plan.offer.clone()));
        let hunt = Box::new(plan.hunt);
        let leg = Box::new((leg, protection));
        call.open(core, Opening::Consulting { leg, hunt });
        call
    }

    /// The relay is open: the agent's phone is told our new port.
    pub(super) fn consult_opened(
        &mut self,
        core: &mut Core,
        (mut leg, protection): Given,
        hunt: Box<Hunt>,
    ) -> State {
        let lane = self.caller_lane;
        let protection = protection.renewed(&mut core.random);
        let offer = self.media.as_mut().map(|media| media.any_offer(lane, protection));
        let client = offer.and_then(|it| leg.reinvite(core, self.id, &mut self.entries, &it));
        match client {
            Some(client) => State::Moving(Box::new(Moving { leg, client, hunt })),
            None => self.consult_fails(core, leg, 503),
        }
    }

    pub(super) fn moving(
        &mut self,
        core: &mut Core,
        mut moving: Box<Moving>,
        event: Event<'_>,
    ) -> State {
        match event {
            Event::Response(client, response) if client == moving.client => {
                if response.is_provisional() {
                    return State::Moving(moving);
                }
                let Moving { mut leg, hunt, .. } = *moving;
                if !response.is_success() {
                    return self.consult_fails(core, leg, response.status);
                }
                leg.renewed(core.now.monotonic, client, response);
                leg.ack(core, None);
                let chosen = read_body(&response.headers, &response.body).ok().flatten();
                let Some(chosen) = chosen.filter(|sdp| sdp.has_audio()) else {
                    return self.consult_fails(core, leg, 488);
                };
                let lane = self.caller_lane;
                if let Some(media) = self.media.as_mut() {
                    media.hear(lane, &chosen);
                    let changes = media.point(lane, &chosen);
                    self.changed(core, changes);
                }
                let caller = Caller::Fetched { leg: Box::new(leg), chosen: Box::new(chosen) };
                self.ring(core, Box::new(Ringing::new(caller, Vec::new(), hunt)), Fate::Begun)
            }
            Event::NoResponse(client, status) if client == moving.client => {
                self.consult_fails(core, moving.leg, status)
            }
            Event::Request { server, flow, request } => {
                let is_meant = moving.leg.receive(&request, flow).is_ok();
                early_request(core, server, &request);
                if !is_meant || request.method != Method::Bye {
                    return State::Moving(moving);
                }
                self.agent_is_gone(core);
                let by = Some(self.caller_lane);
                let ending = Ending { cause: EndCause::Cancelled, by, status: Some(487) };
                self.end(core, ending, Vec::new())
            }
            Event::HangUp => self.consult_fails(core, moving.leg, 487),
            Event::Shutdown => self.consult_fails(core, moving.leg, 503),
            _ => State::Moving(moving),
        }
    }

    fn consult_fails(&mut self, core: &mut Core, leg: Leg, status: u16) -> State {
        let lane = self.caller_lane;
        if let Some(mut leg) = self.give_back(core, lane, None, leg) {
            leg.bye(core, self.id, &mut self.entries, Some(ENDED_BY_US));
        }
        self.end(core, Ending::unanswered(status), Vec::new())
    }

    /// A side of an ending call, `gone` having hung up: it comes back from here unless another call
    /// gets it.
    pub(super) fn give_back(
        &mut self,
        core: &mut Core,
        lane: Lane,
        gone: Option<Lane>,
        leg: Leg,
    ) -> Option<Leg> {
        let Some(to) = self.consults_for else { return Some(leg) };
        let instead = match lane == self.caller_lane {
            true => None,
            // The agent has hung up: whoever he asked takes over.
            false if gone == Some(self.caller_lane) => Some(self.offer.called.clone()),
            false => return Some(leg),
        };
        core.unbind_tag(&mut self.entries, leg.tag());
        let protection = self.media.as_ref().map(|media| media.protection(lane).clone());
        let leg = Box::new((leg, protection.unwrap_or_default()));
        core.errands.push_back(Errand::Come { to, leg, instead });
        None
    }

    /// The agent has hung up before whoever he asks has answered.
    pub(super) fn agent_is_gone(&self, core: &mut Core) {
        if let Some(to) = self.consults_for {
            core.errands.push_back(Errand::Nobody { to });
        }
    }

    /// The call that waited is gone.
    pub(crate) fn stands_alone(&mut self) {
        self.consults_for = None;
    }

    /// The waiting call goes on: with the agent, or with who takes his place.
    pub(crate) fn unpark(&mut self, core: &mut Core, given: Given, instead: Option<String>) {
        let state = std::mem::replace(&mut self.state, State::Over(Vec::new()));
        let State::Parked(mut parked) = state else {
            self.state = state;
            let (mut leg, _) = given;
            return leg.bye(core, self.id, &mut self.entries, Some(ENDED_BY_US));
        };
        core.bind_tag(self.id, &mut self.entries, given.0.tag());
        if parked.pending.is_some() {
            parked.coming = Some((given, instead));
            self.state = State::Parked(parked);
            return;
        }
        self.state = self.go_on(core, *parked, given, instead);
        self.rest();
    }

    fn go_on(
        &mut self,
        core: &mut Core,
        parked: Parked,
        (mut leg, protection): Given,
        instead: Option<String>,
    ) -> State {
        let Parked { waiting, leg: other, forks, winner, .. } = parked;
        let by = waiting.other();
        core.tap(self.id, TapKind::Consulting { with: None });
        if let Some(to) = instead {
            core.tap(self.id, TapKind::Transfer { by, to, stage: TransferStage::Done });
            self.show_taker(core, &leg.side);
            let extension = leg.side.extension().or(self.offer.extension.as_deref());
            let extension = extension.unwrap_or_default().to_owned();
            core.tap(self.id, TapKind::Answered { extension });
        }
        self.holds_by_order = None;
        let mut protection = protection.renewed(&mut core.random);
        let mut offer = self.media.as_ref().and_then(|media| media.wide_offer(by));
        if let Some(offer) = &mut offer {
            protection.write_offer(offer, &mut core.random);
        }
        if let Some(media) = self.media.as_mut() {
            media.protect(by, protection);
        }
        let client =
            offer.as_ref().and_then(|it| leg.reinvite(core, self.id, &mut self.entries, it));
        let exchange = client.zip(offer).map(|(client, it)| Exchange::adopting(by, client, it));
        let legs = match by {
            Lane::Customer => [leg, other],
            Lane::Agent => [other, leg],
        };
        let now = core.now.monotonic;
        State::Talking(Box::new(Talk::new(legs, exchange, forks, winner, now)))
    }

    /// Nobody comes back to the waiting side.
    pub(crate) fn abandon(&mut self, core: &mut Core) {
        let state = std::mem::replace(&mut self.state, State::Over(Vec::new()));
        let State::Parked(parked) = state else {
            self.state = state;
            return;
        };
        let by = Some(parked.waiting.other());
        let ending = Ending { cause: EndCause::HungUp, by, status: None };
        self.state = self.leave(core, *parked, ending, Some(ENDED_BY_US));
    }

    /// The waiting call is over.
    pub(super) fn leave(
        &mut self,
        core: &mut Core,
        mut parked: Parked,
        ending: Ending,
        reason: Option<&str>,
    ) -> State {
        if ending.by != Some(parked.waiting) {
            parked.leg.bye(core, self.id, &mut self.entries, reason);
        }
        if let Some(((mut leg, _), _)) = parked.coming.take() {
            leg.bye(core, self.id, &mut self.entries, reason);
        }
        core.errands.push_back(Errand::Alone { to: parked.with });
        self.end(core, ending, parked.forks)
    }

    pub(super) fn parked(
        &mut self,
        core: &mut Core,
        mut parked: Box<Parked>,
        event: Event<'_>,
    ) -> State {
        let (ending, reason) = match event {
            Event::Response(client, response) if !response.is_provisional() => {
                let pending = parked.pending.take_if(|(pending, _)| *pending == client);
                let Some((_, theirs)) = pending else {
                    self.late_fork(core, &mut parked, client, response);
                    return State::Parked(parked);
                };
                let mut answer = None;
                if response.is_success() {
                    parked.leg.renewed(core.now.monotonic, client, response);
                    parked.leg.ack(core, None);
                    answer = read_body(&response.headers, &response.body).ok().flatten();
                }
                self.joined(core, parked.waiting.other(), &theirs, answer);
                return match parked.coming.take() {
                    Some((given, instead)) => self.go_on(core, *parked, given, instead),
                    None => State::Parked(parked),
                };
            }
            Event::NoResponse(client, status) => {
                parked.forks.retain(|fork| fork.client != client);
                if parked.pending.as_ref().is_none_or(|(pending, _)| *pending != client) {
                    return State::Parked(parked);
                }
                (Ending { cause: EndCause::Failed, by: None, status: Some(status) }, None)
            }
            Event::Request { server, flow, request } => {
                if !self.parked_request(core, &mut parked, server, flow, &request) {
                    return State::Parked(parked);
                }
                let by = Some(parked.waiting);
                (Ending { cause: EndCause::HungUp, by, status: None }, None)
            }
            Event::HangUp => {
                let ending = Ending { cause: EndCause::HungUp, by: None, status: None };
                (ending, Some(ENDED_BY_US))
            }
            Event::Shutdown => {
                let ending = Ending { cause: EndCause::Shutdown, by: None, status: None };
                (ending, Some(SHUTDOWN))
            }
            _ => return State::Parked(parked),
        };
        self.leave(core, *parked, ending, reason)
    }

    fn late_fork(
        &mut self,
        core: &mut Core,
        parked: &mut Parked,
        client: ClientId,
        response: &Response,
    ) {
        let at = parked.forks.iter().position(|fork| fork.client == client);
        if let Some(fork) = at.map(|at| parked.forks.swap_remove(at))
            && response.is_success()
        {
            fork.hang_up(core, self.id, &mut self.entries, response, ENDED_BY_US);
        }
    }

    /// A request of the side that waits; true if it hangs up.
    fn parked_request(
        &mut self,
        core: &mut Core,
        parked: &mut Parked,
        server: ServerId,
        flow: Flow,
        request: &Request,
    ) -> bool {
        let to = request.headers.to();
        if to.as_ref().and_then(|to| to.tag()) != Some(parked.leg.tag()) {
            core.refuse(server, request, 481);
            return false;
        }
        if let Err(err) = parked.leg.receive(request, flow) {
            core.refuse(server, request, err.status());
            return false;
        }
        match request.method {
            Method::Bye => {
                core.refuse(server, request, 200);
                return true;
            }
            Method::Invite | Method::Update if parked.pending.is_some() => {
                core.refuse(server, request, 491);
            }
            Method::Invite | Method::Update => {
                let lane = parked.waiting;
                let Ok(offer) = read_body(&request.headers, &request.body) else {
                    core.refuse(server, request, 400);
                    return false;
                };
                if let (Some(offer), Some(media)) = (&offer, self.media.as_mut()) {
                    media.hear(lane, offer);
                    let changes = media.point(lane, offer);
                    self.changed(core, changes);
                }
                if request.method == Method::Invite {
                    core.bind_server(self.id, &mut self.entries, server);
                }
                let mut response = Response::to(request, 200, "", None);
                response.headers.push(cheling_sip::Name::Contact, parked.leg.contact(core));
                response.headers.push(cheling_sip::Name::Allow, ALLOW);
                let sent = self.media.as_ref().and_then(|media| media.sent(lane));
                if let Some(sent) =
                    sent.filter(|_| offer.is_some() || request.method == Method::Invite)
                {
                    response.set_body(CONTENT_TYPE, sent.to_bytes());
                }
                core.respond(server, response);
            }
            Method::Options | Method::Info => core.refuse(server, request, 200),
            Method::Refer => core.refuse(server, request, 403),
            Method::Prack => core.refuse(server, request, 481),
            _ => core.refuse(server, request, 405),
        }
        false
    }
}
