//! What the relay threads have seen, as plain atomics: written by one thread, read by any.

use cheling_model::{Lane, Timestamp};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// A count with a single writer, so that adding needs no locked instruction.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Adds one. Only the owning thread may call this.
    pub fn bump(&self) {
        self.add(1);
    }

    /// Adds `by`. Only the owning thread may call this.
    pub fn add(&self, by: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(by), Relaxed);
    }

    /// Takes `by` away. Only the owning thread may call this.
    pub fn subtract(&self, by: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_sub(by), Relaxed);
    }

    /// Its value.
    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// One side of one call.
#[derive(Debug, Default)]
pub struct LaneCounters {
    /// RTP packets accepted from this side.
    pub rtp_packets: Count,
    /// RTCP packets accepted from this side.
    pub rtcp_packets: Count,
    /// Packets on this side's ports that came from somebody else.
    pub stranger_packets: Count,
    /// SRTP packets that could not be opened: forged, repeated, or of another key.
    pub refused_packets: Count,
    /// Checks with wrong credentials on this side's port, and handshakes that did not come from
    /// where its checks do.
    pub refused_checks: Count,
    /// Handshakes with this side that brought no keys.
    pub failed_handshakes: Count,
    /// Datagrams that are neither RTP nor RTCP.
    pub other_datagrams: Count,
    /// Packets from this side that could not be sent on.
    pub unsent_packets: Count,
    /// Packets that were sent on but not recorded, because the tap's queue was full.
    pub tap_dropped_packets: Count,
    last_packet_us: AtomicI64,
    is_locked: AtomicBool,
}

impl LaneCounters {
    pub(super) fn heard(&self, at: Timestamp) {
        self.last_packet_us.store(at.as_micros(), Relaxed);
    }

    pub(super) fn set_locked(&self, is_locked: bool) {
        self.is_locked.store(is_locked, Relaxed);
    }
}

/// Both sides of one call: [customer, agent].
#[derive(Debug, Default)]
pub struct CallCounters {
    lanes: [LaneCounters; 2],
}

impl CallCounters {
    /// One side's.
    pub fn lane(&self, lane: Lane) -> &LaneCounters {
        &self.lanes[lane.index()]
    }

    /// Both sides as values.
    pub fn snapshot(&self, now: Timestamp) -> CallStatistics {
        CallStatistics {
            lanes: Lane::BOTH.map(|lane| {
                let counters = self.lane(lane);
                let last_us = counters.last_packet_us.load(Relaxed);
                LaneStatistics {
                    rtp_packets: counters.rtp_packets.value(),
                    rtcp_packets: counters.rtcp_packets.value(),
                    stranger_packets: counters.stranger_packets.value(),
                    refused_packets: counters.refused_packets.value(),
                    refused_checks: counters.refused_checks.value(),
                    failed_handshakes: counters.failed_handshakes.value(),
                    other_datagrams: counters.other_datagrams.value(),
                    unsent_packets: counters.unsent_packets.value(),
                    tap_dropped_packets: counters.tap_dropped_packets.value(),
                    is_source_locked: counters.is_locked.load(Relaxed),
                    silent_for: (last_us != 0).then(|| now.since(Timestamp::from_micros(last_us))),
                }
            }),
        }
    }
}

/// One call at one moment: [customer, agent].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallStatistics {
    /// Per side.
    pub lanes: [LaneStatistics; 2],
}

impl CallStatistics {
    /// The side that says nothing while the other is heard: one-way audio, if it lasts `silence`.
    pub fn one_way(&self, silence: Duration) -> Option<Lane> {
        let is_silent = |lane: Lane| {
            self.lanes[lane.index()].silent_for.is_none_or(|silent_for| silent_for >= silence)
        };
        match Lane::BOTH.map(is_silent) {
            [true, false] => Some(Lane::Customer),
            [false, true] => Some(Lane::Agent),
            _ => None,
        }
    }
}

/// One side of one call at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LaneStatistics {
    /// See [`LaneCounters`].
    pub rtp_packets: u64,
    /// See [`LaneCounters`].
    pub rtcp_packets: u64,
    /// See [`LaneCounters`].
    pub stranger_packets: u64,
    /// See [`LaneCounters`].
    pub refused_packets: u64,
    /// See [`LaneCounters`].
    pub refused_checks: u64,
    /// See [`LaneCounters`].
    pub failed_handshakes: u64,
    /// See [`LaneCounters`].
    pub other_datagrams: u64,
    /// See [`LaneCounters`].
    pub unsent_packets: u64,
    /// See [`LaneCounters`].
    pub tap_dropped_packets: u64,
    /// Whether the source of its RTP is known for good.
    pub is_source_locked: bool,
    /// Time since its last RTP packet; `None` if none came yet.
    pub silent_for: Option<Duration>,
}

/// One relay thread since its start.
#[derive(Debug, Default)]
pub struct ThreadCounters {
    /// Calls open now.
    pub open_calls: Count,
    /// Relays that could not be opened.
    pub failed_opens: Count,
    /// RTP and RTCP packets sent on.
    pub relayed_packets: Count,
    /// Packets from elsewhere.
    pub stranger_packets: Count,
    /// SRTP packets that could not be opened.
    pub refused_packets: Count,
    /// Checks with wrong credentials, and handshakes that did not come from where checks do.
    pub refused_checks: Count,
    /// Handshakes that brought keys.
    pub handshakes: Count,
    /// Handshakes that brought none.
    pub failed_handshakes: Count,
    /// Datagrams of handshakes that were dropped because too many waited, or after too many failed
    /// handshakes of a side.
    pub dropped_handshakes: Count,
    /// Datagrams that are neither RTP nor RTCP.
    pub other_datagrams: Count,
    /// Packets that could not be sent on.
    pub unsent_packets: Count,
    /// Packets not recorded because the tap's queue was full.
    pub tap_dropped_packets: Count,
    /// Blocks handed to the tap.
    pub tap_blocks: Count,
}

/// All relay threads since their start, added up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RelayTotals {
    /// See [`ThreadCounters`].
    pub open_calls: u64,
    /// See [`ThreadCounters`].
    pub failed_opens: u64,
    /// See [`ThreadCounters`].
    pub relayed_packets: u64,
    /// See [`ThreadCounters`].
    pub stranger_packets: u64,
    /// See [`ThreadCounters`].
    pub refused_packets: u64,
    /// See [`ThreadCounters`].
    pub refused_checks: u64,
    /// See [`ThreadCounters`].
    pub handshakes: u64,
    /// See [`ThreadCounters`].
    pub failed_handshakes: u64,
    /// See [`ThreadCounters`].
    pub dropped_handshakes: u64,
    /// See [`ThreadCounters`].
    pub other_datagrams: u64,
    /// See [`ThreadCounters`].
    pub unsent_packets: u64,
    /// See [`ThreadCounters`].
    pub tap_dropped_packets: u64,
    /// See [`ThreadCounters`].
    pub tap_blocks: u64,
}

impl RelayTotals {
    pub(super) fn add(&mut self, thread: &ThreadCounters) {
        self.open_calls += thread.open_calls.value();
        self.failed_opens += thread.failed_opens.value();
        self.relayed_packets += thread.relayed_packets.value();
        self.stranger_packets += thread.stranger_packets.value();
        self.refused_packets += thread.refused_packets.value();
        self.refused_checks += thread.refused_checks.value();
        self.handshakes += thread.handshakes.value();
        self.failed_handshakes += thread.failed_handshakes.value();
        self.dropped_handshakes += thread.dropped_handshakes.value();
        self.other_datagrams += thread.other_datagrams.value();
        self.unsent_packets += thread.unsent_packets.value();
        self.tap_dropped_packets += thread.tap_dropped_packets.value();
        self.tap_blocks += thread.tap_blocks.value();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_way_names_the_silent_side_only() {
        let heard = |ms| LaneStatistics {
            silent_for: Some(Duration::from_millis(ms)),
            ..LaneStatistics::default()
        };
        let never = LaneStatistics::default();
        let limit = Duration::from_secs(5);
        for (lanes, want) in [
            ([heard(20), heard(20)], None),
            ([never, heard(20)], Some(Lane::Customer)),
            ([heard(20), heard(6_000)], Some(Lane::Agent)),
            ([never, never], None), // both on hold, or nothing yet
        ] {
            assert_eq!(CallStatistics { lanes }.one_way(limit), want, "{lanes:?}");
        }
    }
}
