//! Session timers of those who are in no talk of two: who waits while the agent consults, an agent
//! who was fetched and hears it ring, and third parties.
//!
//! They are there for minutes as any side is, and would hang up if we, having promised signs of
//! life, gave none (RFC 4028 §10).

use cheling_model::{EndCause, Lane, Withdrawal};
use cheling_sip::session_timer::TimerOutput;
use cheling_sip::{ClientId, Response};

use super::fork::CALLER_GONE;
use super::guest::GuestState;
use super::leg::Leg;
use super::session::{EXPIRED, Sign, expired};
use super::{Call, Ending, Event, State, withdraw_all};
use crate::core::Core;

/// Somebody who waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waiting {
    /// The one side that is connected.
    Side(Lane),
    /// The third party at this place of the list.
    Guest(usize),
}

impl Call {
    /// Takes what concerns signs of life of those who wait; anything else comes back, and so does
    /// the time, which others may wait for as well.
    pub(super) fn waiting_event<'a>(
        &mut self,
        core: &mut Core,
        event: Event<'a>,
    ) -> Option<Event<'a>> {
        match event {
            Event::Timeout => {
                self.signs_due(core);
                Some(event)
            }
            Event::Response(client, response) => {
                let Some(who) = self.waits_for(client) else { return Some(event) };
                if !response.is_provisional() {
                    self.sign_answered(core, who, client, response);
                }
                None
            }
            Event::NoResponse(client, _) => {
                let Some(who) = self.waits_for(client) else { return Some(event) };
                self.vanished(core, who);
                None
            }
            event => Some(event),
        }
    }

    /// The side that is connected while the other is not.
    fn waiting_side(&self) -> Option<Lane> {
        match &self.state {
            State::Parked(parked) => Some(parked.waiting().0),
            State::Ringing(ringing) if ringing.caller().is_fetched() => Some(self.caller_lane),
            _ => None,
        }
    }

    fn all_waiting(&self) -> Vec<Waiting> {
        let guests = (0..self.guests.all.len()).map(Waiting::Guest);
        self.waiting_side().map(Waiting::Side).into_iter().chain(guests).collect()
    }

    fn waiting_leg(&mut self, who: Waiting) -> Option<&mut Leg> {
        match who {
            Waiting::Side(_) => match &mut self.state {
                State::Parked(parked) => Some(parked.leg_mut()),
                State::Ringing(ringing) => ringing.fetched(),
                _ => None,
            },
            Waiting::Guest(at) => match &mut self.guests.all.get_mut(at)?.state {
                GuestState::Joined(joined) => Some(&mut joined.leg),
                GuestState::Opening { .. } | GuestState::Ringing { .. } | GuestState::Coming(_) => {
                    None
                }
            },
        }
    }

    fn waits_for(&mut self, client: ClientId) -> Option<Waiting> {
        let all = self.all_waiting();
        all.into_iter().find(|who| {
            self.waiting_leg(*who).is_some_and(|leg| leg.session.refreshing == Some(client))
        })
    }

    fn signs_due(&mut self, core: &mut Core) {
        let now = core.now.monotonic;
        // From the last: who vanishes is taken out of the list.
        for who in self.all_waiting().into_iter().rev() {
            match self.waiting_leg(who).and_then(|leg| leg.session_due(now)) {
                None => {}
                Some(TimerOutput::Refresh) => self.give_sign(core, who),
                Some(TimerOutput::End) => self.vanished(core, who),
            }
        }
    }

    fn give_sign(&mut self, core: &mut Core, who: Waiting) {
        let offer = match who {
            // One offer at a time: the one that puts the side on hold goes first.
            Waiting::Side(_) if matches!(&self.state, State::Parked(it) if it.is_pending()) => None,
            Waiting::Side(lane) => self.media.as_ref().and_then(|media| media.sent(lane)).cloned(),
            Waiting::Guest(at) => match &self.guests.all[at].state {
                GuestState::Joined(joined) => Some(joined.sent.clone()),
                _ => None,
            },
        };
        let (id, mut entries) = (self.id, std::mem::take(&mut self.entries));
        if let Some(leg) = self.waiting_leg(who) {
            let client = leg.give_sign(core, id, &mut entries, offer.as_ref());
            if client.is_some() {
                leg.session.refreshing = client;
            }
        }
        self.entries = entries;
    }

    fn sign_answered(
        &mut self,
        core: &mut Core,
        who: Waiting,
        client: ClientId,
        response: &Response,
    ) {
        let Some(leg) = self.waiting_leg(who) else { return };
        leg.session.refreshing = None;
        match leg.sign_answered(core, client, response) {
            Sign::Given(Some(sdp)) => {
                if let (Waiting::Side(lane), Some(media)) = (who, self.media.as_mut()) {
                    media.hear(lane, &sdp);
                    let changes = media.point(lane, &sdp);
                    self.changed(core, changes);
                }
            }
            Sign::Given(None) | Sign::Later => {}
            Sign::Again => self.give_sign(core, who),
            Sign::Gone => self.vanished(core, who),
        }
    }

    /// Who waited is not there any more.
    fn vanished(&mut self, core: &mut Core, who: Waiting) {
        tracing::warn!(call_id = %self.id, ?who, "no sign of life: session expired");
        if let Waiting::Guest(at) = who {
            self.guest_leaves(core, at, true);
            return self.remix(core);
        }
        let state = std::mem::replace(&mut self.state, State::Over(Vec::new()));
        self.state = match state {
            State::Parked(parked) => self.leave(core, *parked, expired(), Some(EXPIRED)),
            State::Ringing(mut ringing) => {
                let why = Withdrawal::CallerHungUp;
                withdraw_all(core, self.id, ringing.forks_mut(), CALLER_GONE, &why);
                if let Some(leg) = ringing.fetched() {
                    leg.bye(core, self.id, &mut self.entries, Some(EXPIRED));
                }
                self.agent_is_gone(core);
                let ending = Ending { cause: EndCause::Failed, ..expired() };
                self.end(core, ending, ringing.into_parts().1)
            }
            state => state,
        };
    }
}
