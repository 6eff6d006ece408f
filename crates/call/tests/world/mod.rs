//! A small world for the switch: phones and gateways in memory, a link that may lose and reorder,
//! and a clock that jumps to whatever comes next.
#![allow(dead_code, clippy::disallowed_methods)] // Each test uses a part; an instant to count from.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cheling_call::Switch;
use cheling_call::io::{Command, CommandReply, Input, MixPlan, Output, RelayProtection, Settings};
use cheling_dice::Dice;
use cheling_model::directory::{
    CallerHeader, Dealership, Destination, Directory, Extension, Line, RingGroup, Trunk,
};
use cheling_model::reach::Reach;
use cheling_model::{CallId, DealershipId, GroupId, Lane, LineId, Now, TapKind, Timestamp, UserId};
use cheling_sip::digest::{Algorithm, ha1};
use cheling_sip::{Flow, Message, Transport};

pub mod talk;
pub mod ua;

use ua::Ua;

pub const SWITCH: &str = "192.0.2.1:5060";
pub const GATEWAY: &str = "192.0.2.50:5060";

/// What the link does to datagrams.
#[derive(Clone, Copy, Debug, Default)]
pub struct Link {
    /// Of a hundred.
    pub lost: u64,
    /// The longest delay.
    pub delay: Duration,
    /// Of a hundred, delivered twice.
    pub doubled: u64,
}

struct Packet {
    due: Instant,
    order: u64,
    from: SocketAddr,
    to: SocketAddr,
    bytes: Vec<u8>,
}

pub struct World {
    pub now: Now,
    pub switch: Switch,
    pub link: Link,
    pub uas: Vec<Ua>,
    pub taps: Vec<(CallId, TapKind)>,
    /// Everything but Send and Tap, as text.
    pub outputs: Vec<String>,
    /// The keys between [customer, agent] and us, as the relay has them.
    pub keys: [Option<cheling_call::io::SrtpKeys>; 2],
    pub replies: Vec<CommandReply>,
    /// Which payload types of which side are digits, as the relay was told.
    pub events: Vec<(Lane, u128)>,
    /// Who hears whom, as the relay was told last.
    pub plans: HashMap<CallId, Option<MixPlan>>,
    /// Start lines that the switch sent.
    pub sent: Vec<(SocketAddr, String)>,
    pub opens_relays: bool,
    /// Who comes by TCP, and the number of the connection.
    pub connections: Vec<(SocketAddr, u64)>,
    /// Time the switch took.
    pub spent: Duration,
    packets: Vec<Packet>,
    relays: Vec<(Instant, Input<'static>)>,
    dice: Dice,
    order: u64,
    next_port: u16,
}

pub fn id<T: From<uuid::Uuid>>(number: u128) -> T {
    T::from(uuid::Uuid::from_u128(number))
}

pub fn extension(number: &str) -> Extension {
    Extension {
        number: number.into(),
        dealership_id: id::<DealershipId>(1),
        user_id: Some(id::<UserId>(number.parse().unwrap())),
        display_name: format!("Agent {number}"),
        ha1_md5: ha1(Algorithm::Md5, number, "cheling", "secret"),
        ha1_sha256: ha1(Algorithm::Sha256, number, "cheling", "secret"),
        reach: Reach::International,
    }
}

pub fn directory() -> Directory {
    Directory {
        realm: "cheling".into(),
        extensions: ["8001", "8002", "8003"].map(extension).into(),
        lines: vec![Line {
            line_id: id::<LineId>(5),
            dealership_id: id(1),
            did: "02161234567".into(),
            name: "售后热线".into(),
            group_id: id::<GroupId>(6),
            hours: None,
            closed: Destination::Unavailable,
        }],
        groups: vec![RingGroup::ring_all(id(6), "售后一组", &["8001", "8002"], 20)],
        dealerships: vec![Dealership {
            dealership_id: id(1),
            area_code: "021".into(),
            utc_offset_s: 8 * 3600,
            blocked_prefixes: vec!["168".into()],
        }],
    }
}

pub fn settings(seed: u64) -> Settings {
    Settings {
        tcp_port: Some(5060),
        tls_port: Some(5061),
        trunks: vec![Trunk {
            strip_prefix: "9".into(),
            caller_number: Some("02161234567".into()),
            caller_from: vec![CallerHeader::PAssertedIdentity, CallerHeader::From],
            ..Trunk::at("gateway", GATEWAY.parse().unwrap())
        }],
        registration: Duration::from_secs(60)..=Duration::from_secs(3600),
        max_calls: 50,
        ..Settings::at("192.0.2.1".parse().unwrap(), [5; 32], seed)
    }
}

impl World {
    pub fn new() -> Self {
        Self::seeded(1)
    }

    pub fn seeded(seed: u64) -> Self {
        Self::with(settings(seed), seed)
    }

    pub fn with(settings: Settings, seed: u64) -> Self {
        let now =
            Now { monotonic: Instant::now(), wall: Timestamp::from_micros(1_700_000_000_000_000) };
        Self {
            now,
            switch: Switch::new(now, settings, Arc::new(directory())),
            link: Link::default(),
            uas: Vec::new(),
            taps: Vec::new(),
            outputs: Vec::new(),
            keys: [None, None],
            replies: Vec::new(),
            events: Vec::new(),
            plans: HashMap::new(),
            sent: Vec::new(),
            opens_relays: true,
            connections: Vec::new(),
            spent: Duration::ZERO,
            packets: Vec::new(),
            relays: Vec::new(),
            dice: Dice::new(seed),
            order: 0,
            next_port: 30000,
        }
    }

    /// A world with a gateway (0) and phones 8001 (1) and 8002 (2), registered.
    pub fn dealership(seed: u64) -> Self {
        Self::dealership_with(settings(seed), seed)
    }

    /// The same under other settings.
    pub fn dealership_with(settings: Settings, seed: u64) -> Self {
        let mut world = Self::with(settings, seed);
        world.add(Ua::new("gateway", GATEWAY));
        for number in ["8001", "8002"] {
            let phone = world.add(Ua::new(number, &format!("192.0.2.1{}:5060", &number[2..])));
            world.register(phone);
        }
        world.run(Duration::from_secs(1));
        assert_eq!(world.switch.registrations().len(), 2);
        world
    }

    pub fn add(&mut self, ua: Ua) -> usize {
        self.uas.push(ua);
        self.uas.len() - 1
    }

    pub fn register(&mut self, ua: usize) {
        let now = self.now.monotonic;
        self.uas[ua].register(now, 3600);
    }

    pub fn call(&mut self, ua: usize, number: &str) {
        let now = self.now.monotonic;
        self.uas[ua].call(now, number);
    }

    pub fn command(&mut self, command: Command) {
        self.switch.handle(self.now, Input::Command(command));
    }

    pub fn random(&mut self) -> u64 {
        self.dice.roll()
    }

    fn carry(&mut self, from: SocketAddr, to: SocketAddr, bytes: Vec<u8>) {
        let copies = if self.random() % 100 < self.link.doubled { 2 } else { 1 };
        for _ in 0..copies {
            if self.random() % 100 < self.link.lost {
                continue;
            }
            let most = self.link.delay.as_micros() as u64;
            let delay = if most == 0 { 0 } else { self.random() % most };
            self.order += 1;
            self.packets.push(Packet {
                due: self.now.monotonic + Duration::from_micros(delay),
                order: self.order,
                from,
                to,
                bytes: bytes.clone(),
            });
        }
    }

    fn drain(&mut self) {
        loop {
            let since = Instant::now();
            let output = self.switch.poll();
            self.spent += since.elapsed();
            let Some(output) = output else { break };
            self.obey(output);
        }
        for at in 0..self.uas.len() {
            while let Some((to, bytes)) = self.uas[at].endpoint.poll() {
                let from = self.uas[at].address;
                self.carry(from, to.remote, bytes.to_vec());
            }
        }
    }

    fn obey(&mut self, output: Output) {
        match output {
            Output::Send { flow, bytes } => {
                let text = String::from_utf8_lossy(&bytes).into_owned();
                // A 400 or 505 repeats what could not be read.
                assert!(
                    text.starts_with("SIP/2.0 4")
                        || text.starts_with("SIP/2.0 505")
                        || Message::parse(&bytes).is_ok(),
                    "{text}"
                );
                let line = text.lines().next().unwrap_or_default().to_owned();
                self.sent.push((flow.remote, line));
                self.carry(SWITCH.parse().unwrap(), flow.remote, bytes.to_vec());
            }
            Output::Tap(event) => self.taps.push((event.call_id, event.kind)),
            Output::Reply { reply, .. } => self.replies.push(reply),
            Output::ProtectRelay { lane, protection, .. } => {
                self.outputs.push(format!("ProtectRelay {lane:?}"));
                self.keys[lane.index()] = match protection.map(|it| *it) {
                    Some(RelayProtection::Srtp(keys)) => Some(keys),
                    Some(RelayProtection::Dtls(_)) | None => None,
                };
            }
            Output::OpenGuest { call_id, guest } => {
                self.outputs.push(format!("OpenGuest {guest}"));
                let port = self.next_port;
                self.next_port = self.next_port.wrapping_add(4).max(30000);
                let local = SocketAddr::new("192.0.2.1".parse().unwrap(), port);
                let local = Some(local).filter(|_| self.opens_relays);
                let input = Input::GuestOpened { call_id, guest, local };
                self.relays.push((self.now.monotonic, input));
            }
            Output::PointGuest { guest, remote, .. } => {
                let to = remote.map(|remote| remote.rtp.to_string());
                self.outputs.push(format!("PointGuest {guest} {}", to.unwrap_or_default()));
            }
            Output::CloseGuest { guest, .. } => self.outputs.push(format!("CloseGuest {guest}")),
            Output::Mix { call_id, plan } => {
                self.outputs.push(if plan.is_some() { "Mix" } else { "Mix none" }.into());
                self.plans.insert(call_id, plan.map(|plan| *plan));
            }
            Output::OpenRelay { call_id } => {
                self.outputs.push("OpenRelay".into());
                let port = self.next_port;
                self.next_port = self.next_port.wrapping_add(4).max(30000);
                let address = |port| SocketAddr::new("192.0.2.1".parse().unwrap(), port);
                let local = [address(port), address(port + 2)];
                let input = if self.opens_relays {
                    Input::RelayOpened { call_id, local }
                } else {
                    Input::RelayFailed { call_id }
                };
                self.relays.push((self.now.monotonic, input));
            }
            Output::CloseRelay { call_id } => {
                self.outputs.push("CloseRelay".into());
                let input = Input::RelayClosed {
                    call_id,
                    received_packets: [7, 8],
                    tap_dropped_packets: [0, 0],
                };
                self.relays.push((self.now.monotonic, input));
            }
            Output::PointRelay { lane, remote, .. } => {
                let to = remote.map_or(0, |remote| remote.rtp.port());
                self.outputs.push(format!("Point {lane:?} {to}"));
            }
            Output::StartRecording { .. } => self.outputs.push("StartRecording".into()),
            Output::PauseRecording { call_id, is_paused } => {
                self.outputs.push(format!("PauseRecording {is_paused}"));
                let at = self.now.wall;
                let input = Input::RecordingPaused { call_id, is_paused, at };
                self.relays.push((self.now.monotonic, input));
            }
            Output::TelephoneEvents { lane, payload_types, .. } => {
                self.events.push((lane, payload_types));
            }
        }
    }

    fn next(&self) -> Option<Instant> {
        let packets = self.packets.iter().map(|packet| packet.due);
        let relays = self.relays.iter().map(|(due, _)| *due);
        let uas = self.uas.iter().filter_map(Ua::next_timeout);
        packets.chain(relays).chain(uas).chain(self.switch.next_timeout()).min()
    }

    fn advance(&mut self, to: Instant) {
        let by = to.saturating_duration_since(self.now.monotonic);
        self.now = Now { monotonic: self.now.monotonic + by, wall: self.now.wall + by };
    }

    /// Lets the world go on for this long; whether anything was left to do after it.
    pub fn run(&mut self, time: Duration) -> bool {
        let end = self.now.monotonic + time;
        loop {
            self.drain();
            let Some(next) = self.next() else {
                self.advance(end);
                return false;
            };
            if next > end {
                self.advance(end);
                return true;
            }
            self.advance(next);
            self.step();
        }
    }

    fn step(&mut self) {
        let now = self.now;
        if let Some(at) = self.relays.iter().position(|(due, _)| *due <= now.monotonic) {
            let (_, input) = self.relays.remove(at);
            self.feed(input);
            return;
        }
        let due = (0..self.packets.len())
            .filter(|at| self.packets[*at].due <= now.monotonic)
            .min_by_key(|at| (self.packets[*at].due, self.packets[*at].order));
        if let Some(at) = due {
            let packet = self.packets.swap_remove(at);
            return self.deliver(packet);
        }
        if self.switch.next_timeout().is_some_and(|at| at <= now.monotonic) {
            self.feed(Input::Timeout);
        }
        for ua in &mut self.uas {
            ua.timeout(now.monotonic);
        }
    }

    fn deliver(&mut self, packet: Packet) {
        let now = self.now;
        if packet.to == SWITCH.parse().unwrap() {
            self.receive(packet.from, &packet.bytes);
            return;
        }
        let Some(ua) = self.uas.iter_mut().find(|ua| ua.address == packet.to) else { return };
        if let Ok(message) = Message::parse(&packet.bytes) {
            ua.receive(now.monotonic, packet.from, message);
        }
    }

    /// Has the switch receive these bytes.
    pub fn receive(&mut self, from: SocketAddr, bytes: &[u8]) {
        let flow = self.flow(from);
        self.feed(Input::Message { flow, bytes });
    }

    fn flow(&self, from: SocketAddr) -> Flow {
        let connection = self.connections.iter().find(|(address, _)| *address == from);
        let connection = connection.map(|(_, number)| *number);
        Flow {
            transport: if connection.is_some() { Transport::Tcp } else { Transport::Udp },
            local: SWITCH.parse().unwrap(),
            remote: from,
            connection,
        }
    }

    /// A side goes on by another connection; the old one comes back.
    pub fn reconnect(&mut self, ua: usize, address: &str, number: u64) -> Flow {
        let flow = self.flow(self.uas[ua].address);
        self.connections.retain(|(address, _)| *address != flow.remote);
        self.uas[ua].address = address.parse().unwrap();
        self.connections.push((self.uas[ua].address, number));
        flow
    }

    /// A connection breaks.
    pub fn close(&mut self, flow: Flow) {
        self.feed(Input::FlowClosed { flow });
    }

    pub fn feed(&mut self, input: Input<'_>) {
        let since = Instant::now();
        self.switch.handle(self.now, input);
        self.spent += since.elapsed();
    }

    /// Runs until nothing is left to do but registrations that will run out.
    pub fn settle(&mut self) {
        self.run(Duration::from_secs(300));
        assert!(self.switch.is_idle(), "{:#?}", self.switch);
        for ua in &self.uas {
            assert!(ua.is_idle(), "{} {:?}", ua.number, ua.log);
        }
    }

    /// The taps of all calls as one word each, with what matters.
    pub fn story(&self) -> Vec<String> {
        self.taps.iter().map(|(_, kind)| tell(kind)).collect()
    }

    /// What happened to one call.
    pub fn story_of(&self, call_id: CallId) -> Vec<String> {
        let own = self.taps.iter().filter(|(id, _)| *id == call_id);
        own.map(|(_, kind)| tell(kind)).collect()
    }

    /// What was sent to an address.
    pub fn sent_to(&self, ua: usize) -> Vec<&str> {
        let address = self.uas[ua].address;
        self.sent.iter().filter(|(to, _)| *to == address).map(|(_, line)| line.as_str()).collect()
    }
}

fn tell(kind: &TapKind) -> String {
    match kind {
        TapKind::Offered(offer) => {
            format!("offered {:?} {}>{}", offer.direction, offer.caller.number, offer.called)
        }
        TapKind::CallerChanged { caller } => format!("caller {}", caller.number),
        TapKind::Ringing { extension, .. } => format!("ringing {extension}"),
        TapKind::FarEndRinging => "far end rings".into(),
        TapKind::TrunkChanged { trunk } => format!("by {trunk}"),
        TapKind::Routed(stop) => format!("routed {} {:?}", stop.name, stop.why),
        TapKind::Withdrawn { extension, why, .. } => format!("withdrawn {extension} {why:?}"),
        TapKind::Answered { extension } => format!("answered {extension}"),
        TapKind::Formats { lane, formats, .. } => {
            let names: Vec<_> = formats.iter().map(|format| format.encoding.as_str()).collect();
            format!("formats {lane:?} {}", names.join(" "))
        }
        TapKind::Held { by } => format!("held {by:?}"),
        TapKind::Resumed { by } => format!("resumed {by:?}"),
        TapKind::RecordingPaused { by, .. } => format!("paused {by:?}"),
        TapKind::RecordingResumed { by } => format!("resumed {by:?}"),
        TapKind::GuestCalled { guest, role, number } => {
            format!("guest {guest} {number} called to {}", role.as_str())
        }
        TapKind::GuestJoined { guest, role, extension, number } => {
            let who = extension.as_ref().unwrap_or(number);
            format!("guest {guest} {who} joined to {}", role.as_str())
        }
        TapKind::GuestChanged { guest, role } => format!("guest {guest} may {}", role.as_str()),
        TapKind::GuestLeft { guest } => format!("guest {guest} left"),
        TapKind::Transfer { to, stage, .. } => format!("transfer to {to} {stage:?}"),
        TapKind::Consulting { with } => {
            format!("consulting {}", if with.is_some() { "began" } else { "over" })
        }
        TapKind::MediaRefused { lane, why } => format!("{lane:?} refused: {why:?}"),
        TapKind::RelayClosed { .. } => "relay closed".into(),
        TapKind::Ended { cause, by, sip_status } => {
            format!("ended {cause:?} {by:?} {sip_status:?}")
        }
    }
}
