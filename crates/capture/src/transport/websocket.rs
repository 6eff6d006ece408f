//! SIP over WebSocket (RFC 7118), for phones in browsers: one message is one SIP message.

use super::stream::{Connection, Ended, WRITE_WITHIN};
use bytes::Bytes;
use cheling_sip::reader::MAX_MESSAGE_BYTES;
use futures_util::{SinkExt as _, StreamExt as _};
use std::io;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until, timeout};
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::header::SEC_WEBSOCKET_PROTOCOL;
use tokio_tungstenite::tungstenite::http::{HeaderValue, StatusCode};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async_with_config};

/// The name of SIP among the protocols of WebSockets (RFC 7118 §4.1).
const SUBPROTOCOL: &str = "sip";
/// Octets that may wait for a peer that does not read.
const WRITE_BUFFER_BYTES: usize = 4 * MAX_MESSAGE_BYTES;
/// So many pings without anything coming back: it is gone.
const PINGS_UNANSWERED: u32 = 3;

/// Opens a WebSocket on an accepted stream.
pub(super) async fn accept<S>(stream: S) -> io::Result<WebSocketStream<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let config = WebSocketConfig::default()
        .read_buffer_size(8 * 1024)
        .write_buffer_size(0)
        .max_write_buffer_size(WRITE_BUFFER_BYTES)
        .max_message_size(Some(MAX_MESSAGE_BYTES))
        .max_frame_size(Some(MAX_MESSAGE_BYTES));
    let opened = accept_hdr_async_with_config(stream, agree, Some(config)).await;
    opened.map_err(|err| match err {
        Error::Io(err) => err,
        err => io::Error::new(io::ErrorKind::InvalidData, err),
    })
}

/// Takes only who offers to speak SIP (RFC 7118 §4.1).
// The type is the library's.
#[allow(clippy::result_large_err)]
fn agree(request: &Request, mut response: Response) -> Result<Response, ErrorResponse> {
    let offers = request.headers().get_all(SEC_WEBSOCKET_PROTOCOL);
    let offers = offers.iter().filter_map(|value| value.to_str().ok());
    if offers.flat_map(|value| value.split(',')).any(|name| name.trim() == SUBPROTOCOL) {
        let name = HeaderValue::from_static(SUBPROTOCOL);
        response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, name);
        return Ok(response);
    }
    let mut refusal = ErrorResponse::new(Some("only the subprotocol sip is spoken here\n".into()));
    *refusal.status_mut() = StatusCode::BAD_REQUEST;
    Err(refusal)
}

/// Carries messages both ways until it ends.
pub(super) async fn run<S>(mut connection: Connection, mut socket: WebSocketStream<S>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let ended = carry(&mut connection, &mut socket).await;
    if matches!(ended, Ended::ByUs | Ended::Idle) {
        let _ = timeout(WRITE_WITHIN, socket.close(None)).await;
    }
    connection.end(ended).await;
}

async fn carry<S>(connection: &mut Connection, socket: &mut WebSocketStream<S>) -> Ended
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let ping = connection.shared.config.websocket_ping;
    let mut pings = interval_at(Instant::now() + ping, ping);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let silence = ping.saturating_mul(PINGS_UNANSWERED);
    let mut deadline = Instant::now() + connection.shared.config.first_message_within;
    let mut has_spoken_sip = false;
    loop {
        let to_write = tokio::select! {
            received = socket.next() => {
                let bytes = match received {
                    None => return Ended::ByPeer,
                    Some(Err(err)) => return ending(err),
                    Some(Ok(Message::Text(text))) => Bytes::from(text),
                    Some(Ok(Message::Binary(bytes))) => bytes,
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => Bytes::new(),
                    // Answered by the library; the next read ends it.
                    Some(Ok(Message::Close(_) | Message::Frame(_))) => continue,
                };
                let is_keep_alive = bytes.iter().all(|byte| matches!(byte, b'\r' | b'\n'));
                has_spoken_sip |= !is_keep_alive;
                if has_spoken_sip {
                    deadline = Instant::now() + silence;
                }
                if !is_keep_alive {
                    if !connection.deliver(bytes).await {
                        return Ended::ByUs;
                    }
                    continue;
                }
                // RFC 5626 §3.5.1: two line ends are answered with one.
                if bytes.len() < 4 {
                    continue;
                }
                Message::text("\r\n")
            }
            queued = connection.queue.recv() => match queued {
                None => return Ended::ByUs,
                Some(bytes) => message(bytes),
            },
            _ = pings.tick() => Message::Ping(Bytes::new()),
            () = sleep_until(deadline) => return Ended::Idle,
        };
        match timeout(WRITE_WITHIN, socket.send(to_write)).await {
            Ok(Ok(())) => {}
            Ok(Err(Error::Io(err))) => return Ended::Write(err),
            Ok(Err(err)) => return Ended::Write(io::Error::other(err)),
            Err(late) => return Ended::Write(late.into()),
        }
    }
}

/// Text wherever it is text: browsers hand it to a script as such (RFC 7118 §5.1).
fn message(bytes: Bytes) -> Message {
    match Utf8Bytes::try_from(bytes.clone()) {
        Ok(text) => Message::Text(text),
        Err(_) => Message::Binary(bytes),
    }
}

fn ending(err: Error) -> Ended {
    match err {
        Error::ConnectionClosed
        | Error::AlreadyClosed
        | Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => Ended::ByPeer,
        Error::Io(err) if err.kind() == io::ErrorKind::UnexpectedEof => Ended::ByPeer,
        Error::Io(err) => Ended::Read(err),
        err => Ended::NotWebSocket(err),
    }
}
