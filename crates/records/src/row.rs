//! Row structs: declared once, read and inserted by their list of columns.

use crate::database::On;
use crate::value::{Cells, Value};
use crate::{Engine, Error, Result};
use std::fmt::Write as _;

/// A struct that reads the columns it names.
pub trait Read: Sized {
    /// SQL expressions, in the order of the fields.
    const COLUMNS: &'static [&'static str];
    /// Reads them, left to right.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if a cell is not of its type.
    fn read(cells: &mut Cells<'_>) -> Result<Self>;
    /// `a, b, c`, for `select`.
    fn columns() -> String {
        Self::COLUMNS.join(", ")
    }
}

/// A struct that is a table's whole row.
pub trait Table: Read {
    /// The table.
    const NAME: &'static str;
    /// Its values, in the order of the columns.
    fn values(&self) -> Vec<Value>;
}

/// Declares a row struct: `field: Type = "sql expression"`; with `in "table"` it can be inserted.
macro_rules! row {
    (
        $(#[$doc:meta])*
        $name:ident in $table:literal { $($(#[$fdoc:meta])* $field:ident: $type:ty = $column:literal),+ $(,)? }
    ) => {
        $crate::row::row! { $(#[$doc])* $name { $($(#[$fdoc])* $field: $type = $column),+ } }
        impl $crate::row::Table for $name {
            const NAME: &'static str = $table;
            fn values(&self) -> Vec<$crate::value::Value> {
                vec![$($crate::value::Cell::value(&self.$field)),+]
            }
        }
    };
    (
        $(#[$doc:meta])*
        $name:ident { $($(#[$fdoc:meta])* $field:ident: $type:ty = $column:literal),+ $(,)? }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, serde::Serialize)]
        pub struct $name { $($(#[$fdoc])* #[doc = concat!("`", $column, "`")] pub $field: $type),+ }
        impl $crate::row::Read for $name {
            const COLUMNS: &'static [&'static str] = &[$($column),+];
            fn read(cells: &mut $crate::value::Cells<'_>) -> $crate::Result<Self> {
                Ok(Self { $($field: cells.take()?),+ })
            }
        }
    };
}
pub(crate) use row;

/// One page of a list, and where the next begins.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Page<T> {
    /// The rows.
    pub items: Vec<T>,
    /// Pass it back to go on; none at the end.
    pub next: Option<String>,
}

/// The most rows a page may ask for.
pub const MAX_PAGE: u32 = 200;

impl<T> Page<T> {
    /// Cuts a list that was fetched with one row more than `limit`; `cursor` names its last row.
    pub(crate) fn cut(mut items: Vec<T>, limit: u32, cursor: impl Fn(&T) -> String) -> Self {
        let limit = limit.clamp(1, MAX_PAGE) as usize;
        let more = items.len() > limit;
        items.truncate(limit);
        let next = if more { items.last().map(cursor) } else { None };
        Self { items, next }
    }
}

/// How many rows to fetch to know whether there are more.
pub(crate) fn fetch_limit(limit: u32) -> i64 {
    i64::from(limit.clamp(1, MAX_PAGE)) + 1
}

/// `key~uuid`: what a list by (key, id) goes on from.
pub(crate) fn cursor(key: impl std::fmt::Display, id: impl std::fmt::Display) -> String {
    format!("{key}~{id}")
}

/// Reads what [`cursor`] wrote.
pub(crate) fn parse_cursor<K: std::str::FromStr>(text: &str) -> Result<(K, uuid::Uuid)> {
    let bad = || Error::Refused("cursor".to_owned());
    let (key, id) = text.rsplit_once('~').ok_or_else(bad)?;
    Ok((key.parse().map_err(|_| bad())?, id.parse().map_err(|_| bad())?))
}

/// Inserts one row.
///
/// # Errors
/// [`Error::Conflict`], [`Error::Refused`] or [`Error::Unavailable`].
pub async fn insert<T: Table>(on: impl Into<On<'_>>, row: &T) -> Result<()> {
    insert_all(on, std::slice::from_ref(row)).await
}

/// Inserts one row unless a row of its key is there; answers whether it did.
///
/// # Errors
/// [`Error::Refused`] or [`Error::Unavailable`].
pub async fn insert_new<T: Table>(on: impl Into<On<'_>>, row: &T) -> Result<bool> {
    let places: Vec<_> = (1..=T::COLUMNS.len()).map(|n| format!("${n}")).collect();
    let sql = format!(
        "insert into {} ({}) values ({}) on conflict do nothing",
        T::NAME,
        T::columns(),
        places.join(", ")
    );
    Ok(on.into().execute(sql, row.values()).await? == 1)
}

/// Inserts many rows, a dozen or more to a statement.
///
/// # Errors
/// [`Error::Conflict`], [`Error::Refused`] or [`Error::Unavailable`]; with a `&Database` the
/// chunks before the failing one stay.
pub async fn insert_all<T: Table>(on: impl Into<On<'_>>, rows: &[T]) -> Result<()> {
    insert_or(on, rows, "").await
}

/// Inserts many rows as [`insert_all`] does; `conflict` is the statement's end, which says what
/// becomes of a row that is there already.
pub(crate) async fn insert_or<T: Table>(
    on: impl Into<On<'_>>,
    rows: &[T],
    conflict: &str,
) -> Result<()> {
    let mut on = on.into();
    for chunk in rows.chunks(rows_at_once(T::COLUMNS.len())) {
        let mut sql = format!("insert into {} ({}) ", T::NAME, T::columns());
        push_values(&mut sql, on.engine(), T::COLUMNS.len(), chunk.len());
        sql.push_str(conflict);
        on.execute(sql, chunk.iter().flat_map(T::values).collect()).await?;
    }
    Ok(())
}

/// How many rows of so many columns go into one statement.
pub(crate) fn rows_at_once(columns: usize) -> usize {
    // The text is the same for every full chunk, so it is prepared once.
    const MAX_ARGUMENTS: usize = 320;
    (MAX_ARGUMENTS / columns).max(1)
}

/// Appends `values ($1, $2), ($3, $4) `.
///
/// To SQLite `$1` is a name, and it looks for names one by one, when a statement is prepared and
/// each time it is bound: there it is `?`.
pub(crate) fn push_values(sql: &mut String, engine: Engine, columns: usize, rows: usize) {
    sql.push_str("values ");
    for row in 0..rows {
        sql.push_str(if row == 0 { "(" } else { ", (" });
        for column in 1..=columns {
            let comma = if column == 1 { "" } else { ", " };
            // Writing to a string does not fail.
            let _ = match engine {
                Engine::Sqlite => write!(sql, "{comma}?"),
                Engine::Postgres => write!(sql, "{comma}${}", row * columns + column),
            };
        }
        sql.push(')');
    }
    sql.push(' ');
}
