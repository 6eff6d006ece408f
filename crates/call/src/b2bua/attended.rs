//! A transfer after consultation: two calls of one phone become one (RFC 3891 by way of REFER).
//!
//! The call that goes on keeps its id and its recording; the other, the consultation, is a call of
//! its own that ends here. Its far side is taken over with its dialog and offered the relay of the
//! call that goes on.

use cheling_model::{Direction, EndCause, Lane, TapKind};
use cheling_sip::refer::{Progress, Replaces};
use cheling_sip::sdp::Sdp;
use cheling_sip::subscription::EventType;
use cheling_sip::{Request, Response, ServerId};

use super::exchange::Exchange;
use super::leg::{Leg, Side};
use super::media::read_body;
use super::protection::Protection;
use super::talk::Talk;
use super::transfer::{HANDED_ON, NOTIFY_FOR_S};
use super::{Call, Ending, State};
use crate::core::Core;

/// A REFER that means a second call, and waits for the switch to find it.
#[derive(Debug)]
pub(crate) struct Attended {
    /// The REFER's transaction.
    pub(crate) server: ServerId,
    /// The REFER.
    pub(crate) request: Box<Request>,
    /// The side that sent it.
    pub(crate) by: Lane,
    /// What its NOTIFYs are about; `None` if it wants none.
    pub(crate) event: Option<EventType>,
    /// The dialog it has in the second call.
    pub(crate) replaces: Replaces,
}

impl Call {
    /// The lane of this dialog, if the call could be joined with another now.
    pub(crate) fn joinable(&self, replaces: &Replaces) -> Option<Lane> {
        let State::Talking(talk) = &self.state else { return None };
        let is_steady = talk.exchange.is_none() && talk.transfer.is_none();
        let mut lanes = Lane::BOTH.into_iter().filter(|_| is_steady);
        lanes.find(|lane| talk.legs[lane.index()].is_meant_by(replaces))
    }

    /// Whether nothing is under way between the sides.
    pub(crate) fn is_steady(&self) -> bool {
        matches!(&self.state, State::Talking(talk)
            if talk.exchange.is_none() && talk.transfer.is_none())
    }

    /// Who is on this side of a call whose sides are connected.
    pub(crate) fn side(&self, lane: Lane) -> Option<&Side> {
        let State::Talking(talk) = &self.state else { return None };
        Some(&talk.legs[lane.index()].side)
    }

    /// Whether it is the customer's call: one side is a trunk. Before a telephone system one always
    /// is, though a call may stay in the house.
    pub(crate) fn is_customers(&self, core: &Core) -> bool {
        let State::Talking(talk) = &self.state else { return false };
        let is_within = self.offer.direction == Direction::Internal;
        let sides = talk.legs.iter().map(|leg| &leg.side);
        let mut trunks = sides.filter(|side| side.trunk().is_some());
        trunks.any(|side| !(is_within && core.is_pbx(side)))
    }

    /// Tells who asked for it that the transfer is done.
    pub(crate) fn tell_attended(&mut self, core: &mut Core, attended: &Attended) {
        let (State::Talking(talk), Some(event)) = (&mut self.state, &attended.event) else {
            return;
        };
        let leg = &mut talk.legs[attended.by.index()];
        let done = Progress::of_status(200);
        leg.notify(core, self.id, &mut self.entries, event, &done, NOTIFY_FOR_S);
    }

    /// Ends this call but for the side beside `by`, which is given away.
    pub(crate) fn release(&mut self, core: &mut Core, by: Lane) -> Option<(Leg, Protection)> {
        let state = std::mem::replace(&mut self.state, State::Over(Vec::new()));
        let State::Talking(talk) = state else {
            self.state = state;
            return None;
        };
        let Talk { legs: [customer, agent], forks, .. } = *talk;
        let (mut former, given) = match by {
            Lane::Customer => (customer, agent),
            Lane::Agent => (agent, customer),
        };
        former.bye(core, self.id, &mut self.entries, Some(HANDED_ON));
        core.unbind_tag(&mut self.entries, given.tag());
        let ending = Ending { cause: EndCause::HungUp, by: Some(by), status: None };
        self.state = self.end(core, ending, forks);
        let protection = self.media.as_ref().map(|media| media.protection(by.other()).clone());
        Some((given, protection.unwrap_or_default()))
    }

    /// Puts a side of another call in the place of `by`; `beyond` is the extension that is there, if
    /// it is a telephone system.
    pub(crate) fn adopt(
        &mut self,
        core: &mut Core,
        by: Lane,
        (mut leg, protection): (Leg, Protection),
        beyond: Option<String>,
    ) {
        core.bind_tag(self.id, &mut self.entries, leg.tag());
        let offer = self.media.as_ref().and_then(|media| media.wide_offer(by));
        let (State::Talking(talk), Some(mut offer)) = (&mut self.state, offer) else {
            leg.bye(core, self.id, &mut self.entries, None);
            return;
        };
        let mut protection = protection.renewed(&mut core.random);
        protection.write_offer(&mut offer, &mut core.random);
        if let Some(media) = self.media.as_mut() {
            media.protect(by, protection);
        }
        let client = leg.reinvite(core, self.id, &mut self.entries, &offer);
        let taker = leg.side.extension().map(str::to_owned).or(beyond);
        let mut former = std::mem::replace(&mut talk.legs[by.index()], leg);
        let extension = taker.as_deref().or(former.side.extension());
        let extension = extension.unwrap_or_default().to_owned();
        former.bye(core, self.id, &mut self.entries, Some(HANDED_ON));
        talk.exchange = client.map(|client| Exchange::adopting(by, client, offer));
        if let Some(extension) = taker {
            self.show_taker(core, &Side::Phone { extension });
        }
        core.tap(self.id, TapKind::Answered { extension });
    }

    /// The side that was taken over has answered our offer. What is returned ends the call.
    pub(super) fn adopted(
        &mut self,
        core: &mut Core,
        talk: &mut Talk,
        by: Lane,
        offer: Sdp,
        response: &Response,
    ) -> Option<Ending> {
        let sdp = read_body(&response.headers, &response.body).ok().flatten();
        let sdp = sdp.filter(|sdp| response.is_success() && sdp.has_audio());
        talk.legs[by.index()].ack(core, None);
        let Some(sdp) = sdp else {
            tracing::warn!(call_id = %self.id, status = response.status,
                "whoever was consulted cannot be connected");
            return Some(Ending { cause: EndCause::Failed, by: None, status: None });
        };
        self.join(core, talk, by, offer, sdp);
        None
    }
}
