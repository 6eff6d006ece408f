//! Users, extensions, lines.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// One user.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct UserRow {
    /// Its id.
    pub user_id: Uuid,
    /// Signs in with.
    pub username: String,
    /// Shown.
    pub name: String,
    /// `admin`, `supervisor`, `agent`, `qa`.
    pub role: String,
    /// The phone in use now.
    pub extension: Option<String>,
    /// Cannot sign in.
    pub disabled: bool,
}

/// What a form sends.
#[derive(Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UserDraft {
    /// Signs in with.
    pub username: String,
    /// Shown.
    pub name: String,
    /// A role word.
    pub role: String,
    /// The phone to use; `null` for none.
    #[serde(default)]
    pub extension: Option<String>,
    /// A new password, at least 10 characters; unchanged if missing.
    #[serde(default)]
    pub password: Option<String>,
    /// Cannot sign in.
    #[serde(default)]
    pub disabled: bool,
}

/// One SIP account.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ExtensionRow {
    /// 8001.
    pub number: String,
    /// Shown on phones.
    pub display_name: String,
    /// Who uses it now, by name, or `""`.
    pub user_name: String,
    /// Whether a phone is registered now.
    pub registered: bool,
    /// That phone's `User-Agent`, or `""`.
    pub user_agent: String,
    /// That phone's address, or `""`.
    pub address: String,
    /// The password: only in the answer to making it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// What to type into the phone: the registrar's address and port.
    pub registrar: String,
}

/// What a form sends.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExtensionDraft {
    /// 2 to 8 digits.
    pub number: String,
    /// Shown on phones.
    #[serde(default)]
    pub display_name: String,
}

/// All lines and ring groups.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Lines {
    /// The lines.
    pub lines: Vec<LineRow>,
    /// The groups.
    pub groups: Vec<GroupRow>,
}

/// One number that customers call.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LineRow {
    /// Its id; `null` makes a new one.
    pub line_id: Option<Uuid>,
    /// The digits as the trunk sends them.
    pub did: String,
    /// 售后热线.
    pub name: String,
    /// The name of its group.
    pub group: String,
}

/// Phones that ring for a line.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GroupRow {
    /// Its id; `null` makes a new one.
    pub group_id: Option<Uuid>,
    /// 售后一组, unique.
    pub name: String,
    /// Extension numbers; all ring at once.
    pub members: Vec<String>,
    /// Before an unanswered call is given up, 5 to 300.
    pub ring_seconds: u32,
}
