//! Calls: in progress, past, dialled from here, wrapped up.

use cheling_model::console::{Audibility, CallGuest, CallOffered, RecordingState};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// One call in a list.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct CallRow {
    /// Its id.
    pub call_id: Uuid,
    /// `inbound`, `outbound`, `internal`.
    pub direction: String,
    /// First INVITE.
    pub offered_at: i64,
    /// Both sides connected, if ever.
    pub answered_at: Option<i64>,
    /// Over, if it is.
    pub ended_at: Option<i64>,
    /// Talk time, milliseconds; 0 if not answered.
    pub talk_ms: i64,
    /// The customer's number (the caller of an inbound call, the called of an outbound).
    pub number: String,
    /// The line called, by name, or `""`.
    pub line_name: String,
    /// Our extension, or `""` if nobody answered.
    pub extension: String,
    /// Who used it then, by name, or `""`.
    pub user_name: String,
    /// The customer, if linked.
    pub customer_id: Option<Uuid>,
    /// Its name, or `""`.
    pub customer_name: String,
    /// First plate, or `""`.
    pub plate: String,
    /// How it ended: `hung_up`, `cancelled`, `busy`, `no_answer` …, `""` while it goes on.
    pub cause: String,
    /// The wrap-up's outcome word, or `""`.
    pub outcome: String,
    /// The follow-up it belongs to.
    pub follow_up_id: Option<Uuid>,
    /// Its recording, once ready.
    pub recording_id: Option<Uuid>,
    /// The recording's verdict, or `""`.
    pub verdict: String,
}

/// One call, whole.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct CallDetail {
    /// The row.
    #[serde(flatten)]
    pub row: CallRow,
    /// Who hung up: `customer`, `agent`, or `""`.
    pub hangup_by: String,
    /// How the customer was found: `number`, `chosen`, `task`, or `""`.
    pub match_method: String,
    /// The wrap-up note.
    pub note: String,
    /// Every phone that rang.
    pub legs: Vec<CallLegRow>,
    /// Where a call to a line was sent, in order.
    pub route: Vec<CallStopRow>,
    /// Every third party, in the order they came.
    pub guests: Vec<CallGuestRow>,
}

/// One place that a call to a line was sent to.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct CallStopRow {
    /// When.
    pub at: i64,
    /// `group`, `extension`, `outside`, `refused`.
    pub kind: String,
    /// The group's name, the extension or the number; may be `""`.
    pub name: String,
    /// `called`, `closed`, `no_answer`, `all_busy`, `nobody`, `loop`.
    pub why: String,
}

/// Somebody who was in a call beside its two sides.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct CallGuestRow {
    /// Its number in the call, 1 to 7: its voice in the recording's right lane.
    pub guest: u8,
    /// `conference`, `listen`, `whisper`, `barge`: what it was last.
    pub role: String,
    /// The number that was called for it.
    pub number: String,
    /// Who sat there, by name, or `""`.
    pub user_name: String,
    /// Came.
    pub joined_at: i64,
    /// Left, if it has.
    pub left_at: Option<i64>,
}

/// A number to hand a call on to, to consult or to bring in.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ToNumber {
    /// A colleague's extension or a number outside, as typed.
    pub number: String,
}

/// What a supervisor wants to do in a call.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Monitoring {
    /// `listen`: hears both; `whisper`: the agent hears him, too; `barge`: all hear all.
    pub role: String,
}

/// One phone of ours that rang.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct CallLegRow {
    /// Our extension.
    pub extension: String,
    /// Who used it then, by name.
    pub user_name: String,
    /// Began to ring.
    pub ringing_at: i64,
    /// Answered, if it was.
    pub answered_at: Option<i64>,
    /// Why it stopped ringing: `answered_elsewhere`, `caller_hung_up` … or `""`.
    pub withdrawn_reason: String,
}

/// Click-to-dial.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Dial {
    /// As typed or as stored.
    pub number: String,
    /// The task it is dialled from.
    #[serde(default)]
    pub follow_up_id: Option<Uuid>,
    /// The customer, if chosen.
    #[serde(default)]
    pub customer_id: Option<Uuid>,
}

/// The call that click-to-dial began.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Dialling {
    /// Its id; the same for the same `Idempotency-Key`.
    pub call_id: Uuid,
}

/// This user's calls in progress.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct LiveCalls {
    /// The WebSocket's number as of this snapshot: connect with `since=` this.
    pub seq: u64,
    /// The calls, oldest first.
    pub calls: Vec<LiveCall>,
}

/// A call in progress at this user's phone, or one that waits for its wrap-up.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct LiveCall {
    /// As it was offered, with the card as it is now.
    #[schema(value_type = Object)]
    pub offered: CallOffered,
    /// `ringing`, `talking`, `held`, `wrap_up`.
    pub state: String,
    /// Talking since.
    pub answered_at: Option<i64>,
    /// Over since (in wrap-up).
    pub ended_at: Option<i64>,
    /// The far end rings, of an outbound call.
    #[serde(default)]
    pub far_end_ringing: bool,
    /// `{"state": "on"}`, or `{"state": "paused", "since": …, "until": …}`.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub recording: RecordingState,
    /// `{"heard": "both"}`, `{"heard": "one_way", "missing": "customer"}` or `{"heard": "nobody"}`.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub audio: Audibility,
    /// Who else is in the call.
    #[serde(default)]
    #[schema(value_type = Vec<Object>)]
    pub guests: Vec<CallGuest>,
    /// The other side waits while the agent consults.
    #[serde(default)]
    pub consulting: bool,
    /// The number it is being handed on to, or `""`.
    #[serde(default)]
    pub transferring: String,
}

/// The calls of all users in which both sides talk.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct RunningCalls {
    /// The calls, oldest first.
    pub calls: Vec<RunningCall>,
}

/// A call that runs, as those who oversee see it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct RunningCall {
    /// Its id.
    pub call_id: Uuid,
    /// `inbound`, `outbound`, `internal`.
    pub direction: String,
    /// Our extension.
    pub extension: String,
    /// Who sits there, by name, or `""`.
    pub user_name: String,
    /// The line called, by name, or `""`.
    pub line_name: String,
    /// The customer's number, or `""`.
    pub number: String,
    /// The customer's name, or `""`.
    pub customer_name: String,
    /// Talking since.
    pub answered_at: i64,
    /// One side is on hold.
    pub held: bool,
    /// As in a live call.
    #[schema(value_type = Object)]
    pub recording: RecordingState,
    /// As in a live call.
    #[schema(value_type = Object)]
    pub audio: Audibility,
}

/// What came of the call, in the agent's words.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WrapUp {
    /// An outcome word: `completed`, `partial`, `call_back`, `no_answer` …
    pub outcome: String,
    /// A note, at most 2 000 characters.
    #[serde(default)]
    pub note: String,
    /// Makes a new follow-up task due then: `2026-11-25`.
    #[serde(default)]
    pub next_on: Option<String>,
    /// The task it belongs to, if the agent chose one.
    #[serde(default)]
    pub follow_up_id: Option<Uuid>,
}

/// Links a call to a customer.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LinkCustomer {
    /// The customer.
    pub customer_id: Uuid,
}
