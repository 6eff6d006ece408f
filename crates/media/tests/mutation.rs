//! Damaged packets and files by the ten thousand: nothing panics, and nothing grows past what its
//! bytes can hold. The seed is fixed, so a failure is the same each time.
#![allow(clippy::unwrap_used)]

use std::io::Cursor;

use cheling_dice::Dice;
use cheling_media::codec::{Codec, PayloadFormat, PayloadMap};
use cheling_media::decoder::Decoder;
use cheling_media::dtls::{Association, Event, Identity, Role};
use cheling_media::dtmf::Event as Digit;
use cheling_media::g722;
use cheling_media::ogg_opus::{OggOpusReader, OggOpusWriter, OpusSettings};
use cheling_media::rtcp::reports;
use cheling_media::rtp::{DatagramKind, RtpHeader, RtpPacket, SequenceNumber, Ssrc, Timestamp};
use cheling_media::stun;
use cheling_media::wav::{Wav, WavFormat, WavReader};

/// Damaged octets are at most this many.
const LONGEST: usize = 8 << 10;

fn damaged(dice: &mut Dice, good: &[u8]) -> Vec<u8> {
    dice.damaged(good, &[], LONGEST)
}

fn rtp(payload_type: u8, payload: &[u8]) -> Vec<u8> {
    let header = RtpHeader {
        payload_type,
        marker: true,
        sequence_number: SequenceNumber(7),
        timestamp: Timestamp(160),
        ssrc: Ssrc(9),
    };
    let mut bytes = Vec::new();
    header.write(payload, &mut bytes).unwrap();
    bytes
}

#[test]
fn damaged_rtp_is_refused_or_read_within_its_bytes() {
    let mut dice = Dice::new(0x5eed_0001);
    // One plain, one with CSRCs, an extension and padding.
    let plain = rtp(8, &[0xd5; 160]);
    let mut rich = rtp(0, &[0xff; 40]);
    rich[0] = 0xb2;
    rich.splice(12..12, [0, 0, 0, 1, 0, 0, 0, 2, 0xbe, 0xde, 0, 1, 0x10, 0xff, 0, 0]);
    rich.extend([0, 0, 0, 4]);
    assert_eq!(RtpPacket::parse(&rich).unwrap().payload.len(), 40);
    let formats = PayloadMap::default();
    for n in 0..40_000 {
        let bytes = damaged(&mut dice, if n % 2 == 0 { &plain } else { &rich });
        DatagramKind::of(&bytes);
        let Ok(packet) = RtpPacket::parse(&bytes) else { continue };
        assert!(packet.payload.len() + 12 <= bytes.len());
        formats.format(packet.header.payload_type);
        Digit::parse(packet.payload);
    }
}

#[test]
fn damaged_rtcp_gives_few_reports_or_none() {
    let mut dice = Dice::new(0x5eed_0002);
    let mut good = vec![0x81, 200, 0, 12, 0, 0, 0, 1];
    good.extend([7; 44]);
    good.extend([0x80, 207, 0, 10, 0, 0, 0, 1, 7, 0, 0, 8, 0, 0, 0, 2]);
    good.extend([40; 28]);
    good.extend([0x81, 202, 0, 3, 0, 0, 0, 1, 1, 2, b'a', b'b', 0, 0, 0, 0]);
    good.extend([0x81, 203, 0, 1, 0, 0, 0, 1]);
    assert_eq!(reports(&good).len(), 4);
    for _ in 0..40_000 {
        assert!(reports(&damaged(&mut dice, &good)).len() <= 32);
    }
}

#[test]
fn a_damaged_check_is_refused_or_says_what_was_signed() {
    let mut dice = Dice::new(0x5eed_0003);
    let (name, password) = ("ours:theirs", "a password of enough letters");
    let good = stun::check([7; 12], name, password, stun::Candidate::Tried);
    let mut still_signed = 0;
    for _ in 0..40_000 {
        let bytes = damaged(&mut dice, &good);
        DatagramKind::of(&bytes);
        let Some(request) = stun::Request::read(&bytes) else { continue };
        assert!(request.error(401).len() <= 40);
        assert!(request.success("[2001:db8::1]:9".parse().unwrap(), None).len() <= 44);
        if request.is_signed_with(password) {
            still_signed += 1;
            assert_eq!(request.username(), Some(name.as_bytes()));
            assert!(!request.uses_candidate());
        }
    }
    assert!(still_signed > 0, "what comes behind the signature is not covered");
}

#[test]
fn damaged_handshakes_come_to_an_end() {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    let certificate = params.self_signed(&key).unwrap().der().to_vec();
    let identity = Identity::new(certificate, key.serialize_der()).unwrap();
    let mut dice = Dice::new(0x5eed_0004);
    #[allow(clippy::disallowed_methods)] // An instant to count from.
    let now = std::time::Instant::now();
    for role in [Role::Server, Role::Client] {
        for _ in 0..30 {
            let theirs = || identity.fingerprint().clone();
            let mut hurt = Association::new(&identity, role, theirs(), now);
            let other = if role == Role::Server { Role::Client } else { Role::Server };
            let mut honest = Association::new(&identity, other, theirs(), now);
            let mut said = 0;
            for _ in 0..20 {
                while let Some(event) = honest.poll() {
                    let Event::Send(datagram) = event else { continue };
                    said += 1;
                    hurt.receive(now, &damaged(&mut dice, &datagram));
                }
                while let Some(event) = hurt.poll() {
                    match event {
                        Event::Send(datagram) => honest.receive(now, &datagram),
                        Event::Agreed(_) => assert!(hurt.is_agreed()),
                        Event::Failed(_) => {}
                    }
                }
            }
            assert!((1..200).contains(&said), "{said} datagrams");
        }
    }
}

/// Good payloads of each codec that is decoded.
fn payloads() -> Vec<(PayloadFormat, Vec<Vec<u8>>)> {
    let tone: Vec<i16> =
        (0..9600).map(|n| (f64::from(n) * 0.11).sin() * 8000.0).map(|s| s as i16).collect();
    let mut g722 = g722::Encoder::default();
    let mut opus =
        opus::Encoder::new(48_000, opus::Channels::Stereo, opus::Application::Voip).unwrap();
    opus.set_inband_fec(true).unwrap();
    opus.set_packet_loss_perc(20).unwrap();
    let format = |name: &str, clock_rate_hz, channels| PayloadFormat {
        codec: Codec::named(name, channels),
        clock_rate_hz,
    };
    let bytes = |samples: &[i16]| samples.iter().map(|&sample| sample as u8).collect::<Vec<_>>();
    let mut found = vec![
        (format("PCMA", 8000, 1), tone.chunks(160).map(bytes).collect::<Vec<_>>()),
        (format("PCMU", 8000, 1), tone.chunks(160).map(bytes).collect()),
        (format("L16", 16_000, 1), tone.chunks(640).map(bytes).collect()),
        (format("L16", 44_100, 2), tone.chunks(640).map(bytes).collect()),
        (
            format("G722", 8000, 1),
            tone.chunks(320)
                .map(|frame| {
                    let mut payload = Vec::new();
                    g722.encode(frame, &mut payload);
                    payload
                })
                .collect(),
        ),
        (
            format("GSM", 8000, 1),
            include_bytes!("fixtures/sweep.gsm").chunks(33).map(<[u8]>::to_vec).collect(),
        ),
        (
            format("opus", 48_000, 2),
            tone.chunks(1920).map(|frame| opus.encode_vec(frame, 1275).unwrap()).collect(),
        ),
    ];
    if cfg!(feature = "g729-amr") {
        found.push((format("G729", 8000, 1), tone.chunks(20).map(bytes).collect()));
        found.push((format("AMR", 8000, 1), vec![[&[0xf0, 0x3c][..], &[0x55; 31]].concat()]));
        found.push((format("AMR-WB", 16_000, 1), vec![[&[0xf0, 0x44][..], &[0x55; 60]].concat()]));
    }
    found
}

#[test]
fn damaged_payloads_make_no_more_samples_than_they_may() {
    let mut dice = Dice::new(0x5eed_0003);
    for (format, good) in payloads() {
        let mut decoder = Decoder::new(&format).unwrap();
        let mut pcm = Vec::new();
        for n in 0..1500 {
            let bytes = match n % 10 {
                0 => dice.octets(0..=400),
                1 => good[dice.below(good.len())].clone(),
                _ => {
                    let which = dice.below(good.len());
                    damaged(&mut dice, &good[which])
                }
            };
            pcm.clear();
            if n % 7 == 0 {
                decoder.recover(dice.below(5) as u64, &bytes, &mut pcm);
                assert!(pcm.len() <= 2880, "{format:?}: {} made up", pcm.len());
                pcm.clear();
            }
            decoder.decode(&bytes, &mut pcm);
            // 120 ms of Opus come of one byte; G.729 and AMR of two.
            let most = (160 * (bytes.len() + 1)).max(5760);
            assert!(pcm.len() <= most, "{format:?}: {} of {}", pcm.len(), bytes.len());
        }
        // It still decodes what is whole.
        pcm.clear();
        good.iter().for_each(|payload| decoder.decode(payload, &mut pcm));
        assert!(!pcm.is_empty(), "{format:?}");
    }
}

#[test]
fn damaged_files_end_and_are_no_longer_than_their_bytes() {
    let mut dice = Dice::new(0x5eed_0004);
    let samples: Vec<i16> = (0..8000).map(|n| (n * 37 % 9000) as i16).collect();
    let mut wav = Vec::new();
    let format = WavFormat { channels: 2, rate_hz: 8000 };
    Wav { format, samples: samples.clone() }.write(&mut wav).unwrap();
    let settings = OpusSettings::default();
    let mut writer = OggOpusWriter::new(Vec::new(), 8000, settings, 1, &[("A", "b")]).unwrap();
    writer.write(&samples).unwrap();
    let opus = writer.finish().unwrap();
    let mut out = Vec::new();
    for _ in 0..3000 {
        out.clear();
        // Mostly the header is of interest.
        let mut bytes = damaged(&mut dice, &wav[..64]);
        bytes.extend(&wav[64..]);
        if let Ok(mut reader) = WavReader::new(bytes.as_slice()) {
            while reader.read(&mut out).is_ok_and(|is_more| is_more) {}
            assert!(2 * out.len() <= bytes.len());
        }
    }
    for _ in 0..500 {
        out.clear();
        let bytes = damaged(&mut dice, &opus);
        if let Ok(mut reader) = OggOpusReader::new(Cursor::new(&bytes), 8000) {
            while reader.read(&mut out).is_ok_and(|is_more| is_more) {}
            assert!(out.len() <= 2 * 960 * bytes.len());
        }
    }
}
