//! Dealerships, settings, the audit log, and keys that make a request happen once.

use crate::database::On;
use crate::row::{Page, Read as _, cursor, fetch_limit, parse_cursor, row};
use crate::value::args;
use crate::{Result, Value, insert};
use cheling_model::{CallId, DealershipId, Timestamp, UserId};
use uuid::Uuid;

row! {
    /// A dealership (4S店).
    Dealership in "dealership" {
        dealership_id: DealershipId = "dealership_id",
        name: String = "name",
        /// `021`: put before local numbers.
        area_code: String = "area_code",
        created_at: Timestamp = "created_at_us",
    }
}

row! {
    /// One line of the audit log.
    Audit in "audit_log" {
        audit_id: Uuid = "audit_id",
        dealership_id: DealershipId = "dealership_id",
        /// None: the system, or a failed sign-in.
        user_id: Option<UserId> = "user_id",
        /// `recording.listen`, `session.create` …
        action: String = "action",
        object_kind: String = "object_kind",
        object_id: String = "object_id",
        ip: String = "ip",
        reason: String = "reason",
        detail: String = "detail",
        at: Timestamp = "at_us",
    }
}

/// All dealerships, by name.
///
/// # Errors
/// [`crate::Error::Unavailable`].
pub async fn dealerships(on: impl Into<On<'_>>) -> Result<Vec<Dealership>> {
    let sql = format!("select {} from dealership order by name", Dealership::columns());
    on.into().list(sql, args![]).await
}

/// One dealership.
///
/// # Errors
/// [`crate::Error::NotFound`].
pub async fn dealership(on: impl Into<On<'_>>, id: DealershipId) -> Result<Dealership> {
    let sql = format!("select {} from dealership where dealership_id = $1", Dealership::columns());
    on.into().one(sql, args![id]).await
}

/// A setting's JSON text.
///
/// # Errors
/// [`crate::Error::Unavailable`].
pub async fn setting(
    on: impl Into<On<'_>>,
    dealership_id: DealershipId,
    name: &str,
) -> Result<Option<String>> {
    let sql = "select value from setting where dealership_id = $1 and name = $2";
    let rows = on.into().fetch(sql, args![dealership_id, name]).await?;
    rows.first().map(|row| row.cells().take()).transpose()
}

/// Writes a setting.
///
/// # Errors
/// [`crate::Error::Refused`] if there is no such dealership.
pub async fn set_setting(
    on: impl Into<On<'_>>,
    dealership_id: DealershipId,
    name: &str,
    value: &str,
    at: Timestamp,
) -> Result<()> {
    let sql = "insert into setting (dealership_id, name, value, updated_at_us) \
               values ($1, $2, $3, $4) on conflict (dealership_id, name) do update \
               set value = excluded.value, updated_at_us = excluded.updated_at_us";
    on.into().execute(sql, args![dealership_id, name, value, at]).await.map(|_| ())
}

/// Writes one line of the audit log.
///
/// # Errors
/// [`crate::Error::Unavailable`].
pub async fn audit(on: impl Into<On<'_>>, line: &Audit) -> Result<()> {
    insert(on, line).await
}

/// The audit log, newest first.
///
/// # Errors
/// [`crate::Error::Refused`] for a cursor that is none.
pub async fn audit_log(
    on: impl Into<On<'_>>,
    dealership_id: DealershipId,
    after: Option<&str>,
    limit: u32,
) -> Result<Page<Audit>> {
    let (at, id) = match after {
        Some(after) => parse_cursor::<i64>(after)?,
        None => (i64::MAX, Uuid::max()),
    };
    let sql = format!(
        "select {} from audit_log where dealership_id = $1 and (at_us, audit_id) < ($2, $3) \
         order by at_us desc, audit_id desc limit $4",
        Audit::columns()
    );
    let items = on.into().list(sql, args![dealership_id, at, id, fetch_limit(limit)]).await?;
    Ok(Page::cut(items, limit, |line: &Audit| cursor(line.at.as_micros(), line.audit_id)))
}

/// Claims a key for a call about to be made. Answers the call that already has it, if one has:
/// then nothing is to be dialled.
///
/// # Errors
/// [`crate::Error::Refused`] for an empty key.
pub async fn claim_idempotency(
    on: impl Into<On<'_>>,
    user_id: UserId,
    key: &str,
    call_id: CallId,
    at: Timestamp,
) -> Result<Option<CallId>> {
    let mut on = on.into();
    let sql = "insert into idempotency (user_id, idempotency_key, call_id, created_at_us) \
               values ($1, $2, $3, $4) on conflict (user_id, idempotency_key) do nothing";
    if on.execute(sql, args![user_id, key, call_id, at]).await? == 1 {
        return Ok(None);
    }
    let sql = "select call_id from idempotency where user_id = $1 and idempotency_key = $2";
    on.scalar(sql, args![user_id, key]).await.map(Some)
}

/// Forgets keys older than `before`.
///
/// # Errors
/// [`crate::Error::Unavailable`].
pub async fn purge_idempotency(on: impl Into<On<'_>>, before: Timestamp) -> Result<u64> {
    on.into().execute("delete from idempotency where created_at_us < $1", args![before]).await
}

/// A `where` that grows.
#[derive(Debug)]
pub(crate) struct Filter {
    /// The statement so far.
    pub(crate) sql: String,
    /// Its arguments so far.
    pub(crate) args: Vec<Value>,
}

impl Filter {
    /// Begins with a statement that already has its `where` and these arguments.
    pub(crate) fn new(sql: String, args: Vec<Value>) -> Self {
        Self { sql, args }
    }

    /// Adds a condition; every `$?` in it is this value.
    pub(crate) fn and(&mut self, condition: &str, value: impl Into<Value>) {
        self.args.push(value.into());
        let number = format!("${}", self.args.len());
        self.sql.push_str(" and ");
        self.sql.push_str(&condition.replace("$?", &number));
    }

    /// Adds a condition if there is a value for it.
    pub(crate) fn and_some(&mut self, condition: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.and(condition, value);
        }
    }

    /// Adds text without values.
    pub(crate) fn push(&mut self, sql: &str) {
        self.sql.push_str(sql);
    }

    /// Binds a value and answers its `$n`.
    pub(crate) fn bind(&mut self, value: impl Into<Value>) -> String {
        self.args.push(value.into());
        format!("${}", self.args.len())
    }
}

/// A `like` pattern that finds `text` anywhere; to be used with `escape '!'`.
pub(crate) fn contains(text: &str) -> String {
    format!("%{}%", escape(text))
}

/// A `like` pattern that finds `text` at the beginning; to be used with `escape '!'`.
pub(crate) fn begins(text: &str) -> String {
    format!("{}%", escape(text))
}

fn escape(text: &str) -> String {
    text.replace('!', "!!").replace('%', "!%").replace('_', "!_")
}
