//! What the service outlives: its own death, and everything that is thrown at its ports.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use cheling_dice::Dice;
use cheling_phone::{Sound, Transport};
use cheling_tests::cheling::{Cheling, DID, incoming};
use cheling_tests::recording::Recording;
use cheling_tests::{eventually, http, within};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UdpSocket};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_during_a_call_costs_at_most_two_seconds() {
    let mut cheling = Cheling::start().await;
    let gateway = cheling.quiet_gateway().await;
    let mut desk = cheling.desk("agent8001").await;
    let (phone, mut events) = cheling.phone("8001", Transport::Udp).await;
    let customer = gateway.call_in("13812345678", DID, Sound::tone(440.0)).await.unwrap();
    let agent = incoming(&mut events).await;
    let offered = desk.next_of("call.offered").await;
    agent.answer(Sound::tone(620.0)).await;
    within("the answer", customer.answered()).await.unwrap();
    within("talk", agent.hears(Duration::from_secs(6))).await.unwrap();
    cheling.kill().await;
    let heard = agent.statistics().packets_received as f64 / 50.0;
    drop(desk);

    cheling.run().await;
    let desk = cheling.desk("agent8001").await;
    let row = cheling.recording_of(&desk, offered.call_id()).await;
    let path = format!("/recordings/{}/audio", row["recording_id"].as_str().unwrap());
    let recording = Recording::read(&desk.get(&path).await.body);
    println!("heard {heard:.2} s before the kill, recorded {:.2} s", recording.seconds());
    assert!(recording.seconds() > heard - 2.0, "{} of {heard} s", recording.seconds());
    recording.assert_tones(440.0, 620.0, recording.seconds());
    let verdict = row["verdict"].as_str().unwrap();
    assert!(["truncated", "ok"].contains(&verdict), "{row}");
    cheling.check().await;

    // And it works again: the phone registers anew and the next call is recorded.
    within("registration", phone.register()).await.unwrap();
    let customer = gateway.call_in("13812345678", DID, Sound::tone(440.0)).await.unwrap();
    let again = incoming(&mut events).await;
    again.answer(Sound::tone(620.0)).await;
    within("the answer", customer.answered()).await.unwrap();
    customer.hang_up().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_on_every_port_harms_nobody() {
    let mut cheling = Cheling::start().await;
    let gateway = cheling.quiet_gateway().await;
    let (_phone, mut events) = cheling.phone("8001", Transport::Udp).await;
    let customer = gateway.call_in("13812345678", DID, Sound::tone(440.0)).await.unwrap();
    let agent = incoming(&mut events).await;
    agent.answer(Sound::tone(620.0)).await;
    within("the answer", customer.answered()).await.unwrap();
    within("talk", agent.hears(Duration::from_millis(500))).await.unwrap();
    let before = cheling.process().memory_kib().unwrap_or_default();

    // From the phones' address and from the trunk's, which is trusted more.
    for source in [Ipv4Addr::LOCALHOST, cheling_tests::cheling::GATEWAY_IP] {
        let socket = UdpSocket::bind((source, 0)).await.unwrap();
        let (first, last) = cheling.ports.rtp();
        let ports = [cheling.ports.sip()].into_iter().chain(first..=last);
        for port in ports {
            for garbage in garbage() {
                let to = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
                // A closed RTP port answers by ICMP, which shows as an error of the next send.
                let _ = socket.send_to(&garbage[..garbage.len().min(60_000)], to).await;
            }
        }
    }
    for to in [cheling.sip(), cheling.web()] {
        for garbage in garbage() {
            let Ok(mut stream) = TcpStream::connect(to).await else { continue };
            // The service may close as soon as it has seen enough.
            let _ = stream.write_all(&garbage).await;
        }
    }

    agent.forget_heard();
    within("talk goes on", agent.hears(Duration::from_millis(500))).await.unwrap();
    assert_eq!(cheling_phone::dominant_frequency_hz(&agent.heard()), Some(440.0));
    customer.hang_up().await;
    within("the end", agent.ended()).await;
    let customer = gateway.call_in("13812345678", DID, Sound::tone(440.0)).await.unwrap();
    incoming(&mut events).await.answer(Sound::tone(620.0)).await;
    within("the next call", customer.answered()).await.unwrap();
    customer.hang_up().await;

    let web = cheling.web();
    let ready = http::request(web, "GET", "/readyz", &[], b"").await.unwrap();
    assert_eq!(ready.status, 200);
    let after = cheling.process().memory_kib().unwrap_or_default();
    println!("memory before {before} KiB, after {after} KiB");
    assert!(after < before + 60 * 1024, "{before} KiB grew to {after} KiB");
    assert!(!cheling.process().said().contains("panicked"));
}

/// Broken messages of every protocol that listens.
fn garbage() -> Vec<Vec<u8>> {
    let noise = Dice::new(1).octets(1500..=1500);
    let invite = "INVITE sip:58998000@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:9;branch=z9hG4bKg\r\n\
                  From: <sip:1@h>;tag=g\r\nTo: <sip:2@h>\r\nCall-ID: g\r\nCSeq: 1 INVITE\r\n";
    let long = format!("{invite}X-Long: {}\r\n\r\n", "a".repeat(60_000));
    vec![
        noise.clone(),
        noise[..1].to_vec(),
        b"\r\n\r\n\r\n\r\n".to_vec(),
        b"\0\0\0\0".to_vec(),
        invite.as_bytes()[..60].to_vec(),
        format!("{invite}Content-Length: 99999999999999999999\r\n\r\n").into_bytes(),
        format!("{invite}Content-Length: -5\r\n\r\nv=0\r\n").into_bytes(),
        format!("{invite}CSeq: 4294967296 INVITE\r\nMax-Forwards: 0\r\n\r\n").into_bytes(),
        format!("{invite}Content-Type: application/sdp\r\nContent-Length: 20\r\n\r\nm=audio 99999 RTP/X\r\n")
            .into_bytes(),
        long.into_bytes(),
        b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP nowhere\r\n\r\n".to_vec(),
        b"ACK sip:x SIP/2.0\r\n\r\n".to_vec(),
        "REGISTER sip:\u{9f99} SIP/2.0\r\nFrom: \u{ff}\r\n\r\n".into(),
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\nzz".to_vec(),
        b"GET /api/v1/recordings/../../../../etc/passwd HTTP/1.1\r\n\r\n".to_vec(),
        b"\x80\x08".to_vec(),
        b"\xbf\xff\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00".to_vec(),
        b"\x81\xc8\xff\xff\x00\x00\x00\x00".to_vec(),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_ends_it_cleanly_and_nothing_is_left() {
    let mut cheling = Cheling::start().await;
    let gateway = cheling.quiet_gateway().await;
    let mut desk = cheling.desk("agent8001").await;
    let (phone, mut events) = cheling.phone("8001", Transport::Udp).await;
    let customer = gateway.call_in("13812345678", DID, Sound::tone(440.0)).await.unwrap();
    let agent = incoming(&mut events).await;
    agent.answer(Sound::tone(620.0)).await;
    within("the answer", customer.answered()).await.unwrap();
    within("talk", agent.hears(Duration::from_secs(1))).await.unwrap();
    let call_id = desk.next_of("call.offered").await.call_id().to_owned();
    customer.hang_up().await;
    within("the end", agent.ended()).await;
    phone.stop().await;
    gateway.stop().await;
    drop(desk);
    cheling.stop().await;
    cheling.run().await;
    let desk = cheling.desk("agent8001").await;
    let row =
        eventually("the recording", || async { Some(cheling.recording_of(&desk, &call_id).await) })
            .await;
    assert_eq!(row["verdict"], "ok", "{row}");
    cheling.check().await;
}
