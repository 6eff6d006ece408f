//! Bodies of several parts (RFC 2046 §5.1): SDP beside ISUP, or beside the metadata of SIPREC.

use bytes::Bytes;

use crate::fields::ContentType;
use crate::header::{Header, Headers, Name};
use crate::message::Message;
use crate::sdp::{self, Sdp, SdpError};

/// The most parts we look at.
pub const MAX_PARTS: usize = 32;

/// One part of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its own header fields.
    pub headers: Headers,
    /// Its content.
    pub body: Bytes,
}

impl Part {
    /// Its Content-Type; `None` if it names none (then it is text/plain).
    pub fn content_type(&self) -> Option<ContentType> {
        self.headers.content_type()
    }

    fn is(&self, media_type: &str) -> bool {
        self.content_type().is_some_and(|content| content.media_type == media_type)
    }
}

impl Message {
    /// The parts of the body: those of a `multipart/*`, else the body as the only one. Empty if
    /// there is no body. Tolerates LF line ends and a missing last boundary.
    pub fn parts(&self) -> Vec<Part> {
        if self.body().is_empty() {
            return Vec::new();
        }
        let content = self.headers().content_type();
        let boundary = content
            .filter(|content| content.media_type.starts_with("multipart/"))
            .and_then(|content| content.params.unquoted("boundary").map(|text| text.into_owned()));
        if let Some(boundary) = boundary.filter(|boundary| !boundary.is_empty()) {
            return split(self.body(), boundary.as_bytes());
        }
        let mut headers = Headers::default();
        headers.copy_from(self.headers(), Name::ContentType);
        headers.copy_from(self.headers(), Name::ContentDisposition);
        vec![Part { headers, body: self.body().clone() }]
    }

    /// The body of this media type, whole or a part.
    pub fn body_of(&self, media_type: &str) -> Option<Bytes> {
        self.parts().into_iter().find(|part| part.is(media_type)).map(|part| part.body)
    }

    /// The session description; `None` if there is none.
    ///
    /// # Errors
    /// [`SdpError`] if there is one that cannot be read.
    pub fn sdp(&self) -> Option<Result<Sdp, SdpError>> {
        self.body_of(sdp::CONTENT_TYPE).map(|body| Sdp::parse(&body))
    }
}

fn split(body: &Bytes, boundary: &[u8]) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut part_from = None;
    let mut at = 0;
    while at < body.len() && parts.len() < MAX_PARTS {
        let line_end = body[at..].iter().position(|byte| *byte == b'\n');
        let next = line_end.map_or(body.len(), |length| at + length + 1);
        if let Some(tail) =
            body[at..next].strip_prefix(b"--").and_then(|l| l.strip_prefix(boundary))
        {
            let is_last = tail.starts_with(b"--");
            if is_last || tail.trim_ascii().is_empty() {
                parts.extend(part_from.map(|from| read_part(body, from, at)));
                part_from = (!is_last).then_some(next);
                if is_last {
                    return parts;
                }
            }
        }
        at = next;
    }
    if parts.len() < MAX_PARTS {
        parts.extend(part_from.map(|from| read_part(body, from, body.len())));
    }
    parts
}

/// Reads the part between two boundary lines. The line end before a boundary belongs to it.
fn read_part(body: &Bytes, from: usize, to: usize) -> Part {
    let mut to = to;
    for end in [b'\n', b'\r'] {
        if to > from && body[to - 1] == end {
            to -= 1;
        }
    }
    let mut list = Vec::new();
    let mut at = from;
    while at < to {
        let line_end = body[at..to].iter().position(|byte| *byte == b'\n');
        let next = line_end.map_or(to, |length| at + length + 1);
        let line = body.slice(at..next);
        let line = line.trim_ascii();
        at = next;
        if line.is_empty() || list.len() == MAX_PARTS {
            break;
        }
        if let Some(colon) = line.iter().position(|byte| *byte == b':') {
            let name = Bytes::copy_from_slice(line[..colon].trim_ascii());
            list.push(Header::received(
                name,
                Bytes::copy_from_slice(line[colon + 1..].trim_ascii()),
            ));
        }
    }
    Part { headers: Headers::from_received(list), body: body.slice(at..to.max(at)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Request;
    use crate::method::Method;
    use crate::uri::Uri;

    fn message(content_type: &str, body: &'static str) -> Message {
        let mut request = Request::new(Method::Invite, Uri::sip(None, "h", None));
        request.set_body(content_type, body);
        request.into()
    }

    const BODY: &str = "preamble\r\n--b 1\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n\r\n--b 1  \r\n\
        content-type : application/rs-metadata+xml\r\nContent-Disposition: recording-session\r\n\r\n\
        <a>\r\n--b 12\r\n</a>\r\n--b 1--\r\nepilogue";

    #[test]
    fn parts_are_found_by_type() {
        for body in [BODY, BODY.strip_suffix("\r\n--b 1--\r\nepilogue").unwrap()] {
            let message = message("multipart/mixed; boundary=\"b 1\"", body);
            assert_eq!(message.parts().len(), 2);
            assert_eq!(message.body_of("application/sdp").unwrap(), "v=0\r\n");
            let xml = message.body_of("application/rs-metadata+xml").unwrap();
            assert!(xml.starts_with(b"<a>\r\n--b 12\r\n</a>"));
        }
    }

    #[test]
    fn a_single_body_is_its_own_part() {
        assert_eq!(message("Application/SDP", "v=0").body_of("application/sdp").unwrap(), "v=0");
        assert_eq!(message("text/plain", "v=0").body_of("application/sdp"), None);
        assert!(message("application/sdp", "").parts().is_empty());
        assert!(message("application/sdp", "x").sdp().unwrap().is_err());
    }
}
