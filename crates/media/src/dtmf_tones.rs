//! Finds DTMF tones in sound and makes them silence (ITU-T Q.23, Q.24).
//!
//! Telephones without RFC 4733 send digits as pairs of tones: card numbers and passwords would be
//! in a recording for whoever can hear. Each 12.75 ms is measured at the eight frequencies
//! (Goertzel's filter), every 6 ms anew; a pair that holds nearly all the energy for 32 ms is a
//! digit, and speech all but never is. Which digit it is, nobody is told.
//!
//! Belongs here: samples in, samples out. Does not: digits as packets (`dtmf`).

use std::collections::VecDeque;
use std::f32::consts::TAU;
use std::ops::Range;

/// The low group and then the high one, Hz.
const TONES_HZ: [f32; 8] = [697.0, 770.0, 852.0, 941.0, 1209.0, 1336.0, 1477.0, 1633.0];
/// Tones of a group.
const GROUP: usize = 4;
/// It is measured at this rate or a little above: of more samples, so many are averaged.
const MEASURED_HZ: u32 = 8000;
/// Values measured at once: short enough that 1.5 % beside the frequency still counts.
const BLOCK: usize = 102;
/// Values between two measurements.
const HOP: usize = BLOCK / 2;
/// Measurements in a row that find the same pair before it is a digit: a tone of 40 ms has as many.
const RUN: usize = 4;
/// The share of the energy that the pair must hold.
const LEAST_SHARE: f32 = 0.65;
/// How much stronger one tone of the pair may be: 9 dB.
const MOST_TWIST: f32 = 8.0;
/// How much of the strongest tone the others of its group may have.
const MOST_BESIDE: f32 = 0.4;
/// Mean square below which nothing is a digit: -50 dBFS.
const LEAST_POWER: f32 = 107_000_000.0 * 1e-4;
/// Digits closer than this are told of as one stretch, in milliseconds.
const APART_MS: u64 = 500;
/// Most stretches that are told of; what comes later lengthens the last.
const MAX_STRETCHES: usize = 1000;

/// What becomes of DTMF digits that were sent as tones among speech.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InbandDigits {
    /// They are heard as they sounded.
    #[default]
    Kept,
    /// They are silence.
    Silenced,
}

impl InbandDigits {
    /// What silences them on either lane of a stereo sound, if they are to be silenced.
    pub fn mutes(self, rate_hz: u32) -> Option<[ToneMute; 2]> {
        (self == Self::Silenced).then(|| [ToneMute::new(rate_hz), ToneMute::new(rate_hz)])
    }
}

/// Silences the DTMF tones of one lane, a moment behind.
#[derive(Debug)]
pub struct ToneMute {
    rate_hz: u32,
    /// Goertzel's coefficient of each frequency.
    coefficients: [f32; 8],
    /// Samples that make one value.
    each: usize,
    block: usize,
    hop: usize,
    /// Samples not yet given out.
    held: VecDeque<i16>,
    /// Where in `held` the next measurement begins.
    measured: usize,
    /// Measurements before that one which were left out.
    skipped: usize,
    /// The pair found last, and how often in a row.
    run: Option<([usize; 2], usize)>,
    /// Samples that are digits, counted from the first.
    muted: VecDeque<Range<u64>>,
    /// The stretches given out as silence.
    silenced: Vec<Range<u64>>,
    /// Samples given out.
    given: u64,
    scratch: Vec<f32>,
}

impl ToneMute {
    /// Begins a lane at `rate_hz`, not below 8000.
    pub fn new(rate_hz: u32) -> Self {
        let each = (rate_hz / MEASURED_HZ).max(1);
        let measured_hz = rate_hz as f32 / each as f32;
        Self {
            rate_hz,
            coefficients: TONES_HZ.map(|hz| 2.0 * (TAU * hz / measured_hz).cos()),
            each: each as usize,
            block: BLOCK * each as usize,
            hop: HOP * each as usize,
            held: VecDeque::new(),
            measured: 0,
            skipped: 0,
            run: None,
            muted: VecDeque::new(),
            silenced: Vec::new(),
            given: 0,
            scratch: Vec::new(),
        }
    }

    /// Samples that were taken and not yet given out.
    pub fn waiting(&self) -> usize {
        self.held.len()
    }

    /// How many samples it holds back.
    fn hold(&self) -> usize {
        self.block + (RUN + 2) * self.hop
    }

    /// Takes samples, and appends to `out` those that are decided.
    pub fn push(&mut self, samples: &[i16], out: &mut Vec<i16>) {
        self.held.extend(samples);
        while self.held.len() >= self.measured + self.block {
            self.measure();
            self.measured += self.hop;
        }
        let ready = self.held.len().saturating_sub(self.hold());
        self.give(ready, out);
    }

    /// Appends what is left.
    pub fn finish(&mut self, out: &mut Vec<i16>) {
        self.give(self.held.len(), out);
    }

    /// The stretches in which digits were silenced so far, in samples from the first, in order.
    pub fn silenced(&self) -> &[Range<u64>] {
        &self.silenced
    }

    fn give(&mut self, count: usize, out: &mut Vec<i16>) {
        let (from, start) = (self.given, out.len());
        let (front, back) = self.held.as_slices();
        let of_front = count.min(front.len());
        out.extend_from_slice(&front[..of_front]);
        out.extend_from_slice(&back[..count - of_front]);
        self.held.drain(..count);
        self.given += count as u64;
        self.measured = self.measured.saturating_sub(count);
        for at in 0..self.muted.len() {
            let muted = &self.muted[at];
            let (first, end) = (muted.start.max(from), muted.end.min(self.given));
            if first < end {
                out[start + (first - from) as usize..start + (end - from) as usize].fill(0);
                self.tell(first..end);
            }
        }
        while self.muted.front().is_some_and(|muted| muted.end <= self.given) {
            self.muted.pop_front();
        }
    }

    fn tell(&mut self, silenced: Range<u64>) {
        let apart = u64::from(self.rate_hz) * APART_MS / 1000;
        let is_full = self.silenced.len() >= MAX_STRETCHES;
        match self.silenced.last_mut() {
            Some(last) if is_full || silenced.start <= last.end + apart => {
                last.end = last.end.max(silenced.end);
            }
            _ => self.silenced.push(silenced),
        }
    }

    /// Takes the next measurement. As long as no pair is found only each [`RUN`]th is made, for
    /// whatever is a digit shows in one of them; then those that were left out are made up for.
    fn measure(&mut self) {
        if self.run.is_none() && self.skipped + 1 < RUN {
            self.skipped += 1;
            return;
        }
        let found = self.pair_at(self.measured);
        for back in (1..=std::mem::take(&mut self.skipped)).rev() {
            if found.is_some() {
                let at = self.measured - back * self.hop;
                let before = self.pair_at(at);
                self.count(at, before);
            }
        }
        self.count(self.measured, found);
    }

    /// The pair that the block at `at` in `held` is, if it is one.
    fn pair_at(&mut self, at: usize) -> Option<[usize; 2]> {
        self.scratch.clear();
        let mut block = self.held.range(at..at + self.block);
        if self.each == 1 {
            self.scratch.extend(block.map(|&sample| f32::from(sample)));
        } else {
            let mean = |_| block.by_ref().take(self.each).map(|&it| f32::from(it)).sum::<f32>();
            self.scratch.extend((0..BLOCK).map(mean).map(|sum| sum / self.each as f32));
        }
        pair(&self.coefficients, &self.scratch)
    }

    /// Counts a block at `at` in `held`, and notes that it is to be silence if a digit is under way.
    fn count(&mut self, at: usize, found: Option<[usize; 2]>) {
        self.run = match (found, self.run) {
            (Some(pair), Some((same, count))) if pair == same => Some((pair, count + 1)),
            (Some(pair), _) => Some((pair, 1)),
            (None, _) => None,
        };
        let Some((_, count)) = self.run.filter(|(_, count)| *count >= RUN) else { return };
        // The tone began before the first block that held it, and ends behind the last.
        let at = self.given + at as u64;
        let end = at + (self.block + self.hop) as u64;
        match self.muted.back_mut() {
            Some(muted) if count > RUN => muted.end = end,
            _ => self.muted.push_back(at.saturating_sub((RUN * self.hop) as u64)..end),
        }
    }
}

/// The pair of tones that these samples are, if they are one: an index into either group.
fn pair(coefficients: &[f32; 8], samples: &[f32]) -> Option<[usize; 2]> {
    let energy: f32 = samples.iter().map(|sample| sample * sample).sum();
    let length = samples.len() as f32;
    if energy / length < LEAST_POWER {
        return None;
    }
    let all = goertzel(coefficients, samples);
    let mut found = [0; 2];
    let mut powers = [0.0; 2];
    for (group, all) in all.chunks(GROUP).enumerate() {
        let (at, power) = strongest(all);
        let mut beside = all.iter().enumerate().filter(|(other, _)| *other != at);
        if beside.any(|(_, other)| *other > power * MOST_BESIDE) {
            return None;
        }
        (found[group], powers[group]) = (at, power);
    }
    // A sine of all the energy measures energy × length / 2.
    let share = (powers[0] + powers[1]) * 2.0 / (energy * length);
    let twist = (powers[0] / powers[1]).max(powers[1] / powers[0]);
    (share >= LEAST_SHARE && twist <= MOST_TWIST).then_some(found)
}

fn strongest(powers: &[f32]) -> (usize, f32) {
    let all = powers.iter().copied().enumerate();
    all.fold((0, 0.0), |best, it| if it.1 > best.1 { it } else { best })
}

/// The power at all eight frequencies, side by side: one after the other, each step would wait for
/// the one before.
fn goertzel(coefficients: &[f32; 8], samples: &[f32]) -> [f32; 8] {
    let (mut last, mut before) = ([0.0_f32; 8], [0.0_f32; 8]);
    for sample in samples {
        for tone in 0..8 {
            let next = sample + coefficients[tone] * last[tone] - before[tone];
            before[tone] = last[tone];
            last[tone] = next;
        }
    }
    let power = |tone: usize| {
        let (last, before) = (last[tone], before[tone]);
        last * last + before * before - coefficients[tone] * last * before
    };
    std::array::from_fn(power)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tones(low_hz: f32, high_hz: f32, gains: [f32; 2], rate: u32, ms: usize) -> Vec<i16> {
        let sample = |n: usize| {
            let at = n as f32 * TAU / rate as f32;
            gains[0] * (low_hz * at).sin() + gains[1] * (high_hz * at).sin()
        };
        (0..ms * rate as usize / 1000).map(|n| sample(n) as i16).collect()
    }

    fn noise(seed: &mut u32) -> f32 {
        *seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (*seed >> 8) as f32 / 8_388_608.0 - 1.0
    }

    /// Something like speech: a pulse train of changing pitch through three formants, with
    /// breath, syllables and pauses.
    fn speech(seconds: usize, seed: u32) -> Vec<i16> {
        let (mut seed, mut out, mut phase) = (seed, Vec::new(), 0.0_f32);
        let (mut pitch, mut formants) = (120.0_f32, [500.0_f32, 1500.0, 2500.0]);
        let mut states = [[0.0_f32; 2]; 3];
        for n in 0..seconds * 8000 {
            if n % 1200 == 0 {
                pitch = 170.0 + 90.0 * noise(&mut seed);
                formants = [550.0, 1500.0, 2500.0].map(|hz| hz * (1.0 + 0.4 * noise(&mut seed)));
            }
            phase += pitch / 8000.0;
            let is_pulse = phase >= 1.0;
            phase = phase.fract();
            let is_pause = n / 4000 % 7 == 6;
            let mut source = if is_pulse { 1.0 } else { 0.05 * noise(&mut seed) };
            if is_pause {
                source = 0.0;
            }
            let mut sum = 0.0;
            for (state, hz) in states.iter_mut().zip(formants) {
                let r = 0.97_f32;
                let next =
                    source + 2.0 * r * (TAU * hz / 8000.0).cos() * state[0] - r * r * state[1];
                *state = [next, state[0]];
                sum += next;
            }
            out.push((sum * 2500.0).clamp(-32_000.0, 32_000.0) as i16);
        }
        out
    }

    fn muted(rate: u32, samples: &[i16]) -> Vec<i16> {
        let (mut mute, mut out) = (ToneMute::new(rate), Vec::new());
        samples.chunks(177).for_each(|part| mute.push(part, &mut out));
        mute.finish(&mut out);
        assert_eq!(out.len(), samples.len());
        out
    }

    fn level(samples: &[i16]) -> f32 {
        let sum: f32 = samples.iter().map(|&it| f32::from(it) * f32::from(it)).sum();
        (sum / samples.len() as f32).sqrt()
    }

    #[test]
    fn every_digit_beside_its_frequency_and_twisted_is_silence() {
        let (lows, highs) = TONES_HZ.split_at(GROUP);
        for low in lows {
            for high in highs {
                for (off, gains) in [
                    ([1.0, 1.0], [6000.0, 6000.0]),
                    ([1.015, 0.985], [6000.0, 6000.0]),
                    ([0.985, 1.015], [6000.0, 6000.0]),
                    ([1.0, 1.0], [8000.0, 3500.0]),
                    ([1.0, 1.0], [4000.0, 8500.0]),
                    ([1.0, 1.0], [400.0, 400.0]),
                ] {
                    let mut samples = vec![0; 800];
                    samples.extend(tones(low * off[0], high * off[1], gains, 8000, 60));
                    samples.extend([0; 800]);
                    let out = muted(8000, &samples);
                    let loud = out.iter().filter(|it| it.abs() > 50).count();
                    assert_eq!(loud, 0, "{low}+{high} Hz {off:?} {gains:?}");
                }
            }
        }
    }

    #[test]
    fn a_digit_of_40_ms_in_noise_and_at_other_rates_is_silence() {
        let mut seed = 9;
        for rate in [8000, 16_000, 48_000] {
            let mut samples = vec![0; rate as usize / 10];
            samples.extend(tones(852.0, 1336.0, [5000.0, 5000.0], rate, 45));
            samples.extend(vec![0; rate as usize / 10]);
            // 18 dB below the tones.
            samples.iter_mut().for_each(|it| *it += (noise(&mut seed) * 1000.0) as i16);
            let out = muted(rate, &samples);
            let tone = rate as usize / 10..rate as usize * 145 / 1000;
            assert!(level(&out[tone]) < 150.0, "{rate}");
        }
    }

    #[test]
    fn speech_stays_as_it_is() {
        for seed in 1..=4 {
            let samples = speech(60, seed * 7919);
            assert!(level(&samples) > 300.0, "there is something to hear");
            let out = muted(8000, &samples);
            let changed = samples.iter().zip(&out).filter(|(was, is)| was != is).count();
            // A tenth of a second in a minute at most.
            assert!(changed < 8000 / 10, "seed {seed}: {changed} samples");
        }
    }

    #[test]
    fn one_tone_alone_music_and_a_busy_tone_are_no_digits() {
        for pair in
            [[440.0, 554.0], [450.0, 450.0], [770.0, 770.0], [941.0, 1000.0], [350.0, 1336.0]]
        {
            let samples = tones(pair[0], pair[1], [6000.0, 6000.0], 8000, 500);
            assert_eq!(muted(8000, &samples), samples, "{pair:?}");
        }
    }

    #[test]
    fn what_is_beside_a_digit_is_kept() {
        let mut samples = tones(440.0, 440.0, [4000.0, 4000.0], 8000, 1000);
        let digit = tones(697.0, 1209.0, [6000.0, 6000.0], 8000, 100);
        samples.splice(4000..4800, digit);
        let out = muted(8000, &samples);
        assert!(out[4040..4760].iter().all(|it| *it == 0));
        assert_eq!(out[..3600], samples[..3600]);
        assert_eq!(out[5100..], samples[5100..]);
    }

    #[test]
    fn where_digits_were_is_told_a_number_as_one_stretch() {
        for rate in [8000, 48_000] {
            let ms = |ms: usize| ms * rate as usize / 1000;
            let mut samples = vec![0; ms(1000)];
            for _ in 0..4 {
                samples.extend(tones(770.0, 1477.0, [6000.0, 6000.0], rate, 100));
                samples.extend(vec![0; ms(200)]);
            }
            samples.extend(vec![0; ms(1000)]);
            samples.extend(tones(941.0, 1336.0, [6000.0, 6000.0], rate, 100));
            let (mut mute, mut out) = (ToneMute::new(rate), Vec::new());
            samples.chunks(177).for_each(|part| mute.push(part, &mut out));
            mute.finish(&mut out);
            let told = mute.silenced();
            let told: Vec<_> = told.iter().map(|it| [it.start, it.end]).collect();
            let told_ms = told.iter().map(|it| it.map(|at| at * 1000 / u64::from(rate)));
            let near = |[from, until]: [u64; 2], want: [u64; 2]| {
                from.abs_diff(want[0]) <= 15 && until.abs_diff(want[1]) <= 15
            };
            let told_ms: Vec<_> = told_ms.collect();
            assert_eq!(told_ms.len(), 2, "{rate} {told_ms:?}");
            assert!(near(told_ms[0], [1000, 2000]), "{rate} {told_ms:?}");
            assert!(near(told_ms[1], [3200, 3300]), "{rate} {told_ms:?}");
        }
    }
}
