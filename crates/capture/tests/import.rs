//! Capture files made here, played into a sink: what comes out is what a live call gives.
#![allow(clippy::unwrap_used)]

use cheling_capture::pcap::{ImportError, ImportReport, Perspective, Progress, import};
use cheling_capture::sink::TapSink;
use cheling_media::srtp::{Kind, MasterKey, Sealer, Suite};
use cheling_model::tap::{PacketKind, TapBlock};
use cheling_model::{CallId, DealershipId, EndCause, Lane, TapEvent, TapKind, Timestamp};
use etherparse::PacketBuilder;
use std::io::Write;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

const CUSTOMER: [u8; 4] = [192, 0, 2, 1];
const AGENT: [u8; 4] = [192, 0, 2, 2];

enum Item {
    Block(TapBlock),
    Event(TapEvent),
}

/// Refuses every third block at first, as a busy journal does.
#[derive(Default)]
struct Sink {
    items: Mutex<Vec<Item>>,
    offered: AtomicU32,
}

impl TapSink for Sink {
    fn packets(&self, block: TapBlock) -> Result<(), TapBlock> {
        if self.offered.fetch_add(1, Ordering::Relaxed).is_multiple_of(3) {
            return Err(block);
        }
        self.items.lock().unwrap().push(Item::Block(block));
        Ok(())
    }
    fn event(&self, event: TapEvent) {
        self.items.lock().unwrap().push(Item::Event(event));
    }
}

/// A capture file under construction.
struct Capture {
    bytes: Vec<u8>,
    at_us: u64,
    /// Puts the IP packet into a frame.
    link: fn(Vec<u8>) -> Vec<u8>,
    tcp_sequence: [u32; 2],
}

impl Capture {
    fn new(link_type: u32, link: fn(Vec<u8>) -> Vec<u8>) -> Self {
        let mut bytes = vec![0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0];
        for value in [0, 0, 65_535, link_type] {
            bytes.extend(value.to_le_bytes());
        }
        Self { bytes, at_us: 1_700_000_000_000_000, link, tcp_sequence: [u32::MAX - 100, 7] }
    }

    fn ethernet() -> Self {
        Self::new(1, |ip| [&[0; 12][..], &[8, 0], &ip].concat())
    }

    fn frame(&mut self, ip: Vec<u8>) {
        let frame = (self.link)(ip);
        let seconds = (self.at_us / 1_000_000) as u32;
        let fraction = (self.at_us % 1_000_000) as u32;
        for value in [seconds, fraction, frame.len() as u32, frame.len() as u32] {
            self.bytes.extend(value.to_le_bytes());
        }
        self.bytes.extend(frame);
    }

    fn udp(&mut self, from: ([u8; 4], u16), to: ([u8; 4], u16), payload: &[u8]) {
        let mut ip = Vec::new();
        let builder = PacketBuilder::ipv4(from.0, to.0, 64).udp(from.1, to.1);
        builder.write(&mut ip, payload).unwrap();
        self.frame(ip);
    }

    fn tcp(&mut self, from: [u8; 4], to: [u8; 4], payload: &[u8]) {
        let sequence = &mut self.tcp_sequence[usize::from(from == AGENT)];
        let number = *sequence;
        *sequence = sequence.wrapping_add(payload.len() as u32);
        let mut ip = Vec::new();
        let builder = PacketBuilder::ipv4(from, to, 64).tcp(5060, 5060, number, 1000);
        builder.write(&mut ip, payload).unwrap();
        self.frame(ip);
    }

    fn rtp(&mut self, lane: Lane, number: u16) {
        let (from, to) = match lane {
            Lane::Customer => ((CUSTOMER, 4000), (AGENT, 5000)),
            Lane::Agent => ((AGENT, 5000), (CUSTOMER, 4000)),
        };
        let mut packet = vec![0x80, 8];
        packet.extend(number.to_be_bytes());
        packet.extend([0, 0, 0, 0, 0, 0, 0, lane.index() as u8]);
        packet.extend([0xd5; 160]);
        self.udp(from, to, &packet);
    }

    fn import(&self) -> (ImportReport, Vec<Item>) {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&self.bytes).unwrap();
        let sink = Sink::default();
        let mut last = Progress::default();
        let report = import(file.path(), perspective(), &sink, |progress| {
            assert!(progress.frames >= last.frames);
            last = progress;
        })
        .unwrap();
        assert_eq!(last.read_bytes, self.bytes.len() as u64);
        (report, sink.items.into_inner().unwrap())
    }
}

fn perspective() -> Perspective {
    Perspective {
        dealership_id: DealershipId::mint(Timestamp::from_micros(1), [1; 10]),
        directory: Arc::default(),
        trunks: Vec::new(),
    }
}

fn message(start: &str, cseq: &str, from_tag: &str, port: Option<u16>) -> Vec<u8> {
    let host = if from_tag == "a" { "192.0.2.1" } else { "192.0.2.2" };
    let host = if start.starts_with("SIP") { "192.0.2.2" } else { host };
    let sdp = port.map_or(String::new(), |port| {
        format!(
            "v=0\r\no=- 1 1 IN IP4 {host}\r\ns=\r\nc=IN IP4 {host}\r\nt=0 0\r\n\
             m=audio {port} RTP/AVP 8 101\r\na=rtpmap:101 telephone-event/8000\r\n"
        )
    });
    let kind = if sdp.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
    format!(
        "{start}\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK{cseq}\r\n\
         From: <sip:13812345678@192.0.2.1>;tag={from_tag}\r\nTo: <sip:8001@192.0.2.2>;tag=t\r\n\
         Call-ID: c1\r\nCSeq: {cseq}\r\n{kind}Content-Length: {}\r\n\r\n{sdp}",
        sdp.len()
    )
    .into_bytes()
}

fn invite() -> Vec<u8> {
    message("INVITE sip:8001@192.0.2.2 SIP/2.0", "1 INVITE", "a", Some(4000))
}

fn answer() -> Vec<u8> {
    message("SIP/2.0 200 OK", "1 INVITE", "a", Some(5000))
}

fn bye() -> Vec<u8> {
    message("BYE sip:8001@192.0.2.2 SIP/2.0", "2 BYE", "a", None)
}

/// INVITE, 200, a second of speech both ways, BYE; over UDP.
fn whole_call(mut capture: Capture) -> Capture {
    let (there, back) = (((CUSTOMER, 5060), (AGENT, 5060)), ((AGENT, 5060), (CUSTOMER, 5060)));
    capture.udp(there.0, there.1, &invite());
    capture.at_us += 2_000_000;
    capture.udp(back.0, back.1, &answer());
    speak(&mut capture, 50);
    capture.udp(there.0, there.1, &bye());
    // Somebody has not noticed.
    speak(&mut capture, 10);
    capture
}

fn speak(capture: &mut Capture, packets: u16) {
    for number in 0..packets {
        capture.at_us += 20_000;
        capture.rtp(Lane::Customer, number);
        capture.rtp(Lane::Agent, number);
    }
}

fn check_whole_call(name: &str, report: &ImportReport, items: &[Item]) {
    assert_eq!(report.fault, None, "{name}");
    assert_eq!((report.calls.len(), report.answered_calls), (1, 1), "{name}");
    assert_eq!((report.rtp_packets, report.unclaimed_packets), (100, 20), "{name}");
    let mut packets = [0_u64; 2];
    let mut answered_at = None;
    for item in items {
        match item {
            Item::Block(block) => {
                for packet in block.packets() {
                    let packet = packet.unwrap();
                    assert_eq!(packet.call_id, report.calls[0], "{name}");
                    assert_eq!(packet.kind, PacketKind::Rtp, "{name}");
                    // The last byte of the SSRC says who spoke.
                    assert_eq!(usize::from(packet.bytes[11]), packet.lane.index(), "{name}");
                    let number = u16::from_be_bytes([packet.bytes[2], packet.bytes[3]]);
                    let offset = (u64::from(number) + 1) * 20_000;
                    let answered_at: Timestamp = answered_at.expect("packets after the answer");
                    assert_eq!(packet.at.since(answered_at).as_micros() as u64, offset, "{name}");
                    packets[packet.lane.index()] += 1;
                }
            }
            Item::Event(event) => match &event.kind {
                TapKind::Answered { extension } => {
                    assert_eq!(extension, "8001", "{name}");
                    answered_at = Some(event.at);
                }
                TapKind::Ended { cause, by, .. } => {
                    assert_eq!((*cause, *by), (EndCause::HungUp, Some(Lane::Customer)), "{name}");
                }
                TapKind::RelayClosed { received_packets, tap_dropped_packets } => {
                    assert_eq!(*received_packets, packets, "{name}");
                    assert_eq!(*tap_dropped_packets, [0, 0], "{name}");
                }
                _ => {}
            },
        }
    }
    assert_eq!(packets, [50, 50], "{name}");
    assert!(
        matches!(
            items.last(),
            Some(Item::Event(TapEvent { kind: TapKind::RelayClosed { .. }, .. }))
        ),
        "{name}"
    );
}

#[test]
fn a_call_comes_out_the_same_from_every_kind_of_capture() {
    let tunnel = |ip: Vec<u8>| {
        let mut outer = Vec::new();
        PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 9)
            .write(&mut outer, etherparse::IpNumber::IPV4, &ip)
            .unwrap();
        [&[0; 12][..], &[8, 0], &outer].concat()
    };
    for (name, capture) in [
        ("ethernet", Capture::ethernet()),
        ("802.1Q", Capture::new(1, |ip| [&[0; 12][..], &[0x81, 0, 0, 100, 8, 0], &ip].concat())),
        ("IP in IP", Capture::new(1, tunnel)),
        ("raw IP", Capture::new(101, |ip| ip)),
        ("Linux cooked", Capture::new(113, |ip| [&[0; 14][..], &[8, 0], &ip].concat())),
    ] {
        let (report, items) = whole_call(capture).import();
        check_whole_call(name, &report, &items);
    }
}

#[test]
fn signalling_over_tcp_in_odd_pieces_gives_the_same_call() {
    let mut capture = Capture::ethernet();
    let send = |capture: &mut Capture, from, to, bytes: Vec<u8>| {
        for piece in bytes.chunks(100) {
            capture.tcp(from, to, piece);
        }
    };
    send(&mut capture, CUSTOMER, AGENT, invite());
    capture.at_us += 2_000_000;
    send(&mut capture, AGENT, CUSTOMER, answer());
    speak(&mut capture, 50);
    send(&mut capture, CUSTOMER, AGENT, bye());
    speak(&mut capture, 10);
    let (report, items) = capture.import();
    check_whole_call("tcp", &report, &items);
}

#[test]
fn speech_seen_before_the_answer_that_explains_it_is_kept_from_the_answer_on() {
    let mut capture = Capture::ethernet();
    // The description of neither side has been seen yet; the answer's frame comes late, as on
    // a mirror with two queues, but its time stamp is right.
    capture.udp(
        (CUSTOMER, 5060),
        (AGENT, 5060),
        &message("INVITE sip:8001@192.0.2.2 SIP/2.0", "1 INVITE", "a", None),
    );
    let answered_at = capture.at_us;
    speak(&mut capture, 5);
    let resumed_at = std::mem::replace(&mut capture.at_us, answered_at);
    capture.udp((AGENT, 5060), (CUSTOMER, 5060), &answer());
    capture.at_us = resumed_at;
    speak(&mut capture, 5);
    let (report, _) = capture.import();
    assert_eq!((report.rtp_packets, report.unrecorded_packets), (20, 0));
}

#[test]
fn a_call_without_bye_ends_with_its_last_packet() {
    let mut capture = Capture::ethernet();
    capture.udp((CUSTOMER, 5060), (AGENT, 5060), &invite());
    capture.udp((AGENT, 5060), (CUSTOMER, 5060), &answer());
    speak(&mut capture, 50);
    let last_at = capture.at_us as i64;
    capture.at_us += 600_000_000;
    capture.udp((CUSTOMER, 9), (AGENT, 9), b"something else");
    let (report, items) = capture.import();
    assert_eq!(report.rtp_packets, 100);
    let ended_at = items.iter().find_map(|item| match item {
        Item::Event(TapEvent { kind: TapKind::Ended { .. }, at, .. }) => Some(at.as_micros()),
        _ => None,
    });
    assert_eq!(ended_at, Some(last_at));
}

#[test]
fn early_media_is_not_recorded_and_an_unanswered_call_has_no_recording() {
    let mut capture = Capture::ethernet();
    capture.udp((CUSTOMER, 5060), (AGENT, 5060), &invite());
    let progress = message("SIP/2.0 183 Session Progress", "1 INVITE", "a", Some(5000));
    capture.udp((AGENT, 5060), (CUSTOMER, 5060), &progress);
    speak(&mut capture, 10);
    let busy = message("SIP/2.0 486 Busy Here", "1 INVITE", "a", None);
    capture.udp((AGENT, 5060), (CUSTOMER, 5060), &busy);
    let (report, items) = capture.import();
    assert_eq!((report.calls.len(), report.answered_calls), (1, 0));
    assert_eq!((report.rtp_packets, report.unrecorded_packets), (0, 20));
    assert!(items.iter().all(|item| match item {
        Item::Block(_) => false,
        Item::Event(event) => !matches!(event.kind, TapKind::RelayClosed { .. }),
    }));
}

#[test]
fn a_capture_that_breaks_off_anywhere_is_imported_as_far_as_it_goes() {
    let capture = whole_call(Capture::ethernet());
    for len in (24..capture.bytes.len()).step_by(997) {
        let torn = Capture { bytes: capture.bytes[..len].to_vec(), ..Capture::ethernet() };
        let (report, items) = torn.import();
        let ids: Vec<CallId> = items
            .iter()
            .filter_map(|item| match item {
                Item::Event(TapEvent { call_id, kind: TapKind::Ended { .. }, .. }) => {
                    Some(*call_id)
                }
                _ => None,
            })
            .collect();
        assert_eq!(ids, report.calls, "every call that began ends, at {len}");
    }
}

#[test]
fn mangled_captures_are_no_panic() {
    let capture = whole_call(Capture::ethernet());
    for at in (24..capture.bytes.len()).step_by(151) {
        for value in [0, 0xff] {
            let mut bytes = capture.bytes.clone();
            bytes[at] = value;
            let mangled = Capture { bytes, ..Capture::ethernet() };
            let mut file = tempfile::NamedTempFile::new().unwrap();
            file.write_all(&mangled.bytes).unwrap();
            let report = import(file.path(), perspective(), &Sink::default(), |_| {}).unwrap();
            assert!(report.rtp_packets <= 120);
        }
    }
}

#[test]
fn what_cannot_be_read_says_why() {
    let sink = Sink::default();
    let missing = std::path::Path::new("/nonexistent/file.pcap");
    let result = import(missing, perspective(), &sink, |_| {});
    assert!(matches!(result, Err(ImportError::Open { .. })));
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"not a capture at all, but long enough").unwrap();
    let result = import(file.path(), perspective(), &sink, |_| {});
    assert!(matches!(result, Err(ImportError::File { .. })));
}

/// A call whose descriptions have keys; what is sent is sealed by `sealed`.
fn protected_call(sealed: [&[u8]; 2], lost_first: u16) -> (ImportReport, Vec<Item>) {
    // Keys of one byte over and over, and how base64 writes three of them.
    let crypto = |message: Vec<u8>, three: &str| {
        let line = format!("a=crypto:1 {} inline:{}\r\n", SUITE.name(), three.repeat(10));
        let text = String::from_utf8(message).unwrap().replace("RTP/AVP", "RTP/SAVP");
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let body = format!("{body}{line}");
        let head = head.rsplit_once("Content-Length").unwrap().0;
        format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
    };
    let mut capture = Capture::ethernet();
    let (there, back) = (((CUSTOMER, 5060), (AGENT, 5060)), ((AGENT, 5060), (CUSTOMER, 5060)));
    capture.udp(there.0, there.1, &crypto(invite(), "BwcH"));
    capture.at_us += 2_000_000;
    capture.udp(back.0, back.1, &crypto(answer(), "CQkJ"));
    let mut sealers = sealed.map(|key| Sealer::new(MasterKey::new(SUITE, key).unwrap()).unwrap());
    for number in 0..50_u16 {
        capture.at_us += 20_000;
        for (lane, way) in [
            (Lane::Customer, [(CUSTOMER, 4000), (AGENT, 5000)]),
            (Lane::Agent, [(AGENT, 5000), (CUSTOMER, 4000)]),
        ] {
            let mut packet = vec![0x80, 8];
            packet.extend(number.to_be_bytes());
            packet.extend([0, 0, 0, 0, 0, 0, 0, lane.index() as u8]);
            packet.extend([0xd5; 160]);
            let sealed = sealers[lane.index()].seal(Kind::Rtp, &packet).unwrap();
            let mut sealed = sealed.as_ref().to_vec();
            if number < lost_first {
                sealed[20] ^= 1;
            }
            capture.udp(way[0], way[1], &sealed);
        }
    }
    capture.udp(there.0, there.1, &bye());
    capture.import()
}

const SUITE: Suite = Suite::AesCm128HmacSha1Tag80;
const KEYS: [&[u8]; 2] = [&[7; 30], &[9; 30]];

/// For each lane: what its payload type 8 was last said to be, and the packets that are plain.
fn told(items: &[Item]) -> [(String, usize); 2] {
    let mut told = [(String::new(), 0), (String::new(), 0)];
    for item in items {
        match item {
            Item::Block(block) => {
                for packet in block.packets().map(Result::unwrap) {
                    let is_plain = packet.bytes[12..] == [0xd5; 160];
                    told[packet.lane.index()].1 += usize::from(is_plain);
                }
            }
            Item::Event(TapEvent { kind: TapKind::Formats { lane, formats, .. }, .. }) => {
                let format = formats.iter().find(|it| it.payload_type == 8).unwrap();
                told[lane.index()].0.clone_from(&format.encoding);
            }
            Item::Event(_) => {}
        }
    }
    told
}

#[test]
fn srtp_with_keys_in_the_clear_is_opened() {
    let (report, items) = protected_call(KEYS, 0);
    assert_eq!(told(&items), [("PCMA".to_owned(), 50), ("PCMA".to_owned(), 50)]);
    assert_eq!((report.rtp_packets, report.refused_packets), (100, 0));
    assert_eq!(report.calls.len(), 1);
}

#[test]
fn srtp_with_the_wrong_keys_is_kept_as_it_came_and_said_to_be_srtp() {
    let (report, items) = protected_call([KEYS[0], &[1; 30]], 0);
    assert_eq!(told(&items), [("PCMA".to_owned(), 50), ("SRTP".to_owned(), 0)]);
    assert_eq!((report.rtp_packets, report.refused_packets), (100, 0), "none is left out");
    // Broken ones before the first good one are kept, too; it is opened from there on.
    let (report, items) = protected_call(KEYS, 3);
    assert_eq!(told(&items), [("PCMA".to_owned(), 47), ("PCMA".to_owned(), 47)]);
    assert_eq!(report.rtp_packets, 100);
}
