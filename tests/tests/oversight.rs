//! What is done to running calls through the real binary: a recording paused, a call listened to,
//! a side that falls silent.
#![allow(clippy::unwrap_used, missing_docs)]

use std::path::{Path, PathBuf};
use std::time::Duration;

use cheling_media::g711::Law;
use cheling_media::ogg_opus::OggOpusReader;
use cheling_phone::{Sound, Transport, dominant_frequency_hz, level_dbfs, render, tone_share};
use cheling_tests::cheling::{Cheling, DID, incoming, secret};
use cheling_tests::desk::{Desk, sign_in};
use cheling_tests::recording::{CUSTOMER, OUR_SIDE, Recording};
use cheling_tests::{eventually, http, within};
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

const BEFORE_HZ: f32 = 440.0;
const SECRET_HZ: f32 = 1000.0;
const AFTER_HZ: f32 = 700.0;
const AGENT_HZ: f32 = 620.0;

/// The payload of the first packet of a tone: of one whose period divides 20 ms, of every packet.
fn payload(frequency_hz: f32) -> Vec<u8> {
    let (mut pcm, mut bytes) = ([0; 160], Vec::new());
    render(&Sound::tone(frequency_hz), &mut pcm);
    Law::A.encode(&pcm, &mut bytes);
    bytes
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.path() {
            path if path.is_dir() => files.extend(files_below(&path)),
            path => files.push(path),
        }
    }
    files
}

/// Whether these bytes are in any file of the dealership.
fn is_on_disk(cheling: &Cheling, bytes: &[u8]) -> bool {
    files_below(&cheling.folder().join("data")).iter().any(|path| {
        let file = std::fs::read(path).unwrap_or_default();
        file.windows(bytes.len()).any(|window| window == bytes)
    })
}

/// Where each burst of a lane begins, in seconds.
fn bursts(lane: &[i16]) -> Vec<f64> {
    let mut found = Vec::new();
    let mut was_loud = true;
    for (index, window) in lane.chunks_exact(40).enumerate() {
        let is_loud = level_dbfs(window) > -40.0;
        if is_loud && !was_loud {
            found.push(index as f64 / 200.0);
        }
        was_loud = is_loud;
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tone_of_the_pause_is_nowhere_and_what_comes_after_is_at_its_time() {
    let cheling = Cheling::start().await;
    let gateway = cheling.quiet_gateway().await;
    let mut desk = cheling.desk("agent8001").await;
    let (_phone, mut events) = cheling.phone("8001", Transport::Udp).await;
    let customer = gateway.call_in("13812345678", DID, Sound::tone(BEFORE_HZ)).await.unwrap();
    let agent = incoming(&mut events).await;
    // A burst each second, whatever is recorded of it: the clock of our side.
    let mut second = vec![0; 8000];
    render(&Sound::tone(AGENT_HZ), &mut second[..800]);
    agent.answer(Sound::looped(second)).await;
    within("the answer", customer.answered()).await.unwrap();
    let offered = desk.next_of("call.offered").await;
    let call_id = offered.call_id().to_owned();
    within("speech", agent.hears(Duration::from_millis(2500))).await.unwrap();

    let paused = desk.post(&format!("/calls/{call_id}/pause"), &Value::Null).await;
    assert_eq!(paused.status, 204);
    customer.play(Sound::tone(SECRET_HZ));
    agent.forget_heard();
    within("the secret", agent.hears(Duration::from_millis(1700))).await.unwrap();
    let heard = agent.heard();
    assert!(tone_share(&heard[heard.len() - 4000..], SECRET_HZ) > 0.9, "forwarded as ever");
    customer.play(Sound::tone(AFTER_HZ));
    within("the end of the secret", agent.hears(Duration::from_millis(600))).await.unwrap();
    let resumed = desk.post(&format!("/calls/{call_id}/resume"), &Value::Null).await;
    assert_eq!(resumed.status, 204);
    within("speech", agent.hears(Duration::from_millis(2500))).await.unwrap();

    // What was said before is in the journal, so what was said in the pause would be too.
    eventually("the journal", || async { is_on_disk(&cheling, &payload(BEFORE_HZ)).then_some(()) })
        .await;
    assert!(!is_on_disk(&cheling, &payload(SECRET_HZ)));
    customer.hang_up().await;
    desk.next_of("recording.ready").await;
    assert!(!is_on_disk(&cheling, &payload(SECRET_HZ)));

    let row = cheling.recording_of(&desk, &call_id).await;
    assert_eq!(row["verdict"], "paused", "{row}");
    let pause = &row["pauses"][0];
    let [from, until] = ["from_ms", "until_ms"].map(|it| pause[it].as_f64().unwrap() / 1000.0);
    assert!(until - from > 2.2 && from > 1.5, "{pause}");
    let path = format!("/recordings/{}/audio", row["recording_id"].as_str().unwrap());
    let wav = Recording::read(&desk.get(&path).await.body);
    assert_eq!(wav.seconds_of_tone(CUSTOMER, SECRET_HZ), 0.0);
    assert!(wav.seconds_of_tone(CUSTOMER, BEFORE_HZ) > 1.5);
    assert!(wav.seconds_of_tone(CUSTOMER, AFTER_HZ) > 1.5);
    let silence = ((from * 8000.0) as usize + 8)..((until * 8000.0) as usize - 8);
    assert!(wav.lanes.iter().all(|lane| lane[silence.clone()].iter().all(|it| *it == 0)));
    // Our side's bursts keep step across the pause.
    let bursts = bursts(&wav.lanes[OUR_SIDE]);
    let (before, after): (Vec<f64>, Vec<f64>) = bursts.iter().partition(|at| **at < from - 0.02);
    let after: Vec<f64> = after.into_iter().filter(|at| *at > until + 0.02).collect();
    assert!(before.len() >= 2 && after.len() >= 2, "{bursts:?} {pause}");
    let steps = after[0] - before[0];

    assert!((steps - steps.round()).abs() <= 0.040, "{bursts:?} {pause}");

    let opus = desk.get(&format!("{path}?format=opus")).await;
    assert_eq!(opus.status, 200);
    let mut opus = OggOpusReader::new(std::io::Cursor::new(opus.body), 8000).unwrap();
    let mut samples = Vec::new();
    while opus.read(&mut samples).unwrap() {}
    let left: Vec<i16> = samples.iter().step_by(2).copied().collect();
    let secret = left.chunks_exact(400).filter(|it| level_dbfs(it) > -40.0);
    assert_eq!(secret.filter(|it| tone_share(it, SECRET_HZ) > 0.5).count(), 0);
    cheling.check().await;
}

/// The socket of somebody who listens in.
struct Ear {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

/// One stretch of sound.
struct Stretch {
    at_us: i64,
    lanes: [Vec<i16>; 2],
}

impl Stretch {
    fn end_us(&self) -> i64 {
        self.at_us + self.lanes[0].len() as i64 * 125
    }
}

enum Heard {
    Sound(Stretch),
    Word(Value),
    End(u16),
}

impl Ear {
    async fn open(cheling: &Cheling, call_id: &str) -> Self {
        let cookie = sign_in(cheling.web(), "boss", &secret("boss")).await.unwrap();
        let url = format!("ws://{}/api/v1/calls/{call_id}/listen", cheling.web());
        let mut request = url.into_client_request().unwrap();
        request.headers_mut().insert("Cookie", cookie.parse().unwrap());
        let connecting = tokio_tungstenite::connect_async(request);
        let (socket, _) = within("listening", connecting).await.expect("a handshake");
        Self { socket }
    }

    async fn next(&mut self) -> Heard {
        loop {
            let message = within("sound", self.socket.next()).await.expect("open").unwrap();
            return match message {
                Message::Binary(bytes) => {
                    let (head, sound) = bytes.split_at(8);
                    let mut pcm = Vec::new();
                    Law::A.decode(sound, &mut pcm);
                    let lane =
                        |lane: usize| pcm.iter().skip(lane).step_by(2).copied().collect::<Vec<_>>();
                    Heard::Sound(Stretch {
                        at_us: f64::from_le_bytes(head.try_into().unwrap()) as i64,
                        lanes: [lane(0), lane(1)],
                    })
                }
                Message::Text(text) => Heard::Word(serde_json::from_str(&text).unwrap()),
                Message::Close(frame) => Heard::End(frame.map_or(0, |frame| frame.code.into())),
                _ => continue,
            };
        }
    }

    /// Listens until there is this much sound.
    async fn hears(&mut self, seconds: usize) -> Vec<Stretch> {
        let mut all = Vec::new();
        let mut samples = 0;
        while samples < seconds * 8000 {
            if let Heard::Sound(stretch) = self.next().await {
                samples += stretch.lanes[0].len();
                all.push(stretch);
            }
        }
        all
    }
}

fn lane(heard: &[Stretch], lane: usize) -> Vec<i16> {
    heard.iter().flat_map(|stretch| stretch.lanes[lane].iter().copied()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_call_is_heard_a_moment_later_customer_left() {
    let cheling = Cheling::start().await;
    let gateway = cheling.quiet_gateway().await;
    let mut desk = cheling.desk("agent8001").await;
    let (_phone, mut events) = cheling.phone("8001", Transport::Udp).await;
    let customer = gateway.call_in("13812345678", DID, Sound::tone(BEFORE_HZ)).await.unwrap();
    let agent = incoming(&mut events).await;
    agent.answer(Sound::tone(AGENT_HZ)).await;
    within("the answer", customer.answered()).await.unwrap();
    let call_id = desk.next_of("call.offered").await.call_id().to_owned();
    let boss = cheling.desk("boss").await;
    let running = boss.get("/calls/running").await.good();
    assert_eq!(running["calls"][0]["call_id"], call_id.as_str());

    let mut ear = Ear::open(&cheling, &call_id).await;
    let heard = ear.hears(4).await;
    for (side, hz) in [(CUSTOMER, BEFORE_HZ), (OUR_SIDE, AGENT_HZ)] {
        assert_eq!(dominant_frequency_hz(&lane(&heard, side)), Some(hz), "lane {side}");
    }
    for pair in heard.windows(2) {
        assert!(pair[1].at_us >= pair[0].end_us(), "in order, nothing twice");
    }

    // What is not recorded is not heard.
    desk.post(&format!("/calls/{call_id}/pause"), &Value::Null).await;
    customer.play(Sound::tone(SECRET_HZ));
    let paused = loop {
        match ear.next().await {
            Heard::Word(word) => break word,
            Heard::Sound(stretch) => {
                assert!(tone_share(&stretch.lanes[0], SECRET_HZ) < 0.5);
            }
            Heard::End(code) => panic!("closed with {code}"),
        }
    };
    assert_eq!(paused, json!({ "recording": "paused" }));
    within("the secret", agent.hears(Duration::from_secs(1))).await.unwrap();
    customer.play(Sound::tone(AFTER_HZ));
    within("the end of the secret", agent.hears(Duration::from_millis(600))).await.unwrap();
    desk.post(&format!("/calls/{call_id}/resume"), &Value::Null).await;
    let after = ear.hears(2).await;
    let left = lane(&after, CUSTOMER);
    let secret = left.chunks_exact(400).filter(|it| level_dbfs(it) > -40.0);
    assert_eq!(secret.filter(|it| tone_share(it, SECRET_HZ) > 0.5).count(), 0);
    assert!(tone_share(&left[left.len() - 4000..], AFTER_HZ) > 0.9);

    customer.hang_up().await;
    let code = loop {
        if let Heard::End(code) = ear.next().await {
            break code;
        }
    };
    assert_eq!(code, 1000);
}

async fn metric(cheling: &Cheling, name: &str) -> f64 {
    let answer = http::request(cheling.web(), "GET", "/metrics", &[], b"").await.unwrap();
    let text = String::from_utf8(answer.body).unwrap();
    let line = text.lines().find(|line| line.starts_with(&format!("{name} ")));
    line.unwrap_or_else(|| panic!("no {name}")).rsplit(' ').next().unwrap().parse().unwrap()
}

async fn next_audio(desk: &mut Desk, kind: &str) -> Value {
    loop {
        let seen = desk.next_of(kind).await;
        if !seen.event["audio"].is_null() {
            return seen.event["audio"].clone();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_phone_that_sends_nothing_is_told_of_while_the_call_runs() {
    let mut cheling = Cheling::start().await;
    cheling.stop().await;
    cheling.environment.push(("CHELING_MEDIA__SILENCE_SECONDS", "1".into()));
    cheling.run().await;
    let gateway = cheling.quiet_gateway().await;
    let (mut desk, mut boss) = (cheling.desk("agent8001").await, cheling.desk("boss").await);
    let (_phone, mut events) = cheling.phone("8001", Transport::Udp).await;
    let customer = gateway.call_in("13812345678", DID, Sound::Nothing).await.unwrap();
    let agent = incoming(&mut events).await;
    agent.answer(Sound::tone(AGENT_HZ)).await;
    within("the answer", customer.answered()).await.unwrap();

    let missing = json!({ "heard": "one_way", "missing": "customer" });
    assert_eq!(next_audio(&mut desk, "call.updated").await, missing);
    assert_eq!(next_audio(&mut boss, "call.alarm").await, missing);
    let running = boss.get("/calls/running").await.good();
    assert_eq!(running["calls"][0]["audio"], missing);
    assert_eq!(metric(&cheling, "cheling_calls_one_way").await, 1.0);

    customer.play(Sound::tone(BEFORE_HZ));
    let both = json!({ "heard": "both" });
    assert_eq!(next_audio(&mut desk, "call.updated").await, both);
    assert_eq!(next_audio(&mut boss, "call.alarm").await, both);
    assert_eq!(metric(&cheling, "cheling_calls_one_way").await, 0.0);

    customer.play(Sound::Nothing);
    agent.play(Sound::Nothing);
    eventually("silence", || async {
        (metric(&cheling, "cheling_calls_silent").await == 1.0).then_some(())
    })
    .await;
    assert!(metric(&cheling, "cheling_silence_alarms_total").await >= 2.0);
    customer.hang_up().await;
}
