//! What to do with a call: pure state machines over `sip`.
//!
//! [`io`] is the seam: what the shell feeds and what it must do. [`switch::Switch`] is what it
//! feeds; `intake` judges what begins something, `b2bua` is one call, `registrar`, `auth`,
//! `router`, `hunt`, `dialling` and `identity` are what they ask, `outward` what trunks ask of us;
//! `passage` and `between` are the two ways to stand before a telephone system. `subscriptions` and
//! `messages` are what phones want beside calls. [`observer`] follows calls that others carry.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod advertise;
pub mod auth;
mod b2bua;
mod between;
mod core;
pub mod dialling;
pub mod guard;
mod hunt;
pub mod identity;
mod intake;
pub mod io;
pub mod messages;
pub mod observer;
mod occupancy;
mod ordered;
pub mod outward;
mod passage;
mod random;
pub mod registrar;
pub mod router;
pub mod subscriptions;
pub mod switch;
mod targets;
mod trunks;

pub use switch::Switch;
