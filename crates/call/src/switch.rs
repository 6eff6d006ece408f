//! The switch: takes what the shell feeds, finds the call it concerns, and gives out what is to be
//! done.
//!
//! Belongs here: dispatch, timers; `commands` and `transfers` are what concerns two calls. Does not:
//! what a new request means (`intake`), what a call does (`b2bua`).

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use cheling_model::directory::Directory;
use cheling_model::{CallId, Now};
use cheling_sip::endpoint::Event as SipEvent;
use cheling_sip::{Flow, Message, Method, ParseErrorKind, Request, Response};

use crate::b2bua::{Call, Event, Lamp};
use crate::core::Core;
use crate::guard::{self, ShutOut, Verdict};
use crate::io::{Input, Output, Settings};
use crate::messages::Messages;
use crate::occupancy::Uses;
use crate::outward::{Taken, TrunkStatus};
use crate::registrar::{Binding, Kept, Registration};
use crate::router;
use crate::subscriptions::Subscriptions;
use crate::trunks::News;
use crate::{intake, passage};

mod commands;
mod transfers;

/// Click-to-dial ids that are remembered, so that asking twice dials once.
const MAX_DIALLED: usize = 1024;
/// A source that has proved a password may have one in so many of all transactions: ten thousand
/// phones behind one address register again within ten seconds.
const TRUSTED_SHARE: usize = 2;
/// The same of one that has not: 100 requests a second, each of which lingers for 32 s, and not
/// much more.
const STRANGERS_SHARE: usize = 12;

/// Decides about every call. See [`crate::io`] for how to drive it.
#[derive(Debug)]
pub struct Switch {
    pub(crate) core: Core,
    pub(crate) calls: HashMap<CallId, Slot>,
    pub(crate) dialled: VecDeque<CallId>,
    pub(crate) is_draining: bool,
    pub(crate) subscriptions: Subscriptions,
    pub(crate) messages: Messages,
    timers: BTreeSet<(Instant, CallId)>,
}

/// A call and what the switch knows it by.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) call: Call,
    wake_at: Option<Instant>,
    /// The phones and trunks that it has in use.
    uses: Uses,
}

/// Whether a request begins something: what is within dialogs, ACK and CANCEL do not.
fn is_new(request: &Request) -> bool {
    !request.is_in_dialog() && !matches!(request.method, Method::Ack | Method::Cancel)
}

impl Switch {
    /// A switch without calls. `now` is the time of its making.
    pub fn new(now: Now, settings: Settings, directory: Arc<Directory>) -> Self {
        Self {
            core: Core::new(now, settings, directory),
            calls: HashMap::new(),
            dialled: VecDeque::new(),
            is_draining: false,
            subscriptions: Subscriptions::default(),
            messages: Messages::default(),
            timers: BTreeSet::new(),
        }
    }

    /// Takes one thing that happened.
    pub fn handle(&mut self, now: Now, input: Input<'_>) {
        self.core.now = now;
        match input {
            Input::Message { flow, bytes } => self.message(self.core.named(flow), bytes),
            Input::SendFailed { flow } => {
                let flow = self.core.named(flow);
                let Core { outward, settings, endpoint, .. } = &mut self.core;
                outward.send_failed(settings, flow, now.monotonic);
                endpoint.handle_send_failed(now.monotonic, &flow);
            }
            Input::FlowClosed { flow } => {
                let flow = self.core.named(flow);
                let device = self.core.registrar.of_connection(flow).cloned();
                self.core.registrar.flow_closed(flow);
                self.subscriptions.flow_closed(flow);
                self.core.outward(|outward, desk| outward.flow_closed(desk, flow));
                self.flow_closed(flow, device.as_ref());
                self.core.endpoint.handle_send_failed(now.monotonic, &flow);
            }
            Input::RelayOpened { call_id, local } => {
                self.feed(call_id, Event::RelayOpened(local));
            }
            Input::GuestOpened { call_id, guest, local } => {
                self.feed(call_id, Event::GuestOpened { guest, local });
            }
            Input::RelayFailed { call_id } => self.feed(call_id, Event::RelayFailed),
            Input::RelayClosed { call_id, received_packets, tap_dropped_packets } => {
                self.feed(call_id, Event::RelayClosed { received_packets, tap_dropped_packets });
            }
            Input::TrunkMoved { trunk, addresses } => {
                let known = self.core.settings.trunks.iter_mut().find(|it| it.name == trunk);
                if let Some(known) = known {
                    known.addresses = addresses;
                    self.core.outward(|outward, desk| outward.moved(desk, trunk));
                }
            }
            Input::RecordingPaused { call_id, is_paused, at } => {
                self.feed(call_id, Event::RecordingPaused { is_paused, at });
            }
            Input::Digit { call_id, digit } => self.feed(call_id, Event::Digit(digit)),
            Input::Directory(directory) => {
                let directory = router::in_order(directory);
                let is_known = |number: &str| router::extension(&directory, number).is_some();
                // Whose phones they are is the telephone system's affair, if there is one.
                if passage::pbx(&self.core).is_none() {
                    self.core.registrar.retain_extensions(is_known);
                }
                self.core.occupancy.retain(is_known);
                self.core.directory = directory;
                self.subscriptions.retain_extensions(&mut self.core);
            }
            Input::Restored(mut kept) => {
                if passage::pbx(&self.core).is_none() {
                    let directory = &self.core.directory;
                    kept.retain(|it| router::extension(directory, &it.extension).is_some());
                }
                self.core.registrar.restore(now, kept);
            }
            Input::Command(command) => self.command(command),
            Input::Timeout => self.timeout(now),
        }
        while let Some(event) = self.core.endpoint.poll_event() {
            self.sip_event(event);
            while let Some((call_id, attended)) = self.core.attended.pop_front() {
                self.attend(call_id, attended);
            }
        }
        while let Some(errand) = self.core.errands.pop_front() {
            self.run(errand);
        }
    }

    /// The next thing to be done.
    pub fn poll(&mut self) -> Option<Output> {
        self.core.poll()
    }

    /// When to feed [`Input::Timeout`]. It may turn out that nothing was due.
    pub fn next_timeout(&self) -> Option<Instant> {
        [
            self.core.endpoint.next_timeout(),
            self.core.registrar.next_timeout(),
            self.subscriptions.next_timeout(),
            self.core.outward.next_timeout(),
            self.core.trunks.next_timeout(),
            self.timers.first().map(|(at, _)| *at),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// All registered phones, by extension.
    pub fn registrations(&self) -> Vec<Registration> {
        self.core.registrar.registrations(self.core.now.monotonic)
    }

    /// All registrations that a restart need not end, for [`Input::Restored`].
    pub fn kept_registrations(&self) -> Vec<Kept> {
        self.core.registrar.kept(self.core.now)
    }

    /// How the trunks are, in the order of the config.
    pub fn trunks(&self) -> Vec<TrunkStatus> {
        self.core.trunk_statuses()
    }

    /// What the guard against scanners has done.
    pub fn guard_counters(&self) -> Arc<guard::Counters> {
        self.core.guard.counters()
    }

    /// Whether there are as many calls as may be. Those that are over linger a little; they are
    /// told apart only where it matters, since every new call asks.
    pub(crate) fn is_full(&self) -> bool {
        let max_calls = self.core.settings.max_calls;
        self.calls.len() >= max_calls && self.live_calls() >= max_calls
    }

    /// Calls in progress; one that passes twice counts once.
    pub fn live_calls(&self) -> usize {
        let is_whole = |call_id: &CallId| !self.core.joined.is_part(*call_id);
        let calls =
            self.calls.iter().filter(|(call_id, slot)| slot.call.is_live() && is_whole(call_id));
        calls.count()
    }

    /// Whether nothing at all is kept of any call: no state, no transaction.
    pub fn is_idle(&self) -> bool {
        self.calls.is_empty()
            && self.timers.is_empty()
            && self.core.table_sizes() == [0; 3]
            && self.messages.len() == 0
            && self.core.occupancy.is_idle()
            && self.core.joined.len() == 0
            && self.core.endpoint.transactions() == (0, 0)
    }

    fn message(&mut self, flow: Flow, bytes: &[u8]) {
        let (now, ip) = (self.core.now.monotonic, flow.remote.ip());
        // Answers to what we ask are always welcome.
        let is_stranger = !bytes.starts_with(b"SIP/2.0") && !self.core.is_trunk(flow);
        let shut_out = if is_stranger { self.core.guard.is_shut_out(now, ip) } else { None };
        if shut_out == Some(ShutOut::Drop) {
            return;
        }
        match Message::parse(bytes) {
            Ok(Message::Request(request)) if is_stranger && is_new(&request) => {
                let verdict = match shut_out {
                    Some(_) => Verdict::Answer(403),
                    None => self.core.guard.look(now, ip, &request),
                };
                match verdict {
                    Verdict::Serve => {
                        let share = match self.core.guard.is_trusted(now, ip) {
                            true => TRUSTED_SHARE,
                            false => STRANGERS_SHARE,
                        };
                        let most = self.core.endpoint.max_transactions() / share;
                        let message = Message::Request(request);
                        self.core.endpoint.handle_from(now, flow, message, most);
                    }
                    Verdict::Drop => {}
                    Verdict::Answer(status) => {
                        intake::turn_away(&mut self.core, flow, request, status)
                    }
                }
            }
            Ok(message) => {
                self.core.endpoint.handle_message(self.core.now.monotonic, flow, message);
            }
            Err(err) if err.kind == ParseErrorKind::Empty => {}
            Err(err) => {
                if is_stranger {
                    self.core.guard.unreadable(now, ip);
                }
                if self.core.may_log() {
                    tracing::warn!(from = %flow, status = err.status(), %err, "unreadable message");
                }
                if let Some(response) = err.response() {
                    self.core.send(flow, response);
                }
            }
        }
    }

    fn timeout(&mut self, now: Now) {
        self.core.endpoint.handle_timeout(now.monotonic);
        self.core.registrar.expire(now);
        self.subscriptions.timeout(&mut self.core);
        self.core.outward(|outward, desk| outward.handle_timeout(desk));
        intake::ping_trunks(&mut self.core);
        while let Some((at, call_id)) = self.timers.first().copied() {
            if at > now.monotonic {
                return;
            }
            self.timers.pop_first();
            if let Some(slot) = self.calls.get_mut(&call_id) {
                slot.wake_at = None;
            }
            self.feed(call_id, Event::Timeout);
        }
    }

    fn sip_event(&mut self, event: SipEvent) {
        match event {
            SipEvent::Request { id, flow, request } => {
                if !request.is_in_dialog() {
                    return intake::request(self, id, flow, request);
                }
                let tag = request.headers.to_tag();
                match tag.and_then(|tag| self.core.call_of_tag(&tag)) {
                    Some(call_id) => {
                        let request = Box::new(request);
                        self.feed(call_id, Event::Request { server: id, flow, request });
                    }
                    None => {
                        let core = &mut self.core;
                        let Some(request) = passage::within(core, id, flow, request) else {
                            return;
                        };
                        if !self.subscriptions.within(core, (id, flow), &request) {
                            core.refuse(id, &request, 481);
                        }
                    }
                }
            }
            SipEvent::Ack { request, .. } => {
                let tag = request.headers.to_tag();
                if let Some(call_id) = tag.and_then(|tag| self.core.call_of_tag(&tag)) {
                    self.feed(call_id, Event::Ack(&request));
                }
            }
            SipEvent::Cancel { id, .. } => {
                if let Some(call_id) = self.core.call_of_server(id) {
                    self.feed(call_id, Event::Cancelled(id));
                }
            }
            SipEvent::NotAcknowledged { id } => {
                if let Some(call_id) = self.core.call_of_server(id) {
                    self.feed(call_id, Event::NotAcknowledged);
                }
            }
            SipEvent::Response { id, response, .. } => {
                match self.core.outward(|outward, desk| outward.response(desk, id, &response)) {
                    Taken::Mine => return,
                    Taken::Answered { cseq } => return self.renumbered(id, &response, cseq),
                    Taken::Passed => {}
                }
                match passage::response(&mut self.core, id, &response) {
                    Ok(Some(extension)) => return self.returned(&extension),
                    Ok(None) => return,
                    Err(()) => {}
                }
                match self.core.call_of_client(id) {
                    Some(call_id) => self.feed(call_id, Event::Response(id, &response)),
                    // Whatever it says: the trunk is there.
                    None if response.status >= 200 && self.trunk_answered(id, true) => {}
                    None => self.answered_outside(id, response.status),
                }
            }
            // As if 408 and 503 had come (RFC 3261 §8.1.3.1).
            SipEvent::TimedOut { id } => self.no_response(id, 408),
            SipEvent::SendFailed { id } => self.no_response(id, 503),
            SipEvent::Stray { flow, response } => {
                tracing::debug!(from = %flow, status = response.status, "stray response");
            }
            SipEvent::Overloaded { flow, request } => {
                intake::overloaded(&mut self.core, flow, &request);
            }
        }
    }

    /// A request of a call goes on under another number.
    fn renumbered(&mut self, client: cheling_sip::ClientId, response: &Response, cseq: u32) {
        let from = response.headers.from();
        let tag = from.as_ref().and_then(|from| from.tag());
        if let (Some(call_id), Some(tag)) = (self.core.call_of_client(client), tag) {
            self.feed(call_id, Event::Renumbered { tag, cseq });
        }
    }

    fn no_response(&mut self, client: cheling_sip::ClientId, status: u16) {
        if self.core.outward(|outward, desk| outward.no_response(desk, client, status))
            || passage::no_response(&mut self.core, client, status)
        {
            return;
        }
        match self.core.call_of_client(client) {
            Some(call_id) => self.feed(call_id, Event::NoResponse(client, status)),
            None if self.trunk_answered(client, false) => {}
            None => self.answered_outside(client, status),
        }
    }

    /// A trunk was asked whether it is there; false if it was not by this request.
    fn trunk_answered(&mut self, client: cheling_sip::ClientId, is_there: bool) -> bool {
        let Some(news) = self.core.trunks.answered(client, is_there) else { return false };
        if let News::Back { trunk } = news {
            self.core.outward(|outward, desk| outward.is_back(desk, &trunk));
        }
        true
    }

    /// A request of ours that belongs to no call has its answer, or none.
    fn answered_outside(&mut self, client: cheling_sip::ClientId, status: u16) {
        let core = &mut self.core;
        if !self.subscriptions.answered(core, client, status) {
            self.messages.answered(core, client, status);
        }
    }

    /// What all calls light.
    pub(crate) fn lamps(calls: &HashMap<CallId, Slot>, core: &Core) -> HashMap<CallId, Vec<Lamp>> {
        calls.iter().map(|(call_id, slot)| (*call_id, slot.call.lamps(core))).collect()
    }

    /// A connection broke, by which this device had registered.
    fn flow_closed(&mut self, flow: Flow, device: Option<&Binding>) {
        if flow.connection.is_none() {
            return;
        }
        let all: Vec<_> = self.calls.keys().copied().collect();
        for call_id in all {
            self.feed(call_id, Event::FlowClosed { flow, device });
        }
        // Some come back before the old connection is known to be gone.
        for extension in self.core.lost.clone() {
            self.returned(&extension);
        }
    }

    /// A phone has registered: calls whose connection to it broke go on there.
    pub(crate) fn returned(&mut self, extension: &str) {
        if !self.core.lost.contains(extension) {
            return;
        }
        let now = self.core.now.monotonic;
        let bindings: Vec<_> = self.core.registrar.contacts(now, extension).cloned().collect();
        let holding: Vec<_> = self
            .calls
            .iter()
            .filter(|(_, slot)| slot.call.holds(extension))
            .map(|(call_id, _)| *call_id)
            .collect();
        for call_id in &holding {
            let bindings = &bindings[..];
            self.feed(*call_id, Event::Returned { extension, bindings });
        }
        let waits =
            |call_id| self.calls.get(call_id).is_some_and(|it| it.call.is_lost(extension, now));
        if !holding.iter().any(waits) {
            self.core.lost.remove(extension);
        }
    }

    /// Takes a new call in.
    pub(crate) fn add(&mut self, call_id: CallId, call: Call) {
        self.calls.insert(call_id, Slot { call, wake_at: None, uses: Uses::new() });
        self.settle(call_id);
    }

    /// Remembers that this click has been obeyed.
    pub(crate) fn remember_dialled(&mut self, call_id: CallId) {
        if self.dialled.len() >= MAX_DIALLED {
            self.dialled.pop_front();
        }
        self.dialled.push_back(call_id);
    }

    fn feed(&mut self, call_id: CallId, event: Event<'_>) {
        let Some(slot) = self.calls.get_mut(&call_id) else {
            // The call of a relay that opened too late is gone: so must the relay be.
            if matches!(event, Event::RelayOpened(_)) {
                self.core.put(Output::CloseRelay { call_id });
            }
            return;
        };
        slot.call.handle(&mut self.core, event);
        self.settle(call_id);
    }

    /// Frees a finished call, else sees that it is woken in time.
    pub(crate) fn settle(&mut self, call_id: CallId) {
        let Some(slot) = self.calls.get_mut(&call_id) else { return };
        if self.subscriptions.is_watching() {
            let lamps = slot.call.lamps(&self.core);
            self.subscriptions.light(&mut self.core, call_id, lamps);
        }
        let wake_at = slot.call.wake_at();
        if wake_at != slot.wake_at {
            if let Some(at) = slot.wake_at {
                self.timers.remove(&(at, call_id));
            }
            self.timers.extend(wake_at.map(|at| (at, call_id)));
            slot.wake_at = wake_at;
        }
        let uses = slot.call.uses();
        if !uses.iter().copied().eq(slot.uses.iter().map(|(side, hold)| (side, *hold))) {
            let uses: Uses = uses.into_iter().map(|(side, hold)| (side.clone(), hold)).collect();
            self.core.occupancy.change(self.core.now.monotonic, &slot.uses, &uses);
            slot.uses = uses;
        }
        if slot.call.is_finished()
            && let Some(slot) = self.calls.remove(&call_id)
        {
            self.core.forget(slot.call.entries());
            self.core.joined.forget(call_id);
        }
    }
}
