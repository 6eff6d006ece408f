use proptest::prelude::*;

use super::*;

fn at(position: i64) -> Placement {
    Placement { position, stream: 0 }
}

fn all(mut lane: Lane) -> Vec<i16> {
    let mut out = Vec::new();
    lane.advance(u64::MAX, &mut out);
    out
}

#[test]
fn order_and_duplicates_do_not_change_the_samples() {
    let packet = |n: i64| vec![n as i16 + 1; 160];
    let mut want = Vec::new();
    (0..5).for_each(|n| want.extend(packet(n)));
    for order in [&[0, 1, 2, 3, 4][..], &[4, 3, 2, 1, 0], &[0, 2, 2, 1, 3, 0, 4, 4]] {
        let mut lane = Lane::new(8000, 800);
        for &n in order {
            lane.place(at(n * 160), Before::Loss, &packet(n));
        }
        assert_eq!(lane.counts().heard_samples, 800, "{order:?}");
        assert_eq!(all(lane), want, "{order:?}");
    }
}

#[test]
fn a_lane_is_as_long_as_its_call_whatever_came() {
    let mut lane = Lane::new(8000, 1000);
    lane.place(at(-80), Before::Loss, &[5; 160]);
    lane.place(at(920), Before::Loss, &[6; 160]);
    lane.place(at(i64::MAX - 5), Before::Loss, &[7; 160]);
    lane.place(at(i64::MIN), Before::Loss, &[7; 160]);
    assert_eq!(lane.counts().outside_samples, 80 + 80 + 160 + 160);
    let out = all(lane);
    assert_eq!((out.len(), out[79], out[920]), (1000, 5, 6));
    assert_eq!(all(Lane::new(8000, 50)), [0; 50]);
}

#[test]
fn a_lost_packet_is_concealed_and_a_long_gap_is_silence() {
    let mut lane = Lane::new(8000, 8000);
    lane.place(at(0), Before::Loss, &[1000; 160]);
    lane.place(at(320), Before::Loss, &[1000; 160]);
    lane.place(at(4000), Before::Loss, &[1000; 160]);
    let counts = {
        let mut out = Vec::new();
        lane.advance(5000, &mut out);
        assert!(out[160..320].iter().all(|&sample| (600..=1000).contains(&sample)));
        assert!(out[480..900].is_sorted_by(|a, b| a >= b), "fades");
        assert!(out[960..4000].iter().all(|&sample| sample == 0));
        lane.counts()
    };
    assert_eq!(counts.concealed_samples, 160 + 480);
}

#[test]
fn a_pause_of_the_sender_is_silence_at_once() {
    let mut lane = Lane::new(8000, 1000);
    lane.place(at(0), Before::Loss, &[1000; 160]);
    lane.place(at(400), Before::Pause, &[1000; 160]);
    assert_eq!(lane.counts().concealed_samples, 0);
    assert!(all(lane)[160..400].iter().all(|&sample| sample == 0));
}

#[test]
fn a_fast_lane_has_the_same_times_and_no_seams() {
    // 1024 ticks of 44 100 Hz are 185.76 places: each is rounded down.
    let mut lane = Lane::new(44_100, 44_100);
    for n in 0..40_i64 {
        lane.place(at(n * 1024 * 8000 / 44_100), Before::Loss, &[700; 1024]);
    }
    assert_eq!(lane.counts().heard_samples, 40 * 1024);
    let out = all(lane);
    assert!(out[..40 * 1024].iter().all(|&sample| sample == 700));
    let mut lane = Lane::new(48_000, 48_000);
    lane.place(at(0), Before::Loss, &[1000; 960]);
    lane.place_recovered(at(480), &[500; 960]);
    lane.place(at(480), Before::Loss, &[1000; 960]);
    lane.place(at(800), Before::Loss, &[1000; 960]);
    lane.advance(2880, &mut Vec::new());
    assert_eq!((lane.counts().heard_samples, lane.concealed_ms()), (2880, 20 + 20));
}

fn level_db(pcm: &[i16]) -> f64 {
    let squares: f64 = pcm.iter().map(|&it| f64::from(it) * f64::from(it)).sum();
    10.0 * (squares / pcm.len() as f64 / (32_768.0 * 32_768.0)).log10()
}

#[test]
fn comfort_noise_has_the_level_it_was_given_until_its_stream_is_heard_again() {
    for (rate_hz, given, want) in [
        (8000, -60.0, -60.0),
        (8000, -70.0, -70.0),
        (48_000, -60.0, -60.0),
        (8000, 0.0, -52.0), // It must not pass for speech.
        (8000, f32::INFINITY, -52.0),
    ] {
        let scale = u64::from(rate_hz / 8000);
        let packet = vec![9000; 160 * scale as usize];
        let mut lane = Lane::new(rate_hz, 40_000 * scale);
        lane.place(at(0), Before::Loss, &packet);
        lane.comfort_noise(at(160), &ComfortNoise::white(given));
        lane.place(Placement { position: 8000, stream: 1 }, Before::Loss, &packet);
        lane.place(at(16_000), Before::Pause, &packet);
        let out = all(lane);
        let part = |from: u64, to: u64| &out[(from * scale) as usize..(to * scale) as usize];
        for (from, to) in [(160, 8000), (8160, 16_000)] {
            let got = level_db(part(from, to));
            assert!((got - want).abs() < 0.5, "{rate_hz} {given}: {got}");
        }
        // Another stream is not touched, and what comes after the next packet is silence.
        assert!(part(8000, 8160).iter().all(|&it| it == 9000));
        assert!(part(16_160, 40_000).iter().all(|&it| it == 0), "{rate_hz}");
    }
}

#[test]
fn comfort_noise_changes_with_its_sender_and_ends_with_it() {
    let mut lane = Lane::new(8000, 1_000_000);
    let mut out = Vec::new();
    for n in 0..3 {
        lane.comfort_noise(at(n * 8000), &ComfortNoise::white(-55.0 - 5.0 * n as f32));
        lane.advance(n as u64 * 8000 + 100, &mut out);
    }
    lane.comfort_noise(at(0), &ComfortNoise::white(-55.0)); // Too late to be heard before 16 100, and then …
    lane.comfort_noise(at(16_100), &ComfortNoise::white(-65.0)); // … taken back.
    lane.comfort_noise(at(i64::MAX), &ComfortNoise::white(-55.0));
    lane.comfort_noise(at(i64::MIN), &ComfortNoise::white(f32::NAN));
    lane.advance(u64::MAX, &mut out);
    for (n, want) in [(0, -55.0), (1, -60.0), (2, -65.0)] {
        let got = level_db(&out[n * 8000 + 100..(n + 1) * 8000]);
        assert!((got - want).abs() < 0.5, "{n}: {got}");
    }
    // A minute, and no more.
    assert!(out[16_100 + 480_000..].iter().all(|&it| it == 0));
    assert!(level_db(&out[480_000..490_000]) > -66.0);
}

#[test]
fn comfort_noise_does_not_depend_on_when_samples_are_handed_out() {
    let filled = || {
        let mut lane = Lane::new(8000, 3000);
        lane.place(at(0), Before::Loss, &[1000; 160]);
        lane.comfort_noise(at(160), &ComfortNoise::parse(&[55, 60, 150, 90]).unwrap());
        lane.place(at(900), Before::Loss, &[1000; 160]);
        lane.comfort_noise(at(1060), &ComfortNoise::white(-55.0));
        lane.comfort_noise(at(1500), &ComfortNoise::white(-60.0));
        lane
    };
    let whole = all(filled());
    for step in [1, 7, 160, 333] {
        let (mut lane, mut out) = (filled(), Vec::new());
        (0..=3000).step_by(step).for_each(|until| lane.advance(until, &mut out));
        lane.advance(3000, &mut out);
        assert_eq!(out, whole, "{step}");
    }
}

#[test]
fn one_missing_sample_is_drawn_across() {
    let mut lane = Lane::new(8000, 400);
    lane.place(at(0), Before::Loss, &[100; 160]);
    lane.place(at(161), Before::Loss, &[200; 160]);
    assert_eq!(all(lane)[158..163], [100, 100, 150, 200, 200]);
}

#[test]
fn two_streams_at_once_are_both_heard() {
    let mut lane = Lane::new(8000, 320);
    lane.place(at(0), Before::Loss, &[1000; 160]);
    lane.place(Placement { position: 80, stream: 1 }, Before::Loss, &[30_000; 160]);
    lane.place(Placement { position: 0, stream: 2 }, Before::Loss, &[5000; 80]);
    let out = all(lane);
    assert_eq!((out[0], out[80], out[160], out[239]), (6000, 31_000, 30_000, 30_000));
}

#[test]
fn what_comes_after_its_time_was_handed_out_is_counted() {
    let mut lane = Lane::new(8000, 1000);
    let mut out = Vec::new();
    lane.place(at(0), Before::Loss, &[1; 160]);
    lane.advance(400, &mut out);
    lane.place(at(300), Before::Loss, &[2; 160]);
    assert_eq!(lane.counts().late_samples, 100);
    lane.advance(1000, &mut out);
    assert_eq!((out.len(), out[399], out[400]), (1000, 0, 2));
}

#[test]
fn concealment_does_not_depend_on_when_samples_are_handed_out() {
    let pcm: Vec<i16> = (0..160).map(|n| n * 100).collect();
    let whole = {
        let mut lane = Lane::new(8000, 2000);
        for position in [0, 160, 480, 1000] {
            lane.place(at(position), Before::Loss, &pcm);
        }
        all(lane)
    };
    for step in [1, 7, 160, 333] {
        let mut lane = Lane::new(8000, 2000);
        for position in [0, 160, 480, 1000] {
            lane.place(at(position), Before::Loss, &pcm);
        }
        let mut out = Vec::new();
        (0..=2000).step_by(step).for_each(|until| lane.advance(until, &mut out));
        lane.advance(2000, &mut out);
        assert_eq!(out, whole, "{step}");
    }
}

proptest! {
    #[test]
    fn any_placements_give_exactly_the_limit(
        places in prop::collection::vec((any::<i64>(), 0..4_u16, 0..400_usize, 0..3_u64), 0..60),
        rate_hz in prop::sample::select(vec![8000_u32, 16_000, 44_100, 48_000]),
        near in prop::collection::vec((-500..6000_i64, 0..4_u16, 0..400_usize, 0..300_u64), 0..60),
    ) {
        let mut lane = Lane::new(rate_hz, 5000);
        let mut out = Vec::new();
        let mut until = 0;
        for (position, stream, len, step) in places.into_iter().chain(near) {
            lane.place(Placement { position, stream }, Before::Loss, &vec![1; len]);
            until += step;
            lane.advance(until, &mut out);
            prop_assert!(lane.samples.len() as u64 <= 18 * WINDOW_SAMPLES);
            for pair in lane.spans.iter().zip(lane.spans.iter().skip(1)) {
                prop_assert!(pair.0.end <= pair.1.start && pair.0.start < pair.0.end);
            }
        }
        lane.advance(u64::MAX, &mut out);
        prop_assert_eq!(out.len(), 5000);
    }
}
