//! Before the answer: opening the relay and ringing whoever is called.
//!
//! All phones of a way ring at once and the first 2xx wins; the others are cancelled. When all have
//! refused, the next way is tried, and at last the caller gets the best of their answers.

use std::time::{Duration, Instant};

use cheling_model::directory::EarlyMedia;
use cheling_model::{EndCause, Lane, TapKind, Withdrawal};
use cheling_sip::diversion::{Cause, History};
use cheling_sip::sdp::{CONTENT_TYPE, Sdp};
use cheling_sip::subscription::dialog_info::DialogState;
use cheling_sip::{ClientId, Flow, Method, Name, Request, Response, ServerId};

use super::caller::{Caller, Invited, early_request};
use super::consult::Given;
use super::exchange::Exchange;
use super::fetch::Fetch;
use super::fork::{
    ANSWERED_ELSEWHERE, CALLER_GONE, ENDED_BY_US, Fork, ForkState, Manner, NO_ANSWER, SHUTDOWN,
    Target, tag_of,
};
use super::leg::{Leg, Side};
use super::media::{Media, read_body};
use super::protection::Protection;
use super::talk::Talk;
use super::{Call, Ending, Event, RING_AGENT, Relay, State, fork, outcome, rings_at, withdraw_all};
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

/// The phones of whoever is called are ringing.
#[derive(Debug)]
pub(crate) struct Ringing {
    caller: Caller,
    forks: Vec<Fork>,
    hunt: Box<Hunt>,
    /// Where the forks of the way that rings begin.
    way_from: usize,
    /// When the way that rings is given up.
    rings_until: Option<Instant>,
    /// When it is given up once it has said something; `None` if that makes no difference.
    may_ring_until: Option<Instant>,
    /// The provisional response the caller has had, and whether it had a body.
    told: (u16, bool),
    has_far_end_rung: bool,
    /// Whether whoever is called has said that it rings.
    is_rung: bool,
    /// The one phone whose early media is passed on: its fork, and its tag.
    early: Option<(ClientId, String)>,
    /// The 2xx of a fork that came while the caller had not yet acknowledged a description.
    held: Option<(ClientId, Box<Response>)>,
    redirections: u8,
}

impl Ringing {
    /// Whether a phone of this extension rings.
    pub(super) fn rings(&self, extension: &str) -> bool {
        self.forks.iter().any(|fork| {
            matches!(fork.state, ForkState::Calling)
                && fork.target.side.extension() == Some(extension)
        })
    }
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
                tracing::warn!(call_id = %self.id, "no relay for the call");
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
        let history = &ringing.caller.history();
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

    /// Has the caller hear what whoever is rung now plays before the answer, or not.
    fn let_through(&mut self, core: &mut Core, caller: &Caller, targets: &[Target]) {
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
        let is_answered = ringing.early.is_some() && invited.has_had_answer();
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

    /// An UPDATE of the caller with an offer before the answer.
    fn early_update(
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
        let contact = core.contact(invited.flow);
        let answer = match self.early_offer(core, ringing, request) {
            Ok(answer) => answer,
            Err(status) => return core.refuse(server, request, status),
        };
        core.refuse_with(server, request, 200, |response| {
            response.headers.push(Name::Contact, contact);
            response.set_body(CONTENT_TYPE, answer.to_bytes());
        });
    }

    /// A PRACK of the caller, with an offer perhaps (RFC 3262 §5).
    fn early_prack(
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
        let Some(contact) = response.headers.contact() else { return };
        let number = router::dialled(&contact.uri.user_unescaped().unwrap_or_default());
        let hunt = intake::transfer(core, &extension, &number, &fork.target.caller);
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

    /// A fork said something provisional: so do we, unless the caller knows already.
    fn progress(
        &mut self,
        core: &mut Core,
        ringing: &mut Ringing,
        client: ClientId,
        response: &Response,
    ) {
        let Some(at) = ringing.forks.iter().position(|fork| fork.client == client) else { return };
        let fork = &mut ringing.forks[at];
        if response.status == 100 || fork.state != ForkState::Calling {
            return;
        }
        if !fork.take_provisional(core, self.id, &mut self.entries, response) {
            return;
        }
        if fork.target.side.extension().is_none() && !ringing.has_far_end_rung {
            ringing.has_far_end_rung = true;
            core.tap(self.id, TapKind::FarEndRinging);
        }
        self.rings_beyond(core, fork, response);
        let lane = self.caller_lane;
        let mut passed = None;
        let here = (client, tag_of(response));
        if response.status == 199 {
            // That phone rings no more (RFC 6228): another may be heard.
            ringing.early.take_if(|early| *early == here);
            return;
        }
        let sdp = read_body(&response.headers, &response.body).ok().flatten();
        let sdp = sdp.filter(|sdp| sdp.audio().is_some());
        if let Some(sdp) = &sdp {
            // What is not passed on may be all that its 200 means.
            fork.note_early(response, sdp.clone());
        }
        let policy = core.manners(&fork.target.side).map(|manners| manners.early_media);
        let has_media = sdp.is_some() || response.status == 183;
        let status = match policy.unwrap_or_default() {
            EarlyMedia::Ringback if has_media => 180,
            EarlyMedia::Block if response.status == 183 => return,
            _ => response.status,
        };
        let is_first = ringing.early.as_ref().is_none_or(|early| *early == here);
        let is_passed = policy.unwrap_or_default() == EarlyMedia::Pass
            && is_first
            && !ringing.caller.has_offered_anew();
        if let (true, Some(offer), Some(sdp), Some(media)) =
            (is_passed, ringing.caller.offer(), sdp, self.media.as_mut())
            && fork.protection.check(&sdp).is_ok()
        {
            media.answered_by(lane.other(), fork.protection.clone(), fork.offer.clone());
            let changes = media.agree(lane, offer, &sdp);
            passed = Some(media.pass_answer(lane, &sdp));
            ringing.early = Some(here);
            self.changed(core, changes);
        }
        ringing.is_rung = true;
        let news = (status, passed.is_some());
        if let Caller::Invited(invited) = &mut ringing.caller
            && ringing.told != news
        {
            invited.progress(core, status, passed.as_ref());
            ringing.told = news;
        }
    }

    /// The first 2xx: both sides are connected, all others are cancelled.
    fn answered(
        &mut self,
        core: &mut Core,
        mut ringing: Box<Ringing>,
        client: ClientId,
        response: &Response,
    ) -> State {
        let fork = ringing.forks.iter().find(|fork| fork.client == client);
        let early = fork.and_then(|fork| fork.early(response));
        let Some((mut callee, sdp, winner)) =
            self.taken(core, &mut ringing.forks, client, response, early)
        else {
            return self.ring_on(core, ringing);
        };
        let mut winner = winner;
        self.taken_up_beyond(core, &mut winner, response);
        self.answered_elsewhere(core, &mut ringing.forks, &callee.side);
        let lane = self.caller_lane;
        let mut offered_anew = None;
        if let Some(media) = self.media.as_mut() {
            media.answered_by(lane.other(), winner.protection.clone(), winner.offer.clone());
        }
        let Ringing { caller, forks, .. } = *ringing;
        let (caller, exchange) = match caller {
            Caller::Fetched { leg, chosen } => {
                callee.ack(core, None);
                let changes = self.media.as_mut().map(|media| media.agree(lane, &chosen, &sdp));
                self.changed(core, changes.into_iter().flatten());
                (*leg, None)
            }
            Caller::Invited(invited) => {
                let mut media = self.media.as_mut();
                let changes = invited.offer.as_ref().zip(media.as_deref_mut());
                let changes = changes.map(|(offer, media)| media.agree(lane, offer, &sdp));
                // An offer that was made anew has had its answer.
                let passed =
                    media.filter(|_| !invited.has_offered_anew).map(|media| match &invited.offer {
                        Some(_) => media.pass_answer(lane, &sdp),
                        None => media.pass_offer(lane, &sdp),
                    });
                let Some(leg) = invited.answer(core, passed.as_ref()) else {
                    // Cannot be: a request without From or Call-ID is not read.
                    invited.refuse(core, 500, None);
                    return self.lost_caller(core, callee, forks);
                };
                let exchange = match &invited.offer {
                    Some(_) => {
                        callee.ack(core, None);
                        self.changed(core, changes.into_iter().flatten());
                        None
                    }
                    // The caller's ACK will bring the answer, and with it goes the callee's.
                    None => Some(Exchange::waiting_for_answer(lane, &invited.request, sdp)),
                };
                offered_anew = invited.offer.filter(|_| invited.has_offered_anew);
                (leg, exchange)
            }
        };
        let state = self.connected(core, caller, callee, exchange, forks, Some(winner));
        match (state, offered_anew) {
            (State::Talking(mut talk), Some(offer)) => {
                self.tell_other(core, &mut talk, lane, offer);
                State::Talking(talk)
            }
            (state, _) => state,
        }
    }

    /// The caller cannot be answered: whoever has answered is let go.
    pub(super) fn lost_caller(
        &mut self,
        core: &mut Core,
        mut callee: Leg,
        forks: Vec<Fork>,
    ) -> State {
        callee.bye(core, self.id, &mut self.entries, None);
        self.end(core, Ending::unanswered(500), forks)
    }

    /// Both sides are connected: they talk, and are recorded.
    pub(super) fn connected(
        &mut self,
        core: &mut Core,
        caller: Leg,
        callee: Leg,
        exchange: Option<Exchange>,
        forks: Vec<Fork>,
        winner: Option<Fork>,
    ) -> State {
        let extension =
            callee.side.extension().map(str::to_owned).or_else(|| self.offer.extension.clone());
        let extension = extension.or_else(|| self.answerer.take());
        core.tap(self.id, TapKind::Answered { extension: extension.unwrap_or_default() });
        core.put(Output::StartRecording { call_id: self.id });
        self.recording.begin();
        let mut legs = match self.caller_lane {
            Lane::Customer => [caller, callee],
            Lane::Agent => [callee, caller],
        };
        let now = core.now.monotonic;
        for leg in &mut legs {
            leg.session.resume(now);
        }
        State::Talking(Box::new(Talk::new(legs, exchange, forks, winner, now)))
    }

    /// Takes the fork that sent this 2xx out and gives its dialog and description; `None`, with the
    /// fork refused and hung up, if there is nothing to be done with it.
    pub(super) fn taken(
        &mut self,
        core: &mut Core,
        forks: &mut Vec<Fork>,
        client: ClientId,
        response: &Response,
        early: Option<Sdp>,
    ) -> Option<(Leg, Sdp, Fork)> {
        let at = forks.iter().position(|fork| fork.client == client)?;
        if forks[at].state != ForkState::Calling {
            // It crossed our CANCEL.
            forks[at].hang_up(core, self.id, &mut self.entries, response, ANSWERED_ELSEWHERE);
            forks[at].state = ForkState::Failed(487);
            return None;
        }
        let sdp = match read_body(&response.headers, &response.body) {
            Ok(sdp) => sdp.or(early).filter(|sdp| sdp.audio().is_some()),
            Err(err) => {
                tracing::warn!(call_id = %self.id, %err, "2xx cannot be used");
                None
            }
        };
        let sdp = sdp.filter(|sdp| match forks[at].protection.hear(sdp, &mut core.random) {
            Ok(()) => true,
            Err(err) => {
                tracing::warn!(call_id = %self.id, %err, "2xx cannot be used");
                false
            }
        });
        let leg = forks[at].leg(response);
        match (leg, sdp) {
            (Some(mut leg), Some(sdp)) => {
                leg.renewed(core.now.monotonic, client, response);
                Some((leg, sdp, forks.remove(at)))
            }
            _ => {
                let reason = "SIP;cause=488;text=\"No usable audio in the answer\"";
                forks[at].hang_up(core, self.id, &mut self.entries, response, reason);
                self.fork_refused(core, forks, client, 488);
                None
            }
        }
    }

    /// Whether an INVITE that was refused has been sent again.
    pub(super) fn asked_again(
        &mut self,
        core: &mut Core,
        forks: &mut [Fork],
        client: ClientId,
        response: &Response,
    ) -> bool {
        let fork = forks.iter_mut().find(|fork| fork.client == client);
        fork.is_some_and(|fork| fork.ask_again(core, self.id, &mut self.entries, response))
    }

    /// A fork had its final refusal: its phone stops ringing, unless another of its extension
    /// rings on.
    pub(super) fn fork_refused(
        &self,
        core: &mut Core,
        forks: &mut [Fork],
        client: ClientId,
        status: u16,
    ) {
        let Some(at) = forks.iter().position(|fork| fork.client == client) else { return };
        let was_ringing = forks[at].state == ForkState::Calling;
        forks[at].state = ForkState::Failed(status);
        self.refused_beyond(core, &mut forks[at], status);
        let leg = forks[at].leg_id;
        let rings_on =
            forks.iter().any(|fork| fork.leg_id == leg && fork.state == ForkState::Calling);
        if let (true, false, Some(extension)) =
            (was_ringing, rings_on, forks[at].target.side.extension())
        {
            let extension = extension.to_owned();
            let why = outcome::withdrawal(status);
            core.tap(self.id, TapKind::Withdrawn { leg, extension, why });
        }
    }

    pub(super) fn answered_elsewhere(&self, core: &mut Core, forks: &mut [Fork], by: &Side) {
        let extension = by.extension().unwrap_or_default().to_owned();
        let why = Withdrawal::AnsweredElsewhere { extension };
        withdraw_all(core, self.id, forks, ANSWERED_ELSEWHERE, &why);
    }

    /// After a refusal: waits for the others, or tries the next way.
    fn ring_on(&mut self, core: &mut Core, ringing: Box<Ringing>) -> State {
        if ringing.forks.iter().any(|fork| fork.state == ForkState::Calling) {
            return State::Ringing(ringing);
        }
        let fate = Fate::of(fork::statuses(ringing.forks.get(ringing.way_from..).unwrap_or(&[])));
        self.ring(core, ringing, fate)
    }
}

/// The agent who has been fetched shows that he is still there while the other side rings.
fn sign_of_life(core: &mut Core, leg: &mut Leg, server: ServerId, flow: Flow, request: &Request) {
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

impl Ringing {
    pub(super) fn new(caller: Caller, forks: Vec<Fork>, hunt: Box<Hunt>) -> Self {
        Self {
            caller,
            forks,
            hunt,
            way_from: 0,
            rings_until: None,
            may_ring_until: None,
            told: (100, false),
            has_far_end_rung: false,
            is_rung: false,
            early: None,
            held: None,
            redirections: 0,
        }
    }

    /// Who waits.
    pub(super) fn caller(&self) -> &Caller {
        &self.caller
    }

    /// What the agent who was fetched speaks, if he should hear a ring-back tone: the other side
    /// rings and is not to be heard itself.
    pub(super) fn rung_back(&self) -> Option<&Sdp> {
        match &self.caller {
            Caller::Fetched { chosen, .. } if self.is_rung && self.early.is_none() => Some(chosen),
            Caller::Fetched { .. } | Caller::Invited(_) => None,
        }
    }

    /// Whether the caller has had a description.
    pub(super) fn has_early_media(&self) -> bool {
        self.early.is_some()
    }

    /// Whoever is rung, to give them up.
    pub(super) fn forks_mut(&mut self) -> &mut [Fork] {
        &mut self.forks
    }

    /// Who waits, and whoever is rung.
    pub(super) fn into_parts(self) -> (Caller, Vec<Fork>) {
        (self.caller, self.forks)
    }

    /// Whoever is rung.
    pub(super) fn forks(&self) -> &[Fork] {
        &self.forks
    }

    /// Who waits, and how far the call is from there.
    pub(super) fn caller_state(&self) -> (&Side, DialogState) {
        match &self.caller {
            Caller::Invited(invited) if self.told.0 > 100 => (&invited.side, DialogState::Early),
            Caller::Invited(invited) => (&invited.side, DialogState::Trying),
            Caller::Fetched { leg, .. } => (&leg.side, DialogState::Confirmed),
        }
    }

    /// The agent who has been fetched.
    pub(super) fn fetched(&mut self) -> Option<&mut Leg> {
        match &mut self.caller {
            Caller::Fetched { leg, .. } => Some(leg),
            Caller::Invited(_) => None,
        }
    }

    /// The phones and trunks in use.
    pub(super) fn sides(&self) -> impl Iterator<Item = (&Side, Hold)> {
        let rung = rings_at(&self.forks, Hold::Ringing);
        std::iter::once((self.caller.side(), Hold::Talking)).chain(rung)
    }

    /// The INVITEs of the way that rings.
    fn clients_now(&self) -> Vec<ClientId> {
        let forks = self.forks.get(self.way_from..).unwrap_or_default();
        forks.iter().map(|fork| fork.client).collect()
    }

    fn rings_now(&self, client: ClientId) -> bool {
        self.forks.iter().skip(self.way_from).any(|fork| fork.client == client)
    }

    /// When to be woken.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        self.rings_until.into_iter().chain(self.caller.next_timeout()).min()
    }
}
