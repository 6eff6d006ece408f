//! Blocks of ports, one a test, whichever tests run at the same time.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

/// Ports in a block: enough RTP ports for forty calls, since a port rests between two calls.
const SIZE: u16 = 200;
/// The first block; all lie below the kernel's range for unnamed sockets (32768 and up).
const FIRST: u16 = 20_000;
/// How many blocks there are.
const COUNT: u16 = 60;

/// Two hundred ports that are ours until this is dropped.
///
/// The first port of the block is kept listening over TCP, which tells every other test, in this
/// process or another, that the block is taken.
pub struct Ports {
    base: u16,
    _claim: TcpListener,
}

impl Ports {
    /// Takes a free block.
    ///
    /// # Panics
    /// If all are taken.
    pub fn claim() -> Self {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        // Another process starts elsewhere, so that the search is short.
        let start = (std::process::id() % u32::from(COUNT)) as u16;
        for _ in 0..COUNT {
            let index = (start + NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT;
            let base = FIRST + index * SIZE;
            if let Ok(claim) = TcpListener::bind((Ipv4Addr::LOCALHOST, base)) {
                return Self { base, _claim: claim };
            }
        }
        panic!("no free block of ports between {FIRST} and {}", FIRST + COUNT * SIZE);
    }

    /// A port of the block, 1 to 199.
    pub fn port(&self, offset: u16) -> u16 {
        assert!((1..SIZE).contains(&offset), "offset {offset} is outside the block");
        self.base + offset
    }

    /// SIP, UDP and TCP.
    pub fn sip(&self) -> u16 {
        self.port(2)
    }

    /// HTTP.
    pub fn web(&self) -> u16 {
        self.port(4)
    }

    /// RTP: first and last.
    pub fn rtp(&self) -> (u16, u16) {
        (self.port(40), self.port(199))
    }
}
