//! What a start owes to the process before it: calls that the journal holds are told to the desk
//! again, ended where nobody saw their end, and rendered.

use cheling_lookup::desk::Desk;
use cheling_model::{EndCause, TapEvent, TapKind, Timestamp};
use cheling_store::journal::{JournalError, JournalHandle, RecoveryReport};
use cheling_store::workers::RenderQueue;

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
            desk.handle(event).await;
        }
        if call.was_cut {
            let mut last = last_event.unwrap_or_else(|| Timestamp::from_micros(0));
            records.packets::<JournalError>(|packet| {
                last = last.max(packet.at);
                Ok(())
            })?;
            let kind = TapKind::Ended { cause: EndCause::Failed, by: None, sip_status: None };
            desk.handle(TapEvent { call_id: call.call_id, at: last, kind }).await;
        }
        tracing::info!(call_id = %call.call_id, answered = call.is_answered, "call recovered");
        if call.is_answered {
            queue.push(call.call_id);
        } else {
            journal.done(call.call_id)?;
        }
    }
    Ok(())
}
