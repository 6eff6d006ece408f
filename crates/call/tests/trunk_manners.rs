//! What a trunk is told of who calls and who sent a call on, and what of its early media passes.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use cheling_model::directory::{
    DiversionHeader, EarlyMedia, ForwardedCaller, IdentityHeader, TrunkManners,
};
use cheling_sip::{Name, Request};

mod world;

use world::talk::{DID, SECOND};
use world::ua::{Manner, Ua};
use world::{World, settings};

/// A gateway (0) of these manners, 8001 (1), 8002 (2) and 8003 (3).
fn house(manners: TrunkManners) -> World {
    let mut settings = settings(1);
    settings.trunks[0].manners = manners;
    let mut world = World::dealership_with(settings, 1);
    let third = world.add(Ua::new("8003", "192.0.2.103:5060"));
    world.register(third);
    world.run(SECOND);
    world
}

fn end(world: &mut World, ua: usize) {
    let now = world.now.monotonic;
    world.uas[ua].hang_up(now);
    world.settle();
}

#[test]
fn early_media_passes_or_is_a_ring_tone_or_nothing() {
    for (early_media, told, is_heard) in [
        (EarlyMedia::Pass, &["183 INVITE", "200 INVITE"][..], true),
        (EarlyMedia::Ringback, &["180 INVITE", "200 INVITE"], false),
        (EarlyMedia::Block, &["200 INVITE"], false),
    ] {
        let mut world = house(TrunkManners { early_media, ..TrunkManners::default() });
        // What it said early counts where its 200 says nothing more.
        world.uas[0].manner = Manner::EarlyMedia(3 * SECOND);
        world.uas[0].answers_without_sdp = true;
        world.call(1, "913812345678");
        world.run(SECOND);
        let last = world.outputs.iter().rfind(|line| line.starts_with("Point Agent")).unwrap();
        assert_eq!(last != "Point Agent 0", is_heard, "{early_media:?} {:?}", world.outputs);
        world.run(5 * SECOND);
        let said: Vec<_> = world.uas[1]
            .log
            .iter()
            .filter(|line| line.ends_with(" INVITE") && !line.starts_with("100"))
            .filter(|line| !line.starts_with("407"))
            .collect();
        assert_eq!(said, told, "{early_media:?}");
        let last = world.outputs.iter().rfind(|line| line.starts_with("Point Agent")).unwrap();
        assert_ne!(last, "Point Agent 0", "once answered, both hear each other");
        assert!(world.uas[1].leg().heard.is_some());
        end(&mut world, 1);
    }
}

#[test]
fn a_trunk_that_only_rings_is_heard_ringing_whatever_the_policy() {
    for early_media in [EarlyMedia::Pass, EarlyMedia::Ringback, EarlyMedia::Block] {
        let mut world = house(TrunkManners { early_media, ..TrunkManners::default() });
        world.call(1, "913812345678");
        world.run(5 * SECOND);
        assert!(world.uas[1].log.contains(&"180 INVITE".to_owned()));
        end(&mut world, 1);
    }
}

#[test]
fn our_number_is_told_in_the_headers_the_trunk_wants_and_withheld_from_customers() {
    let mut world = house(TrunkManners {
        identity: vec![IdentityHeader::PAssertedIdentity, IdentityHeader::RemotePartyId],
        withholds_caller: true,
        ..TrunkManners::default()
    });
    world.call(1, "913812345678");
    world.run(5 * SECOND);
    let invite = world.uas[0].invites[0].clone();
    assert_eq!(invite.headers.from().unwrap().uri.host(), Some("anonymous.invalid"));
    assert!(invite.headers.get(Name::PAssertedIdentity).unwrap().contains(DID));
    assert!(invite.headers.get(Name::RemotePartyId).unwrap().contains("privacy=full"));
    assert_eq!(invite.headers.get(Name::Privacy).unwrap(), "id");
    end(&mut world, 1);
}

/// The INVITE that goes out when 8001 sends a customer's call on: by 302, or by a transfer.
fn sent_on(world: &mut World, is_redirected: bool) -> Request {
    world.uas[0].extra = vec![
        ("From", "<sip:13812345678@gw>".into()),
        ("Diversion", "<sip:4008001234@carrier>;reason=unconditional;counter=1".into()),
        ("History-Info", "<sip:4008001234@carrier>;index=1".into()),
    ];
    world.uas[2].manner = Manner::Ring;
    if is_redirected {
        world.uas[1].manner = Manner::Refuse(302, Duration::ZERO);
        world.uas[1].redirects_to = Some("913987654321".into());
    }
    world.call(0, DID);
    world.run(5 * SECOND);
    if !is_redirected {
        let now = world.now.monotonic;
        world.uas[1].refer(now, "913987654321");
        world.run(5 * SECOND);
    }
    let invite = world.uas[0].invites.last().unwrap().clone();
    assert_eq!(invite.uri.user(), Some("13987654321"));
    let now = world.now.monotonic;
    while world.uas[0].hang_up(now) {}
    world.settle();
    invite
}

#[test]
fn a_call_that_is_sent_on_says_so_by_a_number_the_trunk_knows() {
    let own = "<sip:02161234567@192.0.2.1>;reason=";
    for (is_redirected, reason) in [(true, "unconditional"), (false, "deflection")] {
        let mut world = house(TrunkManners::default());
        let invite = sent_on(&mut world, is_redirected);
        assert_eq!(invite.headers.from().unwrap().uri.user(), Some(DID));
        let diversions = invite.headers.values(Name::Diversion);
        assert_eq!(diversions[0], format!("{own}{reason};counter=1"));
        assert_eq!(diversions.len(), if is_redirected { 2 } else { 1 });
        assert!(!invite.headers.has(Name::HistoryInfo));
    }
    let mut world = house(TrunkManners {
        diversion: vec![DiversionHeader::HistoryInfo],
        forwarded_caller: ForwardedCaller::Original,
        ..TrunkManners::default()
    });
    let invite = sent_on(&mut world, true);
    assert_eq!(invite.headers.from().unwrap().uri.user(), Some("13812345678"));
    assert!(!invite.headers.has(Name::Diversion));
    assert_eq!(
        invite.headers.values(Name::HistoryInfo),
        [
            "<sip:4008001234@carrier>;index=1",
            "<sip:913987654321@192.0.2.1;cause=302>;index=1.1;mp=1"
        ]
    );
}

#[test]
fn a_trunk_that_wants_no_history_gets_none_and_phones_are_told_all() {
    let mut world = house(TrunkManners { diversion: Vec::new(), ..TrunkManners::default() });
    let invite = sent_on(&mut world, true);
    assert!(!invite.headers.has(Name::Diversion) && !invite.headers.has(Name::HistoryInfo));
    let rung = &world.uas[2].invites[0];
    assert!(rung.headers.get(Name::Diversion).unwrap().contains("4008001234"));
    assert!(rung.headers.get(Name::HistoryInfo).unwrap().contains("4008001234"));
    // A phone cannot make a history up.
    let mut world = house(TrunkManners::default());
    world.uas[1].extra.push(("Diversion", "<sip:10086@h>;reason=unconditional".into()));
    world.call(1, "913812345678");
    world.run(5 * SECOND);
    assert!(!world.uas[0].invites[0].headers.has(Name::Diversion));
    end(&mut world, 1);
}
