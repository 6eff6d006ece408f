//! Nothing that comes over the network makes the crate panic.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, missing_docs)]

use cheling_sip::digest::{Challenge, Credentials, Nonces};
use cheling_sip::endpoint::Config;
use cheling_sip::framing::{Frame, Framer};
use cheling_sip::sdp::{LocalMedia, Origin, Sdp};
use cheling_sip::{
    Dialog, DialogId, Endpoint, Flow, Message, Method, Name, NameAddr, Request, Response, Uri, Via,
};
use proptest::prelude::*;
use std::time::{Duration, Instant};

const INVITE: &str = "INVITE sip:b@h;x=1?y=z SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKa;rport, \
SIP/2.0/TCP [::1]\r\nFrom: \"A \\\"B\" <sip:a:p@h>;tag=1\r\nTo: <tel:+861;x=y>\r\nCall-ID: x\r\n\
CSeq: 1 INVITE\r\nContact: <sip:a@h>;q=1, sip:b@h\r\nRecord-Route: <sip:p;lr>\r\nExpires: 60\r\n\
Authorization: Digest username=\"a\", realm=\"r\", nonce=\"n\", uri=\"u\", response=\"r\", qop=auth, \
nc=0a, cnonce=\"c\"\r\nContent-Type: application/sdp\r\nContent-Length: 169\r\n\r\n\
v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 8 101\r\n\
a=rtpmap:8 PCMA/8000/1\r\na=rtcp:4001 IN IP4 192.0.2.1\r\na=ptime:20\r\na=sendonly\r\n";

/// Does with these octets all that a server would do.
fn use_all(octets: &[u8]) {
    if let Ok(mut sdp) = Sdp::parse(octets) {
        use_sdp(&mut sdp);
    }
    let text = String::from_utf8_lossy(octets);
    let _ = (
        Uri::parse(&text).map(|uri| uri.is_equivalent(&uri)),
        NameAddr::parse(&text),
        Via::parse(&text),
    );
    let _ = Credentials::parse(&text).map(|credentials| credentials.verify("INVITE", "00"));
    let _ = Challenge::parse(&text).map(|challenge| challenge.answer("u", "h", "M", "u", "c", 1));
    let _ = Nonces::new([0; 32], Duration::ZERO).check(0, &text);
    let message = match Message::parse(octets) {
        Ok(message) => message,
        Err(err) => {
            let _ = err.response().map(|response| response.to_bytes());
            return;
        }
    };
    let _ = Message::parse(&message.to_bytes());
    let _ = message.sdp().map(|sdp| sdp.map(|sdp| sdp.media()));
    let headers = message.headers();
    let _ = (headers.contacts(), headers.max_forwards(), headers.content_type(), headers.route());
    let _ = (headers.diversion(), headers.remote_party_id(), headers.allow(), headers.expires());
    if let Ok(mut sdp) = Sdp::parse(message.body()) {
        use_sdp(&mut sdp);
    }
    match &message {
        Message::Request(request) => {
            let _ = DialogId::of_request(request);
            if let Some(mut dialog) = Dialog::uas(request, "t") {
                let _ = dialog.receive(request);
                let ok = Response::to(request, 200, "", Some("t"));
                let _ =
                    (dialog.request(request.method.clone()).to_bytes(), Dialog::uac(request, &ok));
            }
        }
        Message::Response(response) => {
            let _ = DialogId::of_response(response);
        }
    }
    let now = Instant::now();
    let mut endpoint = Endpoint::new(Config::default(), [0; 32]);
    let flow = Flow::udp("192.0.2.10:5060".parse().unwrap(), "192.0.2.1:5060".parse().unwrap());
    endpoint.handle_message(now, flow, message.clone());
    endpoint.handle_message(now, flow, message);
    endpoint.handle_timeout(now + Duration::from_secs(100));
    while endpoint.poll_event().is_some() || endpoint.poll().is_some() {}
}

fn use_sdp(sdp: &mut Sdp) {
    let address = "192.0.2.10".parse().unwrap();
    let local = LocalMedia { address, rtp_port: 65535, rtcp_port: 0 };
    let origin = Origin::new(1, address);
    let _ = sdp.answer(&origin, &[Some(local)], cheling_sip::sdp::Direction::SendRecv, |_| true);
    sdp.rewrite_audio(&origin, local);
    Sdp::parse(&sdp.to_bytes()).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_octets_never_panic(octets in proptest::collection::vec(any::<u8>(), 0..400)) {
        use_all(&octets);
    }

    #[test]
    fn random_lines_never_panic(text in "(INVITE|SIP/2.0|BYE) [ -~]{0,30}\r\n([a-zA-Z-]{1,12} ?: ?[ -~]{0,40}\r\n){0,12}\r\n[ -~]{0,30}") {
        use_all(text.as_bytes());
    }

    #[test]
    fn mutations_of_a_good_message_never_panic(
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4u8), 1..12)
    ) {
        let mut octets = INVITE.as_bytes().to_vec();
        for (at, byte, kind) in edits {
            if octets.is_empty() {
                break;
            }
            let at = at.index(octets.len());
            match kind {
                0 => octets[at] = byte,
                1 => octets.insert(at, byte),
                2 => { octets.remove(at); }
                _ => octets.truncate(at.max(1)),
            }
        }
        use_all(&octets);
    }

    #[test]
    fn bodies_of_many_parts_never_panic(body in "(--b|--|\r\n|\n|a: b|:|x| ){0,40}") {
        let mut request = Request::new(Method::Info, Uri::sip(None, "h", None));
        request.set_body("multipart/mixed;boundary=b", body.clone());
        let parts = Message::from(request).parts();
        prop_assert!(parts.iter().map(|part| part.body.len()).sum::<usize>() <= body.len());
    }

    #[test]
    fn what_is_written_reads_back_the_same(
        display in "[^\\x00-\\x1f\\x7f-\\x9f]{0,20}", subject in "\\PC{0,40}", user in "\\PC{1,12}"
    ) {
        let Ok(Message::Request(mut request)) = Message::parse(INVITE.as_bytes()) else { panic!() };
        let mut from = NameAddr::new(Uri::sip(Some(&user), "h", None)).with_tag("1");
        from.display = Some(display).filter(|display| !display.is_empty());
        request.headers.set(Name::From, &from);
        request.headers.set("X-Subject", &subject);
        let Ok(read) = Message::parse(&request.to_bytes()) else { panic!() };
        prop_assert_eq!(read.headers().from(), Some(from.clone()));
        let unescaped = from.uri.user_unescaped();
        prop_assert_eq!(unescaped.as_deref(), Some(user.as_str()));
        let subject = subject.trim_matches([' ', '\t']);
        let read_subject = read.headers().get("x-subject");
        prop_assert_eq!(read_subject.as_deref(), Some(subject));
        prop_assert_eq!(read.to_bytes(), request.to_bytes());
    }

    #[test]
    fn a_stream_is_cut_the_same_however_it_arrives(
        parts in proptest::collection::vec(1..200usize, 1..40), noise in proptest::collection::vec(any::<u8>(), 0..60)
    ) {
        let mut stream = [INVITE.as_bytes(), INVITE.as_bytes()].concat();
        stream.extend(noise);
        let mut framer = Framer::default();
        let mut messages = 0;
        let mut rest = &stream[..];
        for part in parts.iter().cycle() {
            let (now, later) = rest.split_at((*part).min(rest.len()));
            framer.push(now);
            rest = later;
            loop {
                match framer.next_frame() {
                    Ok(Some(Frame::Message(bytes))) if messages < 2 => {
                        prop_assert_eq!(&bytes[..], INVITE.as_bytes());
                        messages += 1;
                    }
                    Ok(Some(_)) => {}
                    Ok(None) | Err(_) => break,
                }
            }
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(messages, 2);
    }
}
