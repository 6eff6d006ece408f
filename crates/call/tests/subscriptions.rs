//! Busy lamps, the message lamp, and short messages between phones.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use cheling_call::io::{Command, Input};
use cheling_sip::{Method, Name};

mod world;

use world::talk::{DID, SECOND, has};
use world::ua::{Manner, Ua};
use world::{World, directory, id};

const WATCHER: usize = 3;

/// A gateway (0), 8001 (1), 8002 (2), and 8003 (3), who watches 8001.
fn watching() -> World {
    let mut world = World::dealership(1);
    let third = world.add(Ua::new("8003", "192.0.2.103:5060"));
    world.register(third);
    world.run(SECOND);
    subscribe(&mut world, WATCHER, "8001", "dialog");
    world
}

fn subscribe(world: &mut World, ua: usize, to: &str, event: &str) {
    let now = world.now.monotonic;
    world.uas[ua].subscribe(now, to, event, 600);
    world.run(SECOND);
}

/// The states told since last asked, newest last; each with its version.
fn states(world: &mut World, ua: usize) -> Vec<String> {
    let told = std::mem::take(&mut world.uas[ua].told);
    told.iter().map(|body| between(body, "<state>", "</state>").join(" ")).collect()
}

fn between<'a>(text: &'a str, begin: &str, end: &str) -> Vec<&'a str> {
    let parts = text.split(begin).skip(1);
    parts.filter_map(|part| part.split(end).next()).collect()
}

fn hang_up(world: &mut World, ua: usize) {
    let now = world.now.monotonic;
    world.uas[ua].hang_up(now);
    world.run(SECOND);
}

#[test]
fn a_lamp_follows_the_calls_of_an_extension() {
    let mut world = watching();
    assert!(has(&world, WATCHER, "407 SUBSCRIBE") && has(&world, WATCHER, "200 SUBSCRIBE"));
    assert_eq!(states(&mut world, WATCHER), ["terminated"]);
    world.uas[2].manner = Manner::Ring;
    world.uas[0].extra.push(("From", "<sip:13812345678@gw>".into()));
    world.call(0, DID);
    world.run(SECOND);
    let body = world.uas[WATCHER].told.last().unwrap().clone();
    assert_eq!(between(&body, "direction=\"", "\""), ["recipient"]);
    assert!(body.contains("<identity>sip:13812345678@192.0.2.1</identity>"), "{body}");
    // Whoever picks up builds its Replaces of these: the ringing phone's tag is its own.
    let ringing = world.uas[1].leg().dialog.clone().unwrap().id;
    assert_eq!(between(&body, "call-id=\"", "\""), [ringing.call_id]);
    assert_eq!(between(&body, "local-tag=\"", "\""), [ringing.local_tag]);
    assert_eq!(between(&body, "remote-tag=\"", "\""), [ringing.remote_tag]);
    let versions: Vec<_> = world.uas[WATCHER]
        .told
        .iter()
        .map(|body| between(body, "dialog-info\" version=\"", "\"")[0].parse::<u32>().unwrap())
        .collect();
    world.run(5 * SECOND);
    hang_up(&mut world, 0);
    assert_eq!(states(&mut world, WATCHER), ["early", "early", "confirmed", "terminated"]);
    assert!(versions.windows(2).all(|pair| pair[1] == pair[0] + 1), "{versions:?}");
    // A call of its own, and one to somebody else.
    world.call(1, "8002");
    world.run(SECOND);
    hang_up(&mut world, 1);
    let own = states(&mut world, WATCHER);
    assert_eq!((own[0].as_str(), own.last().unwrap().as_str()), ("trying", "early"));
    let now = world.now.monotonic;
    world.uas[1].cancel(now);
    world.run(SECOND);
    assert_eq!(states(&mut world, WATCHER), ["terminated"]);
    world.call(0, "8002");
    world.run(5 * SECOND);
    assert!(states(&mut world, WATCHER).is_empty(), "8001 has nothing to do with it");
}

#[test]
fn a_subscription_lasts_until_it_ends_or_is_ended() {
    let mut world = watching();
    // It is refreshed.
    world.run(500 * SECOND);
    let now = world.now.monotonic;
    world.uas[WATCHER].resubscribe(now, "dialog", 600);
    world.run(500 * SECOND);
    world.uas[WATCHER].log.clear();
    world.call(1, "8002");
    world.run(SECOND);
    assert!(has(&world, WATCHER, "NOTIFY active;expires=100"), "{:?}", world.uas[WATCHER].log);
    // Another package is not in this dialog; too brief is too brief.
    for (event, expires, want) in
        [("message-summary", 600, "489 SUBSCRIBE"), ("dialog", 5, "423 SUBSCRIBE")]
    {
        let now = world.now.monotonic;
        world.uas[WATCHER].resubscribe(now, event, expires);
        world.run(SECOND);
        assert!(has(&world, WATCHER, want), "{:?}", world.uas[WATCHER].log);
    }
    // It runs out, and says so.
    world.run(200 * SECOND);
    assert!(has(&world, WATCHER, "NOTIFY terminated;reason=timeout"));
    let now = world.now.monotonic;
    world.uas[WATCHER].resubscribe(now, "dialog", 600);
    world.run(SECOND);
    assert!(has(&world, WATCHER, "481 SUBSCRIBE"));
    // Unsubscribing ends one at once.
    let mut world = watching();
    let now = world.now.monotonic;
    world.uas[WATCHER].resubscribe(now, "dialog", 0);
    world.run(SECOND);
    assert!(has(&world, WATCHER, "NOTIFY terminated;reason=timeout"));
    world.uas[WATCHER].log.clear();
    world.call(1, "8002");
    world.run(SECOND);
    assert!(!has(&world, WATCHER, "NOTIFY"));
}

#[test]
fn who_does_not_answer_or_knows_nothing_of_it_is_told_no_more() {
    for (status, rest) in [(481, 1), (0, 40), (200, 1)] {
        let mut world = watching();
        world.uas[WATCHER].notify_status = status;
        world.call(1, "8002");
        world.run(rest * SECOND);
        world.uas[WATCHER].log.clear();
        hang_up(&mut world, 1);
        let now = world.now.monotonic;
        world.uas[1].cancel(now);
        world.run(5 * SECOND);
        assert_eq!(has(&world, WATCHER, "NOTIFY"), status == 200, "{status}");
    }
}

#[test]
fn what_may_not_be_watched_is_refused() {
    let mut world = watching();
    for (ua, to, event, want) in [
        (WATCHER, "8001", "presence", "489 SUBSCRIBE"),
        (WATCHER, "8009", "dialog", "404 SUBSCRIBE"),
        (WATCHER, "8001", "message-summary", "403 SUBSCRIBE"),
        (0, "8001", "dialog", "405 SUBSCRIBE"),
    ] {
        world.uas[ua].log.clear();
        subscribe(&mut world, ua, to, event);
        assert!(has(&world, ua, want), "{to} {event} {:?}", world.uas[ua].log);
    }
    // Another dealership's phone has nothing to see here.
    let mut other = directory();
    other.extensions[2].dealership_id = id(2);
    let mut world = World::dealership(1);
    world.add(Ua::new("8003", "192.0.2.103:5060"));
    world.switch.handle(world.now, Input::Directory(Arc::new(other)));
    subscribe(&mut world, WATCHER, "8001", "dialog");
    assert!(has(&world, WATCHER, "403 SUBSCRIBE"));
    // A wrong password is asked for again and then refused.
    let mut world = World::dealership(1);
    world.add(Ua::new("8003", "192.0.2.103:5060"));
    world.uas[WATCHER].password = "wrong".into();
    subscribe(&mut world, WATCHER, "8001", "dialog");
    assert!(has(&world, WATCHER, "403 SUBSCRIBE"));
}

#[test]
fn an_extension_has_only_so_many_subscriptions() {
    let mut world = World::dealership(1);
    let watcher = world.add(Ua::new("8003", "192.0.2.103:5060"));
    let most = cheling_call::subscriptions::MAX_PER_EXTENSION;
    let now = world.now.monotonic;
    for number in 0..=most {
        let contact = format!("<sip:{number}@192.0.2.103:5060>");
        world.uas[watcher].ask(now, Method::Subscribe, "8001", |request| {
            request.headers.set(Name::Contact, &contact);
            request.headers.push(Name::Event, "dialog");
        });
        world.run(SECOND / 100);
    }
    world.run(SECOND);
    let count =
        |word: &str| world.uas[watcher].log.iter().filter(|line| line.as_str() == word).count();
    assert_eq!((count("200 SUBSCRIBE"), count("503 SUBSCRIBE")), (most, 1));
    // The same phone again takes the place of what it had.
    world.uas[watcher].log.clear();
    subscribe(&mut world, watcher, "8001", "dialog");
    assert!(has(&world, watcher, "503 SUBSCRIBE"));
    let now = world.now.monotonic;
    world.uas[watcher].ask(now, Method::Subscribe, "8001", |request| {
        request.headers.set(Name::Contact, "<sip:7@192.0.2.103:5060>");
        request.headers.push(Name::Event, "dialog");
    });
    world.run(SECOND);
    assert!(has(&world, watcher, "503 SUBSCRIBE"), "counted before it is known to be the same");
}

#[test]
fn the_message_lamp_is_told_the_truth() {
    let mut world = watching();
    world.uas[1].told.clear();
    subscribe(&mut world, 1, "8001", "message-summary");
    assert_eq!(world.uas[1].told, ["Messages-Waiting: no\r\nVoice-Message: 0/0 (0/0)\r\n"]);
}

#[test]
fn an_extension_that_is_no_more_is_watched_no_more() {
    let mut world = watching();
    world.uas[WATCHER].log.clear();
    let mut rest = directory();
    rest.extensions.remove(0);
    world.switch.handle(world.now, Input::Directory(Arc::new(rest)));
    world.run(SECOND);
    assert!(has(&world, WATCHER, "NOTIFY terminated;reason=noresource"));
}

#[test]
fn a_click_lights_the_lamp_as_well() {
    let mut world = watching();
    world.uas[0].manner = Manner::Answer(3 * SECOND);
    world.command(Command::Dial {
        ticket: 1,
        call_id: id(77),
        extension: "8001".into(),
        number: "13812345678".into(),
        user_id: id(8001),
        follow_up_id: None,
    });
    world.run(8 * SECOND);
    hang_up(&mut world, 1);
    let told = states(&mut world, WATCHER);
    assert_eq!(told.first().unwrap(), "terminated");
    assert!(told.contains(&"early".to_owned()) && told.contains(&"confirmed".to_owned()));
    assert_eq!(told.last().unwrap(), "terminated");
}

#[test]
fn messages_pass_between_phones() {
    let mut world = watching();
    let say = |world: &mut World, ua: usize, to: &str, text: &str| {
        world.uas[ua].log.clear();
        let (now, text) = (world.now.monotonic, text.to_owned());
        world.uas[ua].ask(now, Method::Message, to, |request| {
            request.set_body("text/plain;charset=utf-8", text.clone());
        });
        world.run(SECOND);
        world.uas[ua].log.last().unwrap().clone()
    };
    assert_eq!(say(&mut world, 1, "8002", "客户到店"), "202 MESSAGE");
    assert!(has(&world, 2, "MESSAGE 客户到店"), "{:?}", world.uas[2].log);
    world.uas[2].manner = Manner::Refuse(486, SECOND);
    assert_eq!(say(&mut world, 1, "8002", "x"), "488 MESSAGE");
    assert_eq!(say(&mut world, 1, "8009", "x"), "404 MESSAGE");
    assert_eq!(say(&mut world, 0, "8002", "x"), "405 MESSAGE");
    assert_eq!(say(&mut world, 1, "8002", &"x".repeat(9000)), "413 MESSAGE");
    // Nobody there: whoever asks gives up as soon as we do, and nothing is left of it.
    world.uas[2].address = "192.0.2.99:5060".parse().unwrap();
    say(&mut world, 1, "8002", "x");
    world.run(80 * SECOND);
    assert!(world.switch.is_idle());
    world.uas[WATCHER].log.clear();
    let now = world.now.monotonic;
    for _ in 0..20 {
        world.uas[1].ask(now, Method::Message, "8002", |_| {});
    }
    world.run(SECOND);
    let refused = world.uas[1].log.iter().filter(|line| *line == "503 MESSAGE").count();
    assert_eq!(refused, 20 - cheling_call::messages::MAX_PER_EXTENSION);
}
