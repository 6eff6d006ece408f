//! A consultation becomes a conference, and who brought others in leaves it.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

mod world;

use cheling_call::io::{Command, CommandReply, Order, Speaker};
use cheling_model::CallId;
use cheling_sip::sdp::Direction;
use world::talk::{
    AGENT, CUSTOMER, DID, SECOND, direction, has, hears, order, plan, port, talking,
};
use world::ua::Manner;
use world::{World, id};

const THIRD: Speaker = Speaker::Guest(1);

/// A customer (0) who waits while 8001 (1) speaks with 8003 (3).
fn consulting(seed: u64, manner: Manner) -> (World, CallId) {
    let (mut world, call_id) = talking(seed);
    world.uas[3].manner = manner;
    let consult = Order::Consult { consult_id: id(77), number: "8003".into() };
    assert_eq!(order(&mut world, call_id, consult), CommandReply::Accepted);
    world.run(5 * SECOND);
    (world, call_id)
}

/// The three talk.
fn joined(seed: u64) -> (World, CallId) {
    let (mut world, call_id) = consulting(seed, Manner::Answer(SECOND));
    assert_eq!(order(&mut world, call_id, Order::JoinConsult), CommandReply::Accepted);
    world.run(2 * SECOND);
    (world, call_id)
}

fn hang_up(world: &mut World, ua: usize) {
    let now = world.now.monotonic;
    world.uas[ua].hang_up(now);
    world.run(2 * SECOND);
}

fn all_hear_all(world: &World, call_id: CallId) {
    let plan = plan(world, call_id).unwrap();
    assert_eq!(hears(&plan, CUSTOMER), [AGENT, THIRD]);
    assert_eq!(hears(&plan, AGENT), [CUSTOMER, THIRD]);
    assert_eq!(hears(&plan, THIRD), [CUSTOMER, AGENT]);
    let voice = plan.voices.iter().find(|voice| voice.who == THIRD).unwrap();
    assert!(voice.is_recorded);
}

#[test]
fn who_is_consulted_is_brought_in_by_the_dialog_he_has() {
    let (mut world, call_id) = joined(1);
    assert_eq!(world.uas[3].invites.len(), 1, "nothing rings again");
    assert_eq!(port(&mut world, 1), 30002, "the agent is back");
    assert_eq!(port(&mut world, 3), 30008, "a port of his own");
    for ua in [0, 1, 3] {
        assert_eq!(direction(&mut world, ua), Direction::SendRecv, "{ua}");
        assert!(!has(&world, ua, "BYE"), "{ua}");
    }
    all_hear_all(&world, call_id);
    assert_eq!(world.switch.live_calls(), 1);
    assert_eq!(
        world.story_of(call_id),
        [
            "consulting began",
            "held Agent",
            "guest 1 8003 called to conference",
            "consulting over",
            "ringing 8003",
            "formats Agent PCMA PCMU G722 OPUS TELEPHONE-EVENT",
            "guest 1 8003 joined to conference",
            "resumed Agent",
            "formats Agent PCMA PCMU TELEPHONE-EVENT",
        ]
    );
    let second = world.story_of(id(77));
    assert!(second.contains(&"ended HungUp Some(Customer) None".to_owned()), "{second:?}");
    hang_up(&mut world, 0);
    assert!(
        has(&world, 1, "BYE") && has(&world, 3, "BYE"),
        "the customer's end is the end for all"
    );
    world.settle();
}

#[test]
fn who_was_joined_is_put_out_again_and_the_two_go_on() {
    let (mut world, call_id) = joined(1);
    assert_eq!(order(&mut world, call_id, Order::Dismiss { guest: 1 }), CommandReply::Accepted);
    world.run(SECOND);
    assert!(has(&world, 3, "BYE") && plan(&world, call_id).is_none());
    assert!(!has(&world, 1, "BYE"));
    hang_up(&mut world, 1);
    assert!(has(&world, 0, "BYE"), "with nobody else there the agent's end is the end");
    world.settle();
}

#[test]
fn an_agent_who_leaves_a_conference_leaves_the_customer_with_who_is_there() {
    for is_order in [false, true] {
        let (mut world, call_id) = joined(1);
        world.taps.clear();
        match is_order {
            false => hang_up(&mut world, 1),
            true => {
                assert_eq!(order(&mut world, call_id, Order::Leave), CommandReply::Accepted);
                world.run(2 * SECOND);
                assert!(has(&world, 1, "BYE SIP;cause=200"), "{:?}", world.uas[1].log);
            }
        }
        assert_eq!(port(&mut world, 3), 30002, "he has the agent's place");
        assert!(!has(&world, 0, "BYE") && !has(&world, 3, "BYE"));
        assert_eq!(plan(&world, call_id), None);
        assert_eq!(
            world.story_of(call_id),
            [
                "transfer to 8003 Done",
                "answered 8003",
                "guest 1 left",
                "formats Agent PCMA PCMU TELEPHONE-EVENT"
            ]
        );
        assert!(world.outputs.contains(&"CloseGuest 1".to_owned()));
        // And that is a call as any other.
        let hold = Command::Control {
            ticket: 1,
            call_id,
            extension: Some("8003".into()),
            order: Order::Hold,
        };
        world.command(hold);
        world.run(SECOND);
        assert_eq!(direction(&mut world, 0), Direction::SendOnly);
        hang_up(&mut world, 3);
        assert!(has(&world, 0, "BYE"));
        world.settle();
    }
}

#[test]
fn an_agent_who_leaves_before_the_third_is_in_is_not_waited_for() {
    for (comes, manner) in [(true, None), (false, Some(488))] {
        let (mut world, call_id) = consulting(1, Manner::Answer(SECOND));
        if let Some(status) = manner {
            let refusal = (cheling_sip::Method::Invite, status, "X-Why", String::new());
            world.uas[3].refusals.push_back(refusal);
        }
        world.link.delay = SECOND;
        assert_eq!(order(&mut world, call_id, Order::JoinConsult), CommandReply::Accepted);
        world.link.delay = Duration::ZERO;
        let now = world.now.monotonic;
        world.uas[1].hang_up(now);
        world.run(40 * SECOND);
        assert_eq!(has(&world, 0, "BYE"), !comes, "{:?}", world.story_of(call_id));
        if comes {
            assert_eq!(port(&mut world, 3), 30002);
            hang_up(&mut world, 0);
        }
        world.settle();
    }
}

#[test]
fn an_answer_that_comes_after_the_agent_has_left_is_acknowledged() {
    let (mut world, _) = joined(1);
    let now = world.now.monotonic;
    // He presses hold and hangs up before the customer's phone has answered that.
    world.uas[1].reinvite(now, Direction::SendOnly);
    world.uas[1].hang_up(now);
    world.run(40 * SECOND);
    let asked = world.sent_to(0).iter().filter(|line| line.starts_with("INVITE")).count();
    let acknowledged = world.sent_to(0).iter().filter(|line| line.starts_with("ACK")).count();
    assert!(asked > 1 && acknowledged == asked, "{:?}", world.sent_to(0));
    assert_eq!(port(&mut world, 3), 30002, "he has the agent's place");
    hang_up(&mut world, 3);
    world.settle();
}

#[test]
fn who_cannot_be_brought_in_leaves_the_two_alone() {
    for status in [488, 481, 603] {
        let (mut world, call_id) = consulting(1, Manner::Answer(SECOND));
        let refusal = (cheling_sip::Method::Invite, status, "X-Why", String::new());
        world.uas[3].refusals.push_back(refusal);
        assert_eq!(order(&mut world, call_id, Order::JoinConsult), CommandReply::Accepted);
        world.run(2 * SECOND);
        assert_eq!(has(&world, 3, "BYE"), status != 481, "{status}");
        assert_eq!(plan(&world, call_id), None);
        assert_eq!(direction(&mut world, 0), Direction::SendRecv);
        assert!(world.story_of(call_id).contains(&"guest 1 left".to_owned()));
        if status == 481 {
            world.uas[3].leg().is_over = true;
        }
        hang_up(&mut world, 0);
        world.settle();
    }
}

#[test]
fn an_offer_that_meets_one_of_theirs_is_made_again() {
    let (mut world, call_id) = consulting(1, Manner::Answer(SECOND));
    for _ in 0..2 {
        let refusal = (cheling_sip::Method::Invite, 491, "X-Why", String::new());
        world.uas[3].refusals.push_back(refusal);
    }
    assert_eq!(order(&mut world, call_id, Order::JoinConsult), CommandReply::Accepted);
    world.run(15 * SECOND);
    all_hear_all(&world, call_id);
    hang_up(&mut world, 0);
    world.settle();
}

#[test]
fn nobody_is_joined_before_he_has_answered() {
    let (mut world, call_id) = consulting(1, Manner::Ring);
    for either in [call_id, id(77)] {
        assert_eq!(order(&mut world, either, Order::JoinConsult), CommandReply::NotNow);
    }
    assert_eq!(order(&mut world, call_id, Order::CancelConsult), CommandReply::Accepted);
    world.run(2 * SECOND);
    assert_eq!(direction(&mut world, 0), Direction::SendRecv);
    hang_up(&mut world, 0);
    world.settle();
}

#[test]
fn a_number_outside_that_was_consulted_is_joined_by_its_trunk() {
    let mut world = World::dealership(1);
    world.uas[2].manner = Manner::Ring;
    world.call(0, DID);
    world.run(5 * SECOND);
    let call_id = world.taps[0].0;
    let consult = Order::Consult { consult_id: id(77), number: "13912345678".into() };
    assert_eq!(order(&mut world, call_id, consult), CommandReply::Accepted);
    world.run(5 * SECOND);
    assert_eq!(order(&mut world, id(77), Order::JoinConsult), CommandReply::Accepted);
    world.run(2 * SECOND);
    all_hear_all(&world, call_id);
    let story = world.story_of(call_id);
    assert!(story.contains(&"guest 1 13912345678 joined to conference".to_owned()), "{story:?}");
    world.command(Command::HangUp { ticket: 9, call_id });
    world.settle();
}

#[test]
fn nothing_is_left_of_conferences_on_a_lossy_link() {
    for seed in 1..25 {
        let (mut world, call_id) = consulting(seed, Manner::Answer(SECOND));
        world.link.lost = 20;
        world.link.delay = Duration::from_millis(300);
        order(&mut world, call_id, Order::JoinConsult);
        let pause = world.random() % 1500;
        world.run(Duration::from_millis(pause));
        let who = [0, 1, 1, 3][(world.random() % 4) as usize];
        hang_up(&mut world, who);
        world.run(60 * SECOND);
        world.link.lost = 0;
        world.command(Command::EndAll);
        world.settle();
    }
}
