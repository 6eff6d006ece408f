//! linphone as an agent's softphone, without a sound card: registers with digest, is called, calls,
//! holds and hangs up, over UDP, TCP and TLS.
#![allow(clippy::unwrap_used, missing_docs)]

use std::time::Duration;

use cheling_phone::{AnswerPlan, Call, Gateway, Sound, dominant_frequency_hz, render};
use cheling_tests::cheling::{Cheling, DID, secret};
use cheling_tests::linphone::{Linphone, LinphoneConfig};
use cheling_tests::recording::{CUSTOMER, OUR_SIDE, Recording};
use cheling_tests::within;

const CUSTOMER_HZ: f32 = 500.0;
const AGENT_HZ: f32 = 700.0;

async fn network(cheling: &Cheling) -> Gateway {
    cheling
        .gateway(|_: &Call| AnswerPlan::Answer {
            after: Duration::from_millis(100),
            sound: Sound::tone(CUSTOMER_HZ),
            talk: None,
        })
        .await
}

async fn recorded(cheling: &Cheling, desk: &mut cheling_tests::desk::Desk) -> Recording {
    let ended = desk.next_of("call.ended").await;
    let row = cheling.recording_of(desk, ended.call_id()).await;
    assert_eq!(row["verdict"], "ok", "{row}");
    let path = format!("/recordings/{}/audio", row["recording_id"].as_str().unwrap());
    Recording::read(&desk.get(&path).await.body)
}

/// A second or more of each side's own tone, and none of the other's.
fn assert_sides(recording: &Recording) {
    for (lane, own, other) in [(CUSTOMER, CUSTOMER_HZ, AGENT_HZ), (OUR_SIDE, AGENT_HZ, CUSTOMER_HZ)]
    {
        let (own, other) =
            (recording.seconds_of_tone(lane, own), recording.seconds_of_tone(lane, other));
        assert!(own > 1.0 && other < 0.11, "lane {lane}: {own} s of its own, {other} s not");
    }
}

async fn talks_both_ways(transport: &str) {
    let (cheling, registrar) = Cheling::start_over(transport).await;
    let network = network(&cheling).await;
    let mut desk = cheling.desk("agent8001").await;
    let mut pcm = vec![0; 30 * 8000];
    render(&Sound::tone(AGENT_HZ), &mut pcm);
    let says = cheling.folder().join("says.wav");
    cheling_tests::recording::write_wav(&says, &pcm);
    let password = secret("8001");
    let config = LinphoneConfig {
        sip_port: cheling.ports.port(10),
        rtp_port: cheling.ports.port(12),
        registrar,
        transport,
        user: "8001",
        password: &password,
    };
    let mut linphone = Linphone::start(&config, cheling.folder());
    linphone.registered().await;

    let customer = network.call_in("13812345678", DID, Sound::tone(CUSTOMER_HZ)).await.unwrap();
    within("the answer", customer.answered()).await.unwrap();
    linphone.says("LinphoneCallStreamsRunning").await;
    linphone.tell(&format!("incall-player-start {}", says.display())).await;
    within("the customer hears", customer.hears(Duration::from_secs(3))).await.unwrap();
    customer.hang_up().await;
    linphone.says("LinphoneCallEnd").await;
    assert_sides(&recorded(&cheling, &mut desk).await);

    let domain = registrar.ip();
    linphone.tell(&format!("call sip:13987654321@{domain}")).await;
    linphone.says("LinphoneCallStreamsRunning").await;
    desk.next_of("call.answered").await;
    linphone.tell(&format!("incall-player-start {}", says.display())).await;
    linphone.tell("call-pause").await;
    linphone.says("LinphoneCallPaused").await;
    loop {
        if desk.next_of("call.updated").await.event["held"] == true {
            break;
        }
    }
    // The second call since it was started; a paused one is not "the current".
    linphone.tell("call-resume 2").await;
    linphone.says("LinphoneCallStreamsRunning").await;
    loop {
        if desk.next_of("call.updated").await.event["held"] == false {
            break;
        }
    }
    linphone.tell("terminate").await;
    linphone.says("LinphoneCallEnd").await;
    desk.next_of("call.ended").await;
    linphone.quit().await;
    assert_eq!(dominant_frequency_hz(&customer.heard()), Some(AGENT_HZ));
    cheling.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn linphone_talks_and_holds_over_udp() {
    talks_both_ways("udp").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn linphone_talks_and_holds_over_tcp() {
    talks_both_ways("tcp").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn linphone_talks_and_holds_over_tls() {
    talks_both_ways("tls").await;
}
