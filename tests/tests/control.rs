//! Calls under control through the real binary: a third joins, a supervisor listens, a call is
//! handed on from the desk. Who hears whom, and what is on which lane.
#![allow(clippy::unwrap_used, missing_docs)]

use std::time::Duration;

use cheling_phone::{Call, Dial, Gateway, Sound, Transport, level_dbfs, render, tone_share};
use cheling_tests::cheling::{Cheling, DID, incoming, secret};
use cheling_tests::desk::Desk;
use cheling_tests::recording::{CUSTOMER, OUR_SIDE, Recording};
use cheling_tests::{eventually, within};
use serde_json::{Value, json};

const CUSTOMER_HZ: f32 = 440.0;
const AGENT_HZ: f32 = 620.0;
const THIRD_HZ: f32 = 1000.0;

/// Waits until the last half second that `who` heard has each of these tones and no other's.
async fn hears(who: &str, call: &Call, present: &[f32]) {
    let all = [CUSTOMER_HZ, AGENT_HZ, THIRD_HZ];
    eventually(&format!("{who} hears {present:?}"), || async {
        let heard = call.heard();
        let tail = heard.len().checked_sub(4000).map(|from| &heard[from..])?;
        let fits = all.iter().all(|hz| {
            let share = tone_share(tail, *hz);
            if present.contains(hz) { share > 0.3 } else { share < 0.03 }
        });
        (fits && level_dbfs(tail) > -40.0).then_some(())
    })
    .await;
}

/// A customer talks with the agent of 8001.
struct Talk {
    cheling: Cheling,
    _gateway: Gateway,
    phone: cheling_phone::Phone,
    desk: Desk,
    call_id: String,
    customer: Call,
    agent: Call,
}

impl Talk {
    async fn begin(cheling: Cheling) -> Self {
        let gateway = cheling.quiet_gateway().await;
        let mut desk = cheling.desk("agent8001").await;
        let (phone, mut events) = cheling.phone("8001", Transport::Udp).await;
        let customer = gateway.call_in("13812345678", DID, Sound::tone(CUSTOMER_HZ)).await.unwrap();
        let agent = incoming(&mut events).await;
        agent.answer(Sound::tone(AGENT_HZ)).await;
        within("the answer", customer.answered()).await.unwrap();
        let call_id = desk.next_of("call.answered").await.call_id().to_owned();
        hears("the agent", &agent, &[CUSTOMER_HZ]).await;
        hears("the customer", &customer, &[AGENT_HZ]).await;
        Self { cheling, _gateway: gateway, phone, desk, call_id, customer, agent }
    }

    fn path(&self, what: &str) -> String {
        format!("/calls/{}/{what}", self.call_id)
    }

    /// How long the two have talked, by what the agent heard.
    fn seconds(&self) -> f64 {
        self.agent.statistics().packets_received as f64 / 50.0
    }

    async fn recording(&self) -> Recording {
        self.recording_of(&self.call_id).await
    }

    async fn recording_of(&self, call_id: &str) -> Recording {
        let boss = self.cheling.desk("boss").await;
        let row = self.cheling.recording_of(&boss, call_id).await;
        assert_eq!(row["verdict"], "ok", "{row}");
        let path = format!("/recordings/{}/audio", row["recording_id"].as_str().unwrap());
        Recording::read(&boss.get(&path).await.body)
    }
}

/// Where a lane first carries this tone beside others, in seconds; and how long in all.
fn third_on(recording: &Recording, lane: usize) -> (Option<f64>, f64) {
    let has = |pcm: &[i16]| level_dbfs(pcm) > -40.0 && tone_share(pcm, THIRD_HZ) > 0.2;
    let mut windows = recording.lanes[lane].chunks_exact(400).map(has);
    let first = windows.position(|it| it);
    let count = usize::from(first.is_some()) + windows.filter(|it| *it).count();
    (first.map(|at| at as f64 / 20.0), count as f64 / 20.0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_supervisor_listens_whispers_and_barges_in() {
    let mut cheling = Cheling::start().await;
    cheling.stop().await;
    cheling.must(&["extension", "add", "8009", "--password-stdin"], &secret("8009")).await;
    let chief =
        ["user", "add", "chief", "--role", "supervisor", "--extension", "8009", "--password-stdin"];
    cheling.must(&chief, &secret("chief")).await;
    cheling.run().await;
    let talk = Talk::begin(cheling).await;
    let chief = talk.cheling.desk("chief").await;
    let (_phone, mut events) = talk.cheling.phone("8009", Transport::Udp).await;
    let monitor = |role: &str| {
        let (path, role) = (talk.path("monitor"), json!({ "role": role }));
        let chief = &chief;
        async move { assert_eq!(chief.put(&path, &role).await.status, 202) }
    };

    let refused = talk.desk.put(&talk.path("monitor"), &json!({ "role": "listen" })).await;
    assert_eq!(refused.status, 403, "an agent may not");
    monitor("listen").await;
    let ear = incoming(&mut events).await;
    ear.answer(Sound::tone(THIRD_HZ)).await;
    hears("the supervisor", &ear, &[CUSTOMER_HZ, AGENT_HZ]).await;
    hears("the agent", &talk.agent, &[CUSTOMER_HZ]).await;
    hears("the customer", &talk.customer, &[AGENT_HZ]).await;

    monitor("whisper").await;
    hears("the agent", &talk.agent, &[CUSTOMER_HZ, THIRD_HZ]).await;
    hears("the customer", &talk.customer, &[AGENT_HZ]).await;
    talk.customer.forget_heard();
    within("the whisper", talk.customer.hears(Duration::from_millis(1500))).await.unwrap();
    let heard = talk.customer.heard();
    assert!(heard.chunks_exact(400).all(|pcm| tone_share(pcm, THIRD_HZ) < 0.03));

    let barged_at = talk.seconds();
    monitor("barge").await;
    hears("the customer", &talk.customer, &[AGENT_HZ, THIRD_HZ]).await;
    hears("the agent", &talk.agent, &[CUSTOMER_HZ, THIRD_HZ]).await;
    within("talk", talk.agent.hears(Duration::from_secs(2))).await.unwrap();
    talk.customer.hang_up().await;
    within("the end for the supervisor", ear.ended()).await;

    let recording = talk.recording().await;
    assert_eq!(third_on(&recording, CUSTOMER), (None, 0.0), "never on the customer's lane");
    let (first, seconds) = third_on(&recording, OUR_SIDE);
    assert!(first.unwrap() > barged_at - 0.6, "a whisper is not recorded: {first:?} {barged_at}");
    assert!(seconds > 1.0, "{seconds}");
    talk.cheling.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_third_joins_and_leaves_and_all_hear_all_meanwhile() {
    let talk = Talk::begin(Cheling::start().await).await;
    let (_phone, mut events) = talk.cheling.phone("8002", Transport::Udp).await;
    let invited = talk.desk.post(&talk.path("guests"), &json!({ "number": "8002" })).await;
    assert_eq!(invited.status, 202);
    let third = incoming(&mut events).await;
    third.answer(Sound::tone(THIRD_HZ)).await;
    hears("the third", &third, &[CUSTOMER_HZ, AGENT_HZ]).await;
    hears("the agent", &talk.agent, &[CUSTOMER_HZ, THIRD_HZ]).await;
    hears("the customer", &talk.customer, &[AGENT_HZ, THIRD_HZ]).await;
    within("talk", talk.agent.hears(Duration::from_secs(2))).await.unwrap();

    let dismissed = talk.desk.ask("DELETE", &talk.path("guests?guest=1"), &[], None).await;
    assert_eq!(dismissed.status, 202);
    within("the end for the third", third.ended()).await;
    hears("the agent", &talk.agent, &[CUSTOMER_HZ]).await;
    hears("the customer", &talk.customer, &[AGENT_HZ]).await;
    talk.customer.hang_up().await;

    let recording = talk.recording().await;
    assert_eq!(third_on(&recording, CUSTOMER), (None, 0.0));
    assert!(third_on(&recording, OUR_SIDE).1 > 1.0, "a colleague is on our lane");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consulted_colleague_takes_the_call_over() {
    let talk = Talk::begin(Cheling::start().await).await;
    let (_phone, mut events) = talk.cheling.phone("8002", Transport::Udp).await;
    let consult = talk.desk.post(&talk.path("consult"), &json!({ "number": "8002" })).await;
    assert_eq!(consult.status, 202);
    let colleague = incoming(&mut events).await;
    colleague.answer(Sound::tone(THIRD_HZ)).await;
    hears("the agent", &talk.agent, &[THIRD_HZ]).await;
    hears("the colleague", &colleague, &[AGENT_HZ]).await;
    talk.customer.forget_heard();

    let completed = talk.desk.put(&talk.path("consult"), &Value::Null).await;
    assert_eq!(completed.status, 202);
    hears("the customer", &talk.customer, &[THIRD_HZ]).await;
    hears("the colleague", &colleague, &[CUSTOMER_HZ]).await;
    within("the end for the agent", talk.agent.ended()).await;
    within("talk", colleague.hears(Duration::from_secs(1))).await.unwrap();
    talk.customer.hang_up().await;
    within("the end", colleague.ended()).await;

    let recording = talk.recording().await;
    assert!(recording.seconds_of_tone(CUSTOMER, CUSTOMER_HZ) > 1.0);
    assert_eq!(recording.seconds_of_tone(CUSTOMER, THIRD_HZ), 0.0);
    assert!(recording.seconds_of_tone(OUR_SIDE, THIRD_HZ) > 0.5, "the colleague took over");
    talk.cheling.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consulted_colleague_is_joined_and_keeps_the_customer_when_the_agent_leaves() {
    let talk = Talk::begin(Cheling::start().await).await;
    let mut second = talk.cheling.desk("agent8002").await;
    let (_phone, mut events) = talk.cheling.phone("8002", Transport::Udp).await;
    let consult = talk.desk.post(&talk.path("consult"), &json!({ "number": "8002" })).await;
    assert_eq!(consult.status, 202);
    let consult_id = consult.json()["call_id"].as_str().unwrap().to_owned();
    let colleague = incoming(&mut events).await;
    let early = talk.desk.put(&talk.path("consult/join"), &Value::Null).await;
    assert_eq!(early.status, 409, "nobody has answered yet");
    colleague.answer(Sound::tone(THIRD_HZ)).await;
    hears("the agent", &talk.agent, &[THIRD_HZ]).await;
    hears("the colleague", &colleague, &[AGENT_HZ]).await;
    talk.customer.forget_heard();
    within("talk", colleague.hears(Duration::from_secs(2))).await.unwrap();
    let heard = talk.customer.heard();
    assert!(
        heard
            .chunks_exact(400)
            .all(|pcm| level_dbfs(pcm) < -40.0 || tone_share(pcm, THIRD_HZ) < 0.2)
    );

    let joined = talk.desk.put(&format!("/calls/{consult_id}/consult/join"), &Value::Null).await;
    assert_eq!(joined.status, 202, "of either call");
    hears("the customer", &talk.customer, &[AGENT_HZ, THIRD_HZ]).await;
    hears("the agent", &talk.agent, &[CUSTOMER_HZ, THIRD_HZ]).await;
    hears("the colleague", &colleague, &[CUSTOMER_HZ, AGENT_HZ]).await;
    // The colleague's console has the customer's card now.
    loop {
        let offered = second.next_of("call.offered").await;
        if offered.call_id() == talk.call_id {
            assert_ne!(offered.event["card"]["kind"], "internal", "{:?}", offered.event);
            break;
        }
    }
    within("talk", talk.agent.hears(Duration::from_secs(2))).await.unwrap();
    let left_at = talk.seconds();

    talk.agent.hang_up().await;
    hears("the customer", &talk.customer, &[THIRD_HZ]).await;
    hears("the colleague", &colleague, &[CUSTOMER_HZ]).await;
    within("talk", colleague.hears(Duration::from_secs(2))).await.unwrap();
    talk.customer.hang_up().await;
    within("the end", colleague.ended()).await;

    let recording = talk.recording().await;
    assert_eq!(third_on(&recording, CUSTOMER), (None, 0.0), "never on the customer's lane");
    assert_eq!(recording.seconds_of_tone(CUSTOMER, AGENT_HZ), 0.0);
    let (first, seconds) = third_on(&recording, OUR_SIDE);
    assert!(first.unwrap() > 3.0, "nothing of the consultation: {first:?}");
    assert!(seconds > 3.5, "as third and in the agent's place: {seconds}");
    assert!(recording.seconds_of_tone(OUR_SIDE, THIRD_HZ) > 1.5, "alone once the agent is gone");
    assert!(recording.seconds() > left_at + 1.0);

    let second = talk.recording_of(&consult_id).await;
    for lane in [CUSTOMER, OUR_SIDE] {
        assert_eq!(second.seconds_of_tone(lane, CUSTOMER_HZ), 0.0, "the customer is elsewhere");
    }
    assert!(second.seconds_of_tone(CUSTOMER, AGENT_HZ) > 1.0, "who asked");
    assert!(second.seconds_of_tone(OUR_SIDE, THIRD_HZ) > 1.0, "who was asked");
    talk.cheling.check().await;
}

/// Two tones at once, as a phone mixes two people for a third.
fn both(one: f32, two: f32) -> Sound {
    let mut sum = vec![0_i16; 8000];
    let mut other = vec![0_i16; 8000];
    render(&Sound::tone(one), &mut sum);
    render(&Sound::tone(two), &mut other);
    for (sum, other) in sum.iter_mut().zip(&other) {
        *sum = (*sum / 2).saturating_add(*other / 2);
    }
    Sound::looped(sum)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conference_that_a_phone_makes_of_its_two_lines_has_each_voice_on_its_lane() {
    let mut talk = Talk::begin(Cheling::start().await).await;
    let (_second, mut events) = talk.cheling.phone("8002", Transport::Udp).await;
    within("talk", talk.agent.hears(Duration::from_secs(1))).await.unwrap();
    talk.agent.hold().await;
    let asked = talk.phone.call(Dial::number("8002"), Sound::tone(AGENT_HZ)).await.unwrap();
    let colleague = incoming(&mut events).await;
    colleague.answer(Sound::tone(THIRD_HZ)).await;
    within("the answer", asked.answered()).await.unwrap();
    let asked_id = talk.desk.next_of("call.answered").await.call_id().to_owned();
    hears("the colleague", &colleague, &[AGENT_HZ]).await;

    // The phone takes the first line up again and mixes.
    talk.agent.resume().await;
    talk.agent.play(both(AGENT_HZ, THIRD_HZ));
    asked.play(both(AGENT_HZ, CUSTOMER_HZ));
    hears("the customer", &talk.customer, &[AGENT_HZ, THIRD_HZ]).await;
    hears("the colleague", &colleague, &[AGENT_HZ, CUSTOMER_HZ]).await;
    within("talk", colleague.hears(Duration::from_secs(2))).await.unwrap();
    talk.customer.hang_up().await;
    within("the customer's end", talk.agent.ended()).await;
    asked.hang_up().await;
    within("the end", colleague.ended()).await;

    let recording = talk.recording().await;
    assert!(recording.seconds_of_tone(CUSTOMER, CUSTOMER_HZ) > 1.5);
    assert_eq!(third_on(&recording, CUSTOMER), (None, 0.0));
    assert!(third_on(&recording, OUR_SIDE).1 > 1.0, "what the phone mixed is our side");
    let asked = talk.recording_of(&asked_id).await;
    assert_eq!(asked.seconds_of_tone(OUR_SIDE, CUSTOMER_HZ), 0.0);
    assert!(asked.seconds_of_tone(OUR_SIDE, THIRD_HZ) > 1.0, "who was asked");
    talk.cheling.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_customer_on_hold_hears_a_tone_that_is_in_no_recording() {
    const HELD_HZ: f32 = 425.0;
    let talk = Talk::begin(Cheling::start().await).await;
    let has = |call: &Call, hz: f32| {
        let heard = call.heard();
        let loud = |pcm: &[i16]| level_dbfs(pcm) > -30.0 && tone_share(pcm, hz) > 0.8;
        heard.chunks_exact(400).any(loud)
    };
    // By order of the console, and by the phone, which falls silent.
    for by_phone in [false, true] {
        match by_phone {
            false => assert_eq!(talk.desk.put(&talk.path("hold"), &Value::Null).await.status, 202),
            true => {
                talk.agent.play(Sound::Nothing);
                talk.agent.hold().await;
            }
        }
        talk.customer.forget_heard();
        eventually("the tone", || async { has(&talk.customer, HELD_HZ).then_some(()) }).await;
        match by_phone {
            false => {
                let path = talk.path("hold");
                assert_eq!(talk.desk.ask("DELETE", &path, &[], None).await.status, 202);
            }
            true => {
                talk.agent.resume().await;
                talk.agent.play(Sound::tone(AGENT_HZ));
            }
        }
        hears("the customer", &talk.customer, &[AGENT_HZ]).await;
    }
    talk.customer.hang_up().await;
    within("the end", talk.agent.ended()).await;

    let recording = talk.recording().await;
    for lane in [CUSTOMER, OUR_SIDE] {
        assert_eq!(recording.seconds_of_tone(lane, HELD_HZ), 0.0, "nobody has said it");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_handed_on_from_the_desk_leaves_the_agent_when_the_other_answers() {
    let talk = Talk::begin(Cheling::start().await).await;
    let (_phone, mut events) = talk.cheling.phone("8002", Transport::Udp).await;
    let handed = talk.desk.post(&talk.path("transfer"), &json!({ "number": "8002" })).await;
    assert_eq!(handed.status, 202);
    let colleague = incoming(&mut events).await;
    colleague.answer(Sound::tone(THIRD_HZ)).await;
    hears("the customer", &talk.customer, &[THIRD_HZ]).await;
    hears("the colleague", &colleague, &[CUSTOMER_HZ]).await;
    within("the end for the agent", talk.agent.ended()).await;
    talk.customer.hang_up().await;
    within("the end", colleague.ended()).await;
}
