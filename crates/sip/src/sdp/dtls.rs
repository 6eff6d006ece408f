//! How a browser has its media protected: by DTLS (RFC 5763, RFC 8842) over a way found by ICE
//! (RFC 8839). The lines that say so, on the audio line and on the session.
//!
//! Belongs here: reading and writing the lines. Does not: the handshake, the checks, and who answers
//! what. We are ICE-lite (RFC 8445 §2.5): our one candidate is the very address of the audio line,
//! and the other side does the looking.

use std::fmt;

use sdp_types::Attribute;

use super::{MediaLine, Sdp, find, value};

/// What browsers write, and what they must be written (RFC 8829 §5.1.2).
pub const PROTOCOL: &str = "UDP/TLS/RTP/SAVPF";
/// The most fingerprints that are looked at.
const MAX_FINGERPRINTS: usize = 8;
/// The longest fragment of a user name, and password, that may be (RFC 8839 §5.4).
const MAX_CREDENTIAL: usize = 256;
/// That of a host's only address (RFC 8445 §5.1.2.2).
const PRIORITY: u32 = 2_130_706_431;

/// The attributes of this room. None of them is the other side's affair.
pub(super) const ATTRIBUTES: [&str; 15] = [
    "candidate",
    "end-of-candidates",
    "remote-candidates",
    "ice-ufrag",
    "ice-pwd",
    "ice-options",
    "ice-lite",
    "ice-mismatch",
    "rtcp-mux",
    "rtcp-mux-only",
    "fingerprint",
    "setup",
    "tls-id",
    "group",
    "mid",
];

/// The certificate that the writer will show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    /// The hash function's name, such as `sha-256`.
    pub hash: String,
    /// The hash.
    pub bytes: Vec<u8>,
}

impl Fingerprint {
    /// Reads the value of an `a=fingerprint` line (RFC 8122 §5).
    pub fn parse(value: &str) -> Option<Self> {
        let (hash, digits) = value.trim().split_once([' ', '\t'])?;
        let bytes = digits.trim().split(':').map(|byte| match byte.len() {
            2 => u8::from_str_radix(byte, 16).ok(),
            _ => None,
        });
        Some(Self { hash: hash.to_ascii_lowercase(), bytes: bytes.collect::<Option<_>>()? })
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.hash)?;
        for (byte, mark) in self.bytes.iter().zip([' '].into_iter().chain(std::iter::repeat(':'))) {
            write!(f, "{mark}{byte:02X}")?;
        }
        Ok(())
    }
}

/// Who begins the handshake, as the writer would have it (RFC 4145 §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setup {
    /// The writer.
    Active,
    /// The reader.
    Passive,
    /// Whoever the reader likes: what offers say.
    ActPass,
}

impl Setup {
    fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Passive => "passive",
            Self::ActPass => "actpass",
        }
    }

    fn parse(value: &str) -> Option<Self> {
        let all = [Self::Active, Self::Passive, Self::ActPass];
        all.into_iter().find(|setup| setup.as_str().eq_ignore_ascii_case(value.trim()))
    }
}

/// By what the writer's checks are known, and checks of the writer are signed.
#[derive(Clone, PartialEq, Eq)]
pub struct IceCredentials {
    /// The fragment of a user name.
    pub ufrag: String,
    /// The password. Never printed.
    pub pwd: String,
}

impl fmt::Debug for IceCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IceCredentials({})", self.ufrag)
    }
}

/// What we say of ourselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dtls {
    /// Of our certificate.
    pub fingerprint: Fingerprint,
    /// Who begins.
    pub setup: Setup,
    /// For the side's checks; `None` to a side that does none.
    pub ice: Option<IceCredentials>,
    /// The name of the audio line (RFC 5888); an answer repeats the offer's.
    pub mid: Option<String>,
    /// Whether RTCP comes to the port of RTP (RFC 5761).
    pub has_rtcp_mux: bool,
}

impl MediaLine {
    /// Whether its media is to be protected by keys from a DTLS handshake.
    pub fn is_dtls(&self) -> bool {
        self.protocol.to_ascii_uppercase().contains("TLS/RTP/SAVP")
    }
}

impl Sdp {
    /// The fingerprints that hold for the line [`Sdp::audio`] finds.
    pub fn fingerprints(&self) -> Vec<Fingerprint> {
        let of = |attributes: &[Attribute]| -> Vec<Fingerprint> {
            attributes
                .iter()
                .filter(|attribute| attribute.attribute.eq_ignore_ascii_case("fingerprint"))
                .take(MAX_FINGERPRINTS)
                .filter_map(|attribute| Fingerprint::parse(attribute.value.as_deref()?))
                .collect()
        };
        let found = self.audio_attributes().map(of).unwrap_or_default();
        if found.is_empty() { of(&self.session.attributes) } else { found }
    }

    /// Who is to begin the handshake; `None` if it is not said.
    pub fn setup(&self) -> Option<Setup> {
        self.audio_or_session("setup").and_then(Setup::parse)
    }

    /// The writer's ICE credentials, if it does ICE.
    pub fn ice(&self) -> Option<IceCredentials> {
        let of = |name| {
            let said = self.audio_or_session(name)?.trim();
            let is_whole = (1..=MAX_CREDENTIAL).contains(&said.len())
                && said.bytes().all(|it| it.is_ascii_alphanumeric() || matches!(it, b'+' | b'/'));
            is_whole.then(|| said.to_owned())
        };
        Some(IceCredentials { ufrag: of("ice-ufrag")?, pwd: of("ice-pwd")? })
    }

    /// The name of the line [`Sdp::audio`] finds.
    pub fn mid(&self) -> Option<String> {
        let mid = value(self.audio_attributes()?, "mid")?.trim();
        (!mid.is_empty()).then(|| mid.to_owned())
    }

    /// Has the audio line carried over `protocol` and protected as `dtls` says, whatever was said of
    /// it before.
    pub fn set_dtls(&mut self, protocol: &str, dtls: &Dtls) {
        let Some(audio) = self.audio() else { return };
        self.clear_protection(&audio);
        let media = &mut self.session.medias[audio.index];
        media.proto = protocol.to_owned();
        let lines = &mut media.attributes;
        lines.push(Attribute::with_value("fingerprint", &dtls.fingerprint));
        lines.push(Attribute::with_value("setup", dtls.setup.as_str()));
        if dtls.has_rtcp_mux {
            lines.push(Attribute::new("rtcp-mux"));
        }
        if let Some(mid) = &dtls.mid {
            lines.push(Attribute::with_value("mid", mid));
            let group = format!("BUNDLE {mid}");
            self.session.attributes.push(Attribute::with_value("group", group));
        }
        let Some((ice, rtp)) = dtls.ice.as_ref().zip(audio.rtp) else { return };
        lines.push(Attribute::with_value("ice-ufrag", &ice.ufrag));
        lines.push(Attribute::with_value("ice-pwd", &ice.pwd));
        let (ip, port) = (rtp.ip(), rtp.port());
        let candidate = format!("1 1 UDP {PRIORITY} {ip} {port} typ host");
        lines.push(Attribute::with_value("candidate", candidate));
        lines.push(Attribute::new("end-of-candidates"));
        self.session.attributes.push(Attribute::new("ice-lite"));
    }

    /// Takes out whatever says how the audio line is protected.
    pub(super) fn clear_protection(&mut self, audio: &MediaLine) {
        let is_kept = |attribute: &Attribute| {
            let mut names = ATTRIBUTES.iter().chain(&["crypto"]);
            !names.any(|name| attribute.attribute.eq_ignore_ascii_case(name))
        };
        self.session.attributes.retain(is_kept);
        self.session.medias[audio.index].attributes.retain(is_kept);
    }

    fn audio_attributes(&self) -> Option<&[Attribute]> {
        let audio = self.audio()?;
        Some(&self.session.medias[audio.index].attributes)
    }

    fn audio_or_session(&self, name: &str) -> Option<&str> {
        let own = self.audio_attributes().and_then(|attributes| find(attributes, name));
        own.or_else(|| find(&self.session.attributes, name))?.value.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sdp::Direction;

    /// As a browser offers a call: nothing is known of where it is but by ICE.
    const BROWSER: &str = "v=0\r\no=- 4611 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n\
        a=group:BUNDLE 0\r\na=extmap-allow-mixed\r\na=msid-semantic: WMS x\r\n\
        m=audio 9 UDP/TLS/RTP/SAVPF 111 0 8 110 126\r\nc=IN IP4 0.0.0.0\r\n\
        a=rtcp:9 IN IP4 0.0.0.0\r\na=ice-ufrag:Ab+/\r\na=ice-pwd:0123456789abcdefghijklmn\r\n\
        a=ice-options:trickle\r\na=fingerprint:sha-256 0A:ff:01\r\na=setup:actpass\r\na=mid:0\r\n\
        a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level\r\na=sendrecv\r\na=rtcp-mux\r\n\
        a=rtpmap:111 opus/48000/2\r\na=rtcp-fb:111 transport-cc\r\na=rtpmap:110 telephone-event/48000\r\n\
        a=rtpmap:126 telephone-event/8000\r\na=ssrc:1 cname:x\r\n";

    fn ours(setup: Setup) -> Dtls {
        Dtls {
            fingerprint: Fingerprint { hash: "sha-256".into(), bytes: vec![1, 0xab] },
            setup,
            ice: Some(IceCredentials { ufrag: "ours".into(), pwd: "secret".into() }),
            mid: Some("0".into()),
            has_rtcp_mux: true,
        }
    }

    fn text(sdp: &Sdp) -> String {
        String::from_utf8(sdp.to_bytes().to_vec()).unwrap()
    }

    #[test]
    fn what_a_browser_says_is_read() {
        let sdp = Sdp::parse(BROWSER.as_bytes()).unwrap();
        let audio = sdp.audio().unwrap();
        assert!(audio.is_dtls() && audio.is_secure() && !audio.is_plain_rtp());
        // An address of zeros is found out by ICE and no hold.
        assert_eq!(audio.direction, Direction::SendRecv);
        let want = Fingerprint { hash: "sha-256".into(), bytes: vec![0x0a, 0xff, 1] };
        assert_eq!(sdp.fingerprints(), [want]);
        assert_eq!((sdp.setup(), sdp.mid()), (Some(Setup::ActPass), Some("0".into())));
        let ice = sdp.ice().unwrap();
        assert_eq!((ice.ufrag.as_str(), ice.pwd.len()), ("Ab+/", 24));
    }

    #[test]
    fn what_stands_on_the_session_holds_for_the_line_that_says_nothing() {
        let body = "v=0\r\no=- 1 1 IN IP4 10.0.0.1\r\ns=-\r\nc=IN IP4 10.0.0.1\r\nt=0 0\r\n\
            a=fingerprint:SHA-256 01:02\r\na=setup:active\r\na=ice-ufrag:abcd\r\n\
            a=ice-pwd:0123456789abcdefghijkl\r\nm=audio 4 UDP/TLS/RTP/SAVP 8\r\na=setup:passive\r\n";
        let sdp = Sdp::parse(body.as_bytes()).unwrap();
        assert_eq!(sdp.fingerprints()[0].to_string(), "sha-256 01:02");
        assert_eq!(sdp.setup(), Some(Setup::Passive));
        assert_eq!(sdp.ice().unwrap().ufrag, "abcd");
    }

    #[test]
    fn what_is_written_reads_back_and_shows_no_password() {
        let mut sdp = Sdp::parse(
            b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n\
              m=audio 30000 RTP/AVP 8\r\na=crypto:1 X inline:AAAA\r\n",
        )
        .unwrap();
        for setup in [Setup::ActPass, Setup::Passive] {
            sdp.set_dtls(PROTOCOL, &ours(setup));
        }
        assert_eq!(
            text(&sdp),
            "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n\
             a=group:BUNDLE 0\r\na=ice-lite\r\nm=audio 30000 UDP/TLS/RTP/SAVPF 8\r\n\
             a=fingerprint:sha-256 01:AB\r\na=setup:passive\r\na=rtcp-mux\r\na=mid:0\r\n\
             a=ice-ufrag:ours\r\na=ice-pwd:secret\r\n\
             a=candidate:1 1 UDP 2130706431 192.0.2.1 30000 typ host\r\na=end-of-candidates\r\n"
        );
        let shown = format!("{sdp:?}");
        assert!(shown.contains("a=ice-pwd…") && !shown.contains("secret"), "{shown}");
        assert!(!format!("{:?}", ours(Setup::Active)).contains("secret"));
        sdp.set_crypto("RTP/AVP", &[]);
        assert!(!text(&sdp).contains("ice") && !text(&sdp).contains("fingerprint"));
    }

    #[test]
    fn to_a_plain_phone_nothing_of_it_is_passed_on() {
        let mut sdp = Sdp::parse(BROWSER.as_bytes()).unwrap();
        let address = "192.0.2.1".parse().unwrap();
        let origin = crate::sdp::Origin::new(7, address);
        let local = crate::sdp::LocalMedia { address, rtp_port: 30000, rtcp_port: 30001 };
        sdp.rewrite_audio(&origin, local);
        assert_eq!(
            text(&sdp),
            "v=0\r\no=- 7 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n\
             m=audio 30000 RTP/AVP 111 0 8 110 126\r\na=sendrecv\r\na=rtpmap:111 opus/48000/2\r\n\
             a=rtpmap:110 telephone-event/48000\r\na=rtpmap:126 telephone-event/8000\r\n"
        );
    }

    #[test]
    fn what_cannot_be_right_is_not_read() {
        for value in ["", "sha-256", "sha-256 1", "sha-256 0g", "sha-256 01:2", "sha-256 01::02"] {
            assert_eq!(Fingerprint::parse(value), None, "{value}");
        }
        let long = "a".repeat(257);
        for (ufrag, pwd) in [("", "abc"), ("a b", "abc"), (long.as_str(), "abc"), ("abc", "a:b")] {
            let body = BROWSER.replace("Ab+/", ufrag).replace("0123456789abcdefghijklmn", pwd);
            assert_eq!(Sdp::parse(body.as_bytes()).unwrap().ice(), None, "{ufrag} {pwd}");
        }
    }
}
