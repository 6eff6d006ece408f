//! Transfers and pick-ups before a telephone system that stays: dialogs of its own, which only it can
//! find again.
#![allow(clippy::unwrap_used)]

use cheling_model::directory::{Trunk, TrunkRole};
use cheling_sip::{Flow, Method, Name, Request};

mod hand;
mod world;

use hand::pbx::{PBX, incoming, invite, ok, pbx, registered, story};
use hand::{Bench, PHONE, address, udp};

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
