//! Calls through the running binary: who rings, who talks, what is recorded where.
#![allow(clippy::unwrap_used, missing_docs)]

use std::time::{Duration, Instant};

use cheling_phone::{
    Account, AnswerPlan, Call, Dial, Direction, Law, Phone, PhoneConfig, PhoneError, Side, Sound,
    Transport, dominant_frequency_hz,
};
use cheling_tests::cheling::{Cheling, DID, incoming, secret};
use cheling_tests::recording::{CUSTOMER, OUR_SIDE, Recording};
use cheling_tests::{eventually, within};
use sha2::{Digest, Sha256};

const CUSTOMER_HZ: f32 = 440.0;
const AGENT_HZ: f32 = 620.0;

/// Both ends hear the other's tone.
async fn talk(customer: &Call, agent: &Call, length: Duration) {
    within("the agent hears", agent.hears(length)).await.unwrap();
    within("the customer hears", customer.hears(Duration::from_millis(200))).await.unwrap();
    assert_eq!(dominant_frequency_hz(&agent.heard()), Some(CUSTOMER_HZ));
    assert_eq!(dominant_frequency_hz(&customer.heard()), Some(AGENT_HZ));
}

/// The row and the file agree, and a part of the file can be asked for.
async fn finished(cheling: &Cheling, desk: &cheling_tests::desk::Desk, call_id: &str) -> Recording {
    let row = cheling.recording_of(desk, call_id).await;
    let path = format!("/recordings/{}/audio", row["recording_id"].as_str().unwrap());
    let file = desk.get(&path).await;
    assert_eq!(file.status, 200);
    let hash: String = Sha256::digest(&file.body).iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(row["sha256"], hash);
    assert_eq!(row["verdict"], "ok", "{row}");
    let part = desk.get_range(&path, "bytes=44-1043").await;
    assert_eq!((part.status, part.body.as_slice()), (206, &file.body[44..1044]));
    let recording = Recording::read(&file.body);
    let said = row["duration_ms"].as_f64().unwrap() / 1000.0;
    assert!((said - recording.seconds()).abs() < 0.05, "{said} {}", recording.seconds());
    recording
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_inbound_call_is_heard_both_ways_and_recorded_customer_left() {
    let cheling = Cheling::start().await;
    let gateway = cheling.quiet_gateway().await;
    let mut desk = cheling.desk("agent8001").await;
    for transport in [Transport::Udp, Transport::Tcp] {
        let (phone, mut events) = cheling.phone("8001", transport).await;
        let customer = gateway.call_in("13812345678", DID, Sound::tone(CUSTOMER_HZ)).await.unwrap();
        let agent = incoming(&mut events).await;
        assert_eq!(agent.caller().user, "13812345678");
        within("ringing", customer.rings()).await.unwrap();
        let offered = desk.next_of("call.offered").await;
        agent.answer(Sound::tone(AGENT_HZ)).await;
        within("the answer", customer.answered()).await.unwrap();
        desk.next_of("call.answered").await;
        talk(&customer, &agent, Duration::from_secs(3)).await;
        customer.hang_up().await;
        assert_eq!(within("the end", agent.ended()).await.by, Side::Them);
        desk.next_of("call.ended").await;
        let ready = desk.next_of("recording.ready").await;
        assert_eq!(ready.call_id(), offered.call_id());

        let recording = finished(&cheling, &desk, offered.call_id()).await;
        let talked = agent.statistics().packets_received as f64 / 50.0;
        assert!((recording.seconds() - talked).abs() < 0.5, "{} {talked}", recording.seconds());
        recording.assert_tones(CUSTOMER_HZ, AGENT_HZ, recording.seconds() - 0.1);
        phone.stop().await;
    }
    cheling.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outbound_call_is_recorded_customer_left_too() {
    let cheling = Cheling::start().await;
    let gateway = cheling
        .gateway(|call: &Call| {
            assert_eq!(call.dialled(), "13900001111");
            AnswerPlan::Answer {
                after: Duration::from_millis(300),
                sound: Sound::tone(CUSTOMER_HZ),
                talk: None,
            }
        })
        .await;
    let mut desk = cheling.desk("agent8002").await;
    let (phone, _events) = cheling.phone("8002", Transport::Udp).await;
    let agent = phone.call(Dial::number("13900001111"), Sound::tone(AGENT_HZ)).await.unwrap();
    within("the answer", agent.answered()).await.unwrap();
    let offered = desk.next_of("call.offered").await;
    assert_eq!(offered.event["direction"], "outbound");
    within("sound", agent.hears(Duration::from_secs(2))).await.unwrap();
    assert_eq!(dominant_frequency_hz(&agent.heard()), Some(CUSTOMER_HZ));
    agent.hang_up().await;
    desk.next_of("call.ended").await;
    let recording = finished(&cheling, &desk, offered.call_id()).await;
    recording.assert_tones(CUSTOMER_HZ, AGENT_HZ, recording.seconds() - 0.1);
    gateway.stop().await;
    phone.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn phones_call_each_other_in_mu_law() {
    let cheling = Cheling::start().await;
    let account = Account::new("8001", secret("8001"));
    let config = PhoneConfig::registered(cheling.sip(), account).with_codecs(&[Law::Mu]);
    let (caller, _) = Phone::start(config).await.unwrap();
    within("registration", caller.register()).await.unwrap();
    let (called, mut events) = cheling.phone("8002", Transport::Udp).await;
    let out = caller.call(Dial::number("8002"), Sound::tone(CUSTOMER_HZ)).await.unwrap();
    let inward = incoming(&mut events).await;
    inward.answer(Sound::tone(AGENT_HZ)).await;
    talk(&out, &inward, Duration::from_secs(1)).await;
    inward.hang_up().await;
    assert_eq!(within("the end", out.ended()).await.by, Side::Them);
    caller.stop().await;
    called.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hold_is_silence_of_its_own_length_and_resume_goes_on() {
    let cheling = Cheling::start().await;
    let gateway = cheling.quiet_gateway().await;
    let mut desk = cheling.desk("agent8001").await;
    let (_phone, mut events) = cheling.phone("8001", Transport::Udp).await;
    let customer = gateway.call_in("13812345678", DID, Sound::tone(CUSTOMER_HZ)).await.unwrap();
    let agent = incoming(&mut events).await;
    let offered = desk.next_of("call.offered").await;
    agent.answer(Sound::tone(AGENT_HZ)).await;
    within("the answer", customer.answered()).await.unwrap();
    talk(&customer, &agent, Duration::from_secs(2)).await;

    let before = Instant::now();
    agent.hold().await;
    within("hold", agent.flows(Direction::SendOnly)).await.unwrap();
    within("hold at the gateway", customer.flows(Direction::RecvOnly)).await.unwrap();
    // Time passes in the call, told by what the customer hears on hold: two seconds of it.
    within("what is heard on hold", customer.hears(Duration::from_secs(2))).await.unwrap();
    agent.resume().await;
    within("resume at the gateway", customer.flows(Direction::SendRecv)).await.unwrap();
    agent.forget_heard();
    customer.forget_heard();
    talk(&customer, &agent, Duration::from_secs(2)).await;
    let held_at_most = before.elapsed().as_secs_f64() - 2.0;
    customer.hang_up().await;
    within("the end", agent.ended()).await;
    desk.next_of("call.ended").await;

    let recording = finished(&cheling, &desk, offered.call_id()).await;
    let held = recording.longest_silence(OUR_SIDE);
    assert!((1.8..held_at_most + 0.2).contains(&held), "{held} of at most {held_at_most} s");
    let talked = agent.statistics().packets_received as f64 / 50.0;
    assert!((recording.seconds() - talked - held).abs() < 0.8, "{}", recording.seconds());
    let said = recording.seconds_of_tone(OUR_SIDE, AGENT_HZ);
    assert!((recording.seconds() - said - held).abs() < 0.6, "{said} of {}", recording.seconds());
    assert!(recording.first_sound_at(CUSTOMER).unwrap() < 0.4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_at_the_same_time_keep_their_own_sound() {
    let cheling = Cheling::start().await;
    let gateway = cheling.quiet_gateway().await;
    let mut desk = cheling.desk("agent8001").await;
    let (_phone, mut events) = cheling.phone("8001", Transport::Udp).await;
    let tones = |n: usize| (400.0 + 100.0 * n as f32, 1500.0 + 100.0 * n as f32);
    let mut calls = Vec::new();
    for n in 0..6 {
        let (customer_hz, agent_hz) = tones(n);
        let caller = format!("1381234567{n}");
        // A trunk may call an extension as well as a line.
        let customer = gateway.call_in(&caller, "8001", Sound::tone(customer_hz)).await.unwrap();
        let agent = incoming(&mut events).await;
        agent.answer(Sound::tone(agent_hz)).await;
        within("the answer", customer.answered()).await.unwrap();
        let offered = desk.next_of("call.offered").await;
        calls.push((customer, agent, offered.call_id().to_owned()));
    }
    let (_, last, _) = calls.last().unwrap();
    within("talk", last.hears(Duration::from_secs(2))).await.unwrap();
    for (customer, agent, _) in &calls {
        customer.hang_up().await;
        within("the end", agent.ended()).await;
    }
    for (n, (customer, agent, call_id)) in calls.iter().enumerate() {
        let (customer_hz, agent_hz) = tones(n);
        assert_eq!(dominant_frequency_hz(&agent.heard()), Some(customer_hz));
        assert_eq!(dominant_frequency_hz(&customer.heard()), Some(agent_hz));
        let recording = finished(&cheling, &desk, call_id).await;
        recording.assert_tones(customer_hz, agent_hz, recording.seconds() - 0.1);
        for (lane, own) in [(CUSTOMER, customer_hz), (OUR_SIDE, agent_hz)] {
            for foreign in (0..6).flat_map(|n| [tones(n).0, tones(n).1]).filter(|hz| *hz != own) {
                let leaked = recording.seconds_of_tone(lane, foreign);
                assert!(leaked == 0.0, "call {n}, lane {lane}: {leaked} s of {foreign} Hz");
            }
        }
    }
    cheling.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ring_all_pops_at_both_desks_and_is_withdrawn_at_the_loser() {
    let cheling = Cheling::start().await;
    let gateway = cheling.quiet_gateway().await;
    let mut winner_desk = cheling.desk("agent8001").await;
    let mut loser_desk = cheling.desk("agent8002").await;
    let (_winner, mut winner_events) = cheling.phone("8001", Transport::Udp).await;
    let (_loser, mut loser_events) = cheling.phone("8002", Transport::Tcp).await;
    let customer = gateway.call_in("13812345678", DID, Sound::tone(CUSTOMER_HZ)).await.unwrap();
    let winner = incoming(&mut winner_events).await;
    let loser = incoming(&mut loser_events).await;
    let offered = winner_desk.next_of("call.offered").await;
    assert_eq!(loser_desk.next_of("call.offered").await.call_id(), offered.call_id());

    winner.answer(Sound::tone(AGENT_HZ)).await;
    let ending = within("the loser stops ringing", loser.ended()).await;
    assert_eq!((ending.by, ending.status), (Side::Them, Some(487)));
    let withdrawn = loser_desk.next_of("call.withdrawn").await;
    assert_eq!(withdrawn.call_id(), offered.call_id());
    assert!(withdrawn.event.to_string().contains("answered_elsewhere"), "{}", withdrawn.event);
    winner_desk.next_of("call.answered").await;
    talk(&customer, &winner, Duration::from_secs(1)).await;
    winner.hang_up().await;
    assert_eq!(within("the end", customer.ended()).await.by, Side::Them);
    assert!(!loser_desk.kinds_of(offered.call_id()).contains(&"call.answered".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_who_gives_up_is_withdrawn_everywhere_and_not_recorded() {
    let cheling = Cheling::start().await;
    let gateway = cheling.quiet_gateway().await;
    let mut desk = cheling.desk("agent8001").await;
    let (_phone, mut events) = cheling.phone("8001", Transport::Udp).await;
    let customer = gateway.call_in("13812345678", DID, Sound::Silence).await.unwrap();
    let agent = incoming(&mut events).await;
    within("ringing", customer.rings()).await.unwrap();
    let offered = desk.next_of("call.offered").await;
    customer.hang_up().await;
    assert_eq!(within("CANCEL at the phone", agent.ended()).await.status, Some(487));
    assert_eq!(within("487 at the gateway", customer.ended()).await.status, Some(487));
    let withdrawn = desk.next_of("call.withdrawn").await;
    assert!(withdrawn.event.to_string().contains("caller_hung_up"), "{}", withdrawn.event);
    let call = eventually("the call's end in its row", || async {
        let call = desk.get(&format!("/calls/{}", offered.call_id())).await.good();
        call["ended_at"].is_i64().then_some(call)
    })
    .await;
    assert_eq!(call["cause"], "cancelled");
    assert!(call["recording_id"].is_null());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn busy_and_no_answer_reach_the_caller_by_both_ways() {
    let cheling = Cheling::start().await;
    let add =
        ["line", "add", "58998001", "--name", "short", "--ring", "8001", "--ring-seconds", "5"];
    // The running service takes a new line without a restart.
    cheling.must(&add, "").await;
    let gateway = cheling
        .gateway(|call: &Call| cheling_phone::public_network_plan(call.dialled(), Duration::ZERO))
        .await;
    let (phone, mut events) = cheling.phone("8001", Transport::Udp).await;

    let customer = gateway.call_in("13812345678", DID, Sound::Silence).await.unwrap();
    incoming(&mut events).await.reject(486).await;
    let ending = within("busy at the gateway", customer.ended()).await;
    assert_eq!((ending.by, ending.status), (Side::Them, Some(486)));

    for (number, status) in [("13800000000", 486), ("13800000044", 404)] {
        let agent = phone.call(Dial::number(number), Sound::Silence).await.unwrap();
        let ending = within("the refusal", agent.ended()).await;
        assert_eq!((ending.by, ending.status), (Side::Them, Some(status)), "{number}");
    }

    let customer = eventually("the new line", || async {
        let customer = gateway.call_in("13812345678", "58998001", Sound::Silence).await.unwrap();
        customer.rings().await.is_ok().then_some(customer)
    })
    .await;
    let ringing = incoming(&mut events).await;
    let ending = within("nobody answers", customer.ended()).await;
    assert!(matches!(ending.status, Some(408 | 480)), "{ending:?}");
    assert_eq!(within("CANCEL at the phone", ringing.ended()).await.status, Some(487));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_wrong_passwords_and_wrong_numbers_are_refused() {
    let cheling = Cheling::start().await;
    let gateway = cheling.quiet_gateway().await;
    for (number, password) in [("8001", "wrong"), ("8999", "wrong")] {
        let config = PhoneConfig::registered(cheling.sip(), Account::new(number, password));
        let (phone, _) = Phone::start(config).await.unwrap();
        let result = within("the refusal", phone.register()).await;
        assert!(matches!(result, Err(PhoneError::Refused(401 | 403 | 404))), "{result:?}");
        let call = phone.call(Dial::number("13900001111"), Sound::Silence).await.unwrap();
        let ending = within("the refusal of a call", call.ended()).await;
        assert!(matches!(ending.status, Some(401 | 403 | 407)), "{ending:?}");
        phone.stop().await;
    }
    let status = |did: &'static str| {
        let gateway = &gateway;
        async move {
            let call = gateway.call_in("13812345678", did, Sound::Silence).await.unwrap();
            within("the refusal of a call", call.ended()).await.status
        }
    };
    assert_eq!(status("11112222").await, Some(404));
    // Nobody of the group is registered.
    assert_eq!(status(DID).await, Some(480));

    let (phone, _events) = cheling.phone("8001", Transport::Udp).await;
    let call = phone.call(Dial::number("8002"), Sound::Silence).await.unwrap();
    assert_eq!(within("an absent colleague", call.ended()).await.status, Some(480));
    within("unregistration", phone.unregister()).await.unwrap();
    assert_eq!(status(DID).await, Some(480));
}
