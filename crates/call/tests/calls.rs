//! Calls through the switch, seen from the phones, the gateway and the events.
#![allow(clippy::unwrap_used)]

use cheling_call::io::{Command, CommandReply, Input, Output};
use cheling_model::CallId;
use cheling_sip::digest::{Algorithm, Challenge, ha1};
use cheling_sip::sdp::Direction;
use cheling_sip::{Flow, Message, Method, Name, Transport};

mod world;

use world::talk::{DID, SECOND};
use world::ua::{Manner, Ua};
use world::{World, id};

#[test]
fn an_inbound_call_rings_the_group_and_the_first_to_answer_talks() {
    let mut world = World::dealership(1);
    world.uas[0].extra.push(("From", "\"王\" <sip:13812345678@gw>".into()));
    world.uas[1].manner = Manner::Answer(3 * SECOND);
    world.uas[2].manner = Manner::Answer(2 * SECOND);
    world.call(0, DID);
    world.run(5 * SECOND);
    assert_eq!(world.uas[0].leg().status, Some(200));
    let invite = world.uas[2].invites[0].clone();
    assert_eq!(invite.headers.from().unwrap().display.as_deref(), Some("王"));
    assert_eq!(invite.headers.from().unwrap().uri.user(), Some("13812345678"));
    assert!(invite.headers.get(Name::PAssertedIdentity).unwrap().contains("13812345678"));
    assert!(world.uas[1].log.iter().any(|line| line.starts_with("CANCEL SIP;cause=200")));
    let heard = world.uas[0].leg().heard.clone().unwrap().audio().unwrap();
    assert_eq!(heard.rtp, Some("192.0.2.1:30000".parse().unwrap()));
    let heard = world.uas[2].leg().heard.clone().unwrap().audio().unwrap();
    assert_eq!(heard.rtp, Some("192.0.2.1:30002".parse().unwrap()));
    let now = world.now.monotonic;
    world.uas[0].hang_up(now);
    world.settle();
    assert_eq!(
        world.story(),
        [
            "offered Inbound 13812345678>02161234567",
            "routed 售后一组 Called",
            "ringing 8001",
            "ringing 8002",
            "withdrawn 8001 AnsweredElsewhere { extension: \"8002\" }",
            "formats Customer PCMA PCMU TELEPHONE-EVENT",
            "formats Agent PCMA PCMU TELEPHONE-EVENT",
            "answered 8002",
            "ended HungUp Some(Customer) None",
            "relay closed",
        ]
    );
    assert_eq!(
        world.outputs,
        ["OpenRelay", "Point Customer 4010", "Point Agent 4010", "StartRecording", "CloseRelay"]
    );
}

#[test]
fn an_outbound_call_goes_by_the_trunk_with_its_number_and_prefix() {
    let mut world = World::dealership(1);
    world.uas[0].manner = Manner::EarlyMedia(2 * SECOND);
    world.call(1, "913812345678");
    world.run(5 * SECOND);
    let invite = world.uas[0].invites[0].clone();
    assert_eq!(invite.uri.user(), Some("13812345678"));
    assert_eq!(invite.headers.from().unwrap().uri.user(), Some("02161234567"));
    assert!(world.uas[1].log.contains(&"183 INVITE".to_owned()));
    let now = world.now.monotonic;
    world.uas[1].hang_up(now);
    world.settle();
    assert_eq!(
        world.story(),
        [
            "offered Outbound 8001>913812345678",
            "far end rings",
            "formats Agent PCMA PCMU TELEPHONE-EVENT",
            "formats Customer PCMA PCMU TELEPHONE-EVENT",
            "answered 8001",
            "ended HungUp Some(Agent) None",
            "relay closed",
        ]
    );
}

#[test]
fn an_internal_call_has_the_caller_on_the_left() {
    let mut world = World::dealership(1);
    world.call(1, "8002");
    world.run(5 * SECOND);
    let invite = world.uas[2].invites[0].clone();
    assert_eq!(invite.headers.from().unwrap().display.as_deref(), Some("Agent 8001"));
    let now = world.now.monotonic;
    world.uas[2].hang_up(now);
    world.settle();
    let story = world.story();
    assert_eq!(story[0], "offered Internal 8001>8002");
    assert_eq!(story[4], "answered 8002");
    assert_eq!(story[5], "ended HungUp Some(Agent) None");
}

#[test]
fn what_cannot_be_called_gets_the_status_for_it() {
    for (from, number, manner, status, ended) in [
        (0, "99999999", Manner::Ring, 404, None),
        (0, "8003", Manner::Ring, 480, Some("ended NotFound None Some(480)")),
        (1, "nobody", Manner::Ring, 404, Some("ended NotFound None Some(404)")),
        (1, "8003", Manner::Ring, 480, Some("ended NotFound None Some(480)")),
        (1, "8002", Manner::Refuse(486, SECOND), 486, Some("ended Busy None Some(486)")),
        (1, "8002", Manner::Refuse(603, SECOND), 603, Some("ended Declined None Some(603)")),
        (1, "8002", Manner::Ring, 480, Some("ended NoAnswer None Some(480)")),
        (1, "8002", Manner::Dead, 480, Some("ended NoAnswer None Some(480)")),
        (0, DID, Manner::Refuse(486, SECOND), 480, Some("ended NoAnswer None Some(480)")),
    ] {
        let mut world = World::dealership(1);
        world.uas[1].manner = Manner::Ring;
        world.uas[2].manner = manner;
        world.call(from, number);
        world.run(100 * SECOND);
        assert_eq!(world.uas[from].leg().status, Some(status), "{number} {manner:?}");
        let end = world.story().into_iter().find(|line| line.starts_with("ended"));
        assert_eq!(end.as_deref(), ended, "{number} {manner:?}");
        world.settle();
    }
}

#[test]
fn a_caller_who_gives_up_stops_the_ringing() {
    let mut world = World::dealership(1);
    world.uas[1].manner = Manner::Ring;
    world.uas[2].manner = Manner::Ring;
    world.call(0, DID);
    world.run(2 * SECOND);
    let now = world.now.monotonic;
    world.uas[0].cancel(now);
    world.settle();
    assert_eq!(world.uas[0].leg().status, Some(487));
    let story = world.story();
    assert_eq!(story[4], "withdrawn 8001 CallerHungUp");
    assert_eq!(story[6], "ended Cancelled Some(Customer) Some(487)");
}

#[test]
fn hold_and_resume_pass_across_and_are_told() {
    let mut world = World::dealership(1);
    world.call(0, DID);
    world.run(5 * SECOND);
    let answerer = if world.uas[1].leg().is_over { 2 } else { 1 };
    let now = world.now.monotonic;
    world.uas[answerer].reinvite(now, Direction::SendOnly);
    world.run(SECOND);
    let heard = world.uas[0].leg().heard.clone().unwrap().audio().unwrap();
    assert_eq!(heard.direction, Direction::SendOnly);
    let heard = world.uas[answerer].leg().heard.clone().unwrap().audio().unwrap();
    assert_eq!(heard.direction, Direction::RecvOnly);
    let now = world.now.monotonic;
    world.uas[answerer].reinvite(now, Direction::SendRecv);
    world.run(SECOND);
    let heard = world.uas[0].leg().heard.clone().unwrap().audio().unwrap();
    assert_eq!(heard.direction, Direction::SendRecv);
    let now = world.now.monotonic;
    world.uas[answerer].hang_up(now);
    world.settle();
    let story = world.story().join("\n");
    assert!(story.contains("held Agent\nresumed Agent\nended"), "{story}");
}

#[test]
fn an_offer_that_comes_late_is_answered_in_the_ack() {
    let mut world = World::dealership(1);
    world.uas[0].has_late_offer = true;
    world.uas[2].manner = Manner::Ring;
    world.call(0, DID);
    world.run(5 * SECOND);
    assert!(world.uas[1].invites[0].body.is_empty());
    let heard = world.uas[1].leg().heard.clone().unwrap().audio().unwrap();
    assert_eq!(heard.rtp, Some("192.0.2.1:30002".parse().unwrap()));
    let now = world.now.monotonic;
    world.uas[1].hang_up(now);
    world.settle();
    assert!(world.story().join("\n").contains("formats Customer PCMA"));
}

#[test]
fn info_passes_and_both_sides_at_once_get_491() {
    let mut world = World::dealership(1);
    world.call(1, "8002");
    world.run(5 * SECOND);
    let now = world.now.monotonic;
    let body = b"Signal=5\r\n".to_vec();
    world.uas[1].say(now, Method::Info, Some(("application/dtmf-relay", body)));
    world.run(SECOND);
    assert!(world.uas[2].log.contains(&"INFO".to_owned()));
    assert!(world.uas[1].log.contains(&"200 INFO".to_owned()));
    let now = world.now.monotonic;
    world.uas[1].reinvite(now, Direction::SendOnly);
    world.uas[2].reinvite(now, Direction::SendOnly);
    world.run(SECOND);
    let count = |ua: usize, line: &str| world.uas[ua].log.iter().filter(|l| *l == line).count();
    assert_eq!(count(1, "491 INVITE") + count(2, "491 INVITE"), 1);
    let now = world.now.monotonic;
    world.uas[2].hang_up(now);
    world.settle();
}

#[test]
fn a_2xx_that_nobody_acknowledges_ends_the_call_after_64_t1() {
    let mut world = World::dealership(1);
    world.uas[0].acknowledges = false;
    world.call(0, DID);
    world.run(10 * SECOND);
    assert_eq!(world.switch.live_calls(), 1);
    world.run(40 * SECOND);
    assert_eq!(world.switch.live_calls(), 0);
    world.settle();
    assert!(world.story().contains(&"ended Failed None None".to_owned()));
}

#[test]
fn a_wrong_password_registers_nothing_and_is_told_so() {
    let mut world = World::seeded(1);
    let phone = world.add(Ua::new("8001", "192.0.2.11:5060"));
    world.uas[phone].password = "wrong".into();
    world.register(phone);
    world.run(SECOND);
    assert_eq!(world.uas[phone].log, ["REGISTER 401", "REGISTER 403"]);
    let stranger = world.add(Ua::new("9999", "192.0.2.12:5060"));
    world.register(stranger);
    world.call(stranger, "8001");
    world.run(SECOND);
    assert_eq!(world.uas[stranger].log[..2], ["REGISTER 401", "407 INVITE"]);
    assert!(world.uas[stranger].log.contains(&"403 INVITE".to_owned()));
    assert!(world.switch.registrations().is_empty());
    world.settle();
}

fn dial(call: u128, number: &str) -> Command {
    Command::Dial {
        ticket: 1,
        call_id: id::<CallId>(call),
        extension: "8001".into(),
        number: number.into(),
        user_id: id(8001),
        follow_up_id: Some(id(77)),
    }
}

#[test]
fn a_click_rings_the_agent_first_and_then_the_customer() {
    let mut world = World::dealership(1);
    world.uas[0].manner = Manner::Answer(3 * SECOND);
    world.command(dial(100, "13812345678"));
    world.command(dial(100, "13812345678"));
    world.run(10 * SECOND);
    let invite = &world.uas[1].invites[0];
    assert!(invite.headers.get(Name::CallInfo).unwrap().contains("answer-after=0"));
    assert_eq!(invite.headers.from().unwrap().uri.user(), Some("13812345678"));
    assert_eq!(world.uas[0].invites.len(), 1);
    let offered = world.uas[0].legs[0].heard.clone().unwrap().audio().unwrap();
    let names: Vec<_> = offered.formats.iter().map(|f| f.encoding.as_str()).collect();
    assert_eq!(names, ["PCMA", "telephone-event"]);
    let now = world.now.monotonic;
    world.uas[0].hang_up(now);
    world.settle();
    assert_eq!(world.replies, [CommandReply::Accepted, CommandReply::Accepted]);
    assert_eq!(
        world.story(),
        [
            "offered Outbound 8001>13812345678",
            "ringing 8001",
            "far end rings",
            "formats Agent PCMA PCMU TELEPHONE-EVENT",
            "formats Customer PCMA PCMU TELEPHONE-EVENT",
            "answered 8001",
            "ended HungUp Some(Customer) None",
            "relay closed",
        ]
    );
    assert!(world.taps.iter().all(|(call_id, _)| *call_id == id::<CallId>(100)));
}

#[test]
fn a_click_that_fails_says_why() {
    let mut world = World::dealership(1);
    world.uas[0].manner = Manner::Refuse(486, SECOND);
    world.command(dial(100, "13812345678"));
    world.run(10 * SECOND);
    assert!(world.uas[1].log.iter().any(|line| line.starts_with("BYE SIP;cause=486")));
    world.settle();
    assert_eq!(world.story().pop().unwrap(), "relay closed");
    assert!(world.story().contains(&"ended Busy None Some(486)".to_owned()));
    let refusals = [
        ("8001", "nobody", CommandReply::NoRoute),
        ("8003", "13812345678", CommandReply::NotRegistered),
        ("7777", "13812345678", CommandReply::NoSuchExtension),
    ];
    for (extension, number, want) in refusals {
        let mut command = dial(200, number);
        if let Command::Dial { extension: which, .. } = &mut command {
            *which = extension.into();
        }
        world.command(command);
        world.run(SECOND);
        assert_eq!(world.replies.pop(), Some(want));
    }
    world.command(Command::HangUp { ticket: 3, call_id: id(200) });
    world.run(SECOND);
    assert_eq!(world.replies.pop(), Some(CommandReply::NoSuchCall));
}

#[test]
fn a_phone_that_rings_is_not_dialled_from() {
    let mut world = World::dealership(1);
    world.uas[1].manner = Manner::Ring;
    world.uas[2].manner = Manner::Ring;
    world.call(0, DID);
    world.run(2 * SECOND);
    world.command(dial(300, "13812345678"));
    world.run(SECOND);
    assert_eq!(world.replies.pop(), Some(CommandReply::ExtensionBusy));
    assert_eq!(world.uas[1].invites.len(), 1, "the ringing phone is left alone");
}

#[test]
fn commands_end_calls_and_draining_refuses_new_ones() {
    let mut world = World::dealership(1);
    world.uas[0].manner = Manner::Answer(SECOND);
    world.call(1, "913812345678");
    world.run(5 * SECOND);
    world.command(dial(300, "13812345678"));
    world.run(SECOND);
    assert_eq!(world.replies.pop(), Some(CommandReply::ExtensionBusy));
    let call_id = world.taps[0].0;
    world.command(Command::HangUp { ticket: 1, call_id });
    world.settle();
    assert!(world.story().contains(&"ended HungUp None None".to_owned()));
    world.call(1, "913812345678");
    world.run(5 * SECOND);
    world.command(Command::Drain);
    world.call(2, "8001");
    world.run(SECOND);
    assert_eq!(world.uas[2].leg().status, Some(503));
    world.command(Command::EndAll);
    world.settle();
    assert!(world.story().contains(&"ended Shutdown None None".to_owned()));
}

#[test]
fn without_a_relay_the_caller_is_refused() {
    let mut world = World::dealership(1);
    world.opens_relays = false;
    world.call(0, DID);
    world.run(SECOND);
    assert_eq!(world.uas[0].leg().status, Some(503));
    world.settle();
    let story = world.story();
    assert_eq!(story[2..], ["ended Failed None Some(503)", "relay closed"]);
}

fn talking(world: &mut World) {
    world.uas[2].manner = Manner::Ring;
    world.call(0, DID);
    world.run(5 * SECOND);
    assert_eq!(world.uas[0].leg().status, Some(200));
}

#[test]
fn a_refresh_is_answered_without_troubling_the_other_side() {
    let mut world = World::dealership(1);
    talking(&mut world);
    let before = world.uas[1].log.len();
    let now = world.now.monotonic;
    let body = world.uas[0].last_sdp();
    world.uas[0].say(now, Method::Invite, Some(("application/sdp", body)));
    world.run(SECOND);
    world.uas[0].say(now, Method::Update, None);
    world.uas[0].say(now, Method::Options, None);
    world.run(SECOND);
    let log = world.uas[0].log.join(" ");
    assert!(log.ends_with("200 INVITE 200 UPDATE 200 OPTIONS"), "{log}");
    assert_eq!(world.uas[1].log.len(), before);
    let now = world.now.monotonic;
    world.uas[0].hang_up(now);
    world.settle();
}

#[test]
fn an_update_passes_like_a_reinvite_and_may_name_the_caller_late() {
    let mut world = World::dealership(1);
    world.uas[1].answers_with = vec![("Allow", "INVITE, ACK, BYE, UPDATE".into())];
    world.uas[0].extra.push(("From", "<sip:unavailable@gw>".into()));
    talking(&mut world);
    world.uas[0].in_dialog.push(("P-Asserted-Identity", "<sip:13900000000@gw>".into()));
    let now = world.now.monotonic;
    let body = world.uas[0].new_sdp(Direction::SendOnly);
    world.uas[0].say(now, Method::Update, Some(("application/sdp", body)));
    world.run(SECOND);
    assert!(world.uas[1].log.contains(&"UPDATE".to_owned()));
    assert!(world.uas[0].log.contains(&"200 UPDATE".to_owned()));
    let now = world.now.monotonic;
    world.uas[0].hang_up(now);
    world.settle();
    let story = world.story().join("\n");
    assert!(story.contains("caller 13900000000\nheld Customer"), "{story}");
}

#[test]
fn an_update_goes_as_a_reinvite_to_a_side_that_knows_no_update() {
    let mut world = World::dealership(1);
    talking(&mut world);
    let now = world.now.monotonic;
    let body = world.uas[0].new_sdp(Direction::SendOnly);
    world.uas[0].say(now, Method::Update, Some(("application/sdp", body)));
    world.run(SECOND);
    let phone = &world.uas[1].log;
    assert_eq!(phone.iter().filter(|it| *it == "INVITE").count(), 2, "{phone:?}");
    assert!(!phone.contains(&"UPDATE".to_owned()), "{phone:?}");
    assert!(world.uas[0].log.contains(&"200 UPDATE".to_owned()));
    let now = world.now.monotonic;
    world.uas[0].hang_up(now);
    world.settle();
}

#[test]
fn a_side_that_is_gone_is_found_out_and_the_call_ends() {
    let mut world = World::dealership(1);
    talking(&mut world);
    world.uas[1].address = "192.0.2.99:9".parse().unwrap();
    world.run(250 * SECOND);
    assert_eq!(world.switch.live_calls(), 1);
    world.run(150 * SECOND);
    assert_eq!(world.switch.live_calls(), 0, "{:?} {:?}", world.sent, world.story());
    assert!(world.uas[0].leg().is_over);
    world.run(100 * SECOND);
    assert!(world.switch.is_idle());
}

#[test]
fn a_second_phone_beyond_the_trunk_that_answers_too_is_hung_up() {
    let mut world = World::dealership(1);
    world.call(1, "913812345678");
    world.run(5 * SECOND);
    let invite = world.uas[0].invites[0].clone();
    let mut second = cheling_sip::Response::to(&invite, 200, "", Some("second"));
    second.headers.push(Name::Contact, "<sip:x@192.0.2.50>");
    world.sent.clear();
    world.receive(world::GATEWAY.parse().unwrap(), &second.to_bytes());
    world.run(SECOND);
    let sent: Vec<_> =
        world.sent_to(0).into_iter().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(sent, ["ACK", "BYE"]);
    assert_eq!(world.switch.live_calls(), 1);
    let now = world.now.monotonic;
    world.uas[1].hang_up(now);
    world.settle();
}

#[test]
fn the_next_trunk_is_tried_when_the_first_is_out_of_order() {
    let mut settings = world::settings(1);
    let mut second = settings.trunks[0].clone();
    second.name = "second".into();
    second.addresses[0].address = "192.0.2.51:5060".parse().unwrap();
    settings.trunks.push(second);
    let mut world = World::with(settings, 1);
    world.add(Ua::new("gateway", world::GATEWAY));
    let phone = world.add(Ua::new("8001", "192.0.2.11:5060"));
    let backup = world.add(Ua::new("second", "192.0.2.51:5060"));
    world.register(phone);
    world.uas[0].manner = Manner::Refuse(503, SECOND);
    world.run(SECOND);
    world.call(phone, "913812345678");
    world.run(10 * SECOND);
    assert_eq!(world.uas[phone].leg().status, Some(200));
    assert_eq!(world.uas[backup].invites.len(), 1);
    let now = world.now.monotonic;
    world.uas[backup].hang_up(now);
    world.settle();
    // What the far end's person decided is not asked again elsewhere.
    world.uas[0].manner = Manner::Refuse(486, SECOND);
    world.call(phone, "913812345678");
    world.run(10 * SECOND);
    assert_eq!(world.uas[phone].leg().status, Some(486));
    assert_eq!(world.uas[backup].invites.len(), 1);
}

#[test]
fn two_phones_of_one_extension_ring_as_one() {
    let mut world = World::dealership(1);
    let other = world.add(Ua::new("8002", "192.0.2.77:5060"));
    world.register(other);
    world.uas[2].manner = Manner::Refuse(486, SECOND);
    world.run(SECOND);
    world.call(1, "8002");
    world.run(5 * SECOND);
    assert_eq!(world.uas[other].legs.len(), 1);
    let now = world.now.monotonic;
    world.uas[1].hang_up(now);
    world.settle();
    let story = world.story();
    assert_eq!(story.iter().filter(|line| line.starts_with("ringing")).count(), 1);
    assert_eq!(story.iter().filter(|line| line.starts_with("withdrawn")).count(), 0);
}

#[test]
fn a_connection_that_ends_takes_its_phone_along() {
    let mut world = World::dealership(1);
    let flow = world.switch.registrations()[0].flow;
    let remote = "192.0.2.200:40000".parse().unwrap();
    let flow = Flow { transport: Transport::Tcp, connection: Some(7), remote, ..flow };
    let text = |cseq: u32, auth: &str| {
        format!(
            "REGISTER sip:192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/TCP h;branch=z9hG4bKr{cseq}\r\n\
             From: <sip:8003@h>;tag=1\r\nTo: <sip:8003@h>\r\nCall-ID: r\r\n\
             CSeq: {cseq} REGISTER\r\nContact: <sip:8003@10.0.0.1;transport=tcp>\r\n{auth}\
             Content-Length: 0\r\n\r\n"
        )
    };
    let send = |world: &mut World, text: String| {
        let input = Input::Message { flow, bytes: text.as_bytes() };
        world.switch.handle(world.now, input);
        let mut answer = Vec::new();
        while let Some(output) = world.switch.poll() {
            if let Output::Send { flow: to, bytes } = output {
                assert_eq!(to, flow);
                answer = bytes.to_vec();
            }
        }
        answer
    };
    let challenged = send(&mut world, text(1, ""));
    let Ok(Message::Response(response)) = Message::parse(&challenged) else { panic!() };
    let challenge = response.headers.get(Name::WwwAuthenticate).unwrap();
    let challenge = Challenge::parse(&challenge).unwrap();
    let key = ha1(Algorithm::Md5, "8003", "cheling", "secret");
    let answer = challenge.answer("8003", &key, "REGISTER", "sip:192.0.2.1", "c", 1);
    let accepted = send(&mut world, text(2, &format!("Authorization: {answer}\r\n")));
    assert!(accepted.starts_with(b"SIP/2.0 200"));
    assert_eq!(world.switch.registrations().len(), 3);
    world.call(1, "8003");
    world.run(SECOND);
    assert_eq!(world.uas[1].leg().status, None);
    world.switch.handle(world.now, Input::FlowClosed { flow });
    assert_eq!(world.switch.registrations().len(), 2);
    world.run(SECOND);
    assert_eq!(world.uas[1].leg().status, Some(503));
    world.settle();
    assert!(world.story().contains(&"withdrawn 8003 Failed { status: 503 }".to_owned()));
}

#[test]
fn a_withheld_number_is_shown_to_nobody() {
    let mut world = World::dealership(1);
    world.uas[0].extra.push(("P-Asserted-Identity", "<sip:13812345678@gw>".into()));
    world.uas[0].extra.push(("Privacy", "id".into()));
    world.uas[0].extra.push(("From", "<sip:anonymous@anonymous.invalid>".into()));
    world.call(0, DID);
    world.run(5 * SECOND);
    let invite = world.uas[1].invites[0].to_bytes();
    let invite = String::from_utf8_lossy(&invite);
    assert!(invite.contains("anonymous@anonymous.invalid") && invite.contains("Privacy: id"));
    assert!(!invite.contains("13812345678"), "{invite}");
    let now = world.now.monotonic;
    world.uas[0].hang_up(now);
    world.settle();
    assert_eq!(world.story()[0], "offered Inbound anonymous>02161234567");
}
