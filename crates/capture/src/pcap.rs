//! Capture files: the same calls, events and packets as from live traffic, with their own times.

pub mod file;
pub mod streams;
pub mod wire;
