//! SIP over UDP (RFC 3261 §18): one datagram is one message.

use super::{Arrived, Shared, TransportCounters};
use crate::dscp::Dscp;
use bytes::Bytes;
use cheling_media::stun;
use cheling_sip::Flow;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::UdpSocket;

/// The largest datagram there is.
const DATAGRAM_BYTES: usize = 64 * 1024;
/// What the kernel may hold for us while the SIP task is busy: some thousand messages. The
/// kernel grants less where `net.core.rmem_max` says so.
const KERNEL_BUFFER_BYTES: usize = 4 * 1024 * 1024;

/// After an error that recurs at once, so that it does not take a core.
const ERROR_PAUSE: Duration = Duration::from_millis(20);

/// The sending half of a listener.
#[derive(Debug)]
pub(super) struct Sender {
    socket: std::net::UdpSocket,
    local: SocketAddr,
}

impl Sender {
    pub(super) fn local(&self) -> SocketAddr {
        self.local
    }

    /// Sends at once or not at all: a full kernel buffer is a lost datagram, which SIP repeats.
    pub(super) fn send(&self, bytes: &[u8], to: SocketAddr) -> io::Result<()> {
        match self.socket.send_to(bytes, to) {
            Err(err) if err.kind() == io::ErrorKind::WouldBlock => {
                tracing::debug!(%to, "UDP send buffer is full, datagram dropped");
                Ok(())
            }
            sent => sent.map(|_| ()),
        }
    }
}

pub(super) fn bind(address: SocketAddr, dscp: Dscp) -> io::Result<(std::net::UdpSocket, Sender)> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    dscp.mark(&socket, address);
    for (granted, what) in [
        (socket.set_recv_buffer_size(KERNEL_BUFFER_BYTES), "receive"),
        (socket.set_send_buffer_size(KERNEL_BUFFER_BYTES), "send"),
    ] {
        if let Err(err) = granted {
            tracing::debug!(%address, %err, "small {what} buffer");
        }
    }
    // Linux counts twice what it was asked for.
    let granted = socket.recv_buffer_size().map_or(0, |bytes| bytes / 2);
    if granted < KERNEL_BUFFER_BYTES {
        tracing::info!(%address, granted, wanted = KERNEL_BUFFER_BYTES,
            "the kernel keeps little for bursts of SIP over UDP; net.core.rmem_max lets it keep more");
    }
    socket.bind(&address.into())?;
    let socket = std::net::UdpSocket::from(socket);
    let sender = Sender { local: socket.local_addr()?, socket: socket.try_clone()? };
    Ok((socket, sender))
}

/// Reads datagrams until told to stop.
pub(super) async fn receive(socket: std::net::UdpSocket, local: SocketAddr, shared: Shared) {
    let socket = match UdpSocket::from_std(socket) {
        Ok(socket) => socket,
        Err(err) => return tracing::error!(%local, %err, "cannot wait for datagrams"),
    };
    let mut buffer = vec![0; DATAGRAM_BYTES];
    loop {
        let received = tokio::select! {
            () = shared.stop.cancelled() => return,
            received = socket.recv_from(&mut buffer) => received,
        };
        let (len, from) = match received {
            Ok(received) => received,
            Err(err) => {
                tracing::warn!(%local, %err, "UDP receive");
                tokio::time::sleep(ERROR_PAUSE).await;
                continue;
            }
        };
        if is_keep_alive(&buffer[..len]) {
            continue;
        }
        // Phones that ask where they are seen, and whether the way is still open (RFC 5626 §4.4.2).
        // The answer is hardly longer than the question, so nobody is worth flooding with it.
        if let Some(request) = stun::Request::read(&buffer[..len]) {
            // A full buffer loses it; the phone asks again.
            let _ = socket.try_send_to(&request.success(from, None), from);
            continue;
        }
        TransportCounters::bump(&shared.counters.received_messages);
        let bytes = Bytes::copy_from_slice(&buffer[..len]);
        let arrived = Arrived::Message { flow: Flow::udp(local, from), bytes };
        if shared.arrivals.send(arrived).await.is_err() {
            return;
        }
    }
}

/// Phones behind NAT send empty lines, zeros or nothing at all to keep their binding.
fn is_keep_alive(bytes: &[u8]) -> bool {
    bytes.len() <= 8 && bytes.iter().all(|byte| matches!(byte, b'\r' | b'\n' | 0 | b' '))
}
