//! SIP over TCP (RFC 3261 §18): connections both ways, framing, keep-alives, limits.

use super::{Arrived, Shared, TransportCounters, WRITE_QUEUE};
use bytes::{Bytes, BytesMut};
use cheling_sip::framing::{Frame, Framer};
use cheling_sip::{Flow, Transport};
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::{Instant, sleep_until, timeout};

const BACKLOG: i32 = 1024;
/// A write that the peer does not take for this long ends the connection.
const WRITE_WITHIN: Duration = Duration::from_secs(10);
/// After running out of file descriptors, how long before the next is accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

pub(super) fn bind(address: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    // So that a restart need not wait for the last run's connections to be forgotten.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    let listener = TcpListener::from_std(socket.into())?;
    let local = listener.local_addr()?;
    Ok((listener, local))
}

/// Accepts connections until told to stop.
pub(super) async fn accept(listener: TcpListener, shared: Shared) {
    loop {
        let accepted = tokio::select! {
            () = shared.stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, remote) = match accepted {
            Ok(accepted) => accepted,
            Err(err) => {
                tracing::warn!(%err, "cannot accept a SIP connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(permit) = std::sync::Arc::clone(&shared.permits).try_acquire_owned() else {
            TransportCounters::bump(&shared.counters.refused_connections);
            tracing::warn!(%remote, "too many SIP connections, one refused");
            continue;
        };
        let Ok(local) = stream.local_addr() else { continue };
        let connection = Some(shared.number_connection());
        let flow = Flow { transport: Transport::Tcp, local, remote, connection };
        let (writer, queue) = mpsc::channel(WRITE_QUEUE);
        let pongs = writer.downgrade();
        // Before its first message, so that the SIP task can answer it.
        if shared.arrivals.send(Arrived::Opened { flow, writer }).await.is_err() {
            return;
        }
        let connection = Connection { flow, pongs, shared: shared.clone() };
        shared.tasks.spawn(async move {
            connection.run(stream, queue).await;
            drop(permit);
        });
    }
}

/// Connects, writes what is queued, and goes on as any connection.
pub(super) async fn connect(
    flow: Flow,
    queue: mpsc::Receiver<Bytes>,
    pongs: mpsc::WeakSender<Bytes>,
    permit: OwnedSemaphorePermit,
    shared: Shared,
) {
    let connecting = timeout(shared.config.connect_within, TcpStream::connect(flow.remote));
    let connected = tokio::select! {
        () = shared.stop.cancelled() => return,
        connected = connecting => connected.unwrap_or_else(|late| Err(late.into())),
    };
    match connected {
        Ok(stream) => Connection { flow, pongs, shared }.run(stream, queue).await,
        Err(err) => {
            tracing::info!(%flow, %err, "cannot connect");
            let _ = shared.arrivals.send(Arrived::SendFailed { flow }).await;
            let _ = shared.arrivals.send(Arrived::Closed { flow }).await;
        }
    }
    drop(permit);
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("the other side closed it")]
    ByPeer,
    #[error("we let it go")]
    ByUs,
    #[error("nothing came for too long")]
    Idle,
    #[error("{0}")]
    NotSip(#[from] cheling_sip::framing::FramingError),
    #[error("cannot read: {0}")]
    Read(io::Error),
    #[error("cannot write: {0}")]
    Write(io::Error),
}

struct Connection {
    flow: Flow,
    /// Weak, so that the connection ends when the SIP task lets go of it.
    pongs: mpsc::WeakSender<Bytes>,
    shared: Shared,
}

impl Connection {
    async fn run(self, stream: TcpStream, mut queue: mpsc::Receiver<Bytes>) {
        // SIP messages are small and wanted now.
        let _ = stream.set_nodelay(true);
        let (reader, writer) = stream.into_split();
        let ended = tokio::select! {
            ended = self.read(reader) => ended,
            ended = write(writer, &mut queue) => ended,
        };
        tracing::debug!(flow = %self.flow, %ended, "SIP connection ended");
        match ended {
            Ended::NotSip(_) => TransportCounters::bump(&self.shared.counters.broken_streams),
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

    async fn read(&self, mut reader: OwnedReadHalf) -> Ended {
        let mut framer = Framer::default();
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
                Err(err) => return Ended::Read(err),
            }
            loop {
                match framer.next_frame() {
                    Ok(Some(Frame::Message(bytes))) => {
                        deadline = Instant::now() + self.shared.config.idle;
                        TransportCounters::bump(&self.shared.counters.received_messages);
                        let arrived = Arrived::Message { flow: self.flow, bytes };
                        if self.shared.arrivals.send(arrived).await.is_err() {
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
                    Ok(Some(Frame::Pong)) => {}
                    Ok(None) => break,
                    Err(err) => return err.into(),
                }
            }
        }
    }
}

/// Writes what is queued until the SIP task lets go of the queue.
async fn write(mut writer: OwnedWriteHalf, queue: &mut mpsc::Receiver<Bytes>) -> Ended {
    while let Some(bytes) = queue.recv().await {
        let written = timeout(WRITE_WITHIN, writer.write_all(&bytes)).await;
        if let Err(err) = written.unwrap_or_else(|late| Err(late.into())) {
            return Ended::Write(err);
        }
    }
    let _ = writer.shutdown().await;
    Ended::ByUs
}
