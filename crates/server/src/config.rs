//! The configuration: one TOML file read into one struct that refuses unknown keys.
//!
//! Each key's doc gives its unit and default; `config/cheling.toml` shows them all. An environment
//! variable overrides a key: `CHELING_WEB__LISTEN=0.0.0.0:8080` is `web.listen` (two underscores
//! between the levels). Dealership data, users, extensions, lines and ring groups live in the
//! database and are edited in the console.

use cheling_call::{advertise, guard};
use cheling_capture::Dscp;
use cheling_model::directory::{SrtpPolicy, Trunk};
use cheling_sip::session_timer;
use figment::Figment;
use figment::providers::{Env, Format as _, Serialized, Toml};
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

mod recording;
mod trunk;

pub use recording::Recording;
pub use trunk::TrunkEntry;

/// Everything that can be set.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where the database, the journal and (unless set apart) the recordings are kept. Default
    /// `data`, relative to the working folder.
    pub data_dir: PathBuf,
    /// Phones and trunks.
    pub sip: Sip,
    /// RTP.
    pub media: Media,
    /// Gateways and trunks, in the order in which they are tried. Default none.
    pub trunk: Vec<TrunkEntry>,
    /// Files.
    pub recording: Recording,
    /// Facts.
    pub database: Database,
    /// Console and API.
    pub web: Web,
    /// The dealership that a new database begins with.
    pub dealership: Dealership,
    /// What is logged.
    pub log: Log,
}

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

/// RTP.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Media {
    /// First port, even. Default 20000.
    pub first_port: u16,
    /// Last port. Default 29999: 2 499 calls and the half minute that a port rests.
    pub last_port: u16,
    /// Relay threads. Default 0: one per core.
    pub threads: usize,
    /// DSCP of media packets, 0 (no precedence) to 63. Default 46 (expedited forwarding).
    pub dscp: u8,
    /// Whether the media of phones is SRTP: `off`, `optional` (default: offered to phones on TLS and
    /// WSS, and taken from every phone that offers it) or `required`.
    pub srtp: SrtpPolicy,
    /// Seconds after which a side of a running call that sends nothing is an alarm; 0 for none.
    /// Phones that send nothing while their user is silent want more. Default 8.
    pub silence_seconds: u64,
}

/// Facts.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Database {
    /// `sqlite://PATH` or `postgres://USER:PASSWORD@HOST/NAME`. Default
    /// `sqlite://<data_dir>/cheling.db`.
    pub url: Option<String>,
}

/// Console and API.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Web {
    /// HTTP listener. Default `127.0.0.1:8080`; `0.0.0.0:8080` lets the network in.
    pub listen: SocketAddr,
    /// Reverse proxies whose `X-Forwarded-For`, `-Proto` and `-Host` are believed. Default none.
    pub trusted_proxies: Vec<IpAddr>,
    /// Marks the session cookie `Secure` always. Default false: only where the request came by
    /// https.
    pub secure_cookies: bool,
    /// A bearer token that may read `/metrics` from anywhere. Default none: loopback only.
    pub metrics_token: Option<String>,
}

/// The dealership that a new database begins with.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Dealership {
    /// Its name. Default `我的4S店`.
    pub name: String,
    /// Area code, for numbers given without one. Default `021` (Shanghai).
    pub area_code: String,
    /// Offset of its clock from UTC, minutes. Default 480 (China).
    pub utc_offset_minutes: i32,
    /// A file with the first seven digits of the mobile numbers that are sold in town, one a line
    /// (`1381234`): the others are from elsewhere for `mobile_prefix` of trunks and for phones that
    /// may dial locally only. Default none: `mobile_prefix` goes before all mobile numbers, and all
    /// count as local for permissions.
    pub local_mobiles: Option<PathBuf>,
}

/// What is logged.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// A filter such as `info` or `info,cheling_call=debug`. Default `info`.
    pub level: String,
    /// One JSON object a line instead of text. Default false.
    pub json: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: "data".into(),
            sip: Sip::default(),
            media: Media::default(),
            trunk: Vec::new(),
            recording: Recording::default(),
            database: Database::default(),
            web: Web::default(),
            dealership: Dealership::default(),
            log: Log::default(),
        }
    }
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
            scanners: Scanners::default(),
            strangers_per_second: guard::Rules::default().strangers_per_second,
            registration_seconds: 300,
            session_seconds: session_timer::USUAL_SESSION_EXPIRES_S,
            session_least_seconds: session_timer::LEAST_MIN_SE_S,
        }
    }
}

impl Default for Media {
    fn default() -> Self {
        Self {
            first_port: 20_000,
            last_port: 29_999,
            threads: 0,
            dscp: Dscp::EXPEDITED.number(),
            srtp: SrtpPolicy::default(),
            silence_seconds: 8,
        }
    }
}

#[allow(clippy::derivable_impls)]
impl Default for Database {
    fn default() -> Self {
        Self { url: None }
    }
}

impl Default for Web {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            trusted_proxies: Vec::new(),
            secure_cookies: false,
            metrics_token: None,
        }
    }
}

impl Default for Dealership {
    fn default() -> Self {
        Self {
            name: "我的4S店".into(),
            area_code: "021".into(),
            utc_offset_minutes: 480,
            local_mobiles: None,
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".into(), json: false }
    }
}

/// Why a configuration cannot be used, one line per fault, each saying where and what to do.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file named on the command line is not there or cannot be read.
    #[error("cannot read {}: {why}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's word.
        why: std::io::Error,
    },
    /// Syntax, an unknown key, a value of the wrong type.
    #[error("{0}")]
    Malformed(String),
    /// Values that do not go together.
    #[error("{}", .0.join("\n"))]
    Unsound(Vec<String>),
}

impl Config {
    /// What strangers may do on our SIP listeners.
    pub fn guard(&self) -> guard::Rules {
        let shut_out = match self.sip.scanners {
            Scanners::Drop => guard::ShutOut::Drop,
            Scanners::Refuse => guard::ShutOut::Refuse,
        };
        guard::Rules { shut_out, strangers_per_second: self.sip.strangers_per_second }
    }

    /// How far the dealership's clock is ahead of UTC, seconds.
    pub fn utc_offset_s(&self) -> i32 {
        self.dealership.utc_offset_minutes.saturating_mul(60)
    }

    /// Reads defaults, then the file (if one is given), then the environment.
    ///
    /// # Errors
    /// [`ConfigError`], with every fault found.
    pub fn load(path: Option<&Path>) -> Result<Self, ConfigError> {
        let mut figment = Figment::from(Serialized::defaults(Self::default()));
        if let Some(path) = path {
            let text = std::fs::read_to_string(path)
                .map_err(|why| ConfigError::Unreadable { path: path.into(), why })?;
            // The TOML reader names line and column; figment alone would not.
            if let Err(error) = toml::from_str::<toml::Table>(&text) {
                return Err(ConfigError::Malformed(format!("{}: {error}", path.display())));
            }
            figment = figment.merge(Toml::string(&text));
        }
        let config: Self = figment
            .merge(Env::prefixed("CHELING_").ignore(&["CONFIG"]).split("__"))
            .extract()
            .map_err(|errors| {
                let lines: Vec<String> = errors
                    .into_iter()
                    .map(|error| match error.path.join(".") {
                        key if key.is_empty() => error.kind.to_string(),
                        key => format!("{key}: {}", error.kind),
                    })
                    .collect();
                ConfigError::Malformed(lines.join("\n"))
            })?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), ConfigError> {
        let mut faults = Vec::new();
        if self.media.first_port % 2 == 1 {
            faults.push(format!(
                "media.first_port: {} is odd; RTP ports are even",
                self.media.first_port
            ));
        }
        if self.media.last_port < self.media.first_port.saturating_add(7) {
            faults.push(format!(
                "media.last_port: {} leaves no room above first_port {}; a call takes 4 ports",
                self.media.last_port, self.media.first_port
            ));
        }
        for rule in self.sip.advertise_to.iter().filter(|rule| rule.rule().is_none()) {
            faults.push(format!(
                "sip.advertise_to: {:?} is no network such as 192.168.0.0/16, or its address is none",
                rule.network
            ));
        }
        for (key, number) in [("sip.dscp", self.sip.dscp), ("media.dscp", self.media.dscp)] {
            if Dscp::new(number).is_none() {
                faults.push(format!("{key}: {number} is above {}; a DSCP has six bits", Dscp::MAX));
            }
        }
        faults.extend(trunk::faults(&self.trunk));
        faults.extend(self.sip.tls_faults());
        faults.extend(self.sip.session_faults());
        faults.extend(self.recording.faults());
        if self.sip.realm.is_empty() || self.sip.realm.contains(['"', '\\']) {
            faults.push("sip.realm: must not be empty nor hold quotes".into());
        }
        if self.sip.strangers_per_second == 0 {
            faults.push("sip.strangers_per_second: 0 would let no phone register".into());
        }
        if self.sip.max_calls == 0 {
            faults.push("sip.max_calls: 0 would refuse every call".into());
        }
        if self.sip.registration_seconds < 60 {
            faults.push("sip.registration_seconds: at least 60".into());
        }
        let area_code = &self.dealership.area_code;
        if !area_code.starts_with('0') || !area_code.bytes().all(|digit| digit.is_ascii_digit()) {
            faults.push(format!("dealership.area_code: {area_code:?} is not like 021 or 0571"));
        }
        if self.dealership.utc_offset_minutes.abs() > 14 * 60 {
            faults.push("dealership.utc_offset_minutes: between -840 and 840".into());
        }
        if let Some(url) = &self.database.url
            && !["sqlite:", "postgres://", "postgresql://"]
                .iter()
                .any(|scheme| url.starts_with(scheme))
        {
            faults.push("database.url: begins with sqlite:// or postgres://".into());
        }
        if faults.is_empty() { Ok(()) } else { Err(ConfigError::Unsound(faults)) }
    }

    /// The database's URL, the default included.
    pub fn database_url(&self) -> String {
        self.database
            .url
            .clone()
            .unwrap_or_else(|| format!("sqlite://{}", self.data_dir.join("cheling.db").display()))
    }

    /// The database's URL for people to read: without its password.
    pub fn masked_database_url(&self) -> String {
        let mut url = self.database_url();
        if let (Some(scheme), Some(at)) = (url.find("://"), url.rfind('@'))
            && let Some(authority) = url.get(scheme + 3..at)
            && let Some(colon) = authority.find(':')
        {
            url.replace_range(scheme + 3 + colon + 1..at, "***");
        }
        url
    }

    /// Root of the finished recordings.
    pub fn recordings_dir(&self) -> PathBuf {
        self.recording.dir.clone().unwrap_or_else(|| self.data_dir.join("recordings"))
    }

    /// The journals' folders, the first disk's first.
    pub fn journal_dirs(&self) -> Vec<PathBuf> {
        let further = self.recording.disk.iter().map(|disk| disk.journal_dir.clone());
        std::iter::once(self.journal_dir()).chain(further).collect()
    }

    /// The first disk's journal's folder.
    pub fn journal_dir(&self) -> PathBuf {
        self.recording.journal_dir.clone().unwrap_or_else(|| self.data_dir.join("journal"))
    }

    /// The address that phones reach us by.
    pub fn advertise(&self) -> IpAddr {
        self.sip.advertise.unwrap_or_else(|| match self.sip.udp.ip() {
            ip if ip.is_unspecified() => own_address().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            ip => ip,
        })
    }

    /// Networks that reach us by another address.
    pub fn advertise_to(&self) -> Vec<advertise::AdvertiseTo> {
        self.sip.advertise_to.iter().filter_map(AdvertiseTo::rule).collect()
    }

    /// Where media is bound: to both families if SIP listens on both.
    pub fn media_bind(&self) -> IpAddr {
        let first = self.sip.udp.ip();
        let is_both = self.sip.also.iter().any(|it| it.is_ipv4() != first.is_ipv4());
        if is_both { IpAddr::V6(Ipv6Addr::UNSPECIFIED) } else { first }
    }

    /// The trunks as the call machines know them, their passwords read.
    ///
    /// # Errors
    /// [`ConfigError::Unsound`] names each password that cannot be had.
    pub fn trunks(&self) -> Result<Vec<Trunk>, ConfigError> {
        let (mut trunks, mut faults) = (Vec::new(), Vec::new());
        for entry in &self.trunk {
            match entry.trunk() {
                Ok(trunk) => trunks.push(trunk),
                Err(fault) => faults.push(fault),
            }
        }
        if faults.is_empty() { Ok(trunks) } else { Err(ConfigError::Unsound(faults)) }
    }

    /// Where the certificate that signs itself is kept.
    pub fn own_tls_dir(&self) -> PathBuf {
        self.data_dir.join("tls")
    }

    /// Where it is kept which phones are registered.
    pub fn registrations_file(&self) -> PathBuf {
        self.data_dir.join("registrations.json")
    }

    /// RTP ports.
    pub fn media_ports(&self) -> RangeInclusive<u16> {
        self.media.first_port..=self.media.last_port
    }

    /// The configuration as TOML, secrets masked.
    pub fn to_toml(&self) -> String {
        let mut shown = self.clone();
        if shown.database.url.is_some() {
            shown.database.url = Some(self.masked_database_url());
        }
        if let Some(token) = &mut shown.web.metrics_token {
            *token = "***".into();
        }
        for password in shown.trunk.iter_mut().filter_map(|trunk| trunk.password.as_mut()) {
            *password = "***".into();
        }
        toml::to_string_pretty(&shown).unwrap_or_else(|error| format!("# {error}"))
    }
}

impl Sip {
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

#[cfg(test)]
mod tests;
