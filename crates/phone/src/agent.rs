//! The task behind a phone: owns its sockets, transactions and dialogs, and serves one input at
//! a time.
//!
//! Belongs here: what happens when (requests and responses in, commands in, timers). How a
//! message looks is in `message` and `dialog`, when it is repeated in `transaction`.

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

    // ---- timers ------------------------------------------------------------------------------

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

    // ---- commands ----------------------------------------------------------------------------

    async fn command(&mut self, command: Command) {
        match command {
            Command::Register(reply) => {
                self.registration.reply = Some(reply);
                self.send_register(self.config.expires).await;
            }
            Command::Unregister(reply) => {
                self.registration.reply = Some(reply);
                self.registration.renew_at = None;
                self.send_register(Duration::ZERO).await;
            }
            Command::Dial(dial, reply) => {
                let result = self.dial(dial).await;
                // The caller may have gone away; the call is then simply not held.
                let _ = reply.send(result);
            }
            Command::Act(call_id, action) => self.act(&call_id, action).await,
            Command::Stop => {}
        }
    }

    async fn act(&mut self, call_id: &str, action: Action) {
        let Some(dialog) = self.dialogs.get(call_id) else { return };
        let incoming = match &dialog.phase {
            Phase::Incoming { invite, from } => Some((invite.clone(), *from)),
            _ => None,
        };
        match (action, incoming) {
            (Action::Ring, Some((invite, from))) => {
                let contact = self.contact_header();
                self.respond(&invite, from, 180, vec![contact], Vec::new()).await;
            }
            (Action::Answer, Some((invite, from))) => self.answer(call_id, &invite, from).await,
            (Action::Reject(status), Some((invite, from))) => {
                self.respond(&invite, from, status, Vec::new(), Vec::new()).await;
                self.finish(call_id, Ending { by: Side::Us, status: Some(status), reason: None });
            }
            (Action::HangUp, _) => self.hang_up(call_id).await,
            (Action::Offer(direction), None) => self.offer(call_id, direction).await,
            _ => {}
        }
    }

    async fn answer(&mut self, call_id: &str, invite: &Request, from: SocketAddr) {
        let more = vec![self.contact_header(), header("Allow", ALLOW)];
        let ours = self.config.codecs.clone();
        let Some(dialog) = self.dialogs.get_mut(call_id) else { return };
        let offer = Description::read(&invite.body);
        let (body, direction) = match &offer {
            Some(offer) => {
                let direction = dialog.agree(offer, &ours);
                let codec = dialog.codec;
                (dialog.describe(&[codec], direction), direction)
            }
            // No offer in the INVITE: we offer, the ACK answers (RFC 3261 §13.2.1).
            None => (dialog.describe(&ours, Direction::SendRecv), Direction::SendRecv),
        };
        dialog.phase = Phase::Talking { reinvite: None, awaits_answer: offer.is_none() };
        dialog.state.send_replace(CallState::Talking { direction });
        self.respond(invite, from, 200, more, body).await;
    }

    /// CANCEL, BYE or a refusal, as RFC 3261 §9 and §15 want it.
    async fn hang_up(&mut self, call_id: &str) {
        let Some(dialog) = self.dialogs.get_mut(call_id) else { return };
        let ending = Ending { by: Side::Us, status: None, reason: None };
        match &mut dialog.phase {
            Phase::Calling { is_cancelled, has_provisional, branch } => {
                *is_cancelled = true;
                let (branch, is_due) = (branch.clone(), *has_provisional);
                // Before any provisional response CANCEL has to wait (RFC 3261 §9.1).
                if is_due {
                    self.send_cancel(&branch).await;
                }
            }
            Phase::Incoming { invite, from } => {
                let (invite, from) = (invite.clone(), *from);
                self.respond(&invite, from, 603, Vec::new(), Vec::new()).await;
                self.finish(call_id, Ending { status: Some(603), ..ending });
            }
            Phase::Talking { .. } => {
                self.send_in_dialog(call_id, Method::Bye, Vec::new()).await;
                self.finish(call_id, ending);
            }
        }
    }

    async fn offer(&mut self, call_id: &str, direction: Direction) {
        let ours = self.config.codecs.clone();
        let Some(dialog) = self.dialogs.get_mut(call_id) else { return };
        if !matches!(dialog.phase, Phase::Talking { reinvite: None, .. }) {
            return;
        }
        dialog.wanted = direction;
        let body = dialog.describe(&ours, direction);
        let Some(branch) = self.send_in_dialog(call_id, Method::Invite, body).await else { return };
        if let Some(Phase::Talking { reinvite, .. }) =
            self.dialogs.get_mut(call_id).map(|dialog| &mut dialog.phase)
        {
            *reinvite = Some(branch);
        }
    }

    async fn dial(&mut self, dial: Dial) -> Result<Call, PhoneError> {
        let uri = match dial.target.contains(':') {
            true => dial.target.clone(),
            false => format!("sip:{}@{}", dial.target, self.request_host()),
        };
        let to = self
            .config
            .server
            .or_else(|| message::address(&uri))
            .ok_or_else(|| PhoneError::BadTarget(format!("{uri}: no address")))?;
        let call_id = token();
        let user = dial.caller.as_deref().unwrap_or(&self.config.account.user);
        let address = format!("sip:{user}@{}", self.domain());
        let name = dial.display_name.as_ref().map(|n| format!("\"{n}\" ")).unwrap_or_default();
        let local = format!("{name}<{address}>;tag={}", token());
        let remote = format!("<{uri}>");

        let media = Media::open(self.media_ip, self.config.heard_samples).await?;
        let (state, watching) = watch::channel(CallState::Calling);
        let branch = branch();
        let mut dialog = Dialog {
            phase: Phase::Calling {
                branch: branch.clone(),
                has_provisional: false,
                is_cancelled: false,
            },
            state,
            codec: self.config.codecs.first().copied().unwrap_or(cheling_media::g711::Law::A),
            media,
            local: local.clone(),
            remote: remote.clone(),
            target: uri,
            routes: Vec::new(),
            sequence: 0,
            invite_sequence: 0,
            ack: None,
            wanted: Direction::SendRecv,
            description_id: rand::random::<u32>().into(),
            description_version: 0,
        };
        let body = dialog.describe(&self.config.codecs, Direction::SendRecv);
        let via = self.via(&branch);
        let contact = self.contact();
        let mut request = dialog
            .request(Method::Invite, &call_id, via, &contact, body)
            .map_err(PhoneError::BadTarget)?;
        if let Some(number) = &dial.asserted {
            let identity = format!("<sip:{number}@{}>", self.domain());
            request.headers.push(header("P-Asserted-Identity", identity));
        }
        for (name, value) in &dial.headers {
            request.headers.push(header(name, value.clone()));
        }
        request.headers.push(header("Allow", ALLOW));
        let call =
            self.call_handle(call_id.clone(), (&local, &remote), &request, watching, &dialog)?;
        self.dialogs.insert(call_id.clone(), dialog);
        self.start_client(request, &call_id, to, branch).await;
        Ok(call)
    }

    fn call_handle(
        &self,
        call_id: String,
        (caller, called): (&str, &str),
        invite: &Request,
        state: watch::Receiver<CallState>,
        dialog: &Dialog,
    ) -> Result<Call, PhoneError> {
        Ok(Call {
            invitation: Arc::new(Invitation {
                call_id,
                caller: Party::of_header(caller),
                called: Party::of_header(called),
                dialled: message::user(&invite.uri.to_string()).to_owned(),
                headers: invite.headers.clone(),
            }),
            state,
            stream: dialog.media.stream().clone(),
            commands: self.commands.upgrade().ok_or(PhoneError::Stopped)?,
        })
    }

    // ---- requests of ours --------------------------------------------------------------------

    async fn send_register(&mut self, expires: Duration) {
        let Some(server) = self.config.server else {
            self.registered(Err(PhoneError::BadTarget("no server".into())), None);
            return;
        };
        let branch = branch();
        self.registration.sequence += 1;
        let address = format!("<sip:{}@{}>", self.config.account.user, self.domain());
        let headers = Headers::from(vec![
            Header::Via(self.via(&branch).into()),
            Header::MaxForwards("70".into()),
            Header::From(format!("{address};tag={}", self.tag).into()),
            Header::To(address.into()),
            Header::CallId(self.registration.call_id.clone().into()),
            Header::CSeq(format!("{} REGISTER", self.registration.sequence).into()),
            Header::Contact(format!("{};expires={}", self.contact(), expires.as_secs()).into()),
            Header::Expires(expires.as_secs().to_string().into()),
        ]);
        let uri = format!("sip:{}", self.request_host());
        match message::request(Method::Register, &uri, headers, Vec::new()) {
            Ok(request) => {
                let call_id = self.registration.call_id.clone();
                self.start_client(request, &call_id, server, branch).await;
            }
            Err(error) => self.registered(Err(PhoneError::BadTarget(error)), None),
        }
    }

    /// Sends a request of an established dialog and returns its branch.
    async fn send_in_dialog(
        &mut self,
        call_id: &str,
        method: Method,
        body: Vec<u8>,
    ) -> Option<String> {
        let branch = branch();
        let (via, contact) = (self.via(&branch), self.contact());
        let dialog = self.dialogs.get_mut(call_id)?;
        let to = dialog.next_hop(self.config.server)?;
        let request = match dialog.request(method, call_id, via, &contact, body) {
            Ok(request) => request,
            Err(error) => {
                tracing::warn!(call_id, %method, error, "the far end's Contact cannot be used");
                return None;
            }
        };
        if method == Method::Ack {
            let bytes = request.to_string().into_bytes();
            dialog.ack = Some((to, bytes.clone()));
            self.transmit(to, &bytes).await;
        } else {
            self.start_client(request, call_id, to, branch.clone()).await;
        }
        Some(branch)
    }

    /// A CANCEL has the branch and the CSeq number of its INVITE (RFC 3261 §9.1).
    async fn send_cancel(&mut self, invite_branch: &str) {
        let Some(client) = self.clients.get(invite_branch) else { return };
        let cancelled = same_transaction(&client.request, Method::Cancel, None);
        let (call_id, to) = (client.call_id.clone(), client.retransmission.to);
        self.start_client(cancelled, &call_id, to, format!("{invite_branch}:cancel")).await;
    }

    /// `key` is the branch, except for CANCEL, which shares that of its INVITE.
    async fn start_client(&mut self, request: Request, call_id: &str, to: SocketAddr, key: String) {
        let client =
            ClientTransaction::new(request, call_id, to, self.config.transport, Instant::now());
        let bytes = client.retransmission.bytes.clone();
        self.clients.insert(key, client);
        self.transmit(to, &bytes).await;
    }

    async fn transmit(&mut self, to: SocketAddr, bytes: &[u8]) {
        if let Err(error) = self.wire.send(to, bytes).await {
            // Like a lost datagram: the transaction's timer decides.
            tracing::debug!(%to, %error, "not sent");
        }
    }

    // ---- what arrives ------------------------------------------------------------------------

    async fn message(&mut self, from: SocketAddr, bytes: &[u8]) {
        match message::read(bytes) {
            Ok(SipMessage::Request(request)) => self.request(from, request).await,
            Ok(SipMessage::Response(response)) => self.response(from, response).await,
            Err(error) => tracing::debug!(%from, error, "not a SIP message"),
        }
    }

    async fn response(&mut self, from: SocketAddr, response: Response) {
        let Some(branch) = message::branch(&response.headers) else { return };
        let Some((_, method)) = message::sequence(&response.headers) else { return };
        let status = response.status_code.code();
        let key = if method == "CANCEL" { format!("{branch}:cancel") } else { branch };
        let Some(client) = self.clients.get_mut(&key) else {
            self.repeated_final(from, &key, &response).await;
            return;
        };
        if status < 200 {
            client.retransmission.provisional(Instant::now());
            if client.method() == Method::Invite {
                let call_id = client.call_id.clone();
                self.provisional(&call_id, &key, status, &response).await;
            }
            return;
        }
        let Some(client) = self.clients.remove(&key) else { return };
        if client.method() == Method::Invite && status >= 300 {
            let to = message::value(&response.headers, "To");
            let ack = same_transaction(&client.request, Method::Ack, to);
            let bytes = ack.to_string().into_bytes();
            let to = client.retransmission.to;
            self.transmit(to, &bytes).await;
            let forget_at = Instant::now() + DEADLINE;
            self.acks.retain(|_, ack| ack.forget_at > Instant::now());
            self.acks.insert(key.clone(), Served { bytes, forget_at });
        }
        if matches!(status, 401 | 407) && self.retry_with_credentials(&client, &response).await {
            return;
        }
        match client.method() {
            Method::Register => {
                let result = if status < 300 { Ok(()) } else { Err(PhoneError::Refused(status)) };
                self.registered(result, Some(&response));
            }
            Method::Invite if status < 300 => {
                self.invite_answered(&client.call_id, &response).await
            }
            Method::Invite => {
                let reason = message::value(&response.headers, "Reason");
                self.invite_failed(&client.call_id, &key, status, reason).await;
            }
            _ => {}
        }
    }

    /// A final response to INVITE comes again when its ACK was lost.
    async fn repeated_final(&mut self, from: SocketAddr, branch: &str, response: &Response) {
        if let Some(ack) = self.acks.get(branch) {
            let bytes = ack.bytes.clone();
            self.transmit(from, &bytes).await;
            return;
        }
        let call_id = message::value(&response.headers, "Call-ID").unwrap_or_default();
        let is_invite = message::sequence(&response.headers).is_some_and(|(_, m)| m == "INVITE");
        let ack = self.dialogs.get(&call_id).and_then(|dialog| dialog.ack.clone());
        if let (true, Some((to, bytes))) = (is_invite, ack) {
            self.transmit(to, &bytes).await;
        }
    }

    /// Sends the request again with an answer to the challenge; `false` if there is none to give.
    async fn retry_with_credentials(
        &mut self,
        client: &ClientTransaction,
        response: &Response,
    ) -> bool {
        let (challenge_name, answer_name) = match response.status_code.code() {
            401 => ("WWW-Authenticate", "Authorization"),
            _ => ("Proxy-Authenticate", "Proxy-Authorization"),
        };
        let challenge = message::values(&response.headers, challenge_name)
            .iter()
            .find_map(|value| Challenge::read(value));
        let Some(challenge) = challenge else { return false };
        // A second refusal of the same password is final, unless only the nonce was old.
        let is_worth_it = client.attempts == 0 || (challenge.is_stale && client.attempts < 3);
        if !is_worth_it || self.config.account.password.is_empty() {
            return false;
        }
        let method = client.method();
        let sequence = match method {
            Method::Register => {
                self.registration.sequence += 1;
                self.registration.sequence
            }
            _ => match self.dialogs.get_mut(&client.call_id) {
                Some(dialog) => {
                    dialog.sequence += 1;
                    if method == Method::Invite {
                        dialog.invite_sequence = dialog.sequence;
                    }
                    dialog.sequence
                }
                // A BYE outlives its dialog here.
                None => match message::sequence(&client.request.headers) {
                    Some((number, _)) => number + 1,
                    None => return false,
                },
            },
        };
        let branch = branch();
        let account = &self.config.account;
        let uri = client.request.uri.to_string();
        let credentials = challenge.answer(
            (&account.user, &account.password),
            (&method.to_string(), &uri),
            &token(),
            1,
        );
        let mut request = client.request.clone();
        request.headers.retain(|header| {
            !matches!(header, Header::Via(_) | Header::CSeq(_))
                && !matches!(header, Header::Other(name, _) if name == answer_name)
        });
        let mut headers = Headers::from(vec![
            Header::Via(self.via(&branch).into()),
            Header::CSeq(format!("{sequence} {method}").into()),
            header(answer_name, credentials),
        ]);
        headers.extend(request.headers.iter().cloned().collect());
        request.headers = headers;

        if let Some(dialog) = self.dialogs.get_mut(&client.call_id) {
            match &mut dialog.phase {
                Phase::Calling { branch: current, has_provisional, .. } => {
                    *current = branch.clone();
                    *has_provisional = false;
                }
                Phase::Talking { reinvite: Some(current), .. } => *current = branch.clone(),
                _ => {}
            }
        }
        let to = client.retransmission.to;
        let attempts = client.attempts + 1;
        self.start_client(request, &client.call_id, to, branch.clone()).await;
        if let Some(client) = self.clients.get_mut(&branch) {
            client.attempts = attempts;
        }
        true
    }

    fn registered(&mut self, result: Result<(), PhoneError>, response: Option<&Response>) {
        let granted = response.and_then(|response| {
            let contact = message::value(&response.headers, "Contact")?;
            let expires = message::parameter(&contact, "expires")
                .or_else(|| message::value(&response.headers, "Expires"))?;
            expires.parse::<u64>().ok().filter(|&seconds| seconds > 0)
        });
        if result.is_ok() {
            self.registration.is_held = granted.is_some();
            // Half the lifetime leaves time for a second try.
            self.registration.renew_at =
                granted.map(|seconds| Instant::now() + Duration::from_secs(seconds) / 2);
        }
        match (self.registration.reply.take(), result) {
            (Some(reply), result) => drop(reply.send(result)),
            (None, Ok(())) => {}
            (None, Err(error)) => {
                let status =
                    if let PhoneError::Refused(status) = error { Some(status) } else { None };
                // The next try is the user's to make; an unread queue loses the news.
                let _ = self.events.try_send(Event::RegistrationLost(status));
            }
        }
    }

    async fn provisional(&mut self, call_id: &str, key: &str, status: u16, response: &Response) {
        let ours = self.config.codecs.clone();
        let Some(dialog) = self.dialogs.get_mut(call_id) else { return };
        let Phase::Calling { branch, has_provisional, is_cancelled } = &mut dialog.phase else {
            return;
        };
        let is_first = !std::mem::replace(has_provisional, true);
        let (branch, is_cancelled) = (branch.clone(), *is_cancelled);
        if branch != key {
            return;
        }
        if status >= 180 {
            dialog.state.send_replace(CallState::Ringing { status });
        }
        if let Some(theirs) = Description::read(&response.body) {
            dialog.agree(&theirs, &ours); // early media
        }
        if is_cancelled && is_first {
            self.send_cancel(&branch).await;
        }
    }

    async fn invite_answered(&mut self, call_id: &str, response: &Response) {
        let ours = self.config.codecs.clone();
        let Some(dialog) = self.dialogs.get_mut(call_id) else { return };
        let was_cancelled = match &dialog.phase {
            Phase::Calling { is_cancelled, .. } => {
                let is_cancelled = *is_cancelled;
                let to = message::value(&response.headers, "To").unwrap_or_default();
                dialog.learn(to, &response.headers, true);
                is_cancelled
            }
            _ => false,
        };
        let mut direction = dialog.wanted;
        if let Some(theirs) = Description::read(&response.body) {
            direction = dialog.agree(&theirs, &ours);
        }
        dialog.phase = Phase::Talking { reinvite: None, awaits_answer: false };
        dialog.state.send_replace(CallState::Talking { direction });
        self.send_in_dialog(call_id, Method::Ack, Vec::new()).await;
        if was_cancelled {
            // The 200 crossed our CANCEL (RFC 3261 §9.1): hang up what was answered.
            self.hang_up(call_id).await;
        }
    }

    async fn invite_failed(
        &mut self,
        call_id: &str,
        branch: &str,
        status: u16,
        reason: Option<String>,
    ) {
        let Some(dialog) = self.dialogs.get_mut(call_id) else { return };
        match &mut dialog.phase {
            Phase::Calling { is_cancelled, .. } => {
                let by = if *is_cancelled { Side::Us } else { Side::Them };
                self.finish(call_id, Ending { by, status: Some(status), reason });
            }
            // A refused re-INVITE leaves the call as it was (RFC 3261 §14.1), unless the
            // dialog is gone.
            Phase::Talking { reinvite, .. } if reinvite.as_deref() == Some(branch) => {
                *reinvite = None;
                if matches!(status, 408 | 481) {
                    self.hang_up(call_id).await;
                }
            }
            _ => {}
        }
    }

    async fn request(&mut self, from: SocketAddr, request: Request) {
        let call_id = message::value(&request.headers, "Call-ID").unwrap_or_default();
        if request.method == Method::Ack {
            self.acknowledged(&call_id, &request);
            return;
        }
        if let Some(served) = transaction_key(&request).and_then(|key| self.served.get(&key)) {
            let bytes = served.bytes.clone();
            self.transmit(from, &bytes).await;
            return;
        }
        let is_known = self.dialogs.contains_key(&call_id);
        match request.method {
            Method::Invite if is_known => self.reinvited(&call_id, from, request).await,
            Method::Invite if has_to_tag(&request) => {
                self.respond(&request, from, 481, Vec::new(), Vec::new()).await;
            }
            Method::Invite => self.invited(call_id, from, request).await,
            Method::Cancel => self.cancelled(&call_id, from, request).await,
            Method::Bye if is_known => {
                self.respond(&request, from, 200, Vec::new(), Vec::new()).await;
                let reason = message::value(&request.headers, "Reason");
                self.finish(&call_id, Ending { by: Side::Them, status: None, reason });
            }
            Method::Info if is_known => {
                self.respond(&request, from, 200, Vec::new(), Vec::new()).await;
            }
            Method::Bye | Method::Info => {
                self.respond(&request, from, 481, Vec::new(), Vec::new()).await;
            }
            Method::Options => {
                let allow = vec![header("Allow", ALLOW), header("Accept", "application/sdp")];
                self.respond(&request, from, 200, allow, Vec::new()).await;
            }
            _ => {
                let allow = vec![header("Allow", ALLOW)];
                self.respond(&request, from, 405, allow, Vec::new()).await;
            }
        }
    }

    async fn invited(&mut self, call_id: String, from: SocketAddr, invite: Request) {
        if self.dialogs.len() >= self.config.max_calls {
            self.respond(&invite, from, 486, Vec::new(), Vec::new()).await;
            return;
        }
        if let Some(offer) = Description::read(&invite.body)
            && !Dialog::has_common_codec(&offer, &self.config.codecs)
        {
            self.respond(&invite, from, 488, Vec::new(), Vec::new()).await;
            return;
        }
        let Ok(media) = Media::open(self.media_ip, self.config.heard_samples).await else {
            self.respond(&invite, from, 500, Vec::new(), Vec::new()).await;
            return;
        };
        let (state, watching) = watch::channel(CallState::Incoming);
        let called = message::value(&invite.headers, "To").unwrap_or_default();
        let caller = message::value(&invite.headers, "From").unwrap_or_default();
        let mut dialog = Dialog {
            phase: Phase::Incoming { invite: Box::new(invite.clone()), from },
            state,
            codec: self.config.codecs.first().copied().unwrap_or(cheling_media::g711::Law::A),
            media,
            local: format!("{called};tag={}", self.tag),
            remote: String::new(),
            target: String::new(),
            routes: Vec::new(),
            sequence: 0,
            invite_sequence: 0,
            ack: None,
            wanted: Direction::SendRecv,
            description_id: rand::random::<u32>().into(),
            description_version: 0,
        };
        dialog.learn(caller.clone(), &invite.headers, false);
        let call =
            self.call_handle(call_id.clone(), (&caller, &called), &invite, watching, &dialog);
        let is_told = call.is_ok_and(|call| self.events.try_send(Event::Incoming(call)).is_ok());
        if !is_told {
            self.respond(&invite, from, 480, Vec::new(), Vec::new()).await;
            return;
        }
        self.dialogs.insert(call_id, dialog);
        let contact = self.contact_header();
        match self.config.ringing {
            Ringing::Automatic => self.respond(&invite, from, 180, vec![contact], vec![]).await,
            Ringing::ByHand => self.respond(&invite, from, 100, vec![], vec![]).await,
        }
    }

    async fn reinvited(&mut self, call_id: &str, from: SocketAddr, request: Request) {
        let more = vec![self.contact_header()];
        let ours = self.config.codecs.clone();
        let Some(dialog) = self.dialogs.get_mut(call_id) else { return };
        let status = match &dialog.phase {
            Phase::Talking { reinvite: None, .. } => 200,
            // Both ends offered at once (RFC 3261 §14.2).
            Phase::Talking { reinvite: Some(_), .. } => 491,
            // The same INVITE by another way (RFC 3261 §8.2.2.2).
            _ => 482,
        };
        if status != 200 {
            self.respond(&request, from, status, Vec::new(), Vec::new()).await;
            return;
        }
        let offer = Description::read(&request.body);
        if offer.as_ref().is_some_and(|offer| !Dialog::has_common_codec(offer, &ours)) {
            self.respond(&request, from, 488, Vec::new(), Vec::new()).await;
            return;
        }
        if let Some(contact) = message::value(&request.headers, "Contact") {
            dialog.target = message::uri(&contact).to_owned(); // target refresh
        }
        let body = match &offer {
            Some(offer) => {
                let direction = dialog.agree(offer, &ours);
                dialog.state.send_replace(CallState::Talking { direction });
                let codec = dialog.codec;
                dialog.describe(&[codec], direction)
            }
            None => dialog.describe(&ours, dialog.wanted),
        };
        dialog.phase = Phase::Talking { reinvite: None, awaits_answer: offer.is_none() };
        self.respond(&request, from, 200, more, body).await;
    }

    async fn cancelled(&mut self, call_id: &str, from: SocketAddr, request: Request) {
        let invite = match self.dialogs.get(call_id).map(|dialog| &dialog.phase) {
            Some(Phase::Incoming { invite, .. }) => Some(invite.clone()),
            Some(_) => None, // answered already: the CANCEL has no effect
            None => {
                self.respond(&request, from, 481, Vec::new(), Vec::new()).await;
                return;
            }
        };
        self.respond(&request, from, 200, Vec::new(), Vec::new()).await;
        if let Some(invite) = invite {
            self.respond(&invite, from, 487, Vec::new(), Vec::new()).await;
            let reason = message::value(&request.headers, "Reason");
            self.finish(call_id, Ending { by: Side::Them, status: Some(487), reason });
        }
    }

    fn acknowledged(&mut self, call_id: &str, ack: &Request) {
        self.unacknowledged.remove(call_id);
        let ours = self.config.codecs.clone();
        let Some(dialog) = self.dialogs.get_mut(call_id) else { return };
        let Phase::Talking { awaits_answer, .. } = &mut dialog.phase else { return };
        if std::mem::take(awaits_answer)
            && let Some(answer) = Description::read(&ack.body)
        {
            let direction = dialog.agree(&answer, &ours);
            dialog.state.send_replace(CallState::Talking { direction });
        }
    }

    // ---- responses of ours -------------------------------------------------------------------

    /// Sends a response and remembers it for copies of the request.
    async fn respond(
        &mut self,
        request: &Request,
        to: SocketAddr,
        status: u16,
        more: Vec<Header>,
        body: Vec<u8>,
    ) {
        let call_id = message::value(&request.headers, "Call-ID").unwrap_or_default();
        let tag = match self.dialogs.get(&call_id) {
            Some(dialog) => dialog.local_tag(),
            None => self.tag.clone(),
        };
        let response = message::response(request, status, &tag, more, body);
        let bytes = response.to_string().into_bytes();
        let now = Instant::now();
        self.served.retain(|_, served| served.forget_at > now);
        if let Some(key) = transaction_key(request) {
            self.served.insert(key, Served { bytes: bytes.clone(), forget_at: now + DEADLINE });
        }
        if request.method == Method::Invite && status >= 200 {
            // A 2xx is repeated over TCP too (RFC 3261 §13.3.1.4).
            let is_repeated = status < 300 || self.config.transport == Transport::Udp;
            let answer = Retransmission::new(bytes.clone(), to, now, is_repeated);
            self.unacknowledged.insert(call_id, answer);
        }
        self.transmit(to, &bytes).await;
    }

    fn finish(&mut self, call_id: &str, ending: Ending) {
        if let Some(dialog) = self.dialogs.remove(call_id) {
            dialog.state.send_replace(CallState::Ended(ending));
        }
    }

    // ---- how we are named --------------------------------------------------------------------

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

/// CANCEL and the ACK of a refusal: the INVITE's own Via, CSeq number, From and target, and
/// the response's To (RFC 3261 §9.1, §17.1.1.3).
fn same_transaction(invite: &Request, method: Method, to: Option<String>) -> Request {
    let mut headers = Headers::default();
    for header in invite.headers.iter() {
        match header {
            Header::Via(_) | Header::From(_) | Header::CallId(_) | Header::MaxForwards(_) => {
                headers.push(header.clone());
            }
            Header::To(original) => {
                headers.push(Header::To(match &to {
                    Some(to) => to.clone().into(),
                    None => original.clone(),
                }));
            }
            Header::CSeq(_) => {
                let number = message::sequence(&invite.headers).map_or(1, |(number, _)| number);
                headers.push(Header::CSeq(format!("{number} {method}").into()));
            }
            Header::Other(name, _) if name == "Route" => headers.push(header.clone()),
            _ => {}
        }
    }
    headers.push(Header::ContentLength("0".into()));
    Request { method, headers, body: Vec::new(), ..invite.clone() }
}

/// Names a server transaction (RFC 3261 §17.2.3).
fn transaction_key(request: &Request) -> Option<String> {
    Some(format!("{} {}", message::branch(&request.headers)?, request.method))
}

fn has_to_tag(request: &Request) -> bool {
    message::value(&request.headers, "To").is_some_and(|to| message::tag(&to).is_some())
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
