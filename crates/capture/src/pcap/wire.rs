//! From a frame to the datagram or TCP segment in it: link layers, tunnels, IP, fragments.

use super::file::Frame;
use cheling_model::Timestamp;
use etherparse::defrag::IpDefragBuf;
use etherparse::{IpNumber, Ipv6ExtensionSlice, LaxIpSlice, TcpSlice, UdpSlice};
use pcap_parser::Linktype;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// IP in IP in IP, and no deeper.
const MAX_TUNNELS: usize = 4;
/// Datagrams under reassembly at once; the oldest gives way.
const MAX_FRAGMENTED: usize = 256;
/// How long fragments wait for each other (RFC 791: 15 s; RFC 8200: 60 s).
const FRAGMENT_LIFETIME: Duration = Duration::from_secs(30);

/// What a frame carries, for us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// A UDP datagram.
    Udp {
        /// Who sent it.
        from: SocketAddr,
        /// Whom to.
        to: SocketAddr,
        /// Its payload.
        payload: &'a [u8],
    },
    /// A TCP segment.
    Tcp {
        /// Who sent it.
        from: SocketAddr,
        /// Whom to.
        to: SocketAddr,
        /// Of its first octet, or of the SYN.
        sequence_number: u32,
        /// The stream begins, ends orderly, or is torn down.
        flags: TcpFlags,
        /// Its payload.
        payload: &'a [u8],
    },
}

/// The flags that matter for a stream's life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpFlags {
    /// SYN.
    pub syn: bool,
    /// FIN.
    pub fin: bool,
    /// RST.
    pub rst: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct FragmentKey {
    from: IpAddr,
    to: IpAddr,
    identification: u32,
    ip_number: IpNumber,
}

/// Takes frames apart; keeps fragments until their datagram is whole.
#[derive(Default)]
pub struct Decoder {
    fragments: HashMap<FragmentKey, (IpDefragBuf, Timestamp)>,
}

impl Decoder {
    /// Gives what the frame carries to `each`: nothing, if it is not IP, not UDP or TCP, cut off,
    /// or a fragment that completes nothing.
    pub fn decode(&mut self, frame: Frame<'_>, each: impl FnOnce(Packet<'_>)) {
        if let Some(ip) = network_layer(frame.link, frame.bytes) {
            self.ip(frame.at, ip, MAX_TUNNELS, each);
        }
    }

    fn ip(&mut self, at: Timestamp, bytes: &[u8], tunnels: usize, each: impl FnOnce(Packet<'_>)) {
        let Ok((ip, None)) = LaxIpSlice::from_slice(bytes) else { return };
        let (from, to) = (ip.source_addr(), ip.destination_addr());
        let payload = ip.payload();
        if payload.incomplete {
            return;
        }
        if payload.fragmented {
            let ip_number = payload.ip_number;
            if let Some(whole) = self.fragment(at, &ip) {
                self.transport(at, from, to, ip_number, &whole, tunnels, each);
            }
            return;
        }
        self.transport(at, from, to, payload.ip_number, payload.payload, tunnels, each);
    }

    #[allow(clippy::too_many_arguments)] // One layer's facts, used once.
    fn transport(
        &mut self,
        at: Timestamp,
        from: IpAddr,
        to: IpAddr,
        ip_number: IpNumber,
        payload: &[u8],
        tunnels: usize,
        each: impl FnOnce(Packet<'_>),
    ) {
        match ip_number {
            IpNumber::UDP => {
                let Ok(udp) = UdpSlice::from_slice_lax(payload) else { return };
                each(Packet::Udp {
                    from: SocketAddr::new(from, udp.source_port()),
                    to: SocketAddr::new(to, udp.destination_port()),
                    payload: udp.payload(),
                });
            }
            IpNumber::TCP => {
                let Ok(tcp) = TcpSlice::from_slice(payload) else { return };
                each(Packet::Tcp {
                    from: SocketAddr::new(from, tcp.source_port()),
                    to: SocketAddr::new(to, tcp.destination_port()),
                    sequence_number: tcp.sequence_number(),
                    flags: TcpFlags { syn: tcp.syn(), fin: tcp.fin(), rst: tcp.rst() },
                    payload: tcp.payload(),
                });
            }
            IpNumber::IPV4 | IpNumber::IPV6 if tunnels > 0 => {
                // The generic visitor would recurse without end.
                let each: Box<dyn FnOnce(Packet<'_>)> = Box::new(each);
                self.ip(at, payload, tunnels - 1, each);
            }
            _ => {}
        }
    }

    fn fragment(&mut self, at: Timestamp, ip: &LaxIpSlice<'_>) -> Option<Vec<u8>> {
        let (identification, offset, more) = match ip {
            LaxIpSlice::Ipv4(ip) => {
                let header = ip.header();
                let identification = u32::from(header.identification());
                (identification, header.fragments_offset(), header.more_fragments())
            }
            LaxIpSlice::Ipv6(ip) => {
                ip.extensions().clone().into_iter().find_map(|extension| match extension {
                    Ipv6ExtensionSlice::Fragment(fragment) => {
                        let header = fragment.to_header();
                        Some((header.identification, header.fragment_offset, header.more_fragments))
                    }
                    _ => None,
                })?
            }
        };
        let payload = ip.payload();
        let key = FragmentKey {
            from: ip.source_addr(),
            to: ip.destination_addr(),
            identification,
            ip_number: payload.ip_number,
        };
        self.make_room(at);
        let new = || (IpDefragBuf::new(payload.ip_number, Vec::new(), Vec::new()), at);
        let (buffer, _) = self.fragments.entry(key).or_insert_with(new);
        if buffer.add(offset, more, payload.payload).is_err() {
            self.fragments.remove(&key);
            return None;
        }
        if !buffer.is_complete() {
            return None;
        }
        self.fragments.remove(&key).map(|(buffer, _)| buffer.take_bufs().0)
    }

    fn make_room(&mut self, at: Timestamp) {
        self.fragments.retain(|_, (_, since)| at.since(*since) < FRAGMENT_LIFETIME);
        if self.fragments.len() < MAX_FRAGMENTED {
            return;
        }
        let oldest = self.fragments.iter().min_by_key(|(_, (_, since))| *since);
        if let Some(key) = oldest.map(|(key, _)| *key) {
            self.fragments.remove(&key);
        }
    }
}

/// The IP packet in a frame; `None` if it holds something else.
fn network_layer(link: Linktype, frame: &[u8]) -> Option<&[u8]> {
    match link.0 {
        // LINKTYPE_NULL and LOOP: four bytes of address family, in somebody's byte order.
        0 | 108 => frame.get(4..),
        1 => by_ether_type(frame.get(12..)?),
        // LINKTYPE_RAW, its older numbers, IPV4 and IPV6.
        12 | 14 | 101 | 228 | 229 => Some(frame),
        113 => by_ether_type(frame.get(14..)?),
        // LINUX_SLL2: the protocol comes first, the payload after 20 bytes.
        276 => by_protocol(ether_type(frame)?, frame.get(20..)?),
        _ => None,
    }
}

fn ether_type(bytes: &[u8]) -> Option<u16> {
    bytes.first_chunk().map(|bytes| u16::from_be_bytes(*bytes))
}

fn by_ether_type(bytes: &[u8]) -> Option<&[u8]> {
    by_protocol(ether_type(bytes)?, bytes.get(2..)?)
}

fn by_protocol(protocol: u16, rest: &[u8]) -> Option<&[u8]> {
    match protocol {
        0x0800 | 0x86dd => Some(rest),
        // 802.1Q, 802.1ad and what came before it: a tag, then the next EtherType.
        0x8100 | 0x88a8 | 0x9100 => by_ether_type(rest.get(2..)?),
        // PPPoE session with IPv4 or IPv6 in it.
        0x8864 if matches!(rest.get(6..8)?, [0, 0x21 | 0x57]) => rest.get(8..),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::PacketBuilder;

    fn udp_v4(payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        PacketBuilder::ipv4([192, 0, 2, 1], [192, 0, 2, 2], 64)
            .udp(5060, 5062)
            .write(&mut bytes, payload)
            .unwrap();
        bytes
    }

    fn udp_v6(payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        PacketBuilder::ipv6([1; 16], [2; 16], 64)
            .udp(5060, 5062)
            .write(&mut bytes, payload)
            .unwrap();
        bytes
    }

    fn decode(decoder: &mut Decoder, link: i32, bytes: &[u8]) -> Option<Vec<u8>> {
        let at = Timestamp::from_micros(1);
        let mut found = None;
        decoder.decode(Frame { at, link: Linktype(link), bytes }, |packet| {
            let (Packet::Udp { payload, .. } | Packet::Tcp { payload, .. }) = packet;
            found = Some(payload.to_vec());
        });
        found
    }

    fn ether(tags: &[u8], kind: [u8; 2], ip: &[u8]) -> Vec<u8> {
        [&[0; 12], tags, &kind, ip].concat()
    }

    #[test]
    fn every_link_layer_leads_to_the_same_datagram() {
        let (v4, v6) = (udp_v4(b"hello"), udp_v6(b"hello"));
        let ip4 = [8, 0];
        let ip6 = [0x86, 0xdd];
        let mut tunnelled = Vec::new();
        PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 9)
            .write(&mut tunnelled, IpNumber::IPV4, &v4)
            .unwrap();
        let sll = |kind: [u8; 2], ip: &[u8]| [&[0; 14][..], &kind, ip].concat();
        for (name, link, frame) in [
            ("ethernet", 1, ether(&[], ip4, &v4)),
            ("ethernet with trailer", 1, ether(&[], ip4, &[&v4[..], &[0; 9]].concat())),
            ("ethernet IPv6", 1, ether(&[], ip6, &v6)),
            ("802.1Q", 1, ether(&[0x81, 0, 0, 100], ip4, &v4)),
            ("QinQ", 1, ether(&[0x88, 0xa8, 0, 1, 0x81, 0, 0, 2], ip4, &v4)),
            (
                "PPPoE",
                1,
                ether(&[], [0x88, 0x64], &[&[0x11, 0, 0, 1, 0, 35, 0, 0x21], &v4[..]].concat()),
            ),
            ("IP in IP", 1, ether(&[], ip4, &tunnelled)),
            ("raw", 101, v4.clone()),
            ("raw IPv6", 101, v6.clone()),
            ("null", 0, [&[2, 0, 0, 0], &v4[..]].concat()),
            ("Linux cooked", 113, sll(ip4, &v4)),
            ("Linux cooked v2", 276, [&ip4, &[0; 18][..], &v4].concat()),
        ] {
            let got = decode(&mut Decoder::default(), link, &frame);
            assert_eq!(got.as_deref(), Some(&b"hello"[..]), "{name}");
        }
    }

    fn fragments(payload: &[u8], size: usize) -> Vec<Vec<u8>> {
        let whole = udp_v4(payload);
        let (header, body) = whole.split_at(20);
        let count = body.len().div_ceil(size);
        body.chunks(size)
            .enumerate()
            .map(|(index, chunk)| {
                let mut fragment = [header, chunk].concat();
                let len = fragment.len() as u16;
                fragment[2..4].copy_from_slice(&len.to_be_bytes());
                let more = if index + 1 < count { 0x2000 } else { 0 };
                let offset = (index * size / 8) as u16;
                fragment[6..8].copy_from_slice(&(more | offset).to_be_bytes());
                fragment
            })
            .collect()
    }

    #[test]
    fn fragments_are_joined_in_any_order() {
        let payload: Vec<u8> = (0..4000_u32).map(|byte| byte as u8).collect();
        let mut parts = fragments(&payload, 1480);
        assert_eq!(parts.len(), 3);
        parts.rotate_left(1);
        let mut decoder = Decoder::default();
        let got: Vec<_> = parts.iter().map(|part| decode(&mut decoder, 101, part)).collect();
        assert_eq!(got, [None, None, Some(payload)]);
        assert!(decoder.fragments.is_empty());
    }

    #[test]
    fn fragments_without_end_are_bounded() {
        let mut decoder = Decoder::default();
        for identification in 0..2_000_u16 {
            let mut part = fragments(&[0; 3000], 1480).swap_remove(0);
            part[4..6].copy_from_slice(&identification.to_be_bytes());
            assert_eq!(decode(&mut decoder, 101, &part), None);
        }
        assert!(decoder.fragments.len() <= MAX_FRAGMENTED);
    }

    #[test]
    fn frames_cut_off_or_mangled_anywhere_are_no_panic() {
        let frame = ether(&[0x81, 0, 0, 100], [8, 0], &udp_v4(b"hello"));
        let mut decoder = Decoder::default();
        for len in 0..frame.len() {
            for link in [0, 1, 12, 101, 113, 276, 999] {
                decode(&mut decoder, link, &frame[..len]);
            }
        }
        for at in 0..frame.len() {
            for value in [0, 0xff, 0x45, 0x60] {
                let mut mangled = frame.clone();
                mangled[at] = value;
                decode(&mut decoder, 1, &mangled);
            }
        }
    }
}
