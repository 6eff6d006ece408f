//! Calendar dates as the dealership sees them.
//!
//! China keeps one time zone without daylight saving, so no time zone database is needed.

use cheling_model::Timestamp;
use jiff::civil::Date;
use jiff::{SignedDuration, tz};

const CHINA: tz::Offset = tz::offset(8);

/// The date in China at a moment.
pub fn of(at: Timestamp) -> Date {
    // Out of jiff's range only if a clock is centuries wrong.
    let moment = jiff::Timestamp::from_microsecond(at.as_micros()).unwrap_or_default();
    CHINA.to_datetime(moment).date()
}

/// The date in China at a moment, `2026-11-22`.
pub fn text(at: Timestamp) -> String {
    of(at).to_string()
}

/// The moment that a date begins in China.
pub fn midnight(date: Date) -> Timestamp {
    let moment = CHINA.to_timestamp(date.at(0, 0, 0, 0)).unwrap_or_default();
    Timestamp::from_micros(moment.as_microsecond())
}

/// Reads `2026-11-22`; none for anything else.
pub fn parse(text: &str) -> Option<Date> {
    let date: Date = text.parse().ok()?;
    (date.to_string() == text).then_some(date)
}

/// `days` later, or earlier; the same date at the end of time.
pub fn plus_days(date: Date, days: i64) -> Date {
    date.checked_add(SignedDuration::from_hours(days.saturating_mul(24))).unwrap_or(date)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_begins_at_midnight_in_china() {
        let midnight_us = midnight(jiff::civil::date(2026, 11, 22)).as_micros();
        assert_eq!(midnight_us, 1_795_276_800_000_000);
        assert_eq!(text(Timestamp::from_micros(midnight_us)), "2026-11-22");
        assert_eq!(text(Timestamp::from_micros(midnight_us - 1)), "2026-11-21");
        assert_eq!(plus_days(of(Timestamp::from_micros(midnight_us)), 9).to_string(), "2026-12-01");
    }

    #[test]
    fn only_the_written_form_is_a_date() {
        for (text, is_date) in
            [("2026-11-22", true), ("2026-02-30", false), ("20261122", false), ("", false)]
        {
            assert_eq!(parse(text).is_some(), is_date, "{text}");
        }
    }
}
