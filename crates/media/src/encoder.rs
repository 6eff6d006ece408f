//! Makes payloads of samples: one encoder for each stream that we send ourselves.
//!
//! Belongs here: mono samples at [`RATE_HZ`] to payload bytes, 20 ms at a time. Does not: packets
//! and their numbers (`mixer`), whom they are for.

use opus::{Application, Bitrate, Channels, Signal};

use crate::codec::{Codec, PayloadFormat};
use crate::g711::Law;
use crate::g722;
use crate::half_band::Halver;

/// Samples a second of what is encoded here: as wide as a telephone gets.
pub const RATE_HZ: u32 = 16_000;
/// Samples of one packet: 20 ms.
pub const FRAME_SAMPLES: usize = 320;

/// What a second of Opus speech may take, in bits: wideband speech, transparent to most ears.
const OPUS_BITS: i32 = 32_000;
/// The longest Opus packet we make, in bytes.
const OPUS_BYTES: usize = 400;
/// libopus' effort, 0 to 10: a quarter of the CPU of the highest for speech that sounds the same.
const OPUS_COMPLEXITY: i32 = 5;

/// Encodes one stream.
pub struct Encoder {
    state: State,
    ticks: u32,
    narrow: Vec<i16>,
}

enum State {
    G711(Law, Halver),
    G722(Box<g722::Encoder>),
    Opus(opus::Encoder),
    L16 { halver: Option<Halver> },
}

impl Encoder {
    /// Makes the encoder of a format; `None` for what we cannot send: what is not sound, what is
    /// encoded nowhere in this crate, and L16 of more than one channel or of other rates than 8000
    /// and 16 000 Hz.
    pub fn new(format: &PayloadFormat) -> Option<Self> {
        let state = match (&format.codec, format.clock_rate_hz) {
            (Codec::G711(law), 8000) => State::G711(*law, Halver::default()),
            (Codec::G722, _) => State::G722(Box::default()),
            (Codec::Opus, _) => {
                let mut encoder =
                    opus::Encoder::new(RATE_HZ, Channels::Mono, Application::Voip).ok()?;
                encoder.set_bitrate(Bitrate::Bits(OPUS_BITS)).ok()?;
                encoder.set_signal(Signal::Voice).ok()?;
                encoder.set_complexity(OPUS_COMPLEXITY).ok()?;
                encoder.set_inband_fec(true).ok()?;
                State::Opus(encoder)
            }
            (Codec::L16 { channels: 1 }, 8000) => State::L16 { halver: Some(Halver::default()) },
            (Codec::L16 { channels: 1 }, RATE_HZ) => State::L16 { halver: None },
            _ => return None,
        };
        Some(Self { state, ticks: format.clock_rate_hz / 50, narrow: Vec::new() })
    }

    /// Whether such an encoder can be made.
    pub fn can_encode(format: &PayloadFormat) -> bool {
        match format.codec {
            Codec::G711(_) => format.clock_rate_hz == 8000,
            Codec::G722 | Codec::Opus => true,
            Codec::L16 { channels } => {
                channels == 1 && [8000, RATE_HZ].contains(&format.clock_rate_hz)
            }
            _ => false,
        }
    }

    /// How far the RTP timestamp moves with each frame.
    pub fn ticks(&self) -> u32 {
        self.ticks
    }

    /// Encodes one frame, appending its payload; nothing if it has another length than
    /// [`FRAME_SAMPLES`].
    pub fn encode(&mut self, frame: &[i16], payload: &mut Vec<u8>) {
        if frame.len() != FRAME_SAMPLES {
            return;
        }
        self.narrow.clear();
        match &mut self.state {
            State::G711(law, halver) => {
                halver.push(frame, &mut self.narrow);
                law.encode(&self.narrow, payload);
            }
            State::G722(encoder) => encoder.encode(frame, payload),
            State::Opus(encoder) => {
                let start = payload.len();
                payload.resize(start + OPUS_BYTES, 0);
                let len = encoder.encode(frame, &mut payload[start..]).unwrap_or(0);
                payload.truncate(start + len);
            }
            State::L16 { halver } => {
                let samples = match halver {
                    Some(halver) => {
                        halver.push(frame, &mut self.narrow);
                        &self.narrow
                    }
                    None => frame,
                };
                payload.extend(samples.iter().flat_map(|sample| sample.to_be_bytes()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decoder::Decoder;

    fn format(name: &str, clock_rate_hz: u32) -> PayloadFormat {
        PayloadFormat { codec: Codec::named(name, 1), clock_rate_hz }
    }

    #[test]
    fn what_is_encoded_is_decoded_to_as_much_sound() {
        let frame: Vec<i16> = (0..FRAME_SAMPLES)
            .map(|n| (8000.0 * (n as f64 * std::f64::consts::TAU / 40.0).sin()) as i16)
            .collect();
        for (name, clock, ticks) in [
            ("PCMA", 8000, 160),
            ("PCMU", 8000, 160),
            ("G722", 8000, 160),
            ("opus", 48_000, 960),
            ("L16", 8000, 160),
            ("L16", 16_000, 320),
        ] {
            let format = format(name, clock);
            assert!(Encoder::can_encode(&format), "{name}");
            let mut encoder = Encoder::new(&format).unwrap();
            let mut decoder = Decoder::new(&format).unwrap();
            assert_eq!(encoder.ticks(), ticks, "{name}");
            let mut pcm = Vec::new();
            for _ in 0..50 {
                let mut payload = Vec::new();
                encoder.encode(&frame, &mut payload);
                decoder.decode(&payload, &mut pcm);
            }
            assert_eq!(pcm.len(), decoder.rate_hz() as usize, "{name}");
            let loudest = pcm[pcm.len() / 2..].iter().map(|s| s.unsigned_abs()).max().unwrap();
            assert!((7000..9000).contains(&loudest), "{name} {loudest}");
        }
    }

    #[test]
    fn what_cannot_be_sent_has_no_encoder() {
        for (name, clock) in [
            ("G729", 8000),
            ("GSM", 8000),
            ("CN", 8000),
            ("telephone-event", 8000),
            ("L16", 44_100),
        ] {
            let format = format(name, clock);
            assert!(Encoder::new(&format).is_none() && !Encoder::can_encode(&format), "{name}");
        }
        let mut payload = Vec::new();
        Encoder::new(&format("PCMA", 8000)).unwrap().encode(&[0; 160], &mut payload);
        assert!(payload.is_empty());
    }
}
