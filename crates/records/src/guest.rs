//! Third parties of calls, as they are read. They are written by `ledger`.

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
