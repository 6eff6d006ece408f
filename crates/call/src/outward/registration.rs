//! One registration of ours at a trunk (RFC 3261 §10.2): asked for, proved, renewed in time, moved
//! to another address when one fails, taken back at the end.
//!
//! What failed is tried again after a pause that doubles, drawn by chance so that many of us do not
//! come back at once (RFC 5626 §4.5).

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use cheling_model::Timestamp;
use cheling_model::directory::{Account, Trunk, TrunkAddress};
use cheling_sip::uri::Scheme;
use cheling_sip::{ClientId, Contacts, Flow, Method, Name, NameAddr, Request, Response, Uri};
use sha2::{Digest as _, Sha256};

use super::keyring::Judged;
use super::{Desk, Link, flow_to};
use crate::core::contact_as;

/// The pause after the first failure of all addresses (RFC 5626 §4.5).
const BASE_PAUSE: Duration = Duration::from_secs(30);
/// The longest pause.
const MAX_PAUSE: Duration = Duration::from_secs(1800);
/// The longest Retry-After that is obeyed.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);
/// The longest Min-Expires that is obeyed.
const MAX_MIN_EXPIRES: Duration = Duration::from_secs(7 * 24 * 3600);
/// Challenges answered in one attempt.
const MAX_ANSWERS: u8 = 3;
/// How often a quiet path through NAT is kept open (RFC 5626 §4.4.2: 24 to 29 s).
const KEEP_ALIVE: Duration = Duration::from_secs(24);
/// After a connection broke, so that a thousand clients do not come back in one instant.
const RECONNECT_WITHIN: Duration = Duration::from_secs(2);
/// Proxies of a Service-Route that are followed; more are a fault of the registrar.
const MAX_SERVICE_ROUTE: usize = 8;

/// A registration.
#[derive(Debug)]
pub(super) struct Registration {
    /// The user part of our Contact: calls that come to it are the trunk's. It cannot be guessed,
    /// and is the same after a restart, so that the registrar replaces the binding.
    pub(super) token: String,
    sip_call_id: String,
    from_tag: String,
    cseq: u32,
    asks_for: Duration,
    step: Step,
    pub(super) granted: Option<Granted>,
    failures: u32,
    /// Addresses that failed in this round.
    tried: Vec<SocketAddr>,
    /// The longest wait that one of them asked for.
    retry_after: Option<Duration>,
    /// The last final status; 408 and 503 stand for no answer and no connection.
    pub(super) last_status: Option<u16>,
}

/// What it is doing.
#[derive(Debug)]
enum Step {
    /// Waits; without a time, for an address.
    Waiting { until: Option<Instant> },
    /// Has asked.
    Asking { client: ClientId, request: Box<Request>, place: TrunkAddress, answers: u8 },
    /// Takes it back.
    Leaving { client: ClientId, request: Box<Request>, place: TrunkAddress, answers: u8 },
    /// We stop.
    Over,
}

/// What the registrar granted.
#[derive(Debug)]
pub(super) struct Granted {
    /// Where we are registered.
    pub(super) place: TrunkAddress,
    until: Instant,
    /// The same on the wall's clock.
    pub(super) expires_at: Timestamp,
    /// Since when without a break.
    pub(super) since: Timestamp,
    /// The proxies that our calls are to pass (RFC 3608).
    pub(super) service_route: Vec<NameAddr>,
    /// The number that the trunk knows us by (RFC 7315 §4.1).
    pub(super) associated: Option<String>,
    keep_alive_at: Instant,
}

impl Registration {
    pub(super) fn new(desk: &mut Desk<'_>, trunk: &Trunk, account: &Account) -> Self {
        let until = (!trunk.addresses.is_empty()).then_some(desk.now.monotonic);
        Self {
            token: token(trunk, account),
            sip_call_id: desk.endpoint.token(),
            from_tag: desk.endpoint.token(),
            cseq: 0,
            asks_for: account.expires,
            step: Step::Waiting { until },
            granted: None,
            failures: 0,
            tried: Vec::new(),
            retry_after: None,
            last_status: None,
        }
    }

    /// Whether the registrar knows us now.
    pub(super) fn is_registered(&self, now: Instant) -> bool {
        self.granted.as_ref().is_some_and(|granted| granted.until > now)
    }

    /// Whether it is being taken back.
    pub(super) fn is_leaving(&self) -> bool {
        matches!(self.step, Step::Leaving { .. })
    }

    /// Whether this request of ours is its own.
    pub(super) fn owns(&self, id: ClientId) -> bool {
        match &self.step {
            Step::Asking { client, .. } | Step::Leaving { client, .. } => *client == id,
            Step::Waiting { .. } | Step::Over => false,
        }
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let next = match self.step {
            Step::Waiting { until } => until,
            Step::Asking { .. } | Step::Leaving { .. } | Step::Over => None,
        };
        next.into_iter().chain(self.granted.as_ref().map(|it| it.keep_alive_at)).min()
    }

    /// Does what is due.
    pub(super) fn handle_timeout(&mut self, desk: &mut Desk<'_>, trunk: &Trunk, link: &mut Link) {
        let now = desk.now.monotonic;
        if let Some(granted) = &mut self.granted
            && granted.keep_alive_at <= now
        {
            granted.keep_alive_at = now + KEEP_ALIVE + desk.up_to(Duration::from_secs(5));
            desk.pings.push(flow_to(desk.settings, &granted.place));
        }
        if matches!(self.step, Step::Waiting { until: Some(until) } if until <= now) {
            self.ask(desk, trunk, link);
        }
    }

    /// The trunk's addresses are others now.
    pub(super) fn moved(&mut self, now: Instant, trunk: &Trunk) {
        self.tried.clear();
        let is_here = self.granted.as_ref().is_some_and(|granted| {
            trunk.addresses.iter().any(|it| it.address == granted.place.address)
        });
        let waits = match self.step {
            Step::Waiting { until: None } => true,
            // Where we are registered is no longer the trunk's, or we had found nobody.
            Step::Waiting { until: Some(_) } => !is_here,
            Step::Asking { .. } | Step::Leaving { .. } | Step::Over => false,
        };
        if waits && !trunk.addresses.is_empty() {
            self.step = Step::Waiting { until: Some(now) };
        }
    }

    /// A connection broke: over it the registrar cannot reach us any more.
    pub(super) fn flow_closed(&mut self, desk: &mut Desk<'_>, flow: Flow) {
        let is_ours = self.granted.as_ref().is_some_and(|granted| {
            granted.place.address == flow.remote
                && flow_to(desk.settings, &granted.place).transport == flow.transport
        });
        if is_ours {
            self.ask_soon(desk);
        }
    }

    /// Asks again before it would be due, unless it does so now.
    pub(super) fn ask_soon(&mut self, desk: &mut Desk<'_>) {
        if let Step::Waiting { until: Some(_) } = self.step {
            let until = desk.now.monotonic + desk.up_to(RECONNECT_WITHIN);
            self.step = Step::Waiting { until: Some(until) };
        }
    }

    /// Takes the registration back, if there is one.
    pub(super) fn leave(&mut self, desk: &mut Desk<'_>, trunk: &Trunk, link: &mut Link) {
        let granted = self.granted.take().filter(|granted| granted.until > desk.now.monotonic);
        let Some(granted) = granted else {
            self.step = Step::Over;
            return;
        };
        let request = self.request(desk, trunk, &granted.place, Duration::ZERO);
        self.step = match self.send(desk, link, request, &granted.place) {
            Some((client, request)) => {
                Step::Leaving { client, request, place: granted.place, answers: 0 }
            }
            None => Step::Over,
        };
    }

    /// An answer to a request of ours.
    pub(super) fn response(
        &mut self,
        desk: &mut Desk<'_>,
        trunk: &Trunk,
        link: &mut Link,
        response: &Response,
    ) {
        if response.is_provisional() {
            return;
        }
        self.last_status = Some(response.status);
        let is_challenge = matches!(response.status, 401 | 407);
        if is_challenge && self.answer(desk, link, response) {
            return;
        }
        let step = std::mem::replace(&mut self.step, Step::Over);
        let Step::Asking { place, .. } = step else { return };
        let retry_after = retry_after(response);
        match response.status {
            200..=299 => self.register(desk, trunk, place, response),
            423 => self.lengthen(desk, trunk, link, response),
            408 | 500..=599 => {
                link.places.failed(desk.now.monotonic, place.address, retry_after);
                self.next(desk, trunk, link, place, retry_after);
            }
            status => {
                tracing::warn!(trunk = %trunk.name, status, "the trunk refuses our registration");
                self.granted = None;
                self.pause(desk, retry_after);
            }
        }
    }

    /// No answer came: the status it amounts to.
    pub(super) fn no_response(
        &mut self,
        desk: &mut Desk<'_>,
        trunk: &Trunk,
        link: &mut Link,
        status: u16,
    ) {
        self.last_status = Some(status);
        let step = std::mem::replace(&mut self.step, Step::Over);
        if let Step::Asking { place, .. } = step {
            link.places.failed(desk.now.monotonic, place.address, None);
            self.next(desk, trunk, link, place, None);
        }
    }

    fn ask(&mut self, desk: &mut Desk<'_>, trunk: &Trunk, link: &mut Link) {
        let now = desk.now.monotonic;
        let chance = desk.random.u64();
        let here = self.granted.as_ref().map(|granted| granted.place.address);
        let order = link.places.order(now, &trunk.addresses, chance, here);
        let place = order.into_iter().find(|place| !self.tried.contains(&place.address));
        let Some(place) = place else {
            let is_nowhere = trunk.addresses.is_empty();
            if is_nowhere {
                self.step = Step::Waiting { until: None };
                return;
            }
            tracing::warn!(trunk = %trunk.name, status = self.last_status,
                "not registered: no address of the trunk takes our registration");
            let retry_after = self.retry_after;
            return self.pause(desk, retry_after);
        };
        let request = self.request(desk, trunk, &place, self.asks_for);
        match self.send(desk, link, request, &place) {
            Some((client, request)) => {
                self.step = Step::Asking { client, request, place, answers: 0 };
            }
            None => self.pause(desk, None),
        }
    }

    fn request(
        &mut self,
        desk: &mut Desk<'_>,
        trunk: &Trunk,
        place: &TrunkAddress,
        expires: Duration,
    ) -> Request {
        self.cseq += 1;
        let registrar = Uri::sip(None, &trunk.host, trunk.port);
        let user = trunk.account.as_ref().map_or("", |account| &account.user);
        let user = cheling_sip::uri::escape_user(user);
        let aor = NameAddr::new(Uri::sip(Some(&user), &trunk.host, trunk.port));
        let from = aor.clone().with_tag(&self.from_tag);
        let mut request = Request::outside_dialog(
            Method::Register,
            registrar,
            &from,
            &aor,
            &self.sip_call_id,
            self.cseq,
        );
        let flow = flow_to(desk.settings, place);
        let mut contact = contact_as(desk.settings, flow, Scheme::Sip, &self.token);
        contact.params.set("expires", Some(&expires.as_secs().to_string()));
        request.headers.push(Name::Contact, contact);
        request.headers.push(Name::Expires, expires.as_secs());
        request.headers.push(Name::Supported, "path");
        request.headers.push(Name::UserAgent, &desk.settings.product);
        request
    }

    /// Sends it, with what proof we have.
    fn send(
        &mut self,
        desk: &mut Desk<'_>,
        link: &mut Link,
        mut request: Request,
        place: &TrunkAddress,
    ) -> Option<(ClientId, Box<Request>)> {
        let cnonce = desk.endpoint.token();
        link.sign(&mut request, &cnonce);
        let flow = flow_to(desk.settings, place);
        let client = desk.endpoint.request(desk.now.monotonic, flow, request.clone());
        client.ok().map(|client| (client, Box::new(request)))
    }

    /// Answers a challenge; false if there is nothing to say to it.
    fn answer(&mut self, desk: &mut Desk<'_>, link: &mut Link, response: &Response) -> bool {
        let (Step::Asking { client, request, place, answers }
        | Step::Leaving { client, request, place, answers }) = &mut self.step
        else {
            return false;
        };
        let judged = link.keyring.take(response, &Method::Register);
        // The first is always answered: what we sent by ourselves may have been too old.
        let is_worth = match judged {
            Judged::New => *answers == 0,
            Judged::Stale => *answers < MAX_ANSWERS,
            Judged::Unknown => false,
        };
        if !is_worth {
            return false;
        }
        *answers += 1;
        self.cseq += 1;
        let mut again = (**request).clone();
        again.headers.set(Name::CSeq, format!("{} REGISTER", self.cseq));
        let cnonce = desk.endpoint.token();
        link.sign(&mut again, &cnonce);
        **request = again.clone();
        let flow = flow_to(desk.settings, place);
        matches!(desk.endpoint.retry(desk.now.monotonic, *client, flow, again), Ok(true))
    }

    /// The registrar has taken us.
    fn register(
        &mut self,
        desk: &mut Desk<'_>,
        trunk: &Trunk,
        place: TrunkAddress,
        response: &Response,
    ) {
        let granted = granted(response, &self.token).unwrap_or(self.asks_for);
        if granted.is_zero() {
            tracing::warn!(trunk = %trunk.name, "the trunk has taken nothing of our registration");
            self.granted = None;
            return self.pause(desk, None);
        }
        let now = desk.now;
        // The trunk may have moved while it answered.
        let has_moved = !trunk.addresses.is_empty()
            && !trunk.addresses.iter().any(|it| it.address == place.address);
        let before = self.granted.take().filter(|before| before.until > now.monotonic);
        if before.as_ref().is_none_or(|before| before.place.address != place.address) {
            let (at, seconds) = (place.address, granted.as_secs());
            tracing::info!(trunk = %trunk.name, %at, seconds, "registered");
        }
        let mut service_route = addresses(response, "Service-Route");
        service_route.truncate(MAX_SERVICE_ROUTE);
        let associated = addresses(response, "P-Associated-URI").first().and_then(|address| {
            match &address.uri {
                Uri::Tel(tel) => Some(tel.number.clone()),
                uri => uri.user_unescaped().map(|user| user.into_owned()),
            }
        });
        self.granted = Some(Granted {
            place,
            until: now.monotonic + granted,
            expires_at: now.wall + granted,
            since: before.map_or(now.wall, |before| before.since),
            service_route,
            associated,
            keep_alive_at: now.monotonic + KEEP_ALIVE,
        });
        self.failures = 0;
        self.tried.clear();
        self.retry_after = None;
        // Early enough for another address to be tried before it runs out.
        let early = granted.mul_f64(0.75) + desk.up_to(granted.mul_f64(0.1));
        let wait = if has_moved { Duration::ZERO } else { early };
        self.step = Step::Waiting { until: Some(now.monotonic + wait) };
    }

    /// The registrar wants us to ask for longer (RFC 3261 §10.2.8).
    fn lengthen(
        &mut self,
        desk: &mut Desk<'_>,
        trunk: &Trunk,
        link: &mut Link,
        response: &Response,
    ) {
        let min = response.headers.get(Name::MinExpires).and_then(|text| text.trim().parse().ok());
        let min = min.map(Duration::from_secs).unwrap_or_default();
        if min <= self.asks_for || min > MAX_MIN_EXPIRES {
            tracing::warn!(trunk = %trunk.name, "the trunk finds our registration too brief, but names no other time");
            return self.pause(desk, None);
        }
        self.asks_for = min;
        self.ask(desk, trunk, link);
    }

    /// This address will not do: the next one, at once.
    fn next(
        &mut self,
        desk: &mut Desk<'_>,
        trunk: &Trunk,
        link: &mut Link,
        place: TrunkAddress,
        retry_after: Option<Duration>,
    ) {
        self.tried.push(place.address);
        self.retry_after = self.retry_after.max(retry_after);
        if self.granted.as_ref().is_some_and(|granted| granted.place.address == place.address) {
            // It may still know us, but we cannot rely on it for our calls.
            tracing::warn!(trunk = %trunk.name, at = %place.address, status = self.last_status,
                "the registration is not renewed here");
        }
        self.ask(desk, trunk, link);
    }

    /// Waits before all addresses are tried again.
    fn pause(&mut self, desk: &mut Desk<'_>, retry_after: Option<Duration>) {
        self.tried.clear();
        self.retry_after = None;
        let doubled = BASE_PAUSE.saturating_mul(1 << self.failures.min(8));
        self.failures = self.failures.saturating_add(1);
        let most = doubled.min(MAX_PAUSE);
        let drawn = most / 2 + desk.up_to(most / 2);
        let pause = match retry_after {
            Some(asked) => asked.min(MAX_RETRY_AFTER) + desk.up_to(Duration::from_secs(5)),
            None => drawn,
        };
        self.step = Step::Waiting { until: Some(desk.now.monotonic + pause) };
    }
}

/// How long the registrar keeps our Contact; `None` if it does not say.
fn granted(response: &Response, token: &str) -> Option<Duration> {
    let header = response.headers.expires();
    let Contacts::List(contacts) = response.headers.contacts() else { return None };
    let ours = contacts.iter().find(|contact| contact.uri.user() == Some(token));
    let seconds = match ours {
        Some(ours) => ours.params.get("expires").and_then(|text| text.trim().parse().ok()),
        // A registrar that lists others but not us has not taken us.
        None if !contacts.is_empty() => Some(0),
        None => None,
    };
    seconds.or(header).map(|seconds: u32| Duration::from_secs(seconds.into()))
}

fn addresses(response: &Response, name: &str) -> Vec<NameAddr> {
    let values = response.headers.values(name);
    values.iter().filter_map(|value| NameAddr::parse(value).ok()).collect()
}

/// What Retry-After says, without its comment.
pub(super) fn retry_after(response: &Response) -> Option<Duration> {
    let value = response.headers.get(Name::RetryAfter)?;
    let seconds = value.split([';', '(', ' ']).next()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

fn token(trunk: &Trunk, account: &Account) -> String {
    let mut hash = Sha256::new();
    for part in ["contact", &trunk.name, &trunk.host, &account.user, &account.password] {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    hash.finalize()[..10].iter().fold(String::from("t"), |mut text, byte| {
        use std::fmt::Write as _;
        let _ = write!(text, "{byte:02x}");
        text
    })
}
