//! The phones of whoever is called while they ring, and who waits for them.
//!
//! Belongs here: what is known of it. Does not: what is done about it (`setup`, `early`, `answered`).

use super::caller::Caller;
use super::fork::{Fork, ForkState};
use super::leg::{Leg, Side};
use super::rings_at;
use crate::hunt::{Hunt, Way};
use crate::occupancy::Hold;
use cheling_sip::sdp::Sdp;
use cheling_sip::subscription::dialog_info::DialogState;
use cheling_sip::{ClientId, Response};
use std::time::Instant;

/// The phones of whoever is called are ringing.
#[derive(Debug)]
pub(crate) struct Ringing {
    pub(super) caller: Caller,
    pub(super) forks: Vec<Fork>,
    pub(super) hunt: Box<Hunt>,
    /// What rings as soon as the caller has answered our offer.
    pub(super) awaits: Option<Way>,
    /// Where the forks of the way that rings begin.
    pub(super) way_from: usize,
    /// When the way that rings is given up.
    pub(super) rings_until: Option<Instant>,
    /// When it is given up once it has said something; `None` if that makes no difference.
    pub(super) may_ring_until: Option<Instant>,
    /// The provisional response the caller has had, and whether it had a body.
    pub(super) told: (u16, bool),
    pub(super) has_far_end_rung: bool,
    /// Whether whoever is called has said that it rings.
    pub(super) is_rung: bool,
    /// The one phone whose early media is passed on: its fork, and its tag.
    pub(super) early: Option<(ClientId, String)>,
    /// The 2xx of a fork that came while the caller had not yet acknowledged a description.
    pub(super) held: Option<(ClientId, Box<Response>)>,
    pub(super) redirections: u8,
}

impl Ringing {
    pub(super) fn new(caller: Caller, forks: Vec<Fork>, hunt: Box<Hunt>) -> Self {
        Self {
            caller,
            forks,
            hunt,
            awaits: None,
            way_from: 0,
            rings_until: None,
            may_ring_until: None,
            told: (100, false),
            has_far_end_rung: false,
            is_rung: false,
            early: None,
            held: None,
            redirections: 0,
        }
    }

    /// Who waits.
    pub(super) fn caller(&self) -> &Caller {
        &self.caller
    }

    /// What the agent who was fetched speaks, if he should hear a ring-back tone: the other side
    /// rings and is not to be heard itself.
    pub(super) fn rung_back(&self) -> Option<&Sdp> {
        match &self.caller {
            Caller::Fetched { chosen, .. } if self.is_rung && self.early.is_none() => Some(chosen),
            Caller::Fetched { .. } | Caller::Invited(_) => None,
        }
    }

    /// Whether the caller has had a description.
    pub(super) fn has_early_media(&self) -> bool {
        self.early.is_some()
    }

    /// Whoever is rung, to give them up.
    pub(super) fn forks_mut(&mut self) -> &mut [Fork] {
        &mut self.forks
    }

    /// Who waits, and whoever is rung.
    pub(super) fn into_parts(self) -> (Caller, Vec<Fork>) {
        (self.caller, self.forks)
    }

    /// Whoever is rung.
    pub(super) fn forks(&self) -> &[Fork] {
        &self.forks
    }

    /// Who waits, and how far the call is from there.
    pub(super) fn caller_state(&self) -> (&Side, DialogState) {
        match &self.caller {
            Caller::Invited(invited) if self.told.0 > 100 => (&invited.side, DialogState::Early),
            Caller::Invited(invited) => (&invited.side, DialogState::Trying),
            Caller::Fetched { leg, .. } => (&leg.side, DialogState::Confirmed),
        }
    }

    /// The agent who has been fetched.
    pub(super) fn fetched(&mut self) -> Option<&mut Leg> {
        match &mut self.caller {
            Caller::Fetched { leg, .. } => Some(leg),
            Caller::Invited(_) => None,
        }
    }

    /// The phones and trunks in use.
    pub(super) fn sides(&self) -> impl Iterator<Item = (&Side, Hold)> {
        let rung = rings_at(&self.forks, Hold::Ringing);
        std::iter::once((self.caller.side(), Hold::Talking)).chain(rung)
    }

    /// The INVITEs of the way that rings.
    pub(super) fn clients_now(&self) -> Vec<ClientId> {
        let forks = self.forks.get(self.way_from..).unwrap_or_default();
        forks.iter().map(|fork| fork.client).collect()
    }

    pub(super) fn rings_now(&self, client: ClientId) -> bool {
        self.forks.iter().skip(self.way_from).any(|fork| fork.client == client)
    }

    /// When to be woken.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        self.rings_until.into_iter().chain(self.caller.next_timeout()).min()
    }

    /// Whether a phone of this extension rings.
    pub(super) fn rings(&self, extension: &str) -> bool {
        self.forks.iter().any(|fork| {
            matches!(fork.state, ForkState::Calling)
                && fork.target.side.extension() == Some(extension)
        })
    }
}
