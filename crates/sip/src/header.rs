//! The header fields of a message: names and raw values in the order they came.
//!
//! Belongs here: storing, finding and changing fields. Does not: what a value means (`fields`).

use std::borrow::Cow;
use std::io::Write as _;

use bytes::Bytes;

use crate::text;

macro_rules! names {
    ($($variant:ident $text:literal $lower:literal $(| $compact:literal)?;)*) => {
        /// A header name this crate knows, also in its compact form (RFC 3261 §7.3.3, §20).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[allow(missing_docs)] // Each variant is the header of its name.
        pub enum Name { $($variant,)* }

        impl Name {
            /// The name in its usual spelling.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            fn from_lower(name: &[u8]) -> Option<Self> {
                Some(match name { $($lower $(| $compact)? => Self::$variant,)* _ => return None })
            }
        }

        #[cfg(test)]
        const ALL: &[(Name, &[u8])] = &[$((Name::$variant, $lower),)*];
    };
}

names! {
    Accept "Accept" b"accept";
    Allow "Allow" b"allow";
    AllowEvents "Allow-Events" b"allow-events" | b"u";
    AlertInfo "Alert-Info" b"alert-info";
    Authorization "Authorization" b"authorization";
    CallId "Call-ID" b"call-id" | b"i";
    CallInfo "Call-Info" b"call-info";
    Contact "Contact" b"contact" | b"m";
    ContentDisposition "Content-Disposition" b"content-disposition";
    ContentEncoding "Content-Encoding" b"content-encoding" | b"e";
    ContentLength "Content-Length" b"content-length" | b"l";
    ContentType "Content-Type" b"content-type" | b"c";
    CSeq "CSeq" b"cseq";
    Date "Date" b"date";
    Diversion "Diversion" b"diversion";
    Event "Event" b"event" | b"o";
    Expires "Expires" b"expires";
    From "From" b"from" | b"f";
    HistoryInfo "History-Info" b"history-info";
    MaxForwards "Max-Forwards" b"max-forwards";
    MinExpires "Min-Expires" b"min-expires";
    MinSe "Min-SE" b"min-se";
    PAssertedIdentity "P-Asserted-Identity" b"p-asserted-identity";
    PPreferredIdentity "P-Preferred-Identity" b"p-preferred-identity";
    Path "Path" b"path";
    Privacy "Privacy" b"privacy";
    ProxyAuthenticate "Proxy-Authenticate" b"proxy-authenticate";
    ProxyAuthorization "Proxy-Authorization" b"proxy-authorization";
    ProxyRequire "Proxy-Require" b"proxy-require";
    RAck "RAck" b"rack";
    RSeq "RSeq" b"rseq";
    Reason "Reason" b"reason";
    RecordRoute "Record-Route" b"record-route";
    ReferTo "Refer-To" b"refer-to" | b"r";
    ReferredBy "Referred-By" b"referred-by" | b"b";
    RemotePartyId "Remote-Party-ID" b"remote-party-id";
    Replaces "Replaces" b"replaces";
    Require "Require" b"require";
    RetryAfter "Retry-After" b"retry-after";
    Route "Route" b"route";
    Server "Server" b"server";
    SessionExpires "Session-Expires" b"session-expires" | b"x";
    Subject "Subject" b"subject" | b"s";
    SubscriptionState "Subscription-State" b"subscription-state";
    Supported "Supported" b"supported" | b"k";
    Timestamp "Timestamp" b"timestamp";
    To "To" b"to" | b"t";
    Unsupported "Unsupported" b"unsupported";
    UserAgent "User-Agent" b"user-agent";
    Via "Via" b"via" | b"v";
    Warning "Warning" b"warning";
    WwwAuthenticate "WWW-Authenticate" b"www-authenticate";
}

impl Name {
    /// Finds a known name, in any case and in its compact form.
    pub fn find(name: &[u8]) -> Option<Self> {
        let mut lower = [0; 24];
        let lower = lower.get_mut(..name.len())?;
        lower.copy_from_slice(name);
        lower.make_ascii_lowercase();
        Self::from_lower(lower)
    }
}

/// What a header is asked for by: a [`Name`], or the text of any other.
#[derive(Clone, Copy, Debug)]
pub enum Key<'a> {
    /// One of the known names.
    Known(Name),
    /// A name this crate does not know, in any case.
    Other(&'a str),
}

impl From<Name> for Key<'_> {
    fn from(name: Name) -> Self {
        Self::Known(name)
    }
}

impl<'a> From<&'a str> for Key<'a> {
    fn from(name: &'a str) -> Self {
        Name::find(name.as_bytes()).map_or(Self::Other(name), Self::Known)
    }
}

impl Key<'_> {
    fn as_str(&self) -> &str {
        match self {
            Self::Known(name) => name.as_str(),
            Self::Other(name) => name,
        }
    }

    fn is(&self, header: &Header) -> bool {
        match self {
            Self::Known(name) => header.known == Some(*name),
            Self::Other(name) => {
                header.known.is_none() && header.name.eq_ignore_ascii_case(name.as_bytes())
            }
        }
    }
}

/// One header field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    known: Option<Name>,
    name: Bytes,
    value: Bytes,
}

impl Header {
    /// A field as it came: `name` without the colon, `value` without the spaces around it.
    pub(crate) fn received(name: Bytes, value: Bytes) -> Self {
        Self { known: Name::find(&name), name, value }
    }

    fn written(key: Key<'_>, value: String) -> Self {
        let (known, name) = match key {
            Key::Known(name) => (Some(name), Bytes::from_static(name.as_str().as_bytes())),
            Key::Other(_) => (None, Bytes::copy_from_slice(key.as_str().as_bytes())),
        };
        Self { known, name, value: one_line(value) }
    }

    /// The name, if it is known.
    pub fn known(&self) -> Option<Name> {
        self.known
    }

    /// The name as it was written.
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// The value's octets as they came, line folds included.
    pub fn value(&self) -> &Bytes {
        &self.value
    }

    /// The value as text: unfolded, UTF-8 or GBK.
    pub fn text(&self) -> Cow<'_, str> {
        text::decode_value(&self.value)
    }
}

/// A line end in a value would begin a header of somebody else's choosing.
fn one_line(value: String) -> Bytes {
    let trimmed = value.trim_matches([' ', '\t', '\r', '\n']);
    let is_one_line = !trimmed.contains(['\r', '\n', '\0']);
    if is_one_line && trimmed.len() == value.len() {
        // Not `from(value)`: what it has room for beyond its end would be kept.
        return Bytes::from(value.into_bytes().into_boxed_slice());
    }
    Bytes::from(trimmed.replace(['\r', '\n', '\0'], " "))
}

/// The header fields of one message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(Vec<Header>);

impl Headers {
    pub(crate) fn from_received(list: Vec<Header>) -> Self {
        Self(list)
    }

    /// None yet, with room for those of a usual message of ours.
    pub(crate) fn with_room() -> Self {
        Self(Vec::with_capacity(16))
    }

    /// All fields in their order.
    pub fn iter(&self) -> impl Iterator<Item = &Header> {
        self.0.iter()
    }

    /// How many fields there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The first field of this name, as text.
    pub fn get<'a>(&self, name: impl Into<Key<'a>>) -> Option<Cow<'_, str>> {
        let key = name.into();
        self.0.iter().find(|header| key.is(header)).map(Header::text)
    }

    /// Every field of this name, as text. Commas are not looked at: see [`Headers::values`].
    pub fn get_all<'a>(&self, name: impl Into<Key<'a>>) -> impl Iterator<Item = Cow<'_, str>> {
        let key = name.into();
        self.fields(key).map(Header::text)
    }

    /// Every field of this name.
    pub fn fields<'a>(&self, name: impl Into<Key<'a>>) -> impl Iterator<Item = &Header> {
        let key = name.into();
        self.0.iter().filter(move |header| key.is(header))
    }

    /// Every value of a comma-separated header, over all its fields, empty ones left out.
    pub fn values<'a>(&self, name: impl Into<Key<'a>>) -> Vec<String> {
        let key = name.into();
        let mut values = Vec::new();
        for header in self.0.iter().filter(|header| key.is(header)) {
            let text = header.text();
            let parts = text::split_outside_quotes(&text, b',');
            values.extend(parts.into_iter().filter(|part| !part.is_empty()).map(str::to_owned));
        }
        values
    }

    /// Whether a field of this name is there.
    pub fn has<'a>(&self, name: impl Into<Key<'a>>) -> bool {
        let key = name.into();
        self.0.iter().any(|header| key.is(header))
    }

    /// Whether a comma-separated header lists `token`, without regard to case.
    pub fn lists<'a>(&self, name: impl Into<Key<'a>>, token: &str) -> bool {
        let key = name.into();
        self.fields(key).any(|header| {
            let text = header.text();
            let mut values = text::split_outside_quotes(&text, b',').into_iter();
            values.any(|value| value.eq_ignore_ascii_case(token))
        })
    }

    /// Appends a field. Line ends in `value` become spaces.
    pub fn push<'a>(&mut self, name: impl Into<Key<'a>>, value: impl ToString) {
        self.0.push(Header::written(name.into(), value.to_string()));
    }

    /// Appends a field as it stands in another message, octet by octet.
    pub fn push_field(&mut self, header: Header) {
        self.0.push(header);
    }

    /// Puts a field before all others of its name, or first of all if there are none.
    pub fn insert_front<'a>(&mut self, name: impl Into<Key<'a>>, value: impl ToString) {
        let key = name.into();
        let at = self.0.iter().position(|header| key.is(header)).unwrap_or(0);
        self.0.insert(at, Header::written(key, value.to_string()));
    }

    /// Replaces all fields of this name by one, at the place of the first, or appends it.
    pub fn set<'a>(&mut self, name: impl Into<Key<'a>>, value: impl ToString) {
        let key = name.into();
        let header = Header::written(key, value.to_string());
        let Some(at) = self.0.iter().position(|header| key.is(header)) else {
            self.0.push(header);
            return;
        };
        self.remove(key);
        self.0.insert(at, header);
    }

    /// Replaces the first value of a comma-separated header, leaving the others where they are.
    pub fn set_first_value<'a>(&mut self, name: impl Into<Key<'a>>, value: impl ToString) {
        let key = name.into();
        let value = value.to_string();
        let Some(at) = self.0.iter().position(|header| key.is(header)) else {
            self.0.push(Header::written(key, value));
            return;
        };
        let text = self.0[at].text();
        let rest = text::find_outside_quotes(&text, b',').map(|comma| text[comma..].to_owned());
        let replaced = one_line(value + rest.as_deref().unwrap_or(""));
        self.0[at].value = replaced;
    }

    /// Takes all fields of this name out; whether there were any.
    pub fn remove<'a>(&mut self, name: impl Into<Key<'a>>) -> bool {
        let key = name.into();
        let before = self.0.len();
        self.0.retain(|header| !key.is(header));
        self.0.len() != before
    }

    /// Copies every field of this name from `other`, octet by octet.
    pub fn copy_from<'a>(&mut self, other: &Self, name: impl Into<Key<'a>>) {
        let key = name.into();
        self.0.extend(other.0.iter().filter(|header| key.is(header)).cloned());
    }

    /// Writes all fields, one Content-Length among them, whose value the body decides.
    pub(crate) fn write(&self, out: &mut Vec<u8>, body_bytes: usize) {
        let mut has_length = false;
        for header in &self.0 {
            let is_length = header.known == Some(Name::ContentLength);
            if is_length && has_length {
                continue;
            }
            has_length |= is_length;
            out.extend_from_slice(&header.name);
            out.extend_from_slice(b": ");
            if is_length {
                write_number(body_bytes, out);
            } else if header.value.contains(&b'\n') {
                // Folds are written as one line: some gateways cannot read them.
                write_unfolded(&header.value, out);
            } else {
                out.extend_from_slice(&header.value);
            }
            out.extend_from_slice(b"\r\n");
        }
        if !has_length {
            out.extend_from_slice(b"Content-Length: ");
            write_number(body_bytes, out);
            out.extend_from_slice(b"\r\n");
        }
    }
}

fn write_number(number: usize, out: &mut Vec<u8>) {
    // Nothing fails that is written to memory.
    let _ = write!(out, "{number}");
}

fn write_unfolded(value: &[u8], out: &mut Vec<u8>) {
    for (number, line) in value.split(|byte| *byte == b'\n').enumerate() {
        if number > 0 {
            out.push(b' ');
        }
        out.extend_from_slice(line.trim_ascii());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_name_is_found_in_any_case() {
        for (name, lower) in ALL {
            assert_eq!(name.as_str().to_ascii_lowercase().as_bytes(), *lower);
            assert_eq!(Name::find(name.as_str().as_bytes()), Some(*name));
            assert_eq!(Name::find(lower), Some(*name));
        }
        assert_eq!(Name::find(b"V"), Some(Name::Via));
        assert_eq!(Name::find(b"X-Something-Longer-Than-Any-Known-Name"), None);
    }

    #[test]
    fn fields_are_edited_in_place() {
        let mut headers = Headers::default();
        headers.push(Name::Via, "1, 2");
        headers.push("X-Other", "x");
        headers.push("v", "3");
        assert_eq!(headers.values(Name::Via), ["1", "2", "3"]);
        headers.insert_front(Name::Via, "0");
        assert_eq!(headers.values("VIA"), ["0", "1", "2", "3"]);
        headers.remove(Name::Via);
        headers.insert_front(Name::Via, "9,8");
        headers.set_first_value(Name::Via, "7");
        headers.set("x-other", "y");
        let mut out = Vec::new();
        headers.push("L", "5");
        headers.push("X-Last", "z");
        headers.write(&mut out, 3);
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text, "Via: 7,8\r\nx-other: y\r\nContent-Length: 3\r\nX-Last: z\r\n");
    }

    #[test]
    fn a_value_cannot_begin_another_header() {
        let mut headers = Headers::default();
        headers.push(Name::Subject, "a\r\nEvil: b");
        assert_eq!(headers.get("subject").unwrap(), "a  Evil: b");
    }
}
