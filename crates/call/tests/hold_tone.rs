//! What a customer on hold hears of ours, and when nothing.
#![allow(clippy::unwrap_used)]

mod world;

use cheling_call::io::{Command, CommandReply, Order, Played, Settings};
use cheling_model::CallId;
use cheling_sip::sdp::Direction;
use world::talk::{CUSTOMER, DID, SECOND, plan};
use world::ua::{Manner, Ua};
use world::{World, id, settings};

/// A customer (0) who talks to 8001 (1); 8003 (3) is free.
fn talking() -> (World, CallId) {
    let settings = Settings { plays_on_hold: true, ..settings(1) };
    let mut world = World::dealership_with(settings, 1);
    let third = world.add(Ua::new("8003", "192.0.2.103:5060"));
    world.register(third);
    world.uas[2].manner = Manner::Ring;
    world.call(0, DID);
    world.run(5 * SECOND);
    let call_id = world.taps[0].0;
    (world, call_id)
}

fn order(world: &mut World, call_id: CallId, order: Order) {
    world.command(Command::Control { ticket: 1, call_id, extension: None, order });
    world.run(SECOND);
    assert_eq!(world.replies.pop().unwrap(), CommandReply::Accepted);
}

fn turn(world: &mut World, ua: usize, direction: Direction) {
    let now = world.now.monotonic;
    world.uas[ua].reinvite(now, direction);
    world.run(SECOND);
}

/// The plan is that of a customer who is played to alone, with this passed across.
fn is_played(world: &World, call_id: CallId, forwards: [bool; 2]) {
    let plan = plan(world, call_id).unwrap();
    assert_eq!(plan.forwards, forwards);
    let [voice] = &plan.voices[..] else { panic!("{plan:?}") };
    assert_eq!((voice.who, voice.played), (CUSTOMER, Some(Played::Held)));
    assert_eq!(voice.sends.as_ref().unwrap().format.encoding, "PCMA");
    assert!(voice.hears.is_empty() && !voice.is_recorded);
}

fn heard(world: &mut World, ua: usize) -> Direction {
    world.uas[ua].leg().heard.clone().unwrap().audio().unwrap().direction
}

fn ends(mut world: World) {
    let now = world.now.monotonic;
    world.uas[0].hang_up(now);
    world.settle();
}

#[test]
fn a_customer_who_is_held_by_an_order_is_played_to() {
    let (mut world, call_id) = talking();
    order(&mut world, call_id, Order::Hold);
    is_played(&world, call_id, [false, false]);
    order(&mut world, call_id, Order::Resume);
    assert_eq!(plan(&world, call_id), None);
    ends(world);
}

#[test]
fn a_customer_who_is_held_by_a_phone_is_played_to_beside_what_the_phone_sends() {
    for direction in [Direction::SendOnly, Direction::Inactive] {
        let (mut world, call_id) = talking();
        turn(&mut world, 1, direction);
        is_played(&world, call_id, [true, true]);
        assert_eq!(heard(&mut world, 0), Direction::SendOnly, "or he would not listen");
        if direction == Direction::Inactive {
            assert_eq!(heard(&mut world, 1), Direction::Inactive, "nothing else answers it");
        }
        // Once more is nothing new.
        world.outputs.clear();
        turn(&mut world, 1, direction);
        assert!(!world.outputs.iter().any(|it| it.starts_with("Mix")), "{:?}", world.outputs);
        turn(&mut world, 1, Direction::SendRecv);
        assert_eq!(plan(&world, call_id), None, "{direction:?}");
        assert_eq!(heard(&mut world, 0), Direction::SendRecv);
        ends(world);
    }
}

#[test]
fn a_customer_who_waits_for_a_consultation_is_played_to_until_somebody_is_back() {
    for ends_by in [Order::CancelConsult, Order::CompleteConsult, Order::JoinConsult] {
        let (mut world, call_id) = talking();
        order(&mut world, call_id, Order::Consult { consult_id: id(77), number: "8003".into() });
        world.run(3 * SECOND);
        is_played(&world, call_id, [false, false]);
        order(&mut world, call_id, ends_by.clone());
        world.run(3 * SECOND);
        let plays = plan(&world, call_id)
            .is_some_and(|plan| plan.voices.iter().any(|voice| voice.played.is_some()));
        assert!(!plays, "{ends_by:?}");
        ends(world);
    }
}

#[test]
fn nobody_is_played_to_who_holds_himself_or_is_held_by_a_customer() {
    let (mut world, call_id) = talking();
    turn(&mut world, 0, Direction::SendOnly);
    assert_eq!(plan(&world, call_id), None, "what the network plays is its own affair");
    turn(&mut world, 0, Direction::SendRecv);
    turn(&mut world, 1, Direction::SendOnly);
    is_played(&world, call_id, [true, true]);
    turn(&mut world, 0, Direction::Inactive);
    assert_eq!(plan(&world, call_id), None, "he does not listen");
    ends(world);
}

#[test]
fn whoever_takes_a_held_call_ends_the_tone() {
    let (mut world, call_id) = talking();
    turn(&mut world, 1, Direction::SendOnly);
    is_played(&world, call_id, [true, true]);
    let now = world.now.monotonic;
    world.uas[1].refer(now, "8003");
    world.run(5 * SECOND);
    assert_eq!(plan(&world, call_id), None);
    ends(world);
}
