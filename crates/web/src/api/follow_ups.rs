//! `/follow-ups`: tasks (回访) and contact records.

use super::call_rows::missing;
use super::calls::tell;
use super::{Group, audit, checked, page_rows, word};
use crate::app::App;
use crate::auth::right::Right;
use crate::day;
use crate::endpoint::{
    Endpoint, Gives, NoPart, Request, Takes, Verb, json, json_with, route, schema_of,
};
use crate::error::{ApiError, ApiResult};
use crate::wire::follow_up::{FollowUpCounts, FollowUpDraft, FollowUpPage, FollowUpRow};
use cheling_model::console::ConsoleEvent;
use cheling_model::follow_up::{FollowUpState, FollowUpType, Outcome};
use cheling_model::{CustomerId, FollowUpId, Timestamp, UserId, VehicleId};
use cheling_records::follow_up::{self, FollowUp, FollowUpFilter, FollowUpItem};
use cheling_records::session::SignedIn;
use cheling_records::{console, customer, insert, mint, user, vehicle};
use serde::Deserialize;
use uuid::Uuid;
use warp::filters::BoxedFilter;
use warp::http::StatusCode;
use warp::reply::Response;

pub const GROUP: Group =
    Group { segment: "follow-ups", endpoints: &[&LIST, &MAKE, &SHOW, &CHANGE], routes };

static LIST: Endpoint = Endpoint {
    verb: Verb::Get,
    path: "/follow-ups",
    right: Right::SignedIn,
    summary: "Follow-ups, the earliest due first, with the counts over the tabs",
    query: &[
        ("view", "today (open, due today), overdue, done (closed today) or all; all if missing"),
        ("owner_id", "me or a user's id; everybody's if missing"),
        ("cursor", "From the page before"),
        ("limit", "Rows, 1 to 200; 50 if missing"),
        ("type", "Only of this type; contact records only if asked for"),
        ("customer_id", "Only of this customer"),
    ],
    takes: Takes::Nothing,
    gives: Gives::Json(200, schema_of::<FollowUpPage>()),
};
static MAKE: Endpoint = Endpoint {
    verb: Verb::Post,
    path: "/follow-ups",
    right: Right::ChangeFollowUps,
    summary: "Makes a follow-up",
    query: &[],
    takes: Takes::Json(schema_of::<FollowUpDraft>()),
    gives: Gives::Json(201, schema_of::<FollowUpRow>()),
};
static SHOW: Endpoint = Endpoint {
    verb: Verb::Get,
    path: "/follow-ups/{id}",
    right: Right::SignedIn,
    summary: "One follow-up",
    query: &[],
    takes: Takes::Nothing,
    gives: Gives::Json(200, schema_of::<FollowUpRow>()),
};
static CHANGE: Endpoint = Endpoint {
    verb: Verb::Put,
    path: "/follow-ups/{id}",
    right: Right::ChangeFollowUps,
    summary: "Changes a follow-up: one's own or nobody's; a supervisor any",
    query: &[],
    takes: Takes::Json(schema_of::<FollowUpDraft>()),
    gives: Gives::Json(200, schema_of::<FollowUpRow>()),
};

fn routes(app: &App) -> Vec<BoxedFilter<(Response,)>> {
    vec![
        route(app, &LIST, list),
        route(app, &MAKE, make),
        route(app, &SHOW, show),
        route(app, &CHANGE, change),
    ]
}

const OPEN: [FollowUpState; 2] = [FollowUpState::Open, FollowUpState::InProgress];
const CLOSED: [FollowUpState; 3] =
    [FollowUpState::Done, FollowUpState::Unreachable, FollowUpState::Refused];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Query {
    view: Option<String>,
    owner_id: Option<String>,
    cursor: Option<String>,
    limit: Option<u32>,
    #[serde(rename = "type")]
    follow_up_type: Option<String>,
    customer_id: Option<Uuid>,
}

async fn list(request: Request, _: NoPart) -> ApiResult {
    let query: Query = request.query()?;
    let (app, me) = (&request.app, request.user()?);
    let owner = match query.owner_id.as_deref() {
        None | Some("") => None,
        Some("me") => Some(me.user_id),
        Some(id) => Some(UserId(
            id.parse().map_err(|_| ApiError::invalid("owner_id", "must be me or an id"))?,
        )),
    };
    let today = app.today();
    let midnight = day::span(Some(&today), None, &app.settings.time_zone)?.start;
    let kind = query.follow_up_type.as_deref().filter(|text| !text.is_empty());
    let mut wanted = FollowUpFilter {
        owner_user_id: owner,
        customer_id: query.customer_id.map(CustomerId),
        types: match kind {
            Some(text) => vec![word(text, "type", FollowUpType::from_word)?],
            // Contact records are written, not worked through.
            None => FollowUpType::ALL
                .iter()
                .copied()
                .filter(|kind| *kind != FollowUpType::InboundContact)
                .collect(),
        },
        ..FollowUpFilter::default()
    };
    match query.view.as_deref().unwrap_or("all") {
        "today" => {
            wanted.states = OPEN.to_vec();
            wanted.due_from = Some(today.clone());
            wanted.due_until = Some(today.clone());
        }
        "overdue" => {
            wanted.states = OPEN.to_vec();
            let yesterday = day::parse(&today, "view")?.yesterday();
            wanted.due_until = yesterday.ok().map(|date| date.to_string());
        }
        "done" => {
            wanted.states = CLOSED.to_vec();
            wanted.closed_from = Some(midnight);
        }
        "all" => {}
        _ => return Err(ApiError::invalid("view", "must be today, overdue, done or all")),
    }
    let limit = page_rows(query.limit)?;
    let (db, cursor) = (&app.database, query.cursor.as_deref());
    let page = follow_up::list(db, me.dealership_id, &wanted, cursor, limit).await?;
    let counts = match owner {
        Some(owner) => follow_up::counts(db, owner, &today, midnight).await?,
        None => console::counts(db, me.dealership_id, &today, midnight).await?,
    };
    let count = |number: i64| u64::try_from(number).unwrap_or(0);
    json(&FollowUpPage {
        items: rows(app, page.items).await?,
        next_cursor: page.next,
        counts: FollowUpCounts {
            today: count(counts.due_today),
            overdue: count(counts.overdue),
            done_today: count(counts.done_today),
        },
    })
}

async fn rows(app: &App, items: Vec<FollowUpItem>) -> Result<Vec<FollowUpRow>, ApiError> {
    let mut customers: Vec<_> = items.iter().filter_map(|item| item.customer_id).collect();
    customers.sort_unstable();
    customers.dedup();
    let segments = customer::segments_of(&app.database, &customers).await?;
    let recorded = items.iter().filter(|item| item.recordings > 0);
    let recorded: Vec<_> = recorded.map(|item| item.follow_up_id).collect();
    let recordings = match recorded.is_empty() {
        true => Vec::new(),
        false => console::recordings_of(&app.database, &recorded).await?,
    };
    let row = |item: FollowUpItem| FollowUpRow {
        follow_up_id: item.follow_up_id.0,
        follow_up_type: item.follow_up_type.as_str().into(),
        state: item.state.as_str().into(),
        due_on: item.due_on,
        subject: item.subject,
        owner_id: item.owner_user_id.map(|id| id.0),
        owner_name: item.owner_name,
        customer_id: item.customer_id.map(|id| id.0),
        customer_name: item.customer_name,
        salutation: item.salutation,
        segments: segments
            .iter()
            .filter(|segment| Some(segment.customer_id) == item.customer_id)
            .map(|segment| segment.code.clone())
            .collect(),
        number: item.phone,
        plate: item.plate,
        model: item.vehicle_model,
        attempts: u32::try_from(item.attempts).unwrap_or(0),
        last_outcome: item.result.map_or("", Outcome::as_str).into(),
        note: item.note,
        closed_at: item.closed_at.map(Timestamp::as_micros),
        recording_ids: recordings
            .iter()
            .filter(|recording| recording.follow_up_id == item.follow_up_id)
            .map(|recording| recording.recording_id.0)
            .collect(),
    };
    Ok(items.into_iter().map(row).collect())
}

async fn answer(
    app: &App,
    me: &SignedIn,
    status: StatusCode,
    follow_up_id: FollowUpId,
) -> ApiResult {
    let item = follow_up::item(&app.database, me.dealership_id, follow_up_id).await;
    let item = item.map_err(|error| missing(error, "follow-up"))?;
    let mut rows = rows(app, vec![item]).await?;
    json_with(status, &rows.pop().ok_or(ApiError::NotFound("follow-up"))?)
}

async fn show(request: Request, id: Uuid) -> ApiResult {
    answer(&request.app, request.user()?, StatusCode::OK, FollowUpId(id)).await
}

/// Makes sure that whatever the draft names is of this dealership.
async fn check_references(app: &App, me: &SignedIn, draft: &FollowUpDraft) -> Result<(), ApiError> {
    let (db, dealership_id) = (&app.database, me.dealership_id);
    if let Some(id) = draft.owner_id {
        let found = user::find(db, dealership_id, UserId(id)).await;
        found.map_err(|_| ApiError::invalid("owner_id", "there is no such user"))?;
    }
    if let Some(id) = draft.customer_id {
        let found = customer::find(db, dealership_id, CustomerId(id)).await;
        found.map_err(|_| ApiError::invalid("customer_id", "there is no such customer"))?;
    }
    if let Some(id) = draft.vehicle_id {
        let found = vehicle::find(db, dealership_id, VehicleId(id)).await;
        found.map_err(|_| ApiError::invalid("vehicle_id", "there is no such vehicle"))?;
    }
    Ok(())
}

fn state_of(draft: &FollowUpDraft) -> Result<Option<FollowUpState>, ApiError> {
    draft.state.as_deref().map(|text| word(text, "state", FollowUpState::from_word)).transpose()
}

async fn make(mut request: Request, _: NoPart) -> ApiResult {
    let draft: FollowUpDraft = request.json().await?;
    let (app, me) = (&request.app, request.user()?);
    check_references(app, me, &draft).await?;
    let now = app.now();
    let state = state_of(&draft)?.unwrap_or(FollowUpState::Open);
    let is_open = OPEN.contains(&state);
    let new = FollowUp {
        follow_up_id: mint(),
        dealership_id: me.dealership_id,
        follow_up_type: word(&draft.follow_up_type, "type", FollowUpType::from_word)?,
        customer_id: draft.customer_id.map(CustomerId),
        vehicle_id: draft.vehicle_id.map(VehicleId),
        origin_call_id: None,
        previous_id: None,
        due_on: day::parse(&draft.due_on, "due_on")?.to_string(),
        owner_user_id: Some(draft.owner_id.map_or(me.user_id, UserId)),
        state,
        subject: checked(&draft.subject, "subject", 200)?,
        attempts: 0,
        result: None,
        note: String::new(),
        call_made: false,
        created_at: now,
        updated_at: now,
        closed_at: (!is_open).then_some(now),
        closed_by: (!is_open).then_some(me.user_id),
    };
    insert(&app.database, &new).await?;
    let follow_up_id = new.follow_up_id;
    tell(app, [Some(me.user_id), new.owner_user_id], ConsoleEvent::TaskChanged { follow_up_id });
    answer(app, me, StatusCode::CREATED, follow_up_id).await
}

async fn change(mut request: Request, id: Uuid) -> ApiResult {
    let draft: FollowUpDraft = request.json().await?;
    let (app, me) = (&request.app, request.user()?);
    let old = follow_up::find(&app.database, me.dealership_id, FollowUpId(id)).await;
    let old = old.map_err(|error| missing(error, "follow-up"))?;
    let is_own = old.owner_user_id.is_none_or(|owner| owner == me.user_id);
    if !is_own && !request.holds(Right::ChangeAllFollowUps) {
        return Err(ApiError::Forbidden);
    }
    if draft.follow_up_type != old.follow_up_type.as_str() {
        return Err(ApiError::invalid("type", "cannot be changed"));
    }
    check_references(app, me, &draft).await?;
    let now = app.now();
    let state = state_of(&draft)?.unwrap_or(old.state);
    let is_open = OPEN.contains(&state);
    let stays_closed = !is_open && !OPEN.contains(&old.state);
    let previous_owner = old.owner_user_id;
    let new = FollowUp {
        customer_id: draft.customer_id.map(CustomerId),
        vehicle_id: draft.vehicle_id.map(VehicleId),
        due_on: day::parse(&draft.due_on, "due_on")?.to_string(),
        owner_user_id: draft.owner_id.map(UserId).or(previous_owner),
        state,
        subject: checked(&draft.subject, "subject", 200)?,
        updated_at: now,
        closed_at: if stays_closed { old.closed_at } else { (!is_open).then_some(now) },
        closed_by: if stays_closed { old.closed_by } else { (!is_open).then_some(me.user_id) },
        ..old
    };
    follow_up::update(&app.database, &new).await?;
    audit(app, &request.head, me, "follow_up.change", ("follow_up", id.to_string())).await?;
    let event = ConsoleEvent::TaskChanged { follow_up_id: new.follow_up_id };
    let others = [new.owner_user_id, previous_owner.filter(|it| Some(*it) != new.owner_user_id)];
    tell(app, others, event.clone());
    if !others.contains(&Some(me.user_id)) {
        tell(app, [Some(me.user_id), None], event);
    }
    answer(app, me, StatusCode::OK, new.follow_up_id).await
}
