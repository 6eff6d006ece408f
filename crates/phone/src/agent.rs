//! The task behind a phone: owns its sockets, transactions and dialogs, and serves one input at
//! a time.
//!
//! Here: the loop and its timers. `agent/order.rs`: what the handles ask for. `agent/client.rs`:
//! requests of ours and their responses. `agent/server.rs`: requests of others and our
//! responses. How a message looks is in `message` and `dialog`, when it is repeated in
//! `transaction`.

mod client;
mod order;
mod server;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rsip::{Header, Headers, Method, Request, Response, SipMessage};
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::call::{Call, CallState, Ending, Invitation, Party, Side};
use crate::config::{Dial, PhoneConfig, Ringing, Transport};
use crate::dialog::{Dialog, Phase};
use crate::digest::Challenge;
use crate::media::Media;
use crate::message::{self, header};
use crate::phone::{Event, PhoneError};
use crate::sdp::{Description, Direction};
use crate::transaction::{ClientTransaction, DEADLINE, Due, Retransmission};
use crate::wire::{Received, Wire};

const ALLOW: &str = "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO";

/// What the handles ask for.
pub(crate) enum Command {
    Register(oneshot::Sender<Result<(), PhoneError>>),
    Unregister(oneshot::Sender<Result<(), PhoneError>>),
    Dial(Dial, oneshot::Sender<Result<Call, PhoneError>>),
    /// For the call of this Call-ID; nothing happens if it is over.
    Act(String, Action),
    Stop,
}

/// What the handle of a call asks for.
pub(crate) enum Action {
    Ring,
    Answer,
    Reject(u16),
    HangUp,
    /// A re-INVITE with this flow.
    Offer(Direction),
}

/// Our binding at the registrar.
struct Registration {
    call_id: String,
    sequence: u32,
    reply: Option<oneshot::Sender<Result<(), PhoneError>>>,
    renew_at: Option<Instant>,
    /// The server has a binding of ours, as far as we know.
    is_held: bool,
}

/// The last response to a request, for its copies.
struct Served {
    bytes: Vec<u8>,
    forget_at: Instant,
}

pub(crate) struct Agent {
    config: PhoneConfig,
    wire: Wire,
    received: Option<mpsc::Receiver<Received>>,
    events: mpsc::Sender<Event>,
    commands: mpsc::WeakSender<Command>,
    stop: CancellationToken,
    media_ip: std::net::IpAddr,
    tag: String,
    registration: Registration,
    dialogs: HashMap<String, Dialog>,
    /// By branch.
    clients: HashMap<String, ClientTransaction>,
    /// ACKs to final responses other than 2xx, by branch, for copies of those.
    acks: HashMap<String, Served>,
    /// Responses to INVITE that wait for their ACK, by Call-ID.
    unacknowledged: HashMap<String, Retransmission>,
    served: HashMap<String, Served>,
}

impl Agent {
    pub(crate) async fn open(
        config: PhoneConfig,
        events: mpsc::Sender<Event>,
        commands: mpsc::WeakSender<Command>,
    ) -> Result<Self, PhoneError> {
        let stop = CancellationToken::new();
        let (wire, received) =
            Wire::open(config.transport, config.bind, config.port, stop.clone()).await?;
        let media_ip = match config.server {
            Some(server) if config.bind.is_unspecified() => route_to(server).await?,
            _ => config.bind,
        };
        Ok(Self {
            wire,
            received: Some(received),
            events,
            commands,
            stop,
            media_ip,
            tag: token(),
            registration: Registration {
                call_id: token(),
                sequence: 0,
                reply: None,
                renew_at: None,
                is_held: false,
            },
            dialogs: HashMap::new(),
            clients: HashMap::new(),
            acks: HashMap::new(),
            unacknowledged: HashMap::new(),
            served: HashMap::new(),
            config,
        })
    }

    /// The address that others reach us at.
    pub(crate) fn local(&self) -> SocketAddr {
        SocketAddr::new(self.media_ip, self.wire.local().port())
    }

    /// Serves until told to stop, or until nobody holds a handle any more.
    pub(crate) async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let Some(mut received) = self.received.take() else { return };
        let mut leave_by: Option<Instant> = None;
        loop {
            let is_done = self.clients.is_empty() && self.unacknowledged.is_empty();
            let wake = match leave_by {
                Some(_) if is_done => break,
                Some(at) if Instant::now() >= at => break,
                Some(at) => self.next_wake().min(at),
                None => self.next_wake(),
            };
            tokio::select! {
                input = received.recv() => match input {
                    Some(Received::Message { from, bytes }) => self.message(from, &bytes).await,
                    Some(Received::Connected { from, writer }) => self.wire.connected(from, writer),
                    None => break,
                },
                command = commands.recv(), if leave_by.is_none() => match command {
                    None => break,
                    Some(Command::Stop) => {
                        leave_by = Some(Instant::now() + Duration::from_secs(3));
                        self.say_goodbye().await;
                    }
                    Some(command) => self.command(command).await,
                },
                () = tokio::time::sleep_until(wake.into()) => self.timers(Instant::now()).await,
            }
        }
        self.stop.cancel();
        for (_, dialog) in self.dialogs.drain() {
            let reason = Some("the phone stopped".to_owned());
            dialog.state.send_replace(CallState::Ended(Ending {
                by: Side::Us,
                status: None,
                reason,
            }));
        }
        self.wire.close().await;
    }

    async fn say_goodbye(&mut self) {
        let call_ids: Vec<String> = self.dialogs.keys().cloned().collect();
        for call_id in call_ids {
            self.hang_up(&call_id).await;
        }
        self.registration.renew_at = None;
        if self.registration.is_held {
            self.send_register(Duration::ZERO).await;
        }
    }

    fn next_wake(&self) -> Instant {
        let clients = self.clients.values().map(|client| client.retransmission.next());
        let finals = self.unacknowledged.values().map(Retransmission::next);
        clients
            .chain(finals)
            .chain(self.registration.renew_at)
            .min()
            .unwrap_or_else(|| Instant::now() + Duration::from_secs(60))
    }

    async fn timers(&mut self, now: Instant) {
        let mut again = Vec::new();
        let mut silent = Vec::new();
        for (branch, client) in &mut self.clients {
            match client.retransmission.due(now) {
                Due::Nothing => {}
                Due::Resend => again.push(branch.clone()),
                Due::TimedOut => silent.push(branch.clone()),
            }
        }
        for branch in again {
            if let Some(client) = self.clients.get(&branch) {
                let (to, bytes) = (client.retransmission.to, client.retransmission.bytes.clone());
                self.transmit(to, &bytes).await;
            }
        }
        for branch in silent {
            if let Some(client) = self.clients.remove(&branch) {
                self.unanswered(client, branch).await;
            }
        }
        let mut again = Vec::new();
        self.unacknowledged.retain(|_, answer| match answer.due(now) {
            Due::Nothing => true,
            Due::Resend => {
                again.push((answer.to, answer.bytes.clone()));
                true
            }
            Due::TimedOut => false,
        });
        for (to, bytes) in again {
            self.transmit(to, &bytes).await;
        }
        if self.registration.renew_at.is_some_and(|at| now >= at) {
            self.registration.renew_at = None;
            self.send_register(self.config.expires).await;
        }
    }

    async fn unanswered(&mut self, client: ClientTransaction, branch: String) {
        match client.method() {
            Method::Register => self.registered(Err(PhoneError::TimedOut), None),
            Method::Invite => self.invite_failed(&client.call_id, &branch, 408, None).await,
            _ => {}
        }
    }

    async fn message(&mut self, from: SocketAddr, bytes: &[u8]) {
        match message::read(bytes) {
            Ok(SipMessage::Request(request)) => self.request(from, request).await,
            Ok(SipMessage::Response(response)) => self.response(from, response).await,
            Err(error) => tracing::debug!(%from, error, "not a SIP message"),
        }
    }

    fn domain(&self) -> String {
        match (self.config.domain.as_str(), self.config.server) {
            ("", Some(server)) => server.ip().to_string(),
            ("", None) => self.local().ip().to_string(),
            (domain, _) => domain.to_owned(),
        }
    }

    /// The host part of what we ask of the server.
    fn request_host(&self) -> String {
        match (self.config.domain.as_str(), self.config.server) {
            ("", Some(server)) => server.to_string(),
            _ => self.domain(),
        }
    }

    fn contact(&self) -> String {
        let parameter = self.config.transport.uri_parameter();
        format!("<sip:{}@{}{parameter}>", self.config.account.user, self.local())
    }

    fn contact_header(&self) -> Header {
        Header::Contact(self.contact().into())
    }

    fn via(&self, branch: &str) -> String {
        let transport = self.config.transport.via_name();
        format!("SIP/2.0/{transport} {};branch={branch};rport", self.local())
    }
}

/// A word that nobody else makes: Call-IDs, tags, client nonces.
fn token() -> String {
    Uuid::from_u128(rand::random()).simple().to_string()
}

/// A branch with RFC 3261's magic cookie (§8.1.1.7).
fn branch() -> String {
    format!("z9hG4bK{}", token())
}

/// The local address that the kernel would use towards `server`; nothing is sent.
async fn route_to(server: SocketAddr) -> std::io::Result<std::net::IpAddr> {
    let any = if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(server).await?;
    Ok(socket.local_addr()?.ip())
}
