//! Recordings paused and resumed: by command, by code, by the limit; and who is told.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

mod world;

use cheling_call::io::{Command, CommandReply, Input};
use cheling_model::call::{Digit, PausedBy};
use cheling_model::{CallId, Lane, TapKind, UserId};
use cheling_sip::Method;
use world::World;
use world::talk::SECOND;
use world::ua::Manner;

/// A customer (0) who talks to 8001 (1).
fn talking() -> (World, CallId) {
    let mut world = World::dealership(1);
    world.uas[2].manner = Manner::Ring;
    world.call(0, "02161234567");
    world.run(5 * SECOND);
    let call_id = world.taps[0].0;
    world.taps.clear();
    world.outputs.clear();
    (world, call_id)
}

fn user() -> PausedBy {
    PausedBy::User { user_id: world::id::<UserId>(8001) }
}

fn pause(world: &mut World, call_id: CallId) {
    world.command(Command::PauseRecording { ticket: 1, call_id, by: user() });
    world.run(Duration::ZERO);
}

fn resume(world: &mut World, call_id: CallId) {
    world.command(Command::ResumeRecording { ticket: 2, call_id, by: user() });
    world.run(Duration::ZERO);
}

fn press(world: &mut World, call_id: CallId, keys: &str) {
    for key in keys.chars() {
        world.feed(Input::Digit { call_id, digit: Digit(key) });
        world.run(Duration::from_millis(200));
    }
}

fn hang_up(world: &mut World) {
    let now = world.now.monotonic;
    world.uas[0].hang_up(now);
    world.settle();
}

#[test]
fn a_pause_takes_effect_before_it_is_answered_and_names_who() {
    let (mut world, call_id) = talking();
    pause(&mut world, call_id);
    assert_eq!(world.outputs, ["PauseRecording true"]);
    assert_eq!(world.replies, [CommandReply::Accepted]);
    let (_, TapKind::RecordingPaused { by, until }) = world.taps[0].clone() else { panic!() };
    assert_eq!((by, until), (user(), world.now.wall + 300 * SECOND));
    // Once more is no second pause.
    pause(&mut world, call_id);
    world.run(20 * SECOND);
    resume(&mut world, call_id);
    resume(&mut world, call_id);
    assert_eq!(world.replies, [CommandReply::Accepted; 4]);
    let who = format!("{:?}", user());
    assert_eq!(world.story(), [format!("paused {who}"), format!("resumed {who}")]);
    hang_up(&mut world);
}

#[test]
fn a_forgotten_pause_ends_by_itself_and_moves_no_other_timer() {
    let (mut world, call_id) = talking();
    world.run(200 * SECOND);
    pause(&mut world, call_id);
    world.uas[1].log.clear();
    // The question whether both are there comes at its time, in the middle of the pause.
    world.run(120 * SECOND);
    assert!(world.uas[1].log.iter().any(|line| line.starts_with("OPTIONS")));
    assert_eq!(world.taps.len(), 1);
    world.run(181 * SECOND);
    assert_eq!(world.story()[1], "resumed Limit");
    hang_up(&mut world);
}

#[test]
fn the_code_of_the_agents_phone_pauses_and_resumes() {
    let (mut world, call_id) = talking();
    press(&mut world, call_id, "1*");
    press(&mut world, call_id, "5551");
    assert!(world.taps.is_empty());
    press(&mut world, call_id, "*1");
    press(&mut world, call_id, "6222*");
    press(&mut world, call_id, "*1");
    assert_eq!(world.story(), ["paused Phone", "resumed Phone"]);
    hang_up(&mut world);
}

#[test]
fn the_code_may_come_by_info_from_the_agent_and_from_nobody_else() {
    let (mut world, _) = talking();
    for (ua, want) in [(0, 0), (1, 1)] {
        for key in ["*", "1"] {
            let body = format!("Signal={key}\r\nDuration=160\r\n").into_bytes();
            let now = world.now.monotonic;
            world.uas[ua].say(now, Method::Info, Some(("application/dtmf-relay", body)));
            world.run(SECOND);
        }
        assert_eq!(world.taps.len(), want, "{ua}");
    }
    assert_eq!(world.story(), ["paused Phone"]);
    // The other side gets the digits as ever.
    assert!(world.uas[0].log.iter().any(|line| line.starts_with("INFO")), "{:?}", world.uas[0].log);
    hang_up(&mut world);
}

#[test]
fn what_cannot_be_paused_says_why() {
    let mut world = World::dealership(1);
    world.uas[1].manner = Manner::Ring;
    world.uas[2].manner = Manner::Ring;
    world.call(0, "02161234567");
    world.run(SECOND);
    let call_id = world.taps[0].0;
    pause(&mut world, call_id);
    press(&mut world, call_id, "*1");
    assert_eq!(world.replies, [CommandReply::NotAnswered]);
    pause(&mut world, world::id(77));
    assert_eq!(world.replies[1], CommandReply::NoSuchCall);
    let now = world.now.monotonic;
    world.uas[0].cancel(now);
    world.settle();
    pause(&mut world, call_id);
    assert_eq!(world.replies[2], CommandReply::NoSuchCall);
}

#[test]
fn a_call_that_ends_paused_leaves_nothing_behind() {
    let (mut world, call_id) = talking();
    pause(&mut world, call_id);
    // The relay is closed before it has read this one.
    world.command(Command::ResumeRecording { ticket: 3, call_id, by: user() });
    let now = world.now.monotonic;
    world.uas[1].hang_up(now);
    world.settle();
    assert_eq!(world.replies.len(), 2);
    assert!(world.story().iter().any(|line| line.starts_with("ended")), "{:?}", world.story());
}

#[test]
fn the_relay_learns_which_packets_are_digits() {
    let mut world = World::dealership(1);
    world.uas[2].manner = Manner::Ring;
    world.call(0, "02161234567");
    world.run(5 * SECOND);
    assert_eq!(world.events, [(Lane::Customer, 1 << 101), (Lane::Agent, 1 << 101)]);
    hang_up(&mut world);
}
