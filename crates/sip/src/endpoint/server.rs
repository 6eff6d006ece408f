//! The server side of the endpoint: requests to us and our answers.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::hash_map::Entry;
use std::time::Instant;

use bytes::Bytes;

use super::key::{AckKey, MergeKey, ServerKey};
use super::looping::Looping;
use super::{Endpoint, Event, ServerId, Side};
use crate::flow::{Flow, network};
use crate::message::{Request, Response};
use crate::method::Method;
use crate::transaction::{
    AcceptedInvite, ServerInput, ServerInvite, ServerOther, ServerOutput, Timing,
};

#[derive(Debug)]
pub(super) struct Server {
    key: ServerKey,
    merge_key: Option<MergeKey>,
    flow: Flow,
    timing: Timing,
    machine: ServerMachine,
    /// The latest response, to be sent again.
    response: Option<Bytes>,
    to_tag: Option<String>,
    accepted: Option<(AckKey, AcceptedInvite)>,
    pub(super) scheduled: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
enum ServerMachine {
    Invite(ServerInvite),
    Other(ServerOther),
}

impl Endpoint {
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
        // No merge: some phones answer a challenge with the CSeq number they had before, and after
        // 503 the same request may be tried at another address of ours (RFC 3263 §4.3).
        if matches!(response.status, 401 | 407 | 503)
            && let Some(key) = server.merge_key.take()
        {
            self.merging.remove(&key);
        }
        if server.to_tag.is_none() {
            server.to_tag = response.headers.to_tag().map(Cow::into_owned);
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

    /// Answers a request and forgets it at once; the answer is not repeated. So are strangers
    /// challenged (RFC 3261 §26.3.2.4): they leave nothing behind, and nobody can have many answers
    /// sent to an address that he only claims is his. Who missed it asks again, and is answered anew.
    pub fn respond_once(&mut self, id: ServerId, response: &Response) {
        let Some(server) = self.servers.get_mut(&id) else { return };
        self.output.push_back((server.flow, response.to_bytes()));
        server.machine = match server.machine {
            ServerMachine::Invite(_) => ServerMachine::Invite(ServerInvite::Terminated),
            ServerMachine::Other(_) => ServerMachine::Other(ServerOther::Terminated),
        };
        self.settle_server(id);
    }

    pub(super) fn handle_request(
        &mut self,
        now: Instant,
        flow: Flow,
        request: Request,
        key: ServerKey,
        most_of_source: usize,
    ) {
        if let Some(id) = self.server_ids.get(&key).copied() {
            self.step_server(now, id, ServerInput::Request);
            return;
        }
        // What is new leaves room for the calls that are there.
        let (room, of_source) = match request.is_in_dialog() {
            true => (self.config.max_transactions, usize::MAX),
            false => {
                (self.config.max_transactions - self.config.max_transactions / 4, most_of_source)
            }
        };
        let has_source_room =
            self.sources.get(&network(flow.remote.ip())).is_none_or(|open| *open < of_source);
        if self.servers.len() >= room || !has_source_room {
            self.events.push_back(Event::Overloaded { flow, request });
            return;
        }
        if request.method == Method::Bye {
            self.acknowledge_by_bye(&request);
        }
        let merge_key = MergeKey::new(&request);
        let is_known = merge_key.as_ref().is_some_and(|key| self.merging.contains_key(key));
        // What we passed on ourselves and comes back for somebody else is no copy.
        let is_spiral = || matches!(self.looping(&request), Some(Looping::Spiral(_)));
        if is_known && !is_spiral() {
            let tag = self.tokens.token();
            let response = Response::to(&request, 482, "Request Merged", Some(&tag));
            let id = self.start_server(now, flow, &request.method, key);
            self.respond(now, id, &response);
            return;
        }
        let id = self.start_server(now, flow, &request.method, key);
        if let Some(key) = merge_key
            && let Some(server) = self.servers.get_mut(&id)
        {
            server.merge_key = Some(key.clone());
            self.merging.insert(key, id);
        }
        self.events.push_back(Event::Request { id, flow, request });
    }

    pub(super) fn handle_ack(
        &mut self,
        now: Instant,
        flow: Flow,
        request: Request,
        key: &ServerKey,
    ) {
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
        if let Some(id) = id {
            self.acknowledge(id);
        }
        self.events.push_back(Event::Ack { id, flow, request });
    }

    /// Stops repeating the 2xx of this INVITE.
    fn acknowledge(&mut self, id: ServerId) {
        if let Some(server) = self.servers.get_mut(&id)
            && let Some((_, accepted)) = &mut server.accepted
        {
            *accepted = AcceptedInvite::Acknowledged;
        }
        self.settle_server(id);
    }

    /// Who hangs up has had the 2xx, even if the ACK was lost.
    fn acknowledge_by_bye(&mut self, bye: &Request) {
        let Some(bye) = AckKey::new(&bye.headers) else { return };
        let key = self.unacknowledged.keys().find(|key| key.is_same_dialog(&bye)).cloned();
        if let Some(id) = key.and_then(|key| self.unacknowledged.remove(&key)) {
            self.acknowledge(id);
        }
    }

    pub(super) fn handle_cancel(
        &mut self,
        now: Instant,
        flow: Flow,
        request: Request,
        key: ServerKey,
    ) {
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
            merge_key: None,
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
        *self.sources.entry(network(flow.remote.ip())).or_default() += 1;
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

    pub(super) fn time_server(&mut self, now: Instant, id: ServerId) {
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

    fn leaves_source(&mut self, flow: Flow) {
        if let Entry::Occupied(mut open) = self.sources.entry(network(flow.remote.ip())) {
            *open.get_mut() -= 1;
            if *open.get() == 0 {
                open.remove();
            }
        }
    }

    /// Removes a transaction that is over, else sees that it is woken in time.
    fn settle_server(&mut self, id: ServerId) {
        let Some(server) = self.servers.get_mut(&id) else { return };
        if server.is_over() {
            if let Some(server) = self.servers.remove(&id) {
                self.leaves_source(server.flow);
                self.server_ids.remove(&server.key);
                if let Some(key) = server.merge_key {
                    self.merging.remove(&key);
                }
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
