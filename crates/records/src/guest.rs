//! Third parties of calls: written event by event, each statement safe to repeat.

use crate::Result;
use crate::database::On;
use crate::row::{Read as _, row};
use crate::value::args;
use cheling_model::{CallId, GuestRole, Timestamp, UserId};

row! {
    /// Somebody who was in a call beside its two sides.
    Guest in "call_guest" {
        call_id: CallId = "call_id",
        /// Its number in the call, 1 to 7.
        guest: i64 = "guest",
        joined_at: Timestamp = "joined_at_us",
        /// What it was last.
        role: GuestRole = "role",
        /// As it was called.
        number: String = "number",
        /// Empty: outside.
        extension: String = "extension",
        user_id: Option<UserId> = "user_id",
        left_at: Option<Timestamp> = "left_at_us",
    }
}

/// Writes that somebody has joined.
///
/// # Errors
/// [`crate::Error::Refused`] if there is no such call.
pub async fn joined(on: impl Into<On<'_>>, guest: &Guest) -> Result<()> {
    let sql = "insert into call_guest (call_id, guest, joined_at_us, role, number, extension, \
               user_id) values ($1, $2, $3, $4, $5, $6, $7) on conflict do nothing";
    let args = args![
        guest.call_id,
        guest.guest,
        guest.joined_at,
        guest.role,
        &guest.number,
        &guest.extension,
        guest.user_id
    ];
    on.into().execute(sql, args).await.map(|_| ())
}

/// Writes that somebody does something else from now on.
///
/// # Errors
/// [`crate::Error::Unavailable`].
pub async fn changed(
    on: impl Into<On<'_>>,
    call_id: CallId,
    guest: i64,
    role: GuestRole,
) -> Result<()> {
    let sql = "update call_guest set role = $3 \
               where call_id = $1 and guest = $2 and left_at_us is null";
    on.into().execute(sql, args![call_id, guest, role]).await.map(|_| ())
}

/// Writes that somebody is there no longer.
///
/// # Errors
/// [`crate::Error::Unavailable`].
pub async fn left(on: impl Into<On<'_>>, call_id: CallId, guest: i64, at: Timestamp) -> Result<()> {
    let sql = "update call_guest set left_at_us = $3 \
               where call_id = $1 and guest = $2 and left_at_us is null";
    on.into().execute(sql, args![call_id, guest, at]).await.map(|_| ())
}

/// A call's third parties, in the order they came.
///
/// # Errors
/// [`crate::Error::Unavailable`].
pub async fn of_call(on: impl Into<On<'_>>, call_id: CallId) -> Result<Vec<Guest>> {
    let sql = format!(
        "select {} from call_guest where call_id = $1 order by joined_at_us, guest",
        Guest::columns()
    );
    on.into().list(sql, args![call_id]).await
}
