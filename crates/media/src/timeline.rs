//! Gives every packet of one direction of a leg its place in the recording.
//!
//! Position is time in the call: 0 is the origin (the answer), 8000 is one second later. Within a
//! stream the RTP timestamp decides, for arrival shakes; between streams, after a jump of the
//! timestamp and against the drift of the sender's clock, arrival decides. The difference of the
//! two is the packet's *transit* (RFC 3550 §A.8). Its lowest values over a few seconds are the
//! packets that met no queue, so they follow the sender's clock: that *baseline* is what ties the
//! stream to the call.
//!
//! A packet is judged with the seconds after it in view: a pause in which the timestamp stood
//! still and a stalled network look alike until the packets after them have been seen. So packets
//! wait for about a minute, and then only their places are kept, which take nearly nothing while a
//! stream goes on as it did: a call of a day needs no more memory than one of a minute.
//!
//! Belongs here: times and numbers. Does not: payloads and samples (`lane`).

mod places;
mod runs;

use crate::RATE_HZ;
use crate::keyed::Keyed;
use crate::rtp::{ExtendedTimestamp, Ssrc, Timestamp};
use runs::{BASELINE_US, Runs};

pub use places::Placements;

/// Streams (SSRC and clock rate) of one direction; packets of more are not placed.
const MAX_STREAMS: usize = 1024;

/// Stands for the stream of packets that are one too many.
const NO_STREAM: u16 = u16::MAX;

/// A packet this much later than the one before it has a new time base (20 s).
pub(crate) const MAX_LATE_SAMPLES: i64 = 20 * RATE_HZ as i64;

/// Packets that arrived within this time are judged together.
const BLOCK_US: i64 = 60_000_000;

/// What must have been seen after a packet before it is judged: the baseline, and as much again for
/// what speaks for the last packets of the baseline and for packets that were pushed late.
const AHEAD_US: i64 = 2 * BASELINE_US + 2_000_000;

/// Packets that wait to be judged: more in a block, and the older half is judged by what there is.
const MAX_WAITING: usize = 1 << 17;

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

/// How far a packet has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Waiting,
    Placed,
    Unplaced,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    arrival_us: i64,
    /// The timestamp, unwrapped, in samples; once placed, the position.
    samples: i64,
    timestamp: Timestamp,
    stream: u16,
    fate: Fate,
}

impl Entry {
    /// How much later than its timestamp says the packet came.
    fn transit(&self) -> i64 {
        let arrival_samples = self.arrival_us.div_euclid(1_000_000 / i64::from(RATE_HZ));
        arrival_samples.saturating_sub(self.samples)
    }
}

/// What is known of a stream up to the packets that still wait.
#[derive(Debug)]
struct Stream {
    clock_rate_hz: u32,
    last: Option<ExtendedTimestamp>,
    runs: Runs,
}

/// Takes the packet times of one direction, in about the order of their arrival.
#[derive(Debug)]
pub struct Timeline {
    origin_us: i64,
    /// By SSRC and clock rate.
    streams: Keyed<(Ssrc, u32), Stream>,
    /// In the order they were pushed.
    waiting: Vec<Entry>,
    /// What arrived before this has been judged.
    judged_us: i64,
    newest_us: i64,
    places: places::Recorder,
}

impl Timeline {
    /// Begins a time line whose position 0 is `origin_us`, on the clock of the arrivals.
    pub fn new(origin_us: i64) -> Self {
        Self {
            origin_us,
            streams: Keyed::default(),
            waiting: Vec::new(),
            judged_us: i64::MAX,
            newest_us: i64::MIN,
            places: places::Recorder::default(),
        }
    }

    /// Takes one packet that carries sound. [`Placements`] gives its place in the order of pushing.
    ///
    /// Within some seconds of arrival the order of pushing does not matter. Packets of telephone
    /// events do not belong here: their timestamp stands still.
    pub fn push(&mut self, packet: PacketTime) {
        let clock_rate_hz = packet.clock_rate_hz.max(1);
        let new = || Stream { clock_rate_hz, last: None, runs: Runs::default() };
        let key = (packet.ssrc, clock_rate_hz);
        let stream = self.streams.find_or_add(key, MAX_STREAMS, new);
        let stream = stream.map_or(NO_STREAM, |stream| stream as u16);
        let arrival_us = packet.arrival_us.saturating_sub(self.origin_us);
        let fate = if stream == NO_STREAM { Fate::Unplaced } else { Fate::Waiting };
        let timestamp = packet.timestamp;
        self.waiting.push(Entry { arrival_us, samples: 0, timestamp, stream, fate });
        self.newest_us = self.newest_us.max(arrival_us);
        self.judged_us = self.judged_us.min(arrival_us);
        if self.waiting.len() >= MAX_WAITING {
            self.judge_half();
        } else if self.newest_us.saturating_sub(self.judged_us) > BLOCK_US + AHEAD_US {
            self.judge(self.newest_us - AHEAD_US, Patience::OneBlock);
        }
    }

    /// Judges what still waits, and gives every packet its place.
    pub fn finish(mut self) -> Placements {
        self.judge(i64::MAX, Patience::None);
        self.places.finish()
    }

    /// Judges the older half of what waits, whatever there is after it.
    fn judge_half(&mut self) {
        let mut arrivals: Vec<i64> = self.waiting.iter().map(|entry| entry.arrival_us).collect();
        let (_, median, _) = arrivals.select_nth_unstable(MAX_WAITING / 2);
        let until_us = median.saturating_add(1);
        self.judge(until_us, Patience::None);
    }

    /// Judges the packets that arrived before a moment.
    fn judge(&mut self, until_us: i64, patience: Patience) {
        let mut indices: Vec<u32> = (0..self.waiting.len() as u32).collect();
        let entries = &mut self.waiting;
        indices.retain(|&index| entries[index as usize].fate == Fate::Waiting);
        let place_of = |&index: &u32| {
            let entry = &entries[index as usize];
            (entry.stream, entry.arrival_us)
        };
        if !indices.is_sorted_by_key(place_of) {
            indices.sort_by_key(place_of);
        }
        let give_up_us = match patience {
            Patience::None => i64::MAX,
            Patience::OneBlock => until_us - BLOCK_US,
        };
        let mut rest = indices.as_slice();
        while let Some(&first) = rest.first() {
            let stream = entries[first as usize].stream;
            let is_other = |index: &&u32| entries[**index as usize].stream != stream;
            let count = rest.iter().position(|index| is_other(&index)).unwrap_or(rest.len());
            let (indices, others) = rest.split_at(count);
            self.streams.at(usize::from(stream)).judge(entries, indices, until_us, give_up_us);
            rest = others;
        }
        let is_judged = |entry: &Entry| entry.fate != Fate::Waiting;
        let judged = self.waiting.iter().take_while(|entry| is_judged(entry)).count();
        for entry in self.waiting.drain(..judged) {
            let Entry { samples: position, stream, .. } = entry;
            let is_placed = entry.fate == Fate::Placed;
            self.places.push(is_placed.then_some(Placement { position, stream }));
        }
        self.judged_us = until_us;
    }
}

/// How long a packet with a new time base may wait for others to speak for it.
#[derive(Clone, Copy, Debug)]
enum Patience {
    /// It is judged by what there is.
    None,
    /// Until what arrived in the block after it is judged.
    OneBlock,
}

impl Stream {
    /// Judges its waiting packets, in order of arrival, that arrived before a moment; those after
    /// it are looked at and wait on.
    fn judge(&mut self, entries: &mut [Entry], indices: &[u32], until_us: i64, give_up_us: i64) {
        self.unwrap_timestamps(entries, indices);
        let judged = self.runs.judge(entries, indices, until_us, give_up_us);
        for &index in &indices[..judged] {
            self.last = Some(next_timestamp(self.last, entries[index as usize].timestamp));
        }
    }

    fn unwrap_timestamps(&self, entries: &mut [Entry], indices: &[u32]) {
        let mut last = self.last;
        for &index in indices {
            let entry = &mut entries[index as usize];
            let unwrapped = next_timestamp(last, entry.timestamp);
            last = Some(unwrapped);
            entry.samples = if self.clock_rate_hz == RATE_HZ {
                unwrapped.0
            } else {
                let samples = i128::from(unwrapped.0) * i128::from(RATE_HZ);
                (samples / i128::from(self.clock_rate_hz)) as i64
            };
        }
    }
}

fn next_timestamp(last: Option<ExtendedTimestamp>, timestamp: Timestamp) -> ExtendedTimestamp {
    match last {
        Some(last) => last.nearest(timestamp),
        None => ExtendedTimestamp::first(timestamp),
    }
}

#[cfg(test)]
mod tests;
