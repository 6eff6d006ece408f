//! `/imports`: customers from a spreadsheet, tried first and then applied.

use super::{Group, audit};
use crate::app::App;
use crate::auth::right::Right;
use crate::endpoint::{
    Endpoint, Gives, Head, Takes, Verb, admit, finish, head, json, path, schema_of, verb,
};
use crate::error::{ApiError, ApiResult};
use crate::wire::customer::{BadRow, ImportReport};
use bytes::Buf as _;
use cheling_lookup::import::entry::Reason;
use cheling_lookup::import::profile::Profile;
use cheling_lookup::import::{self, ImportError, Mode, Options, Report};
use cheling_records::session::SignedIn;
use futures_util::TryStreamExt as _;
use serde::Deserialize;
use warp::filters::BoxedFilter;
use warp::multipart::{FormData, Part};
use warp::reply::Response;
use warp::{Filter as _, Rejection};

pub const GROUP: Group = Group { segment: "imports", endpoints: &[&IMPORT], routes };

/// Largest form with its file.
pub const LIMIT_BYTES: usize = 50 * 1024 * 1024;
/// Refused rows that are told; the rest is counted.
const BAD_ROWS: usize = 200;

static IMPORT: Endpoint = Endpoint {
    verb: Verb::Post,
    path: "/imports",
    right: Right::Import,
    summary: "Brings in customers from .csv, .xlsx, .xls, .xlsb or .ods; without apply it only says \
              what would happen",
    query: &[
        ("profile", "Which headers mean what; standard if missing"),
        ("apply", "true: change the customers"),
    ],
    takes: Takes::File,
    gives: Gives::Json(200, schema_of::<ImportReport>()),
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Query {
    profile: Option<String>,
    apply: Option<String>,
}

fn routes(app: &App) -> Vec<BoxedFilter<(Response,)>> {
    let app = app.clone();
    let form = warp::multipart::form().max_length(LIMIT_BYTES as u64);
    let import = path(&IMPORT)
        .and(verb(IMPORT.verb))
        .and(head())
        .and(form)
        .and_then(move |_, head: Head, form: FormData| {
            let app = app.clone();
            async move { Ok::<_, Rejection>(finish(bring_in(&app, &head, form).await)) }
        })
        .boxed();
    vec![import]
}

async fn bring_in(app: &App, head: &Head, form: FormData) -> ApiResult {
    let user = admit(app, &IMPORT, head).await?.ok_or(ApiError::NotSignedIn)?;
    let query: Query = serde_urlencoded::from_str(&head.query)
        .map_err(|error| ApiError::Malformed(format!("query: {error}")))?;
    if !matches!(query.profile.as_deref(), None | Some("" | "standard")) {
        return Err(ApiError::invalid("profile", "there is no such profile"));
    }
    let mode = match query.apply.as_deref() {
        Some("true" | "1") => Mode::Apply,
        _ => Mode::DryRun,
    };
    // A file is held in memory: only so many at once.
    let turn = app.imports.try_acquire();
    let _turn = turn.map_err(|_| ApiError::Unavailable("other imports are running; try again"))?;
    let (file_name, bytes) = file_of(form).await?;
    let report = run(app, &user, file_name, bytes, mode).await?;
    if mode == Mode::Apply {
        let job = ("import_job", report.job.import_job_id.to_string());
        audit(app, head, &user, "customer.import", job).await?;
    }
    json(&told(report, mode))
}

/// The form's part called `file`.
async fn file_of(mut form: FormData) -> Result<(String, Vec<u8>), ApiError> {
    let broken = |error: warp::Error| ApiError::Malformed(format!("form: {error}"));
    while let Some(mut part) = form.try_next().await.map_err(broken)? {
        if part.name() != "file" {
            continue;
        }
        let name = part.filename().unwrap_or("").to_owned();
        return Ok((name, bytes_of(&mut part).await?));
    }
    Err(ApiError::invalid("file", "the form has no part called file"))
}

async fn bytes_of(part: &mut Part) -> Result<Vec<u8>, ApiError> {
    let mut bytes = Vec::new();
    while let Some(chunk) = part.data().await {
        let chunk = chunk.map_err(|error| ApiError::Malformed(format!("form: {error}")))?;
        if bytes.len() + chunk.remaining() > LIMIT_BYTES {
            return Err(ApiError::TooLarge { limit_bytes: LIMIT_BYTES });
        }
        bytes.extend_from_slice(chunk.chunk());
    }
    Ok(bytes)
}

/// Reads the file on a thread of its own: a spreadsheet takes seconds of one core.
async fn run(
    app: &App,
    user: &SignedIn,
    file_name: String,
    bytes: Vec<u8>,
    mode: Mode,
) -> Result<Report, ApiError> {
    let (database, runtime) = (app.database.clone(), tokio::runtime::Handle::current());
    let (dealership_id, user_id, now) = (user.dealership_id, Some(user.user_id), app.now());
    let work = move || {
        let profile = Profile::standard();
        let file_name = file_name.as_str();
        let options = Options { dealership_id, user_id, file_name, profile: &profile, mode, now };
        runtime.block_on(import::run(&database, &bytes, &options, &mut |_| {}))
    };
    let done = tokio::task::spawn_blocking(work).await;
    match done.map_err(|error| ApiError::internal("import", error))? {
        Ok(report) => Ok(report),
        Err(ImportError::Records(error)) => Err(error.into()),
        Err(error @ (ImportError::Table(_) | ImportError::NoHeader)) => {
            Err(ApiError::invalid("file", error.to_string()))
        }
    }
}

fn told(report: Report, mode: Mode) -> ImportReport {
    let count = |rows: i64| u64::try_from(rows).unwrap_or(0);
    let job = report.job;
    ImportReport {
        applied: mode == Mode::Apply,
        rows: count(job.total_rows),
        created: count(job.created_rows),
        updated: count(job.updated_rows),
        unchanged: count(job.skipped_rows),
        bad_rows: report
            .errors
            .into_iter()
            .take(BAD_ROWS)
            .map(|error| BadRow {
                row: count(error.row_number),
                column: error.column_name,
                cell: error.cell,
                reason: in_words(&error.reason).into(),
                reason_code: error.reason,
            })
            .collect(),
        bad_row_count: count(job.bad_rows),
    }
}

/// The sentence of a reason's word.
fn in_words(word: &str) -> &str {
    const ALL: [Reason; 12] = [
        Reason::NameMissing,
        Reason::PhoneMissing,
        Reason::PhoneInvalid,
        Reason::PhoneDigitsLost,
        Reason::VehicleIncomplete,
        Reason::PlateInvalid,
        Reason::VinInvalid,
        Reason::VinTaken,
        Reason::DateInvalid,
        Reason::MileageInvalid,
        Reason::LifecycleInvalid,
        Reason::Conflict,
    ];
    ALL.iter().find(|reason| reason.as_str() == word).map_or(word, |reason| reason.text())
}
