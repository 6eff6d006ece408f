//! Puts the packets of one stream back in the order they were sent, waiting a little for late ones.
//!
//! Decoders with state need it; it delays nothing that is heard, for rendering runs after the call.

use std::collections::BTreeMap;

use crate::rtp::{ExtendedSequence, SequenceNumber};

/// Packets that are waited with for an earlier one.
const MAX_WAITING: usize = 32;

/// How long a late packet is waited for.
const MAX_WAIT_US: i64 = 400_000;

/// A number further off than this is a new sequence (RFC 3550 §A.1).
const MAX_DROPOUT: u64 = 3000;

/// A packet in its turn.
#[derive(Debug, PartialEq, Eq)]
pub struct InOrder<T> {
    /// Packets missing between it and the one before.
    pub lost_packets: u64,
    /// What was pushed.
    pub item: T,
}

/// Packets of one stream that wait for their turn.
#[derive(Debug)]
pub struct Reorder<T> {
    waiting: BTreeMap<ExtendedSequence, (i64, T)>,
    last: Option<ExtendedSequence>,
    late_packets: u64,
}

impl<T> Default for Reorder<T> {
    fn default() -> Self {
        Self { waiting: BTreeMap::new(), last: None, late_packets: 0 }
    }
}

impl<T> Reorder<T> {
    /// Takes note of a packet that needs no waiting, for none waits and it follows the last; any
    /// other is for [`Reorder::push`].
    pub fn pass(&mut self, number: SequenceNumber) -> bool {
        let Some(last) = self.last.filter(|_| self.waiting.is_empty()) else { return false };
        let number = last.nearest(number);
        let is_next = number.0 == last.0 + 1;
        if is_next {
            self.last = Some(number);
        }
        is_next
    }

    /// Takes a packet that arrived at `now_us`; gives it back if it is a duplicate or its turn is
    /// over.
    ///
    /// Whatever is in turn afterwards must be taken by [`Reorder::pop`].
    pub fn push(&mut self, now_us: i64, number: SequenceNumber, item: T) -> Option<T> {
        let number = match self.newest() {
            Some(newest) => newest.nearest(number),
            None => ExtendedSequence::first(number),
        };
        if let Some(last) = self.last {
            if number.0.abs_diff(last.0) > MAX_DROPOUT {
                // A new sequence: nothing of the old one is waited for.
                self.waiting.clear();
                self.last = None;
            } else if number <= last {
                self.late_packets += 1;
                return Some(item);
            }
        }
        if self.waiting.contains_key(&number) {
            return Some(item);
        }
        self.waiting.insert(number, (now_us, item));
        None
    }

    fn newest(&self) -> Option<ExtendedSequence> {
        self.waiting.last_key_value().map(|(number, _)| *number).or(self.last)
    }

    /// Takes the next packet whose turn it is at `now_us`.
    pub fn pop(&mut self, now_us: i64) -> Option<InOrder<T>> {
        let (&number, &(since_us, _)) = self.waiting.first_key_value()?;
        let is_next = self.last.is_some_and(|last| last.0 + 1 == number.0);
        let is_late = now_us.saturating_sub(since_us) > MAX_WAIT_US;
        if !is_next && !is_late && self.waiting.len() <= MAX_WAITING {
            return None;
        }
        let (_, item) = self.waiting.remove(&number)?;
        let lost_packets = self.last.map_or(0, |last| number.0 - last.0 - 1);
        self.last = Some(number);
        Some(InOrder { lost_packets, item })
    }

    /// Packets that came when their turn was over.
    pub fn late_packets(&self) -> u64 {
        self.late_packets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(numbers: &[u16]) -> Vec<(u16, u64)> {
        let mut reorder = Reorder::default();
        let mut got = Vec::new();
        for (n, &number) in numbers.iter().enumerate() {
            let now_us = n as i64 * 20_000;
            reorder.push(now_us, SequenceNumber(number), number);
            while let Some(next) = reorder.pop(now_us) {
                got.push((next.item, next.lost_packets));
            }
        }
        while let Some(next) = reorder.pop(i64::MAX) {
            got.push((next.item, next.lost_packets));
        }
        got
    }

    #[test]
    fn packets_come_out_in_the_order_they_were_sent() {
        for (numbers, want) in [
            (&[1, 2, 3][..], &[(1, 0), (2, 0), (3, 0)][..]),
            (&[1, 3, 2, 4], &[(1, 0), (2, 0), (3, 0), (4, 0)]),
            (&[2, 1, 3], &[(1, 0), (2, 0), (3, 0)]),
            (&[1, 4, 4, 5], &[(1, 0), (4, 2), (5, 0)]),
            (&[65_535, 1, 0], &[(65_535, 0), (0, 0), (1, 0)]),
        ] {
            assert_eq!(sorted(numbers), want, "{numbers:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_passes_would_have_been_next_after_pushing(
            steps in proptest::collection::vec((-3..6_i16, 0..100_000_i64), 0..300)
        ) {
            let (mut passing, mut pushing) = (Reorder::default(), Reorder::default());
            let (mut number, mut now_us) = (65_500_u16, 0);
            for (step, step_us) in steps {
                number = number.wrapping_add_signed(step);
                now_us += step_us;
                let wire = SequenceNumber(number);
                let mut got = Vec::new();
                if passing.pass(wire) {
                    got.push(InOrder { lost_packets: 0, item: number });
                } else {
                    passing.push(now_us, wire, number);
                }
                got.extend(std::iter::from_fn(|| passing.pop(now_us)));
                pushing.push(now_us, wire, number);
                let want: Vec<_> = std::iter::from_fn(|| pushing.pop(now_us)).collect();
                proptest::prop_assert_eq!(got, want);
            }
            proptest::prop_assert_eq!(passing.late_packets(), pushing.late_packets());
        }
    }

    #[test]
    fn a_packet_later_than_the_wait_has_no_turn() {
        let mut numbers: Vec<u16> = (1..60).filter(|&number| number != 5).collect();
        numbers.insert(50, 5);
        let got = sorted(&numbers);
        assert_eq!(got.len(), 58);
        assert!(got.contains(&(6, 1)) && !got.iter().any(|&(number, _)| number == 5));
    }

    #[test]
    fn a_sender_that_begins_again_is_followed() {
        let mut numbers: Vec<u16> = (40_000..40_100).collect();
        numbers.extend(100..200);
        let got = sorted(&numbers);
        assert_eq!(got.last(), Some(&(199, 0)));
        // What waited when the new sequence began may be lost, and no more.
        assert!(got.len() >= 190, "{}", got.len());
    }

    proptest::proptest! {
        #[test]
        fn it_waits_with_few_and_loses_none_in_any_order(
            steps in proptest::collection::vec((0..2000_u16, 0..100_000_i64), 0..300)
        ) {
            let mut reorder = Reorder::default();
            let (mut now_us, mut taken, mut accepted) = (0, 0, 0);
            for (number, step_us) in steps {
                now_us += step_us;
                accepted += usize::from(reorder.push(now_us, SequenceNumber(number), ()).is_none());
                while reorder.pop(now_us).is_some() {
                    taken += 1;
                }
                proptest::prop_assert!(reorder.waiting.len() <= MAX_WAITING);
            }
            while reorder.pop(i64::MAX).is_some() {
                taken += 1;
            }
            proptest::prop_assert_eq!(taken, accepted);
        }
    }
}
