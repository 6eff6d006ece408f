//! A phone hands its call on: REFER (RFC 3515), the new side rung while the old one waits, and the
//! old one's place taken when somebody answers.
//!
//! The call stays one call with one recording: the new side speaks in the lane of whoever handed
//! on. Until it answers nothing is taken from anybody, so a transfer that fails gives the call
//! back by doing nothing but say so.

use std::time::Instant;

use cheling_model::call::{Party, TransferStage};
use cheling_model::{EndCause, Lane, TapKind, Withdrawal};
use cheling_sip::diversion::{Cause, History};
use cheling_sip::refer::{self, Progress, Replaces};
use cheling_sip::sdp::Sdp;
use cheling_sip::subscription::EventType;
use cheling_sip::{ClientId, Method, Request, Response, ServerId};

use super::attended::Attended;
use super::exchange::Exchange;
use super::fork::{CALLER_GONE, Fork, ForkState, Manner, NO_ANSWER, note_trunk, statuses};
use super::leg::{Leg, Side};
use super::media::read_body;
use super::talk::Talk;
use super::{Call, Ending, State, fork, outcome, rings_at, withdraw_all};
use crate::core::Core;
use crate::hunt::{Fate, Hunt, Way};
use crate::io::CommandReply;
use crate::occupancy::Hold;
use crate::registrar::Named;
use crate::{intake, ordered};

/// What the phone that handed on hears with its BYE.
pub(super) const HANDED_ON: &str = "SIP;cause=200;text=\"Transferred\"";
/// For how long the subscription of a REFER is granted: longer than anybody rings.
pub(super) const NOTIFY_FOR_S: u32 = 300;

/// A transfer that nobody has answered yet.
#[derive(Debug)]
pub(super) struct Transfer {
    /// The side that hands on.
    by: Lane,
    /// What its NOTIFYs are about; `None` if it wants none (RFC 4488).
    event: Option<EventType>,
    /// The number it goes to.
    to: String,
    forks: Vec<Fork>,
    hunt: Hunt,
    /// Where the forks of the way that rings begin.
    way_from: usize,
    /// When the way that rings is given up.
    until: Instant,
    offer: Sdp,
    /// The status last told.
    told: u16,
    /// Whether who hands on has hung up already.
    is_alone: bool,
    /// Who hands on, as whoever is rung is told.
    history: History,
}

impl Transfer {
    /// One that nobody rings for yet.
    fn new(
        core: &Core,
        (by, extension): (Lane, &str),
        number: &str,
        event: Option<EventType>,
        hunt: Hunt,
        offer: Sdp,
    ) -> Self {
        Self {
            by,
            event,
            to: number.to_owned(),
            forks: Vec::new(),
            hunt,
            way_from: 0,
            until: core.now.monotonic,
            offer,
            told: 0,
            is_alone: false,
            history: deflection(core, extension, number),
        }
    }

    /// When it is given up.
    pub(super) fn until(&self) -> Instant {
        self.until
    }

    /// The side that is gone, if the one that handed on did not wait for the outcome.
    pub(super) fn gone(&self) -> Option<Lane> {
        self.is_alone.then_some(self.by)
    }

    /// The side that hands on.
    pub(super) fn by(&self) -> Lane {
        self.by
    }

    /// Whoever is rung.
    pub(super) fn forks(&self) -> &[Fork] {
        &self.forks
    }

    /// Whoever is rung.
    pub(super) fn forks_mut(&mut self) -> &mut [Fork] {
        &mut self.forks
    }

    /// Whom it rings next.
    pub(super) fn hunt_mut(&mut self) -> &mut Hunt {
        &mut self.hunt
    }

    /// Whom it rings.
    pub(super) fn sides(&self) -> Vec<(&Side, Hold)> {
        rings_at(&self.forks, Hold::Ringing)
    }

    fn is_ringing(&self) -> bool {
        self.forks.iter().any(|fork| fork.state == ForkState::Calling)
    }
}

impl Call {
    /// A REFER of a phone within the call.
    pub(super) fn refer(
        &mut self,
        core: &mut Core,
        talk: &mut Talk,
        by: Lane,
        server: ServerId,
        request: &Request,
    ) {
        let extension = talk.legs[by.index()].side.extension().unwrap_or_default().to_owned();
        if talk.transfer.is_some() {
            return core.refuse(server, request, 491);
        }
        let refer_to = match request.headers.refer_to() {
            Ok(refer_to) if refer_to.method == Method::Invite => refer_to,
            Ok(_) => return core.refuse(server, request, 501),
            Err(err) => {
                tracing::warn!(call_id = %self.id, %err, "REFER refused");
                return core.refuse(server, request, 400);
            }
        };
        let cseq = request.headers.cseq().map(|cseq| cseq.number);
        let event = refer::event_of(cseq.filter(|_| talk.has_referred));
        let event = (!refer::is_without_subscription(request)).then_some(event);
        if let Some(replaces) = refer_to.replaces {
            talk.has_referred = true;
            let request = Box::new(request.clone());
            let attended = Attended { server, request, by, event, replaces };
            return core.attended.push_back((self.id, attended));
        }
        let to = match core.registrar.named(core.now.monotonic, &refer_to.target) {
            Named::Number(number) => (number, None),
            Named::Phone { extension, instance } => (extension, Some(instance)),
            Named::Nobody => return core.refuse(server, request, 404),
        };
        self.hand_on(core, talk, (by, extension), (server, request, event), (to, None));
    }

    /// Rings a number, or one phone of it, for whoever hands on.
    fn hand_on(
        &mut self,
        core: &mut Core,
        talk: &mut Talk,
        (by, extension): (Lane, String),
        (server, request, event): (ServerId, &Request, Option<EventType>),
        ((number, device), replaces): ((String, Option<String>), Option<Replaces>),
    ) {
        let shown = self.party_beside(by);
        let Some(hunt) = intake::transfer(core, &extension, &number, &shown) else {
            return core.refuse(server, request, 404);
        };
        let mut hunt = hunt.at(device).replacing(replaces);
        let way = match hunt.next(core, self.id, Fate::Begun) {
            Ok(way) => way,
            Err(over) => {
                let status = over.status();
                tracing::info!(call_id = %self.id, status, "transfer refused");
                return core.refuse(server, request, status);
            }
        };
        let offer = self.media.as_ref().and_then(|media| media.transfer_offer(by));
        let Some(offer) = offer else { return core.refuse(server, request, 480) };
        core.refuse(server, request, 202);
        talk.has_referred = true;
        let transfer = Transfer::new(core, (by, &extension), &number, event, hunt, offer);
        self.begin_transfer(core, talk, transfer, way);
    }

    /// Hands the call on by an order, as if this side's phone had asked for it.
    pub(super) fn transfer_by_order(
        &mut self,
        core: &mut Core,
        talk: &mut Talk,
        by: Lane,
        extension: &str,
        number: &str,
    ) -> CommandReply {
        if talk.transfer.is_some() {
            return CommandReply::NotNow;
        }
        let shown = self.party_beside(by);
        let mut hunt = match ordered::ordered(core, extension, number, &shown) {
            Ok((_, _, hunt)) => hunt,
            Err(reply) => return reply,
        };
        let way = match hunt.next(core, self.id, Fate::Begun) {
            Ok(way) => way,
            Err(over) => return over.into(),
        };
        let offer = self.media.as_ref().and_then(|media| media.transfer_offer(by));
        let Some(offer) = offer else { return CommandReply::NotNow };
        let transfer = Transfer::new(core, (by, extension), number, None, hunt, offer);
        self.begin_transfer(core, talk, transfer, way);
        CommandReply::Accepted
    }

    fn begin_transfer(&mut self, core: &mut Core, talk: &mut Talk, transfer: Transfer, way: Way) {
        self.tell_stage(core, &transfer, TransferStage::Began);
        talk.transfer = Some(Box::new(transfer));
        self.tell_referrer(core, talk, 100);
        if !self.ring_new(core, talk, way) && !self.ring_next(core, talk, Fate::Unreachable) {
            self.tell_referrer(core, talk, 480);
            if let Some(transfer) = talk.transfer.take() {
                self.tell_stage(core, &transfer, TransferStage::Failed { status: 480 });
            }
        }
    }

    /// As a REFER with a number, after the call that it means to replace: who is rung there rings
    /// here instead; or in the place of a dialog that is known there.
    pub(crate) fn hand_on_to(
        &mut self,
        core: &mut Core,
        attended: Attended,
        (number, replaces): (String, Option<Replaces>),
    ) {
        let Attended { server, request, by, event, .. } = attended;
        let state = std::mem::replace(&mut self.state, State::Over(Vec::new()));
        self.state = match state {
            State::Talking(mut talk) => {
                let extension = talk.legs[by.index()].side.extension().unwrap_or_default();
                let from = (by, extension.to_owned());
                let to = ((number, None), replaces);
                self.hand_on(core, &mut talk, from, (server, &request, event), to);
                State::Talking(talk)
            }
            state => {
                core.refuse(server, &request, 481);
                state
            }
        };
        self.rest();
    }

    fn tell_stage(&self, core: &mut Core, transfer: &Transfer, stage: TransferStage) {
        let kind = TapKind::Transfer { by: transfer.by, to: transfer.to.clone(), stage };
        core.tap(self.id, kind);
    }

    /// Whoever hands on has hung up: the transfer goes on without it. False if there is none.
    pub(super) fn referrer_left(&mut self, talk: &mut Talk, from: Lane) -> bool {
        match &mut talk.transfer {
            Some(transfer) if transfer.by == from => {
                transfer.is_alone = true;
                true
            }
            _ => false,
        }
    }

    /// The other side of whoever is on this one, as a third is to see it.
    pub(super) fn party_beside(&self, by: Lane) -> Party {
        if by == self.caller_lane {
            Party { number: self.offer.called.clone(), ..Party::default() }
        } else {
            self.offer.caller.clone()
        }
    }

    /// Rings whoever is next; false if there is nobody.
    fn ring_next(&mut self, core: &mut Core, talk: &mut Talk, fate: Fate) -> bool {
        let mut fate = fate;
        loop {
            let Some(transfer) = talk.transfer.as_mut() else { return false };
            let Ok(way) = transfer.hunt.next(core, self.id, fate) else { return false };
            if self.ring_new(core, talk, way) {
                return true;
            }
            fate = Fate::Unreachable;
        }
    }

    fn ring_new(&mut self, core: &mut Core, talk: &mut Talk, way: Way) -> bool {
        let Some(mut transfer) = talk.transfer.take() else { return false };
        let (offer, manner) = (Some(&transfer.offer), Manner::Ring);
        let history = &transfer.history;
        let invite = fork::Invite { offer, max_forwards: 70, manner, history };
        let forks = self.fork(core, way.targets, invite);
        let is_ringing = !forks.is_empty();
        transfer.way_from = transfer.forks.len();
        transfer.forks.extend(forks);
        transfer.until = core.now.monotonic + way.ring_for;
        talk.transfer = Some(transfer);
        is_ringing
    }

    /// An answer to an INVITE of the transfer; `None` if it is to none. An inner ending ends the
    /// call.
    pub(super) fn transfer_response(
        &mut self,
        core: &mut Core,
        talk: &mut Talk,
        client: ClientId,
        response: &Response,
    ) -> Option<Option<Ending>> {
        let transfer = talk.transfer.as_mut()?;
        let fork = transfer.forks.iter_mut().find(|fork| fork.client == client)?;
        if response.is_provisional() {
            let is_news = response.status > 100
                && fork.state == ForkState::Calling
                && fork.take_provisional(core, self.id, &mut self.entries, response);
            if is_news {
                if let Ok(Some(sdp)) = read_body(&response.headers, &response.body) {
                    fork.note_early(response, sdp);
                }
                self.tell_referrer(core, talk, response.status);
            }
            return Some(None);
        }
        let early = fork.early(response);
        if self.asked_again(core, &mut transfer.forks, client, response) {
            return Some(None);
        }
        if !response.is_success() {
            let place = transfer.by;
            let theirs = self.media.as_ref().and_then(|media| media.agreed(place.other()).cloned());
            let (forks, status) = (&mut transfer.forks, response.status);
            if self.offer_more(core, forks, client, status, place, theirs.as_ref()) {
                return Some(None);
            }
            note_trunk(core, &transfer.forks, client, response.status, Some(response));
            self.fork_refused(core, &mut transfer.forks, client, response.status);
            return Some(self.transfer_on(core, talk));
        }
        let taken = self.taken(core, &mut transfer.forks, client, response, early);
        let Some((mut leg, sdp, winner)) = taken else {
            return Some(self.transfer_on(core, talk));
        };
        leg.ack(core, None);
        talk.winner = Some(winner);
        self.transferred(core, talk, leg, sdp);
        Some(None)
    }

    /// An INVITE of the transfer had no answer; `None` if it was none of these.
    pub(super) fn transfer_no_response(
        &mut self,
        core: &mut Core,
        talk: &mut Talk,
        client: ClientId,
        status: u16,
    ) -> Option<Option<Ending>> {
        let transfer = talk.transfer.as_mut()?;
        transfer.forks.iter().find(|fork| fork.client == client)?;
        note_trunk(core, &transfer.forks, client, status, None);
        self.fork_refused(core, &mut transfer.forks, client, status);
        Some(self.transfer_on(core, talk))
    }

    /// Nobody has answered in time. False if there is still some.
    pub(super) fn transfer_timeout(
        &mut self,
        core: &mut Core,
        talk: &mut Talk,
    ) -> Option<Option<Ending>> {
        let transfer = talk.transfer.as_mut()?;
        if transfer.until > core.now.monotonic {
            return None;
        }
        withdraw_all(core, self.id, &mut transfer.forks, NO_ANSWER, &Withdrawal::NoAnswer);
        if self.ring_next(core, talk, Fate::RangOut) {
            return Some(None);
        }
        Some(self.transfer_failed(core, talk, 480))
    }

    /// The call is over, and with it the transfer.
    pub(super) fn end_transfer(&mut self, core: &mut Core, mut transfer: Transfer) -> Vec<Fork> {
        let why = Withdrawal::CallerHungUp;
        withdraw_all(core, self.id, &mut transfer.forks, CALLER_GONE, &why);
        transfer.forks
    }

    /// After a refusal: waits for the others, tries the next way, or gives the call back.
    fn transfer_on(&mut self, core: &mut Core, talk: &mut Talk) -> Option<Ending> {
        let transfer = talk.transfer.as_ref()?;
        if transfer.is_ringing() {
            return None;
        }
        let fate = Fate::of(statuses(transfer.forks.get(transfer.way_from..).unwrap_or_default()));
        let statuses: Vec<u16> = statuses(&transfer.forks).collect();
        if self.ring_next(core, talk, fate) {
            return None;
        }
        self.transfer_failed(core, talk, outcome::best(statuses))
    }

    /// Whoever handed on has the call again; without it, the call is over.
    fn transfer_failed(&mut self, core: &mut Core, talk: &mut Talk, status: u16) -> Option<Ending> {
        tracing::info!(call_id = %self.id, status, "transfer failed");
        self.tell_referrer(core, talk, status);
        let transfer = talk.transfer.take()?;
        self.tell_stage(core, &transfer, TransferStage::Failed { status });
        let gone = transfer.gone();
        talk.forks.extend(transfer.forks.into_iter().filter(Fork::is_pending));
        if gone.is_some() {
            talk.gone = gone;
        }
        gone.map(|by| Ending { cause: EndCause::HungUp, by: Some(by), status: None })
    }

    /// Somebody has answered: takes the place of whoever handed on.
    fn transferred(&mut self, core: &mut Core, talk: &mut Talk, leg: Leg, sdp: Sdp) {
        self.tell_referrer(core, talk, 200);
        let Some(transfer) = talk.transfer.take() else { return };
        self.tell_stage(core, &transfer, TransferStage::Done);
        self.holds_by_order = None;
        let Transfer { by, mut forks, offer, is_alone, .. } = *transfer;
        self.answered_elsewhere(core, &mut forks, &leg.side);
        talk.forks.extend(forks.into_iter().filter(Fork::is_pending));
        let mut former = std::mem::replace(&mut talk.legs[by.index()], leg);
        let extension = talk.legs[by.index()].side.extension().or(former.side.extension());
        let extension = extension.unwrap_or_default().to_owned();
        core.tap(self.id, TapKind::Answered { extension });
        if !is_alone {
            former.bye(core, self.id, &mut self.entries, Some(HANDED_ON));
        }
        if let Some(exchange) = talk.exchange.take() {
            // It was with whoever is no longer there.
            exchange.refuse(core, 491);
        }
        let mut offer = offer;
        if let (Some(media), Some(winner)) = (self.media.as_mut(), &talk.winner) {
            media.protect(by, winner.protection.clone());
            offer = winner.offer.clone().unwrap_or(offer);
        }
        self.join(core, talk, by, offer, sdp);
    }

    /// Brings the side that stays together with the new one: the relay, and what it may send.
    pub(super) fn join(
        &mut self,
        core: &mut Core,
        talk: &mut Talk,
        by: Lane,
        offer: Sdp,
        sdp: Sdp,
    ) {
        let Some(media) = self.media.as_mut() else { return };
        media.replaced(by, offer);
        self.tell_other(core, talk, by, sdp);
    }

    /// Tells one side what the other says now.
    pub(super) fn tell_other(&mut self, core: &mut Core, talk: &mut Talk, by: Lane, sdp: Sdp) {
        let stays = by.other();
        let Some(media) = self.media.as_mut() else { return };
        media.hear(by, &sdp);
        let change = media.point(by, &sdp);
        let told_before = media.sent(stays).cloned();
        let passed = media.pass_offer(stays, &sdp);
        self.changed(core, change);
        if told_before.as_ref() != Some(&passed) {
            let leg = &mut talk.legs[stays.index()];
            let client = leg.reinvite(core, self.id, &mut self.entries, &passed);
            if let Some(client) = client {
                talk.exchange = Some(Exchange::of_ours(by, client, sdp));
                return;
            }
        }
        if let Some(media) = self.media.as_mut() {
            media.take_back(stays, told_before);
        }
        self.joined(core, by, &sdp, None);
    }

    /// The side that stays has said what it makes of the new one's description; `None` if it
    /// sticks to what it said before.
    pub(super) fn joined(&mut self, core: &mut Core, by: Lane, sdp: &Sdp, answer: Option<Sdp>) {
        let Some(media) = self.media.as_mut() else { return };
        let Some(answer) = answer.or_else(|| media.agreed(by.other()).cloned()) else { return };
        let changes = media.agree(by, sdp, &answer);
        self.changed(core, changes);
    }

    /// Tells whoever handed on how it goes, once for each status.
    fn tell_referrer(&mut self, core: &mut Core, talk: &mut Talk, status: u16) {
        let Some(transfer) = talk.transfer.as_mut() else { return };
        if transfer.told == status || transfer.is_alone {
            return;
        }
        transfer.told = status;
        if let Some(event) = &transfer.event {
            let leg = &mut talk.legs[transfer.by.index()];
            let progress = Progress::of_status(status);
            leg.notify(core, self.id, &mut self.entries, event, &progress, NOTIFY_FOR_S);
        }
    }
}

/// What whoever rings is told of how the call came there.
fn deflection(core: &Core, extension: &str, number: &str) -> History {
    let mut history = History::default();
    let to = core.address_of(number);
    history.divert(core.address_of(extension), to, Cause::Deflection);
    history
}
