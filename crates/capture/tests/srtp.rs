//! SRTP through the relay, with real sockets: each side has its own keys or none, the recording has
//! none.
#![allow(clippy::unwrap_used)]

mod relay_bench;

use cheling_call::io::{RelayProtection, RelayRemote, SrtpKeys};
use cheling_media::srtp::{Kind, MasterKey, Opener, Sealer, Suite};
use cheling_model::Lane;
use cheling_model::tap::PacketKind;
use relay_bench::{Bench, Phone, V4, call, receive, rtcp};
use std::net::{SocketAddr, UdpSocket};

/// A phone that may speak SRTP.
struct Secured {
    phone: Phone,
    srtp: Option<(Sealer, Opener)>,
}

impl Secured {
    fn plain(ssrc: u32) -> Self {
        Self { phone: Phone::at(V4, ssrc), srtp: None }
    }

    fn with(ssrc: u32, keys: &SrtpKeys) -> Self {
        let sealer = Sealer::new(keys.theirs.clone()).unwrap();
        let opener = Opener::new(keys.ours.clone()).unwrap();
        Self { phone: Phone::at(V4, ssrc), srtp: Some((sealer, opener)) }
    }

    fn seal(&mut self, kind: Kind, packet: &[u8]) -> Vec<u8> {
        match &mut self.srtp {
            Some((sealer, _)) => sealer.seal(kind, packet).unwrap().as_ref().to_vec(),
            None => packet.to_vec(),
        }
    }

    fn say(&mut self, to: SocketAddr) -> Vec<u8> {
        let packet = self.phone.packet();
        let wire = self.seal(Kind::Rtp, &packet);
        self.phone.rtp.send_to(&wire, to).unwrap();
        packet
    }

    fn take(&mut self, kind: Kind, socket: fn(&Phone) -> &UdpSocket) -> Vec<u8> {
        let (mut wire, _) = receive(socket(&self.phone));
        if let Some((_, opener)) = &mut self.srtp {
            let len = opener.open(kind, &mut wire).unwrap();
            wire.truncate(len);
        }
        wire
    }

    fn hear(&mut self) -> Vec<u8> {
        self.take(Kind::Rtp, |phone| &phone.rtp)
    }
}

fn keys(suite: Suite, seed: u8) -> SrtpKeys {
    let key = |seed: u8| {
        let bytes: Vec<u8> = (0..suite.key_bytes()).map(|at| seed ^ at as u8).collect();
        MasterKey::new(suite, &bytes).unwrap()
    };
    SrtpKeys { theirs: key(seed), ours: key(seed + 100) }
}

fn protect(bench: &mut Bench, lane: Lane, keys: &SrtpKeys) {
    let protection = RelayProtection::Srtp(keys.clone());
    bench.relays.protect(call(1), lane, Some(Box::new(protection)));
}

fn tapped(bench: &Bench, kind: PacketKind) -> Vec<Vec<u8>> {
    let blocks: Vec<_> = bench.blocks.try_iter().collect();
    let packets = blocks.iter().flat_map(|block| block.packets()).map(|packet| packet.unwrap());
    packets.filter(|packet| packet.kind == kind).map(|packet| packet.bytes.to_vec()).collect()
}

#[test]
fn each_side_is_protected_by_its_own_keys_and_the_recording_by_none() {
    let suites: Vec<Option<Suite>> = Suite::ALL.into_iter().map(Some).chain([None]).collect();
    for customer_suite in &suites {
        for agent_suite in &suites {
            let mut bench = Bench::at(V4);
            let id = call(1);
            let local = bench.open(id);
            let mut phones = Vec::new();
            for (lane, suite, ssrc) in
                [(Lane::Customer, customer_suite, 11), (Lane::Agent, agent_suite, 22)]
            {
                let keys = suite.map(|suite| keys(suite, ssrc as u8));
                if let Some(keys) = &keys {
                    protect(&mut bench, lane, keys);
                }
                phones.push(match &keys {
                    Some(keys) => Secured::with(ssrc, keys),
                    None => Secured::plain(ssrc),
                });
                bench.point(id, lane, phones[lane.index()].phone.address());
            }
            bench.relays.start_recording(id);
            bench.settle();
            let mut said = Vec::new();
            for _ in 0..5 {
                for (from, to) in [(0, 1), (1, 0)] {
                    let packet = phones[from].say(local[from]);
                    assert_eq!(phones[to].hear(), packet, "{customer_suite:?} {agent_suite:?}");
                    said.push(packet);
                }
            }
            // RTCP is bridged as well.
            let odd = SocketAddr::new(V4, local[0].port() + 1);
            let report = phones[0].seal(Kind::Rtcp, &rtcp(11));
            phones[0].phone.rtcp.send_to(&report, odd).unwrap();
            assert_eq!(phones[1].take(Kind::Rtcp, |phone| &phone.rtcp), rtcp(11));
            bench.close(id);
            assert_eq!(tapped(&bench, PacketKind::Rtp), said);
        }
    }
}

#[test]
fn packets_without_the_key_are_counted_and_neither_passed_on_nor_learned_from() {
    let mut bench = Bench::at(V4);
    let id = call(1);
    let local = bench.open(id);
    let keys = keys(Suite::AesCm128HmacSha1Tag80, 1);
    let mut customer = Secured::with(11, &keys);
    let mut agent = Secured::plain(22);
    let mut forger = Phone::at(V4, 11);
    protect(&mut bench, Lane::Customer, &keys);
    bench.point(id, Lane::Customer, "127.0.0.9:9".parse().unwrap());
    bench.point(id, Lane::Agent, agent.phone.address());
    bench.settle();
    for _ in 0..10 {
        forger.say(local[0]);
    }
    bench.await_counters(id, |it| it.lanes[0].refused_packets == 10);
    bench.await_counters(id, |it| !it.lanes[0].is_source_locked);
    // A packet that came before is refused, too.
    let packet = customer.phone.packet();
    let wire = customer.seal(Kind::Rtp, &packet);
    for _ in 0..2 {
        customer.phone.rtp.send_to(&wire, local[0]).unwrap();
    }
    bench.await_counters(id, |it| it.lanes[0].refused_packets == 11);
    assert_eq!(agent.hear(), packet);
    let next = customer.say(local[0]);
    assert_eq!(agent.hear(), next, "nothing in between");
    assert_eq!(bench.watch.totals().refused_packets, 11);
}

#[test]
fn a_new_key_of_theirs_leaves_our_counters_as_they_are() {
    let mut bench = Bench::at(V4);
    let id = call(1);
    let local = bench.open(id);
    let first = keys(Suite::AeadAes128Gcm, 1);
    let mut customer = Secured::with(11, &first);
    let mut agent = Secured::plain(22);
    protect(&mut bench, Lane::Customer, &first);
    bench.point(id, Lane::Customer, customer.phone.address());
    bench.point(id, Lane::Agent, agent.phone.address());
    bench.settle();
    // Our sequence numbers wrap: from then on the receiver's roll-over counter is 1.
    agent.phone.sequence_number = u16::MAX - 2;
    for _ in 0..6 {
        let packet = agent.say(local[1]);
        assert_eq!(customer.hear(), packet);
    }
    let packet = customer.say(local[0]);
    assert_eq!(agent.hear(), packet);
    let second = SrtpKeys { theirs: keys(Suite::AeadAes128Gcm, 50).theirs, ours: first.ours };
    protect(&mut bench, Lane::Customer, &second);
    bench.settle();
    let (_, opener) = customer.srtp.take().unwrap();
    customer.srtp = Some((Sealer::new(second.theirs).unwrap(), opener));
    for _ in 0..3 {
        let packet = agent.say(local[1]);
        assert_eq!(customer.hear(), packet);
        let packet = customer.say(local[0]);
        assert_eq!(agent.hear(), packet);
    }
    // Plain again: a re-INVITE gave protection up.
    bench.relays.protect(id, Lane::Customer, None);
    bench.settle();
    customer.srtp = None;
    let packet = customer.say(local[0]);
    assert_eq!(agent.hear(), packet);
}

#[test]
fn protected_rtcp_on_the_rtp_port_is_told_apart() {
    let mut bench = Bench::at(V4);
    let id = call(1);
    let local = bench.open(id);
    let keys = keys(Suite::AesCm128HmacSha1Tag32, 1);
    let mut customer = Secured::with(11, &keys);
    let agent = Phone::at(V4, 22);
    protect(&mut bench, Lane::Customer, &keys);
    let rtp = customer.phone.address();
    bench.relays.point(id, Lane::Customer, Some(RelayRemote { rtp, rtcp: rtp }));
    bench.point(id, Lane::Agent, agent.address());
    bench.settle();
    let report = customer.seal(Kind::Rtcp, &rtcp(11));
    customer.phone.rtp.send_to(&report, local[0]).unwrap();
    assert_eq!(receive(&agent.rtcp).0, rtcp(11));
    let odd = SocketAddr::new(V4, local[1].port() + 1);
    agent.rtcp.send_to(&rtcp(22), odd).unwrap();
    assert_eq!(customer.take(Kind::Rtcp, |phone| &phone.rtp), rtcp(22));
}
