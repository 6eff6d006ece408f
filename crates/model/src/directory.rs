//! What the call machines must know of the database, as one value: replaced whole on each change.
//!
//! Extensions, lines and ring groups live in the database (`records`); trunks in the config.

use crate::hours::Hours;
use crate::reach::Reach;
use crate::{DealershipId, GroupId, LineId, UserId};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::time::Duration;

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
    /// Whose all these are.
    pub dealerships: Vec<Dealership>,
}

/// What calls of one dealership go by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dealership {
    /// Its id.
    pub dealership_id: DealershipId,
    /// `021`: numbers without an area code are of this one.
    pub area_code: String,
    /// How far its clock is ahead of UTC, in seconds.
    pub utc_offset_s: i32,
    /// Numbers that begin with one of these are not dialled by anybody, emergency numbers excepted.
    pub blocked_prefixes: Vec<String>,
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
    /// How far it may dial.
    pub reach: Reach,
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
    /// Where its calls go while it is open.
    pub group_id: GroupId,
    /// When it is open; always if there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hours: Option<Hours>,
    /// Where its calls go while it is closed.
    #[serde(default)]
    pub closed: Destination,
}

/// Where a call goes that was not answered where it went first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "to", rename_all = "snake_case")]
pub enum Destination {
    /// Nowhere: the caller hears that nobody is there (480).
    #[default]
    Unavailable,
    /// Nowhere: the caller hears the busy tone (486).
    Busy,
    /// A ring group.
    Group(GroupId),
    /// One of our phones.
    Extension(String),
    /// A number outside, by the trunks: `13812345678`.
    Outside(String),
}

/// In which order the phones of a group ring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// All at once.
    #[default]
    RingAll,
    /// One after the other, in the group's order.
    InOrder,
    /// One after the other, whose last call ended longest ago first.
    LongestIdle,
}

impl Strategy {
    /// The word used in JSON and SQL.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RingAll => "ring_all",
            Self::InOrder => "in_order",
            Self::LongestIdle => "longest_idle",
        }
    }

    /// The variant of a word, if it is one.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::RingAll, Self::InOrder, Self::LongestIdle].into_iter().find(|it| it.as_str() == word)
    }
}

/// Phones that ring for a line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RingGroup {
    /// Its id.
    pub group_id: GroupId,
    /// 售后一组.
    pub name: String,
    /// Extension numbers, in their order.
    pub members: Vec<String>,
    /// Who rings when.
    pub strategy: Strategy,
    /// Seconds before an unanswered call is given up or goes on, in all.
    pub ring_seconds: u32,
    /// Seconds that one phone rings before the next; for [`Strategy::RingAll`] of no meaning.
    pub member_seconds: u32,
    /// Whether phones in a call are left alone; otherwise they ring, too (call waiting).
    pub skip_busy: bool,
    /// Where a call goes that nobody took in time.
    pub no_answer: Destination,
    /// Where it goes if all are in a call.
    pub all_busy: Destination,
    /// Where it goes if no phone is registered, or none can be reached.
    pub nobody: Destination,
}

impl RingGroup {
    /// A group whose phones all ring at once, for so many seconds, after which the call is over.
    pub fn ring_all(group_id: GroupId, name: &str, members: &[&str], ring_seconds: u32) -> Self {
        Self {
            group_id,
            name: name.to_owned(),
            members: members.iter().map(|&member| member.to_owned()).collect(),
            strategy: Strategy::RingAll,
            ring_seconds,
            member_seconds: ring_seconds,
            skip_busy: false,
            no_answer: Destination::Unavailable,
            all_busy: Destination::Busy,
            nobody: Destination::Unavailable,
        }
    }
}

/// How a trunk, a gateway or a PBX is reached (from the config), and where it is now (from DNS).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trunk {
    /// Its name in the config.
    pub name: String,
    /// What stands behind it.
    pub role: TrunkRole,
    /// Numbers that a telephone system keeps to itself, its groups and codes: `6000`, or `61*` for
    /// all that begin so. See [`Trunk::keeps`].
    pub internal: Vec<String>,
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
    /// Only numbers that begin with one of these go this way, after `strip_prefix` is off; all if
    /// there are none.
    pub prefixes: Vec<String>,
    /// Put before mobile numbers from elsewhere (`0`); `None` sends them as they were dialled.
    pub mobile_prefix: Option<String>,
    /// What becomes of the area code of numbers of the dealership's own area.
    pub local_numbers: LocalNumbers,
    /// Calls at once, both ways; one more goes by another trunk. Calls that come in, and emergency
    /// and service numbers, are never refused for it.
    pub max_calls: Option<u32>,
    /// How often the trunk is asked whether it is there (OPTIONS); one that does not answer is
    /// tried last.
    pub ping_every: Option<Duration>,
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
            internal: Vec::new(),
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
            prefixes: Vec::new(),
            mobile_prefix: None,
            local_numbers: LocalNumbers::default(),
            max_calls: None,
            ping_every: None,
            manners: TrunkManners::default(),
            srtp: SrtpPolicy::default(),
        }
    }

    /// Whether this number, dialled by a phone of a telephone system, is one of its own by
    /// `internal`.
    pub fn keeps(&self, number: &str) -> bool {
        self.internal.iter().any(|own| match own.strip_suffix('*') {
            Some(prefix) if !prefix.is_empty() => number.starts_with(prefix),
            _ => own == number,
        })
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
    /// For UDP: where the same machine takes requests by TCP that are too long for a datagram
    /// (RFC 3261 §18.1.1), if it does.
    pub stream: Option<SocketAddr>,
}

impl TrunkAddress {
    /// The only place there is.
    pub fn only(transport: TrunkTransport, address: SocketAddr) -> Self {
        Self { transport, address, priority: 0, weight: 0, stream: None }
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
    pub expires: Duration,
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

/// What a trunk wants of a number of the dealership's own area.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LocalNumbers {
    /// As it was dialled; one that comes from a list goes without its area code.
    #[default]
    AsDialled,
    /// `61234567`.
    WithoutAreaCode,
    /// `02161234567`.
    WithAreaCode,
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

/// How requests go to a trunk by UDP that are too long for a datagram (RFC 3261 §18.1.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LongRequests {
    /// By TCP where DNS names both transports for the same machine, else as datagrams, in fragments.
    #[default]
    Auto,
    /// Always as datagrams: for whoever takes no TCP, whatever DNS says.
    Udp,
    /// By TCP at the address and port of UDP, where DNS names no other.
    Tcp,
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
