//! GSM 06.10 full rate (ETSI EN 300 961, RFC 3551 §4.5.8): 33 bytes are 160 mono samples at 8000 Hz.
//!
//! Only the decoder: nobody records into it. Arithmetic and names are those of §5.3 of the
//! standard, so that the samples are the standard's to the bit.

/// Bytes of one frame in RTP.
pub const FRAME_BYTES: usize = 33;

/// Samples of one frame (20 ms).
pub const FRAME_SAMPLES: usize = 160;

/// Samples of one of the four sub-segments.
const SUB_SAMPLES: usize = 40;

/// How far back the long-term predictor may look.
const MAX_LAG: usize = 120;

/// Bits of each log area ratio.
const LAR_BITS: [u32; 8] = [6, 6, 5, 5, 4, 4, 3, 3];

/// The least code of each log area ratio (table 5.1).
const MIC: [i16; 8] = [-32, -32, -16, -16, -8, -8, -4, -4];

/// Offsets of the log area ratios (table 5.1).
const B: [i16; 8] = [0, 0, 2048, -2560, 94, -1792, -341, -1144];

/// Inverses of their slopes (table 5.2).
const INVA: [i16; 8] = [13_107, 13_107, 13_107, 13_107, 19_223, 17_476, 31_454, 29_708];

/// Gains of the long-term predictor (table 5.3b).
const QLB: [i16; 4] = [3277, 11_469, 21_299, 32_767];

/// Mantissas of the adaptive PCM (table 5.6).
const FAC: [i16; 8] = [18_431, 20_479, 22_527, 24_575, 26_623, 28_671, 30_719, 32_767];

/// Multiplies with rounding, as 1.15 fixed point (§5.1).
fn mult_r(one: i16, other: i16) -> i16 {
    let product = (i32::from(one) * i32::from(other) + 16_384) >> 15;
    product.min(i32::from(i16::MAX)) as i16
}

/// Shifts right, or left if `by` is negative (§5.1).
fn asr(value: i16, by: i32) -> i16 {
    match by {
        16.. => -i16::from(value < 0),
        0..16 => value >> by,
        -15..0 => value << -by,
        _ => 0,
    }
}

/// Takes numbers off the front of a frame, the most significant bit first.
struct Bits<'a> {
    bytes: &'a [u8; FRAME_BYTES],
    at: usize,
}

impl Bits<'_> {
    fn take(&mut self, count: u32) -> i16 {
        (0..count).fold(0, |value, _| {
            let bit = self.bytes[self.at / 8] >> (7 - self.at % 8) & 1;
            self.at += 1;
            value << 1 | i16::from(bit)
        })
    }
}

/// Decodes one stream.
#[derive(Clone, Debug)]
pub struct Decoder {
    /// The residual: 120 samples of the past, then the sub-segment being made.
    residual: [i16; MAX_LAG + SUB_SAMPLES],
    /// The last lag that was valid.
    lag: usize,
    /// Log area ratios of the frame before.
    ratios: [i16; 8],
    /// Delay line of the short-term synthesis filter.
    v: [i16; 9],
    /// The sample before, for the de-emphasis.
    emphasis: i16,
}

impl Default for Decoder {
    fn default() -> Self {
        Self {
            residual: [0; MAX_LAG + SUB_SAMPLES],
            lag: 40,
            ratios: [0; 8],
            v: [0; 9],
            emphasis: 0,
        }
    }
}

impl Decoder {
    /// Decodes the next payload, one frame or several, appending 160 samples each to `pcm`.
    ///
    /// Bytes past the last whole frame are left out; a frame without the signature 1101 is
    /// silence of its length.
    pub fn decode(&mut self, payload: &[u8], pcm: &mut Vec<i16>) {
        let (frames, _) = payload.as_chunks::<FRAME_BYTES>();
        for frame in frames {
            if frame[0] >> 4 == 0xd {
                self.decode_frame(frame, pcm);
            } else {
                pcm.resize(pcm.len() + FRAME_SAMPLES, 0);
            }
        }
    }

    fn decode_frame(&mut self, frame: &[u8; FRAME_BYTES], pcm: &mut Vec<i16>) {
        let mut bits = Bits { bytes: frame, at: 4 };
        let codes = LAR_BITS.map(|count| bits.take(count));
        let mut residual = [0; FRAME_SAMPLES];
        for segment in residual.chunks_exact_mut(SUB_SAMPLES) {
            self.long_term(&mut bits);
            segment.copy_from_slice(&self.residual[MAX_LAG..]);
            self.residual.copy_within(SUB_SAMPLES.., 0);
        }
        self.short_term(codes, &mut residual);
        for sample in residual {
            // De-emphasis, upscaling and truncation to 13 bits (§5.3.5 to §5.3.7).
            self.emphasis = sample.saturating_add(mult_r(self.emphasis, 28_180));
            pcm.push(self.emphasis.saturating_add(self.emphasis) & !7);
        }
    }

    /// RPE decoding and long-term synthesis of one sub-segment (§5.3.1, §5.3.2).
    fn long_term(&mut self, bits: &mut Bits<'_>) {
        let lag = bits.take(7) as usize;
        let gain = QLB[bits.take(2) as usize];
        let grid = bits.take(2) as usize;
        let (exponent, mantissa) = exponent_and_mantissa(bits.take(6));
        let shift = 6 - exponent;
        let half = if shift > 0 { asr(1, 1 - shift) } else { 0 };
        let mut pulses = [0; SUB_SAMPLES];
        for n in 0..13 {
            let code = bits.take(3) * 2 - 7;
            let value = mult_r(FAC[mantissa], code << 12).saturating_add(half);
            pulses[grid + 3 * n] = asr(value, shift);
        }
        if (40..=MAX_LAG).contains(&lag) {
            self.lag = lag;
        }
        for (n, pulse) in pulses.into_iter().enumerate() {
            let past = mult_r(gain, self.residual[MAX_LAG + n - self.lag]);
            self.residual[MAX_LAG + n] = pulse.saturating_add(past);
        }
    }

    /// Short-term synthesis of one frame, in place (§5.3.3, §5.3.4).
    fn short_term(&mut self, codes: [i16; 8], samples: &mut [i16; FRAME_SAMPLES]) {
        let mut ratios = [0; 8];
        for (n, ratio) in ratios.iter_mut().enumerate() {
            let value = (codes[n] + MIC[n]) << 10;
            let value = mult_r(INVA[n], value.saturating_sub(B[n] << 1));
            *ratio = value.saturating_add(value);
        }
        let before = std::mem::replace(&mut self.ratios, ratios);
        // The ratios glide from those of the frame before to the new ones.
        for (from, to, weigh) in [
            (0, 13, (|old, new| (old >> 2) + (new >> 2) + (old >> 1)) as fn(i16, i16) -> i16),
            (13, 27, |old, new| (old >> 1) + (new >> 1)),
            (27, 40, |old, new| (old >> 2) + (new >> 2) + (new >> 1)),
            (40, 160, |_, new| new),
        ] {
            let mut reflections = [0; 8];
            for (n, reflection) in reflections.iter_mut().enumerate() {
                *reflection = reflection_of(weigh(before[n], ratios[n]));
            }
            for sample in &mut samples[from..to] {
                *sample = self.synthesise(&reflections, *sample);
            }
        }
    }

    fn synthesise(&mut self, reflections: &[i16; 8], input: i16) -> i16 {
        let mut sample = input;
        for n in (0..8).rev() {
            sample = sample.saturating_sub(mult_r(reflections[n], self.v[n]));
            self.v[n + 1] = self.v[n].saturating_add(mult_r(reflections[n], sample));
        }
        self.v[0] = sample;
        sample
    }
}

/// The block maximum's exponent and mantissa (§5.2.15).
fn exponent_and_mantissa(code: i16) -> (i32, usize) {
    let mut exponent = if code > 15 { i32::from(code >> 3) - 1 } else { 0 };
    let mut mantissa = i32::from(code) - (exponent << 3);
    if mantissa == 0 {
        return (-4, 7);
    }
    while mantissa <= 7 {
        mantissa = mantissa << 1 | 1;
        exponent -= 1;
    }
    (exponent, (mantissa - 8) as usize & 7)
}

/// A log area ratio as a reflection coefficient (§5.2.9.2).
fn reflection_of(ratio: i16) -> i16 {
    let size = ratio.saturating_abs();
    let reflection = match size {
        ..11_059 => size << 1,
        11_059..20_070 => size + 11_059,
        _ => (size >> 2).saturating_add(26_112),
    };
    if ratio < 0 { -reflection } else { reflection }
}
