//! Phones that keep several flows to us (RFC 5626), and addresses of single phones (RFC 5627), as calls
//! find them.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

mod world;

use cheling_sip::{Name, NameAddr};
use world::World;
use world::talk::SECOND;
use world::ua::{Manner, Ua};

/// A device's registration by this flow of its.
fn registers(world: &mut World, ua: usize, device: u128, reg_id: Option<u8>) {
    let instance = uuid::Uuid::from_u128(device);
    let reg_id = reg_id.map(|id| format!(";reg-id={id}")).unwrap_or_default();
    let parameters = format!("{reg_id};+sip.instance=\"<urn:uuid:{instance}>\"");
    world.uas[ua].contact_parameters = parameters;
    world.uas[ua].extra = vec![("Supported", "path, outbound, gruu".into())];
    world.register(ua);
    world.run(SECOND);
    world.uas[ua].extra.clear();
}

/// A gateway (0), 8001 (1), 8002 (2), and a device of 8003 by two flows (3, 4).
fn house() -> World {
    let mut world = World::dealership(1);
    for (address, reg_id) in [("192.0.2.103:5060", 1), ("192.0.2.103:5062", 2)] {
        let ua = world.add(Ua::new("8003", address));
        registers(&mut world, ua, 7, Some(reg_id));
    }
    world
}

#[test]
fn a_device_with_two_flows_rings_once_by_the_newest() {
    let mut world = house();
    assert_eq!(world.switch.registrations().len(), 4);
    world.call(1, "8003");
    world.run(5 * SECOND);
    assert_eq!((world.uas[3].invites.len(), world.uas[4].invites.len()), (0, 1));
    assert_eq!(world.uas[1].leg_status(), Some(200));
    let now = world.now.monotonic;
    world.uas[1].hang_up(now);
    world.settle();
}

#[test]
fn a_flow_that_has_failed_is_left_for_the_other() {
    for manner in [Manner::Refuse(430, Duration::ZERO), Manner::Dead] {
        let mut world = house();
        world.uas[4].manner = manner;
        world.call(1, "8003");
        world.run(50 * SECOND);
        assert_eq!(world.uas[3].invites.len(), 1, "{manner:?} {:?}", world.uas[1].log);
        assert_eq!(world.uas[1].leg_status(), Some(200), "{manner:?}");
        let asked = &world.uas[3].invites[0];
        assert!(asked.uri.to_string().contains("5060"), "{}", asked.uri);
        let now = world.now.monotonic;
        world.uas[1].hang_up(now);
        world.settle();
        assert!(world.switch.is_idle());
    }
    // With nothing left it is as without flows.
    let mut world = house();
    for ua in [3, 4] {
        world.uas[ua].manner = Manner::Refuse(430, Duration::ZERO);
    }
    world.call(1, "8003");
    world.run(5 * SECOND);
    assert_eq!(world.uas[1].leg_status(), Some(480));
    world.settle();
}

#[test]
fn an_address_of_one_phone_rings_that_phone_of_its_extension_alone() {
    let mut world = World::dealership(1);
    for (address, device) in [("192.0.2.103:5060", 7), ("192.0.2.104:5060", 8)] {
        let ua = world.add(Ua::new("8003", address));
        registers(&mut world, ua, device, None);
    }
    let answer = world.uas[3].registered.clone().unwrap();
    let own = answer.headers.values(Name::Contact);
    let own = own.iter().find(|contact| contact.contains("000000000007")).unwrap();
    let own = NameAddr::parse(own).unwrap();
    for (name, rung) in [("pub-gruu", 1), ("temp-gruu", 2)] {
        let uri = own.params.unquoted(name).unwrap().into_owned();
        world.call(1, &uri);
        world.run(5 * SECOND);
        assert_eq!((world.uas[3].invites.len(), world.uas[4].invites.len()), (rung, 0), "{uri}");
        assert_eq!(world.uas[1].leg_status(), Some(200), "{uri}");
        let now = world.now.monotonic;
        world.uas[1].hang_up(now);
        world.settle();
    }
    // A transfer means it, too.
    world.call(0, "02161234567");
    world.uas[2].manner = Manner::Ring;
    world.run(5 * SECOND);
    let now = world.now.monotonic;
    let uri = own.params.unquoted("temp-gruu").unwrap().into_owned();
    world.uas[1].refer(now, uri.strip_prefix("sip:").unwrap());
    world.run(5 * SECOND);
    assert_eq!((world.uas[3].invites.len(), world.uas[4].invites.len()), (3, 0));
    let now = world.now.monotonic;
    world.uas[0].hang_up(now);
    world.settle();
    // Devices that are not there, and addresses that were never given.
    let gone = uuid::Uuid::from_u128(9);
    for (uri, status) in [
        (format!("sip:8003@192.0.2.1;gr=urn:uuid:{gone}"), 480),
        ("sip:tgruu.guessed@192.0.2.1;gr".to_owned(), 404),
    ] {
        world.call(1, &uri);
        world.run(5 * SECOND);
        assert_eq!(world.uas[1].leg_status(), Some(status), "{uri}");
    }
}
