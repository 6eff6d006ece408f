//! Old recordings become Opus whatever is cut in between, and `check` is clean all the while.
#![allow(clippy::unwrap_used)]

mod scene;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cheling_media::g711::Law;
use cheling_media::ogg_opus::OpusSettings;
use cheling_model::recording::{Container, Recording};
use cheling_model::{Lane, Timestamp};
use cheling_store::check::{Depth, Failure, check};
use cheling_store::conversion::{
    Conversion, ConversionCounters, ConversionError, ConversionReport,
};
use cheling_store::rows::RecordingRows as _;
use cheling_store::transcode::convert;
use scene::{ANSWERED_US, MemoryRows, Studio, tone};
use tokio::runtime::Runtime;

struct Archive {
    studio: Studio,
    rows: Arc<MemoryRows>,
    runtime: Runtime,
    counters: ConversionCounters,
    stop: AtomicBool,
}

impl Archive {
    fn new(recordings: i64) -> Self {
        let archive = Self {
            studio: Studio::new(),
            rows: Arc::default(),
            runtime: Runtime::new().unwrap(),
            counters: ConversionCounters::default(),
            stop: AtomicBool::new(false),
        };
        for n in 0..recordings {
            let mut packets = tone(Lane::Customer, Law::A, 440.0, 0, 1000);
            packets.extend(tone(Lane::Agent, Law::A, 900.0, 200, 1500));
            let recording = archive.studio.recorded(packets, 2000 + n);
            archive
                .runtime
                .block_on(archive.rows.insert(std::slice::from_ref(&recording)))
                .unwrap();
        }
        archive
    }

    fn conversion(&self) -> Conversion<Arc<MemoryRows>> {
        let (files, handle) = (self.studio.files.clone(), self.runtime.handle().clone());
        Conversion::new(files, self.rows.clone(), OpusSettings::default(), handle)
    }

    fn run(&self) -> Result<ConversionReport, ConversionError> {
        let tomorrow = Timestamp::from_micros(ANSWERED_US + 86_400_000_000);
        self.conversion().run(tomorrow, &self.stop, &self.counters, |_, _| {})
    }

    fn failures(&self) -> Vec<Failure> {
        let look =
            check(&self.rows, &self.studio.files, &[], Depth::Hashes, Timestamp::from_micros(0));
        self.runtime.block_on(look).unwrap().failures
    }

    fn recordings(&self) -> Vec<Recording> {
        self.rows.rows.lock().unwrap().values().cloned().collect()
    }

    fn audio_files(&self) -> usize {
        let folder = self.studio.files.root().join("2026/11/22");
        let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        names.filter(|path| path.extension().is_some_and(|end| end != "peaks")).count()
    }

    fn intent(&self, recording: &Recording) -> std::path::PathBuf {
        let folder = self.studio.files.root().join(".converting");
        std::fs::create_dir_all(&folder).unwrap();
        folder.join(recording.recording_id.to_string())
    }

    fn assert_all_are_opus(&self) {
        assert!(self.recordings().iter().all(|row| row.container == Container::OggOpus));
        assert_eq!(self.failures(), []);
        assert_eq!(self.audio_files(), self.recordings().len());
    }
}

#[test]
fn all_that_is_old_enough_is_converted_and_nothing_else() {
    let archive = Archive::new(5);
    let mut told = Vec::new();
    let older_than = Timestamp::from_micros(ANSWERED_US);
    let mut conversion = archive.conversion();
    let report = conversion
        .run(older_than, &archive.stop, &archive.counters, |done, all| told.push((done, all)))
        .unwrap();
    assert_eq!((report, told.as_slice()), (ConversionReport::default(), &[(0, 0)][..]));
    let older_than = Timestamp::from_micros(ANSWERED_US + 1);
    told.clear();
    let report = conversion
        .run(older_than, &archive.stop, &archive.counters, |done, all| told.push((done, all)))
        .unwrap();
    assert_eq!((report.converted, report.failed), (5, 0));
    assert!(report.saved_bytes > 5 * 20_000);
    assert_eq!(told, [(0, 5), (1, 5), (2, 5), (3, 5), (4, 5), (5, 5)]);
    archive.assert_all_are_opus();
    assert_eq!(archive.run().unwrap(), ConversionReport::default());
}

#[test]
fn cut_between_any_two_steps_it_is_clean_and_finished_by_the_next_run() {
    let archive = Archive::new(5);
    let rows = archive.recordings();
    let files = &archive.studio.files;
    let stop = AtomicBool::new(false);
    for (n, row) in rows.iter().enumerate() {
        // The intent is there, in part or whole …
        let whole = row.path.as_bytes();
        std::fs::write(archive.intent(row), if n == 0 { &[] } else { whole }).unwrap();
        if n < 2 {
            continue;
        }
        // … the copy has its name …
        let copy = convert(files, row, OpusSettings::default(), &stop).unwrap();
        if n < 3 {
            continue;
        }
        // … the row tells of it …
        assert!(archive.runtime.block_on(archive.rows.replace(row, &copy)).unwrap());
        if n < 4 {
            continue;
        }
        // … the original is gone, but not the intent.
        std::fs::remove_file(files.resolve(&row.path).unwrap()).unwrap();
    }
    assert_eq!(archive.failures(), [], "a cut conversion is no failure");
    assert_eq!(archive.audio_files(), 5 + 2);
    assert_eq!(archive.run().unwrap().converted, 3);
    archive.assert_all_are_opus();
    let folder = files.root().join(".converting");
    assert_eq!(std::fs::read_dir(folder).unwrap().count(), 1, "only the lock stays");
}

#[test]
fn a_database_that_goes_away_costs_nothing() {
    let archive = Archive::new(3);
    let mut conversion = archive.conversion();
    let tomorrow = Timestamp::from_micros(i64::MAX);
    let failing = &archive.rows.is_failing;
    let cut = conversion.run(tomorrow, &archive.stop, &archive.counters, |done, _| {
        failing.store(done == 1, Ordering::Relaxed);
    });
    assert!(matches!(cut, Err(ConversionError::Row(_))), "{cut:?}");
    failing.store(false, Ordering::Relaxed);
    assert_eq!(archive.failures(), []);
    assert_eq!(archive.audio_files(), 3 + 1, "the copy whose row could not be written");
    assert_eq!(archive.run().unwrap().converted, 2);
    archive.assert_all_are_opus();
}

#[test]
fn what_cannot_be_converted_stays_and_the_rest_goes_on() {
    let archive = Archive::new(4);
    let damaged = archive.recordings()[1].clone();
    let path = archive.studio.files.resolve(&damaged.path).unwrap();
    let good = std::fs::read(&path).unwrap();
    let mut bytes = good.clone();
    bytes[100] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let report = archive.run().unwrap();
    assert_eq!((report.converted, report.failed), (3, 1));
    assert_eq!(archive.counters.failed.load(Ordering::Relaxed), 1);
    std::fs::write(&path, good).unwrap();
    assert_eq!(archive.recordings()[1], damaged);
    assert_eq!(archive.failures(), []);
    assert_eq!(archive.run().unwrap().converted, 1);
    archive.assert_all_are_opus();
}

#[test]
fn a_row_that_changed_meanwhile_is_left_alone() {
    let archive = Archive::new(1);
    let changed = archive.recordings()[0].clone();
    let mut conversion = archive.conversion();
    let rows = archive.rows.clone();
    let tomorrow = Timestamp::from_micros(i64::MAX);
    let report = conversion
        .run(tomorrow, &archive.stop, &archive.counters, |_, _| {
            let mut rows = rows.rows.lock().unwrap();
            for row in rows.values_mut() {
                row.verdict_detail = "seen by a person".into();
            }
        })
        .unwrap();
    assert_eq!((report.converted, report.failed), (0, 1));
    assert_eq!(archive.recordings()[0].path, changed.path);
    assert_eq!((archive.failures(), archive.audio_files()), (Vec::new(), 1));
}

#[test]
fn a_run_stops_when_told_and_two_do_not_run_at_once() {
    let archive = Archive::new(3);
    let mut conversion = archive.conversion();
    let tomorrow = Timestamp::from_micros(i64::MAX);
    let mut second = None;
    let report = conversion
        .run(tomorrow, &archive.stop, &archive.counters, |done, _| {
            if done == 1 {
                second = Some(archive.run());
                archive.stop.store(true, Ordering::Relaxed);
            }
        })
        .unwrap();
    assert!(matches!(second, Some(Err(ConversionError::Busy))), "{second:?}");
    assert!(report.was_stopped);
    assert_eq!((report.converted, report.failed), (1, 0), "what was begun is given up");
    assert_eq!(archive.failures(), []);
    archive.stop.store(false, Ordering::Relaxed);
    assert_eq!(archive.run().unwrap().converted, 2);
    archive.assert_all_are_opus();
}
