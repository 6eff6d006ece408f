//! The rules that RFC 4475 and RFC 5118 torture implementations with: one message of our own for
//! each section, and how it is judged.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, missing_docs)]

mod judge;
mod rfc_4475;
mod rfc_5118;
