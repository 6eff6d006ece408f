//! What phones and gateways do beyond a plain call: reliable provisional responses, calls sent on,
//! several phones beyond a trunk, offers that meet.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

mod world;

use cheling_sip::sdp::{Direction, Sdp};
use world::talk::{DID, SECOND, hang_up, has, refer, talking, words};
use world::ua::{Manner, Pracks, Ua};
use world::{GATEWAY, World};

#[test]
fn provisional_responses_arrive_over_a_lossy_link_where_both_sides_know_how() {
    for seed in 1..40 {
        let mut world = World::dealership(seed);
        world.link.lost = 30;
        world.link.delay = Duration::from_millis(50);
        world.uas[0].extra.push(("Require", "100rel".into()));
        world.uas[1].is_reliable = true;
        world.uas[1].manner = Manner::EarlyMedia(6 * SECOND);
        world.uas[2].manner = Manner::Ring;
        world.call(0, DID);
        world.run(40 * SECOND);
        // The caller heard it as often as it was said anew, and asked for no more than it got.
        if has(&world, 0, "200 INVITE") {
            assert!(has(&world, 0, "183") || has(&world, 0, "180"), "{:?}", world.uas[0].log);
            assert!(has(&world, 1, "PRACK") && !has(&world, 1, "no PRACK"));
        }
        world.link.lost = 0;
        world.uas[0].acknowledges = true;
        let now = world.now.monotonic;
        world.uas[0].hang_up(now);
        world.settle();
    }
}

#[test]
fn the_answer_waits_for_the_prack_of_a_description() {
    let mut world = World::dealership(1);
    world.uas[0].extra.push(("Supported", "timer, 100rel".into()));
    world.uas[1].is_reliable = true;
    world.uas[1].manner = Manner::EarlyMedia(Duration::ZERO);
    world.uas[2].manner = Manner::Ring;
    world.call(0, DID);
    world.run(5 * SECOND);
    let log = &world.uas[0].log;
    let at = |word: &str| log.iter().position(|line| line == word).unwrap();
    assert!(at("183 INVITE") < at("200 PRACK") && at("200 PRACK") < at("200 INVITE"), "{log:?}");
    assert_eq!(world.uas[0].leg().status, Some(200));
    // A BYE from the callee's side of the dialogs is numbered on from the PRACK.
    let now = world.now.monotonic;
    world.uas[0].hang_up(now);
    world.settle();
    assert!(has(&world, 1, "BYE"), "{:?}", world.uas[1].log);
}

#[test]
fn a_caller_that_knows_nothing_of_it_gets_plain_provisional_responses() {
    let mut world = World::dealership(1);
    world.uas[1].is_reliable = true;
    world.uas[1].manner = Manner::EarlyMedia(SECOND);
    world.uas[2].manner = Manner::Ring;
    world.call(0, DID);
    world.run(5 * SECOND);
    assert!(has(&world, 0, "183 INVITE") && has(&world, 1, "PRACK"));
    assert!(!has(&world, 0, "200 PRACK"));
    let now = world.now.monotonic;
    world.uas[1].hang_up(now);
    world.settle();
}

#[test]
fn a_phone_whose_calls_go_elsewhere_has_them_ring_there() {
    for (to, ua, invites) in [("8003", 3, 1), ("913987654321", 0, 1), ("8001", 1, 1), ("x", 3, 0)] {
        let mut world = World::dealership(1);
        let third = world.add(Ua::new("8003", "192.0.2.103:5060"));
        world.register(third);
        world.run(SECOND);
        world.uas[1].manner = Manner::Refuse(302, Duration::ZERO);
        world.uas[1].redirects_to = Some(to.into());
        world.call(2, "8001");
        world.run(5 * SECOND);
        assert_eq!(world.uas[ua].invites.len(), invites, "{to}");
        let is_answered = matches!(to, "8003" | "913987654321");
        let status = world.uas[2].leg().status;
        assert_eq!(status, Some(if is_answered { 200 } else { 480 }), "{to}");
        if is_answered {
            hang_up(&mut world, 2);
        }
        world.settle();
    }
}

#[test]
fn phones_that_send_calls_to_each_other_come_to_an_end() {
    let mut world = World::dealership(1);
    for (ua, to) in [(1, "8002"), (2, "8001")] {
        world.uas[ua].manner = Manner::Refuse(302, Duration::ZERO);
        world.uas[ua].redirects_to = Some(to.into());
    }
    world.call(0, DID);
    world.settle();
    assert_eq!(world.uas[0].leg_status(), Some(480));
    assert_eq!((world.uas[1].invites.len(), world.uas[2].invites.len()), (1, 1));
}

#[test]
fn a_caller_may_move_its_media_before_the_answer() {
    for direction in [Direction::SendRecv, Direction::SendOnly] {
        let mut world = World::dealership(1);
        world.uas[0].extra.push(("Supported", "100rel".into()));
        world.uas[1].manner = Manner::EarlyMedia(3 * SECOND);
        world.uas[2].manner = Manner::Ring;
        world.call(0, DID);
        world.run(SECOND);
        world.outputs.clear();
        // An analog gateway tells the caller's number with it, which it has only just learned.
        world.uas[0].in_dialog = vec![("P-Asserted-Identity", "<sip:13900000000@gw>".into())];
        let now = world.now.monotonic;
        world.uas[0].early_update(now, direction);
        world.run(5 * SECOND);
        assert!(world.story().contains(&"caller 13900000000".to_owned()), "{:?}", world.story());
        assert!(has(&world, 0, "200 UPDATE"), "{:?}", world.uas[0].log);
        assert_eq!(world.uas[0].leg_status(), Some(200));
        assert!(world.outputs.contains(&"Point Customer 4012".to_owned()), "{:?}", world.outputs);
        // Whoever answered is told what it did not know.
        let heard = world.uas[1].leg().heard.clone().unwrap().audio().unwrap();
        assert_eq!(heard.direction, direction);
        let invites = world.uas[1].log.iter().filter(|line| *line == "INVITE").count();
        assert_eq!(invites, if direction == Direction::SendRecv { 1 } else { 2 });
        hang_up(&mut world, 0);
        world.settle();
    }
}

#[test]
fn an_offer_in_a_prack_is_answered_in_its_200() {
    for direction in [Direction::SendRecv, Direction::SendOnly] {
        let mut world = World::dealership(1);
        world.uas[0].extra.push(("Supported", "100rel".into()));
        world.uas[0].prack_offers = Some(direction);
        world.uas[1].manner = Manner::EarlyMedia(3 * SECOND);
        world.uas[2].manner = Manner::Ring;
        world.call(0, DID);
        world.run(SECOND);
        assert!(has(&world, 0, "200 PRACK"), "{:?}", world.uas[0].log);
        let heard = world.uas[0].leg().heard.clone().unwrap().audio().unwrap();
        assert_eq!(heard.direction, direction.reversed());
        world.run(5 * SECOND);
        assert_eq!(world.uas[0].leg_status(), Some(200));
        let heard = world.uas[1].leg().heard.clone().unwrap().audio().unwrap();
        assert_eq!(heard.direction, direction);
        hang_up(&mut world, 0);
        world.settle();
    }
}

#[test]
fn a_description_in_a_reliable_183_counts_where_the_200_has_none() {
    let mut world = World::dealership(1);
    world.uas[1].is_reliable = true;
    world.uas[1].answers_without_sdp = true;
    world.uas[1].manner = Manner::EarlyMedia(2 * SECOND);
    world.uas[2].manner = Manner::Ring;
    world.call(0, DID);
    world.run(5 * SECOND);
    assert_eq!(world.uas[0].leg_status(), Some(200));
    assert!(has(&world, 1, "PRACK"));
    let heard = world.uas[0].leg().heard.clone().unwrap().audio().unwrap();
    assert_eq!(heard.rtp.unwrap().port(), 30000);
    hang_up(&mut world, 0);
    world.settle();
}

/// A gateway that wants everything reliable and makes no offer calls 8001.
fn called_without_an_offer(prepare: impl FnOnce(&mut World)) -> World {
    let mut world = World::dealership(1);
    world.uas[0].extra.push(("Require", "100rel".into()));
    world.uas[0].has_late_offer = true;
    world.uas[1].manner = Manner::Answer(2 * SECOND);
    world.uas[2].manner = Manner::Ring;
    prepare(&mut world);
    world.call(0, DID);
    world
}

#[test]
fn a_caller_that_wants_all_reliable_and_offers_nothing_is_offered_before_anybody_rings() {
    for early in [false, true] {
        let mut world = called_without_an_offer(|world| {
            world.uas[0].speaks(&["PCMA"]);
            if early {
                world.uas[1].manner = Manner::EarlyMedia(2 * SECOND);
            }
        });
        world.run(Duration::from_millis(500));
        let log = world.uas[0].log.join(" ");
        let status = if early { 183 } else { 180 };
        let want = format!("100 INVITE 183 INVITE 200 PRACK {status} INVITE 200 PRACK");
        // 8002 rings, too.
        assert!(log.starts_with(&want), "{log}");
        // Whoever rings is offered what the answer chose, and heard as soon as it speaks.
        let rung = Sdp::parse(&world.uas[1].invites[0].body).unwrap().audio().unwrap();
        let sounds = rung.formats.iter().filter(|it| !it.is("telephone-event"));
        assert!(sounds.clone().all(|it| it.is("PCMA")) && sounds.count() == 1, "{rung:?}");
        let heard = world.outputs.iter().any(|line| line == "Point Agent 4010");
        assert_eq!(heard, early, "{:?}", world.outputs);
        world.run(5 * SECOND);
        assert_eq!(world.uas[0].leg_status(), Some(200));
        let again = world.uas[1].log.iter().filter(|line| *line == "INVITE").count();
        assert_eq!(again, 1, "{:?}", world.uas[1].log);
        let story = world.story().join("\n");
        assert!(story.contains("formats Customer PCMA") && story.contains("formats Agent PCMA"));
        hang_up(&mut world, 0);
        world.settle();
    }
}

#[test]
fn it_may_offer_anew_in_its_next_prack() {
    let mut world = called_without_an_offer(|world| {
        world.uas[0].prack_offers = Some(Direction::SendOnly);
    });
    world.run(SECOND);
    let log = world.uas[0].log.join(" ");
    assert_eq!(log, "100 INVITE 183 INVITE 200 PRACK 180 INVITE 200 PRACK");
    let heard = world.uas[0].leg().heard.clone().unwrap().audio().unwrap();
    assert_eq!(heard.direction, Direction::RecvOnly);
    world.run(5 * SECOND);
    assert_eq!(world.uas[0].leg_status(), Some(200));
    let heard = world.uas[1].leg().heard.clone().unwrap().audio().unwrap();
    assert_eq!(heard.direction, Direction::SendOnly, "who has answered is told");
    hang_up(&mut world, 0);
    world.settle();
}

#[test]
fn nobody_rings_for_a_caller_that_does_not_answer_our_offer() {
    // Without any PRACK, with one that says nothing, and with one that gives up.
    for (answers, want) in [(None, 504), (Some(false), 488), (Some(true), 487)] {
        let mut world = called_without_an_offer(|world| {
            world.uas[0].pracks = match answers {
                Some(false) => Pracks::WithoutSdp,
                None | Some(true) => Pracks::Never,
            };
        });
        if answers == Some(true) {
            world.run(SECOND);
            let now = world.now.monotonic;
            world.uas[0].cancel(now);
        }
        world.run(60 * SECOND);
        assert_eq!(world.uas[0].leg_status(), Some(want));
        assert!(world.uas[1].invites.is_empty());
        world.settle();
    }
}

/// A response of the gateway's to the newest INVITE it got, as another phone behind it.
fn beyond(world: &mut World, status: u16, tag: &str, port: u16) {
    let invite = world.uas[0].invites.last().unwrap().clone();
    let mut response = cheling_sip::Response::to(&invite, status, "", Some(tag));
    response.headers.push("Contact", format!("<sip:{tag}@192.0.2.50>"));
    if port > 0 {
        let sdp = format!(
            "v=0\r\no=- 1 1 IN IP4 192.0.2.50\r\ns=-\r\nc=IN IP4 192.0.2.50\r\nt=0 0\r\n\
             m=audio {port} RTP/AVP 8\r\n"
        );
        response.set_body("application/sdp", sdp);
    }
    world.receive(GATEWAY.parse().unwrap(), &response.to_bytes());
    world.run(SECOND / 10);
}

#[test]
fn phones_that_a_trunk_rings_at_once_are_told_apart_and_one_wins() {
    let mut world = World::dealership(1);
    world.uas[0].manner = Manner::Dead;
    world.call(1, "913812345678");
    world.run(SECOND);
    let points = |world: &World| -> Vec<String> {
        let lines = world.outputs.iter().filter(|line| line.starts_with("Point Customer"));
        lines.cloned().collect()
    };
    beyond(&mut world, 183, "one", 6000);
    beyond(&mut world, 183, "two", 6002);
    assert_eq!(points(&world), ["Point Customer 6000"], "the first is heard");
    // It rings no more; the second may be heard.
    beyond(&mut world, 199, "one", 0);
    beyond(&mut world, 183, "two", 6002);
    assert_eq!(points(&world), ["Point Customer 6000", "Point Customer 6002"]);
    beyond(&mut world, 183, "three", 6004);
    // The third answers, with what it said before.
    beyond(&mut world, 200, "three", 0);
    assert_eq!(points(&world).last().unwrap(), "Point Customer 6004");
    assert_eq!(world.uas[1].leg_status(), Some(200));
    world.sent.clear();
    beyond(&mut world, 200, "two", 6002);
    let sent: Vec<_> = world.sent_to(0).into_iter().map(|line| line.to_owned()).collect();
    assert!(sent[0].starts_with("ACK sip:two@") && sent[1].starts_with("BYE sip:two@"), "{sent:?}");
    assert_eq!(points(&world).last().unwrap(), "Point Customer 6004");
    world.sent.clear();
    hang_up(&mut world, 1);
    world.run(SECOND);
    assert!(world.sent_to(0)[0].starts_with("BYE sip:three@"), "{:?}", world.sent_to(0));
}

#[test]
fn a_re_invite_of_ours_that_meets_one_of_theirs_is_made_again() {
    let mut world = talking(1).0;
    let now = world.now.monotonic;
    world.uas[1].reinvite(now, Direction::SendOnly);
    world.run(SECOND);
    refer(&mut world, 1, "8003");
    let glare = (cheling_sip::Method::Invite, 491, "X", String::new());
    world.uas[0].refusals.push_back(glare.clone());
    world.uas[0].refusals.push_back(glare);
    world.run(20 * SECOND);
    let heard = world.uas[0].leg().heard.clone().unwrap().audio().unwrap();
    assert_eq!(heard.direction, Direction::SendRecv, "no longer held");
    assert_eq!(words(&world, 0, "INVITE").len(), 4);
    hang_up(&mut world, 3);
    world.settle();
}

#[test]
fn an_info_whose_dialog_is_gone_ends_the_call_and_others_do_not() {
    for (status, lives) in [(481, false), (408, true), (415, true)] {
        let mut world = talking(1).0;
        world.uas[0].refusals.push_back((cheling_sip::Method::Info, status, "X", String::new()));
        let now = world.now.monotonic;
        let body = Some(("application/dtmf-relay", b"Signal=5".to_vec()));
        world.uas[1].say(now, cheling_sip::Method::Info, body);
        world.run(5 * SECOND);
        assert_eq!(world.switch.live_calls(), usize::from(lives), "{status}");
        assert!(has(&world, 1, &format!("{status} INFO")));
        hang_up(&mut world, 1);
        world.settle();
    }
}
