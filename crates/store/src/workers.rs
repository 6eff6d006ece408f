//! The threads that make recordings of calls that are over.
//!
//! Each takes one call at a time, at low priority: calls go on while recordings wait. A call that
//! fails is tried again, later each time, until it works: the journal keeps it. Done twice, it
//! gives the same recording, so nothing has to be remembered across a crash.

use std::collections::{BTreeSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use cheling_model::CallId;
use cheling_model::recording::Recording;
use tokio::runtime::Handle;

use crate::facts::CallFacts;
use crate::files::RecordingFiles;
use crate::journal::{CallRecords, JournalHandle};
use crate::render::{RenderError, RenderSettings, not_recorded, render};
use crate::rows::{RecordingRows, RowError};

/// First and longest wait before a failed call is tried again.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_LONGEST: Duration = Duration::from_secs(60);

/// Failures of our own (panics) after which a call gets the row `not_recorded`.
const MAX_PANICS: u32 = 3;

/// How nice the threads are to those that relay.
const NICENESS: i32 = 10;

/// The calls that wait for a worker.
#[derive(Clone, Debug, Default)]
pub struct RenderQueue {
    inner: Arc<QueueInner>,
}

#[derive(Debug, Default)]
struct QueueInner {
    state: Mutex<QueueState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct QueueState {
    ready: VecDeque<Job>,
    /// Jobs that failed, and when they are due again.
    later: Vec<(Instant, Job)>,
    /// Every call in `ready`, in `later` or in work: bounded by the calls in the journal.
    known: BTreeSet<CallId>,
    is_closed: bool,
}

#[derive(Clone, Copy, Debug)]
struct Job {
    call_id: CallId,
    failures: u32,
    panics: u32,
}

impl RenderQueue {
    /// Adds a call; one that waits or is being rendered already is not added again.
    pub fn push(&self, call_id: CallId) {
        let mut state = self.inner.lock();
        if state.known.insert(call_id) {
            state.ready.push_back(Job { call_id, failures: 0, panics: 0 });
            self.inner.changed.notify_all();
        }
    }

    /// Calls that wait or are being rendered.
    pub fn waiting(&self) -> usize {
        self.inner.lock().known.len()
    }

    fn close(&self) {
        self.inner.lock().is_closed = true;
        self.inner.changed.notify_all();
    }

    /// Waits for the next job; `None` when the queue is closed.
    fn next(&self) -> Option<Job> {
        let mut state = self.inner.lock();
        loop {
            if state.is_closed {
                return None;
            }
            let now = Instant::now();
            if let Some(at) = state.later.iter().position(|(due, _)| *due <= now) {
                return Some(state.later.swap_remove(at).1);
            }
            if let Some(job) = state.ready.pop_front() {
                return Some(job);
            }
            let next_due = state.later.iter().map(|(due, _)| *due).min();
            state = match next_due {
                Some(due) => {
                    let wait = due.saturating_duration_since(now);
                    let waited = self.inner.changed.wait_timeout(state, wait);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.inner.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    fn retry(&self, job: Job) {
        let wait = RETRY_FIRST.saturating_mul(1 << job.failures.min(6)).min(RETRY_LONGEST);
        let job = Job { failures: job.failures + 1, ..job };
        self.inner.lock().later.push((Instant::now() + wait, job));
        self.inner.changed.notify_all();
    }

    fn finish(&self, call_id: CallId) {
        self.inner.lock().known.remove(&call_id);
        self.inner.changed.notify_all();
    }

    /// Waits until no call waits any more, or until `deadline`; tells which.
    pub fn wait_until_empty(&self, deadline: Instant) -> bool {
        let mut state = self.inner.lock();
        while !state.known.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.inner.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

impl QueueInner {
    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes the calling thread wait behind those that relay, from 0 (not at all) to 19.
pub fn lower_priority(niceness: i32) {
    if let Err(err) = rustix::process::setpriority_process(None, niceness) {
        tracing::warn!(%err, "a thread for work that can wait keeps its priority");
    }
}

/// What the workers did.
#[derive(Debug, Default)]
pub struct WorkerCounters {
    /// Recordings that landed.
    pub landed: AtomicU64,
    /// Attempts that failed.
    pub failures: AtomicU64,
    /// Microseconds of audio rendered.
    pub audio_us: AtomicU64,
    /// Microseconds spent rendering it.
    pub busy_us: AtomicU64,
}

/// What every worker needs.
pub struct Rendering<R> {
    /// Where packets come from.
    pub journal: JournalHandle,
    /// Where files go.
    pub files: RecordingFiles,
    /// How they are made, where the dealership wants nothing else.
    pub settings: RenderSettings,
    /// Where rows go.
    pub rows: R,
    /// Called with each recording when its row is in; again for the same one after a crash.
    pub on_landed: Box<dyn Fn(&Recording) + Send + Sync>,
}

/// The threads. Dropping ends them, each after the call it is at.
#[derive(Debug)]
pub struct Workers {
    queue: RenderQueue,
    counters: Arc<WorkerCounters>,
    threads: Vec<JoinHandle<()>>,
}

impl Workers {
    /// Starts `threads` of them (at least one), after removing what a crash left half-written.
    /// `runtime` runs the database's futures.
    ///
    /// # Errors
    /// What the operating system says when it has no thread left, or the disk.
    pub fn start<R: RecordingRows>(
        threads: usize,
        queue: RenderQueue,
        rendering: Rendering<R>,
        runtime: Handle,
    ) -> std::io::Result<Self> {
        rendering.files.remove_drafts()?;
        let rendering = Arc::new(rendering);
        let counters = Arc::new(WorkerCounters::default());
        let mut workers = Self { queue, counters, threads: Vec::new() };
        for n in 0..threads.max(1) {
            let (queue, rendering) = (workers.queue.clone(), rendering.clone());
            let (counters, runtime) = (workers.counters.clone(), runtime.clone());
            let thread =
                std::thread::Builder::new().name(format!("render-{n}")).spawn(move || {
                    lower_priority(NICENESS);
                    while let Some(job) = queue.next() {
                        work(job, &queue, &rendering, &counters, &runtime);
                    }
                })?;
            workers.threads.push(thread);
        }
        Ok(workers)
    }

    /// What they did.
    pub fn counters(&self) -> Arc<WorkerCounters> {
        self.counters.clone()
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.queue.close();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a render worker panicked");
            }
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum WorkError {
    #[error(transparent)]
    Render(#[from] RenderError),
    #[error("the database: {0}")]
    Row(RowError),
}

fn work<R: RecordingRows>(
    job: Job,
    queue: &RenderQueue,
    rendering: &Rendering<R>,
    counters: &WorkerCounters,
    runtime: &Handle,
) {
    let call_id = job.call_id;
    let began = Instant::now();
    let made = catch_unwind(AssertUnwindSafe(|| {
        if job.panics >= MAX_PANICS {
            give_up(call_id, rendering, runtime)
        } else {
            land(call_id, rendering, runtime)
        }
    }));
    let failure = match made {
        Ok(Ok(landed)) => {
            if let Some(recording) = landed {
                counters.landed.fetch_add(1, Ordering::Relaxed);
                let audio_us = recording.duration_us.max(0) as u64;
                counters.audio_us.fetch_add(audio_us, Ordering::Relaxed);
                let busy_us = began.elapsed().as_micros() as u64;
                counters.busy_us.fetch_add(busy_us, Ordering::Relaxed);
                (rendering.on_landed)(&recording);
            }
            if rendering.journal.done(call_id).is_err() {
                tracing::warn!(%call_id, "the journal closed before the recording was reported");
            }
            queue.finish(call_id);
            return;
        }
        Ok(Err(err)) => {
            tracing::error!(%call_id, %err, "the recording could not be made; it will be tried again");
            Job { ..job }
        }
        Err(_) => {
            tracing::error!(%call_id, "a panic while rendering; it will be tried again");
            Job { panics: job.panics + 1, ..job }
        }
    };
    counters.failures.fetch_add(1, Ordering::Relaxed);
    queue.retry(failure);
}

/// Makes a call's recording and its row. `None` if there is none to make.
fn land<R: RecordingRows>(
    call_id: CallId,
    rendering: &Rendering<R>,
    runtime: &Handle,
) -> Result<Option<Recording>, WorkError> {
    if let Some(landed) =
        runtime.block_on(rendering.rows.of_call(call_id)).map_err(WorkError::Row)?
    {
        // A crash came between the row and the journal's forgetting.
        return Ok(Some(landed));
    }
    let Some(records) = rendering.journal.read(call_id) else { return Ok(None) };
    let settings = settings_of(&records, rendering, runtime)?;
    let recording = match render(&records, &rendering.files, &settings) {
        Ok(Some(recording)) => recording,
        Ok(None) => return Ok(None),
        Err(RenderError::NoOffer) => {
            tracing::error!(%call_id, "a call whose first event is damaged cannot be recorded");
            return Ok(None);
        }
        Err(err) => return Err(err.into()),
    };
    runtime.block_on(rendering.rows.insert(&recording)).map_err(WorkError::Row)?;
    Ok(Some(recording))
}

/// How a call's dealership wants its recordings.
fn settings_of<R: RecordingRows>(
    records: &CallRecords,
    rendering: &Rendering<R>,
    runtime: &Handle,
) -> Result<RenderSettings, WorkError> {
    let facts = CallFacts::of(&records.events().map_err(RenderError::from)?);
    let Some(dealership_id) = facts.dealership_id else { return Ok(rendering.settings) };
    let wanted = runtime.block_on(rendering.rows.container(dealership_id));
    let container = wanted.map_err(WorkError::Row)?.unwrap_or(rendering.settings.container);
    Ok(RenderSettings { container, ..rendering.settings })
}

/// Writes the row of a call that cannot be rendered: nobody shall wonder where it is.
fn give_up<R: RecordingRows>(
    call_id: CallId,
    rendering: &Rendering<R>,
    runtime: &Handle,
) -> Result<Option<Recording>, WorkError> {
    let Some(records) = rendering.journal.read(call_id) else { return Ok(None) };
    let facts = CallFacts::of(&records.events().map_err(RenderError::from)?);
    let (Some(dealership_id), Some(answered_at)) = (facts.dealership_id, facts.answered_at) else {
        return Ok(None);
    };
    let recording = not_recorded(call_id, dealership_id, answered_at, "rendering failed");
    runtime.block_on(rendering.rows.insert(&recording)).map_err(WorkError::Row)?;
    Ok(Some(recording))
}
