//! Calls under control: hold, transfer, consultation and third parties by order of the console.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

mod world;

use cheling_call::io::{Command, CommandReply, Order, Speaker};
use cheling_model::{CallId, GuestRole};
use cheling_sip::sdp::Direction;
use world::talk::{
    AGENT, CUSTOMER, SECOND, direction, hang_up, has, hears, order, plan, port, talking,
};
use world::ua::Manner;
use world::{World, id};

fn monitor(world: &mut World, call_id: CallId, role: GuestRole) -> CommandReply {
    order(world, call_id, Order::Monitor { monitor: "8003".into(), role })
}

#[test]
fn a_hold_by_order_is_told_to_both_phones_and_nothing_passes_until_it_ends() {
    let (mut world, call_id) = talking(1);
    assert_eq!(order(&mut world, call_id, Order::Hold), CommandReply::Accepted);
    assert_eq!(direction(&mut world, 0), Direction::SendOnly);
    assert_eq!(direction(&mut world, 1), Direction::Inactive);
    let held = plan(&world, call_id).unwrap();
    assert_eq!((held.forwards, held.voices.len()), ([false, false], 0));
    // Twice is once.
    assert_eq!(order(&mut world, call_id, Order::Hold), CommandReply::Accepted);
    assert_eq!(order(&mut world, call_id, Order::Resume), CommandReply::Accepted);
    assert_eq!(direction(&mut world, 0), Direction::SendRecv);
    assert_eq!(direction(&mut world, 1), Direction::SendRecv);
    assert_eq!(plan(&world, call_id), None);
    assert_eq!(order(&mut world, call_id, Order::Resume), CommandReply::Accepted);
    assert_eq!(world.story(), ["held Agent", "resumed Agent"]);
    hang_up(&mut world, 0);
    world.settle();
}

#[test]
fn a_phone_that_takes_the_call_up_itself_ends_a_hold_by_order() {
    let (mut world, call_id) = talking(1);
    order(&mut world, call_id, Order::Hold);
    let now = world.now.monotonic;
    world.uas[1].reinvite(now, Direction::SendRecv);
    world.run(SECOND);
    assert_eq!(direction(&mut world, 0), Direction::SendRecv);
    assert_eq!(plan(&world, call_id), None);
    assert_eq!(world.story(), ["held Agent", "resumed Agent"]);
    hang_up(&mut world, 1);
    world.settle();
}

#[test]
fn an_order_at_a_bad_time_or_about_nothing_says_so() {
    let (mut world, call_id) = talking(1);
    for (call, wanted, reply) in [
        (id::<CallId>(99), Order::Hold, CommandReply::NoSuchCall),
        (call_id, Order::Transfer { number: "nobody".into() }, CommandReply::NoRoute),
        (call_id, Order::Transfer { number: "8001".into() }, CommandReply::NotRegistered),
        (call_id, Order::Invite { number: "8001".into() }, CommandReply::NotRegistered),
        (call_id, Order::Dismiss { guest: 1 }, CommandReply::NoSuchGuest),
        (call_id, Order::CompleteConsult, CommandReply::NotNow),
        (call_id, Order::CancelConsult, CommandReply::NotNow),
        (call_id, Order::JoinConsult, CommandReply::NotNow),
        (call_id, Order::Leave, CommandReply::NotNow),
    ] {
        assert_eq!(order(&mut world, call, wanted.clone()), reply, "{wanted:?}");
    }
    let nobody = Order::Monitor { monitor: "8009".into(), role: GuestRole::Listen };
    assert_eq!(order(&mut world, call_id, nobody), CommandReply::NoSuchExtension);
    let party = Order::Monitor { monitor: "8001".into(), role: GuestRole::Listen };
    assert_eq!(order(&mut world, call_id, party), CommandReply::ExtensionBusy);
    // A phone holds at the same moment: one offer at a time.
    let now = world.now.monotonic;
    world.uas[1].reinvite(now, Direction::SendOnly);
    world.link.delay = SECOND;
    world.run(SECOND / 100);
    hang_up(&mut world, 0);
    world.link.delay = Duration::ZERO;
    world.settle();
}

#[test]
fn a_transfer_by_order_needs_no_refer_of_the_phone() {
    let (mut world, call_id) = talking(1);
    let to = Order::Transfer { number: "8003".into() };
    assert_eq!(order(&mut world, call_id, to), CommandReply::Accepted);
    world.run(5 * SECOND);
    assert!(!has(&world, 1, "NOTIFY") && has(&world, 1, "BYE SIP;cause=200"));
    assert_eq!(port(&mut world, 3), 30002);
    assert_eq!(
        world.story(),
        [
            "transfer to 8003 Began",
            "ringing 8003",
            "transfer to 8003 Done",
            "answered 8003",
            "formats Agent PCMA PCMU TELEPHONE-EVENT"
        ]
    );
    hang_up(&mut world, 3);
    world.settle();
}

#[test]
fn a_transfer_by_order_that_fails_leaves_the_call_as_it_was() {
    let (mut world, call_id) = talking(1);
    world.uas[3].manner = Manner::Refuse(486, SECOND);
    order(&mut world, call_id, Order::Transfer { number: "8003".into() });
    world.run(5 * SECOND);
    assert!(!has(&world, 1, "BYE"));
    let story = world.story();
    assert_eq!(story.last().unwrap(), "transfer to 8003 Failed { status: 486 }", "{story:?}");
    hang_up(&mut world, 0);
    world.settle();
}

#[test]
fn a_held_customer_is_taken_off_hold_by_who_takes_the_call() {
    let (mut world, call_id) = talking(1);
    order(&mut world, call_id, Order::Hold);
    order(&mut world, call_id, Order::Transfer { number: "8003".into() });
    world.run(5 * SECOND);
    assert_eq!(direction(&mut world, 0), Direction::SendRecv);
    assert_eq!(plan(&world, call_id), None);
    assert!(world.story().contains(&"resumed Agent".to_owned()), "{:?}", world.story());
    hang_up(&mut world, 0);
    world.settle();
}

#[test]
fn a_listener_is_heard_by_nobody_and_the_two_go_on_untouched() {
    let (mut world, call_id) = talking(1);
    assert_eq!(monitor(&mut world, call_id, GuestRole::Listen), CommandReply::Accepted);
    world.run(5 * SECOND);
    let invite = world.uas[3].invites[0].clone();
    assert!(invite.headers.get("Call-Info").unwrap().ends_with("answer-after=0"));
    assert_eq!(port(&mut world, 3), 30004);
    // Whoever has many calls sees which this is, and no console pops.
    assert_eq!(invite.headers.from().unwrap().uri.user(), Some("8001"));
    let listening = plan(&world, call_id).unwrap();
    assert_eq!(listening.forwards, [true, true]);
    assert_eq!(hears(&listening, Speaker::Guest(1)), [CUSTOMER, AGENT]);
    assert_eq!(hears(&listening, CUSTOMER), [AGENT]);
    assert_eq!(hears(&listening, AGENT), [CUSTOMER]);
    assert!(!has(&world, 0, "INVITE") && !has(&world, 1, "UPDATE"));
    let story = world.story();
    assert_eq!(
        story,
        [
            "guest 1 8003 called to listen",
            "formats Agent PCMA PCMU G722 OPUS TELEPHONE-EVENT",
            "guest 1 8003 joined to listen",
        ]
    );
    hang_up(&mut world, 3);
    world.run(SECOND);
    assert_eq!(plan(&world, call_id), None);
    assert_eq!(world.story().last().unwrap(), "guest 1 left");
    assert_eq!(world.outputs.last().unwrap(), "Mix none");
    assert!(world.outputs.contains(&"CloseGuest 1".to_owned()));
    hang_up(&mut world, 0);
    world.settle();
}

#[test]
fn a_whisper_is_for_the_agent_alone_and_unrecorded_until_it_becomes_a_barge() {
    let (mut world, call_id) = talking(1);
    monitor(&mut world, call_id, GuestRole::Whisper);
    world.run(5 * SECOND);
    let guest = Speaker::Guest(1);
    for (role, to_customer, to_agent, is_recorded) in [
        (GuestRole::Whisper, vec![AGENT], vec![CUSTOMER, guest], false),
        (GuestRole::Barge, vec![AGENT, guest], vec![CUSTOMER, guest], true),
        (GuestRole::Listen, vec![AGENT], vec![CUSTOMER], false),
        (GuestRole::Whisper, vec![AGENT], vec![CUSTOMER, guest], false),
    ] {
        assert_eq!(monitor(&mut world, call_id, role), CommandReply::Accepted);
        let plan = plan(&world, call_id).unwrap();
        assert_eq!(hears(&plan, CUSTOMER), to_customer, "{role:?}");
        assert_eq!(hears(&plan, AGENT), to_agent, "{role:?}");
        assert_eq!(hears(&plan, guest), [CUSTOMER, AGENT], "{role:?}");
        let voice = plan.voices.iter().find(|voice| voice.who == guest).unwrap();
        assert_eq!(voice.is_recorded, is_recorded, "{role:?}");
    }
    // One phone, one guest.
    assert_eq!(world.uas[3].invites.len(), 1);
    assert_eq!(order(&mut world, call_id, Order::Dismiss { guest: 1 }), CommandReply::Accepted);
    world.run(SECOND);
    assert!(has(&world, 3, "BYE") && plan(&world, call_id).is_none());
    hang_up(&mut world, 0);
    world.settle();
}

#[test]
fn in_a_conference_all_hear_all_and_the_end_of_the_call_is_the_end_for_all() {
    let (mut world, call_id) = talking(1);
    let invite = Order::Invite { number: "8002".into() };
    assert_eq!(order(&mut world, call_id, invite), CommandReply::Accepted);
    world.run(5 * SECOND);
    monitor(&mut world, call_id, GuestRole::Whisper);
    world.run(5 * SECOND);
    let (colleague, whisperer) = (Speaker::Guest(1), Speaker::Guest(2));
    let plan = plan(&world, call_id).unwrap();
    assert_eq!(hears(&plan, CUSTOMER), [AGENT, colleague]);
    assert_eq!(hears(&plan, AGENT), [CUSTOMER, colleague, whisperer]);
    assert_eq!(hears(&plan, colleague), [CUSTOMER, AGENT]);
    assert_eq!(hears(&plan, whisperer), [CUSTOMER, AGENT, colleague]);
    assert!(world.story().contains(&"guest 1 8002 joined to conference".to_owned()));
    hang_up(&mut world, 0);
    world.settle();
    assert!(has(&world, 2, "BYE") && has(&world, 3, "BYE"));
    let story = world.story();
    let tail: Vec<_> = story.iter().rev().take(4).rev().collect();
    assert_eq!(
        tail,
        ["guest 1 left", "guest 2 left", "ended HungUp Some(Customer) None", "relay closed"]
    );
}

#[test]
fn a_conference_with_a_number_outside_goes_by_the_trunk() {
    let (mut world, call_id) = talking(1);
    world.uas[0].manner = Manner::Answer(SECOND);
    order(&mut world, call_id, Order::Invite { number: "13912345678".into() });
    world.run(5 * SECOND);
    assert!(has(&world, 0, "INVITE"), "{:?}", world.uas[0].log);
    assert!(world.story().contains(&"guest 1 13912345678 joined to conference".to_owned()));
    assert!(plan(&world, call_id).unwrap().voices[2].is_recorded);
    world.command(Command::HangUp { ticket: 9, call_id });
    world.settle();
}

#[test]
fn a_guest_that_does_not_come_leaves_no_trace() {
    for manner in [Manner::Refuse(486, SECOND), Manner::Ring, Manner::Dead] {
        let (mut world, call_id) = talking(1);
        world.uas[3].manner = manner;
        let invite = Order::Invite { number: "8003".into() };
        assert_eq!(order(&mut world, call_id, invite), CommandReply::Accepted);
        world.run(100 * SECOND);
        assert_eq!(plan(&world, call_id), None);
        assert_eq!(world.switch.live_calls(), 1);
        assert_eq!(world.outputs.last().unwrap(), "CloseGuest 1", "{manner:?}");
        let story = world.story();
        let told: Vec<_> = story.iter().filter(|line| line.starts_with("guest")).collect();
        assert_eq!(told, ["guest 1 8003 called to conference", "guest 1 left"], "{manner:?}");
        hang_up(&mut world, 1);
        world.settle();
    }
}

#[test]
fn a_third_who_rings_is_called_off() {
    for is_monitor in [false, true] {
        let (mut world, call_id) = talking(1);
        world.uas[3].manner = Manner::Ring;
        let reply = match is_monitor {
            false => order(&mut world, call_id, Order::Invite { number: "8003".into() }),
            true => monitor(&mut world, call_id, GuestRole::Whisper),
        };
        assert_eq!(reply, CommandReply::Accepted);
        world.run(2 * SECOND);
        assert_eq!(world.uas[3].invites.len(), 1);
        let off = Order::Dismiss { guest: 1 };
        assert_eq!(order(&mut world, call_id, off), CommandReply::Accepted);
        world.run(2 * SECOND);
        assert!(has(&world, 3, "CANCEL"), "{:?}", world.uas[3].log);
        assert!(world.story().contains(&"guest 1 left".to_owned()), "{:?}", world.story());
        assert_eq!(plan(&world, call_id), None);
        hang_up(&mut world, 1);
        world.settle();
    }
}

#[test]
fn a_guest_without_a_port_is_not_rung() {
    let (mut world, call_id) = talking(1);
    world.opens_relays = false;
    monitor(&mut world, call_id, GuestRole::Barge);
    world.run(SECOND);
    assert!(world.uas[3].invites.is_empty());
    hang_up(&mut world, 0);
    world.settle();
}

#[test]
fn a_guest_may_hold_and_move_and_refresh() {
    let (mut world, call_id) = talking(1);
    monitor(&mut world, call_id, GuestRole::Barge);
    world.run(5 * SECOND);
    let now = world.now.monotonic;
    world.uas[3].reinvite(now, Direction::SendOnly);
    world.run(SECOND);
    assert!(has(&world, 3, "200 INVITE"), "{:?}", world.uas[3].log);
    assert_eq!(direction(&mut world, 3), Direction::RecvOnly);
    assert_eq!(hears(&plan(&world, call_id).unwrap(), Speaker::Guest(1)), []);
    let now = world.now.monotonic;
    world.uas[3].reinvite(now, Direction::SendRecv);
    world.run(SECOND);
    assert_eq!(hears(&plan(&world, call_id).unwrap(), Speaker::Guest(1)), [CUSTOMER, AGENT]);
    hang_up(&mut world, 0);
    world.settle();
}

fn consult(world: &mut World, call_id: CallId, number: &str) -> CommandReply {
    order(world, call_id, Order::Consult { consult_id: id(77), number: number.into() })
}

#[test]
fn a_consultation_is_a_call_of_its_own_and_completed_it_hands_the_customer_over() {
    let (mut world, call_id) = talking(1);
    assert_eq!(consult(&mut world, call_id, "8003"), CommandReply::Accepted);
    world.run(5 * SECOND);
    // The customer waits; the agent's phone is at the ports of the second call.
    assert_eq!(direction(&mut world, 0), Direction::SendOnly);
    assert_eq!(port(&mut world, 1), 30004);
    assert_eq!(port(&mut world, 3), 30006);
    assert_eq!(world.switch.live_calls(), 2);
    assert_eq!(order(&mut world, call_id, Order::CompleteConsult), CommandReply::Accepted);
    world.run(5 * SECOND);
    assert!(has(&world, 1, "BYE SIP;cause=200"), "{:?}", world.uas[1].log);
    assert_eq!(port(&mut world, 3), 30002);
    assert_eq!(direction(&mut world, 0), Direction::SendRecv);
    assert_eq!(direction(&mut world, 3), Direction::SendRecv);
    assert_eq!(plan(&world, call_id), None);
    assert_eq!(world.switch.live_calls(), 1);
    hang_up(&mut world, 3);
    world.settle();
    assert_eq!(
        world.story_of(call_id),
        [
            "consulting began",
            "held Agent",
            "consulting over",
            "transfer to 8003 Done",
            "ringing 8003",
            "answered 8003",
            "resumed Agent",
            "formats Agent PCMA PCMU TELEPHONE-EVENT",
            "ended HungUp Some(Agent) None",
            "relay closed",
        ]
    );
    let second = world.story_of(id(77));
    assert_eq!(second[0], "offered Internal 8001>8003", "{second:?}");
    assert!(second.contains(&"answered 8003".to_owned()));
}

#[test]
fn a_consultation_that_comes_to_nothing_gives_the_agent_back() {
    for (manner, how) in [
        (Manner::Refuse(486, SECOND), "refused"),
        (Manner::Refuse(486, Duration::ZERO), "refused at once"),
        (Manner::Ring, "cancelled ringing"),
        (Manner::Answer(SECOND), "cancelled talking"),
        (Manner::Answer(SECOND), "hung up"),
    ] {
        let (mut world, call_id) = talking(1);
        world.uas[3].manner = manner;
        consult(&mut world, call_id, "8003");
        world.run(5 * SECOND);
        match how {
            "hung up" => hang_up(&mut world, 3),
            _ if how.starts_with("cancelled") => {
                // Said of either call.
                let either = if how.ends_with("talking") { id(77) } else { call_id };
                assert_eq!(order(&mut world, either, Order::CancelConsult), CommandReply::Accepted);
            }
            _ => {}
        }
        world.run(5 * SECOND);
        assert_eq!(world.switch.live_calls(), 1, "{how}");
        assert_eq!(port(&mut world, 1), 30002, "{how}");
        assert_eq!(direction(&mut world, 0), Direction::SendRecv, "{how}");
        assert_eq!(direction(&mut world, 1), Direction::SendRecv, "{how}");
        assert_eq!(plan(&world, call_id), None, "{how}");
        assert!(!has(&world, 1, "BYE"), "{how}");
        // And on it goes.
        assert_eq!(order(&mut world, call_id, Order::Hold), CommandReply::Accepted, "{how}");
        hang_up(&mut world, 1);
        world.settle();
    }
}

#[test]
fn whoever_leaves_during_a_consultation_takes_nobody_along() {
    // The agent hangs up: whoever he asked has the customer.
    let (mut world, call_id) = talking(1);
    consult(&mut world, call_id, "8003");
    world.run(5 * SECOND);
    hang_up(&mut world, 1);
    world.run(5 * SECOND);
    assert_eq!((world.switch.live_calls(), port(&mut world, 3)), (1, 30002));
    assert!(world.story_of(call_id).contains(&"answered 8003".to_owned()));
    hang_up(&mut world, 0);
    world.settle();
    // The customer hangs up: the two colleagues talk on.
    let (mut world, call_id) = talking(2);
    consult(&mut world, call_id, "8003");
    world.run(5 * SECOND);
    hang_up(&mut world, 0);
    world.run(5 * SECOND);
    assert_eq!(world.switch.live_calls(), 1);
    assert!(!has(&world, 1, "BYE") && !has(&world, 3, "BYE"));
    hang_up(&mut world, 1);
    world.settle();
    // The agent hangs up and nobody has answered: then the call is over.
    let (mut world, call_id) = talking(3);
    world.uas[3].manner = Manner::Ring;
    consult(&mut world, call_id, "8003");
    world.run(5 * SECOND);
    hang_up(&mut world, 1);
    world.settle();
    assert!(has(&world, 0, "BYE") && has(&world, 3, "CANCEL"));
}

#[test]
fn nothing_is_left_of_controlled_calls_on_a_lossy_link() {
    for seed in 1..25 {
        let (mut world, call_id) = talking(seed);
        world.link.lost = 20;
        world.link.delay = Duration::from_millis(300);
        let steps = [
            Order::Hold,
            Order::Consult { consult_id: id(77), number: "8003".into() },
            Order::CancelConsult,
            Order::Resume,
            Order::Monitor { monitor: "8003".into(), role: GuestRole::Barge },
            Order::Invite { number: "8002".into() },
            Order::Transfer { number: "8002".into() },
            Order::CompleteConsult,
            Order::JoinConsult,
            Order::Leave,
        ];
        for _ in 0..16 {
            let step = steps[(world.random() % 10) as usize].clone();
            order(&mut world, call_id, step);
            let pause = world.random() % 4000;
            world.run(Duration::from_millis(pause));
        }
        world.link.lost = 0;
        world.command(Command::EndAll);
        for ua in 0..4 {
            world.uas[ua].acknowledges = true;
        }
        world.settle();
    }
}
