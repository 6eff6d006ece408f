//! Every codec that is decoded, on either lane and beside every other: right lane, right
//! frequency, right time, right length, and nothing wide made narrow.
#![allow(clippy::unwrap_used)]

mod scene;

use std::f64::consts::TAU;

use cheling_media::g711::Law;
use cheling_media::g722;
use cheling_media::rtp::Ssrc;
use cheling_model::tap::{PacketKind, TapBlock, TapPacket};
use cheling_model::{Lane, Timestamp, Verdict};
use opus::{Application, Channels, Encoder};
use scene::{ANSWERED_US, Sent, Studio, amplitude_at, begin, call_id, end, packet, send};

/// The tone of the fixture, and so of GSM.
const GSM_HZ: f64 = 700.0;

/// A second of it, encoded by SoX.
const GSM_TONE: &[u8] = include_bytes!("scene/tone_700.gsm");

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Pcma,
    G722,
    Gsm,
    Opus,
    OpusStereo,
    L16,
    L16Cd,
}

impl Kind {
    const ALL: [Self; 7] =
        [Self::Pcma, Self::G722, Self::Gsm, Self::Opus, Self::OpusStereo, Self::L16, Self::L16Cd];

    /// Payload type, sample rate, RTP clock, rate the file must have at least.
    fn shape(self) -> (u8, u32, u32, u32) {
        match self {
            Self::Pcma => (8, 8000, 8000, 8000),
            Self::G722 => (9, 16_000, 8000, 16_000),
            Self::Gsm => (3, 8000, 8000, 8000),
            Self::Opus | Self::OpusStereo => (96, 48_000, 48_000, 48_000),
            Self::L16 => (97, 16_000, 16_000, 16_000),
            Self::L16Cd => (98, 44_100, 44_100, 48_000),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Pcma => "PCMA",
            Self::G722 => "G722",
            Self::Gsm => "GSM",
            Self::Opus | Self::OpusStereo => "opus",
            Self::L16 | Self::L16Cd => "L16",
        }
    }

    /// A tone that only a codec of this width carries.
    fn hz(self) -> f64 {
        match self {
            Self::Gsm => GSM_HZ,
            Self::Pcma => 1100.0,
            _ => 5300.0,
        }
    }
}

/// 20 ms packets of a tone, sent from `from_ms` to `to_ms`.
fn sent(kind: Kind, lane: Lane, from_ms: i64, to_ms: i64) -> Vec<Sent> {
    let (payload_type, rate_hz, clock_hz, _) = kind.shape();
    let samples = rate_hz as usize / 50;
    let mut g722 = g722::Encoder::default();
    let channels = if kind == Kind::OpusStereo { Channels::Stereo } else { Channels::Mono };
    let mut opus = Encoder::new(48_000, channels, Application::Audio).unwrap();
    (from_ms / 20..to_ms / 20)
        .map(|n| {
            let at = |sample: usize| (n as usize * samples + sample) as f64;
            let pcm: Vec<i16> = (0..samples)
                .map(|sample| at(sample) * kind.hz() * TAU / f64::from(rate_hz))
                .map(|angle| (8000.0 * angle.sin()) as i16)
                .collect();
            let both = || pcm.iter().flat_map(|&sample| [sample, sample]);
            let mut payload = Vec::new();
            match kind {
                Kind::Pcma => Law::A.encode(&pcm, &mut payload),
                Kind::G722 => g722.encode(&pcm, &mut payload),
                Kind::Gsm => {
                    payload.extend(&GSM_TONE[(n - from_ms / 20) as usize % 50 * 33..][..33])
                }
                Kind::Opus => payload = opus.encode_vec(&pcm, 1275).unwrap(),
                Kind::OpusStereo => {
                    payload = opus.encode_vec(&both().collect::<Vec<_>>(), 1275).unwrap();
                }
                Kind::L16 => payload.extend(pcm.iter().flat_map(|sample| sample.to_be_bytes())),
                Kind::L16Cd => payload.extend(both().flat_map(i16::to_be_bytes)),
            }
            let timestamp = n as u32 * (clock_hz / 50);
            let ssrc = Ssrc(0x2000 + lane.index() as u32);
            let bytes = packet(payload_type, ssrc, n as u16, timestamp, &payload);
            Sent { at_us: n * 20_000, lane, voice: 0, bytes }
        })
        .collect()
}

/// When a lane is first and last loud, in ms.
fn heard(samples: &[i16], rate_hz: u32) -> (usize, usize) {
    let per_ms = rate_hz as usize / 1000;
    let is_loud = |sample: &i16| sample.unsigned_abs() > 1500;
    let first = samples.iter().position(is_loud).unwrap() / per_ms;
    (first, samples.iter().rposition(is_loud).unwrap() / per_ms)
}

#[test]
fn each_codec_beside_each_other_is_on_its_lane_at_its_time() {
    let studio = Studio::new();
    let mut call = 0;
    for left in Kind::ALL {
        for right in Kind::ALL {
            // One talks from 0.5 s to 1.5 s, the other from 1 s to 2 s of 2.5 s.
            let mut packets = sent(left, Lane::Customer, 500, 1500);
            packets.extend(sent(right, Lane::Agent, 1000, 2000));
            call += 1;
            let journal = studio.journal.handle();
            let id = call_id(call);
            begin(&journal, id);
            send(&journal, id, packets);
            end(&journal, id, 2500);
            let recording = studio.render(id).unwrap();
            let what = format!("{left:?} and {right:?}");
            let rate_hz = left.shape().3.max(right.shape().3);
            assert_eq!(recording.sample_rate_hz, rate_hz, "{what}");
            assert_eq!(recording.verdict, Verdict::Ok, "{what}");
            assert_eq!(recording.encodings, [left.name(), right.name()], "{what}");
            assert_eq!(recording.duration_us, 2_500_000, "{what}");
            let lanes = studio.lanes(&recording);
            for (lane, (kind, other, from)) in
                lanes.iter().zip([(left, right, 500), (right, left, 1000)])
            {
                assert_eq!(lane.len(), rate_hz as usize * 5 / 2, "{what}");
                let (first, last) = heard(lane, rate_hz);
                // A codec and a filter may look back or ahead, and a tone is made softly.
                assert!((from - 5..from + 30).contains(&first), "{what}: from {first} ms");
                assert!((from + 970..from + 1040).contains(&last), "{what}: to {last} ms");
                let ms = rate_hz as usize / 1000;
                let middle = &lane[(from + 200) * ms..(from + 800) * ms];
                let level = amplitude_at(middle, kind.hz(), rate_hz);
                let least = if kind == Kind::Gsm { 1200.0 } else { 5500.0 };
                assert!((least..9000.0).contains(&level), "{what}: {level}");
                if other.hz() != kind.hz() {
                    assert!(amplitude_at(middle, other.hz(), rate_hz) < 150.0, "{what}");
                }
            }
            let peaks = studio.files.companion(&recording.path, "peaks").unwrap();
            let windows = (std::fs::read(peaks).unwrap().len() - 12) / 2;
            assert_eq!(windows, 63, "windows of 40 ms at any rate");
            assert!(recording.quality.iter().all(|lane| lane.mos.unwrap() > 3.5), "{what}");
            journal.done(id).unwrap();
        }
    }
}

#[test]
fn a_codec_changed_in_the_call_moves_nothing() {
    let studio = Studio::new();
    let mut packets = sent(Kind::Pcma, Lane::Customer, 0, 1000);
    packets.extend(sent(Kind::G722, Lane::Customer, 1000, 2000));
    let opus = sent(Kind::Opus, Lane::Customer, 2000, 3000);
    packets.extend(opus);
    packets.extend(sent(Kind::Pcma, Lane::Customer, 3000, 4000));
    packets.extend(sent(Kind::Pcma, Lane::Agent, 0, 4000));
    let recording = studio.recorded(packets, 4000);
    assert_eq!((recording.sample_rate_hz, recording.verdict), (48_000, Verdict::Ok));
    let [left, right] = studio.lanes(&recording);
    assert_eq!((left.len(), right.len()), (192_000, 192_000));
    for (from_ms, kind) in
        [(0, Kind::Pcma), (1000, Kind::G722), (2000, Kind::Opus), (3000, Kind::Pcma)]
    {
        let part = |from: usize| &left[(from_ms + from) * 48..(from_ms + from + 300) * 48];
        for from in [60, 350, 640] {
            let level = amplitude_at(part(from), kind.hz(), 48_000);
            assert!((5500.0..9000.0).contains(&level), "{kind:?} at {from_ms} + {from}: {level}");
        }
    }
    assert_eq!(recording.quality[0].lost_packets, 0);
    assert_eq!(recording.quality[0].concealed_ms, 0);
    assert!(amplitude_at(&right, 1100.0, 48_000) > 7000.0);
}

#[test]
fn loss_is_made_up_for_and_counted_and_costs_quality() {
    let studio = Studio::new();
    for (n, kind) in [Kind::Pcma, Kind::G722, Kind::Opus].into_iter().enumerate() {
        let mut packets = sent(kind, Lane::Customer, 0, 6000);
        let mut number = 0;
        packets.retain(|_| {
            number += 1;
            number % 20 != 0
        });
        packets.extend(sent(kind, Lane::Agent, 0, 6000));
        let recording = studio.recorded(packets, 6000 + n as i64 * 20);
        let [left, right] = recording.quality;
        assert_eq!((left.lost_packets, right.lost_packets), (14, 0), "{kind:?}");
        assert!((260..=300).contains(&left.concealed_ms), "{kind:?}: {left:?}");
        assert_eq!(right.concealed_ms, 0, "{kind:?}");
        let (poor, good) = (left.mos.unwrap(), right.mos.unwrap());
        assert!(good > 4.3 && poor < 4.2 && poor > 3.0, "{kind:?}: {poor} {good}");
        let [lane, _] = studio.lanes(&recording);
        let rate_hz = recording.sample_rate_hz;
        let gone = 19 * 20 * rate_hz as usize / 1000;
        let made_up = &lane[gone..gone + rate_hz as usize / 50];
        let level = amplitude_at(made_up, kind.hz(), rate_hz);
        assert!(level > 2000.0, "{kind:?}: {level}");
    }
}

#[test]
fn silence_suppressed_by_comfort_noise_is_quiet_and_no_loss() {
    let studio = Studio::new();
    let mut packets = sent(Kind::Pcma, Lane::Customer, 0, 3000);
    // From 1 s to 2 s one comfort noise packet only.
    packets.retain(|sent| !(1_000_000..2_000_000).contains(&sent.at_us));
    let ssrc = Ssrc(0x2000);
    let noise = packet(13, ssrc, 50, 50 * 160, &[70]);
    for (n, sent) in packets.iter_mut().skip(50).enumerate() {
        sent.bytes[2..4].copy_from_slice(&(51 + n as u16).to_be_bytes());
    }
    packets.push(Sent { at_us: 1_000_000, lane: Lane::Customer, voice: 0, bytes: noise });
    packets.extend(sent(Kind::Pcma, Lane::Agent, 0, 3000));
    let recording = studio.recorded(packets, 3000);
    let quality = recording.quality[0];
    assert_eq!((quality.lost_packets, quality.concealed_ms), (0, 0));
    assert!(quality.mos.unwrap() > 4.3);
    let [left, _] = studio.lanes(&recording);
    assert!(left[8000..16_000].iter().all(|&sample| sample.abs() < 20));
    assert!(amplitude_at(&left[16_000..], 1100.0, 8000) > 7000.0);
}

#[test]
fn reports_of_the_far_ends_are_kept_with_the_lane_they_are_about() {
    let studio = Studio::new();
    let journal = studio.journal.handle();
    let id = call_id(9000);
    begin(&journal, id);
    let mut packets = sent(Kind::Pcma, Lane::Customer, 0, 2000);
    packets.extend(sent(Kind::Pcma, Lane::Agent, 0, 2000));
    send(&journal, id, packets);
    // The agent's phone sends a report; the customer's answers 60 ms later, 20 ms of them its own.
    let mut sender_report = vec![0x80, 200, 0, 6, 0, 0, 0x20, 1];
    sender_report.extend(0x0000_1234_5678_0000_u64.to_be_bytes());
    sender_report.extend([0; 12]);
    let mut receiver_report = vec![0x81, 201, 0, 7, 0, 0, 0x20, 0];
    for word in [0x2001, 12, 0, 0, 0x1234_5678, 65_536 / 50_u32] {
        receiver_report.extend(word.to_be_bytes());
    }
    let mut voip = vec![0x80, 207, 0, 10, 0, 0, 0x20, 0, 7, 0, 0, 8, 0, 0, 0x20, 1];
    voip.extend([0; 14]);
    voip.extend([0, 16, 80, 127, 39, 38, 0, 0, 0, 0, 0, 0, 0, 0]);
    receiver_report.extend(voip);
    let mut block = TapBlock::default();
    for (at_us, lane, bytes) in [
        (1_000_000, Lane::Agent, &sender_report),
        (1_060_000, Lane::Customer, &receiver_report),
        (1_100_000, Lane::Customer, &vec![0x81, 201, 0, 200]),
    ] {
        block.push(TapPacket {
            call_id: id,
            lane,
            voice: 0,
            kind: PacketKind::Rtcp,
            at: Timestamp::from_micros(ANSWERED_US + at_us),
            bytes,
        });
    }
    journal.try_media(block).unwrap();
    end(&journal, id, 2000);
    let [customer, agent] = studio.render(id).unwrap().quality;
    assert_eq!(agent.far_lost_packets, Some(12));
    assert_eq!(agent.far_mos, Some(3.9));
    assert!((39_900..40_100).contains(&customer.round_trip_us.unwrap()), "{customer:?}");
    assert_eq!((agent.round_trip_us, customer.far_mos), (None, None));
}
