//! Makes old WAV recordings into Ogg Opus, one after the other, whatever is cut in between.
//!
//! For each: an intent is written beside the recordings (`.converting/<recording id>`), the copy is
//! made, decoded, compared and named, the row changes to tell of the copy, the original goes, and
//! the intent goes. A crash leaves at most one file too many, and the intent says which: the next
//! run looks at the row and removes the file that it does not tell of. The peaks belong to both.
//!
//! One process converts at a time: whoever holds the lock.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use cheling_media::ogg_opus::OpusSettings;
use cheling_model::recording::{Container, Recording};
use cheling_model::{RecordingId, Timestamp};
use tokio::runtime::Handle;

use crate::disk::sync_folder_of;
use crate::files::RecordingFiles;
use crate::roots::Root;
use crate::rows::{RecordingRows, RowError};
use crate::transcode::{TranscodeError, convert, remove_original};

/// Below each root, the conversions under way.
const INTENTS: &str = ".converting";

/// Rows read at a time.
const PAGE: u32 = 200;

/// Recordings that failed and are not tried again by this process; beyond, all are tried again.
const MAX_REFUSED: usize = 10_000;

/// What conversions did; all but `waiting` only grow.
#[derive(Debug, Default)]
pub struct ConversionCounters {
    /// Recordings that are Opus now.
    pub converted: AtomicU64,
    /// Recordings that could not be converted and stayed as they were.
    pub failed: AtomicU64,
    /// Bytes that the originals took more than their copies.
    pub saved_bytes: AtomicU64,
    /// Recordings that the run under way has still before it.
    pub waiting: AtomicU64,
}

/// What one run did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConversionReport {
    /// Recordings that are Opus now.
    pub converted: u64,
    /// Recordings that could not be converted.
    pub failed: u64,
    /// Bytes won.
    pub saved_bytes: u64,
    /// It was told to stop before all was done.
    pub was_stopped: bool,
}

/// Why no run could be made, or not to its end. It may be later.
#[derive(Debug, thiserror::Error)]
pub enum ConversionError {
    /// The database.
    #[error("the database: {0}")]
    Row(RowError),
    /// The folder of intents.
    #[error("{path}: {source}")]
    Disk {
        /// Which file or folder.
        path: PathBuf,
        /// What the disk said.
        source: io::Error,
    },
    /// Another process converts.
    #[error("another process is converting recordings; wait until it is done")]
    Busy,
}

/// Converts recordings; keeps in mind how far it came.
pub struct Conversion<R> {
    files: RecordingFiles,
    rows: R,
    opus: OpusSettings,
    runtime: Handle,
    /// All older ones were looked at.
    after: Option<RecordingId>,
    refused: HashSet<RecordingId>,
}

impl<R: RecordingRows> Conversion<R> {
    /// Converts recordings of `files` to `opus`. `runtime` runs the database's futures.
    pub fn new(files: RecordingFiles, rows: R, opus: OpusSettings, runtime: Handle) -> Self {
        Self { files, rows, opus, runtime, after: None, refused: HashSet::new() }
    }

    /// Converts every WAV that began before `older_than`, oldest first, until `stop`. `progress` is
    /// told before each how many are done and how many there were.
    ///
    /// Not to be called from within the runtime: it blocks.
    ///
    /// # Errors
    /// [`ConversionError`]; what was converted before it stays so.
    pub fn run(
        &mut self,
        older_than: Timestamp,
        stop: &AtomicBool,
        counters: &ConversionCounters,
        mut progress: impl FnMut(u64, u64),
    ) -> Result<ConversionReport, ConversionError> {
        let _lock = lock(self.files.root())?;
        self.finish_cut()?;
        let mut report = ConversionReport::default();
        let total = self.ask(self.rows.count_convertible(older_than))?;
        let mut done = 0;
        loop {
            let rows = self.ask(self.rows.convertible(older_than, self.after, PAGE))?;
            let Some(last) = rows.last().map(|row| row.recording_id) else { break };
            for row in rows {
                if stop.load(Ordering::Relaxed) {
                    counters.waiting.store(0, Ordering::Relaxed);
                    return Ok(ConversionReport { was_stopped: true, ..report });
                }
                counters.waiting.store(total.saturating_sub(done), Ordering::Relaxed);
                progress(done, total.max(done));
                self.attempt(&row, stop, counters, &mut report)?;
                done += 1;
            }
            self.after = Some(last);
        }
        counters.waiting.store(0, Ordering::Relaxed);
        progress(done, done);
        Ok(report)
    }

    fn ask<T>(
        &self,
        answer: impl Future<Output = Result<T, RowError>>,
    ) -> Result<T, ConversionError> {
        self.runtime.block_on(answer).map_err(ConversionError::Row)
    }

    /// Converts one. What is wrong with it alone is told and counted, and it is passed over.
    fn attempt(
        &mut self,
        row: &Recording,
        stop: &AtomicBool,
        counters: &ConversionCounters,
        report: &mut ConversionReport,
    ) -> Result<(), ConversionError> {
        if self.files.away(&row.path).is_some() || self.refused.contains(&row.recording_id) {
            return Ok(());
        }
        match self.convert_one(row, stop)? {
            Ok(copy) => {
                let saved = u64::try_from(row.bytes.saturating_sub(copy.bytes)).unwrap_or(0);
                counters.converted.fetch_add(1, Ordering::Relaxed);
                counters.saved_bytes.fetch_add(saved, Ordering::Relaxed);
                report.converted += 1;
                report.saved_bytes += saved;
            }
            Err(_) if stop.load(Ordering::Relaxed) => {}
            Err(err) => {
                tracing::error!(recording_id = %row.recording_id, %err,
                    "a recording is not converted and stays as it is");
                counters.failed.fetch_add(1, Ordering::Relaxed);
                report.failed += 1;
                if self.refused.len() >= MAX_REFUSED {
                    self.refused.clear();
                }
                self.refused.insert(row.recording_id);
            }
        }
        Ok(())
    }

    fn convert_one(
        &self,
        original: &Recording,
        stop: &AtomicBool,
    ) -> Result<Result<Recording, TranscodeError>, ConversionError> {
        let intent = match Intent::write(&self.files, original) {
            Ok(intent) => intent,
            Err(err) => return Ok(Err(err)),
        };
        let copy = match convert(&self.files, original, self.opus, stop) {
            Ok(copy) => copy,
            Err(err) => {
                intent.remove();
                return Ok(Err(err));
            }
        };
        // From here on an error leaves the intent: the next run decides by the row.
        let is_replaced = self.ask(self.rows.replace(original, &copy))?;
        if is_replaced && let Err(err) = remove_original(&self.files, original, &copy) {
            return Ok(Err(err));
        }
        self.settle(&intent)?;
        Ok(if is_replaced { Ok(copy) } else { Err(TranscodeError::NotAPair) })
    }

    /// Finishes what a crash cut short, on every disk that is there.
    fn finish_cut(&self) -> Result<(), ConversionError> {
        for root in self.files.roots().iter().filter(|root| root.is_there()) {
            for intent in intents(root)? {
                self.settle(&intent)?;
            }
        }
        Ok(())
    }

    /// Removes the file that the row does not tell of, and then the intent.
    fn settle(&self, intent: &Intent) -> Result<(), ConversionError> {
        let row = self.ask(self.rows.find(intent.recording_id))?;
        let told = row.and_then(|row| self.files.resolve(&row.path).ok());
        for ending in ["wav", "opus"] {
            let path = intent.audio.with_extension(ending);
            // The row's own file, or the only one, is never touched.
            let other = intent.audio.with_extension(if ending == "wav" { "opus" } else { "wav" });
            if told.as_ref() == Some(&other) && other.is_file() && path.is_file() {
                tracing::info!(path = %path.display(), "left by a conversion that was cut short");
                std::fs::remove_file(&path)
                    .and_then(|()| sync_folder_of(&path))
                    .map_err(|source| ConversionError::Disk { path, source })?;
            }
        }
        intent.remove();
        Ok(())
    }
}

/// A conversion under way.
struct Intent {
    file: PathBuf,
    recording_id: RecordingId,
    /// The recording's file, of either ending.
    audio: PathBuf,
}

impl Intent {
    fn write(files: &RecordingFiles, original: &Recording) -> Result<Self, TranscodeError> {
        let audio = files.resolve(&original.path)?;
        let root = files.root_of(&original.path).path();
        let folder = root.join(INTENTS);
        std::fs::create_dir_all(&folder)?;
        let file = folder.join(original.recording_id.to_string());
        let below = audio.strip_prefix(root).unwrap_or(&audio);
        let mut out = File::create(&file)?;
        out.write_all(below.as_os_str().as_encoded_bytes())?;
        out.sync_all()?;
        sync_folder_of(&file)?;
        Ok(Self { file, recording_id: original.recording_id, audio })
    }

    fn remove(&self) {
        // One that stays is looked at again by the next run.
        if let Err(err) = std::fs::remove_file(&self.file) {
            tracing::warn!(path = %self.file.display(), %err, "the note of a conversion stays");
        }
    }
}

/// The conversions that were under way on a disk.
fn intents(root: &Root) -> Result<Vec<Intent>, ConversionError> {
    let folder = root.path().join(INTENTS);
    let failed = |source| ConversionError::Disk { path: folder.clone(), source };
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(err) => return Err(failed(err)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let file = entry.map_err(failed)?.path();
        let name = file.file_name().and_then(OsStr::to_str).unwrap_or_default();
        // The lock, or something that is not ours.
        let Ok(id) = name.parse() else { continue };
        let below = std::fs::read_to_string(&file).map_err(failed)?;
        if below.is_empty() || Path::new(&below).is_absolute() || below.contains("..") {
            // Cut while it was written: nothing was done yet.
            let _ = std::fs::remove_file(&file);
            continue;
        }
        let audio = root.path().join(below);
        found.push(Intent { file, recording_id: RecordingId(id), audio });
    }
    Ok(found)
}

/// Files that a conversion under way, or cut short, accounts for: without their endings.
pub(crate) fn under_way(files: &RecordingFiles) -> HashSet<PathBuf> {
    let roots = files.roots().iter().filter(|root| root.is_there());
    let intents = roots.filter_map(|root| intents(root).ok()).flatten();
    intents.map(|intent| intent.audio.with_extension("")).collect()
}

fn lock(root: &Path) -> Result<File, ConversionError> {
    let path = root.join(INTENTS).join("lock");
    let failed = |source| ConversionError::Disk { path: path.clone(), source };
    std::fs::create_dir_all(root.join(INTENTS)).map_err(failed)?;
    let lock = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    let lock = lock.map_err(failed)?;
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive)
        .map_err(|_| ConversionError::Busy)?;
    Ok(lock)
}

/// Whether a recording can be converted at all: for those who make the list.
pub fn is_convertible(recording: &Recording, older_than: Timestamp) -> bool {
    recording.container == Container::Wav
        && !recording.path.is_empty()
        && recording.started_at < older_than
}
