//! Which phones and trunks are in use, and since when a phone is not.
//!
//! Belongs here: counting what each call holds. Does not: whether a phone is registered
//! (`registrar`), whether a trunk answers (`trunks`).

use std::collections::HashMap;
use std::time::Instant;

use cheling_model::{Now, Timestamp};

use crate::b2bua::Side;

/// How a call has a phone or a trunk in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hold {
    /// It rings there.
    Ringing,
    /// It talks, calls, or is being called back.
    Talking,
}

/// What a call has in use.
pub(crate) type Uses = Vec<(Side, Hold)>;

/// What all calls have in use.
#[derive(Debug, Default)]
pub(crate) struct Occupancy {
    phones: HashMap<String, Phone>,
    trunks: HashMap<String, u32>,
}

#[derive(Debug, Default)]
struct Phone {
    ringing: u32,
    talking: u32,
    /// When its last call ended; `None` if nobody knows of any.
    idle_since: Option<Instant>,
}

impl Occupancy {
    /// What is in use at the start: nothing. `last_calls` says when the last call of each extension
    /// ended; one that ended before this machine's clock began counts as the longest ago.
    pub(crate) fn since(now: Now, last_calls: &[(String, Timestamp)]) -> Self {
        let phone = |(extension, ended_at): &(String, Timestamp)| {
            let idle_since = now.monotonic.checked_sub(now.wall.since(*ended_at));
            (extension.clone(), Phone { idle_since, ..Phone::default() })
        };
        Self { phones: last_calls.iter().map(phone).collect(), ..Self::default() }
    }

    /// A call held `before` and holds `after` from now on.
    pub(crate) fn change(&mut self, now: Instant, before: &Uses, after: &Uses) {
        for (side, hold) in after {
            match side {
                Side::Phone { extension } => {
                    let phone = self.phones.entry(extension.clone()).or_default();
                    *phone.of(*hold) += 1;
                }
                Side::Trunk { name } => *self.trunks.entry(name.clone()).or_default() += 1,
            }
        }
        for (side, hold) in before {
            match side {
                Side::Phone { extension } => {
                    let Some(phone) = self.phones.get_mut(extension) else { continue };
                    let count = phone.of(*hold);
                    *count = count.saturating_sub(1);
                    if *hold == Hold::Talking && phone.talking == 0 {
                        phone.idle_since = Some(now);
                    }
                }
                Side::Trunk { name } => {
                    if let Some(count) = self.trunks.get_mut(name) {
                        *count = count.saturating_sub(1);
                    }
                }
            }
        }
    }

    /// Forgets the phones of extensions that are no more and in no call.
    pub(crate) fn retain(&mut self, is_known: impl Fn(&str) -> bool) {
        self.phones.retain(|extension, phone| {
            phone.ringing > 0 || phone.talking > 0 || is_known(extension)
        });
    }

    /// Whether an extension is in a call; one that only rings is not.
    pub(crate) fn is_talking(&self, extension: &str) -> bool {
        self.phones.get(extension).is_some_and(|phone| phone.talking > 0)
    }

    /// Calls that an extension is in.
    pub(crate) fn calls_of(&self, extension: &str) -> u32 {
        self.phones.get(extension).map_or(0, |phone| phone.talking)
    }

    /// Whether an extension rings.
    pub(crate) fn is_ringing(&self, extension: &str) -> bool {
        self.phones.get(extension).is_some_and(|phone| phone.ringing > 0)
    }

    /// When the last call of an extension ended; `None` if it has had none, which counts as the
    /// longest ago.
    pub(crate) fn idle_since(&self, extension: &str) -> Option<Instant> {
        self.phones.get(extension).and_then(|phone| phone.idle_since)
    }

    /// Calls that cross a trunk now, both ways.
    pub(crate) fn calls_on(&self, trunk: &str) -> u32 {
        self.trunks.get(trunk).copied().unwrap_or(0)
    }

    /// Whether nothing is in use.
    pub(crate) fn is_idle(&self) -> bool {
        self.phones.values().all(|phone| phone.ringing == 0 && phone.talking == 0)
            && self.trunks.values().all(|count| *count == 0)
    }
}

impl Phone {
    fn of(&mut self, hold: Hold) -> &mut u32 {
        match hold {
            Hold::Ringing => &mut self.ringing,
            Hold::Talking => &mut self.talking,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_phone_is_idle_from_the_end_of_its_last_call() {
        #[allow(clippy::disallowed_methods)] // Some instant is needed to count from.
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let phone = |hold| vec![(Side::Phone { extension: "8001".into() }, hold)];
        let mut occupancy = Occupancy::default();
        occupancy.change(at(0), &Vec::new(), &phone(Hold::Ringing));
        assert!(occupancy.is_ringing("8001") && !occupancy.is_talking("8001"));
        occupancy.change(at(5), &phone(Hold::Ringing), &phone(Hold::Talking));
        occupancy.change(at(6), &Vec::new(), &phone(Hold::Talking));
        occupancy.change(at(9), &phone(Hold::Talking), &Vec::new());
        assert!(occupancy.is_talking("8001"));
        assert_eq!(occupancy.idle_since("8001"), None);
        occupancy.change(at(12), &phone(Hold::Talking), &Vec::new());
        assert_eq!(occupancy.idle_since("8001"), Some(at(12)));
        assert!(occupancy.is_idle());
        // Ringing in vain is no call.
        occupancy.change(at(20), &Vec::new(), &phone(Hold::Ringing));
        occupancy.change(at(30), &phone(Hold::Ringing), &Vec::new());
        assert_eq!(occupancy.idle_since("8001"), Some(at(12)));
        occupancy.retain(|_| false);
        assert_eq!(occupancy.idle_since("8001"), None);
    }
}
