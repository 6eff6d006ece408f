//! Messages as devices send them and as nobody should: what the reader accepts, keeps and refuses.
#![allow(clippy::unwrap_used, missing_docs)]

use cheling_sip::{Message, Method, Name, ParseErrorKind, Request, Uri};

/// A request of these lines with everything it needs, `extra` put before the empty line.
fn request(start_line: &str, extra: &str) -> String {
    let method = start_line.split(' ').next().unwrap_or_default();
    format!(
        "{start_line}\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKa\r\nFrom: <sip:a@h>;tag=1\r\n\
         To: <sip:b@h>\r\nCall-ID: x\r\nCSeq: 1 {method}\r\n{extra}\r\n"
    )
}

fn parse_request(octets: &[u8]) -> Request {
    match Message::parse(octets) {
        Ok(Message::Request(request)) => request,
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_tolerated_shape_reads_the_same() {
    let plain = "INVITE sip:b@h SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKa\r\n\
        From: <sip:a@h>;tag=1\r\nTo: <sip:b@h>\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\n\
        Contact: <sip:a@192.0.2.1>\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nhi";
    let shapes = [
        plain.to_owned(),
        plain.replace("\r\n", "\n"),
        format!("\r\n\r\n{plain}"),
        format!("{plain}, and what follows Content-Length is not ours"),
        plain.replace("Content-Length: 2\r\n", ""),
        plain.replace(": ", "   :\t  "),
        plain.replace(": ", ":"),
        plain.replace("Via:", "v:").replace("From:", "F:").replace("To:", "t:"),
        plain.replace("Call-ID:", "i:").replace("Contact:", "M:").replace("Content-Length:", "l:"),
        plain.replace("Via: SIP/2.0/UDP ", "vIA: SIP\r\n / 2.0 /\r\n\tUDP\r\n  "),
        plain.replace(";tag=1", "\r\n ;\r\n tag = 1"),
        plain.replace("1 INVITE", "0001  \tINVITE"),
        plain.replace("SIP/2.0\r\nVia", "sip/2.0  \r\nVia"),
    ];
    for shape in shapes {
        let request = parse_request(shape.as_bytes());
        let headers = &request.headers;
        assert_eq!(request.method, Method::Invite, "{shape}");
        assert_eq!(headers.via().unwrap().branch(), Some("z9hG4bKa"), "{shape}");
        assert_eq!(headers.from().unwrap().tag(), Some("1"), "{shape}");
        assert_eq!(headers.to().unwrap().tag(), None, "{shape}");
        assert_eq!(headers.call_id().unwrap(), "x", "{shape}");
        assert_eq!(headers.cseq().unwrap().number, 1, "{shape}");
        assert_eq!(headers.contact().unwrap().uri.host(), Some("192.0.2.1"), "{shape}");
        assert_eq!(&request.body[..], b"hi", "{shape}");
        assert_eq!(parse_request(&request.to_bytes()).headers.from(), headers.from());
    }
}

#[test]
fn an_ordinary_message_is_written_as_it_came() {
    let text = request(
        "NEWMETHOD sip:*31%2313800138000@gw;user=phone SIP/2.0",
        "X-Unknown: \u{1}kept; as=it came , \"x\"\r\nsUBJECT: a\r\nContent-Length: 0\r\n",
    );
    assert_eq!(parse_request(text.as_bytes()).to_bytes(), text.as_bytes());
}

#[test]
fn octets_that_are_not_utf8_are_kept_and_shown_as_text() {
    let mut octets =
        request("INVITE sip:b@h SIP/2.0", "P-Asserted-Identity: \"@\" <tel:10086>\r\n")
            .replace("From: <sip:a@h>", "From: \"@\" <sip:a@h>")
            .into_bytes();
    // 乗 in GBK, whose second octet is a backslash before the closing quote, and 张三.
    for gbk in [&b"\x81\x5c"[..], b"\xd5\xc5\xc8\xfd"] {
        let at = octets.windows(3).rposition(|window| window == b"\"@\"").unwrap();
        octets.splice(at + 1..at + 2, gbk.iter().copied());
    }
    octets.truncate(octets.len() - 2);
    octets.extend_from_slice(b"Content-Length: 0\r\n\r\n");
    let request = parse_request(&octets);
    assert_eq!(request.headers.from().unwrap().display.as_deref(), Some("张三"));
    let identity = &request.headers.p_asserted_identity()[0];
    assert_eq!(identity.display.as_deref(), Some("乗"));
    assert_eq!(identity.uri.user(), Some("10086"));
    assert_eq!(request.to_bytes(), octets);
}

#[test]
fn odd_but_valid_addresses_are_read() {
    for (from, user) in [
        ("sip:a;day=tuesday;b@h;lr;tag=1", None), // Without brackets the URI ends at the first `;`.
        ("<sip:a;day=tuesday@h>;tag=1", Some("a;day=tuesday")),
        ("\"J. \\\"R\\\" \\\\\" <sip:j.r@h>;tag=1", Some("j.r")),
        ("<sip:null%00%00@h>;tag=1", Some("null%00%00")),
        ("<sip:j@[2001:db8::10]:5070;x>;tag=1", Some("j")),
        ("<sips:%73%69p@h>;tag=1", Some("%73%69p")),
        ("<tel:+8613800138000;phone-context=+86>;tag=1", Some("+8613800138000")),
        ("<urn:service:sos>;tag=1", None),
        ("Anonymous <sip:anonymous@anonymous.invalid>;tag=1", Some("anonymous")),
        ("=?UTF-8?B?5byg?= <sip:a@h>;tag=1", Some("a")),
    ] {
        let text = request("INVITE sip:b@h SIP/2.0", "").replace("<sip:a@h>;tag=1", from);
        match Message::parse(text.as_bytes()) {
            Ok(message) => {
                let address = message.headers().from().unwrap();
                assert_eq!(address.uri.user(), user, "{from}");
                assert_eq!(address.tag(), Some("1"), "{from}");
            }
            Err(err) => {
                assert_eq!((err.kind, user), (ParseErrorKind::Bad(Name::From), None), "{from}");
            }
        }
    }
}

#[test]
fn request_uris_of_all_schemes_are_read() {
    for uri in [
        "tel:+86-10-88886666",
        "sips:b@h:5061",
        "soap.beep://192.0.2.1:3002",
        "sip:h;transport=TCP",
    ] {
        let text = request(&format!("OPTIONS {uri} SIP/2.0"), "");
        assert_eq!(parse_request(text.as_bytes()).uri, Uri::parse(uri).unwrap());
    }
}

#[test]
fn broken_requests_are_refused_with_the_right_status() {
    use ParseErrorKind as Kind;
    let good = request("INVITE sip:b@h SIP/2.0", "Content-Length: 0\r\n");
    let many = "X: y\r\n".repeat(300);
    for (text, kind, status) in [
        (good.replace("SIP/2.0\r\n", "SIP/7.0\r\n"), Kind::Version, 505),
        (good.replace("sip:b@h SIP", "<sip:b@h> SIP"), Kind::Uri, 400),
        (good.replace("sip:b@h SIP", "sip:b@h; x SIP"), Kind::Uri, 400),
        (good.replace("sip:b@h SIP", "b SIP"), Kind::Uri, 400),
        (good.replace("1 INVITE", "1 OPTIONS"), Kind::MethodMismatch, 400),
        (good.replace("1 INVITE", "36893488147419103232 INVITE"), Kind::Bad(Name::CSeq), 400),
        (good.replace("To: <", "To: \"b <"), Kind::Bad(Name::To), 400),
        (good.replace("From: <sip:a@h>", "From: <sip:a@h"), Kind::Bad(Name::From), 400),
        (good.replace("SIP/2.0/UDP 192.0.2.1;", "SIP/2.0/UDP ;"), Kind::Bad(Name::Via), 400),
        (good.replace("Length: 0", "Length: -9"), Kind::Bad(Name::ContentLength), 400),
        (good.replace("Length: 0", "Length: 0\r\nl: 3"), Kind::Bad(Name::ContentLength), 400),
        (good.replace("Length: 0", "Length: 9"), Kind::Truncated { declared: 9, present: 0 }, 400),
        (good.replace("Content-Length", "Content Length"), Kind::HeaderLine(7), 400),
        (good.replace("Content-Length: 0", "no colon"), Kind::HeaderLine(7), 400),
        (good.replace("Content-Length: 0\r\n", &many), Kind::TooManyHeaders, 400),
        (good.replace("CSeq", "CSeq: 1 INVITE\r\nCSeq"), Kind::Bad(Name::CSeq), 400),
    ] {
        let err = Message::parse(text.as_bytes()).unwrap_err();
        assert_eq!(err.kind, kind, "{text}");
        let response = err.response();
        let response = response.unwrap();
        assert_eq!(response.status, status, "{text}");
        assert!(response.to_bytes().starts_with(b"SIP/2.0 "));
        assert!(response.headers.has(Name::CSeq) && response.headers.has(Name::CallId));
    }
}

#[test]
fn what_cannot_be_answered_is_not() {
    use ParseErrorKind as Kind;
    let good = request("ACK sip:b@h SIP/2.0", "");
    for (text, kind) in [
        (good.replace("SIP/2.0\r\nV", "SIP/3.0\r\nV"), Kind::Version),
        (
            request("INVITE sip:b@h SIP/2.0", "").replace("Call-ID: x\r\n", ""),
            Kind::Missing(Name::CallId),
        ),
        (String::new(), Kind::Empty),
        (String::from("\r\n\r\n"), Kind::Empty),
        (String::from("\0\0\0\0"), Kind::Empty),
        (String::from("GET / HTTP/1.1\r\n\r\n"), Kind::NotSip),
        (String::from("INVITE\r\n\r\n"), Kind::NotSip),
        (String::from("INVITE sip:b@h SIP/2.0"), Kind::NotSip),
        (String::from("SIP/2.0 4294967301 no\r\n\r\n"), Kind::Status),
        (String::from("SIP/2.0 099 no\r\n\r\n"), Kind::Status),
        (String::from("SIP/2.0 700 no\r\n\r\n"), Kind::Status),
        (String::from("SIP/2.0 200 OK\r\n\r\n"), Kind::Missing(Name::Via)),
        ("x".repeat(70_000), Kind::TooLarge(70_000)),
    ] {
        let err = Message::parse(text.as_bytes()).unwrap_err();
        assert_eq!(err.kind, kind, "{text:.60}");
        assert_eq!(err.response(), None, "{text:.60}");
    }
}

#[test]
fn responses_of_all_shapes_are_read() {
    for (line, status, reason) in [
        ("SIP/2.0 200 OK", 200, "OK"),
        ("SIP/2.0 180", 180, ""),
        ("SIP/2.0 183 ", 183, ""),
        ("sip/2.0  486   Busy  Here ", 486, "Busy  Here"),
        ("SIP/2.0 404 用户不存在", 404, "用户不存在"),
    ] {
        let text = request("INVITE sip:b@h SIP/2.0", "").replace("INVITE sip:b@h SIP/2.0", line);
        let Message::Response(response) = Message::parse(text.as_bytes()).unwrap() else {
            panic!()
        };
        assert_eq!((response.status, response.reason_text().as_ref()), (status, reason), "{line}");
    }
}
