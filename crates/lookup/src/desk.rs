//! From the events of the call machines to what each agent's console shows.
//!
//! Each event is written down and answered with notices. Every write may be repeated: after a
//! crash the journal's events are given again. A database that is away costs names, never the
//! pop: the card then shows the number alone, and the writes are made up for when it is back.
//!
//! Belongs here: who is told what, when. Does not: numbering and sending (`web`), the card's
//! contents (`card`), which task a call is for (`attach`).

mod guests;
mod live;
mod oversight;
mod patience;
mod write;

use crate::{Result, attach, card, date, follow_up, number};
use cheling_model::call::Offer;
use cheling_model::card::{Card, CardKind};
use cheling_model::console::{Audibility, CallGuest, ConsoleEvent, Notice, RecordingState};
use cheling_model::follow_up::{AttachMethod, Outcome};
use cheling_model::number::{CallerNumber, NumberKind, PhoneNumber};
use cheling_model::recording::Recording;
use cheling_model::{
    CallId, CustomerId, DealershipId, Direction, EndCause, FollowUpId, Lane, LegId, Presentation,
    TapEvent, TapKind, Timestamp, UserId, Withdrawal,
};
use cheling_records::call::MatchMethod;
use cheling_records::{Database, admin, call, switchboard, user};
use live::{Live, Seat};
pub use live::{LiveCall, LiveState, RunningCall};
pub use oversight::Silence;
use patience::Patience;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

/// Pops, call records and live calls. Feed [`Desk::handle`] from one task, in order.
#[derive(Debug)]
pub struct Desk {
    db: Database,
    phones: RwLock<Arc<Phones>>,
    live: Mutex<Live>,
    patience: Patience,
    /// Events of one call must not overtake each other.
    order: tokio::sync::Mutex<()>,
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
            patience: Patience::default(),
            order: tokio::sync::Mutex::default(),
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

    /// Takes one event: writes it down, and answers who is to be told what.
    pub async fn handle(&self, event: TapEvent) -> Vec<Notice> {
        let _in_order = self.order.lock().await;
        self.catch_up().await;
        self.patience.begin();
        let notices = self.take(event.clone()).await;
        if self.patience.has_failed() {
            self.patience.keep(event);
        }
        notices
    }

    /// Marks calls over that began before `before` and whose end nobody will tell: at start-up,
    /// after the journal was replayed. Answers how many.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`].
    pub async fn close_stale(&self, before: Timestamp) -> Result<u64> {
        call::close_stale(&self.db, before).await
    }

    /// Writes what could not be written before, oldest first, until it is done or fails again.
    async fn catch_up(&self) {
        while !self.patience.is_away()
            && let Some(event) = self.patience.next_kept()
        {
            self.patience.begin();
            // Everybody was told when it happened.
            self.take(event.clone()).await;
            if self.patience.has_failed() {
                self.patience.put_back(event);
                return;
            }
        }
    }

    /// Writes what a database that was away has missed, if it is back. To be called now and then: the
    /// next event may be a long time coming.
    pub async fn make_up(&self) {
        if self.backlog() > 0 {
            let _in_order = self.order.lock().await;
            self.catch_up().await;
        }
    }

    /// How many events wait for a database that is away.
    pub fn backlog(&self) -> usize {
        self.patience.backlog()
    }

    async fn take(&self, event: TapEvent) -> Vec<Notice> {
        let TapEvent { call_id, at, kind } = event;
        match kind {
            TapKind::Offered(offer) => self.offered(call_id, at, offer).await,
            TapKind::CallerChanged { caller } => self.caller_changed(call_id, at, caller).await,
            TapKind::Ringing { leg, extension } => self.ringing(call_id, at, leg, &extension).await,
            TapKind::Routed(stop) => {
                self.tried(call_id, call::routed(&self.db, call_id, at, &stop)).await;
                Vec::new()
            }
            TapKind::FarEndRinging => {
                self.tried(call_id, call::far_end_ringing(&self.db, call_id, at)).await;
                self.live().update(call_id, |live| live.far_end_ringing = true);
                self.updated(call_id, at, |it| it.far_end_ringing = Some(true))
            }
            TapKind::TrunkChanged { trunk } => {
                self.tried(call_id, call::trunk_changed(&self.db, call_id, &trunk)).await;
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
            TapKind::Formats { .. } | TapKind::RelayClosed { .. } => Vec::new(),
        }
    }

    /// A recording has its row: attaches it, and tells who talked.
    pub async fn recording_landed(&self, recording: &Recording, at: Timestamp) -> Vec<Notice> {
        let call_id = recording.call_id;
        let link = self.tried(call_id, attach::run(&self.db, call_id)).await.flatten();
        let row = self.tried(call_id, call::any(&self.db, call_id)).await.flatten();
        let Some(user_id) = row.and_then(|row| row.user_id) else { return Vec::new() };
        let event = ConsoleEvent::RecordingReady {
            call_id,
            recording_id: recording.recording_id,
            duration_ms: recording.duration_us / 1000,
            verdict: recording.verdict,
            follow_up_id: link.map(|(id, _)| id),
        };
        vec![Notice { to: vec![user_id], at, event }]
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

    async fn offered(&self, call_id: CallId, at: Timestamp, offer: Offer) -> Vec<Notice> {
        let phones = self.phones();
        let (raw, presentation) = match offer.direction {
            Direction::Inbound => (offer.caller.number.as_str(), offer.caller.presentation),
            Direction::Outbound => (offer.called.as_str(), Presentation::Allowed),
            Direction::Internal => ("", Presentation::Unavailable),
        };
        let read = self.read_number(offer.dealership_id, raw, presentation);
        let (card, task) = match offer.direction {
            // The callee sees who calls; the caller's own bar is turned round when it is told.
            Direction::Internal => (card::internal(&offer.caller.number), None),
            Direction::Inbound | Direction::Outbound => {
                self.card(&offer, call_id, at, raw, &read).await
            }
        };
        let user_id = offer
            .user_id
            .or_else(|| offer.extension.as_ref().and_then(|number| phones.user_of(number)));
        let row = write::call_row(call_id, at, &offer, &read, &card, user_id, task);
        if self.tried(call_id, call::offered(&self.db, &row)).await == Some(false) {
            let row = self.tried(call_id, call::any(&self.db, call_id)).await.flatten();
            if row.is_some_and(|row| row.ended_at.is_some()) {
                // A replay of what everybody has seen.
                return Vec::new();
            }
        }
        let line_name =
            offer.line_id.and_then(|id| phones.line_names.get(&id)).cloned().unwrap_or_default();
        let dialling = match offer.direction {
            Direction::Inbound => None,
            Direction::Outbound | Direction::Internal => user_id.zip(offer.extension.clone()),
        };
        let live = live::Call {
            call_id,
            dealership_id: offer.dealership_id,
            direction: offer.direction,
            line_name,
            called: offer.called.clone(),
            offered_at: at,
            follow_up_id: task,
            card,
            dialling: dialling.clone(),
            ringing: Vec::new(),
            talking: None,
            talks_at: String::new(),
            answered_at: None,
            held: false,
            far_end_ringing: false,
            recording: RecordingState::On,
            audio: Audibility::Both,
            audible_since: None,
            guests: Vec::new(),
            consulting: false,
            transferring: String::new(),
        };
        let notice = dialling.map(|(user_id, extension)| live.offer_to(user_id, &extension, at));
        self.live().insert(live);
        notice.into_iter().collect()
    }

    /// The card of a call, and the task it was dialled from if that is really one.
    async fn card(
        &self,
        offer: &Offer,
        call_id: CallId,
        at: Timestamp,
        raw: &str,
        read: &CallerNumber,
    ) -> (Card, Option<FollowUpId>) {
        let CallerNumber::Known(number) = read else { return (card::withheld(), None) };
        let found = async {
            let dealership_id = offer.dealership_id;
            if let Some(follow_up_id) = offer.follow_up_id
                && let Ok(task) =
                    cheling_records::follow_up::find(&self.db, dealership_id, follow_up_id).await
            {
                let card = match task.customer_id {
                    Some(customer_id) => {
                        let (number, current) = (Some(number), Some(call_id));
                        card::of_customer(
                            &self.db,
                            dealership_id,
                            customer_id,
                            raw,
                            number,
                            current,
                        )
                        .await?
                    }
                    None => self.number_card(dealership_id, raw, number, call_id, at).await?,
                };
                return Ok((card, Some(follow_up_id)));
            }
            Ok((self.number_card(dealership_id, raw, number, call_id, at).await?, None))
        };
        self.tried(call_id, found).await.unwrap_or_else(|| (card::unknown(raw, number), None))
    }

    async fn number_card(
        &self,
        dealership_id: DealershipId,
        raw: &str,
        number: &PhoneNumber,
        call_id: CallId,
        at: Timestamp,
    ) -> Result<Card> {
        let today = date::text(at);
        card::of_number(&self.db, dealership_id, raw, number, Some(call_id), &today).await
    }

    async fn caller_changed(
        &self,
        call_id: CallId,
        at: Timestamp,
        caller: cheling_model::call::Party,
    ) -> Vec<Notice> {
        let Some((dealership_id, direction)) =
            self.live().get(call_id).map(|live| (live.dealership_id, live.direction))
        else {
            return Vec::new();
        };
        if direction != Direction::Inbound {
            return Vec::new();
        }
        let read = self.read_number(dealership_id, &caller.number, caller.presentation);
        let card = match &read {
            CallerNumber::Withheld => card::withheld(),
            CallerNumber::Known(number) => {
                let raw = caller.number.as_str();
                let found = self.number_card(dealership_id, raw, number, call_id, at);
                self.tried(call_id, found).await.unwrap_or_else(|| card::unknown(raw, number))
            }
        };
        let key = write::key_of(&read);
        let customer_id = write::customer_of(&card);
        let written = call::caller_changed(&self.db, call_id, &caller, key, customer_id);
        self.tried(call_id, written).await;
        self.live().update(call_id, |live| live.card = card.clone());
        self.updated(call_id, at, |it| it.card = Some(Box::new(card)))
    }

    async fn ringing(
        &self,
        call_id: CallId,
        at: Timestamp,
        leg: LegId,
        extension: &str,
    ) -> Vec<Notice> {
        let user_id = self.phones().user_of(extension);
        let row = write::leg_row(call_id, leg, extension, user_id, Some(at));
        self.tried(call_id, call::ringing(&self.db, &row)).await;
        let Some(user_id) = user_id else { return Vec::new() };
        let mut live = self.live();
        let Some(call) = live.get_mut(call_id) else { return Vec::new() };
        let is_new = call.rings_at(leg, user_id, extension);
        if is_new { vec![call.offer_to(user_id, extension, at)] } else { Vec::new() }
    }

    async fn withdrawn(
        &self,
        call_id: CallId,
        at: Timestamp,
        leg: LegId,
        extension: &str,
        why: Withdrawal,
    ) -> Vec<Notice> {
        let phones = self.phones();
        let user_id = phones.user_of(extension);
        let row = write::withdrawn_row(call_id, leg, extension, user_id, at, &why);
        self.tried(call_id, call::withdrawn(&self.db, &row)).await;
        let mut live = self.live();
        let Some(call) = live.get_mut(call_id) else { return Vec::new() };
        let Some(user_id) = call.stops_ringing(leg) else { return Vec::new() };
        let answered_by = match &why {
            Withdrawal::AnsweredElsewhere { extension } => {
                let answerer = phones.user_of(extension);
                if answerer == Some(user_id) {
                    // The same person, at another phone.
                    return Vec::new();
                }
                let name = answerer.and_then(|id| phones.user_names.get(&id)).cloned();
                Some(name.unwrap_or_else(|| extension.clone()))
            }
            _ => None,
        };
        if call.concerns(user_id) {
            return Vec::new();
        }
        let event = ConsoleEvent::CallWithdrawn { call_id, why, answered_by };
        vec![Notice { to: vec![user_id], at, event }]
    }

    async fn answered(&self, call_id: CallId, at: Timestamp, extension: &str) -> Vec<Notice> {
        let dialling = self.live().get(call_id).and_then(|live| live.dialling.clone());
        let is_outbound =
            self.live().get(call_id).is_some_and(|live| live.direction == Direction::Outbound);
        let user_id = match &dialling {
            Some((user_id, _)) if is_outbound => Some(*user_id),
            _ => self.phones().user_of(extension),
        };
        let written = call::answered(&self.db, call_id, extension, user_id, at);
        self.tried(call_id, written).await;
        let link = self.tried(call_id, attach::run(&self.db, call_id)).await.flatten();
        let mut notices = Vec::new();
        {
            let mut live = self.live();
            let Some(call) = live.get_mut(call_id) else { return Vec::new() };
            call.answered_at.get_or_insert(at);
            call.audible_since = Some(at);
            let former = call.talking.take();
            call.talking = user_id.map(|user_id| (user_id, extension.to_owned()));
            extension.clone_into(&mut call.talks_at);
            notices.extend(call.handed_on(former, at));
            if let Some(user_id) = user_id {
                call.ringing.retain(|ring| ring.user_id != user_id);
            }
            for (user_id, extension) in call.talkers() {
                let event = ConsoleEvent::CallAnswered { call_id, extension, answered_at: at };
                notices.push(Notice { to: vec![user_id], at, event });
            }
        }
        notices.extend(self.linked(call_id, at, link));
        notices
    }

    /// Tells who talks which follow-up the call belongs to, if that is news.
    fn linked(&self, call_id: CallId, at: Timestamp, link: Option<attach::Link>) -> Vec<Notice> {
        let Some((follow_up_id, _)) = link else { return Vec::new() };
        let is_news = self
            .live()
            .update(call_id, |live| live.follow_up_id.replace(follow_up_id) != Some(follow_up_id))
            .unwrap_or(false);
        if !is_news {
            return Vec::new();
        }
        self.updated(call_id, at, |it| it.follow_up_id = Some(follow_up_id))
    }

    fn held(&self, call_id: CallId, at: Timestamp, held: bool) -> Vec<Notice> {
        self.live().update(call_id, |live| {
            live.held = held;
            live.audible_since = Some(at);
        });
        self.updated(call_id, at, |it| it.held = Some(held))
    }

    async fn ended(
        &self,
        call_id: CallId,
        at: Timestamp,
        cause: EndCause,
        by: Option<Lane>,
        sip_status: Option<u16>,
    ) -> Vec<Notice> {
        let written = call::ended(&self.db, call_id, at, cause, by, sip_status);
        self.tried(call_id, written).await;
        let live = self.live().remove(call_id);
        // What was linked when it was answered stays so, and its recording is linked when it lands.
        let is_settled = live
            .as_ref()
            .is_some_and(|live| live.answered_at.is_some() && live.follow_up_id.is_some());
        let link = match is_settled {
            true => None,
            false => self.tried(call_id, attach::run(&self.db, call_id)).await.flatten(),
        };
        let Some(live) = live else { return Vec::new() };
        let mut notices = Vec::new();
        if live.answered_at.is_none()
            && live.direction == Direction::Outbound
            && let Some((_, AttachMethod::ClickToDial | AttachMethod::Inferred)) = link
        {
            let outcome = match cause {
                EndCause::Busy => Outcome::Busy,
                EndCause::NotFound => Outcome::EmptyNumber,
                _ => Outcome::NoAnswer,
            };
            let noted = follow_up::note_unanswered(&self.db, call_id, outcome, at);
            if let Some(follow_up_id) = self.tried(call_id, noted).await.flatten() {
                let to = live.audience();
                notices.push(Notice { to, at, event: ConsoleEvent::TaskChanged { follow_up_id } });
            }
        }
        let to = live.audience();
        if to.is_empty() {
            return notices;
        }
        let talk_ms = live.answered_at.map_or(0, |since| at.since(since).as_millis());
        let talk_ms = i64::try_from(talk_ms).unwrap_or(i64::MAX);
        let event = ConsoleEvent::CallEnded { call_id, cause, by, ended_at: at, talk_ms };
        notices.insert(0, Notice { to, at, event });
        notices
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

    /// Waits for a statement as long as is right; the call goes on without it.
    async fn tried<T>(
        &self,
        call_id: CallId,
        statement: impl Future<Output = Result<T>>,
    ) -> Option<T> {
        self.patience.tried(call_id, statement).await
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
