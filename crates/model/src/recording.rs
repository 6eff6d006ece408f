//! A finished recording, as the row says it.

use crate::follow_up::words;
use crate::{CallId, DealershipId, RecordingId, Timestamp};
use serde::{Deserialize, Serialize};

words! {
    /// One word on what the recording is worth. Every answered call has one.
    Verdict {
        /// Both sides are heard.
        Ok = "ok",
        /// Only one side sent audio; `verdict_detail` says which lane is missing.
        OneWay = "one_way",
        /// Neither side sent audio.
        Silent = "silent",
        /// Less than a second.
        Short = "short",
        /// Writing stopped before the end (disk full, crash); what was kept is here.
        Truncated = "truncated",
        /// The media is encrypted with keys that we do not have.
        Encrypted = "encrypted",
        /// A codec that is not read; the packets are kept raw.
        Undecodable = "undecodable",
        /// Paused by request for part of the call.
        Paused = "paused",
        /// Nothing was kept; `verdict_detail` says why.
        NotRecorded = "not_recorded",
    }
}

words! {
    /// What the file is.
    Container {
        /// RIFF WAVE, 16-bit PCM, stereo.
        Wav = "wav",
        /// Ogg Opus, stereo.
        OggOpus = "ogg_opus",
    }
}

/// The row of one recording. A row has its file, of this size and hash (for `not_recorded` there
/// is none, and `path` is empty).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recording {
    /// Its id.
    pub recording_id: RecordingId,
    /// The call it belongs to.
    pub call_id: CallId,
    /// Whose it is.
    pub dealership_id: DealershipId,
    /// Below the recordings root: `2026/11/22/<uuid>.wav`. Empty if there is no file.
    pub path: String,
    /// What the file is.
    pub container: Container,
    /// The first sample, by the wall clock.
    pub started_at: Timestamp,
    /// Length of the audio, microseconds.
    pub duration_us: i64,
    /// Samples per second in the file.
    pub sample_rate_hz: u32,
    /// Size of the file.
    pub bytes: i64,
    /// Hex SHA-256 of the file.
    pub sha256: String,
    /// One word on its worth.
    pub verdict: Verdict,
    /// More on the verdict, or empty: `customer lane silent`.
    pub verdict_detail: String,
    /// Encoding name per lane [customer, agent], empty if nothing came: `PCMA`.
    pub encodings: [String; 2],
    /// RTP packets per lane that arrived, were lost on the network, and were dropped by us.
    pub quality: [LaneQuality; 2],
    /// Speech measures of the whole, its pauses left out.
    pub speech: SpeechMeasures,
    /// Stretches that were paused by request, in order: silence in the file.
    #[serde(default)]
    pub pauses: Vec<Span>,
    /// Stretches in which digits sent as tones were silenced on the lane that had them, in order.
    #[serde(default)]
    pub digits: Vec<Span>,
}

/// A stretch of a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// Where it begins, milliseconds from the first sample.
    pub from_ms: i64,
    /// Where it ends.
    pub until_ms: i64,
}

/// What the network and the recorder did to one lane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LaneQuality {
    /// RTP packets journalled.
    pub received_packets: u64,
    /// Holes in the sequence numbers.
    pub lost_packets: u64,
    /// Arrived behind a later one.
    pub reordered_packets: u64,
    /// Arrived twice.
    pub duplicate_packets: u64,
    /// Dropped by our own tap: capture loss, not network loss.
    pub tap_dropped_packets: u64,
    /// RFC 3550 §A.8 interarrival jitter at the end, microseconds.
    pub jitter_us: u32,
    /// Audio made up to conceal loss, milliseconds.
    #[serde(default)]
    pub concealed_ms: u64,
    /// Mean opinion score of the lane as it came to us, 1 to 4.4 (G.107); none without packets.
    #[serde(default)]
    pub mos: Option<f32>,
    /// Round trip between us and the lane's phone, microseconds, if its RTCP tells.
    #[serde(default)]
    pub round_trip_us: Option<u32>,
    /// Packets of this lane that the far end says it never got (RTCP).
    #[serde(default)]
    pub far_lost_packets: Option<u32>,
    /// Mean opinion score that the far end gives this lane, 1 to 5 (RTCP-XR, RFC 3611 §4.7).
    #[serde(default)]
    pub far_mos: Option<f32>,
}

/// How the two talked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SpeechMeasures {
    /// Share of the time each lane speaks, 0 to 1: [customer, agent].
    pub talk_ratio: [f32; 2],
    /// Share of the time nobody speaks, 0 to 1.
    pub silence_ratio: f32,
    /// Longest stretch in which nobody speaks, microseconds.
    pub longest_silence_us: i64,
    /// Times both speak at once for longer than half a second.
    pub overlaps: u32,
    /// Time to the first word of our side, microseconds.
    pub first_response_us: i64,
    /// Level of each lane's speech, dBFS.
    pub level_dbfs: [f32; 2],
    /// Share of samples at full scale, 0 to 1.
    pub clipped_ratio: [f32; 2],
}
