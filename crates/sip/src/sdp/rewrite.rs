//! Writes session descriptions: somebody else's with our addresses in it, or one of our own.
//!
//! Codecs are left as they are: what two phones agree on is theirs. What names a way around us (ICE
//! candidates, bundling) is taken out, and so is what protects the media between the writer and us
//! (keys, fingerprints): it is no affair of the other side's.

use std::net::IpAddr;

use sdp_types::{AddrType, Attribute, Connection, Media, NetType, Session, Time};

use super::{Direction, Format, Sdp, dtls, find};

/// Our `o=` line: one for each leg, kept as long as its dialog (RFC 3264 §8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Any number, unique to the leg.
    pub session_id: u64,
    /// Goes up by one with each description that differs from the one before.
    pub version: u64,
    /// Our address.
    pub address: IpAddr,
}

impl Origin {
    /// An origin whose first version is 1.
    pub fn new(session_id: u64, address: IpAddr) -> Self {
        Self { session_id, version: 1, address }
    }

    fn write(&self) -> sdp_types::Origin {
        sdp_types::Origin {
            username: None,
            sess_id: self.session_id.to_string(),
            sess_version: self.version,
            nettype: NetType::In,
            addrtype: AddrType::from(self.address),
            unicast_address: self.address.to_string(),
        }
    }
}

/// Where we want the media of one m-line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalMedia {
    /// Our address.
    pub address: IpAddr,
    /// Our RTP port.
    pub rtp_port: u16,
    /// Our RTCP port.
    pub rtcp_port: u16,
}

/// Attributes, beside those of [`dtls`], that would lead media past us, speak of sockets we do not
/// have, protect media between the writer and us, or name streams and extensions that are the
/// writer's own.
const LEFT_OUT: [&str; 15] = [
    "rtcp",
    "rtcp-fb",
    "rtcp-rsize",
    "crypto",
    "crypto-session",
    "key-mgmt",
    "connection",
    "zrtp-hash",
    "encryption",
    "extmap",
    "extmap-allow-mixed",
    "msid",
    "msid-semantic",
    "ssrc",
    "ssrc-group",
];

impl Sdp {
    /// Puts our origin and addresses in. `lines` holds one entry for each m-line; a line with
    /// `None`, without an entry, or rejected already has port 0 after it (RFC 3264 §6).
    ///
    /// An old-style hold by 0.0.0.0 becomes `a=sendonly` or `a=inactive`.
    pub fn rewrite(&mut self, origin: &Origin, lines: &[Option<LocalMedia>]) {
        let directions: Vec<Direction> = self.media().iter().map(|line| line.direction).collect();
        let session = &mut self.session;
        session.origin = origin.write();
        session.connection = Some(Connection::from_ip_addr(origin.address));
        if session.session_name.is_empty() {
            session.session_name = String::from("-");
        }
        if session.times.is_empty() {
            session.times.push(Time::new(0, 0));
        }
        session.attributes.retain(is_kept);
        for (index, media) in session.medias.iter_mut().enumerate() {
            media.connections.clear();
            media.num_ports = None;
            media.attributes.retain(is_kept);
            let local = lines.get(index).copied().flatten().filter(|_| media.port != 0);
            let Some(local) = local else {
                media.port = 0;
                continue;
            };
            media.key = None;
            media.proto = without_protection(&media.proto);
            place(media, local, origin.address);
            set_direction(media, directions[index]);
        }
    }

    /// Puts our origin in, as when only the version has changed.
    pub fn set_origin(&mut self, origin: &Origin) {
        self.session.origin = origin.write();
    }

    /// As [`Sdp::rewrite`] for the line [`Sdp::audio`] finds; all others are rejected. Whether
    /// there was one.
    pub fn rewrite_audio(&mut self, origin: &Origin, local: LocalMedia) -> bool {
        let audio = self.audio().map(|line| line.index);
        let lines: Vec<_> = (0..self.session.medias.len())
            .map(|index| Some(local).filter(|_| Some(index) == audio))
            .collect();
        self.rewrite(origin, &lines);
        audio.is_some()
    }

    /// Takes the formats out of the line [`Sdp::audio`] finds that are not kept, leaving at least
    /// what the line cannot do without: whether a format is left.
    pub fn retain_formats(&mut self, is_kept: impl Fn(&Format) -> bool) -> bool {
        let Some(line) = self.audio() else { return false };
        let kept: Vec<&Format> = line.formats.iter().filter(|format| is_kept(format)).collect();
        if kept.is_empty() {
            return false;
        }
        keep_formats(&mut self.session.medias[line.index], &kept);
        true
    }

    /// Says who may send on every line.
    pub fn set_direction(&mut self, direction: Direction) {
        self.session
            .attributes
            .retain(|attribute| Direction::parse(&attribute.attribute).is_none());
        for media in &mut self.session.medias {
            set_direction(media, direction);
        }
    }

    /// Whether two descriptions say the same but for the origin line: then the version stays.
    pub fn is_same_but_origin(&self, other: &Self) -> bool {
        let mut other = other.clone();
        other.session.origin = self.session.origin.clone();
        *self == other
    }

    /// An offer of our own with one audio line.
    pub fn offer(origin: &Origin, local: LocalMedia, formats: &[Format]) -> Self {
        let numbers: Vec<String> =
            formats.iter().map(|format| format.payload_type.to_string()).collect();
        let mut media = Media {
            media: String::from("audio"),
            port: local.rtp_port,
            num_ports: None,
            proto: String::from("RTP/AVP"),
            fmt: numbers.join(" "),
            media_title: None,
            connections: Vec::new(),
            bandwidths: Vec::new(),
            key: None,
            attributes: Vec::new(),
        };
        for format in formats {
            media.attributes.push(Attribute::with_value("rtpmap", rtpmap(format)));
            if let Some(fmtp) = &format.fmtp {
                let fmtp = format!("{} {fmtp}", format.payload_type);
                media.attributes.push(Attribute::with_value("fmtp", fmtp));
            }
        }
        media.attributes.push(Attribute::with_value("ptime", 20));
        place(&mut media, local, origin.address);
        set_direction(&mut media, Direction::SendRecv);
        let session = Session {
            origin: origin.write(),
            session_name: String::from("-"),
            session_description: None,
            uri: None,
            emails: Vec::new(),
            phones: Vec::new(),
            connection: Some(Connection::from_ip_addr(origin.address)),
            bandwidths: Vec::new(),
            times: vec![Time::new(0, 0)],
            time_zones: Vec::new(),
            key: None,
            attributes: Vec::new(),
            medias: vec![media],
        };
        Self { session }
    }

    /// The answer of a side of our own to this offer: each plain RTP audio line that has a place in
    /// `lines` is taken with those formats `is_spoken` knows, all others are rejected (RFC 3264
    /// §6). `direction` is ours; it gives way to what the offer allows.
    pub fn answer(
        &self,
        origin: &Origin,
        lines: &[Option<LocalMedia>],
        direction: Direction,
        is_spoken: impl Fn(&Format) -> bool,
    ) -> Self {
        let mut answer = self.clone();
        let mut lines = lines.to_vec();
        lines.resize(self.session.medias.len(), None);
        for (line, place) in self.media().into_iter().zip(&mut lines) {
            let kept: Vec<&Format> = line.formats.iter().filter(|f| is_spoken(f)).collect();
            if line.media != "audio" || !line.is_plain_rtp() || kept.is_empty() {
                *place = None;
                continue;
            }
            let media = &mut answer.session.medias[line.index];
            keep_formats(media, &kept);
        }
        answer.rewrite(origin, &lines);
        for (line, media) in self.media().iter().zip(&mut answer.session.medias) {
            let allowed = line.direction.reversed();
            set_direction(media, both(direction, allowed));
        }
        answer
    }
}

/// What both allow.
fn both(one: Direction, two: Direction) -> Direction {
    match (one.sends() && two.sends(), one.receives() && two.receives()) {
        (true, true) => Direction::SendRecv,
        (true, false) => Direction::SendOnly,
        (false, true) => Direction::RecvOnly,
        (false, false) => Direction::Inactive,
    }
}

fn keep_formats(media: &mut Media, kept: &[&Format]) {
    let numbers: Vec<String> = kept.iter().map(|format| format.payload_type.to_string()).collect();
    media.fmt = numbers.join(" ");
    media.attributes.retain(|attribute| {
        let is_map = ["rtpmap", "fmtp", "rtcp-fb"]
            .iter()
            .any(|name| attribute.attribute.eq_ignore_ascii_case(name));
        let number =
            attribute.value.as_deref().and_then(|value| value.split_ascii_whitespace().next());
        !is_map || number.is_some_and(|number| numbers.iter().any(|kept| kept == number))
    });
}

/// G.711 A-law, G.711 μ-law and DTMF: what every gateway and phone in the trade speaks.
pub fn basic_formats() -> Vec<Format> {
    let format = |payload_type, encoding: &str, fmtp: Option<&str>| Format {
        payload_type,
        encoding: encoding.to_owned(),
        clock_hz: 8000,
        channels: 1,
        fmtp: fmtp.map(str::to_owned),
    };
    vec![
        format(8, "PCMA", None),
        format(0, "PCMU", None),
        format(101, "telephone-event", Some("0-15")),
    ]
}

/// All that we can hear and speak ourselves, where voices are mixed: G.711, G.722, Opus, and DTMF.
/// The payload types of Opus and DTMF are those that most phones use.
pub fn mixed_formats() -> Vec<Format> {
    let wide = |payload_type, encoding: &str, clock_hz, channels, fmtp: Option<&str>| Format {
        payload_type,
        encoding: encoding.to_owned(),
        clock_hz,
        channels,
        fmtp: fmtp.map(str::to_owned),
    };
    let mut formats = basic_formats();
    let digits = formats.len() - 1;
    let more =
        [wide(9, "G722", 8000, 1, None), wide(111, "opus", 48_000, 2, Some("useinbandfec=1"))];
    formats.splice(digits..digits, more);
    formats
}

fn rtpmap(format: &Format) -> String {
    let Format { payload_type, encoding, clock_hz, channels, .. } = format;
    match channels {
        0 | 1 => format!("{payload_type} {encoding}/{clock_hz}"),
        _ => format!("{payload_type} {encoding}/{clock_hz}/{channels}"),
    }
}

/// The same protocol without SRTP (RFC 3711, RFC 5124). Browsers add feedback to theirs whatever it
/// is for, which telephones would refuse.
fn without_protection(protocol: &str) -> String {
    match protocol.to_ascii_uppercase().as_str() {
        "RTP/SAVP" => String::from("RTP/AVP"),
        "RTP/SAVPF" => String::from("RTP/AVPF"),
        upper if upper.starts_with("UDP/TLS/RTP/SAVP") => String::from("RTP/AVP"),
        _ => protocol.to_owned(),
    }
}

fn is_kept(attribute: &Attribute) -> bool {
    let mut names = LEFT_OUT.iter().chain(&dtls::ATTRIBUTES);
    !names.any(|name| attribute.attribute.eq_ignore_ascii_case(name))
}

fn place(media: &mut Media, local: LocalMedia, session_address: IpAddr) {
    media.port = local.rtp_port;
    if local.address != session_address {
        media.connections.push(Connection::from_ip_addr(local.address));
    }
    if local.rtp_port.checked_add(1) != Some(local.rtcp_port) {
        media.attributes.push(Attribute::with_value("rtcp", local.rtcp_port));
    }
}

fn set_direction(media: &mut Media, direction: Direction) {
    if let Some(at) = media
        .attributes
        .iter()
        .position(|attribute| Direction::parse(&attribute.attribute).is_some())
    {
        media.attributes[at] = Attribute::new(direction.as_str());
        return;
    }
    if find(&media.attributes, direction.as_str()).is_none() {
        media.attributes.push(Attribute::new(direction.as_str()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: &str = "192.0.2.10";

    fn origin() -> Origin {
        Origin { session_id: 7, version: 3, address: ADDRESS.parse().unwrap() }
    }

    fn local(rtp_port: u16, rtcp_port: u16) -> LocalMedia {
        LocalMedia { address: ADDRESS.parse().unwrap(), rtp_port, rtcp_port }
    }

    fn text(sdp: &Sdp) -> String {
        String::from_utf8(sdp.to_bytes().to_vec()).unwrap()
    }

    #[test]
    fn our_addresses_replace_theirs_and_codecs_stay() {
        let mut sdp = Sdp::parse(
            b"v=0\r\no=x 1 1 IN IP4 10.0.0.1\r\ns=call\r\nc=IN IP4 10.0.0.1\r\nt=0 0\r\n\
              a=group:BUNDLE 0 1\r\na=ice-lite\r\n\
              m=audio 4000 UDP/TLS/RTP/SAVPF 8 101\r\nc=IN IP4 10.0.0.9\r\na=rtpmap:8 PCMA/8000\r\n\
              a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\na=rtcp:4009\r\na=rtcp-mux\r\n\
              a=candidate:1 1 UDP 1 10.0.0.1 4000 typ host\r\na=crypto:1 AES key\r\n\
              m=video 4002 RTP/AVP 97\r\na=rtpmap:97 H264/90000\r\n",
        )
        .unwrap();
        assert!(sdp.rewrite_audio(&origin(), local(30000, 30001)));
        assert_eq!(
            text(&sdp),
            "v=0\r\no=- 7 3 IN IP4 192.0.2.10\r\ns=call\r\nc=IN IP4 192.0.2.10\r\nt=0 0\r\n\
             m=audio 30000 RTP/AVP 8 101\r\na=rtpmap:8 PCMA/8000\r\n\
             a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\na=sendrecv\r\nm=video 0 RTP/AVP 97\r\na=rtpmap:97 H264/90000\r\n"
        );
    }

    #[test]
    fn an_old_hold_stays_a_hold() {
        let mut sdp = Sdp::parse(
            b"v=0\no=x 1 1 IN IP4 1.1.1.1\ns=-\nc=IN IP4 0.0.0.0\nt=0 0\nm=audio 4 RTP/AVP 8\n",
        )
        .unwrap();
        sdp.rewrite_audio(&origin(), local(30000, 30007));
        let audio = sdp.audio().unwrap();
        assert_eq!(audio.direction, Direction::SendOnly);
        assert_eq!(audio.rtcp, Some("192.0.2.10:30007".parse().unwrap()));
    }

    #[test]
    fn our_own_offer_can_be_read_back() {
        let sdp = Sdp::offer(&origin(), local(30000, 30001), &basic_formats());
        let read = Sdp::parse(&sdp.to_bytes()).unwrap();
        assert_eq!(read.audio().unwrap().formats, basic_formats());
        assert!(read.is_same_but_origin(&sdp));
        let mut later = origin();
        later.version += 1;
        assert!(read.is_same_but_origin(&Sdp::offer(
            &later,
            local(30000, 30001),
            &basic_formats()
        )));
        assert!(!read.is_same_but_origin(&Sdp::offer(
            &later,
            local(30002, 30003),
            &basic_formats()
        )));
    }

    #[test]
    fn an_answer_takes_what_it_speaks_and_rejects_the_rest() {
        let offer = Sdp::parse(
            b"v=0\no=x 1 1 IN IP4 1.1.1.1\ns=-\nc=IN IP4 1.1.1.1\nt=0 0\n\
              m=audio 4 RTP/AVP 9 8 101\na=rtpmap:101 telephone-event/8000\na=sendonly\na=label:1\n\
              m=audio 6 RTP/AVP 9\na=sendonly\nm=image 8 udptl t38\n",
        )
        .unwrap();
        let places = [Some(local(30000, 30001)), Some(local(30002, 30003)), Some(local(1, 2))];
        let answer = offer.answer(&origin(), &places, Direction::SendRecv, |format| {
            format.is("PCMA") || format.is("telephone-event")
        });
        let lines = answer.media();
        assert_eq!(lines.iter().map(|line| line.port).collect::<Vec<_>>(), [30000, 0, 0]);
        assert_eq!(lines[0].direction, Direction::RecvOnly);
        assert_eq!(lines[0].formats.len(), 2);
    }

    #[test]
    fn ipv6_is_written_as_ip6() {
        let address = "2001:db8::1".parse().unwrap();
        let sdp = Sdp::offer(
            &Origin::new(1, address),
            LocalMedia { address, rtp_port: 4, rtcp_port: 5 },
            &basic_formats(),
        );
        assert!(text(&sdp).contains("c=IN IP6 2001:db8::1\r\n"));
    }
}
