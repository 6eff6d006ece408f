//! The fuzz targets, run a fixed number of times over mutations of their seeds.
//!
//! The same on every machine and in every run: what fails here fails again. It also measures that
//! reading needs memory in proportion to what is read.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, missing_docs)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::path::Path;

use cheling_dice::{Mutations, seeds, try_mutations};

#[path = "../fuzz/src/lib.rs"]
mod checks;

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

fn run(name: &str) {
    let (_, target) = checks::TARGETS.into_iter().find(|(target, _)| *target == name).unwrap();
    let seeds = seeds(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(name));
    let how = Mutations { of_each: 300, longest: 4096, pieces: &TOKENS };
    try_mutations(&seeds, how, |octets| {
        let most = most_bytes(|| target(octets));
        let limit = octets.len() * BYTES_PER_BYTE + BYTES_BESIDES;
        assert!(most <= limit, "{most} bytes in use for {}", octets.len());
    });
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
