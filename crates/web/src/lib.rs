//! HTTP, WebSocket hub and the console.
//!
//! The binary makes an [`App`] from its [`Parts`] and runs [`serve`]; whoever has something to tell
//! a browser gives it to the [`Hub`]. The JSON that outsiders rely on is in [`wire`]; one file of
//! `api` for each group of paths turns it into questions to `records`, `lookup` and the switch.
//!
//! Belongs here: HTTP, permissions, the form of answers. Does not: SQL (`records`), what follows
//! from a call or a wrap-up (`lookup`), sockets of phones (`capture`).
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod alarm;
mod api;
pub mod app;
pub mod assets;
pub mod auth;
pub mod control;
mod day;
mod endpoint;
pub mod error;
pub mod hub;
pub mod live;
mod metrics;
mod openapi;
mod range;
pub mod routes;
mod serve;
mod socket;
pub mod wire;

pub use alarm::{Alarm, AlarmKind, Alarms};
pub use app::{App, Parts, Settings};
pub use control::{
    CallControl, CallRefusal, ControlRequest, DialRequest, NoSwitch, Order, Pausing, Registration,
    TrunkRegistration, TrunkState,
};
pub use hub::Hub;
pub use live::{ListenRefusal, LiveAudio, LivePart, NoLiveAudio};
pub use serve::serve;
