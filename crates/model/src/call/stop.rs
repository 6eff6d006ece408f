//! Where a call to a line went: to a group first, and wherever it was sent on to, and why.

use serde::{Deserialize, Serialize};

/// One place that a call to a line was sent to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stop {
    /// What it is.
    pub kind: StopKind,
    /// The group's name, the extension or the number outside; empty where there is none.
    pub name: String,
    /// Why the call came here.
    pub why: StopReason,
}

/// What a call can be sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopKind {
    /// A ring group.
    Group,
    /// One of our phones.
    Extension,
    /// A number outside.
    Outside,
    /// Nowhere: the caller was refused.
    Refused,
}

impl StopKind {
    /// The word used in JSON and SQL.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Group => "group",
            Self::Extension => "extension",
            Self::Outside => "outside",
            Self::Refused => "refused",
        }
    }

    /// The variant of a word, if it is one.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Group, Self::Extension, Self::Outside, Self::Refused]
            .into_iter()
            .find(|it| it.as_str() == word)
    }
}

/// Why a call was sent on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// Its line says so.
    Called,
    /// The line is closed at this hour.
    Closed,
    /// Nobody took it in time.
    NoAnswer,
    /// All phones were in a call.
    AllBusy,
    /// No phone was registered, or none could be reached.
    Nobody,
    /// It had been to all the places before, or to too many.
    Loop,
}

impl StopReason {
    /// The word used in JSON and SQL.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Called => "called",
            Self::Closed => "closed",
            Self::NoAnswer => "no_answer",
            Self::AllBusy => "all_busy",
            Self::Nobody => "nobody",
            Self::Loop => "loop",
        }
    }

    /// The variant of a word, if it is one.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Called, Self::Closed, Self::NoAnswer, Self::AllBusy, Self::Nobody, Self::Loop]
            .into_iter()
            .find(|it| it.as_str() == word)
    }
}
