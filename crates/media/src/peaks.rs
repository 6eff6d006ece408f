//! The outline of a recording that a player draws without loading the audio.
//!
//! File, little endian:
//!
//! ```text
//! 4 bytes "CLPK" · u8 version 1 · u8 lanes 2 · u16 window in ms · u32 windows
//! then for each window one byte a lane: [left, right], the loudest sample of it, 0..=255
//! ```
//! A byte is the absolute value shifted right by seven bits: 255 is full scale.

/// First bytes of a peaks file.
pub const MAGIC: [u8; 4] = *b"CLPK";

/// Version of the layout.
pub const VERSION: u8 = 1;

/// Bytes before the first window.
pub const HEADER_BYTES: usize = 12;

/// Length of a window.
pub const WINDOW_MS: u16 = 40;

/// Collects the peaks of two lanes: three kilobytes a minute.
#[derive(Clone, Debug)]
pub struct Peaks {
    window_samples: usize,
    windows: Vec<[u8; 2]>,
    highest: [u16; 2],
    filled: usize,
}

impl Peaks {
    /// Begins at a rate, of which a window is a whole number of samples.
    pub fn new(rate_hz: u32) -> Self {
        let window_samples = (rate_hz as usize * usize::from(WINDOW_MS) / 1000).max(1);
        Self { window_samples, windows: Vec::new(), highest: [0; 2], filled: 0 }
    }

    /// Takes the next samples of both lanes, equally many (what one has more is left out).
    pub fn push(&mut self, lanes: [&[i16]; 2]) {
        let len = lanes[0].len().min(lanes[1].len());
        let mut at = 0;
        while at < len {
            let to = len.min(at + self.window_samples - self.filled);
            for (highest, lane) in self.highest.iter_mut().zip(lanes) {
                *highest = (*highest).max(loudest(&lane[at..to]));
            }
            self.filled += to - at;
            at = to;
            if self.filled == self.window_samples {
                self.close();
            }
        }
    }

    fn close(&mut self) {
        self.windows.push(self.highest.map(|highest| (highest >> 7).min(255) as u8));
        self.highest = [0; 2];
        self.filled = 0;
    }

    /// The whole file.
    pub fn finish(mut self) -> Vec<u8> {
        if self.filled > 0 {
            self.close();
        }
        let mut bytes = Vec::with_capacity(HEADER_BYTES + 2 * self.windows.len());
        bytes.extend(MAGIC);
        bytes.extend([VERSION, 2]);
        bytes.extend(WINDOW_MS.to_le_bytes());
        bytes.extend((self.windows.len() as u32).to_le_bytes());
        bytes.extend(self.windows.iter().flatten());
        bytes
    }
}

/// The absolute value of the loudest of some samples; 0 if there are none.
pub(crate) fn loudest(samples: &[i16]) -> u16 {
    let (low, high) = samples.iter().fold((0, 0), |(low, high), &it| (it.min(low), it.max(high)));
    i16::unsigned_abs(low).max(i16::unsigned_abs(high))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_window_has_the_loudest_sample_of_each_lane() {
        let mut left = vec![0_i16; 700];
        let mut right = vec![0_i16; 700];
        left[319] = i16::MIN; // Last of the first window.
        right[320] = -12_800;
        left[699] = 1280;
        for chunk in [1, 7, 320, 700] {
            let mut peaks = Peaks::new(8000);
            for (left, right) in left.chunks(chunk).zip(right.chunks(chunk)) {
                peaks.push([left, right]);
            }
            let bytes = peaks.finish();
            assert_eq!(&bytes[..HEADER_BYTES], b"CLPK\x01\x02\x28\0\x03\0\0\0");
            assert_eq!(bytes[HEADER_BYTES..], [255, 0, 0, 100, 10, 0], "{chunk}");
        }
    }
}
