//! Bindings that come, last, move and go.

use super::*;
use cheling_sip::Method;

struct Scene {
    registrar: Registrar,
    now: Now,
    cseq: u32,
}

fn tokens(address: &str) -> Tokens<'_> {
    Tokens { to_tag: "t", address }
}

fn scene() -> Scene {
    #[allow(clippy::disallowed_methods)] // Some instant is needed to count from.
    let monotonic = Instant::now();
    let limits = Duration::from_secs(60)..=Duration::from_secs(3600);
    Scene {
        registrar: Registrar::new(limits, "h".into()),
        now: Now { monotonic, wall: Timestamp::from_micros(1_700_000_000_000_000) },
        cseq: 0,
    }
}

impl Scene {
    fn later(&mut self, seconds: u64) {
        let by = Duration::from_secs(seconds);
        self.now = Now { monotonic: self.now.monotonic + by, wall: self.now.wall + by };
        self.registrar.expire(self.now);
    }

    fn send(
        &mut self,
        call_id: &str,
        remote: &str,
        contact: &str,
        expires: Option<u32>,
    ) -> Result<Vec<String>, RegisterError> {
        self.cseq += 1;
        let address = NameAddr::parse("<sip:8001@h>").unwrap();
        let mut request = Request::outside_dialog(
            Method::Register,
            Uri::sip(None, "h", None),
            &address.clone().with_tag("1"),
            &address,
            call_id,
            self.cseq,
        );
        if !contact.is_empty() {
            request.headers.push(Name::Contact, contact);
        }
        if let Some(expires) = expires {
            request.headers.push(Name::Expires, expires);
        }
        let flow = Flow::udp("192.0.2.1:5060".parse().unwrap(), remote.parse().unwrap());
        let response = self.registrar.register(self.now, "8001", &request, flow, tokens("x"))?;
        assert_eq!(response.status, 200);
        Ok(response.headers.values(Name::Contact))
    }

    fn remotes(&self) -> Vec<String> {
        self.registrar
            .contacts(self.now.monotonic, "8001")
            .map(|binding| binding.flow.remote.to_string())
            .collect()
    }
}

const A: &str = "192.0.2.2:5060";
const B: &str = "192.0.2.3:5060";

#[test]
fn a_binding_lasts_as_long_as_granted_and_is_bound_to_its_flow() {
    let mut scene = scene();
    let contacts = scene.send("a", A, "<sip:8001@10.0.0.9>", Some(120)).unwrap();
    assert_eq!(contacts, ["<sip:8001@10.0.0.9>;expires=120"]);
    assert_eq!(scene.remotes(), [A]);
    scene.later(60);
    let contacts = scene.send("a", A, "", None).unwrap();
    assert_eq!(contacts, ["<sip:8001@10.0.0.9>;expires=60"], "a query changes nothing");
    scene.later(60);
    assert!(scene.remotes().is_empty());
    assert_eq!(scene.registrar.next_timeout(), None);
}

#[test]
fn expiry_comes_from_the_contact_then_the_header_then_the_maximum() {
    for (contact, expires, want) in [
        ("<sip:8001@h>;expires=90", Some(300), 90),
        ("<sip:8001@h>", Some(300), 300),
        ("<sip:8001@h>", None, 3600),
        ("<sip:8001@h>;expires=x", Some(60), 3600),
        ("<sip:8001@h>;expires=99999999", None, 3600),
    ] {
        let contacts = scene().send("a", A, contact, expires).unwrap();
        assert_eq!(contacts, [format!("<sip:8001@h>;expires={want}")], "{contact}");
    }
    let brief = scene().send("a", A, "<sip:8001@h>;expires=59", None);
    assert_eq!(brief, Err(RegisterError::TooBrief { min: Duration::from_secs(60) }));
}

#[test]
fn contacts_are_taken_out_one_by_one_or_all_with_a_star() {
    let mut scene = scene();
    scene.send("a", A, "<sip:8001@a>", None).unwrap();
    assert_eq!(scene.send("b", B, "<sip:8001@b>", None).unwrap().len(), 2);
    assert_eq!(scene.send("a", A, "<sip:8001@a>;expires=0", None).unwrap().len(), 1);
    assert_eq!(scene.send("b", B, "*", None), Err(RegisterError::Star));
    assert_eq!(scene.send("b", B, "*, <sip:8001@b>", Some(0)), Err(RegisterError::Star));
    assert_eq!(scene.send("b", B, "*", Some(0)).unwrap().len(), 0);
    assert!(scene.registrar.registrations(scene.now.monotonic).is_empty());
}

#[test]
fn the_most_wanted_phone_is_first_and_is_told_what_it_said() {
    let mut scene = scene();
    let c = "192.0.2.4:5060";
    for (call_id, remote, q) in [("a", A, ";q=0.5"), ("b", B, ""), ("c", c, ";q=0.125")] {
        let contact = format!("<sip:8001@{remote}>{q}");
        let listed = scene.send(call_id, remote, &contact, None).unwrap();
        let own = listed.iter().find(|it| it.contains(remote)).unwrap();
        assert!(own.contains(q) && own.contains(";q=") != q.is_empty(), "{own}");
    }
    assert_eq!(scene.remotes(), [B, A, c]);
    for (q, is_read) in [("1.0", true), ("0", true), ("1.1", false), ("-0.1", false), ("x", false)]
    {
        let contact = format!("<sip:8001@{A}>;q={q}");
        assert_eq!(scene.send("a", A, &contact, None).is_ok(), is_read, "{q}");
    }
}

#[test]
fn a_restarted_phone_replaces_itself_and_another_phone_stays() {
    let mut scene = scene();
    scene.send("a", A, "<sip:8001-0x1@h>", None).unwrap();
    scene.send("b", B, "<sip:8001-0x2@h>", None).unwrap();
    scene.send("c", A, "<sip:8001-0x3@h>", None).unwrap();
    assert_eq!(scene.remotes(), [A, B]);
    let moved = "<sip:8001@x>;+sip.instance=\"<urn:uuid:1>\"";
    scene.send("d", "192.0.2.4:1", moved, None).unwrap();
    scene.send("e", "192.0.2.5:2", "<sip:8001@y>;+sip.instance=\"<urn:uuid:1>\"", None).unwrap();
    assert_eq!(scene.remotes(), ["192.0.2.5:2", A, B]);
    // What it leaves behind is taken back late, and takes nothing else with it.
    scene.send("d", "192.0.2.4:1", &format!("{moved};expires=0"), None).unwrap();
    assert_eq!(scene.remotes(), ["192.0.2.5:2", A, B]);
    let there = "<sip:8001@y>;+sip.instance=\"<urn:uuid:1>\";expires=0";
    scene.send("e", "192.0.2.5:2", there, None).unwrap();
    assert_eq!(scene.remotes(), [A, B]);
}

#[test]
fn phones_behind_one_proxy_are_told_apart_and_reached_by_its_path() {
    let mut scene = scene();
    let address = NameAddr::parse("<sip:8001@h>").unwrap();
    let flow = Flow::udp("192.0.2.1:5060".parse().unwrap(), A.parse().unwrap());
    for (call_id, contact) in [("a", "<sip:8001@10.0.0.1>"), ("b", "<sip:8001@10.0.0.2>")] {
        let uri = Uri::sip(None, "h", None);
        let from = address.clone().with_tag("1");
        let mut request =
            Request::outside_dialog(Method::Register, uri, &from, &address, call_id, 1);
        request.headers.push(Name::Contact, contact);
        request.headers.push(Name::Path, format!("<sip:{call_id}@edge.example;lr>"));
        request.headers.push(Name::Supported, "path");
        let response =
            scene.registrar.register(scene.now, "8001", &request, flow, tokens("x")).unwrap();
        assert_eq!(response.headers.values(Name::Path).len(), 1);
    }
    let contacts = scene.registrar.contacts(scene.now.monotonic, "8001");
    let paths: Vec<_> = contacts.map(|binding| binding.path[0].to_string()).collect();
    assert_eq!(paths, ["<sip:b@edge.example;lr>", "<sip:a@edge.example;lr>"]);
}

#[test]
fn an_overtaken_register_and_too_many_contacts_change_nothing() {
    let mut scene = scene();
    scene.send("a", A, "<sip:8001@a>", None).unwrap();
    scene.cseq = 0;
    assert_eq!(scene.send("a", A, "<sip:8001@a>;expires=0", None), Err(RegisterError::OutOfOrder));
    let many: Vec<_> = (0..=MAX_CONTACTS).map(|n| format!("<sip:8001@h{n}>")).collect();
    assert_eq!(scene.send("b", B, &many.join(","), None), Err(RegisterError::TooMany));
    assert_eq!(scene.send("b", B, "<tel:8001>", None), Err(RegisterError::Contact));
    assert_eq!(scene.send("b", B, "<sip:8001", None), Err(RegisterError::Contact));
    assert_eq!(scene.remotes(), [A]);
}

/// A REGISTER over TCP from `remote`, with these headers.
fn flow_of(
    scene: &mut Scene,
    (call_id, remote): (&str, &str),
    contact: &str,
    headers: &[(Name, &str)],
) -> Result<Response, RegisterError> {
    scene.cseq += 1;
    let address = NameAddr::parse("<sip:8001@h>").unwrap();
    let (uri, from) = (Uri::sip(None, "h", None), address.clone().with_tag("1"));
    let cseq = scene.cseq;
    let mut request =
        Request::outside_dialog(Method::Register, uri, &from, &address, call_id, cseq);
    request.headers.push(Name::Via, "SIP/2.0/TCP 10.0.0.9;branch=z9hG4bK1");
    request.headers.push(Name::Contact, contact);
    for (name, value) in headers {
        request.headers.push(*name, *value);
    }
    let flow = Flow::udp("192.0.2.1:5060".parse().unwrap(), remote.parse().unwrap());
    let token = format!("a{cseq}");
    scene.registrar.register(scene.now, "8001", &request, flow, tokens(&token))
}

const UUID: &str = "urn:uuid:00000000-0000-1000-8000-000a95a0e128";

fn flow_contact(reg_id: &str) -> String {
    format!("<sip:8001@10.0.0.9;ob>;reg-id={reg_id};+sip.instance=\"<{UUID}>\"")
}

#[test]
fn a_phone_keeps_a_flow_for_each_number_and_is_rung_by_the_newest() {
    let mut scene = scene();
    let outbound = [(Name::Supported, "path, outbound")];
    for (call_id, remote, reg_id) in
        [("a", "192.0.2.2:1", "1"), ("b", "192.0.2.2:2", "2"), ("a", "192.0.2.2:3", "1")]
    {
        let answer =
            flow_of(&mut scene, (call_id, remote), &flow_contact(reg_id), &outbound).unwrap();
        assert_eq!(answer.headers.require(), ["outbound"]);
        assert_eq!(answer.headers.get("Flow-Timer").unwrap(), "120");
        let contacts = answer.headers.values(Name::Contact);
        assert!(contacts[0].contains(&format!("reg-id={reg_id}")), "{contacts:?}");
    }
    // The same flow anew is the same flow; the other stays.
    assert_eq!(scene.remotes(), ["192.0.2.2:3", "192.0.2.2:2"]);
    scene.send("d", B, "<sip:8001@desk>", None).unwrap();
    let now = scene.now.monotonic;
    let of = |list: Vec<(&Binding, Vec<&Binding>)>| {
        let port = |it: &Binding| it.flow.remote.port();
        list.iter()
            .map(|(first, others)| (port(first), others.iter().map(|it| port(it)).collect()))
            .collect::<Vec<(u16, Vec<u16>)>>()
    };
    assert_eq!(of(scene.registrar.phones(now, "8001")), [(5060, vec![]), (3, vec![2])]);
    // One is taken out by its number.
    let gone = format!("{};expires=0", flow_contact("1"));
    flow_of(&mut scene, ("a", "192.0.2.2:3"), &gone, &outbound).unwrap();
    assert_eq!(of(scene.registrar.phones(now, "8001")), [(5060, vec![]), (2, vec![])]);
}

#[test]
fn flows_are_kept_only_for_who_knows_of_them_all_the_way() {
    let path = |ob: &str| format!("<sip:edge.example;lr{ob}>");
    let (edge, old) = (path(";ob"), path(""));
    for (headers, want) in [
        (vec![], Ok(false)),
        (vec![(Name::Supported, "outbound")], Ok(true)),
        (vec![(Name::Supported, "outbound"), (Name::Path, &edge)], Ok(true)),
        (vec![(Name::Supported, "outbound"), (Name::Path, &old)], Err(439)),
        (
            vec![(Name::Supported, "outbound"), (Name::Via, "SIP/2.0/UDP a;branch=z9hG4bK2")],
            Err(439),
        ),
        (vec![(Name::Path, &old)], Ok(false)),
    ] {
        let mut scene = scene();
        let answer = flow_of(&mut scene, ("a", A), &flow_contact("1"), &headers);
        match (answer, want) {
            (Ok(answer), Ok(want)) => {
                assert_eq!(answer.headers.require() == ["outbound"], want, "{headers:?}");
                let binding = scene.registrar.contacts(scene.now.monotonic, "8001").next();
                assert_eq!(binding.unwrap().reg_id.is_some(), want, "{headers:?}");
            }
            (Err(err), Err(want)) => {
                let asked = Request::new(Method::Register, Uri::sip(None, "h", None));
                assert_eq!(err.response(&asked, "t").status, want);
                assert!(scene.remotes().is_empty());
            }
            (answer, want) => panic!("{headers:?}: {answer:?}, not {want:?}"),
        }
    }
    let outbound = [(Name::Supported, "outbound")];
    for (contact, want) in [
        (format!("{}, <sip:8001@b>", flow_contact("1")), RegisterError::FlowAmongOthers),
        (flow_contact("0"), RegisterError::Contact),
        (flow_contact("x"), RegisterError::Contact),
        (flow_contact("4294967295"), RegisterError::Contact),
    ] {
        let answer = flow_of(&mut scene(), ("a", A), &contact, &outbound);
        assert_eq!(answer.unwrap_err(), want, "{contact}");
    }
}

/// The value of a parameter of the one Contact of a response, as a URI.
fn given(response: &Response, name: &str) -> Uri {
    let contact = NameAddr::parse(&response.headers.values(Name::Contact)[0]).unwrap();
    Uri::parse(&contact.params.unquoted(name).unwrap()).unwrap()
}

#[test]
fn a_phone_that_can_be_named_is_given_addresses_of_its_own() {
    let mut scene = scene();
    let gruu = [(Name::Supported, "gruu")];
    let contact = format!("<sip:8001@10.0.0.9>;+sip.instance=\"<{UUID}>\"");
    let mut temporary = Vec::new();
    for _ in 0..10 {
        let answer = flow_of(&mut scene, ("a", A), &contact, &gruu).unwrap();
        let public = given(&answer, "pub-gruu").to_string();
        assert_eq!(public, format!("sip:8001@h;gr={UUID}"));
        temporary.push(given(&answer, "temp-gruu"));
    }
    let phone = Named::Phone { extension: "8001".into(), instance: format!("<{UUID}>") };
    let named = |scene: &Scene, uri: &Uri| scene.registrar.named(scene.now.monotonic, uri);
    let public = Uri::parse(&format!("sip:8001@h;gr={UUID}")).unwrap();
    assert_eq!(named(&scene, &public), phone);
    assert_eq!(named(&scene, &Uri::parse("sip:8001@h").unwrap()), Named::Number("8001".into()));
    // The newest ones are known; nothing in them says whose they are.
    for uri in &temporary[2..] {
        assert_eq!(named(&scene, uri), phone);
        assert!(!uri.to_string().contains("8001"), "{uri}");
    }
    assert_eq!(named(&scene, &temporary[1]), Named::Nobody);
    // A phone that has started anew is given new ones only, and one that is gone has none.
    let answer = flow_of(&mut scene, ("b", A), &contact, &gruu).unwrap();
    assert_eq!(named(&scene, &temporary[9]), Named::Nobody);
    assert_eq!(named(&scene, &given(&answer, "temp-gruu")), phone);
    scene.later(3600);
    assert_eq!(named(&scene, &given(&answer, "temp-gruu")), Named::Nobody);
    // Nobody who cannot use them is told, nor who does not say which device it is.
    for (contact, headers) in [
        (contact.as_str(), &[][..]),
        ("<sip:8001@10.0.0.9>", &gruu[..]),
        ("<sip:8001@10.0.0.9>;+sip.instance=\"<urn:x:\\\"y>\"", &gruu[..]),
    ] {
        let answer = flow_of(&mut scene, ("c", A), contact, headers).unwrap();
        assert!(!answer.headers.values(Name::Contact)[0].contains("gruu"), "{contact}");
    }
}
