//! Where SIP listens, what it shows, whom it trusts, and how much it allows.

use super::tls::{TlsFiles, TlsPeer};
use crate::dscp::Dscp;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Where to listen, and how much to allow.
#[derive(Clone, Debug)]
pub struct TransportConfig {
    /// UDP listeners.
    pub udp: Vec<SocketAddr>,
    /// TCP listeners.
    pub tcp: Vec<SocketAddr>,
    /// TLS listeners. Default none. They need `tls_files`.
    pub tls: Vec<SocketAddr>,
    /// WebSocket listeners (RFC 7118). Default none.
    pub ws: Vec<SocketAddr>,
    /// Listeners of WebSockets under TLS. Default none. They need `tls_files`.
    pub wss: Vec<SocketAddr>,
    /// What the TLS listeners show. Default none.
    pub tls_files: Option<TlsFiles>,
    /// To whom we connect by TLS, and how they prove who they are. No other gets a TLS connection
    /// from us. Default none.
    pub tls_peers: Vec<TlsPeer>,
    /// What stands for a listener's unspecified address in a [`cheling_sip::Flow`].
    pub advertise: IpAddr,
    /// The mark of SIP packets. Default CS3.
    pub dscp: Dscp,
    /// Connections at once, both ways. More are refused. Default 1024.
    pub max_connections: usize,
    /// Accepted connections at once from one IPv4 address or one IPv6 /64. Default 256: a
    /// dealership behind NAT.
    pub max_connections_per_source: usize,
    /// Connections that one such source may open in a burst. Default 256.
    pub connection_burst: u32,
    /// After a burst, how soon each further connection may follow. Default 50 ms.
    pub connection_interval: Duration,
    /// The handshakes of TLS and WebSocket must be over within this time. Default 5 s.
    pub handshake_within: Duration,
    /// A new connection must bring a whole message within this time. Default 20 s.
    pub first_message_within: Duration,
    /// A connection on which nothing comes, not even a keep-alive, is closed. Default 15 min.
    pub idle: Duration,
    /// How often a WebSocket is pinged (RFC 6455 §5.5.2); three without an answer end it.
    /// Default 25 s, which keeps a NAT binding.
    pub websocket_ping: Duration,
    /// An outgoing connection must stand within this time, TLS included. Default 5 s.
    pub connect_within: Duration,
}

impl TransportConfig {
    /// One UDP and one TCP listener at `address`, with the default limits.
    pub fn at(address: SocketAddr) -> Self {
        Self {
            udp: vec![address],
            tcp: vec![address],
            tls: Vec::new(),
            ws: Vec::new(),
            wss: Vec::new(),
            tls_files: None,
            tls_peers: Vec::new(),
            advertise: address.ip(),
            dscp: Dscp::CS3,
            max_connections: 1024,
            max_connections_per_source: 256,
            connection_burst: 256,
            connection_interval: Duration::from_millis(50),
            handshake_within: Duration::from_secs(5),
            first_message_within: Duration::from_secs(20),
            idle: Duration::from_secs(15 * 60),
            websocket_ping: Duration::from_secs(25),
            connect_within: Duration::from_secs(5),
        }
    }
}
