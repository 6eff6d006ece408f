//! SRTP as the two sides and the relay see it: whose keys go where, and who is refused.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use cheling_call::io::SrtpKeys;
use cheling_model::directory::SrtpPolicy;
use cheling_sip::sdp::Direction;

mod world;

use world::talk::{DID, SECOND};
use world::ua::Manner;
use world::{World, settings};

/// What the side `ua` was last told of its media: the protocol, and the keys by suite.
fn told(world: &mut World, ua: usize) -> (String, Vec<Vec<u8>>) {
    let heard = world.uas[ua].leg().heard.clone().unwrap();
    let keys = heard.crypto().into_iter().map(|crypto| crypto.key_and_salt).collect();
    (heard.audio().unwrap().protocol, keys)
}

fn ours(keys: &Option<SrtpKeys>) -> Vec<u8> {
    keys.as_ref().unwrap().ours.key_and_salt().to_vec()
}

fn theirs(keys: &Option<SrtpKeys>) -> Vec<u8> {
    keys.as_ref().unwrap().theirs.key_and_salt().to_vec()
}

fn with_policies(phones: SrtpPolicy, trunk: SrtpPolicy) -> World {
    let mut settings = settings(1);
    settings.srtp = phones;
    settings.trunks[0].srtp = trunk;
    let mut world = World::dealership_with(settings, 1);
    world.uas[2].manner = Manner::Refuse(486, Duration::ZERO);
    world
}

#[test]
fn a_phone_that_offers_srtp_gets_it_and_the_plain_trunk_sees_nothing_of_it() {
    for protocol in ["RTP/AVP", "RTP/SAVP"] {
        let mut world = World::dealership(1);
        world.uas[1].srtp = Some((protocol, 0xaa));
        world.call(1, "913812345678");
        world.run(5 * SECOND);
        assert_eq!(world.uas[1].leg().status, Some(200));
        assert_eq!(told(&mut world, 0), ("RTP/AVP".into(), vec![]));
        let keys = world.keys.clone();
        assert_eq!((theirs(&keys[1]), &keys[0]), (vec![0xaa; 30], &None));
        assert_eq!(told(&mut world, 1), (protocol.into(), vec![ours(&keys[1])]));
        // The key comes before the address: no packet is relayed without it.
        let at = |wanted: &str| world.outputs.iter().position(|it| it.starts_with(wanted)).unwrap();
        assert!(at("ProtectRelay Agent") < at("Point Customer"));
    }
}

#[test]
fn both_sides_have_keys_of_their_own_and_hold_keeps_them() {
    let mut world = with_policies(SrtpPolicy::Required, SrtpPolicy::Required);
    world.uas[0].srtp = Some(("RTP/SAVP", 0xbb));
    world.uas[1].srtp = Some(("RTP/SAVP", 0xaa));
    world.call(0, DID);
    world.run(5 * SECOND);
    assert_eq!(world.uas[0].leg().status, Some(200));
    let keys = world.keys.clone();
    assert_eq!((theirs(&keys[0]), theirs(&keys[1])), (vec![0xbb; 30], vec![0xaa; 30]));
    assert_ne!(ours(&keys[0]), ours(&keys[1]));
    assert_eq!(told(&mut world, 0), ("RTP/SAVP".into(), vec![ours(&keys[0])]));
    let (protocol, offered) = told(&mut world, 1);
    assert_eq!((protocol.as_str(), offered.len()), ("RTP/SAVP", 4));
    assert!(offered.contains(&ours(&keys[1])));
    // Hold and resume: each side is told its own key again, and the relay nothing.
    world.outputs.clear();
    for direction in [Direction::SendOnly, Direction::SendRecv] {
        let now = world.now.monotonic;
        world.uas[1].reinvite(now, direction);
        world.run(2 * SECOND);
        for lane in [0, 1] {
            assert_eq!(told(&mut world, lane), ("RTP/SAVP".into(), vec![ours(&keys[lane])]));
        }
    }
    assert_eq!(world.keys, keys);
    assert!(!world.outputs.iter().any(|output| output.starts_with("Protect")));
    // A new key of theirs goes to the relay, and ours stays.
    world.uas[1].srtp = Some(("RTP/SAVP", 0xcc));
    let now = world.now.monotonic;
    world.uas[1].reinvite(now, Direction::SendRecv);
    world.run(2 * SECOND);
    assert_eq!((theirs(&world.keys[1]), ours(&world.keys[1])), (vec![0xcc; 30], ours(&keys[1])));
    assert_eq!(world.keys[0], keys[0]);
    let now = world.now.monotonic;
    world.uas[1].hang_up(now);
    world.settle();
    assert!(world.switch.is_idle());
}

#[test]
fn a_call_without_an_offer_is_protected_all_the_same() {
    let mut world = with_policies(SrtpPolicy::Required, SrtpPolicy::Optional);
    world.uas[0].has_late_offer = true;
    world.uas[1].srtp = Some(("RTP/SAVP", 0xaa));
    world.call(0, DID);
    world.run(5 * SECOND);
    assert_eq!(world.uas[0].leg().status, Some(200));
    assert_eq!((theirs(&world.keys[1]), &world.keys[0]), (vec![0xaa; 30], &None));
    assert_eq!(told(&mut world, 0), ("RTP/AVP".into(), vec![]));
}

#[test]
fn who_must_have_srtp_and_has_none_is_refused() {
    // A phone calls in plain.
    let mut world = with_policies(SrtpPolicy::Required, SrtpPolicy::Optional);
    world.call(1, "913812345678");
    world.run(5 * SECOND);
    assert_eq!(world.uas[1].leg_status(), Some(488));
    assert!(world.uas[0].invites.is_empty());
    world.settle();
    assert!(world.switch.is_idle());
    // A phone answers in plain: it is hung up on, and the other is asked.
    let mut world = with_policies(SrtpPolicy::Required, SrtpPolicy::Optional);
    world.uas[2].manner = Manner::Answer(4 * SECOND);
    world.uas[2].srtp = Some(("RTP/SAVP", 0xdd));
    world.uas[1].manner = Manner::Answer(SECOND);
    world.call(0, DID);
    world.run(6 * SECOND);
    assert_eq!(world.uas[0].leg_status(), Some(200));
    assert!(world.uas[1].leg().is_over);
    assert_eq!(theirs(&world.keys[1]), vec![0xdd; 30]);
    // In the call, nobody goes back to plain.
    world.uas[2].srtp = None;
    let now = world.now.monotonic;
    world.uas[2].reinvite(now, Direction::SendRecv);
    world.run(2 * SECOND);
    assert!(world.uas[2].log.iter().any(|line| line.starts_with("488")), "{:?}", world.uas[2].log);
    assert_eq!(theirs(&world.keys[1]), vec![0xdd; 30]);
}

#[test]
fn who_refuses_one_profile_is_offered_the_other_where_srtp_is_optional() {
    for (protocol, key, policy, want) in [
        // A trunk that insists on SRTP and says so by 488 alone.
        ("RTP/SAVP", Some(("RTP/SAVP", 0xbb)), SrtpPolicy::Optional, 200),
        ("RTP/SAVP", Some(("RTP/SAVP", 0xbb)), SrtpPolicy::Off, 488),
        ("RTP/AVP", None, SrtpPolicy::Required, 488),
    ] {
        let mut world = with_policies(SrtpPolicy::Optional, policy);
        world.uas[0].profile = Some(protocol);
        world.uas[0].srtp = key;
        world.call(1, "913812345678");
        world.run(10 * SECOND);
        assert_eq!(world.uas[1].leg_status(), Some(want), "{protocol} {policy:?}");
        assert_eq!(world.keys[0].is_some(), want == 200);
        assert!(world.keys[1].is_none(), "the phone speaks as it did");
        if want == 200 {
            assert_eq!(theirs(&world.keys[0]), vec![0xbb; 30]);
            let now = world.now.monotonic;
            world.uas[1].hang_up(now);
        }
        world.settle();
        assert!(world.switch.is_idle());
    }
}

#[test]
fn a_transfer_gives_whoever_comes_keys_of_his_own() {
    let mut world = with_policies(SrtpPolicy::Required, SrtpPolicy::Off);
    world.uas[1].srtp = Some(("RTP/SAVP", 0xaa));
    world.uas[2].srtp = Some(("RTP/SAVP", 0xdd));
    world.call(0, DID);
    world.run(5 * SECOND);
    let before = world.keys.clone();
    world.uas[2].manner = Manner::Answer(SECOND);
    let now = world.now.monotonic;
    world.uas[1].refer(now, "8002");
    world.run(6 * SECOND);
    assert_eq!(theirs(&world.keys[1]), vec![0xdd; 30]);
    assert_ne!(ours(&world.keys[1]), ours(&before[1]));
    let (_, offered) = told(&mut world, 2);
    assert!(offered.contains(&ours(&world.keys[1])));
}
