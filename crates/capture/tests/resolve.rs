//! Trunks known by name, asked of a DNS server of our own.
#![allow(clippy::unwrap_used)]

use cheling_call::io::Settings;
use cheling_capture::relay::RelayConfig;
use cheling_capture::resolve::{Families, Names, ResolveError, Wanted, keep};
use cheling_capture::transport::TransportConfig;
use cheling_capture::{Capture, CaptureConfig, LOOKUP_QUEUE, Sinks, SpareBlocks, TapSink};
use cheling_model::TapEvent;
use cheling_model::directory::{Account, Directory, LongRequests, Trunk, TrunkTransport};
use cheling_model::tap::TapBlock;
use cheling_sip::{Message, Name, Response};
use std::collections::{HashMap, HashSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

const DEADLINE: Duration = Duration::from_secs(20);
const A: u16 = 1;
const SRV: u16 = 33;
const NAPTR: u16 = 35;

type Answers = HashMap<(String, u16), Vec<Vec<u8>>>;

/// A DNS server that knows what it is told, with a TTL of one second.
#[derive(Clone, Default)]
struct Zone {
    answers: Arc<Mutex<Answers>>,
    asked: Arc<Mutex<HashSet<(String, u16)>>>,
    is_down: Arc<Mutex<bool>>,
}

impl Zone {
    async fn serve(&self) -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let zone = self.clone();
        tokio::spawn(async move {
            let mut buffer = [0; 4096];
            while let Ok((len, from)) = socket.recv_from(&mut buffer).await {
                if !*zone.is_down.lock().unwrap() {
                    let _ = socket.send_to(&zone.answer(&buffer[..len]), from).await;
                }
            }
        });
        address
    }

    fn set(&self, name: &str, kind: u16, answers: Vec<Vec<u8>>) {
        self.answers.lock().unwrap().insert((name.into(), kind), answers);
    }

    fn host(&self, name: &str, ip: [u8; 4]) {
        self.set(name, A, vec![ip.to_vec()]);
    }

    fn was_asked(&self, name: &str, kind: u16) -> bool {
        self.asked.lock().unwrap().contains(&(name.into(), kind))
    }

    fn answer(&self, query: &[u8]) -> Vec<u8> {
        let (mut name, mut at) = (String::new(), 12);
        while query[at] != 0 {
            let label = &query[at + 1..at + 1 + usize::from(query[at])];
            name.push_str(&String::from_utf8_lossy(label).to_ascii_lowercase());
            name.push('.');
            at += label.len() + 1;
        }
        let kind = u16::from_be_bytes([query[at + 1], query[at + 2]]);
        let question = &query[12..at + 5];
        let key = (name.trim_end_matches('.').to_owned(), kind);
        self.asked.lock().unwrap().insert(key.clone());
        let answers = self.answers.lock().unwrap().get(&key).cloned().unwrap_or_default();
        let count = u16::try_from(answers.len()).unwrap().to_be_bytes();
        let mut reply = query[..2].to_vec();
        reply.extend([0x85, 0x80, 0, 1, count[0], count[1], 0, 0, 0, 0]);
        reply.extend(question);
        for data in answers {
            reply.extend([0xc0, 12]);
            reply.extend(kind.to_be_bytes());
            reply.extend([0, 1, 0, 0, 0, 1]);
            reply.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
            reply.extend(data);
        }
        reply
    }
}

fn domain(name: &str) -> Vec<u8> {
    let labels = name.split('.').filter(|label| !label.is_empty());
    let mut bytes: Vec<u8> = labels
        .flat_map(|label| [&[u8::try_from(label.len()).unwrap()], label.as_bytes()].concat())
        .collect();
    bytes.push(0);
    bytes
}

fn srv(priority: u16, weight: u16, port: u16, target: &str) -> Vec<u8> {
    let numbers = [priority, weight, port].map(u16::to_be_bytes).concat();
    [numbers, domain(target)].concat()
}

fn naptr(order: u16, service: &str, replacement: &str) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    let numbers = [order, 0].map(u16::to_be_bytes).concat();
    [numbers, text("s"), text(service), text(""), domain(replacement)].concat()
}

fn wanted(host: &str, port: Option<u16>, transport: Option<TrunkTransport>) -> Wanted {
    let long_requests = LongRequests::Auto;
    Wanted { trunk: "provider".into(), host: host.into(), port, transport, long_requests }
}

async fn found(names: &Names, wanted: &Wanted) -> Vec<String> {
    let found = names.resolve(wanted).await.unwrap();
    assert!(found.good_for <= Duration::from_secs(1), "the TTL counts: {:?}", found.good_for);
    let places = found.addresses.iter();
    places
        .map(|it| format!("{:?} {} {}/{}", it.transport, it.address, it.priority, it.weight))
        .collect()
}

#[tokio::test]
async fn names_are_looked_up_as_rfc_3263_says() {
    let zone = Zone::default();
    zone.host("a.example", [192, 0, 2, 1]);
    zone.host("b.example", [192, 0, 2, 2]);
    zone.host("plain.example", [192, 0, 2, 3]);
    zone.set(
        "_sip._udp.sip.example",
        SRV,
        vec![
            srv(20, 0, 5080, "b.example"),
            srv(10, 70, 5070, "a.example"),
            srv(10, 30, 5071, "gone.example"),
        ],
    );
    zone.set("_sip._tcp.sip.example", SRV, vec![srv(1, 0, 5090, "b.example")]);
    zone.set(
        "auto.example",
        NAPTR,
        vec![
            naptr(20, "SIP+D2U", "_sip._udp.sip.example"),
            naptr(10, "SIP+D2T", "_sip._tcp.sip.example"),
        ],
    );
    zone.set("_sip._udp.none.example", SRV, vec![srv(0, 0, 0, ".")]);
    let names = Names::new(&[zone.serve().await], Families::V4).unwrap();
    let udp = Some(TrunkTransport::Udp);
    for (host, port, transport, want) in [
        ("sip.example", None, udp, &["Udp 192.0.2.1:5070 10/70", "Udp 192.0.2.2:5080 20/0"][..]),
        ("sip.example", None, Some(TrunkTransport::Tcp), &["Tcp 192.0.2.2:5090 1/0"]),
        ("auto.example", None, None, &["Tcp 192.0.2.2:5090 1/0"]),
        ("sip.example", None, None, &["Udp 192.0.2.1:5070 10/70", "Udp 192.0.2.2:5080 20/0"]),
        ("plain.example", None, udp, &["Udp 192.0.2.3:5060 0/0"]),
        ("plain.example", None, Some(TrunkTransport::Tls), &["Tls 192.0.2.3:5061 0/0"]),
        ("plain.example", Some(5099), None, &["Udp 192.0.2.3:5099 0/0"]),
    ] {
        assert_eq!(found(&names, &wanted(host, port, transport)).await, want, "{host}");
    }
    assert!(zone.was_asked("auto.example", NAPTR) && zone.was_asked("sip.example", NAPTR));
    zone.host("ported.example", [192, 0, 2, 4]);
    found(&names, &wanted("ported.example", Some(5060), udp)).await;
    assert!(!zone.was_asked("_sip._udp.ported.example", SRV), "a port rules SRV out");
    for host in ["nowhere.example", "none.example"] {
        let err = names.resolve(&wanted(host, None, udp)).await.unwrap_err();
        assert!(matches!(err, ResolveError::Nothing(_)), "{err}");
    }
}

#[tokio::test]
async fn a_machine_that_dns_names_for_both_takes_long_requests_by_tcp() {
    let zone = Zone::default();
    zone.host("a.example", [192, 0, 2, 1]);
    zone.host("b.example", [192, 0, 2, 2]);
    let both = vec![srv(10, 0, 5070, "a.example"), srv(20, 0, 5080, "b.example")];
    zone.set("_sip._udp.sip.example", SRV, both);
    zone.set("_sip._tcp.sip.example", SRV, vec![srv(1, 0, 5090, "b.example")]);
    let names = Names::new(&[zone.serve().await], Families::V4).unwrap();
    let (udp, auto) = (Some(TrunkTransport::Udp), None);
    for (transport, long_requests, want) in [
        (auto, LongRequests::Auto, [None, Some("192.0.2.2:5090")]),
        (auto, LongRequests::Udp, [None, None]),
        (auto, LongRequests::Tcp, [Some("192.0.2.1:5070"), Some("192.0.2.2:5090")]),
        (udp, LongRequests::Auto, [None, None]),
        (udp, LongRequests::Tcp, [Some("192.0.2.1:5070"), Some("192.0.2.2:5080")]),
    ] {
        let wanted = Wanted { long_requests, ..wanted("sip.example", None, transport) };
        let found = names.resolve(&wanted).await.unwrap().addresses;
        let streams: Vec<_> = found.iter().map(|it| it.stream).collect();
        let want = want.map(|it| it.map(|it| it.parse::<SocketAddr>().unwrap()));
        assert_eq!(streams, want, "{transport:?} {long_requests:?}");
    }
}

struct Nobody;

impl TapSink for Nobody {
    fn packets(&self, _: TapBlock) -> Result<(), TapBlock> {
        Ok(())
    }
    fn event(&self, _: TapEvent) {}
}

async fn start(trunks: Vec<Trunk>) -> (Capture, mpsc::Receiver<TapEvent>) {
    let localhost: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let mut relay = RelayConfig::at(localhost.ip());
    relay.threads = 1;
    let config = CaptureConfig { transports: TransportConfig::at(localhost), relay };
    let settings = Settings { trunks, ..Settings::at(localhost.ip(), [7; 32], 1) };
    let (lookup, events) = mpsc::channel(LOOKUP_QUEUE);
    let spare_blocks = Arc::new(SpareBlocks::new(4));
    let sinks = Sinks { journal: Arc::new(Nobody), spare_blocks, lookup };
    let directory = Arc::new(Directory { realm: "cheling".into(), ..Directory::default() });
    (Capture::start(config, settings, directory, sinks).await.unwrap(), events)
}

/// A registrar that grants whatever comes, and tells of each REGISTER, but not of its copies.
async fn registrar(ip: Ipv4Addr, port: u16, told: mpsc::Sender<Ipv4Addr>) -> SocketAddr {
    let socket = UdpSocket::bind((ip, port)).await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 4096];
        let mut last = None;
        while let Ok((len, from)) = socket.recv_from(&mut buffer).await {
            let Ok(Message::Request(request)) = Message::parse(&buffer[..len]) else { continue };
            let mut response = Response::to(&request, 200, "", Some("r"));
            response.headers.copy_from(&request.headers, Name::Contact);
            let _ = socket.send_to(&response.to_bytes(), from).await;
            let branch = request.headers.via().and_then(|via| via.branch().map(str::to_owned));
            if last != branch {
                last = branch;
                let _ = told.send(ip).await;
            }
        }
    });
    address
}

#[tokio::test]
async fn a_trunk_that_dns_moves_is_followed_and_stays_when_dns_is_down() {
    let (told, mut heard) = mpsc::channel(64);
    let (one, two) = (Ipv4Addr::new(127, 0, 0, 1), Ipv4Addr::new(127, 0, 0, 2));
    let port = registrar(one, 0, told.clone()).await.port();
    registrar(two, port, told).await;
    let zone = Zone::default();
    zone.host("ims.example", one.octets());

    let trunk = Trunk {
        host: "ims.example".into(),
        addresses: Vec::new(),
        account: Some(Account {
            user: "1001".into(),
            auth_user: "1001".into(),
            password: "geheim".into(),
            registers: true,
            expires: Duration::from_secs(600),
        }),
        ..Trunk::at("provider", SocketAddr::from((one, port)))
    };
    let (capture, _events) = start(vec![trunk]).await;
    let names = Names::new(&[zone.serve().await], Families::V4).unwrap();
    let stop = CancellationToken::new();
    let wanted = vec![wanted("ims.example", Some(port), Some(TrunkTransport::Udp))];
    let task = tokio::spawn(keep(names, wanted, capture.handle(), stop.clone()));

    assert_eq!(tokio::time::timeout(DEADLINE, heard.recv()).await.unwrap(), Some(one));
    zone.host("ims.example", two.octets());
    assert_eq!(tokio::time::timeout(DEADLINE, heard.recv()).await.unwrap(), Some(two));
    *zone.is_down.lock().unwrap() = true;
    // The registrar has it before we know that it is granted.
    let there = SocketAddr::from((two, port));
    let granted = async || loop {
        let status = capture.handle().trunks().await.unwrap().remove(0);
        let granted = status.registration.as_ref().and_then(|it| it.granted);
        if granted.is_some_and(|(at, ..)| at == there) {
            break status;
        }
        tokio::task::yield_now().await;
    };
    let status = tokio::time::timeout(DEADLINE, granted()).await.unwrap();
    assert_eq!(status.addresses[0].1, there);
    stop.cancel();
    task.await.unwrap();
    capture.stop(Duration::ZERO).await;
    // The registration was taken back where it stood.
    assert_eq!(heard.recv().await, Some(two));
}
