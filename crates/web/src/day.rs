//! Days of the dealership: which one it is, and where it begins and ends.

use crate::error::ApiError;
use cheling_model::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use std::ops::Range;

/// The date at a moment, `2026-11-22`.
pub fn date_of(at: Timestamp, zone: &TimeZone) -> String {
    moment(at, zone).date().to_string()
}

/// The moment with the dealership's clock.
pub fn moment(at: Timestamp, zone: &TimeZone) -> jiff::Zoned {
    let at = jiff::Timestamp::from_microsecond(at.as_micros()).unwrap_or(jiff::Timestamp::MAX);
    at.to_zoned(zone.clone())
}

/// Reads a date.
///
/// # Errors
/// [`ApiError::Invalid`] names `field`.
pub fn parse(text: &str, field: &'static str) -> Result<Date, ApiError> {
    // Only this form: the database compares dates as text.
    let is_plain = text.len() == 10 && text.as_bytes()[4] == b'-' && text.as_bytes()[7] == b'-';
    match text.parse::<Date>() {
        Ok(date) if is_plain && date.year() >= 1900 => Ok(date),
        _ => Err(ApiError::invalid(field, "must be a date like 2026-11-22")),
    }
}

/// From the first moment of one day to the last of another; open where a date is missing.
///
/// # Errors
/// [`ApiError::Invalid`] names `from_on` or `to_on`.
pub fn span(
    from_on: Option<&str>,
    to_on: Option<&str>,
    zone: &TimeZone,
) -> Result<Range<Timestamp>, ApiError> {
    let start = match from_on {
        Some(text) => midnight(parse(text, "from_on")?, zone, "from_on")?,
        None => Timestamp::from_micros(0),
    };
    let end = match to_on {
        Some(text) => {
            let next = parse(text, "to_on")?.tomorrow();
            let next = next.map_err(|_| ApiError::invalid("to_on", "is too late"))?;
            midnight(next, zone, "to_on")?
        }
        None => Timestamp::from_micros(i64::MAX),
    };
    Ok(start..end)
}

fn midnight(date: Date, zone: &TimeZone, field: &'static str) -> Result<Timestamp, ApiError> {
    let start = date.to_zoned(zone.clone());
    let start = start.map_err(|_| ApiError::invalid(field, "is out of range"))?;
    Ok(Timestamp::from_micros(start.timestamp().as_microsecond()))
}

/// A moment as HTTP headers write it (RFC 9110 §5.6.7).
pub fn http_date(at: Timestamp) -> String {
    let utc = moment(at, &TimeZone::UTC);
    utc.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_the_dealerships_day() {
        let shanghai = TimeZone::fixed(jiff::tz::offset(8));
        let late = Timestamp::from_micros(1_795_276_800_000_000); // 2026-11-21T16:00:00Z
        assert_eq!(date_of(late, &shanghai), "2026-11-22");
        let day = span(Some("2026-11-22"), Some("2026-11-22"), &shanghai).unwrap();
        assert_eq!(day.start, late);
        assert_eq!(day.end.since(day.start).as_secs(), 86_400);
        assert_eq!(http_date(late), "Sat, 21 Nov 2026 16:00:00 GMT");
        for text in ["2026-13-01", "2026-11-31", "22.11.2026", "2026-11-2", "20261122", ""] {
            assert!(parse(text, "due_on").is_err(), "{text}");
        }
    }
}
