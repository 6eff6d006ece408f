//! The server transaction of every method but INVITE and ACK (RFC 3261 §17.2.2).

use std::time::Instant;

use super::{ServerInput, ServerOutput, Timing};

/// Where a request to us stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerOther {
    /// Not finally answered. After 64·T1 no answer is of use any more (RFC 4320 §4.2).
    Trying {
        /// When the other side has given up.
        give_up_at: Instant,
    },
    /// Answered; the answer is repeated when the request is.
    Completed {
        /// Timer J.
        end_at: Instant,
    },
    /// Over.
    Terminated,
}

impl ServerOther {
    /// The transaction of a request that came now.
    pub fn new(now: Instant, timing: Timing) -> Self {
        Self::Trying { give_up_at: now + timing.timers.patience() }
    }

    /// When to feed [`ServerInput::Timeout`] next.
    pub fn wake_at(&self) -> Option<Instant> {
        match *self {
            Self::Trying { give_up_at } => Some(give_up_at),
            Self::Completed { end_at } => Some(end_at),
            Self::Terminated => None,
        }
    }

    /// Feeds one input.
    pub fn handle(
        self,
        now: Instant,
        input: ServerInput,
        timing: Timing,
    ) -> (Self, Option<ServerOutput>) {
        match (self, input) {
            (Self::Trying { .. }, ServerInput::Respond(..200)) => (self, Some(ServerOutput::Send)),
            (Self::Trying { .. }, ServerInput::Respond(_)) => {
                let next = if timing.is_reliable {
                    Self::Terminated
                } else {
                    Self::Completed { end_at: now + timing.timers.patience() }
                };
                (next, Some(ServerOutput::Send))
            }
            (Self::Trying { .. } | Self::Completed { .. }, ServerInput::Request) => {
                (self, Some(ServerOutput::SendAgain))
            }
            (
                Self::Trying { give_up_at: end_at } | Self::Completed { end_at },
                ServerInput::Timeout,
            ) if now >= end_at => (Self::Terminated, None),
            // A second final response, a timer that is not due; ACK is for INVITE alone.
            _ => (self, None),
        }
    }
}
