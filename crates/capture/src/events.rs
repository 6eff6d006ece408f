//! The way of a call's events to the journal and to `lookup`, which may both be slow.
//!
//! To both straight from the SIP task, which waits for neither. `lookup` has a bounded queue whose
//! overflow is counted, because the journal still has the event; the journal's queue has room for
//! the events of many minutes, and its [`TapSink`] says loudly what it cannot take.

use crate::sink::TapSink;
use cheling_model::{TapEvent, TapKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::mpsc;

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
    journal: Arc<dyn TapSink>,
    lookup: mpsc::Sender<TapEvent>,
    counters: Arc<EventCounters>,
}

impl EventTap {
    pub(crate) fn new(
        journal: Arc<dyn TapSink>,
        lookup: mpsc::Sender<TapEvent>,
        counters: Arc<EventCounters>,
    ) -> Self {
        Self { journal, lookup, counters }
    }

    pub(crate) fn send(&self, event: TapEvent) {
        self.counters.events.fetch_add(1, Ordering::Relaxed);
        if concerns_lookup(&event.kind) && self.lookup.try_send(event.clone()).is_err() {
            self.counters.lookup_missed.fetch_add(1, Ordering::Relaxed);
        }
        self.journal.event(event);
    }
}

/// Whether there is anything in it for those who look on; each event wakes them.
fn concerns_lookup(kind: &TapKind) -> bool {
    !matches!(kind, TapKind::Formats { .. } | TapKind::RelayClosed { .. })
}

#[cfg(test)]
mod tests {
    use super::*;
    use cheling_model::tap::TapBlock;
    use cheling_model::{CallId, Lane, Timestamp};
    use std::sync::Mutex;

    #[derive(Default)]
    struct Journal(Mutex<Vec<TapEvent>>);
    impl TapSink for Journal {
        fn packets(&self, block: TapBlock) -> Result<(), TapBlock> {
            Err(block)
        }
        fn event(&self, event: TapEvent) {
            self.0.lock().unwrap().push(event);
        }
    }

    fn event(number: i64, kind: TapKind) -> TapEvent {
        let call_id = CallId::mint(Timestamp::from_micros(1), [1; 10]);
        TapEvent { call_id, at: Timestamp::from_micros(number), kind }
    }

    #[test]
    fn the_journal_gets_every_event_in_order_and_a_full_lookup_is_counted() {
        let journal = Arc::new(Journal::default());
        let (lookup, mut cards) = mpsc::channel(3);
        let counters = Arc::new(EventCounters::default());
        let tap = EventTap::new(journal.clone(), lookup, Arc::clone(&counters));
        let formats = || TapKind::Formats { lane: Lane::Agent, voice: 0, formats: Vec::new() };
        let events: Vec<_> = (0..10)
            .map(|number| match number {
                1 | 2 => event(number, formats()),
                _ => event(number, TapKind::FarEndRinging),
            })
            .collect();
        events.iter().for_each(|event| tap.send(event.clone()));
        assert_eq!(*journal.0.lock().unwrap(), events);
        assert_eq!(counters.events.load(Ordering::Relaxed), 10);
        assert_eq!(counters.lookup_missed.load(Ordering::Relaxed), 5);
        for number in [0, 3, 4] {
            assert_eq!(cards.try_recv().unwrap().at, Timestamp::from_micros(number));
        }
    }
}
