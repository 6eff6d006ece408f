//! The append-only log of packets and events: the truth about a call until its recording is
//! finished.
//!
//! One folder per recordings disk holds numbered segments (`segment`), written by one plain thread
//! (`writer`) that is fed through one bounded queue (`feed`). Packets are grouped by call before
//! they are written, so that a call can be read back without reading its neighbours. It neither
//! decodes nor mixes.
//!
//! Where there are several disks, each call is kept on one of them, chosen when it is offered by
//! the space that each has left (`handle`). One that is full or fails gets no new calls.
//!
//! A segment is removed when every call in it is done. One that a long call holds on to is made
//! small when it is old (`rewrite`), so that the journal is never much larger than the calls in it.
//!
//! When the queue is full, media is refused to its sender, who counts it against the call; events
//! have room of their own in the queue, enough for many minutes of a disk that hangs.

mod feed;
mod handle;
mod index;
mod reader;
mod recovery;
mod rewrite;
mod segment;
mod writer;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use cheling_model::tap::TapBlock;
use cheling_model::{CallId, TapEvent};

use crate::disk::{Disk, LocalDisk};
use feed::Feed;
use index::Index;
use writer::Writer;

pub use handle::{JournalDisk, JournalHandle};
pub use reader::{CallRecords, MediaReport};
pub use recovery::{Recovered, RecoveryReport};
pub use segment::{Record, RecordKind, Scan as SegmentScan, scan as scan_segment};

/// How a journal is kept.
#[derive(Clone, Debug)]
pub struct JournalSettings {
    /// Folder of the segments; made if missing. One process at a time may use it.
    pub folder: PathBuf,
    /// A segment is closed when it is this large.
    pub segment_bytes: u64,
    /// Media is refused when the disk has less than this left.
    pub free_floor_bytes: u64,
    /// Blocks of media that may wait for the disk.
    pub media_queue_blocks: usize,
}

impl JournalSettings {
    /// The usual settings for a folder: segments of 64 MiB, 1 GiB kept free, 1024 blocks waiting.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            segment_bytes: 64 << 20,
            free_floor_bytes: 1 << 30,
            media_queue_blocks: 1024,
        }
    }
}

/// Room in the queue that only events may take.
const EVENT_QUEUE: usize = 16_384;

/// How often what waits is written.
const WRITE_EVERY: Duration = Duration::from_millis(250);

/// Inputs taken before the writer looks at the time again.
const DRAIN: usize = 256;

/// Events that may wait for the next writing; more wake the thread.
const EVENTS_WAITING: usize = 1024;

/// Why the journal does not work.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The disk failed.
    #[error("journal {path}: {source}")]
    Disk {
        /// File or folder.
        path: PathBuf,
        /// What the disk said.
        source: io::Error,
    },
    /// Another process has this journal.
    #[error("journal {0} is in use by another process")]
    InUse(PathBuf),
    /// The journal thread has ended.
    #[error("the journal is closed")]
    Closed,
}

/// What a journal did since it was opened, and how its disk is. Counts only grow.
#[derive(Debug, Default)]
pub struct JournalCounters {
    /// Packets written.
    pub packets: AtomicU64,
    /// Bytes written, framing included.
    pub bytes: AtomicU64,
    /// Events written.
    pub events: AtomicU64,
    /// Write calls to the disk.
    pub writes: AtomicU64,
    /// Times the disk was synced.
    pub syncs: AtomicU64,
    /// Writes that failed.
    pub write_errors: AtomicU64,
    /// Blocks refused because the queue was full.
    pub refused_blocks: AtomicU64,
    /// Packets dropped because the disk was full or failed.
    pub lost_packets: AtomicU64,
    /// Packets of calls that the journal does not know, or that were over.
    pub stray_packets: AtomicU64,
    /// Events dropped because the disk hung for so long that the queue was full of them.
    pub lost_events: AtomicU64,
    /// Segments of which what was over was taken out.
    pub rewritten_segments: AtomicU64,
    /// Bytes free on the disk when it was last looked at, once a second.
    pub free_bytes: AtomicU64,
    /// Media is being refused for want of space, now.
    pub is_refusing: AtomicBool,
    /// The last write failed.
    pub is_failing: AtomicBool,
}

impl JournalCounters {
    fn add(counter: &AtomicU64, by: u64) {
        counter.fetch_add(by, Ordering::Relaxed);
    }
}

enum Input {
    Media(TapBlock),
    Event(Box<TapEvent>),
    Done(CallId),
    Flush(SyncSender<()>),
    Stop,
}

/// Takes blocks that have been written and are empty again.
struct Emptied(Box<dyn Fn(TapBlock) + Send + Sync>);

impl std::fmt::Debug for Emptied {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Emptied")
    }
}

/// What writer, readers and senders share.
#[derive(Debug)]
struct Shared {
    folder: PathBuf,
    index: Mutex<Index>,
    counters: JournalCounters,
    media_waiting: AtomicUsize,
    /// Events sent since the thread last looked.
    events_waiting: AtomicUsize,
    /// Calls whose media was dropped before it reached the thread, which has yet to mark them.
    gaps: Mutex<Vec<CallId>>,
    /// Where blocks go back to.
    emptied: OnceLock<Emptied>,
}

impl Shared {
    fn index(&self) -> MutexGuard<'_, Index> {
        // The index is changed in steps that cannot panic half-way.
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The journals of all disks and their threads. Dropping it writes what waits and ends them.
#[derive(Debug)]
pub struct Journal {
    handle: JournalHandle,
    threads: Vec<JoinHandle<()>>,
}

impl Journal {
    /// Opens the journal: repairs a torn end, finds the calls that are not finished, and starts
    /// the thread.
    ///
    /// `on_finished` is called by the journal thread with each call that is over and wholly
    /// written; it must not block.
    ///
    /// # Errors
    /// [`JournalError`] if the folder cannot be read or written, or is in use.
    pub fn open(
        settings: JournalSettings,
        on_finished: impl Fn(CallId) + Send + Sync + 'static,
    ) -> Result<(Self, RecoveryReport), JournalError> {
        Self::open_on(vec![(Box::new(LocalDisk), settings)], on_finished)
    }

    /// Like [`Journal::open`], a journal on each of several disks. One that cannot be opened is
    /// left out, loudly, if another can.
    ///
    /// # Errors
    /// The first disk's, if none can be opened.
    pub fn open_on(
        disks: Vec<(Box<dyn Disk>, JournalSettings)>,
        on_finished: impl Fn(CallId) + Send + Sync + 'static,
    ) -> Result<(Self, RecoveryReport), JournalError> {
        let on_finished = Arc::new(on_finished);
        let (mut feeds, mut threads) = (Vec::new(), Vec::new());
        let mut report = RecoveryReport::default();
        let mut failed = None;
        for (disk, settings) in disks {
            let on_finished = on_finished.clone();
            match open_one(disk, settings, Box::new(move |call_id| on_finished(call_id))) {
                Ok((feed, thread, found)) => {
                    feeds.push(feed);
                    threads.push(thread);
                    report.add(found);
                }
                Err(err) => {
                    tracing::error!(%err, "a journal cannot be opened: its disk is not used");
                    failed = failed.or(Some(err));
                }
            }
        }
        match failed {
            Some(err) if feeds.is_empty() => Err(err),
            _ => Ok((Self { handle: JournalHandle::new(feeds), threads }, report)),
        }
    }

    /// A handle for those who send and read.
    pub fn handle(&self) -> JournalHandle {
        self.handle.clone()
    }
}

fn open_one(
    disk: Box<dyn Disk>,
    settings: JournalSettings,
    on_finished: Box<dyn Fn(CallId) + Send>,
) -> Result<(Feed, JoinHandle<()>, RecoveryReport), JournalError> {
    let media_limit = settings.media_queue_blocks.max(1);
    let (writer, report) = Writer::open(disk, settings, on_finished, Instant::now())?;
    let shared = writer.shared();
    let (queue, inputs) = sync_channel(media_limit + EVENT_QUEUE);
    let thread = std::thread::Builder::new()
        .name("journal".into())
        .spawn(move || run(writer, &inputs))
        .map_err(|source| JournalError::Disk { path: shared.folder.clone(), source })?;
    let feed = Feed::new(queue, shared, media_limit, thread.thread().clone());
    Ok((feed, thread, report))
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.handle.stop();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("the journal thread panicked");
            }
        }
    }
}

/// Takes what comes. Nobody wakes the thread for an event: it is written with the next batch
/// anyway, and a waking for each would cost more than the writing ([`Feed`]).
fn run(mut writer: Writer, inputs: &Receiver<Input>) {
    let shared = writer.shared();
    let mut wake = Instant::now() + WRITE_EVERY;
    loop {
        let now = Instant::now();
        shared.events_waiting.store(0, Ordering::Release);
        let mut is_drained = false;
        for _ in 0..DRAIN {
            match inputs.try_recv() {
                Ok(Input::Stop) | Err(TryRecvError::Disconnected) => return writer.close(now),
                Ok(input) => writer.handle(now, input),
                Err(TryRecvError::Empty) => {
                    is_drained = true;
                    break;
                }
            }
        }
        let now = Instant::now();
        if now >= wake {
            writer.tick(now);
            wake = now + WRITE_EVERY;
        } else if is_drained {
            std::thread::park_timeout(wake - now);
        }
    }
}

/// Looks at a journal without opening it: reads every segment, changes nothing.
///
/// # Errors
/// [`JournalError::Disk`] if a segment cannot be read.
pub fn inspect(folder: &Path) -> Result<RecoveryReport, JournalError> {
    recovery::recover(folder).map(|(_, report, _)| report)
}

#[cfg(test)]
mod mutation;
#[cfg(test)]
mod tests;
