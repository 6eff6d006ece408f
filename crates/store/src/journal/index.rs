//! Which records belong to which call, and which segments are still needed.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;
use std::time::Instant;

use cheling_model::{CallId, TapEvent, TapKind};

use super::segment::RecordKind;

/// Most calls that are not finished; more are refused, loudly.
const MAX_CALLS: usize = 100_000;

/// Most records of one call: a day and more of half-second blocks.
const MAX_RECORDS: usize = 500_000;

/// Where one record lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordRef {
    /// Segment number.
    pub segment: u32,
    /// Offset of its header in the segment.
    pub offset: u32,
    /// Its length, header included.
    pub bytes: u32,
    /// What it holds.
    pub kind: RecordKind,
}

/// What the journal knows of a call that is not finished.
#[derive(Clone, Debug, Default)]
pub struct CallEntry {
    /// Its records, in the order they were written.
    pub records: Vec<RecordRef>,
    /// Both sides talked.
    pub is_answered: bool,
    /// The call is over.
    pub has_ended: bool,
    /// No packet comes any more.
    pub is_relay_closed: bool,
    /// When `Ended` was taken, by this process.
    pub ended_at: Option<Instant>,
    /// It was told that it is finished.
    pub is_finished: bool,
    /// The process ended before the call did.
    pub was_cut: bool,
    /// Media is missing since the disk refused it; marked in the journal.
    pub has_gap: bool,
}

impl CallEntry {
    /// Takes note of what an event says.
    pub fn note(&mut self, event: &TapEvent) {
        match event.kind {
            TapKind::Answered { .. } => self.is_answered = true,
            TapKind::Ended { .. } => self.has_ended = true,
            TapKind::RelayClosed { .. } => self.is_relay_closed = true,
            _ => {}
        }
    }

    /// Tells whether nothing more will come.
    pub fn is_over(&self) -> bool {
        self.has_ended && (self.is_relay_closed || !self.is_answered)
    }

    /// Which of its records lie in a segment: they are written in the order of the segments.
    fn range_of(&self, segment: u32) -> Range<usize> {
        let first = self.records.partition_point(|record| record.segment < segment);
        let end = self.records.partition_point(|record| record.segment <= segment);
        first..end
    }

    fn records_in(&self, segment: u32) -> &[RecordRef] {
        &self.records[self.range_of(segment)]
    }

    /// Tells whether it can take another record.
    pub fn has_room(&self) -> bool {
        self.records.len() < MAX_RECORDS
    }
}

/// What is known of a segment.
#[derive(Debug, Default)]
struct SegmentEntry {
    /// Every call that has records in it, finished or not.
    calls: HashSet<CallId>,
    /// The length of these records.
    bytes: u64,
    /// It is to stay as it is until it goes.
    is_left_alone: bool,
}

/// What of a segment is still needed.
#[derive(Debug, PartialEq, Eq)]
pub struct Remains {
    /// Its number.
    pub segment: u32,
    /// The records of calls that are not finished, in the order in which they lie there.
    pub records: Vec<(CallId, RecordRef)>,
    /// Calls of which only this segment says that they are finished, though others have records of
    /// them.
    pub done: Vec<CallId>,
}

/// All calls that are not finished, and what each segment is kept for.
#[derive(Debug, Default)]
pub struct Index {
    calls: HashMap<CallId, CallEntry>,
    segments: BTreeMap<u32, SegmentEntry>,
    /// In how many segments each of these calls has records: a long call leaves thousands of them.
    spread: HashMap<CallId, u32>,
    /// Finished calls that still have records, and the segment that says they are finished.
    done: HashMap<CallId, u32>,
}

impl Index {
    /// Opens a call; false if there are too many.
    pub fn open(&mut self, call_id: CallId) -> bool {
        if self.calls.len() >= MAX_CALLS && !self.calls.contains_key(&call_id) {
            return false;
        }
        self.calls.entry(call_id).or_default();
        true
    }

    /// The entry of a call that is not finished.
    pub fn call(&self, call_id: CallId) -> Option<&CallEntry> {
        self.calls.get(&call_id)
    }

    /// The entry of a call that is not finished, to change.
    pub fn call_mut(&mut self, call_id: CallId) -> Option<&mut CallEntry> {
        self.calls.get_mut(&call_id)
    }

    /// Takes a call for finished, whatever records it has.
    pub fn forget(&mut self, call_id: CallId) {
        self.calls.remove(&call_id);
    }

    /// How many calls are not finished.
    pub fn calls(&self) -> usize {
        self.calls.len()
    }

    /// Every call that is not finished.
    pub fn each(&mut self) -> impl Iterator<Item = (CallId, &mut CallEntry)> {
        self.calls.iter_mut().map(|(&call_id, entry)| (call_id, entry))
    }

    /// Takes note of a segment, even if it holds nothing yet.
    pub fn add_segment(&mut self, segment: u32) {
        self.segments.entry(segment).or_default();
    }

    /// Takes note of a record that was written.
    pub fn add(&mut self, call_id: CallId, record: RecordRef) {
        if record.kind == RecordKind::Done {
            self.calls.remove(&call_id);
            if self.has_records(call_id) {
                self.done.insert(call_id, record.segment);
            }
            return;
        }
        let segment = self.segments.entry(record.segment).or_default();
        if segment.calls.insert(call_id) {
            *self.spread.entry(call_id).or_default() += 1;
        }
        segment.bytes += u64::from(record.bytes);
        if let Some(entry) = self.calls.get_mut(&call_id) {
            entry.records.push(record);
        }
    }

    fn has_records(&self, call_id: CallId) -> bool {
        self.spread.contains_key(&call_id)
    }

    /// Segments before `open` that no unfinished call needs.
    pub fn removable(&self, open: u32) -> Vec<u32> {
        let is_free = |segment: &SegmentEntry| {
            segment.calls.iter().all(|call_id| !self.calls.contains_key(call_id))
        };
        let old = self.segments.range(..open);
        old.filter(|(_, segment)| is_free(segment)).map(|(&number, _)| number).collect()
    }

    /// The oldest segment before `before` of which no more than one part in `share` is needed by
    /// calls that go on, and what that is. One with a call that is over is left alone: somebody may
    /// be reading it, and will soon be done.
    pub fn mostly_over(&self, before: u32, share: u64) -> Option<Remains> {
        self.segments.range(..before).find_map(|(&number, segment)| {
            if segment.is_left_alone {
                return None;
            }
            let goes_on = |id: &&CallId| self.calls.get(*id).is_some_and(|it| !it.is_finished);
            let is_over = |id: &&CallId| self.calls.get(*id).is_some_and(|it| it.is_finished);
            let needed: Vec<CallId> = segment.calls.iter().filter(goes_on).copied().collect();
            if needed.len() == segment.calls.len() || segment.calls.iter().any(|id| is_over(&id)) {
                return None;
            }
            let records = needed.iter().flat_map(|id| {
                self.calls[id].records_in(number).iter().map(move |record| (*id, *record))
            });
            let bytes: u64 = records.clone().map(|(_, record)| u64::from(record.bytes)).sum();
            (bytes * share <= segment.bytes).then(|| {
                let mut records: Vec<_> = records.collect();
                records.sort_unstable_by_key(|(_, record)| record.offset);
                Remains { segment: number, records, done: self.only_done_in(number) }
            })
        })
    }

    /// Has a segment stay as it is.
    pub fn leave_alone(&mut self, segment: u32) {
        self.segments.entry(segment).or_default().is_left_alone = true;
    }

    /// Takes note that a segment now holds only these records, and the word that these calls are
    /// finished.
    pub fn replace(&mut self, remains: &Remains) {
        let number = remains.segment;
        let mut segment = SegmentEntry::default();
        let mut by_call = HashMap::<CallId, Vec<RecordRef>>::new();
        for &(call_id, record) in &remains.records {
            segment.calls.insert(call_id);
            segment.bytes += u64::from(record.bytes);
            by_call.entry(call_id).or_default().push(record);
        }
        for (call_id, records) in by_call {
            let Some(entry) = self.calls.get_mut(&call_id) else { continue };
            let range = entry.range_of(number);
            entry.records.splice(range, records);
        }
        let mut before = self.segments.insert(number, segment).unwrap_or_default().calls;
        before.retain(|call_id| !self.segments[&number].calls.contains(call_id));
        self.let_go(before);
    }

    /// Finished calls whose only word that they are finished lies in `segment`, though other
    /// segments have records of them: the word must be written again before `segment` goes.
    pub fn only_done_in(&self, segment: u32) -> Vec<CallId> {
        let is_here =
            |id: &CallId| self.segments.get(&segment).is_some_and(|it| it.calls.contains(id));
        let is_elsewhere = |id: &CallId| {
            self.spread.get(id).is_some_and(|spread| *spread > u32::from(is_here(id)))
        };
        let done = self.done.iter().filter(|&(_, &at)| at == segment);
        done.map(|(&call_id, _)| call_id).filter(is_elsewhere).collect()
    }

    /// Forgets a segment whose file is gone.
    pub fn remove_segment(&mut self, segment: u32) {
        let removed = self.segments.remove(&segment).unwrap_or_default();
        self.let_go(removed.calls);
    }

    /// Takes note that these calls have no records any more in a segment that they had some in.
    fn let_go(&mut self, calls: HashSet<CallId>) {
        for call_id in calls {
            let Entry::Occupied(mut spread) = self.spread.entry(call_id) else { continue };
            *spread.get_mut() -= 1;
            if *spread.get() == 0 {
                spread.remove();
                self.done.remove(&call_id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn record(segment: u32, kind: RecordKind) -> RecordRef {
        RecordRef { segment, offset: 16, bytes: 30, kind }
    }

    #[test]
    fn a_segment_is_free_when_every_call_in_it_is_done() {
        let (long, short) = (CallId(Uuid::from_u128(1)), CallId(Uuid::from_u128(2)));
        let mut index = Index::default();
        index.open(long);
        index.open(short);
        index.add(long, record(1, RecordKind::Media));
        index.add(short, record(1, RecordKind::Media));
        index.add(short, record(2, RecordKind::Media));
        index.add(short, record(3, RecordKind::Done));
        index.add_segment(3);
        index.add_segment(4);
        // Segment 3 holds only the word that `short` is done, which segment 1 still needs.
        assert_eq!(index.removable(4), [2, 3]);
        index.remove_segment(2);
        assert_eq!(index.only_done_in(3), [short]);
        index.add(short, record(4, RecordKind::Done));
        assert!(index.only_done_in(3).is_empty());
        index.remove_segment(3);
        index.add(long, record(4, RecordKind::Done));
        assert_eq!(index.removable(4), [1]);
        index.remove_segment(1);
        assert!(index.done.is_empty() && index.spread.is_empty() && index.calls() == 0);
    }
}
