//! A third party's port: where one more voice of a call comes in and what it hears goes out.
//!
//! Its packets are learned from one source as those of the two sides are (`source`). RTCP is not
//! read: the stream that a guest hears is our own.

use super::handshakes::{AssociationId, Handshakes, Owner};
use super::ports::PortLease;
use super::protection::Protection;
use super::sockets::SocketPair;
use super::source::{Judgement, Source};
use super::strays::Strays;
use super::wire::Wire;
use cheling_call::io::{RelayProtection, RelayRemote};
use cheling_media::dtls::{DtlsError, Event};
use cheling_media::rtp::DatagramKind;
use cheling_model::tap::PacketKind;
use std::net::{IpAddr, UdpSocket};
use std::time::Instant;

/// One guest.
pub(super) struct Guest {
    /// Its number in the call.
    pub(super) number: u8,
    lease: PortLease,
    rtp: Wire,
    /// Held so that nobody else gets the port.
    _rtcp: UdpSocket,
    /// Who sent last.
    last: Option<(IpAddr, u32)>,
    protection: Option<Box<Protection>>,
}

impl Guest {
    pub(super) fn new(number: u8, pair: SocketPair) -> Self {
        let SocketPair { lease, rtp, rtcp, is_dual } = pair;
        let rtp = Wire::new(rtp, is_dual, Source::new(lease.strays));
        Self { number, lease, rtp, _rtcp: rtcp, last: None, protection: None }
    }

    /// Its socket, to be watched.
    pub(super) fn socket(&self) -> &UdpSocket {
        self.rtp.socket()
    }

    /// Its lease, and who was heard there.
    pub(super) fn lease(&self) -> (PortLease, Strays) {
        let mut strays = self.lease.strays;
        if let Some((host, ssrc)) = self.last {
            strays.add(host, ssrc);
        }
        (self.lease, strays)
    }

    pub(super) fn point(&mut self, remote: Option<RelayRemote>, now: Instant) {
        self.rtp.point(remote.map(|remote| remote.rtp), now);
    }

    pub(super) fn protect(
        &mut self,
        wanted: Option<Box<RelayProtection>>,
        owner: Owner,
        handshakes: &Handshakes,
    ) {
        let before = self.protection.take();
        self.protection = Protection::renew(before, wanted, owner, handshakes, &mut self.rtp);
    }

    /// Takes what came of its handshake.
    ///
    /// # Errors
    /// [`DtlsError`] if it brought no keys.
    pub(super) fn proceed(&mut self, id: AssociationId, event: Event) -> Result<(), DtlsError> {
        let browser = self.protection.as_mut().and_then(|it| it.browser());
        let Some(browser) = browser else { return Ok(()) };
        browser.proceed(id, event, &self.rtp).map(|_| ())
    }

    /// Reads one datagram: the length of an RTP packet that is the guest's own.
    pub(super) fn receive(&mut self, buffer: &mut [u8], now: Instant) -> Option<usize> {
        let (mut len, from) = self.rtp.receive(buffer).ok()?;
        let kind = DatagramKind::of(&buffer[..len]);
        let browser = self.protection.as_mut().and_then(|it| it.browser());
        if let (DatagramKind::Stun | DatagramKind::Dtls, Some(browser)) = (kind, browser) {
            browser.receive(kind, &buffer[..len], from, &mut self.rtp);
            return None;
        }
        if kind != DatagramKind::Rtp || len < 12 {
            return None;
        }
        if let Some(protection) = &mut self.protection {
            // Before the source is judged: only who has the key may be learned from.
            len = protection.open(PacketKind::Rtp, &mut buffer[..len]).ok()?;
        }
        let bytes = buffer.get(..len).filter(|bytes| bytes.len() >= 12)?;
        let ssrc = u32::from_be_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]);
        if self.rtp.source.judge(from, Some(ssrc), now) == Judgement::Stranger {
            return None;
        }
        self.last = Some((from.ip(), ssrc));
        Some(len)
    }

    /// Sends a packet of our own; false if it could not be sent.
    pub(super) fn send(&mut self, bytes: &[u8]) -> bool {
        match &mut self.protection {
            None => self.rtp.send(bytes).is_ok(),
            Some(protection) => match protection.seal(PacketKind::Rtp, bytes) {
                Ok(Some(sealed)) => self.rtp.send(sealed.as_ref()).is_ok(),
                // Nobody knows yet who is there.
                Ok(None) => true,
                Err(_) => false,
            },
        }
    }
}
