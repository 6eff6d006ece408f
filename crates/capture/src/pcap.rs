//! Capture files: the same calls, events and packets as from live traffic, with their own times.
//!
//! [`file`] gives frames, [`wire`] takes them apart, [`streams`] puts TCP in order, the observer
//! of `call` follows the calls, [`media`] finds each packet's call, [`mod@import`] joins them.

pub mod file;
mod import;
pub mod media;
mod protected;
pub mod streams;
pub mod wire;

pub use cheling_call::observer::Perspective;
pub use import::{Import, ImportError, ImportReport, Progress, import};
