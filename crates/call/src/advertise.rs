//! Which of our addresses each side is told: phones in the house one of the house, trunks the public
//! one, whoever speaks IPv6 one of that family.
//!
//! A call describes our media by the one address that the relay names; what the other side is to
//! read instead is put in its place as the message goes out, when it is known where it goes.

use bytes::Bytes;
use std::net::IpAddr;

/// A network, and the address by which it reaches us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdvertiseTo {
    /// Any address of the network.
    pub network: IpAddr,
    /// How many of its first bits are common.
    pub prefix: u8,
    /// What it is told.
    pub address: IpAddr,
}

impl AdvertiseTo {
    /// Whether this address is of the network.
    pub fn has(&self, remote: IpAddr) -> bool {
        let of = |network: u128, remote: u128, bits: u8| {
            let host_bits = u32::from(bits - self.prefix.min(bits));
            network.checked_shr(host_bits) == remote.checked_shr(host_bits)
        };
        match (self.network, remote.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(remote)) => {
                of(u32::from(network).into(), u32::from(remote).into(), 32)
            }
            (IpAddr::V6(network), IpAddr::V6(remote)) => of(network.into(), remote.into(), 128),
            _ => false,
        }
    }
}

/// The same message with `to` in the place of `from` wherever a description names it; Content-Length
/// follows. Whatever holds no description stays as it is.
pub(crate) fn readdressed(bytes: Bytes, from: IpAddr, to: IpAddr) -> Bytes {
    with_body(&bytes, from, to).map_or(bytes, Bytes::from)
}

fn with_body(bytes: &[u8], from: IpAddr, to: IpAddr) -> Option<Vec<u8>> {
    let at = bytes.windows(4).position(|it| it == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&bytes[..at]).ok()?;
    let body = std::str::from_utf8(&bytes[at..]).ok()?;
    let is_described = head.split("\r\n").any(|line| {
        let value = field(line, "content-type").or_else(|| field(line, "c"));
        value.is_some_and(|it| it.contains("sdp") || it.contains("multipart"))
    });
    if !is_described {
        return None;
    }
    let mut changed = String::with_capacity(body.len() + 64);
    let mut names_it = false;
    for line in body.split_inclusive('\n') {
        match line_to(line, from, to) {
            Some(line) => {
                names_it = true;
                changed.push_str(&line);
            }
            None => changed.push_str(line),
        }
    }
    if !names_it {
        return None;
    }
    let mut whole = String::with_capacity(at + changed.len() + 8);
    for line in head.strip_suffix("\r\n")?.split_inclusive("\r\n") {
        match field(line, "content-length").or_else(|| field(line, "l")) {
            Some(_) => whole.push_str(&format!("Content-Length: {}\r\n", changed.len())),
            None => whole.push_str(line),
        }
    }
    whole.push_str("\r\n");
    whole.push_str(&changed);
    Some(whole.into_bytes())
}

fn field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let (key, value) = line.split_once(':')?;
    key.trim().eq_ignore_ascii_case(name).then_some(value)
}

/// A line of a description that names `from`, with `to` in its place.
fn line_to(line: &str, from: IpAddr, to: IpAddr) -> Option<String> {
    if !["o=", "c=", "a=rtcp:", "a=candidate:"].iter().any(|start| line.starts_with(start)) {
        return None;
    }
    let end = line.trim_end_matches(['\r', '\n']).len();
    let mut words: Vec<&str> = line[..end].split(' ').collect();
    let at = words.iter().position(|word| word.parse() == Ok(from))?;
    let (family, address) = (if to.is_ipv4() { "IP4" } else { "IP6" }, to.to_string());
    words[at] = &address;
    if at > 0 && matches!(words[at - 1], "IP4" | "IP6") {
        words[at - 1] = family;
    }
    Some(words.join(" ") + &line[end..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_network_has_the_addresses_that_begin_like_it() {
        for (network, prefix, remote, want) in [
            ("192.168.0.0", 16, "192.168.7.9", true),
            ("192.168.0.0", 16, "192.169.0.1", false),
            ("192.168.0.0", 16, "::ffff:192.168.7.9", true),
            ("10.1.2.3", 32, "10.1.2.4", false),
            ("0.0.0.0", 0, "203.0.113.5", true),
            ("0.0.0.0", 0, "2001:db8::1", false),
            ("::", 0, "2001:db8::1", true),
            ("2001:db8::", 32, "2001:db8:ffff::1", true),
            ("2001:db8::", 32, "2001:db9::1", false),
        ] {
            let rule = AdvertiseTo { network: ip(network), prefix, address: ip("192.0.2.1") };
            assert_eq!(rule.has(ip(remote)), want, "{remote} in {network}/{prefix}");
        }
    }

    #[test]
    fn a_description_names_the_address_that_the_other_side_reaches() {
        let message = |address: &str, family: &str, length: usize| {
            format!(
                "INVITE sip:8001@10.0.0.7 SIP/2.0\r\nContent-Type: application/sdp\r\n\
                 Content-Length: {length}\r\n\r\nv=0\r\no=- 7 7 IN {family} {address}\r\ns=-\r\n\
                 c=IN {family} {address}\r\nm=audio 20000 RTP/AVP 8\r\na=rtcp:20001 IN {family} {address}\r\n"
            )
        };
        let length = |text: &str| text.split_once("\r\n\r\n").unwrap().1.len();
        let before = message("203.0.113.5", "IP4", 0);
        let before = message("203.0.113.5", "IP4", length(&before));
        for (to, family) in [("192.168.1.10", "IP4"), ("2001:db8::5", "IP6")] {
            let want = message(to, family, 0);
            let want = message(to, family, length(&want));
            let told = readdressed(before.clone().into(), ip("203.0.113.5"), ip(to));
            assert_eq!(told, want);
        }
        let held = Bytes::from(before.replace("203.0.113.5", "0.0.0.0"));
        assert_eq!(readdressed(held.clone(), ip("203.0.113.5"), ip("192.168.1.10")), held);
        let text = Bytes::from_static(b"MESSAGE sip:a@b SIP/2.0\r\nContent-Type: text/plain\r\nContent-Length: 17\r\n\r\nc=IN IP4 192.0.2.1");
        assert_eq!(readdressed(text.clone(), ip("192.0.2.1"), ip("10.0.0.1")), text);
    }
}
