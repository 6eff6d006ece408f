//! What a phone that rings answers: that it rings, that it takes the call, that it refuses.

use super::caller::Caller;
use super::exchange::Exchange;
use super::fork::{ANSWERED_ELSEWHERE, Fork, ForkState, tag_of};
use super::leg::{Leg, Side};
use super::media::read_body;
use super::ringing::Ringing;
use super::talk::Talk;
use super::{Call, Ending, State, outcome, withdraw_all};
use crate::core::Core;
use crate::io::Output;
use cheling_model::directory::EarlyMedia;
use cheling_model::{Direction, Lane, TapKind, Withdrawal};
use cheling_sip::sdp::Sdp;
use cheling_sip::{ClientId, Response};

impl Call {
    /// A fork said something provisional: so do we, unless the caller knows already.
    pub(super) fn progress(
        &mut self,
        core: &mut Core,
        ringing: &mut Ringing,
        client: ClientId,
        response: &Response,
    ) {
        let Some(at) = ringing.forks.iter().position(|fork| fork.client == client) else { return };
        let fork = &mut ringing.forks[at];
        if response.status == 100 || fork.state != ForkState::Calling {
            return;
        }
        if !fork.take_provisional(core, self.id, &mut self.entries, response) {
            return;
        }
        if fork.target.side.extension().is_none() && !ringing.has_far_end_rung {
            ringing.has_far_end_rung = true;
            core.tap(self.id, TapKind::FarEndRinging);
        }
        if self.offer.direction == Direction::Inbound {
            fork.note_update(response);
        }
        self.rings_beyond(core, fork, response);
        let lane = self.caller_lane;
        let mut passed = None;
        let here = (client, tag_of(response));
        if response.status == 199 {
            // That phone rings no more (RFC 6228): another may be heard.
            ringing.early.take_if(|early| *early == here);
            return;
        }
        let sdp = read_body(&response.headers, &response.body).ok().flatten();
        let sdp = sdp.filter(|sdp| sdp.has_audio());
        if let Some(sdp) = &sdp {
            // What is not passed on may be all that its 200 means.
            fork.note_early(response, sdp.clone());
        }
        let policy = core.manners(&fork.target.side).map(|manners| manners.early_media);
        let has_media = sdp.is_some() || response.status == 183;
        let status = match policy.unwrap_or_default() {
            EarlyMedia::Ringback if has_media => 180,
            EarlyMedia::Block if response.status == 183 => return,
            _ => response.status,
        };
        let is_first = ringing.early.as_ref().is_none_or(|early| *early == here);
        // Who has answered our offer hears it, too, and is told nothing of it.
        let is_told = !ringing.caller.has_offered_anew();
        let is_passed = policy.unwrap_or_default() == EarlyMedia::Pass
            && is_first
            && (is_told || ringing.early.is_none());
        if let (true, Some(offer), Some(sdp), Some(media)) =
            (is_passed, ringing.caller.offer(), sdp, self.media.as_mut())
            && fork.protection.check(&sdp).is_ok()
        {
            media.answered_by(lane.other(), fork.protection.clone(), fork.offer.clone());
            let changes = media.agree(lane, offer, &sdp);
            passed = is_told.then(|| media.pass_answer(lane, &sdp));
            ringing.early = Some(here);
            self.changed(core, changes);
        }
        ringing.is_rung = true;
        let news = (status, passed.is_some());
        if let Caller::Invited(invited) = &mut ringing.caller
            && ringing.told != news
        {
            invited.progress(core, status, passed.as_ref());
            ringing.told = news;
        }
    }

    /// The first 2xx: both sides are connected, all others are cancelled.
    pub(super) fn answered(
        &mut self,
        core: &mut Core,
        mut ringing: Box<Ringing>,
        client: ClientId,
        response: &Response,
    ) -> State {
        let fork = ringing.forks.iter().find(|fork| fork.client == client);
        let early = fork.and_then(|fork| fork.early(response));
        let Some((mut callee, sdp, winner)) =
            self.taken(core, &mut ringing.forks, client, response, early)
        else {
            return self.ring_on(core, ringing);
        };
        let mut winner = winner;
        self.taken_up_beyond(core, &mut winner, response);
        self.answered_elsewhere(core, &mut ringing.forks, &callee.side);
        let lane = self.caller_lane;
        let mut offered_anew = None;
        if let Some(media) = self.media.as_mut() {
            media.answered_by(lane.other(), winner.protection.clone(), winner.offer.clone());
        }
        let Ringing { caller, forks, .. } = *ringing;
        let (caller, exchange) = match caller {
            Caller::Fetched { leg, chosen } => {
                callee.ack(core, None);
                let changes = self.media.as_mut().map(|media| media.agree(lane, &chosen, &sdp));
                self.changed(core, changes.into_iter().flatten());
                (*leg, None)
            }
            Caller::Invited(invited) => {
                let mut media = self.media.as_mut();
                let changes = invited.offer.as_ref().zip(media.as_deref_mut());
                let changes = changes.map(|(offer, media)| media.agree(lane, offer, &sdp));
                // An offer that was made anew has had its answer.
                let passed =
                    media.filter(|_| !invited.has_offered_anew).map(|media| match &invited.offer {
                        Some(_) => media.pass_answer(lane, &sdp),
                        None => media.pass_offer(lane, &sdp),
                    });
                let Some(leg) = invited.answer(core, passed.as_ref()) else {
                    // Cannot be: a request without From or Call-ID is not read.
                    invited.refuse(core, 500, None);
                    return self.lost_caller(core, callee, forks);
                };
                let exchange = match &invited.offer {
                    Some(_) => {
                        callee.ack(core, None);
                        self.changed(core, changes.into_iter().flatten());
                        None
                    }
                    // The caller's ACK will bring the answer, and with it goes the callee's.
                    None => Some(Exchange::waiting_for_answer(lane, &invited.request, sdp)),
                };
                offered_anew = invited.offer.filter(|_| invited.has_offered_anew);
                (leg, exchange)
            }
        };
        let state = self.connected(core, caller, callee, exchange, forks, Some(winner));
        match (state, offered_anew) {
            (State::Talking(mut talk), Some(offer)) => {
                self.tell_other(core, &mut talk, lane, offer);
                State::Talking(talk)
            }
            (state, _) => state,
        }
    }

    /// The caller cannot be answered: whoever has answered is let go.
    pub(super) fn lost_caller(
        &mut self,
        core: &mut Core,
        mut callee: Leg,
        forks: Vec<Fork>,
    ) -> State {
        callee.bye(core, self.id, &mut self.entries, None);
        self.end(core, Ending::unanswered(500), forks)
    }

    /// Both sides are connected: they talk, and are recorded.
    pub(super) fn connected(
        &mut self,
        core: &mut Core,
        caller: Leg,
        callee: Leg,
        exchange: Option<Exchange>,
        forks: Vec<Fork>,
        winner: Option<Fork>,
    ) -> State {
        let is_internal = self.offer.direction == Direction::Internal;
        let beyond = is_internal.then(|| core.joined.answerer(self.id)).flatten();
        let extension = callee.side.extension().map(str::to_owned).or(beyond);
        let extension = extension.or_else(|| self.offer.extension.clone());
        let extension = extension.or_else(|| self.answerer.take());
        let is_outbound = self.offer.direction == Direction::Outbound;
        let taker = callee.side.trunk().filter(|_| is_outbound);
        if let Some(trunk) = taker.filter(|name| self.offer.trunk.as_deref() != Some(name)) {
            self.offer.trunk = Some(trunk.to_owned());
            core.tap(self.id, TapKind::TrunkChanged { trunk: trunk.to_owned() });
        }
        core.tap(self.id, TapKind::Answered { extension: extension.unwrap_or_default() });
        if !core.joined.is_part(self.id) {
            core.put(Output::StartRecording { call_id: self.id });
            self.recording.begin();
        }
        let mut legs = match self.caller_lane {
            Lane::Customer => [caller, callee],
            Lane::Agent => [callee, caller],
        };
        let now = core.now.monotonic;
        for leg in &mut legs {
            leg.session.resume(now);
        }
        State::Talking(Box::new(Talk::new(legs, exchange, forks, winner, now)))
    }

    /// Takes the fork that sent this 2xx out and gives its dialog and description; `None`, with the
    /// fork refused and hung up, if there is nothing to be done with it.
    pub(super) fn taken(
        &mut self,
        core: &mut Core,
        forks: &mut Vec<Fork>,
        client: ClientId,
        response: &Response,
        early: Option<Sdp>,
    ) -> Option<(Leg, Sdp, Fork)> {
        let at = forks.iter().position(|fork| fork.client == client)?;
        if forks[at].state != ForkState::Calling {
            // It crossed our CANCEL.
            forks[at].hang_up(core, self.id, &mut self.entries, response, ANSWERED_ELSEWHERE);
            forks[at].state = ForkState::Failed(487);
            return None;
        }
        let sdp = match read_body(&response.headers, &response.body) {
            Ok(sdp) => sdp.or(early).filter(|sdp| sdp.has_audio()),
            Err(err) => {
                tracing::warn!(call_id = %self.id, %err, "2xx cannot be used");
                None
            }
        };
        let sdp = sdp.filter(|sdp| match forks[at].protection.hear(sdp, &mut core.random) {
            Ok(()) => true,
            Err(err) => {
                tracing::warn!(call_id = %self.id, %err, "2xx cannot be used");
                false
            }
        });
        let leg = forks[at].leg(response);
        match (leg, sdp) {
            (Some(mut leg), Some(sdp)) => {
                leg.renewed(core.now.monotonic, client, response);
                forks[at].late_caller.taken_by(response);
                Some((leg, sdp, forks.remove(at)))
            }
            _ => {
                let reason = "SIP;cause=488;text=\"No usable audio in the answer\"";
                forks[at].hang_up(core, self.id, &mut self.entries, response, reason);
                self.fork_refused(core, forks, client, 488);
                None
            }
        }
    }

    /// Whether an INVITE that was refused has been sent again.
    pub(super) fn asked_again(
        &mut self,
        core: &mut Core,
        forks: &mut [Fork],
        client: ClientId,
        response: &Response,
    ) -> bool {
        let fork = forks.iter_mut().find(|fork| fork.client == client);
        fork.is_some_and(|fork| fork.ask_again(core, self.id, &mut self.entries, response))
    }

    /// A fork had its final refusal: its phone stops ringing, unless another of its extension
    /// rings on.
    pub(super) fn fork_refused(
        &self,
        core: &mut Core,
        forks: &mut [Fork],
        client: ClientId,
        status: u16,
    ) {
        let Some(at) = forks.iter().position(|fork| fork.client == client) else { return };
        let was_ringing = forks[at].state == ForkState::Calling;
        forks[at].state = ForkState::Failed(status);
        self.refused_beyond(core, &mut forks[at], status);
        let leg = forks[at].leg_id;
        let rings_on =
            forks.iter().any(|fork| fork.leg_id == leg && fork.state == ForkState::Calling);
        if let (true, false, Some(extension)) =
            (was_ringing, rings_on, forks[at].target.side.extension())
        {
            let extension = extension.to_owned();
            let why = outcome::withdrawal(status);
            core.tap(self.id, TapKind::Withdrawn { leg, extension, why });
        }
    }

    pub(super) fn answered_elsewhere(&self, core: &mut Core, forks: &mut [Fork], by: &Side) {
        let extension = by.extension().unwrap_or_default().to_owned();
        let why = Withdrawal::AnsweredElsewhere { extension };
        withdraw_all(core, self.id, forks, ANSWERED_ELSEWHERE, &why);
    }
}
