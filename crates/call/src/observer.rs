//! Follows calls that others carry, from a mirror port or a capture file: the same events as from
//! our own calls, and which RTP belongs to whom.
//!
//! Each message may be seen twice (before and after a proxy), some never, and answers before their
//! questions. A call is its Call-ID; its media are where the descriptions say.
//!
//! Belongs here: SIP as seen from outside. Does not: finding SIP and RTP among packets (`capture`).

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use cheling_model::call::{Offer, Party};
use cheling_model::directory::CallerHeader;
use cheling_model::{
    CallId, DealershipId, Direction, EndCause, Lane, LegId, Now, TapEvent, TapKind,
};
use cheling_sip::{Headers, Message, Method, Request, Response, Sdp};

use crate::b2bua::media::{Change, Media, read_body};
use crate::b2bua::outcome;
use crate::identity;
use crate::random::Random;

/// Calls followed at once; more are not seen.
const MAX_CALLS: usize = 20_000;
/// Answers kept for an INVITE that may still come, per Call-ID and in all.
const MAX_EARLY: usize = 4;
const MAX_EARLY_CALLS: usize = 1000;
/// How long answers wait for their INVITE.
const EARLY_PATIENCE: Duration = Duration::from_secs(5);
/// How long a call that is over is remembered, so that late copies begin no other.
const LINGER: Duration = Duration::from_secs(64);
/// Unanswered calls and answered ones that nothing is heard of for this long are over.
const RING_PATIENCE: Duration = Duration::from_secs(300);
const TALK_PATIENCE: Duration = Duration::from_secs(12 * 3600);
/// How often what is too old is looked for.
const SWEEP: Duration = Duration::from_secs(10);

/// What the observer is told once.
#[derive(Clone, Debug)]
pub struct Watch {
    /// Whose calls these are.
    pub dealership_id: DealershipId,
    /// Numbers of our side. A call between two of them is internal.
    pub extensions: HashSet<String>,
    /// SIP addresses of our side, for phones whose numbers are not known.
    pub addresses: HashSet<IpAddr>,
    /// Which header names the caller, best first.
    pub caller_from: Vec<CallerHeader>,
    /// Seeds the ids.
    pub seed: u64,
}

/// What was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Something happened to a call.
    Tap(TapEvent),
    /// RTP that goes to `receiver`, and RTCP to `rtcp`, belongs to the call and is spoken by `lane`.
    /// Addresses add up until [`Seen::Close`].
    Expect {
        /// Which call.
        call_id: CallId,
        /// Who speaks in the packets that go there.
        lane: Lane,
        /// Where RTP goes.
        receiver: SocketAddr,
        /// Where RTCP goes.
        rtcp: SocketAddr,
    },
    /// The call is over: when its last packet has been taken, say so by [`Observer::media_closed`].
    Close {
        /// Which call.
        call_id: CallId,
    },
}

/// Follows calls. Feed it messages, then take what [`Observer::poll`] has.
#[derive(Debug)]
pub struct Observer {
    watch: Watch,
    random: Random,
    calls: HashMap<String, Followed>,
    early: HashMap<String, Vec<Early>>,
    seen: VecDeque<Seen>,
    swept_at: Option<Instant>,
}

/// An answer whose INVITE has not been seen.
#[derive(Debug)]
struct Early {
    at: Instant,
    source: SocketAddr,
    destination: SocketAddr,
    response: Response,
}

/// Where a followed call stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// No answer yet.
    Calling { is_ringing: bool, is_cancelled: bool },
    /// Both sides talk.
    Talking,
    /// Over.
    Over,
}

/// One call.
#[derive(Debug)]
struct Followed {
    id: CallId,
    leg_id: LegId,
    stage: Stage,
    caller_tag: String,
    /// Whence the INVITE was first seen to come: refusals count when they go back there.
    caller_address: SocketAddr,
    caller_lane: Lane,
    /// Our side's number.
    extension: String,
    /// Whether the called side is ours: then its ringing is a phone of ours ringing.
    rings_with_us: bool,
    media: Media,
    /// The latest INVITE or UPDATE: its CSeq number, its side, and its offer.
    asked: (u32, Lane, Option<Sdp>),
    /// The offer that a 2xx brought and an ACK will answer.
    offered_late: Option<(Lane, Sdp)>,
    expected: HashSet<(Lane, SocketAddr)>,
    heard_at: Instant,
}

impl Observer {
    /// An observer that has seen nothing.
    pub fn new(watch: Watch) -> Self {
        let random = Random::new(&[0; 32], watch.seed);
        Self {
            watch,
            random,
            calls: HashMap::new(),
            early: HashMap::new(),
            seen: VecDeque::new(),
            swept_at: None,
        }
    }

    /// Takes one SIP message that went from `source` to `destination`.
    pub fn handle(&mut self, now: Now, source: SocketAddr, destination: SocketAddr, bytes: &[u8]) {
        self.sweep(now);
        let Ok(message) = Message::parse(bytes) else { return };
        let Some(sip_call_id) = message.headers().call_id().map(|id| id.into_owned()) else {
            return;
        };
        match message {
            Message::Request(request) => {
                self.request(now, &sip_call_id, source, &request);
            }
            Message::Response(response) => {
                self.response(now, sip_call_id, source, destination, response);
            }
        }
    }

    /// What was seen next.
    pub fn poll(&mut self) -> Option<Seen> {
        self.seen.pop_front()
    }

    /// The last packet of a call that is over has been taken.
    pub fn media_closed(
        &mut self,
        now: Now,
        call_id: CallId,
        received_packets: [u64; 2],
        tap_dropped_packets: [u64; 2],
    ) {
        let kind = TapKind::RelayClosed { received_packets, tap_dropped_packets };
        self.seen.push_back(Seen::Tap(TapEvent { call_id, at: now.wall, kind }));
    }

    /// Nothing more will be seen: calls in progress are over.
    pub fn finish(&mut self, now: Now) {
        let mut live: Vec<String> = self
            .calls
            .iter()
            .filter(|(_, call)| call.stage != Stage::Over)
            .map(|(sip_call_id, _)| sip_call_id.clone())
            .collect();
        live.sort_unstable();
        for sip_call_id in live {
            if let Some(call) = self.calls.get_mut(&sip_call_id) {
                call.end(now, &mut self.seen, EndCause::Shutdown, None, None);
            }
        }
    }

    /// Calls that are not over.
    pub fn live_calls(&self) -> usize {
        self.calls.values().filter(|call| call.stage != Stage::Over).count()
    }

    fn request(&mut self, now: Now, sip_call_id: &str, source: SocketAddr, request: &Request) {
        if request.method == Method::Invite && !self.calls.contains_key(sip_call_id) {
            if request.is_in_dialog() || self.calls.len() >= MAX_CALLS {
                return;
            }
            let Some(call) = self.begin(now, source, request) else { return };
            self.calls.insert(sip_call_id.to_owned(), call);
            for early in self.early.remove(sip_call_id).unwrap_or_default() {
                let Early { source, destination, response, .. } = early;
                self.response(now, sip_call_id.to_owned(), source, destination, response);
            }
            return;
        }
        let Some(call) = self.calls.get_mut(sip_call_id) else { return };
        if call.stage == Stage::Over {
            return;
        }
        call.heard_at = now.monotonic;
        let from = call.lane_of(&request.headers);
        match request.method {
            Method::Invite | Method::Update => call.ask(source, from, request),
            Method::Ack => call.acknowledge(now, &mut self.seen, source, from, request),
            Method::Cancel => {
                if let Stage::Calling { is_cancelled, .. } = &mut call.stage {
                    *is_cancelled = true;
                }
            }
            Method::Bye => {
                call.end(now, &mut self.seen, EndCause::HungUp, Some(from), None);
            }
            _ => {}
        }
    }

    fn begin(&mut self, now: Now, source: SocketAddr, request: &Request) -> Option<Followed> {
        let headers = &request.headers;
        let from = headers.from()?;
        let caller = identity::caller(headers, &self.watch.caller_from);
        let called = [Some(request.uri.clone()), headers.to().map(|to| to.uri)]
            .into_iter()
            .flatten()
            .find_map(|uri| uri.user_unescaped().map(|user| user.into_owned()))
            .unwrap_or_default();
        let from_user = identity::party(&from).number;
        let is_ours = |number: &str| self.watch.extensions.contains(number);
        let from_us = is_ours(&caller.number)
            || is_ours(&from_user)
            || self.watch.addresses.contains(&source.ip());
        let (direction, caller_lane) = match (from_us, is_ours(&called)) {
            (true, true) => (Direction::Internal, Lane::Customer),
            (true, false) => (Direction::Outbound, Lane::Agent),
            (false, _) => (Direction::Inbound, Lane::Customer),
        };
        let extension = match direction {
            Direction::Outbound => from_user.clone(),
            Direction::Inbound | Direction::Internal => called.clone(),
        };
        let unspecified = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut call = Followed {
            id: self.random.call_id(now.wall),
            leg_id: self.random.leg_id(now.wall),
            stage: Stage::Calling { is_ringing: false, is_cancelled: false },
            caller_tag: from.tag().unwrap_or_default().to_owned(),
            caller_address: source,
            caller_lane,
            extension,
            rings_with_us: direction != Direction::Outbound,
            media: Media::new([unspecified; 2], [0, 0]),
            asked: (0, caller_lane, None),
            offered_late: None,
            expected: HashSet::new(),
            heard_at: now.monotonic,
        };
        let offer = Offer {
            direction,
            dealership_id: self.watch.dealership_id,
            caller: Party { ..caller },
            called,
            trunk: None,
            line_id: None,
            extension: (direction != Direction::Inbound).then_some(from_user),
            user_id: None,
            follow_up_id: None,
        };
        call.tap(now, &mut self.seen, TapKind::Offered(offer));
        call.ask(source, caller_lane, request);
        if let (_, lane, Some(offer)) = call.asked.clone() {
            call.expect(&mut self.seen, lane, &offer, source);
        }
        Some(call)
    }

    fn response(
        &mut self,
        now: Now,
        sip_call_id: String,
        source: SocketAddr,
        destination: SocketAddr,
        response: Response,
    ) {
        let Some(cseq) = response.headers.cseq() else { return };
        if !matches!(cseq.method, Method::Invite | Method::Update) {
            return;
        }
        let Some(call) = self.calls.get_mut(&sip_call_id) else {
            let is_known = self.early.contains_key(&sip_call_id);
            if cseq.method == Method::Invite && (is_known || self.early.len() < MAX_EARLY_CALLS) {
                let waiting = self.early.entry(sip_call_id).or_default();
                if waiting.len() < MAX_EARLY {
                    let at = now.monotonic;
                    waiting.push(Early { at, source, destination, response });
                }
            }
            return;
        };
        if call.stage == Stage::Over || cseq.number != call.asked.0 {
            return;
        }
        call.heard_at = now.monotonic;
        match call.stage {
            Stage::Calling { .. } => {
                call.progress(now, &mut self.seen, source, destination, &response);
            }
            Stage::Talking if response.is_success() => {
                call.agree(now, &mut self.seen, source, &response);
            }
            Stage::Talking | Stage::Over => {}
        }
    }

    fn sweep(&mut self, now: Now) {
        let age = |at: Instant| now.monotonic.saturating_duration_since(at);
        if self.swept_at.is_some_and(|at| age(at) < SWEEP) {
            return;
        }
        self.swept_at = Some(now.monotonic);
        self.early.retain(|_, waiting| {
            waiting.retain(|early| age(early.at) < EARLY_PATIENCE);
            !waiting.is_empty()
        });
        let seen = &mut self.seen;
        self.calls.retain(|_, call| {
            let silence = age(call.heard_at);
            match call.stage {
                Stage::Calling { .. } if silence > RING_PATIENCE => {
                    call.end(now, seen, EndCause::NoAnswer, None, Some(408));
                }
                Stage::Talking if silence > TALK_PATIENCE => {
                    call.end(now, seen, EndCause::Failed, None, None);
                }
                Stage::Over => return silence < LINGER,
                Stage::Calling { .. } | Stage::Talking => {}
            }
            true
        });
    }
}

impl Followed {
    fn tap(&self, now: Now, seen: &mut VecDeque<Seen>, kind: TapKind) {
        seen.push_back(Seen::Tap(TapEvent { call_id: self.id, at: now.wall, kind }));
    }

    /// The side that sent a request.
    fn lane_of(&self, headers: &Headers) -> Lane {
        let is_caller =
            headers.from().is_some_and(|from| from.tag().unwrap_or_default() == self.caller_tag);
        if is_caller { self.caller_lane } else { self.caller_lane.other() }
    }

    /// An INVITE or UPDATE: a copy of the latest is no news.
    fn ask(&mut self, _source: SocketAddr, from: Lane, request: &Request) {
        let number = request.headers.cseq().map_or(0, |cseq| cseq.number);
        if (number, from) == (self.asked.0, self.asked.1) {
            return;
        }
        let offer = read_body(&request.headers, &request.body).ok().flatten();
        // An UPDATE that only keeps a timer alive leaves a waiting answer its offer.
        if offer.is_some() || request.method == Method::Invite {
            self.asked = (number, from, offer);
        }
    }

    fn progress(
        &mut self,
        now: Now,
        seen: &mut VecDeque<Seen>,
        source: SocketAddr,
        destination: SocketAddr,
        response: &Response,
    ) {
        let Stage::Calling { is_ringing, is_cancelled } = self.stage else { return };
        match response.status {
            100 => {}
            101..=199 => {
                self.agree(now, seen, source, response);
                if !is_ringing {
                    self.stage = Stage::Calling { is_ringing: true, is_cancelled };
                    let ringing = if self.rings_with_us {
                        TapKind::Ringing { leg: self.leg_id, extension: self.extension.clone() }
                    } else {
                        TapKind::FarEndRinging
                    };
                    self.tap(now, seen, ringing);
                }
            }
            200..=299 => {
                self.stage = Stage::Talking;
                self.agree(now, seen, source, response);
                self.tap(now, seen, TapKind::Answered { extension: self.extension.clone() });
            }
            // The caller comes back with a password.
            401 | 407 => {}
            // A branch of a proxy gave up, not the call.
            _ if destination != self.caller_address => {}
            status => {
                let by = is_cancelled.then_some(self.caller_lane);
                if is_ringing && self.rings_with_us {
                    let why = match is_cancelled {
                        true => cheling_model::Withdrawal::CallerHungUp,
                        false => outcome::withdrawal(status),
                    };
                    let extension = self.extension.clone();
                    self.tap(now, seen, TapKind::Withdrawn { leg: self.leg_id, extension, why });
                }
                let cause = if is_cancelled { EndCause::Cancelled } else { outcome::cause(status) };
                self.end(now, seen, cause, by, Some(status));
            }
        }
    }

    /// A 1xx or 2xx with a description: the answer, or the offer of an INVITE without one.
    fn agree(
        &mut self,
        now: Now,
        seen: &mut VecDeque<Seen>,
        source: SocketAddr,
        response: &Response,
    ) {
        let Ok(Some(sdp)) = read_body(&response.headers, &response.body) else { return };
        let (_, asker, offer) = self.asked.clone();
        self.expect(seen, asker.other(), &sdp, source);
        match offer {
            Some(offer) => {
                self.expect(seen, asker, &offer, self.caller_address);
                self.changed(now, seen, asker, &offer, &sdp);
            }
            None if response.is_success() => self.offered_late = Some((asker.other(), sdp)),
            None => {}
        }
    }

    /// An ACK, with the answer to an offer that came late.
    fn acknowledge(
        &mut self,
        now: Now,
        seen: &mut VecDeque<Seen>,
        source: SocketAddr,
        from: Lane,
        ack: &Request,
    ) {
        let Ok(Some(answer)) = read_body(&ack.headers, &ack.body) else { return };
        if let Some((offerer, offer)) = self.offered_late.take_if(|(lane, _)| *lane != from) {
            self.expect(seen, from, &answer, source);
            self.changed(now, seen, offerer, &offer, &answer);
        }
    }

    fn changed(
        &mut self,
        now: Now,
        seen: &mut VecDeque<Seen>,
        offerer: Lane,
        offer: &Sdp,
        answer: &Sdp,
    ) {
        for change in self.media.agree(offerer, offer, answer) {
            if let Change::Tap(kind) = change {
                self.tap(now, seen, kind);
            }
        }
    }

    /// What goes to where `listener` wants its media is spoken by the other side. Behind NAT, the
    /// description's address may be another than the one the message came from: either will do.
    fn expect(&mut self, seen: &mut VecDeque<Seen>, listener: Lane, sdp: &Sdp, source: SocketAddr) {
        let Some(line) = sdp.audio() else { return };
        let Some(rtp) = line.rtp else { return };
        let rtcp = line.rtcp.unwrap_or(rtp);
        let lane = listener.other();
        if !self.expected.insert((lane, rtp)) {
            // Seen before: this copy comes from a proxy, whose address says nothing.
            return;
        }
        self.expected.insert((lane, SocketAddr::new(source.ip(), rtp.port())));
        let mut hosts = vec![rtp.ip(), source.ip()];
        hosts.dedup();
        for ip in hosts.into_iter().filter(|ip| !ip.is_unspecified()) {
            let receiver = SocketAddr::new(ip, rtp.port());
            let rtcp = SocketAddr::new(ip, rtcp.port());
            seen.push_back(Seen::Expect { call_id: self.id, lane, receiver, rtcp });
        }
    }

    fn end(
        &mut self,
        now: Now,
        seen: &mut VecDeque<Seen>,
        cause: EndCause,
        by: Option<Lane>,
        sip_status: Option<u16>,
    ) {
        self.stage = Stage::Over;
        self.heard_at = now.monotonic;
        self.tap(now, seen, TapKind::Ended { cause, by, sip_status });
        seen.push_back(Seen::Close { call_id: self.id });
    }
}
