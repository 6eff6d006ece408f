//! A scripted phone or gateway on a real transaction layer.

mod incoming;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use cheling_sip::endpoint::Config;
use cheling_sip::refer;
use cheling_sip::reliable::{self, UasOutput};
use cheling_sip::sdp::{
    CONTENT_TYPE, Crypto, Direction, Format, LocalMedia, Origin, Sdp, rewrite::basic_formats,
};
use cheling_sip::{
    ClientId, Dialog, Endpoint, Flow, Method, Name, NameAddr, Request, Response, ServerId, Uri,
};

use super::SWITCH;

/// What a called side does.
#[derive(Clone, Copy, Debug)]
pub enum Manner {
    /// Rings, and answers after this long.
    Answer(Duration),
    /// Rings with early media, and answers after this long.
    EarlyMedia(Duration),
    /// Rings, and refuses after this long.
    Refuse(u16, Duration),
    /// Rings and never answers.
    Ring,
    /// Says nothing at all.
    Dead,
}

/// How a caller acknowledges reliable provisional responses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pracks {
    /// With an answer to the offer, if they bring one.
    Always,
    /// With nothing in it.
    WithoutSdp,
    Never,
}

#[derive(Debug)]
enum Act {
    Answer(ServerId, u16),
}

/// One call of this side.
#[derive(Debug)]
pub struct Leg {
    pub dialog: Option<Dialog>,
    invite: Request,
    client: Option<ClientId>,
    server: Option<ServerId>,
    /// The final status this side got or gave.
    pub status: Option<u16>,
    /// What the other side last said of its media.
    pub heard: Option<Sdp>,
    pub is_over: bool,
    version: u64,
    /// Provisional responses of this side that want a PRACK, and those of the other.
    uas: Option<reliable::Uas>,
    uac: reliable::Uac,
    /// The CSeq number of the last PRACK.
    early: Option<u32>,
    pub early_dialog: Option<Dialog>,
}

pub struct Ua {
    pub number: String,
    pub address: SocketAddr,
    pub endpoint: Endpoint,
    pub manner: Manner,
    pub password: String,
    /// What reached this side, a word each.
    pub log: Vec<String>,
    pub legs: Vec<Leg>,
    /// INVITEs received, whole.
    pub invites: Vec<Request>,
    /// Extra headers of INVITEs sent.
    pub extra: Vec<(&'static str, String)>,
    /// Extra headers of requests within dialogs.
    pub in_dialog: Vec<(&'static str, String)>,
    pub has_late_offer: bool,
    pub acknowledges: bool,
    /// Sends provisional responses reliably to whoever knows how.
    pub is_reliable: bool,
    /// Extra headers of what it refuses with.
    pub final_extra: Vec<(&'static str, String)>,
    /// Refusals that it has had.
    pub refused: Vec<Response>,
    /// Hears nothing for now.
    pub is_deaf: bool,
    /// The formats it knows; offers without any of them are refused with 488.
    pub codecs: Vec<Format>,
    /// What follows its Contact in a REGISTER.
    pub contact_parameters: String,
    /// The last answer to a REGISTER.
    pub registered: Option<Response>,
    /// The one profile that it takes; offers of another are refused with 488.
    pub profile: Option<&'static str>,
    /// What its 302 says.
    pub redirects_to: Option<String>,
    /// Extra headers of its 200 to INVITE, re-INVITE and UPDATE.
    pub answers_with: Vec<(&'static str, String)>,
    /// Extra headers of its provisional responses.
    pub rings_with: Vec<(&'static str, String)>,
    /// UPDATEs received, whole.
    pub updates: Vec<Request>,
    /// Leaves the description out of its 200, having said it in a 183.
    pub answers_without_sdp: bool,
    /// How it acknowledges provisional responses.
    pub pracks: Pracks,
    /// Offers anew in its PRACK, with this direction.
    pub prack_offers: Option<Direction>,
    /// How it refuses the next INVITEs, re-INVITEs and UPDATEs, and a header that goes with it.
    pub refusals: VecDeque<(Method, u16, &'static str, String)>,
    /// Speaks SRTP: the protocol its descriptions name, and what fills its key.
    pub srtp: Option<(&'static str, u8)>,
    acts: Vec<(Instant, Act)>,
    registers: Option<(ClientId, Request)>,
    /// SUBSCRIBE and MESSAGE under way.
    asks: Vec<(ClientId, Request)>,
    /// Subscriptions by what was subscribed to, and the bodies told.
    pub watches: Vec<(String, Dialog)>,
    pub told: Vec<String>,
    /// What NOTIFY is answered with.
    pub notify_status: u16,
    cseq: u32,
    port: u16,
}

impl Ua {
    pub fn new(number: &str, address: &str) -> Self {
        let address: SocketAddr = address.parse().unwrap();
        let mut seed = [0; 32];
        for (to, from) in seed.iter_mut().zip(address.to_string().bytes()) {
            *to = from;
        }
        Self {
            number: number.into(),
            address,
            endpoint: Endpoint::new(Config::default(), seed),
            manner: Manner::Answer(Duration::from_secs(2)),
            password: "secret".into(),
            log: Vec::new(),
            legs: Vec::new(),
            invites: Vec::new(),
            extra: Vec::new(),
            in_dialog: Vec::new(),
            has_late_offer: false,
            acknowledges: true,
            is_reliable: false,
            final_extra: Vec::new(),
            refused: Vec::new(),
            is_deaf: false,
            codecs: basic_formats(),
            profile: None,
            contact_parameters: String::new(),
            registered: None,
            redirects_to: None,
            answers_with: Vec::new(),
            rings_with: Vec::new(),
            updates: Vec::new(),
            answers_without_sdp: false,
            pracks: Pracks::Always,
            prack_offers: None,
            refusals: VecDeque::new(),
            srtp: None,
            acts: Vec::new(),
            registers: None,
            asks: Vec::new(),
            watches: Vec::new(),
            told: Vec::new(),
            notify_status: 200,
            cseq: 0,
            port: 4000,
        }
    }

    fn flow(&self) -> Flow {
        Flow::udp(self.address, SWITCH.parse().unwrap())
    }

    fn contact(&self) -> String {
        format!("<sip:{}@{}>", self.number, self.address)
    }

    pub fn is_idle(&self) -> bool {
        // A dead phone never answers the INVITE it has received.
        if matches!(self.manner, Manner::Dead) {
            return true;
        }
        self.endpoint.transactions() == (0, 0) && self.legs.iter().all(|leg| leg.is_over)
    }

    /// Forgets calls that are over.
    pub fn forget(&mut self) {
        self.legs.retain(|leg| !leg.is_over);
        self.log.clear();
        self.invites.clear();
    }

    pub fn next_timeout(&self) -> Option<Instant> {
        let reliable = self.legs.iter().filter_map(|leg| leg.uas.as_ref()?.next_timeout());
        let acts = self.acts.iter().map(|(at, _)| *at);
        acts.chain(self.endpoint.next_timeout()).chain(reliable).min()
    }

    pub fn leg(&mut self) -> &mut Leg {
        self.legs.last_mut().unwrap()
    }

    /// The final status of the newest call.
    pub fn leg_status(&self) -> Option<u16> {
        self.legs.last().and_then(|leg| leg.status)
    }

    fn sdp(&self, direction: Direction, version: u64) -> Sdp {
        let mut origin = Origin::new(77, self.address.ip());
        origin.version = version;
        let local = LocalMedia {
            address: self.address.ip(),
            rtp_port: self.port,
            rtcp_port: self.port + 1,
        };
        let mut sdp = Sdp::offer(&origin, local, &self.codecs);
        sdp.set_direction(direction);
        if let Some((protocol, fill)) = self.srtp {
            // An answer names the line that it has chosen; in an offer any number will do.
            let suite = "AES_CM_128_HMAC_SHA1_80";
            let heard = self.legs.last().and_then(|leg| leg.heard.as_ref()).map(Sdp::crypto);
            let chosen = heard.into_iter().flatten().find(|crypto| crypto.suite == suite);
            let key_and_salt = vec![fill; 30];
            let tag = chosen.map_or(1, |crypto| crypto.tag);
            let line = Crypto { tag, suite: suite.into(), key_and_salt, mki_bytes: 0 };
            sdp.set_crypto(protocol, &[line]);
        }
        sdp
    }

    /// Speaks these alone, and digits.
    pub fn speaks(&mut self, names: &[&str]) {
        let all = cheling_sip::sdp::rewrite::mixed_formats();
        let is_known =
            |it: &Format| it.is("telephone-event") || names.iter().any(|name| it.is(name));
        self.codecs = all.into_iter().filter(is_known).collect();
    }

    fn knows_any_of(&self, offer: Option<&Sdp>) -> bool {
        let Some(line) = offer.and_then(|offer| offer.audio()) else { return true };
        if self.profile.is_some_and(|profile| line.protocol != profile) {
            return false;
        }
        let is_known = |format: &Format| self.codecs.iter().any(|it| it.is(&format.encoding));
        line.formats.iter().any(|format| !format.is("telephone-event") && is_known(format))
    }

    fn from(&mut self, host: &str) -> NameAddr {
        NameAddr::new(Uri::sip(Some(&self.number), host, None)).with_tag(&self.endpoint.token())
    }

    pub fn register(&mut self, now: Instant, expires: u32) {
        self.cseq += 1;
        let from = self.from("192.0.2.1");
        let to = from.clone().without_tag();
        let call_id = self.endpoint.token();
        let uri = Uri::sip(None, "192.0.2.1", None);
        let mut request =
            Request::outside_dialog(Method::Register, uri, &from, &to, &call_id, self.cseq);
        let contact = format!("{}{}", self.contact(), self.contact_parameters);
        request.headers.push(Name::Contact, contact);
        request.headers.push(Name::Expires, expires);
        for (name, value) in &self.extra {
            request.headers.push(*name, value);
        }
        let flow = self.flow();
        let client = self.endpoint.request(now, flow, request.clone()).unwrap();
        self.registers = Some((client, request));
    }

    /// Sends a request outside of any dialog.
    pub fn ask(&mut self, now: Instant, method: Method, to: &str, fill: impl Fn(&mut Request)) {
        self.cseq += 1;
        let from = self.from("192.0.2.1");
        let uri = Uri::sip(Some(to), "192.0.2.1", None);
        let call_id = self.endpoint.token();
        let address = NameAddr::new(uri.clone());
        let mut request =
            Request::outside_dialog(method, uri, &from, &address, &call_id, self.cseq);
        request.headers.push(Name::Contact, self.contact());
        fill(&mut request);
        let flow = self.flow();
        let client = self.endpoint.request(now, flow, request.clone()).unwrap();
        self.asks.push((client, request));
    }

    pub fn subscribe(&mut self, now: Instant, to: &str, event: &str, expires: u32) {
        self.ask(now, Method::Subscribe, to, |request| {
            request.headers.push(Name::Event, event);
            request.headers.push(Name::Expires, expires);
        });
    }

    /// Subscribes again in the dialog of the first subscription.
    pub fn resubscribe(&mut self, now: Instant, event: &str, expires: u32) {
        let (flow, contact) = (self.flow(), self.contact());
        let mut request = self.watches[0].1.request(Method::Subscribe);
        request.headers.push(Name::Event, event);
        request.headers.push(Name::Expires, expires);
        request.headers.push(Name::Contact, contact);
        self.endpoint.request(now, flow, request).unwrap();
    }

    pub fn call(&mut self, now: Instant, number: &str) {
        self.port = self.port.wrapping_add(10).max(4000);
        self.cseq += 1;
        let from = self.from("192.0.2.1");
        let uri = match number.starts_with("sip:") {
            true => Uri::parse(number).unwrap(),
            false => Uri::sip(Some(number), "192.0.2.1", None),
        };
        let call_id = self.endpoint.token();
        let to = NameAddr::new(uri.clone());
        let mut request =
            Request::outside_dialog(Method::Invite, uri, &from, &to, &call_id, self.cseq);
        request.headers.push(Name::Contact, self.contact());
        for (name, value) in &self.extra {
            if *name == "From" {
                let from = NameAddr::parse(value).unwrap().with_tag(from.tag().unwrap());
                request.headers.set(Name::From, from);
            } else {
                request.headers.push(*name, value);
            }
        }
        if !self.has_late_offer {
            let sdp = self.sdp(Direction::SendRecv, 1);
            request.set_body(CONTENT_TYPE, sdp.to_bytes());
        }
        self.start(now, request);
    }

    fn start(&mut self, now: Instant, invite: Request) {
        let flow = self.flow();
        let client = self.endpoint.request(now, flow, invite.clone()).unwrap();
        self.legs.push(Leg {
            dialog: None,
            invite,
            client: Some(client),
            server: None,
            status: None,
            heard: None,
            is_over: false,
            version: 1,
            uas: None,
            uac: reliable::Uac::default(),
            early: None,
            early_dialog: None,
        });
    }

    pub fn cancel(&mut self, now: Instant) {
        if let Some(client) = self.leg().client {
            self.endpoint.cancel(now, client, None);
        }
    }

    /// Sends a request within the newest dialog that is not over.
    pub fn say(&mut self, now: Instant, method: Method, body: Option<(&str, Vec<u8>)>) -> bool {
        let (flow, contact) = (self.flow(), self.contact());
        let Some(leg) = self.legs.iter_mut().rev().find(|leg| !leg.is_over) else { return false };
        let Some(dialog) = &mut leg.dialog else { return false };
        let mut request = dialog.request(method.clone());
        request.headers.push(Name::Contact, contact);
        for (name, value) in &self.in_dialog {
            request.headers.push(*name, value);
        }
        if let Some((content_type, body)) = body {
            request.set_body(content_type, body);
        }
        let client = self.endpoint.request(now, flow, request.clone()).unwrap();
        match method {
            Method::Bye => leg.is_over = true,
            Method::Invite => {
                leg.client = Some(client);
                leg.invite = request;
            }
            _ => {}
        }
        true
    }

    /// Hands the call on.
    pub fn refer(&mut self, now: Instant, to: &str) {
        let host = if to.contains('@') { "" } else { "@192.0.2.1" };
        self.in_dialog.push(("Refer-To", format!("<sip:{to}{host}>")));
        self.say(now, Method::Refer, None);
        self.in_dialog.pop();
    }

    /// Sends a request without a body before the answer.
    pub fn early(&mut self, now: Instant, method: Method) {
        let (flow, contact) = (self.flow(), self.contact());
        let leg = self.legs.last_mut().unwrap();
        let dialog = leg.early_dialog.as_mut().unwrap();
        let mut request = dialog.request(method);
        leg.early = Some(dialog.local_cseq);
        request.headers.push(Name::Contact, contact);
        for (name, value) in &self.in_dialog {
            request.headers.push(*name, value);
        }
        self.endpoint.request(now, flow, request).unwrap();
    }

    /// Offers anew before the answer, from another port.
    pub fn early_update(&mut self, now: Instant, direction: Direction) {
        self.port += 2;
        let (flow, contact, sdp) = (self.flow(), self.contact(), self.sdp(direction, 2));
        let leg = self.legs.last_mut().unwrap();
        let dialog = leg.early_dialog.as_mut().unwrap();
        let mut request = dialog.request(Method::Update);
        leg.early = Some(dialog.local_cseq);
        request.headers.push(Name::Contact, contact);
        for (name, value) in &self.in_dialog {
            request.headers.push(*name, value);
        }
        request.set_body(CONTENT_TYPE, sdp.to_bytes());
        self.endpoint.request(now, flow, request).unwrap();
    }

    /// Hands the newest call on to whom the one that still rings was to reach.
    pub fn refer_ringing(&mut self, now: Instant, leg: usize, ringing: usize) {
        let (flow, contact) = (self.flow(), self.contact());
        let other = self.legs[ringing].early_dialog.as_ref().unwrap();
        let refer_to = refer::attended(other.remote.uri.clone(), &other.id);
        let mut request = self.legs[leg].dialog.as_mut().unwrap().request(Method::Refer);
        request.headers.push(Name::Contact, contact);
        request.headers.push("Refer-To", refer_to.to_string());
        self.endpoint.request(now, flow, request).unwrap();
    }

    /// Hands on the other side of one leg to the other side of another.
    pub fn refer_attended(&mut self, now: Instant, leg: usize, other: usize) {
        let (flow, contact) = (self.flow(), self.contact());
        let other = self.legs[other].dialog.as_ref().unwrap();
        let refer_to = refer::attended(other.remote.uri.clone(), &other.id);
        let mut request = self.legs[leg].dialog.as_mut().unwrap().request(Method::Refer);
        request.headers.push(Name::Contact, contact);
        request.headers.push("Refer-To", refer_to.to_string());
        self.endpoint.request(now, flow, request).unwrap();
    }

    pub fn hang_up(&mut self, now: Instant) -> bool {
        self.say(now, Method::Bye, None)
    }

    /// The description of the last INVITE sent.
    pub fn last_sdp(&mut self) -> Vec<u8> {
        self.leg().invite.body.to_vec()
    }

    /// A changed description.
    pub fn new_sdp(&mut self, direction: Direction) -> Vec<u8> {
        self.leg().version += 1;
        let version = self.leg().version;
        self.sdp(direction, version).to_bytes().to_vec()
    }

    /// Offers anew with this direction.
    pub fn reinvite(&mut self, now: Instant, direction: Direction) {
        self.leg().version += 1;
        let version = self.leg().version;
        let sdp = self.sdp(direction, version);
        self.say(now, Method::Invite, Some((CONTENT_TYPE, sdp.to_bytes().to_vec())));
    }

    pub fn timeout(&mut self, now: Instant) {
        self.endpoint.handle_timeout(now);
        for leg in &mut self.legs {
            match leg.uas.as_mut().and_then(|uas| uas.handle_timeout(now)) {
                Some(UasOutput::Send(response)) => {
                    self.endpoint.respond(now, leg.server.unwrap(), &response);
                }
                Some(UasOutput::GiveUp) => self.log.push("no PRACK".into()),
                None => {}
            }
        }
        while let Some(at) = self.acts.iter().position(|(due, _)| *due <= now) {
            let (_, Act::Answer(server, status)) = self.acts.remove(at);
            self.answer(now, server, status);
        }
        self.events(now);
    }
}
