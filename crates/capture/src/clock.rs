//! The wall clock, extrapolated from a monotonic one.
//!
//! A clock that is stepped during a call (NTP, an administrator) must not move the call's time
//! line: each owner anchors both clocks once and from then on asks only the monotonic one.

use cheling_model::{Now, Timestamp};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

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
    use std::time::Duration;

    #[test]
    fn the_wall_clock_follows_the_monotonic_one() {
        let clock = AnchoredClock::start();
        let later = clock.at(clock.monotonic + Duration::from_millis(1500));
        assert_eq!(later.wall.since(clock.wall), Duration::from_millis(1500));
    }
}
