//! The course of a call: offered, ringing, answered, over.
//!
//! What each event makes of the call's rows goes to the book, what consoles show goes to them at
//! once. Only a card has to be read from the database before it is shown.

use super::book::{Attempt, Entry, UnreadNumber};
use super::{Desk, live, rows};
use crate::{Result, attach, card, date, follow_up};
use cheling_model::call::{Offer, Party};
use cheling_model::card::Card;
use cheling_model::console::{Audibility, ConsoleEvent, Notice, RecordingState};
use cheling_model::follow_up::{AttachMethod, Outcome};
use cheling_model::number::{CallerNumber, PhoneNumber};
use cheling_model::{
    CallId, DealershipId, Direction, EndCause, FollowUpId, Lane, LegId, Presentation, Timestamp,
    Withdrawal,
};
use cheling_records::call::Call;
use cheling_records::ledger::LateCaller;

impl Desk {
    pub(super) async fn offered(
        &self,
        call_id: CallId,
        at: Timestamp,
        offer: Offer,
    ) -> Vec<Notice> {
        if self.book().has(call_id) {
            return Vec::new();
        }
        let phones = self.phones();
        let (raw, presentation) = match offer.direction {
            Direction::Inbound => (offer.caller.number.as_str(), offer.caller.presentation),
            Direction::Outbound => (offer.called.as_str(), Presentation::Allowed),
            Direction::Internal => ("", Presentation::Unavailable),
        };
        let read = self.read_number(offer.dealership_id, raw, presentation);
        let unread = UnreadNumber { raw: raw.to_owned(), presentation, task: offer.follow_up_id };
        let (card, task) = match offer.direction {
            // The callee sees who calls; the caller's own bar is turned round when it is told.
            Direction::Internal => (card::internal(&offer.caller.number), None),
            Direction::Inbound | Direction::Outbound => {
                self.card(offer.dealership_id, call_id, at, &unread, &read).await
            }
        };
        let user_id = offer
            .user_id
            .or_else(|| offer.extension.as_ref().and_then(|number| phones.user_of(number)));
        let row = rows::call_row(call_id, at, &offer, &read, &card, user_id, task);
        let mut entry = Entry::new(row);
        if offer.direction != Direction::Internal && self.patience.is_away() {
            entry.owed.card = Some(unread);
        }
        self.book().open(entry);
        self.has_changed.notify_one();
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
            called: offer.called,
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
        dealership_id: DealershipId,
        call_id: CallId,
        at: Timestamp,
        unread: &UnreadNumber,
        read: &CallerNumber,
    ) -> (Card, Option<FollowUpId>) {
        let CallerNumber::Known(number) = read else { return (card::withheld(), None) };
        let raw = unread.raw.as_str();
        let found = async {
            if let Some(follow_up_id) = unread.task
                && let Ok(task) =
                    cheling_records::follow_up::find(&self.db, dealership_id, follow_up_id).await
            {
                let card = match task.customer_id {
                    Some(customer) => {
                        let (number, current) = (Some(number), Some(call_id));
                        card::of_customer(&self.db, dealership_id, customer, raw, number, current)
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

    pub(super) async fn caller_changed(
        &self,
        call_id: CallId,
        at: Timestamp,
        caller: Party,
    ) -> Vec<Notice> {
        let Some((dealership_id, direction)) =
            self.live().get(call_id).map(|live| (live.dealership_id, live.direction))
        else {
            return Vec::new();
        };
        if direction != Direction::Inbound {
            return Vec::new();
        }
        let Party { number: raw, presentation, .. } = &caller;
        let unread = UnreadNumber { raw: raw.clone(), presentation: *presentation, task: None };
        let read = self.read_number(dealership_id, raw, *presentation);
        let (card, _) = self.card(dealership_id, call_id, at, &unread, &read).await;
        let late = LateCaller {
            call_id,
            customer_key: rows::key_of(&read).to_owned(),
            customer_id: rows::customer_of(&card),
            caller,
        };
        let is_away = self.patience.is_away();
        self.keep(call_id, |entry| {
            entry.caller_changes(late);
            if is_away {
                entry.owed.card = Some(unread);
            }
        })
        .await;
        self.live().update(call_id, |live| live.card = card.clone());
        self.updated(call_id, at, |it| it.card = Some(Box::new(card)))
    }

    pub(super) async fn ringing(
        &self,
        call_id: CallId,
        at: Timestamp,
        leg: LegId,
        extension: &str,
    ) -> Vec<Notice> {
        let user_id = self.phones().user_of(extension);
        let row = rows::leg_row(call_id, leg, extension, user_id, Some(at));
        self.keep(call_id, |entry| entry.ring(row)).await;
        let Some(user_id) = user_id else { return Vec::new() };
        let mut live = self.live();
        let Some(call) = live.get_mut(call_id) else { return Vec::new() };
        let is_new = call.rings_at(leg, user_id, extension);
        if is_new { vec![call.offer_to(user_id, extension, at)] } else { Vec::new() }
    }

    pub(super) async fn withdrawn(
        &self,
        call_id: CallId,
        at: Timestamp,
        leg: LegId,
        extension: &str,
        why: Withdrawal,
    ) -> Vec<Notice> {
        let phones = self.phones();
        let user_id = phones.user_of(extension);
        let row = rows::withdrawn_row(call_id, leg, extension, user_id, at, &why);
        self.keep(call_id, |entry| entry.withdraw(row)).await;
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

    pub(super) async fn answered(
        &self,
        call_id: CallId,
        at: Timestamp,
        extension: &str,
    ) -> Vec<Notice> {
        let dialling = self.live().get(call_id).and_then(|live| {
            let is_outbound = live.direction == Direction::Outbound;
            let mut dialling = live.dialling.clone().filter(|_| is_outbound);
            // Answered again, elsewhere: the call has been handed on.
            dialling.take_if(|(_, own)| live.answered_at.is_some() && own != extension);
            dialling
        });
        let user_id = match &dialling {
            Some((user_id, _)) => Some(*user_id),
            None => self.phones().user_of(extension),
        };
        self.keep(call_id, |entry| entry.answer(extension, user_id, at)).await;
        self.link(call_id).await;
        let mut notices = Vec::new();
        {
            let mut live = self.live();
            let Some(call) = live.get_mut(call_id) else { return Vec::new() };
            call.answered_at.get_or_insert(at);
            call.audible_since = Some(at);
            let former = call.talking.take();
            if call.direction == Direction::Outbound {
                call.dialling = dialling;
            }
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
        notices.extend(self.linked(call_id, at));
        notices
    }

    /// Decides what a call was for, if it can be decided now and has not been.
    async fn link(&self, call_id: CallId) {
        let row = self.book().row(call_id).filter(|row| row.attach_method.is_none()).cloned();
        let Some(row) = row else { return };
        match row.direction {
            Direction::Internal => {}
            Direction::Inbound => {
                if let Some(record) = attach::contact_of(&row) {
                    self.keep(call_id, |entry| entry.contact(record)).await;
                }
            }
            Direction::Outbound => {
                let found = self.tried(call_id, attach::only_task(&self.db, &row)).await;
                let is_owed = self.patience.is_away();
                if is_owed || found.flatten().is_some() {
                    self.keep(call_id, |entry| {
                        entry.owed.link = is_owed;
                        if let Some(task) = found.flatten() {
                            entry.link(task, AttachMethod::Inferred);
                        }
                    })
                    .await;
                }
            }
        }
    }

    /// Tells who talks which follow-up the call belongs to, if that is news.
    fn linked(&self, call_id: CallId, at: Timestamp) -> Vec<Notice> {
        let link = self.book().row(call_id).and_then(|row| row.follow_up_id);
        let Some(follow_up_id) = link else { return Vec::new() };
        let is_news = self
            .live()
            .update(call_id, |live| live.follow_up_id.replace(follow_up_id) != Some(follow_up_id))
            .unwrap_or(false);
        if !is_news {
            return Vec::new();
        }
        self.updated(call_id, at, |it| it.follow_up_id = Some(follow_up_id))
    }

    pub(super) fn held(&self, call_id: CallId, at: Timestamp, held: bool) -> Vec<Notice> {
        self.live().update(call_id, |live| {
            live.held = held;
            live.audible_since = Some(at);
        });
        self.updated(call_id, at, |it| it.held = Some(held))
    }

    pub(super) async fn ended(
        &self,
        call_id: CallId,
        at: Timestamp,
        cause: EndCause,
        by: Option<Lane>,
        sip_status: Option<u16>,
    ) -> Vec<Notice> {
        let live = self.live().remove(call_id);
        let to = live.as_ref().map(live::Call::audience).unwrap_or_default();
        let row = self
            .keep(call_id, |entry| {
                entry.end(at, cause, by, sip_status);
                entry.row().clone()
            })
            .await;
        self.has_ended.notify_waiters();
        if let Some(Call { direction: Direction::Outbound, answered_at, .. }) = row {
            self.link(call_id).await;
            let method = self.book().row(call_id).and_then(|row| row.attach_method);
            let is_for_task =
                matches!(method, Some(AttachMethod::ClickToDial | AttachMethod::Inferred));
            if answered_at.is_none() && (is_for_task || self.patience.is_away()) {
                let outcome = match cause {
                    EndCause::Busy => Outcome::Busy,
                    EndCause::NotFound => Outcome::EmptyNumber,
                    _ => Outcome::NoAnswer,
                };
                let attempt = Attempt { outcome, at, to: to.clone() };
                self.keep(call_id, |entry| entry.owed.attempt = Some(attempt)).await;
            }
        }
        let Some(live) = live.filter(|_| !to.is_empty()) else { return Vec::new() };
        let talk_ms = live.answered_at.map_or(0, |since| at.since(since).as_millis());
        let talk_ms = i64::try_from(talk_ms).unwrap_or(i64::MAX);
        let event = ConsoleEvent::CallEnded { call_id, cause, by, ended_at: at, talk_ms };
        vec![Notice { to, at, event }]
    }

    /// Asks what could not be asked of a call while the database was away.
    pub(super) async fn make_up(&self, call_id: CallId) {
        let known = {
            let book = self.book();
            let owed = book.owed(call_id).filter(|owed| owed.card.is_some() || owed.link);
            owed.cloned().zip(book.row(call_id).cloned())
        };
        let Some((owed, mut row)) = known else { return };
        if let Some(unread) = owed.card {
            let read = self.read_number(row.dealership_id, &unread.raw, unread.presentation);
            let asked = self.card(row.dealership_id, call_id, row.offered_at, &unread, &read);
            let (card, task) = asked.await;
            if self.patience.is_away() {
                return;
            }
            rows::matched(&mut row, &card, task);
            self.keep(call_id, |entry| {
                entry.matched(&row);
                entry.owed.card = None;
            })
            .await;
        }
        if owed.link {
            self.keep(call_id, |entry| entry.owed.link = false).await;
            self.link(call_id).await;
        }
    }

    /// Counts the attempt of a call that was just written, if it is one.
    pub(super) async fn attempted(&self, call_id: CallId) -> Option<Notice> {
        let Attempt { outcome, at, to } = self.book().attempt(call_id)?;
        let noted = follow_up::note_unanswered(&self.db, call_id, outcome, at);
        let noted = self.tried(call_id, noted).await;
        if noted.is_none() && self.patience.is_away() {
            // Once more, when the database is back.
            return self.keep(call_id, |_| ()).await.and(None);
        }
        self.book().attempted(call_id);
        let event = ConsoleEvent::TaskChanged { follow_up_id: noted.flatten()? };
        Some(Notice { to, at, event })
    }
}
