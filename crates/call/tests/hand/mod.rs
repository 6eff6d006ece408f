//! A switch, and everybody else's side of the wire by hand.
#![allow(dead_code, clippy::disallowed_methods)] // Each test uses a part; an instant to count from.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cheling_call::Switch;
use cheling_call::io::{Input, Output, Settings};
use cheling_call::outward::RegistrationStatus;
use cheling_model::directory::Trunk;
use cheling_model::{Now, TapKind, Timestamp};
use cheling_sip::digest::{Algorithm, Challenge, ha1};
use cheling_sip::sdp::{LocalMedia, Origin, Sdp, rewrite::basic_formats};
use cheling_sip::{Flow, Message, Method, Name, NameAddr, Request, Response, Uri};

use crate::world;

pub mod pbx;

pub const PHONE: &str = "192.0.2.11:5060";

pub fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// The way between the switch and this address.
pub fn udp(remote: &str) -> Flow {
    Flow::udp(address(world::SWITCH), address(remote))
}

/// See the module.
pub struct Bench {
    pub switch: Switch,
    pub now: Now,
    /// What the switch sent and nobody has looked at.
    pub sent: Vec<(Flow, Request)>,
    pub responses: Vec<Response>,
    pub taps: Vec<TapKind>,
    pub pings: usize,
    seen: HashSet<String>,
}

impl Bench {
    pub fn start(trunks: Vec<Trunk>) -> Self {
        Self::with(Settings { trunks, ..world::settings(3) })
    }

    pub fn with(settings: Settings) -> Self {
        let wall = Timestamp::from_micros(1_700_000_000_000_000);
        let now = Now { monotonic: Instant::now(), wall };
        let switch = Switch::new(now, settings, Arc::new(world::directory()));
        let mut bench = Self {
            switch,
            now,
            sent: Vec::new(),
            responses: Vec::new(),
            taps: Vec::new(),
            pings: 0,
            seen: HashSet::new(),
        };
        bench.feed(Input::Timeout);
        bench
    }

    pub fn feed(&mut self, input: Input<'_>) {
        self.switch.handle(self.now, input);
        while let Some(output) = self.switch.poll() {
            match output {
                Output::Send { bytes, .. } if bytes[..] == *b"\r\n\r\n" => self.pings += 1,
                Output::Send { flow, bytes } => match Message::parse(&bytes).unwrap() {
                    Message::Request(request) => {
                        let via = request.headers.via().unwrap();
                        // What is merely repeated is not looked at twice.
                        if self.seen.insert(format!("{} {via}", request.method)) {
                            self.sent.push((flow, request));
                        }
                    }
                    Message::Response(response) => self.responses.push(response),
                },
                Output::OpenRelay { call_id } => {
                    let local = [address("192.0.2.1:30000"), address("192.0.2.1:30002")];
                    self.feed(Input::RelayOpened { call_id, local });
                }
                Output::CloseRelay { call_id } => {
                    let (received_packets, tap_dropped_packets) = ([0; 2], [0; 2]);
                    self.feed(Input::RelayClosed {
                        call_id,
                        received_packets,
                        tap_dropped_packets,
                    });
                }
                Output::Tap(event) => self.taps.push(event.kind),
                _ => {}
            }
        }
    }

    pub fn run(&mut self, time: Duration) {
        let end = self.now.monotonic + time;
        while let Some(at) = self.switch.next_timeout().filter(|at| *at <= end) {
            self.go_to(at);
            self.feed(Input::Timeout);
        }
        self.go_to(end);
    }

    pub fn go_to(&mut self, to: Instant) {
        let by = to.saturating_duration_since(self.now.monotonic);
        self.now = Now { monotonic: self.now.monotonic + by, wall: self.now.wall + by };
    }

    /// The only request that waits to be looked at.
    pub fn request(&mut self, method: Method) -> (Flow, Request) {
        let at = self.sent.iter().position(|(_, request)| request.method == method);
        let Some(at) = at else { panic!("no {method} among {:?}", self.sent) };
        self.sent.remove(at)
    }

    pub fn answer(
        &mut self,
        (flow, request): &(Flow, Request),
        status: u16,
        fill: impl FnOnce(&mut Response),
    ) {
        let mut response = Response::to(request, status, "", Some("far"));
        fill(&mut response);
        let bytes = response.to_bytes();
        self.feed(Input::Message { flow: *flow, bytes: &bytes });
    }

    pub fn challenge(&mut self, asked: &(Flow, Request), nonce: &str, is_stale: bool) {
        let (status, name) = match asked.1.method {
            Method::Register => (401, Name::WwwAuthenticate),
            _ => (407, Name::ProxyAuthenticate),
        };
        let challenge = Challenge::new("ims.example", nonce, Algorithm::Sha256, is_stale);
        self.answer(asked, status, |response| response.headers.push(name, challenge));
    }

    pub fn grant(&mut self, asked: &(Flow, Request), seconds: u32) {
        let contact = asked.1.headers.contact().unwrap();
        self.answer(asked, 200, |response| {
            response.headers.push(Name::Contact, format!("<{}>;expires={seconds}", contact.uri));
        });
    }

    /// Registers, past a challenge; the Contact.
    pub fn registered(&mut self, seconds: u32) -> Uri {
        let first = self.request(Method::Register);
        self.challenge(&first, "n1", false);
        let second = self.request(Method::Register);
        self.grant(&second, seconds);
        assert!(self.status().is_registered);
        second.1.headers.contact().unwrap().uri
    }

    pub fn status(&self) -> RegistrationStatus {
        self.switch.trunks()[0].registration.clone().unwrap()
    }

    /// Phone 8001 registers with us; the way to it.
    pub fn phone(&mut self) -> Flow {
        let flow = Flow::udp(address(world::SWITCH), address(PHONE));
        let aor = NameAddr::parse("<sip:8001@192.0.2.1>").unwrap();
        let uri = Uri::sip(None, "192.0.2.1", None);
        for round in 1..=2 {
            let from = aor.clone().with_tag("p");
            let mut request =
                Request::outside_dialog(Method::Register, uri.clone(), &from, &aor, "reg", round);
            request.headers.push(Name::Via, format!("SIP/2.0/UDP {PHONE};branch=z9hG4bKr{round}"));
            request.headers.push(Name::Contact, format!("<sip:8001@{PHONE}>"));
            self.prove(&mut request, "8001", "secret");
            let bytes = request.to_bytes();
            self.feed(Input::Message { flow, bytes: &bytes });
        }
        assert_eq!(self.switch.registrations().len(), 1);
        self.responses.clear();
        flow
    }

    /// Has the switch receive a request; what it answered at once.
    pub fn say(&mut self, flow: Flow, request: &Request) -> Vec<Response> {
        self.responses.clear();
        let bytes = request.to_bytes();
        self.feed(Input::Message { flow, bytes: &bytes });
        std::mem::take(&mut self.responses)
    }

    /// Answers the last challenge of the switch, if there was one.
    pub fn prove(&mut self, request: &mut Request, user: &str, password: &str) {
        let Some(response) = self.responses.last() else { return };
        for (asked, answer) in [
            (Name::WwwAuthenticate, Name::Authorization),
            (Name::ProxyAuthenticate, Name::ProxyAuthorization),
        ] {
            let Some(value) = response.headers.get(asked) else { continue };
            let challenge = Challenge::parse(&value).unwrap();
            let key = ha1(challenge.algorithm, user, &challenge.realm, password);
            let (method, uri) = (request.method.to_string(), request.uri.to_string());
            request.headers.push(answer, challenge.answer(user, &key, &method, &uri, "c", 1));
        }
    }

    /// 8001 calls out; its INVITE.
    pub fn dial(&mut self, flow: Flow, number: &str) -> Request {
        let from = NameAddr::parse("<sip:8001@192.0.2.1>;tag=p").unwrap();
        let uri = Uri::sip(Some(number), "192.0.2.1", None);
        let to = NameAddr::new(uri.clone());
        for round in 1..=2 {
            let mut request =
                Request::outside_dialog(Method::Invite, uri.clone(), &from, &to, "call", round);
            request.headers.push(Name::Via, format!("SIP/2.0/UDP {PHONE};branch=z9hG4bKi{round}"));
            request.headers.push(Name::Contact, format!("<sip:8001@{PHONE}>"));
            request.set_body("application/sdp", sdp(PHONE).to_bytes());
            self.prove(&mut request, "8001", "secret");
            let bytes = request.to_bytes();
            self.feed(Input::Message { flow, bytes: &bytes });
            if round == 2 {
                return request;
            }
        }
        unreachable!()
    }
}

pub fn sdp(of: &str) -> Sdp {
    let ip = address(of).ip();
    let local = LocalMedia { address: ip, rtp_port: 4000, rtcp_port: 4001 };
    Sdp::offer(&Origin::new(7, ip), local, &basic_formats())
}
