//! `/calls`: past and present calls, click-to-dial, hanging up, wrap-up, whose call it was.

use super::call_control as control;
use super::call_rows::{self, Tie, missing, visible};
use super::lookup::card_of_call;
use super::{Group, audit, checked, oversight, page_rows, word};
use crate::app::App;
use crate::auth::right::Right;
use crate::control::{CallRefusal, DialRequest};
use crate::day;
use crate::endpoint::{
    Endpoint, Gives, NoPart, Request, Takes, Verb, empty, json, json_with, route, schema_of,
};
use crate::error::{ApiError, ApiResult};
use crate::wire::Page;
use crate::wire::call::{
    CallDetail, CallRow, Dial, Dialling, LinkCustomer, LiveCall, LiveCalls, WrapUp,
};
use cheling_lookup::desk::LiveState;
use cheling_lookup::follow_up::{WrapUpEntry, save_wrap_up};
use cheling_lookup::number;
use cheling_model::console::{Audibility, CallOffered, ConsoleEvent, Notice, RecordingState};
use cheling_model::follow_up::Outcome;
use cheling_model::{CallId, CustomerId, DealershipId, Direction, FollowUpId, Timestamp, UserId};
use cheling_records::call::{self, CallFilter, CallItem};
use cheling_records::session::SignedIn;
use cheling_records::{admin, console, customer, follow_up, mint, switchboard};
use serde::Deserialize;
use std::time::Duration;
use uuid::Uuid;
use warp::filters::BoxedFilter;
use warp::http::StatusCode;
use warp::reply::Response;

pub const GROUP: Group = Group {
    segment: "calls",
    endpoints: &[
        &LIST,
        &DIAL,
        &LIVE,
        &oversight::RUNNING,
        &oversight::LISTEN,
        &SHOW,
        &HANG_UP,
        &oversight::PAUSE,
        &oversight::RESUME,
        &WRAP_UP,
        &LINK,
        &control::HOLD,
        &control::RESUME,
        &control::TRANSFER,
        &control::CONSULT,
        &control::COMPLETE,
        &control::JOIN,
        &control::BACK,
        &control::DEPART,
        &control::INVITE,
        &control::DISMISS,
        &control::MONITOR,
        &control::LEAVE,
    ],
    routes,
};

/// A call that ended longer ago no longer waits on the desk for its wrap-up.
const WRAP_UP_FOR: Duration = Duration::from_secs(30 * 60);
/// A request to dial may be repeated for this long without dialling twice.
const KEY_HOLDS_FOR: Duration = Duration::from_secs(24 * 3600);

static LIST: Endpoint = Endpoint {
    verb: Verb::Get,
    path: "/calls",
    right: Right::SignedIn,
    summary: "Calls, newest first; without the right to see all, one's own",
    query: &[
        ("cursor", "From the page before"),
        ("limit", "Rows, 1 to 200; 50 if missing"),
        ("q", "Part of a number, extension or customer's name"),
        ("direction", "inbound, outbound or internal"),
        ("from_on", "First day, 2026-11-22"),
        ("to_on", "Last day"),
        ("extension", "Only on this phone"),
        ("customer_id", "Only of this customer"),
        ("answered", "true or false"),
    ],
    takes: Takes::Nothing,
    gives: Gives::Page(schema_of::<CallRow>()),
};
static DIAL: Endpoint = Endpoint {
    verb: Verb::Post,
    path: "/calls",
    right: Right::Desk,
    summary: "Click-to-dial: rings the user's phone, then the number. The header Idempotency-Key is \
              required; the same key never dials twice",
    query: &[],
    takes: Takes::Json(schema_of::<Dial>()),
    gives: Gives::Json(202, schema_of::<Dialling>()),
};
static LIVE: Endpoint = Endpoint {
    verb: Verb::Get,
    path: "/calls/live",
    right: Right::SignedIn,
    summary: "This user's calls in progress, and the seq to resume the WebSocket from",
    query: &[],
    takes: Takes::Nothing,
    gives: Gives::Json(200, schema_of::<LiveCalls>()),
};
static SHOW: Endpoint = Endpoint {
    verb: Verb::Get,
    path: "/calls/{id}",
    right: Right::SignedIn,
    summary: "One call with every phone that rang",
    query: &[],
    takes: Takes::Nothing,
    gives: Gives::Json(200, schema_of::<CallDetail>()),
};
static HANG_UP: Endpoint = Endpoint {
    verb: Verb::Delete,
    path: "/calls/{id}",
    right: Right::Desk,
    summary: "Hangs up: a party to the call, or who may end any",
    query: &[],
    takes: Takes::Nothing,
    gives: Gives::Empty(202),
};
static WRAP_UP: Endpoint = Endpoint {
    verb: Verb::Put,
    path: "/calls/{id}/wrap-up",
    right: Right::Desk,
    summary: "What came of the call; may be saved again",
    query: &[],
    takes: Takes::Json(schema_of::<WrapUp>()),
    gives: Gives::Json(200, schema_of::<CallDetail>()),
};
static LINK: Endpoint = Endpoint {
    verb: Verb::Put,
    path: "/calls/{id}/customer",
    right: Right::Desk,
    summary: "Says whose call it was",
    query: &[],
    takes: Takes::Json(schema_of::<LinkCustomer>()),
    gives: Gives::Json(200, schema_of::<CallDetail>()),
};

fn routes(app: &App) -> Vec<BoxedFilter<(Response,)>> {
    let mut routes = vec![
        route(app, &LIST, list),
        route(app, &DIAL, dial),
        route(app, &LIVE, live),
        route(app, &oversight::RUNNING, oversight::running),
        oversight::listen_route(app),
        route(app, &SHOW, show),
        route(app, &HANG_UP, hang_up),
        route(app, &oversight::PAUSE, oversight::pause),
        route(app, &oversight::RESUME, oversight::resume),
        route(app, &WRAP_UP, wrap_up),
        route(app, &LINK, link),
    ];
    routes.extend(control::routes(app));
    routes
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Query {
    cursor: Option<String>,
    limit: Option<u32>,
    #[serde(default)]
    q: String,
    direction: Option<String>,
    from_on: Option<String>,
    to_on: Option<String>,
    extension: Option<String>,
    customer_id: Option<Uuid>,
    answered: Option<bool>,
}

async fn list(request: Request, _: NoPart) -> ApiResult {
    let query: Query = request.query()?;
    let (app, user) = (&request.app, request.user()?);
    let zone = &app.settings.time_zone;
    let span = day::span(query.from_on.as_deref(), query.to_on.as_deref(), zone)?;
    let read = |text: &str| match text {
        "inbound" => Some(Direction::Inbound),
        "outbound" => Some(Direction::Outbound),
        "internal" => Some(Direction::Internal),
        _ => None,
    };
    let direction = query.direction.filter(|text| !text.is_empty());
    let wanted = CallFilter {
        from: query.from_on.is_some().then_some(span.start),
        until: query.to_on.is_some().then_some(span.end),
        direction: direction.map(|text| word(&text, "direction", read)).transpose()?,
        user_id: (!request.holds(Right::SeeAllCalls)).then_some(user.user_id),
        customer_id: query.customer_id.map(CustomerId),
        answered: query.answered,
        extension: query.extension.filter(|number| !number.is_empty()),
        text: checked(&query.q, "q", 100)?,
        ..CallFilter::default()
    };
    let limit = page_rows(query.limit)?;
    let cursor = query.cursor.as_deref();
    let page = call::list(&app.database, user.dealership_id, &wanted, cursor, limit).await?;
    let items = call_rows::rows(app, &page.items).await?;
    json(&Page { items, next_cursor: page.next })
}

async fn dial(mut request: Request, _: NoPart) -> ApiResult {
    let wanted: Dial = request.json().await?;
    let (app, user) = (&request.app, request.user()?);
    let key = request.head.header("idempotency-key").unwrap_or("").trim().to_owned();
    if key.is_empty() || key.len() > 100 {
        let message = "the header Idempotency-Key is required, at most 100 characters";
        return Err(ApiError::Malformed(message.into()));
    }
    let extension = user.extension.clone().ok_or_else(|| ApiError::Conflict {
        code: "no_extension",
        field: None,
        message: "you have no phone; an admin can give you one".into(),
    })?;
    if let Some(id) = wanted.follow_up_id {
        let found = follow_up::find(&app.database, user.dealership_id, FollowUpId(id)).await;
        found.map_err(|_| ApiError::invalid("follow_up_id", "there is no such follow-up"))?;
    }
    if let Some(id) = wanted.customer_id {
        let found = customer::find(&app.database, user.dealership_id, CustomerId(id)).await;
        found.map_err(|_| ApiError::invalid("customer_id", "there is no such customer"))?;
    }
    let number = digits_to_dial(app, user, &wanted.number).await?;
    let call_id: CallId = mint();
    let now = app.now();
    admin::purge_idempotency(&app.database, before(now, KEY_HOLDS_FOR)).await?;
    let claimed = admin::claim_idempotency(&app.database, user.user_id, &key, call_id, now).await?;
    if let Some(first) = claimed {
        return json_with(StatusCode::ACCEPTED, &Dialling { call_id: first.0 });
    }
    let follow_up_id = wanted.follow_up_id.map(FollowUpId);
    let order = DialRequest { call_id, extension, number, user_id: user.user_id, follow_up_id };
    if let Err(refusal) = app.calls.dial(order).await {
        // Nothing was dialled: the same key may try again.
        console::release_idempotency(&app.database, user.user_id, &key).await?;
        return Err(refused(refusal));
    }
    json_with(StatusCode::ACCEPTED, &Dialling { call_id: call_id.0 })
}

fn before(now: Timestamp, by: Duration) -> Timestamp {
    Timestamp::from_micros(now.as_micros() - i64::try_from(by.as_micros()).unwrap_or(0))
}

/// What the switch is to dial for a number as typed: a colleague's extension as it is, any other with
/// its area code.
pub async fn digits_to_dial(app: &App, user: &SignedIn, typed: &str) -> Result<String, ApiError> {
    let typed = typed.trim();
    let is_short = (2..=8).contains(&typed.len()) && typed.bytes().all(|it| it.is_ascii_digit());
    if is_short
        && let Some(phone) = switchboard::phone(&app.database, typed).await?
        && phone.dealership_id == user.dealership_id
        && !phone.disabled
    {
        return Ok(phone.number);
    }
    let number = number::read(typed, &user.area_code)
        .ok_or_else(|| ApiError::invalid("number", "this is no telephone number"))?;
    Ok(number::national(&number))
}

/// Why the switch did not do it, as the API says it.
pub fn refused(refusal: CallRefusal) -> ApiError {
    match refusal {
        CallRefusal::NoSuchCall => ApiError::NotFound("call in progress"),
        CallRefusal::Overloaded => ApiError::Unavailable("too many calls, or shutting down"),
        CallRefusal::Unavailable => ApiError::Unavailable("the switch does not answer"),
        CallRefusal::NotRegistered
        | CallRefusal::NoSuchExtension
        | CallRefusal::NoRoute
        | CallRefusal::NotAnswered
        | CallRefusal::NotPermitted
        | CallRefusal::NumberBlocked
        | CallRefusal::TrunksFull
        | CallRefusal::NotNow
        | CallRefusal::CannotMix
        | CallRefusal::NoSuchGuest
        | CallRefusal::ExtensionBusy => {
            ApiError::Conflict { code: refusal.code(), field: None, message: refusal.to_string() }
        }
    }
}

async fn live(request: Request, _: NoPart) -> ApiResult {
    let (app, user) = (&request.app, request.user()?);
    // The number first: what happens while the rest is read is replayed.
    let seq = app.hub.seq(user.user_id);
    let mut calls: Vec<LiveCall> =
        app.desk.live_calls(user.user_id).into_iter().map(in_progress).collect();
    let since = before(app.now(), WRAP_UP_FOR);
    for item in console::awaiting_wrap_up(&app.database, user.user_id, since).await? {
        calls.push(LiveCall {
            state: "wrap_up".into(),
            answered_at: item.answered_at.map(Timestamp::as_micros),
            ended_at: item.ended_at.map(Timestamp::as_micros),
            far_end_ringing: false,
            recording: RecordingState::On,
            audio: Audibility::Both,
            guests: Vec::new(),
            consulting: false,
            transferring: String::new(),
            offered: offered(app, user, item).await?,
        });
    }
    calls.sort_by_key(|call| call.offered.offered_at);
    json(&LiveCalls { seq, calls })
}

fn in_progress(call: cheling_lookup::desk::LiveCall) -> LiveCall {
    let state = match call.state {
        LiveState::Ringing | LiveState::Dialling => "ringing",
        LiveState::Talking => "talking",
        LiveState::Held => "held",
    };
    LiveCall {
        offered: call.offered,
        state: state.into(),
        answered_at: call.answered_at.map(Timestamp::as_micros),
        ended_at: None,
        far_end_ringing: call.far_end_ringing,
        recording: call.recording,
        audio: call.audio,
        guests: call.guests,
        consulting: call.consulting,
        transferring: call.transferring,
    }
}

async fn offered(app: &App, user: &SignedIn, item: CallItem) -> Result<CallOffered, ApiError> {
    Ok(CallOffered {
        card: card_of_call(app, user, &item).await?,
        call_id: item.call_id,
        direction: item.direction,
        extension: item.extension,
        line_name: item.line_name,
        called: item.called_number,
        offered_at: item.offered_at,
        follow_up_id: item.follow_up_id,
    })
}

async fn show(request: Request, id: Uuid) -> ApiResult {
    let (item, _) = visible(&request, id).await?;
    json(&call_rows::detail(&request, item.call_id).await?)
}

async fn hang_up(request: Request, id: Uuid) -> ApiResult {
    let (item, tie) = visible(&request, id).await?;
    if tie != Tie::Party && !request.holds(Right::HangUpAny) {
        return Err(ApiError::Forbidden);
    }
    request.app.calls.hang_up(item.call_id).await.map_err(refused)?;
    let user = request.user()?;
    audit(&request.app, &request.head, user, "call.hang_up", ("call", id.to_string())).await?;
    empty(StatusCode::ACCEPTED)
}

async fn wrap_up(mut request: Request, id: Uuid) -> ApiResult {
    let draft: WrapUp = request.json().await?;
    let (item, tie) = visible(&request, id).await?;
    // What nobody answered, whoever was rung may note down.
    let is_missed = item.answered_at.is_none() && tie == Tie::Rung;
    if !matches!(tie, Tie::Party | Tie::Former) && !is_missed {
        return Err(ApiError::Forbidden);
    }
    let (app, user) = (&request.app, request.user()?);
    if let Some(next_on) = &draft.next_on {
        day::parse(next_on, "next_on")?;
    }
    if let Some(id) = draft.follow_up_id {
        let found = follow_up::find(&app.database, user.dealership_id, FollowUpId(id)).await;
        found.map_err(|_| ApiError::invalid("follow_up_id", "there is no such follow-up"))?;
    }
    let entry = WrapUpEntry {
        dealership_id: user.dealership_id,
        call_id: item.call_id,
        user_id: user.user_id,
        outcome: word(&draft.outcome, "outcome", Outcome::from_word)?,
        note: checked(&draft.note, "note", 2000)?,
        next_on: draft.next_on,
        follow_up_id: draft.follow_up_id.map(FollowUpId),
        at: app.now(),
    };
    let saved = save_wrap_up(&app.database, &entry).await;
    let saved = saved.map_err(|error| missing(error, "call"))?;
    let owner = saved.follow_up.as_ref().and_then(|task| task.owner_user_id);
    for follow_up_id in saved.changed() {
        tell(app, [Some(user.user_id), owner], ConsoleEvent::TaskChanged { follow_up_id });
    }
    json(&call_rows::detail(&request, item.call_id).await?)
}

async fn link(mut request: Request, id: Uuid) -> ApiResult {
    let LinkCustomer { customer_id } = request.json().await?;
    let (item, tie) = visible(&request, id).await?;
    if tie == Tie::Overseer && !request.holds(Right::ChangeAllFollowUps) {
        return Err(ApiError::Forbidden);
    }
    let (app, user) = (&request.app, request.user()?);
    let customer_id = CustomerId(customer_id);
    let found = customer::find(&app.database, user.dealership_id, customer_id).await;
    found.map_err(|_| ApiError::invalid("customer_id", "there is no such customer"))?;
    choose(app, user.dealership_id, item.call_id, customer_id).await?;
    json(&call_rows::detail(&request, item.call_id).await?)
}

/// Links a call to a customer, and shows the new card to who is on it.
///
/// # Errors
/// [`ApiError::NotFound`].
pub async fn choose(
    app: &App,
    dealership_id: DealershipId,
    call_id: CallId,
    customer_id: CustomerId,
) -> Result<(), ApiError> {
    let chosen = app.desk.choose(dealership_id, call_id, customer_id, app.now()).await;
    let (_, notices) = chosen.map_err(|error| missing(error, "call"))?;
    for notice in &notices {
        app.hub.publish(notice);
    }
    Ok(())
}

/// Tells some users, each once.
pub fn tell(app: &App, users: [Option<UserId>; 2], event: ConsoleEvent) {
    let to = users.into_iter().flatten().collect();
    app.hub.publish(&Notice { to, at: app.now(), event });
}
