//! What phones and gateways do beyond a plain call: reliable provisional responses, transfers.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

mod world;

use cheling_sip::sdp::Direction;
use world::ua::{Manner, Ua};
use world::{GATEWAY, Link, World};

const DID: &str = "02161234567";
const SECOND: Duration = Duration::from_secs(1);

fn has(world: &World, ua: usize, word: &str) -> bool {
    world.uas[ua].log.iter().any(|line| line.starts_with(word))
}

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

/// A customer (0) who talks to 8001 (1); 8002 (2) and 8003 (3) are free.
fn talking(seed: u64) -> World {
    let mut world = World::dealership(seed);
    let third = world.add(Ua::new("8003", "192.0.2.103:5060"));
    world.register(third);
    world.uas[0].extra.push(("From", "<sip:13812345678@gw>".into()));
    world.uas[2].manner = Manner::Ring;
    world.call(0, DID);
    world.run(5 * SECOND);
    world.uas[2].manner = Manner::Answer(2 * SECOND);
    world.taps.clear();
    world.outputs.clear();
    world
}

fn refer(world: &mut World, from: usize, to: &str) {
    let now = world.now.monotonic;
    world.uas[from].refer(now, to);
}

fn hang_up(world: &mut World, ua: usize) {
    let now = world.now.monotonic;
    world.uas[ua].hang_up(now);
}

fn words(world: &World, ua: usize, prefix: &str) -> Vec<String> {
    world.uas[ua].log.iter().filter(|line| line.starts_with(prefix)).cloned().collect()
}

#[test]
fn a_blind_transfer_takes_the_place_of_who_handed_on() {
    let mut world = talking(1);
    // Phones hold before they hand on.
    let now = world.now.monotonic;
    world.uas[1].reinvite(now, Direction::SendOnly);
    world.run(SECOND);
    refer(&mut world, 1, "8003");
    world.run(5 * SECOND);
    assert!(has(&world, 1, "202 REFER"));
    assert_eq!(
        words(&world, 1, "NOTIFY"),
        ["NOTIFY SIP/2.0 100 Trying", "NOTIFY SIP/2.0 180 Ringing", "NOTIFY SIP/2.0 200 OK"]
    );
    assert!(has(&world, 1, "BYE SIP;cause=200"), "{:?}", world.uas[1].log);
    // The new phone sees the customer, on the same relay port.
    let invite = world.uas[3].invites[0].clone();
    assert_eq!(invite.headers.from().unwrap().uri.user(), Some("13812345678"));
    let heard = world.uas[3].leg().heard.clone().unwrap().audio().unwrap();
    assert_eq!(heard.rtp.unwrap().port(), 30002);
    // The customer is no longer held.
    let heard = world.uas[0].leg().heard.clone().unwrap().audio().unwrap();
    assert_eq!(heard.direction, Direction::SendRecv);
    assert_eq!(world.switch.live_calls(), 1);
    hang_up(&mut world, 3);
    world.settle();
    assert_eq!(
        world.story(),
        [
            "held Agent",
            "transfer to 8003 Began",
            "ringing 8003",
            "transfer to 8003 Done",
            "answered 8003",
            "resumed Agent",
            "formats Agent PCMA PCMU TELEPHONE-EVENT",
            "ended HungUp Some(Agent) None",
            "relay closed",
        ]
    );
    assert_eq!(world.outputs.last().unwrap(), "CloseRelay");
    assert!(world.outputs.iter().any(|line| line.starts_with("Point Agent")));
}

#[test]
fn a_transfer_that_fails_gives_the_call_back() {
    for (manner, told) in [
        (Manner::Refuse(486, SECOND), "NOTIFY SIP/2.0 486 Busy Here"),
        (Manner::Refuse(603, SECOND), "NOTIFY SIP/2.0 603 Decline"),
        (Manner::Ring, "NOTIFY SIP/2.0 480 Temporarily Unavailable"),
    ] {
        let mut world = talking(1);
        world.uas[3].manner = manner;
        refer(&mut world, 1, "8003");
        world.run(100 * SECOND);
        assert_eq!(words(&world, 1, "NOTIFY").last().unwrap(), told);
        assert!(!has(&world, 1, "BYE"));
        assert_eq!(world.switch.live_calls(), 1);
        // And it may be handed on again.
        refer(&mut world, 1, "8002");
        world.run(5 * SECOND);
        assert!(world.story().contains(&"answered 8002".to_owned()), "{:?}", world.story());
        hang_up(&mut world, 0);
        world.settle();
    }
}

#[test]
fn a_transfer_to_nobody_is_refused_at_once() {
    for (from, to, want) in [
        (1, "nobody", "404 REFER"),
        (1, "8001", "480 REFER"),
        (0, "8003", "403 REFER"),
        (1, "8002@h?Replaces=x", "400 REFER"),
    ] {
        let mut world = talking(1);
        refer(&mut world, from, to);
        world.run(SECOND);
        assert!(has(&world, from, want), "{to} {:?}", world.uas[from].log);
        hang_up(&mut world, 1);
        world.settle();
    }
}

#[test]
fn who_hands_on_need_not_wait() {
    for (manner, is_answered) in
        [(Manner::Answer(2 * SECOND), true), (Manner::Refuse(486, SECOND), false)]
    {
        let mut world = talking(1);
        world.uas[3].manner = manner;
        refer(&mut world, 1, "8003");
        world.run(SECOND / 2);
        hang_up(&mut world, 1);
        world.run(5 * SECOND);
        assert_eq!(world.switch.live_calls(), usize::from(is_answered));
        assert_eq!(world.story().contains(&"answered 8003".to_owned()), is_answered);
        if is_answered {
            hang_up(&mut world, 0);
        }
        world.settle();
        assert_eq!(world.uas[0].legs.len(), 1);
    }
}

#[test]
fn a_customer_who_hangs_up_ends_the_transfer() {
    let mut world = talking(1);
    world.uas[3].manner = Manner::Ring;
    refer(&mut world, 1, "8003");
    world.run(SECOND);
    hang_up(&mut world, 0);
    world.settle();
    assert!(has(&world, 3, "CANCEL"), "{:?}", world.uas[3].log);
    assert!(has(&world, 1, "BYE"));
    let story = world.story();
    assert!(story.contains(&"withdrawn 8003 CallerHungUp".to_owned()), "{story:?}");
}

#[test]
fn a_call_can_be_handed_out_by_the_trunk() {
    let mut world = talking(1);
    refer(&mut world, 1, "913987654321");
    world.run(5 * SECOND);
    // The gateway's second leg is a call to the other number.
    assert_eq!(world.uas[0].address, GATEWAY.parse().unwrap());
    let invite = world.uas[0].invites.last().unwrap().clone();
    assert_eq!(invite.uri.user(), Some("13987654321"));
    assert!(world.story().contains(&"answered 8001".to_owned()), "{:?}", world.story());
    hang_up(&mut world, 0);
    world.settle();
}

#[test]
fn transfers_over_a_lossy_link_leave_nothing_behind() {
    for seed in 1..40 {
        let mut world = talking(1);
        world.link = Link { lost: 20, delay: Duration::from_millis(80), doubled: 10 };
        for _ in 0..seed {
            world.random();
        }
        refer(&mut world, 1, "8003");
        let rest = Duration::from_millis(world.random() % 9000);
        world.run(rest);
        hang_up(&mut world, (seed % 2) as usize);
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

/// As [`talking`], and 8001 asks 8003.
fn consulting(seed: u64) -> World {
    let mut world = talking(seed);
    let now = world.now.monotonic;
    world.uas[1].reinvite(now, Direction::SendOnly);
    world.run(SECOND);
    world.call(1, "8003");
    world.run(5 * SECOND);
    assert_eq!(world.switch.live_calls(), 2);
    world.taps.clear();
    world.outputs.clear();
    world
}

#[test]
fn an_attended_transfer_makes_one_call_of_two_and_the_customers_goes_on() {
    // Some phones send the REFER in the one call, some in the other.
    for (leg, other) in [(0, 1), (1, 0)] {
        let mut world = consulting(1);
        let now = world.now.monotonic;
        world.uas[1].refer_attended(now, leg, other);
        world.run(2 * SECOND);
        assert!(has(&world, 1, "202 REFER"), "{:?}", world.uas[1].log);
        assert_eq!(words(&world, 1, "NOTIFY").last().unwrap(), "NOTIFY SIP/2.0 200 OK");
        assert_eq!(words(&world, 1, "BYE SIP").len(), 2);
        assert_eq!(world.switch.live_calls(), 1);
        // Both hear each other by the relay of the customer's call.
        let heard = world.uas[3].leg().heard.clone().unwrap().audio().unwrap();
        assert_eq!(heard.rtp.unwrap().port(), 30002);
        let heard = world.uas[0].leg().heard.clone().unwrap().audio().unwrap();
        assert_eq!((heard.rtp.unwrap().port(), heard.direction), (30000, Direction::SendRecv));
        hang_up(&mut world, 3);
        world.settle();
        assert!(has(&world, 0, "BYE"));
        let story = world.story();
        assert_eq!(story[0], "ended HungUp Some(Customer) None");
        assert_eq!(story[1..3], ["ringing 8003", "answered 8003"]);
        assert!(story.contains(&"resumed Agent".to_owned()), "{story:?}");
        assert_eq!(story.iter().filter(|word| word.starts_with("ended")).count(), 2);
        let (consultation, customers) = (world.taps[0].0, world.taps[1].0);
        assert_ne!(consultation, customers);
        assert_eq!(world.taps.last().unwrap().0, customers);
    }
}

#[test]
fn an_attended_transfer_joins_two_that_share_no_codec() {
    for (customer, colleague) in [("PCMU", "PCMA"), ("PCMA", "G722")] {
        let mut world = World::dealership(1);
        let third = world.add(Ua::new("8003", "192.0.2.103:5060"));
        world.register(third);
        world.uas[2].manner = Manner::Ring;
        world.uas[0].speaks(&[customer]);
        world.uas[1].speaks(&["PCMA", "PCMU", "G722"]);
        world.uas[3].speaks(&[colleague]);
        world.call(0, DID);
        world.run(5 * SECOND);
        let customers = world.taps[0].0;
        let now = world.now.monotonic;
        world.uas[1].reinvite(now, Direction::SendOnly);
        world.run(SECOND);
        world.call(1, "8003");
        world.run(5 * SECOND);
        let now = world.now.monotonic;
        world.uas[1].refer_attended(now, 0, 1);
        world.run(2 * SECOND);
        assert_eq!(world.switch.live_calls(), 1, "{:?}", world.story());
        assert!(!has(&world, 3, "BYE"), "{:?}", world.uas[3].log);
        let plan = world.plans.get(&customers).cloned().flatten();
        assert_eq!(plan.map(|plan| plan.forwards), Some([false, false]), "{customer} {colleague}");
        let heard = world.uas[3].leg().heard.clone().unwrap().audio().unwrap();
        assert_eq!(heard.rtp.unwrap().port(), 30002);
        hang_up(&mut world, 3);
        world.settle();
        assert!(has(&world, 0, "BYE"));
    }
}

#[test]
fn an_attended_transfer_to_a_call_that_is_over_is_refused_and_takes_nothing() {
    let mut world = consulting(1);
    hang_up(&mut world, 3);
    world.run(SECOND);
    let now = world.now.monotonic;
    world.uas[1].refer_attended(now, 0, 1);
    world.run(SECOND);
    assert!(has(&world, 1, "481 REFER"), "{:?}", world.uas[1].log);
    assert_eq!(world.switch.live_calls(), 1);
    hang_up(&mut world, 0);
    world.settle();
}

#[test]
fn attended_transfers_over_a_lossy_link_leave_nothing_behind() {
    for seed in 1..40 {
        let mut world = consulting(1);
        world.link = Link { lost: 20, delay: Duration::from_millis(80), doubled: 10 };
        for _ in 0..seed {
            world.random();
        }
        let now = world.now.monotonic;
        world.uas[1].refer_attended(now, (seed % 2) as usize, ((seed + 1) % 2) as usize);
        let rest = Duration::from_millis(world.random() % 3000);
        world.run(rest);
        hang_up(&mut world, (seed % 3) as usize);
        world.run(60 * SECOND);
        world.link = Link::default();
        for _ in 0..2 {
            for ua in 0..4 {
                hang_up(&mut world, ua);
            }
        }
        world.settle();
        let story = world.story();
        assert_eq!(story.iter().filter(|word| word.starts_with("ended")).count(), 2, "{story:?}");
    }
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

#[test]
fn a_caller_that_wants_all_reliable_and_offers_nothing_is_offered_in_the_answer() {
    let mut world = World::dealership(1);
    world.uas[0].extra.push(("Require", "100rel".into()));
    world.uas[0].has_late_offer = true;
    world.uas[1].manner = Manner::Answer(2 * SECOND);
    world.uas[2].manner = Manner::Ring;
    world.call(0, DID);
    world.run(5 * SECOND);
    // A reliable 180 would have to bring an offer, and there was none yet.
    assert!(!has(&world, 0, "180"), "{:?}", world.uas[0].log);
    assert_eq!(world.uas[0].leg_status(), Some(200));
    hang_up(&mut world, 0);
    world.settle();
}

#[test]
fn a_call_that_is_handed_on_while_the_other_still_rings_rings_there_anew() {
    for (to, ringing) in [("8003", 3), ("913987654321", 0)] {
        let mut world = talking(1);
        let manner = Manner::Answer(6 * SECOND);
        world.uas[ringing].manner = manner;
        world.call(1, to);
        world.run(2 * SECOND);
        let now = world.now.monotonic;
        world.uas[1].refer_ringing(now, 0, 1);
        world.run(SECOND);
        assert!(has(&world, 1, "202 REFER"), "{:?}", world.uas[1].log);
        assert_eq!(world.uas[1].legs[1].status, Some(480), "its own call there is over");
        assert!(has(&world, ringing, "CANCEL"));
        assert_eq!(world.switch.live_calls(), 1);
        world.run(8 * SECOND);
        assert!(has(&world, 1, "BYE SIP;cause=200"));
        if to == "8003" {
            let invite = world.uas[3].invites.last().unwrap().clone();
            assert_eq!(invite.headers.from().unwrap().uri.user(), Some("13812345678"));
            assert!(world.story().contains(&"answered 8003".to_owned()), "{:?}", world.story());
        }
        hang_up(&mut world, 0);
        hang_up(&mut world, 0);
        world.settle();
    }
}

#[test]
fn handing_on_to_a_call_of_somebody_else_is_refused() {
    let mut world = talking(1);
    world.uas[3].manner = Manner::Ring;
    world.call(2, "8003");
    world.run(2 * SECOND);
    // 8001 names the call that 8002 has under way.
    let stolen = world.uas[2].leg().early_dialog.take();
    world.call(1, "8003");
    world.run(SECOND);
    world.uas[1].leg().early_dialog = stolen;
    let now = world.now.monotonic;
    world.uas[1].refer_ringing(now, 0, 1);
    world.run(SECOND);
    assert!(has(&world, 1, "481 REFER"), "{:?}", world.uas[1].log);
    assert_eq!(world.switch.live_calls(), 3);
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
    let mut world = talking(1);
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
        let mut world = talking(1);
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
