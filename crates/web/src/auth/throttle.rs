//! Slows down guessing: counts failed sign-ins per name and per address.
//!
//! A bucket of attempts that drains with time, one per key, in a map of bounded size. When the map
//! is full, drained buckets are forgotten first (they say nothing), then the least filled: an
//! attacker who makes up names cannot push out the name under attack.

use cheling_model::Timestamp;
use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

/// Failures allowed for each key.
#[derive(Clone, Debug)]
pub struct Throttle<K> {
    burst: u32,
    refill: Duration,
    capacity: usize,
    buckets: HashMap<K, Bucket>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// Failures that count, in microseconds of refill time.
    level_us: i64,
    at: Timestamp,
}

impl<K: Hash + Eq + Clone> Throttle<K> {
    /// `burst` failures at once, then one more for each `refill`; at most `capacity` keys.
    pub fn new(burst: u32, refill: Duration, capacity: usize) -> Self {
        Self { burst, refill, capacity, buckets: HashMap::new() }
    }

    /// How long to wait before the next attempt is heard, or `None` if it may come now.
    pub fn wait(&self, key: &K, now: Timestamp) -> Option<Duration> {
        let level = self.level_us(self.buckets.get(key)?, now);
        let over = level - self.refill_us() * i64::from(self.burst.saturating_sub(1));
        u64::try_from(over).ok().filter(|over| *over > 0).map(Duration::from_micros)
    }

    /// Counts one attempt, before its outcome is known, so that many at once count too.
    pub fn count(&mut self, key: K, now: Timestamp) {
        if !self.buckets.contains_key(&key) && self.buckets.len() >= self.capacity {
            self.make_room(now);
        }
        let level = self.buckets.get(&key).map_or(0, |bucket| self.level_us(bucket, now));
        let level_us = level + self.refill_us();
        self.buckets.insert(key, Bucket { level_us, at: now });
    }

    /// The attempt was good: its key starts afresh.
    pub fn forgive(&mut self, key: &K) {
        self.buckets.remove(key);
    }

    /// The attempt was good, but the key's other ones still count.
    pub fn take_back(&mut self, key: &K) {
        let refill_us = self.refill_us();
        if let Some(bucket) = self.buckets.get_mut(key) {
            bucket.level_us = bucket.level_us.saturating_sub(refill_us).max(0);
        }
    }

    fn make_room(&mut self, now: Timestamp) {
        let empty: Vec<K> = self
            .buckets
            .iter()
            .filter(|(_, bucket)| self.level_us(bucket, now) == 0)
            .map(|(key, _)| key.clone())
            .collect();
        for key in empty {
            self.buckets.remove(&key);
        }
        if self.buckets.len() >= self.capacity {
            let least = self.buckets.iter().min_by_key(|(_, bucket)| self.level_us(bucket, now));
            if let Some(key) = least.map(|(key, _)| key.clone()) {
                self.buckets.remove(&key);
            }
        }
    }

    fn level_us(&self, bucket: &Bucket, now: Timestamp) -> i64 {
        let passed = i64::try_from(now.since(bucket.at).as_micros()).unwrap_or(i64::MAX);
        bucket.level_us.saturating_sub(passed).max(0)
    }

    fn refill_us(&self) -> i64 {
        i64::try_from(self.refill.as_micros()).unwrap_or(i64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn after_the_burst_one_attempt_per_refill() {
        let mut throttle = Throttle::new(3, Duration::from_secs(60), 10);
        for _ in 0..3 {
            assert_eq!(throttle.wait(&"chenjing", at(0)), None);
            throttle.count("chenjing", at(0));
        }
        assert_eq!(throttle.wait(&"chenjing", at(0)), Some(Duration::from_secs(60)));
        assert_eq!(throttle.wait(&"chenjing", at(45)), Some(Duration::from_secs(15)));
        assert_eq!(throttle.wait(&"chenjing", at(60)), None);
        assert_eq!(throttle.wait(&"lihua", at(0)), None);
        throttle.forgive(&"chenjing");
        assert_eq!(throttle.wait(&"chenjing", at(0)), None);
    }

    #[test]
    fn made_up_keys_do_not_push_out_the_one_under_attack() {
        let mut throttle = Throttle::new(3, Duration::from_secs(60), 10);
        (0..3).for_each(|_| throttle.count(0, at(0)));
        (1..1000).for_each(|key| throttle.count(key, at(1)));
        assert!(throttle.buckets.len() <= 10);
        assert!(throttle.wait(&0, at(1)).is_some());
    }
}
