//! Reads one call back from the journal.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use cheling_model::tap::{Packets, TapPacket};
use cheling_model::{CallId, TapEvent};

use super::JournalError;
use super::index::{CallEntry, RecordRef};
use super::segment::{Record, RecordKind, segment_path};

/// What the journal holds of one call. The files stay until the call is reported done.
#[derive(Clone, Debug)]
pub struct CallRecords {
    folder: PathBuf,
    call_id: CallId,
    records: Vec<RecordRef>,
    was_cut: bool,
    has_gap: bool,
}

/// What was met while reading.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MediaReport {
    /// Packets given out.
    pub packets: u64,
    /// Records that could not be read; their packets are missing.
    pub damaged_records: u64,
}

impl CallRecords {
    pub(super) fn new(folder: PathBuf, call_id: CallId, entry: &CallEntry) -> Self {
        Self {
            folder,
            call_id,
            records: entry.records.clone(),
            was_cut: entry.was_cut,
            has_gap: entry.has_gap,
        }
    }

    /// Which call.
    pub fn call_id(&self) -> CallId {
        self.call_id
    }

    /// The process ended before the call did, so its end was not seen.
    pub fn was_cut(&self) -> bool {
        self.was_cut
    }

    /// The disk refused some of the call's media.
    pub fn has_gap(&self) -> bool {
        self.has_gap || self.records.iter().any(|record| record.kind == RecordKind::Gap)
    }

    /// Its events, in the order they were sent. Events that cannot be read are left out.
    ///
    /// # Errors
    /// [`JournalError::Disk`] if a segment cannot be read.
    pub fn events(&self) -> Result<Vec<TapEvent>, JournalError> {
        let mut events = Vec::new();
        self.each(RecordKind::Event, |record| match record {
            Some(body) => match serde_json::from_slice(body) {
                Ok(event) => events.push(event),
                Err(err) => tracing::warn!(call_id = %self.call_id, %err, "unreadable event"),
            },
            None => tracing::warn!(call_id = %self.call_id, "damaged event record"),
        })?;
        Ok(events)
    }

    /// Gives every packet to `each`, in the order of writing.
    ///
    /// # Errors
    /// [`JournalError::Disk`] if a segment cannot be read; or the first error of `each`.
    pub fn packets<E: From<JournalError>>(
        &self,
        mut each: impl FnMut(TapPacket<'_>) -> Result<(), E>,
    ) -> Result<MediaReport, E> {
        let mut report = MediaReport::default();
        let mut failed = None;
        self.each(RecordKind::Media, |record| {
            let Some(body) = record else {
                report.damaged_records += 1;
                return;
            };
            for packet in Packets::new(body) {
                match packet {
                    _ if failed.is_some() => return,
                    // Checked again: nothing of another call may get into this recording.
                    Ok(packet) if packet.call_id == self.call_id => {
                        report.packets += 1;
                        failed = each(packet).err();
                    }
                    Ok(_) | Err(_) => report.damaged_records += 1,
                }
            }
        })?;
        failed.map_or(Ok(report), Err)
    }

    /// Gives the body of each record of a kind; `None` for one that is damaged.
    fn each(
        &self,
        kind: RecordKind,
        mut each: impl FnMut(Option<&[u8]>),
    ) -> Result<(), JournalError> {
        let mut open: Option<(u32, File)> = None;
        let mut bytes = Vec::new();
        for record in self.records.iter().filter(|record| record.kind == kind) {
            let path = segment_path(&self.folder, record.segment);
            let failed = |source| JournalError::Disk { path: path.clone(), source };
            if open.as_ref().is_none_or(|(segment, _)| *segment != record.segment) {
                open = Some((record.segment, File::open(&path).map_err(failed)?));
            }
            let Some((_, file)) = &open else { continue };
            bytes.resize(record.bytes as usize, 0);
            match file.read_exact_at(&mut bytes, record.offset.into()) {
                Ok(()) => {}
                Err(err) if err.kind() == io::ErrorKind::UnexpectedEof => {
                    each(None);
                    continue;
                }
                Err(err) => return Err(failed(err)),
            }
            match Record::parse(&bytes) {
                Ok((record, _)) if record.call_id == self.call_id => each(Some(record.body)),
                _ => each(None),
            }
        }
        Ok(())
    }
}
