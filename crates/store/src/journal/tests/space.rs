//! Disks that are full, slow to be written or free again.

use super::super::*;
use super::bench::*;

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
