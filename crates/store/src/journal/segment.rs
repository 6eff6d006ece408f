//! One file of the journal.
//!
//! Little endian throughout:
//!
//! ```text
//! header: 4 bytes "CLJL" · u32 version · u64 segment number
//! record: u32 length of the body · u32 CRC-32 of all that follows in the record
//!         · u8 kind · 3 zero bytes · 16 bytes call id · body
//! ```
//! The body is tap frames (media), a JSON `TapEvent` (event), JSON `Gap` (gap), or empty (done).
//! A record is whole if its checksum is right; the end of the last segment may be torn.
//!
//! Versions: 2 is written, and 1 is read too. In 1 a tap frame's byte of lane and voice holds the
//! lane alone, which 2 reads as voice 0; a reader that knows only 1 leaves segments of 2 where they
//! are instead of making recordings that lack voices.

use std::path::{Path, PathBuf};

use cheling_model::CallId;
use uuid::Uuid;

const MAGIC: [u8; 4] = *b"CLJL";
const VERSION: u32 = 2;

/// The oldest version that is read.
const OLDEST_VERSION: u32 = 1;

/// Bytes before the first record.
pub const SEGMENT_HEADER_BYTES: usize = 16;
/// Bytes of a record before its body.
pub const RECORD_HEADER_BYTES: usize = 28;
/// The largest body; a length above it is damage.
pub const MAX_BODY_BYTES: usize = 16 << 20;

/// What a record holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum RecordKind {
    /// Frames of one call's packets.
    Media = 1,
    /// One event.
    Event = 2,
    /// The call may be forgotten.
    Done = 3,
    /// Media of the call was not kept from here on.
    Gap = 4,
}

impl RecordKind {
    fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Media),
            2 => Some(Self::Event),
            3 => Some(Self::Done),
            4 => Some(Self::Gap),
            _ => None,
        }
    }
}

/// The path of a segment.
pub fn segment_path(folder: &Path, number: u32) -> PathBuf {
    folder.join(format!("{number:010}.journal"))
}

/// The number of a segment, if `path` is one.
pub fn segment_number(path: &Path) -> Option<u32> {
    let name = path.file_name()?.to_str()?.strip_suffix(".journal")?;
    name.parse().ok()
}

/// The header of a segment.
pub fn segment_header(number: u32) -> [u8; SEGMENT_HEADER_BYTES] {
    let mut header = [0; SEGMENT_HEADER_BYTES];
    header[..4].copy_from_slice(&MAGIC);
    header[4..8].copy_from_slice(&VERSION.to_le_bytes());
    header[8..].copy_from_slice(&u64::from(number).to_le_bytes());
    header
}

/// Appends one record to `out`.
pub fn append_record(out: &mut Vec<u8>, kind: RecordKind, call_id: CallId, body: &[u8]) {
    let start = out.len();
    out.extend_from_slice(&(body.len() as u32).to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&[kind as u8, 0, 0, 0]);
    out.extend_from_slice(call_id.0.as_bytes());
    out.extend_from_slice(body);
    let checksum = crc32fast::hash(&out[start + 8..]);
    out[start + 4..start + 8].copy_from_slice(&checksum.to_le_bytes());
}

/// One record as it lies in a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// What it holds.
    pub kind: RecordKind,
    /// Whose it is.
    pub call_id: CallId,
    /// What follows its header.
    pub body: &'a [u8],
}

/// Why bytes are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordError {
    /// They end inside it, or its length is beyond reason.
    Torn,
    /// Its checksum is wrong, or its kind unknown; the next one may begin `bytes` further on.
    Damaged {
        /// Length of the damaged record.
        bytes: usize,
    },
}

impl<'a> Record<'a> {
    /// Reads the record at the start of `bytes`, and its length.
    pub fn parse(bytes: &'a [u8]) -> Result<(Self, usize), RecordError> {
        let (head, rest) =
            bytes.split_first_chunk::<RECORD_HEADER_BYTES>().ok_or(RecordError::Torn)?;
        let body_bytes = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
        if body_bytes > MAX_BODY_BYTES {
            return Err(RecordError::Torn);
        }
        let body = rest.get(..body_bytes).ok_or(RecordError::Torn)?;
        let len = RECORD_HEADER_BYTES + body_bytes;
        let damaged = RecordError::Damaged { bytes: len };
        let checksum = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
        if crc32fast::hash(&bytes[8..len]) != checksum {
            return Err(damaged);
        }
        let kind = RecordKind::from_byte(head[8]).ok_or(damaged)?;
        let mut id = [0; 16];
        id.copy_from_slice(&head[12..28]);
        Ok((Self { kind, call_id: CallId(Uuid::from_bytes(id)), body }, len))
    }
}

/// What was found in a segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// Bytes up to the end of the last whole record.
    pub whole_bytes: u64,
    /// Bytes after it: a torn end.
    pub torn_bytes: u64,
    /// Records in between that are damaged.
    pub damaged_records: u64,
    /// The header is of a version we read.
    pub has_header: bool,
}

/// Walks the records of a segment, giving each with its offset.
pub fn scan(bytes: &[u8], mut each: impl FnMut(u64, Record<'_>)) -> Scan {
    let mut found = Scan { torn_bytes: bytes.len() as u64, ..Scan::default() };
    if !has_our_header(bytes) {
        return found;
    }
    found.has_header = true;
    found.whole_bytes = SEGMENT_HEADER_BYTES as u64;
    let mut at = SEGMENT_HEADER_BYTES;
    let mut damaged = 0;
    while at < bytes.len() {
        match Record::parse(&bytes[at..]) {
            Ok((record, len)) => {
                each(at as u64, record);
                at += len;
                // Damage before a whole record is damage; at the end it is a torn write.
                found.damaged_records += std::mem::take(&mut damaged);
                found.whole_bytes = at as u64;
            }
            Err(RecordError::Damaged { bytes }) => {
                damaged += 1;
                at += bytes;
            }
            Err(RecordError::Torn) => break,
        }
    }
    found.torn_bytes = bytes.len() as u64 - found.whole_bytes;
    found
}

fn has_our_header(bytes: &[u8]) -> bool {
    let Some(header) = bytes.first_chunk::<SEGMENT_HEADER_BYTES>() else { return false };
    let version = u32::from_le_bytes([header[4], header[5], header[6], header[7]]);
    header[..4] == MAGIC && (OLDEST_VERSION..=VERSION).contains(&version)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(n: u128) -> CallId {
        CallId(Uuid::from_u128(n))
    }

    fn three_records() -> (Vec<u8>, Vec<usize>) {
        let mut bytes = segment_header(9).to_vec();
        let mut ends = vec![bytes.len()];
        for (n, body) in [(1, &b"first"[..]), (2, b""), (3, b"the third one")] {
            append_record(&mut bytes, RecordKind::Media, call(n), body);
            ends.push(bytes.len());
        }
        (bytes, ends)
    }

    #[test]
    fn a_segment_torn_at_any_byte_keeps_every_whole_record() {
        let (bytes, ends) = three_records();
        for len in 0..=bytes.len() {
            let mut seen = 0;
            let found = scan(&bytes[..len], |_, _| seen += 1);
            let whole = ends.iter().filter(|&&end| end <= len).count();
            assert_eq!(seen, whole.saturating_sub(1), "{len}");
            let whole_bytes = if whole == 0 { 0 } else { ends[whole - 1] };
            assert_eq!(found.whole_bytes, whole_bytes as u64, "{len}");
            assert_eq!(found.torn_bytes, (len - whole_bytes) as u64, "{len}");
        }
    }

    #[test]
    fn a_flipped_bit_costs_one_record_at_most() {
        let (bytes, ends) = three_records();
        for at in ends[0]..bytes.len() {
            let mut bytes = bytes.clone();
            bytes[at] ^= 0x10;
            let mut seen = Vec::new();
            scan(&bytes, |_, record| seen.push((record.call_id, record.body.to_vec())));
            let hit = ends.iter().filter(|&&end| end <= at).count() - 1;
            // A wrong length may swallow what follows it, but never invents a record.
            let is_length = at - ends[hit] < 4;
            assert!(seen.len() == 2 || is_length && seen.len() <= 2, "{at}: {seen:?}");
        }
    }

    #[test]
    fn the_version_before_is_read_and_the_one_after_is_left_alone() {
        for (version, is_read) in [(0_u32, false), (1, true), (2, true), (3, false)] {
            let (mut bytes, _) = three_records();
            bytes[4..8].copy_from_slice(&version.to_le_bytes());
            let mut seen = 0;
            let found = scan(&bytes, |_, _| seen += 1);
            assert_eq!((found.has_header, seen), (is_read, if is_read { 3 } else { 0 }));
        }
    }

    proptest::proptest! {
        #[test]
        fn random_bytes_are_no_records(tail in proptest::collection::vec(proptest::num::u8::ANY, 0..400)) {
            let mut bytes = segment_header(1).to_vec();
            bytes.extend(tail);
            let found = scan(&bytes, |_, _| {});
            proptest::prop_assert_eq!(found.whole_bytes, SEGMENT_HEADER_BYTES as u64);
        }
    }

    #[test]
    fn names_and_numbers_go_both_ways() {
        let path = segment_path(Path::new("j"), 42);
        assert_eq!(path, Path::new("j/0000000042.journal"));
        assert_eq!(segment_number(&path), Some(42));
        for name in ["j/42.wav", "j/x.journal", "j/.journal", "j/99999999999.journal"] {
            assert_eq!(segment_number(Path::new(name)), None, "{name}");
        }
    }
}
