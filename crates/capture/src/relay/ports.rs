//! Which RTP port pairs are free, and how long one rests before another call gets it.
//!
//! A pair rests so that packets still under way to the old call find no socket, and carries who
//! was heard on it to its next call ([`Strays`]), so that a phone which never learned that its call
//! ended is not mistaken for a party of the next one, nor of the one after that.
//!
//! Those that served nobody yet come in an order of chance: nobody outside can tell the ports of
//! the next call, those of the calls before a restart are not the first to be used after it, and
//! another program that holds a hundred ports in a row is met once in a while instead of a hundred
//! times running, which no call survives.

use super::strays::Strays;
use std::collections::VecDeque;
use std::hash::{BuildHasher as _, RandomState};
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

/// One RTP port (even) and the RTCP port after it, for one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortLease {
    /// The even port.
    pub rtp_port: u16,
    /// Counts the leases of this pair; a lease can be returned once.
    pub generation: u32,
    /// Who was heard there before, and must not be learned from anew.
    pub strays: Strays,
}

#[derive(Clone, Copy, Debug)]
struct Pair {
    generation: u32,
    is_leased: bool,
    strays: Strays,
}

/// All port pairs of the media range. Leases the one that rested longest.
#[derive(Debug)]
pub struct PortPool {
    first: u16,
    pairs: Vec<Pair>,
    fresh: VecDeque<usize>,
    resting: VecDeque<(Instant, usize)>,
    rest: Duration,
}

impl PortPool {
    /// A pool over the even ports of `range` whose odd successor is in `range` too.
    pub fn new(range: RangeInclusive<u16>, rest: Duration) -> Self {
        let first = range.start().saturating_add(range.start() & 1);
        let count = (u32::from(*range.end()) + 1).saturating_sub(u32::from(first)) / 2;
        let pair = Pair { generation: 0, is_leased: false, strays: Strays::default() };
        let mut fresh: Vec<usize> = (0..count as usize).collect();
        let chance = RandomState::new();
        fresh.sort_by_cached_key(|index| chance.hash_one(index));
        Self {
            first,
            pairs: vec![pair; count as usize],
            fresh: fresh.into(),
            resting: VecDeque::new(),
            rest,
        }
    }

    /// How many pairs there are.
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Leases a pair; `None` if all are leased or resting.
    pub fn lease(&mut self, now: Instant) -> Option<PortLease> {
        let index = match self.fresh.pop_front() {
            Some(index) => index,
            None => {
                let (since, index) = *self.resting.front()?;
                if now.saturating_duration_since(since) < self.rest {
                    return None;
                }
                self.resting.pop_front();
                index
            }
        };
        let pair = &mut self.pairs[index];
        pair.generation = pair.generation.wrapping_add(1);
        pair.is_leased = true;
        Some(PortLease {
            rtp_port: self.first + 2 * index as u16,
            generation: pair.generation,
            strays: std::mem::take(&mut pair.strays),
        })
    }

    /// Takes a pair back with who was heard there, and lets it rest. A lease that was returned
    /// before is ignored.
    pub fn release(&mut self, lease: PortLease, strays: Strays, now: Instant) {
        let index = usize::from(lease.rtp_port.wrapping_sub(self.first) / 2);
        let Some(pair) = self.pairs.get_mut(index) else { return };
        if !pair.is_leased || pair.generation != lease.generation {
            return;
        }
        pair.is_leased = false;
        pair.strays = strays;
        self.resting.push_back((now, index));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REST: Duration = Duration::from_secs(30);

    #[test]
    fn pairs_are_even_and_inside_the_range() {
        for (range, want) in [
            (10_000..=10_003, vec![10_000, 10_002]),
            (10_001..=10_004, vec![10_002]),
            (10_001..=10_002, vec![]),
            (65_534..=65_535, vec![65_534]),
        ] {
            let mut pool = PortPool::new(range.clone(), REST);
            let now = Instant::now();
            let mut got: Vec<u16> =
                std::iter::from_fn(|| pool.lease(now)).map(|lease| lease.rtp_port).collect();
            got.sort();
            assert_eq!(got, want, "{range:?}");
        }
    }

    #[test]
    fn two_programs_with_the_same_range_do_not_go_through_it_side_by_side() {
        let now = Instant::now();
        let [mut one, mut other] = [(); 2].map(|()| PortPool::new(10_000..=29_999, REST));
        let mut next = || [&mut one, &mut other].map(|pool| pool.lease(now).unwrap().rtp_port);
        let same = (0..1000).filter(|_| next()[0] == next()[1]).count();
        assert!(same < 100, "{same} of a thousand");
    }

    #[test]
    fn a_pair_rests_before_it_serves_again_and_remembers_who_was_heard() {
        let mut pool = PortPool::new(10_000..=10_001, REST);
        let start = Instant::now();
        let first = pool.lease(start).unwrap();
        assert_eq!(pool.lease(start), None);
        let mut strays = Strays::default();
        strays.add("192.0.2.1".parse().unwrap(), 7);
        pool.release(first, strays, start);
        assert_eq!(pool.lease(start + REST - Duration::from_millis(1)), None);
        let second = pool.lease(start + REST).unwrap();
        assert_eq!(second.rtp_port, first.rtp_port);
        assert_ne!(second.generation, first.generation);
        assert_eq!(second.strays, strays);
    }

    #[test]
    fn a_lease_returned_twice_does_not_free_the_pair_of_the_next_call() {
        let mut pool = PortPool::new(10_000..=10_001, REST);
        let start = Instant::now();
        let first = pool.lease(start).unwrap();
        pool.release(first, Strays::default(), start);
        let second = pool.lease(start + REST).unwrap();
        pool.release(first, Strays::default(), start + REST);
        assert_eq!(pool.lease(start + 3 * REST), None);
        pool.release(second, Strays::default(), start + REST);
        assert!(pool.lease(start + 3 * REST).is_some());
    }

    #[test]
    fn ten_thousand_reuses_never_give_a_pair_twice_or_early() {
        let mut pool = PortPool::new(20_000..=20_099, REST);
        let mut now = Instant::now();
        let mut released: std::collections::HashMap<u16, Instant> = Default::default();
        for _ in 0..10_000 {
            now += Duration::from_millis(700);
            let lease = pool.lease(now).unwrap();
            if let Some(at) = released.get(&lease.rtp_port) {
                assert!(now - *at >= REST);
            }
            pool.release(lease, Strays::default(), now);
            released.insert(lease.rtp_port, now);
        }
    }
}
