//! What a journal finds of the process before it.

use cheling_model::tap::TapPacket;

use super::super::segment::segment_path;
use super::super::*;
use super::bench::*;

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
fn one_process_at_a_time_has_a_journal() {
    let mut bench = Bench::new();
    let again = Journal::open(bench.settings.clone(), |_| {});
    assert!(matches!(again, Err(JournalError::InUse(_))));
    bench.kill();
}
