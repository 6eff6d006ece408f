//! Reads the frames of a capture file: pcap (both byte orders, µs and ns) and pcapng.

use cheling_model::Timestamp;
use pcap_parser::traits::PcapNGPacketBlock;
use pcap_parser::{Block, Linktype, PcapBlockOwned, PcapError};
use std::io::Read;

/// Read at once; larger than any frame that `snaplen` allows.
const BUFFER_BYTES: usize = 256 << 10;
/// A buffer is grown up to this for a larger block; then the file counts as broken.
const MAX_BLOCK_BYTES: usize = 64 << 20;
/// Interfaces of one pcapng section.
const MAX_INTERFACES: usize = 4096;

/// One captured frame.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// When it was captured.
    pub at: Timestamp,
    /// What its first bytes are.
    pub link: Linktype,
    /// The frame, as much of it as was captured.
    pub bytes: &'a [u8],
}

/// Why a capture file cannot be read, or not further.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// Neither pcap nor pcapng.
    #[error("neither a pcap nor a pcapng file")]
    NotACapture,
    /// Reading failed.
    #[error("cannot read the file")]
    Read,
    /// What comes after this many frames makes no sense.
    #[error("broken after {frames} frames")]
    Broken {
        /// Frames read before.
        frames: u64,
    },
}

#[derive(Clone, Copy)]
struct Interface {
    link: Linktype,
    /// Time stamp units per second.
    units: u64,
    offset_seconds: i64,
}

/// Calls `each` for every frame, in the order of the file, and returns how many there were. A
/// last frame that is cut off is left out: a capture that was killed ends like that.
///
/// # Errors
/// [`FileError`]; frames before the fault have been given to `each`.
pub fn read_frames(
    reader: impl Read + Send,
    mut each: impl FnMut(Frame<'_>),
) -> Result<u64, FileError> {
    let mut reader = match pcap_parser::create_reader(BUFFER_BYTES, reader) {
        Ok(reader) => reader,
        Err(PcapError::ReadError) => return Err(FileError::Read),
        Err(_) => return Err(FileError::NotACapture),
    };
    let mut state = Reading::default();
    let mut capacity = BUFFER_BYTES;
    loop {
        let is_too_small = match reader.next() {
            Ok((len, block)) => {
                state.block(&block, &mut each);
                // What is left is moved to the front when more is read, and only then.
                reader.consume_noshift(len);
                continue;
            }
            Err(PcapError::Eof | PcapError::UnexpectedEof) => return Ok(state.frames),
            Err(PcapError::ReadError) => return Err(FileError::Read),
            Err(PcapError::Incomplete(_)) => false,
            Err(PcapError::BufferTooSmall) => true,
            Err(_) => return Err(FileError::Broken { frames: state.frames }),
        };
        if reader.reader_exhausted() {
            return Ok(state.frames);
        }
        let is_full = match reader.refill() {
            Ok(()) => false,
            Err(PcapError::BufferTooSmall) => true,
            Err(_) => return Err(FileError::Read),
        };
        if is_too_small || is_full {
            capacity *= 2;
            if capacity > MAX_BLOCK_BYTES || !reader.grow(capacity) {
                return Err(FileError::Broken { frames: state.frames });
            }
        }
    }
}

#[derive(Default)]
struct Reading {
    frames: u64,
    interfaces: Vec<Interface>,
    /// For pcapng's simple packets, which have no time.
    last: Timestamp,
}

impl Reading {
    fn block(&mut self, block: &PcapBlockOwned<'_>, each: &mut impl FnMut(Frame<'_>)) {
        match block {
            PcapBlockOwned::LegacyHeader(header) => {
                let units =
                    if header.is_nanosecond_precision() { 1_000_000_000 } else { 1_000_000 };
                // The upper bits tell of a checksum at the end of each frame.
                let link = Linktype(header.network.0 & 0x0fff_ffff);
                self.interfaces = vec![Interface { link, units, offset_seconds: 0 }];
            }
            PcapBlockOwned::Legacy(packet) => {
                let Some(&Interface { link, units, .. }) = self.interfaces.first() else { return };
                let fraction = u64::from(packet.ts_usec) * 1_000_000 / units;
                let us = i64::from(packet.ts_sec) * 1_000_000 + fraction as i64;
                // `caplen` may be less than the block's data.
                let len = packet.data.len().min(packet.caplen as usize);
                self.emit(Timestamp::from_micros(us), link, &packet.data[..len], each);
            }
            PcapBlockOwned::NG(Block::SectionHeader(_)) => self.interfaces.clear(),
            PcapBlockOwned::NG(Block::InterfaceDescription(interface))
                if self.interfaces.len() < MAX_INTERFACES =>
            {
                self.interfaces.push(Interface {
                    link: interface.linktype,
                    units: interface.ts_resolution().filter(|it| *it > 0).unwrap_or(1_000_000),
                    offset_seconds: interface.ts_offset(),
                });
            }
            PcapBlockOwned::NG(Block::EnhancedPacket(packet)) => {
                let interface = self.interfaces.get(packet.if_id as usize).copied();
                let Some(Interface { link, units, offset_seconds }) = interface else { return };
                let ticks = u128::from(packet.ts_high) << 32 | u128::from(packet.ts_low);
                let us = i64::try_from(ticks * 1_000_000 / u128::from(units)).unwrap_or(i64::MAX);
                let us = us.saturating_add(offset_seconds.saturating_mul(1_000_000));
                self.emit(Timestamp::from_micros(us), link, packet.packet_data(), each);
            }
            PcapBlockOwned::NG(Block::SimplePacket(packet)) => {
                let Some(&Interface { link, .. }) = self.interfaces.first() else { return };
                let len = packet.data.len().min(packet.origlen as usize);
                self.emit(self.last, link, &packet.data[..len], each);
            }
            PcapBlockOwned::NG(_) => {}
        }
    }

    fn emit(
        &mut self,
        at: Timestamp,
        link: Linktype,
        bytes: &[u8],
        each: &mut impl FnMut(Frame<'_>),
    ) {
        self.frames += 1;
        self.last = at;
        each(Frame { at, link, bytes });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pcap(magic: [u8; 4], frames: &[(u32, u32, &[u8])]) -> Vec<u8> {
        let is_big = magic[0] == 0xa1;
        let word = |value: u32| if is_big { value.to_be_bytes() } else { value.to_le_bytes() };
        let mut file = magic.to_vec();
        file.extend(if is_big { [0, 2, 0, 4] } else { [2, 0, 4, 0] });
        for value in [0, 0, 65_535, 1] {
            file.extend(word(value));
        }
        for (seconds, fraction, bytes) in frames {
            for value in [*seconds, *fraction, bytes.len() as u32, bytes.len() as u32] {
                file.extend(word(value));
            }
            file.extend(*bytes);
        }
        file
    }

    type Frames = Vec<(i64, Vec<u8>)>;

    fn read(file: &[u8]) -> (Result<u64, FileError>, Frames) {
        let mut frames = Vec::new();
        let result = read_frames(file, |frame| {
            frames.push((frame.at.as_micros(), frame.bytes.to_vec()));
        });
        (result, frames)
    }

    #[test]
    fn both_byte_orders_and_both_resolutions_give_the_same_times() {
        for (magic, fraction) in [
            ([0xd4, 0xc3, 0xb2, 0xa1], 500_000),
            ([0xa1, 0xb2, 0xc3, 0xd4], 500_000),
            ([0x4d, 0x3c, 0xb2, 0xa1], 500_000_000),
            ([0xa1, 0xb2, 0x3c, 0x4d], 500_000_000),
        ] {
            let file = pcap(magic, &[(7, fraction, b"one"), (8, 0, b"two")]);
            let (result, frames) = read(&file);
            assert_eq!(result, Ok(2), "{magic:x?}");
            let want = [(7_500_000, b"one".to_vec()), (8_000_000, b"two".to_vec())];
            assert_eq!(frames, want, "{magic:x?}");
        }
    }

    fn block(kind: u32, body: &[u8]) -> Vec<u8> {
        let padded = body.len().next_multiple_of(4);
        let total = (padded + 12) as u32;
        let mut block = [kind.to_le_bytes(), total.to_le_bytes()].concat();
        block.extend(body);
        block.resize(8 + padded, 0);
        block.extend(total.to_le_bytes());
        block
    }

    #[test]
    fn pcapng_keeps_each_interface_its_own_resolution() {
        let mut file = block(
            0x0a0d_0d0a,
            &[0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255],
        );
        // Ethernet in microseconds; raw IP in nanoseconds (if_tsresol 9).
        file.extend(block(1, &[1, 0, 0, 0, 0, 0, 4, 0]));
        file.extend(block(1, &[101, 0, 0, 0, 0, 0, 4, 0, 9, 0, 1, 0, 9, 0, 0, 0, 0, 0, 0, 0]));
        for (interface, ticks) in [(0_u32, 3_000_000_u64), (1, 4_000_000_000)] {
            let mut body = interface.to_le_bytes().to_vec();
            body.extend(((ticks >> 32) as u32).to_le_bytes());
            body.extend((ticks as u32).to_le_bytes());
            body.extend([5, 0, 0, 0, 5, 0, 0, 0]);
            body.extend(b"hello");
            file.extend(block(6, &body));
        }
        let mut frames = Vec::new();
        let result = read_frames(&file[..], |frame| {
            frames.push((frame.at.as_micros(), frame.link, frame.bytes.to_vec()));
        });
        assert_eq!(result, Ok(2));
        let hello = b"hello".to_vec();
        assert_eq!(
            frames,
            [(3_000_000, Linktype(1), hello.clone()), (4_000_000, Linktype(101), hello),]
        );
    }

    #[test]
    fn a_file_cut_off_anywhere_gives_the_whole_frames_before() {
        let file = pcap([0xd4, 0xc3, 0xb2, 0xa1], &[(1, 0, b"one"), (2, 0, b"two")]);
        for len in 24..file.len() {
            let (result, frames) = read(&file[..len]);
            assert_eq!(result, Ok(frames.len() as u64), "{len}");
            assert_eq!(frames.len(), usize::from(len >= 24 + 19), "{len}");
        }
    }

    #[test]
    fn what_is_no_capture_is_refused() {
        for bytes in [&b""[..], b"RIFF1234WAVE", &[0; 100], &[0xff; 3]] {
            assert_eq!(read(bytes).0, Err(FileError::NotACapture), "{bytes:?}");
        }
    }
}
