//! The fuzz targets, run a fixed number of times over mutations of their seeds: the same on every
//! machine and in every run, so what fails here fails again.
#![allow(clippy::unwrap_used, missing_docs)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

#[path = "../fuzz/src/lib.rs"]
mod checks;

/// The longest segment, in bytes.
const LONGEST: usize = 16 << 10;

/// A generator whose numbers depend on its seed alone (xorshift64*).
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(number).unwrap() % end.max(1)
    }

    fn mutate(&mut self, octets: &mut Vec<u8>, other: &[u8]) {
        for _ in 0..=self.below(5) {
            let at = self.below(octets.len() + 1);
            let end = (at + 1 + self.below(32)).min(octets.len());
            match self.below(7) {
                0 if at < octets.len() => octets[at] ^= 1 << self.below(8),
                1 if at < octets.len() => octets[at] = [0, 0x7f, 0x80, 0xff][self.below(4)],
                2 => drop(octets.drain(at.min(end)..end)),
                3 => octets.truncate(at),
                4 => {
                    let from = self.below(other.len() + 1);
                    let to = (from + self.below(200)).min(other.len());
                    octets.splice(at..at, other[from..to].iter().copied());
                }
                5 => {
                    let again = octets[at.min(end)..end].repeat(1 + self.below(40));
                    octets.splice(at..at, again);
                }
                _ => {
                    let some: Vec<u8> = (0..self.below(8)).map(|_| self.below(256) as u8).collect();
                    octets.splice(at..at, some);
                }
            }
        }
        octets.truncate(LONGEST);
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds");
    let mut files: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|it| it == "journal"));
    files.sort();
    assert!(files.len() > 5, "there are seeds");
    files.iter().map(|file| std::fs::read(file).unwrap()).collect()
}

fn run(name: &str, mutations: usize) {
    let (_, target) = checks::TARGETS.into_iter().find(|(target, _)| *target == name).unwrap();
    let check = |octets: &[u8]| {
        let result = catch_unwind(AssertUnwindSafe(|| target(octets)));
        assert!(result.is_ok(), "{name}: {octets:02x?}");
    };
    let seeds = seeds();
    let mut random = Random(0x5eed_0001);
    for seed in &seeds {
        check(seed);
        for _ in 0..mutations {
            let mut octets = seed.clone();
            let other = &seeds[random.below(seeds.len())];
            random.mutate(&mut octets, other);
            check(&octets);
        }
    }
}

#[test]
fn segment() {
    run("segment", 2000);
}

#[test]
fn recovery() {
    run("recovery", 40);
}
