//! The caller's side: which provisional response wants a PRACK, and which is a copy.

use super::{OPTION_TAG, RAck};
use crate::header::Name;
use crate::message::Response;

/// The most early dialogs of one INVITE whose numbers are followed.
const MAX_DIALOGS: usize = 16;

/// The reliable provisional responses to one INVITE, over all the dialogs it forked into
/// (RFC 3262 §4).
#[derive(Debug, Default)]
pub struct Uac {
    /// The RSeq last taken, by To tag.
    last: Vec<(String, u32)>,
}

/// What a provisional response is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Receipt {
    /// Not reliable: use it.
    Plain,
    /// Reliable and next in order: use it and send the PRACK ([`RAck::request`]).
    Acknowledge(RAck),
    /// Seen before: the PRACK's own transaction repeats what must be repeated. Drop it.
    Repeated,
    /// One before it is missing and will come again, as will this one. Drop it.
    OutOfOrder,
}

impl Uac {
    /// Judges a response of 101 to 199.
    pub fn receive(&mut self, response: &Response) -> Receipt {
        let headers = &response.headers;
        if response.status == 100 || !headers.lists(Name::Require, OPTION_TAG) {
            return Receipt::Plain;
        }
        let (Some(rseq), Some(cseq), Some(to)) = (headers.rseq(), headers.cseq(), headers.to())
        else {
            return Receipt::Plain;
        };
        let Some(tag) = to.tag() else { return Receipt::Plain };
        let is_full = self.last.len() >= MAX_DIALOGS;
        match self.last.iter_mut().find(|(known, _)| known == tag) {
            Some((_, last)) if rseq <= *last => return Receipt::Repeated,
            Some((_, last)) if rseq != *last + 1 => return Receipt::OutOfOrder,
            Some((_, last)) => *last = rseq,
            None if is_full => return Receipt::OutOfOrder,
            None => self.last.push((tag.to_owned(), rseq)),
        }
        Receipt::Acknowledge(RAck { rseq, cseq })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Method, Request, Uri};

    fn response(status: u16, tag: &str, rseq: &str) -> Response {
        let mut request = Request::new(Method::Invite, Uri::sip(None, "h", None));
        request.headers.push(Name::To, "<sip:b@h>");
        request.headers.push(Name::CSeq, "3 INVITE");
        let mut response = Response::to(&request, status, "", Some(tag));
        response.headers.push(Name::Require, "100rel");
        response.headers.push(Name::RSeq, rseq);
        response
    }

    #[test]
    fn each_dialog_is_followed_from_its_first_number_on() {
        let mut uac = Uac::default();
        for (tag, rseq, want) in [
            ("a", 10, "10 3 INVITE"),
            ("a", 10, "repeated"),
            ("a", 12, "early"),
            ("b", 500, "500 3 INVITE"),
            ("a", 11, "11 3 INVITE"),
            ("a", 12, "12 3 INVITE"),
            ("a", 9, "repeated"),
        ] {
            let got = match uac.receive(&response(183, tag, &rseq.to_string())) {
                Receipt::Acknowledge(rack) => rack.to_string(),
                Receipt::Repeated => String::from("repeated"),
                Receipt::OutOfOrder => String::from("early"),
                Receipt::Plain => String::from("plain"),
            };
            assert_eq!(got, want, "{tag} {rseq}");
        }
        for number in 0..100 {
            uac.receive(&response(183, &number.to_string(), "1"));
        }
        assert_eq!(uac.last.len(), MAX_DIALOGS);
    }

    #[test]
    fn what_asks_for_no_prack_gets_none() {
        let mut uac = Uac::default();
        let mut unreliable = response(180, "a", "1");
        unreliable.headers.remove(Name::Require);
        for plain in [unreliable, response(100, "a", "1"), response(180, "a", "0")] {
            assert_eq!(uac.receive(&plain), Receipt::Plain);
        }
        let last = response(180, "a", &u32::MAX.to_string());
        assert!(matches!(uac.receive(&last), Receipt::Acknowledge(_)));
        assert_eq!(uac.receive(&last), Receipt::Repeated);
    }
}
