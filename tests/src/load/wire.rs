//! The little of SIP that a load generator has to read.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// One message, as text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Text<'a>(pub &'a str);

impl<'a> Text<'a> {
    /// Reads a datagram; `None` if it is not text.
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        std::str::from_utf8(bytes).ok().map(Self)
    }

    /// The status of a response; `None` of a request.
    pub fn status(self) -> Option<u16> {
        self.0.strip_prefix("SIP/2.0 ")?.get(..3)?.parse().ok()
    }

    /// The method of a request.
    pub fn method(self) -> &'a str {
        self.0.split(' ').next().unwrap_or_default()
    }

    /// All values of a header that is written in full.
    pub fn all(self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.split("\r\n").take_while(|line| !line.is_empty()).filter_map(move |line| {
            let (found, value) = line.split_once(':')?;
            found.trim_end().eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// The first value of a header that is written in full.
    pub fn first(self, name: &'a str) -> &'a str {
        self.all(name).next().unwrap_or_default()
    }

    /// The URI between angle brackets of a header.
    pub fn uri(self, name: &'a str) -> &'a str {
        let value = self.first(name);
        value.split_once('<').and_then(|(_, rest)| rest.split('>').next()).unwrap_or(value)
    }
}

/// A socket that is read until it is empty, and waited for.
pub(super) struct Wire {
    socket: UdpSocket,
    buffer: Vec<u8>,
}

impl Wire {
    /// Opens it.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = socket2::Socket::new(
            socket2::Domain::for_address(address),
            socket2::Type::DGRAM,
            None,
        )?;
        socket.set_nonblocking(true)?;
        // The kernel grants what it grants.
        let _ = socket.set_recv_buffer_size(4 << 20);
        socket.bind(&address.into())?;
        Ok(Self { socket: socket.into(), buffer: vec![0; 65_536] })
    }

    pub fn address(&self) -> SocketAddr {
        self.socket.local_addr().expect("it is bound")
    }

    /// Sends; what the kernel drops is repeated by its transaction.
    pub fn send(&self, text: &str, to: SocketAddr) {
        let _ = self.socket.send_to(text.as_bytes(), to);
    }

    /// The next datagram, if one is there.
    pub fn receive(&mut self) -> Option<(&[u8], SocketAddr)> {
        let (len, from) = self.socket.recv_from(&mut self.buffer).ok()?;
        Some((&self.buffer[..len], from))
    }

    /// Waits for a datagram, at most until `due`.
    pub fn wait(&self, due: Instant) {
        wait([self], due);
    }
}

/// Waits for datagrams at any of these, at most until `due` and 100 ms; answers who has some.
pub(super) fn wait<'a>(wires: impl IntoIterator<Item = &'a Wire>, due: Instant) -> Vec<usize> {
    let span = due.saturating_duration_since(Instant::now()).min(Duration::from_millis(100));
    let timeout = Timespec { tv_sec: 0, tv_nsec: i64::from(span.subsec_nanos()) };
    let mut fds: Vec<_> =
        wires.into_iter().map(|wire| PollFd::new(&wire.socket, PollFlags::IN)).collect();
    // A signal only makes the wait shorter.
    let _ = poll(&mut fds, Some(&timeout));
    fds.iter().enumerate().filter(|(_, fd)| !fd.revents().is_empty()).map(|(n, _)| n).collect()
}
