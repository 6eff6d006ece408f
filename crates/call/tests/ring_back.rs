//! An agent who has clicked hears that the other side rings.
#![allow(clippy::unwrap_used)]

use cheling_call::io::{Command, Played, Speaker};
use cheling_model::Lane;
use cheling_model::directory::{EarlyMedia, TrunkManners};

mod world;

use world::talk::SECOND;
use world::ua::Manner;
use world::{World, id, settings};

fn dial(world: &mut World, number: &str) {
    world.command(Command::Dial {
        ticket: 1,
        call_id: id(77),
        extension: "8001".into(),
        number: number.into(),
        user_id: id(8001),
        follow_up_id: None,
    });
}

/// Whether the agent, who answers after a second, is played the tone now.
fn is_rung_back(world: &World) -> bool {
    let Some(Some(plan)) = world.plans.get(&id(77)) else { return false };
    assert_eq!(plan.forwards, [false, true], "nothing comes between");
    let [voice] = &plan.voices[..] else { panic!("{plan:?}") };
    assert_eq!(voice.who, Speaker::Side(Lane::Agent));
    assert_eq!(voice.sends.as_ref().unwrap().format.encoding, "PCMA");
    assert!(voice.hears.is_empty());
    voice.played == Some(Played::RingBack)
}

#[test]
fn the_tone_is_heard_from_the_ringing_to_the_answer_unless_there_is_something_else() {
    let ring = Manner::Answer(5 * SECOND);
    let plays = Manner::EarlyMedia(5 * SECOND);
    for (number, early_media, manner, is_heard) in [
        ("13812345678", EarlyMedia::Pass, ring, true),
        ("8002", EarlyMedia::Pass, ring, true),
        ("13812345678", EarlyMedia::Pass, plays, false),
        ("13812345678", EarlyMedia::Ringback, plays, true),
        ("13812345678", EarlyMedia::Block, plays, false),
    ] {
        let mut settings = settings(1);
        settings.trunks[0].manners = TrunkManners { early_media, ..TrunkManners::default() };
        let mut world = World::dealership_with(settings, 1);
        world.uas[1].manner = Manner::Answer(SECOND);
        world.uas[0].manner = manner;
        world.uas[2].manner = manner;
        dial(&mut world, number);
        world.run(SECOND / 2);
        assert!(!is_rung_back(&world), "his own phone rings");
        world.run(3 * SECOND);
        assert_eq!(is_rung_back(&world), is_heard, "{number} {early_media:?}");
        world.run(5 * SECOND);
        assert!(world.story().contains(&"answered 8001".to_owned()) || number == "8002");
        assert!(!is_rung_back(&world));
        let now = world.now.monotonic;
        world.uas[1].hang_up(now);
        world.settle();
        assert_eq!(world.outputs.last().unwrap(), "CloseRelay");
    }
}

#[test]
fn an_agent_who_gives_up_or_is_refused_hears_no_more() {
    for is_refused in [false, true] {
        let mut world = World::dealership(1);
        world.uas[1].manner = Manner::Answer(SECOND);
        world.uas[0].manner =
            if is_refused { Manner::Refuse(486, 5 * SECOND) } else { Manner::Ring };
        dial(&mut world, "13812345678");
        world.run(3 * SECOND);
        assert!(is_rung_back(&world));
        if !is_refused {
            let now = world.now.monotonic;
            world.uas[1].hang_up(now);
        }
        world.settle();
        assert_eq!(world.outputs.last().unwrap(), "CloseRelay");
    }
}
