//! What the console's WebSocket says (`/api/v1/ws`).
//!
//! `lookup` makes these; `web` numbers them per user and sends them. Idempotent by
//! (`call_id`, `type`): a browser that sees one twice paints the same thing.

use crate::call::{Direction, EndCause, GuestRole, Lane, Withdrawal};
use crate::card::Card;
use crate::{CallId, FollowUpId, RecordingId, Timestamp, UserId, Verdict};
use serde::{Deserialize, Serialize};

/// One event and whom it concerns.
#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    /// The users who get it.
    pub to: Vec<UserId>,
    /// The moment it happened.
    pub at: Timestamp,
    /// What.
    pub event: ConsoleEvent,
}

/// One event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum ConsoleEvent {
    /// A phone of this user rings, or dials out. Carries the whole first card.
    #[serde(rename = "call.offered")]
    CallOffered(Box<CallOffered>),
    /// The card or the call's state changed.
    #[serde(rename = "call.updated")]
    CallUpdated {
        /// Which call.
        call_id: CallId,
        /// The new card, if it changed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        card: Option<Box<Card>>,
        /// On hold or not, if that changed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        held: Option<bool>,
        /// The far end rings, of an outbound call.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        far_end_ringing: Option<bool>,
        /// The contact record or task it belongs to, if that changed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        follow_up_id: Option<FollowUpId>,
        /// Whether it is being recorded, if that changed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        recording: Option<RecordingState>,
        /// Who is heard, if that changed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        audio: Option<Audibility>,
        /// Who else is in the call, if that changed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        guests: Option<Vec<CallGuest>>,
        /// Whether the other side waits while the agent consults, if that changed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        consulting: Option<bool>,
        /// The number it is being handed on to, or `""`, if that changed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        transferring: Option<String>,
    },
    /// In a call of somebody else, one side or both are no longer heard, or are heard again: for
    /// those who oversee.
    #[serde(rename = "call.alarm")]
    CallAlarm {
        /// Which call.
        call_id: CallId,
        /// The phone of ours.
        extension: String,
        /// Who talks there, by name, or `""`.
        user_name: String,
        /// Who is heard now.
        audio: Audibility,
    },
    /// This user talks.
    #[serde(rename = "call.answered")]
    CallAnswered {
        /// Which call.
        call_id: CallId,
        /// On which phone.
        extension: String,
        /// Since when.
        answered_at: Timestamp,
    },
    /// This user's phone stopped ringing.
    #[serde(rename = "call.withdrawn")]
    CallWithdrawn {
        /// Which call.
        call_id: CallId,
        /// Why.
        #[serde(flatten)]
        why: Withdrawal,
        /// Who answered, by name, if somebody else did.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        answered_by: Option<String>,
    },
    /// A call of this user is over: wrap-up begins if it was answered.
    #[serde(rename = "call.ended")]
    CallEnded {
        /// Which call.
        call_id: CallId,
        /// How.
        cause: EndCause,
        /// Who hung up.
        by: Option<Lane>,
        /// When.
        ended_at: Timestamp,
        /// Talk time, milliseconds; 0 if not answered.
        talk_ms: i64,
    },
    /// A recording can be played.
    #[serde(rename = "recording.ready")]
    RecordingReady {
        /// The call it is of.
        call_id: CallId,
        /// The recording.
        recording_id: RecordingId,
        /// Its length, milliseconds.
        duration_ms: i64,
        /// Its worth.
        verdict: Verdict,
        /// The follow-up it was attached to, if any.
        follow_up_id: Option<FollowUpId>,
    },
    /// A follow-up changed: reload it.
    #[serde(rename = "task.changed")]
    TaskChanged {
        /// Which.
        follow_up_id: FollowUpId,
    },
    /// The gap cannot be replayed: reload the snapshot.
    #[serde(rename = "reset")]
    Reset {},
}

/// Whether what is said in a call is being recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum RecordingState {
    /// As always.
    #[default]
    On,
    /// Paused by request.
    Paused {
        /// Since when.
        since: Timestamp,
        /// When it goes on if nobody resumes it before.
        until: Timestamp,
    },
}

/// Who is heard in a call, as far as arriving packets tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "heard", rename_all = "snake_case")]
pub enum Audibility {
    /// Both sides, or one side is on hold.
    #[default]
    Both,
    /// One side sends nothing.
    OneWay {
        /// Which.
        missing: Lane,
    },
    /// Neither side sends anything.
    Nobody,
}

/// A third party of a call, as the two sides' consoles show it. Who only listens is not shown to
/// them: being listened to must not change how somebody speaks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallGuest {
    /// Its number in the call.
    pub guest: u8,
    /// What it does here.
    pub role: GuestRole,
    /// The number that was called for it.
    pub number: String,
    /// Who sits there, by name, or `""`.
    pub name: String,
    /// It is being called, and has not answered.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ringing: bool,
}

/// A call at one user's phone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CallOffered {
    /// Which call.
    pub call_id: CallId,
    /// Who called whom.
    pub direction: Direction,
    /// The user's extension.
    pub extension: String,
    /// The line called, by name; empty if none.
    pub line_name: String,
    /// The number called.
    pub called: String,
    /// Since when.
    pub offered_at: Timestamp,
    /// The task it was dialled from, or the contact record made for it.
    pub follow_up_id: Option<FollowUpId>,
    /// Who is calling (or called).
    pub card: Card,
}
