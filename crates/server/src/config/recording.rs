//! Where recordings are kept and how they are made.

use cheling_call::io::PauseRules;
use cheling_media::dtmf_tones::InbandDigits;
use cheling_media::ogg_opus::OpusSettings;
use cheling_model::recording::Container;
use cheling_store::roots::{DiskFolder, is_disk_name};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;

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
    /// Further disks. Each call is kept on one, chosen by the space they have left. Default none.
    pub disk: Vec<DiskEntry>,
    /// `wav` (default) or `ogg_opus`.
    pub container: Container,
    /// Bitrate of Ogg Opus, both sides together, in kbit/s: 16, 24 (default) or 32.
    pub opus_kbit: u16,
    /// Days after which WAV recordings become Ogg Opus; the original goes once the copy is compared
    /// with it. Default 0: never.
    pub opus_after_days: u32,
    /// Free space, in MiB, below which recording stops and calls go on. Default 1024.
    pub min_free_mib: u64,
    /// Digits that a phone sends as tones (in-band DTMF) are silenced in recordings, which then say
    /// where, and in what supervisors hear. Digits sent as events (RFC 4733) never are in either.
    /// Default false.
    pub mute_inband_dtmf: bool,
    /// Threads that render finished calls. Default 1.
    pub render_threads: usize,
    /// Dialled on the agent's phone while talking, it pauses the recording, and dialled again it
    /// resumes: up to 8 of `0123456789*#ABCD`. Empty: no code does. Default `*1`.
    pub pause_code: String,
    /// Seconds after which a paused recording goes on by itself. Default 300.
    pub pause_seconds: u64,
}

/// A further disk.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiskEntry {
    /// Its name, lower-case letters, digits and `-`; the rows of its recordings hold it, so it
    /// stays what it is.
    pub name: String,
    /// Root of its recordings.
    pub dir: PathBuf,
    /// The journal of its calls in progress.
    pub journal_dir: PathBuf,
}

impl Default for Recording {
    fn default() -> Self {
        Self {
            dir: None,
            journal_dir: None,
            disk: Vec::new(),
            container: Container::Wav,
            opus_kbit: 24,
            opus_after_days: 0,
            min_free_mib: 1024,
            mute_inband_dtmf: false,
            render_threads: 1,
            pause_code: "*1".into(),
            pause_seconds: 300,
        }
    }
}

impl Recording {
    /// How Opus files are made, for good and for downloads.
    pub fn opus(&self) -> OpusSettings {
        OpusSettings { bitrate_bps: i32::from(self.opus_kbit) * 1000, ..OpusSettings::default() }
    }

    /// What becomes of digits sent as tones.
    pub fn inband_digits(&self) -> InbandDigits {
        if self.mute_inband_dtmf { InbandDigits::Silenced } else { InbandDigits::Kept }
    }

    /// How a recording is paused.
    pub fn pause(&self) -> PauseRules {
        PauseRules {
            code: self.pause_code.clone(),
            longest: Duration::from_secs(self.pause_seconds),
        }
    }

    /// How old a WAV recording is when it becomes Opus; `None`: never.
    pub fn opus_age(&self) -> Option<Duration> {
        let days = u64::from(self.opus_after_days);
        (days > 0).then(|| Duration::from_secs(days * 24 * 3600))
    }

    /// What cannot be used, a line each.
    pub(super) fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if !OPUS_KBIT.contains(&self.opus_kbit) {
            faults.push(format!("recording.opus_kbit: {} is not 16, 24 or 32", self.opus_kbit));
        }
        for (index, disk) in self.disk.iter().enumerate() {
            let key = format!("recording.disk[{index}]");
            if !is_disk_name(&disk.name) {
                faults.push(format!("{key}.name: {:?} is not like disk-2", disk.name));
            }
            let before = &self.disk[..index];
            if before.iter().any(|other| other.name == disk.name) {
                faults.push(format!("{key}.name: {:?} is taken by another disk", disk.name));
            }
            let firsts = [self.dir.as_ref(), self.journal_dir.as_ref()].into_iter().flatten();
            let taken: Vec<_> = before
                .iter()
                .flat_map(|disk| [&disk.dir, &disk.journal_dir])
                .chain(firsts)
                .collect();
            for (what, folder) in [("dir", &disk.dir), ("journal_dir", &disk.journal_dir)] {
                if taken.contains(&folder) {
                    faults.push(format!("{key}.{what}: {} is taken", folder.display()));
                }
            }
            if disk.dir == disk.journal_dir {
                faults.push(format!("{key}.journal_dir: must not be dir"));
            }
        }
        let code = &self.pause_code;
        if code.len() > 8 || code.chars().any(|key| !"0123456789*#ABCD".contains(key)) {
            faults.push(format!("recording.pause_code: {code:?} is not up to 8 of 0-9 * # A-D"));
        }
        if !(1..=86_400).contains(&self.pause_seconds) {
            let seconds = self.pause_seconds;
            faults.push(format!("recording.pause_seconds: {seconds} is not 1 to 86400 (a day)"));
        }
        faults
    }

    /// The folders of recordings on the further disks.
    pub fn further_disks(&self) -> Vec<DiskFolder> {
        let folder =
            |disk: &DiskEntry| DiskFolder { name: disk.name.clone(), root: disk.dir.clone() };
        self.disk.iter().map(folder).collect()
    }
}
