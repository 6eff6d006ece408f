//! A generator of SIP load over UDP that costs little itself: calls made, calls answered, phones
//! registered.
//!
//! Belongs here: messages made from text, as many as a second of wall-clock time allows.
//! Does not: media, and judging what the other side says beyond status, tag and route; `phone` and
//! the real programs do that.

mod answerer;
mod callers;
mod registrants;
mod wire;

pub use answerer::Answerer;
pub use callers::{CallLoad, CallReport, place_calls};
pub use registrants::{RegisterLoad, RegisterReport, Registrants};

use std::time::Duration;

/// The value below which this share (0 to 1) of `values` lies; zero if there are none.
pub fn percentile(values: &mut [Duration], share: f64) -> Duration {
    values.sort_unstable();
    let last = values.len().saturating_sub(1);
    values.get(((values.len() as f64 * share) as usize).min(last)).copied().unwrap_or_default()
}
