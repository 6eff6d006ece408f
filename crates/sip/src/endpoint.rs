//! The transaction layer: owns all transactions, finds the one a message belongs to, and runs
//! their timers.
//!
//! Feed it messages, answers, requests and the time; after each, take what [`Endpoint::poll`] wants
//! sent and what [`Endpoint::poll_event`] has to say. It repeats what must be repeated, absorbs
//! what comes twice, acknowledges refusals, answers CANCEL, repeats a 2xx until its ACK, and
//! refuses with 482 what a proxy's fork has brought us twice (RFC 3261 §8.2.2.2).
//!
//! Responses go back along the flow their request came by (RFC 3581; phones behind NAT that do not
//! ask for it need it too).

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::net::IpAddr;
use std::time::Instant;

use bytes::Bytes;

use crate::flow::Flow;
use crate::header::Name;
use crate::message::{Message, Request, Response};
use crate::method::Method;
use crate::reader::ParseError;
use crate::token::Tokens;
use crate::transaction::{ClientInput, Timers, Timing};

mod client;
mod key;
mod looping;
mod server;

use client::Client;
use key::{AckKey, ClientKey, MergeKey, ServerKey};
use server::Server;

pub use client::{MAX_DATAGRAM_REQUEST_BYTES, Way};
pub use looping::{HopsExhausted, Looping};

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
    ///
    /// Over UDP each lingers for 32 s: 500 calls a second are 32 000, and ten thousand phones that
    /// come back after a power cut, challenged and accepted, 20 000.
    pub max_transactions: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { timers: Timers::default(), max_transactions: 50_000 }
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
    /// The transactions that another copy of their request would merge with.
    merging: HashMap<MergeKey, ServerId>,
    unacknowledged: HashMap<AckKey, ServerId>,
    /// Server transactions of each source.
    sources: HashMap<IpAddr, usize>,
    timeouts: BinaryHeap<Reverse<(Instant, Side)>>,
    output: VecDeque<(Flow, Bytes)>,
    events: VecDeque<Event>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Side {
    Client(ClientId),
    Server(ServerId),
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
            merging: HashMap::new(),
            unacknowledged: HashMap::new(),
            sources: HashMap::new(),
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

    /// The most transactions of each side.
    pub fn max_transactions(&self) -> usize {
        self.config.max_transactions
    }

    /// Takes a message that came along `flow`.
    pub fn handle_message(&mut self, now: Instant, flow: Flow, message: Message) {
        self.handle_from(now, flow, message, usize::MAX);
    }

    /// Takes a message whose source may have so many server transactions: what would begin one
    /// more, outside a dialog, is [`Event::Overloaded`]. So nobody fills the table for others.
    pub fn handle_from(&mut self, now: Instant, flow: Flow, message: Message, most: usize) {
        match message {
            Message::Request(mut request) => {
                let Some(mut via) = request.headers.via() else { return };
                let key = ServerKey::new(&request, &via);
                via.stamp(flow.remote);
                request.headers.set_first_value(Name::Via, via);
                match request.method {
                    Method::Ack => self.handle_ack(now, flow, request, &key),
                    Method::Cancel => self.handle_cancel(now, flow, request, key),
                    _ => self.handle_request(now, flow, request, key, most),
                }
            }
            Message::Response(response) => self.handle_response(now, flow, response),
        }
    }

    /// Sends a message without a transaction, as it is.
    pub fn send(&mut self, flow: Flow, message: &Message) {
        self.output.push_back((flow, message.to_bytes()));
    }

    /// Answers a request that could not be read, without a transaction. The status sent; `None` if
    /// it cannot be answered.
    pub fn handle_malformed(&mut self, flow: Flow, err: &ParseError) -> Option<u16> {
        let mut response = err.response()?;
        if let Some(mut via) = response.headers.via() {
            via.stamp(flow.remote);
            response.headers.set_first_value(Name::Via, via);
        }
        if let Some(to) = response.headers.to().filter(|to| to.tag().is_none()) {
            response.headers.set(Name::To, to.with_tag(&self.tokens.token()));
        }
        self.output.push_back((flow, response.to_bytes()));
        Some(response.status)
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
}

#[cfg(test)]
mod tests;
