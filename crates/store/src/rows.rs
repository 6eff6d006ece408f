//! What the store asks of the database.

use std::future::Future;
use std::sync::Arc;

use cheling_model::recording::Recording;
use cheling_model::{CallId, RecordingId};

/// Why the database did not answer; whatever it is, it may later.
pub type RowError = Box<dyn std::error::Error + Send + Sync>;

/// The rows of recordings.
pub trait RecordingRows: Send + Sync + 'static {
    /// The row of a call, if its recording has landed.
    fn of_call(
        &self,
        call_id: CallId,
    ) -> impl Future<Output = Result<Option<Recording>, RowError>> + Send;

    /// Inserts a row; one that is there already with this id stays.
    fn insert(&self, recording: &Recording) -> impl Future<Output = Result<(), RowError>> + Send;

    /// The next rows after `after`, by id, at most `limit`.
    fn page(
        &self,
        after: Option<RecordingId>,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<Recording>, RowError>> + Send;
}

impl<T: RecordingRows> RecordingRows for Arc<T> {
    fn of_call(
        &self,
        call_id: CallId,
    ) -> impl Future<Output = Result<Option<Recording>, RowError>> + Send {
        self.as_ref().of_call(call_id)
    }

    fn insert(&self, recording: &Recording) -> impl Future<Output = Result<(), RowError>> + Send {
        self.as_ref().insert(recording)
    }

    fn page(
        &self,
        after: Option<RecordingId>,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<Recording>, RowError>> + Send {
        self.as_ref().page(after, limit)
    }
}
