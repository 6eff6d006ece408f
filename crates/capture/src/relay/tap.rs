//! The copy for the recording: fills a block and hands it on, and never waits.

use super::counters::ThreadCounters;
use crate::sink::{SpareBlocks, TapSink};
use cheling_model::CallId;
use cheling_model::tap::{FRAME_HEADER_BYTES, TapBlock, TapPacket};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A block of this size is handed on.
const FULL_BYTES: usize = 64 * 1024;
/// Room for the packet that fills it.
const CAPACITY_BYTES: usize = FULL_BYTES + 4 * 1024;
/// A block this old is handed on though it is small, so that a crash costs little.
const OLD: Duration = Duration::from_millis(200);
/// When the queue was full, when to try again.
const RETRY: Duration = Duration::from_millis(10);

/// One thread's block under way.
pub(super) struct TapWriter {
    block: TapBlock,
    due: Option<Instant>,
    sink: Arc<dyn TapSink>,
    spare: Arc<SpareBlocks>,
    counters: Arc<ThreadCounters>,
}

impl TapWriter {
    pub(super) fn new(
        sink: Arc<dyn TapSink>,
        spare: Arc<SpareBlocks>,
        counters: Arc<ThreadCounters>,
    ) -> Self {
        Self { block: TapBlock::with_capacity(CAPACITY_BYTES), due: None, sink, spare, counters }
    }

    /// Copies one packet; false if it had to be dropped.
    pub(super) fn push(&mut self, packet: TapPacket<'_>, now: Instant) -> bool {
        let needed = FRAME_HEADER_BYTES + packet.bytes.len();
        if self.block.len() + needed > FULL_BYTES && !self.block.is_empty() && !self.flush(now) {
            self.counters.tap_dropped_packets.bump();
            return false;
        }
        if !self.block.push(packet) {
            self.counters.tap_dropped_packets.bump();
            return false;
        }
        if self.due.is_none() {
            self.due = Some(now + OLD);
        }
        true
    }

    /// When the block wants to be handed on, if it holds anything.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Hands the block on if it is old enough.
    pub(super) fn flush_if_due(&mut self, now: Instant) {
        if self.due.is_some_and(|due| due <= now) {
            self.flush(now);
        }
    }

    /// Hands the block on; false if there is no room for it, and then it is kept.
    pub(super) fn flush(&mut self, now: Instant) -> bool {
        if self.block.is_empty() {
            return true;
        }
        match self.sink.packets(std::mem::take(&mut self.block)) {
            Ok(()) => {
                self.counters.tap_blocks.bump();
                self.block =
                    self.spare.take().unwrap_or_else(|| TapBlock::with_capacity(CAPACITY_BYTES));
                self.due = None;
                true
            }
            Err(block) => {
                self.block = block;
                self.due = Some(now + RETRY);
                false
            }
        }
    }

    /// Takes a call's packets out of the block and says how many they were, per lane: the call
    /// closes and the queue stays full.
    pub(super) fn remove(&mut self, call_id: CallId) -> [u64; 2] {
        let mut removed = [0; 2];
        let mut rest = TapBlock::with_capacity(CAPACITY_BYTES);
        for packet in self.block.packets().flatten() {
            if packet.call_id == call_id {
                removed[packet.lane.index()] += 1;
            } else {
                rest.push(packet);
            }
        }
        self.counters.tap_dropped_packets.add(removed[0] + removed[1]);
        self.block = rest;
        if self.block.is_empty() {
            self.due = None;
        }
        removed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cheling_model::tap::PacketKind;
    use cheling_model::{Lane, TapEvent, Timestamp};
    use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};

    struct Queue(SyncSender<TapBlock>);
    impl TapSink for Queue {
        fn packets(&self, block: TapBlock) -> Result<(), TapBlock> {
            self.0.try_send(block).map_err(|err| match err {
                TrySendError::Full(block) | TrySendError::Disconnected(block) => block,
            })
        }
        fn event(&self, _: TapEvent) {}
    }

    fn packet(call: u8, bytes: &[u8]) -> TapPacket<'_> {
        TapPacket {
            call_id: CallId::mint(Timestamp::from_micros(1), [call; 10]),
            lane: Lane::Customer,
            voice: 0,
            kind: PacketKind::Rtp,
            at: Timestamp::from_micros(1),
            bytes,
        }
    }

    #[test]
    fn a_full_queue_drops_packets_and_counts_them_but_keeps_what_it_has() {
        let (sender, receiver) = sync_channel(1);
        let counters = Arc::new(ThreadCounters::default());
        let spare = Arc::new(SpareBlocks::new(4));
        let mut tap = TapWriter::new(Arc::new(Queue(sender)), spare, counters.clone());
        let now = Instant::now();
        let speech = [0xd5; 172];
        let kept = (0..2_000).filter(|_| tap.push(packet(1, &speech), now)).count();
        assert!(kept < 2_000);
        assert_eq!(counters.tap_dropped_packets.value(), 2_000 - kept as u64);
        let first = receiver.recv().unwrap().packets().count();
        assert!(tap.flush(now));
        let second = receiver.recv().unwrap().packets().count();
        assert_eq!(first + second, kept);
    }

    #[test]
    fn a_small_block_goes_when_it_is_old() {
        let (sender, receiver) = sync_channel(1);
        let spare = Arc::new(SpareBlocks::new(4));
        let mut tap = TapWriter::new(Arc::new(Queue(sender)), spare, Default::default());
        let now = Instant::now();
        tap.push(packet(1, &[1]), now);
        tap.flush_if_due(now + OLD - Duration::from_millis(1));
        assert!(receiver.try_recv().is_err());
        assert_eq!(tap.due(), Some(now + OLD));
        tap.flush_if_due(now + OLD);
        assert_eq!(receiver.try_recv().unwrap().packets().count(), 1);
        assert_eq!(tap.due(), None);
    }

    #[test]
    fn removing_a_call_leaves_the_others() {
        let (sender, receiver) = sync_channel(1);
        let spare = Arc::new(SpareBlocks::new(4));
        let mut tap = TapWriter::new(Arc::new(Queue(sender)), spare, Default::default());
        let now = Instant::now();
        for call in [1, 2, 1] {
            tap.push(packet(call, &[call]), now);
        }
        assert_eq!(tap.remove(packet(1, &[]).call_id), [2, 0]);
        tap.flush(now);
        let block = receiver.recv().unwrap();
        let left: Vec<_> = block.packets().map(|packet| packet.unwrap().bytes.to_vec()).collect();
        assert_eq!(left, [vec![2]]);
    }
}
