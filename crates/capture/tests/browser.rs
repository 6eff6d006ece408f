//! A browser beside the relay, with real sockets: checks, handshake, media, and those who pretend.
#![allow(clippy::unwrap_used)]

mod relay_bench;

use cheling_call::io::{DtlsSide, IceSide, RelayProtection, RelayRemote};
use cheling_capture::relay::{RelayConfig, identities};
use cheling_media::dtls::{Association, Event, Fingerprint, Hash, Identity, Role};
use cheling_media::srtp::{Kind, Opener, Sealer};
use cheling_media::stun::{Candidate, check};
use cheling_model::Lane;
use cheling_model::call::MediaFault;
use relay_bench::{Bench, DEADLINE, Phone, V4, call, ports, receive};
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

const UFRAG: &str = "ours";
const PASSWORD: &str = "a password of enough letters";

fn bench() -> (Bench, Arc<[Identity]>) {
    let mut config = RelayConfig::at(V4);
    config.ports = ports(20);
    config.port_rest = Duration::ZERO;
    config.threads = 1;
    config.identities = identities().unwrap();
    (Bench::start(&config), config.identities)
}

/// A browser: its socket, its certificate, and its keys once there are some.
struct Browser {
    phone: Phone,
    identity: Identity,
    checks: u8,
    srtp: Option<(Sealer, Opener)>,
}

impl Browser {
    fn new(ssrc: u32) -> Self {
        let identity = identities().unwrap()[0].clone();
        Self { phone: Phone::at(V4, ssrc), identity, checks: 0, srtp: None }
    }

    /// As its SDP describes it to the relay.
    fn side(&self, role: Role) -> DtlsSide {
        DtlsSide {
            identity: 0,
            role,
            theirs: self.identity.fingerprint().clone(),
            ice: Some(IceSide { ufrag: UFRAG.into(), password: PASSWORD.into() }),
        }
    }

    /// Whether its check is answered with success.
    fn checks(&mut self, to: SocketAddr, password: &str, candidate: Candidate) -> bool {
        self.checks += 1;
        let name = format!("{UFRAG}:theirs");
        let datagram = check([self.checks; 12], &name, password, candidate);
        self.phone.rtp.send_to(&datagram, to).unwrap();
        loop {
            // The last word of a handshake may come between.
            let (answer, _) = receive(&self.phone.rtp);
            if answer[0] == 1 {
                assert_eq!(answer[8..20], [self.checks; 12]);
                return answer[1] == 1;
            }
        }
    }

    /// Makes its keys with who shows the certificate of `theirs`.
    fn shakes_hands(&mut self, to: SocketAddr, role: Role, theirs: &Fingerprint) {
        let start = Instant::now();
        let mut association = Association::new(&self.identity, role, theirs.clone(), start);
        self.phone.rtp.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let mut buffer = [0; 2048];
        while self.srtp.is_none() {
            assert!(start.elapsed() < DEADLINE);
            while let Some(event) = association.poll() {
                match event {
                    Event::Send(datagram) => {
                        self.phone.rtp.send_to(&datagram, to).unwrap();
                    }
                    Event::Agreed(keys) => {
                        let opener = Opener::new(keys.theirs).unwrap();
                        self.srtp = Some((Sealer::new(keys.ours).unwrap(), opener));
                    }
                    Event::Failed(err) => panic!("{err}"),
                }
            }
            let now = Instant::now();
            match self.phone.rtp.recv_from(&mut buffer) {
                Ok((len, _)) if (20..64).contains(&buffer[0]) => {
                    association.receive(now, &buffer[..len]);
                }
                _ => association.handle_timeout(now),
            }
        }
        self.phone.rtp.set_read_timeout(Some(DEADLINE)).unwrap();
        // Our last word is still to be said.
        while let Some(event) = association.poll() {
            if let Event::Send(datagram) = event {
                self.phone.rtp.send_to(&datagram, to).unwrap();
            }
        }
    }

    fn say(&mut self, to: SocketAddr) -> Vec<u8> {
        let packet = self.phone.packet();
        let (sealer, _) = self.srtp.as_mut().unwrap();
        let wire = sealer.seal(Kind::Rtp, &packet).unwrap().as_ref().to_vec();
        assert_ne!(wire, packet);
        self.phone.rtp.send_to(&wire, to).unwrap();
        packet
    }

    fn hear(&mut self, socket: Option<&UdpSocket>) -> Vec<u8> {
        loop {
            let (mut wire, _) = receive(socket.unwrap_or(&self.phone.rtp));
            if !(128..192).contains(&wire[0]) {
                continue;
            }
            let len = self.srtp.as_mut().unwrap().1.open(Kind::Rtp, &mut wire).unwrap();
            wire.truncate(len);
            return wire;
        }
    }
}

fn protect(bench: &mut Bench, side: DtlsSide) {
    let protection = RelayProtection::Dtls(side);
    bench.relays.protect(call(1), Lane::Customer, Some(Box::new(protection)));
    // What a browser says of its address before it knows any.
    let rtp = "0.0.0.0:9".parse().unwrap();
    bench.relays.point(call(1), Lane::Customer, Some(RelayRemote { rtp, rtcp: rtp }));
}

/// Waits until the relay has its keys, too.
fn await_keys(bench: &Bench) {
    let start = Instant::now();
    while bench.watch.totals().handshakes == 0 {
        assert!(start.elapsed() < DEADLINE);
        std::thread::yield_now();
    }
}

/// Packets go both ways, and the recording has them plain.
fn talk(bench: &mut Bench, browser: &mut Browser, agent: &mut Phone, local: [SocketAddr; 2]) {
    bench.relays.start_recording(call(1));
    bench.settle();
    let mut said = Vec::new();
    for _ in 0..5 {
        let packet = browser.say(local[0]);
        assert_eq!(receive(&agent.rtp).0, packet);
        said.push(packet);
        let packet = agent.say(local[1]);
        assert_eq!(browser.hear(None), packet);
        said.push(packet);
    }
    bench.close(call(1));
    let blocks: Vec<_> = bench.blocks.try_iter().collect();
    let packets = blocks.iter().flat_map(|block| block.packets());
    let tapped: Vec<_> = packets.map(|packet| packet.unwrap().bytes.to_vec()).collect();
    assert_eq!(tapped, said);
}

#[test]
fn a_browser_is_found_by_its_checks_and_talks_with_a_plain_phone() {
    for (ours, theirs) in [(Role::Server, Role::Client), (Role::Client, Role::Server)] {
        let (mut bench, identities) = bench();
        let local = bench.open(call(1));
        let (mut browser, mut agent) = (Browser::new(11), Phone::at(V4, 22));
        protect(&mut bench, browser.side(ours));
        bench.point(call(1), Lane::Agent, agent.address());
        bench.settle();
        assert!(browser.checks(local[0], PASSWORD, Candidate::Used));
        bench.await_counters(call(1), |it| it.lanes[0].is_source_locked);
        browser.shakes_hands(local[0], theirs, identities[0].fingerprint());
        await_keys(&bench);
        // Consent is asked for again and again (RFC 7675).
        assert!(browser.checks(local[0], PASSWORD, Candidate::Used));
        talk(&mut bench, &mut browser, &mut agent, local);
    }
}

#[test]
fn who_does_not_know_the_password_is_not_heard() {
    let (mut bench, identities) = bench();
    let local = bench.open(call(1));
    let (mut browser, agent) = (Browser::new(11), Phone::at(V4, 22));
    let mut forger = Browser::new(11);
    protect(&mut bench, browser.side(Role::Server));
    bench.point(call(1), Lane::Agent, agent.address());
    bench.settle();
    assert!(!forger.checks(local[0], "another password", Candidate::Used));
    bench.await_counters(call(1), |it| it.lanes[0].refused_checks == 1);
    // Nor may a handshake begin from where no check came.
    forger.phone.rtp.send_to(&[22, 254, 253, 0, 0], local[0]).unwrap();
    bench.await_counters(call(1), |it| it.lanes[0].refused_checks == 2);
    bench.await_counters(call(1), |it| !it.lanes[0].is_source_locked);
    assert!(browser.checks(local[0], PASSWORD, Candidate::Tried));
    browser.shakes_hands(local[0], Role::Client, identities[0].fingerprint());
    // The forger has got hold of a packet, and sends it from elsewhere.
    let packet = browser.phone.packet();
    let (sealer, _) = browser.srtp.as_mut().unwrap();
    let wire = sealer.seal(Kind::Rtp, &packet).unwrap().as_ref().to_vec();
    await_keys(&bench);
    forger.phone.rtp.send_to(&wire, local[0]).unwrap();
    forger.phone.say(local[0]);
    bench.await_counters(call(1), |it| it.lanes[0].stranger_packets == 1);
    bench.await_counters(call(1), |it| it.lanes[0].refused_packets == 1);
    let packet = browser.say(local[0]);
    assert_eq!(receive(&agent.rtp).0, packet, "nothing in between");
}

#[test]
fn another_certificate_than_the_sdp_names_gets_no_media() {
    let (mut bench, identities) = bench();
    let local = bench.open(call(1));
    let (mut browser, mut agent) = (Browser::new(11), Phone::at(V4, 22));
    let mut side = browser.side(Role::Server);
    side.theirs = Fingerprint::of(Hash::Sha256, b"somebody else's");
    protect(&mut bench, side);
    bench.point(call(1), Lane::Agent, agent.address());
    bench.settle();
    assert!(browser.checks(local[0], PASSWORD, Candidate::Used));
    // The browser itself has nothing to object to.
    browser.shakes_hands(local[0], Role::Client, identities[0].fingerprint());
    bench.await_counters(call(1), |it| it.lanes[0].failed_handshakes == 1);
    browser.say(local[0]);
    bench.await_counters(call(1), |it| it.lanes[0].refused_packets == 1);
    // Nor is anything said to it.
    agent.say(local[1]);
    bench.await_counters(call(1), |it| it.lanes[1].rtp_packets == 1);
    assert_eq!(bench.watch.totals().relayed_packets, 0);
    assert_eq!(bench.watch.totals().handshakes, 0);
    bench.relays.start_recording(call(1));
    bench.settle();
    assert_eq!(bench.faults(call(1)), [Some(MediaFault::Fingerprint), None]);
}

#[test]
fn why_nothing_can_be_heard_of_a_browser_is_told_at_the_end() {
    let (mut bench, identities) = bench();
    for (checks, talks, want) in [
        (false, false, Some(MediaFault::NoCheck)),
        (true, false, Some(MediaFault::NoHandshake)),
        (true, true, None),
    ] {
        let local = bench.open(call(1));
        let (mut browser, agent) = (Browser::new(11), Phone::at(V4, 22));
        protect(&mut bench, browser.side(Role::Server));
        bench.point(call(1), Lane::Agent, agent.address());
        bench.settle();
        if checks {
            assert!(browser.checks(local[0], PASSWORD, Candidate::Used));
        }
        if talks {
            browser.shakes_hands(local[0], Role::Client, identities[0].fingerprint());
            await_keys(&bench);
        }
        bench.relays.start_recording(call(1));
        bench.settle();
        assert_eq!(bench.faults(call(1)), [want, None], "{checks} {talks}");
    }
    // Of a call that was never answered nothing is told.
    bench.open(call(2));
    let side = Browser::new(11).side(Role::Server);
    bench.relays.protect(call(2), Lane::Customer, Some(Box::new(RelayProtection::Dtls(side))));
    bench.settle();
    assert_eq!(bench.faults(call(2)), [None; 2]);
}

#[test]
fn a_browser_that_moves_is_followed_when_it_says_so() {
    let (mut bench, identities) = bench();
    let local = bench.open(call(1));
    let (mut browser, mut agent) = (Browser::new(11), Phone::at(V4, 22));
    protect(&mut bench, browser.side(Role::Server));
    bench.point(call(1), Lane::Agent, agent.address());
    bench.settle();
    assert!(browser.checks(local[0], PASSWORD, Candidate::Used));
    browser.shakes_hands(local[0], Role::Client, identities[0].fingerprint());
    await_keys(&bench);
    let packet = browser.say(local[0]);
    assert_eq!(receive(&agent.rtp).0, packet);
    let mut elsewhere = Browser::new(11);
    // A way that is only tried is answered and not taken.
    assert!(elsewhere.checks(local[0], PASSWORD, Candidate::Tried));
    let packet = agent.say(local[1]);
    assert_eq!(browser.hear(None), packet);
    assert!(elsewhere.checks(local[0], PASSWORD, Candidate::Used));
    let packet = agent.say(local[1]);
    assert_eq!(browser.hear(Some(&elsewhere.phone.rtp)), packet);
}

#[test]
fn a_phone_without_ice_is_where_its_handshake_comes_from() {
    let (mut bench, identities) = bench();
    let local = bench.open(call(1));
    let (mut phone, mut agent) = (Browser::new(11), Phone::at(V4, 22));
    let side = DtlsSide { ice: None, ..phone.side(Role::Server) };
    protect(&mut bench, side);
    let rtp = phone.phone.address();
    bench.relays.point(call(1), Lane::Customer, Some(RelayRemote { rtp, rtcp: rtp }));
    bench.point(call(1), Lane::Agent, agent.address());
    bench.settle();
    phone.shakes_hands(local[0], Role::Client, identities[0].fingerprint());
    await_keys(&bench);
    let packet = phone.say(local[0]);
    assert_eq!(receive(&agent.rtp).0, packet);
    talk(&mut bench, &mut phone, &mut agent, local);
}
