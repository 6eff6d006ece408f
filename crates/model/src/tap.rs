//! The copy of each relayed packet on its way to the journal, framed once by the relay thread.
//!
//! A [`TapBlock`] is a run of frames; relay threads fill one and send it on when it is large or
//! old enough, so that the cost per packet is one copy. The frame, little endian:
//!
//! ```text
//! u16 length of all that follows · u8 kind · u8 lane and voice · i64 arrival µs · 16 bytes call id
//! · packet
//! ```
//!
//! The lane is bit 0 of its byte and the voice the bits above: voice 0 is the lane's main party, and
//! a frame of a lane with one voice is what it was before there were voices. Others are those who
//! join a lane while its main party stays (a colleague in a conference, a supervisor who whispers):
//! each is a media stream of its own, placed and decoded apart from the others and summed with them.

use crate::{CallId, Lane, Timestamp};
use uuid::Uuid;

/// Bytes of a frame before the packet, its length field included.
pub const FRAME_HEADER_BYTES: usize = 28;
/// The longest packet that is kept; longer ones are not RTP.
pub const MAX_PACKET_BYTES: usize = u16::MAX as usize - FRAME_HEADER_BYTES;

/// The highest voice of a lane: eight may talk on one lane at once.
pub const MAX_VOICE: u8 = 7;

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum PacketKind {
    /// RTP (RFC 3550 §5.1).
    Rtp = 1,
    /// RTCP (RFC 3550 §6).
    Rtcp = 2,
}

/// One packet as it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TapPacket<'a> {
    /// Whose packet it is.
    pub call_id: CallId,
    /// Who sent it.
    pub lane: Lane,
    /// Which of those who talk on the lane: 0 is its main party, to [`MAX_VOICE`].
    pub voice: u8,
    /// RTP or RTCP.
    pub kind: PacketKind,
    /// When it arrived, by the wall clock as the relay extrapolates it from a monotonic one.
    pub at: Timestamp,
    /// The datagram.
    pub bytes: &'a [u8],
}

/// A run of frames.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TapBlock {
    bytes: Vec<u8>,
}

/// Why bytes are not a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The frame says it is longer than what is left.
    #[error("tap frame of {wanted} bytes, {left} left")]
    Torn {
        /// What the frame says.
        wanted: usize,
        /// What is there.
        left: usize,
    },
    /// An unknown kind, or a voice above [`MAX_VOICE`].
    #[error("tap frame with kind {kind} and lane byte {lane}")]
    Unknown {
        /// The kind byte.
        kind: u8,
        /// The byte of lane and voice.
        lane: u8,
    },
}

impl TapBlock {
    /// An empty block with room for `capacity` bytes.
    pub fn with_capacity(capacity: usize) -> Self {
        Self { bytes: Vec::with_capacity(capacity) }
    }

    /// Takes bytes that [`TapBlock::as_bytes`] gave, without looking at them.
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        Self { bytes }
    }

    /// Appends one packet; false if it is too long to be media or its voice is above
    /// [`MAX_VOICE`], and then nothing was appended.
    pub fn push(&mut self, packet: TapPacket<'_>) -> bool {
        if packet.bytes.len() > MAX_PACKET_BYTES || packet.voice > MAX_VOICE {
            return false;
        }
        let length = (FRAME_HEADER_BYTES - 2 + packet.bytes.len()) as u16;
        self.bytes.extend_from_slice(&length.to_le_bytes());
        let lane = packet.lane.index() as u8 | packet.voice << 1;
        self.bytes.extend_from_slice(&[packet.kind as u8, lane]);
        self.bytes.extend_from_slice(&packet.at.as_micros().to_le_bytes());
        self.bytes.extend_from_slice(packet.call_id.0.as_bytes());
        self.bytes.extend_from_slice(packet.bytes);
        true
    }

    /// The frames, to be written as they are.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Bytes filled.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether it holds no packet.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Empties it, keeping its memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    /// Its packets, in the order they came. Ends after the first error.
    pub fn packets(&self) -> Packets<'_> {
        Packets { rest: &self.bytes }
    }
}

/// Iterator over the packets of a block.
#[derive(Clone, Debug)]
pub struct Packets<'a> {
    rest: &'a [u8],
}

impl<'a> Packets<'a> {
    /// Reads frames from bytes.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    fn read(&mut self) -> Result<TapPacket<'a>, FrameError> {
        let rest = std::mem::take(&mut self.rest);
        let torn = |wanted| FrameError::Torn { wanted, left: rest.len() };
        let (head, _) =
            rest.split_first_chunk::<FRAME_HEADER_BYTES>().ok_or(torn(FRAME_HEADER_BYTES))?;
        let end = 2 + usize::from(u16::from_le_bytes([head[0], head[1]]));
        let bytes = rest.get(FRAME_HEADER_BYTES..end).ok_or(torn(end))?;
        let kind = match head[2] {
            1 => PacketKind::Rtp,
            2 => PacketKind::Rtcp,
            kind => return Err(FrameError::Unknown { kind, lane: head[3] }),
        };
        let lane = if head[3] & 1 == 0 { Lane::Customer } else { Lane::Agent };
        let voice = head[3] >> 1;
        if voice > MAX_VOICE {
            return Err(FrameError::Unknown { kind: head[2], lane: head[3] });
        }
        let mut at = [0; 8];
        at.copy_from_slice(&head[4..12]);
        let mut id = [0; 16];
        id.copy_from_slice(&head[12..28]);
        self.rest = &rest[end..];
        Ok(TapPacket {
            call_id: CallId(Uuid::from_bytes(id)),
            lane,
            voice,
            kind,
            at: Timestamp::from_micros(i64::from_le_bytes(at)),
            bytes,
        })
    }
}

impl<'a> Iterator for Packets<'a> {
    type Item = Result<TapPacket<'a>, FrameError>;

    fn next(&mut self) -> Option<Self::Item> {
        (!self.rest.is_empty()).then(|| self.read())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(bytes: &[u8]) -> TapPacket<'_> {
        TapPacket {
            call_id: CallId::mint(Timestamp::from_micros(5_000_000), [3; 10]),
            lane: Lane::Agent,
            voice: 0,
            kind: PacketKind::Rtp,
            at: Timestamp::from_micros(123),
            bytes,
        }
    }

    #[test]
    fn frames_come_back_as_they_went() {
        let mut block = TapBlock::default();
        assert!(block.push(packet(&[1, 2, 3])));
        assert!(block.push(packet(&[])));
        let back: Vec<_> = block.packets().collect::<Result<_, _>>().unwrap();
        assert_eq!(back, [packet(&[1, 2, 3]), packet(&[])]);
    }

    #[test]
    fn lane_and_voice_share_a_byte_and_the_main_voice_is_the_bare_lane() {
        for lane in Lane::BOTH {
            for voice in 0..=MAX_VOICE {
                let mut block = TapBlock::default();
                let sent = TapPacket { lane, voice, ..packet(&[7]) };
                assert!(block.push(sent));
                assert_eq!(block.as_bytes()[3], lane.index() as u8 + 2 * voice);
                assert_eq!(block.packets().next(), Some(Ok(sent)));
            }
        }
        let mut block = TapBlock::default();
        assert!(!block.push(TapPacket { voice: MAX_VOICE + 1, ..packet(&[7]) }));
        assert!(block.is_empty());
        for lane in 2 * (MAX_VOICE + 1)..=u8::MAX {
            let mut block = TapBlock::default();
            block.push(packet(&[7]));
            let mut bytes = block.as_bytes().to_vec();
            bytes[3] = lane;
            let want = Err(FrameError::Unknown { kind: 1, lane });
            assert_eq!(Packets::new(&bytes).next(), Some(want));
        }
    }

    #[test]
    fn a_torn_frame_is_an_error_at_every_length() {
        let mut block = TapBlock::default();
        block.push(packet(&[1, 2, 3]));
        for len in 1..block.len() {
            let mut packets = Packets::new(&block.as_bytes()[..len]);
            assert!(packets.next().unwrap().is_err(), "{len}");
            assert!(packets.next().is_none());
        }
    }

    #[test]
    fn a_packet_too_long_for_its_length_field_is_refused() {
        let mut block = TapBlock::default();
        assert!(!block.push(packet(&vec![0; MAX_PACKET_BYTES + 1])));
        assert!(block.is_empty());
    }
}
