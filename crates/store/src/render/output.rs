//! The audio file in either container.

use std::io::{self, Write};

use cheling_media::RATE_HZ;
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
        settings: &RenderSettings,
        frames: u64,
        tags: &[(&str, &str)],
    ) -> io::Result<Self> {
        Ok(match settings.container {
            Container::Wav => {
                let format = WavFormat { channels: 2, rate_hz: RATE_HZ };
                Self::Wav(WavWriter::new(out, format, frames)?)
            }
            Container::OggOpus => {
                let writer = OggOpusWriter::new(out, settings.opus, 1, tags)?;
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
