//! Doubles and halves a sample rate with next to no delay: between 8 and 16 kHz while people talk.
//!
//! A half-band filter of 47 taps (3 ms at 16 kHz), flat to 3.4 kHz; every second tap but the middle
//! one is zero. For files, where delay does not matter, there is `resample`.

/// Taps on one side of the middle that are not zero.
const SIDE: usize = 12;
/// Inputs kept at the low rate.
const KEPT: usize = 2 * SIDE;

/// The odd taps from the middle outwards: a sinc with Blackman's window, made to add up to 1/2
/// with the middle's 1/2.
fn taps() -> [f32; SIDE] {
    let mut taps = [0.0; SIDE];
    let length = (2 * SIDE) as f64;
    for (n, tap) in taps.iter_mut().enumerate() {
        let at = (2 * n + 1) as f64;
        let turn = std::f64::consts::PI * at / length;
        let window = 0.42 + 0.5 * turn.cos() + 0.08 * (2.0 * turn).cos();
        let sinc = (std::f64::consts::FRAC_PI_2 * at).sin() / (std::f64::consts::PI * at);
        *tap = (sinc * window) as f32;
    }
    let sum: f32 = taps.iter().sum();
    taps.map(|tap| tap / (4.0 * sum))
}

fn limited(sample: f32) -> i16 {
    sample.round() as i16
}

/// The side taps over the last [`KEPT`] samples, newest last.
fn side(taps: &[f32; SIDE], kept: &[f32]) -> f32 {
    let (before, after) = kept.split_at(SIDE);
    let pairs = before.iter().rev().zip(after);
    pairs.zip(taps).map(|((before, after), tap)| (before + after) * tap).sum()
}

/// From 8 to 16 kHz.
#[derive(Clone, Debug)]
pub struct Doubler {
    taps: [f32; SIDE],
    line: Vec<f32>,
}

impl Default for Doubler {
    fn default() -> Self {
        Self { taps: taps(), line: vec![0.0; KEPT - 1] }
    }
}

impl Doubler {
    /// Appends two samples for each of `samples`.
    pub fn push(&mut self, samples: &[i16], out: &mut Vec<i16>) {
        self.line.extend(samples.iter().map(|&sample| f32::from(sample)));
        for kept in self.line.windows(KEPT) {
            out.push(limited(kept[SIDE - 1]));
            out.push(limited(2.0 * side(&self.taps, kept)));
        }
        self.line.drain(..samples.len());
    }
}

/// From 16 to 8 kHz.
#[derive(Clone, Debug)]
pub struct Halver {
    taps: [f32; SIDE],
    even: Vec<f32>,
    odd: Vec<f32>,
}

impl Default for Halver {
    fn default() -> Self {
        Self { taps: taps(), even: vec![0.0; SIDE - 1], odd: vec![0.0; KEPT - 1] }
    }
}

impl Halver {
    /// Appends one sample for each two of `samples`; one that is left over is dropped.
    pub fn push(&mut self, samples: &[i16], out: &mut Vec<i16>) {
        let (pairs, _) = samples.as_chunks::<2>();
        self.even.extend(pairs.iter().map(|pair| f32::from(pair[0])));
        self.odd.extend(pairs.iter().map(|pair| f32::from(pair[1])));
        for (middle, kept) in self.even.iter().zip(self.odd.windows(KEPT)) {
            out.push(limited(middle * 0.5 + side(&self.taps, kept)));
        }
        self.even.drain(..pairs.len());
        self.odd.drain(..pairs.len());
    }
}

#[cfg(test)]
mod tests {
    use std::f64::consts::TAU;

    use super::*;

    fn tone(hz: f64, rate: f64, samples: usize) -> Vec<i16> {
        (0..samples).map(|n| (10_000.0 * (n as f64 * hz * TAU / rate).sin()) as i16).collect()
    }

    fn amplitude(pcm: &[i16], hz: f64, rate: f64) -> f64 {
        let (mut re, mut im) = (0.0, 0.0);
        for (n, &sample) in pcm.iter().enumerate() {
            let angle = n as f64 * hz * TAU / rate;
            re += f64::from(sample) * angle.cos();
            im += f64::from(sample) * angle.sin();
        }
        2.0 * f64::hypot(re, im) / pcm.len() as f64
    }

    #[test]
    fn speech_passes_both_ways_and_its_mirror_does_not() {
        for hz in [300.0, 1000.0, 2000.0, 3000.0] {
            let (mut doubler, mut wide) = (Doubler::default(), Vec::new());
            tone(hz, 8000.0, 8000).chunks(160).for_each(|part| doubler.push(part, &mut wide));
            assert_eq!(wide.len(), 16_000);
            let heard = amplitude(&wide[1000..], hz, 16_000.0);
            assert!((9700.0..10_300.0).contains(&heard), "{hz}: {heard}");
            let mirror = amplitude(&wide[1000..], 8000.0 - hz, 16_000.0);
            assert!(mirror < 150.0, "{hz}: mirror {mirror}");
            let (mut halver, mut narrow) = (Halver::default(), Vec::new());
            wide.chunks(320).for_each(|part| halver.push(part, &mut narrow));
            let heard = amplitude(&narrow[1000..], hz, 8000.0);
            assert!((9500.0..10_500.0).contains(&heard), "{hz}: {heard}");
        }
        let (mut halver, mut narrow) = (Halver::default(), Vec::new());
        tone(6000.0, 16_000.0, 16_000).chunks(320).for_each(|part| halver.push(part, &mut narrow));
        assert!(amplitude(&narrow[1000..], 2000.0, 8000.0) < 150.0);
    }

    #[test]
    fn the_loudest_sound_is_limited() {
        let square: Vec<i16> =
            (0..8000).map(|n| if n / 9 % 2 == 0 { i16::MAX } else { i16::MIN }).collect();
        let mut out = Vec::new();
        Doubler::default().push(&square, &mut out);
        assert!(out.contains(&i16::MAX) && out.contains(&i16::MIN));
    }
}
