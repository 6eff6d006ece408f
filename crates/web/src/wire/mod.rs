//! The JSON of `/api/v1`, as structs. What is here is what outsiders rely on: fields may be added,
//! never renamed or removed.
//!
//! Conventions: ids are UUIDs in text; `*_at` are microseconds since 1970-01-01 UTC; `*_on` are
//! dates `YYYY-MM-DD` of the dealership; `*_ms` are milliseconds. A missing thing is `null`, an
//! empty text is `""`. Lists are pages by cursor, newest first unless said otherwise.
//!
//! | method and path | body → answer | who |
//! |---|---|---|
//! | `POST /session` | [`session::SignIn`] → [`session::Me`], cookie `cheling_session` | anyone |
//! | `GET /session` | → [`session::Me`] | signed in |
//! | `DELETE /session` | → 204 | signed in |
//! | `GET /calls?cursor=&limit=&q=&direction=&from_on=&to_on=&extension=&customer_id=&answered=` | → [`Page`]`<`[`call::CallRow`]`>` | agent: own; others: all |
//! | `POST /calls` + `Idempotency-Key` | [`call::Dial`] → 202 [`call::Dialling`] | agent |
//! | `GET /calls/live` | → [`call::LiveCalls`]: this user's calls in progress, and the `seq` to resume from | signed in |
//! | `GET /calls/{id}` | → [`call::CallDetail`] | |
//! | `DELETE /calls/{id}` | hang up → 202 | party to it, supervisor |
//! | `PUT /calls/{id}/wrap-up` | [`call::WrapUp`] → [`call::CallDetail`] | party to it |
//! | `PUT /calls/{id}/customer` | [`call::LinkCustomer`] → [`call::CallDetail`] | party to it |
//! | `GET /recordings?cursor=&limit=&q=&from_on=&to_on=&extension=&customer_id=&verdict=&attached=` | → [`Page`]`<`[`recording::RecordingRow`]`>` | agent: own; supervisor, qa, admin: all |
//! | `GET /recordings/{id}` | → [`recording::RecordingDetail`] | |
//! | `GET /recordings/{id}/audio?format=wav\|opus&download=1` | → bytes, Range, HEAD, ETag; audited | |
//! | `GET /recordings/{id}/peaks` | → binary, one u8 per 40 ms and lane after a header | |
//! | `PUT /recordings/{id}/follow-up` | [`recording::Attach`] → [`recording::RecordingDetail`] | |
//! | `GET /customers?cursor=&limit=&q=&lifecycle=&segment=` | → [`Page`]`<`[`customer::CustomerRow`]`>` | |
//! | `POST /customers` | [`customer::CustomerDraft`] → 201 [`customer::CustomerDetail`] | |
//! | `GET`, `PUT /customers/{id}` | [`customer::CustomerDraft`] → [`customer::CustomerDetail`] | |
//! | `GET /lookup?number=` | → `Card` of `cheling_model::card` | |
//! | `POST /imports?profile=&apply=` (multipart `file`) | → [`customer::ImportReport`] | supervisor, admin |
//! | `GET /follow-ups?view=today\|overdue\|done\|all&owner_id=me&cursor=&limit=&type=&customer_id=` | → [`follow_up::FollowUpPage`], earliest due first; `today` open and due today, `done` closed today; contact records only by `type` | |
//! | `POST /follow-ups` | [`follow_up::FollowUpDraft`] → 201 [`follow_up::FollowUpRow`] | |
//! | `GET`, `PUT /follow-ups/{id}` | [`follow_up::FollowUpDraft`] → [`follow_up::FollowUpRow`] | |
//! | `GET /users`, `POST /users` | [`admin::UserDraft`] → [`admin::UserRow`] (list: [`Page`]) | admin; list: supervisor |
//! | `PUT /users/{id}` | [`admin::UserDraft`] → [`admin::UserRow`] | admin |
//! | `GET /colleagues` | → [`Page`]`<`[`admin::Colleague`]`>`: whom a call can go to, and who is free | agent |
//! | `GET /extensions`, `POST /extensions` | [`admin::ExtensionDraft`] → [`admin::ExtensionRow`], with the password once | admin |
//! | `PUT`, `DELETE /extensions/{number}` | | admin |
//! | `POST /extensions/{number}/password` | → [`admin::ExtensionRow`] with a new password, once | admin |
//! | `GET /lines`, `PUT /lines` | [`admin::Lines`] | admin |
//! | `GET /recording-format`, `PUT /recording-format` | [`admin::RecordingFormatDraft`] → [`admin::RecordingFormat`] | admin |
//! | `GET /alarms` | → [`admin::AlarmRows`]: what is wrong with the recorder now | supervisor, admin |
//! | `GET /trunks` | → [`Page`]`<`[`admin::TrunkRow`]`>` | admin |
//! | `GET /ws?since=N` | WebSocket: `{seq, at, type, …}` of `cheling_model::console` | signed in |
//!
//! At the root: `GET /healthz`, `/readyz`, `/metrics`. `/readyz` is 200 as long as calls are taken,
//! however the trunks are; to this machine, and to who knows the metrics token, it tells them, too,
//! one a line, or as `{ready, trunks: [`[`admin::TrunkRow`]`]}` if JSON is accepted. An error is [`ErrorBody`]: 400 `malformed` (the
//! JSON or query cannot be read, or has unknown fields), 401 `not_signed_in`, `bad_credentials`, 403
//! `forbidden`, `cross_origin`, 404 `not_found` (also for what belongs to others), 409 with a word for
//! each cause (`already_taken`, `extension_not_registered`, `extension_busy`, `no_route`,
//! `no_extension`, `last_admin`), 422 `invalid` with the `field`, 429 `too_many_attempts`, 503
//! `unavailable`.
//!
//! # The WebSocket
//! `seq` counts one user's events by ones. A browser takes a snapshot (`GET /calls/live`), connects
//! with `since=` its `seq`, and on each loss again with the last `seq` it has seen: it gets what it
//! missed, or one `{seq, at, type: "reset"}` that tells it to take the snapshot again. A number of an
//! earlier run of the server gets `reset`. Without `since` it begins with the next event. At once and
//! then each 5 s comes `{seq, at, type: "heartbeat"}` with the last number sent. The server closes
//! with 1001 when it stops, 1013 when the browser did not read (resume at once), 4401 when the session
//! ended.
//!
//! # Requests that change something
//! Their body is `application/json` (files: `multipart/form-data`), at most 256 KiB (50 MiB). They are
//! refused from a page of another origin.
//!
//! # Audio
//! `GET /recordings/{id}/audio?format=opus` of a recording kept as WAV is encoded on the way: without
//! a length and `Range`, as many at a time as the server can bear, else 503 with `Retry-After`.
//! `format=wav` of one kept as Ogg Opus is 406 `format_not_available`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub mod admin;
pub mod call;
pub mod customer;
pub mod follow_up;
pub mod recording;
pub mod session;

/// One page of a list.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Page<T> {
    /// The rows.
    pub items: Vec<T>,
    /// Give this as `cursor` for the next page; `null` on the last.
    pub next_cursor: Option<String>,
}

/// Every error answer.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ErrorBody {
    /// The error.
    pub error: ErrorInfo,
}

/// What went wrong and what to do.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ErrorInfo {
    /// A word for programs: `not_found`, `bad_credentials`, `extension_not_registered` …
    pub code: String,
    /// A sentence for people, in English; the console translates by `code`.
    pub message: String,
    /// The field at fault, if one is.
    pub field: Option<String>,
    /// Of one thing among many that came at once, a word for what is wrong with it: `no_such_group` …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Which of them, by its name or number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    /// The value that it cannot have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}
