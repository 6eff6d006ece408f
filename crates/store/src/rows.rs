//! What the store asks of the database.

use std::future::Future;
use std::sync::Arc;

use cheling_model::recording::{Container, Recording};
use cheling_model::{CallId, DealershipId, RecordingId, Timestamp};

/// Why the database did not answer; whatever it is, it may later.
pub type RowError = Box<dyn std::error::Error + Send + Sync>;

/// A call that was answered and is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnsweredCall {
    /// Its id.
    pub call_id: CallId,
    /// Whose it is.
    pub dealership_id: DealershipId,
    /// When it was answered.
    pub answered_at: Timestamp,
}

/// The rows of recordings.
pub trait RecordingRows: Send + Sync + 'static {
    /// The row of a call, if its recording has landed.
    fn of_call(
        &self,
        call_id: CallId,
    ) -> impl Future<Output = Result<Option<Recording>, RowError>> + Send;

    /// Inserts rows; one that is there already with its id is of the same file.
    fn insert(&self, recordings: &[Recording])
    -> impl Future<Output = Result<(), RowError>> + Send;

    /// The next rows after `after`, by id, at most `limit`.
    fn page(
        &self,
        after: Option<RecordingId>,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<Recording>, RowError>> + Send;

    /// The next calls after `after`, by id, at most `limit`, that were answered, are over, were
    /// offered before `before`, and have no row.
    fn unrecorded(
        &self,
        before: Timestamp,
        after: Option<CallId>,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<AnsweredCall>, RowError>> + Send;

    /// One row.
    fn find(
        &self,
        recording_id: RecordingId,
    ) -> impl Future<Output = Result<Option<Recording>, RowError>> + Send;

    /// The next rows after `after`, by id, at most `limit`, of WAV files that began before
    /// `older_than` ([`is_convertible`](crate::conversion::is_convertible)).
    fn convertible(
        &self,
        older_than: Timestamp,
        after: Option<RecordingId>,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<Recording>, RowError>> + Send;

    /// How many rows [`RecordingRows::convertible`] has in all.
    fn count_convertible(
        &self,
        older_than: Timestamp,
    ) -> impl Future<Output = Result<u64, RowError>> + Send;

    /// Makes the row of `original` tell of `copy`'s file: path, container, size and hash at once.
    /// False if the row is not (any more) as `original` has it; it is then left alone.
    fn replace(
        &self,
        original: &Recording,
        copy: &Recording,
    ) -> impl Future<Output = Result<bool, RowError>> + Send;

    /// The container that a dealership wants, if it wants another than is usual.
    fn container(
        &self,
        dealership_id: DealershipId,
    ) -> impl Future<Output = Result<Option<Container>, RowError>> + Send;
}

impl<T: RecordingRows> RecordingRows for Arc<T> {
    fn of_call(
        &self,
        call_id: CallId,
    ) -> impl Future<Output = Result<Option<Recording>, RowError>> + Send {
        self.as_ref().of_call(call_id)
    }

    fn insert(
        &self,
        recordings: &[Recording],
    ) -> impl Future<Output = Result<(), RowError>> + Send {
        self.as_ref().insert(recordings)
    }

    fn page(
        &self,
        after: Option<RecordingId>,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<Recording>, RowError>> + Send {
        self.as_ref().page(after, limit)
    }

    fn unrecorded(
        &self,
        before: Timestamp,
        after: Option<CallId>,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<AnsweredCall>, RowError>> + Send {
        self.as_ref().unrecorded(before, after, limit)
    }

    fn find(
        &self,
        recording_id: RecordingId,
    ) -> impl Future<Output = Result<Option<Recording>, RowError>> + Send {
        self.as_ref().find(recording_id)
    }

    fn convertible(
        &self,
        older_than: Timestamp,
        after: Option<RecordingId>,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<Recording>, RowError>> + Send {
        self.as_ref().convertible(older_than, after, limit)
    }

    fn count_convertible(
        &self,
        older_than: Timestamp,
    ) -> impl Future<Output = Result<u64, RowError>> + Send {
        self.as_ref().count_convertible(older_than)
    }

    fn replace(
        &self,
        original: &Recording,
        copy: &Recording,
    ) -> impl Future<Output = Result<bool, RowError>> + Send {
        self.as_ref().replace(original, copy)
    }

    fn container(
        &self,
        dealership_id: DealershipId,
    ) -> impl Future<Output = Result<Option<Container>, RowError>> + Send {
        self.as_ref().container(dealership_id)
    }
}
