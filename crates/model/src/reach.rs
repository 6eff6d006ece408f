//! How far a phone may dial, and the numbers that every phone may.

use crate::number::{NumberKind, PhoneNumber};
use serde::{Deserialize, Serialize};

/// Police, fire, ambulance, traffic police; the number of every mobile network; rescue at sea.
const EMERGENCY: [&str; 6] = ["110", "119", "120", "122", "112", "12395"];

/// Digits of a mobile number that say where it was sold.
const PLACE_DIGITS: usize = 7;

/// How far a phone may dial; each reaches what those before it reach.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Reach {
    /// Phones and lines of the house; emergency, short and service numbers, as everybody.
    Internal,
    /// Numbers of the dealership's area, and mobiles unless they are known to be from elsewhere.
    Local,
    /// All of China.
    #[default]
    National,
    /// Everywhere.
    International,
}

impl Reach {
    /// All, the nearest first.
    pub const ALL: [Self; 4] = [Self::Internal, Self::Local, Self::National, Self::International];

    /// The word used in JSON and SQL.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Internal => "internal",
            Self::Local => "local",
            Self::National => "national",
            Self::International => "international",
        }
    }

    /// The variant of a word, if it is one.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.as_str() == word)
    }

    /// What a phone must reach to dial this number from a dealership with this area code (`021`).
    ///
    /// A number that cannot be told is taken for one of another country: what costs most.
    pub fn to(number: &PhoneNumber, area_code: &str, mobiles: &LocalMobiles) -> Self {
        match number.kind {
            NumberKind::Internal | NumberKind::Short | NumberKind::Service => Self::Internal,
            NumberKind::Landline => {
                let area = number.area_code.as_deref();
                let is_near = area.is_some() && area == area_code.strip_prefix('0');
                if is_near { Self::Local } else { Self::National }
            }
            NumberKind::Mobile if mobiles.knows(number) == Some(false) => Self::National,
            NumberKind::Mobile => Self::Local,
            NumberKind::Foreign => Self::International,
        }
    }
}

/// Whether digits as dialled, without any prefix, call for help.
pub fn is_emergency(digits: &str) -> bool {
    EMERGENCY.contains(&digits)
}

/// Whether a number is one that no permission and no limit of a trunk is for: 95588, 12345, 400.
pub fn is_for_everybody(number: &PhoneNumber) -> bool {
    matches!(number.kind, NumberKind::Short | NumberKind::Service)
}

/// The first seven digits of the mobile numbers that are sold in town, sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LocalMobiles(Vec<u32>);

/// A line of a list of mobile numbers that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {text:?} is not the first {PLACE_DIGITS} digits of a mobile number")]
pub struct NoMobile {
    /// Counted from 1.
    pub line: usize,
    /// What stands there.
    pub text: String,
}

impl LocalMobiles {
    /// Reads a list, one number a line: `1381234`. What follows `#` is a remark.
    ///
    /// # Errors
    /// [`NoMobile`].
    pub fn read(list: &str) -> Result<Self, NoMobile> {
        let mut sorted = Vec::new();
        for (line, text) in list.lines().enumerate() {
            let text = text.split('#').next().unwrap_or_default().trim();
            if text.is_empty() {
                continue;
            }
            let is_mobile = text.len() == PLACE_DIGITS
                && text.starts_with('1')
                && text.bytes().all(|byte| byte.is_ascii_digit());
            match text.parse() {
                Ok(prefix) if is_mobile => sorted.push(prefix),
                _ => {
                    let text = text.chars().take(20).collect();
                    return Err(NoMobile { line: line + 1, text });
                }
            }
        }
        sorted.sort_unstable();
        sorted.dedup();
        Ok(Self(sorted))
    }

    /// Whether a mobile is from town; `None` if there is no list to tell by, or it is no mobile.
    pub fn knows(&self, number: &PhoneNumber) -> Option<bool> {
        let digits = number.key.strip_prefix("+86")?;
        if self.0.is_empty() || number.kind != NumberKind::Mobile {
            return None;
        }
        let prefix: u32 = digits.get(..PLACE_DIGITS)?.parse().ok()?;
        Some(self.0.binary_search(&prefix).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numbering::read;

    #[test]
    fn how_far_a_number_is() {
        let listed = LocalMobiles::read("# Shanghai\n1381234\n\n1390001 # old\n").unwrap();
        for (raw, without_list, with_list) in [
            ("61234567", Reach::Local, Reach::Local),
            ("02161234567", Reach::Local, Reach::Local),
            ("01061234567", Reach::National, Reach::National),
            ("13812345678", Reach::Local, Reach::Local),
            ("013912345678", Reach::Local, Reach::National),
            ("+85261234567", Reach::International, Reach::International),
            ("0014155550100", Reach::International, Reach::International),
            ("0004155550100", Reach::International, Reach::International),
            ("17909001415555010", Reach::International, Reach::International),
            ("95588", Reach::Internal, Reach::Internal),
            ("110", Reach::Internal, Reach::Internal),
            ("4008001234", Reach::Internal, Reach::Internal),
        ] {
            let number = read(raw, "021").unwrap();
            assert_eq!(Reach::to(&number, "021", &LocalMobiles::default()), without_list, "{raw}");
            assert_eq!(Reach::to(&number, "021", &listed), with_list, "{raw}");
        }
    }

    #[test]
    fn calls_for_help_are_known() {
        for (digits, is_one) in [
            ("110", true),
            ("119", true),
            ("120", true),
            ("122", true),
            ("1101", false),
            ("", false),
        ] {
            assert_eq!(is_emergency(digits), is_one, "{digits}");
        }
    }

    #[test]
    fn a_list_that_cannot_be_read_says_where() {
        let error = LocalMobiles::read("1381234\n138\n").unwrap_err();
        assert_eq!(error.line, 2);
        assert!(LocalMobiles::read("２３８１２３４").is_err());
    }
}
