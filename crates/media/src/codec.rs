//! Which codec a payload type means.
//!
//! Belongs here: payload type and SDP encoding name to codec. Does not: making samples (`decoder`),
//! where they go in time (`timeline`), or digits (`dtmf`).

use crate::RATE_HZ;
use crate::comfort_noise::ComfortNoise;
use crate::g711::Law;

/// Payload types there are: seven bits.
const PAYLOAD_TYPES: u8 = 128;

/// The rates of L16 that are decoded (RFC 3551 §4.5.11).
const L16_RATES_HZ: [u32; 8] = [8000, 11_025, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000];

/// What a payload type carries.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Codec {
    /// G.711, both laws.
    G711(Law),
    /// G.722 at 64 kbit/s: 16 kHz, though its RTP clock says 8000.
    G722,
    /// GSM 06.10 full rate.
    Gsm,
    /// Opus (RFC 7587), mono or stereo; a lane is one person, so stereo becomes mono.
    Opus,
    /// 16-bit samples, big endian, of one or two channels; two become one.
    L16 {
        /// Interleaved channels.
        channels: u8,
    },
    /// G.729 and its annexes A and B: decoded if built with `g729-amr`, and kept raw always.
    G729,
    /// AMR (RFC 4867): decoded if built with `g729-amr`, and kept raw always.
    Amr,
    /// AMR-WB (RFC 4867): decoded if built with `g729-amr`, and kept raw always.
    AmrWb,
    /// RFC 3389 comfort noise: rendered as noise of the level it names.
    ComfortNoise,
    /// RFC 4733 telephone events: rendered as silence.
    TelephoneEvent,
    /// Audio that cannot be decoded here: kept raw. Holds the encoding name.
    ///
    /// iLBC is among them: there is no decoder of it under a licence that fits.
    Undecodable(String),
}

impl Codec {
    /// Finds the codec of an SDP encoding name; names compare without case (RFC 4855 §3).
    ///
    /// `channels` counts for L16 only; with more than two it cannot be decoded.
    pub fn named(encoding_name: &str, channels: u8) -> Self {
        let is = |name: &str| encoding_name.eq_ignore_ascii_case(name);
        if is("PCMA") {
            Self::G711(Law::A)
        } else if is("PCMU") {
            Self::G711(Law::Mu)
        } else if is("G722") {
            Self::G722
        } else if is("GSM") {
            Self::Gsm
        } else if is("opus") {
            Self::Opus
        } else if is("L16") && (1..=2).contains(&channels) {
            Self::L16 { channels }
        } else if is("G729") {
            Self::G729
        } else if is("AMR") {
            Self::Amr
        } else if is("AMR-WB") {
            Self::AmrWb
        } else if is("CN") {
            Self::ComfortNoise
        } else if is("telephone-event") {
            Self::TelephoneEvent
        } else {
            Self::Undecodable(encoding_name.chars().take(32).collect())
        }
    }

    /// The encoding name, as SDP spells it.
    pub fn encoding_name(&self) -> &str {
        match self {
            Self::G711(law) => law.encoding_name(),
            Self::G722 => "G722",
            Self::Gsm => "GSM",
            Self::Opus => "opus",
            Self::L16 { .. } => "L16",
            Self::G729 => "G729",
            Self::Amr => "AMR",
            Self::AmrWb => "AMR-WB",
            Self::ComfortNoise => "CN",
            Self::TelephoneEvent => "telephone-event",
            Self::Undecodable(name) => name,
        }
    }

    /// Tells whether this carries sound (comfort noise and digits do not).
    pub fn is_audio(&self) -> bool {
        !matches!(self, Self::ComfortNoise | Self::TelephoneEvent)
    }

    /// What a comfort noise payload says (RFC 3389 §3); `None` for other codecs and for a payload
    /// that says nothing.
    pub fn comfort_noise(&self, payload: &[u8]) -> Option<ComfortNoise> {
        match self {
            Self::ComfortNoise => ComfortNoise::parse(payload),
            _ => None,
        }
    }

    /// Tells whether the packets are to be kept even though they are decoded: the decoders of
    /// these codecs are not proven enough to be the only copy.
    pub fn is_kept_raw(&self) -> bool {
        matches!(self, Self::G729 | Self::Amr | Self::AmrWb)
    }
}

/// A codec and its RTP clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PayloadFormat {
    /// What is carried.
    pub codec: Codec,
    /// Ticks a second of the RTP timestamp; not always the sample rate (G.722 says 8000).
    pub clock_rate_hz: u32,
}

impl PayloadFormat {
    /// Samples a second of what is decoded; `None` for what is not sound or cannot be decoded.
    pub fn sample_rate_hz(&self) -> Option<u32> {
        let has_optional = cfg!(feature = "g729-amr");
        match self.codec {
            Codec::G711(_) | Codec::Gsm => Some(RATE_HZ),
            Codec::G722 => Some(16_000),
            Codec::Opus => Some(48_000),
            Codec::L16 { .. } => {
                Some(self.clock_rate_hz).filter(|rate| L16_RATES_HZ.contains(rate))
            }
            Codec::G729 | Codec::Amr => Some(RATE_HZ).filter(|_| has_optional),
            Codec::AmrWb => Some(16_000).filter(|_| has_optional),
            Codec::ComfortNoise | Codec::TelephoneEvent | Codec::Undecodable(_) => None,
        }
    }
}

/// The payload types of one direction of one leg, as SDP bound them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PayloadMap {
    /// By payload type: what SDP said, or else the static table.
    formats: Vec<PayloadFormat>,
}

impl Default for PayloadMap {
    fn default() -> Self {
        Self { formats: (0..PAYLOAD_TYPES).map(static_format).collect() }
    }
}

impl PayloadMap {
    /// Binds a payload type to the encoding name, clock rate and channels of an `a=rtpmap`.
    ///
    /// Later bindings replace earlier ones, as re-INVITEs do. A clock rate of 0 is ignored.
    pub fn bind(
        &mut self,
        payload_type: u8,
        encoding_name: &str,
        clock_rate_hz: u32,
        channels: u8,
    ) {
        if clock_rate_hz != 0
            && let Some(format) = self.formats.get_mut(usize::from(payload_type))
        {
            *format = PayloadFormat { codec: Codec::named(encoding_name, channels), clock_rate_hz };
        }
    }

    /// Finds what a payload type means; only its low seven bits count.
    pub fn format(&self, payload_type: u8) -> &PayloadFormat {
        &self.formats[usize::from(payload_type % PAYLOAD_TYPES)]
    }
}

/// The static payload types of audio (RFC 3551 §6).
///
/// 101 is what nearly every phone uses for digits: taken as such when SDP was never seen.
fn static_format(payload_type: u8) -> PayloadFormat {
    let (name, clock_rate_hz) = match payload_type {
        0 => ("PCMU", 8000),
        3 => ("GSM", 8000),
        4 => ("G723", 8000),
        5 => ("DVI4", 8000),
        6 => ("DVI4", 16_000),
        7 => ("LPC", 8000),
        8 => ("PCMA", 8000),
        9 => ("G722", 8000),
        10 | 11 => ("L16", 44_100),
        12 => ("QCELP", 8000),
        13 | 19 => ("CN", 8000),
        14 => ("MPA", 90_000),
        15 => ("G728", 8000),
        16 => ("DVI4", 11_025),
        17 => ("DVI4", 22_050),
        18 => ("G729", 8000),
        101 => ("telephone-event", 8000),
        _ => ("unknown", 8000),
    };
    let channels = if payload_type == 10 { 2 } else { 1 };
    PayloadFormat { codec: Codec::named(name, channels), clock_rate_hz }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sdp_binds_before_the_static_table() {
        let mut map = PayloadMap::default();
        map.bind(97, "pcma", 8000, 1);
        map.bind(96, "telephone-event", 8000, 1);
        map.bind(101, "opus", 48_000, 2);
        map.bind(8, "PCMU", 0, 1); // Nonsense clock: ignored.
        map.bind(98, "iLBC", 8000, 1);
        map.bind(99, "L16", 16_000, 6);
        for (payload_type, want, clock, rate) in [
            (97, Codec::G711(Law::A), 8000, Some(8000)),
            (96, Codec::TelephoneEvent, 8000, None),
            (101, Codec::Opus, 48_000, Some(48_000)),
            (8, Codec::G711(Law::A), 8000, Some(8000)),
            (0, Codec::G711(Law::Mu), 8000, Some(8000)),
            (3, Codec::Gsm, 8000, Some(8000)),
            (9, Codec::G722, 8000, Some(16_000)),
            (10, Codec::L16 { channels: 2 }, 44_100, Some(44_100)),
            (11, Codec::L16 { channels: 1 }, 44_100, Some(44_100)),
            (13, Codec::ComfortNoise, 8000, None),
            (98, Codec::Undecodable("iLBC".into()), 8000, None),
            (99, Codec::Undecodable("L16".into()), 16_000, None),
            (120, Codec::Undecodable("unknown".into()), 8000, None),
        ] {
            let want = PayloadFormat { codec: want, clock_rate_hz: clock };
            assert_eq!(map.format(payload_type), &want, "{payload_type}");
            assert_eq!(want.sample_rate_hz(), rate, "{payload_type}");
        }
        map.bind(99, "L16", 12_345, 1);
        assert_eq!(map.format(99).sample_rate_hz(), None);
    }
}
