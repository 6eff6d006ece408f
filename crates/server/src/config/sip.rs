//! `[sip]`: listeners, what they show, and what phones and strangers may do.

use cheling_call::auth::Offered;
use cheling_call::{advertise, guard};
use cheling_capture::Dscp;
use cheling_sip::session_timer;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;

/// Phones and trunks.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sip {
    /// UDP listener. Default `127.0.0.1:5060`; `0.0.0.0:5060` lets the network in.
    pub udp: SocketAddr,
    /// TCP listener. Default: as `udp`.
    pub tcp: Option<SocketAddr>,
    /// TLS listener, usually port 5061. Default: none.
    pub tls: Option<SocketAddr>,
    /// WebSocket listener (RFC 7118) for phones in browsers. Default: none.
    pub ws: Option<SocketAddr>,
    /// Listener of WebSockets under TLS, which pages loaded by https need. Default: none.
    pub wss: Option<SocketAddr>,
    /// PEM file of the certificate that `tls` and `wss` show, those that signed it behind.
    /// Read again when it changes. Default: one that signs itself, made in `<data_dir>/tls`.
    pub tls_certificate: Option<PathBuf>,
    /// PEM file of its private key. Default: see `tls_certificate`.
    pub tls_key: Option<PathBuf>,
    /// Further certificates, each shown to who asks for a name that it carries (SNI). Default
    /// none.
    pub tls_named: Vec<NamedCertificate>,
    /// PEM file of authorities: phones must show `tls` a certificate that one of them signed.
    /// `wss` asks for none. Default: none is asked for.
    pub tls_client_ca: Option<PathBuf>,
    /// Connections at once, of all transports, both ways. Default 1024.
    pub max_connections: usize,
    /// Connections at once from one address (one /64 of IPv6). Default 256: more only where more
    /// phones share the address of a NAT.
    pub max_connections_per_source: usize,
    /// The address written into Via, Contact and SDP. Default: the listener's, or the machine's
    /// own where the listener is `0.0.0.0`.
    pub advertise: Option<IpAddr>,
    /// Networks that reach us by another address than `advertise`, the first that fits counts: phones
    /// in the house when `advertise` is the public one, or everybody with IPv6 (`::/0`). Default
    /// none.
    pub advertise_to: Vec<AdvertiseTo>,
    /// Further listeners, for UDP and TCP alike, such as `[::]:5060` beside an IPv4 `udp`. Default
    /// none.
    pub also: Vec<SocketAddr>,
    /// DSCP of SIP packets, 0 (no precedence) to 63. Default 24 (CS3).
    pub dscp: u8,
    /// DNS servers for trunks known by name, each `IP:PORT`. Default: the system's.
    pub dns_servers: Vec<SocketAddr>,
    /// Digest realm. Default `cheling`. Changing it makes every SIP password void.
    pub realm: String,
    /// Calls at once; more get 503. Default 500.
    pub max_calls: usize,
    /// The hashes of digest that phones are offered: `md5` (default), or `sha-256`, which is SHA-256
    /// first and MD5 beside it (RFC 8760). Some phones give up on a challenge that names anything
    /// but MD5.
    pub digests: Digests,
    /// What sources that are shut out as scanners get: `drop` (default), nothing at all, or
    /// `refuse`, 403.
    pub scanners: Scanners,
    /// Requests that a source may send each second before it has proved a password; more get 503.
    /// Trunks and sources of registered phones are not counted. Default 100.
    pub strangers_per_second: u32,
    /// Longest registration granted, seconds. Default 300.
    pub registration_seconds: u64,
    /// How long a call lasts after its last sign of life, seconds, with phones and trunks that
    /// know session timers (RFC 4028); half-way the sign is given. 0 asks for no timer. Default
    /// 1800.
    pub session_seconds: u32,
    /// The shortest such time that is accepted, seconds, at least 90. Default 90.
    pub session_least_seconds: u32,
}

/// The hashes that phones are offered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Digests {
    /// MD5 alone.
    #[default]
    Md5,
    /// SHA-256, and MD5 for those that know no better.
    #[serde(rename = "sha-256")]
    Sha256,
}

/// What scanners get.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scanners {
    /// Nothing.
    #[default]
    Drop,
    /// 403.
    Refuse,
}

/// A network, and the address by which it reaches us.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdvertiseTo {
    /// `192.168.0.0/16`, `2001:db8::/32`, or one address.
    pub network: String,
    /// What it is told.
    pub address: IpAddr,
}

impl AdvertiseTo {
    /// As call control knows it; `None` if the network cannot be read.
    fn rule(&self) -> Option<advertise::AdvertiseTo> {
        let (network, prefix) = match self.network.split_once('/') {
            Some((network, prefix)) => (network, Some(prefix.parse().ok()?)),
            None => (self.network.as_str(), None),
        };
        let network: IpAddr = network.trim().parse().ok()?;
        let most = if network.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.unwrap_or(most);
        let address = self.address;
        (prefix <= most && !address.is_unspecified()).then_some(advertise::AdvertiseTo {
            network,
            prefix,
            address,
        })
    }
}

/// A further certificate.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamedCertificate {
    /// PEM file of the certificate, those that signed it behind.
    pub certificate: PathBuf,
    /// PEM file of its private key.
    pub key: PathBuf,
}

impl Default for Sip {
    fn default() -> Self {
        Self {
            udp: SocketAddr::from(([127, 0, 0, 1], 5060)),
            tcp: None,
            tls: None,
            ws: None,
            wss: None,
            tls_certificate: None,
            tls_key: None,
            tls_named: Vec::new(),
            tls_client_ca: None,
            max_connections: 1024,
            max_connections_per_source: 256,
            advertise: None,
            advertise_to: Vec::new(),
            also: Vec::new(),
            dscp: Dscp::CS3.number(),
            dns_servers: Vec::new(),
            realm: "cheling".into(),
            max_calls: 500,
            digests: Digests::default(),
            scanners: Scanners::default(),
            strangers_per_second: guard::Rules::default().strangers_per_second,
            registration_seconds: 300,
            session_seconds: session_timer::USUAL_SESSION_EXPIRES_S,
            session_least_seconds: session_timer::LEAST_MIN_SE_S,
        }
    }
}

impl Sip {
    /// What strangers may do on our SIP listeners.
    pub fn offered_digests(&self) -> Offered {
        match self.digests {
            Digests::Md5 => Offered::Md5,
            Digests::Sha256 => Offered::Sha256AndMd5,
        }
    }

    /// What strangers may do.
    pub fn guard(&self) -> guard::Rules {
        let shut_out = match self.scanners {
            Scanners::Drop => guard::ShutOut::Drop,
            Scanners::Refuse => guard::ShutOut::Refuse,
        };
        guard::Rules { shut_out, strangers_per_second: self.strangers_per_second }
    }

    /// The address that phones reach us by.
    pub fn advertised(&self) -> IpAddr {
        self.advertise.unwrap_or_else(|| match self.udp.ip() {
            ip if ip.is_unspecified() => own_address().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            ip => ip,
        })
    }

    /// Networks that reach us by another address.
    pub fn advertised_to(&self) -> Vec<advertise::AdvertiseTo> {
        self.advertise_to.iter().filter_map(AdvertiseTo::rule).collect()
    }

    /// What is wrong with it, one line each.
    pub(super) fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for rule in self.advertise_to.iter().filter(|rule| rule.rule().is_none()) {
            faults.push(format!(
                "sip.advertise_to: {:?} is no network such as 192.168.0.0/16, or its address is none",
                rule.network
            ));
        }
        if self.realm.is_empty() || self.realm.contains(['"', '\\']) {
            faults.push("sip.realm: must not be empty nor hold quotes".into());
        }
        if self.strangers_per_second == 0 {
            faults.push("sip.strangers_per_second: 0 would let no phone register".into());
        }
        if self.max_calls == 0 {
            faults.push("sip.max_calls: 0 would refuse every call".into());
        }
        if self.registration_seconds < 60 {
            faults.push("sip.registration_seconds: at least 60".into());
        }
        faults.extend(self.tls_faults());
        faults.extend(self.session_faults());
        faults
    }

    /// What is asked of session timers.
    pub fn session_timer(&self) -> session_timer::Policy {
        session_timer::Policy {
            wanted_s: Some(self.session_seconds).filter(|seconds| *seconds > 0),
            min_s: self.session_least_seconds,
        }
    }

    fn session_faults(&self) -> Vec<String> {
        let least = session_timer::LEAST_MIN_SE_S;
        let mut faults = Vec::new();
        if self.session_least_seconds < least {
            faults.push(format!("sip.session_least_seconds: at least {least} (RFC 4028)"));
        }
        if self.session_seconds != 0 && self.session_seconds < self.session_least_seconds {
            faults.push("sip.session_seconds: less than sip.session_least_seconds".into());
        }
        faults
    }

    fn tls_faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for (key, value) in [
            ("max_connections", self.max_connections),
            ("max_connections_per_source", self.max_connections_per_source),
        ] {
            if value == 0 {
                faults.push(format!("sip.{key}: 0 would refuse every connection"));
            }
        }
        if self.tls_certificate.is_some() != self.tls_key.is_some() {
            faults.push("sip.tls_certificate: goes with sip.tls_key; set both or neither".into());
        }
        if self.tls_client_ca.is_some() && self.tls.is_none() {
            faults.push("sip.tls_client_ca: there is no sip.tls for it".into());
        }
        if !self.tls_named.is_empty() && self.tls.is_none() && self.wss.is_none() {
            faults.push("sip.tls_named: there is no sip.tls nor sip.wss for it".into());
        }
        let tcp = (&"tcp", Some(self.tcp.unwrap_or(self.udp)));
        let others = [(&"tls", self.tls), (&"ws", self.ws), (&"wss", self.wss)];
        let listeners: Vec<_> = std::iter::once(tcp)
            .chain(others)
            .filter_map(|(key, address)| address.map(|address| (key, address)))
            .collect();
        for (index, (key, address)) in listeners.iter().enumerate() {
            let taken = listeners[..index].iter().find(|(_, other)| other == address);
            if let Some((other, _)) = taken.filter(|_| address.port() != 0) {
                faults.push(format!("sip.{key}: {address} is taken by sip.{other}"));
            }
        }
        faults
    }
}

/// The address by which this machine would leave for the network. Nothing is sent.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    Some(socket.local_addr().ok()?.ip())
}
