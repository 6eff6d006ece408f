//! The wall clock, extrapolated from a monotonic one.
//!
//! A clock that is stepped during a call (NTP, an administrator) must not move the call's time
//! line: both clocks are read together once, and from then on only the monotonic one is asked.
//! While no call is open the anchor is renewed, so that a step is followed in the end.

use cheling_model::{Now, Timestamp};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// One anchor between the two clocks.
#[derive(Clone, Copy, Debug)]
pub struct AnchoredClock {
    monotonic: Instant,
    wall: Timestamp,
}

impl AnchoredClock {
    /// Reads both clocks.
    pub fn start() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let wall = Timestamp::from_micros(0) + since_epoch;
        Self { monotonic: Instant::now(), wall }
    }

    /// A new anchor if the wall clock has moved by more than `tolerance` against the old one.
    pub fn renewed(self, tolerance: Duration) -> Self {
        let new = Self::start();
        let old = self.at(new.monotonic).wall;
        let is_off = new.wall.since(old) > tolerance || old.since(new.wall) > tolerance;
        if is_off { new } else { self }
    }

    /// Both clocks now.
    pub fn now(&self) -> Now {
        self.at(Instant::now())
    }

    /// What the wall clock says at a moment of the monotonic one.
    pub fn at(&self, monotonic: Instant) -> Now {
        Now { monotonic, wall: self.wall + monotonic.saturating_duration_since(self.monotonic) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wall_clock_follows_the_monotonic_one() {
        let clock = AnchoredClock::start();
        let later = clock.at(clock.monotonic + Duration::from_millis(1500));
        assert_eq!(later.wall.since(clock.wall), Duration::from_millis(1500));
    }

    #[test]
    fn an_anchor_is_renewed_only_when_the_wall_clock_was_stepped() {
        let clock = AnchoredClock::start();
        let tolerance = Duration::from_secs(60);
        assert_eq!(clock.renewed(tolerance).wall, clock.wall);
        for wrong in [clock.wall + Duration::from_secs(3600), Timestamp::from_micros(0)] {
            let stepped = AnchoredClock { wall: wrong, ..clock };
            assert!(stepped.renewed(tolerance).wall.since(clock.wall) < tolerance);
            assert_ne!(stepped.renewed(tolerance).wall, wrong);
        }
    }
}
