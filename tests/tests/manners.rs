//! What phones and carriers say beside the call itself, by hand through the running binary: transfers
//! that fail, digits in INFO, message lamps, early media, who sent a call on.
#![allow(clippy::unwrap_used, missing_docs)]

use std::net::SocketAddr;

use cheling_sip::{Method, Name, Request, Response};
use cheling_tests::cheling::{Cheling, secret};
use cheling_tests::wire::Wire;

const CUSTOMER: &str = "13812345678";

/// A dealership, its gateway by hand, and the phone 8001.
struct House {
    cheling: Cheling,
    gateway: Wire,
    phone: Wire,
}

impl House {
    async fn start(trunk: &str) -> Self {
        let cheling = Cheling::start_with(&format!("ping_seconds = 0\n{trunk}")).await;
        let gateway = Wire::udp(cheling.gateway_address(), cheling.sip()).await;
        let phone = phone(&cheling, "8001", 10).await;
        Self { cheling, gateway, phone }
    }

    /// 8001 calls the customer, who answers.
    async fn talk(&mut self) -> (Request, Response) {
        let number = format!("sip:{CUSTOMER}@{}", self.cheling.sip().ip());
        let invite = self.phone.new_call("8001", &number);
        let (phone, gateway, password) = (&mut self.phone, &mut self.gateway, secret("8001"));
        let (asked, ()) = tokio::join!(phone.ask(invite, &password), async {
            let invite = gateway.request(Method::Invite).await;
            gateway.answer(&invite, 200, |_| {}).await;
        });
        let (invite, answer) = asked;
        assert_eq!(answer.status, 200);
        let cseq = invite.headers.cseq().unwrap().number;
        let ack = self.phone.within_dialog(&invite, &answer, Method::Ack, cseq);
        self.phone.say(&ack).await;
        self.gateway.request(Method::Ack).await;
        (invite, answer)
    }
}

async fn phone(cheling: &Cheling, user: &str, offset: u16) -> Wire {
    let at = SocketAddr::new([127, 0, 0, 1].into(), cheling.ports.port(offset));
    let mut phone = Wire::udp(at, cheling.sip()).await;
    assert_eq!(phone.register(user, "", &[]).await.status, 200);
    phone
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transfer_to_a_busy_colleague_is_told_and_gives_the_call_back() {
    let mut house = House::start("").await;
    let mut busy = phone(&house.cheling, "8003", 12).await;
    let (invite, answer) = house.talk().await;
    let cseq = invite.headers.cseq().unwrap().number;
    let House { gateway, phone, .. } = &mut house;
    let mut refer = phone.within_dialog(&invite, &answer, Method::Refer, cseq + 1);
    refer.headers.push(Name::Contact, phone.contact("8001", ""));
    refer.headers.push(Name::ReferTo, "<sip:8003@127.0.0.1>");
    assert_eq!(phone.ask(refer, "").await.1.status, 202);
    let ring = busy.request(Method::Invite).await;
    busy.answer(&ring, 486, |_| {}).await;
    let mut told = Vec::new();
    loop {
        let notify = phone.request(Method::Notify).await;
        phone.answer(&notify, 200, |_| {}).await;
        told.push(String::from_utf8_lossy(&notify.body).lines().next().unwrap().to_owned());
        let state = notify.headers.get(Name::SubscriptionState).unwrap();
        if state.starts_with("terminated") {
            break;
        }
    }
    assert!(told.first().unwrap().starts_with("SIP/2.0 100"), "{told:?}");
    assert!(told.last().unwrap().starts_with("SIP/2.0 486"), "{told:?}");
    // The customer is still there, and it is the phone that ends the call.
    let bye = phone.within_dialog(&invite, &answer, Method::Bye, cseq + 2);
    assert_eq!(phone.ask(bye, "").await.1.status, 200);
    loop {
        let request = gateway.any_request().await;
        gateway.answer(&request, 200, |_| {}).await;
        if request.method == Method::Bye {
            break;
        }
    }
    house.cheling.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn digits_in_info_reach_the_other_side() {
    let mut house = House::start("").await;
    let (invite, answer) = house.talk().await;
    let cseq = invite.headers.cseq().unwrap().number;
    let digits = "Signal=5\r\nDuration=160\r\n";
    let mut info = house.phone.within_dialog(&invite, &answer, Method::Info, cseq + 1);
    info.set_body("application/dtmf-relay", digits);
    let (asked, ()) = tokio::join!(house.phone.ask(info, ""), async {
        let info = house.gateway.request(Method::Info).await;
        assert_eq!(info.body, digits.as_bytes());
        let kind = info.headers.get(Name::ContentType).unwrap().into_owned();
        assert_eq!(kind, "application/dtmf-relay");
        house.gateway.answer(&info, 200, |_| {}).await;
    });
    assert_eq!(asked.1.status, 200);
    let bye = house.phone.within_dialog(&invite, &answer, Method::Bye, cseq + 2);
    assert_eq!(house.phone.ask(bye, "").await.1.status, 200);
    // Nobody is in that dialog any more.
    let info = house.phone.within_dialog(&invite, &answer, Method::Info, cseq + 3);
    assert_eq!(house.phone.ask(info, "").await.1.status, 481);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_phone_that_asks_for_its_messages_is_told_that_there_are_none() {
    let mut house = House::start("").await;
    let phone = &mut house.phone;
    let mut subscribe = phone.new_request(Method::Subscribe, "8001", "sip:8001@127.0.0.1");
    subscribe.headers.push(Name::Event, "message-summary");
    subscribe.headers.push(Name::Accept, "application/simple-message-summary");
    subscribe.headers.push(Name::Expires, 600);
    let (_, answer) = phone.ask(subscribe, &secret("8001")).await;
    assert!(answer.is_success(), "{}", answer.status);
    let notify = phone.request(Method::Notify).await;
    phone.answer(&notify, 200, |_| {}).await;
    let body = String::from_utf8_lossy(&notify.body).into_owned();
    assert!(body.contains("Messages-Waiting: no"), "{body}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_trunk_plays_before_the_answer_is_passed_or_becomes_a_ring_tone() {
    for (policy, status) in [("pass", 183), ("ringback", 180)] {
        let mut house = House::start(&format!("early_media = \"{policy}\"")).await;
        let number = format!("sip:{CUSTOMER}@{}", house.cheling.sip().ip());
        let invite = house.phone.new_call("8001", &number);
        let password = secret("8001");
        let (asked, ring) = tokio::join!(house.phone.ask(invite, &password), async {
            let invite = house.gateway.request(Method::Invite).await;
            let announcement = house.gateway.offer().to_bytes();
            let fill = |it: &mut Response| it.set_body("application/sdp", announcement);
            house.gateway.answer(&invite, 183, fill).await;
            invite
        });
        assert_eq!((asked.1.status, asked.1.body.is_empty()), (status, status == 180), "{policy}");
        house.gateway.answer(&ring, 486, |_| {}).await;
        assert_eq!(house.phone.response(&Method::Invite).await.status, 486, "{policy}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_is_sent_on_tells_the_trunk_who_calls_and_by_whom_as_it_wants_to_know() {
    let mut house = House::start(
        "caller_number = \"58998000\"\nidentity = [\"p-asserted-identity\", \"remote-party-id\"]\n\
         diversion = [\"diversion\", \"history-info\"]",
    )
    .await;
    let called = format!("sip:8001@{}", house.cheling.sip().ip());
    let invite = house.gateway.new_call(CUSTOMER, &called);
    house.gateway.say(&invite).await;
    let ring = house.phone.request(Method::Invite).await;
    let elsewhere = "<sip:13700000000@127.0.0.1>";
    house.phone.answer(&ring, 302, |moved| moved.headers.push(Name::Contact, elsewhere)).await;
    let on = house.gateway.request(Method::Invite).await;
    assert_eq!(on.uri.user(), Some("13700000000"));
    for name in ["P-Asserted-Identity", "Remote-Party-ID", "Diversion"] {
        let value = on.headers.get(name).map(|value| value.into_owned()).unwrap_or_default();
        assert!(value.contains("58998000"), "{name}: {value}");
    }
    assert!(on.headers.get("Diversion").unwrap().contains("reason=unconditional"));
    assert!(on.headers.has("History-Info"));
    house.gateway.answer(&on, 486, |_| {}).await;
    let mut refused = house.gateway.response(&Method::Invite).await;
    while refused.status < 200 {
        refused = house.gateway.response(&Method::Invite).await;
    }
    assert_eq!(refused.status, 486);
}
