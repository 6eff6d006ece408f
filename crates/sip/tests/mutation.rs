//! The fuzz targets, run a fixed number of times over mutations of their seeds.
//!
//! The same on every machine and in every run: what fails here fails again. It also measures that
//! reading needs memory in proportion to what is read.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, missing_docs)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

#[path = "../fuzz/src/lib.rs"]
mod checks;

/// How many mutations of each seed are tried.
const MUTATIONS: usize = 300;
/// The longest mutation, in bytes; every 64th may be [`LONGEST`].
const LONG: usize = 4096;
const LONGEST: usize = 65_536;
/// Memory in use at once, for each byte read and besides.
const BYTES_PER_BYTE: usize = 128;
const BYTES_BESIDES: usize = 128 * 1024;

/// Counts what this thread has in use, and the most it had.
struct Counting;

thread_local! {
    static IN_USE: Cell<isize> = const { Cell::new(0) };
    static MOST: Cell<isize> = const { Cell::new(0) };
}

fn count(change: isize) {
    // Fails only while the thread ends, when nobody measures.
    let _ = IN_USE.try_with(|in_use| {
        in_use.set(in_use.get() + change);
        let _ = MOST.try_with(|most| most.set(most.get().max(in_use.get())));
    });
}

// SAFETY: every call goes on to `System` as it came; counting neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promises are those `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: as above.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// The most memory that `run` had in use at once, beyond what there was before.
fn most_bytes(run: impl FnOnce()) -> usize {
    let before = IN_USE.get();
    MOST.set(before);
    run();
    usize::try_from(MOST.get() - before).unwrap_or(0)
}

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
}

/// What parsers trip over.
const TOKENS: [&[u8]; 40] = [
    b"\r\n",
    b"\n",
    b"\r\n ",
    b"\r\n\r\n",
    b"\r",
    b"\0",
    b"\t",
    b";",
    b",",
    b":",
    b"=",
    b"?",
    b"&",
    b"\"",
    b"\\",
    b"<",
    b">",
    b"@",
    b"%",
    b"%00",
    b"%3B",
    b"[",
    b"]",
    b"[::1]",
    b"--",
    b"*",
    b"(",
    b"\xff",
    b"\xd5\xc5",
    b"\x81\x5c",
    "张".as_bytes(),
    b"18446744073709551616",
    b"4294967295",
    b"-1",
    b";tag=",
    b"\r\nl: ",
    b"\r\nVia: ",
    b"sip:",
    b"tel:",
    b"SIP/2.0 ",
];

fn mutate(random: &mut Random, octets: &mut Vec<u8>, other: &[u8], longest: usize) {
    for _ in 0..=random.below(6) {
        let at = random.below(octets.len() + 1);
        let end = (at + 1 + random.below(32)).min(octets.len());
        match random.below(9) {
            0 if at < octets.len() => octets[at] ^= 1 << random.below(8),
            1 if at < octets.len() => octets[at] = u8::try_from(random.below(256)).unwrap(),
            2 => {
                octets.drain(at.min(end)..end);
            }
            3 => octets.truncate(at),
            4 => {
                let from = random.below(other.len() + 1);
                let to = (from + random.below(200)).min(other.len());
                octets.splice(at..at, other[from..to].iter().copied());
            }
            5 => {
                let again = octets[at.min(end)..end].repeat(1 + random.below(longest / 32));
                octets.splice(at..at, again);
            }
            6 if at < octets.len() => octets.swap(at, 0),
            _ => {
                let token = TOKENS[random.below(TOKENS.len())];
                octets.splice(at..at, token.iter().copied());
            }
        }
        if octets.is_empty() {
            octets.push(b'x');
        }
    }
    octets.truncate(longest);
}

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    let mut files: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{target} has seeds");
    files.iter().map(|file| std::fs::read(file).unwrap()).collect()
}

fn check(target: &str, check: checks::Check, octets: &[u8]) {
    let mut result = Ok(());
    let most = most_bytes(|| result = catch_unwind(AssertUnwindSafe(|| check(octets))));
    let shown = || octets.escape_ascii().to_string();
    assert!(result.is_ok(), "{target}: {}", shown());
    let limit = octets.len() * BYTES_PER_BYTE + BYTES_BESIDES;
    assert!(most <= limit, "{target}: {most} bytes in use for {}: {:.2000}", octets.len(), shown());
}

fn run(name: &str) {
    let (_, target) = checks::TARGETS.into_iter().find(|(target, _)| *target == name).unwrap();
    let seeds = seeds(name);
    let mut random = Random(0x5eed_0001);
    for seed in &seeds {
        check(name, target, seed);
        for number in 0..MUTATIONS {
            let longest = if number % 64 == 63 { LONGEST } else { LONG };
            let mut octets = seed.clone();
            let other = &seeds[random.below(seeds.len())];
            mutate(&mut random, &mut octets, other, longest);
            check(name, target, &octets);
        }
    }
}

macro_rules! targets {
    ($($name:ident)*) => {$(
        #[test]
        fn $name() {
            run(stringify!($name));
        }
    )*};
}

targets! { message sdp multipart uri digest framing fields }
