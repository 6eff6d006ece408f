//! Click-to-dial: the agent's own phones ring first, and the customer only when one has answered.

use cheling_model::{EndCause, Withdrawal};
use cheling_sip::{ClientId, Response};

use super::caller::{Caller, early_request};
use super::fork::{ENDED_BY_US, Fork, ForkState, NO_ANSWER, SHUTDOWN};
use super::ringing::Ringing;
use super::{Call, Ending, Event, State, outcome, withdraw_all};
use crate::core::Core;
use crate::hunt::{Fate, Hunt};

/// The phones of the agent who clicked are ringing.
#[derive(Debug)]
pub(crate) struct Fetch {
    pub(super) forks: Vec<Fork>,
    pub(super) hunt: Box<Hunt>,
}

impl Call {
    pub(super) fn fetching(
        &mut self,
        core: &mut Core,
        mut fetch: Box<Fetch>,
        event: Event<'_>,
    ) -> State {
        let (why, reason, cause, status) = match event {
            Event::Response(client, response) => {
                return self.fetch_response(core, fetch, client, response);
            }
            Event::NoResponse(client, status) => {
                self.fork_refused(core, &mut fetch.forks, client, status);
                return self.fetch_next(core, fetch);
            }
            Event::Request { server, request, .. } => {
                early_request(core, server, &request);
                return State::Fetching(fetch);
            }
            Event::Timeout => (Withdrawal::NoAnswer, NO_ANSWER, EndCause::NoAnswer, 480),
            Event::HangUp => (Withdrawal::CallerHungUp, ENDED_BY_US, EndCause::Cancelled, 487),
            Event::Shutdown => {
                (Withdrawal::Failed { status: 503 }, SHUTDOWN, EndCause::Shutdown, 503)
            }
            _ => return State::Fetching(fetch),
        };
        withdraw_all(core, self.id, &mut fetch.forks, reason, &why);
        self.end(core, Ending { cause, by: None, status: Some(status) }, fetch.forks)
    }

    fn fetch_response(
        &mut self,
        core: &mut Core,
        mut fetch: Box<Fetch>,
        client: ClientId,
        response: &Response,
    ) -> State {
        if response.is_provisional() {
            let fork = fetch.forks.iter_mut().find(|fork| fork.client == client);
            if let Some(fork) = fork.filter(|fork| fork.state == ForkState::Calling) {
                fork.take_provisional(core, self.id, &mut self.entries, response);
            }
            return State::Fetching(fetch);
        }
        if self.asked_again(core, &mut fetch.forks, client, response) {
            return State::Fetching(fetch);
        }
        if !response.is_success() {
            self.fork_refused(core, &mut fetch.forks, client, response.status);
            return self.fetch_next(core, fetch);
        }
        let taken = self.taken(core, &mut fetch.forks, client, response, None);
        let Some((mut leg, chosen, winner)) = taken else {
            return self.fetch_next(core, fetch);
        };
        leg.ack(core, None);
        let lane = self.caller_lane;
        if let Some(media) = self.media.as_mut() {
            media.answered_by(lane, winner.protection, winner.offer);
            let changes = media.point(lane, &chosen);
            self.changed(core, changes);
        }
        self.answered_elsewhere(core, &mut fetch.forks, &leg.side);
        let Fetch { forks, hunt } = *fetch;
        let caller = Caller::Fetched { leg: Box::new(leg), chosen: Box::new(chosen) };
        self.ring(core, Box::new(Ringing::new(caller, forks, hunt)), Fate::Begun)
    }

    fn fetch_next(&mut self, core: &mut Core, fetch: Box<Fetch>) -> State {
        if fetch.forks.iter().any(|fork| fork.state == ForkState::Calling) {
            return State::Fetching(fetch);
        }
        let status = outcome::best(fetch.forks.iter().filter_map(|fork| match fork.state {
            ForkState::Failed(status) => Some(status),
            ForkState::Calling | ForkState::Cancelling => None,
        }));
        self.end(core, Ending::unanswered(status), fetch.forks)
    }
}
