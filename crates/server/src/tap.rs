//! Joins `capture` to the journal, and the journal's finished calls to rows and consoles.

use cheling_capture::TapSink;
use cheling_lookup::desk::Desk;
use cheling_model::console::Notice;
use cheling_model::recording::{Container, Recording};
use cheling_model::tap::TapBlock;
use cheling_model::{CallId, DealershipId, RecordingId, TapEvent, Timestamp};
use cheling_records::{Database, recording};
use cheling_store::journal::JournalHandle;
use cheling_store::rows::{AnsweredCall, RecordingRows, RowError};
use cheling_web::Hub;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// The journal as `capture` sees it.
pub struct JournalSink(pub JournalHandle);

impl TapSink for JournalSink {
    fn packets(&self, block: TapBlock) -> Result<(), TapBlock> {
        self.0.try_media(block)
    }

    fn event(&self, event: TapEvent) {
        let call_id = event.call_id;
        // A call waits for no disk: one that hangs for so long loses the event, loudly.
        if self.0.try_event(event).is_err() {
            self.0.count_lost_event(call_id);
            tracing::error!(%call_id, "an event did not reach the journal: its disk hangs");
        }
    }
}

/// The rows of recordings, in the database.
pub struct Rows(pub Database);

impl RecordingRows for Rows {
    async fn of_call(&self, call_id: CallId) -> Result<Option<Recording>, RowError> {
        Ok(recording::of_call(&self.0, call_id).await?.into_iter().next())
    }

    async fn insert(&self, rows: &[Recording]) -> Result<(), RowError> {
        // The journal forgets the calls after this.
        let mut tx = self.0.begin_durable().await?;
        recording::insert_all(&mut tx, rows).await?;
        Ok(tx.commit().await?)
    }

    async fn page(
        &self,
        after: Option<RecordingId>,
        limit: u32,
    ) -> Result<Vec<Recording>, RowError> {
        Ok(recording::walk(&self.0, after, limit).await?)
    }

    async fn unrecorded(
        &self,
        before: Timestamp,
        after: Option<CallId>,
        limit: u32,
    ) -> Result<Vec<AnsweredCall>, RowError> {
        let calls = recording::unrecorded(&self.0, before, after, limit).await?;
        let answered = calls.into_iter().map(|call| AnsweredCall {
            call_id: call.call_id,
            dealership_id: call.dealership_id,
            answered_at: call.answered_at,
        });
        Ok(answered.collect())
    }

    async fn find(&self, recording_id: RecordingId) -> Result<Option<Recording>, RowError> {
        Ok(recording::get(&self.0, recording_id).await?)
    }

    async fn convertible(
        &self,
        older_than: Timestamp,
        after: Option<RecordingId>,
        limit: u32,
    ) -> Result<Vec<Recording>, RowError> {
        Ok(recording::wavs(&self.0, older_than, after, limit).await?)
    }

    async fn count_convertible(&self, older_than: Timestamp) -> Result<u64, RowError> {
        Ok(u64::try_from(recording::count_wavs(&self.0, older_than).await?).unwrap_or(0))
    }

    async fn replace(&self, original: &Recording, copy: &Recording) -> Result<bool, RowError> {
        Ok(recording::replace_file(&self.0, original, copy).await?)
    }

    async fn container(&self, dealership_id: DealershipId) -> Result<Option<Container>, RowError> {
        Ok(recording::container(&self.0, dealership_id).await?)
    }
}

/// Recordings told of together, at most.
const LANDED_AT_ONCE: usize = 64;

/// Feeds the desk, publishes what it says and has it write, until everybody who tells it has gone.
pub async fn attend(
    desk: Arc<Desk>,
    hub: Arc<Hub>,
    mut events: mpsc::Receiver<TapEvent>,
    mut landed: mpsc::Receiver<Recording>,
) {
    let publish = |notices: Vec<Notice>| notices.iter().for_each(|notice| hub.publish(notice));
    let over = CancellationToken::new();
    let listening = async {
        let mut rows = Vec::with_capacity(LANDED_AT_ONCE);
        loop {
            // Events first: a recording is told of after the end of its call.
            tokio::select! {
                biased;
                Some(event) = events.recv() => publish(desk.handle(event).await),
                1.. = landed.recv_many(&mut rows, LANDED_AT_ONCE) => {
                    publish(desk.recordings_landed(&rows, crate::facts::now()).await);
                    rows.clear();
                }
                else => break,
            }
        }
        over.cancel();
    };
    // Beside it, for a pop does not wait for what is being written.
    let writing = async {
        loop {
            tokio::select! {
                () = desk.due() => publish(desk.write().await),
                () = over.cancelled() => break,
            }
        }
    };
    tokio::join!(listening, writing);
    publish(desk.write().await);
}
