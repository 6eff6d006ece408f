//! What the call machines must know of the database, as one value: replaced whole on each change.
//!
//! Extensions, lines and ring groups live in the database (`records`); trunks in the config.

use crate::{DealershipId, GroupId, LineId, UserId};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// Everything that routing and registration need.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Directory {
    /// The digest realm.
    pub realm: String,
    /// SIP accounts, unique by number.
    pub extensions: Vec<Extension>,
    /// DIDs and hotlines, unique by DID.
    pub lines: Vec<Line>,
    /// Ring groups.
    pub groups: Vec<RingGroup>,
}

/// One SIP account. Passwords are kept as digests only (RFC 7616 HA1, RFC 8760).
#[derive(Clone, PartialEq, Eq)]
pub struct Extension {
    /// The user part: `8001`.
    pub number: String,
    /// Whose phone it is.
    pub dealership_id: DealershipId,
    /// Who uses it now.
    pub user_id: Option<UserId>,
    /// Shown on phones.
    pub display_name: String,
    /// Hex of MD5(user:realm:password).
    pub ha1_md5: String,
    /// Hex of SHA-256(user:realm:password).
    pub ha1_sha256: String,
}

impl std::fmt::Debug for Extension {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Extension").field("number", &self.number).finish_non_exhaustive()
    }
}

/// One number that customers call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Its id.
    pub line_id: LineId,
    /// Whose it is.
    pub dealership_id: DealershipId,
    /// The digits as the trunk sends them.
    pub did: String,
    /// 售后热线.
    pub name: String,
    /// Where its calls go.
    pub group_id: GroupId,
}

/// Phones that ring for a line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RingGroup {
    /// Its id.
    pub group_id: GroupId,
    /// 售后一组.
    pub name: String,
    /// Extension numbers; all ring at once.
    pub members: Vec<String>,
    /// Seconds before an unanswered call is given up.
    pub ring_seconds: u32,
}

/// How a trunk, a gateway or a PBX is reached (from the config), and where it is now (from DNS).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trunk {
    /// Its name in the config.
    pub name: String,
    /// What stands behind it.
    pub role: TrunkRole,
    /// Its calls go to this trunk, numbers as they are, and back: we stand between the two.
    pub peer: Option<String>,
    /// Its host name, or its IP address as text: what Request-URIs to it name.
    pub host: String,
    /// Its port where the config names one: what Request-URIs to it name.
    pub port: Option<u16>,
    /// Where requests are sent, and where they must come from (the IP alone is compared). Empty
    /// until its host name has been resolved for the first time.
    pub addresses: Vec<TrunkAddress>,
    /// What it knows us by, if it asks.
    pub account: Option<Account>,
    /// Dialled digits that select this trunk are stripped of this prefix ("9" for an outside
    /// line); empty takes every number that is not internal.
    pub strip_prefix: String,
    /// Put before the number that is sent.
    pub add_prefix: String,
    /// The caller number shown to the trunk; the extension's number if none.
    pub caller_number: Option<String>,
    /// Which header names the caller, best first.
    pub caller_from: Vec<CallerHeader>,
    /// What it is told beside the number, and what it may have our side hear.
    pub manners: TrunkManners,
    /// Whether its media is SRTP.
    pub srtp: SrtpPolicy,
}

/// What one trunk is told of who calls, and what of its early media is passed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrunkManners {
    /// The headers beside From that name the caller.
    pub identity: Vec<IdentityHeader>,
    /// Whether whom it calls is not shown the number (RFC 3323); the trunk itself still is.
    pub withholds_caller: bool,
    /// Who is shown for a customer's call that is sent on through it.
    pub forwarded_caller: ForwardedCaller,
    /// The headers that tell who sent a call on.
    pub diversion: Vec<DiversionHeader>,
    /// What is passed of what it plays before the answer.
    pub early_media: EarlyMedia,
}

impl Default for TrunkManners {
    fn default() -> Self {
        Self {
            identity: vec![IdentityHeader::PAssertedIdentity],
            withholds_caller: false,
            forwarded_caller: ForwardedCaller::default(),
            diversion: vec![DiversionHeader::Diversion],
            early_media: EarlyMedia::default(),
        }
    }
}

/// A header that names the caller to a trunk, beside From.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IdentityHeader {
    /// RFC 3325 §9.1, for a carrier that trusts us.
    PAssertedIdentity,
    /// RFC 3325 §9.2, for a carrier that asserts by itself.
    PPreferredIdentity,
    /// The draft that older gateways use.
    RemotePartyId,
}

/// Who is shown for a customer's call that is sent on through a trunk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ForwardedCaller {
    /// Our own number: what every carrier accepts.
    #[default]
    Own,
    /// The customer's.
    Original,
}

/// A header that tells who sent a call on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DiversionHeader {
    /// RFC 5806.
    Diversion,
    /// RFC 7044.
    HistoryInfo,
}

/// What is passed of what a trunk plays before the answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EarlyMedia {
    /// All of it: ring-back tones, colour rings, announcements.
    #[default]
    Pass,
    /// Nothing; the caller hears ringing as soon as the trunk plays anything.
    Ringback,
    /// Nothing; the caller hears ringing only when the trunk says that it rings.
    Block,
}

impl Trunk {
    /// A gateway at one address by UDP, without an account, that takes every number.
    pub fn at(name: &str, address: SocketAddr) -> Self {
        let udp = TrunkAddress::only(TrunkTransport::Udp, address);
        Self {
            name: name.into(),
            role: TrunkRole::Trunk,
            peer: None,
            host: match address.ip() {
                std::net::IpAddr::V4(ip) => ip.to_string(),
                std::net::IpAddr::V6(ip) => format!("[{ip}]"),
            },
            port: Some(address.port()),
            addresses: vec![udp],
            account: None,
            strip_prefix: String::new(),
            add_prefix: String::new(),
            caller_number: None,
            caller_from: vec![CallerHeader::From],
            manners: TrunkManners::default(),
            srtp: SrtpPolicy::default(),
        }
    }

    /// Whether it is at this IP address.
    pub fn is_at(&self, ip: std::net::IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.addresses.iter().any(|it| it.address.ip().to_canonical() == ip)
    }
}

/// What stands behind a trunk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TrunkRole {
    /// The telephone network: whoever is there is a customer.
    #[default]
    Trunk,
    /// A telephone system that stays: whoever is there is one of us.
    Pbx,
}

/// One place where a trunk is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrunkAddress {
    /// UDP, TCP or TLS.
    pub transport: TrunkTransport,
    /// Where.
    pub address: SocketAddr,
    /// The lowest is tried first (RFC 2782).
    pub priority: u16,
    /// Its share of the calls among those of one priority (RFC 2782).
    pub weight: u16,
}

impl TrunkAddress {
    /// The only place there is.
    pub fn only(transport: TrunkTransport, address: SocketAddr) -> Self {
        Self { transport, address, priority: 0, weight: 0 }
    }
}

/// An account of ours at a trunk.
#[derive(Clone, PartialEq, Eq)]
pub struct Account {
    /// The user part of the address we register and call as.
    pub user: String,
    /// The name that the password belongs to; usually the same.
    pub auth_user: String,
    /// Never shown or logged.
    pub password: String,
    /// Whether we register there; otherwise the password only answers challenges to calls.
    pub registers: bool,
    /// How long a registration is asked for.
    pub expires: std::time::Duration,
}

impl std::fmt::Debug for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Account")
            .field("user", &self.user)
            .field("registers", &self.registers)
            .finish_non_exhaustive()
    }
}

/// Whether the media of a side is SRTP, with keys in the session description (RFC 4568).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SrtpPolicy {
    /// Never offered; taken only from who insists on it (`RTP/SAVP`).
    Off,
    /// Offered where SIP runs over TLS, and taken from who offers it.
    #[default]
    Optional,
    /// Offered always; who does not take it has no call.
    Required,
}

/// Transport towards a trunk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TrunkTransport {
    /// RFC 3261 over UDP.
    #[default]
    Udp,
    /// RFC 3261 over TCP.
    Tcp,
    /// RFC 3261 over TLS.
    Tls,
}

/// A header that may carry the caller's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CallerHeader {
    /// RFC 3325.
    PAssertedIdentity,
    /// The draft that older gateways use.
    RemotePartyId,
    /// RFC 3261.
    From,
}
