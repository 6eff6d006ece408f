//! Makes samples of payloads: one decoder for each stream and payload type.
//!
//! Most codecs carry state from packet to packet, so a decoder is given the packets of one stream
//! in the order they were sent (`reorder`), and told of the lost ones if it can do something about
//! them. What cannot be read becomes no samples: the lane then conceals it as if it were lost.
//!
//! Belongs here: payload bytes to mono samples. Does not: which codec it is (`codec`), time.

use crate::codec::{Codec, PayloadFormat};
use crate::g711::Law;
#[cfg(feature = "g729-amr")]
use crate::optional_codecs::{Amr, G729};
use crate::opus_stream::OpusStream;
use crate::{g722, gsm};

/// An Opus packet of so few bytes says only that its sender is silent (RFC 6716 §2.1.9).
const MAX_SILENT_OPUS_BYTES: usize = 2;

/// Decodes the packets of one stream and payload type.
pub struct Decoder {
    rate_hz: u32,
    state: State,
}

enum State {
    G711(Law),
    G722(Box<g722::Decoder>),
    Gsm(Box<gsm::Decoder>),
    Opus(OpusStream),
    L16 {
        channels: u8,
    },
    #[cfg(feature = "g729-amr")]
    G729(G729),
    #[cfg(feature = "g729-amr")]
    Amr(Amr),
}

impl Decoder {
    /// Makes the decoder of a format; `None` for what is not sound or cannot be decoded.
    pub fn new(format: &PayloadFormat) -> Option<Self> {
        let rate_hz = format.sample_rate_hz()?;
        let state = match format.codec {
            Codec::G711(law) => State::G711(law),
            Codec::G722 => State::G722(Box::default()),
            Codec::Gsm => State::Gsm(Box::default()),
            Codec::Opus => State::Opus(OpusStream::new(rate_hz)?),
            Codec::L16 { channels } => State::L16 { channels },
            #[cfg(feature = "g729-amr")]
            Codec::G729 => State::G729(G729::new()?),
            #[cfg(feature = "g729-amr")]
            Codec::Amr | Codec::AmrWb => State::Amr(Amr::new(format.codec == Codec::AmrWb)?),
            _ => return None,
        };
        Some(Self { rate_hz, state })
    }

    /// As [`Decoder::new`], but a codec that can be decoded at several rates is at this one:
    /// Opus, whose rates are 8, 12, 16, 24 and 48 kHz.
    pub fn at_rate(format: &PayloadFormat, rate_hz: u32) -> Option<Self> {
        match format.codec {
            Codec::Opus => Some(Self { rate_hz, state: State::Opus(OpusStream::new(rate_hz)?) }),
            _ => Self::new(format),
        }
    }

    /// Samples a second of what it makes.
    pub fn rate_hz(&self) -> u32 {
        self.rate_hz
    }

    /// Tells whether packets must come in the order they were sent.
    pub fn needs_order(&self) -> bool {
        !matches!(self.state, State::G711(_) | State::L16 { .. })
    }

    /// Decodes the next payload, appending its samples to `pcm`.
    pub fn decode(&mut self, payload: &[u8], pcm: &mut Vec<i16>) {
        match &mut self.state {
            State::G711(law) => law.decode(payload, pcm),
            State::G722(decoder) => decoder.decode(payload, pcm),
            State::Gsm(decoder) => decoder.decode(payload, pcm),
            State::Opus(stream) => stream.decode(payload, pcm),
            State::L16 { channels } => decode_l16(*channels, payload, pcm),
            #[cfg(feature = "g729-amr")]
            State::G729(decoder) => decoder.decode(payload, pcm),
            #[cfg(feature = "g729-amr")]
            State::Amr(decoder) => decoder.decode(payload, pcm),
        }
    }

    /// Tells whether the sender falls silent after this payload: it ends with a silence descriptor
    /// (G.729 annex B, AMR), or is an Opus packet without sound. What was last decoded is then how
    /// loud its silence is.
    pub fn ends_in_silence(&self, payload: &[u8]) -> bool {
        match &self.state {
            State::Opus(_) => payload.len() <= MAX_SILENT_OPUS_BYTES,
            #[cfg(feature = "g729-amr")]
            State::G729(_) => G729::ends_in_silence(payload),
            #[cfg(feature = "g729-amr")]
            State::Amr(decoder) => decoder.ends_in_silence(payload),
            _ => false,
        }
    }

    /// Makes up for `lost_packets` packets just before `next`, each as long as `next`, if the
    /// codec can: their samples are appended to `pcm`, else nothing is.
    ///
    /// Opus does, from the forward error correction in `next` (RFC 6716 §4.2.5) where there is
    /// any, and up to 60 ms.
    pub fn recover(&mut self, lost_packets: u64, next: &[u8], pcm: &mut Vec<i16>) {
        if let State::Opus(stream) = &mut self.state {
            stream.recover(lost_packets, next, pcm);
        }
    }
}

/// RFC 3551 §4.5.11: big endian; the channels of a frame are averaged.
fn decode_l16(channels: u8, payload: &[u8], pcm: &mut Vec<i16>) {
    let (samples, _) = payload.as_chunks::<2>();
    let sample = |bytes: &[u8; 2]| i16::from_be_bytes(*bytes);
    if channels == 2 {
        let (frames, _) = samples.as_chunks::<2>();
        let mean = |[left, right]: &[[u8; 2]; 2]| {
            ((i32::from(sample(left)) + i32::from(sample(right))) / 2) as i16
        };
        pcm.extend(frames.iter().map(mean));
    } else {
        pcm.extend(samples.iter().map(sample));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoder(name: &str, clock_rate_hz: u32, channels: u8) -> Option<Decoder> {
        Decoder::new(&PayloadFormat { codec: Codec::named(name, channels), clock_rate_hz })
    }

    #[test]
    fn a_packet_of_20_ms_is_20_ms_of_samples() {
        for (name, clock, channels, payload, rate) in [
            ("PCMA", 8000, 1, &[0xd5; 160][..], 8000),
            ("G722", 8000, 1, &[0xfa; 160], 16_000),
            ("GSM", 8000, 1, &[0xd0; 33], 8000),
            ("L16", 8000, 1, &[1; 320], 8000),
            ("L16", 44_100, 2, &[1; 3528], 44_100),
            ("opus", 48_000, 2, &[0x08, 0xff, 0xfe], 48_000), // SILK, 20 ms
        ] {
            let mut decoder = decoder(name, clock, channels).unwrap();
            let mut pcm = Vec::new();
            decoder.decode(payload, &mut pcm);
            assert_eq!((decoder.rate_hz(), pcm.len()), (rate, rate as usize / 50), "{name}");
        }
    }

    #[test]
    fn l16_is_big_endian_and_stereo_is_averaged() {
        let mut pcm = Vec::new();
        decoder("L16", 8000, 1).unwrap().decode(&[0x12, 0x34, 0xff, 0xfe, 9], &mut pcm);
        decoder("L16", 8000, 2).unwrap().decode(&[0x7f, 0xff, 0x7f, 0xfd, 1, 2], &mut pcm);
        assert_eq!(pcm, [0x1234, -2, 0x7ffe]);
    }

    #[test]
    fn only_sound_has_a_decoder() {
        for name in ["CN", "telephone-event", "iLBC", "speex"] {
            assert!(decoder(name, 8000, 1).is_none(), "{name}");
        }
    }
}
