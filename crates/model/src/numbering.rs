//! Reads telephone numbers as people and gateways in China write them.
//!
//! The result's key is what numbers are compared by, whole: never by their last digits, since
//! Chinese mobiles differ in their first three. Nothing is refused for not being in somebody's
//! list of assigned ranges: those lists are years behind.

use crate::Presentation;
use crate::number::{CallerNumber, NumberKind, PhoneNumber};

/// More digits than any number has; what is longer is cut.
const MAX_DIGITS: usize = 40;

/// Reads the caller that a gateway named. Numbers of our own phones are internal, which
/// `is_extension` knows.
pub fn caller(
    raw: &str,
    presentation: Presentation,
    area_code: &str,
    is_extension: impl Fn(&str) -> bool,
) -> CallerNumber {
    if presentation != Presentation::Allowed {
        return CallerNumber::Withheld;
    }
    let typed = raw.trim();
    if is_extension(typed) {
        return CallerNumber::Known(plain(typed, NumberKind::Internal));
    }
    match read(raw, area_code) {
        Some(number) => CallerNumber::Known(number),
        None => CallerNumber::Withheld,
    }
}

/// Reads a number; `area_code` (`021`) is the dealership's, for numbers without one. None if
/// there is no number in it: `anonymous`, `s`, nothing at all.
pub fn read(raw: &str, area_code: &str) -> Option<PhoneNumber> {
    let text = Text::new(raw)?;
    if let Some(extension) = text.extension
        && let Some(mut number) = domestic(&text.digits, text.has_country, area_code)
    {
        number.extension = Some(extension);
        return Some(number);
    }
    if text.is_foreign {
        return Some(plain(&format!("+{}", text.digits), NumberKind::Foreign));
    }
    if let Some(number) = domestic(&text.digits, text.has_country, area_code) {
        return Some(number);
    }
    // 021-61234567-801: what follows the last hyphen, if the rest is a number without it.
    if let Some((head, tail)) = &text.last_hyphen
        && matches!(tail.len(), 1..=6)
        && let Some(mut number) = domestic(head, text.has_country, area_code)
        && number.kind == NumberKind::Landline
    {
        number.extension = Some(tail.clone());
        return Some(number);
    }
    // Nothing that we know: kept as typed, so that it is found again.
    let kind = if text.digits.len() <= 8 { NumberKind::Short } else { NumberKind::Foreign };
    Some(plain(&text.digits, kind))
}

/// Reads a cell of a spreadsheet, where a number may have become `1.3812345678E10` or
/// `13812345678.0`, or have lost the 0 in front.
pub fn read_cell(cell: &str, area_code: &str) -> Option<PhoneNumber> {
    let cell = cell.trim();
    if has_lost_digits(cell) {
        return None;
    }
    let is_number =
        cell.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+'));
    let as_integer = (is_number && cell.contains(['.', 'e', 'E']))
        .then(|| cell.parse::<f64>().ok())
        .flatten()
        .filter(|value| value.fract() == 0.0 && (1.0..1e15).contains(value))
        .map(|value| format!("{value:.0}"));
    let number = read(as_integer.as_deref().unwrap_or(cell), area_code)?;
    let lost_zero = matches!(number.kind, NumberKind::Foreign)
        && matches!(number.key.len(), 9..=11)
        && number.key.bytes().all(|b| b.is_ascii_digit());
    if lost_zero && let Some(landline) = landline(&format!("0{}", number.key)) {
        return Some(landline);
    }
    Some(number)
}

/// Whether a spreadsheet rounded a number when it wrote it: `1.38E+10` has three digits of
/// eleven.
pub fn has_lost_digits(cell: &str) -> bool {
    let Some((mantissa, exponent)) = cell.trim().split_once(['e', 'E']) else { return false };
    let Ok(exponent) = exponent.trim_start_matches('+').parse::<usize>() else { return false };
    let is_number = mantissa.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    is_number && !mantissa.is_empty() && digits_of(mantissa).len() < exponent + 1
}

/// The digits by which a number is dialled from anywhere in China: a landline with its area code,
/// another country's number with 00.
pub fn national(number: &PhoneNumber) -> String {
    let digits = number.key.strip_prefix("+86").unwrap_or(&number.key);
    match number.kind {
        NumberKind::Landline => format!("0{digits}"),
        NumberKind::Foreign => match number.key.strip_prefix('+') {
            Some(international) => format!("00{international}"),
            None => number.key.clone(),
        },
        NumberKind::Mobile => digits.to_owned(),
        NumberKind::Service | NumberKind::Short | NumberKind::Internal => number.key.clone(),
    }
}

/// A landline's digits within its area: `61234567` of `021-61234567`. None for all else.
pub fn local(number: &PhoneNumber) -> Option<&str> {
    let area = number.area_code.as_deref()?;
    number.key.strip_prefix("+86")?.strip_prefix(area)
}

/// What is left of a number when its dress is off.
struct Text {
    /// Without `+`, `00`, and 86.
    digits: String,
    /// It began with 86 of China, so that a landline may lack its 0.
    has_country: bool,
    /// It began with `+` or `00` and another country.
    is_foreign: bool,
    /// `转801`, `ext 801`, `#801`.
    extension: Option<String>,
    /// The digits before and after the last hyphen.
    last_hyphen: Option<(String, String)>,
}

impl Text {
    fn new(raw: &str) -> Option<Self> {
        let folded: String = raw.chars().take(4 * MAX_DIGITS).map(fold).collect();
        let lower = folded.trim().to_lowercase();
        let (main, extension) = split_extension(&lower);
        // Letters make it a name, not a number: anonymous, unavailable, restricted, s.
        if main.chars().any(char::is_alphabetic) {
            return None;
        }
        let has_plus = main.starts_with('+');
        let mut digits = digits_of(main);
        if digits.is_empty() {
            return None;
        }
        let mut last_hyphen = main
            .rsplit_once('-')
            .map(|(head, tail)| (digits_of(head), digits_of(tail)))
            .filter(|(head, tail)| !head.is_empty() && !tail.is_empty());
        let international = match (has_plus, digits.starts_with("00")) {
            (true, false) if !digits.starts_with('0') => Some(0),
            (_, true) => Some(2),
            _ => None,
        };
        let mut has_country = false;
        let mut is_foreign = false;
        let mut cut = 0;
        match international {
            Some(skip) if digits[skip..].starts_with("86") => {
                has_country = true;
                cut = skip + 2;
            }
            Some(skip) if digits.len() - skip >= 7 => {
                is_foreign = true;
                cut = skip;
            }
            Some(_) => {}
            // 86 without + only before a whole number: 86 alone begins nothing else of 12 digits.
            None if digits.starts_with("86") && matches!(digits.len(), 12..=14) => {
                has_country = true;
                cut = 2;
            }
            None => {}
        }
        digits.drain(..cut);
        if let Some((head, _)) = &mut last_hyphen {
            if head.len() >= cut {
                head.drain(..cut);
            } else {
                last_hyphen = None;
            }
        }
        (!digits.is_empty()).then_some(Self {
            digits,
            has_country,
            is_foreign,
            extension,
            last_hyphen,
        })
    }
}

fn digits_of(text: &str) -> String {
    text.chars().filter(char::is_ascii_digit).take(MAX_DIGITS).collect()
}

/// Full-width digits and signs as plain ones.
fn fold(c: char) -> char {
    match c {
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(c as u32 - 0xfee0).unwrap_or(c),
        '—' | '–' | '‐' | '‑' => '-',
        c => c,
    }
}

fn split_extension(text: &str) -> (&str, Option<String>) {
    for mark in ["转分机", "分机", "转", "ext.", "ext", "x", "#", ",", ";"] {
        if let Some((main, tail)) = text.split_once(mark) {
            let digits = digits_of(tail);
            let fits = matches!(digits.len(), 1..=6);
            // `sip:…;user=phone` and the like carry no extension.
            return (main, fits.then_some(digits).filter(|_| !tail.contains('=')));
        }
    }
    (text, None)
}

/// The rules of the Chinese numbering plan, in the order that tells them apart.
fn domestic(digits: &str, has_country: bool, area_code: &str) -> Option<PhoneNumber> {
    if is_mobile(digits) {
        return Some(mobile(digits));
    }
    if let Some(rest) = digits.strip_prefix('0')
        && is_mobile(rest)
    {
        return Some(mobile(rest));
    }
    if let Some(number) = landline(digits) {
        return Some(number);
    }
    if digits.len() == 10 && (digits.starts_with("400") || digits.starts_with("800")) {
        return Some(plain(digits, NumberKind::Service));
    }
    if has_country && let Some(number) = landline(&format!("0{digits}")) {
        return Some(number);
    }
    if let Some(rest) = without_carrier(digits) {
        return domestic(rest, false, area_code);
    }
    let first = digits.bytes().next()?;
    match digits.len() {
        7 | 8 if (b'2'..=b'8').contains(&first) => landline(&format!("{area_code}{digits}"))
            .or_else(|| Some(plain(digits, NumberKind::Short))),
        1..=8 => Some(plain(digits, NumberKind::Short)),
        _ => None,
    }
}

/// 1[3-9] and nine more digits, before any list of assigned ranges.
fn is_mobile(digits: &str) -> bool {
    digits.len() == 11
        && digits.starts_with('1')
        && matches!(digits.as_bytes().get(1), Some(b'3'..=b'9'))
}

fn mobile(digits: &str) -> PhoneNumber {
    plain(&format!("+86{digits}"), NumberKind::Mobile)
}

/// `010` and `02x` have three digits and take eight; the others have four and take seven or eight.
fn landline(digits: &str) -> Option<PhoneNumber> {
    let bytes = digits.as_bytes();
    if bytes.first() != Some(&b'0') {
        return None;
    }
    let (area_len, local): (usize, &[usize]) = match (bytes.get(1)?, bytes.get(2)?) {
        (b'1', b'0') | (b'2', _) => (3, &[8]),
        (b'3'..=b'9', _) => (4, &[7, 8]),
        _ => return None,
    };
    let (area, rest) = digits.split_at_checked(area_len)?;
    if !local.contains(&rest.len()) || rest.starts_with('0') {
        return None;
    }
    Some(PhoneNumber {
        key: format!("+86{}{rest}", &area[1..]),
        kind: NumberKind::Landline,
        area_code: Some(area[1..].to_owned()),
        extension: None,
    })
}

/// A carrier's prefix of five digits (`17909`, `12593`) before a whole number.
fn without_carrier(digits: &str) -> Option<&str> {
    let (prefix, rest) = digits.split_at_checked(5)?;
    let bytes = prefix.as_bytes();
    let is_prefix = bytes[0] == b'1'
        && (matches!(bytes[1], b'1' | b'2') || (bytes[1] == b'7' && bytes[2] == b'9'));
    let is_whole = is_mobile(rest)
        || rest.strip_prefix('0').is_some_and(is_mobile)
        || landline(rest).is_some();
    (is_prefix && is_whole).then_some(rest)
}

fn plain(key: &str, kind: NumberKind) -> PhoneNumber {
    PhoneNumber { key: key.to_owned(), kind, area_code: None, extension: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use NumberKind::{Foreign, Landline, Mobile, Service, Short};
    use proptest::prelude::*;

    const SHANGHAI: &str = "021";

    #[test]
    fn the_corpus_reads_as_written() {
        for (raw, kind, key, extension) in [
            ("13812345678", Mobile, "+8613812345678", None),
            ("013812345678", Mobile, "+8613812345678", None),
            ("+86 138-1234-5678", Mobile, "+8613812345678", None),
            ("8613812345678", Mobile, "+8613812345678", None),
            ("008613812345678", Mobile, "+8613812345678", None),
            ("19147005807", Mobile, "+8619147005807", None),
            ("19945009001", Mobile, "+8619945009001", None),
            ("14912345678", Mobile, "+8614912345678", None),
            ("17909013812345678", Mobile, "+8613812345678", None),
            ("1790913812345678", Mobile, "+8613812345678", None),
            ("１３８１２３４５６７８", Mobile, "+8613812345678", None),
            ("（021）6123－4567", Landline, "+862161234567", None),
            ("61234567", Landline, "+862161234567", None),
            ("021-6123 4567-801", Landline, "+862161234567", Some("801")),
            ("61234567-801", Landline, "+862161234567", Some("801")),
            ("021-61234567转801", Landline, "+862161234567", Some("801")),
            ("+86 21 6123 4567 ext. 801", Landline, "+862161234567", Some("801")),
            ("+862161234567", Landline, "+862161234567", None),
            ("862161234567", Landline, "+862161234567", None),
            ("01061234567", Landline, "+861061234567", None),
            ("075512345678", Landline, "+8675512345678", None),
            ("0755-26123456", Landline, "+8675526123456", None),
            ("085182881234", Landline, "+8685182881234", None),
            ("05721234567", Landline, "+865721234567", None),
            ("4008001234", Service, "4008001234", None),
            ("400-800-1234", Service, "4008001234", None),
            ("+864008001234", Service, "4008001234", None),
            ("8008308899", Service, "8008308899", None),
            ("95588", Short, "95588", None),
            ("12345", Short, "12345", None),
            ("110", Short, "110", None),
            ("95105555", Short, "95105555", None),
            ("8001", Short, "8001", None),
            ("+85261234567", Foreign, "+85261234567", None),
            ("0085261234567", Foreign, "+85261234567", None),
            ("+1 (202) 555-0143", Foreign, "+12025550143", None),
        ] {
            let number = read(raw, SHANGHAI).unwrap();
            assert_eq!((number.kind, number.key.as_str()), (kind, key), "{raw}");
            assert_eq!(number.extension.as_deref(), extension, "{raw}");
        }
    }

    #[test]
    fn four_digit_areas_take_any_local_number_that_can_be_dialled() {
        let number = read("075512345678", SHANGHAI).unwrap();
        assert_eq!(number.area_code.as_deref(), Some("755"));
    }

    #[test]
    fn no_number_is_no_number() {
        for raw in ["anonymous", "Unavailable", "unknown", "Restricted", "s", "", "  ", "-", "+"] {
            assert_eq!(read(raw, SHANGHAI), None, "{raw:?}");
            let read = caller(raw, Presentation::Allowed, SHANGHAI, |_| false);
            assert_eq!(read, CallerNumber::Withheld, "{raw:?}");
        }
        let hidden = caller("13812345678", Presentation::Withheld, SHANGHAI, |_| false);
        assert_eq!(hidden, CallerNumber::Withheld);
    }

    #[test]
    fn our_own_phones_come_first() {
        let number = caller("8001", Presentation::Allowed, SHANGHAI, |number| number == "8001");
        assert_eq!(number, CallerNumber::Known(plain("8001", NumberKind::Internal)));
    }

    #[test]
    fn spreadsheets_spoil_numbers_in_known_ways() {
        for (cell, key) in [
            ("1.3812345678E10", "+8613812345678"),
            ("1.3812345678E+10", "+8613812345678"),
            ("13812345678.0", "+8613812345678"),
            ("2161234567", "+862161234567"),
            ("75526123456.0", "+8675526123456"),
            ("61234567", "+862161234567"),
            ("4008001234.0", "4008001234"),
            ("021-61234567-801", "+862161234567"),
        ] {
            assert_eq!(read_cell(cell, SHANGHAI).unwrap().key, key, "{cell}");
        }
        // Digits that are gone cannot be guessed.
        assert!(has_lost_digits("1.38E+10"));
        assert_eq!(read_cell("1.38E+10", SHANGHAI), None);
    }

    #[test]
    fn a_number_is_dialled_from_anywhere_by_its_national_form() {
        for (raw, dialled) in [
            ("+8613812345678", "13812345678"),
            ("61234567", "02161234567"),
            ("01061234567", "01061234567"),
            ("+85261234567", "0085261234567"),
            ("95588", "95588"),
            ("4008001234", "4008001234"),
        ] {
            assert_eq!(national(&read(raw, SHANGHAI).unwrap()), dialled, "{raw}");
        }
        assert_eq!(local(&read("02161234567", SHANGHAI).unwrap()), Some("61234567"));
        assert_eq!(local(&read("075526123456", SHANGHAI).unwrap()), Some("26123456"));
        assert_eq!(local(&read("13812345678", SHANGHAI).unwrap()), None);
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(raw in ".{0,60}", area in "0[0-9]{0,4}") {
            let _ = read(&raw, &area);
            let _ = read_cell(&raw, &area);
        }

        #[test]
        fn digits_never_make_it_panic(raw in "[+０-９0-9 ()\\-.eE转x]{0,30}") {
            if let Some(number) = read(&raw, SHANGHAI) {
                prop_assert!(!number.key.is_empty());
                let _ = (national(&number), local(&number));
            }
            let _ = read_cell(&raw, SHANGHAI);
        }

        #[test]
        fn every_mobile_has_one_key(tail in "1[3-9][0-9]{9}", dress in 0..5usize) {
            let dressed = match dress {
                0 => tail.clone(),
                1 => format!("0{tail}"),
                2 => format!("+86{tail}"),
                3 => format!("0086{tail}"),
                _ => format!("{} {} {}", &tail[..3], &tail[3..7], &tail[7..]),
            };
            prop_assert_eq!(read(&dressed, SHANGHAI).unwrap().key, format!("+86{tail}"));
        }
    }
}
