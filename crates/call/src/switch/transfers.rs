//! A phone hands a call on to another that it has, or that is known to it: two calls are concerned.

use cheling_model::CallId;

use super::Switch;
use crate::b2bua::{Attended, Call, Event};
use crate::passage;

impl Switch {
    /// Makes one call of two that a phone has.
    pub(super) fn attend(&mut self, call_id: CallId, attended: Attended) {
        let (server, request) = (attended.server, &attended.request);
        let other_id = self.core.call_of_tag(&attended.replaces.to_tag);
        let found = other_id.filter(|other_id| *other_id != call_id).and_then(|other_id| {
            let other = &self.calls.get(&other_id)?.call;
            let lane = other.joinable(&attended.replaces)?;
            let ours = &self.calls.get(&call_id)?.call;
            let is_customers = |call: &Call| call.is_customers(&self.core);
            ours.is_steady().then(|| (other_id, lane, is_customers(other) && !is_customers(ours)))
        });
        let is_beyond = passage::is_beyond(self, &attended.replaces).is_some();
        if let (None, Some(other_id), false) = (&found, other_id, is_beyond) {
            return self.attend_ringing(call_id, other_id, attended);
        }
        let Some((other_id, other_lane, is_others_customer)) = found else {
            return self.attend_beyond(call_id, attended);
        };
        self.core.refuse(server, request, 202);
        // The customer's call goes on, whichever of the two was told to.
        let ours = (call_id, attended.by);
        let (keeper, giver) = match is_others_customer {
            true => ((other_id, other_lane), ours),
            false => (ours, (other_id, other_lane)),
        };
        let core = &mut self.core;
        if let Some(slot) = self.calls.get_mut(&call_id) {
            slot.call.tell_attended(core, &attended);
        }
        let beyond = core.joined.answerer(giver.0);
        let leg = self.calls.get_mut(&giver.0).and_then(|slot| slot.call.release(core, giver.1));
        if let (Some(leg), Some(slot)) = (leg, self.calls.get_mut(&keeper.0)) {
            slot.call.adopt(core, keeper.1, leg, beyond);
        }
        self.settle(giver.0);
        self.settle(keeper.0);
    }

    /// A phone hands its call on to a dialog that is none of its own with us: the telephone system
    /// may know it.
    fn attend_beyond(&mut self, call_id: CallId, attended: Attended) {
        let by = self.calls.get(&call_id).and_then(|slot| slot.call.side(attended.by));
        let is_known_there =
            passage::is_before(self, by) && passage::is_beyond(self, &attended.replaces).is_some();
        let target = attended.request.headers.refer_to().ok().map(|it| it.target);
        let number = target.and_then(|uri| uri.user_unescaped().map(|user| user.into_owned()));
        let Some(number) = number.filter(|_| is_known_there) else {
            return self.core.refuse(attended.server, &attended.request, 481);
        };
        let replaces = Some(attended.replaces.clone());
        if let Some(slot) = self.calls.get_mut(&call_id) {
            slot.call.hand_on_to(&mut self.core, attended, (number, replaces));
        }
        self.settle(call_id);
    }

    /// A phone hands its call on to whom it is still ringing: that call ends, and the one that is
    /// handed on rings there instead, so that who is rung sees the customer.
    fn attend_ringing(&mut self, call_id: CallId, other_id: CallId, attended: Attended) {
        let by = self.calls.get(&call_id).and_then(|slot| slot.call.side(attended.by));
        let other = self.calls.get(&other_id).filter(|_| other_id != call_id);
        let number = by.zip(other).and_then(|(by, other)| {
            let is_free = self.calls.get(&call_id)?.call.is_steady();
            other.call.rung_by(&attended.replaces, by).filter(|_| is_free)
        });
        let Some(number) = number else {
            return self.core.refuse(attended.server, &attended.request, 481);
        };
        self.feed(other_id, Event::HangUp);
        if let Some(slot) = self.calls.get_mut(&call_id) {
            slot.call.hand_on_to(&mut self.core, attended, (number, None));
        }
        self.settle(call_id);
    }
}
