//! How good a lane sounded: the E-model (ITU-T G.107, simplified) from loss, delay and codec.
//!
//! Of the model's twenty parameters only those are measured here that a network changes; the
//! others keep their defaults (table 3), so that *R* is 93.2 − *Id* − *Ie,eff*. The scale is the
//! narrow-band one: a wide-band codec gets no more than the best there is on it, 4.4.
//!
//! Belongs here: figures to figures. Does not: counting packets (`reception`) or reports (`rtcp`).

use crate::codec::Codec;

/// *R* of a line on which nothing is wrong (G.107 table 3 with G.711).
const R_DEFAULT: f64 = 93.2;

/// A jitter buffer holds about twice the jitter, within these bounds (ms).
const JITTER_BUFFER_MS: (f64, f64) = (20.0, 200.0);

/// Packetisation and look-ahead of a usual sender (ms).
const FRAME_MS: f64 = 25.0;

/// How a codec sounds by itself and how it bears loss (G.113 appendix I).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Impairment {
    /// Equipment impairment factor *Ie*.
    pub ie: f32,
    /// Packet-loss robustness factor *Bpl*.
    pub bpl: f32,
}

impl Impairment {
    /// The factors of a codec; `None` for what is not sound.
    ///
    /// G.113 has none for Opus, L16 and the wide-band codecs on this scale: they are taken for
    /// G.711 with loss concealment; nor a *Bpl* for GSM full rate, which is taken for that of the
    /// enhanced full rate; what is not known is taken for G.729A.
    pub fn of(codec: &Codec) -> Option<Self> {
        let (ie, bpl) = match codec {
            Codec::G711(_) | Codec::G722 | Codec::Opus | Codec::L16 { .. } | Codec::AmrWb => {
                (0.0, 25.1)
            }
            Codec::Gsm => (20.0, 10.0),
            Codec::Amr => (5.0, 10.0),
            Codec::G729 => (11.0, 19.0),
            Codec::Undecodable(name) if name.eq_ignore_ascii_case("iLBC") => (11.0, 32.0),
            Codec::Undecodable(name) if name.eq_ignore_ascii_case("G723") => (15.0, 16.1),
            Codec::Undecodable(_) => (11.0, 19.0),
            Codec::ComfortNoise | Codec::TelephoneEvent => return None,
        };
        Some(Self { ie, bpl })
    }
}

/// What the network did to one lane.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Conditions {
    /// Packets that were sent.
    pub expected_packets: u64,
    /// Of these, how many never came.
    pub lost_packets: u64,
    /// In how many bursts they were lost.
    pub loss_bursts: u64,
    /// Interarrival jitter.
    pub jitter_us: u64,
    /// Time from mouth to us on the network, if reports tell it.
    pub network_delay_us: Option<u64>,
}

impl Conditions {
    /// The transmission rating *R*, 0 to 93.2.
    pub fn rating(&self, codec: Impairment) -> f32 {
        let delay_ms = self.delay_ms();
        let over = delay_ms - 177.3;
        let delay = 0.024 * delay_ms + if over > 0.0 { 0.11 * over } else { 0.0 };
        let equipment = self.effective_equipment(codec);
        (R_DEFAULT - delay - equipment).clamp(0.0, R_DEFAULT) as f32
    }

    /// The mean opinion score, 1 to 4.4; `None` if nothing was sent.
    pub fn mos(&self, codec: Impairment) -> Option<f32> {
        (self.expected_packets > 0).then(|| mos_of(self.rating(codec)))
    }

    fn delay_ms(&self) -> f64 {
        let network = self.network_delay_us.unwrap_or(0) as f64 / 1000.0;
        let (least, most) = JITTER_BUFFER_MS;
        let buffer = (2.0 * self.jitter_us as f64 / 1000.0).clamp(least, most);
        network + buffer + FRAME_MS
    }

    /// *Ie,eff* (G.107 §7.5.1, equation 7-29).
    fn effective_equipment(&self, codec: Impairment) -> f64 {
        let (ie, bpl) = (f64::from(codec.ie), f64::from(codec.bpl));
        let expected = self.expected_packets.max(1) as f64;
        let lost = (self.lost_packets.min(self.expected_packets)) as f64;
        let ratio = lost / expected;
        let percent = 100.0 * ratio;
        if percent == 0.0 {
            return ie;
        }
        // How much longer the bursts are than those of random loss.
        let mean_burst = lost / self.loss_bursts.max(1) as f64;
        let burst_ratio = (mean_burst * (1.0 - ratio)).max(1.0);
        ie + (95.0 - ie) * percent / (percent / burst_ratio + bpl)
    }
}

/// The mean opinion score of a rating (G.107 annex B).
fn mos_of(rating: f32) -> f32 {
    let r = f64::from(rating);
    let mos = 1.0 + 0.035 * r + r * (r - 60.0) * (100.0 - r) * 7e-6;
    mos.clamp(1.0, 4.5) as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::g711::Law;

    fn mos(codec: &Codec, conditions: Conditions) -> f32 {
        conditions.mos(Impairment::of(codec).unwrap()).unwrap()
    }

    const GOOD: Conditions = Conditions {
        expected_packets: 10_000,
        lost_packets: 0,
        loss_bursts: 0,
        jitter_us: 2000,
        network_delay_us: None,
    };

    #[test]
    fn known_codecs_score_as_g113_says() {
        let g711 = Codec::G711(Law::A);
        for (codec, percent, low, high) in [
            (&g711, 0, 4.35, 4.42),
            (&g711, 1, 4.25, 4.38),
            (&g711, 5, 3.7, 4.1),
            (&g711, 20, 2.0, 2.9),
            (&Codec::G729, 0, 4.0, 4.2),
            (&Codec::G729, 3, 3.3, 3.8),
            (&Codec::Gsm, 0, 3.6, 3.85),
        ] {
            let lost = 100 * percent;
            let conditions = Conditions { lost_packets: lost, loss_bursts: lost, ..GOOD };
            let got = mos(codec, conditions);
            assert!((low..high).contains(&got), "{codec:?} at {percent} %: {got}");
        }
    }

    #[test]
    fn loss_in_bursts_and_delay_cost() {
        let g711 = Codec::G711(Law::A);
        let random = Conditions { lost_packets: 500, loss_bursts: 490, ..GOOD };
        let bursty = Conditions { lost_packets: 500, loss_bursts: 50, ..GOOD };
        assert!(mos(&g711, bursty) < mos(&g711, random) - 0.05);
        let far = Conditions { network_delay_us: Some(400_000), ..GOOD };
        assert!(mos(&g711, far) < mos(&g711, GOOD) - 0.5);
        let shaky = Conditions { jitter_us: 90_000, ..GOOD };
        assert!(mos(&g711, shaky) < mos(&g711, GOOD));
    }

    #[test]
    fn nonsense_stays_on_the_scale() {
        let worst = Conditions {
            expected_packets: 1,
            lost_packets: u64::MAX,
            loss_bursts: 0,
            jitter_us: u64::MAX,
            network_delay_us: Some(u64::MAX),
        };
        assert_eq!(mos(&Codec::Gsm, worst), 1.0);
        assert_eq!(Conditions::default().mos(Impairment { ie: 0.0, bpl: 4.3 }), None);
        assert_eq!(Impairment::of(&Codec::TelephoneEvent), None);
    }
}
