//! What phones and carriers do beside plain calls, by SIPp through the running binary: session
//! timers, busy lamps, picking up.
#![allow(clippy::unwrap_used, missing_docs)]

use std::time::Duration;

use cheling_phone::{AnswerPlan, Sound, Transport};
use cheling_tests::cheling::{Cheling, DID, GATEWAY_IP, incoming, secret};
use cheling_tests::recording::Recording;
use cheling_tests::sipp::{Sipp, SippRun, alaw_tone, local};
use cheling_tests::within;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_carrier_that_insists_on_session_timers_gets_them() {
    let cheling = Cheling::start().await;
    let (_phone, mut events) = cheling.phone("8001", Transport::Udp).await;
    let tone = alaw_tone(cheling.folder(), 500.0, 1);
    let values = [
        ("did", DID),
        ("caller", "13812345678"),
        ("tone", tone.to_str().unwrap()),
        ("talk_ms", "500"),
    ];
    let sipp = Sipp::start(
        &SippRun {
            scenario: "gateway_timer",
            local: local(GATEWAY_IP.octets(), cheling.ports.port(6)),
            rtp_port: cheling.ports.port(20),
            remote: cheling.sip(),
            values: &values,
            calls: 1,
            more: &[],
        },
        cheling.folder(),
    );
    let call = incoming(&mut events).await;
    call.answer(Sound::tone(600.0)).await;
    sipp.succeeds().await;
    within("the end", call.ended()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_phone_that_watches_a_colleague_picks_its_call_up() {
    let cheling = Cheling::start().await;
    let gateway =
        cheling.gateway(|_: &_| AnswerPlan::Refuse { after: Duration::ZERO, status: 486 }).await;
    let (_phone, mut events) = cheling.phone("8001", Transport::Udp).await;
    let mut desk = cheling.desk("agent8002").await;
    let tone = alaw_tone(cheling.folder(), 600.0, 1);
    let password = secret("8002");
    let values = [
        ("user", "8002"),
        ("watched", "8001"),
        ("password", password.as_str()),
        ("tone", tone.to_str().unwrap()),
    ];
    // SIPp would leave the number out of what it proves.
    let address = format!("8001@{}", cheling.sip());
    let picking = Sipp::start(
        &SippRun {
            scenario: "phone_pickup",
            local: local([127, 0, 0, 1], cheling.ports.port(14)),
            rtp_port: cheling.ports.port(30),
            remote: cheling.sip(),
            values: &values,
            calls: 1,
            more: &["-auth_uri", &address],
        },
        cheling.folder(),
    );
    let customer = gateway.call_in("13812345678", DID, Sound::tone(500.0)).await.unwrap();
    let rung = incoming(&mut events).await;
    rung.ring().await;
    within("the pick-up", customer.answered()).await.unwrap();
    assert_eq!(within("the ringing's end", rung.ended()).await.status, Some(487));
    within("speech", customer.hears(Duration::from_secs(2))).await.unwrap();
    customer.hang_up().await;
    picking.succeeds().await;
    let ended = desk.next_of("call.ended").await;
    let row = cheling.recording_of(&desk, ended.call_id()).await;
    assert_eq!(row["verdict"], "ok", "{row}");
    let path = format!("/recordings/{}/audio", row["recording_id"].as_str().unwrap());
    let recording = Recording::read(&desk.get(&path).await.body);
    recording.assert_tones(500.0, 600.0, recording.seconds());
}
