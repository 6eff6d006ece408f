//! A signed-in user without a browser: the HTTP session and the WebSocket of the console.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;

use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::http::{self, Answer};
use crate::within;

/// One event of the WebSocket, and when it arrived.
#[derive(Clone, Debug)]
pub struct Seen {
    /// When the frame was read.
    pub at: Instant,
    /// The event.
    pub event: Value,
}

impl Seen {
    /// Its `type`.
    pub fn kind(&self) -> &str {
        self.event["type"].as_str().unwrap_or_default()
    }

    /// The call it is about.
    pub fn call_id(&self) -> &str {
        self.event["call_id"].as_str().unwrap_or_default()
    }
}

/// A user at the console.
pub struct Desk {
    web: SocketAddr,
    cookie: String,
    events: mpsc::Receiver<Seen>,
    /// Everything seen so far, in order.
    pub seen: Vec<Seen>,
    /// How many of `seen` a `next_of` has passed.
    passed: usize,
    reader: JoinHandle<()>,
    clock_us: Arc<AtomicI64>,
}

impl Desk {
    /// Signs in and opens the WebSocket.
    ///
    /// # Panics
    /// If either is refused.
    pub async fn open(web: SocketAddr, username: &str, password: &str) -> Self {
        let cookie = sign_in(web, username, password).await.expect("sign-in");
        let clock_us = Arc::default();
        let (reader, events) = connect(web, &cookie, None, Arc::clone(&clock_us)).await;
        Self { web, cookie, events, seen: Vec::new(), passed: 0, reader, clock_us }
    }

    /// Cuts the WebSocket, as a lost network does.
    pub fn disconnect(&mut self) {
        self.reader.abort();
    }

    /// Connects again from the last event seen.
    pub async fn reconnect(&mut self) {
        self.drain();
        let since = self.seen.iter().filter_map(|seen| seen.event["seq"].as_u64()).max();
        let clock_us = Arc::clone(&self.clock_us);
        let since = Some(since.unwrap_or(0));
        let (reader, events) = connect(self.web, &self.cookie, since, clock_us).await;
        self.reader = reader;
        self.events = events;
    }

    /// The service's wall clock at its last heartbeat, microseconds since 1970; 0 before the first.
    pub fn clock_us(&self) -> i64 {
        self.clock_us.load(Ordering::Relaxed)
    }

    fn drain(&mut self) {
        while let Ok(seen) = self.events.try_recv() {
            self.seen.push(seen);
        }
    }

    /// Waits for the next event of this type; others are kept in `seen` and passed over.
    ///
    /// # Panics
    /// If the socket closes or nothing comes in time.
    pub async fn next_of(&mut self, kind: &str) -> Seen {
        loop {
            while let Some(seen) = self.seen.get(self.passed) {
                self.passed += 1;
                if seen.kind() == kind {
                    return seen.clone();
                }
            }
            let seen = within(kind, self.events.recv()).await;
            self.seen.push(seen.unwrap_or_else(|| panic!("the socket closed before {kind}")));
        }
    }

    /// All events so far of one call, by type.
    pub fn kinds_of(&mut self, call_id: &str) -> Vec<String> {
        self.drain();
        let of_call = self.seen.iter().filter(|seen| seen.call_id() == call_id);
        of_call.map(|seen| seen.kind().to_owned()).collect()
    }

    /// GET below `/api/v1`.
    pub async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[], None).await
    }

    /// GET with a Range.
    pub async fn get_range(&self, path: &str, range: &str) -> Answer {
        self.ask("GET", path, &[("Range", range)], None).await
    }

    /// POST of JSON below `/api/v1`.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.ask("POST", path, &[], Some(body)).await
    }

    /// PUT of JSON below `/api/v1`.
    pub async fn put(&self, path: &str, body: &Value) -> Answer {
        self.ask("PUT", path, &[], Some(body)).await
    }

    /// POST with an idempotency key.
    pub async fn post_once(&self, path: &str, key: &str, body: &Value) -> Answer {
        self.ask("POST", path, &[("Idempotency-Key", key)], Some(body)).await
    }

    /// Any request below `/api/v1`.
    pub async fn ask(
        &self,
        method: &str,
        path: &str,
        more: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Answer {
        let mut headers = vec![("Cookie", self.cookie.as_str())];
        headers.extend_from_slice(more);
        let body = body.map(Value::to_string).unwrap_or_default();
        if !body.is_empty() {
            headers.push(("Content-Type", "application/json"));
        }
        let path = format!("/api/v1{path}");
        let answer = http::request(self.web, method, &path, &headers, body.as_bytes());
        within(&path, answer).await.expect("an answer")
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// Signs in; returns the cookie, or the refusal.
///
/// # Errors
/// The answer, if it is not good.
pub async fn sign_in(web: SocketAddr, username: &str, password: &str) -> Result<String, u16> {
    let body = json!({ "username": username, "password": password }).to_string();
    let headers = [("Content-Type", "application/json")];
    let answer = http::request(web, "POST", "/api/v1/session", &headers, body.as_bytes());
    let answer = within("sign-in", answer).await.expect("an answer");
    match answer.header("set-cookie") {
        Some(cookie) if answer.status < 300 => {
            Ok(cookie.split(';').next().unwrap_or_default().to_owned())
        }
        _ => Err(answer.status),
    }
}

async fn connect(
    web: SocketAddr,
    cookie: &str,
    since: Option<u64>,
    clock_us: Arc<AtomicI64>,
) -> (JoinHandle<()>, mpsc::Receiver<Seen>) {
    let since = since.map(|since| format!("?since={since}")).unwrap_or_default();
    let url = format!("ws://{web}/api/v1/ws{since}");
    let mut request = url.into_client_request().unwrap();
    request.headers_mut().insert("Cookie", cookie.parse().unwrap());
    let connecting = tokio_tungstenite::connect_async(request);
    let (mut socket, _) = within("WebSocket", connecting).await.expect("WebSocket handshake");
    let (sender, events) = mpsc::channel(1024);
    let (subscribed, is_subscribed) = oneshot::channel();
    let mut subscribed = Some(subscribed);
    let reader = tokio::spawn(async move {
        // Reading answers pings by itself (tungstenite).
        while let Some(Ok(message)) = socket.next().await {
            let Message::Text(text) = message else { continue };
            if let Some(subscribed) = subscribed.take() {
                let _ = subscribed.send(());
            }
            let Ok(event) = serde_json::from_str::<Value>(&text) else { continue };
            let kind = event["type"].as_str().unwrap_or("heartbeat");
            if matches!(kind, "heartbeat" | "hello") {
                if let Some(at_us) = event["at"].as_i64() {
                    clock_us.store(at_us, Ordering::Relaxed);
                }
                continue;
            }
            if sender.send(Seen { at: Instant::now(), event }).await.is_err() {
                return;
            }
        }
    });
    // The handshake is answered before the socket is told of events; a first beat follows at once.
    within("the first heartbeat", is_subscribed).await.expect("a WebSocket that stays");
    (reader, events)
}
