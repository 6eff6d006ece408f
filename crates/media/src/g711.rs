//! G.711 A-law and µ-law (RFC 3551 §4.5.14): one byte is one 16-bit mono sample at 8000 Hz.

use audio_codec_algorithms::{decode_alaw, decode_ulaw, encode_alaw, encode_ulaw};

/// Which of G.711's two companding laws.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Law {
    /// A-law, payload type 8, PCMA: China, Europe.
    A,
    /// µ-law, payload type 0, PCMU: North America, Japan.
    Mu,
}

impl Law {
    /// The static payload type (RFC 3551 §6).
    pub fn payload_type(self) -> u8 {
        match self {
            Self::A => 8,
            Self::Mu => 0,
        }
    }

    /// The encoding name of `a=rtpmap`.
    pub fn encoding_name(self) -> &'static str {
        match self {
            Self::A => "PCMA",
            Self::Mu => "PCMU",
        }
    }

    /// The byte whose sample is nearest to silence.
    pub fn silence(self) -> u8 {
        match self {
            Self::A => 0xd5,
            Self::Mu => 0xff,
        }
    }

    /// Decodes `payload`, appending one sample per byte to `pcm`: 160 bytes are 20 ms.
    pub fn decode(self, payload: &[u8], pcm: &mut Vec<i16>) {
        match self {
            Self::A => pcm.extend(payload.iter().map(|&byte| decode_alaw(byte))),
            Self::Mu => pcm.extend(payload.iter().map(|&byte| decode_ulaw(byte))),
        }
    }

    /// Encodes `pcm`, appending one byte per sample to `payload`.
    pub fn encode(self, pcm: &[i16], payload: &mut Vec<u8>) {
        match self {
            Self::A => payload.extend(pcm.iter().map(|&sample| encode_alaw(sample))),
            Self::Mu => payload.extend(pcm.iter().map(|&sample| encode_ulaw(sample))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_survives_decode_and_encode() {
        for law in [Law::A, Law::Mu] {
            let codes: Vec<u8> = (0..=255).collect();
            let (mut pcm, mut again) = (Vec::new(), Vec::new());
            law.decode(&codes, &mut pcm);
            law.encode(&pcm, &mut again);
            for (code, back) in codes.iter().zip(&again) {
                // µ-law has two zeros (0x7f and 0xff).
                let same = code == back || (law == Law::Mu && *code == 0x7f && *back == 0xff);
                assert!(same, "{law:?} {code:#x} came back as {back:#x}");
            }
        }
    }

    #[test]
    fn known_values_of_g711() {
        for (law, code, want) in [
            (Law::A, 0xd5, 8),
            (Law::A, 0x55, -8),
            (Law::A, 0xaa, 32256),
            (Law::A, 0x2a, -32256),
            (Law::Mu, 0xff, 0),
            (Law::Mu, 0x80, 32124),
            (Law::Mu, 0x00, -32124),
        ] {
            let mut pcm = Vec::new();
            law.decode(&[code], &mut pcm);
            assert_eq!(pcm, [want], "{law:?} {code:#x}");
        }
    }
}
