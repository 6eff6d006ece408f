//! What a packet of a capture file costs on its way to a stereo WAV file: read, given to its call,
//! journalled, read back, placed, decoded, mixed and hashed.
//!
//! `cargo bench -p cheling-tests --bench pcap`; `CALLS=40` of a minute each, two lanes of A-law. CPU
//! of all threads, least of five runs; disks are those of the temporary folder.
//!
//! Of the 1.25 µs that it took where it was last measured, our code spends about 0.65. The rest no
//! code of ours can save: 0.18 are the SHA-256 of the 320 bytes that a packet is in the file, at the
//! 1.8 GB/s of the processor's own instructions, and about 0.4 the kernel's: 0.09 to write the
//! file, 0.08 to sync it, 0.08 for the journal, 0.07 to read the journal twice and 0.02 the capture.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

use cheling_capture::pcap::{Perspective, import};
use cheling_capture::sink::TapSink;
use cheling_media::g711::Law;
use cheling_media::rtp::{RtpHeader, SequenceNumber, Ssrc, Timestamp as RtpTimestamp};
use cheling_model::tap::TapBlock;
use cheling_model::{CallId, DealershipId, TapEvent, Timestamp, Verdict};
use cheling_store::files::RecordingFiles;
use cheling_store::journal::{Journal, JournalHandle, JournalSettings};
use cheling_store::render::{RenderSettings, render};
use cheling_tests::child::cpu_seconds_of;
use cheling_tests::pcap::Capture;

const PACKETS_OF_A_LANE: u64 = 60 * 50;
const RUNS: usize = 5;
const START_US: u64 = 1_800_000_000_000_000;

fn main() {
    let calls: u16 = std::env::var("CALLS").ok().and_then(|it| it.parse().ok()).unwrap_or(40);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("calls.pcap");
    capture(calls).write(&path);
    let packets = u64::from(calls) * 2 * PACKETS_OF_A_LANE;
    let mut best = [f64::MAX; 3];
    for _ in 0..RUNS {
        let took = run(&path, packets);
        for (best, took) in best.iter_mut().zip([took[0], took[1], took[0] + took[1]]) {
            *best = best.min(took * 1e6 / packets as f64);
        }
    }
    println!("{packets} packets of {calls} calls, CPU a packet:");
    println!("  capture file to journal  {:.3} µs", best[0]);
    println!("  journal to stereo WAV    {:.3} µs", best[1]);
    println!("  together                 {:.3} µs", best[2]);
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

/// CPU seconds of importing and of rendering.
fn run(path: &Path, packets: u64) -> [f64; 2] {
    let folder = tempfile::tempdir().unwrap();
    let settings =
        JournalSettings { free_floor_bytes: 0, ..JournalSettings::new(folder.path().join("j")) };
    let (sender, finished) = channel();
    let on_finished = move |id| {
        // Nobody waits for more calls than there were.
        let _ = sender.send(id);
    };
    let (journal, _) = Journal::open(settings, on_finished).unwrap();
    let handle = journal.handle();
    let perspective = Perspective {
        dealership_id: DealershipId::mint(Timestamp::from_micros(1), [1; 10]),
        directory: Arc::default(),
        trunks: Vec::new(),
    };
    let start = cpu_s();
    let report = import(path, perspective, &Sink(handle.clone()), |_| {}).unwrap();
    handle.flush().unwrap();
    let imported = cpu_s();
    assert_eq!(report.rtp_packets, packets);
    let files = RecordingFiles::open(folder.path().join("r")).unwrap();
    for id in ended(&finished, report.calls.len()) {
        let records = handle.read(id).unwrap();
        let recording = render(&records, &files, &RenderSettings::default()).unwrap().unwrap();
        assert_eq!(recording.verdict, Verdict::Ok);
    }
    [imported - start, cpu_s() - imported]
}

fn ended(finished: &Receiver<CallId>, calls: usize) -> Vec<CallId> {
    (0..calls).map(|_| finished.recv().unwrap()).collect()
}

fn cpu_s() -> f64 {
    cpu_seconds_of(&std::fs::read_to_string("/proc/self/stat").unwrap()).unwrap()
}

/// Calls of a minute that begin at once.
fn capture(calls: u16) -> Capture {
    let mut capture = Capture::default();
    let [customers, agents] = [[192, 0, 2, 1], [192, 0, 2, 2]].map(Ipv4Addr::from);
    let end_us = START_US + PACKETS_OF_A_LANE * 20_000 + 10_000;
    for call in 0..calls {
        let (there, back) = (SocketAddrV4::new(customers, 5060), SocketAddrV4::new(agents, 5060));
        let (from, to) = (10_000 + call * 4, 30_000 + call * 4);
        let invite = message(call, "INVITE sip:8001@192.0.2.2 SIP/2.0", "1 INVITE", Some(from));
        capture.datagram(START_US - 2_000_000, there, back, &invite);
        let answer = message(call, "SIP/2.0 200 OK", "1 INVITE", Some(to));
        capture.datagram(START_US - 1000, back, there, &answer);
        let bye = message(call, "BYE sip:8001@192.0.2.2 SIP/2.0", "2 BYE", None);
        capture.datagram(end_us, there, back, &bye);
        let ends = [SocketAddrV4::new(customers, from), SocketAddrV4::new(agents, to)];
        for n in 0..PACKETS_OF_A_LANE {
            for (lane, (from, to)) in [(ends[0], ends[1]), (ends[1], ends[0])].iter().enumerate() {
                let at_us = START_US + n * 20_000 + u64::from(call) * 37 + lane as u64 * 10;
                capture.datagram(at_us, *from, *to, &packet(call, lane, n));
            }
        }
    }
    capture
}

fn packet(call: u16, lane: usize, n: u64) -> Vec<u8> {
    let is_talking = (n / 150 + lane as u64).is_multiple_of(2);
    let loud = if is_talking { 6000.0 } else { 30.0 };
    let sample = |at: u64| ((n * 160 + at) as f64 * 0.23).sin() * loud;
    let pcm: Vec<i16> = (0..160).map(|at| sample(at) as i16).collect();
    let mut payload = Vec::new();
    Law::A.encode(&pcm, &mut payload);
    let header = RtpHeader {
        payload_type: 8,
        marker: false,
        sequence_number: SequenceNumber(n as u16),
        timestamp: RtpTimestamp((n * 160) as u32),
        ssrc: Ssrc(u32::from(call) * 2 + lane as u32 + 1),
    };
    let mut bytes = Vec::new();
    header.write(&payload, &mut bytes).unwrap();
    bytes
}

fn message(call: u16, start: &str, cseq: &str, port: Option<u16>) -> Vec<u8> {
    let host = if start.starts_with("SIP") { "192.0.2.2" } else { "192.0.2.1" };
    let sdp = port.map_or(String::new(), |port| {
        format!(
            "v=0\r\no=- 1 1 IN IP4 {host}\r\ns=-\r\nc=IN IP4 {host}\r\nt=0 0\r\n\
             m=audio {port} RTP/AVP 8\r\n"
        )
    });
    let kind = if sdp.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
    format!(
        "{start}\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK{call}-{}\r\n\
         From: <sip:13812345678@192.0.2.1>;tag=a{call}\r\nTo: <sip:8001@192.0.2.2>;tag=t\r\n\
         Call-ID: call-{call}\r\nCSeq: {cseq}\r\n{kind}Content-Length: {}\r\n\r\n{sdp}",
        cseq.replace(' ', "-"),
        sdp.len()
    )
    .into_bytes()
}
