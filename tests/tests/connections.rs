//! Phones that keep several flows to us (RFC 5626), addresses of single phones (RFC 5627), and what
//! becomes of phones on connections when we start again: by hand over TCP, TLS and WebSocket, and
//! with baresip.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

use std::net::SocketAddr;

use cheling_phone::{Dial, Sound, Transport};
use cheling_sip::{Method, Name, NameAddr, Response};
use cheling_tests::baresip::{Baresip, BaresipConfig};
use cheling_tests::cheling::{Cheling, secret};
use cheling_tests::recording::write_wav;
use cheling_tests::wire::Wire;
use cheling_tests::{own_network, within};
use tokio::process::Command;

const DEVICE: &str = "urn:uuid:00000000-0000-4000-8000-00a95a0d0001";
const OUTBOUND: (&str, &str) = ("Supported", "path, outbound, gruu");

/// What stands behind the Contact of a flow.
fn flow(number: u8) -> String {
    format!(";+sip.instance=\"<{DEVICE}>\";reg-id={number}")
}

/// 8002 by two connections of one device, the second the newer one.
async fn two_flows(cheling: &Cheling) -> [Wire; 2] {
    let mut flows = [Wire::tcp(cheling.sip()).await, Wire::tcp(cheling.sip()).await];
    for (number, wire) in (1..).zip(&mut flows) {
        let granted = wire.register("8002", &flow(number), &[OUTBOUND]).await;
        assert_eq!(granted.status, 200);
        assert!(granted.headers.lists(Name::Require, "outbound"), "{granted:?}");
        assert!(granted.headers.has("Flow-Timer"), "so that it knows how often to ping");
        assert_eq!(granted.headers.addresses(Name::Contact).len(), usize::from(number));
    }
    flows
}

/// 8001 calls; `answers` is what happens at the other end. The status that 8001 hears.
async fn call(caller: &mut Wire, uri: &str, answers: impl Future<Output = ()>) -> u16 {
    let invite = caller.new_call("8001", uri);
    let password = secret("8001");
    let (asked, ()) = tokio::join!(caller.ask(invite, &password), answers);
    asked.1.status
}

/// The next call is refused here by this status.
async fn refuses(wire: &mut Wire, status: u16) {
    let invite = wire.request(Method::Invite).await;
    wire.answer(&invite, status, |_| {}).await;
    wire.request(Method::Ack).await;
}

/// What is registered for this user now.
async fn bindings(wire: &mut Wire, user: &str) -> Vec<NameAddr> {
    let registrar = format!("sip:{}", wire.remote().ip());
    let mut request = wire.new_request(Method::Register, user, &registrar);
    request.headers.remove(Name::Contact);
    request.headers.push(Name::Supported, "outbound");
    let (_, answer) = wire.ask(request, &secret(user)).await;
    assert_eq!(answer.status, 200);
    answer.headers.addresses(Name::Contact)
}

async fn caller(cheling: &Cheling) -> Wire {
    let at = SocketAddr::new([127, 0, 0, 1].into(), cheling.ports.port(10));
    Wire::udp(at, cheling.sip()).await
}

const CALLED: &str = "sip:8002@127.0.0.1";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_with_two_flows_is_called_by_the_one_that_works() {
    let cheling = Cheling::start().await;
    let mut caller = caller(&cheling).await;
    let [mut old, mut new] = two_flows(&cheling).await;
    // Both are kept open by empty lines, each of which is answered.
    for wire in [&mut old, &mut new] {
        wire.ping().await;
        wire.ping().await;
    }
    // The newest, and only that.
    assert_eq!(call(&mut caller, CALLED, refuses(&mut new, 486)).await, 486);
    assert!(!old.has_waiting());
    // What stands before the phone says that this flow of its has failed.
    let both = async {
        refuses(&mut new, 430).await;
        refuses(&mut old, 486).await;
    };
    assert_eq!(call(&mut caller, CALLED, both).await, 486);
    // The connection breaks: the next call knows.
    drop(new);
    while bindings(&mut caller, "8002").await.len() > 1 {}
    assert_eq!(call(&mut caller, CALLED, refuses(&mut old, 486)).await, 486);
    // It comes back by the flow of the same number.
    let mut again = Wire::tcp(cheling.sip()).await;
    assert_eq!(again.register("8002", &flow(2), &[OUTBOUND]).await.status, 200);
    assert_eq!(call(&mut caller, CALLED, refuses(&mut again, 486)).await, 486);
    drop((old, again));
}

/// The public and a temporary address that a phone was given.
fn addresses(granted: &Response, instance: &str) -> [String; 2] {
    let contacts = granted.headers.addresses(Name::Contact);
    let own = |contact: &&NameAddr| {
        contact.params.unquoted("+sip.instance").is_some_and(|id| id.contains(instance))
    };
    let own = contacts.iter().find(own).unwrap();
    ["pub-gruu", "temp-gruu"].map(|name| own.params.unquoted(name).unwrap().into_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_of_one_device_rings_that_device_alone() {
    let cheling = Cheling::start().await;
    let mut caller = caller(&cheling).await;
    let mut devices = [Wire::tcp(cheling.sip()).await, Wire::tcp(cheling.sip()).await];
    let mut known = Vec::new();
    for (number, wire) in (1..).zip(&mut devices) {
        let instance = format!("urn:uuid:00000000-0000-4000-8000-0000000000{number:02}");
        let parameters = format!(";+sip.instance=\"<{instance}>\"");
        let granted = wire.register("8002", &parameters, &[("Supported", "gruu")]).await;
        assert_eq!(granted.status, 200);
        known.push(addresses(&granted, &instance));
    }
    let [mut one, mut other] = devices;
    for uri in &known[0] {
        assert_eq!(call(&mut caller, uri, refuses(&mut one, 486)).await, 486, "{uri}");
        assert!(!other.has_waiting(), "{uri}");
    }
    assert_eq!(call(&mut caller, &known[1][0], refuses(&mut other, 486)).await, 486);
    // Without it both ring.
    let both = async {
        tokio::join!(refuses(&mut one, 486), refuses(&mut other, 486));
    };
    assert_eq!(call(&mut caller, CALLED, both).await, 486);
    // A device that has gone is not there, though the other is.
    drop(one);
    while bindings(&mut caller, "8002").await.len() > 1 {}
    assert_eq!(call(&mut caller, &known[0][0], async {}).await, 480);
    assert_eq!(call(&mut caller, CALLED, refuses(&mut other, 486)).await, 486);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_phone_behind_a_proxy_is_called_by_it_and_one_that_leaves_is_gone() {
    let cheling = Cheling::start().await;
    let mut caller = caller(&cheling).await;
    // The proxy at the office's edge says that it is to be passed on the way back (RFC 3327).
    let at = |offset| SocketAddr::new([127, 0, 0, 1].into(), cheling.ports.port(offset));
    let mut edge = Wire::udp(at(14), cheling.sip()).await;
    let path = format!("<sip:edge@{};lr>", edge.local());
    let granted = edge.register("8002", ";q=0.5", &[("Path", &path), ("Supported", "path")]).await;
    assert_eq!(granted.status, 200);
    assert_eq!(granted.headers.get(Name::Path).unwrap(), path);
    let by_the_proxy = async {
        let invite = edge.request(Method::Invite).await;
        assert_eq!(invite.headers.get(Name::Route).unwrap(), path);
        edge.answer(&invite, 486, |_| {}).await;
    };
    assert_eq!(call(&mut caller, CALLED, by_the_proxy).await, 486);
    assert_eq!(edge.register("8002", "", &[("Expires", "0")]).await.status, 200);
    assert_eq!(call(&mut caller, CALLED, async {}).await, 480);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn baresip_with_a_flow_by_tcp_and_one_by_udp_rings_once_and_talks() {
    let cheling = Cheling::start().await;
    let (phone, _events) = cheling.phone("8001", Transport::Udp).await;
    let says = cheling.folder().join("says.wav");
    let mut pcm = vec![0; 30 * 8000];
    cheling_phone::render(&Sound::tone(600.0), &mut pcm);
    write_wav(&says, &pcm);
    let password = secret("8002");
    let places = (cheling.ports.port(14), cheling.ports.port(16));
    let mut baresip = Baresip::start(
        &BaresipConfig {
            flows: &["tcp", "udp"],
            ..BaresipConfig::softphone(places, cheling.sip(), ("8002", &password), &says)
        },
        cheling.folder(),
    );
    let mut looks = caller(&cheling).await;
    let flows = loop {
        let known = bindings(&mut looks, "8002").await;
        if known.len() == 2 {
            break known;
        }
    };
    let device = |flow: &NameAddr| flow.params.unquoted("+sip.instance").unwrap().into_owned();
    assert_eq!(device(&flows[0]), device(&flows[1]));
    let is_tcp = |flow: &NameAddr| flow.uri.to_string().contains("transport=tcp");
    assert!(is_tcp(&flows[0]) != is_tcp(&flows[1]), "{flows:?}");
    let call = phone.call(Dial::number("8002"), Sound::tone(500.0)).await.unwrap();
    within("the answer", call.answered()).await.unwrap();
    within("sound", call.hears(std::time::Duration::from_secs(1))).await.unwrap();
    baresip.talks().await;
    call.hang_up().await;
    baresip.quit().await;
    cheling.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_restart_phones_on_connections_are_away_until_they_come_back() {
    let mut cheling = Cheling::idle_with("").await;
    let base = cheling.ports.port(8);
    let at = |offset| SocketAddr::new([127, 0, 0, 1].into(), base - 8 + offset);
    let (sip, tls, ws) = (cheling.sip(), at(8), at(9));
    cheling.environment.push(("CHELING_SIP__TLS", tls.to_string()));
    cheling.environment.push(("CHELING_SIP__WS", ws.to_string()));
    cheling.run().await;
    let certificate = cheling.folder().join("data/tls/certificate.pem");
    let mut caller = caller(&cheling).await;
    // One that stays reachable, because it comes by UDP.
    let mut plain = Wire::udp(at(12), sip).await;
    assert_eq!(plain.register("8003", "", &[]).await.status, 200);
    for is_kill in [false, true] {
        for transport in ["tcp", "tls", "ws"] {
            let connect = async || match transport {
                "tcp" => Wire::tcp(sip).await,
                "tls" => Wire::tls(tls, &certificate).await,
                _ => Wire::web_socket(ws).await,
            };
            let mut phone = connect().await;
            assert_eq!(phone.register("8002", "", &[]).await.status, 200, "{transport}");
            assert_eq!(call(&mut caller, CALLED, refuses(&mut phone, 486)).await, 486);
            if is_kill {
                cheling.kill().await;
            } else {
                cheling.stop().await;
            }
            phone.ends().await;
            cheling.run().await;
            // 408 would be the end of a long wait for somebody who cannot be there.
            assert_eq!(call(&mut caller, CALLED, async {}).await, 480, "{transport}");
            let mut phone = connect().await;
            assert_eq!(phone.register("8002", "", &[]).await.status, 200, "{transport}");
            assert_eq!(call(&mut caller, CALLED, refuses(&mut phone, 486)).await, 486);
            let there = call(&mut caller, "sip:8003@127.0.0.1", refuses(&mut plain, 486)).await;
            assert_eq!(there, 486, "a phone by UDP is called as before");
            drop(phone);
        }
    }
    cheling.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_knows_sha_256_registers_by_it_and_who_does_not_by_md5() {
    let mut cheling = Cheling::idle_with("").await;
    cheling.environment.push(("CHELING_SIP__DIGESTS", "sha-256".into()));
    cheling.run().await;
    let mut wire = caller(&cheling).await;
    let request = wire.new_request(Method::Register, "8002", "sip:127.0.0.1");
    wire.say(&request).await;
    let challenge = wire.response(&Method::Register).await;
    let offered: Vec<_> = challenge.headers.get_all(Name::WwwAuthenticate).collect();
    assert!(offered[0].contains("algorithm=SHA-256"), "the better one first: {offered:?}");
    assert!(offered[1].contains("algorithm=MD5"), "{offered:?}");
    assert_eq!(wire.register("8002", "", &[]).await.status, 200);
    // Our own softphone knows MD5 alone.
    let (_phone, _events) = cheling.phone("8001", Transport::Udp).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_phone_on_ipv6_by_tcp_calls_and_is_called() {
    let mut cheling = Cheling::idle_with("").await;
    let own = SocketAddr::new(std::net::Ipv6Addr::LOCALHOST.into(), cheling.ports.sip());
    cheling.environment.push(("CHELING_SIP__ALSO", format!("[\"{own}\"]")));
    let rule = "[{network=\"::/0\", address=\"::1\"}]";
    cheling.environment.push(("CHELING_SIP__ADVERTISE_TO", rule.into()));
    cheling.run().await;
    let mut plain = caller(&cheling).await;
    assert_eq!(plain.register("8001", "", &[]).await.status, 200);
    let mut six = Wire::tcp(own).await;
    assert_eq!(six.register("8002", "", &[]).await.status, 200);
    let called = async {
        let invite = six.request(Method::Invite).await;
        let contact = invite.headers.contact().unwrap().uri.to_string();
        assert!(contact.contains("@[::1]:"), "{contact}");
        six.answer(&invite, 486, |_| {}).await;
        six.request(Method::Ack).await;
    };
    assert_eq!(call(&mut plain, CALLED, called).await, 486);
    let invite = six.new_call("8002", "sip:8001@[::1]");
    let password = secret("8002");
    let (asked, ()) = tokio::join!(six.ask(invite, &password), refuses(&mut plain, 486));
    assert_eq!(asked.1.status, 486);
}

/// Runs again in a network of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_phone_whose_power_is_cut_is_not_waited_for() {
    const PHONE: &str = "10.9.9.9";
    if !own_network::is_there() {
        let before = format!("ip link set lo up && ip addr add {PHONE}/32 dev lo");
        let own = "a_phone_whose_power_is_cut_is_not_waited_for";
        own_network::run_there(&before, own, "true").await;
        return;
    }
    let cheling = Cheling::start().await;
    let mut caller = caller(&cheling).await;
    assert_eq!(caller.register("8001", "", &[]).await.status, 200);
    let own = SocketAddr::new(PHONE.parse().unwrap(), 0);
    let mut phone = Wire::tcp_from(own, cheling.sip()).await;
    assert_eq!(phone.register("8002", "", &[]).await.status, 200);
    assert_eq!(call(&mut caller, CALLED, refuses(&mut phone, 486)).await, 486);
    // No FIN, no reset: from one moment to the next nobody is at that address.
    let taken = ["addr", "del", &format!("{PHONE}/32"), "dev", "lo"];
    assert!(Command::new("ip").args(taken).status().await.unwrap().success());
    let status = call(&mut caller, CALLED, async {}).await;
    assert_ne!(status, 408, "nobody waits until the transaction runs out");
    // The next caller is told at once: the phone is not registered any more.
    assert_eq!(call(&mut caller, CALLED, async {}).await, 480);
    assert_eq!(bindings(&mut caller, "8002").await.len(), 0);
}
