//! Carries bytes between the network and the call machines of `cheling_call`.
//!
//! Belongs here: sockets, relay threads, the SIP task's loop, capture files.
//! Does not: any opinion about a call (`call`), audio files (`store`), who is calling (`lookup`).
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod clock;
pub mod relay;
pub mod sink;
pub mod transport;
