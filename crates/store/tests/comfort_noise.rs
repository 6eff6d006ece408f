//! What is heard while a sender is silent and says how loud its silence is.
#![allow(clippy::unwrap_used)]

mod scene;

use cheling_media::g711::Law;
use cheling_media::rtp::Ssrc;
use cheling_model::{Lane, Verdict};
use opus::{Application, Channels, Encoder};
use scene::{Sent, Studio, amplitude, packet, tone};

fn level_db(samples: &[i16]) -> f64 {
    let squares: f64 = samples.iter().map(|it| f64::from(*it).powi(2)).sum();
    10.0 * (squares / samples.len() as f64 / (32_768.0 * 32_768.0)).log10()
}

/// How alike neighbouring samples are: 1 is the same.
fn alikeness(samples: &[i16]) -> f64 {
    let sum = |apart: usize| -> f64 {
        let pairs = samples.iter().zip(&samples[apart..]);
        pairs.map(|(one, other)| f64::from(*one) * f64::from(*other)).sum()
    };
    sum(1) / sum(0)
}

/// The customer's packets of 10 s but for a silence from 3 s to 7 s, in which `descriptors` are sent
/// at milliseconds of their own; their timestamps do not go on, as those of some gateways.
fn recorded(descriptors: &[(i64, &[u8])]) -> (Studio, cheling_model::recording::Recording) {
    let studio = Studio::new();
    let mut packets = tone(Lane::Agent, Law::A, 1000.0, 0, 10_000);
    let mut number = 0;
    for mut sent in tone(Lane::Customer, Law::A, 440.0, 0, 10_000) {
        let at_ms = sent.at_us / 1000;
        for (_, level) in descriptors.iter().filter(|(at, _)| *at == at_ms) {
            let bytes = packet(13, Ssrc(0x11b8), number, 24_000, level);
            packets.push(Sent { bytes, ..sent.clone() });
            number += 1;
        }
        if !(3000..7000).contains(&at_ms) {
            sent.bytes[8..12].copy_from_slice(&0x11b8_u32.to_be_bytes());
            sent.bytes[2..4].copy_from_slice(&number.to_be_bytes());
            packets.push(sent);
            number += 1;
        }
    }
    let recording = studio.recorded(packets, 10_000);
    (studio, recording)
}

#[test]
fn silence_is_as_loud_as_its_sender_says() {
    let (studio, recording) = recorded(&[(3000, &[62, 100, 120]), (5000, &[70])]);
    assert_eq!(recording.verdict, Verdict::Ok);
    let [left, right] = studio.lanes(&recording);
    for (from, to, want) in [(24_000, 40_000, -62.0), (40_000, 56_000, -70.0)] {
        let got = level_db(&left[from + 200..to - 200]);
        assert!((got - want).abs() < 0.5, "{got} is not {want}");
    }
    // The first descriptor says how it is coloured, the second does not.
    for (from, to, want) in [(24_000, 40_000, 0.21), (40_000, 56_000, 0.0)] {
        let got = alikeness(&left[from + 200..to - 200]);
        assert!((got - want).abs() < 0.04, "{got} is not {want}");
    }
    // Speech is where it was, and the noise is not taken for speech.
    assert!(amplitude(&left[..24_000], 440.0) > 7500.0);
    assert!(amplitude(&left[56_000..], 440.0) > 7500.0);
    assert!(amplitude(&right, 1000.0) > 7500.0);
    assert!(recording.speech.talk_ratio[0] < 0.66, "{:?}", recording.speech);
    assert_eq!(recording.quality[0].concealed_ms, 0);
    assert_eq!(recording.quality[0].lost_packets, 0);
}

#[test]
fn noise_that_claims_to_be_loud_is_held_down_and_an_empty_descriptor_is_silence() {
    let (studio, recording) = recorded(&[(3000, &[])]);
    let [left, _] = studio.lanes(&recording);
    assert!(left[24_200..55_800].iter().all(|it| *it == 0));
    let (studio, recording) = recorded(&[(3000, &[3])]);
    let [left, _] = studio.lanes(&recording);
    let got = level_db(&left[24_200..55_800]);
    assert!((got + 52.0).abs() < 0.5, "{got}");
    assert!(recording.speech.talk_ratio[0] < 0.66, "{:?}", recording.speech);
}

#[test]
fn opus_that_sends_nothing_while_it_is_silent_leaves_no_hole() {
    let studio = Studio::new();
    let mut encoder = Encoder::new(48_000, Channels::Mono, Application::Voip).unwrap();
    encoder.set_dtx(true).unwrap();
    let mut packets = tone(Lane::Agent, Law::A, 1000.0, 0, 10_000);
    let (mut seed, mut sent_ones, mut number) = (1_u32, 0, 0_u16);
    for n in 0..500_i64 {
        let is_speech = !(150..350).contains(&n);
        let sample = |at: i64| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let breath = f64::from(seed >> 16) / 65_536.0 * 60.0 - 30.0;
            let at = (n * 960 + at) as f64 / 48_000.0 * std::f64::consts::TAU;
            let voice = 6000.0 * (at * 200.0).sin() + 3000.0 * (at * 600.0).sin();
            (breath + if is_speech { voice } else { 0.0 }) as i16
        };
        let payload = encoder.encode_vec(&(0..960).map(sample).collect::<Vec<_>>(), 400).unwrap();
        // A packet of two bytes or less need not be sent (RFC 6716 §2.1.9): one in twenty is.
        if payload.len() <= 2 && n % 20 != 0 {
            continue;
        }
        sent_ones += usize::from(payload.len() <= 2);
        let bytes = packet(96, Ssrc(9), number, n as u32 * 960, &payload);
        packets.push(Sent { at_us: n * 20_000, lane: Lane::Customer, voice: 0, bytes });
        number += 1;
    }
    assert!(sent_ones >= 2, "the encoder falls silent: {sent_ones}");
    let recording = studio.recorded(packets, 10_000);
    let [left, _] = studio.lanes(&recording);
    assert_eq!(recording.sample_rate_hz, 48_000);
    let holes = left[48_000 * 5..48_000 * 65 / 10].iter().filter(|it| **it == 0).count();
    assert!(holes < 48_000, "{holes} samples of 72 000 are nothing at all");
    assert!(recording.speech.talk_ratio[0] < 0.75, "{:?}", recording.speech);
}
