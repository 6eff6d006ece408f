//! Carries bytes between the network and the call machines of `cheling_call`.
//!
//! Read [`Capture`] for how the parts are wired, `sip_task` for the loop round the machines,
//! [`relay`] for media, [`resolve`] for trunks known by name, [`transport`] for SIP on the wire, [`pcap`] for capture files.
//!
//! Belongs here: sockets, relay threads, the SIP task's loop, capture files.
//! Does not: any opinion about a call (`call`), audio files (`store`), who is calling (`lookup`).
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod capture;
pub mod clock;
mod dscp;
mod events;
mod handle;
mod listen;
pub mod pcap;
pub mod relay;
pub mod resolve;
pub mod sink;
mod sip_task;
pub mod transport;

pub use capture::{Capture, CaptureConfig, LOOKUP_QUEUE, Sinks, StartError};
pub use dscp::Dscp;
pub use events::EventCounters;
pub use handle::{Dial, Handle, Stopped};
pub use listen::{ListenRefusal, Listeners, Listening, ListeningSink, Overheard};
pub use sink::{SpareBlocks, TapSink};
