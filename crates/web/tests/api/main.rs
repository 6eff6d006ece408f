//! The API over a real socket on loopback, on a database of the test's own.

#![allow(clippy::unwrap_used)]

mod house;

mod audio;
mod calls;
mod contract;
mod control;
mod listening;
mod oversight;
mod people;
mod recorder;
mod socket;
