//! G.729 with its annexes A and B, and AMR (RFC 3551 §4.5.6, RFC 4867), by an optional library.

use codec_core::codecs::amr::{
    AmrCodec, AmrFrameType, AmrPacket, AmrPayloadCodec, AmrPayloadConfig, AmrVariant,
};
use codec_core::codecs::g729::G729Codec;
use codec_core::types::{AudioCodec, CodecConfig, CodedFrame, VariableRateCodec};

/// Bytes of a G.729 frame of speech (10 ms).
const G729_SPEECH_BYTES: usize = 10;

/// Bytes of a G.729 silence descriptor (annex B).
const G729_SID_BYTES: usize = 2;

/// One stream of G.729.
pub(crate) struct G729(Box<G729Codec>);

impl G729 {
    pub(crate) fn new() -> Option<Self> {
        G729Codec::new(CodecConfig::g729ba()).ok().map(|codec| Self(Box::new(codec)))
    }

    /// Tells whether the last frame is a silence descriptor.
    pub(crate) fn ends_in_silence(payload: &[u8]) -> bool {
        payload.len() % G729_SPEECH_BYTES == G729_SID_BYTES
    }

    /// Decodes frames of speech and the silence descriptor that may end the payload.
    pub(crate) fn decode(&mut self, payload: &[u8], pcm: &mut Vec<i16>) {
        for frame in payload.chunks(G729_SPEECH_BYTES) {
            if matches!(frame.len(), G729_SPEECH_BYTES | G729_SID_BYTES)
                && let Ok(samples) = self.0.decode(frame)
            {
                pcm.extend(samples);
            }
        }
    }
}

/// One stream of AMR or AMR-WB.
pub(crate) struct Amr {
    codec: Box<AmrCodec>,
    octet_aligned: AmrPayloadCodec,
    bandwidth_efficient: AmrPayloadCodec,
    mode: u8,
}

impl Amr {
    pub(crate) fn new(is_wideband: bool) -> Option<Self> {
        let (variant, config) = if is_wideband {
            (AmrVariant::WideBand, CodecConfig::amr_wb())
        } else {
            (AmrVariant::NarrowBand, CodecConfig::amr_nb())
        };
        let payloads = |config| AmrPayloadCodec::new(config).ok();
        Some(Self {
            codec: Box::new(AmrCodec::new(&config).ok()?),
            octet_aligned: payloads(AmrPayloadConfig::octet_aligned(variant))?,
            bandwidth_efficient: payloads(AmrPayloadConfig::bandwidth_efficient(variant))?,
            mode: 0,
        })
    }

    /// Decodes a payload of either form; one that fits neither gives nothing.
    ///
    /// Which form it is, SDP says by a parameter that is not always kept; the payload tells as
    /// well: the octet-aligned form has four zero bits first, and lengths that fit its contents.
    pub(crate) fn decode(&mut self, payload: &[u8], pcm: &mut Vec<i16>) {
        let Some(packet) = self.unpack(payload) else { return };
        for frame in packet.frames {
            let coded = match frame.frame_type {
                AmrFrameType::Speech(mode) => {
                    self.mode = mode.index();
                    CodedFrame::speech(mode.index(), frame.data)
                }
                AmrFrameType::Sid(_) => CodedFrame::comfort_noise(frame.data),
                AmrFrameType::NoData => CodedFrame::no_data(),
                AmrFrameType::SpeechLost => CodedFrame { mode: self.mode, ..CodedFrame::lost() },
            };
            let coded = if frame.quality_ok { coded } else { coded.with_bad_quality() };
            if let Ok(samples) = self.codec.decode_frame(&coded) {
                pcm.extend(samples);
            }
        }
    }

    /// Tells whether the last frame is a silence descriptor.
    pub(crate) fn ends_in_silence(&self, payload: &[u8]) -> bool {
        let packet = self.unpack(payload);
        let last = packet.as_ref().and_then(|packet| packet.frames.last());
        last.is_some_and(|frame| matches!(frame.frame_type, AmrFrameType::Sid(_)))
    }

    fn unpack(&self, payload: &[u8]) -> Option<AmrPacket> {
        let aligned = (payload.first()? & 0x0f == 0)
            .then(|| self.octet_aligned.unpack(payload).ok())
            .flatten();
        aligned.or_else(|| self.bandwidth_efficient.unpack(payload).ok())
    }
}

#[cfg(test)]
mod tests {
    use codec_core::codecs::amr::AmrPayloadFrame;

    use super::*;

    fn tone(hz: f64, rate: f64, samples: usize) -> Vec<i16> {
        let at = |n: usize| n as f64 * hz * std::f64::consts::TAU / rate;
        (0..samples).map(|n| (8000.0 * at(n).sin()) as i16).collect()
    }

    fn level(pcm: &[i16], hz: f64, rate: f64) -> f64 {
        let (mut re, mut im) = (0.0, 0.0);
        for (n, &sample) in pcm.iter().enumerate() {
            let angle = n as f64 * hz * std::f64::consts::TAU / rate;
            re += f64::from(sample) * angle.cos();
            im += f64::from(sample) * angle.sin();
        }
        2.0 * f64::hypot(re, im) / pcm.len() as f64
    }

    #[test]
    fn g729_comes_back_and_its_silence_descriptor_is_10_ms() {
        let mut encoder = G729Codec::new(CodecConfig::g729a()).unwrap();
        let mut decoder = G729::new().unwrap();
        let mut pcm = Vec::new();
        for packet in tone(440.0, 8000.0, 16_000).chunks(160) {
            let mut payload = Vec::new();
            packet.chunks(80).for_each(|frame| payload.extend(encoder.encode(frame).unwrap()));
            decoder.decode(&payload, &mut pcm);
        }
        assert_eq!(pcm.len(), 16_000);
        assert!(level(&pcm[4000..12_000], 440.0, 8000.0) > 5000.0);
        let before = pcm.len();
        decoder.decode(&[1; 12], &mut pcm);
        decoder.decode(&[1; 7], &mut pcm);
        assert_eq!(pcm.len(), before + 160);
    }

    #[test]
    fn amr_comes_back_from_either_form() {
        for (is_wideband, rate, samples) in [(false, 8000.0, 160), (true, 16_000.0, 320)] {
            for is_aligned in [false, true] {
                let config =
                    if is_wideband { CodecConfig::amr_wb() } else { CodecConfig::amr_nb() };
                let mut encoder = AmrCodec::new(&config).unwrap();
                let mut decoder = Amr::new(is_wideband).unwrap();
                let mut pcm = Vec::new();
                for frame in tone(440.0, rate, 100 * samples).chunks(samples) {
                    let coded = encoder.encode_frame(frame).unwrap();
                    let variant =
                        if is_wideband { AmrVariant::WideBand } else { AmrVariant::NarrowBand };
                    let mode = codec_core::codecs::amr::AmrMode::new(variant, coded.mode).unwrap();
                    let frame = AmrPayloadFrame::new(AmrFrameType::Speech(mode), true, coded.data);
                    let packet = AmrPacket::single(frame.unwrap());
                    let form = if is_aligned {
                        &decoder.octet_aligned
                    } else {
                        &decoder.bandwidth_efficient
                    };
                    let payload = form.pack(&packet).unwrap();
                    decoder.decode(&payload, &mut pcm);
                }
                assert_eq!(pcm.len(), 100 * samples, "{is_wideband} {is_aligned}");
                let got = level(&pcm[20 * samples..], 440.0, rate);
                assert!(got > 5000.0, "{is_wideband} {is_aligned}: {got}");
            }
        }
    }
}
