//! Who hears whose tone.

use std::collections::BTreeMap;
use std::f64::consts::TAU;

use super::*;
use crate::decoder::Decoder;
use crate::tone::Tone;

const PCMA: (u8, &str, u32) = (8, "PCMA", 8000);
const PCMU: (u8, &str, u32) = (0, "PCMU", 8000);
const G722: (u8, &str, u32) = (9, "G722", 8000);
const OPUS: (u8, &str, u32) = (111, "opus", 48_000);
const L16: (u8, &str, u32) = (97, "L16", 16_000);
const DIGITS: u8 = 101;

type Spoken = (u8, &'static str, u32);

fn format((_, name, clock_rate_hz): Spoken) -> PayloadFormat {
    PayloadFormat { codec: Codec::named(name, 1), clock_rate_hz }
}

fn voice(number: u8, spoken: Spoken, hears: &[u8]) -> Voice {
    let mut reads = PayloadMap::default();
    reads.bind(spoken.0, spoken.1, spoken.2, 1);
    let sends =
        Sends { payload_type: spoken.0, format: format(spoken), event_payload_type: Some(DIGITS) };
    Voice { number, reads, sends: Some(sends), hears: hears.to_vec() }
}

fn start(ssrc: u32) -> StreamStart {
    StreamStart { ssrc, sequence_number: 65_530, timestamp: u32::MAX - 700 }
}

/// A phone that says a tone.
struct Speaker {
    hz: f64,
    encoder: Encoder,
    next: RtpHeader,
    position: usize,
}

impl Speaker {
    fn new(number: u8, spoken: Spoken, hz: f64) -> Self {
        let next = RtpHeader {
            payload_type: spoken.0,
            marker: true,
            sequence_number: SequenceNumber(u16::MAX - 20),
            timestamp: Timestamp(7),
            ssrc: Ssrc(1000 + u32::from(number)),
        };
        Self { hz, encoder: Encoder::new(&format(spoken)).unwrap(), next, position: 0 }
    }

    fn packet(&mut self) -> Vec<u8> {
        let frame: Vec<i16> = (self.position..self.position + FRAME_SAMPLES)
            .map(|n| (6000.0 * (n as f64 * self.hz * TAU / 16_000.0).sin()) as i16)
            .collect();
        self.position += FRAME_SAMPLES;
        let (mut payload, mut packet) = (Vec::new(), Vec::new());
        self.encoder.encode(&frame, &mut payload);
        self.next.write(&payload, &mut packet).unwrap();
        self.next.sequence_number = self.next.sequence_number.next();
        self.next.timestamp = self.next.timestamp.plus(self.encoder.ticks());
        packet
    }
}

/// A conversation and what each of it got.
struct Room {
    mixer: Mixer,
    now: Instant,
    speakers: BTreeMap<u8, Speaker>,
    got: BTreeMap<u8, Vec<Vec<u8>>>,
}

impl Room {
    #[allow(clippy::disallowed_methods)] // An instant to count from.
    fn new(voices: Vec<Voice>, tones: &[(u8, Spoken, f64)]) -> Self {
        let now = Instant::now();
        let mut mixer = Mixer::new(now);
        let mut ssrc = 0;
        mixer.set(voices, || {
            ssrc += 1;
            start(ssrc)
        });
        let speakers =
            tones.iter().map(|&(n, spoken, hz)| (n, Speaker::new(n, spoken, hz))).collect();
        Self { mixer, now, speakers, got: BTreeMap::new() }
    }

    fn run(&mut self, ticks: usize, is_lost: impl Fn(usize, u8) -> bool) {
        for tick in 0..ticks {
            for (&number, speaker) in &mut self.speakers {
                let packet = speaker.packet();
                if !is_lost(tick, number) {
                    self.mixer.receive(number, &packet, |_, _| panic!("no digits here"));
                }
            }
            self.now += TICK;
            let got = &mut self.got;
            self.mixer.run(self.now, |number, packet| {
                got.entry(number).or_default().push(packet.to_vec());
            });
        }
    }

    /// The amplitude of each tone in what this one heard, the first half second left out.
    fn heard(&self, number: u8, spoken: Spoken) -> Vec<(u8, f64)> {
        let mut decoder = Decoder::new(&format(spoken)).unwrap();
        let mut pcm = Vec::new();
        for packet in self.got.get(&number).into_iter().flatten() {
            let packet = RtpPacket::parse(packet).unwrap();
            assert_eq!(packet.header.payload_type, spoken.0);
            decoder.decode(packet.payload, &mut pcm);
        }
        let rate = decoder.rate_hz();
        let pcm = pcm.get(rate as usize / 2..).unwrap_or_default();
        let tone = |speaker: &Speaker| {
            let (mut re, mut im) = (0.0, 0.0);
            for (n, &sample) in pcm.iter().enumerate() {
                let angle = n as f64 * speaker.hz * TAU / f64::from(rate);
                re += f64::from(sample) * angle.cos();
                im += f64::from(sample) * angle.sin();
            }
            2.0 * f64::hypot(re, im) / pcm.len().max(1) as f64
        };
        self.speakers.iter().map(|(&number, speaker)| (number, tone(speaker))).collect()
    }

    fn assert_hears(&self, number: u8, spoken: Spoken, wanted: &[u8]) {
        for (other, level) in self.heard(number, spoken) {
            let range = if wanted.contains(&other) { 4500.0..7500.0 } else { 0.0..60.0 };
            assert!(range.contains(&level), "{number} hears {other} at {level:.0}");
        }
    }
}

#[test]
fn everybody_hears_the_others_and_nobody_himself_in_every_codec() {
    let all = [(0, PCMA, 500.0), (1, OPUS, 800.0), (2, G722, 1300.0), (3, L16, 1900.0)];
    let voices = all.iter().map(|&(n, spoken, _)| voice(n, spoken, &[0, 1, 2, 3])).collect();
    let mut room = Room::new(voices, &all);
    room.run(150, |_, _| false);
    for (number, spoken, _) in all {
        let others: Vec<u8> = (0..4).filter(|&other| other != number).collect();
        room.assert_hears(number, spoken, &others);
    }
}

#[test]
fn a_whisper_reaches_the_agent_alone_and_a_listener_hears_both() {
    let tones = [(0, PCMA, 500.0), (1, PCMU, 800.0), (2, PCMA, 1300.0)];
    for (hears, to_customer, to_agent) in [
        ("listen", vec![1], vec![0]),
        ("whisper", vec![1], vec![0, 2]),
        ("barge", vec![1, 2], vec![0, 2]),
    ] {
        let voices =
            vec![voice(0, PCMA, &to_customer), voice(1, PCMU, &to_agent), voice(2, PCMA, &[0, 1])];
        let mut room = Room::new(voices, &tones);
        room.run(100, |_, _| false);
        room.assert_hears(0, PCMA, &to_customer);
        room.assert_hears(1, PCMU, &to_agent);
        room.assert_hears(2, PCMA, &[0, 1]);
        assert!(!hears.is_empty());
    }
}

#[test]
fn the_streams_we_send_are_numbered_without_a_gap_and_go_on_when_somebody_joins() {
    let tones = [(0, PCMA, 500.0), (1, OPUS, 800.0)];
    let two = vec![voice(0, PCMA, &[1]), voice(1, OPUS, &[0])];
    let mut room = Room::new(two, &tones);
    room.run(20, |_, _| false);
    let three = vec![voice(0, PCMA, &[1, 2]), voice(1, OPUS, &[0, 2]), voice(2, G722, &[0, 1])];
    room.mixer.set(three, || start(77));
    room.run(20, |_, _| false);
    for (number, ticks, packets, ssrc) in [(0, 160, 40, 1), (1, 960, 40, 2), (2, 160, 20, 77)] {
        let got = &room.got[&number];
        assert_eq!(got.len(), packets);
        let headers: Vec<_> = got.iter().map(|p| RtpPacket::parse(p).unwrap().header).collect();
        for pair in headers.windows(2) {
            assert_eq!(pair[1].sequence_number, pair[0].sequence_number.next());
            assert_eq!(pair[1].timestamp, pair[0].timestamp.plus(ticks));
            assert!(!pair[1].marker);
        }
        assert!(headers[0].marker && headers[0].ssrc == Ssrc(ssrc));
    }
}

#[test]
fn loud_voices_are_limited_and_lost_packets_are_bridged() {
    let tones = [(0, L16, 500.0), (1, L16, 500.0), (2, L16, 500.0)];
    let mut voices: Vec<_> = (0..3).map(|n| voice(n, L16, &[0, 1, 2])).collect();
    voices.push(voice(3, L16, &[0, 1, 2]));
    let mut room = Room::new(voices, &tones);
    // Nine times the tone would wrap around without a limit; one in ten packets is lost.
    room.run(200, |tick, number| tick > 10 && tick % 10 == usize::from(number));
    let heard = room.heard(3, L16);
    assert!(heard.iter().all(|&(_, level)| level > 12_000.0), "{heard:?}");
    // Nothing was skipped: as many packets out as ticks.
    assert_eq!(room.got[&3].len(), 200);
}

#[test]
fn a_digit_is_passed_on_in_the_receivers_stream() {
    let voices = vec![voice(0, PCMA, &[1]), voice(1, OPUS, &[0]), voice(2, PCMA, &[])];
    let mut room = Room::new(voices, &[(1, OPUS, 800.0)]);
    room.run(5, |_, _| false);
    let mut sent = Vec::new();
    for (n, marker) in [true, false, false].into_iter().enumerate() {
        let header = RtpHeader {
            payload_type: DIGITS,
            marker,
            sequence_number: SequenceNumber(40 + n as u16),
            timestamp: Timestamp(123_456),
            ssrc: Ssrc(9),
        };
        let mut packet = Vec::new();
        header.write(&[5, 10, 0, 160], &mut packet).unwrap();
        room.mixer.receive(1, &packet, |to, packet| sent.push((to, packet.to_vec())));
        room.run(1, |_, _| false);
    }
    let last = room.got[&0].last().unwrap().clone();
    let headers: Vec<_> = sent
        .iter()
        .map(|(to, packet)| {
            let packet = RtpPacket::parse(packet).unwrap();
            assert_eq!((*to, packet.payload), (0, &[5, 10, 0, 160][..]));
            packet.header
        })
        .collect();
    assert_eq!(headers.len(), 3, "to who hears it, and nobody else");
    assert!(headers.iter().all(|it| it.timestamp == headers[0].timestamp && it.ssrc == Ssrc(1)));
    assert!(headers[0].marker && headers[0].payload_type == DIGITS);
    // Three digits and three frames, numbered together.
    let last = RtpPacket::parse(&last).unwrap().header.sequence_number;
    assert_eq!(last.0, headers[0].sequence_number.0.wrapping_add(5));
}

#[test]
fn a_stall_is_left_out_and_garbage_does_no_harm() {
    let tones = [(0, PCMA, 500.0), (1, PCMU, 800.0)];
    let mut room = Room::new(vec![voice(0, PCMA, &[1]), voice(1, PCMU, &[0])], &tones);
    room.run(10, |_, _| false);
    room.now += Duration::from_secs(3600);
    room.run(10, |_, _| false);
    let count = room.got[&0].len();
    assert!((20..=26).contains(&count), "{count}");
    let headers = room.got[&0].iter().map(|p| RtpPacket::parse(p).unwrap().header);
    let timestamps: Vec<_> = headers.map(|header| header.timestamp.0).collect();
    // The clock of the stream has moved on by the hour.
    let span = timestamps.last().unwrap().wrapping_sub(timestamps[0]);
    assert!(span > 3600 * 8000);
    for bytes in [&[][..], &[0x80; 3], &[0xff; 40], &[0x80, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]] {
        room.mixer.receive(0, bytes, |_, _| {});
        room.mixer.receive(99, bytes, |_, _| {});
    }
    room.run(10, |_, _| false);
}

#[test]
fn what_is_late_is_not_kept() {
    // A phone that sends a second of sound at once must not lag by a second ever after.
    let tones = [(0, PCMA, 500.0), (1, PCMU, 800.0)];
    let mut room = Room::new(vec![voice(0, PCMA, &[1]), voice(1, PCMU, &[0])], &tones);
    for _ in 0..50 {
        let packet = room.speakers.get_mut(&1).unwrap().packet();
        room.mixer.receive(1, &packet, |_, _| {});
    }
    room.speakers.clear();
    room.run(20, |_, _| false);
    let mut pcm = Vec::new();
    for packet in &room.got[&0] {
        crate::g711::Law::A.decode(RtpPacket::parse(packet).unwrap().payload, &mut pcm);
    }
    let loud = pcm.iter().filter(|sample| sample.unsigned_abs() > 500).count();
    assert!(loud < 8000 / 5, "{loud} samples of sound came after all");
}

#[test]
fn a_tone_is_heard_by_whom_it_is_played_to_until_it_is_over() {
    let voices = vec![voice(0, PCMA, &[1]), voice(1, PCMU, &[])];
    let mut room = Room::new(voices.clone(), &[(1, PCMU, 800.0)]);
    room.mixer.play(1, Some(Piece::Tone(Tone::RingBack)));
    room.mixer.play(7, Some(Piece::Tone(Tone::RingBack)));
    room.run(40, |_, _| false);
    // Saying it again does not begin it anew, nor does who else is in the room.
    room.mixer.play(1, Some(Piece::Tone(Tone::RingBack)));
    room.mixer.set(voices, || start(9));
    room.run(60, |_, _| false);
    room.assert_hears(0, PCMA, &[1]);
    let mut waves = [0, 0];
    for (second, packets) in room.got[&1].chunks(50).enumerate() {
        let mut pcm = Vec::new();
        let mut decoder = Decoder::new(&format(PCMU)).unwrap();
        for packet in packets {
            decoder.decode(RtpPacket::parse(packet).unwrap().payload, &mut pcm);
        }
        waves[second] = pcm.windows(2).filter(|pair| pair[0] < -500 && pair[1] >= -500).count();
    }
    assert!((445..=452).contains(&waves[0]), "{waves:?}");
    // But for what the filter still holds.
    assert!(waves[1] <= 1, "four seconds of silence: {waves:?}");
    room.mixer.play(1, None);
    room.got.clear();
    room.run(300, |_, _| false);
    room.assert_hears(1, PCMU, &[]);
}

#[test]
fn what_is_played_falls_silent_for_whoever_speaks_and_begins_anew() {
    let music: std::sync::Arc<[i16]> = (0..16_000).map(|at| (at % 200) * 100 - 10_000).collect();
    let piece = || Some(Piece::Music(music.clone()));
    // Past the mixer: nothing at all is sent for a while.
    let mut room = Room::new(vec![voice(0, PCMA, &[])], &[]);
    room.mixer.play(0, piece());
    room.run(10, |_, _| false);
    assert_eq!(room.got[&0].len(), 10);
    room.mixer.passes_across(0);
    room.run(19, |_, _| false);
    assert_eq!(room.got[&0].len(), 10, "0.4 s for the other");
    room.run(10, |_, _| false);
    let headers: Vec<_> =
        room.got[&0].iter().map(|it| RtpPacket::parse(it).unwrap().header).collect();
    assert_eq!(headers.len(), 20);
    assert!(headers[10].marker && headers[10].sequence_number == headers[9].sequence_number.next());
    assert_eq!(headers[10].timestamp.0.wrapping_sub(headers[9].timestamp.0), 20 * 160);
    let payload = |at: usize| RtpPacket::parse(&room.got[&0][at]).unwrap().payload.to_vec();
    assert_eq!(payload(11), payload(1), "from its beginning");
    // By the mixer: the other alone is heard.
    let mut room = Room::new(vec![voice(0, PCMA, &[1]), voice(1, PCMU, &[])], &[(1, PCMU, 800.0)]);
    room.mixer.play(0, piece());
    room.run(100, |_, _| false);
    room.assert_hears(0, PCMA, &[1]);
}
