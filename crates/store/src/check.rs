//! Proves that every row has its file, every file its row and every answered call its verdict, and
//! names what fails.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cheling_model::recording::Recording;
use cheling_model::{CallId, RecordingId, Timestamp, Verdict};

use crate::conversion::under_way;
use crate::files::{AUDIO_EXTENSIONS, RecordingFiles, hash_file};
use crate::journal::{JournalError, inspect};
use crate::render::{not_recorded, recording_id};
use crate::rows::{AnsweredCall, RecordingRows, RowError};

/// A call offered so shortly before the check may not have been in the journal when it was looked at.
const UNWRITTEN: Duration = Duration::from_secs(10);

/// Rows read at a time.
const PAGE: u32 = 500;

/// How closely to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Names and sizes.
    Sizes,
    /// Every byte against its hash.
    Hashes,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// A row's file is not there.
    MissingFile {
        /// The row.
        recording_id: RecordingId,
        /// Where it should be.
        path: String,
    },
    /// A row's path is none.
    BadPath {
        /// The row.
        recording_id: RecordingId,
        /// What it says.
        path: String,
    },
    /// A row without a file that should have one.
    NoPath {
        /// The row.
        recording_id: RecordingId,
    },
    /// The file is longer or shorter than its row says.
    WrongSize {
        /// The row.
        recording_id: RecordingId,
        /// Where.
        path: String,
        /// What the row says.
        expected: i64,
        /// What is there.
        found: u64,
    },
    /// The file is not what was written.
    WrongHash {
        /// The row.
        recording_id: RecordingId,
        /// Where.
        path: String,
    },
    /// The file cannot be read.
    Unreadable {
        /// The row.
        recording_id: RecordingId,
        /// Where.
        path: String,
        /// What the disk said.
        error: String,
    },
    /// The outline beside the file is missing.
    MissingPeaks {
        /// The row.
        recording_id: RecordingId,
        /// The audio's path.
        path: String,
    },
    /// Two rows of one call.
    SecondRecording {
        /// The row.
        recording_id: RecordingId,
        /// The call.
        call_id: CallId,
    },
    /// A call that was answered and is over has no row, and the journal does not hold it.
    NoRecording {
        /// The call.
        call: AnsweredCall,
    },
    /// A disk is not there; nothing is known of the files on it.
    DiskAway {
        /// Its name; empty for the first.
        name: String,
        /// Where it should be.
        path: PathBuf,
        /// Rows whose files are on it.
        rows: u64,
    },
    /// A file that no row knows.
    OrphanFile {
        /// Where.
        path: PathBuf,
    },
    /// Calls have no recording, and a journal that may hold them is not there.
    JournalAway {
        /// Where it should be.
        path: PathBuf,
    },
    /// The journal has records that cannot be read, or files that are not its own.
    Journal {
        /// What is wrong with it.
        what: String,
    },
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MissingFile { recording_id, path } => {
                write!(f, "missing-file {recording_id} {path}")
            }
            Self::BadPath { recording_id, path } => write!(f, "bad-path {recording_id} {path:?}"),
            Self::NoPath { recording_id } => write!(f, "no-path {recording_id}"),
            Self::WrongSize { recording_id, path, expected, found } => {
                write!(f, "wrong-size {recording_id} {path}: row {expected}, file {found}")
            }
            Self::WrongHash { recording_id, path } => write!(f, "wrong-hash {recording_id} {path}"),
            Self::Unreadable { recording_id, path, error } => {
                write!(f, "unreadable {recording_id} {path}: {error}")
            }
            Self::MissingPeaks { recording_id, path } => {
                write!(f, "missing-peaks {recording_id} {path}")
            }
            Self::SecondRecording { recording_id, call_id } => {
                write!(f, "second-recording {recording_id} of call {call_id}")
            }
            Self::NoRecording { call } => write!(f, "no-recording of call {}", call.call_id),
            Self::DiskAway { name, path, rows } => {
                write!(f, "disk-away {name:?} {}: {rows} recordings on it", path.display())
            }
            Self::OrphanFile { path } => write!(f, "orphan-file {}", path.display()),
            Self::JournalAway { path } => write!(f, "journal-away {}", path.display()),
            Self::Journal { what } => write!(f, "journal {what}"),
        }
    }
}

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// Rows looked at.
    pub rows: u64,
    /// Audio files looked at.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Calls that the journal still holds.
    pub journal_calls: u64,
    /// Calls without a recording that [`mend`] gave their row.
    pub mended_calls: u64,
    /// What is wrong; empty if all is well.
    pub failures: Vec<Failure>,
}

/// Why a check could not be made.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The database.
    #[error("the database: {0}")]
    Row(RowError),
    /// A folder.
    #[error("{path}: {source}")]
    Disk {
        /// Which.
        path: PathBuf,
        /// What the disk said.
        source: io::Error,
    },
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// Compares rows, files and journals. May run beside a recorder at work: files are listed before
/// rows are read, a recording in the making has no name yet, one whose row is still to come has
/// its call in the journal, and calls that were offered after `now`, or a moment before, are left
/// alone.
///
/// # Errors
/// [`CheckError`] if it could not look; what it found wrong is in the report.
pub async fn check<R: RecordingRows>(
    rows: &R,
    files: &RecordingFiles,
    journals: &[PathBuf],
    depth: Depth,
    now: Timestamp,
) -> Result<CheckReport, CheckError> {
    let mut report = CheckReport::default();
    // `true` once a row has claimed the file.
    let mut found: HashMap<PathBuf, bool> = HashMap::new();
    let mut away: HashMap<&str, u64> = HashMap::new();
    for root in files.roots() {
        if root.is_there() {
            list(root.path(), &mut found)?;
        } else {
            away.insert(root.name(), 0);
        }
    }
    // After the files were listed and before any row is asked for: a file has its name before it
    // has its row, and a call leaves the journal after that.
    let mut in_journal = HashSet::new();
    for folder in journals {
        check_journal(folder, &mut in_journal, &mut report)?;
    }
    let mut calls = HashMap::new();
    let mut after = None;
    loop {
        let page = rows.page(after, PAGE).await.map_err(CheckError::Row)?;
        let Some(last) = page.last() else { break };
        after = Some(last.recording_id);
        for recording in &page {
            report.rows += 1;
            if let Some(first) = calls.insert(recording.call_id, recording.recording_id) {
                let (recording_id, call_id) = (first, recording.call_id);
                report.failures.push(Failure::SecondRecording { recording_id, call_id });
            }
            if let Some(root) = files.away(&recording.path)
                && let Some(rows) = away.get_mut(root.name())
                && !recording.path.is_empty()
            {
                *rows += 1;
                continue;
            }
            check_row(recording, files, depth, &mut found, &mut report);
        }
    }
    for root in files.roots() {
        if let Some(&rows) = away.get(root.name()) {
            let (name, path) = (root.name().to_owned(), root.path().to_owned());
            report.failures.push(Failure::DiskAway { name, path, rows });
        }
    }
    // A conversion has two files for a while; one that was cut short is finished by the next.
    let under_way = under_way(files);
    let orphans = found.into_iter().filter(|(_, is_claimed)| !is_claimed).map(|(path, _)| path);
    let landing: HashSet<_> = in_journal.iter().map(|&call_id| lasting_part(call_id)).collect();
    let mut orphans: Vec<_> = orphans
        .filter(|path| !under_way.contains(&path.with_extension("")))
        .filter(|path| recording_of(path).is_none_or(|it| !landing.contains(&random_part(it))))
        .collect();
    orphans.sort();
    report.failures.extend(orphans.into_iter().map(|path| Failure::OrphanFile { path }));
    let before_us = now.as_micros().saturating_sub(UNWRITTEN.as_micros() as i64);
    let (before, mut after) = (Timestamp::from_micros(before_us), None);
    loop {
        let page = rows.unrecorded(before, after, PAGE).await.map_err(CheckError::Row)?;
        let Some(last) = page.last() else { break };
        after = Some(last.call_id);
        let missing = page.iter().filter(|call| !in_journal.contains(&call.call_id));
        report.failures.extend(missing.map(|&call| Failure::NoRecording { call }));
    }
    if matches!(report.failures.last(), Some(Failure::NoRecording { .. })) {
        let away = journals.iter().filter(|folder| !folder.exists());
        let away = away.map(|path| Failure::JournalAway { path: path.clone() });
        report.failures.extend(away);
    }
    Ok(report)
}

/// Gives each answered call that has no recording a row that says so, and takes these failures out
/// of the report: nobody shall wonder where a recording is.
///
/// Nothing is done while a disk or journal is away, which may hold what is missing; and a call
/// whose audio is there, without its row, is left for a person.
///
/// # Errors
/// [`CheckError::Row`] if a row cannot be written; those before are.
pub async fn mend<R: RecordingRows>(rows: &R, report: &mut CheckReport) -> Result<(), CheckError> {
    let is_away = |failure: &Failure| {
        matches!(failure, Failure::DiskAway { .. } | Failure::JournalAway { .. })
    };
    if report.failures.iter().any(is_away) {
        return Ok(());
    }
    let orphans = report.failures.iter().filter_map(|failure| match failure {
        Failure::OrphanFile { path } => path.file_stem(),
        _ => None,
    });
    let orphans: HashSet<_> = orphans.map(std::ffi::OsStr::to_owned).collect();
    let mut mended = HashSet::new();
    for failure in &report.failures {
        let Failure::NoRecording { call } = failure else { continue };
        let id = recording_id(call.call_id, call.answered_at);
        if orphans.contains(std::ffi::OsStr::new(&id.to_string())) {
            continue;
        }
        let why = "no trace of it was found by a check";
        let row = not_recorded(call.call_id, call.dealership_id, call.answered_at, why);
        rows.insert(std::slice::from_ref(&row)).await.map_err(CheckError::Row)?;
        mended.insert(call.call_id);
    }
    report.mended_calls = mended.len() as u64;
    report.failures.retain(
        |it| !matches!(it, Failure::NoRecording { call } if mended.contains(&call.call_id)),
    );
    Ok(())
}

fn list(folder: &Path, found: &mut HashMap<PathBuf, bool>) -> Result<(), CheckError> {
    let failed = |source| CheckError::Disk { path: folder.to_owned(), source };
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().unwrap_or_default().as_encoded_bytes();
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or("");
        if name.starts_with(b".") {
            continue;
        } else if path.is_dir() {
            list(&path, found)?;
        } else if AUDIO_EXTENSIONS.contains(&extension) {
            found.insert(path, false);
        }
    }
    Ok(())
}

/// The recording whose audio a file is by its name.
fn recording_of(path: &Path) -> Option<RecordingId> {
    path.file_stem()?.to_str()?.parse().ok()
}

/// What tells a recording from others, but for the time it has in front.
fn random_part(recording_id: RecordingId) -> [u8; 10] {
    let mut part = [0; 10];
    part.copy_from_slice(&recording_id.0.as_bytes()[6..]);
    part
}

/// The same of a call's recording, whenever that began.
fn lasting_part(call_id: CallId) -> [u8; 10] {
    random_part(recording_id(call_id, Timestamp::from_micros(0)))
}

fn check_row(
    recording: &Recording,
    files: &RecordingFiles,
    depth: Depth,
    found: &mut HashMap<PathBuf, bool>,
    report: &mut CheckReport,
) {
    let (recording_id, path) = (recording.recording_id, recording.path.clone());
    if path.is_empty() {
        // Only what has no sound may have no file.
        if recording.verdict != Verdict::NotRecorded && recording.duration_us > 0 {
            report.failures.push(Failure::NoPath { recording_id });
        }
        return;
    }
    let Ok(file) = files.resolve(&path) else {
        report.failures.push(Failure::BadPath { recording_id, path });
        return;
    };
    let size = match std::fs::metadata(&file) {
        Ok(metadata) => metadata.len(),
        Err(err) if err.kind() == io::ErrorKind::NotFound => {
            report.failures.push(Failure::MissingFile { recording_id, path });
            return;
        }
        Err(err) => {
            let error = err.to_string();
            report.failures.push(Failure::Unreadable { recording_id, path, error });
            return;
        }
    };
    if let Some(is_claimed) = found.get_mut(&file) {
        *is_claimed = true;
    }
    report.files += 1;
    report.bytes += size;
    if i64::try_from(size) != Ok(recording.bytes) {
        let expected = recording.bytes;
        let path = path.clone();
        report.failures.push(Failure::WrongSize { recording_id, path, expected, found: size });
    } else if depth == Depth::Hashes {
        match hash_file(&file) {
            Ok((sha256, _)) if sha256 == recording.sha256 => {}
            Ok(_) => {
                let path = path.clone();
                report.failures.push(Failure::WrongHash { recording_id, path });
            }
            Err(err) => {
                let (path, error) = (path.clone(), err.to_string());
                report.failures.push(Failure::Unreadable { recording_id, path, error });
            }
        }
    }
    if !file.with_extension("peaks").is_file() {
        report.failures.push(Failure::MissingPeaks { recording_id, path });
    }
}

fn check_journal(
    folder: &Path,
    calls: &mut HashSet<CallId>,
    report: &mut CheckReport,
) -> Result<(), CheckError> {
    if !folder.exists() {
        return Ok(());
    }
    let found = inspect(folder)?;
    calls.extend(found.calls.iter().map(|call| call.call_id));
    report.journal_calls += found.calls.len() as u64;
    if found.damaged_records > 0 {
        let what = format!("has {} damaged records", found.damaged_records);
        report.failures.push(Failure::Journal { what });
    }
    for path in found.foreign_files {
        let what = format!("file {} is no segment", path.display());
        report.failures.push(Failure::Journal { what });
    }
    Ok(())
}
