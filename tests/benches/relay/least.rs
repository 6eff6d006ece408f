//! The least that any relay in user space does: wait for many sockets, `recv`, `send` to the other
//! side. No source is learned, nothing is looked at, counted or recorded. What a relay costs beyond
//! this is its own; the rest is the system's.

use crate::Seen;
use crate::speakers::{LOCALHOST, Probe, Speakers, cpu_seconds};
use rustix::event::{EventfdFlags, epoll, eventfd};
use rustix::fd::OwnedFd;
use std::net::UdpSocket;
use std::thread::JoinHandle;

/// The token of the eventfd that ends a thread.
const STOP: u64 = u64::MAX;

pub fn run(calls: usize, seconds: u32) -> Seen {
    let mut speakers = Speakers::new(2 * calls + 2);
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    // Socket 2n faces phone 2n; both of a call are side by side in one thread.
    let mut sockets: Vec<Vec<UdpSocket>> = (0..count).map(|_| Vec::new()).collect();
    for phone in 0..2 * calls + 2 {
        let socket = UdpSocket::bind((LOCALHOST, 0)).unwrap();
        socket.set_nonblocking(true).unwrap();
        socket.connect(speakers.address(phone)).unwrap();
        speakers.aim(phone, socket.local_addr().unwrap());
        sockets[phone / 2 % count].push(socket);
    }
    let threads: Vec<(OwnedFd, JoinHandle<()>)> = sockets.into_iter().map(start).collect();
    let probe = Probe::take(&mut speakers);
    speakers.speak(25);
    let cpu = || cpu_seconds("self", |name| name == "least");
    let before = cpu();
    speakers.heard = 0;
    let (spoken, times) = probe.during(|| speakers.speak(50 * seconds));
    let cpu_seconds = cpu() - before;
    for (stop, thread) in threads {
        rustix::io::write(&stop, &1_u64.to_ne_bytes()).unwrap();
        thread.join().unwrap();
    }
    Seen {
        cpu_seconds,
        packets: speakers.heard,
        lost: spoken.saturating_sub(speakers.heard),
        times,
        ..Seen::default()
    }
}

fn start(sockets: Vec<UdpSocket>) -> (OwnedFd, JoinHandle<()>) {
    let stop = eventfd(0, EventfdFlags::CLOEXEC).unwrap();
    let poller = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
    let add = |it: rustix::fd::BorrowedFd<'_>, token| {
        epoll::add(&poller, it, epoll::EventData::new_u64(token), epoll::EventFlags::IN).unwrap();
    };
    add(rustix::fd::AsFd::as_fd(&stop), STOP);
    for (socket, token) in sockets.iter().zip(0..) {
        add(rustix::fd::AsFd::as_fd(socket), token);
    }
    let thread = std::thread::Builder::new().name("least".into()).spawn(move || {
        let mut events = Vec::with_capacity(512);
        let mut buffer = [0; 2048];
        loop {
            events.clear();
            epoll::wait(&poller, rustix::buffer::spare_capacity(&mut events), None).unwrap();
            for event in &events {
                let data = event.data;
                if data.u64() == STOP {
                    return;
                }
                let index = data.u64() as usize;
                if let Ok(len) = sockets[index].recv(&mut buffer) {
                    let _ = sockets[index ^ 1].send(&buffer[..len]);
                }
            }
        }
    });
    (stop, thread.unwrap())
}
