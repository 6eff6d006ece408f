//! Carries whole SIP messages over UDP or TCP.
//!
//! Belongs here: sockets and framing. Does not: anything that reads past Content-Length.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Transport;

/// The largest message read; a TCP peer that sends more is disconnected.
const MAX_MESSAGE_BYTES: usize = 65_535;
/// A TCP peer that does not read for this long is disconnected.
const WRITE_DEADLINE: Duration = Duration::from_secs(5);

/// What the sockets bring. Bounded: when the phone is behind, UDP datagrams stay in the kernel's
/// buffer and TCP peers wait.
pub(crate) enum Received {
    /// One message, and where its response goes.
    Message { from: SocketAddr, bytes: Vec<u8> },
    /// Someone connected to our TCP port.
    Connected { from: SocketAddr, writer: OwnedWriteHalf },
}

/// The phone's end of the network.
pub(crate) struct Wire {
    local: SocketAddr,
    udp: Option<Arc<UdpSocket>>,
    connections: HashMap<SocketAddr, OwnedWriteHalf>,
    received: mpsc::Sender<Received>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Wire {
    /// Opens the port; what arrives comes out of the receiver.
    pub(crate) async fn open(
        transport: Transport,
        bind: IpAddr,
        port: u16,
        stop: CancellationToken,
    ) -> io::Result<(Self, mpsc::Receiver<Received>)> {
        let (received, queue) = mpsc::channel(256);
        let tasks = TaskTracker::new();
        let (local, udp) = match transport {
            Transport::Udp => {
                let socket = Arc::new(UdpSocket::bind((bind, port)).await?);
                tasks.spawn(receive_datagrams(socket.clone(), received.clone(), stop.clone()));
                (socket.local_addr()?, Some(socket))
            }
            Transport::Tcp => {
                let listener = TcpListener::bind((bind, port)).await?;
                let local = listener.local_addr()?;
                tasks.spawn(accept(listener, received.clone(), tasks.clone(), stop.clone()));
                (local, None)
            }
        };
        tasks.close();
        Ok((Self { local, udp, connections: HashMap::new(), received, tasks, stop }, queue))
    }

    /// The address that peers reach us at.
    pub(crate) fn local(&self) -> SocketAddr {
        self.local
    }

    /// Keeps the writing end of a connection that a peer opened.
    pub(crate) fn connected(&mut self, from: SocketAddr, writer: OwnedWriteHalf) {
        self.connections.insert(from, writer);
    }

    /// Sends one message, over the connection to that address if there is one.
    pub(crate) async fn send(&mut self, to: SocketAddr, bytes: &[u8]) -> io::Result<()> {
        if let Some(udp) = &self.udp {
            udp.send_to(bytes, to).await?;
            return Ok(());
        }
        if let Some(writer) = self.connections.get_mut(&to) {
            match write(writer, bytes).await {
                Ok(()) => return Ok(()),
                // The peer has gone since: one new connection is tried.
                Err(_) => self.connections.remove(&to),
            };
        }
        let (reader, mut writer) = TcpStream::connect(to).await?.into_split();
        self.tasks.spawn(receive_stream(to, reader, self.received.clone(), self.stop.clone()));
        write(&mut writer, bytes).await?;
        self.connections.insert(to, writer);
        Ok(())
    }

    /// Waits until every socket is closed; the stop token must have been cancelled.
    pub(crate) async fn close(mut self) {
        self.connections.clear();
        self.tasks.wait().await;
    }
}

async fn write(writer: &mut OwnedWriteHalf, bytes: &[u8]) -> io::Result<()> {
    tokio::time::timeout(WRITE_DEADLINE, writer.write_all(bytes))
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

async fn receive_datagrams(
    socket: Arc<UdpSocket>,
    received: mpsc::Sender<Received>,
    stop: CancellationToken,
) {
    let mut buffer = vec![0; MAX_MESSAGE_BYTES];
    loop {
        let result = tokio::select! {
            () = stop.cancelled() => return,
            result = socket.recv_from(&mut buffer) => result,
        };
        // An ICMP error of an earlier send shows up here; the transaction will time out.
        let Ok((len, from)) = result else { continue };
        // Keep-alives (RFC 5626 §3.5.1) carry nothing.
        if buffer[..len].iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let message = Received::Message { from, bytes: buffer[..len].to_vec() };
        if received.send(message).await.is_err() {
            return;
        }
    }
}

async fn accept(
    listener: TcpListener,
    received: mpsc::Sender<Received>,
    tasks: TaskTracker,
    stop: CancellationToken,
) {
    loop {
        let result = tokio::select! {
            () = stop.cancelled() => return,
            result = listener.accept() => result,
        };
        let Ok((stream, from)) = result else { continue };
        let (reader, writer) = stream.into_split();
        if received.send(Received::Connected { from, writer }).await.is_err() {
            return;
        }
        tasks.spawn(receive_stream(from, reader, received.clone(), stop.clone()));
    }
}

async fn receive_stream(
    from: SocketAddr,
    mut reader: OwnedReadHalf,
    received: mpsc::Sender<Received>,
    stop: CancellationToken,
) {
    let mut buffer = Vec::new();
    loop {
        while let Some(len) = message_length(&buffer) {
            let bytes: Vec<u8> = buffer.drain(..len).collect();
            if received.send(Received::Message { from, bytes }).await.is_err() {
                return;
            }
        }
        if buffer.len() > MAX_MESSAGE_BYTES {
            return;
        }
        tokio::select! {
            () = stop.cancelled() => return,
            result = reader.read_buf(&mut buffer) => match result {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            },
        }
        let blank = buffer.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        buffer.drain(..blank);
    }
}

/// The length of the first whole message in a stream (RFC 3261 §18.3), if it is all there.
fn message_length(buffer: &[u8]) -> Option<usize> {
    let head = buffer.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&buffer[..head]);
    let body: usize = text
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| {
            let name = name.trim();
            name.eq_ignore_ascii_case("content-length") || name.eq_ignore_ascii_case("l")
        })
        .and_then(|(_, value)| value.trim().parse().ok())
        .unwrap_or(0);
    (buffer.len() >= head.saturating_add(body)).then_some(head + body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_cut_where_content_length_says() {
        let one = b"OPTIONS sip:a SIP/2.0\r\nContent-Length: 3\r\n\r\nabc";
        assert_eq!(message_length(one), Some(one.len()));
        assert_eq!(message_length(&one[..one.len() - 1]), None);
        assert_eq!(message_length(b"OPTIONS sip:a SIP/2.0\r\nl:0\r\n\r\nNEXT"), Some(30));
        assert_eq!(message_length(b"OPTIONS sip:a SIP/2.0\r\n"), None);
    }
}
