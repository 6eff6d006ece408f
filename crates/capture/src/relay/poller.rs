//! Waits for sockets, and can be woken: epoll and an eventfd.
//!
//! Level-triggered on purpose: one read per event then suffices. Edge-triggering (and so `mio`)
//! needs to read until nothing is left: with a second `recv` a packet costs 1.06 times as much, with
//! a `recvmmsg` of two 1.10 times. Nor is it worth waiting for more packets to come: 0.3 ms of
//! gathering cost as much as none (500 calls, 20 ms packets; see `tests/benches/relay`).

use rustix::buffer::spare_capacity;
use rustix::event::{EventfdFlags, Timespec, epoll, eventfd};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// Events taken at once.
const BATCH: usize = 512;
const WAKE: u64 = u64::MAX;

/// What was waited for.
#[derive(Debug)]
pub(super) struct Poller {
    epoll: OwnedFd,
    wake: Arc<OwnedFd>,
}

/// Room for what [`Poller::wait`] brings. Stays in the thread that made it.
pub(super) struct Ready {
    events: Vec<epoll::Event>,
    tokens: Vec<u64>,
}

impl Ready {
    pub(super) fn new() -> Self {
        Self { events: Vec::with_capacity(BATCH), tokens: Vec::with_capacity(BATCH) }
    }

    /// The readable sockets' tokens.
    pub(super) fn tokens(&self) -> &[u64] {
        &self.tokens
    }
}

/// Wakes a [`Poller`] from another thread.
#[derive(Clone, Debug)]
pub(super) struct Waker(Arc<OwnedFd>);

impl Waker {
    pub(super) fn wake(&self) {
        // It can only fail when it has been woken 2^64 - 1 times unheard.
        let _ = rustix::io::write(&*self.0, &1_u64.to_ne_bytes());
    }
}

impl Poller {
    pub(super) fn new() -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        epoll::add(&epoll, &wake, epoll::EventData::new_u64(WAKE), epoll::EventFlags::IN)?;
        Ok(Self { epoll, wake: Arc::new(wake) })
    }

    pub(super) fn waker(&self) -> Waker {
        Waker(Arc::clone(&self.wake))
    }

    /// Watches a socket until it is closed.
    pub(super) fn add(&self, socket: impl AsFd, token: u64) -> io::Result<()> {
        let data = epoll::EventData::new_u64(token);
        Ok(epoll::add(&self.epoll, socket, data, epoll::EventFlags::IN)?)
    }

    /// Waits, fills `ready` with what is readable, and says whether it was woken.
    pub(super) fn wait(&self, timeout: Option<Duration>, ready: &mut Ready) -> io::Result<bool> {
        ready.tokens.clear();
        ready.events.clear();
        let timeout = timeout.map(|timeout| Timespec {
            tv_sec: timeout.as_secs() as i64,
            tv_nsec: timeout.subsec_nanos().into(),
        });
        match epoll::wait(&self.epoll, spare_capacity(&mut ready.events), timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(err) => return Err(err.into()),
        }
        let mut woken = false;
        for event in &ready.events {
            // Read field by field: the kernel's struct is packed.
            let data = event.data;
            match data.u64() {
                WAKE => woken = true,
                token => ready.tokens.push(token),
            }
        }
        if woken {
            let _ = rustix::io::read(&*self.wake, &mut [0; 8]);
        }
        Ok(woken)
    }
}
