//! A dealership with its server, and a small HTTP client.

use cheling_lookup::desk::Desk;
use cheling_model::call::{Offer, Party};
use cheling_model::follow_up::Role;
use cheling_model::recording::{Container, Recording, Span};
use cheling_model::{
    CallId, DealershipId, Direction, EndCause, LegId, Presentation, RecordingId, TapEvent, TapKind,
    Timestamp, UserId, Verdict,
};
use cheling_records::{Database, insert, mint, testing, user};
use cheling_store::files::RecordingFiles;
use cheling_web::{
    Alarm, App, CallControl, CallRefusal, ControlRequest, DialRequest, Hub, ListenRefusal,
    LiveAudio, LivePart, Parts, Pausing, Registration, Settings, TrunkState, serve,
};
use futures_util::future::BoxFuture;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub const PASSWORD: &str = "correct horse battery";

/// A switch that notes what it is asked.
#[derive(Default)]
pub struct FakeSwitch {
    pub dialled: Mutex<Vec<DialRequest>>,
    pub hung_up: Mutex<Vec<CallId>>,
    pub paused: Mutex<Vec<(CallId, Pausing)>>,
    pub controlled: Mutex<Vec<ControlRequest>>,
    pub refuses: Mutex<Option<CallRefusal>>,
    pub changes: Mutex<u32>,
    pub trunks: Mutex<Vec<TrunkState>>,
}

impl CallControl for FakeSwitch {
    fn dial(&self, request: DialRequest) -> BoxFuture<'_, Result<(), CallRefusal>> {
        let refusal = *self.refuses.lock().unwrap();
        if refusal.is_none() {
            self.dialled.lock().unwrap().push(request);
        }
        Box::pin(async move { refusal.map_or(Ok(()), Err) })
    }
    fn hang_up(&self, call_id: CallId) -> BoxFuture<'_, Result<(), CallRefusal>> {
        self.hung_up.lock().unwrap().push(call_id);
        Box::pin(async { Ok(()) })
    }
    fn pause_recording(
        &self,
        call_id: CallId,
        _: UserId,
        wanted: Pausing,
    ) -> BoxFuture<'_, Result<(), CallRefusal>> {
        let refusal = *self.refuses.lock().unwrap();
        self.paused.lock().unwrap().push((call_id, wanted));
        Box::pin(async move { refusal.map_or(Ok(()), Err) })
    }
    fn control(&self, request: ControlRequest) -> BoxFuture<'_, Result<(), CallRefusal>> {
        let refusal = *self.refuses.lock().unwrap();
        if refusal.is_none() {
            self.controlled.lock().unwrap().push(request);
        }
        Box::pin(async move { refusal.map_or(Ok(()), Err) })
    }
    fn registrations(&self) -> BoxFuture<'_, Vec<Registration>> {
        Box::pin(async {
            vec![Registration {
                extension: "8001".into(),
                user_agent: "Yealink SIP-T31P".into(),
                address: "10.0.0.21:5060".into(),
            }]
        })
    }
    fn trunks(&self) -> BoxFuture<'_, Vec<TrunkState>> {
        let trunks = self.trunks.lock().unwrap().clone();
        Box::pin(async { trunks })
    }
    fn directory_changed(&self) -> BoxFuture<'_, ()> {
        *self.changes.lock().unwrap() += 1;
        Box::pin(async {})
    }
}

/// Running calls: what is said in them is what the test sends.
#[derive(Default)]
pub struct FakeCalls {
    pub running: Mutex<HashMap<CallId, mpsc::Sender<LivePart>>>,
}

impl LiveAudio for FakeCalls {
    fn listen(&self, call_id: CallId) -> Result<mpsc::Receiver<LivePart>, ListenRefusal> {
        let (sender, receiver) = mpsc::channel(8);
        match self.running.lock().unwrap().get_mut(&call_id) {
            None => Err(ListenRefusal::NotRunning),
            Some(taken) if !taken.is_closed() => Err(ListenRefusal::TooMany),
            Some(free) => {
                *free = sender;
                Ok(receiver)
            }
        }
    }
}

pub struct House {
    pub address: SocketAddr,
    pub db: Database,
    pub hub: Arc<Hub>,
    pub desk: Arc<Desk>,
    pub switch: Arc<FakeSwitch>,
    pub live: Arc<FakeCalls>,
    pub alarms: Arc<Mutex<Vec<Alarm>>>,
    pub dealership: DealershipId,
    pub folder: tempfile::TempDir,
    pub app: App,
    pub stop: CancellationToken,
    pub served: tokio::task::JoinHandle<()>,
}

/// Agents `a1` (8001), `a2` (8002), `admin`, `boss` (supervisor), `qa`; `b1` (9001) elsewhere.
pub async fn house() -> House {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("test.db").display());
    let db = Database::open(&url).await.unwrap();
    let dealership = testing::dealership(&db).await;
    let other = testing::dealership(&db).await;
    for (name, role, home) in [
        ("admin", Role::Admin, dealership),
        ("boss", Role::Supervisor, dealership),
        ("qa", Role::Qa, dealership),
    ] {
        person(&db, home, name, role).await;
    }
    for (home, number) in [(dealership, "8001"), (dealership, "8002"), (other, "9001")] {
        let id = testing::agent(&db, home, number).await;
        user::set_password(&db, id, &password_hash(), now()).await.unwrap();
    }
    let desk = Arc::new(Desk::new(db.clone()).await.unwrap());
    let hub = Arc::new(Hub::default());
    let switch = Arc::new(FakeSwitch::default());
    let live = Arc::new(FakeCalls::default());
    let settings = Settings {
        secure_cookies: false,
        trusted_proxies: Vec::new(),
        metrics_token: Some("metrics-token".into()),
        metrics_open: false,
        time_zone: jiff::tz::TimeZone::fixed(jiff::tz::offset(8)),
        realm: "cheling".into(),
        registrar: "10.0.0.5:5060".into(),
        opus: Default::default(),
        container: Container::Wav,
        opus_after_days: 90,
    };
    let alarms = Arc::new(Mutex::<Vec<Alarm>>::default());
    let raised = Arc::clone(&alarms);
    let app = App::new(Parts {
        settings,
        database: db.clone(),
        hub: Arc::clone(&hub),
        desk: Arc::clone(&desk),
        calls: Arc::clone(&switch) as Arc<dyn CallControl>,
        live: Arc::clone(&live) as Arc<dyn LiveAudio>,
        alarms: Arc::new(move || raised.lock().unwrap().clone()),
        files: RecordingFiles::open(folder.path().join("recordings")).unwrap(),
        registry: prometheus_client::registry::Registry::default(),
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let served = tokio::spawn(serve(app.clone(), listener, stop.clone()));
    House { address, db, hub, desk, switch, live, alarms, dealership, folder, app, stop, served }
}

fn password_hash() -> String {
    static HASH: OnceLock<String> = OnceLock::new();
    HASH.get_or_init(|| cheling_web::auth::password::hash_now(PASSWORD).unwrap()).clone()
}

async fn person(db: &Database, home: DealershipId, name: &str, role: Role) {
    let row = user::User {
        user_id: mint(),
        dealership_id: home,
        sign_in_name: name.into(),
        display_name: name.to_uppercase(),
        role,
        team: String::new(),
        password_hash: password_hash(),
        disabled: false,
        created_at: now(),
        updated_at: now(),
    };
    insert(db, &row).await.unwrap();
}

pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Timestamp::from_micros(since.as_micros() as i64)
}

/// What the fixtures call the agents of [`house`].
fn sign_in_name(name: &str) -> &str {
    match name {
        "a1" => "agent8001",
        "a2" => "agent8002",
        "b1" => "agent9001",
        name => name,
    }
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HashMap<String, String>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|_| panic!("{} {}", self.status, String::from_utf8_lossy(&self.body)))
    }
    pub fn code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap_or("").to_owned()
    }
}

impl House {
    /// Sends one request and reads its answer to the end.
    pub async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n", self.address);
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        head.push_str("Connection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        // A server that refuses a large body may close before it has all of it.
        let _ = stream.write_all(body).await;
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes).await;
        let end = bytes.windows(4).position(|it| it == b"\r\n\r\n").expect("a head");
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers: HashMap<String, String> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .collect();
        let body = &bytes[end + 4..];
        let is_chunked = headers.get("transfer-encoding").is_some_and(|it| it == "chunked");
        let body = if is_chunked { unchunked(body) } else { body.to_vec() };
        Answer { status, headers, body }
    }

    /// Signs in and answers the `Cookie` header's value.
    pub async fn sign_in(&self, name: &str) -> String {
        let body = serde_json::json!({ "username": sign_in_name(name), "password": PASSWORD });
        let answer = self.send("POST", "/api/v1/session", &JSON, body.to_string().as_bytes()).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.headers["set-cookie"].split(';').next().unwrap().to_owned()
    }

    pub async fn get(&self, cookie: &str, path: &str) -> Answer {
        self.send("GET", &format!("/api/v1{path}"), &[("Cookie", cookie)], b"").await
    }

    pub async fn call(
        &self,
        method: &str,
        cookie: &str,
        path: &str,
        body: serde_json::Value,
    ) -> Answer {
        let headers = [("Cookie", cookie), ("Content-Type", "application/json")];
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.send(method, &format!("/api/v1{path}"), &headers, body.as_bytes()).await
    }

    pub async fn user_id(&self, name: &str) -> UserId {
        let found = user::by_sign_in_name(&self.db, sign_in_name(name)).await.unwrap();
        found.unwrap().user_id
    }

    /// Lets the desk take an event, and the browsers hear of it.
    pub async fn happens(&self, call_id: CallId, at: Timestamp, kind: TapKind) {
        for notice in self.desk.handle(TapEvent { call_id, at, kind }).await {
            self.hub.publish(&notice);
        }
    }

    /// A customer calls, `extension` answers: an inbound call in progress.
    pub async fn inbound(
        &self,
        dealership_id: DealershipId,
        from: &str,
        extension: &str,
    ) -> CallId {
        let call_id: CallId = mint();
        let at = now();
        let offer = Offer {
            direction: Direction::Inbound,
            dealership_id,
            caller: Party {
                number: from.into(),
                presentation: match from {
                    "anonymous" => Presentation::Withheld,
                    _ => Presentation::Allowed,
                },
                display_name: None,
            },
            called: "58998000".into(),
            trunk: Some("gateway".into()),
            line_id: None,
            extension: None,
            user_id: None,
            follow_up_id: None,
        };
        let leg: LegId = mint();
        self.happens(call_id, at, TapKind::Offered(offer)).await;
        let extension = extension.to_owned();
        self.happens(call_id, at, TapKind::Ringing { leg, extension: extension.clone() }).await;
        self.happens(call_id, at, TapKind::Answered { extension }).await;
        call_id
    }

    /// It ends, and its recording lands.
    pub async fn recorded(&self, dealership_id: DealershipId, call_id: CallId) -> RecordingId {
        let at = now();
        let ended = TapKind::Ended { cause: EndCause::HungUp, by: None, sip_status: None };
        self.happens(call_id, at, ended).await;
        let recording_id: RecordingId = mint();
        let path = format!("2026/11/22/{recording_id}.wav");
        let file = self.folder.path().join("recordings").join(&path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, audio_bytes()).unwrap();
        std::fs::write(file.with_extension("peaks"), b"CLPK\x01\x02\x28\x00\0\0\0\0").unwrap();
        let row = Recording {
            recording_id,
            call_id,
            dealership_id,
            path,
            container: Container::Wav,
            started_at: at,
            duration_us: 60_000_000,
            sample_rate_hz: 8000,
            bytes: audio_bytes().len() as i64,
            sha256: "ab".repeat(32),
            verdict: Verdict::Ok,
            verdict_detail: String::new(),
            encodings: ["PCMA".into(), "PCMA".into()],
            quality: Default::default(),
            speech: Default::default(),
            pauses: vec![Span { from_ms: 200, until_ms: 600 }],
            digits: vec![Span { from_ms: 700, until_ms: 900 }],
        };
        cheling_records::recording::insert(&self.db, &row).await.unwrap();
        for notice in self.desk.recordings_landed(std::slice::from_ref(&row), at).await {
            self.hub.publish(&notice);
        }
        recording_id
    }

    /// Stops the server and waits until it has let go.
    pub async fn close(self) {
        self.stop.cancel();
        tokio::time::timeout(Duration::from_secs(10), self.served).await.unwrap().unwrap();
        self.db.close().await;
    }
}

/// A body without its chunk sizes (RFC 9112 §7.1); panics if its end is missing.
fn unchunked(mut body: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    loop {
        let line = body.windows(2).position(|it| it == b"\r\n").expect("a chunk size");
        let size = usize::from_str_radix(str::from_utf8(&body[..line]).unwrap(), 16).unwrap();
        if size == 0 {
            return whole;
        }
        body = &body[line + 2..];
        whole.extend_from_slice(&body[..size]);
        body = &body[size + 2..];
    }
}

/// What every recording of these tests holds: 1000 bytes that tell where they stand.
pub fn audio_bytes() -> Vec<u8> {
    (0..1000_u32).map(|n| (n % 251) as u8).collect()
}

pub const JSON: [(&str, &str); 1] = [("Content-Type", "application/json")];
