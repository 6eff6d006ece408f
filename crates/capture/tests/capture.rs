//! Capture as a whole, over loopback: SIP in, SIP out, garbage, commands, stop.
#![allow(clippy::unwrap_used)]

use cheling_call::io::{CommandReply, Settings};
use cheling_capture::relay::RelayConfig;
use cheling_capture::transport::TransportConfig;
use cheling_capture::{Capture, CaptureConfig, Dial, LOOKUP_QUEUE, Sinks, SpareBlocks, TapSink};
use cheling_model::directory::{Directory, Trunk};
use cheling_model::tap::TapBlock;
use cheling_model::{CallId, TapEvent, Timestamp, UserId};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::mpsc;

const DEADLINE: Duration = Duration::from_secs(10);

#[derive(Default)]
struct Journal {
    events: Mutex<Vec<TapEvent>>,
}

impl TapSink for Journal {
    fn packets(&self, _: TapBlock) -> Result<(), TapBlock> {
        Ok(())
    }
    fn event(&self, event: TapEvent) {
        self.events.lock().unwrap().push(event);
    }
}

async fn start(trunks: Vec<Trunk>) -> (Capture, mpsc::Receiver<TapEvent>) {
    let localhost: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let mut relay = RelayConfig::at(localhost.ip());
    relay.threads = 1;
    let config = CaptureConfig { transports: TransportConfig::at(localhost), relay };
    let settings = Settings { trunks, ..Settings::at(localhost.ip(), [7; 32], 1) };
    let (lookup, events) = mpsc::channel(LOOKUP_QUEUE);
    let sinks = Sinks {
        journal: Arc::new(Journal::default()),
        spare_blocks: Arc::new(SpareBlocks::new(4)),
        lookup,
    };
    let directory = Arc::new(Directory { realm: "cheling".into(), ..Directory::default() });
    (Capture::start(config, settings, directory, sinks).await.unwrap(), events)
}

fn request(method: &str, transport: &str, from: SocketAddr) -> String {
    format!(
        "{method} sip:8001@127.0.0.1 SIP/2.0\r\n\
         Via: SIP/2.0/{transport} {from};branch=z9hG4bK-{method}-{from};rport\r\n\
         Max-Forwards: 70\r\n\
         From: <sip:probe@127.0.0.1>;tag=a\r\n\
         To: <sip:8001@127.0.0.1>\r\n\
         Call-ID: {method}-{transport}-{from}\r\n\
         CSeq: 1 {method}\r\n\
         Contact: <sip:probe@{from}>\r\n\
         Content-Length: 0\r\n\r\n"
    )
}

async fn ask(socket: &UdpSocket, to: SocketAddr, text: &str) -> String {
    socket.send_to(text.as_bytes(), to).await.unwrap();
    let mut buffer = [0; 4096];
    let received = tokio::time::timeout(DEADLINE, socket.recv_from(&mut buffer));
    let (len, from) = received.await.unwrap().unwrap();
    assert_eq!(from, to);
    String::from_utf8_lossy(&buffer[..len]).into_owned()
}

#[tokio::test]
async fn options_are_answered_over_udp_and_tcp_and_garbage_changes_nothing() {
    let (capture, _events) = start(Vec::new()).await;
    let (udp, tcp) = (capture.udp_addresses()[0], capture.tcp_addresses()[0]);
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut stream = TcpStream::connect(tcp).await.unwrap();
    for round in 0..3_u8 {
        let probe = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        for garbage in [
            &b"\xff\xfe\xfd"[..],
            b"INVITE",
            b"INVITE sip:x SIP/2.0\r\n\r\n",
            b"SIP/2.0 200 OK\r\nVia: nonsense\r\n\r\n",
            b"\0\x01\0\0!\x12\xa4B0123456789ab",
            &[round; 2000],
        ] {
            probe.send_to(garbage, udp).await.unwrap();
            if let Ok(mut bad) = TcpStream::connect(tcp).await {
                let _ = bad.write_all(garbage).await;
            }
        }
        let from = socket.local_addr().unwrap();
        let text = request("OPTIONS", "UDP", from)
            .replace("branch=", &format!("branch=z9hG4bK{round}"))
            .replace("Call-ID: ", &format!("Call-ID: {round}-"));
        let answer = ask(&socket, udp, &text).await;
        assert!(answer.starts_with("SIP/2.0 200"), "{answer}");
    }
    let text = request("OPTIONS", "TCP", stream.local_addr().unwrap());
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut start = [0; 11];
    tokio::time::timeout(DEADLINE, stream.read_exact(&mut start)).await.unwrap().unwrap();
    assert_eq!(&start, b"SIP/2.0 200");
    capture.stop(Duration::ZERO).await;
}

#[tokio::test]
async fn commands_are_answered_and_after_the_stop_refused() {
    let (capture, _events) = start(Vec::new()).await;
    let handle = capture.handle();
    let call_id = CallId::mint(Timestamp::from_micros(1), [1; 10]);
    assert_eq!(handle.hang_up(call_id).await, Ok(CommandReply::NoSuchCall));
    let dial = Dial {
        call_id,
        extension: "8001".into(),
        number: "13800138000".into(),
        user_id: UserId::mint(Timestamp::from_micros(1), [2; 10]),
        follow_up_id: None,
    };
    assert_eq!(handle.dial(dial.clone()).await, Ok(CommandReply::NoSuchExtension));
    assert!(handle.registrations().await.unwrap().is_empty());
    handle.set_directory(Arc::new(Directory::default())).await.unwrap();
    let addresses = (capture.udp_addresses()[0], capture.tcp_addresses()[0]);
    tokio::time::timeout(DEADLINE, capture.stop(Duration::ZERO)).await.unwrap();
    assert!(handle.dial(dial).await.is_err());
    // Everything is closed: the ports are free again.
    UdpSocket::bind(addresses.0).await.unwrap();
    tokio::net::TcpListener::bind(addresses.1).await.unwrap();
}

#[tokio::test]
async fn draining_refuses_new_calls_with_503() {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let gateway = Trunk::at("gateway", socket.local_addr().unwrap());
    let (capture, mut events) = start(vec![gateway]).await;
    capture.handle().drain().await.unwrap();
    let from = socket.local_addr().unwrap();
    let answer = ask(&socket, capture.udp_addresses()[0], &request("INVITE", "UDP", from)).await;
    assert!(answer.starts_with("SIP/2.0 503") && answer.contains("Retry-After"), "{answer}");
    capture.stop(Duration::ZERO).await;
    assert!(events.recv().await.is_none(), "no call, no event");
}
