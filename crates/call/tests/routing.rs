//! Groups, opening hours, overflow, permissions and limits, seen from the phones and the events.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use cheling_call::io::{Command, CommandReply, Input, Settings};
use cheling_model::directory::{Destination, Directory, RingGroup, Strategy, Trunk};
use cheling_model::hours::{Hours, Span, SpecialDay, TimeOfDay};
use cheling_model::reach::Reach;
use cheling_model::{CallId, TapKind, Timestamp};
use cheling_sip::Name;

mod world;

use world::talk::{DID, SECOND};
use world::ua::{Manner, Ua};
use world::{World, id};

fn change(world: &mut World, change: impl FnOnce(&mut Directory)) {
    let mut directory = world::directory();
    change(&mut directory);
    world.switch.handle(world.now, Input::Directory(Arc::new(directory)));
}

/// The group of the line with this strategy, 10 s a phone, 60 s in all.
fn group(strategy: Strategy, members: &[&str]) -> RingGroup {
    RingGroup {
        strategy,
        member_seconds: 10,
        skip_busy: true,
        ..RingGroup::ring_all(id(6), "售后一组", members, 60)
    }
}

/// A gateway (0) and phones 8001 to 8003 (1 to 3), all registered, that ring and never answer.
fn house(group: RingGroup) -> World {
    house_with(group, world::settings(1))
}

fn house_with(group: RingGroup, settings: Settings) -> World {
    let mut world = World::dealership_with(settings, 1);
    let third = world.add(Ua::new("8003", "192.0.2.13:5060"));
    world.register(third);
    world.run(SECOND);
    for phone in &mut world.uas[1..] {
        phone.manner = Manner::Ring;
    }
    change(&mut world, |directory| directory.groups[0] = group);
    world
}

/// What was told of the last call, without media.
fn story(world: &World) -> Vec<String> {
    let story = world.story();
    let from = story.iter().rposition(|word| word.starts_with("offered")).unwrap();
    let is_routing = |word: &&String| {
        ["routed", "ringing", "far end", "answered", "ended", "withdrawn"]
            .iter()
            .any(|begin| word.starts_with(begin))
    };
    story[from..].iter().filter(is_routing).cloned().collect()
}

fn rung(world: &World) -> Vec<String> {
    let of = |word: &String| word.strip_prefix("ringing ").map(str::to_owned);
    story(world).iter().filter_map(of).collect()
}

fn hang_up(world: &mut World, ua: usize) {
    let now = world.now.monotonic;
    world.uas[ua].hang_up(now);
    world.run(SECOND);
}

/// A call comes in, is answered by whoever answers, lasts a second and ends.
fn short_call(world: &mut World) {
    world.call(0, DID);
    world.run(5 * SECOND);
    let story = story(world);
    assert_eq!(world.uas[0].leg().status, Some(200), "{story:?}");
    hang_up(world, 0);
    world.settle();
}

#[test]
fn in_order_each_phone_rings_for_its_time_and_again_until_the_time_is_up() {
    let mut world = house(group(Strategy::InOrder, &["8002", "8001"]));
    world.call(0, DID);
    world.run(9 * SECOND);
    assert_eq!(rung(&world), ["8002"]);
    world.run(4 * SECOND);
    assert_eq!(rung(&world), ["8002", "8001"]);
    assert!(story(&world).contains(&"withdrawn 8002 NoAnswer".to_owned()));
    world.run(60 * SECOND);
    assert_eq!(rung(&world), ["8002", "8001", "8002", "8001", "8002", "8001"]);
    assert_eq!(world.uas[0].leg().status, Some(480));
    assert_eq!(story(&world).last().unwrap(), "ended NoAnswer None Some(480)");
    world.settle();
}

#[test]
fn in_order_a_phone_that_is_busy_or_gone_is_passed_over() {
    let mut world = house(group(Strategy::InOrder, &["8009", "8001", "8002", "8003"]));
    world.uas[1].manner = Manner::Refuse(486, SECOND);
    world.uas[3].manner = Manner::Answer(SECOND);
    // 8002 talks to a colleague who is not in the group.
    change(&mut world, |directory| {
        directory.groups[0] = group(Strategy::InOrder, &["8009", "8001", "8002", "8003"]);
        directory.extensions.push(world::extension("8004"));
    });
    let fourth = world.add(Ua::new("8004", "192.0.2.14:5060"));
    world.register(fourth);
    world.run(SECOND);
    world.call(2, "8004");
    world.run(5 * SECOND);
    world.call(0, DID);
    world.run(10 * SECOND);
    assert_eq!(rung(&world), ["8001", "8003"]);
    assert_eq!(world.uas[0].leg().status, Some(200));
    hang_up(&mut world, 0);
    hang_up(&mut world, 2);
    world.settle();
}

#[test]
fn who_has_been_idle_longest_rings_first() {
    let mut world = house(group(Strategy::LongestIdle, &["8001", "8002", "8003"]));
    for phone in &mut world.uas[1..] {
        phone.manner = Manner::Answer(SECOND);
    }
    // Nobody has talked yet: in the group's order. Then whose call ended longest ago.
    let mut first = Vec::new();
    for _ in 0..6 {
        short_call(&mut world);
        first.push(rung(&world)[0].clone());
    }
    assert_eq!(first, ["8001", "8002", "8003", "8001", "8002", "8003"]);
    // A call of one's own counts, too; ringing in vain does not.
    world.call(1, "913812345678");
    world.run(5 * SECOND);
    hang_up(&mut world, 1);
    world.settle();
    for phone in &mut world.uas[1..3] {
        phone.manner = Manner::Ring;
    }
    world.call(0, DID);
    world.run(40 * SECOND);
    assert_eq!(rung(&world), ["8002", "8003"]);
    hang_up(&mut world, 0);
    world.settle();
}

#[test]
fn who_has_been_idle_longest_is_known_after_a_restart() {
    let at = |seconds: i64| Timestamp::from_micros(1_700_000_000_000_000 - seconds * 1_000_000);
    let last_calls = vec![
        ("8001".to_owned(), at(60)),
        ("8002".to_owned(), at(86_400)),
        // The clock was set back since.
        ("8003".to_owned(), at(-10)),
        ("8009".to_owned(), at(5)),
    ];
    let settings = Settings { last_calls, ..world::settings(1) };
    let mut world = house_with(group(Strategy::LongestIdle, &["8003", "8001", "8002"]), settings);
    for phone in &mut world.uas[1..] {
        phone.manner = Manner::Answer(SECOND);
    }
    let mut first = Vec::new();
    for _ in 0..4 {
        short_call(&mut world);
        first.push(rung(&world)[0].clone());
    }
    assert_eq!(first, ["8002", "8001", "8003", "8002"]);
}

#[test]
fn all_busy_goes_elsewhere_at_once() {
    for strategy in [Strategy::RingAll, Strategy::InOrder, Strategy::LongestIdle] {
        let mut world = house(group(strategy, &["8001", "8002"]));
        change(&mut world, |directory| {
            directory.groups[0] = RingGroup {
                all_busy: Destination::Extension("8003".into()),
                ..group(strategy, &["8001", "8002"])
            };
        });
        world.uas[2].manner = Manner::Answer(SECOND);
        world.uas[3].manner = Manner::Answer(SECOND);
        world.call(1, "8002");
        world.run(5 * SECOND);
        world.call(0, DID);
        world.run(5 * SECOND);
        assert_eq!(
            story(&world),
            ["routed 售后一组 Called", "routed 8003 AllBusy", "ringing 8003", "answered 8003"]
        );
        hang_up(&mut world, 0);
        hang_up(&mut world, 1);
        world.settle();
    }
}

#[test]
fn busy_without_another_place_is_the_busy_tone() {
    let mut world = house(group(Strategy::RingAll, &["8001", "8002"]));
    world.uas[2].manner = Manner::Answer(SECOND);
    world.call(1, "8002");
    world.run(5 * SECOND);
    world.call(0, DID);
    world.run(5 * SECOND);
    assert_eq!(world.uas[0].leg().status, Some(486));
    assert_eq!(story(&world).last().unwrap(), "ended Busy None Some(486)");
    hang_up(&mut world, 1);
    world.settle();
    // Call waiting: they ring although they talk.
    change(&mut world, |directory| {
        directory.groups[0].skip_busy = false;
    });
    world.call(1, "8002");
    world.run(5 * SECOND);
    world.uas[2].manner = Manner::Ring;
    world.call(0, DID);
    world.run(2 * SECOND);
    assert_eq!(rung(&world), ["8001", "8002"]);
    hang_up_ringing(&mut world);
    hang_up(&mut world, 2);
    world.settle();
}

#[test]
fn unanswered_the_call_goes_from_group_to_group_and_out_of_the_house() {
    let mut world = house(group(Strategy::RingAll, &["8001"]));
    change(&mut world, |directory| {
        directory.groups = vec![
            RingGroup {
                no_answer: Destination::Group(id(7)),
                ..RingGroup::ring_all(id(6), "售后一组", &["8001"], 20)
            },
            // Nobody of this one is registered.
            RingGroup {
                nobody: Destination::Group(id(8)),
                ..RingGroup::ring_all(id(7), "夜班", &["8009"], 20)
            },
            RingGroup {
                no_answer: Destination::Outside("13900001111".into()),
                ..RingGroup::ring_all(id(8), "销售", &["8002", "8003"], 10)
            },
        ];
    });
    // The gateway both brings the call and takes the one that goes on.
    world.call(0, DID);
    world.run(35 * SECOND);
    assert_eq!(
        story(&world),
        [
            "routed 售后一组 Called",
            "ringing 8001",
            "withdrawn 8001 NoAnswer",
            "routed 夜班 NoAnswer",
            "routed 销售 Nobody",
            "ringing 8002",
            "ringing 8003",
            "withdrawn 8002 NoAnswer",
            "withdrawn 8003 NoAnswer",
            "routed 13900001111 NoAnswer",
            "far end rings",
            "answered ",
        ]
    );
    let out = world.uas[0].invites[0].clone();
    let said = out.headers.values(cheling_sip::Name::Diversion);
    assert_eq!(said, ["<sip:02161234567@192.0.2.1>;reason=no-answer;counter=1"]);
    assert_eq!(out.uri.user(), Some("13900001111"), "no prefix is needed");
    world.run(SECOND);
    let now = world.now.monotonic;
    while world.uas[0].hang_up(now) {
        world.run(SECOND);
        if world.uas[0].legs.iter().all(|leg| leg.is_over) {
            break;
        }
    }
    world.settle();
}

#[test]
fn groups_that_point_at_each_other_come_to_an_end() {
    let mut world = house(group(Strategy::RingAll, &["8001"]));
    change(&mut world, |directory| {
        let other = |own: u128, next: u128, member: &str| RingGroup {
            no_answer: Destination::Group(id(next)),
            all_busy: Destination::Group(id(next)),
            nobody: Destination::Group(id(next)),
            ..RingGroup::ring_all(id(own), &own.to_string(), &[member], 10)
        };
        directory.groups = vec![other(6, 7, "8001"), other(7, 6, "8009")];
    });
    world.call(0, DID);
    world.run(30 * SECOND);
    assert_eq!(world.uas[0].leg().status, Some(480));
    assert_eq!(
        story(&world),
        [
            "routed 6 Called",
            "ringing 8001",
            "withdrawn 8001 NoAnswer",
            "routed 7 NoAnswer",
            "routed  Loop",
            "ended NoAnswer None Some(480)"
        ]
    );
    world.settle();
}

#[test]
fn a_closed_line_sends_its_calls_elsewhere() {
    // 1 700 000 000 s is Wednesday 2023-11-15, 06:13 in Shanghai; an empty week is never open.
    let closed_always = Hours::default();
    let today =
        |spans: Vec<Span>| SpecialDay { day: "2023-11-15".into(), name: String::new(), spans };
    let span = |from: (u16, u16), to: (u16, u16)| Span {
        from: TimeOfDay::new(from.0, from.1).unwrap(),
        to: TimeOfDay::new(to.0, to.1).unwrap(),
    };
    let only = |day| Hours { days: vec![day], ..Hours::default() };
    let open_now = only(today(vec![span((6, 0), (7, 0))]));
    let not_yet = only(today(vec![span((6, 30), (7, 0))]));
    let mut holiday = only(today(Vec::new()));
    holiday.week.fill(vec![span((0, 0), (24, 0))]);
    for (hours, closed, want, status) in [
        (open_now, Destination::Unavailable, "routed 售后一组 Called", None),
        (not_yet, Destination::Unavailable, "routed  Closed", Some(480)),
        (holiday, Destination::Busy, "routed  Closed", Some(486)),
        (closed_always, Destination::Extension("8003".into()), "routed 8003 Closed", None),
    ] {
        let mut world = house(group(Strategy::RingAll, &["8001"]));
        change(&mut world, |directory| {
            directory.lines[0].hours = Some(hours.clone());
            directory.lines[0].closed = closed.clone();
        });
        world.call(0, DID);
        world.run(3 * SECOND);
        assert_eq!(story(&world)[0], want, "{hours:?}");
        assert_eq!(world.uas[0].leg().status, status, "{hours:?}");
        if status.is_none() {
            hang_up_ringing(&mut world);
        }
        world.settle();
    }
}

fn hang_up_ringing(world: &mut World) {
    let now = world.now.monotonic;
    world.uas[0].cancel(now);
    world.run(SECOND);
}

fn allow(world: &mut World, reach: Reach) {
    change(world, |directory| {
        for extension in &mut directory.extensions {
            extension.reach = reach;
        }
    });
}

fn dial(call: u128, number: &str) -> Command {
    Command::Dial {
        ticket: 7,
        call_id: id::<CallId>(call),
        extension: "8001".into(),
        number: number.into(),
        user_id: id(8),
        follow_up_id: None,
    }
}

#[test]
fn a_phone_that_may_not_dial_is_told_why() {
    for (number, reach, status, words) in [
        ("90085261234567", Reach::National, 403, "international"),
        ("901061234567", Reach::Local, 403, "national"),
        ("961234567", Reach::Internal, 403, "local"),
        ("916812345", Reach::International, 403, "blocked"),
        ("13812345678", Reach::International, 404, "trunk"),
    ] {
        let mut world = World::dealership(1);
        allow(&mut world, reach);
        world.call(1, number);
        world.run(2 * SECOND);
        assert_eq!(world.uas[1].leg().status, Some(status), "{number}");
        let refusal = world.uas[1].refused.last().unwrap();
        for name in [Name::Warning, Name::Reason] {
            let said = refusal.headers.get(name).unwrap().into_owned();
            assert!(said.contains(words), "{number}: {said}");
        }
        assert!(matches!(
            &world.taps.last_chunk::<2>().unwrap()[0].1,
            TapKind::Ended { sip_status, .. } if *sip_status == Some(status)
        ));
        assert_eq!(world.uas[0].invites.len(), 0);
        world.settle();
    }
}

#[test]
fn a_click_that_may_not_be_is_refused_with_its_reason() {
    for (number, reach, want) in [
        ("0085261234567", Reach::National, CommandReply::NotPermitted),
        ("01061234567", Reach::Local, CommandReply::NotPermitted),
        ("16812345", Reach::International, CommandReply::Blocked),
        ("95588", Reach::Internal, CommandReply::Accepted),
        ("110", Reach::Internal, CommandReply::Accepted),
    ] {
        let mut world = World::dealership(1);
        allow(&mut world, reach);
        world.command(dial(50, number));
        world.run(SECOND);
        assert_eq!(world.replies, [want], "{number}");
    }
}

/// A house whose only trunk carries one call, and whose switch carries `max_calls`.
fn narrow(max_calls: usize) -> World {
    let mut settings = world::settings(1);
    settings.trunks[0].max_calls = Some(1);
    settings.max_calls = max_calls;
    let mut world = World::with(settings, 1);
    world.add(Ua::new("gateway", world::GATEWAY));
    for number in ["8001", "8002"] {
        let phone = world.add(Ua::new(number, &format!("192.0.2.1{}:5060", &number[2..])));
        world.register(phone);
    }
    world.run(SECOND);
    world
}

#[test]
fn a_full_trunk_takes_no_further_call_but_help_and_what_comes_in() {
    let mut world = narrow(2);
    world.call(1, "913812345678");
    world.run(5 * SECOND);
    assert_eq!(world.uas[1].leg().status, Some(200));
    world.call(2, "913812345679");
    world.run(2 * SECOND);
    assert_eq!(world.uas[2].leg().status, Some(503));
    assert!(world.uas[2].refused.last().unwrap().headers.has(Name::RetryAfter));
    // Two calls are all that the switch carries; help is one more.
    world.call(0, DID);
    world.run(SECOND);
    world.call(2, "120");
    world.run(5 * SECOND);
    assert_eq!(world.uas[2].leg().status, Some(200));
    assert_eq!(world.uas[0].invites.last().unwrap().uri.user(), Some("120"));
    world.call(0, DID);
    world.run(SECOND);
    assert_eq!(world.uas[0].leg().status, Some(503), "one too many");
}

fn two_trunks(change: impl FnOnce(&mut Vec<Trunk>)) -> World {
    let mut settings = world::settings(1);
    let mut second = settings.trunks[0].clone();
    second.name = "second".into();
    second.host = "192.0.2.51".into();
    second.addresses[0].address = "192.0.2.51:5060".parse().unwrap();
    settings.trunks.push(second);
    change(&mut settings.trunks);
    let mut world = World::with(settings, 1);
    world.add(Ua::new("gateway", world::GATEWAY));
    let phone = world.add(Ua::new("8001", "192.0.2.11:5060"));
    world.add(Ua::new("second", "192.0.2.51:5060"));
    world.register(phone);
    world.run(SECOND);
    world
}

fn call_out(world: &mut World) {
    world.call(1, "913812345678");
    world.run(40 * SECOND);
    assert_eq!(world.uas[1].leg().status, Some(200));
    hang_up(world, 1);
    world.run(SECOND);
}

#[test]
fn a_trunk_that_asks_for_rest_is_left_in_peace_until_it_is_over() {
    let mut world = two_trunks(|_| {});
    world.uas[0].manner = Manner::Refuse(503, SECOND);
    world.uas[0].final_extra.push(("Retry-After", "120 (too busy)".into()));
    call_out(&mut world);
    call_out(&mut world);
    assert_eq!((world.uas[0].invites.len(), world.uas[2].invites.len()), (1, 2));
    assert_eq!(world.story().iter().filter(|it| *it == "by second").count(), 1, "the first call");
    world.run(120 * SECOND);
    call_out(&mut world);
    assert_eq!((world.uas[0].invites.len(), world.uas[2].invites.len()), (2, 3));
}

#[test]
fn a_trunk_that_says_nothing_is_given_up_soon_and_tried_last_for_a_while() {
    let mut world = two_trunks(|_| {});
    world.uas[0].manner = Manner::Dead;
    world.call(1, "913812345678");
    world.run(12 * SECOND);
    assert_eq!(world.uas[1].leg().status, Some(200), "after 8 s, not 32");
    hang_up(&mut world, 1);
    world.run(40 * SECOND);
    let before = world.sent_to(0).len();
    call_out(&mut world);
    assert_eq!(world.sent_to(0).len(), before, "not even asked");
}

#[test]
fn a_trunk_that_does_not_answer_options_is_tried_last() {
    let mut world = two_trunks(|trunks| {
        for trunk in trunks {
            trunk.ping_every = Some(30 * SECOND);
        }
    });
    assert!(world.sent_to(0).iter().any(|line| line.starts_with("OPTIONS sip:192.0.2.50:5060")));
    call_out(&mut world);
    assert_eq!((world.uas[0].invites.len(), world.uas[2].invites.len()), (1, 0));
    world.uas[0].is_deaf = true;
    world.run(90 * SECOND);
    call_out(&mut world);
    assert_eq!((world.uas[0].invites.len(), world.uas[2].invites.len()), (1, 1));
    world.uas[0].is_deaf = false;
    world.run(60 * SECOND);
    call_out(&mut world);
    assert_eq!((world.uas[0].invites.len(), world.uas[2].invites.len()), (2, 1));
}
