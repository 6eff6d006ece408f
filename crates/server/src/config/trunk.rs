//! One `[[trunk]]`: a gateway, a provider or a telephone system, how it is reached, and what it
//! knows us by.

use cheling_capture::resolve::Wanted;
use cheling_model::directory::{
    Account, CallerHeader, DiversionHeader, EarlyMedia, ForwardedCaller, IdentityHeader,
    LocalNumbers, LongRequests, SrtpPolicy, Trunk, TrunkAddress, TrunkManners, TrunkRole,
    TrunkTransport,
};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// The shortest registration that is asked for.
const MIN_REGISTER_SECONDS: u64 = 60;
/// A trunk is not asked more often whether it is there.
const MIN_PING_SECONDS: u64 = 5;
/// The longest.
const MAX_REGISTER_SECONDS: u64 = 86_400;

/// One gateway, provider or telephone system.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrunkEntry {
    /// Its name, unique.
    pub name: String,
    /// Where it is, `HOST` or `HOST:PORT`: requests go there, and calls from its IP are taken as
    /// its calls. A host name is looked up as RFC 3263 says (SRV where no port is named) and again
    /// when what DNS said runs out.
    pub address: HostPort,
    /// What stands behind it: `trunk` (default), the telephone network, or `pbx`, a telephone
    /// system that stays.
    #[serde(default)]
    pub role: TrunkRole,
    /// Of a `pbx`: numbers that it keeps to itself, such as groups and codes: `6000`, or `61*` for
    /// all that begin so. Calls of its phones to them are internal, with no customer's card; so are
    /// those to extensions, to codes with `*` or `#`, and to numbers no longer than an extension
    /// that begin with none of 0, 1 and 9. Default: none.
    #[serde(default)]
    pub internal: Vec<String>,
    /// The trunk on our other side: its calls come here and ours go there, numbers as they are.
    /// Default: none.
    #[serde(default)]
    pub peer: Option<String>,
    /// `udp` (default), `tcp`, `tls`, or `auto`: what DNS names first (NAPTR, then SRV).
    #[serde(default)]
    pub transport: Via,
    /// How requests go over UDP that are too long for a datagram, 1300 bytes (RFC 3261 §18.1.1):
    /// `auto` (default), by TCP where `transport = "auto"` and DNS names both for one machine;
    /// `tcp`, by TCP at the same port; `udp`, never by TCP. Where TCP is refused they go by UDP.
    #[serde(default)]
    pub long_requests: LongRequests,
    /// The user part of our account there. Default: none.
    #[serde(default)]
    pub username: Option<String>,
    /// The name that the password belongs to. Default: `username`.
    #[serde(default)]
    pub auth_username: Option<String>,
    /// The account's password. Default: none.
    #[serde(default)]
    pub password: Option<String>,
    /// A file that holds the password and nothing else. Default: none.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// The environment variable that holds the password. Default: none.
    #[serde(default)]
    pub password_env: Option<String>,
    /// Registers our account there, so that its calls find us. Default false.
    #[serde(default)]
    pub register: bool,
    /// How long a registration is asked for, seconds; renewed in time. Default 600.
    #[serde(default = "register_seconds")]
    pub register_seconds: u64,
    /// The domain of our account: what From, To and Request-URIs name. Default: the host of
    /// `address`.
    #[serde(default)]
    pub domain: Option<String>,
    /// For `tls`: the name that its certificate must carry. Default: the host of `address`.
    #[serde(default)]
    pub tls_name: Option<String>,
    /// For `tls`: PEM file of the authorities that may have signed its certificate, or of that
    /// certificate itself. Default: the authorities that browsers know.
    #[serde(default)]
    pub tls_ca: Option<PathBuf>,
    /// For `tls`: believes whoever answers, without looking at the certificate. Whoever can stand
    /// in between can then listen and change calls: for tests only. Default false.
    #[serde(default)]
    pub tls_insecure: bool,
    /// For `tls`: PEM file of the certificate that we show if it asks for one. Default: none.
    #[serde(default)]
    pub tls_certificate: Option<PathBuf>,
    /// For `tls`: PEM file of its private key.
    #[serde(default)]
    pub tls_key: Option<PathBuf>,
    /// Dialled numbers that begin with this go here, without it. Default empty: every number.
    #[serde(default)]
    pub strip_prefix: String,
    /// Put before the number that is sent. Default empty.
    #[serde(default)]
    pub add_prefix: String,
    /// The number shown to customers. Default: the account's, else the extension's.
    #[serde(default)]
    pub caller_number: Option<String>,
    /// Which headers name the caller, best first. Default all three.
    #[serde(default = "all_caller_headers")]
    pub caller_from: Vec<CallerHeader>,
    /// Which headers tell it who calls, beside From: `p-asserted-identity` (default),
    /// `p-preferred-identity`, `remote-party-id`.
    #[serde(default = "usual_identity")]
    pub identity: Vec<IdentityHeader>,
    /// Customers are not shown our number; the trunk is. Default false.
    #[serde(default)]
    pub withhold_caller: bool,
    /// Whose number is shown for a customer's call that is sent on through it: `own` (default) or
    /// `original`, the customer's.
    #[serde(default)]
    pub forwarded_caller: ForwardedCaller,
    /// Which headers tell it who sent a call on: `diversion` (default), `history-info`. None: what
    /// came with the call is taken out, too.
    #[serde(default = "usual_diversion")]
    pub diversion: Vec<DiversionHeader>,
    /// Only numbers that begin with one of these go here, once `strip_prefix` is off. Default none:
    /// every number.
    #[serde(default)]
    pub prefixes: Vec<String>,
    /// Put before mobile numbers that are not from town (`0`). Default: they go as dialled.
    #[serde(default)]
    pub mobile_prefix: Option<String>,
    /// Numbers of the dealership's own area: `as-dialled` (default; clicked ones go without area
    /// code), `without-area-code` or `with-area-code`.
    #[serde(default)]
    pub local_numbers: LocalNumbers,
    /// Calls at once, in and out; one more goes by the next trunk. Calls that come in, and
    /// emergency, short and 400 numbers, are never refused for it. Default: no limit.
    #[serde(default)]
    pub max_calls: Option<u32>,
    /// How often the trunk is asked whether it is there (OPTIONS), seconds; one that does not
    /// answer is tried last. Default 30; 0 never asks.
    #[serde(default = "ping_seconds")]
    pub ping_seconds: u64,
    /// What of its early media is passed on: `pass` (default), `ringback` (the phone's own ring
    /// tone in its place) or `block` (ring tone only when the trunk says that it rings).
    #[serde(default)]
    pub early_media: EarlyMedia,
    /// Whether its media is SRTP: `off`, `optional` (default: offered over TLS, and taken if the
    /// trunk offers it) or `required`.
    #[serde(default)]
    pub srtp: SrtpPolicy,
}

fn all_caller_headers() -> Vec<CallerHeader> {
    vec![CallerHeader::PAssertedIdentity, CallerHeader::RemotePartyId, CallerHeader::From]
}

fn usual_identity() -> Vec<IdentityHeader> {
    TrunkManners::default().identity
}

fn usual_diversion() -> Vec<DiversionHeader> {
    TrunkManners::default().diversion
}

fn ping_seconds() -> u64 {
    30
}

fn register_seconds() -> u64 {
    600
}

/// Transport towards a trunk, as configured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Via {
    /// RFC 3261 over UDP.
    #[default]
    Udp,
    /// RFC 3261 over TCP.
    Tcp,
    /// RFC 3261 over TLS.
    Tls,
    /// What DNS names first.
    Auto,
}

impl Via {
    /// The one that is meant; `None` if DNS decides.
    fn transport(self) -> Option<TrunkTransport> {
        match self {
            Self::Udp => Some(TrunkTransport::Udp),
            Self::Tcp => Some(TrunkTransport::Tcp),
            Self::Tls => Some(TrunkTransport::Tls),
            Self::Auto => None,
        }
    }
}

/// A host name or an IP address, and a port where one is named.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostPort {
    /// A name, or an address; IPv6 in brackets.
    pub host: String,
    /// The port.
    pub port: Option<u16>,
}

impl HostPort {
    /// The address, if it is one.
    pub fn ip(&self) -> Option<IpAddr> {
        cheling_sip::uri::host_ip(&self.host)
    }
}

impl TryFrom<String> for HostPort {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no HOST or HOST:PORT, such as sip.example:5060");
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Ok(address.into());
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !text.ends_with(']') => {
                (host, Some(port.parse().map_err(|_| wrong())?))
            }
            _ => (text.as_str(), None),
        };
        let is_name = !host.is_empty()
            && host.len() < 254
            && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'));
        if !is_name && cheling_sip::uri::host_ip(host).is_none() {
            return Err(wrong());
        }
        Ok(Self { host: host.to_ascii_lowercase(), port })
    }
}

impl From<SocketAddr> for HostPort {
    fn from(address: SocketAddr) -> Self {
        let host = cheling_sip::via::host_text(address.ip());
        Self { host, port: Some(address.port()) }
    }
}

impl From<HostPort> for String {
    fn from(value: HostPort) -> Self {
        value.to_string()
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => write!(f, "{}:{port}", self.host),
            None => f.write_str(&self.host),
        }
    }
}

impl TrunkEntry {
    /// A trunk at `address` with every other key at its default.
    pub fn at(address: SocketAddr) -> Self {
        Self {
            name: "gateway".into(),
            address: address.into(),
            role: TrunkRole::Trunk,
            internal: Vec::new(),
            peer: None,
            transport: Via::default(),
            long_requests: LongRequests::default(),
            username: None,
            auth_username: None,
            password: None,
            password_file: None,
            password_env: None,
            register: false,
            register_seconds: register_seconds(),
            domain: None,
            tls_name: None,
            tls_ca: None,
            tls_insecure: false,
            tls_certificate: None,
            tls_key: None,
            strip_prefix: String::new(),
            add_prefix: String::new(),
            caller_number: None,
            caller_from: all_caller_headers(),
            identity: usual_identity(),
            withhold_caller: false,
            forwarded_caller: ForwardedCaller::default(),
            diversion: usual_diversion(),
            early_media: EarlyMedia::default(),
            srtp: SrtpPolicy::default(),
            prefixes: Vec::new(),
            mobile_prefix: None,
            local_numbers: LocalNumbers::default(),
            max_calls: None,
            ping_seconds: ping_seconds(),
        }
    }

    /// Whether a connection to it may be TLS.
    pub fn may_be_tls(&self) -> bool {
        matches!(self.transport, Via::Tls | Via::Auto)
    }

    /// The name that its certificate must carry.
    pub fn certificate_name(&self) -> String {
        self.tls_name.clone().unwrap_or_else(|| self.address.host.clone())
    }

    /// What DNS is asked for; `None` if the address is one already.
    pub fn wanted(&self) -> Option<Wanted> {
        if self.address.ip().is_some() {
            return None;
        }
        Some(Wanted {
            trunk: self.name.clone(),
            host: self.address.host.clone(),
            port: self.address.port,
            transport: self.transport.transport(),
            long_requests: self.long_requests,
        })
    }

    /// The trunk as the call machines know it, its password read.
    ///
    /// # Errors
    /// One line that names the key and what to do.
    pub fn trunk(&self) -> Result<Trunk, String> {
        let domain = self.domain.clone();
        let (host, port) = match domain {
            Some(domain) => (domain, None),
            None => (self.address.host.clone(), self.address.port),
        };
        Ok(Trunk {
            internal: self.internal.clone(),
            name: self.name.clone(),
            role: self.role,
            peer: self.peer.clone(),
            host,
            port,
            addresses: self.addresses(),
            account: self.account()?,
            strip_prefix: self.strip_prefix.clone(),
            add_prefix: self.add_prefix.clone(),
            caller_number: self.caller_number.clone(),
            caller_from: self.caller_from.clone(),
            prefixes: self.prefixes.clone(),
            mobile_prefix: self.mobile_prefix.clone(),
            local_numbers: self.local_numbers,
            max_calls: self.max_calls,
            ping_every: (self.ping_seconds > 0)
                .then(|| Duration::from_secs(self.ping_seconds.max(MIN_PING_SECONDS))),
            manners: TrunkManners {
                identity: self.identity.clone(),
                withholds_caller: self.withhold_caller,
                forwarded_caller: self.forwarded_caller,
                diversion: self.diversion.clone(),
                early_media: self.early_media,
            },
            srtp: self.srtp,
        })
    }

    fn addresses(&self) -> Vec<TrunkAddress> {
        let transport = self.transport.transport().unwrap_or(TrunkTransport::Udp);
        let usual = if transport == TrunkTransport::Tls { 5061 } else { 5060 };
        let port = self.address.port.unwrap_or(usual);
        let address = self.address.ip().map(|ip| SocketAddr::new(ip, port));
        let is_by_tcp = transport == TrunkTransport::Udp && self.long_requests == LongRequests::Tcp;
        let place = |address| TrunkAddress {
            stream: Some(address).filter(|_| is_by_tcp),
            ..TrunkAddress::only(transport, address)
        };
        address.map(place).into_iter().collect()
    }

    fn account(&self) -> Result<Option<Account>, String> {
        let Some(user) = self.username.clone() else { return Ok(None) };
        let Some(password) = self.secret()? else { return Ok(None) };
        Ok(Some(Account {
            auth_user: self.auth_username.clone().unwrap_or_else(|| user.clone()),
            user,
            password,
            registers: self.register,
            expires: Duration::from_secs(self.register_seconds),
        }))
    }

    /// The password, wherever it is kept.
    fn secret(&self) -> Result<Option<String>, String> {
        if let Some(path) = &self.password_file {
            let text = std::fs::read_to_string(path).map_err(|why| {
                let (name, path) = (&self.name, path.display());
                format!("trunk {name:?}: cannot read password_file {path}: {why}")
            })?;
            return Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned()));
        }
        if let Some(variable) = &self.password_env {
            let text = std::env::var(variable).map_err(|_| {
                let name = &self.name;
                format!("trunk {name:?}: the environment has no {variable} (password_env)")
            })?;
            return Ok(Some(text));
        }
        Ok(self.password.clone())
    }

    fn account_faults(&self, index: usize) -> Vec<String> {
        let mut faults = Vec::new();
        let places =
            [self.password.is_some(), self.password_file.is_some(), self.password_env.is_some()];
        let places = places.into_iter().filter(|is_set| *is_set).count();
        if places > 1 {
            faults.push(format!(
                "trunk[{index}]: set one of password, password_file and password_env"
            ));
        }
        if places == 1 && self.username.is_none() {
            faults.push(format!("trunk[{index}].username: whose password is it?"));
        }
        if self.register && (self.username.is_none() || places == 0) {
            faults.push(format!("trunk[{index}].register: needs username and password"));
        }
        let range = MIN_REGISTER_SECONDS..=MAX_REGISTER_SECONDS;
        if !range.contains(&self.register_seconds) {
            faults.push(format!(
                "trunk[{index}].register_seconds: {} is not between {} and {}",
                self.register_seconds, MIN_REGISTER_SECONDS, MAX_REGISTER_SECONDS
            ));
        }
        faults
    }

    fn tls_faults(&self, index: usize) -> Vec<String> {
        let mut faults = Vec::new();
        let files = [&self.tls_ca, &self.tls_certificate, &self.tls_key];
        let has_keys =
            self.tls_name.is_some() || self.tls_insecure || files.iter().any(|file| file.is_some());
        if has_keys && !self.may_be_tls() {
            faults.push(format!("trunk[{index}]: tls_… needs transport = \"tls\""));
        }
        if self.tls_certificate.is_some() != self.tls_key.is_some() {
            faults.push(format!("trunk[{index}].tls_certificate: goes with tls_key"));
        }
        if self.tls_insecure && self.tls_ca.is_some() {
            faults.push(format!("trunk[{index}].tls_insecure: would make tls_ca void"));
        }
        faults
    }
}

impl TrunkEntry {
    /// What is wrong with its dial rules and limits.
    fn number_faults(&self, index: usize) -> Vec<String> {
        let mut faults = Vec::new();
        let is_digits = |text: &str| text.bytes().all(|digit| digit.is_ascii_digit());
        if !self.mobile_prefix.as_deref().is_none_or(is_digits) {
            faults.push(format!("trunk[{index}].mobile_prefix: digits only, such as \"0\""));
        }
        let is_prefix = |prefix: &String| {
            !prefix.is_empty() && is_digits(prefix.strip_prefix('+').unwrap_or(prefix))
        };
        if !self.prefixes.iter().all(is_prefix) {
            faults.push(format!("trunk[{index}].prefixes: digits only, such as [\"1\"]"));
        }
        if self.max_calls == Some(0) {
            faults.push(format!("trunk[{index}].max_calls: 0 would let no call out"));
        }
        faults
    }
}

/// What is wrong with the trunks, each fault with its key.
pub(super) fn faults(trunks: &[TrunkEntry]) -> Vec<String> {
    let mut faults = Vec::new();
    for (index, trunk) in trunks.iter().enumerate() {
        if trunk.name.trim().is_empty() {
            faults.push(format!("trunk[{index}].name: give it a name"));
        }
        if trunks[..index].iter().any(|other| other.name == trunk.name) {
            faults.push(format!("trunk[{index}].name: {:?} is taken by another trunk", trunk.name));
        }
        faults.extend(trunk.tls_faults(index));
        faults.extend(trunk.account_faults(index));
        if trunk.caller_from.is_empty() {
            faults.push(format!("trunk[{index}].caller_from: name at least one header"));
        }
        faults.extend(trunk.number_faults(index));
        if let Some(peer) = &trunk.peer {
            let other = trunks.iter().find(|other| other.name == *peer);
            if other.is_none_or(|other| other.peer.as_deref() != Some(&trunk.name)) {
                faults.push(format!(
                    "trunk[{index}].peer: there must be a trunk {peer:?} whose peer is {:?}",
                    trunk.name
                ));
            }
        }
        let is_another_pbx = |other: &TrunkEntry| other.is_registrar() && trunk.is_registrar();
        if trunks[..index].iter().any(is_another_pbx) {
            faults.push(format!(
                "trunk[{index}].role: phones can register through one pbx only; give the other a peer"
            ));
        }
    }
    faults
}

impl TrunkEntry {
    /// Whether phones register through us there.
    fn is_registrar(&self) -> bool {
        self.role == TrunkRole::Pbx && self.peer.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports_are_read_in_every_form() {
        for (text, host, port) in [
            ("192.168.1.20:5060", "192.168.1.20", Some(5060)),
            ("192.168.1.20", "192.168.1.20", None),
            ("SIP.example", "sip.example", None),
            ("sip.example:5080", "sip.example", Some(5080)),
            ("[2001:db8::1]:5060", "[2001:db8::1]", Some(5060)),
            ("[2001:db8::1]", "[2001:db8::1]", None),
        ] {
            let read = HostPort::try_from(text.to_owned()).unwrap();
            assert_eq!((read.host.as_str(), read.port), (host, port), "{text}");
        }
        for text in ["", "sip.example:x", "sip:host", "a b", "host:99999", ":5060"] {
            assert!(HostPort::try_from(text.to_owned()).is_err(), "{text}");
        }
    }

    #[test]
    fn the_password_is_read_from_where_it_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("password");
        std::fs::write(&path, "geheim\n").unwrap();
        let entry = TrunkEntry {
            username: Some("1001".into()),
            password_file: Some(path),
            ..TrunkEntry::at("192.0.2.1:5060".parse().unwrap())
        };
        let account = entry.trunk().unwrap().account.unwrap();
        assert_eq!((account.user.as_str(), account.password.as_str()), ("1001", "geheim"));
        assert!(!format!("{account:?}").contains("geheim"));
        let missing = TrunkEntry { password_file: Some(dir.path().join("none")), ..entry };
        assert!(missing.trunk().unwrap_err().contains("password_file"));
    }
}
