//! The running service through many calls: signalling, relay, journal, rendering and rows together,
//! with an eye on its memory.
//!
//! Calls are a second or two long, so that a day of them is over in an hour and what each takes it
//! must give back; what one call takes by being long is tried by the store's own soak. `make soak`
//! is the long form: `SOAK_ROUNDS` (default 6) of `SOAK_AT_ONCE` calls (default 5).
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

use std::time::Duration;

use cheling_phone::{Event, Gateway, Sound, Transport};
use cheling_tests::cheling::{Cheling, DID, incoming};
use cheling_tests::desk::Desk;
use cheling_tests::within;
use tokio::sync::mpsc;

/// What memory may grow by after the first quarter: caches of the database fill, nothing else does.
const MAY_GROW_KIB: u64 = 16 << 10;

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

struct House {
    cheling: Cheling,
    gateway: Gateway,
    events: mpsc::Receiver<Event>,
    desk: Desk,
}

impl House {
    /// Calls that begin one after another, talk all at once, and end; each has its recording.
    async fn round(&mut self, at_once: usize) {
        let mut talks = Vec::new();
        for _ in 0..at_once {
            let customer = self.gateway.call_in("13812345678", DID, Sound::tone(440.0));
            let customer = customer.await.unwrap();
            let agent = incoming(&mut self.events).await;
            agent.answer(Sound::tone(620.0)).await;
            within("the answer", customer.answered()).await.unwrap();
            let call_id = self.desk.next_of("call.offered").await.call_id().to_owned();
            talks.push((customer, agent, call_id));
        }
        let second = Duration::from_secs(1);
        for (_, agent, _) in &talks {
            within("talk", agent.hears(second)).await.unwrap();
        }
        for (customer, agent, _) in &talks {
            customer.hang_up().await;
            within("the end", agent.ended()).await;
        }
        for (_, _, call_id) in &talks {
            let row = self.cheling.recording_of(&self.desk, call_id).await;
            assert!(row["duration_ms"].as_i64().unwrap() > 900, "{row}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_of_the_running_service_does_not_grow_with_its_calls() {
    let (rounds, at_once) = (number("SOAK_ROUNDS", 6), number("SOAK_AT_ONCE", 5));
    // The usual ports are enough for forty calls.
    let cheling = match rounds * at_once {
        0..=35 => Cheling::start().await,
        _ => Cheling::start_for_crowd().await,
    };
    let gateway = cheling.quiet_gateway().await;
    let (_phone, events) = cheling.phone("8001", Transport::Udp).await;
    let desk = cheling.desk("agent8001").await;
    let mut house = House { cheling, gateway, events, desk };
    let mut memory_kib = Vec::new();
    for round in 0..rounds {
        house.round(at_once).await;
        memory_kib.push(house.cheling.process().memory_kib().expect("it runs"));
        if round % 20 == 19 {
            println!("{} calls: {} KiB", (round + 1) * at_once, memory_kib[round]);
        }
    }
    let (begun, later) = memory_kib.split_at(memory_kib.len().div_ceil(4));
    let most = |part: &[u64]| part.iter().copied().max().unwrap_or(0);
    println!(
        "{} calls, {at_once} at once: {} KiB after a quarter, {} KiB at most, {} KiB at the end",
        rounds * at_once,
        most(begun),
        most(&memory_kib),
        memory_kib.last().unwrap()
    );
    assert!(most(later) <= most(begun) + MAY_GROW_KIB, "{memory_kib:?} KiB");
    house.cheling.check().await;
}
