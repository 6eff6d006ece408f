//! The calls that are going on, in memory: whose phones ring, who talks.

use cheling_model::card::{Card, CardKind};
use cheling_model::console::{
    Audibility, CallGuest, CallOffered, ConsoleEvent, Notice, RecordingState,
};
use cheling_model::{
    CallId, DealershipId, Direction, FollowUpId, GuestRole, Lane, LegId, Timestamp, UserId,
};
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// More calls than one process carries; beyond it the oldest is forgotten here (not in the
/// database), since its end must have been lost.
const MAX_LIVE: usize = 10_000;

/// A call at one user's phone, as a console that opens must paint it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LiveCall {
    /// What `call.offered` said, with the card as it is now.
    #[serde(flatten)]
    pub offered: CallOffered,
    /// Where it stands.
    pub state: LiveState,
    /// Since when both sides talk.
    pub answered_at: Option<Timestamp>,
    /// The far end rings, of an outbound call.
    pub far_end_ringing: bool,
    /// Whether it is being recorded.
    pub recording: RecordingState,
    /// Who is heard.
    pub audio: Audibility,
    /// Who else is in it.
    pub guests: Vec<CallGuest>,
    /// The other side waits while the agent consults.
    pub consulting: bool,
    /// The number it is being handed on to, or empty.
    pub transferring: String,
}

/// A call in which both sides talk, as those who oversee see it.
#[derive(Clone, Debug, PartialEq)]
pub struct RunningCall {
    /// Which.
    pub call_id: CallId,
    /// Who called whom.
    pub direction: Direction,
    /// Our phone.
    pub extension: String,
    /// Who talks there, by name, or `""`.
    pub user_name: String,
    /// The line called, by name, or `""`.
    pub line_name: String,
    /// The customer, as far as known.
    pub card: Card,
    /// Since when both talk.
    pub answered_at: Timestamp,
    /// One side is on hold.
    pub is_held: bool,
    /// Whether it is being recorded.
    pub recording: RecordingState,
    /// Who is heard.
    pub audio: Audibility,
}

/// Where a call stands for one user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LiveState {
    /// The user's phone rings.
    Ringing,
    /// The user has dialled.
    Dialling,
    /// The user talks.
    Talking,
    /// The user talks, and one side is on hold.
    Held,
}

/// A phone and who sits at it.
#[derive(Clone, Debug)]
pub(super) struct Seat {
    pub(super) dealership_id: DealershipId,
    pub(super) user_id: Option<UserId>,
}

/// A phone that rings.
#[derive(Clone, Debug)]
pub(super) struct Ring {
    pub(super) leg: LegId,
    pub(super) user_id: UserId,
    pub(super) extension: String,
}

/// One call.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) call_id: CallId,
    pub(super) dealership_id: DealershipId,
    pub(super) direction: Direction,
    pub(super) line_name: String,
    pub(super) called: String,
    pub(super) offered_at: Timestamp,
    pub(super) follow_up_id: Option<FollowUpId>,
    pub(super) card: Card,
    /// Who dialled it, and on which phone, if it was one of us.
    pub(super) dialling: Option<(UserId, String)>,
    pub(super) ringing: Vec<Ring>,
    pub(super) talking: Option<(UserId, String)>,
    /// Our phone that talks, also if nobody sits there.
    pub(super) talks_at: String,
    pub(super) answered_at: Option<Timestamp>,
    pub(super) held: bool,
    pub(super) far_end_ringing: bool,
    pub(super) recording: RecordingState,
    pub(super) audio: Audibility,
    /// Since when both sides ought to be heard: the answer, or the end of the last hold.
    pub(super) audible_since: Option<Timestamp>,
    pub(super) guests: Vec<Guest>,
    pub(super) consulting: bool,
    pub(super) transferring: String,
}

/// A third party.
#[derive(Clone, Debug)]
pub(super) struct Guest {
    pub(super) shown: CallGuest,
    pub(super) user_id: Option<UserId>,
    pub(super) extension: String,
}

impl Guest {
    /// Whether it takes part as the two sides do.
    pub(super) fn is_party(&self) -> bool {
        self.shown.role == GuestRole::Conference
    }
}

impl Call {
    /// The third parties that consoles show.
    pub(super) fn shown_guests(&self) -> Vec<CallGuest> {
        let is_shown = |guest: &&Guest| match guest.shown.role {
            GuestRole::Listen => false,
            GuestRole::Conference => true,
            GuestRole::Whisper | GuestRole::Barge => !guest.shown.ringing,
        };
        let shown = self.guests.iter().filter(is_shown);
        shown.map(|guest| guest.shown.clone()).collect()
    }

    /// Notes how long nothing has come from [customer, agent]. Answers who is heard now, if that
    /// has changed. A side that is on hold need not say anything.
    pub(super) fn note_silence(
        &mut self,
        silent_for: [Option<Duration>; 2],
        at: Timestamp,
        patience: Duration,
    ) -> Option<Audibility> {
        let expected = self.audible_since.filter(|_| !self.held).map(|since| at.since(since));
        let is_silent = |lane: Lane| {
            let is_due = expected.is_some_and(|expected| expected >= patience);
            is_due && silent_for[lane.index()].is_none_or(|silent| silent >= patience)
        };
        let audio = match Lane::BOTH.map(is_silent) {
            [false, false] => Audibility::Both,
            [true, false] => Audibility::OneWay { missing: Lane::Customer },
            [false, true] => Audibility::OneWay { missing: Lane::Agent },
            [true, true] => Audibility::Nobody,
        };
        let is_news = self.audio != audio;
        self.audio = audio;
        is_news.then_some(audio)
    }

    /// Notes that a phone rings; false if the user has been told of this call.
    pub(super) fn rings_at(&mut self, leg: LegId, user_id: UserId, extension: &str) -> bool {
        if self.ringing.iter().any(|ring| ring.leg == leg) {
            return false;
        }
        let is_new = !self.concerns(user_id);
        self.ringing.push(Ring { leg, user_id, extension: extension.to_owned() });
        is_new
    }

    /// Notes that a phone stopped ringing; answers whose it was, if it rang.
    pub(super) fn stops_ringing(&mut self, leg: LegId) -> Option<UserId> {
        let index = self.ringing.iter().position(|ring| ring.leg == leg)?;
        Some(self.ringing.remove(index).user_id)
    }

    /// Whether the user rings, talks or dials here.
    pub(super) fn concerns(&self, user_id: UserId) -> bool {
        self.audience().contains(&user_id)
    }

    /// Everybody at this call, each once.
    pub(super) fn audience(&self) -> Vec<UserId> {
        let mut users: Vec<_> = self.dialling.iter().map(|(user_id, _)| *user_id).collect();
        users.extend(self.talking.iter().map(|(user_id, _)| *user_id));
        users.extend(self.ringing.iter().map(|ring| ring.user_id));
        users.extend(self.guests.iter().filter(|it| it.is_party()).filter_map(|it| it.user_id));
        users.sort_unstable();
        users.dedup();
        users
    }

    /// Who talks, each at which phone: of an internal call both.
    pub(super) fn talkers(&self) -> Vec<(UserId, String)> {
        let mut talkers: Vec<_> = self.talking.iter().cloned().collect();
        if let Some(dialler) = &self.dialling
            && !talkers.iter().any(|(user_id, _)| *user_id == dialler.0)
        {
            talkers.push(dialler.clone());
        }
        talkers
    }

    /// What a user's console is told first.
    pub(super) fn offer_to(&self, user_id: UserId, extension: &str, at: Timestamp) -> Notice {
        let event = ConsoleEvent::CallOffered(Box::new(self.offered(user_id, extension)));
        Notice { to: vec![user_id], at, event }
    }

    fn offered(&self, user_id: UserId, extension: &str) -> CallOffered {
        let mut card = self.card.clone();
        let is_dialler = self.dialling.as_ref().is_some_and(|(id, _)| *id == user_id);
        if card.kind == CardKind::Internal && is_dialler {
            // Each of two colleagues sees the other.
            card.number.clone_from(&self.called);
            card.number_key.clone_from(&self.called);
        }
        CallOffered {
            call_id: self.call_id,
            direction: self.direction,
            extension: extension.to_owned(),
            line_name: self.line_name.clone(),
            called: self.called.clone(),
            offered_at: self.offered_at,
            follow_up_id: self.follow_up_id,
            card,
        }
    }

    /// How this user's console paints it, if it concerns the user.
    fn for_user(&self, user_id: UserId) -> Option<LiveCall> {
        let is = |it: &&(UserId, String)| it.0 == user_id;
        let talking = self.talking.as_ref().filter(is);
        let dialling = self.dialling.as_ref().filter(is);
        let ringing = self.ringing.iter().find(|ring| ring.user_id == user_id);
        let guest = self.guests.iter().find(|it| it.is_party() && it.user_id == Some(user_id));
        let guest = guest.map(|guest| (user_id, guest.extension.clone()));
        let (extension, state) = match (talking.or(dialling).or(guest.as_ref()), ringing) {
            (Some((_, extension)), _) if self.answered_at.is_some() => {
                (extension, if self.held { LiveState::Held } else { LiveState::Talking })
            }
            (Some((_, extension)), _) => (extension, LiveState::Dialling),
            (None, Some(ring)) => (&ring.extension, LiveState::Ringing),
            (None, None) => return None,
        };
        Some(LiveCall {
            offered: self.offered(user_id, extension),
            state,
            answered_at: self.answered_at,
            far_end_ringing: self.far_end_ringing,
            recording: self.recording,
            audio: self.audio,
            guests: self.shown_guests(),
            consulting: self.consulting,
            transferring: self.transferring.clone(),
        })
    }
}

/// All calls that are going on.
#[derive(Debug, Default)]
pub(super) struct Live {
    /// By id, which sorts by age.
    calls: BTreeMap<CallId, Call>,
}

impl Live {
    pub(super) fn insert(&mut self, call: Call) {
        // Offered again by a replay: what has happened since stays.
        self.calls.entry(call.call_id).or_insert(call);
        if self.calls.len() > MAX_LIVE
            && let Some((call_id, _)) = self.calls.pop_first()
        {
            tracing::warn!(%call_id, "too many live calls; the oldest is forgotten");
        }
    }

    pub(super) fn get(&self, call_id: CallId) -> Option<&Call> {
        self.calls.get(&call_id)
    }

    pub(super) fn get_mut(&mut self, call_id: CallId) -> Option<&mut Call> {
        self.calls.get_mut(&call_id)
    }

    pub(super) fn update<T>(
        &mut self,
        call_id: CallId,
        change: impl FnOnce(&mut Call) -> T,
    ) -> Option<T> {
        self.calls.get_mut(&call_id).map(change)
    }

    pub(super) fn remove(&mut self, call_id: CallId) -> Option<Call> {
        self.calls.remove(&call_id)
    }

    pub(super) fn of_user(&self, user_id: UserId) -> Vec<LiveCall> {
        self.calls.values().filter_map(|call| call.for_user(user_id)).collect()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Call> {
        self.calls.values()
    }

    pub(super) fn len(&self) -> usize {
        self.calls.len()
    }
}
