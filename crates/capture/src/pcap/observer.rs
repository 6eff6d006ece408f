//! What a bystander understands of passing SIP: which calls there are, who talks to whom, where
//! their media goes.
//!
//! Pure: messages and capture times in, [`Observed`] out. It answers nothing and expects nothing
//! to be complete: messages may be missing, doubled by a proxy's two legs, or out of order.
//! Does not belong here: which packet is whose (`media`).

use cheling_call::identity;
use cheling_model::call::{Direction, EndCause, Format, Offer, Withdrawal};
use cheling_model::directory::{CallerHeader, Directory, Trunk};
use cheling_model::{CallId, DealershipId, Lane, LegId, TapEvent, TapKind, Timestamp};
use cheling_sip::sdp::{Direction as MediaDirection, Sdp};
use cheling_sip::{Headers, Message, Method, Request, Response};
use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Calls followed at once; the oldest is ended to make room.
const MAX_CALLS: usize = 20_000;
/// How long an ended call is remembered, so that repeated messages do not begin it anew
/// (RFC 3261: timers D and K).
const REMEMBER: Duration = Duration::from_secs(64);

/// Whose calls they are, and which side is ours.
#[derive(Clone, Debug)]
pub struct Perspective {
    /// Whose calls are those that touch no known extension or line.
    pub dealership_id: DealershipId,
    /// Our extensions and lines.
    pub directory: Arc<Directory>,
    /// Our trunks: calls from their addresses are inbound.
    pub trunks: Vec<Trunk>,
}

/// What the observer noticed.
#[derive(Debug)]
pub enum Observed {
    /// Something happened to a call.
    Event(TapEvent),
    /// One side of a call wants its RTP here.
    Listens {
        /// Which call.
        call_id: CallId,
        /// Which side.
        lane: Lane,
        /// Where.
        rtp: SocketAddr,
    },
}

/// Follows all calls that pass by.
pub struct Observer {
    perspective: Perspective,
    calls: HashMap<String, Call>,
    observed: VecDeque<Observed>,
}

struct Call {
    call_id: CallId,
    caller_lane: Lane,
    caller_tag: String,
    extension: String,
    /// The way the first INVITE went; only its refusal is the call's.
    caller_leg: (SocketAddr, SocketAddr),
    state: State,
    is_cancelled: bool,
    /// The last challenge or refusal that may yet be overcome.
    last_status: Option<u16>,
    /// Each side's last description: [customer, agent].
    descriptions: [Option<Sdp>; 2],
    formats: [Vec<Format>; 2],
    held_by: [bool; 2],
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Calling,
    Ringing,
    Talking,
    Ended(Timestamp),
}

impl Observer {
    /// An observer that has seen nothing.
    pub fn new(perspective: Perspective) -> Self {
        Self { perspective, calls: HashMap::new(), observed: VecDeque::new() }
    }

    /// What was noticed, in order.
    pub fn poll(&mut self) -> Option<Observed> {
        self.observed.pop_front()
    }

    /// Takes one message that went from one address to another. What is no SIP is ignored.
    pub fn message(&mut self, at: Timestamp, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        match Message::parse(bytes) {
            Ok(Message::Request(request)) => self.request(at, (from, to), &request),
            Ok(Message::Response(response)) => self.response(at, (from, to), &response),
            Err(err) => tracing::debug!(%from, %err, "unreadable SIP in the capture"),
        }
    }

    /// The capture is over: so are the calls, as far as can be known.
    pub fn finish(&mut self, at: Timestamp) {
        let mut live: Vec<_> = self.calls.values_mut().filter(|call| call.is_live()).collect();
        live.sort_by_key(|call| call.call_id);
        for call in live {
            let status = call.last_status;
            let cause = status.map_or(EndCause::Shutdown, cause);
            call.end(at, cause, None, status, &mut self.observed);
        }
    }

    fn request(&mut self, at: Timestamp, leg: (SocketAddr, SocketAddr), request: &Request) {
        let Some(id) = request.headers.call_id().map(|id| id.into_owned()) else { return };
        let tag = request.headers.from().and_then(|from| from.tag().map(str::to_owned));
        let tag = tag.unwrap_or_default();
        if request.method == Method::Invite && !self.calls.contains_key(&id) {
            self.make_room(at);
            let call = self.begin(at, &id, leg, request, tag.clone());
            self.calls.insert(id.clone(), call);
        }
        let Some(call) = self.calls.get_mut(&id).filter(|call| call.is_live()) else { return };
        let lane = call.lane_of(&tag);
        let observed = &mut self.observed;
        match request.method {
            Method::Invite | Method::Update | Method::Ack | Method::Prack => {
                // A retry with credentials goes on where the challenge stopped it.
                if request.method == Method::Invite && leg == call.caller_leg {
                    call.last_status = None;
                }
                if let Some(sdp) = description(&request.headers, &request.body) {
                    if call.state == State::Talking {
                        call.hold(at, lane, &sdp, observed);
                    }
                    call.describe(at, lane, sdp, observed);
                }
            }
            Method::Cancel => call.is_cancelled = true,
            Method::Bye if call.state == State::Talking => {
                call.end(at, EndCause::HungUp, Some(lane), None, observed);
            }
            _ => {}
        }
    }

    fn response(&mut self, at: Timestamp, leg: (SocketAddr, SocketAddr), response: &Response) {
        let headers = &response.headers;
        let (Some(id), Some(cseq)) = (headers.call_id(), headers.cseq()) else { return };
        let Some(call) = self.calls.get_mut(&*id).filter(|call| call.is_live()) else { return };
        if !matches!(cseq.method, Method::Invite | Method::Update | Method::Prack) {
            return;
        }
        let tag = headers.from().and_then(|from| from.tag().map(str::to_owned));
        let lane = call.lane_of(&tag.unwrap_or_default()).other();
        let observed = &mut self.observed;
        let sdp = description(headers, &response.body).filter(|_| response.status < 300);
        let is_answer = cseq.method == Method::Invite && (200..=299).contains(&response.status);
        // The answer first: packets that waited for its description are then recorded.
        if is_answer && call.state != State::Talking {
            call.descriptions[lane.index()] =
                sdp.clone().or(call.descriptions[lane.index()].take());
            call.answer(at, observed);
        }
        if let Some(sdp) = sdp {
            call.describe(at, lane, sdp, observed);
        }
        if cseq.method != Method::Invite {
            return;
        }
        let is_callers = leg == (call.caller_leg.1, call.caller_leg.0);
        match response.status {
            180..=199 => call.ring(at, observed),
            // The caller may try again: with credentials, or as told.
            300..=399 | 401 | 407 | 422 | 491 if is_callers => {
                call.last_status = Some(response.status);
            }
            status @ 400..=699 if is_callers && call.state != State::Talking => {
                let cause = if call.is_cancelled { EndCause::Cancelled } else { cause(status) };
                let by = (cause == EndCause::Cancelled).then_some(call.caller_lane);
                call.end(at, cause, by, Some(status), observed);
            }
            _ => {}
        }
    }

    fn begin(
        &mut self,
        at: Timestamp,
        sip_call_id: &str,
        leg: (SocketAddr, SocketAddr),
        request: &Request,
        caller_tag: String,
    ) -> Call {
        let order =
            [CallerHeader::PAssertedIdentity, CallerHeader::RemotePartyId, CallerHeader::From];
        let caller = identity::caller(&request.headers, &order);
        let called = request.uri.user_unescaped().map(|user| user.into_owned());
        let called = called
            .or_else(|| request.headers.to().map(|to| identity::party(&to).number))
            .unwrap_or_default();
        let directory = &self.perspective.directory;
        let extension = |number: &str| directory.extensions.iter().find(|it| it.number == number);
        let trunk = self.perspective.trunks.iter().find(|it| it.address.ip() == leg.0.ip());
        let line = directory.lines.iter().find(|it| it.did == called);
        let ours = (extension(&caller.number).filter(|_| trunk.is_none()), extension(&called));
        let (direction, caller_lane, our_number) = match ours {
            (Some(_), Some(_)) => (Direction::Internal, Lane::Customer, &called),
            (Some(_), None) if line.is_none() => (Direction::Outbound, Lane::Agent, &caller.number),
            // Nobody is known: who calls is the customer.
            _ => (Direction::Inbound, Lane::Customer, &called),
        };
        let extension = our_number.clone();
        let dealership_id = ours
            .0
            .or(ours.1)
            .map(|it| it.dealership_id)
            .or(line.map(|it| it.dealership_id))
            .unwrap_or(self.perspective.dealership_id);
        let call_id = CallId::mint(at, random_of(sip_call_id, 0));
        let offer = Offer {
            direction,
            dealership_id,
            caller,
            called,
            trunk: trunk.map(|it| it.name.clone()),
            line_id: line.map(|it| it.line_id),
            extension: (direction == Direction::Outbound).then(|| extension.clone()),
            user_id: None,
            follow_up_id: None,
        };
        let event = TapEvent { call_id, at, kind: TapKind::Offered(offer) };
        self.observed.push_back(Observed::Event(event));
        Call {
            call_id,
            caller_lane,
            caller_tag,
            extension,
            caller_leg: leg,
            state: State::Calling,
            is_cancelled: false,
            last_status: None,
            descriptions: [None, None],
            formats: [Vec::new(), Vec::new()],
            held_by: [false; 2],
        }
    }

    fn make_room(&mut self, at: Timestamp) {
        if self.calls.len() < MAX_CALLS {
            return;
        }
        self.calls.retain(|_, call| match call.state {
            State::Ended(since) => at.since(since) < REMEMBER,
            _ => true,
        });
        if self.calls.len() < MAX_CALLS {
            return;
        }
        let oldest = self.calls.iter().min_by_key(|(_, call)| call.call_id);
        if let Some(id) = oldest.map(|(id, _)| id.clone())
            && let Some(mut call) = self.calls.remove(&id)
            && call.is_live()
        {
            call.end(at, EndCause::Failed, None, None, &mut self.observed);
        }
    }
}

impl Call {
    fn is_live(&self) -> bool {
        !matches!(self.state, State::Ended(_))
    }

    fn lane_of(&self, from_tag: &str) -> Lane {
        if from_tag == self.caller_tag { self.caller_lane } else { self.caller_lane.other() }
    }

    fn tell(&self, at: Timestamp, kind: TapKind, observed: &mut VecDeque<Observed>) {
        observed.push_back(Observed::Event(TapEvent { call_id: self.call_id, at, kind }));
    }

    fn leg(&self) -> LegId {
        LegId(self.call_id.0)
    }

    fn ring(&mut self, at: Timestamp, observed: &mut VecDeque<Observed>) {
        if self.state != State::Calling {
            return;
        }
        self.state = State::Ringing;
        let kind = match self.caller_lane {
            Lane::Customer => {
                TapKind::Ringing { leg: self.leg(), extension: self.extension.clone() }
            }
            Lane::Agent => TapKind::FarEndRinging,
        };
        self.tell(at, kind, observed);
    }

    fn answer(&mut self, at: Timestamp, observed: &mut VecDeque<Observed>) {
        self.state = State::Talking;
        self.tell(at, TapKind::Answered { extension: self.extension.clone() }, observed);
        self.tell_formats(at, observed);
    }

    /// Takes what a side says of its media: where it listens and what it understands.
    fn describe(&mut self, at: Timestamp, lane: Lane, sdp: Sdp, observed: &mut VecDeque<Observed>) {
        if let Some(rtp) = sdp.audio().and_then(|audio| audio.rtp) {
            observed.push_back(Observed::Listens { call_id: self.call_id, lane, rtp });
        }
        self.descriptions[lane.index()] = Some(sdp);
        if self.state == State::Talking {
            self.tell_formats(at, observed);
        }
    }

    fn tell_formats(&mut self, at: Timestamp, observed: &mut VecDeque<Observed>) {
        for sender in Lane::BOTH {
            let formats = self.formats_of(sender);
            if !formats.is_empty() && formats != self.formats[sender.index()] {
                self.formats[sender.index()] = formats.clone();
                self.tell(at, TapKind::Formats { lane: sender, formats }, observed);
            }
        }
    }

    /// What a side may send: as the other side numbered it (RFC 3264 §6.1), then as itself did.
    fn formats_of(&self, sender: Lane) -> Vec<Format> {
        let receiver = self.descriptions[sender.other().index()].as_ref();
        let mut formats: Vec<Format> = Vec::new();
        for sdp in [receiver, self.descriptions[sender.index()].as_ref()].into_iter().flatten() {
            for format in sdp.audio().map(|audio| audio.formats).unwrap_or_default() {
                if formats.iter().all(|known| known.payload_type != format.payload_type) {
                    formats.push(Format {
                        payload_type: format.payload_type,
                        encoding: format.encoding.to_ascii_uppercase(),
                        clock_hz: format.clock_hz,
                        channels: format.channels,
                    });
                }
            }
        }
        formats
    }

    fn hold(&mut self, at: Timestamp, by: Lane, sdp: &Sdp, observed: &mut VecDeque<Observed>) {
        let Some(audio) = sdp.audio() else { return };
        let is_hold = !audio.direction.receives()
            || audio.rtp.is_some_and(|rtp| rtp.ip().is_unspecified())
            || audio.direction == MediaDirection::Inactive;
        if self.held_by[by.index()] == is_hold {
            return;
        }
        self.held_by[by.index()] = is_hold;
        let kind = if is_hold { TapKind::Held { by } } else { TapKind::Resumed { by } };
        self.tell(at, kind, observed);
    }

    fn end(
        &mut self,
        at: Timestamp,
        cause: EndCause,
        by: Option<Lane>,
        sip_status: Option<u16>,
        observed: &mut VecDeque<Observed>,
    ) {
        if self.state == State::Ringing && self.caller_lane == Lane::Customer {
            let why = match (cause, sip_status) {
                (EndCause::Cancelled, _) => Withdrawal::CallerHungUp,
                (EndCause::Busy, _) => Withdrawal::Busy,
                (EndCause::Declined, _) => Withdrawal::Declined,
                (EndCause::NoAnswer, _) => Withdrawal::NoAnswer,
                (_, status) => Withdrawal::Failed { status: status.unwrap_or(0) },
            };
            let (leg, extension) = (self.leg(), self.extension.clone());
            self.tell(at, TapKind::Withdrawn { leg, extension, why }, observed);
        }
        self.state = State::Ended(at);
        self.descriptions = [None, None];
        self.tell(at, TapKind::Ended { cause, by, sip_status }, observed);
    }
}

fn cause(status: u16) -> EndCause {
    match status {
        486 | 600 => EndCause::Busy,
        603 | 607 | 608 => EndCause::Declined,
        408 | 480 => EndCause::NoAnswer,
        404 | 410 | 484 | 604 => EndCause::NotFound,
        487 => EndCause::Cancelled,
        _ => EndCause::Failed,
    }
}

/// The session description in a body, also where it is one part of several (RFC 5621).
fn description(headers: &Headers, body: &[u8]) -> Option<Sdp> {
    if body.is_empty() {
        return None;
    }
    let media_type = headers.content_type().map(|it| it.media_type);
    let sdp = match media_type.as_deref() {
        Some("application/sdp") | None => body,
        Some(other) if other.starts_with("multipart/") => sdp_part(body)?,
        Some(_) => return None,
    };
    Sdp::parse(sdp).ok()
}

fn sdp_part(body: &[u8]) -> Option<&[u8]> {
    let find = |bytes: &[u8], what: &[u8]| bytes.windows(what.len()).position(|it| it == what);
    let rest = &body[find(body, b"application/sdp")?..];
    let start = find(rest, b"\r\n\r\n").map(|at| at + 4).or(find(rest, b"\n\n").map(|at| at + 2))?;
    let part = &rest[start..];
    // The line end before a boundary belongs to the boundary (RFC 2046 §5.1.1).
    Some(part[..find(part, b"\n--").unwrap_or(part.len())].trim_ascii_end())
}

/// Ten bytes that are the same for the same Call-ID, so that a file imported twice gives the same
/// ids and no second recording.
fn random_of(sip_call_id: &str, salt: u8) -> [u8; 10] {
    let mut bytes = [0; 10];
    for (half, chunk) in bytes.chunks_mut(5).enumerate() {
        let mut hasher = DefaultHasher::new();
        (salt, half, sip_call_id).hash(&mut hasher);
        chunk.copy_from_slice(&hasher.finish().to_le_bytes()[..5]);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use cheling_model::directory::Extension;

    const CUSTOMER: &str = "192.0.2.1:5060";
    const PROXY: &str = "192.0.2.9:5060";
    const AGENT: &str = "192.0.2.2:5060";

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn dealership(number: u8) -> DealershipId {
        DealershipId::mint(Timestamp::from_micros(1), [number; 10])
    }

    fn observer() -> Observer {
        let extension = |number: &str| Extension {
            number: number.into(),
            dealership_id: dealership(2),
            user_id: None,
            display_name: String::new(),
            ha1_md5: String::new(),
            ha1_sha256: String::new(),
        };
        let directory = Directory {
            extensions: vec![extension("8001"), extension("8002")],
            ..Directory::default()
        };
        Observer::new(Perspective {
            dealership_id: dealership(1),
            directory: Arc::new(directory),
            trunks: Vec::new(),
        })
    }

    fn sdp(port: u16, extra: &str) -> String {
        format!(
            "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n\
             m=audio {port} RTP/AVP 8\r\n{extra}"
        )
    }

    struct Script {
        observer: Observer,
        at: i64,
        caller: &'static str,
        called: &'static str,
    }

    impl Script {
        fn new(caller: &'static str, called: &'static str) -> Self {
            Self { observer: observer(), at: 1_000_000, caller, called }
        }

        /// `start` is a method or a status; `tags` are those of From and To.
        fn say(
            &mut self,
            leg: (&str, &str),
            start: &str,
            cseq: &str,
            tags: (&str, &str),
            body: &str,
        ) {
            let Self { caller, called, .. } = *self;
            let line = if start.starts_with(|first: char| first.is_ascii_digit()) {
                format!("SIP/2.0 {start} Reason")
            } else {
                format!("{start} sip:{called}@example.com SIP/2.0")
            };
            let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
            let message = format!(
                "{line}\r\nVia: SIP/2.0/UDP x;branch=z9hG4bK1\r\n\
                 From: <sip:{caller}@example.com>;tag={}\r\nTo: <sip:{called}@example.com>{}\r\n\
                 Call-ID: one\r\nCSeq: {cseq}\r\n{kind}Content-Length: {}\r\n\r\n{body}",
                tags.0,
                if tags.1.is_empty() { String::new() } else { format!(";tag={}", tags.1) },
                body.len()
            );
            self.at += 1000;
            let at = Timestamp::from_micros(self.at);
            self.observer.message(at, address(leg.0), address(leg.1), message.as_bytes());
        }

        fn told(&mut self) -> Vec<String> {
            std::iter::from_fn(|| self.observer.poll())
                .map(|observed| match observed {
                    Observed::Listens { lane, rtp, .. } => format!("{lane:?} at {}", rtp.port()),
                    Observed::Event(TapEvent { kind, .. }) => match kind {
                        TapKind::Offered(offer) => {
                            format!(
                                "{:?} {} to {}",
                                offer.direction, offer.caller.number, offer.called
                            )
                        }
                        TapKind::Ringing { extension, .. } => format!("ringing {extension}"),
                        TapKind::FarEndRinging => "far end ringing".into(),
                        TapKind::Withdrawn { why, .. } => format!("withdrawn {why:?}"),
                        TapKind::Answered { extension } => format!("answered {extension}"),
                        TapKind::Formats { lane, formats } => {
                            format!("{lane:?} sends {}", formats[0].encoding)
                        }
                        TapKind::Held { by } => format!("held by {by:?}"),
                        TapKind::Resumed { by } => format!("resumed by {by:?}"),
                        TapKind::Ended { cause, by, sip_status } => {
                            format!("ended {cause:?} {by:?} {sip_status:?}")
                        }
                        other => format!("{other:?}"),
                    },
                })
                .collect()
        }
    }

    #[test]
    fn a_call_through_a_proxy_is_one_call_though_every_message_is_seen_twice() {
        let mut script = Script::new("13812345678", "8001");
        let legs = [(CUSTOMER, PROXY), (PROXY, AGENT)];
        for leg in legs {
            script.say(leg, "INVITE", "1 INVITE", ("a", ""), &sdp(4000, ""));
        }
        let back = legs.map(|(from, to)| (to, from));
        for (status, body) in [("180", String::new()), ("200", sdp(5000, ""))] {
            for leg in [back[1], back[0]] {
                script.say(leg, status, "1 INVITE", ("a", "b"), &body);
            }
        }
        for leg in [back[1], back[0]] {
            script.say(leg, "BYE", "1 BYE", ("b", "a"), "");
        }
        let told = script.told();
        let mut once = told.clone();
        once.dedup();
        assert_eq!(
            once,
            [
                "Inbound 13812345678 to 8001",
                "Customer at 4000",
                "ringing 8001",
                "answered 8001",
                "Customer sends PCMA",
                "Agent sends PCMA",
                "Agent at 5000",
                "ended HungUp Some(Agent) None",
            ]
        );
    }

    #[test]
    fn our_side_is_right_whoever_calls() {
        for (caller, called, want) in [
            ("13812345678", "8001", ["Inbound 13812345678 to 8001", "Customer at 4000"]),
            ("8001", "13812345678", ["Outbound 8001 to 13812345678", "Agent at 4000"]),
            ("8001", "8002", ["Internal 8001 to 8002", "Customer at 4000"]),
            ("1001", "1002", ["Inbound 1001 to 1002", "Customer at 4000"]),
        ] {
            let mut script = Script::new(caller, called);
            script.say((CUSTOMER, AGENT), "INVITE", "1 INVITE", ("a", ""), &sdp(4000, ""));
            assert_eq!(script.told(), want);
        }
    }

    #[test]
    fn a_challenge_does_not_end_a_call_and_another_branch_refusing_neither() {
        let mut script = Script::new("13812345678", "8001");
        let there = (CUSTOMER, PROXY);
        let back = (PROXY, CUSTOMER);
        script.say(there, "INVITE", "1 INVITE", ("a", ""), &sdp(4000, ""));
        script.say(back, "407", "1 INVITE", ("a", "x"), "");
        script.say(there, "ACK", "1 ACK", ("a", "x"), "");
        script.say(there, "INVITE", "2 INVITE", ("a", ""), &sdp(4000, ""));
        script.say((PROXY, AGENT), "INVITE", "2 INVITE", ("a", ""), &sdp(4000, ""));
        script.say((AGENT, PROXY), "486", "2 INVITE", ("a", "y"), "");
        script.say(back, "200", "2 INVITE", ("a", "b"), &sdp(5000, ""));
        let told = script.told();
        assert!(told.contains(&"answered 8001".to_owned()), "{told:?}");
        assert!(!told.iter().any(|word| word.starts_with("ended")), "{told:?}");
    }

    #[test]
    fn calls_end_as_they_ended() {
        for (status, want) in [
            ("486", "ended Busy None Some(486)"),
            ("603", "ended Declined None Some(603)"),
            ("404", "ended NotFound None Some(404)"),
        ] {
            let mut script = Script::new("13812345678", "8001");
            script.say((CUSTOMER, AGENT), "INVITE", "1 INVITE", ("a", ""), "");
            script.say((AGENT, CUSTOMER), status, "1 INVITE", ("a", "b"), "");
            // Repeated, and then a stray BYE.
            script.say((AGENT, CUSTOMER), status, "1 INVITE", ("a", "b"), "");
            script.say((CUSTOMER, AGENT), "BYE", "2 BYE", ("a", "b"), "");
            assert_eq!(script.told()[1..], [want]);
        }
        let mut script = Script::new("13812345678", "8001");
        script.say((CUSTOMER, AGENT), "INVITE", "1 INVITE", ("a", ""), "");
        script.say((AGENT, CUSTOMER), "180", "1 INVITE", ("a", "b"), "");
        script.say((CUSTOMER, AGENT), "CANCEL", "1 CANCEL", ("a", ""), "");
        script.say((AGENT, CUSTOMER), "200", "1 CANCEL", ("a", "b"), "");
        script.say((AGENT, CUSTOMER), "487", "1 INVITE", ("a", "b"), "");
        assert_eq!(
            script.told()[2..],
            ["withdrawn CallerHungUp", "ended Cancelled Some(Customer) Some(487)",]
        );
    }

    #[test]
    fn hold_and_resume_name_who_pressed() {
        let mut script = Script::new("13812345678", "8001");
        script.say((CUSTOMER, AGENT), "INVITE", "1 INVITE", ("a", ""), &sdp(4000, ""));
        script.say((AGENT, CUSTOMER), "200", "1 INVITE", ("a", "b"), &sdp(5000, ""));
        script.told();
        let agent = (AGENT, CUSTOMER);
        script.say(agent, "INVITE", "7 INVITE", ("b", "a"), &sdp(5000, "a=sendonly\r\n"));
        let answer = sdp(4000, "a=recvonly\r\n");
        script.say((CUSTOMER, AGENT), "200", "7 INVITE", ("b", "a"), &answer);
        script.say(agent, "INVITE", "8 INVITE", ("b", "a"), &sdp(5000, ""));
        script.say((CUSTOMER, AGENT), "200", "8 INVITE", ("b", "a"), &sdp(4000, ""));
        let told = script.told();
        let holds: Vec<_> = told.iter().filter(|word| !word.contains(" at ")).collect();
        assert_eq!(holds, ["held by Agent", "resumed by Agent"]);
        assert!(told.contains(&"Customer at 4000".to_owned()));
    }

    #[test]
    fn what_never_ends_ends_with_the_capture() {
        let mut script = Script::new("13812345678", "8001");
        script.say((CUSTOMER, AGENT), "INVITE", "1 INVITE", ("a", ""), &sdp(4000, ""));
        script.say((AGENT, CUSTOMER), "407", "1 INVITE", ("a", "b"), "");
        script.observer.finish(Timestamp::from_micros(9));
        assert_eq!(script.told().last().unwrap(), "ended Failed None Some(407)");
        let mut script = Script::new("13812345678", "8001");
        script.say((CUSTOMER, AGENT), "INVITE", "1 INVITE", ("a", ""), &sdp(4000, ""));
        script.observer.finish(Timestamp::from_micros(9));
        assert_eq!(script.told().last().unwrap(), "ended Shutdown None None");
    }

    #[test]
    fn the_same_capture_gives_the_same_ids() {
        let id = |at| CallId::mint(Timestamp::from_micros(at), random_of("one", 0));
        assert_eq!(id(5), id(5));
        assert_ne!(random_of("one", 0), random_of("two", 0));
    }

    #[test]
    fn a_description_is_found_among_other_parts() {
        let body = format!(
            "--b\r\nContent-Type: application/sdp\r\n\r\n{}\r\n--b\r\n\
             Content-Type: application/rs-metadata+xml\r\n\r\n<x/>\r\n--b--\r\n",
            sdp(4000, "").trim_end()
        );
        let text = format!(
            "INVITE sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP x;branch=z9hG4bK1\r\n\
             From: <sip:a@b>;tag=1\r\nTo: <sip:a@b>\r\nCall-ID: 1\r\nCSeq: 1 INVITE\r\n\
             Content-Type: multipart/mixed;boundary=b\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let Ok(Message::Request(request)) = Message::parse(text.as_bytes()) else { panic!() };
        let found = description(&request.headers, &request.body).unwrap();
        assert_eq!(found.audio().unwrap().port, 4000);
    }
}
