//! Makes the recording of one call from its records in the journal.
//!
//! Twice through the records: first headers only, to judge the time line of both lanes with the
//! whole call in view; then payloads, decoded and put in their places a few seconds at a time, so
//! that memory does not grow with the call. Left is the customer, right our side; both lanes are
//! exactly as long as the call, from the answer to its end.
//!
//! Doing it again gives the same recording with the same id under the same name: that is the
//! repair after a crash.

mod output;
mod scan;

use std::io;

use cheling_media::RATE_HZ;
use cheling_media::lane::{Lane as LaneSamples, WINDOW_SAMPLES};
use cheling_media::ogg_opus::OpusSettings;
use cheling_media::peaks::Peaks;
use cheling_media::rtp::RtpPacket;
use cheling_media::speech::{Measures, SpeechMeter};
use cheling_media::timeline::Placements;
use cheling_model::recording::{Container, LaneQuality, Recording, SpeechMeasures};
use cheling_model::tap::{PacketKind, TapPacket};
use cheling_model::{CallId, DealershipId, Lane, RecordingId, Timestamp, Verdict};
use sha2::{Digest, Sha256};

use crate::facts::CallFacts;
use crate::files::{Draft, Hashing, RecordingFiles, recording_path};
use crate::journal::{CallRecords, JournalError};
use crate::rtpdump::RtpDump;
use crate::verdict::{Evidence, judge};
use output::Output;
use scan::{LaneScan, Sound, scan};

/// Samples handed on at a time (8 s).
const STEP_SAMPLES: u64 = 8 * RATE_HZ as u64;

/// The longest recording (48 h); what comes after is left out.
const MAX_SAMPLES: u64 = 48 * 3600 * RATE_HZ as u64;

/// Microseconds of one sample.
const SAMPLE_US: i64 = 1_000_000 / RATE_HZ as i64;

/// How recordings are made.
#[derive(Clone, Copy, Debug)]
pub struct RenderSettings {
    /// WAV or Ogg Opus.
    pub container: Container,
    /// What Opus may cost.
    pub opus: OpusSettings,
    /// Where the dealership's day begins: 28 800 for Asia/Shanghai.
    pub utc_offset_s: i32,
}

impl Default for RenderSettings {
    fn default() -> Self {
        Self { container: Container::Wav, opus: OpusSettings::default(), utc_offset_s: 8 * 3600 }
    }
}

/// Why a recording could not be made.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// The journal could not be read; it may be later.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The file could not be written; it may be later.
    #[error("the recording's file: {0}")]
    File(#[from] io::Error),
    /// The journal does not say whose call it was. It never will.
    #[error("the first event of the call is missing")]
    NoOffer,
}

/// The recording's id: the same each time for the same call, and as hard to guess.
pub fn recording_id(call_id: CallId, started_at: Timestamp) -> RecordingId {
    let hash = Sha256::new().chain_update(b"recording").chain_update(call_id.0.as_bytes());
    let mut random = [0; 10];
    random.copy_from_slice(&hash.finalize()[..10]);
    RecordingId::mint(started_at, random)
}

/// Makes the files of a call, and the row that belongs to them. `None` for a call that was never
/// answered.
///
/// # Errors
/// [`RenderError`]; no file has then got its name.
pub fn render(
    records: &CallRecords,
    files: &RecordingFiles,
    settings: &RenderSettings,
) -> Result<Option<Recording>, RenderError> {
    let facts = CallFacts::of(&records.events()?);
    let Some(started_at) = facts.answered_at else { return Ok(None) };
    let dealership_id = facts.dealership_id.ok_or(RenderError::NoOffer)?;
    let scan = scan(records, &facts, started_at)?;
    let ended_at = facts.ended_at.unwrap_or(scan.last_arrival).max(started_at);
    let length_us = ended_at.as_micros().saturating_sub(started_at.as_micros());
    let samples = (length_us / SAMPLE_US).unsigned_abs().min(MAX_SAMPLES);
    let duration_us = samples as i64 * SAMPLE_US;
    let mut evidence = Evidence {
        duration_us,
        heard_packets: scan.lanes.each_ref().map(|lane| lane.decodable_packets),
        undecodable_packets: scan.lanes.each_ref().map(|lane| lane.undecodable_packets),
        tap_dropped_packets: facts.tap_dropped_packets,
        has_gap: records.has_gap(),
        has_damage: scan.damaged_records > 0,
        was_cut: facts.ended_at.is_none(),
    };
    evidence.was_cut |= length_us / SAMPLE_US > MAX_SAMPLES as i64;
    let (verdict, verdict_detail) = judge(&evidence);
    let recording_id = recording_id(records.call_id(), started_at);
    let mut recording = Recording {
        recording_id,
        call_id: records.call_id(),
        dealership_id,
        path: recording_path(recording_id, started_at, settings.utc_offset_s, settings.container),
        container: settings.container,
        started_at,
        duration_us,
        sample_rate_hz: RATE_HZ,
        bytes: 0,
        sha256: String::new(),
        verdict,
        verdict_detail,
        encodings: scan.lanes.each_ref().map(LaneScan::encoding),
        quality: quality(&scan.lanes, &facts),
        speech: SpeechMeasures::default(),
    };
    // No packet, or no time to put one: there is nothing to hear and so no file.
    if verdict == Verdict::NotRecorded || samples == 0 {
        recording.path = String::new();
        return Ok(Some(recording));
    }
    let places = scan.lanes.map(|lane| lane.timeline.finish());
    write_files(records, &facts, places, samples, files, settings, &mut recording)?;
    Ok(Some(recording))
}

/// The row of an answered call of which no recording can be made.
pub fn not_recorded(
    call_id: CallId,
    dealership_id: DealershipId,
    started_at: Timestamp,
    why: &str,
) -> Recording {
    Recording {
        recording_id: recording_id(call_id, started_at),
        call_id,
        dealership_id,
        path: String::new(),
        container: Container::Wav,
        started_at,
        duration_us: 0,
        sample_rate_hz: RATE_HZ,
        bytes: 0,
        sha256: String::new(),
        verdict: Verdict::NotRecorded,
        verdict_detail: why.to_owned(),
        encodings: Default::default(),
        quality: Default::default(),
        speech: SpeechMeasures::default(),
    }
}

fn quality(lanes: &[LaneScan; 2], facts: &CallFacts) -> [LaneQuality; 2] {
    Lane::BOTH.map(|lane| LaneQuality {
        tap_dropped_packets: facts.tap_dropped_packets[lane.index()],
        ..lanes[lane.index()].quality()
    })
}

/// Writes audio and companions; gives them their names when all of them are whole.
fn write_files(
    records: &CallRecords,
    facts: &CallFacts,
    places: [Placements; 2],
    samples: u64,
    files: &RecordingFiles,
    settings: &RenderSettings,
    recording: &mut Recording,
) -> Result<(), RenderError> {
    let call_id = recording.call_id.to_string();
    let tags = [("CALL_ID", call_id.as_str()), ("LEFT", "customer"), ("RIGHT", "agent")];
    let audio = Hashing::new(files.draft(&recording.path)?);
    let output = Output::new(audio, settings, samples, &tags)?;
    let mut raw = RawDumps::new(files, recording)?;
    let mut mixer = Mixer::new(output, samples, places);
    records.packets(|packet| -> Result<(), RenderError> {
        let arrival_us = packet.at.as_micros() - recording.started_at.as_micros();
        mixer.hand_on(arrival_us / SAMPLE_US)?;
        let Some((rtp, sound)) = read(&packet, facts) else { return Ok(()) };
        match sound {
            Sound::Decodable(codec) => mixer.place(packet.lane, &rtp, codec),
            Sound::Undecodable => raw.write(&packet)?,
        }
        Ok(())
    })?;
    let (audio, peaks, measures) = mixer.finish()?;
    let (audio, sha256, bytes) = audio.finish();
    let mut peaks_draft = files.draft(&companion(&recording.path, "peaks"))?;
    io::Write::write_all(&mut peaks_draft, &peaks)?;
    // The audio last: what has its name has its companions.
    raw.commit()?;
    peaks_draft.commit()?;
    audio.commit()?;
    recording.sha256 = sha256;
    recording.bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
    recording.speech = speech(measures);
    Ok(())
}

fn companion(path: &str, ending: &str) -> String {
    let stem = path.rsplit_once('.').map_or(path, |(stem, _)| stem);
    format!("{stem}.{ending}")
}

/// Reads a packet that carries sound.
fn read<'a, 'f>(
    packet: &TapPacket<'a>,
    facts: &'f CallFacts,
) -> Option<(RtpPacket<'a>, Sound<'f>)> {
    if packet.kind != PacketKind::Rtp {
        return None;
    }
    let rtp = RtpPacket::parse(packet.bytes).ok()?;
    let format = facts.formats(packet.lane, packet.at).format(rtp.header.payload_type);
    Some((rtp, Sound::of(&format.codec)?))
}

fn speech(measures: Measures) -> SpeechMeasures {
    SpeechMeasures {
        talk_ratio: measures.talk_ratio,
        silence_ratio: measures.silence_ratio,
        longest_silence_us: measures.longest_silence_us,
        overlaps: measures.overlaps,
        first_response_us: measures.first_response_us,
        level_dbfs: measures.level_dbfs,
        clipped_ratio: measures.clipped_ratio,
    }
}

/// Puts decoded packets in their places and hands on what is final.
struct Mixer {
    output: Output<Hashing<Draft>>,
    places: [Placements; 2],
    /// Decodable packets met so far, per lane: the index of the next in `places`.
    met: [usize; 2],
    lanes: [LaneSamples; 2],
    samples: u64,
    handed_on: u64,
    peaks: Peaks,
    speech: SpeechMeter,
    pcm: Vec<i16>,
    planar: [Vec<i16>; 2],
    interleaved: Vec<i16>,
}

impl Mixer {
    fn new(output: Output<Hashing<Draft>>, samples: u64, places: [Placements; 2]) -> Self {
        Self {
            output,
            places,
            met: [0; 2],
            lanes: [LaneSamples::new(samples), LaneSamples::new(samples)],
            samples,
            handed_on: 0,
            peaks: Peaks::default(),
            speech: SpeechMeter::default(),
            pcm: Vec::new(),
            planar: Default::default(),
            interleaved: Vec::new(),
        }
    }

    fn place(&mut self, lane: Lane, rtp: &RtpPacket<'_>, codec: &cheling_media::codec::Codec) {
        let index = lane.index();
        let met = self.met[index];
        self.met[index] += 1;
        if let Some(place) = self.places[index].get(met) {
            self.pcm.clear();
            codec.decode(rtp.payload, &mut self.pcm);
            self.lanes[index].place(place, &self.pcm);
        }
    }

    /// Hands on what no packet that arrives at `arrival` (in samples) can change any more.
    fn hand_on(&mut self, arrival: i64) -> io::Result<()> {
        let past = u64::try_from(arrival).unwrap_or(0).saturating_sub(WINDOW_SAMPLES);
        while self.handed_on + STEP_SAMPLES <= past.min(self.samples) {
            self.advance(self.handed_on + STEP_SAMPLES)?;
        }
        Ok(())
    }

    fn advance(&mut self, until: u64) -> io::Result<()> {
        for (lane, planar) in self.lanes.iter_mut().zip(&mut self.planar) {
            planar.clear();
            lane.advance(until, planar);
        }
        self.handed_on = until;
        let [left, right] = &self.planar;
        self.peaks.push([left, right]);
        self.speech.push([left, right]);
        self.interleaved.clear();
        self.interleaved.extend(left.iter().zip(right).flat_map(|(&left, &right)| [left, right]));
        self.output.write(&self.interleaved)
    }

    fn finish(mut self) -> io::Result<(Hashing<Draft>, Vec<u8>, Measures)> {
        while self.handed_on < self.samples {
            self.advance((self.handed_on + STEP_SAMPLES).min(self.samples))?;
        }
        Ok((self.output.finish()?, self.peaks.finish(), self.speech.finish()))
    }
}

/// The packets that cannot be decoded, one file per lane that has any.
struct RawDumps<'a> {
    files: &'a RecordingFiles,
    path: String,
    started_at: Timestamp,
    dumps: [Option<RtpDump<Draft>>; 2],
}

impl<'a> RawDumps<'a> {
    fn new(files: &'a RecordingFiles, recording: &Recording) -> io::Result<Self> {
        let (path, started_at) = (recording.path.clone(), recording.started_at);
        Ok(Self { files, path, started_at, dumps: [None, None] })
    }

    fn write(&mut self, packet: &TapPacket<'_>) -> io::Result<()> {
        let ending = match packet.lane {
            Lane::Customer => "left.rtpdump",
            Lane::Agent => "right.rtpdump",
        };
        let dump = match &mut self.dumps[packet.lane.index()] {
            Some(dump) => dump,
            none => {
                let draft = self.files.draft(&companion(&self.path, ending))?;
                none.insert(RtpDump::new(draft, self.started_at)?)
            }
        };
        dump.write(packet.at, packet.bytes)
    }

    fn commit(self) -> io::Result<()> {
        for dump in self.dumps.into_iter().flatten() {
            dump.into_inner().commit()?;
        }
        Ok(())
    }
}
