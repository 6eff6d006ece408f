//! The append-only log of packets and events: the truth about a call until its recording is
//! finished.
//!
//! One folder per recordings disk holds numbered segments (`segment`), written by one plain thread
//! (`writer`) that is fed through one bounded queue. Packets are grouped by call before they are
//! written, so that a call can be read back without reading its neighbours. It neither decodes nor
//! mixes.
//!
//! When the queue is full, media is refused to its sender, who counts it against the call; events
//! have room of their own in the queue and are never dropped.

mod index;
mod reader;
mod recovery;
mod segment;
mod writer;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use cheling_model::tap::TapBlock;
use cheling_model::{CallId, TapEvent};

use crate::disk::{Disk, LocalDisk};
use index::Index;
use writer::Writer;

pub use reader::{CallRecords, MediaReport};
pub use recovery::{Recovered, RecoveryReport};

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

/// What the journal did since it was opened. All only grow but `is_refusing`.
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
    /// Media is being refused for want of space, now.
    pub is_refusing: AtomicBool,
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

/// What writer, readers and senders share.
#[derive(Debug)]
struct Shared {
    folder: PathBuf,
    index: Mutex<Index>,
    counters: JournalCounters,
    media_waiting: AtomicUsize,
}

impl Shared {
    fn index(&self) -> MutexGuard<'_, Index> {
        // The index is changed in steps that cannot panic half-way.
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A journal and its thread. Dropping it writes what waits and ends the thread.
#[derive(Debug)]
pub struct Journal {
    handle: JournalHandle,
    thread: Option<JoinHandle<()>>,
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
        on_finished: impl Fn(CallId) + Send + 'static,
    ) -> Result<(Self, RecoveryReport), JournalError> {
        Self::open_on(Box::new(LocalDisk), settings, on_finished)
    }

    /// Like [`Journal::open`], on a disk of one's own.
    ///
    /// # Errors
    /// As [`Journal::open`].
    pub fn open_on(
        disk: Box<dyn Disk>,
        settings: JournalSettings,
        on_finished: impl Fn(CallId) + Send + 'static,
    ) -> Result<(Self, RecoveryReport), JournalError> {
        let media_limit = settings.media_queue_blocks.max(1);
        let (writer, report) = Writer::open(disk, settings, Box::new(on_finished), Instant::now())?;
        let shared = writer.shared();
        let (queue, inputs) = sync_channel(media_limit + EVENT_QUEUE);
        let thread = std::thread::Builder::new()
            .name("journal".into())
            .spawn(move || run(writer, &inputs))
            .map_err(|source| JournalError::Disk { path: shared.folder.clone(), source })?;
        let handle = JournalHandle { queue, shared, media_limit };
        Ok((Self { handle, thread: Some(thread) }, report))
    }

    /// A handle for those who send and read.
    pub fn handle(&self) -> JournalHandle {
        self.handle.clone()
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        // A closed queue means that the thread has ended already.
        let _ = self.handle.queue.send(Input::Stop);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the journal thread panicked");
        }
    }
}

fn run(mut writer: Writer, inputs: &Receiver<Input>) {
    let mut wake = Instant::now() + WRITE_EVERY;
    loop {
        match inputs.recv_timeout(wake.saturating_duration_since(Instant::now())) {
            Ok(input) => {
                let now = Instant::now();
                let mut next = Some(input);
                for _ in 0..DRAIN {
                    match next.take() {
                        Some(Input::Stop) => return writer.close(now),
                        Some(input) => writer.handle(now, input),
                        None => break,
                    }
                    next = inputs.try_recv().ok();
                }
                match next {
                    Some(Input::Stop) => return writer.close(now),
                    Some(input) => writer.handle(now, input),
                    None => {}
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return writer.close(Instant::now()),
        }
        let now = Instant::now();
        if now >= wake {
            writer.tick(now);
            wake = now + WRITE_EVERY;
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

/// Sends to a journal and reads from it; cheap to clone.
#[derive(Clone, Debug)]
pub struct JournalHandle {
    queue: SyncSender<Input>,
    shared: Arc<Shared>,
    media_limit: usize,
}

impl JournalHandle {
    /// Hands over a block of packets. Never waits.
    ///
    /// # Errors
    /// The block comes back if the queue is full or the journal closed: its packets are lost to
    /// the recording and must be counted against their calls.
    pub fn try_media(&self, block: TapBlock) -> Result<(), TapBlock> {
        let waiting = self.shared.media_waiting.fetch_add(1, Ordering::AcqRel);
        let sent = if waiting < self.media_limit {
            self.queue.try_send(Input::Media(block))
        } else {
            Err(TrySendError::Full(Input::Media(block)))
        };
        match sent {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(input) | TrySendError::Disconnected(input)) => {
                self.shared.media_waiting.fetch_sub(1, Ordering::AcqRel);
                JournalCounters::add(&self.shared.counters.refused_blocks, 1);
                match input {
                    Input::Media(block) => Err(block),
                    _ => Err(TapBlock::default()),
                }
            }
        }
    }

    /// Hands over an event, waiting for room if the disk is far behind.
    ///
    /// # Errors
    /// [`JournalError::Closed`] if the journal has ended.
    pub fn event(&self, event: TapEvent) -> Result<(), JournalError> {
        self.queue.send(Input::Event(Box::new(event))).map_err(|_| JournalError::Closed)
    }

    /// Hands over an event without waiting, for those who may not block.
    ///
    /// # Errors
    /// The event comes back if there is no room now or the journal has ended: try again.
    pub fn try_event(&self, event: TapEvent) -> Result<(), Box<TapEvent>> {
        self.queue.try_send(Input::Event(Box::new(event))).map_err(|err| match err {
            TrySendError::Full(Input::Event(event))
            | TrySendError::Disconnected(Input::Event(event)) => event,
            _ => unreachable!("only the event that was sent comes back"),
        })
    }

    /// Lets the journal forget a call: its recording has landed, or there is none to make.
    ///
    /// # Errors
    /// [`JournalError::Closed`] if the journal has ended.
    pub fn done(&self, call_id: CallId) -> Result<(), JournalError> {
        self.queue.send(Input::Done(call_id)).map_err(|_| JournalError::Closed)
    }

    /// Waits until all that was sent before is written and synced.
    ///
    /// # Errors
    /// [`JournalError::Closed`] if the journal has ended.
    pub fn flush(&self) -> Result<(), JournalError> {
        let (done, is_done) = sync_channel(1);
        self.queue.send(Input::Flush(done)).map_err(|_| JournalError::Closed)?;
        is_done.recv().map_err(|_| JournalError::Closed)
    }

    /// The records of a call as written so far; `None` if the journal does not know it.
    pub fn read(&self, call_id: CallId) -> Option<CallRecords> {
        let index = self.shared.index();
        let entry = index.call(call_id)?;
        Some(CallRecords::new(self.shared.folder.clone(), call_id, entry))
    }

    /// How many calls the journal holds.
    pub fn calls(&self) -> usize {
        self.shared.index().calls()
    }

    /// What the journal did.
    pub fn counters(&self) -> &JournalCounters {
        &self.shared.counters
    }
}

#[cfg(test)]
mod mutation;
#[cfg(test)]
mod tests;
