//! Phones whose connection broke and who come back by another: their calls go on there.
#![allow(clippy::unwrap_used)]

mod world;

use world::talk::{DID, SECOND, hang_up, has};
use world::ua::{Manner, Ua};
use world::{GATEWAY, World};

/// A customer (0) who talks to 8001, whose phone came by a connection.
fn talking_by_tcp() -> (World, usize) {
    let mut world = World::seeded(1);
    world.add(Ua::new("gateway", GATEWAY));
    let phone = world.add(Ua::new("8001", "192.0.2.101:40001"));
    world.connections.push(("192.0.2.101:40001".parse().unwrap(), 1));
    world.register(phone);
    world.run(SECOND);
    world.call(0, DID);
    world.run(5 * SECOND);
    (world, phone)
}

#[test]
fn a_call_goes_on_where_the_phone_has_registered_anew() {
    for is_back_first in [false, true] {
        let (mut world, phone) = talking_by_tcp();
        assert_eq!(world.uas[0].leg_status(), Some(200));
        let old = world.reconnect(phone, "192.0.2.101:40002", 2);
        if !is_back_first {
            world.close(old);
        }
        world.register(phone);
        world.run(SECOND);
        if is_back_first {
            world.close(old);
        }
        assert_eq!(world.switch.live_calls(), 1);
        hang_up(&mut world, 0);
        world.settle();
        assert!(has(&world, phone, "BYE"), "{:?}", world.uas[phone].log);
    }
}

#[test]
fn a_phone_that_does_not_come_back_is_gone_some_day() {
    let (mut world, phone) = talking_by_tcp();
    let old = world.reconnect(phone, "192.0.2.101:40002", 2);
    world.close(old);
    world.run(700 * SECOND);
    assert_eq!(world.switch.live_calls(), 0);
    assert!(has(&world, 0, "BYE"));
}

#[test]
fn a_call_goes_back_to_the_phone_that_held_it_and_not_to_another_of_its_extension() {
    let instance = |device: u8| format!(";+sip.instance=\"<urn:uuid:{device}>\"");
    for (held, other) in [
        // Devices that say which they are.
        (instance(1), instance(2)),
        // One that says nothing is known by its Contact, or by having come after the break.
        (String::new(), instance(2)),
        (String::new(), String::new()),
    ] {
        let mut world = World::seeded(1);
        world.add(Ua::new("gateway", GATEWAY));
        let phone = world.add(Ua::new("8001", "192.0.2.101:40001"));
        world.connections.push(("192.0.2.101:40001".parse().unwrap(), 1));
        world.uas[phone].contact_parameters = held.clone();
        world.register(phone);
        let second = world.add(Ua::new("8001", "192.0.2.109:5060"));
        world.uas[second].manner = Manner::Ring;
        world.uas[second].contact_parameters = other.clone();
        world.register(second);
        world.run(SECOND);
        world.call(0, DID);
        world.run(5 * SECOND);
        assert_eq!(world.uas[0].leg_status(), Some(200));
        let old = world.reconnect(phone, "192.0.2.101:40002", 2);
        world.close(old);
        // The other one's is the newest registration, and nothing is its affair.
        world.register(second);
        world.run(SECOND);
        world.register(phone);
        world.run(SECOND);
        world.register(second);
        world.run(SECOND);
        world.uas[second].log.clear();
        hang_up(&mut world, 0);
        world.settle();
        assert!(has(&world, phone, "BYE"), "{held} {other} {:?}", world.uas[phone].log);
        assert!(!has(&world, second, "BYE"), "{held} {other}");
    }
}
