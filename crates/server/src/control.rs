//! What the console may ask of the switch, and how changes in the database reach it.

use cheling_call::io::CommandReply;
use cheling_call::outward::TrunkStatus;
use cheling_capture::{Dial, Handle};
use cheling_lookup::desk::Desk;
use cheling_lookup::directory;
use cheling_model::call::PausedBy;
use cheling_model::directory::Directory;
use cheling_model::{CallId, UserId};
use cheling_records::Database;
use cheling_sip::Transport;
use cheling_web::{CallControl, CallRefusal, ControlRequest, DialRequest, Pausing, Registration};
use cheling_web::{TrunkRegistration, TrunkState};
use futures_util::future::BoxFuture;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

/// How often the database is asked for changes that came from another process, such as
/// `cheling extension add`.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How often, at least, phones and lines are read though nobody is known to have changed them: ten
/// thousand of them are work.
const READ_EVERY: Duration = Duration::from_secs(60);

/// The running switch, for the API.
pub struct Control {
    handle: Handle,
    database: Database,
    desk: Arc<Desk>,
    realm: String,
    /// How far the dealership's clock is ahead of UTC.
    utc_offset_s: i32,
    /// What the switch was last told.
    told: Mutex<Directory>,
}

impl Control {
    /// For a switch that was started with `told`.
    pub fn new(
        handle: Handle,
        database: Database,
        desk: Arc<Desk>,
        realm: String,
        utc_offset_s: i32,
        told: Directory,
    ) -> Self {
        Self { handle, database, desk, realm, utc_offset_s, told: Mutex::new(told) }
    }

    /// Tells the switch and the desk about changes until stopped.
    pub async fn watch(self: Arc<Self>, stop: CancellationToken) {
        // What was written between the first reading and this is unknown.
        let mut seen = None;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            // Asked before the reading, so that what is written during it is seen the next time.
            let written = match self.database.written_elsewhere().await {
                Ok(written) => written,
                Err(error) => {
                    tracing::warn!(%error, "phones and lines stay as they were");
                    continue;
                }
            };
            let is_news = match (written, seen) {
                (Some(written), Some((known, read_at))) => {
                    written != known || Instant::elapsed(&read_at) >= READ_EVERY
                }
                _ => true,
            };
            if is_news && self.look().await {
                seen = written.map(|written| (written, Instant::now()));
            }
        }
    }

    /// Tells of changes, if there are any; false if that was not possible now.
    async fn look(&self) -> bool {
        let mut told = self.told.lock().await;
        let now = match directory::build(&self.database, &self.realm, self.utc_offset_s).await {
            Ok(now) if now == *told => return true,
            Ok(now) => now,
            Err(error) => {
                tracing::warn!(%error, "phones and lines stay as they were");
                return false;
            }
        };
        if let Err(error) = self.desk.reload().await {
            tracing::warn!(%error, "the desk goes on with the phones it knew");
        }
        let is_told = self.handle.set_directory(Arc::new(now.clone())).await.is_ok();
        if is_told {
            *told = now;
        }
        is_told
    }
}

/// A trunk as the console and monitoring see it.
pub fn trunk_state(status: TrunkStatus) -> TrunkState {
    let place = |(transport, address): &(Transport, SocketAddr)| {
        format!("{} {address}", transport.uri_param())
    };
    let registration = status.registration.map(|it| TrunkRegistration {
        is_registered: it.is_registered,
        address: it.granted.map(|(address, ..)| address.to_string()).unwrap_or_default(),
        since: it.granted.map(|(_, since, _)| since),
        expires_at: it.granted.map(|(_, _, expires_at)| expires_at),
        last_status: it.last_status,
    });
    TrunkState {
        addresses: status.addresses.iter().map(place).collect(),
        name: status.name,
        answers: status.answers,
        registration,
        calls: status.calls,
        max_calls: status.max_calls,
    }
}

fn judge(reply: Result<CommandReply, cheling_capture::Stopped>) -> Result<(), CallRefusal> {
    match reply {
        Ok(CommandReply::Accepted) => Ok(()),
        Ok(CommandReply::NotRegistered) => Err(CallRefusal::NotRegistered),
        Ok(CommandReply::NoSuchExtension) => Err(CallRefusal::NoSuchExtension),
        Ok(CommandReply::NoRoute) => Err(CallRefusal::NoRoute),
        Ok(CommandReply::NotPermitted) => Err(CallRefusal::NotPermitted),
        Ok(CommandReply::Blocked) => Err(CallRefusal::NumberBlocked),
        Ok(CommandReply::TrunksFull) => Err(CallRefusal::TrunksFull),
        Ok(CommandReply::ExtensionBusy) => Err(CallRefusal::ExtensionBusy),
        Ok(CommandReply::NoSuchCall) => Err(CallRefusal::NoSuchCall),
        Ok(CommandReply::NotAnswered) => Err(CallRefusal::NotAnswered),
        Ok(CommandReply::NotNow) => Err(CallRefusal::NotNow),
        Ok(CommandReply::CannotMix) => Err(CallRefusal::CannotMix),
        Ok(CommandReply::NoSuchGuest) => Err(CallRefusal::NoSuchGuest),
        Ok(CommandReply::Overloaded) => Err(CallRefusal::Overloaded),
        Err(_) => Err(CallRefusal::Unavailable),
    }
}

impl CallControl for Control {
    fn dial(&self, request: DialRequest) -> BoxFuture<'_, Result<(), CallRefusal>> {
        Box::pin(async move {
            let DialRequest { call_id, extension, number, user_id, follow_up_id } = request;
            let dial = Dial { call_id, extension, number, user_id, follow_up_id };
            judge(self.handle.dial(dial).await)
        })
    }

    fn hang_up(&self, call_id: CallId) -> BoxFuture<'_, Result<(), CallRefusal>> {
        Box::pin(async move { judge(self.handle.hang_up(call_id).await) })
    }

    fn pause_recording(
        &self,
        call_id: CallId,
        user_id: UserId,
        wanted: Pausing,
    ) -> BoxFuture<'_, Result<(), CallRefusal>> {
        let by = PausedBy::User { user_id };
        Box::pin(async move {
            judge(match wanted {
                Pausing::Pause => self.handle.pause_recording(call_id, by).await,
                Pausing::Resume => self.handle.resume_recording(call_id, by).await,
            })
        })
    }

    fn control(&self, request: ControlRequest) -> BoxFuture<'_, Result<(), CallRefusal>> {
        Box::pin(async move {
            let ControlRequest { call_id, extension, order } = request;
            judge(self.handle.control(call_id, extension, order).await)
        })
    }

    fn registrations(&self) -> BoxFuture<'_, Vec<Registration>> {
        Box::pin(async move {
            let registered = self.handle.registrations().await.unwrap_or_default();
            let row = |it: cheling_call::registrar::Registration| Registration {
                extension: it.extension,
                user_agent: it.user_agent,
                address: it.flow.remote.to_string(),
            };
            registered.into_iter().map(row).collect()
        })
    }

    fn trunks(&self) -> BoxFuture<'_, Vec<TrunkState>> {
        Box::pin(async move {
            let trunks = self.handle.trunks().await.unwrap_or_default();
            trunks.into_iter().map(trunk_state).collect()
        })
    }

    fn directory_changed(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.look().await;
        })
    }
}
