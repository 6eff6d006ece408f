//! A telephone number after `lookup` has read it.

use serde::{Deserialize, Serialize};

/// What sort of number it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NumberKind {
    /// 1[3-9] and nine more digits.
    Mobile,
    /// Area code and 7 or 8 digits.
    Landline,
    /// 400 and 800 numbers.
    Service,
    /// Short codes: 110, 95588, 12345.
    Short,
    /// A number of another country.
    Foreign,
    /// One of our extensions.
    Internal,
}

impl NumberKind {
    /// The word used in JSON and SQL.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mobile => "mobile",
            Self::Landline => "landline",
            Self::Service => "service",
            Self::Short => "short",
            Self::Foreign => "foreign",
            Self::Internal => "internal",
        }
    }

    /// The variant of a word, if it is one.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Mobile, Self::Landline, Self::Service, Self::Short, Self::Foreign, Self::Internal]
            .into_iter()
            .find(|it| it.as_str() == word)
    }
}

/// A number in the one form that is compared: E.164 where it has one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PhoneNumber {
    /// The key by which numbers are equal: `+8613812345678`, or the digits of a short, service or
    /// internal number.
    pub key: String,
    /// What sort it is.
    pub kind: NumberKind,
    /// Area code without the leading 0, for landlines: `21`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub area_code: Option<String>,
    /// The extension behind a switchboard: `801` of `021-6123 4567-801`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extension: Option<String>,
}

/// A caller's number, read: either there is one or there is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallerNumber {
    /// To be looked up.
    Known(PhoneNumber),
    /// Withheld, absent or no number at all: never looked up, never linked.
    Withheld,
}
