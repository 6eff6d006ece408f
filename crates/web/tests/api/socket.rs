//! The WebSocket: snapshot and events without a gap, and who may listen.

use crate::house::{House, house, now};
use cheling_model::console::{ConsoleEvent, Notice};
use cheling_model::{FollowUpId, UserId};
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};
use uuid::Uuid;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

async fn listen(
    house: &House,
    cookie: &str,
    query: &str,
    origin: Option<&str>,
) -> Result<Socket, Error> {
    let url = format!("ws://{}/api/v1/ws{query}", house.address);
    let mut request = url.into_client_request().unwrap();
    request.headers_mut().insert("cookie", cookie.parse().unwrap());
    if let Some(origin) = origin {
        request.headers_mut().insert("origin", origin.parse().unwrap());
    }
    connect_async(request).await.map(|(socket, _)| socket)
}

/// The next event that is no heartbeat.
async fn event(socket: &mut Socket) -> Value {
    let next = async {
        loop {
            let message = socket.next().await.expect("open").expect("no error");
            let Message::Text(text) = message else { continue };
            let json: Value = serde_json::from_str(&text).unwrap();
            if json["type"] != "heartbeat" {
                return json;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(5), next).await.expect("an event comes")
}

fn tell(house: &House, user: UserId, n: u128) {
    let event = ConsoleEvent::TaskChanged { follow_up_id: FollowUpId(Uuid::from_u128(n)) };
    house.hub.publish(&Notice { to: vec![user], at: now(), event });
}

#[tokio::test]
async fn a_card_reaches_the_ringing_agent_and_what_was_missed_is_replayed_once() {
    let house = house().await;
    let cookie = house.sign_in("a1").await;
    let since = house.get(&cookie, "/calls/live").await.json()["seq"].as_u64().unwrap();
    let mut socket = listen(&house, &cookie, &format!("?since={since}"), None).await.unwrap();
    let call = house.inbound(house.dealership, "13812345678", "8001").await;
    let offered = event(&mut socket).await;
    assert_eq!(offered["type"], "call.offered");
    assert_eq!(offered["call_id"], call.to_string());
    assert_eq!(offered["card"]["number_key"], "+8613812345678");
    assert_eq!(offered["seq"].as_u64().unwrap(), since + 1);
    let answered = event(&mut socket).await;
    assert_eq!(answered["type"], "call.answered");
    let me = house.user_id("a1").await;
    let seen = house.hub.seq(me);
    while event(&mut socket).await["seq"].as_u64().unwrap() < seen {}
    drop(socket);

    tell(&house, me, 1);
    tell(&house, me, 2);
    let mut socket = listen(&house, &cookie, &format!("?since={seen}"), None).await.unwrap();
    tell(&house, me, 3);
    for n in 1..=3_u64 {
        let next = event(&mut socket).await;
        assert_eq!(next["seq"].as_u64().unwrap(), seen + n);
        assert_eq!(next["follow_up_id"], Uuid::from_u128(n.into()).to_string());
    }
    let mut stale = listen(&house, &cookie, "?since=17", None).await.unwrap();
    let reset = event(&mut stale).await;
    assert_eq!((&reset["type"], &reset["seq"]), (&json!("reset"), &json!(seen + 3)));
    house.close().await;
}

#[tokio::test]
async fn a_heartbeat_comes_at_once_and_says_where_the_socket_stands() {
    let house = house().await;
    let cookie = house.sign_in("a1").await;
    let seq = house.get(&cookie, "/calls/live").await.json()["seq"].clone();
    let mut socket = listen(&house, &cookie, "", None).await.unwrap();
    let Message::Text(text) = socket.next().await.unwrap().unwrap() else { panic!("text") };
    let beat: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&beat["type"], &beat["seq"]), (&json!("heartbeat"), &seq));
    house.close().await;
}

#[tokio::test]
async fn only_the_console_of_a_signed_in_user_may_listen() {
    let house = house().await;
    let cookie = house.sign_in("a1").await;
    let own = format!("http://{}", house.address);
    assert!(listen(&house, &cookie, "", Some(&own)).await.is_ok());
    for (cookie, query, origin, status) in [
        ("cheling_session=none", "", None, 401),
        (cookie.as_str(), "", Some("http://evil.example"), 403),
        (cookie.as_str(), "?since=minus", None, 400),
    ] {
        match listen(&house, cookie, query, origin).await {
            Err(Error::Http(answer)) => assert_eq!(answer.status().as_u16(), status),
            other => panic!("{:?}", other.map(|_| "open")),
        }
    }
    house.close().await;
}

#[tokio::test]
async fn a_server_that_stops_says_so_to_its_sockets() {
    let house = house().await;
    let cookie = house.sign_in("a1").await;
    let mut socket = listen(&house, &cookie, "", None).await.unwrap();
    house.stop.cancel();
    assert_eq!(closed(&mut socket).await, Some(1001));
    house.close().await;
}

/// The code that the socket is closed with.
async fn closed(socket: &mut Socket) -> Option<u16> {
    loop {
        match socket.next().await {
            Some(Ok(Message::Close(frame))) => return frame.map(|frame| u16::from(frame.code)),
            Some(Ok(_)) => {}
            _ => return None,
        }
    }
}

#[tokio::test]
async fn signing_out_ends_that_browsers_sockets_and_the_others_resume() {
    let house = house().await;
    let (one, two) = (house.sign_in("a1").await, house.sign_in("a1").await);
    let mut left = listen(&house, &one, "", None).await.unwrap();
    let mut right = listen(&house, &two, "", None).await.unwrap();
    for socket in [&mut left, &mut right] {
        socket.next().await.unwrap().unwrap();
    }
    assert_eq!(house.call("DELETE", &one, "/session", json!(null)).await.status, 204);
    assert_eq!(closed(&mut left).await, Some(4401));
    assert_eq!(closed(&mut right).await, Some(1013));
    assert!(listen(&house, &two, "", None).await.is_ok());
    assert!(listen(&house, &one, "", None).await.is_err());
    house.close().await;
}
