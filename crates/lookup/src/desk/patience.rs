//! What the desk does with a database that is slow or away: it waits a little, once, then goes on
//! without it and tries again later.

use crate::{Error, Result};
use cheling_model::{CallId, TapEvent};
use std::collections::VecDeque;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long one statement, or the lookup of one card, may keep a pop waiting.
const PATIENCE: Duration = Duration::from_millis(1500);
/// How long a database that was away is not asked again.
const REST: Duration = Duration::from_secs(2);
/// Events kept to be written later; beyond it the oldest are given up. The journal still has
/// those of calls whose recordings are not finished.
const MAX_BACKLOG: usize = 20_000;

/// Whether the database answers, and what it has missed.
#[derive(Debug, Default)]
pub(super) struct Patience {
    /// A statement of the present event was not written.
    has_failed: AtomicBool,
    away_until: Mutex<Option<Instant>>,
    backlog: Mutex<VecDeque<TapEvent>>,
}

impl Patience {
    /// Waits for a statement as long as is right; says once why there is no answer.
    pub(super) async fn tried<T>(
        &self,
        call_id: CallId,
        statement: impl Future<Output = Result<T>>,
    ) -> Option<T> {
        if self.is_away() {
            self.has_failed.store(true, Ordering::Relaxed);
            return None;
        }
        match tokio::time::timeout(PATIENCE, statement).await {
            Ok(Ok(value)) => Some(value),
            Ok(Err(Error::Unavailable(why))) => self.rest(call_id, &why),
            Err(_) => self.rest(call_id, "it did not answer in time"),
            Ok(Err(err)) => {
                tracing::error!(%call_id, %err, "call record not written or read");
                None
            }
        }
    }

    fn rest<T>(&self, call_id: CallId, why: &str) -> Option<T> {
        tracing::error!(%call_id, why, "the database is away; calls go on without names");
        self.has_failed.store(true, Ordering::Relaxed);
        *lock(&self.away_until) = Some(Instant::now() + REST);
        None
    }

    /// Whether asking is of no use now.
    pub(super) fn is_away(&self) -> bool {
        lock(&self.away_until).is_some_and(|until| Instant::now() < until)
    }

    /// Begins an event.
    pub(super) fn begin(&self) {
        self.has_failed.store(false, Ordering::Relaxed);
    }

    /// Whether something of the event begun last was not written.
    pub(super) fn has_failed(&self) -> bool {
        self.has_failed.load(Ordering::Relaxed)
    }

    /// Keeps an event to be written later.
    pub(super) fn keep(&self, event: TapEvent) {
        let mut backlog = lock(&self.backlog);
        if backlog.len() >= MAX_BACKLOG
            && let Some(lost) = backlog.pop_front()
        {
            tracing::error!(call_id = %lost.call_id, "too much to make up for; an event is given up");
        }
        backlog.push_back(event);
    }

    /// The oldest event to be made up for.
    pub(super) fn next_kept(&self) -> Option<TapEvent> {
        lock(&self.backlog).pop_front()
    }

    /// Puts back what [`Patience::next_kept`] gave.
    pub(super) fn put_back(&self, event: TapEvent) {
        lock(&self.backlog).push_front(event);
    }

    /// How many events wait to be written.
    pub(super) fn backlog(&self) -> usize {
        lock(&self.backlog).len()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
