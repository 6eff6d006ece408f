//! Whole calls of an independent softphone through capture: what is said arrives on the other
//! side, and the sink gets every event and every packet, in order.
#![allow(clippy::unwrap_used)]

mod keys;
mod tunnel;
mod wire;

use cheling_call::io::Settings;
use cheling_capture::relay::RelayConfig;
use cheling_capture::transport::{TlsFiles, TlsPeer, TlsTrust, TransportConfig};
use cheling_capture::{Capture, CaptureConfig, LOOKUP_QUEUE, Sinks, SpareBlocks, TapSink};
use cheling_model::call::Direction as CallDirection;
use cheling_model::directory::{
    CallerHeader, Directory, Extension, Line, RingGroup, Trunk, TrunkAddress, TrunkTransport,
};
use cheling_model::tap::{PacketKind, TapBlock};
use cheling_model::{DealershipId, EndCause, GroupId, Lane, LineId, TapEvent, TapKind, Timestamp};
use cheling_phone::{
    Account, AnswerPlan, Call, Dial, Event, Gateway, Phone, PhoneConfig, Sound, tone_share,
};
use cheling_sip::digest::{Algorithm, ha1};
use cheling_sip::{Message, Response, Transport};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::mpsc;
use tunnel::Far;

const DEADLINE: Duration = Duration::from_secs(20);
const REALM: &str = "cheling";
const PASSWORD: &str = "Vw8-lamp-otter";

/// One queue, as the journal has.
#[derive(Default)]
struct Journal(Mutex<Vec<Item>>);

enum Item {
    Packets(TapBlock),
    Event(TapEvent),
}

impl TapSink for Journal {
    fn packets(&self, block: TapBlock) -> Result<(), TapBlock> {
        self.0.lock().unwrap().push(Item::Packets(block));
        Ok(())
    }
    fn event(&self, event: TapEvent) {
        self.0.lock().unwrap().push(Item::Event(event));
    }
}

fn extension(number: &str) -> Extension {
    Extension {
        number: number.into(),
        dealership_id: DealershipId::mint(Timestamp::from_micros(1), [1; 10]),
        user_id: None,
        display_name: number.into(),
        ha1_md5: ha1(Algorithm::Md5, number, REALM, PASSWORD),
        ha1_sha256: ha1(Algorithm::Sha256, number, REALM, PASSWORD),
        reach: Default::default(),
    }
}

fn directory() -> Directory {
    let group_id = GroupId::mint(Timestamp::from_micros(1), [2; 10]);
    Directory {
        realm: REALM.into(),
        extensions: vec![extension("8001"), extension("8002")],
        lines: vec![Line {
            line_id: LineId::mint(Timestamp::from_micros(1), [3; 10]),
            dealership_id: DealershipId::mint(Timestamp::from_micros(1), [1; 10]),
            did: "02155550000".into(),
            name: "service".into(),
            group_id,
            hours: None,
            closed: Default::default(),
        }],
        groups: vec![RingGroup::ring_all(group_id, "service", &["8001", "8002"], 30)],
        dealerships: Vec::new(),
    }
}

struct Bench {
    capture: Capture,
    journal: Arc<Journal>,
    cards: mpsc::Receiver<TapEvent>,
    gateway: Gateway,
}

impl Bench {
    async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    async fn start_with(change: impl FnOnce(&mut TransportConfig)) -> Self {
        Self::start_towards(None, change).await
    }

    /// With another trunk than its gateway.
    async fn start_towards(
        other: Option<(SocketAddr, TrunkTransport)>,
        change: impl FnOnce(&mut TransportConfig),
    ) -> Self {
        // The gateway must be known before capture starts, and capture before the gateway: both
        // ports are found first. Its own address keeps the gateway apart from the phones.
        let listen = free_port("127.0.0.1");
        let gateway = free_port("127.0.0.2");
        let mut relay = RelayConfig::at(listen.ip());
        relay.ports = 30_000..=30_999;
        relay.threads = 1;
        let (address, transport) = other.unwrap_or((gateway, TrunkTransport::Udp));
        let trunk = Trunk {
            addresses: vec![TrunkAddress::only(transport, address)],
            caller_from: vec![CallerHeader::PAssertedIdentity, CallerHeader::From],
            ..Trunk::at("gateway", address)
        };
        let settings = Settings { trunks: vec![trunk], ..Settings::at(listen.ip(), [7; 32], 1) };
        let (lookup, cards) = mpsc::channel(LOOKUP_QUEUE);
        let journal = Arc::new(Journal::default());
        let sinks = Sinks {
            journal: Arc::clone(&journal) as Arc<dyn TapSink>,
            spare_blocks: Arc::new(SpareBlocks::new(4)),
            lookup,
        };
        let mut transports = TransportConfig::at(listen);
        change(&mut transports);
        let config = CaptureConfig { transports, relay };
        let capture = Capture::start(config, settings, Arc::new(directory()), sinks).await.unwrap();
        let plan = |_: &Call| AnswerPlan::Answer {
            after: Duration::ZERO,
            sound: Sound::tone(440.0),
            talk: None,
        };
        let gateway = Gateway::start(gateway, capture.udp_addresses()[0], plan).await.unwrap();
        Self { capture, journal, cards, gateway }
    }

    async fn phone(&self, user: &str) -> (Phone, mpsc::Receiver<Event>) {
        let account = Account::new(user, PASSWORD);
        let config = PhoneConfig::registered(self.capture.udp_addresses()[0], account);
        let (phone, events) = Phone::start(config).await.unwrap();
        phone.register().await.unwrap();
        (phone, events)
    }

    /// Stops everything and returns what the journal got.
    async fn finish(self) -> Vec<Item> {
        self.capture.stop(Duration::from_secs(5)).await;
        self.gateway.stop().await;
        std::mem::take(&mut *self.journal.0.lock().unwrap())
    }
}

fn free_port(address: &str) -> SocketAddr {
    let probe = std::net::UdpSocket::bind((address, 0)).unwrap();
    probe.local_addr().unwrap()
}

async fn incoming(events: &mut mpsc::Receiver<Event>) -> Call {
    match tokio::time::timeout(DEADLINE, events.recv()).await.unwrap() {
        Some(Event::Incoming(call)) => call,
        other => panic!("{}", if other.is_some() { "registration lost" } else { "phone gone" }),
    }
}

fn assert_hears(call: &Call, frequency_hz: f32) {
    let heard = call.heard();
    let share = tone_share(&heard[heard.len().saturating_sub(4000)..], frequency_hz);
    assert!(share > 0.8, "{frequency_hz} Hz is {share} of what was heard");
}

fn words(items: &[Item]) -> Vec<&'static str> {
    items
        .iter()
        .filter_map(|item| match item {
            Item::Packets(_) => None,
            Item::Event(event) => Some(match event.kind {
                TapKind::Offered(_) => "offered",
                TapKind::CallerChanged { .. } => "caller changed",
                TapKind::Ringing { .. } => "ringing",
                TapKind::FarEndRinging => "far end ringing",
                TapKind::TrunkChanged { .. } => "by another trunk",
                TapKind::Routed(_) => "routed",
                TapKind::Withdrawn { .. } => "withdrawn",
                TapKind::Answered { .. } => "answered",
                TapKind::Formats { .. } => "formats",
                TapKind::Held { .. } => "held",
                TapKind::Resumed { .. } => "resumed",
                TapKind::RecordingPaused { .. } => "paused",
                TapKind::RecordingResumed { .. } => "recording again",
                TapKind::GuestCalled { .. } => "guest called",
                TapKind::GuestJoined { .. } => "guest joined",
                TapKind::GuestChanged { .. } => "guest changed",
                TapKind::GuestLeft { .. } => "guest left",
                TapKind::Transfer { .. } => "transfer",
                TapKind::Consulting { .. } => "consulting",
                TapKind::MediaRefused { .. } => "media refused",
                TapKind::RelayClosed { .. } => "relay closed",
                TapKind::Ended { .. } => "ended",
            }),
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_inbound_call_is_heard_both_ways_and_written_down_whole() {
    let mut bench = Bench::start().await;
    let (phone, mut events) = bench.phone("8001").await;
    assert_eq!(bench.capture.handle().registrations().await.unwrap().len(), 1);
    let caller = bench.gateway.call_in("13812345678", "02155550000", Sound::tone(300.0));
    let caller = caller.await.unwrap();
    // The card is on its way before anybody answers.
    let offered = tokio::time::timeout(DEADLINE, bench.cards.recv()).await.unwrap().unwrap();
    let TapKind::Offered(offer) = &offered.kind else { panic!("{offered:?}") };
    assert_eq!((offer.direction, &*offer.caller.number), (CallDirection::Inbound, "13812345678"));
    let agent = incoming(&mut events).await;
    agent.answer(Sound::tone(800.0)).await;
    caller.answered().await.unwrap();
    agent.hears(Duration::from_secs(1)).await.unwrap();
    caller.hears(Duration::from_secs(1)).await.unwrap();
    assert_hears(&agent, 300.0);
    assert_hears(&caller, 800.0);
    let watch = bench.capture.handle().relays().clone();
    assert_eq!(watch.totals().open_calls, 1);
    caller.hang_up().await;
    let ending = tokio::time::timeout(DEADLINE, agent.ended()).await.unwrap();
    assert_eq!(ending.by, cheling_phone::Side::Them);
    phone.stop().await;

    let items = bench.finish().await;
    let words = words(&items);
    assert_eq!(words.first(), Some(&"offered"), "{words:?}");
    for word in ["ringing", "answered", "formats", "ended", "relay closed"] {
        assert!(words.contains(&word), "{word} in {words:?}");
    }
    let mut packets = [0_u64; 2];
    for item in &items {
        match item {
            Item::Packets(block) => {
                for packet in block.packets() {
                    let packet = packet.unwrap();
                    assert_eq!(packet.call_id, offered.call_id);
                    packets[packet.lane.index()] += u64::from(packet.kind == PacketKind::Rtp);
                }
            }
            Item::Event(event) => match &event.kind {
                TapKind::RelayClosed { received_packets, tap_dropped_packets } => {
                    assert_eq!((*received_packets, *tap_dropped_packets), (packets, [0, 0]));
                }
                TapKind::Ended { cause, by, .. } => {
                    assert_eq!((*cause, *by), (EndCause::HungUp, Some(Lane::Customer)));
                }
                _ => {}
            },
        }
    }
    assert!(packets.iter().all(|packets| *packets >= 45), "{packets:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn phones_register_and_call_over_tls_and_websockets() {
    let authority = Arc::new(keys::Authority::new());
    let certificates = vec![authority.sign("a", &["127.0.0.1"])];
    let bench = Bench::start_with(|config| {
        let any = "127.0.0.3:0".parse().unwrap();
        (config.tls, config.ws, config.wss) = (vec![any], vec![any], vec![any]);
        config.tls_files = Some(TlsFiles { certificates, client_ca: None });
    })
    .await;
    for (far, transport) in
        [(Far::Tls, Transport::Tls), (Far::Ws, Transport::Ws), (Far::Wss, Transport::Wss)]
    {
        let at = bench.capture.addresses(transport)[0];
        let server = tunnel::open(far, at, Arc::clone(&authority)).await;
        let config = PhoneConfig::registered(server, Account::new("8001", PASSWORD));
        let (phone, mut events) =
            Phone::start(config.over(cheling_phone::Transport::Tcp)).await.unwrap();
        phone.register().await.unwrap();
        // Called by a customer, who is heard and hangs up.
        let caller = bench.gateway.call_in("13812345678", "02155550000", Sound::tone(300.0));
        let caller = caller.await.unwrap();
        let agent = incoming(&mut events).await;
        agent.answer(Sound::tone(800.0)).await;
        caller.answered().await.unwrap();
        agent.hears(Duration::from_secs(1)).await.unwrap();
        caller.hears(Duration::from_secs(1)).await.unwrap();
        assert_hears(&agent, 300.0);
        assert_hears(&caller, 800.0);
        caller.hang_up().await;
        tokio::time::timeout(DEADLINE, agent.ended()).await.unwrap();
        // Calls a customer, and hangs up.
        let out = phone.call(Dial::number("13812345678"), Sound::tone(800.0)).await.unwrap();
        out.answered().await.unwrap();
        out.hears(Duration::from_secs(1)).await.unwrap();
        assert_hears(&out, 440.0);
        out.hang_up().await;
        tokio::time::timeout(DEADLINE, out.ended()).await.unwrap();
        phone.stop().await;
    }
    let items = bench.finish().await;
    let causes: Vec<_> = items
        .iter()
        .filter_map(|item| match item {
            Item::Event(TapEvent { kind: TapKind::Ended { cause, .. }, .. }) => Some(*cause),
            _ => None,
        })
        .collect();
    assert_eq!(causes, [EndCause::HungUp; 6]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trunk_under_tls_is_called_by_tls_alone() {
    let authority = keys::Authority::new();
    let certificates = vec![authority.sign("gw", &["gw.example"])];
    let mut far = wire::Bench::start(|config| {
        config.tls = vec!["127.0.0.4:0".parse().unwrap()];
        config.tls_files = Some(TlsFiles { certificates, client_ca: None });
    })
    .await;
    let address = far.at(Transport::Tls);
    let bench = Bench::start_towards(Some((address, TrunkTransport::Tls)), |config| {
        config.tls_peers = vec![TlsPeer {
            name: "gw.example".into(),
            ..TlsPeer::at(address, TlsTrust::Authorities(authority.file()))
        }];
    })
    .await;
    let (phone, _events) = bench.phone("8001").await;
    let call = phone.call(Dial::number("13812345678"), Sound::tone(800.0)).await.unwrap();
    let (flow, bytes) = far.message().await;
    let Ok(Message::Request(invite)) = Message::parse(&bytes) else { panic!() };
    let uri = invite.uri.to_string();
    assert_eq!(uri, format!("sip:13812345678@{address};transport=tls"));
    let text = String::from_utf8_lossy(&bytes);
    assert!(text.contains("Via: SIP/2.0/TLS "), "{text}");
    assert!(text.contains(";transport=tls>"), "{text}");
    // What it answers on the same connection reaches the phone.
    let busy = Response::to(&invite, 486, "Busy Here", Some("b"));
    far.transports.send(&flow, Message::Response(busy).to_bytes()).unwrap();
    let ending = tokio::time::timeout(DEADLINE, call.ended()).await.unwrap();
    assert_eq!(ending.status, Some(486));
    phone.stop().await;
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_ends_a_call_in_progress_and_accounts_for_it() {
    let bench = Bench::start().await;
    let (phone, mut events) = bench.phone("8002").await;
    let caller = bench.gateway.call_in("13812345678", "02155550000", Sound::tone(300.0));
    let caller = caller.await.unwrap();
    let agent = incoming(&mut events).await;
    agent.answer(Sound::tone(800.0)).await;
    caller.answered().await.unwrap();
    let Bench { capture, journal, gateway, .. } = bench;
    capture.stop(Duration::ZERO).await;
    for call in [&caller, &agent] {
        tokio::time::timeout(DEADLINE, call.ended()).await.unwrap();
    }
    let items = std::mem::take(&mut *journal.0.lock().unwrap());
    let words = words(&items);
    assert!(words.contains(&"ended") && words.contains(&"relay closed"), "{words:?}");
    phone.stop().await;
    gateway.stop().await;
}
