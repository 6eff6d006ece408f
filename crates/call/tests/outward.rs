//! Registering at providers, answering their challenges, and going round what fails.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::time::Duration;

use cheling_call::io::{Command, Input, Settings};
use cheling_model::directory::{Account, Trunk, TrunkAddress, TrunkTransport};
use cheling_sip::digest::{Algorithm, Credentials, ha1};
use cheling_sip::{Flow, Method, Name, NameAddr, Request, Transport, Uri};

mod hand;
mod world;

use world::talk::SECOND;

use hand::{Bench, PHONE, address, sdp};

const FIRST: &str = "198.51.100.1:5060";
const SECOND_PLACE: &str = "198.51.100.2:5060";

fn trunk(places: &[&str]) -> Trunk {
    let places = places.iter().enumerate().map(|(at, place)| TrunkAddress {
        priority: u16::try_from(at).unwrap(),
        ..TrunkAddress::only(TrunkTransport::Udp, address(place))
    });
    Trunk {
        host: "ims.example".into(),
        port: None,
        addresses: places.collect(),
        account: Some(Account {
            user: "02161234567".into(),
            auth_user: "line-1".into(),
            password: "geheim".into(),
            registers: true,
            expires: Duration::from_secs(600),
        }),
        ..Trunk::at("provider", address(FIRST))
    }
}

fn proof(request: &Request, name: Name) -> Credentials {
    Credentials::parse(&request.headers.get(name).unwrap()).unwrap()
}

fn is_proved(request: &Request, name: Name) -> bool {
    let key = ha1(Algorithm::Sha256, "line-1", "ims.example", "geheim");
    proof(request, name).verify(request.method.as_str(), &key)
}

#[test]
fn it_registers_with_its_password_and_renews_before_it_runs_out() {
    let mut bench = Bench::start(vec![trunk(&[FIRST])]);
    let first = bench.request(Method::Register);
    assert_eq!(first.0.remote, address(FIRST));
    assert_eq!(first.1.uri.to_string(), "sip:ims.example");
    assert_eq!(first.1.headers.to().unwrap().uri.to_string(), "sip:02161234567@ims.example");
    assert_eq!(first.1.headers.expires(), Some(600));
    assert!(!first.1.headers.has(Name::Authorization));
    bench.challenge(&first, "n1", false);
    let second = bench.request(Method::Register);
    assert!(is_proved(&second.1, Name::Authorization));
    assert_eq!(second.1.headers.call_id(), first.1.headers.call_id());
    assert_eq!(second.1.headers.cseq().unwrap().number, 2);
    assert!(!bench.status().is_registered);
    bench.grant(&second, 300);
    assert!(bench.status().is_registered);

    // The registrar granted 300 of the 600 s: renewed before that, with proof at once.
    bench.run(224 * SECOND);
    assert!(bench.sent.is_empty(), "not yet");
    bench.run(32 * SECOND);
    let renewal = bench.request(Method::Register);
    assert!(is_proved(&renewal.1, Name::Authorization));
    assert_eq!(proof(&renewal.1, Name::Authorization).count(), Some(2));
    // The nonce has grown old in the meantime: one more round, no fault.
    bench.challenge(&renewal, "n2", true);
    let again = bench.request(Method::Register);
    assert_eq!(proof(&again.1, Name::Authorization).nonce, "n2");
    bench.grant(&again, 300);
    assert!(bench.status().is_registered);
    assert!(bench.pings >= 8, "the path is kept open: {}", bench.pings);
}

#[test]
fn a_wrong_password_is_not_tried_again_and_again() {
    let mut bench = Bench::start(vec![trunk(&[FIRST, SECOND_PLACE])]);
    let first = bench.request(Method::Register);
    bench.challenge(&first, "n1", false);
    let second = bench.request(Method::Register);
    bench.challenge(&second, "n2", false);
    assert!(bench.sent.is_empty(), "no third attempt, and the second address is not asked");
    assert_eq!(bench.status().last_status, Some(401));
    let mut pauses = Vec::new();
    for round in 0..7 {
        let before = bench.now.monotonic;
        while !bench.sent.iter().any(|(_, request)| request.method == Method::Register) {
            let next = bench.switch.next_timeout().unwrap();
            bench.run(next.saturating_duration_since(bench.now.monotonic));
        }
        pauses.push((bench.now.monotonic - before).as_secs());
        let again = bench.request(Method::Register);
        bench.challenge(&again, &format!("m{round}"), false);
        let proved = bench.request(Method::Register);
        bench.challenge(&proved, &format!("k{round}"), false);
    }
    for (pause, base) in pauses.iter().zip([30_u64, 60, 120, 240, 480, 960, 1800]) {
        assert!((base / 2..=base).contains(pause), "{pauses:?}");
    }
}

#[test]
fn too_brief_is_asked_for_longer_and_retry_after_is_obeyed() {
    let mut bench = Bench::start(vec![trunk(&[FIRST])]);
    let first = bench.request(Method::Register);
    bench.answer(&first, 423, |response| response.headers.push(Name::MinExpires, 1800));
    let second = bench.request(Method::Register);
    assert_eq!(second.1.headers.expires(), Some(1800));
    bench.answer(&second, 503, |response| response.headers.push(Name::RetryAfter, "120 (busy)"));
    bench.run(119 * SECOND);
    assert!(bench.sent.is_empty());
    bench.run(7 * SECOND);
    let third = bench.request(Method::Register);
    bench.grant(&third, 1800);
    assert!(bench.status().is_registered);
}

#[test]
fn when_one_address_is_dead_the_next_one_takes_the_registration_and_the_calls() {
    let mut bench = Bench::start(vec![trunk(&[FIRST, SECOND_PLACE])]);
    // Nobody at the first answers for 32 s.
    bench.run(33 * SECOND);
    let last = bench.sent.pop().unwrap();
    assert_eq!(last.0.remote, address(SECOND_PLACE));
    bench.sent.clear();
    bench.grant(&last, 600);
    let (at, ..) = bench.status().granted.unwrap();
    assert_eq!(at, address(SECOND_PLACE));
    let phone = bench.phone();
    bench.dial(phone, "13812345678");
    let invite = bench.request(Method::Invite);
    assert_eq!(invite.0.remote, address(SECOND_PLACE));
    // It is overloaded: the other one gets the call.
    bench.answer(&invite, 503, |_| {});
    let other = bench.request(Method::Invite);
    assert_eq!(other.0.remote, address(FIRST));
}

#[test]
fn a_name_that_dns_moves_takes_the_registration_with_it() {
    let mut bench = Bench::start(vec![trunk(&[])]);
    bench.run(60 * SECOND);
    assert!(bench.sent.is_empty(), "nowhere to go yet");
    let moved = |place: &str| vec![TrunkAddress::only(TrunkTransport::Udp, address(place))];
    bench.feed(Input::TrunkMoved { trunk: "provider", addresses: moved(FIRST) });
    bench.feed(Input::Timeout);
    let first = bench.request(Method::Register);
    assert_eq!(first.0.remote, address(FIRST));
    bench.grant(&first, 600);
    bench.feed(Input::TrunkMoved { trunk: "provider", addresses: moved(SECOND_PLACE) });
    bench.feed(Input::Timeout);
    let second = bench.request(Method::Register);
    assert_eq!(second.0.remote, address(SECOND_PLACE));
    // Back again while the second is still being asked.
    bench.feed(Input::TrunkMoved { trunk: "provider", addresses: moved(FIRST) });
    bench.grant(&second, 600);
    bench.feed(Input::Timeout);
    assert_eq!(bench.request(Method::Register).0.remote, address(FIRST));
}

#[test]
fn a_call_to_our_contact_is_the_providers_whoever_sends_it() {
    let mut bench = Bench::start(vec![trunk(&[FIRST])]);
    let contact = bench.registered(600);
    bench.phone();
    bench.sent.clear();
    // Another machine of the provider, and the DID only in To.
    let elsewhere = Flow::udp(address(world::SWITCH), address("203.0.113.77:5060"));
    let from = NameAddr::parse("<sip:13812345678@ims.example>;tag=x").unwrap();
    let to = NameAddr::parse("<sip:02161234567@ims.example>").unwrap();
    for (user, status) in [(contact.user().unwrap(), 100), ("t00000000000000000000", 407)] {
        let uri = Uri::sip(Some(user), "192.0.2.1", Some(5060));
        let mut invite = Request::outside_dialog(Method::Invite, uri, &from, &to, user, 1);
        invite.headers.push(Name::Via, format!("SIP/2.0/UDP 203.0.113.77;branch=z9hG4bK{user}"));
        invite.headers.push(Name::Contact, "<sip:13812345678@203.0.113.77>");
        invite.set_body("application/sdp", sdp("203.0.113.77:5060").to_bytes());
        let bytes = invite.to_bytes();
        bench.responses.clear();
        bench.feed(Input::Message { flow: elsewhere, bytes: &bytes });
        assert_eq!(bench.responses[0].status, status, "{user}");
    }
    let (flow, ring) = bench.request(Method::Invite);
    assert_eq!(flow.remote, address(PHONE));
    assert_eq!(ring.headers.from().unwrap().uri.user(), Some("13812345678"));
}

#[test]
fn calls_prove_themselves_and_follow_the_service_route() {
    let mut bench = Bench::start(vec![trunk(&[FIRST])]);
    let first = bench.request(Method::Register);
    let contact = first.1.headers.contact().unwrap().uri;
    bench.answer(&first, 200, |response| {
        response.headers.push(Name::Contact, format!("<{contact}>;expires=600"));
        response.headers.push("Service-Route", "<sip:orig@scscf.example;lr>");
        response.headers.push("P-Associated-URI", "<tel:+862161234567>, <sip:other@ims.example>");
    });
    let phone = bench.phone();
    bench.dial(phone, "13812345678");
    let invite = bench.request(Method::Invite);
    assert_eq!(invite.1.uri.to_string(), "sip:13812345678@ims.example");
    assert_eq!(invite.1.headers.get(Name::Route).unwrap(), "<sip:orig@scscf.example;lr>");
    let from = invite.1.headers.from().unwrap();
    assert_eq!(from.uri.to_string(), "sip:+862161234567@ims.example", "as the trunk knows us");
    bench.challenge(&invite, "n7", false);
    // What was refused is acknowledged, and asked again with proof.
    let _ = bench.request(Method::Ack);
    let proved = bench.request(Method::Invite);
    assert!(is_proved(&proved.1, Name::ProxyAuthorization));
    assert_eq!(proved.1.headers.cseq().unwrap().number, 2);
    assert_eq!(proved.1.headers.from().unwrap().tag(), from.tag());
    let answer = sdp(FIRST);
    bench.answer(&proved, 200, |response| {
        response.headers.push(Name::Contact, format!("<sip:gw@{FIRST}>"));
        response.set_body("application/sdp", answer.to_bytes());
    });
    let (_, ack) = bench.request(Method::Ack);
    assert_eq!(ack.headers.cseq().unwrap().number, 2);
    assert_eq!(proof(&ack, Name::ProxyAuthorization).nonce, "n7");

    // The phone hangs up: BYE is proved at once; it is challenged all the same, and answered though
    // the call is long over.
    let ok = bench.responses.iter().find(|it| it.status == 200).unwrap().clone();
    let mut bye = Request::new(Method::Bye, ok.headers.contact().unwrap().uri);
    bye.headers.push(Name::Via, format!("SIP/2.0/UDP {PHONE};branch=z9hG4bKbye"));
    for name in [Name::From, Name::To, Name::CallId] {
        bye.headers.copy_from(&ok.headers, name);
    }
    bye.headers.push(Name::CSeq, "9 BYE");
    bye.headers.push(Name::MaxForwards, 70);
    let bytes = bye.to_bytes();
    bench.feed(Input::Message { flow: phone, bytes: &bytes });
    let bye = bench.request(Method::Bye);
    assert_eq!(bye.1.headers.cseq().unwrap().number, 3);
    assert_eq!(proof(&bye.1, Name::ProxyAuthorization).count(), Some(2));
    assert_eq!(bench.switch.live_calls(), 0);
    bench.challenge(&bye, "n8", true);
    let bye = bench.request(Method::Bye);
    assert_eq!(bye.1.headers.cseq().unwrap().number, 4);
    assert_eq!(proof(&bye.1, Name::ProxyAuthorization).nonce, "n8");
    bench.answer(&bye, 200, |_| {});
    bench.run(120 * SECOND);
    assert!(bench.switch.is_idle());
}

#[test]
fn what_is_too_long_for_a_datagram_goes_by_tcp_until_that_is_refused() {
    let stream = "198.51.100.1:5070";
    let mut trunk = trunk(&[FIRST]);
    trunk.addresses[0].stream = Some(address(stream));
    trunk.account.as_mut().unwrap().registers = false;
    let long = Settings { trunks: vec![trunk.clone()], ..world::settings(3) };
    let mut bench = Bench::with(Settings { product: "x".repeat(900), ..long });
    let phone = bench.phone();
    bench.dial(phone, "13812345678");
    let (tcp, invite) = bench.request(Method::Invite);
    assert_eq!((tcp.transport, tcp.remote), (Transport::Tcp, address(stream)));
    assert_eq!(invite.headers.via().unwrap().protocol, "TCP");
    // The answer to its challenge is no shorter.
    bench.challenge(&(tcp, invite), "n1", false);
    let _ = bench.request(Method::Ack);
    let (tcp, invite) = bench.request(Method::Invite);
    assert_eq!(tcp.transport, Transport::Tcp);
    assert!(is_proved(&invite, Name::ProxyAuthorization));
    // Nobody takes TCP there: the call goes on by UDP, and so do those that follow.
    bench.feed(Input::SendFailed { flow: tcp });
    let again = bench.request(Method::Invite);
    assert_eq!((again.0.transport, again.0.remote), (Transport::Udp, address(FIRST)));
    assert_eq!(again.1.headers.values(Name::Via).len(), 1);
    assert_eq!(again.1.headers.cseq(), invite.headers.cseq());
    bench.answer(&again, 486, |_| {});
    let _ = bench.request(Method::Ack);
    assert_eq!(bench.responses.last().unwrap().status, 486);
    bench.run(60 * SECOND);
    for (pause, transport) in [(SECOND, Transport::Udp), (600 * SECOND, Transport::Tcp)] {
        bench.run(pause);
        bench.responses.clear();
        bench.dial(phone, "13812345679");
        let next = bench.request(Method::Invite);
        assert_eq!(next.0.transport, transport, "after {pause:?}");
        bench.answer(&next, 486, |_| {});
        bench.run(60 * SECOND);
        bench.sent.clear();
    }
    // What fits goes as a datagram.
    let mut bench = Bench::start(vec![trunk]);
    let phone = bench.phone();
    bench.dial(phone, "13812345678");
    assert_eq!(bench.request(Method::Invite).0.transport, Transport::Udp);
}

#[test]
fn a_call_given_up_while_it_is_challenged_stays_given_up() {
    let mut bench = Bench::start(vec![trunk(&[FIRST])]);
    bench.registered(600);
    let phone = bench.phone();
    let invite = bench.dial(phone, "13812345678");
    let asked = bench.request(Method::Invite);
    let mut cancel = Request::new(Method::Cancel, invite.uri.clone());
    for name in [Name::Via, Name::From, Name::To, Name::CallId] {
        cancel.headers.copy_from(&invite.headers, name);
    }
    cancel.headers.push(Name::CSeq, "2 CANCEL");
    let bytes = cancel.to_bytes();
    bench.feed(Input::Message { flow: phone, bytes: &bytes });
    bench.challenge(&asked, "n9", false);
    assert!(!bench.sent.iter().any(|(_, request)| request.method == Method::Invite));
    bench.run(60 * SECOND);
    assert!(bench.switch.is_idle());
}

#[test]
fn at_the_end_the_registration_is_taken_back() {
    let mut bench = Bench::start(vec![trunk(&[FIRST])]);
    let contact = bench.registered(600);
    bench.feed(Input::Command(Command::Drain));
    let last = bench.request(Method::Register);
    assert_eq!(last.1.headers.contact().unwrap().uri, contact);
    assert_eq!(last.1.headers.contact().unwrap().params.get("expires"), Some("0"));
    assert!(is_proved(&last.1, Name::Authorization) && bench.status().is_leaving);
    bench.challenge(&last, "n5", true);
    let last = bench.request(Method::Register);
    bench.answer(&last, 200, |_| {});
    assert!(!bench.status().is_leaving && !bench.status().is_registered);
    bench.run(3600 * SECOND);
    assert!(bench.sent.is_empty());
}

#[test]
fn a_broken_connection_is_registered_over_anew() {
    let mut over_tcp = trunk(&[FIRST]);
    over_tcp.addresses[0].transport = TrunkTransport::Tcp;
    let mut bench = Bench::start(vec![over_tcp]);
    bench.registered(600);
    let flow = Flow {
        transport: Transport::Tcp,
        local: address(world::SWITCH),
        remote: address(FIRST),
        connection: Some(7),
    };
    bench.feed(Input::FlowClosed { flow });
    bench.run(2 * SECOND);
    let (to, _) = bench.request(Method::Register);
    assert_eq!((to.transport, to.remote), (Transport::Tcp, address(FIRST)));
}

#[test]
fn a_trunk_that_was_silent_and_is_back_may_have_forgotten_us() {
    let mut asked = trunk(&[FIRST]);
    asked.ping_every = Some(30 * SECOND);
    let mut bench = Bench::start(vec![asked]);
    let options = bench.request(Method::Options);
    bench.answer(&options, 200, |_| {});
    bench.registered(600);
    assert_eq!(bench.switch.trunks()[0].answers, Some(true));
    bench.run(30 * SECOND);
    bench.request(Method::Options);
    bench.run(32 * SECOND);
    let status = bench.switch.trunks().remove(0);
    assert_eq!((status.answers, status.is_avoided), (Some(false), true));
    bench.request(Method::Options);
    assert!(bench.sent.is_empty(), "silence alone is no reason to register: {:?}", bench.sent);
    bench.run(29 * SECOND);
    let options = bench.request(Method::Options);
    bench.answer(&options, 404, |_| {});
    bench.run(2 * SECOND);
    // The question before, whose time is over now, says nothing any more.
    assert!(is_proved(&bench.request(Method::Register).1, Name::Authorization));
    assert_eq!(bench.switch.trunks()[0].answers, Some(true));
}
