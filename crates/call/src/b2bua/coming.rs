//! A consultation becomes a conference: whoever was asked comes into the call that waited, as its
//! third party, with the dialog of the consultation.
//!
//! The dialog is taken over as it is and offered a port of a guest by re-INVITE; nothing rings. Until
//! that is answered the third hears nobody and is shown as being called, so that it can be put out.
//! Who cannot be brought in is let go: the consultation is over by then.

use std::net::SocketAddr;
use std::time::Instant;

use cheling_model::{EndCause, GuestRole, TapKind};
use cheling_sip::sdp::{Origin, Sdp};
use cheling_sip::{ClientId, Response};

use super::consult::Given;
use super::fork::{ENDED_BY_US, Fork};
use super::guest::{Guest, GuestState, Joined};
use super::guests::{PORT_PATIENCE, offer, sends};
use super::leg::{Leg, Side};
use super::media::{Media, read_body};
use super::protection::Protection;
use super::talk::Talk;
use super::{Call, Ending, State};
use crate::core::Core;
use crate::io::{CommandReply, Output};

/// Somebody who comes with a dialog.
#[derive(Debug)]
pub(super) struct Coming {
    pub(super) leg: Leg,
    protection: Protection,
    /// The INVITE of ours that made the dialog, if it was ours.
    winner: Option<Fork>,
    step: Step,
}

/// How far it has come.
#[derive(Debug)]
enum Step {
    /// Its port is not open yet.
    Opening { until: Instant },
    /// The port is offered by this re-INVITE.
    Asked { client: ClientId, local: SocketAddr, sent: Box<Sdp> },
    /// The offer met one of theirs and is made again.
    Again { at: Instant, local: SocketAddr },
}

/// The two sides of a consultation that has become a conference.
#[derive(Debug)]
pub(crate) struct Both {
    pub(crate) agent: Given,
    pub(crate) third: Given,
    winner: Option<Fork>,
    number: String,
}

impl Coming {
    /// When it is to be looked after.
    pub(super) fn until(&self) -> Option<Instant> {
        match &self.step {
            Step::Opening { until } => Some(*until),
            Step::Again { at, .. } => Some(*at),
            Step::Asked { .. } => None,
        }
    }

    /// Whether our re-INVITE to it is this one.
    pub(super) fn asks_by(&self, client: ClientId) -> bool {
        matches!(&self.step, Step::Asked { client: asked, .. } if *asked == client)
    }

    /// Whether it has a port, or none is on the way.
    pub(super) fn has_port(&self) -> bool {
        !matches!(self.step, Step::Opening { .. })
    }
}

impl Call {
    /// Whether whoever is consulted could be brought in.
    ///
    /// # Errors
    /// What the console is told if not.
    pub(crate) fn may_bring_in(&self) -> Result<(), CommandReply> {
        let State::Parked(parked) = &self.state else { return Err(CommandReply::NotNow) };
        if parked.is_left() {
            return Err(CommandReply::NotNow);
        }
        if !self.media.as_ref().is_some_and(Media::can_mix) {
            return Err(CommandReply::CannotMix);
        }
        self.guests.free_number().map(|_| ()).ok_or(CommandReply::Overloaded)
    }

    /// Ends this consultation, giving both its sides away; `None` if they do not talk.
    pub(crate) fn give_both(&mut self, core: &mut Core) -> Option<Both> {
        if !self.is_steady() {
            return None;
        }
        let State::Talking(talk) = std::mem::replace(&mut self.state, State::Over(Vec::new()))
        else {
            return None;
        };
        self.consults_for = None;
        let lane = self.caller_lane;
        let Talk { legs, forks, winner, .. } = *talk;
        let mut given = legs.map(|leg| {
            core.unbind_tag(&mut self.entries, leg.tag());
            Some(leg)
        });
        let protection =
            |lane| self.media.as_ref().map(|it| it.protection(lane).clone()).unwrap_or_default();
        let agent = (given[lane.index()].take()?, protection(lane));
        let third = (given[lane.other().index()].take()?, protection(lane.other()));
        let ending = Ending { cause: EndCause::HungUp, by: Some(lane), status: None };
        self.state = self.end(core, ending, forks);
        Some(Both { agent, third, winner, number: self.offer.called.clone() })
    }

    /// Takes in whoever was consulted as a third party. What comes back is the agent's side.
    pub(crate) fn bring_in(&mut self, core: &mut Core, both: Both) -> Given {
        let Both { agent, third: (mut leg, protection), winner, number: dialled } = both;
        let Some(number) = self.guests.free_number() else {
            leg.bye(core, self.id, &mut self.entries, Some(ENDED_BY_US));
            return agent;
        };
        core.bind_tag(self.id, &mut self.entries, leg.tag());
        let protection = protection.renewed(&mut core.random);
        let origin = Origin::new(core.random.u64() >> 1, core.settings.advertise);
        let step = Step::Opening { until: core.now.monotonic + PORT_PATIENCE };
        let state = GuestState::Coming(Box::new(Coming { leg, protection, winner, step }));
        let role = GuestRole::Conference;
        let called = TapKind::GuestCalled { guest: number, role, number: dialled.clone() };
        core.tap(self.id, called);
        self.guests.all.push(Guest { number, role, dialled, origin, state });
        core.put(Output::OpenGuest { call_id: self.id, guest: number });
        self.rest();
        agent
    }

    /// Offers whoever comes its port, once there is one.
    pub(super) fn offer_port(&mut self, core: &mut Core, at: usize, local: SocketAddr) {
        let guest = &mut self.guests.all[at];
        let GuestState::Coming(coming) = &mut guest.state else { return };
        let mut sent = offer(&guest.origin, local);
        guest.origin.version += 1;
        coming.protection.write_offer(&mut sent, &mut core.random);
        let client = coming.leg.reinvite(core, self.id, &mut self.entries, &sent);
        match client {
            Some(client) => coming.step = Step::Asked { client, local, sent: Box::new(sent) },
            None => self.guest_leaves(core, at, true),
        }
    }

    /// Whoever comes has answered our offer.
    pub(super) fn coming_response(
        &mut self,
        core: &mut Core,
        at: usize,
        client: ClientId,
        response: &Response,
    ) {
        let GuestState::Coming(coming) = &mut self.guests.all[at].state else { return };
        let Step::Asked { local, .. } = &coming.step else { return };
        let local = *local;
        match response.status {
            100..=199 => return,
            200..=299 => {}
            422 if coming.leg.session.insist(response) => return self.offer_port(core, at, local),
            491 => {
                let wait = coming.leg.glare_wait(core);
                coming.step = Step::Again { at: core.now.monotonic + wait, local };
                return;
            }
            status => {
                tracing::warn!(call_id = %self.id, status, "whoever was consulted cannot be brought in");
                // It keeps its dialog unless it says that there is none (RFC 3261 §12.2.1.2).
                let is_there = !matches!(status, 408 | 481);
                return self.guest_leaves(core, at, is_there);
            }
        }
        coming.leg.renewed(core.now.monotonic, client, response);
        coming.leg.ack(core, None);
        let theirs = read_body(&response.headers, &response.body).ok().flatten();
        let spoken = theirs.and_then(|theirs| sends(&theirs).map(|sends| (theirs, sends)));
        let usable = spoken.filter(|(theirs, _)| coming.protection.check(theirs).is_ok());
        let Some((theirs, sends)) = usable else {
            tracing::warn!(call_id = %self.id, "whoever was consulted answered without a codec of ours");
            return self.guest_leaves(core, at, true);
        };
        let Guest { number, role, dialled, origin, state } = self.guests.all.remove(at);
        let GuestState::Coming(coming) = state else { return };
        let Coming { leg, protection, winner, step: Step::Asked { sent, .. } } = *coming else {
            return;
        };
        self.show_taker(core, &leg.side);
        let joined = Joined::new(leg, local, *sent, sends, (winner, protection));
        let state = GuestState::Joined(Box::new(joined));
        self.guests.all.insert(at, Guest { number, role, dialled, origin, state });
        self.guest_joined(core, at, &theirs);
    }

    /// A phone of ours is given this call without having rung for it: its console shows the card, as
    /// of any call that comes there.
    pub(super) fn show_taker(&self, core: &mut Core, side: &Side) {
        if let Some(extension) = side.extension() {
            let leg = core.random.leg_id(core.now.wall);
            core.tap(self.id, TapKind::Ringing { leg, extension: extension.to_owned() });
        }
    }

    /// The time of whoever comes is up: its offer is made again, or it is let go.
    pub(super) fn coming_due(&mut self, core: &mut Core, at: usize) {
        let GuestState::Coming(coming) = &self.guests.all[at].state else { return };
        match &coming.step {
            Step::Again { local, .. } => {
                let local = *local;
                self.offer_port(core, at, local);
            }
            Step::Opening { .. } | Step::Asked { .. } => self.guest_leaves(core, at, true),
        }
    }
}
