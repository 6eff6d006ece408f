//! Transfers: REFER (RFC 3515), Replaces (RFC 3891), Referred-By (RFC 3892), and the NOTIFYs that
//! tell how the transfer goes.

use std::fmt::{self, Write as _};

use crate::dialog::{Dialog, DialogId};
use crate::header::{Headers, Name};
use crate::message::{Request, reason_phrase};
use crate::method::Method;
use crate::name_addr::NameAddr;
use crate::params::Params;
use crate::subscription::{self, EndReason, EventType, SubscriptionState};
use crate::text;
use crate::uri::Uri;

mod replaces;

pub use replaces::{Replaceable, Replaces, ReplacesError};

/// The event package of the subscription a REFER implies.
pub const PACKAGE: &str = "refer";
/// The Content-Type of what its NOTIFYs carry (RFC 3420).
pub const SIPFRAG: &str = "message/sipfrag;version=2.0";
/// The most header fields inside a URI that we look at.
const MAX_URI_HEADERS: usize = 32;

/// Where to transfer to (RFC 3515 §2.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReferTo {
    /// The new target, without the method and the header fields it came with.
    pub target: Uri,
    /// What to send there: INVITE, if nothing else is said.
    pub method: Method,
    /// The call that the new one takes the place of: the transfer is an attended one.
    pub replaces: Option<Replaces>,
    /// Other header fields the new request is to have. Most must not be followed (RFC 3261
    /// §19.1.5); `Require` and `Replaces` are taken out.
    pub headers: Vec<(String, String)>,
}

/// Why a REFER cannot be followed: 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReferError {
    /// There is no Refer-To, or more than one (RFC 3515 §2.4.2).
    #[error("not exactly one Refer-To")]
    NotOne,
    /// Its URI cannot be read.
    #[error("bad Refer-To")]
    Uri,
    /// The Replaces in it cannot be read.
    #[error("bad Replaces in Refer-To")]
    Replaces,
}

impl ReferTo {
    /// A transfer without consultation.
    pub fn blind(target: Uri) -> Self {
        Self { target, method: Method::Invite, replaces: None, headers: Vec::new() }
    }

    /// Reads a value such as `<sip:8002@h?Replaces=1%40h%3Bto-tag%3D2%3Bfrom-tag%3D3>`.
    ///
    /// # Errors
    /// [`ReferError`]
    pub fn parse(value: &str) -> Result<Self, ReferError> {
        let mut target = NameAddr::parse(value).map_err(|_| ReferError::Uri)?.uri;
        let mut refer_to = Self::blind(target.clone());
        let Uri::Sip(sip) = &mut target else { return Ok(refer_to) };
        if let Some(method) = sip.params.get("method") {
            refer_to.method = Method::parse(method).ok_or(ReferError::Uri)?;
            sip.params.remove("method");
        }
        let headers = sip.headers.take().unwrap_or_default();
        for part in headers.split('&').take(MAX_URI_HEADERS).filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let (name, value) = (text::unescape(name), text::unescape(value));
            match Name::find(name.as_bytes()) {
                Some(Name::Replaces) => {
                    if refer_to.replaces.is_some() {
                        return Err(ReferError::Replaces);
                    }
                    let replaces = Replaces::parse(&value).ok_or(ReferError::Replaces)?;
                    refer_to.replaces = Some(replaces);
                }
                Some(Name::Require) => {}
                _ => refer_to.headers.push((name.into_owned(), value.into_owned())),
            }
        }
        refer_to.target = target;
        Ok(refer_to)
    }
}

impl fmt::Display for ReferTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut target = self.target.clone();
        if let Uri::Sip(sip) = &mut target {
            if self.method != Method::Invite {
                sip.params.set("method", Some(self.method.as_str()));
            }
            let replaces =
                self.replaces.as_ref().map(|replaces| ("Replaces", replaces.to_string()));
            let others = self.headers.iter().map(|(name, value)| (name.as_str(), value.clone()));
            let headers: Vec<String> = replaces
                .into_iter()
                .chain(others)
                .map(|(name, value)| format!("{}={}", escape(name), escape(&value)))
                .collect();
            sip.headers = Some(headers.join("&")).filter(|headers| !headers.is_empty());
        }
        write!(f, "<{target}>")
    }
}

/// Escapes what may not stand in a header of a URI (RFC 3261 §25.1, `hname`, `hvalue`).
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.!~*'()[]/?:+$".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}"); // Writing to a String cannot fail.
        }
    }
    out
}

impl Headers {
    /// The one Refer-To (RFC 3515 §2.1).
    ///
    /// # Errors
    /// [`ReferError`]: answer 400.
    pub fn refer_to(&self) -> Result<ReferTo, ReferError> {
        match &self.values(Name::ReferTo)[..] {
            [value] => ReferTo::parse(value),
            _ => Err(ReferError::NotOne),
        }
    }

    /// Who transfers (RFC 3892 §2.1). It is not to be believed without the signature nobody sends.
    pub fn referred_by(&self) -> Option<NameAddr> {
        self.addresses(Name::ReferredBy).into_iter().next()
    }
}

/// Whether a REFER wants no subscription (RFC 4488): answer 202 with `Refer-Sub: false` and send
/// no NOTIFY.
pub fn is_without_subscription(refer: &Request) -> bool {
    refer.headers.get("Refer-Sub").is_some_and(|value| {
        value.split(';').next().is_some_and(|word| word.trim().eq_ignore_ascii_case("false"))
    })
}

/// The Event of the NOTIFYs to a REFER with this CSeq number. The first REFER of a dialog may do
/// without the id, others need it (RFC 3515 §2.4.6).
pub fn event_of(refer_cseq: Option<u32>) -> EventType {
    EventType { id: refer_cseq.map(|number| number.to_string()), ..EventType::new(PACKAGE) }
}

/// How a transfer goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The status the new call's INVITE was answered with last; 100 before any.
    pub status: u16,
    /// Its reason phrase; empty for the usual one.
    pub reason: String,
    /// Whether no other NOTIFY follows.
    pub is_last: bool,
}

impl Progress {
    /// A status with its usual phrase; a final one is the last.
    pub fn of_status(status: u16) -> Self {
        Self { status, reason: String::new(), is_last: status >= 200 }
    }

    /// The NOTIFY that tells it (RFC 3515 §2.4.4), without Contact. `expires_s`: for how long more
    /// NOTIFYs may come.
    pub fn notify(&self, dialog: &mut Dialog, event: &EventType, expires_s: u32) -> Request {
        let state = if self.is_last {
            SubscriptionState::ended(EndReason::Noresource)
        } else {
            SubscriptionState::Active { expires_s: Some(expires_s) }
        };
        let mut request = subscription::notify(dialog, event, &state);
        request.set_body(SIPFRAG, self.to_sipfrag());
        request
    }

    /// The status line that is the body.
    pub fn to_sipfrag(&self) -> String {
        let phrase = if self.reason.is_empty() { reason_phrase(self.status) } else { &self.reason };
        format!("SIP/2.0 {:03} {}\r\n", self.status, phrase.replace(['\r', '\n'], " "))
    }

    /// Reads a NOTIFY about a transfer; `None` if it is about something else or cannot be read. A
    /// last NOTIFY without a body says that the transfer's end is not known (503).
    pub fn of_notify(notify: &Request) -> Option<Self> {
        let headers = &notify.headers;
        if headers.event()?.package != PACKAGE {
            return None;
        }
        let is_last = headers.subscription_state().is_some_and(|state| state.is_terminated());
        let is_sipfrag =
            headers.content_type().is_none_or(|content| content.media_type == "message/sipfrag");
        match sipfrag_status(&notify.body).filter(|_| is_sipfrag) {
            Some((status, reason)) => Some(Self { status, reason, is_last }),
            None if is_last => Some(Self { status: 503, reason: String::new(), is_last }),
            None => None,
        }
    }
}

/// Reads the status line a sipfrag begins with.
fn sipfrag_status(body: &[u8]) -> Option<(u16, String)> {
    let text = text::decode(body);
    let line = text.lines().find(|line| !line.trim().is_empty())?;
    let (version, rest) = line.trim().split_once([' ', '\t'])?;
    if !version.eq_ignore_ascii_case("SIP/2.0") {
        return None;
    }
    let rest = rest.trim_start();
    let (digits, reason) = rest.split_once([' ', '\t']).unwrap_or((rest, ""));
    let is_status = digits.len() == 3 && digits.bytes().all(|byte| byte.is_ascii_digit());
    let status = is_status.then(|| digits.parse().ok()).flatten()?;
    (100..700).contains(&status).then(|| (status, reason.trim().to_owned()))
}

/// A transfer with consultation, as the one who transfers writes it: the new call takes the place
/// of `dialog`, one of its own.
pub fn attended(target: Uri, dialog: &DialogId) -> ReferTo {
    ReferTo { replaces: Some(Replaces::of_peer(dialog)), ..ReferTo::blind(target) }
}

/// Reads the params behind the first `;` of a value.
fn split_params(value: &str) -> (&str, Params) {
    let (first, params) = value.split_once(';').unwrap_or((value, ""));
    (first.trim(), Params::parse(params))
}

#[cfg(test)]
mod tests;
