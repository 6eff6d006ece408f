//! The way to one journal's thread, and to what it has written.

use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::Thread;

use cheling_model::tap::TapBlock;
use cheling_model::{CallId, TapEvent};

use super::{CallRecords, EVENTS_WAITING, Emptied, Input, JournalCounters, JournalError, Shared};

/// Calls that may wait to be marked; each is told of once, so more would be a flood of calls.
const MAX_GAPS: usize = 100_000;

/// Sends to one journal and reads from it; cheap to clone.
///
/// The thread looks at its queue before each writing. It is woken for media, whose packets grow
/// older, and for whoever waits; for events only when they are many.
#[derive(Clone, Debug)]
pub(super) struct Feed {
    queue: SyncSender<Input>,
    thread: Thread,
    shared: Arc<Shared>,
    media_limit: usize,
}

impl Feed {
    pub(super) fn new(
        queue: SyncSender<Input>,
        shared: Arc<Shared>,
        media_limit: usize,
        thread: Thread,
    ) -> Self {
        Self { queue, thread, shared, media_limit }
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Gives the block back if the queue is full or the journal closed.
    pub(super) fn try_media(&self, block: TapBlock) -> Result<(), TapBlock> {
        let waiting = self.shared.media_waiting.fetch_add(1, Ordering::AcqRel);
        let sent = if waiting < self.media_limit {
            self.queue.try_send(Input::Media(block))
        } else {
            Err(TrySendError::Full(Input::Media(block)))
        };
        match sent {
            Ok(()) => {
                self.thread.unpark();
                Ok(())
            }
            Err(TrySendError::Full(input) | TrySendError::Disconnected(input)) => {
                self.shared.media_waiting.fetch_sub(1, Ordering::AcqRel);
                JournalCounters::add(&self.shared.counters.refused_blocks, 1);
                match input {
                    Input::Media(block) => Err(block),
                    _ => Err(TapBlock::default()),
                }
            }
        }
    }

    /// Counts the packets of a block that is not sent against their calls; the thread marks them.
    pub(super) fn drop_media(&self, block: &TapBlock) {
        let mut dropped = 0;
        let mut index = self.shared.index();
        for packet in block.packets().flatten() {
            dropped += 1;
            if let Some(entry) = index.call_mut(packet.call_id)
                && !std::mem::replace(&mut entry.has_gap, true)
            {
                let mut gaps = self.shared.gaps.lock().unwrap_or_else(PoisonError::into_inner);
                if gaps.len() < MAX_GAPS {
                    gaps.push(packet.call_id);
                }
            }
        }
        JournalCounters::add(&self.shared.counters.lost_packets, dropped);
    }

    pub(super) fn on_emptied(&self, take: Box<dyn Fn(TapBlock) + Send + Sync>) {
        // Whoever said it first gets them.
        let _said_before = self.shared.emptied.set(Emptied(take));
    }

    pub(super) fn event(&self, event: TapEvent) -> Result<(), JournalError> {
        self.send(Input::Event(Box::new(event)))
    }

    pub(super) fn try_event(&self, event: TapEvent) -> Result<(), Box<TapEvent>> {
        let sent = self.queue.try_send(Input::Event(Box::new(event)));
        self.note_waiting();
        sent.map_err(|err| match err {
            TrySendError::Full(Input::Event(event))
            | TrySendError::Disconnected(Input::Event(event)) => event,
            _ => unreachable!("only the event that was sent comes back"),
        })
    }

    pub(super) fn done(&self, call_id: CallId) -> Result<(), JournalError> {
        self.send(Input::Done(call_id))
    }

    /// Sends what may wait, waiting for room if there is none.
    fn send(&self, input: Input) -> Result<(), JournalError> {
        match self.queue.try_send(input) {
            Ok(()) => self.note_waiting(),
            Err(TrySendError::Full(input)) => {
                self.thread.unpark();
                self.queue.send(input).map_err(|_| JournalError::Closed)?;
            }
            Err(TrySendError::Disconnected(_)) => return Err(JournalError::Closed),
        }
        Ok(())
    }

    fn note_waiting(&self) {
        if self.shared.events_waiting.fetch_add(1, Ordering::AcqRel) + 1 == EVENTS_WAITING {
            self.thread.unpark();
        }
    }

    pub(super) fn flush(&self) -> Result<(), JournalError> {
        let (done, is_done) = sync_channel(1);
        self.send(Input::Flush(done))?;
        self.thread.unpark();
        is_done.recv().map_err(|_| JournalError::Closed)
    }

    /// Tells the thread to end; one that has ended already needs no word.
    pub(super) fn stop(&self) {
        let _ = self.send(Input::Stop);
        self.thread.unpark();
    }

    pub(super) fn read(&self, call_id: CallId) -> Option<CallRecords> {
        let index = self.shared.index();
        let entry = index.call(call_id)?;
        Some(CallRecords::new(self.shared.folder.clone(), call_id, entry))
    }

    pub(super) fn knows(&self, call_id: CallId) -> bool {
        self.shared.index().call(call_id).is_some()
    }

    pub(super) fn calls(&self) -> usize {
        self.shared.index().calls()
    }

    /// The room for new calls: none on a disk that is full or fails, or that is far behind.
    pub(super) fn room_bytes(&self) -> u64 {
        let counters = &self.shared.counters;
        let is_behind =
            self.shared.media_waiting.load(Ordering::Relaxed) > self.media_limit.div_ceil(2);
        let is_unfit = is_behind
            || counters.is_refusing.load(Ordering::Relaxed)
            || counters.is_failing.load(Ordering::Relaxed);
        if is_unfit { 0 } else { counters.free_bytes.load(Ordering::Relaxed) }
    }
}
