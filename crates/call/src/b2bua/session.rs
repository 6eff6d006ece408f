//! Session timers (RFC 4028): each side's own, agreed on with it alone, whatever the other agreed.
//!
//! A side that vanished is found out by it: who was to give a sign of life gave none, or had none
//! answered, and both sides get their BYE. Sides that know nothing of timers are asked by OPTIONS
//! (`talk`).

use std::time::{Duration, Instant};

use cheling_model::{CallId, EndCause, Lane};
use cheling_sip::sdp::Sdp;
use cheling_sip::session_timer::{Policy, Refresher, SessionTimer, Terms, TimerOutput};
use cheling_sip::{ClientId, Headers, Method, Name, Request, Response};

use super::exchange::{Exchange, Step};
use super::leg::Leg;
use super::media::read_body;
use super::talk::Talk;
use super::{Call, Ending};
use crate::core::{Core, Entries};

/// What both sides hear when one has given no sign of life.
pub(super) const EXPIRED: &str = "SIP;cause=408;text=\"Session expired\"";
/// How long a sign of life may take that was due before anybody looked.
const GRACE: Duration = Duration::from_secs(32);
/// When a refresh that came at a bad time is tried again.
const LATER: Duration = Duration::from_secs(5);

/// The session of one side.
#[derive(Debug, Default)]
pub(super) struct Session {
    /// What was agreed on last: the interval in seconds, and the clock that it started.
    agreed: Option<(u32, SessionTimer)>,
    /// Whether an UPDATE can refresh it; otherwise a re-INVITE does.
    knows_update: bool,
    /// Whether it follows a REFER.
    knows_refer: bool,
    /// The least interval that the other side has insisted on, in seconds.
    min_se_s: u32,
    /// The sign of life under way that is no exchange of the talk.
    pub(super) refreshing: Option<ClientId>,
    /// When a refresh is tried again.
    again_at: Option<Instant>,
}

impl Session {
    /// Asks for a timer in a re-INVITE or UPDATE of ours: the one there is, by who refreshes it
    /// now.
    pub(super) fn ask(&self, policy: &Policy, request: &mut Request) {
        let min_s = policy.min_s.max(self.min_se_s);
        let Some((interval_s, timer)) = self.agreed else {
            Policy { min_s, ..*policy }.ask(request, None);
            return;
        };
        let are_we = matches!(timer, SessionTimer::Refreshing { .. })
            || self.refreshing.is_some()
            || self.again_at.is_some();
        let refresher = if are_we { Refresher::Uac } else { Refresher::Uas };
        Policy { wanted_s: Some(interval_s), min_s }.ask(request, Some(refresher));
    }

    /// Notes what was agreed on, by our part in it.
    pub(super) fn agree(&mut self, now: Instant, terms: Option<Terms>, our_part: Refresher) {
        self.agreed = terms.map(|terms| (terms.interval_s, terms.start(now, our_part)));
        self.again_at = None;
    }

    /// How an offer that came by `method` is made to this side: by re-INVITE where it has not said
    /// that it knows UPDATE (RFC 3311 §4).
    pub(super) fn way_for(&self, method: &Method) -> Method {
        match method {
            Method::Update if !self.knows_update => Method::Invite,
            method => method.clone(),
        }
    }

    /// Notes what the other side can do.
    pub(super) fn learn(&mut self, headers: &Headers) {
        if headers.has(Name::Allow) {
            self.knows_update = headers.lists(Name::Allow, Method::Update.as_str());
            self.knows_refer = headers.lists(Name::Allow, Method::Refer.as_str());
        }
    }

    /// The other side has said before that it takes UPDATE.
    pub(super) fn allow_update(&mut self) {
        self.knows_update = true;
    }

    /// Whether it has said so.
    pub(super) fn takes_update(&self) -> bool {
        self.knows_update
    }

    /// Whether the other side has said that it follows a REFER.
    pub(super) fn takes_refer(&self) -> bool {
        self.knows_refer
    }

    /// Takes the Min-SE of a 422; whether asking again is of use.
    pub(super) fn insist(&mut self, refusal: &Response) -> bool {
        let Some(min_se_s) = refusal.headers.min_se_s().filter(|least| *least > self.min_se_s)
        else {
            return false;
        };
        self.min_se_s = min_se_s;
        true
    }

    /// The call goes on after a time in which nobody looked at the clock: what was due in it is
    /// due now, but for the end.
    pub(super) fn resume(&mut self, now: Instant) {
        let Some((interval_s, timer)) = self.agreed else { return };
        if timer.next_timeout().is_some_and(|at| at <= now) {
            let timer = SessionTimer::Refreshing { refresh_at: now, ends_at: now + GRACE };
            self.agreed = Some((interval_s, timer));
        }
    }

    /// Whether there is a timer.
    pub(super) fn is_timed(&self) -> bool {
        self.agreed.is_some()
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let timer = self.agreed.and_then(|(_, timer)| timer.next_timeout());
        timer.into_iter().chain(self.again_at).min()
    }

    fn due(&mut self, now: Instant) -> Option<TimerOutput> {
        if let Some((interval_s, timer)) = self.agreed {
            let (timer, output) = timer.handle_timeout(now);
            self.agreed = Some((interval_s, timer));
            if output.is_some() {
                return output;
            }
        }
        self.again_at.take_if(|at| *at <= now).map(|_| TimerOutput::Refresh)
    }

    fn again(&mut self, at: Instant) {
        self.again_at = Some(at);
    }
}

impl Call {
    /// Does what the session timers want. What is returned ends the call.
    pub(super) fn sessions_due(&mut self, core: &mut Core, talk: &mut Talk) -> Option<Ending> {
        for lane in Lane::BOTH {
            match talk.legs[lane.index()].session.due(core.now.monotonic) {
                None => {}
                Some(TimerOutput::Refresh) => self.refresh(core, talk, lane),
                Some(TimerOutput::End) => {
                    tracing::warn!(call_id = %self.id, ?lane, "no sign of life: session expired");
                    return Some(expired());
                }
            }
        }
        None
    }

    /// Gives this side our sign of life, and asks for its own.
    fn refresh(&mut self, core: &mut Core, talk: &mut Talk, lane: Lane) {
        let offer = self.media.as_ref().and_then(|media| media.sent(lane));
        let offer = offer.filter(|_| talk.exchange.is_none());
        let leg = &mut talk.legs[lane.index()];
        let client = leg.give_sign(core, self.id, &mut self.entries, offer);
        if let Some(client) = client {
            talk.exchange = Some(Exchange::refreshing(lane.other(), client));
        }
    }

    /// An UPDATE that was to refresh has its answer; `None` if it was none of these. An inner
    /// ending ends the call.
    pub(super) fn update_answered(
        &mut self,
        core: &mut Core,
        talk: &mut Talk,
        client: ClientId,
        response: &Response,
    ) -> Option<Option<Ending>> {
        let lane = talk.lane_refreshing(client)?;
        talk.legs[lane.index()].session.refreshing = None;
        Some(self.refreshed(core, talk, lane, client, response))
    }

    /// A refresh has its answer. What is returned ends the call.
    pub(super) fn refreshed(
        &mut self,
        core: &mut Core,
        talk: &mut Talk,
        lane: Lane,
        client: ClientId,
        response: &Response,
    ) -> Option<Ending> {
        match talk.legs[lane.index()].sign_answered(core, client, response) {
            Sign::Given(answer) => {
                if let (Some(sdp), Some(media)) = (answer, self.media.as_mut()) {
                    media.hear(lane, &sdp);
                    let changes = media.point(lane, &sdp);
                    self.changed(core, changes);
                }
            }
            Sign::Again => self.refresh(core, talk, lane),
            Sign::Later => {}
            Sign::Gone => return Some(expired()),
        }
        None
    }
}

/// What a side makes of our sign of life.
#[derive(Debug)]
pub(super) enum Sign {
    /// It has given its own, and this answer to our offer, if there was one.
    Given(Option<Box<Sdp>>),
    /// It wants another one at once.
    Again,
    /// It could not now; it is tried again in time.
    Later,
    /// It does not know the dialog.
    Gone,
}

impl Leg {
    /// What the session timer wants.
    pub(super) fn session_due(&mut self, now: Instant) -> Option<TimerOutput> {
        self.session.due(now)
    }

    /// Gives this side our sign of life, and asks for its own: by UPDATE where it knows that, else
    /// by a re-INVITE with what it was offered last, whose transaction comes back. Without an offer
    /// that is tried again later.
    pub(super) fn give_sign(
        &mut self,
        core: &mut Core,
        call_id: CallId,
        entries: &mut Entries,
        offer: Option<&Sdp>,
    ) -> Option<ClientId> {
        // While it is under way it is we who refresh.
        self.session.again(core.now.monotonic + LATER);
        let (client, sent) = if self.session.knows_update {
            let sent = self.request(core, call_id, entries, Method::Update, |_| {});
            self.session.refreshing = sent;
            (None, sent)
        } else {
            let sent = self.reinvite(core, call_id, entries, offer?);
            (sent, sent)
        };
        if sent.is_some() {
            self.session.again_at = None;
        }
        client
    }

    /// Our sign of life has been answered.
    pub(super) fn sign_answered(
        &mut self,
        core: &mut Core,
        client: ClientId,
        response: &Response,
    ) -> Sign {
        let now = core.now.monotonic;
        match response.status {
            200..=299 => {
                self.renewed(now, client, response);
                self.ack(core, None);
                let answer = read_body(&response.headers, &response.body).ok().flatten();
                return Sign::Given(answer.map(Box::new));
            }
            422 if self.session.insist(response) => {}
            491 => {
                let wait = self.glare_wait(core);
                self.session.again(now + wait);
                return Sign::Later;
            }
            // It cannot do what its Allow says, or what ours does.
            405 | 420 | 501 if self.session.knows_update => self.session.knows_update = false,
            408 | 481 => return Sign::Gone,
            // What ails it may pass before the session is over.
            _ => {
                self.session.again(now + LATER);
                return Sign::Later;
            }
        }
        Sign::Again
    }
}

impl Talk {
    /// The side that this UPDATE of ours refreshes.
    pub(super) fn lane_refreshing(&self, client: ClientId) -> Option<Lane> {
        Lane::BOTH
            .into_iter()
            .find(|lane| self.legs[lane.index()].session.refreshing == Some(client))
    }

    /// A refresh of this side had no answer for want of a way there: it is tried again.
    pub(super) fn refresh_later(&mut self, lane: Lane, now: Instant) {
        let session = &mut self.legs[lane.index()].session;
        session.refreshing = None;
        session.again(now + LATER);
    }
}

impl Exchange {
    pub(super) fn refreshing(from: Lane, client: ClientId) -> Self {
        Self { from, cseq: 0, step: Step::Refreshing { client } }
    }
}

/// How a call ends whose side has given no sign of life.
pub(super) fn expired() -> Ending {
    Ending { cause: EndCause::Failed, by: None, status: Some(408) }
}
