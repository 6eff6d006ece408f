//! A phone's place written into a user part: `8001~u0a0000071388~8001-0x5`.
//!
//! The telephone system behind us is given such a Contact for each phone. What it sends there says
//! by itself whose phone is meant and where that is, so it finds its way after our restart too.

use std::net::{IpAddr, SocketAddr};

use cheling_sip::{Flow, Transport};

/// Longer ones are nobody's: ours hold an extension, an address and a phone's own user part.
const MAX_CHARS: usize = 200;

/// Where a phone is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    /// The user part of its address of record, escaped as in a URI.
    pub(super) extension: String,
    /// How it is reached.
    pub(super) transport: Transport,
    /// Where it is.
    pub(super) remote: SocketAddr,
    /// The user part of its own Contact, escaped; empty if it has none.
    pub(super) user: String,
}

impl Mark {
    /// The mark of a phone heard along `flow`; `None` if it would be too long.
    pub(super) fn new(extension: &str, flow: Flow, user: &str) -> Option<Self> {
        let mark = Self {
            extension: extension.to_owned(),
            transport: flow.transport,
            remote: flow.remote,
            user: user.to_owned(),
        };
        let is_plain = !extension.is_empty() && !extension.contains('~');
        (is_plain && mark.to_string().len() <= MAX_CHARS).then_some(mark)
    }

    /// Reads a user part; `None` if it is no mark of ours.
    pub(super) fn read(user: &str) -> Option<Self> {
        if user.len() > MAX_CHARS || !user.is_ascii() {
            return None;
        }
        let mut parts = user.splitn(3, '~');
        let (extension, place, user) = (parts.next()?, parts.next()?, parts.next()?);
        let transport = match place.get(..1)? {
            "u" => Transport::Udp,
            "t" => Transport::Tcp,
            "s" => Transport::Tls,
            "w" => Transport::Ws,
            "x" => Transport::Wss,
            _ => return None,
        };
        let (ip, port) = place.get(1..)?.split_at_checked(place.len().checked_sub(5)?)?;
        let ip = match ip.len() {
            8 => IpAddr::from(u32::from_str_radix(ip, 16).ok()?.to_be_bytes()),
            32 => IpAddr::from(u128::from_str_radix(ip, 16).ok()?.to_be_bytes()),
            _ => return None,
        };
        let remote = SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?);
        if extension.is_empty() {
            return None;
        }
        Some(Self { extension: extension.into(), transport, remote, user: user.into() })
    }
}

impl std::fmt::Display for Mark {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let transport = match self.transport {
            Transport::Udp => 'u',
            Transport::Tcp => 't',
            Transport::Tls => 's',
            Transport::Ws => 'w',
            Transport::Wss => 'x',
        };
        write!(f, "{}~{transport}", self.extension)?;
        match self.remote.ip() {
            IpAddr::V4(ip) => write!(f, "{:08x}", u32::from(ip))?,
            IpAddr::V6(ip) => write!(f, "{:032x}", u128::from(ip))?,
        }
        write!(f, "{:04x}~{}", self.remote.port(), self.user)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_read_back_as_it_was_written() {
        for (transport, remote, user) in [
            (Transport::Udp, "10.0.0.7:5000", "8001-0x5"),
            (Transport::Wss, "[2001:db8::9]:65535", ""),
            (Transport::Tcp, "255.255.255.255:1", "a~b"),
        ] {
            let local = "192.0.2.1:5060".parse().unwrap();
            let flow =
                Flow { transport, local, remote: remote.parse().unwrap(), connection: Some(4) };
            let mark = Mark::new("8001", flow, user).unwrap();
            assert_eq!(Mark::read(&mark.to_string()), Some(mark), "{remote}");
        }
    }

    #[test]
    fn what_is_no_mark_is_not_read_as_one() {
        for user in [
            "",
            "8001",
            "8001~",
            "8001~u~",
            "8001~q0a0000071388~x",
            "~u0a0000071388~x",
            "a~u0a~b",
            "8001~u你~x",
        ] {
            assert_eq!(Mark::read(user), None, "{user}");
        }
        assert_eq!(Mark::read(&format!("8001~u0a0000071388~{}", "x".repeat(300))), None);
    }
}
