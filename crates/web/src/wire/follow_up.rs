//! Follow-ups (回访).

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// One follow-up.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct FollowUpRow {
    /// Its id.
    pub follow_up_id: Uuid,
    /// A type word: `delivery_3dc` …
    #[serde(rename = "type")]
    pub follow_up_type: String,
    /// `open`, `in_progress`, `done`, `unreachable`, `refused`, `cancelled`.
    pub state: String,
    /// Due.
    pub due_on: String,
    /// One line on it.
    pub subject: String,
    /// Whose.
    pub owner_id: Option<Uuid>,
    /// By name, or `""`.
    pub owner_name: String,
    /// The customer, if known.
    pub customer_id: Option<Uuid>,
    /// By name, or `""`.
    pub customer_name: String,
    /// 先生, 女士, or `""`.
    pub salutation: String,
    /// `vip` …
    pub segments: Vec<String>,
    /// The number to dial, or `""`.
    pub number: String,
    /// The vehicle's plate, or `""`.
    pub plate: String,
    /// The vehicle in words, or `""`.
    pub model: String,
    /// Attempts so far.
    pub attempts: u32,
    /// The last attempt's outcome word, or `""`.
    pub last_outcome: String,
    /// The last note.
    pub note: String,
    /// Closed at, if it is.
    pub closed_at: Option<i64>,
    /// Recordings attached, newest first.
    pub recording_ids: Vec<Uuid>,
}

/// A list of follow-ups with the counts over the tabs.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct FollowUpPage {
    /// The rows.
    pub items: Vec<FollowUpRow>,
    /// For the next page.
    pub next_cursor: Option<String>,
    /// Of the same owner, whatever the view.
    pub counts: FollowUpCounts,
}

/// The counts over the tabs.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct FollowUpCounts {
    /// Open and due today.
    pub today: u64,
    /// Open and due before today.
    pub overdue: u64,
    /// Closed today.
    pub done_today: u64,
}

/// What a form sends.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FollowUpDraft {
    /// A type word.
    #[serde(rename = "type")]
    pub follow_up_type: String,
    /// Due.
    pub due_on: String,
    /// One line on it.
    #[serde(default)]
    pub subject: String,
    /// Whose; the one who sends it if `null`.
    #[serde(default)]
    pub owner_id: Option<Uuid>,
    /// The customer.
    #[serde(default)]
    pub customer_id: Option<Uuid>,
    /// The vehicle.
    #[serde(default)]
    pub vehicle_id: Option<Uuid>,
    /// A state word; `open` if missing.
    #[serde(default)]
    pub state: Option<String>,
}
