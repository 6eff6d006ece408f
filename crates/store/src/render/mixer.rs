//! Puts decoded packets in their places, at the rate of the file, and hands on what is final.
//!
//! A lane is a sum of voices, each with a time line and decoders of its own; and a voice is a sum
//! of tracks, one for each rate its codecs have: each is filled at its own rate, continuous from the
//! answer to the end, and then brought to the rate of the file. So a codec that changes in the
//! middle of a call makes no seam, nothing wide is made narrow, and those who talk at once on one
//! lane are all heard, as loud as they were; what is too loud together is limited, not wrapped.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;

use cheling_media::RATE_HZ;
use cheling_media::codec::PayloadFormat;
use cheling_media::comfort_noise::ComfortNoise;
use cheling_media::decoder::Decoder;
use cheling_media::dtmf_tones::{InbandDigits, ToneMute};
use cheling_media::keyed::Keyed;
use cheling_media::lane::{Before, Lane as Samples, WINDOW_SAMPLES};
use cheling_media::peaks::Peaks;
use cheling_media::reorder::Reorder;
use cheling_media::resample::Resampler;
use cheling_media::rtp::{RtpPacket, SequenceNumber, Ssrc};
use cheling_media::speech::{Measures, SpeechMeter};
use cheling_media::timeline::{Placement, Placements};
use cheling_model::Timestamp;
use cheling_model::tap::TapPacket;

use super::SAMPLE_US;
use super::output::Output;
use crate::files::{Draft, Hashing};

/// Samples of [`RATE_HZ`] handed on at a time (8 s).
const STEP_SAMPLES: u64 = 8 * RATE_HZ as u64;

/// Samples of [`RATE_HZ`] that go from the lanes to the file in one piece (250 ms): so few that
/// they stay in the processor's nearest cache all the way.
const PIECE_SAMPLES: u64 = RATE_HZ as u64 / 4;

/// Streams of a voice that are decoded; the time line places no more either.
const MAX_SOURCES: usize = 1024;

/// What a silence descriptor is decoded to, a share of a second: 10 ms.
const DESCRIBED_PER_S: usize = 100;

/// Decoders of one stream; more codecs are not changed between in one call.
const MAX_DECODERS: usize = 16;

/// What is known of a lane before its payloads are read: its voices.
pub type LanePlan = Vec<VoicePlan>;

/// What is known of a voice before its payloads are read.
pub struct VoicePlan {
    /// Which of the lane's.
    pub voice: u8,
    /// Where its decodable packets go, in the order of the journal.
    pub places: Placements,
    /// The rates of its codecs.
    pub rates_hz: Vec<u32>,
}

/// What a mixer made.
pub struct Mixed {
    /// The file, not yet named.
    pub audio: Hashing<Draft>,
    /// The outline.
    pub peaks: Vec<u8>,
    /// How they talked.
    pub measures: Measures,
    /// Audio made up for loss, per lane.
    pub concealed_ms: [u64; 2],
    /// Samples of the file in which digits sent as tones were silenced, on either lane.
    pub digits: Vec<Range<u64>>,
}

/// Mixes one call.
pub struct Mixer {
    output: Output<Hashing<Draft>>,
    started_at: Timestamp,
    rate_hz: u32,
    /// Length in samples of [`RATE_HZ`], as all lengths and places here but those of the file.
    samples: u64,
    handed_on: u64,
    /// Samples of the file mixed.
    mixed: u64,
    /// Samples of the file written.
    written: u64,
    lanes: [LaneMix; 2],
    /// What silences digits between mixing and writing, if anything does.
    tones: Option<[ToneMute; 2]>,
    /// Samples of the file that are to be silence, in order.
    muted: VecDeque<Range<u64>>,
    peaks: Peaks,
    speech: SpeechMeter,
    planar: [Vec<i16>; 2],
    /// A lane whose digits are yet to be silenced.
    toned: Vec<i16>,
    interleaved: Vec<i16>,
}

impl Mixer {
    /// Begins a file of `rate_hz` and `samples` of [`RATE_HZ`].
    pub fn new(
        output: Output<Hashing<Draft>>,
        started_at: Timestamp,
        rate_hz: u32,
        samples: u64,
        lanes: [LanePlan; 2],
    ) -> io::Result<Self> {
        let [left, right] = lanes.map(|voices| -> io::Result<LaneMix> {
            let voices = voices.into_iter().map(|plan| VoiceMix::new(plan, rate_hz, samples));
            Ok(LaneMix { voices: voices.collect::<io::Result<_>>()? })
        });
        Ok(Self {
            output,
            started_at,
            rate_hz,
            samples,
            handed_on: 0,
            mixed: 0,
            written: 0,
            lanes: [left?, right?],
            tones: None,
            muted: VecDeque::new(),
            peaks: Peaks::new(rate_hz),
            speech: SpeechMeter::new(rate_hz),
            planar: Default::default(),
            toned: Vec::new(),
            interleaved: Vec::new(),
        })
    }

    /// Says what becomes of digits that were sent as tones, on the lane that has them.
    pub fn treat_digits(&mut self, digits: InbandDigits) {
        self.tones = digits.mutes(self.rate_hz);
    }

    /// Makes these samples of the file silence on both lanes, whatever is placed there. They are
    /// left out of the measures.
    pub fn mute(&mut self, samples: Vec<Range<u64>>) {
        self.muted = samples.into();
    }

    /// Takes the next packet with sound that can be decoded, and how many pauses came before it.
    pub fn sound(
        &mut self,
        packet: &TapPacket<'_>,
        pauses: u32,
        rtp: &RtpPacket<'_>,
        format: &PayloadFormat,
    ) {
        if let Some(voice) = self.lanes[packet.lane.index()].voice(packet.voice) {
            voice.sound(packet.at.as_micros(), pauses, rtp, format);
        }
    }

    /// Takes a packet without sound: it counts for the order of those with.
    pub fn silence(&mut self, packet: &TapPacket<'_>, pauses: u32, rtp: &RtpPacket<'_>) {
        if let Some(voice) = self.lanes[packet.lane.index()].voice(packet.voice) {
            voice.soundless(packet.at.as_micros(), pauses, rtp, Waiting::Nothing);
        }
    }

    /// Takes a packet that says what its sender's silence sounds like.
    pub fn comfort_noise(
        &mut self,
        packet: &TapPacket<'_>,
        pauses: u32,
        rtp: &RtpPacket<'_>,
        noise: ComfortNoise,
    ) {
        if let Some(voice) = self.lanes[packet.lane.index()].voice(packet.voice) {
            let at_us = packet.at.as_micros();
            voice.soundless(at_us, pauses, rtp, Waiting::Noise { at_us, noise });
        }
    }

    /// Hands on what no packet that arrives at `at` can change any more.
    pub fn hand_on(&mut self, at: Timestamp) -> io::Result<()> {
        let arrival = at.as_micros().saturating_sub(self.started_at.as_micros()) / SAMPLE_US;
        let past = u64::try_from(arrival).unwrap_or(0).saturating_sub(WINDOW_SAMPLES);
        while self.handed_on + STEP_SAMPLES <= past.min(self.samples) {
            self.voices().for_each(|voice| voice.release(at.as_micros()));
            self.advance(self.handed_on + STEP_SAMPLES)?;
        }
        Ok(())
    }

    fn voices(&mut self) -> impl Iterator<Item = &mut VoiceMix> {
        self.lanes.iter_mut().flat_map(|lane| &mut lane.voices)
    }

    fn advance(&mut self, until: u64) -> io::Result<()> {
        while self.handed_on < until {
            self.handed_on = until.min(self.handed_on + PIECE_SAMPLES);
            let until = self.handed_on;
            let whole = self.in_file(until) - self.mixed;
            self.voices().for_each(|voice| voice.advance(until));
            let ready = self.voices().filter_map(|voice| voice.ready()).min();
            self.mix(ready.map_or(whole, |ready| whole.min(ready as u64)))?;
        }
        Ok(())
    }

    fn in_file(&self, samples: u64) -> u64 {
        samples * u64::from(self.rate_hz) / u64::from(RATE_HZ)
    }

    fn mix(&mut self, frames: u64) -> io::Result<()> {
        for (lane, planar) in self.lanes.iter_mut().zip(&mut self.planar) {
            planar.clear();
            planar.resize(frames as usize, 0);
            lane.voices.iter_mut().for_each(|voice| voice.add_to(planar));
        }
        self.mixed += frames;
        for (tones, planar) in self.tones.iter_mut().flatten().zip(&mut self.planar) {
            std::mem::swap(planar, &mut self.toned);
            planar.clear();
            tones.push(&self.toned, planar);
        }
        self.write()
    }

    /// Writes both lanes as they are now.
    fn write(&mut self) -> io::Result<()> {
        let frames = self.planar[0].len() as u64;
        let quiet = self.silence_muted(frames);
        self.written += frames;
        let [left, right] = &self.planar;
        self.peaks.push([left, right]);
        let mut measured = 0;
        for quiet in quiet.into_iter().chain(std::iter::once(left.len()..left.len())) {
            self.speech.push([&left[measured..quiet.start], &right[measured..quiet.start]]);
            measured = quiet.end;
        }
        self.interleaved.resize(2 * left.len(), 0);
        let (frames, _) = self.interleaved.as_chunks_mut::<2>();
        for (frame, (&left, &right)) in frames.iter_mut().zip(left.iter().zip(right)) {
            *frame = [left, right];
        }
        self.output.write(&self.interleaved)
    }

    /// Silences what is to be silence of the next `frames`, and says which they are.
    fn silence_muted(&mut self, frames: u64) -> Vec<Range<usize>> {
        let (from, to) = (self.written, self.written + frames);
        while self.muted.front().is_some_and(|muted| muted.end <= from) {
            self.muted.pop_front();
        }
        let here = self.muted.iter().take_while(|muted| muted.start < to).map(|muted| {
            let (start, end) = (muted.start.max(from) - from, muted.end.min(to) - from);
            start as usize..end.max(start) as usize
        });
        let here: Vec<_> = here.collect();
        for range in &here {
            self.planar.iter_mut().for_each(|lane| lane[range.clone()].fill(0));
        }
        here
    }

    /// Hands on all that is left.
    pub fn finish(mut self) -> io::Result<Mixed> {
        self.voices().for_each(|voice| voice.release(i64::MAX));
        self.advance(self.samples)?;
        self.voices().for_each(VoiceMix::finish);
        self.mix(self.in_file(self.samples) - self.mixed)?;
        for (tones, planar) in self.tones.iter_mut().flatten().zip(&mut self.planar) {
            planar.clear();
            tones.finish(planar);
        }
        if self.tones.is_some() {
            self.write()?;
        }
        let digits = self.tones.iter().flatten().flat_map(|tones| tones.silenced().to_vec());
        Ok(Mixed {
            digits: digits.collect(),
            audio: self.output.finish()?,
            peaks: self.peaks.finish(),
            measures: self.speech.finish(),
            concealed_ms: self.lanes.each_ref().map(LaneMix::concealed_ms),
        })
    }
}

/// A packet that waits for its turn.
enum Waiting {
    /// It only counts for the order of the others.
    Nothing,
    /// To be decoded, and its payload.
    Sound(Sound, Vec<u8>),
    /// From its place on, its sender is silent, which sounds so.
    Noise { at_us: i64, noise: ComfortNoise },
}

/// A packet with sound, its payload apart.
#[derive(Clone, Copy)]
struct Sound {
    at_us: i64,
    place: Option<Placement>,
    decoder: usize,
}

/// The sound of a stream that was placed last.
#[derive(Clone, Copy)]
struct Placed {
    at_us: i64,
    place: Placement,
    /// Where it ends, in the samples that places are in.
    end: i64,
    track: usize,
}

/// One SSRC of a voice.
#[derive(Default)]
struct Source {
    reorder: Reorder<Waiting>,
    decoders: Vec<SourceDecoder>,
    has_begun: bool,
    last: Option<Placed>,
}

impl Source {
    /// Finds or makes the decoder of a format.
    fn decoder_of(&mut self, format: &PayloadFormat, tracks: &[Track]) -> Option<usize> {
        if let Some(found) = self.decoders.iter().position(|known| known.format == *format) {
            return Some(found);
        }
        if self.decoders.len() >= MAX_DECODERS {
            return None;
        }
        let decoder = Decoder::new(format)?;
        let rate_hz = decoder.rate_hz();
        let track = tracks.iter().position(|track| track.samples.rate_hz() == rate_hz)?;
        self.decoders.push(SourceDecoder { format: format.clone(), decoder, track });
        Some(self.decoders.len() - 1)
    }

    /// Has a packet wait for its turn, which may be now.
    fn push(
        &mut self,
        at_us: i64,
        number: SequenceNumber,
        waiting: Waiting,
        tracks: &mut [Track],
        pcm: &mut Vec<i16>,
    ) {
        let Some(refused) = self.reorder.push(at_us, number, waiting) else {
            return self.release(at_us, tracks, pcm);
        };
        // Too late for its turn: still good if its decoder needs no order.
        if let Waiting::Sound(sound, payload) = refused {
            let known = &mut self.decoders[sound.decoder];
            if !known.decoder.needs_order() {
                place(tracks, pcm, known, (&sound, &payload), Before::Loss, 0);
            }
        }
    }

    /// Takes what has waited long enough.
    fn release(&mut self, at_us: i64, tracks: &mut [Track], pcm: &mut Vec<i16>) {
        while let Some(next) = self.reorder.pop(at_us) {
            match next.item {
                Waiting::Nothing => self.has_begun = true,
                Waiting::Sound(sound, payload) => {
                    self.hear(&sound, &payload, next.lost_packets, tracks, pcm);
                }
                Waiting::Noise { at_us, noise } => {
                    self.has_begun = true;
                    // By its timestamp it would be placed better, if all senders counted on through
                    // their silence; it must never move the time line of what is said.
                    let Some(last) = self.last else { continue };
                    let since = (at_us.saturating_sub(last.at_us)) / SAMPLE_US;
                    let position = last.place.position.saturating_add(since).max(last.end);
                    let at = Placement { position, ..last.place };
                    tracks[last.track].samples.comfort_noise(at, &noise);
                }
            }
        }
    }

    /// Decodes a packet whose turn it is, so many lost ones after the packet before.
    fn hear(
        &mut self,
        sound: &Sound,
        payload: &[u8],
        lost_packets: u64,
        tracks: &mut [Track],
        pcm: &mut Vec<i16>,
    ) {
        let is_next = self.has_begun && lost_packets == 0;
        self.has_begun = true;
        let before = if is_next { Before::Pause } else { Before::Loss };
        let known = &mut self.decoders[sound.decoder];
        let placed = place(tracks, pcm, known, (sound, payload), before, lost_packets);
        self.last = placed.or(self.last);
    }
}

struct SourceDecoder {
    format: PayloadFormat,
    decoder: Decoder,
    track: usize,
}

/// The samples of a voice at one rate.
struct Track {
    samples: Samples,
    resampler: Resampler,
    /// At the rate of the file, not yet written.
    ready: Vec<i16>,
}

/// One lane being mixed.
struct LaneMix {
    voices: Vec<VoiceMix>,
}

impl LaneMix {
    /// A voice of the lane; `None` for one that nothing can be decoded of.
    fn voice(&mut self, voice: u8) -> Option<&mut VoiceMix> {
        self.voices.iter_mut().find(|known| known.voice == voice)
    }

    fn concealed_ms(&self) -> u64 {
        let tracks = self.voices.iter().flat_map(|voice| &voice.tracks);
        tracks.map(|track| track.samples.concealed_ms()).sum()
    }
}

/// One voice of a lane being mixed.
struct VoiceMix {
    voice: u8,
    /// Of its decodable packets, from the next on.
    places: Placements,
    /// By stream and the pauses before it.
    sources: Keyed<(Ssrc, u32), Source>,
    tracks: Vec<Track>,
    pcm: Vec<i16>,
}

impl VoiceMix {
    fn new(plan: VoicePlan, file_hz: u32, limit: u64) -> io::Result<Self> {
        let track = |&rate_hz: &u32| {
            let limit = (limit * u64::from(rate_hz)).div_ceil(u64::from(RATE_HZ));
            let resampler = Resampler::new(rate_hz, file_hz).ok_or_else(|| {
                io::Error::other(format!("no way from {rate_hz} to {file_hz} Hz"))
            })?;
            Ok(Track { samples: Samples::new(rate_hz, limit), resampler, ready: Vec::new() })
        };
        let tracks = plan.rates_hz.iter().map(track).collect::<io::Result<_>>()?;
        let (voice, places, sources) = (plan.voice, plan.places, Keyed::default());
        Ok(Self { voice, places, sources, tracks, pcm: Vec::new() })
    }

    fn sound(&mut self, at_us: i64, pauses: u32, rtp: &RtpPacket<'_>, format: &PayloadFormat) {
        let place = self.places.next().flatten();
        let Self { sources, tracks, pcm, .. } = self;
        let stream = (rtp.header.ssrc, pauses);
        let Some(source) = sources.get_or_add(stream, MAX_SOURCES, Source::default) else { return };
        // What is missing before the first packet after a pause was left out, not lost.
        source.has_begun |= pauses > 0;
        let Some(decoder) = source.decoder_of(format, tracks) else { return };
        let sound = Sound { at_us, place, decoder };
        // Nearly all packets come in their turn: theirs need not be kept.
        if source.reorder.pass(rtp.header.sequence_number) {
            source.hear(&sound, rtp.payload, 0, tracks, pcm);
        } else {
            let waiting = Waiting::Sound(sound, rtp.payload.to_vec());
            source.push(at_us, rtp.header.sequence_number, waiting, tracks, pcm);
        }
    }

    fn soundless(&mut self, at_us: i64, pauses: u32, rtp: &RtpPacket<'_>, waiting: Waiting) {
        // A stream that never had sound needs no order.
        let Some(source) = self.sources.get_mut(&(rtp.header.ssrc, pauses)) else { return };
        let number = rtp.header.sequence_number;
        source.push(at_us, number, waiting, &mut self.tracks, &mut self.pcm);
    }

    /// Decodes what has waited long enough.
    fn release(&mut self, at_us: i64) {
        for source in self.sources.values_mut() {
            source.release(at_us, &mut self.tracks, &mut self.pcm);
        }
    }

    fn advance(&mut self, until: u64) {
        for track in &mut self.tracks {
            let rate_hz = track.samples.rate_hz();
            self.pcm.clear();
            let until = (until * u64::from(rate_hz)).div_ceil(u64::from(RATE_HZ));
            track.samples.advance(until, &mut self.pcm);
            track.resampler.push(&self.pcm, &mut track.ready);
        }
    }

    /// Samples of the file that every track has; `None` if there is no track.
    fn ready(&self) -> Option<usize> {
        self.tracks.iter().map(|track| track.ready.len()).min()
    }

    /// Adds the next samples of the file to `out`.
    fn add_to(&mut self, out: &mut [i16]) {
        for track in &mut self.tracks {
            let some = out.len().min(track.ready.len());
            for (sum, sample) in out.iter_mut().zip(&track.ready[..some]) {
                *sum = sum.saturating_add(*sample);
            }
            track.ready.drain(..some);
        }
    }

    fn finish(&mut self) {
        self.tracks.iter_mut().for_each(|track| track.resampler.finish(&mut track.ready));
    }
}

/// Decodes a packet and puts it in its place; tells where it ended up.
fn place(
    tracks: &mut [Track],
    pcm: &mut Vec<i16>,
    known: &mut SourceDecoder,
    (sound, payload): (&Sound, &[u8]),
    before: Before,
    lost_packets: u64,
) -> Option<Placed> {
    let track = &mut tracks[known.track].samples;
    pcm.clear();
    known.decoder.recover(lost_packets, payload, pcm);
    if let Some(place) = sound.place.filter(|_| !pcm.is_empty()) {
        track.place_recovered(place, pcm);
    }
    pcm.clear();
    known.decoder.decode(payload, pcm);
    let place = sound.place?;
    track.place(place, before, pcm);
    let samples = (pcm.len() as u64 * u64::from(RATE_HZ)).div_ceil(u64::from(track.rate_hz()));
    let end = place.position.saturating_add(samples as i64);
    if known.decoder.ends_in_silence(payload) {
        let quiet = &pcm[pcm.len().saturating_sub(track.rate_hz() as usize / DESCRIBED_PER_S)..];
        let noise = ComfortNoise::white(level_db(quiet));
        track.comfort_noise(Placement { position: end, ..place }, &noise);
    }
    Some(Placed { at_us: sound.at_us, place, end, track: known.track })
}

/// The mean level of samples, dB above full scale; nothing is minus infinity.
fn level_db(pcm: &[i16]) -> f32 {
    let squares: f32 = pcm.iter().map(|&it| f32::from(it) * f32::from(it)).sum();
    10.0 * (squares / (pcm.len().max(1) as f32 * 32_768.0 * 32_768.0)).log10()
}
