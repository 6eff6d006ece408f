//! What a message's transaction is found by (RFC 3261 §17.1.3, §17.2.3).

use crate::header::Headers;
use crate::message::{Request, Response};
use crate::method::Method;
use crate::via::{MAGIC_COOKIE, Via};

/// Finds the client transaction of a response.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct ClientKey {
    branch: String,
    method: Method,
}

impl ClientKey {
    pub(super) fn new(branch: String, method: Method) -> Self {
        Self { branch, method }
    }

    pub(super) fn of(response: &Response) -> Option<Self> {
        let via = response.headers.via()?;
        let method = response.headers.cseq()?.method;
        Some(Self { branch: via.branch()?.to_owned(), method })
    }

    pub(super) fn branch(&self) -> &str {
        &self.branch
    }
}

/// Finds the server transaction of a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct ServerKey {
    /// Branch and sent-by; without the cookie of RFC 3261 also Call-ID, From tag and CSeq number.
    text: String,
    /// The method; INVITE for ACK.
    method: Method,
}

impl ServerKey {
    pub(super) fn new(request: &Request, via: &Via) -> Self {
        let branch = via.branch().unwrap_or_default();
        let host = via.host.to_ascii_lowercase();
        let port = via.port.unwrap_or(0);
        let mut text = format!("{branch}|{host}:{port}");
        let is_rfc_3261 = branch.len() > MAGIC_COOKIE.len()
            && branch
                .get(..MAGIC_COOKIE.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(MAGIC_COOKIE));
        if !is_rfc_3261 {
            let headers = &request.headers;
            let from = headers.from();
            for part in [
                headers.call_id().unwrap_or_default().as_ref(),
                from.as_ref().and_then(|from| from.tag()).unwrap_or_default(),
                &headers.cseq().map_or(0, |cseq| cseq.number).to_string(),
            ] {
                text.push('|');
                text.push_str(part);
            }
        }
        let method = match request.method {
            Method::Ack => Method::Invite,
            ref method => method.clone(),
        };
        Self { text, method }
    }

    /// The key of the INVITE that this CANCEL means (§9.2).
    pub(super) fn of_invite(&self) -> Self {
        Self { text: self.text.clone(), method: Method::Invite }
    }
}

/// Finds the 2xx an ACK acknowledges: its dialog and the INVITE's CSeq number.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct AckKey {
    call_id: String,
    from_tag: String,
    to_tag: String,
    number: u32,
}

impl AckKey {
    pub(super) fn new(headers: &Headers) -> Option<Self> {
        Some(Self {
            call_id: headers.call_id()?.into_owned(),
            from_tag: headers.from_tag().unwrap_or_default().into_owned(),
            to_tag: headers.to_tag().unwrap_or_default().into_owned(),
            number: headers.cseq()?.number,
        })
    }

    /// Whether both are of one dialog.
    pub(super) fn is_same_dialog(&self, other: &Self) -> bool {
        self.call_id == other.call_id
            && self.from_tag == other.from_tag
            && self.to_tag == other.to_tag
    }
}

/// What requests have in common that were one before a proxy forked them (RFC 3261 §8.2.2.2).
///
/// The Request-URI counts, too: a proxy that rings two of our extensions at once sends us two
/// requests that are meant to be two.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct MergeKey {
    call_id: String,
    from_tag: String,
    number: u32,
    method: Method,
    uri: String,
}

impl MergeKey {
    /// `None` for a request in a dialog, or of a client so old that it has no From tag.
    pub(super) fn new(request: &Request) -> Option<Self> {
        let headers = &request.headers;
        if request.is_in_dialog() {
            return None;
        }
        Some(Self {
            call_id: headers.call_id()?.into_owned(),
            from_tag: headers.from_tag()?.into_owned(),
            number: headers.cseq()?.number,
            method: request.method.clone(),
            uri: request.uri.to_string(),
        })
    }
}
