//! Ogg Opus files (RFC 7845) of two lanes: at 24 kbit/s about 11 MB an hour.
//!
//! Each lane is a mono stream of its own in every packet (channel mapping family 1, two streams,
//! none coupled: RFC 7845 §5.1.1.2). One stereo stream would be coded as middle and side at these
//! bitrates, and a loud lane be heard in the other; so it is not heard at all.

use std::io::{self, Read, Seek, Write};

use ogg::{OggReadError, PacketReader, PacketWriteEndInfo, PacketWriter};
use opus::{Application, Bitrate, MSDecoder, MSEncoder, Signal};

/// Granule positions tick at 48 kHz whatever the input (RFC 7845 §4).
const GRANULES_HZ: u32 = 48_000;

/// Granules of one packet (20 ms).
const FRAME_GRANULES: u64 = GRANULES_HZ as u64 / 50;

/// The longest packet that is read (120 ms), in samples of 48 kHz.
const MAX_FRAME_SAMPLES: usize = 5760;

/// Packets of one page: one second, so that a player seeks to the second.
const PAGE_PACKETS: u64 = 50;

/// The largest packet of 20 ms: two streams of 1275 bytes (RFC 6716 §3.4) and the length of the
/// first.
const MAX_PACKET_BYTES: usize = 2 * 1275 + 2;

/// Which decoded channel is left, which right.
const MAPPING: [u8; 2] = [0, 1];

/// How much is spent on encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpusSettings {
    /// Bits a second for both lanes together.
    pub bitrate_bps: i32,
    /// 0 to 10: CPU against quality.
    pub complexity: i32,
}

impl Default for OpusSettings {
    fn default() -> Self {
        Self { bitrate_bps: 24_000, complexity: 3 }
    }
}

/// Writes one Ogg Opus stream.
pub struct OggOpusWriter<W: Write> {
    pages: PacketWriter<'static, W>,
    encoder: MSEncoder,
    serial: u32,
    pre_skip: u64,
    /// Granules of one sample.
    ratio: u64,
    /// Interleaved samples of one packet.
    frame_samples: usize,
    /// Input not yet a whole packet.
    pending: Vec<i16>,
    /// The packet before; held back because the last one must say that it is.
    held: Option<Vec<u8>>,
    packets: u64,
    frames: u64,
}

impl<W: Write> OggOpusWriter<W> {
    /// Writes the two header packets; `tags` become comments (`CALL_ID`, …).
    ///
    /// `rate_hz` is 8000, 12 000, 16 000, 24 000 or 48 000. `serial` names the logical stream; any
    /// number does for a file of one stream.
    ///
    /// # Errors
    /// What `out` or the encoder reports.
    pub fn new(
        out: W,
        rate_hz: u32,
        settings: OpusSettings,
        serial: u32,
        tags: &[(&str, &str)],
    ) -> io::Result<Self> {
        let mut encoder = MSEncoder::new(rate_hz, 2, 0, &MAPPING, Application::Voip)
            .and_then(|mut encoder| {
                encoder.set_bitrate(Bitrate::Bits(settings.bitrate_bps.clamp(6_000, 256_000)))?;
                encoder.set_complexity(settings.complexity.clamp(0, 10))?;
                encoder.set_signal(Signal::Voice)?;
                Ok(encoder)
            })
            .map_err(io::Error::other)?;
        let lookahead = encoder.get_lookahead().map_err(io::Error::other)?;
        let ratio = u64::from(GRANULES_HZ / rate_hz);
        let pre_skip = u64::try_from(lookahead).unwrap_or(0) * ratio;
        let frame_samples = rate_hz as usize / 50 * 2;
        let mut pages = PacketWriter::new(out);
        pages.write_packet(head(pre_skip, rate_hz), serial, PacketWriteEndInfo::EndPage, 0)?;
        pages.write_packet(comments(tags), serial, PacketWriteEndInfo::EndPage, 0)?;
        Ok(Self {
            pages,
            encoder,
            serial,
            pre_skip,
            ratio,
            frame_samples,
            pending: Vec::with_capacity(frame_samples),
            held: None,
            packets: 0,
            frames: 0,
        })
    }

    /// Encodes interleaved samples: left, right, left, right.
    ///
    /// # Errors
    /// What the writer or the encoder reports.
    pub fn write(&mut self, mut samples: &[i16]) -> io::Result<()> {
        self.frames += samples.len() as u64 / 2;
        if !self.pending.is_empty() {
            let missing = (self.frame_samples - self.pending.len()).min(samples.len());
            self.pending.extend_from_slice(&samples[..missing]);
            samples = &samples[missing..];
            if self.pending.len() < self.frame_samples {
                return Ok(());
            }
            let frame = std::mem::take(&mut self.pending);
            self.encode(&frame)?;
            self.pending = frame;
            self.pending.clear();
        }
        let mut frames = samples.chunks_exact(self.frame_samples);
        for frame in &mut frames {
            self.encode(frame)?;
        }
        self.pending.extend_from_slice(frames.remainder());
        Ok(())
    }

    fn encode(&mut self, frame: &[i16]) -> io::Result<()> {
        let mut packet = vec![0; MAX_PACKET_BYTES];
        let len = self.encoder.encode(frame, &mut packet).map_err(io::Error::other)?;
        packet.truncate(len);
        if let Some(before) = self.held.replace(packet) {
            self.packets += 1;
            let granule = self.packets * FRAME_GRANULES;
            let end = if self.packets.is_multiple_of(PAGE_PACKETS) {
                PacketWriteEndInfo::EndPage
            } else {
                PacketWriteEndInfo::NormalPacket
            };
            self.pages.write_packet(before, self.serial, end, granule)?;
        }
        Ok(())
    }

    /// Writes what the encoder still holds, ends the stream at the exact length and returns the
    /// writer below.
    ///
    /// # Errors
    /// What the writer or the encoder reports.
    pub fn finish(mut self) -> io::Result<W> {
        // The last sample leaves the encoder only when as much more has gone in as it looks ahead.
        let end = self.pre_skip + self.frames * self.ratio;
        let mut encoded = (self.packets + u64::from(self.held.is_some())) * FRAME_GRANULES;
        while encoded < end || self.held.is_none() {
            let mut frame = std::mem::take(&mut self.pending);
            frame.resize(self.frame_samples, 0);
            self.encode(&frame)?;
            encoded += FRAME_GRANULES;
        }
        if let Some(last) = self.held.take() {
            self.pages.write_packet(last, self.serial, PacketWriteEndInfo::EndStream, end)?;
        }
        let mut out = self.pages.into_inner();
        out.flush()?;
        Ok(out)
    }
}

/// The identification header (RFC 7845 §5.1): family 1, two streams, none of them coupled.
fn head(pre_skip: u64, rate_hz: u32) -> Vec<u8> {
    let mut bytes = b"OpusHead\x01\x02".to_vec();
    bytes.extend((pre_skip as u16).to_le_bytes());
    bytes.extend(rate_hz.to_le_bytes());
    bytes.extend([0, 0, 1, 2, 0]);
    bytes.extend(MAPPING);
    bytes
}

/// The comment header (RFC 7845 §5.2).
fn comments(tags: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = b"OpusTags".to_vec();
    let mut text = |text: &str| {
        bytes.extend((text.len() as u32).to_le_bytes());
        bytes.extend(text.as_bytes());
    };
    text(opus::version());
    bytes.extend((tags.len() as u32).to_le_bytes());
    for (key, value) in tags {
        let comment = format!("{key}={value}");
        bytes.extend((comment.len() as u32).to_le_bytes());
        bytes.extend(comment.as_bytes());
    }
    bytes
}

/// Reads a file of two channels, a packet at a time: of two mono streams, as the writer makes it,
/// or of one stereo stream.
pub struct OggOpusReader<R: Read + Seek> {
    packets: PacketReader<R>,
    decoder: MSDecoder,
    /// Granules of one sample.
    ratio: u64,
    /// Samples of each lane still to be left out at the start.
    skip: u64,
    /// Samples of each lane decoded, and of them given out.
    decoded: u64,
    has_ended: bool,
    frame: Vec<i16>,
}

impl<R: Read + Seek> OggOpusReader<R> {
    /// Reads the two headers; samples will be of `rate_hz`, which Opus must know.
    ///
    /// # Errors
    /// What `from` reports, or `InvalidData` if this is no stereo Ogg Opus file.
    pub fn new(from: R, rate_hz: u32) -> io::Result<Self> {
        let mut packets = PacketReader::new(from);
        let head = packets.read_packet_expected().map_err(read_error)?.data;
        let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what);
        let Some((b"OpusHead\x01\x02", rest)) = head.split_first_chunk::<10>() else {
            return Err(invalid("no stereo Ogg Opus file"));
        };
        let (streams, coupled, mapping) = match rest[..] {
            [_, _, _, _, _, _, _, _, 0, ..] => (1, 1, MAPPING),
            [_, _, _, _, _, _, _, _, 1, streams, coupled, left, right, ..] => {
                (streams, coupled, [left, right])
            }
            _ => return Err(invalid("the Opus header is too short or of an unknown mapping")),
        };
        let [low, high] = [rest[0], rest[1]];
        packets.read_packet_expected().map_err(read_error)?;
        let decoder = MSDecoder::new(rate_hz, streams, coupled, &mapping)
            .map_err(|err| invalid(&format!("the Opus header's streams: {err}")))?;
        let ratio = u64::from(GRANULES_HZ / rate_hz).max(1);
        Ok(Self {
            packets,
            decoder,
            ratio,
            skip: u64::from(u16::from_le_bytes([low, high])) / ratio,
            decoded: 0,
            has_ended: false,
            frame: vec![0; 2 * MAX_FRAME_SAMPLES],
        })
    }

    /// Appends the interleaved samples of the next packet to `out`; false at the end.
    ///
    /// # Errors
    /// What the reader reports; `InvalidData` for a packet that cannot be decoded, and
    /// `UnexpectedEof` if the file ends before its stream does.
    pub fn read(&mut self, out: &mut Vec<i16>) -> io::Result<bool> {
        if self.has_ended {
            return Ok(false);
        }
        let Some(packet) = self.packets.read_packet().map_err(read_error)? else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        let invalid = |err| io::Error::new(io::ErrorKind::InvalidData, err);
        let len = self.decoder.decode(&packet.data, &mut self.frame, false).map_err(invalid)?;
        let mut end = self.decoded + len as u64;
        if packet.last_in_stream() {
            // The last granule says where the sound ends within the last packet.
            end = end.min(packet.absgp_page() / self.ratio);
            self.has_ended = true;
        }
        let from = self.skip.max(self.decoded).min(end);
        let first = (from - self.decoded) as usize;
        let last = (end.max(self.decoded) - self.decoded) as usize;
        out.extend_from_slice(&self.frame[2 * first.min(last)..2 * last]);
        self.decoded += len as u64;
        Ok(true)
    }
}

fn read_error(err: OggReadError) -> io::Error {
    match err {
        OggReadError::ReadError(err) => err,
        err => io::Error::new(io::ErrorKind::InvalidData, err.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    /// Decodes a file by its own account: pre-skip cut off, length by the last granule.
    fn decode(bytes: Vec<u8>) -> (Vec<[i16; 2]>, String) {
        let mut reader = ogg::PacketReader::new(Cursor::new(bytes));
        let head = reader.read_packet_expected().unwrap().data;
        assert_eq!(&head[..10], b"OpusHead\x01\x02");
        let pre_skip = usize::from(u16::from_le_bytes([head[10], head[11]]));
        let tags = reader.read_packet_expected().unwrap().data;
        assert_eq!(head[18..], [1, 2, 0, 0, 1]);
        let mut decoder = MSDecoder::new(48_000, 2, 0, &MAPPING).unwrap();
        let mut samples = Vec::new();
        let mut last_granule = 0;
        let mut has_ended = false;
        while let Some(packet) = reader.read_packet().unwrap() {
            assert!(!has_ended);
            let mut out = vec![0; 2 * 5760];
            let len = decoder.decode(&packet.data, &mut out, false).unwrap();
            samples.extend(out[..2 * len].chunks_exact(2).map(|pair| [pair[0], pair[1]]));
            (last_granule, has_ended) = (packet.absgp_page(), packet.last_in_stream());
        }
        assert!(has_ended, "the last page ends the stream");
        assert!(samples.len() >= last_granule as usize, "granule beyond what was encoded");
        samples.truncate(last_granule as usize);
        (samples.split_off(pre_skip), String::from_utf8_lossy(&tags).into_owned())
    }

    fn power(samples: &[[i16; 2]], lane: usize, hz: f64) -> f64 {
        let (mut re, mut im) = (0.0, 0.0);
        for (n, sample) in samples.iter().enumerate() {
            let angle = n as f64 * hz * std::f64::consts::TAU / 48_000.0;
            re += f64::from(sample[lane]) * angle.cos();
            im += f64::from(sample[lane]) * angle.sin();
        }
        (re * re + im * im).sqrt() / samples.len() as f64
    }

    #[test]
    fn lanes_length_and_tags_survive() {
        for frames in [1, 159, 160, 8000, 24_001_usize] {
            let samples: Vec<i16> = (0..frames)
                .flat_map(|n| {
                    let at = n as f64 * std::f64::consts::TAU / 8000.0;
                    [(8000.0 * (at * 440.0).sin()) as i16, (8000.0 * (at * 1000.0).sin()) as i16]
                })
                .collect();
            let tags = [("CALL_ID", "0199")];
            let mut writer =
                OggOpusWriter::new(Vec::new(), 8000, OpusSettings::default(), 7, &tags).unwrap();
            for chunk in samples.chunks(334) {
                writer.write(chunk).unwrap();
            }
            let (decoded, tags) = decode(writer.finish().unwrap());
            assert_eq!(decoded.len(), frames * 6, "{frames}");
            assert!(tags.contains("CALL_ID=0199"));
            if frames > 8000 {
                assert!(power(&decoded, 0, 440.0) > 3000.0 && power(&decoded, 1, 1000.0) > 3000.0);
                assert!(power(&decoded, 0, 1000.0) < 40.0 && power(&decoded, 1, 440.0) < 40.0);
            }
        }
    }

    /// Something like speech: a buzz with formants that comes and goes.
    fn speech(pitch_hz: f64, n: usize) -> i16 {
        let at = n as f64 / 8000.0;
        let buzz: f64 = (1..18)
            .map(|harmonic| {
                let hz = pitch_hz * f64::from(harmonic);
                let formant = (-((hz - 700.0) / 400.0).powi(2)).exp()
                    + 0.5 * (-((hz - 1900.0) / 500.0).powi(2)).exp();
                formant * (hz * at * std::f64::consts::TAU).sin()
            })
            .sum();
        let syllable = (at * 4.0 * std::f64::consts::TAU).sin().max(0.0);
        (6000.0 * syllable * buzz).clamp(-30_000.0, 30_000.0) as i16
    }

    fn encoded(lanes: [&dyn Fn(usize) -> i16; 2], bitrate_bps: i32) -> Vec<[i16; 2]> {
        let samples: Vec<i16> = (0..24_000).flat_map(|n| [lanes[0](n), lanes[1](n)]).collect();
        let settings = OpusSettings { bitrate_bps, ..OpusSettings::default() };
        let mut writer = OggOpusWriter::new(Vec::new(), 8000, settings, 7, &[]).unwrap();
        writer.write(&samples).unwrap();
        decode(writer.finish().unwrap()).0
    }

    #[test]
    fn nothing_of_a_lane_is_heard_in_the_other() {
        let rms = |samples: &[[i16; 2]], lane: usize| {
            let sum: f64 = samples.iter().map(|pair| f64::from(pair[lane]).powi(2)).sum();
            (sum / samples.len() as f64).sqrt()
        };
        let woman = |n| speech(210.0, n);
        let man = |n| speech(110.0, n);
        for bitrate_bps in [16_000, 24_000, 32_000] {
            let both = encoded([&woman, &man], bitrate_bps);
            let alone = encoded([&woman, &|_| 0], bitrate_bps);
            assert!(rms(&both, 0) > 1000.0 && rms(&both, 1) > 1000.0);
            // 40 dB below the loud lane there must be nothing of it in the silent one.
            assert!(rms(&alone, 1) * 100.0 < rms(&alone, 0), "{bitrate_bps}");
            // And what is heard of a lane does not depend on the other one at all.
            assert!(both.iter().zip(&alone).all(|(both, alone)| both[0] == alone[0]));
        }
    }

    #[test]
    fn a_file_of_one_stereo_stream_is_read_too() {
        let mut encoder =
            opus::Encoder::new(8000, opus::Channels::Stereo, Application::Voip).unwrap();
        let mut pages = PacketWriter::new(Vec::new());
        let mut family_0 = head(0, 8000);
        family_0.truncate(18);
        family_0.push(0);
        for header in [family_0, comments(&[])] {
            pages.write_packet(header, 1, PacketWriteEndInfo::EndPage, 0).unwrap();
        }
        let packet = encoder.encode_vec(&[500; 320], 1000).unwrap();
        pages.write_packet(packet, 1, PacketWriteEndInfo::EndStream, 960).unwrap();
        let bytes = pages.into_inner();
        let mut reader = OggOpusReader::new(Cursor::new(&bytes), 8000).unwrap();
        let mut back = Vec::new();
        assert!(reader.read(&mut back).unwrap() && !reader.read(&mut back).unwrap());
        assert_eq!(back.len(), 320);
        for (at, byte) in [(18, 255), (18, 3), (19, 0), (20, 3), (21, 9)] {
            let mut header = head(0, 8000);
            header[at] = byte;
            let mut pages = PacketWriter::new(Vec::new());
            for header in [header, comments(&[])] {
                pages.write_packet(header, 1, PacketWriteEndInfo::EndPage, 0).unwrap();
            }
            let reader = OggOpusReader::new(Cursor::new(pages.into_inner()), 8000);
            assert!(reader.is_err(), "{at} {byte}");
        }
    }

    #[test]
    fn an_empty_call_is_a_valid_file() {
        let writer = OggOpusWriter::new(Vec::new(), 8000, OpusSettings::default(), 1, &[]).unwrap();
        assert!(decode(writer.finish().unwrap()).0.is_empty());
    }

    #[test]
    fn every_rate_reads_back_at_its_length() {
        for rate_hz in [8000, 16_000, 48_000_u32] {
            for frames in [1, rate_hz as usize / 50, rate_hz as usize + 7] {
                let at = |n: usize| n as f64 * 440.0 * std::f64::consts::TAU / f64::from(rate_hz);
                let samples: Vec<i16> =
                    (0..frames).flat_map(|n| [(8000.0 * at(n).sin()) as i16, 0]).collect();
                let settings = OpusSettings::default();
                let mut writer = OggOpusWriter::new(Vec::new(), rate_hz, settings, 1, &[]).unwrap();
                writer.write(&samples).unwrap();
                let bytes = writer.finish().unwrap();
                let mut reader = OggOpusReader::new(Cursor::new(&bytes), rate_hz).unwrap();
                let mut back = Vec::new();
                while reader.read(&mut back).unwrap() {}
                assert_eq!(back.len(), samples.len(), "{rate_hz} Hz, {frames}");
                let torn = Cursor::new(&bytes[..bytes.len() - 20]);
                if let Ok(mut reader) = OggOpusReader::new(torn, rate_hz) {
                    let end = loop {
                        match reader.read(&mut back) {
                            Ok(true) => {}
                            end => break end,
                        }
                    };
                    assert!(end.is_err(), "a torn file is no file");
                }
            }
        }
        assert!(OggOpusReader::new(Cursor::new(b"RIFF...."), 8000).is_err());
    }
}
