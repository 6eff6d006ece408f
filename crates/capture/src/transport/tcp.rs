//! Connections both ways: listeners that accept, handshakes within their time, connecting.

use super::admission::Ticket;
use super::stream::Connection;
use super::{Arrived, Shared, TransportCounters, tls, websocket};
use crate::dscp::Dscp;
use cheling_sip::{Flow, Transport};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout};

const BACKLOG: i32 = 1024;
/// After running out of file descriptors, how long before the next is accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long what was written may go without the other side's kernel acknowledging it. A call to a
/// phone that is gone is given up then, long before its transaction would be (32 s).
const UNACKNOWLEDGED_FOR: Duration = Duration::from_secs(10);
/// How long a connection may be silent before it is probed.
const SILENT_FOR: Duration = Duration::from_secs(60);
/// How often it is probed then, and how many probes may go unanswered.
const PROBE_EVERY: Duration = Duration::from_secs(10);
/// See [`PROBE_EVERY`].
const PROBES: u32 = 3;

/// What is spoken on a listener.
#[derive(Clone)]
pub(super) enum Spoken {
    Tcp,
    Tls(Arc<tls::Server>),
    WebSocket,
    SecureWebSocket(Arc<tls::Server>),
}

impl Spoken {
    pub(super) fn transport(&self) -> Transport {
        match self {
            Self::Tcp => Transport::Tcp,
            Self::Tls(_) => Transport::Tls,
            Self::WebSocket => Transport::Ws,
            Self::SecureWebSocket(_) => Transport::Wss,
        }
    }
}

pub(super) fn bind(address: SocketAddr, dscp: Dscp) -> io::Result<(TcpListener, SocketAddr)> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    // So that a restart need not wait for the last run's connections to be forgotten.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    dscp.mark(&socket, address);
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    let listener = TcpListener::from_std(socket.into())?;
    let local = listener.local_addr()?;
    Ok((listener, local))
}

/// Accepts connections until told to stop.
pub(super) async fn accept(listener: TcpListener, spoken: Spoken, shared: Shared) {
    loop {
        let accepted = tokio::select! {
            () = shared.stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, remote) = match accepted {
            Ok(accepted) => accepted,
            Err(err) => {
                tracing::warn!(%err, "cannot accept a SIP connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let ticket = match shared.admission.incoming(remote.ip(), Instant::now().into_std()) {
            Ok(ticket) => ticket,
            Err(refused) => {
                TransportCounters::bump(&shared.counters.refused_connections);
                if refused.is_news {
                    tracing::warn!(%remote, "{}, refused", refused.why);
                }
                continue;
            }
        };
        let Ok(local) = stream.local_addr() else { continue };
        let connection = Some(shared.number_connection());
        let flow = Flow { transport: spoken.transport(), local, remote, connection };
        shared.tasks.spawn(serve(spoken.clone(), stream, flow, ticket, shared.clone()));
    }
}

/// SIP messages are small and wanted now; and a phone whose power was cut says no goodbye: what is
/// written to it ends the connection soon, and so does a silence in which it answers no probe.
fn tune(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    let socket = SockRef::from(stream);
    let _ = socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED_FOR));
    let probes = TcpKeepalive::new().with_time(SILENT_FOR).with_interval(PROBE_EVERY);
    let _ = socket.set_tcp_keepalive(&probes.with_retries(PROBES));
}

/// One accepted connection, from its handshakes to its end.
async fn serve(
    spoken: Spoken,
    stream: TcpStream,
    flow: Flow,
    ticket: Ticket,
    shared: Shared,
) -> Option<()> {
    tune(&stream);
    match spoken {
        Spoken::Tcp => {
            let (reader, writer) = stream.into_split();
            Connection::open(flow, shared).await?.run(reader, writer).await;
        }
        Spoken::Tls(server) => {
            let stream = greet(&shared, (flow, &ticket), server.accept(stream)).await?;
            let (reader, writer) = tokio::io::split(stream);
            Connection::open(flow, shared).await?.run(reader, writer).await;
        }
        Spoken::WebSocket => {
            let socket = greet(&shared, (flow, &ticket), websocket::accept(stream)).await?;
            websocket::run(Connection::open(flow, shared).await?, socket).await;
        }
        Spoken::SecureWebSocket(server) => {
            let greeting = async { websocket::accept(server.accept(stream).await?).await };
            let socket = greet(&shared, (flow, &ticket), greeting).await?;
            websocket::run(Connection::open(flow, shared).await?, socket).await;
        }
    }
    Some(())
}

/// Waits for a handshake, as long as it may take.
async fn greet<T>(
    shared: &Shared,
    (flow, ticket): (Flow, &Ticket),
    handshake: impl Future<Output = io::Result<T>>,
) -> Option<T> {
    let within = shared.config.handshake_within;
    let done = tokio::select! {
        () = shared.stop.cancelled() => return None,
        done = timeout(within, handshake) => done.unwrap_or_else(|late| Err(late.into())),
    };
    match done {
        Ok(stream) => Some(stream),
        Err(err) => {
            TransportCounters::bump(&shared.counters.failed_handshakes);
            let why = tls::refusal(&err);
            match ticket.is_failure_news(Instant::now().into_std()) {
                true => tracing::warn!(%flow, %err, "handshake failed{why}"),
                false => tracing::debug!(%flow, %err, "handshake failed{why}"),
            }
            None
        }
    }
}

/// Connects, by TLS if `client` is given, writes what is queued, and goes on as any connection.
pub(super) async fn connect(
    connection: Connection,
    client: Option<tls::Client>,
    _ticket: Ticket,
) -> Option<()> {
    let Connection { flow, shared, .. } = &connection;
    let (flow, shared) = (*flow, shared.clone());
    let deadline = Instant::now() + shared.config.connect_within;
    let connected = by(&shared, deadline, TcpStream::connect(flow.remote)).await?;
    let stream = match connected {
        Ok(stream) => stream,
        Err(err) => return unconnected(&shared, flow, &err).await,
    };
    tune(&stream);
    shared.config.dscp.mark(&stream, flow.remote);
    let Some(client) = client else {
        let (reader, writer) = stream.into_split();
        connection.run(reader, writer).await;
        return Some(());
    };
    match by(&shared, deadline, client.connect(stream)).await? {
        Ok(stream) => {
            let (reader, writer) = tokio::io::split(stream);
            connection.run(reader, writer).await;
        }
        Err(err) => return unconnected(&shared, flow, &err).await,
    }
    Some(())
}

/// What came by the deadline; `None` if we stop.
async fn by<T>(
    shared: &Shared,
    deadline: Instant,
    work: impl Future<Output = io::Result<T>>,
) -> Option<io::Result<T>> {
    tokio::select! {
        () = shared.stop.cancelled() => None,
        done = tokio::time::timeout_at(deadline, work) => {
            Some(done.unwrap_or_else(|late| Err(late.into())))
        }
    }
}

async fn unconnected(shared: &Shared, flow: Flow, err: &io::Error) -> Option<()> {
    tracing::info!(%flow, %err, "cannot connect");
    let _ = shared.arrivals.send(Arrived::SendFailed { flow }).await;
    let _ = shared.arrivals.send(Arrived::Closed { flow }).await;
    None
}
