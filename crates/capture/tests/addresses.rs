//! Where the two sides of a call may be: behind one NAT, at our own address, in two families.
#![allow(clippy::unwrap_used)]

mod relay_bench;

use cheling_capture::relay::RelayConfig;
use cheling_model::Lane;
use relay_bench::{Bench, Phone, V4, call, ports, receive, rtcp};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

/// Packets after which a learned source is locked, and one more.
const TO_LOCK: usize = 6;

fn bench(change: impl FnOnce(&mut RelayConfig)) -> Bench {
    let mut config = RelayConfig::at(V4);
    (config.ports, config.threads) = (ports(20), 1);
    change(&mut config);
    Bench::start(&config)
}

/// Everything that one says from now on is heard by the other, both ways.
fn talk(phones: &mut [Phone; 2], to: [SocketAddr; 2]) {
    for _ in 0..10 {
        for (from, other) in [(0, 1), (1, 0)] {
            let said = phones[from].say(to[from]);
            assert_eq!(phones[other].hear().0, said);
        }
    }
}

#[test]
fn two_phones_behind_one_nat_are_told_apart_though_their_sdp_is_the_same() {
    let mut bench = bench(|_| {});
    let id = call(1);
    let local = bench.open(id);
    // Two routers gave the same private address, and one NAT is before both.
    let sdp: SocketAddr = "127.0.0.9:4000".parse().unwrap();
    let mut phones = [Phone::at(V4, 11), Phone::at(V4, 22)];
    assert_eq!(phones[0].address().ip(), phones[1].address().ip());
    for lane in Lane::BOTH {
        bench.point(id, lane, sdp);
    }
    bench.settle();
    for _ in 0..TO_LOCK {
        for (phone, local) in phones.iter_mut().zip(local) {
            phone.say(local);
        }
    }
    bench.await_counters(id, |it| it.lanes.iter().all(|lane| lane.is_source_locked));
    // What was said while only one of the two was known may be on its way still.
    for phone in &phones {
        phone.rtp.set_nonblocking(true).unwrap();
        while phone.rtp.recv_from(&mut [0; 2048]).is_ok() {}
        phone.rtp.set_nonblocking(false).unwrap();
    }
    talk(&mut phones, local);
    // Neither of them can speak for the other: the packet is a stranger's there.
    phones[0].say(local[1]);
    bench.await_counters(id, |it| it.lanes[1].stranger_packets == 1);
}

#[test]
fn a_call_that_comes_back_to_us_goes_through_both_its_relays() {
    // By our own address; by a public one that only the NAT before us has; by one of all addresses.
    let public = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 5));
    let all = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    for (advertise, bind) in [(V4, V4), (public, V4), (public, all)] {
        let mut bench = bench(|config| (config.advertise, config.bind) = (advertise, bind));
        let (out, back) = (call(1), call(2));
        let (out_local, back_local) = (bench.open(out), bench.open(back));
        assert!(out_local.iter().all(|local| local.ip() == advertise));
        let mut phones = [Phone::at(V4, 11), Phone::at(V4, 22)];
        bench.point(out, Lane::Customer, phones[0].address());
        bench.point(out, Lane::Agent, back_local[0]);
        bench.point(back, Lane::Customer, out_local[1]);
        bench.point(back, Lane::Agent, phones[1].address());
        bench.settle();
        let near = |local: SocketAddr| SocketAddr::new(V4, local.port());
        talk(&mut phones, [near(out_local[0]), near(back_local[1])]);
        for id in [out, back] {
            bench.await_counters(id, |it| {
                it.lanes.iter().all(|lane| lane.is_source_locked && lane.rtp_packets == 10)
            });
        }
    }
}

#[test]
fn an_ipv4_and_an_ipv6_phone_hear_each_other() {
    for swapped in [false, true] {
        let all = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
        let mut bench = bench(|config| (config.advertise, config.bind) = (V6, all));
        let id = call(1);
        let ports = bench.open(id).map(|local| local.port());
        let mut families = [V4, V6];
        if swapped {
            families.reverse();
        }
        let mut phones = [Phone::at(families[0], 11), Phone::at(families[1], 22)];
        let local = [0, 1].map(|side| SocketAddr::new(families[side], ports[side]));
        bench.point(id, Lane::Customer, phones[0].address());
        bench.point(id, Lane::Agent, phones[1].address());
        bench.settle();
        talk(&mut phones, local);
        let odd = |local: SocketAddr| SocketAddr::new(local.ip(), local.port() + 1);
        phones[0].rtcp.send_to(&rtcp(11), odd(local[0])).unwrap();
        assert_eq!(receive(&phones[1].rtcp), (rtcp(11), odd(local[1])));
        // A stranger is one in either family.
        Phone::at(families[1], 33).say(SocketAddr::new(families[1], ports[0]));
        bench.await_counters(id, |it| it.lanes[0].stranger_packets == 1);
    }
}

#[test]
fn an_ipv4_phone_behind_nat_is_learned_on_a_socket_of_both_families() {
    let all = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    let mut bench = bench(|config| (config.advertise, config.bind) = (V6, all));
    let id = call(1);
    let local = bench.open(id).map(|local| SocketAddr::new(V4, local.port()));
    let mut phones = [Phone::at(V4, 11), Phone::at(V4, 22)];
    bench.point(id, Lane::Customer, "127.0.0.9:4000".parse().unwrap());
    bench.point(id, Lane::Agent, phones[1].address());
    bench.settle();
    for _ in 0..TO_LOCK {
        let said = phones[0].say(local[0]);
        assert_eq!(phones[1].hear().0, said);
    }
    bench.await_counters(id, |it| it.lanes[0].is_source_locked);
    talk(&mut phones, local);
}
