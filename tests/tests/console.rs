//! The console in a real browser on the real binary, with calls that come when the browser asks.
//!
//! Needs the console's Node packages on the PATH, so it runs by name only: `make test-e2e`.
#![allow(clippy::unwrap_used, missing_docs)]

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cheling_phone::speech::{Role, conversation};
use cheling_phone::{AnswerPlan, Call, Gateway, Transport, attend};
use cheling_tests::cheling::{Cheling, DID, secret};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Whoever asks for any path over HTTP starts one call: it rings for two seconds, goes on for
/// fifteen, and is ended by the customer.
async fn steer(gateway: Arc<Gateway>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            // The request says nothing that matters.
            let _ = stream.read(&mut request).await;
            let sound = conversation(Role::Customer, 0);
            let call = gateway.call_in("13812345678", DID, sound).await.unwrap();
            tokio::spawn(async move {
                if call.answered().await.is_ok() {
                    let _ = call.hears(Duration::from_secs(15)).await;
                }
                call.hang_up().await;
            });
            let answer = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n";
            let _ = stream.write_all(answer).await;
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_pops_is_wrapped_up_and_replayed_in_chromium() {
    let cheling = Cheling::start().await;
    cheling.customers(&[("王建国", "13812345678")]).await;
    let gateway = Arc::new(cheling.quiet_gateway().await);
    let (_phone, events) = cheling.phone("8001", Transport::Udp).await;
    let answer = |_: &Call| AnswerPlan::Answer {
        after: Duration::from_secs(2),
        sound: conversation(Role::Agent, 0),
        talk: None,
    };
    tokio::spawn(attend(events, answer, CancellationToken::new()));
    let control = steer(gateway).await;

    let ui = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/web/ui");
    let status = tokio::process::Command::new(ui.join("node_modules/.bin/playwright"))
        .args(["test", "--project=real"])
        .current_dir(&ui)
        .env("CHELING_URL", format!("http://{}", cheling.web()))
        .env("CHELING_USERNAME", "agent8001")
        .env("CHELING_PASSWORD", secret("agent8001"))
        .env("CHELING_CUSTOMER", "王建国")
        .env("CHELING_CALL", format!("http://{control}/call"))
        .kill_on_drop(true)
        .status()
        .await
        .expect("playwright: scripts/console e2e installs it");
    assert!(status.success(), "playwright: {status}");
}
