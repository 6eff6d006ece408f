//! STUN on the SIP port: phones that ask by it where they are seen, and whether the way is still
//! open, get an answer (RFC 5626 §4.4.2, RFC 8489).
//!
//! Only the Binding request of that use: no attribute of it is looked at, and the answer is hardly
//! longer than the question, so nobody is worth flooding with it.

use std::net::{IpAddr, SocketAddr};

const BINDING_REQUEST: [u8; 2] = [0x00, 0x01];
const BINDING_SUCCESS: [u8; 2] = [0x01, 0x01];
const MAGIC_COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const XOR_MAPPED_ADDRESS: [u8; 2] = [0x00, 0x20];
const HEADER_BYTES: usize = 20;

/// The answer to a Binding request from `from`; `None` if the datagram is none.
pub(super) fn answer(datagram: &[u8], from: SocketAddr) -> Option<Vec<u8>> {
    let header = datagram.get(..HEADER_BYTES)?;
    let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
    let is_request = header[..2] == BINDING_REQUEST
        && header[4..8] == MAGIC_COOKIE
        && length % 4 == 0
        && datagram.len() == HEADER_BYTES + length;
    if !is_request {
        return None;
    }
    // Cookie and transaction id together mask the address, so that no NAT meddles with it.
    let mask = &header[4..HEADER_BYTES];
    let (family, octets) = match from.ip().to_canonical() {
        IpAddr::V4(ip) => (1, ip.octets().to_vec()),
        IpAddr::V6(ip) => (2, ip.octets().to_vec()),
    };
    let mut value = vec![0, family];
    value.extend(from.port().to_be_bytes().iter().zip(mask).map(|(octet, mask)| octet ^ mask));
    value.extend(octets.iter().zip(mask).map(|(octet, mask)| octet ^ mask));
    let value_bytes = u16::try_from(value.len()).ok()?;
    let mut reply = BINDING_SUCCESS.to_vec();
    reply.extend((value_bytes + 4).to_be_bytes());
    reply.extend(mask);
    reply.extend(XOR_MAPPED_ADDRESS);
    reply.extend(value_bytes.to_be_bytes());
    reply.extend(value);
    Some(reply)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> Vec<u8> {
        let mut request = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
        request.extend(1..=12);
        request
    }

    #[test]
    fn a_phone_is_told_where_it_is_seen() {
        let reply = answer(&request(), "192.0.2.1:32853".parse().unwrap()).unwrap();
        assert_eq!(reply[..8], [1, 1, 0, 12, 0x21, 0x12, 0xa4, 0x42]);
        assert_eq!(reply[8..20], request()[8..20]);
        // Port 32853 and 192.0.2.1 masked by the cookie, as in RFC 5769 §2.2.
        assert_eq!(reply[20..], [0, 0x20, 0, 8, 0, 1, 0xa1, 0x47, 0xe1, 0x12, 0xa6, 0x43]);
        let reply = answer(&request(), "[2001:db8::1]:5060".parse().unwrap()).unwrap();
        assert_eq!((reply[3], reply[25], reply.len()), (24, 2, 44));
    }

    #[test]
    fn what_is_no_binding_request_is_not_answered() {
        let from = "192.0.2.1:5060".parse().unwrap();
        let change = |at: usize, to: u8| {
            let mut request = request();
            request[at] = to;
            request
        };
        for datagram in [
            b"OPTIONS sip:a SIP/2.0\r\n\r\n".to_vec(),
            request()[..19].to_vec(),
            change(0, 1),
            change(1, 2),
            change(3, 4),
            change(5, 0),
            Vec::new(),
        ] {
            assert_eq!(answer(&datagram, from), None, "{datagram:?}");
        }
    }
}
