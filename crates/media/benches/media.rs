//! What it costs to make samples and files of a call. Each unit is named in the bench.

use cheling_media::codec::PayloadMap;
use cheling_media::decoder::Decoder;
use cheling_media::g711::Law;
use cheling_media::lane::{Before, Lane, WINDOW_SAMPLES};
use cheling_media::ogg_opus::{OggOpusWriter, OpusSettings};
use cheling_media::rtp::{RtpHeader, RtpPacket, SequenceNumber, Ssrc, Timestamp};
use cheling_media::speech::SpeechMeter;
use cheling_media::timeline::{PacketTime, Timeline};
use divan::Bencher;

fn main() {
    divan::main();
}

/// A minute of A-law packets of one direction.
fn minute() -> Vec<Vec<u8>> {
    (0..3000_u32)
        .map(|n| {
            let payload: Vec<u8> = (0..160).map(|byte| (n * 31 + byte * 7) as u8).collect();
            let header = RtpHeader {
                payload_type: Law::A.payload_type(),
                marker: n == 0,
                sequence_number: SequenceNumber(n as u16),
                timestamp: Timestamp(n * 160),
                ssrc: Ssrc(1),
            };
            let mut bytes = Vec::new();
            header.write(&payload, &mut bytes).expect("payload type 8 fits");
            bytes
        })
        .collect()
}

/// Wire bytes of one direction to samples in place: parse, time line, decode, lane.
#[divan::bench]
fn one_lane_minute(bencher: Bencher) {
    let packets = minute();
    let formats = PayloadMap::default();
    bencher.counter(packets.len()).bench(|| {
        let mut timeline = Timeline::new(0);
        for (n, bytes) in packets.iter().enumerate() {
            let packet = RtpPacket::parse(bytes).expect("made above");
            timeline.push(PacketTime {
                arrival_us: n as i64 * 20_000,
                ssrc: packet.header.ssrc,
                clock_rate_hz: 8000,
                timestamp: packet.header.timestamp,
            });
        }
        let mut places = timeline.finish();
        let mut lane = Lane::new(8000, 60 * 8000);
        let format = formats.format(Law::A.payload_type());
        let mut decoder = Decoder::new(format).expect("A-law is decoded");
        let (mut pcm, mut out) = (Vec::new(), Vec::with_capacity(60 * 8000));
        for (n, bytes) in packets.iter().enumerate() {
            let packet = RtpPacket::parse(bytes).expect("made above");
            pcm.clear();
            decoder.decode(packet.payload, &mut pcm);
            if let Some(Some(place)) = places.next() {
                lane.place(place, Before::Loss, &pcm);
            }
            if n % 400 == 0 {
                lane.advance((n as u64 * 160).saturating_sub(WINDOW_SAMPLES), &mut out);
            }
        }
        lane.advance(u64::MAX, &mut out);
        out
    });
}

/// A minute of two lanes measured.
#[divan::bench]
fn speech_minute(bencher: Bencher) {
    let lane: Vec<i16> = (0..60 * 8000).map(|n| (n * 7 % 20_000) as i16).collect();
    bencher.bench(|| {
        let mut meter = SpeechMeter::new(8000);
        meter.push([&lane, &lane]);
        meter.finish()
    });
}

/// A minute of two lanes encoded at 24 kbit/s, by complexity.
#[divan::bench(args = [0, 3, 5])]
fn opus_minute(bencher: Bencher, complexity: i32) {
    let samples: Vec<i16> = (0..60 * 8000)
        .flat_map(|n| {
            let loud = f64::from((n / 4000) % 3) * 3000.0;
            let at = f64::from(n) * std::f64::consts::TAU / 8000.0;
            let voice = (at * 180.0).sin() + (at * 730.0).sin() + (at * 1900.0).sin();
            [(loud * voice) as i16, ((6000.0 - loud) * (at * 300.0).sin()) as i16]
        })
        .collect();
    bencher.bench(|| {
        let settings = OpusSettings { complexity, ..OpusSettings::default() };
        let mut writer =
            OggOpusWriter::new(Vec::new(), 8000, settings, 1, &[]).expect("writes to memory");
        writer.write(&samples).expect("writes to memory");
        writer.finish().expect("writes to memory")
    });
}
