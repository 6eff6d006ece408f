//! Recordings.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// One recording in a list.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct RecordingRow {
    /// Its id.
    pub recording_id: Uuid,
    /// First sample.
    pub started_at: i64,
    /// Its length, milliseconds.
    pub duration_ms: i64,
    /// `ok`, `one_way`, `silent` …
    pub verdict: String,
    /// More on the verdict, or `""`.
    pub verdict_detail: String,
    /// `wav` or `ogg_opus`.
    pub container: String,
    /// Size of the file.
    pub bytes: i64,
    /// The call.
    pub call: super::call::CallRow,
    /// How it was attached: `click_to_dial`, `inferred`, `inbound_contact`, `manual`, or `""`.
    pub attach_method: String,
    /// The follow-up's type word, or `""`.
    pub follow_up_type: String,
}

/// One recording, whole.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct RecordingDetail {
    /// The row.
    #[serde(flatten)]
    pub row: RecordingRow,
    /// Hex SHA-256 of the file.
    pub sha256: String,
    /// Samples per second.
    pub sample_rate_hz: u32,
    /// Encoding per lane [customer, agent].
    pub encodings: [String; 2],
    /// Network and recorder per lane [customer, agent].
    pub quality: [LaneQualityRow; 2],
    /// How the two talked.
    pub speech: SpeechRow,
    /// Stretches paused by request, in order: silence in the file.
    pub pauses: Vec<StretchRow>,
    /// Stretches in which digits sent as tones were silenced on the lane that had them, in order.
    pub digits: Vec<StretchRow>,
    /// The wrap-up note.
    pub note: String,
    /// Who played or downloaded it, newest first, at most 20.
    pub listeners: Vec<ListenerRow>,
}

/// A stretch of a recording.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct StretchRow {
    /// Where it begins, milliseconds from the first sample.
    pub from_ms: i64,
    /// Where it ends.
    pub until_ms: i64,
}

/// Network and recorder on one lane.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct LaneQualityRow {
    /// RTP packets kept.
    pub received_packets: u64,
    /// Lost on the network.
    pub lost_packets: u64,
    /// Behind a later one.
    pub reordered_packets: u64,
    /// Twice.
    pub duplicate_packets: u64,
    /// Dropped by the recorder.
    pub tap_dropped_packets: u64,
    /// Microseconds.
    pub jitter_us: u32,
    /// Audio made up to conceal loss, milliseconds.
    pub concealed_ms: u64,
    /// Mean opinion score of the lane as it came to us, 1 to 4.4 (G.107); none without packets.
    pub mos: Option<f32>,
    /// Round trip between us and the lane's phone, microseconds; none if its RTCP did not tell.
    pub round_trip_us: Option<u32>,
}

/// How the two talked.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct SpeechRow {
    /// Share of the time each lane speaks: [customer, agent].
    pub talk_ratio: [f32; 2],
    /// Share of the time nobody speaks.
    pub silence_ratio: f32,
    /// Milliseconds.
    pub longest_silence_ms: i64,
    /// Times both speak.
    pub overlaps: u32,
    /// Milliseconds to our side's first word.
    pub first_response_ms: i64,
}

/// Somebody who listened.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ListenerRow {
    /// By name.
    pub user_name: String,
    /// When.
    pub at: i64,
    /// `play` or `download`.
    pub action: String,
}

/// Attaches a recording's call to a follow-up, or detaches it.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Attach {
    /// The follow-up; `null` detaches.
    pub follow_up_id: Option<Uuid>,
}
