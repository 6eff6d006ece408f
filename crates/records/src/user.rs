//! People who sign in.

use crate::Result;
use crate::database::On;
use crate::row::{Read as _, row};
use crate::value::args;
use cheling_model::follow_up::Role;
use cheling_model::{DealershipId, Timestamp, UserId};

row! {
    /// A person who signs in.
    User in "app_user" {
        user_id: UserId = "user_id",
        dealership_id: DealershipId = "dealership_id",
        /// Lower case, unique everywhere.
        sign_in_name: String = "sign_in_name",
        display_name: String = "display_name",
        role: Role = "role",
        /// `售后`, `销售` or empty.
        team: String = "team",
        /// argon2 in PHC string form; empty: cannot sign in.
        password_hash: String = "password_hash",
        disabled: bool = "disabled",
        created_at: Timestamp = "created_at_us",
        updated_at: Timestamp = "updated_at_us",
    }
}

/// All users of a dealership, by name.
///
/// # Errors
/// [`crate::Error::Unavailable`].
pub async fn list(on: impl Into<On<'_>>, dealership_id: DealershipId) -> Result<Vec<User>> {
    let sql = format!(
        "select {} from app_user where dealership_id = $1 order by display_name, user_id",
        User::columns()
    );
    on.into().list(sql, args![dealership_id]).await
}

/// Whoever signs in by that name.
///
/// # Errors
/// [`crate::Error::Unavailable`].
pub async fn by_sign_in_name(on: impl Into<On<'_>>, name: &str) -> Result<Option<User>> {
    let sql = format!("select {} from app_user where sign_in_name = $1", User::columns());
    on.into().find(sql, args![name.to_lowercase()]).await
}

/// One user of a dealership.
///
/// # Errors
/// [`crate::Error::NotFound`].
pub async fn find(
    on: impl Into<On<'_>>,
    dealership_id: DealershipId,
    user_id: UserId,
) -> Result<User> {
    let sql = format!(
        "select {} from app_user where dealership_id = $1 and user_id = $2",
        User::columns()
    );
    on.into().one(sql, args![dealership_id, user_id]).await
}

/// What may be changed of a user.
#[derive(Clone, Debug)]
pub struct UserChange {
    /// The name shown.
    pub display_name: String,
    /// What the user is.
    pub role: Role,
    /// `售后`, `销售` or empty.
    pub team: String,
    /// Whether signing in is refused.
    pub disabled: bool,
}

/// Changes a user.
///
/// # Errors
/// [`crate::Error::NotFound`].
pub async fn update(
    on: impl Into<On<'_>>,
    dealership_id: DealershipId,
    user_id: UserId,
    change: &UserChange,
    at: Timestamp,
) -> Result<()> {
    let sql = "update app_user set display_name = $3, role = $4, team = $5, disabled = $6, \
               updated_at_us = $7 where dealership_id = $1 and user_id = $2";
    let UserChange { display_name, role, team, disabled } = change;
    let args = args![dealership_id, user_id, display_name, *role, team, *disabled, at];
    on.into().change(sql, args).await
}

/// Replaces a password's hash.
///
/// # Errors
/// [`crate::Error::NotFound`].
pub async fn set_password(
    on: impl Into<On<'_>>,
    user_id: UserId,
    password_hash: &str,
    at: Timestamp,
) -> Result<()> {
    let sql = "update app_user set password_hash = $2, updated_at_us = $3 where user_id = $1";
    on.into().change(sql, args![user_id, password_hash, at]).await
}

/// How many users there are, of all dealerships.
///
/// # Errors
/// [`crate::Error::Unavailable`].
pub async fn count(on: impl Into<On<'_>>) -> Result<i64> {
    on.into().scalar("select count(*) from app_user", args![]).await
}
