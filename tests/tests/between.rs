//! Between a telephone system (kamailio) and a gateway (SIPp, as carriers' and analog gateways
//! behave), and the caller's number that an analog gateway learns late.
#![allow(clippy::unwrap_used, missing_docs)]

use std::net::SocketAddr;

use cheling_sip::{Method, Name};
use cheling_tests::cheling::{Cheling, DID, GATEWAY_IP, secret};
use cheling_tests::kamailio::Kamailio;
use cheling_tests::ports::Ports;
use cheling_tests::sipp::{Sipp, SippRun, alaw_tone, local};
use cheling_tests::telephone_system::TelephoneSystem;
use cheling_tests::wire::Wire;

const CUSTOMER: &str = "13812345678";

/// We stand between kamailio, where the phone 8001 is registered, and a gateway.
struct Between {
    cheling: Cheling,
    kamailio: Kamailio,
    phone: Wire,
    outside: SocketAddr,
    /// The gateway's.
    _ports: Ports,
}

impl Between {
    async fn start() -> Self {
        let ports = Ports::claim();
        let outside = local([127, 0, 0, 3], ports.port(7));
        let more = format!(
            "role = \"pbx\"\npeer = \"outside\"\nping_seconds = 0\n[[trunk]]\nname = \"outside\"\n\
             address = \"{outside}\"\npeer = \"gateway\"\nping_seconds = 0\n"
        );
        let cheling = Cheling::start_with(&more).await;
        let address = cheling.gateway_address();
        let system =
            TelephoneSystem { address, network: cheling.sip(), rings: "8001", longest: 600 };
        let kamailio = Kamailio::start(&system.config(), address, cheling.folder()).await;
        let mut phone = Wire::udp(local([127, 0, 0, 1], cheling.ports.port(10)), address).await;
        assert_eq!(phone.register("8001", "", &[]).await.status, 200);
        Self { cheling, kamailio, phone, outside, _ports: ports }
    }

    /// SIPp as the gateway.
    fn gateway(&self, scenario: &str, values: &[(&str, &str)]) -> Sipp {
        sipp(&self.cheling, self.outside, scenario, values)
    }
}

fn sipp(cheling: &Cheling, at: SocketAddr, scenario: &str, values: &[(&str, &str)]) -> Sipp {
    let run = SippRun {
        scenario,
        local: at,
        rtp_port: cheling.ports.port(20),
        remote: cheling.sip(),
        values,
        calls: 1,
        more: &[],
    };
    Sipp::start(&run, cheling.folder())
}

/// An analog gateway's call rings at `phone`; 8001's desk has its card, and has it again with the
/// number as soon as the gateway knows it.
async fn number_comes_late(cheling: &Cheling, at: SocketAddr, phone: &mut Wire, header: &str) {
    let mut desk = cheling.desk("agent8001").await;
    let tone = alaw_tone(cheling.folder(), 500.0, 1);
    let values =
        [("did", DID), ("header", header), ("tone", tone.to_str().unwrap()), ("talk_ms", "400")];
    let gateway = sipp(cheling, at, "gateway_late_caller", &values);
    let ring = phone.request(Method::Invite).await;
    let contact = phone.contact("8001", "");
    phone
        .answer(&ring, 180, |ringing| {
            ringing.headers.push(Name::Contact, contact);
            ringing.headers.push(Name::Allow, "INVITE, ACK, BYE, CANCEL, UPDATE");
        })
        .await;
    let offered = desk.next_of("call.offered").await;
    assert_ne!(offered.event["card"]["number"], CUSTOMER, "{}", offered.event);
    while desk.next_of("call.updated").await.event["card"]["number"] != CUSTOMER {}
    // So does the phone, which rings on.
    let update = phone.request(Method::Update).await;
    assert!(update.body.is_empty());
    let told = update.headers.get(Name::PAssertedIdentity).unwrap().into_owned();
    assert!(told.contains(CUSTOMER), "{told}");
    phone.answer(&update, 200, |_| {}).await;
    phone.answer(&ring, 200, |_| {}).await;
    phone.request(Method::Ack).await;
    let bye = phone.request(Method::Bye).await;
    phone.answer(&bye, 200, |_| {}).await;
    gateway.succeeds().await;
    let ended = desk.next_of("call.ended").await;
    let call = desk.get(&format!("/calls/{}", ended.call_id())).await.good();
    assert_eq!(call["number"], CUSTOMER, "{call}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_analog_gateway_tells_the_number_late_and_the_card_follows() {
    let cheling = Cheling::start_with("ping_seconds = 0").await;
    let at = local([127, 0, 0, 1], cheling.ports.port(10));
    let mut phone = Wire::udp(at, cheling.sip()).await;
    assert_eq!(phone.register("8001", "", &[]).await.status, 200);
    let gateway = cheling.gateway_address();
    for header in ["P-Asserted-Identity", "Remote-Party-ID"] {
        let header = format!("{header}: <sip:{CUSTOMER}@127.0.0.2>");
        number_comes_late(&cheling, gateway, &mut phone, &header).await;
    }
    cheling.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn between_two_the_number_that_comes_late_is_on_the_card_too() {
    let mut between = Between::start().await;
    let header = format!("P-Asserted-Identity: <sip:{CUSTOMER}@127.0.0.3>");
    let Between { cheling, phone, outside, .. } = &mut between;
    number_comes_late(cheling, *outside, phone, &header).await;
    between.kamailio.says("in to 8001").await;
    between.cheling.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn between_two_a_gateway_holds_and_offers_late() {
    let mut between = Between::start().await;
    let tone = alaw_tone(between.cheling.folder(), 500.0, 1);
    let values = [
        ("did", DID),
        ("caller", CUSTOMER),
        ("tone", tone.to_str().unwrap()),
        ("talk_ms", "400"),
        ("hold_ms", "300"),
    ];
    for scenario in ["gateway_hold", "gateway_late_offer", "gateway_update"] {
        let gateway = between.gateway(scenario, &values);
        let ring = between.phone.request(Method::Invite).await;
        between.phone.answer(&ring, 180, |_| {}).await;
        between.phone.answer(&ring, 200, |_| {}).await;
        between.phone.request(Method::Ack).await;
        // Holds and resumptions pass to the telephone system and its phone.
        let phone = &mut between.phone;
        let bye = loop {
            let request = phone.any_request().await;
            match request.method {
                Method::Bye => break request,
                Method::Ack => {}
                _ => phone.answer(&request, 200, |_| {}).await,
            }
        };
        phone.answer(&bye, 200, |_| {}).await;
        gateway.succeeds().await;
    }
    let boss = between.cheling.desk("boss").await;
    let calls = boss.get("/calls").await.good()["items"].as_array().unwrap().clone();
    assert_eq!(calls.len(), 3, "{calls:#?}");
    for call in calls {
        assert_eq!((&call["number"], &call["extension"]), (&CUSTOMER.into(), &"8001".into()));
    }
    between.cheling.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn between_two_a_carriers_reliable_ringing_is_acknowledged() {
    let mut between = Between::start().await;
    let carrier = between.gateway("network_prack", &[]);
    carrier.listens().await;
    let number = format!("sip:13987654321@{}", GATEWAY_IP);
    let invite = between.phone.new_call("8001", &number);
    let (invite, mut answer) = between.phone.ask(invite, &secret("8001")).await;
    while answer.status < 200 {
        answer = between.phone.response(&Method::Invite).await;
    }
    assert_eq!(answer.status, 200);
    let cseq = invite.headers.cseq().unwrap().number;
    let ack = between.phone.within_dialog(&invite, &answer, Method::Ack, cseq);
    between.phone.say(&ack).await;
    let bye = between.phone.within_dialog(&invite, &answer, Method::Bye, cseq + 1);
    assert_eq!(between.phone.ask(bye, "").await.1.status, 200);
    carrier.succeeds().await;
    between.kamailio.says("out to 13987654321").await;
    between.cheling.check().await;
}
