//! Keeps audio: journal, rendering, files, check.
//!
//! Packets and events go into the [`journal`]; when a call is over, [`workers`] [`mod@render`] it
//! to a file and a row, and let the journal forget it. A crash at any point is repaired by doing it
//! again.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod check;
pub mod conversion;
pub mod disk;
mod facts;
pub mod files;
pub mod journal;
pub mod pauses;
pub mod render;
pub mod roots;
pub mod rows;
pub mod rtpdump;
pub mod transcode;
pub mod verdict;
pub mod workers;
