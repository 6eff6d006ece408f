//! What a phone says into a call, and how to tell what it heard: tones, clips, turns of talk.
//!
//! All sound is 16-bit mono at 8000 Hz.

use std::f32::consts::TAU;
use std::sync::Arc;

/// Samples a second of everything here.
const RATE_HZ: f32 = 8000.0;

/// A source of sound without an end.
#[derive(Clone, Debug)]
pub enum Sound {
    /// A sine of this frequency, level -12 dBFS.
    Tone {
        /// Hertz, below 4000.
        frequency_hz: f32,
    },
    /// Samples, then silence, or the same again.
    Clip {
        /// 8 kHz mono.
        pcm: Arc<[i16]>,
        /// Whether it starts over when it ends.
        is_looped: bool,
    },
    /// Digital silence, sent as packets.
    Silence,
    /// No packets at all, as a phone behind a broken router.
    Nothing,
}

impl Sound {
    /// A sine at -12 dBFS.
    pub fn tone(frequency_hz: f32) -> Self {
        Self::Tone { frequency_hz }
    }

    /// These samples once, then silence.
    pub fn once(pcm: impl Into<Arc<[i16]>>) -> Self {
        Self::Clip { pcm: pcm.into(), is_looped: false }
    }

    /// These samples over and over.
    pub fn looped(pcm: impl Into<Arc<[i16]>>) -> Self {
        Self::Clip { pcm: pcm.into(), is_looped: true }
    }

    /// Whether packets go out at all.
    pub(crate) fn is_sent(&self) -> bool {
        !matches!(self, Self::Nothing)
    }

    /// Fills `out` with what is heard from `position` samples into the sound.
    pub(crate) fn fill(&self, position: usize, out: &mut [i16]) {
        match self {
            Self::Tone { frequency_hz } => {
                for (index, sample) in out.iter_mut().enumerate() {
                    // The phase is taken modulo one period before it loses precision in f32.
                    let cycles = (position + index) as f64 * f64::from(*frequency_hz) / 8000.0;
                    *sample = ((cycles.fract() as f32 * TAU).sin() * 8231.0) as i16;
                }
            }
            Self::Clip { pcm, is_looped } => {
                for (index, sample) in out.iter_mut().enumerate() {
                    let at = position + index;
                    let at = if *is_looped && !pcm.is_empty() { at % pcm.len() } else { at };
                    *sample = pcm.get(at).copied().unwrap_or(0);
                }
            }
            Self::Silence | Self::Nothing => out.fill(0),
        }
    }
}

/// Fills `pcm` with the beginning of a sound.
pub fn render(sound: &Sound, pcm: &mut [i16]) {
    sound.fill(0, pcm);
}

/// The level of `pcm` in decibels below full scale; silence is -120.
pub fn level_dbfs(pcm: &[i16]) -> f32 {
    if pcm.is_empty() {
        return -120.0;
    }
    let sum: f64 = pcm.iter().map(|&s| f64::from(s) * f64::from(s)).sum();
    let mean = sum / pcm.len() as f64 / (32768.0 * 32768.0);
    (10.0 * mean.max(1e-12).log10()) as f32
}

/// How much of the energy of `pcm` lies at one frequency, 0 to 1 (Goertzel's filter).
pub fn tone_share(pcm: &[i16], frequency_hz: f32) -> f32 {
    let energy: f64 = pcm.iter().map(|&s| f64::from(s) * f64::from(s)).sum();
    if energy <= 0.0 {
        return 0.0;
    }
    let step = f64::from(TAU * frequency_hz / RATE_HZ);
    let coefficient = 2.0 * step.cos();
    let (mut previous, mut before) = (0.0_f64, 0.0_f64);
    for &sample in pcm {
        let next = f64::from(sample) + coefficient * previous - before;
        before = previous;
        previous = next;
    }
    let power = previous * previous + before * before - coefficient * previous * before;
    (2.0 * power / (pcm.len() as f64 * energy)) as f32
}

/// The strongest frequency of a sound with one tone, to about 5 Hz; `None` for silence.
///
/// Looks at twenty windows of 50 ms, spread over the sound: a phase jump (a lost packet, a hold)
/// does not blur it, and an hour costs no more than a second.
pub fn dominant_frequency_hz(pcm: &[i16]) -> Option<f32> {
    if level_dbfs(pcm) < -60.0 {
        return None;
    }
    let windows: Vec<&[i16]> = pcm.chunks_exact(400).collect();
    let step = windows.len().div_ceil(20).max(1);
    let strength =
        |hz: f32| -> f32 { windows.iter().step_by(step).map(|w| tone_share(w, hz)).sum() };
    // From coarse to fine: a window of 50 ms tells tones apart that are 20 Hz from each other.
    let loudest = |candidates: &mut dyn Iterator<Item = f32>| {
        candidates.max_by(|a, b| strength(*a).total_cmp(&strength(*b)))
    };
    let near = loudest(&mut (4..380).map(|step| step as f32 * 10.0))?;
    loudest(&mut (-1..=1).map(|step| near + step as f32 * 5.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tone_is_recognised_and_another_is_not() {
        let mut pcm = vec![0; 8000];
        Sound::tone(440.0).fill(0, &mut pcm);
        assert!(tone_share(&pcm, 440.0) > 0.99);
        assert!(tone_share(&pcm, 620.0) < 0.01);
        assert_eq!(dominant_frequency_hz(&pcm), Some(440.0));
        assert!((level_dbfs(&pcm) + 15.0).abs() < 0.2);
        assert_eq!(dominant_frequency_hz(&[0; 800]), None);
    }

    #[test]
    fn a_clip_ends_in_silence_or_starts_over() {
        let mut out = [9; 5];
        Sound::once(vec![1, 2, 3]).fill(1, &mut out);
        assert_eq!(out, [2, 3, 0, 0, 0]);
        Sound::looped(vec![1, 2, 3]).fill(1, &mut out);
        assert_eq!(out, [2, 3, 1, 2, 3]);
        Sound::looped(vec![]).fill(1, &mut out);
        assert_eq!(out, [0; 5]);
    }
}
