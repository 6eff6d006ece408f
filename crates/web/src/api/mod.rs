//! The API, one file for each first segment of its paths.

use crate::app::App;
use crate::endpoint::{Endpoint, Head};
use crate::error::ApiError;
use cheling_records::admin::Audit;
use cheling_records::session::SignedIn;
use cheling_records::{admin, mint};
use std::time::Duration;
use warp::filters::BoxedFilter;
use warp::reply::Response;

pub mod alarms;
pub mod audio;
pub mod call_control;
pub mod call_rows;
pub mod calls;
pub mod colleagues;
pub mod customers;
pub mod extensions;
pub mod follow_ups;
pub mod imports;
pub mod lines;
pub mod lookup;
pub mod opus_copy;
pub mod oversight;
pub mod recording_format;
pub mod recordings;
pub mod sessions;
pub mod trunks;
pub mod users;
pub mod ws;

/// The paths that begin with one segment.
pub struct Group {
    /// The segment.
    pub segment: &'static str,
    /// Their descriptions.
    pub endpoints: &'static [&'static Endpoint],
    /// Their routes.
    pub routes: fn(&App) -> Vec<BoxedFilter<(Response,)>>,
}

/// All of the API.
pub const GROUPS: &[Group] = &[
    sessions::GROUP,
    calls::GROUP,
    recordings::GROUP,
    customers::GROUP,
    lookup::GROUP,
    imports::GROUP,
    follow_ups::GROUP,
    users::GROUP,
    colleagues::GROUP,
    extensions::GROUP,
    lines::GROUP,
    recording_format::GROUP,
    alarms::GROUP,
    trunks::GROUP,
    ws::GROUP,
];

/// Rows of a page unless asked otherwise.
const PAGE_ROWS: u32 = 50;
/// How long the switch may take to say who is registered; a page is better late than never.
const SWITCH_PATIENCE: Duration = Duration::from_millis(500);

/// `limit=` of a list.
fn page_rows(limit: Option<u32>) -> Result<u32, ApiError> {
    match limit {
        None => Ok(PAGE_ROWS),
        Some(rows @ 1..=cheling_records::row::MAX_PAGE) => Ok(rows),
        Some(_) => Err(ApiError::invalid("limit", "must be from 1 to 200")),
    }
}

/// The phones registered now; none if the switch does not answer in time.
async fn registrations(app: &App) -> Vec<crate::control::Registration> {
    let asked = tokio::time::timeout(SWITCH_PATIENCE, app.calls.registrations());
    asked.await.unwrap_or_default()
}

/// Writes one line of the audit log.
async fn audit(
    app: &App,
    head: &Head,
    user: &SignedIn,
    action: &str,
    object: (&str, String),
) -> Result<(), ApiError> {
    let line = Audit {
        audit_id: mint(),
        dealership_id: user.dealership_id,
        user_id: Some(user.user_id),
        action: action.into(),
        object_kind: object.0.into(),
        object_id: object.1,
        ip: head.client(app).to_string(),
        reason: String::new(),
        detail: String::new(),
        at: app.now(),
    };
    admin::audit(&app.database, &line).await?;
    Ok(())
}

/// A text field within its length.
fn checked(text: &str, field: &'static str, max_chars: usize) -> Result<String, ApiError> {
    let text = text.trim();
    if text.chars().count() > max_chars {
        return Err(ApiError::invalid(field, format!("has more than {max_chars} characters")));
    }
    if text.chars().any(|letter| letter.is_control() && !matches!(letter, '\n' | '\t')) {
        return Err(ApiError::invalid(field, "has control characters"));
    }
    Ok(text.to_owned())
}

/// A text field that must say something.
fn required(text: &str, field: &'static str, max_chars: usize) -> Result<String, ApiError> {
    let text = checked(text, field, max_chars)?;
    match text.is_empty() {
        true => Err(ApiError::invalid(field, "must not be empty")),
        false => Ok(text),
    }
}

/// A word of a closed set.
fn word<T>(
    text: &str,
    field: &'static str,
    read: impl Fn(&str) -> Option<T>,
) -> Result<T, ApiError> {
    read(text).ok_or_else(|| ApiError::invalid(field, format!("{text:?} is not a known word")))
}
