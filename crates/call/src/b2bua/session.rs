//! Session timers (RFC 4028): each side's own, agreed on with it alone, whatever the other agreed.
//!
//! A side that vanished is found out by it: who was to give a sign of life gave none, or had none
//! answered, and both sides get their BYE. Sides that know nothing of timers are asked by OPTIONS
//! (`talk`).

use std::time::{Duration, Instant};

use cheling_model::{EndCause, Lane};
use cheling_sip::session_timer::{Policy, Refresher, SessionTimer, Terms, TimerOutput};
use cheling_sip::{ClientId, Headers, Method, Name, Request, Response};

use super::exchange::{Exchange, Step};
use super::media::read_body;
use super::talk::Talk;
use super::{Call, Ending};
use crate::core::Core;

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
    /// The least interval that the other side has insisted on, in seconds.
    min_se_s: u32,
    /// The UPDATE under way.
    refreshing: Option<ClientId>,
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
        }
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
        let leg = &mut talk.legs[lane.index()];
        let later = core.now.monotonic + LATER;
        // While it is under way it is we who refresh.
        leg.session.again(later);
        if leg.session.knows_update {
            let sent = leg.request(core, self.id, &mut self.entries, Method::Update, |_| {});
            if sent.is_some() {
                leg.session.refreshing = sent;
                leg.session.again_at = None;
            }
            return;
        }
        let offer = self.media.as_ref().and_then(|media| media.sent(lane)).cloned();
        let (None, Some(offer)) = (&talk.exchange, offer) else { return };
        let client = leg.reinvite(core, self.id, &mut self.entries, &offer);
        if let Some(client) = client {
            leg.session.again_at = None;
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
        let now = core.now.monotonic;
        let leg = &mut talk.legs[lane.index()];
        match response.status {
            200..=299 => {
                leg.renewed(now, client, response);
                leg.ack(core, None);
                let answer = read_body(&response.headers, &response.body).ok().flatten();
                if let (Some(sdp), Some(media)) = (answer, self.media.as_mut()) {
                    media.hear(lane, &sdp);
                    let changes = media.point(lane, &sdp);
                    self.changed(core, changes);
                }
                return None;
            }
            422 if leg.session.insist(response) => {}
            491 => {
                let wait = leg.glare_wait(core);
                leg.session.again(now + wait);
                return None;
            }
            // It cannot do what its Allow says, or what ours does.
            405 | 420 | 501 if leg.session.knows_update => leg.session.knows_update = false,
            408 | 481 => return Some(expired()),
            // What ails it may pass before the session is over.
            _ => {
                leg.session.again(now + LATER);
                return None;
            }
        }
        self.refresh(core, talk, lane);
        None
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

fn expired() -> Ending {
    Ending { cause: EndCause::Failed, by: None, status: Some(408) }
}
