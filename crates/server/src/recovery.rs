//! What a start owes to the process before it: calls that the journal holds are told to the desk
//! again, ended where nobody saw their end, and rendered.

use crate::tap::Rows;
use cheling_lookup::desk::Desk;
use cheling_model::{CallId, EndCause, TapEvent, TapKind, Timestamp};
use cheling_store::journal::{JournalError, JournalHandle, RecoveryReport};
use cheling_store::render::not_recorded;
use cheling_store::rows::{RecordingRows, RowError};
use cheling_store::workers::RenderQueue;
use std::collections::HashSet;
use std::time::Duration;

/// How far back a start looks for calls that left nothing: the process before may have been down.
pub const LOOK_BACK: Duration = Duration::from_hours(24);

/// Calls asked for at a time.
const PAGE: u32 = 200;

/// Repairs what was cut. The desk takes every event twice without harm.
pub async fn run(
    report: &RecoveryReport,
    journal: &JournalHandle,
    desk: &Desk,
    queue: &RenderQueue,
) -> Result<(), JournalError> {
    if report.torn_bytes > 0 || report.damaged_records > 0 {
        tracing::warn!(
            torn_bytes = report.torn_bytes,
            damaged_records = report.damaged_records,
            "the journal was cut short; everything before is kept"
        );
    }
    for call in &report.calls {
        let Some(records) = journal.read(call.call_id) else { continue };
        let events = records.events()?;
        let last_event = events.iter().map(|event| event.at).max();
        for event in events {
            desk.replay(event).await;
        }
        if call.was_cut {
            let mut last = last_event.unwrap_or_else(|| Timestamp::from_micros(0));
            records.packets::<JournalError>(|packet| {
                last = last.max(packet.at);
                Ok(())
            })?;
            let kind = TapKind::Ended { cause: EndCause::Failed, by: None, sip_status: None };
            desk.replay(TapEvent { call_id: call.call_id, at: last, kind }).await;
        }
        tracing::info!(call_id = %call.call_id, answered = call.is_answered, "call recovered");
        if call.is_answered {
            queue.push(call.call_id);
        }
    }
    // What the journal forgets now must be written.
    desk.write().await;
    for call in report.calls.iter().filter(|call| !call.is_answered) {
        journal.done(call.call_id)?;
    }
    Ok(())
}

/// Gives answered calls of the last day that are over, and of whose answer the journal knows nothing,
/// the row that says so: the process before died within the moment of it.
///
/// Only for a journal of which every disk is there, another may hold them; and before new calls.
pub async fn tell_unrecorded(
    rows: &Rows,
    report: &RecoveryReport,
    desk: &Desk,
    now: Timestamp,
) -> Result<(), RowError> {
    let since =
        Timestamp::from_micros(now.as_micros().saturating_sub(LOOK_BACK.as_micros() as i64));
    // Ids are in the order of time.
    let mut after = CallId::mint(since, [0; 10]);
    // What it has may be rendered by now: then it has its row.
    let in_journal = report.calls.iter().filter(|call| call.is_answered);
    let in_journal: HashSet<CallId> = in_journal.map(|call| call.call_id).collect();
    loop {
        let page = rows.unrecorded(now, Some(after), PAGE).await?;
        let Some(last) = page.last() else { return Ok(()) };
        after = last.call_id;
        for call in page.iter().filter(|call| !in_journal.contains(&call.call_id)) {
            let why = "the recorder stopped before anything of it was written";
            let row = not_recorded(call.call_id, call.dealership_id, call.answered_at, why);
            let row = std::slice::from_ref(&row);
            rows.insert(row).await?;
            desk.recordings_landed(row, now).await;
            tracing::warn!(call_id = %call.call_id, "a call of the process before left nothing");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::tests::talked;
    use crate::config::Config;
    use crate::facts;
    use cheling_model::Verdict;
    use cheling_model::call::{Offer, Party};
    use cheling_records::recording;
    use cheling_store::journal::{Journal, JournalSettings};

    #[tokio::test]
    async fn a_call_that_left_nothing_gets_the_row_that_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let config = Config { data_dir: folder.path().join("data"), ..Config::default() };
        let facts = facts::open(&config).await.unwrap();
        let (database, dealership_id) = (&facts.database, facts.dealership.dealership_id);
        let gone = talked(database, dealership_id).await;
        let kept = talked(database, dealership_id).await;
        let rang = talked(database, dealership_id).await;
        let settings = JournalSettings {
            free_floor_bytes: 0,
            ..JournalSettings::new(folder.path().join("j"))
        };
        let (journal, _) = Journal::open(settings.clone(), |_| {}).unwrap();
        let offer = Offer {
            direction: cheling_model::Direction::Inbound,
            dealership_id,
            caller: Party::default(),
            called: String::new(),
            trunk: None,
            line_id: None,
            extension: None,
            user_id: None,
            follow_up_id: None,
        };
        let at = kept.offered_at;
        let tell = |call_id, kind| journal.handle().event(TapEvent { call_id, at, kind }).unwrap();
        // Of one the journal knows the answer, of one only that it rang.
        for call_id in [kept.call_id, rang.call_id] {
            tell(call_id, TapKind::Offered(offer.clone()));
        }
        tell(kept.call_id, TapKind::Answered { extension: "8001".into() });
        drop(journal);
        let (_journal, report) = Journal::open(settings, |_| {}).unwrap();

        let desk = Desk::new(database.clone()).await.unwrap();
        let rows = Rows::of(database.clone());
        let now = Timestamp::from_micros(facts::now().as_micros() + 1);
        for _ in 0..2 {
            tell_unrecorded(&rows, &report, &desk, now).await.unwrap();
        }
        for call in [gone, rang] {
            let found = recording::of_call(database, call.call_id).await.unwrap();
            assert_eq!(found.len(), 1);
            assert_eq!(found[0].verdict, Verdict::NotRecorded);
            assert!(found[0].verdict_detail.contains("stopped"));
        }
        assert!(recording::of_call(database, kept.call_id).await.unwrap().is_empty());
    }
}
