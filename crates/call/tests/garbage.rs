//! Bytes that no phone sends: nothing panics, nothing is kept, and what can be answered is.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use cheling_call::io::Input;
use proptest::prelude::*;

mod world;

use cheling_sip::Name;
use world::{GATEWAY, SWITCH, World};

const PHONE: &str = "192.0.2.11:5060";

fn invite() -> String {
    format!(
        "INVITE sip:02161234567@{SWITCH} SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.50;branch=z9hG4bKa\r\n\
         Max-Forwards: 70\r\nFrom: <sip:13812345678@gw>;tag=1\r\nTo: <sip:02161234567@us>\r\n\
         Call-ID: x\r\nCSeq: 1 INVITE\r\nContact: <sip:gw@192.0.2.50>\r\n\
         Content-Type: application/sdp\r\n\r\nv=0\r\no=- 1 1 IN IP4 192.0.2.50\r\ns=-\r\n\
         c=IN IP4 192.0.2.50\r\nt=0 0\r\nm=audio 4000 RTP/AVP 8\r\n"
    )
}

fn answers(world: &mut World, from: &str, message: &str) -> Vec<String> {
    world.sent.clear();
    world.receive(from.parse().unwrap(), message.as_bytes());
    world.run(Duration::from_millis(1));
    world.sent.iter().map(|(_, line)| line.clone()).collect()
}

#[test]
fn each_fault_has_its_status() {
    let gateway = "192.0.2.50:5060";
    for (from, change, want) in [
        (gateway, ("SIP/2.0\r\nVia", "SIP/7.0\r\nVia"), "505"),
        (gateway, ("Max-Forwards: 70", "Max-Forwards: 0"), "483"),
        (gateway, ("Max-Forwards: 70", "Require: 100rel, sec-agree"), "420"),
        (gateway, ("CSeq: 1 INVITE", "CSeq: x INVITE"), "400"),
        (gateway, ("sip:02161234567@192", "mailto:x@192"), "416"),
        (gateway, ("application/sdp", "text/plain"), "415"),
        (gateway, ("v=0", "hello"), "400"),
        (gateway, ("m=audio", "m=video"), "488"),
        (gateway, ("<sip:02161234567@us>", "<sip:02161234567@us>;tag=9"), "481"),
        (PHONE, ("sip:13812345678@gw", "sip:8001@us"), "407"),
        (PHONE, ("sip:13812345678@gw", "sip:7777@us"), "407"),
        (gateway, ("x\r\nCSeq: 1 INVITE", "x\r\nCSeq: 1 OPTIONS"), "400"),
    ] {
        let mut world = World::dealership(1);
        let answers = answers(&mut world, from, &invite().replace(change.0, change.1));
        assert!(answers[0].starts_with(&format!("SIP/2.0 {want}")), "{change:?} {answers:?}");
        world.run(Duration::from_secs(60));
        assert!(world.switch.is_idle());
    }
}

#[test]
fn methods_are_answered_by_what_we_do() {
    for (method, want) in [
        ("OPTIONS", "200"),
        ("BYE", "481"),
        ("INFO", "481"),
        ("UPDATE", "481"),
        ("PRACK", "481"),
        ("CANCEL", "481"),
        ("SUBSCRIBE", "407"),
        ("REFER", "405"),
        ("MESSAGE", "407"),
        ("FOO", "501"),
    ] {
        let mut world = World::dealership(1);
        let message = invite().replace("INVITE", method);
        let answers = answers(&mut world, PHONE, &message);
        assert_eq!(answers.len(), 1);
        assert!(answers[0].starts_with(&format!("SIP/2.0 {want}")), "{method} {answers:?}");
    }
    let mut world = World::dealership(1);
    assert!(answers(&mut world, PHONE, &invite().replace("INVITE", "ACK")).is_empty());
    assert!(answers(&mut world, PHONE, "\r\n\r\n").is_empty());
    assert!(answers(&mut world, PHONE, "GET / HTTP/1.1\r\n\r\n").is_empty());
}

#[test]
fn a_request_that_comes_by_two_ways_is_merged() {
    let mut world = World::dealership(1);
    let gateway = "192.0.2.50:5060";
    assert!(answers(&mut world, gateway, &invite())[0].starts_with("SIP/2.0 100"));
    let again = answers(&mut world, gateway, &invite());
    assert!(!again.iter().any(|line| line.starts_with("SIP/2.0 4")), "a retransmission is not");
    let merged = answers(&mut world, gateway, &invite().replace("z9hG4bKa", "z9hG4bKb"));
    assert!(merged[0].starts_with("SIP/2.0 482"), "{merged:?}");
}

#[test]
fn more_calls_than_allowed_are_refused_for_a_while() {
    let mut settings = world::settings(1);
    settings.max_calls = 0;
    let mut world = World::with(settings, 1);
    let refused = answers(&mut world, "192.0.2.50:5060", &invite());
    assert!(refused[0].starts_with("SIP/2.0 503"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let mut world = World::seeded(1);
        world.receive(PHONE.parse().unwrap(), &bytes);
        world.run(Duration::from_secs(100));
        prop_assert!(world.switch.is_idle());
    }

    #[test]
    fn damaged_messages_never_panic(
        damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..8),
        cuts in proptest::collection::vec((any::<proptest::sample::Index>(), 0_usize..40), 0..3),
    ) {
        let mut world = World::dealership(1);
        let mut bytes = invite().into_bytes();
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        for (at, length) in cuts {
            let at = at.index(bytes.len());
            let end = (at + length).min(bytes.len());
            bytes.drain(at..end);
        }
        world.receive("192.0.2.50:5060".parse().unwrap(), &bytes);
        // A reader may still find a call in it, which then rings out.
        world.run(Duration::from_secs(400));
        for _ in 0..4 {
            world.switch.handle(world.now, Input::Timeout);
        }
        prop_assert!(world.switch.live_calls() == 0);
    }
}

#[test]
fn a_call_of_ours_that_comes_back_is_a_loop_and_hops_are_counted() {
    let mut world = World::dealership(1);
    world.uas[0].manner = world::ua::Manner::Ring;
    let from = "<sip:13812345678@gw>";
    world.uas[0].extra.push(("From", from.into()));
    // A phone that sends its calls out brings the trunk's own call back to it.
    world.uas[1].manner = world::ua::Manner::Refuse(302, Duration::ZERO);
    world.uas[1].redirects_to = Some("902161234567".into());
    world.uas[2].manner = world::ua::Manner::Ring;
    world.call(0, "02161234567");
    world.run(Duration::from_secs(2));
    let gone_out = world.uas[0].invites[0].clone();
    assert_eq!(gone_out.headers.max_forwards(), Some(69));
    // The network takes it for a call to our number: as it is, by one proxy more.
    let mut back = gone_out.clone();
    back.headers.insert_front(Name::Via, "SIP/2.0/UDP 192.0.2.50;branch=z9hG4bKnet");
    back.headers.set(Name::MaxForwards, 68);
    let answered = answers(&mut world, GATEWAY, std::str::from_utf8(&back.to_bytes()).unwrap());
    assert!(answered.iter().any(|line| line.starts_with("SIP/2.0 482")), "{answered:?}");
    // Or as a new call with the hops that are left.
    let mut anew = gone_out;
    anew.headers.set(Name::Via, "SIP/2.0/UDP 192.0.2.50;branch=z9hG4bKnew");
    anew.headers.set(Name::CallId, "another");
    anew.headers.set(Name::MaxForwards, 0);
    let answered = answers(&mut world, GATEWAY, std::str::from_utf8(&anew.to_bytes()).unwrap());
    assert!(answered.iter().any(|line| line.starts_with("SIP/2.0 483")), "{answered:?}");
}
