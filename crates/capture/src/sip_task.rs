//! The loop round the call machines: drain what they want done, wait, feed one input, repeat.
//!
//! It has no opinions. It owns the [`Switch`] by `&mut`, so there is no lock in call control; it
//! reads the clocks; and nothing that it does waits: not sending, not the relay, not the journal.

use crate::clock::AnchoredClock;
use crate::events::EventTap;
use crate::relay::{Relays, Report};
use crate::transport::{Arrived, Transports};
use cheling_call::io::{Command, CommandReply, Input, Output};
use cheling_call::outward::TrunkStatus;
use cheling_call::registrar::{Kept, Registration};
use cheling_call::switch::Switch;
use cheling_model::directory::{Directory, TrunkAddress};
use cheling_model::{Lane, Now, TapEvent, TapKind};
use cheling_sip::Flow;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// How often what found a full queue is tried again.
const RETRY: Duration = Duration::from_millis(10);
/// How often, between calls, the wall clock is compared with the anchor.
const CLOCK_CHECK: Duration = Duration::from_secs(10);
/// How far the wall clock may be from the anchor before the anchor is renewed.
const CLOCK_TOLERANCE: Duration = Duration::from_millis(100);
/// Messages taken from the transports in one go.
const BATCH: usize = 64;

/// What the rest of the program asks of the SIP task.
pub(crate) enum Request {
    /// Call control that is answered.
    Ask { command: Command, ticket: u64, reply: oneshot::Sender<CommandReply> },
    /// Call control that is not.
    Tell(Command),
    /// New extensions, lines and groups.
    Directory(Arc<Directory>),
    /// Where a trunk is now.
    MoveTrunk { trunk: String, addresses: Vec<TrunkAddress> },
    /// How the trunks are.
    Trunks(oneshot::Sender<Vec<TrunkStatus>>),
    /// Which phones are registered.
    Registrations(oneshot::Sender<Vec<Registration>>),
    /// The registrations that a restart need not end.
    KeptRegistrations(oneshot::Sender<Vec<Kept>>),
    /// Registrations from before a restart.
    Restore(Vec<Kept>),
}

/// Everything that the SIP task owns.
pub(crate) struct SipTask {
    pub(crate) switch: Switch,
    pub(crate) transports: Transports,
    pub(crate) arrivals: mpsc::Receiver<Arrived>,
    pub(crate) relays: Relays,
    pub(crate) reports: mpsc::Receiver<Report>,
    pub(crate) requests: mpsc::Receiver<Request>,
    pub(crate) events: EventTap,
    pub(crate) clock: AnchoredClock,
    pub(crate) stop: CancellationToken,
}

/// What the loop waits for.
enum Wake {
    Stop,
    Arrived,
    Reported(Report),
    Asked(Request),
    Due,
}

/// What the machines are told because of what they asked for.
enum Consequence {
    SendFailed(Flow),
    Relay(Report),
}

impl SipTask {
    /// Runs until stopped, then closes everything in order.
    pub(crate) async fn run(mut self) {
        let mut replies = HashMap::new();
        let mut batch = Vec::with_capacity(BATCH);
        let mut clock_checked = Instant::now();
        loop {
            match self.wait(&mut batch).await {
                Wake::Stop => break,
                wake => {
                    if self.relays.is_idle() && clock_checked.elapsed() > CLOCK_CHECK {
                        self.clock = self.clock.renewed(CLOCK_TOLERANCE);
                        clock_checked = Instant::now();
                    }
                    self.act(wake, &mut batch, &mut replies);
                    self.relays.wake();
                }
            }
        }
        self.close(&mut replies).await;
    }

    async fn wait(&mut self, batch: &mut Vec<Arrived>) -> Wake {
        let mut due = self.switch.next_timeout();
        if self.relays.is_behind() {
            let retry = Instant::now() + RETRY;
            due = Some(due.map_or(retry, |due| due.min(retry)));
        }
        let timeout = async {
            match due {
                Some(due) => tokio::time::sleep_until(due.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // In this order: what frees resources before what takes them.
            biased;
            () = self.stop.cancelled() => Wake::Stop,
            Some(report) = self.reports.recv() => Wake::Reported(report),
            Some(request) = self.requests.recv() => Wake::Asked(request),
            () = timeout => Wake::Due,
            _ = self.arrivals.recv_many(batch, BATCH) => Wake::Arrived,
        }
    }

    fn act(
        &mut self,
        wake: Wake,
        batch: &mut Vec<Arrived>,
        replies: &mut HashMap<u64, oneshot::Sender<CommandReply>>,
    ) {
        match wake {
            Wake::Stop => {}
            Wake::Arrived => {
                for arrived in batch.drain(..) {
                    self.transports.note(&arrived);
                    let now = self.clock.now();
                    match &arrived {
                        Arrived::Opened { .. } => continue,
                        Arrived::Message { flow, bytes } => {
                            self.switch.handle(now, Input::Message { flow: *flow, bytes });
                        }
                        Arrived::SendFailed { flow } => {
                            self.switch.handle(now, Input::SendFailed { flow: *flow });
                        }
                        Arrived::Closed { flow } => {
                            self.switch.handle(now, Input::FlowClosed { flow: *flow });
                        }
                    }
                    self.drain(replies);
                }
            }
            Wake::Reported(report) => {
                self.report(self.clock.now(), report);
                self.drain(replies);
            }
            Wake::Asked(request) => {
                self.answer(request, replies);
                self.drain(replies);
            }
            Wake::Due => {
                self.relays.retry();
                let now = self.clock.now();
                if self.switch.next_timeout().is_some_and(|due| due <= now.monotonic) {
                    self.switch.handle(now, Input::Timeout);
                    self.drain(replies);
                }
            }
        }
    }

    fn report(&mut self, now: Now, report: Report) {
        self.relays.note(&report);
        self.switch.handle(
            now,
            match report {
                Report::Opened { call_id, local } => Input::RelayOpened { call_id, local },
                Report::Failed { call_id } => Input::RelayFailed { call_id },
                Report::RecordingPaused { call_id, is_paused, at } => {
                    Input::RecordingPaused { call_id, is_paused, at }
                }
                Report::Digit { call_id, digit } => Input::Digit { call_id, digit },
                Report::Guest { call_id, guest, local } => {
                    Input::GuestOpened { call_id, guest, local }
                }
                Report::Closed { call_id, received_packets, tap_dropped_packets, faults } => {
                    // Before the journal hears that nothing more comes.
                    for (lane, why) in Lane::BOTH.into_iter().zip(faults) {
                        let Some(why) = why else { continue };
                        let kind = TapKind::MediaRefused { lane, why };
                        self.events.send(TapEvent { call_id, at: now.wall, kind });
                    }
                    Input::RelayClosed { call_id, received_packets, tap_dropped_packets }
                }
            },
        );
    }

    fn answer(
        &mut self,
        request: Request,
        replies: &mut HashMap<u64, oneshot::Sender<CommandReply>>,
    ) {
        let now = self.clock.now();
        match request {
            Request::Ask { command, ticket, reply } => {
                // Whoever stopped waiting leaves a dead entry behind, if the machines never reply.
                replies.retain(|_, reply| !reply.is_closed());
                replies.insert(ticket, reply);
                self.switch.handle(now, Input::Command(command));
            }
            Request::Tell(command) => self.switch.handle(now, Input::Command(command)),
            Request::Directory(directory) => {
                self.switch.handle(now, Input::Directory(directory));
            }
            Request::MoveTrunk { trunk, addresses } => {
                self.transports.move_tls_peer(&trunk, &addresses);
                self.switch.handle(now, Input::TrunkMoved { trunk: &trunk, addresses });
            }
            Request::Trunks(reply) => {
                let _ = reply.send(self.switch.trunks());
            }
            Request::Registrations(reply) => {
                let _ = reply.send(self.switch.registrations());
            }
            Request::KeptRegistrations(reply) => {
                let _ = reply.send(self.switch.kept_registrations());
            }
            Request::Restore(kept) => self.switch.handle(now, Input::Restored(kept)),
        }
    }

    /// Does what the machines want done, and tells them what came of it at once.
    fn drain(&mut self, replies: &mut HashMap<u64, oneshot::Sender<CommandReply>>) {
        let mut consequences = VecDeque::new();
        loop {
            while let Some(output) = self.switch.poll() {
                if let Some(consequence) = self.do_output(output, replies) {
                    consequences.push_back(consequence);
                }
            }
            match consequences.pop_front() {
                Some(Consequence::SendFailed(flow)) => {
                    self.switch.handle(self.clock.now(), Input::SendFailed { flow });
                }
                Some(Consequence::Relay(report)) => self.report(self.clock.now(), report),
                None => return,
            }
        }
    }

    fn do_output(
        &mut self,
        output: Output,
        replies: &mut HashMap<u64, oneshot::Sender<CommandReply>>,
    ) -> Option<Consequence> {
        match output {
            Output::Send { flow, bytes } => {
                if let Err(err) = self.transports.send(&flow, bytes) {
                    tracing::warn!(%flow, %err, "SIP message not sent");
                    return Some(Consequence::SendFailed(flow));
                }
            }
            Output::OpenRelay { call_id } => {
                if !self.relays.open(call_id, self.clock) {
                    tracing::warn!(%call_id, "no relay: the relay threads are behind");
                    return Some(Consequence::Relay(Report::Failed { call_id }));
                }
            }
            Output::PointRelay { call_id, lane, remote } => {
                self.relays.point(call_id, lane, remote);
            }
            Output::ProtectRelay { call_id, lane, protection } => {
                self.relays.protect(call_id, lane, protection);
            }
            Output::OpenGuest { call_id, guest } => {
                if !self.relays.open_guest(call_id, guest) {
                    let report = Report::Guest { call_id, guest, local: None };
                    return Some(Consequence::Relay(report));
                }
            }
            Output::PointGuest { call_id, guest, remote, protection } => {
                self.relays.point_guest(call_id, guest, remote, protection);
            }
            Output::CloseGuest { call_id, guest } => self.relays.close_guest(call_id, guest),
            Output::Mix { call_id, plan } => self.relays.mix(call_id, plan),
            Output::StartRecording { call_id } => self.relays.start_recording(call_id),
            Output::PauseRecording { call_id, is_paused } => {
                self.relays.pause_recording(call_id, is_paused);
            }
            Output::TelephoneEvents { call_id, lane, payload_types } => {
                self.relays.telephone_events(call_id, lane, payload_types);
            }
            Output::CloseRelay { call_id } => {
                if !self.relays.close(call_id) {
                    let (received_packets, tap_dropped_packets) = ([0; 2], [0; 2]);
                    return Some(Consequence::Relay(Report::Closed {
                        call_id,
                        received_packets,
                        tap_dropped_packets,
                        faults: [None; 2],
                    }));
                }
            }
            Output::Tap(event) => self.events.send(event),
            Output::Reply { ticket, reply } => {
                if let Some(waiting) = replies.remove(&ticket) {
                    let _ = waiting.send(reply);
                }
            }
        }
        None
    }

    /// Ends in order: media first, so that its last packets and counts are told; then SIP.
    async fn close(mut self, replies: &mut HashMap<u64, oneshot::Sender<CommandReply>>) {
        self.relays.begin_stop();
        while !self.relays.has_stopped() {
            tokio::select! {
                Some(report) = self.reports.recv() => {
                    self.report(self.clock.now(), report);
                    self.drain(replies);
                    self.relays.wake();
                }
                () = tokio::time::sleep(RETRY) => self.relays.retry(),
            }
        }
        while let Ok(report) = self.reports.try_recv() {
            self.report(self.clock.now(), report);
            self.drain(replies);
        }
        drop(self.arrivals);
        self.transports.close().await;
    }
}
