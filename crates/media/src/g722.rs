//! G.722 at 64 kbit/s (ITU-T G.722, RFC 3551 §4.5.2): one byte is two 16-bit mono samples at
//! 16 000 Hz, though its RTP clock says 8000.
//!
//! Sub-band ADPCM: six bits for the band below 4 kHz, two for the one above. The blocks are named
//! as the recommendation names them. Decoder and encoder keep state from packet to packet and
//! start as the recommendation starts (§3.7): a decoder that starts otherwise is wrong for a third
//! of a second.

/// Inverse quantiser of the upper band (block 2H).
const QM2: [i32; 4] = [-7408, -1616, 7408, 1616];

/// Inverse quantiser of the lower band, four bits (block 2L), which adapts.
const QM4: [i32; 16] = [
    0, -20456, -12896, -8968, -6288, -4240, -2584, -1200, 20456, 12896, 8968, 6288, 4240, 2584,
    1200, 0,
];

/// Inverse quantiser of the lower band, six bits (block 5L), which is heard.
const QM6: [i32; 64] = [
    -136, -136, -136, -136, -24808, -21904, -19008, -16704, -14984, -13512, -12280, -11192, -10232,
    -9360, -8576, -7856, -7192, -6576, -6000, -5456, -4944, -4464, -4008, -3576, -3168, -2776,
    -2400, -2032, -1688, -1360, -1040, -728, 24808, 21904, 19008, 16704, 14984, 13512, 12280,
    11192, 10232, 9360, 8576, 7856, 7192, 6576, 6000, 5456, 4944, 4464, 4008, 3576, 3168, 2776,
    2400, 2032, 1688, 1360, 1040, 728, 432, 136, -432, -136,
];

/// Decision levels of the lower band's quantiser (block 1L).
const Q6: [i32; 30] = [
    0, 35, 72, 110, 150, 190, 233, 276, 323, 370, 422, 473, 530, 587, 650, 714, 786, 858, 940,
    1023, 1121, 1219, 1339, 1458, 1612, 1765, 1980, 2195, 2557, 2919,
];

/// Which of the eight steps of [`WL`] a four-bit code takes (block 3L).
const RL42: [usize; 16] = [0, 7, 6, 5, 4, 3, 2, 1, 7, 6, 5, 4, 3, 2, 1, 0];

/// Steps of the logarithmic scale factor, lower band (block 3L).
const WL: [i32; 8] = [-60, -30, 58, 172, 334, 538, 1198, 3042];

/// Steps of the logarithmic scale factor, upper band, by two-bit code (block 3H).
const WH: [i32; 4] = [798, -214, 798, -214];

/// Antilogarithm of the scale factor (blocks 3L and 3H).
const ILB: [i32; 32] = [
    2048, 2093, 2139, 2186, 2233, 2282, 2332, 2383, 2435, 2489, 2543, 2599, 2656, 2714, 2774, 2834,
    2896, 2960, 3025, 3091, 3158, 3228, 3298, 3371, 3444, 3520, 3597, 3676, 3756, 3838, 3922, 4008,
];

/// Half of the coefficients of the quadrature mirror filter (§3.1).
const QMF: [i32; 12] = [3, -11, 12, 32, -210, 951, 3876, -805, 362, -156, 53, -11];

fn saturate(value: i32) -> i32 {
    value.clamp(-32_768, 32_767)
}

/// The adaptive predictor and scale factor of one band.
#[derive(Clone, Debug)]
struct Band {
    /// What is expected of the next sample.
    predicted: i32,
    /// The part of it that comes from the zero section.
    zero_part: i32,
    /// Reconstructed samples, newest first.
    r: [i32; 2],
    /// Pole coefficients.
    a: [i32; 2],
    /// Partially reconstructed samples, newest first.
    p: [i32; 2],
    /// Differences, newest first.
    d: [i32; 6],
    /// Zero coefficients.
    b: [i32; 6],
    /// The scale factor, logarithmic.
    log_scale: i32,
    /// The scale factor.
    scale: i32,
}

impl Band {
    fn starting_at(scale: i32) -> Self {
        Self {
            predicted: 0,
            zero_part: 0,
            r: [0; 2],
            a: [0; 2],
            p: [0; 2],
            d: [0; 6],
            b: [0; 6],
            log_scale: 0,
            scale,
        }
    }

    fn lower() -> Self {
        Self::starting_at(32)
    }

    fn upper() -> Self {
        Self::starting_at(8)
    }

    /// Takes the lower band's six-bit code (blocks 2L to 4L).
    fn adapt_lower(&mut self, code: usize) {
        let coarse = code >> 2;
        let difference = (self.scale * QM4[coarse]) >> 15;
        self.rescale(WL[RL42[coarse]], 18_432, 8);
        self.predict(difference);
    }

    /// Takes the upper band's two-bit code (blocks 2H to 4H).
    fn adapt_upper(&mut self, code: usize) {
        let difference = (self.scale * QM2[code]) >> 15;
        self.rescale(WH[code], 22_528, 10);
        self.predict(difference);
    }

    /// Blocks 3L and 3H.
    fn rescale(&mut self, step: i32, highest: i32, shift: i32) {
        self.log_scale = (((self.log_scale * 127) >> 7) + step).clamp(0, highest);
        let mantissa = ILB[(self.log_scale >> 6 & 31) as usize];
        let shift = shift - (self.log_scale >> 11);
        let scale = if shift < 0 { mantissa << -shift } else { mantissa >> shift };
        self.scale = scale << 2;
    }

    /// Block 4: takes the difference of this sample, adapts, and predicts the next.
    fn predict(&mut self, difference: i32) {
        let reconstructed = saturate(self.predicted + difference);
        let partial = saturate(self.zero_part + difference);
        let same_sign = |one: i32, other: i32| (one < 0) == (other < 0);
        // UPPOL2
        let slope = saturate(self.a[0] << 2);
        let slope = if same_sign(partial, self.p[0]) { -slope } else { slope };
        let turn = if same_sign(partial, self.p[1]) { 128 } else { -128 };
        let second = (slope.min(32_767) >> 7) + turn + ((self.a[1] * 32_512) >> 15);
        let second = second.clamp(-12_288, 12_288);
        // UPPOL1
        let turn = if same_sign(partial, self.p[0]) { 192 } else { -192 };
        let limit = saturate(15_360 - second);
        let first = saturate(turn + ((self.a[0] * 32_640) >> 15)).clamp(-limit, limit);
        // UPZERO
        let step = if difference == 0 { 0 } else { 128 };
        for (b, d) in self.b.iter_mut().zip(&self.d) {
            let step = if same_sign(difference, *d) { step } else { -step };
            *b = saturate(step + ((*b * 32_640) >> 15));
        }
        // DELAYA
        self.d.copy_within(0..5, 1);
        self.d[0] = difference;
        self.r = [reconstructed, self.r[0]];
        self.p = [partial, self.p[0]];
        self.a = [first, second];
        // FILTEP, FILTEZ, PREDIC
        let pole = |n: usize| (self.a[n] * saturate(2 * self.r[n])) >> 15;
        let zeros = self.b.iter().zip(&self.d).map(|(b, d)| (b * saturate(2 * d)) >> 15);
        self.zero_part = saturate(zeros.sum());
        self.predicted = saturate(saturate(pole(0) + pole(1)) + self.zero_part);
    }
}

/// Sums both phases of the mirror filter over its delay line.
fn mirror(line: &[i32; 24]) -> (i32, i32) {
    let (mut even, mut odd) = (0, 0);
    for (n, pair) in line.chunks_exact(2).enumerate() {
        odd += pair[0] * QMF[n];
        even += pair[1] * QMF[11 - n];
    }
    (even, odd)
}

/// Decodes one stream.
#[derive(Clone, Debug)]
pub struct Decoder {
    lower: Band,
    upper: Band,
    line: [i32; 24],
}

impl Default for Decoder {
    fn default() -> Self {
        Self { lower: Band::lower(), upper: Band::upper(), line: [0; 24] }
    }
}

impl Decoder {
    /// Decodes the next payload, appending two samples per byte to `pcm`: 160 bytes are 20 ms.
    pub fn decode(&mut self, payload: &[u8], pcm: &mut Vec<i16>) {
        pcm.reserve(2 * payload.len());
        for &byte in payload {
            let (low, high) = (usize::from(byte & 0x3f), usize::from(byte >> 6));
            let limit = |value: i32| value.clamp(-16_384, 16_383);
            let lower = limit(self.lower.predicted + ((self.lower.scale * QM6[low]) >> 15));
            self.lower.adapt_lower(low);
            let upper = limit(self.upper.predicted + ((self.upper.scale * QM2[high]) >> 15));
            self.upper.adapt_upper(high);
            self.line.copy_within(2.., 0);
            self.line[22] = lower + upper;
            self.line[23] = lower - upper;
            let (even, odd) = mirror(&self.line);
            pcm.extend([saturate(even >> 11) as i16, saturate(odd >> 11) as i16]);
        }
    }
}

/// Encodes one stream.
#[derive(Clone, Debug)]
pub struct Encoder {
    lower: Band,
    upper: Band,
    line: [i32; 24],
}

impl Default for Encoder {
    fn default() -> Self {
        Self { lower: Band::lower(), upper: Band::upper(), line: [0; 24] }
    }
}

impl Encoder {
    /// Encodes the next samples, appending one byte per two samples to `payload`.
    ///
    /// An odd last sample is left out: frames are of whole milliseconds.
    pub fn encode(&mut self, pcm: &[i16], payload: &mut Vec<u8>) {
        for pair in pcm.chunks_exact(2) {
            self.line.copy_within(2.., 0);
            self.line[22] = pair[0].into();
            self.line[23] = pair[1].into();
            let (even, odd) = mirror(&self.line);
            let low = quantise_lower(&self.lower, (even + odd) >> 14);
            self.lower.adapt_lower(low);
            let high = quantise_upper(&self.upper, (even - odd) >> 14);
            self.upper.adapt_upper(high);
            payload.push((high << 6 | low) as u8);
        }
    }
}

/// Blocks 1L: the six-bit code of a sample of the lower band.
fn quantise_lower(band: &Band, sample: i32) -> usize {
    let error = saturate(sample - band.predicted);
    let size = if error < 0 { -(error + 1) } else { error };
    let level = (1..30).find(|&n| size < (Q6[n] * band.scale) >> 12).unwrap_or(30);
    match (error < 0, level) {
        (true, 1 | 2) => 64 - level,
        (true, _) => 34 - level,
        (false, _) => 62 - level,
    }
}

/// Block 1H: the two-bit code of a sample of the upper band.
fn quantise_upper(band: &Band, sample: i32) -> usize {
    let error = saturate(sample - band.predicted);
    let size = if error < 0 { -(error + 1) } else { error };
    let is_large = size >= (564 * band.scale) >> 12;
    match (error < 0, is_large) {
        (true, false) => 1,
        (true, true) => 0,
        (false, false) => 3,
        (false, true) => 2,
    }
}

#[cfg(test)]
mod tests {
    use std::f64::consts::TAU;

    use super::*;

    fn tone(hz: f64, samples: usize) -> Vec<i16> {
        (0..samples).map(|n| (8000.0 * (n as f64 * hz * TAU / 16_000.0).sin()) as i16).collect()
    }

    #[test]
    fn a_tone_of_either_band_comes_back_22_samples_later() {
        for hz in [300.0, 1000.0, 3000.0, 5000.0, 6500.0] {
            let pcm = tone(hz, 16_000);
            let (mut payload, mut back) = (Vec::new(), Vec::new());
            Encoder::default().encode(&pcm, &mut payload);
            let mut decoder = Decoder::default();
            payload.chunks(160).for_each(|packet| decoder.decode(packet, &mut back));
            assert_eq!((payload.len(), back.len()), (8000, 16_000));
            // Both mirror filters together delay by 22 samples.
            let (mut noise, mut signal) = (0.0, 0.0);
            for (sent, got) in pcm.iter().zip(&back[22..]).skip(320) {
                noise += f64::from(i32::from(*sent) - i32::from(*got)).powi(2);
                signal += f64::from(*sent).powi(2);
            }
            let snr_db = 10.0 * (signal / noise).log10();
            assert!(snr_db > if hz < 4000.0 { 25.0 } else { 12.0 }, "{hz} Hz: {snr_db} dB");
        }
    }

    #[test]
    fn the_decoder_starts_as_the_recommendation_does() {
        let mut pcm = Vec::new();
        Decoder::default().decode(&[0xfa, 0x00, 0xff, 0x80, 0x7f, 0x01, 0xc4, 0x04], &mut pcm);
        assert_eq!(pcm.len(), 16);
        assert!(pcm.iter().any(|&sample| sample != 0), "it is heard from the first packet");
    }
}
