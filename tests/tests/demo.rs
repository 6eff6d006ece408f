//! The demonstration: calls come by themselves, recordings arrive, Ctrl-C ends it cleanly.
#![allow(clippy::unwrap_used, missing_docs)]

use std::net::SocketAddr;

use cheling_tests::child::Process;
use cheling_tests::desk::{Desk, sign_in};
use cheling_tests::ports::Ports;
use cheling_tests::{cheling, eventually, http};
use tokio::process::Command;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_sees_calls_and_recordings_without_doing_anything() {
    let ports = Ports::claim();
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let web = SocketAddr::from(([127, 0, 0, 1], ports.web()));
    let mut command = Command::new(cheling::binary());
    let (first, last) = ports.rtp();
    command
        .args(["demo", "--customers", "200", "--every", "1", "--keep"])
        .arg(&data)
        .args(["--web", &web.to_string(), "--sip", &format!("127.0.0.1:{}", ports.sip())])
        .env("CHELING_MEDIA__FIRST_PORT", first.to_string())
        .env("CHELING_MEDIA__LAST_PORT", last.to_string());
    let demo_began_us = since_epoch_us();
    let mut demo = Process::start("demo", command, folder.path());
    eventually("readiness", || async {
        let answer = http::request(web, "GET", "/readyz", &[], b"").await?;
        (answer.status == 200).then_some(())
    })
    .await;

    // What it prints is enough to sign in: every line with a user name and a password is tried.
    let (username, password) = eventually("a printed user and password", || async {
        for line in demo.said().lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            for pair in words.windows(2) {
                let looks_like_name = pair[0].chars().all(|c| c.is_ascii_lowercase() || c == '.');
                if looks_like_name
                    && pair[1].len() >= 8
                    && sign_in(web, pair[0], pair[1]).await.is_ok()
                {
                    return Some((pair[0].to_owned(), pair[1].to_owned()));
                }
            }
        }
        None
    })
    .await;
    let desk = Desk::open(web, &username, &password).await;
    eventually("a recording of a simulated call", || async {
        let page = desk.get("/recordings").await;
        let page = page.json();
        page["items"].as_array().filter(|items| !items.is_empty()).map(|_| ())
    })
    .await;
    // The last calls that were there before have theirs, and nothing alarming is said of them.
    let id = eventually("a recording of a call before", || async {
        let page = desk.get("/recordings").await.good();
        let started_us = demo_began_us;
        page["items"].as_array()?.iter().find_map(|it| {
            let is_before = it["started_at"].as_i64()? < started_us && it["verdict"] == "ok";
            is_before.then(|| it["recording_id"].as_str().map(str::to_owned))?
        })
    })
    .await;
    let audio = desk.get(&format!("/recordings/{id}/audio")).await;
    assert!(audio.status == 200 && audio.body.len() > 100_000, "{}", audio.body.len());
    assert!(!demo.said().contains("left nothing"), "{}", demo.said());
    drop(desk);
    let status = demo.interrupt().await;
    assert!(status.success(), "{status}");
    assert!(http::request(web, "GET", "/readyz", &[], b"").await.is_none());
}

fn since_epoch_us() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.unwrap().as_micros() as i64
}
