//! Comfort noise (RFC 3389): how loud a sender's silence is, and how it is coloured.
//!
//! Belongs here: the payload, and noise made of it. Does not: where the noise goes (`lane`).

/// Most reflection coefficients that are used: senders give 10, and more say nothing that is heard.
const MAX_ORDER: usize = 12;

/// What a payload says of the noise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ComfortNoise {
    /// How loud, in dB above full scale, so 0 or below.
    pub level_db: f32,
    /// Reflection coefficients of the all-pole filter that white noise goes through, each between
    /// -1 and 1; 0 beyond those that were sent.
    reflections: [f32; MAX_ORDER],
    /// How many there are.
    order: u8,
}

impl ComfortNoise {
    /// White noise of a level in dB above full scale.
    pub fn white(level_db: f32) -> Self {
        Self { level_db, reflections: [0.0; MAX_ORDER], order: 0 }
    }

    /// Reads a payload (RFC 3389 §3): the level in -dB, then a coefficient in each byte, if any.
    /// `None` for a payload without a level.
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let (level, coefficients) = payload.split_first()?;
        let mut noise = Self::white(-f32::from(level & 0x7f));
        for (reflection, byte) in noise.reflections.iter_mut().zip(coefficients) {
            // §3.2; 255 is not to be sent, and would be no stable filter.
            *reflection = 258.0 * (f32::from((*byte).min(254)) - 127.0) / 32_768.0;
            noise.order += 1;
        }
        Some(noise)
    }
}

/// Colours white noise.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Colour {
    reflections: [f32; MAX_ORDER],
    order: usize,
    /// What brings the sound back to the level of the white noise.
    gain: f32,
    /// The lattice's memory: what went backwards in it at the sample before.
    backward: [f32; MAX_ORDER],
}

impl Colour {
    pub(crate) fn new(noise: &ComfortNoise) -> Self {
        let ComfortNoise { reflections, order, .. } = *noise;
        // White noise of power 1 comes out of the filter with 1 / Π(1 - k²).
        let gain = reflections.iter().map(|k| 1.0 - k * k).product::<f32>().sqrt();
        Self { reflections, order: usize::from(order), gain, backward: [0.0; MAX_ORDER] }
    }

    /// The next sample.
    pub(crate) fn next(&mut self, white: f32) -> f32 {
        if self.order == 0 {
            return white;
        }
        let mut forward = white * self.gain;
        for stage in (0..self.order).rev() {
            let k = self.reflections[stage];
            forward -= k * self.backward[stage];
            let through = self.backward[stage] + k * forward;
            if let Some(above) = self.backward.get_mut(stage + 1) {
                *above = through;
            }
        }
        self.backward[0] = forward;
        forward
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn white(seed: &mut u32) -> f32 {
        *seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (*seed >> 8) as f32 / 8_388_608.0 - 1.0
    }

    fn coloured(payload: &[u8], count: usize) -> Vec<f32> {
        let noise = ComfortNoise::parse(payload).unwrap();
        let (mut colour, mut seed) = (Colour::new(&noise), 7);
        (0..count).map(|_| colour.next(white(&mut seed))).collect()
    }

    fn power(samples: &[f32]) -> f32 {
        samples.iter().map(|it| it * it).sum::<f32>() / samples.len() as f32
    }

    /// How alike samples are that lie `apart`: 1 is the same.
    fn correlation(samples: &[f32], apart: usize) -> f32 {
        let products = samples.iter().zip(&samples[apart..]).map(|(one, other)| one * other);
        products.sum::<f32>() / samples.len() as f32 / power(samples)
    }

    #[test]
    fn a_payload_is_read_as_far_as_it_goes() {
        assert_eq!(ComfortNoise::parse(&[]), None);
        assert_eq!(ComfortNoise::parse(&[0x80 | 60]), Some(ComfortNoise::white(-60.0)));
        let noise = ComfortNoise::parse(&[60, 127, 0, 254, 255]).unwrap();
        assert_eq!(noise.order, 4);
        let want = [0.0, -0.99994, 0.99994, 0.99994, 0.0];
        for (got, want) in noise.reflections.iter().zip(want) {
            assert!((got - want).abs() < 1e-4, "{got} {want}");
        }
        assert_eq!(ComfortNoise::parse(&[9; 1500]).unwrap().order as usize, MAX_ORDER);
    }

    #[test]
    fn the_colour_is_that_of_the_coefficients_and_the_level_stays() {
        let white_power = power(&coloured(&[60], 200_000));
        for (coefficients, want) in [
            // The correlation of neighbours in an all-pole sound is minus its first coefficient.
            (&[63][..], 0.504),  // dull
            (&[191], -0.504),    // bright
            (&[31, 150], 0.756), // dull, and less so further on
            (&[127; 10], 0.0),   // white, said at length
        ] {
            let payload = [&[60], coefficients].concat();
            let samples = coloured(&payload, 200_000);
            let got = correlation(&samples, 1);
            assert!((got - want).abs() < 0.03, "{coefficients:?}: {got}");
            let level = power(&samples) / white_power;
            assert!((level - 1.0).abs() < 0.1, "{coefficients:?}: {level}");
        }
    }

    #[test]
    fn no_payload_makes_noise_that_grows() {
        for coefficients in
            [[0; 12], [254; 12], [255; 12], [0, 254, 0, 254, 0, 1, 9, 0, 7, 0, 3, 1]]
        {
            let payload = [&[60][..], &coefficients].concat();
            let samples = coloured(&payload, 100_000);
            let loudest = samples.iter().fold(0.0_f32, |most, it| most.max(it.abs()));
            assert!(loudest < 20.0, "{coefficients:?}: {loudest}");
        }
    }
}
