//! RTP packets (RFC 3550 §5.1): reading, writing, and the numbers in their headers.
//!
//! Belongs here: the wire form of one packet, and telling what kind of packet a datagram is
//! (RFC 5761, RFC 7983). Does not: what several packets say together (`reception`, `timeline`).

use rtp_rs::{RtpPacketBuilder, RtpReader, RtpReaderError, Seq};

/// The synchronisation source of a stream (RFC 3550 §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ssrc(pub u32);

/// An RTP sequence number as on the wire: 16 bits, wraps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SequenceNumber(pub u16);

impl SequenceNumber {
    /// Returns the sequence number that follows this one.
    pub fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }
}

/// An RTP sequence number that does not wrap: cycles above, the wire's 16 bits below.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExtendedSequence(pub u64);

impl ExtendedSequence {
    /// The first number of a stream: one cycle up, so that earlier packets have a place below.
    pub fn first(wire: SequenceNumber) -> Self {
        Self(0x1_0000 + u64::from(wire.0))
    }

    /// Returns the number nearest `self` whose low 16 bits are `wire` (RFC 3550 §A.1).
    pub fn nearest(self, wire: SequenceNumber) -> Self {
        let step = wire.0.wrapping_sub(self.0 as u16) as i16;
        Self(self.0.wrapping_add_signed(step.into()))
    }
}

/// An RTP timestamp as on the wire: 32 bits of the codec's clock, wraps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Timestamp(pub u32);

impl Timestamp {
    /// Returns the timestamp `ticks` of the codec's clock later.
    pub fn plus(self, ticks: u32) -> Self {
        Self(self.0.wrapping_add(ticks))
    }
}

/// An RTP timestamp that does not wrap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExtendedTimestamp(pub i64);

impl ExtendedTimestamp {
    /// The first timestamp of a stream.
    pub fn first(wire: Timestamp) -> Self {
        Self(i64::from(wire.0))
    }

    /// Returns the timestamp nearest `self` whose low 32 bits are `wire`.
    pub fn nearest(self, wire: Timestamp) -> Self {
        let step = wire.0.wrapping_sub(self.0 as u32) as i32;
        Self(self.0.wrapping_add(step.into()))
    }
}

/// Why bytes are not an RTP packet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PacketError {
    /// Fewer bytes than the fixed header, the CSRC list or the extension needs.
    #[error("{len} bytes end inside the RTP header")]
    TooShort {
        /// Bytes there are.
        len: usize,
    },
    /// Not version 2.
    #[error("RTP version {0}, expected 2")]
    Version(u8),
    /// The padding count is zero or larger than what follows the header.
    #[error("RTP padding of {0} bytes does not fit")]
    Padding(u8),
    /// A field that the wire cannot carry.
    #[error("payload type {0} does not fit seven bits")]
    PayloadType(u8),
}

/// The fixed header of an RTP packet; CSRC list and header extension are left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RtpHeader {
    /// Payload type, 7 bits (RFC 3551 §6, or bound by SDP).
    pub payload_type: u8,
    /// The marker bit: for audio, the first packet after a silence.
    pub marker: bool,
    /// Sequence number.
    pub sequence_number: SequenceNumber,
    /// Timestamp in ticks of the codec's clock.
    pub timestamp: Timestamp,
    /// Synchronisation source.
    pub ssrc: Ssrc,
}

impl RtpHeader {
    /// Appends a whole packet with this header and `payload` to `out`.
    ///
    /// # Errors
    /// [`PacketError::PayloadType`] if the payload type is above 127.
    pub fn write(&self, payload: &[u8], out: &mut Vec<u8>) -> Result<(), PacketError> {
        let builder = RtpPacketBuilder::new()
            .payload_type(self.payload_type)
            .marked(self.marker)
            .sequence(Seq::from(self.sequence_number.0))
            .timestamp(self.timestamp.0)
            .ssrc(self.ssrc.0)
            .payload(payload);
        let start = out.len();
        out.resize(start + builder.target_length(), 0);
        if builder.build_into(&mut out[start..]).is_err() {
            out.truncate(start);
            return Err(PacketError::PayloadType(self.payload_type));
        }
        Ok(())
    }
}

/// A view of one RTP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RtpPacket<'a> {
    /// The fixed header.
    pub header: RtpHeader,
    /// The payload without padding.
    pub payload: &'a [u8],
}

impl<'a> RtpPacket<'a> {
    /// Reads one RTP packet; the payload borrows from `bytes`.
    ///
    /// # Errors
    /// [`PacketError`] says what is wrong with bytes that are not RTP.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, PacketError> {
        let reader = RtpReader::new(bytes).map_err(|err| match err {
            RtpReaderError::UnsupportedVersion(version) => PacketError::Version(version),
            RtpReaderError::PaddingLengthInvalid(padding) => PacketError::Padding(padding),
            RtpReaderError::BufferTooShort(_) | RtpReaderError::HeadersTruncated { .. } => {
                PacketError::TooShort { len: bytes.len() }
            }
        })?;
        Ok(Self {
            header: RtpHeader {
                payload_type: reader.payload_type(),
                marker: reader.mark(),
                sequence_number: SequenceNumber(reader.sequence_number().into()),
                timestamp: Timestamp(reader.timestamp()),
                ssrc: Ssrc(reader.ssrc()),
            },
            payload: reader.payload(),
        })
    }
}

/// What a datagram on a media port is, told by its first two bytes (RFC 7983 §7, RFC 5761 §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DatagramKind {
    /// STUN (0..=3).
    Stun,
    /// ZRTP (16..=19).
    Zrtp,
    /// DTLS (20..=63).
    Dtls,
    /// TURN channel data (64..=79).
    TurnChannel,
    /// RTP (128..=191 and not RTCP).
    Rtp,
    /// RTCP (128..=191 with a packet type of 192..=223).
    Rtcp,
    /// None of these, for example an empty keep-alive.
    Other,
}

impl DatagramKind {
    /// Tells the kind of `bytes`; promises nothing about what follows the first two.
    pub fn of(bytes: &[u8]) -> Self {
        match bytes {
            [0..=3, ..] => Self::Stun,
            [16..=19, ..] => Self::Zrtp,
            [20..=63, ..] => Self::Dtls,
            [64..=79, ..] => Self::TurnChannel,
            [128..=191, 192..=223, ..] => Self::Rtcp,
            [128..=191, _, ..] => Self::Rtp,
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: RtpHeader = RtpHeader {
        payload_type: 8,
        marker: true,
        sequence_number: SequenceNumber(0xfffe),
        timestamp: Timestamp(0xffff_ff60),
        ssrc: Ssrc(0x4ea6_6fe8),
    };

    #[test]
    fn what_is_written_reads_back() {
        let mut bytes = Vec::new();
        HEADER.write(&[0xd5; 160], &mut bytes).unwrap();
        assert_eq!(bytes.len(), 172);
        assert_eq!(&bytes[..4], &[0x80, 0x88, 0xff, 0xfe]);
        let packet = RtpPacket::parse(&bytes).unwrap();
        assert_eq!(packet, RtpPacket { header: HEADER, payload: &[0xd5; 160] });
    }

    #[test]
    fn malformed_packets_are_named_not_panicked_on() {
        let mut good = Vec::new();
        HEADER.write(&[1, 2, 3, 4], &mut good).unwrap();
        let with = |at: usize, value: u8| {
            let mut bytes = good.clone();
            bytes[at] = value;
            bytes
        };
        for (bytes, want) in [
            (Vec::new(), PacketError::TooShort { len: 0 }),
            (good[..11].to_vec(), PacketError::TooShort { len: 11 }),
            (with(0, 0x40), PacketError::Version(1)),
            (with(0, 0x8f), PacketError::TooShort { len: 16 }),
        ] {
            assert_eq!(RtpPacket::parse(&bytes), Err(want), "{bytes:x?}");
        }
        // Padding larger than the packet, and an extension that is not there.
        let mut padded = with(0, 0xa0);
        padded[15] = 200;
        assert!(RtpPacket::parse(&padded).is_err());
        assert!(RtpPacket::parse(&with(0, 0x90)[..14]).is_err());
        let wide = RtpHeader { payload_type: 200, ..HEADER };
        let mut out = vec![7];
        assert_eq!(wide.write(&[], &mut out), Err(PacketError::PayloadType(200)));
        assert_eq!(out, [7]);
    }

    proptest::proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
            if let Ok(packet) = RtpPacket::parse(&bytes) {
                proptest::prop_assert!(packet.payload.len() <= bytes.len() - 12);
                let mut pcm = Vec::new();
                let formats = crate::codec::PayloadMap::default();
                let format = formats.format(packet.header.payload_type);
                if let Some(mut decoder) = crate::decoder::Decoder::new(format) {
                    decoder.decode(packet.payload, &mut pcm);
                }
                proptest::prop_assert!(pcm.len() <= 48 * packet.payload.len());
            }
            crate::dtmf::Event::parse(&bytes);
            proptest::prop_assert!(crate::rtcp::reports(&bytes).len() <= 32);
        }
    }

    #[test]
    fn nearest_crosses_the_wrap_both_ways() {
        for (last, wire, want) in [
            (0x1_fffe, 0xffff, 0x1_ffff), // next in line
            (0x1_ffff, 0x0000, 0x2_0000), // first of the next cycle
            (0x2_0000, 0xffff, 0x1_ffff), // late, from before the wrap
        ] {
            let got = ExtendedSequence(last).nearest(SequenceNumber(wire));
            assert_eq!(got, ExtendedSequence(want), "{wire:#x}");
        }
        for (last, wire, want) in [
            (0x0_ffff_ff60_i64, 0x0000_0000, 0x1_0000_0000), // wraps forward
            (0x1_0000_0000, 0xffff_ff60, 0x0_ffff_ff60),     // late, from before the wrap
            (5, 0xffff_ffff, -1),                            // earlier than the first
        ] {
            let got = ExtendedTimestamp(last).nearest(Timestamp(wire));
            assert_eq!(got, ExtendedTimestamp(want), "{wire:#x}");
        }
    }

    #[test]
    fn datagrams_are_told_apart_by_their_first_bytes() {
        for (bytes, want) in [
            (&[0x80, 0x08][..], DatagramKind::Rtp),
            (&[0x80, 0x88], DatagramKind::Rtp), // payload type 8 with marker
            (&[0x80, 200], DatagramKind::Rtcp), // SR, would read as payload type 72
            (&[0x81, 201], DatagramKind::Rtcp),
            (&[0x00, 0x01], DatagramKind::Stun),
            (&[0x16, 0xfe], DatagramKind::Dtls),
            (&[0x10, 0x00], DatagramKind::Zrtp),
            (&[0x40, 0x00], DatagramKind::TurnChannel),
            (&[0x80], DatagramKind::Other),
            (b"\r\n", DatagramKind::Other),
            (b"", DatagramKind::Other),
        ] {
            assert_eq!(DatagramKind::of(bytes), want, "{bytes:x?}");
        }
    }
}
