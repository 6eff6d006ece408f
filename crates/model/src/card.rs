//! The screen-pop card: all that the desk paints while the phone rings, in one value.

use crate::follow_up::{FollowUpState, FollowUpType, Lifecycle, words};
use crate::{CallId, CustomerId, FollowUpId, RecordingId, Timestamp, VehicleId};
use serde::{Deserialize, Serialize};

words! {
    /// What the lookup came to.
    CardKind {
        /// One customer.
        Known = "known",
        /// Several: the agent chooses.
        Candidates = "candidates",
        /// A number that nobody has.
        Unknown = "unknown",
        /// No number: never looked up.
        Withheld = "withheld",
        /// A colleague's extension.
        Internal = "internal",
    }
}

/// What the agent sees.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Card {
    /// What the lookup came to.
    pub kind: CardKind,
    /// The customer's number as it came (the desk shows it 3-4-4), empty if withheld.
    pub number: String,
    /// Its normalised key, empty if withheld.
    pub number_key: String,
    /// Where the number is from, if that can be said: `上海`. Empty otherwise.
    pub place: String,
    /// The customer of a `known` card.
    pub customer: Option<CustomerCard>,
    /// The candidates of a `candidates` card, likeliest first.
    pub candidates: Vec<CustomerBrief>,
    /// Earlier calls of this number, newest first, at most 5: what an unknown card shows.
    pub past_calls: Vec<ContactBrief>,
}

/// A customer with what matters now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CustomerCard {
    /// Its id.
    pub customer_id: CustomerId,
    /// The number on paper: C0021837.
    pub customer_no: String,
    /// 王建国.
    pub name: String,
    /// 先生, 女士, or empty.
    pub salutation: String,
    /// Existing or prospect.
    pub lifecycle: Lifecycle,
    /// Segments: `vip`, `caution_list`, `complainant`, `at_risk` …
    pub segments: Vec<String>,
    /// H, HOT_A, A, B … or empty.
    pub lead_grade: String,
    /// The consultant or adviser in charge, by name; may be empty.
    pub owner_name: String,
    /// Where from: `bought_here`, `walk_in` …
    pub source: String,
    /// A standing remark.
    pub note: String,
    /// All numbers.
    pub phones: Vec<PhoneBrief>,
    /// All vehicles, the likeliest first.
    pub vehicles: Vec<VehicleBrief>,
    /// Open follow-ups, the most urgent first.
    pub open_items: Vec<OpenItem>,
    /// Last contacts, newest first, at most 5.
    pub last_contacts: Vec<ContactBrief>,
}

/// One of several customers who share a number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CustomerBrief {
    /// Its id.
    pub customer_id: CustomerId,
    /// 王建国.
    pub name: String,
    /// 先生, 女士, or empty.
    pub salutation: String,
    /// First plate, or empty.
    pub plate: String,
    /// What this number is to the customer: 本人, 送修人.
    pub phone_label: String,
    /// Open follow-ups.
    pub open_items: u32,
    /// Last contact, if any.
    pub last_contact_at: Option<Timestamp>,
}

/// One number of a customer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PhoneBrief {
    /// As written.
    pub number: String,
    /// Its normalised key.
    pub number_key: String,
    /// 本人, 配偶, 送修人, 司机, 公司.
    pub label: String,
    /// Tried first.
    pub is_primary: bool,
}

/// One vehicle of a customer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VehicleBrief {
    /// Its id.
    pub vehicle_id: VehicleId,
    /// 沪A·D3962.
    pub plate: String,
    /// 17 characters, or empty.
    pub vin: String,
    /// Brand, series and model in words.
    pub model: String,
    /// `2.0T`, or empty.
    pub displacement: String,
    /// `AT`, or empty.
    pub transmission: String,
    /// Kilometres at the last visit.
    pub mileage_km: Option<i64>,
    /// Last visit, `2026-08-06`.
    pub last_visit_on: Option<String>,
    /// Next service due, `2026-12-05`.
    pub next_service_on: Option<String>,
    /// Insurance ends, `2026-12-12`.
    pub insurance_due_on: Option<String>,
}

/// Something open that the agent should know before saying hello.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OpenItem {
    /// The follow-up.
    pub follow_up_id: FollowUpId,
    /// What for.
    #[serde(rename = "type")]
    pub follow_up_type: FollowUpType,
    /// Where it stands.
    pub state: FollowUpState,
    /// Due, `2026-11-22`.
    pub due_on: String,
    /// One line on it.
    pub subject: String,
    /// Whose, by name.
    pub owner_name: String,
}

/// One past contact.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ContactBrief {
    /// The call, if it was one.
    pub call_id: Option<CallId>,
    /// When.
    pub at: Timestamp,
    /// `inbound`, `outbound`, `internal`, `visit`.
    pub kind: String,
    /// By whom, by name.
    pub user_name: String,
    /// What it came to: an outcome word, or an end cause.
    pub result: String,
    /// The note.
    pub note: String,
    /// Talk time, milliseconds; 0 if not answered.
    pub talk_ms: i64,
    /// Its recording, if one is ready.
    pub recording_id: Option<RecordingId>,
}
