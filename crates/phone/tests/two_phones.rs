//! Two phones call each other over loopback, without a server between them.
#![allow(clippy::unwrap_used, missing_docs)]

use std::net::SocketAddr;
use std::time::Duration;

use cheling_phone::{
    AnswerPlan, Call, Dial, Direction, Event, Gateway, Law, Phone, PhoneConfig, PhoneError,
    Ringing, Side, Sound, Transport, attend, dominant_frequency_hz, public_network_plan,
};
use tokio::sync::mpsc;
use tokio::time::timeout;

const DEADLINE: Duration = Duration::from_secs(20);

async fn incoming(events: &mut mpsc::Receiver<Event>) -> Call {
    match timeout(DEADLINE, events.recv()).await.unwrap().unwrap() {
        Event::Incoming(call) => call,
        Event::RegistrationLost(status) => panic!("registration lost: {status:?}"),
    }
}

async fn pair(transport: Transport, codec: Law) -> (Phone, Phone, mpsc::Receiver<Event>) {
    let alice = PhoneConfig::standalone("alice").over(transport).with_codecs(&[codec]);
    let bob = PhoneConfig::standalone("bob").over(transport);
    let (alice, _) = Phone::start(alice).await.unwrap();
    let (bob, events) = Phone::start(bob).await.unwrap();
    (alice, bob, events)
}

fn uri(phone: &Phone, transport: Transport) -> String {
    let parameter = if transport == Transport::Tcp { ";transport=tcp" } else { "" };
    format!("sip:bob@{}{parameter}", phone.local())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_hears_the_tone_of_the_other_by_every_transport_and_codec() {
    for (transport, codec) in
        [(Transport::Udp, Law::A), (Transport::Udp, Law::Mu), (Transport::Tcp, Law::A)]
    {
        let (alice, bob, mut events) = pair(transport, codec).await;
        let dial = Dial::number(uri(&bob, transport)).from_caller("13812345678");
        let out = alice.call(dial, Sound::tone(440.0)).await.unwrap();
        let inward = incoming(&mut events).await;
        assert_eq!(inward.caller().user, "13812345678");
        assert_eq!(inward.dialled(), "bob");
        timeout(DEADLINE, out.rings()).await.unwrap().unwrap();
        inward.answer(Sound::tone(620.0)).await;
        timeout(DEADLINE, out.answered()).await.unwrap().unwrap();
        timeout(DEADLINE, out.hears(Duration::from_millis(400))).await.unwrap().unwrap();
        timeout(DEADLINE, inward.hears(Duration::from_millis(400))).await.unwrap().unwrap();
        assert_eq!(dominant_frequency_hz(&out.heard()), Some(620.0), "{transport:?} {codec:?}");
        assert_eq!(dominant_frequency_hz(&inward.heard()), Some(440.0), "{transport:?} {codec:?}");
        out.hang_up().await;
        assert_eq!(timeout(DEADLINE, inward.ended()).await.unwrap().by, Side::Them);
        assert_eq!(out.statistics().packets_lost, 0);
        alice.stop().await;
        bob.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hold_stops_the_sound_and_resume_brings_it_back() {
    let (alice, bob, mut events) = pair(Transport::Udp, Law::A).await;
    let out =
        alice.call(Dial::number(uri(&bob, Transport::Udp)), Sound::tone(440.0)).await.unwrap();
    let inward = incoming(&mut events).await;
    inward.answer(Sound::tone(620.0)).await;
    timeout(DEADLINE, inward.hears(Duration::from_millis(100))).await.unwrap().unwrap();

    out.hold().await;
    timeout(DEADLINE, inward.flows(Direction::RecvOnly)).await.unwrap().unwrap();
    timeout(DEADLINE, out.flows(Direction::SendOnly)).await.unwrap().unwrap();
    out.forget_heard();

    // Held by the other side at the same time: nothing flows.
    inward.hold().await;
    timeout(DEADLINE, inward.flows(Direction::Inactive)).await.unwrap().unwrap();

    inward.resume().await;
    timeout(DEADLINE, inward.flows(Direction::RecvOnly)).await.unwrap().unwrap();
    out.resume().await;
    timeout(DEADLINE, inward.flows(Direction::SendRecv)).await.unwrap().unwrap();
    timeout(DEADLINE, out.hears(Duration::from_millis(200))).await.unwrap().unwrap();
    assert_eq!(dominant_frequency_hz(&out.heard()), Some(620.0));
    inward.hang_up().await;
    assert_eq!(timeout(DEADLINE, out.ended()).await.unwrap().by, Side::Them);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_way_not_to_talk_is_told_to_both_ends() {
    let (alice, bob, mut events) = pair(Transport::Udp, Law::A).await;
    let to_bob = || Dial::number(uri(&bob, Transport::Udp));

    let out = alice.call(to_bob(), Sound::Silence).await.unwrap();
    incoming(&mut events).await.reject(486).await;
    let ending = timeout(DEADLINE, out.ended()).await.unwrap();
    assert_eq!((ending.by, ending.status), (Side::Them, Some(486)));

    let out = alice.call(to_bob(), Sound::Silence).await.unwrap();
    let inward = incoming(&mut events).await;
    out.hang_up().await;
    let ending = timeout(DEADLINE, inward.ended()).await.unwrap();
    assert_eq!((ending.by, ending.status), (Side::Them, Some(487)));
    let ending = timeout(DEADLINE, out.ended()).await.unwrap();
    assert_eq!((ending.by, ending.status), (Side::Us, Some(487)));

    let error = alice.call(Dial::number("sip:bob@nowhere.invalid"), Sound::Silence).await;
    assert!(matches!(error, Err(PhoneError::BadTarget(_))));
    bob.stop().await;
    alice.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancel_before_the_first_answer_waits_for_it() {
    let (alice, _) = Phone::start(PhoneConfig::standalone("alice")).await.unwrap();
    let silent = PhoneConfig { ringing: Ringing::ByHand, ..PhoneConfig::standalone("bob") };
    let (bob, mut events) = Phone::start(silent).await.unwrap();
    let out = alice.call(Dial::number(uri(&bob, Transport::Udp)), Sound::Silence).await.unwrap();
    out.hang_up().await;
    let inward = incoming(&mut events).await;
    assert_eq!(timeout(DEADLINE, inward.ended()).await.unwrap().status, Some(487));
    assert_eq!(timeout(DEADLINE, out.ended()).await.unwrap().status, Some(487));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopping_a_phone_hangs_up_its_calls() {
    let (alice, bob, mut events) = pair(Transport::Tcp, Law::A).await;
    let out = alice.call(Dial::number(uri(&bob, Transport::Tcp)), Sound::Silence).await.unwrap();
    let inward = incoming(&mut events).await;
    inward.answer(Sound::Silence).await;
    timeout(DEADLINE, out.answered()).await.unwrap().unwrap();
    timeout(DEADLINE, alice.stop()).await.unwrap();
    assert_eq!(timeout(DEADLINE, inward.ended()).await.unwrap().by, Side::Them);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_answers_by_the_number_that_is_dialled() {
    let loopback: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let gateway = Gateway::start(loopback, loopback, |call| {
        public_network_plan(call.dialled(), Duration::ZERO)
    })
    .await
    .unwrap();
    let (agent, _) = Phone::start(PhoneConfig::standalone("8001")).await.unwrap();
    let dial = |number: &str| Dial::number(format!("sip:{number}@{}", gateway.local()));

    let answered = agent.call(dial("13812345678"), Sound::Silence).await.unwrap();
    timeout(DEADLINE, answered.answered()).await.unwrap().unwrap();
    for (number, status) in [("13800000000", 486), ("13800000044", 404)] {
        let call = agent.call(dial(number), Sound::Silence).await.unwrap();
        assert_eq!(timeout(DEADLINE, call.ended()).await.unwrap().status, Some(status));
    }
    let unanswered = agent.call(dial("13800000099"), Sound::Silence).await.unwrap();
    timeout(DEADLINE, unanswered.rings()).await.unwrap().unwrap();
    timeout(DEADLINE, gateway.stop()).await.unwrap();
    assert_eq!(timeout(DEADLINE, unanswered.ended()).await.unwrap().status, Some(480));
    assert_eq!(timeout(DEADLINE, answered.ended()).await.unwrap().by, Side::Them);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attendant_hangs_up_when_it_has_talked_enough() {
    let (alice, bob, events) = pair(Transport::Udp, Law::A).await;
    let stop = tokio_util::sync::CancellationToken::new();
    let plan = |_: &Call| AnswerPlan::Answer {
        after: Duration::from_millis(50),
        sound: Sound::tone(500.0),
        talk: Some(Duration::from_millis(200)),
    };
    let attendant = tokio::spawn(attend(events, plan, stop.clone()));
    let out = alice.call(Dial::number(uri(&bob, Transport::Udp)), Sound::Silence).await.unwrap();
    let ending = timeout(DEADLINE, out.ended()).await.unwrap();
    assert_eq!((ending.by, ending.status), (Side::Them, None));
    assert!(out.statistics().packets_received >= 5);
    stop.cancel();
    timeout(DEADLINE, attendant).await.unwrap().unwrap();
}
