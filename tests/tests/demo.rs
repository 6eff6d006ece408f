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
    drop(desk);
    let status = demo.interrupt().await;
    assert!(status.success(), "{status}");
    assert!(http::request(web, "GET", "/readyz", &[], b"").await.is_none());
}
