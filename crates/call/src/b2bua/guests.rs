//! Third parties of a call: a conference, and a supervisor who listens, whispers or barges in.
//!
//! The call stays one call of two sides, and its recording stays what it was: the left lane is the
//! customer and nobody else. Each guest is a dialog of its own with a port of its own at the relay,
//! numbered 1 to 7, and that number is its voice in the recording's **right** lane: whoever our side
//! brings in, a colleague or somebody outside, speaks on our side. Who only listens says nothing,
//! and what is **whispered is not recorded**: it is said for the agent's ear alone, and no copy of
//! it may reach who hears the recording of the customer's call. When the whisperer barges in, his
//! voice is recorded from then on.
//!
//! Belongs here: ringing guests, their coming and their end. Does not: what they ask within their
//! dialogs (`guest_dialog`), who hears whom (`mixing`).

use std::net::SocketAddr;
use std::time::Duration;

use cheling_media::codec::{Codec, PayloadFormat};
use cheling_media::mixer;
use cheling_model::call::Party;
use cheling_model::{GuestRole, Lane, TapKind};
use cheling_sip::diversion::History;
use cheling_sip::sdp::{self, LocalMedia, Origin, Sdp};
use cheling_sip::{ClientId, Response};

use super::fork::{self, ANSWERED_ELSEWHERE, ENDED_BY_US, Fork, ForkState, Manner, Target};
use super::formats;
use super::guest::{Guest, GuestState, Joined};
use super::leg::Leg;
use super::media::{self, read_body};
use super::{Call, Event};
use crate::core::Core;
use crate::hunt::{Fate, Hunt, Way};
use crate::io::{CommandReply, MixSends, Output, RelayRemote};
use crate::{ordered, targets};

/// How long a supervisor's own phone rings, should it not answer by itself.
const RING_MONITOR: Duration = Duration::from_secs(30);
/// How long the relay may take to open a port.
pub(super) const PORT_PATIENCE: Duration = Duration::from_secs(5);

impl Call {
    /// Rings somebody to join the call.
    pub(super) fn invite_guest(
        &mut self,
        core: &mut Core,
        by: Lane,
        extension: &str,
        number: &str,
    ) -> CommandReply {
        let shown = self.party_beside(by);
        let mut hunt = match ordered::ordered(core, extension, number, &shown) {
            Ok((_, _, hunt)) => hunt,
            Err(reply) => return reply,
        };
        let mut way = match hunt.next(core, self.id, Fate::Begun) {
            Ok(way) => way,
            Err(over) => return over.into(),
        };
        // Who is in the call already is not rung.
        way.targets.retain(|it| it.side.extension().is_none_or(|phone| !self.holds(phone)));
        if way.targets.is_empty() {
            return CommandReply::NotRegistered;
        }
        self.add_guest(core, GuestRole::Conference, number, way, Some(hunt))
    }

    /// Rings a supervisor's phone, or changes what its user may do here.
    pub(super) fn monitor(
        &mut self,
        core: &mut Core,
        monitor: &str,
        role: GuestRole,
    ) -> CommandReply {
        let known = self.guests.all.iter_mut().find(|guest| guest.dialled == monitor);
        if let Some(guest) = known {
            if guest.role == GuestRole::Conference {
                return CommandReply::ExtensionBusy;
            }
            guest.role = role;
            if matches!(guest.state, GuestState::Joined(_)) {
                let guest = guest.number;
                core.tap(self.id, TapKind::GuestChanged { guest, role });
                self.remix(core);
            }
            return CommandReply::Accepted;
        }
        if !core.directory.extensions.iter().any(|extension| extension.number == monitor) {
            return CommandReply::NoSuchExtension;
        }
        if self.holds(monitor) {
            return CommandReply::ExtensionBusy;
        }
        // The supervisor's phone shows whose call it is.
        let agent = core.directory.extensions.iter().find(|it| self.holds(&it.number));
        let caller = agent.map_or_else(Party::default, |agent| Party {
            number: agent.number.clone(),
            display_name: Some(agent.display_name.clone()).filter(|name| !name.is_empty()),
            ..Party::default()
        });
        let targets = targets::phones(core, std::iter::once(monitor), &caller);
        if targets.is_empty() {
            return CommandReply::NotRegistered;
        }
        let way = Way { targets, ring_for: RING_MONITOR, patience: None };
        self.add_guest(core, role, monitor, way, None)
    }

    fn add_guest(
        &mut self,
        core: &mut Core,
        role: GuestRole,
        dialled: &str,
        way: Way,
        hunt: Option<Hunt>,
    ) -> CommandReply {
        if !self.media.as_ref().is_some_and(media::Media::can_mix) {
            return CommandReply::CannotMix;
        }
        let Some(number) = self.guests.free_number() else { return CommandReply::Overloaded };
        let origin = Origin::new(core.random.u64() >> 1, core.settings.advertise);
        let until = core.now.monotonic + PORT_PATIENCE;
        let state = GuestState::Opening { way, hunt: Box::new(hunt), until };
        self.guests.all.push(Guest { number, role, dialled: dialled.to_owned(), origin, state });
        let called = TapKind::GuestCalled { guest: number, role, number: dialled.to_owned() };
        core.tap(self.id, called);
        core.put(Output::OpenGuest { call_id: self.id, guest: number });
        CommandReply::Accepted
    }

    /// Puts a third party out.
    pub(super) fn dismiss(&mut self, core: &mut Core, number: u8) -> CommandReply {
        match self.guests.all.iter().position(|guest| guest.number == number) {
            Some(at) => {
                self.guest_leaves(core, at, true);
                self.remix(core);
                CommandReply::Accepted
            }
            None => CommandReply::NoSuchGuest,
        }
    }

    /// The call is over: so it is for its guests. What comes back waits for last answers.
    pub(super) fn dismiss_all(&mut self, core: &mut Core) -> Vec<Fork> {
        while !self.guests.all.is_empty() {
            self.guest_leaves(core, 0, true);
        }
        self.guests.plan = None;
        std::mem::take(&mut self.guests.forks)
    }

    /// Takes what concerns a guest; anything else comes back.
    pub(super) fn guest_event<'a>(
        &mut self,
        core: &mut Core,
        event: Event<'a>,
    ) -> Option<Event<'a>> {
        match event {
            Event::GuestOpened { guest, local } => {
                self.guest_opened(core, guest, local);
                None
            }
            Event::Response(client, response) => {
                if let Some(at) = self.guests.of_client(client) {
                    self.guest_response(core, at, client, response);
                    return None;
                }
                self.late_answer(core, client, Some(response)).then_some(event)
            }
            Event::NoResponse(client, status) => {
                if let Some(at) = self.guests.of_client(client) {
                    self.guest_refused(core, at, client, status);
                    return None;
                }
                self.late_answer(core, client, None).then_some(event)
            }
            Event::Request { server, flow, request } => {
                let Some(at) = self.guests.of_request(&request) else {
                    return Some(Event::Request { server, flow, request });
                };
                self.guest_request(core, at, server, flow, &request);
                None
            }
            Event::Ack(request) => self.guests.of_request(request).is_none().then_some(event),
            Event::Timeout if self.guests.until().is_some_and(|at| at <= core.now.monotonic) => {
                self.guests_overdue(core);
                None
            }
            event => Some(event),
        }
    }

    /// An answer to an INVITE that was given up; true if it was to none.
    fn late_answer(
        &mut self,
        core: &mut Core,
        client: ClientId,
        response: Option<&Response>,
    ) -> bool {
        let Some(at) = self.guests.forks.iter().position(|fork| fork.client == client) else {
            return true;
        };
        if response.is_none_or(|response| !response.is_provisional()) {
            let fork = self.guests.forks.swap_remove(at);
            if let Some(response) = response.filter(|response| response.is_success()) {
                fork.hang_up(core, self.id, &mut self.entries, response, ANSWERED_ELSEWHERE);
            }
        }
        false
    }

    fn guest_opened(&mut self, core: &mut Core, number: u8, local: Option<SocketAddr>) {
        let Some(at) = self.guests.all.iter().position(|guest| guest.number == number) else {
            // It was put out meanwhile.
            core.put(Output::CloseGuest { call_id: self.id, guest: number });
            return;
        };
        let guest = &mut self.guests.all[at];
        let Some(local) = local else { return self.guest_leaves(core, at, true) };
        if let GuestState::Coming(_) = &guest.state {
            return self.offer_port(core, at, local);
        }
        let until = core.now.monotonic;
        let (forks, way_from) = (Vec::new(), 0);
        let ringing = |hunt| GuestState::Ringing { local, forks, way_from, hunt, until };
        let state = std::mem::replace(&mut guest.state, ringing(Box::new(None)));
        let GuestState::Opening { way, hunt: goes_on, .. } = state else {
            guest.state = state;
            return;
        };
        if let GuestState::Ringing { hunt, .. } = &mut guest.state {
            *hunt = goes_on;
        }
        if !self.ring_guest(core, at, way) {
            self.ring_next_guest(core, at, Fate::Unreachable);
        }
    }

    /// Rings these; false if not even an INVITE could be sent.
    fn ring_guest(&mut self, core: &mut Core, at: usize, way: Way) -> bool {
        let guest = &self.guests.all[at];
        let (role, origin) = (guest.role, guest.origin);
        let GuestState::Ringing { local, .. } = &guest.state else { return false };
        let (offer, history) = (offer(&origin, *local), History::default());
        let manner = match role {
            GuestRole::Conference => Manner::Ring,
            _ => Manner::AutoAnswer,
        };
        let invite =
            fork::Invite { offer: Some(&offer), max_forwards: 70, manner, history: &history };
        let new = match role {
            // The colleague's console shows the card, as for any call that rings there.
            GuestRole::Conference => self.fork(core, way.targets, invite),
            _ => self.fork_quietly(core, way.targets, invite),
        };
        let GuestState::Ringing { forks, way_from, until, .. } = &mut self.guests.all[at].state
        else {
            return false;
        };
        if new.is_empty() {
            return false;
        }
        *way_from = forks.len();
        forks.extend(new);
        *until = core.now.monotonic + way.ring_for;
        true
    }

    /// Rings whoever is next; without anybody the guest does not come.
    fn ring_next_guest(&mut self, core: &mut Core, at: usize, mut fate: Fate) {
        loop {
            let GuestState::Ringing { hunt, .. } = &mut self.guests.all[at].state else { return };
            let next = hunt.as_mut().as_mut().and_then(|hunt| hunt.next(core, self.id, fate).ok());
            let Some(way) = next else { return self.guest_leaves(core, at, true) };
            if self.ring_guest(core, at, way) {
                return;
            }
            fate = Fate::Unreachable;
        }
    }

    /// Sends INVITEs, and tells no console.
    fn fork_quietly(
        &mut self,
        core: &mut Core,
        targets: Vec<Target>,
        invite: fork::Invite<'_>,
    ) -> Vec<Fork> {
        let ids = (self.id, core.random.leg_id(core.now.wall));
        let mut forks = Vec::with_capacity(targets.len());
        for target in targets {
            forks.extend(Fork::start(core, &mut self.entries, ids, target, invite));
        }
        forks
    }

    fn guest_response(
        &mut self,
        core: &mut Core,
        at: usize,
        client: ClientId,
        response: &Response,
    ) {
        let guest = &mut self.guests.all[at];
        let forks = match &mut guest.state {
            GuestState::Ringing { forks, .. } => forks,
            GuestState::Joined(joined) => {
                // A proxy beyond had a second phone answer.
                if response.is_success()
                    && !joined.leg.is_from_there(response)
                    && let Some(winner) = &joined.winner
                {
                    let reason = ANSWERED_ELSEWHERE;
                    winner.hang_up(core, self.id, &mut self.entries, response, reason);
                }
                return;
            }
            GuestState::Coming(_) => return self.coming_response(core, at, client, response),
            GuestState::Opening { .. } => return,
        };
        if response.is_provisional() {
            if let Some(fork) = forks.iter_mut().find(|fork| fork.client == client)
                && response.status > 100
                && fork.state == ForkState::Calling
                && fork.take_provisional(core, self.id, &mut self.entries, response)
                && let Ok(Some(sdp)) = read_body(&response.headers, &response.body)
            {
                fork.note_early(response, sdp);
            }
            return;
        }
        if !response.is_success() {
            return self.guest_refused(core, at, client, response.status);
        }
        let mut forks = std::mem::take(forks);
        let early = forks.iter().find(|it| it.client == client).and_then(|it| it.early(response));
        let taken = self.taken(core, &mut forks, client, response, early);
        let Some((mut leg, sdp, winner)) = taken else {
            self.keep_forks(at, forks);
            return self.guest_goes_on(core, at);
        };
        leg.ack(core, None);
        let Some(sends) = sends(&sdp) else {
            tracing::warn!(call_id = %self.id, "a third party answered without a codec of ours");
            leg.bye(core, self.id, &mut self.entries, Some(ENDED_BY_US));
            self.keep_forks(at, forks);
            return self.guest_goes_on(core, at);
        };
        self.answered_elsewhere(core, &mut forks, &leg.side);
        self.guests.forks.extend(forks.into_iter().filter(Fork::is_pending));
        self.guest_joins(core, at, leg, sdp, sends, winner);
    }

    fn keep_forks(&mut self, at: usize, kept: Vec<Fork>) {
        if let GuestState::Ringing { forks, .. } = &mut self.guests.all[at].state {
            *forks = kept;
        }
    }

    fn guest_joins(
        &mut self,
        core: &mut Core,
        at: usize,
        leg: Leg,
        theirs: Sdp,
        sends: MixSends,
        winner: Fork,
    ) {
        let guest = &mut self.guests.all[at];
        let GuestState::Ringing { local, .. } = &guest.state else { return };
        let local = *local;
        let sent = winner.offer.clone().unwrap_or_else(|| offer(&guest.origin, local));
        let protection = winner.protection.clone();
        let joined = Joined::new(leg, local, sent, sends, (Some(winner), protection));
        guest.state = GuestState::Joined(Box::new(joined));
        self.guest_joined(core, at, &theirs);
    }

    /// Somebody is in and has said this of its media: the relay, the journal and all consoles hear
    /// of it.
    pub(super) fn guest_joined(&mut self, core: &mut Core, at: usize, theirs: &Sdp) {
        let Some(guest) = self.guests.all.get_mut(at) else { return };
        let (number, role, dialled) = (guest.number, guest.role, guest.dialled.clone());
        let GuestState::Joined(joined) = &mut guest.state else { return };
        if let Err(err) = joined.protection.hear(theirs, &mut core.random) {
            tracing::warn!(call_id = %self.id, %err, "a third party's media is not protected");
        }
        let protection = joined.protection.of_relay().map(Box::new);
        joined.formats = formats::formats(&joined.sent, theirs);
        joined.is_listening = is_listening(theirs);
        let formats = joined.formats.clone();
        let extension = joined.leg.side.extension().map(str::to_owned);
        let remote = remote(theirs);
        core.put(Output::PointGuest { call_id: self.id, guest: number, remote, protection });
        core.tap(self.id, TapKind::Formats { lane: Lane::Agent, voice: number, formats });
        let joined = TapKind::GuestJoined { guest: number, role, extension, number: dialled };
        core.tap(self.id, joined);
        self.remix(core);
    }

    /// A phone of a guest has refused, or never answered.
    fn guest_refused(&mut self, core: &mut Core, at: usize, client: ClientId, status: u16) {
        let GuestState::Ringing { forks, .. } = &mut self.guests.all[at].state else { return };
        let mut forks = std::mem::take(forks);
        self.fork_refused(core, &mut forks, client, status);
        self.keep_forks(at, forks);
        self.guest_goes_on(core, at);
    }

    /// Waits for the other phones, rings the next way, or gives the guest up.
    fn guest_goes_on(&mut self, core: &mut Core, at: usize) {
        let GuestState::Ringing { forks, way_from, .. } = &self.guests.all[at].state else {
            return;
        };
        if forks.iter().any(|fork| fork.state == ForkState::Calling) {
            return;
        }
        let fate = Fate::of(fork::statuses(forks.get(*way_from..).unwrap_or_default()));
        self.ring_next_guest(core, at, fate);
    }

    fn guests_overdue(&mut self, core: &mut Core) {
        let now = core.now.monotonic;
        while let Some(at) = self.guests.all.iter().position(|guest| match &guest.state {
            GuestState::Opening { until, .. } | GuestState::Ringing { until, .. } => *until <= now,
            GuestState::Coming(coming) => coming.until().is_some_and(|until| until <= now),
            GuestState::Joined(_) => false,
        }) {
            match &self.guests.all[at].state {
                GuestState::Coming(_) => self.coming_due(core, at),
                _ => self.guest_leaves(core, at, true),
            }
        }
    }

    /// Takes a guest out, hanging up if it has not done so itself.
    pub(super) fn guest_leaves(&mut self, core: &mut Core, at: usize, is_there: bool) {
        let guest = self.guests.all.remove(at);
        let number = guest.number;
        core.tap(self.id, TapKind::GuestLeft { guest: number });
        match guest.state {
            GuestState::Opening { .. } => return,
            GuestState::Ringing { mut forks, .. } => {
                let why = cheling_model::Withdrawal::CallerHungUp;
                match guest.role {
                    GuestRole::Conference => {
                        super::withdraw_all(core, self.id, &mut forks, fork::CALLER_GONE, &why);
                    }
                    _ => forks.iter_mut().for_each(|fork| fork.cancel(core, fork::CALLER_GONE)),
                }
                self.guests.forks.extend(forks.into_iter().filter(Fork::is_pending));
            }
            GuestState::Coming(mut coming) => {
                if is_there {
                    coming.leg.bye(core, self.id, &mut self.entries, Some(ENDED_BY_US));
                }
                if !coming.has_port() {
                    return;
                }
            }
            GuestState::Joined(mut joined) => {
                if is_there {
                    joined.leg.bye(core, self.id, &mut self.entries, Some(ENDED_BY_US));
                }
            }
        }
        core.put(Output::CloseGuest { call_id: self.id, guest: number });
    }
}

/// What we offer to whoever is mixed in: all that we can encode.
pub(super) fn offer(origin: &Origin, local: SocketAddr) -> Sdp {
    let place = LocalMedia {
        address: local.ip(),
        rtp_port: local.port(),
        rtcp_port: local.port().saturating_add(1),
    };
    Sdp::offer(origin, place, &sdp::rewrite::mixed_formats())
}

pub(super) fn remote(theirs: &Sdp) -> Option<RelayRemote> {
    theirs.audio().and_then(|line| formats::remote(&line))
}

pub(super) fn is_listening(theirs: &Sdp) -> bool {
    theirs.audio().is_some_and(|line| line.direction.receives())
}

/// The stream to send to who says this: the first codec that we can encode.
pub(super) fn sends(theirs: &Sdp) -> Option<MixSends> {
    let line = theirs.audio()?;
    let format = line.formats.iter().find(|format| can_mix(format))?;
    let event = line.formats.iter().find(|format| format.is("telephone-event"));
    Some(MixSends {
        format: formats::model_format(format),
        event_payload_type: event.map(|event| event.payload_type),
    })
}

/// Whether the mixer can hear and speak this.
pub(super) fn can_mix(format: &sdp::Format) -> bool {
    let codec = Codec::named(&format.encoding, format.channels);
    mixer::can_mix(&PayloadFormat { codec, clock_rate_hz: format.clock_hz })
}
