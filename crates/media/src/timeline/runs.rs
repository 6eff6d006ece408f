//! One stream's packets: where its timestamps take a new base, and where between two such places
//! each packet goes.
//!
//! Judged a block at a time, with the packets after the block in view; what is known at the end of a
//! block is kept for the next.

use std::collections::VecDeque;

use super::{Entry, Fate, MAX_LATE_SAMPLES};
use crate::RATE_HZ;

/// How long the baseline looks back and ahead for a packet that met no queue.
pub(super) const BASELINE_US: i64 = 4_000_000;

/// The last packets before a pause or the end, which no longer move the stream by a little (0.5 s).
const TAIL_US: i64 = 500_000;

/// A packet this much earlier than the one before it has a new time base (1 s).
const MAX_EARLY_SAMPLES: i64 = RATE_HZ as i64;

/// How many packets after one with a new time base may speak for it.
const WITNESSES: usize = 4;

/// Two packets with a new time base must agree to this before they are believed (0.5 s).
pub(super) const AGREEMENT_SAMPLES: i64 = RATE_HZ as i64 / 2;

/// An offset within this of the baseline is left alone (5 ms).
const DEADBAND_SAMPLES: i64 = RATE_HZ as i64 / 200;

/// An offset within this of the baseline creeps to it by a sample a packet; beyond, it steps
/// (40 ms).
const STEP_SAMPLES: i64 = RATE_HZ as i64 / 25;

/// The runs of a stream to which packets may still come: the last, and the one before, for a packet
/// of the old base may be overtaken by the first of the new one.
#[derive(Debug, Default)]
pub(super) struct Runs(Vec<Run>);

/// Packets whose timestamps have one base.
#[derive(Clone, Debug)]
struct Run {
    /// The transit of its last packet.
    transit: i64,
    places: RunPlaces,
}

impl Runs {
    /// Places the packets that arrived before `until_us`; answers how many were judged. `indices`
    /// are waiting packets in order of arrival.
    ///
    /// A packet that agrees with none near it is in no run, and has no place. Where too few have
    /// come to tell, it waits, and so do those after it, unless it came before `give_up_us`.
    pub(super) fn judge(
        &mut self,
        entries: &mut [Entry],
        indices: &[u32],
        until_us: i64,
        give_up_us: i64,
    ) -> usize {
        // Each run with its packets.
        let mut runs: Vec<(Run, Vec<u32>)> =
            self.0.drain(..).map(|run| (run, Vec::new())).collect();
        // What is kept: how many runs there were at the end of the block, and the transits of the
        // last two then.
        let mut kept = None;
        let mut judged = indices.len();
        for (at, &index) in indices.iter().enumerate() {
            let entry = &entries[index as usize];
            let is_within = entry.arrival_us < until_us && at < judged;
            let join = join(&runs, entry.transit(), &indices[at + 1..], entries);
            let is_doubtful = join == Join::Doubtful && entry.arrival_us >= give_up_us;
            if kept.is_none() && (!is_within || is_doubtful) {
                judged = at;
                kept = Some(transits(&runs));
            }
            match join {
                Join::Run(of) => {
                    runs[of].0.transit = entry.transit();
                    runs[of].1.push(index);
                }
                Join::New => {
                    let run = Run { transit: entry.transit(), places: RunPlaces::default() };
                    runs.push((run, vec![index]));
                }
                Join::Doubtful | Join::None => {}
            }
        }
        for &index in &indices[..judged] {
            entries[index as usize].fate = Fate::Unplaced;
        }
        let kept = kept.unwrap_or_else(|| transits(&runs));
        for (run, indices) in &mut runs {
            run.places.place(entries, indices);
        }
        // A run that began after the block begins again with the next.
        let first = kept.len().saturating_sub(2);
        let runs = runs.into_iter().map(|(run, _)| run);
        let last_two = runs.zip(kept).skip(first);
        self.0 = last_two.map(|(run, transit)| Run { transit, ..run }).collect();
        judged
    }
}

fn transits(runs: &[(Run, Vec<u32>)]) -> Vec<i64> {
    runs.iter().map(|(run, _)| run.transit).collect()
}

/// Where a packet belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Join {
    /// To this run.
    Run(usize),
    /// To a run that begins with it.
    New,
    /// Nowhere as far as can be seen, which is not far enough.
    Doubtful,
    /// Nowhere.
    None,
}

fn join(runs: &[(Run, Vec<u32>)], transit: i64, after: &[u32], entries: &[Entry]) -> Join {
    let agree =
        |one: i64, other: i64| one.saturating_sub(other).saturating_abs() < AGREEMENT_SAMPLES;
    let Some((last, _)) = runs.last() else { return Join::New };
    let step = transit.saturating_sub(last.transit);
    if (-MAX_EARLY_SAMPLES..=MAX_LATE_SAMPLES).contains(&step) {
        return Join::Run(runs.len() - 1);
    }
    // A packet of the old base may be overtaken by the first of the new one.
    if let Some(before) = runs.len().checked_sub(2)
        && agree(runs[before].0.transit, transit)
    {
        return Join::Run(before);
    }
    let mut witnesses = after.iter().take(WITNESSES);
    if witnesses.any(|&other| agree(entries[other as usize].transit(), transit)) {
        return Join::New;
    }
    if after.len() < WITNESSES { Join::Doubtful } else { Join::None }
}

/// Where the packets of one run go: the timestamp plus an offset that follows the baseline.
#[derive(Clone, Debug, Default)]
struct RunPlaces {
    offset: Option<i64>,
    behind: Lowest,
    before_us: Option<i64>,
}

impl RunPlaces {
    /// Places those of its packets, in order of arrival, that have been judged; the others are what
    /// comes after them.
    fn place(&mut self, entries: &mut [Entry], run: &[u32]) {
        let ahead = look_ahead(entries, run);
        for (&index, ahead) in run.iter().zip(&ahead) {
            let entry = &mut entries[index as usize];
            if entry.fate == Fate::Waiting {
                return;
            }
            let offset = self.follow(entry, ahead);
            entry.samples = entry.samples.saturating_add(offset);
            entry.fate = Fate::Placed;
        }
    }

    /// The offset for the next packet.
    fn follow(&mut self, entry: &Entry, ahead: &Ahead) -> i64 {
        let mut offset = self.offset.unwrap_or(ahead.lowest);
        let forget_us = entry.arrival_us.saturating_sub(BASELINE_US);
        if self.before_us.is_none_or(|before_us| before_us < forget_us) {
            // What is late after a pause, or at the very start, is judged by what comes after it.
            self.behind = Lowest::default();
            self.behind.push(entry.arrival_us, ahead.lowest);
        }
        self.before_us = Some(entry.arrival_us);
        self.behind.push(entry.arrival_us, entry.transit());
        self.behind.forget_before(forget_us);
        // A rise that lasts is seen at once by looking ahead, a fall by looking back; a rise that
        // does not last (a stall, one late packet) is seen by neither.
        let baseline = ahead.lowest.max(self.behind.lowest());
        let error = baseline.saturating_sub(offset);
        // Too little comes after the last packets to tell a rise from a late packet.
        let is_tail = ahead.until_us.saturating_sub(entry.arrival_us) < TAIL_US;
        let step = if is_tail { AGREEMENT_SAMPLES } else { STEP_SAMPLES };
        if error.saturating_abs() > step {
            offset = baseline;
        } else if error.abs() > DEADBAND_SAMPLES && !is_tail {
            offset += error.signum();
        }
        self.offset = Some(offset);
        offset
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
        lowest.push(clock_us, entry.transit());
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
#[derive(Clone, Debug, Default)]
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
