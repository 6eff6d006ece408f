//! Who may open a connection: so many at once in all, so many at once from one source, and so many
//! in a time from one source.
//!
//! What a source did is forgotten once it has nothing open and has rested; the memory is bounded
//! whatever comes.

use super::TransportConfig;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Sources remembered. Beyond it those with nothing open are forgotten.
const MAX_SOURCES: usize = 4096;
/// How long a source's failed handshakes are not logged after one was.
const FAILURES_UNTOLD_FOR: Duration = Duration::from_secs(60);

/// Lets connections in, and counts them.
pub(super) struct Admission {
    permits: Arc<Semaphore>,
    sources: Mutex<HashMap<IpAddr, Source>>,
    max_per_source: usize,
    interval: Duration,
    /// How far ahead of an even pace a source may be.
    tolerance: Duration,
}

struct Source {
    open: usize,
    /// When its connections so far would be used up at an even pace.
    paid_until: Instant,
    /// A refusal has been logged since it last behaved.
    is_told: bool,
    /// When a failed handshake of it was logged.
    failure_told_at: Option<Instant>,
}

/// The right to one connection, given back when dropped.
pub(super) struct Ticket {
    _permit: OwnedSemaphorePermit,
    /// Whose it is; none for a connection that we opened.
    source: Option<(IpAddr, Arc<Admission>)>,
}

/// A connection that may not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) why: Why,
    /// Whether it is the first of its kind, to be logged.
    pub(super) is_news: bool,
}

/// What there are too many of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Why {
    #[error("too many SIP connections")]
    InAll,
    #[error("too many SIP connections from there")]
    FromThere,
    #[error("SIP connections from there come too fast")]
    TooFast,
}

impl Admission {
    pub(super) fn new(config: &TransportConfig) -> Self {
        let burst = config.connection_burst.max(1);
        Self {
            permits: Arc::new(Semaphore::new(config.max_connections.min(Semaphore::MAX_PERMITS))),
            sources: Mutex::default(),
            max_per_source: config.max_connections_per_source,
            interval: config.connection_interval,
            tolerance: config.connection_interval.saturating_mul(burst - 1),
        }
    }

    /// For a connection that we open.
    pub(super) fn outgoing(&self) -> Option<Ticket> {
        let permit = Arc::clone(&self.permits).try_acquire_owned().ok()?;
        Some(Ticket { _permit: permit, source: None })
    }

    /// For a connection that was opened to us.
    pub(super) fn incoming(self: &Arc<Self>, ip: IpAddr, now: Instant) -> Result<Ticket, Refused> {
        let ip = source(ip);
        let mut sources = self.sources();
        if sources.len() >= MAX_SOURCES && !sources.contains_key(&ip) {
            sources.retain(|_, source| source.open > 0 || source.paid_until > now);
            if sources.len() >= MAX_SOURCES {
                sources.retain(|_, source| source.open > 0);
            }
        }
        let source = sources.entry(ip).or_insert(Source {
            open: 0,
            paid_until: now,
            is_told: false,
            failure_told_at: None,
        });
        let paid_until = source.paid_until.max(now);
        let why = if source.open >= self.max_per_source {
            Why::FromThere
        } else if paid_until.saturating_duration_since(now) > self.tolerance {
            Why::TooFast
        } else if let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() {
            source.is_told &= source.paid_until > now;
            source.paid_until = paid_until + self.interval;
            source.open += 1;
            return Ok(Ticket { _permit: permit, source: Some((ip, Arc::clone(self))) });
        } else {
            Why::InAll
        };
        let is_news = !std::mem::replace(&mut source.is_told, true);
        Err(Refused { why, is_news })
    }

    fn sources(&self) -> MutexGuard<'_, HashMap<IpAddr, Source>> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticket {
    /// Its handshake has failed: whether that is to be logged.
    pub(super) fn is_failure_news(&self, now: Instant) -> bool {
        let Some((ip, admission)) = &self.source else { return true };
        let mut sources = admission.sources();
        let Some(source) = sources.get_mut(ip) else { return false };
        let is_recent = |at: Instant| now.saturating_duration_since(at) < FAILURES_UNTOLD_FOR;
        if source.failure_told_at.is_some_and(is_recent) {
            return false;
        }
        source.failure_told_at = Some(now);
        true
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let Some((ip, admission)) = &self.source else { return };
        if let Some(source) = admission.sources().get_mut(ip) {
            source.open = source.open.saturating_sub(1);
        }
    }
}

/// What counts as one source: an IPv6 network may use any of 2⁶⁴ addresses.
fn source(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => Ipv6Addr::from(u128::from(ip) & !u128::from(u64::MAX)).into(),
        ip => ip,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(change: impl FnOnce(&mut TransportConfig)) -> Arc<Admission> {
        let mut config = TransportConfig::at(([127, 0, 0, 1], 0).into());
        change(&mut config);
        Arc::new(Admission::new(&config))
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn why(refused: Result<Ticket, Refused>) -> Option<Why> {
        refused.err().map(|refused| refused.why)
    }

    #[test]
    fn one_source_cannot_take_what_all_share() {
        let admission = admission(|config| {
            config.max_connections = 3;
            config.max_connections_per_source = 2;
        });
        let now = Instant::now();
        let first = admission.incoming(ip("192.0.2.1"), now).ok();
        let _second = admission.incoming(ip("192.0.2.1"), now).ok();
        assert_eq!(why(admission.incoming(ip("192.0.2.1"), now)), Some(Why::FromThere));
        let _third = admission.incoming(ip("192.0.2.2"), now).ok().unwrap();
        assert_eq!(why(admission.incoming(ip("192.0.2.3"), now)), Some(Why::InAll));
        assert!(admission.outgoing().is_none());
        drop(first);
        assert_eq!(why(admission.incoming(ip("192.0.2.1"), now)), None);
    }

    #[test]
    fn a_burst_is_let_in_and_then_an_even_pace() {
        let admission = admission(|config| {
            config.connection_burst = 2;
            config.connection_interval = Duration::from_secs(1);
        });
        let start = Instant::now();
        for (at_ms, want) in [
            (0, None),
            (0, None),
            (0, Some(Why::TooFast)),
            (900, Some(Why::TooFast)),
            (1000, None),
            (1100, Some(Why::TooFast)),
            (9000, None),
            (9000, None),
            (9000, Some(Why::TooFast)),
        ] {
            let now = start + Duration::from_millis(at_ms);
            assert_eq!(why(admission.incoming(ip("192.0.2.1"), now)), want, "{at_ms}");
        }
    }

    #[test]
    fn a_flood_is_told_of_once_until_its_source_has_rested() {
        let admission = admission(|config| {
            config.connection_burst = 1;
            config.connection_interval = Duration::from_secs(1);
        });
        let start = Instant::now();
        let mut news = 0;
        for at_ms in [0, 1, 2, 3, 5000, 5001, 5002] {
            let now = start + Duration::from_millis(at_ms);
            if let Err(refused) = admission.incoming(ip("192.0.2.1"), now) {
                news += u32::from(refused.is_news);
            }
        }
        assert_eq!(news, 2);
    }

    #[test]
    fn failed_handshakes_of_a_source_are_told_of_once_a_minute() {
        let admission = admission(|_| {});
        let start = Instant::now();
        let told = |address: &str, after_s| {
            let now = start + Duration::from_secs(after_s);
            admission.incoming(ip(address), now).ok().unwrap().is_failure_news(now)
        };
        let want = [true, false, true, false, true];
        let of = ["192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.2.1", "192.0.2.1"];
        let got: Vec<_> =
            of.into_iter().zip([0, 1, 1, 59, 60]).map(|(from, at_s)| told(from, at_s)).collect();
        assert_eq!(got, want);
    }

    #[test]
    fn addresses_of_one_ipv6_network_are_one_source() {
        let admission = admission(|config| config.max_connections_per_source = 1);
        let now = Instant::now();
        let _open = admission.incoming(ip("2001:db8::1"), now).ok().unwrap();
        assert_eq!(why(admission.incoming(ip("2001:db8::2"), now)), Some(Why::FromThere));
        assert_eq!(why(admission.incoming(ip("2001:db8:0:1::1"), now)), None);
    }

    #[test]
    fn what_sources_did_is_kept_for_a_bounded_number_of_them() {
        let admission = admission(|_| {});
        let now = Instant::now();
        let _open = admission.incoming(ip("192.0.2.1"), now).ok().unwrap();
        for number in 0..3 * MAX_SOURCES as u32 {
            let _ = admission.incoming(std::net::Ipv4Addr::from(number).into(), now);
        }
        let sources = admission.sources();
        assert!(sources.len() <= MAX_SOURCES);
        assert!(sources.contains_key(&ip("192.0.2.1")));
    }
}
