//! The INVITE client transaction (RFC 3261 §17.1.1, RFC 6026 §7.2).

use std::time::{Duration, Instant};

use super::{ClientInput, ClientOutput, Resend, Timing, earliest};

/// Timer D on datagrams.
const TIMER_D: Duration = Duration::from_secs(32);

/// Where an INVITE of ours stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientInvite {
    /// Sent, nothing heard yet.
    Calling {
        /// Timer A.
        resend: Option<Resend>,
        /// Timer B.
        give_up_at: Instant,
    },
    /// A 1xx came. The user decides how long it may ring.
    Proceeding {
        /// Set by CANCEL.
        give_up_at: Option<Instant>,
    },
    /// A 3xx to 6xx came and is acknowledged as often as it comes.
    Completed {
        /// Timer D.
        end_at: Instant,
    },
    /// A 2xx came; further ones, from other branches of a fork too, go to the user.
    Accepted {
        /// Timer M.
        end_at: Instant,
    },
    /// Over.
    Terminated,
}

impl ClientInvite {
    /// The transaction of an INVITE that is sent now.
    pub fn new(now: Instant, timing: Timing) -> Self {
        Self::Calling {
            resend: timing.first_resend(now),
            give_up_at: now + timing.timers.patience(),
        }
    }

    /// When to feed [`ClientInput::Timeout`] next.
    pub fn wake_at(&self) -> Option<Instant> {
        match *self {
            Self::Calling { resend, give_up_at } => earliest(resend, give_up_at),
            Self::Proceeding { give_up_at } => give_up_at,
            Self::Completed { end_at } | Self::Accepted { end_at } => Some(end_at),
            Self::Terminated => None,
        }
    }

    /// Feeds one input.
    pub fn handle(
        self,
        now: Instant,
        input: ClientInput,
        timing: Timing,
    ) -> (Self, Option<ClientOutput>) {
        let patience = timing.timers.patience();
        match (self, input) {
            (Self::Calling { .. }, ClientInput::Response(100..200)) => {
                (Self::Proceeding { give_up_at: None }, Some(ClientOutput::PassUp))
            }
            (Self::Proceeding { .. }, ClientInput::Response(100..200)) => {
                (self, Some(ClientOutput::PassUp))
            }
            (Self::Calling { .. } | Self::Proceeding { .. }, ClientInput::Response(200..300)) => {
                (Self::Accepted { end_at: now + patience }, Some(ClientOutput::PassUp))
            }
            (Self::Accepted { .. }, ClientInput::Response(200..300)) => {
                (self, Some(ClientOutput::PassUp))
            }
            (Self::Calling { .. } | Self::Proceeding { .. }, ClientInput::Response(300..)) => {
                let next = if timing.is_reliable {
                    Self::Terminated
                } else {
                    Self::Completed { end_at: now + TIMER_D }
                };
                (next, Some(ClientOutput::PassUpAndAck))
            }
            (Self::Completed { .. }, ClientInput::Response(300..)) => {
                (self, Some(ClientOutput::SendAck))
            }
            (Self::Calling { resend, give_up_at }, ClientInput::Timeout) => {
                if now >= give_up_at {
                    return (Self::Terminated, Some(ClientOutput::TimedOut));
                }
                match resend.filter(|resend| now >= resend.at) {
                    // Timer A doubles without limit (§17.1.1.2).
                    Some(due) => {
                        let resend = Some(due.doubled(now, Duration::MAX));
                        (Self::Calling { resend, give_up_at }, Some(ClientOutput::SendRequest))
                    }
                    None => (self, None),
                }
            }
            (Self::Proceeding { give_up_at: None }, ClientInput::Cancelled) => {
                (Self::Proceeding { give_up_at: Some(now + patience) }, None)
            }
            (Self::Proceeding { give_up_at: Some(at) }, ClientInput::Timeout) if now >= at => {
                (Self::Terminated, Some(ClientOutput::TimedOut))
            }
            (Self::Completed { end_at } | Self::Accepted { end_at }, ClientInput::Timeout)
                if now >= end_at =>
            {
                (Self::Terminated, None)
            }
            (Self::Calling { .. } | Self::Proceeding { .. }, ClientInput::SendFailed) => {
                (Self::Terminated, Some(ClientOutput::SendFailed))
            }
            // A provisional response that the final one overtook, a timer that is not due, a
            // CANCEL too late or (in Calling) too early: the user waits for a 1xx (§9.1).
            _ => (self, None),
        }
    }
}
