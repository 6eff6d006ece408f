//! The way of a call's events to the journal and to `lookup`, which may both be slow.
//!
//! To `lookup` straight from the SIP task, since a person waits for the card: a bounded queue
//! whose overflow is counted, because the journal still has the event. To the journal through a
//! thread that may wait for the disk: nothing is dropped on that way. While the journal is so far
//! behind that its queue is full, events wait in the SIP task and no new call is taken.

use crate::sink::TapSink;
use cheling_model::TapEvent;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use tokio::sync::mpsc;

/// Events that may wait for the journal: minutes of a busy day.
const JOURNAL_QUEUE: usize = 65_536;

/// What happened on the way.
#[derive(Debug, Default)]
pub struct EventCounters {
    /// Events that came from the call machines.
    pub events: AtomicU64,
    /// Events that `lookup` missed because its queue was full.
    pub lookup_missed: AtomicU64,
}

/// Hands events on without waiting.
pub(crate) struct EventTap {
    journal: SyncSender<TapEvent>,
    backlog: VecDeque<TapEvent>,
    lookup: mpsc::Sender<TapEvent>,
    counters: Arc<EventCounters>,
}

impl EventTap {
    /// Starts the journal's thread; it ends when the tap is dropped and all events are handed on.
    pub(crate) fn start(
        sink: Arc<dyn TapSink>,
        lookup: mpsc::Sender<TapEvent>,
        counters: Arc<EventCounters>,
    ) -> io::Result<(Self, JoinHandle<()>)> {
        Self::with_queue(sink, lookup, counters, JOURNAL_QUEUE)
    }

    fn with_queue(
        sink: Arc<dyn TapSink>,
        lookup: mpsc::Sender<TapEvent>,
        counters: Arc<EventCounters>,
        queue: usize,
    ) -> io::Result<(Self, JoinHandle<()>)> {
        let (journal, events) = sync_channel(queue);
        let thread = std::thread::Builder::new().name("tap-events".into()).spawn(move || {
            for event in events {
                sink.event(event);
            }
        })?;
        Ok((Self { journal, backlog: VecDeque::new(), lookup, counters }, thread))
    }

    pub(crate) fn send(&mut self, event: TapEvent) {
        self.counters.events.fetch_add(1, Ordering::Relaxed);
        if self.lookup.try_send(event.clone()).is_err() {
            self.counters.lookup_missed.fetch_add(1, Ordering::Relaxed);
        }
        self.backlog.push_back(event);
        self.work_off();
    }

    /// Hands on what waited.
    pub(crate) fn work_off(&mut self) {
        while let Some(event) = self.backlog.pop_front() {
            match self.journal.try_send(event) {
                Ok(()) => {}
                Err(TrySendError::Full(event)) => {
                    self.backlog.push_front(event);
                    return;
                }
                Err(TrySendError::Disconnected(_)) => {
                    tracing::error!("the journal's event thread is gone");
                    self.backlog.clear();
                }
            }
        }
    }

    /// Whether events wait; then no new call may begin, which bounds how many can.
    pub(crate) fn is_behind(&self) -> bool {
        !self.backlog.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cheling_model::tap::TapBlock;
    use cheling_model::{CallId, TapKind, Timestamp};
    use std::sync::Mutex;

    struct Slow {
        gate: Mutex<()>,
        seen: Mutex<Vec<TapEvent>>,
    }
    impl TapSink for Slow {
        fn packets(&self, block: TapBlock) -> Result<(), TapBlock> {
            Err(block)
        }
        fn event(&self, event: TapEvent) {
            drop(self.gate.lock().unwrap());
            self.seen.lock().unwrap().push(event);
        }
    }

    fn event(number: i64) -> TapEvent {
        TapEvent {
            call_id: CallId::mint(Timestamp::from_micros(1), [1; 10]),
            at: Timestamp::from_micros(number),
            kind: TapKind::FarEndRinging,
        }
    }

    #[test]
    fn a_slow_journal_gets_every_event_in_order_and_a_full_lookup_is_counted() {
        let sink = Arc::new(Slow { gate: Mutex::new(()), seen: Mutex::default() });
        let (lookup, mut cards) = mpsc::channel(3);
        let counters = Arc::new(EventCounters::default());
        let (mut tap, thread) =
            EventTap::with_queue(sink.clone(), lookup, Arc::clone(&counters), 2).unwrap();
        let shut = sink.gate.lock().unwrap();
        for number in 0..10 {
            tap.send(event(number));
        }
        assert!(tap.is_behind());
        drop(shut);
        while tap.is_behind() {
            tap.work_off();
            std::thread::yield_now();
        }
        drop(tap);
        thread.join().unwrap();
        assert_eq!(*sink.seen.lock().unwrap(), (0..10).map(event).collect::<Vec<_>>());
        assert_eq!(counters.lookup_missed.load(Ordering::Relaxed), 7);
        assert_eq!(cards.try_recv().unwrap(), event(0));
    }
}
