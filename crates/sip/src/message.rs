//! SIP messages: requests and responses, made, changed and written.

use std::fmt;
use std::io::Write as _;

use bytes::Bytes;

use crate::fields::CSeq;
use crate::header::{Headers, Name};
use crate::method::Method;
use crate::name_addr::NameAddr;
use crate::text;
use crate::uri::Uri;

/// Room for the first line of a message of ours, and for its Content-Length.
const START_BYTES: usize = 128;

/// One message, read by [`Message::parse`] or made by us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Someone asks for something.
    Request(Request),
    /// An answer to a request.
    Response(Response),
}

/// A request (RFC 3261 §7.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What is asked.
    pub method: Method,
    /// Of whom it is asked: the Request-URI.
    pub uri: Uri,
    /// The header fields.
    pub headers: Headers,
    /// The body; Content-Length follows from it.
    pub body: Bytes,
}

/// A response (RFC 3261 §7.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// 100 to 699.
    pub status: u16,
    /// The reason phrase as it came; possibly empty, possibly not UTF-8.
    pub reason: Bytes,
    /// The header fields.
    pub headers: Headers,
    /// The body; Content-Length follows from it.
    pub body: Bytes,
}

impl Message {
    /// The header fields of either kind.
    pub fn headers(&self) -> &Headers {
        match self {
            Self::Request(request) => &request.headers,
            Self::Response(response) => &response.headers,
        }
    }

    /// The header fields of either kind, to change them.
    pub fn headers_mut(&mut self) -> &mut Headers {
        match self {
            Self::Request(request) => &mut request.headers,
            Self::Response(response) => &mut response.headers,
        }
    }

    /// The body of either kind.
    pub fn body(&self) -> &Bytes {
        match self {
            Self::Request(request) => &request.body,
            Self::Response(response) => &response.body,
        }
    }

    /// Writes the message for the wire.
    pub fn to_bytes(&self) -> Bytes {
        match self {
            Self::Request(request) => request.to_bytes(),
            Self::Response(response) => response.to_bytes(),
        }
    }
}

impl From<Request> for Message {
    fn from(request: Request) -> Self {
        Self::Request(request)
    }
}

impl From<Response> for Message {
    fn from(response: Response) -> Self {
        Self::Response(response)
    }
}

impl Request {
    /// A request without header fields.
    pub fn new(method: Method, uri: Uri) -> Self {
        Self { method, uri, headers: Headers::default(), body: Bytes::new() }
    }

    /// A request outside any dialog with the fields RFC 3261 §8.1.1 demands, all but Via, which
    /// the endpoint writes, and Contact.
    pub fn outside_dialog(
        method: Method,
        uri: Uri,
        from: &NameAddr,
        to: &NameAddr,
        call_id: &str,
        cseq: u32,
    ) -> Self {
        let headers = Headers::with_room();
        let mut request = Self { method: method.clone(), uri, headers, body: Bytes::new() };
        request.headers.push(Name::MaxForwards, 70);
        request.headers.push(Name::From, from);
        request.headers.push(Name::To, to);
        request.headers.push(Name::CallId, call_id);
        request.headers.push(Name::CSeq, CSeq { number: cseq, method });
        request
    }

    /// Puts a body in, with its Content-Type.
    pub fn set_body(&mut self, content_type: &str, body: impl Into<Bytes>) {
        self.body = body.into();
        self.headers.set(Name::ContentType, content_type);
    }

    /// Whether the request stands inside a dialog: To has a tag (RFC 3261 §12.2).
    pub fn is_in_dialog(&self) -> bool {
        self.headers.to_tag().is_some()
    }

    /// Writes the request for the wire, fields as they came, Content-Length by the body.
    pub fn to_bytes(&self) -> Bytes {
        write(format_args!("{} {} SIP/2.0", self.method, self.uri), b"", &self.headers, &self.body)
    }
}

impl Response {
    /// The response to `request`: Via, From, To, Call-ID, CSeq and Timestamp copied (RFC 3261
    /// §8.2.6.2), and Record-Route where a dialog may come of it (§12.1.1).
    ///
    /// `to_tag` is put into To if the request had none; 100 takes none. An empty `reason` becomes
    /// the usual phrase.
    pub fn to(request: &Request, status: u16, reason: &str, to_tag: Option<&str>) -> Self {
        let mut headers = Headers::with_room();
        for name in [Name::Via, Name::From, Name::To, Name::CallId, Name::CSeq, Name::Timestamp] {
            headers.copy_from(&request.headers, name);
        }
        if (101..300).contains(&status) {
            headers.copy_from(&request.headers, Name::RecordRoute);
        }
        if let (Some(tag), Some(to)) = (to_tag, headers.to())
            && to.tag().is_none()
        {
            headers.set(Name::To, to.with_tag(tag));
        }
        let reason = match reason {
            "" => Bytes::from_static(reason_phrase(status).as_bytes()),
            reason => Bytes::from(reason.replace(['\r', '\n'], " ")),
        };
        Self { status, reason, headers, body: Bytes::new() }
    }

    /// Puts a body in, with its Content-Type.
    pub fn set_body(&mut self, content_type: &str, body: impl Into<Bytes>) {
        self.body = body.into();
        self.headers.set(Name::ContentType, content_type);
    }

    /// The reason phrase as text.
    pub fn reason_text(&self) -> std::borrow::Cow<'_, str> {
        text::decode(&self.reason)
    }

    /// Whether this is a 1xx.
    pub fn is_provisional(&self) -> bool {
        self.status < 200
    }

    /// Whether this is a 2xx.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Writes the response for the wire, fields as they came, Content-Length by the body.
    pub fn to_bytes(&self) -> Bytes {
        let start = format_args!("SIP/2.0 {:03} ", self.status);
        write(start, &self.reason, &self.headers, &self.body)
    }
}

/// `reason` ends the start line: octets that need not be text.
fn write(start: fmt::Arguments<'_>, reason: &[u8], headers: &Headers, body: &[u8]) -> Bytes {
    let fields: usize =
        headers.iter().map(|header| header.name().len() + header.value().len() + 4).sum();
    let mut out = Vec::with_capacity(START_BYTES + fields + body.len());
    // Nothing fails that is written to memory.
    let _ = out.write_fmt(start);
    out.extend_from_slice(reason);
    out.extend_from_slice(b"\r\n");
    headers.write(&mut out, body.len());
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(body);
    Bytes::from(out)
}

/// The usual phrase of a status code (RFC 3261 §21 and the registry).
pub fn reason_phrase(status: u16) -> &'static str {
    match status {
        100 => "Trying",
        180 => "Ringing",
        181 => "Call Is Being Forwarded",
        182 => "Queued",
        183 => "Session Progress",
        200 => "OK",
        202 => "Accepted",
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        302 => "Moved Temporarily",
        305 => "Use Proxy",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        410 => "Gone",
        413 => "Request Entity Too Large",
        414 => "Request-URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Unsupported URI Scheme",
        420 => "Bad Extension",
        421 => "Extension Required",
        422 => "Session Interval Too Small",
        423 => "Interval Too Brief",
        480 => "Temporarily Unavailable",
        481 => "Call/Transaction Does Not Exist",
        482 => "Loop Detected",
        483 => "Too Many Hops",
        484 => "Address Incomplete",
        485 => "Ambiguous",
        486 => "Busy Here",
        487 => "Request Terminated",
        488 => "Not Acceptable Here",
        489 => "Bad Event",
        491 => "Request Pending",
        493 => "Undecipherable",
        500 => "Server Internal Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Server Time-out",
        505 => "Version Not Supported",
        513 => "Message Too Large",
        600 => "Busy Everywhere",
        603 => "Decline",
        604 => "Does Not Exist Anywhere",
        606 => "Not Acceptable",
        _ => class_phrase(status / 100),
    }
}

fn class_phrase(class: u16) -> &'static str {
    match class {
        1 => "Progress",
        2 => "OK",
        3 => "Redirection",
        4 => "Request Failure",
        5 => "Server Failure",
        _ => "Global Failure",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invite() -> Request {
        let from = NameAddr::parse("<sip:a@h>;tag=1").unwrap();
        let to = NameAddr::parse("\"B\" <sip:b@h>").unwrap();
        let mut request =
            Request::outside_dialog(Method::Invite, to.uri.clone(), &from, &to, "id@h", 7);
        request.headers.insert_front(Name::Via, "SIP/2.0/UDP h;branch=z9hG4bK1");
        request.headers.push(Name::RecordRoute, "<sip:p;lr>");
        request
    }

    #[test]
    fn a_response_copies_what_8_2_6_2_says() {
        let response = Response::to(&invite(), 180, "", Some("t")).to_bytes();
        assert_eq!(
            std::str::from_utf8(&response).unwrap(),
            "SIP/2.0 180 Ringing\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:a@h>;tag=1\r\n\
             To: \"B\" <sip:b@h>;tag=t\r\nCall-ID: id@h\r\nCSeq: 7 INVITE\r\n\
             Record-Route: <sip:p;lr>\r\nContent-Length: 0\r\n\r\n"
        );
        let refused = Response::to(&invite(), 486, "", None);
        assert!(!refused.headers.has(Name::RecordRoute));
        assert!(refused.headers.to().unwrap().tag().is_none());
    }

    #[test]
    fn the_body_decides_content_length() {
        let mut request = invite();
        request.headers.push(Name::ContentLength, 999);
        request.set_body("application/sdp", &b"v=0\r\n"[..]);
        let text = String::from_utf8(request.to_bytes().to_vec()).unwrap();
        assert!(
            text.ends_with("Content-Length: 5\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n")
        );
        assert!(!text.contains("999"));
    }
}
