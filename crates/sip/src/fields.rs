//! What the values of headers mean, read when asked for.
//!
//! Each accessor gives `None` (or leaves the value out) when the header is missing or malformed;
//! the reader has already refused messages whose Via, From, To, Call-ID or CSeq cannot be read.

use std::borrow::Cow;
use std::fmt;

use crate::header::{Headers, Name};
use crate::method::Method;
use crate::name_addr::NameAddr;
use crate::params::Params;
use crate::text;
use crate::via::Via;

/// A CSeq: the number orders the requests of a dialog (RFC 3261 §20.16).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CSeq {
    /// Less than 2³¹ by the RFC; more is accepted.
    pub number: u32,
    /// The request's method.
    pub method: Method,
}

impl CSeq {
    /// Reads `number method`.
    pub fn parse(text: &str) -> Option<Self> {
        let (number, method) = text.trim().split_once([' ', '\t'])?;
        if !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        Some(Self { number: number.parse().ok()?, method: Method::parse(method.trim())? })
    }
}

impl fmt::Display for CSeq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.number, self.method)
    }
}

/// What a REGISTER's or a dialog's Contact holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Contacts {
    /// `*`: all bindings (RFC 3261 §10.2.2).
    All,
    /// The addresses listed; empty if there is no Contact.
    List(Vec<NameAddr>),
}

/// A Content-Type in parts (RFC 3261 §20.15).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContentType {
    /// `application/sdp`, in lower case.
    pub media_type: String,
    /// `boundary` and the rest.
    pub params: Params,
}

impl Headers {
    /// The topmost Via.
    pub fn via(&self) -> Option<Via> {
        let text = self.get(Name::Via)?;
        let end = text::find_outside_quotes(&text, b',').unwrap_or(text.len());
        Via::parse(text[..end].trim())
    }

    /// From (RFC 3261 §20.20).
    pub fn from(&self) -> Option<NameAddr> {
        self.address(Name::From)
    }

    /// To (RFC 3261 §20.39).
    pub fn to(&self) -> Option<NameAddr> {
        self.address(Name::To)
    }

    /// The tag of From. Dialogs are found by their tags several times for each message, and an
    /// address is a lot to read.
    pub fn from_tag(&self) -> Option<Cow<'_, str>> {
        self.tag(Name::From)
    }

    /// The tag of To.
    pub fn to_tag(&self) -> Option<Cow<'_, str>> {
        self.tag(Name::To)
    }

    /// Call-ID, case-sensitive (RFC 3261 §20.8).
    pub fn call_id(&self) -> Option<Cow<'_, str>> {
        self.get(Name::CallId)
    }

    /// CSeq (RFC 3261 §20.16).
    pub fn cseq(&self) -> Option<CSeq> {
        CSeq::parse(&self.get(Name::CSeq)?)
    }

    /// The first Contact that can be read.
    pub fn contact(&self) -> Option<NameAddr> {
        self.addresses(Name::Contact).into_iter().next()
    }

    /// All Contacts, or `*`.
    pub fn contacts(&self) -> Contacts {
        if self.values(Name::Contact).iter().any(|value| value == "*") {
            return Contacts::All;
        }
        Contacts::List(self.addresses(Name::Contact))
    }

    /// Route, topmost first.
    pub fn route(&self) -> Vec<NameAddr> {
        self.addresses(Name::Route)
    }

    /// Record-Route, topmost first.
    pub fn record_route(&self) -> Vec<NameAddr> {
        self.addresses(Name::RecordRoute)
    }

    /// The identities a trusted network asserts (RFC 3325 §9.1), at most a sip and a tel one.
    pub fn p_asserted_identity(&self) -> Vec<NameAddr> {
        self.addresses(Name::PAssertedIdentity)
    }

    /// Remote-Party-ID, which older gateways send in its place.
    pub fn remote_party_id(&self) -> Vec<NameAddr> {
        self.addresses(Name::RemotePartyId)
    }

    /// Who forwarded the call, the last one first (RFC 5806).
    pub fn diversion(&self) -> Vec<NameAddr> {
        self.addresses(Name::Diversion)
    }

    /// Max-Forwards; a larger number than 255 reads as 255 (RFC 3261 §20.22).
    pub fn max_forwards(&self) -> Option<u8> {
        self.number(Name::MaxForwards).map(|number| u8::try_from(number).unwrap_or(u8::MAX))
    }

    /// Expires in seconds (RFC 3261 §20.19).
    pub fn expires(&self) -> Option<u32> {
        self.number(Name::Expires)
    }

    /// Content-Length in bytes.
    pub fn content_length(&self) -> Option<u32> {
        self.number(Name::ContentLength)
    }

    /// Content-Type in parts.
    pub fn content_type(&self) -> Option<ContentType> {
        let text = self.get(Name::ContentType)?;
        let (media_type, params) = text.split_once(';').unwrap_or((&text, ""));
        let media_type =
            media_type.chars().filter(|char| !char.is_whitespace()).collect::<String>();
        Some(ContentType {
            media_type: media_type.to_ascii_lowercase(),
            params: Params::parse(params),
        })
    }

    /// The methods the other side allows.
    pub fn allow(&self) -> Vec<Method> {
        self.values(Name::Allow).iter().filter_map(|value| Method::parse(value)).collect()
    }

    /// The option tags the other side supports (RFC 3261 §20.37).
    pub fn supported(&self) -> Vec<String> {
        self.values(Name::Supported)
    }

    /// The option tags the other side demands (RFC 3261 §20.32).
    pub fn require(&self) -> Vec<String> {
        self.values(Name::Require)
    }

    /// Every value of an address header that can be read.
    pub fn addresses(&self, name: Name) -> Vec<NameAddr> {
        self.values(name).iter().filter_map(|value| NameAddr::parse(value).ok()).collect()
    }

    fn tag(&self, name: Name) -> Option<Cow<'_, str>> {
        match self.get(name)? {
            Cow::Borrowed(text) => NameAddr::tag_in(text).map(Cow::Borrowed),
            Cow::Owned(text) => NameAddr::tag_in(&text).map(|tag| Cow::Owned(tag.to_owned())),
        }
    }

    fn address(&self, name: Name) -> Option<NameAddr> {
        NameAddr::parse(&self.get(name)?).ok()
    }

    fn number(&self, name: Name) -> Option<u32> {
        let text = self.get(name)?;
        let digits = text.split([';', ' ', '(']).next()?.trim();
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        Some(digits.parse().unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_over_several_fields() {
        let mut headers = Headers::default();
        headers.push(Name::Via, "SIP/2.0/UDP a;branch=1 , SIP/2.0/UDP b;branch=2");
        headers.push(Name::Contact, "\"a, b\" <sip:1@h;x=1,2>;q=0.5, sip:2@h");
        headers.push("m", "<tel:3>");
        headers.push(Name::Expires, "3600;x");
        headers.push(Name::MaxForwards, "700");
        headers.push(Name::ContentType, "Application / SDP;charset=\"utf-8\"");
        headers.push(Name::Allow, "INVITE,ACK, FOO");
        assert_eq!(headers.via().unwrap().branch(), Some("1"));
        let Contacts::List(list) = headers.contacts() else { panic!("not *") };
        assert_eq!(list.len(), 3);
        assert_eq!(list[0].display.as_deref(), Some("a, b"));
        assert_eq!((headers.expires(), headers.max_forwards()), (Some(3600), Some(255)));
        assert_eq!(headers.content_type().unwrap().media_type, "application/sdp");
        assert_eq!(headers.allow()[2], Method::Other("FOO".into()));
        headers.push(Name::Contact, "*");
        assert_eq!(headers.contacts(), Contacts::All);
    }

    #[test]
    fn cseq_needs_a_number_of_32_bits_and_a_method() {
        assert_eq!(CSeq::parse(" 0009   INVITE ").unwrap().number, 9);
        for text in ["36893488147419103232 REGISTER", "1", "INVITE 1", "+1 ACK", "1 A B", ""] {
            assert!(CSeq::parse(text).is_none(), "{text}");
        }
    }
}
