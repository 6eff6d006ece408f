//! Session timers (RFC 4028), each side's own: agreed on, kept up, run out.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use cheling_sip::{Method, Name};

mod world;

use world::talk::{DID, SECOND};
use world::ua::Manner;
use world::{Link, World};

const HOUR: Duration = Duration::from_secs(3600);

/// How often this word stands in a side's log.
fn count(world: &World, ua: usize, word: &str) -> usize {
    world.uas[ua].log.iter().filter(|line| line.as_str() == word).count()
}

/// The gateway (0) calls 8001 (1), who answers with these headers.
fn call(world: &mut World, asks: &[(&'static str, &str)], answers: &[(&'static str, &str)]) {
    let owned = |list: &[(&'static str, &str)]| {
        list.iter().map(|(name, value)| (*name, (*value).to_owned())).collect()
    };
    world.uas[0].extra = owned(asks);
    world.uas[1].answers_with = owned(answers);
    world.uas[1].manner = Manner::Answer(SECOND);
    world.uas[2].manner = Manner::Ring;
    world.call(0, DID);
    world.run(5 * SECOND);
}

fn end(world: &World) -> Option<String> {
    world.story().into_iter().find(|word| word.starts_with("ended"))
}

const OURS: (&str, &str) = ("Session-Expires", "1800;refresher=uac");

#[test]
fn a_phone_that_agrees_is_refreshed_half_way_by_update_or_reinvite() {
    for (allow, method, other) in [
        (("Allow", "INVITE, ACK, BYE, UPDATE"), "UPDATE", "INVITE"),
        (("Allow", "INVITE, ACK, BYE"), "INVITE", "UPDATE"),
        (("X-Silent", "about what it allows"), "INVITE", "UPDATE"),
    ] {
        let mut world = World::dealership(1);
        call(&mut world, &[], &[OURS, allow]);
        let asked = world.uas[1].invites[0].clone();
        assert_eq!(asked.headers.session_expires().unwrap().interval_s, 1800);
        assert!(asked.headers.lists(Name::Supported, "timer"));
        let before = [count(&world, 1, method), count(&world, 1, other)];
        world.run(2 * HOUR);
        assert_eq!(world.switch.live_calls(), 1);
        assert_eq!(count(&world, 1, method) - before[0], 8, "{:?}", world.uas[1].log);
        assert_eq!(count(&world, 1, other), before[1]);
        // The side without a timer is asked otherwise, and this one only so.
        assert_eq!((count(&world, 1, "OPTIONS"), count(&world, 0, "OPTIONS")), (0, 24));
        assert_eq!(count(&world, 0, method), 0, "the other side has nothing to do with it");
        let now = world.now.monotonic;
        world.uas[0].hang_up(now);
        world.settle();
    }
}

#[test]
fn a_caller_that_gives_no_sign_of_life_loses_the_call() {
    let mut world = World::dealership(1);
    call(&mut world, &[("Supported", "timer"), ("Session-Expires", "120;refresher=uac")], &[]);
    assert_eq!(world.switch.live_calls(), 1);
    world.run(80 * SECOND);
    assert_eq!(world.switch.live_calls(), 1);
    world.run(10 * SECOND);
    assert_eq!(world.switch.live_calls(), 0);
    assert_eq!(end(&world).as_deref(), Some("ended Failed None Some(408)"));
    for ua in [0, 1] {
        let said = "BYE SIP;cause=408;text=\"Session expired\"";
        assert_eq!(count(&world, ua, said), 1, "{:?}", world.uas[ua].log);
    }
    world.settle();
}

#[test]
fn a_caller_that_refreshes_keeps_the_call() {
    let expires = ("Session-Expires", String::from("120;refresher=uac"));
    let mut world = World::dealership(1);
    call(&mut world, &[("Require", "timer"), ("Session-Expires", "120;refresher=uac")], &[]);
    world.uas[0].in_dialog = vec![("Supported", "timer".into()), expires];
    for round in 0..20 {
        world.run(60 * SECOND);
        let now = world.now.monotonic;
        if round % 2 == 0 {
            world.uas[0].say(now, Method::Update, None);
        } else {
            let sdp = world.uas[0].last_sdp();
            world.uas[0].say(now, Method::Invite, Some(("application/sdp", sdp)));
        }
    }
    world.run(SECOND);
    assert_eq!(world.switch.live_calls(), 1);
    assert_eq!((count(&world, 0, "200 UPDATE"), count(&world, 1, "UPDATE")), (10, 0));
    world.run(100 * SECOND);
    assert_eq!(end(&world).as_deref(), Some("ended Failed None Some(408)"));
    world.settle();
}

#[test]
fn a_caller_that_has_us_refresh_is_refreshed() {
    let mut world = World::dealership(1);
    let asks =
        [("Supported", "timer"), ("Session-Expires", "200;refresher=uas"), ("Allow", "UPDATE")];
    call(&mut world, &asks, &[]);
    world.uas[0].answers_with = vec![("Session-Expires", "200;refresher=uac".into())];
    world.run(HOUR);
    assert_eq!(world.switch.live_calls(), 1);
    assert_eq!(count(&world, 0, "UPDATE"), 36, "{:?}", world.uas[0].log);
    // Its line is cut.
    world.uas[0].address = "192.0.2.99:5060".parse().unwrap();
    world.run(150 * SECOND);
    assert_eq!(end(&world).as_deref(), Some("ended Failed None Some(408)"));
    assert!(world.uas[1].log.iter().any(|line| line.starts_with("BYE SIP;cause=408")));
}

#[test]
fn too_brief_a_session_is_refused_in_both_directions() {
    let mut world = World::dealership(1);
    call(&mut world, &[("Supported", "timer"), ("Session-Expires", "60")], &[]);
    assert_eq!(world.uas[0].leg_status(), Some(422));
    assert!(world.story().is_empty(), "no call has been made of it");
    // A phone that insists on more gets more.
    let mut world = World::dealership(1);
    world.uas[1].refusals.push_back((Method::Invite, 422, "Min-SE", "3600".into()));
    call(&mut world, &[], &[]);
    assert_eq!(world.uas[0].leg_status(), Some(200));
    let asked = &world.uas[1].invites[0].headers;
    assert_eq!(asked.session_expires().unwrap().interval_s, 3600);
    assert_eq!((asked.min_se_s(), asked.cseq().unwrap().number), (Some(3600), 2));
    let now = world.now.monotonic;
    world.uas[0].hang_up(now);
    world.settle();
    // One that is never content is given up.
    let mut world = World::dealership(1);
    for least in [1900, 2000, 2100, 2200] {
        world.uas[1].refusals.push_back((Method::Invite, 422, "Min-SE", least.to_string()));
    }
    call(&mut world, &[], &[]);
    assert_eq!(count(&world, 1, "INVITE"), 4);
    assert!(world.story().contains(&"withdrawn 8001 Failed { status: 422 }".to_owned()));
    world.run(60 * SECOND);
    world.settle();
}

#[test]
fn a_refresh_that_is_refused_is_made_again_or_ends_the_call() {
    for (method, status, header, lives) in [
        (Method::Update, 491, ("X", ""), true),
        (Method::Update, 500, ("Retry-After", "3"), true),
        (Method::Update, 501, ("X", ""), true),
        (Method::Update, 422, ("Min-SE", "2400"), true),
        (Method::Update, 481, ("X", ""), false),
        (Method::Update, 408, ("X", ""), false),
        (Method::Invite, 491, ("X", ""), true),
        (Method::Invite, 422, ("Min-SE", "2400"), true),
        (Method::Invite, 481, ("X", ""), false),
    ] {
        let mut world = World::dealership(1);
        let allow = if method == Method::Update { "UPDATE" } else { "INVITE" };
        call(&mut world, &[], &[OURS, ("Allow", allow)]);
        let (name, value) = header;
        world.uas[1].refusals.push_back((method.clone(), status, name, value.into()));
        world.run(HOUR);
        assert_eq!(world.switch.live_calls(), usize::from(lives), "{method} {status}");
        if !lives {
            assert_eq!(end(&world).as_deref(), Some("ended Failed None Some(408)"));
            continue;
        }
        let now = world.now.monotonic;
        world.uas[0].hang_up(now);
        world.settle();
    }
}

#[test]
fn an_offer_that_is_passed_on_asks_for_the_timer_there_too() {
    let mut world = World::dealership(1);
    call(&mut world, &[], &[OURS]);
    world.uas[1].refusals.push_back((Method::Invite, 422, "Min-SE", "2400".into()));
    let now = world.now.monotonic;
    world.uas[0].reinvite(now, cheling_sip::sdp::Direction::SendOnly);
    world.run(5 * SECOND);
    assert_eq!(world.uas[0].leg_status(), Some(200));
    assert_eq!(count(&world, 1, "INVITE"), 3, "{:?}", world.uas[1].log);
    let heard = world.uas[1].leg().heard.clone().unwrap().audio().unwrap();
    assert_eq!(heard.direction, cheling_sip::sdp::Direction::SendOnly);
    let now = world.now.monotonic;
    world.uas[0].hang_up(now);
    world.settle();
}

#[test]
fn sessions_are_kept_up_over_a_lossy_link() {
    for seed in 1..30 {
        let mut world = World::dealership(seed);
        call(&mut world, &[], &[OURS, ("Allow", if seed % 2 == 0 { "UPDATE" } else { "X" })]);
        world.link = Link { lost: 20, delay: Duration::from_millis(80), doubled: 10 };
        world.run(HOUR);
        assert_eq!(world.switch.live_calls(), 1, "seed {seed} {:?}", world.uas[1].log);
        world.link = Link::default();
        let now = world.now.monotonic;
        world.uas[0].hang_up(now);
        world.settle();
    }
}

#[test]
fn an_agent_who_was_fetched_stays_while_the_other_side_rings_for_long() {
    for refresher in ["uac", "uas"] {
        let mut world = World::dealership(1);
        world.uas[0].manner = Manner::Answer(100 * SECOND);
        let expires = format!("90;refresher={refresher}");
        world.uas[1].answers_with = vec![("Session-Expires", expires), ("Allow", "UPDATE".into())];
        world.command(cheling_call::io::Command::Dial {
            ticket: 1,
            call_id: world::id(77),
            extension: "8001".into(),
            number: "13812345678".into(),
            user_id: world::id(8001),
            follow_up_id: None,
        });
        world.run(45 * SECOND);
        if refresher == "uas" {
            world.uas[1].in_dialog =
                vec![("Supported", "timer".into()), ("Session-Expires", "90;refresher=uac".into())];
            for _ in 0..2 {
                let now = world.now.monotonic;
                assert!(world.uas[1].say(now, Method::Update, None));
                world.run(30 * SECOND);
            }
            assert_eq!(count(&world, 1, "200 UPDATE"), 2, "{:?}", world.uas[1].log);
        } else {
            world.run(60 * SECOND);
        }
        assert!(world.story().contains(&"answered 8001".to_owned()), "{:?}", world.story());
        assert_eq!(world.switch.live_calls(), 1, "{refresher} {:?}", world.story());
        if refresher == "uac" {
            assert!(count(&world, 1, "UPDATE") > 0, "it is asked for a sign of life");
        }
        let now = world.now.monotonic;
        world.uas[1].hang_up(now);
        world.settle();
    }
}

/// A customer (0) who talks to 8001 (1) with a timer that we keep; 8003 (2 is 8002, 3) is free.
fn kept_up(expires: &str, allow: &str) -> (World, cheling_model::CallId) {
    let mut world = World::dealership(1);
    let third = world.add(world::ua::Ua::new("8003", "192.0.2.103:5060"));
    world.register(third);
    let asks = [("Supported", "timer"), ("Session-Expires", expires), ("Allow", allow)];
    // The same side keeps it up whoever asks.
    let turned = match expires.split_once("uas") {
        Some((interval, _)) => format!("{interval}uac"),
        None => expires.replace("uac", "uas"),
    };
    world.uas[0].answers_with = vec![("Session-Expires", turned)];
    call(&mut world, &asks, &[]);
    let call_id = world.taps[0].0;
    (world, call_id)
}

fn order(world: &mut World, call_id: cheling_model::CallId, order: cheling_call::io::Order) {
    world.command(cheling_call::io::Command::Control {
        ticket: 1,
        call_id,
        extension: Some("8001".into()),
        order,
    });
    world.run(SECOND / 10);
    assert_eq!(world.replies.pop(), Some(cheling_call::io::CommandReply::Accepted));
}

#[test]
fn a_customer_who_waits_during_a_consultation_is_kept_up() {
    for (allow, method) in [("INVITE, ACK, BYE, UPDATE", "UPDATE"), ("INVITE, ACK, BYE", "INVITE")]
    {
        let (mut world, call_id) = kept_up("120;refresher=uas", allow);
        let consult_id = world::id(77);
        let consult = cheling_call::io::Order::Consult { consult_id, number: "8003".into() };
        order(&mut world, call_id, consult);
        world.run(5 * SECOND);
        let before = count(&world, 0, method);
        world.run(600 * SECOND);
        assert_eq!(world.switch.live_calls(), 2, "{:?}", world.story());
        assert!(count(&world, 0, method) - before >= 9, "{allow} {:?}", world.uas[0].log);
        order(&mut world, call_id, cheling_call::io::Order::CancelConsult);
        world.run(SECOND);
        let now = world.now.monotonic;
        world.uas[1].hang_up(now);
        world.settle();
    }
}

#[test]
fn a_customer_who_waits_and_gives_no_sign_of_life_is_given_up() {
    let (mut world, call_id) = kept_up("120;refresher=uac", "INVITE, ACK, BYE, UPDATE");
    let consult_id = world::id(77);
    let consult = cheling_call::io::Order::Consult { consult_id, number: "8003".into() };
    order(&mut world, call_id, consult);
    world.run(200 * SECOND);
    assert_eq!(count(&world, 0, "BYE SIP;cause=408;text=\"Session expired\""), 1);
    assert_eq!(world.switch.live_calls(), 1, "the two colleagues go on");
    let now = world.now.monotonic;
    world.uas[1].hang_up(now);
    world.settle();
}

#[test]
fn a_third_party_is_kept_up() {
    let (mut world, call_id) = kept_up("1800;refresher=uas", "INVITE, ACK, BYE, UPDATE");
    world.uas[0].answers_with.clear();
    let expires = ("Session-Expires", String::from("120;refresher=uac"));
    world.uas[3].answers_with = vec![expires, ("Allow", "UPDATE".into())];
    let invite = cheling_call::io::Order::Invite { number: "8003".into() };
    order(&mut world, call_id, invite);
    world.run(5 * SECOND);
    world.run(600 * SECOND);
    assert!(count(&world, 3, "UPDATE") >= 9, "{:?}", world.uas[3].log);
    assert!(!world.story().iter().any(|word| word.contains("left")), "{:?}", world.story());
    let now = world.now.monotonic;
    world.uas[0].hang_up(now);
    world.settle();
}
