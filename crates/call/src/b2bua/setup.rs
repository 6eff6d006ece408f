//! Before the answer: opening the relay and ringing whoever is called.
//!
//! All phones of a way ring at once and the first 2xx wins; the others are cancelled. When all have
//! refused, the next way is tried, and at last the caller gets the best of their answers.

use std::time::Duration;

use cheling_model::{EndCause, Lane, TapKind, Withdrawal};
use cheling_sip::diversion::{Cause, History};
use cheling_sip::sdp::Sdp;
use cheling_sip::{ClientId, Method, Name, Response};

use super::caller::{Caller, Invited, early_request};
use super::consult::Given;
use super::early::sign_of_life;
use super::fetch::Fetch;
use super::fork::{CALLER_GONE, ENDED_BY_US, Fork, ForkState, Manner, NO_ANSWER, SHUTDOWN, Target};
use super::leg::Side;
use super::media::Media;
use super::protection::Protection;
use super::ringing::Ringing;
use super::{Call, Ending, Event, RING_AGENT, Relay, State, fork, outcome, withdraw_all};
use crate::core::Core;
use crate::hunt::{Fate, Hunt, Over, Way};
use crate::io::Output;
use crate::occupancy::Hold;
use crate::random::Random;
use crate::{intake, router};

/// How long the relay may take to open.
const RELAY_PATIENCE: Duration = Duration::from_secs(5);

/// How often one call is redirected.
const MAX_REDIRECTIONS: u8 = 5;

/// What follows when the relay has opened.
#[derive(Debug)]
pub(crate) enum Opening {
    /// Ring for a caller.
    Invited { invited: Box<Invited>, way: Way, hunt: Box<Hunt> },
    /// Fetch the agent who clicked.
    Dialled { agent: Vec<Target>, hunt: Box<Hunt> },
    /// Bring the agent who consults to our ports.
    Consulting { leg: Box<Given>, hunt: Box<Hunt> },
}

impl Call {
    pub(super) fn opening(
        &mut self,
        core: &mut Core,
        opening: Box<Opening>,
        event: Event<'_>,
    ) -> State {
        match event {
            Event::RelayOpened(local) if self.relay == Relay::Opening => {
                self.relay = Relay::Open;
                self.wake_at = None;
                let session_ids = [core.random.u64(), core.random.u64()];
                let keys = Random::new(&core.random.bytes(), core.random.u64());
                self.media = Some(Media::new(local, session_ids, keys));
                self.stream_seed = core.random.u64();
                self.opened(core, *opening)
            }
            Event::RelayFailed | Event::Timeout => {
                if matches!(event, Event::RelayFailed) {
                    self.relay = Relay::None;
                }
                let why = match event {
                    Event::Timeout => "its thread says nothing",
                    _ => "its thread says why, before this line",
                };
                tracing::warn!(call_id = %self.id, why, "no relay for the call");
                self.refuse_opening(core, *opening, 503);
                self.end(core, Ending::unanswered(503), Vec::new())
            }
            Event::Cancelled(_) => {
                self.refuse_opening(core, *opening, 487);
                let by = Some(self.caller_lane);
                let ending = Ending { cause: EndCause::Cancelled, by, status: Some(487) };
                self.end(core, ending, Vec::new())
            }
            Event::HangUp => {
                self.refuse_opening(core, *opening, 480);
                let ending = Ending { cause: EndCause::Cancelled, by: None, status: Some(480) };
                self.end(core, ending, Vec::new())
            }
            Event::Shutdown => {
                self.refuse_opening(core, *opening, 503);
                let ending = Ending { cause: EndCause::Shutdown, by: None, status: Some(503) };
                self.end(core, ending, Vec::new())
            }
            Event::Request { server, request, .. } => {
                early_request(core, server, &request);
                if request.method != Method::Bye {
                    return State::Opening(opening);
                }
                self.refuse_opening(core, *opening, 487);
                let by = Some(self.caller_lane);
                let ending = Ending { cause: EndCause::Cancelled, by, status: Some(487) };
                self.end(core, ending, Vec::new())
            }
            _ => State::Opening(opening),
        }
    }

    fn refuse_opening(&mut self, core: &mut Core, opening: Opening, status: u16) {
        match opening {
            Opening::Invited { invited, .. } => invited.refuse(core, status, None),
            Opening::Dialled { .. } => {}
            Opening::Consulting { leg, .. } => {
                let lane = self.caller_lane;
                if let Some(mut leg) = self.give_back(core, lane, None, leg.0) {
                    leg.bye(core, self.id, &mut self.entries, None);
                }
            }
        }
    }

    /// Asks for the relay.
    pub(super) fn open(&mut self, core: &mut Core, opening: Opening) {
        core.put(Output::OpenRelay { call_id: self.id });
        self.relay = Relay::Opening;
        self.wake_at = Some(core.now.monotonic + RELAY_PATIENCE);
        self.state = State::Opening(Box::new(opening));
    }

    fn opened(&mut self, core: &mut Core, opening: Opening) -> State {
        match opening {
            Opening::Consulting { leg, hunt } => self.consult_opened(core, *leg, hunt),
            Opening::Invited { invited, way, hunt } => {
                let lane = self.caller_lane;
                let protection = Protection::of(core, &invited.side, invited.flow);
                if let Some(Err(err)) = invited.offer.as_ref().map(|offer| protection.check(offer))
                {
                    tracing::warn!(call_id = %self.id, %err, "call refused");
                    invited.refuse(core, 488, None);
                    return self.end(core, Ending::unanswered(488), Vec::new());
                }
                if let Some(media) = self.media.as_mut() {
                    media.protect(lane, protection);
                    let changes = invited.offer.as_ref().map(|sdp| media.point(lane, sdp));
                    self.changed(core, changes.into_iter().flatten());
                }
                if invited.wants_offer() {
                    return self.offer_first(core, invited, way, hunt);
                }
                let caller = Caller::Invited(invited);
                let mut ringing = Box::new(Ringing::new(caller, Vec::new(), hunt));
                if self.ring_way(core, &mut ringing, way) {
                    return State::Ringing(ringing);
                }
                self.ring(core, ringing, Fate::Unreachable)
            }
            Opening::Dialled { agent, hunt } => {
                let lane = self.caller_lane;
                let offer = self.media.as_mut().map(|media| media.own_offer(lane));
                let history = &History::default();
                let (offer, manner) = (offer.as_ref(), Manner::AutoAnswer);
                let invite = fork::Invite { offer, max_forwards: 70, manner, history };
                let forks = self.fork(core, agent, invite);
                if forks.is_empty() {
                    return self.end(core, Ending::unanswered(503), forks);
                }
                self.wake_at = Some(core.now.monotonic + RING_AGENT);
                State::Fetching(Box::new(Fetch { forks, hunt }))
            }
        }
    }

    /// Makes the caller an offer; who is called rings when it is answered.
    fn offer_first(
        &mut self,
        core: &mut Core,
        mut invited: Box<Invited>,
        way: Way,
        hunt: Box<Hunt>,
    ) -> State {
        let lane = self.caller_lane;
        if let Some(media) = self.media.as_mut() {
            let protection = media.protection(lane).clone();
            let offer = media.any_offer(lane, protection);
            invited.make_offer(core, &offer);
        }
        let mut ringing = Box::new(Ringing::new(Caller::Invited(invited), Vec::new(), hunt));
        ringing.told = (183, true);
        ringing.awaits = Some(way);
        State::Ringing(ringing)
    }

    /// Sends an INVITE to each target and tells which of our phones ring.
    pub(super) fn fork(
        &mut self,
        core: &mut Core,
        targets: Vec<Target>,
        invite: fork::Invite<'_>,
    ) -> Vec<Fork> {
        let mut forks: Vec<Fork> = Vec::with_capacity(targets.len());
        for target in targets {
            let same = forks.iter().find(|fork| {
                fork.target.side.extension().is_some() && fork.target.side == target.side
            });
            let (leg_id, is_new) = match same {
                Some(fork) => (fork.leg_id, false),
                None => (core.random.leg_id(core.now.wall), true),
            };
            let extension = target.side.extension().map(str::to_owned);
            let ids = (self.id, leg_id);
            let Some(fork) = Fork::start(core, &mut self.entries, ids, target, invite) else {
                continue;
            };
            forks.push(fork);
            if let Some(fork) = forks.last_mut() {
                self.show_beyond(core, fork);
            }
            if let (Some(extension), true) = (extension, is_new) {
                core.tap(self.id, TapKind::Ringing { leg: leg_id, extension });
            }
        }
        forks
    }

    /// Rings whoever is next; if there is nobody, the caller is refused.
    pub(super) fn ring(&mut self, core: &mut Core, mut ringing: Box<Ringing>, fate: Fate) -> State {
        let mut fate = fate;
        loop {
            match ringing.hunt.next(core, self.id, fate) {
                Ok(way) => {
                    if self.ring_way(core, &mut ringing, way) {
                        return State::Ringing(ringing);
                    }
                    fate = Fate::Unreachable;
                }
                Err(over) => return self.refuse_caller(core, *ringing, over),
            }
        }
    }

    /// Rings these; false if not even an INVITE could be sent.
    fn ring_way(&mut self, core: &mut Core, ringing: &mut Ringing, way: Way) -> bool {
        let Way { targets, ring_for, patience } = way;
        let callee = self.caller_lane.other();
        let (offer, max_forwards) = self.offer_to(callee, &ringing.caller);
        self.let_through(core, &ringing.caller, &targets);
        let mut history = ringing.caller.history();
        ringing.hunt.write_diversion(core, &mut history);
        let history = &history;
        let (offer, manner) = (offer.as_ref(), Manner::Ring);
        let invite = fork::Invite { offer, max_forwards, manner, history };
        let forks = self.fork(core, targets, invite);
        if forks.is_empty() {
            return false;
        }
        ringing.way_from = ringing.forks.len();
        ringing.forks.extend(forks);
        ringing.early = None;
        let until = core.now.monotonic + ring_for;
        ringing.may_ring_until = patience.map(|_| until);
        ringing.rings_until = Some(patience.map_or(until, |it| core.now.monotonic + it));
        true
    }

    /// What is offered to whoever is rung, and how many hops are left.
    fn offer_to(&mut self, callee: Lane, caller: &Caller) -> (Option<Sdp>, u8) {
        let media = self.media.as_mut();
        match caller {
            Caller::Invited(invited) => {
                let hops = invited.request.headers.max_forwards().unwrap_or(70);
                let offer = invited.offer.as_ref();
                (offer.and_then(|sdp| Some(media?.pass_plain(callee, sdp))), hops.saturating_sub(1))
            }
            Caller::Fetched { chosen, .. } => {
                (media.map(|media| media.narrow_offer(callee, chosen)), 70)
            }
        }
    }

    /// A phone of ours answers that its calls go elsewhere (RFC 3261 §8.1.3.4): whoever that is
    /// rings, too. Elsewhere is a number, dialled with the rights of that phone.
    fn redirected(
        &mut self,
        core: &mut Core,
        ringing: &mut Ringing,
        client: ClientId,
        response: &Response,
    ) {
        if !matches!(response.status, 300..=302) || ringing.redirections >= MAX_REDIRECTIONS {
            return;
        }
        let Some(fork) = ringing.forks.iter().find(|fork| fork.client == client) else { return };
        let (Side::Phone { extension }, ForkState::Calling) =
            (fork.target.side.clone(), fork.state)
        else {
            return;
        };
        // A phone that follows rules of its own says which (RFC 5806 §5).
        let cause = match response.headers.diversion().first().map(|by| by.params.get("reason")) {
            Some(Some("user-busy" | "do-not-disturb")) => Cause::Busy,
            Some(Some("no-answer")) => Cause::NoAnswer,
            Some(Some("deflection")) => Cause::Deflection,
            _ => Cause::Unconditional,
        };
        // Who calls by TLS alone is not sent on in the clear (RFC 3261 §8.1.3.4, RFC 5630 §4).
        let is_secure = matches!(&ringing.caller,
            Caller::Invited(invited) if invited.request.uri.is_sips());
        let contacts = response.headers.addresses(Name::Contact);
        let mut contacts = contacts.into_iter().filter(|to| !is_secure || to.uri.is_sips());
        let Some(contact) = contacts.next() else { return };
        let number = router::dialled(&contact.uri.user_unescaped().unwrap_or_default());
        let hunt = intake::transfer(core, &extension, &number, &fork.target.caller);
        let hunt = hunt.map(|hunt| if is_secure { hunt.secure() } else { hunt });
        let way = hunt.and_then(|mut hunt| hunt.next(core, self.id, Fate::Begun).ok());
        let Some(Way { mut targets, .. }) = way else {
            tracing::warn!(call_id = %self.id, %extension, "redirected to where nobody is");
            return;
        };
        // Whoever rings, or has refused, is not asked again.
        targets.retain(|target| {
            let is_known =
                |fork: &Fork| target.side.extension().is_some() && fork.target.side == target.side;
            !ringing.forks.iter().any(is_known)
        });
        ringing.redirections += 1;
        let (offer, max_forwards) = self.offer_to(self.caller_lane.other(), &ringing.caller);
        let mut history = ringing.caller.history();
        history.divert(core.address_of(&extension), core.address_of(&number), cause);
        let (offer, manner) = (offer.as_ref(), Manner::Ring);
        let invite = fork::Invite { offer, max_forwards, manner, history: &history };
        let forks = self.fork(core, targets, invite);
        ringing.forks.extend(forks);
    }

    /// Whoever is called wants proof from the caller: so do we, and nobody is told of a call.
    fn challenged(&mut self, core: &mut Core, ringing: Ringing, challenge: &Response) -> State {
        if let Caller::Invited(invited) = &ringing.caller {
            invited.challenge(core, challenge);
        }
        self.over_for_all(core, Vec::new())
    }

    /// There is nobody left to ring: the caller is refused.
    fn refuse_caller(&mut self, core: &mut Core, ringing: Ringing, over: Over) -> State {
        let (status, cause) = match over {
            Over::AsAnswered => {
                let status = outcome::best(fork::statuses(&ringing.forks));
                (status, outcome::cause(status))
            }
            Over::With { status, cause } => (status, cause),
            Over::Refused(refusal) => (refusal.status(), outcome::cause(refusal.status())),
        };
        if status == 503 {
            let refused_by: Vec<_> = fork::statuses(&ringing.forks).collect();
            tracing::warn!(call_id = %self.id, ?over, ?refused_by, "the caller is refused by 503");
        }
        self.give_up(core, ringing, status, Ending { cause, by: None, status: Some(status) })
    }

    fn give_up(&mut self, core: &mut Core, ringing: Ringing, status: u16, ending: Ending) -> State {
        let Ringing { caller, forks, .. } = ringing;
        match caller {
            Caller::Invited(invited) => invited.refuse(core, status, None),
            Caller::Fetched { leg, .. } => {
                let lane = self.caller_lane;
                let Some(mut leg) = self.give_back(core, lane, None, *leg) else {
                    return self.end(core, ending, forks);
                };
                let phrase = cheling_sip::message::reason_phrase(status);
                let reason = format!("SIP;cause={status};text=\"{phrase}\"");
                leg.bye(core, self.id, &mut self.entries, Some(&reason));
            }
        }
        self.end(core, ending, forks)
    }

    pub(super) fn ringing(
        &mut self,
        core: &mut Core,
        mut ringing: Box<Ringing>,
        event: Event<'_>,
    ) -> State {
        let (why, reason, cause, by, status) = match event {
            Event::Response(client, response) if response.is_provisional() => {
                if ringing.rings_now(client)
                    && let Some(until) = ringing.may_ring_until.take()
                {
                    ringing.rings_until = Some(until);
                }
                self.progress(core, &mut ringing, client, response);
                return State::Ringing(ringing);
            }
            Event::Response(client, response) if response.is_success() => {
                let is_invite = ringing.forks.iter().any(|fork| fork.client == client);
                if is_invite && !ringing.caller.may_accept() {
                    ringing.held.get_or_insert((client, Box::new(response.clone())));
                    return State::Ringing(ringing);
                }
                return self.answered(core, ringing, client, response);
            }
            Event::Response(client, response)
                if self.asked_again(core, &mut ringing.forks, client, response) =>
            {
                return State::Ringing(ringing);
            }
            Event::Response(_, response) if self.is_withheld => {
                return self.challenged(core, *ringing, response);
            }
            Event::Response(client, response) => {
                let theirs = ringing.caller.offer().cloned();
                let lane = self.caller_lane.other();
                let (forks, status) = (&mut ringing.forks, response.status);
                if self.offer_more(core, forks, client, status, lane, theirs.as_ref()) {
                    return State::Ringing(ringing);
                }
                self.redirected(core, &mut ringing, client, response);
                fork::note_trunk(core, &ringing.forks, client, response.status, Some(response));
                self.fork_refused(core, &mut ringing.forks, client, response.status);
                return self.ring_on(core, ringing);
            }
            Event::Request { server, request, .. } if request.method == Method::Prack => {
                self.early_prack(core, &mut ringing, server, &request);
                if let Some(way) = ringing.awaits.take_if(|_| ringing.caller.offer().is_some()) {
                    return match self.ring_way(core, &mut ringing, way) {
                        true => State::Ringing(ringing),
                        false => self.ring(core, ringing, Fate::Unreachable),
                    };
                }
                if ringing.awaits.is_some() && ringing.caller.next_timeout().is_none() {
                    // It has had our offer, and there is no answer to it.
                    return self.give_up(core, *ringing, 488, Ending::unanswered(488));
                }
                return match ringing.held.take_if(|_| ringing.caller.may_accept()) {
                    Some((client, response)) => self.answered(core, ringing, client, &response),
                    None => State::Ringing(ringing),
                };
            }
            Event::NoResponse(client, status) => {
                fork::note_trunk(core, &ringing.forks, client, status, None);
                self.fork_refused(core, &mut ringing.forks, client, status);
                return self.ring_on(core, ringing);
            }
            Event::Request { server, request, .. }
                if request.method == Method::Update && !request.body.is_empty() =>
            {
                self.early_update(core, &mut ringing, server, &request);
                return State::Ringing(ringing);
            }
            Event::Request { server, request, flow }
                if request.method == Method::Update && ringing.fetched().is_some() =>
            {
                if let Some(leg) = ringing.fetched() {
                    sign_of_life(core, leg, server, flow, &request);
                }
                return State::Ringing(ringing);
            }
            Event::Request { server, request, flow } => {
                let is_caller = ringing.caller.receive(&request, flow);
                if is_caller {
                    self.caller_changed(core, &request);
                }
                early_request(core, server, &request);
                if !is_caller || request.method != Method::Bye {
                    return State::Ringing(ringing);
                }
                let by = Some(self.caller_lane);
                (Withdrawal::CallerHungUp, CALLER_GONE, EndCause::Cancelled, by, 487)
            }
            Event::Cancelled(_) => {
                let by = Some(self.caller_lane);
                (Withdrawal::CallerHungUp, CALLER_GONE, EndCause::Cancelled, by, 487)
            }
            Event::Timeout if !ringing.caller.repeat(core) => {
                tracing::warn!(call_id = %self.id, "no PRACK from the caller");
                let why = Withdrawal::Failed { status: 504 };
                (why, CALLER_GONE, EndCause::Failed, None, 504)
            }
            Event::Timeout if ringing.awaits.is_some() => return State::Ringing(ringing),
            Event::Timeout if ringing.rings_until.is_some_and(|at| at > core.now.monotonic) => {
                return State::Ringing(ringing);
            }
            Event::Timeout => return self.rang_out(core, ringing),
            Event::HangUp => {
                (Withdrawal::CallerHungUp, ENDED_BY_US, EndCause::Cancelled, None, 480)
            }
            Event::Shutdown => {
                (Withdrawal::Failed { status: 503 }, SHUTDOWN, EndCause::Shutdown, None, 503)
            }
            _ => return State::Ringing(ringing),
        };
        withdraw_all(core, self.id, &mut ringing.forks, reason, &why);
        let ending = Ending { cause, by, status: Some(status) };
        if by.is_some() && matches!(ringing.caller, Caller::Fetched { .. }) {
            // The agent's BYE has been answered: there is nobody left to refuse.
            self.agent_is_gone(core);
            return self.end(core, ending, ringing.forks);
        }
        self.give_up(core, *ringing, status, ending)
    }

    /// The way that rings has had its time: on to the next.
    fn rang_out(&mut self, core: &mut Core, mut ringing: Box<Ringing>) -> State {
        // Not a word, not even 100: the trunk is out of order.
        let is_silent = ringing.may_ring_until.take().is_some();
        if is_silent {
            for client in ringing.clients_now() {
                fork::note_trunk(core, &ringing.forks, client, 408, None);
            }
        }
        withdraw_all(core, self.id, &mut ringing.forks, NO_ANSWER, &Withdrawal::NoAnswer);
        let fate = if is_silent { Fate::Unreachable } else { Fate::RangOut };
        self.ring(core, ringing, fate)
    }

    /// After a refusal: waits for the others, or tries the next way.
    pub(super) fn ring_on(&mut self, core: &mut Core, ringing: Box<Ringing>) -> State {
        if ringing.forks.iter().any(|fork| fork.state == ForkState::Calling) {
            return State::Ringing(ringing);
        }
        let fate = Fate::of(fork::statuses(ringing.forks.get(ringing.way_from..).unwrap_or(&[])));
        self.ring(core, ringing, fate)
    }
}

impl Opening {
    /// Whose phone or trunk the call has in use already.
    pub(super) fn sides(&self) -> Vec<(&Side, Hold)> {
        match self {
            Self::Invited { invited, .. } => vec![(&invited.side, Hold::Talking)],
            Self::Dialled { agent, .. } => {
                agent.first().map(|target| (&target.side, Hold::Talking)).into_iter().collect()
            }
            Self::Consulting { leg, .. } => vec![(&leg.0.side, Hold::Talking)],
        }
    }
}
