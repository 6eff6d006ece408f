//! RFC 4475: torture test messages.

use std::time::Instant;

use cheling_sip::digest::Credentials;
use cheling_sip::endpoint::{Config, Event};
use cheling_sip::{Contacts, Endpoint, Flow, Message, Method, Name, NameAddr, Response, Uri};

use crate::judge::*;

#[test]
fn section_3_1_1_valid_messages_are_taken() {
    let long = "x".repeat(6000);
    let many_vias = "Via: SIP/2.0/TCP h.example;branch=z9hG4bKa\n".repeat(40);
    check(&[
        (
            "3.1.1.1 white space, folding, compact names, odd case",
            request(
                "INVITE sip:wang@dealer.example;unknownparam SIP/2.0",
                "TO :\n  sip:wang@dealer.example ;   tag    = 1918181833n\n\
                 from   : \"Li \\\\\\\"quoted\"  <sip:li@dealer.example>\n  ;\n  tag = 98asjd8\n\
                 MaX-fOrWaRdS: 0068\nCSeq: 0009\n  INVITE\n\
                 v:  SIP  / 2.0\n /UDP\n    192.0.2.2;branch=390skdjuw\nVia  : SIP / 2.0 /TCP h.example;branch=z9\n\
                 NewFangledHeader:   newfangled value\n continued newfangled value\n\
                 UnknownHeaderWithUnusualValue: ;;,,;;,;",
            ),
            Valid,
        ),
        (
            "3.1.1.2 every character a token and a user may have",
            request(
                "MESSAGE sip:1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*:&it+has=1,weird!*pas$wo~d_too.(doesn't-it)@dealer.example SIP/2.0",
                "To: \"BEL:\u{7} NUL:- DEL:\u{7f}\" <sip:1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*@dealer.example>\n\
                 From: token1~` token2'+_ token3*%!.- <sip:mundane@dealer.example>;fromParam''~+*_!.-%=\"работающий\";tag=_token~1'+`*%!-.\n\
                 extensionHeader-!.%*+_`'~: \u{fffe}大停電",
            ),
            Valid,
        ),
        (
            "3.1.1.3 escapes that are",
            request(
                "INVITE sip:sips%3Auser%40h@dealer.example SIP/2.0",
                "To: <sip:%75se%72@dealer.example>",
            ),
            Valid,
        ),
        (
            "3.1.1.4 escaped nulls",
            request(
                REGISTER,
                "To: <sip:null-%00-null@h>\nContact: <sip:%00@h.example>, <sip:%00%00@h.example>",
            ),
            Valid,
        ),
        (
            "3.1.1.5 percent signs that are no escapes",
            request(
                "OPTIONS sip:wang@dealer.example SIP/2.0",
                "From: \"%Z%45\" <sip:resource@h>;tag=f232jadfj23\nX%41: 1",
            ),
            Valid,
        ),
        (
            "3.1.1.6 no space before the bracket",
            request(OPTIONS, "From: caller<sip:caller@h>;tag=323"),
            Valid,
        ),
        (
            "3.1.1.7 long values",
            request(
                INVITE,
                &format!(
                    "To: \"{long}\" <sip:wang@dealer.example>\n{many_vias}Contact: <sip:{long}@h>"
                ),
            ),
            Valid,
        ),
        (
            "3.1.1.8 octets behind the message",
            request(OPTIONS, "Content-Length: 0\n\nINVITE sip:joe@dealer.example SIP/2.0\r\n\r\n"),
            Valid,
        ),
        (
            "3.1.1.9 semicolons in the user part",
            request("OPTIONS sip:user;par=u%40example.net@dealer.example SIP/2.0", ""),
            Valid,
        ),
        (
            "3.1.1.10 transports nobody knows",
            request(
                OPTIONS,
                "Via: SIP/2.0/UDP t1.h;branch=z9hG4bK1\nVia: SIP/2.0/UNKNOWN t2.h;branch=z9hG4bK2, SIP/2.0/SCTP t3.h",
            ),
            Valid,
        ),
        (
            "3.1.1.11 a body of several parts",
            request(
                "MESSAGE sip:wang@dealer.example SIP/2.0",
                "Content-Type: multipart/mixed;boundary=7a9\n\n--7a9\r\nContent-Type: text/plain\r\n\r\nHello\r\n--7a9--\r\n",
            ),
            Valid,
        ),
        (
            "3.1.1.12 an unusual reason phrase",
            response("SIP/2.0 200 = 2**3 * 5**2 но сто девяносто девять", ""),
            Valid,
        ),
        ("3.1.1.13 no reason phrase", response("SIP/2.0 100 ", ""), Valid),
    ]);
}

#[test]
fn section_3_1_1_what_was_taken_is_understood() {
    let user =
        read(&request("OPTIONS sip:user;par=u%40example.net@dealer.example SIP/2.0", "")).uri;
    assert_eq!(user.user_unescaped().unwrap(), "user;par=u@example.net");
    let escaped = read(&request("INVITE sip:sips%3Auser%40h@dealer.example SIP/2.0", "")).uri;
    assert_eq!((escaped.user(), escaped.host()), (Some("sips%3Auser%40h"), Some("dealer.example")));
    let one = Uri::parse("sip:%00@h.example").unwrap();
    assert!(!one.is_equivalent(&Uri::parse("sip:%00%00@h.example").unwrap()));
    // `RE%47IST%45R` is a method of its own and no REGISTER.
    let text = request("RE%47IST%45R sip:dealer.example SIP/2.0", "");
    assert_eq!(read(&text).method, Method::Other("RE%47IST%45R".into()));
    assert_eq!(judge(text.as_bytes()), Refused(501));
    let behind = request(OPTIONS, "Content-Length: 0\n\nINVITE sip:x SIP/2.0\r\n\r\n");
    assert!(read(&behind).body.is_empty());
}

#[test]
fn section_3_1_2_malformed_messages_are_refused_or_dropped() {
    check(&[
        (
            "3.1.2.1 separators with nothing between",
            request(INVITE, "Via: SIP/2.0/UDP 192.0.2.15;;,;,,"),
            Refused(400),
        ),
        (
            "3.1.2.2 Content-Length beyond the datagram",
            request(INVITE, "Content-Length: 9999\n\nv=0\r\n"),
            Refused(400),
        ),
        (
            "3.1.2.3 Content-Length below zero",
            request(INVITE, "Content-Length: -999\n\nv=0\r\n"),
            Refused(400),
        ),
        (
            "3.1.2.4 a CSeq of more than 32 bits",
            request(REGISTER, "CSeq: 36893488147419103232 REGISTER"),
            Refused(400),
        ),
        (
            "3.1.2.5 the same in a response",
            response("SIP/2.0 503 Service Unavailable", "CSeq: 9292394834772304023312 OPTIONS"),
            Dropped,
        ),
        (
            "3.1.2.6 a quote that never ends",
            request(INVITE, "To: \"Mr. Wang <sip:wang@dealer.example>"),
            Refused(400),
        ),
        (
            "3.1.2.7 a Request-URI in brackets",
            request("INVITE <sip:wang@dealer.example> SIP/2.0", ""),
            Refused(400),
        ),
        (
            "3.1.2.8 white space in the Request-URI",
            request("INVITE sip:wang@dealer.example; lr SIP/2.0", ""),
            Refused(400),
        ),
        // The next three may be refused or put up with; phones are put up with.
        (
            "3.1.2.9 several spaces in the start line",
            request("INVITE  sip:wang@dealer.example  SIP/2.0", ""),
            Valid,
        ),
        (
            "3.1.2.10 a space behind the start line",
            request("OPTIONS sip:wang@dealer.example SIP/2.0  ", ""),
            Valid,
        ),
        (
            "3.1.2.11 header fields in the Request-URI",
            request("INVITE sip:wang@dealer.example?Route=%3Csip:h%3E SIP/2.0", ""),
            Valid,
        ),
        (
            "3.1.2.12 a Date of another time zone",
            request(INVITE, "Date: Fri, 01 Jan 2010 16:00:00 EST"),
            Valid,
        ),
        (
            "3.1.2.13 a Contact that needs brackets",
            request(REGISTER, "Contact: sip:user@example.com?Route=%3Csip:sip.example.com%3E"),
            Refused(400),
        ),
        (
            "3.1.2.14 spaces around a bracketed address",
            request(OPTIONS, "To: \"Wang\" < sip:wang@dealer.example >"),
            Valid,
        ),
        (
            "3.1.2.14 spaces within an address",
            request(OPTIONS, "To: <sip:wang @dealer.example>"),
            Refused(400),
        ),
        (
            "3.1.2.15 a comma in a display name without quotes",
            request(OPTIONS, "From: Li, Ming <sip:li@dealer.example>;tag=43"),
            Valid,
        ),
        (
            "3.1.2.16 another version",
            request("OPTIONS sip:wang@dealer.example SIP/7.0", ""),
            Refused(505),
        ),
        ("3.1.2.17 CSeq of another method", request(OPTIONS, "CSeq: 8 INVITE"), Refused(400)),
        (
            "3.1.2.18 the same for an unknown method",
            request("NEWMETHOD sip:wang@dealer.example SIP/2.0", "CSeq: 8 INVITE"),
            Refused(400),
        ),
        (
            "3.1.2.19 a status of ten digits",
            response("SIP/2.0 4294967301 better not break the receiver", ""),
            Dropped,
        ),
    ]);
}

#[test]
fn section_3_1_2_4_other_numbers_that_are_too_large_are_cut() {
    let text = request(
        REGISTER,
        "Max-Forwards: 300\nExpires: 10000000000\nContact: <sip:li@h>;expires=280297596632815",
    );
    let request = read(&text);
    assert_eq!(request.headers.max_forwards(), Some(255));
    assert_eq!(request.headers.expires(), Some(u32::MAX));
    assert_eq!(judge(text.as_bytes()), Valid);
}

#[test]
fn section_3_2_1_a_branch_of_nothing_but_the_cookie_names_no_transaction() {
    let mut endpoint = Endpoint::new(Config::default(), [1; 32]);
    let flow = Flow::udp("192.0.2.1:5060".parse().unwrap(), "192.0.2.33:5060".parse().unwrap());
    let via = "Via: SIP/2.0/UDP 192.0.2.33;branch=z9hG4bK";
    for call_id in ["a", "b"] {
        let text = request(OPTIONS, &format!("{via}\nCall-ID: {call_id}"));
        endpoint.handle_message(Instant::now(), flow, read(&text).into());
        assert!(matches!(endpoint.poll_event(), Some(Event::Request { .. })), "{call_id}");
        endpoint.handle_message(Instant::now(), flow, read(&text).into());
        assert_eq!(endpoint.poll_event(), None, "{call_id}");
    }
}

#[test]
fn section_3_3_what_is_asked_is_judged() {
    check(&[
        // There is nothing to answer to, and nothing that could break.
        (
            "3.3.1 no Call-ID, From or To",
            String::from(
                "INVITE sip:wang@dealer.example SIP/2.0\r\nCSeq: 193942 INVITE\r\nVia: SIP/2.0/UDP 192.0.2.95;branch=z9hG4bK\r\nContent-Length: 0\r\n\r\n",
            ),
            Dropped,
        ),
        (
            "3.3.2 a scheme nobody knows",
            request("OPTIONS nobodyKnowsThisScheme:totallyopaquecontent SIP/2.0", ""),
            Refused(416),
        ),
        (
            "3.3.3 a scheme of something else",
            request("OPTIONS soap.beep://192.0.2.103:3002 SIP/2.0", ""),
            Refused(416),
        ),
        (
            "3.3.4 other schemes in From and To",
            request(OPTIONS, "To: isbn:2983792873\nFrom: <http://www.example.com>;tag=3234233"),
            Valid,
        ),
        (
            "3.3.5 demands nobody can meet",
            request(OPTIONS, "Require: nothingSupportsThis, nothingSupportsThisEither"),
            Refused(420),
        ),
        (
            "3.3.6 a body of an unknown type",
            request(INVITE, "Content-Type: application/unknownformat\n\n<audio/>"),
            Refused(415),
        ),
        (
            "3.3.7 an Authorization of another scheme",
            request(REGISTER, "Authorization: NoOneKnowsThisScheme opaque-data=here"),
            Valid,
        ),
        (
            "3.3.8 two of what there may be one",
            request(INVITE, "Call-ID: 1\nCall-ID: 2"),
            Refused(400),
        ),
        (
            "3.3.9 two Content-Lengths",
            request(OPTIONS, "Content-Length: 13\nContent-Length: 5\n\nThere's no way"),
            Refused(400),
        ),
        (
            "3.3.14 header fields in a Contact's URI",
            request(REGISTER, "Contact: <sip:user@h?Route=%3Csip:p%3E>"),
            Valid,
        ),
        (
            "3.3.15 an Accept without session descriptions",
            request(INVITE, "Accept: text/nobodyKnowsThis"),
            Refused(406),
        ),
    ]);
    assert_eq!(Credentials::parse("NoOneKnowsThisScheme opaque-data=here"), None);
}

#[test]
fn section_3_3_refusals_tell_what_would_do() {
    for (text, name, value) in [
        (request(OPTIONS, "Require: x, 100rel\nRequire: y"), "Unsupported", "x, y"),
        (
            request(INVITE, "Content-Type: a/b\n\nx"),
            "Accept",
            "application/sdp, multipart/mixed, text/plain",
        ),
        (
            request(INVITE, "Content-Type: text/plain\nContent-Encoding: gzip\n\nx"),
            "Accept-Encoding",
            "identity",
        ),
        (
            request("SUBSCRIBE sip:h SIP/2.0", ""),
            "Allow",
            "INVITE, ACK, BYE, CANCEL, REGISTER, OPTIONS, MESSAGE",
        ),
    ] {
        let request = read(&text);
        let refusal = ABILITIES.screen(&request).unwrap_err();
        let response = refusal.response(&request, Some("t"));
        assert_eq!(response.headers.get(name).unwrap(), value, "{text}");
        assert_eq!(response.headers.to().unwrap().tag(), Some("t"));
    }
    // What is marked as optional is left alone, and so are demands in an ACK.
    for text in [
        request(INVITE, "Content-Type: a/b\nContent-Disposition: icon; handling = OPTIONAL\n\nx"),
        request("ACK sip:wang@dealer.example SIP/2.0", "Require: x"),
    ] {
        assert_eq!(judge(text.as_bytes()), Valid, "{text}");
    }
}

#[test]
fn section_3_3_10_a_response_with_somebody_else_s_via_goes_nowhere() {
    let mut endpoint = Endpoint::new(Config::default(), [1; 32]);
    let flow = Flow::udp("192.0.2.1:5060".parse().unwrap(), "192.0.2.33:5060".parse().unwrap());
    let text = response(
        "SIP/2.0 200 OK",
        "Via: SIP/2.0/UDP 192.0.2.198;branch=z9hG4bK1\nVia: SIP/2.0/UDP 255.255.255.255;branch=z9hG4bK2",
    );
    let message = Message::parse(text.as_bytes()).unwrap();
    endpoint.handle_message(Instant::now(), flow, message);
    assert!(matches!(endpoint.poll_event(), Some(Event::Stray { .. })));
    assert_eq!(endpoint.poll(), None);
}

#[test]
fn section_3_3_11_no_hops_left_matters_to_who_passes_on_only() {
    let text = request(OPTIONS, "Max-Forwards: 0");
    assert_eq!(judge(text.as_bytes()), Valid);
    assert!(read(&text).next_max_forwards().is_err());
}

#[test]
fn section_3_3_12_and_13_brackets_say_whose_a_parameter_is() {
    for (contact, in_uri, in_header) in [
        ("sip:+19725552222@gw1.example.net;unknownparam", false, true),
        ("<sip:+19725552222@gw1.example.net;unknownparam>", true, false),
    ] {
        let request = read(&request(REGISTER, &format!("Contact: {contact}")));
        let Contacts::List(list) = request.headers.contacts() else { panic!() };
        let NameAddr { uri, params, .. } = &list[0];
        assert_eq!(uri.params().unwrap().has("unknownparam"), in_uri);
        assert_eq!(params.has("unknownparam"), in_header);
    }
}

#[test]
fn section_3_4_1_a_call_of_rfc_2543_is_taken() {
    let text = "INVITE sip:UserB@example.com SIP/2.0\r\nVia: SIP/2.0/UDP iftgw.example.com\r\n\
        From: <sip:+13035551111@ift.client.example.net;user=phone>\r\nTo: sip:+16505552222@h;user=phone\r\n\
        Call-ID: 1\r\nCSeq: 56 INVITE\r\nRecord-Route: <sip:UserB@example.com;maddr=ss1.example.com>\r\n\r\n";
    assert_eq!(judge(text.as_bytes()), Valid);
    let mut endpoint = Endpoint::new(Config::default(), [1; 32]);
    let flow = Flow::udp("192.0.2.1:5060".parse().unwrap(), "192.0.2.33:5060".parse().unwrap());
    endpoint.handle_message(Instant::now(), flow, read(text).into());
    let Some(Event::Request { id, request, .. }) = endpoint.poll_event() else { panic!() };
    let busy = Response::to(&request, 486, "", Some("t"));
    assert!(endpoint.respond(Instant::now(), id, &busy));
    endpoint.poll().unwrap();
    // Its ACK has no branch either and is found by the rest.
    let mut ack = request.clone();
    ack.method = Method::Ack;
    ack.headers.set(Name::To, "<sip:+16505552222@h>;tag=t");
    ack.headers.set(Name::CSeq, "56 ACK");
    ack.headers.set(Name::Via, "SIP/2.0/UDP iftgw.example.com");
    endpoint.handle_message(Instant::now(), flow, ack.into());
    assert_eq!(endpoint.poll_event(), None);
}
