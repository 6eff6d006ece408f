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
        Ok(Self { out, left_samples, bytes: vec![0; 2 * CHUNK_SAMPLES] })
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
            let bytes = &mut self.bytes[..2 * chunk.len()];
            for (bytes, sample) in bytes.as_chunks_mut::<2>().0.iter_mut().zip(chunk) {
                *bytes = sample.to_le_bytes();
            }
            self.out.write_all(bytes)?;
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

/// Reads a WAV file of 16-bit integers, RIFF or RF64, a part at a time.
#[derive(Debug)]
pub struct WavReader<R> {
    from: R,
    format: WavFormat,
    left_frames: u64,
}

impl<R: Read> WavReader<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// What `from` reports, or `InvalidData` if it is no such file.
    pub fn new(mut from: R) -> io::Result<Self> {
        let invalid = |what| io::Error::new(io::ErrorKind::InvalidData, what);
        let mut riff = [0; 12];
        from.read_exact(&mut riff)?;
        let is_wave = matches!(&riff[..4], b"RIFF" | b"RF64") && &riff[8..] == b"WAVE";
        if !is_wave {
            return Err(invalid("not a WAV file"));
        }
        let (mut format, mut long_data_bytes) = (None, None);
        // A file has a handful of chunks before its data.
        for _ in 0..64 {
            let mut head = [0; 8];
            from.read_exact(&mut head)?;
            let bytes = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
            let mut body = Vec::new();
            if &head[..4] == b"data" {
                let Some(format) = format else { return Err(invalid("no format before the data")) };
                let WavFormat { channels, .. } = format;
                let data_bytes = match long_data_bytes {
                    Some(long) if bytes == u32::MAX => long,
                    _ => u64::from(bytes),
                };
                let left_frames = data_bytes / (2 * u64::from(channels));
                return Ok(Self { from, format, left_frames });
            }
            let padded = u64::from(bytes) + u64::from(bytes % 2);
            io::copy(&mut from.by_ref().take(padded.min(64)), &mut body)?;
            io::copy(&mut from.by_ref().take(padded.saturating_sub(64)), &mut io::sink())?;
            let short =
                |at: usize| body.get(at..at + 2).map(|two| u16::from_le_bytes([two[0], two[1]]));
            if &head[..4] == b"fmt " {
                let (Some(tag), Some(channels), Some(low), Some(high), Some(bits)) =
                    (short(0), short(2), short(4), short(6), short(14))
                else {
                    return Err(invalid("the format is too short"));
                };
                if tag != 1 || bits != 16 || channels == 0 {
                    return Err(invalid("not 16-bit PCM"));
                }
                let rate_hz = u32::from(high) << 16 | u32::from(low);
                format = Some(WavFormat { channels, rate_hz });
            } else if &head[..4] == b"ds64" {
                let size = body.get(8..16).and_then(|size| size.first_chunk());
                long_data_bytes = size.map(|size| u64::from_le_bytes(*size));
            }
        }
        Err(invalid("no data among the first chunks"))
    }

    /// Channels and rate.
    pub fn format(&self) -> WavFormat {
        self.format
    }

    /// Frames not read yet.
    pub fn left_frames(&self) -> u64 {
        self.left_frames
    }

    /// Appends the interleaved samples of the next frames to `out`; false at the end.
    ///
    /// # Errors
    /// What the reader reports; `UnexpectedEof` if the file is shorter than its header says.
    pub fn read(&mut self, out: &mut Vec<i16>) -> io::Result<bool> {
        let channels = u64::from(self.format.channels);
        let frames = self.left_frames.min((CHUNK_SAMPLES as u64 / channels).max(1));
        let mut bytes = vec![0; (frames * channels * 2) as usize];
        self.from.read_exact(&mut bytes)?;
        let (samples, _) = bytes.as_chunks::<2>();
        out.extend(samples.iter().map(|two| i16::from_le_bytes(*two)));
        self.left_frames -= frames;
        Ok(frames > 0)
    }
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

    #[test]
    fn a_long_file_is_read_in_parts() {
        let samples: Vec<i16> = (0..20_002).map(|n| (n * 7 - 30_000) as i16).collect();
        let mut bytes = Vec::new();
        Wav { format: STEREO, samples: samples.clone() }.write(&mut bytes).unwrap();
        let mut reader = WavReader::new(bytes.as_slice()).unwrap();
        assert_eq!((reader.format(), reader.left_frames()), (STEREO, 10_001));
        let mut back = Vec::new();
        while reader.read(&mut back).unwrap() {}
        assert_eq!(back, samples);
        // RF64 says its length elsewhere.
        let frames = u64::from(u32::MAX) / 4 + 5;
        let long = header(STEREO, frames, frames * 4);
        assert_eq!(WavReader::new(long.as_slice()).unwrap().left_frames(), frames);
        let mut torn = WavReader::new(&bytes[..bytes.len() - 1]).unwrap();
        let end = loop {
            match torn.read(&mut back) {
                Ok(true) => {}
                end => break end,
            }
        };
        assert!(end.is_err());
        (0..44).for_each(|cut| assert!(WavReader::new(&bytes[..cut]).is_err(), "{cut}"));
    }
}
