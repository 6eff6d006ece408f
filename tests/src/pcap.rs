//! Writes capture files: UDP datagrams as `tcpdump` would have seen them.

use std::net::SocketAddrV4;
use std::path::Path;

/// A classic pcap file of raw IPv4 packets (link type 101).
#[derive(Default)]
pub struct Capture {
    records: Vec<(u64, Vec<u8>)>,
}

impl Capture {
    /// Adds one datagram, seen at this microsecond.
    ///
    /// # Panics
    /// If it does not fit into an IPv4 packet.
    pub fn datagram(&mut self, at_us: u64, from: SocketAddrV4, to: SocketAddrV4, payload: &[u8]) {
        let length = u16::try_from(28 + payload.len()).expect("fits an IPv4 packet");
        let mut packet = vec![0x45, 0];
        packet.extend(length.to_be_bytes());
        // Identification, don't fragment, TTL 64, UDP, no checksum.
        packet.extend([0, 0, 0x40, 0, 64, 17, 0, 0]);
        packet.extend(from.ip().octets());
        packet.extend(to.ip().octets());
        packet.extend(from.port().to_be_bytes());
        packet.extend(to.port().to_be_bytes());
        packet.extend((length - 20).to_be_bytes());
        packet.extend([0, 0]);
        packet.extend(payload);
        self.records.push((at_us, packet));
    }

    /// Writes the file, packets in the order of their times.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn write(mut self, path: &Path) {
        self.records.sort_by_key(|(at_us, _)| *at_us);
        let mut file = Vec::new();
        // Magic (microseconds), version 2.4, zone, accuracy, snapshot length, link type.
        for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_535, 101] {
            file.extend(word.to_le_bytes());
        }
        for (at_us, packet) in &self.records {
            let length = packet.len() as u32;
            let (seconds, micros) = (at_us / 1_000_000, at_us % 1_000_000);
            for word in [seconds as u32, micros as u32, length, length] {
                file.extend(word.to_le_bytes());
            }
            file.extend(packet);
        }
        std::fs::write(path, file).unwrap();
    }
}
