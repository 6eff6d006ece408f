//! SIP over TLS on loopback: real handshakes, right and wrong certificates, renewal, limits.
#![allow(clippy::unwrap_used)]

mod keys;
mod wire;

use cheling_capture::transport::{
    Arrived, CertificateFiles, SendError, TlsFiles, TlsPeer, TlsTrust, TransportConfig, Transports,
};
use cheling_sip::{Flow, Transport};
use keys::{Authority, seen, shown_by};
use std::fs;
use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use wire::{Bench, DEADLINE, OPTIONS, localhost, read};

async fn bench(certificates: Vec<CertificateFiles>) -> Bench {
    bench_with(certificates, |_| {}).await
}

async fn bench_with(
    certificates: Vec<CertificateFiles>,
    change: impl FnOnce(&mut TransportConfig),
) -> Bench {
    Bench::start(|config| {
        config.tls = vec![localhost()];
        config.tls_files = Some(TlsFiles { certificates, client_ca: None });
        change(config);
    })
    .await
}

#[tokio::test]
async fn a_stream_under_tls_is_cut_into_messages_and_answered_on_its_own_connection() {
    let authority = Authority::new();
    let mut bench = bench(vec![authority.sign("a", &["127.0.0.1"])]).await;
    for version in rustls::ALL_VERSIONS {
        let (at, versions) = (bench.at(Transport::Tls), [*version]);
        let phone = authority.connect_as(at, "127.0.0.1", &versions, None);
        let mut phone = phone.await.unwrap();
        let stream = [b"\r\n\r\n", OPTIONS, OPTIONS].concat();
        for part in stream.chunks(17) {
            phone.write_all(part).await.unwrap();
            phone.flush().await.unwrap();
        }
        for _ in 0..2 {
            let (flow, bytes) = bench.message().await;
            assert_eq!(bytes, OPTIONS);
            assert_eq!((flow.transport, flow.local), (Transport::Tls, bench.at(Transport::Tls)));
            bench.transports.send(&flow, b"SIP/2.0 200 OK\r\n\r\n".to_vec()).unwrap();
        }
        let want = b"\r\nSIP/2.0 200 OK\r\n\r\nSIP/2.0 200 OK\r\n\r\n";
        assert_eq!(read(&mut phone, want.len()).await, want);
        // Without goodbye, as many phones do.
        drop(phone);
        assert!(matches!(bench.next().await, Arrived::Closed { .. }));
    }
}

#[tokio::test]
async fn the_certificate_with_the_name_asked_for_is_shown() {
    let authority = Authority::new();
    let first = authority.sign("first", &["one.example", "127.0.0.1"]);
    let second = authority.sign("second", &["*.two.example"]);
    let bench = bench(vec![first.clone(), second.clone()]).await;
    let at = bench.at(Transport::Tls);
    for (name, want) in
        [("one.example", &first), ("sip.two.example", &second), ("127.0.0.1", &first)]
    {
        let phone = authority.connect(at, name).await.unwrap();
        assert_eq!(seen(&phone), shown_by(want), "{name}");
    }
    let stranger = authority.connect(at, "three.example").await.unwrap_err();
    assert!(stranger.to_string().contains("certificate"), "{stranger}");
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_to_the_next_connection() {
    let authority = Authority::new();
    let files = authority.sign("a", &["127.0.0.1"]);
    let mut bench = bench(vec![files.clone()]).await;
    let at = bench.at(Transport::Tls);
    let mut before = authority.connect(at, "127.0.0.1").await.unwrap();
    let old = seen(&before);

    // Half renewed, or broken: the old one stays.
    let newer = authority.sign("b", &["127.0.0.1"]);
    fs::copy(&newer.certificate, &files.certificate).unwrap();
    assert_eq!(seen(&authority.connect(at, "127.0.0.1").await.unwrap()), old);
    fs::write(&files.certificate, "garbage").unwrap();
    assert_eq!(seen(&authority.connect(at, "127.0.0.1").await.unwrap()), old);

    fs::copy(&newer.certificate, &files.certificate).unwrap();
    fs::copy(&newer.key, &files.key).unwrap();
    assert_eq!(seen(&authority.connect(at, "127.0.0.1").await.unwrap()), shown_by(&newer));
    // Who is connected stays so.
    before.write_all(OPTIONS).await.unwrap();
    loop {
        match bench.next().await {
            Arrived::Message { bytes, .. } => break assert_eq!(bytes, OPTIONS),
            Arrived::Opened { .. } | Arrived::Closed { .. } => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn with_an_authority_for_clients_only_those_it_signed_are_let_in() {
    let authority = Authority::new();
    let elsewhere = Authority::new();
    let stranger = elsewhere.sign("x", &["phone"]);
    let phone = authority.sign("phone", &["phone"]);
    let mut bench = bench_with(vec![authority.sign("a", &["127.0.0.1"])], |config| {
        config.tls_files.as_mut().unwrap().client_ca = Some(authority.file());
    })
    .await;
    let at = bench.at(Transport::Tls);
    for (shown, is_let_in) in [(None, false), (Some(&stranger), false), (Some(&phone), true)] {
        let versions = rustls::ALL_VERSIONS;
        let mut stream = authority.connect_as(at, "127.0.0.1", versions, shown).await.unwrap();
        // In TLS 1.3 the client learns that it was refused when it reads.
        let _ = stream.write_all(b"\r\n\r\n").await;
        let pong = stream.read(&mut [0; 2]).await;
        assert_eq!(pong.is_ok_and(|len| len > 0), is_let_in);
    }
    assert!(matches!(bench.next().await, Arrived::Opened { .. }));
    assert_eq!(bench.transports.counters().failed_handshakes.load(Relaxed), 2);
}

#[tokio::test]
async fn a_connection_that_we_open_proves_who_answers() {
    let authority = Authority::new();
    let signed = authority.sign("gw", &["gw.example"]);
    let own_folder = tempfile::tempdir().unwrap();
    let own = CertificateFiles::own(own_folder.path(), &["127.0.0.1".into()]).unwrap();
    let name = Some("gw.example".to_owned());
    let elsewhere = Authority::new();
    for (certificate, name, trust, is_believed) in [
        (&signed, name.clone(), TlsTrust::Authorities(authority.file()), true),
        (&signed, Some("other.example".into()), TlsTrust::Authorities(authority.file()), false),
        (&signed, None, TlsTrust::Authorities(authority.file()), false),
        (&signed, name.clone(), TlsTrust::Authorities(elsewhere.file()), false),
        (&signed, name.clone(), TlsTrust::WebRoots, false),
        (&signed, None, TlsTrust::Anyone, true),
        // A gateway whose certificate is its own.
        (&own, None, TlsTrust::Authorities(own.certificate.clone()), true),
        (&own, name, TlsTrust::Authorities(own.certificate.clone()), false),
    ] {
        let mut gateway = bench(vec![certificate.clone()]).await;
        let address = gateway.at(Transport::Tls);
        let told = format!("{name:?} {trust:?}");
        let mut bench = Bench::start(|config| {
            let mut peer = TlsPeer::at(address, trust);
            peer.name = name.unwrap_or(peer.name);
            config.tls_peers = vec![peer];
        })
        .await;
        let local = bench.udp();
        let flow = Flow { transport: Transport::Tls, local, remote: address, connection: None };
        bench.transports.send(&flow, OPTIONS.to_vec()).unwrap();
        if !is_believed {
            assert!(matches!(bench.next().await, Arrived::SendFailed { .. }), "{told}");
            assert!(matches!(bench.next().await, Arrived::Closed { .. }));
            continue;
        }
        let (back, bytes) = gateway.message().await;
        assert_eq!(bytes, OPTIONS, "{told}");
        gateway.transports.send(&back, OPTIONS.to_vec()).unwrap();
        let (answer, _) = bench.message().await;
        assert_eq!((answer.transport, answer.remote), (Transport::Tls, address));
        // The next request takes the same connection.
        bench.transports.send(&flow, OPTIONS.to_vec()).unwrap();
        assert_eq!(gateway.message().await.0, back);
    }
}

#[tokio::test]
async fn a_connection_that_we_open_shows_our_certificate_to_who_asks_for_it() {
    let authority = Authority::new();
    let ours = authority.sign("ours", &["pbx.example"]);
    for (shown, is_let_in) in [(None, false), (Some(ours), true)] {
        let mut gateway = bench_with(vec![authority.sign("gw", &["127.0.0.1"])], |config| {
            config.tls_files.as_mut().unwrap().client_ca = Some(authority.file());
        })
        .await;
        let address = gateway.at(Transport::Tls);
        let trust = TlsTrust::Authorities(authority.file());
        let peer = TlsPeer { shown, ..TlsPeer::at(address, trust) };
        let mut bench = Bench::start(|config| config.tls_peers = vec![peer]).await;
        let local = bench.udp();
        let flow = Flow { transport: Transport::Tls, local, remote: address, connection: None };
        bench.transports.send(&flow, OPTIONS.to_vec()).unwrap();
        if is_let_in {
            assert_eq!(gateway.message().await.1, OPTIONS);
        } else {
            // In TLS 1.3 the refusal comes when the connection stands already.
            while !matches!(bench.next().await, Arrived::Closed { .. }) {}
            assert_eq!(gateway.transports.counters().failed_handshakes.load(Relaxed), 1);
        }
    }
}

#[tokio::test]
async fn what_was_meant_for_tls_never_goes_in_the_clear() {
    let mut bench = Bench::start(|_| {}).await;
    let mut phone = TcpStream::connect(bench.tcp()).await.unwrap();
    phone.write_all(OPTIONS).await.unwrap();
    let (flow, _) = bench.message().await;
    for transport in [Transport::Tls, Transport::Ws, Transport::Wss] {
        let secure = Flow { transport, connection: Some(999), ..flow };
        let sent = bench.transports.send(&secure, OPTIONS.to_vec());
        assert!(matches!(sent, Err(SendError::ConnectionGone)), "{transport}");
    }
}

#[tokio::test]
async fn a_handshake_that_takes_too_long_is_cut() {
    let authority = Authority::new();
    let mut bench = bench_with(vec![authority.sign("a", &["127.0.0.1"])], |config| {
        config.ws = vec![localhost()];
        config.wss = vec![localhost()];
        config.handshake_within = Duration::from_millis(50);
    })
    .await;
    let mut stalled = Vec::new();
    for transport in [Transport::Tls, Transport::Ws, Transport::Wss] {
        for beginning in [&b""[..], b"\x16\x03\x01\x02\x00\x01", b"GET / HTTP/1.1\r\nHost: a\r\n"] {
            let mut stream = TcpStream::connect(bench.at(transport)).await.unwrap();
            stream.write_all(beginning).await.unwrap();
            stalled.push(stream);
        }
    }
    for mut stream in stalled {
        let mut rest = Vec::new();
        let _ = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut rest)).await.unwrap();
    }
    assert_eq!(bench.transports.counters().failed_handshakes.load(Relaxed), 9);
    // None of them came as far as the machines.
    let mut phone = TcpStream::connect(bench.tcp()).await.unwrap();
    phone.write_all(OPTIONS).await.unwrap();
    let Arrived::Opened { flow, .. } = bench.next().await else { panic!() };
    assert_eq!(flow.transport, Transport::Tcp);
}

#[tokio::test]
async fn garbage_under_tls_and_instead_of_it_closes_its_own_connection_only() {
    let authority = Authority::new();
    let mut bench = bench(vec![authority.sign("a", &["127.0.0.1"])]).await;
    let at = bench.at(Transport::Tls);
    let mut good = authority.connect(at, "127.0.0.1").await.unwrap();
    good.write_all(OPTIONS).await.unwrap();
    let (flow, _) = bench.message().await;
    for garbage in [OPTIONS, b"\x16\x03\x03\xff\xff", &[0xff; 200_000]] {
        let mut bad = TcpStream::connect(at).await.unwrap();
        let _ = bad.write_all(garbage).await;
        let _ = bad.shutdown().await;
        let mut rest = Vec::new();
        let _ = tokio::time::timeout(DEADLINE, bad.read_to_end(&mut rest)).await.unwrap();
    }
    let mut bad = authority.connect(at, "127.0.0.1").await.unwrap();
    bad.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    assert!(matches!(bench.next().await, Arrived::Opened { .. }));
    assert!(matches!(bench.next().await, Arrived::Closed { .. }));
    assert_eq!(bench.transports.counters().broken_streams.load(Relaxed), 1);
    bench.transports.send(&flow, b"still here".to_vec()).unwrap();
    assert_eq!(read(&mut good, 10).await, b"still here");
}

#[tokio::test]
async fn handshakes_count_among_the_connections_of_their_source() {
    let authority = Authority::new();
    let bench = bench_with(vec![authority.sign("a", &["127.0.0.1"])], |config| {
        config.max_connections_per_source = 2;
    })
    .await;
    let at: SocketAddr = bench.at(Transport::Tls);
    let _silent = [TcpStream::connect(at).await.unwrap(), TcpStream::connect(at).await.unwrap()];
    assert!(authority.connect(at, "127.0.0.1").await.is_err());
    assert_eq!(bench.transports.counters().refused_connections.load(Relaxed), 1);
}

#[tokio::test]
async fn a_file_that_cannot_be_used_is_told_before_anything_listens() {
    let authority = Authority::new();
    let good = authority.sign("a", &["127.0.0.1"]);
    let other = authority.sign("b", &["127.0.0.1"]);
    let missing = authority.folder().join("missing.pem");
    let swapped = CertificateFiles { key: other.key, ..good.clone() };
    let files = |pair: &CertificateFiles, client_ca| {
        Some(TlsFiles { certificates: vec![pair.clone()], client_ca })
    };
    let peer = TlsPeer::at(localhost(), TlsTrust::Authorities(missing.clone()));
    for (tls_files, tls_peers, want) in [
        (None, vec![], "no certificate"),
        (files(&swapped, None), vec![], "b.key is not the key of"),
        (files(&good, Some(missing.clone())), vec![], "missing.pem"),
        (files(&good, None), vec![peer], "missing.pem"),
    ] {
        let mut config = TransportConfig::at(localhost());
        (config.tls, config.tls_files, config.tls_peers) =
            (vec![localhost()], tls_files, tls_peers);
        let refused =
            Transports::bind(config, mpsc::channel(1).0, &Handle::current()).await.err().unwrap();
        assert!(refused.to_string().contains(want), "{refused}");
    }
}
