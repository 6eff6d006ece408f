//! The wire itself: messages as long as datagrams can be, requests that are too long for one and go
//! by TCP, what comes twice or has gone round, and `sips:`.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

use std::net::SocketAddr;

use cheling_sip::{Method, Name, Request};
use cheling_tests::cheling::{Cheling, GATEWAY_IP, secret};
use cheling_tests::wire::Wire;
use cheling_tests::{own_network, within};
use tokio::net::TcpListener;

/// A free port of the test on loopback.
fn at(cheling: &Cheling, offset: u16) -> SocketAddr {
    SocketAddr::new([127, 0, 0, 1].into(), cheling.ports.port(offset))
}

/// A registered phone by hand.
async fn phone(cheling: &Cheling, user: &str, offset: u16) -> Wire {
    let mut phone = Wire::udp(at(cheling, offset), cheling.sip()).await;
    assert_eq!(phone.register(user, "", &[]).await.status, 200);
    phone
}

/// A description that grows to about so many bytes by lines that mean nothing to us.
fn padded(description: &[u8], bytes: usize) -> String {
    let mut text = String::from_utf8(description.to_vec()).unwrap();
    let mut number = 0;
    while text.len() < bytes {
        number += 1;
        text.push_str(&format!("a=x-pad:{number:04} {}\r\n", "0123456789".repeat(12)));
    }
    text
}

fn pads(body: &[u8]) -> usize {
    String::from_utf8_lossy(body).matches("a=x-pad:").count()
}

/// 8001 calls 8002 with so long an offer.
fn call(from: &mut Wire, bytes: usize) -> Request {
    let mut invite = from.new_call("8001", "sip:8002@127.0.0.1");
    let offer = padded(&invite.body, bytes);
    invite.set_body("application/sdp", offer);
    invite
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_of_sixty_kilobytes_pass_whole_both_ways() {
    let cheling = Cheling::start().await;
    let (mut caller, mut callee) =
        (phone(&cheling, "8001", 10).await, phone(&cheling, "8002", 12).await);
    // Longer than a link carries in one piece: the kernel cuts it up and joins it again.
    let invite = call(&mut caller, 58_000);
    let sent = pads(&invite.body);
    let password = secret("8001");
    let asking = caller.ask(invite, &password);
    let answering = async {
        let ring = callee.request(Method::Invite).await;
        assert!(ring.to_bytes().len() > 58_000);
        assert_eq!(pads(&ring.body), sent, "nothing is lost on the way");
        let answer = padded(&callee.offer().to_bytes(), 58_000);
        callee.answer(&ring, 200, |response| response.set_body("application/sdp", answer)).await;
    };
    let ((invite, answer), ()) = tokio::join!(asking, answering);
    assert_eq!((answer.status, pads(&answer.body)), (200, sent));
    let cseq = invite.headers.cseq().unwrap().number;
    let ack = caller.within_dialog(&invite, &answer, Method::Ack, cseq);
    caller.say(&ack).await;
    callee.request(Method::Ack).await;
    let bye = caller.within_dialog(&invite, &answer, Method::Bye, cseq + 1);
    assert_eq!(caller.ask(bye, "").await.1.status, 200);
    let bye = callee.request(Method::Bye).await;
    callee.answer(&bye, 200, |_| {}).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_long_to_be_sent_on_is_refused_with_513_and_a_message_with_413() {
    let cheling = Cheling::start().await;
    let mut caller = phone(&cheling, "8001", 10).await;
    let mut callee = phone(&cheling, "8002", 12).await;
    let invite = call(&mut caller, 61 * 1024);
    assert_eq!(caller.ask(invite, &secret("8001")).await.1.status, 513);
    // By a stream a message can be longer than any datagram; such a one ends its connection.
    let mut stream = Wire::tcp(cheling.sip()).await;
    let invite = call(&mut stream, 70_000);
    stream.say(&invite).await;
    stream.ends().await;
    let mut message = caller.new_request(Method::Message, "8001", "sip:8002@127.0.0.1");
    message.set_body("text/plain", "x".repeat(9000));
    assert_eq!(caller.ask(message, &secret("8001")).await.1.status, 413);
    // Nobody is the worse for it.
    let mut message = caller.new_request(Method::Message, "8001", "sip:8002@127.0.0.1");
    message.set_body("text/plain", "x".repeat(8000));
    let password = secret("8001");
    let (taken, ()) = tokio::join!(caller.ask(message, &password), async {
        let message = callee.request(Method::Message).await;
        assert_eq!(message.body.len(), 8000);
        callee.answer(&message, 200, |_| {}).await;
    });
    assert_eq!(taken.1.status, 200);
}

/// A phone that rings out by the trunk with an offer of three kilobytes, and gives up.
async fn long_call(caller: &mut Wire, cheling: &Cheling) -> Request {
    let number = format!("sip:13812345678@{}", cheling.sip().ip());
    let mut invite = caller.new_call("8001", &number);
    let offer = padded(&invite.body, 3000);
    invite.set_body("application/sdp", offer);
    invite
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invite_too_long_for_a_datagram_goes_to_the_trunk_by_tcp_and_by_udp_if_that_is_refused()
{
    let cheling = Cheling::start_with("long_requests = \"tcp\"\nping_seconds = 0").await;
    let mut caller = phone(&cheling, "8001", 10).await;
    let mut gateway = Wire::udp(cheling.gateway_address(), cheling.sip()).await;
    let password = secret("8001");

    // TCP is taken there. What is short goes by UDP all the same.
    let listener = TcpListener::bind(cheling.gateway_address()).await.unwrap();
    let invite = long_call(&mut caller, &cheling).await;
    let (asked, stream) = tokio::join!(caller.ask(invite, &password), async {
        let mut stream = Wire::from(&listener).await;
        let invite = stream.request(Method::Invite).await;
        assert_eq!(invite.headers.via().unwrap().protocol, "TCP");
        assert!(pads(&invite.body) > 0);
        // Its Contact is our usual one: what follows is short.
        let contact = invite.headers.contact().unwrap().uri.to_string();
        assert!(!contact.contains("transport"), "{contact}");
        let contact = format!("<sip:gateway@{}>", cheling.gateway_address());
        stream.answer(&invite, 200, |answer| answer.headers.set(Name::Contact, contact)).await;
        stream
    });
    let (invite, answer) = asked;
    assert_eq!(answer.status, 200);
    let cseq = invite.headers.cseq().unwrap().number;
    let ack = caller.within_dialog(&invite, &answer, Method::Ack, cseq);
    caller.say(&ack).await;
    let bye = caller.within_dialog(&invite, &answer, Method::Bye, cseq + 1);
    assert_eq!(caller.ask(bye, "").await.1.status, 200);
    let bye = gateway.request(Method::Bye).await;
    gateway.answer(&bye, 200, |_| {}).await;

    // Nobody takes TCP any more: the same call goes by UDP at once.
    drop((stream, listener));
    let invite = long_call(&mut caller, &cheling).await;
    let (asked, ()) = tokio::join!(caller.ask(invite, &password), async {
        let invite = gateway.request(Method::Invite).await;
        assert_eq!(invite.headers.via().unwrap().protocol, "UDP");
        assert_eq!(invite.headers.values(Name::Via).len(), 1);
        assert!(pads(&invite.body) > 0);
        gateway.answer(&invite, 486, |_| {}).await;
        gateway.request(Method::Ack).await;
    });
    assert_eq!(asked.1.status, 486);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trunk_of_udp_alone_gets_long_requests_as_datagrams() {
    let cheling = Cheling::start_with("ping_seconds = 0").await;
    let mut caller = phone(&cheling, "8001", 10).await;
    let mut gateway = Wire::udp(cheling.gateway_address(), cheling.sip()).await;
    let _listener = TcpListener::bind((GATEWAY_IP, cheling.ports.port(6))).await.unwrap();
    let invite = long_call(&mut caller, &cheling).await;
    let password = secret("8001");
    let (asked, ()) = tokio::join!(caller.ask(invite, &password), async {
        let invite = gateway.request(Method::Invite).await;
        assert!(pads(&invite.body) > 0);
        gateway.answer(&invite, 486, |_| {}).await;
    });
    assert_eq!(asked.1.status, 486);
}

/// A dealership that speaks TLS, with its certificate.
async fn with_tls() -> (Cheling, SocketAddr, std::path::PathBuf) {
    let mut cheling = Cheling::idle_with("").await;
    let tls = at(&cheling, 8);
    cheling.environment.push(("CHELING_SIP__TLS", tls.to_string()));
    cheling.run().await;
    let certificate = cheling.folder().join("data/tls/certificate.pem");
    (cheling, tls, certificate)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sips_call_stays_on_tls_and_says_so_in_its_addresses() {
    let (cheling, tls, certificate) = with_tls().await;
    let mut caller = Wire::tls(tls, &certificate).await;
    let mut callee = Wire::tls(tls, &certificate).await;
    let mut plain = phone(&cheling, "8003", 14).await;
    for (phone, user) in [(&mut caller, "8001"), (&mut callee, "8002")] {
        assert_eq!(phone.register(user, "", &[]).await.status, 200);
    }
    let password = secret("8001");

    // Talked over TLS to the end; the BYE that follows our Contact comes by TLS.
    let invite = caller.new_call("8001", "sips:8002@127.0.0.1");
    let (asked, ()) = tokio::join!(caller.ask(invite, &password), async {
        let ring = callee.request(Method::Invite).await;
        callee.answer(&ring, 200, |_| {}).await;
    });
    let (invite, answer) = asked;
    assert_eq!(answer.status, 200);
    let contact = answer.headers.contact().unwrap().uri.to_string();
    assert_eq!(contact, format!("sips:cheling@{tls}"));
    let cseq = invite.headers.cseq().unwrap().number;
    let ack = caller.within_dialog(&invite, &answer, Method::Ack, cseq);
    caller.say(&ack).await;
    let bye = caller.within_dialog(&invite, &answer, Method::Bye, cseq + 1);
    assert_eq!(caller.ask(bye, "").await.1.status, 200);
    let bye = callee.request(Method::Bye).await;
    callee.answer(&bye, 200, |_| {}).await;

    // Neither to a phone in the clear, nor there by way of a redirection.
    let invite = caller.new_call("8001", "sips:8003@127.0.0.1");
    let refused = caller.ask(invite, &password).await.1;
    assert_eq!(refused.status, 480);
    assert!(refused.headers.get(Name::Warning).unwrap().starts_with("380 "));
    for contact in ["<sip:8003@127.0.0.1>", "<sips:8003@127.0.0.1>"] {
        let invite = caller.new_call("8001", "sips:8002@127.0.0.1");
        let (asked, ()) = tokio::join!(caller.ask(invite, &password), async {
            let ring = callee.request(Method::Invite).await;
            callee.answer(&ring, 302, |moved| moved.headers.push(Name::Contact, contact)).await;
            callee.request(Method::Ack).await;
        });
        assert!(asked.1.status >= 300, "{contact}: {}", asked.1.status);
    }
    // The same redirection of a call that does not ask for TLS is followed.
    let invite = caller.new_call("8001", "sip:8002@127.0.0.1");
    let (asked, ()) = tokio::join!(caller.ask(invite, &password), async {
        let ring = callee.request(Method::Invite).await;
        let contact = "<sip:8003@127.0.0.1>";
        callee.answer(&ring, 302, |moved| moved.headers.push(Name::Contact, contact)).await;
        let ring = plain.request(Method::Invite).await;
        plain.answer(&ring, 486, |_| {}).await;
    });
    assert_eq!(asked.1.status, 486);
    assert!(!plain.has_waiting(), "it was rung once only");
    within("the check", cheling.check()).await;
}

/// A count of the kernel's in `/proc/net/snmp`.
fn count_of(snmp: &str, group: &str, name: &str) -> Option<u64> {
    let mut lines = snmp.lines().filter_map(|line| line.strip_prefix(group));
    let (names, counts) = (lines.next()?, lines.next()?);
    let at = names.split_whitespace().position(|it| it == name)?;
    counts.split_whitespace().nth(at)?.parse().ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_of_sixty_kilobytes_pass_a_link_of_1500_bytes_in_fragments() {
    // A network of our own, whose loopback carries no more than an Ethernet does.
    let before = "ip link set lo mtu 1500 up";
    let whole = "messages_of_sixty_kilobytes_pass_whole_both_ways";
    let Some(said) = own_network::run_there(before, whole, "cat /proc/net/snmp").await else {
        return;
    };
    // Four messages of 58 KB, of forty fragments each, and every one was joined again.
    let made = count_of(&said, "Ip:", "FragCreates").unwrap();
    assert!(made >= 4 * 38, "{made} fragments");
    assert!(count_of(&said, "Ip:", "ReasmOKs").unwrap() >= 4, "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_gone_round_is_refused() {
    let cheling = Cheling::start_with("ping_seconds = 0").await;
    let mut caller = phone(&cheling, "8001", 10).await;
    let mut gateway = Wire::udp(cheling.gateway_address(), cheling.sip()).await;
    let password = secret("8001");
    let number = format!("sip:13812345678@{}", cheling.sip().ip());
    let mut invite = caller.new_call("8001", &number);
    invite.headers.set(Name::MaxForwards, 0);
    assert_eq!(caller.ask(invite, &password).await.1.status, 483);
    // A gateway that sends our own call back to us.
    let invite = caller.new_call("8001", &number);
    let (asked, hops) = tokio::join!(caller.ask(invite, &password), async {
        let ours = gateway.request(Method::Invite).await;
        let mut back = ours.clone();
        let own = format!("SIP/2.0/UDP {};branch=z9hG4bKback", gateway.local());
        back.headers.insert_front(Name::Via, own);
        gateway.say(&back).await;
        let refused = gateway.response(&Method::Invite).await;
        assert_eq!(refused.status, 482);
        gateway.answer(&ours, 482, |_| {}).await;
        ours.headers.max_forwards()
    });
    assert_eq!(hops, Some(69), "each of us is a hop");
    assert!(asked.1.status >= 400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_a_proxy_brings_twice_rings_once() {
    let cheling = Cheling::start_with("ping_seconds = 0").await;
    let mut callee = phone(&cheling, "8001", 10).await;
    let mut gateway = Wire::udp(cheling.gateway_address(), cheling.sip()).await;
    let invite = gateway.new_call("13812345678", &format!("sip:8001@{}", cheling.sip()));
    gateway.say(&invite).await;
    let ring = callee.request(Method::Invite).await;
    callee.answer(&ring, 180, |_| {}).await;
    assert_eq!(gateway.response(&Method::Invite).await.status, 180);
    // The other branch of the fork (RFC 3261 §8.2.2.2).
    let mut copy = invite.clone();
    gateway.number(&mut copy, 1);
    gateway.say(&copy).await;
    let refused = gateway.response(&Method::Invite).await;
    assert_eq!(refused.status, 482);
    gateway.acknowledge(&copy, &refused).await;
    callee.answer(&ring, 200, |_| {}).await;
    let answer = gateway.response(&Method::Invite).await;
    assert_eq!(answer.status, 200);
    let ack = gateway.within_dialog(&invite, &answer, Method::Ack, 1);
    gateway.say(&ack).await;
    callee.request(Method::Ack).await;
    let bye = gateway.within_dialog(&invite, &answer, Method::Bye, 2);
    assert_eq!(gateway.ask(bye, "").await.1.status, 200);
    let bye = callee.request(Method::Bye).await;
    callee.answer(&bye, 200, |_| {}).await;
    assert!(!callee.has_waiting(), "it has rung once");
}
