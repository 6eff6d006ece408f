//! INVITE with Replaces (RFC 3891): a phone picks up what rings at another, or goes on with a call
//! that its extension has at another of its phones.
//!
//! The caller goes on speaking through the same relay and stays in the same recording. Where both
//! sides have made offers, both are answered with what the two have in common, numbered alike. Who
//! makes none gets one of ours, and the other side is told what came of it.

use cheling_model::{EndCause, Lane, TapKind};
use cheling_sip::dialog::DialogId;
use cheling_sip::refer::{Replaces, ReplacesError};
use cheling_sip::sdp::Sdp;
use cheling_sip::{ClientId, Request, Response};

use super::caller::{Caller, Invited};
use super::exchange::{Exchange, Step, cseq_of};
use super::fork::ForkState;
use super::formats::is_same_format;
use super::leg::{Leg, Side};
use super::media::read_body;
use super::protection::Protection;
use super::ringing::Ringing;
use super::talk::Talk;
use super::transfer::HANDED_ON;
use super::{Call, Ending, State};
use crate::core::Core;

/// What a Replaces means in a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// This INVITE of ours, which rings there.
    Ringing(ClientId, Side),
    /// The side of this lane.
    Talking(Lane, Side),
}

impl Call {
    /// What of this call a Replaces means.
    ///
    /// Phones build it from what a busy lamp tells, and some with the tags the other way round.
    ///
    /// # Errors
    /// [`ReplacesError`], which gives the status to answer with.
    pub(crate) fn place(&self, replaces: &Replaces) -> Result<Place, ReplacesError> {
        let turned = Replaces {
            to_tag: replaces.from_tag.clone(),
            from_tag: replaces.to_tag.clone(),
            ..replaces.clone()
        };
        let is_meant = |dialog: &DialogId| replaces.means(dialog) || turned.means(dialog);
        match &self.state {
            State::Ringing(ringing) => {
                let mut forks = ringing.forks().iter();
                let fork = forks.find(|fork| fork.dialogs().iter().any(is_meant));
                match fork {
                    Some(fork) if fork.state == ForkState::Calling => {
                        Ok(Place::Ringing(fork.client, fork.target.side.clone()))
                    }
                    Some(_) => Err(ReplacesError::Ended),
                    None => Err(ReplacesError::NoDialog),
                }
            }
            State::Talking(talk) => {
                let lane = Lane::BOTH
                    .into_iter()
                    .find(|lane| is_meant(&talk.legs[lane.index()].seen_from_there()))
                    .ok_or(ReplacesError::NoDialog)?;
                if replaces.is_early_only {
                    return Err(ReplacesError::Answered);
                }
                Ok(Place::Talking(lane, talk.legs[lane.index()].side.clone()))
            }
            State::Over(_) => Err(ReplacesError::Ended),
            // Who waits, or is on the way to another call of ours, cannot be taken over.
            State::Opening(_) | State::Fetching(_) | State::Parked(_) | State::Moving(_) => {
                Err(ReplacesError::NoDialog)
            }
        }
    }

    /// Puts whoever sent this INVITE into that place.
    pub(crate) fn replace(&mut self, core: &mut Core, invited: Invited, place: &Place) {
        let state = std::mem::replace(&mut self.state, State::Over(Vec::new()));
        self.state = match (state, place) {
            (State::Ringing(ringing), Place::Ringing(..)) => self.pick_up(core, ringing, &invited),
            (State::Talking(talk), Place::Talking(lane, _)) => {
                self.pull(core, talk, *lane, &invited)
            }
            (state, _) => {
                invited.refuse(core, 481, None);
                state
            }
        };
        self.rest();
    }

    /// Answers a ringing call from another phone.
    fn pick_up(&mut self, core: &mut Core, mut ringing: Box<Ringing>, invited: &Invited) -> State {
        let (place, lane) = (self.caller_lane.other(), self.caller_lane);
        if !ringing.caller().may_accept() {
            // The caller is to acknowledge a description first.
            invited.refuse(core, 491, None);
            return State::Ringing(ringing);
        }
        match (ringing.caller().offer().is_some(), invited.offer.is_some()) {
            (true, true) => {}
            (true, false) => return self.pick_up_late(core, ringing, invited),
            (false, true) => return self.pick_up_of_late(core, ringing, invited),
            (false, false) => return self.pick_up_both_late(core, ringing, invited),
        }
        let is_told = ringing.has_early_media();
        let protection = Protection::of(core, &invited.side, invited.flow);
        let offers = ringing.caller().offer().cloned().zip(invited.offer.clone());
        let met = offers.and_then(|(callers, theirs)| {
            self.media.as_mut()?.meet(lane, &callers, place, &theirs, is_told, protection)
        });
        let Some(met) = met else {
            invited.refuse(core, 488, None);
            return State::Ringing(ringing);
        };
        let Some(leg) = self.picks_up(core, &mut ringing, invited, &met.to_replacer) else {
            return State::Ringing(ringing);
        };
        let changes = self.media.as_mut().map(|media| media.agree(lane, &met.firsts, &met.theirs));
        self.changed(core, changes.into_iter().flatten());
        self.meets(core, *ringing, leg, Some(&met.to_caller), None)
    }

    /// As [`Call::pick_up`], for who makes no offer: the caller is answered at once, and told later
    /// what the other speaks if that is something else.
    fn pick_up_late(
        &mut self,
        core: &mut Core,
        mut ringing: Box<Ringing>,
        invited: &Invited,
    ) -> State {
        let (place, lane) = (self.caller_lane.other(), self.caller_lane);
        let is_told = ringing.has_early_media();
        let told = ringing.caller().offer().cloned().and_then(|callers| {
            let media = self.media.as_mut()?;
            match is_told {
                true => media.sent(lane).cloned(),
                false => media.answer_first(lane, &callers),
            }
        });
        let Some((told, offer)) = told.zip(self.offer_to_taker(core, invited, place)) else {
            invited.refuse(core, 488, None);
            return State::Ringing(ringing);
        };
        let Some(leg) = self.picks_up(core, &mut ringing, invited, &offer) else {
            return State::Ringing(ringing);
        };
        let callers = ringing.caller().offer().cloned();
        let changes = callers.zip(self.media.as_mut()).map(|(it, media)| media.point(lane, &it));
        self.changed(core, changes.into_iter().flatten());
        let exchange = Exchange::taking(place, &invited.request, offer);
        self.meets(core, *ringing, leg, Some(&told), Some(exchange))
    }

    /// As [`Call::pick_up`], of a caller who has made no offer: who picks up is answered in the first
    /// codec of his own, and the caller is offered that.
    fn pick_up_of_late(
        &mut self,
        core: &mut Core,
        mut ringing: Box<Ringing>,
        invited: &Invited,
    ) -> State {
        let (place, lane) = (self.caller_lane.other(), self.caller_lane);
        let protection = Protection::of(core, &invited.side, invited.flow);
        let met = invited.offer.as_ref().zip(self.media.as_mut()).and_then(|(offer, media)| {
            media.check(place, offer).ok()?;
            media.protect(place, protection);
            let answer = media.answer_first(place, offer)?;
            let told = answer.audio()?.formats;
            let mut theirs = offer.clone();
            theirs.retain_formats(|format| told.iter().any(|it| is_same_format(it, format)));
            Some((answer, theirs))
        });
        let Some((answer, theirs)) = met else {
            invited.refuse(core, 488, None);
            return State::Ringing(ringing);
        };
        let Some(leg) = self.picks_up(core, &mut ringing, invited, &answer) else {
            return State::Ringing(ringing);
        };
        let changes = self.media.as_mut().map(|media| media.point(place, &theirs));
        self.changed(core, changes.into_iter().flatten());
        let passed = self.media.as_mut().map(|media| media.pass_offer(lane, &theirs));
        let exchange = ringing
            .caller()
            .invite()
            .map(|invite| Exchange::waiting_for_answer(lane, invite, theirs));
        self.meets(core, *ringing, leg, passed.as_ref(), exchange)
    }

    /// As [`Call::pick_up`], where neither has made an offer: both have one of ours, and say in their
    /// ACKs what they speak (RFC 3264 §5, RFC 6337 §3.2).
    fn pick_up_both_late(
        &mut self,
        core: &mut Core,
        mut ringing: Box<Ringing>,
        invited: &Invited,
    ) -> State {
        let (place, lane) = (self.caller_lane.other(), self.caller_lane);
        let protection = Protection::of(core, &invited.side, invited.flow);
        let offers = self.media.as_mut().map(|media| {
            let callers = media.protection(lane).clone();
            (media.any_offer(lane, callers), media.any_offer(place, protection))
        });
        let cseq = ringing.caller().invite().map(cseq_of);
        let Some(((to_caller, to_taker), cseq)) = offers.zip(cseq) else {
            invited.refuse(core, 488, None);
            return State::Ringing(ringing);
        };
        let Some(leg) = self.picks_up(core, &mut ringing, invited, &to_taker) else {
            return State::Ringing(ringing);
        };
        let exchange = Exchange::both_late(place, [cseq_of(&invited.request), cseq], to_taker);
        self.meets(core, *ringing, leg, Some(&to_caller), Some(exchange))
    }

    /// One of two who have both had an offer of ours acknowledges it; `None` if it is not that, and
    /// an inner ending ends the call.
    pub(super) fn both_late_acknowledged(
        &mut self,
        core: &mut Core,
        talk: &mut Talk,
        from: Lane,
        ack: &Request,
    ) -> Option<Option<Ending>> {
        let exchange = talk.exchange.as_mut()?;
        let place = exchange.from;
        let Step::BothLate(late) = &mut exchange.step else { return None };
        let at = usize::from(from != place);
        if late.cseqs[at] != cseq_of(ack) {
            return Some(None);
        }
        let answer = read_body(&ack.headers, &ack.body).ok().flatten();
        let answer = answer.filter(|sdp| sdp.audio().is_some());
        let is_usable =
            |sdp: &Sdp| self.media.as_ref().is_some_and(|it| it.check(from, sdp).is_ok());
        let Some(answer) = answer.filter(is_usable) else {
            tracing::warn!(call_id = %self.id, "a side has not answered our offer");
            let ending = Ending { cause: EndCause::Failed, by: None, status: Some(488) };
            return Some(Some(ending));
        };
        late.answers[at] = Some(answer);
        let [Some(of_taker), Some(of_caller)] = late.answers.clone() else { return Some(None) };
        let offer = late.offer.clone();
        talk.exchange = None;
        let changes = self.media.as_mut().map(|media| media.says(place.other(), of_caller));
        self.changed(core, changes.into_iter().flatten());
        self.join(core, talk, place, offer, of_taker);
        Some(None)
    }

    /// An offer of ours to who takes a place and makes none.
    fn offer_to_taker(&mut self, core: &mut Core, invited: &Invited, place: Lane) -> Option<Sdp> {
        let media = self.media.as_mut()?;
        let mut offer = media.wide_offer(place)?;
        let mut protection = Protection::of(core, &invited.side, invited.flow);
        protection.write_offer(&mut offer, &mut core.random);
        media.protect(place, protection);
        Some(offer)
    }

    /// Accepts the INVITE that picks up; the phones that rang ring no more.
    fn picks_up(
        &mut self,
        core: &mut Core,
        ringing: &mut Ringing,
        invited: &Invited,
        answer: &Sdp,
    ) -> Option<Leg> {
        let leg = self.taken_in(core, invited, answer)?;
        let leg_id = core.random.leg_id(core.now.wall);
        let extension = leg.side.extension().unwrap_or_default().to_owned();
        core.tap(self.id, TapKind::Ringing { leg: leg_id, extension });
        self.answered_elsewhere(core, ringing.forks_mut(), &leg.side);
        Some(leg)
    }

    /// Connects who waited for the answer with who has picked up.
    fn meets(
        &mut self,
        core: &mut Core,
        ringing: Ringing,
        leg: Leg,
        to_caller: Option<&Sdp>,
        exchange: Option<Exchange>,
    ) -> State {
        let (caller, forks) = ringing.into_parts();
        match caller {
            Caller::Fetched { leg: caller, .. } => {
                self.connected(core, *caller, leg, exchange, forks, None)
            }
            Caller::Invited(waiting) => match waiting.answer(core, to_caller) {
                Some(caller) => self.connected(core, caller, leg, exchange, forks, None),
                None => self.lost_caller(core, leg, forks),
            },
        }
    }

    /// Goes on with a call at another phone.
    fn pull(
        &mut self,
        core: &mut Core,
        mut talk: Box<Talk>,
        lane: Lane,
        invited: &Invited,
    ) -> State {
        if talk.exchange.is_some() || talk.transfer.is_some() {
            invited.refuse(core, 491, None);
            return State::Talking(talk);
        }
        if invited.offer.is_none() {
            return self.pull_late(core, talk, lane, invited);
        }
        let protection = Protection::of(core, &invited.side, invited.flow);
        let met = self.media.as_mut().and_then(|media| {
            let spoken = media.transfer_offer(lane)?;
            let offer = invited.offer.as_ref()?;
            media.meet(lane.other(), &spoken, lane, offer, true, protection)
        });
        let Some(met) = met else {
            invited.refuse(core, 488, None);
            return State::Talking(talk);
        };
        let Some(leg) = self.taken_in(core, invited, &met.to_replacer) else {
            return State::Talking(talk);
        };
        self.takes_the_place(core, &mut talk, lane, leg);
        self.join(core, &mut talk, lane, met.to_replacer, met.theirs);
        State::Talking(talk)
    }

    /// As [`Call::pull`], for who makes no offer.
    fn pull_late(
        &mut self,
        core: &mut Core,
        mut talk: Box<Talk>,
        lane: Lane,
        invited: &Invited,
    ) -> State {
        let before = self.media.as_ref().map(|media| media.protection(lane).clone());
        let Some(offer) = self.offer_to_taker(core, invited, lane) else {
            invited.refuse(core, 488, None);
            return State::Talking(talk);
        };
        let Some(leg) = self.taken_in(core, invited, &offer) else {
            if let Some((media, before)) = self.media.as_mut().zip(before) {
                media.protect(lane, before);
            }
            return State::Talking(talk);
        };
        self.takes_the_place(core, &mut talk, lane, leg);
        talk.exchange = Some(Exchange::taking(lane, &invited.request, offer));
        State::Talking(talk)
    }

    fn takes_the_place(&mut self, core: &mut Core, talk: &mut Talk, lane: Lane, leg: Leg) {
        let extension = leg.side.extension().unwrap_or_default().to_owned();
        let mut former = std::mem::replace(&mut talk.legs[lane.index()], leg);
        former.bye(core, self.id, &mut self.entries, Some(HANDED_ON));
        core.tap(self.id, TapKind::Answered { extension });
    }

    /// Whoever has taken a place without an offer has acknowledged ours. What is returned ends the
    /// call.
    pub(super) fn taken_over(
        &mut self,
        core: &mut Core,
        talk: &mut Talk,
        by: Lane,
        offer: Sdp,
        answer: Option<Sdp>,
    ) -> Option<Ending> {
        let is_usable = |sdp: &Sdp| sdp.has_audio();
        let media = self.media.as_ref()?;
        let answer = answer.filter(is_usable).filter(|sdp| media.check(by, sdp).is_ok());
        let Some(answer) = answer else {
            tracing::warn!(call_id = %self.id, "whoever took the place has not answered our offer");
            return Some(Ending { cause: EndCause::Failed, by: None, status: Some(488) });
        };
        self.join(core, talk, by, offer, answer);
        None
    }

    /// Accepts the INVITE that takes a place.
    fn taken_in(&mut self, core: &mut Core, invited: &Invited, answer: &Sdp) -> Option<Leg> {
        core.bind_server(self.id, &mut self.entries, invited.server);
        core.bind_tag(self.id, &mut self.entries, &invited.tag);
        let leg = invited.answer(core, Some(answer));
        if leg.is_none() {
            invited.refuse(core, 500, None);
        }
        leg
    }

    /// The transferring phone's own call that rings still: a transfer to whom it rings. `None` if
    /// a Replaces does not mean it.
    pub(crate) fn rung_by(&self, replaces: &Replaces, by: &Side) -> Option<String> {
        let State::Ringing(ringing) = &self.state else { return None };
        let (side, is_meant) = match ringing.caller() {
            Caller::Invited(invited) => {
                let of = |response: &Response| DialogId::of_response(response);
                let ringing = Response::to(&invited.request, 180, "", Some(&invited.tag));
                // Turned round: a response of ours is seen from there.
                let id = of(&ringing).map(|id| DialogId {
                    local_tag: id.remote_tag,
                    remote_tag: id.local_tag,
                    ..id
                });
                (&invited.side, id.is_some_and(|id| replaces.means(&id)))
            }
            Caller::Fetched { leg, .. } => (&leg.side, leg.is_meant_by(replaces)),
        };
        (is_meant && side == by).then(|| self.offer.called.clone())
    }
}
