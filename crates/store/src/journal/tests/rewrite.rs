//! Segments that a long call holds on to.

use super::super::segment::segment_path;
use super::super::*;
use super::bench::*;

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
