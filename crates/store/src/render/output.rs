//! The audio file in either container.

use std::io::{self, Write};

use cheling_media::ogg_opus::OggOpusWriter;
use cheling_media::wav::{WavFormat, WavWriter};
use cheling_model::recording::Container;

use super::RenderSettings;

/// Writes stereo samples as the settings say.
pub enum Output<W: Write> {
    /// 16-bit PCM.
    Wav(WavWriter<W>),
    /// Encoded; boxed, for the encoder's buffers are large.
    OggOpus(Box<OggOpusWriter<W>>),
}

impl<W: Write> Output<W> {
    /// Begins a file of `frames` samples per lane.
    pub fn new(
        out: W,
        rate_hz: u32,
        settings: &RenderSettings,
        frames: u64,
        tags: &[(&str, &str)],
    ) -> io::Result<Self> {
        Ok(match settings.container {
            Container::Wav => {
                let format = WavFormat { channels: 2, rate_hz };
                Self::Wav(WavWriter::new(out, format, frames)?)
            }
            Container::OggOpus => {
                let writer = OggOpusWriter::new(out, rate_hz, settings.opus, 1, tags)?;
                Self::OggOpus(Box::new(writer))
            }
        })
    }

    /// Writes interleaved samples.
    pub fn write(&mut self, samples: &[i16]) -> io::Result<()> {
        match self {
            Self::Wav(wav) => wav.write(samples),
            Self::OggOpus(opus) => opus.write(samples),
        }
    }

    /// Ends the file.
    pub fn finish(self) -> io::Result<W> {
        match self {
            Self::Wav(wav) => wav.finish(),
            Self::OggOpus(opus) => opus.finish(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk that has room for so many bytes.
    struct Full(usize);

    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = bytes.len().min(self.0);
            self.0 -= taken;
            if taken == 0 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(taken) }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_full_disk_is_an_error_at_whatever_byte() {
        let samples: Vec<i16> = (0..4000).map(|n| (n * 37 % 9000) as i16).collect();
        for container in [Container::Wav, Container::OggOpus] {
            let settings = RenderSettings { container, ..RenderSettings::default() };
            let write = |out: Full| -> io::Result<Full> {
                let mut output = Output::new(out, 8000, &settings, 2000, &[])?;
                output.write(&samples)?;
                output.finish()
            };
            let room = 1 << 20;
            let needed = room - write(Full(room)).unwrap_or(Full(0)).0;
            assert!(write(Full(needed)).is_ok(), "{container:?}");
            for short in [1, 2, needed / 2, needed - 1, needed] {
                let err = write(Full(needed - short)).err().map(|err| err.kind());
                assert_eq!(err, Some(io::ErrorKind::StorageFull), "{container:?} {short}");
            }
        }
    }
}
