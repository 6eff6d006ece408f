//! Gives every packet of one direction of a leg its place in the recording.
//!
//! Position is time in the call: 0 is the origin (the answer), 8000 is one second later. Within a
//! stream the RTP timestamp decides, for arrival shakes; between streams, after a jump of the
//! timestamp and against the drift of the sender's clock, arrival decides. The difference of the
//! two is the packet's *transit* (RFC 3550 §A.8). Its lowest values over a few seconds are the
//! packets that met no queue, so they follow the sender's clock: that *baseline* is what ties the
//! stream to the call.
//!
//! The whole direction is judged at once, after the call: a pause in which the timestamp stood
//! still and a stalled network look alike until the packets after them have been seen.
//!
//! Belongs here: times and numbers. Does not: payloads and samples (`lane`).

use std::collections::{HashMap, VecDeque};

use crate::RATE_HZ;
use crate::rtp::{ExtendedTimestamp, Ssrc, Timestamp};

/// Streams (SSRC and clock rate) of one direction; packets of more are not placed.
const MAX_STREAMS: usize = 1024;

/// Stands for the stream of packets that are one too many.
const NO_STREAM: u16 = u16::MAX;

/// Packets of one direction: 44 hours of 20 ms packets. More are not placed.
const MAX_PACKETS: usize = 8_000_000;

/// How long the baseline looks back and ahead for a packet that met no queue.
const BASELINE_US: i64 = 4_000_000;

/// The last packets before a pause or the end, which no longer move the stream by a little (0.5 s).
const TAIL_US: i64 = 500_000;

/// A packet this much earlier than the one before it has a new time base (1 s).
const MAX_EARLY_SAMPLES: i64 = RATE_HZ as i64;

/// A packet this much later than the one before it has a new time base (20 s).
pub(crate) const MAX_LATE_SAMPLES: i64 = 20 * RATE_HZ as i64;

/// How many packets after one with a new time base may speak for it.
const WITNESSES: usize = 4;

/// Two packets with a new time base must agree to this before they are believed (0.5 s).
const AGREEMENT_SAMPLES: i64 = RATE_HZ as i64 / 2;

/// An offset within this of the baseline is left alone (5 ms).
const DEADBAND_SAMPLES: i64 = RATE_HZ as i64 / 200;

/// An offset within this of the baseline creeps to it by a sample a packet; beyond, it steps
/// (40 ms).
const STEP_SAMPLES: i64 = RATE_HZ as i64 / 25;

/// What the time line needs to know of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketTime {
    /// When it arrived, in microseconds of any clock that only goes forward.
    pub arrival_us: i64,
    /// Its stream.
    pub ssrc: Ssrc,
    /// Ticks a second of its timestamp (of its payload type, not of the session).
    pub clock_rate_hz: u32,
    /// Its timestamp.
    pub timestamp: Timestamp,
}

/// A place in the recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// Samples after the origin; below 0 is before it.
    pub position: i64,
    /// Which stream of this direction the packet belongs to.
    pub stream: u16,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    arrival_us: i64,
    /// The timestamp, unwrapped, in samples; later the position.
    samples: i64,
    timestamp: Timestamp,
    stream: u16,
    is_placed: bool,
}

/// Collects the packet times of one direction, in any order.
#[derive(Debug)]
pub struct Timeline {
    origin_us: i64,
    entries: Vec<Entry>,
    streams: HashMap<(Ssrc, u32), u16>,
    clock_rates_hz: Vec<u32>,
    refused: u64,
}

impl Timeline {
    /// Begins a time line whose position 0 is `origin_us`, on the clock of the arrivals.
    pub fn new(origin_us: i64) -> Self {
        Self {
            origin_us,
            entries: Vec::new(),
            streams: HashMap::new(),
            clock_rates_hz: Vec::new(),
            refused: 0,
        }
    }

    /// Takes one packet that carries sound. Its index in [`Placements`] is the count of packets
    /// pushed before it.
    ///
    /// Packets of telephone events do not belong here: their timestamp stands still.
    pub fn push(&mut self, packet: PacketTime) {
        let clock_rate_hz = packet.clock_rate_hz.max(1);
        let key = (packet.ssrc, clock_rate_hz);
        let stream = match self.streams.get(&key) {
            Some(&stream) => stream,
            None if self.clock_rates_hz.len() < MAX_STREAMS => {
                let stream = self.clock_rates_hz.len() as u16;
                self.clock_rates_hz.push(clock_rate_hz);
                self.streams.insert(key, stream);
                stream
            }
            None => NO_STREAM,
        };
        if self.entries.len() >= MAX_PACKETS {
            self.refused += 1;
            return;
        }
        self.entries.push(Entry {
            arrival_us: packet.arrival_us.saturating_sub(self.origin_us),
            samples: 0,
            timestamp: packet.timestamp,
            stream,
            is_placed: false,
        });
    }

    /// Judges the whole direction and gives every packet its place.
    pub fn finish(mut self) -> Placements {
        let mut order: Vec<Vec<u32>> = vec![Vec::new(); self.clock_rates_hz.len()];
        for (index, entry) in self.entries.iter().enumerate() {
            if let Some(stream) = order.get_mut(usize::from(entry.stream)) {
                stream.push(index as u32);
            }
        }
        for (stream, mut indices) in order.into_iter().enumerate() {
            let arrival_us = |&index: &u32| self.entries[index as usize].arrival_us;
            if !indices.is_sorted_by_key(arrival_us) {
                indices.sort_by_key(arrival_us);
            }
            unwrap_timestamps(&mut self.entries, &indices, self.clock_rates_hz[stream]);
            for run in runs(&self.entries, &indices) {
                place_run(&mut self.entries, &run);
            }
        }
        Placements { entries: self.entries, refused: self.refused }
    }
}

/// Where each packet of one direction goes.
#[derive(Debug)]
pub struct Placements {
    entries: Vec<Entry>,
    refused: u64,
}

impl Placements {
    /// The place of the packet that was pushed after `index` others; `None` if it has none: a lone
    /// packet whose timestamp agrees with no other, or one past the bounds.
    pub fn get(&self, index: usize) -> Option<Placement> {
        let entry = self.entries.get(index).filter(|entry| entry.is_placed)?;
        Some(Placement { position: entry.samples, stream: entry.stream })
    }

    /// How many packets found no place.
    pub fn misplaced(&self) -> u64 {
        self.refused + self.entries.iter().filter(|entry| !entry.is_placed).count() as u64
    }
}

fn arrival_samples(entry: &Entry) -> i64 {
    entry.arrival_us.div_euclid(1_000_000 / i64::from(RATE_HZ))
}

/// How much later than its timestamp says a packet came.
fn transit(entry: &Entry) -> i64 {
    arrival_samples(entry).saturating_sub(entry.samples)
}

fn unwrap_timestamps(entries: &mut [Entry], indices: &[u32], clock_rate_hz: u32) {
    let mut last: Option<ExtendedTimestamp> = None;
    for &index in indices {
        let entry = &mut entries[index as usize];
        let unwrapped = match last {
            Some(last) => last.nearest(entry.timestamp),
            None => ExtendedTimestamp::first(entry.timestamp),
        };
        last = Some(unwrapped);
        entry.samples = if clock_rate_hz == RATE_HZ {
            unwrapped.0
        } else {
            (i128::from(unwrapped.0) * i128::from(RATE_HZ) / i128::from(clock_rate_hz)) as i64
        };
    }
}

/// Splits a stream where its timestamps take a new base. A packet that agrees with none near it is
/// in no run.
fn runs(entries: &[Entry], indices: &[u32]) -> Vec<Vec<u32>> {
    let transit_of = |index: u32| transit(&entries[index as usize]);
    let agree =
        |one: i64, other: i64| one.saturating_sub(other).saturating_abs() < AGREEMENT_SAMPLES;
    // Each run with the transit of its last packet.
    let mut runs: Vec<(i64, Vec<u32>)> = Vec::new();
    for (at, &index) in indices.iter().enumerate() {
        let this = transit_of(index);
        if let Some((last, run)) = runs.last_mut() {
            let step = this.saturating_sub(*last);
            if (-MAX_EARLY_SAMPLES..=MAX_LATE_SAMPLES).contains(&step) {
                *last = this;
                run.push(index);
                continue;
            }
        }
        // A packet of the old base may be overtaken by the first of the new one.
        let before = runs.len().checked_sub(2).and_then(|before| runs.get_mut(before));
        if let Some((last, run)) = before
            && agree(*last, this)
        {
            run.push(index);
            continue;
        }
        let mut witnesses = indices[at + 1..].iter().take(WITNESSES);
        if runs.is_empty() || witnesses.any(|&other| agree(transit_of(other), this)) {
            runs.push((this, vec![index]));
        }
    }
    runs.into_iter().map(|(_, run)| run).collect()
}

/// Places the packets of one run, in order of arrival: the timestamp plus an offset that follows
/// the baseline.
fn place_run(entries: &mut [Entry], run: &[u32]) {
    let ahead = look_ahead(entries, run);
    let Some(first) = ahead.first() else { return };
    let mut offset = first.lowest;
    let mut behind = Lowest::default();
    let mut before_us = None;
    for (&index, ahead) in run.iter().zip(&ahead) {
        let entry = &mut entries[index as usize];
        let forget_us = entry.arrival_us.saturating_sub(BASELINE_US);
        if before_us.is_none_or(|before_us| before_us < forget_us) {
            // What is late after a pause, or at the very start, is judged by what comes after it.
            behind = Lowest::default();
            behind.push(entry.arrival_us, ahead.lowest);
        }
        before_us = Some(entry.arrival_us);
        behind.push(entry.arrival_us, transit(entry));
        behind.forget_before(forget_us);
        // A rise that lasts is seen at once by looking ahead, a fall by looking back; a rise that
        // does not last (a stall, one late packet) is seen by neither.
        let baseline = ahead.lowest.max(behind.lowest());
        let error = baseline.saturating_sub(offset);
        // Too little comes after the last packets to tell a rise from a late packet.
        let is_tail = ahead.until_us.saturating_sub(entry.arrival_us) < TAIL_US;
        let step = if is_tail { AGREEMENT_SAMPLES } else { STEP_SAMPLES };
        if error.saturating_abs() > step {
            offset = baseline;
        } else if error.abs() > DEADBAND_SAMPLES && !is_tail {
            offset += error.signum();
        }
        entry.samples = entry.samples.saturating_add(offset);
        entry.is_placed = true;
    }
}

/// What comes after a packet.
#[derive(Clone, Copy, Debug, Default)]
struct Ahead {
    /// The lowest transit from it to [`BASELINE_US`] later.
    lowest: i64,
    /// When the last packet comes before a pause longer than that.
    until_us: i64,
}

fn look_ahead(entries: &[Entry], run: &[u32]) -> Vec<Ahead> {
    let mut lowest = Lowest::default();
    let mut ahead = vec![Ahead::default(); run.len()];
    let mut after: Option<Ahead> = None;
    let mut after_us = 0;
    for (at, &index) in run.iter().enumerate().rev() {
        let entry = &entries[index as usize];
        // The window runs backwards in time here, so its clock is negated.
        let clock_us = entry.arrival_us.saturating_neg();
        lowest.push(clock_us, transit(entry));
        lowest.forget_before(clock_us.saturating_sub(BASELINE_US));
        let is_near = |_: &Ahead| i64::saturating_sub(after_us, entry.arrival_us) <= BASELINE_US;
        let until_us = after.filter(is_near).map_or(entry.arrival_us, |after| after.until_us);
        ahead[at] = Ahead { lowest: lowest.lowest(), until_us };
        after = Some(ahead[at]);
        after_us = entry.arrival_us;
    }
    ahead
}

/// The lowest of the values in a sliding window of time.
#[derive(Debug, Default)]
struct Lowest(VecDeque<(i64, i64)>);

impl Lowest {
    fn push(&mut self, at_us: i64, value: i64) {
        while self.0.back().is_some_and(|&(_, last)| last >= value) {
            self.0.pop_back();
        }
        self.0.push_back((at_us, value));
    }

    fn forget_before(&mut self, at_us: i64) {
        while self.0.len() > 1 && self.0.front().is_some_and(|&(first, _)| first < at_us) {
            self.0.pop_front();
        }
    }

    fn lowest(&self) -> i64 {
        self.0.front().map_or(0, |&(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Packets of 20 ms: when they arrive and their timestamp.
    fn places(packets: &[(i64, u32)]) -> Vec<Option<i64>> {
        places_of(&packets.iter().map(|&(at, ts)| (at, 1, ts)).collect::<Vec<_>>())
    }

    fn places_of(packets: &[(i64, u32, u32)]) -> Vec<Option<i64>> {
        let mut timeline = Timeline::new(0);
        for &(arrival_us, ssrc, timestamp) in packets {
            timeline.push(PacketTime {
                arrival_us,
                ssrc: Ssrc(ssrc),
                clock_rate_hz: 8000,
                timestamp: Timestamp(timestamp),
            });
        }
        let places = timeline.finish();
        (0..packets.len()).map(|index| places.get(index).map(|at| at.position)).collect()
    }

    fn steady(count: u32) -> Vec<(i64, u32)> {
        (0..count).map(|n| (i64::from(n) * 20_000, 5000 + n * 160)).collect()
    }

    fn assert_in_time(places: &[Option<i64>], packets: &[(i64, u32)], slack: i64) {
        for (n, (place, (arrival_us, _))) in places.iter().zip(packets).enumerate() {
            let place = place.unwrap_or_else(|| panic!("packet {n} has no place"));
            let want = arrival_us / 125;
            assert!((place - want).abs() <= slack, "packet {n}: {place}, arrived {want}");
        }
    }

    #[test]
    fn arrival_jitter_does_not_move_audio() {
        let mut packets = steady(500);
        for (n, packet) in packets.iter_mut().enumerate() {
            packet.0 += (n as i64 * 7919) % 30 * 1000;
        }
        let places = places(&packets);
        let first = places[0].unwrap();
        for (n, place) in places.iter().enumerate() {
            assert_eq!(place.unwrap(), first + n as i64 * 160, "packet {n}");
        }
        assert!((0..=40).contains(&first));
    }

    #[test]
    fn order_of_pushing_does_not_matter() {
        let packets = steady(200);
        let mut backwards = packets.clone();
        backwards.reverse();
        let mut got = places(&backwards);
        got.reverse();
        assert_eq!(got, places(&packets));
    }

    #[test]
    fn a_timestamp_that_wraps_goes_on() {
        let packets: Vec<_> = (0..200_u32)
            .map(|n| (i64::from(n) * 20_000, 0xffff_ff00_u32.wrapping_add(n * 160)))
            .collect();
        assert_in_time(&places(&packets), &packets, 0);
    }

    #[test]
    fn a_timestamp_jump_costs_nothing() {
        for jump in [800, 160_000, 0x7fff_0000, 0x9000_0000_u32] {
            let mut packets = steady(600);
            for packet in &mut packets[300..] {
                packet.1 = packet.1.wrapping_add(jump);
            }
            assert_in_time(&places(&packets), &packets, 0);
            for packet in &mut packets[300..] {
                packet.1 = packet.1.wrapping_sub(jump).wrapping_sub(jump);
            }
            assert_in_time(&places(&packets), &packets, 0);
        }
    }

    #[test]
    fn a_hold_with_a_frozen_timestamp_is_silence_of_its_length() {
        for hold_us in [100_000, 1_500_000, 6_000_000, 60_000_000, 2 * 3_600_000_000_i64] {
            let mut packets = steady(600);
            for packet in &mut packets[300..] {
                packet.0 += hold_us;
            }
            assert_in_time(&places(&packets), &packets, 0);
        }
    }

    #[test]
    fn a_stalled_network_does_not_move_audio() {
        for stall_us in [300_000, 2_000_000, 8_000_000_i64] {
            let mut packets = steady(1200);
            let until = 300 * 20_000 + stall_us;
            for packet in &mut packets[300..] {
                packet.0 = packet.0.max(until);
            }
            assert_in_time(&places(&packets), &steady(1200), 0);
        }
    }

    #[test]
    fn a_late_start_is_placed_by_what_follows() {
        let mut packets = steady(600);
        for packet in &mut packets[..15] {
            packet.0 = 300_000;
        }
        assert_in_time(&places(&packets), &steady(600), 0);
    }

    #[test]
    fn an_hour_at_200_ppm_stays_within_10_ms() {
        for ppm in [-200_i64, -37, 200] {
            let packets: Vec<_> = (0..180_000_u32)
                .map(|n| {
                    let sent_us = i64::from(n) * 20_000;
                    let jitter_us = (i64::from(n) * 7919) % 12 * 1000;
                    (sent_us + sent_us * ppm / 1_000_000 + jitter_us, n.wrapping_mul(160))
                })
                .collect();
            let places = places(&packets);
            for (n, place) in places.iter().enumerate() {
                let sent_us = n as i64 * 20_000;
                let want = (sent_us + sent_us * ppm / 1_000_000) / 125;
                let error = place.unwrap() - want;
                assert!(error.abs() <= 80, "{ppm} ppm: packet {n} is {error} samples off");
            }
            // And no step is heard: neighbours lie a packet apart, give or take one sample.
            for pair in places.windows(2) {
                let apart = pair[1].unwrap() - pair[0].unwrap();
                assert!((159..=161).contains(&apart), "{ppm} ppm: {apart}");
            }
        }
    }

    #[test]
    fn a_new_ssrc_goes_on_where_it_arrives() {
        let mut packets: Vec<_> = steady(300).into_iter().map(|(at, ts)| (at, 1, ts)).collect();
        packets.extend((300..600_u32).map(|n| (i64::from(n) * 20_000, 2, n.wrapping_mul(7) + 9)));
        for (n, packet) in packets.iter_mut().enumerate().skip(300) {
            packet.2 = 0xdead_0000_u32.wrapping_add((n as u32 - 300) * 160);
        }
        for (n, place) in places_of(&packets).into_iter().enumerate() {
            assert_eq!(place, Some(n as i64 * 160));
        }
    }

    #[test]
    fn one_wild_packet_has_no_place_and_moves_nothing() {
        let mut packets = steady(600);
        packets.insert(300, (300 * 20_000, 0x8765_4321));
        let mut places = places(&packets);
        assert_eq!(places.remove(300), None);
        packets.remove(300);
        assert_in_time(&places, &packets, 0);
    }

    #[test]
    fn a_faster_clock_is_scaled_to_samples() {
        let mut timeline = Timeline::new(1_000_000);
        for n in 0..50_u32 {
            timeline.push(PacketTime {
                arrival_us: 1_000_000 + i64::from(n) * 20_000,
                ssrc: Ssrc(5),
                clock_rate_hz: 48_000,
                timestamp: Timestamp(n * 960),
            });
        }
        let places = timeline.finish();
        for n in 0..50 {
            assert_eq!(places.get(n).unwrap().position, n as i64 * 160);
        }
    }

    #[test]
    fn endless_new_streams_are_refused() {
        let packets: Vec<_> = (0..2000).map(|n| (i64::from(n) * 1000, n, 0)).collect();
        let placed = places_of(&packets).into_iter().flatten().count();
        assert_eq!(placed, MAX_STREAMS);
    }

    proptest! {
        /// Whatever is sent, nothing is placed later than it arrived (and the step's tolerance):
        /// no timestamp makes hours of silence.
        #[test]
        fn no_packet_is_placed_in_the_future(
            packets in prop::collection::vec(
                (0..600_000_000_i64, 0..3_u32, any::<u32>(), 1..50_u32), 0..300)
        ) {
            let mut timeline = Timeline::new(0);
            for &(arrival_us, ssrc, timestamp, rate) in &packets {
                timeline.push(PacketTime {
                    arrival_us,
                    ssrc: Ssrc(ssrc),
                    clock_rate_hz: rate * 8000,
                    timestamp: Timestamp(timestamp),
                });
            }
            let places = timeline.finish();
            for (index, &(arrival_us, ..)) in packets.iter().enumerate() {
                if let Some(place) = places.get(index) {
                    prop_assert!(place.position <= arrival_us / 125 + AGREEMENT_SAMPLES);
                }
            }
        }
    }
}
