//! How two people talked, from the samples alone: who spoke how much, silences, overlaps, level.
//!
//! A frame of 20 ms is speech if its level is above −50 dBFS; pauses shorter than 300 ms belong to
//! the speech around them, as breath does.

use crate::peaks::loudest;

/// Length of a frame.
const FRAME_US: i64 = 20_000;

/// Mean square above which a frame is speech: −50 dBFS.
const SPEECH_MEAN_SQUARE: u64 = 10_737; // 32768² × 10⁻⁵

/// Frames a pause must last to end the speech before it (300 ms).
const HANGOVER_FRAMES: u32 = 15;

/// Frames both must speak for an overlap to count (0.5 s).
const OVERLAP_FRAMES: u32 = 25;

/// At or above this a sample counts as clipped: the last step of G.711's range.
const CLIPPED: u16 = 31_000;

/// What was measured over a whole recording. Lanes are [left, right].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Measures {
    /// Share of the time each lane speaks, 0 to 1.
    pub talk_ratio: [f32; 2],
    /// Share of the time nobody speaks, 0 to 1.
    pub silence_ratio: f32,
    /// Longest stretch in which nobody speaks.
    pub longest_silence_us: i64,
    /// Times both spoke at once for more than half a second.
    pub overlaps: u32,
    /// When the right lane (our side) first spoke; -1 if it never did.
    pub first_response_us: i64,
    /// Level of each lane's speech in dBFS; -127 where there is none.
    pub level_dbfs: [f32; 2],
    /// Share of samples at full scale, 0 to 1.
    pub clipped_ratio: [f32; 2],
}

#[derive(Clone, Copy, Debug, Default)]
struct LaneMeter {
    frame_squares: u64,
    speech_squares: u64,
    loud_frames: u64,
    talk_frames: u64,
    clipped: u64,
    /// Frames since the last loud one.
    quiet_frames: u32,
    has_spoken: bool,
}

impl LaneMeter {
    fn add(&mut self, samples: &[i16]) {
        let loudest = loudest(samples);
        self.frame_squares += sum_of_squares(samples, loudest);
        if loudest >= CLIPPED {
            let clipped = samples.iter().filter(|sample| sample.unsigned_abs() >= CLIPPED);
            self.clipped += clipped.count() as u64;
        }
    }

    /// Closes a frame of `len` samples; tells whether this lane speaks in it.
    fn close(&mut self, len: usize) -> bool {
        let squares = std::mem::take(&mut self.frame_squares);
        if squares > SPEECH_MEAN_SQUARE * len as u64 {
            self.speech_squares += squares;
            self.loud_frames += 1;
            self.quiet_frames = 0;
            self.has_spoken = true;
        } else {
            self.quiet_frames = self.quiet_frames.saturating_add(1);
        }
        let is_talking = self.has_spoken && self.quiet_frames < HANGOVER_FRAMES;
        self.talk_frames += u64::from(is_talking);
        is_talking
    }

    fn level_dbfs(&self, frame_samples: usize) -> f32 {
        if self.loud_frames == 0 {
            return -127.0;
        }
        let mean = self.speech_squares as f64 / (self.loud_frames as f64 * frame_samples as f64);
        (10.0 * (mean / (32_768.0 * 32_768.0)).log10()) as f32
    }
}

/// The sum of the squares of samples that are nowhere louder than this: in 32 bits wherever that is
/// enough, for a processor adds several of those at once.
fn sum_of_squares(samples: &[i16], loudest: u16) -> u64 {
    let square = |sample: i16| (i32::from(sample) * i32::from(sample)) as u32;
    if u64::from(loudest).pow(2) * samples.len() as u64 <= u64::from(u32::MAX) {
        return samples.iter().map(|&sample| square(sample)).sum::<u32>().into();
    }
    let parts = samples.chunks(1 << 16).map(|part| {
        let (mut high, mut low) = (0_u32, 0_u32);
        for &sample in part {
            high += square(sample) >> 16;
            low += square(sample) & 0xffff;
        }
        (u64::from(high) << 16) + u64::from(low)
    });
    parts.sum()
}

/// Measures samples as they go by.
#[derive(Clone, Debug)]
pub struct SpeechMeter {
    frame_samples: usize,
    lanes: [LaneMeter; 2],
    filled: usize,
    samples: u64,
    frames: u64,
    silent_frames: u64,
    silence: u64,
    longest_silence: u64,
    overlap: u32,
    overlaps: u32,
    first_response: Option<u64>,
}

impl SpeechMeter {
    /// Begins at a rate, of which a frame of 20 ms is a whole number of samples.
    pub fn new(rate_hz: u32) -> Self {
        Self {
            frame_samples: (rate_hz as usize / 50).max(1),
            lanes: Default::default(),
            filled: 0,
            samples: 0,
            frames: 0,
            silent_frames: 0,
            silence: 0,
            longest_silence: 0,
            overlap: 0,
            overlaps: 0,
            first_response: None,
        }
    }

    /// Takes the next samples of both lanes, equally many (what one has more is left out).
    pub fn push(&mut self, lanes: [&[i16]; 2]) {
        let len = lanes[0].len().min(lanes[1].len());
        let mut at = 0;
        while at < len {
            let to = len.min(at + self.frame_samples - self.filled);
            for (meter, lane) in self.lanes.iter_mut().zip(lanes) {
                meter.add(&lane[at..to]);
            }
            self.filled += to - at;
            self.samples += (to - at) as u64;
            at = to;
            if self.filled == self.frame_samples {
                self.close();
            }
        }
    }

    fn close(&mut self) {
        let len = std::mem::take(&mut self.filled);
        let [left, right] = &mut self.lanes;
        let (left, right) = (left.close(len), right.close(len));
        if right && self.first_response.is_none() {
            self.first_response = Some(self.frames);
        }
        if left || right {
            self.silence = 0;
        } else {
            self.silence += 1;
            self.silent_frames += 1;
            self.longest_silence = self.longest_silence.max(self.silence);
        }
        if left && right {
            self.overlap = self.overlap.saturating_add(1);
            self.overlaps += u32::from(self.overlap == OVERLAP_FRAMES + 1);
        } else {
            self.overlap = 0;
        }
        self.frames += 1;
    }

    /// The measures of all that was pushed.
    pub fn finish(mut self) -> Measures {
        if self.filled > 0 {
            self.close();
        }
        let share = |part: u64, whole: u64| part as f32 / whole.max(1) as f32;
        let frames_us = |frames: u64| frames as i64 * FRAME_US;
        Measures {
            talk_ratio: self.lanes.map(|lane| share(lane.talk_frames, self.frames)),
            silence_ratio: share(self.silent_frames, self.frames),
            longest_silence_us: frames_us(self.longest_silence),
            overlaps: self.overlaps,
            first_response_us: self.first_response.map_or(-1, frames_us),
            level_dbfs: self.lanes.map(|lane| lane.level_dbfs(self.frame_samples)),
            clipped_ratio: self.lanes.map(|lane| share(lane.clipped, self.samples)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(seconds: f64, level: f64) -> Vec<i16> {
        (0..(seconds * 8000.0) as usize).map(|n| (level * (n as f64 * 0.6).sin()) as i16).collect()
    }

    fn quiet(seconds: f64) -> Vec<i16> {
        vec![3; (seconds * 8000.0) as usize]
    }

    fn measured(left: &[Vec<i16>], right: &[Vec<i16>]) -> Measures {
        let mut meter = SpeechMeter::new(8000);
        let (left, right) = (left.concat(), right.concat());
        for (left, right) in left.chunks(999).zip(right.chunks(999)) {
            meter.push([left, right]);
        }
        meter.finish()
    }

    #[test]
    fn who_talks_how_long_is_measured() {
        let got = measured(
            &[tone(2.0, 3276.8), quiet(8.0)],
            &[quiet(4.0), tone(1.0, 32_767.0), quiet(5.0)],
        );
        let near = |got: f32, want: f32, by: f32| (got - want).abs() <= by;
        assert!(near(got.talk_ratio[0], 0.23, 0.01), "{got:?}");
        assert!(near(got.talk_ratio[1], 0.13, 0.01), "{got:?}");
        assert!(near(got.silence_ratio, 0.64, 0.01), "{got:?}");
        assert!((4_600_000..4_800_000).contains(&got.longest_silence_us), "{got:?}");
        assert_eq!((got.overlaps, got.first_response_us), (0, 4_000_000));
        assert!(near(got.level_dbfs[0], -23.0, 0.2) && near(got.level_dbfs[1], -3.0, 0.2));
        assert!(got.clipped_ratio[0] == 0.0 && got.clipped_ratio[1] > 0.01, "{got:?}");
    }

    #[test]
    fn only_long_overlaps_count() {
        let got = measured(
            &[tone(3.0, 5000.0), quiet(2.0), tone(1.0, 5000.0), quiet(4.0)],
            &[tone(0.1, 5000.0), quiet(1.0), tone(6.9, 5000.0), quiet(2.0)],
        );
        assert_eq!(got.overlaps, 2);
    }

    #[test]
    fn squares_are_summed_to_the_last_bit() {
        for level in [0, 1, 5180, 5181, 5182, 31_000, 32_767] {
            for len in [0, 1, 7, 160, 70_000] {
                let samples: Vec<i16> = (0..len).map(|n| [level, -level - 1][n % 2]).collect();
                let want: i64 = samples.iter().map(|&it| i64::from(it).pow(2)).sum();
                let got = sum_of_squares(&samples, loudest(&samples));
                assert_eq!(got, want as u64, "{level} {len}");
            }
        }
    }

    #[test]
    fn nothing_said_is_said_so() {
        let got = measured(&[quiet(1.0)], &[quiet(1.0)]);
        assert_eq!((got.silence_ratio, got.first_response_us), (1.0, -1));
        assert_eq!(got.level_dbfs, [-127.0; 2]);
        assert_eq!(SpeechMeter::new(8000).finish().longest_silence_us, 0);
    }
}
