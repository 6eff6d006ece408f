//! SIP messages through `rsip`: reading, building, and the few values the phone looks at.
//!
//! Header values are handled as text. `rsip`'s typed headers lose tags and branches on quoted
//! names and odd spacing, and a phone only ever needs a tag, a URI or a number.

use std::net::SocketAddr;

use rsip::headers::UntypedHeader;
use rsip::{Header, Headers, Method, Request, Response, SipMessage, StatusCode, Version};

/// All values of a header, in order, by its long name.
pub(crate) fn values(headers: &Headers, name: &str) -> Vec<String> {
    headers
        .iter()
        .filter_map(|header| {
            let line = header.to_string();
            let (found, value) = line.split_once(':')?;
            found.trim().eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
        .collect()
}

/// The first value of a header.
pub(crate) fn value(headers: &Headers, name: &str) -> Option<String> {
    values(headers, name).into_iter().next()
}

/// A header of any name.
pub(crate) fn header(name: &str, value: impl Into<String>) -> Header {
    Header::Other(name.to_owned(), value.into())
}

/// The `tag` of a From or To value.
pub(crate) fn tag(value: &str) -> Option<String> {
    parameter(after_uri(value), "tag")
}

/// A `;name=value` parameter in the tail of a header value.
pub(crate) fn parameter(tail: &str, name: &str) -> Option<String> {
    tail.split(';').find_map(|part| {
        let (found, value) = part.split_once('=')?;
        found.trim().eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
    })
}

/// The URI of a name-addr or addr-spec (RFC 3261 §20.10), without angle brackets.
pub(crate) fn uri(value: &str) -> &str {
    match (value.find('<'), value.find('>')) {
        (Some(open), Some(close)) if open < close => &value[open + 1..close],
        _ => value.split(';').next().unwrap_or(value).trim(),
    }
}

/// The display name of a name-addr, without quotes.
pub(crate) fn display_name(value: &str) -> Option<String> {
    let open = value.find('<')?;
    let name = value[..open].trim().trim_matches('"');
    (!name.is_empty()).then(|| name.to_owned())
}

fn after_uri(value: &str) -> &str {
    match value.find('>') {
        Some(close) => &value[close + 1..],
        None => value.split_once(';').map_or("", |(_, tail)| tail),
    }
}

/// The user part of a `sip:` or `tel:` URI.
pub(crate) fn user(uri: &str) -> &str {
    let rest = uri.split_once(':').map_or(uri, |(_, rest)| rest);
    let end = rest.find(['@', ';']).unwrap_or(rest.len());
    &rest[..end]
}

/// The address in a URI, if its host is an IP address; port 5060 if it has none.
pub(crate) fn address(uri: &str) -> Option<SocketAddr> {
    let rest = uri.split_once(':').map_or(uri, |(_, rest)| rest);
    let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    let host = host.split([';', '?']).next()?;
    host.parse().ok().or_else(|| host.parse().ok().map(|ip| SocketAddr::new(ip, 5060)))
}

/// The branch of the topmost Via, which names the transaction (RFC 3261 §17.1.3).
pub(crate) fn branch(headers: &Headers) -> Option<String> {
    parameter(&value(headers, "Via")?, "branch")
}

/// The number and method of CSeq.
pub(crate) fn sequence(headers: &Headers) -> Option<(u32, String)> {
    let value = value(headers, "CSeq")?;
    let (number, method) = value.split_once(char::is_whitespace)?;
    Some((number.parse().ok()?, method.trim().to_owned()))
}

/// Reads a message; an error text says what `rsip` did not like.
pub(crate) fn read(bytes: &[u8]) -> Result<SipMessage, String> {
    SipMessage::try_from(bytes).map_err(|error| error.to_string())
}

/// Builds a request; Content-Length and, with a body, Content-Type are added.
///
/// # Errors
/// `rsip`'s words if the URI cannot be read.
pub(crate) fn request(
    method: Method,
    uri: &str,
    mut headers: Headers,
    body: Vec<u8>,
) -> Result<Request, String> {
    let uri = rsip::Uri::try_from(uri).map_err(|error| format!("{uri}: {error}"))?;
    finish(&mut headers, &body);
    Ok(Request { method, uri, version: Version::V2, headers, body })
}

/// Builds the response to a request (RFC 3261 §8.2.6): Via, From, To, Call-ID, CSeq and
/// Record-Route copied, `to_tag` added where there is none.
pub(crate) fn response(
    request: &Request,
    status: u16,
    to_tag: &str,
    more: Vec<Header>,
    body: Vec<u8>,
) -> Response {
    let mut headers = Headers::default();
    for header in request.headers.iter() {
        match header {
            Header::Via(_)
            | Header::From(_)
            | Header::CallId(_)
            | Header::CSeq(_)
            | Header::RecordRoute(_) => headers.push(header.clone()),
            Header::To(to) => {
                let value = to.value();
                let value = match tag(value) {
                    Some(_) => value.to_owned(),
                    None => format!("{value};tag={to_tag}"),
                };
                headers.push(Header::To(value.into()));
            }
            _ => {}
        }
    }
    headers.extend(more);
    finish(&mut headers, &body);
    Response { status_code: StatusCode::from(status), version: Version::V2, headers, body }
}

fn finish(headers: &mut Headers, body: &[u8]) {
    headers.push(Header::UserAgent("cheling-phone".into()));
    if !body.is_empty() {
        headers.push(Header::ContentType("application/sdp".into()));
    }
    headers.push(Header::ContentLength(body.len().to_string().into()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_in_every_shape_of_address() {
        for (value, expect_uri, expect_tag) in [
            ("<sip:8001@127.0.0.1>;tag=a1", "sip:8001@127.0.0.1", Some("a1")),
            (
                "\"王先生; x\" <sip:138@h:5070;user=phone>;tag=b",
                "sip:138@h:5070;user=phone",
                Some("b"),
            ),
            ("sip:8001@h;tag=c", "sip:8001@h", Some("c")),
            ("<sip:8001@h>", "sip:8001@h", None),
        ] {
            assert_eq!(uri(value), expect_uri);
            assert_eq!(tag(value).as_deref(), expect_tag);
        }
        assert_eq!(display_name("\"王先生\" <sip:138@h>").as_deref(), Some("王先生"));
        assert_eq!(user("sip:138;npdi@h"), "138");
        assert_eq!(user("tel:+86138"), "+86138");
        assert_eq!(address("sip:a@127.0.0.1:5071;transport=tcp"), "127.0.0.1:5071".parse().ok());
        assert_eq!(address("sip:127.0.0.1"), "127.0.0.1:5060".parse().ok());
        assert_eq!(address("sip:a@example.com"), None);
    }

    #[test]
    fn a_response_takes_over_what_names_the_dialog() {
        let text = "INVITE sip:b@127.0.0.1:5060 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:5;branch=z9hG4bKx\r\n\
             Record-Route: <sip:p;lr>\r\nFrom: <sip:a@h>;tag=1\r\nTo: <sip:b@h>\r\nCall-ID: c\r\n\
             CSeq: 7 INVITE\r\nContent-Length: 0\r\n\r\n";
        let SipMessage::Request(request) = read(text.as_bytes()).unwrap() else { panic!() };
        let response = response(&request, 486, "mine", vec![], vec![]);
        assert_eq!(value(&response.headers, "To").as_deref(), Some("<sip:b@h>;tag=mine"));
        assert_eq!(branch(&response.headers).as_deref(), Some("z9hG4bKx"));
        assert_eq!(sequence(&response.headers), Some((7, "INVITE".into())));
        assert!(response.to_string().starts_with("SIP/2.0 486 BusyHere\r\n"));
    }
}
