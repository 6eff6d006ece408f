//! Agents whose phones ring beyond a trunk, at a telephone system that we stand before: they get
//! the card though their phones are not ours to ring.

use cheling_model::{LegId, TapKind, Withdrawal};
use cheling_sip::Response;

use super::fork::Fork;
use super::{Call, State, outcome};
use crate::between;
use crate::core::Core;
use crate::passage::Begun;

/// Agents that have the card of one fork: by its own leg id each.
pub(super) type Shown = Vec<(LegId, String)>;

impl Call {
    /// What a phone of ours has begun at this telephone system, if it is that.
    pub(crate) fn begun_at(&self, pbx: &str) -> Option<Begun<'_>> {
        let is_there = self.offer.trunk.as_deref() == Some(pbx) && self.is_live();
        let extension = self.offer.extension.as_deref().filter(|_| is_there)?;
        let is_answered = !matches!(self.state, State::Opening(_) | State::Ringing(_));
        Some(Begun { extension, direction: self.offer.direction, is_answered })
    }

    /// Whether this Call-ID names the dialog, begun or made, with whoever is called.
    pub(crate) fn is_known_there_as(&self, sip_call_id: &str) -> bool {
        match &self.state {
            State::Ringing(ringing) => {
                ringing.forks().iter().any(|fork| fork.sip_call_id() == sip_call_id)
            }
            State::Talking(talk) => talk.legs.iter().any(|leg| leg.sip_call_id() == sip_call_id),
            _ => false,
        }
    }

    /// Whoever is to have the card while this INVITE rings gets it.
    pub(super) fn show_beyond(&self, core: &mut Core, fork: &mut Fork) {
        for extension in std::mem::take(&mut fork.target.shown_to) {
            let leg = core.random.leg_id(core.now.wall);
            core.tap(self.id, TapKind::Ringing { leg, extension: extension.clone() });
            fork.shown.push((leg, extension));
        }
    }

    /// The other side has told whose phone rings.
    pub(super) fn rings_beyond(&self, core: &mut Core, fork: &mut Fork, response: &Response) {
        if !core.is_pbx(&fork.target.side) {
            return;
        }
        let told = between::told(core, &response.headers).map(|it| it.number.clone());
        let Some(extension) = told else { return };
        if Some(&extension) != self.offer.extension.as_ref()
            && !fork.shown.iter().any(|(_, known)| *known == extension)
        {
            fork.target.shown_to.push(extension);
            self.show_beyond(core, fork);
        }
    }

    /// The phones beyond ring no more; `answerer` is the one that was taken up.
    pub(super) fn withdraw_beyond(
        &self,
        core: &mut Core,
        fork: &mut Fork,
        why: &Withdrawal,
        answerer: Option<&str>,
    ) {
        for (leg, extension) in std::mem::take(&mut fork.shown) {
            if Some(extension.as_str()) != answerer {
                core.tap(self.id, TapKind::Withdrawn { leg, extension, why: why.clone() });
            }
        }
    }

    /// A phone beyond was taken up: whose, if that is told. Everybody else is withdrawn.
    pub(super) fn taken_up_beyond(
        &mut self,
        core: &mut Core,
        fork: &mut Fork,
        response: &Response,
    ) {
        if !core.is_pbx(&fork.target.side) || self.offer.extension.is_some() {
            return;
        }
        self.rings_beyond(core, fork, response);
        let told = between::told(core, &response.headers).map(|it| it.number.clone());
        // With one agent to choose from there is no doubt.
        let answerer = told.or_else(|| match &fork.shown[..] {
            [(_, only)] => Some(only.clone()),
            _ => None,
        });
        let extension = answerer.clone().unwrap_or_default();
        let why = Withdrawal::AnsweredElsewhere { extension };
        self.withdraw_beyond(core, fork, &why, answerer.as_deref());
        self.answerer = answerer;
    }

    /// The same for an INVITE that was refused.
    pub(super) fn refused_beyond(&self, core: &mut Core, fork: &mut Fork, status: u16) {
        self.withdraw_beyond(core, fork, &outcome::withdrawal(status), None);
    }
}
