//! One call from its first INVITE to its last packet: two dialogs of ours, back to back, with the
//! relay between them.
//!
//! A [`Call`] is a state machine: [`Event`]s in, messages and [`Output`]s out by way of
//! [`Core`]. `setup` rings (`ringing` is what it knows then, `early` what is said before the answer,
//! `answered` the answer, `late_caller` who is told of a number that came late), `fetch` gets the
//! agent who clicked, `talk` carries what is said within the dialogs and `offers` the offers among
//! it, `pause` holds the recording back, `transfer` and `attended` hand a call on (`referral`: as the
//! telephone system asks), `guests` brings third parties in (`coming` from a consultation, and
//! `successor` when who brought them goes), `media` passes descriptions across, `fork` and `leg` are
//! the sides.

use std::time::{Duration, Instant};

use cheling_model::call::{Offer, Party};
use cheling_model::{CallId, Direction, Lane, TapKind};
use cheling_sip::ClientId;

use crate::core::{Core, Entries};
use crate::hunt::{Fate, Hunt, Over};
use crate::io::Output;
use crate::occupancy::Hold;

mod answered;
mod attended;
mod beyond;
mod caller;
mod codecs;
mod coming;
mod consult;
mod early;
mod event;
mod exchange;
mod fetch;
mod fork;
pub mod formats;
mod guest;
mod guest_dialog;
mod guests;
mod handshake;
mod lamps;
mod late_caller;
mod leg;
pub mod media;
mod mixing;
mod offers;
mod orders;
pub mod outcome;
mod pause;
mod protection;
mod referral;
mod replace;
mod ringing;
mod session;
mod setup;
mod successor;
mod talk;
mod transfer;
mod waiting;

pub(crate) use attended::Attended;
pub(crate) use caller::Invited;
pub(crate) use consult::Errand;
use consult::{Moving, Parked};
use event::is_invite;
pub(crate) use event::{Ending, Event};
use fetch::Fetch;
use fork::{Fork, ForkState};
pub(crate) use fork::{Spare, Target};
use guest::Guests;
pub(crate) use lamps::Lamp;
pub(crate) use leg::Side;
use media::{Change, Media};
use pause::Recording;
pub(crate) use pause::Wish;
pub(crate) use replace::Place;
use ringing::Ringing;
use setup::Opening;
use talk::Talk;

/// How long one target rings when nothing else says so.
pub(crate) const RING_EXTENSION: Duration = Duration::from_secs(60);
/// How long the other side of a trunk may ring (RFC 3261 §16.6 step 11 asks for 3 minutes).
pub(crate) const RING_TRUNK: Duration = Duration::from_secs(180);
/// How long the agent's own phone rings after a click.
pub(crate) const RING_AGENT: Duration = Duration::from_secs(30);

/// Whom to ring, in which order.
#[derive(Debug)]
pub(crate) struct Plan {
    /// What everybody is told about the call.
    pub(crate) offer: Offer,
    /// The side the caller is on.
    pub(crate) caller_lane: Lane,
    /// Whom it rings, one after the other.
    pub(crate) hunt: Hunt,
}

/// Where the relay stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Relay {
    /// Not asked for.
    None,
    /// Asked for.
    Opening,
    /// Carrying.
    Open,
    /// Asked to close.
    Closing,
    /// Gone, and said so.
    Closed,
}

/// What a call is doing.
#[derive(Debug)]
enum State {
    /// Waits for the relay's ports.
    Opening(Box<Opening>),
    /// Rings the agent who clicked.
    Fetching(Box<Fetch>),
    /// Rings whoever is called.
    Ringing(Box<Ringing>),
    /// Both sides are connected.
    Talking(Box<Talk>),
    /// One side waits while the other consults.
    Parked(Box<Parked>),
    /// A consultation: the agent's dialog is on its way to our ports.
    Moving(Box<Moving>),
    /// Over for everybody; waits for what may still come: the last answers to INVITEs that were
    /// given up, and the relay.
    Over(Vec<Fork>),
}

/// One call.
#[derive(Debug)]
pub(crate) struct Call {
    id: CallId,
    offer: Offer,
    caller_lane: Lane,
    relay: Relay,
    media: Option<Media>,
    recording: Recording,
    /// Who has answered beyond a trunk.
    answerer: Option<String>,
    /// Nobody has been told of the call.
    is_withheld: bool,
    /// The caller as everybody knew him until this event.
    renamed: Option<Party>,
    /// Whether the caller's number came after the INVITE.
    has_late_caller: bool,
    state: State,
    wake_at: Option<Instant>,
    entries: Entries,
    guests: Guests,
    /// The side that has the other on hold by an order of ours.
    holds_by_order: Option<Lane>,
    /// Whether who is held by [customer, agent] is to hear something of ours.
    fills_hold_of: [bool; 2],
    /// The call that waits for this one.
    consults_for: Option<CallId>,
    /// Our own media streams' numbers are drawn from it.
    stream_seed: u64,
    /// The ring-back tone that an agent who was fetched hears now.
    rung_back: Option<crate::io::MixSends>,
}

impl Call {
    /// A call that a phone or a trunk asks for. It is `Offered` at once, before anybody rings.
    pub(crate) fn invited(core: &mut Core, id: CallId, invited: Invited, plan: Plan) -> Self {
        let mut call = Self::new(id, &plan);
        // The challenge to a caller who must prove himself elsewhere is no call yet.
        call.is_withheld = plan.hunt.is_tentative();
        if !call.is_withheld {
            call.tell_offered(core);
        }
        core.bind_server(id, &mut call.entries, invited.server);
        core.bind_tag(id, &mut call.entries, &invited.tag);
        let Plan { mut hunt, .. } = plan;
        match hunt.next(core, id, Fate::Begun) {
            Ok(way) => {
                let (invited, hunt) = (Box::new(invited), Box::new(hunt));
                call.open(core, Opening::Invited { invited, way, hunt });
            }
            Err(over) => call.state = call.refuse_at_once(core, &invited, over),
        }
        call
    }

    /// There is nobody to ring.
    fn refuse_at_once(&mut self, core: &mut Core, invited: &Invited, over: Over) -> State {
        let ending = match over {
            Over::Refused(refusal) => {
                tracing::warn!(call_id = %self.id, from = %invited.flow, %refusal, "call refused");
                invited.refuse_for(core, refusal);
                let status = refusal.status();
                Ending { cause: outcome::cause(status), by: None, status: Some(status) }
            }
            Over::With { status, cause } => {
                invited.refuse(core, status, None);
                Ending { cause, by: None, status: Some(status) }
            }
            Over::AsAnswered => {
                invited.refuse(core, 480, None);
                Ending::unanswered(480)
            }
        };
        self.end(core, ending, Vec::new())
    }

    /// A click-to-dial call: `agent` is rung first, then whom the plan says.
    pub(crate) fn dialled(core: &mut Core, id: CallId, agent: Vec<Target>, plan: Plan) -> Self {
        let mut call = Self::new(id, &plan);
        core.tap(id, TapKind::Offered(plan.offer.clone()));
        let hunt = Box::new(plan.hunt);
        call.open(core, Opening::Dialled { agent, hunt });
        call
    }

    fn new(id: CallId, plan: &Plan) -> Self {
        Self {
            rung_back: None,
            id,
            offer: plan.offer.clone(),
            caller_lane: plan.caller_lane,
            relay: Relay::None,
            media: None,
            recording: Recording::default(),
            answerer: None,
            is_withheld: false,
            renamed: None,
            has_late_caller: false,
            state: State::Over(Vec::new()),
            wake_at: None,
            entries: Entries::default(),
            guests: Guests::default(),
            holds_by_order: None,
            fills_hold_of: [false, false],
            consults_for: None,
            stream_seed: 0,
        }
    }

    /// Lets something happen to the call.
    pub(crate) fn handle(&mut self, core: &mut Core, event: Event<'_>) {
        let event = match event {
            Event::RelayClosed { received_packets, tap_dropped_packets } => {
                self.relay_closed(core, received_packets, tap_dropped_packets);
                return;
            }
            Event::PauseRecording(wish) => return self.pause_recording(core, wish),
            Event::RecordingPaused { is_paused, at } => {
                return self.recording_paused(core, is_paused, at);
            }
            Event::Digit(digit) => return self.dialled_digit(core, digit),
            Event::Timeout => {
                self.pause_timeout(core);
                if self.wake_at.is_none_or(|at| at > core.now.monotonic) {
                    return;
                }
                event
            }
            Event::Response(client, response) => {
                if self.is_withheld && !matches!(response.status, 100 | 401 | 407) {
                    self.tell(core);
                }
                if !response.is_provisional() && !is_invite(response) {
                    core.forget_client(&mut self.entries, client);
                    if self.caller_told(core, client, response) {
                        self.tell_caller(core);
                        return self.rest();
                    }
                }
                event
            }
            Event::NoResponse(client, _) if self.goes_another_way(core, client) => {
                return self.rest();
            }
            Event::Renumbered { tag, cseq } => {
                self.legs_mut().for_each(|leg| leg.renumber(tag, cseq));
                self.forks_mut().for_each(|fork| fork.renumber(tag, cseq));
                return;
            }
            Event::FlowClosed { flow, device } => {
                let now = core.now;
                for leg in self.legs_mut().filter(|leg| leg.is_on(flow)) {
                    leg.lose(now, device);
                    core.lost.extend(leg.side.extension().map(str::to_owned));
                }
                return;
            }
            Event::Returned { extension, bindings } => {
                for leg in self.legs_mut().filter(|leg| leg.side.extension() == Some(extension)) {
                    leg.come_back(bindings);
                }
                return;
            }
            event => event,
        };
        let event = self.waiting_event(core, event).and_then(|it| self.guest_event(core, it));
        let Some(event) = event else {
            self.fill_place(core);
            return self.rest();
        };
        let state = std::mem::replace(&mut self.state, State::Over(Vec::new()));
        self.state = match state {
            State::Opening(opening) => self.opening(core, opening, event),
            State::Fetching(fetch) => self.fetching(core, fetch, event),
            State::Ringing(ringing) => self.ringing(core, ringing, event),
            State::Talking(talk) => self.talking(core, talk, event),
            State::Parked(parked) => self.parked(core, parked, event),
            State::Moving(moving) => self.moving(core, moving, event),
            State::Over(forks) => self.over(core, forks, event),
        };
        self.fill_place(core);
        self.tell_caller(core);
        self.note_sides(core);
        self.ring_back(core);
        self.rest();
    }

    /// Sees when there is something to do again.
    fn rest(&mut self) {
        let guests = self.guests.until();
        match &self.state {
            State::Ringing(ringing) => self.wake_at = ringing.wake_at(),
            State::Talking(talk) => {
                self.wake_at = talk.wake_at().into_iter().chain(guests).min();
            }
            State::Parked(parked) => {
                self.wake_at = parked.wake_at().into_iter().chain(guests).min();
            }
            State::Opening(_) | State::Fetching(_) | State::Moving(_) | State::Over(_) => {}
        }
    }

    /// Whether nothing more can happen to the call.
    pub(crate) fn is_finished(&self) -> bool {
        let is_over = matches!(&self.state, State::Over(forks) if forks.is_empty());
        is_over && self.relay == Relay::Closed
    }

    /// Whether the call still holds somebody's phone.
    pub(crate) fn is_live(&self) -> bool {
        !matches!(self.state, State::Over(_))
    }

    /// When to be woken by [`Event::Timeout`].
    pub(crate) fn wake_at(&self) -> Option<Instant> {
        self.wake_at.into_iter().chain(self.recording.resumes_at()).min()
    }

    /// What the call has in the core's tables.
    pub(crate) fn entries(&self) -> &Entries {
        &self.entries
    }

    /// Whether this extension talks, calls, rings or is being called back in this call.
    pub(crate) fn holds(&self, extension: &str) -> bool {
        if self.guests.holds(extension) {
            return true;
        }
        match &self.state {
            State::Over(_) => false,
            State::Talking(talk) => talk.holds(extension),
            State::Parked(parked) => parked.holds(extension),
            State::Opening(_) | State::Fetching(_) | State::Moving(_) => {
                self.offer.extension.as_deref() == Some(extension)
            }
            State::Ringing(ringing) => {
                self.offer.extension.as_deref() == Some(extension) || ringing.rings(extension)
            }
        }
    }

    /// The phones and trunks that the call has in use.
    pub(crate) fn uses(&self) -> Vec<(&Side, Hold)> {
        let mut uses = Vec::with_capacity(2);
        match &self.state {
            State::Over(_) => {}
            State::Opening(opening) => uses.extend(opening.sides()),
            State::Fetching(fetch) => uses.extend(rings_at(&fetch.forks, Hold::Talking)),
            State::Ringing(ringing) => uses.extend(ringing.sides()),
            State::Talking(talk) => uses.extend(talk.sides()),
            State::Parked(parked) => uses.push((&parked.waiting().1.side, Hold::Talking)),
            State::Moving(moving) => uses.push((&moving.leg().side, Hold::Talking)),
        }
        uses.extend(self.guests.sides());
        uses
    }

    /// The sides that have answered.
    fn legs_mut(&mut self) -> impl Iterator<Item = &mut leg::Leg> {
        let legs: Vec<&mut leg::Leg> = match &mut self.state {
            State::Talking(talk) => talk.legs.iter_mut().collect(),
            State::Ringing(ringing) => ringing.fetched().into_iter().collect(),
            State::Parked(parked) => vec![parked.leg_mut()],
            State::Moving(moving) => vec![moving.leg_mut()],
            State::Opening(_) | State::Fetching(_) | State::Over(_) => Vec::new(),
        };
        legs.into_iter().chain(self.guests.legs_mut())
    }

    /// Whether a phone of this extension is missed whose connection broke, and may still come back.
    pub(crate) fn is_lost(&self, extension: &str, now: Instant) -> bool {
        let is_lost = |leg: &leg::Leg| leg.side.extension() == Some(extension) && leg.is_lost(now);
        let is_side_lost = match &self.state {
            State::Talking(talk) => talk.legs.iter().any(is_lost),
            State::Parked(parked) => is_lost(parked.waiting().1),
            State::Moving(moving) => is_lost(moving.leg()),
            State::Ringing(ringing) => {
                matches!(ringing.caller(), caller::Caller::Fetched { leg, .. } if is_lost(leg))
            }
            State::Opening(_) | State::Fetching(_) | State::Over(_) => false,
        };
        is_side_lost || self.guests.legs().any(is_lost)
    }

    /// The INVITEs whose dialogs go on from them.
    fn forks_mut(&mut self) -> impl Iterator<Item = &mut Fork> {
        let forks: &mut [Fork] = match &mut self.state {
            State::Fetching(fetch) => &mut fetch.forks,
            State::Ringing(ringing) => ringing.forks_mut(),
            State::Talking(talk) => match &mut talk.transfer {
                Some(transfer) => transfer.forks_mut(),
                None => &mut [],
            },
            State::Opening(_) | State::Parked(_) | State::Moving(_) | State::Over(_) => &mut [],
        };
        forks.iter_mut().chain(self.guests.forks_mut())
    }

    /// Whether an INVITE that had no answer has been sent by another flow of the same phone.
    fn goes_another_way(&mut self, core: &mut Core, client: ClientId) -> bool {
        let (id, mut entries) = (self.id, std::mem::take(&mut self.entries));
        let fork = self.forks_mut().find(|fork| fork.client == client && fork.is_silent());
        let is_sent = fork.is_some_and(|fork| fork.go_another_way(core, id, &mut entries));
        self.entries = entries;
        is_sent
    }

    /// The call is over for everybody: tells so, closes the relay, and waits for the `forks` that
    /// have not had their last answer.
    fn end(&mut self, core: &mut Core, ending: Ending, forks: Vec<Fork>) -> State {
        let Ending { cause, by, status } = ending;
        self.tell(core);
        let mut forks = forks;
        forks.extend(self.dismiss_all(core));
        core.tap(self.id, TapKind::Ended { cause, by, sip_status: status });
        self.over_for_all(core, forks)
    }

    /// Tells of the call, if that was withheld.
    pub(crate) fn tell(&mut self, core: &mut Core) {
        if std::mem::take(&mut self.is_withheld) {
            self.tell_offered(core);
        }
    }

    fn tell_offered(&self, core: &mut Core) {
        core.tap(self.id, TapKind::Offered(self.offer.clone()));
        // A customer's call that one of our phones takes has rung elsewhere.
        let taker = self.offer.extension.clone().filter(|_| self.caller_lane == Lane::Agent);
        if let (Direction::Inbound, Some(extension)) = (self.offer.direction, taker) {
            self.show_taker(core, &Side::Phone { extension });
        }
    }

    /// What everybody is told about the call.
    pub(crate) fn offer(&self) -> &Offer {
        &self.offer
    }

    fn over_for_all(&mut self, core: &mut Core, forks: Vec<Fork>) -> State {
        self.wake_at = None;
        match self.relay {
            Relay::None => self.relay_closed(core, [0, 0], [0, 0]),
            Relay::Open => self.close_relay(core),
            // It will be closed as soon as it has opened.
            Relay::Opening | Relay::Closing | Relay::Closed => {}
        }
        State::Over(forks.into_iter().filter(Fork::is_pending).collect())
    }

    fn close_relay(&mut self, core: &mut Core) {
        core.put(Output::CloseRelay { call_id: self.id });
        self.relay = Relay::Closing;
    }

    fn relay_closed(&mut self, core: &mut Core, received_packets: [u64; 2], dropped: [u64; 2]) {
        if self.relay == Relay::Closed {
            return;
        }
        self.relay = Relay::Closed;
        self.recording.end(core);
        let tap_dropped_packets = dropped;
        if self.is_withheld {
            return;
        }
        core.tap(self.id, TapKind::RelayClosed { received_packets, tap_dropped_packets });
    }

    fn over(&mut self, core: &mut Core, mut forks: Vec<Fork>, event: Event<'_>) -> State {
        match event {
            Event::RelayOpened(_) if self.relay == Relay::Opening => self.close_relay(core),
            Event::RelayFailed => self.relay_closed(core, [0, 0], [0, 0]),
            Event::Response(client, response) if !response.is_provisional() => {
                if let Some(at) = forks.iter().position(|fork| fork.client == client) {
                    let fork = forks.swap_remove(at);
                    if response.is_success() {
                        let reason = fork::CALLER_GONE;
                        fork.hang_up(core, self.id, &mut self.entries, response, reason);
                    }
                }
            }
            Event::NoResponse(client, _) => forks.retain(|fork| fork.client != client),
            Event::Request { server, request, .. } => core.refuse(server, &request, 481),
            _ => {}
        }
        State::Over(forks)
    }

    fn changed(&mut self, core: &mut Core, changes: impl IntoIterator<Item = Change>) {
        for change in changes {
            match change {
                Change::Point(lane, remote) => {
                    core.put(Output::PointRelay { call_id: self.id, lane, remote });
                }
                Change::Tap(kind) => {
                    self.watch_events(core, &kind);
                    core.tap(self.id, kind);
                }
                Change::Protect(lane, protection) => {
                    core.put(Output::ProtectRelay { call_id: self.id, lane, protection });
                }
            }
        }
        self.remix(core);
    }
}

/// Whom these forks ring; phones of one extension count once.
fn rings_at(forks: &[Fork], hold: Hold) -> Vec<(&Side, Hold)> {
    let mut sides: Vec<(&Side, Hold)> = Vec::new();
    for fork in forks.iter().filter(|fork| fork.state == ForkState::Calling) {
        let side = &fork.target.side;
        if side.extension().is_none() || !sides.iter().any(|(known, _)| *known == side) {
            sides.push((side, hold));
        }
    }
    sides
}

/// Gives up all forks that have not answered and tells why their phones stop ringing.
///
/// Phones of one extension share a leg id, and their extension is told once.
fn withdraw_all(
    core: &mut Core,
    call_id: CallId,
    forks: &mut [Fork],
    reason: &str,
    why: &cheling_model::Withdrawal,
) {
    let mut told = Vec::new();
    for fork in forks.iter_mut().filter(|fork| fork.state == ForkState::Calling) {
        fork.cancel(core, reason);
        let is_answerer = |extension: &str| {
            matches!(why,
            cheling_model::Withdrawal::AnsweredElsewhere { extension: other } if other == extension)
        };
        for (leg, extension) in std::mem::take(&mut fork.shown) {
            if !is_answerer(&extension) {
                core.tap(call_id, TapKind::Withdrawn { leg, extension, why: why.clone() });
            }
        }
        let Some(extension) = fork.target.side.extension() else { continue };
        if !is_answerer(extension) && !told.contains(&fork.leg_id) {
            told.push(fork.leg_id);
            core.tap(
                call_id,
                TapKind::Withdrawn {
                    leg: fork.leg_id,
                    extension: extension.to_owned(),
                    why: why.clone(),
                },
            );
        }
    }
}
