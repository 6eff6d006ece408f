//! SIP over UDP and TCP: listeners, connections, and the sending side of both.
//!
//! Readers are tasks of their own; what they read comes through one bounded queue of [`Arrived`],
//! and when that is full they stop reading: the kernel drops datagrams, TCP slows its peer down,
//! and SIP retransmits. [`Transports`] belongs to the SIP task, which sends through it without
//! ever waiting.

mod tcp;
mod udp;

use bytes::Bytes;
use cheling_sip::{Flow, Transport};
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Messages that may wait for the SIP task.
pub const ARRIVAL_QUEUE: usize = 4096;
/// Messages that may wait to be written to one connection. More: its peer does not read, and the
/// connection is closed.
const WRITE_QUEUE: usize = 128;

/// Where to listen, and how much to allow.
#[derive(Clone, Debug)]
pub struct TransportConfig {
    /// UDP listeners.
    pub udp: Vec<SocketAddr>,
    /// TCP listeners.
    pub tcp: Vec<SocketAddr>,
    /// What stands for a listener's unspecified address in a [`Flow`].
    pub advertise: IpAddr,
    /// TCP connections at once, both ways. More are refused. Default 1024.
    pub max_connections: usize,
    /// A new connection must bring a whole message within this time. Default 20 s.
    pub first_message_within: Duration,
    /// A connection on which nothing comes, not even a keep-alive, is closed. Default 15 min.
    pub idle: Duration,
    /// An outgoing connection must stand within this time. Default 5 s.
    pub connect_within: Duration,
}

impl TransportConfig {
    /// One UDP and one TCP listener at `address`, with the default limits.
    pub fn at(address: SocketAddr) -> Self {
        Self {
            udp: vec![address],
            tcp: vec![address],
            advertise: address.ip(),
            max_connections: 1024,
            first_message_within: Duration::from_secs(20),
            idle: Duration::from_secs(15 * 60),
            connect_within: Duration::from_secs(5),
        }
    }
}

/// What a reader brings.
#[derive(Debug)]
pub enum Arrived {
    /// A connection was accepted.
    Opened {
        /// Its flow, with a connection number.
        flow: Flow,
        /// Where its messages are put.
        writer: mpsc::Sender<Bytes>,
    },
    /// One message.
    Message {
        /// Whence.
        flow: Flow,
        /// The octets, not yet read.
        bytes: Bytes,
    },
    /// What was to be sent on this flow did not go.
    SendFailed {
        /// Which.
        flow: Flow,
    },
    /// A connection ended.
    Closed {
        /// Which.
        flow: Flow,
    },
}

/// Why a listener cannot start.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {transport} {address}: {source}")]
pub struct BindError {
    /// UDP or TCP.
    pub transport: Transport,
    /// The address.
    pub address: SocketAddr,
    /// Why not.
    pub source: io::Error,
}

/// Why a message was not sent. The transaction that sent it is told (RFC 3261 §17.1.4).
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The socket said no.
    #[error("cannot send: {0}")]
    Io(#[from] io::Error),
    /// There is no listener of that transport and address family.
    #[error("no listener for this flow")]
    NoListener,
    /// Its peer does not read; the connection is closed.
    #[error("the connection's queue is full")]
    QueueFull,
    /// Too many connections.
    #[error("too many connections")]
    TooManyConnections,
}

/// What happened on the transports since the start.
#[derive(Debug, Default)]
pub struct TransportCounters {
    /// Messages received.
    pub received_messages: AtomicU64,
    /// Messages sent, or put into a connection's queue.
    pub sent_messages: AtomicU64,
    /// Messages that could not be sent.
    pub unsent_messages: AtomicU64,
    /// Connections refused because there were too many.
    pub refused_connections: AtomicU64,
    /// Connections closed because what came over them was not SIP.
    pub broken_streams: AtomicU64,
}

impl TransportCounters {
    fn bump(count: &AtomicU64) {
        count.fetch_add(1, Ordering::Relaxed);
    }
}

/// What readers and connections share.
#[derive(Clone)]
struct Shared {
    config: Arc<TransportConfig>,
    arrivals: mpsc::Sender<Arrived>,
    counters: Arc<TransportCounters>,
    permits: Arc<Semaphore>,
    next_connection: Arc<AtomicU64>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// All listeners and connections.
pub struct Transports {
    udp: Vec<udp::Sender>,
    tcp: Vec<SocketAddr>,
    connections: HashMap<u64, Connection>,
    /// The newest connection to each address, for flows whose own connection is gone.
    by_remote: HashMap<SocketAddr, u64>,
    shared: Shared,
}

struct Connection {
    flow: Flow,
    writer: mpsc::Sender<Bytes>,
}

impl Transports {
    /// Starts listening. What arrives goes into `arrivals`.
    ///
    /// # Errors
    /// [`BindError`] names the listener that cannot start; none runs then.
    pub async fn bind(
        config: TransportConfig,
        arrivals: mpsc::Sender<Arrived>,
    ) -> Result<Self, BindError> {
        let shared = Shared {
            permits: Arc::new(Semaphore::new(config.max_connections)),
            config: Arc::new(config),
            arrivals,
            counters: Arc::default(),
            next_connection: Arc::new(AtomicU64::new(1)),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        let fail = |transport, address| move |source| BindError { transport, address, source };
        let mut sockets = Vec::new();
        for &address in &shared.config.udp {
            sockets.push(udp::bind(address).map_err(fail(Transport::Udp, address))?);
        }
        let mut listeners = Vec::new();
        for &address in &shared.config.tcp {
            listeners.push(tcp::bind(address).map_err(fail(Transport::Tcp, address))?);
        }
        let mut udp = Vec::new();
        for (socket, sender) in sockets {
            let local = shared.announced(sender.local());
            shared.tasks.spawn(udp::receive(socket, local, shared.clone()));
            udp.push(sender);
        }
        let mut tcp = Vec::new();
        for (listener, local) in listeners {
            shared.tasks.spawn(tcp::accept(listener, shared.clone()));
            tcp.push(local);
        }
        Ok(Self { udp, tcp, connections: HashMap::new(), by_remote: HashMap::new(), shared })
    }

    /// The addresses of the UDP listeners, in the order of the config, with real ports.
    pub fn udp_addresses(&self) -> Vec<SocketAddr> {
        self.udp.iter().map(udp::Sender::local).collect()
    }

    /// The addresses of the TCP listeners, in the order of the config, with real ports.
    pub fn tcp_addresses(&self) -> Vec<SocketAddr> {
        self.tcp.clone()
    }

    /// What happened so far.
    pub fn counters(&self) -> Arc<TransportCounters> {
        Arc::clone(&self.shared.counters)
    }

    /// Takes note of what arrived before the machines see it.
    pub fn note(&mut self, arrived: &Arrived) {
        match arrived {
            Arrived::Opened { flow, writer } => self.insert(*flow, writer.clone()),
            Arrived::Closed { flow } => self.remove(flow),
            Arrived::Message { .. } | Arrived::SendFailed { .. } => {}
        }
    }

    /// Sends one message, without waiting. On TCP it goes over the flow's connection, else over
    /// another to the same address, else a new one.
    ///
    /// # Errors
    /// [`SendError`] if that is known at once; [`Arrived::SendFailed`] comes if it shows later.
    pub fn send(&mut self, flow: &Flow, bytes: Vec<u8>) -> Result<(), SendError> {
        let sent = match flow.transport {
            Transport::Udp => self.send_udp(flow, &bytes),
            Transport::Tcp => self.send_tcp(flow, bytes.into()),
            Transport::Tls | Transport::Ws | Transport::Wss => Err(SendError::NoListener),
        };
        let counters = &self.shared.counters;
        TransportCounters::bump(match sent {
            Ok(()) => &counters.sent_messages,
            Err(_) => &counters.unsent_messages,
        });
        sent
    }

    /// Closes all listeners and connections and waits for their tasks.
    pub async fn close(mut self) {
        // Dropping the writers lets each connection write what it has before it ends.
        self.connections.clear();
        self.shared.stop.cancel();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }

    fn send_udp(&self, flow: &Flow, bytes: &[u8]) -> Result<(), SendError> {
        let fits = |sender: &&udp::Sender| sender.local().is_ipv4() == flow.remote.is_ipv4();
        let exact = |sender: &&udp::Sender| self.shared.announced(sender.local()) == flow.local;
        let sender = self.udp.iter().filter(fits).find(exact);
        let sender = sender.or_else(|| self.udp.iter().find(fits)).ok_or(SendError::NoListener)?;
        Ok(sender.send(bytes, flow.remote)?)
    }

    fn send_tcp(&mut self, flow: &Flow, bytes: Bytes) -> Result<(), SendError> {
        let known = flow.connection.filter(|id| self.connections.contains_key(id));
        let known = known.or_else(|| self.by_remote.get(&flow.remote).copied());
        let Some(connection) = known.and_then(|id| self.connections.get(&id)) else {
            return self.connect(flow, bytes);
        };
        match connection.writer.try_send(bytes) {
            Ok(()) => Ok(()),
            Err(mpsc::error::TrySendError::Full(_)) => {
                let flow = connection.flow;
                tracing::warn!(%flow, "closing a connection whose peer does not read");
                self.remove(&flow);
                Err(SendError::QueueFull)
            }
            // It ended, and its `Closed` is still on the way to us.
            Err(mpsc::error::TrySendError::Closed(bytes)) => {
                let gone = connection.flow;
                self.remove(&gone);
                self.connect(flow, bytes)
            }
        }
    }

    fn connect(&mut self, flow: &Flow, bytes: Bytes) -> Result<(), SendError> {
        let permit = Arc::clone(&self.shared.permits)
            .try_acquire_owned()
            .map_err(|_| SendError::TooManyConnections)?;
        let flow = Flow { connection: Some(self.shared.number_connection()), ..*flow };
        let (writer, queue) = mpsc::channel(WRITE_QUEUE);
        // A new queue has room for one message.
        let _ = writer.try_send(bytes);
        self.insert(flow, writer.clone());
        let pongs = writer.downgrade();
        self.shared.tasks.spawn(tcp::connect(flow, queue, pongs, permit, self.shared.clone()));
        Ok(())
    }

    fn insert(&mut self, flow: Flow, writer: mpsc::Sender<Bytes>) {
        if let Some(id) = flow.connection {
            self.by_remote.insert(flow.remote, id);
            self.connections.insert(id, Connection { flow, writer });
        }
    }

    fn remove(&mut self, flow: &Flow) {
        if let Some(id) = flow.connection {
            self.connections.remove(&id);
            if self.by_remote.get(&flow.remote) == Some(&id) {
                self.by_remote.remove(&flow.remote);
            }
        }
    }
}

impl Shared {
    fn number_connection(&self) -> u64 {
        self.next_connection.fetch_add(1, Ordering::Relaxed)
    }

    /// A listener's address as the other side knows it.
    fn announced(&self, local: SocketAddr) -> SocketAddr {
        if local.ip().is_unspecified() {
            return SocketAddr::new(self.config.advertise, local.port());
        }
        local
    }
}
