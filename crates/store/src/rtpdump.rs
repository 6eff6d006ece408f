//! Keeps packets that cannot be decoded, in the `rtpdump` format that rtptools and Wireshark read.
//!
//! ```text
//! "#!rtpplay1.0 0.0.0.0/0\n" · u32 start seconds · u32 start microseconds · u32 0 · u16 0 · u16 0
//! packet: u16 length with these eight bytes · u16 length of the packet · u32 ms since start · RTP
//! ```
//! Big endian. Encrypted or unknown audio is better kept so than decoded to noise.

use std::io::{self, Write};

use cheling_model::Timestamp;

/// Writes one direction of a call.
#[derive(Debug)]
pub struct RtpDump<W> {
    out: W,
    started_at: Timestamp,
}

impl<W: Write> RtpDump<W> {
    /// Writes the file's header.
    ///
    /// # Errors
    /// What `out` reports.
    pub fn new(mut out: W, started_at: Timestamp) -> io::Result<Self> {
        let us = started_at.as_micros().max(0) as u64;
        out.write_all(b"#!rtpplay1.0 0.0.0.0/0\n")?;
        out.write_all(&((us / 1_000_000) as u32).to_be_bytes())?;
        out.write_all(&((us % 1_000_000) as u32).to_be_bytes())?;
        out.write_all(&[0; 8])?;
        Ok(Self { out, started_at })
    }

    /// Writes one packet; one too long for the format is left out.
    ///
    /// # Errors
    /// What the writer reports.
    pub fn write(&mut self, at: Timestamp, packet: &[u8]) -> io::Result<()> {
        let Ok(len) = u16::try_from(packet.len() + 8) else { return Ok(()) };
        let ms = at.since(self.started_at).as_millis();
        self.out.write_all(&len.to_be_bytes())?;
        self.out.write_all(&(len - 8).to_be_bytes())?;
        self.out.write_all(&u32::try_from(ms).unwrap_or(u32::MAX).to_be_bytes())?;
        self.out.write_all(packet)
    }

    /// The writer below.
    pub fn into_inner(self) -> W {
        self.out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_is_rtpdumps() {
        let mut dump = RtpDump::new(Vec::new(), Timestamp::from_micros(3_000_007)).unwrap();
        dump.write(Timestamp::from_micros(3_021_007), &[0x80, 9]).unwrap();
        let bytes = dump.into_inner();
        assert!(bytes.starts_with(b"#!rtpplay1.0 0.0.0.0/0\n\0\0\0\x03\0\0\0\x07\0\0\0\0\0\0\0\0"));
        assert!(bytes.ends_with(b"\0\x0a\0\x02\0\0\0\x15\x80\x09"));
    }
}
