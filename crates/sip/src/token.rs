//! Unguessable identifiers: branches, tags, Call-IDs, client nonces.

use sha2::{Digest as _, Sha256};

use crate::via::MAGIC_COOKIE;

/// Makes identifiers that do not repeat and cannot be guessed (RFC 3261 §19.3), out of one random
/// seed.
#[derive(Clone)]
pub struct Tokens {
    seed: [u8; 32],
    count: u64,
}

impl Tokens {
    /// `seed` must be random and never used before.
    pub fn new(seed: [u8; 32]) -> Self {
        Self { seed, count: 0 }
    }

    /// 20 hex digits: 80 bits.
    pub fn token(&mut self) -> String {
        self.count += 1;
        let mut hash = Sha256::new();
        hash.update(self.seed);
        hash.update(self.count.to_be_bytes());
        let digest = hash.finalize();
        let number = digest[..10].iter().fold(0u128, |sum, byte| sum << 8 | u128::from(*byte));
        format!("{number:020x}")
    }

    /// A branch of RFC 3261 (§8.1.1.7).
    pub fn branch(&mut self) -> String {
        format!("{MAGIC_COOKIE}{}", self.token())
    }
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokens").field("count", &self.count).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_differ_by_count_and_seed() {
        let mut tokens = Tokens::new([1; 32]);
        let (one, two) = (tokens.token(), tokens.token());
        assert_ne!(one, two);
        assert_eq!(one.len(), 20);
        assert_ne!(one, Tokens::new([2; 32]).token());
        assert!(tokens.branch().starts_with(MAGIC_COOKIE));
    }
}
