//! Journal, workers, rows and check together, with crashes in between.
#![allow(clippy::unwrap_used)]

mod scene;

use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cheling_media::g711::Law;
use cheling_model::{CallId, Lane, Timestamp, Verdict};
use cheling_store::check::{CheckReport, Depth, Failure, check, mend};
use cheling_store::files::RecordingFiles;
use cheling_store::journal::{Journal, JournalSettings};
use cheling_store::render::{RenderSettings, render};
use cheling_store::rows::{AnsweredCall, RecordingRows};
use cheling_store::workers::{RenderQueue, Rendering, Workers};
use scene::{MemoryRows, begin, call_id, end, offer, send, tone};
use tokio::runtime::Runtime;

struct House {
    folder: tempfile::TempDir,
    rows: Arc<MemoryRows>,
    runtime: Runtime,
}

/// A running store. Dropping it without `settle` is a shutdown with work left.
struct Running {
    journal: Journal,
    queue: RenderQueue,
    landed: Arc<Mutex<Vec<CallId>>>,
    _workers: Workers,
}

impl House {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build();
        Self {
            folder: tempfile::tempdir().unwrap(),
            rows: Arc::default(),
            runtime: runtime.unwrap(),
        }
    }

    fn journal_folder(&self) -> std::path::PathBuf {
        self.folder.path().join("journal")
    }

    fn files(&self) -> RecordingFiles {
        RecordingFiles::open(self.folder.path().join("recordings")).unwrap()
    }

    fn open_journal(&self, queue: &RenderQueue) -> Journal {
        let settings =
            JournalSettings { free_floor_bytes: 0, ..JournalSettings::new(self.journal_folder()) };
        let finished = queue.clone();
        let (journal, report) =
            Journal::open(settings, move |call_id| finished.push_fresh(call_id)).unwrap();
        for call in report.calls.iter().filter(|call| call.is_answered) {
            queue.push(call.call_id);
        }
        journal
    }

    fn start(&self) -> Running {
        let queue = RenderQueue::default();
        let journal = self.open_journal(&queue);
        let landed: Arc<Mutex<Vec<CallId>>> = Arc::default();
        let seen = landed.clone();
        let rendering = Rendering {
            journal: journal.handle(),
            files: self.files(),
            settings: RenderSettings::default(),
            rows: self.rows.clone(),
            on_landed: Box::new(move |recording| seen.lock().unwrap().push(recording.call_id)),
        };
        let handle = self.runtime.handle().clone();
        let workers = Workers::start(2, queue.clone(), rendering, handle).unwrap();
        Running { journal, queue, landed, _workers: workers }
    }

    fn check(&self, depth: Depth) -> CheckReport {
        let journal = self.journal_folder();
        let files = self.files();
        let now = Timestamp::from_micros(i64::MAX);
        self.runtime.block_on(check(&self.rows, &files, &[journal], depth, now)).unwrap()
    }
}

impl Running {
    fn call(&self, n: u128, length_ms: i64) -> CallId {
        let (journal, id) = (self.journal.handle(), call_id(n));
        begin(&journal, id);
        send(&journal, id, tone(Lane::Customer, Law::A, 440.0, 0, length_ms));
        send(&journal, id, tone(Lane::Agent, Law::A, 600.0, 0, length_ms));
        end(&journal, id, length_ms);
        id
    }

    /// Waits until all calls that ended have landed.
    fn settle(&self) {
        self.journal.handle().flush().unwrap();
        assert!(self.queue.wait_until_empty(Instant::now() + Duration::from_secs(60)));
        self.journal.handle().flush().unwrap();
    }
}

#[test]
fn every_call_lands_once_and_the_journal_forgets_it() {
    let house = House::new();
    let running = house.start();
    let calls: Vec<_> = (0..10).map(|n| running.call(n, 2000)).collect();
    running.settle();
    let mut landed = running.landed.lock().unwrap().clone();
    landed.sort();
    assert_eq!(landed, calls);
    assert_eq!(running.journal.handle().calls(), 0);
    let report = house.check(Depth::Hashes);
    assert_eq!((report.rows, report.files, report.journal_calls), (10, 10, 0));
    assert_eq!(report.failures, []);
}

#[test]
fn an_answered_call_without_a_row_is_named_and_given_its_verdict() {
    let house = House::new();
    let running = house.start();
    for n in 0..3 {
        running.call(n, 2000);
    }
    running.settle();
    // One more is in the journal, and talks still.
    begin(&running.journal.handle(), call_id(3));
    running.journal.handle().flush().unwrap();
    let answered_at = Timestamp::from_micros(scene::ANSWERED_US);
    let dealership_id = offer().dealership_id;
    let answered = |n: u128| AnsweredCall { call_id: call_id(n), dealership_id, answered_at };
    *house.rows.answered.lock().unwrap() = (0..4).map(answered).collect();
    assert_eq!(house.check(Depth::Sizes).failures, []);

    // One row is lost, and another with its file.
    let rows: Vec<_> = house.rows.rows.lock().unwrap().values().cloned().collect();
    let row = |n: u128| rows.iter().find(|row| row.call_id == call_id(n)).unwrap();
    for n in [0, 1] {
        house.rows.rows.lock().unwrap().remove(&row(n).recording_id);
    }
    std::fs::remove_file(house.files().resolve(&row(1).path).unwrap()).unwrap();
    let mut report = house.check(Depth::Sizes);
    let missing = |n: u128| Failure::NoRecording { call: answered(n) };
    assert_eq!(report.failures.len(), 3, "{:?}", report.failures);
    assert!(report.failures.contains(&missing(0)) && report.failures.contains(&missing(1)));

    // What has audio is for a person to look at; the other gets the row that says so.
    house.runtime.block_on(mend(&house.rows, &mut report)).unwrap();
    assert_eq!((report.mended_calls, report.failures.len()), (1, 2));
    assert_eq!(report.failures[1], missing(0));
    let row = house.runtime.block_on(house.rows.of_call(call_id(1))).unwrap().unwrap();
    assert_eq!((row.verdict, row.started_at), (Verdict::NotRecorded, answered_at));
    assert!(!row.verdict_detail.is_empty());
    assert_eq!(house.check(Depth::Sizes).failures, report.failures);

    // While the journal is away nobody knows what it holds: nothing is mended.
    let files = house.files();
    let away = [house.folder.path().join("not-mounted")];
    let now = Timestamp::from_micros(i64::MAX);
    let look = check(&house.rows, &files, &away, Depth::Sizes, now);
    let mut report = house.runtime.block_on(look).unwrap();
    assert!(report.failures.iter().any(|it| matches!(it, Failure::JournalAway { .. })));
    assert!(report.failures.contains(&missing(3)));
    house.runtime.block_on(mend(&house.rows, &mut report)).unwrap();
    assert_eq!(report.mended_calls, 0);
    assert!(report.failures.contains(&missing(3)));
}

#[test]
fn a_crash_between_name_and_row_is_repaired() {
    let house = House::new();
    // The file gets its name, and then the process is gone.
    let id = {
        let queue = RenderQueue::default();
        let journal = house.open_journal(&queue);
        let handle = journal.handle();
        let id = call_id(1);
        begin(&handle, id);
        send(&handle, id, tone(Lane::Customer, Law::A, 440.0, 0, 2000));
        end(&handle, id, 2000);
        handle.flush().unwrap();
        let records = handle.read(id).unwrap();
        render(&records, &house.files(), &RenderSettings::default()).unwrap().unwrap();
        id
    };
    // The journal has the call: the row is still to come.
    assert_eq!(house.check(Depth::Hashes).failures, []);
    let running = house.start();
    running.settle();
    assert_eq!(*running.landed.lock().unwrap(), [id]);
    assert_eq!(house.check(Depth::Hashes).failures, []);
}

#[test]
fn a_crash_between_row_and_forgetting_lands_the_same_row() {
    let house = House::new();
    let (id, recording) = {
        let queue = RenderQueue::default();
        let journal = house.open_journal(&queue);
        let handle = journal.handle();
        let id = call_id(2);
        begin(&handle, id);
        send(&handle, id, tone(Lane::Agent, Law::A, 440.0, 0, 2000));
        end(&handle, id, 2000);
        handle.flush().unwrap();
        let records = handle.read(id).unwrap();
        let recording = render(&records, &house.files(), &RenderSettings::default());
        (id, recording.unwrap().unwrap())
    };
    house.runtime.block_on(house.rows.insert(std::slice::from_ref(&recording))).unwrap();
    let running = house.start();
    running.settle();
    assert_eq!(*running.landed.lock().unwrap(), [id], "told again, for the first may be lost");
    assert_eq!(house.rows.rows.lock().unwrap().len(), 1);
    assert_eq!(running.journal.handle().calls(), 0);
}

#[test]
fn calls_of_a_process_that_died_land_when_the_next_starts() {
    let house = House::new();
    let (whole, cut) = {
        let queue = RenderQueue::default();
        let journal = house.open_journal(&queue);
        let handle = journal.handle();
        for n in [3, 4] {
            begin(&handle, call_id(n));
            send(&handle, call_id(n), tone(Lane::Customer, Law::A, 440.0, 0, 5000));
            send(&handle, call_id(n), tone(Lane::Agent, Law::A, 440.0, 0, 5000));
        }
        end(&handle, call_id(3), 5000);
        (call_id(3), call_id(4))
    };
    // The power went: the last record is torn.
    let segment = std::fs::read_dir(house.journal_folder()).unwrap();
    let segment = segment.map(|entry| entry.unwrap().path());
    let segment = segment.filter(|path| path.extension().is_some()).max().unwrap();
    let bytes = std::fs::read(&segment).unwrap();
    std::fs::write(&segment, &bytes[..bytes.len() - 3]).unwrap();
    let running = house.start();
    running.settle();
    let rows = house.rows.rows.lock().unwrap().clone();
    let of = |id| rows.values().find(|row| row.call_id == id).unwrap();
    assert_eq!(of(cut).verdict, Verdict::Truncated);
    assert!(of(cut).duration_us > 4_900_000);
    assert_eq!(of(whole).duration_us, 5_000_000);
    assert_eq!(house.check(Depth::Hashes).failures, []);
}

#[test]
fn a_database_that_is_away_is_waited_for() {
    let house = House::new();
    house.rows.is_failing.store(true, Ordering::Relaxed);
    let running = house.start();
    running.call(5, 1500);
    running.journal.handle().flush().unwrap();
    assert!(!running.queue.wait_until_empty(Instant::now() + Duration::from_millis(600)));
    assert_eq!(running.journal.handle().calls(), 1);
    house.rows.is_failing.store(false, Ordering::Relaxed);
    running.settle();
    assert_eq!(house.rows.rows.lock().unwrap().len(), 1);
}

#[test]
fn check_names_what_is_wrong() {
    let house = House::new();
    let running = house.start();
    for n in 10..15 {
        running.call(n, 1500);
    }
    running.settle();
    drop(running);
    let rows: Vec<_> = house.rows.rows.lock().unwrap().values().cloned().collect();
    let files = house.files();
    let at = |n: usize| files.resolve(&rows[n].path).unwrap();
    std::fs::remove_file(at(0)).unwrap();
    std::fs::write(at(1), b"cut").unwrap();
    let mut bytes = std::fs::read(at(2)).unwrap();
    bytes[1000] ^= 1;
    std::fs::write(at(2), bytes).unwrap();
    std::fs::remove_file(at(3).with_extension("peaks")).unwrap();
    house.rows.rows.lock().unwrap().remove(&rows[4].recording_id);
    std::fs::write(house.journal_folder().join("0000009999.journal"), b"not a journal").unwrap();
    let found: Vec<String> =
        house.check(Depth::Hashes).failures.iter().map(ToString::to_string).collect();
    let word = |start: &str| found.iter().filter(|failure| failure.starts_with(start)).count();
    for start in
        ["missing-file", "wrong-size", "wrong-hash", "missing-peaks", "orphan-file", "journal"]
    {
        assert_eq!(word(start), 1, "{start}: {found:#?}");
    }
    assert_eq!(found.len(), 6, "{found:#?}");
    assert!(house.check(Depth::Sizes).failures.len() == 5);
    assert!(Path::new(&rows[0].path).is_relative());
}

#[test]
fn a_recordings_disk_that_fails_is_waited_for_and_leaves_nothing_half() {
    let house = House::new();
    let running = house.start();
    // Nothing can be written below the root.
    let drafts = house.files().root().join(".drafts");
    std::fs::remove_dir_all(&drafts).unwrap();
    std::fs::write(&drafts, b"in the way").unwrap();
    running.call(6, 1500);
    running.journal.handle().flush().unwrap();
    assert!(!running.queue.wait_until_empty(Instant::now() + Duration::from_millis(600)));
    assert!(running.landed.lock().unwrap().is_empty());
    std::fs::remove_file(&drafts).unwrap();
    std::fs::create_dir(&drafts).unwrap();
    running.settle();
    assert_eq!(house.check(Depth::Hashes).failures, []);
}
