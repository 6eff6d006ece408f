//! The client transaction of every method but INVITE (RFC 3261 §17.1.2).

use std::time::Instant;

use super::{ClientInput, ClientOutput, Resend, Timing, earliest};

/// Where a request of ours stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientOther {
    /// Sent, nothing heard yet.
    Trying {
        /// Timer E.
        resend: Option<Resend>,
        /// Timer F.
        give_up_at: Instant,
    },
    /// A 1xx came; the request is repeated every T2.
    Proceeding {
        /// Timer E.
        resend: Option<Resend>,
        /// Timer F.
        give_up_at: Instant,
    },
    /// Answered; repeated answers are absorbed.
    Completed {
        /// Timer K.
        end_at: Instant,
    },
    /// Over.
    Terminated,
}

impl ClientOther {
    /// The transaction of a request that is sent now.
    pub fn new(now: Instant, timing: Timing) -> Self {
        Self::Trying {
            resend: timing.first_resend(now),
            give_up_at: now + timing.timers.patience(),
        }
    }

    /// When to feed [`ClientInput::Timeout`] next.
    pub fn wake_at(&self) -> Option<Instant> {
        match *self {
            Self::Trying { resend, give_up_at } | Self::Proceeding { resend, give_up_at } => {
                earliest(resend, give_up_at)
            }
            Self::Completed { end_at } => Some(end_at),
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
        let t2 = timing.timers.t2;
        match (self, input) {
            (
                Self::Trying { resend, give_up_at } | Self::Proceeding { resend, give_up_at },
                ClientInput::Response(100..200),
            ) => (Self::Proceeding { resend, give_up_at }, Some(ClientOutput::PassUp)),
            (Self::Trying { .. } | Self::Proceeding { .. }, ClientInput::Response(_)) => {
                let next = if timing.is_reliable {
                    Self::Terminated
                } else {
                    Self::Completed { end_at: now + timing.timers.t4 }
                };
                (next, Some(ClientOutput::PassUp))
            }
            (
                Self::Trying { give_up_at, .. } | Self::Proceeding { give_up_at, .. },
                ClientInput::Timeout,
            ) if now >= give_up_at => (Self::Terminated, Some(ClientOutput::TimedOut)),
            (Self::Trying { resend: Some(due), give_up_at }, ClientInput::Timeout)
                if now >= due.at =>
            {
                let resend = Some(due.doubled(now, t2));
                (Self::Trying { resend, give_up_at }, Some(ClientOutput::SendRequest))
            }
            (Self::Proceeding { resend: Some(due), give_up_at }, ClientInput::Timeout)
                if now >= due.at =>
            {
                let resend = Some(Resend { at: now + t2, interval: t2 });
                (Self::Proceeding { resend, give_up_at }, Some(ClientOutput::SendRequest))
            }
            (Self::Completed { end_at }, ClientInput::Timeout) if now >= end_at => {
                (Self::Terminated, None)
            }
            (Self::Trying { .. } | Self::Proceeding { .. }, ClientInput::SendFailed) => {
                (Self::Terminated, Some(ClientOutput::SendFailed))
            }
            // A repeated answer, a timer that is not due; CANCEL is for INVITE alone.
            _ => (self, None),
        }
    }
}
