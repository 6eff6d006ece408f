//! Provisional responses that arrive: 100rel and PRACK (RFC 3262).
//!
//! A callee's 183 with a session description, or its 180, is lost on UDP as easily as anything
//! else. [`Uas`] numbers such responses, repeats each until its PRACK comes and sends them one at a
//! time; [`Uac`] says which response wants a PRACK. Neither sends anything itself: responses go out
//! by [`Endpoint::respond`](crate::Endpoint::respond), PRACKs are requests in the early dialog.

use std::fmt;

use crate::dialog::Dialog;
use crate::fields::CSeq;
use crate::header::{Headers, Name};
use crate::message::Request;
use crate::method::Method;

mod uac;
mod uas;

pub use uac::{Receipt, Uac};
pub use uas::{MAX_WAITING, Prack, TooManyWaiting, Uas, UasOutput};

/// The option tag (RFC 3262 §7.1).
pub const OPTION_TAG: &str = "100rel";

/// Which response a PRACK acknowledges (RFC 3262 §7.2).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RAck {
    /// The response's RSeq.
    pub rseq: u32,
    /// The response's CSeq.
    pub cseq: CSeq,
}

impl RAck {
    /// Reads `rseq cseq method`.
    pub fn parse(text: &str) -> Option<Self> {
        let (rseq, cseq) = text.trim().split_once([' ', '\t'])?;
        Some(Self { rseq: number(rseq)?, cseq: CSeq::parse(cseq)? })
    }

    /// The PRACK, in the dialog the response made. Its answer may need a body, too.
    pub fn request(&self, dialog: &mut Dialog) -> Request {
        let mut request = dialog.request(Method::Prack);
        request.headers.push(Name::RAck, self);
        request
    }
}

impl fmt::Display for RAck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.rseq, self.cseq)
    }
}

impl Headers {
    /// RSeq, 1 or more (RFC 3262 §7.1).
    pub fn rseq(&self) -> Option<u32> {
        number(&self.get(Name::RSeq)?)
    }

    /// RAck (RFC 3262 §7.2).
    pub fn rack(&self) -> Option<RAck> {
        RAck::parse(&self.get(Name::RAck)?)
    }
}

/// What an INVITE says of reliable provisional responses (RFC 3262 §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// It does not know them: none may be sent.
    Unsupported,
    /// They may be sent.
    Supported,
    /// Every one but 100 must be; who cannot answers 420.
    Required,
}

impl Wish {
    /// Reads Supported and Require.
    pub fn of(invite: &Request) -> Self {
        if invite.headers.lists(Name::Require, OPTION_TAG) {
            Self::Required
        } else if invite.headers.lists(Name::Supported, OPTION_TAG) {
            Self::Supported
        } else {
            Self::Unsupported
        }
    }
}

fn number(text: &str) -> Option<u32> {
    let text = text.trim();
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten().filter(|number| *number > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn racks_are_read_and_written() {
        let rack = RAck::parse(" 776656   0001  INVITE ").unwrap();
        assert_eq!(rack.to_string(), "776656 1 INVITE");
        for text in ["", "1", "1 2", "0 1 INVITE", "x 1 INVITE", "4294967296 1 INVITE", "-1 1 A"] {
            assert_eq!(RAck::parse(text), None, "{text}");
        }
    }

    #[test]
    fn the_wish_is_read_from_both_headers() {
        let mut invite = Request::new(Method::Invite, crate::Uri::sip(None, "h", None));
        assert_eq!(Wish::of(&invite), Wish::Unsupported);
        invite.headers.push("k", "timer, 100REL");
        assert_eq!(Wish::of(&invite), Wish::Supported);
        invite.headers.push(Name::Require, "100rel");
        assert_eq!(Wish::of(&invite), Wish::Required);
    }
}
