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
    /// Samples are between this and its negative.
    peak: f32,
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

    /// Fills what follows with noise of a level, in dB above full scale (so below 0), until
    /// something of the same stream comes, for at most a minute.
    ///
    /// Whatever is said of the level, it stays quieter than speech.
    pub fn comfort_noise(&mut self, at: Placement, level_db: f32) {
        let from = self.scaled(at.position).max(self.emitted as i64) as u64;
        let window = WINDOW_SAMPLES * u64::from(self.rate_hz) / u64::from(RATE_HZ);
        if level_db.is_nan() || from >= self.limit.min(self.emitted + 2 * window) {
            return;
        }
        let rms = 32_768.0 * 10.0_f32.powf(level_db.min(LOUDEST_NOISE_DB) / 20.0);
        let noise = Noise { from, stream: at.stream, peak: rms * 3.0_f32.sqrt() };
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
        self.samples.drain(..(base - self.base) as usize);
        self.base = base;
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
            self.write_noise(noise, end.min(until));
            if end <= until {
                self.noises.remove(at);
            } else {
                at += 1;
            }
        }
    }

    fn write_noise(&mut self, noise: Noise, end: u64) {
        let mut cursor = noise.from.max(self.emitted);
        let first = self.spans.partition_point(|span| span.end <= cursor);
        for at in first..=self.spans.len() {
            let span = self.spans.get(at).filter(|span| span.start < end);
            let hole_end = span.map_or(end, |span| span.start);
            for position in cursor..hole_end.max(cursor) {
                let sample = random(position, noise.stream) * noise.peak;
                self.samples[(position - self.base) as usize] = sample.round() as i16;
            }
            let Some(span) = span else { return };
            cursor = cursor.max(span.end);
        }
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
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(position: i64) -> Placement {
        Placement { position, stream: 0 }
    }

    fn all(mut lane: Lane) -> Vec<i16> {
        let mut out = Vec::new();
        lane.advance(u64::MAX, &mut out);
        out
    }

    #[test]
    fn order_and_duplicates_do_not_change_the_samples() {
        let packet = |n: i64| vec![n as i16 + 1; 160];
        let mut want = Vec::new();
        (0..5).for_each(|n| want.extend(packet(n)));
        for order in [&[0, 1, 2, 3, 4][..], &[4, 3, 2, 1, 0], &[0, 2, 2, 1, 3, 0, 4, 4]] {
            let mut lane = Lane::new(8000, 800);
            for &n in order {
                lane.place(at(n * 160), Before::Loss, &packet(n));
            }
            assert_eq!(lane.counts().heard_samples, 800, "{order:?}");
            assert_eq!(all(lane), want, "{order:?}");
        }
    }

    #[test]
    fn a_lane_is_as_long_as_its_call_whatever_came() {
        let mut lane = Lane::new(8000, 1000);
        lane.place(at(-80), Before::Loss, &[5; 160]);
        lane.place(at(920), Before::Loss, &[6; 160]);
        lane.place(at(i64::MAX - 5), Before::Loss, &[7; 160]);
        lane.place(at(i64::MIN), Before::Loss, &[7; 160]);
        assert_eq!(lane.counts().outside_samples, 80 + 80 + 160 + 160);
        let out = all(lane);
        assert_eq!((out.len(), out[79], out[920]), (1000, 5, 6));
        assert_eq!(all(Lane::new(8000, 50)), [0; 50]);
    }

    #[test]
    fn a_lost_packet_is_concealed_and_a_long_gap_is_silence() {
        let mut lane = Lane::new(8000, 8000);
        lane.place(at(0), Before::Loss, &[1000; 160]);
        lane.place(at(320), Before::Loss, &[1000; 160]);
        lane.place(at(4000), Before::Loss, &[1000; 160]);
        let counts = {
            let mut out = Vec::new();
            lane.advance(5000, &mut out);
            assert!(out[160..320].iter().all(|&sample| (600..=1000).contains(&sample)));
            assert!(out[480..900].is_sorted_by(|a, b| a >= b), "fades");
            assert!(out[960..4000].iter().all(|&sample| sample == 0));
            lane.counts()
        };
        assert_eq!(counts.concealed_samples, 160 + 480);
    }

    #[test]
    fn a_pause_of_the_sender_is_silence_at_once() {
        let mut lane = Lane::new(8000, 1000);
        lane.place(at(0), Before::Loss, &[1000; 160]);
        lane.place(at(400), Before::Pause, &[1000; 160]);
        assert_eq!(lane.counts().concealed_samples, 0);
        assert!(all(lane)[160..400].iter().all(|&sample| sample == 0));
    }

    #[test]
    fn a_fast_lane_has_the_same_times_and_no_seams() {
        // 1024 ticks of 44 100 Hz are 185.76 places: each is rounded down.
        let mut lane = Lane::new(44_100, 44_100);
        for n in 0..40_i64 {
            lane.place(at(n * 1024 * 8000 / 44_100), Before::Loss, &[700; 1024]);
        }
        assert_eq!(lane.counts().heard_samples, 40 * 1024);
        let out = all(lane);
        assert!(out[..40 * 1024].iter().all(|&sample| sample == 700));
        let mut lane = Lane::new(48_000, 48_000);
        lane.place(at(0), Before::Loss, &[1000; 960]);
        lane.place_recovered(at(480), &[500; 960]);
        lane.place(at(480), Before::Loss, &[1000; 960]);
        lane.place(at(800), Before::Loss, &[1000; 960]);
        lane.advance(2880, &mut Vec::new());
        assert_eq!((lane.counts().heard_samples, lane.concealed_ms()), (2880, 20 + 20));
    }

    fn level_db(pcm: &[i16]) -> f64 {
        let squares: f64 = pcm.iter().map(|&it| f64::from(it) * f64::from(it)).sum();
        10.0 * (squares / pcm.len() as f64 / (32_768.0 * 32_768.0)).log10()
    }

    #[test]
    fn comfort_noise_has_the_level_it_was_given_until_its_stream_is_heard_again() {
        for (rate_hz, given, want) in [
            (8000, -60.0, -60.0),
            (8000, -70.0, -70.0),
            (48_000, -60.0, -60.0),
            (8000, 0.0, -52.0), // It must not pass for speech.
            (8000, f32::INFINITY, -52.0),
        ] {
            let scale = u64::from(rate_hz / 8000);
            let packet = vec![9000; 160 * scale as usize];
            let mut lane = Lane::new(rate_hz, 40_000 * scale);
            lane.place(at(0), Before::Loss, &packet);
            lane.comfort_noise(at(160), given);
            lane.place(Placement { position: 8000, stream: 1 }, Before::Loss, &packet);
            lane.place(at(16_000), Before::Pause, &packet);
            let out = all(lane);
            let part = |from: u64, to: u64| &out[(from * scale) as usize..(to * scale) as usize];
            for (from, to) in [(160, 8000), (8160, 16_000)] {
                let got = level_db(part(from, to));
                assert!((got - want).abs() < 0.5, "{rate_hz} {given}: {got}");
            }
            // Another stream is not touched, and what comes after the next packet is silence.
            assert!(part(8000, 8160).iter().all(|&it| it == 9000));
            assert!(part(16_160, 40_000).iter().all(|&it| it == 0), "{rate_hz}");
        }
    }

    #[test]
    fn comfort_noise_changes_with_its_sender_and_ends_with_it() {
        let mut lane = Lane::new(8000, 1_000_000);
        let mut out = Vec::new();
        for n in 0..3 {
            lane.comfort_noise(at(n * 8000), -55.0 - 5.0 * n as f32);
            lane.advance(n as u64 * 8000 + 100, &mut out);
        }
        lane.comfort_noise(at(0), -55.0); // Too late to be heard before 16 100, and then …
        lane.comfort_noise(at(16_100), -65.0); // … taken back.
        lane.comfort_noise(at(i64::MAX), -55.0);
        lane.comfort_noise(at(i64::MIN), f32::NAN);
        lane.advance(u64::MAX, &mut out);
        for (n, want) in [(0, -55.0), (1, -60.0), (2, -65.0)] {
            let got = level_db(&out[n * 8000 + 100..(n + 1) * 8000]);
            assert!((got - want).abs() < 0.5, "{n}: {got}");
        }
        // A minute, and no more.
        assert!(out[16_100 + 480_000..].iter().all(|&it| it == 0));
        assert!(level_db(&out[480_000..490_000]) > -66.0);
    }

    #[test]
    fn comfort_noise_does_not_depend_on_when_samples_are_handed_out() {
        let filled = || {
            let mut lane = Lane::new(8000, 3000);
            lane.place(at(0), Before::Loss, &[1000; 160]);
            lane.comfort_noise(at(160), -55.0);
            lane.place(at(900), Before::Loss, &[1000; 160]);
            lane.comfort_noise(at(1060), -55.0);
            lane.comfort_noise(at(1500), -60.0);
            lane
        };
        let whole = all(filled());
        for step in [1, 7, 160, 333] {
            let (mut lane, mut out) = (filled(), Vec::new());
            (0..=3000).step_by(step).for_each(|until| lane.advance(until, &mut out));
            lane.advance(3000, &mut out);
            assert_eq!(out, whole, "{step}");
        }
    }

    #[test]
    fn one_missing_sample_is_drawn_across() {
        let mut lane = Lane::new(8000, 400);
        lane.place(at(0), Before::Loss, &[100; 160]);
        lane.place(at(161), Before::Loss, &[200; 160]);
        assert_eq!(all(lane)[158..163], [100, 100, 150, 200, 200]);
    }

    #[test]
    fn two_streams_at_once_are_both_heard() {
        let mut lane = Lane::new(8000, 320);
        lane.place(at(0), Before::Loss, &[1000; 160]);
        lane.place(Placement { position: 80, stream: 1 }, Before::Loss, &[30_000; 160]);
        lane.place(Placement { position: 0, stream: 2 }, Before::Loss, &[5000; 80]);
        let out = all(lane);
        assert_eq!((out[0], out[80], out[160], out[239]), (6000, 31_000, 30_000, 30_000));
    }

    #[test]
    fn what_comes_after_its_time_was_handed_out_is_counted() {
        let mut lane = Lane::new(8000, 1000);
        let mut out = Vec::new();
        lane.place(at(0), Before::Loss, &[1; 160]);
        lane.advance(400, &mut out);
        lane.place(at(300), Before::Loss, &[2; 160]);
        assert_eq!(lane.counts().late_samples, 100);
        lane.advance(1000, &mut out);
        assert_eq!((out.len(), out[399], out[400]), (1000, 0, 2));
    }

    #[test]
    fn concealment_does_not_depend_on_when_samples_are_handed_out() {
        let pcm: Vec<i16> = (0..160).map(|n| n * 100).collect();
        let whole = {
            let mut lane = Lane::new(8000, 2000);
            for position in [0, 160, 480, 1000] {
                lane.place(at(position), Before::Loss, &pcm);
            }
            all(lane)
        };
        for step in [1, 7, 160, 333] {
            let mut lane = Lane::new(8000, 2000);
            for position in [0, 160, 480, 1000] {
                lane.place(at(position), Before::Loss, &pcm);
            }
            let mut out = Vec::new();
            (0..=2000).step_by(step).for_each(|until| lane.advance(until, &mut out));
            lane.advance(2000, &mut out);
            assert_eq!(out, whole, "{step}");
        }
    }

    proptest! {
        #[test]
        fn any_placements_give_exactly_the_limit(
            places in prop::collection::vec((any::<i64>(), 0..4_u16, 0..400_usize, 0..3_u64), 0..60),
            rate_hz in prop::sample::select(vec![8000_u32, 16_000, 44_100, 48_000]),
            near in prop::collection::vec((-500..6000_i64, 0..4_u16, 0..400_usize, 0..300_u64), 0..60),
        ) {
            let mut lane = Lane::new(rate_hz, 5000);
            let mut out = Vec::new();
            let mut until = 0;
            for (position, stream, len, step) in places.into_iter().chain(near) {
                lane.place(Placement { position, stream }, Before::Loss, &vec![1; len]);
                until += step;
                lane.advance(until, &mut out);
                prop_assert!(lane.samples.len() as u64 <= 18 * WINDOW_SAMPLES);
                for pair in lane.spans.iter().zip(lane.spans.iter().skip(1)) {
                    prop_assert!(pair.0.end <= pair.1.start && pair.0.start < pair.0.end);
                }
            }
            lane.advance(u64::MAX, &mut out);
            prop_assert_eq!(out.len(), 5000);
        }
    }
}
