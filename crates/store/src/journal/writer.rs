//! The journal's own thread: groups packets by call, writes in large batches, guards the space.
//!
//! Time is an argument, so that tests need not wait for it.

use std::collections::{HashMap, VecDeque};
use std::fs::{File, OpenOptions};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use cheling_model::tap::{TapBlock, TapPacket};
use cheling_model::{CallId, TapEvent, TapKind};
use foldhash::fast::RandomState;

use super::index::RecordRef;
use super::recovery::{RecoveryReport, recover};
use super::rewrite::{remove_drafts, rewrite};
use super::segment::{
    RECORD_HEADER_BYTES, RecordKind, SEGMENT_HEADER_BYTES, append_record, segment_header,
    segment_path,
};
use super::{Input, JournalCounters, JournalError, JournalSettings, Shared};
use crate::disk::{AppendFile, Disk};

/// A batch this large is written without waiting for the next tick.
const BATCH_BYTES: usize = 1 << 20;

/// Packets of one call are written when they are this many bytes …
const GROUP_BYTES: usize = 14 << 10;

/// … or this old. With the sync a second later it bounds what a power cut takes.
const GROUP_AGE: Duration = Duration::from_millis(500);

/// How often the disk is synced.
const SYNC_EVERY: Duration = Duration::from_secs(1);

/// How often space, forgotten segments and unclosed relays are looked at.
const CARE_EVERY: Duration = Duration::from_secs(1);

/// The youngest segments are kept whole: most are free before they would be worth a rewrite.
const WHOLE_SEGMENTS: u32 = 16;

/// An older segment is rewritten when no more than one part in so many is still needed.
const NEEDED_SHARE: u64 = 4;

/// How long a disk that refused a rewrite is left alone.
const REWRITE_PAUSE: Duration = Duration::from_secs(60);

/// How long after its end a call may wait for its relay to close.
const RELAY_CLOSE_WAIT: Duration = Duration::from_secs(10);

/// How long a call that was never answered is kept after its end: what came of it may not be in
/// the database yet, and a start after a crash tells it again.
const UNANSWERED_KEPT: Duration = Duration::from_secs(3);

/// Records that may wait for a failing disk; the oldest are lost beyond, loudly.
const MAX_WAITING: usize = 200_000;

struct OpenSegment {
    number: u32,
    file: Box<dyn AppendFile>,
    len: u64,
}

struct Pending {
    frames: TapBlock,
    packets: u64,
    since: Instant,
}

/// A record in the batch: where, and what to do if it cannot be written.
struct Staged {
    call_id: CallId,
    kind: RecordKind,
    at: usize,
    bytes: usize,
    packets: u64,
}

struct Waiting {
    call_id: CallId,
    kind: RecordKind,
    body: Vec<u8>,
}

pub(super) struct Writer {
    disk: Box<dyn Disk>,
    settings: JournalSettings,
    shared: Arc<Shared>,
    on_finished: Box<dyn Fn(CallId) + Send>,
    last_number: u32,
    segment: Option<OpenSegment>,
    batch: Vec<u8>,
    staged: Vec<Staged>,
    pending: HashMap<CallId, Pending, RandomState>,
    waiting: VecDeque<Waiting>,
    finished: Vec<CallId>,
    /// Calls that were never answered, and since when they are over.
    unanswered: VecDeque<(Instant, CallId)>,
    is_dirty: bool,
    last_sync: Instant,
    last_care: Option<Instant>,
    /// No segment is rewritten before this moment.
    pub(super) no_rewrite_before: Instant,
    /// Held for as long as the journal is open.
    _lock: File,
}

impl Writer {
    pub(super) fn open(
        disk: Box<dyn Disk>,
        mut settings: JournalSettings,
        on_finished: Box<dyn Fn(CallId) + Send>,
        now: Instant,
    ) -> Result<(Self, RecoveryReport), JournalError> {
        let folder = settings.folder.clone();
        let failed = |source| JournalError::Disk { path: folder.clone(), source };
        std::fs::create_dir_all(&folder).map_err(failed)?;
        let lock_path = folder.join("lock");
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(&lock_path);
        let lock = lock.map_err(failed)?;
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| JournalError::InUse(folder.clone()))?;
        remove_drafts(&folder).map_err(failed)?;
        let (index, report, last_number) = recover(&folder)?;
        settings.segment_bytes = settings.segment_bytes.clamp(64 << 10, 1 << 30);
        let shared = Shared {
            folder: folder.clone(),
            index: Mutex::new(index),
            counters: JournalCounters::default(),
            media_waiting: AtomicUsize::new(0),
            events_waiting: AtomicUsize::new(0),
            gaps: Mutex::default(),
            emptied: OnceLock::new(),
        };
        let mut writer = Self {
            disk,
            settings,
            shared: Arc::new(shared),
            on_finished,
            last_number,
            segment: None,
            batch: Vec::new(),
            staged: Vec::new(),
            pending: HashMap::default(),
            waiting: VecDeque::new(),
            finished: Vec::new(),
            unanswered: VecDeque::new(),
            is_dirty: false,
            last_sync: now,
            last_care: None,
            no_rewrite_before: now,
            _lock: lock,
        };
        if let Err(err) = writer.roll() {
            // Calls must go on without a disk; it is tried again with the first batch.
            writer.shared.counters.is_failing.store(true, Ordering::Relaxed);
            tracing::error!(%err, "the journal cannot write: recordings will have gaps");
        }
        writer.care(now);
        Ok((writer, report))
    }

    pub(super) fn shared(&self) -> Arc<Shared> {
        self.shared.clone()
    }

    pub(super) fn handle(&mut self, now: Instant, input: Input) {
        match input {
            Input::Media(block) => {
                self.shared.media_waiting.fetch_sub(1, Ordering::AcqRel);
                self.take_media(now, &block);
                if let Some(emptied) = self.shared.emptied.get() {
                    (emptied.0)(block);
                }
            }
            Input::Event(event) => self.take_event(now, &event),
            Input::Done(call_id) => {
                self.pending.remove(&call_id);
                self.stage(RecordKind::Done, call_id, &[], 0);
            }
            Input::Flush(done) => {
                self.flush(now);
                // Nobody waits any more if this fails.
                let _ = done.send(());
            }
            Input::Stop => self.flush(now),
        }
    }

    pub(super) fn close(mut self, now: Instant) {
        self.forget_unanswered(None);
        self.flush(now);
    }

    fn flush(&mut self, now: Instant) {
        self.stage_groups(now, true);
        self.mark_gaps();
        self.retry_waiting();
        self.write();
        self.sync(now);
    }

    /// Writes what is due.
    pub(super) fn tick(&mut self, now: Instant) {
        if self.last_care.is_none_or(|last| now.duration_since(last) >= CARE_EVERY) {
            self.care(now);
        }
        self.mark_gaps();
        self.retry_waiting();
        self.stage_groups(now, false);
        self.write();
        if now.duration_since(self.last_sync) >= SYNC_EVERY {
            self.sync(now);
        }
    }

    fn take_media(&mut self, now: Instant, block: &TapBlock) {
        let is_refusing = self.shared.counters.is_refusing.load(Ordering::Relaxed);
        for packet in block.packets() {
            match packet {
                Ok(packet) if is_refusing => self.lose(packet.call_id, 1),
                Ok(packet) => self.take_packet(now, packet),
                Err(err) => {
                    tracing::error!(%err, "a tap block with a malformed frame");
                    return;
                }
            }
        }
    }

    fn take_packet(&mut self, now: Instant, packet: TapPacket<'_>) {
        let call_id = packet.call_id;
        if let Some(pending) = self.pending.get_mut(&call_id) {
            if pending.frames.is_empty() {
                pending.since = now;
            }
            pending.packets += u64::from(pending.frames.push(packet));
            if pending.frames.len() >= GROUP_BYTES {
                self.stage_group(call_id);
            }
        } else if self.is_open(call_id) {
            let mut frames = TapBlock::with_capacity(GROUP_BYTES + 2048);
            let packets = u64::from(frames.push(packet));
            self.pending.insert(call_id, Pending { frames, packets, since: now });
        } else {
            JournalCounters::add(&self.shared.counters.stray_packets, 1);
        }
    }

    /// Tells whether a call may still get packets.
    fn is_open(&self, call_id: CallId) -> bool {
        let index = self.shared.index();
        index.call(call_id).is_some_and(|entry| !entry.is_finished && entry.has_room())
    }

    fn take_event(&mut self, now: Instant, event: &TapEvent) {
        let call_id = event.call_id;
        let (is_over, is_answered) = {
            let mut index = self.shared.index();
            if matches!(event.kind, TapKind::Offered(_)) && !index.open(call_id) {
                tracing::error!(%call_id, "too many calls in the journal: not recorded");
                return;
            }
            let Some(entry) = index.call_mut(call_id).filter(|entry| !entry.is_finished) else {
                tracing::debug!(%call_id, "an event of a call that is over");
                return;
            };
            entry.note(event);
            if entry.has_ended && entry.ended_at.is_none() {
                entry.ended_at = Some(now);
            }
            entry.is_finished = entry.is_over();
            (entry.is_finished, entry.is_answered)
        };
        let body = match serde_json::to_vec(event) {
            Ok(body) => body,
            Err(err) => {
                tracing::error!(%call_id, %err, "an event that JSON cannot hold");
                return;
            }
        };
        self.stage_group(call_id);
        self.stage(RecordKind::Event, call_id, &body, 0);
        JournalCounters::add(&self.shared.counters.events, 1);
        if is_over {
            self.finish(now, call_id, is_answered);
        }
    }

    fn finish(&mut self, now: Instant, call_id: CallId, is_answered: bool) {
        self.stage_group(call_id);
        self.pending.remove(&call_id);
        if is_answered {
            self.finished.push(call_id);
        } else {
            self.unanswered.push_back((now, call_id));
        }
    }

    /// Is done with the calls that were never answered and were over before `until`, or with all.
    fn forget_unanswered(&mut self, until: Option<Instant>) {
        while let Some(&(since, call_id)) = self.unanswered.front()
            && until.is_none_or(|until| since <= until)
        {
            self.unanswered.pop_front();
            self.stage(RecordKind::Done, call_id, &[], 0);
        }
    }

    /// Counts packets that are not kept, and marks the call the first time.
    fn lose(&mut self, call_id: CallId, packets: u64) {
        JournalCounters::add(&self.shared.counters.lost_packets, packets);
        let is_first = {
            let mut index = self.shared.index();
            let entry = index.call_mut(call_id).filter(|entry| !entry.has_gap);
            entry.map(|entry| entry.has_gap = true).is_some()
        };
        if is_first {
            self.wait(Waiting { call_id, kind: RecordKind::Gap, body: b"{}".to_vec() });
        }
    }

    /// Marks the calls whose media was dropped on its way here.
    fn mark_gaps(&mut self) {
        let gaps = &self.shared.gaps;
        let gaps = std::mem::take(&mut *gaps.lock().unwrap_or_else(PoisonError::into_inner));
        for call_id in gaps {
            self.wait(Waiting { call_id, kind: RecordKind::Gap, body: b"{}".to_vec() });
        }
    }

    fn stage_groups(&mut self, now: Instant, are_all: bool) {
        let is_due = |pending: &Pending| {
            !pending.frames.is_empty()
                && (are_all || now.saturating_duration_since(pending.since) >= GROUP_AGE)
        };
        let due = self.pending.iter().filter(|(_, pending)| is_due(pending));
        let due: Vec<CallId> = due.map(|(&call_id, _)| call_id).collect();
        for call_id in due {
            self.stage_group(call_id);
        }
    }

    fn stage_group(&mut self, call_id: CallId) {
        let Some(pending) = self.pending.get_mut(&call_id) else { return };
        if pending.frames.is_empty() {
            return;
        }
        let mut frames = std::mem::take(&mut pending.frames);
        let packets = std::mem::take(&mut pending.packets);
        self.stage(RecordKind::Media, call_id, frames.as_bytes(), packets);
        frames.clear();
        if let Some(pending) = self.pending.get_mut(&call_id) {
            pending.frames = frames;
        }
    }

    fn stage(&mut self, kind: RecordKind, call_id: CallId, body: &[u8], packets: u64) {
        let at = self.batch.len();
        append_record(&mut self.batch, kind, call_id, body);
        let bytes = self.batch.len() - at;
        self.staged.push(Staged { call_id, kind, at, bytes, packets });
        if self.batch.len() >= BATCH_BYTES {
            self.write();
        }
    }

    fn wait(&mut self, waiting: Waiting) {
        if self.waiting.len() >= MAX_WAITING {
            let lost = self.waiting.pop_front();
            tracing::error!(call_id = ?lost.map(|lost| lost.call_id), "a journal event is lost");
        }
        self.waiting.push_back(waiting);
    }

    fn retry_waiting(&mut self) {
        for waiting in std::mem::take(&mut self.waiting) {
            self.stage(waiting.kind, waiting.call_id, &waiting.body, 0);
        }
    }

    /// Writes the batch, and then tells of the calls that are finished with it.
    fn write(&mut self) {
        if !self.batch.is_empty() {
            match self.append_batch() {
                Ok(()) => {
                    if self.shared.counters.is_failing.swap(false, Ordering::Relaxed) {
                        tracing::warn!("the journal can write again");
                    }
                }
                Err(err) => self.batch_failed(&err),
            }
            self.batch.clear();
            self.batch.shrink_to(2 * BATCH_BYTES);
            self.staged.clear();
        }
        if self.waiting.is_empty() && !self.shared.counters.is_failing.load(Ordering::Relaxed) {
            for call_id in std::mem::take(&mut self.finished) {
                (self.on_finished)(call_id);
            }
        }
    }

    fn append_batch(&mut self) -> std::io::Result<()> {
        let is_full = |segment: &OpenSegment| {
            segment.len > SEGMENT_HEADER_BYTES as u64
                && segment.len + self.batch.len() as u64 > self.settings.segment_bytes
        };
        if self.segment.as_ref().is_none_or(is_full) {
            self.roll()?;
        }
        let Some(segment) = &mut self.segment else { return Ok(()) };
        segment.file.append(&self.batch)?;
        let counters = &self.shared.counters;
        JournalCounters::add(&counters.writes, 1);
        JournalCounters::add(&counters.bytes, self.batch.len() as u64);
        let mut index = self.shared.index();
        for staged in &self.staged {
            JournalCounters::add(&counters.packets, staged.packets);
            let offset = segment.len + staged.at as u64;
            let record = RecordRef {
                segment: segment.number,
                offset: u32::try_from(offset).unwrap_or(u32::MAX),
                bytes: staged.bytes as u32,
                kind: staged.kind,
            };
            index.add(staged.call_id, record);
        }
        segment.len += self.batch.len() as u64;
        self.is_dirty = true;
        Ok(())
    }

    /// Takes back a batch that was not written: events wait, media is lost and counted.
    fn batch_failed(&mut self, err: &std::io::Error) {
        JournalCounters::add(&self.shared.counters.write_errors, 1);
        if !self.shared.counters.is_failing.swap(true, Ordering::Relaxed) {
            tracing::error!(%err, "the journal cannot write: recordings will have gaps");
        }
        // What was written of the batch must go, or offsets would lie. If it will not go, the
        // segment is left as it is, with a torn end.
        if let Some(segment) = &mut self.segment
            && segment.file.cut(segment.len).is_err()
        {
            self.segment = None;
        }
        for staged in std::mem::take(&mut self.staged) {
            if staged.kind == RecordKind::Media {
                self.lose(staged.call_id, staged.packets);
            } else {
                let body = staged.at + RECORD_HEADER_BYTES..staged.at + staged.bytes;
                let body = self.batch[body].to_vec();
                self.wait(Waiting { call_id: staged.call_id, kind: staged.kind, body });
            }
        }
    }

    /// Closes the segment and begins the next.
    fn roll(&mut self) -> std::io::Result<()> {
        if let Some(mut segment) = self.segment.take() {
            segment.file.sync()?;
        }
        let number = self.last_number.checked_add(1).ok_or(std::io::ErrorKind::FileTooLarge)?;
        let path = segment_path(&self.settings.folder, number);
        let mut file = self.disk.create(&path)?;
        if let Err(err) = file.append(&segment_header(number)) {
            // A full disk still makes empty files: one for each attempt, if they stayed.
            std::fs::remove_file(&path)?;
            return Err(err);
        }
        self.last_number = number;
        self.shared.index().add_segment(number);
        self.segment = Some(OpenSegment { number, file, len: SEGMENT_HEADER_BYTES as u64 });
        Ok(())
    }

    fn sync(&mut self, now: Instant) {
        self.last_sync = now;
        if !self.is_dirty {
            return;
        }
        let Some(segment) = &mut self.segment else { return };
        match segment.file.sync() {
            Ok(()) => {
                JournalCounters::add(&self.shared.counters.syncs, 1);
                self.is_dirty = false;
            }
            Err(err) => {
                JournalCounters::add(&self.shared.counters.write_errors, 1);
                tracing::error!(%err, "the journal cannot be synced");
            }
        }
    }

    fn care(&mut self, now: Instant) {
        self.last_care = Some(now);
        self.guard_space();
        self.finish_unclosed(now);
        self.forget_unanswered(now.checked_sub(UNANSWERED_KEPT));
        self.remove_segments();
        self.rewrite_segment(now);
    }

    fn guard_space(&self) {
        let free = match self.disk.free_bytes(&self.settings.folder) {
            Ok(free) => {
                self.shared.counters.free_bytes.store(free, Ordering::Relaxed);
                free
            }
            Err(err) => {
                self.shared.counters.free_bytes.store(0, Ordering::Relaxed);
                tracing::error!(%err, "the free space of the journal's disk is unknown");
                return;
            }
        };
        let floor = self.settings.free_floor_bytes;
        let is_refusing = &self.shared.counters.is_refusing;
        // A tenth more to resume, so that it does not flap.
        if free < floor && !is_refusing.swap(true, Ordering::Relaxed) {
            tracing::error!(free, floor, "too little disk space: recording stops, calls go on");
        } else if free >= floor + floor / 10 && is_refusing.swap(false, Ordering::Relaxed) {
            tracing::warn!(free, "disk space is back: recording goes on");
        }
    }

    /// Finishes calls that ended without their relay telling so.
    fn finish_unclosed(&mut self, now: Instant) {
        let mut overdue = Vec::new();
        for (call_id, entry) in self.shared.index().each() {
            let has_waited = entry
                .ended_at
                .is_some_and(|ended| now.saturating_duration_since(ended) >= RELAY_CLOSE_WAIT);
            if has_waited && !entry.is_finished {
                entry.is_finished = true;
                overdue.push((call_id, entry.is_answered));
            }
        }
        for (call_id, is_answered) in overdue {
            tracing::warn!(%call_id, "a call ended but its relay was not closed");
            self.finish(now, call_id, is_answered);
        }
    }

    /// Takes what is over out of one old segment, if a call that goes on holds on to it.
    fn rewrite_segment(&mut self, now: Instant) {
        let Some(open) = self.segment.as_ref().map(|segment| segment.number) else { return };
        if now < self.no_rewrite_before {
            return;
        }
        let before = open.saturating_sub(WHOLE_SEGMENTS);
        let remains = self.shared.index().mostly_over(before, NEEDED_SHARE);
        let Some(mut remains) = remains else { return };
        match rewrite(&*self.disk, &self.settings.folder, &mut remains) {
            Ok(()) => {
                self.shared.index().replace(&remains);
                JournalCounters::add(&self.shared.counters.rewritten_segments, 1);
            }
            Err(err) => {
                let segment = remains.segment;
                if err.kind() == std::io::ErrorKind::InvalidData {
                    self.shared.index().leave_alone(segment);
                } else {
                    self.no_rewrite_before = now + REWRITE_PAUSE;
                }
                tracing::error!(segment, %err, "a segment of a long call cannot be made small");
            }
        }
    }

    fn remove_segments(&mut self) {
        let Some(open) = self.segment.as_ref().map(|segment| segment.number) else { return };
        let removable = self.shared.index().removable(open);
        for number in removable {
            let still_done = self.shared.index().only_done_in(number);
            if !still_done.is_empty() {
                for call_id in still_done {
                    self.stage(RecordKind::Done, call_id, &[], 0);
                }
                self.write();
                if !self.shared.index().only_done_in(number).is_empty() {
                    return;
                }
            }
            let path: PathBuf = segment_path(&self.settings.folder, number);
            match std::fs::remove_file(&path) {
                Ok(()) => self.shared.index().remove_segment(number),
                Err(err) if err.kind() == std::io::ErrorKind::NotFound => {
                    self.shared.index().remove_segment(number);
                }
                Err(err) => {
                    tracing::error!(path = %path.display(), %err, "a segment cannot be removed");
                    return;
                }
            }
        }
    }
}
