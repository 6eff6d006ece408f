//! Retransmission: requests until they are answered, answers to INVITE until they are
//! acknowledged (RFC 3261 §17.1, §13.3.1.4).

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rsip::{Method, Request};

use crate::config::Transport;

/// T1, the first interval between two copies.
const T1: Duration = Duration::from_millis(500);
/// T2, the longest interval.
const T2: Duration = Duration::from_secs(4);
/// 64·T1: a transaction without an answer ends.
pub(crate) const DEADLINE: Duration = Duration::from_secs(32);
/// How long a called phone may ring before the caller gives up.
const RINGING_DEADLINE: Duration = Duration::from_secs(180);

/// What a timer asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// Not yet.
    Nothing,
    /// The message is to be sent again.
    Resend,
    /// Nobody will answer any more.
    TimedOut,
}

/// Bytes that are sent again and again until something happens.
pub(crate) struct Retransmission {
    pub(crate) bytes: Vec<u8>,
    pub(crate) to: SocketAddr,
    resend_at: Option<Instant>,
    interval: Duration,
    deadline: Instant,
}

impl Retransmission {
    /// Starts the timers; `is_repeated` is false where the transport does not lose messages.
    pub(crate) fn new(bytes: Vec<u8>, to: SocketAddr, now: Instant, is_repeated: bool) -> Self {
        let resend_at = is_repeated.then(|| now + T1);
        Self { bytes, to, resend_at, interval: T1, deadline: now + DEADLINE }
    }

    pub(crate) fn next(&self) -> Instant {
        self.resend_at.map_or(self.deadline, |at| at.min(self.deadline))
    }

    pub(crate) fn due(&mut self, now: Instant) -> Due {
        if now >= self.deadline {
            return Due::TimedOut;
        }
        match self.resend_at {
            Some(at) if now >= at => {
                self.interval = (self.interval * 2).min(T2);
                self.resend_at = Some(now + self.interval);
                Due::Resend
            }
            _ => Due::Nothing,
        }
    }

    /// A provisional response: no more copies, and patience (RFC 3261 §17.1.1.2).
    pub(crate) fn provisional(&mut self, now: Instant) {
        self.resend_at = None;
        self.deadline = now + RINGING_DEADLINE;
    }
}

/// A request of ours and what has become of it.
pub(crate) struct ClientTransaction {
    pub(crate) request: Request,
    pub(crate) call_id: String,
    /// How often credentials were sent for it.
    pub(crate) attempts: u8,
    pub(crate) retransmission: Retransmission,
}

impl ClientTransaction {
    pub(crate) fn new(
        request: Request,
        call_id: &str,
        to: SocketAddr,
        transport: Transport,
        now: Instant,
    ) -> Self {
        let bytes = request.to_string().into_bytes();
        let is_repeated = transport == Transport::Udp;
        Self {
            request,
            call_id: call_id.to_owned(),
            attempts: 0,
            retransmission: Retransmission::new(bytes, to, now, is_repeated),
        }
    }

    pub(crate) fn method(&self) -> Method {
        self.request.method
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_go_out_ever_more_slowly_until_the_deadline() {
        let start = Instant::now();
        let to = "127.0.0.1:5060".parse().unwrap();
        let mut retransmission = Retransmission::new(vec![], to, start, true);
        let mut at = Vec::new();
        loop {
            let now = retransmission.next();
            match retransmission.due(now) {
                Due::Resend => at.push((now - start).as_millis()),
                Due::TimedOut => break,
                Due::Nothing => unreachable!("next() names a due time"),
            }
        }
        assert_eq!(at, [500, 1500, 3500, 7500, 11500, 15500, 19500, 23500, 27500, 31500]);

        let mut reliable = Retransmission::new(vec![], to, start, false);
        assert_eq!(reliable.next(), start + DEADLINE);
        assert_eq!(reliable.due(start + T2), Due::Nothing);
        assert_eq!(reliable.due(start + DEADLINE), Due::TimedOut);
    }
}
