//! Signed-in browsers.

use crate::database::On;
use crate::row::row;
use crate::value::args;
use crate::{Result, row::Read as _};
use cheling_model::follow_up::Role;
use cheling_model::{DealershipId, Timestamp, UserId};
use uuid::Uuid;

row! {
    /// A signed-in browser.
    Session in "session" {
        session_id: Uuid = "session_id",
        /// Hex SHA-256 of the cookie's token.
        token_hash: String = "token_hash",
        user_id: UserId = "user_id",
        created_at: Timestamp = "created_at_us",
        expires_at: Timestamp = "expires_at_us",
        ip: String = "ip",
    }
}

row! {
    /// Who a session's requests come from.
    SignedIn {
        session_id: Uuid = "session.session_id",
        expires_at: Timestamp = "session.expires_at_us",
        user_id: UserId = "app_user.user_id",
        dealership_id: DealershipId = "app_user.dealership_id",
        dealership_name: String = "dealership.name",
        area_code: String = "dealership.area_code",
        sign_in_name: String = "app_user.sign_in_name",
        display_name: String = "app_user.display_name",
        role: Role = "app_user.role",
        team: String = "app_user.team",
        /// The number of the phone that the user sits at, if any; the first if several.
        extension: Option<String> = "(select min(extension.number) from extension_assignment a \
            join extension on extension.extension_id = a.extension_id \
            where a.user_id = app_user.user_id and a.until_us is null)",
    }
}

/// Who holds this token, if the session has not ended and the user is not disabled.
///
/// # Errors
/// [`crate::Error::Unavailable`].
pub async fn signed_in(
    on: impl Into<On<'_>>,
    token_hash: &str,
    now: Timestamp,
) -> Result<Option<SignedIn>> {
    let sql = format!(
        "select {} from session join app_user on app_user.user_id = session.user_id \
         join dealership on dealership.dealership_id = app_user.dealership_id \
         where session.token_hash = $1 and session.expires_at_us > $2 and not app_user.disabled",
        SignedIn::columns()
    );
    on.into().find(sql, args![token_hash, now]).await
}

/// Prolongs a session.
///
/// # Errors
/// [`crate::Error::NotFound`].
pub async fn extend(on: impl Into<On<'_>>, session_id: Uuid, expires_at: Timestamp) -> Result<()> {
    let sql = "update session set expires_at_us = $2 where session_id = $1";
    on.into().change(sql, args![session_id, expires_at]).await
}

/// Signs one browser out.
///
/// # Errors
/// [`crate::Error::Unavailable`].
pub async fn end(on: impl Into<On<'_>>, token_hash: &str) -> Result<()> {
    on.into()
        .execute("delete from session where token_hash = $1", args![token_hash])
        .await
        .map(|_| ())
}

/// Signs a user out everywhere: after a new password, or when disabled.
///
/// # Errors
/// [`crate::Error::Unavailable`].
pub async fn end_all_of(on: impl Into<On<'_>>, user_id: UserId) -> Result<u64> {
    on.into().execute("delete from session where user_id = $1", args![user_id]).await
}

/// Forgets sessions that have ended.
///
/// # Errors
/// [`crate::Error::Unavailable`].
pub async fn purge(on: impl Into<On<'_>>, now: Timestamp) -> Result<u64> {
    on.into().execute("delete from session where expires_at_us <= $1", args![now]).await
}
