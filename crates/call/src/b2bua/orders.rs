//! What the console orders of a call that is going on: hold, resume, hand on, bring somebody in.
//!
//! An order does what the agent's own phone could have done, without it: the phones are told by
//! re-INVITEs of ours, and events and recording are those of a hold or transfer that a phone made.

use cheling_model::Lane;
use cheling_sip::sdp::Direction;

use super::exchange::Exchange;
use super::leg::Side;
use super::talk::Talk;
use super::{Call, State};
use crate::core::Core;
use crate::io::{CommandReply, Order};

impl Call {
    /// Obeys an order that concerns this call alone.
    pub(crate) fn obey(
        &mut self,
        core: &mut Core,
        extension: Option<&str>,
        order: &Order,
    ) -> CommandReply {
        let Some((by, phone)) = self.side_of(extension) else { return CommandReply::NotNow };
        let reply = match order {
            Order::Hold => self.with_talk(|call, talk| call.hold(core, talk, by)),
            Order::Resume => self.with_talk(|call, talk| call.resume(core, talk, by)),
            Order::Transfer { number } => {
                self.with_talk(|call, talk| call.transfer_by_order(core, talk, by, &phone, number))
            }
            Order::Invite { number } => self.invite_guest(core, by, &phone, number),
            Order::Monitor { monitor, role } => self.monitor(core, monitor, *role),
            Order::Dismiss { guest } => self.dismiss(core, *guest),
            // These concern two calls.
            Order::Consult { .. }
            | Order::CompleteConsult
            | Order::JoinConsult
            | Order::CancelConsult => CommandReply::NotNow,
            Order::Leave => self.with_talk(|call, talk| call.leave_by_order(core, talk, by)),
        };
        self.fill_place(core);
        self.rest();
        reply
    }

    /// The side that an order is given for, and its phone: that of this extension, else the
    /// agent's, else whichever is a phone of ours.
    pub(super) fn side_of(&self, extension: Option<&str>) -> Option<(Lane, String)> {
        let State::Talking(talk) = &self.state else { return None };
        let phone = |lane: Lane| match &talk.legs[lane.index()].side {
            Side::Phone { extension } => Some((lane, extension.clone())),
            Side::Trunk { .. } => None,
        };
        let phones = [Lane::Agent, Lane::Customer].into_iter().filter_map(phone);
        let phones: Vec<_> = phones.collect();
        let meant = phones.iter().find(|(_, phone)| Some(phone.as_str()) == extension);
        meant.or(phones.first()).cloned()
    }

    fn with_talk(
        &mut self,
        order: impl FnOnce(&mut Self, &mut Talk) -> CommandReply,
    ) -> CommandReply {
        match std::mem::replace(&mut self.state, State::Over(Vec::new())) {
            State::Talking(mut talk) => {
                let reply = order(self, &mut talk);
                self.state = State::Talking(talk);
                reply
            }
            state => {
                self.state = state;
                CommandReply::NotNow
            }
        }
    }

    /// The other side is put on hold: it is told so, hears nothing, and the phone that holds is told
    /// to be silent.
    fn hold(&mut self, core: &mut Core, talk: &mut Talk, by: Lane) -> CommandReply {
        if self.holds_by_order == Some(by) {
            return CommandReply::Accepted;
        }
        let is_held = self.media.as_ref().is_some_and(|media| media.is_held(by));
        if self.holds_by_order.is_some() || is_held {
            return CommandReply::NotNow;
        }
        let told = (Direction::SendOnly, Direction::Inactive);
        let reply = self.turn_both(core, talk, by, told);
        if reply == CommandReply::Accepted {
            self.holds_by_order = Some(by);
            self.remix(core);
        }
        reply
    }

    fn resume(&mut self, core: &mut Core, talk: &mut Talk, by: Lane) -> CommandReply {
        let is_held = self.media.as_ref().is_some_and(|media| media.is_held(by));
        if self.holds_by_order.is_none() && !is_held {
            return CommandReply::Accepted;
        }
        let by = self.holds_by_order.unwrap_or(by);
        let reply = self.turn_both(core, talk, by, (Direction::SendRecv, Direction::SendRecv));
        if reply == CommandReply::Accepted {
            self.holds_by_order = None;
            self.remix(core);
        }
        reply
    }

    /// Tells the other side what it would be told if this one had changed its direction, and then
    /// this one.
    fn turn_both(
        &mut self,
        core: &mut Core,
        talk: &mut Talk,
        by: Lane,
        (across, back): (Direction, Direction),
    ) -> CommandReply {
        if talk.exchange.is_some() || talk.transfer.is_some() {
            return CommandReply::NotNow;
        }
        let Some(media) = self.media.as_mut() else { return CommandReply::NotNow };
        let Some(mut theirs) = media.agreed(by).cloned() else { return CommandReply::NotNow };
        theirs.set_direction(across);
        let passed = media.pass_offer(by.other(), &theirs);
        let leg = &mut talk.legs[by.other().index()];
        let Some(client) = leg.reinvite(core, self.id, &mut self.entries, &passed) else {
            return CommandReply::Overloaded;
        };
        talk.exchange = Some(Exchange::of_ours(by, client, theirs));
        talk.turn = Some((by, back));
        CommandReply::Accepted
    }

    /// The other side knows: now the one that holds is told.
    pub(super) fn turn(&mut self, core: &mut Core, talk: &mut Talk) {
        let Some((lane, direction)) = talk.turn.take() else { return };
        let Some(offer) = self.media.as_mut().and_then(|media| media.turn(lane, direction)) else {
            return;
        };
        let leg = &mut talk.legs[lane.index()];
        let client = leg.reinvite(core, self.id, &mut self.entries, &offer);
        talk.exchange = client.map(|client| Exchange::refreshing(lane.other(), client));
    }

    /// Whoever held by an order has taken the call up again at the phone.
    pub(super) fn resumed_by_phone(&mut self, core: &mut Core) {
        let is_held = |by: Lane| self.media.as_ref().is_some_and(|media| media.is_held(by));
        if self.holds_by_order.is_some_and(|by| !is_held(by)) {
            self.holds_by_order = None;
            self.remix(core);
        }
    }
}
