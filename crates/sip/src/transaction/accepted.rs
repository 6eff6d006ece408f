//! Repeats the 2xx to an INVITE until its ACK comes (RFC 3261 §13.3.1.4).
//!
//! The ACK to a 2xx is a transaction of its own, so this is no part of the server transaction; and
//! since a 2xx goes end to end, it is repeated on reliable transports too.

use std::time::Instant;

use super::{Resend, ServerOutput, Timers, earliest};

/// Where the acknowledgement of our 2xx stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcceptedInvite {
    /// No ACK yet.
    Waiting {
        /// T1 at first, doubling up to T2.
        resend: Resend,
        /// After 64·T1 the call must be hung up.
        give_up_at: Instant,
    },
    /// The ACK came.
    Acknowledged,
    /// It never came.
    GaveUp,
}

impl AcceptedInvite {
    /// A 2xx that is sent now.
    pub fn new(now: Instant, timers: &Timers) -> Self {
        Self::Waiting {
            resend: Resend { at: now + timers.t1, interval: timers.t1 },
            give_up_at: now + timers.patience(),
        }
    }

    /// When to call [`AcceptedInvite::handle`] next.
    pub fn wake_at(&self) -> Option<Instant> {
        match *self {
            Self::Waiting { resend, give_up_at } => earliest(Some(resend), give_up_at),
            Self::Acknowledged | Self::GaveUp => None,
        }
    }

    /// Looks at the time.
    pub fn handle(self, now: Instant, timers: &Timers) -> (Self, Option<ServerOutput>) {
        match self {
            Self::Waiting { give_up_at, .. } if now >= give_up_at => {
                (Self::GaveUp, Some(ServerOutput::AckTimedOut))
            }
            Self::Waiting { resend, give_up_at } if now >= resend.at => {
                let resend = resend.doubled(now, timers.t2);
                (Self::Waiting { resend, give_up_at }, Some(ServerOutput::SendAgain))
            }
            Self::Waiting { .. } | Self::Acknowledged | Self::GaveUp => (self, None),
        }
    }
}
