//! Dialogs: what two sides remember of each other between requests (RFC 3261 §12).

use crate::fields::CSeq;
use crate::header::{Headers, Name};
use crate::message::{Request, Response};
use crate::method::Method;
use crate::name_addr::NameAddr;
use crate::params::Params;
use crate::uri::{Scheme, Uri};

/// Names a dialog, seen from our side.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DialogId {
    /// Call-ID.
    pub call_id: String,
    /// Our tag; empty if there is none yet.
    pub local_tag: String,
    /// Their tag; empty from a peer of RFC 2543.
    pub remote_tag: String,
}

impl DialogId {
    /// The dialog a received request belongs to; `None` if it stands outside any (no To tag).
    pub fn of_request(request: &Request) -> Option<Self> {
        let local_tag = request.headers.to_tag()?.into_owned();
        Some(Self {
            call_id: request.headers.call_id()?.into_owned(),
            local_tag,
            remote_tag: request.headers.from_tag().unwrap_or_default().into_owned(),
        })
    }

    /// The dialog a received response belongs to or makes; `None` without a To tag.
    pub fn of_response(response: &Response) -> Option<Self> {
        let remote_tag = response.headers.to_tag()?.into_owned();
        Some(Self {
            call_id: response.headers.call_id()?.into_owned(),
            local_tag: response.headers.from_tag().unwrap_or_default().into_owned(),
            remote_tag,
        })
    }
}

/// Why a request in a dialog cannot be accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DialogError {
    /// It belongs to another dialog: 481.
    #[error("request of another dialog")]
    NotThisDialog,
    /// Its CSeq is lower than one that came before: 500 (RFC 3261 §12.2.2).
    #[error("CSeq out of order")]
    OutOfOrder,
}

impl DialogError {
    /// The status to answer with.
    pub fn status(self) -> u16 {
        match self {
            Self::NotThisDialog => 481,
            Self::OutOfOrder => 500,
        }
    }
}

/// One dialog, seen from our side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dialog {
    /// Its name.
    pub id: DialogId,
    /// Our address, with our tag.
    pub local: NameAddr,
    /// Their address, with their tag if they have one.
    pub remote: NameAddr,
    /// Their Contact: the Request-URI of what we send.
    pub target: Uri,
    /// The proxies between us, nearest first.
    pub route_set: Vec<NameAddr>,
    /// The CSeq number of our last request; 0 before the first.
    pub local_cseq: u32,
    /// The CSeq number of their last request.
    pub remote_cseq: Option<u32>,
    /// The scheme of our Contact in it.
    pub contact_scheme: Scheme,
}

/// The scheme that the Contact in a request of ours must have, before it has any (§8.1.1.8).
pub fn scheme_of_sender(request: &Request) -> Scheme {
    let route = request.headers.route();
    let is_sips = request.uri.is_sips() || route.first().is_some_and(|first| first.uri.is_sips());
    if is_sips { Scheme::Sips } else { Scheme::Sip }
}

/// The scheme that the Contact in our answer to a request must have (§12.1.1).
pub fn scheme_of_answer(request: &Request) -> Scheme {
    let proxies = request.headers.record_route();
    let came_by = proxies.into_iter().next().or_else(|| request.headers.contact());
    let is_sips = request.uri.is_sips() || came_by.is_some_and(|address| address.uri.is_sips());
    if is_sips { Scheme::Sips } else { Scheme::Sip }
}

impl Dialog {
    /// The dialog that our answer with `local_tag` to `request` makes (§12.1.1). A request without
    /// Contact is answered at its From address.
    ///
    /// `None` if From, To, Call-ID or CSeq are missing.
    pub fn uas(request: &Request, local_tag: &str) -> Option<Self> {
        let headers = &request.headers;
        let remote = headers.from()?;
        let local = headers.to()?.with_tag(local_tag);
        Some(Self {
            id: DialogId {
                call_id: headers.call_id()?.into_owned(),
                local_tag: local_tag.to_owned(),
                remote_tag: remote.tag().unwrap_or_default().to_owned(),
            },
            target: headers.contact().map_or_else(|| remote.uri.clone(), |contact| contact.uri),
            local,
            remote,
            route_set: headers.record_route(),
            local_cseq: 0,
            remote_cseq: Some(headers.cseq()?.number),
            contact_scheme: scheme_of_answer(request),
        })
    }

    /// The dialog that `response` to our `request` makes: early by a 1xx with a To tag, confirmed
    /// by a 2xx (§12.1.2).
    ///
    /// `None` if it makes none, or if From, To, Call-ID or CSeq are missing.
    pub fn uac(request: &Request, response: &Response) -> Option<Self> {
        if !(101..300).contains(&response.status) {
            return None;
        }
        let headers = &response.headers;
        let remote = headers.to()?;
        // A 2xx without a tag is RFC 2543's; a 1xx without one makes no dialog.
        if remote.tag().is_none() && response.is_provisional() {
            return None;
        }
        Some(Self {
            id: DialogId {
                call_id: headers.call_id()?.into_owned(),
                local_tag: headers.from_tag().unwrap_or_default().into_owned(),
                remote_tag: remote.tag().unwrap_or_default().to_owned(),
            },
            local: headers.from()?,
            target: headers.contact().map_or_else(|| request.uri.clone(), |contact| contact.uri),
            remote,
            route_set: uac_route_set(headers),
            local_cseq: request.headers.cseq()?.number,
            remote_cseq: None,
            contact_scheme: scheme_of_sender(request),
        })
    }

    /// Takes what the 2xx says over what the early dialog knew (§13.2.2.4).
    pub fn confirm(&mut self, response: &Response) {
        self.route_set = uac_route_set(&response.headers);
        self.refresh_target(&response.headers);
    }

    /// Checks a received request of this dialog and notes its CSeq (§12.2.2). ACK and CANCEL carry
    /// the number of their INVITE and are not counted.
    ///
    /// # Errors
    /// [`DialogError`], which gives the status to answer with.
    pub fn receive(&mut self, request: &Request) -> Result<(), DialogError> {
        if DialogId::of_request(request).as_ref() != Some(&self.id) {
            return Err(DialogError::NotThisDialog);
        }
        if matches!(request.method, Method::Ack | Method::Cancel) {
            return Ok(());
        }
        let number = request.headers.cseq().map_or(0, |cseq| cseq.number);
        if self.remote_cseq.is_some_and(|last| number < last) {
            return Err(DialogError::OutOfOrder);
        }
        self.remote_cseq = Some(number);
        Ok(())
    }

    /// Takes the Contact of a target refresh: an INVITE or UPDATE that was accepted, or our 2xx's
    /// counterpart (§12.2).
    pub fn refresh_target(&mut self, headers: &Headers) {
        if let Some(contact) = headers.contact() {
            self.target = contact.uri;
        }
    }

    /// The next request of ours in this dialog (§12.2.1.1), all but Via and Contact. Not for ACK
    /// and CANCEL.
    pub fn request(&mut self, method: Method) -> Request {
        self.local_cseq = self.local_cseq.wrapping_add(1);
        self.build(method, self.local_cseq)
    }

    /// The ACK to the 2xx of our INVITE with this CSeq number (§13.2.2.4).
    pub fn ack(&self, invite_cseq: u32) -> Request {
        self.build(Method::Ack, invite_cseq)
    }

    /// Where our requests go first: the nearest proxy, else the other side itself.
    pub fn next_hop(&self) -> &Uri {
        self.route_set.first().map_or(&self.target, |route| &route.uri)
    }

    fn build(&self, method: Method, number: u32) -> Request {
        let (uri, routes) = self.request_uri_and_routes();
        let mut request = Request::new(method.clone(), uri);
        for route in routes {
            request.headers.push(Name::Route, route);
        }
        request.headers.push(Name::MaxForwards, 70);
        request.headers.push(Name::From, &self.local);
        request.headers.push(Name::To, &self.remote);
        request.headers.push(Name::CallId, &self.id.call_id);
        request.headers.push(Name::CSeq, CSeq { number, method });
        request
    }

    /// A first route without `lr` is a strict router: it wants to be the Request-URI itself.
    fn request_uri_and_routes(&self) -> (Uri, Vec<NameAddr>) {
        let is_loose = |route: &NameAddr| route.uri.params().is_some_and(|params| params.has("lr"));
        match self.route_set.split_first() {
            Some((first, rest)) if !is_loose(first) => {
                let mut routes = rest.to_vec();
                routes.push(NameAddr::new(self.target.clone()));
                (first.uri.clone(), routes)
            }
            _ => (self.target.clone(), self.route_set.clone()),
        }
    }
}

fn uac_route_set(headers: &Headers) -> Vec<NameAddr> {
    let mut routes = headers.record_route();
    routes.reverse();
    for route in &mut routes {
        route.params = Params::default();
    }
    routes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Message;

    const INVITE: &str = "INVITE sip:b@us SIP/2.0\r\nVia: SIP/2.0/UDP p;branch=z9hG4bK1\r\n\
        Record-Route: <sip:p2;lr>, <sip:p1;lr>\r\nFrom: \"A\" <sip:a@h>;tag=their\r\n\
        To: <sip:b@us>\r\nCall-ID: c\r\nCSeq: 10 INVITE\r\nContact: <sip:a@10.0.0.1:5066>\r\n\
        Content-Length: 0\r\n\r\n";

    fn invite() -> Request {
        match Message::parse(INVITE.as_bytes()).unwrap() {
            Message::Request(request) => request,
            Message::Response(_) => panic!("a request"),
        }
    }

    fn lines(request: &Request) -> String {
        String::from_utf8(request.to_bytes().to_vec()).unwrap()
    }

    #[test]
    fn uas_and_uac_see_the_same_dialog_from_both_ends() {
        let invite = invite();
        let mut uas = Dialog::uas(&invite, "ours").unwrap();
        let mut ok = Response::to(&invite, 200, "", Some("ours"));
        ok.headers.push(Name::Contact, "<sip:b@10.0.0.2>");
        let mut uac = Dialog::uac(&invite, &ok).unwrap();
        assert_eq!(uas.id.local_tag, uac.id.remote_tag);
        assert_eq!(
            uac.route_set.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["<sip:p1;lr>", "<sip:p2;lr>"]
        );
        let bye = uac.request(Method::Bye);
        assert_eq!(
            lines(&bye),
            "BYE sip:b@10.0.0.2 SIP/2.0\r\nRoute: <sip:p1;lr>\r\nRoute: <sip:p2;lr>\r\n\
             Max-Forwards: 70\r\nFrom: \"A\" <sip:a@h>;tag=their\r\nTo: <sip:b@us>;tag=ours\r\n\
             Call-ID: c\r\nCSeq: 11 BYE\r\nContent-Length: 0\r\n\r\n"
        );
        assert_eq!(uas.receive(&bye), Ok(()));
        let bye = uas.request(Method::Bye);
        assert_eq!(bye.uri.to_string(), "sip:a@10.0.0.1:5066");
        assert_eq!(bye.headers.cseq().unwrap().number, 1);
        assert_eq!(uac.receive(&bye), Ok(()));
        assert_eq!(uac.ack(10).headers.get(Name::CSeq).unwrap(), "10 ACK");
    }

    #[test]
    fn requests_out_of_order_or_of_other_dialogs_are_refused() {
        let mut dialog = Dialog::uas(&invite(), "ours").unwrap();
        let mut request = invite();
        assert_eq!(dialog.receive(&request).unwrap_err().status(), 481);
        request.headers.set(Name::To, "<sip:b@us>;tag=ours");
        for (number, want) in
            [(11, Ok(())), (9, Err(DialogError::OutOfOrder)), (11, Ok(())), (12, Ok(()))]
        {
            request.headers.set(Name::CSeq, format!("{number} INVITE"));
            assert_eq!(dialog.receive(&request), want, "{number}");
        }
        request.headers.set(Name::From, "<sip:a@h>;tag=other");
        assert_eq!(dialog.receive(&request), Err(DialogError::NotThisDialog));
    }

    #[test]
    fn a_strict_router_becomes_the_request_uri() {
        let mut request = invite();
        request.headers.set(Name::RecordRoute, "<sip:strict>, <sip:p;lr>");
        let mut dialog = Dialog::uas(&request, "ours").unwrap();
        let bye = dialog.request(Method::Bye);
        assert_eq!(bye.uri.to_string(), "sip:strict");
        let routes: Vec<_> = bye.headers.get_all(Name::Route).collect();
        assert_eq!(routes, ["<sip:p;lr>", "<sip:a@10.0.0.1:5066>"]);
    }

    #[test]
    fn only_tagged_1xx_and_2xx_make_dialogs() {
        let invite = invite();
        for (status, tag, makes) in [
            (100, Some("t"), false),
            (180, None, false),
            (183, Some("t"), true),
            (200, None, true),
            (486, Some("t"), false),
        ] {
            let response = Response::to(&invite, status, "", tag);
            assert_eq!(Dialog::uac(&invite, &response).is_some(), makes, "{status}");
        }
    }
}
