//! The transaction layer: owns all transactions, finds the one a message belongs to, and runs
//! their timers.
//!
//! Feed it messages, answers, requests and the time; after each, take what [`Endpoint::poll`] wants
//! sent and what [`Endpoint::poll_event`] has to say. It repeats what must be repeated, absorbs
//! what comes twice, acknowledges refusals, answers CANCEL, and repeats a 2xx until its ACK.
//!
//! Responses go back along the flow their request came by (RFC 3581; phones behind NAT that do not
//! ask for it need it too).

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::time::Instant;

use bytes::Bytes;

use crate::fields::CSeq;
use crate::flow::Flow;
use crate::header::Name;
use crate::message::{Message, Request, Response};
use crate::method::Method;
use crate::token::Tokens;
use crate::transaction::{
    AcceptedInvite, ClientInput, ClientInvite, ClientOther, ClientOutput, ServerInput,
    ServerInvite, ServerOther, ServerOutput, Timers, Timing,
};
use crate::via::Via;

mod key;

use key::{AckKey, ClientKey, ServerKey};

/// Names a server transaction: a request to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServerId(u64);

/// Names a client transaction: a request of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId(u64);

/// Limits and times of an [`Endpoint`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// The times of RFC 3261.
    pub timers: Timers,
    /// The most transactions of each side, server and client. CANCEL is not counted.
    pub max_transactions: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { timers: Timers::default(), max_transactions: 20_000 }
    }
}

/// What the transaction user must know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A new request, in or outside a dialog, never ACK or CANCEL. To be answered by
    /// [`Endpoint::respond`]; an INVITE at once, with 100 if nothing better is known.
    Request {
        /// Its transaction.
        id: ServerId,
        /// Where it came from.
        flow: Flow,
        /// The request; its Via says where it came from, too.
        request: Request,
    },
    /// The ACK to a 2xx of ours.
    Ack {
        /// The INVITE it acknowledges; `None` if that is over or was never ours.
        id: Option<ServerId>,
        /// Where it came from.
        flow: Flow,
        /// The ACK, with the answer in it if the INVITE had no offer.
        request: Request,
    },
    /// The INVITE is no longer wanted: answer it with 487. CANCEL itself has been answered.
    Cancel {
        /// The INVITE's transaction.
        id: ServerId,
        /// The CANCEL, whose Reason may be of interest.
        request: Request,
    },
    /// A response to a request of ours. A refused INVITE has been acknowledged; a 2xx to INVITE is
    /// to be acknowledged by [`Endpoint::ack`].
    Response {
        /// The request's transaction.
        id: ClientId,
        /// Where it came from.
        flow: Flow,
        /// The response.
        response: Response,
    },
    /// Nobody answered: as if 408 had come (RFC 3261 §8.1.3.1).
    TimedOut {
        /// The request's transaction, now over.
        id: ClientId,
    },
    /// The request could not be sent: as if 503 had come (RFC 3261 §8.1.3.1).
    SendFailed {
        /// The request's transaction, now over.
        id: ClientId,
    },
    /// Our 2xx was not acknowledged within 64·T1: hang up (RFC 3261 §13.3.1.4).
    NotAcknowledged {
        /// The INVITE's transaction.
        id: ServerId,
    },
    /// A response to no request of ours. A 2xx to INVITE that comes this late is best ignored.
    Stray {
        /// Where it came from.
        flow: Flow,
        /// The response.
        response: Response,
    },
    /// There are too many transactions for this request: answer it with 503 and Retry-After by
    /// [`Endpoint::send`], without a transaction.
    Overloaded {
        /// Where it came from.
        flow: Flow,
        /// The request.
        request: Request,
    },
}

/// There are too many transactions already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many SIP transactions")]
pub struct TooManyTransactions;

/// The most branches of one INVITE whose ACK is remembered.
const MAX_ACKS: usize = 16;

/// All transactions of one SIP element. See the module for how to drive it.
#[derive(Debug)]
pub struct Endpoint {
    config: Config,
    tokens: Tokens,
    last_id: u64,
    clients: HashMap<ClientId, Client>,
    client_ids: HashMap<ClientKey, ClientId>,
    servers: HashMap<ServerId, Server>,
    server_ids: HashMap<ServerKey, ServerId>,
    unacknowledged: HashMap<AckKey, ServerId>,
    timeouts: BinaryHeap<Reverse<(Instant, Side)>>,
    output: VecDeque<(Flow, Bytes)>,
    events: VecDeque<Event>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Side {
    Client(ClientId),
    Server(ServerId),
}

#[derive(Debug)]
struct Client {
    key: ClientKey,
    flow: Flow,
    timing: Timing,
    machine: ClientMachine,
    request: Request,
    bytes: Bytes,
    cancel: Cancel,
    /// The ACKs sent for 2xx, by To tag: a repeated 2xx gets the same one.
    acks: Vec<(String, Flow, Bytes)>,
    scheduled: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
enum ClientMachine {
    Invite(ClientInvite),
    Other(ClientOther),
    /// A CANCEL: nobody waits for its answer.
    Cancel(ClientOther),
}

#[derive(Debug)]
enum Cancel {
    NotWanted,
    /// Until a 1xx has come, CANCEL may not be sent (RFC 3261 §9.1).
    Wanted {
        reason: Option<String>,
    },
    Sent,
}

#[derive(Debug)]
struct Server {
    key: ServerKey,
    flow: Flow,
    timing: Timing,
    machine: ServerMachine,
    /// The latest response, to be sent again.
    response: Option<Bytes>,
    to_tag: Option<String>,
    accepted: Option<(AckKey, AcceptedInvite)>,
    scheduled: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
enum ServerMachine {
    Invite(ServerInvite),
    Other(ServerOther),
}

impl Endpoint {
    /// An endpoint without transactions. `seed` must be random: see [`Tokens::new`].
    pub fn new(config: Config, seed: [u8; 32]) -> Self {
        Self {
            config,
            tokens: Tokens::new(seed),
            last_id: 0,
            clients: HashMap::new(),
            client_ids: HashMap::new(),
            servers: HashMap::new(),
            server_ids: HashMap::new(),
            unacknowledged: HashMap::new(),
            timeouts: BinaryHeap::new(),
            output: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// A fresh tag, Call-ID or client nonce.
    pub fn token(&mut self) -> String {
        self.tokens.token()
    }

    /// What to send next.
    pub fn poll(&mut self) -> Option<(Flow, Bytes)> {
        self.output.pop_front()
    }

    /// What happened next.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When to call [`Endpoint::handle_timeout`]. It may turn out that nothing was due.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.timeouts.peek().map(|Reverse((at, _))| *at)
    }

    /// How many transactions there are: server, client.
    pub fn transactions(&self) -> (usize, usize) {
        (self.servers.len(), self.clients.len())
    }

    /// Takes a message that came along `flow`.
    pub fn handle_message(&mut self, now: Instant, flow: Flow, message: Message) {
        match message {
            Message::Request(mut request) => {
                let Some(mut via) = request.headers.via() else { return };
                let key = ServerKey::new(&request, &via);
                via.stamp(flow.remote);
                request.headers.set_first_value(Name::Via, via);
                match request.method {
                    Method::Ack => self.handle_ack(now, flow, request, &key),
                    Method::Cancel => self.handle_cancel(now, flow, request, key),
                    _ => self.handle_request(now, flow, request, key),
                }
            }
            Message::Response(response) => self.handle_response(now, flow, response),
        }
    }

    /// Answers a request. Whether the answer was taken: `false` if the transaction is over or
    /// already has its final answer.
    pub fn respond(&mut self, now: Instant, id: ServerId, response: &Response) -> bool {
        let timers = self.config.timers;
        let Some(server) = self.servers.get_mut(&id) else { return false };
        if server.handle(now, ServerInput::Respond(response.status)) != Some(ServerOutput::Send) {
            return false;
        }
        let bytes = response.to_bytes();
        self.output.push_back((server.flow, bytes.clone()));
        server.response = Some(bytes);
        if server.to_tag.is_none() {
            server.to_tag = response.headers.to().and_then(|to| to.tag().map(str::to_owned));
        }
        let is_invite = matches!(server.machine, ServerMachine::Invite(_));
        if is_invite
            && response.is_success()
            && server.accepted.is_none()
            && let Some(key) = AckKey::new(&response.headers)
        {
            self.unacknowledged.insert(key.clone(), id);
            server.accepted = Some((key, AcceptedInvite::new(now, &timers)));
        }
        self.settle_server(id);
        true
    }

    /// Sends a request along `flow`, with a Via of ours on top.
    ///
    /// # Errors
    /// [`TooManyTransactions`], with nothing sent.
    pub fn request(
        &mut self,
        now: Instant,
        flow: Flow,
        mut request: Request,
    ) -> Result<ClientId, TooManyTransactions> {
        if self.clients.len() >= self.config.max_transactions {
            return Err(TooManyTransactions);
        }
        let branch = self.tokens.branch();
        request.headers.insert_front(Name::Via, Via::new(flow.transport, flow.local, &branch));
        let timing = self.timing(flow);
        let machine = match request.method {
            Method::Invite => ClientMachine::Invite(ClientInvite::new(now, timing)),
            _ => ClientMachine::Other(ClientOther::new(now, timing)),
        };
        Ok(self.start_client(flow, timing, machine, request, branch))
    }

    /// Gives an INVITE of ours up. CANCEL goes out as soon as it may; a final response still comes
    /// as an event, usually 487, or a 2xx that crossed it and must be acknowledged and hung up.
    ///
    /// `reason` becomes a Reason field (RFC 3326), such as `SIP;cause=200;text="Call completed
    /// elsewhere"`, which keeps other phones of a group from showing a missed call.
    pub fn cancel(&mut self, now: Instant, id: ClientId, reason: Option<&str>) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        let ClientMachine::Invite(machine) = client.machine else { return };
        if !matches!(client.cancel, Cancel::NotWanted) {
            return;
        }
        let reason = reason.map(str::to_owned);
        client.cancel = Cancel::Wanted { reason };
        if matches!(machine, ClientInvite::Proceeding { .. }) {
            self.send_cancel(now, id);
        }
    }

    /// Acknowledges a 2xx to the INVITE `id` along `flow`, with a Via of ours on top. When the 2xx
    /// comes again, so does the ACK.
    pub fn ack(&mut self, id: ClientId, flow: Flow, mut request: Request) {
        let branch = self.tokens.branch();
        request.headers.insert_front(Name::Via, Via::new(flow.transport, flow.local, &branch));
        let bytes = request.to_bytes();
        self.output.push_back((flow, bytes.clone()));
        let tag = request.headers.to().and_then(|to| to.tag().map(str::to_owned));
        if let Some(client) = self.clients.get_mut(&id)
            && client.acks.len() < MAX_ACKS
        {
            client.acks.push((tag.unwrap_or_default(), flow, bytes));
        }
    }

    /// Sends a message without a transaction, as it is.
    pub fn send(&mut self, flow: Flow, message: &Message) {
        self.output.push_back((flow, message.to_bytes()));
    }

    /// Learns that nothing can be sent along `flow`: what waits for an answer from there has
    /// failed.
    pub fn handle_send_failed(&mut self, now: Instant, flow: &Flow) {
        let is_there = |other: &Flow| {
            other.transport == flow.transport
                && other.remote == flow.remote
                && (other.connection.is_none() || other.connection == flow.connection)
        };
        let ids: Vec<ClientId> = self
            .clients
            .iter()
            .filter(|(_, client)| is_there(&client.flow))
            .map(|(id, _)| *id)
            .collect();
        for id in ids {
            self.step_client(now, id, ClientInput::SendFailed, None);
        }
    }

    /// Does what has become due.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(Reverse((at, side))) = self.timeouts.peek().copied() {
            if at > now {
                return;
            }
            self.timeouts.pop();
            match side {
                Side::Client(id) => {
                    if let Some(client) = self.clients.get_mut(&id)
                        && client.scheduled == Some(at)
                    {
                        client.scheduled = None;
                        self.step_client(now, id, ClientInput::Timeout, None);
                    }
                }
                Side::Server(id) => {
                    if let Some(server) = self.servers.get_mut(&id)
                        && server.scheduled == Some(at)
                    {
                        server.scheduled = None;
                        self.time_server(now, id);
                    }
                }
            }
        }
    }

    fn timing(&self, flow: Flow) -> Timing {
        Timing { timers: self.config.timers, is_reliable: flow.transport.is_reliable() }
    }

    fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    // Server side.

    fn handle_request(&mut self, now: Instant, flow: Flow, request: Request, key: ServerKey) {
        if let Some(id) = self.server_ids.get(&key).copied() {
            self.step_server(now, id, ServerInput::Request);
            return;
        }
        if self.servers.len() >= self.config.max_transactions {
            self.events.push_back(Event::Overloaded { flow, request });
            return;
        }
        let id = self.start_server(now, flow, &request.method, key);
        self.events.push_back(Event::Request { id, flow, request });
    }

    fn handle_ack(&mut self, now: Instant, flow: Flow, request: Request, key: &ServerKey) {
        let same_branch = self.server_ids.get(key).copied();
        if let Some(id) = same_branch
            && self.step_server(now, id, ServerInput::Ack) != Some(ServerOutput::PassAck)
        {
            return;
        }
        // The ACK to a 2xx has a branch of its own (§17): it is found by its dialog and CSeq.
        let id = AckKey::new(&request.headers)
            .and_then(|key| self.unacknowledged.remove(&key))
            .or(same_branch);
        if let Some(server) = id.and_then(|id| self.servers.get_mut(&id))
            && let Some((_, accepted)) = &mut server.accepted
        {
            *accepted = AcceptedInvite::Acknowledged;
        }
        if let Some(id) = id {
            self.settle_server(id);
        }
        self.events.push_back(Event::Ack { id, flow, request });
    }

    fn handle_cancel(&mut self, now: Instant, flow: Flow, request: Request, key: ServerKey) {
        if let Some(id) = self.server_ids.get(&key).copied() {
            self.step_server(now, id, ServerInput::Request);
            return;
        }
        let invite = self.server_ids.get(&key.of_invite()).copied();
        let to_tag = invite
            .and_then(|id| self.servers.get(&id))
            .and_then(|server| server.to_tag.clone())
            .unwrap_or_else(|| self.tokens.token());
        let status = if invite.is_some() { 200 } else { 481 };
        let response = Response::to(&request, status, "", Some(&to_tag));
        if self.servers.len() >= self.config.max_transactions {
            self.output.push_back((flow, response.to_bytes()));
        } else {
            let id = self.start_server(now, flow, &request.method, key);
            self.respond(now, id, &response);
        }
        if let Some(id) = invite
            && let Some(server) = self.servers.get(&id)
            && matches!(server.machine, ServerMachine::Invite(ServerInvite::Proceeding))
        {
            self.events.push_back(Event::Cancel { id, request });
        }
    }

    fn start_server(
        &mut self,
        now: Instant,
        flow: Flow,
        method: &Method,
        key: ServerKey,
    ) -> ServerId {
        let id = ServerId(self.next_id());
        let timing = self.timing(flow);
        let machine = match method {
            Method::Invite => ServerMachine::Invite(ServerInvite::Proceeding),
            _ => ServerMachine::Other(ServerOther::new(now, timing)),
        };
        let server = Server {
            key: key.clone(),
            flow,
            timing,
            machine,
            response: None,
            to_tag: None,
            accepted: None,
            scheduled: None,
        };
        self.server_ids.insert(key, id);
        self.servers.insert(id, server);
        self.settle_server(id);
        id
    }

    fn step_server(
        &mut self,
        now: Instant,
        id: ServerId,
        input: ServerInput,
    ) -> Option<ServerOutput> {
        let output = self.servers.get_mut(&id)?.handle(now, input);
        self.do_server(id, output);
        self.settle_server(id);
        output
    }

    fn time_server(&mut self, now: Instant, id: ServerId) {
        let timers = self.config.timers;
        let Some(server) = self.servers.get_mut(&id) else { return };
        if let Some((_, accepted)) = &mut server.accepted {
            let (next, output) = accepted.handle(now, &timers);
            *accepted = next;
            if output == Some(ServerOutput::AckTimedOut) {
                self.events.push_back(Event::NotAcknowledged { id });
            } else {
                self.do_server(id, output);
            }
        }
        self.step_server(now, id, ServerInput::Timeout);
    }

    fn do_server(&mut self, id: ServerId, output: Option<ServerOutput>) {
        let Some(server) = self.servers.get(&id) else { return };
        match output {
            Some(ServerOutput::SendAgain) => {
                let again = server.response.clone().map(|bytes| (server.flow, bytes));
                self.output.extend(again);
            }
            // `respond` sends what is new and `handle_ack` passes the ACK. That a refusal was
            // never acknowledged changes nothing for anybody.
            Some(ServerOutput::Send | ServerOutput::PassAck | ServerOutput::AckTimedOut) | None => {
            }
        }
    }

    /// Removes a transaction that is over, else sees that it is woken in time.
    fn settle_server(&mut self, id: ServerId) {
        let Some(server) = self.servers.get_mut(&id) else { return };
        if server.is_over() {
            if let Some(server) = self.servers.remove(&id) {
                self.server_ids.remove(&server.key);
                if let Some((key, _)) = server.accepted {
                    self.unacknowledged.remove(&key);
                }
            }
            return;
        }
        let wake_at = server.wake_at();
        if wake_at != server.scheduled {
            server.scheduled = wake_at;
            self.timeouts.extend(wake_at.map(|at| Reverse((at, Side::Server(id)))));
        }
    }

    // Client side.

    fn start_client(
        &mut self,
        flow: Flow,
        timing: Timing,
        machine: ClientMachine,
        request: Request,
        branch: String,
    ) -> ClientId {
        let id = ClientId(self.next_id());
        let key = ClientKey::new(branch, request.method.clone());
        let bytes = request.to_bytes();
        self.output.push_back((flow, bytes.clone()));
        let client = Client {
            key: key.clone(),
            flow,
            timing,
            machine,
            request,
            bytes,
            cancel: Cancel::NotWanted,
            acks: Vec::new(),
            scheduled: None,
        };
        self.client_ids.insert(key, id);
        self.clients.insert(id, client);
        self.settle_client(id);
        id
    }

    fn handle_response(&mut self, now: Instant, flow: Flow, response: Response) {
        let id = ClientKey::of(&response).and_then(|key| self.client_ids.get(&key).copied());
        let Some(id) = id else {
            self.events.push_back(Event::Stray { flow, response });
            return;
        };
        let status = response.status;
        self.step_client(now, id, ClientInput::Response(status), Some((flow, response)));
        let is_ringing = self.clients.get(&id).is_some_and(|client| {
            matches!(client.machine, ClientMachine::Invite(ClientInvite::Proceeding { .. }))
                && matches!(client.cancel, Cancel::Wanted { .. })
        });
        if is_ringing {
            self.send_cancel(now, id);
        }
    }

    fn step_client(
        &mut self,
        now: Instant,
        id: ClientId,
        input: ClientInput,
        response: Option<(Flow, Response)>,
    ) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        let output = client.handle(now, input);
        match output {
            Some(ClientOutput::SendRequest) => {
                self.output.push_back((client.flow, client.bytes.clone()));
            }
            Some(
                output
                @ (ClientOutput::PassUp | ClientOutput::PassUpAndAck | ClientOutput::SendAck),
            ) => {
                if let Some((flow, response)) = response {
                    self.pass_response(id, flow, response, output);
                }
            }
            Some(ClientOutput::TimedOut) if !client.is_cancel() => {
                self.events.push_back(Event::TimedOut { id });
            }
            Some(ClientOutput::SendFailed) if !client.is_cancel() => {
                self.events.push_back(Event::SendFailed { id });
            }
            Some(ClientOutput::TimedOut | ClientOutput::SendFailed) | None => {}
        }
        self.settle_client(id);
    }

    fn pass_response(
        &mut self,
        id: ClientId,
        flow: Flow,
        response: Response,
        output: ClientOutput,
    ) {
        let Some(client) = self.clients.get(&id) else { return };
        if client.is_cancel() {
            return;
        }
        if output != ClientOutput::PassUp {
            self.output.push_back((client.flow, client.refusal_ack(&response).to_bytes()));
        } else if response.is_success()
            && let Some((flow, bytes)) = client.ack_sent_for(&response)
        {
            self.output.push_back((flow, bytes));
            return;
        }
        if output != ClientOutput::SendAck {
            self.events.push_back(Event::Response { id, flow, response });
        }
    }

    fn send_cancel(&mut self, now: Instant, id: ClientId) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        let Cancel::Wanted { reason } = std::mem::replace(&mut client.cancel, Cancel::Sent) else {
            return;
        };
        client.handle(now, ClientInput::Cancelled);
        let request = client.cancel_request(reason.as_deref());
        let (flow, timing) = (client.flow, client.timing);
        let branch = client.key.branch().to_owned();
        let machine = ClientMachine::Cancel(ClientOther::new(now, timing));
        self.settle_client(id);
        self.start_client(flow, timing, machine, request, branch);
    }

    fn settle_client(&mut self, id: ClientId) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        if client.is_over() {
            if let Some(client) = self.clients.remove(&id) {
                self.client_ids.remove(&client.key);
            }
            return;
        }
        let wake_at = client.wake_at();
        if wake_at != client.scheduled {
            client.scheduled = wake_at;
            self.timeouts.extend(wake_at.map(|at| Reverse((at, Side::Client(id)))));
        }
    }
}

impl Server {
    fn handle(&mut self, now: Instant, input: ServerInput) -> Option<ServerOutput> {
        match self.machine {
            ServerMachine::Invite(machine) => {
                let (next, output) = machine.handle(now, input, self.timing);
                self.machine = ServerMachine::Invite(next);
                output
            }
            ServerMachine::Other(machine) => {
                let (next, output) = machine.handle(now, input, self.timing);
                self.machine = ServerMachine::Other(next);
                output
            }
        }
    }

    fn is_over(&self) -> bool {
        matches!(
            self.machine,
            ServerMachine::Invite(ServerInvite::Terminated)
                | ServerMachine::Other(ServerOther::Terminated)
        )
    }

    fn wake_at(&self) -> Option<Instant> {
        let machine = match self.machine {
            ServerMachine::Invite(machine) => machine.wake_at(),
            ServerMachine::Other(machine) => machine.wake_at(),
        };
        let accepted = self.accepted.as_ref().and_then(|(_, accepted)| accepted.wake_at());
        machine.into_iter().chain(accepted).min()
    }
}

impl Client {
    fn handle(&mut self, now: Instant, input: ClientInput) -> Option<ClientOutput> {
        match self.machine {
            ClientMachine::Invite(machine) => {
                let (next, output) = machine.handle(now, input, self.timing);
                self.machine = ClientMachine::Invite(next);
                output
            }
            ClientMachine::Other(machine) => {
                let (next, output) = machine.handle(now, input, self.timing);
                self.machine = ClientMachine::Other(next);
                output
            }
            ClientMachine::Cancel(machine) => {
                let (next, output) = machine.handle(now, input, self.timing);
                self.machine = ClientMachine::Cancel(next);
                output
            }
        }
    }

    fn is_cancel(&self) -> bool {
        matches!(self.machine, ClientMachine::Cancel(_))
    }

    fn is_over(&self) -> bool {
        match self.machine {
            ClientMachine::Invite(machine) => machine == ClientInvite::Terminated,
            ClientMachine::Other(machine) | ClientMachine::Cancel(machine) => {
                machine == ClientOther::Terminated
            }
        }
    }

    fn wake_at(&self) -> Option<Instant> {
        match self.machine {
            ClientMachine::Invite(machine) => machine.wake_at(),
            ClientMachine::Other(machine) | ClientMachine::Cancel(machine) => machine.wake_at(),
        }
    }

    fn ack_sent_for(&self, response: &Response) -> Option<(Flow, Bytes)> {
        let to = response.headers.to()?;
        let tag = to.tag().unwrap_or_default();
        let (_, flow, bytes) = self.acks.iter().find(|(acked, ..)| acked == tag)?;
        Some((*flow, bytes.clone()))
    }

    /// The ACK to a response of 300 or more (RFC 3261 §17.1.1.3).
    fn refusal_ack(&self, response: &Response) -> Request {
        let mut ack = self.hop_request(Method::Ack);
        if let Some(to) = response.headers.fields(Name::To).next() {
            ack.headers.remove(Name::To);
            ack.headers.push_field(to.clone());
        }
        ack
    }

    /// The CANCEL (RFC 3261 §9.1).
    fn cancel_request(&self, reason: Option<&str>) -> Request {
        let mut cancel = self.hop_request(Method::Cancel);
        if let Some(reason) = reason {
            cancel.headers.push(Name::Reason, reason);
        }
        cancel
    }

    /// What goes the same way as the request, hop by hop: its Via and its numbers.
    fn hop_request(&self, method: Method) -> Request {
        let mut request = Request::new(method.clone(), self.request.uri.clone());
        if let Some(via) = self.request.headers.via() {
            request.headers.push(Name::Via, via);
        }
        request.headers.push(Name::MaxForwards, 70);
        for name in [Name::Route, Name::From, Name::To, Name::CallId] {
            request.headers.copy_from(&self.request.headers, name);
        }
        if let Some(cseq) = self.request.headers.cseq() {
            request.headers.push(Name::CSeq, CSeq { number: cseq.number, method });
        }
        request
    }
}

#[cfg(test)]
mod tests;
