//! Who is calling, and what follows from it.
//!
//! [`desk::Desk`] takes the events of the call machines, keeps their facts, and says what each
//! agent's console is to show. Around it: reading numbers ([`number`]), the card ([`card`]),
//! linking calls to follow-up work ([`attach`], [`follow_up`]), bringing customers in
//! ([`import`]), and inventing a dealership to show it all with ([`generator`]).
//!
//! Belongs here: decisions about customers and follow-up. Does not: SQL (`records`), HTTP and
//! WebSocket (`web`), SIP and audio.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod attach;
pub mod card;
pub mod date;
pub mod desk;
pub mod directory;
pub mod follow_up;
pub mod generator;
pub mod import;
pub mod place;

pub use cheling_model::numbering as number;
pub use cheling_records::{Error, Result};
