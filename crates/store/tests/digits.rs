//! Digits sent as tones: silence on the lane that has them if asked for, and the row says where.
#![allow(clippy::unwrap_used)]

mod scene;

use std::f64::consts::TAU;

use cheling_media::dtmf_tones::InbandDigits;
use cheling_media::g711::Law;
use cheling_media::rtp::Ssrc;
use cheling_model::recording::Recording;
use cheling_model::{Lane, Verdict};
use cheling_store::render::RenderSettings;
use scene::{Sent, Studio, amplitude, packet, tone};

/// When a digit is pressed, in packets: a number of four, and later one more.
const PRESSED: [std::ops::Range<i64>; 5] = [200..205, 210..215, 220..225, 230..235, 700..704];

/// The customer speaks (440 Hz) for 20 s and presses `5` five times; the agent speaks all the time.
fn recorded(digits: InbandDigits) -> (Studio, Recording) {
    let mut studio = Studio::new();
    studio.settings = RenderSettings { inband_digits: digits, ..studio.settings };
    let mut packets = tone(Lane::Agent, Law::Mu, 1000.0, 0, 20_000);
    packets.extend((0..1000_i64).map(|n| {
        let tones = match PRESSED.iter().any(|pressed| pressed.contains(&n)) {
            true => [770.0, 1336.0],
            false => [440.0, 440.0],
        };
        let sample = |at: i64| {
            let at = (n * 160 + at) as f64 * TAU / 8000.0;
            tones.iter().map(|hz| 5000.0 * (at * hz).sin()).sum::<f64>() as i16
        };
        let mut payload = Vec::new();
        Law::A.encode(&(0..160).map(sample).collect::<Vec<_>>(), &mut payload);
        let bytes = packet(8, Ssrc(5), n as u16, n as u32 * 160, &payload);
        Sent { at_us: n * 20_000, lane: Lane::Customer, voice: 0, bytes }
    }));
    let recording = studio.recorded(packets, 20_000);
    (studio, recording)
}

#[test]
fn digits_are_silence_on_their_lane_only_and_the_row_says_where() {
    let (studio, recording) = recorded(InbandDigits::Silenced);
    assert_eq!((recording.verdict, recording.duration_us), (Verdict::Ok, 20_000_000));
    let [left, right] = studio.lanes(&recording);
    assert_eq!((left.len(), right.len()), (160_000, 160_000));
    for pressed in PRESSED {
        let (from, to) = (pressed.start as usize * 160, pressed.end as usize * 160);
        assert!(left[from..to].iter().all(|it| *it == 0), "{pressed:?}");
    }
    // What is said beside them stays, at its time, and so does the other lane.
    for (from, to) in [(0, 31_600), (32_900, 33_500), (38_000, 111_700), (112_900, 160_000)] {
        assert!(amplitude(&left[from..to], 440.0) > 9000.0, "{from}");
    }
    assert!(amplitude(&right, 1000.0) > 7500.0);
    let near = |at: i64, want: i64| (at - want).abs() <= 20;
    let [number, single] = recording.digits[..] else { panic!("{:?}", recording.digits) };
    assert!(near(number.from_ms, 4000) && near(number.until_ms, 4700), "{number:?}");
    assert!(near(single.from_ms, 14_000) && near(single.until_ms, 14_080), "{single:?}");
    // The outline is of what is heard.
    let peaks = studio.files.resolve(&recording.path).unwrap().with_extension("peaks");
    let peaks = &std::fs::read(peaks).unwrap()[12..];
    assert_eq!(peaks[2 * 101], 0, "4.04 s");
    assert!(peaks[2 * 90] > 60);
    assert!(recording.pauses.is_empty());
}

#[test]
fn digits_are_kept_if_nobody_asked() {
    let (studio, recording) = recorded(InbandDigits::Kept);
    assert!(recording.digits.is_empty());
    let [left, _] = studio.lanes(&recording);
    assert!(amplitude(&left[32_100..32_700], 770.0) > 4500.0);
}
