//! The Opus packets of one RTP stream (RFC 7587): decoded to mono, with lost ones made up for.

use opus::{Channels, packet};

/// The longest packet: 120 ms (RFC 6716 §3.2.5).
const MAX_PACKET_MS: usize = 120;

/// The longest loss that is made up for; longer ones are silence (60 ms).
const MAX_RECOVERED_MS: u64 = 60;

/// One stream being decoded.
pub(crate) struct OpusStream {
    decoder: opus::Decoder,
    rate_hz: u32,
    has_begun: bool,
}

impl OpusStream {
    /// Makes a decoder; `None` only if there is no memory for one.
    pub(crate) fn new(rate_hz: u32) -> Option<Self> {
        let decoder = opus::Decoder::new(rate_hz, Channels::Mono).ok()?;
        Some(Self { decoder, rate_hz, has_begun: false })
    }

    /// Decodes a packet; one that is malformed gives nothing.
    pub(crate) fn decode(&mut self, payload: &[u8], pcm: &mut Vec<i16>) {
        // An empty payload would be taken for a lost packet.
        if !payload.is_empty() {
            let longest = self.rate_hz as usize * MAX_PACKET_MS / 1000;
            self.append(payload, longest, false, pcm);
        }
    }

    /// Makes up for lost packets: the last from what `next` says of it, those before from the past.
    pub(crate) fn recover(&mut self, lost_packets: u64, next: &[u8], pcm: &mut Vec<i16>) {
        let Ok(samples) = packet::get_nb_samples(next, self.rate_hz) else { return };
        let longest = u64::from(self.rate_hz) * MAX_RECOVERED_MS / 1000;
        let is_short = lost_packets.saturating_mul(samples as u64) <= longest;
        if !self.has_begun || lost_packets == 0 || samples == 0 || !is_short {
            return;
        }
        for _ in 1..lost_packets {
            self.append(&[], samples, false, pcm);
        }
        self.append(next, samples, true, pcm);
    }

    fn append(&mut self, payload: &[u8], samples: usize, has_fec: bool, pcm: &mut Vec<i16>) {
        let start = pcm.len();
        pcm.resize(start + samples, 0);
        let decoded = self.decoder.decode(payload, &mut pcm[start..], has_fec).unwrap_or(0);
        pcm.truncate(start + decoded);
        self.has_begun |= decoded > 0;
    }
}

#[cfg(test)]
mod tests {
    use std::f64::consts::TAU;

    use opus::{Application, Bandwidth, Bitrate, Encoder, Signal};

    use super::*;

    fn packets(channels: Channels, fec: bool, seconds: usize) -> Vec<Vec<u8>> {
        let mut encoder = Encoder::new(48_000, channels, Application::Voip).unwrap();
        encoder.set_bitrate(Bitrate::Bits(24_000)).unwrap();
        encoder.set_signal(Signal::Voice).unwrap();
        encoder.set_max_bandwidth(Bandwidth::Wideband).unwrap();
        encoder.set_inband_fec(fec).unwrap();
        encoder.set_packet_loss_perc(20).unwrap();
        let lanes = channels as usize;
        (0..seconds * 50)
            .map(|packet| {
                let pcm: Vec<i16> = (0..960 * lanes)
                    .map(|n| {
                        let at = (packet * 960 + n / lanes) as f64 * TAU / 48_000.0;
                        let hz = if packet < 60 { 440.0 } else { 1000.0 };
                        (6000.0 * (at * hz).sin()) as i16
                    })
                    .collect();
                encoder.encode_vec(&pcm, 1275).unwrap()
            })
            .collect()
    }

    fn amplitude(pcm: &[i16], hz: f64) -> f64 {
        let (mut re, mut im) = (0.0, 0.0);
        for (n, &sample) in pcm.iter().enumerate() {
            let angle = n as f64 * hz * TAU / 48_000.0;
            re += f64::from(sample) * angle.cos();
            im += f64::from(sample) * angle.sin();
        }
        2.0 * f64::hypot(re, im) / pcm.len() as f64
    }

    #[test]
    fn mono_and_stereo_are_decoded_to_one_lane_of_the_same_level() {
        for channels in [Channels::Mono, Channels::Stereo] {
            let mut stream = OpusStream::new(48_000).unwrap();
            let mut pcm = Vec::new();
            packets(channels, false, 2).iter().for_each(|packet| stream.decode(packet, &mut pcm));
            assert_eq!(pcm.len(), 96_000);
            let level = amplitude(&pcm[24_000..48_000], 440.0);
            assert!((5000.0..7000.0).contains(&level), "{level}");
        }
    }

    #[test]
    fn a_lost_packet_comes_back_from_the_next_and_a_long_loss_does_not() {
        let packets = packets(Channels::Mono, true, 2);
        let mut got = Vec::new();
        let mut stream = OpusStream::new(48_000).unwrap();
        for (n, packet) in packets.iter().enumerate() {
            match n {
                60 | 75 | 76 => {}
                61 => stream.recover(1, packet, &mut got),
                77 => stream.recover(2, packet, &mut got),
                _ => {}
            }
            if ![60, 75, 76].contains(&n) {
                stream.decode(packet, &mut got);
            }
        }
        assert_eq!(got.len(), 96_000);
        // The tone changed in the lost packet: only the next one can have told of it.
        let lost = &got[60 * 960 + 320..61 * 960];
        assert!(amplitude(lost, 1000.0) > 3000.0, "{}", amplitude(lost, 1000.0));
        assert!(amplitude(&got[76 * 960 + 320..77 * 960], 1000.0) > 3000.0);
        let mut nothing = Vec::new();
        stream.recover(4, &packets[99], &mut nothing);
        stream.recover(1, &[], &mut nothing);
        OpusStream::new(48_000).unwrap().recover(1, &packets[9], &mut nothing);
        assert!(nothing.is_empty());
    }
}
