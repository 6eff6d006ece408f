//! The threads that make recordings of calls that are over.
//!
//! Each takes one call at a time, at low priority: calls go on while recordings wait. Calls that
//! are over within a moment are made durable together: their files are synced, their folder and
//! their rows are written once. A call that fails is tried again by itself, later each time, until
//! it works: the journal keeps it. Done twice, it gives the same recording, so nothing has to be
//! remembered across a crash.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use cheling_model::recording::{Container, Recording};
use cheling_model::{CallId, DealershipId};
use tokio::runtime::Handle;

use crate::facts::CallFacts;
use crate::files::{RecordingFiles, commit_all};
use crate::journal::{CallRecords, JournalHandle};
use crate::render::{RenderError, RenderSettings, Rendered, not_recorded, prepare};
use crate::rows::{RecordingRows, RowError};

/// First and longest wait before a failed call is tried again.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_LONGEST: Duration = Duration::from_secs(60);

/// Failures of our own (panics) after which a call gets the row `not_recorded`.
const MAX_PANICS: u32 = 3;

/// Calls made durable together at most …
const GROUP: usize = 16;

/// … and how long the first of them waits for others to be over, and rendered.
const GROUP_TIME: Duration = Duration::from_millis(100);

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
    /// For one worker that has nothing to do: there is a job.
    has_job: Condvar,
    /// For one that has begun a group: there is a job for it.
    has_job_for_group: Condvar,
    /// No call waits any more.
    is_empty: Condvar,
}

#[derive(Debug, Default)]
struct QueueState {
    ready: VecDeque<Job>,
    /// Jobs that failed, and when they are due again.
    later: Vec<(Instant, Job)>,
    /// Workers that wait for another job for their group.
    gathering: usize,
    /// Every call in `ready`, in `later` or in work: bounded by the calls in the journal.
    known: BTreeSet<CallId>,
    is_closed: bool,
}

#[derive(Clone, Copy, Debug)]
struct Job {
    call_id: CallId,
    /// It may have a row: a process before this one, or a failed attempt, may have made it.
    may_have_landed: bool,
    failures: u32,
    panics: u32,
}

impl RenderQueue {
    /// Adds a call that may have its recording; one that waits or is being rendered already is not
    /// added again.
    pub fn push(&self, call_id: CallId) {
        self.add(Job { call_id, may_have_landed: true, failures: 0, panics: 0 });
    }

    /// Adds a call that was over just now; one that waits or is being rendered already is not added
    /// again.
    pub fn push_fresh(&self, call_id: CallId) {
        self.add(Job { call_id, may_have_landed: false, failures: 0, panics: 0 });
    }

    fn add(&self, job: Job) {
        let mut state = self.inner.lock();
        if state.known.insert(job.call_id) {
            state.ready.push_back(job);
            // Few large groups rather than many small ones.
            match state.ready.len() <= state.gathering {
                true => self.inner.has_job_for_group.notify_one(),
                false => self.inner.has_job.notify_one(),
            }
        }
    }

    /// Calls that wait or are being rendered.
    pub fn waiting(&self) -> usize {
        self.inner.lock().known.len()
    }

    fn close(&self) {
        self.inner.lock().is_closed = true;
        self.inner.has_job.notify_all();
        self.inner.has_job_for_group.notify_all();
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
                    let waited = self.inner.has_job.wait_timeout(state, wait);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.inner.has_job.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// Waits until `deadline` for the next job that is ready for the first time.
    fn next_for_group(&self, deadline: Instant) -> Option<Job> {
        let mut state = self.inner.lock();
        loop {
            if state.is_closed {
                return None;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                // One that was meant for this group.
                if !state.ready.is_empty() {
                    self.inner.has_job.notify_one();
                }
                return None;
            }
            if let Some(job) = state.ready.pop_front() {
                return Some(job);
            }
            state.gathering += 1;
            let waited = self.inner.has_job_for_group.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            state.gathering -= 1;
        }
    }

    fn retry(&self, job: Job) {
        let wait = RETRY_FIRST.saturating_mul(1 << job.failures.min(6)).min(RETRY_LONGEST);
        let job = Job { failures: job.failures + 1, may_have_landed: true, ..job };
        self.inner.lock().later.push((Instant::now() + wait, job));
        self.inner.has_job.notify_one();
    }

    fn finish(&self, call_id: CallId) {
        let mut state = self.inner.lock();
        state.known.remove(&call_id);
        if state.known.is_empty() {
            self.inner.is_empty.notify_all();
        }
    }

    /// Waits until no call waits any more, or until `deadline`; tells which.
    pub fn wait_until_empty(&self, deadline: Instant) -> bool {
        let mut state = self.inner.lock();
        while !state.known.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.inner.is_empty.wait_timeout(state, left);
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
                    let worker = Worker { queue, rendering, counters, runtime };
                    while let Some(job) = worker.queue.next() {
                        worker.work(job);
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

/// One thread's view of it all.
struct Worker<R> {
    queue: RenderQueue,
    rendering: Arc<Rendering<R>>,
    counters: Arc<WorkerCounters>,
    runtime: Handle,
}

/// The container that each dealership of a group wants.
type Containers = HashMap<DealershipId, Container>;

impl<R: RecordingRows> Worker<R> {
    /// Makes the recording of a call and, if that is quick, of those that are over next.
    fn work(&self, first: Job) {
        let deadline = Instant::now() + GROUP_TIME;
        let mut containers = Containers::new();
        let mut group = Vec::new();
        let mut next = Some(first);
        while let Some(job) = next {
            let is_alone = job.failures > 0;
            let began = Instant::now();
            match self.guarded(job, || self.make(job, &mut containers)) {
                Some(Made::New(rendered)) => group.push((job, *rendered)),
                Some(Made::Landed(recording)) => self.landed(job, Some(&recording)),
                Some(Made::Nothing) => self.landed(job, None),
                None => {}
            }
            let busy_us = began.elapsed().as_micros() as u64;
            self.counters.busy_us.fetch_add(busy_us, Ordering::Relaxed);
            let is_whole = is_alone || group.is_empty() || group.len() >= GROUP;
            next = if is_whole { None } else { self.queue.next_for_group(deadline) };
        }
        self.keep(group);
    }

    /// Runs what is done for one job; if it fails, the job is tried again later.
    fn guarded<T>(&self, job: Job, work: impl FnOnce() -> Result<T, WorkError>) -> Option<T> {
        let call_id = job.call_id;
        match catch_unwind(AssertUnwindSafe(work)) {
            Ok(Ok(done)) => return Some(done),
            Ok(Err(err)) => {
                tracing::error!(%call_id, %err, "the recording could not be made; it will be tried again");
                self.retry(job);
            }
            Err(_) => {
                tracing::error!(%call_id, "a panic while rendering; it will be tried again");
                self.retry(Job { panics: job.panics + 1, ..job });
            }
        }
        None
    }

    fn retry(&self, job: Job) {
        self.counters.failures.fetch_add(1, Ordering::Relaxed);
        self.queue.retry(job);
    }

    fn make(&self, job: Job, containers: &mut Containers) -> Result<Made, WorkError> {
        let Rendering { journal, rows, .. } = &*self.rendering;
        let call_id = job.call_id;
        if job.may_have_landed
            && let Some(landed) =
                self.runtime.block_on(rows.of_call(call_id)).map_err(WorkError::Row)?
        {
            // A crash came between the row and the journal's forgetting.
            return Ok(Made::Landed(Box::new(landed)));
        }
        let Some(records) = journal.read(call_id) else { return Ok(Made::Nothing) };
        if job.panics >= MAX_PANICS {
            return give_up(&records);
        }
        let settings = self.settings_of(&records, containers)?;
        match prepare(&records, &self.rendering.files, &settings) {
            Ok(Some(rendered)) => Ok(Made::New(Box::new(rendered))),
            Ok(None) => Ok(Made::Nothing),
            Err(RenderError::NoOffer) => {
                tracing::error!(%call_id, "a call whose first event is damaged cannot be recorded");
                Ok(Made::Nothing)
            }
            Err(err) => Err(err.into()),
        }
    }

    /// How a call's dealership wants its recordings.
    fn settings_of(
        &self,
        records: &CallRecords,
        containers: &mut Containers,
    ) -> Result<RenderSettings, WorkError> {
        let settings = self.rendering.settings;
        let facts = CallFacts::of(&records.events().map_err(RenderError::from)?);
        let Some(dealership_id) = facts.dealership_id else { return Ok(settings) };
        let container = match containers.get(&dealership_id) {
            Some(container) => *container,
            None => {
                let wanted = self.runtime.block_on(self.rendering.rows.container(dealership_id));
                let wanted = wanted.map_err(WorkError::Row)?.unwrap_or(settings.container);
                containers.insert(dealership_id, wanted);
                wanted
            }
        };
        Ok(RenderSettings { container, ..settings })
    }

    /// Gives the files of a group their names, and then writes the rows; the journal may forget
    /// the calls after that. If anything fails, each of them is tried again by itself.
    fn keep(&self, group: Vec<(Job, Rendered)>) {
        if group.is_empty() {
            return;
        }
        let mut files = Vec::new();
        let (mut jobs, mut recordings) = (Vec::new(), Vec::new());
        for (job, rendered) in group {
            files.extend(rendered.files);
            jobs.push(job);
            recordings.push(rendered.recording);
        }
        let kept = commit_all(files).map_err(|err| WorkError::Render(err.into())).and_then(|()| {
            let inserted = self.runtime.block_on(self.rendering.rows.insert(&recordings));
            inserted.map_err(WorkError::Row)
        });
        match kept {
            Ok(()) => {
                for (job, recording) in jobs.into_iter().zip(&recordings) {
                    self.landed(job, Some(recording));
                }
            }
            Err(err) => {
                if let (WorkError::Render(_), Some(first)) = (&err, recordings.first()) {
                    self.rendering.files.shun(&first.path);
                }
                tracing::error!(
                    calls = jobs.len(),
                    first = ?jobs.first().map(|job| job.call_id),
                    %err,
                    "recordings could not be kept; each will be tried again"
                );
                jobs.into_iter().for_each(|job| self.retry(job));
            }
        }
    }

    /// A call needs nothing more; tells of its recording, if there is one.
    fn landed(&self, job: Job, recording: Option<&Recording>) {
        let Job { call_id, .. } = job;
        if let Some(recording) = recording {
            self.counters.landed.fetch_add(1, Ordering::Relaxed);
            let audio_us = recording.duration_us.max(0) as u64;
            self.counters.audio_us.fetch_add(audio_us, Ordering::Relaxed);
            (self.rendering.on_landed)(recording);
        }
        if self.rendering.journal.done(call_id).is_err() {
            tracing::warn!(%call_id, "the journal closed before the recording was reported");
        }
        self.queue.finish(call_id);
    }
}

/// What became of a call.
enum Made {
    /// Its files wait for their names.
    New(Box<Rendered>),
    /// It had its row.
    Landed(Box<Recording>),
    /// There is nothing to make.
    Nothing,
}

/// The row of a call that cannot be rendered: nobody shall wonder where it is.
fn give_up(records: &CallRecords) -> Result<Made, WorkError> {
    let facts = CallFacts::of(&records.events().map_err(RenderError::from)?);
    let (Some(dealership_id), Some(answered_at)) = (facts.dealership_id, facts.answered_at) else {
        return Ok(Made::Nothing);
    };
    let why = "rendering failed";
    let recording = not_recorded(records.call_id(), dealership_id, answered_at, why);
    Ok(Made::New(Box::new(Rendered { recording, files: Vec::new() })))
}

#[cfg(test)]
mod tests {
    use super::*;
    use cheling_model::Timestamp;
    use std::thread;

    #[test]
    fn whoever_gathers_a_group_gets_the_next_call_and_an_idle_worker_the_one_after() {
        let queue = RenderQueue::default();
        let call = |n| CallId::mint(Timestamp::from_micros(1), [n; 10]);
        let (group, idle) = (queue.clone(), queue.clone());
        let deadline = Instant::now() + Duration::from_secs(3600);
        let gathering = thread::spawn(move || {
            let job = group.next_for_group(deadline).unwrap();
            assert!(group.next_for_group(Instant::now()).is_none(), "its time is over");
            job.call_id
        });
        while queue.inner.lock().gathering == 0 {
            thread::yield_now();
        }
        queue.push_fresh(call(1));
        assert_eq!(gathering.join().unwrap(), call(1));
        let idle = thread::spawn(move || idle.next().unwrap().call_id);
        queue.push_fresh(call(2));
        assert_eq!(idle.join().unwrap(), call(2));
    }

    #[test]
    fn a_closed_queue_ends_a_group_at_once() {
        let queue = RenderQueue::default();
        let group = queue.clone();
        let deadline = Instant::now() + Duration::from_secs(3600);
        let gathering = thread::spawn(move || group.next_for_group(deadline).is_none());
        while queue.inner.lock().gathering == 0 {
            thread::yield_now();
        }
        queue.close();
        assert!(gathering.join().unwrap());
    }
}
