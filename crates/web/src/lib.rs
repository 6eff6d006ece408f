//! HTTP, WebSocket hub and the console.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod wire;
