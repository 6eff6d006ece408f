//! WAV files of 16-bit PCM: a writer that needs no seeking, and a reader for short files.
//!
//! The writer is told the length before the first sample, so that the header is right at once and
//! the bytes can be hashed as they go by. Past 4 GiB it writes RF64 (EBU Tech 3306), where sizes
//! have 64 bits: a plain RIFF size would wrap without an error.

use std::io::{self, Read, Write};

/// The largest RIFF size field; above it the file must be RF64.
const MAX_RIFF_BYTES: u64 = u32::MAX as u64;

/// Samples converted to bytes at a time.
const CHUNK_SAMPLES: usize = 4096;

/// The shape of the samples in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WavFormat {
    /// Interleaved channels; two in a recording: customer, our side.
    pub channels: u16,
    /// Sample frames a second.
    pub rate_hz: u32,
}

/// What can be wrong with a WAV file that is read.
#[derive(Debug, thiserror::Error)]
pub enum WavError {
    /// Not a WAV file, or damaged.
    #[error("not a readable WAV file: {0}")]
    Malformed(#[from] hound::Error),
    /// A WAV file, but not of 16-bit integers.
    #[error("WAV of {bits} bits per sample, expected 16-bit integers")]
    SampleFormat {
        /// Bits per sample there are.
        bits: u16,
    },
}

/// Writes a WAV file of a length known before.
#[derive(Debug)]
pub struct WavWriter<W> {
    out: W,
    left_samples: u64,
    bytes: Vec<u8>,
}

impl<W: Write> WavWriter<W> {
    /// Writes the header of a file that will hold `frames` frames of `format`.
    ///
    /// # Errors
    /// What `out` reports, or `InvalidInput` if the sizes overflow even RF64.
    pub fn new(mut out: W, format: WavFormat, frames: u64) -> io::Result<Self> {
        let samples = frames.checked_mul(u64::from(format.channels));
        let data = samples.and_then(|samples| samples.checked_mul(2));
        let (Some(left_samples), Some(data_bytes)) = (samples, data) else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "WAV file too long"));
        };
        out.write_all(&header(format, frames, data_bytes))?;
        Ok(Self { out, left_samples, bytes: Vec::with_capacity(2 * CHUNK_SAMPLES) })
    }

    /// Writes interleaved samples.
    ///
    /// # Errors
    /// What the writer reports, or `InvalidInput` if these are more samples than were announced.
    pub fn write(&mut self, samples: &[i16]) -> io::Result<()> {
        let Some(left) = self.left_samples.checked_sub(samples.len() as u64) else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "more samples than announced"));
        };
        for chunk in samples.chunks(CHUNK_SAMPLES) {
            self.bytes.clear();
            self.bytes.extend(chunk.iter().flat_map(|sample| sample.to_le_bytes()));
            self.out.write_all(&self.bytes)?;
        }
        self.left_samples = left;
        Ok(())
    }

    /// Flushes and returns the writer below; missing samples are filled with silence.
    ///
    /// # Errors
    /// What the writer reports.
    pub fn finish(mut self) -> io::Result<W> {
        while self.left_samples > 0 {
            let some = self.left_samples.min(CHUNK_SAMPLES as u64);
            self.write(&[0; CHUNK_SAMPLES][..some as usize])?;
        }
        self.out.flush()?;
        Ok(self.out)
    }
}

/// The header of a PCM file: RIFF with `fmt ` and `data`, or RF64 with `ds64` before them.
fn header(format: WavFormat, frames: u64, data_bytes: u64) -> Vec<u8> {
    let is_rf64 = data_bytes + 36 > MAX_RIFF_BYTES;
    let mut bytes = Vec::with_capacity(80);
    if is_rf64 {
        bytes.extend(b"RF64\xff\xff\xff\xffWAVEds64");
        bytes.extend(28_u32.to_le_bytes());
        bytes.extend((data_bytes + 72).to_le_bytes());
        bytes.extend(data_bytes.to_le_bytes());
        bytes.extend(frames.to_le_bytes());
        bytes.extend(0_u32.to_le_bytes());
    } else {
        bytes.extend(b"RIFF");
        bytes.extend((data_bytes as u32 + 36).to_le_bytes());
        bytes.extend(b"WAVE");
    }
    let frame_bytes = format.channels * 2;
    bytes.extend(b"fmt \x10\0\0\0\x01\0");
    bytes.extend(format.channels.to_le_bytes());
    bytes.extend(format.rate_hz.to_le_bytes());
    bytes.extend((format.rate_hz * u32::from(frame_bytes)).to_le_bytes());
    bytes.extend(frame_bytes.to_le_bytes());
    bytes.extend(b"\x10\0data");
    let size = if is_rf64 { u32::MAX } else { data_bytes as u32 };
    bytes.extend(size.to_le_bytes());
    bytes
}

/// A whole WAV file in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wav {
    /// Channels and rate.
    pub format: WavFormat,
    /// Interleaved samples.
    pub samples: Vec<i16>,
}

impl Wav {
    /// Reads a short file of 16-bit integers whole: prompts, test material.
    ///
    /// # Errors
    /// [`WavError`] if it is not one.
    pub fn read(from: impl Read) -> Result<Self, WavError> {
        let reader = hound::WavReader::new(from)?;
        let spec = reader.spec();
        if spec.bits_per_sample != 16 || spec.sample_format != hound::SampleFormat::Int {
            return Err(WavError::SampleFormat { bits: spec.bits_per_sample });
        }
        let samples = reader.into_samples::<i16>().collect::<Result<_, _>>()?;
        let format = WavFormat { channels: spec.channels, rate_hz: spec.sample_rate };
        Ok(Self { format, samples })
    }

    /// The samples of one channel, counted from 0; empty if there is no such channel.
    pub fn channel(&self, channel: u16) -> Vec<i16> {
        if channel >= self.format.channels {
            return Vec::new();
        }
        let step = usize::from(self.format.channels);
        self.samples.iter().skip(channel.into()).step_by(step).copied().collect()
    }

    /// Writes the file.
    ///
    /// # Errors
    /// What `out` reports.
    pub fn write(&self, out: impl Write) -> io::Result<()> {
        let frames = self.samples.len() / usize::from(self.format.channels.max(1));
        let mut writer = WavWriter::new(out, self.format, frames as u64)?;
        writer.write(&self.samples[..frames * usize::from(self.format.channels)])?;
        writer.finish().map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEREO: WavFormat = WavFormat { channels: 2, rate_hz: 8000 };

    #[test]
    fn what_is_written_is_read_by_an_independent_reader() {
        let samples: Vec<i16> = (0..20_000).map(|n| (n * 7 - 30_000) as i16).collect();
        let wav = Wav { format: STEREO, samples };
        let mut bytes = Vec::new();
        wav.write(&mut bytes).unwrap();
        assert_eq!(bytes.len(), 44 + 40_000);
        let back = Wav::read(bytes.as_slice()).unwrap();
        assert_eq!(back, wav);
        assert_eq!(back.channel(1)[1], wav.samples[3]);
        assert!(back.channel(2).is_empty());
    }

    #[test]
    fn a_short_file_is_filled_and_a_long_one_refused() {
        let mut bytes = Vec::new();
        let mut writer = WavWriter::new(&mut bytes, STEREO, 10).unwrap();
        writer.write(&[1; 4]).unwrap();
        assert!(writer.write(&[1; 17]).is_err());
        writer.finish().unwrap();
        assert_eq!(Wav::read(bytes.as_slice()).unwrap().samples.len(), 20);
    }

    #[test]
    fn past_4_gib_the_header_is_rf64() {
        let frames = u64::from(u32::MAX) / 4;
        let bytes = header(STEREO, frames, frames * 4);
        assert_eq!((&bytes[..4], bytes.len()), (&b"RF64"[..], 80));
        assert_eq!(bytes[28..36], (frames * 4).to_le_bytes());
        assert_eq!(&header(STEREO, 100, 400)[..4], b"RIFF");
        assert!(WavWriter::new(Vec::new(), STEREO, u64::MAX / 2).is_err());
    }
}
