//! What must hold for any octets whatever: nothing panics, what is written reads back the same, and
//! nothing grows beyond its input.
//!
//! One function per fuzz target. The mutation test of the crate includes this file and runs the
//! same functions over the same seeds, so that they hold where no fuzzer is installed.

use std::time::{Duration, Instant};

use cheling_sip::digest::{Challenge, Credentials, NonceLedger, Nonces, Proved};
use cheling_sip::endpoint::Config;
use cheling_sip::framing::{Frame, Framer};
use cheling_sip::reader::MAX_MESSAGE_BYTES;
use cheling_sip::refer::{Progress, ReferTo, Replaces};
use cheling_sip::reliable::{RAck, Receipt, Uac, Wish};
use cheling_sip::screening::Abilities;
use cheling_sip::sdp::dtls::{PROTOCOL, Setup};
use cheling_sip::sdp::{Direction, Dtls, LocalMedia, Origin, Sdp};
use cheling_sip::session_timer::{self, Judgement, Policy, SessionExpires, Terms};
use cheling_sip::subscription::message_summary::MessageSummary;
use cheling_sip::subscription::{EventType, Granting, SubscriptionState};
use cheling_sip::{
    CSeq, Dialog, DialogId, Endpoint, Flow, Message, Method, NameAddr, Params, Request, Response,
    Uri, Via,
};

/// Panics if what must hold does not.
pub type Check = fn(&[u8]);

/// The targets by name.
pub const TARGETS: [(&str, Check); 7] = [
    ("message", message),
    ("sdp", sdp),
    ("multipart", multipart),
    ("uri", uri),
    ("digest", digest),
    ("framing", framing),
    ("fields", fields),
];

/// One message, read, used in every way a server would, and written.
pub fn message(octets: &[u8]) {
    let read = match Message::parse(octets) {
        Ok(read) => read,
        Err(err) => {
            if let Some(response) = err.response() {
                assert!(response.to_bytes().starts_with(b"SIP/2.0 "));
            }
            return;
        }
    };
    let written = read.to_bytes();
    if written.len() <= MAX_MESSAGE_BYTES {
        let again = Message::parse(&written).expect("what we write can be read");
        assert_eq!(again.to_bytes(), written, "written the same again");
        assert_eq!(again.body(), read.body());
    }
    assert!(written.len() <= octets.len() * 2 + 1024, "no longer than what came");
    use_headers(&read);
    use_body(&read);
    match &read {
        Message::Request(request) => use_request(request),
        Message::Response(response) => use_response(response),
    }
    use_endpoint(read);
}

fn use_headers(message: &Message) {
    let headers = message.headers();
    let _ = (headers.via(), headers.contacts(), headers.route(), headers.record_route());
    let _ = (headers.p_asserted_identity(), headers.remote_party_id(), headers.diversion());
    let _ = (headers.max_forwards(), headers.expires(), headers.content_length());
    let _ = (headers.content_type(), headers.allow(), headers.supported(), headers.require());
    let _ = (headers.rseq(), headers.rack(), headers.session_expires(), headers.min_se_s());
    let _ = (headers.event(), headers.subscription_state(), headers.referred_by());
    let _ = headers.refer_to().map(|refer_to| refer_to.to_string());
}

fn use_body(message: &Message) {
    let parts = message.parts();
    assert!(parts.iter().map(|part| part.body.len()).sum::<usize>() <= message.body().len());
    if let Some(Ok(mut sdp)) = message.sdp() {
        use_sdp(&mut sdp);
    }
}

fn use_request(request: &Request) {
    let ok = Response::to(request, 200, "", Some("t"));
    Message::parse(&ok.to_bytes()).expect("an answer can be read");
    let _ = (DialogId::of_request(request), Wish::of(request), request.replaces());
    let _ = (request.next_max_forwards(), Progress::of_notify(request));
    let _ = Granting::default().grant(request);
    let abilities = Abilities { methods: &[Method::Invite], extensions: &[], content_types: &[] };
    if let Err(refusal) = abilities.screen(request) {
        Message::parse(&refusal.response(request, None).to_bytes()).expect("a refusal can be read");
    }
    if let Judgement::Agreed(terms) = session_timer::judge(&Policy::default(), request) {
        assert!(terms.interval_s >= session_timer::LEAST_MIN_SE_S);
    }
    if let Some(mut dialog) = Dialog::uas(request, "t") {
        let _ = dialog.receive(request);
        let bye = dialog.request(Method::Bye);
        Message::parse(&with_via(bye).to_bytes()).expect("a request of a dialog can be read");
        let _ = Dialog::uac(request, &ok);
    }
}

fn use_response(response: &Response) {
    let _ = (DialogId::of_response(response), Terms::of_response(response));
    if let Receipt::Acknowledge(rack) = Uac::default().receive(response) {
        assert_eq!(RAck::parse(&rack.to_string()), Some(rack));
    }
    let request = Request::new(Method::Invite, Uri::sip(None, "h", None));
    let _ = Dialog::uac(&request, response);
}

fn with_via(mut request: Request) -> Request {
    request.headers.insert_front("Via", "SIP/2.0/UDP h;branch=z9hG4bKx");
    request
}

fn use_endpoint(message: Message) {
    let now = Instant::now();
    let mut endpoint = Endpoint::new(Config::default(), [0; 32]);
    let (local, remote) = ([192, 0, 2, 10], [192, 0, 2, 1]);
    let flow = Flow::udp((local, 5060).into(), (remote, 5060).into());
    if let Message::Request(request) = &message {
        let _ = endpoint.looping(request);
    }
    endpoint.handle_message(now, flow, message.clone());
    endpoint.handle_message(now, flow, message);
    endpoint.handle_timeout(now + Duration::from_secs(100));
    while endpoint.poll_event().is_some() || endpoint.poll().is_some() {}
    let (servers, clients) = endpoint.transactions();
    assert!(servers <= 1 && clients == 0);
}

/// A session description, rewritten and answered.
pub fn sdp(octets: &[u8]) {
    if let Ok(mut sdp) = Sdp::parse(octets) {
        use_sdp(&mut sdp);
    }
}

/// What is read of a browser's lines can be written, and reads the same then.
fn use_dtls(theirs: &Sdp) {
    let fingerprint = theirs.audio().and_then(|_| theirs.fingerprints().first().cloned());
    let Some(fingerprint) = fingerprint else { return };
    let setup = theirs.setup().unwrap_or(Setup::ActPass);
    let (ice, mid) = (theirs.ice(), theirs.mid());
    let line = Dtls { fingerprint, setup, ice, mid, has_rtcp_mux: true };
    let mut ours = theirs.clone();
    ours.set_dtls(PROTOCOL, &line);
    let read = Sdp::parse(&ours.to_bytes()).expect("what we write can be read");
    assert_eq!(read.fingerprints(), [line.fingerprint]);
    assert_eq!((read.setup(), read.mid()), (Some(line.setup), line.mid));
    assert!(read.audio().is_some_and(|audio| audio.is_dtls() && audio.has_rtcp_mux));
}

fn use_sdp(sdp: &mut Sdp) {
    let written = sdp.to_bytes();
    let again = Sdp::parse(&written).expect("what we write can be read");
    assert_eq!(again.to_bytes(), written, "written the same again");
    let lines = sdp.media().len();
    assert_eq!(again.media().len(), lines);
    use_dtls(&again);
    let address = [192, 0, 2, 10].into();
    let local = LocalMedia { address, rtp_port: 65535, rtcp_port: 0 };
    let origin = Origin::new(1, address);
    let answer = sdp.answer(&origin, &[Some(local)], Direction::SendRecv, |_| true);
    let answer = Sdp::parse(&answer.to_bytes()).expect("an answer can be read");
    assert_eq!(answer.media().len(), lines, "an answer has the lines of its offer");
    sdp.rewrite_audio(&origin, local);
    let rewritten = Sdp::parse(&sdp.to_bytes()).expect("what we rewrite can be read");
    assert_eq!(rewritten.media().len(), lines);
    for line in rewritten.media() {
        assert!(line.rtp.is_none_or(|rtp| rtp.ip() == address), "all media come to us");
    }
}

/// A body of several parts: the first line is the boundary.
pub fn multipart(octets: &[u8]) {
    let end = octets.iter().position(|byte| *byte == b'\n').unwrap_or(octets.len());
    let (boundary, body) = (&octets[..end], octets.get(end + 1..).unwrap_or_default());
    let boundary = String::from_utf8_lossy(boundary.trim_ascii()).replace('"', "");
    let mut request = Request::new(Method::Info, Uri::sip(None, "h", None));
    let content_type = format!("multipart/mixed;boundary=\"{boundary}\"");
    request.set_body(&content_type, body.to_vec());
    let message = Message::from(request);
    use_body(&message);
    for part in message.parts() {
        let _ = part.content_type();
    }
}

/// URIs, addresses, Vias and parameters.
pub fn uri(octets: &[u8]) {
    let text = cheling_sip::text::decode(octets);
    if let Ok(uri) = Uri::parse(&text) {
        let written = uri.to_string();
        let again = Uri::parse(&written).expect("what we write can be read");
        assert_eq!(again.to_string(), written);
        assert!(uri.is_equivalent(&uri) && uri.is_equivalent(&again));
        let _ = (uri.user_unescaped(), uri.as_sip().and_then(|sip| sip.ip()));
    }
    if let Ok(address) = NameAddr::parse(&text) {
        let written = address.to_string();
        let again = NameAddr::parse(&written).expect("what we write can be read");
        assert_eq!(again.to_string(), written);
        let tagged = again.with_tag("t").to_string();
        assert_eq!(NameAddr::parse(&tagged).expect("a tag can be read").tag(), Some("t"));
    }
    if let Some(via) = Via::parse(&text) {
        let written = via.to_string();
        let mut again = Via::parse(&written).expect("what we write can be read");
        assert_eq!(again.to_string(), written);
        again.stamp(([192, 0, 2, 1], 5060).into());
        let stamped = Via::parse(&again.to_string()).expect("a stamped Via can be read");
        assert!(stamped.rport().is_none_or(|port| port == 5060));
    }
    let params = Params::parse(&text).to_string();
    assert_eq!(Params::parse(&params).to_string(), params);
}

/// Challenges, credentials and nonces.
pub fn digest(octets: &[u8]) {
    let text = cheling_sip::text::decode(octets);
    if let Some(challenge) = Challenge::parse(&text) {
        let written = challenge.to_string();
        let again = Challenge::parse(&written).expect("what we write can be read");
        assert_eq!(again.to_string(), written);
        let proved = Proved { method: "INVITE", uri: "sip:h", body: b"v=0" };
        let answer = again.answer_request("u", "00", proved, "c", 1);
        let read = Credentials::parse(&answer.to_string()).expect("an answer can be read");
        assert!(read.verify_with_body("INVITE", b"v=0", "00"));
    }
    if let Some(credentials) = Credentials::parse(&text) {
        let _ = (credentials.verify("INVITE", "00"), credentials.names("u"));
        let _ = credentials.verify_with_body("INVITE", octets, "00");
        let mut ledger = NonceLedger::new(2, Duration::from_secs(60));
        for now_s in 0..4 {
            let _ = ledger.note(now_s, &credentials);
        }
        assert!(ledger.len() <= 1);
        let written = credentials.to_string();
        let again = Credentials::parse(&written).expect("what we write can be read");
        assert_eq!(again.to_string(), written);
    }
    let _ = Nonces::new([0; 32], Duration::ZERO).check(0, &text);
}

/// A stream: the first octet says in pieces of how many octets it arrives.
pub fn framing(octets: &[u8]) {
    let Some((size, stream)) = octets.split_first() else { return };
    let whole = frames(stream, stream.len().max(1));
    let pieces = frames(stream, usize::from(*size).max(1));
    assert_eq!(whole, pieces, "however it arrives");
    let total: usize = whole.iter().map(Vec::len).sum();
    assert!(total <= stream.len());
}

/// The messages in a stream that arrives in pieces of `size`.
fn frames(stream: &[u8], size: usize) -> Vec<Vec<u8>> {
    let mut framer = Framer::default();
    let mut messages = Vec::new();
    for piece in stream.chunks(size) {
        framer.push(piece);
        loop {
            match framer.next_frame() {
                Ok(Some(Frame::Message(bytes))) => messages.push(bytes.to_vec()),
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(_) => return messages,
            }
        }
        assert!(framer.waiting_bytes() <= MAX_MESSAGE_BYTES + size);
    }
    messages
}

/// The values of headers with a grammar of their own, and small bodies.
pub fn fields(octets: &[u8]) {
    let text = cheling_sip::text::decode(octets);
    macro_rules! stable {
        ($($read:expr),* $(,)?) => {$(
            if let Some(value) = $read(&text) {
                let written = value.to_string();
                let again = $read(&written).expect("what we write can be read");
                assert_eq!(again.to_string(), written);
            }
        )*};
    }
    stable![
        CSeq::parse,
        RAck::parse,
        SessionExpires::parse,
        EventType::parse,
        SubscriptionState::parse,
        Replaces::parse,
        |text: &str| ReferTo::parse(text).ok(),
        |text: &str| MessageSummary::parse(text.as_bytes()),
    ];
    let mut notify = Request::new(Method::Notify, Uri::sip(None, "h", None));
    notify.headers.push("Event", "refer");
    notify.body = octets.to_vec().into();
    if let Some(progress) = Progress::of_notify(&notify) {
        notify.body = progress.to_sipfrag().into();
        let again = Progress::of_notify(&notify).expect("what we write can be read");
        assert_eq!(again.status, progress.status);
    }
}
