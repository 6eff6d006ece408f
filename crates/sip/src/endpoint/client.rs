//! The client side of the endpoint: requests of ours and the answers to them.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::time::Instant;

use bytes::Bytes;

use super::key::ClientKey;
use super::{ClientId, Endpoint, Event, Side, TooManyTransactions};
use crate::fields::CSeq;
use crate::flow::Flow;
use crate::header::Name;
use crate::message::{Request, Response};
use crate::method::Method;
use crate::transaction::{ClientInput, ClientInvite, ClientOther, ClientOutput, Timing};
use crate::uri::Uri;
use crate::via::{MAGIC_COOKIE, Via};

/// The most branches of one INVITE whose ACK is remembered.
const MAX_ACKS: usize = 16;

/// The longest request to send as a datagram where the path is unknown (RFC 3261 §18.1.1): a longer
/// one could be fragmented, and fragments are what networks lose first.
pub const MAX_DATAGRAM_REQUEST_BYTES: usize = 1300;

#[derive(Debug)]
pub(super) struct Client {
    key: ClientKey,
    pub(super) flow: Flow,
    timing: Timing,
    machine: ClientMachine,
    request: Request,
    bytes: Bytes,
    cancel: Cancel,
    /// Where to send the request if it cannot be sent along `flow`.
    fallback: Option<Flow>,
    /// The ACKs sent for 2xx, by To tag: a repeated 2xx gets the same one.
    acks: Vec<(String, Flow, Bytes)>,
    pub(super) scheduled: Option<Instant>,
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

/// The way of a request to its next hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// Where it goes.
    pub flow: Flow,
    /// A stream to the same peer: where a request goes that is longer than
    /// [`MAX_DATAGRAM_REQUEST_BYTES`], if `flow` is datagrams (RFC 3261 §18.1.1). What cannot be
    /// sent there goes out as datagrams after all.
    pub stream: Option<Flow>,
}

impl From<Flow> for Way {
    fn from(flow: Flow) -> Self {
        Self { flow, stream: None }
    }
}

impl Way {
    /// Where a request of this size goes first, and where if that cannot be.
    fn of(self, request: &Request) -> (Flow, Option<Flow>) {
        let Self { flow, stream } = self;
        let Some(stream) = stream.filter(|_| !flow.transport.is_reliable()) else {
            return (flow, None);
        };
        let bytes = via_bytes(&flow) + request.to_bytes().len();
        if bytes <= MAX_DATAGRAM_REQUEST_BYTES { (flow, None) } else { (stream, Some(flow)) }
    }
}

impl Endpoint {
    /// Sends a request along this way, with a Via of ours on top. [`Event::SendFailed`] comes only
    /// when none of its flows is open.
    ///
    /// # Errors
    /// [`TooManyTransactions`], with nothing sent.
    pub fn request(
        &mut self,
        now: Instant,
        way: impl Into<Way>,
        request: Request,
    ) -> Result<ClientId, TooManyTransactions> {
        if self.clients.len() >= self.config.max_transactions {
            return Err(TooManyTransactions);
        }
        let id = ClientId(self.next_id());
        self.start(now, id, way.into(), request);
        Ok(id)
    }

    /// Sends a request anew, under the same name, in place of one that was refused, such as by a
    /// challenge (RFC 3261 §8.1.3.5): with a new branch; the CSeq must be new already. What has to
    /// be done about the refused one is done under no name. False, with nothing sent, if the
    /// request was given up in the meantime.
    ///
    /// # Errors
    /// [`TooManyTransactions`], with nothing sent.
    pub fn retry(
        &mut self,
        now: Instant,
        id: ClientId,
        way: impl Into<Way>,
        request: Request,
    ) -> Result<bool, TooManyTransactions> {
        if self.clients.len() >= self.config.max_transactions {
            return Err(TooManyTransactions);
        }
        if let Some(old) = self.clients.get(&id) {
            if !matches!(old.cancel, Cancel::NotWanted) {
                return Ok(false);
            }
            let nameless = ClientId(self.next_id());
            if let Some(mut old) = self.clients.remove(&id) {
                old.scheduled = None;
                self.client_ids.insert(old.key.clone(), nameless);
                self.clients.insert(nameless, old);
                self.settle_client(nameless);
            }
        }
        self.start(now, id, way.into(), request);
        Ok(true)
    }

    /// The flow a request of ours was sent along last; `None` if its transaction is over.
    pub fn flow_of(&self, id: ClientId) -> Option<Flow> {
        self.clients.get(&id).map(|client| client.flow)
    }

    /// Sends a request the other way, with a new branch, under the same name; false if there is
    /// none. Whatever has been answered did arrive, and a copy of it would be merged with it.
    fn fall_back(&mut self, now: Instant, id: ClientId) -> bool {
        let branch = self.tokens.branch();
        let Some(client) = self.clients.get_mut(&id) else { return false };
        let Some(flow) = client.fallback.take() else { return false };
        if !matches!(client.cancel, Cancel::NotWanted) {
            return false;
        }
        let timing = Timing { is_reliable: flow.transport.is_reliable(), ..client.timing };
        let via = Via::new(flow.transport, flow.local, &branch);
        client.request.headers.set_first_value(Name::Via, via);
        client.bytes = client.request.to_bytes();
        client.machine = ClientMachine::new(now, &client.request.method, timing);
        (client.flow, client.timing) = (flow, timing);
        let key = ClientKey::new(branch, client.request.method.clone());
        let old = std::mem::replace(&mut client.key, key.clone());
        self.output.push_back((flow, client.bytes.clone()));
        self.client_ids.remove(&old);
        self.client_ids.insert(key, id);
        true
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
        if let Some(client) = self.clients.get(&id) {
            // What proved the INVITE proves its ACK (RFC 3261 §22.1).
            for name in [Name::Authorization, Name::ProxyAuthorization] {
                request.headers.copy_from(&client.request.headers, name);
            }
        }
        let bytes = request.to_bytes();
        self.output.push_back((flow, bytes.clone()));
        let tag = request.headers.to_tag().map(Cow::into_owned);
        if let Some(client) = self.clients.get_mut(&id)
            && client.acks.len() < MAX_ACKS
        {
            client.acks.push((tag.unwrap_or_default(), flow, bytes));
        }
    }

    fn start(&mut self, now: Instant, id: ClientId, way: Way, mut request: Request) {
        let (flow, fallback) = way.of(&request);
        let branch = self.tokens.branch();
        request.headers.insert_front(Name::Via, Via::new(flow.transport, flow.local, &branch));
        let timing = self.timing(flow);
        let machine = ClientMachine::new(now, &request.method, timing);
        self.start_named(id, flow, timing, machine, request, branch);
        if let Some(client) = self.clients.get_mut(&id) {
            client.fallback = fallback;
        }
    }

    fn start_named(
        &mut self,
        id: ClientId,
        flow: Flow,
        timing: Timing,
        machine: ClientMachine,
        request: Request,
        branch: String,
    ) {
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
            fallback: None,
            acks: Vec::new(),
            scheduled: None,
        };
        self.client_ids.insert(key, id);
        self.clients.insert(id, client);
        self.settle_client(id);
    }

    pub(super) fn handle_response(&mut self, now: Instant, flow: Flow, response: Response) {
        let id = ClientKey::of(&response).and_then(|key| self.client_ids.get(&key).copied());
        let Some(id) = id else {
            self.events.push_back(Event::Stray { flow, response });
            return;
        };
        let status = response.status;
        if let Some(client) = self.clients.get_mut(&id) {
            client.fallback = None;
        }
        self.step_client(now, id, ClientInput::Response(status), Some((flow, response)));
        let is_ringing = self.clients.get(&id).is_some_and(|client| {
            matches!(client.machine, ClientMachine::Invite(ClientInvite::Proceeding { .. }))
                && matches!(client.cancel, Cancel::Wanted { .. })
        });
        if is_ringing {
            self.send_cancel(now, id);
        }
    }

    pub(super) fn step_client(
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
                if !self.fall_back(now, id) {
                    self.events.push_back(Event::SendFailed { id });
                }
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
        let nameless = ClientId(self.next_id());
        self.start_named(nameless, flow, timing, machine, request, branch);
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

/// What our Via adds to a request.
fn via_bytes(flow: &Flow) -> usize {
    let branch = format!("{MAGIC_COOKIE}{:020}", 0);
    format!("Via: {}\r\n", Via::new(flow.transport, flow.local, &branch)).len()
}

impl ClientMachine {
    fn new(now: Instant, method: &Method, timing: Timing) -> Self {
        match method {
            Method::Invite => Self::Invite(ClientInvite::new(now, timing)),
            _ => Self::Other(ClientOther::new(now, timing)),
        }
    }
}

impl Client {
    /// The Request-URI it was sent with.
    pub(super) fn request_uri(&self) -> &Uri {
        &self.request.uri
    }

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
