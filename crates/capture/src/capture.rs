//! The capture role as a whole: started with its parts wired, stopped in written order.

use crate::clock::AnchoredClock;
use crate::events::{EventCounters, EventTap};
use crate::handle::Handle;
use crate::relay::{RelayConfig, RelayError, Relays, Reporter, identities};
use crate::sink::{SpareBlocks, TapSink};
use crate::sip_task::SipTask;
use crate::transport::{ARRIVAL_QUEUE, BindError, TransportConfig, Transports};
use cheling_call::io::Settings;
use cheling_call::outward::TrunkStatus;
use cheling_call::switch::Switch;
use cheling_model::TapEvent;
use cheling_model::directory::Directory;
use cheling_sip::Transport;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::runtime::Builder;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Relay reports that may wait; relay threads keep what does not fit and try again.
const REPORT_QUEUE: usize = 4096;
/// Requests that may wait; who asks waits too.
const REQUEST_QUEUE: usize = 256;
/// The queue that `lookup` should read from; see [`Sinks::lookup`].
pub const LOOKUP_QUEUE: usize = 65_536;
/// How often a stopping capture looks whether the last call has ended.
const STOP_POLL: Duration = Duration::from_millis(20);
/// After the deadline, how long the calls that we end may take to end.
const FAREWELL: Duration = Duration::from_secs(2);
/// How long the SIP sockets stay open after the last call was ended by us.
const LINGER: Duration = Duration::from_millis(600);

/// Where to listen, for SIP and for media.
#[derive(Clone, Debug)]
pub struct CaptureConfig {
    /// SIP.
    pub transports: TransportConfig,
    /// Media.
    pub relay: RelayConfig,
}

/// Who gets what happens and what is said.
#[derive(Clone)]
pub struct Sinks {
    /// Packets and events, never lost on the way: the journal.
    pub journal: Arc<dyn TapSink>,
    /// Where the journal gives blocks back that it has written.
    pub spare_blocks: Arc<SpareBlocks>,
    /// Events for `lookup`: a channel of [`LOOKUP_QUEUE`]. What overflows is counted and is still
    /// in the journal.
    pub lookup: mpsc::Sender<TapEvent>,
}

/// Why capture cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A SIP listener.
    #[error(transparent)]
    Listen(#[from] BindError),
    /// The relay.
    #[error(transparent)]
    Relay(#[from] RelayError),
    /// The SIP thread.
    #[error("cannot start the SIP thread: {0}")]
    Thread(std::io::Error),
}

/// Running call control and media.
pub struct Capture {
    handle: Handle,
    addresses: Vec<(Transport, Vec<SocketAddr>)>,
    stop: CancellationToken,
    thread: JoinHandle<()>,
}

impl Capture {
    /// Starts listening and relaying. Must be called inside a tokio runtime, where connections are
    /// served; call control and its datagrams have a thread and a runtime of their own, since tasks
    /// that hand each message from thread to thread cost more than what they do with it. The ports
    /// in `settings` are replaced by those that were really bound, so port 0 works.
    ///
    /// # Errors
    /// [`StartError`] says which address, ports or threads could not be had.
    pub async fn start(
        config: CaptureConfig,
        mut settings: Settings,
        directory: Arc<Directory>,
        sinks: Sinks,
    ) -> Result<Self, StartError> {
        let (arrived, arrivals) = mpsc::channel(ARRIVAL_QUEUE);
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(StartError::Thread)?;
        let datagrams = runtime.handle();
        let transports = Transports::bind(config.transports, arrived, datagrams).await?;
        let spoken =
            [Transport::Udp, Transport::Tcp, Transport::Tls, Transport::Ws, Transport::Wss];
        let addresses: Vec<_> =
            spoken.into_iter().map(|it| (it, transports.addresses(it))).collect();
        let port = |transport| transports.addresses(transport).first().map(SocketAddr::port);
        settings.udp_port = port(Transport::Udp).unwrap_or(settings.udp_port);
        settings.tcp_port = port(Transport::Tcp);
        settings.tls_port = port(Transport::Tls);
        let mut config = config.relay;
        config.identities = identities()?;
        settings.dtls = config.identities.iter().map(|it| it.fingerprint().clone()).collect();

        let (report, reports) = mpsc::channel(REPORT_QUEUE);
        let reporter: Reporter = Arc::new(move |it| match report.try_send(it) {
            Err(mpsc::error::TrySendError::Full(it)) => Err(it),
            // Once the SIP task is gone there is nobody to tell.
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => Ok(()),
        });
        let mut relays = Relays::start(
            &config,
            Arc::clone(&sinks.journal),
            Arc::clone(&sinks.spare_blocks),
            reporter,
        )?;
        relays.gather();
        let counters = Arc::new(EventCounters::default());
        let events = EventTap::new(sinks.journal, sinks.lookup, Arc::clone(&counters));
        let (request, requests) = mpsc::channel(REQUEST_QUEUE);
        let clock = AnchoredClock::start();
        let switch = Switch::new(clock.now(), settings, directory);
        let guard = switch.guard_counters();
        let handle = Handle::new(request, relays.watch(), transports.counters(), counters, guard);
        let stop = CancellationToken::new();
        let task = SipTask {
            switch,
            transports,
            arrivals,
            relays,
            reports,
            requests,
            events,
            clock,
            stop: stop.clone(),
        };
        let thread = std::thread::Builder::new()
            .name("sip".into())
            .spawn(move || runtime.block_on(task.run()))
            .map_err(StartError::Thread)?;
        Ok(Self { handle, addresses, stop, thread })
    }

    /// How to speak to it.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// The addresses of the listeners of one transport, with real ports.
    pub fn addresses(&self, transport: Transport) -> &[SocketAddr] {
        let of = self.addresses.iter().find(|(spoken, _)| *spoken == transport);
        of.map_or(&[], |(_, addresses)| addresses)
    }

    /// The UDP listeners' addresses, with real ports.
    pub fn udp_addresses(&self) -> &[SocketAddr] {
        self.addresses(Transport::Udp)
    }

    /// The TCP listeners' addresses, with real ports.
    pub fn tcp_addresses(&self) -> &[SocketAddr] {
        self.addresses(Transport::Tcp)
    }

    /// Takes no more calls, lets those in progress go on until `deadline`, ends the rest, and
    /// closes. Afterwards the sink has got every packet and every event.
    pub async fn stop(self, deadline: Duration) {
        let start = Instant::now();
        if self.handle.drain().await.is_ok() {
            self.await_farewell().await;
            self.await_idle(start + deadline).await;
            if self.open_calls() > 0 && self.handle.end_all().await.is_ok() {
                self.await_idle(Instant::now() + FAREWELL).await;
                // A BYE that got lost is sent once more after T1 = 500 ms (RFC 3261 §17.1.2.1).
                tokio::time::sleep(LINGER).await;
            }
        }
        self.stop.cancel();
        let joined = tokio::task::spawn_blocking(move || self.thread.join()).await;
        if !matches!(joined, Ok(Ok(()))) {
            tracing::error!("the SIP thread ended badly");
        }
    }

    fn open_calls(&self) -> u64 {
        self.handle.relays().totals().open_calls
    }

    /// Registrations are being taken back: a challenge to that needs an answer.
    async fn await_farewell(&self) {
        let deadline = Instant::now() + FAREWELL;
        while Instant::now() < deadline {
            let Ok(trunks) = self.handle.trunks().await else { return };
            let is_leaving =
                |it: &TrunkStatus| it.registration.as_ref().is_some_and(|it| it.is_leaving);
            if !trunks.iter().any(is_leaving) {
                return;
            }
            tokio::time::sleep(STOP_POLL).await;
        }
    }

    async fn await_idle(&self, deadline: Instant) {
        while self.open_calls() > 0 && Instant::now() < deadline {
            tokio::time::sleep(STOP_POLL).await;
        }
    }
}
