//! The nouns of Cheling, shared by every crate above the RFC rooms.
//!
//! Belongs here: ids, time, calls, legs, recordings, and the events about them, as plain values.
//! Does not: decisions (`call`, `lookup`), SQL (`records`), bytes on a socket (`capture`).
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod call;
pub mod card;
pub mod console;
pub mod directory;
pub mod follow_up;
pub mod hours;
pub mod id;
pub mod number;
pub mod numbering;
pub mod reach;
pub mod recording;
pub mod tap;
pub mod time;

pub use call::{Direction, EndCause, GuestRole, Lane, Presentation, TapEvent, TapKind, Withdrawal};
pub use id::{
    CallId, CustomerId, DealershipId, FollowUpId, GroupId, LegId, LineId, RecordingId, UserId,
    VehicleId,
};
pub use recording::Verdict;
pub use time::{Now, Timestamp};
