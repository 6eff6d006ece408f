//! The connections to one SQLite file, each lent to one statement or one transaction at a time.
//!
//! sqlx's own pool asks a connection whether it still lives before and after each loan. A file
//! beside us does not hang up, and each question costs two thread switches, as much as a whole
//! statement: without them the rows of a call cost a third.

use crate::Result;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteTransactionManager};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, SqlSafeStr as _};
use sqlx_core::transaction::TransactionManager as _;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How long a statement may wait for a connection.
const PATIENCE: Duration = Duration::from_secs(5);

/// Lends connections. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Lender(Arc<Inner>);

struct Inner {
    options: SqliteConnectOptions,
    size: u32,
    /// One for each connection that may be out.
    permits: Arc<Semaphore>,
    idle: Mutex<Vec<Idle>>,
}

/// A connection that nobody has.
struct Idle {
    connection: SqliteConnection,
    keeps: Keeping,
}

/// What is certain once a transaction is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keeping {
    /// It outlives the process; the machine only after the next checkpoint.
    Process,
    /// It outlives a power cut, and so does whatever was committed before it: all of it is in one
    /// log, which is synced.
    Machine,
}

impl Lender {
    /// Lends up to `size` connections, each opened when it is first needed.
    pub(crate) fn new(options: SqliteConnectOptions, size: u32) -> Self {
        let permits = Arc::new(Semaphore::new(size as usize));
        Self(Arc::new(Inner { options, size, permits, idle: Mutex::default() }))
    }

    /// Waits for a connection.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`] if all are out for too long, or after [`Lender::close`].
    pub(crate) async fn lend(&self) -> Result<Loan> {
        let permit = Arc::clone(&self.0.permits).acquire_owned();
        let permit = tokio::time::timeout(PATIENCE, permit)
            .await
            .map_err(|_| sqlx::Error::PoolTimedOut)?
            .map_err(|_| sqlx::Error::PoolClosed)?;
        let idle = self.0.idle().pop();
        let Idle { connection, keeps } = match idle {
            Some(idle) => idle,
            None => Idle { connection: self.0.options.connect().await?, keeps: Keeping::Process },
        };
        Ok(Loan {
            connection: Some(connection),
            keeps,
            in_transaction: false,
            lender: Arc::clone(&self.0),
            _permit: permit,
        })
    }

    /// Waits until all are back, and closes them.
    pub(crate) async fn close(&self) {
        // Closed already, otherwise.
        let Ok(all) = self.0.permits.acquire_many(self.0.size).await else { return };
        self.0.permits.close();
        drop(all);
        let idle = std::mem::take(&mut *self.0.idle());
        for idle in idle {
            // All was committed that was to be; the rest is SQLite's to repair at the next opening.
            let _ = idle.connection.close().await;
        }
    }
}

impl fmt::Debug for Lender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lender").field("size", &self.0.size).finish_non_exhaustive()
    }
}

impl Inner {
    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection on loan; it goes back when this is dropped, without what was not committed.
pub(crate) struct Loan {
    /// `None` once its thread has died.
    connection: Option<SqliteConnection>,
    /// What the connection was told last; never more than it does.
    keeps: Keeping,
    in_transaction: bool,
    lender: Arc<Inner>,
    _permit: OwnedSemaphorePermit,
}

impl Loan {
    /// The connection.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`] if it is found to be dead.
    pub(crate) fn connection(&mut self) -> Result<&mut SqliteConnection> {
        Ok(self.connection.as_mut().ok_or(sqlx::Error::WorkerCrashed)?)
    }

    /// Looks whether an answer means that the connection is dead; it is not lent again then.
    pub(crate) fn checked<T>(&mut self, answer: sqlx::Result<T>) -> Result<T> {
        if let Err(sqlx::Error::WorkerCrashed) = &answer {
            self.connection = None;
        }
        Ok(answer?)
    }

    /// Begins a transaction that may write at once: a deferred one could find, halfway, that
    /// another process wrote before it.
    pub(crate) async fn begin(&mut self, keeping: Keeping) -> Result<()> {
        self.keep(keeping).await?;
        let begin = AssertSqlSafe("begin immediate").into_sql_str();
        let begun = SqliteTransactionManager::begin(self.connection()?, Some(begin)).await;
        self.checked(begun)?;
        self.in_transaction = true;
        Ok(())
    }

    /// Says what the next transactions are to outlive. SQLite takes no such word inside of one.
    async fn keep(&mut self, keeping: Keeping) -> Result<()> {
        if self.keeps == keeping {
            return Ok(());
        }
        // Whoever asks may give up before the answer comes.
        self.keeps = Keeping::Process;
        let pragma = match keeping {
            Keeping::Process => "pragma synchronous = normal",
            Keeping::Machine => "pragma synchronous = full",
        };
        let told = sqlx::query(pragma).execute(self.connection()?).await;
        self.checked(told)?;
        self.keeps = keeping;
        Ok(())
    }

    /// Makes the transaction so.
    pub(crate) async fn commit(&mut self) -> Result<()> {
        let committed = SqliteTransactionManager::commit(self.connection()?).await;
        self.checked(committed)?;
        self.in_transaction = false;
        Ok(())
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        let Some(mut connection) = self.connection.take() else { return };
        if self.in_transaction {
            // Goes into the connection's queue, before whatever the next borrower asks.
            SqliteTransactionManager::start_rollback(&mut connection);
        }
        self.lender.idle().push(Idle { connection, keeps: self.keeps });
    }
}

impl fmt::Debug for Loan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loan").field("in_transaction", &self.in_transaction).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use crate::database::{Database, On};

    async fn database() -> (tempfile::TempDir, Database) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("test.db");
        let db = Database::open(&format!("sqlite://{}", path.display())).await.unwrap();
        On::from(&db).execute("create table thing (n integer)", vec![]).await.unwrap();
        (folder, db)
    }

    async fn count(db: &Database) -> i64 {
        On::from(db).scalar("select count(*) from thing", vec![]).await.unwrap()
    }

    #[tokio::test]
    async fn what_is_not_committed_is_gone_for_the_next_borrower() {
        let (_folder, db) = database().await;
        for _ in 0..3 {
            let mut tx = db.begin().await.unwrap();
            On::from(&mut tx).execute("insert into thing values (1)", vec![]).await.unwrap();
        }
        let mut tx = db.begin().await.unwrap();
        On::from(&mut tx).execute("insert into thing values (2)", vec![]).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(count(&db).await, 1);
        db.close().await;
    }

    #[tokio::test]
    async fn a_statement_that_nobody_waits_for_any_more_harms_no_other() {
        let (_folder, db) = database().await;
        for _ in 0..20 {
            let insert = async {
                let mut tx = db.begin().await.unwrap();
                On::from(&mut tx).execute("insert into thing values (1)", vec![]).await.unwrap();
                tx.commit().await.unwrap();
            };
            // Gives up at the first wait that is not over at once.
            let _ = polled_once(insert).await;
            let sql = "insert into thing values (2)";
            On::from(&db).execute(sql, vec![]).await.unwrap();
        }
        let kept: i64 =
            On::from(&db).scalar("select count(*) from thing where n = 2", vec![]).await.unwrap();
        assert_eq!(kept, 20);
        db.close().await;
    }

    async fn polled_once<F: Future<Output = ()>>(future: F) -> bool {
        let mut future = std::pin::pin!(future);
        std::future::poll_fn(|context| std::task::Poll::Ready(future.as_mut().poll(context)))
            .await
            .is_ready()
    }

    #[tokio::test]
    async fn a_durable_transaction_is_synced_whoever_gave_up_before() {
        let (_folder, db) = database().await;
        for (is_durable, mode) in [(false, 1), (true, 2), (true, 2), (false, 1), (true, 2)] {
            let begun = if is_durable { db.begin_durable().await } else { db.begin().await };
            let mut tx = begun.unwrap();
            let found: i64 = On::from(&mut tx).scalar("pragma synchronous", vec![]).await.unwrap();
            assert_eq!(found, mode, "1 is normal, 2 is full");
            tx.commit().await.unwrap();
        }
        for _ in 0..20 {
            // Whoever asks is gone before the connection has answered.
            let _ = polled_once(async { drop(db.begin().await) }).await;
            let _ = polled_once(async { drop(db.begin_durable().await) }).await;
            let _ = polled_once(async { drop(db.begin().await) }).await;
            let mut tx = db.begin_durable().await.unwrap();
            let mode: i64 = On::from(&mut tx).scalar("pragma synchronous", vec![]).await.unwrap();
            assert_eq!(mode, 2);
        }
        db.close().await;
    }

    #[tokio::test]
    async fn after_closing_nothing_is_lent() {
        let (_folder, db) = database().await;
        db.close().await;
        db.close().await;
        assert!(matches!(db.ping().await, Err(crate::Error::Unavailable(_))));
    }
}
