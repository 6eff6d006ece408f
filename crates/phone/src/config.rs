//! What a phone is told before it starts, and what it is told to dial.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use cheling_media::g711::Law;

/// What carries the phone's signalling (RFC 3261 §18).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// One datagram socket for everything.
    Udp,
    /// A listening socket, and connections opened towards whoever is called.
    Tcp,
}

impl Transport {
    /// The name in Via (RFC 3261 §20.42).
    pub(crate) fn via_name(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
        }
    }

    /// What follows a Contact URI so that requests come back by the same transport.
    pub(crate) fn uri_parameter(self) -> &'static str {
        match self {
            Self::Udp => "",
            Self::Tcp => ";transport=tcp",
        }
    }
}

/// Whether an incoming call rings by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ringing {
    /// 180 goes out as soon as the INVITE is read.
    Automatic,
    /// Nothing goes out until [`crate::Call::ring`], `answer` or `reject`.
    ByHand,
}

/// Name and password at the registrar.
#[derive(Clone, Debug)]
pub struct Account {
    /// The extension: user part of the address of record.
    pub user: String,
    /// The digest password (RFC 2617).
    pub password: String,
}

impl Account {
    /// An account of this user and password.
    pub fn new(user: impl Into<String>, password: impl Into<String>) -> Self {
        Self { user: user.into(), password: password.into() }
    }
}

/// Everything a phone needs to start.
#[derive(Clone, Debug)]
pub struct PhoneConfig {
    /// Where requests go; without it they go to the host of the dialled URI.
    pub server: Option<SocketAddr>,
    /// User part of our own address, and the password for challenges.
    pub account: Account,
    /// Host part of our address and of what is dialled; the server's address if empty.
    pub domain: String,
    /// What carries SIP.
    pub transport: Transport,
    /// Local address for SIP and RTP.
    pub bind: IpAddr,
    /// Local SIP port; 0 takes a free one.
    pub port: u16,
    /// Codecs offered and accepted, best first.
    pub codecs: Vec<Law>,
    /// Lifetime asked for at registration; renewed after half of it.
    pub expires: Duration,
    /// Whether incoming calls ring by themselves.
    pub ringing: Ringing,
    /// How many of the last samples heard in a call are kept; 0 keeps statistics only.
    pub heard_samples: usize,
    /// Incoming calls beyond this many in progress are refused with 486.
    pub max_calls: usize,
}

impl PhoneConfig {
    /// A phone on loopback that registers at `server` over UDP.
    pub fn registered(server: SocketAddr, account: Account) -> Self {
        Self {
            server: Some(server),
            account,
            domain: String::new(),
            transport: Transport::Udp,
            bind: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 0,
            codecs: vec![Law::A, Law::Mu],
            expires: Duration::from_secs(300),
            ringing: Ringing::Automatic,
            heard_samples: 120 * 8000,
            max_calls: 8,
        }
    }

    /// A phone on loopback that belongs to no server.
    pub fn standalone(user: &str) -> Self {
        let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 5060));
        Self { server: None, ..Self::registered(nowhere, Account::new(user, "")) }
    }

    /// The same phone over another transport.
    pub fn over(self, transport: Transport) -> Self {
        Self { transport, ..self }
    }

    /// The same phone with these codecs only.
    pub fn with_codecs(self, codecs: &[Law]) -> Self {
        Self { codecs: codecs.to_vec(), ..self }
    }
}

/// Whom to call, and as whom.
#[derive(Clone, Debug, Default)]
pub struct Dial {
    /// A whole `sip:` URI, or the user part alone, which then goes to the phone's server.
    pub target: String,
    /// User part of From, if not the phone's own: a gateway shows the outside caller here.
    pub caller: Option<String>,
    /// Display name in From.
    pub display_name: Option<String>,
    /// Number in P-Asserted-Identity (RFC 3325).
    pub asserted: Option<String>,
    /// Further headers, as they are to go out.
    pub headers: Vec<(String, String)>,
}

impl Dial {
    /// Dials a number or URI as ourselves.
    pub fn number(target: impl Into<String>) -> Self {
        Self { target: target.into(), ..Self::default() }
    }

    /// The same call, showing another caller in From.
    pub fn from_caller(self, caller: impl Into<String>) -> Self {
        Self { caller: Some(caller.into()), ..self }
    }

    /// The same call with a P-Asserted-Identity.
    pub fn asserting(self, number: impl Into<String>) -> Self {
        Self { asserted: Some(number.into()), ..self }
    }

    /// The same call from someone who hides the number (RFC 3323).
    pub fn withheld(mut self) -> Self {
        self.caller = Some("anonymous".into());
        self.display_name = Some("Anonymous".into());
        self.headers.push(("Privacy".into(), "id".into()));
        self
    }
}
