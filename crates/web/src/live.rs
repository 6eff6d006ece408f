//! A running call heard in the browser: what the API asks for, and the socket that carries it.
//!
//! Each binary message is a stretch of both sides: the moment of its first sample, microseconds
//! since 1970-01-01 UTC as a 64-bit float, little endian; then G.711 A-law at 8000 Hz, left (the
//! customer) and right (our side) in turn. Text messages tell that the recording is paused, for
//! then nothing can be heard, and that it goes on. The socket closes with 1000 when the call ends.

use crate::app::App;
use crate::socket::holds;
use cheling_media::g711::Law;
use cheling_model::{CallId, DealershipId, Timestamp, UserId};
use cheling_records::admin::{self, Audit};
use cheling_records::mint;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use warp::ws::{Message, WebSocket, Ws};

/// How often the browser is asked whether it is there.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// A browser that answers nothing for so long is gone.
const SILENCE: Duration = Duration::from_secs(30);
/// How long one message may take to get into the kernel.
const PATIENCE: Duration = Duration::from_secs(5);
/// Heartbeats between two looks at whether the session still holds.
const SESSION_CHECK: u32 = 6;
const MESSAGE_LIMIT_BYTES: usize = 4096;
const WRITE_LIMIT_BYTES: usize = 1 << 20;

/// What is heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LivePart {
    /// Both sides, 8000 Hz, left and right in turn.
    Sound {
        /// When the first sample was spoken.
        at: Timestamp,
        /// The samples.
        samples: Vec<i16>,
    },
    /// The recording is paused, or goes on: while it is, there is no sound.
    Paused(bool),
}

/// Why nobody can listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListenRefusal {
    /// The call does not run, or not here.
    NotRunning,
    /// As many listen as may.
    TooMany,
}

/// Running calls, as far as they can be heard here.
pub trait LiveAudio: Send + Sync + 'static {
    /// Begins to listen; it ends when the call does, or when the receiver is dropped.
    ///
    /// # Errors
    /// [`ListenRefusal`].
    fn listen(&self, call_id: CallId) -> Result<mpsc::Receiver<LivePart>, ListenRefusal>;
}

/// A process in which no calls run.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoLiveAudio;

impl LiveAudio for NoLiveAudio {
    fn listen(&self, _: CallId) -> Result<mpsc::Receiver<LivePart>, ListenRefusal> {
        Err(ListenRefusal::NotRunning)
    }
}

/// Who listens to what.
#[derive(Clone, Debug)]
pub struct LiveListener {
    /// The user.
    pub user_id: UserId,
    /// The user's dealership.
    pub dealership_id: DealershipId,
    /// The session's token, as the database knows it.
    pub token_hash: String,
    /// From where.
    pub ip: String,
    /// The call.
    pub call_id: CallId,
}

impl LiveListener {
    /// Writes one line of the audit log.
    ///
    /// # Errors
    /// As the database.
    pub async fn audit(
        &self,
        app: &App,
        action: &str,
        detail: String,
    ) -> Result<(), cheling_records::Error> {
        let line = Audit {
            audit_id: mint(),
            dealership_id: self.dealership_id,
            user_id: Some(self.user_id),
            action: action.into(),
            object_kind: "call".into(),
            object_id: self.call_id.0.to_string(),
            ip: self.ip.clone(),
            reason: String::new(),
            detail,
            at: app.now(),
        };
        admin::audit(&app.database, &line).await
    }
}

/// Finishes the handshake. The socket lives until either end closes it or the call is over.
pub fn accept(
    app: &App,
    handshake: Ws,
    listener: LiveListener,
    parts: mpsc::Receiver<LivePart>,
) -> warp::reply::Response {
    use warp::reply::Reply as _;
    let app = app.clone();
    handshake
        .max_message_size(MESSAGE_LIMIT_BYTES)
        .max_frame_size(MESSAGE_LIMIT_BYTES)
        .max_write_buffer_size(WRITE_LIMIT_BYTES)
        .on_upgrade(move |socket| {
            let tracked = app.sockets.clone();
            tracked.track_future(run(app, socket, listener, parts))
        })
        .into_response()
}

async fn run(app: App, socket: WebSocket, listener: LiveListener, parts: mpsc::Receiver<LivePart>) {
    let since = Instant::now();
    let (mut sink, stream) = socket.split();
    let closing = carry(&app, &listener, parts, &mut sink, stream).await;
    let heard = format!("{} s", since.elapsed().as_secs());
    if let Err(error) = listener.audit(&app, "call.listen_end", heard).await {
        tracing::error!(call_id = %listener.call_id, %error, "no audit row of who has listened");
    }
    if let Some((code, reason)) = closing {
        let _gone_anyway = timeout(PATIENCE, async {
            sink.send(Message::close_with(code, reason)).await?;
            sink.close().await
        })
        .await;
    }
}

/// Sends until there is a reason to stop; `None` if the other end is gone.
async fn carry(
    app: &App,
    listener: &LiveListener,
    mut parts: mpsc::Receiver<LivePart>,
    sink: &mut SplitSink<WebSocket, Message>,
    mut stream: SplitStream<WebSocket>,
) -> Option<(u16, &'static str)> {
    let mut heartbeat = interval(HEARTBEAT);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut heard = Instant::now();
    let mut beats: u32 = 0;
    loop {
        let message = tokio::select! {
            () = app.stop.cancelled() => return Some((1001, "the server stops")),
            part = parts.recv() => match part {
                Some(part) => message(&part),
                None => return Some((1000, "the call is over")),
            },
            message = stream.next() => match message {
                Some(Ok(message)) if !message.is_close() => {
                    heard = Instant::now();
                    continue;
                }
                _ => return None,
            },
            _ = heartbeat.tick() => {
                if heard.elapsed() > SILENCE {
                    return None;
                }
                beats = beats.wrapping_add(1);
                if beats.is_multiple_of(SESSION_CHECK) && !holds(app, &listener.token_hash).await {
                    return Some((4401, "signed out"));
                }
                Message::ping(Vec::new())
            }
        };
        timeout(PATIENCE, sink.send(message)).await.ok()?.ok()?;
    }
}

fn message(part: &LivePart) -> Message {
    match part {
        LivePart::Sound { at, samples } => {
            let mut bytes = Vec::with_capacity(8 + samples.len());
            bytes.extend_from_slice(&(at.as_micros() as f64).to_le_bytes());
            Law::A.encode(samples, &mut bytes);
            Message::binary(bytes)
        }
        LivePart::Paused(true) => Message::text(r#"{"recording":"paused"}"#),
        LivePart::Paused(false) => Message::text(r#"{"recording":"on"}"#),
    }
}
