//! When a call is over, and what is kept of it then.

use super::super::*;
use super::bench::*;

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
