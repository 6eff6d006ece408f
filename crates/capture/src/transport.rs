//! SIP over UDP, TCP, TLS and WebSockets: listeners, connections, and the sending side of all.
//!
//! Readers are tasks of their own; what they read comes through one bounded queue of [`Arrived`],
//! and when that is full they stop reading: the kernel drops datagrams, TCP slows its peer down,
//! and SIP retransmits. [`Transports`] belongs to the SIP task, which sends through it without
//! ever waiting.

mod admission;
mod config;
mod stream;
mod tcp;
mod tls;
mod udp;
mod websocket;

pub use config::TransportConfig;
pub use tls::{CertificateFiles, TlsError, TlsFiles, TlsPeer, TlsTrust};

use admission::{Admission, Ticket};
use bytes::Bytes;
use cheling_model::directory::{TrunkAddress, TrunkTransport};
use cheling_sip::{Flow, Transport};
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use stream::Connection;
use tcp::Spoken;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Messages that may wait for the SIP task.
pub const ARRIVAL_QUEUE: usize = 4096;
/// Messages that may wait to be written to one connection. More: its peer does not read, and the
/// connection is closed.
const WRITE_QUEUE: usize = 128;

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
pub enum BindError {
    /// The address cannot be had.
    #[error("cannot listen on {transport} {address}: {source}")]
    Address {
        /// What was to be spoken there.
        transport: Transport,
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// A certificate, a key or an authority cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
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
    /// Its connection is gone, and only its other side may open one: a browser, or who is no
    /// [`TlsPeer`].
    #[error("the connection is gone and is not ours to open")]
    ConnectionGone,
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
    /// Connections refused because there were too many, or came too fast.
    pub refused_connections: AtomicU64,
    /// Handshakes of TLS or WebSocket that failed or took too long.
    pub failed_handshakes: AtomicU64,
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
    admission: Arc<Admission>,
    next_connection: Arc<AtomicU64>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// All listeners and connections.
pub struct Transports {
    udp: Vec<udp::Sender>,
    /// Of connections, with real ports, in the order of the config.
    listeners: Vec<(Transport, SocketAddr)>,
    tls_clients: HashMap<String, tls::Client>,
    /// Where those are, by address.
    tls_peers: HashMap<SocketAddr, String>,
    connections: HashMap<u64, Writer>,
    /// The newest connection to each address, for flows whose own connection is gone.
    by_remote: HashMap<(Transport, SocketAddr), u64>,
    shared: Shared,
}

struct Writer {
    flow: Flow,
    queue: mpsc::Sender<Bytes>,
}

impl Transports {
    /// Starts listening. What arrives goes into `arrivals`; datagrams are read in the runtime that
    /// takes them from there.
    ///
    /// # Errors
    /// [`BindError`] names the listener or the file that is in the way; none runs then.
    pub async fn bind(
        config: TransportConfig,
        arrivals: mpsc::Sender<Arrived>,
        datagrams: &Handle,
    ) -> Result<Self, BindError> {
        let shared = Shared {
            admission: Arc::new(Admission::new(&config)),
            config: Arc::new(config),
            arrivals,
            counters: Arc::default(),
            next_connection: Arc::new(AtomicU64::new(1)),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        let config = &shared.config;
        let fail =
            |transport, address| move |source| BindError::Address { transport, address, source };
        let (mut tls_clients, mut tls_peers) = (HashMap::new(), HashMap::new());
        for peer in &config.tls_peers {
            tls_clients.insert(peer.trunk.clone(), tls::Client::load(peer)?);
            tls_peers.extend(peer.addresses.iter().map(|address| (*address, peer.trunk.clone())));
        }
        let mut sockets = Vec::new();
        for &address in &config.udp {
            sockets.push(udp::bind(address, config.dscp).map_err(fail(Transport::Udp, address))?);
        }
        let mut bound = Vec::new();
        for (spoken, addresses) in spoken(config)? {
            for &address in addresses {
                let failed = fail(spoken.transport(), address);
                let (listener, local) = tcp::bind(address, config.dscp).map_err(failed)?;
                bound.push((spoken.clone(), listener, local));
            }
        }
        let mut udp = Vec::new();
        for (socket, sender) in sockets {
            let local = shared.announced(sender.local());
            shared.tasks.spawn_on(udp::receive(socket, local, shared.clone()), datagrams);
            udp.push(sender);
        }
        let mut listeners = Vec::new();
        for (spoken, listener, local) in bound {
            listeners.push((spoken.transport(), local));
            shared.tasks.spawn(tcp::accept(listener, spoken, shared.clone()));
        }
        let (connections, by_remote) = (HashMap::new(), HashMap::new());
        Ok(Self { udp, listeners, tls_clients, tls_peers, connections, by_remote, shared })
    }

    /// The addresses of the listeners of one transport, in the order of the config, with real
    /// ports.
    pub fn addresses(&self, transport: Transport) -> Vec<SocketAddr> {
        if transport == Transport::Udp {
            return self.udp.iter().map(udp::Sender::local).collect();
        }
        let listeners = self.listeners.iter().filter(|(spoken, _)| *spoken == transport);
        listeners.map(|(_, local)| *local).collect()
    }

    /// The addresses of the UDP listeners.
    pub fn udp_addresses(&self) -> Vec<SocketAddr> {
        self.addresses(Transport::Udp)
    }

    /// The addresses of the TCP listeners.
    pub fn tcp_addresses(&self) -> Vec<SocketAddr> {
        self.addresses(Transport::Tcp)
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

    /// A [`TlsPeer`] is here now. Connections that stand go on.
    pub fn move_tls_peer(&mut self, trunk: &str, addresses: &[TrunkAddress]) {
        self.tls_peers.retain(|_, known| known != trunk);
        let secure = addresses.iter().filter(|it| it.transport == TrunkTransport::Tls);
        self.tls_peers.extend(secure.map(|it| (it.address, trunk.to_owned())));
    }

    /// Sends one message, without waiting. On a connection it goes over the flow's own, else over
    /// another of its kind to the same address, else a new one: TCP to anyone, TLS to a
    /// [`TlsPeer`].
    ///
    /// # Errors
    /// [`SendError`] if that is known at once; [`Arrived::SendFailed`] comes if it shows later.
    pub fn send(&mut self, flow: &Flow, bytes: impl Into<Bytes>) -> Result<(), SendError> {
        let bytes = bytes.into();
        let sent = match flow.transport {
            Transport::Udp => self.send_udp(flow, &bytes),
            Transport::Tcp | Transport::Tls | Transport::Ws | Transport::Wss => {
                self.send_connected(flow, bytes)
            }
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

    fn send_connected(&mut self, flow: &Flow, bytes: Bytes) -> Result<(), SendError> {
        let known = flow.connection.filter(|id| self.connections.contains_key(id));
        let known = known.or_else(|| self.by_remote.get(&(flow.transport, flow.remote)).copied());
        let Some(writer) = known.and_then(|id| self.connections.get(&id)) else {
            return self.connect(flow, bytes);
        };
        match writer.queue.try_send(bytes) {
            Ok(()) => Ok(()),
            Err(mpsc::error::TrySendError::Full(_)) => {
                let flow = writer.flow;
                tracing::warn!(%flow, "closing a connection whose peer does not read");
                self.remove(&flow);
                Err(SendError::QueueFull)
            }
            // It ended, and its `Closed` is still on the way to us.
            Err(mpsc::error::TrySendError::Closed(bytes)) => {
                let gone = writer.flow;
                self.remove(&gone);
                self.connect(flow, bytes)
            }
        }
    }

    fn connect(&mut self, flow: &Flow, bytes: Bytes) -> Result<(), SendError> {
        let client = match flow.transport {
            Transport::Tcp => None,
            Transport::Tls => {
                let peer = self.tls_peers.get(&flow.remote);
                let client = peer.and_then(|trunk| self.tls_clients.get(trunk));
                Some(client.ok_or(SendError::ConnectionGone)?.clone())
            }
            Transport::Udp | Transport::Ws | Transport::Wss => {
                return Err(SendError::ConnectionGone);
            }
        };
        let ticket: Ticket =
            self.shared.admission.outgoing().ok_or(SendError::TooManyConnections)?;
        let flow = Flow { connection: Some(self.shared.number_connection()), ..*flow };
        let (writer, queue) = mpsc::channel(WRITE_QUEUE);
        // A new queue has room for one message.
        let _ = writer.try_send(bytes);
        let (pongs, shared) = (writer.downgrade(), self.shared.clone());
        let connection = Connection { flow, queue, pongs, is_ours: true, shared };
        self.insert(flow, writer);
        self.shared.tasks.spawn(tcp::connect(connection, client, ticket));
        Ok(())
    }

    fn insert(&mut self, flow: Flow, queue: mpsc::Sender<Bytes>) {
        if let Some(id) = flow.connection {
            self.by_remote.insert((flow.transport, flow.remote), id);
            self.connections.insert(id, Writer { flow, queue });
        }
    }

    fn remove(&mut self, flow: &Flow) {
        if let Some(id) = flow.connection {
            self.connections.remove(&id);
            let remote = (flow.transport, flow.remote);
            if self.by_remote.get(&remote) == Some(&id) {
                self.by_remote.remove(&remote);
            }
        }
    }
}

/// What is spoken on which addresses.
fn spoken(config: &TransportConfig) -> Result<Vec<(Spoken, &[SocketAddr])>, TlsError> {
    let mut spoken = vec![(Spoken::Tcp, &config.tcp[..]), (Spoken::WebSocket, &config.ws[..])];
    if !config.tls.is_empty() || !config.wss.is_empty() {
        let files = config.tls_files.clone().ok_or(TlsError::NoCertificate)?;
        // Browsers ask their user which certificate to show; their password must do.
        let public = TlsFiles { client_ca: None, ..files.clone() };
        spoken.push((Spoken::Tls(Arc::new(tls::Server::load(files)?)), &config.tls[..]));
        let secure = Spoken::SecureWebSocket(Arc::new(tls::Server::load(public)?));
        spoken.push((secure, &config.wss[..]));
    }
    Ok(spoken)
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
