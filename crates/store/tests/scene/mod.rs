//! Calls made up packet by packet, and a database in memory.
#![allow(clippy::unwrap_used, dead_code)]

use std::collections::BTreeMap;
use std::f64::consts::TAU;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use cheling_media::g711::Law;
use cheling_media::rtp::{RtpHeader, SequenceNumber, Ssrc, Timestamp as RtpTimestamp};
use cheling_media::wav::Wav;
use cheling_model::call::{Format, Offer, Party};
use cheling_model::recording::{Container, Recording};
use cheling_model::tap::{PacketKind, TapBlock, TapPacket};
use cheling_model::{
    CallId, DealershipId, Direction, EndCause, Lane, RecordingId, TapEvent, TapKind, Timestamp,
};
use cheling_store::conversion::is_convertible;
use cheling_store::files::RecordingFiles;
use cheling_store::journal::{Journal, JournalHandle, JournalSettings};
use cheling_store::render::{RenderSettings, render};
use cheling_store::rows::{AnsweredCall, RecordingRows, RowError};
use uuid::Uuid;

/// When every call is answered: 2026-11-22 10:00 in Shanghai.
pub const ANSWERED_US: i64 = 1_795_312_800_000_000;

/// One packet of a made-up call.
#[derive(Clone)]
pub struct Sent {
    pub at_us: i64,
    pub lane: Lane,
    pub voice: u8,
    pub bytes: Vec<u8>,
}

pub fn call_id(n: u128) -> CallId {
    CallId(Uuid::from_u128(0x0199_0000_0000_7000_8000_0000_0000_0000 + n))
}

/// 20 ms packets of a tone from `from_ms` to `to_ms` after the answer.
pub fn tone(lane: Lane, law: Law, hz: f64, from_ms: i64, to_ms: i64) -> Vec<Sent> {
    let ssrc = Ssrc(0x1000 + lane.index() as u32 + hz as u32);
    (from_ms / 20..to_ms / 20)
        .map(|n| {
            let pcm: Vec<i16> = (0..160)
                .map(|at| {
                    let at = (n * 160 + at) as f64;
                    (8000.0 * (at * hz * TAU / 8000.0).sin()) as i16
                })
                .collect();
            let mut payload = Vec::new();
            law.encode(&pcm, &mut payload);
            let bytes = packet(law.payload_type(), ssrc, n as u16, (n * 160) as u32, &payload);
            Sent { at_us: n * 20_000, lane, voice: 0, bytes }
        })
        .collect()
}

pub fn packet(
    payload_type: u8,
    ssrc: Ssrc,
    number: u16,
    timestamp: u32,
    payload: &[u8],
) -> Vec<u8> {
    let header = RtpHeader {
        payload_type,
        marker: false,
        sequence_number: SequenceNumber(number),
        timestamp: RtpTimestamp(timestamp),
        ssrc,
    };
    let mut bytes = Vec::new();
    header.write(payload, &mut bytes).unwrap();
    bytes
}

pub fn offer() -> Offer {
    Offer {
        direction: Direction::Inbound,
        dealership_id: DealershipId(Uuid::from_u128(42)),
        caller: Party::default(),
        called: "4008001234".into(),
        trunk: None,
        line_id: None,
        extension: None,
        user_id: None,
        follow_up_id: None,
    }
}

pub fn event(call_id: CallId, at_us: i64, kind: TapKind) -> TapEvent {
    TapEvent { call_id, at: Timestamp::from_micros(ANSWERED_US + at_us), kind }
}

/// Sends what a call is up to its answer.
pub fn begin(journal: &JournalHandle, id: CallId) {
    journal.event(event(id, -5_000_000, TapKind::Offered(offer()))).unwrap();
    for lane in Lane::BOTH {
        let format = |payload_type, encoding: &str, clock_hz, channels| Format {
            payload_type,
            encoding: encoding.into(),
            clock_hz,
            channels,
        };
        let formats = vec![
            format(8, "PCMA", 8000, 1),
            format(0, "PCMU", 8000, 1),
            format(3, "GSM", 8000, 1),
            format(9, "G722", 8000, 1),
            format(13, "CN", 8000, 1),
            format(18, "G729", 8000, 1),
            format(96, "OPUS", 48_000, 2),
            format(97, "L16", 16_000, 1),
            format(98, "L16", 44_100, 2),
            format(99, "ILBC", 8000, 1),
            format(100, "SRTP", 8000, 1),
            format(101, "TELEPHONE-EVENT", 8000, 1),
        ];
        journal.event(event(id, 0, TapKind::Formats { lane, voice: 0, formats })).unwrap();
    }
    journal.event(event(id, 0, TapKind::Answered { extension: "8001".into() })).unwrap();
}

/// Sends packets in the order they arrive.
pub fn send(journal: &JournalHandle, id: CallId, mut packets: Vec<Sent>) {
    packets.sort_by_key(|sent| sent.at_us);
    for run in packets.chunks(50) {
        let mut block = TapBlock::default();
        for sent in run {
            block.push(TapPacket {
                call_id: id,
                lane: sent.lane,
                voice: sent.voice,
                kind: PacketKind::Rtp,
                at: Timestamp::from_micros(ANSWERED_US + sent.at_us),
                bytes: &sent.bytes,
            });
        }
        let mut block = Some(block);
        while let Some(refused) = block.take() {
            // The queue is as long as the disk allows; a test may be faster.
            if let Err(refused) = journal.try_media(refused) {
                journal.flush().unwrap();
                block = Some(refused);
            }
        }
    }
}

/// Sends the end of a call.
pub fn end(journal: &JournalHandle, id: CallId, length_ms: i64) {
    let kind =
        TapKind::Ended { cause: EndCause::HungUp, by: Some(Lane::Customer), sip_status: None };
    journal.event(event(id, length_ms * 1000, kind)).unwrap();
    let kind = TapKind::RelayClosed { received_packets: [0; 2], tap_dropped_packets: [0; 2] };
    journal.event(event(id, length_ms * 1000, kind)).unwrap();
}

/// The amplitude of one frequency in some samples of 8 kHz.
pub fn amplitude(samples: &[i16], hz: f64) -> f64 {
    amplitude_at(samples, hz, 8000)
}

/// The amplitude of one frequency in some samples.
pub fn amplitude_at(samples: &[i16], hz: f64, rate_hz: u32) -> f64 {
    let (mut re, mut im) = (0.0, 0.0);
    for (n, sample) in samples.iter().enumerate() {
        let angle = n as f64 * hz * TAU / f64::from(rate_hz);
        re += f64::from(*sample) * angle.cos();
        im += f64::from(*sample) * angle.sin();
    }
    2.0 * (re * re + im * im).sqrt() / samples.len().max(1) as f64
}

pub fn read_wav(path: &std::path::Path) -> Wav {
    Wav::read(std::fs::File::open(path).unwrap()).unwrap()
}

/// A journal and a folder of recordings.
pub struct Studio {
    pub folder: tempfile::TempDir,
    pub journal: Journal,
    pub files: RecordingFiles,
    pub settings: RenderSettings,
}

impl Studio {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = JournalSettings {
            free_floor_bytes: 0,
            ..JournalSettings::new(folder.path().join("journal"))
        };
        let (journal, _) = Journal::open(settings, |_| {}).unwrap();
        let files = RecordingFiles::open(folder.path().join("recordings")).unwrap();
        Self { folder, journal, files, settings: RenderSettings::default() }
    }

    pub fn render(&self, id: CallId) -> Option<Recording> {
        let journal = self.journal.handle();
        journal.flush().unwrap();
        render(&journal.read(id)?, &self.files, &self.settings).unwrap()
    }

    pub fn recorded(&self, packets: Vec<Sent>, length_ms: i64) -> Recording {
        let journal = self.journal.handle();
        let id = call_id(length_ms as u128);
        begin(&journal, id);
        send(&journal, id, packets);
        end(&journal, id, length_ms);
        self.render(id).unwrap()
    }

    pub fn lanes(&self, recording: &Recording) -> [Vec<i16>; 2] {
        let wav = read_wav(&self.files.resolve(&recording.path).unwrap());
        [wav.channel(0), wav.channel(1)]
    }
}

/// A table of recordings.
#[derive(Default)]
pub struct MemoryRows {
    pub rows: Mutex<BTreeMap<RecordingId, Recording>>,
    /// Calls that were answered and are over, with or without a row.
    pub answered: Mutex<Vec<AnsweredCall>>,
    pub is_failing: AtomicBool,
    pub container: Mutex<Option<Container>>,
}

impl MemoryRows {
    fn answer(&self) -> Result<(), RowError> {
        if self.is_failing.load(Ordering::Relaxed) { Err("database away".into()) } else { Ok(()) }
    }
}

impl RecordingRows for MemoryRows {
    async fn of_call(&self, call_id: CallId) -> Result<Option<Recording>, RowError> {
        self.answer()?;
        let rows = self.rows.lock().unwrap();
        Ok(rows.values().find(|recording| recording.call_id == call_id).cloned())
    }

    async fn insert(&self, recordings: &[Recording]) -> Result<(), RowError> {
        self.answer()?;
        let mut rows = self.rows.lock().unwrap();
        for recording in recordings {
            rows.entry(recording.recording_id).or_insert_with(|| recording.clone());
        }
        Ok(())
    }

    async fn page(
        &self,
        after: Option<RecordingId>,
        limit: u32,
    ) -> Result<Vec<Recording>, RowError> {
        self.answer()?;
        let rows = self.rows.lock().unwrap();
        let rows = rows.values().filter(|row| after.is_none_or(|after| row.recording_id > after));
        Ok(rows.take(limit as usize).cloned().collect())
    }

    async fn unrecorded(
        &self,
        before: Timestamp,
        after: Option<CallId>,
        limit: u32,
    ) -> Result<Vec<AnsweredCall>, RowError> {
        self.answer()?;
        let rows = self.rows.lock().unwrap();
        let mut calls = self.answered.lock().unwrap().clone();
        calls.retain(|call| {
            call.answered_at < before
                && after.is_none_or(|after| call.call_id > after)
                && rows.values().all(|row| row.call_id != call.call_id)
        });
        calls.sort_by_key(|call| call.call_id);
        calls.truncate(limit as usize);
        Ok(calls)
    }

    async fn find(&self, recording_id: RecordingId) -> Result<Option<Recording>, RowError> {
        self.answer()?;
        Ok(self.rows.lock().unwrap().get(&recording_id).cloned())
    }

    async fn convertible(
        &self,
        older_than: Timestamp,
        after: Option<RecordingId>,
        limit: u32,
    ) -> Result<Vec<Recording>, RowError> {
        let mut rows = self.page(after, u32::MAX).await?;
        rows.retain(|row| is_convertible(row, older_than));
        rows.truncate(limit as usize);
        Ok(rows)
    }

    async fn count_convertible(&self, older_than: Timestamp) -> Result<u64, RowError> {
        Ok(self.convertible(older_than, None, u32::MAX).await?.len() as u64)
    }

    async fn replace(&self, original: &Recording, copy: &Recording) -> Result<bool, RowError> {
        self.answer()?;
        let mut rows = self.rows.lock().unwrap();
        let row = rows.get_mut(&original.recording_id).filter(|row| *row == original);
        Ok(row.map(|row| *row = copy.clone()).is_some())
    }

    async fn container(&self, _: DealershipId) -> Result<Option<Container>, RowError> {
        self.answer()?;
        Ok(*self.container.lock().unwrap())
    }
}
