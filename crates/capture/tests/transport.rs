//! SIP transports over loopback: framing, keep-alives, limits, garbage.
#![allow(clippy::unwrap_used)]

mod wire;

use cheling_capture::transport::{Arrived, SendError, TransportConfig};
use cheling_sip::{Flow, Transport};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};
use wire::{Bench, DEADLINE, OPTIONS, localhost, read};

#[tokio::test]
async fn a_datagram_is_a_message_and_its_answer_comes_from_the_listener() {
    let mut bench = Bench::start(|_| {}).await;
    let phone = UdpSocket::bind(localhost()).await.unwrap();
    // Keep-alives are no messages; a message may fill a whole datagram.
    for keep_alive in [&b""[..], b"\r\n\r\n", b"\0\0\0\0"] {
        phone.send_to(keep_alive, bench.udp()).await.unwrap();
    }
    let large = vec![b'x'; 65_000];
    phone.send_to(&large, bench.udp()).await.unwrap();
    let (flow, bytes) = bench.message().await;
    assert_eq!(flow, Flow::udp(bench.udp(), phone.local_addr().unwrap()));
    assert_eq!(bytes, large);
    bench.transports.send(&flow, OPTIONS.to_vec()).unwrap();
    let mut buffer = [0; 100];
    let (len, from) = phone.recv_from(&mut buffer).await.unwrap();
    assert_eq!((&buffer[..len], from), (OPTIONS, bench.udp()));
}

#[tokio::test]
async fn a_stream_is_cut_into_messages_and_answered_on_its_own_connection() {
    let mut bench = Bench::start(|_| {}).await;
    let mut phone = TcpStream::connect(bench.tcp()).await.unwrap();
    let stream = [b"\r\n\r\n", OPTIONS, OPTIONS].concat();
    for part in stream.chunks(11) {
        phone.write_all(part).await.unwrap();
        phone.flush().await.unwrap();
    }
    for _ in 0..2 {
        let (flow, bytes) = bench.message().await;
        assert_eq!(bytes, OPTIONS);
        assert_eq!(flow.transport, Transport::Tcp);
        bench.transports.send(&flow, b"SIP/2.0 200 OK\r\n\r\n".to_vec()).unwrap();
    }
    let want = b"\r\nSIP/2.0 200 OK\r\n\r\nSIP/2.0 200 OK\r\n\r\n";
    assert_eq!(read(&mut phone, want.len()).await, want);
    drop(phone);
    assert!(matches!(bench.next().await, Arrived::Closed { .. }));
}

#[tokio::test]
async fn a_flow_without_its_connection_is_connected_anew() {
    let mut bench = Bench::start(|_| {}).await;
    let gateway = TcpListener::bind(localhost()).await.unwrap();
    let flow = Flow {
        transport: Transport::Tcp,
        local: bench.tcp(),
        remote: gateway.local_addr().unwrap(),
        connection: Some(999),
    };
    for _ in 0..3 {
        bench.transports.send(&flow, OPTIONS.to_vec()).unwrap();
    }
    let (mut stream, _) = gateway.accept().await.unwrap();
    assert_eq!(read(&mut stream, 3 * OPTIONS.len()).await, OPTIONS.repeat(3));
    // What comes back over it has a connection number of ours.
    stream.write_all(OPTIONS).await.unwrap();
    let (answer, _) = bench.message().await;
    assert_eq!(answer.remote, flow.remote);
    assert!(answer.connection.is_some_and(|id| id != 999));
    drop(stream);
    assert!(matches!(bench.next().await, Arrived::Closed { flow } if flow == answer));
    // And anew after it closed.
    bench.transports.send(&answer, OPTIONS.to_vec()).unwrap();
    let (mut stream, _) = gateway.accept().await.unwrap();
    assert_eq!(read(&mut stream, OPTIONS.len()).await, OPTIONS);
}

#[tokio::test]
async fn a_refused_connection_is_reported_as_not_sent() {
    let mut bench = Bench::start(|_| {}).await;
    let gone = TcpListener::bind(localhost()).await.unwrap().local_addr().unwrap();
    let flow =
        Flow { transport: Transport::Tcp, local: bench.tcp(), remote: gone, connection: None };
    bench.transports.send(&flow, OPTIONS.to_vec()).unwrap();
    assert!(matches!(bench.next().await, Arrived::SendFailed { flow } if flow.remote == gone));
    assert!(matches!(bench.next().await, Arrived::Closed { .. }));
}

#[tokio::test]
async fn garbage_closes_its_own_connection_only() {
    let mut bench = Bench::start(|_| {}).await;
    let mut good = TcpStream::connect(bench.tcp()).await.unwrap();
    good.write_all(OPTIONS).await.unwrap();
    let (flow, _) = bench.message().await;
    for garbage in [
        &b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..],
        b"A b SIP/2.0\r\nContent-Length: 99999999999\r\n\r\n",
        b"A b SIP/2.0\r\nContent-Length: -1\r\n\r\n",
        &[0xff; 200_000],
    ] {
        let mut bad = TcpStream::connect(bench.tcp()).await.unwrap();
        // The listener may hang up while we still write.
        let _ = bad.write_all(garbage).await;
        loop {
            match bench.next().await {
                Arrived::Closed { .. } => break,
                Arrived::Opened { .. } => {}
                other => panic!("{other:?}"),
            }
        }
        let mut rest = Vec::new();
        let _ = tokio::time::timeout(DEADLINE, bad.read_to_end(&mut rest)).await.unwrap();
        assert!(rest.is_empty());
    }
    bench.transports.send(&flow, b"still here".to_vec()).unwrap();
    assert_eq!(read(&mut good, 10).await, b"still here");
}

#[tokio::test]
async fn a_connection_that_says_nothing_is_closed() {
    let mut bench = Bench::start(|config| {
        config.first_message_within = Duration::from_millis(50);
    })
    .await;
    let mut silent = TcpStream::connect(bench.tcp()).await.unwrap();
    assert!(matches!(bench.next().await, Arrived::Opened { .. }));
    assert!(matches!(bench.next().await, Arrived::Closed { .. }));
    assert_eq!(silent.read(&mut [0; 1]).await.unwrap(), 0);
}

#[tokio::test]
async fn one_connection_too_many_is_refused() {
    let mut bench = Bench::start(|config| config.max_connections = 1).await;
    let _first = TcpStream::connect(bench.tcp()).await.unwrap();
    assert!(matches!(bench.next().await, Arrived::Opened { .. }));
    let mut second = TcpStream::connect(bench.tcp()).await.unwrap();
    assert_eq!(second.read(&mut [0; 1]).await.unwrap_or(0), 0);
    let flow = Flow {
        transport: Transport::Tcp,
        local: bench.tcp(),
        remote: "127.0.0.1:9".parse().unwrap(),
        connection: None,
    };
    let sent = bench.transports.send(&flow, OPTIONS.to_vec());
    assert!(matches!(sent, Err(SendError::TooManyConnections)));
}

#[tokio::test]
async fn one_source_cannot_take_every_connection_nor_come_too_fast() {
    for change in [
        |config: &mut TransportConfig| config.max_connections_per_source = 2,
        |config: &mut TransportConfig| {
            config.connection_burst = 2;
            config.connection_interval = Duration::from_secs(3600);
        },
    ] {
        let mut bench = Bench::start(|config| {
            config.tcp.push("127.0.0.2:0".parse().unwrap());
            change(config);
        })
        .await;
        let mut kept = Vec::new();
        for _ in 0..2 {
            kept.push(TcpStream::connect(bench.tcp()).await.unwrap());
            assert!(matches!(bench.next().await, Arrived::Opened { .. }));
        }
        let mut third = TcpStream::connect(bench.tcp()).await.unwrap();
        assert_eq!(third.read(&mut [0; 1]).await.unwrap_or(0), 0);
        assert_eq!(bench.transports.counters().refused_connections.load(Relaxed), 1);
        // From elsewhere there is room.
        let elsewhere = bench.transports.tcp_addresses()[1];
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        kept.push(socket.connect(elsewhere).await.unwrap());
        assert!(matches!(bench.next().await, Arrived::Opened { .. }));
    }
}

#[tokio::test]
async fn a_peer_that_does_not_read_loses_its_connection_and_holds_up_nobody() {
    let mut bench = Bench::start(|_| {}).await;
    let mut deaf = TcpStream::connect(bench.tcp()).await.unwrap();
    deaf.write_all(OPTIONS).await.unwrap();
    let (flow, _) = bench.message().await;
    let large = vec![b'x'; 60_000];
    let full = (0..10_000).find_map(|_| bench.transports.send(&flow, large.clone()).err());
    assert!(matches!(full, Some(SendError::QueueFull)), "{full:?}");
}

#[tokio::test]
async fn closing_ends_every_task_and_frees_the_ports() {
    let mut bench = Bench::start(|_| {}).await;
    let mut phone = TcpStream::connect(bench.tcp()).await.unwrap();
    phone.write_all(OPTIONS).await.unwrap();
    let (flow, _) = bench.message().await;
    let (udp, tcp) = (bench.udp(), bench.tcp());
    bench.transports.send(&flow, b"last words".to_vec()).unwrap();
    tokio::time::timeout(DEADLINE, bench.transports.close()).await.unwrap();
    assert_eq!(read(&mut phone, 10).await, b"last words");
    UdpSocket::bind(udp).await.unwrap();
    TcpListener::bind(tcp).await.unwrap();
}
