//! Which codec a payload type means, and the decoder for it.
//!
//! Belongs here: payload type and SDP encoding name to decoder. Does not: where the samples go in
//! time (`timeline`), or digits (`dtmf`).

use crate::g711::Law;

/// Payload types there are: seven bits.
const PAYLOAD_TYPES: u8 = 128;

/// What a payload type carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Codec {
    /// G.711, both laws.
    G711(Law),
    /// RFC 3389 comfort noise: rendered as silence.
    ComfortNoise,
    /// RFC 4733 telephone events: rendered as silence.
    TelephoneEvent,
    /// Audio that cannot be decoded here: kept raw. Holds the encoding name.
    Undecodable(String),
}

impl Codec {
    /// Finds the codec of an SDP encoding name; names compare without case (RFC 4855 §3).
    pub fn named(encoding_name: &str) -> Self {
        let is = |name: &str| encoding_name.eq_ignore_ascii_case(name);
        if is("PCMA") {
            Self::G711(Law::A)
        } else if is("PCMU") {
            Self::G711(Law::Mu)
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
            Self::ComfortNoise => "CN",
            Self::TelephoneEvent => "telephone-event",
            Self::Undecodable(name) => name,
        }
    }

    /// Tells whether it is sound that can be decoded.
    pub fn is_decodable(&self) -> bool {
        matches!(self, Self::G711(_))
    }

    /// Tells whether this carries sound (comfort noise and digits do not).
    pub fn is_audio(&self) -> bool {
        matches!(self, Self::G711(_) | Self::Undecodable(_))
    }

    /// Decodes one payload, appending 8 kHz samples to `pcm`; adds nothing when there is no sound
    /// in it or no decoder for it.
    pub fn decode(&self, payload: &[u8], pcm: &mut Vec<i16>) {
        match self {
            Self::G711(law) => law.decode(payload, pcm),
            Self::ComfortNoise | Self::TelephoneEvent | Self::Undecodable(_) => {}
        }
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
    /// Binds a payload type to an `a=rtpmap` encoding name and clock rate.
    ///
    /// Later bindings replace earlier ones, as re-INVITEs do. A clock rate of 0 is ignored.
    pub fn bind(&mut self, payload_type: u8, encoding_name: &str, clock_rate_hz: u32) {
        if clock_rate_hz != 0
            && let Some(format) = self.formats.get_mut(usize::from(payload_type))
        {
            *format = PayloadFormat { codec: Codec::named(encoding_name), clock_rate_hz };
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
    PayloadFormat { codec: Codec::named(name), clock_rate_hz }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sdp_binds_before_the_static_table() {
        let mut map = PayloadMap::default();
        map.bind(97, "pcma", 8000);
        map.bind(96, "telephone-event", 8000);
        map.bind(101, "opus", 48_000);
        map.bind(8, "PCMU", 0); // Nonsense clock: ignored.
        for (payload_type, want, clock) in [
            (97, Codec::G711(Law::A), 8000),
            (96, Codec::TelephoneEvent, 8000),
            (101, Codec::Undecodable("opus".into()), 48_000),
            (8, Codec::G711(Law::A), 8000),
            (0, Codec::G711(Law::Mu), 8000),
            (13, Codec::ComfortNoise, 8000),
            (9, Codec::Undecodable("G722".into()), 8000),
            (120, Codec::Undecodable("unknown".into()), 8000),
        ] {
            let want = PayloadFormat { codec: want, clock_rate_hz: clock };
            assert_eq!(map.format(payload_type), &want, "{payload_type}");
        }
    }

    #[test]
    fn only_sound_becomes_samples() {
        let mut pcm = Vec::new();
        for codec in [Codec::ComfortNoise, Codec::TelephoneEvent, Codec::named("G729")] {
            codec.decode(&[1; 20], &mut pcm);
        }
        assert!(pcm.is_empty());
        Codec::G711(Law::A).decode(&[0xd5; 160], &mut pcm);
        assert_eq!(pcm.len(), 160);
    }
}
