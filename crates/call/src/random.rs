//! Ids and seeds that cannot be guessed, out of one seed: SHA-256 in counter mode.

use cheling_model::{CallId, LegId, Timestamp};
use sha2::{Digest, Sha256};

/// A stream of bytes that depends on nothing but its seed.
#[derive(Debug)]
pub struct Random {
    key: [u8; 32],
    counter: u64,
}

impl Random {
    /// Begins the stream of this secret and seed.
    pub fn new(secret: &[u8; 32], seed: u64) -> Self {
        let mut hash = Sha256::new();
        hash.update(secret);
        hash.update(seed.to_le_bytes());
        Self { key: hash.finalize().into(), counter: 0 }
    }

    fn block(&mut self) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(self.key);
        hash.update(self.counter.to_le_bytes());
        self.counter = self.counter.wrapping_add(1);
        hash.finalize().into()
    }

    /// Some bytes, at most 32.
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let block = self.block();
        let mut bytes = [0; N];
        for (to, from) in bytes.iter_mut().zip(block) {
            *to = from;
        }
        bytes
    }

    /// 64 bits.
    pub fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.bytes())
    }

    /// The id of a new call.
    pub fn call_id(&mut self, at: Timestamp) -> CallId {
        CallId::mint(at, self.bytes())
    }

    /// The id of a new leg.
    pub fn leg_id(&mut self, at: Timestamp) -> LegId {
        LegId::mint(at, self.bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_its_seeds_and_nothing_repeats() {
        let numbers = |seed| {
            let mut random = Random::new(&[7; 32], seed);
            (0..100).map(|_| random.u64()).collect::<std::collections::BTreeSet<_>>()
        };
        assert_eq!(numbers(1), numbers(1));
        assert_eq!(numbers(1).len(), 100);
        assert!(numbers(1).is_disjoint(&numbers(2)));
    }
}
