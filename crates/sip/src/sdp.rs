//! Session descriptions (RFC 8866) as a B2BUA reads them: where media goes, in which direction,
//! in which formats. Rewriting them is in [`rewrite`].
//!
//! Tolerant over `sdp-types`: GBK in `s=`, LF line ends, missing lines.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use sdp_types::{Attribute, Connection, Media, Session};

use crate::text;

pub mod crypto;
pub mod dtls;
pub mod rewrite;

pub use crypto::Crypto;
pub use dtls::{Dtls, IceCredentials};
pub use rewrite::{LocalMedia, Origin};

/// The Content-Type of a session description.
pub const CONTENT_TYPE: &str = "application/sdp";
/// The most m-lines we look at.
pub const MAX_MEDIA: usize = 32;
/// The most lines that are read. A browser's description has some two hundred.
pub const MAX_LINES: usize = 2048;
/// The longest description that is read: it is to be sent on in one datagram, with our header.
pub const MAX_BYTES: usize = 60 * 1024;

/// A session description.
#[derive(Clone, PartialEq, Eq)]
pub struct Sdp {
    session: Session,
}

/// Why a body is no session description.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SdpError {
    /// A line that cannot be read.
    #[error("SDP: {0}")]
    Line(String),
    /// More than [`MAX_BYTES`] or [`MAX_LINES`].
    #[error("SDP is too long")]
    TooLong,
    /// More than [`MAX_MEDIA`] m-lines.
    #[error("SDP has too many m-lines")]
    TooManyMedia,
}

/// Who may send, seen from the side that wrote the description (RFC 3264 §6.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// Both.
    #[default]
    SendRecv,
    /// The writer sends and does not listen: the usual hold.
    SendOnly,
    /// The writer only listens.
    RecvOnly,
    /// Nobody.
    Inactive,
}

impl Direction {
    /// The attribute's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SendRecv => "sendrecv",
            Self::SendOnly => "sendonly",
            Self::RecvOnly => "recvonly",
            Self::Inactive => "inactive",
        }
    }

    /// The same, seen from the other side.
    pub fn reversed(self) -> Self {
        match self {
            Self::SendOnly => Self::RecvOnly,
            Self::RecvOnly => Self::SendOnly,
            same => same,
        }
    }

    /// Whether the writer wants to hear something.
    pub fn receives(self) -> bool {
        matches!(self, Self::SendRecv | Self::RecvOnly)
    }

    /// Whether the writer will say something.
    pub fn sends(self) -> bool {
        matches!(self, Self::SendRecv | Self::SendOnly)
    }

    fn parse(name: &str) -> Option<Self> {
        [Self::SendRecv, Self::SendOnly, Self::RecvOnly, Self::Inactive]
            .into_iter()
            .find(|direction| direction.as_str().eq_ignore_ascii_case(name))
    }
}

/// One payload format of an m-line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Format {
    /// 0 to 127.
    pub payload_type: u8,
    /// The encoding's name as written, such as `PCMA`; compare without regard to case.
    pub encoding: String,
    /// The RTP clock (not always the sampling rate: G722 says 8000).
    pub clock_hz: u32,
    /// 1 unless the rtpmap says otherwise.
    pub channels: u8,
    /// The fmtp parameters, unread.
    pub fmtp: Option<String>,
}

impl Format {
    /// Whether its encoding has this name.
    pub fn is(&self, encoding: &str) -> bool {
        self.encoding.eq_ignore_ascii_case(encoding)
    }
}

/// One m-line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaLine {
    /// Its place among the m-lines, from 0. Offer and answer agree by it.
    pub index: usize,
    /// `audio`, `video`, `image`, …
    pub media: String,
    /// `RTP/AVP` and so on.
    pub protocol: String,
    /// 0 if the line is rejected.
    pub port: u16,
    /// The connection address as written; a name is possible.
    pub host: String,
    /// Where it wants RTP; `None` if rejected or if the host is a name.
    pub rtp: Option<SocketAddr>,
    /// Where it wants RTCP (RFC 3605, RFC 5761); `None` with `rtp`.
    pub rtcp: Option<SocketAddr>,
    /// Whether RTCP may share the RTP port.
    pub has_rtcp_mux: bool,
    /// Whether the writer does ICE: then its address is found out by that, whatever stands here.
    pub has_ice: bool,
    /// Who may send. With the address 0.0.0.0 the writer does not listen (RFC 3264 §8.4).
    pub direction: Direction,
    /// Formats in order of preference.
    pub formats: Vec<Format>,
    /// `a=ptime` in milliseconds.
    pub ptime_ms: Option<u32>,
    /// `a=label` (RFC 4574), which names a stream to SIPREC.
    pub label: Option<String>,
}

impl MediaLine {
    /// Whether the line carries RTP that is not encrypted.
    pub fn is_plain_rtp(&self) -> bool {
        let protocol = self.protocol.to_ascii_uppercase();
        protocol.contains("RTP/AVP") && !protocol.contains("SAVP")
    }

    /// Whether the line carries SRTP.
    pub fn is_secure(&self) -> bool {
        self.protocol.to_ascii_uppercase().contains("RTP/SAVP")
    }

    /// The format of this payload type.
    pub fn format(&self, payload_type: u8) -> Option<&Format> {
        self.formats.iter().find(|format| format.payload_type == payload_type)
    }
}

impl Sdp {
    /// Reads a body.
    ///
    /// # Errors
    /// [`SdpError`] with the line at fault.
    pub fn parse(body: &[u8]) -> Result<Self, SdpError> {
        let text = text::decode(body);
        let text = text.trim_start();
        if body.len() > MAX_BYTES || text.lines().count() > MAX_LINES {
            return Err(SdpError::TooLong);
        }
        let session = Session::parse(text.as_bytes())
            .or_else(|err| Session::parse(needed_lines(text).as_bytes()).map_err(|_| err))
            .map_err(|err| SdpError::Line(err.to_string()))?;
        if session.medias.len() > MAX_MEDIA {
            return Err(SdpError::TooManyMedia);
        }
        Ok(Self { session })
    }

    /// All m-lines in their order.
    pub fn media(&self) -> Vec<MediaLine> {
        self.session
            .medias
            .iter()
            .enumerate()
            .map(|(index, media)| self.line(index, media))
            .collect()
    }

    /// The first audio line that is not rejected: the one that is spoken over.
    pub fn audio(&self) -> Option<MediaLine> {
        let index = self.session.medias.iter().position(is_audio)?;
        Some(self.line(index, &self.session.medias[index]))
    }

    /// Whether there is one.
    pub fn has_audio(&self) -> bool {
        self.session.medias.iter().any(is_audio)
    }

    /// The origin line's version; a changed description has a higher one (RFC 3264 §8).
    pub fn version(&self) -> u64 {
        self.session.origin.sess_version
    }

    /// Writes the body.
    pub fn to_bytes(&self) -> Bytes {
        let mut out = Vec::with_capacity(512);
        // Writing to a Vec cannot fail.
        let _ = self.session.write(&mut out);
        Bytes::from(out)
    }

    fn line(&self, index: usize, media: &Media) -> MediaLine {
        let connection = media.connections.first().or(self.session.connection.as_ref());
        let host = connection.map(host).unwrap_or_default().to_owned();
        let ip: Option<IpAddr> = host.parse().ok();
        let rtp = ip.filter(|_| media.port != 0).map(|ip| SocketAddr::new(ip, media.port));
        let has_rtcp_mux = find(&media.attributes, "rtcp-mux").is_some();
        let direction = self.direction(media);
        let has_ice = [&media.attributes, &self.session.attributes]
            .into_iter()
            .any(|attributes| find(attributes, "ice-ufrag").is_some());
        let direction = match ip {
            // Who does ICE need not know its address yet (RFC 8840 §4.1.1).
            Some(ip) if ip.is_unspecified() && !has_ice => on_hold(direction),
            _ => direction,
        };
        MediaLine {
            index,
            media: media.media.to_ascii_lowercase(),
            protocol: media.proto.clone(),
            port: media.port,
            rtcp: rtp.map(|rtp| rtcp_address(media, rtp, has_rtcp_mux)),
            host,
            rtp,
            has_rtcp_mux,
            has_ice,
            direction,
            formats: formats(media),
            ptime_ms: value(&media.attributes, "ptime").and_then(|ptime| ptime.trim().parse().ok()),
            label: value(&media.attributes, "label").map(|label| label.trim().to_owned()),
        }
    }

    fn direction(&self, media: &Media) -> Direction {
        let find = |attributes: &[Attribute]| {
            attributes.iter().find_map(|attribute| Direction::parse(&attribute.attribute))
        };
        find(&media.attributes).or_else(|| find(&self.session.attributes)).unwrap_or_default()
    }
}

fn is_audio(media: &Media) -> bool {
    media.media.eq_ignore_ascii_case("audio") && media.port != 0
}

/// The lines a call needs. Some devices write the others (`z=`, `r=`, `k=`) wrongly.
fn needed_lines(text: &str) -> String {
    let is_needed = |line: &&str| {
        let mut bytes = line.bytes();
        matches!(bytes.next(), Some(b'v' | b'o' | b's' | b'c' | b't' | b'm' | b'a'))
            && bytes.next() == Some(b'=')
    };
    text.lines().filter(is_needed).flat_map(|line| [line, "\r\n"]).collect()
}

/// The direction an old-style hold by 0.0.0.0 stands for.
fn on_hold(direction: Direction) -> Direction {
    if direction.sends() { Direction::SendOnly } else { Direction::Inactive }
}

/// The address of a `c=` line without TTL and count.
fn host(connection: &Connection) -> &str {
    connection.connection_address.split('/').next().unwrap_or_default()
}

fn rtcp_address(media: &Media, rtp: SocketAddr, has_rtcp_mux: bool) -> SocketAddr {
    let next = SocketAddr::new(rtp.ip(), rtp.port().wrapping_add(1));
    let Some(rtcp) = value(&media.attributes, "rtcp") else {
        return if has_rtcp_mux { rtp } else { next };
    };
    let mut words = rtcp.split_ascii_whitespace();
    let Some(port) = words.next().and_then(|port| port.parse().ok()) else { return next };
    let ip = words.nth(2).and_then(|ip| ip.parse().ok()).unwrap_or(rtp.ip());
    SocketAddr::new(ip, port)
}

fn formats(media: &Media) -> Vec<Format> {
    let of = |name: &'static str, payload_type: u8| {
        media
            .attributes
            .iter()
            .filter(move |attribute| attribute.attribute.eq_ignore_ascii_case(name))
            .find_map(move |attribute| {
                let (number, rest) = attribute.value.as_deref()?.trim().split_once([' ', '\t'])?;
                (number.parse() == Ok(payload_type)).then(|| rest.trim())
            })
    };
    let numbers = media.fmt.split_ascii_whitespace().filter_map(|number| number.parse::<u8>().ok());
    numbers
        .filter(|number| *number < 128)
        .filter_map(|payload_type| {
            let fmtp = of("fmtp", payload_type).map(str::to_owned);
            let (encoding, clock_hz, channels) = match of("rtpmap", payload_type) {
                Some(rtpmap) => parse_rtpmap(rtpmap)?,
                None => static_format(payload_type)?,
            };
            Some(Format { payload_type, encoding, clock_hz, channels, fmtp })
        })
        .collect()
}

fn parse_rtpmap(rtpmap: &str) -> Option<(String, u32, u8)> {
    let mut parts = rtpmap.split('/').map(str::trim);
    let encoding = parts.next().filter(|encoding| !encoding.is_empty())?.to_owned();
    let clock_hz = parts.next().and_then(|clock| clock.parse().ok()).unwrap_or(8000);
    let channels = parts.next().and_then(|channels| channels.parse().ok()).unwrap_or(1);
    Some((encoding, clock_hz, channels))
}

/// The payload types that need no rtpmap (RFC 3551 §6, audio).
fn static_format(payload_type: u8) -> Option<(String, u32, u8)> {
    let (encoding, clock_hz, channels) = match payload_type {
        0 => ("PCMU", 8000, 1),
        3 => ("GSM", 8000, 1),
        4 => ("G723", 8000, 1),
        5 => ("DVI4", 8000, 1),
        6 => ("DVI4", 16000, 1),
        7 => ("LPC", 8000, 1),
        8 => ("PCMA", 8000, 1),
        9 => ("G722", 8000, 1),
        10 => ("L16", 44100, 2),
        11 => ("L16", 44100, 1),
        12 => ("QCELP", 8000, 1),
        13 => ("CN", 8000, 1),
        14 => ("MPA", 90000, 1),
        15 => ("G728", 8000, 1),
        18 => ("G729", 8000, 1),
        _ => return None,
    };
    Some((encoding.to_owned(), clock_hz, channels))
}

fn find<'a>(attributes: &'a [Attribute], name: &str) -> Option<&'a Attribute> {
    attributes.iter().find(|attribute| attribute.attribute.eq_ignore_ascii_case(name))
}

fn value<'a>(attributes: &'a [Attribute], name: &str) -> Option<&'a str> {
    find(attributes, name)?.value.as_deref()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFFER: &str = "v=0\r\no=gw 1 2 IN IP4 10.0.0.1\r\ns=-\r\nc=IN IP4 10.0.0.1\r\nt=0 0\r\n\
        m=audio 4000 RTP/AVP 8 0 18 3 9 13 101 96 77\r\na=rtpmap:101 telephone-event/8000\r\n\
        a=fmtp:101 0-16\r\na=rtpmap:96 opus/48000/2\r\na=ptime:30\r\n\
        m=video 4002 RTP/AVP 97\r\nc=IN IP4 10.0.0.2\r\na=rtpmap:97 H264/90000\r\na=sendonly\r\n";

    #[test]
    fn audio_line_says_where_and_what() {
        let audio = Sdp::parse(OFFER.as_bytes()).unwrap().audio().unwrap();
        assert_eq!(audio.rtp, Some("10.0.0.1:4000".parse().unwrap()));
        assert_eq!(audio.rtcp, Some("10.0.0.1:4001".parse().unwrap()));
        assert_eq!((audio.ptime_ms, audio.direction), (Some(30), Direction::SendRecv));
        let names: Vec<_> = audio
            .formats
            .iter()
            .map(|f| (f.payload_type, f.encoding.as_str(), f.clock_hz, f.channels))
            .collect();
        assert_eq!(
            names,
            [
                (8, "PCMA", 8000, 1),
                (0, "PCMU", 8000, 1),
                (18, "G729", 8000, 1),
                (3, "GSM", 8000, 1),
                (9, "G722", 8000, 1),
                (13, "CN", 8000, 1),
                (101, "telephone-event", 8000, 1),
                (96, "opus", 48000, 2),
            ]
        );
        assert_eq!(audio.format(101).unwrap().fmtp.as_deref(), Some("0-16"));
    }

    #[test]
    fn media_level_wins_over_session_level() {
        let media = Sdp::parse(OFFER.as_bytes()).unwrap().media();
        assert_eq!(media[1].rtp, Some("10.0.0.2:4002".parse().unwrap()));
        assert_eq!(media[1].direction, Direction::SendOnly);
    }

    #[test]
    fn rtcp_goes_where_rfc_3605_and_5761_say() {
        for (attributes, want) in [
            ("", "10.0.0.1:4001"),
            ("a=rtcp:5005\r\n", "10.0.0.1:5005"),
            ("a=rtcp:5005 IN IP4 10.0.0.9\r\n", "10.0.0.9:5005"),
            ("a=rtcp-mux\r\n", "10.0.0.1:4000"),
            ("a=rtcp:nonsense\r\n", "10.0.0.1:4001"),
        ] {
            let body = format!(
                "v=0\r\no=- 1 1 IN IP4 10.0.0.1\r\ns=-\r\nc=IN IP4 10.0.0.1\r\nt=0 0\r\n\
                 m=audio 4000 RTP/AVP 8\r\n{attributes}"
            );
            let audio = Sdp::parse(body.as_bytes()).unwrap().audio().unwrap();
            assert_eq!(audio.rtcp, Some(want.parse().unwrap()), "{attributes}");
        }
    }

    #[test]
    fn the_three_hold_styles_stop_listening() {
        for (address, attribute, want) in [
            ("10.0.0.1", "a=sendonly\r\n", Direction::SendOnly),
            ("10.0.0.1", "a=inactive\r\n", Direction::Inactive),
            ("0.0.0.0", "", Direction::SendOnly),
            ("0.0.0.0", "a=recvonly\r\n", Direction::Inactive),
        ] {
            let body = format!(
                "v=0\no=- 1 1 IN IP4 10.0.0.1\ns=\nc=IN IP4 {address}\nm=audio 4000 RTP/AVP 8\n{attribute}"
            );
            let audio = Sdp::parse(body.as_bytes()).unwrap().audio().unwrap();
            assert_eq!(audio.direction, want, "{address} {attribute}");
            assert!(!audio.direction.receives());
        }
    }

    #[test]
    fn device_oddities_are_read() {
        for body in [
            &b"v=0\r\no=- 1 1 IN IP4 1.2.3.4\r\ns=\xd5\xc5\xc8\xfd\r\nc=IN IP4 1.2.3.4\r\nt=0 0\r\nm=audio 4 RTP/AVP 8\r\n"[..],
            b"\r\nv=0\no=- 1 1 IN IP4 1.2.3.4\ns=-\nc=IN IP4 1.2.3.4/127\nt=0 0\nm=audio 4 RTP/AVP 8\n",
            b"v=0\no=- 1 1 IN IP4 1.2.3.4\ns=-\nc=IN IP4 1.2.3.4\nt=0 0\nz=1\nk=\nm=audio 4 RTP/AVP 8\n",
        ] {
            let audio = Sdp::parse(body).unwrap().audio().unwrap();
            assert_eq!(audio.rtp, Some("1.2.3.4:4".parse().unwrap()));
        }
        assert!(Sdp::parse(b"").is_err());
        assert!(Sdp::parse(b"hello").is_err());
    }

    #[test]
    fn descriptions_beyond_all_measure_are_not_read() {
        let head = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n";
        let with = |lines: usize, line: &str| {
            Sdp::parse(format!("{head}{}", line.repeat(lines)).as_bytes()).map(|_| ())
        };
        for (lines, line, want) in [
            (MAX_LINES - 5, "a=x\r\n", Ok(())),
            (MAX_LINES - 4, "a=x\r\n", Err(SdpError::TooLong)),
            (MAX_MEDIA, "m=audio 9 RTP/AVP 8\r\n", Ok(())),
            (MAX_MEDIA + 1, "m=audio 9 RTP/AVP 8\r\n", Err(SdpError::TooManyMedia)),
        ] {
            assert_eq!(with(lines, line), want, "{lines} {line}");
        }
        let long = |bytes: usize| with(1, &format!("a={}\r\n", "x".repeat(bytes - head.len() - 4)));
        assert_eq!(long(MAX_BYTES), Ok(()));
        assert_eq!(long(MAX_BYTES + 1), Err(SdpError::TooLong));
    }

    #[test]
    fn a_rejected_line_has_no_address() {
        let sdp = Sdp::parse(OFFER.replace("audio 4000", "audio 0").as_bytes()).unwrap();
        assert_eq!(sdp.audio(), None);
        assert_eq!(sdp.media()[0].rtp, None);
    }
}
