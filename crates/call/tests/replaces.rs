//! INVITE with Replaces (RFC 3891): picking up what rings at a colleague, going on at another phone.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use cheling_sip::DialogId;
use cheling_sip::sdp::Direction;

mod world;

use world::talk::{DID, SECOND, hang_up, has};
use world::ua::{Manner, Ua};
use world::{Link, World};

const PICKER: usize = 3;

/// A customer (0) calls 8001 (1) and 8002 (2), who only ring; 8003 (3) is idle, and a second phone
/// of 8001 (4).
fn ringing(seed: u64) -> World {
    let mut world = World::dealership(seed);
    let third = world.add(Ua::new("8003", "192.0.2.103:5060"));
    world.register(third);
    world.add(Ua::new("8001", "192.0.2.104:5060"));
    world.run(SECOND);
    world.uas[0].extra.push(("From", "<sip:13812345678@gw>".into()));
    world.uas[1].manner = Manner::Ring;
    world.uas[2].manner = Manner::Ring;
    world.call(0, DID);
    world.run(2 * SECOND);
    world
}

/// Calls with a Replaces that names the dialog of another's newest leg, as seen from there.
fn take(world: &mut World, ua: usize, from: usize, style: &str) {
    let DialogId { call_id, local_tag, remote_tag } =
        world.uas[from].leg().dialog.clone().unwrap().id;
    let replaces = match style {
        "turned" => format!("{call_id};to-tag={remote_tag};from-tag={local_tag}"),
        "early" => format!("{call_id};to-tag={local_tag};from-tag={remote_tag};early-only"),
        _ => format!("{call_id};to-tag={local_tag};from-tag={remote_tag}"),
    };
    world.uas[ua].extra = vec![("Replaces", replaces), ("Require", "replaces".into())];
    world.call(ua, "8001");
    world.run(SECOND);
    world.uas[ua].extra.clear();
}

#[test]
fn a_ringing_call_is_picked_up_by_a_colleague() {
    for style in ["", "turned", "early"] {
        let mut world = ringing(1);
        take(&mut world, PICKER, 1, style);
        assert_eq!(world.uas[PICKER].leg_status(), Some(200), "{style}");
        assert_eq!(world.uas[0].leg_status(), Some(200));
        for ua in [1, 2] {
            assert!(has(&world, ua, "CANCEL SIP;cause=200"), "{:?}", world.uas[ua].log);
        }
        let heard = world.uas[PICKER].leg().heard.clone().unwrap().audio().unwrap();
        assert_eq!(heard.rtp.unwrap().port(), 30002);
        let heard = world.uas[0].leg().heard.clone().unwrap().audio().unwrap();
        assert_eq!((heard.rtp.unwrap().port(), heard.direction), (30000, Direction::SendRecv));
        assert!(world.outputs.contains(&"StartRecording".to_owned()));
        assert_eq!(world.switch.live_calls(), 1);
        hang_up(&mut world, PICKER);
        world.settle();
        assert!(has(&world, 0, "BYE"));
        let story = world.story();
        let at = |word: &str| story.iter().position(|line| line == word).unwrap();
        assert!(at("ringing 8003") < at("answered 8003"), "{story:?}");
        assert!(story.contains(&"ended HungUp Some(Agent) None".to_owned()), "{story:?}");
    }
}

/// What a side was told of its media last.
fn told(world: &mut World, ua: usize) -> (u16, Vec<String>) {
    let line = world.uas[ua].leg().heard.clone().unwrap().audio().unwrap();
    (line.rtp.unwrap().port(), line.formats.into_iter().map(|it| it.encoding).collect())
}

/// Whether the two sides hear each other by the mixer, as the relay was told last.
fn is_transcoded(world: &World) -> bool {
    let plan = world.plans.values().next().and_then(Option::as_ref);
    plan.is_some_and(|plan| plan.forwards == [false, false])
}

#[test]
fn who_picks_up_and_shares_no_codec_with_the_caller_is_transcoded() {
    for is_late in [false, true] {
        let mut world = ringing(1);
        world.uas[0].codecs.retain(|it| !it.is("PCMA"));
        let now = world.now.monotonic;
        world.uas[0].cancel(now);
        world.run(SECOND);
        world.call(0, DID);
        world.run(2 * SECOND);
        world.uas[PICKER].speaks(&["PCMA"]);
        world.uas[PICKER].has_late_offer = is_late;
        take(&mut world, PICKER, 1, "");
        assert_eq!(world.uas[PICKER].leg_status(), Some(200), "{is_late}");
        assert_eq!(world.uas[0].leg_status(), Some(200));
        assert!(is_transcoded(&world), "{is_late} {:?}", world.plans);
        assert_eq!(told(&mut world, 0).0, 30004, "the second call's relay");
        assert_eq!(told(&mut world, PICKER).0, 30006);
        hang_up(&mut world, PICKER);
        world.settle();
        assert!(has(&world, 0, "BYE"));
    }
}

#[test]
fn who_takes_a_place_without_an_offer_gets_ours() {
    for is_answered in [false, true] {
        let mut world = ringing(1);
        let (taker, place) = if is_answered { (4, 1) } else { (PICKER, 1) };
        if is_answered {
            let now = world.now.monotonic;
            world.uas[0].cancel(now);
            world.run(SECOND);
            world.uas[1].manner = Manner::Answer(SECOND);
            world.call(0, DID);
            world.run(3 * SECOND);
        }
        world.uas[taker].has_late_offer = true;
        take(&mut world, taker, place, "");
        assert_eq!(world.uas[taker].leg_status(), Some(200), "{is_answered}");
        let (port, formats) = told(&mut world, taker);
        assert!(formats.len() > 2, "a choice of its own: {formats:?}");
        assert_eq!(world.uas[0].leg_status(), Some(200));
        assert_eq!(told(&mut world, 0).0 + 2, port);
        assert!(!is_transcoded(&world));
        world.run(40 * SECOND);
        assert_eq!(world.switch.live_calls(), 1, "{:?}", world.story());
        hang_up(&mut world, 0);
        world.settle();
        assert!(has(&world, taker, "BYE"), "{:?}", world.uas[taker].log);
    }
}

#[test]
fn a_caller_who_has_made_no_offer_is_picked_up_too() {
    for (is_late, takers, is_transcoded_) in [
        (false, &["PCMA", "PCMU"][..], false),
        (true, &["PCMA", "PCMU"], false),
        (true, &["G722"], true),
    ] {
        let mut world = ringing(1);
        let now = world.now.monotonic;
        world.uas[0].cancel(now);
        world.run(SECOND);
        world.uas[0].has_late_offer = true;
        world.call(0, DID);
        world.run(2 * SECOND);
        world.uas[PICKER].speaks(takers);
        world.uas[PICKER].has_late_offer = is_late;
        take(&mut world, PICKER, 1, "");
        assert_eq!(world.uas[PICKER].leg_status(), Some(200), "{is_late} {takers:?}");
        assert_eq!(world.uas[0].leg_status(), Some(200));
        world.run(40 * SECOND);
        assert_eq!(world.switch.live_calls(), 1, "{:?}", world.story());
        assert_eq!(is_transcoded(&world), is_transcoded_, "{:?}", world.plans);
        assert_eq!(told(&mut world, 0).0, 30004, "the second call's relay");
        assert_eq!(told(&mut world, PICKER).0, 30006);
        let points = |lane: &str| {
            let point = format!("Point {lane} ");
            world.outputs.iter().any(|it| it.starts_with(&point) && !it.ends_with(" 0"))
        };
        assert!(points("Customer") && points("Agent"), "{:?}", world.outputs);
        hang_up(&mut world, PICKER);
        world.settle();
        assert!(has(&world, 0, "BYE"));
    }
}

#[test]
fn two_without_an_offer_who_never_answer_ours_are_let_go() {
    for silent in [0, PICKER] {
        let mut world = ringing(1);
        let now = world.now.monotonic;
        world.uas[0].cancel(now);
        world.run(SECOND);
        world.uas[0].has_late_offer = true;
        world.call(0, DID);
        world.run(2 * SECOND);
        world.uas[PICKER].has_late_offer = true;
        world.uas[silent].acknowledges = false;
        take(&mut world, PICKER, 1, "");
        world.run(60 * SECOND);
        assert_eq!(world.switch.live_calls(), 0, "{silent}");
        world.settle();
    }
}

#[test]
fn a_pick_up_keeps_to_what_the_caller_has_heard_already() {
    let mut world = ringing(1);
    let now = world.now.monotonic;
    world.uas[0].cancel(now);
    world.run(SECOND);
    world.uas[0].extra.push(("Supported", "100rel".into()));
    world.uas[1].manner = Manner::EarlyMedia(60 * SECOND);
    world.call(0, DID);
    world.run(2 * SECOND);
    take(&mut world, PICKER, 1, "");
    assert_eq!(world.uas[PICKER].leg_status(), Some(200));
    assert_eq!(world.uas[0].leg_status(), Some(200));
    hang_up(&mut world, 0);
    world.settle();
}

#[test]
fn what_cannot_be_taken_is_refused_and_nothing_is_taken() {
    // Somebody from outside.
    let mut world = ringing(1);
    take(&mut world, 0, 1, "");
    assert_eq!(world.uas[0].leg_status(), Some(403));
    // A codec that nobody can turn into the caller's.
    let mut world = ringing(1);
    world.uas[PICKER].codecs = vec![world.uas[PICKER].codecs[0].clone()];
    world.uas[PICKER].codecs[0].encoding = "G729".into();
    take(&mut world, PICKER, 1, "");
    assert_eq!(world.uas[PICKER].leg_status(), Some(488));
    // A dialog there is not, and a Replaces that cannot be read.
    for (replaces, want) in [("x;to-tag=1;from-tag=2", 481), ("x;to-tag=1", 400)] {
        world.uas[PICKER].extra = vec![("Replaces", replaces.into())];
        world.call(PICKER, "8001");
        world.run(SECOND);
        assert_eq!(world.uas[PICKER].leg_status(), Some(want), "{replaces}");
    }
    assert_eq!(world.switch.live_calls(), 1);
    // Answered meanwhile: early-only is 486, and a colleague's call is not to be pulled.
    let mut world = ringing(1);
    let now = world.now.monotonic;
    world.uas[0].cancel(now);
    world.run(SECOND);
    world.uas[1].manner = Manner::Answer(SECOND);
    world.call(0, DID);
    world.run(3 * SECOND);
    for (style, want) in [("early", 486), ("", 403)] {
        take(&mut world, PICKER, 1, style);
        assert_eq!(world.uas[PICKER].leg_status(), Some(want), "{style}");
    }
    assert_eq!(world.switch.live_calls(), 1);
    assert!(!has(&world, 1, "BYE"));
    hang_up(&mut world, 0);
    world.settle();
}

#[test]
fn a_call_goes_on_at_another_phone_of_the_extension() {
    let mut world = ringing(1);
    let now = world.now.monotonic;
    world.uas[0].cancel(now);
    world.run(SECOND);
    world.uas[1].manner = Manner::Answer(SECOND);
    world.call(0, DID);
    world.run(3 * SECOND);
    // It was on hold when its owner walked over.
    let now = world.now.monotonic;
    world.uas[1].reinvite(now, Direction::SendOnly);
    world.run(SECOND);
    world.taps.clear();
    take(&mut world, 4, 1, "");
    assert_eq!(world.uas[4].leg_status(), Some(200));
    assert!(has(&world, 1, "BYE SIP;cause=200"));
    let heard = world.uas[0].leg().heard.clone().unwrap().audio().unwrap();
    assert_eq!(heard.direction, Direction::SendRecv, "no longer held");
    assert_eq!(world.switch.live_calls(), 1);
    hang_up(&mut world, 4);
    world.settle();
    let story = world.story();
    assert_eq!(story[0], "answered 8001");
    assert!(story.contains(&"resumed Agent".to_owned()), "{story:?}");
    assert!(has(&world, 0, "BYE"));
}

#[test]
fn pick_ups_over_a_lossy_link_leave_nothing_behind() {
    for seed in 1..40 {
        let mut world = ringing(1);
        world.link = Link { lost: 20, delay: Duration::from_millis(80), doubled: 10 };
        for _ in 0..seed {
            world.random();
        }
        take(&mut world, PICKER, 1, if seed % 2 == 0 { "turned" } else { "" });
        let rest = Duration::from_millis(world.random() % 3000);
        world.run(rest);
        let now = world.now.monotonic;
        match seed % 3 {
            0 => world.uas[0].cancel(now),
            1 => hang_up(&mut world, PICKER),
            _ => hang_up(&mut world, 0),
        }
        world.run(60 * SECOND);
        world.link = Link::default();
        for ua in 0..4 {
            hang_up(&mut world, ua);
        }
        world.settle();
        let story = world.story();
        assert_eq!(story.iter().filter(|word| word.starts_with("ended")).count(), 1, "{story:?}");
    }
}
