//! Relaying and recording many calls at once through the whole release binary: its CPU time a
//! packet, as a multiple of one bare `send` + `recv` of the same size in the same run.
//!
//! `cargo bench -p cheling-tests --bench load`; `CALLS=500` chooses how many, `SECONDS=20` how long.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use cheling_phone::{Account, AnswerPlan, Call, Gateway, Phone, PhoneConfig, Sound, attend};
use cheling_tests::cheling::{Cheling, secret};
use cheling_tests::within;
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() {
    let number = |name: &str, default: u64| {
        std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
    };
    let (calls, seconds) = (number("CALLS", 200), number("SECONDS", 10));
    let bare_ns = bare_pair_ns();
    println!("bare send + recv of 172 bytes over 256 loopback sockets: {bare_ns:.0} ns");
    measure(calls as usize, Duration::from_secs(seconds), bare_ns).await;
}

async fn measure(count: usize, length: Duration, bare_ns: f64) {
    let mut cheling = Cheling::start_for_load().await;
    let gateway = PhoneConfig {
        bind: cheling.gateway_address().ip(),
        port: cheling.gateway_address().port(),
        heard_samples: 0,
        max_calls: count + 1,
        ..PhoneConfig::registered(cheling.sip(), Account::new("gateway", ""))
    };
    let refuse = |_: &Call| AnswerPlan::Refuse { after: Duration::ZERO, status: 486 };
    let gateway = Gateway::start_with(gateway, refuse).await.unwrap();
    let phone = PhoneConfig {
        heard_samples: 0,
        max_calls: count + 1,
        ..PhoneConfig::registered(cheling.sip(), Account::new("8001", secret("8001")))
    };
    let (phone, events) = Phone::start(phone).await.unwrap();
    within("registration", phone.register()).await.unwrap();
    let stop = CancellationToken::new();
    let answer = |_: &Call| AnswerPlan::Answer {
        after: Duration::ZERO,
        sound: Sound::tone(620.0),
        talk: None,
    };
    let attendant = tokio::spawn(attend(events, answer, stop.clone()));

    let mut calls = Vec::with_capacity(count);
    for n in 0..count {
        let caller = format!("138{n:08}");
        let call = gateway.call_in(&caller, "8001", Sound::tone(440.0)).await.unwrap();
        within("an answer", call.answered()).await.unwrap();
        calls.push(call);
    }
    let packets = || -> (u64, u64) {
        calls.iter().map(Call::statistics).fold((0, 0), |(sent, received), s| {
            (sent + s.packets_sent, received + s.packets_received)
        })
    };
    within("sound", calls[count - 1].hears(Duration::from_secs(2))).await.unwrap();
    let (sent_before, received_before) = packets();
    let cpu_before = cheling.process().cpu_seconds().unwrap();
    let started = Instant::now();
    tokio::time::sleep(length).await;
    let cpu = cheling.process().cpu_seconds().unwrap() - cpu_before;
    let (sent, received) = packets();
    let took = started.elapsed().as_secs_f64();
    let memory = cheling.process().memory_kib().unwrap_or_default();
    // Each call is seen from one end: what it sent and received are the two directions.
    let relayed = (sent - sent_before) + (received - received_before);
    let each_ns = cpu / relayed as f64 * 1e9;
    println!(
        "{count} calls, {took:.1} s: {:.0} packets/s relayed and recorded, {:.1} % of a core, \
         {each_ns:.0} ns a packet = {:.2} bare pairs, memory {:.1} MiB",
        relayed as f64 / took,
        cpu / took * 100.0,
        each_ns / bare_ns,
        memory as f64 / 1024.0,
    );
    let lost: u64 = calls.iter().map(|call| call.statistics().packets_lost).sum();
    println!("lost on the way: {lost} of {received}");
    stop.cancel();
    attendant.await.unwrap();
    gateway.stop().await;
    phone.stop().await;
    cheling.stop().await;
}

/// CPU time of one `send` and one `recv` of a G.711 packet over connected loopback sockets.
fn bare_pair_ns() -> f64 {
    let pairs: Vec<(UdpSocket, UdpSocket)> = (0..256)
        .map(|_| {
            let (a, b) =
                (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
            a.connect(b.local_addr().unwrap()).unwrap();
            b.connect(a.local_addr().unwrap()).unwrap();
            (a, b)
        })
        .collect();
    let (packet, mut buffer) = ([0_u8; 172], [0_u8; 2048]);
    let round = |buffer: &mut [u8]| {
        for (a, b) in &pairs {
            a.send(&packet).unwrap();
            b.recv(buffer).unwrap();
        }
    };
    for _ in 0..200 {
        round(&mut buffer);
    }
    let rounds = 4000;
    let before = thread_cpu_ns();
    for _ in 0..rounds {
        round(&mut buffer);
    }
    (thread_cpu_ns() - before) as f64 / (rounds * pairs.len()) as f64
}

/// Nanoseconds that this thread has run (the first field of schedstat).
fn thread_cpu_ns() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split_whitespace().next().unwrap().parse().unwrap()
}
