//! How well one stream arrived: loss, duplicates, reordering, jitter (RFC 3550 §6.4.1, §A.8).

use crate::rtp::{ExtendedSequence, SequenceNumber, Timestamp};

/// A sequence number further ahead than this is a restart of the sender, not loss (RFC 3550 §A.1).
const MAX_DROPOUT: u64 = 3000;

/// A sequence number further behind than this is a restart of the sender, not reordering.
const MAX_MISORDER: u64 = 1000;

/// How far back duplicates are recognised, in packets.
const SEEN_WINDOW: u64 = 1024;

/// What a packet was with regard to those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// The first, or a later one than all before, perhaps after some lost ones.
    InOrder,
    /// Later packets came before it.
    Reordered,
    /// Seen before.
    Duplicate,
    /// The sender began a new sequence.
    Restarted,
}

/// Counts of one stream (one SSRC).
#[derive(Clone, Debug)]
pub struct Reception {
    clock_rate_hz: u32,
    highest: Option<ExtendedSequence>,
    run_first: ExtendedSequence,
    seen: [u64; (SEEN_WINDOW / 64) as usize],
    expected_before: u64,
    received: u64,
    duplicates: u64,
    reordered: u64,
    holes: u64,
    restarts: u64,
    last_transit: Option<(i64, u32)>,
    jitter_16: i64,
    max_jitter_16: i64,
}

impl Reception {
    /// Starts counting a stream whose timestamps tick at `clock_rate_hz` (not 0).
    pub fn new(clock_rate_hz: u32) -> Self {
        Self {
            clock_rate_hz: clock_rate_hz.max(1),
            highest: None,
            run_first: ExtendedSequence(0),
            seen: [0; (SEEN_WINDOW / 64) as usize],
            expected_before: 0,
            received: 0,
            duplicates: 0,
            reordered: 0,
            holes: 0,
            restarts: 0,
            last_transit: None,
            jitter_16: 0,
            max_jitter_16: 0,
        }
    }

    /// Counts one packet.
    pub fn push(
        &mut self,
        arrival_us: i64,
        sequence_number: SequenceNumber,
        timestamp: Timestamp,
    ) -> Arrival {
        let arrival = self.count(sequence_number);
        if arrival != Arrival::Duplicate {
            self.received += 1;
            self.measure_jitter(arrival_us, timestamp);
        }
        arrival
    }

    fn count(&mut self, wire: SequenceNumber) -> Arrival {
        let Some(highest) = self.highest else {
            self.begin(wire);
            return Arrival::InOrder;
        };
        let number = highest.nearest(wire);
        if number > highest {
            if number.0 - highest.0 > MAX_DROPOUT {
                return self.restart(highest, wire);
            }
            self.holes += u64::from(number.0 > highest.0 + 1);
            for skipped in (highest.0 + 1)..number.0 {
                self.mark(skipped, false);
            }
            self.mark(number.0, true);
            self.highest = Some(number);
            return Arrival::InOrder;
        }
        let behind = highest.0 - number.0;
        if behind > MAX_MISORDER {
            return self.restart(highest, wire);
        }
        if self.is_seen(number.0) {
            self.duplicates += 1;
            return Arrival::Duplicate;
        }
        self.mark(number.0, true);
        // A packet from before the first one that came widens what was expected.
        self.run_first = self.run_first.min(number);
        self.reordered += 1;
        Arrival::Reordered
    }

    fn begin(&mut self, wire: SequenceNumber) {
        let first = ExtendedSequence::first(wire);
        self.seen = [0; (SEEN_WINDOW / 64) as usize];
        self.highest = Some(first);
        self.run_first = first;
        self.mark(first.0, true);
    }

    fn restart(&mut self, highest: ExtendedSequence, wire: SequenceNumber) -> Arrival {
        self.expected_before += highest.0 - self.run_first.0 + 1;
        self.restarts += 1;
        self.begin(wire);
        Arrival::Restarted
    }

    fn mark(&mut self, number: u64, is_seen: bool) {
        let slot = number % SEEN_WINDOW;
        let word = &mut self.seen[(slot / 64) as usize];
        if is_seen {
            *word |= 1 << (slot % 64);
        } else {
            *word &= !(1 << (slot % 64));
        }
    }

    fn is_seen(&self, number: u64) -> bool {
        let slot = number % SEEN_WINDOW;
        self.seen[(slot / 64) as usize] >> (slot % 64) & 1 == 1
    }

    /// RFC 3550 §A.8, in sixteenths of a tick.
    fn measure_jitter(&mut self, arrival_us: i64, timestamp: Timestamp) {
        let (clock_rate_hz, second_us) = (i64::from(self.clock_rate_hz), 1_000_000);
        // Whole seconds apart from the rest: their product with the rate would not fit together.
        let arrival_ticks = (arrival_us / second_us).wrapping_mul(clock_rate_hz);
        let rest = arrival_us % second_us * clock_rate_hz / second_us;
        let arrival_ticks = arrival_ticks.wrapping_add(rest);
        if let Some((last_ticks, last_timestamp)) = self.last_transit {
            let sent = i64::from(timestamp.0.wrapping_sub(last_timestamp) as i32);
            let difference = (arrival_ticks.wrapping_sub(last_ticks)).saturating_sub(sent);
            let difference = difference.saturating_abs();
            // A jump of a second is a new time base, not jitter.
            if difference < i64::from(self.clock_rate_hz) {
                self.jitter_16 += difference - ((self.jitter_16 + 8) >> 4);
                self.max_jitter_16 = self.max_jitter_16.max(self.jitter_16);
            }
        }
        self.last_transit = Some((arrival_ticks, timestamp.0));
    }

    /// Packets received, duplicates not counted.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Packets the sequence numbers say were sent.
    pub fn expected(&self) -> u64 {
        let run = self.highest.map_or(0, |highest| highest.0 - self.run_first.0 + 1);
        self.expected_before + run
    }

    /// Packets that never came.
    pub fn lost(&self) -> u64 {
        self.expected().saturating_sub(self.received)
    }

    /// In how many bursts packets were lost, about: a hole that late packets filled wholly is not
    /// told from one that stayed.
    pub fn loss_bursts(&self) -> u64 {
        self.holes.min(self.lost())
    }

    /// Packets that came again.
    pub fn duplicates(&self) -> u64 {
        self.duplicates
    }

    /// Packets that came after a later one.
    pub fn reordered(&self) -> u64 {
        self.reordered
    }

    /// Times the sender began a new sequence.
    pub fn restarts(&self) -> u64 {
        self.restarts
    }

    /// The interarrival jitter now.
    pub fn jitter_us(&self) -> u64 {
        self.ticks_16_to_us(self.jitter_16)
    }

    /// The largest interarrival jitter there was.
    pub fn max_jitter_us(&self) -> u64 {
        self.ticks_16_to_us(self.max_jitter_16)
    }

    fn ticks_16_to_us(&self, ticks_16: i64) -> u64 {
        (ticks_16.max(0) as u64) * 1_000_000 / 16 / u64::from(self.clock_rate_hz)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(numbers: &[u16]) -> Reception {
        let mut reception = Reception::new(8000);
        for (n, &number) in numbers.iter().enumerate() {
            let (n, number) = (n as i64, SequenceNumber(number));
            reception.push(n * 20_000, number, Timestamp(n as u32 * 160));
        }
        reception
    }

    #[test]
    fn loss_reordering_and_duplicates_are_told_apart() {
        // Numbers as they arrive: expected, lost, duplicates, reordered, restarts.
        for (numbers, want) in [
            (&[1, 2, 3, 4][..], (4, 0, 0, 0, 0)),
            (&[1, 2, 5], (5, 2, 0, 0, 0)),
            (&[1, 3, 2, 4], (4, 0, 0, 1, 0)),
            (&[1, 2, 2, 3, 1], (3, 0, 2, 0, 0)),
            (&[65_534, 65_535, 0, 1], (4, 0, 0, 0, 0)),
            (&[65_535, 1, 0, 65_534], (4, 0, 0, 2, 0)),
            (&[2, 1], (2, 0, 0, 1, 0)),
            (&[10, 11, 30_000, 30_001], (4, 0, 0, 0, 1)),
            (&[30_000, 10, 11], (3, 0, 0, 0, 1)),
            (&[0, 1024, 1025, 1], (1027, 1023, 0, 0, 1)), // Too far behind to be late.
        ] {
            let got = counted(numbers);
            let got =
                (got.expected(), got.lost(), got.duplicates(), got.reordered(), got.restarts());
            assert_eq!(got, want, "{numbers:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_packets_make_it_panic_or_count_more_than_it_took(
            packets in proptest::collection::vec(
                (proptest::num::i64::ANY, proptest::num::u16::ANY, proptest::num::u32::ANY), 0..200)
        ) {
            let mut reception = Reception::new(8000);
            for &(arrival_us, number, timestamp) in &packets {
                reception.push(arrival_us, SequenceNumber(number), Timestamp(timestamp));
            }
            let taken = reception.received() + reception.duplicates();
            proptest::prop_assert_eq!(taken, packets.len() as u64);
            proptest::prop_assert!(reception.lost() <= reception.expected());
            reception.max_jitter_us();
        }
    }

    #[test]
    fn jitter_is_rfc_3550s() {
        let mut steady = Reception::new(8000);
        let mut shaky = Reception::new(8000);
        for n in 0..500_i64 {
            let (number, timestamp) = (SequenceNumber(n as u16), Timestamp(n as u32 * 160));
            steady.push(n * 20_000, number, timestamp);
            // Every second packet 10 ms late: |D| is 10 ms, and so is J in the end.
            shaky.push(n * 20_000 + (n % 2) * 10_000, number, timestamp);
        }
        assert_eq!(steady.max_jitter_us(), 0);
        assert!((9_500..10_500).contains(&shaky.jitter_us()), "{}", shaky.jitter_us());
        // A new time base does not count as jitter.
        steady.push(500 * 20_000, SequenceNumber(500), Timestamp(0x8000_0000));
        assert_eq!(steady.max_jitter_us(), 0);
    }
}
