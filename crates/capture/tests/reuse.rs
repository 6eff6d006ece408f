//! Ten thousand calls over the same few ports, with phones that never notice that theirs is over:
//! nothing of one call is heard or recorded in another.
//!
//! A port rests half a minute between two calls; that is proved in the pool's own tests, on a
//! clock of their own. Here it does not rest at all, so that packets of the call before meet the
//! next one's open ports.
#![allow(clippy::unwrap_used)]

mod relay_bench;

use cheling_capture::clock::AnchoredClock;
use cheling_capture::relay::{RelayConfig, Report};
use cheling_model::{CallId, Lane, Timestamp};
use relay_bench::{Bench, V4};
use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

const CALLS_AT_ONCE: usize = 25;
const ROUNDS: usize = 400;
/// One more than locks a source behind NAT.
const WORDS: u64 = 6;

/// A phone of one call: what it says names the call.
struct Phone {
    socket: UdpSocket,
    call: u32,
    sequence_number: u16,
    to: SocketAddr,
}

impl Phone {
    fn new() -> Self {
        let socket = UdpSocket::bind((V4, 0)).unwrap();
        socket.set_nonblocking(true).unwrap();
        let to = socket.local_addr().unwrap();
        Self { socket, call: 0, sequence_number: 0, to }
    }

    fn say(&mut self) {
        self.sequence_number = self.sequence_number.wrapping_add(1);
        let mut bytes = vec![0x80, 8];
        bytes.extend(self.sequence_number.to_be_bytes());
        bytes.extend([0; 4]);
        bytes.extend((self.call | 0x4000_0000).to_be_bytes());
        bytes.extend(self.call.to_be_bytes().repeat(40));
        self.socket.send_to(&bytes, self.to).unwrap();
    }

    /// The calls whose words wait here, a number for each packet.
    fn heard(&self) -> Vec<u32> {
        let mut buffer = [0; 2048];
        let packets =
            std::iter::from_fn(|| self.socket.recv(&mut buffer).ok().map(|_| tone(&buffer)));
        packets.collect()
    }
}

/// The call that a packet's payload names.
fn tone(packet: &[u8]) -> u32 {
    let words: Vec<u32> = packet[12..172]
        .chunks_exact(4)
        .map(|word| u32::from_be_bytes([word[0], word[1], word[2], word[3]]))
        .collect();
    assert!(words.iter().all(|word| *word == words[0]), "two calls in one packet");
    words[0]
}

fn id(call: u32) -> CallId {
    let mut random = [0; 10];
    random[..4].copy_from_slice(&call.to_be_bytes());
    CallId::mint(Timestamp::from_micros(1_700_000_000_000_000), random)
}

fn phones() -> Vec<Phone> {
    (0..2 * CALLS_AT_ONCE).map(|_| Phone::new()).collect()
}

#[test]
fn ten_thousand_calls_on_the_same_ports_and_no_word_of_another() {
    let mut config = RelayConfig::at(V4);
    // Every port is taken in every round, so they must be ours alone.
    let first = 10_000 + (std::process::id() % 80) as u16 * 100;
    config.ports = first..=first + 4 * CALLS_AT_ONCE as u16 - 1;
    config.port_rest = Duration::ZERO;
    config.threads = 1;
    let mut bench = Bench::start(&config);
    // Who talks in this round; who did in the last and does not stop; who never stops at all.
    let (mut talking, mut deaf, mut eternal) = (phones(), phones(), phones());
    let mut strangers = 0;
    for round in 0..ROUNDS {
        let calls: Vec<u32> = (0..CALLS_AT_ONCE).map(|n| (round * 100 + n + 1) as u32).collect();
        let local = open(&mut bench, &calls);
        for (n, phone) in talking.iter_mut().enumerate() {
            let call = calls[n / 2];
            (phone.call, phone.to) = (call, local[&id(call)][n % 2]);
        }
        if round > 0 {
            deaf.iter_mut().chain(&mut eternal).for_each(Phone::say);
            await_strangers(&bench, &calls, 4);
        }
        for (n, phone) in talking.iter().enumerate() {
            // Every other call's sides are behind NAT: they must be learned from what comes.
            let is_behind_nat = n / 2 % 2 == 0;
            let sdp = phone.socket.local_addr().unwrap();
            let sdp = if is_behind_nat { "127.0.0.9:4000".parse().unwrap() } else { sdp };
            bench.point(id(calls[n / 2]), Lane::BOTH[n % 2], sdp);
        }
        start_recording(&mut bench, &calls);
        if round > 0 {
            deaf.iter_mut().chain(&mut eternal).for_each(Phone::say);
            await_strangers(&bench, &calls, 8);
        }
        for _ in 0..WORDS {
            talking.iter_mut().for_each(Phone::say);
            if round > 0 {
                deaf.iter_mut().chain(&mut eternal).for_each(Phone::say);
            }
        }
        for call in &calls {
            bench.await_counters(id(*call), |it| {
                it.lanes.iter().all(|lane| lane.rtp_packets == WORDS)
            });
        }
        strangers += close(&mut bench, &calls);
        check_recorded(&bench, &calls);
        for (n, phone) in talking.iter().enumerate() {
            let heard = phone.heard();
            assert!(
                !heard.is_empty() && heard.iter().all(|call| *call == calls[n / 2]),
                "{heard:?}"
            );
        }
        for phone in deaf.iter().chain(&eternal) {
            assert_eq!(phone.heard(), [0_u32; 0], "a call was heard by a phone of another");
        }
        if round == 0 {
            // These are the first round's phones for ever.
            std::mem::swap(&mut talking, &mut eternal);
            for (phone, eternal) in deaf.iter_mut().zip(&eternal) {
                (phone.call, phone.to) = (eternal.call, eternal.to);
            }
        } else {
            std::mem::swap(&mut talking, &mut deaf);
        }
    }
    assert!(strangers > 0);
}

fn open(bench: &mut Bench, calls: &[u32]) -> HashMap<CallId, [SocketAddr; 2]> {
    for call in calls {
        assert!(bench.relays.open(id(*call), AnchoredClock::start()));
    }
    let opened = calls.iter().map(|_| match bench.report() {
        Report::Opened { call_id, local } => (call_id, local),
        other => panic!("{other:?}"),
    });
    opened.collect()
}

/// The thread has obeyed all that came before once it has answered.
fn start_recording(bench: &mut Bench, calls: &[u32]) {
    for call in calls {
        bench.relays.start_recording(id(*call));
        bench.relays.pause_recording(id(*call), false);
    }
    for _ in calls {
        assert!(matches!(bench.report(), Report::RecordingPaused { .. }));
    }
}

fn await_strangers(bench: &Bench, calls: &[u32], at_least: u64) {
    for call in calls {
        bench.await_counters(id(*call), |it| {
            it.lanes.iter().map(|lane| lane.stranger_packets).sum::<u64>() >= at_least
        });
    }
}

/// Closes the calls; how many packets of strangers they had is returned.
fn close(bench: &mut Bench, calls: &[u32]) -> u64 {
    let mut strangers = 0;
    for call in calls {
        let seen = bench.watch.call(id(*call), Timestamp::from_micros(0)).unwrap();
        strangers += seen.lanes.iter().map(|lane| lane.stranger_packets).sum::<u64>();
        assert!(bench.relays.close(id(*call)));
    }
    for _ in calls {
        match bench.report() {
            Report::Closed { received_packets, .. } => assert_eq!(received_packets, [WORDS; 2]),
            other => panic!("{other:?}"),
        }
    }
    strangers
}

fn check_recorded(bench: &Bench, calls: &[u32]) {
    let mut recorded: HashMap<CallId, u64> = HashMap::new();
    for block in bench.blocks.try_iter() {
        for packet in block.packets() {
            let packet = packet.unwrap();
            assert_eq!(packet.call_id, id(tone(packet.bytes)), "another call's words");
            *recorded.entry(packet.call_id).or_default() += 1;
        }
    }
    assert_eq!(recorded.len(), calls.len());
    assert!(recorded.values().all(|packets| *packets == 2 * WORDS), "{recorded:?}");
}
