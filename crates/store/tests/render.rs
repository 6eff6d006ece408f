//! From packets in a journal to the file, its length, lanes and verdict.
#![allow(clippy::unwrap_used)]

mod scene;

use cheling_media::g711::Law;
use cheling_media::rtp::Ssrc;
use cheling_model::recording::Container;
use cheling_model::{EndCause, Lane, TapKind, Verdict};
use cheling_store::files::hash_file;
use scene::{Sent, Studio, amplitude, begin, call_id, event, offer, packet, send, tone};

fn two_tones(to_ms: i64) -> Vec<Sent> {
    let mut packets = tone(Lane::Customer, Law::A, 440.0, 0, to_ms);
    packets.extend(tone(Lane::Agent, Law::Mu, 1000.0, 0, to_ms));
    packets
}

#[test]
fn each_tone_is_on_its_lane_for_the_whole_call() {
    let studio = Studio::new();
    let recording = studio.recorded(two_tones(60_000), 60_000);
    assert_eq!((recording.verdict, recording.verdict_detail.as_str()), (Verdict::Ok, ""));
    assert_eq!(recording.duration_us, 60_000_000);
    assert_eq!(recording.encodings, ["PCMA", "PCMU"]);
    assert!(recording.path.starts_with("2026/11/22/") && recording.path.ends_with(".wav"));
    let path = studio.files.resolve(&recording.path).unwrap();
    let (sha256, bytes) = hash_file(&path).unwrap();
    assert_eq!((sha256, bytes as i64), (recording.sha256.clone(), recording.bytes));
    assert_eq!(bytes, 44 + 60 * 32_000);
    let [left, right] = studio.lanes(&recording);
    assert_eq!((left.len(), right.len()), (480_000, 480_000));
    for at in [0, 240_000, 472_000] {
        let (left, right) = (&left[at..at + 8000], &right[at..at + 8000]);
        assert!((7500.0..8500.0).contains(&amplitude(left, 440.0)), "{at}");
        assert!((7500.0..8500.0).contains(&amplitude(right, 1000.0)), "{at}");
        assert!(amplitude(left, 1000.0) < 50.0 && amplitude(right, 440.0) < 50.0, "{at}");
    }
    let peaks = std::fs::read(path.with_extension("peaks")).unwrap();
    assert_eq!(peaks.len(), 12 + 2 * 1500);
    assert!(peaks[12..].iter().all(|&peak| (60..=64).contains(&peak)));
    assert!(recording.speech.talk_ratio.iter().all(|&ratio| ratio > 0.99));
    assert_eq!(recording.quality[0].received_packets, 3000);
}

#[test]
fn loss_reordering_and_duplicates_do_not_shorten_or_move() {
    let studio = Studio::new();
    let mut packets = two_tones(30_000);
    // Every 20th of the customer is lost, every 7th comes 45 ms late, every 9th comes twice.
    let mut n = 0;
    let mut again = Vec::new();
    packets.retain_mut(|sent| {
        if sent.lane == Lane::Agent {
            return true;
        }
        n += 1;
        if n % 9 == 0 {
            again.push(Sent { at_us: sent.at_us + 1000, ..sent.clone() });
        }
        if n % 7 == 0 {
            sent.at_us += 45_000;
        }
        n % 20 != 0
    });
    packets.extend(again.into_iter().filter(|sent| sent.bytes[3] % 20 != 19));
    let recording = studio.recorded(packets, 30_000);
    assert_eq!(recording.verdict, Verdict::Ok);
    let [quality, other] = recording.quality;
    assert!(quality.lost_packets > 0 && quality.reordered_packets > 150, "{quality:?}");
    assert!(quality.duplicate_packets > 100, "{quality:?}");
    assert_eq!((other.lost_packets, other.received_packets), (0, 1500));
    let [left, right] = studio.lanes(&recording);
    assert_eq!((left.len(), right.len()), (240_000, 240_000));
    // The phase at the end is what it would be without loss: nothing moved.
    let tail = &left[160 * 1482..160 * 1498];
    assert!(amplitude(tail, 440.0) > 7000.0);
    let (mut re, mut reference) = (0.0, 0.0);
    for (at, sample) in tail.iter().enumerate() {
        let at = (at + 160 * 1482) as f64;
        let want = 8000.0 * (at * 440.0 * std::f64::consts::TAU / 8000.0).sin();
        re += want * f64::from(*sample);
        reference += want * want;
    }
    assert!(re / reference > 0.9, "in phase: {}", re / reference);
    assert!((7500.0..8500.0).contains(&amplitude(&right[..8000], 1000.0)));
}

#[test]
fn hold_is_silence_and_what_follows_is_in_time() {
    let studio = Studio::new();
    let mut packets = two_tones(5000);
    // The phone stops sending for five minutes, and its timestamps do not move meanwhile.
    let hold_us = 300_000_000;
    packets.extend(
        two_tones(10_000)
            .into_iter()
            .filter(|sent| sent.at_us >= 5_000_000)
            .map(|sent| Sent { at_us: sent.at_us + hold_us, ..sent }),
    );
    let recording = studio.recorded(packets, 310_000);
    assert_eq!(recording.duration_us, 310_000_000);
    let [left, right] = studio.lanes(&recording);
    let resumed = (5000 + 300_000) * 8;
    for lane in [&left, &right] {
        assert!(lane[5000 * 8 + 480..resumed].iter().all(|&sample| sample == 0));
        assert!(lane[resumed + 1..resumed + 4].iter().any(|&sample| sample != 0));
    }
    assert!((7500.0..8500.0).contains(&amplitude(&left[resumed..resumed + 8000], 440.0)));
    assert_eq!(left.len(), 310_000 * 8);
}

#[test]
fn a_jumping_timestamp_makes_no_hours_of_silence() {
    let studio = Studio::new();
    let mut packets = two_tones(10_000);
    for (n, sent) in packets.iter_mut().enumerate() {
        if sent.at_us > 5_000_000 && n % 2 == 0 {
            let timestamp = (n as u32).wrapping_mul(0x9e37_79b9).to_be_bytes();
            sent.bytes[4..8].copy_from_slice(&timestamp);
        }
    }
    let recording = studio.recorded(packets, 10_000);
    assert_eq!(recording.bytes, 44 + 320_000);
}

#[test]
fn verdicts_are_told_from_what_came() {
    let left_only = tone(Lane::Customer, Law::A, 440.0, 0, 3000);
    let short = two_tones(400);
    let of = |payload_type| -> Vec<Sent> {
        (0..150)
            .map(|n| {
                let bytes = packet(payload_type, Ssrc(9), n as u16, n as u32 * 160, &[7; 20]);
                Sent { at_us: n * 20_000, lane: Lane::Agent, voice: 0, bytes }
            })
            .collect()
    };
    let ilbc = [left_only.clone(), of(99)].concat();
    let srtp = [left_only.clone(), of(100)].concat();
    let without_keys = "agent lane kept raw: SRTP without its keys";
    for (packets, length_ms, verdict, detail) in [
        (left_only, 3000, Verdict::OneWay, "agent lane silent"),
        (Vec::new(), 3001, Verdict::Silent, "no media from either side"),
        (short, 400, Verdict::Short, ""),
        (ilbc, 3002, Verdict::Undecodable, "agent lane kept raw"),
        (srtp, 3003, Verdict::Encrypted, without_keys),
    ] {
        let studio = Studio::new();
        let recording = studio.recorded(packets, length_ms);
        assert_eq!((recording.verdict, recording.verdict_detail.as_str()), (verdict, detail));
        let path = studio.files.resolve(&recording.path).unwrap();
        assert_eq!(path.metadata().unwrap().len(), 44 + length_ms as u64 * 32);
        let raw = path.with_extension("right.rtpdump");
        let is_raw = matches!(verdict, Verdict::Undecodable | Verdict::Encrypted);
        assert_eq!(raw.exists(), is_raw, "{verdict:?}");
        if raw.exists() {
            let spoken = if verdict == Verdict::Encrypted { "SRTP" } else { "ILBC" };
            assert_eq!(recording.encodings, ["PCMA", spoken]);
            assert_eq!(raw.metadata().unwrap().len(), 23 + 16 + 150 * (8 + 32));
        }
    }
}

#[test]
fn digits_are_silence_and_not_sound() {
    let studio = Studio::new();
    let mut packets = two_tones(2000);
    packets.retain(|sent| sent.lane == Lane::Agent || !(500_000..1_500_000).contains(&sent.at_us));
    packets.extend((25..75).map(|n| Sent {
        at_us: n * 20_000,
        lane: Lane::Customer,
        voice: 0,
        // One long digit: its timestamp stands still.
        bytes: packet(101, Ssrc(0x1000 + 440), n as u16, 25 * 160, &[5, 10, 0, 160]),
    }));
    let recording = studio.recorded(packets, 2000);
    assert_eq!((recording.verdict, recording.encodings[0].as_str()), (Verdict::Ok, "PCMA"));
    let [left, _] = studio.lanes(&recording);
    assert!(left[8 * 500 + 480..8 * 1500].iter().all(|&sample| sample == 0));
    assert!((7500.0..8500.0).contains(&amplitude(&left[8 * 1500..], 440.0)));
}

#[test]
fn an_unanswered_call_has_no_recording_and_early_media_is_not_in_one() {
    let studio = Studio::new();
    let journal = studio.journal.handle();
    let id = call_id(1);
    journal.event(event(id, 0, TapKind::Offered(offer()))).unwrap();
    journal.flush().unwrap();
    assert!(studio.render(id).is_none());
    let kind = TapKind::Ended { cause: EndCause::NoAnswer, by: None, sip_status: Some(408) };
    journal.event(event(id, 1000, kind)).unwrap();
    journal.flush().unwrap();
    assert!(studio.render(id).is_none());
    let mut packets = two_tones(2000);
    packets.iter_mut().for_each(|sent| sent.at_us -= 1_000_000);
    let recording = studio.recorded(packets, 2000);
    let [left, _] = studio.lanes(&recording);
    assert!(left[8000 + 480..].iter().all(|&sample| sample == 0));
    assert!(amplitude(&left[..8000], 440.0) > 7500.0);
}

#[test]
fn a_call_cut_by_a_crash_is_kept_to_its_last_packet() {
    let studio = Studio::new();
    let journal = studio.journal.handle();
    let id = call_id(77);
    begin(&journal, id);
    send(&journal, id, two_tones(8000));
    let recording = studio.render(id).unwrap();
    assert_eq!(recording.verdict, Verdict::Truncated);
    assert_eq!(recording.duration_us, 7_980_000);
}

#[test]
fn opus_is_as_long_and_small() {
    let mut studio = Studio::new();
    studio.settings.container = Container::OggOpus;
    let recording = studio.recorded(two_tones(20_000), 20_000);
    assert!(recording.path.ends_with(".opus"));
    assert!((20_000..100_000).contains(&recording.bytes), "{}", recording.bytes);
    let path = studio.files.resolve(&recording.path).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    assert!(bytes.starts_with(b"OggS"));
    assert!(bytes.windows(8).any(|window| window == b"CALL_ID="));
}

#[test]
fn done_twice_it_is_the_same_recording() {
    let studio = Studio::new();
    let first = studio.recorded(two_tones(3000), 3000);
    let again = studio.render(first.call_id).unwrap();
    assert_eq!(first, again);
    let found = std::fs::read_dir(studio.folder.path().join("recordings/2026/11/22")).unwrap();
    assert_eq!(found.count(), 2, "the audio and its peaks");
}

#[test]
fn garbage_on_a_media_port_neither_panics_nor_lengthens() {
    let studio = Studio::new();
    let mut packets = two_tones(3000);
    let mut state = 7_u64;
    let mut next = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as u32
    };
    for _ in 0..2000 {
        let mut bytes: Vec<u8> = (0..next() % 200).map(|_| next() as u8).collect();
        // Half of it looks like RTP of a codec we know.
        if bytes.len() > 12 && next() % 2 == 0 {
            bytes[0] = 0x80;
            bytes[1] = 8;
        }
        let lane = if next() % 2 == 0 { Lane::Customer } else { Lane::Agent };
        packets.push(Sent { at_us: i64::from(next() % 3_000_000), lane, voice: 0, bytes });
    }
    let recording = studio.recorded(packets, 3000);
    assert_eq!((recording.verdict, recording.bytes), (Verdict::Ok, 44 + 96_000));
}
