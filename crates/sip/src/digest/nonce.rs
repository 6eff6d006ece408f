//! Nonces that need no list, and the ledger of how often each was used (RFC 7616 §3.4, §5.5).
//!
//! A nonce carries its own time and a keyed hash of it, so that any number can be issued without
//! remembering one. Only a nonce that was answered with the right password enters the ledger.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::{Credentials, hex, is_equal};

/// Makes nonces and knows its own again.
#[derive(Clone)]
pub struct Nonces {
    secret: [u8; 32],
    lifetime: Duration,
}

/// What a nonce in a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NonceState {
    /// Ours and in time.
    Fresh,
    /// Ours but too old: challenge again with `stale=true`, so that the phone does not ask its
    /// user for the password.
    Stale,
    /// Not ours.
    Foreign,
}

impl Nonces {
    /// `secret` must be random; whoever knows it can forge nonces (not responses).
    pub fn new(secret: [u8; 32], lifetime: Duration) -> Self {
        Self { secret, lifetime }
    }

    /// A nonce of this moment: seconds since any fixed time, the same one in [`Nonces::check`].
    pub fn issue(&self, now_s: u64) -> String {
        format!("{now_s:016x}{}", self.seal(now_s))
    }

    /// Whether a nonce is ours and in time.
    pub fn check(&self, now_s: u64, nonce: &str) -> NonceState {
        let Some((time, seal)) = nonce.split_at_checked(16) else { return NonceState::Foreign };
        let Ok(issued_s) = u64::from_str_radix(time, 16) else { return NonceState::Foreign };
        if !is_equal(seal, &self.seal(issued_s)) {
            return NonceState::Foreign;
        }
        let age = now_s.saturating_sub(issued_s);
        if age > self.lifetime.as_secs() { NonceState::Stale } else { NonceState::Fresh }
    }

    fn seal(&self, time_s: u64) -> String {
        let mut hash = Sha256::new();
        hash.update(self.secret);
        hash.update(time_s.to_be_bytes());
        hash.update(self.secret);
        hex(&hash.finalize()[..16])
    }
}

impl fmt::Debug for Nonces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nonces").field("lifetime", &self.lifetime).finish_non_exhaustive()
    }
}

/// The time a nonce of [`Nonces`] says it was issued at.
fn issued_s(nonce: &str) -> Option<u64> {
    u64::from_str_radix(nonce.get(..16)?, 16).ok()
}

/// What an answer with the right password is to its nonce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NonceUse {
    /// This count was not used before.
    First,
    /// This very count was used before: an overheard answer played again, or a client that does
    /// not count. Challenge again with `stale=true`.
    Replayed,
    /// The ledger has had to forget nonces as old as this one, or the count is far behind those
    /// used since: challenge again with `stale=true`.
    Forgotten,
    /// The client does not count (RFC 2069), so nothing can be told.
    Uncounted,
}

/// How many counts behind the highest one are told apart: requests overtake each other on UDP.
const WINDOW: u64 = 64;

/// Remembers which counts of which nonces were used, for no more than so many nonces.
///
/// Feed it only credentials that were verified and whose nonce is [`NonceState::Fresh`]: then
/// nobody without a password can fill it. A nonce counts anew for each client nonce, since phones
/// behind one address may be given the same nonce within one second; an answer cannot be moved to
/// another client nonce without the password.
#[derive(Debug)]
pub struct NonceLedger {
    max_nonces: usize,
    lifetime_s: u64,
    uses: HashMap<[u8; 16], Uses>,
    /// The same, oldest first.
    by_age: BTreeSet<(u64, [u8; 16])>,
    /// Nonces issued up to then are no longer known.
    forgotten_s: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Uses {
    highest: u64,
    /// Bit n: `highest - n` was used.
    window: u64,
}

impl NonceLedger {
    /// An empty ledger. `lifetime` is that of the nonces.
    pub fn new(max_nonces: usize, lifetime: Duration) -> Self {
        Self {
            max_nonces: max_nonces.max(1),
            lifetime_s: lifetime.as_secs(),
            uses: HashMap::new(),
            by_age: BTreeSet::new(),
            forgotten_s: None,
        }
    }

    /// Notes one use. `now_s` counts as in [`Nonces::issue`].
    pub fn note(&mut self, now_s: u64, credentials: &Credentials) -> NonceUse {
        let Some(count) = credentials.count().filter(|_| credentials.qop.is_some()) else {
            return NonceUse::Uncounted;
        };
        let Some(issued_s) = issued_s(&credentials.nonce) else { return NonceUse::Forgotten };
        let key = key(credentials);
        if let Some(uses) = self.uses.get_mut(&key) {
            return uses.note(count);
        }
        self.expire(now_s);
        if self.forgotten_s.is_some_and(|forgotten_s| issued_s <= forgotten_s) {
            return NonceUse::Forgotten;
        }
        if self.uses.len() >= self.max_nonces {
            self.forget_oldest();
        }
        self.uses.insert(key, Uses { highest: count, window: 1 });
        self.by_age.insert((issued_s, key));
        NonceUse::First
    }

    /// How many nonces are remembered.
    pub fn len(&self) -> usize {
        self.uses.len()
    }

    /// Whether none is remembered.
    pub fn is_empty(&self) -> bool {
        self.uses.is_empty()
    }

    /// Drops nonces that [`Nonces::check`] calls stale by now: they cannot be used again.
    fn expire(&mut self, now_s: u64) {
        while let Some((issued_s, key)) = self.by_age.first().copied()
            && now_s.saturating_sub(issued_s) > self.lifetime_s
        {
            self.by_age.pop_first();
            self.uses.remove(&key);
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((issued_s, key)) = self.by_age.pop_first() {
            self.uses.remove(&key);
            self.forgotten_s = self.forgotten_s.max(Some(issued_s));
        }
    }
}

impl Uses {
    fn note(&mut self, count: u64) -> NonceUse {
        if count > self.highest {
            let ahead = count - self.highest;
            self.window = if ahead < WINDOW { self.window << ahead } else { 0 } | 1;
            self.highest = count;
            return NonceUse::First;
        }
        let behind = self.highest - count;
        if behind >= WINDOW {
            return NonceUse::Forgotten;
        }
        let bit = 1 << behind;
        if self.window & bit != 0 {
            return NonceUse::Replayed;
        }
        self.window |= bit;
        NonceUse::First
    }
}

/// Nonce, user and client nonce in 16 bytes, so that an entry's size does not depend on them.
fn key(credentials: &Credentials) -> [u8; 16] {
    let mut hash = Sha256::new();
    for part in
        [&credentials.nonce, &credentials.user, credentials.cnonce.as_deref().unwrap_or_default()]
    {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let mut key = [0; 16];
    key.copy_from_slice(&hash.finalize()[..16]);
    key
}

#[cfg(test)]
mod tests {
    use super::super::{Algorithm, Challenge};
    use super::*;

    #[test]
    fn nonces_are_ours_for_their_lifetime() {
        let nonces = Nonces::new([7; 32], Duration::from_secs(60));
        let nonce = nonces.issue(1000);
        for (now_s, want) in [
            (1000, NonceState::Fresh),
            (1060, NonceState::Fresh),
            (1061, NonceState::Stale),
            (900, NonceState::Fresh),
        ] {
            assert_eq!(nonces.check(now_s, &nonce), want);
        }
        let other = Nonces::new([8; 32], Duration::from_secs(60));
        let mut forged = nonce.clone();
        forged.replace_range(15..16, "f");
        for foreign in [other.issue(1000), forged, String::new(), "张".repeat(20)] {
            assert_eq!(nonces.check(1000, &foreign), NonceState::Foreign);
        }
    }

    fn used(nonce: &str, user: &str, cnonce: &str, count: u32) -> Credentials {
        Challenge::new("r", nonce, Algorithm::Md5, false)
            .answer(user, "k", "INVITE", "sip:h", cnonce, count)
    }

    #[test]
    fn each_count_is_good_once_in_any_order_near_the_highest() {
        let nonces = Nonces::new([7; 32], Duration::from_secs(300));
        let nonce = nonces.issue(1000);
        let mut ledger = NonceLedger::new(10, Duration::from_secs(300));
        for (count, want) in [
            (1, NonceUse::First),
            (1, NonceUse::Replayed),
            (3, NonceUse::First),
            (2, NonceUse::First),
            (2, NonceUse::Replayed),
            (3, NonceUse::Replayed),
            (200, NonceUse::First),
            (3, NonceUse::Forgotten),
            (137, NonceUse::First),
            (136, NonceUse::Forgotten),
            (u32::MAX, NonceUse::First),
        ] {
            assert_eq!(ledger.note(1001, &used(&nonce, "u", "c", count)), want, "{count}");
        }
        // Another phone with the same nonce, and the same phone that begins to count anew.
        for (user, cnonce) in [("v", "c"), ("u", "d")] {
            assert_eq!(ledger.note(1001, &used(&nonce, user, cnonce, 1)), NonceUse::First);
        }
        let mut old = used(&nonce, "u", "c", 1);
        old.qop = None;
        assert_eq!(ledger.note(1001, &old), NonceUse::Uncounted);
        assert_eq!(ledger.len(), 3);
    }

    #[test]
    fn the_ledger_is_bounded_and_what_it_forgot_is_not_good_again() {
        let nonces = Nonces::new([7; 32], Duration::from_secs(300));
        let mut ledger = NonceLedger::new(4, Duration::from_secs(300));
        for number in 0..100 {
            let nonce = nonces.issue(1000 + number);
            assert_eq!(ledger.note(1100, &used(&nonce, "u", "c", 1)), NonceUse::First);
            assert!(ledger.len() <= 4);
        }
        for (issued_s, want) in
            [(1000, NonceUse::Forgotten), (1095, NonceUse::Forgotten), (1096, NonceUse::Replayed)]
        {
            assert_eq!(ledger.note(1100, &used(&nonces.issue(issued_s), "u", "c", 1)), want);
        }
        // All have become too old to be used: there is room again.
        assert_eq!(ledger.note(1500, &used(&nonces.issue(1500), "u", "c", 1)), NonceUse::First);
        assert_eq!(ledger.len(), 1);
    }
}
