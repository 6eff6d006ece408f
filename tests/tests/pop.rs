//! Who is calling: the card at the agent's desk, and what becomes of the call there.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

use std::time::{Duration, Instant};

use cheling_phone::{AnswerPlan, Call, Dial, Phone, Sound, Transport};
use cheling_tests::cheling::{Cheling, DID, incoming};
use cheling_tests::desk::Desk;
use cheling_tests::{eventually, within};
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_of_caller_pops_before_the_phone_is_answered() {
    let cheling = Cheling::start().await;
    cheling.customers(&[("王建国", "138 1234 5678"), ("李梅", "021-6123 4567")]).await;
    let gateway = cheling.quiet_gateway().await;
    let mut desk = cheling.desk("agent8001").await;
    let (_phone, mut events) = cheling.phone("8001", Transport::Udp).await;
    for (dial, kind, name) in [
        (Dial::number(DID).from_caller("13812345678"), "known", "王建国"),
        (Dial::number(DID).from_caller("013812345678"), "known", "王建国"),
        (Dial::number(DID).from_caller("+8613812345678"), "known", "王建国"),
        (Dial::number(DID).from_caller("61234567"), "known", "李梅"),
        (Dial::number(DID).from_caller("gateway").asserting("13812345678"), "known", "王建国"),
        (Dial::number(DID).from_caller("13900001111"), "unknown", ""),
        (Dial::number(DID).withheld(), "withheld", ""),
    ] {
        let number = dial.caller.clone();
        let customer = gateway.call(dial, Sound::Silence).await.unwrap();
        let ringing = incoming(&mut events).await;
        let offered = desk.next_of("call.offered").await;
        let card = &offered.event["card"];
        assert_eq!(card["kind"], kind, "{number:?}: {card}");
        let shown = card["customer"]["name"].as_str().unwrap_or_default();
        assert_eq!(shown, name, "{number:?}");
        customer.hang_up().await;
        within("the end", ringing.ended()).await;
        desk.next_of("call.withdrawn").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_card_is_there_a_blink_after_the_invite() {
    let cheling = Cheling::start().await;
    let rows: Vec<(String, String)> =
        (0..2000).map(|n| (format!("客户{n}"), format!("1380000{n:04}"))).collect();
    let rows: Vec<(&str, &str)> = rows.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
    cheling.customers(&rows).await;
    let gateway = cheling.quiet_gateway().await;
    let mut desk = cheling.desk("agent8001").await;
    let (_phone, mut events) = cheling.phone("8001", Transport::Udp).await;
    let mut took = Vec::new();
    for n in 0..20 {
        let caller = format!("1380000{:04}", n * 97);
        let start = Instant::now();
        let customer = gateway.call_in(&caller, DID, Sound::Silence).await.unwrap();
        let offered = desk.next_of("call.offered").await;
        took.push(offered.at - start);
        assert_eq!(offered.event["card"]["kind"], "known");
        let ringing = incoming(&mut events).await;
        customer.hang_up().await;
        within("the end", ringing.ended()).await;
    }
    took.sort();
    println!(
        "INVITE to WebSocket: median {:?}, slowest {:?} of {}",
        took[10],
        took[19],
        took.len()
    );
    // A development build on a busy machine; the benchmarks measure the real thing.
    assert!(took[10] < Duration::from_millis(200), "{took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_connection_resumes_with_nothing_missed_or_doubled() {
    let cheling = Cheling::start().await;
    let gateway = cheling.quiet_gateway().await;
    let mut desk = cheling.desk("agent8001").await;
    let (_phone, mut events) = cheling.phone("8001", Transport::Udp).await;
    let mut ring_once = async |caller: &str| {
        let customer = gateway.call_in(caller, DID, Sound::Silence).await.unwrap();
        let ringing = incoming(&mut events).await;
        customer.hang_up().await;
        within("the end", ringing.ended()).await;
    };
    ring_once("13800000001").await;
    desk.next_of("call.withdrawn").await;
    desk.disconnect();
    ring_once("13800000002").await;
    ring_once("13800000003").await;
    desk.reconnect().await;
    ring_once("13800000004").await;
    let mut numbers = Vec::new();
    for _ in 0..3 {
        let offered = desk.next_of("call.offered").await;
        numbers.push(offered.event["card"]["number"].as_str().unwrap().to_owned());
        desk.next_of("call.withdrawn").await;
    }
    assert_eq!(numbers, ["13800000002", "13800000003", "13800000004"]);
    let mut sequence: Vec<u64> =
        desk.seen.iter().filter_map(|seen| seen.event["seq"].as_u64()).collect();
    let all = sequence.len();
    sequence.dedup();
    assert!(sequence.is_sorted() && sequence.len() == all, "{sequence:?}");
}

/// A customer and an open task of this agent for him; returns the task's id.
async fn task_for(desk: &Desk, number: &str) -> String {
    let found = desk.get(&format!("/lookup?number={number}")).await.good();
    let customer_id = found["customer"]["customer_id"].as_str().expect("known").to_owned();
    let draft = json!({
        "type": "delivery_3dc", "due_on": "2026-11-22", "subject": "三日回访",
        "customer_id": customer_id,
    });
    let task = desk.post("/follow-ups", &draft).await.good();
    task["follow_up_id"].as_str().unwrap().to_owned()
}

fn answers(_: &Call) -> AnswerPlan {
    let after = Duration::from_millis(200);
    AnswerPlan::Answer { after, sound: Sound::tone(440.0), talk: None }
}

/// Dials by hand, talks for a second; returns the call's id.
async fn dial_by_hand(phone: &Phone, desk: &mut Desk, number: &str) -> String {
    let agent = phone.call(Dial::number(number), Sound::tone(620.0)).await.unwrap();
    within("the answer", agent.answered()).await.unwrap();
    within("talk", agent.hears(Duration::from_millis(1200))).await.unwrap();
    agent.hang_up().await;
    let call_id = desk.next_of("call.ended").await.call_id().to_owned();
    // It is said to be ready when it has been attached, or cannot be.
    assert_eq!(desk.next_of("recording.ready").await.call_id(), call_id);
    call_id
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hand_dialled_call_belongs_to_the_only_open_task_and_two_are_left_to_a_person() {
    let cheling = Cheling::start().await;
    cheling.customers(&[("王建国", "13812345678"), ("李梅", "13912345678")]).await;
    let _gateway = cheling.gateway(answers).await;
    let mut desk = cheling.desk("agent8001").await;
    let (phone, _events) = cheling.phone("8001", Transport::Udp).await;
    let task_id = task_for(&desk, "13812345678").await;
    let call_id = dial_by_hand(&phone, &mut desk, "13812345678").await;
    let row = cheling.recording_of(&desk, &call_id).await;
    assert_eq!(row["attach_method"], "inferred", "{row}");
    assert_eq!(row["call"]["follow_up_id"], task_id.as_str());

    task_for(&desk, "13912345678").await;
    task_for(&desk, "13912345678").await;
    let call_id = dial_by_hand(&phone, &mut desk, "13912345678").await;
    let row = cheling.recording_of(&desk, &call_id).await;
    assert_eq!(row["attach_method"], "", "{row}");
    let page = desk.get("/recordings?attached=false").await.good();
    let waiting: Vec<&str> = page["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|r| r["call"]["call_id"].as_str())
        .collect();
    assert_eq!(waiting, [call_id.as_str()]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_is_dialled_by_a_click_and_its_recording_belongs_to_it() {
    let cheling = Cheling::start().await;
    cheling.customers(&[("王建国", "13812345678")]).await;
    let _gateway = cheling
        .gateway(|call: &Call| {
            assert_eq!(call.dialled(), "13812345678");
            AnswerPlan::Answer {
                after: Duration::from_millis(200),
                sound: Sound::tone(440.0),
                talk: None,
            }
        })
        .await;
    let mut desk = cheling.desk("agent8001").await;
    let (_phone, mut events) = cheling.phone("8001", Transport::Udp).await;
    let task_id = task_for(&desk, "13812345678").await;
    let dial = json!({ "number": "13812345678", "follow_up_id": task_id });
    let first = desk.post_once("/calls", "click-1", &dial).await.good();
    let agent = incoming(&mut events).await;
    let again = desk.post_once("/calls", "click-1", &dial).await.good();
    assert_eq!(first["call_id"], again["call_id"]);
    let call_id = first["call_id"].as_str().unwrap().to_owned();
    agent.answer(Sound::tone(620.0)).await;
    within("the customer's voice", agent.hears(Duration::from_secs(2))).await.unwrap();
    agent.hang_up().await;
    desk.next_of("call.ended").await;
    desk.next_of("recording.ready").await;

    let row = cheling.recording_of(&desk, &call_id).await;
    assert_eq!(row["attach_method"], "click_to_dial", "{row}");
    assert_eq!(row["call"]["follow_up_id"], task_id.as_str());
    let wrap = json!({ "outcome": "completed", "note": "客户很满意" });
    desk.put(&format!("/calls/{call_id}/wrap-up"), &wrap).await.good();
    eventually("the closed task", || async {
        let task = desk.get(&format!("/follow-ups/{task_id}")).await.good();
        (task["state"] == "done").then_some(())
    })
    .await;
}
