//! Standing before a telephone system that stays: phones register through us and call through us;
//! or we stand between it and the gateway.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use cheling_call::advertise::AdvertiseTo;
use cheling_call::io::{Input, Settings};
use cheling_model::directory::{CallerHeader, Trunk};
use cheling_sip::{Flow, Method, Name, Request};

mod hand;
mod world;

use world::talk::SECOND;

use hand::pbx::{PBX, incoming, invite, ok, pbx, register, registered, request, story};
use hand::{Bench, PHONE, address, sdp, udp};

const GATEWAY: &str = "198.51.100.50:5060";

#[test]
fn a_phone_registers_through_us_with_its_own_password() {
    let mut bench = Bench::start(vec![pbx()]);
    assert!(bench.say(udp(PHONE), &register(1)).is_empty(), "nothing is known before it answers");
    let asked = bench.request(Method::Register);
    assert_eq!(asked.0.remote, address(PBX));
    assert_eq!(asked.1.uri.to_string(), "sip:pbx.example");
    assert_eq!(asked.1.headers.to().unwrap().uri.to_string(), "sip:8001@pbx.example");
    assert_eq!(asked.1.headers.call_id().unwrap(), "reg");
    let contact = asked.1.headers.contact().unwrap();
    assert_eq!(contact.uri.to_string(), "sip:8001~uc000020b13c4~8001-x@192.0.2.1:5060");
    bench.challenge(&asked, "n1", false);
    let challenge = bench.responses.pop().unwrap();
    assert_eq!(challenge.status, 401);
    assert!(challenge.headers.get(Name::WwwAuthenticate).unwrap().contains("n1"));
    assert_eq!(challenge.headers.to().unwrap().uri.to_string(), "sip:8001@192.0.2.1");
    assert_eq!(challenge.headers.via().unwrap().branch(), Some("z9hG4bKREGISTERreg1"));

    let mut proved = register(2);
    proved.headers.push(Name::Authorization, "Digest username=\"8001\", response=\"abc\"");
    bench.say(udp(PHONE), &proved);
    let asked = bench.request(Method::Register);
    assert!(asked.1.headers.get(Name::Authorization).unwrap().contains("abc"), "untouched");
    bench.answer(&asked, 200, |response| {
        let uri = &contact.uri;
        response.headers.push(Name::Contact, format!("<{uri}>;expires=1800"));
        response.headers.push(Name::Contact, "<sip:8001@203.0.113.9>;expires=60");
    });
    let granted = bench.responses.pop().unwrap();
    let contacts = granted.headers.values(Name::Contact);
    assert_eq!(contacts[0], "<sip:8001-x@10.9.9.9:5060>;expires=1800", "the phone's own");
    assert_eq!(contacts[1], "<sip:8001@203.0.113.9>;expires=60", "not ours");
    let known = bench.switch.registrations();
    assert_eq!((known.len(), known[0].extension.as_str()), (1, "8001"));
    bench.run(1800 * SECOND);
    assert!(bench.switch.registrations().is_empty(), "as long as was granted");
}

#[test]
fn a_phones_call_is_challenged_end_to_end_and_counts_once() {
    let mut bench = Bench::start(vec![pbx()]);
    registered(&mut bench);
    bench.say(udp(PHONE), &invite(1, "913812345678"));
    let asked = bench.request(Method::Invite);
    assert_eq!(asked.1.uri.to_string(), "sip:913812345678@pbx.example");
    assert_eq!(asked.1.headers.from().unwrap().uri.to_string(), "sip:8001@pbx.example");
    bench.challenge(&asked, "n2", false);
    let challenge = bench.responses.pop().unwrap();
    assert_eq!(challenge.status, 407);
    assert!(challenge.headers.get(Name::ProxyAuthenticate).unwrap().contains("n2"));
    bench.run(40 * SECOND);
    assert_eq!(story(&bench), [""; 0], "a challenge is no call");
    assert!(bench.switch.is_idle());

    bench.sent.clear();
    let mut proved = invite(2, "913812345678");
    proved.headers.push(Name::ProxyAuthorization, "Digest response=\"abc\"");
    bench.say(udp(PHONE), &proved);
    let asked = bench.request(Method::Invite);
    assert!(asked.1.headers.get(Name::ProxyAuthorization).unwrap().contains("abc"));
    ok(&mut bench, &asked, PBX, None);
    assert_eq!(story(&bench), ["offered Outbound 8001>913812345678 8001", "answered 8001"]);
    assert!(bench.request(Method::Ack).1.headers.has(Name::ProxyAuthorization));
}

#[test]
fn a_call_to_the_contact_it_was_given_rings_the_phone_even_after_a_restart() {
    let mut bench = Bench::start(vec![pbx()]);
    let contact = registered(&mut bench);
    let call = incoming(&contact, "sip:02161234567@pbx.example", "sip:13812345678@pbx.example");
    for is_restarted in [false, true] {
        if is_restarted {
            bench = Bench::start(vec![pbx()]);
            assert!(bench.switch.registrations().is_empty());
        }
        bench.say(udp(PBX), &call);
        let ring = bench.request(Method::Invite);
        assert_eq!(ring.0.remote, address(PHONE));
        assert_eq!(ring.1.uri.user(), Some("8001-x"));
        assert_eq!(ring.1.headers.from().unwrap().uri.user(), Some("13812345678"));
        ok(&mut bench, &ring, PHONE, None);
        let want = ["offered Inbound 13812345678>02161234567 -", "ringing 8001", "answered 8001"];
        assert_eq!(story(&bench), want, "restarted: {is_restarted}");
    }
    // The same from anywhere else is a stranger's.
    let call = incoming(&contact, "sip:02161234567@pbx.example", "sip:13900000000@pbx.example");
    let refused = bench.say(udp("203.0.113.5:5060"), &call);
    assert_eq!(refused[0].status, 403);
}

#[test]
fn strangers_get_nothing_through() {
    let mut bench = Bench::start(vec![pbx()]);
    registered(&mut bench);
    let elsewhere = udp("203.0.113.66:5060");
    assert_eq!(bench.say(elsewhere, &invite(9, "913812345678"))[0].status, 403);
    let aor = "sip:8001@192.0.2.1";
    for method in [Method::Subscribe, Method::Message, Method::Publish] {
        let asked = request(method.clone(), aor, aor, aor, "s", 1);
        assert_eq!(bench.say(elsewhere, &asked)[0].status, 403, "{method}");
    }
    let options = request(Method::Options, aor, aor, aor, "o", 1);
    assert_eq!(bench.say(elsewhere, &options)[0].status, 200, "whoever asks is told we are there");
    // Guessing passwords through us ends after a hundred.
    for guess in 0..110 {
        let mut proved = register(100 + guess);
        proved.headers.push(Name::Authorization, "Digest response=\"no\"");
        bench.say(elsewhere, &proved);
        let Some(at) = bench.sent.iter().position(|(_, it)| it.method == Method::Register) else {
            assert!(guess >= 100, "{guess}");
            continue;
        };
        let asked = bench.sent.remove(at);
        assert!(guess < 100, "{guess}");
        bench.challenge(&asked, "n3", false);
    }
}

#[test]
fn subscriptions_pass_both_ways_and_nothing_of_them_is_kept() {
    let mut bench = Bench::start(vec![pbx()]);
    registered(&mut bench);
    let (aor, uri) = ("sip:8001@192.0.2.1", "sip:8002@192.0.2.1");
    let mut subscribe = request(Method::Subscribe, uri, aor, uri, "sub", 1);
    subscribe.headers.push(Name::Event, "dialog");
    bench.say(udp(PHONE), &subscribe);
    let asked = bench.request(Method::Subscribe);
    assert_eq!(asked.1.uri.to_string(), "sip:8002@pbx.example");
    assert_eq!(asked.1.headers.contact().unwrap().uri.to_string(), "sip:8001-x@10.9.9.9:5060");
    let stays = asked.1.headers.get(Name::RecordRoute).unwrap().into_owned();
    bench.answer(&asked, 200, |response| {
        response.headers.push(Name::RecordRoute, &stays);
        response.headers.push(Name::Contact, format!("<sip:blf@{PBX}>"));
    });
    assert_eq!(bench.responses.pop().unwrap().status, 200);

    let mut notify = request(Method::Notify, "sip:8001-x@10.9.9.9:5060", uri, aor, "sub", 1);
    notify.headers.set(Name::To, format!("<{aor}>;tag=p"));
    notify.headers.set(Name::From, format!("<{uri}>;tag=far"));
    notify.headers.push(Name::Route, &stays);
    bench.say(udp(PBX), &notify);
    let (flow, told) = bench.request(Method::Notify);
    assert_eq!(flow.remote, address(PHONE));
    assert!(!told.headers.has(Name::Route));
    bench.answer(&(flow, told), 200, |_| {});
    assert_eq!(bench.responses.pop().unwrap().status, 200);

    let mut again = request(Method::Subscribe, &format!("sip:blf@{PBX}"), aor, uri, "sub", 2);
    again.headers.set(Name::To, format!("<{uri}>;tag=far"));
    again.headers.push(Name::Route, &stays);
    bench.say(udp(PHONE), &again);
    let renewed = bench.request(Method::Subscribe);
    assert_eq!(
        (renewed.0.remote, renewed.1.uri.to_string()),
        (address(PBX), format!("sip:blf@{PBX}"))
    );
    bench.answer(&renewed, 200, |_| {});
    bench.run(60 * SECOND);
    assert!(bench.switch.is_idle());
    // Nobody else can use the way back.
    assert_eq!(bench.say(udp("203.0.113.66:5060"), &again)[0].status, 403);
}

#[test]
fn what_the_telephone_system_never_answers_leaves_nothing_behind() {
    let mut bench = Bench::start(vec![pbx()]);
    bench.say(udp(PHONE), &register(1));
    bench.run(40 * SECOND);
    // 408 would come too late to be of use (RFC 4320 §4.2).
    assert!(bench.responses.is_empty() && bench.switch.is_idle());
}

fn between() -> Bench {
    let order = vec![CallerHeader::PAssertedIdentity, CallerHeader::From];
    let pbx = Trunk { peer: Some("gateway".into()), caller_from: order, ..pbx() };
    let gateway = Trunk { peer: Some("pbx".into()), ..Trunk::at("gateway", address(GATEWAY)) };
    Bench::start(vec![pbx, gateway])
}

#[test]
fn between_gateway_and_telephone_system_agents_get_the_card_of_their_line() {
    let mut bench = between();
    let did = "sip:02161234567@192.0.2.1";
    let call = incoming(did, did, "sip:13812345678@gw");
    bench.say(udp(GATEWAY), &call);
    let asked = bench.request(Method::Invite);
    assert_eq!(asked.0.remote, address(PBX));
    assert_eq!(asked.1.uri.to_string(), "sip:02161234567@pbx.example", "the number as it came");
    assert_eq!(asked.1.headers.from().unwrap().uri.user(), Some("13812345678"));
    assert_eq!(
        story(&bench),
        ["offered Inbound 13812345678>02161234567 -", "ringing 8001", "ringing 8002"]
    );
    ok(&mut bench, &asked, PBX, Some("8002"));
    assert_eq!(
        story(&bench)[3..],
        ["withdrawn 8001 AnsweredElsewhere { extension: \"8002\" }", "answered 8002"]
    );
}

#[test]
fn the_phone_that_the_telephone_system_names_gets_the_card_whatever_was_called() {
    let mut bench = between();
    let other = "sip:02169999999@192.0.2.1";
    bench.say(udp(GATEWAY), &incoming(other, other, "sip:13812345678@gw"));
    let asked = bench.request(Method::Invite);
    bench.answer(&asked, 180, |response| {
        response.headers.push(Name::Contact, format!("<sip:far@{PBX}>"));
        response.headers.push(Name::RemotePartyId, "<sip:8003@pbx>;party=called");
    });
    bench.answer(&asked, 486, |_| {});
    assert_eq!(
        story(&bench),
        [
            "offered Inbound 13812345678>02169999999 -",
            "ringing 8003",
            "withdrawn 8003 Busy",
            "ended Busy"
        ]
    );
}

#[test]
fn outbound_the_extension_is_known_from_what_the_telephone_system_says() {
    let mut bench = between();
    let number = "sip:013812345678@192.0.2.1";
    let mut call = incoming(number, number, "sip:8001@pbx");
    call.headers.push(Name::PAssertedIdentity, "<sip:02161234567@pbx>");
    bench.say(udp(PBX), &call);
    let asked = bench.request(Method::Invite);
    assert_eq!(asked.0.remote, address(GATEWAY));
    assert_eq!(asked.1.uri.user(), Some("013812345678"), "no prefix is taken off or put on");
    assert_eq!(asked.1.headers.from().unwrap().uri.user(), Some("02161234567"));
    ok(&mut bench, &asked, GATEWAY, None);
    assert_eq!(story(&bench), ["offered Outbound 8001>013812345678 8001", "answered 8001"]);
}

/// 8001 calls a colleague by the telephone system; its INVITE there.
fn colleague_called(bench: &mut Bench) -> (Flow, Request) {
    registered(bench);
    bench.say(udp(PHONE), &invite(1, "8002"));
    bench.request(Method::Invite)
}

/// The telephone system rings 8002, which has registered through us, for 8001.
fn rung_for(bench: &mut Bench, call_id: &str, caller: &str) -> (Flow, Request) {
    let contact = "sip:8002~uc000020c13c4~@192.0.2.1:5060";
    let mut call = incoming(contact, "sip:8002@pbx.example", &format!("sip:{caller}@pbx.example"));
    call.headers.set(Name::CallId, call_id);
    bench.say(udp(PBX), &call);
    bench.request(Method::Invite)
}

#[test]
fn a_call_between_two_phones_passes_twice_and_is_told_once() {
    // A proxy keeps the Call-ID; a telephone system of two halves tells no more than who calls.
    for is_proxy in [true, false] {
        let mut bench = Bench::start(vec![pbx()]);
        let there = colleague_called(&mut bench);
        let kept = there.1.headers.call_id().unwrap().into_owned();
        assert!(there.1.headers.has("X-Cheling-Call"), "some copy it to whom they ring");
        let call_id = if is_proxy { kept.as_str() } else { "another" };
        let ring = rung_for(&mut bench, call_id, if is_proxy { "anonymous" } else { "8001" });
        assert!(!ring.1.headers.has("X-Cheling-Call"));
        ok(&mut bench, &ring, "192.0.2.12:5060", None);
        assert_eq!(story(&bench), ["offered Internal 8001>8002 8001", "ringing 8002"]);
        ok(&mut bench, &there, PBX, None);
        let bye = |bench: &mut Bench, asked: &(Flow, Request)| {
            let mut bye = Request::outside_dialog(
                Method::Bye,
                asked.1.headers.contact().unwrap().uri,
                &asked.1.headers.to().unwrap().with_tag("far"),
                &asked.1.headers.from().unwrap(),
                &asked.1.headers.call_id().unwrap(),
                9,
            );
            let via = format!("SIP/2.0/UDP {};branch=z9hG4bKbye{}", asked.0.remote, asked.0.remote);
            bye.headers.push(Name::Via, via);
            assert_eq!(bench.say(asked.0, &bye)[0].status, 200);
        };
        bye(&mut bench, &there);
        bye(&mut bench, &ring);
        let want = ["answered 8002", "ended HungUp"];
        assert_eq!(story(&bench)[2..], want, "a proxy: {is_proxy}");
        for request in [bench.request(Method::Bye), bench.request(Method::Bye)] {
            bench.answer(&request, 200, |_| {});
        }
        bench.run(60 * SECOND);
        assert!(bench.switch.is_idle(), "nothing is left of either");
    }
}

#[test]
fn what_the_telephone_system_keeps_to_itself_is_no_customers_call() {
    for (number, is_within) in [
        ("8002", true),
        // A group is numbered as extensions are.
        ("6000", true),
        ("600", true),
        // Codes: pick-up, voice mail.
        ("*8", true),
        ("*98#", true),
        // What the config names, however it looks.
        ("1000", true),
        ("770123", true),
        // Help, the operator's and the banks' numbers, and everybody else's.
        ("110", false),
        ("9120", false),
        ("95588", false),
        ("0571", false),
        ("61234567", false),
        ("013812345678", false),
    ] {
        let internal = vec!["1000".into(), "770*".into()];
        let mut bench = Bench::start(vec![Trunk { internal, ..pbx() }]);
        registered(&mut bench);
        bench.say(udp(PHONE), &invite(1, number));
        let asked = bench.request(Method::Invite);
        ok(&mut bench, &asked, PBX, None);
        let direction = if is_within { "Internal" } else { "Outbound" };
        assert_eq!(story(&bench)[0], format!("offered {direction} 8001>{number} 8001"));
    }
}

#[test]
fn each_phone_that_rings_for_a_group_of_the_telephone_system_is_told() {
    let mut bench = Bench::start(vec![pbx()]);
    registered(&mut bench);
    bench.say(udp(PHONE), &invite(1, "6000"));
    let there = bench.request(Method::Invite);
    let ring = rung_for(&mut bench, "another", "8001");
    ok(&mut bench, &ring, "192.0.2.12:5060", None);
    ok(&mut bench, &there, PBX, None);
    let want = ["offered Internal 8001>6000 8001", "ringing 8002", "answered 8002"];
    assert_eq!(story(&bench), want);
}

#[test]
fn a_colleague_rung_by_the_telephone_system_is_told_when_the_caller_gives_up() {
    let mut bench = Bench::start(vec![pbx()]);
    colleague_called(&mut bench);
    rung_for(&mut bench, "another", "8001");
    let mut cancel = invite(1, "8002");
    cancel.method = Method::Cancel;
    cancel.headers.set(Name::CSeq, "1 CANCEL");
    cancel.headers.remove(Name::Contact);
    bench.say(udp(PHONE), &cancel);
    let want = [
        "offered Internal 8001>8002 8001",
        "ringing 8002",
        "withdrawn 8002 CallerHungUp",
        "ended Cancelled",
    ];
    assert_eq!(story(&bench), want, "whatever becomes of the other passage later");
}

#[test]
fn a_call_of_somebody_else_is_not_taken_for_the_one_that_a_phone_has_begun() {
    let mut bench = Bench::start(vec![pbx()]);
    colleague_called(&mut bench);
    rung_for(&mut bench, "another", "13812345678");
    assert_eq!(story(&bench), ["offered Inbound 13812345678>8002 -", "ringing 8002"]);
}

#[test]
fn a_phone_dials_after_our_restart_without_registering_again() {
    let mut bench = Bench::start(vec![pbx()]);
    registered(&mut bench);
    let kept = bench.switch.kept_registrations();
    assert_eq!(kept.len(), 1);

    let mut bench = Bench::start(vec![pbx()]);
    assert_eq!(bench.say(udp(PHONE), &invite(1, "913812345678"))[0].status, 403, "unknown yet");
    bench.feed(Input::Restored(kept.clone()));
    bench.say(udp(PHONE), &invite(2, "913812345678"));
    assert_eq!(bench.request(Method::Invite).0.remote, address(PBX));
    let known = bench.switch.registrations();
    assert_eq!(known[0].since, kept[0].since, "without a break");
    bench.run(3600 * SECOND);
    assert!(bench.switch.registrations().is_empty(), "no longer than it was granted");

    // What has run out meanwhile, or makes no sense, is not taken back.
    let mut old = kept[0].clone();
    old.expires_at = old.since;
    let mut broken = kept[0].clone();
    broken.contact = "nothing".into();
    bench.feed(Input::Restored(vec![old, broken]));
    assert!(bench.switch.registrations().is_empty());
}

#[test]
fn phones_and_telephone_system_are_each_told_the_address_that_reaches_us() {
    let rule = |network: &str, prefix, address: &str| AdvertiseTo {
        network: network.parse().unwrap(),
        prefix,
        address: address.parse().unwrap(),
    };
    let settings = Settings {
        trunks: vec![pbx()],
        advertise_to: vec![rule("198.51.100.0", 24, "203.0.113.1"), rule("::", 0, "2001:db8::1")],
        ..world::settings(3)
    };
    let mut bench = Bench::with(settings);
    let contact = registered(&mut bench);
    assert!(contact.ends_with("@203.0.113.1:5060"), "{contact}");
    bench.say(udp(PHONE), &invite(1, "913812345678"));
    let (flow, asked) = bench.request(Method::Invite);
    let told = String::from_utf8_lossy(&asked.body).into_owned();
    assert!(told.contains("c=IN IP4 203.0.113.1\r\n"), "{told}");
    assert_eq!(asked.headers.via().unwrap().host, "203.0.113.1");
    ok(&mut bench, &(flow, asked), PBX, None);
    let answer = bench.responses.iter().find(|it| it.status == 200).unwrap();
    let told = String::from_utf8_lossy(&answer.body).into_owned();
    assert!(told.contains("c=IN IP4 192.0.2.1\r\n"), "{told}");

    // A phone that speaks IPv6 alone, and a telephone system that speaks IPv4.
    let remote = "[2001:db8::99]:5060";
    let flow = Flow::udp("[2001:db8::1]:5060".parse().unwrap(), remote.parse().unwrap());
    let mut register = register(7);
    register.headers.set(Name::CallId, "six");
    bench.say(flow, &register);
    let asked = bench.request(Method::Register);
    bench.grant(&asked, 600);
    let call = incoming(
        &asked.1.headers.contact().unwrap().uri.to_string(),
        "sip:02161234567@pbx.example",
        "sip:13912345678@pbx.example",
    );
    bench.say(udp(PBX), &call);
    let (to, ring) = bench.request(Method::Invite);
    assert_eq!(to.remote, address(remote));
    let told = String::from_utf8_lossy(&ring.body).into_owned();
    assert!(told.contains("c=IN IP6 2001:db8::1\r\n"), "{told}");
    assert!(ring.headers.contact().unwrap().uri.to_string().contains("@[2001:db8::1]:5060"));
}

#[test]
fn a_call_that_wants_tls_goes_no_other_way() {
    let mut bench = Bench::start(vec![pbx()]);
    registered(&mut bench);
    let uri = "sips:913812345678@192.0.2.1";
    let mut secure = request(Method::Invite, uri, "sip:8001@192.0.2.1", uri, "secure", 1);
    secure.set_body("application/sdp", sdp(PHONE).to_bytes());
    let answers = bench.say(udp(PHONE), &secure);
    let refused = answers.iter().find(|it| it.status == 480).unwrap();
    assert!(refused.headers.get(Name::Warning).unwrap().starts_with("380 "));
    assert!(bench.sent.iter().all(|(_, it)| it.method != Method::Invite), "not in the clear");
}
