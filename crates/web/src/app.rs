//! Everything that the routes share.

use crate::alarm::Alarms;
use crate::auth::client;
use crate::auth::password::Passwords;
use crate::auth::throttle::Throttle;
use crate::control::CallControl;
use crate::error::ApiError;
use crate::hub::{Hub, wall_clock};
use crate::live::LiveAudio;
use crate::metrics::Metrics;
use cheling_lookup::desk::Desk;
use cheling_media::ogg_opus::OpusSettings;
use cheling_model::recording::Container;
use cheling_model::{RecordingId, Timestamp, UserId};
use cheling_records::Database;
use cheling_store::files::RecordingFiles;
use jiff::tz::TimeZone;
use prometheus_client::registry::Registry;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Wrong passwords for one name before it has to wait.
const FAILURES_PER_NAME: u32 = 8;
/// Wrong passwords from one address; an office shares one.
const FAILURES_PER_ADDRESS: u32 = 40;
const FAILURE_FORGOTTEN_AFTER: Duration = Duration::from_secs(30);
const THROTTLED_KEYS: usize = 10_000;
/// Seeking in a recording is one play: no second audit row within this time.
const ONE_PLAY: Duration = Duration::from_secs(300);
const PLAYS_REMEMBERED: usize = 10_000;
/// Files imported at the same time; each may be held in memory.
const IMPORTS_AT_ONCE: usize = 2;
/// Recordings encoded for a download at the same time; each takes a core.
const CONVERSIONS_AT_ONCE: usize = 2;

/// What the configuration decides.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Marks the session cookie `Secure` always. Otherwise only where the request came by https.
    pub secure_cookies: bool,
    /// Reverse proxies whose `X-Forwarded-For`, `-Proto` and `-Host` are believed.
    pub trusted_proxies: Vec<IpAddr>,
    /// A bearer token that may read `/metrics` from anywhere; loopback needs none.
    pub metrics_token: Option<String>,
    /// Lets anybody read `/metrics`.
    pub metrics_open: bool,
    /// The clock of the dealership: what `today` is.
    pub time_zone: TimeZone,
    /// The digest realm of the registrar: new phone passwords are hashed with it.
    pub realm: String,
    /// What to type into a phone: the registrar's address and port.
    pub registrar: String,
    /// How Opus copies for downloads are made.
    pub opus: OpusSettings,
    /// What files recordings become where the dealership wants nothing else.
    pub container: Container,
    /// Days after which WAV recordings become Opus; 0: never.
    pub opus_after_days: u32,
}

/// What the binary gives.
pub struct Parts {
    /// From the configuration.
    pub settings: Settings,
    /// The facts.
    pub database: Database,
    /// Events for browsers. The same hub is given to whoever publishes.
    pub hub: Arc<Hub>,
    /// Pops and live calls.
    pub desk: Arc<Desk>,
    /// The switch.
    pub calls: Arc<dyn CallControl>,
    /// The calls that run here, to be heard.
    pub live: Arc<dyn LiveAudio>,
    /// What is wrong with the recorder.
    pub alarms: Alarms,
    /// The audio.
    pub files: RecordingFiles,
    /// Counters of the whole process; this crate adds its own.
    pub registry: Registry,
}

/// The state behind every route. Cheap to clone.
#[derive(Clone)]
pub struct App(Arc<Inner>);

/// See [`App`].
pub struct Inner {
    /// From the configuration.
    pub settings: Settings,
    /// The facts.
    pub database: Database,
    /// Events for browsers.
    pub hub: Arc<Hub>,
    /// Pops and live calls.
    pub desk: Arc<Desk>,
    /// The switch.
    pub calls: Arc<dyn CallControl>,
    /// The calls that run here, to be heard.
    pub live: Arc<dyn LiveAudio>,
    /// What is wrong with the recorder.
    pub alarms: Alarms,
    /// The audio.
    pub files: RecordingFiles,
    /// Hashes and checks passwords.
    pub passwords: Passwords,
    /// A turn to import a file.
    pub imports: Semaphore,
    /// A turn to encode a recording for a download.
    pub conversions: Arc<Semaphore>,
    /// Open WebSockets and recordings being encoded, waited for at the end.
    pub sockets: TaskTracker,
    /// Ends the WebSockets and the encoding.
    pub stop: CancellationToken,
    pub(crate) metrics: Metrics,
    pub(crate) registry: Registry,
    failures: Mutex<Failures>,
    plays: Mutex<HashMap<(UserId, RecordingId), Timestamp>>,
}

struct Failures {
    by_name: Throttle<String>,
    by_address: Throttle<IpAddr>,
}

impl std::ops::Deref for App {
    type Target = Inner;
    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl App {
    /// Puts the parts together.
    pub fn new(parts: Parts) -> Self {
        let Parts { settings, database, hub, desk, calls, live, alarms, files, mut registry } =
            parts;
        let metrics = Metrics::register(&mut registry, Arc::clone(&hub));
        let forgotten = FAILURE_FORGOTTEN_AFTER;
        Self(Arc::new(Inner {
            settings,
            database,
            hub,
            desk,
            calls,
            live,
            alarms,
            files,
            passwords: Passwords::default(),
            imports: Semaphore::new(IMPORTS_AT_ONCE),
            conversions: Arc::new(Semaphore::new(CONVERSIONS_AT_ONCE)),
            sockets: TaskTracker::new(),
            stop: CancellationToken::new(),
            metrics,
            registry,
            failures: Mutex::new(Failures {
                by_name: Throttle::new(FAILURES_PER_NAME, forgotten, THROTTLED_KEYS),
                by_address: Throttle::new(FAILURES_PER_ADDRESS, forgotten, THROTTLED_KEYS),
            }),
            plays: Mutex::default(),
        }))
    }
}

impl Inner {
    /// What the wall clock says.
    pub fn now(&self) -> Timestamp {
        wall_clock()
    }

    /// Today, by the dealership's clock: `2026-11-22`.
    pub fn today(&self) -> String {
        crate::day::date_of(self.now(), &self.settings.time_zone)
    }

    /// Has what calls have brought so far written, so that whoever asks now finds it.
    pub(crate) async fn settle(&self) {
        for notice in self.desk.write().await {
            self.hub.publish(&notice);
        }
    }

    /// Phones, lines or who sits where have changed: whoever keeps them reads them again.
    pub(crate) async fn directory_changed(&self) {
        if let Err(error) = self.desk.reload().await {
            tracing::error!(%error, "the desk goes on with the phones it knew");
        }
        self.calls.directory_changed().await;
    }

    /// Counts a sign-in as failed before the password is checked, so that many at once count too.
    pub(crate) fn count_attempt(&self, name: &str, address: IpAddr) -> Result<(), ApiError> {
        let now = self.now();
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let name = name.to_lowercase();
        let waits = [failures.by_name.wait(&name, now), failures.by_address.wait(&address, now)];
        if let Some(wait) = waits.into_iter().flatten().max() {
            return Err(ApiError::TooManyAttempts { retry_after_s: wait.as_secs() + 1 });
        }
        failures.by_name.count(name, now);
        failures.by_address.count(address, now);
        Ok(())
    }

    /// The sign-in was good after all. That does not make the other guesses from its address good.
    pub(crate) fn forgive_attempt(&self, name: &str, address: IpAddr) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.by_name.forgive(&name.to_lowercase());
        failures.by_address.take_back(&address);
    }

    /// Whether this is the first request of a play, so that an audit row is due.
    pub(crate) fn begins_play(&self, user: UserId, recording: RecordingId) -> bool {
        let now = self.now();
        let mut plays = self.plays.lock().unwrap_or_else(PoisonError::into_inner);
        if plays.len() >= PLAYS_REMEMBERED {
            plays.retain(|_, at| now.since(*at) < ONE_PLAY);
        }
        if plays.len() >= PLAYS_REMEMBERED {
            // A row too many is better than one too few.
            plays.clear();
        }
        let is_new = plays.get(&(user, recording)).is_none_or(|at| now.since(*at) >= ONE_PLAY);
        if is_new {
            plays.insert((user, recording), now);
        }
        is_new
    }

    /// The audit row of a play could not be written: the next request is to leave it.
    pub(crate) fn forget_play(&self, user: UserId, recording: RecordingId) {
        let mut plays = self.plays.lock().unwrap_or_else(PoisonError::into_inner);
        plays.remove(&(user, recording));
    }

    /// Who is at the other end, looking through a trusted proxy.
    pub(crate) fn client(&self, peer: Option<SocketAddr>, forwarded_for: Option<&str>) -> IpAddr {
        let unknown = IpAddr::from([0, 0, 0, 0]);
        let trusted = &self.settings.trusted_proxies;
        peer.map_or(unknown, |peer| client::address(peer, forwarded_for, trusted))
    }

    /// Whether this peer's forwarding headers are believed.
    pub(crate) fn trusts(&self, peer: IpAddr) -> bool {
        self.settings.trusted_proxies.contains(&peer)
    }
}
