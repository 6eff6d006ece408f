//! Standing before, beside and behind real telephone systems: kamailio as the one that stays, as
//! the provider that we register at, and names that DNS knows.
#![allow(clippy::unwrap_used, missing_docs)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use cheling_phone::{
    AnswerPlan, Call, Dial, Gateway, Sound, Transport, dominant_frequency_hz, render,
};
use cheling_tests::baresip::{Baresip, BaresipConfig};
use cheling_tests::cheling::{Cheling, DID, GATEWAY_IP, incoming, secret};
use cheling_tests::desk::Desk;
use cheling_tests::dns::Dns;
use cheling_tests::kamailio::Kamailio;
use cheling_tests::recording::{Recording, write_wav};
use cheling_tests::telephone_system::TelephoneSystem;
use cheling_tests::{http, within};
use serde_json::Value;

const CUSTOMER_HZ: f32 = 440.0;
const AGENT_HZ: f32 = 620.0;
const COLLEAGUE_HZ: f32 = 800.0;
const CUSTOMER: &str = "13812345678";

/// Whom the network's customers are, each of whom answers with a tone.
async fn network(at: SocketAddr, server: SocketAddr) -> Gateway {
    let answer = |_: &Call| AnswerPlan::Answer {
        after: Duration::from_millis(100),
        sound: Sound::tone(CUSTOMER_HZ),
        talk: None,
    };
    Gateway::start(at, server, answer).await.unwrap()
}

/// A baresip that has registered at `registrar` and answers by itself with a tone.
async fn baresip(cheling: &Cheling, user: &str, registrar: SocketAddr, hz: f32) -> Baresip {
    baresip_at(cheling, user, registrar, Ipv4Addr::LOCALHOST.into(), hz).await
}

/// The same at an address of its own.
async fn baresip_at(
    cheling: &Cheling,
    user: &str,
    registrar: SocketAddr,
    ip: IpAddr,
    hz: f32,
) -> Baresip {
    let mut pcm = vec![0; 120 * 8000];
    render(&Sound::tone(hz), &mut pcm);
    let says = cheling.folder().join(format!("says-{user}.wav"));
    write_wav(&says, &pcm);
    let offset = if user == "8001" { 10 } else { 24 };
    let ports = (cheling.ports.port(offset), cheling.ports.port(offset + 2));
    let secret = secret(user);
    let config = BaresipConfig::softphone(ports, registrar, (user, &secret), &says);
    let config = BaresipConfig { ip, ..config };
    let mut baresip = Baresip::start(&config, cheling.folder());
    baresip.registered().await;
    baresip
}

/// The finished call's row, its recording's, and the recording.
async fn recorded(cheling: &Cheling, desk: &mut Desk) -> (Value, Recording) {
    let ended = desk.next_of("call.ended").await;
    let row = cheling.recording_of(desk, ended.call_id()).await;
    assert_eq!(row["verdict"], "ok", "{row}");
    let path = format!("/recordings/{}/audio", row["recording_id"].as_str().unwrap());
    let recording = Recording::read(&desk.get(&path).await.body);
    let call = desk.get(&format!("/calls/{}", ended.call_id())).await.good();
    (call, recording)
}

async fn hears(call: &Call, hz: f32) {
    within("sound", call.hears(Duration::from_secs(2))).await.unwrap();
    assert_eq!(dominant_frequency_hz(&call.heard()), Some(hz));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn phones_register_and_call_through_us_at_a_telephone_system_that_stays() {
    let mut cheling = Cheling::start_with("role = \"pbx\"\n").await;
    let address = cheling.gateway_address();
    let outside = SocketAddr::new(GATEWAY_IP.into(), cheling.ports.port(7));
    let system = TelephoneSystem { address, network: outside, rings: "8001", longest: 600 };
    let mut kamailio = Kamailio::start(&system.config(), address, cheling.folder()).await;
    let customers = network(outside, address).await;
    let agent = baresip(&cheling, "8001", cheling.sip(), AGENT_HZ).await;
    kamailio.says("challenged REGISTER 8001").await;
    kamailio.says("registered 8001").await;
    let (colleague, mut rings) = cheling.phone("8002", Transport::Udp).await;
    kamailio.says("registered 8002").await;
    let mut desk = cheling.desk("agent8001").await;
    let mut beside = cheling.desk("agent8002").await;

    // A customer, by the telephone system, to the phone that registered through us.
    let customer = customers.call_in(CUSTOMER, DID, Sound::tone(CUSTOMER_HZ)).await.unwrap();
    within("the answer", customer.answered()).await.unwrap();
    let offered = desk.next_of("call.offered").await;
    assert_eq!(offered.event["direction"], "inbound", "{}", offered.event);
    assert_eq!(offered.event["called"], DID, "{}", offered.event);
    hears(&customer, AGENT_HZ).await;
    customer.hang_up().await;
    let (call, recording) = recorded(&cheling, &mut desk).await;
    assert_eq!(call["number"], CUSTOMER, "{call}");
    assert_eq!((&call["line_name"], &call["extension"]), (&"售后热线".into(), &"8001".into()));
    recording.assert_tones(CUSTOMER_HZ, AGENT_HZ, recording.seconds());

    // A phone, by the telephone system, to the network.
    let call = colleague.call(Dial::number("13987654321"), Sound::tone(COLLEAGUE_HZ)).await;
    let call = call.unwrap();
    within("the answer", call.answered()).await.unwrap();
    hears(&call, CUSTOMER_HZ).await;
    call.hang_up().await;
    let (call, recording) = recorded(&cheling, &mut beside).await;
    assert_eq!(call["direction"], "outbound", "{call}");
    assert_eq!((&call["number"], &call["extension"]), (&"13987654321".into(), &"8002".into()));
    recording.assert_tones(CUSTOMER_HZ, COLLEAGUE_HZ, recording.seconds());
    kamailio.says("challenged INVITE 8002").await;
    kamailio.says("out to 13987654321").await;

    // Phone to phone, by the telephone system: one conversation, one call, one recording.
    let call = colleague.call(Dial::number("8001"), Sound::tone(COLLEAGUE_HZ)).await.unwrap();
    within("the answer", call.answered()).await.unwrap();
    hears(&call, AGENT_HZ).await;
    call.hang_up().await;
    let (call, recording) = recorded(&cheling, &mut desk).await;
    assert_eq!(call["direction"], "internal", "{call}");
    recording.assert_tones(COLLEAGUE_HZ, AGENT_HZ, recording.seconds());
    kamailio.says("in to 8001").await;
    let calls = all_calls(&cheling).await;
    assert_eq!(calls.len(), 3, "{calls:#?}");

    // After our restart nobody has to register again before it rings, or dials.
    cheling.stop().await;
    cheling.run().await;
    let mut desk = cheling.desk("agent8001").await;
    let customer = customers.call_in(CUSTOMER, DID, Sound::tone(CUSTOMER_HZ)).await.unwrap();
    within("the answer", customer.answered()).await.unwrap();
    hears(&customer, AGENT_HZ).await;
    customer.hang_up().await;
    recorded(&cheling, &mut desk).await;
    let call = colleague.call(Dial::number("8001"), Sound::tone(COLLEAGUE_HZ)).await.unwrap();
    within("the answer after a restart", call.answered()).await.unwrap();
    hears(&call, AGENT_HZ).await;
    call.hang_up().await;
    recorded(&cheling, &mut desk).await;
    assert!(rings.try_recv().is_err(), "the colleague's phone has not rung");
    agent.quit().await;
    cheling.check().await;
}

/// All calls so far.
async fn all_calls(cheling: &Cheling) -> Vec<Value> {
    let boss = cheling.desk("boss").await;
    boss.get("/calls").await.good()["items"].as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn between_a_telephone_system_and_a_gateway_both_ways_are_recorded() {
    let ports = cheling_tests::ports::Ports::claim();
    let outside = SocketAddr::new([127, 0, 0, 3].into(), ports.port(7));
    let more = format!(
        "role = \"pbx\"\npeer = \"outside\"\n\
         [[trunk]]\nname = \"outside\"\naddress = \"{outside}\"\npeer = \"gateway\"\n"
    );
    let cheling = Cheling::start_with(&more).await;
    let address = cheling.gateway_address();
    let system = TelephoneSystem { address, network: cheling.sip(), rings: "8001", longest: 600 };
    let mut kamailio = Kamailio::start(&system.config(), address, cheling.folder()).await;
    let customers = network(outside, cheling.sip()).await;
    // Phones know nothing of us here.
    let agent = baresip(&cheling, "8001", address, AGENT_HZ).await;
    kamailio.says("registered 8001").await;
    let mut desk = cheling.desk("agent8001").await;
    let customer = customers.call_in(CUSTOMER, DID, Sound::tone(CUSTOMER_HZ)).await.unwrap();
    within("the answer", customer.answered()).await.unwrap();
    let offered = desk.next_of("call.offered").await;
    assert_eq!(offered.event["called"], DID, "{}", offered.event);
    hears(&customer, AGENT_HZ).await;
    customer.hang_up().await;
    let (call, recording) = recorded(&cheling, &mut desk).await;
    assert_eq!((&call["direction"], &call["number"]), (&"inbound".into(), &CUSTOMER.into()));
    assert_eq!((&call["line_name"], &call["extension"]), (&"售后热线".into(), &"8001".into()));
    recording.assert_tones(CUSTOMER_HZ, AGENT_HZ, recording.seconds());
    kamailio.says("in to 8001").await;
    agent.quit().await;

    let account = cheling_phone::Account::new("8002", secret("8002"));
    let config = cheling_phone::PhoneConfig::registered(address, account);
    let (phone, _events) = cheling_phone::Phone::start(config).await.unwrap();
    within("registration", phone.register()).await.expect("registered");
    let mut desk = cheling.desk("agent8002").await;
    let call = phone.call(Dial::number("13987654321"), Sound::tone(COLLEAGUE_HZ)).await.unwrap();
    within("the answer", call.answered()).await.unwrap();
    hears(&call, CUSTOMER_HZ).await;
    call.hang_up().await;
    let (call, recording) = recorded(&cheling, &mut desk).await;
    assert_eq!(call["direction"], "outbound", "{call}");
    assert_eq!((&call["number"], &call["extension"]), (&"13987654321".into(), &"8002".into()));
    recording.assert_tones(CUSTOMER_HZ, COLLEAGUE_HZ, recording.seconds());
    cheling.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn we_register_at_providers_again_after_their_restart_and_go_by_the_other_when_one_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let ports = cheling_tests::ports::Ports::claim();
    let backup = SocketAddr::new([127, 0, 0, 3].into(), ports.port(6));
    let users = ["58998000", "58998001"];
    let file = |user: &str| {
        let path = folder.path().join(user);
        std::fs::write(&path, format!("{}\n", secret(user))).unwrap();
        path
    };
    let account = |user: &str| {
        format!(
            "username = \"{user}\"\npassword_file = {:?}\nregister = true\nping_seconds = 5\n",
            file(user)
        )
    };
    let more = format!(
        "{}[[trunk]]\nname = \"backup\"\naddress = \"{backup}\"\n{}",
        account(users[0]),
        account(users[1])
    );
    let cheling = Cheling::start_with(&more).await;
    let first = cheling.gateway_address();
    let outside = SocketAddr::new(GATEWAY_IP.into(), cheling.ports.port(7));
    let beyond = SocketAddr::new(backup.ip(), ports.port(7));
    let system = TelephoneSystem { address: first, network: outside, rings: users[0], longest: 3 };
    let (config, known) = (system.config(), cheling.folder().to_owned());
    let mut kamailio = Kamailio::start(&config, first, &known).await;
    kamailio.says(&format!("challenged REGISTER {}", users[0])).await;
    kamailio.says(&format!("registered {}", users[0])).await;
    // It grants three seconds: renewed before they are over, with the proof it wanted.
    let before = kamailio.said().matches("registered 58998000").count();
    cheling_tests::eventually("a renewed registration", || {
        let seen = kamailio.said().matches("registered 58998000").count();
        async move { (seen > before + 1).then_some(()) }
    })
    .await;

    let customers = network(outside, first).await;
    let (phone, mut events) = cheling.phone("8001", Transport::Udp).await;
    let mut desk = cheling.desk("agent8001").await;
    call_in_and_out(&cheling, &customers, &phone, &mut events, &mut desk).await;
    kamailio.says("challenged INVITE 58998000").await;

    assert_eq!(trunk_states(&cheling).await, ["gateway up", "backup unregistered"]);

    // It forgets everybody: we are there again, and its calls come.
    drop(kamailio);
    let second = TelephoneSystem { address: backup, network: beyond, rings: users[1], longest: 60 };
    let mut other = Kamailio::start(&second.config(), backup, &known).await;
    other.says("registered 58998001").await;
    let others = network(beyond, backup).await;
    // The first is gone: calls go by the second, and come by it.
    call_in_and_out(&cheling, &others, &phone, &mut events, &mut desk).await;
    other.says("challenged INVITE 58998001").await;

    let log = format!("kamailio-{}.log", first.port());
    std::fs::remove_file(known.join(log)).unwrap();
    let mut kamailio = Kamailio::start(&config, first, &known).await;
    kamailio.says(&format!("registered {}", users[0])).await;
    call_in_and_out(&cheling, &customers, &phone, &mut events, &mut desk).await;
    kamailio.says(&format!("in to {}", users[0])).await;
    assert_eq!(trunk_states(&cheling).await, ["gateway up", "backup up"]);
    let metrics = http::request(cheling.web(), "GET", "/metrics", &[], b"").await.unwrap();
    let metrics = String::from_utf8(metrics.body).unwrap();
    assert!(metrics.contains("cheling_trunk_registered{trunk=\"backup\"} 1"), "{metrics}");
    cheling.check().await;
}

/// What `cheling trunk list` says of each.
async fn trunk_states(cheling: &Cheling) -> Vec<String> {
    let listed = cheling.must(&["trunk", "list", "--json"], "").await;
    let trunks: Vec<Value> = serde_json::from_str(&listed).unwrap();
    let word = |it: &Value, key: &str| it[key].as_str().unwrap().to_owned();
    trunks.iter().map(|it| format!("{} {}", word(it, "name"), word(it, "state"))).collect()
}

/// A call that the ring group answers and one that an agent makes, both recorded.
async fn call_in_and_out(
    cheling: &Cheling,
    customers: &Gateway,
    phone: &cheling_phone::Phone,
    events: &mut tokio::sync::mpsc::Receiver<cheling_phone::Event>,
    desk: &mut Desk,
) {
    let customer = customers.call_in(CUSTOMER, DID, Sound::tone(CUSTOMER_HZ)).await.unwrap();
    let agent = incoming(events).await;
    assert_eq!(agent.caller().user, CUSTOMER);
    agent.answer(Sound::tone(AGENT_HZ)).await;
    within("the answer", customer.answered()).await.unwrap();
    hears(&customer, AGENT_HZ).await;
    hears(&agent, CUSTOMER_HZ).await;
    customer.hang_up().await;
    let (_, recording) = recorded(cheling, desk).await;
    recording.assert_tones(CUSTOMER_HZ, AGENT_HZ, recording.seconds());
    let call = phone.call(Dial::number("13987654321"), Sound::tone(AGENT_HZ)).await.unwrap();
    within("the answer", call.answered()).await.unwrap();
    hears(&call, CUSTOMER_HZ).await;
    call.hang_up().await;
    let (call, recording) = recorded(cheling, desk).await;
    assert_eq!(call["direction"], "outbound", "{call}");
    recording.assert_tones(CUSTOMER_HZ, AGENT_HZ, recording.seconds());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_known_by_name_is_found_by_naptr_and_srv_and_its_second_machine_serves() {
    let ports = cheling_tests::ports::Ports::claim();
    let dns = Dns::start().await;
    let (dead, living) = ([127, 0, 0, 3].into(), [127, 0, 0, 4].into());
    dns.authority("sip.provider.test", 20, "SIP+D2T", "_sip._tcp.sip.provider.test");
    dns.authority("sip.provider.test", 10, "SIP+D2U", "_sip._udp.sip.provider.test");
    let service = "_sip._udp.sip.provider.test";
    dns.service(service, (10, 0), ports.port(6), "one.provider.test");
    dns.service(service, (20, 0), ports.port(6), "two.provider.test");
    dns.host("one.provider.test", dead);
    dns.host("two.provider.test", living);
    let keys = format!(
        "prefixes = [\"9999\"]\nping_seconds = 0\n\
         [[trunk]]\nname = \"provider\"\naddress = \"sip.provider.test\"\ntransport = \"auto\"\n\
         username = \"58998000\"\npassword = {:?}\nregister = true\n",
        secret("58998000")
    );
    let mut cheling = Cheling::idle_with(&keys).await;
    cheling.environment.push(("CHELING_SIP__DNS_SERVERS", format!("[\"{}\"]", dns.address())));
    let address = SocketAddr::new(living.into(), ports.port(6));
    let outside = SocketAddr::new(living.into(), ports.port(7));
    let system = TelephoneSystem { address, network: outside, rings: "58998000", longest: 60 };
    let mut kamailio = Kamailio::start(&system.config(), address, cheling.folder()).await;
    cheling.run().await;
    // Nobody is at the first: the registration goes to the second, and calls there.
    kamailio.says("registered 58998000").await;
    let customers = network(outside, address).await;
    let (phone, mut events) = cheling.phone("8001", Transport::Udp).await;
    let mut desk = cheling.desk("agent8001").await;
    call_in_and_out(&cheling, &customers, &phone, &mut events, &mut desk).await;
    kamailio.says("out to 13987654321").await;

    // The provider moves: DNS says so, and we follow when its word has run out.
    let moved = SocketAddr::new([127, 0, 0, 5].into(), ports.port(16));
    let beyond = SocketAddr::new(moved.ip(), ports.port(17));
    let system =
        TelephoneSystem { address: moved, network: beyond, rings: "58998000", longest: 60 };
    let mut other = Kamailio::start(&system.config(), moved, cheling.folder()).await;
    dns.clear();
    dns.service(service, (1, 0), moved.port(), "three.provider.test");
    dns.host("three.provider.test", [127, 0, 0, 5].into());
    other.says("registered 58998000").await;
    drop(kamailio);
    let customers = network(beyond, moved).await;
    call_in_and_out(&cheling, &customers, &phone, &mut events, &mut desk).await;
    cheling.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_phone_on_ipv6_and_a_gateway_on_ipv4_hear_each_other() {
    let mut cheling = Cheling::idle_with("").await;
    let own = SocketAddr::new(Ipv6Addr::LOCALHOST.into(), cheling.ports.sip());
    cheling.environment.push(("CHELING_SIP__ALSO", format!("[\"{own}\"]")));
    let rule = "[{network=\"::/0\", address=\"::1\"}]";
    cheling.environment.push(("CHELING_SIP__ADVERTISE_TO", rule.into()));
    cheling.run().await;
    let gateway =
        cheling.gateway(|_: &Call| AnswerPlan::Refuse { after: Duration::ZERO, status: 503 }).await;
    let mut desk = cheling.desk("agent8001").await;
    let agent = baresip_at(&cheling, "8001", own, own.ip(), AGENT_HZ).await;
    let customer = gateway.call_in(CUSTOMER, DID, Sound::tone(CUSTOMER_HZ)).await.unwrap();
    within("the answer", customer.answered()).await.unwrap();
    hears(&customer, AGENT_HZ).await;
    customer.hang_up().await;
    let (_, recording) = recorded(&cheling, &mut desk).await;
    recording.assert_tones(CUSTOMER_HZ, AGENT_HZ, recording.seconds());
    agent.quit().await;
    cheling.check().await;
}
