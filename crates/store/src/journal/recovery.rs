//! What a journal finds of the process before it: calls that are not finished, and torn ends.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};

use cheling_model::{CallId, TapEvent};

use super::JournalError;
use super::index::{Index, RecordRef};
use super::segment::{RECORD_HEADER_BYTES, RecordKind, scan, segment_number};

/// A call that was not finished. The journal holds it until it is reported done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// Which.
    pub call_id: CallId,
    /// Both sides talked: there is a recording to make.
    pub is_answered: bool,
    /// It had not ended when the process did.
    pub was_cut: bool,
}

/// What was found when a journal was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// Calls that are not finished, oldest first.
    pub calls: Vec<Recovered>,
    /// Segments there are.
    pub segments: usize,
    /// Bytes at the ends of segments that are no whole record.
    pub torn_bytes: u64,
    /// Records whose checksum is wrong.
    pub damaged_records: u64,
    /// Files with the name of a segment but not its header.
    pub foreign_files: Vec<PathBuf>,
}

impl RecoveryReport {
    /// Adds what was found on another disk.
    pub(super) fn add(&mut self, other: Self) {
        self.calls.extend(other.calls);
        self.calls.sort_by_key(|call| call.call_id);
        self.segments += other.segments;
        self.torn_bytes += other.torn_bytes;
        self.damaged_records += other.damaged_records;
        self.foreign_files.extend(other.foreign_files);
    }
}

/// The segments in a folder, by number.
pub fn segments(folder: &Path) -> io::Result<Vec<(u32, PathBuf)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        found.extend(segment_number(&path).map(|number| (number, path)));
    }
    found.sort();
    Ok(found)
}

/// Reads all segments; gives the index, what was found, and the last segment's number.
pub fn recover(folder: &Path) -> Result<(Index, RecoveryReport, u32), JournalError> {
    let failed = |path: &Path, source| JournalError::Disk { path: path.to_owned(), source };
    let segments = segments(folder).map_err(|err| failed(folder, err))?;
    let mut index = Index::default();
    let mut report = RecoveryReport { segments: segments.len(), ..RecoveryReport::default() };
    let mut done = HashSet::new();
    let mut last = 0;
    for (segment, path) in segments {
        last = segment;
        let bytes = std::fs::read(&path).map_err(|err| failed(&path, err))?;
        let found = scan(&bytes, |offset, record| {
            let Ok(offset) = u32::try_from(offset) else { return };
            let len = (RECORD_HEADER_BYTES + record.body.len()) as u32;
            let place = RecordRef { segment, offset, bytes: len, kind: record.kind };
            if record.kind == RecordKind::Done {
                done.insert(record.call_id);
            } else {
                index.open(record.call_id);
            }
            index.add(record.call_id, place);
            if record.kind == RecordKind::Event
                && let Ok(event) = serde_json::from_slice::<TapEvent>(record.body)
                && let Some(entry) = index.call_mut(record.call_id)
            {
                entry.note(&event);
            }
        });
        report.torn_bytes += if found.has_header { found.torn_bytes } else { 0 };
        report.damaged_records += found.damaged_records;
        if found.has_header || bytes.is_empty() {
            index.add_segment(segment);
        } else {
            // Not ours to remove, or damaged where it matters most: a person must look.
            report.foreign_files.push(path);
        }
    }
    for (call_id, entry) in index.each().filter(|(call_id, _)| !done.contains(call_id)) {
        entry.was_cut = !entry.has_ended;
        entry.is_finished = true;
        let (is_answered, was_cut) = (entry.is_answered, entry.was_cut);
        report.calls.push(Recovered { call_id, is_answered, was_cut });
    }
    // A record after its call's `done` (which only damage can bring about) does not revive it.
    for call_id in done {
        index.forget(call_id);
    }
    report.calls.sort_by_key(|call| call.call_id);
    Ok((index, report, last))
}
