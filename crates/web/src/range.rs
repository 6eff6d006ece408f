//! HTTP byte ranges and validators (RFC 9110 §13, §14), without any I/O.

use std::ops::Range;

/// Which bytes of a file a request gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// All of it, 200.
    Whole,
    /// These, 206.
    Part(Range<u64>),
    /// None lies in the file, 416.
    Unsatisfiable,
}

/// Reads a `Range` header for a file of `length` bytes.
///
/// What is no byte range, or names several, is answered with the whole file, as RFC 9110 §14.2
/// allows; a player asks for one.
pub fn select(range: Option<&str>, length: u64) -> Selection {
    let Some(spec) = range.and_then(|text| text.trim().strip_prefix("bytes=")) else {
        return Selection::Whole;
    };
    let Some((first, last)) = spec.split_once('-') else { return Selection::Whole };
    let (first, last) = (first.trim(), last.trim());
    match (number(first), number(last)) {
        (Some(first), Some(last)) if first > last => Selection::Whole,
        (Some(first), _) if first >= length && (last.is_empty() || number(last).is_some()) => {
            Selection::Unsatisfiable
        }
        (Some(first), None) if last.is_empty() => Selection::Part(first..length),
        (Some(first), Some(last)) => Selection::Part(first..last.saturating_add(1).min(length)),
        (None, Some(0)) if first.is_empty() => Selection::Unsatisfiable,
        (None, Some(_)) if first.is_empty() && length == 0 => Selection::Unsatisfiable,
        (None, Some(suffix)) if first.is_empty() => {
            Selection::Part(length.saturating_sub(suffix)..length)
        }
        _ => Selection::Whole,
    }
}

/// A decimal number; one too large for us lies beyond every file.
fn number(digits: &str) -> Option<u64> {
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(digits.parse().unwrap_or(u64::MAX))
}

/// Whether `If-Range` still names this file, so that `Range` may be honoured (RFC 9110 §13.1.5).
pub fn if_range_holds(if_range: Option<&str>, etag: &str, last_modified: &str) -> bool {
    match if_range {
        None => true,
        // A weak tag never compares equal here.
        Some(tag) if tag.starts_with('"') => tag == etag,
        Some(date) => date == last_modified,
    }
}

/// Whether the client's copy is still good (RFC 9110 §13.1.2, §13.1.3).
pub fn is_unchanged(
    if_none_match: Option<&str>,
    if_modified_since: Option<&str>,
    etag: &str,
    last_modified: &str,
) -> bool {
    match if_none_match {
        Some(tags) => tags
            .split(',')
            .map(str::trim)
            .any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag),
        None => if_modified_since.is_some_and(|date| date == last_modified),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Selection::{Part, Unsatisfiable, Whole};

    #[test]
    fn ranges_as_players_and_oddities_send_them() {
        for (header, length, want) in [
            (None, 1000, Whole),
            (Some("bytes=0-"), 1000, Part(0..1000)),
            (Some("bytes=0-0"), 1000, Part(0..1)),
            (Some("bytes=0-499"), 1000, Part(0..500)),
            (Some("bytes=500-"), 1000, Part(500..1000)),
            (Some("bytes=500-5000"), 1000, Part(500..1000)),
            (Some("bytes=999-"), 1000, Part(999..1000)),
            (Some("bytes=1000-"), 1000, Unsatisfiable),
            (Some("bytes=1000-1100"), 1000, Unsatisfiable),
            (Some("bytes=-500"), 1000, Part(500..1000)),
            (Some("bytes=-5000"), 1000, Part(0..1000)),
            (Some("bytes=-0"), 1000, Unsatisfiable),
            (Some("bytes=-1"), 0, Unsatisfiable),
            (Some("bytes=0-"), 0, Unsatisfiable),
            (Some("bytes= 0 - 99 "), 1000, Part(0..100)),
            (Some("bytes=5-2"), 1000, Whole),
            (Some("bytes=0-1,5-6"), 1000, Whole),
            (Some("bytes=-"), 1000, Whole),
            (Some("bytes=a-b"), 1000, Whole),
            (Some("bytes=+1-2"), 1000, Whole),
            (Some("seconds=0-1"), 1000, Whole),
            (Some("bytes=99999999999999999999-"), 1000, Unsatisfiable),
            (Some("bytes=0-99999999999999999999"), 1000, Part(0..1000)),
            (Some("bytes=18446744073709551615-18446744073709551615"), 1000, Unsatisfiable),
        ] {
            assert_eq!(select(header, length), want, "{header:?} of {length}");
        }
    }

    #[test]
    fn a_range_of_an_older_file_is_not_honoured() {
        let (etag, date) = ("\"abc\"", "Sun, 22 Nov 2026 02:00:00 GMT");
        for (header, want) in [
            (None, true),
            (Some("\"abc\""), true),
            (Some("\"abd\""), false),
            (Some("W/\"abc\""), false),
            (Some(date), true),
            (Some("Sun, 22 Nov 2026 01:59:59 GMT"), false),
        ] {
            assert_eq!(if_range_holds(header, etag, date), want, "{header:?}");
        }
        assert!(is_unchanged(Some("\"x\", W/\"abc\""), None, etag, date));
        assert!(!is_unchanged(Some("\"x\""), Some(date), etag, date), "the tag decides");
        assert!(is_unchanged(None, Some(date), etag, date));
        assert!(!is_unchanged(None, None, etag, date));
    }
}
