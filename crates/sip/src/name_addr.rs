//! Addresses in headers: `"Display name" <uri>;params` (RFC 3261 §20.10).

use std::fmt;
use std::str::FromStr;

use crate::params::Params;
use crate::text;
use crate::uri::{Uri, UriError};

/// An address as it stands in From, To, Contact, Route, P-Asserted-Identity and their kin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameAddr {
    /// The display name without quotes and escapes; `None` if there is none or it is empty.
    pub display: Option<String>,
    /// The address itself.
    pub uri: Uri,
    /// Parameters of the header, such as `tag`, `expires`, `q`.
    pub params: Params,
}

impl NameAddr {
    /// An address without display name or parameters.
    pub fn new(uri: Uri) -> Self {
        Self { display: None, uri, params: Params::default() }
    }

    /// Reads one address. Without angle brackets, parameters belong to the header (§20.10).
    ///
    /// # Errors
    /// [`UriError`], also for quotes or brackets that do not close, in parameters too: a tag put
    /// behind them would be lost.
    pub fn parse(text: &str) -> Result<Self, UriError> {
        let text = text.trim();
        let Some(open) = find_open_bracket(text)? else {
            let (uri, params) = text.split_once(';').unwrap_or((text, ""));
            // A comma or question mark needs brackets (§20): whose the rest is cannot be told.
            if uri.contains([',', '?']) || !text::is_closed(params) {
                return Err(UriError::Character);
            }
            return Ok(Self {
                display: None,
                uri: Uri::parse(uri)?,
                params: Params::parse(params),
            });
        };
        let close = open + text[open..].find('>').ok_or(UriError::Character)?;
        let display = text::unquote(&text[..open]).into_owned();
        let params = text[close + 1..].trim_start();
        if !(params.is_empty() || params.starts_with(';') && text::is_closed(params)) {
            return Err(UriError::Character);
        }
        Ok(Self {
            // Control characters are never written, so a name of nothing else is none.
            display: Some(display).filter(|display| !display.chars().all(char::is_control)),
            uri: Uri::parse(&text[open + 1..close])?,
            params: Params::parse(params),
        })
    }

    /// The tag of an address that can be read, without reading the rest of it.
    pub(crate) fn tag_in(text: &str) -> Option<&str> {
        let text = text.trim();
        let params = match find_open_bracket(text).ok()? {
            Some(open) => &text[open + text[open..].find('>')? + 1..],
            None => text.split_once(';')?.1,
        };
        Params::value_in(params, "tag")
    }

    /// The `tag` parameter (RFC 3261 §19.3).
    pub fn tag(&self) -> Option<&str> {
        self.params.get("tag")
    }

    /// The same address with this tag in place of any other.
    pub fn with_tag(mut self, tag: &str) -> Self {
        self.params.set("tag", Some(tag));
        self
    }

    /// The same address without a tag.
    pub fn without_tag(mut self) -> Self {
        self.params.remove("tag");
        self
    }
}

/// Offset of the `<` outside the quoted display name.
fn find_open_bracket(text: &str) -> Result<Option<usize>, UriError> {
    if !text.starts_with('"') {
        return Ok(text.find('<'));
    }
    let mut is_escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => {
                let rest = &text[at + 1..];
                let spaces = rest.len() - rest.trim_start().len();
                let is_open = rest.as_bytes().get(spaces) == Some(&b'<');
                return if is_open { Ok(Some(at + 1 + spaces)) } else { Err(UriError::Character) };
            }
            _ => {}
        }
    }
    Err(UriError::Character)
}

impl FromStr for NameAddr {
    type Err = UriError;

    fn from_str(text: &str) -> Result<Self, UriError> {
        Self::parse(text)
    }
}

impl fmt::Display for NameAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(display) = &self.display {
            write!(f, "{} ", text::quote(display))?;
        }
        write!(f, "<{}>{}", self.uri, self.params)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_uri_and_params_are_told_apart() {
        for (text, display, uri, tag) in [
            (r#""A. \"B\" <x>" <sip:a@h;lr>;tag=1"#, Some("A. \"B\" <x>"), "sip:a@h;lr", Some("1")),
            ("Watson, Thomas <sip:t@h>", Some("Watson, Thomas"), "sip:t@h", None),
            ("张三<sip:a@h>;tag=x", Some("张三"), "sip:a@h", Some("x")),
            ("sip:a@h;tag=1", None, "sip:a@h", Some("1")),
            ("tel:+8613800138000;tag=1", None, "tel:+8613800138000", Some("1")),
            ("<tel:110;phone-context=+86>;tag=1", None, "tel:110;phone-context=+86", Some("1")),
            ("\"\" <sip:a@h> ; tag = 9", None, "sip:a@h", Some("9")),
        ] {
            let address = NameAddr::parse(text).unwrap();
            assert_eq!(address.display.as_deref(), display, "{text}");
            assert_eq!(address.uri.to_string(), uri, "{text}");
            assert_eq!(address.tag(), tag, "{text}");
            assert_eq!(NameAddr::tag_in(text), tag, "{text}");
        }
    }

    #[test]
    fn unbalanced_addresses_are_refused() {
        for text in [
            "\"a <sip:a@h>",
            "<sip:a@h",
            "\"a\" sip:a@h",
            "",
            "<>",
            "<sip:a@h> x",
            "<sip:a@h>;<",
            "<sip:a@h>;x=\"",
            "sip:a@h;x=\"",
        ] {
            assert!(NameAddr::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn addresses_round_trip() {
        for text in ["\"a\\\\b\" <sip:a@h>;tag=1", "<sip:a@h>", "\"张\" <tel:1>;x=\"y;z\""] {
            assert_eq!(NameAddr::parse(text).unwrap().to_string(), text);
        }
    }
}
