//! Third parties, transfers and consultations: who else is in a call, and who has left it.

use super::Desk;
use super::live::{Call, Guest};
use cheling_model::call::TransferStage;
use cheling_model::console::{CallGuest, ConsoleEvent, Notice};
use cheling_model::{CallId, EndCause, GuestRole, Lane, Timestamp, UserId};
use cheling_records::guest;

/// Somebody who joined, as the event names it.
pub(super) struct Seat {
    pub(super) guest: u8,
    pub(super) role: GuestRole,
    pub(super) extension: Option<String>,
    pub(super) number: String,
}

impl Desk {
    /// The number in a call of the guest at this phone, if there is one.
    pub fn guest_at(&self, call_id: CallId, extension: &str) -> Option<u8> {
        let live = self.live();
        let guests = live.get(call_id)?.guests.iter();
        let mut found = guests.filter(|guest| guest.extension == extension);
        found.next().map(|guest| guest.shown.guest)
    }

    /// Somebody is called to join: shown at once, so that he can be called off. Who comes to listen,
    /// whisper or barge in is not shown before.
    pub(super) fn guest_called(
        &self,
        call_id: CallId,
        at: Timestamp,
        guest: u8,
        role: GuestRole,
        number: String,
    ) -> Vec<Notice> {
        let phones = self.phones();
        let user_id = phones.user_of(&number);
        let name = user_id.and_then(|id| phones.user_names.get(&id)).cloned().unwrap_or_default();
        let extension = number.clone();
        let shown = CallGuest { guest, role, number, name, ringing: true };
        // Whoever rings is at the call by that already, and is no party before the answer.
        let guest = Guest { shown, user_id: None, extension };
        self.live().update(call_id, |call| call.guests.push(guest));
        self.guests_changed(call_id, at)
    }

    pub(super) async fn guest_joined(
        &self,
        call_id: CallId,
        at: Timestamp,
        seat: Seat,
    ) -> Vec<Notice> {
        let phones = self.phones();
        let Seat { guest, role, extension, number } = seat;
        let extension = extension.unwrap_or_default();
        let user_id = phones.user_of(&extension);
        let row = guest::Guest {
            call_id,
            guest: i64::from(guest),
            joined_at: at,
            role,
            number: number.clone(),
            extension: extension.clone(),
            user_id,
            left_at: None,
        };
        self.keep(call_id, |entry| entry.guest_joins(row)).await;
        let name = user_id.and_then(|id| phones.user_names.get(&id)).cloned().unwrap_or_default();
        let shown = CallGuest { guest, role, number, name, ringing: false };
        let mut notices = Vec::new();
        {
            let mut live = self.live();
            let Some(call) = live.get_mut(call_id) else { return Vec::new() };
            call.guests.retain(|known| known.shown.guest != guest);
            call.guests.push(Guest { shown, user_id, extension: extension.clone() });
            if let Some(user_id) = user_id.filter(|_| role == GuestRole::Conference) {
                call.ringing.retain(|ring| ring.user_id != user_id);
                let event = ConsoleEvent::CallAnswered { call_id, extension, answered_at: at };
                notices.push(Notice { to: vec![user_id], at, event });
            }
        }
        notices.extend(self.guests_changed(call_id, at));
        notices
    }

    pub(super) async fn guest_changed(
        &self,
        call_id: CallId,
        at: Timestamp,
        number: u8,
        role: GuestRole,
    ) -> Vec<Notice> {
        self.keep(call_id, |entry| entry.guest_becomes(i64::from(number), role)).await;
        self.live().update(call_id, |call| {
            let mut guests = call.guests.iter_mut();
            if let Some(guest) = guests.find(|guest| guest.shown.guest == number) {
                guest.shown.role = role;
            }
        });
        self.guests_changed(call_id, at)
    }

    pub(super) async fn guest_left(
        &self,
        call_id: CallId,
        at: Timestamp,
        number: u8,
    ) -> Vec<Notice> {
        self.keep(call_id, |entry| entry.guest_leaves(i64::from(number), at)).await;
        let left = self.live().update(call_id, |call| {
            let at = call.guests.iter().position(|guest| guest.shown.guest == number)?;
            let guest = call.guests.remove(at);
            let user_id = guest.user_id.filter(|_| guest.is_party())?;
            (!call.concerns(user_id)).then_some(user_id)
        });
        let mut notices: Vec<Notice> =
            left.flatten().map(|user_id| over(call_id, user_id, at, at)).into_iter().collect();
        notices.extend(self.guests_changed(call_id, at));
        notices
    }

    /// Tells those who talk who else is there.
    fn guests_changed(&self, call_id: CallId, at: Timestamp) -> Vec<Notice> {
        let shown = self.live().get(call_id).map(Call::shown_guests).unwrap_or_default();
        self.updated(call_id, at, |it| it.guests = Some(shown))
    }

    pub(super) fn transfer(
        &self,
        call_id: CallId,
        at: Timestamp,
        to: String,
        stage: TransferStage,
    ) -> Vec<Notice> {
        let to = if stage == TransferStage::Began { to } else { String::new() };
        self.live().update(call_id, |call| call.transferring.clone_from(&to));
        self.updated(call_id, at, |it| it.transferring = Some(to))
    }

    pub(super) fn consulting(
        &self,
        call_id: CallId,
        at: Timestamp,
        is_under_way: bool,
    ) -> Vec<Notice> {
        self.live().update(call_id, |call| call.consulting = is_under_way);
        self.updated(call_id, at, |it| it.consulting = Some(is_under_way))
    }
}

impl Call {
    /// Tells whoever talked before that the call goes on without him: his wrap-up begins.
    pub(super) fn handed_on(
        &self,
        former: Option<(UserId, String)>,
        at: Timestamp,
    ) -> Option<Notice> {
        let (user_id, _) = former?;
        let since = self.answered_at.unwrap_or(at);
        (!self.concerns(user_id)).then(|| over(self.call_id, user_id, since, at))
    }
}

/// Whether a row is of the guest who has this number now.
pub(super) fn is_there(row: &guest::Guest, number: i64) -> bool {
    row.guest == number && row.left_at.is_none()
}

/// A call is over for one user, though not for all.
fn over(call_id: CallId, user_id: UserId, since: Timestamp, at: Timestamp) -> Notice {
    let talk_ms = i64::try_from(at.since(since).as_millis()).unwrap_or(i64::MAX);
    let (cause, by) = (EndCause::HungUp, Some(Lane::Agent));
    let event = ConsoleEvent::CallEnded { call_id, cause, by, ended_at: at, talk_ms };
    Notice { to: vec![user_id], at, event }
}
