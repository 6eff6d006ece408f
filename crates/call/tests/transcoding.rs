//! Sides without a codec in common are transcoded.
#![allow(clippy::unwrap_used)]

mod world;

use cheling_call::io::Order;
use cheling_sip::sdp::Direction;
use world::World;
use world::talk::{
    AGENT, CUSTOMER, DID, SECOND, direction, hang_up, has, hears, order, plan, talking,
};
use world::ua::Manner;

/// The names of the codecs that this side was last told.
fn told(world: &mut World, ua: usize) -> Vec<String> {
    let line = world.uas[ua].leg().heard.clone().unwrap().audio().unwrap();
    let sounds = line.formats.iter().filter(|it| !it.is("telephone-event"));
    sounds.map(|it| it.encoding.to_ascii_uppercase()).collect()
}

#[test]
fn sides_without_a_codec_in_common_are_transcoded_and_others_are_not() {
    for (caller, phone, is_transcoded) in [
        (&["PCMA"][..], &["PCMU"][..], true),
        (&["PCMA"], &["G722", "opus"], true),
        (&["opus"], &["PCMA"], true),
        (&["PCMA", "PCMU"], &["PCMU", "G722"], false),
        (&["G722"], &["G722"], false),
    ] {
        let mut world = World::dealership(1);
        world.uas[2].manner = Manner::Dead;
        world.uas[0].speaks(caller);
        world.uas[1].speaks(phone);
        world.call(0, DID);
        world.run(5 * SECOND);
        let call_id = world.taps[0].0;
        assert_eq!(world.uas[0].leg().status, Some(200), "{caller:?} {phone:?}");
        let plan = plan(&world, call_id);
        assert_eq!(plan.is_some(), is_transcoded, "{caller:?} {phone:?}");
        if let Some(plan) = plan {
            assert_eq!(plan.forwards, [false, false]);
            let sends = |at: usize| plan.voices[at].sends.clone().unwrap().format.encoding;
            assert_eq!(sends(0), caller[0].to_ascii_uppercase());
            assert_eq!(sends(1), phone[0].to_ascii_uppercase());
            let (reads, told) = (plan.voices[1].formats.clone(), told(&mut world, 0));
            assert!(reads.iter().any(|it| it.encoding == phone[0].to_ascii_uppercase()));
            assert_eq!(told, [caller[0].to_ascii_uppercase()]);
        }
        // The phones of one extension ring as one, however often they are asked.
        let rang = world.story().iter().filter(|it| *it == "ringing 8001").count();
        assert_eq!(rang, 1);
        // A hold by the phone crosses in the other's own codec.
        let now = world.now.monotonic;
        world.uas[1].reinvite(now, Direction::SendOnly);
        world.run(SECOND);
        assert!(has(&world, 1, "200 INVITE") && direction(&mut world, 0) == Direction::SendOnly);
        let now = world.now.monotonic;
        world.uas[1].reinvite(now, Direction::SendRecv);
        world.run(SECOND);
        assert_eq!(direction(&mut world, 0), Direction::SendRecv);
        // And a listener may join.
        hang_up(&mut world, 1);
        world.uas[2].manner = Manner::Ring;
        world.run(SECOND);
    }
}

#[test]
fn what_cannot_be_transcoded_is_refused_as_ever() {
    let mut world = World::dealership(1);
    world.uas[2].manner = Manner::Dead;
    world.uas[0].codecs[0].encoding = "G729".into();
    world.uas[0].codecs.remove(1);
    world.uas[1].speaks(&["PCMU"]);
    world.uas[2].speaks(&["PCMU"]);
    world.uas[2].manner = Manner::Ring;
    world.call(0, DID);
    world.run(5 * SECOND);
    assert_eq!(world.uas[0].leg().status, Some(488));
    // Asked again for another profile, not for codecs that nobody could turn into each other.
    let offered = |at: usize| {
        let body = &world.uas[1].invites[at].body;
        let line = cheling_sip::Sdp::parse(body).unwrap().audio().unwrap();
        (line.protocol, line.formats.into_iter().map(|it| it.encoding).collect::<Vec<_>>())
    };
    assert_eq!(world.uas[1].invites.len(), 2);
    assert_eq!((offered(0).0.as_str(), offered(1).0.as_str()), ("RTP/AVP", "RTP/SAVP"));
    assert_eq!(offered(0).1, offered(1).1);
    world.settle();
}

#[test]
fn a_transfer_to_a_phone_of_another_codec_is_transcoded_from_then_on() {
    let (mut world, call_id) = talking(1);
    world.uas[3].speaks(&["G722"]);
    world.uas[0].speaks(&["PCMA"]);
    order(&mut world, call_id, Order::Transfer { number: "8003".into() });
    world.run(5 * SECOND);
    assert!(world.story().contains(&"answered 8003".to_owned()), "{:?}", world.story());
    let plan = plan(&world, call_id).unwrap();
    assert_eq!(hears(&plan, CUSTOMER), [AGENT]);
    assert_eq!(hears(&plan, AGENT), [CUSTOMER]);
    hang_up(&mut world, 3);
    world.settle();
}
