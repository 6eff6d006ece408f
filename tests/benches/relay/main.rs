//! What relaying and recording costs, beside the bare system calls and beside rtpengine, in one run.
//!
//! `cargo bench -p cheling-tests --bench relay`; `CALLS=500` chooses how many calls, `SECONDS=8` how
//! long each is measured, `SLICES=20` in how many bursts the phones of each 20 ms speak, `ONLY=least,relay`
//! which relays are measured (least, relay, journal, slow, rtpengine). On a machine that does other work
//! put `chrt -f 10` before the program: what others compute meanwhile is added to the delays otherwise.
//!
//! Both sides of each call speak G.711 in packets of 20 ms. Printed for each relay:
//!
//! * CPU time of all its threads (journal included) a packet, as a multiple of one bare `send` +
//!   `recv` of the same datagram over 256 connected loopback sockets, measured before it and after
//!   it: nanoseconds of two machines do not compare;
//! * the median and the 99th percentile of the time from one phone's `send` to the other's `recv`.
//!   It has the waiting behind the burst in which it came: 50 packets of other calls at 500 calls;
//! * of how much time other machines on the same host robbed this one meanwhile (`steal`): with
//!   more than a few milliseconds the 99th percentile is theirs;
//! * memory a call, as the process grew; write calls a second.
//!
//! `least` is the floor: `epoll_wait`, `recv`, `send`, and nothing else. With a disk of two seconds a
//! write (`slow`) the delays must be those of the others, and what the journal's queue cannot hold is
//! not recorded, and counted. rtpengine (Debian's, in user space, writing pcap) is left out, and said
//! to be, where it is not installed.

#![allow(clippy::print_stdout, clippy::unwrap_used, missing_docs)]

mod least;
mod rtpengine;
mod speakers;

use cheling_call::io::RelayRemote;
use cheling_capture::clock::AnchoredClock;
use cheling_capture::relay::{RelayConfig, Relays, Report};
use cheling_capture::sink::{SpareBlocks, TapSink};
use cheling_model::call::{Offer, Party};
use cheling_model::tap::TapBlock;
use cheling_model::{
    CallId, DealershipId, Direction, Lane, Presentation, TapEvent, TapKind, Timestamp,
};
use cheling_store::disk::{AppendFile, Disk, LocalDisk};
use cheling_store::journal::{Journal, JournalHandle, JournalSettings};
use speakers::{LOCALHOST, Probe, Speakers, Times};
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{TrySendError, sync_channel};
use std::time::Duration;

/// What one relay was seen to need.
#[derive(Default)]
pub struct Seen {
    pub cpu_seconds: f64,
    pub packets: u64,
    pub lost: u64,
    pub times: Times,
    pub kib_per_call: f64,
    pub writes_per_second: f64,
    pub not_recorded: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Recording {
    Off,
    On,
    /// On a disk that takes two seconds for every write.
    Slow,
}

struct SlowDisk;
struct SlowFile(Box<dyn AppendFile>);

impl Disk for SlowDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn AppendFile>> {
        Ok(Box::new(SlowFile(LocalDisk.create(path)?)))
    }
    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        LocalDisk.free_bytes(path)
    }
}

impl AppendFile for SlowFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        std::thread::sleep(Duration::from_secs(2));
        self.0.append(bytes)
    }
    fn cut(&mut self, len: u64) -> io::Result<()> {
        self.0.cut(len)
    }
    fn sync(&mut self) -> io::Result<()> {
        self.0.sync()
    }
}

fn main() {
    let number = |name: &str, default: u32| {
        std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
    };
    let (calls, seconds) = (number("CALLS", 500) as usize, number("SECONDS", 8));
    let wanted = std::env::var("ONLY").unwrap_or_default();
    let is_wanted = |name: &str| wanted.is_empty() || wanted.split(',').any(|it| it == name);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("{calls} calls, {seconds} s each; load before: {}", load.trim());
    let floor = is_wanted("least").then(|| measure("least relay", || least::run(calls, seconds)));
    if is_wanted("relay") {
        measure("relay alone", || ours(calls, seconds, Recording::Off));
    }
    let recording = is_wanted("journal")
        .then(|| measure("relay + journal on disk", || ours(calls, seconds, Recording::On)));
    if is_wanted("slow") {
        measure("relay + 2 s a disk write", || ours(calls, seconds, Recording::Slow));
    }
    if is_wanted("rtpengine") {
        if let Err(why) = rtpengine::installed() {
            println!("rtpengine left out: {why}");
            return;
        }
        let theirs =
            measure("rtpengine, pcap recording", || rtpengine::run(calls, seconds).unwrap());
        if let Some(ours) = recording {
            println!("relay + journal costs {:.2} of rtpengine with its recording", ours / theirs);
            if let Some(floor) = floor {
                println!(
                    "the least relay costs {:.2} of it; above that, ours is {:.2} of rtpengine's",
                    floor / theirs,
                    (ours - floor) / (theirs - floor)
                );
            }
        }
    }
}

/// Runs one relay between two looks at the bare pair, and prints what it needed. What comes back
/// is bare pairs a packet.
fn measure(name: &str, run: impl FnOnce() -> Seen) -> f64 {
    let before = speakers::bare_pair();
    let stolen_before = stolen_ms();
    let seen = run();
    let stolen_ms = stolen_ms() - stolen_before;
    let pair = f64::midpoint(before, speakers::bare_pair());
    let cost = seen.cpu_seconds / seen.packets.max(1) as f64 / pair;
    println!(
        "{name:<26} {cost:>5.2} bare pairs of {:.0} ns a packet, {} packets, {} lost, \
         {} not recorded, added p50 {:.2} p99 {:.2} ms ({stolen_ms} ms stolen), \
         {:.1} KiB a call, {:.0} writes/s",
        pair * 1e9,
        seen.packets,
        seen.lost,
        seen.not_recorded,
        seen.times.p50.as_secs_f64() * 1e3,
        seen.times.p99.as_secs_f64() * 1e3,
        seen.kib_per_call,
        seen.writes_per_second,
    );
    cost
}

/// Milliseconds that the host gave to others while this machine wanted them, all cores together.
fn stolen_ms() -> u64 {
    let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    // In hundredths of a second, the eighth of the first line.
    let ticks = text.lines().next().and_then(|line| line.split_whitespace().nth(8)?.parse().ok());
    10 * ticks.unwrap_or(0)
}

struct Sink(JournalHandle);

impl TapSink for Sink {
    fn packets(&self, block: TapBlock) -> Result<(), TapBlock> {
        self.0.try_media(block)
    }
    fn event(&self, event: TapEvent) {
        self.0.event(event).unwrap();
    }
}

fn ours(calls: usize, seconds: u32, recording: Recording) -> Seen {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let settings = JournalSettings { free_floor_bytes: 0, ..JournalSettings::new(folder.path()) };
    let disk: Box<dyn Disk> =
        if recording == Recording::Slow { Box::new(SlowDisk) } else { Box::new(LocalDisk) };
    let (journal, _) = Journal::open_on(vec![(disk, settings)], |_| {}).unwrap();
    let sink = Arc::new(Sink(journal.handle()));
    let mut config = RelayConfig::at(LOCALHOST);
    config.ports = 20_000..=29_999;
    let (report, reports) = sync_channel(1024);
    let mut speakers = Speakers::new(2 * calls + 2);
    let memory_before = resident_kib("self");
    let spare = Arc::new(SpareBlocks::new(SpareBlocks::USUAL));
    let emptied = Arc::clone(&spare);
    journal.handle().on_emptied(move |block| emptied.give(block));
    let mut relays = Relays::start(
        &config,
        Arc::clone(&sink) as Arc<dyn TapSink>,
        spare,
        Arc::new(move |it| {
            report.try_send(it).map_err(|err| match err {
                TrySendError::Full(it) | TrySendError::Disconnected(it) => it,
            })
        }),
    )
    .unwrap();
    for number in 0..=calls {
        let id = CallId::mint(Timestamp::from_micros(number as i64 * 1000), [1; 10]);
        let at = AnchoredClock::start().now().wall;
        assert!(relays.open(id, AnchoredClock::start()));
        let Ok(Report::Opened { local, .. }) = reports.recv() else { panic!("not opened") };
        for lane in Lane::BOTH {
            let rtp = speakers.address(2 * number + lane.index());
            let rtcp = SocketAddr::new(rtp.ip(), rtp.port() ^ 1);
            relays.point(id, lane, Some(RelayRemote { rtp, rtcp }));
            speakers.aim(2 * number + lane.index(), local[lane.index()]);
        }
        if recording != Recording::Off {
            sink.event(TapEvent { call_id: id, at, kind: TapKind::Offered(offer()) });
            let kind = TapKind::Answered { extension: "8001".into() };
            sink.event(TapEvent { call_id: id, at, kind });
            relays.start_recording(id);
        }
    }
    let probe = Probe::take(&mut speakers);
    speakers.speak(25);
    let memory = resident_kib("self").saturating_sub(memory_before);
    let watch = relays.watch();
    let counters = sink.0.clone();
    let writes = || counters.disks().map(|disk| disk.counters.writes.load(Relaxed)).sum::<u64>();
    let (cpu, before, writes_before) = (cpu(), watch.totals(), writes());
    let (spoken, times) = probe.during(|| speakers.speak(50 * seconds));
    let after = watch.totals();
    let (cpu, writes) = (self::cpu() - cpu, writes() - writes_before);
    let relayed = after.relayed_packets - before.relayed_packets;
    relays.stop();
    Seen {
        cpu_seconds: cpu,
        packets: relayed,
        lost: spoken.saturating_sub(relayed),
        times,
        kib_per_call: memory as f64 / calls as f64,
        writes_per_second: writes as f64 / f64::from(seconds),
        not_recorded: after.tap_dropped_packets,
    }
}

fn offer() -> Offer {
    Offer {
        direction: Direction::Inbound,
        dealership_id: DealershipId::from(uuid::Uuid::from_u128(1)),
        caller: Party {
            number: "13812345678".into(),
            display_name: None,
            presentation: Presentation::Allowed,
        },
        called: "02155550000".into(),
        trunk: None,
        line_id: None,
        extension: None,
        user_id: None,
        follow_up_id: None,
    }
}

/// CPU seconds of the relay threads and the journal so far. The thread that speaks for the phones
/// has the name of this program, which begins like theirs.
fn cpu() -> f64 {
    let is_relay = |name: &str| name.strip_prefix("relay-").is_some_and(|rest| rest.len() == 1);
    speakers::cpu_seconds("self", |name| name == "journal" || is_relay(name))
}

/// Memory of a process in KiB, as the kernel counts it.
pub fn resident_kib(process: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
