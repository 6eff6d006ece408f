//! From INVITE to the card on the agent's WebSocket, against the size of the customer table,
//! through the whole release binary.
//!
//! `cargo bench -p cheling-tests --bench pop`; `CUSTOMERS=1000,100000` chooses the sizes.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

use std::fmt::Write as _;
use std::time::Instant;

use cheling_phone::{Sound, Transport};
use cheling_tests::cheling::{Cheling, DID, incoming};
use cheling_tests::within;

const CALLS: usize = 200;

#[tokio::main]
async fn main() {
    let sizes = std::env::var("CUSTOMERS").unwrap_or_else(|_| "1000,10000,100000".into());
    println!("INVITE to card on the WebSocket, {CALLS} calls one after another");
    println!("{:>10}  {:>9}  {:>9}  {:>9}  {:>9}", "customers", "median", "p95", "p99", "slowest");
    for size in sizes.split(',').filter_map(|size| size.trim().parse().ok()) {
        measure(size).await;
    }
}

async fn measure(customers: usize) {
    let cheling = Cheling::start_for_load().await;
    let mut text = String::from("姓名,电话\n");
    for n in 0..customers {
        writeln!(text, "客户{n},138{n:08}").unwrap();
    }
    let path = cheling.folder().join("customers.csv");
    std::fs::write(&path, text).unwrap();
    let started = Instant::now();
    cheling.patient(&["customer", "import", path.to_str().unwrap()]).await;
    let import = started.elapsed();

    let gateway = cheling.quiet_gateway().await;
    let mut desk = cheling.desk("agent8001").await;
    let (_phone, mut events) = cheling.phone("8001", Transport::Udp).await;
    let mut took = Vec::with_capacity(CALLS);
    for n in 0..CALLS {
        let caller = format!("138{:08}", n * 7919 % customers);
        let start = Instant::now();
        let customer = gateway.call_in(&caller, DID, Sound::Nothing).await.unwrap();
        let offered = desk.next_of("call.offered").await;
        took.push((offered.at - start).as_secs_f64() * 1000.0);
        assert_eq!(offered.event["card"]["kind"], "known", "{caller}: {}", offered.event);
        let ringing = incoming(&mut events).await;
        customer.hang_up().await;
        within("the end", ringing.ended()).await;
    }
    took.sort_by(f64::total_cmp);
    let at = |share: f64| took[((CALLS as f64 * share) as usize).min(CALLS - 1)];
    println!(
        "{customers:>10}  {:>6.2} ms  {:>6.2} ms  {:>6.2} ms  {:>6.2} ms   (import {:.1} s)",
        at(0.5),
        at(0.95),
        at(0.99),
        at(1.0),
        import.as_secs_f64()
    );
}
