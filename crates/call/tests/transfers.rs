//! A call is handed on by a phone: blind, after asking, and while the other still rings.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

mod world;

use cheling_sip::sdp::Direction;
use world::talk::{DID, SECOND, hang_up, has, refer, talking, words};
use world::ua::{Manner, Ua};
use world::{GATEWAY, Link, World};

#[test]
fn a_blind_transfer_takes_the_place_of_who_handed_on() {
    let mut world = talking(1).0;
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
        let mut world = talking(1).0;
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
        let mut world = talking(1).0;
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
        let mut world = talking(1).0;
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
    let mut world = talking(1).0;
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
    let mut world = talking(1).0;
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
        let mut world = talking(1).0;
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

/// As [`talking`], and 8001 asks 8003.
fn consulting(seed: u64) -> World {
    let mut world = talking(seed).0;
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
fn a_call_that_is_handed_on_while_the_other_still_rings_rings_there_anew() {
    for (to, ringing) in [("8003", 3), ("913987654321", 0)] {
        let mut world = talking(1).0;
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
    let mut world = talking(1).0;
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
