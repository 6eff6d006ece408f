//! One relayed call: four sockets, and where each side's packets come from and go to.

use super::Report;
use super::browser::Dealt;
use super::counters::{CallCounters, LaneCounters, ThreadCounters};
use super::events::EventReader;
use super::handshakes::{AssociationId, Handshakes, Owner};
use super::mixing::Mixing;
use super::protection::Protection;
use super::sockets::SocketPair;
use super::source::{Judgement, Source};
use super::strays::Strays;
use super::wire::Wire;
use crate::clock::AnchoredClock;
use cheling_call::io::{RelayProtection, RelayRemote, Speaker};
use cheling_media::dtls::Event;
use cheling_media::rtp::DatagramKind;
use cheling_model::call::MediaFault;
use cheling_model::tap::PacketKind;
use cheling_model::{CallId, Lane, Timestamp};
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Instant;

/// Which of a side's two sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Port {
    Rtp,
    Rtcp,
}

/// Whether sockets may be connected once their source is settled. A connected socket sends
/// cheaper, and the kernel itself turns strangers away; but it listens on one address only, so
/// it must be bound to the address that the SDP names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Connecting {
    Allowed,
    Never,
}

/// A packet that was relayed and may be recorded.
#[derive(Clone, Copy, Debug)]
pub(super) struct Relayed {
    pub(super) kind: PacketKind,
    pub(super) len: usize,
    pub(super) at: Timestamp,
}

pub(super) struct RelayedCall {
    pub(super) call_id: CallId,
    pub(super) is_recording: bool,
    is_paused: bool,
    pub(super) events: EventReader,
    pub(super) counters: Arc<CallCounters>,
    /// RTP packets received while recording.
    pub(super) received_packets: [u64; 2],
    /// Of these, what the tap could not take.
    pub(super) tap_dropped_packets: [u64; 2],
    /// Third parties, and who hears whom if that is more than passing packets across.
    pub(super) mixing: Option<Box<Mixing>>,
    sides: [Side; 2],
    clock: AnchoredClock,
    connecting: Connecting,
}

struct Side {
    lease: super::ports::PortLease,
    rtp: Wire,
    rtcp: Wire,
    /// RTCP goes to the RTP port (RFC 5761).
    is_multiplexed: bool,
    /// Who was heard here and is not this side.
    strays: Strays,
    /// Who this side was when it sent last.
    last: Option<(IpAddr, u32)>,
    /// SRTP with this side.
    protection: Option<Box<Protection>>,
}

impl RelayedCall {
    pub(super) fn new(
        call_id: CallId,
        pairs: [SocketPair; 2],
        clock: AnchoredClock,
        counters: Arc<CallCounters>,
        connecting: Connecting,
    ) -> Self {
        Self {
            call_id,
            is_recording: false,
            is_paused: false,
            events: EventReader::new(),
            counters,
            received_packets: [0; 2],
            tap_dropped_packets: [0; 2],
            mixing: None,
            sides: pairs.map(Side::new),
            clock,
            connecting,
        }
    }

    /// Whether its packets are copied for the recording now.
    pub(super) fn is_recorded(&self) -> bool {
        self.is_recording && !self.is_paused
    }

    /// Pauses the recording or lets it go on, from `now`. `None` if there is none.
    pub(super) fn pause(&mut self, is_paused: bool, now: Instant) -> Option<Report> {
        if !self.is_recording {
            return None;
        }
        self.is_paused = is_paused;
        let at = self.clock.at(now).wall;
        Some(Report::RecordingPaused { call_id: self.call_id, is_paused, at })
    }

    /// Its sockets, to be watched: customer's RTP and RTCP, then the agent's.
    pub(super) fn sockets(&self) -> [&UdpSocket; 4] {
        let [customer, agent] = &self.sides;
        let wires = [&customer.rtp, &customer.rtcp, &agent.rtp, &agent.rtcp];
        wires.map(Wire::socket)
    }

    /// The RTP port facing [customer, agent].
    pub(super) fn rtp_ports(&self) -> [u16; 2] {
        self.sides.each_ref().map(|side| side.lease.rtp_port)
    }

    /// Its leases, each with who was heard there.
    pub(super) fn leases(&self) -> [(super::ports::PortLease, Strays); 2] {
        self.sides.each_ref().map(|side| {
            let mut strays = side.strays;
            if let Some((host, ssrc)) = side.last {
                strays.add(host, ssrc);
            }
            (side.lease, strays)
        })
    }

    pub(super) fn point(&mut self, lane: Lane, remote: Option<RelayRemote>, now: Instant) {
        let side = &mut self.sides[lane.index()];
        side.rtp.point(remote.map(|remote| remote.rtp), now);
        match remote {
            Some(remote) if remote.rtcp == remote.rtp => side.is_multiplexed = true,
            Some(remote) => {
                side.is_multiplexed = false;
                side.rtcp.point(Some(remote.rtcp), now);
            }
            None => side.rtcp.point(None, now),
        }
        self.counters.lane(lane).set_locked(side.rtp.source.locked().is_some());
    }

    /// Protects what comes from one side and goes there.
    pub(super) fn protect(
        &mut self,
        lane: Lane,
        wanted: Option<Box<RelayProtection>>,
        thread: usize,
        handshakes: &Handshakes,
    ) {
        let owner = Owner { thread, call_id: self.call_id, who: Speaker::Side(lane) };
        let side = &mut self.sides[lane.index()];
        let before = side.protection.take();
        side.protection = Protection::renew(before, wanted, owner, handshakes, &mut side.rtp);
    }

    /// Takes what came of the handshake with one side.
    pub(super) fn proceed(
        &mut self,
        lane: Lane,
        id: AssociationId,
        event: Event,
        totals: &ThreadCounters,
    ) {
        let side = &mut self.sides[lane.index()];
        let browser = side.protection.as_mut().and_then(|it| it.browser());
        let Some(browser) = browser else { return };
        match browser.proceed(id, event, &side.rtp) {
            Ok(true) => totals.handshakes.bump(),
            Ok(false) => {}
            Err(err) => {
                self.counters.lane(lane).failed_handshakes.bump();
                totals.failed_handshakes.bump();
                let call_id = self.call_id;
                tracing::warn!(%call_id, ?lane, %err, "a side's media is refused");
            }
        }
    }

    /// Sends a packet of our own to one side; false if it could not be sent.
    pub(super) fn send_rtp(&mut self, lane: Lane, bytes: &[u8]) -> bool {
        self.sides[lane.index()].send(PacketKind::Rtp, bytes).is_ok()
    }

    /// Why nothing could be heard of a side, for [customer, agent]: of a call that is recorded.
    pub(super) fn faults(&mut self) -> [Option<MediaFault>; 2] {
        if !self.is_recording {
            return [None; 2];
        }
        self.sides.each_mut().map(|side| {
            let browser = side.protection.as_mut().and_then(|it| it.browser());
            browser.and_then(|browser| browser.fault(&side.rtp))
        })
    }

    /// The wall clock at this moment, as the call's packets are stamped.
    pub(super) fn wall(&self, now: Instant) -> Timestamp {
        self.clock.at(now).wall
    }

    /// Reads one datagram and sends it on. `None` if there was none, or none that is media.
    pub(super) fn relay(
        &mut self,
        lane: Lane,
        port: Port,
        buffer: &mut [u8],
        now: Instant,
        totals: &ThreadCounters,
    ) -> Option<Relayed> {
        let side = &mut self.sides[lane.index()];
        let counters = self.counters.lane(lane);
        let wire = match port {
            Port::Rtp => &mut side.rtp,
            Port::Rtcp => &mut side.rtcp,
        };
        // An error here is a port unreachable (RFC 1122 §4.1.3.3) for what was sent before: the
        // party is not there yet, or no longer, which its silence says as well.
        let (mut len, from) = wire.receive(buffer).ok()?;
        let kind = match DatagramKind::of(&buffer[..len]) {
            DatagramKind::Rtp if port == Port::Rtp && len >= 12 => PacketKind::Rtp,
            DatagramKind::Rtcp if len >= 8 => PacketKind::Rtcp,
            kind @ (DatagramKind::Stun | DatagramKind::Dtls)
                if port == Port::Rtp && side.is_browser() =>
            {
                side.negotiate(kind, &buffer[..len], from, counters, totals);
                return None;
            }
            _ => {
                counters.other_datagrams.bump();
                totals.other_datagrams.bump();
                return None;
            }
        };
        if let Some(protection) = &mut side.protection {
            // Before the source is judged: only who has the key may be learned from.
            match protection.open(kind, &mut buffer[..len]) {
                Ok(opened) => len = opened,
                Err(_) => {
                    counters.refused_packets.bump();
                    totals.refused_packets.bump();
                    return None;
                }
            }
        }
        let bytes = &buffer[..len];
        let at = self.clock.at(now).wall;
        let ssrc = read_ssrc(kind, bytes);
        let judgement = match port {
            Port::Rtp => side.rtp.source.judge(from, ssrc, now),
            Port::Rtcp => side.judge_rtcp(from, ssrc, now),
        };
        match judgement {
            Judgement::Stranger => {
                counters.stranger_packets.bump();
                totals.stranger_packets.bump();
                if let (PacketKind::Rtp, Some(ssrc)) = (kind, ssrc) {
                    side.strays.add(from.ip(), ssrc);
                }
                return None;
            }
            Judgement::Accept => {}
            Judgement::AcceptAndLock => {
                if port == Port::Rtp {
                    counters.set_locked(true);
                }
                if self.connecting == Connecting::Allowed {
                    side.wire(port).connect_if_settled(self.call_id);
                }
            }
        }
        if kind == PacketKind::Rtp {
            side.last = ssrc.map(|ssrc| (from.ip(), ssrc));
            counters.rtp_packets.bump();
            counters.heard(at);
            self.received_packets[lane.index()] += u64::from(self.is_recording && !self.is_paused);
        } else {
            counters.rtcp_packets.bump();
        }
        if self.mixing.as_ref().is_some_and(|mixing| !mixing.forwards(lane)) {
            return Some(Relayed { kind, len, at });
        }
        match self.sides[lane.other().index()].send(kind, bytes) {
            Ok(true) => totals.relayed_packets.bump(),
            Ok(false) => {} // The other side is on hold, or not known yet.
            Err(_) => {
                counters.unsent_packets.bump();
                totals.unsent_packets.bump();
            }
        }
        Some(Relayed { kind, len, at })
    }
}

impl Side {
    fn new(pair: SocketPair) -> Self {
        let SocketPair { lease, rtp, rtcp, is_dual } = pair;
        let strays = lease.strays;
        Self {
            rtp: Wire::new(rtp, is_dual, Source::new(strays)),
            rtcp: Wire::new(rtcp, is_dual, Source::new(strays)),
            lease,
            is_multiplexed: false,
            strays,
            last: None,
            protection: None,
        }
    }

    fn is_browser(&mut self) -> bool {
        self.protection.as_mut().is_some_and(|it| it.browser().is_some())
    }

    /// Takes a check or a piece of a handshake.
    fn negotiate(
        &mut self,
        kind: DatagramKind,
        datagram: &[u8],
        from: SocketAddr,
        counters: &LaneCounters,
        totals: &ThreadCounters,
    ) {
        let browser = self.protection.as_mut().and_then(|it| it.browser());
        let Some(browser) = browser else { return };
        match browser.receive(kind, datagram, from, &mut self.rtp) {
            Dealt::Taken => {}
            Dealt::Found => counters.set_locked(true),
            Dealt::Refused => {
                counters.refused_checks.bump();
                totals.refused_checks.bump();
            }
            Dealt::Dropped => totals.dropped_handshakes.bump(),
        }
    }

    fn wire(&mut self, port: Port) -> &mut Wire {
        match port {
            Port::Rtp => &mut self.rtp,
            Port::Rtcp => &mut self.rtcp,
        }
    }

    /// RTCP comes too seldom to be learned by itself: it must come from the host that sends the
    /// RTP, or from the SDP's address.
    fn judge_rtcp(&mut self, from: SocketAddr, ssrc: Option<u32>, now: Instant) -> Judgement {
        let is_host_known = self.rtp.source.locked().is_none_or(|rtp| rtp.ip() == from.ip());
        if !is_host_known && self.rtcp.source.destination() != Some(from) {
            return Judgement::Stranger;
        }
        self.rtcp.source.judge(from, ssrc, now)
    }

    /// Sends a packet to this side; false if there is nowhere to send it.
    fn send(&mut self, kind: PacketKind, bytes: &[u8]) -> io::Result<bool> {
        let wire = match kind {
            PacketKind::Rtcp if !self.is_multiplexed => &self.rtcp,
            PacketKind::Rtp | PacketKind::Rtcp => &self.rtp,
        };
        match &mut self.protection {
            None => wire.send(bytes),
            Some(protection) => match protection.seal(kind, bytes).map_err(io::Error::other)? {
                Some(sealed) => wire.send(sealed.as_ref()),
                // Nobody knows yet who is there.
                None => Ok(false),
            },
        }
    }
}

/// The SSRC of the sender: RFC 3550 §5.1 and §6.4.
fn read_ssrc(kind: PacketKind, bytes: &[u8]) -> Option<u32> {
    let at = match kind {
        PacketKind::Rtp => 8,
        PacketKind::Rtcp => 4,
    };
    let bytes = bytes.get(at..at + 4)?;
    Some(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}
