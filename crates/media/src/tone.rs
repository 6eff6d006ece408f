//! What is played to whoever waits: the telephone network's tones, or a piece of music.
//!
//! Belongs here: samples of a tone and its pauses. Does not: whom it is played to (`mixer`).

use std::f64::consts::TAU;
use std::sync::Arc;

use crate::encoder::RATE_HZ;

/// How long a tone swells and fades, in samples: 5 ms, so that it does not click.
const EDGE_SAMPLES: u32 = RATE_HZ / 200;

/// A tone that comes and goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// The other side's phone rings: 450 Hz, one second of five (GB/T 3380, as all of China's
    /// networks play it).
    RingBack,
    /// Somebody holds the call: two short low tones every ten seconds, so that who waits knows
    /// that he has not been cut off. No network has a tone for it.
    Held,
}

/// How a tone sounds.
struct Cadence {
    frequency_hz: f64,
    on_samples: u32,
    off_samples: u32,
    /// How often it sounds before the long pause.
    times: u32,
    period_samples: u32,
    /// Of full scale.
    level: f64,
}

impl Tone {
    fn cadence(self) -> Cadence {
        match self {
            Self::RingBack => Cadence {
                frequency_hz: 450.0,
                on_samples: RATE_HZ,
                off_samples: 4 * RATE_HZ,
                times: 1,
                period_samples: 5 * RATE_HZ,
                // -16 dBFS, a little less than speech.
                level: 0.16,
            },
            Self::Held => Cadence {
                frequency_hz: 425.0,
                on_samples: RATE_HZ / 5,
                off_samples: RATE_HZ / 5,
                times: 2,
                period_samples: 10 * RATE_HZ,
                // -20 dBFS: it is at an ear that waits.
                level: 0.1,
            },
        }
    }
}

/// What is played.
#[derive(Clone, Debug)]
pub enum Piece {
    /// A tone of ours.
    Tone(Tone),
    /// These samples, mono at [`RATE_HZ`], over and over. Silence if there are none.
    Music(Arc<[i16]>),
}

impl PartialEq for Piece {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Tone(one), Self::Tone(two)) => one == two,
            // The same piece; two that only sound alike may start anew.
            (Self::Music(one), Self::Music(two)) => Arc::ptr_eq(one, two),
            _ => false,
        }
    }
}

/// One piece being played, as mono samples at [`RATE_HZ`].
#[derive(Clone, Debug)]
pub struct Player {
    piece: Piece,
    /// Samples since it, or its period, began.
    position: usize,
}

impl Player {
    /// Plays from the beginning.
    pub fn new(piece: Piece) -> Self {
        Self { piece, position: 0 }
    }

    /// What is played.
    pub fn piece(&self) -> &Piece {
        &self.piece
    }

    /// Begins anew.
    pub fn restart(&mut self) {
        self.position = 0;
    }

    /// Adds the next samples to what is in `frame` already.
    pub fn add_to(&mut self, frame: &mut [i16]) {
        match &self.piece {
            Piece::Tone(tone) => {
                let cadence = tone.cadence();
                for sample in frame {
                    *sample = sample.saturating_add(cadence.at(self.position as u32));
                    self.position = (self.position + 1) % cadence.period_samples as usize;
                }
            }
            Piece::Music(music) if music.is_empty() => {}
            Piece::Music(music) => {
                for sample in frame {
                    *sample = sample.saturating_add(music[self.position]);
                    self.position = (self.position + 1) % music.len();
                }
            }
        }
    }
}

impl Cadence {
    /// The sample at this place of the period.
    fn at(&self, position: u32) -> i16 {
        let turn = self.on_samples + self.off_samples;
        let (time, within) = (position / turn, position % turn);
        if time >= self.times || within >= self.on_samples {
            return 0;
        }
        let edge = within.min(self.on_samples - within).min(EDGE_SAMPLES);
        let loudness = self.level * f64::from(edge) / f64::from(EDGE_SAMPLES);
        let turns = f64::from(within) * self.frequency_hz / f64::from(RATE_HZ);
        (loudness * (TAU * turns).sin() * f64::from(i16::MAX)).round() as i16
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoder::FRAME_SAMPLES;

    fn played(seconds: usize) -> Vec<i16> {
        of(Piece::Tone(Tone::RingBack), seconds)
    }

    /// So many seconds, frame by frame.
    fn of(piece: Piece, seconds: usize) -> Vec<i16> {
        let mut player = Player::new(piece);
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
        let mut player = Player::new(Piece::Tone(Tone::RingBack));
        let mut frame = [i16::MAX; FRAME_SAMPLES];
        player.add_to(&mut frame);
        assert!(frame.iter().all(|sample| *sample > 25_000), "no overflow turns the sign");
    }

    #[test]
    fn who_is_held_hears_two_short_tones_every_ten_seconds() {
        let pcm = of(Piece::Tone(Tone::Held), 21);
        let fifths = pcm.chunks(RATE_HZ as usize / 5).map(|it| it.iter().any(|it| *it != 0));
        let sounding: Vec<_> = fifths.enumerate().filter(|(_, is)| *is).map(|(at, _)| at).collect();
        assert_eq!(sounding, [0, 2, 50, 52, 100, 102]);
        let loudest = pcm.iter().map(|sample| sample.unsigned_abs()).max().unwrap();
        assert!((3000..=3300).contains(&loudest), "{loudest}");
    }

    #[test]
    fn music_begins_again_at_its_end_and_none_is_silence() {
        let music: Arc<[i16]> = (1..=500).collect();
        let pcm = of(Piece::Music(music.clone()), 1);
        assert!(pcm.iter().enumerate().all(|(at, sample)| *sample == (at % 500) as i16 + 1));
        assert!(of(Piece::Music(Arc::default()), 1).iter().all(|sample| *sample == 0));
        assert_eq!(Piece::Music(music.clone()), Piece::Music(music.clone()));
        assert_ne!(Piece::Music(music), Piece::Tone(Tone::Held));
    }
}
