//! Days of calls in minutes: packets as fast as the journal takes them, every call rendered, memory
//! looked at all the while.
//!
//! `make soak` is the long form, a day of `SOAK_CALLS` calls at once (default 3): `SOAK_MINUTES` of
//! 1440 (default 4). Beside the short calls one talks all the time.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod scene;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cheling_media::g711::Law;
use cheling_media::rtp::Ssrc;
use cheling_model::recording::{Container, Recording};
use cheling_model::tap::{PacketKind, TapBlock, TapPacket};
use cheling_model::{
    CallId, DealershipId, EndCause, Lane, RecordingId, TapKind, Timestamp, Verdict,
};
use cheling_store::files::RecordingFiles;
use cheling_store::journal::{Journal, JournalHandle, JournalSettings};
use cheling_store::render::RenderSettings;
use cheling_store::rows::{AnsweredCall, RecordingRows, RowError};
use cheling_store::workers::{RenderQueue, Rendering, Workers};
use scene::{ANSWERED_US, call_id, event, offer, packet};

/// What memory may grow by after the first quarter, MiB.
const MAY_GROW_MIB: u64 = 16;
/// Packets of a minute of one lane.
const MINUTE_PACKETS: i64 = 3000;
const MINUTE_US: i64 = 60_000_000;
/// The first of those that talk for long.
const LONG: u128 = 1 << 40;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Rows that are counted and not kept.
#[derive(Default)]
struct Counted {
    good: AtomicU64,
    others: AtomicU64,
}

impl RecordingRows for Counted {
    async fn of_call(&self, _: CallId) -> Result<Option<Recording>, RowError> {
        Ok(None)
    }
    async fn insert(&self, recordings: &[Recording]) -> Result<(), RowError> {
        for recording in recordings {
            let is_good =
                recording.verdict == Verdict::Ok && recording.duration_us % MINUTE_US == 0;
            let counter = if is_good { &self.good } else { &self.others };
            counter.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
    async fn page(&self, _: Option<RecordingId>, _: u32) -> Result<Vec<Recording>, RowError> {
        Ok(Vec::new())
    }
    async fn unrecorded(
        &self,
        _: Timestamp,
        _: Option<CallId>,
        _: u32,
    ) -> Result<Vec<AnsweredCall>, RowError> {
        Ok(Vec::new())
    }
    async fn find(&self, _: RecordingId) -> Result<Option<Recording>, RowError> {
        Ok(None)
    }
    async fn convertible(
        &self,
        _: Timestamp,
        _: Option<RecordingId>,
        _: u32,
    ) -> Result<Vec<Recording>, RowError> {
        Ok(Vec::new())
    }
    async fn count_convertible(&self, _: Timestamp) -> Result<u64, RowError> {
        Ok(0)
    }
    async fn replace(&self, _: &Recording, _: &Recording) -> Result<bool, RowError> {
        Ok(false)
    }
    async fn container(&self, _: DealershipId) -> Result<Option<Container>, RowError> {
        Ok(None)
    }
}

fn begin(journal: &JournalHandle, id: CallId, at_us: i64) {
    journal.event(event(id, at_us, TapKind::Offered(offer()))).unwrap();
    journal.event(event(id, at_us, TapKind::Answered { extension: "8001".into() })).unwrap();
}

fn end(journal: &JournalHandle, id: CallId, at_us: i64) {
    let kind = TapKind::Ended { cause: EndCause::HungUp, by: None, sip_status: None };
    journal.event(event(id, at_us, kind)).unwrap();
    let kind = TapKind::RelayClosed { received_packets: [0; 2], tap_dropped_packets: [0; 2] };
    journal.event(event(id, at_us, kind)).unwrap();
}

/// What some calls say in a minute, their packets mingled as a relay thread's are.
fn talk(journal: &JournalHandle, ids: &[CallId], minute: i64, payload: &[u8]) {
    let mut block = TapBlock::default();
    for n in minute * MINUTE_PACKETS..(minute + 1) * MINUTE_PACKETS {
        for &call_id in ids {
            for lane in Lane::BOTH {
                let ssrc = Ssrc(lane.index() as u32);
                let bytes = packet(8, ssrc, n as u16, (n * 160) as u32, payload);
                let at = Timestamp::from_micros(ANSWERED_US + n * 20_000);
                let kind = PacketKind::Rtp;
                block.push(TapPacket { call_id, lane, voice: 0, kind, at, bytes: &bytes });
            }
        }
        if block.len() > 64 << 10 || n + 1 == (minute + 1) * MINUTE_PACKETS {
            let mut full = Some(std::mem::take(&mut block));
            while let Some(refused) = full.take() {
                // Nobody's call is that fast: the disk is waited for.
                if let Err(refused) = journal.try_media(refused) {
                    journal.flush().unwrap();
                    full = Some(refused);
                }
            }
        }
    }
}

fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() >> 10
}

fn folder_bytes(folder: &std::path::Path) -> u64 {
    let files = std::fs::read_dir(folder).unwrap().filter_map(Result::ok);
    // A segment may go while it is looked at.
    files.filter_map(|file| file.metadata().ok()).map(|it| it.len()).sum()
}

#[test]
fn memory_and_journal_do_not_grow_with_the_hours() {
    let (minutes, at_once) = (number("SOAK_MINUTES", 4), number("SOAK_CALLS", 3));
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let queue = RenderQueue::default();
    let finished = queue.clone();
    let settings = JournalSettings {
        free_floor_bytes: 0,
        segment_bytes: 1 << 20,
        ..JournalSettings::new(folder.path().join("journal"))
    };
    let (journal, _) = Journal::open(settings, move |id| finished.push(id)).unwrap();
    let files = RecordingFiles::open(folder.path().join("recordings")).unwrap();
    let (rows, landed_files) = (Arc::new(Counted::default()), files.clone());
    let rendering = Rendering {
        journal: journal.handle(),
        files,
        settings: RenderSettings::default(),
        rows: rows.clone(),
        // Disks are not what is tried here.
        on_landed: Box::new(move |recording| {
            if let Ok(path) = landed_files.resolve(&recording.path) {
                let _ = std::fs::remove_file(path.with_extension("peaks"));
                let _ = std::fs::remove_file(path);
            }
        }),
    };
    let handle = runtime.handle().clone();
    let workers = Workers::start(1, queue.clone(), rendering, handle).unwrap();

    let journal_handle = journal.handle();
    let mut payload = Vec::new();
    let tone = (0..160).map(|n| (f64::from(n) * 0.35).sin() * 8000.0);
    Law::A.encode(&tone.map(|it| it as i16).collect::<Vec<_>>(), &mut payload);
    let patience = || Instant::now() + Duration::from_secs(600);
    let mut memory_mib = Vec::new();
    let mut journal_bytes = 0;
    // A sixth of the time each: what rendering one takes is in the first quarter, too.
    let long_minutes = minutes.div_ceil(6) as i64;
    let long = |minute: i64| call_id(LONG + (minute / long_minutes) as u128);
    for minute in 0..minutes as i64 {
        let first = u128::from(at_once) * minute as u128;
        let mut ids: Vec<_> = (0..u128::from(at_once)).map(|n| call_id(first + n)).collect();
        ids.iter().for_each(|&id| begin(&journal_handle, id, minute * MINUTE_US));
        if minute % long_minutes == 0 {
            begin(&journal_handle, long(minute), minute * MINUTE_US);
        }
        ids.push(long(minute));
        talk(&journal_handle, &ids, minute, &payload);
        let next = minute + 1;
        if next as u64 != minutes && long(next) == long(minute) {
            ids.pop();
        }
        ids.iter().for_each(|&id| end(&journal_handle, id, next * MINUTE_US));
        journal_handle.flush().unwrap();
        assert!(queue.wait_until_empty(patience()), "minute {minute}");
        memory_mib.push(resident_mib());
        journal_bytes = journal_bytes.max(folder_bytes(&folder.path().join("journal")));
    }
    drop(workers);

    let longs = minutes.div_ceil(long_minutes as u64);
    let disk = journal_handle.disks().next().unwrap();
    let packets = disk.counters.packets.load(Ordering::Relaxed);
    assert_eq!(packets, minutes * (at_once + 1) * 2 * MINUTE_PACKETS as u64);
    assert_eq!(disk.counters.lost_packets.load(Ordering::Relaxed), 0);
    assert_eq!(rows.good.load(Ordering::Relaxed), minutes * at_once + longs);
    assert_eq!(rows.others.load(Ordering::Relaxed), 0);
    let (begun, later) = memory_mib.split_at(memory_mib.len().div_ceil(4));
    let most = |part: &[u64]| part.iter().copied().max().unwrap_or(0);
    println!(
        "{minutes} minutes of {} calls at once, {packets} packets: {} MiB in use after a quarter, \
         {} MiB at most; the journal {} MiB at most",
        at_once + 1,
        most(begun),
        most(later),
        journal_bytes >> 20
    );
    assert!(most(later) <= most(begun) + MAY_GROW_MIB, "{memory_mib:?} MiB");
    // What is being said, the youngest segments, and the long call's own minutes.
    let own = long_minutes as u64 * 2 * MINUTE_PACKETS as u64 * 220;
    assert!(journal_bytes <= (40 << 20) + 4 * own, "{journal_bytes} bytes");
}
