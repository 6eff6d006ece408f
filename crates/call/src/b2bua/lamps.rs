//! What a call lights on other phones' busy lamps: each of our phones in it, and how far it has
//! come (RFC 4235).

use cheling_model::Lane;
use cheling_sip::dialog::DialogId;
use cheling_sip::subscription::dialog_info::{DialogEntry, DialogState, Direction};
use cheling_sip::via::host_text;

use super::fork::{Fork, ForkState};
use super::leg::Side;
use super::setup::Opening;
use super::{Call, State};
use crate::core::Core;
use crate::identity;

/// One call of one extension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lamp {
    /// Whose lamp is lit.
    pub(crate) extension: String,
    /// By what.
    pub(crate) entry: DialogEntry,
}

impl Call {
    /// The lamps that the call lights now, one for each extension in it.
    pub(crate) fn lamps(&self, core: &Core) -> Vec<Lamp> {
        let mut lamps = Vec::new();
        let caller = self.caller_lane;
        match &self.state {
            State::Over(_) => {}
            State::Opening(opening) => {
                if let Opening::Invited { invited, .. } = &**opening {
                    let dialog = None;
                    self.light(
                        core,
                        &mut lamps,
                        &invited.side,
                        caller,
                        DialogState::Trying,
                        dialog,
                    );
                }
            }
            State::Fetching(fetch) => self.light_forks(core, &mut lamps, &fetch.forks, caller),
            State::Ringing(ringing) => {
                let (side, state) = ringing.caller_state();
                self.light(core, &mut lamps, side, caller, state, None);
                self.light_forks(core, &mut lamps, ringing.forks(), caller.other());
            }
            State::Talking(talk) => {
                for (lane, leg) in Lane::BOTH.into_iter().zip(&talk.legs) {
                    let (state, dialog) = (DialogState::Confirmed, Some(leg.seen_from_there()));
                    self.light(core, &mut lamps, &leg.side, lane, state, dialog);
                }
                if let Some(transfer) = &talk.transfer {
                    self.light_forks(core, &mut lamps, transfer.forks(), transfer.by());
                }
                for leg in self.guests.legs() {
                    let (state, dialog) = (DialogState::Confirmed, Some(leg.seen_from_there()));
                    self.light(core, &mut lamps, &leg.side, Lane::Agent, state, dialog);
                }
            }
            State::Parked(parked) => {
                let (lane, leg) = parked.waiting();
                let (state, dialog) = (DialogState::Confirmed, Some(leg.seen_from_there()));
                self.light(core, &mut lamps, &leg.side, lane, state, dialog);
            }
            State::Moving(moving) => {
                let leg = moving.leg();
                let (state, dialog) = (DialogState::Confirmed, Some(leg.seen_from_there()));
                self.light(core, &mut lamps, &leg.side, caller, state, dialog);
            }
        }
        lamps
    }

    fn light_forks(&self, core: &Core, lamps: &mut Vec<Lamp>, forks: &[Fork], lane: Lane) {
        for fork in forks.iter().filter(|fork| fork.state == ForkState::Calling) {
            let (side, dialog) = (&fork.target.side, fork.seen_from_there());
            self.light(core, lamps, side, lane, DialogState::Early, dialog);
        }
    }

    fn light(
        &self,
        core: &Core,
        lamps: &mut Vec<Lamp>,
        side: &Side,
        lane: Lane,
        state: DialogState,
        dialog: Option<DialogId>,
    ) {
        let Some(extension) = side.extension() else { return };
        if lamps.iter().any(|lamp| lamp.extension == extension) {
            return;
        }
        let remote =
            identity::from_address(&self.party_beside(lane), &host_text(core.settings.advertise));
        let is_caller = lane == self.caller_lane;
        let entry = DialogEntry {
            id: format!("{}-{extension}", self.id),
            dialog,
            direction: if is_caller { Direction::Initiator } else { Direction::Recipient },
            state,
            remote: Some(remote),
        };
        lamps.push(Lamp { extension: extension.to_owned(), entry });
    }
}
