//! Reads messages from octets: one scan, nothing copied but the datagram, nothing thrown away.
//!
//! Tolerated, because devices do it: compact and unknown names, `Name : value`, folding, lines
//! that end in LF alone, line ends before the start line, no Content-Length in a datagram, bytes
//! after the body, octets that are not UTF-8.
//!
//! Belongs here: the shape of a message and the six fields every answer needs. Does not: finding
//! where a message ends in a stream (`framing`), what other values mean (`fields`).

use bytes::Bytes;

use crate::header::{Header, Headers, Name};
use crate::message::{Message, Request, Response};
use crate::method::Method;
use crate::text;
use crate::uri::Uri;

/// The longest message we read, in bytes.
pub const MAX_MESSAGE_BYTES: usize = 65_536;
/// The most header fields of one message.
pub const MAX_HEADERS: usize = 256;

/// A message that cannot be used, and whatever of it could be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind}")]
pub struct ParseError {
    /// What is wrong.
    pub kind: ParseErrorKind,
    /// The fields of a request that could still be read.
    partial: Option<Box<Request>>,
}

/// What is wrong with a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseErrorKind {
    /// Nothing but line ends or zero octets: a keep-alive.
    #[error("empty message")]
    Empty,
    /// The first line is no SIP start line.
    #[error("not SIP")]
    NotSip,
    /// Longer than [`MAX_MESSAGE_BYTES`].
    #[error("message of {0} bytes is too large")]
    TooLarge(usize),
    /// More than [`MAX_HEADERS`] fields.
    #[error("too many header fields")]
    TooManyHeaders,
    /// Another SIP version than 2.0.
    #[error("SIP version not supported")]
    Version,
    /// The Request-URI cannot be read.
    #[error("bad Request-URI")]
    Uri,
    /// The status code is not 100 to 699.
    #[error("bad status code")]
    Status,
    /// A line is no header field.
    #[error("line {0} is no header field")]
    HeaderLine(usize),
    /// A field every message needs is missing.
    #[error("{} is missing", .0.as_str())]
    Missing(Name),
    /// A field every message needs cannot be read or is there twice.
    #[error("bad {}", .0.as_str())]
    Bad(Name),
    /// CSeq names another method than the request line.
    #[error("CSeq method is not the request's")]
    MethodMismatch,
    /// Content-Length says more than there is.
    #[error("Content-Length {declared}, but {present} bytes follow")]
    Truncated {
        /// What Content-Length says.
        declared: usize,
        /// What there is.
        present: usize,
    },
}

impl ParseError {
    fn new(kind: ParseErrorKind) -> Self {
        Self { kind, partial: None }
    }

    /// The status an answer would have: 505 for the version, 513 for the size, else 400.
    pub fn status(&self) -> u16 {
        match self.kind {
            ParseErrorKind::Version => 505,
            ParseErrorKind::TooLarge(_) => 513,
            _ => 400,
        }
    }

    /// What could be read of a broken request. It may lack anything.
    pub fn request(&self) -> Option<&Request> {
        self.partial.as_deref()
    }

    /// The answer to a broken request; `None` if it was none, was an ACK, or if Via, From, To,
    /// Call-ID or CSeq, which the answer must repeat, are missing. It goes back to where the request
    /// came from, since the Via may be what is broken.
    pub fn response(&self) -> Option<Response> {
        let request = self.partial.as_deref()?;
        let needed = [Name::Via, Name::From, Name::To, Name::CallId, Name::CSeq];
        if request.method == Method::Ack || !needed.iter().all(|name| request.headers.has(*name)) {
            return None;
        }
        let status = self.status();
        let reason = if status == 400 { format!("Bad Request: {self}") } else { String::new() };
        Some(Response::to(request, status, &reason, None))
    }
}

impl Message {
    /// Reads one datagram or one framed message.
    ///
    /// # Errors
    /// [`ParseError`], which can still answer the sender.
    pub fn parse(octets: &[u8]) -> Result<Self, ParseError> {
        if octets.len() > MAX_MESSAGE_BYTES {
            return Err(ParseError::new(ParseErrorKind::TooLarge(octets.len())));
        }
        Self::parse_shared(Bytes::copy_from_slice(octets))
    }

    /// Reads a message and keeps `octets` instead of a copy.
    ///
    /// # Errors
    /// As [`Message::parse`].
    pub fn parse_shared(octets: Bytes) -> Result<Self, ParseError> {
        if octets.len() > MAX_MESSAGE_BYTES {
            return Err(ParseError::new(ParseErrorKind::TooLarge(octets.len())));
        }
        let mut lines = Lines { octets: &octets, at: 0 };
        let start = loop {
            match lines.next() {
                None => {
                    let is_keep_alive = octets.iter().all(|byte| matches!(byte, b'\r' | b'\n' | 0));
                    return Err(ParseError::new(if is_keep_alive {
                        ParseErrorKind::Empty
                    } else {
                        ParseErrorKind::NotSip
                    }));
                }
                Some((from, to)) if from == to => {}
                Some((from, to)) => break &octets[from..to],
            }
        };
        let start = StartLine::parse(start).map_err(ParseError::new)?;
        let (headers, fault) = read_headers(&octets, &mut lines);
        let rest = octets.slice(lines.at..);
        match start {
            StartLine::Request { method, uri, is_version_2 } => {
                let fault = fault
                    .or((!is_version_2).then_some(ParseErrorKind::Version))
                    .or(uri.is_none().then_some(ParseErrorKind::Uri));
                finish_request(method, uri, headers, rest, fault)
            }
            StartLine::Response { status, reason } => {
                let reason = octets.slice_ref(reason);
                if let Some(kind) = fault {
                    return Err(ParseError::new(kind));
                }
                check_fields(&headers, None).map_err(ParseError::new)?;
                let body = body(&headers, rest).map_err(ParseError::new)?;
                Ok(Self::Response(Response { status, reason, headers, body }))
            }
        }
    }
}

fn finish_request(
    method: Method,
    uri: Option<Uri>,
    headers: Headers,
    rest: Bytes,
    fault: Option<ParseErrorKind>,
) -> Result<Message, ParseError> {
    // Stands in for a Request-URI that cannot be read, in the error only.
    let uri = uri.unwrap_or_else(|| Uri::Other(String::from("invalid:")));
    let mut request = Request { method, uri, headers, body: Bytes::new() };
    let read = match fault {
        Some(kind) => Err(kind),
        None => check_fields(&request.headers, Some(&request.method))
            .and_then(|()| body(&request.headers, rest)),
    };
    match read {
        Ok(body) => {
            request.body = body;
            Ok(Message::Request(request))
        }
        Err(kind) => Err(ParseError { kind, partial: Some(Box::new(request)) }),
    }
}

/// Line after line, ended by CRLF or LF; `at` is where the next one begins.
struct Lines<'a> {
    octets: &'a [u8],
    at: usize,
}

impl Lines<'_> {
    /// Start and end of the next line without its ending; `None` if no line end is left.
    fn next(&mut self) -> Option<(usize, usize)> {
        let from = self.at;
        let length = self.octets[from..].iter().position(|byte| *byte == b'\n')?;
        self.at = from + length + 1;
        let mut to = from + length;
        if to > from && self.octets[to - 1] == b'\r' {
            to -= 1;
        }
        Some((from, to))
    }

    fn is_folded(&self) -> bool {
        matches!(self.octets.get(self.at), Some(b' ' | b'\t'))
    }
}

enum StartLine<'a> {
    Request { method: Method, uri: Option<Uri>, is_version_2: bool },
    Response { status: u16, reason: &'a [u8] },
}

impl<'a> StartLine<'a> {
    fn parse(line: &'a [u8]) -> Result<Self, ParseErrorKind> {
        let line = line.trim_ascii();
        let space = line.iter().position(|byte| *byte == b' ').ok_or(ParseErrorKind::NotSip)?;
        let (first, rest) = (&line[..space], line[space..].trim_ascii());
        if first.get(..4).is_some_and(|start| start.eq_ignore_ascii_case(b"SIP/")) {
            return Self::response(first, rest);
        }
        let space = rest.iter().rposition(|byte| *byte == b' ').ok_or(ParseErrorKind::NotSip)?;
        let (uri, version) = (rest[..space].trim_ascii(), &rest[space + 1..]);
        if !version.get(..4).is_some_and(|start| start.eq_ignore_ascii_case(b"SIP/")) {
            return Err(ParseErrorKind::NotSip);
        }
        let method = std::str::from_utf8(first).ok().and_then(Method::parse);
        Ok(Self::Request {
            method: method.ok_or(ParseErrorKind::NotSip)?,
            uri: Uri::parse(&text::decode(uri)).ok(),
            is_version_2: &version[4..] == b"2.0",
        })
    }

    fn response(version: &[u8], rest: &'a [u8]) -> Result<Self, ParseErrorKind> {
        if &version[4..] != b"2.0" {
            return Err(ParseErrorKind::Version);
        }
        let end = rest.iter().position(|byte| *byte == b' ').unwrap_or(rest.len());
        let digits = &rest[..end];
        if digits.len() != 3 || !digits.iter().all(u8::is_ascii_digit) {
            return Err(ParseErrorKind::Status);
        }
        let status = digits.iter().fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'));
        if !(100..700).contains(&status) {
            return Err(ParseErrorKind::Status);
        }
        Ok(Self::Response { status, reason: rest[end..].trim_ascii() })
    }
}

/// Reads fields up to the empty line or the end, and goes on after the first fault.
fn read_headers(octets: &Bytes, lines: &mut Lines<'_>) -> (Headers, Option<ParseErrorKind>) {
    let mut list = Vec::with_capacity(24);
    let mut fault = None;
    let mut number = 1;
    loop {
        number += 1;
        let Some((from, mut to)) = lines.next() else {
            // The last line without a line end: take it if it is a field.
            let (from, to) = (lines.at, octets.len());
            lines.at = to;
            if from < to && !push_field(octets, from, to, &mut list) {
                fault.get_or_insert(ParseErrorKind::HeaderLine(number));
            }
            break;
        };
        if from == to {
            break;
        }
        while lines.is_folded() {
            // A line of nothing but white space ends the header as an empty one would.
            let before = lines.at;
            match lines.next() {
                Some((next, end)) if !octets[next..end].trim_ascii().is_empty() => to = end,
                Some(_) => {
                    lines.at = before;
                    break;
                }
                None => break,
            }
        }
        if octets[from..to].trim_ascii().is_empty() {
            break;
        }
        if list.len() == MAX_HEADERS {
            fault.get_or_insert(ParseErrorKind::TooManyHeaders);
        } else if !push_field(octets, from, to, &mut list) {
            fault.get_or_insert(ParseErrorKind::HeaderLine(number));
        }
    }
    (Headers::from_received(list), fault)
}

fn push_field(octets: &Bytes, from: usize, to: usize, list: &mut Vec<Header>) -> bool {
    let line = &octets[from..to];
    let Some(colon) = line.iter().position(|byte| *byte == b':') else { return false };
    let name = line[..colon].trim_ascii_end();
    if name.is_empty() || !name.iter().copied().all(text::is_token_byte) {
        return false;
    }
    let value = line[colon + 1..].trim_ascii();
    let name = octets.slice(from..from + name.len());
    let value = if value.is_empty() { Bytes::new() } else { octets.slice_ref(value) };
    list.push(Header::received(name, value));
    true
}

/// The fields no transaction can do without must be there, once, and readable.
fn check_fields(headers: &Headers, method: Option<&Method>) -> Result<(), ParseErrorKind> {
    for name in [Name::Via, Name::From, Name::To, Name::CallId, Name::CSeq] {
        let mut fields = headers.fields(name);
        if fields.next().is_none() {
            return Err(ParseErrorKind::Missing(name));
        }
        if name != Name::Via && fields.next().is_some() {
            return Err(ParseErrorKind::Bad(name));
        }
    }
    headers.via().ok_or(ParseErrorKind::Bad(Name::Via))?;
    // The Vias below go back in the answer, unread; but an empty one was never one (RFC 4475
    // §3.1.2.1).
    let is_via = |field: &Header| {
        text::split_outside_quotes(&field.text(), b',').iter().all(|value| value.contains('/'))
    };
    if !headers.fields(Name::Via).all(is_via) {
        return Err(ParseErrorKind::Bad(Name::Via));
    }
    headers.from().ok_or(ParseErrorKind::Bad(Name::From))?;
    headers.to().ok_or(ParseErrorKind::Bad(Name::To))?;
    if headers.call_id().is_none_or(|call_id| call_id.is_empty()) {
        return Err(ParseErrorKind::Bad(Name::CallId));
    }
    let cseq = headers.cseq().ok_or(ParseErrorKind::Bad(Name::CSeq))?;
    match method {
        Some(method) if cseq.method != *method => Err(ParseErrorKind::MethodMismatch),
        _ => Ok(()),
    }
}

/// Cuts the body out of what follows the header (RFC 3261 §18.3).
fn body(headers: &Headers, rest: Bytes) -> Result<Bytes, ParseErrorKind> {
    let mut fields = headers.fields(Name::ContentLength);
    let Some(first) = fields.next() else { return Ok(rest) };
    if fields.any(|other| other.value() != first.value()) {
        return Err(ParseErrorKind::Bad(Name::ContentLength));
    }
    let bad = ParseErrorKind::Bad(Name::ContentLength);
    let declared = content_length(first.value()).ok_or(bad)?;
    if declared > rest.len() {
        return Err(ParseErrorKind::Truncated { declared, present: rest.len() });
    }
    Ok(rest.slice(..declared))
}

/// Reads a Content-Length: digits only, however many.
pub(crate) fn content_length(value: &[u8]) -> Option<usize> {
    let value = value.trim_ascii();
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(std::str::from_utf8(value).ok()?.parse().unwrap_or(usize::MAX))
}
