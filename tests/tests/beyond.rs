//! Transfers and pick-ups before a telephone system that stays, through the running binary: what it
//! knows, it carries out itself. The system by hand, its phones real where they can do it.
#![allow(clippy::unwrap_used, missing_docs)]

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use cheling_phone::{Sound, render};
use cheling_sip::dialog::DialogId;
use cheling_sip::{Method, Name, Request, Response, Uri, refer};
use cheling_tests::baresip::{Baresip, BaresipConfig};
use cheling_tests::cheling::{Cheling, GATEWAY_IP, secret};
use cheling_tests::recording::{CUSTOMER as LEFT, OUR_SIDE as RIGHT, Recording, write_wav};
use cheling_tests::voice::Voice;
use cheling_tests::wire::Wire;
use serde_json::Value;

const CUSTOMER: &str = "13812345678";
const ELSEWHERE: &str = "13987654321";
const CUSTOMER_HZ: f32 = 400.0;
const AGENT_HZ: f32 = 600.0;
const COLLEAGUE_HZ: f32 = 800.0;
const A_WHILE: Duration = Duration::from_millis(1500);
const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const THERE: IpAddr = IpAddr::V4(GATEWAY_IP);

/// A dealership before a telephone system by hand.
async fn house() -> (Cheling, Wire) {
    let cheling = Cheling::start_with("role = \"pbx\"\nping_seconds = 0\n").await;
    let pbx = Wire::udp(cheling.gateway_address(), cheling.sip()).await;
    (cheling, pbx)
}

/// The telephone system takes the next registration; the Contact that it was given.
async fn takes_registration(pbx: &mut Wire) -> String {
    let register = pbx.request(Method::Register).await;
    let contact = register.headers.contact().unwrap().uri.to_string();
    let granted = format!("<{contact}>;expires=3600");
    pbx.answer(&register, 200, |it| it.headers.push(Name::Contact, granted)).await;
    contact
}

/// The telephone system agrees to everything, for ever.
async fn agrees(pbx: &mut Wire) {
    loop {
        let request = pbx.any_request().await;
        if request.method != Method::Ack {
            pbx.answer(&request, 200, |_| {}).await;
        }
    }
}

/// 8001 as a baresip that has registered through us; its Contact at the telephone system.
async fn agent(cheling: &Cheling, pbx: &mut Wire) -> (Baresip, String) {
    let mut pcm = vec![0; 60 * 8000];
    render(&Sound::tone(AGENT_HZ), &mut pcm);
    let says = cheling.folder().join("says.wav");
    write_wav(&says, &pcm);
    let ports = (cheling.ports.port(10), cheling.ports.port(12));
    let password = secret("8001");
    let config = BaresipConfig::softphone(ports, cheling.sip(), ("8001", &password), &says);
    let mut agent = Baresip::start(&config, cheling.folder());
    let ((), contact) = tokio::join!(agent.registered(), takes_registration(pbx));
    (agent, contact)
}

/// The calls of the dealership once there are so many and all of them have their recordings' rows.
async fn calls(cheling: &Cheling, count: usize) -> Vec<Value> {
    let boss = cheling.desk("boss").await;
    cheling_tests::eventually("the calls' rows", || async {
        let calls = boss.get("/calls").await.good()["items"].as_array().unwrap().clone();
        let is_done = calls.iter().all(|call| call["recording_id"].is_string());
        (calls.len() == count && is_done).then_some(calls)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_telephone_system_refers_the_phone_dials_by_us_and_is_recorded() {
    let (cheling, mut pbx) = house().await;
    let (agent, contact) = agent(&cheling, &mut pbx).await;
    let invite = pbx.new_call(CUSTOMER, &contact);
    let (invite, mut answer) = pbx.ask(invite, "").await;
    while answer.status < 200 {
        answer = pbx.response(&Method::Invite).await;
    }
    let ack = pbx.within_dialog(&invite, &answer, Method::Ack, 1);
    pbx.say(&ack).await;

    let mut refer = pbx.within_dialog(&invite, &answer, Method::Refer, 7);
    refer.headers.push(Name::Contact, pbx.contact("pbx", ""));
    refer.headers.push(Name::ReferTo, format!("<sip:{ELSEWHERE}@{}>", pbx.local()));
    assert_eq!(pbx.ask(refer, "").await.1.status, 202);
    let dialled = pbx.request(Method::Invite).await;
    assert_eq!(dialled.uri.user(), Some(ELSEWHERE));
    assert_eq!(dialled.headers.from().unwrap().uri.user(), Some("8001"));
    pbx.answer(&dialled, 200, |_| {}).await;
    pbx.request(Method::Ack).await;
    loop {
        let notify: Request = pbx.request(Method::Notify).await;
        pbx.answer(&notify, 200, |_| {}).await;
        assert!(notify.headers.get(Name::Event).unwrap().starts_with("refer"));
        let state = notify.headers.get(Name::SubscriptionState).unwrap();
        if state.starts_with("terminated") {
            assert!(String::from_utf8_lossy(&notify.body).starts_with("SIP/2.0 200"));
            break;
        }
    }
    let bye = pbx.within_dialog(&invite, &answer, Method::Bye, 8);
    assert_eq!(pbx.ask(bye, "").await.1.status, 200);
    // It hangs up, and takes its registration back.
    tokio::select! {
        () = agent.quit() => {}
        () = agrees(&mut pbx) => {}
    }
    let calls = calls(&cheling, 2).await;
    let of = |number: &str| calls.iter().find(|call| call["number"] == number).unwrap();
    assert_eq!(of(CUSTOMER)["direction"], "inbound");
    assert_eq!(of(ELSEWHERE)["direction"], "outbound");
    assert!(calls.iter().all(|call| call["extension"] == "8001"), "{calls:#?}");
    cheling.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_hands_nobody_on() {
    let cheling = Cheling::start_with("ping_seconds = 0\n").await;
    let mut gateway = Wire::udp(cheling.gateway_address(), cheling.sip()).await;
    let at = (Ipv4Addr::LOCALHOST, cheling.ports.port(10)).into();
    let mut phone = Wire::udp(at, cheling.sip()).await;
    assert_eq!(phone.register("8001", "", &[]).await.status, 200);
    let called = format!("sip:8001@{}", cheling.sip());
    let invite = gateway.new_call(CUSTOMER, &called);
    gateway.say(&invite).await;
    let ring = phone.request(Method::Invite).await;
    phone.answer(&ring, 200, |it| it.headers.push(Name::Allow, "INVITE, ACK, BYE, REFER")).await;
    let answer = gateway.response(&Method::Invite).await;
    assert_eq!(answer.status, 200);
    let ack = gateway.within_dialog(&invite, &answer, Method::Ack, 1);
    gateway.say(&ack).await;
    phone.request(Method::Ack).await;
    let mut refer = gateway.within_dialog(&invite, &answer, Method::Refer, 2);
    refer.headers.push(Name::Contact, gateway.contact("gw", ""));
    refer.headers.push(Name::ReferTo, "<sip:0085212345678@127.0.0.2>");
    assert_eq!(gateway.ask(refer, "").await.1.status, 403);
    let bye = gateway.within_dialog(&invite, &answer, Method::Bye, 3);
    let asked = tokio::join!(gateway.ask(bye, ""), async {
        // Nothing but the end has come to the phone.
        let bye = phone.any_request().await;
        assert_eq!(bye.method, Method::Bye);
        phone.answer(&bye, 200, |_| {}).await;
    });
    assert_eq!(asked.0.1.status, 200);
    cheling.check().await;
}

/// A phone by hand that has registered through us; its Contact at the telephone system.
async fn phone(cheling: &Cheling, pbx: &mut Wire, user: &str, offset: u16) -> (Wire, String) {
    let mut phone = Wire::udp((HERE, cheling.ports.port(offset)).into(), cheling.sip()).await;
    let (answer, contact) = tokio::join!(phone.register(user, "", &[]), takes_registration(pbx));
    assert_eq!(answer.status, 200);
    (phone, contact)
}

/// Answers an INVITE, re-INVITE or UPDATE with this description.
async fn accept(wire: &mut Wire, invite: &Request, description: impl Into<Vec<u8>>) {
    let description = description.into();
    wire.answer(invite, 200, |it| it.set_body("application/sdp", description)).await;
}

/// The 2xx to our INVITE or re-INVITE, acknowledged.
async fn accepted(wire: &mut Wire, invite: &Request, first: Option<&Response>) -> Response {
    let mut answer = wire.response(&Method::Invite).await;
    while answer.status < 200 {
        answer = wire.response(&Method::Invite).await;
    }
    assert_eq!(answer.status, 200);
    let cseq = invite.headers.cseq().unwrap().number;
    let ack = wire.within_dialog(invite, first.unwrap_or(&answer), Method::Ack, cseq);
    wire.say(&ack).await;
    answer
}

/// An INVITE with this description.
fn call(wire: &mut Wire, user: &str, uri: &str, description: impl Into<Vec<u8>>) -> Request {
    let mut invite = wire.new_request(Method::Invite, user, uri);
    invite.set_body("application/sdp", description.into());
    invite
}

/// The recording of a call.
async fn recording(cheling: &Cheling, call: &Value) -> Recording {
    let boss = cheling.desk("boss").await;
    let recording_id = call["recording_id"].as_str().unwrap();
    let row = boss.get(&format!("/recordings/{recording_id}")).await.good();
    assert_eq!(row["verdict"], "ok", "{row}");
    Recording::read(&boss.get(&format!("/recordings/{recording_id}/audio")).await.body)
}

/// That a lane holds each of these tones for a while, and none of those.
fn assert_lane(recording: &Recording, lane: usize, has: &[f32], has_not: &[f32]) {
    for hz in has {
        let heard = recording.seconds_of_tone(lane, *hz);
        assert!(heard > 0.8, "lane {lane}: {heard} s of {hz} Hz of {}", recording.seconds());
    }
    for hz in has_not {
        let heard = recording.seconds_of_tone(lane, *hz);
        assert!(heard < 0.11, "lane {lane}: {heard} s of {hz} Hz");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_is_picked_up_at_the_telephone_system_is_the_customers_in_the_recording() {
    let (cheling, mut pbx) = house().await;
    let (mut rung, contact) = phone(&cheling, &mut pbx, "8001", 10).await;
    let (mut picker, _) = phone(&cheling, &mut pbx, "8002", 12).await;
    let mut desk = cheling.desk("agent8002").await;
    let mut customer = Voice::at(THERE, CUSTOMER_HZ).await;
    let mut colleague = Voice::at(HERE, COLLEAGUE_HZ).await;

    let first = call(&mut pbx, CUSTOMER, &contact, customer.description());
    pbx.say(&first).await;
    let ring = rung.request(Method::Invite).await;
    rung.answer(&ring, 180, |_| {}).await;
    let ringing = pbx.response(&Method::Invite).await;
    assert_eq!(ringing.status, 180);

    // The dialog as its busy lamp tells of it: the telephone system's own, with us.
    let call_id = first.headers.call_id().unwrap();
    let theirs = ringing.headers.to().unwrap().tag().unwrap().to_owned();
    let own = first.headers.from().unwrap().tag().unwrap().to_owned();
    let replaces = format!("{call_id};to-tag={own};from-tag={theirs};early-only");
    let uri = format!("sip:8001@{}", cheling.sip());
    let mut pick_up = call(&mut picker, "8002", &uri, colleague.description());
    pick_up.headers.push(Name::Replaces, &replaces);
    pick_up.headers.push(Name::Require, "replaces");
    picker.say(&pick_up).await;
    let taken = pbx.request(Method::Invite).await;
    assert_eq!(taken.headers.get(Name::Replaces).unwrap(), replaces, "as it is");
    accept(&mut pbx, &taken, customer.description()).await;
    let answer = accepted(&mut picker, &pick_up, None).await;
    pbx.request(Method::Ack).await;
    let mut cancel = Request::new(Method::Cancel, first.uri.clone());
    for name in [Name::Via, Name::From, Name::To, Name::CallId] {
        cancel.headers.copy_from(&first.headers, name);
    }
    cancel.headers.push(Name::CSeq, "1 CANCEL");
    cancel.headers.push(Name::MaxForwards, 70);
    pbx.say(&cancel).await;
    let cancelled = rung.request(Method::Cancel).await;
    rung.answer(&cancelled, 200, |_| {}).await;
    rung.answer(&ring, 487, |_| {}).await;

    customer.speaks_to(&taken.body);
    colleague.speaks_to(&answer.body);
    colleague.hears(CUSTOMER_HZ, A_WHILE).await;
    customer.hears(COLLEAGUE_HZ, A_WHILE).await;
    let bye = picker.within_dialog(&pick_up, &answer, Method::Bye, 2);
    assert_eq!(picker.ask(bye, "").await.1.status, 200);
    let bye = pbx.request(Method::Bye).await;
    pbx.answer(&bye, 200, |_| {}).await;

    // The card of the customer, for who has picked up.
    let offered = desk.next_of("call.offered").await;
    assert_eq!(offered.event["card"]["number"], CUSTOMER, "{}", offered.event);
    let ended = desk.next_of("call.ended").await;
    cheling.recording_of(&desk, ended.call_id()).await;
    let row = desk.get(&format!("/calls/{}", ended.call_id())).await.good();
    assert_eq!((&row["number"], &row["extension"]), (&CUSTOMER.into(), &"8002".into()), "{row}");
    assert_eq!(row["direction"], "inbound", "{row}");
    let heard = recording(&cheling, &row).await;
    assert_lane(&heard, LEFT, &[CUSTOMER_HZ], &[COLLEAGUE_HZ]);
    assert_lane(&heard, RIGHT, &[COLLEAGUE_HZ], &[CUSTOMER_HZ]);
    cheling.check().await;
}

/// A customer who talks to 8001, who asks 8002 by a second call, all by the telephone system, which
/// brings descriptions across and carries no media itself.
struct Consultation {
    cheling: Cheling,
    pbx: Wire,
    agent: Wire,
    colleague: Wire,
    /// The customer's call, as the telephone system and as the phone has it.
    customer: (Request, Response),
    ring: Request,
    /// The consultation: the phone's call, and the telephone system's to the colleague.
    asked: (Request, Response),
    on: (Request, Response),
    voices: [Voice; 4],
}

impl Consultation {
    async fn begin() -> Self {
        let (cheling, mut pbx) = house().await;
        let (mut agent, contact) = phone(&cheling, &mut pbx, "8001", 10).await;
        let (mut colleague, beside) = phone(&cheling, &mut pbx, "8002", 12).await;
        let mut customers = Voice::at(THERE, CUSTOMER_HZ).await;
        let mut agents = Voice::at(HERE, AGENT_HZ).await;
        let mut asking = Voice::at(HERE, AGENT_HZ).await;
        let mut colleagues = Voice::at(HERE, COLLEAGUE_HZ).await;

        let first = call(&mut pbx, CUSTOMER, &contact, customers.description());
        pbx.say(&first).await;
        let ring = agent.request(Method::Invite).await;
        accept(&mut agent, &ring, agents.description()).await;
        let answer = accepted(&mut pbx, &first, None).await;
        agent.request(Method::Ack).await;
        customers.speaks_to(&answer.body);
        agents.speaks_to(&ring.body);
        customers.hears(AGENT_HZ, A_WHILE).await;
        let customer = (first, answer);

        let uri = format!("sip:8002@{}", cheling.sip());
        let asked = call(&mut agent, "8001", &uri, asking.description());
        agent.say(&asked).await;
        let there = pbx.request(Method::Invite).await;
        let on = call(&mut pbx, "8001", &beside, there.body.to_vec());
        pbx.say(&on).await;
        let rung = colleague.request(Method::Invite).await;
        accept(&mut colleague, &rung, colleagues.description()).await;
        let reached = accepted(&mut pbx, &on, None).await;
        colleague.request(Method::Ack).await;
        accept(&mut pbx, &there, reached.body.to_vec()).await;
        let answer = accepted(&mut agent, &asked, None).await;
        pbx.request(Method::Ack).await;
        asking.speaks_to(&answer.body);
        colleagues.speaks_to(&rung.body);
        asking.hears(COLLEAGUE_HZ, A_WHILE).await;
        colleagues.hears(AGENT_HZ, A_WHILE).await;
        let voices = [customers, agents, asking, colleagues];
        let (asked, on) = ((asked, answer), (on, reached));
        Self { cheling, pbx, agent, colleague, customer, ring, asked, on, voices }
    }

    /// The phone hands the customer on to whom it has asked, by a REFER in either of its two calls,
    /// and everybody does what follows until the two hear each other.
    async fn hand_over(&mut self, is_in_consultation: bool) {
        let (asked, answer) = &self.asked;
        let to = |uri: &Uri, call_id: &str, own: &str, theirs: &str| {
            let (call_id, local_tag, remote_tag) = (call_id.into(), own.into(), theirs.into());
            refer::attended(uri.clone(), &DialogId { call_id, local_tag, remote_tag }).to_string()
        };
        let (ring, own) = (&self.ring.headers, format!("t{}", self.agent.local().port()));
        let customer = (ring.call_id().unwrap(), ring.from().unwrap());
        let consulted = (asked.headers.call_id().unwrap(), answer.headers.to().unwrap());
        let (mut refer, refer_to) = if is_in_consultation {
            let theirs = customer.1.tag().unwrap();
            let refer_to = to(&customer.1.uri, &customer.0, &own, theirs);
            (self.agent.within_dialog(asked, answer, Method::Refer, 2), refer_to)
        } else {
            let own = asked.headers.from().unwrap().tag().unwrap().to_owned();
            let refer_to = to(&consulted.1.uri, &consulted.0, &own, consulted.1.tag().unwrap());
            (self.agent.within_dialog_of(&self.ring, Method::Refer, 1), refer_to)
        };
        refer.headers.push(Name::Contact, self.agent.contact("8001", ""));
        refer.headers.push(Name::ReferTo, refer_to);
        assert_eq!(self.agent.ask(refer, "").await.1.status, 202);
        let Self { pbx, agent, colleague, customer, on, voices, .. } = self;
        let [customers, _, _, colleagues] = voices;
        let call_id = customer.0.headers.call_id().unwrap().into_owned();
        let descriptions = (customers.description(), colleagues.description());
        let talk = async {
            customers.hears(COLLEAGUE_HZ, A_WHILE).await;
            colleagues.hears(CUSTOMER_HZ, A_WHILE).await;
        };
        let released = async {
            loop {
                let request = agent.any_request().await;
                agent.answer(&request, 200, |_| {}).await;
            }
        };
        tokio::select! {
            () = talk => {}
            () = bridge(pbx, colleague, on, (&call_id, descriptions)) => {}
            () = released => {}
        }
    }
}

/// The telephone system brings the offers across that a transfer needs, for ever.
async fn bridge(
    pbx: &mut Wire,
    colleague: &mut Wire,
    (invite, answer): &(Request, Response),
    (customer, (customers, colleagues)): (&str, (String, String)),
) {
    let mut cseq = 1;
    loop {
        let request = pbx.any_request().await;
        match request.method {
            Method::Ack => {}
            Method::Invite if request.headers.call_id().unwrap() == customer => {
                accept(pbx, &request, customers.clone()).await;
            }
            Method::Invite => {
                cseq += 1;
                let mut passed = pbx.within_dialog(invite, answer, Method::Invite, cseq);
                passed.headers.push(Name::Contact, pbx.contact("pbx", ""));
                passed.set_body("application/sdp", request.body.clone());
                pbx.say(&passed).await;
                let moved = colleague.request(Method::Invite).await;
                accept(colleague, &moved, colleagues.clone()).await;
                let moved = accepted(pbx, &passed, Some(answer)).await;
                accept(pbx, &request, moved.body.to_vec()).await;
            }
            _ => pbx.answer(&request, 200, |_| {}).await,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transfer_after_consultation_keeps_the_customers_lane_and_names_who_talks_now() {
    for is_in_consultation in [false, true] {
        let mut house = Consultation::begin().await;
        let mut desk = house.cheling.desk("agent8002").await;
        house.hand_over(is_in_consultation).await;
        // Its card is the customer's now.
        while desk.next_of("call.offered").await.event["card"]["number"] != CUSTOMER {}
        let Consultation {
            cheling, mut pbx, customer: (invite, answer), mut colleague, on, ..
        } = house;
        let bye = pbx.within_dialog(&invite, &answer, Method::Bye, 2);
        assert_eq!(pbx.ask(bye, "").await.1.status, 200);
        // The consultation's far end is part of the call, and ends with it.
        let bye = pbx.request(Method::Bye).await;
        pbx.answer(&bye, 200, |_| {}).await;
        let bye = pbx.within_dialog(&on.0, &on.1, Method::Bye, 9);
        assert_eq!(pbx.ask(bye, "").await.1.status, 200);
        let bye = colleague.request(Method::Bye).await;
        colleague.answer(&bye, 200, |_| {}).await;

        let calls = calls(&cheling, 2).await;
        let of = |direction: &str| calls.iter().find(|it| it["direction"] == direction).unwrap();
        let customers = of("inbound");
        assert_eq!(customers["number"], CUSTOMER, "{is_in_consultation} {calls:#?}");
        assert_eq!(customers["extension"], "8002", "{is_in_consultation} {customers}");
        let heard = recording(&cheling, customers).await;
        assert_lane(&heard, LEFT, &[CUSTOMER_HZ], &[AGENT_HZ, COLLEAGUE_HZ]);
        assert_lane(&heard, RIGHT, &[AGENT_HZ, COLLEAGUE_HZ], &[CUSTOMER_HZ]);
        // The consultation is a recording of its own, in which the customer is not.
        let heard = recording(&cheling, of("internal")).await;
        assert_lane(&heard, LEFT, &[AGENT_HZ], &[CUSTOMER_HZ, COLLEAGUE_HZ]);
        assert_lane(&heard, RIGHT, &[COLLEAGUE_HZ], &[CUSTOMER_HZ, AGENT_HZ]);
        cheling.check().await;
    }
}
