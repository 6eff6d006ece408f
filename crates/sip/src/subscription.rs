//! Subscriptions (RFC 6665): who asked to be told of something, and until when.
//!
//! [`Notifier`] and [`Subscriber`] know states and times only; SUBSCRIBE and NOTIFY are requests of
//! their dialog. Bodies are in [`message_summary`] (message waiting) and [`dialog_info`] (busy
//! lamps); those of a transfer in [`refer`](crate::refer).

use std::fmt;

use crate::dialog::Dialog;
use crate::header::{Headers, Name};
use crate::message::Request;
use crate::method::Method;
use crate::params::Params;
use crate::text;

pub mod dialog_info;
pub mod message_summary;
mod notifier;
mod subscriber;

pub use notifier::{Granting, Notifier, TooBrief};
pub use subscriber::{Subscriber, SubscriberInput, SubscriberOutput};

/// The Event header: what is asked about (RFC 6665 §8.2.1).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EventType {
    /// `dialog`, `message-summary`, `refer`, … Packages are case-sensitive.
    pub package: String,
    /// Tells apart subscriptions to the same package in one dialog.
    pub id: Option<String>,
}

impl EventType {
    /// A package without id.
    pub fn new(package: &str) -> Self {
        Self { package: package.to_owned(), id: None }
    }

    /// Reads `refer;id=93809824`.
    pub fn parse(value: &str) -> Option<Self> {
        let (package, params) = value.split_once(';').unwrap_or((value, ""));
        let package = package.trim();
        let id = Params::parse(params).get("id").map(str::to_owned);
        text::is_token(package).then(|| Self { package: package.to_owned(), id })
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.package)?;
        match &self.id {
            Some(id) => write!(f, ";id={id}"),
            None => Ok(()),
        }
    }
}

/// Why a subscription ended (RFC 6665 §4.1.3).
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // Each variant is the reason of its name.
pub enum EndReason {
    Deactivated,
    Probation,
    Rejected,
    Timeout,
    Giveup,
    Noresource,
    Invariant,
    /// Any other, or none.
    Other(String),
}

impl EndReason {
    /// The token on the wire.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Deactivated => "deactivated",
            Self::Probation => "probation",
            Self::Rejected => "rejected",
            Self::Timeout => "timeout",
            Self::Giveup => "giveup",
            Self::Noresource => "noresource",
            Self::Invariant => "invariant",
            Self::Other(token) => token,
        }
    }

    fn parse(token: &str) -> Self {
        let known = [
            Self::Deactivated,
            Self::Probation,
            Self::Rejected,
            Self::Timeout,
            Self::Giveup,
            Self::Noresource,
            Self::Invariant,
        ];
        let found = known.into_iter().find(|reason| reason.as_str().eq_ignore_ascii_case(token));
        found.unwrap_or_else(|| Self::Other(token.to_owned()))
    }
}

/// The Subscription-State header of a NOTIFY (RFC 6665 §8.2.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubscriptionState {
    /// Granted.
    Active {
        /// How long it lasts from now.
        expires_s: Option<u32>,
    },
    /// Not yet decided.
    Pending {
        /// How long it lasts from now.
        expires_s: Option<u32>,
    },
    /// Over.
    Terminated {
        /// Why.
        reason: EndReason,
        /// How long to wait before asking again.
        retry_after_s: Option<u32>,
    },
}

impl SubscriptionState {
    /// An end without a time to ask again.
    pub fn ended(reason: EndReason) -> Self {
        Self::Terminated { reason, retry_after_s: None }
    }

    /// Reads `active;expires=600`. An unknown state reads as active (RFC 6665 §4.1.3 leaves it to
    /// us), so that what follows in the body is not lost.
    pub fn parse(value: &str) -> Option<Self> {
        let (state, params) = value.split_once(';').unwrap_or((value, ""));
        let (state, params) = (state.trim(), Params::parse(params));
        let seconds = |name: &str| params.get(name).and_then(|text| text.parse().ok());
        if !text::is_token(state) {
            return None;
        }
        let expires_s = seconds("expires");
        Some(match state.to_ascii_lowercase().as_str() {
            "terminated" => Self::Terminated {
                reason: EndReason::parse(params.get("reason").unwrap_or_default()),
                retry_after_s: seconds("retry-after"),
            },
            "pending" => Self::Pending { expires_s },
            _ => Self::Active { expires_s },
        })
    }

    /// Whether this is the last NOTIFY.
    pub fn is_terminated(&self) -> bool {
        matches!(self, Self::Terminated { .. })
    }
}

impl fmt::Display for SubscriptionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (state, expires_s) = match self {
            Self::Active { expires_s } => ("active", expires_s),
            Self::Pending { expires_s } => ("pending", expires_s),
            Self::Terminated { reason, retry_after_s } => {
                f.write_str("terminated")?;
                if !reason.as_str().is_empty() {
                    write!(f, ";reason={}", reason.as_str())?;
                }
                return match retry_after_s {
                    Some(seconds) => write!(f, ";retry-after={seconds}"),
                    None => Ok(()),
                };
            }
        };
        f.write_str(state)?;
        match expires_s {
            Some(seconds) => write!(f, ";expires={seconds}"),
            None => Ok(()),
        }
    }
}

impl Headers {
    /// Event (RFC 6665 §8.2.1).
    pub fn event(&self) -> Option<EventType> {
        EventType::parse(&self.get(Name::Event)?)
    }

    /// Subscription-State (RFC 6665 §8.2.3).
    pub fn subscription_state(&self) -> Option<SubscriptionState> {
        SubscriptionState::parse(&self.get(Name::SubscriptionState)?)
    }
}

/// The NOTIFY that tells `state` in this dialog, without a body and without Contact.
pub fn notify(dialog: &mut Dialog, event: &EventType, state: &SubscriptionState) -> Request {
    let mut request = dialog.request(Method::Notify);
    request.headers.push(Name::Event, event);
    request.headers.push(Name::SubscriptionState, state);
    request
}

/// Escapes text for an XML element or attribute, leaving out what XML 1.0 cannot hold.
fn xml(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            '\t' => out.push(' '),
            '\u{fffe}' | '\u{ffff}' => {}
            char if char.is_control() => {}
            char => out.push(char),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_and_states_are_read_and_written() {
        for text in ["dialog", "refer;id=93809824", "message-summary"] {
            assert_eq!(EventType::parse(text).unwrap().to_string(), text);
        }
        for text in ["", ";id=1", "a b"] {
            assert_eq!(EventType::parse(text), None, "{text}");
        }
        for text in [
            "active;expires=600",
            "active",
            "pending;expires=1",
            "terminated;reason=noresource",
            "terminated;reason=probation;retry-after=60",
            "terminated;reason=own-reason",
            "terminated",
        ] {
            assert_eq!(SubscriptionState::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(
            SubscriptionState::parse(" Terminated ; Reason=TIMEOUT"),
            Some(SubscriptionState::ended(EndReason::Timeout))
        );
        assert_eq!(
            SubscriptionState::parse("waiting;expires=x"),
            Some(SubscriptionState::Active { expires_s: None })
        );
        assert_eq!(SubscriptionState::parse("a b"), None);
    }

    #[test]
    fn xml_cannot_be_broken_out_of() {
        assert_eq!(
            xml("<a b='\"'>&\u{0}\n\t张</a>"),
            "&lt;a b=&apos;&quot;&apos;&gt;&amp; 张&lt;/a&gt;"
        );
    }
}
