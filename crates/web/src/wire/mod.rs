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
//! | `GET /follow-ups?view=today\|overdue\|done\|all&owner_id=me&cursor=&limit=&type=&customer_id=` | → [`follow_up::FollowUpPage`], most urgent first | |
//! | `POST /follow-ups` | [`follow_up::FollowUpDraft`] → 201 [`follow_up::FollowUpRow`] | |
//! | `GET`, `PUT /follow-ups/{id}` | [`follow_up::FollowUpDraft`] → [`follow_up::FollowUpRow`] | |
//! | `GET /users`, `POST /users` | [`admin::UserDraft`] → [`admin::UserRow`] (list: [`Page`]) | admin; list: supervisor |
//! | `PUT /users/{id}` | [`admin::UserDraft`] → [`admin::UserRow`] | admin |
//! | `GET /extensions`, `POST /extensions` | [`admin::ExtensionDraft`] → [`admin::ExtensionRow`], with the password once | admin |
//! | `PUT`, `DELETE /extensions/{number}` | | admin |
//! | `POST /extensions/{number}/password` | → [`admin::ExtensionRow`] with a new password, once | admin |
//! | `GET /lines`, `PUT /lines` | [`admin::Lines`] | admin |
//! | `GET /ws?since=N` | WebSocket: `{seq, at, type, …}` of `cheling_model::console` | signed in |
//!
//! At the root: `GET /healthz`, `/readyz`, `/metrics`. An error is [`ErrorBody`].

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
}
