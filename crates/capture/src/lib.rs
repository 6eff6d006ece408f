//! Carries bytes between the network and the call machines of `cheling_call`.
//!
//! Read [`capture`] for how the parts are wired, [`sip_task`] for the loop round the machines,
//! [`relay`] for media, [`transport`] for SIP on the wire.
//!
//! Belongs here: sockets, relay threads, the SIP task's loop, capture files.
//! Does not: any opinion about a call (`call`), audio files (`store`), who is calling (`lookup`).
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod clock;
mod events;
pub mod pcap;
pub mod relay;
pub mod sink;
pub mod transport;
