//! Makes an old segment small of which nearly all is over.
//!
//! A call of many hours would otherwise hold on to every segment that was written while it went on,
//! full of short calls that are done. What is still needed of such a segment is copied, in its
//! order, into a new file of the same name: a crash finds the old file or the new one, and a call's
//! records stay in the order they were sent.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::index::Remains;
use super::segment::{
    Record, RecordKind, SEGMENT_HEADER_BYTES, append_record, segment_header, segment_path,
};
use crate::disk::{Disk, sync_folder_of};

/// Bytes that are copied at a time.
const COPY_BYTES: usize = 1 << 20;

/// The ending of a file that is being written.
const ENDING: &str = "rewrite";

/// Copies what remains of a segment over it, and notes in `remains` where that lies now.
///
/// # Errors
/// What the disk says, or [`io::ErrorKind::InvalidData`] if a record is damaged: then the segment is
/// left as it is.
pub fn rewrite(disk: &dyn Disk, folder: &Path, remains: &mut Remains) -> io::Result<()> {
    let path = segment_path(folder, remains.segment);
    let draft = draft_path(&path);
    remove_if_there(&draft)?;
    let written = copy(disk, &path, &draft, remains);
    if let Err(err) = written.and_then(|()| std::fs::rename(&draft, &path)) {
        remove_if_there(&draft)?;
        return Err(err);
    }
    // What is forgotten here must stay forgotten after a power cut: a later segment may lose the
    // word that says so. If it does not, a call that has its row is found once more.
    if let Err(err) = sync_folder_of(&path) {
        tracing::error!(path = %path.display(), %err, "the journal's folder cannot be synced");
    }
    Ok(())
}

/// Removes what a crash left half-written.
pub fn remove_drafts(folder: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == ENDING) {
            remove_if_there(&path)?;
        }
    }
    Ok(())
}

fn draft_path(path: &Path) -> PathBuf {
    path.with_extension(ENDING)
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(err) if err.kind() != io::ErrorKind::NotFound => Err(err),
        _ => Ok(()),
    }
}

fn copy(disk: &dyn Disk, from: &Path, to: &Path, remains: &mut Remains) -> io::Result<()> {
    let (from, mut to) = (File::open(from)?, disk.create(to)?);
    let mut batch = segment_header(remains.segment).to_vec();
    let mut offset = SEGMENT_HEADER_BYTES as u32;
    for (call_id, record) in &mut remains.records {
        let start = batch.len();
        batch.resize(start + record.bytes as usize, 0);
        from.read_exact_at(&mut batch[start..], record.offset.into())?;
        match Record::parse(&batch[start..]) {
            Ok((found, _)) if found.call_id == *call_id && found.kind == record.kind => {}
            _ => return Err(io::ErrorKind::InvalidData.into()),
        }
        record.offset = offset;
        offset += record.bytes;
        if batch.len() >= COPY_BYTES {
            to.append(&batch)?;
            batch.clear();
        }
    }
    for &call_id in &remains.done {
        append_record(&mut batch, RecordKind::Done, call_id, &[]);
    }
    to.append(&batch)?;
    to.sync()
}
