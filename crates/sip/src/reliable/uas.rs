//! The callee's side: one reliable provisional response under way at a time.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::OPTION_TAG;
use crate::header::Name;
use crate::message::{Request, Response};
use crate::transaction::Timers;

/// The most responses that wait for the PRACK of the one before them.
pub const MAX_WAITING: usize = 8;

/// The reliable provisional responses of one INVITE in one early dialog (RFC 3262 §3).
#[derive(Debug)]
pub struct Uas {
    timers: Timers,
    /// The INVITE's CSeq number.
    cseq_number: u32,
    next_rseq: u32,
    sent: Option<Sent>,
    waiting: VecDeque<Response>,
    is_over: bool,
}

#[derive(Debug)]
struct Sent {
    rseq: u32,
    response: Response,
    resend_at: Instant,
    interval: Duration,
    gives_up_at: Instant,
}

/// What is to be done when time has passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UasOutput {
    /// Send this response again.
    Send(Response),
    /// No PRACK within 64·T1: refuse the INVITE with a 5xx (§3).
    GiveUp,
}

/// What a PRACK is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prack {
    /// It acknowledges what was under way: answer it with a 2xx, then send `next`.
    Acknowledged {
        /// The response that has waited for this.
        next: Option<Response>,
    },
    /// It acknowledges nothing that is under way: answer it with 481.
    Unknown,
    /// Its RAck is missing or cannot be read: answer it with 400.
    Malformed,
}

/// Too many responses wait for their PRACK: leave this one out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many provisional responses wait for a PRACK")]
pub struct TooManyWaiting;

impl Uas {
    /// The side of an INVITE with this CSeq number. `first_rseq` should be random; it is brought
    /// into 1 to 2³¹−1 (§3).
    pub fn new(cseq_number: u32, first_rseq: u32, timers: Timers) -> Self {
        Self {
            timers,
            cseq_number,
            next_rseq: (first_rseq & 0x7fff_ffff).max(1),
            sent: None,
            waiting: VecDeque::new(),
            is_over: false,
        }
    }

    /// Takes a response of 101 to 199 to send reliably. It comes back, numbered, if it is to be
    /// sent now; else it waits and comes out of [`Uas::acknowledge`].
    ///
    /// # Errors
    /// [`TooManyWaiting`]
    pub fn send(
        &mut self,
        now: Instant,
        response: Response,
    ) -> Result<Option<Response>, TooManyWaiting> {
        if self.is_over {
            return Ok(None);
        }
        if self.sent.is_none() {
            return Ok(Some(self.number(now, response)));
        }
        if self.waiting.len() >= MAX_WAITING {
            return Err(TooManyWaiting);
        }
        self.waiting.push_back(response);
        Ok(None)
    }

    /// Takes a PRACK, also after the final response.
    pub fn acknowledge(&mut self, now: Instant, prack: &Request) -> Prack {
        let Some(rack) = prack.headers.rack() else { return Prack::Malformed };
        let is_invite =
            rack.cseq.method == crate::Method::Invite && rack.cseq.number == self.cseq_number;
        match self.sent.take_if(|sent| is_invite && sent.rseq == rack.rseq) {
            Some(_) => {
                let next = self.waiting.pop_front();
                Prack::Acknowledged { next: next.map(|response| self.number(now, response)) }
            }
            None => Prack::Unknown,
        }
    }

    /// Whether a 2xx may be sent: not while a session description waits for its PRACK (§3).
    pub fn may_accept(&self) -> bool {
        let sent = self.sent.iter().map(|sent| &sent.response);
        !sent.chain(&self.waiting).any(|response| !response.body.is_empty())
    }

    /// The final response has been sent: nothing is repeated any more (§3).
    pub fn finish(&mut self) {
        self.is_over = true;
        self.waiting.clear();
    }

    /// When to call [`Uas::handle_timeout`].
    pub fn next_timeout(&self) -> Option<Instant> {
        let sent = self.sent.as_ref().filter(|_| !self.is_over)?;
        Some(sent.resend_at.min(sent.gives_up_at))
    }

    /// Does what has become due.
    pub fn handle_timeout(&mut self, now: Instant) -> Option<UasOutput> {
        if self.next_timeout().is_none_or(|at| at > now) {
            return None;
        }
        let sent = self.sent.as_mut()?;
        if now >= sent.gives_up_at {
            self.finish();
            return Some(UasOutput::GiveUp);
        }
        // Unlike others, these intervals double without end (§3).
        sent.interval *= 2;
        sent.resend_at = now + sent.interval;
        Some(UasOutput::Send(sent.response.clone()))
    }

    fn number(&mut self, now: Instant, mut response: Response) -> Response {
        let rseq = self.next_rseq;
        self.next_rseq += 1;
        if !response.headers.lists(Name::Require, OPTION_TAG) {
            response.headers.push(Name::Require, OPTION_TAG);
        }
        response.headers.set(Name::RSeq, rseq);
        self.sent = Some(Sent {
            rseq,
            response: response.clone(),
            resend_at: now + self.timers.t1,
            interval: self.timers.t1,
            gives_up_at: now + self.timers.patience(),
        });
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Method, Uri};

    fn response(status: u16, body: &'static str) -> Response {
        let mut response = Response::to(&request(""), status, "", None);
        if !body.is_empty() {
            response.set_body("application/sdp", body);
        }
        response
    }

    fn request(rack: &str) -> Request {
        let mut request = Request::new(Method::Prack, Uri::sip(None, "h", None));
        request.headers.push(Name::RAck, rack);
        request
    }

    #[test]
    fn responses_go_one_at_a_time_in_order_and_only_their_own_prack_counts() {
        let now = Instant::now();
        let mut uas = Uas::new(7, 0x8000_0000, Timers::default());
        let first = uas.send(now, response(183, "v=0")).unwrap().unwrap();
        assert_eq!(first.headers.rseq(), Some(1));
        assert_eq!(first.headers.require(), ["100rel"]);
        assert_eq!(uas.send(now, response(180, "")), Ok(None));
        assert!(!uas.may_accept());
        for rack in ["2 7 INVITE", "1 8 INVITE", "1 7 UPDATE"] {
            assert_eq!(uas.acknowledge(now, &request(rack)), Prack::Unknown, "{rack}");
        }
        assert_eq!(uas.acknowledge(now, &request("x")), Prack::Malformed);
        let Prack::Acknowledged { next: Some(second) } =
            uas.acknowledge(now, &request("1 7 INVITE"))
        else {
            panic!()
        };
        assert_eq!((second.status, second.headers.rseq()), (180, Some(2)));
        assert!(uas.may_accept());
        assert_eq!(uas.acknowledge(now, &request("1 7 INVITE")), Prack::Unknown);
        uas.finish();
        assert_eq!(uas.next_timeout(), None);
        let late = uas.acknowledge(now, &request("2 7 INVITE"));
        assert_eq!(late, Prack::Acknowledged { next: None });
    }

    #[test]
    fn intervals_double_without_end_until_64_t1() {
        let start = Instant::now();
        let mut uas = Uas::new(1, 5, Timers::default());
        uas.send(start, response(180, "")).unwrap();
        let mut seconds = Vec::new();
        while let Some(at) = uas.next_timeout() {
            assert_eq!(uas.handle_timeout(at - Duration::from_millis(1)), None);
            match uas.handle_timeout(at) {
                Some(UasOutput::Send(_)) => seconds.push((at - start).as_secs_f32()),
                Some(UasOutput::GiveUp) => assert_eq!(at - start, Duration::from_secs(32)),
                None => panic!("nothing was due"),
            }
        }
        assert_eq!(seconds, [0.5, 1.5, 3.5, 7.5, 15.5, 31.5]);
        assert_eq!(uas.send(start, response(183, "")), Ok(None));
    }

    #[test]
    fn only_so_many_wait() {
        let now = Instant::now();
        let mut uas = Uas::new(1, 5, Timers::default());
        for _ in 0..=MAX_WAITING {
            uas.send(now, response(180, "")).unwrap();
        }
        assert_eq!(uas.send(now, response(180, "")), Err(TooManyWaiting));
    }
}
