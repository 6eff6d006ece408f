//! Chance that is the same on every machine and in every run, for tests: what fails with it fails
//! again.
//!
//! [`Dice`] decides and damages; [`try_mutations`] runs a fuzz target a fixed number of times
//! over damaged seeds, so that `cargo test` tries on every machine what a fuzzer tried once.

use std::ops::RangeInclusive;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};

/// A generator whose numbers depend on its seed alone (xorshift64*).
#[derive(Clone, Debug)]
pub struct Dice(u64);

/// Pieces up to this long are put in whole, longer ones in part.
const WHOLE_PIECE: usize = 20;

impl Dice {
    /// Any seed will do, neighbours as well.
    pub const fn new(seed: u64) -> Self {
        // Zero would stay zero.
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number of 32 bits.
    pub fn roll(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32
    }

    /// A number from 0 to `end`, without it; 0 if `end` is 0.
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.roll()).unwrap_or(0) % end.max(1)
    }

    /// True so many times of a hundred.
    pub fn percent(&mut self, chance: u64) -> bool {
        self.roll() % 100 < chance
    }

    /// So many octets as the range allows, of any value.
    pub fn octets(&mut self, count: RangeInclusive<usize>) -> Vec<u8> {
        let spread = count.end().saturating_sub(*count.start());
        let count = count.start() + self.below(spread + 1);
        (0..count).map(|_| self.roll() as u8).collect()
    }

    /// `good` with some octets changed, lost, repeated or put in, in one to six ways; what is put
    /// in comes from `pieces` too. No more than `longest` octets.
    pub fn damaged(&mut self, good: &[u8], pieces: &[&[u8]], longest: usize) -> Vec<u8> {
        let mut octets = good.to_vec();
        for _ in 0..=self.below(6) {
            self.damage(&mut octets, pieces, longest);
        }
        octets.truncate(longest);
        octets
    }

    fn damage(&mut self, octets: &mut Vec<u8>, pieces: &[&[u8]], longest: usize) {
        let at = self.below(octets.len() + 1);
        let end = (at + 1 + self.below(32)).min(octets.len());
        let stretch = at.min(end)..end;
        match self.below(10) {
            0 if at < octets.len() => octets[at] ^= 1 << self.below(8),
            1 if at < octets.len() => octets[at] = [0, 0x7f, 0x80, 0xff][self.below(4)],
            2 if at < octets.len() => octets.swap(at, 0),
            3 => drop(octets.drain(stretch)),
            4 => octets[stretch].fill(0),
            5 => octets.truncate(at),
            6 => {
                let again = octets[stretch].repeat(1 + self.below(longest / 32));
                octets.splice(at..at, again);
            }
            7 | 8 if !pieces.is_empty() => {
                let mut piece = pieces[self.below(pieces.len())];
                if piece.len() > WHOLE_PIECE {
                    let from = self.below(piece.len());
                    piece = &piece[from..(from + 1 + self.below(200)).min(piece.len())];
                }
                octets.splice(at..at, piece.iter().copied());
            }
            _ => {
                let some = self.octets(0..=8);
                octets.splice(at..at, some);
            }
        }
    }
}

/// The files of a folder, in the order of their names.
///
/// # Panics
/// If there is none, or one cannot be read.
pub fn seeds(folder: &Path) -> Vec<Vec<u8>> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(err) => panic!("{}: {err}", folder.display()),
    };
    let mut files: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.sort();
    assert!(!files.is_empty(), "{} has no seeds", folder.display());
    let read = |file: &PathBuf| match std::fs::read(file) {
        Ok(octets) => octets,
        Err(err) => panic!("{}: {err}", file.display()),
    };
    files.iter().map(read).collect()
}

/// What [`try_mutations`] does to each seed.
#[derive(Clone, Copy, Debug)]
pub struct Mutations<'a> {
    /// How many damaged copies of each seed are tried.
    pub of_each: usize,
    /// The longest of them, in octets; every 64th may be 16 times as long.
    pub longest: usize,
    /// What is put in besides pieces of other seeds.
    pub pieces: &'a [&'a [u8]],
}

/// Gives `check` every seed, and damaged copies of it.
///
/// # Panics
/// If `check` does, after printing the octets.
#[allow(clippy::print_stderr, reason = "it belongs to the test's own report")]
pub fn try_mutations(seeds: &[Vec<u8>], how: Mutations<'_>, mut check: impl FnMut(&[u8])) {
    let mut check = |octets: &[u8]| {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| check(octets))) {
            eprintln!("it failed on {} octets: {}", octets.len(), octets.escape_ascii());
            resume_unwind(panic);
        }
    };
    let mut dice = Dice::new(0x5eed_0001);
    for seed in seeds {
        check(seed);
        for number in 0..how.of_each {
            let longest = if number % 64 == 63 { 16 * how.longest } else { how.longest };
            let other = &seeds[dice.below(seeds.len())];
            let pieces: Vec<&[u8]> = how.pieces.iter().copied().chain([other.as_slice()]).collect();
            // A piece of another seed is worth as much as all the others together.
            let pieces = if dice.percent(50) { &pieces[how.pieces.len()..] } else { &pieces };
            check(&dice.damaged(seed, pieces, longest));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same() {
        let rolls = |seed| {
            let mut dice = Dice::new(seed);
            let good = [7; 300];
            (0..200).map(|_| dice.damaged(&good, &[b"token"], 400)).collect::<Vec<_>>()
        };
        assert_eq!(rolls(1), rolls(1));
        assert_ne!(rolls(1), rolls(2));
        assert!(rolls(0).iter().all(|octets| octets.len() <= 400));
        assert!(rolls(0).iter().any(|octets| octets.windows(5).any(|part| part == b"token")));
    }

    #[test]
    fn every_number_below_comes() {
        let mut dice = Dice::new(3);
        let mut seen = [0; 7];
        (0..7000).for_each(|_| seen[dice.below(7)] += 1);
        assert!(seen.iter().all(|&times| (800..1200).contains(&times)), "{seen:?}");
        assert_eq!((dice.below(0), dice.below(1)), (0, 0));
    }

    #[test]
    fn what_fails_fails_again() {
        let seeds = [vec![1; 40]];
        let how = Mutations { of_each: 50, longest: 64, pieces: &[] };
        let first = |limit| {
            let mut seen = 0;
            let tried = catch_unwind(AssertUnwindSafe(|| {
                try_mutations(&seeds, how, |octets| {
                    seen += 1;
                    assert!(octets.len() < limit);
                });
            }));
            (seen, tried.is_err())
        };
        assert_eq!(first(50), first(50));
        assert!(first(50).1 && !first(usize::MAX).1);
        assert_eq!(first(usize::MAX).0, 51);
    }
}
