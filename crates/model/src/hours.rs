//! When a line is open: a week, and the days that are not like it.
//!
//! Times are those of the dealership's own clock; its offset from UTC is an argument.

use crate::Timestamp;
use serde::{Deserialize, Serialize};

/// Spans of one day at most.
pub const MAX_SPANS: usize = 8;
/// Special days at most.
pub const MAX_DAYS: usize = 400;

const MICROS_PER_DAY: i64 = 86_400_000_000;
const MICROS_PER_MINUTE: i64 = 60_000_000;

/// A time of day on the dealership's clock, to the minute: `08:30`; `24:00` is the day's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TimeOfDay(u16);

impl TimeOfDay {
    /// The time, 0 to 24 hours and 0 to 59 minutes.
    pub fn new(hour: u16, minute: u16) -> Option<Self> {
        let is_time = (hour < 24 && minute < 60) || (hour == 24 && minute == 0);
        is_time.then_some(Self(hour * 60 + minute))
    }
}

impl TryFrom<String> for TimeOfDay {
    type Error = HoursError;

    fn try_from(text: String) -> Result<Self, HoursError> {
        let two = |digits: &str| {
            let is_plain = digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_digit());
            is_plain.then(|| digits.parse::<u16>().ok()).flatten()
        };
        text.split_once(':')
            .and_then(|(hour, minute)| Self::new(two(hour)?, two(minute)?))
            .ok_or(HoursError::Time)
    }
}

impl From<TimeOfDay> for String {
    fn from(time: TimeOfDay) -> Self {
        format!("{:02}:{:02}", time.0 / 60, time.0 % 60)
    }
}

/// From one time of a day until just before another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Span {
    /// The first minute.
    pub from: TimeOfDay,
    /// The minute after the last.
    pub to: TimeOfDay,
}

/// A day with times of its own: a holiday, or a Saturday that is worked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpecialDay {
    /// `2027-02-17`.
    pub day: String,
    /// 春节; may be empty.
    #[serde(default)]
    pub name: String,
    /// When it is open; none: not at all.
    #[serde(default)]
    pub spans: Vec<Span>,
}

/// When somebody is there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hours {
    /// Monday to Sunday.
    pub week: [Vec<Span>; 7],
    /// Days that go before the week.
    #[serde(default)]
    pub days: Vec<SpecialDay>,
}

/// Why these are no hours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HoursError {
    /// No time of day.
    #[error("a time is written like 08:30, and 24:00 is the latest")]
    Time,
    /// A span that ends before it begins.
    #[error(
        "a time span must end after it begins; one over midnight is two, to 24:00 and from 00:00"
    )]
    Backwards,
    /// Two spans of one day.
    #[error("two time spans of one day overlap, or are not in order")]
    Overlap,
    /// A week of more or fewer days.
    #[error("a week has seven days, Monday to Sunday")]
    Week,
    /// Too many of something.
    #[error("at most {MAX_SPANS} time spans a day and {MAX_DAYS} special days")]
    TooMany,
    /// No date.
    #[error("{0:?} is no date like 2027-02-17")]
    Day(String),
    /// A date that comes twice.
    #[error("{0} is there twice")]
    Twice(String),
}

impl Hours {
    /// Whether it is open at this moment, where clocks are `utc_offset_s` seconds ahead of UTC.
    pub fn is_open(&self, at: Timestamp, utc_offset_s: i32) -> bool {
        let local = at.as_micros().saturating_add(i64::from(utc_offset_s) * 1_000_000);
        let day = local.div_euclid(MICROS_PER_DAY);
        let minute = local.rem_euclid(MICROS_PER_DAY) / MICROS_PER_MINUTE;
        let date = date_of(day);
        let spans = match self.days.iter().find(|special| special.day == date) {
            Some(special) => &special.spans,
            // 1970-01-01 was a Thursday.
            None => &self.week[usize::try_from((day + 3).rem_euclid(7)).unwrap_or(0)],
        };
        spans.iter().any(|span| (i64::from(span.from.0)..i64::from(span.to.0)).contains(&minute))
    }

    /// Looks whether all spans and days make sense.
    ///
    /// # Errors
    /// The first [`HoursError`].
    pub fn check(&self) -> Result<(), HoursError> {
        if self.days.len() > MAX_DAYS {
            return Err(HoursError::TooMany);
        }
        for spans in self.week.iter().chain(self.days.iter().map(|special| &special.spans)) {
            check_spans(spans)?;
        }
        for (at, special) in self.days.iter().enumerate() {
            if !is_date(&special.day) {
                return Err(HoursError::Day(special.day.chars().take(20).collect()));
            }
            if self.days[..at].iter().any(|other| other.day == special.day) {
                return Err(HoursError::Twice(special.day.clone()));
            }
        }
        Ok(())
    }
}

fn check_spans(spans: &[Span]) -> Result<(), HoursError> {
    if spans.len() > MAX_SPANS {
        return Err(HoursError::TooMany);
    }
    if spans.iter().any(|span| span.from >= span.to) {
        return Err(HoursError::Backwards);
    }
    if spans.windows(2).any(|pair| pair[0].to > pair[1].from) {
        return Err(HoursError::Overlap);
    }
    Ok(())
}

/// The date of a day counted from 1970-01-01, in the Gregorian calendar: eras of 400 years, years
/// that begin in March.
fn date_of(day: i64) -> String {
    let shifted = day + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = year + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

/// Whether a text is a date that the calendar has.
fn is_date(text: &str) -> bool {
    let bytes = text.as_bytes();
    let is_plain = bytes.len() == 10
        && bytes.iter().enumerate().all(|(at, byte)| match at {
            4 | 7 => *byte == b'-',
            _ => byte.is_ascii_digit(),
        });
    let part = |range: std::ops::Range<usize>| text.get(range)?.parse::<i64>().ok();
    let (Some(year), Some(month), Some(day)) = (part(0..4), part(5..7), part(8..10)) else {
        return false;
    };
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let last = match month {
        2 if is_leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => 0,
    };
    is_plain && (1..=last).contains(&day)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHINA_S: i32 = 8 * 3600;

    fn span(from: &str, to: &str) -> Span {
        let time = |text: &str| TimeOfDay::try_from(text.to_owned()).unwrap();
        Span { from: time(from), to: time(to) }
    }

    /// Monday to Friday with a pause at noon, Saturday in the morning; one holiday, and one Sunday
    /// that is worked for it.
    fn hours() -> Hours {
        let mut week: [Vec<Span>; 7] = Default::default();
        week[..5].fill(vec![span("08:30", "12:00"), span("13:00", "17:30")]);
        week[5] = vec![span("09:00", "12:00")];
        let days = vec![
            SpecialDay { day: "2027-02-17".into(), name: "春节".into(), spans: Vec::new() },
            SpecialDay {
                day: "2027-02-14".into(),
                name: "调休".into(),
                spans: vec![span("00:00", "24:00")],
            },
        ];
        Hours { week, days }
    }

    /// A moment in Shanghai by its day from 1970 and its minute.
    fn shanghai(day: i64, hour: i64, minute: i64) -> Timestamp {
        let minutes = day * 1440 + hour * 60 + minute - 8 * 60;
        Timestamp::from_micros(minutes * MICROS_PER_MINUTE)
    }

    #[test]
    fn the_week_opens_and_closes_on_the_dealerships_clock() {
        // 2027-02-15 is a Monday, 20 864 days after 1970-01-01.
        for (day, hour, minute, is_open) in [
            (20_864, 8, 29, false),
            (20_864, 8, 30, true),
            (20_864, 11, 59, true),
            (20_864, 12, 0, false),
            (20_864, 13, 0, true),
            (20_864, 17, 30, false),
            (20_866, 10, 0, false), // Wednesday, a holiday
            (20_868, 17, 29, true), // Friday
            (20_869, 9, 0, true),   // Saturday
            (20_869, 13, 0, false),
            (20_870, 10, 0, false), // Sunday
            (20_863, 0, 0, true),   // Sunday the 14th, worked
            (20_863, 23, 59, true),
        ] {
            let at = shanghai(day, hour, minute);
            assert_eq!(hours().is_open(at, CHINA_S), is_open, "{day} {hour}:{minute}");
        }
        assert!(!Hours::default().is_open(shanghai(20_864, 10, 0), CHINA_S));
    }

    #[test]
    fn days_are_those_of_the_calendar() {
        for (day, date) in [
            (-1, "1969-12-31"),
            (0, "1970-01-01"),
            (11_016, "2000-02-29"),
            (20_864, "2027-02-15"),
            (20_877, "2027-02-28"),
            (20_878, "2027-03-01"),
            (21_243, "2028-02-29"),
        ] {
            assert_eq!(date_of(day), date);
            assert!(is_date(date), "{date}");
        }
        for text in ["2027-02-29", "2027-13-01", "2027-00-10", "2027-1-1", "27-01-01", "", "今天"]
        {
            assert!(!is_date(text), "{text}");
        }
    }

    #[test]
    fn hours_that_make_no_sense_are_named() {
        let with = |change: fn(&mut Hours)| {
            let mut hours = hours();
            change(&mut hours);
            hours.check()
        };
        assert_eq!(hours().check(), Ok(()));
        assert_eq!(with(|h| h.week[0] = vec![span("17:00", "09:00")]), Err(HoursError::Backwards));
        assert_eq!(
            with(|h| h.week[0] = vec![span("08:00", "12:00"), span("11:00", "13:00")]),
            Err(HoursError::Overlap)
        );
        assert_eq!(
            with(|h| h.days[0].day = "2027-02-30".into()),
            Err(HoursError::Day("2027-02-30".into()))
        );
        assert_eq!(
            with(|h| h.days[0].day = h.days[1].day.clone()),
            Err(HoursError::Twice("2027-02-14".into()))
        );
        assert_eq!(
            with(|h| h.week[6] = vec![span("08:00", "09:00"); MAX_SPANS + 1]),
            Err(HoursError::TooMany)
        );
    }

    #[test]
    fn hours_are_read_as_they_were_written() {
        let json = serde_json::to_string(&hours()).unwrap();
        assert!(json.contains(r#"{"from":"08:30","to":"12:00"}"#), "{json}");
        assert_eq!(serde_json::from_str::<Hours>(&json).unwrap(), hours());
        for time in ["8:30", "24:01", "12:60", "+1:00", "", "12"] {
            assert_eq!(TimeOfDay::try_from(time.to_owned()), Err(HoursError::Time), "{time}");
        }
    }
}
