//! Where calls are written down: the seam to the journal and to `lookup`.

use cheling_model::TapEvent;
use cheling_model::tap::TapBlock;
use std::sync::Mutex;

/// Takes what happened and what was said, in order, on its way to the journal.
///
/// Both methods are called from several threads. Whoever implements it puts blocks and events
/// into one queue, so that a call's packets lie before its `RelayClosed`.
pub trait TapSink: Send + Sync + 'static {
    /// Takes a block of packets, or gives it back because the queue is full. Never waits: relay
    /// threads call it between two packets.
    ///
    /// # Errors
    /// The block, unread, if there is no room for it now.
    fn packets(&self, block: TapBlock) -> Result<(), TapBlock>;

    /// Takes an event. Never waits: call control calls it between two messages. What cannot be
    /// taken, because a disk hangs for minutes, is lost loudly.
    fn event(&self, event: TapEvent);
}

/// Emptied blocks on their way back to the relay threads, so that memory is not asked for anew.
#[derive(Debug)]
pub struct SpareBlocks {
    blocks: Mutex<Vec<TapBlock>>,
    most: usize,
}

impl SpareBlocks {
    /// How many to keep: more than are on their way to a disk that keeps up, 1 MiB in all.
    pub const USUAL: usize = 16;

    /// Keeps at most `most` blocks.
    pub fn new(most: usize) -> Self {
        Self { blocks: Mutex::new(Vec::with_capacity(most)), most }
    }

    /// Gives back a block that has been written; one too many is freed.
    pub fn give(&self, mut block: TapBlock) {
        block.clear();
        let mut blocks = self.lock();
        if blocks.len() < self.most {
            blocks.push(block);
        }
    }

    /// An empty block with memory, if there is one.
    pub fn take(&self) -> Option<TapBlock> {
        self.lock().pop()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<TapBlock>> {
        // A panic elsewhere cannot leave a vector of empty blocks in a bad state.
        self.blocks.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spare_blocks_are_bounded_and_come_back_empty() {
        let spare = SpareBlocks::new(1);
        spare.give(TapBlock::from_bytes(vec![1, 2, 3]));
        spare.give(TapBlock::from_bytes(vec![4]));
        assert!(spare.take().unwrap().is_empty());
        assert!(spare.take().is_none());
    }
}
