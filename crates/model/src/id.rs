//! Typed ids: a UUIDv7 each, so that an id sorts by the moment it was minted.
//!
//! A call's id is minted at its first INVITE and names it everywhere: pop, journal, recording,
//! call record and follow-up.

use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;
use uuid::Uuid;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// Mints an id from the wall clock and ten random bytes (RFC 9562 §5.7).
            pub fn mint(at: Timestamp, random: [u8; 10]) -> Self {
                let millis = u64::try_from(at.as_micros() / 1000).unwrap_or(0);
                Self(uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid())
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }
        impl std::str::FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::parse_str(text).map(Self)
            }
        }
        impl From<Uuid> for $name {
            fn from(uuid: Uuid) -> Self {
                Self(uuid)
            }
        }
    )+};
}

ids! {
    /// One conversation, from its first INVITE on.
    CallId,
    /// One dialog of a call.
    LegId,
    /// One finished audio file.
    RecordingId,
    /// One dealership (4S店): the scope of everything a user may see.
    DealershipId,
    /// A person who signs in.
    UserId,
    /// A customer of a dealership.
    CustomerId,
    /// A vehicle.
    VehicleId,
    /// One follow-up task (回访任务).
    FollowUpId,
    /// A hotline or DID.
    LineId,
    /// A ring group.
    GroupId,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_the_moment_they_were_minted() {
        let early = CallId::mint(Timestamp::from_micros(1_700_000_000_000_000), [0xff; 10]);
        let late = CallId::mint(Timestamp::from_micros(1_700_000_000_001_000), [0; 10]);
        assert!(early < late);
        assert_eq!(early.to_string().parse::<CallId>().unwrap(), early);
        assert_eq!(early.0.get_version_num(), 7);
    }
}
