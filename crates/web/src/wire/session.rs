//! Signing in.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// A name and its password.
#[derive(Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignIn {
    /// The user name.
    pub username: String,
    /// The password.
    pub password: String,
}

/// Who is signed in.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Me {
    /// The user.
    pub user_id: Uuid,
    /// The name signed in with.
    pub username: String,
    /// The name shown: 陈静.
    pub name: String,
    /// `admin`, `supervisor`, `agent`, `qa`.
    pub role: String,
    /// The phone in use now.
    pub extension: Option<String>,
    /// Whether that phone is registered now.
    pub extension_registered: bool,
    /// The dealership.
    pub dealership_id: Uuid,
    /// 远航汽车浦东店.
    pub dealership_name: String,
}
