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
pub struct Rows {
    database: Database,
    /// Who writes the calls that they are of, if that is us.
    desk: Option<Arc<Desk>>,
}

impl Rows {
    /// Of calls whose rows are written.
    pub fn of(database: Database) -> Self {
        Self { database, desk: None }
    }

    /// Of calls that `desk` is told of.
    pub fn beside(desk: Arc<Desk>, database: Database) -> Self {
        Self { database, desk: Some(desk) }
    }
}

impl RecordingRows for Rows {
    async fn of_call(&self, call_id: CallId) -> Result<Option<Recording>, RowError> {
        Ok(recording::of_call(&self.database, call_id).await?.into_iter().next())
    }

    async fn insert(&self, rows: &[Recording]) -> Result<(), RowError> {
        // The journal forgets the calls after this. What makes their recordings durable makes what
        // was written before it durable, too: so their own rows go first.
        if let Some(desk) = &self.desk {
            let calls: Vec<_> = rows.iter().map(|row| row.call_id).collect();
            desk.write_ended(&calls).await?;
        }
        let mut tx = self.database.begin_durable().await?;
        recording::insert_all(&mut tx, rows).await?;
        Ok(tx.commit().await?)
    }

    async fn page(
        &self,
        after: Option<RecordingId>,
        limit: u32,
    ) -> Result<Vec<Recording>, RowError> {
        Ok(recording::walk(&self.database, after, limit).await?)
    }

    async fn unrecorded(
        &self,
        before: Timestamp,
        after: Option<CallId>,
        limit: u32,
    ) -> Result<Vec<AnsweredCall>, RowError> {
        let calls = recording::unrecorded(&self.database, before, after, limit).await?;
        let answered = calls.into_iter().map(|call| AnsweredCall {
            call_id: call.call_id,
            dealership_id: call.dealership_id,
            answered_at: call.answered_at,
        });
        Ok(answered.collect())
    }

    async fn find(&self, recording_id: RecordingId) -> Result<Option<Recording>, RowError> {
        Ok(recording::get(&self.database, recording_id).await?)
    }

    async fn convertible(
        &self,
        older_than: Timestamp,
        after: Option<RecordingId>,
        limit: u32,
    ) -> Result<Vec<Recording>, RowError> {
        Ok(recording::wavs(&self.database, older_than, after, limit).await?)
    }

    async fn count_convertible(&self, older_than: Timestamp) -> Result<u64, RowError> {
        Ok(u64::try_from(recording::count_wavs(&self.database, older_than).await?).unwrap_or(0))
    }

    async fn replace(&self, original: &Recording, copy: &Recording) -> Result<bool, RowError> {
        Ok(recording::replace_file(&self.database, original, copy).await?)
    }

    async fn container(&self, dealership_id: DealershipId) -> Result<Option<Container>, RowError> {
        Ok(recording::container(&self.database, dealership_id).await?)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::facts;
    use cheling_model::call::{Offer, Party};
    use cheling_model::{Direction, EndCause, Presentation, TapKind};
    use cheling_store::render::not_recorded;

    #[tokio::test]
    async fn the_row_of_a_recording_comes_after_the_end_of_its_call() {
        let folder = tempfile::tempdir().unwrap();
        let config = Config { data_dir: folder.path().join("data"), ..Config::default() };
        let facts = facts::open(&config).await.unwrap();
        let (database, dealership_id) = (&facts.database, facts.dealership.dealership_id);
        let desk = Arc::new(Desk::new(database.clone()).await.unwrap());
        let now = facts::now();
        let call_id = CallId::mint(now, [7; 10]);
        let caller = Party {
            number: "13812345678".into(),
            display_name: None,
            presentation: Presentation::Allowed,
        };
        let offer = Offer {
            direction: Direction::Inbound,
            dealership_id,
            caller,
            called: "58998000".into(),
            trunk: None,
            line_id: None,
            extension: None,
            user_id: None,
            follow_up_id: None,
        };
        let tell = |kind| desk.handle(TapEvent { call_id, at: now, kind });
        tell(TapKind::Offered(offer)).await;
        tell(TapKind::Answered { extension: "8001".into() }).await;
        desk.write().await;
        let rows = Rows::beside(Arc::clone(&desk), database.clone());
        let recording = not_recorded(call_id, dealership_id, now, "a test");
        // The render worker is ahead of the desk.
        let end = TapKind::Ended { cause: EndCause::HungUp, by: None, sip_status: None };
        let (inserted, _) = tokio::join!(rows.insert(std::slice::from_ref(&recording)), tell(end));
        inserted.unwrap();
        // The process dies here: what the next one finds.
        assert_eq!(recording::of_call(database, call_id).await.unwrap().len(), 1);
        let desk = Desk::new(database.clone()).await.unwrap();
        assert_eq!(desk.close_stale(facts::now()).await.unwrap(), 0, "its end is written");
        let row = cheling_records::call::any(database, call_id).await.unwrap().unwrap();
        assert_eq!(row.cause, Some(EndCause::HungUp));
    }
}
