//! Which of a trunk's addresses is tried first: priority, then chance by weight (RFC 2782), and
//! those that failed lately last.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use cheling_model::directory::TrunkAddress;

/// How long an address that failed is tried last.
const AVOIDED_FOR: Duration = Duration::from_secs(60);
/// The longest that a Retry-After makes us avoid an address.
const MAX_AVOIDED_FOR: Duration = Duration::from_secs(600);
/// Failing addresses that are remembered at most; what is more is not avoided.
const MAX_AVOIDED: usize = 256;

/// The addresses that failed lately.
#[derive(Debug, Default)]
pub(super) struct Places {
    avoided: HashMap<SocketAddr, Instant>,
}

impl Places {
    /// An address did not answer, or said 503 with this Retry-After.
    pub(super) fn failed(&mut self, now: Instant, place: SocketAddr, after: Option<Duration>) {
        self.avoided.retain(|_, until| *until > now);
        if self.avoided.len() < MAX_AVOIDED || self.avoided.contains_key(&place) {
            let pause = after.unwrap_or(AVOIDED_FOR).min(MAX_AVOIDED_FOR);
            self.avoided.insert(place, now + pause);
        }
    }

    /// An address answered.
    pub(super) fn works(&mut self, place: SocketAddr) {
        self.avoided.remove(&place);
    }

    /// Whether an address failed lately.
    pub(super) fn is_avoided(&self, now: Instant, place: SocketAddr) -> bool {
        self.avoided.get(&place).is_some_and(|until| *until > now)
    }

    /// The addresses in the order in which to try them. `chance` is any number; `first` is where we
    /// are registered.
    pub(super) fn order(
        &self,
        now: Instant,
        addresses: &[TrunkAddress],
        chance: u64,
        first: Option<SocketAddr>,
    ) -> Vec<TrunkAddress> {
        let mut ordered = by_weight(addresses, chance);
        // Both sorts are stable.
        ordered.sort_by_key(|it| Some(it.address) != first);
        ordered.sort_by_key(|it| self.is_avoided(now, it.address));
        ordered
    }
}

/// RFC 2782: the lowest priority first; within it, one after the other by chance, each with a share
/// that is its weight.
fn by_weight(addresses: &[TrunkAddress], mut chance: u64) -> Vec<TrunkAddress> {
    let mut left = addresses.to_vec();
    left.sort_by_key(|it| it.priority);
    let mut ordered = Vec::with_capacity(left.len());
    while let Some(priority) = left.first().map(|it| it.priority) {
        let class = left.iter().take_while(|it| it.priority == priority).count();
        let total: u64 = left[..class].iter().map(|it| u64::from(it.weight)).sum();
        let mut drawn = if total == 0 { 0 } else { chance % total };
        // Another draw each time, out of the same number (Knuth's MMIX constants).
        chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1) >> 1;
        let at = left[..class].iter().position(|it| {
            let weight = u64::from(it.weight);
            let is_drawn = drawn < weight;
            drawn = drawn.saturating_sub(weight);
            is_drawn
        });
        ordered.push(left.remove(at.unwrap_or(0)));
    }
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;
    use cheling_model::directory::TrunkTransport;

    fn place(last: u8, priority: u16, weight: u16) -> TrunkAddress {
        TrunkAddress {
            transport: TrunkTransport::Udp,
            address: SocketAddr::from(([192, 0, 2, last], 5060)),
            priority,
            weight,
            stream: None,
        }
    }

    fn last(places: &[TrunkAddress]) -> Vec<u8> {
        let octet = |it: &TrunkAddress| match it.address.ip() {
            std::net::IpAddr::V4(ip) => ip.octets()[3],
            std::net::IpAddr::V6(_) => 0,
        };
        places.iter().map(octet).collect()
    }

    #[test]
    fn priority_comes_first_and_weight_is_a_share_of_the_calls() {
        let all = [place(3, 20, 0), place(1, 10, 75), place(2, 10, 25)];
        let mut first = [0_u32; 4];
        for call in 0..1000_u64 {
            let order = last(&by_weight(&all, call.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 7));
            assert_eq!(order[2], 3, "the other priority is always last");
            first[usize::from(order[0])] += 1;
        }
        assert!((700..800).contains(&first[1]), "{first:?}");
        let equal = [place(1, 0, 0), place(2, 0, 0)];
        assert_eq!(last(&by_weight(&equal, 7)), [1, 2], "without weights, as they came");
    }

    #[test]
    fn what_failed_is_tried_last_until_it_answers_or_time_passes() {
        #[allow(clippy::disallowed_methods)] // Some instant is needed to count from.
        let now = Instant::now();
        let all = [place(1, 0, 0), place(2, 1, 0)];
        let mut places = Places::default();
        let order = |places: &Places, now, first| last(&places.order(now, &all, 0, first));
        assert_eq!(order(&places, now, None), [1, 2]);
        assert_eq!(order(&places, now, Some(all[1].address)), [2, 1], "where we are registered");
        places.failed(now, all[0].address, None);
        assert_eq!(order(&places, now, None), [2, 1]);
        assert_eq!(order(&places, now + AVOIDED_FOR, None), [1, 2]);
        places.works(all[0].address);
        assert_eq!(order(&places, now, None), [1, 2]);
        places.failed(now, all[0].address, Some(Duration::from_secs(300)));
        assert_eq!(order(&places, now + Duration::from_secs(299), None), [2, 1]);
    }
}
