//! Floods of new calls against the running binary while a call is up: strangers from one address and
//! from thousands, a phone whose password somebody has stolen, a gateway gone mad. Who is too much is
//! told so or not heard; the call that is up is heard and recorded whole, and memory stays bounded.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use cheling_phone::{Call, Dial, Sound, Transport};
use cheling_sip::{Method, Name};
use cheling_tests::cheling::{Cheling, DID, incoming, secret};
use cheling_tests::http;
use cheling_tests::recording::Recording;
use cheling_tests::wire::Wire;
use cheling_tests::{DEADLINE, within};

const CUSTOMER_HZ: f32 = 500.0;
const AGENT_HZ: f32 = 620.0;
/// What a flood may cost, MiB: some thousand transactions, and what the allocator keeps of them.
const MOST_MEMORY_MIB: u64 = 64;

/// A request of nobody.
fn stranger(method: &str, number: u32, from: SocketAddr, to: SocketAddr) -> String {
    format!(
        "{method} sip:8001@{host} SIP/2.0\r\nVia: SIP/2.0/UDP {from};branch=z9hG4bK{number};rport\r\n\
         Max-Forwards: 70\r\nFrom: <sip:{number}@{from}>;tag={number}\r\nTo: <sip:8001@{host}>\r\n\
         Call-ID: {number}@{from}\r\nCSeq: 1 {method}\r\nContact: <sip:{number}@{from}>\r\n\
         Content-Length: 0\r\n\r\n",
        host = to.ip()
    )
}

/// A source of requests that nobody asked for.
struct Source {
    socket: UdpSocket,
    to: SocketAddr,
    /// Answers by status, and those of 503 without Retry-After.
    heard: HashMap<u16, u32>,
    unkind: u32,
}

impl Source {
    fn at(ip: Ipv4Addr, to: SocketAddr) -> Self {
        let socket = UdpSocket::bind((ip, 0)).unwrap();
        socket.set_nonblocking(true).unwrap();
        Self { socket, to, heard: HashMap::new(), unkind: 0 }
    }

    fn say(&mut self, method: &str, number: u32) {
        let request = stranger(method, number, self.socket.local_addr().unwrap(), self.to);
        // A full buffer is the flood's own loss.
        let _ = self.socket.send_to(request.as_bytes(), self.to);
        self.listen();
    }

    fn listen(&mut self) {
        let mut buffer = [0; 4096];
        while let Ok(length) = self.socket.recv(&mut buffer) {
            let text = String::from_utf8_lossy(&buffer[..length]);
            let Some(status) = text.get(8..11).and_then(|it| it.parse().ok()) else { continue };
            *self.heard.entry(status).or_default() += 1;
            self.unkind += u32::from(status == 503 && !text.contains("Retry-After:"));
        }
    }
}

/// Waits until everything that was sent before has been looked at, by asking from elsewhere.
async fn fence(cheling: &Cheling) {
    let mut wire = Wire::udp((Ipv4Addr::LOCALHOST, 0).into(), cheling.sip()).await;
    for _ in 0..40 {
        let options = wire.new_request(Method::Options, "fence", "sip:127.0.0.1");
        wire.say(&options).await;
        let answer = tokio::time::timeout(DEADLINE / 40, wire.response(&Method::Options));
        if answer.await.is_ok() {
            return;
        }
    }
    panic!("nobody answers any more");
}

fn memory_mib(cheling: &mut Cheling) -> u64 {
    cheling.process().memory_kib().unwrap() / 1024
}

/// A customer who talks with 8001.
async fn talk(cheling: &Cheling) -> (cheling_phone::Gateway, cheling_phone::Phone, Call, Call) {
    let gateway = cheling.quiet_gateway().await;
    let (phone, mut events) = cheling.phone("8001", Transport::Udp).await;
    let customer = gateway.call_in("13812345678", DID, Sound::tone(CUSTOMER_HZ)).await.unwrap();
    let agent = incoming(&mut events).await;
    agent.answer(Sound::tone(AGENT_HZ)).await;
    within("the answer", customer.answered()).await.unwrap();
    within("sound", customer.hears(Duration::from_secs(1))).await.unwrap();
    (gateway, phone, customer, agent)
}

/// The call goes on as if nothing had been, and what was said is on its recording without a gap.
async fn is_recorded_whole(cheling: &Cheling, customer: &Call, agent: &Call) {
    for side in [customer, agent] {
        side.forget_heard();
        within("sound after the flood", side.hears(Duration::from_secs(1))).await.unwrap();
    }
    let mut desk = cheling.desk("agent8001").await;
    customer.hang_up().await;
    within("the end", agent.ended()).await;
    let ended = desk.next_of("call.ended").await;
    let row = cheling.recording_of(&desk, ended.call_id()).await;
    assert_eq!(row["verdict"], "ok", "{row}");
    let path = format!("/recordings/{}/audio", row["recording_id"].as_str().unwrap());
    let recording = Recording::read(&desk.get(&path).await.body);
    recording.assert_tones(CUSTOMER_HZ, AGENT_HZ, recording.seconds());
    cheling.check().await;
}

async fn counter(cheling: &Cheling, name: &str) -> u64 {
    let answer = http::request(cheling.web(), "GET", "/metrics", &[], b"").await.unwrap();
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{name} is missing")).parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_who_flood_cost_the_call_that_is_up_nothing() {
    let mut cheling = Cheling::start().await;
    let (_gateway, phone, customer, agent) = talk(&cheling).await;
    let (_other, mut events) = cheling.phone("8002", Transport::Udp).await;
    let (sip, before) = (cheling.sip(), memory_mib(&mut cheling));

    // One source: it is asked for its password, and then no more is heard of it.
    let mut one = Source::at(Ipv4Addr::new(127, 0, 0, 66), sip);
    let mut one = tokio::task::spawn_blocking(move || {
        (0..5000).for_each(|number| one.say("INVITE", number));
        one
    })
    .await
    .unwrap();
    fence(&cheling).await;
    one.listen();
    let challenged = one.heard.get(&401).or(one.heard.get(&407)).copied().unwrap_or(0);
    assert!((1..=200).contains(&challenged), "{:?}", one.heard);
    assert_eq!(one.heard.len(), 1, "{:?}", one.heard);
    assert_eq!(counter(&cheling, "cheling_sip_shut_out_sources_total").await, 1);

    // One that asks what needs no password is slowed down, and told to wait.
    let mut two = Source::at(Ipv4Addr::new(127, 0, 0, 67), sip);
    let mut said = 0;
    while !two.heard.contains_key(&503) {
        assert!(said < 20_000, "{:?}", two.heard);
        // No more than the kernel keeps for the service.
        for _ in 0..100 {
            two.say("OPTIONS", said);
            said += 1;
        }
        fence(&cheling).await;
        two.listen();
    }
    assert_eq!(two.unkind, 0, "each 503 says when to come again");
    let statuses: Vec<u16> = two.heard.keys().copied().filter(|it| *it != 503).collect();
    assert_eq!(statuses, [200], "{:?}", two.heard);

    // Five thousand sources, as somebody has who writes other people's addresses on his datagrams.
    // Meanwhile a phone of ours calls another.
    let many = tokio::task::spawn_blocking(move || {
        for number in 0..20_000_u32 {
            let [.., high, low] = (number % 5000).to_be_bytes();
            Source::at(Ipv4Addr::new(127, 1, high, low), sip).say("INVITE", number);
        }
    });
    let call = phone.call(Dial::number("8002"), Sound::tone(440.0)).await.unwrap();
    let colleague = incoming(&mut events).await;
    colleague.answer(Sound::tone(880.0)).await;
    within("the answer", call.answered()).await.unwrap();
    call.hang_up().await;
    within("the end", colleague.ended()).await;
    many.await.unwrap();
    fence(&cheling).await;

    let after = memory_mib(&mut cheling);
    println!("memory before and after 28 000 requests of strangers: {before} and {after} MiB");
    assert!(after < before + MOST_MEMORY_MIB, "{before} and {after} MiB");
    is_recorded_whole(&cheling, &customer, &agent).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_phone_that_calls_and_calls_gets_503_after_its_share() {
    let cheling = Cheling::start().await;
    let (_gateway, _phone, customer, agent) = talk(&cheling).await;
    // Whoever has stolen the password of 8002.
    let mut thief = Wire::udp((Ipv4Addr::LOCALHOST, 0).into(), cheling.sip()).await;
    assert_eq!(thief.register("8002", "", &[]).await.status, 200);
    let (_other, _events) = cheling.phone("8003", Transport::Udp).await;
    let mut first = None;
    let mut ringing = 0;
    loop {
        let mut invite = thief.new_call("8002", "sip:8003@127.0.0.1");
        let from = invite.headers.from().unwrap().uri.to_string();
        invite.headers.set(Name::From, format!("<{from}>;tag=thief{ringing}"));
        let (invite, answer) = thief.ask(invite, &secret("8002")).await;
        if answer.status == 503 {
            assert!(answer.headers.has(Name::RetryAfter));
            break;
        }
        assert_eq!(answer.status, 180, "the call rings");
        first.get_or_insert(invite);
        ringing += 1;
        assert!(ringing <= 20, "there is an end to it");
    }
    assert_eq!(ringing, 20);
    // One that is given up makes room for another.
    let mut cancel = first.unwrap();
    cancel.method = Method::Cancel;
    let cseq = cancel.headers.cseq().unwrap().number;
    cancel.headers.set(Name::CSeq, format!("{cseq} CANCEL"));
    cancel.headers.remove(Name::ContentType);
    cancel.body = Default::default();
    thief.say(&cancel).await;
    assert_eq!(thief.response(&Method::Cancel).await.status, 200);
    assert_eq!(thief.response(&Method::Invite).await.status, 487);
    let invite = thief.new_call("8002", "sip:8003@127.0.0.1");
    assert_eq!(thief.ask(invite, &secret("8002")).await.1.status, 180);
    is_recorded_whole(&cheling, &customer, &agent).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_gone_mad_gets_503_and_the_call_that_is_up_goes_on() {
    let mut cheling = Cheling::idle_with(
        "ping_seconds = 0\n[[trunk]]\nname = \"mad\"\naddress = \"127.0.0.9:5060\"\nping_seconds = 0",
    )
    .await;
    cheling.environment.push(("CHELING_SIP__MAX_CALLS", "30".into()));
    cheling.run().await;
    let (_gateway, _phone, customer, agent) = talk(&cheling).await;
    // Nobody acknowledges the refusals, so each of them lingers.
    let (sip, before) = (cheling.sip(), memory_mib(&mut cheling));
    let mad = tokio::task::spawn_blocking(move || {
        let mut mad = Source::at(Ipv4Addr::new(127, 0, 0, 9), sip);
        for number in 0..5000 {
            let request = stranger("INVITE", number, mad.socket.local_addr().unwrap(), sip)
                .replace("INVITE sip:8001@", &format!("INVITE sip:{DID}@"));
            let _ = mad.socket.send_to(request.as_bytes(), sip);
            mad.listen();
        }
        mad
    });
    let mut mad = mad.await.unwrap();
    fence(&cheling).await;
    mad.listen();
    assert!(mad.heard.get(&503).copied().unwrap_or(0) > 100, "{:?}", mad.heard);
    assert_eq!(mad.unkind, 0, "each is told when to come again");
    let after = memory_mib(&mut cheling);
    println!("memory before and after 5000 calls of a gateway: {before} and {after} MiB");
    assert!(after < before + MOST_MEMORY_MIB, "{before} and {after} MiB");
    is_recorded_whole(&cheling, &customer, &agent).await;
}
