//! Towards trunks: our registrations there, the answers to their challenges, and which of their
//! addresses a call takes.
//!
//! Belongs here: what a trunk wants of us before it carries a call. Does not: the call (`b2bua`),
//! where its calls go (`router`), what DNS says (the shell, by [`crate::io::Input::TrunkMoved`]).

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use cheling_model::directory::{Account, Trunk, TrunkAddress, TrunkTransport};
use cheling_model::{Now, Timestamp};
use cheling_sip::endpoint::Way;
use cheling_sip::{ClientId, Endpoint, Flow, Name, NameAddr, Request, Response, Transport};

use crate::io::Settings;
use crate::occupancy::Occupancy;
use crate::random::Random;
use crate::trunks::Trunks;

mod keyring;
mod places;
mod registration;

use keyring::{Judged, Keyring};
use places::Places;
use registration::{Granted, Registration, retry_after};

/// Where SIP over TLS is expected if nothing else is said (RFC 3261 §19.1.2).
const SIPS_PORT: u16 = 5061;
/// Challenges answered for one request of a call.
const MAX_ANSWERS: u8 = 3;

/// How long no TCP is tried for long requests to where it was refused.
const NO_STREAM_FOR: Duration = Duration::from_secs(600);

/// How a trunk is, for the console and for metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrunkStatus {
    /// Its name in the config.
    pub name: String,
    /// Where it is; empty while its name is not resolved.
    pub addresses: Vec<(Transport, SocketAddr)>,
    /// Our registration there; `None` if there is none to be.
    pub registration: Option<RegistrationStatus>,
    /// Whether it answers when asked (OPTIONS); `None` if it has not been asked yet, or never is.
    pub answers: Option<bool>,
    /// Whether it is tried after the others: silent, or it asked for rest.
    pub is_avoided: bool,
    /// Calls on it now, in and out.
    pub calls: u32,
    /// How many it may carry, if that is limited.
    pub max_calls: Option<u32>,
}

/// A registration of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistrationStatus {
    /// Whether the trunk knows us now.
    pub is_registered: bool,
    /// Whether it is being taken back.
    pub is_leaving: bool,
    /// Where, and since when without a break, and until when unless renewed.
    pub granted: Option<(SocketAddr, Timestamp, Timestamp)>,
    /// The last final status to REGISTER; 408 stands for no answer, 503 for no connection too.
    pub last_status: Option<u16>,
}

/// What the machines of this module may use of the core.
pub(crate) struct Desk<'a> {
    pub(crate) now: Now,
    pub(crate) settings: &'a Settings,
    pub(crate) endpoint: &'a mut Endpoint,
    pub(crate) random: &'a mut Random,
    /// Ways to be kept open: an empty line goes along each.
    pub(crate) pings: &'a mut Vec<Flow>,
}

impl Desk<'_> {
    /// A time between nothing and this, by chance.
    fn up_to(&mut self, most: Duration) -> Duration {
        let share = self.random.u64() >> 32;
        most.mul_f64(share as f64 / f64::from(u32::MAX))
    }
}

/// What we know of one trunk beside its settings.
#[derive(Debug, Default)]
struct Link {
    account: Option<Account>,
    keyring: Keyring,
    places: Places,
    /// Where requests that are too long for a datagram could not go by TCP.
    streams: Places,
}

impl Link {
    fn sign(&mut self, request: &mut Request, cnonce: &str) {
        if let Some(account) = &self.account {
            self.keyring.sign(account, request, cnonce);
        }
    }
}

/// A request of a call on its way to a trunk.
#[derive(Debug)]
struct Sent {
    trunk: String,
    way: Way,
    /// Kept only where a challenge could be answered.
    request: Option<Box<Request>>,
    answers: u8,
}

/// What a response to a request of ours is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// A registration's.
    Mine,
    /// A challenge; the request has been sent again with this CSeq.
    Answered {
        /// The new number.
        cseq: u32,
    },
    /// Whoever sent the request has to look at it.
    Passed,
}

/// All trunks.
#[derive(Debug, Default)]
pub(crate) struct Outward {
    links: HashMap<String, Link>,
    registrations: Vec<(String, Registration)>,
    sent: HashMap<ClientId, Sent>,
}

impl Outward {
    /// The trunks of these settings, nothing asked yet.
    pub(crate) fn new(desk: &mut Desk<'_>) -> Self {
        let mut outward = Self::default();
        for trunk in &desk.settings.trunks.clone() {
            let link = Link { account: trunk.account.clone(), ..Link::default() };
            outward.links.insert(trunk.name.clone(), link);
            if let Some(account) = trunk.account.as_ref().filter(|account| account.registers) {
                let registration = Registration::new(desk, trunk, account);
                outward.registrations.push((trunk.name.clone(), registration));
            }
        }
        outward
    }

    /// How all trunks are.
    pub(crate) fn status(
        &self,
        settings: &Settings,
        now: Instant,
        trunks: &Trunks,
        occupancy: &Occupancy,
    ) -> Vec<TrunkStatus> {
        let status = |trunk: &Trunk| TrunkStatus {
            name: trunk.name.clone(),
            answers: trunks.answers(&trunk.name),
            is_avoided: trunks.is_in_trouble(now, &trunk.name),
            calls: occupancy.calls_on(&trunk.name),
            max_calls: trunk.max_calls,
            addresses: trunk
                .addresses
                .iter()
                .map(|it| (transport(it.transport), it.address))
                .collect(),
            registration: self.registration(&trunk.name).map(|registration| RegistrationStatus {
                is_registered: registration.is_registered(now),
                is_leaving: registration.is_leaving(),
                granted: registration
                    .granted
                    .as_ref()
                    .map(|it| (it.place.address, it.since, it.expires_at)),
                last_status: registration.last_status,
            }),
        };
        settings.trunks.iter().map(status).collect()
    }

    /// The trunk that knows us by this user part: a call to it is that trunk's, whichever of the
    /// provider's machines sends it.
    pub(crate) fn trunk_of_contact(&self, user: &str) -> Option<&str> {
        let known = self.registrations.iter().find(|(_, it)| it.token == user);
        known.map(|(name, _)| name.as_str())
    }

    /// What the trunk granted us, if we are registered there.
    fn granted(&self, trunk: &str, now: Instant) -> Option<&Granted> {
        let registration = self.registration(trunk)?;
        registration.granted.as_ref().filter(|_| registration.is_registered(now))
    }

    /// The proxies that calls to this trunk are to pass (RFC 3608).
    pub(crate) fn service_route(&self, trunk: &str, now: Instant) -> Vec<NameAddr> {
        self.granted(trunk, now).map(|granted| granted.service_route.clone()).unwrap_or_default()
    }

    /// The number that the trunk knows us by: what it told, else the account's.
    pub(crate) fn own_number(&self, trunk: &Trunk, now: Instant) -> Option<String> {
        let associated = self.granted(&trunk.name, now).and_then(|it| it.associated.clone());
        associated.or_else(|| trunk.account.as_ref().map(|account| account.user.clone()))
    }

    /// The ways to a trunk, best first.
    pub(crate) fn ways(&self, settings: &Settings, trunk: &Trunk, now: Now) -> Vec<Flow> {
        let Some(link) = self.links.get(&trunk.name) else { return Vec::new() };
        let here = self.granted(&trunk.name, now.monotonic).map(|it| it.place.address);
        // The microsecond of the call is chance enough for sharing by weight.
        let chance = (now.wall.as_micros() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 7;
        let order = link.places.order(now.monotonic, &trunk.addresses, chance, here);
        order.iter().map(|place| flow_to(settings, place)).collect()
    }

    /// A request's way to a trunk along `flow`: by TCP if it is too long for a datagram and the
    /// trunk takes that.
    pub(crate) fn way(&self, settings: &Settings, trunk: &str, flow: Flow, now: Instant) -> Way {
        let stream = || {
            let link = self.links.get(trunk).filter(|_| flow.transport == Transport::Udp)?;
            let trunk = settings.trunks.iter().find(|it| it.name == trunk)?;
            let stream = trunk.addresses.iter().find(|it| it.address == flow.remote)?.stream?;
            let place = TrunkAddress::only(TrunkTransport::Tcp, stream);
            (!link.streams.is_avoided(now, stream)).then(|| flow_to(settings, &place))
        };
        Way { flow, stream: stream() }
    }

    /// Nothing could be sent along `flow`. Where that is the TCP of a trunk, long requests go by
    /// UDP for a while: one that says nothing at all costs each call seconds.
    pub(crate) fn send_failed(&mut self, settings: &Settings, flow: Flow, now: Instant) {
        if flow.transport != Transport::Tcp {
            return;
        }
        let takes = |trunk: &Trunk| trunk.addresses.iter().any(|it| it.stream == Some(flow.remote));
        for trunk in settings.trunks.iter().filter(|trunk| takes(trunk)) {
            if let Some(link) = self.links.get_mut(&trunk.name) {
                let (trunk, to) = (&trunk.name, flow.remote);
                tracing::warn!(%trunk, %to, "no TCP for long requests: they go by UDP for 10 minutes");
                link.streams.failed(now, flow.remote, Some(NO_STREAM_FOR));
            }
        }
    }

    /// When to call [`Self::handle_timeout`].
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.registrations.iter().filter_map(|(_, it)| it.next_timeout()).min()
    }

    /// Does what is due.
    pub(crate) fn handle_timeout(&mut self, desk: &mut Desk<'_>) {
        self.each(desk, |registration, desk, trunk, link| {
            registration.handle_timeout(desk, trunk, link);
        });
    }

    /// Takes all registrations back: calls are to go elsewhere.
    pub(crate) fn leave(&mut self, desk: &mut Desk<'_>) {
        self.each(desk, |registration, desk, trunk, link| registration.leave(desk, trunk, link));
    }

    /// A connection broke.
    pub(crate) fn flow_closed(&mut self, desk: &mut Desk<'_>, flow: Flow) {
        self.each(desk, |registration, desk, _, _| registration.flow_closed(desk, flow));
    }

    /// A trunk that was silent is there again: it may know nothing of us any more.
    pub(crate) fn is_back(&mut self, desk: &mut Desk<'_>, name: &str) {
        if let Some(link) = self.links.get_mut(name) {
            link.places = Places::default();
        }
        self.each(desk, |registration, desk, trunk, _| {
            if trunk.name == name {
                registration.ask_soon(desk);
            }
        });
    }

    /// A trunk has other addresses now; they are in the settings already.
    pub(crate) fn moved(&mut self, desk: &mut Desk<'_>, name: &str) {
        self.each(desk, |registration, desk, trunk, _| {
            if trunk.name == name {
                registration.moved(desk.now.monotonic, trunk);
            }
        });
    }

    /// Puts into a request to a trunk what the trunk wants to see.
    pub(crate) fn sign(&mut self, trunk: &str, request: &mut Request, cnonce: &str) {
        if let Some(link) = self.links.get_mut(trunk) {
            link.sign(request, cnonce);
        }
    }

    /// Whether a challenge of this trunk can be answered.
    pub(crate) fn has_account(&self, trunk: &str) -> bool {
        self.links.get(trunk).is_some_and(|link| link.account.is_some())
    }

    /// A request of a call has gone to a trunk; with the request, if a challenge can be answered.
    pub(crate) fn sent(
        &mut self,
        id: ClientId,
        trunk: &str,
        request: Option<Box<Request>>,
        way: Way,
    ) {
        let sent = Sent { trunk: trunk.to_owned(), way, request, answers: 0 };
        self.sent.insert(id, sent);
    }

    /// A request of a call is given up: no challenge to it is answered.
    pub(crate) fn cancelled(&mut self, id: ClientId) {
        if let Some(sent) = self.sent.get_mut(&id) {
            sent.request = None;
        }
    }

    /// An answer to a request of ours.
    pub(crate) fn response(
        &mut self,
        desk: &mut Desk<'_>,
        id: ClientId,
        response: &Response,
    ) -> Taken {
        let is_mine = self.run(desk, id, |registration, desk, trunk, link| {
            registration.response(desk, trunk, link, response);
        });
        if is_mine {
            return Taken::Mine;
        }
        let Some(sent) = self.sent.get_mut(&id) else { return Taken::Passed };
        let Some(link) = self.links.get_mut(&sent.trunk) else { return Taken::Passed };
        if response.status == 503 {
            let after = retry_after(response);
            link.places.failed(desk.now.monotonic, sent.way.flow.remote, after);
        } else {
            link.places.works(sent.way.flow.remote);
        }
        if response.is_provisional() {
            return Taken::Passed;
        }
        if matches!(response.status, 401 | 407)
            && let Some(cseq) = sent.answer(desk, link, id, response)
        {
            return Taken::Answered { cseq };
        }
        self.sent.remove(&id);
        Taken::Passed
    }

    /// No answer came to a request of ours; false if whoever sent it has to be told.
    pub(crate) fn no_response(&mut self, desk: &mut Desk<'_>, id: ClientId, status: u16) -> bool {
        let is_mine = self.run(desk, id, |registration, desk, trunk, link| {
            registration.no_response(desk, trunk, link, status);
        });
        if let Some(sent) = self.sent.remove(&id)
            && let Some(link) = self.links.get_mut(&sent.trunk)
        {
            link.places.failed(desk.now.monotonic, sent.way.flow.remote, None);
        }
        is_mine
    }

    fn registration(&self, trunk: &str) -> Option<&Registration> {
        self.registrations.iter().find(|(name, _)| name == trunk).map(|(_, it)| it)
    }

    /// Lets something happen to the registration that sent this request; false if none did.
    fn run(
        &mut self,
        desk: &mut Desk<'_>,
        id: ClientId,
        happen: impl FnOnce(&mut Registration, &mut Desk<'_>, &Trunk, &mut Link),
    ) -> bool {
        let Some((name, registration)) =
            self.registrations.iter_mut().find(|(_, registration)| registration.owns(id))
        else {
            return false;
        };
        let trunk = desk.settings.trunks.iter().find(|trunk| trunk.name == *name);
        if let (Some(trunk), Some(link)) = (trunk, self.links.get_mut(name)) {
            happen(registration, desk, trunk, link);
        }
        true
    }

    fn each(
        &mut self,
        desk: &mut Desk<'_>,
        mut happen: impl FnMut(&mut Registration, &mut Desk<'_>, &Trunk, &mut Link),
    ) {
        for (name, registration) in &mut self.registrations {
            let trunk = desk.settings.trunks.iter().find(|trunk| trunk.name == *name);
            if let (Some(trunk), Some(link)) = (trunk, self.links.get_mut(name)) {
                happen(registration, desk, trunk, link);
            }
        }
    }
}

impl Sent {
    /// Sends the request again with our proof; its new CSeq.
    fn answer(
        &mut self,
        desk: &mut Desk<'_>,
        link: &mut Link,
        id: ClientId,
        response: &Response,
    ) -> Option<u32> {
        let request = self.request.as_mut()?;
        let is_worth = match link.keyring.take(response, &request.method) {
            Judged::New => self.answers == 0,
            Judged::Stale => self.answers < MAX_ANSWERS,
            Judged::Unknown => false,
        };
        if !is_worth {
            tracing::warn!(trunk = %self.trunk, status = response.status,
                "the trunk does not take our password");
            return None;
        }
        self.answers += 1;
        let cseq = request.headers.cseq()?.number.wrapping_add(1);
        request.headers.set(Name::CSeq, format!("{cseq} {}", request.method));
        let cnonce = desk.endpoint.token();
        link.sign(request, &cnonce);
        let again = (**request).clone();
        let sent = desk.endpoint.retry(desk.now.monotonic, id, self.way, again);
        matches!(sent, Ok(true)).then_some(cseq)
    }
}

/// The way to one of a trunk's addresses.
pub(crate) fn flow_to(settings: &Settings, place: &TrunkAddress) -> Flow {
    let transport = transport(place.transport);
    let port = match transport {
        Transport::Tcp => settings.tcp_port.unwrap_or(settings.udp_port),
        // Without a listener of our own it can reach us by the connection alone.
        Transport::Tls => settings.tls_port.unwrap_or(SIPS_PORT),
        Transport::Udp | Transport::Ws | Transport::Wss => settings.udp_port,
    };
    let local = SocketAddr::new(settings.advertised_to(place.address.ip()), port);
    Flow { transport, local, remote: place.address, connection: None }
}

fn transport(transport: TrunkTransport) -> Transport {
    match transport {
        TrunkTransport::Udp => Transport::Udp,
        TrunkTransport::Tcp => Transport::Tcp,
        TrunkTransport::Tls => Transport::Tls,
    }
}
