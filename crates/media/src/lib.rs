//! RTP in, samples and audio files out.
//!
//! Pure: packets, arrival times and writers are arguments. Nothing here opens a socket or a file,
//! reads a clock, or knows what a call is.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod codec;
pub mod comfort_noise;
pub mod decoder;
pub mod dtls;
pub mod dtmf;
pub mod dtmf_tones;
pub mod encoder;
pub mod g711;
pub mod g722;
pub mod gsm;
pub mod half_band;
pub mod keyed;
pub mod lane;
pub mod live;
pub mod mixer;
pub mod ogg_opus;
#[cfg(feature = "g729-amr")]
mod optional_codecs;
mod opus_stream;
pub mod peaks;
pub mod quality;
pub mod reception;
pub mod reorder;
pub mod resample;
pub mod rtcp;
pub mod rtp;
pub mod speech;
pub mod srtp;
pub mod stun;
pub mod timeline;
pub mod tone;
pub mod wav;

/// Sample frames a second of everything this crate renders: what a telephone carries.
pub const RATE_HZ: u32 = 8000;
