//! What a call and a registration cost in CPU time through the whole release binary, media left
//! out, with kamailio beside it in the same run.
//!
//! `cargo bench -p cheling-tests --bench signalling`. `CALLS=2000` is how many calls are measured,
//! `RATE=100` how many a second; `RATES=250,500` are the steps of the second part, on one core;
//! `PHONES=10000` register in the third. A 0 leaves its part out.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::{Duration, Instant};

use cheling_records::{Database, admin, insert, mint, switchboard};
use cheling_sip::digest::{Algorithm, ha1};
use cheling_tests::cheling::{Cheling, secret};
use cheling_tests::kamailio::{Kamailio, preamble};
use cheling_tests::load::{Answerer, CallLoad, CallReport, RegisterLoad, Registrants, place_calls};

const PHONE: &str = "8001";
const REALM: &str = "cheling";
/// Each phone refreshes so often.
const REFRESH_S: f64 = 60.0;

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[tokio::main(flavor = "multi_thread", worker_threads = 1)]
async fn main() {
    let (calls, rate) = (number("CALLS", 2000), number("RATE", 100) as f64);
    if calls > 0 {
        let talk = Duration::from_millis(500);
        println!("{calls} calls at {rate} a second, each answered, held {talk:?}, hung up");
        let kamailio = beside(calls, rate, talk).await;
        let cheling = calls_alone(calls, rate, talk).await;
        println!("as a multiple of kamailio's: {:.2}\n", cheling / kamailio);
    }
    let rates = std::env::var("RATES").unwrap_or_else(|_| "100,200,300,400,500,600,700".into());
    let rates: Vec<f64> = rates
        .split(',')
        .filter_map(|rate| rate.trim().parse().ok())
        .filter(|rate| *rate > 0.0)
        .collect();
    if !rates.is_empty() {
        rate_on_one_core(&rates).await;
    }
    let phones = number("PHONES", 10_000);
    if phones > 0 {
        registrations(phones).await;
    }
}

/// A Cheling for load, its phone, and where calls come from.
async fn stage() -> (Cheling, Answerer) {
    let cheling = Cheling::start_for_signalling().await;
    let answerer = Answerer::registered(cheling.sip(), REALM, (PHONE, &secret(PHONE))).unwrap();
    (cheling, answerer)
}

fn load(cheling: &Cheling, calls: usize, rate: f64, talk: Duration) -> CallReport {
    let load = CallLoad {
        from: cheling.gateway_address(),
        to: cheling.sip(),
        number: PHONE,
        calls,
        rate,
        talk,
    };
    tokio::task::block_in_place(|| place_calls(load).unwrap())
}

async fn calls_alone(calls: usize, rate: f64, talk: Duration) -> f64 {
    let (mut cheling, _answerer) = stage().await;
    load(&cheling, 100, rate, talk);
    settled(&mut cheling).await;
    let before = cheling.process().cpu_seconds().unwrap();
    let report = load(&cheling, calls, rate, talk);
    settled(&mut cheling).await;
    let cpu = cheling.process().cpu_seconds().unwrap() - before;
    if let Ok(seconds) = std::env::var("LINGER") {
        println!("{}", cheling.process().id().unwrap());
        tokio::time::sleep(Duration::from_secs(seconds.parse().unwrap())).await;
    }
    let each_ms = cpu / calls as f64 * 1e3;
    println!(
        "cheling, each call recorded, its rows written: {each_ms:.3} ms of CPU a call{}",
        told(&report)
    );
    if report.lost() > 0 {
        // Whatever refused a call has said why.
        print!("{}", cheling.process().said());
    }
    let recordings = count_recordings(&cheling).await;
    println!("  {recordings} recordings of {} calls", calls + 100);
    each_ms
}

/// Waits until the work that calls leave behind (rendering, rows) is done: the CPU is idle.
async fn settled(cheling: &mut Cheling) {
    let mut before = cheling.process().cpu_seconds().unwrap();
    let mut quiet = 0;
    while quiet < 2 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let now = cheling.process().cpu_seconds().unwrap();
        quiet = if now - before < 0.02 { quiet + 1 } else { 0 };
        before = now;
    }
}

fn told(report: &CallReport) -> String {
    let [median, p99] = report.answered_after.map(|after| after.as_secs_f64() * 1e3);
    format!(
        "; answered after {median:.1} ms, p99 {p99:.1} ms; {} lost {:?}, {} repeated",
        report.lost(),
        report.failed,
        report.repeated
    )
}

async fn count_recordings(cheling: &Cheling) -> i64 {
    let db = database(cheling).await;
    let sql = "select count(*) from recording";
    let count = cheling_records::database::On::from(&db).scalar(sql, vec![]).await.unwrap();
    db.close().await;
    count
}

async fn database(cheling: &Cheling) -> Database {
    let path = cheling.folder().join("data/cheling.db");
    Database::open(&format!("sqlite://{}", path.display())).await.unwrap()
}

/// kamailio as a proxy that keeps dialogs and stays in the path.
async fn beside(calls: usize, rate: f64, talk: Duration) -> f64 {
    let folder = tempfile::tempdir().unwrap();
    let answerer = Answerer::start((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let address = free_address();
    let config = format!(
        "{}loadmodule \"dialog.so\"\nmodparam(\"dialog\", \"enable_stats\", 0)\n\
         request_route {{\n\
         if (!mf_process_maxfwd_header(\"10\")) {{ sl_send_reply(\"483\", \"Too Many Hops\"); exit; }}\n\
         if (is_method(\"OPTIONS\")) {{ sl_send_reply(\"200\", \"OK\"); exit; }}\n\
         if (has_totag()) {{\n\
           if (loose_route()) {{ t_relay(); exit; }}\n\
           if (is_method(\"ACK\")) {{ if (t_check_trans()) t_relay(); exit; }}\n\
           sl_send_reply(\"404\", \"Not here\"); exit;\n\
         }}\n\
         if (is_method(\"CANCEL\")) {{ if (t_check_trans()) t_relay(); exit; }}\n\
         t_check_trans();\n\
         record_route();\n\
         dlg_manage();\n\
         $du = \"sip:{}\";\n\
         t_relay();\n\
         }}\n",
        preamble(&[format!("udp:{address}")]),
        answerer.address(),
    );
    let kamailio = Kamailio::start(&config, address, folder.path()).await;
    let from = (Ipv4Addr::new(127, 0, 0, 2), 0).into();
    let load = |calls| {
        let load = CallLoad { from, to: address, number: PHONE, calls, rate, talk };
        tokio::task::block_in_place(|| place_calls(load).unwrap())
    };
    load(100);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = kamailio.cpu_seconds().unwrap();
    let report = load(calls);
    // Its transactions and dialogs are taken down later.
    tokio::time::sleep(Duration::from_secs(6)).await;
    let each_ms = (kamailio.cpu_seconds().unwrap() - before) / calls as f64 * 1e3;
    println!("kamailio, dialogs, nothing recorded: {each_ms:.3} ms of CPU a call{}", told(&report));
    each_ms
}

fn free_address() -> SocketAddr {
    std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}

/// Steps the rate up, every thread of the process on one core, until calls are lost.
async fn rate_on_one_core(rates: &[f64]) {
    println!("all threads on one core, calls of 200 ms, 4 s of each rate");
    let mut best = 0.0;
    for &rate in rates {
        // Afresh for each: RTP ports rest half a minute between two calls.
        let (mut cheling, _answerer) = stage().await;
        pin(&mut cheling, "0");
        let before = cheling.process().cpu_seconds().unwrap();
        let began = Instant::now();
        let report = load(&cheling, (rate * 4.0) as usize, rate, Duration::from_millis(200));
        let cpu = cheling.process().cpu_seconds().unwrap() - before;
        let share = cpu / began.elapsed().as_secs_f64() * 100.0;
        println!("{rate:>6} calls/s: {share:.0} % of the core{}", told(&report));
        if report.lost() > 0 {
            print!("{}", cheling.process().said());
        }
        cheling.kill().await;
        if report.lost() > 0 {
            break;
        }
        best = rate;
    }
    println!("highest rate without a lost call: {best} a second\n");
}

fn pin(cheling: &mut Cheling, core: &str) {
    let pid = cheling.process().id().unwrap().to_string();
    let status = Command::new("taskset").args(["-acp", core, &pid]).output().unwrap().status;
    assert!(status.success());
}

/// So many phones that refresh every minute.
async fn registrations(count: usize) {
    let mut cheling = Cheling::start_for_signalling().await;
    let idle_kib = cheling.process().memory_kib().unwrap_or_default();
    cheling.stop().await;
    add_extensions(&cheling, count).await;
    cheling.run().await;
    let accounts = (0..count).map(|n| (format!("2{n:06}"), secret("phone")));
    let mut phones = Registrants::new(cheling.sip(), REALM, accounts).unwrap();
    let rate = count as f64 / REFRESH_S;
    let first =
        tokio::task::block_in_place(|| phones.run(RegisterLoad { rate: rate * 6.0, count }));
    println!("{count} phones registered: {first:?}");
    let before = cheling.process().cpu_seconds().unwrap();
    let began = Instant::now();
    let report = tokio::task::block_in_place(|| phones.run(RegisterLoad { rate, count }));
    let cpu = cheling.process().cpu_seconds().unwrap() - before;
    let took = began.elapsed().as_secs_f64();
    let memory = cheling.process().memory_kib().unwrap_or_default();
    println!(
        "refreshed every {REFRESH_S} s: {:.1} % of a core, {:.0} us a REGISTER, memory {:.1} MiB \
         ({:.1} MiB with none); {report:?}",
        cpu / took * 100.0,
        cpu / count as f64 * 1e6,
        memory as f64 / 1024.0,
        idle_kib as f64 / 1024.0,
    );
    cheling.stop().await;
}

async fn add_extensions(cheling: &Cheling, count: usize) {
    let db = database(cheling).await;
    let dealership = admin::dealerships(&db).await.unwrap().swap_remove(0);
    let mut tx = db.begin().await.unwrap();
    for n in 0..count {
        let number = format!("2{n:06}");
        let password = secret("phone");
        let row = switchboard::Extension {
            extension_id: mint(),
            dealership_id: dealership.dealership_id,
            ha1_md5: ha1(Algorithm::Md5, &number, REALM, &password),
            ha1_sha256: ha1(Algorithm::Sha256, &number, REALM, &password),
            number,
            display_name: String::new(),
            reach: Default::default(),
            disabled: false,
            created_at: cheling_model::Timestamp::from_micros(1_700_000_000_000_000),
        };
        insert(&mut tx, &row).await.unwrap();
    }
    tx.commit().await.unwrap();
    db.close().await;
}
