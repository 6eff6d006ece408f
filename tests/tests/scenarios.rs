//! What carriers and gateways do to a call beside the ordinary, by SIPp through the running binary:
//! forks, reliable ringing, answers that cross a CANCEL, glare, late offers, UPDATE, merged
//! requests.
#![allow(clippy::unwrap_used, missing_docs)]

use std::time::Duration;

use cheling_phone::{Dial, Side, Sound, Transport};
use cheling_tests::cheling::{Cheling, DID, GATEWAY_IP, incoming};
use cheling_tests::sipp::{Sipp, SippRun, alaw_tone, local};
use cheling_tests::within;

/// SIPp at the trunk's address.
fn trunk(cheling: &Cheling, scenario: &str, values: &[(&str, &str)]) -> Sipp {
    let run = SippRun {
        scenario,
        local: local(GATEWAY_IP.octets(), cheling.ports.port(6)),
        rtp_port: cheling.ports.port(20),
        remote: cheling.sip(),
        values,
        calls: 1,
        more: &[],
    };
    Sipp::start(&run, cheling.folder())
}

/// A phone calls out through a carrier that behaves like this, hangs up once it is answered, and
/// SIPp has seen what it wanted to see.
async fn calls_out(scenario: &str) {
    let cheling = Cheling::start().await;
    let (phone, _events) = cheling.phone("8001", Transport::Udp).await;
    let carrier = trunk(&cheling, scenario, &[]);
    carrier.listens().await;
    let call = phone.call(Dial::number("13912345678"), Sound::tone(600.0)).await.unwrap();
    within("the answer", call.answered()).await.unwrap();
    call.hang_up().await;
    carrier.succeeds().await;
    cheling.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_phones_behind_a_fork_the_one_that_answers_has_the_dialog() {
    calls_out("network_fork").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reliable_183_is_acknowledged() {
    calls_out("network_prack").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_crosses_the_cancel_is_hung_up() {
    let cheling = Cheling::start().await;
    let (phone, _events) = cheling.phone("8001", Transport::Udp).await;
    let carrier = trunk(&cheling, "network_cancel_race", &[]);
    carrier.listens().await;
    let call = phone.call(Dial::number("13912345678"), Sound::tone(600.0)).await.unwrap();
    within("ringing", call.rings()).await.unwrap();
    call.hang_up().await;
    assert_eq!(within("the end", call.ended()).await.status, Some(487));
    carrier.succeeds().await;
    cheling.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_offers_that_cross_the_later_gets_491() {
    let cheling = Cheling::start().await;
    let (phone, _events) = cheling.phone("8001", Transport::Udp).await;
    let mut desk = cheling.desk("agent8001").await;
    let carrier = trunk(&cheling, "network_glare", &[]);
    carrier.listens().await;
    let call = phone.call(Dial::number("13912345678"), Sound::tone(600.0)).await.unwrap();
    within("the answer", call.answered()).await.unwrap();
    desk.next_of("call.answered").await;
    call.hold().await;
    loop {
        if desk.next_of("call.updated").await.event["held"] == true {
            break;
        }
    }
    call.hang_up().await;
    carrier.succeeds().await;
}

/// A gateway calls in like this, our phone answers, and the gateway hangs up.
async fn calls_in(scenario: &str) {
    let cheling = Cheling::start().await;
    let (_phone, mut events) = cheling.phone("8001", Transport::Udp).await;
    let mut desk = cheling.desk("agent8001").await;
    let tone = alaw_tone(cheling.folder(), 500.0, 1);
    let values = [
        ("did", DID),
        ("caller", "13812345678"),
        ("tone", tone.to_str().unwrap()),
        ("talk_ms", "1500"),
    ];
    let gateway = trunk(&cheling, scenario, &values);
    let call = incoming(&mut events).await;
    call.answer(Sound::tone(600.0)).await;
    within("sound", call.hears(Duration::from_secs(1))).await.unwrap();
    assert_eq!(within("the end", call.ended()).await.by, Side::Them);
    gateway.succeeds().await;
    let ended = desk.next_of("call.ended").await;
    let row = cheling.recording_of(&desk, ended.call_id()).await;
    assert_eq!(row["verdict"], "ok", "{row}");
    cheling.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_without_an_offer_gets_ours() {
    calls_in("gateway_late_offer").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_holds_by_update() {
    calls_in("gateway_update").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_a_proxy_brings_twice_rings_once() {
    calls_in("gateway_merged").await;
}
