//! A link that loses, delays and doubles: whatever happens to the messages, every call ends, its
//! events are in order, and nothing of it is left.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::time::Duration;

use cheling_call::io::Command;
use cheling_model::{CallId, TapKind};
use cheling_sip::sdp::Direction;

mod world;

use world::talk::SECOND;
use world::ua::Manner;
use world::{Link, World, id};

/// The events of one call in the order the model promises.
fn check_order(seed: u64, call_id: CallId, events: &[&TapKind]) {
    let place = |wanted: fn(&TapKind) -> bool| events.iter().position(|kind| wanted(kind));
    let count = |wanted: fn(&TapKind) -> bool| events.iter().filter(|kind| wanted(kind)).count();
    let context = format!("seed {seed} {call_id} {events:#?}");
    assert!(matches!(events.first(), Some(TapKind::Offered(_))), "{context}");
    assert!(matches!(events.last(), Some(TapKind::RelayClosed { .. })), "{context}");
    assert_eq!(count(|k| matches!(k, TapKind::Offered(_))), 1, "{context}");
    assert_eq!(count(|k| matches!(k, TapKind::Ended { .. })), 1, "{context}");
    assert_eq!(count(|k| matches!(k, TapKind::RelayClosed { .. })), 1, "{context}");
    assert!(count(|k| matches!(k, TapKind::Answered { .. })) <= 1, "{context}");
    assert_eq!(place(|k| matches!(k, TapKind::Ended { .. })), Some(events.len() - 2), "{context}");
    // Every phone that rang either answered or was withdrawn, once.
    for kind in events {
        let TapKind::Ringing { leg, extension } = kind else { continue };
        let withdrawn = events
            .iter()
            .filter(|kind| matches!(kind, TapKind::Withdrawn { leg: other, .. } if other == leg))
            .count();
        let has_answered = events
            .iter()
            .any(|k| matches!(k, TapKind::Answered { extension: who } if who == extension));
        let was_fetched =
            events.iter().any(|k| matches!(k, TapKind::Offered(o) if o.user_id.is_some()));
        assert!(withdrawn == 1 || (has_answered && withdrawn == 0) || was_fetched, "{context}");
    }
}

fn hang_up_all(world: &mut World) {
    let now = world.now.monotonic;
    for ua in &mut world.uas {
        while ua.hang_up(now) {}
    }
}

/// Some calls of a seed's choosing; how many were answered.
fn run(seed: u64, link: Link) -> usize {
    let mut world = World::dealership(seed);
    world.link = link;
    for round in 0..4 {
        let wait = Duration::from_millis(world.random() % 4000);
        let manners = [
            Manner::Answer(wait),
            Manner::EarlyMedia(wait),
            Manner::Refuse(486, wait),
            Manner::Refuse(603, wait),
            Manner::Refuse(503, wait),
            Manner::Ring,
        ];
        for ua in 0..world.uas.len() {
            let which = world.random() as usize % manners.len();
            world.uas[ua].manner = if round < 2 { Manner::Answer(wait) } else { manners[which] };
        }
        let caller = match world.random() % 4 {
            0 => {
                world.call(0, "02161234567");
                0
            }
            1 => {
                world.call(1, "913812345678");
                1
            }
            2 => {
                world.call(1, "8002");
                1
            }
            _ => {
                world.command(Command::Dial {
                    ticket: 1,
                    call_id: id(u128::from(seed) << 8 | round),
                    extension: "8001".into(),
                    number: "13812345678".into(),
                    user_id: id(8001),
                    follow_up_id: None,
                });
                0
            }
        };
        for _ in 0..6 {
            let wait = Duration::from_millis(world.random() % 3000);
            world.run(wait);
            let now = world.now.monotonic;
            let ua = world.random() as usize % world.uas.len();
            let chance = world.random() % 6;
            let side = &mut world.uas[ua];
            if side.legs.is_empty() || side.leg().is_over {
                continue;
            }
            match chance {
                0 => side.reinvite(now, Direction::SendOnly),
                1 => side.reinvite(now, Direction::SendRecv),
                2 => {
                    side.hang_up(now);
                }
                3 if ua == caller && side.leg().status.is_none() => side.cancel(now),
                _ => {}
            }
        }
        hang_up_all(&mut world);
        world.run(60 * SECOND);
    }
    // What came about so late that nobody could hang up yet.
    hang_up_all(&mut world);
    world.run(400 * SECOND);
    assert!(world.switch.is_idle(), "seed {seed} {:#?}", world.switch);
    let mut calls: HashMap<CallId, Vec<&TapKind>> = HashMap::new();
    for (call_id, kind) in &world.taps {
        calls.entry(*call_id).or_default().push(kind);
    }
    for (call_id, events) in calls {
        check_order(seed, call_id, &events);
    }
    world.taps.iter().filter(|(_, kind)| matches!(kind, TapKind::Answered { .. })).count()
}

#[test]
fn calls_end_whole_on_a_good_line() {
    let link = Link { lost: 0, delay: Duration::ZERO, doubled: 0 };
    let answered: usize = (1..100).map(|seed| run(seed, link)).sum();
    assert!(answered > 100, "{answered} of 396");
}

#[test]
fn calls_end_whole_on_a_line_that_reorders_and_doubles() {
    for seed in 1..100 {
        run(seed, Link { lost: 0, delay: Duration::from_millis(300), doubled: 20 });
    }
}

#[test]
fn calls_end_whole_on_a_lossy_line() {
    let link = Link { lost: 25, delay: Duration::from_millis(80), doubled: 5 };
    let answered: usize = (1..150).map(|seed| run(seed, link)).sum();
    assert!(answered > 100, "{answered} of 596");
}

#[test]
fn calls_end_whole_on_a_line_that_loses_nearly_all() {
    for seed in 1..60 {
        run(seed, Link { lost: 85, delay: Duration::from_millis(80), doubled: 5 });
    }
}
