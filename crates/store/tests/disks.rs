//! More than one disk: which call goes where, and what becomes of it when a disk is full, slow or
//! gone.
#![allow(clippy::unwrap_used)]

mod scene;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use cheling_media::g711::Law;
use cheling_model::{CallId, Lane, Verdict};
use cheling_store::check::{Depth, Failure, check};
use cheling_store::disk::{AppendFile, Disk, LocalDisk};
use cheling_store::files::RecordingFiles;
use cheling_store::journal::{Journal, JournalHandle, JournalSettings};
use cheling_store::render::render;
use cheling_store::roots::DiskFolder;
use cheling_store::rows::RecordingRows as _;
use scene::{MemoryRows, Studio, begin, call_id, end, send, tone};

/// A disk with so much room, whose writes fail or wait when told.
#[derive(Clone, Debug, Default)]
struct Moody {
    free: Arc<AtomicU64>,
    is_broken: Arc<AtomicBool>,
    /// While there is somebody at the other end, a write waits for a word.
    gate: Arc<std::sync::Mutex<Option<Receiver<()>>>>,
}

impl Moody {
    fn with_free(free: u64) -> Self {
        let disk = Self::default();
        disk.free.store(free, Ordering::Relaxed);
        disk
    }

    /// Holds every write until what comes back is dropped.
    fn hang(&self) -> Sender<()> {
        let (sender, receiver) = channel();
        *self.gate.lock().unwrap() = Some(receiver);
        sender
    }
}

struct MoodyFile {
    disk: Moody,
    file: Box<dyn AppendFile>,
}

impl Disk for Moody {
    fn create(&self, path: &Path) -> io::Result<Box<dyn AppendFile>> {
        Ok(Box::new(MoodyFile { disk: self.clone(), file: LocalDisk.create(path)? }))
    }

    fn free_bytes(&self, _: &Path) -> io::Result<u64> {
        Ok(self.free.load(Ordering::Relaxed))
    }
}

impl AppendFile for MoodyFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Some(gate) = &*self.disk.gate.lock().unwrap() {
            // An error is the word that it hangs no longer.
            let _ = gate.recv();
        }
        if self.disk.is_broken.load(Ordering::Relaxed) {
            return Err(io::Error::from_raw_os_error(5));
        }
        self.file.append(bytes)
    }

    fn cut(&mut self, len: u64) -> io::Result<()> {
        self.file.cut(len)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync()
    }
}

fn open(folder: &Path, disks: &[&Moody]) -> Journal {
    let disks = disks.iter().enumerate().map(|(n, &disk)| {
        let settings = JournalSettings {
            free_floor_bytes: 1000,
            media_queue_blocks: 4,
            ..JournalSettings::new(folder.join(format!("journal-{n}")))
        };
        (Box::new(disk.clone()) as Box<dyn Disk>, settings)
    });
    Journal::open_on(disks.collect(), |_| {}).unwrap().0
}

/// Which disk keeps a call, by its packets.
fn disk_of(journal: &JournalHandle, folder: &Path, id: CallId) -> usize {
    journal.flush().unwrap();
    let debug = format!("{:?}", journal.read(id).unwrap());
    (0..9)
        .find(|n| debug.contains(&*folder.join(format!("journal-{n}")).to_string_lossy()))
        .unwrap()
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::yield_now();
    }
}

fn talk(journal: &JournalHandle, n: u128) -> CallId {
    let id = call_id(n);
    begin(journal, id);
    send(journal, id, tone(Lane::Customer, Law::A, 440.0, 0, 2000));
    send(journal, id, tone(Lane::Agent, Law::A, 600.0, 0, 2000));
    id
}

#[test]
fn calls_are_shared_among_disks_by_their_room_and_read_back_whole() {
    let folder = tempfile::tempdir().unwrap();
    let (small, large) = (Moody::with_free(1 << 30), Moody::with_free(3 << 30));
    let journal = open(folder.path(), &[&small, &large]);
    let handle = journal.handle();
    let mut counts = BTreeMap::new();
    for n in 0..200 {
        let id = call_id(1000 + n);
        begin(&handle, id);
        *counts.entry(disk_of(&handle, folder.path(), id)).or_insert(0) += 1;
    }
    // Three of four are on the large disk.
    assert!((40..=60).contains(&counts[&0]), "{counts:?}");
    let studio = Studio::new();
    let id = talk(&handle, 7);
    end(&handle, id, 2000);
    handle.flush().unwrap();
    let records = handle.read(id).unwrap();
    let recording = render(&records, &studio.files, &studio.settings).unwrap().unwrap();
    assert_eq!((recording.verdict, recording.duration_us), (Verdict::Ok, 2_000_000));
    assert_eq!(recording.quality[0].received_packets, 100);
    handle.done(id).unwrap();
    handle.flush().unwrap();
    assert!(handle.read(id).is_none());
    assert_eq!(handle.calls(), 200);
}

#[test]
fn a_full_or_failing_disk_gets_no_new_calls_and_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (Moody::with_free(1 << 40), Moody::with_free(1 << 20));
    let journal = open(folder.path(), &[&first, &second]);
    let handle = journal.handle();
    let is_refusing = |n: usize| {
        let disk = handle.disks().nth(n).unwrap();
        disk.counters.is_refusing.load(Ordering::Relaxed)
    };
    let on_first = talk(&handle, 1);
    assert_eq!(disk_of(&handle, folder.path(), on_first), 0);
    first.free.store(10, Ordering::Relaxed);
    until("the first disk is full", || is_refusing(0));
    assert!(!handle.is_blind());
    let on_second = talk(&handle, 2);
    assert_eq!(disk_of(&handle, folder.path(), on_second), 1);
    // What began on the full disk stays there, marked.
    send(&handle, on_first, tone(Lane::Agent, Law::A, 600.0, 2000, 4000));
    handle.flush().unwrap();
    assert!(handle.read(on_first).unwrap().has_gap());
    assert!(!handle.read(on_second).unwrap().has_gap());
    second.free.store(10, Ordering::Relaxed);
    until("both are full", || handle.is_blind());
    first.free.store(1 << 40, Ordering::Relaxed);
    until("the first has room again", || !is_refusing(0));
    assert_eq!(disk_of(&handle, folder.path(), talk(&handle, 3)), 0);
    second.free.store(1 << 50, Ordering::Relaxed);
    until("the second has room again", || !is_refusing(1));
    second.is_broken.store(true, Ordering::Relaxed);
    let broken = talk(&handle, 4);
    until("the second fails", || {
        handle.disks().nth(1).unwrap().counters.is_failing.load(Ordering::Relaxed)
    });
    assert!(handle.read(broken).is_some());
    assert_eq!(disk_of(&handle, folder.path(), talk(&handle, 5)), 0);
}

#[test]
fn a_disk_that_hangs_costs_only_its_own_calls_and_nobody_waits() {
    let folder = tempfile::tempdir().unwrap();
    let (slow, good) = (Moody::with_free(1 << 40), Moody::with_free(1 << 20));
    let journal = open(folder.path(), &[&slow, &good]);
    let handle = journal.handle();
    let stuck = talk(&handle, 1);
    assert_eq!(disk_of(&handle, folder.path(), stuck), 0);
    slow.free.store(10, Ordering::Relaxed);
    until("the first is full", || {
        handle.disks().next().unwrap().counters.is_refusing.load(Ordering::Relaxed)
    });
    let lively = talk(&handle, 2);
    assert_eq!(disk_of(&handle, folder.path(), lively), 1);
    slow.free.store(1 << 40, Ordering::Relaxed);
    until("the first has room", || {
        !handle.disks().next().unwrap().counters.is_refusing.load(Ordering::Relaxed)
    });
    let gate = slow.hang();
    // Far more than the queue of the disk that hangs holds: none of this may wait for it.
    let lost = |handle: &JournalHandle| {
        let disks: Vec<u64> =
            handle.disks().map(|disk| disk.counters.lost_packets.load(Ordering::Relaxed)).collect();
        disks
    };
    let before = lost(&handle);
    let mut sent = 0;
    until("the queue of the slow disk is full", || {
        send(&handle, stuck, tone(Lane::Customer, Law::A, 440.0, 2000, 4000));
        sent += 100;
        lost(&handle)[0] > before[0]
    });
    // 4 blocks wait and up to a megabyte is being written: no more is held.
    assert!(sent < 20_000, "{sent}");
    let packets = handle.disks().nth(1).unwrap().counters.packets.load(Ordering::Relaxed);
    send(&handle, lively, tone(Lane::Customer, Law::A, 440.0, 2000, 3000));
    until("the other disk goes on", || {
        handle.disks().nth(1).unwrap().counters.packets.load(Ordering::Relaxed) >= packets + 50
    });
    assert_eq!(lost(&handle)[1], before[1]);
    drop(gate);
    handle.flush().unwrap();
    assert!(handle.read(stuck).unwrap().has_gap());
    assert!(!handle.read(lively).unwrap().has_gap());
}

fn disk_folder(folder: &Path) -> DiskFolder {
    DiskFolder { name: "disk-2".into(), root: folder.join("two") }
}

#[test]
fn a_row_finds_its_file_on_its_disk_and_a_disk_that_is_away_is_told() {
    let studio = Studio::new();
    let further = disk_folder(studio.folder.path());
    let first = studio.folder.path().join("recordings");
    let files = RecordingFiles::open_disks(&first, std::slice::from_ref(&further)).unwrap();
    let (rows, runtime) = (MemoryRows::default(), tokio::runtime::Runtime::new().unwrap());
    let look = |files: &RecordingFiles| {
        let report = runtime
            .block_on(check(
                &rows,
                files,
                &[],
                Depth::Hashes,
                cheling_model::Timestamp::from_micros(i64::MAX),
            ))
            .unwrap();
        report.failures
    };
    let mut disks = BTreeMap::new();
    for n in 0..24 {
        let packets = tone(Lane::Customer, Law::A, 440.0, 0, 1000 + n);
        let journal = studio.journal.handle();
        let id = call_id(5000 + n as u128);
        begin(&journal, id);
        send(&journal, id, packets);
        end(&journal, id, 1000 + n);
        journal.flush().unwrap();
        let records = journal.read(id).unwrap();
        let recording = render(&records, &files, &studio.settings).unwrap().unwrap();
        // Doing it again finds the file where it is.
        let again = render(&records, &files, &studio.settings).unwrap().unwrap();
        assert_eq!(again, recording);
        let path = files.resolve(&recording.path).unwrap();
        assert!(path.is_file() && files.companion(&recording.path, "peaks").unwrap().is_file());
        *disks.entry(recording.path.starts_with("@disk-2/2026/")).or_insert(0) += 1;
        runtime.block_on(rows.insert(std::slice::from_ref(&recording))).unwrap();
    }
    assert!(disks[&true] > 3 && disks[&false] > 3, "{disks:?}");
    assert_eq!(look(&files), []);
    // Not mounted: the folder is there and empty.
    let elsewhere = studio.folder.path().join("unplugged");
    std::fs::rename(&further.root, &elsewhere).unwrap();
    std::fs::create_dir(&further.root).unwrap();
    for files in
        [files.clone(), RecordingFiles::open_disks(&first, std::slice::from_ref(&further)).unwrap()]
    {
        let want = Failure::DiskAway {
            name: "disk-2".into(),
            path: further.root.clone(),
            rows: disks[&true],
        };
        assert_eq!(look(&files), [want]);
        assert!(files.draft("@disk-2/2026/11/22/x.wav").is_err());
        for n in 0..20 {
            let path = format!("2026/11/22/{n}.wav");
            assert_eq!(files.place(&path), path);
        }
    }
    assert_eq!(std::fs::read_dir(&further.root).unwrap().count(), 0, "nothing is put there");
    std::fs::remove_dir(&further.root).unwrap();
    std::fs::rename(&elsewhere, &further.root).unwrap();
    assert_eq!(look(&files), []);
    // A disk that failed is left alone for a while.
    files.shun("@disk-2/2026/11/22/x.wav");
    assert!((0..20).all(|n| !files.place(&format!("2026/11/22/{n}.wav")).starts_with('@')));
    for bad in ["@disk-2", "@disk-3/2026/x.wav", "@/x.wav", "@disk-2/../x.wav", "@disk-2/x"] {
        assert!(files.resolve(bad).is_err(), "{bad}");
    }
}
