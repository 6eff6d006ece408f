//! What is wrong with the recorder now: who is in charge is told in the console, monitoring in the
//! answer of `/readyz`.

use cheling_model::Timestamp;
use std::sync::Arc;

/// What kind of thing is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AlarmKind {
    /// No disk takes media: calls go on and are not recorded.
    RecordingStopped,
    /// A disk has less room than is to be kept free.
    DiskFull,
    /// A disk cannot be written.
    DiskFailing,
    /// The journal does not keep up: media is missing in recordings.
    JournalBehind,
}

impl AlarmKind {
    /// The word used in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RecordingStopped => "recording_stopped",
            Self::DiskFull => "disk_full",
            Self::DiskFailing => "disk_failing",
            Self::JournalBehind => "journal_behind",
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alarm {
    /// What.
    pub kind: AlarmKind,
    /// The folder of the journal it is about; empty if it is about all.
    pub disk: String,
    /// Space left there.
    pub free_bytes: u64,
    /// Packets missing in recordings since it began.
    pub lost: u64,
    /// Since when.
    pub since: Timestamp,
}

/// Says what is wrong now; it must not block.
pub type Alarms = Arc<dyn Fn() -> Vec<Alarm> + Send + Sync>;
