//! From the events of the call machines to what each agent's console shows.
//!
//! Each event changes what is known in memory and is answered with notices at once ([`course`]);
//! what it changes in the database ([`book`]) is written a moment later, that of all calls in one
//! transaction. Whoever asks the database for what has just happened has it written first
//! ([`Desk::write`]). Every event may be told again: after a crash the journal's are. A database
//! that is away costs names, never the pop: the card then shows the number alone, and the writes
//! are made up for when it is back.
//!
//! Belongs here: who is told what, when. Does not: numbering and sending (`web`), the card's
//! contents (`card`), which task a call is for (`attach`).

mod book;
mod course;
mod guests;
mod live;
mod oversight;
mod patience;
mod rows;

use crate::{Result, attach, card, date, number};
use book::{Book, Entry};
use cheling_model::card::{Card, CardKind};
use cheling_model::console::{Audibility, CallGuest, ConsoleEvent, Notice, RecordingState};
use cheling_model::number::{CallerNumber, NumberKind, PhoneNumber};
use cheling_model::recording::Recording;
use cheling_model::{
    CallId, CustomerId, DealershipId, Direction, FollowUpId, Presentation, TapEvent, TapKind,
    Timestamp, UserId,
};
use cheling_records::call::MatchMethod;
use cheling_records::{Database, admin, call, guest, recording, switchboard, user};
use live::{Live, Seat};
pub use live::{LiveCall, LiveState, RunningCall};
pub use oversight::Silence;
use patience::{Patience, Written};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

/// How long what has changed waits for more of its kind before it is written.
const WRITE_AFTER: Duration = Duration::from_millis(100);
/// Calls written in one transaction at most.
const AT_ONCE: usize = 200;
/// How long the end of a call may still be on its way here when its recording is done.
const END_PATIENCE: Duration = Duration::from_secs(2);
/// Calls that wait to be written, at which whoever tells of more waits too.
const MANY: usize = 2 * AT_ONCE;

/// Pops, call records and live calls. Feed [`Desk::handle`] from one task, in order, and call
/// [`Desk::write`] whenever [`Desk::due`] says so.
#[derive(Debug)]
pub struct Desk {
    db: Database,
    phones: RwLock<Arc<Phones>>,
    live: Mutex<Live>,
    book: Mutex<Book>,
    patience: Patience,
    /// Events of one call must not overtake each other.
    order: tokio::sync::Mutex<()>,
    /// One transaction at a time; whoever has it has seen the one before end.
    writing: tokio::sync::Mutex<()>,
    has_changed: tokio::sync::Notify,
    has_ended: tokio::sync::Notify,
}

/// What is asked for each event and changes seldom.
#[derive(Debug, Default)]
struct Phones {
    /// By extension number.
    seats: HashMap<String, Seat>,
    line_names: HashMap<cheling_model::LineId, String>,
    area_codes: HashMap<DealershipId, String>,
    user_names: HashMap<UserId, String>,
    /// Who is told of alarms in the calls of others.
    overseers: HashMap<DealershipId, Vec<UserId>>,
}

impl Desk {
    /// Reads phones, lines and users.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`].
    pub async fn new(db: Database) -> Result<Self> {
        let desk = Self {
            db,
            phones: RwLock::default(),
            live: Mutex::default(),
            book: Mutex::default(),
            patience: Patience::default(),
            order: tokio::sync::Mutex::default(),
            writing: tokio::sync::Mutex::default(),
            has_changed: tokio::sync::Notify::new(),
            has_ended: tokio::sync::Notify::new(),
        };
        desk.reload().await?;
        Ok(desk)
    }

    /// Reads phones, lines and users again: after any of them changed.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`]: what was known stays.
    pub async fn reload(&self) -> Result<()> {
        let mut phones = Phones::default();
        for dealership in admin::dealerships(&self.db).await? {
            for user in user::list(&self.db, dealership.dealership_id).await? {
                if user.role.oversees() && !user.disabled {
                    let overseers = phones.overseers.entry(dealership.dealership_id);
                    overseers.or_default().push(user.user_id);
                }
                phones.user_names.insert(user.user_id, user.display_name);
            }
            phones.area_codes.insert(dealership.dealership_id, dealership.area_code);
        }
        for phone in switchboard::phones(&self.db, None).await? {
            let seat = Seat { dealership_id: phone.dealership_id, user_id: phone.user_id };
            phones.seats.insert(phone.number, seat);
        }
        for line in switchboard::lines(&self.db, None).await? {
            phones.line_names.insert(line.line_id, line.name);
        }
        *self.phones.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(phones);
        Ok(())
    }

    /// Takes one event; answers who is to be told what. It is written down later.
    pub async fn handle(&self, event: TapEvent) -> Vec<Notice> {
        let _in_order = self.order.lock().await;
        let mut notices = self.take(event).await;
        if self.book().unwritten() >= MANY && !self.patience.is_away() {
            notices.extend(self.write().await);
        }
        notices
    }

    /// Takes an event of a call that is over, told again from the journal: what is missing of it
    /// is written, and nobody is told.
    pub async fn replay(&self, event: TapEvent) {
        self.handle(event).await;
    }

    /// Waits until something has waited long enough to be written.
    pub async fn due(&self) {
        while self.book().unwritten() == 0 {
            self.has_changed.notified().await;
        }
        tokio::time::sleep(WRITE_AFTER).await;
    }

    /// Writes what has changed; what happened before the call is in the database after it, unless
    /// the database is away. Answers who is to be told what came of it.
    pub async fn write(&self) -> Vec<Notice> {
        let _one_at_a_time = self.writing.lock().await;
        let mut notices = Vec::new();
        // What is told in the meantime may wait for the next time.
        let mut left = self.book().unwritten();
        while left > 0 && !self.patience.is_away() {
            let calls = self.book().next(AT_ONCE.min(left));
            left -= calls.len();
            for &call_id in &calls {
                self.make_up(call_id).await;
            }
            if calls.is_empty() || self.patience.is_away() {
                break;
            }
            self.write_calls(&calls).await;
            for call_id in calls {
                notices.extend(self.attempted(call_id).await);
            }
        }
        notices
    }

    /// Writes the rows of answered calls that are over, their ends included: for whoever makes the
    /// journal forget them, so that a crash cannot leave a call without its end. An end that is
    /// still on its way here is waited for.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`].
    pub async fn write_ended(&self, calls: &[CallId]) -> Result<()> {
        self.await_ends(calls).await;
        let _one_at_a_time = self.writing.lock().await;
        let is_unwritten = |call_id: &CallId| self.book().is_unwritten(*call_id);
        let unwritten: Vec<_> = calls.iter().copied().filter(is_unwritten).collect();
        if unwritten.is_empty() {
            return Ok(());
        }
        for &call_id in &unwritten {
            self.make_up(call_id).await;
        }
        if !self.patience.is_away() {
            self.write_calls(&unwritten).await;
        }
        match self.patience.is_away() {
            true => Err(crate::Error::Unavailable("the calls' rows are not written yet".into())),
            false => Ok(()),
        }
    }

    /// Waits until none of these calls goes on, but not for ever: an event may have been lost.
    async fn await_ends(&self, calls: &[CallId]) {
        let goes_on =
            |call_id: &CallId| self.book().row(*call_id).is_some_and(|row| row.ended_at.is_none());
        let ends = async {
            loop {
                let ended = self.has_ended.notified();
                if !calls.iter().any(goes_on) {
                    return;
                }
                ended.await;
            }
        };
        if tokio::time::timeout(END_PATIENCE, ends).await.is_err() {
            let call_id = calls.iter().find(|call_id| goes_on(call_id));
            tracing::warn!(?call_id, "the recording of a call is done whose end was not told");
        }
    }

    async fn write_calls(&self, calls: &[CallId]) {
        let entries = self.book().take(calls);
        let mut taken = Taken { desk: self, calls };
        match self.patience.written(entries.write(&self.db)).await {
            Written::Done => taken.settle(),
            Written::Away => {}
            // One of them is to blame, and the others shall not suffer for it.
            Written::Refused if calls.len() > 1 => {
                drop(taken);
                for call_id in calls {
                    Box::pin(self.write_calls(std::slice::from_ref(call_id))).await;
                }
            }
            Written::Refused => {
                tracing::error!(call_id = ?calls.first(), "the database refuses a call's rows");
                taken.settle();
            }
        }
    }

    /// Marks calls over that began before `before` and whose end nobody will tell: at start-up,
    /// after the journal was replayed. Answers how many.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`].
    pub async fn close_stale(&self, before: Timestamp) -> Result<u64> {
        self.write().await;
        call::close_stale(&self.db, before).await
    }

    /// How many calls have something that waits to be written.
    pub fn backlog(&self) -> usize {
        self.book().unwritten()
    }

    /// How many calls were given up because the database was away for too long.
    pub fn given_up(&self) -> u64 {
        self.book().given_up()
    }

    async fn take(&self, event: TapEvent) -> Vec<Notice> {
        let TapEvent { call_id, at, kind } = event;
        match kind {
            TapKind::Offered(offer) => self.offered(call_id, at, offer).await,
            TapKind::CallerChanged { caller } => self.caller_changed(call_id, at, caller).await,
            TapKind::Ringing { leg, extension } => self.ringing(call_id, at, leg, &extension).await,
            TapKind::Routed(stop) => {
                self.keep(call_id, |entry| entry.route(at, stop)).await;
                Vec::new()
            }
            TapKind::FarEndRinging => {
                self.keep(call_id, |entry| entry.far_end_rings(at)).await;
                self.live().update(call_id, |live| live.far_end_ringing = true);
                self.updated(call_id, at, |it| it.far_end_ringing = Some(true))
            }
            TapKind::TrunkChanged { trunk } => {
                self.keep(call_id, |entry| entry.change(|call| call.trunk = trunk)).await;
                Vec::new()
            }
            TapKind::Withdrawn { leg, extension, why } => {
                self.withdrawn(call_id, at, leg, &extension, why).await
            }
            TapKind::Answered { extension } => self.answered(call_id, at, &extension).await,
            TapKind::RecordingPaused { by, until } => {
                let recording = RecordingState::Paused { since: at, until };
                self.recording(call_id, at, by, recording).await
            }
            TapKind::RecordingResumed { by } => {
                self.recording(call_id, at, by, RecordingState::On).await
            }
            TapKind::Held { .. } => self.held(call_id, at, true),
            TapKind::Resumed { .. } => self.held(call_id, at, false),
            TapKind::Ended { cause, by, sip_status } => {
                self.ended(call_id, at, cause, by, sip_status).await
            }
            TapKind::GuestCalled { guest, role, number } => {
                self.guest_called(call_id, at, guest, role, number)
            }
            TapKind::GuestJoined { guest, role, extension, number } => {
                let seat = guests::Seat { guest, role, extension, number };
                self.guest_joined(call_id, at, seat).await
            }
            TapKind::GuestChanged { guest, role } => {
                self.guest_changed(call_id, at, guest, role).await
            }
            TapKind::GuestLeft { guest } => self.guest_left(call_id, at, guest).await,
            TapKind::Transfer { to, stage, .. } => self.transfer(call_id, at, to, stage),
            TapKind::Consulting { with } => self.consulting(call_id, at, with.is_some()),
            TapKind::Formats { .. }
            | TapKind::MediaRefused { .. }
            | TapKind::RelayClosed { .. } => Vec::new(),
        }
    }

    /// Recordings have their rows: attaches them, and tells who talked.
    pub async fn recordings_landed(&self, landed: &[Recording], at: Timestamp) -> Vec<Notice> {
        let Some(first) = landed.first() else { return Vec::new() };
        let mut notices = Vec::new();
        if landed.iter().any(|it| self.book().is_unwritten(it.call_id)) {
            notices = self.write().await;
        }
        let calls: Vec<_> = landed.iter().map(|it| it.call_id).collect();
        let asked = recording::landings(&self.db, &calls);
        let Some(landings) = self.tried(first.call_id, asked).await else { return notices };
        for it in landed {
            let Some(call) = landings.iter().find(|call| call.call_id == it.call_id) else {
                continue;
            };
            let is_settled = call.attach_method.is_some() || call.direction == Direction::Internal;
            let follow_up_id = match is_settled && !call.is_behind {
                true => call.follow_up_id,
                false => {
                    let link = self.tried(it.call_id, attach::run(&self.db, it.call_id)).await;
                    link.flatten().map(|(id, _)| id)
                }
            };
            let Some(user_id) = call.user_id else { continue };
            let event = ConsoleEvent::RecordingReady {
                call_id: it.call_id,
                recording_id: it.recording_id,
                duration_ms: it.duration_us / 1000,
                verdict: it.verdict,
                follow_up_id,
            };
            notices.push(Notice { to: vec![user_id], at, event });
        }
        notices
    }

    /// The calls at a user's phones now, the oldest first: the snapshot of a console that opens.
    pub fn live_calls(&self, user_id: UserId) -> Vec<LiveCall> {
        self.live().of_user(user_id)
    }

    /// How many calls are going on.
    pub fn live_count(&self) -> usize {
        self.live().len()
    }

    /// The agent chose a customer for a call: links it, and answers the new card.
    ///
    /// # Errors
    /// [`crate::Error::NotFound`] if call or customer are not of this dealership.
    pub async fn choose(
        &self,
        dealership_id: DealershipId,
        call_id: CallId,
        customer_id: CustomerId,
        at: Timestamp,
    ) -> Result<(Card, Vec<Notice>)> {
        self.write().await;
        let row = call::find(&self.db, dealership_id, call_id).await?;
        let area = self.phones().area_code(dealership_id);
        let number = number::read(&row.customer_number, &area);
        let raw = row.customer_number.as_str();
        let (number, current) = (number.as_ref(), Some(call_id));
        let card =
            card::of_customer(&self.db, dealership_id, customer_id, raw, number, current).await?;
        let method = if row.ended_at.is_some() { MatchMethod::Manual } else { MatchMethod::Chosen };
        let mut tx = self.db.begin().await?;
        call::link_customer(&mut tx, dealership_id, call_id, Some(customer_id), method).await?;
        cheling_records::follow_up::set_origin_customer(&mut tx, call_id, Some(customer_id), at)
            .await?;
        tx.commit().await?;
        self.live().update(call_id, |live| live.card = card.clone());
        let shown = Box::new(card.clone());
        Ok((card, self.updated(call_id, at, |it| it.card = Some(shown))))
    }

    /// The card of any number, without a call: `GET /lookup`.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`].
    pub async fn lookup(
        &self,
        dealership_id: DealershipId,
        raw: &str,
        at: Timestamp,
    ) -> Result<Card> {
        match self.read_number(dealership_id, raw, Presentation::Allowed) {
            CallerNumber::Withheld => Ok(card::withheld()),
            CallerNumber::Known(number) => {
                let today = date::text(at);
                card::of_number(&self.db, dealership_id, raw, &number, None, &today).await
            }
        }
    }

    /// A `call.updated` to everybody at the call, with what `fill` puts in.
    fn updated(
        &self,
        call_id: CallId,
        at: Timestamp,
        fill: impl FnOnce(&mut Update),
    ) -> Vec<Notice> {
        let to = self.live().get(call_id).map(live::Call::audience).unwrap_or_default();
        if to.is_empty() {
            return Vec::new();
        }
        let mut update = Update::default();
        fill(&mut update);
        let Update {
            card,
            held,
            far_end_ringing,
            follow_up_id,
            recording,
            audio,
            guests,
            consulting,
            transferring,
        } = update;
        let event = ConsoleEvent::CallUpdated {
            call_id,
            card,
            held,
            far_end_ringing,
            follow_up_id,
            recording,
            audio,
            guests,
            consulting,
            transferring,
        };
        vec![Notice { to, at, event }]
    }

    fn read_number(
        &self,
        dealership_id: DealershipId,
        raw: &str,
        presentation: Presentation,
    ) -> CallerNumber {
        let phones = self.phones();
        let area = phones.area_code(dealership_id);
        number::caller(raw, presentation, &area, |number| {
            phones.seats.get(number).is_some_and(|seat| seat.dealership_id == dealership_id)
        })
    }

    fn phones(&self) -> Arc<Phones> {
        self.phones.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn live(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what is kept of a call, to be written. A call that is not at hand any more is read
    /// from the database; one that is not there either was never told of, and is left.
    async fn keep<T>(&self, call_id: CallId, change: impl FnOnce(&mut Entry) -> T) -> Option<T> {
        if !self.book().has(call_id) {
            let entry = self.tried(call_id, self.read(call_id)).await.flatten();
            let Some(entry) = entry else {
                tracing::warn!(%call_id, "an event of a call that nobody told of is not kept");
                return None;
            };
            self.book().open(entry);
        }
        let changed = self.book().change(call_id, change);
        self.has_changed.notify_one();
        changed
    }

    async fn read(&self, call_id: CallId) -> Result<Option<Entry>> {
        let Some(row) = call::any(&self.db, call_id).await? else { return Ok(None) };
        let legs = call::legs(&self.db, call_id).await?;
        let routes = call::route(&self.db, call_id).await?;
        let guests = guest::of_call(&self.db, call_id).await?;
        Ok(Some(Entry::of_rows(row, legs, routes, guests)))
    }

    /// Waits for a statement as long as is right; the call goes on without it.
    async fn tried<T>(
        &self,
        call_id: CallId,
        statement: impl Future<Output = Result<T>>,
    ) -> Option<T> {
        self.patience.tried(call_id, statement).await
    }
}

/// Calls whose rows are on their way to the database. Dropped before it is settled, also because
/// nobody waits any more, it puts them back.
struct Taken<'a> {
    desk: &'a Desk,
    calls: &'a [CallId],
}

impl Taken<'_> {
    fn settle(&mut self) {
        self.desk.book().settle(std::mem::take(&mut self.calls));
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.desk.book().put_back(self.calls);
    }
}

/// What a `call.updated` may carry.
#[derive(Default)]
struct Update {
    card: Option<Box<Card>>,
    held: Option<bool>,
    far_end_ringing: Option<bool>,
    follow_up_id: Option<FollowUpId>,
    recording: Option<RecordingState>,
    audio: Option<Audibility>,
    guests: Option<Vec<CallGuest>>,
    consulting: Option<bool>,
    transferring: Option<String>,
}

impl Phones {
    fn user_of(&self, extension: &str) -> Option<UserId> {
        self.seats.get(extension).and_then(|seat| seat.user_id)
    }

    fn area_code(&self, dealership_id: DealershipId) -> String {
        self.area_codes.get(&dealership_id).cloned().unwrap_or_default()
    }
}

/// Whether a card is of a customer, so that the call can be linked to it.
pub(crate) fn is_known(card: &Card) -> bool {
    card.kind == CardKind::Known
}

/// Whether a number may have a customer at all.
pub(crate) fn is_outside(number: &PhoneNumber) -> bool {
    number.kind != NumberKind::Internal
}

#[cfg(test)]
mod tests;
