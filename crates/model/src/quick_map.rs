//! Hash maps that are asked for every packet: keyed as the standard library's are, so that nobody
//! outside can choose keys that collide, and several times as fast.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

/// A map with keys of some bytes: ids, addresses.
pub type QuickMap<K, V> = HashMap<K, V, QuickState>;

/// Spreads what is mixed over all bits: 2⁶⁴ divided by the golden ratio, made odd.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// The secret of one map.
#[derive(Clone, Copy, Debug)]
pub struct QuickState {
    first: u64,
    /// Odd.
    factor: u64,
}

impl Default for QuickState {
    fn default() -> Self {
        let random = RandomState::new();
        Self { first: random.hash_one(0), factor: random.hash_one(1) | 1 }
    }
}

impl BuildHasher for QuickState {
    type Hasher = QuickHasher;

    fn build_hasher(&self) -> QuickHasher {
        QuickHasher { state: self.first, factor: self.factor }
    }
}

/// Mixes a key eight bytes at a time: each is multiplied by the secret to 128 bits, and the upper
/// half folded into the lower.
#[derive(Clone, Copy, Debug)]
pub struct QuickHasher {
    state: u64,
    factor: u64,
}

impl Hasher for QuickHasher {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.write_u64(u64::from_le_bytes(*word));
        }
        if !rest.is_empty() {
            let mut word = [0; 8];
            word[..rest.len()].copy_from_slice(rest);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u64(&mut self, word: u64) {
        let product = u128::from(self.state ^ word) * u128::from(self.factor);
        // Added to, not replaced: a word that makes the product 0 must not wipe out those before.
        self.state =
            self.state.rotate_left(23).wrapping_add((product >> 64) as u64 ^ product as u64);
    }

    fn write_u8(&mut self, number: u8) {
        self.write_u64(number.into());
    }

    fn write_u16(&mut self, number: u16) {
        self.write_u64(number.into());
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(number.into());
    }

    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }

    fn finish(&self) -> u64 {
        // A secret whose upper bits are poor would leave keys of few bits where they are: the table
        // looks at the lowest and the highest only. So every bit is folded in once more.
        let product = u128::from(self.state) * u128::from(SPREAD);
        (product >> 64) as u64 ^ product as u64
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::net::SocketAddr;

    use super::*;

    /// How many of the keys share the low bits and the high ones with another, as far as a table of
    /// as many places looks at them.
    fn collisions<K: std::hash::Hash>(keys: impl Iterator<Item = K> + Clone) -> [usize; 2] {
        let state = QuickState::default();
        [0, 48].map(|shift| {
            let hashes = keys.clone().map(|key| state.hash_one(key) >> shift & 0xffff);
            let count = hashes.clone().count();
            count - hashes.collect::<HashSet<_>>().len()
        })
    }

    #[test]
    fn keys_that_are_alike_are_spread_as_chance_would() {
        let ways = (0..16_384_u16).map(|n| {
            let [from, to] = [10_000 + n, 30_000 + 2 * n].map(|port| ([192, 0, 2, 1], port));
            (SocketAddr::from(from), SocketAddr::from(to))
        });
        // Of 16 384 keys in 65 536 places, chance has 1 900 share one.
        for found in
            collisions(ways.clone()).into_iter().chain(collisions((0..16_384_u64).map(|n| n << 7)))
        {
            assert!(found < 4000, "{found} collisions");
        }
        let map: QuickMap<_, _> = ways.clone().zip(0..).collect();
        assert!(ways.zip(0..).all(|(way, n)| map.get(&way) == Some(&n)));
    }

    #[test]
    fn two_maps_have_two_secrets() {
        let hashes = [QuickState::default(), QuickState::default()].map(|state| state.hash_one(7));
        assert_ne!(hashes[0], hashes[1]);
    }
}
