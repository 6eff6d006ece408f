//! What relaying costs: CPU time per G.711 packet of the relay threads, alone and with the tap,
//! as a multiple of the cost of a bare `send` + `recv` pair over 256 connected loopback sockets
//! measured in the same run.
//!
//! `cargo bench -p cheling-capture --bench relay`. Prints ratios, because nanoseconds of two
//! machines do not compare.

#![allow(clippy::print_stdout)]

use cheling_call::io::RelayRemote;
use cheling_capture::clock::AnchoredClock;
use cheling_capture::relay::{RelayConfig, Relays, Report};
use cheling_capture::sink::{SpareBlocks, TapSink};
use cheling_model::tap::TapBlock;
use cheling_model::{CallId, Lane, TapEvent, Timestamp};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const PACKET_BYTES: usize = 172;
const PTIME: Duration = Duration::from_millis(20);

fn main() {
    let pair = bare_pair();
    println!("bare send + recv pair, 256 connected sockets: {:.0} ns", pair * 1e9);
    for calls in [64, 500] {
        for tap in [Tap::Off, Tap::On] {
            let run = relay(calls, tap);
            println!(
                "{calls:>4} calls, {}: {:.2} bare pairs a packet ({:.0} ns), {} packets, \
                 {:.3} % lost, {} not recorded",
                if tap == Tap::On { "relay + tap" } else { "relay alone" },
                run.seconds_per_packet / pair,
                run.seconds_per_packet * 1e9,
                run.relayed,
                run.lost_percent,
                run.not_recorded,
            );
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Tap {
    Off,
    On,
}

struct Run {
    seconds_per_packet: f64,
    relayed: u64,
    lost_percent: f64,
    not_recorded: u64,
}

/// CPU seconds of one send and one recv, the best of five.
fn bare_pair() -> f64 {
    let sockets: Vec<(UdpSocket, UdpSocket)> = (0..256)
        .map(|_| {
            let (from, to) = (bind(), bind());
            from.connect(to.local_addr().expect("bound")).expect("loopback");
            to.connect(from.local_addr().expect("bound")).expect("loopback");
            (from, to)
        })
        .collect();
    let packet = [0xd5; PACKET_BYTES];
    let mut buffer = [0; 2048];
    let rounds = 400;
    (0..5)
        .map(|_| {
            let before = cpu_seconds("self");
            for _ in 0..rounds {
                for (from, to) in &sockets {
                    from.send(&packet).expect("loopback");
                    to.recv(&mut buffer).expect("just sent");
                }
            }
            (cpu_seconds("self") - before) / f64::from(rounds * 256)
        })
        .fold(f64::INFINITY, f64::min)
}

struct Recycling {
    blocks: SyncSender<TapBlock>,
}

impl TapSink for Recycling {
    fn packets(&self, block: TapBlock) -> Result<(), TapBlock> {
        self.blocks.try_send(block).map_err(|err| match err {
            TrySendError::Full(block) | TrySendError::Disconnected(block) => block,
        })
    }
    fn event(&self, _: TapEvent) {}
}

/// Runs `calls` calls for some seconds, both sides speaking a packet every 20 ms, and divides the
/// relay threads' CPU time by the packets they relayed.
fn relay(calls: usize, tap: Tap) -> Run {
    let mut config = RelayConfig::at(LOCALHOST);
    config.ports = 20_000..=29_999;
    let (sender, blocks) = sync_channel::<TapBlock>(256);
    let spare = Arc::new(SpareBlocks::new(64));
    let recycle = Arc::clone(&spare);
    let journal = std::thread::spawn(move || {
        for block in blocks {
            recycle.give(block);
        }
    });
    let (report, reports) = sync_channel(4096);
    let mut relays = Relays::start(
        &config,
        Arc::new(Recycling { blocks: sender }),
        spare,
        Arc::new(move |it| {
            report.try_send(it).map_err(|err| match err {
                TrySendError::Full(it) | TrySendError::Disconnected(it) => it,
            })
        }),
    )
    .expect("loopback");

    let mut speakers = Vec::new();
    for number in 0..calls {
        let id = CallId::mint(Timestamp::from_micros(number as i64 * 1000), [1; 10]);
        assert!(relays.open(id, AnchoredClock::start()));
        let Ok(Report::Opened { local, .. }) = reports.recv() else { panic!("not opened") };
        for lane in Lane::BOTH {
            let socket = bind();
            let rtp = socket.local_addr().expect("bound");
            let rtcp = SocketAddr::new(rtp.ip(), rtp.port() ^ 1);
            relays.point(id, lane, Some(RelayRemote { rtp, rtcp }));
            socket.connect(local[lane.index()]).expect("loopback");
            speakers.push(socket);
        }
        if tap == Tap::On {
            relays.start_recording(id);
        }
    }
    // One more relay: when it is open, all commands before it are obeyed by its thread.
    speak(&speakers, 25);
    let watch = relays.watch();
    let threads = relay_threads();
    let cpu = |threads: &[String]| threads.iter().map(|thread| cpu_seconds(thread)).sum::<f64>();
    let (cpu_before, before) = (cpu(&threads), watch.totals());
    let spoken = speak(&speakers, 250);
    let (cpu_after, after) = (cpu(&threads), watch.totals());
    let relayed = after.relayed_packets - before.relayed_packets;
    relays.stop();
    drop(relays);
    journal.join().expect("no panic");
    Run {
        seconds_per_packet: (cpu_after - cpu_before) / relayed as f64,
        relayed,
        lost_percent: (spoken.saturating_sub(relayed)) as f64 * 100.0 / spoken as f64,
        not_recorded: after.tap_dropped_packets,
    }
}

/// Every speaker says one packet per 20 ms, spread over the 20 ms, and hears what comes.
fn speak(speakers: &[UdpSocket], rounds: u32) -> u64 {
    let mut packet = [0xd5; PACKET_BYTES];
    packet[..2].copy_from_slice(&[0x80, 8]);
    let mut buffer = [0; 2048];
    let start = Instant::now();
    // Eight slices of each 20 ms: calls are not in step, yet the generator sleeps seldom.
    let slices = 8;
    for round in 0..rounds {
        for slice in 0..slices {
            let due = start + PTIME * round + PTIME * slice / slices;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let in_slice = speakers.iter().skip(slice as usize).step_by(slices as usize);
            for speaker in in_slice {
                let _ = speaker.send(&packet);
                while speaker.recv(&mut buffer).is_ok() {}
            }
        }
    }
    std::thread::sleep(Duration::from_millis(50));
    u64::from(rounds) * speakers.len() as u64
}

fn bind() -> UdpSocket {
    let socket = UdpSocket::bind((LOCALHOST, 0)).expect("loopback");
    socket.set_nonblocking(true).expect("a socket");
    socket
}

fn relay_threads() -> Vec<String> {
    let tasks = std::fs::read_dir("/proc/self/task").expect("Linux");
    tasks
        .filter_map(|task| {
            let id = task.ok()?.file_name().into_string().ok()?;
            let name = std::fs::read_to_string(format!("/proc/self/task/{id}/comm")).ok()?;
            name.starts_with("relay-").then_some(format!("self/task/{id}"))
        })
        .collect()
}

/// Seconds on the CPU so far: of a thread, or of the main thread for `self`.
fn cpu_seconds(task: &str) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{task}/schedstat")).unwrap_or_default();
    let nanoseconds = text.split(' ').next().and_then(|it| it.parse::<f64>().ok());
    nanoseconds.unwrap_or(0.0) / 1e9
}
