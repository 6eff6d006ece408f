//! The rows of calls as they ought to be, and which of them the database has not got yet.
//!
//! An event changes rows here, in memory. What has changed is written a moment later, that of all
//! calls together: a call that rings, is answered and ends costs few statements, not dozens. A
//! database that is away finds everything here when it is back.
//!
//! Belongs here: which row an event changes, and how. Does not: when to write (`desk`), SQL
//! (`records`).

use super::guests;
use cheling_model::call::Stop;
use cheling_model::follow_up::{AttachMethod, Outcome};
use cheling_model::{
    CallId, EndCause, FollowUpId, GuestRole, Lane, LegId, Presentation, Timestamp, UserId,
};
use cheling_records::admin::Audit;
use cheling_records::call::{Call, Leg, Route};
use cheling_records::follow_up::FollowUp;
use cheling_records::guest::Guest;
use cheling_records::ledger::{Entries, LateCaller};
use std::collections::{BTreeMap, BTreeSet};

/// Calls that may wait for a database that is away; beyond it the oldest are given up. The journal
/// still has those whose recordings are not finished.
const MAX_UNWRITTEN: usize = 20_000;
/// Calls kept at most. More than one process carries: the end of the oldest must have been lost.
const MAX_CALLS: usize = 40_000;

/// Every call that goes on, or is not written yet.
#[derive(Debug, Default)]
pub(super) struct Book {
    /// By time, for so are ids.
    calls: BTreeMap<CallId, Entry>,
    unwritten: BTreeSet<CallId>,
    given_up: u64,
}

/// A row, and whether the database has it as it is.
#[derive(Debug)]
struct Kept<T> {
    row: T,
    is_written: bool,
}

/// One call's rows.
#[derive(Debug)]
pub(super) struct Entry {
    call: Kept<Call>,
    legs: Vec<Kept<Leg>>,
    routes: Vec<Kept<Route>>,
    guests: Vec<Kept<Guest>>,
    audits: Vec<Kept<Audit>>,
    late_caller: Option<Kept<LateCaller>>,
    contact: Option<Kept<FollowUp>>,
    /// The link is news to recordings that landed before it.
    is_link_told: bool,
    pub(super) owed: Owed,
}

/// What could not be asked while the database was away, or waits until the rows are written.
#[derive(Clone, Debug, Default)]
pub(super) struct Owed {
    /// Who the other side is.
    pub(super) card: Option<UnreadNumber>,
    /// Which task the call was for.
    pub(super) link: bool,
    /// The call was not answered, which counts as an attempt at its task.
    pub(super) attempt: Option<Attempt>,
}

/// An attempt at a task that is to be counted once the call is written.
#[derive(Clone, Debug)]
pub(super) struct Attempt {
    pub(super) outcome: Outcome,
    pub(super) at: Timestamp,
    /// Who is told.
    pub(super) to: Vec<UserId>,
}

/// A number that nobody has looked up.
#[derive(Clone, Debug)]
pub(super) struct UnreadNumber {
    pub(super) raw: String,
    pub(super) presentation: Presentation,
    /// The task that it was dialled from, as the console says.
    pub(super) task: Option<FollowUpId>,
}

impl<T: Clone> Kept<T> {
    fn new(row: T) -> Self {
        Self { row, is_written: false }
    }

    fn change(&mut self, change: impl FnOnce(&mut T)) {
        change(&mut self.row);
        self.is_written = false;
    }

    fn collect(&mut self, rows: &mut Vec<T>) {
        if !std::mem::replace(&mut self.is_written, true) {
            rows.push(self.row.clone());
        }
    }
}

impl Book {
    pub(super) fn has(&self, call_id: CallId) -> bool {
        self.calls.contains_key(&call_id)
    }

    /// Begins to keep a call.
    pub(super) fn open(&mut self, entry: Entry) {
        let call_id = entry.call.row.call_id;
        if !entry.call.is_written {
            self.unwritten.insert(call_id);
        }
        self.calls.insert(call_id, entry);
        let oldest = match self.unwritten.len() > MAX_UNWRITTEN {
            true => self.unwritten.first().copied(),
            false => self.calls.keys().next().copied().filter(|_| self.calls.len() > MAX_CALLS),
        };
        if let Some(call_id) = oldest {
            self.unwritten.remove(&call_id);
            self.calls.remove(&call_id);
            self.given_up += 1;
            tracing::error!(%call_id, "too much to make up for; what came of a call is given up");
        }
    }

    /// Changes what is kept of a call; it is to be written then.
    pub(super) fn change<T>(
        &mut self,
        call_id: CallId,
        change: impl FnOnce(&mut Entry) -> T,
    ) -> Option<T> {
        let entry = self.calls.get_mut(&call_id)?;
        self.unwritten.insert(call_id);
        Some(change(entry))
    }

    /// A call's row as it ought to be.
    pub(super) fn row(&self, call_id: CallId) -> Option<&Call> {
        self.calls.get(&call_id).map(Entry::row)
    }

    /// How many calls were forgotten before they were over, or before they were written.
    pub(super) fn given_up(&self) -> u64 {
        self.given_up
    }

    /// What is owed to a call.
    pub(super) fn owed(&self, call_id: CallId) -> Option<&Owed> {
        self.calls.get(&call_id).map(|entry| &entry.owed)
    }

    /// How many calls wait to be written.
    pub(super) fn unwritten(&self) -> usize {
        self.unwritten.len()
    }

    /// The attempt of a call that is written.
    pub(super) fn attempt(&self, call_id: CallId) -> Option<Attempt> {
        let owed = self.owed(call_id).filter(|_| !self.unwritten.contains(&call_id));
        owed.and_then(|owed| owed.attempt.clone())
    }

    /// The attempt of a call is counted, or is not to be.
    pub(super) fn attempted(&mut self, call_id: CallId) {
        if let Some(entry) = self.calls.get_mut(&call_id) {
            entry.owed.attempt = None;
        }
        self.settle(&[call_id]);
    }

    /// Whether a call waits to be written.
    pub(super) fn is_unwritten(&self, call_id: CallId) -> bool {
        self.unwritten.contains(&call_id)
    }

    /// The calls that have waited longest.
    pub(super) fn next(&self, most: usize) -> Vec<CallId> {
        self.unwritten.iter().take(most).copied().collect()
    }

    /// What is to be written of these calls; it counts as written until [`Book::put_back`].
    pub(super) fn take(&mut self, calls: &[CallId]) -> Entries {
        let mut entries = Entries::default();
        for call_id in calls {
            self.unwritten.remove(call_id);
            if let Some(entry) = self.calls.get_mut(call_id) {
                entry.collect(&mut entries);
            }
        }
        entries
    }

    /// None of it was written: whatever there is of these calls is to be.
    pub(super) fn put_back(&mut self, calls: &[CallId]) {
        for call_id in calls {
            if let Some(entry) = self.calls.get_mut(call_id) {
                entry.is_to_be_written();
                self.unwritten.insert(*call_id);
            }
        }
    }

    /// Forgets those of these calls that are over, now that they are written.
    pub(super) fn settle(&mut self, calls: &[CallId]) {
        for call_id in calls {
            let Some(entry) = self.calls.get(call_id) else { continue };
            let is_over = entry.row().ended_at.is_some() && entry.owed.attempt.is_none();
            if is_over && !self.unwritten.contains(call_id) {
                self.calls.remove(call_id);
            }
        }
    }
}

impl Entry {
    /// A call that was just offered.
    pub(super) fn new(call: Call) -> Self {
        let is_link_told = call.attach_method.is_none();
        Self {
            call: Kept::new(call),
            legs: Vec::new(),
            routes: Vec::new(),
            guests: Vec::new(),
            audits: Vec::new(),
            late_caller: None,
            contact: None,
            is_link_told,
            owed: Owed::default(),
        }
    }

    /// A call as the database has it.
    pub(super) fn of_rows(
        call: Call,
        legs: Vec<Leg>,
        routes: Vec<Route>,
        guests: Vec<Guest>,
    ) -> Self {
        fn kept<T>(rows: Vec<T>) -> Vec<Kept<T>> {
            rows.into_iter().map(|row| Kept { row, is_written: true }).collect()
        }
        let mut entry = Self::new(call);
        entry.call.is_written = true;
        entry.is_link_told = true;
        Self { legs: kept(legs), routes: kept(routes), guests: kept(guests), ..entry }
    }

    pub(super) fn row(&self) -> &Call {
        &self.call.row
    }

    /// Changes the call's own row.
    pub(super) fn change(&mut self, change: impl FnOnce(&mut Call)) {
        self.call.change(change);
    }

    /// A phone of ours rings.
    pub(super) fn ring(&mut self, leg: Leg) {
        if let Some(at) = leg.ringing_at {
            self.far_end_rings(at);
        }
        if !self.legs.iter().any(|known| known.row.leg_id == leg.leg_id) {
            self.legs.push(Kept::new(leg));
        }
    }

    /// The first phone of the other side rings.
    pub(super) fn far_end_rings(&mut self, at: Timestamp) {
        if self.row().ringing_at.is_none() {
            self.change(|call| call.ringing_at = Some(at));
        }
    }

    /// A phone stopped ringing without talking, as `leg.withdrawn` says.
    pub(super) fn withdraw(&mut self, leg: Leg) {
        match self.leg(leg.leg_id) {
            Some(known) => known.change(|known| {
                known.ended_at = leg.ended_at;
                known.withdrawn = leg.withdrawn;
                known.sip_status = leg.sip_status;
            }),
            None => self.legs.push(Kept::new(leg)),
        }
    }

    fn leg(&mut self, leg_id: LegId) -> Option<&mut Kept<Leg>> {
        self.legs.iter_mut().find(|leg| leg.row.leg_id == leg_id)
    }

    /// A call was sent on. Told twice, it stays once.
    pub(super) fn route(&mut self, at: Timestamp, stop: Stop) {
        let route = Route {
            call_id: self.row().call_id,
            at,
            kind: stop.kind,
            name: stop.name,
            why: stop.why,
            position: 0,
        };
        let known = self.routes.iter().map(|kept| Route { position: 0, ..kept.row.clone() });
        if !known.into_iter().any(|known| known == route) {
            let position = i64::try_from(self.routes.len()).unwrap_or(i64::MAX);
            self.routes.push(Kept::new(Route { position, ..route }));
        }
    }

    /// Both sides talk, ours at this phone.
    pub(super) fn answer(&mut self, extension: &str, user_id: Option<UserId>, at: Timestamp) {
        self.change(|call| {
            call.answered_at.get_or_insert(at);
            extension.clone_into(&mut call.extension);
            call.user_id = user_id;
        });
        let rings = |leg: &&mut Kept<Leg>| {
            leg.row.extension == extension
                && leg.row.answered_at.is_none()
                && leg.row.ended_at.is_none()
        };
        for leg in self.legs.iter_mut().filter(rings) {
            leg.change(|leg| leg.answered_at = Some(at));
        }
    }

    /// The call is over.
    pub(super) fn end(
        &mut self,
        at: Timestamp,
        cause: EndCause,
        by: Option<Lane>,
        sip_status: Option<u16>,
    ) {
        self.change(|call| {
            call.ended_at.get_or_insert(at);
            call.cause = Some(cause);
            call.hangup_by = by;
            call.sip_status = sip_status.map(i64::from);
        });
        for leg in self.legs.iter_mut().filter(|leg| leg.row.ended_at.is_none()) {
            leg.change(|leg| leg.ended_at = Some(at));
        }
        for guest in self.guests.iter_mut().filter(|guest| guest.row.left_at.is_none()) {
            guest.change(|guest| guest.left_at = Some(at));
        }
    }

    /// The caller's number came late.
    pub(super) fn caller_changes(&mut self, late: LateCaller) {
        self.late_caller = Some(Kept::new(late));
    }

    /// The other side's number was looked up at last.
    pub(super) fn matched(&mut self, matched: &Call) {
        if let Some(late) = &mut self.late_caller {
            late.change(|late| late.customer_id = matched.customer_id);
        }
        self.change(|call| {
            call.customer_id = matched.customer_id;
            call.match_method = matched.match_method;
        });
        if let (Some(task), Some(method)) = (matched.follow_up_id, matched.attach_method) {
            self.link(task, method);
        }
    }

    /// The call was for this follow-up, unless it has one.
    pub(super) fn link(&mut self, follow_up_id: FollowUpId, method: AttachMethod) {
        if self.row().attach_method.is_none() {
            self.change(|call| {
                call.follow_up_id = Some(follow_up_id);
                call.attach_method = Some(method);
            });
            self.is_link_told = false;
        }
    }

    /// The call has this contact record, unless it is for something else.
    pub(super) fn contact(&mut self, record: FollowUp) {
        if self.row().attach_method.is_none() {
            self.link(record.follow_up_id, AttachMethod::InboundContact);
            self.contact = Some(Kept::new(record));
        }
    }

    pub(super) fn guest_joins(&mut self, guest: Guest) {
        let is_same = |known: &Kept<Guest>| {
            known.row.guest == guest.guest && known.row.joined_at == guest.joined_at
        };
        if !self.guests.iter().any(is_same) {
            self.guests.push(Kept::new(guest));
        }
    }

    pub(super) fn guest_becomes(&mut self, number: i64, role: GuestRole) {
        for guest in self.guests.iter_mut().filter(|it| guests::is_there(&it.row, number)) {
            guest.change(|guest| guest.role = role);
        }
    }

    pub(super) fn guest_leaves(&mut self, number: i64, at: Timestamp) {
        for guest in self.guests.iter_mut().filter(|it| guests::is_there(&it.row, number)) {
            guest.change(|guest| guest.left_at = Some(at));
        }
    }

    pub(super) fn audit(&mut self, line: Audit) {
        self.audits.push(Kept::new(line));
    }

    fn collect(&mut self, entries: &mut Entries) {
        self.call.collect(&mut entries.calls);
        if let Some(late) = &mut self.late_caller {
            late.collect(&mut entries.late_callers);
        }
        self.legs.iter_mut().for_each(|leg| leg.collect(&mut entries.legs));
        self.routes.iter_mut().for_each(|route| route.collect(&mut entries.routes));
        self.guests.iter_mut().for_each(|guest| guest.collect(&mut entries.guests));
        if let Some(contact) = &mut self.contact {
            contact.collect(&mut entries.contacts);
        }
        self.audits.iter_mut().for_each(|line| line.collect(&mut entries.audits));
        if !std::mem::replace(&mut self.is_link_told, true) {
            entries.linked.push(self.call.row.call_id);
        }
    }

    fn is_to_be_written(&mut self) {
        self.call.is_written = false;
        self.late_caller.iter_mut().for_each(|it| it.is_written = false);
        self.legs.iter_mut().for_each(|it| it.is_written = false);
        self.routes.iter_mut().for_each(|it| it.is_written = false);
        self.guests.iter_mut().for_each(|it| it.is_written = false);
        self.contact.iter_mut().for_each(|it| it.is_written = false);
        self.audits.iter_mut().for_each(|it| it.is_written = false);
        self.is_link_told = self.call.row.attach_method.is_none();
    }
}
