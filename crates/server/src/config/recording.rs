//! Where recordings are kept and how they are made.

use cheling_media::ogg_opus::OpusSettings;
use cheling_model::recording::Container;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// What `opus_kbit` may be.
const OPUS_KBIT: [u16; 3] = [16, 24, 32];

/// Files.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Recording {
    /// Root of the finished recordings. Default `recordings` below `data_dir`.
    pub dir: Option<PathBuf>,
    /// The journal of calls in progress; best on the same disk as `dir`. Default `journal` below
    /// `data_dir`.
    pub journal_dir: Option<PathBuf>,
    /// `wav` (default) or `ogg_opus`.
    pub container: Container,
    /// Bitrate of Ogg Opus, both sides together, in kbit/s: 16, 24 (default) or 32.
    pub opus_kbit: u16,
    /// Free space, in MiB, below which recording stops and calls go on. Default 1024.
    pub min_free_mib: u64,
    /// Threads that render finished calls. Default 1.
    pub render_threads: usize,
}

impl Default for Recording {
    fn default() -> Self {
        Self {
            dir: None,
            journal_dir: None,
            container: Container::Wav,
            opus_kbit: 24,
            min_free_mib: 1024,
            render_threads: 1,
        }
    }
}

impl Recording {
    /// How Opus files are made, for good and for downloads.
    pub fn opus(&self) -> OpusSettings {
        OpusSettings { bitrate_bps: i32::from(self.opus_kbit) * 1000, ..OpusSettings::default() }
    }

    /// What cannot be used, a line each.
    pub(super) fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if !OPUS_KBIT.contains(&self.opus_kbit) {
            faults.push(format!("recording.opus_kbit: {} is not 16, 24 or 32", self.opus_kbit));
        }
        faults
    }
}
