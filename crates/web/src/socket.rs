//! One browser's WebSocket: what it missed, then what happens, and a heartbeat.

use crate::app::App;
use crate::hub::Subscription;
use cheling_model::UserId;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use warp::ws::{Message, WebSocket, Ws};

/// A browser that hears nothing for twice this and a bit more takes the connection for dead.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// A browser answers every ping; one that is silent for this long is gone.
const SILENCE: Duration = Duration::from_secs(30);
/// How long one message may take to get into the kernel.
const PATIENCE: Duration = Duration::from_secs(10);
/// Heartbeats between two looks at whether the session still holds.
const SESSION_CHECK: u32 = 6;
/// Browsers say nothing that we read.
const MESSAGE_LIMIT_BYTES: usize = 4096;
const WRITE_LIMIT_BYTES: usize = 1 << 20;

/// Why we close (RFC 6455 §7.4; the private range for the session).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Closing {
    /// The server stops.
    GoingAway = 1001,
    /// It did not read fast enough; it may resume at once.
    TryAgain = 1013,
    /// The session has ended.
    SignedOut = 4401,
}

/// Whose socket it is.
#[derive(Clone, Debug)]
pub struct Listener {
    /// The user.
    pub user_id: UserId,
    /// The session's token, as the database knows it.
    pub token_hash: String,
    /// The last number seen.
    pub since: Option<u64>,
}

/// Finishes the handshake. The socket lives until either end closes it.
pub fn accept(app: &App, handshake: Ws, listener: Listener) -> warp::reply::Response {
    use warp::reply::Reply as _;
    let app = app.clone();
    handshake
        .max_message_size(MESSAGE_LIMIT_BYTES)
        .max_frame_size(MESSAGE_LIMIT_BYTES)
        .max_write_buffer_size(WRITE_LIMIT_BYTES)
        .on_upgrade(move |socket| {
            let tracked = app.sockets.clone();
            tracked.track_future(run(app, socket, listener))
        })
        .into_response()
}

async fn run(app: App, socket: WebSocket, listener: Listener) {
    let subscription = app.hub.subscribe(listener.user_id, listener.since);
    let id = subscription.socket;
    let (mut sink, stream) = socket.split();
    let closing = talk(&app, &listener, subscription, &mut sink, stream).await;
    app.hub.unsubscribe(listener.user_id, id);
    if let Some(closing) = closing {
        let reason = match closing {
            Closing::GoingAway => "the server stops",
            Closing::TryAgain => "too slow; resume",
            Closing::SignedOut => "signed out",
        };
        let _gone_anyway = timeout(PATIENCE, async {
            sink.send(Message::close_with(closing as u16, reason)).await?;
            sink.close().await
        })
        .await;
    }
}

/// Sends until there is a reason to stop; `None` if the other end is gone.
async fn talk(
    app: &App,
    listener: &Listener,
    subscription: Subscription,
    sink: &mut SplitSink<WebSocket, Message>,
    mut stream: SplitStream<WebSocket>,
) -> Option<Closing> {
    let Subscription { replay, mut seq, mut events, .. } = subscription;
    for frame in replay {
        send(sink, Message::text(&*frame.text)).await?;
    }
    let mut heartbeat = interval(HEARTBEAT);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut heard = Instant::now();
    let mut beats: u32 = 0;
    loop {
        tokio::select! {
            () = app.stop.cancelled() => return Some(Closing::GoingAway),
            frame = events.recv() => {
                // Too slow, or somebody signed out or lost the right: the session says which.
                let Some(frame) = frame else {
                    let is_good = holds(app, &listener.token_hash).await;
                    return Some(if is_good { Closing::TryAgain } else { Closing::SignedOut });
                };
                seq = frame.seq;
                send(sink, Message::text(&*frame.text)).await?;
            }
            message = stream.next() => match message {
                Some(Ok(message)) if !message.is_close() => heard = Instant::now(),
                _ => return None,
            },
            _ = heartbeat.tick() => {
                if heard.elapsed() > SILENCE {
                    return None;
                }
                beats = beats.wrapping_add(1);
                if beats.is_multiple_of(SESSION_CHECK) && !holds(app, &listener.token_hash).await {
                    return Some(Closing::SignedOut);
                }
                let at = app.now().as_micros();
                let text = format!(r#"{{"seq":{seq},"at":{at},"type":"heartbeat"}}"#);
                send(sink, Message::text(text)).await?;
                send(sink, Message::ping(Vec::new())).await?;
            }
        }
    }
}

/// `None` if it could not be sent in time.
async fn send(sink: &mut SplitSink<WebSocket, Message>, message: Message) -> Option<()> {
    timeout(PATIENCE, sink.send(message)).await.ok()?.ok()
}

/// Whether the session is still good. A database that does not answer signs nobody out.
pub(crate) async fn holds(app: &App, token_hash: &str) -> bool {
    let found = cheling_records::session::signed_in(&app.database, token_hash, app.now()).await;
    !matches!(found, Ok(None))
}
