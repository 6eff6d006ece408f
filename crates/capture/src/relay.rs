//! The relay threads: media in on one side, out on the other, a copy to the recording.
//!
//! Plain threads with their own poll loop. A call belongs to one thread for its whole life, so
//! nothing on the way of a packet is shared, locked or allocated. Everything the rest of the
//! program may ask of them goes through [`Relays`]; what comes back is a [`Report`].
//!
//! A packet costs one `recvfrom`, one `send` and its share of an `epoll_wait` that brings four to
//! nine of them; nine tenths of its time are the kernel's. In the benchmark that is 2.3 to 2.7 bare
//! pairs (a `send` and a `recv`), where a loop that does nothing but these three calls needs 1.8 to
//! 2.6 on the same machine, and 2.5 to 2.9 with the recording on disk. `poller` and `wire` say what
//! was tried beside it.

mod browser;
mod call;
mod counters;
mod events;
mod guest;
mod handshakes;
mod ice;
mod mixing;
mod poller;
mod ports;
mod protection;
mod sockets;
mod source;
mod strays;
mod tap;
mod thread;
mod wire;

pub use counters::{
    CallCounters, CallStatistics, Count, LaneCounters, LaneStatistics, RelayTotals, ThreadCounters,
};

use crate::clock::AnchoredClock;
use crate::dscp::Dscp;
use crate::sink::{SpareBlocks, TapSink};
use call::Connecting;
use cheling_call::io::{MixPlan, RelayProtection, RelayRemote};
use cheling_media::dtls::Identity;
use cheling_model::call::{Digit, MediaFault};
use cheling_model::{CallId, Lane, Timestamp};
use handshakes::{Handshakes, Owners};
use poller::Waker;
use ports::PortPool;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ECDSA_P256_SHA256};
use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket};
use std::ops::RangeInclusive;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use thread::{Command, RelayThread, ThreadParts};

/// Commands that may wait at one thread.
const COMMAND_QUEUE: usize = 4096;

/// How the relay is set up.
#[derive(Clone, Debug)]
pub struct RelayConfig {
    /// The address written into SDP.
    pub advertise: IpAddr,
    /// The address that media sockets are bound to. `0.0.0.0`: `advertise` where that is an address
    /// of this machine, else all addresses. `::`: all addresses of both families.
    pub bind: IpAddr,
    /// UDP ports for media; a call takes four.
    pub ports: RangeInclusive<u16>,
    /// How long a port rests between two calls. At least 30 s, except in tests.
    pub port_rest: Duration,
    /// Relay threads; 0: one per core.
    pub threads: usize,
    /// The mark of media packets.
    pub dscp: Dscp,
    /// Who we are to browsers ([`identities`]): what [`Settings::dtls`] names.
    ///
    /// [`Settings::dtls`]: cheling_call::io::Settings::dtls
    pub identities: Arc<[Identity]>,
    /// What those on hold hear, mono at [`RATE_HZ`], over and over; `None`: a tone.
    ///
    /// [`RATE_HZ`]: cheling_media::encoder::RATE_HZ
    pub hold_music: Option<Arc<[i16]>>,
}

impl RelayConfig {
    /// A relay at `address` with ports 20000 to 39999, resting 30 s, one thread per core, its
    /// packets marked for expedited forwarding.
    pub fn at(address: IpAddr) -> Self {
        Self {
            advertise: address,
            bind: address,
            ports: 20_000..=39_999,
            port_rest: Duration::from_secs(30),
            threads: 0,
            dscp: Dscp::EXPEDITED,
            identities: Arc::default(),
            hold_music: None,
        }
    }
}

/// What came of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// The ports are open.
    Opened {
        /// For which call.
        call_id: CallId,
        /// Our RTP address facing [customer, agent].
        local: [SocketAddr; 2],
    },
    /// There were no ports, or no sockets.
    Failed {
        /// For which call.
        call_id: CallId,
    },
    /// From a moment on the call is not recorded, or is recorded again.
    RecordingPaused {
        /// For which call.
        call_id: CallId,
        /// Which of the two.
        is_paused: bool,
        /// The moment, by the clock that stamps the call's packets.
        at: Timestamp,
    },
    /// The agent's phone sent a digit (RFC 4733). Lost if too many reports wait.
    Digit {
        /// In which call.
        call_id: CallId,
        /// Which key.
        digit: Digit,
    },
    /// What came of opening a third party's port.
    Guest {
        /// In which call.
        call_id: CallId,
        /// Which.
        guest: u8,
        /// Our RTP address facing it; `None` without a port.
        local: Option<SocketAddr>,
    },
    /// The sockets are closed, and all packets have been handed to the sink.
    Closed {
        /// Which call.
        call_id: CallId,
        /// RTP packets received from [customer, agent] since recording started.
        received_packets: [u64; 2],
        /// Packets that were to be recorded and could not be, per lane.
        tap_dropped_packets: [u64; 2],
        /// Why nothing could be heard of [customer, agent], where that is known.
        faults: [Option<MediaFault>; 2],
    },
}

impl Report {
    /// Whose it is.
    pub fn call_id(&self) -> CallId {
        match *self {
            Self::Opened { call_id, .. }
            | Self::Failed { call_id }
            | Self::RecordingPaused { call_id, .. }
            | Self::Digit { call_id, .. }
            | Self::Guest { call_id, .. }
            | Self::Closed { call_id, .. } => call_id,
        }
    }
}

/// Takes reports, or gives one back if there is no room now; it comes again then. Must not wait,
/// and must take what nobody will ever want, or the threads cannot end.
pub type Reporter = Arc<dyn Fn(Report) -> Result<(), Report> + Send + Sync>;

/// Why the relay cannot start.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// No call would ever find ports.
    #[error("the media port range {}-{} holds fewer than two port pairs", range.start(), range.end())]
    TooFewPorts {
        /// The range.
        range: RangeInclusive<u16>,
    },
    /// The address cannot be bound.
    #[error("cannot use {address} for media: {source}")]
    Bind {
        /// The address.
        address: IpAddr,
        /// Why not.
        source: io::Error,
    },
    /// No certificate can be made.
    #[error("cannot make a certificate for browsers: {0}")]
    Certificate(String),
    /// A thread could not be started.
    #[error("cannot start a relay thread: {0}")]
    Thread(#[from] io::Error),
}

type Statistics = Arc<Mutex<HashMap<CallId, Arc<CallCounters>>>>;

/// The relay threads, seen from the one who commands them.
pub struct Relays {
    threads: Vec<Thread>,
    owners: HashMap<CallId, usize>,
    watch: RelayWatch,
    /// Ends when the relay threads have ended.
    handshakes: Option<JoinHandle<()>>,
}

struct Thread {
    commands: SyncSender<Command>,
    waker: Waker,
    /// Commands that found the queue full, in order.
    backlog: VecDeque<Command>,
    /// It has commands that it was not woken for.
    is_told: bool,
    /// It is woken by [`Relays::wake`] only.
    gathers: bool,
    calls: usize,
    is_stopping: bool,
    join: Option<JoinHandle<()>>,
}

/// Reads what the relay threads count, from anywhere.
#[derive(Clone)]
pub struct RelayWatch {
    threads: Vec<Arc<ThreadCounters>>,
    calls: Statistics,
}

impl RelayWatch {
    /// All threads added up.
    pub fn totals(&self) -> RelayTotals {
        let mut totals = RelayTotals::default();
        for thread in &self.threads {
            totals.add(thread);
        }
        totals
    }

    /// One call, while it is open.
    pub fn call(&self, call_id: CallId, now: Timestamp) -> Option<CallStatistics> {
        self.lock().get(&call_id).map(|counters| counters.snapshot(now))
    }

    /// All open calls.
    pub fn calls(&self, now: Timestamp) -> Vec<(CallId, CallStatistics)> {
        self.lock().iter().map(|(id, counters)| (*id, counters.snapshot(now))).collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<CallId, Arc<CallCounters>>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Relays {
    /// Starts the threads.
    ///
    /// # Errors
    /// [`RelayError`] if there are no ports to relay on or no threads to relay with.
    pub fn start(
        config: &RelayConfig,
        sink: Arc<dyn TapSink>,
        spare: Arc<SpareBlocks>,
        reporter: Reporter,
    ) -> Result<Self, RelayError> {
        let pool = PortPool::new(config.ports.clone(), config.port_rest);
        if pool.len() < 2 {
            return Err(RelayError::TooFewPorts { range: config.ports.clone() });
        }
        let (bind, connecting) = choose_bind(config)?;
        let ports = Arc::new(Mutex::new(pool));
        let count = match config.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            threads => threads,
        };
        let at_handshakes = Owners::default();
        let (handshakes, join_handshakes) =
            Handshakes::start(Arc::clone(&config.identities), Arc::clone(&at_handshakes))?;
        let mut threads = Vec::with_capacity(count);
        let mut counters = Vec::with_capacity(count);
        for index in 0..count {
            let (commands, receiver) = sync_channel(COMMAND_QUEUE);
            let thread_counters = Arc::new(ThreadCounters::default());
            let thread = RelayThread::new(ThreadParts {
                bind,
                advertise: config.advertise,
                connecting,
                dscp: config.dscp,
                ports: Arc::clone(&ports),
                commands: receiver,
                reporter: Arc::clone(&reporter),
                sink: Arc::clone(&sink),
                spare: Arc::clone(&spare),
                counters: Arc::clone(&thread_counters),
                index,
                handshakes: handshakes.clone(),
                hold_music: config.hold_music.clone(),
            })?;
            let waker = thread.waker();
            let owner = (commands.clone(), waker.clone());
            at_handshakes.write().unwrap_or_else(PoisonError::into_inner).push(owner);
            let join = std::thread::Builder::new()
                .name(format!("relay-{index}"))
                .spawn(|| thread.run())?;
            counters.push(thread_counters);
            threads.push(Thread {
                commands,
                waker,
                backlog: VecDeque::new(),
                is_told: false,
                gathers: false,
                calls: 0,
                is_stopping: false,
                join: Some(join),
            });
        }
        let watch = RelayWatch { threads: counters, calls: Statistics::default() };
        let handshakes = Some(join_handshakes);
        Ok(Self { threads, owners: HashMap::new(), watch, handshakes })
    }

    /// From now on the threads are woken by [`Relays::wake`], not by each command: a call that is
    /// answered gives half a dozen, and each waking costs as much as a packet.
    pub fn gather(&mut self) {
        self.threads.iter_mut().for_each(|thread| thread.gathers = true);
    }

    /// Wakes the threads that have got commands since.
    pub fn wake(&mut self) {
        self.threads.iter_mut().for_each(Thread::wake);
    }

    /// What the threads count.
    pub fn watch(&self) -> RelayWatch {
        self.watch.clone()
    }

    /// Opens a relay on the thread with the fewest calls; `clock` stamps the call's packets.
    /// False if that thread is too far behind to take one; there will be no report then.
    pub fn open(&mut self, call_id: CallId, clock: AnchoredClock) -> bool {
        if self.owners.contains_key(&call_id) {
            return false;
        }
        let least = self.threads.iter().enumerate().min_by_key(|(_, thread)| thread.calls);
        let Some((index, _)) = least.filter(|(_, thread)| thread.backlog.is_empty()) else {
            return false;
        };
        let counters = Arc::new(CallCounters::default());
        self.watch.lock().insert(call_id, Arc::clone(&counters));
        self.owners.insert(call_id, index);
        self.threads[index].calls += 1;
        self.threads[index].tell(Command::Open { call_id, clock, counters });
        true
    }

    /// Says where one side wants its media; `None` mutes it.
    pub fn point(&mut self, call_id: CallId, lane: Lane, remote: Option<RelayRemote>) {
        if let Some(thread) = self.owner(call_id) {
            thread.tell(Command::Point { call_id, lane, remote });
        }
    }

    /// Says how the packets of one side are protected; `None`: not at all.
    pub fn protect(
        &mut self,
        call_id: CallId,
        lane: Lane,
        protection: Option<Box<RelayProtection>>,
    ) {
        if let Some(thread) = self.owner(call_id) {
            thread.tell(Command::Protect { call_id, lane, protection });
        }
    }

    /// Opens a port for a third party; [`Report::Guest`] follows. False if there is no such relay.
    pub fn open_guest(&mut self, call_id: CallId, guest: u8) -> bool {
        let Some(thread) = self.owner(call_id) else { return false };
        thread.tell(Command::OpenGuest { call_id, guest });
        true
    }

    /// Says where a third party wants its media; `None` mutes it.
    pub fn point_guest(
        &mut self,
        call_id: CallId,
        guest: u8,
        remote: Option<RelayRemote>,
        protection: Option<Box<RelayProtection>>,
    ) {
        if let Some(thread) = self.owner(call_id) {
            thread.tell(Command::PointGuest { call_id, guest, remote, protection });
        }
    }

    /// Closes a third party's port.
    pub fn close_guest(&mut self, call_id: CallId, guest: u8) {
        if let Some(thread) = self.owner(call_id) {
            thread.tell(Command::CloseGuest { call_id, guest });
        }
    }

    /// Says who hears whom; `None`: each side hears the other, as it came.
    pub fn mix(&mut self, call_id: CallId, plan: Option<Box<MixPlan>>) {
        if let Some(thread) = self.owner(call_id) {
            thread.tell(Command::Mix { call_id, plan });
        }
    }

    /// Records from now on.
    pub fn start_recording(&mut self, call_id: CallId) {
        if let Some(thread) = self.owner(call_id) {
            thread.tell(Command::StartRecording { call_id });
        }
    }

    /// Records nothing of a call from now on, or goes on; [`Report::RecordingPaused`] follows if
    /// the call is recorded at all.
    pub fn pause_recording(&mut self, call_id: CallId, is_paused: bool) {
        if let Some(thread) = self.owner(call_id) {
            thread.tell(Command::PauseRecording { call_id, is_paused });
        }
    }

    /// Says which payload types of a side are telephone events, a bit for each.
    pub fn telephone_events(&mut self, call_id: CallId, lane: Lane, payload_types: u128) {
        if let Some(thread) = self.owner(call_id) {
            thread.tell(Command::TelephoneEvents { call_id, lane, payload_types });
        }
    }

    /// Closes a relay; [`Report::Closed`] follows. False if there is no such relay.
    pub fn close(&mut self, call_id: CallId) -> bool {
        let Some(thread) = self.owner(call_id) else { return false };
        thread.tell(Command::Close { call_id });
        self.forget(call_id);
        true
    }

    /// Takes note of a report before it is passed on.
    pub fn note(&mut self, report: &Report) {
        if let Report::Failed { call_id } = report {
            self.forget(*call_id);
        }
    }

    /// Tries again what found a full queue. To be called now and then while
    /// [`Relays::is_behind`].
    pub fn retry(&mut self) {
        for thread in self.threads.iter_mut().filter(|thread| !thread.backlog.is_empty()) {
            thread.work_off();
            thread.wake();
        }
    }

    /// Whether no relay is open.
    pub fn is_idle(&self) -> bool {
        self.owners.is_empty()
    }

    /// Whether commands wait because a thread's queue is full.
    pub fn is_behind(&self) -> bool {
        self.threads.iter().any(|thread| !thread.backlog.is_empty())
    }

    /// Tells the threads to close what is open, hand on the last packets, report, and end. Their
    /// reports must be taken meanwhile.
    pub fn begin_stop(&mut self) {
        for thread in &mut self.threads {
            if !thread.is_stopping {
                thread.is_stopping = true;
                thread.tell(Command::Stop);
                thread.wake();
            }
        }
    }

    /// Whether all threads have ended; at most a few seconds after [`Relays::begin_stop`].
    pub fn has_stopped(&self) -> bool {
        self.threads.iter().all(|thread| !thread.is_alive())
    }

    /// Ends the threads and blocks until they have ended.
    pub fn stop(&mut self) {
        self.begin_stop();
        for thread in &mut self.threads {
            while thread.is_alive() && !thread.backlog.is_empty() {
                thread.work_off();
                thread.wake();
                std::thread::yield_now();
            }
            if let Some(join) = thread.join.take()
                && join.join().is_err()
            {
                tracing::error!("a relay thread panicked");
            }
        }
        if let Some(join) = self.handshakes.take()
            && join.join().is_err()
        {
            tracing::error!("the handshake thread panicked");
        }
    }

    fn owner(&mut self, call_id: CallId) -> Option<&mut Thread> {
        self.threads.get_mut(*self.owners.get(&call_id)?)
    }

    fn forget(&mut self, call_id: CallId) {
        if let Some(index) = self.owners.remove(&call_id) {
            self.threads[index].calls -= 1;
            self.watch.lock().remove(&call_id);
        }
    }
}

impl Drop for Relays {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Thread {
    fn tell(&mut self, command: Command) {
        self.backlog.push_back(command);
        self.work_off();
        if !self.gathers {
            self.wake();
        }
    }

    fn wake(&mut self) {
        if std::mem::take(&mut self.is_told) {
            self.waker.wake();
        }
    }

    fn work_off(&mut self) {
        while let Some(command) = self.backlog.pop_front() {
            match self.commands.try_send(command) {
                Ok(()) => {}
                Err(TrySendError::Full(command)) => {
                    self.backlog.push_front(command);
                    break;
                }
                // The thread is gone: nobody is left to obey.
                Err(TrySendError::Disconnected(_)) => self.backlog.clear(),
            }
        }
        self.is_told = true;
    }

    fn is_alive(&self) -> bool {
        self.join.as_ref().is_some_and(|join| !join.is_finished())
    }
}

/// Certificates to show browsers, made now and never kept: their fingerprints go with every call.
/// Two, for those that have met one of us and meet another in the same conversation.
///
/// # Errors
/// [`RelayError::Certificate`] if none can be made.
pub fn identities() -> Result<Arc<[Identity]>, RelayError> {
    let made = || -> Result<Identity, String> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|err| err.to_string())?;
        let mut params = CertificateParams::new(Vec::new()).map_err(|err| err.to_string())?;
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "Cheling");
        let certificate = params.self_signed(&key).map_err(|err| err.to_string())?;
        Identity::new(certificate.der().to_vec(), key.serialize_der())
            .map_err(|err| err.to_string())
    };
    let both: Result<Vec<_>, _> = (0..2).map(|_| made()).collect();
    Ok(both.map_err(RelayError::Certificate)?.into())
}

/// Binds to the advertised address itself where that can be done: then sockets may be connected,
/// and packets leave from the address that the other side expects. The unspecified IPv6 address
/// stays: it is how both families are served, and the two sides of a call may be of different ones.
fn choose_bind(config: &RelayConfig) -> Result<(IpAddr, Connecting), RelayError> {
    if config.bind == IpAddr::V6(Ipv6Addr::UNSPECIFIED) {
        return Ok((config.bind, Connecting::Never));
    }
    if config.bind.is_unspecified() {
        return Ok(match UdpSocket::bind((config.advertise, 0)) {
            Ok(_) if !config.advertise.is_unspecified() => (config.advertise, Connecting::Allowed),
            _ => (config.bind, Connecting::Never),
        });
    }
    UdpSocket::bind((config.bind, 0))
        .map_err(|source| RelayError::Bind { address: config.bind, source })?;
    Ok((config.bind, Connecting::Allowed))
}
