//! The side that tells: one subscription somebody has with us.

use std::time::{Duration, Instant};

use super::{EndReason, SubscriptionState};
use crate::message::Request;

/// For how long subscriptions are granted, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Granting {
    /// Shorter ones are refused with 423, but for 0, which asks once.
    pub least_s: u32,
    /// For who does not say.
    pub usual_s: u32,
    /// Longer ones are cut to it.
    pub most_s: u32,
}

impl Default for Granting {
    fn default() -> Self {
        Self { least_s: 60, usual_s: 3600, most_s: 3600 }
    }
}

/// The Expires is too small: answer 423 with Min-Expires (RFC 6665 §4.2.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("subscription shorter than {least_s} s")]
pub struct TooBrief {
    /// For Min-Expires.
    pub least_s: u32,
}

impl Granting {
    /// How long to grant a SUBSCRIBE; 0 ends the subscription, or asks just once.
    ///
    /// # Errors
    /// [`TooBrief`]
    pub fn grant(&self, subscribe: &Request) -> Result<u32, TooBrief> {
        match subscribe.headers.expires() {
            None => Ok(self.usual_s),
            Some(0) => Ok(0),
            Some(seconds) if seconds < self.least_s => Err(TooBrief { least_s: self.least_s }),
            Some(seconds) => Ok(seconds.min(self.most_s)),
        }
    }
}

/// One subscription. Every step says what the next NOTIFY must carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notifier {
    /// Not yet decided.
    Pending {
        /// When it runs out.
        ends_at: Instant,
    },
    /// Granted.
    Active {
        /// When it runs out.
        ends_at: Instant,
    },
    /// Over, the last NOTIFY sent.
    Ended,
}

impl Notifier {
    /// A SUBSCRIBE has been accepted for `granted_s`, which its answer says in Expires; a NOTIFY
    /// follows at once (RFC 6665 §4.2.1.2). With 0, that NOTIFY is the only one.
    pub fn subscribe(now: Instant, granted_s: u32) -> (Self, SubscriptionState) {
        Self::Active { ends_at: now }.refresh(now, granted_s)
    }

    /// Another SUBSCRIBE in the dialog: it refreshes or, with 0, ends the subscription.
    pub fn refresh(self, now: Instant, granted_s: u32) -> (Self, SubscriptionState) {
        if granted_s == 0 || self == Self::Ended {
            return (Self::Ended, SubscriptionState::ended(EndReason::Timeout));
        }
        let ends_at = now + Duration::from_secs(granted_s.into());
        let next = match self {
            Self::Pending { .. } => Self::Pending { ends_at },
            _ => Self::Active { ends_at },
        };
        (next, next.state(now))
    }

    /// What a NOTIFY of this moment says.
    pub fn state(&self, now: Instant) -> SubscriptionState {
        let left = |ends_at: Instant| {
            let left = ends_at.saturating_duration_since(now).as_secs();
            Some(u32::try_from(left).unwrap_or(u32::MAX))
        };
        match self {
            Self::Pending { ends_at } => SubscriptionState::Pending { expires_s: left(*ends_at) },
            Self::Active { ends_at } => SubscriptionState::Active { expires_s: left(*ends_at) },
            Self::Ended => SubscriptionState::ended(EndReason::Noresource),
        }
    }

    /// Learns how a NOTIFY was answered; no answer is 408. Some answers end the subscription
    /// without another NOTIFY (RFC 6665 §4.2.2, RFC 5057 §5.3).
    pub fn answered(self, status: u16) -> Self {
        let is_end = matches!(status, 404 | 405 | 408 | 410 | 416 | 480..=485 | 489 | 501 | 604);
        if is_end { Self::Ended } else { self }
    }

    /// When to call [`Notifier::handle_timeout`].
    pub fn next_timeout(&self) -> Option<Instant> {
        match self {
            Self::Pending { ends_at } | Self::Active { ends_at } => Some(*ends_at),
            Self::Ended => None,
        }
    }

    /// Ends it when its time is over: the last NOTIFY says so.
    pub fn handle_timeout(self, now: Instant) -> (Self, Option<SubscriptionState>) {
        match self.next_timeout() {
            Some(ends_at) if now >= ends_at => {
                (Self::Ended, Some(SubscriptionState::ended(EndReason::Timeout)))
            }
            _ => (self, None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Method, Name, Uri};

    #[test]
    fn expires_is_granted_within_limits() {
        let granting = Granting { least_s: 60, usual_s: 1800, most_s: 3600 };
        let brief = Err(TooBrief { least_s: 60 });
        for (expires, want) in
            [("", Ok(1800)), ("0", Ok(0)), ("59", brief), ("60", Ok(60)), ("99999999999", Ok(3600))]
        {
            let mut subscribe = Request::new(Method::Subscribe, Uri::sip(None, "h", None));
            if !expires.is_empty() {
                subscribe.headers.push(Name::Expires, expires);
            }
            assert_eq!(granting.grant(&subscribe), want, "{expires}");
        }
    }

    #[test]
    fn a_subscription_lives_from_refresh_to_refresh() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let (notifier, state) = Notifier::subscribe(start, 100);
        assert_eq!(state.to_string(), "active;expires=100");
        assert_eq!(notifier.state(after(40)).to_string(), "active;expires=60");
        let (notifier, state) = notifier.refresh(after(90), 100);
        assert_eq!(state.to_string(), "active;expires=100");
        assert_eq!(notifier.handle_timeout(after(189)), (notifier, None));
        let (ended, state) = notifier.handle_timeout(after(190));
        assert_eq!(state.unwrap().to_string(), "terminated;reason=timeout");
        assert_eq!((ended, ended.next_timeout()), (Notifier::Ended, None));
        assert_eq!(notifier.answered(200), notifier);
        assert_eq!(notifier.answered(500), notifier);
        assert_eq!(notifier.answered(481), Notifier::Ended);
        let (ended, state) = notifier.refresh(after(91), 0);
        assert_eq!(ended, Notifier::Ended);
        assert!(state.is_terminated());
        assert!(Notifier::subscribe(start, 0).1.is_terminated());
        let pending = Notifier::Pending { ends_at: after(50) };
        assert_eq!(pending.refresh(start, 70).1.to_string(), "pending;expires=70");
    }
}
