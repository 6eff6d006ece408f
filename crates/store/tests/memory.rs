//! A long call is recorded without being held in memory: what rendering takes does not grow with it.
//! (`timeline` has the same of a whole day.)
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod scene;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use cheling_media::g711::Law;
use cheling_media::rtp::Ssrc;
use cheling_model::tap::{PacketKind, TapBlock, TapPacket};
use cheling_model::{EndCause, Lane, TapKind, Timestamp, Verdict};
use cheling_store::files::RecordingFiles;
use cheling_store::journal::{Journal, JournalSettings};
use cheling_store::render::{RenderSettings, render};
use scene::{ANSWERED_US, call_id, event, offer, packet};

/// Counts what is in use, and the most that ever was.
struct Counting;

static IN_USE: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is handed to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let in_use = IN_USE.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        MOST.fetch_max(in_use, Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const PTIME_MS: i64 = 20;
/// What a call ten times as long may take more: 20 minutes hold 120 000 packets, of which not two
/// bytes each may be kept.
const MAY_GROW_BYTES: usize = 200 << 10;

/// How much memory the rendering of a call of so many seconds takes at most, and its length.
fn rendered(seconds: i64) -> (usize, i64) {
    let folder = tempfile::tempdir().unwrap();
    let settings =
        JournalSettings { free_floor_bytes: 0, ..JournalSettings::new(folder.path().join("j")) };
    let (journal, _) = Journal::open(settings, |_| {}).unwrap();
    let handle = journal.handle();
    let id = call_id(1);
    handle.event(event(id, 0, TapKind::Offered(offer()))).unwrap();
    handle.event(event(id, 0, TapKind::Answered { extension: "8001".into() })).unwrap();
    let mut payload = Vec::new();
    Law::A.encode(&[1000; 160], &mut payload);
    for n in 0..seconds * 1000 / PTIME_MS {
        let mut block = TapBlock::default();
        for lane in Lane::BOTH {
            // Either clock drifts in its own way, and packets shake.
            let ppm = [150, -90][lane.index()];
            let sent_us = n * PTIME_MS * 1000;
            let at_us = sent_us + sent_us * ppm / 1_000_000 + n * 7919 % 30 * 1000;
            let timestamp = (n * PTIME_MS * 8) as u32;
            let bytes = packet(8, Ssrc(lane.index() as u32), n as u16, timestamp, &payload);
            let at = Timestamp::from_micros(ANSWERED_US + at_us);
            let kind = PacketKind::Rtp;
            block.push(TapPacket { call_id: id, lane, voice: 0, kind, at, bytes: &bytes });
        }
        if let Err(block) = handle.try_media(block) {
            handle.flush().unwrap();
            handle.try_media(block).unwrap();
        }
    }
    let kind = TapKind::Ended { cause: EndCause::HungUp, by: None, sip_status: None };
    handle.event(event(id, seconds * 1_000_000, kind)).unwrap();
    handle.flush().unwrap();
    let records = handle.read(id).unwrap();
    let files = RecordingFiles::open(folder.path().join("r")).unwrap();
    let before = IN_USE.load(Ordering::Relaxed);
    MOST.store(before, Ordering::Relaxed);
    let recording = render(&records, &files, &RenderSettings::default()).unwrap().unwrap();
    let most = MOST.load(Ordering::Relaxed) - before;
    assert_eq!(recording.verdict, Verdict::Ok);
    (most, recording.duration_us / 1_000_000)
}

#[test]
fn a_call_ten_times_as_long_takes_no_more_memory() {
    let (short, length_s) = rendered(120);
    assert_eq!(length_s, 120);
    let (long, length_s) = rendered(1200);
    assert_eq!(length_s, 1200);
    println!("{} KiB for two minutes, {} KiB for twenty", short >> 10, long >> 10);
    assert!(long < short + MAY_GROW_BYTES, "{short} bytes, {long} bytes");
}
