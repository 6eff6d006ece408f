//! Whose address a request comes from, looking through reverse proxies that we trust.

use std::net::{IpAddr, SocketAddr};

/// The client's address: the other end of the connection or, if that is a trusted proxy, whom the
/// proxies saw.
///
/// Each proxy appends to `X-Forwarded-For` the address it saw, so only the part behind the last
/// address that is no proxy of ours can be believed; what stands before it anybody can write.
pub fn address(peer: SocketAddr, forwarded_for: Option<&str>, trusted: &[IpAddr]) -> IpAddr {
    let peer = peer.ip().to_canonical();
    if !trusted.contains(&peer) {
        return peer;
    }
    let hops = forwarded_for.unwrap_or("").rsplit(',');
    let mut seen = hops.map_while(|hop| hop.trim().parse::<IpAddr>().ok());
    seen.find(|hop| !trusted.contains(hop)).unwrap_or(peer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_but_a_trusted_proxy_says_who_the_client_is() {
        let trusted: Vec<IpAddr> = vec!["10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap()];
        for (peer, forwarded, want) in [
            ("192.0.2.7:5", None, "192.0.2.7"),
            ("192.0.2.7:5", Some("198.51.100.1"), "192.0.2.7"),
            ("[::ffff:192.0.2.7]:5", None, "192.0.2.7"),
            ("10.0.0.1:5", Some("198.51.100.1"), "198.51.100.1"),
            ("10.0.0.1:5", Some("127.0.0.1, 198.51.100.1"), "198.51.100.1"),
            ("10.0.0.1:5", Some("198.51.100.1, 10.0.0.2"), "198.51.100.1"),
            ("10.0.0.1:5", Some("198.51.100.1, nonsense"), "10.0.0.1"),
            ("10.0.0.1:5", None, "10.0.0.1"),
        ] {
            let got = address(peer.parse().unwrap(), forwarded, &trusted);
            assert_eq!(got, want.parse::<IpAddr>().unwrap(), "{peer} {forwarded:?}");
        }
    }
}
