//! What the desk does with a database that is slow or away: it waits a little, once, then goes on
//! without it and tries again later.

use crate::{Error, Result};
use cheling_model::CallId;
use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long the lookup of one card may keep a pop waiting.
const PATIENCE: Duration = Duration::from_millis(1500);
/// How long one transaction may take: no pop waits for it.
const WRITE_PATIENCE: Duration = Duration::from_secs(10);
/// How long a database that was away is not asked again.
const REST: Duration = Duration::from_secs(2);

/// Whether the database answers.
#[derive(Debug, Default)]
pub(super) struct Patience {
    away_until: Mutex<Option<Instant>>,
}

/// What came of a write.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// It is done.
    Done,
    /// The database will have none of it, now or later.
    Refused,
    /// The database is away.
    Away,
}

impl Patience {
    /// Waits for a statement as long as is right; says once why there is no answer.
    pub(super) async fn tried<T>(
        &self,
        call_id: CallId,
        statement: impl Future<Output = Result<T>>,
    ) -> Option<T> {
        if self.is_away() {
            return None;
        }
        match tokio::time::timeout(PATIENCE, statement).await {
            Ok(Ok(value)) => Some(value),
            Ok(Err(Error::Unavailable(why))) => self.rest(&why),
            Err(_) => self.rest("it did not answer in time"),
            Ok(Err(err)) => {
                tracing::error!(%call_id, %err, "call record not written or read");
                None
            }
        }
    }

    /// Waits for a transaction of many calls as long as is right.
    pub(super) async fn written(&self, writing: impl Future<Output = Result<()>>) -> Written {
        match tokio::time::timeout(WRITE_PATIENCE, writing).await {
            Ok(Ok(())) => return Written::Done,
            Ok(Err(Error::Unavailable(why))) => self.rest(&why),
            Err(_) => self.rest("it did not answer in time"),
            Ok(Err(err)) => {
                tracing::error!(%err, "what came of a call is not written");
                return Written::Refused;
            }
        }
        .unwrap_or(Written::Away)
    }

    fn rest<T>(&self, why: &str) -> Option<T> {
        tracing::error!(why, "the database is away; calls go on without names");
        *lock(&self.away_until) = Some(Instant::now() + REST);
        None
    }

    /// Whether asking is of no use now.
    pub(super) fn is_away(&self) -> bool {
        lock(&self.away_until).is_some_and(|until| Instant::now() < until)
    }

    /// As if the rest were over.
    #[cfg(test)]
    pub(super) fn end_rest(&self) {
        *lock(&self.away_until) = None;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
