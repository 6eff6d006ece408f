//! One Via: the way a response goes back (RFC 3261 §20.42, RFC 3581).

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use crate::flow::Transport;
use crate::params::Params;
use crate::text;
use crate::uri::{host_ip, split_host_port};

/// What a branch of RFC 3261 begins with (§8.1.1.7).
pub const MAGIC_COOKIE: &str = "z9hG4bK";

/// One Via value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Via {
    /// The transport token as written, usually in capitals.
    pub protocol: String,
    /// The host of sent-by, IPv6 with its brackets.
    pub host: String,
    /// The port of sent-by, if written.
    pub port: Option<u16>,
    /// `branch`, `received`, `rport` and the rest.
    pub params: Params,
}

impl Via {
    /// A Via of ours, asking for `rport` (RFC 3581 §3).
    pub fn new(transport: Transport, sent_by: SocketAddr, branch: &str) -> Self {
        let mut params = Params::default();
        params.set("branch", Some(branch));
        params.set("rport", None);
        Self {
            protocol: transport.via_token().to_owned(),
            host: host_text(sent_by.ip()),
            port: Some(sent_by.port()),
            params,
        }
    }

    /// Reads one Via value; `None` if it is none. Spaces around the slashes are allowed (§7.3.1).
    pub fn parse(text: &str) -> Option<Self> {
        let (name, rest) = text.split_once('/')?;
        let (version, rest) = rest.split_once('/')?;
        if !name.trim().eq_ignore_ascii_case("SIP") || version.trim() != "2.0" {
            return None;
        }
        let rest = rest.trim_start();
        let (protocol, rest) = rest.split_at(rest.find([' ', '\t'])?);
        if !text::is_token(protocol) {
            return None;
        }
        let end = rest.find(';').unwrap_or(rest.len());
        let (host, port) = split_host_port(&rest[..end]).ok()?;
        if !text::is_closed(&rest[end..]) {
            return None;
        }
        Some(Self {
            protocol: protocol.to_owned(),
            host: host.to_owned(),
            port,
            params: Params::parse(&rest[end..]),
        })
    }

    /// The transport, if it is one of ours.
    pub fn transport(&self) -> Option<Transport> {
        Transport::from_via_token(&self.protocol)
    }

    /// The branch (RFC 3261 §8.1.1.7).
    pub fn branch(&self) -> Option<&str> {
        self.params.get("branch")
    }

    /// Where the request was seen to come from (RFC 3261 §18.2.1).
    pub fn received(&self) -> Option<IpAddr> {
        self.params.get("received").and_then(host_ip)
    }

    /// The port the request was seen to come from, once filled in (RFC 3581 §4).
    pub fn rport(&self) -> Option<u16> {
        self.params.get("rport")?.parse().ok()
    }

    /// Adds what the receiver saw: `received` if the host differs, `rport` if it was asked for.
    pub fn stamp(&mut self, source: SocketAddr) {
        let wants_port = self.params.has("rport");
        if wants_port {
            self.params.set("rport", Some(&source.port().to_string()));
        }
        if wants_port || host_ip(&self.host) != Some(source.ip()) {
            self.params.set("received", Some(&source.ip().to_string()));
        }
    }
}

/// An address as it stands in a URI, a Via or an SDP-free host: IPv6 in brackets.
pub fn host_text(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SIP/2.0/{} {}", self.protocol, self.host)?;
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        self.params.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vias_of_all_shapes_are_read() {
        for (text, host, port, branch) in [
            (
                "SIP/2.0/UDP 10.0.0.1:5060;branch=z9hG4bKa;rport",
                "10.0.0.1",
                Some(5060),
                Some("z9hG4bKa"),
            ),
            ("SIP / 2.0 / TCP  h.example ; branch = x", "h.example", None, Some("x")),
            (
                "sip/2.0/tls [2001:db8::9:1]:5061;received=1.2.3.4",
                "[2001:db8::9:1]",
                Some(5061),
                None,
            ),
            (
                "SIP/2.0/WSS df7jal23ls0d.invalid : 80;branch=b",
                "df7jal23ls0d.invalid",
                Some(80),
                Some("b"),
            ),
        ] {
            let via = Via::parse(text).unwrap();
            assert_eq!((via.host.as_str(), via.port, via.branch()), (host, port, branch), "{text}");
        }
        for text in ["", "SIP/2.0/UDP", "SIP/3.0/UDP h", "SIP/2.0/UDP ;branch=1", "HTTP/2.0/UDP h"]
        {
            assert!(Via::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn source_is_stamped_as_rfc_3581_says() {
        let source = "192.0.2.7:9000".parse().unwrap();
        for (text, want) in [
            ("SIP/2.0/UDP 192.0.2.7;branch=b", "SIP/2.0/UDP 192.0.2.7;branch=b"),
            ("SIP/2.0/UDP 10.0.0.1;branch=b", "SIP/2.0/UDP 10.0.0.1;branch=b;received=192.0.2.7"),
            (
                "SIP/2.0/UDP 192.0.2.7;rport;branch=b",
                "SIP/2.0/UDP 192.0.2.7;rport=9000;branch=b;received=192.0.2.7",
            ),
        ] {
            let mut via = Via::parse(text).unwrap();
            via.stamp(source);
            assert_eq!(via.to_string(), want);
        }
    }
}
