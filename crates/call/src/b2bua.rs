//! b2bua

pub mod media;
pub mod outcome;
