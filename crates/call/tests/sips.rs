//! `sips:`: a call that wants TLS everywhere is never sent in the clear, and says so in its own
//! addresses (RFC 3261 §8.1.1.8, §12.1.1, RFC 5630).
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use cheling_call::io::Settings;
use cheling_sip::{Flow, Method, Name, NameAddr, Request, Response, Transport};

mod hand;
mod world;

use hand::{Bench, address, sdp};

/// A phone's connection.
#[derive(Clone, Copy)]
struct Phone {
    number: &'static str,
    at: &'static str,
    flow: Flow,
}

fn phone(number: &'static str, at: &'static str, transport: Transport) -> Phone {
    let (local, connection) = match transport {
        Transport::Udp => (world::SWITCH, None),
        _ => ("192.0.2.1:5061", Some(number.parse().unwrap())),
    };
    let flow = Flow { transport, local: address(local), remote: address(at), connection };
    Phone { number, at, flow }
}

impl Phone {
    fn request(&self, method: Method, uri: &str, cseq: u32) -> Request {
        let own = NameAddr::parse(&format!("<sip:{}@192.0.2.1>", self.number)).unwrap();
        let to = match method {
            Method::Register => own.clone(),
            _ => NameAddr::parse(&format!("<{uri}>")).unwrap(),
        };
        let uri = cheling_sip::Uri::parse(uri).unwrap();
        let (from, call_id) = (own.with_tag("p"), format!("{}-{method}", self.number));
        let mut request = Request::outside_dialog(method, uri, &from, &to, &call_id, cseq);
        let (number, at, transport) = (self.number, self.at, self.flow.transport);
        let branch = format!("z9hG4bK{call_id}{cseq}");
        request.headers.push(Name::Via, format!("SIP/2.0/{transport} {at};branch={branch}"));
        request.headers.push(Name::Contact, format!("<sip:{number}@{at};transport=tls>"));
        request
    }

    /// Says it twice: first unproved, then proved.
    fn asks(&self, bench: &mut Bench, request: impl Fn(u32) -> Request) -> Vec<Response> {
        bench.responses.clear();
        let challenged = bench.say(self.flow, &request(1));
        bench.responses = challenged;
        let mut proved = request(2);
        bench.prove(&mut proved, self.number, "secret");
        bench.say(self.flow, &proved)
    }

    fn registers(&self, bench: &mut Bench) {
        let answers =
            self.asks(bench, |cseq| self.request(Method::Register, "sip:192.0.2.1", cseq));
        assert_eq!(answers.last().unwrap().status, 200);
    }

    fn calls(&self, bench: &mut Bench, uri: &str) -> Vec<Response> {
        self.asks(bench, |cseq| {
            let mut invite = self.request(Method::Invite, uri, cseq);
            invite.set_body("application/sdp", sdp(self.at).to_bytes());
            invite
        })
    }
}

/// 8001 and 8002 by TLS, 8003 by UDP.
fn house() -> (Bench, [Phone; 3]) {
    let mut bench = Bench::with(Settings { trunks: Vec::new(), ..world::settings(3) });
    let phones = [
        phone("8001", "192.0.2.11:40001", Transport::Tls),
        phone("8002", "192.0.2.12:40002", Transport::Tls),
        phone("8003", "192.0.2.13:5060", Transport::Udp),
    ];
    phones.iter().for_each(|phone| phone.registers(&mut bench));
    (bench, phones)
}

fn contact(headers: &cheling_sip::Headers) -> String {
    headers.contact().unwrap().uri.to_string()
}

#[test]
fn our_contact_is_sips_where_the_call_is() {
    for (uri, ours) in [
        ("sips:8002@192.0.2.1", "sips:cheling@192.0.2.1:5061"),
        ("sip:8002@192.0.2.1", "sip:cheling@192.0.2.1:5061;transport=tls"),
    ] {
        let (mut bench, [caller, callee, _]) = house();
        caller.calls(&mut bench, uri);
        let ring = bench.request(Method::Invite);
        assert_eq!(ring.0, callee.flow);
        bench.answer(&ring, 180, |_| {});
        bench.answer(&ring, 200, |response| {
            response.headers.push(Name::Contact, format!("<sip:8002@{}>", callee.at));
            response.set_body("application/sdp", sdp(callee.at).to_bytes());
        });
        let statuses: Vec<_> = bench.responses.iter().map(|it| it.status).collect();
        assert_eq!(statuses, [180, 200], "{uri}");
        for response in &bench.responses {
            assert_eq!(contact(&response.headers), ours, "{uri} {}", response.status);
        }
    }
    // The proxy before us, or the caller's own address, says it as well.
    for (name, value, ours) in [
        (Name::Contact, "<sips:8001@192.0.2.11:40001>", "sips:"),
        (Name::RecordRoute, "<sips:proxy.example;lr>", "sips:"),
        (Name::RecordRoute, "<sip:proxy.example;lr>", "sip:"),
    ] {
        let (mut bench, [caller, ..]) = house();
        let answers = caller.asks(&mut bench, |cseq| {
            let mut invite = caller.request(Method::Invite, "sip:8002@192.0.2.1", cseq);
            invite.headers.set(name, value);
            invite.set_body("application/sdp", sdp(caller.at).to_bytes());
            invite
        });
        assert_eq!(answers.last().unwrap().status, 100);
        let ring = bench.request(Method::Invite);
        bench.answer(&ring, 180, |_| {});
        let ringing = bench.responses.last().unwrap();
        assert!(contact(&ringing.headers).starts_with(ours), "{value}: {ringing:?}");
    }
}

#[test]
fn a_phone_that_is_known_by_a_sips_address_is_called_by_it() {
    let (mut bench, [caller, callee, _]) = house();
    let answers = callee.asks(&mut bench, |cseq| {
        let mut register = callee.request(Method::Register, "sips:192.0.2.1", cseq + 2);
        register.headers.set(Name::Contact, format!("<sips:8002@{}>", callee.at));
        register
    });
    assert_eq!(answers.last().unwrap().status, 200);
    caller.calls(&mut bench, "sip:8002@192.0.2.1");
    let (flow, ring) = bench.request(Method::Invite);
    assert_eq!(flow, callee.flow);
    assert_eq!(ring.uri.to_string(), format!("sips:8002@{}", callee.at));
    assert_eq!(contact(&ring.headers), "sips:cheling@192.0.2.1:5061");
}

#[test]
fn who_is_not_on_tls_is_not_called() {
    let (mut bench, [caller, ..]) = house();
    let answers = caller.calls(&mut bench, "sips:8003@192.0.2.1");
    let refused = answers.last().unwrap();
    assert_eq!(refused.status, 480);
    assert!(refused.headers.get(Name::Warning).unwrap().starts_with("380 "));
    assert!(bench.sent.iter().all(|(_, it)| it.method != Method::Invite), "not in the clear");
}

#[test]
fn a_redirection_does_not_lead_out_of_tls() {
    for (called, contacts, rung) in [
        ("sip:8002@192.0.2.1", &["<sip:8003@192.0.2.1>"][..], Some("192.0.2.13:5060")),
        // A number alone, then a phone that is not on TLS, then back to one that is.
        ("sips:8002@192.0.2.1", &["<sip:8001@192.0.2.1>"], None),
        ("sips:8002@192.0.2.1", &["<sips:8003@192.0.2.1>"], None),
        (
            "sips:8002@192.0.2.1",
            &["<sip:8003@192.0.2.1>", "<sips:8004@192.0.2.1>", "<sips:8001@192.0.2.1>"],
            None,
        ),
        ("sips:8002@192.0.2.1", &["<sips:8001@192.0.2.1>"], Some("192.0.2.11:40001")),
    ] {
        let (mut bench, [caller, ..]) = house();
        caller.calls(&mut bench, called);
        let ring = bench.request(Method::Invite);
        bench.answer(&ring, 302, |response| {
            contacts.iter().for_each(|it| response.headers.push(Name::Contact, it));
        });
        let next = bench.sent.iter().find(|(_, it)| it.method == Method::Invite);
        let next = next.map(|(flow, _)| flow.remote.to_string());
        assert_eq!(next.as_deref(), rung, "{called} {contacts:?}");
        if rung.is_none() {
            assert!(bench.responses.last().unwrap().status >= 300, "{called} {contacts:?}");
        }
    }
}
