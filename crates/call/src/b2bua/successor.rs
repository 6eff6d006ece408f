//! Who brought others into a call goes, and the call goes on: the first of its guests takes the
//! place, and with it the lane.
//!
//! Whoever hangs up his phone in a conference leaves it, as at a telephone system: the customer stays
//! with the colleague who was asked. The customer's end is the end for all, and so is an order to
//! hang up.

use cheling_model::call::TransferStage;
use cheling_model::{EndCause, GuestRole, Lane, TapKind};

use super::exchange::Exchange;
use super::guest::{Guest, GuestState, Joined};
use super::leg::Side;
use super::session::Session;
use super::talk::{Relayed, Talk};
use super::transfer::HANDED_ON;
use super::{Call, Ending, State};
use crate::core::Core;
use crate::io::{CommandReply, Output};

impl Call {
    /// The side that an order was given for goes.
    pub(super) fn leave_by_order(
        &mut self,
        core: &mut Core,
        talk: &mut Talk,
        by: Lane,
    ) -> CommandReply {
        if !self.leaves(core, talk, by) {
            return CommandReply::NotNow;
        }
        talk.legs[by.index()].bye(core, self.id, &mut self.entries, Some(HANDED_ON));
        CommandReply::Accepted
    }

    /// Whether a side that has hung up, or is to go, may leave its place to a guest. If so, it has.
    pub(super) fn leaves(&mut self, core: &mut Core, talk: &mut Talk, by: Lane) -> bool {
        let is_ours = matches!(talk.legs[by.index()].side, Side::Phone { .. });
        let is_free = talk.gone.is_none() && talk.transfer.is_none();
        let is_left = is_ours && is_free && self.guests.all.iter().any(is_heir);
        if is_left {
            talk.gone = Some(by);
            self.ask_no_more(core, talk, by);
        }
        is_left
    }

    /// What is under way with a side that has left decides nothing: it answers 481, or not at all,
    /// and the call goes on without it.
    fn ask_no_more(&mut self, core: &mut Core, talk: &mut Talk, by: Lane) {
        if let Some(exchange) = talk.exchange.take_if(|it| it.asks() == Some(by)) {
            exchange.refuse(core, 491);
        }
        for Relayed { server, request, client } in talk.relayed.drain(..) {
            core.refuse(server, &request, 487);
            core.forget_client(&mut self.entries, client);
        }
        talk.asked_alive.clear();
        talk.leg(by).session = Session::default();
    }

    /// Gives a place that was left to the first guest who has come; without any the call is over.
    pub(super) fn fill_place(&mut self, core: &mut Core) {
        let is_left = |talk: &Talk| talk.gone.is_some() && talk.transfer.is_none();
        if !matches!(&self.state, State::Talking(talk) if is_left(talk)) {
            return;
        }
        let State::Talking(talk) = std::mem::replace(&mut self.state, State::Over(Vec::new()))
        else {
            return;
        };
        self.state = self.filled(core, talk);
    }

    /// See [`Call::fill_place`].
    pub(super) fn filled(&mut self, core: &mut Core, mut talk: Box<Talk>) -> State {
        let Some(place) = talk.gone.filter(|_| talk.transfer.is_none()) else {
            return State::Talking(talk);
        };
        let is_in = |guest: &Guest| is_heir(guest) && matches!(guest.state, GuestState::Joined(_));
        if let Some(at) = self.guests.all.iter().position(is_in) {
            let guest = self.guests.all.remove(at);
            self.succeed(core, &mut talk, place, guest);
        } else if !self.guests.all.iter().any(is_heir) {
            let ending = Ending { cause: EndCause::HungUp, by: Some(place), status: None };
            return self.part(core, talk, ending, Some(place), None);
        }
        State::Talking(talk)
    }

    fn succeed(&mut self, core: &mut Core, talk: &mut Talk, place: Lane, guest: Guest) {
        let Guest { number, dialled, state, .. } = guest;
        let GuestState::Joined(joined) = state else { return };
        let Joined { mut leg, winner, protection, .. } = *joined;
        talk.gone = None;
        self.holds_by_order = None;
        if let Some(exchange) = talk.exchange.take() {
            // It was with whoever is no longer there.
            exchange.refuse(core, 491);
        }
        let offer = self.media.as_ref().and_then(|media| media.wide_offer(place));
        let mut protection = protection.renewed(&mut core.random);
        let client = offer.and_then(|mut offer| {
            protection.write_offer(&mut offer, &mut core.random);
            let client = leg.reinvite(core, self.id, &mut self.entries, &offer)?;
            Some((client, offer))
        });
        let changes = self.media.as_mut().map(|media| {
            media.protect(place, protection);
            media.mute(place)
        });
        let extension = leg.side.extension().or(talk.legs[place.index()].side.extension());
        let extension = extension.unwrap_or_default().to_owned();
        talk.legs[place.index()] = leg;
        talk.exchange = client.map(|(client, offer)| Exchange::adopting(place, client, offer));
        if winner.is_some() {
            talk.winner = winner;
        }
        let stage = TransferStage::Done;
        core.tap(self.id, TapKind::Transfer { by: place, to: dialled, stage });
        core.tap(self.id, TapKind::Answered { extension });
        core.tap(self.id, TapKind::GuestLeft { guest: number });
        core.put(Output::CloseGuest { call_id: self.id, guest: number });
        self.changed(core, changes.into_iter().flatten());
    }
}

/// Whether a guest is one who talks with all, and has a dialog.
fn is_heir(guest: &Guest) -> bool {
    guest.role == GuestRole::Conference && guest.leg().is_some()
}
