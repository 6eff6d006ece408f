//! SRTP and SRTCP (RFC 3711, RFC 7714): opens the packets of one sender, seals packets for one
//! receiver.
//!
//! Belongs here: master keys as the two ends of a stream share them, the state of each stream
//! (roll-over counter, replay window), and what makes a packet refused. Does not: how keys are
//! agreed on (`sip::sdp::crypto`), which packet goes where.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use rtc_rtp::header::{Extension, Header};
use rtc_srtp::context::Context;
use rtc_srtp::crypto::{RTCCryptoProvider, default_provider};
use rtc_srtp::option::{srtcp_replay_protection, srtp_replay_protection};
use rtc_srtp::protection_profile::ProtectionProfile;

/// Packets by which one may come late and still be taken (RFC 3711 §3.3.2 asks for 64 at least).
const REPLAY_WINDOW_PACKETS: usize = 128;
/// Streams of one sender that are kept apart; the one that has been silent longest gives way.
const MAX_STREAMS: usize = 8;
/// Streams that are sealed with one key: a gateway may begin a new one with every announcement.
const MAX_SEALED_STREAMS: usize = 256;
/// Packets of unknown streams that may fail on one trial context before a fresh one is made: what
/// the context remembers of forged streams is bounded by it.
const TRIALS_PER_CONTEXT: u8 = 32;
/// The longest master key and salt: AES-256 with a GCM salt.
const MAX_KEY_BYTES: usize = 32 + 12;

/// How packets are encrypted and authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Suite {
    /// AES-128 counter mode, 80-bit HMAC-SHA1 tag (RFC 4568 §6.2.1).
    AesCm128HmacSha1Tag80,
    /// AES-128 counter mode, 32-bit HMAC-SHA1 tag on RTP, 80-bit on RTCP (RFC 4568 §6.2.2).
    AesCm128HmacSha1Tag32,
    /// AES-128 in Galois/counter mode (RFC 7714).
    AeadAes128Gcm,
    /// AES-256 in Galois/counter mode (RFC 7714).
    AeadAes256Gcm,
}

impl Suite {
    /// All of them, those that cost least and protect well first.
    pub const ALL: [Self; 4] = [
        Self::AeadAes128Gcm,
        Self::AesCm128HmacSha1Tag80,
        Self::AesCm128HmacSha1Tag32,
        Self::AeadAes256Gcm,
    ];

    /// Its name in a session description (RFC 4568 §10.3.2.1, RFC 7714 §14.2).
    pub fn name(self) -> &'static str {
        match self {
            Self::AesCm128HmacSha1Tag80 => "AES_CM_128_HMAC_SHA1_80",
            Self::AesCm128HmacSha1Tag32 => "AES_CM_128_HMAC_SHA1_32",
            Self::AeadAes128Gcm => "AEAD_AES_128_GCM",
            Self::AeadAes256Gcm => "AEAD_AES_256_GCM",
        }
    }

    /// The suite of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|suite| suite.name().eq_ignore_ascii_case(name))
    }

    /// Bytes of the master key and the master salt after it.
    pub fn key_bytes(self) -> usize {
        self.profile().key_len() + self.profile().salt_len()
    }

    /// Bytes of the master salt alone.
    pub fn salt_bytes(self) -> usize {
        self.profile().salt_len()
    }

    /// Bytes that an RTP packet grows by.
    pub fn tag_bytes(self) -> usize {
        self.profile().rtp_auth_tag_len() + self.profile().aead_auth_tag_len()
    }

    /// Whether an SRTCP packet bears the mark of encryption (RFC 3711 §3.4). We never agree to
    /// anything else, and the library takes a packet without the mark unseen.
    fn says_encrypted(self, packet: &[u8]) -> bool {
        let index = packet.len().checked_sub(self.profile().rtcp_auth_tag_len() + 4);
        index.and_then(|at| packet.get(at)).is_some_and(|byte| byte & 0x80 != 0)
    }

    fn profile(self) -> ProtectionProfile {
        match self {
            Self::AesCm128HmacSha1Tag80 => ProtectionProfile::Aes128CmHmacSha1_80,
            Self::AesCm128HmacSha1Tag32 => ProtectionProfile::Aes128CmHmacSha1_32,
            Self::AeadAes128Gcm => ProtectionProfile::AeadAes128Gcm,
            Self::AeadAes256Gcm => ProtectionProfile::AeadAes256Gcm,
        }
    }
}

/// The master key and salt with which one side sends. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct MasterKey {
    suite: Suite,
    bytes: [u8; MAX_KEY_BYTES],
    mki_bytes: u8,
}

impl MasterKey {
    /// A key of this suite: the master key, the salt after it. `None` if the length is not the
    /// suite's.
    pub fn new(suite: Suite, key_and_salt: &[u8]) -> Option<Self> {
        if key_and_salt.len() != suite.key_bytes() {
            return None;
        }
        let mut bytes = [0; MAX_KEY_BYTES];
        bytes[..key_and_salt.len()].copy_from_slice(key_and_salt);
        Some(Self { suite, bytes, mki_bytes: 0 })
    }

    /// The same key for packets that name it by an identifier of so many bytes (RFC 3711 §3.1).
    /// There is one key, so the identifier is passed over.
    pub fn with_mki(self, mki_bytes: u8) -> Self {
        Self { mki_bytes, ..self }
    }

    /// Its suite.
    pub fn suite(&self) -> Suite {
        self.suite
    }

    /// The master key and the salt after it, to be written into a session description.
    pub fn key_and_salt(&self) -> &[u8] {
        &self.bytes[..self.suite.key_bytes()]
    }

    fn context(&self, provider: &dyn RTCCryptoProvider, use_of: Use) -> Option<Context> {
        let profile = self.suite.profile();
        let (key, salt) = self.key_and_salt().split_at(profile.key_len());
        let (rtp, rtcp) = match use_of {
            Use::Open => (
                Some(srtp_replay_protection(REPLAY_WINDOW_PACKETS)),
                Some(srtcp_replay_protection(REPLAY_WINDOW_PACKETS)),
            ),
            Use::Seal => (None, None),
        };
        Context::new(key, salt, profile, rtp, rtcp, provider.crypto()).ok()
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MasterKey({})", self.suite.name())
    }
}

#[derive(Clone, Copy)]
enum Use {
    Open,
    Seal,
}

/// What a protected packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// RTP.
    Rtp,
    /// RTCP.
    Rtcp,
}

/// Why a packet was not opened or sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SrtpError {
    /// Its tag is wrong, it came before, it is too short, or it is no packet at all.
    #[error("the packet is forged, repeated or not SRTP")]
    Refused,
    /// The keys cannot be used by the library.
    #[error("SRTP keys cannot be used")]
    Keys,
}

/// Opens what one side sends.
pub struct Opener {
    key: MasterKey,
    provider: Arc<dyn RTCCryptoProvider>,
    /// Those that have shown a packet of theirs, the last heard last.
    streams: Vec<(u32, Context)>,
    trial: Context,
    trials: u8,
}

impl Opener {
    /// Opens what is sent with `key`.
    ///
    /// # Errors
    /// [`SrtpError::Keys`] if the library refuses the key.
    pub fn new(key: MasterKey) -> Result<Self, SrtpError> {
        let provider = default_provider().map_err(|_| SrtpError::Keys)?;
        let trial = key.context(&*provider, Use::Open).ok_or(SrtpError::Keys)?;
        Ok(Self { key, provider, streams: Vec::new(), trial, trials: 0 })
    }

    /// Tells whether it opens what is sent with `key`.
    pub fn is_of(&self, key: &MasterKey) -> bool {
        self.key == *key
    }

    /// Authenticates and decrypts one packet in place, and says how long it is then.
    ///
    /// # Errors
    /// [`SrtpError::Refused`] if it is not the sender's, or came before.
    pub fn open(&mut self, kind: Kind, packet: &mut [u8]) -> Result<usize, SrtpError> {
        let len = self.without_mki(kind, packet).ok_or(SrtpError::Refused)?;
        let ssrc = ssrc(kind, packet).ok_or(SrtpError::Refused)?;
        let known = self.streams.iter().rposition(|(of, _)| *of == ssrc);
        let context = match known {
            Some(at) => &mut self.streams[at].1,
            None => &mut self.trial,
        };
        let packet_of = &packet[..len];
        let opened = match kind {
            Kind::Rtp => {
                let header = header(packet_of).ok_or(SrtpError::Refused)?;
                context.decrypt_rtp_with_header(packet_of, &header)
            }
            Kind::Rtcp if !self.key.suite.says_encrypted(packet_of) => {
                return Err(SrtpError::Refused);
            }
            Kind::Rtcp => context.decrypt_rtcp(packet_of),
        };
        match opened {
            Ok(opened) if opened.len() <= packet.len() => {
                packet[..opened.len()].copy_from_slice(&opened);
                if known.is_none() {
                    self.keep(ssrc)?;
                }
                Ok(opened.len())
            }
            _ => {
                if known.is_none() {
                    self.trials += 1;
                    if self.trials >= TRIALS_PER_CONTEXT {
                        self.renew()?;
                    }
                }
                Err(SrtpError::Refused)
            }
        }
    }

    /// The trial context has opened a packet: it is that stream's from now on.
    fn keep(&mut self, ssrc: u32) -> Result<(), SrtpError> {
        let context = self.renew()?;
        if self.streams.len() >= MAX_STREAMS {
            self.streams.remove(0);
        }
        self.streams.push((ssrc, context));
        Ok(())
    }

    fn renew(&mut self) -> Result<Context, SrtpError> {
        let fresh = self.key.context(&*self.provider, Use::Open).ok_or(SrtpError::Keys)?;
        self.trials = 0;
        Ok(std::mem::replace(&mut self.trial, fresh))
    }

    /// Takes the key identifier out of the packet (RFC 3711 §3.1, RFC 7714 §8.1 and §9): it stands
    /// before the tag of HMAC-SHA1, and last with AES-GCM. The length without it.
    fn without_mki(&self, kind: Kind, packet: &mut [u8]) -> Option<usize> {
        let mki = usize::from(self.key.mki_bytes);
        let profile = self.key.suite.profile();
        let tag = match kind {
            Kind::Rtp => profile.rtp_auth_tag_len(),
            Kind::Rtcp => profile.rtcp_auth_tag_len(),
        };
        let end = packet.len().checked_sub(tag + mki)?;
        if mki > 0 {
            packet.copy_within(end + mki.., end);
        }
        Some(packet.len() - mki)
    }
}

impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opener").field("key", &self.key).finish_non_exhaustive()
    }
}

/// Seals what we send to one side.
pub struct Sealer {
    key: MasterKey,
    provider: Arc<dyn RTCCryptoProvider>,
    streams: Vec<(u32, Context)>,
}

impl Sealer {
    /// Seals with `key`.
    ///
    /// # Errors
    /// [`SrtpError::Keys`] if the library refuses the key.
    pub fn new(key: MasterKey) -> Result<Self, SrtpError> {
        let provider = default_provider().map_err(|_| SrtpError::Keys)?;
        key.context(&*provider, Use::Seal).ok_or(SrtpError::Keys)?;
        Ok(Self { key, provider, streams: Vec::new() })
    }

    /// Encrypts one packet and puts its tag behind it.
    ///
    /// # Errors
    /// [`SrtpError::Refused`] if it is no RTP or RTCP packet, or the sender's stream has used up
    /// its 2^48 packets. [`SrtpError::Keys`] if there are more streams than may be sealed with one
    /// key: forgetting one would let its key stream be used twice.
    pub fn seal(&mut self, kind: Kind, packet: &[u8]) -> Result<impl AsRef<[u8]>, SrtpError> {
        let ssrc = ssrc(kind, packet).ok_or(SrtpError::Refused)?;
        let at = match self.streams.iter().rposition(|(of, _)| *of == ssrc) {
            Some(at) => at,
            None => {
                if self.streams.len() >= MAX_SEALED_STREAMS {
                    return Err(SrtpError::Keys);
                }
                let fresh = self.key.context(&*self.provider, Use::Seal).ok_or(SrtpError::Keys)?;
                self.streams.push((ssrc, fresh));
                self.streams.len() - 1
            }
        };
        let context = &mut self.streams[at].1;
        match kind {
            Kind::Rtp => {
                let header = header(packet).ok_or(SrtpError::Refused)?;
                context.encrypt_rtp_with_header(packet, &header)
            }
            Kind::Rtcp => context.encrypt_rtcp(packet),
        }
        .map_err(|_| SrtpError::Refused)
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer").field("key", &self.key).finish_non_exhaustive()
    }
}

/// The most that a header extension may hold (RFC 3550 §5.3.1); speech has a few bytes at most.
static EXTENSION: [u8; 1500] = [0; 1500];

/// What the library must know of an RTP header. Its own reader takes extensions apart and may then
/// see another length than the header has; here the extension is one piece of the right length.
fn header(packet: &[u8]) -> Option<Header> {
    let (first, rest) = packet.split_first_chunk::<12>()?;
    let sources = usize::from(first[0] & 0x0f);
    let rest = rest.get(4 * sources..)?;
    let mut extensions = Vec::new();
    let extension = first[0] & 0x10 != 0;
    if extension {
        let (words, rest) = rest.split_first_chunk::<4>()?;
        let len = 4 * usize::from(u16::from_be_bytes([words[2], words[3]]));
        rest.get(..len)?;
        extensions.push(Extension { id: 0, payload: Bytes::from_static(EXTENSION.get(..len)?) });
    }
    Some(Header {
        version: 2,
        extension,
        sequence_number: u16::from_be_bytes([first[2], first[3]]),
        ssrc: ssrc(Kind::Rtp, packet)?,
        csrc: vec![0; sources],
        extensions,
        ..Header::default()
    })
}

fn ssrc(kind: Kind, packet: &[u8]) -> Option<u32> {
    let at = match kind {
        Kind::Rtp => 8,
        Kind::Rtcp => 4,
    };
    let bytes = packet.get(at..at + 4)?;
    Some(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(suite: Suite, seed: u8) -> MasterKey {
        let bytes: Vec<u8> = (0..suite.key_bytes()).map(|at| seed ^ at as u8).collect();
        MasterKey::new(suite, &bytes).unwrap()
    }

    fn rtp(sequence_number: u16, ssrc: u32) -> Vec<u8> {
        let mut packet = vec![0x80, 8];
        packet.extend(sequence_number.to_be_bytes());
        packet.extend(u32::from(sequence_number).to_be_bytes());
        packet.extend(ssrc.to_be_bytes());
        packet.extend([0xd5; 160]);
        packet
    }

    fn rtcp(ssrc: u32) -> Vec<u8> {
        let mut packet = vec![0x81, 201, 0, 7];
        packet.extend(ssrc.to_be_bytes());
        packet.extend([0x11; 24]);
        packet
    }

    fn sealed(sealer: &mut Sealer, kind: Kind, packet: &[u8]) -> Vec<u8> {
        sealer.seal(kind, packet).unwrap().as_ref().to_vec()
    }

    fn opened(opener: &mut Opener, kind: Kind, packet: &[u8]) -> Result<Vec<u8>, SrtpError> {
        let mut packet = packet.to_vec();
        let len = opener.open(kind, &mut packet)?;
        packet.truncate(len);
        Ok(packet)
    }

    fn unhex(text: &str) -> Vec<u8> {
        let text: String = text.split_whitespace().collect();
        (0..text.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
            .collect()
    }

    /// What libsrtp's own test seals (`test/srtp_driver.c`, `srtp_validate`): RFC 3711 has no
    /// vector of a whole packet.
    #[test]
    fn the_packet_of_libsrtp_is_sealed_as_libsrtp_does() {
        let master = unhex("e1f97a0d3e018be0d64fa32c06de4139 0ec675ad498afeebb6960b3aabe6");
        let master = MasterKey::new(Suite::AesCm128HmacSha1Tag80, &master).unwrap();
        let plain = unhex("800f1234decafbadcafebabe abababababababababababababababab");
        let want =
            unhex("800f1234decafbadcafebabe 4e55dc4ce79978d88ca4d215949d2402 b78d6acc99ea179b8dbb");
        assert_eq!(sealed(&mut Sealer::new(master.clone()).unwrap(), Kind::Rtp, &plain), want);
        assert_eq!(opened(&mut Opener::new(master).unwrap(), Kind::Rtp, &want), Ok(plain));
    }

    #[test]
    fn what_is_sealed_opens_with_the_same_key_and_no_other() {
        for suite in Suite::ALL {
            let mut sealer = Sealer::new(key(suite, 1)).unwrap();
            let mut opener = Opener::new(key(suite, 1)).unwrap();
            let mut stranger = Opener::new(key(suite, 2)).unwrap();
            for (kind, packet) in [(Kind::Rtp, rtp(7, 9)), (Kind::Rtcp, rtcp(9))] {
                let protected = sealed(&mut sealer, kind, &packet);
                assert_ne!(protected[8..packet.len()], packet[8..], "{suite:?} {kind:?}");
                assert_eq!(opened(&mut stranger, kind, &protected), Err(SrtpError::Refused));
                let mut changed = protected.clone();
                changed[1] ^= 1;
                assert_eq!(opened(&mut opener, kind, &changed), Err(SrtpError::Refused));
                assert_eq!(opened(&mut opener, kind, &protected), Ok(packet), "{suite:?} {kind:?}");
                assert_eq!(opened(&mut opener, kind, &protected), Err(SrtpError::Refused));
            }
            assert_eq!(suite.tag_bytes(), sealed(&mut sealer, Kind::Rtp, &rtp(8, 9)).len() - 172);
        }
    }

    #[test]
    fn the_roll_over_counter_follows_two_cycles_with_loss_and_reordering() {
        let suite = Suite::AeadAes128Gcm;
        let mut sealer = Sealer::new(key(suite, 1)).unwrap();
        let mut opener = Opener::new(key(suite, 1)).unwrap();
        let mut held = None;
        for number in 65_000_u32..65_000 + 2 * 65_536 {
            let packet = rtp(number as u16, 5);
            let protected = sealed(&mut sealer, Kind::Rtp, &packet);
            match number % 7 {
                3 => held = Some((packet, protected)), // comes two packets late
                5 => {
                    let (packet, protected) = held.take().unwrap_or((packet, protected));
                    assert_eq!(opened(&mut opener, Kind::Rtp, &protected), Ok(packet), "{number}");
                }
                6 => {} // lost
                _ => assert_eq!(opened(&mut opener, Kind::Rtp, &protected), Ok(packet), "{number}"),
            }
        }
    }

    #[test]
    fn forged_streams_leave_nothing_behind_and_do_not_harm_the_true_one() {
        let suite = Suite::AesCm128HmacSha1Tag80;
        let mut sealer = Sealer::new(key(suite, 1)).unwrap();
        let mut opener = Opener::new(key(suite, 1)).unwrap();
        for number in 0..1_000 {
            let forged = rtp(number, 1_000_000 + u32::from(number));
            assert_eq!(opened(&mut opener, Kind::Rtp, &forged), Err(SrtpError::Refused));
            let packet = rtp(number, 5);
            let protected = sealed(&mut sealer, Kind::Rtp, &packet);
            assert_eq!(opened(&mut opener, Kind::Rtp, &protected), Ok(packet));
        }
        assert_eq!(opener.streams.len(), 1);
    }

    #[test]
    fn a_key_identifier_is_passed_over() {
        for suite in Suite::ALL {
            let mut sealer = Sealer::new(key(suite, 1)).unwrap();
            let mut opener = Opener::new(key(suite, 1).with_mki(4)).unwrap();
            for (kind, packet) in [(Kind::Rtp, rtp(7, 9)), (Kind::Rtcp, rtcp(9))] {
                let mut protected = sealed(&mut sealer, kind, &packet);
                let profile = suite.profile();
                let tag = match kind {
                    Kind::Rtp => profile.rtp_auth_tag_len(),
                    Kind::Rtcp => profile.rtcp_auth_tag_len(),
                };
                let at = protected.len() - tag;
                protected.splice(at..at, [0, 0, 0, 1]);
                assert_eq!(opened(&mut opener, kind, &protected), Ok(packet), "{suite:?} {kind:?}");
            }
        }
    }

    #[test]
    fn headers_with_extensions_and_sources_go_through_whatever_is_in_them() {
        let extensions: [&[u8]; 5] = [
            &[0xbe, 0xde, 0, 1, 0x10, 7, 0, 0],
            &[0xbe, 0xde, 0, 1, 0xf0, 0, 0, 0], // the reserved id
            &[0xbe, 0xde, 0, 1, 0x1f, 0, 0, 0], // longer than its block
            &[0x10, 0x00, 0, 1, 0x01, 0xff, 0, 0],
            &[0xab, 0xcd, 0, 0],
        ];
        for suite in Suite::ALL {
            let mut sealer = Sealer::new(key(suite, 1)).unwrap();
            let mut opener = Opener::new(key(suite, 1)).unwrap();
            for (extension, number) in extensions.into_iter().zip(1..) {
                for payload in [&[][..], &[1], &[7; 160]] {
                    let mut packet = rtp(number * 10 + payload.len() as u16 % 7, 3);
                    packet.truncate(12);
                    packet[0] |= 0x12;
                    packet.extend([9; 8]);
                    packet.extend_from_slice(extension);
                    let header_bytes = packet.len();
                    packet.extend_from_slice(payload);
                    let protected = sealed(&mut sealer, Kind::Rtp, &packet);
                    assert_eq!(protected[..header_bytes], packet[..header_bytes], "{extension:x?}");
                    assert_eq!(opened(&mut opener, Kind::Rtp, &protected), Ok(packet));
                }
            }
            let mut cut = rtp(900, 3);
            cut.truncate(14);
            cut[0] |= 0x10;
            assert!(sealer.seal(Kind::Rtp, &cut).is_err());
        }
    }

    #[test]
    fn rtcp_that_is_not_marked_as_encrypted_is_refused() {
        for suite in Suite::ALL {
            let mut packet = rtcp(9);
            packet.extend([0, 0, 0, 1]);
            packet.extend([0; 16]);
            let mut opener = Opener::new(key(suite, 1)).unwrap();
            assert_eq!(opened(&mut opener, Kind::Rtcp, &packet), Err(SrtpError::Refused));
        }
    }

    #[test]
    fn short_packets_are_refused() {
        for suite in Suite::ALL {
            let mut opener = Opener::new(key(suite, 1).with_mki(2)).unwrap();
            let whole = rtp(1, 1);
            for len in 0..48 {
                for kind in [Kind::Rtp, Kind::Rtcp] {
                    let packet = &whole[..len];
                    assert_eq!(opened(&mut opener, kind, packet), Err(SrtpError::Refused), "{len}");
                }
            }
        }
    }

    #[test]
    fn a_key_does_not_show() {
        let text = format!("{:?}", key(Suite::AeadAes256Gcm, 0xab));
        assert_eq!(text, "MasterKey(AEAD_AES_256_GCM)");
    }
}
