//! Follows calls that others carry, from a mirror port or a capture file: the same events as of
//! our own calls, and where their media goes.
//!
//! It answers nothing and expects nothing to be complete: messages may be missing, doubled by a
//! proxy's two legs, or out of order, answers may come before their questions. A call is its
//! Call-ID, and its id depends on nothing but that and its time: a file read twice gives the same.
//!
//! Belongs here: SIP as seen from outside. Does not: finding SIP among packets, and which packet
//! is whose (`capture`).

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use cheling_media::srtp::MasterKey;
use cheling_model::call::{Format, Offer};
use cheling_model::directory::{CallerHeader, Directory, Trunk};
use cheling_model::{
    CallId, DealershipId, Direction, EndCause, Lane, TapEvent, TapKind, Timestamp,
};
use cheling_sip::{Message, Method, Request, Response};
use sha2::{Digest, Sha256};

use crate::identity;

mod followed;

use followed::{Followed, Way};

/// Calls followed at once; the oldest is ended to make room.
const MAX_CALLS: usize = 20_000;
/// Answers kept for an INVITE that may still come, per Call-ID and in all.
const MAX_EARLY: usize = 4;
const MAX_EARLY_CALLS: usize = 1000;
/// How long answers wait for their INVITE.
const EARLY_PATIENCE: Duration = Duration::from_secs(5);
/// How long an ended call is remembered, so that late copies do not begin it anew (RFC 3261:
/// timers D and K).
const REMEMBER: Duration = Duration::from_secs(64);
/// Unanswered calls and answered ones that no SIP is heard of for this long are over.
const RING_PATIENCE: Duration = Duration::from_secs(300);
const TALK_PATIENCE: Duration = Duration::from_secs(12 * 3600);
/// How often what is too old is looked for.
const SWEEP: Duration = Duration::from_secs(10);

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

/// What was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Something happened to a call.
    Tap(TapEvent),
    /// One side's media is protected, and its description has the key (SDES, RFC 4568); or it is
    /// protected no more.
    Keys {
        /// Which call.
        call_id: CallId,
        /// Which side sends so.
        lane: Lane,
        /// With what; `None` from when it is plain, or the key is not known.
        key: Option<MasterKey>,
        /// What the payload types are when it has been opened: `Formats` says only that it is SRTP.
        formats: Vec<Format>,
    },
    /// One side of a call wants its media here. Addresses add up until the call has ended.
    Listens {
        /// Which call.
        call_id: CallId,
        /// Which side.
        lane: Lane,
        /// Where its description wants RTP.
        rtp: SocketAddr,
        /// Where its description wants RTCP, if it says so; else RTP's next port.
        rtcp: Option<SocketAddr>,
        /// Where RTP may go as well: the host that sent the description, if that is another than
        /// it names. Behind NAT only this is seen.
        behind_nat: Option<SocketAddr>,
    },
}

/// Follows all calls that pass by.
#[derive(Debug)]
pub struct Observer {
    perspective: Perspective,
    calls: HashMap<String, Followed>,
    early: HashMap<String, Vec<Early>>,
    seen: VecDeque<Seen>,
    swept_at: Option<Timestamp>,
}

/// An answer whose INVITE has not been seen.
#[derive(Debug)]
struct Early {
    at: Timestamp,
    way: Way,
    response: Box<Response>,
}

impl Observer {
    /// An observer that has seen nothing.
    pub fn new(perspective: Perspective) -> Self {
        Self {
            perspective,
            calls: HashMap::new(),
            early: HashMap::new(),
            seen: VecDeque::new(),
            swept_at: None,
        }
    }

    /// What was seen next.
    pub fn poll(&mut self) -> Option<Seen> {
        self.seen.pop_front()
    }

    /// Takes one message that went from one address to another. What is no SIP is ignored.
    pub fn handle(&mut self, at: Timestamp, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        self.sweep(at);
        let way = Way { from, to };
        match Message::parse(bytes) {
            Ok(Message::Request(request)) => self.request(at, way, &request),
            Ok(Message::Response(response)) => self.response(at, way, Box::new(response)),
            Err(err) => tracing::debug!(%from, %err, "unreadable SIP"),
        }
    }

    /// Nothing more will be seen: calls in progress are over, as far as can be known. One that
    /// talked ended with the last that was heard of it: a message, or the media that `last_media`
    /// knows of; the others last until `at`.
    pub fn finish(&mut self, at: Timestamp, last_media: impl Fn(CallId) -> Option<Timestamp>) {
        let mut live: Vec<_> = self.calls.values_mut().filter(|call| call.is_live()).collect();
        live.sort_by_key(|call| call.id);
        for call in live {
            let heard_until = last_media(call.id).unwrap_or_default().max(call.heard_at);
            let ended_at = if call.is_talking() { heard_until.min(at) } else { at };
            call.vanish(ended_at, EndCause::Shutdown, &mut self.seen);
        }
    }

    /// Calls that are not over.
    pub fn live_calls(&self) -> usize {
        self.calls.values().filter(|call| call.is_live()).count()
    }

    fn request(&mut self, at: Timestamp, way: Way, request: &Request) {
        let Some(id) = request.headers.call_id().map(|id| id.into_owned()) else { return };
        let mut waiting = Vec::new();
        if request.method == Method::Invite && !self.calls.contains_key(&id) {
            self.make_room(at);
            let call = self.begin(at, &id, way, request);
            self.calls.insert(id.clone(), call);
            waiting = self.early.remove(&id).unwrap_or_default();
        }
        if let Some(call) = self.calls.get_mut(&id).filter(|call| call.is_live()) {
            call.request(at, way, request, &mut self.seen);
            for Early { way, response, .. } in waiting {
                call.response(at, way, &response, &mut self.seen);
            }
        }
    }

    fn response(&mut self, at: Timestamp, way: Way, response: Box<Response>) {
        let (Some(id), Some(cseq)) = (response.headers.call_id(), response.headers.cseq()) else {
            return;
        };
        if let Some(call) = self.calls.get_mut(&*id) {
            if call.is_live() {
                call.response(at, way, &response, &mut self.seen);
            }
            return;
        }
        let is_known = self.early.contains_key(&*id);
        if cseq.method == Method::Invite && (is_known || self.early.len() < MAX_EARLY_CALLS) {
            let waiting = self.early.entry(id.into_owned()).or_default();
            if waiting.len() < MAX_EARLY {
                waiting.push(Early { at, way, response });
            }
        }
    }

    fn begin(&mut self, at: Timestamp, sip_call_id: &str, way: Way, invite: &Request) -> Followed {
        let headers = &invite.headers;
        let directory = &self.perspective.directory;
        let trunk = self.perspective.trunks.iter().find(|it| it.is_at(way.from.ip()));
        let usual =
            [CallerHeader::PAssertedIdentity, CallerHeader::RemotePartyId, CallerHeader::From];
        let order = trunk.map(|it| &it.caller_from[..]).filter(|order| !order.is_empty());
        let caller = identity::caller(headers, order.unwrap_or(&usual));
        let from = headers.from();
        let from_user = from.as_ref().map(|from| identity::party(from).number).unwrap_or_default();
        let called = [Some(invite.uri.clone()), headers.to().map(|to| to.uri)]
            .into_iter()
            .flatten()
            .find_map(|uri| uri.user_unescaped().map(|user| user.into_owned()))
            .unwrap_or_default();
        let extension = |number: &str| directory.extensions.iter().find(|it| it.number == number);
        let line = directory.lines.iter().find(|it| it.did == called);
        // A phone of ours may assert the number of its trunk: From still is its own.
        let callers = extension(&caller.number).or_else(|| extension(&from_user));
        let callers = callers.filter(|_| trunk.is_none());
        let callees = extension(&called);
        let (direction, caller_lane) = match (callers, callees, line) {
            (Some(_), None, None) => (Direction::Outbound, Lane::Agent),
            (Some(_), _, _) => (Direction::Internal, Lane::Customer),
            // Nobody is known: who calls is the customer.
            (None, _, _) => (Direction::Inbound, Lane::Customer),
        };
        let id = CallId::mint(at, random_of(sip_call_id));
        let our_number = match (direction, callers) {
            (Direction::Outbound, Some(callers)) => callers.number.clone(),
            _ => called.clone(),
        };
        let dealership_id = callers.or(callees).map(|it| it.dealership_id);
        let dealership_id = dealership_id.or(line.map(|it| it.dealership_id));
        let offer = Offer {
            direction,
            dealership_id: dealership_id.unwrap_or(self.perspective.dealership_id),
            caller,
            called,
            trunk: trunk.map(|it| it.name.clone()),
            line_id: line.map(|it| it.line_id),
            extension: callers.map(|it| it.number.clone()),
            user_id: callers.and_then(|it| it.user_id),
            follow_up_id: None,
        };
        self.seen.push_back(Seen::Tap(TapEvent { call_id: id, at, kind: TapKind::Offered(offer) }));
        let caller_tag = from.as_ref().and_then(|from| from.tag()).unwrap_or_default().to_owned();
        Followed::new(id, at, way, caller_lane, caller_tag, our_number)
    }

    fn make_room(&mut self, at: Timestamp) {
        if self.calls.len() < MAX_CALLS {
            return;
        }
        self.calls.retain(|_, call| call.is_live() || at.since(call.heard_at) < REMEMBER);
        if self.calls.len() < MAX_CALLS {
            return;
        }
        let oldest = self.calls.iter().min_by_key(|(_, call)| call.id);
        if let Some(id) = oldest.map(|(id, _)| id.clone())
            && let Some(mut call) = self.calls.remove(&id)
            && call.is_live()
        {
            call.vanish(at, EndCause::Failed, &mut self.seen);
        }
    }

    /// Ends and forgets what is too old.
    fn sweep(&mut self, at: Timestamp) {
        if self.swept_at.is_some_and(|before| at.since(before) < SWEEP) {
            return;
        }
        self.swept_at = Some(at);
        self.early.retain(|_, waiting| {
            waiting.retain(|early| at.since(early.at) < EARLY_PATIENCE);
            !waiting.is_empty()
        });
        let seen = &mut self.seen;
        self.calls.retain(|_, call| {
            let silence = at.since(call.heard_at);
            if !call.is_live() {
                return silence < REMEMBER;
            }
            if !call.is_talking() && silence > RING_PATIENCE {
                call.vanish(at, EndCause::NoAnswer, seen);
            } else if silence > TALK_PATIENCE {
                call.vanish(at, EndCause::Failed, seen);
            }
            true
        });
    }
}

/// Ten bytes that are the same for the same Call-ID, so that a file imported twice gives the same
/// ids and no second recording.
fn random_of(sip_call_id: &str) -> [u8; 10] {
    let mut bytes = [0; 10];
    for (to, from) in bytes.iter_mut().zip(Sha256::digest(sip_call_id.as_bytes())) {
        *to = from;
    }
    bytes
}
