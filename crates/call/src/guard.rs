//! A guard against scanners and floods: what each source may ask, and when it is shut out.
//!
//! Scanners are known by their names, by asking much and proving nothing, and by wrong passwords.
//! A source that has proved a password lately is trusted: it is never shut out whole (the lock-out
//! of single accounts is `auth`'s), so that nobody can shut an office out by writing its address
//! on datagrams of his own. Trunks are not looked at here at all.
//!
//! The memory is bounded: two generations of sources, the older one forgotten when the younger is
//! full. Who is forgotten begins anew.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cheling_sip::flow::network;
use cheling_sip::{Name, Request};

use crate::auth::{Outcome, Refusal};

/// Sources of one generation.
const GENERATION: usize = 4096;
/// What a source may do wrong in [`WINDOW`] before it is shut out.
const LIMIT: u32 = 200;
/// See [`LIMIT`].
const WINDOW: Duration = Duration::from_secs(300);
/// How long a source is shut out; asking on meanwhile does not prolong it.
const SHUT_OUT: Duration = Duration::from_secs(1800);
/// How long a proved password is remembered.
const TRUST: Duration = Duration::from_secs(3600);
/// A stranger may be ahead of its pace by so many requests.
const BURST: u32 = 400;
/// Answers of 503 that one source gets, and how far it may be ahead; beyond it gets none.
const REFUSALS: (Duration, u32) = (Duration::from_millis(100), 20);
/// A request without a password: phones send one before they are asked for it.
const UNPROVED: u32 = 1;
/// A wrong password.
const WRONG_PASSWORD: u32 = 5;
/// An extension that does not exist.
const UNKNOWN_EXTENSION: u32 = 10;
/// What cannot be read.
const UNREADABLE: u32 = 2;

/// What scanners call themselves, in lower case.
const SCANNERS: [&str; 12] = [
    "friendly-scanner",
    "friendly-request",
    "sipvicious",
    "sundayddr",
    "sipcli",
    "sip-scan",
    "sipscan",
    "pplsip",
    "vaxsipuseragent",
    "iwar",
    "smap",
    "sivus",
];

/// What becomes of requests of a source that is shut out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ShutOut {
    /// Nothing: the source finds nobody.
    #[default]
    Drop,
    /// They are answered by 403.
    Refuse,
}

/// What is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// What shut-out sources get.
    pub shut_out: ShutOut,
    /// Requests outside dialogs that a source may send each second before it has proved a
    /// password; at least 1.
    pub strangers_per_second: u32,
}

impl Default for Rules {
    fn default() -> Self {
        Self { shut_out: ShutOut::Drop, strangers_per_second: 100 }
    }
}

/// What the guard has done, for metrics.
#[derive(Debug, Default)]
pub struct Counters {
    /// Sources shut out.
    pub shut_out: AtomicU64,
    /// Messages of shut-out sources that were dropped or refused.
    pub kept_out: AtomicU64,
    /// Requests of strangers that came too fast: 503, or no answer.
    pub too_fast: AtomicU64,
}

/// What is to be done with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is served.
    Serve,
    /// It is not even answered.
    Drop,
    /// It is answered by this status, without a transaction.
    Answer(u16),
}

#[derive(Debug)]
pub(crate) struct Guard {
    rules: Rules,
    counters: Arc<Counters>,
    young: HashMap<IpAddr, Source>,
    old: HashMap<IpAddr, Source>,
}

#[derive(Clone, Copy, Debug)]
struct Source {
    /// When its requests so far would be used up at an even pace.
    paid_until: Instant,
    /// The same for the refusals it had.
    refused_until: Instant,
    points: u32,
    points_since: Instant,
    shut_until: Option<Instant>,
    trusted_until: Option<Instant>,
}

impl Source {
    fn is_shut(&self, now: Instant) -> bool {
        self.shut_until.is_some_and(|until| until > now)
    }

    fn is_trusted(&self, now: Instant) -> bool {
        self.trusted_until.is_some_and(|until| until > now)
    }
}

impl Guard {
    pub(crate) fn new(rules: Rules) -> Self {
        Self {
            rules,
            counters: Arc::new(Counters::default()),
            young: HashMap::new(),
            old: HashMap::new(),
        }
    }

    /// What it has done.
    pub(crate) fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }

    /// Sources that are remembered.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    /// Whether messages from there are not even read.
    pub(crate) fn is_shut_out(&self, now: Instant, ip: IpAddr) -> Option<ShutOut> {
        let ip = network(ip);
        let source = self.young.get(&ip).or_else(|| self.old.get(&ip))?;
        if !source.is_shut(now) {
            return None;
        }
        self.counters.kept_out.fetch_add(1, Ordering::Relaxed);
        Some(self.rules.shut_out)
    }

    /// Looks at a request outside any dialog.
    pub(crate) fn look(&mut self, now: Instant, ip: IpAddr, request: &Request) -> Verdict {
        if let Some(name) = scanner(request) {
            let is_news = self.punish(now, ip, LIMIT, name);
            // Who is trusted may call itself what it likes.
            if is_news {
                return match self.rules.shut_out {
                    ShutOut::Drop => Verdict::Drop,
                    ShutOut::Refuse => Verdict::Answer(403),
                };
            }
        }
        let interval = Duration::from_secs(1) / self.rules.strangers_per_second.max(1);
        let source = self.source(now, ip);
        if source.is_trusted(now) {
            return Verdict::Serve;
        }
        if pays(&mut source.paid_until, now, interval, BURST) {
            return Verdict::Serve;
        }
        let (every, ahead) = REFUSALS;
        let is_told = pays(&mut source.refused_until, now, every, ahead);
        self.counters.too_fast.fetch_add(1, Ordering::Relaxed);
        if is_told { Verdict::Answer(503) } else { Verdict::Drop }
    }

    /// Whether a source has proved a password lately.
    pub(crate) fn is_trusted(&self, now: Instant, ip: IpAddr) -> bool {
        let ip = network(ip);
        let source = self.young.get(&ip).or_else(|| self.old.get(&ip));
        source.is_some_and(|source| source.is_trusted(now))
    }

    /// Learns what the password check said.
    pub(crate) fn judged(&mut self, now: Instant, ip: IpAddr, outcome: &Outcome<'_>) {
        let points = match outcome {
            Outcome::Accepted(_) | Outcome::Challenged { is_stale: true } => {
                let source = self.source(now, ip);
                source.trusted_until = Some(now + TRUST);
                source.points = 0;
                source.shut_until = None;
                return;
            }
            Outcome::Challenged { is_stale: false } => UNPROVED,
            Outcome::Refused(Refusal::UnknownExtension) => UNKNOWN_EXTENSION,
            Outcome::Refused(_) => WRONG_PASSWORD,
        };
        self.punish(now, ip, points, "asks and proves nothing");
    }

    /// Learns that something could not be read.
    pub(crate) fn unreadable(&mut self, now: Instant, ip: IpAddr) {
        self.punish(now, ip, UNREADABLE, "sends what cannot be read");
    }

    /// Counts against a source; true if it is shut out by that, which is logged this once.
    fn punish(&mut self, now: Instant, ip: IpAddr, points: u32, why: &str) -> bool {
        let source = self.source(now, ip);
        if source.is_trusted(now) || source.is_shut(now) {
            return false;
        }
        if now.saturating_duration_since(source.points_since) >= WINDOW {
            (source.points, source.points_since) = (0, now);
        }
        source.points = source.points.saturating_add(points);
        if source.points < LIMIT {
            return false;
        }
        source.points = 0;
        source.shut_until = Some(now + SHUT_OUT);
        self.counters.shut_out.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(source = %network(ip), why, "shut out for 30 minutes");
        true
    }

    fn source(&mut self, now: Instant, ip: IpAddr) -> &mut Source {
        let ip = network(ip);
        if !self.young.contains_key(&ip) && self.young.len() >= GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        let known = self.old.remove(&ip);
        self.young.entry(ip).or_insert_with(|| {
            known.unwrap_or(Source {
                paid_until: now,
                refused_until: now,
                points: 0,
                points_since: now,
                shut_until: None,
                trusted_until: None,
            })
        })
    }
}

/// Whether one more is within the pace: one each `interval`, and `ahead` before their time.
fn pays(paid_until: &mut Instant, now: Instant, interval: Duration, ahead: u32) -> bool {
    let from = (*paid_until).max(now);
    if from.saturating_duration_since(now) > interval * ahead {
        return false;
    }
    *paid_until = from + interval;
    true
}

/// What a scanner calls itself, if the request is one's.
fn scanner(request: &Request) -> Option<&'static str> {
    let agent = request.headers.get(Name::UserAgent).unwrap_or_default();
    let from = request.headers.get(Name::From).unwrap_or_default();
    let names = [agent, from].map(|text| text.to_ascii_lowercase());
    SCANNERS.into_iter().find(|name| names[0].contains(name) || names[1].contains("sipvicious"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use cheling_sip::{Method, NameAddr, Uri};
    use std::net::Ipv4Addr;

    fn start() -> Instant {
        #[allow(clippy::disallowed_methods)] // Some instant is needed to count from.
        Instant::now()
    }

    fn request(agent: &str) -> Request {
        let address = NameAddr::parse("<sip:8001@h>").unwrap();
        let uri = Uri::sip(Some("8002"), "h", None);
        let from = address.clone().with_tag("1");
        let mut request = Request::outside_dialog(Method::Options, uri, &from, &address, "id", 1);
        request.headers.push(Name::UserAgent, agent);
        request
    }

    fn ip(last: u8) -> IpAddr {
        Ipv4Addr::new(192, 0, 2, last).into()
    }

    #[test]
    fn a_scanner_that_says_so_is_shut_out_at_once_and_for_half_an_hour() {
        let (mut guard, now) = (Guard::new(Rules::default()), start());
        assert_eq!(guard.look(now, ip(1), &request("Yealink SIP-T31P")), Verdict::Serve);
        assert_eq!(guard.look(now, ip(2), &request("friendly-scanner")), Verdict::Drop);
        assert_eq!(guard.is_shut_out(now, ip(1)), None);
        assert_eq!(guard.is_shut_out(now, ip(2)), Some(ShutOut::Drop));
        assert_eq!(guard.is_shut_out(now + SHUT_OUT, ip(2)), None);
        let rules = Rules { shut_out: ShutOut::Refuse, ..Rules::default() };
        let mut guard = Guard::new(rules);
        assert_eq!(guard.look(now, ip(2), &request("SIPcli/1.8")), Verdict::Answer(403));
        assert_eq!(guard.counters().shut_out.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn guessing_is_shut_out_the_sooner_the_wilder() {
        for (outcome, within) in [
            (Outcome::Refused(Refusal::UnknownExtension), 20),
            (Outcome::Refused(Refusal::WrongPassword), 40),
            (Outcome::Refused(Refusal::LockedOut), 40),
            (Outcome::Challenged { is_stale: false }, 200),
        ] {
            let (mut guard, now) = (Guard::new(Rules::default()), start());
            let tries = (1..).find(|_| {
                guard.judged(now, ip(1), &outcome);
                guard.is_shut_out(now, ip(1)).is_some()
            });
            assert_eq!(tries, Some(within), "{outcome:?}");
        }
        // One try a minute, as a phone with an old password makes, is no attack.
        let (mut guard, mut now) = (Guard::new(Rules::default()), start());
        for _ in 0..1000 {
            now += Duration::from_secs(60);
            guard.judged(now, ip(1), &Outcome::Refused(Refusal::WrongPassword));
            assert_eq!(guard.is_shut_out(now, ip(1)), None);
        }
    }

    #[test]
    fn who_has_proved_a_password_cannot_be_shut_out_by_others() {
        let (mut guard, now) = (Guard::new(Rules::default()), start());
        // As good as accepted: only the nonce was old.
        guard.judged(now, ip(1), &Outcome::Challenged { is_stale: true });
        for _ in 0..1000 {
            assert_eq!(guard.look(now, ip(1), &request("friendly-scanner")), Verdict::Serve);
            guard.judged(now, ip(1), &Outcome::Refused(Refusal::UnknownExtension));
        }
        assert_eq!(guard.is_shut_out(now, ip(1)), None);
        let later = now + TRUST;
        assert_eq!(guard.look(later, ip(1), &request("friendly-scanner")), Verdict::Drop);
    }

    #[test]
    fn a_flood_is_answered_by_503_for_a_while_and_then_not_at_all() {
        let (mut guard, now) = (Guard::new(Rules::default()), start());
        let mut seen = [0; 3];
        for _ in 0..1000 {
            match guard.look(now, ip(1), &request("phone")) {
                Verdict::Serve => seen[0] += 1,
                Verdict::Answer(status) => {
                    assert_eq!(status, 503);
                    seen[1] += 1;
                }
                Verdict::Drop => seen[2] += 1,
            }
        }
        assert_eq!(seen, [401, 21, 578]);
        assert_eq!(guard.look(now, ip(2), &request("phone")), Verdict::Serve);
        let later = now + Duration::from_secs(1);
        assert_eq!(guard.look(later, ip(1), &request("phone")), Verdict::Serve);
    }

    #[test]
    fn a_million_made_up_sources_are_not_remembered() {
        let (mut guard, now) = (Guard::new(Rules::default()), start());
        let (scan, phone) = (request("friendly-scanner"), request("phone"));
        guard.judged(now, ip(1), &Outcome::Challenged { is_stale: true });
        for number in 0..1_000_000u32 {
            let source = Ipv4Addr::from(0x0a00_0000 + number).into();
            let request = if number % 2 == 0 { &scan } else { &phone };
            guard.look(now, source, request);
            assert!(guard.len() <= 2 * GENERATION);
            if number % 1000 == 0 {
                // An office whose phones go on is not forgotten.
                assert_eq!(guard.look(now, ip(1), &scan), Verdict::Serve);
            }
        }
    }

    #[test]
    fn addresses_of_one_ipv6_network_are_one_source() {
        let (mut guard, now) = (Guard::new(Rules::default()), start());
        guard.look(now, "2001:db8::1".parse().unwrap(), &request("sipcli"));
        assert!(guard.is_shut_out(now, "2001:db8::2".parse().unwrap()).is_some());
        assert!(guard.is_shut_out(now, "2001:db8:0:1::1".parse().unwrap()).is_none());
    }
}
