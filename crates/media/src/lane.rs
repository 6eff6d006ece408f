//! The samples of one lane of a recording, from packets placed in any order near their time.
//!
//! Holds a window of samples: what is behind it has been handed out and is final. Overlaps of one
//! stream with itself are the same audio again; of two streams, both are heard. Short gaps that
//! packets were lost in are concealed, longer ones and pauses are silence, or comfort noise where
//! the sender said how loud its silence is.
//!
//! Places are in samples of [`RATE_HZ`] whatever the rate of the lane: they are times.
//!
//! Belongs here: samples and their places. Does not: where a packet belongs (`timeline`).

use std::collections::VecDeque;

use crate::RATE_HZ;
use crate::comfort_noise::{Colour, ComfortNoise};
use crate::timeline::{MAX_LATE_SAMPLES, Placement};

/// How far behind the newest arrival samples must be held back, in samples of [`RATE_HZ`]: what may
/// still be placed.
pub const WINDOW_SAMPLES: u64 = MAX_LATE_SAMPLES as u64 + RATE_HZ as u64;

/// Longest concealment.
const CONCEALED_MS: u64 = 60;

/// What is repeated to conceal a gap, and so what is kept of the past.
const REPEATED_MS: u64 = 20;

/// A gap this short is the sender's clock being followed, not loss: drawn straight across.
const SLEW_MS: u64 = 1;

/// Longest that comfort noise goes on without a word from its sender: it is gone, not silent.
const LONGEST_NOISE_MS: u64 = 60_000;

/// Level that comfort noise is held below, dB above full scale: louder would pass for speech.
const LOUDEST_NOISE_DB: f32 = -52.0;

/// Changes of comfort noise that are remembered in a window.
const MAX_NOISES: usize = 1024;

/// What comes before some samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    /// Perhaps packets that were lost: a short gap is concealed.
    Loss,
    /// The packet sent before this one came too: a gap is the sender's silence.
    Pause,
}

/// Samples heard without a break, of one stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    start: u64,
    end: u64,
    stream: u16,
    before: Before,
}

/// Comfort noise from somewhere on, until its stream is heard again.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Noise {
    from: u64,
    stream: u16,
    /// White, samples would be between this and its negative.
    peak: f32,
    colour: Colour,
}

/// One lane being filled.
#[derive(Debug)]
pub struct Lane {
    rate_hz: u32,
    limit: u64,
    /// Position of `samples[0]`.
    base: u64,
    /// Everything before this has been handed out.
    emitted: u64,
    samples: Vec<i16>,
    /// In order, not overlapping.
    spans: VecDeque<Span>,
    /// Gaps that begin before this are concealed already.
    concealed_to: u64,
    /// Comfort noise that is not over yet, in order.
    noises: VecDeque<Noise>,
    counts: LaneCounts,
}

/// What became of the audio of a lane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LaneCounts {
    /// Samples that came from packets.
    pub heard_samples: u64,
    /// Samples made up to conceal gaps.
    pub concealed_samples: u64,
    /// Samples that came too late to be placed.
    pub late_samples: u64,
    /// Samples from before the start or after the end.
    pub outside_samples: u64,
}

impl Lane {
    /// Begins a lane of `limit` samples at `rate_hz` (not below [`RATE_HZ`]).
    pub fn new(rate_hz: u32, limit: u64) -> Self {
        Self {
            rate_hz: rate_hz.max(RATE_HZ),
            limit,
            base: 0,
            emitted: 0,
            samples: Vec::new(),
            spans: VecDeque::new(),
            concealed_to: 0,
            noises: VecDeque::new(),
            counts: LaneCounts::default(),
        }
    }

    /// What became of the audio so far.
    pub fn counts(&self) -> LaneCounts {
        self.counts
    }

    /// Samples a second.
    pub fn rate_hz(&self) -> u32 {
        self.rate_hz
    }

    /// How long the audio is that was made up to conceal loss.
    pub fn concealed_ms(&self) -> u64 {
        self.counts.concealed_samples * 1000 / u64::from(self.rate_hz)
    }

    /// Puts the samples of one packet where they belong.
    ///
    /// What lies before the start, after the end or more than a window ahead is left out.
    pub fn place(&mut self, at: Placement, before: Before, pcm: &[i16]) {
        let start = self.follow(at.stream, self.scaled(at.position));
        if !self.noises.is_empty() {
            // What comes later in the stream ends its noise, however late the noise seemed to be.
            self.noises.retain(|it| it.stream != at.stream || (it.from as i64) < start);
        }
        self.put(start, at.stream, before, pcm);
    }

    /// Puts samples that were made up for lost packets just before the place of the next packet.
    pub fn place_recovered(&mut self, next: Placement, pcm: &[i16]) {
        let start = self.scaled(next.position).saturating_sub(pcm.len() as i64);
        let heard = self.counts.heard_samples;
        self.put(self.follow(next.stream, start), next.stream, Before::Loss, pcm);
        self.counts.concealed_samples += self.counts.heard_samples - heard;
        self.counts.heard_samples = heard;
    }

    /// Fills what follows with noise until something of the same stream comes, for at most a
    /// minute.
    ///
    /// Whatever is said of the level, it stays quieter than speech. Its colour is told for
    /// [`RATE_HZ`]: in a faster lane it is white.
    pub fn comfort_noise(&mut self, at: Placement, noise: &ComfortNoise) {
        let level_db = noise.level_db;
        let from = self.scaled(at.position).max(self.emitted as i64) as u64;
        let window = WINDOW_SAMPLES * u64::from(self.rate_hz) / u64::from(RATE_HZ);
        if level_db.is_nan() || from >= self.limit.min(self.emitted + 2 * window) {
            return;
        }
        let rms = 32_768.0 * 10.0_f32.powf(level_db.min(LOUDEST_NOISE_DB) / 20.0);
        let colour = if self.rate_hz == RATE_HZ { Colour::new(noise) } else { Colour::default() };
        let noise = Noise { from, stream: at.stream, peak: rms * 3.0_f32.sqrt(), colour };
        let place = self.noises.partition_point(|other| other.from <= from);
        let is_full = self.noises.len() >= MAX_NOISES;
        let before = place.checked_sub(1);
        match before.and_then(|before| self.noises.get_mut(before)) {
            // A sender that floods us with descriptors has one for a place.
            Some(same) if same.from == from && same.stream == noise.stream => *same = noise,
            _ if is_full => {}
            _ => self.noises.insert(place, noise),
        }
    }

    /// A place in samples of this lane.
    fn scaled(&self, position: i64) -> i64 {
        if self.rate_hz == RATE_HZ {
            return position;
        }
        let scaled = i128::from(position) * i128::from(self.rate_hz);
        let scaled = scaled.div_euclid(i128::from(RATE_HZ));
        scaled.clamp(i64::MIN.into(), i64::MAX.into()) as i64
    }

    /// Where samples go that begin at `start`: places are coarser than the samples of a fast
    /// lane, so what differs by less than that from the end of the same stream follows it.
    fn follow(&self, stream: u16, start: i64) -> i64 {
        let coarse = i64::from(self.rate_hz.div_ceil(RATE_HZ));
        match self.spans.back() {
            Some(last) if self.rate_hz != RATE_HZ && last.stream == stream => {
                let end = last.end as i64;
                if start.saturating_sub(end).saturating_abs() <= coarse { end } else { start }
            }
            _ => start,
        }
    }

    fn samples_of_ms(&self, ms: u64) -> u64 {
        u64::from(self.rate_hz) * ms / 1000
    }

    fn put(&mut self, start: i64, stream: u16, before: Before, pcm: &[i16]) {
        let window = WINDOW_SAMPLES * u64::from(self.rate_hz) / u64::from(RATE_HZ);
        let limit = self.limit.min(self.emitted + 2 * window) as i64;
        let end = start.saturating_add(pcm.len() as i64);
        let (from, to) = (start.max(self.emitted as i64), end.min(limit));
        let kept = to.saturating_sub(from).max(0);
        let late = end.min(self.emitted as i64).saturating_sub(start.max(0)).max(0);
        self.counts.late_samples += late as u64;
        self.counts.outside_samples += (pcm.len() as i64 - kept - late).max(0) as u64;
        if kept == 0 {
            return;
        }
        let pcm = &pcm[(from - start) as usize..(to - start) as usize];
        let (from, to) = (from as u64, to as u64);
        self.grow_to(to);
        let span = Span { start: from, end: to, stream, before };
        match self.spans.back_mut() {
            Some(last) if last.end == from && last.stream == stream => {
                last.end = to;
                self.write(from, pcm);
            }
            Some(last) if last.end > from => self.place_across(span, pcm),
            _ => {
                self.spans.push_back(span);
                self.write(from, pcm);
            }
        }
    }

    fn grow_to(&mut self, end: u64) {
        let len = (end - self.base) as usize;
        if self.samples.len() < len {
            self.samples.resize(len, 0);
        }
    }

    fn write(&mut self, from: u64, pcm: &[i16]) {
        let at = (from - self.base) as usize;
        self.samples[at..at + pcm.len()].copy_from_slice(pcm);
        self.counts.heard_samples += pcm.len() as u64;
    }

    /// Places samples that overlap what is there: fills the holes, and mixes with other streams.
    fn place_across(&mut self, new: Span, pcm: &[i16]) {
        let Span { start: from, end: to, stream, .. } = new;
        let first = self.spans.partition_point(|span| span.end <= from);
        let mut cursor = from;
        let mut at = first;
        while cursor < to {
            let next = self.spans.get(at).copied().filter(|span| span.start < to);
            let hole_end = next.map_or(to, |span| span.start.max(cursor));
            if hole_end > cursor {
                let part = &pcm[(cursor - from) as usize..(hole_end - from) as usize];
                self.write(cursor, part);
                self.spans.insert(at, Span { start: cursor, end: hole_end, ..new });
                at += 1;
            }
            let Some(span) = next else { break };
            let shared_end = span.end.min(to);
            if span.stream != stream {
                let part = &pcm[(hole_end - from) as usize..(shared_end - from) as usize];
                let start = (hole_end - self.base) as usize;
                for (held, new) in self.samples[start..].iter_mut().zip(part) {
                    *held = held.saturating_add(*new);
                }
            }
            cursor = shared_end;
            at += 1;
        }
        self.join_spans(first.saturating_sub(1), at + 1);
    }

    /// Makes one span of neighbours that touch and are of one stream.
    fn join_spans(&mut self, first: usize, last: usize) {
        let mut at = last.min(self.spans.len().saturating_sub(1));
        while at > first {
            let (before, after) = (self.spans[at - 1], self.spans[at]);
            if before.end == after.start && before.stream == after.stream {
                self.spans[at - 1].end = after.end;
                self.spans.remove(at);
            }
            at -= 1;
        }
    }

    /// Appends every sample up to position `until` to `out`; they are final.
    pub fn advance(&mut self, until: u64, out: &mut Vec<i16>) {
        let until = until.min(self.limit);
        if until <= self.emitted {
            return;
        }
        self.grow_to(until);
        self.conceal(until);
        self.fill_with_noise(until);
        let (from, to) = ((self.emitted - self.base) as usize, (until - self.base) as usize);
        out.extend_from_slice(&self.samples[from..to]);
        self.emitted = until;
        // The span that ends the past stays: what follows it may have to be concealed.
        while self.spans.len() > 1 && self.spans[1].start < until {
            self.spans.pop_front();
        }
        let base = until.saturating_sub(self.samples_of_ms(REPEATED_MS)).max(self.base);
        // What is ahead is moved only when as much is behind it: a short step must not move it all.
        let behind = (base - self.base) as usize;
        if behind >= self.samples.len() / 2 {
            self.samples.drain(..behind);
            self.base = base;
        }
    }

    /// Fills the gaps that begin before `until` and whose end is known.
    fn conceal(&mut self, until: u64) {
        for at in 1..self.spans.len() {
            let (before, after) = (self.spans[at - 1], self.spans[at]);
            if before.end >= until {
                break;
            }
            let is_past = before.end < self.emitted || before.end < self.concealed_to;
            if is_past || before.end >= after.start {
                continue;
            }
            self.concealed_to = before.end + 1;
            let gap = after.start - before.end;
            if gap <= self.samples_of_ms(SLEW_MS) {
                self.draw_across(before.end, gap);
            } else if after.before == Before::Loss {
                self.repeat_fading(before.end, gap);
            }
        }
    }

    /// Writes comfort noise up to `until` where nothing is heard, and forgets what is over.
    fn fill_with_noise(&mut self, until: u64) {
        let longest = self.samples_of_ms(LONGEST_NOISE_MS);
        let mut at = 0;
        while let Some(noise) = self.noises.get(at).copied().filter(|noise| noise.from < until) {
            let is_same = |stream: u16| stream == noise.stream;
            let later = self.noises.iter().skip(at + 1).find(|other| is_same(other.stream));
            let heard = self.spans.iter().find(|it| is_same(it.stream) && it.start > noise.from);
            let ends = [later.map(|later| later.from), heard.map(|heard| heard.start)];
            let end = ends.into_iter().flatten().fold(noise.from + longest, u64::min);
            self.noises[at].colour = self.write_noise(noise, end.min(until));
            if end <= until {
                self.noises.remove(at);
            } else {
                at += 1;
            }
        }
    }

    /// Gives back the colour as it goes on.
    fn write_noise(&mut self, mut noise: Noise, end: u64) -> Colour {
        let mut cursor = noise.from.max(self.emitted);
        let first = self.spans.partition_point(|span| span.end <= cursor);
        for at in first..=self.spans.len() {
            let span = self.spans.get(at).filter(|span| span.start < end);
            let hole_end = span.map_or(end, |span| span.start);
            for position in cursor..hole_end.max(cursor) {
                let sample = noise.colour.next(random(position, noise.stream)) * noise.peak;
                self.samples[(position - self.base) as usize] = sample.round() as i16;
            }
            let Some(span) = span else { break };
            cursor = cursor.max(span.end);
        }
        noise.colour
    }

    fn draw_across(&mut self, from: u64, gap: u64) {
        let at = (from - self.base) as usize;
        if at == 0 || at + gap as usize >= self.samples.len() {
            return;
        }
        let (first, last) = (i64::from(self.samples[at - 1]), self.samples[at + gap as usize]);
        let (rise, steps) = (i64::from(last) - first, gap as i64 + 1);
        for n in 0..gap as usize {
            self.samples[at + n] = (first + rise * (n as i64 + 1) / steps) as i16;
        }
    }

    fn repeat_fading(&mut self, from: u64, gap: u64) {
        let longest = self.samples_of_ms(CONCEALED_MS);
        let len = gap.min(longest);
        let at = (from - self.base) as usize;
        let period = at.min(self.samples_of_ms(REPEATED_MS) as usize);
        if period == 0 {
            return;
        }
        for n in 0..len as usize {
            let sample = i64::from(self.samples[at - period + n % period]);
            let left = longest as i64 - n as i64;
            self.samples[at + n] = (sample * left / longest as i64) as i16;
        }
        self.counts.concealed_samples += len;
    }
}

/// White noise from -1 to 1 that is the same each time a recording is made.
fn random(position: u64, stream: u16) -> f32 {
    let mut state = (position << 16 | u64::from(stream)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    state = (state ^ (state >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    ((state >> 32) as i32) as f32 / 2_147_483_648.0
}

#[cfg(test)]
mod tests;
