//! Makes the recording of one call from its records in the journal.
//!
//! Twice through the records: first headers only, to judge the time line of both lanes with the
//! whole call in view; then payloads, decoded and put in their places a few seconds at a time, so
//! that memory does not grow with the call. Left is the customer, right our side; both lanes are
//! exactly as long as the call, from the answer to its end. The file has the rate of the widest
//! codec that either lane used: 8, 16 or 48 kHz.
//!
//! Doing it again gives the same recording with the same id under the same name: that is the
//! repair after a crash.

mod mixer;
mod output;
mod reports;
mod scan;

use std::io;
use std::ops::Range;

use cheling_media::RATE_HZ;
use cheling_media::codec::PayloadFormat;
use cheling_media::dtmf_tones::InbandDigits;
use cheling_media::ogg_opus::OpusSettings;
use cheling_media::rtp::RtpPacket;
use cheling_media::speech::Measures;
use cheling_model::call::SRTP;
use cheling_model::recording::{Container, LaneQuality, Recording, Span, SpeechMeasures};
use cheling_model::tap::{PacketKind, TapPacket};
use cheling_model::{CallId, DealershipId, Lane, RecordingId, Timestamp, Verdict};
use sha2::{Digest, Sha256};

use crate::facts::CallFacts;
use crate::files::{Draft, Finished, Hashing, RecordingFiles, commit_all, recording_path};
use crate::journal::{CallRecords, JournalError};
use crate::rtpdump::RtpDump;
use crate::verdict::{Evidence, judge};
use mixer::{LanePlan, Mixed, Mixer};
use output::Output;
use scan::{LaneScan, Sound, scan};

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
    /// What becomes of digits that were sent as tones: where they are silenced, the recording says
    /// so. Those that were sent as events (RFC 4733) are never in it.
    pub inband_digits: InbandDigits,
}

impl Default for RenderSettings {
    fn default() -> Self {
        Self {
            container: Container::Wav,
            opus: OpusSettings::default(),
            utc_offset_s: 8 * 3600,
            inband_digits: InbandDigits::default(),
        }
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

/// A recording whose files are written but have no names yet.
#[derive(Debug)]
pub struct Rendered {
    /// Its row.
    pub recording: Recording,
    /// Its files, the audio last: what has its name has its companions.
    pub files: Vec<Finished>,
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
    let Some(rendered) = prepare(records, files, settings)? else { return Ok(None) };
    if let Err(err) = commit_all(rendered.files) {
        files.shun(&rendered.recording.path);
        return Err(err.into());
    }
    Ok(Some(rendered.recording))
}

/// Writes the files of a call and its row without giving them their names: several calls can then
/// be made durable together ([`commit_all`]). `None` for a call that was never answered.
///
/// # Errors
/// [`RenderError`].
pub fn prepare(
    records: &CallRecords,
    files: &RecordingFiles,
    settings: &RenderSettings,
) -> Result<Option<Rendered>, RenderError> {
    let facts = CallFacts::of(&records.events()?);
    let Some(started_at) = facts.answered_at else { return Ok(None) };
    let dealership_id = facts.dealership_id.ok_or(RenderError::NoOffer)?;
    let scan = scan(records, &facts, started_at)?;
    let ended_at = facts.ended_at.unwrap_or(scan.last_arrival).max(started_at);
    let length_us = ended_at.as_micros().saturating_sub(started_at.as_micros());
    let samples = (length_us / SAMPLE_US).unsigned_abs().min(MAX_SAMPLES);
    let duration_us = samples as i64 * SAMPLE_US;
    let pauses = facts.pauses.spans(started_at, ended_at);
    let mut evidence = Evidence {
        duration_us,
        heard_packets: scan.lanes.each_ref().map(|lane| lane.decodable_packets),
        undecodable_packets: scan.lanes.each_ref().map(|lane| lane.undecodable_packets),
        is_encrypted: scan.lanes.each_ref().map(|lane| lane.encoding() == SRTP),
        tap_dropped_packets: facts.tap_dropped_packets,
        faults: facts.faults,
        has_gap: records.has_gap(),
        has_damage: scan.damaged_records > 0,
        was_cut: facts.ended_at.is_none(),
        paused_us: pauses.iter().map(|it| (it.until_ms - it.from_ms) * 1000).sum(),
        pauses: pauses.len(),
    };
    evidence.was_cut |= length_us / SAMPLE_US > MAX_SAMPLES as i64;
    let (verdict, verdict_detail) = judge(&evidence);
    let recording_id = recording_id(records.call_id(), started_at);
    let mut recording = Recording {
        recording_id,
        call_id: records.call_id(),
        dealership_id,
        path: String::new(),
        container: settings.container,
        started_at,
        duration_us,
        sample_rate_hz: file_rate_hz(&scan.lanes),
        bytes: 0,
        sha256: String::new(),
        verdict,
        verdict_detail,
        encodings: scan.lanes.each_ref().map(LaneScan::encoding),
        quality: quality(&scan.lanes, &facts),
        speech: SpeechMeasures::default(),
        pauses,
        digits: Vec::new(),
    };
    // No packet, or no time to put one: there is nothing to hear and so no file.
    if verdict == Verdict::NotRecorded || samples == 0 {
        return Ok(Some(Rendered { recording, files: Vec::new() }));
    }
    let (offset_s, container) = (settings.utc_offset_s, settings.container);
    recording.path = files.place(&recording_path(recording_id, started_at, offset_s, container));
    let plans = scan.lanes.map(LaneScan::plan);
    let made = write_files(records, &facts, plans, samples, files, settings, &mut recording);
    if let Err(RenderError::File(_)) = made {
        files.shun(&recording.path);
    }
    made.map(|files| Some(Rendered { recording, files }))
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
        pauses: Vec::new(),
        digits: Vec::new(),
    }
}

/// The least rate of a file that holds all that was heard.
fn file_rate_hz(lanes: &[LaneScan; 2]) -> u32 {
    match lanes.iter().map(LaneScan::rate_hz).max().unwrap_or(0) {
        0..=8000 => 8000,
        8001..=16_000 => 16_000,
        _ => 48_000,
    }
}

fn quality(lanes: &[LaneScan; 2], facts: &CallFacts) -> [LaneQuality; 2] {
    Lane::BOTH.map(|lane| LaneQuality {
        tap_dropped_packets: facts.tap_dropped_packets[lane.index()],
        ..lanes[lane.index()].quality()
    })
}

/// Writes audio and companions; they have no names yet.
fn write_files(
    records: &CallRecords,
    facts: &CallFacts,
    plans: [LanePlan; 2],
    samples: u64,
    files: &RecordingFiles,
    settings: &RenderSettings,
    recording: &mut Recording,
) -> Result<Vec<Finished>, RenderError> {
    let call_id = recording.call_id.to_string();
    let tags = [("CALL_ID", call_id.as_str()), ("LEFT", "customer"), ("RIGHT", "agent")];
    let audio = Hashing::new(files.draft(&recording.path)?);
    let (rate_hz, started_at) = (recording.sample_rate_hz, recording.started_at);
    let frames = samples * u64::from(rate_hz) / u64::from(RATE_HZ);
    let output = Output::new(audio, rate_hz, settings, frames, &tags)?;
    let mut raw = RawDumps::new(files, recording)?;
    let mut mixer = Mixer::new(output, started_at, rate_hz, samples, plans)?;
    mixer.mute(facts.pauses.samples(started_at, rate_hz));
    mixer.treat_digits(settings.inband_digits);
    records.packets(|packet| -> Result<(), RenderError> {
        mixer.hand_on(packet.at)?;
        let Some((rtp, format)) = read(&packet, facts) else { return Ok(()) };
        let sound = Sound::of(format);
        match sound {
            Some(Sound::Decodable | Sound::DecodableKeptRaw) => {
                mixer.sound(&packet, facts.pauses.before(packet.at), &rtp, format);
            }
            Some(Sound::Undecodable) | None => {
                let pauses = facts.pauses.before(packet.at);
                match format.codec.comfort_noise(rtp.payload) {
                    Some(noise) => mixer.comfort_noise(&packet, pauses, &rtp, noise),
                    None => mixer.silence(&packet, pauses, &rtp),
                }
            }
        }
        if matches!(sound, Some(Sound::Undecodable | Sound::DecodableKeptRaw)) {
            raw.write(&packet)?;
        }
        Ok(())
    })?;
    let Mixed { audio, peaks, measures, concealed_ms, digits } = mixer.finish()?;
    recording.digits = digit_spans(digits, rate_hz);
    for (quality, concealed_ms) in recording.quality.iter_mut().zip(concealed_ms) {
        quality.concealed_ms = concealed_ms;
    }
    let (audio, sha256, bytes) = audio.finish();
    let mut peaks_draft = files.draft(&companion(&recording.path, "peaks"))?;
    io::Write::write_all(&mut peaks_draft, &peaks)?;
    // The audio last: what has its name has its companions.
    let mut finished = raw.finish()?;
    finished.push(peaks_draft.finish()?);
    finished.push(audio.finish()?);
    recording.sha256 = sha256;
    recording.bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
    recording.speech = speech(measures);
    Ok(finished)
}

/// Where digits were silenced on either lane, in order, what overlaps made one.
fn digit_spans(mut samples: Vec<Range<u64>>, rate_hz: u32) -> Vec<Span> {
    samples.sort_unstable_by_key(|range| range.start);
    let ms = |at: u64| (at * 1000 / u64::from(rate_hz)) as i64;
    let mut spans = Vec::<Span>::new();
    for range in samples {
        let span = Span { from_ms: ms(range.start), until_ms: ms(range.end) + 1 };
        match spans.last_mut() {
            Some(last) if span.from_ms <= last.until_ms => {
                last.until_ms = last.until_ms.max(span.until_ms);
            }
            _ => spans.push(span),
        }
    }
    spans
}

fn companion(path: &str, ending: &str) -> String {
    let stem = path.rsplit_once('.').map_or(path, |(stem, _)| stem);
    format!("{stem}.{ending}")
}

/// Reads an RTP packet and what its payload is.
fn read<'a, 'f>(
    packet: &TapPacket<'a>,
    facts: &'f CallFacts,
) -> Option<(RtpPacket<'a>, &'f PayloadFormat)> {
    if packet.kind != PacketKind::Rtp {
        return None;
    }
    let rtp = RtpPacket::parse(packet.bytes).ok()?;
    let format =
        facts.formats(packet.lane, packet.voice, packet.at).format(rtp.header.payload_type);
    Some((rtp, format))
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

    fn finish(self) -> io::Result<Vec<Finished>> {
        self.dumps.into_iter().flatten().map(|dump| dump.into_inner().finish()).collect()
    }
}
