//! A telephone system by hand, and the phone 8001 that registers at it through us.

use cheling_model::TapKind;
use cheling_model::directory::{Trunk, TrunkRole};
use cheling_sip::{Flow, Method, Name, NameAddr, Request, Uri};

use super::{Bench, PHONE, address, sdp, udp};

pub const PBX: &str = "198.51.100.9:5060";

pub fn pbx() -> Trunk {
    Trunk {
        role: TrunkRole::Pbx,
        host: "pbx.example".into(),
        port: None,
        ..Trunk::at("pbx", address(PBX))
    }
}

pub fn request(
    method: Method,
    uri: &str,
    from: &str,
    to: &str,
    call_id: &str,
    cseq: u32,
) -> Request {
    let from = NameAddr::parse(&format!("<{from}>")).unwrap().with_tag("p");
    let to = NameAddr::parse(&format!("<{to}>")).unwrap();
    let uri = Uri::parse(uri).unwrap();
    let branch = format!("z9hG4bK{method}{call_id}{cseq}");
    let mut request = Request::outside_dialog(method, uri, &from, &to, call_id, cseq);
    request.headers.push(Name::Via, format!("SIP/2.0/UDP {PHONE};branch={branch};rport"));
    request.headers.push(Name::Contact, "<sip:8001-x@10.9.9.9:5060>");
    request
}

pub fn register(cseq: u32) -> Request {
    let aor = "sip:8001@192.0.2.1";
    let mut register = request(Method::Register, "sip:192.0.2.1", aor, aor, "reg", cseq);
    register.headers.push(Name::Expires, 3600);
    register
}

/// 8001 registers through us; the Contact that the telephone system has got.
pub fn registered(bench: &mut Bench) -> String {
    bench.say(udp(PHONE), &register(1));
    let asked = bench.request(Method::Register);
    let contact = asked.1.headers.contact().unwrap().uri.to_string();
    bench.grant(&asked, 3600);
    assert_eq!(bench.responses.pop().unwrap().status, 200);
    contact
}

pub fn invite(cseq: u32, number: &str) -> Request {
    let uri = format!("sip:{number}@192.0.2.1");
    let mut invite = request(Method::Invite, &uri, "sip:8001@192.0.2.1", &uri, "call", cseq);
    invite.set_body("application/sdp", sdp(PHONE).to_bytes());
    invite
}

/// A call of somebody behind a trunk, to this Request-URI.
pub fn incoming(uri: &str, to: &str, from: &str) -> Request {
    let mut invite = request(Method::Invite, uri, from, to, &format!("in-{from}"), 1);
    invite.headers.set(Name::Contact, format!("<sip:x@{PBX}>"));
    invite.set_body("application/sdp", sdp(PBX).to_bytes());
    invite
}

pub fn ok(bench: &mut Bench, asked: &(Flow, Request), from: &str, identity: Option<&str>) {
    bench.answer(asked, 200, |response| {
        response.headers.push(Name::Contact, format!("<sip:far@{from}>"));
        if let Some(identity) = identity {
            response.headers.push(Name::PAssertedIdentity, format!("<sip:{identity}@pbx>"));
        }
        response.set_body("application/sdp", sdp(from).to_bytes());
    });
}

pub fn story(bench: &Bench) -> Vec<String> {
    let tell = |kind: &TapKind| match kind {
        TapKind::Offered(offer) => Some(format!(
            "offered {:?} {}>{} {}",
            offer.direction,
            offer.caller.number,
            offer.called,
            offer.extension.as_deref().unwrap_or("-")
        )),
        TapKind::Ringing { extension, .. } => Some(format!("ringing {extension}")),
        TapKind::Withdrawn { extension, why, .. } => Some(format!("withdrawn {extension} {why:?}")),
        TapKind::Answered { extension } => Some(format!("answered {extension}")),
        TapKind::Ended { cause, .. } => Some(format!("ended {cause:?}")),
        _ => None,
    };
    bench.taps.iter().filter_map(tell).collect()
}
