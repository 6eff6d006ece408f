//! What agents note after a call.

use crate::Result;
use crate::database::On;
use crate::row::{Read as _, row};
use crate::value::args;
use cheling_model::follow_up::Outcome;
use cheling_model::{CallId, FollowUpId, Timestamp, UserId};

row! {
    /// What the agent noted after a call.
    WrapUp in "wrap_up" {
        call_id: CallId = "call_id",
        user_id: UserId = "user_id",
        outcome: Outcome = "outcome",
        note: String = "note",
        /// When to call again, `2026-11-25`.
        next_on: Option<String> = "next_on",
        /// The task or contact record that it is about.
        follow_up_id: Option<FollowUpId> = "follow_up_id",
        saved_at: Timestamp = "saved_at_us",
    }
}

/// Writes a wrap-up; a second one of the same call replaces it.
///
/// # Errors
/// [`crate::Error::Refused`] if there is no such call.
pub async fn save(on: impl Into<On<'_>>, wrap_up: &WrapUp) -> Result<()> {
    let sql = "insert into wrap_up (call_id, user_id, outcome, note, next_on, follow_up_id, \
               saved_at_us) values ($1, $2, $3, $4, $5, $6, $7) \
               on conflict (call_id) do update set user_id = $2, outcome = $3, note = $4, \
               next_on = $5, follow_up_id = $6, saved_at_us = $7";
    let w = wrap_up;
    let args = args![
        w.call_id,
        w.user_id,
        w.outcome,
        &w.note,
        w.next_on.as_deref(),
        w.follow_up_id,
        w.saved_at
    ];
    on.into().execute(sql, args).await.map(|_| ())
}

/// The wrap-up of a call, if it was saved.
///
/// # Errors
/// [`crate::Error::Unavailable`].
pub async fn of_call(on: impl Into<On<'_>>, call_id: CallId) -> Result<Option<WrapUp>> {
    let sql = format!("select {} from wrap_up where call_id = $1", WrapUp::columns());
    on.into().find(sql, args![call_id]).await
}
