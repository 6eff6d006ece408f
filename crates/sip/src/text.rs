//! Turns the octets of a header or body into text, whatever the device wrote them in.
//!
//! SIP is UTF-8 (RFC 3261 §7), but phones and gateways sold in China also write GBK. A GBK
//! character may end in the octet of `\`, so text is decoded *before* quotes are looked for.

use std::borrow::Cow;

/// Decodes `octets` as UTF-8, else as GB18030 (which contains GBK), else replaces what is neither.
pub fn decode(octets: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(octets) {
        return Cow::Borrowed(text);
    }
    let (text, malformed) = encoding_rs::GB18030.decode_without_bom_handling(octets);
    if malformed {
        return String::from_utf8_lossy(octets);
    }
    text
}

/// Decodes a header value and replaces each folded line break by one space (RFC 3261 §7.3.1).
pub fn decode_value(octets: &[u8]) -> Cow<'_, str> {
    if !octets.contains(&b'\n') {
        return decode(octets);
    }
    Cow::Owned(unfold(&decode(octets)))
}

fn unfold(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.split('\n') {
        let line = line.trim_matches([' ', '\t', '\r']);
        if !out.is_empty() && !line.is_empty() {
            out.push(' ');
        }
        out.push_str(line);
    }
    out
}

/// Whether `byte` may stand in a token (RFC 3261 §25.1).
pub fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&byte)
}

/// Whether `text` is a token: not empty, and nothing but token characters.
pub fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(is_token_byte)
}

/// Removes the quotes of a quoted-string and its backslashes (RFC 3261 §25.1); else trims.
pub fn unquote(text: &str) -> Cow<'_, str> {
    let text = text.trim();
    let Some(inner) = text.strip_prefix('"') else { return Cow::Borrowed(text) };
    let inner = inner.strip_suffix('"').unwrap_or(inner);
    if !inner.contains('\\') {
        return Cow::Borrowed(inner);
    }
    let mut out = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(char) = chars.next() {
        out.extend(if char == '\\' { chars.next() } else { Some(char) });
    }
    Cow::Owned(out)
}

/// Writes `text` as a quoted-string, leaving out control characters that could end the line.
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for char in text.chars().filter(|char| !char.is_control()) {
        if char == '"' || char == '\\' {
            out.push('\\');
        }
        out.push(char);
    }
    out.push('"');
    out
}

/// Undoes `%hh` escapes (RFC 3986 §2.1); an escape that is none stays as it is.
pub fn unescape(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let pair = bytes.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        if let Some(value) = pair.and_then(hex_pair) {
            out.push(value);
            at += 3;
        } else {
            out.push(bytes[at]);
            at += 1;
        }
    }
    Cow::Owned(decode(&out).into_owned())
}

fn hex_pair(pair: &[u8]) -> Option<u8> {
    let high = char::from(pair[0]).to_digit(16)?;
    let low = char::from(pair[1]).to_digit(16)?;
    u8::try_from(high * 16 + low).ok()
}

/// Splits `text` at each `separator` that stands neither in quotes nor in angle brackets.
pub fn split_outside_quotes(text: &str, separator: u8) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(at) = find_outside_quotes(rest, separator) {
        parts.push(rest[..at].trim());
        rest = &rest[at + 1..];
    }
    parts.push(rest.trim());
    parts
}

/// Offset of the first `wanted` that stands neither in quotes nor in angle brackets.
pub fn find_outside_quotes(text: &str, wanted: u8) -> Option<usize> {
    let mut place = Place::default();
    text.bytes().position(|byte| place.is_outside(byte, wanted))
}

/// Whether every quote and every angle bracket is closed, so that text may be put behind it.
pub fn is_closed(text: &str) -> bool {
    let mut place = Place::default();
    for byte in text.bytes() {
        place.is_outside(byte, 0);
    }
    !(place.is_quoted || place.is_bracketed)
}

/// Where in a value the reader stands.
#[derive(Default)]
struct Place {
    is_quoted: bool,
    is_bracketed: bool,
    is_escaped: bool,
}

impl Place {
    /// Goes over one more octet: whether it is `wanted` and stands outside.
    fn is_outside(&mut self, byte: u8, wanted: u8) -> bool {
        if self.is_escaped {
            self.is_escaped = false;
        } else if self.is_quoted {
            match byte {
                b'\\' => self.is_escaped = true,
                b'"' => self.is_quoted = false,
                _ => {}
            }
        } else if byte == wanted && !self.is_bracketed {
            return true;
        } else {
            match byte {
                b'"' if !self.is_bracketed => self.is_quoted = true,
                b'<' => self.is_bracketed = true,
                b'>' => self.is_bracketed = false,
                _ => {}
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_utf8_then_gbk_then_replaced() {
        assert_eq!(decode("张三".as_bytes()), "张三");
        assert_eq!(decode(b"\xd5\xc5\xc8\xfd"), "张三");
        assert_eq!(decode(b"a\xff"), "a\u{fffd}");
        // 乗 is 0x81 0x5C in GBK: the second octet is a backslash on its own.
        assert_eq!(unquote(&decode(b"\"\x81\x5c\"")), "乗");
    }

    #[test]
    fn folded_lines_become_one_space() {
        assert_eq!(decode_value(b"a,\r\n  b;\n\tc"), "a, b; c");
    }

    #[test]
    fn quotes_round_trip() {
        for text in ["", "a", "a \"b\" \\c", "张三"] {
            assert_eq!(unquote(&quote(text)), text);
        }
        assert_eq!(quote("a\r\nEvil: 1"), "\"aEvil: 1\"");
    }

    #[test]
    fn escapes_are_undone_once() {
        for (text, want) in [
            ("%31%2313", "1#13"),
            ("%2523", "%23"),
            ("100%", "100%"),
            ("%zz%4", "%zz%4"),
            ("%e5%bc%a0", "张"),
        ] {
            assert_eq!(unescape(text), want);
        }
    }

    #[test]
    fn commas_in_quotes_and_brackets_do_not_split() {
        assert_eq!(
            split_outside_quotes(r#""a, \"b" <sip:x,y@h>;q=1, <sip:z@h>,"#, b','),
            [r#""a, \"b" <sip:x,y@h>;q=1"#, "<sip:z@h>", ""]
        );
    }

    #[test]
    fn what_is_open_is_seen() {
        for (text, want) in [
            (";a=\"x;<\";b", true),
            (";a=<x\">", true),
            (";a=\"x", false),
            (";a=\"x\\\"", false),
            (";<", false),
            ("", true),
        ] {
            assert_eq!(is_closed(text), want, "{text}");
        }
    }
}
