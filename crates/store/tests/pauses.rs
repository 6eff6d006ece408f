//! Paused recordings: silence of the same length, nothing moved, nothing made up, spans in the row.
#![allow(clippy::unwrap_used)]

mod scene;

use cheling_media::g711::Law;
use cheling_media::ogg_opus::OpusSettings;
use cheling_model::call::PausedBy;
use cheling_model::recording::{Container, Span};
use cheling_model::{Lane, TapKind, Timestamp, Verdict};
use cheling_store::render::RenderSettings;
use cheling_store::transcode;
use scene::{ANSWERED_US, Studio, amplitude, begin, call_id, end, event, send, tone};

fn pause(at_ms: i64) -> (i64, TapKind) {
    let until = Timestamp::from_micros(ANSWERED_US + at_ms * 1000 + 300_000_000);
    (at_ms, TapKind::RecordingPaused { by: PausedBy::Phone, until })
}

fn resume(at_ms: i64) -> (i64, TapKind) {
    (at_ms, TapKind::RecordingResumed { by: PausedBy::Limit })
}

/// A call of 20 s, 440 Hz against 1000 Hz, whose packets in `gap` never reached the journal.
fn recorded(
    studio: &Studio,
    gap: std::ops::Range<i64>,
    marks: &[(i64, TapKind)],
) -> cheling_model::recording::Recording {
    let journal = studio.journal.handle();
    let id = call_id(gap.start.unsigned_abs().into());
    begin(&journal, id);
    let mut packets = tone(Lane::Customer, Law::A, 440.0, 0, 20_000);
    packets.extend(tone(Lane::Agent, Law::A, 1000.0, 0, 20_000));
    packets.retain(|sent| !gap.contains(&(sent.at_us / 1000)));
    send(&journal, id, packets);
    for (at_ms, kind) in marks {
        journal.event(event(id, at_ms * 1000, kind.clone())).unwrap();
    }
    end(&journal, id, 20_000);
    studio.render(id).unwrap()
}

#[test]
fn a_pause_is_silence_and_what_comes_after_is_where_it_was() {
    let studio = Studio::new();
    let recording = recorded(&studio, 5000..12_040, &[pause(5000), resume(12_030)]);
    assert_eq!(recording.verdict, Verdict::Paused);
    assert_eq!(recording.verdict_detail, "paused once, 7 s in all");
    assert_eq!(recording.pauses, [Span { from_ms: 5000, until_ms: 12_030 }]);
    assert_eq!(recording.duration_us, 20_000_000);
    let [left, right] = studio.lanes(&recording);
    for (lane, hz) in [(&left, 440.0), (&right, 1000.0)] {
        assert_eq!(lane.len(), 160_000);
        // Not a sample is made up to conceal what was left out.
        assert!(lane[40_000..96_240].iter().all(|sample| *sample == 0));
        for second in [0, 2, 4, 13, 19] {
            let part = &lane[second * 8000..(second + 1) * 8000];
            assert!((7500.0..8500.0).contains(&amplitude(part, hz)), "{second}");
        }
        // Audio is back at the first packet after the pause, at its time.
        let first = lane.iter().enumerate().skip(96_240).find(|(_, it)| it.abs() > 500).unwrap().0;
        assert!((96_320..96_340).contains(&first), "{first}");
    }
    for (quality, packets) in recording.quality.iter().zip([648, 648]) {
        assert_eq!((quality.received_packets, quality.lost_packets), (packets, 0));
        assert_eq!(quality.concealed_ms, 0);
        assert!(quality.mos.unwrap() > 4.0);
    }
    // Both spoke all the time that counts.
    assert!(recording.speech.talk_ratio.iter().all(|it| *it > 0.99), "{:?}", recording.speech);
    let peaks =
        std::fs::read(studio.files.resolve(&recording.path).unwrap().with_extension("peaks"));
    let peaks = &peaks.unwrap()[12..];
    assert!(peaks[2 * 126..2 * 300].iter().all(|it| *it == 0) && peaks[2 * 301] > 60);

    let stop = std::sync::atomic::AtomicBool::new(false);
    let copy =
        transcode::convert(&studio.files, &recording, OpusSettings::default(), &stop).unwrap();
    assert_eq!(copy.pauses, recording.pauses);
}

#[test]
fn what_arrives_late_is_not_heard_in_the_pause() {
    let studio = Studio::new();
    // Every packet is in the journal; by their time they lie in the pause all the same.
    let marks = [pause(5005), resume(6000), pause(8000), resume(8001)];
    let recording = recorded(&studio, 0..0, &marks);
    let [left, _] = studio.lanes(&recording);
    assert!(left[40_040..48_000].iter().all(|it| *it == 0));
    assert!(left[48_000..48_200].iter().any(|it| it.abs() > 1000));
    assert_eq!(recording.pauses.len(), 2);
    assert_eq!(recording.verdict_detail, "paused more than once, 1 s in all");
}

#[test]
fn a_call_may_end_paused() {
    let studio = Studio::new();
    let recording = recorded(&studio, 9000..20_000, &[pause(9000)]);
    assert_eq!(recording.verdict, Verdict::Paused);
    assert_eq!(recording.pauses, [Span { from_ms: 9000, until_ms: 20_000 }]);
    assert_eq!(recording.duration_us, 20_000_000);
    let [left, _] = studio.lanes(&recording);
    assert_eq!(left.len(), 160_000);
    assert!(left[72_000..].iter().all(|it| *it == 0));

    let recording = recorded(&studio, -1..20_000, &[pause(0)]);
    assert_eq!(recording.verdict, Verdict::Paused);
    assert_eq!(recording.verdict_detail, "paused throughout");
}

#[test]
fn opus_holds_nothing_of_a_pause_either() {
    let mut studio = Studio::new();
    studio.settings = RenderSettings { container: Container::OggOpus, ..studio.settings };
    let recording = recorded(&studio, 5000..12_000, &[pause(5000), resume(12_000)]);
    let file = std::fs::File::open(studio.files.resolve(&recording.path).unwrap()).unwrap();
    let mut opus =
        cheling_media::ogg_opus::OggOpusReader::new(std::io::BufReader::new(file), 8000).unwrap();
    let mut samples = Vec::new();
    while opus.read(&mut samples).unwrap() {}
    let left: Vec<i16> = samples.iter().step_by(2).copied().collect();
    assert!(amplitude(&left[41_000..95_000], 440.0) < 20.0);
    assert!(amplitude(&left[98_000..106_000], 440.0) > 6000.0);
}
