//! The side that is told: one subscription we have with somebody, a trunk's or a PBX's.

use std::time::{Duration, Instant};

use super::SubscriptionState;
use crate::transaction::Timers;

/// One subscription of ours (RFC 6665 §4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subscriber {
    /// SUBSCRIBE, or the REFER that implies one, has been sent; no NOTIFY has come yet (timer N).
    Asking {
        /// When to stop waiting.
        gives_up_at: Instant,
        /// How long the answer grants.
        granted_s: Option<u32>,
    },
    /// NOTIFYs come.
    Active {
        /// When to send SUBSCRIBE again.
        refresh_at: Instant,
        /// When it is over without that.
        ends_at: Instant,
    },
    /// Over.
    Ended,
}

/// What happens to a subscription of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubscriberInput {
    /// SUBSCRIBE was answered finally; no answer is 408.
    Answered {
        /// The status.
        status: u16,
        /// Expires of the answer.
        expires_s: Option<u32>,
    },
    /// A NOTIFY came.
    Notified(SubscriptionState),
    /// [`Subscriber::next_timeout`] may have passed.
    Timeout,
}

/// What a subscription of ours wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubscriberOutput {
    /// Send SUBSCRIBE in the dialog.
    Refresh,
    /// It has ended. Subscribing anew makes sense after this time; `None`: not at all.
    Ended {
        /// From now.
        again_after: Option<Duration>,
    },
}

/// How long to wait before subscribing anew where the notifier does not say.
const USUAL_RETRY: Duration = Duration::from_secs(30);

impl Subscriber {
    /// SUBSCRIBE has been sent, the first of its dialog.
    pub fn new(now: Instant, timers: &Timers) -> Self {
        Self::Asking { gives_up_at: now + timers.patience(), granted_s: None }
    }

    /// When to give [`SubscriberInput::Timeout`].
    pub fn next_timeout(&self) -> Option<Instant> {
        match self {
            Self::Asking { gives_up_at, .. } => Some(*gives_up_at),
            Self::Active { refresh_at, .. } => Some(*refresh_at),
            Self::Ended => None,
        }
    }

    /// Takes the next input.
    pub fn handle(self, now: Instant, input: SubscriberInput) -> (Self, Option<SubscriberOutput>) {
        use SubscriberInput::{Answered, Notified, Timeout};
        match (self, input) {
            (Self::Ended, _) => (Self::Ended, None),
            (Self::Asking { gives_up_at, .. }, Answered { status: 200..=299, expires_s }) => {
                (Self::Asking { gives_up_at, granted_s: expires_s }, None)
            }
            (Self::Active { .. }, Answered { status: 200..=299, expires_s }) => {
                (expires_s.map_or(self, |seconds| Self::until(now, seconds)), None)
            }
            // A refresh that was refused or lost ends nothing before its time, unless the other
            // side no longer knows the subscription (RFC 6665 §4.1.2.2).
            (Self::Active { ends_at, .. }, Answered { status, .. }) if status != 481 => {
                (Self::Active { refresh_at: ends_at, ends_at }, None)
            }
            (_, Answered { status, .. }) => {
                // 481 and what may pass, such as 408 and 5xx, are worth another try.
                let again = matches!(status, 408 | 480 | 481 | 500..=599).then_some(USUAL_RETRY);
                (Self::Ended, Some(SubscriberOutput::Ended { again_after: again }))
            }
            (_, Notified(SubscriptionState::Terminated { reason, retry_after_s })) => {
                let again_after = again_after(reason.as_str(), retry_after_s);
                (Self::Ended, Some(SubscriberOutput::Ended { again_after }))
            }
            (
                _,
                Notified(
                    SubscriptionState::Active { expires_s: Some(seconds) }
                    | SubscriptionState::Pending { expires_s: Some(seconds) },
                ),
            ) => (Self::until(now, seconds), None),
            (Self::Asking { granted_s, .. }, Notified(_)) => {
                (Self::until(now, granted_s.unwrap_or(3600)), None)
            }
            (Self::Active { .. }, Notified(_)) => (self, None),
            (Self::Asking { gives_up_at, .. }, Timeout) if now >= gives_up_at => {
                (Self::Ended, Some(SubscriberOutput::Ended { again_after: Some(USUAL_RETRY) }))
            }
            (Self::Active { ends_at, .. }, Timeout) if now >= ends_at => {
                let again_after = Some(Duration::ZERO);
                (Self::Ended, Some(SubscriberOutput::Ended { again_after }))
            }
            (Self::Active { refresh_at, ends_at }, Timeout) if now >= refresh_at => {
                (Self::Active { refresh_at: ends_at, ends_at }, Some(SubscriberOutput::Refresh))
            }
            (same, Timeout) => (same, None),
        }
    }

    /// Refreshed a little before its end: with 32 s, the patience of a transaction, in hand where
    /// there is as much.
    fn until(now: Instant, seconds: u32) -> Self {
        let lasts = Duration::from_secs(seconds.into());
        let margin = Duration::from_secs(32).min(lasts / 2);
        Self::Active { refresh_at: now + (lasts - margin), ends_at: now + lasts }
    }
}

/// When to subscribe anew after an end for this reason (RFC 6665 §4.1.3).
fn again_after(reason: &str, retry_after_s: Option<u32>) -> Option<Duration> {
    let said = retry_after_s.map(|seconds| Duration::from_secs(seconds.into()));
    match reason {
        "deactivated" | "timeout" => Some(Duration::ZERO),
        "rejected" | "noresource" | "invariant" => None,
        _ => Some(said.unwrap_or(USUAL_RETRY)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use SubscriberInput::{Answered, Notified, Timeout};

    fn notified(text: &str) -> SubscriberInput {
        Notified(SubscriptionState::parse(text).unwrap())
    }

    fn ended(again_s: Option<u64>) -> Option<SubscriberOutput> {
        Some(SubscriberOutput::Ended { again_after: again_s.map(Duration::from_secs) })
    }

    #[test]
    fn it_is_refreshed_in_time_and_ends_without_an_answer() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let asking = Subscriber::new(start, &Timers::default());
        assert_eq!(asking.next_timeout(), Some(after(32)));
        assert_eq!(asking.handle(after(32), Timeout), (Subscriber::Ended, ended(Some(30))));
        let (asking, _) = asking.handle(start, Answered { status: 200, expires_s: Some(600) });
        for first in ["active", "active;expires=600"] {
            let (active, output) = asking.handle(start, notified(first));
            assert_eq!((active.next_timeout(), output), (Some(after(568)), None), "{first}");
            let (waiting, output) = active.handle(after(568), Timeout);
            assert_eq!(output, Some(SubscriberOutput::Refresh));
            let ok = Answered { status: 200, expires_s: Some(600) };
            let (refreshed, _) = waiting.handle(after(568), ok);
            assert_eq!(refreshed.next_timeout(), Some(after(568 + 568)));
            let (waiting, output) =
                waiting.handle(after(599), Answered { status: 408, expires_s: None });
            assert_eq!(output, None);
            assert_eq!(waiting.handle(after(600), Timeout).1, ended(Some(0)));
        }
    }

    #[test]
    fn an_end_says_when_to_ask_again() {
        let now = Instant::now();
        let asking = Subscriber::new(now, &Timers::default());
        for (input, again_s) in [
            (notified("terminated;reason=deactivated"), Some(0)),
            (notified("terminated;reason=timeout"), Some(0)),
            (notified("terminated;reason=probation;retry-after=7"), Some(7)),
            (notified("terminated;reason=giveup"), Some(30)),
            (notified("terminated"), Some(30)),
            (notified("terminated;reason=rejected"), None),
            (notified("terminated;reason=noresource;retry-after=1"), None),
            (Answered { status: 489, expires_s: None }, None),
            (Answered { status: 503, expires_s: None }, Some(30)),
        ] {
            assert_eq!(asking.handle(now, input.clone()).1, ended(again_s), "{input:?}");
        }
        let (active, _) = asking.handle(now, notified("active;expires=60"));
        let gone = Answered { status: 481, expires_s: None };
        assert_eq!(active.handle(now, gone), (Subscriber::Ended, ended(Some(30))));
    }
}
