//! The journal with its thread, through handles.

use std::collections::HashSet;

use cheling_model::tap::{PacketKind, TapPacket};
use cheling_model::{Lane, TapKind, Timestamp};

use super::super::*;
use super::bench::*;

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
        events_waiting: AtomicUsize::new(0),
        gaps: Mutex::default(),
        emptied: OnceLock::new(),
    };
    // Nobody empties this queue.
    let (queue, _inputs) = sync_channel(2 + EVENT_QUEUE);
    let thread = std::thread::current();
    let handle = JournalHandle::new(vec![Feed::new(queue, Arc::new(shared), 2, thread)]);
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
