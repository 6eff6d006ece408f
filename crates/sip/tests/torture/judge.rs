//! How a message is judged: read, refused with a status, or dropped.

use cheling_sip::screening::Abilities;
use cheling_sip::{Message, Method, Request};

/// How a message is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is read, and this server can do what it asks.
    Valid,
    /// It is answered with this status.
    Refused(u16),
    /// It is dropped without an answer.
    Dropped,
}
pub use Verdict::{Dropped, Refused, Valid};

pub const ABILITIES: Abilities<'static> = Abilities {
    methods: &[
        Method::Invite,
        Method::Ack,
        Method::Bye,
        Method::Cancel,
        Method::Register,
        Method::Options,
        Method::Message,
    ],
    extensions: &["100rel", "timer", "replaces"],
    content_types: &["application/sdp", "multipart/mixed", "text/plain"],
};

pub fn judge(octets: &[u8]) -> Verdict {
    match Message::parse(octets) {
        Err(err) => err.response().map_or(Dropped, |response| Refused(response.status)),
        Ok(Message::Response(_)) => Valid,
        Ok(Message::Request(request)) => match ABILITIES.screen(&request) {
            Err(refusal) => Refused(refusal.response(&request, Some("t")).status),
            Ok(()) => Valid,
        },
    }
}

/// A request with the six fields it needs; a line of `changes` takes the place of the field of its
/// name, or is added. What stands behind an empty line is the body.
pub fn request(start_line: &str, changes: &str) -> String {
    let method = start_line.split_whitespace().next().unwrap_or_default();
    let cseq = format!("CSeq: 5 {method}");
    let fields = [
        "Via: SIP/2.0/UDP 192.0.2.33;branch=z9hG4bKtorture",
        "Max-Forwards: 70",
        "From: <sip:li@dealer.example>;tag=88",
        "To: <sip:wang@dealer.example>",
        "Call-ID: one@dealer.example",
        &cseq,
    ];
    message(start_line, &fields, changes)
}

/// A response in the same way.
pub fn response(start_line: &str, changes: &str) -> String {
    let fields = [
        "Via: SIP/2.0/UDP 192.0.2.33;branch=z9hG4bKtorture",
        "From: <sip:li@dealer.example>;tag=88",
        "To: <sip:wang@dealer.example>;tag=99",
        "Call-ID: one@dealer.example",
        "CSeq: 5 INVITE",
    ];
    message(start_line, &fields, changes)
}

fn message(start_line: &str, fields: &[&str], changes: &str) -> String {
    let (changes, body) = changes.split_once("\n\n").unwrap_or((changes, ""));
    let name = |line: &str| line.split(':').next().unwrap_or_default().trim().to_ascii_lowercase();
    let changed: Vec<String> = changes.lines().map(name).collect();
    let mut lines = vec![start_line];
    lines.extend(fields.iter().filter(|field| !changed.contains(&name(field))));
    lines.extend(changes.lines());
    format!("{}\r\n\r\n{body}", lines.join("\r\n"))
}

pub fn read(text: &str) -> Request {
    match Message::parse(text.as_bytes()) {
        Ok(Message::Request(request)) => request,
        other => panic!("{other:?}: {text}"),
    }
}

pub fn check(cases: &[(&str, String, Verdict)]) {
    for (section, text, want) in cases {
        assert_eq!(judge(text.as_bytes()), *want, "{section}: {text}");
    }
}

pub const INVITE: &str = "INVITE sip:wang@dealer.example SIP/2.0";
pub const OPTIONS: &str = "OPTIONS sip:wang@dealer.example SIP/2.0";
pub const REGISTER: &str = "REGISTER sip:dealer.example SIP/2.0";
