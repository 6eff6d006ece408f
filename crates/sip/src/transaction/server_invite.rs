//! The INVITE server transaction (RFC 3261 §17.2.1, RFC 6026 §7.1).

use std::time::Instant;

use super::{Resend, ServerInput, ServerOutput, Timing, earliest};

/// Where an INVITE to us stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerInvite {
    /// Not finally answered. The user decides how long it may ring.
    Proceeding,
    /// Refused; the response is repeated until ACK.
    Completed {
        /// Timer G.
        resend: Option<Resend>,
        /// Timer H.
        give_up_at: Instant,
    },
    /// Refused and acknowledged; further ACKs are absorbed.
    Confirmed {
        /// Timer I.
        end_at: Instant,
    },
    /// Answered with 2xx; repeated INVITEs are absorbed (the 2xx is repeated by
    /// [`AcceptedInvite`](super::AcceptedInvite)).
    Accepted {
        /// Timer L.
        end_at: Instant,
    },
    /// Over.
    Terminated,
}

impl ServerInvite {
    /// When to feed [`ServerInput::Timeout`] next.
    pub fn wake_at(&self) -> Option<Instant> {
        match *self {
            Self::Proceeding | Self::Terminated => None,
            Self::Completed { resend, give_up_at } => earliest(resend, give_up_at),
            Self::Confirmed { end_at } | Self::Accepted { end_at } => Some(end_at),
        }
    }

    /// Feeds one input.
    pub fn handle(
        self,
        now: Instant,
        input: ServerInput,
        timing: Timing,
    ) -> (Self, Option<ServerOutput>) {
        let patience = timing.timers.patience();
        match (self, input) {
            (Self::Proceeding, ServerInput::Respond(..200)) => (self, Some(ServerOutput::Send)),
            (Self::Proceeding | Self::Completed { .. }, ServerInput::Request) => {
                (self, Some(ServerOutput::SendAgain))
            }
            (Self::Proceeding, ServerInput::Respond(200..300)) => {
                (Self::Accepted { end_at: now + patience }, Some(ServerOutput::Send))
            }
            (Self::Accepted { .. }, ServerInput::Respond(200..300)) => {
                (self, Some(ServerOutput::Send))
            }
            (Self::Proceeding, ServerInput::Respond(_)) => {
                let resend = timing.first_resend(now);
                let next = Self::Completed { resend, give_up_at: now + patience };
                (next, Some(ServerOutput::Send))
            }
            (Self::Completed { give_up_at, .. }, ServerInput::Timeout) if now >= give_up_at => {
                (Self::Terminated, Some(ServerOutput::AckTimedOut))
            }
            (Self::Completed { resend: Some(due), give_up_at }, ServerInput::Timeout)
                if now >= due.at =>
            {
                let resend = Some(due.doubled(now, timing.timers.t2));
                (Self::Completed { resend, give_up_at }, Some(ServerOutput::SendAgain))
            }
            (Self::Completed { .. }, ServerInput::Ack) => {
                let next = if timing.is_reliable {
                    Self::Terminated
                } else {
                    Self::Confirmed { end_at: now + timing.timers.t4 }
                };
                (next, None)
            }
            (Self::Accepted { .. }, ServerInput::Ack) => (self, Some(ServerOutput::PassAck)),
            (Self::Confirmed { end_at } | Self::Accepted { end_at }, ServerInput::Timeout)
                if now >= end_at =>
            {
                (Self::Terminated, None)
            }
            // A repeated INVITE or ACK, a second final response, a timer that is not due.
            _ => (self, None),
        }
    }
}
