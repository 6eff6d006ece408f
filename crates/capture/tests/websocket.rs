//! SIP over WebSocket (RFC 7118) on loopback: what a browser's phone does, and what it must not.
#![allow(clippy::unwrap_used)]

mod keys;
mod wire;

use cheling_capture::transport::{Arrived, TlsFiles, TransportConfig};
use cheling_sip::Transport;
use futures_util::{SinkExt, StreamExt};
use keys::Authority;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};
use wire::{Bench, DEADLINE, OPTIONS, localhost};

async fn bench(change: impl FnOnce(&mut TransportConfig)) -> Bench {
    Bench::start(|config| {
        config.ws = vec![localhost()];
        change(config);
    })
    .await
}

async fn browser<S>(stream: S, offers: &str) -> Result<WebSocketStream<S>, Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut request = "ws://cheling.example/".into_client_request().unwrap();
    if !offers.is_empty() {
        let offers = HeaderValue::from_str(offers).unwrap();
        request.headers_mut().insert("Sec-WebSocket-Protocol", offers);
    }
    let (socket, response) = client_async(request, stream).await?;
    assert_eq!(response.headers()["Sec-WebSocket-Protocol"], "sip");
    Ok(socket)
}

async fn plain(bench: &Bench) -> WebSocketStream<TcpStream> {
    let stream = TcpStream::connect(bench.at(Transport::Ws)).await.unwrap();
    browser(stream, "sip").await.unwrap()
}

async fn next<S>(socket: &mut WebSocketStream<S>) -> Option<Result<Message, Error>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    tokio::time::timeout(DEADLINE, socket.next()).await.unwrap()
}

#[tokio::test]
async fn one_websocket_message_is_one_sip_message_both_ways() {
    let mut bench = bench(|_| {}).await;
    let mut phone = plain(&bench).await;
    // No Content-Length is needed, and nothing is cut (RFC 7118 §5).
    let bare = "OPTIONS sip:a SIP/2.0\r\nCall-ID: x\r\n\r\nabc";
    phone.send(Message::text(bare)).await.unwrap();
    phone.send(Message::binary(OPTIONS)).await.unwrap();
    let (flow, bytes) = bench.message().await;
    assert_eq!(bytes, bare.as_bytes());
    assert_eq!((flow.transport, flow.local), (Transport::Ws, bench.at(Transport::Ws)));
    assert_eq!(bench.message().await.1, OPTIONS);
    // Text if it is text; a GBK display name is not.
    bench.transports.send(&flow, OPTIONS.to_vec()).unwrap();
    bench.transports.send(&flow, b"SIP/2.0 200 \xc4\xe3\xba\xc3\r\n\r\n".to_vec()).unwrap();
    let text = next(&mut phone).await.unwrap().unwrap();
    assert!(text.is_text() && text.into_data() == OPTIONS);
    assert!(next(&mut phone).await.unwrap().unwrap().is_binary());
    phone.close(None).await.unwrap();
    assert!(matches!(bench.next().await, Arrived::Closed { flow: closed } if closed == flow));
}

#[tokio::test]
async fn under_tls_it_is_wss() {
    let authority = Authority::new();
    let certificates = vec![authority.sign("a", &["pbx.example"])];
    let mut bench = bench(|config| {
        config.wss = vec![localhost()];
        // Browsers show no certificate, whatever phones must show.
        config.tls_files = Some(TlsFiles { certificates, client_ca: Some(authority.file()) });
    })
    .await;
    let stream = authority.connect(bench.at(Transport::Wss), "pbx.example").await.unwrap();
    let mut phone = browser(stream, "sip").await.unwrap();
    phone.send(Message::binary(OPTIONS)).await.unwrap();
    let (flow, bytes) = bench.message().await;
    assert_eq!((flow.transport, &bytes[..]), (Transport::Wss, OPTIONS));
    bench.transports.send(&flow, OPTIONS.to_vec()).unwrap();
    assert_eq!(next(&mut phone).await.unwrap().unwrap().into_data(), OPTIONS);
}

#[tokio::test]
async fn only_who_offers_sip_is_let_in() {
    let mut bench = bench(|_| {}).await;
    for (offers, is_let_in) in
        [("", false), ("msrp", false), ("sips, xmpp", false), ("xmpp, sip", true), ("sip", true)]
    {
        let stream = TcpStream::connect(bench.at(Transport::Ws)).await.unwrap();
        match browser(stream, offers).await {
            Ok(_) => assert!(is_let_in, "{offers}"),
            Err(Error::Http(response)) => {
                assert!(!is_let_in, "{offers}");
                assert_eq!(response.status(), 400);
            }
            Err(err) => panic!("{offers}: {err}"),
        }
    }
    assert!(matches!(bench.next().await, Arrived::Opened { .. }));
    assert_eq!(bench.transports.counters().failed_handshakes.load(Relaxed), 3);
}

#[tokio::test]
async fn keep_alives_are_answered_and_are_no_messages() {
    let mut bench = bench(|_| {}).await;
    let mut phone = plain(&bench).await;
    phone.send(Message::text("\r\n\r\n")).await.unwrap();
    assert_eq!(next(&mut phone).await.unwrap().unwrap(), Message::text("\r\n"));
    phone.send(Message::Ping("x".into())).await.unwrap();
    assert_eq!(next(&mut phone).await.unwrap().unwrap(), Message::Pong("x".into()));
    phone.send(Message::text("\r\n")).await.unwrap();
    phone.send(Message::binary(OPTIONS)).await.unwrap();
    assert_eq!(bench.message().await.1, OPTIONS);
}

#[tokio::test]
async fn who_answers_no_ping_is_gone_and_who_does_stays() {
    let mut bench = bench(|config| config.websocket_ping = Duration::from_millis(200)).await;
    let mut deaf = plain(&bench).await;
    deaf.send(Message::binary(OPTIONS)).await.unwrap();
    let (deaf_flow, _) = bench.message().await;
    let mut good = plain(&bench).await;
    good.send(Message::binary(OPTIONS)).await.unwrap();
    let (good_flow, _) = bench.message().await;
    // Reading is what answers pings.
    let reader = tokio::spawn(async move { while let Some(Ok(_)) = good.next().await {} });
    let closed = bench.next().await;
    assert!(matches!(closed, Arrived::Closed { flow } if flow == deaf_flow), "{closed:?}");
    bench.transports.send(&good_flow, OPTIONS.to_vec()).unwrap();
    reader.abort();
    drop(deaf);
}

#[tokio::test]
async fn who_never_speaks_sip_is_closed_however_much_it_pings() {
    let mut bench = bench(|config| config.first_message_within = Duration::from_millis(100)).await;
    let mut phone = plain(&bench).await;
    assert!(matches!(bench.next().await, Arrived::Opened { .. }));
    phone.send(Message::Ping("x".into())).await.unwrap();
    phone.send(Message::text("\r\n\r\n")).await.unwrap();
    assert!(matches!(bench.next().await, Arrived::Closed { .. }));
}

#[tokio::test]
async fn garbage_closes_its_own_connection_only() {
    let mut bench = bench(|_| {}).await;
    let mut good = plain(&bench).await;
    good.send(Message::binary(OPTIONS)).await.unwrap();
    let (flow, _) = bench.message().await;
    // No WebSocket at all.
    for garbage in [OPTIONS, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", &[0xff; 100_000]] {
        let mut bad = TcpStream::connect(bench.at(Transport::Ws)).await.unwrap();
        let _ = bad.write_all(garbage).await;
        let _ = bad.shutdown().await;
        let mut rest = Vec::new();
        let ended = tokio::io::AsyncReadExt::read_to_end(&mut bad, &mut rest);
        let _ = tokio::time::timeout(DEADLINE, ended).await.unwrap();
    }
    // A WebSocket at first: a message too large, a frame of no known kind, text that is none.
    for frame in [
        &[0x82, 0xff, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0][..],
        &[0x8f, 0x80, 0, 0, 0, 0],
        &[0x81, 0x81, 0, 0, 0, 0, 0xff],
    ] {
        let mut bad = plain(&bench).await;
        bad.get_mut().write_all(frame).await.unwrap();
        assert!(matches!(bench.next().await, Arrived::Opened { .. }));
        let closed = bench.next().await;
        assert!(matches!(closed, Arrived::Closed { .. }), "{closed:?}");
    }
    assert_eq!(bench.transports.counters().broken_streams.load(Relaxed), 3);
    bench.transports.send(&flow, OPTIONS.to_vec()).unwrap();
    assert_eq!(next(&mut good).await.unwrap().unwrap().into_data(), OPTIONS);
}
