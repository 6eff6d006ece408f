//! The four transaction machines of RFC 3261 §17, as RFC 6026 corrects them, and the one that
//! repeats a 2xx until its ACK comes (§13.3.1.4).
//!
//! A machine knows states and times only. It neither holds nor sends messages: `endpoint` feeds
//! it and does what it says.

use std::time::{Duration, Instant};

mod accepted;
mod client_invite;
mod client_other;
mod server_invite;
mod server_other;

pub use accepted::AcceptedInvite;
pub use client_invite::ClientInvite;
pub use client_other::ClientOther;
pub use server_invite::ServerInvite;
pub use server_other::ServerOther;

/// The times of RFC 3261 §17 (table 4 of its appendix A).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timers {
    /// A guess of the round trip: 500 ms.
    pub t1: Duration,
    /// The longest interval between two sendings: 4 s.
    pub t2: Duration,
    /// The longest a message stays in the network: 5 s.
    pub t4: Duration,
}

impl Default for Timers {
    fn default() -> Self {
        Self {
            t1: Duration::from_millis(500),
            t2: Duration::from_secs(4),
            t4: Duration::from_secs(5),
        }
    }
}

impl Timers {
    /// 64·T1, the patience of timers B, F, H, J, L and M.
    pub fn patience(&self) -> Duration {
        self.t1 * 64
    }
}

/// What the times of one transaction depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// T1, T2, T4.
    pub timers: Timers,
    /// Whether the transport repeats what is lost.
    pub is_reliable: bool,
}

impl Timing {
    fn first_resend(&self, now: Instant) -> Option<Resend> {
        (!self.is_reliable).then(|| Resend { at: now + self.timers.t1, interval: self.timers.t1 })
    }
}

/// When to send the same again, and how long it was since the last time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resend {
    at: Instant,
    interval: Duration,
}

impl Resend {
    /// The next time, twice as far away, but no further than `longest`.
    fn doubled(self, now: Instant, longest: Duration) -> Self {
        let interval = (self.interval * 2).min(longest);
        Self { at: now + interval, interval }
    }
}

/// The earlier of a resend and an end.
fn earliest(resend: Option<Resend>, end: Instant) -> Option<Instant> {
    Some(resend.map_or(end, |resend| resend.at.min(end)))
}

/// What happens to a client transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientInput {
    /// A response of this status came.
    Response(u16),
    /// The user has sent CANCEL: wait for the final response no longer than 64·T1 (§9.1).
    Cancelled,
    /// [`wake_at`](ClientInvite::wake_at) may have passed.
    Timeout,
    /// The request could not be sent.
    SendFailed,
}

/// What a client transaction wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientOutput {
    /// Send the request again.
    SendRequest,
    /// Hand the response to the transaction user.
    PassUp,
    /// Hand the response up and acknowledge it (§17.1.1.3).
    PassUpAndAck,
    /// Acknowledge the response again.
    SendAck,
    /// Tell the user that nobody answered.
    TimedOut,
    /// Tell the user that the request could not be sent.
    SendFailed,
}

/// What happens to a server transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerInput {
    /// The request came again.
    Request,
    /// The ACK came (INVITE only).
    Ack,
    /// The user answers with this status.
    Respond(u16),
    /// [`wake_at`](ServerInvite::wake_at) may have passed.
    Timeout,
}

/// What a server transaction wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerOutput {
    /// Send this response and keep it.
    Send,
    /// Send the kept response again, if there is one.
    SendAgain,
    /// Hand the ACK to the transaction user.
    PassAck,
    /// Tell the user that the final response was never acknowledged.
    AckTimedOut,
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) const UDP: Timing = Timing {
        timers: Timers {
            t1: Duration::from_millis(500),
            t2: Duration::from_secs(4),
            t4: Duration::from_secs(5),
        },
        is_reliable: false,
    };

    fn seconds_of_sends(
        mut step: impl FnMut(Instant) -> (bool, Option<Instant>),
        start: Instant,
    ) -> Vec<f32> {
        let mut now = start;
        let mut sends = Vec::new();
        for _ in 0..40 {
            let (sent, next) = step(now);
            if sent {
                sends.push((now - start).as_secs_f32());
            }
            match next {
                Some(next) => now = next,
                None => break,
            }
        }
        sends
    }

    #[test]
    fn an_unanswered_invite_is_sent_seven_times_in_32_s() {
        let start = Instant::now();
        let mut machine = ClientInvite::new(start, UDP);
        let mut ended = None;
        let sends = seconds_of_sends(
            |now| {
                let (next, output) = machine.handle(now, ClientInput::Timeout, UDP);
                machine = next;
                if output == Some(ClientOutput::TimedOut) {
                    ended = Some(now - start);
                }
                (output == Some(ClientOutput::SendRequest), machine.wake_at())
            },
            start,
        );
        assert_eq!(sends, [0.5, 1.5, 3.5, 7.5, 15.5, 31.5]);
        assert_eq!(ended, Some(Duration::from_secs(32)));
        assert_eq!(machine, ClientInvite::Terminated);
    }

    #[test]
    fn other_requests_are_repeated_every_t2_at_most() {
        let start = Instant::now();
        let mut machine = ClientOther::new(start, UDP);
        let sends = seconds_of_sends(
            |now| {
                let (next, output) = machine.handle(now, ClientInput::Timeout, UDP);
                machine = next;
                (output == Some(ClientOutput::SendRequest), machine.wake_at())
            },
            start,
        );
        assert_eq!(sends, [0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]);
        assert_eq!(machine, ClientOther::Terminated);
    }

    #[test]
    fn reliable_transports_repeat_nothing_and_linger_nowhere() {
        let tcp = Timing { is_reliable: true, ..UDP };
        let now = Instant::now();
        let invite = ClientInvite::new(now, tcp);
        assert_eq!(invite.wake_at(), Some(now + Duration::from_secs(32)));
        let (invite, output) = invite.handle(now, ClientInput::Response(486), tcp);
        assert_eq!((invite, output), (ClientInvite::Terminated, Some(ClientOutput::PassUpAndAck)));
        let (other, _) = ClientOther::new(now, tcp).handle(now, ClientInput::Response(200), tcp);
        assert_eq!(other, ClientOther::Terminated);
        let (server, _) = ServerOther::new(now, tcp).handle(now, ServerInput::Respond(200), tcp);
        assert_eq!(server, ServerOther::Terminated);
        let (server, _) = ServerInvite::Proceeding.handle(now, ServerInput::Respond(486), tcp);
        let (server, _) = server.handle(now, ServerInput::Ack, tcp);
        assert_eq!(server, ServerInvite::Terminated);
    }

    #[test]
    fn client_invite_answers_every_retransmission() {
        let now = Instant::now();
        let (machine, output) =
            ClientInvite::new(now, UDP).handle(now, ClientInput::Response(180), UDP);
        assert_eq!((machine.wake_at(), output), (None, Some(ClientOutput::PassUp)));
        let (completed, output) = machine.handle(now, ClientInput::Response(486), UDP);
        assert_eq!(output, Some(ClientOutput::PassUpAndAck));
        let (completed, output) = completed.handle(now, ClientInput::Response(486), UDP);
        assert_eq!(output, Some(ClientOutput::SendAck));
        let (late, output) = completed.handle(now, ClientInput::Response(180), UDP);
        assert_eq!((late, output), (completed, None));
        let (accepted, output) = machine.handle(now, ClientInput::Response(200), UDP);
        assert_eq!(output, Some(ClientOutput::PassUp));
        let (_, output) = accepted.handle(now, ClientInput::Response(200), UDP);
        assert_eq!(output, Some(ClientOutput::PassUp));
        assert_eq!(accepted.wake_at(), Some(now + Duration::from_secs(32)));
    }

    #[test]
    fn a_cancelled_invite_waits_for_its_487_no_longer_than_64_t1() {
        let now = Instant::now();
        let (machine, _) = ClientInvite::new(now, UDP).handle(now, ClientInput::Response(180), UDP);
        let (machine, _) = machine.handle(now, ClientInput::Cancelled, UDP);
        let end = machine.wake_at().unwrap();
        let (machine, output) = machine.handle(end, ClientInput::Timeout, UDP);
        assert_eq!((machine, output), (ClientInvite::Terminated, Some(ClientOutput::TimedOut)));
    }

    #[test]
    fn server_invite_repeats_its_refusal_until_ack() {
        let start = Instant::now();
        let (mut machine, _) =
            ServerInvite::Proceeding.handle(start, ServerInput::Respond(486), UDP);
        let first = machine;
        let sends = seconds_of_sends(
            |now| {
                let (next, output) = machine.handle(now, ServerInput::Timeout, UDP);
                machine = next;
                (output == Some(ServerOutput::SendAgain), machine.wake_at())
            },
            start,
        );
        assert_eq!(sends, [0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]);
        assert_eq!(machine, ServerInvite::Terminated);
        let (confirmed, output) = first.handle(start, ServerInput::Ack, UDP);
        assert_eq!(output, None);
        assert_eq!(confirmed.wake_at(), Some(start + Duration::from_secs(5)));
        assert_eq!(confirmed.handle(start, ServerInput::Request, UDP), (confirmed, None));
    }

    #[test]
    fn server_invite_absorbs_retransmissions_after_2xx() {
        let now = Instant::now();
        let (proceeding, output) =
            ServerInvite::Proceeding.handle(now, ServerInput::Respond(180), UDP);
        assert_eq!(output, Some(ServerOutput::Send));
        assert_eq!(
            proceeding.handle(now, ServerInput::Request, UDP).1,
            Some(ServerOutput::SendAgain)
        );
        let (accepted, output) = proceeding.handle(now, ServerInput::Respond(200), UDP);
        assert_eq!(output, Some(ServerOutput::Send));
        assert_eq!(accepted.handle(now, ServerInput::Request, UDP), (accepted, None));
        assert_eq!(
            accepted.handle(now, ServerInput::Ack, UDP),
            (accepted, Some(ServerOutput::PassAck))
        );
        assert_eq!(accepted.handle(now, ServerInput::Respond(486), UDP), (accepted, None));
    }

    #[test]
    fn a_2xx_is_repeated_until_ack_on_any_transport() {
        let start = Instant::now();
        let timers = UDP.timers;
        let mut machine = AcceptedInvite::new(start, &timers);
        let mut gave_up = false;
        let sends = seconds_of_sends(
            |now| {
                let (next, output) = machine.handle(now, &timers);
                machine = next;
                gave_up |= output == Some(ServerOutput::AckTimedOut);
                (output == Some(ServerOutput::SendAgain), machine.wake_at())
            },
            start,
        );
        assert_eq!(sends, [0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]);
        assert!(gave_up);
        assert_eq!(AcceptedInvite::Acknowledged.wake_at(), None);
    }
}
