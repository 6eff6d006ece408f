//! `/calls/running` and what is done to a call while it runs: it is listened to, its recording is
//! paused and resumed.

use super::audit;
use super::call_rows::{Tie, missing, visible};
use super::calls::refused;
use crate::app::App;
use crate::auth::right::Right;
use crate::auth::session;
use crate::control::{CallRefusal, Pausing};
use crate::endpoint::{
    Endpoint, Gives, Head, NoPart, Request, Takes, Verb, admit, empty, finish, head, json, path,
    schema_of,
};
use crate::error::{ApiError, ApiResult};
use crate::live::{self, ListenRefusal, LiveListener};
use crate::wire::call::{RunningCall, RunningCalls};
use cheling_lookup::desk;
use cheling_model::CallId;
use cheling_records::call;
use std::time::Duration;
use uuid::Uuid;
use warp::filters::BoxedFilter;
use warp::http::StatusCode;
use warp::reply::Response;
use warp::ws::Ws;
use warp::{Filter as _, Rejection};

/// How long the relay may take to say that nothing more is recorded.
const RELAY_PATIENCE: Duration = Duration::from_secs(5);

pub static RUNNING: Endpoint = Endpoint {
    verb: Verb::Get,
    path: "/calls/running",
    right: Right::Oversee,
    summary: "The calls of all users in which both sides talk now, the oldest first",
    query: &[],
    takes: Takes::Nothing,
    gives: Gives::Json(200, schema_of::<RunningCalls>()),
};
pub static PAUSE: Endpoint = Endpoint {
    verb: Verb::Post,
    path: "/calls/{id}/pause",
    right: Right::Desk,
    summary: "Pauses the recording: a party to the call, or who oversees. When this is answered \
              nothing more is recorded, until resumed or for the longest pause configured. \
              Pausing again changes nothing",
    query: &[],
    takes: Takes::Nothing,
    gives: Gives::Empty(204),
};
pub static RESUME: Endpoint = Endpoint {
    verb: Verb::Post,
    path: "/calls/{id}/resume",
    right: Right::Desk,
    summary: "Lets a paused recording go on. Resuming again changes nothing",
    query: &[],
    takes: Takes::Nothing,
    gives: Gives::Empty(204),
};

pub static LISTEN: Endpoint = Endpoint {
    verb: Verb::Get,
    path: "/calls/{id}/listen",
    right: Right::Oversee,
    summary: "A running call as it is spoken, by WebSocket: binary messages with a time and G.711 \
              A-law stereo, left the customer. Nothing while the recording is paused. Audited",
    query: &[],
    takes: Takes::Nothing,
    gives: Gives::Socket,
};

pub fn listen_route(app: &App) -> BoxedFilter<(Response,)> {
    let app = app.clone();
    path(&LISTEN)
        .and(head())
        .and(warp::ws())
        .and_then(move |part: String, head: Head, handshake: Ws| {
            let app = app.clone();
            async move { Ok::<_, Rejection>(finish(listen(&app, &part, &head, handshake).await)) }
        })
        .boxed()
}

async fn listen(app: &App, part: &str, head: &Head, handshake: Ws) -> ApiResult {
    let user = admit(app, &LISTEN, head).await?.ok_or(ApiError::NotSignedIn)?;
    let id: Uuid = part.parse().map_err(|_| ApiError::NotFound("path"))?;
    let found = call::item(&app.database, user.dealership_id, CallId(id)).await;
    let item = found.map_err(|error| missing(error, "call"))?;
    let token = session::token_of(&head.headers).ok_or(ApiError::NotSignedIn)?;
    let parts = app.live.listen(item.call_id).map_err(|refusal| match refusal {
        ListenRefusal::NotRunning => ApiError::NotFound("call in progress"),
        ListenRefusal::TooMany => ApiError::Conflict {
            code: "too_many_listeners",
            field: None,
            message: "too many are listening; ask one of them to stop".into(),
        },
    })?;
    let listener = LiveListener {
        user_id: user.user_id,
        dealership_id: user.dealership_id,
        token_hash: session::hash_of(token),
        ip: head.client(app).to_string(),
        call_id: item.call_id,
    };
    // Nothing is heard before it is known who hears it.
    listener.audit(app, "call.listen", String::new()).await?;
    Ok(live::accept(app, handshake, listener, parts))
}

pub async fn running(request: Request, _: NoPart) -> ApiResult {
    let (app, user) = (&request.app, request.user()?);
    let calls = app.desk.running(user.dealership_id).into_iter().map(row).collect();
    json(&RunningCalls { calls })
}

fn row(call: desk::RunningCall) -> RunningCall {
    RunningCall {
        call_id: call.call_id.0,
        direction: call.direction.as_str().into(),
        extension: call.extension,
        user_name: call.user_name,
        line_name: call.line_name,
        number: call.card.number,
        customer_name: call.card.customer.map(|customer| customer.name).unwrap_or_default(),
        answered_at: call.answered_at.as_micros(),
        held: call.is_held,
        recording: call.recording,
        audio: call.audio,
    }
}

pub async fn pause(request: Request, id: Uuid) -> ApiResult {
    set(&request, id, Pausing::Pause, "call.pause").await
}

pub async fn resume(request: Request, id: Uuid) -> ApiResult {
    set(&request, id, Pausing::Resume, "call.resume").await
}

async fn set(request: &Request, id: Uuid, wanted: Pausing, action: &str) -> ApiResult {
    let (item, tie) = visible(request, id).await?;
    if tie != Tie::Party && !request.holds(Right::Oversee) {
        return Err(ApiError::Forbidden);
    }
    let (app, user) = (&request.app, request.user()?);
    let done = app.calls.pause_recording(item.call_id, user.user_id, wanted);
    let done = tokio::time::timeout(RELAY_PATIENCE, done).await;
    done.unwrap_or(Err(CallRefusal::Unavailable)).map_err(refused)?;
    audit(app, &request.head, user, action, ("call", id.to_string())).await?;
    empty(StatusCode::NO_CONTENT)
}
