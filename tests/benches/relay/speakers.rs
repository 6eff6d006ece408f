//! Phones that only speak: sockets on loopback, a packet each every 20 ms.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

pub const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const PACKET_BYTES: usize = 172;
const PTIME: Duration = Duration::from_millis(20);
/// Slices of each 20 ms: calls are not in step, and what comes at once would come within a
/// millisecond.
const SLICES: u32 = 20;

/// Pairs of phones: 2n and 2n + 1 talk to each other.
pub struct Speakers {
    sockets: Vec<UdpSocket>,
    sequence_number: u16,
    slices: u32,
    /// Packets heard.
    pub heard: u64,
}

/// How long packets were on their way.
#[derive(Clone, Copy, Debug, Default)]
pub struct Times {
    pub p50: Duration,
    pub p99: Duration,
}

impl Speakers {
    pub fn new(count: usize) -> Self {
        let slices = std::env::var("SLICES").ok().and_then(|text| text.parse().ok());
        Self {
            sockets: (0..count).map(|_| bind()).collect(),
            sequence_number: 0,
            slices: slices.unwrap_or(SLICES),
            heard: 0,
        }
    }

    pub fn address(&self, index: usize) -> SocketAddr {
        self.sockets[index].local_addr().unwrap()
    }

    pub fn aim(&self, index: usize, to: SocketAddr) {
        self.sockets[index].connect(to).unwrap();
    }

    /// Every speaker says one packet per 20 ms, spread over the 20 ms, and hears what comes. How
    /// many were said comes back.
    pub fn speak(&mut self, rounds: u32) -> u64 {
        let mut buffer = [0; 2048];
        let start = Instant::now();
        let slices = self.slices;
        for round in 0..rounds {
            self.sequence_number = self.sequence_number.wrapping_add(1);
            for slice in 0..slices {
                let due = start + PTIME * round + PTIME * slice / slices;
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                let first = slice as usize;
                for index in (first..self.sockets.len()).step_by(slices as usize) {
                    let packet = packet(index as u32, self.sequence_number);
                    let _ = self.sockets[index].send(&packet);
                    while self.sockets[index].recv(&mut buffer).is_ok() {
                        self.heard += 1;
                    }
                }
            }
        }
        std::thread::sleep(Duration::from_millis(100));
        for socket in &self.sockets {
            while socket.recv(&mut buffer).is_ok() {
                self.heard += 1;
            }
        }
        u64::from(rounds) * self.sockets.len() as u64
    }
}

/// One call beside the others whose packets are timed.
pub struct Probe([UdpSocket; 2]);

impl Probe {
    /// The last call's phones.
    pub fn take(speakers: &mut Speakers) -> Self {
        let (b, a) = (speakers.sockets.pop().unwrap(), speakers.sockets.pop().unwrap());
        for socket in [&a, &b] {
            socket.set_nonblocking(false).unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        }
        Self([a, b])
    }

    /// How long packets were on their way during `work`, and what that returned.
    pub fn during<T>(self, work: impl FnOnce() -> T) -> (T, Times) {
        let is_over = AtomicBool::new(false);
        let Self([from, to]) = self;
        std::thread::scope(|scope| {
            let timing = scope.spawn(|| {
                let mut times = Vec::new();
                let mut buffer = [0; 2048];
                for sequence_number in 0_u16.. {
                    if is_over.load(Relaxed) {
                        break;
                    }
                    // The other side has to be known as well before it is answered.
                    let _ = to.send(&packet(0xffff_fff0, sequence_number));
                    let _ = from.set_nonblocking(true);
                    while from.recv(&mut buffer).is_ok() {}
                    let _ = from.set_nonblocking(false);
                    let said = Instant::now();
                    let _ = from.send(&packet(0xffff_fff1, sequence_number));
                    if to.recv(&mut buffer).is_ok() {
                        times.push(said.elapsed());
                    }
                    std::thread::sleep(Duration::from_millis(7));
                }
                times.sort_unstable();
                let percentile =
                    |of: usize| times.get(times.len() * of / 100).copied().unwrap_or(Duration::MAX);
                Times { p50: percentile(50), p99: percentile(99) }
            });
            let done = work();
            is_over.store(true, Relaxed);
            (done, timing.join().unwrap())
        })
    }
}

fn packet(ssrc: u32, sequence_number: u16) -> [u8; PACKET_BYTES] {
    let mut packet = [0xd5; PACKET_BYTES];
    packet[..2].copy_from_slice(&[0x80, 8]);
    packet[2..4].copy_from_slice(&sequence_number.to_be_bytes());
    packet[4..8].copy_from_slice(&(u32::from(sequence_number) * 160).to_be_bytes());
    packet[8..12].copy_from_slice(&ssrc.to_be_bytes());
    packet
}

fn bind() -> UdpSocket {
    let socket = UdpSocket::bind((LOCALHOST, 0)).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket
}

/// CPU seconds of one send and one recv, the best of five.
pub fn bare_pair() -> f64 {
    let pairs: Vec<(UdpSocket, UdpSocket)> = (0..256)
        .map(|_| {
            let (from, to) = (bind(), bind());
            from.connect(to.local_addr().unwrap()).unwrap();
            to.connect(from.local_addr().unwrap()).unwrap();
            (from, to)
        })
        .collect();
    let mut buffer = [0; 2048];
    let rounds = 400;
    let main = std::process::id().to_string();
    let spent = || {
        let path = format!("/proc/self/task/{main}/schedstat");
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.split(' ').next().and_then(|it| it.parse::<f64>().ok()).unwrap_or(0.0) / 1e9
    };
    (0..5)
        .map(|_| {
            let before = spent();
            for _ in 0..rounds {
                for (from, to) in &pairs {
                    from.send(&[0xd5; PACKET_BYTES]).unwrap();
                    to.recv(&mut buffer).unwrap();
                }
            }
            (spent() - before) / f64::from(rounds * 256)
        })
        .fold(f64::INFINITY, f64::min)
}

/// Seconds on the CPU so far of those threads of a process whose name is wanted.
pub fn cpu_seconds(process: &str, is_wanted: impl Fn(&str) -> bool) -> f64 {
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{process}/task")) else { return 0.0 };
    tasks
        .filter_map(|task| {
            let path = task.ok()?.path();
            let name = std::fs::read_to_string(path.join("comm")).ok()?;
            let spent = std::fs::read_to_string(path.join("schedstat")).ok()?;
            let nanoseconds: f64 = spent.split(' ').next()?.parse().ok()?;
            is_wanted(name.trim()).then_some(nanoseconds / 1e9)
        })
        .sum()
}
