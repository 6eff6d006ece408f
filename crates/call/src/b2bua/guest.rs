//! A third party of a call: where it stands, and what it has in use.

use super::coming::Coming;
use super::fork::{Fork, ForkState};
use super::leg::Leg;
use super::leg::Side;
use super::protection::Protection;
use super::rings_at;
use crate::hunt::{Hunt, Way};
use crate::io::{MAX_GUESTS, MixPlan, MixSends};
use crate::occupancy::Hold;
use cheling_model::GuestRole;
use cheling_model::call::Format;
use cheling_sip::sdp::{Origin, Sdp};
use cheling_sip::{ClientId, Request};
use std::net::SocketAddr;
use std::time::Instant;

/// The third parties of one call.
#[derive(Debug, Default)]
pub(super) struct Guests {
    pub(super) all: Vec<Guest>,
    /// INVITEs given up, and those answered, that may have another answer.
    pub(super) forks: Vec<Fork>,
    /// What the relay was told last.
    pub(super) plan: Option<Box<MixPlan>>,
}

/// One third party.
#[derive(Debug)]
pub(super) struct Guest {
    pub(super) number: u8,
    pub(super) role: GuestRole,
    pub(super) dialled: String,
    pub(super) origin: Origin,
    pub(super) state: GuestState,
}

#[derive(Debug)]
pub(super) enum GuestState {
    /// Waits for a port.
    Opening { way: Way, hunt: Box<Option<Hunt>>, until: Instant },
    /// Rings.
    Ringing {
        local: SocketAddr,
        forks: Vec<Fork>,
        /// Where the forks of the way that rings begin.
        way_from: usize,
        hunt: Box<Option<Hunt>>,
        until: Instant,
    },
    /// Comes with the dialog of a consultation.
    Coming(Box<Coming>),
    /// Is in the call.
    Joined(Box<Joined>),
}

/// Somebody who is in.
#[derive(Debug)]
pub(super) struct Joined {
    pub(super) local: SocketAddr,
    pub(super) leg: Leg,
    /// The INVITE of ours that it answered, if it came by one.
    pub(super) winner: Option<Fork>,
    pub(super) sent: Sdp,
    pub(super) formats: Vec<Format>,
    pub(super) sends: MixSends,
    pub(super) is_listening: bool,
    pub(super) protection: Protection,
}

impl Guest {
    /// Its dialog, if it has one.
    pub(super) fn leg(&self) -> Option<&Leg> {
        match &self.state {
            GuestState::Coming(coming) => Some(&coming.leg),
            GuestState::Joined(joined) => Some(&joined.leg),
            GuestState::Opening { .. } | GuestState::Ringing { .. } => None,
        }
    }

    /// The same, to be changed.
    pub(super) fn leg_mut(&mut self) -> Option<&mut Leg> {
        match &mut self.state {
            GuestState::Coming(coming) => Some(&mut coming.leg),
            GuestState::Joined(joined) => Some(&mut joined.leg),
            GuestState::Opening { .. } | GuestState::Ringing { .. } => None,
        }
    }
}

impl Joined {
    /// Who was offered this at our port, before it is known what it answers.
    pub(super) fn new(
        leg: Leg,
        local: SocketAddr,
        sent: Sdp,
        sends: MixSends,
        (winner, protection): (Option<Fork>, Protection),
    ) -> Self {
        let (formats, is_listening) = (Vec::new(), true);
        Self { local, leg, winner, sent, formats, sends, is_listening, protection }
    }
}

/// A guest as the mixer needs to know it.
#[derive(Debug)]
pub(super) struct GuestVoice<'a> {
    pub(super) number: u8,
    pub(super) role: GuestRole,
    pub(super) formats: &'a [Format],
    pub(super) sends: &'a MixSends,
    /// Not while it has the call on hold.
    pub(super) is_listening: bool,
}

impl Guests {
    /// Those who are in.
    pub(super) fn voices(&self) -> impl Iterator<Item = GuestVoice<'_>> {
        self.all.iter().filter_map(|guest| {
            let GuestState::Joined(joined) = &guest.state else { return None };
            Some(GuestVoice {
                number: guest.number,
                role: guest.role,
                formats: &joined.formats,
                sends: &joined.sends,
                is_listening: joined.is_listening,
            })
        })
    }

    /// When one of them is to be looked after.
    pub(super) fn until(&self) -> Option<Instant> {
        let until = self.all.iter().filter_map(|guest| match &guest.state {
            GuestState::Opening { until, .. } | GuestState::Ringing { until, .. } => Some(*until),
            GuestState::Coming(coming) => coming.until(),
            GuestState::Joined(joined) => joined.leg.session.next_timeout(),
        });
        until.min()
    }

    /// Whose phone or trunk the guests have in use.
    pub(super) fn sides(&self) -> Vec<(&Side, Hold)> {
        let mut sides = Vec::new();
        for guest in &self.all {
            match &guest.state {
                GuestState::Opening { .. } => {}
                GuestState::Ringing { forks, .. } => sides.extend(rings_at(forks, Hold::Ringing)),
                GuestState::Coming(coming) => sides.push((&coming.leg.side, Hold::Talking)),
                GuestState::Joined(joined) => sides.push((&joined.leg.side, Hold::Talking)),
            }
        }
        sides
    }

    /// Whether a phone of this extension rings here or is in.
    pub(super) fn holds(&self, extension: &str) -> bool {
        self.all.iter().any(|guest| match &guest.state {
            GuestState::Opening { .. } => false,
            GuestState::Ringing { forks, .. } => forks.iter().any(|fork| {
                fork.state == ForkState::Calling && fork.target.side.extension() == Some(extension)
            }),
            GuestState::Coming(coming) => coming.leg.side.extension() == Some(extension),
            GuestState::Joined(joined) => joined.leg.side.extension() == Some(extension),
        })
    }

    /// The dialogs of those who are in, to be looked at.
    pub(super) fn legs(&self) -> impl Iterator<Item = &Leg> {
        self.all.iter().filter_map(Guest::leg)
    }

    /// The dialogs of those who are in.
    pub(super) fn legs_mut(&mut self) -> impl Iterator<Item = &mut Leg> {
        self.all.iter_mut().filter_map(Guest::leg_mut)
    }

    /// The INVITEs to those who ring.
    pub(super) fn forks_mut(&mut self) -> impl Iterator<Item = &mut Fork> {
        self.all.iter_mut().flat_map(|guest| match &mut guest.state {
            GuestState::Ringing { forks, .. } => forks.as_mut_slice(),
            GuestState::Opening { .. } | GuestState::Coming(_) | GuestState::Joined(_) => &mut [],
        })
    }

    pub(super) fn free_number(&self) -> Option<u8> {
        (1..=MAX_GUESTS).find(|number| self.all.iter().all(|guest| guest.number != *number))
    }

    pub(super) fn of_client(&self, client: ClientId) -> Option<usize> {
        self.all.iter().position(|guest| match &guest.state {
            GuestState::Opening { .. } => false,
            GuestState::Ringing { forks, .. } => forks.iter().any(|fork| fork.client == client),
            GuestState::Coming(coming) => coming.asks_by(client),
            GuestState::Joined(joined) => {
                joined.winner.as_ref().is_some_and(|winner| winner.client == client)
            }
        })
    }

    pub(super) fn of_request(&self, request: &Request) -> Option<usize> {
        let to = request.headers.to()?;
        let tag = to.tag()?;
        self.all.iter().position(|guest| guest.leg().is_some_and(|leg| leg.tag() == tag))
    }
}
