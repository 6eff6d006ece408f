//! What must hold for any segment of the journal whatever: nothing panics, no record lies beyond its
//! bytes, and no call gets what is not its own.
//!
//! One function per fuzz target. `tests/fuzz_targets.rs` of the crate includes this file and runs
//! the same functions over mutations of the same seeds, so that they hold where no fuzzer is
//! installed.

use cheling_model::tap::Packets;
use cheling_model::{TapEvent, Timestamp};
use cheling_store::files::RecordingFiles;
use cheling_store::journal::{
    CallRecords, Journal, JournalError, JournalSettings, Record, RecordKind, inspect, scan_segment,
};
use cheling_store::render::{RenderSettings, render};

/// Panics if what must hold does not.
pub type Check = fn(&[u8]);

/// The targets by name.
pub const TARGETS: [(&str, Check); 2] = [("segment", segment), ("recovery", recovery)];

/// Bytes before the first record, and of a record before its body.
const HEADERS_BYTES: [usize; 2] = [16, 28];
/// Longer recordings are not made here: hours of silence say nothing new.
const LONGEST_US: i64 = 120_000_000;

/// One segment: read within its bytes, and what is whole in it stays so when the rest is cut off.
pub fn segment(octets: &[u8]) {
    for bytes in [octets.to_vec(), sealed(octets)] {
        let (mut end, mut records) = (0, 0);
        let found = scan_segment(&bytes, |at, record| {
            assert!(at as usize >= end);
            end = at as usize + HEADERS_BYTES[1] + record.body.len();
            assert!(end <= bytes.len());
            records += 1;
            read(record);
        });
        assert_eq!(found.whole_bytes + found.torn_bytes, bytes.len() as u64);
        assert!(end as u64 <= found.whole_bytes);
        let mut again = 0;
        let cut = scan_segment(&bytes[..found.whole_bytes as usize], |_, _| again += 1);
        assert_eq!((cut.torn_bytes, again), (0, records));
    }
}

fn read(record: Record<'_>) {
    match record.kind {
        RecordKind::Media => {
            let packets = Packets::new(record.body).flatten();
            assert!(packets.map(|packet| packet.bytes.len()).sum::<usize>() <= record.body.len());
        }
        RecordKind::Event => drop(serde_json::from_slice::<TapEvent>(record.body)),
        RecordKind::Done | RecordKind::Gap => {}
    }
}

/// A start over a journal of this one segment: it opens, each call gets only what is its own, and a
/// recording is made of it or refused.
pub fn recovery(octets: &[u8]) {
    for bytes in [octets.to_vec(), sealed(octets)] {
        let folder = tempfile::tempdir().expect("a folder");
        let journal = folder.path().join("journal");
        std::fs::create_dir(&journal).expect("a folder");
        std::fs::write(journal.join("0000000001.journal"), &bytes).expect("a disk with room");
        let seen = inspect(&journal).expect("a readable disk");
        let settings = JournalSettings { free_floor_bytes: 0, ..JournalSettings::new(&journal) };
        let (journal, report) = Journal::open(settings, |_| {}).expect("whatever is in it");
        assert_eq!(report.calls, seen.calls);
        let files = RecordingFiles::open(folder.path().join("recordings")).expect("a folder");
        for call in &report.calls {
            let records = journal.handle().read(call.call_id).expect("it was found");
            let is_short = length_us(&records) <= LONGEST_US;
            if call.is_answered && is_short {
                let made = render(&records, &files, &RenderSettings::default());
                assert!(made.is_err() || made.is_ok_and(|made| made.is_some()));
            }
        }
    }
}

/// From the first moment that the records name to the last.
fn length_us(records: &CallRecords) -> i64 {
    let (mut first, mut last) = (i64::MAX, i64::MIN);
    let mut note = |at: Timestamp| {
        first = first.min(at.as_micros());
        last = last.max(at.as_micros());
    };
    records.events().expect("a readable disk").iter().for_each(|event| note(event.at));
    let read = records.packets(|packet| -> Result<(), JournalError> {
        assert_eq!(packet.call_id, records.call_id());
        note(packet.at);
        Ok(())
    });
    read.expect("a readable disk");
    last.saturating_sub(first)
}

/// The same with the checksum of each record put right, as far as lengths lead from one to the next.
fn sealed(octets: &[u8]) -> Vec<u8> {
    let mut bytes = octets.to_vec();
    let mut at = HEADERS_BYTES[0];
    while let Some(length) = bytes.get(at..).and_then(|rest| rest.first_chunk::<4>()) {
        let end = at + HEADERS_BYTES[1] + u32::from_le_bytes(*length) as usize;
        let Some(record) = bytes.get_mut(at..end) else { break };
        let checksum = crc32fast::hash(&record[8..]);
        record[4..8].copy_from_slice(&checksum.to_le_bytes());
        at = end;
    }
    bytes
}
