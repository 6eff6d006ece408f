//! What must hold for any octets whatever: nothing panics, and nothing grows beyond what its input
//! can hold.
//!
//! One function per fuzz target. `tests/fuzz_targets.rs` of the crate includes this file and runs
//! the same functions over mutations of the same seeds, so that they hold where no fuzzer is
//! installed.

use cheling_media::codec::{Codec, PayloadFormat, PayloadMap};
use cheling_media::decoder::Decoder;
use cheling_media::dtmf::Event;
use cheling_media::rtcp::reports;
use cheling_media::rtp::{DatagramKind, RtpPacket};
use cheling_media::srtp::{Kind, MasterKey, Opener, Sealer, Suite};

/// Panics if what must hold does not.
pub type Check = fn(&[u8]);

/// The targets by name.
pub const TARGETS: [(&str, Check); 6] = [
    ("rtp", rtp),
    ("rtcp", rtcp),
    ("srtp", srtp),
    ("opus", opus),
    ("g729", g729),
    ("payload", payload),
];

/// The most reports that are taken of one RTCP datagram.
const MOST_REPORTS: usize = 32;
/// Packets of one stream that are decoded.
const MOST_PACKETS: usize = 64;

/// One datagram of RTP: read within its bytes, and written so that it reads the same.
pub fn rtp(octets: &[u8]) {
    let _ = DatagramKind::of(octets);
    let Ok(packet) = RtpPacket::parse(octets) else { return };
    assert!(packet.payload.len() + 12 <= octets.len());
    let formats = PayloadMap::default();
    let format = formats.format(packet.header.payload_type);
    let noise = format.codec.comfort_noise(packet.payload);
    assert!(noise.is_none_or(|noise| noise.level_db <= 0.0));
    if let Some(event) = Event::parse(packet.payload) {
        assert!(event.volume < 64);
    }
    let mut written = Vec::new();
    if packet.header.write(packet.payload, &mut written).is_ok() {
        let again = RtpPacket::parse(&written).expect("what was written reads back");
        assert_eq!((again.header, again.payload), (packet.header, packet.payload));
    }
}

/// One datagram of RTCP.
pub fn rtcp(octets: &[u8]) {
    assert!(reports(octets).len() <= MOST_REPORTS);
}

/// A suite, and packets that say they are protected by it: they are refused, or become shorter.
/// What is sealed opens to what it was.
pub fn srtp(octets: &[u8]) {
    let Some((first, octets)) = octets.split_first() else { return };
    let suite = Suite::ALL[usize::from(*first) % Suite::ALL.len()];
    let kind = if first & 0x80 == 0 { Kind::Rtp } else { Kind::Rtcp };
    let key = MasterKey::new(suite, &vec![7; suite.key_bytes()]).expect("as long as it must be");
    let key = key.with_mki(first >> 2 & 7);
    let (mut opener, plain_key) = (Opener::new(key.clone()).expect("a good key"), key.with_mki(0));
    for packet in packets(octets) {
        let mut bytes = packet.to_vec();
        if let Ok(len) = opener.open(kind, &mut bytes) {
            assert!(len <= packet.len());
        }
    }
    let mut sealer = Sealer::new(plain_key.clone()).expect("a good key");
    let mut opener = Opener::new(plain_key).expect("a good key");
    for packet in packets(octets) {
        let Ok(sealed) = sealer.seal(kind, packet) else { continue };
        let mut sealed = sealed.as_ref().to_vec();
        assert!(sealed.len() <= packet.len() + 32);
        if let Ok(len) = opener.open(kind, &mut sealed) {
            assert_eq!(&sealed[..len], packet);
        }
    }
}

/// A stream of Opus, its packets one after another.
pub fn opus(octets: &[u8]) {
    stream("opus", 48_000, 2, octets, |_| 5760);
}

/// A stream of G.729 with silence descriptors, where there is a decoder of it.
pub fn g729(octets: &[u8]) {
    stream("G729", 8000, 1, octets, |bytes| 80 * bytes.div_ceil(2));
}

/// Which of the other codecs, and a stream of it.
pub fn payload(octets: &[u8]) {
    let Some((first, octets)) = octets.split_first() else { return };
    let (name, clock_rate_hz, channels) = [
        ("PCMA", 8000, 1),
        ("PCMU", 8000, 1),
        ("G722", 8000, 1),
        ("GSM", 8000, 1),
        ("L16", 16_000, 1),
        ("L16", 44_100, 2),
        ("AMR", 8000, 1),
        ("AMR-WB", 16_000, 1),
        ("iLBC", 8000, 1),
    ][usize::from(*first) % 9];
    stream(name, clock_rate_hz, channels, octets, |bytes| (160 * (bytes + 1)).max(5760));
}

fn stream(name: &str, clock_rate_hz: u32, channels: u8, octets: &[u8], most: fn(usize) -> usize) {
    let format = PayloadFormat { codec: Codec::named(name, channels), clock_rate_hz };
    let Some(mut decoder) = Decoder::new(&format) else { return };
    let mut pcm = Vec::new();
    for (n, packet) in packets(octets).enumerate() {
        pcm.clear();
        if n % 5 == 4 {
            decoder.recover(n as u64 % 4, packet, &mut pcm);
            assert!(pcm.len() <= 2880, "{name}: {} made up", pcm.len());
            pcm.clear();
        }
        decoder.decode(packet, &mut pcm);
        assert!(pcm.len() <= most(packet.len()), "{name}: {} of {}", pcm.len(), packet.len());
        let _ = decoder.ends_in_silence(packet);
    }
}

/// Packets with their length before each in two bytes, big endian; the last as long as there is.
fn packets(octets: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = octets;
    let next = move || {
        let (length, after) = rest.split_first_chunk::<2>()?;
        let length = usize::from(u16::from_be_bytes(*length)).min(after.len());
        let (packet, after) = after.split_at(length);
        rest = after;
        Some(packet)
    };
    std::iter::from_fn(next).take(MOST_PACKETS)
}
