//! What is watched and done while a call runs: pauses, alarms, the calls of others.

use crate::house::{House, house, now};
use cheling_lookup::desk::Silence;
use cheling_model::call::PausedBy;
use cheling_model::{CallId, Lane, TapKind, Timestamp};
use cheling_records::admin;
use cheling_web::{CallRefusal, Pausing};
use serde_json::{Value, json};
use std::time::Duration;

async fn post(house: &House, cookie: &str, call: CallId, what: &str) -> u16 {
    house.call("POST", cookie, &format!("/calls/{call}/{what}"), Value::Null).await.status
}

async fn live(house: &House, cookie: &str) -> Value {
    house.get(cookie, "/calls/live").await.json()["calls"][0].clone()
}

async fn audited(house: &House, action: &str) -> Vec<(bool, String)> {
    let page = admin::audit_log(&house.db, house.dealership, None, 200).await.unwrap();
    let lines = page.items.into_iter().filter(|line| line.action == action);
    lines.map(|line| (line.user_id.is_some(), line.reason)).collect()
}

#[tokio::test]
async fn a_party_and_who_oversees_pause_and_nobody_else() {
    let house = house().await;
    let call = house.inbound(house.dealership, "13812345678", "8001").await;
    for (name, want) in [("a1", 204), ("boss", 204), ("admin", 204), ("a2", 404), ("qa", 403)] {
        let cookie = house.sign_in(name).await;
        assert_eq!(post(&house, &cookie, call, "pause").await, want, "{name}");
        assert_eq!(post(&house, &cookie, call, "resume").await, want, "{name}");
    }
    let other = house.sign_in("b1").await;
    assert_eq!(post(&house, &other, call, "pause").await, 404);
    let asked = house.switch.paused.lock().unwrap().clone();
    assert_eq!(asked, [(call, Pausing::Pause), (call, Pausing::Resume)].repeat(3));
    let cookie = house.sign_in("a1").await;
    *house.switch.refuses.lock().unwrap() = Some(CallRefusal::NotAnswered);
    let path = format!("/calls/{call}/pause");
    let refused = house.call("POST", &cookie, &path, Value::Null).await;
    assert_eq!((refused.status, refused.code().as_str()), (409, "not_answered"));
    assert_eq!(audited(&house, "call.pause").await, vec![(true, String::new()); 3]);
    house.close().await;
}

#[tokio::test]
async fn a_pause_is_seen_by_who_talks_and_always_audited() {
    let house = house().await;
    let call = house.inbound(house.dealership, "13812345678", "8001").await;
    let cookie = house.sign_in("a1").await;
    assert_eq!(live(&house, &cookie).await["recording"], json!({ "state": "on" }));
    let (at, until) = (now(), now() + Duration::from_secs(300));
    house.happens(call, at, TapKind::RecordingPaused { by: PausedBy::Phone, until }).await;
    let paused = json!({
        "state": "paused", "since": at.as_micros(), "until": until.as_micros()
    });
    assert_eq!(live(&house, &cookie).await["recording"], paused);
    let boss = house.sign_in("boss").await;
    let running = house.get(&boss, "/calls/running").await.json();
    assert_eq!(running["calls"][0]["recording"], paused);
    house.happens(call, until, TapKind::RecordingResumed { by: PausedBy::Limit }).await;
    assert_eq!(live(&house, &cookie).await["recording"], json!({ "state": "on" }));
    let by_phone = (true, "code dialled on the phone".to_owned());
    assert_eq!(audited(&house, "call.pause").await, [by_phone]);
    assert_eq!(audited(&house, "call.resume").await, [(false, "longest pause reached".into())]);
    house.close().await;
}

#[tokio::test]
async fn running_calls_are_for_those_who_oversee_and_of_their_dealership() {
    let house = house().await;
    let call = house.inbound(house.dealership, "13812345678", "8001").await;
    let boss = house.sign_in("boss").await;
    let running = house.get(&boss, "/calls/running").await.json();
    assert_eq!(running["calls"].as_array().unwrap().len(), 1);
    let row = &running["calls"][0];
    assert_eq!(row["call_id"], call.to_string());
    assert_eq!((&row["extension"], &row["held"]), (&json!("8001"), &json!(false)));
    assert_eq!(row["audio"], json!({ "heard": "both" }));
    for name in ["a1", "qa"] {
        let cookie = house.sign_in(name).await;
        assert_eq!(house.get(&cookie, "/calls/running").await.status, 403, "{name}");
    }
    house.close().await;
}

#[tokio::test]
async fn one_way_audio_is_told_while_it_lasts_to_who_talks_and_who_oversees() {
    let house = house().await;
    let call = house.inbound(house.dealership, "13812345678", "8001").await;
    let answered = now();
    let patience = Duration::from_secs(8);
    let boss = house.user_id("boss").await;
    let mut told = house.hub.subscribe(boss, None);
    let after = |seconds: u64| answered + Duration::from_secs(seconds);
    let note = |at: Timestamp, silent: [Option<u64>; 2]| {
        let silent_for = silent.map(|it| it.map(Duration::from_secs));
        let notices =
            house.desk.note_silence(&[Silence { call_id: call, silent_for }], patience, at);
        notices.iter().for_each(|notice| house.hub.publish(notice));
        notices.len()
    };
    // Nothing is owed in the first seconds; then one side is missing; then it speaks.
    assert_eq!(note(after(7), [None, Some(0)]), 0);
    assert_eq!(note(after(9), [None, Some(0)]), 2);
    assert_eq!(note(after(10), [None, Some(0)]), 0, "told once");
    let cookie = house.sign_in("a1").await;
    let missing = json!({ "heard": "one_way", "missing": "customer" });
    assert_eq!(live(&house, &cookie).await["audio"], missing);
    assert_eq!(house.desk.unheard(), [1, 0]);
    let event: Value = serde_json::from_str(&told.events.recv().await.unwrap().text).unwrap();
    assert_eq!(event["type"], "call.alarm");
    assert_eq!((&event["audio"], &event["extension"]), (&missing, &json!("8001")));
    assert_eq!(note(after(12), [Some(9), Some(9)]), 2);
    assert_eq!(house.desk.unheard(), [0, 1]);
    assert_eq!(note(after(13), [Some(0), Some(0)]), 2);
    assert_eq!(live(&house, &cookie).await["audio"], json!({ "heard": "both" }));
    // Whoever is on hold need not say anything, nor at once when it is over.
    house.happens(call, after(20), TapKind::Held { by: Lane::Agent }).await;
    assert_eq!(note(after(60), [Some(40), Some(0)]), 0);
    house.happens(call, after(70), TapKind::Resumed { by: Lane::Agent }).await;
    assert_eq!(note(after(75), [Some(55), Some(0)]), 0);
    assert_eq!(note(after(78), [Some(58), Some(0)]), 2);
    house.close().await;
}
