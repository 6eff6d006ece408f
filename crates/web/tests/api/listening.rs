//! A running call heard over the API: who may, what comes, what is written down.

use crate::house::{House, house, now};
use cheling_media::g711::Law;
use cheling_model::CallId;
use cheling_records::admin;
use cheling_web::LivePart;
use futures_util::StreamExt as _;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

async fn listen(house: &House, name: &str, call: CallId, origin: &str) -> Result<Socket, u16> {
    let cookie = house.sign_in(name).await;
    let url = format!("ws://{}/api/v1/calls/{call}/listen", house.address);
    let mut request = url.into_client_request().unwrap();
    request.headers_mut().insert("cookie", cookie.parse().unwrap());
    request.headers_mut().insert("origin", origin.parse().unwrap());
    match connect_async(request).await {
        Ok((socket, _)) => Ok(socket),
        Err(Error::Http(answer)) => Err(answer.status().as_u16()),
        Err(error) => panic!("{error}"),
    }
}

async fn next(socket: &mut Socket) -> Message {
    let next = async {
        loop {
            match socket.next().await.expect("open").expect("no error") {
                Message::Ping(_) => {}
                message => return message,
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(5), next).await.expect("a message comes")
}

/// Action and whether a detail is there, oldest first, as soon as there are `count`.
async fn audited(house: &House, count: usize) -> Vec<(String, bool)> {
    for _ in 0..10_000 {
        let page = admin::audit_log(&house.db, house.dealership, None, 200).await.unwrap();
        let lines = page.items.into_iter().rev().filter(|it| it.action.starts_with("call.listen"));
        let lines: Vec<_> = lines.map(|it| (it.action, !it.detail.is_empty())).collect();
        if lines.len() >= count {
            return lines;
        }
        tokio::task::yield_now().await;
    }
    panic!("no {count} rows");
}

fn runs(house: &House, call: CallId) {
    let (free, _) = mpsc::channel(1);
    house.live.running.lock().unwrap().insert(call, free);
}

#[tokio::test]
async fn who_oversees_hears_both_sides_until_the_call_is_over() {
    let house = house().await;
    let ours = format!("http://{}", house.address);
    let call = house.inbound(house.dealership, "13812345678", "8001").await;
    assert_eq!(listen(&house, "boss", call, &ours).await.unwrap_err(), 404, "not on this node");
    runs(&house, call);
    for (name, origin, want) in [
        ("a1", ours.as_str(), 403),
        ("qa", &ours, 403),
        ("b1", &ours, 403),
        ("boss", "http://elsewhere.example", 403),
    ] {
        assert_eq!(listen(&house, name, call, origin).await.unwrap_err(), want, "{name}");
    }
    let mut socket = listen(&house, "boss", call, &ours).await.unwrap();
    assert_eq!(listen(&house, "admin", call, &ours).await.unwrap_err(), 409);
    let parts = house.live.running.lock().unwrap()[&call].clone();
    let at = now();
    let samples = vec![8031, -8031, 40, -40];
    parts.send(LivePart::Sound { at, samples: samples.clone() }).await.unwrap();
    let Message::Binary(bytes) = next(&mut socket).await else { panic!("no sound") };
    let (head, sound) = bytes.split_at(8);
    assert_eq!(f64::from_le_bytes(head.try_into().unwrap()) as i64, at.as_micros());
    let mut heard = Vec::new();
    Law::A.decode(sound, &mut heard);
    for (heard, said) in heard.iter().zip(samples) {
        assert!((heard - said).abs() < 300, "{heard} {said}");
    }
    for (is_paused, want) in [(true, "paused"), (false, "on")] {
        parts.send(LivePart::Paused(is_paused)).await.unwrap();
        let Message::Text(text) = next(&mut socket).await else { panic!("no word") };
        assert_eq!(text.as_str(), format!(r#"{{"recording":"{want}"}}"#));
    }
    assert_eq!(audited(&house, 1).await, [("call.listen".to_owned(), false)]);
    drop(parts);
    house.live.running.lock().unwrap().clear();
    let Message::Close(Some(frame)) = next(&mut socket).await else { panic!("no end") };
    assert_eq!(u16::from(frame.code), 1000);
    let rows = audited(&house, 2).await;
    assert_eq!(rows[1], ("call.listen_end".to_owned(), true));
    house.close().await;
}

#[tokio::test]
async fn who_closes_the_page_listens_no_longer() {
    let house = house().await;
    let ours = format!("http://{}", house.address);
    let call = house.inbound(house.dealership, "13812345678", "8001").await;
    runs(&house, call);
    let socket = listen(&house, "boss", call, &ours).await.unwrap();
    let parts = house.live.running.lock().unwrap()[&call].clone();
    drop(socket);
    tokio::time::timeout(Duration::from_secs(5), parts.closed()).await.unwrap();
    assert_eq!(audited(&house, 2).await.len(), 2);
    house.close().await;
}
