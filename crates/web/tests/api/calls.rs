//! Dialling, wrapping up, customers and follow-ups: the agent's work.

use crate::house::{house, now};
use cheling_model::{CallId, EndCause, TapKind};
use cheling_records::testing;
use cheling_web::CallRefusal;
use serde_json::{Value, json};

#[tokio::test]
async fn the_same_key_dials_once() {
    let house = house().await;
    let cookie = house.sign_in("a1").await;
    let dial = async |key: &str, number: &str| {
        let body = json!({ "number": number }).to_string();
        let headers = [
            ("Cookie", cookie.as_str()),
            ("Content-Type", "application/json"),
            ("Idempotency-Key", key),
        ];
        house.send("POST", "/api/v1/calls", &headers, body.as_bytes()).await
    };
    *house.switch.refuses.lock().unwrap() = Some(CallRefusal::NotRegistered);
    let refused = dial("k1", "138 1234 5678").await;
    assert_eq!((refused.status, refused.code().as_str()), (409, "extension_not_registered"));
    *house.switch.refuses.lock().unwrap() = None;
    let first = dial("k1", "138 1234 5678").await;
    assert_eq!(first.status, 202, "a refused key may try again: {first:?}");
    assert_eq!(dial("k1", "138 1234 5678").await.json(), first.json());
    assert_ne!(dial("k2", "8002").await.json(), first.json());
    let dialled = house.switch.dialled.lock().unwrap().clone();
    let numbers: Vec<_> =
        dialled.iter().map(|it| (it.extension.as_str(), it.number.as_str())).collect();
    assert_eq!(numbers, [("8001", "13812345678"), ("8001", "8002")]);
    assert_eq!(dial("", "13812345678").await.status, 400);
    assert_eq!(dial("k3", "anonymous").await.status, 422);
    let qa = house.sign_in("qa").await;
    assert_eq!(house.call("POST", &qa, "/calls", json!({ "number": "1" })).await.status, 403);
    let boss = house.sign_in("boss").await;
    let headers = [
        ("Cookie", boss.as_str()),
        ("Content-Type", "application/json"),
        ("Idempotency-Key", "k1"),
    ];
    let body = br#"{"number":"13812345678"}"#;
    let phoneless = house.send("POST", "/api/v1/calls", &headers, body).await;
    assert_eq!(phoneless.code(), "no_extension");
    house.close().await;
}

#[tokio::test]
async fn a_call_is_live_then_waits_for_its_wrap_up_then_is_past() {
    let house = house().await;
    let customer = testing::customer(&house.db, house.dealership, "王建国", "13812345678").await;
    let cookie = house.sign_in("a1").await;
    let call = house.inbound(house.dealership, "013812345678", "8001").await;
    let live = house.get(&cookie, "/calls/live").await.json();
    assert_eq!(live["calls"][0]["state"], "talking");
    assert_eq!(live["calls"][0]["offered"]["call_id"], call.to_string());
    assert_eq!(live["calls"][0]["offered"]["card"]["customer"]["name"], "王建国");
    let other = house.sign_in("a2").await;
    assert_eq!(house.get(&other, "/calls/live").await.json()["calls"], json!([]));

    let ended = TapKind::Ended { cause: EndCause::HungUp, by: None, sip_status: None };
    house.happens(call, now(), ended).await;
    let live = house.get(&cookie, "/calls/live").await.json();
    assert_eq!(live["calls"][0]["state"], "wrap_up");
    assert_eq!(
        live["calls"][0]["offered"]["card"]["customer"]["customer_id"],
        customer.to_string()
    );

    let path = format!("/calls/{call}/wrap-up");
    let body = json!({ "outcome": "completed", "note": "预约周三保养", "next_on": "2026-11-25" });
    assert_eq!(house.call("PUT", &other, &path, body.clone()).await.status, 404, "not a party");
    let boss = house.sign_in("boss").await;
    assert_eq!(house.call("PUT", &boss, &path, body.clone()).await.status, 403);
    for _ in 0..2 {
        let saved = house.call("PUT", &cookie, &path, body.clone()).await;
        assert_eq!(saved.status, 200, "{saved:?}");
        assert_eq!(saved.json()["outcome"], "completed");
        assert_eq!(saved.json()["note"], "预约周三保养");
        assert_eq!(saved.json()["legs"][0]["extension"], "8001");
    }
    assert_eq!(house.get(&cookie, "/calls/live").await.json()["calls"], json!([]));
    let tasks = house.get(&cookie, "/follow-ups?owner_id=me").await.json();
    let due: Vec<_> = tasks["items"].as_array().unwrap().iter().map(|it| &it["due_on"]).collect();
    assert_eq!(due, ["2026-11-25"], "one next task, saved twice");
    for bad in [
        json!({ "outcome": "fine" }),
        json!({ "outcome": "completed", "next_on": "tomorrow" }),
        json!({ "outcome": "completed", "note": "x".repeat(2001) }),
    ] {
        assert_eq!(house.call("PUT", &cookie, &path, bad).await.status, 422);
    }
    let rows = house.get(&cookie, "/calls?q=13812345678&answered=true&direction=inbound").await;
    assert_eq!(rows.json()["items"][0]["customer_name"], "王建国");
    assert_eq!(house.get(&cookie, "/calls?extension=8002").await.json()["items"], json!([]));
    house.close().await;
}

#[tokio::test]
async fn a_withheld_number_is_none() {
    let house = house().await;
    let cookie = house.sign_in("a1").await;
    house.inbound(house.dealership, "anonymous", "8001").await;
    let call = house.get(&cookie, "/calls").await.json()["items"][0].clone();
    assert_eq!((&call["number"], &call["customer_id"]), (&json!(""), &json!(null)));
    let live = house.get(&cookie, "/calls/live").await.json();
    assert_eq!(live["calls"][0]["offered"]["card"]["kind"], "withheld");
    house.close().await;
}

#[tokio::test]
async fn only_a_party_or_a_supervisor_hangs_up() {
    let house = house().await;
    let call = house.inbound(house.dealership, "13812345678", "8001").await;
    let leg = cheling_records::mint();
    let rang = TapKind::Ringing { leg, extension: "8002".into() };
    house.happens(call, now(), rang).await;
    let rung = house.sign_in("a2").await;
    let path = format!("/calls/{call}");
    assert_eq!(house.get(&rung, &path).await.status, 200, "whoever was rung sees the call");
    assert_eq!(house.call("DELETE", &rung, &path, json!(null)).await.status, 403);
    let body = json!({ "outcome": "completed" });
    let wrapped = house.call("PUT", &rung, &format!("{path}/wrap-up"), body).await;
    assert_eq!(wrapped.status, 403, "not a colleague's call");
    for (name, status) in [("b1", 404), ("qa", 403), ("a1", 202), ("boss", 202)] {
        let cookie = house.sign_in(name).await;
        let answer = house.call("DELETE", &cookie, &format!("/calls/{call}"), json!(null)).await;
        assert_eq!(answer.status, status, "{name}");
    }
    assert_eq!(*house.switch.hung_up.lock().unwrap(), [call, call]);
    house.close().await;
}

fn draft(call_id: Option<CallId>) -> Value {
    json!({
        "name": "李晓梅", "salutation": "女士", "lifecycle": "prospect", "source": "phone_enquiry",
        "address": "上海市浦东新区", "note": "周末方便",
        "phones": [
            { "number": "139 1234 5678", "label": "本人", "is_primary": true },
            { "number": "61234567", "label": "公司", "is_primary": false },
        ],
        "vehicles": [{ "plate": "沪A·D3962", "vin": "", "model": "途观L", "displacement": "2.0T" }],
        "call_id": call_id.map(|id| id.to_string()),
    })
}

#[tokio::test]
async fn a_customer_made_from_a_call_gets_the_call() {
    let house = house().await;
    let cookie = house.sign_in("a1").await;
    let call = house.inbound(house.dealership, "13912345678", "8001").await;
    let made = house.call("POST", &cookie, "/customers", draft(Some(call))).await;
    assert_eq!(made.status, 201, "{made:?}");
    let card = &made.json()["card"];
    assert_eq!(card["name"], "李晓梅");
    assert_eq!(card["phones"][1]["number_key"], "+862161234567");
    assert_eq!(card["vehicles"][0]["plate"], "沪A·D3962");
    let shown = house.get(&cookie, &format!("/calls/{call}")).await.json();
    assert_eq!(shown["customer_name"], "李晓梅");
    assert_eq!(shown["plate"], "沪A·D3962");
    let live = house.get(&cookie, "/calls/live").await.json();
    assert_eq!(live["calls"][0]["offered"]["card"]["kind"], "known");
    for text in ["李晓", "lixiaomei", "lxm", "5678", "D3962"] {
        let text: String = text.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let rows = house.get(&cookie, &format!("/customers?q={text}")).await.json();
        assert_eq!(rows["items"][0]["name"], "李晓梅", "{text}");
    }
    let looked_up = house.get(&cookie, "/lookup?number=0139-1234-5678").await.json();
    assert_eq!(looked_up["customer"]["name"], "李晓梅");
    let elsewhere = house.sign_in("b1").await;
    let unknown = house.get(&elsewhere, "/lookup?number=13912345678").await.json();
    assert_eq!(unknown["kind"], "unknown", "customers belong to their dealership");
    let id = card["customer_id"].as_str().unwrap().to_owned();
    assert_eq!(house.get(&elsewhere, &format!("/customers/{id}")).await.status, 404);
    house.close().await;
}

#[tokio::test]
async fn a_form_sent_back_changes_only_what_was_changed() {
    let house = house().await;
    let cookie = house.sign_in("a1").await;
    let made = house.call("POST", &cookie, "/customers", draft(None)).await.json();
    let id = made["card"]["customer_id"].as_str().unwrap();
    let path = format!("/customers/{id}");
    let mut change = draft(None);
    change["name"] = json!("李小梅");
    change["phones"] = json!([{ "number": "13912345678", "label": "本人", "is_primary": true }]);
    change["vehicles"][0]["transmission"] = json!("AT");
    let changed = house.call("PUT", &cookie, &path, change.clone()).await;
    assert_eq!(changed.status, 200, "{changed:?}");
    let changed = changed.json();
    assert_eq!(changed["card"]["name"], "李小梅");
    assert_eq!(changed["card"]["phones"].as_array().unwrap().len(), 1);
    assert_eq!(
        changed["card"]["vehicles"][0]["vehicle_id"], made["card"]["vehicles"][0]["vehicle_id"],
        "the same plate is the same vehicle"
    );
    assert_eq!(changed["card"]["vehicles"][0]["displacement"], "2.0T");
    assert_eq!(changed["card"]["vehicles"][0]["transmission"], "AT");
    change["vehicles"] = json!([]);
    let changed = house.call("PUT", &cookie, &path, change).await.json();
    assert_eq!(changed["card"]["vehicles"], json!([]));
    for (pointer, value, field) in [
        ("/name", json!(" "), "name"),
        ("/source", json!(""), "source"),
        ("/lifecycle", json!("unknown"), "lifecycle"),
        ("/phones", json!([]), "phones"),
        ("/phones/0/number", json!("none"), "phones"),
        ("/vehicles/0/vin", json!("123"), "vin"),
        ("/vehicles/0/model", json!(""), "model"),
    ] {
        let mut bad = draft(None);
        *bad.pointer_mut(pointer).unwrap() = value;
        let answer = house.call("POST", &cookie, "/customers", bad).await;
        assert_eq!((answer.status, &answer.json()["error"]["field"]), (422, &json!(field)));
    }
    let qa = house.sign_in("qa").await;
    assert_eq!(house.call("POST", &qa, "/customers", draft(None)).await.status, 403);
    house.close().await;
}

#[tokio::test]
async fn follow_ups_are_listed_by_day_and_counted() {
    let house = house().await;
    let cookie = house.sign_in("a1").await;
    let zone = jiff::tz::TimeZone::fixed(jiff::tz::offset(8));
    let today = jiff::Timestamp::now().to_zoned(zone).date();
    let (yesterday, tomorrow) = (today.yesterday().unwrap(), today.tomorrow().unwrap());
    let customer = testing::customer(&house.db, house.dealership, "王建国", "13812345678").await;
    let mut ids = Vec::new();
    for (day, subject) in [(today, "今天"), (yesterday, "昨天"), (tomorrow, "明天")] {
        let draft = json!({ "type": "service_3dc", "due_on": day.to_string(), "subject": subject,
            "customer_id": customer.to_string() });
        let made = house.call("POST", &cookie, "/follow-ups", draft).await;
        assert_eq!(made.status, 201, "{made:?}");
        assert_eq!(made.json()["number"], "13812345678");
        ids.push(made.json()["follow_up_id"].as_str().unwrap().to_owned());
    }
    let subjects = async |view: &str| {
        let path = format!("/follow-ups?owner_id=me&view={view}");
        let page = house.get(&cookie, &path).await.json();
        let items = page["items"].as_array().unwrap().clone();
        let subjects: Vec<String> =
            items.iter().map(|it| it["subject"].as_str().unwrap().to_owned()).collect();
        (subjects.join(" "), page["counts"].clone())
    };
    assert_eq!(subjects("today").await.0, "今天");
    assert_eq!(subjects("overdue").await.0, "昨天");
    assert_eq!(subjects("all").await.0, "昨天 今天 明天");
    let (_, counts) = subjects("done").await;
    assert_eq!(counts, json!({ "today": 1, "overdue": 1, "done_today": 0 }));

    let change = json!({ "type": "service_3dc", "due_on": yesterday.to_string(),
        "subject": "昨天", "customer_id": customer.to_string(), "state": "done" });
    let path = format!("/follow-ups/{}", ids[1]);
    let done = house.call("PUT", &cookie, &path, change.clone()).await.json();
    assert_eq!(done["state"], "done");
    assert!(done["closed_at"].is_i64());
    let (done, counts) = subjects("done").await;
    assert_eq!(done, "昨天");
    assert_eq!(counts, json!({ "today": 1, "overdue": 0, "done_today": 1 }));
    let all = house.get(&cookie, "/follow-ups?view=today").await.json();
    assert_eq!(all["counts"], counts, "of the whole dealership, the same here");

    let colleague = house.sign_in("a2").await;
    assert_eq!(house.call("PUT", &colleague, &path, change.clone()).await.status, 403);
    let boss = house.sign_in("boss").await;
    assert_eq!(house.call("PUT", &boss, &path, change.clone()).await.status, 200);
    let elsewhere = house.sign_in("b1").await;
    assert_eq!(house.call("PUT", &elsewhere, &path, change).await.status, 404);
    let foreign = json!({ "type": "other", "due_on": today.to_string(),
        "customer_id": customer.to_string() });
    assert_eq!(house.call("POST", &elsewhere, "/follow-ups", foreign).await.status, 422);
    house.close().await;
}
