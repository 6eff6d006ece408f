//! Several who talk at once on one lane: each on a time line of its own, all heard.
#![allow(clippy::unwrap_used)]

mod scene;

use cheling_media::g711::Law;
use cheling_media::rtp::Ssrc;
use cheling_model::call::Format;
use cheling_model::{Lane, TapKind, Verdict};
use cheling_store::journal::{Journal, JournalSettings};
use scene::{Sent, Studio, amplitude, begin, call_id, end, event, packet, send, tone};

/// A tone of one voice, all voices with the same SSRC, as three phones of one make may have it.
fn voice(voice: u8, law: Law, hz: f64, from_ms: i64, to_ms: i64) -> Vec<Sent> {
    let mut packets = tone(Lane::Agent, law, hz, from_ms, to_ms);
    for sent in &mut packets {
        sent.voice = voice;
        sent.bytes[8..12].copy_from_slice(&[0, 0, 0, 77]);
    }
    packets
}

#[test]
fn voices_of_a_lane_are_summed_each_in_its_own_time() {
    let studio = Studio::new();
    let mut packets = tone(Lane::Customer, Law::A, 440.0, 0, 12_000);
    packets.extend(voice(0, Law::A, 1000.0, 0, 12_000));
    packets.extend(voice(1, Law::Mu, 600.0, 4000, 8000));
    packets.extend(voice(7, Law::A, 1700.0, 6000, 12_000));
    let recording = studio.recorded(packets, 12_000);
    assert_eq!((recording.verdict, recording.verdict_detail.as_str()), (Verdict::Ok, ""));
    assert_eq!(recording.encodings, ["PCMA", "PCMA"]);
    let [left, right] = studio.lanes(&recording);
    assert_eq!((left.len(), right.len()), (96_000, 96_000));
    let is_heard = |second: usize, hz| amplitude(&right[second * 8000..][..8000], hz);
    for (second, wanted) in [
        (1, [true, false, false]),
        (5, [true, true, false]),
        (7, [true, true, true]),
        (9, [true, false, true]),
    ] {
        for (hz, is_wanted) in [1000.0, 600.0, 1700.0].into_iter().zip(wanted) {
            let heard = is_heard(second, hz);
            let is_right = if is_wanted { (7500.0..8500.0).contains(&heard) } else { heard < 60.0 };
            assert!(is_right, "{hz} Hz at {second} s: {heard}");
        }
    }
    // No loss is seen where three streams share an SSRC, and nothing of it is on the other lane.
    assert_eq!(recording.quality[1].received_packets, 600 + 200 + 300);
    assert_eq!((recording.quality[1].lost_packets, recording.quality[1].duplicate_packets), (0, 0));
    assert!(amplitude(&left[56_000..64_000], 440.0) > 7500.0);
    for hz in [600.0, 1000.0, 1700.0] {
        assert!(amplitude(&left[56_000..64_000], hz) < 50.0, "{hz}");
    }
}

#[test]
fn a_sum_that_is_too_loud_is_limited_and_not_wrapped() {
    let studio = Studio::new();
    let loud = |voice| {
        (0..100_u16).map(move |n| {
            let mut payload = Vec::new();
            Law::A.encode(&[30_000; 160], &mut payload);
            let bytes = packet(8, Ssrc(1), n, u32::from(n) * 160, &payload);
            Sent { at_us: i64::from(n) * 20_000, lane: Lane::Customer, voice, bytes }
        })
    };
    let recording = studio.recorded((0..=7).flat_map(loud).collect(), 2000);
    let [left, _] = studio.lanes(&recording);
    assert!(left[8..15_992].iter().all(|&sample| sample == i16::MAX));
}

#[test]
fn a_voice_is_read_by_its_own_formats_and_a_late_one_moves_nobody() {
    let studio = Studio::new();
    let journal = studio.journal.handle();
    let id = call_id(900);
    begin(&journal, id);
    let format = |encoding: &str| Format {
        payload_type: 8,
        encoding: encoding.into(),
        clock_hz: 8000,
        channels: 1,
    };
    // Payload type 8 is µ-law for the colleague, who joins with a clock of another day.
    let formats = vec![format("PCMU")];
    let kind = TapKind::Formats { lane: Lane::Agent, voice: 3, formats };
    journal.event(event(id, 1, kind)).unwrap();
    let mut packets = voice(0, Law::A, 1000.0, 0, 6000);
    let mut joined = voice(3, Law::Mu, 600.0, 2000, 4000);
    for sent in &mut joined {
        sent.bytes[1] = (sent.bytes[1] & 0x80) | 8;
        sent.bytes[4] ^= 0x80;
    }
    packets.extend(joined);
    send(&journal, id, packets);
    end(&journal, id, 6000);
    let recording = studio.render(id).unwrap();
    let [_, right] = studio.lanes(&recording);
    assert!((7500.0..8500.0).contains(&amplitude(&right[16_000..32_000], 600.0)));
    assert!(amplitude(&right[..15_800], 600.0) < 50.0);
    assert!(amplitude(&right[32_200..], 600.0) < 50.0);
    assert!((7700.0..8300.0).contains(&amplitude(&right[..48_000], 1000.0)));
}

#[test]
fn voices_come_back_from_a_journal_that_was_cut() {
    let studio = Studio::new();
    let folder = studio.folder.path().join("again");
    let settings = || JournalSettings { free_floor_bytes: 0, ..JournalSettings::new(&folder) };
    let (journal, _) = Journal::open(settings(), |_| {}).unwrap();
    let id = call_id(901);
    begin(&journal.handle(), id);
    let packets = [voice(0, Law::A, 1000.0, 0, 3000), voice(5, Law::A, 1700.0, 0, 3000)].concat();
    send(&journal.handle(), id, packets);
    drop(journal);
    let (journal, report) = Journal::open(settings(), |_| {}).unwrap();
    assert_eq!((report.calls.len(), report.calls[0].was_cut), (1, true));
    let records = journal.handle().read(id).unwrap();
    let recording =
        cheling_store::render::render(&records, &studio.files, &studio.settings).unwrap().unwrap();
    let [_, right] = studio.lanes(&recording);
    for hz in [1000.0, 1700.0] {
        assert!((7500.0..8500.0).contains(&amplitude(&right[..16_000], hz)), "{hz}");
    }
}
