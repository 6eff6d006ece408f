//! What phones and gateways do beyond a plain call: reliable provisional responses, transfers.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

mod world;

use world::World;
use world::ua::Manner;

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
