//! Softphones as agents use them, through the running binary: baresip with its keys pressed from
//! outside holds, hands on and dials digits; linphone asks a colleague first. What is on which lane
//! of the recording right after each.
#![allow(clippy::unwrap_used, missing_docs)]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use cheling_phone::{Call, Direction, Sound, level_dbfs, render, tone_share};
use cheling_tests::baresip::{Baresip, BaresipConfig, Handset};
use cheling_tests::cheling::{Cheling, DID, GATEWAY_IP, secret};
use cheling_tests::desk::Desk;
use cheling_tests::linphone::{Linphone, LinphoneConfig};
use cheling_tests::recording::{CUSTOMER, OUR_SIDE, Recording, write_wav};
use cheling_tests::{eventually, within};

const CUSTOMER_HZ: f32 = 500.0;
const AGENT_HZ: f32 = 620.0;
const COLLEAGUE_HZ: f32 = 1000.0;

/// A file in which a tone sounds for a minute: baresip hangs up when its file ends.
fn says(cheling: &Cheling, tone: f32) -> PathBuf {
    let mut pcm = vec![0; 60 * 8000];
    render(&Sound::tone(tone), &mut pcm);
    let path = cheling.folder().join(format!("says-{tone}.wav"));
    write_wav(&path, &pcm);
    path
}

/// The softphone of the `n`th agent.
async fn softphone(cheling: &Cheling, registrar: SocketAddr, transport: &str, n: u16) -> Handset {
    let user = ["8001", "8002"][usize::from(n)];
    let says = says(cheling, [AGENT_HZ, COLLEAGUE_HZ][usize::from(n)]);
    let (port, secret) = (|offset| cheling.ports.port(10 + n * 12 + offset), secret(user));
    let places = (port(0), port(2));
    let mut baresip = Baresip::start(
        &BaresipConfig {
            transport,
            control_port: Some(port(11)),
            ..BaresipConfig::softphone(places, registrar, (user, &secret), &says)
        },
        cheling.folder(),
    );
    baresip.registered().await;
    baresip.in_hand().await
}

/// Waits until the last half second that the customer heard is this tone.
async fn hears(call: &Call, hz: f32) {
    call.forget_heard();
    eventually(&format!("the customer hears {hz} Hz"), || async {
        let heard = call.heard();
        let tail = heard.len().checked_sub(4000).map(|from| &heard[from..])?;
        (level_dbfs(tail) > -40.0 && tone_share(tail, hz) > 0.9).then_some(())
    })
    .await;
}

async fn is_held(desk: &mut Desk, wanted: bool) {
    while desk.next_of("call.updated").await.event["held"] != wanted {}
}

/// What was recorded of a call, for a user who may hear all: a call that was handed on is the
/// colleague's.
async fn recorded(cheling: &Cheling, call_id: &str) -> Recording {
    let boss = cheling.desk("boss").await;
    let row = cheling.recording_of(&boss, call_id).await;
    assert_eq!(row["verdict"], "ok", "{row}");
    let path = format!("/recordings/{}/audio", row["recording_id"].as_str().unwrap());
    Recording::read(&boss.get(&path).await.body)
}

/// In which order tones sound on a lane, with silence as 0; what is shorter than 200 ms is no part.
fn parts(recording: &Recording, lane: usize) -> Vec<u16> {
    let tones = [CUSTOMER_HZ, AGENT_HZ, COLLEAGUE_HZ];
    let of = |pcm: &[i16]| {
        if level_dbfs(pcm) < -50.0 {
            return Some(0);
        }
        tones.into_iter().find(|hz| tone_share(pcm, *hz) > 0.9).map(|hz| hz as u16)
    };
    let windows: Vec<_> = recording.lanes[lane].chunks_exact(400).map(of).collect();
    let mut parts = Vec::new();
    for same in windows.chunk_by(|a, b| a == b).filter(|same| same.len() >= 4) {
        if let Some(part) = same[0].filter(|part| parts.last() != Some(part)) {
            parts.push(part);
        }
    }
    parts
}

/// Without the silence at either end: the file begins at the answer and ends with the last packet.
fn spoken(mut parts: Vec<u16>) -> Vec<u16> {
    let first = parts.iter().position(|part| *part != 0).unwrap_or(parts.len());
    parts.drain(..first);
    parts.pop_if(|part| *part == 0);
    parts
}

async fn holds_and_hands_on(transport: &str) {
    let (cheling, registrar) = Cheling::start_over(transport).await;
    let gateway = cheling.quiet_gateway().await;
    let mut desk = cheling.desk("agent8001").await;
    let mut agent = softphone(&cheling, registrar, transport, 0).await;
    let customer = gateway.call_in("13812345678", DID, Sound::tone(CUSTOMER_HZ)).await.unwrap();
    within("the answer", customer.answered()).await.unwrap();
    agent.event("CALL_ESTABLISHED").await;
    hears(&customer, AGENT_HZ).await;

    agent.press("hold", "").await;
    is_held(&mut desk, true).await;
    let call_id = desk.seen[0].call_id().to_owned();
    within("hold", customer.flows(Direction::RecvOnly)).await.unwrap();
    // Time passes in the call; the hold is a second of it.
    tokio::time::sleep(Duration::from_secs(1)).await;
    agent.press("resume", "").await;
    is_held(&mut desk, false).await;
    within("resumption", customer.flows(Direction::SendRecv)).await.unwrap();
    hears(&customer, AGENT_HZ).await;

    // Only now is there anybody else to ring for the line.
    let mut colleague = softphone(&cheling, registrar, transport, 1).await;
    agent.press("transfer", &format!("sip:8002@{}", registrar.ip())).await;
    colleague.event("CALL_ESTABLISHED").await;
    hears(&customer, COLLEAGUE_HZ).await;
    agent.event("CALL_CLOSED").await;
    customer.hang_up().await;
    colleague.event("CALL_CLOSED").await;

    let recording = recorded(&cheling, &call_id).await;
    let ours = spoken(parts(&recording, OUR_SIDE));
    // The pause between the two phones may be too short to be seen.
    assert!([&[620, 0, 620, 0, 1000][..], &[620, 0, 620, 1000]].contains(&&ours[..]), "{ours:?}");
    // Whoever is on hold sends nothing; nobody else is ever on this lane.
    assert_eq!(spoken(parts(&recording, CUSTOMER)), [500, 0, 500]);
    agent.quit().await;
    colleague.quit().await;
    cheling.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn baresip_holds_and_hands_on_over_udp() {
    holds_and_hands_on("udp").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn baresip_holds_and_hands_on_over_tls() {
    holds_and_hands_on("tls").await;
}

/// Every digit that is pressed at one end arrives at the other.
async fn crosses(presses: &mut Handset, hears: &mut Handset, digits: &str) {
    for digit in digits.chars().map(String::from) {
        presses.press("sndcode", &digit).await;
        assert_eq!(hears.event("CALL_DTMF_START").await["param"], digit.as_str());
        hears.event("CALL_DTMF_END").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn digits_cross_the_call_both_ways_and_are_not_heard_in_its_recording() {
    let cheling = Cheling::start().await;
    let mut desk = cheling.desk("agent8001").await;
    let mut agent = softphone(&cheling, cheling.sip(), "udp", 0).await;
    let says = says(&cheling, CUSTOMER_HZ);
    let at = cheling.ports.port(6);
    let customer = BaresipConfig {
        ip: GATEWAY_IP.into(),
        registrar: None,
        control_port: Some(cheling.ports.port(36)),
        ..BaresipConfig::softphone(
            (at, cheling.ports.port(38)),
            cheling.sip(),
            ("13812345678", ""),
            &says,
        )
    };
    let mut customer = Baresip::start(&customer, cheling.folder());
    customer.ready().await;
    let mut customer = customer.in_hand().await;
    customer.press("dial", &format!("sip:{DID}@{}", cheling.sip())).await;
    agent.event("CALL_ESTABLISHED").await;
    customer.event("CALL_ESTABLISHED").await;
    desk.next_of("call.answered").await;

    crosses(&mut agent, &mut customer, "159#").await;
    crosses(&mut customer, &mut agent, "0*").await;
    customer.press("hangup", "").await;
    agent.event("CALL_CLOSED").await;
    let recording = recorded(&cheling, desk.seen[0].call_id()).await;
    for (lane, own) in [(CUSTOMER, CUSTOMER_HZ), (OUR_SIDE, AGENT_HZ)] {
        // The four rows and four columns of the keypad (ITU-T Q.23).
        for hz in [697.0, 770.0, 852.0, 941.0, 1209.0, 1336.0, 1477.0, 1633.0] {
            let loudest = recording.lanes[lane]
                .chunks_exact(400)
                .filter(|pcm| level_dbfs(pcm) > -45.0)
                .map(|pcm| tone_share(pcm, hz))
                .fold(0.0, f32::max);
            assert!(loudest < 0.3, "lane {lane}: {hz} Hz is {loudest} of it");
        }
        let said = recording.seconds_of_tone(lane, own);
        assert!(said > 0.3, "lane {lane}: {said} s of its own");
    }
    agent.quit().await;
    customer.quit().await;
    cheling.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn linphone_asks_a_colleague_and_hands_the_customer_on() {
    let cheling = Cheling::start().await;
    let gateway = cheling.quiet_gateway().await;
    let mut desk = cheling.desk("agent8001").await;
    let (says, password) = (says(&cheling, AGENT_HZ), secret("8001"));
    let config = LinphoneConfig {
        sip_port: cheling.ports.port(10),
        rtp_port: cheling.ports.port(12),
        registrar: cheling.sip(),
        transport: "udp",
        user: "8001",
        password: &password,
    };
    let mut agent = Linphone::start(&config, cheling.folder());
    agent.registered().await;
    let customer = gateway.call_in("13812345678", DID, Sound::tone(CUSTOMER_HZ)).await.unwrap();
    within("the answer", customer.answered()).await.unwrap();
    agent.says("LinphoneCallStreamsRunning").await;
    agent.tell(&format!("incall-player-start {}", says.display())).await;
    hears(&customer, AGENT_HZ).await;

    let mut colleague = softphone(&cheling, cheling.sip(), "udp", 1).await;
    agent.tell("call-pause").await;
    agent.says("LinphoneCallPaused").await;
    is_held(&mut desk, true).await;
    agent.tell(&format!("call sip:8002@{}", cheling.sip().ip())).await;
    colleague.event("CALL_ESTABLISHED").await;
    agent.says("LinphoneCallStreamsRunning").await;
    agent.tell("call-transfer 1 2").await;
    hears(&customer, COLLEAGUE_HZ).await;
    customer.hang_up().await;
    colleague.event("CALL_CLOSED").await;
    agent.quit().await;

    let recording = recorded(&cheling, desk.seen[0].call_id()).await;
    // linphone plays the customer who waits some music, which is none of these tones.
    let ours = parts(&recording, OUR_SIDE).into_iter().filter(|part| *part != 0);
    assert_eq!(ours.collect::<Vec<_>>(), [620, 1000]);
    assert_eq!(recording.seconds_of_tone(CUSTOMER, COLLEAGUE_HZ), 0.0);
    assert!(recording.seconds_of_tone(CUSTOMER, CUSTOMER_HZ) > 1.0);
    colleague.quit().await;
    cheling.check().await;
}
