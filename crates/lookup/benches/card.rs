//! How long a card takes, from a number to everything that the desk paints, against the size of
//! the table. `cargo bench -p cheling-lookup`.
//!
//! The dealership is the invented one, in a SQLite file with its WAL, as in production.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use cheling_lookup::{card, generator, number};
use cheling_model::call::{Offer, Party};
use cheling_model::console::ConsoleEvent;
use cheling_model::{CallId, Direction, LegId, TapEvent, TapKind, Timestamp};
use cheling_records::Database;
use cheling_records::customer::{self, CustomerSearch};
use std::time::{Duration, Instant};

const NOW: Timestamp = Timestamp::from_micros(1_795_311_000_000_000);
const ROUNDS: usize = 2_000;

fn main() {
    let sizes: Vec<usize> =
        std::env::args().skip(1).filter_map(|argument| argument.parse().ok()).collect();
    let sizes = if sizes.is_empty() { vec![3_000, 100_000] } else { sizes };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    println!("customers | generated, written | card p50 p99 | offered+ringing to notice p50 p99");
    for size in sizes {
        runtime.block_on(measure(size));
    }
}

async fn measure(customers: usize) {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("bench.db").display());
    let db = Database::open(&url).await.unwrap();
    let began = Instant::now();
    let made = generator::generate(&generator::Options {
        seed: 1,
        customers,
        now: NOW,
        password_hash: &|_| String::new(),
        ha1: &|_| (String::new(), String::new()),
    });
    let generated = began.elapsed();
    made.write(&db).await.unwrap();
    let written = began.elapsed() - generated;
    let here = made.dealership.dealership_id;

    let mut cards = Vec::with_capacity(ROUNDS);
    for round in 0..ROUNDS {
        let phone = &made.phones[round * 7_919 % made.phones.len()];
        let number = number::read(&phone.number, "021").unwrap();
        let began = Instant::now();
        let shown =
            card::of_number(&db, here, &phone.number, &number, None, "2026-11-22").await.unwrap();
        cards.push(began.elapsed());
        assert!(shown.customer.is_some() || shown.candidates.len() > 1);
    }

    let desk = cheling_lookup::desk::Desk::new(db.clone()).await.unwrap();
    let mut pops = Vec::with_capacity(ROUNDS);
    for round in 0..ROUNDS {
        let phone = &made.phones[round * 7_907 % made.phones.len()];
        let at = Timestamp::from_micros(NOW.as_micros() + round as i64 * 1_000);
        let call_id = CallId::mint(at, [round as u8; 10]);
        let offer = Offer {
            direction: Direction::Inbound,
            dealership_id: here,
            caller: Party { number: phone.number.clone(), ..Party::default() },
            called: made.lines[0].did.clone(),
            trunk: Some("gateway".into()),
            line_id: Some(made.lines[0].line_id),
            extension: None,
            user_id: None,
            follow_up_id: None,
        };
        let leg = LegId::mint(at, [round as u8; 10]);
        let began = Instant::now();
        desk.handle(TapEvent { call_id, at, kind: TapKind::Offered(offer) }).await;
        let kind = TapKind::Ringing { leg, extension: "8001".into() };
        let notices = desk.handle(TapEvent { call_id, at, kind }).await;
        pops.push(began.elapsed());
        assert!(matches!(notices[0].event, ConsoleEvent::CallOffered(_)));
    }
    let mut searches = Vec::new();
    for text in ["", "王", "wjg", "1388", "沪A·D3", "D396", "nobody"] {
        let began = Instant::now();
        let search = CustomerSearch { text: text.into(), ..CustomerSearch::default() };
        customer::search(&db, here, &search, None, 50).await.unwrap();
        searches.push(format!("{text:?} {:.1?}", began.elapsed()));
    }

    println!(
        "{customers} | {generated:.1?}, {written:.1?} | {:.0?} {:.0?} | {:.0?} {:.0?}",
        percentile(&mut cards, 50),
        percentile(&mut cards, 99),
        percentile(&mut pops, 50),
        percentile(&mut pops, 99),
    );
    println!("  search: {}", searches.join(", "));
    db.close().await;
}

fn percentile(times: &mut [Duration], percent: usize) -> Duration {
    times.sort_unstable();
    times[(times.len() * percent / 100).min(times.len() - 1)]
}
