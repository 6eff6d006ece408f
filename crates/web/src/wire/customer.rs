//! Customers, their phones and vehicles.

use cheling_model::card::CustomerCard;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// One customer in a list.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct CustomerRow {
    /// Its id.
    pub customer_id: Uuid,
    /// C0021837.
    pub customer_no: String,
    /// 王建国.
    pub name: String,
    /// 先生, 女士, or `""`.
    pub salutation: String,
    /// `existing`, `prospect`.
    pub lifecycle: String,
    /// `vip`, `caution_list`, `complainant` …
    pub segments: Vec<String>,
    /// Primary number.
    pub number: String,
    /// First plate, or `""`.
    pub plate: String,
    /// First vehicle in words, or `""`.
    pub model: String,
    /// Consultant or adviser, or `""`.
    pub owner_name: String,
    /// Last contact, if any.
    pub last_contact_at: Option<i64>,
}

/// One customer, whole.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct CustomerDetail {
    /// As the desk shows it.
    #[schema(value_type = Object)]
    pub card: CustomerCard,
    /// Made at.
    pub created_at: i64,
    /// Street address.
    pub address: String,
}

/// What a form sends.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CustomerDraft {
    /// 王建国.
    pub name: String,
    /// 先生, 女士, or `""`.
    #[serde(default)]
    pub salutation: String,
    /// `existing`, `prospect`.
    pub lifecycle: String,
    /// `phone_enquiry`, `walk_in` … required.
    pub source: String,
    /// Street address.
    #[serde(default)]
    pub address: String,
    /// A standing remark.
    #[serde(default)]
    pub note: String,
    /// At least one.
    pub phones: Vec<PhoneDraft>,
    /// Any number.
    #[serde(default)]
    pub vehicles: Vec<VehicleDraft>,
    /// The call it is made from: links that call.
    #[serde(default)]
    pub call_id: Option<Uuid>,
}

/// One number of the form.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PhoneDraft {
    /// As typed.
    pub number: String,
    /// 本人, 配偶, 送修人, 司机, 公司.
    #[serde(default)]
    pub label: String,
    /// Tried first.
    #[serde(default)]
    pub is_primary: bool,
}

/// One vehicle of the form.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct VehicleDraft {
    /// 沪A·D3962, or `""`.
    #[serde(default)]
    pub plate: String,
    /// 17 characters, or `""`.
    #[serde(default)]
    pub vin: String,
    /// Brand and series in words.
    pub model: String,
    /// 2.0T.
    #[serde(default)]
    pub displacement: String,
    /// AT.
    #[serde(default)]
    pub transmission: String,
}

/// What an import did, or would do.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ImportReport {
    /// Whether anything was written.
    pub applied: bool,
    /// Rows read.
    pub rows: u64,
    /// New customers.
    pub created: u64,
    /// Customers that got new facts.
    pub updated: u64,
    /// Rows that said nothing new.
    pub unchanged: u64,
    /// Rows that could not be taken, the first 200.
    pub bad_rows: Vec<BadRow>,
    /// How many could not be taken in all.
    pub bad_row_count: u64,
}

/// One row that could not be taken.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct BadRow {
    /// Its number in the file, the header being 1.
    pub row: u64,
    /// The column's header, or `""`.
    pub column: String,
    /// What stands there.
    #[serde(default)]
    pub cell: String,
    /// What is wrong with it, in Chinese.
    pub reason: String,
    /// The same as a word: `phone_invalid` …
    #[serde(default)]
    pub reason_code: String,
}
