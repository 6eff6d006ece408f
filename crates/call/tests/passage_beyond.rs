//! Transfers and pick-ups before a telephone system that stays: dialogs of its own, which only it can
//! find again.
#![allow(clippy::unwrap_used)]

use cheling_model::directory::{Trunk, TrunkRole};
use cheling_sip::{Flow, Method, Name, NameAddr, Request, Response};

mod hand;
mod world;

use hand::pbx::{PBX, incoming, invite, ok, pbx, registered, story};
use hand::{Bench, PHONE, address, sdp, udp};

/// A customer's call comes by the telephone system for the phone of 8002, which rings; its INVITE
/// there, and the dialog as the telephone system knows it.
fn customer_rings(bench: &mut Bench) -> ((Flow, Request), String) {
    let contact = "sip:8002~uc000020c13c4~@192.0.2.1:5060";
    let call = incoming(contact, "sip:8002@pbx.example", "sip:13812345678@pbx.example");
    bench.say(udp(PBX), &call);
    let ring = bench.request(Method::Invite);
    bench.responses.clear();
    bench.answer(&ring, 180, |_| {});
    let tag = bench.responses.pop().unwrap().headers.to().unwrap().tag().unwrap().to_owned();
    let call_id = call.headers.call_id().unwrap().into_owned();
    (ring, format!("{call_id};to-tag={tag};from-tag=p"))
}

#[test]
fn a_pick_up_of_what_the_telephone_system_has_told_of_goes_there() {
    let mut bench = Bench::start(vec![pbx()]);
    registered(&mut bench);
    let (_, replaces) = customer_rings(&mut bench);
    let mut pick_up = invite(1, "8002");
    pick_up.headers.push(Name::Replaces, &replaces);
    bench.say(udp(PHONE), &pick_up);
    let asked = bench.request(Method::Invite);
    assert_eq!(asked.0.remote, address(PBX));
    assert_eq!(asked.1.uri.to_string(), "sip:8002@pbx.example");
    assert_eq!(asked.1.headers.get(Name::Replaces).unwrap(), replaces, "its own dialog, untouched");
    assert!(asked.1.headers.require().contains(&"replaces".to_owned()));
    ok(&mut bench, &asked, PBX, None);
    // It is the customer's call that 8001 has now.
    let want = [
        "offered Inbound 13812345678>8002 -",
        "ringing 8002",
        "offered Inbound 13812345678>8002 8001",
        "ringing 8001",
        "answered 8001",
    ];
    assert_eq!(story(&bench), want);
}

#[test]
fn a_dialog_that_nobody_knows_here_is_the_telephone_systems_to_find() {
    let mut bench = Bench::start(vec![pbx()]);
    registered(&mut bench);
    let mut pick_up = invite(1, "8007");
    pick_up.headers.push(Name::Replaces, "far;to-tag=a;from-tag=b");
    bench.say(udp(PHONE), &pick_up);
    let asked = bench.request(Method::Invite);
    assert_eq!(asked.1.headers.get(Name::Replaces).unwrap(), "far;to-tag=a;from-tag=b");
    ok(&mut bench, &asked, PBX, None);
    assert_eq!(story(&bench)[0], "offered Internal 8001>8007 8001");
    // Without a telephone system there is nobody to ask.
    let mut alone = Bench::start(vec![Trunk { role: TrunkRole::Trunk, ..pbx() }]);
    let mut call = incoming("sip:61234567@192.0.2.1", "sip:1@192.0.2.1", "sip:139@pbx.example");
    call.headers.push(Name::Replaces, "far;to-tag=a;from-tag=b");
    let answers = alone.say(udp(PBX), &call);
    assert_eq!(answers.last().unwrap().status, 481);
}

/// What the phone of 8001 sends within the dialog that its call has made.
fn within(invite: &Request, tag: &str, method: Method, cseq: u32) -> Request {
    let (uri, to) = (invite.uri.clone(), invite.headers.to().unwrap().with_tag(tag));
    let from = invite.headers.from().unwrap();
    let call_id = invite.headers.call_id().unwrap();
    let mut request = Request::outside_dialog(method, uri, &from, &to, &call_id, cseq);
    request.headers.push(Name::Via, format!("SIP/2.0/UDP {PHONE};branch=z9hG4bKwithin{cseq}"));
    request.headers.push(Name::Contact, "<sip:8001-x@10.9.9.9:5060>");
    request
}

#[test]
fn a_transfer_to_a_dialog_of_the_telephone_system_replaces_it_there() {
    let mut bench = Bench::start(vec![pbx()]);
    registered(&mut bench);
    let invite = invite(1, "13812345678");
    bench.say(udp(PHONE), &invite);
    let asked = bench.request(Method::Invite);
    bench.responses.clear();
    ok(&mut bench, &asked, PBX, None);
    let accepted = bench.responses.iter().find(|it| it.status == 200).unwrap();
    let tag = accepted.headers.to().unwrap().tag().unwrap().to_owned();
    bench.say(udp(PHONE), &within(&invite, &tag, Method::Ack, 1));
    let mut refer = within(&invite, &tag, Method::Refer, 2);
    let target = "<sip:8007@192.0.2.1?Replaces=far%3Bto-tag%3Da%3Bfrom-tag%3Db>";
    refer.headers.push(Name::ReferTo, target);
    bench.sent.clear();
    let answers = bench.say(udp(PHONE), &refer);
    assert_eq!(answers.last().unwrap().status, 202);
    let asked = bench.request(Method::Invite);
    assert_eq!(asked.0.remote, address(PBX));
    assert_eq!(asked.1.headers.get(Name::Replaces).unwrap(), "far;to-tag=a;from-tag=b");
    assert_eq!(asked.1.uri.user(), Some("8007"));
}

/// A call of the telephone system's that the phone of 8001 has answered.
struct Answered {
    bench: Bench,
    /// The INVITE as it came to us, and our answer to it.
    call: Request,
    to: NameAddr,
    /// The INVITE as it came to the phone.
    ring: (Flow, Request),
}

/// A customer of the telephone system talks to 8001, whose phone allows this.
fn customer_talks(allow: &str) -> Answered {
    let mut bench = Bench::start(vec![pbx()]);
    let contact = registered(&mut bench);
    let call = incoming(&contact, "sip:8001@pbx.example", "sip:13812345678@pbx.example");
    bench.say(udp(PBX), &call);
    let ring = bench.request(Method::Invite);
    bench.responses.clear();
    bench.answer(&ring, 200, |response| {
        response.headers.push(Name::Contact, format!("<sip:8001@{PHONE}>"));
        response.headers.push(Name::Allow, allow);
        response.set_body("application/sdp", sdp(PHONE).to_bytes());
    });
    let accepted = bench.responses.iter().find(|it| it.status == 200).unwrap();
    let to = accepted.headers.to().unwrap();
    let mut answered = Answered { bench, call, to, ring };
    answered.pbx_says(Method::Ack, 1, |_| {});
    answered.bench.sent.clear();
    answered
}

impl Answered {
    /// The telephone system says this within its dialog; what it hears at once.
    fn pbx_says(
        &mut self,
        method: Method,
        cseq: u32,
        fill: impl FnOnce(&mut Request),
    ) -> Vec<Response> {
        let from = self.call.headers.from().unwrap();
        let call_id = self.call.headers.call_id().unwrap();
        let uri = self.call.uri.clone();
        let mut request = Request::outside_dialog(method, uri, &from, &self.to, &call_id, cseq);
        request.headers.push(Name::Via, format!("SIP/2.0/UDP {PBX};branch=z9hG4bKpbx{cseq}"));
        request.headers.push(Name::Contact, format!("<sip:x@{PBX}>"));
        fill(&mut request);
        self.bench.say(udp(PBX), &request)
    }

    /// It hands its call on to this address.
    fn refers(&mut self, cseq: u32, to: &str) -> Vec<Response> {
        self.pbx_says(Method::Refer, cseq, |refer| {
            refer.headers.push(Name::ReferTo, to);
            refer.headers.push(Name::ReferredBy, "<sip:8002@pbx.example>");
        })
    }

    /// The phone tells how it gets on; what it hears at once.
    fn notifies(&mut self, cseq: u32, event: &str, state: &str) -> Vec<Response> {
        let ring = &self.ring.1.headers;
        let (from, to) = (ring.to().unwrap().with_tag("far"), ring.from().unwrap());
        let (uri, call_id) = (ring.contact().unwrap().uri, ring.call_id().unwrap());
        let mut notify = Request::outside_dialog(Method::Notify, uri, &from, &to, &call_id, cseq);
        notify.headers.push(Name::Via, format!("SIP/2.0/UDP {PHONE};branch=z9hG4bKphone{cseq}"));
        notify.headers.push(Name::Contact, format!("<sip:8001@{PHONE}>"));
        notify.headers.push(Name::Event, event);
        notify.headers.push(Name::SubscriptionState, state);
        notify.set_body("message/sipfrag", "SIP/2.0 100 Trying\r\n");
        self.bench.say(udp(PHONE), &notify)
    }
}

#[test]
fn a_refer_of_the_telephone_system_reaches_the_phone_and_what_it_tells_goes_back() {
    let mut call = customer_talks("INVITE, ACK, BYE, CANCEL, NOTIFY, REFER");
    assert!(
        call.refers(7, "<sip:8003@pbx.example?Replaces=a%3Bto-tag%3Db%3Bfrom-tag%3Dc>").is_empty()
    );
    let refer = call.bench.request(Method::Refer);
    assert_eq!(refer.0.remote, address(PHONE));
    let to = refer.1.headers.get(Name::ReferTo).unwrap().into_owned();
    // By us, or what follows would not be recorded.
    assert_eq!(to, "<sip:8003@192.0.2.1:5060?Replaces=a%3Bto-tag%3Db%3Bfrom-tag%3Dc>");
    assert_eq!(refer.1.headers.get(Name::ReferredBy).unwrap(), "<sip:8002@pbx.example>");
    assert!(refer.1.headers.has(Name::Contact));
    call.bench.responses.clear();
    call.bench.answer(&refer, 202, |_| {});
    assert_eq!(call.bench.responses.pop().unwrap().status, 202);

    // The number of the REFER is another on either side.
    let ours = refer.1.headers.cseq().unwrap().number;
    for (cseq, event, state, want) in [
        (1, "refer".to_owned(), "active;expires=60", "refer"),
        (2, format!("refer;id={ours}"), "active;expires=60", "refer;id=7"),
        (3, format!("refer;id={ours}"), "terminated;reason=noresource", "refer;id=7"),
    ] {
        assert!(call.notifies(cseq, &event, state).is_empty());
        let (flow, notify) = call.bench.request(Method::Notify);
        assert_eq!(flow.remote, address(PBX));
        assert_eq!(notify.headers.get(Name::Event).unwrap(), want);
        assert_eq!(notify.headers.get(Name::SubscriptionState).unwrap(), state);
        assert_eq!(notify.body, "SIP/2.0 100 Trying\r\n");
        // Whoever listens no more says so, and the call goes on.
        let status = if cseq == 2 { 481 } else { 200 };
        call.bench.responses.clear();
        call.bench.answer(&(flow, notify), status, |_| {});
        assert_eq!(call.bench.responses.pop().unwrap().status, status);
    }
    assert_eq!(call.notifies(4, "refer", "active")[0].status, 481, "it is over");
    assert_eq!(call.bench.switch.live_calls(), 1);
    assert_eq!(story(&call.bench).last().unwrap(), "answered 8001");
}

#[test]
fn a_phone_that_does_not_allow_refer_is_not_handed_on() {
    let mut call = customer_talks("INVITE, ACK, BYE, CANCEL");
    assert_eq!(call.refers(2, "<sip:8003@pbx.example>")[0].status, 405);
    assert_eq!(call.notifies(1, "refer", "active")[0].status, 481);
    assert!(call.bench.sent.is_empty());
    // Not more at once than one dialog has use for.
    let mut call = customer_talks("INVITE, ACK, BYE, CANCEL, NOTIFY, REFER");
    let answers: Vec<_> =
        (2..40).flat_map(|cseq| call.refers(cseq, "<sip:8003@pbx.example>")).collect();
    assert_eq!(answers[0].status, 503, "{answers:?}");
    // What the telephone system wants is for a phone alone to follow, and a call is all it can begin.
    let mut call = customer_talks("REFER");
    assert_eq!(call.refers(2, "<sip:8003@pbx.example;method=BYE>")[0].status, 501);
    assert_eq!(call.refers(3, "nothing")[0].status, 400);
}
