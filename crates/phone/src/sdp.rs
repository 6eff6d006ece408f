//! The session descriptions that the phone writes and reads (RFC 4566, offer/answer RFC 3264).
//!
//! One audio stream, G.711, no more: what is offered beyond it is refused by leaving it out.

use std::net::{IpAddr, SocketAddr};

use cheling_media::g711::Law;

/// Which way media flows, seen from the one who writes it (RFC 3264 §5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Both ways.
    SendRecv,
    /// We send only: the other side is on hold.
    SendOnly,
    /// We receive only: we were put on hold.
    RecvOnly,
    /// Neither way.
    Inactive,
}

impl Direction {
    fn attribute(self) -> &'static str {
        match self {
            Self::SendRecv => "sendrecv",
            Self::SendOnly => "sendonly",
            Self::RecvOnly => "recvonly",
            Self::Inactive => "inactive",
        }
    }

    fn of_attribute(name: &str) -> Option<Self> {
        match name {
            "sendrecv" => Some(Self::SendRecv),
            "sendonly" => Some(Self::SendOnly),
            "recvonly" => Some(Self::RecvOnly),
            "inactive" => Some(Self::Inactive),
            _ => None,
        }
    }

    /// The same flow, seen from the other end.
    pub fn mirrored(self) -> Self {
        match self {
            Self::SendOnly => Self::RecvOnly,
            Self::RecvOnly => Self::SendOnly,
            same => same,
        }
    }

    /// Whether the writer sends.
    pub fn sends(self) -> bool {
        matches!(self, Self::SendRecv | Self::SendOnly)
    }

    fn new(sends: bool, receives: bool) -> Self {
        match (sends, receives) {
            (true, true) => Self::SendRecv,
            (true, false) => Self::SendOnly,
            (false, true) => Self::RecvOnly,
            (false, false) => Self::Inactive,
        }
    }

    /// What is left when both ends' wishes hold: `self` ours, `offered` as the other wrote it.
    pub fn answering(self, offered: Self) -> Self {
        let theirs = offered.mirrored();
        let receives = |d: Self| matches!(d, Self::SendRecv | Self::RecvOnly);
        Self::new(self.sends() && theirs.sends(), receives(self) && receives(theirs))
    }
}

/// What one end says about its audio.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Description {
    /// Where that end wants its RTP; `None` for the old hold address 0.0.0.0 (RFC 2543) or port 0.
    pub(crate) rtp: Option<SocketAddr>,
    /// The codecs of ours that it lists, in its order.
    pub(crate) codecs: Vec<Law>,
    /// The flow as that end wrote it.
    pub(crate) direction: Direction,
}

impl Description {
    /// Reads the first audio stream; `None` if there is none or its address is no IP address.
    pub(crate) fn read(body: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(body);
        let mut address: Option<IpAddr> = None;
        let mut audio: Option<(u16, Vec<Law>)> = None;
        let mut session_direction = Direction::SendRecv;
        let mut direction = None;
        for line in text.lines() {
            let Some((kind, value)) = line.split_once('=') else { continue };
            match kind {
                // A second stream's lines are not ours.
                "m" if audio.is_some() => break,
                "m" => audio = read_media_line(value),
                "c" => address = value.split_whitespace().nth(2).and_then(|a| a.parse().ok()),
                "a" => match (Direction::of_attribute(value.trim()), &audio) {
                    (Some(found), Some(_)) => direction = Some(found),
                    (Some(found), None) => session_direction = found,
                    (None, _) => {}
                },
                _ => {}
            }
        }
        let (port, codecs) = audio?;
        let address = address?;
        let rtp = (port != 0 && !address.is_unspecified()).then(|| (address, port).into());
        let held = address.is_unspecified().then_some(Direction::SendOnly);
        let direction = held.or(direction).unwrap_or(session_direction);
        Some(Self { rtp, codecs, direction })
    }

    /// Writes our own description; `version` grows with each one of a dialog (RFC 3264 §8).
    pub(crate) fn write(
        rtp: SocketAddr,
        session: u64,
        version: u64,
        codecs: &[Law],
        direction: Direction,
    ) -> Vec<u8> {
        let family = if rtp.is_ipv4() { "IP4" } else { "IP6" };
        let host = rtp.ip();
        let types: String =
            codecs.iter().map(|codec| format!(" {}", codec.payload_type())).collect();
        let maps: String = codecs
            .iter()
            .map(|codec| {
                format!("a=rtpmap:{} {}/8000\r\n", codec.payload_type(), codec.encoding_name())
            })
            .collect();
        format!(
            "v=0\r\no=- {session} {version} IN {family} {host}\r\ns=-\r\n\
             c=IN {family} {host}\r\nt=0 0\r\nm=audio {} RTP/AVP{types} 101\r\n{maps}\
             a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\na=ptime:20\r\na={}\r\n",
            rtp.port(),
            direction.attribute(),
        )
        .into_bytes()
    }
}

/// Reads `audio 49170 RTP/AVP 8 0`; another kind of stream or profile is none of ours.
fn read_media_line(value: &str) -> Option<(u16, Vec<Law>)> {
    let mut words = value.split_whitespace();
    if words.next()? != "audio" {
        return None;
    }
    let port = words.next()?.split('/').next()?.parse().ok()?;
    if !words.next()?.starts_with("RTP/AVP") {
        return None;
    }
    let codecs = words.filter_map(|w| w.parse().ok().and_then(of_payload_type)).collect();
    Some((port, codecs))
}

/// The codec of a static payload type (RFC 3551 §6), if it is one of ours.
pub(crate) fn of_payload_type(payload_type: u8) -> Option<Law> {
    [Law::A, Law::Mu].into_iter().find(|law| law.payload_type() == payload_type)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_what_it_writes() {
        let rtp: SocketAddr = "127.0.0.1:4000".parse().unwrap();
        let body = Description::write(rtp, 7, 1, &[Law::Mu, Law::A], Direction::SendOnly);
        let read = Description::read(&body).unwrap();
        assert_eq!(read.rtp, Some(rtp));
        assert_eq!(read.codecs, [Law::Mu, Law::A]);
        assert_eq!(read.direction, Direction::SendOnly);
    }

    #[test]
    fn the_address_of_the_stream_wins_and_zero_means_hold() {
        let session = "v=0\no=- 1 1 IN IP4 10.0.0.1\ns=-\nc=IN IP4 10.0.0.1\nt=0 0\n";
        let body = format!("{session}m=audio 4000 RTP/AVP 8\nc=IN IP4 10.0.0.2\na=inactive\n");
        let read = Description::read(body.as_bytes()).unwrap();
        assert_eq!(read.rtp, Some("10.0.0.2:4000".parse().unwrap()));
        assert_eq!(read.direction, Direction::Inactive);

        let body = format!("{session}m=audio 4000 RTP/AVP 8\nc=IN IP4 0.0.0.0\n");
        let read = Description::read(body.as_bytes()).unwrap();
        assert_eq!((read.rtp, read.direction), (None, Direction::SendOnly));
        assert_eq!(Description::read(b"v=0\nm=video 1 RTP/AVP 8\n"), None);
    }

    #[test]
    fn an_answer_never_allows_more_than_the_offer() {
        use Direction::*;
        for (ours, offered, answer) in [
            (SendRecv, SendRecv, SendRecv),
            (SendRecv, SendOnly, RecvOnly),
            (SendRecv, RecvOnly, SendOnly),
            (SendOnly, SendRecv, SendOnly),
            (SendOnly, SendOnly, Inactive),
            (SendRecv, Inactive, Inactive),
        ] {
            assert_eq!(ours.answering(offered), answer, "{ours:?} {offered:?}");
        }
    }
}
