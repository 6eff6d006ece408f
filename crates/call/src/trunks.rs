//! Which trunks answer: those that asked for rest, that were silent, or that do not answer OPTIONS
//! are tried after the others, never left out.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use cheling_model::directory::Trunk;
use cheling_sip::ClientId;

/// How long a trunk rests that gave no answer to a call.
const SILENT_RESTS: Duration = Duration::from_secs(60);
/// The longest rest that a Retry-After may ask for.
const LONGEST_REST: Duration = Duration::from_secs(600);

/// What is known of the trunks.
#[derive(Debug, Default)]
pub(crate) struct Trunks {
    states: HashMap<String, State>,
    pings: HashMap<ClientId, String>,
}

#[derive(Debug, Default)]
struct State {
    rests_until: Option<Instant>,
    /// It has answered, or not, since we began.
    has_been_heard: bool,
    is_silent: bool,
    ping_at: Option<Instant>,
}

impl Trunks {
    /// All trunks of the config; each that is to be asked is asked at once.
    pub(crate) fn new(now: Instant, trunks: &[Trunk]) -> Self {
        let state =
            |trunk: &Trunk| State { ping_at: trunk.ping_every.map(|_| now), ..State::default() };
        let states = trunks.iter().map(|trunk| (trunk.name.clone(), state(trunk))).collect();
        Self { states, pings: HashMap::new() }
    }

    /// Whether a trunk is better tried after others.
    pub(crate) fn is_in_trouble(&self, now: Instant, name: &str) -> bool {
        self.states.get(name).is_some_and(|state| {
            state.is_silent || state.rests_until.is_some_and(|until| until > now)
        })
    }

    /// A call by this trunk came to a status; with 503 it may have asked for rest (RFC 3261
    /// §21.5.4), and 408 is our own word for silence.
    pub(crate) fn note(&mut self, now: Instant, name: &str, status: u16, retry_after: Option<u32>) {
        let rest = match (status, retry_after) {
            (503, Some(seconds)) => Duration::from_secs(seconds.into()).min(LONGEST_REST),
            (408, _) => SILENT_RESTS,
            _ => return,
        };
        tracing::warn!(
            trunk = name,
            status,
            rest_s = rest.as_secs(),
            "trunk is tried last for a while"
        );
        if let Some(state) = self.states.get_mut(name) {
            state.rests_until = Some(now + rest);
        }
    }

    /// When the next trunk is to be asked whether it is there.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.states.values().filter_map(|state| state.ping_at).min()
    }

    /// A trunk that is to be asked now.
    pub(crate) fn due(&mut self, now: Instant, trunks: &[Trunk]) -> Option<Trunk> {
        let trunk = trunks.iter().find(|trunk| {
            let state = self.states.get(&trunk.name);
            state.and_then(|state| state.ping_at).is_some_and(|at| at <= now)
        })?;
        if let Some(state) = self.states.get_mut(&trunk.name) {
            state.ping_at = trunk.ping_every.map(|every| now + every);
        }
        Some(trunk.clone())
    }

    /// It was asked by this request.
    pub(crate) fn asked(&mut self, client: ClientId, trunk: &str) {
        self.pings.insert(client, trunk.to_owned());
    }

    /// The answer came, whatever it says, or none did; `None` if nothing was asked by this request.
    pub(crate) fn answered(&mut self, client: ClientId, is_there: bool) -> Option<News> {
        let name = self.pings.remove(&client)?;
        let Some(state) = self.states.get_mut(&name) else { return Some(News::Nothing) };
        state.has_been_heard = true;
        if is_there {
            // What was asked before and has no answer yet is old news.
            self.pings.retain(|_, other| *other != name);
        }
        let is_news = state.is_silent == is_there;
        state.is_silent = !is_there;
        Some(match (is_news, is_there) {
            (false, _) => News::Nothing,
            (true, true) => {
                tracing::info!(trunk = name, "trunk answers again");
                News::Back { trunk: name }
            }
            (true, false) => {
                tracing::warn!(trunk = name, "trunk does not answer; it is tried last");
                News::Nothing
            }
        })
    }

    /// Whether a trunk answers; `None` if it has not been asked yet, or never is.
    pub(crate) fn answers(&self, name: &str) -> Option<bool> {
        self.states.get(name).filter(|it| it.has_been_heard).map(|it| !it.is_silent)
    }
}

/// What the answer to our question whether a trunk is there tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// It is as before.
    Nothing,
    /// It was silent and is there again: it may have forgotten us.
    Back {
        /// Its name.
        trunk: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trunk_rests_as_long_as_it_asks_and_no_longer_than_makes_sense() {
        #[allow(clippy::disallowed_methods)] // Some instant is needed to count from.
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let trunk = Trunk::at("gateway", "192.0.2.1:5060".parse().unwrap());
        let mut trunks = Trunks::new(start, std::slice::from_ref(&trunk));
        for (status, retry_after, rests_s) in [
            (503, Some(20), 20),
            (503, Some(90_000), 600),
            (408, None, 60),
            (503, None, 0),
            (486, Some(9), 0),
        ] {
            trunks.note(start, "gateway", status, retry_after);
            if rests_s > 0 {
                assert!(trunks.is_in_trouble(at(rests_s - 1), "gateway"), "{status}");
            }
            assert!(!trunks.is_in_trouble(at(rests_s), "gateway"), "{status} {retry_after:?}");
            trunks = Trunks::new(start, std::slice::from_ref(&trunk));
        }
        assert_eq!(trunks.next_timeout(), None);
    }

    #[test]
    fn a_trunk_is_asked_again_and_again() {
        #[allow(clippy::disallowed_methods)] // Some instant is needed to count from.
        let start = Instant::now();
        let mut trunk = Trunk::at("gateway", "192.0.2.1:5060".parse().unwrap());
        trunk.ping_every = Some(Duration::from_secs(30));
        let all = [trunk];
        let mut trunks = Trunks::new(start, &all);
        assert!(trunks.due(start, &all).is_some());
        assert!(trunks.due(start, &all).is_none());
        assert_eq!(trunks.next_timeout(), Some(start + Duration::from_secs(30)));
        assert!(trunks.due(start + Duration::from_secs(30), &all).is_some());
    }
}
