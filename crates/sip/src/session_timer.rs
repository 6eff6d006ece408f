//! Session timers (RFC 4028): a call whose other side has vanished ends by itself.
//!
//! Negotiation is a function of the request ([`judge`]) or of the 2xx ([`Terms::of_response`]);
//! [`SessionTimer`] then says when to refresh and when to hang up. Refreshing is a re-INVITE or an
//! UPDATE, either of which negotiates anew.

use std::fmt;
use std::time::{Duration, Instant};

use crate::header::{Headers, Name};
use crate::message::{Request, Response};
use crate::method::Method;
use crate::params::Params;

/// The option tag (RFC 4028 §7.1).
pub const OPTION_TAG: &str = "timer";
/// The least Min-SE, in seconds (RFC 4028 §5).
pub const LEAST_MIN_SE_S: u32 = 90;
/// The Session-Expires that the RFC recommends, in seconds (RFC 4028 §4).
pub const USUAL_SESSION_EXPIRES_S: u32 = 1800;

/// Who refreshes, by the part played in the transaction that agreed on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refresher {
    /// Who sent the request.
    Uac,
    /// Who answered it.
    Uas,
}

impl Refresher {
    fn as_str(self) -> &'static str {
        match self {
            Self::Uac => "uac",
            Self::Uas => "uas",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Uac, Self::Uas].into_iter().find(|side| side.as_str().eq_ignore_ascii_case(text))
    }
}

/// A Session-Expires (RFC 4028 §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionExpires {
    /// The session ends so many seconds after its last refresh.
    pub interval_s: u32,
    /// Who refreshes, if that is said.
    pub refresher: Option<Refresher>,
}

impl SessionExpires {
    /// Reads `1800;refresher=uac`.
    pub fn parse(text: &str) -> Option<Self> {
        let (seconds, params) = text.split_once(';').unwrap_or((text, ""));
        let refresher = Params::parse(params).get("refresher").and_then(Refresher::parse);
        Some(Self { interval_s: seconds_of(seconds)?, refresher })
    }
}

impl fmt::Display for SessionExpires {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.interval_s)?;
        match self.refresher {
            Some(refresher) => write!(f, ";refresher={}", refresher.as_str()),
            None => Ok(()),
        }
    }
}

impl Headers {
    /// Session-Expires (RFC 4028 §4).
    pub fn session_expires(&self) -> Option<SessionExpires> {
        SessionExpires::parse(&self.get(Name::SessionExpires)?)
    }

    /// Min-SE in seconds, never less than [`LEAST_MIN_SE_S`] (RFC 4028 §5).
    pub fn min_se_s(&self) -> Option<u32> {
        let value = self.get(Name::MinSe)?;
        let seconds = value.split(';').next().and_then(seconds_of)?;
        Some(seconds.max(LEAST_MIN_SE_S))
    }
}

fn seconds_of(text: &str) -> Option<u32> {
    let text = text.trim();
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().unwrap_or(u32::MAX))
}

/// What we want of session timers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The interval to ask for, in seconds; `None` asks for no timer but takes part in one.
    pub wanted_s: Option<u32>,
    /// The least interval to accept, in seconds, at least [`LEAST_MIN_SE_S`].
    pub min_s: u32,
}

impl Default for Policy {
    fn default() -> Self {
        Self { wanted_s: Some(USUAL_SESSION_EXPIRES_S), min_s: LEAST_MIN_SE_S }
    }
}

impl Policy {
    fn least_s(&self) -> u32 {
        self.min_s.max(LEAST_MIN_SE_S)
    }

    /// Asks for a timer in an INVITE or UPDATE of ours (§7.1). `refresher` is for a refresh: it
    /// keeps the part we have. Returns the interval asked for.
    pub fn ask(&self, request: &mut Request, refresher: Option<Refresher>) -> Option<u32> {
        self.ask_at_least(request, 0, refresher)
    }

    /// Asks again after a 422 (§7.3), in a copy of the request with a new CSeq. `None` if the
    /// response names no Min-SE: then asking again is of no use.
    pub fn ask_again(&self, request: &mut Request, refused: &Response) -> Option<u32> {
        let min_se_s = refused.headers.min_se_s()?;
        let refresher = request.headers.session_expires().and_then(|asked| asked.refresher);
        self.ask_at_least(request, min_se_s, refresher)
    }

    fn ask_at_least(
        &self,
        request: &mut Request,
        min_se_s: u32,
        refresher: Option<Refresher>,
    ) -> Option<u32> {
        let headers = &mut request.headers;
        if !headers.lists(Name::Supported, OPTION_TAG) {
            headers.push(Name::Supported, OPTION_TAG);
        }
        let min_se_s = min_se_s.max(self.least_s());
        if min_se_s > LEAST_MIN_SE_S {
            headers.set(Name::MinSe, min_se_s);
        }
        let interval_s = self.wanted_s?.max(min_se_s);
        headers.set(Name::SessionExpires, SessionExpires { interval_s, refresher });
        Some(interval_s)
    }
}

/// What both sides agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The session ends so many seconds after its last refresh.
    pub interval_s: u32,
    /// Who refreshes, by the part in the transaction that agreed on it.
    pub refresher: Refresher,
    /// Whether the answer must demand the extension of the caller (§9).
    is_required: bool,
}

impl Terms {
    /// What a 2xx to our request says (§7.2); `None` if the session has no timer.
    pub fn of_response(response: &Response) -> Option<Self> {
        let expires = response.headers.session_expires()?;
        Some(Self {
            interval_s: expires.interval_s.max(LEAST_MIN_SE_S),
            // The answer must say; where it does not, it is we who know of timers.
            refresher: expires.refresher.unwrap_or(Refresher::Uac),
            is_required: false,
        })
    }

    /// Writes them into our 2xx (§9).
    pub fn put_into(&self, response: &mut Response) {
        let Self { interval_s, refresher, is_required } = *self;
        let expires = SessionExpires { interval_s, refresher: Some(refresher) };
        response.headers.set(Name::SessionExpires, expires);
        if is_required && !response.headers.lists(Name::Require, OPTION_TAG) {
            response.headers.push(Name::Require, OPTION_TAG);
        }
    }

    /// The timer of this side from now on.
    pub fn start(&self, now: Instant, our_part: Refresher) -> SessionTimer {
        SessionTimer::new(now, self.interval_s, self.refresher == our_part)
    }
}

/// How to answer a request that may ask for a timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// The interval is too small: answer 422 with this Min-SE ([`refuse`]).
    TooSmall {
        /// In seconds.
        min_se_s: u32,
    },
    /// A 2xx carries these terms.
    Agreed(Terms),
    /// The session has no timer.
    NoTimer,
}

/// Judges an INVITE or UPDATE to us (§9, table 2); other requests agree on no timer.
pub fn judge(policy: &Policy, request: &Request) -> Judgement {
    if !matches!(request.method, Method::Invite | Method::Update) {
        return Judgement::NoTimer;
    }
    let headers = &request.headers;
    let is_supported =
        [Name::Supported, Name::Require].into_iter().any(|name| headers.lists(name, OPTION_TAG));
    let asked = headers.session_expires();
    let floor_s = headers.min_se_s().unwrap_or(LEAST_MIN_SE_S).max(policy.least_s());
    let interval_s = match (asked, policy.wanted_s) {
        // A client that does not know timers would not understand 422; a proxy has asked for it.
        (Some(asked), _) if asked.interval_s < policy.least_s() && is_supported => {
            return Judgement::TooSmall { min_se_s: policy.least_s() };
        }
        (Some(asked), Some(wanted_s)) => asked.interval_s.min(wanted_s.max(floor_s)),
        (Some(asked), None) => asked.interval_s,
        (None, Some(wanted_s)) if is_supported => wanted_s.max(floor_s),
        // Who neither asks for timers nor knows them is left alone.
        (None, _) => return Judgement::NoTimer,
    };
    let refresher = match asked {
        _ if !is_supported => Refresher::Uas,
        Some(SessionExpires { refresher: Some(refresher), .. }) => refresher,
        // Who asked will have its own reasons to be sure of the session: it may refresh.
        Some(_) => Refresher::Uac,
        // It is we who want it.
        None => Refresher::Uas,
    };
    Judgement::Agreed(Terms {
        interval_s: interval_s.max(LEAST_MIN_SE_S),
        refresher,
        is_required: refresher == Refresher::Uac,
    })
}

/// The 422 to a request that asks for too small an interval (§9).
pub fn refuse(request: &Request, min_se_s: u32, to_tag: Option<&str>) -> Response {
    let mut response = Response::to(request, 422, "", to_tag);
    response.headers.set(Name::MinSe, min_se_s);
    response
}

/// The timer of one side of one session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionTimer {
    /// We refresh at half time.
    Refreshing {
        /// When to send the refresh.
        refresh_at: Instant,
        /// When the session is over.
        ends_at: Instant,
    },
    /// We wait for a refresh: of ours to be answered, or for one of theirs.
    Waiting {
        /// When the session is over.
        ends_at: Instant,
    },
    /// It has ended.
    Ended,
}

/// What a session timer wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimerOutput {
    /// Send a re-INVITE or UPDATE. Its 2xx starts a new timer ([`Terms::start`]); a 2xx without
    /// Session-Expires ends the use of timers; 408 and 481, or no answer, mean BYE (§10).
    Refresh,
    /// Send BYE: nobody has refreshed the session (§10).
    End,
}

impl SessionTimer {
    fn new(now: Instant, interval_s: u32, are_we_refreshing: bool) -> Self {
        let interval = Duration::from_secs(u64::from(interval_s));
        // Who hangs up does it a little early, so that the other side has not yet forgotten the
        // session: 32 s or a third of the interval, whichever is less (§10).
        let margin = Duration::from_secs(32).min(interval / 3);
        let ends_at = now + (interval - margin);
        if are_we_refreshing {
            Self::Refreshing { refresh_at: now + interval / 2, ends_at }
        } else {
            Self::Waiting { ends_at }
        }
    }

    /// When to call [`SessionTimer::handle_timeout`].
    pub fn next_timeout(&self) -> Option<Instant> {
        match self {
            Self::Refreshing { refresh_at, .. } => Some(*refresh_at),
            Self::Waiting { ends_at } => Some(*ends_at),
            Self::Ended => None,
        }
    }

    /// Says what has become due.
    pub fn handle_timeout(self, now: Instant) -> (Self, Option<TimerOutput>) {
        match self {
            Self::Refreshing { ends_at, .. } | Self::Waiting { ends_at } if now >= ends_at => {
                (Self::Ended, Some(TimerOutput::End))
            }
            Self::Refreshing { refresh_at, ends_at } if now >= refresh_at => {
                (Self::Waiting { ends_at }, Some(TimerOutput::Refresh))
            }
            same => (same, None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Uri;

    fn request(fields: &[(&str, &str)]) -> Request {
        let mut request = Request::new(Method::Invite, Uri::sip(None, "h", None));
        for (name, value) in fields {
            request.headers.push(*name, *value);
        }
        request
    }

    #[test]
    fn session_expires_is_read_in_full_and_compact_form() {
        for (text, interval_s, refresher) in [
            ("1800;refresher=uac", 1800, Some(Refresher::Uac)),
            (" 90 ; Refresher = UAS ;x", 90, Some(Refresher::Uas)),
            ("3600", 3600, None),
            ("99999999999999", u32::MAX, None),
            ("90;refresher=who", 90, None),
        ] {
            let headers = request(&[("x", text)]).headers;
            assert_eq!(headers.session_expires(), Some(SessionExpires { interval_s, refresher }));
        }
        for text in ["", "-1", ";refresher=uac", "90s"] {
            assert_eq!(SessionExpires::parse(text), None, "{text}");
        }
        for (text, want) in
            [("120", Some(120)), ("10", Some(90)), ("x", None), ("300;y", Some(300))]
        {
            assert_eq!(request(&[("Min-SE", text)]).headers.min_se_s(), want, "{text}");
        }
    }

    #[test]
    fn the_answer_follows_table_2() {
        let ours = Policy { wanted_s: Some(600), min_s: 90 };
        let strict = Policy { wanted_s: Some(600), min_s: 300 };
        let idle = Policy { wanted_s: None, min_s: 90 };
        for (policy, fields, want) in [
            (ours, &[("k", "timer"), ("x", "1800")][..], "600;refresher=uac +require"),
            (ours, &[("k", "timer"), ("x", "1800;refresher=uac")], "600;refresher=uac +require"),
            (ours, &[("k", "timer"), ("x", "1800;refresher=uas")], "600;refresher=uas"),
            (ours, &[("k", "timer"), ("x", "400;refresher=uas")], "400;refresher=uas"),
            // Min-SE keeps us from going below it.
            (
                ours,
                &[("k", "timer"), ("x", "1800"), ("Min-SE", "900")],
                "900;refresher=uac +require",
            ),
            // Who does not know timers cannot refresh, whatever a proxy has asked for.
            (ours, &[("x", "1800;refresher=uac")], "600;refresher=uas"),
            (ours, &[], "none"),
            (ours, &[("k", "timer")], "600;refresher=uas"),
            (ours, &[("k", "timer"), ("x", "60")], "422 90"),
            (strict, &[("k", "timer"), ("x", "120")], "422 300"),
            (strict, &[("x", "120")], "120;refresher=uas"),
            (idle, &[("k", "timer")], "none"),
            (idle, &[("k", "timer"), ("x", "1800")], "1800;refresher=uac +require"),
            (idle, &[("Require", "timer"), ("x", "1800;refresher=uas")], "1800;refresher=uas"),
        ] {
            let request = request(fields);
            let got = match judge(&policy, &request) {
                Judgement::NoTimer => String::from("none"),
                Judgement::TooSmall { min_se_s } => {
                    let response = refuse(&request, min_se_s, None);
                    format!("{} {}", response.status, response.headers.get(Name::MinSe).unwrap())
                }
                Judgement::Agreed(terms) => {
                    let mut response = Response::to(&request, 200, "", None);
                    terms.put_into(&mut response);
                    let expires = response.headers.get(Name::SessionExpires).unwrap().into_owned();
                    let is_required = response.headers.lists(Name::Require, OPTION_TAG);
                    expires + if is_required { " +require" } else { "" }
                }
            };
            assert_eq!(got, want, "{policy:?} {fields:?}");
        }
    }

    #[test]
    fn a_422_is_asked_again_with_its_min_se() {
        let policy = Policy { wanted_s: Some(120), min_s: 90 };
        let mut invite = request(&[]);
        assert_eq!(policy.ask(&mut invite, Some(Refresher::Uac)), Some(120));
        assert_eq!(invite.headers.get("x").unwrap(), "120;refresher=uac");
        assert!(!invite.headers.has(Name::MinSe));
        let refused = refuse(&invite, 500, None);
        assert_eq!(policy.ask_again(&mut invite, &refused), Some(500));
        assert_eq!(invite.headers.get("x").unwrap(), "500;refresher=uac");
        assert_eq!(invite.headers.get(Name::MinSe).unwrap(), "500");
        assert_eq!(invite.headers.supported(), ["timer"]);
        let no_reason = Response::to(&invite, 422, "", None);
        assert_eq!(policy.ask_again(&mut invite, &no_reason), None);
    }

    #[test]
    fn both_sides_of_an_answer_agree_who_refreshes() {
        for (asked, want) in
            [("1800;refresher=uac", [true, false]), ("1800;refresher=uas", [false, true])]
        {
            let request = request(&[("k", "timer"), ("x", asked)]);
            let Judgement::Agreed(terms) = judge(&Policy::default(), &request) else { panic!() };
            let mut response = Response::to(&request, 200, "", None);
            terms.put_into(&mut response);
            let read = Terms::of_response(&response).unwrap();
            let now = Instant::now();
            let is_refreshing =
                |timer: SessionTimer| matches!(timer, SessionTimer::Refreshing { .. });
            let got = [
                is_refreshing(read.start(now, Refresher::Uac)),
                is_refreshing(terms.start(now, Refresher::Uas)),
            ];
            assert_eq!(got, want, "{asked}");
        }
        let plain = Response::to(&request(&[]), 200, "", None);
        assert_eq!(Terms::of_response(&plain), None);
        let mut bye = request(&[("k", "timer"), ("x", "1800")]);
        bye.method = Method::Bye;
        assert_eq!(judge(&Policy::default(), &bye), Judgement::NoTimer);
    }

    #[test]
    fn it_refreshes_at_half_time_and_ends_a_little_early() {
        let start = Instant::now();
        for (interval_s, refreshes, want) in [
            (1800, true, &[(900, TimerOutput::Refresh), (1768, TimerOutput::End)][..]),
            (1800, false, &[(1768, TimerOutput::End)]),
            (90, true, &[(45, TimerOutput::Refresh), (60, TimerOutput::End)]),
            (90, false, &[(60, TimerOutput::End)]),
        ] {
            let mut timer = SessionTimer::new(start, interval_s, refreshes);
            let mut got = Vec::new();
            while let Some(at) = timer.next_timeout() {
                assert_eq!(timer.handle_timeout(at - Duration::from_millis(1)), (timer, None));
                let (next, output) = timer.handle_timeout(at);
                timer = next;
                got.push(((at - start).as_secs(), output.unwrap()));
            }
            assert_eq!(got, want, "{interval_s} {refreshes}");
        }
        // Woken late, it does not refresh what is over.
        let late = start + Duration::from_secs(5000);
        let (timer, output) = SessionTimer::new(start, 1800, true).handle_timeout(late);
        assert_eq!((timer, output), (SessionTimer::Ended, Some(TimerOutput::End)));
    }
}
