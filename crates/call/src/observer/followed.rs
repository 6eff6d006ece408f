//! One call of others: what each message says of it.
//!
//! A message may be a copy, seen before and after a proxy: whatever is told once is told by a
//! change of state, and a refusal counts only where the caller gets it.

use std::collections::VecDeque;
use std::net::SocketAddr;

use bytes::Bytes;
use cheling_media::srtp::{MasterKey, Suite};
use cheling_model::call::{Format, SRTP};
use cheling_model::{CallId, EndCause, Lane, LegId, TapEvent, TapKind, Timestamp, Withdrawal};
use cheling_sip::sdp::{Crypto, Direction, Sdp};
use cheling_sip::{Headers, Method, Request, Response};

use super::Seen;
use crate::b2bua::formats::formats;
use crate::b2bua::media::read_body;
use crate::b2bua::outcome;

/// The way a message went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Way {
    /// Whence.
    pub(super) from: SocketAddr,
    /// Whither.
    pub(super) to: SocketAddr,
}

/// Where a call stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Calling,
    Ringing,
    Talking,
    Ended,
}

/// The latest INVITE or UPDATE, as far as it decides who holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Asked {
    cseq: u32,
    from: Lane,
    /// The direction it offers; `None` if the answer brings the offer.
    offered: Option<Direction>,
}

/// One call.
#[derive(Debug)]
pub(super) struct Followed {
    pub(super) id: CallId,
    /// When SIP was last heard of it, or when it ended.
    pub(super) heard_at: Timestamp,
    caller_lane: Lane,
    caller_tag: String,
    /// Our side's number.
    extension: String,
    /// The way the first INVITE went; only its refusal is the call's.
    caller_way: Way,
    state: State,
    is_cancelled: bool,
    /// The last challenge or refusal that may yet be overcome.
    last_status: Option<u16>,
    /// Each side's last description: [customer, agent].
    descriptions: [Option<Sdp>; 2],
    /// Where each side was last said to listen.
    listens: [Option<SocketAddr>; 2],
    formats: [Vec<Format>; 2],
    /// With what each side protects its media, as last told.
    keys: [Option<MasterKey>; 2],
    asked: Option<Asked>,
    /// The direction that a 2xx offered to an INVITE without offer, and who did.
    offered_late: Option<(Lane, Direction)>,
    held_by: [bool; 2],
}

impl Followed {
    /// A call whose INVITE went this way.
    pub(super) fn new(
        id: CallId,
        at: Timestamp,
        caller_way: Way,
        caller_lane: Lane,
        caller_tag: String,
        extension: String,
    ) -> Self {
        Self {
            id,
            heard_at: at,
            caller_lane,
            caller_tag,
            extension,
            caller_way,
            state: State::Calling,
            is_cancelled: false,
            last_status: None,
            descriptions: [None, None],
            listens: [None, None],
            formats: [Vec::new(), Vec::new()],
            keys: [None, None],
            asked: None,
            offered_late: None,
            held_by: [false; 2],
        }
    }

    pub(super) fn is_live(&self) -> bool {
        self.state != State::Ended
    }

    pub(super) fn is_talking(&self) -> bool {
        self.state == State::Talking
    }

    pub(super) fn request(
        &mut self,
        at: Timestamp,
        way: Way,
        request: &Request,
        seen: &mut VecDeque<Seen>,
    ) {
        self.heard_at = self.heard_at.max(at);
        let lane = self.lane_of(&request.headers);
        let sdp = description(&request.headers, &request.body);
        let direction = sdp.as_ref().and_then(direction);
        match request.method {
            Method::Invite | Method::Update => {
                // A retry with credentials goes on where the challenge stopped it.
                if request.method == Method::Invite && way == self.caller_way {
                    self.last_status = None;
                }
                let cseq = request.headers.cseq().map_or(0, |cseq| cseq.number);
                // An UPDATE that only keeps a timer alive leaves a waiting answer its offer.
                if sdp.is_some() || request.method == Method::Invite {
                    self.asked = Some(Asked { cseq, from: lane, offered: direction });
                }
            }
            Method::Ack => {
                if let (Some((offerer, offered)), Some(answered)) = (self.offered_late, direction)
                    && offerer != lane
                {
                    self.offered_late = None;
                    self.agree(at, offerer, offered, answered, seen);
                }
            }
            Method::Cancel => self.is_cancelled = true,
            Method::Bye if self.is_talking() => {
                return self.end(at, EndCause::HungUp, Some(lane), None, seen);
            }
            _ => {}
        }
        let may_describe =
            matches!(request.method, Method::Invite | Method::Update | Method::Ack | Method::Prack);
        if let Some(sdp) = sdp.filter(|_| may_describe) {
            self.describe(at, lane, way, sdp, seen);
        }
    }

    pub(super) fn response(
        &mut self,
        at: Timestamp,
        way: Way,
        response: &Response,
        seen: &mut VecDeque<Seen>,
    ) {
        let headers = &response.headers;
        let Some(cseq) = headers.cseq() else { return };
        if !matches!(cseq.method, Method::Invite | Method::Update | Method::Prack) {
            return;
        }
        self.heard_at = self.heard_at.max(at);
        let lane = self.lane_of(headers).other();
        let sdp = description(headers, &response.body).filter(|_| response.status < 300);
        let is_answer = cseq.method == Method::Invite && response.is_success();
        let said = sdp.as_ref().and_then(direction);
        // The answer first: packets that waited for its description are then recorded.
        if is_answer && !self.is_talking() {
            self.descriptions[lane.index()] =
                sdp.clone().or(self.descriptions[lane.index()].take());
            self.state = State::Talking;
            self.tell(at, TapKind::Answered { extension: self.extension.clone() }, seen);
            self.tell_formats(at, seen);
        }
        if let (true, Some(said), Some(asked)) = (response.is_success(), said, self.asked)
            && (asked.cseq, asked.from) == (cseq.number, lane.other())
        {
            match asked.offered {
                Some(offered) => self.agree(at, asked.from, offered, said, seen),
                None => self.offered_late = Some((lane, said)),
            }
        }
        if let Some(sdp) = sdp {
            self.describe(at, lane, way, sdp, seen);
        }
        if cseq.method == Method::Invite {
            self.progress(at, way, response.status, seen);
        }
    }

    fn progress(&mut self, at: Timestamp, way: Way, status: u16, seen: &mut VecDeque<Seen>) {
        let is_callers = way == Way { from: self.caller_way.to, to: self.caller_way.from };
        match status {
            180..=199 => self.ring(at, seen),
            // The caller may try again: with credentials, or as told.
            300..=399 | 401 | 407 | 422 | 491 if is_callers => self.last_status = Some(status),
            status @ 400..=699 if is_callers && !self.is_talking() => {
                let is_cancelled = self.is_cancelled;
                let cause = if is_cancelled { EndCause::Cancelled } else { outcome::cause(status) };
                let by = (cause == EndCause::Cancelled).then_some(self.caller_lane);
                self.end(at, cause, by, Some(status), seen);
            }
            _ => {}
        }
    }

    /// The side that sent a request, or the one a response answers.
    fn lane_of(&self, headers: &Headers) -> Lane {
        let is_callers = headers.from_tag().unwrap_or_default() == self.caller_tag;
        if is_callers { self.caller_lane } else { self.caller_lane.other() }
    }

    fn tell(&self, at: Timestamp, kind: TapKind, seen: &mut VecDeque<Seen>) {
        seen.push_back(Seen::Tap(TapEvent { call_id: self.id, at, kind }));
    }

    fn leg(&self) -> LegId {
        LegId(self.id.0)
    }

    fn ring(&mut self, at: Timestamp, seen: &mut VecDeque<Seen>) {
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
        self.tell(at, kind, seen);
    }

    /// Takes what a side says of its media: where it listens and what it understands.
    fn describe(
        &mut self,
        at: Timestamp,
        lane: Lane,
        way: Way,
        sdp: Sdp,
        seen: &mut VecDeque<Seen>,
    ) {
        if let Some(line) = sdp.audio()
            && let Some(rtp) = line.rtp
        {
            // A copy of a description comes from a proxy, whose address says nothing.
            let is_news = self.listens[lane.index()] != Some(rtp);
            self.listens[lane.index()] = Some(rtp);
            let nat = SocketAddr::new(way.from.ip(), rtp.port());
            seen.push_back(Seen::Listens {
                call_id: self.id,
                lane,
                rtp,
                rtcp: line.rtcp,
                behind_nat: (is_news && nat != rtp).then_some(nat),
            });
        }
        self.descriptions[lane.index()] = Some(sdp);
        if self.is_talking() {
            self.tell_formats(at, seen);
        }
    }

    /// Tells what each side may send.
    fn tell_formats(&mut self, at: Timestamp, seen: &mut VecDeque<Seen>) {
        for lane in Lane::BOTH {
            let receiver = self.descriptions[lane.other().index()].as_ref();
            let sender = self.descriptions[lane.index()].as_ref();
            let mut formats = match (receiver, sender) {
                (Some(receiver), Some(sender)) => formats(receiver, sender),
                (Some(only), None) | (None, Some(only)) => formats(only, only),
                (None, None) => continue,
            };
            let (plain, mut key) = (formats.clone(), None);
            if is_encrypted(receiver, sender) {
                key = key_of(receiver, sender);
                for format in &mut formats {
                    format.encoding = SRTP.into();
                }
            }
            let is_news = !formats.is_empty() && formats != self.formats[lane.index()];
            if key != self.keys[lane.index()] || (is_news && key.is_some()) {
                self.keys[lane.index()].clone_from(&key);
                seen.push_back(Seen::Keys { call_id: self.id, lane, key, formats: plain });
            }
            if is_news {
                self.formats[lane.index()].clone_from(&formats);
                self.tell(at, TapKind::Formats { lane, voice: 0, formats }, seen);
            }
        }
    }

    /// An offer was answered: who holds now.
    fn agree(
        &mut self,
        at: Timestamp,
        offerer: Lane,
        offered: Direction,
        answered: Direction,
        seen: &mut VecDeque<Seen>,
    ) {
        self.hold(at, offerer, offered, seen);
        // An answer says something of its own only where the offer left it the choice.
        if offered == Direction::SendRecv {
            self.hold(at, offerer.other(), answered, seen);
        }
    }

    fn hold(&mut self, at: Timestamp, by: Lane, direction: Direction, seen: &mut VecDeque<Seen>) {
        let is_held = !direction.receives();
        if self.held_by[by.index()] == is_held {
            return;
        }
        self.held_by[by.index()] = is_held;
        let kind = if is_held { TapKind::Held { by } } else { TapKind::Resumed { by } };
        self.tell(at, kind, seen);
    }

    /// Nothing more is heard of the call.
    pub(super) fn vanish(&mut self, at: Timestamp, cause: EndCause, seen: &mut VecDeque<Seen>) {
        let status = self.last_status.filter(|_| !self.is_talking());
        self.end(at, status.map_or(cause, outcome::cause), None, status, seen);
    }

    fn end(
        &mut self,
        at: Timestamp,
        cause: EndCause,
        by: Option<Lane>,
        sip_status: Option<u16>,
        seen: &mut VecDeque<Seen>,
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
            self.tell(at, TapKind::Withdrawn { leg, extension, why }, seen);
        }
        self.state = State::Ended;
        self.heard_at = self.heard_at.max(at);
        self.descriptions = [None, None];
        self.tell(at, TapKind::Ended { cause, by, sip_status }, seen);
    }
}

/// Whether what is sent cannot be opened: the line is SRTP, or both sides have keys for it.
fn is_encrypted(receiver: Option<&Sdp>, sender: Option<&Sdp>) -> bool {
    let is_secure = |sdp: &Sdp| sdp.audio().is_some_and(|audio| audio.is_secure());
    let has_keys = |sdp: Option<&Sdp>| sdp.is_some_and(|sdp| !sdp.crypto().is_empty());
    [receiver, sender].into_iter().flatten().any(is_secure)
        || (has_keys(receiver) && has_keys(sender))
}

/// With what the sender protects its media: the line of its own description that has the tag and
/// suite of the other side's, for an answer repeats those of the line it takes (RFC 4568 §5.1.2).
fn key_of(receiver: Option<&Sdp>, sender: Option<&Sdp>) -> Option<MasterKey> {
    let (theirs, own) = (receiver?.crypto(), sender?.crypto());
    let is_taken = |line: &&Crypto| {
        theirs.iter().any(|it| it.tag == line.tag && it.suite.eq_ignore_ascii_case(&line.suite))
    };
    let line = own.iter().find(is_taken)?;
    let key = MasterKey::new(Suite::named(&line.suite)?, &line.key_and_salt)?;
    Some(key.with_mki(line.mki_bytes))
}

fn direction(sdp: &Sdp) -> Option<Direction> {
    sdp.audio().map(|line| line.direction)
}

fn description(headers: &Headers, body: &Bytes) -> Option<Sdp> {
    read_body(headers, body).ok().flatten()
}
