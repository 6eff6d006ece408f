//! `/calls/{id}/…`: what is done to a call that is going on. Hold, hand on, consult, bring in a
//! third; and a supervisor's listening, whispering and barging in.
//!
//! A call's own people control it, and who may end any call. Monitoring is a right of its own, within
//! one's dealership, by the supervisor's own phone; its audit row is written before the phone rings,
//! so that nobody is listened to without a trace.

use super::call_rows::{Tie, visible};
use super::calls::{digits_to_dial, refused};
use super::{audit, word};
use crate::app::App;
use crate::auth::right::Right;
use crate::control::{ControlRequest, Order};
use crate::endpoint::{Endpoint, Gives, Request, Takes, Verb, empty, json_with, route, schema_of};
use crate::error::{ApiError, ApiResult};
use crate::wire::call::{Dialling, Monitoring, ToNumber};
use cheling_model::{CallId, GuestRole};
use cheling_records::mint;
use serde::Deserialize;
use uuid::Uuid;
use warp::filters::BoxedFilter;
use warp::http::StatusCode;
use warp::reply::Response;

const fn entry(verb: Verb, path: &'static str, right: Right, summary: &'static str) -> Endpoint {
    Endpoint {
        verb,
        path,
        right,
        summary,
        query: &[],
        takes: Takes::Nothing,
        gives: Gives::Empty(202),
    }
}

pub static HOLD: Endpoint =
    entry(Verb::Put, "/calls/{id}/hold", Right::Desk, "Puts the other side on hold");
pub static RESUME: Endpoint =
    entry(Verb::Delete, "/calls/{id}/hold", Right::Desk, "Takes the other side off hold");
pub static TRANSFER: Endpoint = Endpoint {
    takes: Takes::Json(schema_of::<ToNumber>()),
    ..entry(
        Verb::Post,
        "/calls/{id}/transfer",
        Right::Desk,
        "Hands the call on: the phone that hands on goes when the other has answered, and keeps the \
         call if nobody does",
    )
};
pub static CONSULT: Endpoint = Endpoint {
    takes: Takes::Json(schema_of::<ToNumber>()),
    gives: Gives::Json(202, schema_of::<Dialling>()),
    ..entry(
        Verb::Post,
        "/calls/{id}/consult",
        Right::Desk,
        "Speaks with a third while the other side waits: a call of its own, whose id comes back",
    )
};
pub static COMPLETE: Endpoint = entry(
    Verb::Put,
    "/calls/{id}/consult",
    Right::Desk,
    "Hands the waiting side to whoever is consulted; the id is of either call",
);
pub static JOIN: Endpoint = entry(
    Verb::Put,
    "/calls/{id}/consult/join",
    Right::Desk,
    "Ends the consultation and brings whoever is consulted into the waiting call: all hear all; the \
     id is of either call",
);
pub static DEPART: Endpoint = entry(
    Verb::Post,
    "/calls/{id}/leave",
    Right::Desk,
    "Leaves a conference: the first of its guests takes the agent's place, and the call goes on",
);
pub static BACK: Endpoint = entry(
    Verb::Delete,
    "/calls/{id}/consult",
    Right::Desk,
    "Ends the consultation and goes back to the waiting side; the id is of either call",
);
pub static INVITE: Endpoint = Endpoint {
    takes: Takes::Json(schema_of::<ToNumber>()),
    ..entry(
        Verb::Post,
        "/calls/{id}/guests",
        Right::Desk,
        "Brings a third into the call: all hear all",
    )
};
pub static DISMISS: Endpoint = Endpoint {
    query: &[("guest", "Its number, 1 to 7")],
    ..entry(Verb::Delete, "/calls/{id}/guests", Right::Desk, "Puts a third party out of the call")
};
pub static MONITOR: Endpoint = Endpoint {
    takes: Takes::Json(schema_of::<Monitoring>()),
    ..entry(
        Verb::Put,
        "/calls/{id}/monitor",
        Right::Monitor,
        "Rings one's own phone to listen, whisper or barge in; asked again, changes between them",
    )
};
pub static LEAVE: Endpoint = entry(
    Verb::Delete,
    "/calls/{id}/monitor",
    Right::Monitor,
    "Takes one's own phone out of the call",
);

/// The routes of this file.
pub fn routes(app: &App) -> Vec<BoxedFilter<(Response,)>> {
    vec![
        route(app, &HOLD, hold),
        route(app, &RESUME, resume),
        route(app, &TRANSFER, transfer),
        route(app, &CONSULT, consult),
        route(app, &COMPLETE, complete),
        route(app, &JOIN, join),
        route(app, &BACK, back),
        route(app, &DEPART, depart),
        route(app, &INVITE, invite),
        route(app, &DISMISS, dismiss),
        route(app, &MONITOR, monitor),
        route(app, &LEAVE, leave),
    ]
}

async fn hold(request: Request, id: Uuid) -> ApiResult {
    obey(&request, id, "call.hold", Order::Hold).await
}

async fn resume(request: Request, id: Uuid) -> ApiResult {
    obey(&request, id, "call.resume", Order::Resume).await
}

async fn transfer(mut request: Request, id: Uuid) -> ApiResult {
    let number = number_in(&mut request).await?;
    obey(&request, id, "call.transfer", Order::Transfer { number }).await
}

async fn consult(mut request: Request, id: Uuid) -> ApiResult {
    let number = number_in(&mut request).await?;
    let consult_id: CallId = mint();
    obey(&request, id, "call.consult", Order::Consult { consult_id, number }).await?;
    json_with(StatusCode::ACCEPTED, &Dialling { call_id: consult_id.0 })
}

async fn complete(request: Request, id: Uuid) -> ApiResult {
    obey(&request, id, "call.consult.complete", Order::CompleteConsult).await
}

async fn join(request: Request, id: Uuid) -> ApiResult {
    obey(&request, id, "call.consult.join", Order::JoinConsult).await
}

async fn depart(request: Request, id: Uuid) -> ApiResult {
    obey(&request, id, "call.leave", Order::Leave).await
}

async fn back(request: Request, id: Uuid) -> ApiResult {
    obey(&request, id, "call.consult.cancel", Order::CancelConsult).await
}

async fn invite(mut request: Request, id: Uuid) -> ApiResult {
    let number = number_in(&mut request).await?;
    obey(&request, id, "call.guest.invite", Order::Invite { number }).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Which {
    guest: u8,
}

async fn dismiss(request: Request, id: Uuid) -> ApiResult {
    let Which { guest } = request.query()?;
    obey(&request, id, "call.guest.dismiss", Order::Dismiss { guest }).await
}

async fn monitor(mut request: Request, id: Uuid) -> ApiResult {
    let Monitoring { role } = request.json().await?;
    let read = |text: &str| GuestRole::from_word(text).filter(|it| *it != GuestRole::Conference);
    let role = word(&role, "role", read)?;
    let (item, tie) = visible(&request, id).await?;
    if tie == Tie::Party {
        return Err(ApiError::Conflict {
            code: "own_call",
            field: None,
            message: "you are in this call already".into(),
        });
    }
    let monitor = own_phone(&request)?;
    let action = match role {
        GuestRole::Listen => "call.monitor.listen",
        GuestRole::Whisper => "call.monitor.whisper",
        GuestRole::Barge | GuestRole::Conference => "call.monitor.barge",
    };
    audit(&request.app, &request.head, request.user()?, action, ("call", id.to_string())).await?;
    let order = Order::Monitor { monitor, role };
    let wanted = ControlRequest { call_id: item.call_id, extension: None, order };
    request.app.calls.control(wanted).await.map_err(refused)?;
    empty(StatusCode::ACCEPTED)
}

async fn leave(request: Request, id: Uuid) -> ApiResult {
    let (item, _) = visible(&request, id).await?;
    let phone = own_phone(&request)?;
    let guest = request.app.desk.guest_at(item.call_id, &phone);
    let guest = guest.ok_or(ApiError::NotFound("monitored call"))?;
    let order = Order::Dismiss { guest };
    let wanted = ControlRequest { call_id: item.call_id, extension: None, order };
    request.app.calls.control(wanted).await.map_err(refused)?;
    let (user, object) = (request.user()?, ("call", id.to_string()));
    audit(&request.app, &request.head, user, "call.monitor.leave", object).await?;
    empty(StatusCode::ACCEPTED)
}

fn own_phone(request: &Request) -> Result<String, ApiError> {
    request.user()?.extension.clone().ok_or_else(|| ApiError::Conflict {
        code: "no_extension",
        field: None,
        message: "you have no phone; an admin can give you one".into(),
    })
}

async fn number_in(request: &mut Request) -> Result<String, ApiError> {
    let ToNumber { number } = request.json().await?;
    digits_to_dial(&request.app, request.user()?, &number).await
}

/// Has the switch obey, if the sender may control this call.
async fn obey(request: &Request, id: Uuid, action: &str, order: Order) -> ApiResult {
    let (item, tie) = visible(request, id).await?;
    let is_party = tie == Tie::Party;
    if !is_party && !request.holds(Right::HangUpAny) {
        return Err(ApiError::Forbidden);
    }
    let user = request.user()?;
    let extension = user.extension.clone().filter(|_| is_party);
    let wanted = ControlRequest { call_id: item.call_id, extension, order };
    request.app.calls.control(wanted).await.map_err(refused)?;
    audit(&request.app, &request.head, user, action, ("call", id.to_string())).await?;
    empty(StatusCode::ACCEPTED)
}
