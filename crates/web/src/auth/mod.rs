//! Who sends a request, and what that person may do.

pub mod client;
pub mod origin;
pub mod password;
pub mod right;
pub mod session;
pub mod throttle;
