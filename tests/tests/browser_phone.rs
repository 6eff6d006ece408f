//! A phone in a browser (WebRTC: ICE, DTLS-SRTP, SIP by WebSocket) through the running binary: headless
//! Chromium with JsSIP is called and calls, beside a gateway that speaks plain RTP and no Opus, and
//! talks with another browser.
//!
//! Needs the console's Node packages, so it runs by name only: `make test-e2e`.
#![allow(clippy::unwrap_used, missing_docs)]

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cheling_phone::{AnswerPlan, Call, Gateway, Sound};
use cheling_tests::cheling::{Cheling, DID, secret};
use cheling_tests::desk::Desk;
use cheling_tests::recording::{CUSTOMER, OUR_SIDE, Recording};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// The customer's voice. The browser's microphone beeps.
const CUSTOMER_HZ: f32 = 500.0;

/// Whoever asks for any path over HTTP has the customer call the line.
async fn steer(gateway: Arc<Gateway>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            // The request says nothing that matters.
            let _ = stream.read(&mut request).await;
            let call = gateway.call_in("13812345678", DID, Sound::tone(CUSTOMER_HZ)).await.unwrap();
            tokio::spawn(async move { call.ended().await });
            let answer = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n";
            let _ = stream.write_all(answer).await;
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_is_called_and_calls_and_both_sides_are_on_the_recordings() {
    let mut cheling = Cheling::idle_with("").await;
    let socket = SocketAddr::from(([127, 0, 0, 1], cheling.ports.port(8)));
    let secure = SocketAddr::from(([127, 0, 0, 1], cheling.ports.port(10)));
    cheling.environment.push(("CHELING_SIP__WS", socket.to_string()));
    cheling.environment.push(("CHELING_SIP__WSS", secure.to_string()));
    cheling.run().await;
    let answer = |_: &Call| AnswerPlan::Answer {
        after: Duration::ZERO,
        sound: Sound::tone(CUSTOMER_HZ),
        talk: None,
    };
    let gateway = Arc::new(cheling.gateway(answer).await);
    let mut desk = cheling.desk("agent8001").await;
    let control = steer(gateway).await;

    let ui = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/web/ui");
    let status = tokio::process::Command::new(ui.join("node_modules/.bin/playwright"))
        .args(["test", "--project=phone"])
        .current_dir(&ui)
        .env("CHELING_URL", format!("http://{}", cheling.web()))
        .env("PHONE_SOCKET", format!("ws://{socket}"))
        .env("PHONE_SECURE_SOCKET", format!("wss://{secure}"))
        .env("PHONE_COLLEAGUE", "8002")
        .env("PHONE_COLLEAGUE_PASSWORD", secret("8002"))
        .env("PHONE_DOMAIN", cheling.sip().to_string())
        .env("PHONE_EXTENSION", "8001")
        .env("PHONE_PASSWORD", secret("8001"))
        .env("PHONE_CALL", format!("http://{control}/call"))
        .env("PHONE_NUMBER", "13812345678")
        .kill_on_drop(true)
        .status()
        .await
        .expect("playwright: scripts/console e2e installs it");
    assert!(status.success(), "playwright: {status}\n{}", cheling.process().said());

    for direction in ["called", "calling", "Opus to G.711"] {
        let ended = desk.next_of("call.ended").await;
        let (row, recording) = recorded(&cheling, &desk, ended.call_id()).await;
        if direction == "Opus to G.711" {
            // Its keys were told, acted on, and are in no recording.
            assert_eq!(row["verdict"], "paused", "{row}");
            assert_eq!(row["pauses"].as_array().unwrap().len(), 1, "{row}");
            assert_eq!(recording.rate_hz, 48_000);
        } else {
            assert_eq!(row["verdict"], "ok", "{direction}: {row}");
        }
        let customer_s = recording.seconds_of_tone(CUSTOMER, CUSTOMER_HZ);
        assert!(customer_s > 3.0, "{direction}: {customer_s} s of the customer");
        let leaked_s = recording.seconds_of_tone(OUR_SIDE, CUSTOMER_HZ);
        assert!(leaked_s < 0.11, "{direction}: {leaked_s} s of the customer on our side");
        assert!(recording.first_sound_at(OUR_SIDE).is_some(), "{direction}: no beep");
    }
    // A call between colleagues is not every agent's to look at.
    let ended = desk.next_of("call.ended").await;
    let boss = cheling.desk("boss").await;
    let (row, recording) = recorded(&cheling, &boss, ended.call_id()).await;
    assert_eq!((row["verdict"].as_str(), recording.rate_hz), (Some("ok"), 48_000), "{row}");
    for lane in [CUSTOMER, OUR_SIDE] {
        assert!(recording.first_sound_at(lane).is_some(), "two browsers: no beep in lane {lane}");
    }
    cheling.stop().await;
    cheling.check().await;
}

async fn recorded(cheling: &Cheling, desk: &Desk, call_id: &str) -> (serde_json::Value, Recording) {
    let row = cheling.recording_of(desk, call_id).await;
    let path = format!("/recordings/{}/audio", row["recording_id"].as_str().unwrap());
    let recording = Recording::read(&desk.get(&path).await.body);
    (row, recording)
}
