//! CPU of the switch per call: set up and torn down, registered, refused.
//!
//! Phones and gateway run in memory beside it; only what happens inside the switch is counted,
//! reading and writing of messages included.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cheling_call::Switch;
use cheling_call::io::{Input, Output};
use cheling_model::directory::{Extension, Line, RingGroup};
use cheling_model::{Now, Timestamp};
use cheling_sip::digest::{Algorithm, Challenge};
use cheling_sip::{Flow, Message, Name};

#[path = "../tests/world/mod.rs"]
mod world;

use world::World;
use world::ua::Manner;

const SECOND: Duration = Duration::from_secs(1);

fn main() {
    parse_and_route();
    let rounds = 2000;
    for (name, from, number, answers) in [
        ("inbound call to a group of two, answered, hung up", 0, "02161234567", true),
        ("outbound call by the trunk, answered, hung up", 1, "913812345678", true),
        ("internal call, answered, hung up", 1, "8002", true),
        ("internal call, busy", 1, "8002", false),
    ] {
        let mut world = World::dealership(1);
        world.uas[1].manner = Manner::Ring;
        for ua in [0, 2] {
            world.uas[ua].manner =
                if answers { Manner::Answer(SECOND) } else { Manner::Refuse(486, SECOND) };
        }
        let (mut spent, mut messages) = (Duration::ZERO, 0);
        for round in 0..rounds {
            if round % 20 == 0 {
                world.register(1);
                world.register(2);
                world.run(SECOND);
            }
            let before = (world.spent, world.sent.len());
            world.call(from, number);
            world.run(3 * SECOND);
            let now = world.now.monotonic;
            world.uas[from].hang_up(now);
            world.run(40 * SECOND);
            spent += world.spent - before.0;
            messages += world.sent.len() - before.1;
            for ua in &mut world.uas {
                ua.forget();
            }
            world.taps.clear();
        }
        assert_eq!(world.switch.live_calls(), 0);
        let spent = spent.as_secs_f64() * 1e6 / f64::from(rounds);
        let messages = messages as f64 / f64::from(rounds);
        println!("{name}: {spent:.0} us of CPU, {messages:.1} messages sent");
    }
}

/// From the octets of an INVITE to everything that goes out for it (100, the relay, the INVITEs to
/// phones or trunk), beside ten thousand extensions, a thousand lines and as many groups. What
/// comes back, and the next datagram, are not counted.
fn parse_and_route() {
    const PHONES: u32 = 10_000;
    const LINES: u32 = 1000;
    #[allow(clippy::disallowed_methods)] // A benchmark reads the clock.
    let clock = Instant::now;
    let mut directory = world::directory();
    let extension = world::extension("8001");
    let (line, group) = (directory.lines[0].clone(), directory.groups[0].clone());
    directory
        .extensions
        .extend((0..PHONES).map(|n| Extension { number: format!("2{n:06}"), ..extension.clone() }));
    directory.lines.extend((0..LINES).map(|n| Line {
        did: format!("0216{n:07}"),
        group_id: world::id(1000 + u128::from(n)),
        ..line.clone()
    }));
    directory.groups.extend((0..LINES).map(|n| {
        let members: Vec<_> = (0..5).map(|m| format!("2{:06}", n * 10 + m)).collect();
        let members: Vec<_> = members.iter().map(String::as_str).collect();
        RingGroup::ring_all(world::id(1000 + u128::from(n)), &group.name, &members, 20)
    }));
    let directory = Arc::new(directory);
    for (name, called, invited) in [
        ("to a number that nobody has", "0219", 0),
        ("to a line whose group of five is registered", "0216", 5),
    ] {
        let (mut spent, mut rounds) = (Duration::ZERO, 0);
        for batch in 0..5 {
            let now =
                Now { monotonic: clock(), wall: Timestamp::from_micros(1_700_000_000_000_000) };
            let mut settings = world::settings(batch);
            settings.max_calls = 10_000;
            let mut switch = Switch::new(now, settings, Arc::clone(&directory));
            register_all(&mut switch, now, PHONES);
            for n in 0..LINES {
                let called = format!("{called}{n:07}");
                let invite = invite(&format!("{batch}-{n}"), &called);
                let gateway = world::GATEWAY.parse().unwrap();
                let flow = flow(gateway);
                let local = [40_000, 40_002].map(|port| (flow.local.ip(), port).into());
                let mut sent = 0;
                let began = clock();
                switch.handle(now, Input::Message { flow, bytes: invite.as_bytes() });
                while let Some(output) = switch.poll() {
                    match output {
                        Output::OpenRelay { call_id } => {
                            switch.handle(now, Input::RelayOpened { call_id, local });
                        }
                        Output::Send { flow, .. } if flow.remote != gateway => sent += 1,
                        _ => {}
                    }
                }
                spent += began.elapsed();
                rounds += 1;
                assert_eq!(sent, invited);
            }
        }
        let each = spent.as_secs_f64() * 1e6 / f64::from(rounds);
        println!("an INVITE read and routed beside {PHONES} extensions, {name}: {each:.1} us");
    }
}

fn flow(remote: SocketAddr) -> Flow {
    Flow::udp(world::SWITCH.parse().unwrap(), remote)
}

/// Registers that many phones, each from an address of its own, with a password.
fn register_all(switch: &mut Switch, now: Now, phones: u32) {
    // All of them have its passwords.
    let account = world::extension("8001");
    for n in 0..phones {
        let number = format!("2{n:06}");
        let flow = flow((Ipv4Addr::from(0x0a00_0000 + n), 5060).into());
        let register = |cseq: u32, more: &str| {
            format!(
                "REGISTER sip:192.0.2.1 SIP/2.0\r\n\
                 Via: SIP/2.0/UDP {};branch=z9hG4bKr{number}{cseq};rport\r\nMax-Forwards: 70\r\n\
                 From: <sip:{number}@192.0.2.1>;tag=r{number}\r\nTo: <sip:{number}@192.0.2.1>\r\n\
                 Call-ID: r{number}\r\nCSeq: {cseq} REGISTER\r\n\
                 Contact: <sip:{number}@{}>\r\nExpires: 3600\r\n{more}Content-Length: 0\r\n\r\n",
                flow.remote, flow.remote
            )
        };
        switch.handle(now, Input::Message { flow, bytes: register(1, "").as_bytes() });
        let challenged = std::iter::from_fn(|| switch.poll()).find_map(|output| match output {
            Output::Send { bytes, .. } => Message::parse(&bytes).ok(),
            _ => None,
        });
        let Some(Message::Response(challenged)) = challenged else { panic!("no challenge") };
        let challenge = challenged.headers.get(Name::WwwAuthenticate).unwrap();
        let challenge = Challenge::parse(&challenge).unwrap();
        let ha1 = match challenge.algorithm.base() {
            Algorithm::Md5 => &account.ha1_md5,
            _ => &account.ha1_sha256,
        };
        let answer = challenge.answer(&number, ha1, "REGISTER", "sip:192.0.2.1", "c", 1);
        let more = format!("Authorization: {answer}\r\n");
        switch.handle(now, Input::Message { flow, bytes: register(2, &more).as_bytes() });
        while switch.poll().is_some() {}
    }
    assert_eq!(switch.registrations().len() as u32, phones);
}

fn invite(call_id: &str, called: &str) -> String {
    let sdp = "v=0\r\no=- 1 1 IN IP4 192.0.2.50\r\ns=-\r\nc=IN IP4 192.0.2.50\r\nt=0 0\r\n\
         m=audio 40000 RTP/AVP 8 0 18 101\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\n\
         a=rtpmap:18 G729/8000\r\na=rtpmap:101 telephone-event/8000\r\na=sendrecv\r\n";
    format!(
        "INVITE sip:{called}@192.0.2.1:5060 SIP/2.0\r\n\
         Via: SIP/2.0/UDP 192.0.2.50:5060;branch=z9hG4bKi{call_id};rport\r\n\
         Max-Forwards: 70\r\nFrom: \"13800138000\" <sip:13800138000@192.0.2.50>;tag=f{call_id}\r\n\
         To: <sip:{called}@192.0.2.1>\r\nCall-ID: {call_id}@192.0.2.50\r\n\
         CSeq: 1 INVITE\r\nContact: <sip:13800138000@192.0.2.50:5060>\r\n\
         Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, UPDATE, PRACK\r\n\
         Supported: timer, 100rel, replaces\r\nUser-Agent: Gateway 1.0\r\n\
         P-Asserted-Identity: <sip:13800138000@192.0.2.50>\r\n\
         Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{sdp}",
        sdp.len()
    )
}
