//! A caller's number that comes after the INVITE: the phones that ring, that will ring and that have
//! answered are told.
#![allow(clippy::unwrap_used)]

use cheling_model::directory::{RingGroup, Strategy};
use cheling_sip::{Method, Name, Request};

mod world;

use world::talk::{DID, SECOND};
use world::ua::Manner;
use world::{World, directory, id};

const NUMBER: &str = "13900000000";
const TAKES_UPDATE: (&str, &str) = ("Allow", "INVITE, ACK, BYE, CANCEL, UPDATE");

/// An analog gateway that has not named its caller, 8001 and 8002; both phones ring.
fn ringing(prepare: impl FnOnce(&mut World)) -> World {
    let mut world = World::dealership(1);
    world.uas[0].extra.push(("From", "<sip:unavailable@gw>".into()));
    world.uas[1].manner = Manner::Ring;
    world.uas[2].manner = Manner::Ring;
    prepare(&mut world);
    world.call(0, DID);
    world.run(SECOND);
    world
}

/// The gateway tells the number by a request of this method.
fn tell(world: &mut World, method: Method, number: &str) {
    let asserted = ("P-Asserted-Identity", format!("<sip:{number}@gw>"));
    world.uas[0].in_dialog = vec![asserted];
    let now = world.now.monotonic;
    if world.uas[0].leg().dialog.is_some() {
        world.uas[0].say(now, method, None);
    } else {
        world.uas[0].early(now, method);
    }
    world.run(SECOND);
}

/// Who each UPDATE named that this side had.
fn told(world: &World, ua: usize) -> Vec<String> {
    let updates = &world.uas[ua].updates;
    assert!(updates.iter().all(|it| it.body.is_empty()));
    let named = |it: &Request| it.headers.get(Name::PAssertedIdentity).unwrap().into_owned();
    updates.iter().map(named).collect()
}

fn named(number: &str) -> String {
    format!("<sip:{number}@192.0.2.1>")
}

fn end(mut world: World) {
    let now = world.now.monotonic;
    if !world.uas[0].hang_up(now) {
        world.uas[0].cancel(now);
    }
    world.settle();
}

#[test]
fn phones_that_ring_are_told_by_update_if_they_take_it() {
    for method in [Method::Update, Method::Info] {
        for is_reliable in [false, true] {
            let mut world = ringing(|world| {
                world.uas[1].rings_with = vec![(TAKES_UPDATE.0, TAKES_UPDATE.1.into())];
                world.uas[1].is_reliable = is_reliable;
            });
            tell(&mut world, method.clone(), NUMBER);
            let last = world.uas[0].log.last().unwrap();
            assert_eq!(*last, format!("200 {method}"));
            assert_eq!(told(&world, 1), [named(NUMBER)], "{method} {is_reliable}");
            assert_eq!(told(&world, 2), [""; 0]);
            let update = &world.uas[1].updates[0];
            assert!(!update.headers.has(Name::SessionExpires) && update.headers.has(Name::Contact));
            // The same number again is no news; another is.
            tell(&mut world, method.clone(), NUMBER);
            tell(&mut world, method.clone(), "13911111111");
            assert_eq!(told(&world, 1), [named(NUMBER), named("13911111111")]);
            end(world);
        }
    }
}

#[test]
fn a_phone_that_says_later_that_it_takes_update_is_told_then_and_one_that_answers_once() {
    for (rings, answers, want) in [
        (None, Some(TAKES_UPDATE), 1),
        (Some(TAKES_UPDATE), Some(TAKES_UPDATE), 1),
        // What it has said of itself while it rang holds.
        (Some(TAKES_UPDATE), None, 1),
        (None, None, 0),
    ] {
        let header = |it: Option<(&'static str, &str)>| {
            it.map(|(name, value)| (name, value.to_owned())).into_iter().collect::<Vec<_>>()
        };
        let mut world = ringing(|world| {
            world.uas[1].manner = Manner::Answer(5 * SECOND);
            world.uas[1].rings_with = header(rings);
            world.uas[1].answers_with = header(answers);
        });
        tell(&mut world, Method::Update, NUMBER);
        assert_eq!(told(&world, 1).len(), usize::from(rings.is_some()));
        world.run(10 * SECOND);
        assert_eq!(world.uas[1].leg_status(), Some(200));
        assert_eq!(told(&world, 1), vec![named(NUMBER); want], "{rings:?} {answers:?}");
        end(world);
    }
}

#[test]
fn who_talks_already_is_told_and_nobody_is_offered_anything() {
    for method in [Method::Update, Method::Info] {
        let mut world = ringing(|world| {
            world.uas[1].manner = Manner::Answer(SECOND);
            world.uas[1].answers_with = vec![(TAKES_UPDATE.0, TAKES_UPDATE.1.into())];
        });
        world.run(5 * SECOND);
        tell(&mut world, method.clone(), NUMBER);
        assert_eq!(told(&world, 1), [named(NUMBER)], "{method}");
        assert_eq!(world.uas[1].invites.len(), 1);
        assert!(world.story().contains(&format!("caller {NUMBER}")));
        end(world);
    }
}

#[test]
fn a_refusal_while_it_rings_is_made_good_after_the_answer_and_no_later() {
    for status in [491, 405] {
        let mut world = ringing(|world| {
            world.uas[1].manner = Manner::Answer(5 * SECOND);
            world.uas[1].rings_with = vec![(TAKES_UPDATE.0, TAKES_UPDATE.1.into())];
            let refusal = |_| (Method::Update, status, "X-Busy", "1".to_owned());
            world.uas[1].refusals.extend((0..5).map(refusal));
        });
        tell(&mut world, Method::Update, NUMBER);
        world.run(60 * SECOND);
        assert_eq!(world.uas[1].leg_status(), Some(200));
        assert_eq!(told(&world, 1).len(), 2, "{status}");
        end(world);
    }
}

#[test]
fn a_phone_that_rings_next_is_shown_the_number_at_once() {
    let mut world = ringing(|world| {
        let mut directory = directory();
        directory.groups = vec![RingGroup {
            strategy: Strategy::InOrder,
            member_seconds: 8,
            ..RingGroup::ring_all(id(6), "售后一组", &["8001", "8002"], 20)
        }];
        world.feed(cheling_call::io::Input::Directory(std::sync::Arc::new(directory)));
    });
    tell(&mut world, Method::Update, NUMBER);
    world.run(30 * SECOND);
    let rung = &world.uas[2].invites[0];
    assert_eq!(rung.headers.from().unwrap().uri.user(), Some(NUMBER));
    assert_eq!(rung.headers.get(Name::PAssertedIdentity).unwrap(), named(NUMBER));
    end(world);
}
