//! Puts decoded packets in their places, at the rate of the file, and hands on what is final.
//!
//! A lane is a sum of voices, each with a time line and decoders of its own; and a voice is a sum
//! of tracks, one for each rate its codecs have: each is filled at its own rate, continuous from the
//! answer to the end, and then brought to the rate of the file. So a codec that changes in the
//! middle of a call makes no seam, nothing wide is made narrow, and those who talk at once on one
//! lane are all heard, as loud as they were; what is too loud together is limited, not wrapped.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::ops::Range;

use cheling_media::RATE_HZ;
use cheling_media::codec::PayloadFormat;
use cheling_media::decoder::Decoder;
use cheling_media::lane::{Before, Lane as Samples, WINDOW_SAMPLES};
use cheling_media::peaks::Peaks;
use cheling_media::reorder::Reorder;
use cheling_media::resample::Resampler;
use cheling_media::rtp::{RtpPacket, Ssrc};
use cheling_media::speech::{Measures, SpeechMeter};
use cheling_media::timeline::{Placement, Placements};
use cheling_model::Timestamp;
use cheling_model::tap::TapPacket;

use super::SAMPLE_US;
use super::output::Output;
use crate::files::{Draft, Hashing};

/// Samples of [`RATE_HZ`] handed on at a time (8 s).
const STEP_SAMPLES: u64 = 8 * RATE_HZ as u64;

/// Streams of a voice that are decoded; the time line places no more either.
const MAX_SOURCES: usize = 1024;

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
}

/// Mixes one call.
pub struct Mixer {
    output: Output<Hashing<Draft>>,
    started_at: Timestamp,
    rate_hz: u32,
    /// Length in samples of [`RATE_HZ`], as all lengths and places here but those of the file.
    samples: u64,
    handed_on: u64,
    /// Samples of the file written.
    written: u64,
    lanes: [LaneMix; 2],
    /// Samples of the file that are to be silence, in order.
    muted: VecDeque<Range<u64>>,
    peaks: Peaks,
    speech: SpeechMeter,
    planar: [Vec<i16>; 2],
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
            written: 0,
            lanes: [left?, right?],
            muted: VecDeque::new(),
            peaks: Peaks::new(rate_hz),
            speech: SpeechMeter::new(rate_hz),
            planar: Default::default(),
            interleaved: Vec::new(),
        })
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
            voice.push(packet.at.as_micros(), pauses, rtp, None);
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
        self.handed_on = until;
        let whole = self.in_file(until) - self.written;
        self.voices().for_each(|voice| voice.advance(until));
        let ready = self.voices().filter_map(|voice| voice.ready()).min();
        self.write(ready.map_or(whole, |ready| whole.min(ready as u64)))
    }

    fn in_file(&self, samples: u64) -> u64 {
        samples * u64::from(self.rate_hz) / u64::from(RATE_HZ)
    }

    fn write(&mut self, frames: u64) -> io::Result<()> {
        for (lane, planar) in self.lanes.iter_mut().zip(&mut self.planar) {
            planar.clear();
            planar.resize(frames as usize, 0);
            lane.voices.iter_mut().for_each(|voice| voice.add_to(planar));
        }
        let quiet = self.silence_muted(frames);
        self.written += frames;
        let [left, right] = &self.planar;
        self.peaks.push([left, right]);
        let mut measured = 0;
        for quiet in quiet.into_iter().chain(std::iter::once(left.len()..left.len())) {
            self.speech.push([&left[measured..quiet.start], &right[measured..quiet.start]]);
            measured = quiet.end;
        }
        self.interleaved.clear();
        self.interleaved.extend(left.iter().zip(right).flat_map(|(&left, &right)| [left, right]));
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
        while self.handed_on < self.samples {
            self.advance((self.handed_on + STEP_SAMPLES).min(self.samples))?;
        }
        self.voices().for_each(VoiceMix::finish);
        self.write(self.in_file(self.samples) - self.written)?;
        Ok(Mixed {
            audio: self.output.finish()?,
            peaks: self.peaks.finish(),
            measures: self.speech.finish(),
            concealed_ms: self.lanes.each_ref().map(LaneMix::concealed_ms),
        })
    }
}

/// A packet that waits for its turn to be decoded; without sound if `None`.
type Waiting = Option<Sound>;

struct Sound {
    place: Option<Placement>,
    decoder: usize,
    payload: Vec<u8>,
}

/// One SSRC of a voice.
#[derive(Default)]
struct Source {
    reorder: Reorder<Waiting>,
    decoders: Vec<SourceDecoder>,
    has_begun: bool,
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
    places: Placements,
    /// Decodable packets met so far: the index of the next in `places`.
    met: usize,
    /// By stream and the pauses before it.
    sources: HashMap<(Ssrc, u32), Source>,
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
        let (voice, places, sources) = (plan.voice, plan.places, HashMap::new());
        Ok(Self { voice, places, met: 0, sources, tracks, pcm: Vec::new() })
    }

    fn sound(&mut self, at_us: i64, pauses: u32, rtp: &RtpPacket<'_>, format: &PayloadFormat) {
        let place = self.places.get(self.met);
        self.met += 1;
        let Some(decoder) = self.decoder_of((rtp.header.ssrc, pauses), format) else { return };
        let sound = Sound { place, decoder, payload: rtp.payload.to_vec() };
        self.push(at_us, pauses, rtp, Some(sound));
    }

    /// Finds or makes the decoder of a stream's format.
    fn decoder_of(&mut self, stream: (Ssrc, u32), format: &PayloadFormat) -> Option<usize> {
        if self.sources.len() >= MAX_SOURCES && !self.sources.contains_key(&stream) {
            return None;
        }
        let source = self.sources.entry(stream).or_default();
        // What is missing before the first packet after a pause was left out, not lost.
        source.has_begun |= stream.1 > 0;
        if let Some(found) = source.decoders.iter().position(|known| known.format == *format) {
            return Some(found);
        }
        if source.decoders.len() >= MAX_DECODERS {
            return None;
        }
        let decoder = Decoder::new(format)?;
        let rate_hz = decoder.rate_hz();
        let track = self.tracks.iter().position(|track| track.samples.rate_hz() == rate_hz)?;
        source.decoders.push(SourceDecoder { format: format.clone(), decoder, track });
        Some(source.decoders.len() - 1)
    }

    fn push(&mut self, at_us: i64, pauses: u32, rtp: &RtpPacket<'_>, waiting: Waiting) {
        // A stream that never had sound needs no order.
        let Some(source) = self.sources.get_mut(&(rtp.header.ssrc, pauses)) else { return };
        let number = rtp.header.sequence_number;
        if let Some(refused) = source.reorder.push(at_us, number, waiting) {
            // Too late for its turn: still good if its decoder needs no order.
            if let Some(sound) = refused {
                let known = &mut source.decoders[sound.decoder];
                if !known.decoder.needs_order() {
                    place(&mut self.tracks, &mut self.pcm, known, &sound, Before::Loss, 0);
                }
            }
            return;
        }
        release(source, &mut self.tracks, &mut self.pcm, at_us);
    }

    /// Decodes what has waited long enough.
    fn release(&mut self, at_us: i64) {
        for source in self.sources.values_mut() {
            release(source, &mut self.tracks, &mut self.pcm, at_us);
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
            for (sum, sample) in out.iter_mut().zip(track.ready.drain(..some)) {
                *sum = sum.saturating_add(sample);
            }
        }
    }

    fn finish(&mut self) {
        self.tracks.iter_mut().for_each(|track| track.resampler.finish(&mut track.ready));
    }
}

fn release(source: &mut Source, tracks: &mut [Track], pcm: &mut Vec<i16>, at_us: i64) {
    while let Some(next) = source.reorder.pop(at_us) {
        let lost_packets = next.lost_packets;
        let is_next = source.has_begun && lost_packets == 0;
        source.has_begun = true;
        let Some(sound) = next.item else { continue };
        let before = if is_next { Before::Pause } else { Before::Loss };
        place(tracks, pcm, &mut source.decoders[sound.decoder], &sound, before, lost_packets);
    }
}

/// Decodes a packet and puts it in its place.
fn place(
    tracks: &mut [Track],
    pcm: &mut Vec<i16>,
    known: &mut SourceDecoder,
    sound: &Sound,
    before: Before,
    lost_packets: u64,
) {
    let track = &mut tracks[known.track].samples;
    pcm.clear();
    known.decoder.recover(lost_packets, &sound.payload, pcm);
    if let Some(place) = sound.place.filter(|_| !pcm.is_empty()) {
        track.place_recovered(place, pcm);
    }
    pcm.clear();
    known.decoder.decode(&sound.payload, pcm);
    if let Some(place) = sound.place {
        track.place(place, before, pcm);
    }
}
