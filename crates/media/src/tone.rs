//! Tones that a telephone network plays to whoever waits.
//!
//! Belongs here: samples of a tone and its pauses. Does not: whom it is played to (`mixer`).

use std::f64::consts::TAU;

use crate::encoder::RATE_HZ;

/// How long a tone swells and fades, in samples: 5 ms, so that it does not click.
const EDGE_SAMPLES: u32 = RATE_HZ / 200;

/// A tone that comes and goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// The other side's phone rings: 450 Hz, one second of five (GB/T 3380, as all of China's
    /// networks play it).
    RingBack,
}

/// How a tone sounds.
struct Cadence {
    frequency_hz: f64,
    on_samples: u32,
    period_samples: u32,
    /// Of full scale: −16 dBFS, a little less than speech.
    level: f64,
}

impl Tone {
    fn cadence(self) -> Cadence {
        match self {
            Self::RingBack => Cadence {
                frequency_hz: 450.0,
                on_samples: RATE_HZ,
                period_samples: 5 * RATE_HZ,
                level: 0.16,
            },
        }
    }
}

/// One tone being played, as mono samples at [`RATE_HZ`].
#[derive(Clone, Debug)]
pub struct Player {
    tone: Tone,
    /// Samples since the period began.
    position: u32,
}

impl Player {
    /// Plays from the tone's beginning.
    pub fn new(tone: Tone) -> Self {
        Self { tone, position: 0 }
    }

    /// What is played.
    pub fn tone(&self) -> Tone {
        self.tone
    }

    /// Adds the next samples to what is in `frame` already.
    pub fn add_to(&mut self, frame: &mut [i16]) {
        let Cadence { frequency_hz, on_samples, period_samples, level } = self.tone.cadence();
        for sample in frame {
            if self.position < on_samples {
                let edge = self.position.min(on_samples - self.position).min(EDGE_SAMPLES);
                let loudness = level * f64::from(edge) / f64::from(EDGE_SAMPLES);
                let turns = f64::from(self.position) * frequency_hz / f64::from(RATE_HZ);
                let value = loudness * (TAU * turns).sin() * f64::from(i16::MAX);
                *sample = sample.saturating_add(value.round() as i16);
            }
            self.position = (self.position + 1) % period_samples;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoder::FRAME_SAMPLES;

    /// So many seconds, frame by frame.
    fn played(seconds: usize) -> Vec<i16> {
        let mut player = Player::new(Tone::RingBack);
        let mut all = Vec::new();
        for _ in 0..seconds * 50 {
            let mut frame = [0; FRAME_SAMPLES];
            player.add_to(&mut frame);
            all.extend_from_slice(&frame);
        }
        all
    }

    #[test]
    fn ring_back_sounds_one_second_of_five_at_450_hz() {
        let pcm = played(11);
        for (second, chunk) in pcm.chunks(RATE_HZ as usize).enumerate() {
            // Upward crossings of zero are whole waves; there are none in silence.
            let waves = chunk.windows(2).filter(|pair| pair[0] < 0 && pair[1] >= 0).count();
            let want = if second % 5 == 0 { 448..=451 } else { 0..=0 };
            assert!(want.contains(&waves), "second {second}: {waves}");
        }
        let loudest = pcm.iter().map(|sample| sample.unsigned_abs()).max().unwrap();
        assert!((5000..=5300).contains(&loudest), "{loudest}");
    }

    #[test]
    fn it_begins_and_ends_without_a_click_and_adds_to_what_is_there() {
        let pcm = played(2);
        let steepest = pcm.windows(2).map(|pair| (pair[1] - pair[0]).unsigned_abs()).max().unwrap();
        // The wave itself is never steeper than its level times 2π·450/16000.
        assert!(steepest < 950, "{steepest}");
        let mut player = Player::new(Tone::RingBack);
        let mut frame = [i16::MAX; FRAME_SAMPLES];
        player.add_to(&mut frame);
        assert!(frame.iter().all(|sample| *sample > 25_000), "no overflow turns the sign");
    }
}
