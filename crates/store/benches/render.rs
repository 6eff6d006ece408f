//! What finishing a call costs, and what keeping it costs while it goes on.
//!
//! `wav_minutes` and `opus_minutes` render ten minutes of two A-law lanes from a journal on disk:
//! times six is an hour of call; `wav_minutes_without_digits` looks for DTMF tones as well.
//! `journal_second` takes one second of 500 calls (50 000 packets) through the queue to the disk.
//!
//! It is time by the clock, the disk's included: the least is what a quiet machine takes.

use std::sync::atomic::Ordering;

use cheling_media::dtmf_tones::InbandDigits;
use cheling_media::g711::Law;
use cheling_media::ogg_opus::OpusSettings;
use cheling_media::rtp::{RtpHeader, SequenceNumber, Ssrc, Timestamp as RtpTimestamp};
use cheling_model::call::{Offer, Party};
use cheling_model::recording::Container;
use cheling_model::tap::{PacketKind, TapBlock, TapPacket};
use cheling_model::{
    CallId, DealershipId, Direction, EndCause, Lane, TapEvent, TapKind, Timestamp,
};
use cheling_store::files::RecordingFiles;
use cheling_store::journal::{Journal, JournalHandle, JournalSettings};
use cheling_store::render::{RenderSettings, render};
use divan::Bencher;

const MINUTES: i64 = 10;
const PACKETS: i64 = MINUTES * 3000;

fn main() {
    divan::main();
}

fn call_id(n: u64) -> CallId {
    CallId::mint(
        Timestamp::from_micros(1_800_000_000_000_000),
        [n.to_be_bytes(), [7; 8]].concat()[..10].try_into().expect("ten bytes"),
    )
}

fn event(call_id: CallId, at_us: i64, kind: TapKind) -> TapEvent {
    TapEvent { call_id, at: Timestamp::from_micros(at_us), kind }
}

fn begin(journal: &JournalHandle, id: CallId) {
    let offer = Offer {
        direction: Direction::Inbound,
        dealership_id: DealershipId::mint(Timestamp::default(), [1; 10]),
        caller: Party::default(),
        called: String::new(),
        trunk: None,
        line_id: None,
        extension: None,
        user_id: None,
        follow_up_id: None,
    };
    journal.event(event(id, 0, TapKind::Offered(offer))).expect("open");
    journal.event(event(id, 0, TapKind::Answered { extension: "1".into() })).expect("open");
}

/// Something like speech: loud and quiet by turns, the lanes not at once.
fn payload(lane: Lane, n: i64) -> Vec<u8> {
    let is_talking = (n / 150 % 2 == 0) == (lane == Lane::Customer);
    let loud = if is_talking { 6000.0 } else { 20.0 };
    let pcm: Vec<i16> = (0..160)
        .map(|at| {
            let at = (n * 160 + at) as f64 * std::f64::consts::TAU / 8000.0;
            let voice = (at * 150.0).sin() + 0.5 * (at * 700.0).sin() + 0.2 * (at * 2100.0).sin();
            (loud * voice) as i16
        })
        .collect();
    let mut payload = Vec::new();
    Law::A.encode(&pcm, &mut payload);
    payload
}

fn packet(lane: Lane, n: i64, payload: &[u8]) -> Vec<u8> {
    let header = RtpHeader {
        payload_type: 8,
        marker: false,
        sequence_number: SequenceNumber(n as u16),
        timestamp: RtpTimestamp((n * 160) as u32),
        ssrc: Ssrc(lane.index() as u32),
    };
    let mut bytes = Vec::new();
    header.write(payload, &mut bytes).expect("payload type 8 fits");
    bytes
}

fn push(block: &mut TapBlock, call_id: CallId, lane: Lane, n: i64, bytes: &[u8]) {
    let at = Timestamp::from_micros(n * 20_000);
    block.push(TapPacket { call_id, lane, voice: 0, kind: PacketKind::Rtp, at, bytes });
}

fn render_minutes(bencher: Bencher, how: RenderSettings) {
    let folder = tempfile::tempdir().expect("a folder");
    let settings =
        JournalSettings { free_floor_bytes: 0, ..JournalSettings::new(folder.path().join("j")) };
    let (journal, _) = Journal::open(settings, |_| {}).expect("opens");
    let handle = journal.handle();
    let id = call_id(1);
    begin(&handle, id);
    for n in 0..PACKETS {
        let mut block = TapBlock::default();
        for lane in Lane::BOTH {
            push(&mut block, id, lane, n, &packet(lane, n, &payload(lane, n)));
        }
        if let Err(block) = handle.try_media(block) {
            handle.flush().expect("open");
            handle.try_media(block).expect("there is room now");
        }
    }
    let kind = TapKind::Ended { cause: EndCause::HungUp, by: None, sip_status: None };
    handle.event(event(id, PACKETS * 20_000, kind)).expect("open");
    handle.flush().expect("open");
    let records = handle.read(id).expect("known");
    let files = RecordingFiles::open(folder.path().join("r")).expect("opens");
    bencher.bench_local(|| render(&records, &files, &how).expect("renders"));
}

#[divan::bench(sample_count = 20, sample_size = 1)]
fn wav_minutes(bencher: Bencher) {
    render_minutes(bencher, RenderSettings::default());
}

#[divan::bench(sample_count = 5, sample_size = 1)]
fn opus_minutes(bencher: Bencher) {
    render_minutes(bencher, RenderSettings { container: Container::OggOpus, ..Default::default() });
}

/// As `ffmpeg -c:a libopus -b:a 12k -compression_level 5 -application voip` of each lane by itself:
/// what is rendered is two mono streams of 12 kbit/s.
#[divan::bench(sample_count = 5, sample_size = 1)]
fn opus_minutes_complexity_5(bencher: Bencher) {
    let opus = OpusSettings { complexity: 5, ..OpusSettings::default() };
    let container = Container::OggOpus;
    render_minutes(bencher, RenderSettings { container, opus, ..Default::default() });
}

#[divan::bench(sample_count = 20, sample_size = 1)]
fn wav_minutes_without_digits(bencher: Bencher) {
    let inband_digits = InbandDigits::Silenced;
    render_minutes(bencher, RenderSettings { inband_digits, ..Default::default() });
}

#[divan::bench(sample_count = 20, sample_size = 1)]
fn journal_second(bencher: Bencher) {
    let folder = tempfile::tempdir().expect("a folder");
    let settings = JournalSettings { free_floor_bytes: 0, ..JournalSettings::new(folder.path()) };
    let (journal, _) = Journal::open(settings, |_| {}).expect("opens");
    let handle = journal.handle();
    let calls: Vec<_> = (0..500).map(call_id).collect();
    for id in &calls {
        begin(&handle, *id);
    }
    handle.flush().expect("open");
    let bytes = packet(Lane::Agent, 1, &[0xd5; 160]);
    // Blocks as two relay threads fill them: 64 KiB of many calls.
    let mut blocks = vec![TapBlock::default()];
    for n in 0..50 {
        for id in &calls {
            for lane in Lane::BOTH {
                if blocks.last().is_some_and(|block| block.len() > 64 << 10) {
                    blocks.push(TapBlock::default());
                }
                if let Some(block) = blocks.last_mut() {
                    push(block, *id, lane, n, &bytes);
                }
            }
        }
    }
    bencher.counter(50_000_u32).with_inputs(|| blocks.clone()).bench_local_values(|blocks| {
        for block in blocks {
            let mut block = Some(block);
            while let Some(refused) = block.take() {
                if let Err(refused) = handle.try_media(refused) {
                    handle.flush().expect("open");
                    block = Some(refused);
                }
            }
        }
        handle.flush().expect("open");
    });
    assert!(handle.disks().all(|disk| disk.counters.lost_packets.load(Ordering::Relaxed) == 0));
}
