//! The time line against a model: a sender whose true time is known, over a network that loses,
//! delays, reorders and stalls, through holds, jumps and new streams.

use cheling_media::rtp::{Ssrc, Timestamp};
use cheling_media::timeline::{PacketTime, Timeline};
use proptest::prelude::*;

/// One stretch of a call.
#[derive(Clone, Debug)]
enum Stretch {
    /// Packets of `ptime_ms` for `packets` packets.
    Talk { packets: u32, ptime_ms: u32 },
    /// Nothing is sent and the timestamp goes on (silence suppression).
    Silence { ms: u32 },
    /// Nothing is sent and the timestamp stands still (some phones on hold).
    FrozenHold { ms: u32 },
    /// The timestamp takes a new base.
    Jump { to: u32 },
    /// A new stream begins.
    NewSsrc { timestamp: u32 },
    /// The network holds everything back, then delivers it at once.
    Stall { ms: u32 },
}

/// At least two seconds of talk: a stream that says nothing outside a stall cannot be placed.
fn talk() -> impl Strategy<Value = Stretch> {
    (100..1500_u32, prop_oneof![Just(20_u32), Just(30), Just(60)])
        .prop_map(|(packets, ptime_ms)| Stretch::Talk { packets, ptime_ms })
}

fn disturbance() -> impl Strategy<Value = Stretch> {
    prop_oneof![
        (100..20_000_u32).prop_map(|ms| Stretch::Silence { ms }),
        (200..60_000_u32).prop_map(|ms| Stretch::FrozenHold { ms }),
        any::<u32>().prop_map(|to| Stretch::Jump { to }),
        any::<u32>().prop_map(|timestamp| Stretch::NewSsrc { timestamp }),
        (100..1500_u32).prop_map(|ms| Stretch::Stall { ms }),
    ]
}

fn stretches() -> impl Strategy<Value = Vec<Stretch>> {
    prop::collection::vec((disturbance(), talk()), 1..12)
        .prop_map(|pairs| pairs.into_iter().flat_map(|(first, then)| [first, then]).collect())
}

struct Sent {
    true_us: i64,
    arrival_us: i64,
    ssrc: u32,
    timestamp: u32,
}

/// A small generator, so that a failing case shrinks by its seed alone.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit.max(1)
    }
}

fn call(stretches: &[Stretch], ppm: i64, jitter_ms: u64, loss: u64, seed: u64) -> Vec<Sent> {
    let mut dice = Dice(seed);
    let (mut true_us, mut ssrc, mut timestamp) = (0_i64, 1, 12_345_u32);
    let (mut held_until_us, mut sent) = (0, Vec::new());
    for stretch in stretches {
        match *stretch {
            Stretch::Talk { packets, ptime_ms } => {
                for _ in 0..packets {
                    // Most packets wait little, some wait long: as queues do.
                    let jitter_us = dice.below(jitter_ms * 1000 + 1) * dice.below(101) / 100;
                    let arrival_us = (true_us + jitter_us as i64).max(held_until_us);
                    if dice.below(100) >= loss {
                        sent.push(Sent { true_us, arrival_us, ssrc, timestamp });
                    }
                    timestamp = timestamp.wrapping_add(ptime_ms * 8);
                    let us = i64::from(ptime_ms) * 1000;
                    true_us += us + us * ppm / 1_000_000;
                }
            }
            Stretch::Silence { ms } => {
                timestamp = timestamp.wrapping_add(ms * 8);
                true_us += i64::from(ms) * 1000;
            }
            Stretch::FrozenHold { ms } => true_us += i64::from(ms) * 1000,
            Stretch::Jump { to } => timestamp = to,
            Stretch::NewSsrc { timestamp: first } => (ssrc, timestamp) = (ssrc + 1, first),
            Stretch::Stall { ms } => held_until_us = true_us + i64::from(ms) * 1000,
        }
    }
    sent
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    /// Every packet is within 40 ms of its true time, whatever happened before it, but for one at
    /// each disturbance: a single late packet there cannot be told from what is to come.
    #[test]
    fn packets_are_where_they_were_sent(
        stretches in stretches(),
        ppm in -200..=200_i64,
        jitter_ms in 0..60_u64,
        loss in 0..10_u64,
        seed in any::<u64>(),
    ) {
        let sent = call(&stretches, ppm, jitter_ms, loss, seed);
        let mut timeline = Timeline::new(0);
        for packet in &sent {
            timeline.push(PacketTime {
                arrival_us: packet.arrival_us,
                ssrc: Ssrc(packet.ssrc),
                clock_rate_hz: 8000,
                timestamp: Timestamp(packet.timestamp),
            });
        }
        let places = timeline.finish();
        let (mut wrong, mut worst) = (0, 0);
        for (packet, place) in sent.iter().zip(places) {
            let error = place.map(|place| place.position - packet.true_us / 125);
            let error = error.unwrap_or(i64::MAX).saturating_abs();
            if error > 320 {
                wrong += 1;
                worst = worst.max(error);
            }
        }
        prop_assert!(wrong <= stretches.len() / 2, "{wrong} of {} wrong, worst {worst}", sent.len());
    }
}
