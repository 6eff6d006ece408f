//! SIP over a stream (RFC 3261 §18), TCP or TLS: framing, keep-alives, deadlines.

use super::{Arrived, Shared, TransportCounters, WRITE_QUEUE};
use bytes::{Bytes, BytesMut};
use cheling_sip::Flow;
use cheling_sip::framing::{Frame, Framer};
use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

/// A write that the peer does not take for this long ends the connection.
pub(super) const WRITE_WITHIN: Duration = Duration::from_secs(10);

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum Ended {
    #[error("the other side closed it")]
    ByPeer,
    #[error("we let it go")]
    ByUs,
    #[error("nothing came for too long")]
    Idle,
    #[error("{0}")]
    NotSip(#[from] cheling_sip::framing::FramingError),
    #[error("not a WebSocket any more: {0}")]
    NotWebSocket(tokio_tungstenite::tungstenite::Error),
    #[error("cannot read: {0}")]
    Read(io::Error),
    #[error("cannot write: {0}")]
    Write(io::Error),
}

/// One connection's ends towards the SIP task.
pub(super) struct Connection {
    pub(super) flow: Flow,
    /// What is to be written.
    pub(super) queue: mpsc::Receiver<Bytes>,
    /// Weak, so that the connection ends when the SIP task lets go of it.
    pub(super) pongs: mpsc::WeakSender<Bytes>,
    /// Whether it is we who opened it.
    pub(super) is_ours: bool,
    pub(super) shared: Shared,
}

impl Connection {
    /// Tells the SIP task of an accepted connection, before its first message, so that it can be
    /// answered. `None` if there is no SIP task any more.
    pub(super) async fn open(flow: Flow, shared: Shared) -> Option<Self> {
        let (writer, queue) = mpsc::channel(WRITE_QUEUE);
        let pongs = writer.downgrade();
        shared.arrivals.send(Arrived::Opened { flow, writer }).await.ok()?;
        Some(Self { flow, queue, pongs, is_ours: false, shared })
    }

    /// Carries messages both ways until it ends.
    pub(super) async fn run(
        mut self,
        reader: impl AsyncRead + Unpin,
        writer: impl AsyncWrite + Unpin,
    ) {
        let mut queue = std::mem::replace(&mut self.queue, mpsc::channel(1).1);
        let ended = tokio::select! {
            ended = self.read(reader) => ended,
            ended = write(writer, &mut queue) => ended,
        };
        self.end(ended).await;
    }

    /// Tells how it ended.
    pub(super) async fn end(self, ended: Ended) {
        tracing::debug!(flow = %self.flow, %ended, "SIP connection ended");
        match ended {
            Ended::NotSip(_) | Ended::NotWebSocket(_) => {
                TransportCounters::bump(&self.shared.counters.broken_streams);
            }
            Ended::Write(_) => {
                let failed = Arrived::SendFailed { flow: self.flow };
                let _ = self.shared.arrivals.send(failed).await;
            }
            _ => {}
        }
        if !self.shared.stop.is_cancelled() {
            let _ = self.shared.arrivals.send(Arrived::Closed { flow: self.flow }).await;
        }
    }

    /// Hands one message on; `false` if nobody takes it any more.
    pub(super) async fn deliver(&self, bytes: Bytes) -> bool {
        TransportCounters::bump(&self.shared.counters.received_messages);
        self.shared.arrivals.send(Arrived::Message { flow: self.flow, bytes }).await.is_ok()
    }

    async fn read(&self, mut reader: impl AsyncRead + Unpin) -> Ended {
        let mut framer = if self.is_ours { Framer::of_ours() } else { Framer::default() };
        let mut buffer = BytesMut::with_capacity(8 * 1024);
        let mut deadline = Instant::now() + self.shared.config.first_message_within;
        loop {
            buffer.clear();
            let read = tokio::select! {
                read = reader.read_buf(&mut buffer) => read,
                () = sleep_until(deadline) => return Ended::Idle,
            };
            match read {
                Ok(0) => return Ended::ByPeer,
                Ok(_) => framer.push(&buffer),
                // TLS that was cut without goodbye (RFC 8446 §6.1): many phones do it.
                Err(err) if err.kind() == io::ErrorKind::UnexpectedEof => return Ended::ByPeer,
                Err(err) => return Ended::Read(err),
            }
            loop {
                match framer.next_frame() {
                    Ok(Some(Frame::Message(bytes))) => {
                        deadline = Instant::now() + self.shared.config.idle;
                        if !self.deliver(bytes).await {
                            return Ended::ByUs;
                        }
                    }
                    Ok(Some(Frame::Ping)) => {
                        deadline = deadline.max(Instant::now() + self.shared.config.idle);
                        if let Some(pongs) = self.pongs.upgrade() {
                            // A peer that pings and does not read gets no pong.
                            let _ = pongs.try_send(Bytes::from_static(b"\r\n"));
                        }
                    }
                    // Who answers our pings is there, however long nobody calls.
                    Ok(Some(Frame::Pong)) if self.is_ours => {
                        deadline = deadline.max(Instant::now() + self.shared.config.idle);
                    }
                    Ok(Some(Frame::Pong)) => {}
                    Ok(None) => break,
                    Err(err) => return err.into(),
                }
            }
        }
    }
}

/// Writes what is queued until the SIP task lets go of the queue.
async fn write(mut writer: impl AsyncWrite + Unpin, queue: &mut mpsc::Receiver<Bytes>) -> Ended {
    while let Some(bytes) = queue.recv().await {
        let written = timeout(WRITE_WITHIN, async {
            writer.write_all(&bytes).await?;
            // TLS keeps back what does not fill the socket at once.
            writer.flush().await
        });
        if let Err(err) = written.await.unwrap_or_else(|late| Err(late.into())) {
            return Ended::Write(err);
        }
    }
    let _ = timeout(WRITE_WITHIN, writer.shutdown()).await;
    Ended::ByUs
}
