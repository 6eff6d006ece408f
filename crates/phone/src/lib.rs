//! A small softphone: registers, calls, answers, talks and listens.
//!
//! It is the other end of our tests, of the demonstration and of load runs. It speaks SIP
//! through `rsip` and shares no SIP code with the product, so that a mistake in our own reader
//! or dialog does not agree with itself.
//!
//! Belongs here: what a desk phone or a gateway does, as seen from the network.
//! Does not: anything that knows Cheling's configuration, database or HTTP.
//!
//! ```no_run
//! # async fn example() -> Result<(), cheling_phone::PhoneError> {
//! use cheling_phone::{Account, Dial, Phone, PhoneConfig, Sound};
//! let server = ([127, 0, 0, 1], 5060).into();
//! let config = PhoneConfig::registered(server, Account::new("8001", "secret"));
//! let (phone, _incoming) = Phone::start(config).await?;
//! phone.register().await?;
//! let call = phone.call(Dial::number("13812345678"), Sound::tone(440.0)).await?;
//! call.answered().await?;
//! call.hang_up().await;
//! phone.stop().await;
//! # Ok(())
//! # }
//! ```
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod agent;
mod attendant;
mod call;
mod config;
mod dialog;
mod digest;
mod gateway;
mod media;
mod message;
mod phone;
mod sdp;
mod simulation;
mod sound;
pub mod speech;
mod transaction;
mod wire;

pub use attendant::{AnswerPlan, attend};
pub use call::{Call, CallState, Ending, Party, Side};
pub use cheling_media::g711::Law;
pub use config::{Account, Dial, PhoneConfig, Ringing, Transport};
pub use gateway::{Gateway, public_network_plan};
pub use media::MediaStatistics;
pub use phone::{Event, Phone, PhoneError};
pub use sdp::Direction;
pub use simulation::{Extension, Simulation, SimulationConfig, SimulationReport};
pub use sound::{Sound, dominant_frequency_hz, level_dbfs, render, tone_share};
