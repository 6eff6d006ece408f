//! What is done to a call that is going on, by whom, and what the switch is asked for it.

use crate::house::{House, PASSWORD, house, now};
use cheling_call::io::Order;
use cheling_model::call::{Offer, Party};
use cheling_model::{CallId, Direction, GuestRole, LegId, TapKind};
use cheling_records::{admin, mint};
use cheling_web::CallRefusal;
use serde_json::{Value, json};

/// Every order that a party to a call can give: method, what follows the call's path, body.
fn orders() -> Vec<(&'static str, &'static str, Value, Order)> {
    let number = || String::from("8002");
    let to = json!({ "number": "8002" });
    vec![
        ("PUT", "hold", Value::Null, Order::Hold),
        ("DELETE", "hold", Value::Null, Order::Resume),
        ("POST", "transfer", to.clone(), Order::Transfer { number: number() }),
        ("POST", "guests", to, Order::Invite { number: number() }),
        ("DELETE", "guests?guest=3", Value::Null, Order::Dismiss { guest: 3 }),
        ("PUT", "consult", Value::Null, Order::CompleteConsult),
        ("PUT", "consult/join", Value::Null, Order::JoinConsult),
        ("DELETE", "consult", Value::Null, Order::CancelConsult),
        ("POST", "leave", Value::Null, Order::Leave),
    ]
}

async fn actions(house: &House) -> Vec<String> {
    let page = admin::audit_log(&house.db, house.dealership, None, 200).await.unwrap();
    let calls = page.items.into_iter().filter(|line| line.action.starts_with("call."));
    calls.map(|line| line.action).collect()
}

#[tokio::test]
async fn a_party_gives_every_order_for_its_own_phone_and_a_supervisor_for_the_call() {
    let house = house().await;
    let call = house.inbound(house.dealership, "13812345678", "8001").await;
    for (name, extension) in [("a1", Some("8001")), ("boss", None), ("admin", None)] {
        let cookie = house.sign_in(name).await;
        for (method, what, body, order) in orders() {
            let path = format!("/calls/{call}/{what}");
            let answer = house.call(method, &cookie, &path, body).await;
            assert_eq!(answer.status, 202, "{name} {method} {what}: {answer:?}");
            let asked = house.switch.controlled.lock().unwrap().pop().unwrap();
            assert_eq!((asked.call_id, asked.extension.as_deref()), (call, extension));
            assert_eq!(asked.order, order, "{name}");
        }
    }
    assert_eq!(actions(&house).await.len(), 3 * orders().len(), "each leaves its line");
    house.close().await;
}

#[tokio::test]
async fn nobody_else_gives_orders_and_the_switch_is_not_even_asked() {
    let house = house().await;
    let call = house.inbound(house.dealership, "13812345678", "8001").await;
    for (name, want) in [("a2", 404), ("qa", 403), ("b1", 404)] {
        let cookie = house.sign_in(name).await;
        for (method, what, body, _) in orders() {
            let path = format!("/calls/{call}/{what}");
            let answer = house.call(method, &cookie, &path, body).await;
            assert_eq!(answer.status, want, "{name} {method} {what}: {answer:?}");
        }
        let consult = format!("/calls/{call}/consult");
        let answer = house.call("POST", &cookie, &consult, json!({ "number": "8002" })).await;
        assert_eq!(answer.status, want, "{name}");
    }
    assert!(house.switch.controlled.lock().unwrap().is_empty());
    assert!(actions(&house).await.is_empty());
    house.close().await;
}

#[tokio::test]
async fn a_consultation_answers_with_the_id_of_its_call() {
    let house = house().await;
    let call = house.inbound(house.dealership, "13812345678", "8001").await;
    let cookie = house.sign_in("a1").await;
    let path = format!("/calls/{call}/consult");
    let answer = house.call("POST", &cookie, &path, json!({ "number": "021 6123 4567" })).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    let asked = house.switch.controlled.lock().unwrap().pop().unwrap();
    let Order::Consult { consult_id, number } = asked.order else { panic!("{asked:?}") };
    assert_eq!(number, "02161234567", "as it is dialled");
    assert_eq!(answer.json()["call_id"], json!(consult_id.0));
    assert_ne!(consult_id, call);
    house.close().await;
}

#[tokio::test]
async fn bodies_that_say_nothing_are_refused_before_the_switch_is_asked() {
    let house = house().await;
    let call = house.inbound(house.dealership, "13812345678", "8001").await;
    let cookie = house.sign_in("a1").await;
    for what in ["transfer", "consult", "guests"] {
        let path = format!("/calls/{call}/{what}");
        for (body, want, code) in [
            (json!({}), 400, "malformed"),
            (json!({ "number": 8002 }), 400, "malformed"),
            (json!({ "number": "8002", "then": "x" }), 400, "malformed"),
            (json!({ "number": "" }), 422, "invalid"),
            (json!({ "number": "周敏" }), 422, "invalid"),
        ] {
            let answer = house.call("POST", &cookie, &path, body.clone()).await;
            assert_eq!((answer.status, answer.code().as_str()), (want, code), "{what} {body}");
        }
    }
    for query in ["guests", "guests?guest=x", "guests?guest=300"] {
        let path = format!("/calls/{call}/{query}");
        let answer = house.call("DELETE", &cookie, &path, Value::Null).await;
        assert_eq!(answer.status, 400, "{query} {answer:?}");
    }
    let nowhere = house.call("PUT", &cookie, "/calls/x/hold", Value::Null).await;
    assert_eq!(nowhere.status, 404);
    assert!(house.switch.controlled.lock().unwrap().is_empty());
    house.close().await;
}

#[tokio::test]
async fn what_the_switch_refuses_is_said_with_its_word_and_leaves_no_trace_of_having_been_done() {
    let house = house().await;
    let call = house.inbound(house.dealership, "13812345678", "8001").await;
    let cookie = house.sign_in("a1").await;
    for (refusal, want, code) in [
        (CallRefusal::NotNow, 409, "not_now"),
        (CallRefusal::NotAnswered, 409, "not_answered"),
        (CallRefusal::NotRegistered, 409, "extension_not_registered"),
        (CallRefusal::ExtensionBusy, 409, "extension_busy"),
        (CallRefusal::NotPermitted, 409, "not_permitted"),
        (CallRefusal::NumberBlocked, 409, "number_blocked"),
        (CallRefusal::TrunksFull, 409, "trunks_full"),
        (CallRefusal::NoRoute, 409, "no_route"),
        (CallRefusal::CannotMix, 409, "cannot_mix"),
        (CallRefusal::NoSuchGuest, 409, "no_such_guest"),
        (CallRefusal::NoSuchCall, 404, "not_found"),
        (CallRefusal::Overloaded, 503, "unavailable"),
        (CallRefusal::Unavailable, 503, "unavailable"),
    ] {
        *house.switch.refuses.lock().unwrap() = Some(refusal);
        for (method, what, body, _) in orders() {
            let path = format!("/calls/{call}/{what}");
            let answer = house.call(method, &cookie, &path, body).await;
            assert_eq!((answer.status, answer.code().as_str()), (want, code), "{method} {what}");
        }
    }
    assert!(actions(&house).await.is_empty());
    house.close().await;
}

/// A supervisor with a phone of her own.
async fn chief(house: &House) -> String {
    let admin = house.sign_in("admin").await;
    let phone = json!({ "number": "8009", "display_name": "主管" });
    assert_eq!(house.call("POST", &admin, "/extensions", phone).await.status, 201);
    let user = json!({ "username": "chief", "name": "主管", "role": "supervisor",
        "extension": "8009", "password": PASSWORD });
    let made = house.call("POST", &admin, "/users", user).await;
    assert_eq!(made.status, 201, "{made:?}");
    house.sign_in("chief").await
}

#[tokio::test]
async fn a_supervisor_monitors_by_her_own_phone_and_not_her_own_calls() {
    let house = house().await;
    let call = house.inbound(house.dealership, "13812345678", "8001").await;
    let chief = chief(&house).await;
    let path = format!("/calls/{call}/monitor");
    for (word, role) in [
        ("listen", GuestRole::Listen),
        ("whisper", GuestRole::Whisper),
        ("barge", GuestRole::Barge),
    ] {
        let answer = house.call("PUT", &chief, &path, json!({ "role": word })).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        let asked = house.switch.controlled.lock().unwrap().pop().unwrap();
        assert_eq!((asked.call_id, asked.extension), (call, None));
        assert_eq!(asked.order, Order::Monitor { monitor: "8009".into(), role });
    }
    assert_eq!(
        actions(&house).await,
        ["call.monitor.barge", "call.monitor.whisper", "call.monitor.listen"]
    );
    for role in ["conference", "", "LISTEN"] {
        let answer = house.call("PUT", &chief, &path, json!({ "role": role })).await;
        assert_eq!((answer.status, answer.code().as_str()), (422, "invalid"), "{role:?}");
    }
    for (name, want, code) in [
        ("a1", 403, "forbidden"),
        ("qa", 403, "forbidden"),
        // She may, but has no phone that could ring.
        ("boss", 409, "no_extension"),
    ] {
        let cookie = house.sign_in(name).await;
        let answer = house.call("PUT", &cookie, &path, json!({ "role": "listen" })).await;
        assert_eq!((answer.status, answer.code().as_str()), (want, code), "{name}");
    }
    let own = house.inbound(house.dealership, "13800000000", "8009").await;
    let answer = house
        .call("PUT", &chief, &format!("/calls/{own}/monitor"), json!({ "role": "listen" }))
        .await;
    assert_eq!((answer.status, answer.code().as_str()), (409, "own_call"));
    assert!(house.switch.controlled.lock().unwrap().is_empty());

    // What is not begun cannot be left; what is, can, while the phone rings and later.
    assert_eq!(house.call("DELETE", &chief, &path, Value::Null).await.status, 404);
    let role = GuestRole::Listen;
    let called = TapKind::GuestCalled { guest: 1, role, number: "8009".into() };
    house.happens(call, now(), called).await;
    assert_eq!(house.call("DELETE", &chief, &path, Value::Null).await.status, 202);
    let asked = house.switch.controlled.lock().unwrap().pop().unwrap();
    assert_eq!(asked.order, Order::Dismiss { guest: 1 });
    house.happens(call, now(), TapKind::GuestLeft { guest: 1 }).await;
    assert_eq!(house.call("DELETE", &chief, &path, Value::Null).await.status, 404);
    let joined = TapKind::GuestJoined {
        guest: 2,
        role: GuestRole::Listen,
        extension: Some("8009".into()),
        number: "8009".into(),
    };
    house.happens(call, now(), joined).await;
    assert_eq!(house.call("DELETE", &chief, &path, Value::Null).await.status, 202);
    let asked = house.switch.controlled.lock().unwrap().pop().unwrap();
    assert_eq!(asked.order, Order::Dismiss { guest: 2 });
    house.close().await;
}

/// An internal call that rings at 8002.
async fn rings(house: &House, from: &str) -> CallId {
    let call_id: CallId = mint();
    let offer = Offer {
        direction: Direction::Internal,
        dealership_id: house.dealership,
        caller: Party { number: from.into(), ..Party::default() },
        called: "8002".into(),
        trunk: None,
        line_id: None,
        extension: Some(from.into()),
        user_id: None,
        follow_up_id: None,
    };
    house.happens(call_id, now(), TapKind::Offered(offer)).await;
    let leg: LegId = mint();
    house.happens(call_id, now(), TapKind::Ringing { leg, extension: "8002".into() }).await;
    call_id
}

#[tokio::test]
async fn an_agent_sees_the_other_phones_of_the_dealership_and_who_is_free() {
    let house = house().await;
    let a2 = house.sign_in("a2").await;
    let states = async |cookie: &str| {
        let page = house.get(cookie, "/colleagues").await.json();
        let rows = page["items"].as_array().unwrap().clone();
        let text = |row: &Value, key: &str| row[key].as_str().unwrap().to_owned();
        rows.iter()
            .map(|row| format!("{} {}", text(row, "extension"), text(row, "state")))
            .collect::<Vec<_>>()
    };
    // 8001 alone is registered; one's own phone and other dealerships' are not shown.
    assert_eq!(states(&a2).await, ["8001 free"]);
    let a1 = house.sign_in("a1").await;
    assert_eq!(states(&a1).await, ["8002 offline"]);
    let boss = house.sign_in("boss").await;
    assert_eq!(states(&boss).await, ["8001 free", "8002 offline"]);
    let row = &house.get(&a2, "/colleagues").await.json()["items"][0];
    assert!(!row["name"].as_str().unwrap().is_empty(), "{row}");
    let call = house.inbound(house.dealership, "13812345678", "8001").await;
    assert_eq!(states(&a2).await, ["8001 busy"]);
    house.recorded(house.dealership, call).await;
    assert_eq!(states(&a2).await, ["8001 free"]);
    rings(&house, "8001").await;
    assert_eq!(states(&a2).await, ["8001 busy"], "who calls is not free");
    let qa = house.sign_in("qa").await;
    assert_eq!(house.get(&qa, "/colleagues").await.status, 403);
    house.close().await;
}

#[tokio::test]
async fn a_third_who_is_being_called_is_shown_and_a_supervisor_only_once_she_speaks() {
    let house = house().await;
    let call = house.inbound(house.dealership, "13812345678", "8001").await;
    let a1 = house.sign_in("a1").await;
    let shown = async || house.get(&a1, "/calls/live").await.json()["calls"][0]["guests"].clone();
    for (guest, role, number) in
        [(1, GuestRole::Conference, "8002"), (2, GuestRole::Whisper, "8009")]
    {
        let called = TapKind::GuestCalled { guest, role, number: number.into() };
        house.happens(call, now(), called).await;
    }
    let rung = shown().await;
    assert_eq!(rung.as_array().unwrap().len(), 1, "{rung}");
    assert_eq!((&rung[0]["number"], &rung[0]["ringing"]), (&json!("8002"), &json!(true)));
    assert!(!rung[0]["name"].as_str().unwrap().is_empty());
    for (guest, role, number) in
        [(1, GuestRole::Conference, "8002"), (2, GuestRole::Whisper, "8009")]
    {
        let (extension, number) = (Some(number.into()), number.into());
        let joined = TapKind::GuestJoined { guest, role, extension, number };
        house.happens(call, now(), joined).await;
    }
    let there = shown().await;
    assert_eq!(there.as_array().unwrap().len(), 2, "{there}");
    assert!(there[0].get("ringing").is_none(), "{there}");
    // Who does not come leaves nothing behind.
    let role = GuestRole::Conference;
    house
        .happens(call, now(), TapKind::GuestCalled { guest: 3, role, number: "8003".into() })
        .await;
    house.happens(call, now(), TapKind::GuestLeft { guest: 3 }).await;
    assert_eq!(shown().await.as_array().unwrap().len(), 2);
    house.close().await;
}
