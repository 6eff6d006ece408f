//! What can go wrong with the database, by what a caller does about it.

/// Why a statement did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The row does not exist, or belongs to another dealership.
    #[error("not found")]
    NotFound,
    /// Another row already has this value: tell the person which field.
    #[error("{field} is already taken")]
    Conflict {
        /// The column that must be unique.
        field: String,
    },
    /// A rule of the table, or a reference to a row that is not there.
    #[error("refused by the database: {0}")]
    Refused(String),
    /// The database cannot be reached or is busy: try again later.
    #[error("database unavailable: {0}")]
    Unavailable(String),
    /// A row holds what this version cannot read.
    #[error("unreadable row: {0}")]
    Corrupt(String),
    /// The URL or the schema is not what this version expects.
    #[error("cannot open the database: {0}")]
    Open(String),
    /// A statement is wrong: a bug of ours.
    #[error("statement failed: {0}")]
    Statement(String),
}

impl From<sqlx::Error> for Error {
    fn from(err: sqlx::Error) -> Self {
        use sqlx::error::ErrorKind;
        match err {
            sqlx::Error::RowNotFound => Self::NotFound,
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => Self::Unavailable(err.to_string()),
            sqlx::Error::Database(db) => match db.kind() {
                ErrorKind::UniqueViolation => Self::Conflict { field: conflicting(db.as_ref()) },
                ErrorKind::ForeignKeyViolation
                | ErrorKind::NotNullViolation
                | ErrorKind::CheckViolation => Self::Refused(db.message().to_owned()),
                _ if is_transient(db.as_ref()) => Self::Unavailable(db.message().to_owned()),
                _ => Self::Statement(db.message().to_owned()),
            },
            other => Self::Statement(other.to_string()),
        }
    }
}

/// Busy or locked (SQLite 5, 6), disk full (13), or PostgreSQL's classes for lost connections,
/// lack of resources, intervention and deadlock.
fn is_transient(err: &(dyn sqlx::error::DatabaseError + 'static)) -> bool {
    let Some(code) = err.code() else { return false };
    if let Ok(code) = code.parse::<u32>()
        && code < 10_000
    {
        return matches!(code & 0xff, 5 | 6 | 13);
    }
    ["08", "53", "57", "40"].iter().any(|class| code.starts_with(class))
}

/// The last column of the violated constraint: of a key scoped by dealership, the one typed in.
fn conflicting(err: &(dyn sqlx::error::DatabaseError + 'static)) -> String {
    let text = match err.try_downcast_ref::<sqlx::postgres::PgDatabaseError>() {
        // Key (dealership_id, customer_no)=(…) already exists.
        Some(pg) => pg
            .detail()
            .and_then(|detail| detail.split_once('('))
            .and_then(|(_, rest)| rest.split_once(')'))
            .map_or("", |(columns, _)| columns),
        // UNIQUE constraint failed: customer.dealership_id, customer.customer_no
        None => err.message().rsplit_once(": ").map_or("", |(_, columns)| columns),
    };
    let column = text.rsplit(',').next().unwrap_or("").trim();
    column.rsplit('.').next().unwrap_or("").to_owned()
}
