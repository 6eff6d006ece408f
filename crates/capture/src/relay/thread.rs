//! One relay thread: waits for its calls' sockets, forwards, then taps.

use super::call::{Connecting, Port, RelayedCall};
use super::counters::{CallCounters, ThreadCounters};
use super::guest::Guest;
use super::handshakes::{AssociationId, Handshakes, Owner};
use super::mixing::{self, Mixing};
use super::poller::{Poller, Ready, Waker};
use super::ports::PortPool;
use super::sockets::{OpenError, SocketPair, lock};
use super::tap::TapWriter;
use super::{Report, Reporter};
use crate::clock::AnchoredClock;
use crate::dscp::Dscp;
use crate::sink::{SpareBlocks, TapSink};
use cheling_call::io::{MixPlan, RelayProtection, RelayRemote, Speaker};
use cheling_media::dtls::Event;
use cheling_model::tap::{PacketKind, TapPacket};
use cheling_model::{CallId, Lane};
use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::mpsc::{Receiver, TryRecvError};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The largest datagram there is.
const BUFFER_BYTES: usize = 64 * 1024;
/// Packets relayed on one reading of the clock: less than a tenth of a millisecond.
const PACKETS_PER_CLOCK_READING: usize = 32;
/// How often something that found a full queue is tried again.
const RETRY: Duration = Duration::from_millis(10);
/// Reports that may wait before digits are no longer told.
const MAX_WAITING_DIGITS: usize = 256;
/// How long a closing call waits for its last packets to be taken before they count as dropped.
const CLOSING_PATIENCE: Duration = Duration::from_secs(2);

/// What a thread is told.
#[derive(Debug)]
pub(super) enum Command {
    Open {
        call_id: CallId,
        clock: AnchoredClock,
        counters: Arc<CallCounters>,
    },
    Point {
        call_id: CallId,
        lane: Lane,
        remote: Option<RelayRemote>,
    },
    Protect {
        call_id: CallId,
        lane: Lane,
        protection: Option<Box<RelayProtection>>,
    },
    /// What came of a handshake.
    Handshake {
        call_id: CallId,
        who: Speaker,
        id: AssociationId,
        event: Box<Event>,
    },
    StartRecording {
        call_id: CallId,
    },
    PauseRecording {
        call_id: CallId,
        is_paused: bool,
    },
    TelephoneEvents {
        call_id: CallId,
        lane: Lane,
        payload_types: u128,
    },
    OpenGuest {
        call_id: CallId,
        guest: u8,
    },
    PointGuest {
        call_id: CallId,
        guest: u8,
        remote: Option<RelayRemote>,
        protection: Option<Box<RelayProtection>>,
    },
    CloseGuest {
        call_id: CallId,
        guest: u8,
    },
    Mix {
        call_id: CallId,
        plan: Option<Box<MixPlan>>,
    },
    Close {
        call_id: CallId,
    },
    Stop,
}

/// What a thread is given at its start.
pub(super) struct ThreadParts {
    pub(super) bind: IpAddr,
    pub(super) advertise: IpAddr,
    pub(super) connecting: Connecting,
    pub(super) dscp: Dscp,
    pub(super) ports: Arc<Mutex<PortPool>>,
    pub(super) commands: Receiver<Command>,
    pub(super) reporter: Reporter,
    pub(super) sink: Arc<dyn TapSink>,
    pub(super) spare: Arc<SpareBlocks>,
    pub(super) counters: Arc<ThreadCounters>,
    /// Its place among the threads.
    pub(super) index: usize,
    pub(super) handshakes: Handshakes,
    pub(super) hold_music: Option<Arc<[i16]>>,
}

impl ThreadParts {
    /// The way to our own public address that needs no help of the NAT before us: a call that
    /// comes back to us (one customer's line forwarded to another of ours) has us on both its
    /// ends, and many a NAT does not turn packets round (RFC 4787 §6).
    fn near(&self, remote: RelayRemote) -> RelayRemote {
        let near = |mut address: SocketAddr| {
            if address.ip() == self.advertise && self.bind != self.advertise {
                address.set_ip(match self.bind {
                    bind if !bind.is_unspecified() => bind,
                    _ if address.is_ipv6() => Ipv6Addr::LOCALHOST.into(),
                    _ => Ipv4Addr::LOCALHOST.into(),
                });
            }
            address
        };
        RelayRemote { rtp: near(remote.rtp), rtcp: near(remote.rtcp) }
    }
}

pub(super) struct RelayThread {
    parts: ThreadParts,
    poller: Poller,
    calls: Vec<Option<RelayedCall>>,
    free_slots: Vec<usize>,
    slots: HashMap<CallId, usize>,
    tap: TapWriter,
    closing: Vec<Closing>,
    /// The slots of calls that mix.
    mixed: Vec<usize>,
    reports: VecDeque<Report>,
    is_stopping: bool,
}

/// A call whose sockets are closed and whose last packets are not yet handed on.
struct Closing {
    call: RelayedCall,
    give_up: Instant,
}

impl RelayThread {
    pub(super) fn new(parts: ThreadParts) -> std::io::Result<Self> {
        let tap = TapWriter::new(
            Arc::clone(&parts.sink),
            Arc::clone(&parts.spare),
            Arc::clone(&parts.counters),
        );
        Ok(Self {
            parts,
            poller: Poller::new()?,
            calls: Vec::new(),
            free_slots: Vec::new(),
            slots: HashMap::new(),
            tap,
            closing: Vec::new(),
            mixed: Vec::new(),
            reports: VecDeque::new(),
            is_stopping: false,
        })
    }

    pub(super) fn waker(&self) -> Waker {
        self.poller.waker()
    }

    /// Runs until told to stop, and every call is closed and reported.
    pub(super) fn run(mut self) {
        let mut ready = Ready::new();
        let mut buffer = vec![0; BUFFER_BYTES];
        while !(self.is_stopping && self.closing.is_empty() && self.reports.is_empty()) {
            let woken = match self.poller.wait(self.timeout(), &mut ready) {
                Ok(woken) => woken,
                Err(err) => {
                    tracing::error!(%err, "relay thread cannot wait for its sockets");
                    return;
                }
            };
            let mut now = Instant::now();
            for batch in ready.tokens().chunks(PACKETS_PER_CLOCK_READING) {
                now = Instant::now();
                for &token in batch {
                    self.receive(token, &mut buffer, now);
                }
            }
            if woken {
                self.obey(now);
            }
            self.mix(now);
            self.tap.flush_if_due(now);
            self.finish_closing(now);
            self.send_reports();
        }
    }

    fn timeout(&self) -> Option<Duration> {
        if !self.closing.is_empty() || !self.reports.is_empty() {
            return Some(RETRY);
        }
        let mixing = self.mixed.iter().filter_map(|slot| self.mixing(*slot)?.due());
        let due = self.tap.due().into_iter().chain(mixing).min();
        due.map(|due| due.saturating_duration_since(Instant::now()))
    }

    fn mixing(&self, slot: usize) -> Option<&Mixing> {
        self.calls.get(slot)?.as_ref()?.mixing.as_deref()
    }

    /// Makes the packets of the calls that mix.
    fn mix(&mut self, now: Instant) {
        for slot in &self.mixed {
            if let Some(Some(call)) = self.calls.get_mut(*slot) {
                mixing::speak(call, now, &self.parts.counters);
            }
        }
    }

    /// Relays one datagram, then copies it for the recording.
    fn receive(&mut self, token: u64, buffer: &mut [u8], now: Instant) {
        if token & GUEST_TOKEN != 0 {
            return self.receive_guest(token, buffer, now);
        }
        let (slot, lane, port) = read_token(token);
        let Some(Some(call)) = self.calls.get_mut(slot) else { return };
        let Some(relayed) = call.relay(lane, port, buffer, now, &self.parts.counters) else {
            return;
        };
        if relayed.kind == PacketKind::Rtp {
            if call.mixing.is_some() {
                let bytes = &buffer[..relayed.len];
                mixing::hear(call, Speaker::Side(lane), bytes, &self.parts.counters);
            }
            if let Some(digit) = call.events.read(lane, &mut buffer[..relayed.len], now)
                && self.reports.len() < MAX_WAITING_DIGITS
            {
                self.reports.push_back(Report::Digit { call_id: call.call_id, digit });
            }
        }
        if !call.is_recorded() {
            return;
        }
        let packet = TapPacket {
            call_id: call.call_id,
            lane,
            voice: 0,
            kind: relayed.kind,
            at: relayed.at,
            bytes: &buffer[..relayed.len],
        };
        if !self.tap.push(packet, now) {
            call.tap_dropped_packets[lane.index()] += 1;
            call.counters.lane(lane).tap_dropped_packets.bump();
        }
    }

    /// Takes one datagram of a third party.
    fn receive_guest(&mut self, token: u64, buffer: &mut [u8], now: Instant) {
        let (slot, number) = read_guest_token(token);
        let Some(Some(call)) = self.calls.get_mut(slot) else { return };
        let Some(mixing) = &mut call.mixing else { return };
        let guest = mixing.guests.iter_mut().find(|guest| guest.number == number);
        let Some(len) = guest.and_then(|guest| guest.receive(buffer, now)) else { return };
        let is_recorded = mixing.is_recorded(number, buffer[1] & 0x7f) && call.is_recorded();
        mixing::hear(call, Speaker::Guest(number), &buffer[..len], &self.parts.counters);
        if !is_recorded {
            return;
        }
        let packet = TapPacket {
            call_id: call.call_id,
            lane: Lane::Agent,
            voice: number,
            kind: PacketKind::Rtp,
            at: call.wall(now),
            bytes: &buffer[..len],
        };
        if !self.tap.push(packet, now) {
            call.counters.lane(Lane::Agent).tap_dropped_packets.bump();
        }
    }

    fn open_guest(&mut self, call_id: CallId, number: u8) {
        let local = match self.try_open_guest(call_id, number) {
            Ok(port) => port.map(|port| SocketAddr::new(self.parts.advertise, port)),
            Err(err) => {
                tracing::warn!(%call_id, %err, "no port for a third party");
                None
            }
        };
        self.reports.push_back(Report::Guest { call_id, guest: number, local });
    }

    fn try_open_guest(&mut self, call_id: CallId, number: u8) -> Result<Option<u16>, OpenError> {
        let Some(&slot) = self.slots.get(&call_id) else { return Ok(None) };
        let Some(Some(call)) = self.calls.get_mut(slot) else { return Ok(None) };
        let guest = Guest::new(
            number,
            SocketPair::open(&self.parts.ports, self.parts.bind, self.parts.dscp)?,
        );
        let (lease, strays) = guest.lease();
        if let Err(err) = self.poller.add(guest.socket(), write_guest_token(slot, number)) {
            lock(&self.parts.ports).release(lease, strays, Instant::now());
            return Err(err.into());
        }
        let mixing = call.mixing.get_or_insert_with(|| Box::new(Mixing::new()));
        mixing.guests.push(guest);
        Ok(Some(lease.rtp_port))
    }

    fn close_guest(&mut self, call_id: CallId, number: u8) {
        let Some(mixing) = self.call(call_id).and_then(|call| call.mixing.as_mut()) else { return };
        let Some(at) = mixing.guests.iter().position(|guest| guest.number == number) else {
            return;
        };
        let (lease, strays) = mixing.guests.swap_remove(at).lease();
        lock(&self.parts.ports).release(lease, strays, Instant::now());
    }

    fn set_mix(&mut self, call_id: CallId, plan: Option<&MixPlan>, now: Instant) {
        let Some(&slot) = self.slots.get(&call_id) else { return };
        let Some(Some(call)) = self.calls.get_mut(slot) else { return };
        let mut mixing = call.mixing.take().unwrap_or_else(|| Box::new(Mixing::new()));
        mixing.set(plan, self.parts.hold_music.as_ref(), now);
        self.mixed.retain(|mixed| *mixed != slot);
        if mixing.due().is_some() {
            self.mixed.push(slot);
        }
        let is_needed = plan.is_some() || !mixing.guests.is_empty();
        call.mixing = Some(mixing).filter(|_| is_needed);
    }

    fn obey(&mut self, now: Instant) {
        loop {
            match self.parts.commands.try_recv() {
                Ok(Command::Open { call_id, clock, counters }) => {
                    self.open(call_id, clock, counters)
                }
                Ok(Command::Point { call_id, lane, remote }) => {
                    let remote = remote.map(|remote| self.parts.near(remote));
                    if let Some(call) = self.call(call_id) {
                        call.point(lane, remote, now);
                    }
                }
                Ok(Command::Protect { call_id, lane, protection }) => {
                    self.protect(call_id, lane, protection);
                }
                Ok(Command::Handshake { call_id, who, id, event }) => {
                    self.proceed(call_id, who, id, *event);
                }
                Ok(Command::StartRecording { call_id }) => {
                    if let Some(call) = self.call(call_id) {
                        call.is_recording = true;
                    }
                }
                Ok(Command::PauseRecording { call_id, is_paused }) => {
                    let paused = self.call(call_id).map(|call| call.pause(is_paused, now));
                    self.reports.extend(paused.flatten());
                }
                Ok(Command::TelephoneEvents { call_id, lane, payload_types }) => {
                    if let Some(call) = self.call(call_id) {
                        call.events.set(lane, payload_types);
                    }
                }
                Ok(Command::OpenGuest { call_id, guest }) => self.open_guest(call_id, guest),
                Ok(Command::PointGuest { call_id, guest, remote, protection }) => {
                    let remote = remote.map(|remote| self.parts.near(remote));
                    let (index, handshakes) = (self.parts.index, self.parts.handshakes.clone());
                    let owner = Owner { thread: index, call_id, who: Speaker::Guest(guest) };
                    if let Some(guest) = self.guest(call_id, guest) {
                        guest.protect(protection, owner, &handshakes);
                        guest.point(remote, now);
                    }
                }
                Ok(Command::CloseGuest { call_id, guest }) => self.close_guest(call_id, guest),
                Ok(Command::Mix { call_id, plan }) => {
                    self.set_mix(call_id, plan.as_deref(), now);
                }
                Ok(Command::Close { call_id }) => self.close(call_id, now),
                Ok(Command::Stop) | Err(TryRecvError::Disconnected) => {
                    self.is_stopping = true;
                    let open: Vec<CallId> = self.slots.keys().copied().collect();
                    for call_id in open {
                        self.close(call_id, now);
                    }
                    self.tap.flush(now);
                    return;
                }
                Err(TryRecvError::Empty) => return,
            }
        }
    }

    fn protect(&mut self, call_id: CallId, lane: Lane, protection: Option<Box<RelayProtection>>) {
        let Some(&slot) = self.slots.get(&call_id) else { return };
        let Some(Some(call)) = self.calls.get_mut(slot) else { return };
        call.protect(lane, protection, self.parts.index, &self.parts.handshakes);
    }

    fn proceed(&mut self, call_id: CallId, who: Speaker, id: AssociationId, event: Event) {
        let Some(&slot) = self.slots.get(&call_id) else { return };
        let Some(Some(call)) = self.calls.get_mut(slot) else { return };
        match who {
            Speaker::Side(lane) => call.proceed(lane, id, event, &self.parts.counters),
            Speaker::Guest(number) => {
                if let Some(guest) = self.guest(call_id, number)
                    && let Err(err) = guest.proceed(id, event)
                {
                    tracing::warn!(%call_id, number, %err, "a third party's media is refused");
                    self.parts.counters.failed_handshakes.bump();
                }
            }
        }
    }

    fn guest(&mut self, call_id: CallId, number: u8) -> Option<&mut Guest> {
        let mixing = self.call(call_id)?.mixing.as_mut()?;
        mixing.guests.iter_mut().find(|guest| guest.number == number)
    }

    fn call(&mut self, call_id: CallId) -> Option<&mut RelayedCall> {
        self.calls.get_mut(*self.slots.get(&call_id)?)?.as_mut()
    }

    fn open(&mut self, call_id: CallId, clock: AnchoredClock, counters: Arc<CallCounters>) {
        if self.slots.contains_key(&call_id) {
            return;
        }
        match self.try_open(call_id, clock, counters) {
            Ok(ports) => {
                self.parts.counters.open_calls.bump();
                let local = ports.map(|port| SocketAddr::new(self.parts.advertise, port));
                self.reports.push_back(Report::Opened { call_id, local });
            }
            Err(err) => {
                tracing::warn!(%call_id, %err, "relay not opened");
                self.parts.counters.failed_opens.bump();
                self.reports.push_back(Report::Failed { call_id });
            }
        }
    }

    fn try_open(
        &mut self,
        call_id: CallId,
        clock: AnchoredClock,
        counters: Arc<CallCounters>,
    ) -> Result<[u16; 2], OpenError> {
        let ThreadParts { ports, bind, dscp, .. } = &self.parts;
        let customer = SocketPair::open(ports, *bind, *dscp)?;
        let agent = match SocketPair::open(ports, *bind, *dscp) {
            Ok(agent) => agent,
            Err(err) => {
                lock(ports).release(customer.lease, customer.lease.strays, Instant::now());
                return Err(err);
            }
        };
        let call =
            RelayedCall::new(call_id, [customer, agent], clock, counters, self.parts.connecting);
        let slot = self.free_slots.pop().unwrap_or(self.calls.len());
        for (socket, index) in call.sockets().into_iter().zip(0..) {
            if let Err(err) = self.poller.add(socket, write_token(slot, index)) {
                self.free_slots.push(slot);
                self.release_ports(&call);
                return Err(err.into());
            }
        }
        let rtp_ports = call.rtp_ports();
        if slot == self.calls.len() {
            self.calls.push(None);
        }
        self.calls[slot] = Some(call);
        self.slots.insert(call_id, slot);
        Ok(rtp_ports)
    }

    fn release_ports(&self, call: &RelayedCall) {
        let now = Instant::now();
        let mut pool = lock(&self.parts.ports);
        let guests = call.mixing.iter().flat_map(|mixing| &mixing.guests).map(Guest::lease);
        for (lease, strays) in call.leases().into_iter().chain(guests) {
            pool.release(lease, strays, now);
        }
    }

    fn close(&mut self, call_id: CallId, now: Instant) {
        let Some(slot) = self.slots.remove(&call_id) else { return };
        let Some(call) = self.calls.get_mut(slot).and_then(Option::take) else { return };
        self.free_slots.push(slot);
        self.mixed.retain(|mixed| *mixed != slot);
        self.release_ports(&call);
        self.parts.counters.open_calls.subtract(1);
        self.closing.push(Closing { call, give_up: now + CLOSING_PATIENCE });
    }

    /// Reports closed calls, but only after their last packets have been handed on.
    fn finish_closing(&mut self, now: Instant) {
        if self.closing.is_empty() {
            return;
        }
        let is_flushed = self.tap.flush(now);
        for index in (0..self.closing.len()).rev() {
            if !is_flushed && self.closing[index].give_up > now {
                continue;
            }
            let mut call = self.closing.swap_remove(index).call;
            if !is_flushed {
                let removed = self.tap.remove(call.call_id);
                for (dropped, removed) in call.tap_dropped_packets.iter_mut().zip(removed) {
                    *dropped += removed;
                }
            }
            self.reports.push_back(Report::Closed {
                call_id: call.call_id,
                received_packets: call.received_packets,
                tap_dropped_packets: call.tap_dropped_packets,
                faults: call.faults(),
            });
        }
    }

    fn send_reports(&mut self) {
        while let Some(report) = self.reports.pop_front() {
            if let Err(report) = (self.parts.reporter)(report) {
                self.reports.push_front(report);
                return;
            }
        }
    }
}

/// Marks the token of a third party's socket.
const GUEST_TOKEN: u64 = 1 << 62;

/// A third party's token: its call's slot, then its number, at most 7.
fn write_guest_token(slot: usize, number: u8) -> u64 {
    GUEST_TOKEN | (slot as u64) << 3 | u64::from(number & 7)
}

fn read_guest_token(token: u64) -> (usize, u8) {
    (((token & !GUEST_TOKEN) >> 3) as usize, (token & 7) as u8)
}

/// A socket's token: its call's slot, then lane, then RTP or RTCP.
fn write_token(slot: usize, index: u64) -> u64 {
    (slot as u64) << 2 | index
}

fn read_token(token: u64) -> (usize, Lane, Port) {
    let lane = Lane::BOTH[(token >> 1 & 1) as usize];
    let port = if token & 1 == 0 { Port::Rtp } else { Port::Rtcp };
    ((token >> 2) as usize, lane, port)
}
