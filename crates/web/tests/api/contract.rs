//! The paths of the wire table, their description, and what every answer has.

use crate::house::{JSON, house};
use cheling_web::{TrunkRegistration, TrunkState};
use serde_json::json;

/// Every line of the table in `wire`, an example of its path for each method.
const TABLE: &[(&str, &str)] = &[
    ("POST", "/session"),
    ("GET", "/session"),
    ("DELETE", "/session"),
    ("GET", "/calls"),
    ("POST", "/calls"),
    ("GET", "/calls/live"),
    ("GET", "/calls/{id}"),
    ("DELETE", "/calls/{id}"),
    ("GET", "/calls/running"),
    ("GET", "/calls/{id}/listen"),
    ("POST", "/calls/{id}/pause"),
    ("POST", "/calls/{id}/resume"),
    ("PUT", "/calls/{id}/wrap-up"),
    ("PUT", "/calls/{id}/customer"),
    ("PUT", "/calls/{id}/hold"),
    ("DELETE", "/calls/{id}/hold"),
    ("POST", "/calls/{id}/transfer"),
    ("POST", "/calls/{id}/consult"),
    ("PUT", "/calls/{id}/consult"),
    ("DELETE", "/calls/{id}/consult"),
    ("PUT", "/calls/{id}/consult/join"),
    ("POST", "/calls/{id}/leave"),
    ("POST", "/calls/{id}/guests"),
    ("DELETE", "/calls/{id}/guests"),
    ("PUT", "/calls/{id}/monitor"),
    ("DELETE", "/calls/{id}/monitor"),
    ("GET", "/recordings"),
    ("GET", "/recordings/{id}"),
    ("GET", "/recordings/{id}/audio"),
    ("GET", "/recordings/{id}/peaks"),
    ("PUT", "/recordings/{id}/follow-up"),
    ("GET", "/customers"),
    ("POST", "/customers"),
    ("GET", "/customers/{id}"),
    ("PUT", "/customers/{id}"),
    ("GET", "/lookup"),
    ("POST", "/imports"),
    ("GET", "/follow-ups"),
    ("POST", "/follow-ups"),
    ("GET", "/follow-ups/{id}"),
    ("PUT", "/follow-ups/{id}"),
    ("GET", "/users"),
    ("POST", "/users"),
    ("PUT", "/users/{id}"),
    ("GET", "/colleagues"),
    ("GET", "/extensions"),
    ("POST", "/extensions"),
    ("PUT", "/extensions/{number}"),
    ("DELETE", "/extensions/{number}"),
    ("POST", "/extensions/{number}/password"),
    ("GET", "/lines"),
    ("PUT", "/lines"),
    ("GET", "/recording-format"),
    ("PUT", "/recording-format"),
    ("GET", "/alarms"),
    ("GET", "/trunks"),
    ("GET", "/ws"),
];

fn example(path: &str) -> String {
    path.replace("{id}", "0199d7a4-0000-7000-8000-000000000001").replace("{number}", "8001")
}

#[tokio::test]
async fn every_path_of_the_wire_table_is_described_and_answers_only_to_the_signed_in() {
    let house = house().await;
    let answer = house.send("GET", "/api/v1/openapi.json", &[], b"").await;
    assert_eq!(answer.status, 200);
    let description = answer.json();
    assert_eq!(description["openapi"], "3.1.0");
    for (method, path) in TABLE {
        let entry = &description["paths"][format!("/api/v1{path}")][method.to_lowercase()];
        assert!(entry.is_object(), "{method} {path} is not described");
        let body = if *method == "GET" || *method == "DELETE" { "" } else { "{}" };
        let path = format!("/api/v1{}", example(path));
        let answer = house.send(method, &path, &JSON, body.as_bytes()).await;
        match (*method, path.as_str()) {
            ("POST", "/api/v1/session") => assert_eq!(answer.status, 400, "{answer:?}"),
            ("GET", path) if path.ends_with("/ws") || path.ends_with("/listen") => {
                assert_eq!(answer.code(), "upgrade_required");
            }
            ("POST", "/api/v1/imports") => assert!(matches!(answer.status, 400 | 401 | 415)),
            _ => assert_eq!((answer.status, answer.code().as_str()), (401, "not_signed_in")),
        }
    }
    let described: usize = description["paths"]
        .as_object()
        .unwrap()
        .values()
        .map(|it| it.as_object().unwrap().len())
        .sum();
    assert_eq!(described, TABLE.len(), "nothing is described that is not in the table");
    house.close().await;
}

#[tokio::test]
async fn every_schema_referred_to_is_there() {
    let house = house().await;
    let description = house.send("GET", "/api/v1/openapi.json", &[], b"").await.json();
    let text = description.to_string();
    for reference in text.split("#/components/schemas/").skip(1) {
        let name = reference.split('"').next().unwrap();
        assert!(description["components"]["schemas"][name].is_object(), "{name}");
    }
    house.close().await;
}

#[tokio::test]
async fn errors_have_one_form() {
    let house = house().await;
    let cookie = house.sign_in("a1").await;
    for (method, path, body, status, code) in [
        ("GET", "/nothing", "", 404, "not_found"),
        ("GET", "/calls/not-an-id", "", 404, "not_found"),
        ("PATCH", "/calls", "", 405, "method_not_allowed"),
        ("GET", "/calls?colour=red", "", 400, "malformed"),
        ("GET", "/calls?limit=1000", "", 422, "invalid"),
        ("GET", "/calls?cursor=nonsense", "", 400, "malformed"),
        ("GET", "/calls?from_on=22.11.2026", "", 422, "invalid"),
        ("POST", "/customers", "{\"name\":", 400, "malformed"),
        ("POST", "/customers", "{\"name\":\"王\",\"colour\":1}", 400, "malformed"),
        ("GET", "/users", "", 403, "forbidden"),
    ] {
        let answer = house
            .send(
                method,
                &format!("/api/v1{path}"),
                &[("Cookie", &cookie), ("Content-Type", "application/json")],
                body.as_bytes(),
            )
            .await;
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{method} {path}");
    }
    let headers = [("Cookie", cookie.as_str()), ("Content-Type", "text/plain")];
    let answer = house.send("POST", "/api/v1/customers", &headers, b"{}").await;
    assert_eq!(answer.status, 415);
    let large = vec![b' '; 300 * 1024];
    let headers = [("Cookie", cookie.as_str()), ("Content-Type", "application/json")];
    let answer = house.send("POST", "/api/v1/customers", &headers, &large).await;
    assert_eq!(answer.status, 413);
    house.close().await;
}

#[tokio::test]
async fn every_answer_carries_the_security_headers() {
    let house = house().await;
    for path in ["/", "/calls", "/api/v1/session", "/healthz", "/assets/none.js"] {
        let answer = house.send("GET", path, &[], b"").await;
        let policy = &answer.headers["content-security-policy"];
        assert!(policy.contains("default-src 'self'"), "{path}");
        assert!(policy.contains("connect-src 'self' ws: wss:"), "{path}");
        assert_eq!(answer.headers["x-content-type-options"], "nosniff", "{path}");
    }
    house.close().await;
}

#[tokio::test]
async fn monitoring_sees_health_and_only_who_may_sees_metrics() {
    let house = house().await;
    assert_eq!(house.send("GET", "/healthz", &[], b"").await.body, b"ok\n");
    assert_eq!(house.send("GET", "/readyz", &[], b"").await.status, 200);
    let metrics = house.send("GET", "/metrics", &[], b"").await;
    let text = String::from_utf8(metrics.body).unwrap();
    assert!(text.contains("cheling_http_answers_total{status=\"2xx\"} 2"), "{text}");
    assert!(text.contains("cheling_websockets 0"), "{text}");
    assert!(text.ends_with("# EOF\n"));
    let through_a_proxy = ("X-Forwarded-For", "198.51.100.1");
    let refused = house.send("GET", "/metrics", &[through_a_proxy], b"").await;
    assert_eq!(refused.status, 403);
    for (token, status) in [("Bearer metrics-token", 200), ("Bearer guess", 403)] {
        let headers = [through_a_proxy, ("Authorization", token)];
        assert_eq!(house.send("GET", "/metrics", &headers, b"").await.status, status);
    }
    house.close().await;
}

#[tokio::test]
async fn trunks_are_told_to_admins_and_to_monitoring_and_change_nothing_about_readiness() {
    let house = house().await;
    let registration = TrunkRegistration { last_status: Some(403), ..Default::default() };
    let trunk = |name: &str| TrunkState {
        name: name.into(),
        addresses: vec!["udp 192.0.2.1:5060".into()],
        answers: Some(true),
        calls: 3,
        max_calls: Some(30),
        ..Default::default()
    };
    let refused = TrunkState { registration: Some(registration), ..trunk("provider") };
    *house.switch.trunks.lock().unwrap() = vec![trunk("gateway"), refused];
    let ready = house.send("GET", "/readyz", &[], b"").await;
    assert_eq!(ready.status, 200, "calls are taken, however the trunks are");
    assert_eq!(ready.body, "ready\ntrunk gateway: up\ntrunk provider: unregistered\n".as_bytes());
    let json = house.send("GET", "/readyz", &[("Accept", "application/json")], b"").await.json();
    assert_eq!(json["trunks"][1]["registration"]["last_status"], 403, "{json}");
    let through_a_proxy = [("X-Forwarded-For", "198.51.100.1")];
    assert_eq!(house.send("GET", "/readyz", &through_a_proxy, b"").await.body, b"ready\n");

    let admin = house.sign_in("admin").await;
    let trunks = house.get(&admin, "/trunks").await.json();
    assert_eq!(trunks["items"][0]["name"], "gateway");
    assert_eq!(trunks["items"][0]["max_calls"], 30);
    let agent = house.sign_in("a1").await;
    assert_eq!(house.get(&agent, "/trunks").await.status, 403);
    house.close().await;
}

#[tokio::test]
async fn another_sites_page_cannot_act_in_the_users_name() {
    let house = house().await;
    let cookie = house.sign_in("a1").await;
    let own = format!("http://{}", house.address);
    for (origin, status) in [("http://evil.example", 403), ("null", 403), (own.as_str(), 204)] {
        let headers = [("Cookie", cookie.as_str()), ("Origin", origin)];
        let answer = house.send("DELETE", "/api/v1/session", &headers, b"").await;
        assert_eq!(answer.status, status, "{origin}");
    }
    assert_eq!(house.get(&cookie, "/session").await.status, 401, "signed out");
    let body = json!({ "username": "admin", "password": "x" }).to_string();
    let headers = [("Origin", "http://evil.example"), ("Content-Type", "application/json")];
    let answer = house.send("POST", "/api/v1/session", &headers, body.as_bytes()).await;
    assert_eq!(answer.code(), "cross_origin");
    house.close().await;
}
