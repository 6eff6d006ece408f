//! Every SQL statement, on SQLite and PostgreSQL.
//!
//! [`Database`] opens either by its URL and migrates it. One file per group of tables holds the
//! row structs and the functions on them; each takes `impl Into<On>`: a `&Database`, or a
//! `&mut Transaction` where several writes are one.
//!
//! Belongs here: SQL, and the rules that a single statement can keep. Does not: what a number
//! means, who fits a call, when a task is done (`lookup`).
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod admin;
pub mod attach;
pub mod call;
pub mod console;
pub mod customer;
pub mod database;
pub mod error;
pub mod follow_up;
pub mod guest;
pub mod import;
pub mod ledger;
pub mod migration;
pub mod phone;
pub mod recording;
pub mod row;
pub mod session;
mod sqlite;
pub mod switchboard;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;
pub mod user;
pub mod value;
pub mod vehicle;
pub mod wrap_up;

pub use database::{Database, Engine, On, Transaction};
pub use error::Error;
pub use row::{Page, insert, insert_all, insert_new};
pub use value::Value;

/// What every function here returns.
pub type Result<T> = std::result::Result<T, Error>;

/// Mints an id from the wall clock and fresh randomness.
pub fn mint<I: From<uuid::Uuid>>() -> I {
    I::from(uuid::Uuid::now_v7())
}
