//! The phone against a registrar of a few lines: challenge, renewal, refusal.
#![allow(clippy::unwrap_used, missing_docs)]

use std::net::SocketAddr;
use std::time::Duration;

use cheling_phone::{Account, Event, Phone, PhoneConfig, PhoneError};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::time::timeout;

const DEADLINE: Duration = Duration::from_secs(20);

/// What the registrar saw in one REGISTER.
struct Seen {
    authorization: Option<String>,
    expires: String,
}

/// Challenges every REGISTER without credentials, and answers the others with `status`.
async fn registrar(
    status: &'static str,
    granted_seconds: u32,
) -> (SocketAddr, mpsc::Receiver<Seen>) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let (seen, requests) = mpsc::channel(64);
    tokio::spawn(async move {
        let mut buffer = [0; 4096];
        loop {
            let (len, from) = socket.recv_from(&mut buffer).await.unwrap();
            let text = String::from_utf8(buffer[..len].to_vec()).unwrap();
            let line = |name: &str| text.lines().find(|line| line.starts_with(name));
            let authorization = line("Authorization:").map(str::to_owned);
            let copied: String = ["Via:", "From:", "To:", "Call-ID:", "CSeq:"]
                .iter()
                .map(|name| format!("{}\r\n", line(name).unwrap()))
                .collect();
            let contact = line("Contact:").unwrap();
            let contact = contact.split(";expires=").next().unwrap();
            let response = match &authorization {
                None => format!(
                    "SIP/2.0 401 Unauthorized\r\n{copied}\
                     WWW-Authenticate: Digest realm=\"cheling\", nonce=\"n1\", algorithm=SHA-256\r\n\
                     WWW-Authenticate: Digest realm=\"cheling\", nonce=\"n2\", qop=\"auth\"\r\n\
                     Content-Length: 0\r\n\r\n"
                ),
                Some(_) => format!(
                    "SIP/2.0 {status}\r\n{copied}{contact};expires={granted_seconds}\r\n\
                     Content-Length: 0\r\n\r\n"
                ),
            };
            let expires = line("Expires:").unwrap_or_default().to_owned();
            // Told before it is answered, so that whoever has the answer can look.
            if seen.send(Seen { authorization, expires }).await.is_err() {
                return;
            }
            socket.send_to(response.as_bytes(), from).await.unwrap();
        }
    });
    (address, requests)
}

async fn phone_at(server: SocketAddr) -> (Phone, mpsc::Receiver<Event>) {
    let config = PhoneConfig::registered(server, Account::new("8001", "secret"));
    Phone::start(config).await.unwrap()
}

async fn next(requests: &mut mpsc::Receiver<Seen>) -> Seen {
    timeout(DEADLINE, requests.recv()).await.unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_the_challenge_renews_and_takes_back() {
    let (server, mut requests) = registrar("200 OK", 1).await;
    let (phone, _events) = phone_at(server).await;
    timeout(DEADLINE, phone.register()).await.unwrap().unwrap();
    assert!(next(&mut requests).await.authorization.is_none());
    let authorization = next(&mut requests).await.authorization.unwrap();
    assert!(authorization.contains("username=\"8001\""), "{authorization}");
    assert!(authorization.contains("nonce=\"n2\""), "{authorization}");
    assert!(authorization.contains(&format!("uri=\"sip:{server}\"")), "{authorization}");

    // Granted one second: the renewal comes by itself after half of it.
    assert!(next(&mut requests).await.authorization.is_none());
    assert!(next(&mut requests).await.authorization.is_some());

    phone.stop().await;
    let mut last = next(&mut requests).await;
    while let Ok(more) = requests.try_recv() {
        last = more;
    }
    assert_eq!(last.expires, "Expires: 0");
    assert!(last.authorization.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_password_is_not_tried_again() {
    let (server, mut requests) = registrar("403 Forbidden", 60).await;
    let (phone, _events) = phone_at(server).await;
    let result = timeout(DEADLINE, phone.register()).await.unwrap();
    assert!(matches!(result, Err(PhoneError::Refused(403))), "{result:?}");
    next(&mut requests).await;
    next(&mut requests).await;
    phone.stop().await;
    assert!(requests.try_recv().is_err());
}
