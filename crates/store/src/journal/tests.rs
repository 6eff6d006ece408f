//! The writer driven by inputs and a made-up clock, on disks that fail.

use std::collections::HashSet;
use std::io;
use std::path::Path;
use std::sync::atomic::AtomicI64;

use cheling_model::call::{Offer, Party};
use cheling_model::tap::{PacketKind, TapPacket};
use cheling_model::{DealershipId, Direction, EndCause, Lane, TapKind, Timestamp};
use uuid::Uuid;

use super::segment::segment_path;
use super::*;
use crate::disk::AppendFile;

fn call(n: u128) -> CallId {
    CallId(Uuid::from_u128(n))
}

fn event(call_id: CallId, kind: TapKind) -> Input {
    Input::Event(Box::new(TapEvent { call_id, at: Timestamp::from_micros(1), kind }))
}

pub(super) fn offered(call_id: CallId) -> Input {
    let offer = Offer {
        direction: Direction::Inbound,
        dealership_id: DealershipId(Uuid::from_u128(1)),
        caller: Party::default(),
        called: "4001".into(),
        trunk: None,
        line_id: None,
        extension: None,
        user_id: None,
        follow_up_id: None,
    };
    event(call_id, TapKind::Offered(offer))
}

fn answered(call_id: CallId) -> Input {
    event(call_id, TapKind::Answered { extension: "8001".into() })
}

fn ended(call_id: CallId) -> Input {
    event(call_id, TapKind::Ended { cause: EndCause::HungUp, by: None, sip_status: None })
}

fn relay_closed(call_id: CallId) -> Input {
    let kind = TapKind::RelayClosed { received_packets: [1, 1], tap_dropped_packets: [0; 2] };
    event(call_id, kind)
}

fn media(packets: &[(CallId, &[u8])]) -> Input {
    let mut block = TapBlock::default();
    for &(call_id, bytes) in packets {
        let at = Timestamp::from_micros(7);
        let (lane, kind) = (Lane::Agent, PacketKind::Rtp);
        block.push(TapPacket { call_id, lane, voice: 0, kind, at, bytes });
    }
    Input::Media(block)
}

/// A disk that has `room` bytes and says that `free` are left.
#[derive(Clone, Debug)]
struct SmallDisk {
    room: Arc<AtomicI64>,
    free: Arc<AtomicU64>,
}

impl SmallDisk {
    fn new() -> Self {
        let room = Arc::new(AtomicI64::new(i64::MAX));
        Self { room, free: Arc::new(AtomicU64::new(u64::MAX)) }
    }
}

struct SmallFile {
    file: Box<dyn AppendFile>,
    room: Arc<AtomicI64>,
}

impl Disk for SmallDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn AppendFile>> {
        let file = LocalDisk.create(path)?;
        Ok(Box::new(SmallFile { file, room: self.room.clone() }))
    }

    fn free_bytes(&self, _: &Path) -> io::Result<u64> {
        Ok(self.free.load(Ordering::Relaxed))
    }
}

impl AppendFile for SmallFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let len = bytes.len() as i64;
        let room = self.room.fetch_sub(len, Ordering::Relaxed);
        if room >= len {
            return self.file.append(bytes);
        }
        // As a full disk does: some of it is written.
        self.room.store(0, Ordering::Relaxed);
        self.file.append(&bytes[..room.max(0) as usize])?;
        Err(io::ErrorKind::StorageFull.into())
    }

    fn cut(&mut self, len: u64) -> io::Result<()> {
        self.file.cut(len)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync()
    }
}

struct Bench {
    folder: tempfile::TempDir,
    settings: JournalSettings,
    disk: SmallDisk,
    writer: Option<Writer>,
    now: Instant,
    finished: Arc<Mutex<Vec<CallId>>>,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = JournalSettings {
            segment_bytes: 64 << 10,
            free_floor_bytes: 1000,
            ..JournalSettings::new(folder.path())
        };
        let (disk, now) = (SmallDisk::new(), Instant::now());
        let mut bench =
            Self { folder, settings, disk, writer: None, now, finished: Arc::default() };
        bench.open();
        bench
    }

    fn open(&mut self) -> RecoveryReport {
        self.writer = None;
        let finished = self.finished.clone();
        let on_finished = move |call_id| finished.lock().unwrap().push(call_id);
        let (writer, report) = Writer::open(
            Box::new(self.disk.clone()),
            self.settings.clone(),
            Box::new(on_finished),
            self.now,
        )
        .unwrap();
        self.writer = Some(writer);
        report
    }

    /// Drops the writer without letting it write: what a kill -9 does.
    fn kill(&mut self) -> RecoveryReport {
        self.open()
    }

    fn writer(&mut self) -> &mut Writer {
        self.writer.as_mut().unwrap()
    }

    fn take(&mut self, inputs: impl IntoIterator<Item = Input>) {
        for input in inputs {
            let now = self.now;
            if matches!(input, Input::Media(_)) {
                self.writer().shared().media_waiting.fetch_add(1, Ordering::AcqRel);
            }
            self.writer().handle(now, input);
        }
    }

    fn pass(&mut self, ms: u64) {
        for _ in 0..ms / 250 {
            self.now += WRITE_EVERY;
            let now = self.now;
            self.writer().tick(now);
        }
    }

    fn records(&mut self, call_id: CallId) -> Option<CallRecords> {
        let shared = self.writer().shared();
        let index = shared.index();
        Some(CallRecords::new(shared.folder.clone(), call_id, index.call(call_id)?))
    }

    fn packets(&mut self, call_id: CallId) -> Vec<Vec<u8>> {
        let mut found = Vec::new();
        let records = self.records(call_id).unwrap();
        records
            .packets(|packet| -> Result<(), JournalError> {
                found.push(packet.bytes.to_vec());
                Ok(())
            })
            .unwrap();
        found
    }

    fn finished(&self) -> Vec<CallId> {
        self.finished.lock().unwrap().clone()
    }

    fn segments(&self) -> Vec<u32> {
        let found = recovery::segments(self.folder.path()).unwrap();
        found.into_iter().map(|(number, _)| number).collect()
    }
}

#[test]
fn packets_come_back_by_call_in_order() {
    let mut bench = Bench::new();
    bench.take([offered(call(1)), offered(call(2)), answered(call(1))]);
    bench.take([media(&[(call(1), b"a"), (call(2), b"x"), (call(1), b"b"), (call(3), b"stray")])]);
    bench.pass(750);
    bench.take([media(&[(call(1), b"c")])]);
    bench.pass(750);
    assert_eq!(bench.packets(call(1)), [b"a", b"b", b"c"]);
    assert_eq!(bench.packets(call(2)), [b"x"]);
    assert!(bench.records(call(3)).is_none());
    assert_eq!(bench.writer().shared().counters.stray_packets.load(Ordering::Relaxed), 1);
    assert_eq!(bench.records(call(1)).unwrap().events().unwrap().len(), 2);
}

#[test]
fn a_call_is_finished_when_it_ended_and_its_relay_closed_in_either_order() {
    let mut bench = Bench::new();
    for (n, closing) in
        [(1, [ended(call(1)), relay_closed(call(1))]), (2, [relay_closed(call(2)), ended(call(2))])]
    {
        bench.take([offered(call(n)), answered(call(n)), media(&[(call(n), b"last")])]);
        let [first, second] = closing;
        bench.take([first]);
        bench.pass(500);
        assert!(!bench.finished().contains(&call(n)));
        bench.take([second]);
        bench.pass(250);
        assert!(bench.finished().contains(&call(n)));
        assert_eq!(bench.packets(call(n)), [b"last"]);
        // What comes later is not of this recording.
        bench.take([media(&[(call(n), b"late")])]);
        bench.pass(1000);
        assert_eq!(bench.packets(call(n)), [b"last"]);
    }
}

#[test]
fn a_relay_that_never_closes_is_waited_for_ten_seconds() {
    let mut bench = Bench::new();
    bench.take([offered(call(1)), answered(call(1)), ended(call(1))]);
    bench.pass(9000);
    assert!(bench.finished().is_empty());
    bench.pass(3000);
    assert_eq!(bench.finished(), [call(1)]);
}

#[test]
fn a_call_never_answered_is_forgotten_soon() {
    let mut bench = Bench::new();
    bench.take([offered(call(1)), media(&[(call(1), b"early")]), ended(call(1))]);
    bench.pass(500);
    assert!(bench.finished().is_empty());
    // What came of it may not be in the database yet.
    let over = Recovered { call_id: call(1), is_answered: false, was_cut: false };
    assert_eq!(bench.kill().calls, [over]);
    bench.take([Input::Done(call(1)), offered(call(9)), ended(call(9))]);
    bench.pass(5000);
    assert!(bench.finished().is_empty() && bench.records(call(9)).is_none());
    assert!(bench.kill().calls.is_empty());
    // Nor is it kept over a stop in good order.
    bench.take([offered(call(8)), ended(call(8))]);
    let now = bench.now;
    bench.writer.take().unwrap().close(now);
    assert!(bench.open().calls.is_empty());
    // One that rang when the process died is told of, for somebody saw it ring.
    bench.take([offered(call(2))]);
    bench.pass(500);
    let cut = Recovered { call_id: call(2), is_answered: false, was_cut: true };
    assert_eq!(bench.kill().calls, [cut]);
    assert_eq!(bench.records(call(2)).unwrap().events().unwrap().len(), 1);
    bench.take([Input::Done(call(2))]);
    bench.pass(500);
    assert!(bench.kill().calls.is_empty());
}

#[test]
fn a_kill_loses_less_than_a_second() {
    let mut bench = Bench::new();
    bench.take([offered(call(1)), answered(call(1))]);
    for n in 0..500_u32 {
        // A packet every 20 ms: ten seconds.
        bench.take([media(&[(call(1), &n.to_be_bytes())])]);
        bench.now += Duration::from_millis(20);
        if n % 12 == 11 {
            let now = bench.now;
            bench.writer().tick(now);
        }
    }
    let report = bench.kill();
    assert_eq!(report.calls, [Recovered { call_id: call(1), is_answered: true, was_cut: true }]);
    let kept = bench.packets(call(1));
    assert!(kept.len() >= 450, "{} of 500 packets kept", kept.len());
    assert_eq!(kept[449], 449_u32.to_be_bytes());
    assert!(bench.records(call(1)).unwrap().was_cut());
}

#[test]
fn a_journal_torn_at_any_byte_opens_and_keeps_what_is_whole() {
    let mut bench = Bench::new();
    bench.take([offered(call(1)), answered(call(1))]);
    for n in 0..3_u8 {
        bench.take([media(&[(call(1), &[n; 5])])]);
        bench.pass(750);
    }
    let segment = segment_path(bench.folder.path(), 1);
    let whole = std::fs::read(&segment).unwrap();
    let mut last = 0;
    for len in 0..=whole.len() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(segment_path(folder.path(), 1), &whole[..len]).unwrap();
        let report = inspect(folder.path()).unwrap();
        let settings = JournalSettings::new(folder.path());
        let (journal, again) = Journal::open(settings, |_| {}).unwrap();
        assert_eq!(report, again, "{len}");
        let mut packets = 0;
        if let Some(records) = journal.handle().read(call(1)) {
            let count = |_: TapPacket<'_>| -> Result<(), JournalError> { Ok(()) };
            packets = records.packets(count).unwrap().packets;
        }
        assert!(packets >= last, "{len}");
        last = packets;
    }
    assert_eq!(last, 3);
}

#[test]
fn done_calls_free_their_segments_and_stay_done() {
    let mut bench = Bench::new();
    bench.take([offered(call(99)), answered(call(99))]);
    for n in 0..20_u128 {
        bench.take([offered(call(n)), answered(call(n))]);
        for _ in 0..10 {
            bench.take([media(&[(call(n), &[0; 900]), (call(99), &[1; 10])])]);
        }
        bench.take([ended(call(n)), relay_closed(call(n))]);
        bench.pass(1000);
        bench.take([Input::Done(call(n))]);
        bench.pass(1000);
    }
    assert_eq!(bench.finished().len(), 20);
    // The long call holds what it is in; killed at any point, only it comes back.
    let report = bench.kill();
    assert_eq!(report.calls.len(), 1);
    assert_eq!(bench.packets(call(99)).len(), 200);
    bench.take([Input::Done(call(99))]);
    bench.pass(2000);
    assert_eq!(bench.segments().len(), 1, "only the open segment is left");
    assert!(bench.kill().calls.is_empty());
}

#[test]
fn a_full_disk_keeps_events_and_marks_the_gap() {
    let mut bench = Bench::new();
    bench.take([offered(call(1)), answered(call(1)), media(&[(call(1), b"kept")])]);
    bench.pass(1000);
    bench.disk.room.store(40, Ordering::Relaxed);
    bench.take([media(&[(call(1), b"lost")])]);
    bench.pass(1000);
    bench.take([ended(call(1)), relay_closed(call(1))]);
    bench.pass(1000);
    assert!(bench.finished().is_empty(), "not told as finished while its end is not written");
    let counters = bench.writer().shared();
    assert_eq!(counters.counters.lost_packets.load(Ordering::Relaxed), 1);
    bench.disk.room.store(i64::MAX, Ordering::Relaxed);
    bench.pass(1000);
    assert_eq!(bench.finished(), [call(1)]);
    assert_eq!(bench.packets(call(1)), [b"kept"]);
    assert!(bench.records(call(1)).unwrap().has_gap());
    assert_eq!(bench.records(call(1)).unwrap().events().unwrap().len(), 4);
    // Offsets are right again, and the gap is remembered across a kill.
    let report = bench.kill();
    assert_eq!((report.torn_bytes, report.damaged_records, report.calls.len()), (0, 0, 1));
    assert!(bench.records(call(1)).unwrap().has_gap());
    assert!(!bench.records(call(1)).unwrap().was_cut());
}

#[test]
fn a_disk_full_from_the_start_is_no_reason_not_to_start() {
    let mut bench = Bench::new();
    bench.writer = None;
    bench.disk.room.store(0, Ordering::Relaxed);
    bench.open();
    bench.take([offered(call(1)), answered(call(1)), media(&[(call(1), b"lost")])]);
    bench.pass(20_000);
    assert_eq!(bench.segments(), [1], "no litter of empty segments");
    bench.disk.room.store(i64::MAX, Ordering::Relaxed);
    bench.pass(1000);
    bench.take([media(&[(call(1), b"kept")])]);
    bench.pass(1000);
    assert_eq!(bench.packets(call(1)), [b"kept"]);
    assert!(bench.records(call(1)).unwrap().has_gap());
}

#[test]
fn a_file_that_is_no_segment_is_reported_and_left_alone() {
    let mut bench = Bench::new();
    let foreign = segment_path(bench.folder.path(), 3);
    std::fs::write(&foreign, b"something of somebody").unwrap();
    std::fs::write(segment_path(bench.folder.path(), u32::MAX - 1), b"").unwrap();
    assert_eq!(bench.kill().foreign_files, std::slice::from_ref(&foreign));
    bench.pass(3000);
    assert_eq!(bench.segments(), [3, u32::MAX]);
    // The last number there is: nothing can be written, and nothing panics.
    bench.kill();
    bench.take([offered(call(1))]);
    bench.pass(1000);
    assert!(foreign.exists());
}

#[test]
fn below_the_floor_media_is_refused_until_there_is_room() {
    let mut bench = Bench::new();
    bench.take([offered(call(1)), answered(call(1)), media(&[(call(1), b"1")])]);
    bench.pass(1000);
    bench.disk.free.store(999, Ordering::Relaxed);
    bench.pass(1000);
    bench.take([media(&[(call(1), b"2")]), offered(call(2))]);
    bench.pass(1000);
    bench.disk.free.store(1099, Ordering::Relaxed);
    bench.pass(1000);
    bench.take([media(&[(call(1), b"3")])]);
    bench.disk.free.store(1100, Ordering::Relaxed);
    bench.pass(1000);
    bench.take([media(&[(call(1), b"4"), (call(2), b"5")])]);
    bench.pass(1000);
    assert_eq!(bench.packets(call(1)), [b"1", b"4"]);
    assert!(bench.records(call(1)).unwrap().has_gap());
    assert!(!bench.records(call(2)).unwrap().has_gap());
}

#[test]
fn many_calls_are_written_in_few_large_writes() {
    let mut bench = Bench::new();
    bench.settings.segment_bytes = 64 << 20;
    bench.open();
    for n in 0..200 {
        bench.take([offered(call(n)), answered(call(n))]);
    }
    for tick in 0..50_u32 {
        for n in 0..200 {
            let packet = [tick as u8; 172];
            bench.take([media(&[(call(n), &packet), (call(n), &packet)])]);
        }
        bench.now += Duration::from_millis(20);
        if tick % 12 == 11 {
            let now = bench.now;
            bench.writer().tick(now);
        }
    }
    bench.pass(1000);
    let shared = bench.writer().shared();
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    assert_eq!(count(&shared.counters.packets), 20_000);
    assert!(count(&shared.counters.writes) <= 16, "{:?}", shared.counters);
}

impl Bench {
    fn folder_bytes(&self) -> u64 {
        let files = std::fs::read_dir(self.folder.path()).unwrap();
        files.map(|file| file.unwrap().metadata().unwrap().len()).sum()
    }

    /// A call that talks on while `shorts` others come, end and are forgotten. Gives its packets,
    /// and the most that the folder held.
    fn long_call_among(&mut self, long: CallId, shorts: u32) -> (Vec<Vec<u8>>, u64) {
        self.take([offered(long), answered(long)]);
        let (mut sent, mut most) = (Vec::new(), 0);
        for n in 1..=shorts {
            let short = call(1000 + u128::from(n));
            let of_long = [&n.to_be_bytes()[..], &[9; 100]].concat();
            let of_short: &[u8] = &[n as u8; 1500];
            self.take([offered(short), answered(short), media(&[(short, of_short); 3])]);
            self.take([media(&[(long, &of_long)]), ended(short), relay_closed(short)]);
            sent.push(of_long);
            self.pass(1000);
            self.take([Input::Done(short)]);
            if n % 20 == 0 {
                most = most.max(self.folder_bytes());
            }
        }
        self.pass(1000);
        (sent, most)
    }
}

#[test]
fn a_call_of_a_day_among_thousands_does_not_hold_on_to_what_they_said() {
    let mut bench = Bench::new();
    let long = call(0);
    let (sent, most) = bench.long_call_among(long, 2000);
    let counters = bench.writer().shared();
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let written = count(&counters.counters.bytes);
    assert!(written > 10_000_000 && count(&counters.counters.rewritten_segments) > 100);
    // The youngest segments, and of the older ones little more than the long call.
    let (young, own) = (18 * (64 << 10), 4 * 200 * 2000);
    assert!(most < young + own, "{most} of {written} bytes were kept");
    assert_eq!(bench.packets(long), sent, "in the order in which they were sent");
    // What a crash leaves half-written is in nobody's way.
    let draft = bench.folder.path().join("0000000003.rewrite");
    std::fs::write(&draft, b"half").unwrap();
    let report = bench.kill();
    assert!(!draft.exists());
    assert_eq!(report.calls, [Recovered { call_id: long, is_answered: true, was_cut: true }]);
    assert_eq!((report.damaged_records, report.foreign_files.len()), (0, 0));
    assert_eq!(bench.packets(long), sent);
    assert_eq!(bench.records(long).unwrap().events().unwrap().len(), 2);
    bench.take([Input::Done(long)]);
    bench.pass(2000);
    assert!(bench.folder_bytes() < 1000, "{}", bench.folder_bytes());
}

#[test]
fn a_segment_stays_whole_where_it_cannot_be_made_small() {
    let mut bench = Bench::new();
    let long = call(0);
    // Nothing is rewritten while the disk has room for no copy.
    bench.writer().no_rewrite_before = bench.now + Duration::from_secs(86_400);
    let (sent, _) = bench.long_call_among(long, 400);
    bench.disk.room.store(10, Ordering::Relaxed);
    bench.writer().no_rewrite_before = bench.now;
    bench.pass(1000);
    let until = bench.writer().no_rewrite_before;
    assert!(until > bench.now);
    assert_eq!(bench.packets(long), sent);
    bench.disk.room.store(i64::MAX, Ordering::Relaxed);

    // A record of the long call is damaged: its segment is kept as it is, others are not.
    let damaged = segment_path(bench.folder.path(), 3);
    let mut bytes = std::fs::read(&damaged).unwrap();
    let at = bytes.windows(100).position(|part| part == [9; 100]).unwrap();
    bytes[at] ^= 1;
    std::fs::write(&damaged, &bytes).unwrap();
    bench.pass(120_000);
    assert_eq!(std::fs::read(&damaged).unwrap(), bytes);
    let size = |number| std::fs::metadata(segment_path(bench.folder.path(), number)).unwrap().len();
    assert!(size(1) < 32 << 10 && size(2) < 16 << 10 && size(4) < 16 << 10);
    let records = bench.records(long).unwrap();
    let report = records.packets(|_| Ok::<(), JournalError>(())).unwrap();
    assert!(report.damaged_records == 1 && report.packets > 390, "{report:?}");
}

#[test]
fn a_call_that_is_over_but_not_rendered_is_left_where_it_is() {
    let mut bench = Bench::new();
    let over = call(7);
    bench.take([offered(over), answered(over), media(&[(over, b"x")])]);
    bench.take([ended(over), relay_closed(over)]);
    bench.pass(250);
    // Somebody reads it with what he knows now.
    let records = bench.records(over).unwrap();
    let (sent, _) = bench.long_call_among(call(0), 400);
    let report = records.packets(|_| Ok::<(), JournalError>(())).unwrap();
    assert_eq!((report.packets, report.damaged_records), (1, 0));
    assert_eq!(bench.packets(call(0)), sent);
}

#[test]
fn one_process_at_a_time_has_a_journal() {
    let mut bench = Bench::new();
    let again = Journal::open(bench.settings.clone(), |_| {});
    assert!(matches!(again, Err(JournalError::InUse(_))));
    bench.kill();
}

#[test]
fn the_thread_takes_what_handles_send_and_writes_it_before_it_ends() {
    let folder = tempfile::tempdir().unwrap();
    let settings = JournalSettings { free_floor_bytes: 0, ..JournalSettings::new(folder.path()) };
    let (sender, finished) = sync_channel(10);
    let (journal, _) =
        Journal::open(settings.clone(), move |call_id| sender.send(call_id).unwrap()).unwrap();
    let handle = journal.handle();
    let send = |input| match input {
        Input::Event(event) => handle.event(*event).unwrap(),
        Input::Media(block) => handle.try_media(block).unwrap(),
        _ => {}
    };
    let id = call(5);
    for input in [offered(id), answered(id), media(&[(id, b"m")]), ended(id), relay_closed(id)] {
        send(input);
    }
    assert_eq!(finished.recv().unwrap(), id);
    handle.flush().unwrap();
    assert_eq!(handle.read(id).unwrap().events().unwrap().len(), 4);
    drop(journal);
    assert!(
        handle
            .event(TapEvent { call_id: id, at: Timestamp::default(), kind: TapKind::FarEndRinging })
            .is_err()
    );
    let (journal, report) = Journal::open(settings, |_| {}).unwrap();
    assert_eq!(report.calls, [Recovered { call_id: id, is_answered: true, was_cut: false }]);
    journal.handle().done(id).unwrap();
    journal.handle().flush().unwrap();
    assert_eq!(journal.handle().calls(), 0);
}

#[test]
fn media_beyond_the_queue_comes_back_and_events_still_go_in() {
    let folder = tempfile::tempdir().unwrap();
    let shared = Shared {
        folder: folder.path().to_owned(),
        index: Mutex::default(),
        counters: JournalCounters::default(),
        media_waiting: AtomicUsize::new(0),
        gaps: Mutex::default(),
        emptied: OnceLock::new(),
    };
    // Nobody empties this queue.
    let (queue, _inputs) = sync_channel(2 + EVENT_QUEUE);
    let handle = JournalHandle::new(vec![Feed::new(queue, Arc::new(shared), 2)]);
    let block = || TapBlock::from_bytes(vec![1]);
    let taken: HashSet<bool> = (0..2).map(|_| handle.try_media(block()).is_ok()).collect();
    assert_eq!(taken, HashSet::from([true]));
    assert_eq!(handle.try_media(block()), Err(block()));
    assert_eq!(handle.disks().next().unwrap().counters.refused_blocks.load(Ordering::Relaxed), 1);
    for _ in 0..EVENT_QUEUE {
        let Input::Event(event) = offered(call(1)) else { continue };
        handle.try_event(*event).unwrap();
    }
    let Input::Event(event) = offered(call(1)) else { return };
    assert!(handle.try_event(*event).is_err());
}

#[test]
fn a_block_that_has_been_taken_in_goes_back_for_the_next_packets() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(JournalSettings::new(folder.path()), |_| {}).unwrap();
    let handle = journal.handle();
    let (give, back) = sync_channel(1);
    handle.on_emptied(move |block| give.try_send(block).unwrap());
    let mut block = TapBlock::default();
    block.push(TapPacket {
        call_id: call(1),
        lane: Lane::Customer,
        voice: 0,
        kind: PacketKind::Rtp,
        at: Timestamp::from_micros(1),
        bytes: &[0x80; 172],
    });
    handle.try_media(block.clone()).unwrap();
    handle.flush().unwrap();
    assert_eq!(back.try_recv(), Ok(block));
}
