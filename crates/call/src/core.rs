//! What every call machine needs beside itself: time, the transaction layer, who is registered,
//! and the way out for events.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cheling_model::directory::{Directory, TrunkManners, TrunkRole};
use cheling_model::{CallId, Now, TapEvent, TapKind, Timestamp};
use cheling_sip::endpoint::Config;
use cheling_sip::uri::Scheme;
use cheling_sip::via::host_text;
use cheling_sip::{
    ClientId, Endpoint, Flow, Message, Method, Name, NameAddr, Request, Response, ServerId,
    Transport, Uri,
};

use crate::advertise::readdressed;
use crate::auth::{Auth, Outcome};
use crate::b2bua::{Attended, Errand, Side};
use crate::guard::Guard;
use crate::io::{Output, Settings};
use crate::occupancy::Occupancy;
use crate::outward::{Desk, Outward, TrunkStatus};
use crate::passage::{Joined, Passage};
use crate::random::Random;
use crate::registrar::Registrar;
use crate::router;
use crate::trunks::Trunks;

/// What we do, for Allow.
pub(crate) const ALLOW: &str = "INVITE, ACK, CANCEL, BYE, OPTIONS, UPDATE, PRACK, REFER, INFO, MESSAGE, \
    SUBSCRIBE, REGISTER";

/// The extensions we know, for Supported.
pub(crate) const SUPPORTED: &str = "100rel, timer, replaces";

/// What Retry-After says when we are the reason, in seconds.
pub(crate) const RETRY_AFTER_S: u32 = 10;

/// What keeps a path open (RFC 5626 §3.5.1).
const PING: &[u8] = b"\r\n\r\n";

/// Lines that strangers may cause in the log in [`LOG_WINDOW`].
const LOG_LINES: u32 = 50;
/// See [`LOG_LINES`].
const LOG_WINDOW: Duration = Duration::from_secs(10);

/// Our Contact towards the other side of `flow`, with this user part. It is `sip:` even where
/// `sips:` is wanted if nobody could reach us by TLS.
pub(crate) fn contact_as(settings: &Settings, flow: Flow, scheme: Scheme, user: &str) -> NameAddr {
    let host = host_text(settings.advertised_to(flow.remote.ip()));
    let is_tls = matches!(flow.transport, Transport::Tls | Transport::Wss);
    let tls_port = if is_tls { Some(flow.local.port()) } else { settings.tls_port };
    let (scheme, port, param) = match (scheme, tls_port, flow.transport) {
        // TLS goes without saying (RFC 5630 §3.1.4).
        (Scheme::Sips, Some(port), Transport::Wss) => (Scheme::Sips, port, Some("ws")),
        (Scheme::Sips, Some(port), _) => (Scheme::Sips, port, None),
        (_, _, Transport::Udp) => (Scheme::Sip, flow.local.port(), None),
        (_, _, other) => (Scheme::Sip, flow.local.port(), Some(other.uri_param())),
    };
    let mut uri = Uri::sip(Some(user), &host, Some(port));
    if let Uri::Sip(sip) = &mut uri {
        sip.scheme = scheme;
        if let Some(param) = param {
            sip.params.set("transport", Some(param));
        }
    }
    NameAddr::new(uri)
}

/// All that is shared between the calls of one switch.
#[derive(Debug)]
pub(crate) struct Core {
    /// The time of the input that is being handled.
    pub(crate) now: Now,
    /// From the config.
    pub(crate) settings: Settings,
    /// From the database.
    pub(crate) directory: Arc<Directory>,
    /// Who is registered.
    pub(crate) registrar: Registrar,
    /// Who may.
    pub(crate) auth: Auth,
    /// Ids.
    pub(crate) random: Random,
    /// Transactions.
    pub(crate) endpoint: Endpoint,
    /// Who is shut out.
    pub(crate) guard: Guard,
    /// Which phones and trunks are in use.
    pub(crate) occupancy: Occupancy,
    /// Which trunks answer.
    pub(crate) trunks: Trunks,
    /// When the log's window began, and what strangers caused in it.
    logged: (Instant, u32),
    /// Extensions that talk and whose connection broke.
    pub(crate) lost: HashSet<String>,
    /// Transfers that mean two calls.
    pub(crate) attended: VecDeque<(CallId, Attended)>,
    /// What trunks want of us.
    pub(crate) outward: Outward,
    /// What passes between phones and a telephone system.
    pub(crate) passage: Passage,
    /// Calls that are part of others.
    pub(crate) joined: Joined,
    /// What calls tell each other.
    pub(crate) errands: VecDeque<Errand>,
    outputs: VecDeque<Output>,
    clients: HashMap<ClientId, CallId>,
    servers: HashMap<ServerId, CallId>,
    tags: HashMap<String, CallId>,
}

/// What one call has in the tables of [`Core`], to be taken out when it is over.
#[derive(Debug, Default)]
pub(crate) struct Entries {
    clients: Vec<ClientId>,
    servers: Vec<ServerId>,
    tags: Vec<String>,
}

impl Core {
    pub(crate) fn new(now: Now, settings: Settings, directory: Arc<Directory>) -> Self {
        let mut random = Random::new(&settings.nonce_secret, settings.seed);
        let mut endpoint = Endpoint::new(Config::default(), random.bytes());
        let outward = Outward::new(&mut Desk {
            now,
            settings: &settings,
            endpoint: &mut endpoint,
            random: &mut random,
            pings: &mut Vec::new(),
        });
        Self {
            now,
            directory: router::in_order(directory),
            registrar: Registrar::new(settings.registration.clone(), host_text(settings.advertise)),
            auth: Auth::new(settings.nonce_secret, settings.digests),
            random,
            endpoint,
            guard: Guard::new(settings.guard),
            occupancy: Occupancy::since(now, &settings.last_calls),
            trunks: Trunks::new(now.monotonic, &settings.trunks),
            settings,
            logged: (now.monotonic, 0),
            lost: HashSet::new(),
            attended: VecDeque::new(),
            outward,
            passage: Passage::default(),
            joined: Joined::default(),
            errands: VecDeque::new(),
            outputs: VecDeque::new(),
            clients: HashMap::new(),
            servers: HashMap::new(),
            tags: HashMap::new(),
        }
    }

    /// A flow as we name it ourselves: with the address that the other side reaches.
    pub(crate) fn named(&self, mut flow: Flow) -> Flow {
        if !self.settings.advertise_to.is_empty() {
            flow.local.set_ip(self.settings.advertised_to(flow.remote.ip()));
        }
        flow
    }

    /// A tag or Call-ID.
    pub(crate) fn token(&mut self) -> String {
        self.endpoint.token()
    }

    /// The manners of the trunk on this side; `None` for a phone.
    pub(crate) fn manners(&self, side: &Side) -> Option<&TrunkManners> {
        let Side::Trunk { name } = side else { return None };
        let trunk = self.settings.trunks.iter().find(|trunk| trunk.name == *name);
        trunk.map(|trunk| &trunk.manners)
    }

    /// The number that this trunk knows us by, if the config names one.
    pub(crate) fn own_number(&self, side: &Side) -> Option<&str> {
        let Side::Trunk { name } = side else { return None };
        let trunk = self.settings.trunks.iter().find(|trunk| trunk.name == *name);
        trunk?.caller_number.as_deref()
    }

    /// The address of a number of ours.
    pub(crate) fn address_of(&self, number: &str) -> Uri {
        let user = cheling_sip::uri::escape_user(number);
        Uri::sip(Some(&user), &host_text(self.settings.advertise), None)
    }

    /// Our Contact towards the other side of `flow`: the listener that it came to.
    pub(crate) fn contact(&self, flow: Flow, scheme: Scheme) -> NameAddr {
        contact_as(&self.settings, flow, scheme, "cheling")
    }

    /// What trunks want of us, and what it needs for that.
    pub(crate) fn outward<T>(
        &mut self,
        happen: impl FnOnce(&mut Outward, &mut Desk<'_>) -> T,
    ) -> T {
        let mut pings = Vec::new();
        let Self { now, settings, endpoint, random, outward, .. } = self;
        let mut desk = Desk { now: *now, settings, endpoint, random, pings: &mut pings };
        let result = happen(outward, &mut desk);
        for flow in pings {
            self.put(Output::Send { flow, bytes: Bytes::from_static(PING) });
        }
        result
    }

    /// Whether a telephone system is there.
    pub(crate) fn is_pbx(&self, side: &Side) -> bool {
        let Side::Trunk { name } = side else { return false };
        let known = self.settings.trunks.iter().find(|trunk| trunk.name == *name);
        known.is_some_and(|trunk| trunk.role == TrunkRole::Pbx)
    }

    /// How the trunks are.
    pub(crate) fn trunk_statuses(&self) -> Vec<TrunkStatus> {
        self.outward.status(&self.settings, self.now.monotonic, &self.trunks, &self.occupancy)
    }

    /// Judges who sends a request by its password, and remembers who fails.
    pub(crate) fn check<'d>(
        &mut self,
        directory: &'d Directory,
        request: &Request,
        flow: Flow,
    ) -> Outcome<'d> {
        let outcome = self.auth.check(self.now, directory, request, flow);
        if !self.is_trunk(flow) {
            self.guard.judged(self.now.monotonic, flow.remote.ip(), &outcome);
        }
        outcome
    }

    /// Whether a message comes from the address of a trunk.
    pub(crate) fn is_trunk(&self, flow: Flow) -> bool {
        self.settings.trunks.iter().any(|trunk| trunk.is_at(flow.remote.ip()))
    }

    /// Whether a stranger's doing may still be logged: scanners that try every number must not
    /// fill the disk. What is left out is counted.
    pub(crate) fn may_log(&mut self) -> bool {
        let (since, seen) = self.logged;
        if self.now.monotonic.saturating_duration_since(since) >= LOG_WINDOW {
            if seen > LOG_LINES {
                tracing::warn!(left_out = seen - LOG_LINES, "further refusals were not logged");
            }
            self.logged = (self.now.monotonic, 0);
        }
        self.logged.1 = self.logged.1.saturating_add(1);
        self.logged.1 <= LOG_LINES
    }

    /// Tells the journal and `lookup`.
    pub(crate) fn tap(&mut self, call_id: CallId, kind: TapKind) {
        self.tap_at(call_id, self.now.wall, kind);
    }

    /// Tells the journal and `lookup` of something that took effect at a moment of its own.
    pub(crate) fn tap_at(&mut self, call_id: CallId, at: Timestamp, kind: TapKind) {
        if self.joined.len() == 0 {
            return self.outputs.push_back(Output::Tap(TapEvent { call_id, at, kind }));
        }
        for (call_id, kind) in self.joined.told(call_id, kind) {
            self.outputs.push_back(Output::Tap(TapEvent { call_id, at, kind }));
        }
    }

    /// Has something done outside.
    pub(crate) fn put(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    /// The next thing to be done: messages first, so that no call waits for its own records.
    pub(crate) fn poll(&mut self) -> Option<Output> {
        if let Some((flow, bytes)) = self.endpoint.poll() {
            let usual = self.settings.advertise;
            let told = self.settings.advertised_to(flow.remote.ip());
            let bytes = if told == usual { bytes } else { readdressed(bytes, usual, told) };
            return Some(Output::Send { flow, bytes });
        }
        self.outputs.pop_front()
    }

    /// Sends a request of a call to one of its sides; `None` if there are too many transactions.
    pub(crate) fn request(
        &mut self,
        call_id: CallId,
        entries: &mut Entries,
        mut request: Request,
        flow: Flow,
        to: &Side,
    ) -> Option<ClientId> {
        request.headers.push(Name::UserAgent, &self.settings.product);
        if request.method == Method::Invite {
            request.headers.push(Name::Allow, ALLOW);
        }
        let mut kept = None;
        if let Side::Trunk { name } = to {
            let cnonce = self.token();
            let proofs = [Name::Authorization, Name::ProxyAuthorization];
            // A proof that the caller gave is his own affair.
            if !proofs.into_iter().any(|name| request.headers.has(name)) {
                self.outward.sign(name, &mut request, &cnonce);
            }
            let is_kept = self.outward.has_account(name);
            kept = Some((name, is_kept.then(|| Box::new(request.clone()))));
        }
        let way = match to {
            Side::Trunk { name } => {
                self.outward.way(&self.settings, name, flow, self.now.monotonic)
            }
            Side::Phone { .. } => flow.into(),
        };
        match self.endpoint.request(self.now.monotonic, way, request) {
            Ok(client) => {
                if let Some((trunk, request)) = kept {
                    self.outward.sent(client, trunk, request, way);
                }
                self.clients.insert(client, call_id);
                entries.clients.push(client);
                Some(client)
            }
            Err(err) => {
                tracing::warn!(%call_id, %err, "request not sent");
                None
            }
        }
    }

    /// Sends a request that belongs to no call; `None` if there are too many transactions.
    pub(crate) fn request_outside(&mut self, mut request: Request, flow: Flow) -> Option<ClientId> {
        request.headers.push(Name::UserAgent, &self.settings.product);
        self.endpoint.request(self.now.monotonic, flow, request).ok()
    }

    /// Gives an INVITE up.
    pub(crate) fn cancel(&mut self, client: ClientId, reason: Option<&str>) {
        self.outward.cancelled(client);
        self.endpoint.cancel(self.now.monotonic, client, reason);
    }

    /// Acknowledges a 2xx.
    pub(crate) fn ack(&mut self, client: ClientId, ack: Request, flow: Flow) {
        self.endpoint.ack(client, flow, ack);
    }

    /// Answers a request.
    pub(crate) fn respond(&mut self, server: ServerId, mut response: Response) {
        if response.status >= 200 {
            response.headers.push(Name::Server, &self.settings.product);
        }
        // A 2xx to INVITE still waits for its ACK.
        if response.status >= 300 {
            self.servers.remove(&server);
        }
        self.endpoint.respond(self.now.monotonic, server, &response);
    }

    /// Has who sends a request prove who he is; nothing of the request is kept.
    pub(crate) fn challenge(&mut self, server: ServerId, mut response: Response) {
        response.headers.push(Name::Server, &self.settings.product);
        self.servers.remove(&server);
        self.endpoint.respond_once(server, &response);
    }

    /// Answers a request with a status and nothing more.
    pub(crate) fn refuse(&mut self, server: ServerId, request: &Request, status: u16) {
        self.refuse_with(server, request, status, |_| {});
    }

    /// Answers a request with a status and what `fill` adds.
    pub(crate) fn refuse_with(
        &mut self,
        server: ServerId,
        request: &Request,
        status: u16,
        fill: impl FnOnce(&mut Response),
    ) {
        let tag = self.token();
        let mut response = Response::to(request, status, "", Some(&tag));
        match status {
            200 | 405 => response.headers.push(Name::Allow, ALLOW),
            420 => response.headers.push(Name::Supported, SUPPORTED),
            415 => response.headers.push(Name::Accept, cheling_sip::sdp::CONTENT_TYPE),
            _ => {}
        }
        fill(&mut response);
        self.respond(server, response);
    }

    /// Sends a message that belongs to no transaction.
    pub(crate) fn send(&mut self, flow: Flow, response: Response) {
        self.endpoint.send(flow, &Message::Response(response));
    }

    /// From now on requests with this To tag belong to the call.
    pub(crate) fn bind_tag(&mut self, call_id: CallId, entries: &mut Entries, tag: &str) {
        self.tags.insert(tag.to_owned(), call_id);
        entries.tags.push(tag.to_owned());
    }

    /// Requests with this To tag belong to the call no longer.
    pub(crate) fn unbind_tag(&mut self, entries: &mut Entries, tag: &str) {
        self.tags.remove(tag);
        entries.tags.retain(|known| known != tag);
    }

    /// From now on CANCEL and a missing ACK of this transaction concern the call.
    pub(crate) fn bind_server(&mut self, call_id: CallId, entries: &mut Entries, server: ServerId) {
        self.servers.insert(server, call_id);
        entries.servers.push(server);
    }

    /// The call of this tag of ours.
    pub(crate) fn call_of_tag(&self, tag: &str) -> Option<CallId> {
        self.tags.get(tag).copied()
    }

    /// The call of this request of ours.
    pub(crate) fn call_of_client(&self, client: ClientId) -> Option<CallId> {
        self.clients.get(&client).copied()
    }

    /// The call of this request to us.
    pub(crate) fn call_of_server(&self, server: ServerId) -> Option<CallId> {
        self.servers.get(&server).copied()
    }

    /// A request of ours other than INVITE has its final answer.
    pub(crate) fn forget_client(&mut self, entries: &mut Entries, client: ClientId) {
        self.clients.remove(&client);
        entries.clients.retain(|known| *known != client);
    }

    /// Forgets what a finished call had here.
    pub(crate) fn forget(&mut self, entries: &Entries) {
        for client in &entries.clients {
            self.clients.remove(client);
        }
        for server in &entries.servers {
            self.servers.remove(server);
        }
        for tag in &entries.tags {
            self.tags.remove(tag);
        }
    }

    /// Table entries: clients, servers, tags. All zero when no call is left.
    pub(crate) fn table_sizes(&self) -> [usize; 3] {
        [self.clients.len(), self.servers.len(), self.tags.len()]
    }
}
