//! Who has no business here: scanners, guessers and floods.
#![allow(clippy::unwrap_used)]

mod world;

use world::World;
use world::talk::{DID, SECOND, hang_up};
use world::ua::Manner;

/// A request of a stranger, as bytes.
fn stranger(method: &str, user: &str, agent: &str, number: u32) -> Vec<u8> {
    format!(
        "{method} sip:{user}@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 198.51.100.7:5060;branch=z9hG4bK{number}\r\n\
         From: <sip:{user}@192.0.2.1>;tag=a{number}\r\nTo: <sip:{user}@192.0.2.1>\r\n\
         Call-ID: {number}@198.51.100.7\r\nCSeq: 1 {method}\r\nUser-Agent: {agent}\r\n\
         Contact: <sip:{user}@198.51.100.7>\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
    )
    .into_bytes()
}

const STRANGER: &str = "198.51.100.7:5060";

fn answers(world: &World) -> Vec<&str> {
    let to = STRANGER.parse().unwrap();
    world.sent.iter().filter(|(at, _)| *at == to).map(|(_, line)| line.as_str()).collect()
}

#[test]
fn a_scanner_finds_nobody_and_calls_go_on() {
    let mut world = World::dealership(1);
    world.uas[2].manner = Manner::Ring;
    world.call(0, DID);
    world.run(5 * SECOND);
    assert_eq!(world.uas[0].leg().status, Some(200));
    for (number, method) in ["OPTIONS", "REGISTER", "INVITE"].into_iter().enumerate() {
        let bytes = stranger(method, "100", "friendly-scanner", number as u32);
        world.receive(STRANGER.parse().unwrap(), &bytes);
    }
    world.run(SECOND);
    assert!(answers(&world).is_empty(), "{:?}", answers(&world));
    hang_up(&mut world, 0);
    world.settle();
    let counters = world.switch.guard_counters();
    let count =
        |counter: &std::sync::atomic::AtomicU64| counter.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!((count(&counters.shut_out), count(&counters.kept_out)), (1, 2));
}

#[test]
fn who_tries_every_extension_learns_nothing_and_is_shut_out() {
    let mut world = World::dealership(1);
    for number in 0..300 {
        // 8001 exists; the answer tells nothing of it.
        let bytes = stranger("REGISTER", &(7990 + number).to_string(), "phone", number);
        world.receive(STRANGER.parse().unwrap(), &bytes);
        world.run(SECOND / 10);
    }
    let answers = answers(&world);
    assert_eq!(answers.len(), 200);
    assert!(answers.iter().all(|line| *line == "SIP/2.0 401 Unauthorized"), "{answers:?}");
    assert_eq!(world.switch.registrations().len(), 2);
}

#[test]
fn a_flood_of_one_source_is_slowed_and_the_phones_are_served() {
    let mut world = World::dealership(1);
    for number in 0..2000 {
        let bytes = stranger("OPTIONS", "100", "phone", number);
        world.receive(STRANGER.parse().unwrap(), &bytes);
    }
    world.call(1, "8002");
    world.run(5 * SECOND);
    assert_eq!(world.uas[1].leg().status, Some(200));
    let answers = answers(&world);
    let served = answers.iter().filter(|line| line.contains("200")).count();
    let slowed = answers.iter().filter(|line| line.contains("503")).count();
    assert_eq!((served, slowed), (401, 21));
    hang_up(&mut world, 1);
    world.settle();
}
