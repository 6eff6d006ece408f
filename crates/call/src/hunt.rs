//! Whom a call rings next: one step of its way at a time, decided when it is due, since who is
//! registered and who talks changes while phones ring.
//!
//! Belongs here: groups, their strategies and overflow, closed lines, the order of trunks. Does
//! not: what is said on the wire (`b2bua`), what a number means (`router`, `dialling`).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use cheling_model::call::{Party, Stop, StopKind, StopReason};
use cheling_model::directory::{Destination, Line, RingGroup, Strategy};
use cheling_model::reach::Reach;
use cheling_model::{CallId, DealershipId, EndCause, GroupId, TapKind};
use cheling_sip::diversion::{Cause, History};
use cheling_sip::refer::Replaces;
use cheling_sip::{Flow, Transport};

use crate::b2bua::{RING_EXTENSION, RING_TRUNK, Target};
use crate::core::Core;
use crate::dialling::{Dialled, Refusal};
use crate::router;
use crate::targets::{Shown, phones, phones_of, trunk_targets};

/// Places that one call is sent to at most.
const MAX_STOPS: usize = 10;
/// A phone is not rung for less.
const SHORTEST_RING: Duration = Duration::from_secs(5);
/// How long a trunk may be silent while there is another.
const TRUNK_PATIENCE: Duration = Duration::from_secs(8);

/// Phones or a trunk that ring at once.
#[derive(Debug)]
pub(crate) struct Way {
    /// All of them.
    pub(crate) targets: Vec<Target>,
    /// For how long.
    pub(crate) ring_for: Duration,
    /// How long they may say nothing at all, if that is less.
    pub(crate) patience: Option<Duration>,
}

/// What became of the way before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// There was none.
    Begun,
    /// It rang, and nobody came.
    RangOut,
    /// All were busy.
    Busy,
    /// None could be reached: no answer to the INVITE, or a failure.
    Unreachable,
    /// Somebody did not want the call, or there is no such number beyond the trunk.
    Refused,
}

impl Fate {
    /// What the final statuses of all forks of a way amount to.
    pub(crate) fn of(statuses: impl IntoIterator<Item = u16>) -> Self {
        let mut fate = None;
        for status in statuses {
            let one = match status {
                486 | 600 => Self::Busy,
                408 | 500..600 => Self::Unreachable,
                _ => Self::Refused,
            };
            fate = match (fate, one) {
                (None, one) => Some(one),
                (Some(Self::Unreachable), one) | (Some(one), Self::Unreachable) => Some(one),
                (Some(a), b) if a == b => Some(a),
                _ => Some(Self::Refused),
            };
        }
        fate.unwrap_or(Self::Unreachable)
    }
}

/// There is nowhere left to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    /// The caller hears the best of what was answered.
    AsAnswered,
    /// The caller hears this.
    With {
        /// The status.
        status: u16,
        /// What the call's record says.
        cause: EndCause,
    },
    /// The number cannot be dialled.
    Refused(Refusal),
}

impl Over {
    /// The status for who asked for a call that rang nobody.
    pub(crate) const fn status(self) -> u16 {
        match self {
            Self::AsAnswered => 480,
            Self::With { status, .. } => status,
            Self::Refused(refusal) => refusal.status(),
        }
    }

    const fn with(status: u16, cause: EndCause) -> Self {
        Self::With { status, cause }
    }
}

/// The way of one call.
#[derive(Debug)]
pub(crate) struct Hunt {
    place: Place,
    visited: Vec<GroupId>,
    stops: usize,
    dealership_id: DealershipId,
    /// The caller as our phones see it.
    caller: Party,
    /// The caller as a trunk without a number of its own shows it.
    shown: String,
    /// An extension that is not to ring: it calls.
    but: Option<String>,
    /// The one device of an extension that is meant.
    device: Option<String>,
    /// The dialog that the call is to take the place of, where it goes.
    replaces: Option<Replaces>,
    /// Whether the stops are told: those of calls to lines.
    is_told: bool,
    /// The number outside that a line's call has gone on to, and why.
    diverted: Option<(String, Cause)>,
    /// Whether only ways by TLS will do.
    is_secure: bool,
}

#[derive(Debug)]
enum Place {
    /// Not there yet.
    Before(Destination, StopReason),
    Group(Box<GroupRing>),
    /// The ways that are left.
    Trunks(VecDeque<Way>),
    /// Nothing follows.
    Last,
    Refused(Refusal),
}

/// A group that rings.
#[derive(Debug)]
struct GroupRing {
    group: RingGroup,
    /// Who has not rung in this round.
    waiting: VecDeque<String>,
    until: Instant,
    /// Whether somebody let it ring in this round.
    has_rung_out: bool,
    /// What the phones came to together.
    fate: Option<Fate>,
}

impl Hunt {
    fn new(place: Place, dealership_id: DealershipId, caller: &Party, shown: &str) -> Self {
        Self {
            place,
            visited: Vec::new(),
            stops: 0,
            dealership_id,
            caller: caller.clone(),
            shown: shown.to_owned(),
            but: None,
            device: None,
            replaces: None,
            is_told: false,
            diverted: None,
            is_secure: false,
        }
    }

    /// A call to a line of ours.
    pub(crate) fn line(core: &Core, line: &Line, caller: &Party) -> Self {
        let directory = &core.directory;
        let offset = router::dealership(directory, line.dealership_id);
        let offset_s = offset.map_or(0, |dealership| dealership.utc_offset_s);
        let is_open =
            line.hours.as_ref().is_none_or(|hours| hours.is_open(core.now.wall, offset_s));
        let place = if is_open {
            Place::Before(Destination::Group(line.group_id), StopReason::Called)
        } else {
            Place::Before(line.closed.clone(), StopReason::Closed)
        };
        let is_told = true;
        Self { is_told, ..Self::new(place, line.dealership_id, caller, &line.did) }
    }

    /// A call to one of our phones.
    pub(crate) fn extension(number: &str, dealership_id: DealershipId, caller: &Party) -> Self {
        let place = Place::Before(Destination::Extension(number.to_owned()), StopReason::Called);
        Self::new(place, dealership_id, caller, &caller.number)
    }

    /// A call out of the house, by the first of these trunks that takes it.
    pub(crate) fn trunks(
        targets: Vec<Target>,
        dealership_id: DealershipId,
        caller: &Party,
    ) -> Self {
        Self::new(Place::Trunks(trunk_ways(targets)), dealership_id, caller, &caller.number)
    }

    /// A call that cannot be made.
    pub(crate) fn refused(refusal: Refusal, dealership_id: DealershipId) -> Self {
        Self::new(Place::Refused(refusal), dealership_id, &Party::default(), "")
    }

    /// Whether whom it rings first may want proof from the caller, so that it is no call yet.
    pub(crate) fn is_tentative(&self) -> bool {
        let Place::Trunks(ways) = &self.place else { return false };
        ways.iter().flat_map(|way| &way.targets).any(|target| target.credentials.is_some())
    }

    /// The same without the phones of this extension.
    pub(crate) fn but(mut self, extension: &str) -> Self {
        self.but = Some(extension.to_owned());
        self
    }

    /// The same, but for one device of the extension alone.
    pub(crate) fn at(mut self, device: Option<String>) -> Self {
        self.device = device;
        self
    }

    /// The same, to take the place of a dialog there.
    pub(crate) fn replacing(mut self, replaces: Option<Replaces>) -> Self {
        self.replaces = replaces;
        self
    }

    /// Adds that the line has sent its call on to a number outside, if it has.
    pub(crate) fn write_diversion(&self, core: &Core, history: &mut History) {
        if let Some((to, cause)) = &self.diverted {
            history.divert(core.address_of(&self.shown), core.address_of(to), *cause);
        }
    }

    /// Shows the caller as he is known now to whoever rings from here on.
    pub(crate) fn rename(&mut self, before: &Party, now: &Party) {
        let waiting = match &mut self.place {
            Place::Trunks(ways) => Some(ways.iter_mut().flat_map(|way| &mut way.targets)),
            _ => None,
        };
        let targets = waiting.into_iter().flatten().map(|target| &mut target.caller);
        for shown in targets.chain([&mut self.caller]).filter(|shown| *shown == before) {
            shown.clone_from(now);
        }
    }

    /// The same, but only over TLS: the caller wants a way that nobody listens in on (RFC 5630).
    pub(crate) fn secure(mut self) -> Self {
        self.is_secure = true;
        self
    }

    /// Whom to ring next, after what became of those before.
    pub(crate) fn next(
        &mut self,
        core: &mut Core,
        call_id: CallId,
        mut fate: Fate,
    ) -> Result<Way, Over> {
        loop {
            let mut way = self.next_way(core, call_id, fate)?;
            for target in &mut way.targets {
                target.replaces.clone_from(&self.replaces);
            }
            if self.is_secure {
                let is_tls =
                    |flow: &Flow| matches!(flow.transport, Transport::Tls | Transport::Wss);
                for target in &mut way.targets {
                    target.spares.retain(|spare| is_tls(&spare.flow));
                }
                way.targets.retain(|target| is_tls(&target.flow));
            }
            if !way.targets.is_empty() {
                return Ok(way);
            }
            fate = Fate::Unreachable;
        }
    }

    fn next_way(&mut self, core: &mut Core, call_id: CallId, fate: Fate) -> Result<Way, Over> {
        match &mut self.place {
            Place::Before(destination, why) => {
                let (destination, why) = (destination.clone(), *why);
                self.enter(core, call_id, destination, why, fate)
            }
            Place::Refused(refusal) => Err(Over::Refused(*refusal)),
            Place::Last => Err(self.last(fate)),
            Place::Trunks(ways) if matches!(fate, Fate::Begun | Fate::Unreachable) => {
                ways.pop_front().ok_or(Over::AsAnswered)
            }
            Place::Trunks(_) => {
                self.place = Place::Last;
                Err(self.last(fate))
            }
            Place::Group(ring) => match ring.next(core, &self.caller, fate) {
                Ok(way) => Ok(way),
                Err((destination, why)) => self.enter(core, call_id, destination, why, fate),
            },
        }
    }

    fn last(&self, fate: Fate) -> Over {
        match fate {
            Fate::RangOut => Over::with(480, EndCause::NoAnswer),
            _ => Over::AsAnswered,
        }
    }

    /// Goes to a place, and on from there while nobody rings.
    fn enter(
        &mut self,
        core: &mut Core,
        call_id: CallId,
        mut destination: Destination,
        mut why: StopReason,
        fate: Fate,
    ) -> Result<Way, Over> {
        loop {
            self.stops += 1;
            let is_loop = match &destination {
                Destination::Group(group_id) => self.visited.contains(group_id),
                _ => false,
            };
            if is_loop || self.stops > MAX_STOPS {
                tracing::warn!(%call_id, "groups send the call round and round; it is refused");
                self.tell(core, call_id, StopKind::Refused, "", StopReason::Loop);
                return Err(Over::with(480, EndCause::NoAnswer));
            }
            let group_id = match &destination {
                Destination::Group(group_id) => *group_id,
                _ => return self.leave(core, call_id, &destination, why, fate),
            };
            self.visited.push(group_id);
            let directory = core.directory.clone();
            let Some(group) = router::group(&directory, group_id) else {
                return Err(Over::with(480, EndCause::NotFound));
            };
            self.tell(core, call_id, StopKind::Group, &group.name, why);
            let mut group = group.clone();
            group.members.retain(|number| self.but.as_deref() != Some(number));
            let mut ring = GroupRing::new(core, group);
            match ring.next(core, &self.caller, Fate::Begun) {
                Ok(way) => {
                    self.place = Place::Group(Box::new(ring));
                    return Ok(way);
                }
                Err((onward, because)) => (destination, why) = (onward, because),
            }
        }
    }

    /// Goes to a place that is no group.
    fn leave(
        &mut self,
        core: &mut Core,
        call_id: CallId,
        destination: &Destination,
        why: StopReason,
        fate: Fate,
    ) -> Result<Way, Over> {
        self.place = Place::Last;
        match destination {
            Destination::Extension(number) => {
                self.tell(core, call_id, StopKind::Extension, number, why);
                let device = self.device.as_deref();
                let targets = phones_of(core, number, device, &self.caller);
                if targets.is_empty() || self.but.as_deref() == Some(number) {
                    tracing::warn!(%call_id, extension = %number, "no phone is registered for it");
                    return Err(Over::with(480, EndCause::NotFound));
                }
                Ok(Way { targets, ring_for: RING_EXTENSION, patience: None })
            }
            Destination::Outside(number) => {
                self.tell(core, call_id, StopKind::Outside, number, why);
                self.diverted = self.is_told.then(|| (number.clone(), cause_of(why)));
                // The dealership has chosen the number: no phone's permission is asked.
                let id = self.dealership_id;
                let shown = Shown { own: &self.shown, forwarded: Some(&self.caller) };
                let out =
                    trunk_targets(core, id, Reach::International, number, Dialled::List, shown);
                let mut ways = match out {
                    Ok(targets) => trunk_ways(targets),
                    Err(refusal) => {
                        tracing::warn!(%call_id, %refusal, "the call cannot go on outside");
                        return Err(Over::with(480, EndCause::Failed));
                    }
                };
                let first = ways.pop_front().ok_or(Over::AsAnswered);
                self.place = Place::Trunks(ways);
                first
            }
            Destination::Busy | Destination::Unavailable | Destination::Group(_) => {
                self.tell(core, call_id, StopKind::Refused, "", why);
                let is_busy = matches!(destination, Destination::Busy);
                Err(match why {
                    StopReason::AllBusy if is_busy => Over::with(486, EndCause::Busy),
                    StopReason::AllBusy => Over::with(480, EndCause::Busy),
                    StopReason::Nobody if !is_busy && fate == Fate::Begun => {
                        tracing::warn!(%call_id, "call refused: no phone is registered for it");
                        Over::with(480, EndCause::NotFound)
                    }
                    _ if is_busy => Over::with(486, EndCause::NoAnswer),
                    StopReason::Closed => Over::with(480, EndCause::NoAnswer),
                    _ => self.last(fate),
                })
            }
        }
    }

    fn tell(&self, core: &mut Core, call_id: CallId, kind: StopKind, name: &str, why: StopReason) {
        if self.is_told {
            core.tap(call_id, TapKind::Routed(Stop { kind, name: name.to_owned(), why }));
        }
    }
}

/// What a carrier is told of why a line's call comes to it.
fn cause_of(why: StopReason) -> Cause {
    match why {
        StopReason::AllBusy => Cause::Busy,
        StopReason::NoAnswer => Cause::NoAnswer,
        StopReason::Nobody => Cause::Unavailable,
        StopReason::Called | StopReason::Closed | StopReason::Loop => Cause::Unconditional,
    }
}

fn trunk_ways(targets: Vec<Target>) -> VecDeque<Way> {
    let last = targets.len().saturating_sub(1);
    let way = |(at, target)| Way {
        targets: vec![target],
        ring_for: RING_TRUNK,
        patience: (at < last).then_some(TRUNK_PATIENCE),
    };
    targets.into_iter().enumerate().map(way).collect()
}

impl GroupRing {
    fn new(core: &Core, group: RingGroup) -> Self {
        let seconds = group.ring_seconds.clamp(5, 600);
        let until = core.now.monotonic + Duration::from_secs(seconds.into());
        Self { group, waiting: VecDeque::new(), until, has_rung_out: false, fate: None }
    }

    /// Who rings next, or where the call goes instead.
    fn next(
        &mut self,
        core: &Core,
        caller: &Party,
        fate: Fate,
    ) -> Result<Way, (Destination, StopReason)> {
        let left = self.until.saturating_duration_since(core.now.monotonic);
        if fate == Fate::Begun {
            self.waiting = self.round(core)?;
            if self.group.strategy == Strategy::RingAll {
                let members = std::mem::take(&mut self.waiting);
                let targets = phones(core, members.iter().map(String::as_str), caller);
                return Ok(Way { targets, ring_for: left, patience: None });
            }
        } else {
            self.note(fate);
        }
        if self.group.strategy == Strategy::RingAll || left < SHORTEST_RING {
            return Err(self.onward());
        }
        let mut rounds = 0;
        loop {
            while let Some(number) = self.waiting.pop_front() {
                let targets = phones(core, std::iter::once(number.as_str()), caller);
                if targets.is_empty() || self.leaves_alone(core, &number) {
                    continue;
                }
                let seconds = self.group.member_seconds.clamp(5, 600);
                let ring_for = Duration::from_secs(seconds.into()).min(left);
                return Ok(Way { targets, ring_for, patience: None });
            }
            // Once more from the front, if somebody may only have been slow.
            rounds += 1;
            if !std::mem::take(&mut self.has_rung_out) || rounds > 1 {
                return Err(self.onward());
            }
            match self.round(core) {
                Ok(waiting) => self.waiting = waiting,
                Err(_) => return Err(self.onward()),
            }
        }
    }

    fn leaves_alone(&self, core: &Core, number: &str) -> bool {
        self.group.skip_busy && core.occupancy.is_talking(number)
    }

    /// The phones of one round, in their order.
    fn round(&self, core: &Core) -> Result<VecDeque<String>, (Destination, StopReason)> {
        let now = core.now.monotonic;
        let is_there = |number: &&String| core.registrar.is_registered(now, number);
        let there: Vec<&String> = self.group.members.iter().filter(is_there).collect();
        if there.is_empty() {
            return Err((self.group.nobody.clone(), StopReason::Nobody));
        }
        let is_free = |number: &&&String| !self.leaves_alone(core, number);
        let mut free: Vec<&String> = there.iter().filter(is_free).copied().collect();
        if free.is_empty() {
            return Err((self.group.all_busy.clone(), StopReason::AllBusy));
        }
        // Who rings for another call already comes last.
        match self.group.strategy {
            Strategy::RingAll => {}
            Strategy::InOrder => free.sort_by_key(|number| core.occupancy.is_ringing(number)),
            Strategy::LongestIdle => free.sort_by_key(|number| {
                (core.occupancy.is_ringing(number), core.occupancy.idle_since(number))
            }),
        }
        Ok(free.into_iter().cloned().collect())
    }

    fn note(&mut self, fate: Fate) {
        self.has_rung_out |= fate == Fate::RangOut;
        self.fate = Some(match self.fate {
            None | Some(Fate::Unreachable) => fate,
            Some(known) if known == fate || fate == Fate::Unreachable => known,
            // Busy and not answered is not answered.
            Some(_) => Fate::Refused,
        });
    }

    fn onward(&self) -> (Destination, StopReason) {
        let group = &self.group;
        match self.fate {
            Some(Fate::Busy) => (group.all_busy.clone(), StopReason::AllBusy),
            Some(Fate::Unreachable) => (group.nobody.clone(), StopReason::Nobody),
            _ => (group.no_answer.clone(), StopReason::NoAnswer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fate_of_a_way_is_what_its_phones_say_together() {
        for (statuses, want) in [
            (&[486, 600][..], Fate::Busy),
            (&[486, 408], Fate::Busy),
            (&[408, 486], Fate::Busy),
            (&[503, 408], Fate::Unreachable),
            (&[486, 603], Fate::Refused),
            (&[404], Fate::Refused),
            (&[], Fate::Unreachable),
        ] {
            assert_eq!(Fate::of(statuses.iter().copied()), want, "{statuses:?}");
        }
    }
}
