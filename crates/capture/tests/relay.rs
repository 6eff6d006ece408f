//! The relay over loopback, with real sockets on both sides.
#![allow(clippy::unwrap_used)]

mod relay_bench;

use cheling_call::io::RelayRemote;
use cheling_capture::clock::AnchoredClock;
use cheling_capture::relay::{RelayConfig, Report};
use cheling_model::tap::PacketKind;
use cheling_model::{CallId, Lane, Timestamp};
use relay_bench::{Bench, Phone, V4, call, ports, receive, rtcp};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::atomic::Ordering;
use std::time::Duration;

#[test]
fn media_goes_both_ways_unchanged_and_answers_come_from_the_announced_port() {
    for address in [V4, IpAddr::V6(Ipv6Addr::LOCALHOST)] {
        let mut bench = Bench::at(address);
        let id = call(1);
        let local = bench.open(id);
        assert!(local.iter().all(|local| local.port() % 2 == 0 && local.ip() == address));
        let mut phones = [Phone::at(address, 11), Phone::at(address, 22)];
        bench.point(id, Lane::Customer, phones[0].address());
        bench.point(id, Lane::Agent, phones[1].address());
        bench.settle();
        for _ in 0..10 {
            for (from, to) in [(0, 1), (1, 0)] {
                let said = phones[from].say(local[from]);
                assert_eq!(phones[to].hear(), (said, local[to]));
            }
        }
        // RTCP takes the odd ports.
        let odd = |local: SocketAddr| SocketAddr::new(local.ip(), local.port() + 1);
        phones[0].rtcp.send_to(&rtcp(11), odd(local[0])).unwrap();
        assert_eq!(receive(&phones[1].rtcp), (rtcp(11), odd(local[1])));
        let (received, dropped) = bench.close(id);
        assert_eq!((received, dropped), ([0, 0], [0, 0]), "nothing was recorded");
    }
}

#[test]
fn multiplexed_rtcp_goes_to_the_rtp_port_of_the_side_that_asked_for_it() {
    let mut bench = Bench::at(V4);
    let id = call(1);
    let local = bench.open(id);
    let mut phones = [Phone::at(V4, 11), Phone::at(V4, 22)];
    let multiplexed = phones[0].address();
    let remote = RelayRemote { rtp: multiplexed, rtcp: multiplexed };
    bench.relays.point(id, Lane::Customer, Some(remote));
    bench.point(id, Lane::Agent, phones[1].address());
    bench.settle();
    let said = phones[0].say(local[0]);
    assert_eq!(phones[1].hear().0, said);
    phones[0].rtp.send_to(&rtcp(11), local[0]).unwrap();
    assert_eq!(receive(&phones[1].rtcp).0, rtcp(11));
    let odd = SocketAddr::new(V4, local[1].port() + 1);
    phones[1].rtcp.send_to(&rtcp(22), odd).unwrap();
    assert_eq!(phones[0].hear(), (rtcp(22), local[0]));
}

#[test]
fn only_what_follows_the_start_is_tapped_in_order_and_before_the_close_is_reported() {
    let mut bench = Bench::at(V4);
    let (id, local, mut phones) = bench.talk(V4);
    bench.settle();
    // Early media is relayed and not tapped.
    let early = phones[1].say(local[1]);
    assert_eq!(phones[0].hear().0, early);
    bench.relays.start_recording(id);
    bench.settle();
    let mut said = Vec::new();
    for _ in 0..50 {
        for (from, lane) in [(0, Lane::Customer), (1, Lane::Agent)] {
            said.push((lane, phones[from].say(local[from])));
            phones[1 - from].hear();
        }
    }
    let (received, dropped) = bench.close(id);
    assert_eq!((received, dropped), ([50, 50], [0, 0]));
    let mut tapped = Vec::new();
    let mut last = Timestamp::from_micros(0);
    for block in bench.blocks.try_iter() {
        for packet in block.packets() {
            let packet = packet.unwrap();
            assert_eq!((packet.call_id, packet.kind), (id, PacketKind::Rtp));
            assert!(packet.at >= last);
            last = packet.at;
            tapped.push((packet.lane, packet.bytes.to_vec()));
        }
    }
    assert_eq!(tapped, said);
}

#[test]
fn a_source_behind_nat_is_learned_and_locked_and_strangers_are_dropped_and_counted() {
    let mut bench = Bench::at(V4);
    let id = call(1);
    let local = bench.open(id);
    let mut customer = Phone::at(V4, 11);
    let mut agent = Phone::at(V4, 22);
    let mut stranger = Phone::at(V4, 66);
    // The SDP names an address where nobody listens.
    bench.point(id, Lane::Customer, "127.0.0.9:9".parse().unwrap());
    bench.point(id, Lane::Agent, agent.address());
    bench.settle();
    for _ in 0..5 {
        let said = customer.say(local[0]);
        assert_eq!(agent.hear().0, said);
    }
    bench.await_counters(id, |it| it.lanes[0].is_source_locked);
    // Answers go to the learned source.
    let answer = agent.say(local[1]);
    assert_eq!(customer.hear().0, answer);
    for _ in 0..3 {
        stranger.say(local[0]);
    }
    bench.await_counters(id, |it| it.lanes[0].stranger_packets == 3);
    let said = customer.say(local[0]);
    assert_eq!(agent.hear().0, said, "no packet of the stranger in between");
    // A re-INVITE with a new address moves the source.
    bench.point(id, Lane::Customer, stranger.address());
    let moved = agent.say(local[1]);
    loop {
        // The command and the packet race; the first packets may still go to the old source.
        stranger.rtp.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let mut buffer = [0; 2048];
        if let Ok((len, _)) = stranger.rtp.recv_from(&mut buffer) {
            assert_eq!(len, moved.len());
            break;
        }
        agent.say(local[1]);
    }
}

#[test]
fn a_party_at_its_sdp_address_cannot_be_talked_over_and_can_move_by_a_new_sdp() {
    let mut bench = Bench::at(V4);
    let id = call(1);
    let local = bench.open(id);
    let mut customer = Phone::at(V4, 11);
    let mut agent = Phone::at(V4, 22);
    let mut stranger = Phone::at(V4, 66);
    bench.point(id, Lane::Customer, customer.address());
    bench.point(id, Lane::Agent, agent.address());
    bench.settle();
    let said = customer.say(local[0]);
    assert_eq!(agent.hear().0, said);
    bench.await_counters(id, |it| it.lanes[0].is_source_locked);
    // The kernel refuses these or the relay drops them: either way they are not heard.
    for _ in 0..20 {
        let packet = stranger.packet();
        let _ = stranger.rtp.send_to(&packet, local[0]);
    }
    let said = customer.say(local[0]);
    assert_eq!(agent.hear().0, said);
    // The customer's phone moves to another port with a re-INVITE.
    let mut moved = Phone::at(V4, 12);
    bench.point(id, Lane::Customer, moved.address());
    bench.settle();
    let said = moved.say(local[0]);
    assert_eq!(agent.hear().0, said);
    let answer = agent.say(local[1]);
    assert_eq!(moved.hear().0, answer);
}

#[test]
fn hold_mutes_one_side_only() {
    let mut bench = Bench::at(V4);
    let (id, local, mut phones) = bench.talk(V4);
    bench.relays.point(id, Lane::Customer, None);
    bench.settle();
    phones[1].say(local[1]);
    let said = phones[0].say(local[0]);
    assert_eq!(phones[1].hear().0, said);
    bench.await_counters(id, |it| it.lanes[1].rtp_packets == 1);
    bench.point(id, Lane::Customer, phones[0].address());
    bench.settle();
    let after = phones[1].say(local[1]);
    assert_eq!(phones[0].hear().0, after, "what was said during the hold is not heard after it");
}

#[test]
fn a_full_tap_queue_costs_the_recording_and_never_the_call() {
    let mut bench = Bench::at(V4);
    let (id, local, mut phones) = bench.talk(V4);
    bench.relays.start_recording(id);
    bench.sink.is_full.store(true, Ordering::Relaxed);
    bench.settle();
    for _ in 0..1_000 {
        let said = phones[0].say(local[0]);
        assert_eq!(phones[1].hear().0, said);
    }
    bench.await_counters(id, |it| it.lanes[0].tap_dropped_packets > 0);
    bench.sink.is_full.store(false, Ordering::Relaxed);
    let (received, dropped) = bench.close(id);
    assert_eq!(received, [1_000, 0]);
    let tapped = bench.blocks.try_iter().map(|block| block.packets().count() as u64).sum::<u64>();
    assert_eq!(tapped + dropped[0], 1_000);
    assert!(dropped[0] > 0 && tapped > 0, "{dropped:?} {tapped}");
}

#[test]
fn a_call_whose_packets_nobody_takes_still_closes_and_says_what_was_lost() {
    let mut bench = Bench::at(V4);
    let (id, local, mut phones) = bench.talk(V4);
    bench.relays.start_recording(id);
    bench.sink.is_full.store(true, Ordering::Relaxed);
    bench.settle();
    for _ in 0..10 {
        phones[0].say(local[0]);
        phones[1].hear();
    }
    assert_eq!(bench.close(id), ([10, 0], [10, 0]));
}

#[test]
fn ports_rest_between_calls_and_no_ports_is_a_failure_not_a_wait() {
    let mut config = RelayConfig::at(V4);
    config.ports = ports(4);
    config.threads = 1;
    let mut bench = Bench::start(&config);
    let local = bench.open(call(1));
    assert!(bench.relays.open(call(2), AnchoredClock::start()));
    let failed = bench.report();
    assert_eq!(failed, Report::Failed { call_id: call(2) });
    bench.relays.note(&failed);
    bench.close(call(1));
    // Its ports rest now.
    assert!(bench.relays.open(call(3), AnchoredClock::start()));
    assert_eq!(bench.report(), Report::Failed { call_id: call(3) });
    assert_eq!(bench.watch.totals().failed_opens, 2);
    // Nobody listens there any more.
    assert!(UdpSocket::bind(local[0]).is_ok());
}

#[test]
fn a_phone_that_talks_on_into_a_reused_port_is_not_heard_in_the_next_call() {
    let mut config = RelayConfig::at(V4);
    config.ports = ports(4);
    config.port_rest = Duration::ZERO;
    config.threads = 1;
    let mut bench = Bench::start(&config);
    let mut deaf = Phone::at(V4, 77);
    let mut phones = [Phone::at(V4, 11), Phone::at(V4, 22)];
    for round in 0..20_u8 {
        let id = call(round + 1);
        let local = bench.open(id);
        if round > 0 {
            // The last call's customer never learned that it ended; nobody has spoken here yet.
            deaf.say(local[0]);
            bench.await_counters(id, |it| it.lanes[0].stranger_packets == 1);
        }
        bench.point(id, Lane::Customer, phones[0].address());
        bench.point(id, Lane::Agent, phones[1].address());
        bench.settle();
        let said = phones[0].say(local[0]);
        assert_eq!(phones[1].hear().0, said);
        bench.point(id, Lane::Customer, deaf.address());
        bench.settle();
        let said = deaf.say(local[0]);
        assert_eq!(phones[1].hear().0, said);
        bench.close(id);
    }
}

#[test]
fn garbage_on_the_media_ports_is_counted_and_harms_nothing() {
    let mut bench = Bench::at(V4);
    let (id, local, mut phones) = bench.talk(V4);
    bench.settle();
    let garbage = UdpSocket::bind((V4, 0)).unwrap();
    let long = vec![0x80; 60_000];
    let mut sent = 0;
    for bytes in [&b""[..], b"\0", b"\x80", b"\x80\x08", b"\x80\xc9", b"\x16\xfe", b"INVITE", &long]
    {
        for local in local {
            garbage.send_to(bytes, local).unwrap();
            garbage.send_to(bytes, SocketAddr::new(V4, local.port() + 1)).unwrap();
            sent += 2;
        }
    }
    bench.await_counters(id, |it| {
        let [customer, agent] = it.lanes;
        let seen = |lane: cheling_capture::relay::LaneStatistics| {
            lane.other_datagrams + lane.stranger_packets + lane.rtp_packets
        };
        seen(customer) + seen(agent) == sent
    });
    let said = phones[0].say(local[0]);
    loop {
        // The 60 000 bytes begin like RTP, so they may have been taken for a source not yet known.
        let (heard, _) = phones[1].hear();
        if heard == said {
            break;
        }
    }
}

#[test]
fn stopping_closes_and_reports_every_call() {
    let mut config = RelayConfig::at(V4);
    config.ports = ports(20);
    config.threads = 2;
    let mut bench = Bench::start(&config);
    for number in 1..=4 {
        bench.open(call(number));
    }
    bench.relays.stop();
    let mut closed: Vec<CallId> = bench.reports.try_iter().map(|it| it.call_id()).collect();
    closed.sort();
    assert_eq!(closed, [call(1), call(2), call(3), call(4)]);
    assert_eq!(bench.watch.totals().open_calls, 0);
}

#[test]
fn nothing_of_a_pause_is_recorded_and_no_digit_ever_is() {
    let mut bench = Bench::at(V4);
    let (id, local, mut phones) = bench.talk(V4);
    // A pause of what is not recorded is no pause.
    bench.relays.pause_recording(id, true);
    bench.relays.start_recording(id);
    bench.settle();
    let mut times = Vec::new();
    for is_paused in [true, false] {
        phones[0].say(local[0]);
        phones[1].hear();
        bench.relays.pause_recording(id, is_paused);
        let Report::RecordingPaused { call_id, is_paused: now, at } = bench.report() else {
            panic!("no answer")
        };
        assert_eq!((call_id, now), (id, is_paused));
        times.push(at);
    }
    let said = phones[0].say(local[0]);
    assert_eq!(phones[1].hear().0, said);
    // Digits of either side reach the other whole; the agent's alone are told.
    for (from, to) in [(0, 1), (1, 0)] {
        let mut digit = phones[from].packet();
        digit.truncate(12);
        digit[1] = 101;
        digit.extend([10, 0x8a, 0, 160]);
        for _ in 0..3 {
            phones[from].rtp.send_to(&digit, local[from]).unwrap();
            assert_eq!(phones[to].hear().0, digit);
        }
    }
    let Report::Digit { call_id, digit } = bench.report() else { panic!("no digit") };
    assert_eq!((call_id, digit.0), (id, '*'));
    let (received, dropped) = bench.close(id);
    assert_eq!((received, dropped), ([5, 3], [0, 0]));
    let mut kept = Vec::new();
    while let Ok(block) = bench.blocks.try_recv() {
        kept.extend(block.packets().flatten().map(|it| (it.at, it.bytes.to_vec())));
    }
    assert_eq!(kept.len(), 8);
    assert!(kept[0].0 < times[0] && kept[1..].iter().all(|(at, _)| *at >= times[1]), "{times:?}");
    for (_, packet) in kept.iter().filter(|(_, packet)| packet[1] & 0x7f == 101) {
        assert_eq!(packet[12..], [0xff; 4]);
    }
}
