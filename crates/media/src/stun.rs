//! STUN (RFC 8489) as a port answers it: Binding requests, plain or signed with a short-term
//! password as ICE does (RFC 8445 §7), and what is said to them.
//!
//! Belongs here: bytes and their attributes. Does not: whose password it is, and what follows from
//! a request that was signed by it.

use ring::hmac;
use std::net::{IpAddr, SocketAddr};

const BINDING_REQUEST: u16 = 0x0001;
const BINDING_SUCCESS: u16 = 0x0101;
const BINDING_ERROR: u16 = 0x0111;
const MAGIC_COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const HEADER_BYTES: usize = 20;
const INTEGRITY_BYTES: usize = 20;
const FINGERPRINT_MASK: u32 = 0x5354_554e;

const USERNAME: u16 = 0x0006;
const MESSAGE_INTEGRITY: u16 = 0x0008;
const ERROR_CODE: u16 = 0x0009;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
const PRIORITY: u16 = 0x0024;
const USE_CANDIDATE: u16 = 0x0025;
const FINGERPRINT: u16 = 0x8028;
/// The attributes below it must be understood (RFC 8489 §14).
const FIRST_OPTIONAL: u16 = 0x8000;
/// Understood by passing them over: PRIORITY says nothing to who has one candidate only.
const PASSED_OVER: [u16; 2] = [PRIORITY, 0x001d];

/// A Binding request that was read.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    bytes: &'a [u8],
    username: Option<&'a [u8]>,
    uses_candidate: bool,
    /// Where MESSAGE-INTEGRITY begins, and what it says.
    integrity: Option<(usize, &'a [u8])>,
    is_understood: bool,
}

impl<'a> Request<'a> {
    /// Reads a datagram. `None` if it is no Binding request, or one whose FINGERPRINT is wrong.
    pub fn read(datagram: &'a [u8]) -> Option<Self> {
        let header = datagram.get(..HEADER_BYTES)?;
        let length = usize::from(number(&header[2..4])?);
        let is_request = number(header)? == BINDING_REQUEST
            && header[4..8] == MAGIC_COOKIE
            && length % 4 == 0
            && datagram.len() == HEADER_BYTES + length;
        if !is_request {
            return None;
        }
        let mut request = Self {
            bytes: datagram,
            username: None,
            uses_candidate: false,
            integrity: None,
            is_understood: true,
        };
        let mut at = HEADER_BYTES;
        while at < datagram.len() {
            let head = datagram.get(at..at + 4)?;
            let (kind, len) = (number(head)?, usize::from(number(&head[2..])?));
            let value = datagram.get(at + 4..at + 4 + len)?;
            request.take(at, kind, value)?;
            at += 4 + len.next_multiple_of(4);
        }
        Some(request)
    }

    fn take(&mut self, at: usize, kind: u16, value: &'a [u8]) -> Option<()> {
        match kind {
            FINGERPRINT => {
                let is_last = at + 8 == self.bytes.len();
                let right = checksum(&self.bytes[..at]).to_be_bytes();
                return (is_last && value == right).then_some(());
            }
            // What follows the signature is not covered by it (RFC 8489 §14.5).
            _ if self.integrity.is_some() => {}
            MESSAGE_INTEGRITY => self.integrity = Some((at, value)),
            USERNAME => self.username = Some(value),
            USE_CANDIDATE => self.uses_candidate = true,
            _ if kind >= FIRST_OPTIONAL || PASSED_OVER.contains(&kind) => {}
            _ => self.is_understood = false,
        }
        Some(())
    }

    /// The USERNAME: ours, a colon, theirs (RFC 8445 §7.2.2).
    pub fn username(&self) -> Option<&'a [u8]> {
        self.username
    }

    /// Whether the sender means to use this way (RFC 8445 §7.1.2).
    pub fn uses_candidate(&self) -> bool {
        self.uses_candidate
    }

    /// Whether there is a signature at all.
    pub fn is_signed(&self) -> bool {
        self.integrity.is_some()
    }

    /// Whether all of it that must be understood is.
    pub fn is_understood(&self) -> bool {
        self.is_understood
    }

    /// Whether it was signed with this password.
    pub fn is_signed_with(&self, password: &str) -> bool {
        let Some((at, signature)) = self.integrity else { return false };
        let signed = covered(&self.bytes[..at], 4 + INTEGRITY_BYTES);
        hmac::verify(&key(password), &signed, signature).is_ok()
    }

    /// The answer: where it came from, signed with the password if there is one.
    pub fn success(&self, from: SocketAddr, password: Option<&str>) -> Vec<u8> {
        // Cookie and transaction id together mask the address, so that no NAT meddles with it.
        let mask = &self.bytes[4..HEADER_BYTES];
        let (family, octets) = match from.ip().to_canonical() {
            IpAddr::V4(ip) => (1, ip.octets().to_vec()),
            IpAddr::V6(ip) => (2, ip.octets().to_vec()),
        };
        let mut value = vec![0, family];
        value.extend(from.port().to_be_bytes().iter().zip(mask).map(|(octet, mask)| octet ^ mask));
        value.extend(octets.iter().zip(mask).map(|(octet, mask)| octet ^ mask));
        let message = Writer::new(BINDING_SUCCESS, mask).attribute(XOR_MAPPED_ADDRESS, &value);
        match password {
            Some(password) => message.signed(password),
            None => message.finish(),
        }
    }

    /// The answer that refuses it, with a code from 300 to 699 (RFC 8489 §14.8).
    pub fn error(&self, code: u16) -> Vec<u8> {
        let value = [0, 0, (code / 100) as u8, (code % 100) as u8];
        Writer::new(BINDING_ERROR, &self.bytes[4..HEADER_BYTES])
            .attribute(ERROR_CODE, &value)
            .with_fingerprint()
    }
}

/// A check as an ICE agent that controls sends it (RFC 8445 §7.2.4): `username` is the other
/// side's, a colon, ours; `password` the other side's.
pub fn check(
    transaction: [u8; 12],
    username: &str,
    password: &str,
    candidate: Candidate,
) -> Vec<u8> {
    const ICE_CONTROLLING: u16 = 0x802a;
    let mut mask = MAGIC_COOKIE.to_vec();
    mask.extend(transaction);
    let mut message = Writer::new(BINDING_REQUEST, &mask)
        .attribute(USERNAME, username.as_bytes())
        .attribute(ICE_CONTROLLING, &[7; 8])
        .attribute(PRIORITY, &[0x6e, 0, 0x1e, 0xff]);
    if candidate == Candidate::Used {
        message = message.attribute(USE_CANDIDATE, &[]);
    }
    message.signed(password)
}

/// Whether a check means to use the way it came (RFC 8445 §7.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Candidate {
    /// Only whether it is open.
    Tried,
    /// It is to be used.
    Used,
}

/// Writes one message.
struct Writer(Vec<u8>);

impl Writer {
    /// `mask`: the cookie and the transaction id.
    fn new(kind: u16, mask: &[u8]) -> Self {
        let mut bytes = kind.to_be_bytes().to_vec();
        bytes.extend([0, 0]);
        bytes.extend(mask);
        Self(bytes)
    }

    fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        self.0.extend(kind.to_be_bytes());
        self.0.extend((value.len() as u16).to_be_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    fn signed(self, password: &str) -> Vec<u8> {
        let tag = hmac::sign(&key(password), &covered(&self.0, 4 + INTEGRITY_BYTES));
        self.attribute(MESSAGE_INTEGRITY, tag.as_ref()).with_fingerprint()
    }

    fn with_fingerprint(self) -> Vec<u8> {
        let checksum = checksum(&self.0).to_be_bytes();
        self.attribute(FINGERPRINT, &checksum).finish()
    }

    fn finish(self) -> Vec<u8> {
        covered(&self.0, 0)
    }
}

fn key(password: &str) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, password.as_bytes())
}

/// The message up to an attribute, its length as it is with the attribute (RFC 8489 §14.5).
fn covered(message: &[u8], attribute_bytes: usize) -> Vec<u8> {
    let mut covered = message.to_vec();
    let length = (message.len() - HEADER_BYTES + attribute_bytes) as u16;
    covered[2..4].copy_from_slice(&length.to_be_bytes());
    covered
}

fn checksum(message: &[u8]) -> u32 {
    crc32fast::hash(&covered(message, 8)) ^ FINGERPRINT_MASK
}

fn number(bytes: &[u8]) -> Option<u16> {
    bytes.first_chunk::<2>().map(|bytes| u16::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWORD: &str = "a password of enough characters";

    fn plain() -> Vec<u8> {
        let mut request = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
        request.extend(1..=12);
        request
    }

    #[test]
    fn a_phone_is_told_where_it_is_seen() {
        let plain = plain();
        let request = Request::read(&plain).unwrap();
        let reply = request.success("192.0.2.1:32853".parse().unwrap(), None);
        assert_eq!(reply[..8], [1, 1, 0, 12, 0x21, 0x12, 0xa4, 0x42]);
        assert_eq!(reply[8..20], plain[8..20]);
        // Port 32853 and 192.0.2.1 masked by the cookie, as in RFC 5769 §2.2.
        assert_eq!(reply[20..], [0, 0x20, 0, 8, 0, 1, 0xa1, 0x47, 0xe1, 0x12, 0xa6, 0x43]);
        let reply = request.success("[2001:db8::1]:5060".parse().unwrap(), None);
        assert_eq!((reply[3], reply[25], reply.len()), (24, 2, 44));
    }

    #[test]
    fn what_is_no_binding_request_is_not_read() {
        let change = |at: usize, to: u8| {
            let mut request = plain();
            request[at] = to;
            request
        };
        for datagram in [
            b"OPTIONS sip:a SIP/2.0\r\n\r\n".to_vec(),
            plain()[..19].to_vec(),
            change(0, 1),
            change(1, 2),
            change(3, 4),
            change(5, 0),
            Vec::new(),
        ] {
            assert!(Request::read(&datagram).is_none(), "{datagram:?}");
        }
    }

    #[test]
    fn a_check_is_known_by_its_password_and_by_every_byte() {
        let check = check([9; 12], "ours:theirs", PASSWORD, Candidate::Used);
        let request = Request::read(&check).unwrap();
        assert_eq!(request.username(), Some(&b"ours:theirs"[..]));
        assert!(request.uses_candidate() && request.is_understood());
        assert!(request.is_signed_with(PASSWORD) && !request.is_signed_with("another"));
        for at in 0..check.len() - 8 {
            let mut forged = check.clone();
            forged[at] ^= 1;
            assert!(Request::read(&forged).is_none_or(|it| !it.is_signed_with(PASSWORD)), "{at}");
        }
        let reply = request.success("192.0.2.1:4000".parse().unwrap(), Some(PASSWORD));
        // Header, address, signature, checksum.
        assert_eq!(reply.len(), 20 + 12 + 24 + 8);
        assert_eq!(usize::from(number(&reply[2..]).unwrap()), reply.len() - 20);
        let (at, signature) = (32, &reply[36..56]);
        assert!(hmac::verify(&key(PASSWORD), &covered(&reply[..at], 24), signature).is_ok());
        assert_eq!(reply[60..], checksum(&reply[..56]).to_be_bytes());
    }

    #[test]
    fn what_stands_behind_the_signature_does_not_count() {
        let mut message = Writer::new(BINDING_REQUEST, &plain()[4..]).attribute(USERNAME, b"a:b");
        let tag = hmac::sign(&key(PASSWORD), &covered(&message.0, 24));
        message = message.attribute(MESSAGE_INTEGRITY, tag.as_ref());
        let bytes = message.attribute(USE_CANDIDATE, &[]).finish();
        let request = Request::read(&bytes).unwrap();
        assert!(request.is_signed_with(PASSWORD) && !request.uses_candidate());
    }

    #[test]
    fn an_error_names_its_code_and_unknown_demands_are_seen() {
        let bytes = Writer::new(BINDING_REQUEST, &plain()[4..]).attribute(0x7000, &[1]).finish();
        let request = Request::read(&bytes).unwrap();
        assert!(!request.is_understood() && !request.is_signed());
        let reply = request.error(420);
        assert_eq!(reply[..2], [1, 0x11]);
        assert_eq!(reply[20..28], [0, 9, 0, 4, 0, 0, 4, 20]);
    }

    #[test]
    fn no_length_is_trusted() {
        let check = check([9; 12], "ours:theirs", PASSWORD, Candidate::Tried);
        for len in 0..check.len() {
            let mut cut = check[..len].to_vec();
            assert!(Request::read(&cut).is_none());
            if len >= HEADER_BYTES {
                cut[2..4].copy_from_slice(&((len - HEADER_BYTES) as u16).to_be_bytes());
                if let Some(request) = Request::read(&cut) {
                    assert!(len == HEADER_BYTES || !request.is_signed() || len >= 44);
                }
            }
        }
        for (at, to) in [(22, 0xff), (23, 0xff), (23, 13)] {
            let mut wrong = check.clone();
            wrong[at] = to;
            assert!(Request::read(&wrong).is_none());
        }
    }
}
