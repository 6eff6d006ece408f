//! Calls of others, seen from outside: twice, out of order, with pieces missing.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // Some instant is needed to count from.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use cheling_call::observer::{Observer, Seen, Watch};
use cheling_model::call::Party;
use cheling_model::directory::CallerHeader;
use cheling_model::{DealershipId, Direction, EndCause, Lane, Now, TapKind, Timestamp};

const CALLER: &str = "10.0.0.1:5060";
const PROXY: &str = "10.0.0.9:5060";
const CALLEE: &str = "10.0.0.2:5060";

struct Scene {
    observer: Observer,
    now: Now,
    taps: Vec<TapKind>,
    expected: Vec<(Lane, SocketAddr)>,
    closed: usize,
}

fn scene(ours: &[&str]) -> Scene {
    let watch = Watch {
        dealership_id: DealershipId::mint(Timestamp::from_micros(1), [1; 10]),
        extensions: ours.iter().map(|number| (*number).to_owned()).collect(),
        addresses: Default::default(),
        caller_from: vec![CallerHeader::From],
        seed: 1,
    };
    Scene {
        observer: Observer::new(watch),
        now: Now { monotonic: Instant::now(), wall: Timestamp::from_micros(1_700_000_000_000_000) },
        taps: Vec::new(),
        expected: Vec::new(),
        closed: 0,
    }
}

fn sdp(host: &str, port: u16, extra: &str) -> String {
    format!(
        "v=0\r\no=- 1 1 IN IP4 {host}\r\ns=-\r\nc=IN IP4 {host}\r\nt=0 0\r\n\
         m=audio {port} RTP/AVP 8\r\n{extra}"
    )
}

impl Scene {
    fn one(&mut self, from: &str, to: &str, start: &str, cseq: &str, tags: [&str; 2], body: &str) {
        let content_type = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        let tag = |tag: &str| if tag.is_empty() { String::new() } else { format!(";tag={tag}") };
        let message = format!(
            "{start}\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK{cseq}\r\nFrom: <sip:8001@h>{}\r\n\
             To: <sip:13812345678@h>{}\r\nCall-ID: c\r\nCSeq: {cseq}\r\n{content_type}\r\n{body}",
            tag(tags[0]),
            tag(tags[1]),
        );
        self.now.monotonic += Duration::from_millis(100);
        self.observer.handle(
            self.now,
            from.parse().unwrap(),
            to.parse().unwrap(),
            message.as_bytes(),
        );
        while let Some(seen) = self.observer.poll() {
            match seen {
                Seen::Tap(event) => self.taps.push(event.kind),
                Seen::Expect { lane, receiver, .. } => self.expected.push((lane, receiver)),
                Seen::Close { .. } => self.closed += 1,
            }
        }
    }

    /// Along the way from caller to callee, before and after the proxy.
    fn forth(&mut self, start: &str, cseq: &str, tags: [&str; 2], body: &str) {
        self.one(CALLER, PROXY, start, cseq, tags, body);
        self.one(PROXY, CALLEE, start, cseq, tags, body);
    }

    fn back(&mut self, start: &str, cseq: &str, tags: [&str; 2], body: &str) {
        self.one(CALLEE, PROXY, start, cseq, tags, body);
        self.one(PROXY, CALLER, start, cseq, tags, body);
    }

    fn words(&self) -> Vec<&'static str> {
        self.taps
            .iter()
            .map(|kind| match kind {
                TapKind::Offered(_) => "offered",
                TapKind::CallerChanged { .. } => "caller",
                TapKind::Ringing { .. } => "ringing",
                TapKind::FarEndRinging => "far end rings",
                TapKind::Withdrawn { .. } => "withdrawn",
                TapKind::Answered { .. } => "answered",
                TapKind::Formats { .. } => "formats",
                TapKind::Held { .. } => "held",
                TapKind::Resumed { .. } => "resumed",
                TapKind::RelayClosed { .. } => "closed",
                TapKind::Ended { .. } => "ended",
            })
            .collect()
    }
}

const INVITE: &str = "INVITE sip:13812345678@h SIP/2.0";

#[test]
fn a_call_seen_twice_is_one_call_with_its_hold() {
    let mut scene = scene(&["8001"]);
    let (ours, theirs) = (sdp("10.0.0.1", 4000, ""), sdp("10.0.0.2", 5000, ""));
    scene.forth(INVITE, "1 INVITE", ["a", ""], &ours);
    scene.back("SIP/2.0 407 Proxy", "1 INVITE", ["a", "p"], "");
    scene.forth(INVITE, "2 INVITE", ["a", ""], &ours);
    scene.back("SIP/2.0 180 Ringing", "2 INVITE", ["a", "b"], "");
    scene.back("SIP/2.0 200 OK", "2 INVITE", ["a", "b"], &theirs);
    scene.forth("ACK sip:b SIP/2.0", "2 ACK", ["a", "b"], "");
    scene.forth(INVITE, "3 INVITE", ["a", "b"], &sdp("10.0.0.1", 4000, "a=sendonly\r\n"));
    scene.back("SIP/2.0 200 OK", "3 INVITE", ["a", "b"], &sdp("10.0.0.2", 5000, "a=recvonly\r\n"));
    scene.forth(INVITE, "4 INVITE", ["a", "b"], &ours);
    scene.back("SIP/2.0 200 OK", "4 INVITE", ["a", "b"], &theirs);
    scene.forth("BYE sip:b SIP/2.0", "5 BYE", ["a", "b"], "");
    scene.back("SIP/2.0 200 OK", "5 BYE", ["a", "b"], "");
    assert_eq!(
        scene.words(),
        ["offered", "far end rings", "formats", "formats", "answered", "held", "resumed", "ended"]
    );
    let TapKind::Offered(offer) = &scene.taps[0] else { panic!() };
    assert_eq!(offer.direction, Direction::Outbound);
    assert_eq!(offer.extension.as_deref(), Some("8001"));
    assert!(matches!(
        scene.taps[7],
        TapKind::Ended { cause: EndCause::HungUp, by: Some(Lane::Agent), .. }
    ));
    assert_eq!(scene.closed, 1);
    // What goes to our phone is spoken by the customer.
    assert!(scene.expected.contains(&(Lane::Customer, "10.0.0.1:4000".parse().unwrap())));
    assert!(scene.expected.contains(&(Lane::Agent, "10.0.0.2:5000".parse().unwrap())));
    assert_eq!(scene.expected.len(), 2);
}

#[test]
fn answers_before_their_invite_wait_for_it() {
    let mut scene = scene(&[]);
    scene.back("SIP/2.0 180 Ringing", "1 INVITE", ["a", "b"], "");
    scene.back("SIP/2.0 200 OK", "1 INVITE", ["a", "b"], &sdp("10.0.0.2", 5000, ""));
    assert!(scene.taps.is_empty());
    scene.forth(INVITE, "1 INVITE", ["a", ""], &sdp("10.0.0.1", 4000, ""));
    assert_eq!(scene.words(), ["offered", "ringing", "formats", "formats", "answered"]);
    let TapKind::Offered(offer) = &scene.taps[0] else { panic!() };
    assert_eq!(offer.direction, Direction::Inbound);
    assert_eq!(offer.caller, Party { number: "8001".into(), ..Party::default() });
    scene.observer.finish(scene.now);
    assert_eq!(scene.observer.live_calls(), 0);
}

#[test]
fn a_cancelled_call_and_a_refused_one_end_as_such() {
    for (cancels, status, cause) in [
        (true, 487, EndCause::Cancelled),
        (false, 486, EndCause::Busy),
        (false, 603, EndCause::Declined),
    ] {
        let mut scene = scene(&[]);
        scene.forth(INVITE, "1 INVITE", ["a", ""], &sdp("10.0.0.1", 4000, ""));
        scene.back("SIP/2.0 180 Ringing", "1 INVITE", ["a", "b"], "");
        if cancels {
            scene.forth("CANCEL sip:b SIP/2.0", "1 CANCEL", ["a", ""], "");
        }
        scene.back(&format!("SIP/2.0 {status} No"), "1 INVITE", ["a", "b"], "");
        assert_eq!(scene.words(), ["offered", "ringing", "withdrawn", "ended"]);
        assert!(matches!(scene.taps[3], TapKind::Ended { cause: c, .. } if c == cause));
    }
}

#[test]
fn an_offer_that_comes_late_is_answered_in_the_ack() {
    let mut scene = scene(&[]);
    scene.forth(INVITE, "1 INVITE", ["a", ""], "");
    scene.back("SIP/2.0 200 OK", "1 INVITE", ["a", "b"], &sdp("10.0.0.2", 5000, ""));
    scene.forth("ACK sip:b SIP/2.0", "1 ACK", ["a", "b"], &sdp("10.0.0.1", 4000, ""));
    scene.back("BYE sip:a SIP/2.0", "9 BYE", ["b", "a"], "");
    assert_eq!(scene.words(), ["offered", "answered", "formats", "formats", "ended"]);
    assert!(matches!(scene.taps[4], TapKind::Ended { by: Some(Lane::Agent), .. }));
    assert_eq!(scene.expected.len(), 2);
}

#[test]
fn a_call_without_news_is_over_some_day_and_forgotten() {
    let mut scene = scene(&[]);
    scene.forth(INVITE, "1 INVITE", ["a", ""], "");
    scene.now.monotonic += Duration::from_secs(301);
    scene.one(CALLER, PROXY, "OPTIONS sip:x SIP/2.0", "1 OPTIONS", ["z", ""], "");
    assert_eq!(scene.words(), ["offered", "ended"]);
    assert_eq!(scene.observer.live_calls(), 0);
}
