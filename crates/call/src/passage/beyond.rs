//! Dialogs of the telephone system's own, which it tells phones of (busy lamps), and which they name
//! when they pick up or hand on: only it can find them again.
//!
//! An INVITE with Replaces of a phone that means such a dialog goes to the telephone system as it
//! is, and so does the INVITE that we make of a REFER. What means a dialog of a phone with us is
//! carried out by us as ever (`b2bua`), and needs nothing of the telephone system but two calls; it
//! sees no transfer then. A REFER of the telephone system's own within a call passes to the phone
//! (`b2bua::referral`), if that allows REFER; out of a dialog one passes as any request.
//!
//! Belongs here: whose dialog is meant, and what is known of the call that it belongs to.

use cheling_model::call::Offer;
use cheling_model::{Direction, Lane};
use cheling_sip::refer::{Replaces, ReplacesError};

use super::pbx;
use crate::b2bua::{Place, Plan, Side};
use crate::switch::Switch;

/// A call that passes us on its way to another phone.
#[derive(Clone, Debug)]
pub(crate) struct Beyond {
    offer: Offer,
}

/// Whether a Replaces means a dialog of the telephone system's own, rather than one of a phone with
/// us; and the call of ours that it belongs to, if it is one.
pub(crate) fn is_beyond(switch: &Switch, replaces: &Replaces) -> Option<Option<Beyond>> {
    let core = &switch.core;
    pbx(core)?;
    let tags = [&replaces.to_tag, &replaces.from_tag];
    let slot = tags.into_iter().find_map(|tag| switch.calls.get(&core.call_of_tag(tag)?));
    let Some(slot) = slot else { return Some(None) };
    match slot.call.place(replaces) {
        Ok(Place::Talking(_, side) | Place::Ringing(_, side)) if !core.is_pbx(&side) => None,
        Ok(_) | Err(ReplacesError::NoDialog) => {
            Some(Some(Beyond { offer: slot.call.offer().clone() }))
        }
        Err(_) => None,
    }
}

impl Beyond {
    /// The phone's call, which is the customer's from now on: whoever picks up is told of the
    /// customer, not of the colleague whose phone rang.
    pub(crate) fn taken_over_by(self, plan: Plan) -> Plan {
        if self.offer.direction != Direction::Inbound {
            return plan;
        }
        let Offer { extension, user_id, .. } = plan.offer;
        let offer = Offer { extension, user_id, ..self.offer };
        Plan { offer, caller_lane: Lane::Agent, ..plan }
    }
}

/// Whether this side is a phone that stands before a telephone system.
pub(crate) fn is_before(switch: &Switch, side: Option<&Side>) -> bool {
    pbx(&switch.core).is_some() && side.is_some_and(|side| side.extension().is_some())
}
