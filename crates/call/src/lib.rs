//! What to do with a call: pure state machines over `sip`.
//!
//! [`io`] is the seam: what the shell feeds and what it must do.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod auth;
pub mod b2bua;
pub mod identity;
pub mod io;
pub mod random;
pub mod registrar;
pub mod router;
