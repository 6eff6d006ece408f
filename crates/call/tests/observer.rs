//! Calls of others, seen from outside: twice, out of order, with pieces missing.
#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::sync::Arc;

use cheling_call::observer::{Observer, Perspective, Seen};
use cheling_model::directory::{Directory, Extension, Trunk};
use cheling_model::{CallId, DealershipId, Direction, TapEvent, TapKind, Timestamp, UserId};

const CUSTOMER: &str = "192.0.2.1:5060";
const PROXY: &str = "192.0.2.9:5060";
const AGENT: &str = "192.0.2.2:5060";

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn dealership(number: u8) -> DealershipId {
    DealershipId::mint(Timestamp::from_micros(1), [number; 10])
}

fn perspective() -> Perspective {
    let extension = |number: &str| Extension {
        number: number.into(),
        dealership_id: dealership(2),
        user_id: Some(UserId::mint(Timestamp::from_micros(1), [3; 10])),
        display_name: String::new(),
        ha1_md5: String::new(),
        ha1_sha256: String::new(),
        reach: Default::default(),
    };
    let directory = Directory {
        extensions: vec![extension("8001"), extension("8002")],
        ..Directory::default()
    };
    let trunk = Trunk::at("gw", address("198.51.100.1:5060"));
    Perspective {
        dealership_id: dealership(1),
        directory: Arc::new(directory),
        trunks: vec![trunk],
    }
}

fn sdp(port: u16, extra: &str) -> String {
    format!(
        "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n\
         m=audio {port} RTP/AVP 8\r\n{extra}"
    )
}

struct Script {
    observer: Observer,
    at: i64,
    caller: &'static str,
    called: &'static str,
    /// More header fields.
    extra: &'static str,
}

impl Script {
    fn new(caller: &'static str, called: &'static str) -> Self {
        Self { observer: Observer::new(perspective()), at: 1_000_000, caller, called, extra: "" }
    }

    fn at(&self) -> Timestamp {
        Timestamp::from_micros(self.at)
    }

    /// `start` is a method or a status; `tags` are those of From and To.
    fn say(&mut self, leg: (&str, &str), start: &str, cseq: &str, tags: (&str, &str), body: &str) {
        let Self { caller, called, extra, .. } = *self;
        let line = if start.starts_with(|first: char| first.is_ascii_digit()) {
            format!("SIP/2.0 {start} Reason")
        } else {
            format!("{start} sip:{called}@example.com SIP/2.0")
        };
        let kind = match body {
            "" => "",
            body if body.starts_with("--b") => "Content-Type: multipart/mixed;boundary=b\r\n",
            _ => "Content-Type: application/sdp\r\n",
        };
        let message = format!(
            "{line}\r\nVia: SIP/2.0/UDP x;branch=z9hG4bK1\r\n{extra}\
             From: <sip:{caller}@example.com>;tag={}\r\nTo: <sip:{called}@example.com>{}\r\n\
             Call-ID: one\r\nCSeq: {cseq}\r\n{kind}Content-Length: {}\r\n\r\n{body}",
            tags.0,
            if tags.1.is_empty() { String::new() } else { format!(";tag={}", tags.1) },
            body.len()
        );
        self.at += 1000;
        self.observer.handle(self.at(), address(leg.0), address(leg.1), message.as_bytes());
    }

    /// Along the way from caller to called, before and after a proxy.
    fn forth(&mut self, start: &str, cseq: &str, tags: (&str, &str), body: &str) {
        for leg in [(CUSTOMER, PROXY), (PROXY, AGENT)] {
            self.say(leg, start, cseq, tags, body);
        }
    }

    fn back(&mut self, start: &str, cseq: &str, tags: (&str, &str), body: &str) {
        for leg in [(AGENT, PROXY), (PROXY, CUSTOMER)] {
            self.say(leg, start, cseq, tags, body);
        }
    }

    fn finish(&mut self, at: i64) {
        self.observer.finish(Timestamp::from_micros(at), |_| None);
    }

    fn events(&mut self) -> Vec<TapEvent> {
        std::iter::from_fn(|| self.observer.poll())
            .filter_map(|seen| match seen {
                Seen::Tap(event) => Some(event),
                Seen::Listens { .. } | Seen::Keys { .. } => None,
            })
            .collect()
    }

    fn told(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.observer.poll())
            .map(|seen| match seen {
                Seen::Listens { lane, rtp, .. } => format!("{lane:?} at {}", rtp.port()),
                Seen::Keys { lane, key, .. } => format!("{lane:?} protects by {key:?}"),
                Seen::Tap(TapEvent { kind, .. }) => match kind {
                    TapKind::Offered(offer) => {
                        format!("{:?} {} to {}", offer.direction, offer.caller.number, offer.called)
                    }
                    TapKind::Ringing { extension, .. } => format!("ringing {extension}"),
                    TapKind::FarEndRinging => "far end ringing".into(),
                    TapKind::Routed(stop) => format!("routed {stop:?}"),
                    TapKind::Withdrawn { why, .. } => format!("withdrawn {why:?}"),
                    TapKind::Answered { extension } => format!("answered {extension}"),
                    TapKind::Formats { lane, formats, .. } => {
                        format!("{lane:?} sends {}", formats[0].encoding)
                    }
                    TapKind::Held { by } => format!("held by {by:?}"),
                    TapKind::Resumed { by } => format!("resumed by {by:?}"),
                    TapKind::Ended { cause, by, sip_status } => {
                        format!("ended {cause:?} {by:?} {sip_status:?}")
                    }
                    other => format!("{other:?}"),
                },
            })
            .collect()
    }

    /// What was told, but for where media goes.
    fn words(&mut self) -> Vec<String> {
        let mut told = self.told();
        told.retain(|word| !word.contains(" at "));
        told
    }
}

#[test]
fn a_call_through_a_proxy_is_one_call_though_every_message_is_seen_twice() {
    let mut script = Script::new("13812345678", "8001");
    let legs = [(CUSTOMER, PROXY), (PROXY, AGENT)];
    for leg in legs {
        script.say(leg, "INVITE", "1 INVITE", ("a", ""), &sdp(4000, ""));
    }
    let back = legs.map(|(from, to)| (to, from));
    for (status, body) in [("180", String::new()), ("200", sdp(5000, ""))] {
        for leg in [back[1], back[0]] {
            script.say(leg, status, "1 INVITE", ("a", "b"), &body);
        }
    }
    for leg in [back[1], back[0]] {
        script.say(leg, "BYE", "1 BYE", ("b", "a"), "");
    }
    let told = script.told();
    let mut once = told.clone();
    once.dedup();
    assert_eq!(
        once,
        [
            "Inbound 13812345678 to 8001",
            "Customer at 4000",
            "ringing 8001",
            "answered 8001",
            "Customer sends PCMA",
            "Agent sends PCMA",
            "Agent at 5000",
            "ended HungUp Some(Agent) None",
        ]
    );
}

#[test]
fn our_side_is_right_whoever_calls() {
    for (caller, called, want) in [
        ("13812345678", "8001", ["Inbound 13812345678 to 8001", "Customer at 4000"]),
        ("8001", "13812345678", ["Outbound 8001 to 13812345678", "Agent at 4000"]),
        ("8001", "8002", ["Internal 8001 to 8002", "Customer at 4000"]),
        ("1001", "1002", ["Inbound 1001 to 1002", "Customer at 4000"]),
    ] {
        let mut script = Script::new(caller, called);
        script.say((CUSTOMER, AGENT), "INVITE", "1 INVITE", ("a", ""), &sdp(4000, ""));
        assert_eq!(script.told(), want);
    }
}

#[test]
fn a_challenge_does_not_end_a_call_and_another_branch_refusing_neither() {
    let mut script = Script::new("13812345678", "8001");
    let there = (CUSTOMER, PROXY);
    let back = (PROXY, CUSTOMER);
    script.say(there, "INVITE", "1 INVITE", ("a", ""), &sdp(4000, ""));
    script.say(back, "407", "1 INVITE", ("a", "x"), "");
    script.say(there, "ACK", "1 ACK", ("a", "x"), "");
    script.say(there, "INVITE", "2 INVITE", ("a", ""), &sdp(4000, ""));
    script.say((PROXY, AGENT), "INVITE", "2 INVITE", ("a", ""), &sdp(4000, ""));
    script.say((AGENT, PROXY), "486", "2 INVITE", ("a", "y"), "");
    script.say(back, "200", "2 INVITE", ("a", "b"), &sdp(5000, ""));
    let told = script.told();
    assert!(told.contains(&"answered 8001".to_owned()), "{told:?}");
    assert!(!told.iter().any(|word| word.starts_with("ended")), "{told:?}");
}

#[test]
fn calls_end_as_they_ended() {
    for (status, want) in [
        ("486", "ended Busy None Some(486)"),
        ("603", "ended Declined None Some(603)"),
        ("404", "ended NotFound None Some(404)"),
    ] {
        let mut script = Script::new("13812345678", "8001");
        script.say((CUSTOMER, AGENT), "INVITE", "1 INVITE", ("a", ""), "");
        script.say((AGENT, CUSTOMER), status, "1 INVITE", ("a", "b"), "");
        // Repeated, and then a stray BYE.
        script.say((AGENT, CUSTOMER), status, "1 INVITE", ("a", "b"), "");
        script.say((CUSTOMER, AGENT), "BYE", "2 BYE", ("a", "b"), "");
        assert_eq!(script.told()[1..], [want]);
    }
    let mut script = Script::new("13812345678", "8001");
    script.say((CUSTOMER, AGENT), "INVITE", "1 INVITE", ("a", ""), "");
    script.say((AGENT, CUSTOMER), "180", "1 INVITE", ("a", "b"), "");
    script.say((CUSTOMER, AGENT), "CANCEL", "1 CANCEL", ("a", ""), "");
    script.say((AGENT, CUSTOMER), "200", "1 CANCEL", ("a", "b"), "");
    script.say((AGENT, CUSTOMER), "487", "1 INVITE", ("a", "b"), "");
    assert_eq!(
        script.told()[2..],
        ["withdrawn CallerHungUp", "ended Cancelled Some(Customer) Some(487)",]
    );
}

#[test]
fn hold_and_resume_name_who_pressed() {
    let mut script = Script::new("13812345678", "8001");
    script.say((CUSTOMER, AGENT), "INVITE", "1 INVITE", ("a", ""), &sdp(4000, ""));
    script.say((AGENT, CUSTOMER), "200", "1 INVITE", ("a", "b"), &sdp(5000, ""));
    script.told();
    let agent = (AGENT, CUSTOMER);
    script.say(agent, "INVITE", "7 INVITE", ("b", "a"), &sdp(5000, "a=sendonly\r\n"));
    let answer = sdp(4000, "a=recvonly\r\n");
    script.say((CUSTOMER, AGENT), "200", "7 INVITE", ("b", "a"), &answer);
    script.say(agent, "INVITE", "8 INVITE", ("b", "a"), &sdp(5000, ""));
    script.say((CUSTOMER, AGENT), "200", "8 INVITE", ("b", "a"), &sdp(4000, ""));
    let told = script.told();
    let holds: Vec<_> = told.iter().filter(|word| !word.contains(" at ")).collect();
    assert_eq!(holds, ["held by Agent", "resumed by Agent"]);
    assert!(told.contains(&"Customer at 4000".to_owned()));
}

#[test]
fn a_call_seen_twice_is_one_call_with_its_hold() {
    let mut script = Script::new("8001", "13812345678");
    let (ours, theirs) = (sdp(4000, ""), sdp(5000, ""));
    script.forth("INVITE", "1 INVITE", ("a", ""), &ours);
    script.back("407", "1 INVITE", ("a", "p"), "");
    script.forth("INVITE", "2 INVITE", ("a", ""), &ours);
    script.back("180", "2 INVITE", ("a", "b"), "");
    script.back("200", "2 INVITE", ("a", "b"), &theirs);
    script.forth("ACK", "2 ACK", ("a", "b"), "");
    script.forth("INVITE", "3 INVITE", ("a", "b"), &sdp(4000, "a=sendonly\r\n"));
    script.back("200", "3 INVITE", ("a", "b"), &sdp(5000, "a=recvonly\r\n"));
    script.forth("INVITE", "4 INVITE", ("a", "b"), &ours);
    script.back("200", "4 INVITE", ("a", "b"), &theirs);
    script.forth("BYE", "5 BYE", ("a", "b"), "");
    script.back("200", "5 BYE", ("a", "b"), "");
    assert_eq!(
        script.words(),
        [
            "Outbound 8001 to 13812345678",
            "far end ringing",
            "answered 8001",
            "Customer sends PCMA",
            "Agent sends PCMA",
            "held by Agent",
            "resumed by Agent",
            "ended HungUp Some(Agent) None",
        ]
    );
}

#[test]
fn a_hold_that_was_refused_is_none() {
    let mut script = Script::new("13812345678", "8001");
    script.forth("INVITE", "1 INVITE", ("a", ""), &sdp(4000, ""));
    script.back("200", "1 INVITE", ("a", "b"), &sdp(5000, ""));
    script.words();
    script.forth("INVITE", "2 INVITE", ("a", "b"), &sdp(4000, "a=sendonly\r\n"));
    script.back("491", "2 INVITE", ("a", "b"), "");
    assert_eq!(script.words(), [""; 0]);
    // Offered by the 2xx, answered by the ACK.
    script.forth("INVITE", "3 INVITE", ("a", "b"), "");
    script.back("200", "3 INVITE", ("a", "b"), &sdp(5000, "a=sendonly\r\n"));
    script.forth("ACK", "3 ACK", ("a", "b"), &sdp(4000, "a=recvonly\r\n"));
    assert_eq!(script.words(), ["held by Agent"]);
}

#[test]
fn answers_before_their_invite_wait_for_it() {
    let mut script = Script::new("13812345678", "8001");
    script.back("180", "1 INVITE", ("a", "b"), "");
    script.back("200", "1 INVITE", ("a", "b"), &sdp(5000, ""));
    assert_eq!(script.told(), [""; 0]);
    script.forth("INVITE", "1 INVITE", ("a", ""), &sdp(4000, ""));
    let events = script.events();
    let TapKind::Offered(offer) = &events[0].kind else { panic!("{events:?}") };
    assert_eq!(offer.direction, Direction::Inbound);
    assert_eq!((offer.caller.number.as_str(), offer.dealership_id), ("13812345678", dealership(2)));
    assert!(matches!(events[1].kind, TapKind::Ringing { .. }));
    assert!(matches!(events[2].kind, TapKind::Answered { .. }));
    assert_eq!(events.len(), 5, "and both formats: {events:?}");
    assert!(events.iter().all(|event| event.call_id == events[0].call_id));
    script.finish(2_000_000);
    assert_eq!(script.observer.live_calls(), 0);
}

#[test]
fn answers_without_an_invite_are_bounded_and_forgotten() {
    let mut script = Script::new("13812345678", "8001");
    for _ in 0..100 {
        script.back("180", "1 INVITE", ("a", "b"), "");
    }
    script.back("200", "1 INVITE", ("a", "b"), "");
    script.at += 16_000_000;
    script.say((CUSTOMER, AGENT), "OPTIONS", "1 OPTIONS", ("z", ""), "");
    script.forth("INVITE", "1 INVITE", ("a", ""), "");
    assert_eq!(script.told(), ["Inbound 13812345678 to 8001"]);
}

#[test]
fn an_offer_that_comes_late_is_answered_in_the_ack() {
    let mut script = Script::new("13812345678", "8001");
    script.forth("INVITE", "1 INVITE", ("a", ""), "");
    script.back("200", "1 INVITE", ("a", "b"), &sdp(5000, ""));
    script.forth("ACK", "1 ACK", ("a", "b"), &sdp(4000, ""));
    script.back("BYE", "9 BYE", ("b", "a"), "");
    let mut told = script.told();
    told.dedup();
    assert_eq!(
        told[1..],
        [
            "answered 8001",
            "Customer sends PCMA",
            "Agent sends PCMA",
            "Agent at 5000",
            "Customer at 4000",
            "ended HungUp Some(Agent) None",
        ]
    );
}

#[test]
fn a_call_without_news_is_over_some_day_and_forgotten() {
    let mut script = Script::new("13812345678", "8001");
    script.forth("INVITE", "1 INVITE", ("a", ""), "");
    script.at += 301_000_000;
    script.say((CUSTOMER, PROXY), "OPTIONS", "1 OPTIONS", ("z", ""), "");
    assert_eq!(script.words()[1..], ["ended NoAnswer None None"]);
    assert_eq!(script.observer.live_calls(), 0);
    let mut script = Script::new("13812345678", "8001");
    script.forth("INVITE", "1 INVITE", ("a", ""), "");
    script.back("200", "1 INVITE", ("a", "b"), "");
    script.at += 3_600_000_000;
    script.say((CUSTOMER, PROXY), "OPTIONS", "1 OPTIONS", ("z", ""), "");
    assert_eq!(script.observer.live_calls(), 1, "people talk for hours");
}

#[test]
fn what_never_ends_ends_with_the_capture() {
    let mut script = Script::new("13812345678", "8001");
    script.say((CUSTOMER, AGENT), "INVITE", "1 INVITE", ("a", ""), &sdp(4000, ""));
    script.say((AGENT, CUSTOMER), "407", "1 INVITE", ("a", "b"), "");
    script.finish(2_000_000);
    assert_eq!(script.told().last().unwrap(), "ended Failed None Some(407)");
    let mut script = Script::new("13812345678", "8001");
    script.say((CUSTOMER, AGENT), "INVITE", "1 INVITE", ("a", ""), &sdp(4000, ""));
    script.finish(2_000_000);
    assert_eq!(script.told().last().unwrap(), "ended Shutdown None None");
}

#[test]
fn a_call_without_bye_ends_with_its_last_packet() {
    for (last_media, want) in [
        (Some(5_000_000), 5_000_000),
        // Before the last message, after the capture, and none at all.
        (Some(1), 1_002_000),
        (Some(90_000_000), 60_000_000),
        (None, 1_002_000),
    ] {
        let mut script = Script::new("13812345678", "8001");
        script.say((CUSTOMER, AGENT), "INVITE", "1 INVITE", ("a", ""), &sdp(4000, ""));
        script.say((AGENT, CUSTOMER), "200", "1 INVITE", ("a", "b"), &sdp(5000, ""));
        let last_media = last_media.map(Timestamp::from_micros);
        script.observer.finish(Timestamp::from_micros(60_000_000), |_| last_media);
        let ended = script.events().pop().unwrap();
        assert!(matches!(ended.kind, TapKind::Ended { .. }));
        assert_eq!(ended.at.as_micros(), want);
    }
}

#[test]
fn the_same_capture_gives_the_same_ids() {
    let id = |caller, at| -> CallId {
        let mut script = Script::new(caller, "8001");
        script.at = at;
        script.forth("INVITE", "1 INVITE", ("a", ""), "");
        script.events()[0].call_id
    };
    assert_eq!(id("1", 7), id("1", 7));
    assert_ne!(id("1", 7), id("1", 9_000), "the same Call-ID at another time");
}

#[test]
fn a_description_is_found_among_other_parts() {
    let body = format!(
        "--b\r\nContent-Type: application/sdp\r\n\r\n{}\r\n--b\r\n\
         Content-Type: application/rs-metadata+xml\r\n\r\n<x/>\r\n--b--\r\n",
        sdp(4000, "").trim_end()
    );
    let mut script = Script::new("13812345678", "8001");
    script.say((CUSTOMER, AGENT), "INVITE", "1 INVITE", ("a", ""), &body);
    assert_eq!(script.told()[1..], ["Customer at 4000"]);
}

#[test]
fn behind_nat_media_may_go_to_where_the_description_came_from() {
    let mut script = Script::new("13812345678", "8001");
    script.forth("INVITE", "1 INVITE", ("a", ""), &sdp(4000, "a=rtcp:4005\r\n"));
    script.back("200", "1 INVITE", ("a", "b"), &sdp(5000, ""));
    let heard: Vec<_> = std::iter::from_fn(|| script.observer.poll())
        .filter_map(|seen| match seen {
            Seen::Listens { rtcp, behind_nat, .. } => Some((rtcp, behind_nat)),
            Seen::Tap(_) | Seen::Keys { .. } => None,
        })
        .collect();
    // The customer's description names its own host; the agent's names another. Copies, which a
    // proxy sends, say nothing.
    assert_eq!(heard[0], (Some(address("192.0.2.1:4005")), None));
    assert_eq!(heard[1].1, None);
    assert_eq!(heard[2].1, Some(address("192.0.2.2:5000")));
    assert_eq!(heard[3].1, None);
}

#[test]
fn a_phone_that_asserts_another_number_is_still_ours() {
    let mut script = Script::new("8001", "13812345678");
    script.extra = "P-Asserted-Identity: <sip:02112345678@example.com>\r\n";
    script.say((AGENT, PROXY), "INVITE", "1 INVITE", ("a", ""), "");
    let events = script.events();
    let TapKind::Offered(offer) = &events[0].kind else { panic!("{events:?}") };
    assert_eq!(offer.direction, Direction::Outbound);
    assert_eq!(offer.extension.as_deref(), Some("8001"));
    assert!(offer.user_id.is_some());
    // From a trunk it is a customer, whatever number is shown, by the trunk's own rule.
    let mut script = Script::new("8001", "8002");
    script.extra = "P-Asserted-Identity: <sip:02112345678@example.com>\r\n";
    script.say(("198.51.100.1:5060", PROXY), "INVITE", "1 INVITE", ("a", ""), "");
    let events = script.events();
    let TapKind::Offered(offer) = &events[0].kind else { panic!("{events:?}") };
    assert_eq!((offer.direction, offer.caller.number.as_str()), (Direction::Inbound, "8001"));
    assert_eq!((offer.trunk.as_deref(), offer.extension.as_deref()), (Some("gw"), None));
}

#[test]
fn calls_and_garbage_are_bounded() {
    let mut observer = Observer::new(perspective());
    for number in 0..20_100 {
        let text = format!(
            "INVITE sip:8001@h SIP/2.0\r\nVia: SIP/2.0/UDP x\r\nFrom: <sip:1@h>;tag=a\r\n\
             To: <sip:8001@h>\r\nCall-ID: {number}\r\nCSeq: 1 INVITE\r\n\r\n"
        );
        let at = Timestamp::from_micros(1_000 * number);
        observer.handle(at, address(CUSTOMER), address(AGENT), text.as_bytes());
        observer.handle(at, address(CUSTOMER), address(AGENT), &text.as_bytes()[..40]);
        while observer.poll().is_some() {}
    }
    assert_eq!(observer.live_calls(), 20_000);
}

#[test]
fn what_is_srtp_is_said_to_be_srtp() {
    let key = "a=crypto:1 AES_CM_128_HMAC_SHA1_80 \
               inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz\r\n";
    let secure = |port| sdp(port, key).replace("RTP/AVP", "RTP/SAVP");
    for (offer, answer, want) in [
        (secure(4000), secure(5000), "SRTP"),
        (sdp(4000, key), sdp(5000, key), "SRTP"), // a choice that was taken
        (sdp(4000, key), sdp(5000, ""), "PCMA"),  // and one that was not
    ] {
        let mut script = Script::new("13812345678", "8001");
        script.forth("INVITE", "1 INVITE", ("a", ""), &offer);
        script.back("200", "1 INVITE", ("a", "b"), &answer);
        let told = script.words();
        let formats: Vec<_> = told.iter().filter(|word| word.contains(" sends ")).collect();
        assert_eq!(formats.len(), 2, "{told:?}");
        assert!(formats.iter().all(|word| word.ends_with(want)), "{want}: {formats:?}");
    }
}

#[test]
fn keys_in_clear_are_told_with_what_they_protect() {
    let line =
        |tag: u32, suite: &str, key: &str| format!("a=crypto:{tag} {suite} inline:{key}\r\n");
    let (one, other) =
        ("WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz", "NzB4d1BINUAvLEw6UzF3WSJ+PSdFcGdUJShpX1Zj");
    let sha80 = "AES_CM_128_HMAC_SHA1_80";
    let offer = sdp(4000, &(line(1, "AES_256_CM_HMAC_SHA1_80", one) + &line(2, sha80, one)));
    let told = |answer: &str| {
        let mut script = Script::new("13812345678", "8001");
        script.forth("INVITE", "1 INVITE", ("a", ""), &offer.replace("RTP/AVP", "RTP/SAVP"));
        script.back("200", "1 INVITE", ("a", "b"), &answer.replace("RTP/AVP", "RTP/SAVP"));
        let told = script.words().into_iter().filter(|word| word.contains("protects by"));
        told.collect::<Vec<_>>()
    };
    assert_eq!(
        told(&sdp(5000, &line(2, sha80, other))),
        [
            format!("Customer protects by Some(MasterKey({sha80}))"),
            format!("Agent protects by Some(MasterKey({sha80}))"),
        ]
    );
    // A line that was not offered, one that is not known, and no key at all.
    let unknown = line(1, "AES_256_CM_HMAC_SHA1_80", other);
    for answer in [line(3, sha80, other), unknown, String::new()] {
        assert!(told(&sdp(5000, &answer)).is_empty(), "{answer}");
    }
}
