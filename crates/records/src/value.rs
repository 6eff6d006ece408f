//! Values on their way into and out of both drivers.

use crate::{Error, Result};
use cheling_model::follow_up::{
    AttachMethod, FollowUpState, FollowUpType, Lifecycle, Outcome, Role,
};
use cheling_model::recording::Container;
use cheling_model::{
    CallId, CustomerId, DealershipId, FollowUpId, GroupId, LegId, LineId, RecordingId, Timestamp,
    UserId, VehicleId, Verdict,
};
use sqlx::Row as _;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

/// One bound argument. Nulls are typed, as PostgreSQL wants them.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `uuid`.
    Uuid(Option<Uuid>),
    /// `bigint`.
    Int(Option<i64>),
    /// `text`.
    Text(Option<String>),
    /// `boolean`.
    Bool(Option<bool>),
    /// `double`.
    Real(Option<f64>),
    /// `bytes`.
    Bytes(Option<Vec<u8>>),
}

/// One row of either driver.
#[derive(Debug)]
pub enum Row {
    /// From SQLite.
    Sqlite(SqliteRow),
    /// From PostgreSQL.
    Postgres(PgRow),
}

/// Reads a row's columns from left to right.
#[derive(Debug)]
pub struct Cells<'a> {
    row: &'a Row,
    next: usize,
}

impl Row {
    /// Its cells, from the first on.
    pub fn cells(&self) -> Cells<'_> {
        Cells { row: self, next: 0 }
    }
}

impl Cells<'_> {
    /// The next cell.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if it does not hold a `C`.
    pub fn take<C: Cell>(&mut self) -> Result<C> {
        let cell = C::read(self.row, self.next);
        self.next += 1;
        cell
    }
}

/// A type that a column can hold.
pub trait Cell: Sized {
    /// As an argument.
    fn value(&self) -> Value;
    /// The null of its type.
    fn null() -> Value;
    /// From column `index`, none if it is null.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if the column holds something else.
    fn read_nullable(row: &Row, index: usize) -> Result<Option<Self>>;
    /// From column `index`.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if the column is null or holds something else.
    fn read(row: &Row, index: usize) -> Result<Self> {
        Self::read_nullable(row, index)?
            .ok_or_else(|| Error::Corrupt(format!("column {index} is null")))
    }
}

impl<C: Cell> Cell for Option<C> {
    fn value(&self) -> Value {
        self.as_ref().map_or_else(C::null, C::value)
    }
    fn null() -> Value {
        C::null()
    }
    fn read_nullable(row: &Row, index: usize) -> Result<Option<Self>> {
        Ok(Some(C::read_nullable(row, index)?))
    }
}

macro_rules! plain_cells {
    ($($type:ty => $variant:ident),+ $(,)?) => {$(
        impl Cell for $type {
            fn value(&self) -> Value {
                Value::$variant(Some(self.clone()))
            }
            fn null() -> Value {
                Value::$variant(None)
            }
            fn read_nullable(row: &Row, index: usize) -> Result<Option<Self>> {
                match row {
                    Row::Sqlite(row) => row.try_get_unchecked(index),
                    Row::Postgres(row) => row.try_get_unchecked(index),
                }
                .map_err(|err| Error::Corrupt(err.to_string()))
            }
        }
    )+};
}
plain_cells! {
    Uuid => Uuid, i64 => Int, String => Text, bool => Bool, f64 => Real, Vec<u8> => Bytes,
}

macro_rules! id_cells {
    ($($type:ty),+ $(,)?) => {$(
        impl Cell for $type {
            fn value(&self) -> Value {
                Value::Uuid(Some(self.0))
            }
            fn null() -> Value {
                Value::Uuid(None)
            }
            fn read_nullable(row: &Row, index: usize) -> Result<Option<Self>> {
                Ok(Uuid::read_nullable(row, index)?.map(Self))
            }
        }
    )+};
}
id_cells!(
    CallId,
    CustomerId,
    DealershipId,
    FollowUpId,
    GroupId,
    LegId,
    LineId,
    RecordingId,
    UserId,
    VehicleId,
);

impl Cell for Timestamp {
    fn value(&self) -> Value {
        Value::Int(Some(self.as_micros()))
    }
    fn null() -> Value {
        Value::Int(None)
    }
    fn read_nullable(row: &Row, index: usize) -> Result<Option<Self>> {
        Ok(i64::read_nullable(row, index)?.map(Self::from_micros))
    }
}

macro_rules! word_cells {
    ($($type:ty),+ $(,)?) => {$(
        impl Cell for $type {
            fn value(&self) -> Value {
                Value::Text(Some(self.as_str().to_owned()))
            }
            fn null() -> Value {
                Value::Text(None)
            }
            fn read_nullable(row: &Row, index: usize) -> Result<Option<Self>> {
                let Some(word) = String::read_nullable(row, index)? else { return Ok(None) };
                match <$type>::from_word(&word) {
                    Some(value) => Ok(Some(value)),
                    None => Err(Error::Corrupt(format!("{word:?} is no {}", stringify!($type)))),
                }
            }
        }
    )+};
}
word_cells!(
    AttachMethod,
    Container,
    FollowUpState,
    FollowUpType,
    Lifecycle,
    Outcome,
    Role,
    Verdict,
    cheling_model::Direction,
    cheling_model::EndCause,
    cheling_model::GuestRole,
    cheling_model::Lane,
    cheling_model::Presentation,
    cheling_model::call::StopKind,
    cheling_model::call::StopReason,
    cheling_model::directory::Strategy,
    cheling_model::number::NumberKind,
    cheling_model::reach::Reach,
    crate::call::MatchMethod,
    crate::import::JobState,
);

macro_rules! json_cells {
    ($($type:ty),+ $(,)?) => {$(
        impl Cell for $type {
            fn value(&self) -> Value {
                // These are structs and enums with names of text alone: they always have a JSON.
                Value::Text(serde_json::to_string(self).ok())
            }
            fn null() -> Value {
                Value::Text(None)
            }
            fn read_nullable(row: &Row, index: usize) -> Result<Option<Self>> {
                let Some(text) = String::read_nullable(row, index)? else { return Ok(None) };
                let value = serde_json::from_str(&text);
                value.map(Some).map_err(|err| Error::Corrupt(format!("{}: {err}", stringify!($type))))
            }
        }
    )+};
}
json_cells!(cheling_model::directory::Destination, cheling_model::hours::Hours);

macro_rules! into_value {
    ($($type:ty),+ $(,)?) => {$(
        impl From<$type> for Value {
            fn from(value: $type) -> Self {
                value.value()
            }
        }
        impl From<Option<$type>> for Value {
            fn from(value: Option<$type>) -> Self {
                value.value()
            }
        }
    )+};
}
into_value!(
    Uuid,
    i64,
    String,
    bool,
    f64,
    Vec<u8>,
    CallId,
    CustomerId,
    DealershipId,
    FollowUpId,
    GroupId,
    LegId,
    LineId,
    RecordingId,
    UserId,
    VehicleId,
    Timestamp,
    AttachMethod,
    Container,
    FollowUpState,
    FollowUpType,
    Lifecycle,
    Outcome,
    Role,
    Verdict,
    cheling_model::Direction,
    cheling_model::EndCause,
    cheling_model::GuestRole,
    cheling_model::Lane,
    cheling_model::Presentation,
    cheling_model::call::StopKind,
    cheling_model::call::StopReason,
    cheling_model::directory::Strategy,
    cheling_model::number::NumberKind,
    cheling_model::reach::Reach,
    crate::call::MatchMethod,
    crate::import::JobState,
);

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(Some(value.to_owned()))
    }
}

impl From<Option<&str>> for Value {
    fn from(value: Option<&str>) -> Self {
        Self::Text(value.map(str::to_owned))
    }
}

impl From<&String> for Value {
    fn from(value: &String) -> Self {
        Self::Text(Some(value.clone()))
    }
}

/// Arguments in the order of `$1`, `$2` …
macro_rules! args {
    ($($value:expr),* $(,)?) => { vec![$($crate::value::Value::from($value)),*] };
}
pub(crate) use args;
