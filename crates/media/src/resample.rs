//! Changes the rate of one lane's samples, wherever they stand in time kept.
//!
//! A file has one rate, its lanes may have several. The filter's delay is taken out, so sample
//! `n` of the input is at `n × to / from` of the output.

use audioadapter_buffers::direct::SequentialSlice;
use rubato::{Fft, FixedSync, Resampler as _, WindowFunction};

/// Samples of input in one block of the filter, at least.
const BLOCK_SAMPLES: usize = 256;

/// Blocks worked on at a time.
const BLOCKS: usize = 4;

/// Changes the rate of one stream of samples.
pub struct Resampler {
    /// `None` when both rates are the same.
    filter: Option<Filter>,
}

struct Filter {
    inner: Fft<f32>,
    input: Vec<f32>,
    output: Vec<f32>,
    chunk: usize,
    /// Output still to be left out: the filter's delay.
    delay: usize,
}

impl Resampler {
    /// Begins a stream from one rate to another; `None` if there is no filter for these rates.
    pub fn new(from_hz: u32, to_hz: u32) -> Option<Self> {
        if from_hz == to_hz {
            return Some(Self { filter: None });
        }
        if from_hz == 0 || to_hz == 0 {
            return None;
        }
        let (from, to) = (from_hz as usize, to_hz as usize);
        let mut units = (from, to);
        while units.1 != 0 {
            units = (units.1, units.0 % units.1);
        }
        let unit = from / units.0;
        // Even, for half of a block is the delay, and that must be whole samples.
        let block = unit * BLOCK_SAMPLES.div_ceil(unit).next_multiple_of(2);
        let window = WindowFunction::BlackmanHarris2;
        let (chunk, fixed) = (block * BLOCKS, FixedSync::Both);
        let inner = Fft::new_custom(from, to, chunk, BLOCKS, 1, window, fixed).ok()?;
        let (chunk, delay) = (inner.input_frames_max(), inner.output_delay());
        let output = vec![0.0; inner.output_frames_max()];
        let input = Vec::with_capacity(chunk);
        Some(Self { filter: Some(Filter { inner, input, output, chunk, delay }) })
    }

    /// Takes samples, appending to `out` what is finished of them.
    pub fn push(&mut self, samples: &[i16], out: &mut Vec<i16>) {
        let Some(filter) = &mut self.filter else {
            out.extend_from_slice(samples);
            return;
        };
        let mut rest = samples;
        while !rest.is_empty() {
            let some = rest.len().min(filter.chunk - filter.input.len());
            filter.input.extend(rest[..some].iter().map(|&sample| f32::from(sample)));
            rest = &rest[some..];
            if filter.input.len() == filter.chunk {
                filter.run(out);
            }
        }
    }

    /// Appends all that is left of the stream; some silence may follow it.
    pub fn finish(&mut self, out: &mut Vec<i16>) {
        let Some(filter) = &mut self.filter else { return };
        let wanted = filter.delay + filter.inner.output_delay();
        let mut flushed = 0;
        // What is pending, and then as much again as the filter holds back.
        while flushed <= wanted + filter.output.len() {
            filter.input.resize(filter.chunk, 0.0);
            filter.run(out);
            flushed += filter.output.len();
        }
    }
}

impl Filter {
    fn run(&mut self, out: &mut Vec<i16>) {
        let produced = {
            let input = SequentialSlice::new(&self.input, 1, self.chunk);
            let len = self.output.len();
            let output = SequentialSlice::new_mut(&mut self.output, 1, len);
            match (input, output) {
                (Ok(input), Ok(mut output)) => {
                    self.inner.process_into_buffer(&input, &mut output, None)
                }
                // The buffers are as long as the filter asked for.
                _ => return self.input.clear(),
            }
        };
        self.input.clear();
        let Ok((_, produced)) = produced else { return };
        let skipped = self.delay.min(produced);
        self.delay -= skipped;
        let finished = &self.output[skipped..produced];
        out.extend(finished.iter().map(|&sample| sample.round() as i16));
    }
}

#[cfg(test)]
mod tests {
    use std::f64::consts::TAU;

    use super::*;

    fn tone(hz: f64, rate: u32, seconds: f64) -> Vec<i16> {
        let samples = (seconds * f64::from(rate)) as usize;
        let at = |n: usize| n as f64 * hz * TAU / f64::from(rate);
        (0..samples).map(|n| (8000.0 * at(n).sin()) as i16).collect()
    }

    #[test]
    fn a_tone_stands_at_its_time_at_any_pair_of_rates() {
        for (from, to) in [
            (8000, 8000),
            (8000, 16_000),
            (8000, 48_000),
            (16_000, 48_000),
            (44_100, 48_000),
            (11_025, 16_000),
            (48_000, 8000),
        ] {
            let mut resampler = Resampler::new(from, to).unwrap();
            let mut got = Vec::new();
            tone(440.0, from, 3.0).chunks(777).for_each(|part| resampler.push(part, &mut got));
            resampler.finish(&mut got);
            let want = tone(440.0, to, 3.0);
            assert!(got.len() >= want.len(), "{from} to {to}: {}", got.len());
            let edge = to as usize / 10;
            let (mut noise, mut signal) = (0.0, 0.0);
            for (want, got) in want.iter().zip(&got).take(want.len() - edge).skip(edge) {
                noise += (f64::from(*want) - f64::from(*got)).powi(2);
                signal += f64::from(*want).powi(2);
            }
            assert!(noise < signal / 10_000.0, "{from} to {to}: {}", noise / signal);
        }
    }

    #[test]
    fn the_loudest_samples_are_limited_and_no_rate_panics() {
        let mut out = Vec::new();
        let mut resampler = Resampler::new(8000, 48_000).unwrap();
        let square: Vec<i16> =
            (0..8000).map(|n| if n / 9 % 2 == 0 { i16::MAX } else { i16::MIN }).collect();
        resampler.push(&square, &mut out);
        assert!(out.contains(&i16::MAX));
        assert!(Resampler::new(0, 8000).is_none());
    }
}
