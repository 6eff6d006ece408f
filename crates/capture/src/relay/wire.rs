//! One socket of a call and who is at its other end.
//!
//! Once a source is settled the socket is connected to it: a packet costs a tenth less then (the way
//! is not looked up each time), and the kernel itself turns strangers away, so that nobody's flood
//! costs the thread anything. The price: those strangers are not counted against the call; the
//! system's own count has them (`UdpNoPorts`). A source learned behind NAT is not settled, for the
//! SDP's own address may still begin to send, and its socket stays open to it.

use super::source::Source;
use cheling_model::CallId;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Instant;

/// A socket and its source.
pub(super) struct Wire {
    socket: UdpSocket,
    pub(super) source: Source,
    connected: Option<SocketAddr>,
    /// It is an IPv6 socket that carries IPv4 too, by mapped addresses (RFC 4291 §2.5.5.2).
    is_dual: bool,
}

impl Wire {
    pub(super) fn new(socket: UdpSocket, is_dual: bool, source: Source) -> Self {
        Self { socket, source, connected: None, is_dual }
    }

    /// The socket, to be watched.
    pub(super) fn socket(&self) -> &UdpSocket {
        &self.socket
    }

    /// Takes the address of a new SDP, as [`Source::point`] does.
    pub(super) fn point(&mut self, sdp: Option<SocketAddr>, now: Instant) {
        self.source.point(sdp, now);
        if self.connected.is_some() && sdp.is_some() && self.connected != sdp {
            self.disconnect();
        }
    }

    /// Has the source found by checks from now on, or learned again.
    pub(super) fn find_by_checks(&mut self, is_found_by_checks: bool) {
        self.source.find_by_checks(is_found_by_checks);
        if is_found_by_checks && self.connected.is_some() {
            self.disconnect();
        }
    }

    fn disconnect(&mut self) {
        self.connected = None;
        if let Err(err) = rustix::net::connect_unspec(&self.socket) {
            tracing::warn!(%err, "media socket stays connected to the old address");
        }
    }

    /// Connects the socket to its source, if that is settled.
    pub(super) fn connect_if_settled(&mut self, call_id: CallId) {
        let Some(remote) = self.source.locked().filter(|_| self.source.is_settled()) else {
            return;
        };
        match self.socket.connect(remote) {
            Ok(()) => self.connected = Some(remote),
            Err(err) => tracing::debug!(%call_id, %err, "media socket stays unconnected"),
        }
    }

    /// Reads one datagram, and says who sent it: what came before the connecting may still wait in
    /// a connected socket, and leaving the question out saves nothing that can be measured.
    pub(super) fn receive(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let (len, mut from) = self.socket.recv_from(buffer)?;
        if self.is_dual {
            from.set_ip(from.ip().to_canonical());
        }
        Ok((len, from))
    }

    /// Sends to the source; false if there is nowhere to send.
    pub(super) fn send(&self, bytes: &[u8]) -> io::Result<bool> {
        let Some(to) = self.source.destination() else { return Ok(false) };
        let send = || match self.connected {
            Some(connected) if connected == to => self.socket.send(bytes),
            _ => self.socket.send_to(bytes, self.written(to)),
        };
        match send() {
            // A connected socket reports here that an earlier packet met a closed port; the
            // report took this packet's place, so it goes again.
            Err(err) if err.kind() == io::ErrorKind::ConnectionRefused => send().map(|_| true),
            sent => sent.map(|_| true),
        }
    }

    /// Sends something that is no media, and will be asked for again if it is lost.
    pub(super) fn answer(&self, bytes: &[u8], to: SocketAddr) {
        let _ = match self.connected {
            Some(connected) if connected == to => self.socket.send(bytes),
            _ => self.socket.send_to(bytes, self.written(to)),
        };
    }

    /// An address as this socket's family writes it.
    fn written(&self, to: SocketAddr) -> SocketAddr {
        match to.ip() {
            IpAddr::V4(ip) if self.is_dual => (ip.to_ipv6_mapped(), to.port()).into(),
            _ => to,
        }
    }
}
