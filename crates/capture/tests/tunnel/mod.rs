//! Lets the softphone, which speaks TCP, come over TLS and over WebSockets.
#![allow(dead_code)]

use crate::keys::Authority;
use cheling_sip::framing::{Frame, Framer};
use futures_util::{SinkExt, StreamExt};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;

/// What the far end of the tunnel speaks.
#[derive(Clone, Copy, Debug)]
pub enum Far {
    Tls,
    Ws,
    Wss,
}

/// Opens a tunnel to `to`; what connects to the address returned comes out there. It has the port
/// of `to`, so that whoever follows our Contact comes through it, too.
pub async fn open(far: Far, to: SocketAddr, authority: Arc<Authority>) -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", to.port())).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let authority = Arc::clone(&authority);
            tokio::spawn(async move {
                match far {
                    Far::Tls => {
                        let mut far = authority.connect(to, "127.0.0.1").await.unwrap();
                        let _ = copy_bidirectional(&mut near, &mut far).await;
                    }
                    Far::Ws => carry(near, TcpStream::connect(to).await.unwrap()).await,
                    Far::Wss => {
                        carry(near, authority.connect(to, "127.0.0.1").await.unwrap()).await;
                    }
                }
            });
        }
    });
    address
}

/// One message of the stream is one of the WebSocket.
async fn carry(mut near: TcpStream, far: impl AsyncRead + AsyncWrite + Unpin) {
    let mut request = "ws://cheling.example/".into_client_request().unwrap();
    request.headers_mut().insert("Sec-WebSocket-Protocol", HeaderValue::from_static("sip"));
    let (mut far, _) = client_async(request, far).await.unwrap();
    let mut framer = Framer::default();
    let mut buffer = [0; 4096];
    loop {
        tokio::select! {
            read = near.read(&mut buffer) => match read {
                Ok(len) if len > 0 => framer.push(&buffer[..len]),
                _ => return,
            },
            message = far.next() => match message {
                Some(Ok(message)) if message.is_text() || message.is_binary() => {
                    if near.write_all(&message.into_data()).await.is_err() {
                        return;
                    }
                }
                Some(Ok(_)) => {}
                _ => return,
            },
        }
        while let Some(frame) = framer.next_frame().unwrap() {
            let Frame::Message(bytes) = frame else { continue };
            if far.send(Message::binary(bytes)).await.is_err() {
                return;
            }
        }
    }
}
