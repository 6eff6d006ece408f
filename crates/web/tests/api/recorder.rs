//! What is wrong with the recorder, and what files it makes.

use crate::house::{house, now};
use cheling_model::recording::Container;
use cheling_records::recording;
use cheling_web::{Alarm, AlarmKind};
use serde_json::json;

#[tokio::test]
async fn who_is_in_charge_and_monitoring_are_told_what_is_wrong() {
    let house = house().await;
    let (boss, agent) = (house.sign_in("boss").await, house.sign_in("a1").await);
    assert_eq!(house.get(&boss, "/alarms").await.json(), json!({ "alarms": [] }));
    assert_eq!(house.send("GET", "/readyz", &[], b"").await.body, b"ready\n");
    let since = now();
    *house.alarms.lock().unwrap() = vec![Alarm {
        kind: AlarmKind::DiskFull,
        disk: "/srv/2/journal".into(),
        free_bytes: 1000,
        lost: 7,
        since,
    }];
    let want = json!({ "alarms": [{
        "kind": "disk_full", "disk": "/srv/2/journal", "free_bytes": 1000, "lost": 7,
        "since": since.as_micros(),
    }] });
    assert_eq!(house.get(&boss, "/alarms").await.json(), want);
    assert_eq!(house.get(&agent, "/alarms").await.status, 403);
    // Calls go on, so it is ready; where the disk is, strangers are not told.
    let ready = house.send("GET", "/readyz", &[], b"").await;
    assert_eq!((ready.status, ready.body), (200, b"ready\nalarm disk_full\n".to_vec()));
    house.close().await;
}

#[tokio::test]
async fn an_administrator_chooses_what_files_recordings_become() {
    let house = house().await;
    let (admin, boss) = (house.sign_in("admin").await, house.sign_in("boss").await);
    let usual = json!({
        "container": null, "usual": "wav", "opus_kbit": 24, "opus_after_days": 90,
    });
    assert_eq!(house.get(&admin, "/recording-format").await.json(), usual);
    assert_eq!(house.get(&boss, "/recording-format").await.status, 403);
    let put = async |cookie: &str, container| {
        house.call("PUT", cookie, "/recording-format", json!({ "container": container })).await
    };
    let answer = put(&admin, Some("ogg_opus")).await;
    assert_eq!(answer.json()["container"], "ogg_opus");
    let stored = recording::container(&house.db, house.dealership).await.unwrap();
    assert_eq!(stored, Some(Container::OggOpus));
    let wrong = put(&admin, Some("mp3")).await;
    assert_eq!((wrong.status, wrong.code().as_str()), (422, "invalid"));
    assert_eq!(put(&boss, None).await.status, 403);
    assert_eq!(put(&admin, None).await.json(), usual);
    assert_eq!(recording::container(&house.db, house.dealership).await.unwrap(), None);
    house.close().await;
}
