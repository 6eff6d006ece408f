//! Import runs and the rows they refused.

use crate::Result;
use crate::database::On;
use crate::row::{Read as _, row};
use crate::value::args;
use cheling_model::{DealershipId, Timestamp, UserId};
use uuid::Uuid;

/// Where an import stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Rows are being read.
    Running,
    /// All rows were read; some may have been refused.
    Done,
    /// It stopped before the end.
    Failed,
}

impl JobState {
    /// The word used in JSON and SQL.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }

    /// The variant of a word, if it is one.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Running, Self::Done, Self::Failed].into_iter().find(|it| it.as_str() == word)
    }
}

row! {
    /// One import run.
    ImportJob in "import_job" {
        import_job_id: Uuid = "import_job_id",
        dealership_id: DealershipId = "dealership_id",
        /// None: from the command line.
        user_id: Option<UserId> = "user_id",
        file_name: String = "file_name",
        profile: String = "profile",
        dry_run: bool = "dry_run",
        state: JobState = "state",
        total_rows: i64 = "total_rows",
        created_rows: i64 = "created_rows",
        updated_rows: i64 = "updated_rows",
        skipped_rows: i64 = "skipped_rows",
        bad_rows: i64 = "bad_rows",
        started_at: Timestamp = "started_at_us",
        finished_at: Option<Timestamp> = "finished_at_us",
    }
}

row! {
    /// Why a row was refused.
    RowError in "import_row_error" {
        import_job_id: Uuid = "import_job_id",
        /// Counts the errors of one job from 0.
        position: i64 = "position",
        /// As the spreadsheet counts, from 1.
        row_number: i64 = "row_number",
        column_name: String = "column_name",
        cell: String = "cell",
        reason: String = "reason",
    }
}

/// Writes how far a run has come.
///
/// # Errors
/// [`crate::Error::NotFound`].
pub async fn update(on: impl Into<On<'_>>, job: &ImportJob) -> Result<()> {
    let sql = "update import_job set state = $2, total_rows = $3, created_rows = $4, \
               updated_rows = $5, skipped_rows = $6, bad_rows = $7, finished_at_us = $8 \
               where import_job_id = $1";
    let args = args![
        job.import_job_id,
        job.state,
        job.total_rows,
        job.created_rows,
        job.updated_rows,
        job.skipped_rows,
        job.bad_rows,
        job.finished_at
    ];
    on.into().change(sql, args).await
}

/// One run of a dealership.
///
/// # Errors
/// [`crate::Error::NotFound`].
pub async fn find(
    on: impl Into<On<'_>>,
    dealership_id: DealershipId,
    import_job_id: Uuid,
) -> Result<ImportJob> {
    let sql = format!(
        "select {} from import_job where dealership_id = $1 and import_job_id = $2",
        ImportJob::columns()
    );
    on.into().one(sql, args![dealership_id, import_job_id]).await
}

/// The last runs of a dealership.
///
/// # Errors
/// [`crate::Error::Unavailable`].
pub async fn list(
    on: impl Into<On<'_>>,
    dealership_id: DealershipId,
    limit: u32,
) -> Result<Vec<ImportJob>> {
    let sql = format!(
        "select {} from import_job where dealership_id = $1 order by started_at_us desc limit $2",
        ImportJob::columns()
    );
    on.into().list(sql, args![dealership_id, i64::from(limit)]).await
}

/// The refused rows of a run, in the order of the file.
///
/// # Errors
/// [`crate::Error::Unavailable`].
pub async fn errors(
    on: impl Into<On<'_>>,
    import_job_id: Uuid,
    limit: u32,
) -> Result<Vec<RowError>> {
    let sql = format!(
        "select {} from import_row_error where import_job_id = $1 order by position limit $2",
        RowError::columns()
    );
    on.into().list(sql, args![import_job_id, i64::from(limit)]).await
}
