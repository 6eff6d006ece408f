//! How the rest of the program speaks to the SIP task.

use crate::events::EventCounters;
use crate::relay::RelayWatch;
use crate::sip_task::Request;
use crate::transport::TransportCounters;
use cheling_call::guard;
use cheling_call::io::{Command, CommandReply, Order};
use cheling_call::outward::TrunkStatus;
use cheling_call::registrar::{Kept, Registration};
use cheling_model::call::PausedBy;
use cheling_model::directory::{Directory, TrunkAddress};
use cheling_model::{CallId, FollowUpId, UserId};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::{mpsc, oneshot};

/// Click-to-dial: ring the extension, then call the number.
#[derive(Clone, Debug)]
pub struct Dial {
    /// Minted by whoever asks, so that asking twice dials once.
    pub call_id: CallId,
    /// The agent's phone.
    pub extension: String,
    /// As the trunk is to get it, before its own prefix rules.
    pub number: String,
    /// Who asks.
    pub user_id: UserId,
    /// The task it is dialled from.
    pub follow_up_id: Option<FollowUpId>,
}

/// The SIP task has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("call control has stopped")]
pub struct Stopped;

/// Speaks to the SIP task; as many copies as wanted. Requests wait in a bounded queue.
#[derive(Clone)]
pub struct Handle {
    requests: mpsc::Sender<Request>,
    next_ticket: Arc<AtomicU64>,
    relays: RelayWatch,
    transports: Arc<TransportCounters>,
    events: Arc<EventCounters>,
    guard: Arc<guard::Counters>,
}

impl Handle {
    pub(crate) fn new(
        requests: mpsc::Sender<Request>,
        relays: RelayWatch,
        transports: Arc<TransportCounters>,
        events: Arc<EventCounters>,
        guard: Arc<guard::Counters>,
    ) -> Self {
        let next_ticket = Arc::new(AtomicU64::new(1));
        Self { requests, next_ticket, relays, transports, events, guard }
    }

    /// Dials, and says whether the call is under way.
    ///
    /// # Errors
    /// [`Stopped`] if there is no call control any more.
    pub async fn dial(&self, dial: Dial) -> Result<CommandReply, Stopped> {
        let Dial { call_id, extension, number, user_id, follow_up_id } = dial;
        self.ask(|ticket| Command::Dial {
            ticket,
            call_id,
            extension,
            number,
            user_id,
            follow_up_id,
        })
        .await
    }

    /// Ends a call.
    ///
    /// # Errors
    /// [`Stopped`] if there is no call control any more.
    pub async fn hang_up(&self, call_id: CallId) -> Result<CommandReply, Stopped> {
        self.ask(|ticket| Command::HangUp { ticket, call_id }).await
    }

    /// Pauses the recording of a call. When this is answered nothing more is recorded.
    ///
    /// # Errors
    /// [`Stopped`] if there is no call control any more.
    pub async fn pause_recording(
        &self,
        call_id: CallId,
        by: PausedBy,
    ) -> Result<CommandReply, Stopped> {
        self.ask(|ticket| Command::PauseRecording { ticket, call_id, by }).await
    }

    /// Lets a paused recording go on.
    ///
    /// # Errors
    /// [`Stopped`] if there is no call control any more.
    pub async fn resume_recording(
        &self,
        call_id: CallId,
        by: PausedBy,
    ) -> Result<CommandReply, Stopped> {
        self.ask(|ticket| Command::ResumeRecording { ticket, call_id, by }).await
    }

    /// Changes a call that is going on, for whoever sits at `extension` if that phone is in it.
    ///
    /// # Errors
    /// [`Stopped`] if there is no call control any more.
    pub async fn control(
        &self,
        call_id: CallId,
        extension: Option<String>,
        order: Order,
    ) -> Result<CommandReply, Stopped> {
        self.ask(|ticket| Command::Control { ticket, call_id, extension, order }).await
    }

    /// Replaces extensions, lines and groups.
    ///
    /// # Errors
    /// [`Stopped`] if there is no call control any more.
    pub async fn set_directory(&self, directory: Arc<Directory>) -> Result<(), Stopped> {
        self.send(Request::Directory(directory)).await
    }

    /// Says where a trunk is now.
    ///
    /// # Errors
    /// [`Stopped`] if there is no call control any more.
    pub async fn move_trunk(
        &self,
        trunk: String,
        addresses: Vec<TrunkAddress>,
    ) -> Result<(), Stopped> {
        self.send(Request::MoveTrunk { trunk, addresses }).await
    }

    /// How the trunks are.
    ///
    /// # Errors
    /// [`Stopped`] if there is no call control any more.
    pub async fn trunks(&self) -> Result<Vec<TrunkStatus>, Stopped> {
        let (reply, answer) = oneshot::channel();
        self.send(Request::Trunks(reply)).await?;
        answer.await.map_err(|_| Stopped)
    }

    /// Which phones are registered.
    ///
    /// # Errors
    /// [`Stopped`] if there is no call control any more.
    pub async fn registrations(&self) -> Result<Vec<Registration>, Stopped> {
        let (reply, answer) = oneshot::channel();
        self.send(Request::Registrations(reply)).await?;
        answer.await.map_err(|_| Stopped)
    }

    /// The registrations that a restart need not end.
    ///
    /// # Errors
    /// [`Stopped`] if there is no call control any more.
    pub async fn kept_registrations(&self) -> Result<Vec<Kept>, Stopped> {
        let (reply, answer) = oneshot::channel();
        self.send(Request::KeptRegistrations(reply)).await?;
        answer.await.map_err(|_| Stopped)
    }

    /// Takes registrations back that were kept over a restart.
    ///
    /// # Errors
    /// [`Stopped`] if there is no call control any more.
    pub async fn restore_registrations(&self, kept: Vec<Kept>) -> Result<(), Stopped> {
        self.send(Request::Restore(kept)).await
    }

    /// Takes no more calls; those in progress go on.
    ///
    /// # Errors
    /// [`Stopped`] if there is no call control any more.
    pub async fn drain(&self) -> Result<(), Stopped> {
        self.send(Request::Tell(Command::Drain)).await
    }

    /// Ends all calls now.
    ///
    /// # Errors
    /// [`Stopped`] if there is no call control any more.
    pub async fn end_all(&self) -> Result<(), Stopped> {
        self.send(Request::Tell(Command::EndAll)).await
    }

    /// Waits until call control has ended, by a stop or by a fault: without it the process is of
    /// no use.
    pub async fn ended(&self) {
        self.requests.closed().await;
    }

    /// What the relay threads count, in sum and per call.
    pub fn relays(&self) -> &RelayWatch {
        &self.relays
    }

    /// What the transports count.
    pub fn transports(&self) -> &TransportCounters {
        &self.transports
    }

    /// What happened to events on their way.
    pub fn events(&self) -> &EventCounters {
        &self.events
    }

    /// What the guard against scanners has done.
    pub fn guard(&self) -> &guard::Counters {
        &self.guard
    }

    async fn ask(&self, command: impl FnOnce(u64) -> Command) -> Result<CommandReply, Stopped> {
        let ticket = self.next_ticket.fetch_add(1, Ordering::Relaxed);
        let (reply, answer) = oneshot::channel();
        self.send(Request::Ask { command: command(ticket), ticket, reply }).await?;
        answer.await.map_err(|_| Stopped)
    }

    async fn send(&self, request: Request) -> Result<(), Stopped> {
        self.requests.send(request).await.map_err(|_| Stopped)
    }
}
