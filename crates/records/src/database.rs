//! A database of either engine, and the one place where a statement meets its driver.
//!
//! SQLite: one writing connection and a few reading ones, WAL. PostgreSQL: one pool.

use crate::row::Read;
use crate::sqlite::{Keeping, Lender, Loan};
use crate::value::{Row, Value};
use crate::{Error, Result, migration};
use sqlx::postgres::{PgArguments, PgPool, PgPoolOptions};
use sqlx::sqlite::{SqliteArguments, SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{Arguments as _, AssertSqlSafe};
use std::borrow::Cow;
use std::str::FromStr as _;
use std::time::Duration;

/// Connections that only read, of a SQLite file.
const SQLITE_READERS: u32 = 4;
/// Connections to PostgreSQL.
const POSTGRES_CONNECTIONS: u32 = 10;
/// Pages of write-ahead log (4 KiB each) at which SQLite folds it in by itself, in the middle of
/// somebody's commit: so many that [`Database::checkpoint`] comes first.
const WAL_PAGES: &str = "32768";
/// How long a statement may wait for a connection or a lock.
const PATIENCE: Duration = Duration::from_secs(5);

/// Which engine answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// A file beside us.
    Sqlite,
    /// A server.
    Postgres,
}

/// An open, migrated database. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Database(Pool);

#[derive(Clone, Debug)]
enum Pool {
    Sqlite { read: Lender, write: Lender, checkpoint: Lender },
    Postgres(PgPool),
}

/// Several writes that happen together or not at all; rolled back if dropped.
#[derive(Debug)]
pub struct Transaction(Open);

#[derive(Debug)]
enum Open {
    Sqlite(Loan),
    Postgres(sqlx::Transaction<'static, sqlx::Postgres>),
}

/// Where a statement runs: on the database, or inside a transaction.
#[derive(Debug)]
pub enum On<'a> {
    /// On its own.
    Database(&'a Database),
    /// With others.
    Transaction(&'a mut Transaction),
}

impl<'a> From<&'a Database> for On<'a> {
    fn from(db: &'a Database) -> Self {
        Self::Database(db)
    }
}

impl<'a> From<&'a mut Transaction> for On<'a> {
    fn from(tx: &'a mut Transaction) -> Self {
        Self::Transaction(tx)
    }
}

impl<'a> From<&'a mut On<'_>> for On<'a> {
    fn from(on: &'a mut On<'_>) -> Self {
        match on {
            On::Database(db) => Self::Database(db),
            On::Transaction(tx) => Self::Transaction(tx),
        }
    }
}

impl Database {
    /// Opens `sqlite://path` (created if it is not there) or `postgres://…`, and migrates it.
    ///
    /// # Errors
    /// [`Error::Open`] if the URL is neither, or the schema is of a later version;
    /// [`Error::Unavailable`] if it cannot be reached.
    pub async fn open(url: &str) -> Result<Self> {
        let pool = if url.starts_with("sqlite:") {
            let options = SqliteConnectOptions::from_str(url)
                .map_err(|err| Error::Open(err.to_string()))?
                .create_if_missing(true)
                .journal_mode(SqliteJournalMode::Wal)
                .synchronous(SqliteSynchronous::Normal)
                .foreign_keys(true)
                .busy_timeout(PATIENCE)
                .pragma("wal_autocheckpoint", WAL_PAGES)
                .statement_cache_capacity(300);
            let write = Lender::new(options.clone(), 1);
            migration::migrator(Engine::Sqlite)
                .run(write.lend().await?.connection()?)
                .await
                .map_err(|err| Error::Open(err.to_string()))?;
            let checkpoint = Lender::new(options.clone(), 1);
            let read = Lender::new(options.pragma("query_only", "on"), SQLITE_READERS);
            Pool::Sqlite { read, write, checkpoint }
        } else if url.starts_with("postgres:") || url.starts_with("postgresql:") {
            let pool = PgPoolOptions::new()
                .max_connections(POSTGRES_CONNECTIONS)
                .acquire_timeout(PATIENCE)
                .connect(url)
                .await
                .map_err(|err| match err {
                    sqlx::Error::Configuration(err) => Error::Open(err.to_string()),
                    err => err.into(),
                })?;
            migration::migrator(Engine::Postgres)
                .run(&pool)
                .await
                .map_err(|err| Error::Open(err.to_string()))?;
            Pool::Postgres(pool)
        } else {
            return Err(Error::Open("the URL begins with neither sqlite: nor postgres:".into()));
        };
        Ok(Self(pool))
    }

    /// Which engine answers.
    pub fn engine(&self) -> Engine {
        match self.0 {
            Pool::Sqlite { .. } => Engine::Sqlite,
            Pool::Postgres(_) => Engine::Postgres,
        }
    }

    /// Begins a transaction. On SQLite it holds the one writing connection until it ends, and a
    /// power cut may take back what was committed in the last seconds.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn begin(&self) -> Result<Transaction> {
        self.begin_keeping(Keeping::Process).await
    }

    /// Begins a transaction that a power cut does not take back once it is committed, nor any that
    /// was committed before it: for whoever gives up what it was made of.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn begin_durable(&self) -> Result<Transaction> {
        self.begin_keeping(Keeping::Machine).await
    }

    async fn begin_keeping(&self, keeping: Keeping) -> Result<Transaction> {
        Ok(Transaction(match &self.0 {
            Pool::Sqlite { write, .. } => {
                let mut loan = write.lend().await?;
                loan.begin(keeping).await?;
                Open::Sqlite(loan)
            }
            Pool::Postgres(pool) => Open::Postgres(pool.begin().await?),
        }))
    }

    /// Answers whether it answers.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn ping(&self) -> Result<()> {
        On::from(self).fetch("select 1", vec![]).await.map(|_| ())
    }

    /// A number that is another one once somebody else has written to the SQLite file: another
    /// process, for all that is written here goes over the connection that is asked. `None` from
    /// PostgreSQL, which does not tell.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn written_elsewhere(&self) -> Result<Option<i64>> {
        let Pool::Sqlite { write, .. } = &self.0 else { return Ok(None) };
        let mut loan = write.lend().await?;
        let asked = sqlx::query_scalar("pragma data_version");
        let version = asked.fetch_one(loan.connection()?).await;
        Ok(Some(loan.checked(version)?))
    }

    /// Brings the planner's figures up to date after many inserts.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn analyze(&self) -> Result<()> {
        On::from(self).execute("analyze", vec![]).await.map(|_| ())
    }

    /// Folds what was written lately into SQLite's file, on a connection of its own: whoever is
    /// writing does not wait for the disk. To be called every few seconds by a process that lives
    /// long; PostgreSQL does this itself.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn checkpoint(&self) -> Result<()> {
        if let Pool::Sqlite { checkpoint, .. } = &self.0 {
            let mut loan = checkpoint.lend().await?;
            let query = sqlx::query("pragma wal_checkpoint(passive)");
            let folded = query.execute(loan.connection()?).await;
            loan.checked(folded)?;
        }
        Ok(())
    }

    /// Closes every connection and waits for it; a SQLite file's WAL is folded in.
    pub async fn close(&self) {
        match &self.0 {
            Pool::Sqlite { read, write, checkpoint } => {
                checkpoint.close().await;
                read.close().await;
                write.close().await;
            }
            Pool::Postgres(pool) => pool.close().await,
        }
    }
}

impl Transaction {
    /// Makes it so.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: nothing of it happened.
    pub async fn commit(self) -> Result<()> {
        match self.0 {
            Open::Sqlite(mut loan) => loan.commit().await?,
            Open::Postgres(tx) => tx.commit().await?,
        }
        Ok(())
    }
}

/// Runs `$call` with the driver, its arguments and an executor for this statement.
macro_rules! on_driver {
    ($on:expr, $access:ident, $sql:expr, $args:expr, $call:ident, $wrap:ident) => {{
        let sql = AssertSqlSafe($sql.into());
        match $on {
            On::Database(Database(Pool::Sqlite { $access: lender, .. })) => {
                let query = sqlx::query_with(sql, sqlite_arguments($args)?);
                let mut loan = lender.lend().await?;
                let answer = query.$call(loan.connection()?).await;
                loan.checked(answer).map($wrap::sqlite)
            }
            On::Database(Database(Pool::Postgres(pool))) => {
                let query = sqlx::query_with(sql, postgres_arguments($args)?);
                query.$call(pool).await.map($wrap::postgres).map_err(Error::from)
            }
            On::Transaction(Transaction(Open::Sqlite(loan))) => {
                let query = sqlx::query_with(sql, sqlite_arguments($args)?);
                let answer = query.$call(loan.connection()?).await;
                loan.checked(answer).map($wrap::sqlite)
            }
            On::Transaction(Transaction(Open::Postgres(tx))) => {
                let query = sqlx::query_with(sql, postgres_arguments($args)?);
                query.$call(&mut **tx).await.map($wrap::postgres).map_err(Error::from)
            }
        }
    }};
}

/// A statement's text; `&'static str` or built from constants, never from input.
///
/// A `limit` that is always the same stands in the text: SQLite plans a statement anew each time
/// after an argument for a limit is bound, which costs several times what running it does.
pub type Sql = Cow<'static, str>;

impl On<'_> {
    /// Which engine answers.
    pub(crate) fn engine(&self) -> Engine {
        match self {
            On::Database(db) => db.engine(),
            On::Transaction(Transaction(Open::Sqlite(_))) => Engine::Sqlite,
            On::Transaction(Transaction(Open::Postgres(_))) => Engine::Postgres,
        }
    }

    /// Rows of a `select`.
    ///
    /// # Errors
    /// [`Error::Unavailable`] or [`Error::Statement`].
    pub async fn fetch(&mut self, sql: impl Into<Sql>, args: Vec<Value>) -> Result<Vec<Row>> {
        on_driver!(self, read, sql, args, fetch_all, rows)
    }

    /// Rows of a statement that writes (`returning`).
    ///
    /// # Errors
    /// [`Error::Conflict`], [`Error::Refused`], [`Error::Unavailable`] or [`Error::Statement`].
    pub async fn fetch_written(
        &mut self,
        sql: impl Into<Sql>,
        args: Vec<Value>,
    ) -> Result<Vec<Row>> {
        on_driver!(self, write, sql, args, fetch_all, rows)
    }

    /// Writes; answers how many rows it touched.
    ///
    /// # Errors
    /// [`Error::Conflict`], [`Error::Refused`], [`Error::Unavailable`] or [`Error::Statement`].
    pub async fn execute(&mut self, sql: impl Into<Sql>, args: Vec<Value>) -> Result<u64> {
        on_driver!(self, write, sql, args, execute, affected)
    }

    /// Structs of a `select` of their columns.
    ///
    /// # Errors
    /// As [`On::fetch`], and [`Error::Corrupt`].
    pub async fn list<T: Read>(&mut self, sql: impl Into<Sql>, args: Vec<Value>) -> Result<Vec<T>> {
        self.fetch(sql, args).await?.iter().map(|row| T::read(&mut row.cells())).collect()
    }

    /// The first struct of a `select`, if there is one.
    ///
    /// # Errors
    /// As [`On::list`].
    pub async fn find<T: Read>(
        &mut self,
        sql: impl Into<Sql>,
        args: Vec<Value>,
    ) -> Result<Option<T>> {
        Ok(self.list(sql, args).await?.into_iter().next())
    }

    /// The only struct of a `select`.
    ///
    /// # Errors
    /// As [`On::list`], and [`Error::NotFound`] if there is none.
    pub async fn one<T: Read>(&mut self, sql: impl Into<Sql>, args: Vec<Value>) -> Result<T> {
        self.find(sql, args).await?.ok_or(Error::NotFound)
    }

    /// The first cell of the first row, which must be there.
    ///
    /// # Errors
    /// As [`On::one`].
    pub async fn scalar<C: crate::value::Cell>(
        &mut self,
        sql: impl Into<Sql>,
        args: Vec<Value>,
    ) -> Result<C> {
        let rows = self.fetch(sql, args).await?;
        rows.first().ok_or(Error::NotFound)?.cells().take()
    }

    /// Writes, and insists that a row was there to be written.
    ///
    /// # Errors
    /// As [`On::execute`], and [`Error::NotFound`].
    pub async fn change(&mut self, sql: impl Into<Sql>, args: Vec<Value>) -> Result<()> {
        match self.execute(sql, args).await? {
            0 => Err(Error::NotFound),
            _ => Ok(()),
        }
    }
}

fn sqlite_arguments(values: Vec<Value>) -> Result<SqliteArguments> {
    let mut arguments = SqliteArguments::default();
    for value in values {
        match value {
            Value::Uuid(value) => arguments.add(value),
            Value::Int(value) => arguments.add(value),
            Value::Text(value) => arguments.add(value),
            Value::Bool(value) => arguments.add(value),
            Value::Real(value) => arguments.add(value),
            Value::Bytes(value) => arguments.add(value),
        }
        .map_err(|err| Error::Statement(err.to_string()))?;
    }
    Ok(arguments)
}

fn postgres_arguments(values: Vec<Value>) -> Result<PgArguments> {
    let mut arguments = PgArguments::default();
    for value in values {
        match value {
            Value::Uuid(value) => arguments.add(value),
            Value::Int(value) => arguments.add(value),
            // PostgreSQL keeps no NUL in text; nothing of ours needs one.
            Value::Text(value) => arguments.add(value.map(|text| text.replace('\0', ""))),
            Value::Bool(value) => arguments.add(value),
            Value::Real(value) => arguments.add(value),
            Value::Bytes(value) => arguments.add(value),
        }
        .map_err(|err| Error::Statement(err.to_string()))?;
    }
    Ok(arguments)
}

mod rows {
    use super::Row;
    pub(super) fn sqlite(rows: Vec<sqlx::sqlite::SqliteRow>) -> Vec<Row> {
        rows.into_iter().map(Row::Sqlite).collect()
    }
    pub(super) fn postgres(rows: Vec<sqlx::postgres::PgRow>) -> Vec<Row> {
        rows.into_iter().map(Row::Postgres).collect()
    }
}

mod affected {
    pub(super) fn sqlite(result: sqlx::sqlite::SqliteQueryResult) -> u64 {
        result.rows_affected()
    }
    pub(super) fn postgres(result: sqlx::postgres::PgQueryResult) -> u64 {
        result.rows_affected()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_another_process_writes_is_told_from_what_this_one_does() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("two.db").display());
        let (here, there) =
            (Database::open(&url).await.unwrap(), Database::open(&url).await.unwrap());
        On::from(&here).execute("create table filler (n integer)", vec![]).await.unwrap();
        let insert = |db: &Database| {
            let db = db.clone();
            async move {
                On::from(&db).execute("insert into filler values (1)", vec![]).await.unwrap();
            }
        };
        let mut known = here.written_elsewhere().await.unwrap();
        for _ in 0..3 {
            insert(&here).await;
            here.begin_durable().await.unwrap().commit().await.unwrap();
            here.checkpoint().await.unwrap();
            here.ping().await.unwrap();
            assert_eq!(here.written_elsewhere().await.unwrap(), known);
            insert(&there).await;
            let now = here.written_elsewhere().await.unwrap();
            assert_ne!(now, known);
            known = now;
        }
        here.close().await;
        there.close().await;
    }

    #[tokio::test]
    async fn a_checkpoint_folds_the_log_into_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.db");
        let db = Database::open(&format!("sqlite://{}", path.display())).await.unwrap();
        db.checkpoint().await.unwrap();
        let before = std::fs::metadata(&path).unwrap().len();
        On::from(&db).execute("create table filler (text text)", vec![]).await.unwrap();
        for _ in 0..50 {
            let sql = "insert into filler (text) values (hex(zeroblob(4096)))";
            On::from(&db).execute(sql, vec![]).await.unwrap();
        }
        assert_eq!(std::fs::metadata(&path).unwrap().len(), before, "a commit folded it in");
        db.checkpoint().await.unwrap();
        assert!(std::fs::metadata(&path).unwrap().len() > before);
        db.close().await;
    }
}
