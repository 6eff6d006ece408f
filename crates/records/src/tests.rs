//! Every statement, on both engines.

mod calls;
mod console;
mod customers;
mod engine;
mod people;
mod work;

pub(crate) use crate::testing::{
    NOW, TODAY, agent, call, customer, dealership, on_both, phone, task,
};
pub(crate) use crate::{Error, insert, insert_all, mint};

/// Seconds after [`NOW`].
pub(crate) fn after(seconds: i64) -> cheling_model::Timestamp {
    cheling_model::Timestamp::from_micros(NOW.as_micros() + seconds * 1_000_000)
}
