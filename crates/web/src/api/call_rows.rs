//! Calls as lists, details and recordings show them.

use crate::app::App;
use crate::auth::right::Right;
use crate::endpoint::Request;
use crate::error::ApiError;
use crate::wire::call::{CallDetail, CallGuestRow, CallLegRow, CallRow, CallStopRow};
use cheling_lookup::desk::LiveState;
use cheling_model::follow_up::Outcome;
use cheling_model::{CallId, CustomerId, Direction, GuestRole, Presentation, Timestamp};
use cheling_records::call::{self, CallItem, MatchMethod};
use cheling_records::{console, guest, user};
use std::collections::HashMap;
use uuid::Uuid;

/// The rows of a page, with the plates that their customers drive.
pub async fn rows(app: &App, items: &[CallItem]) -> Result<Vec<CallRow>, ApiError> {
    let mut customers: Vec<CustomerId> = items.iter().filter_map(|it| it.customer_id).collect();
    customers.sort_unstable();
    customers.dedup();
    let plates: HashMap<_, _> = match customers.is_empty() {
        true => HashMap::new(),
        false => console::plates_of(&app.database, &customers)
            .await?
            .into_iter()
            .map(|it| (it.customer_id, it.plate))
            .collect(),
    };
    let now = app.now();
    let plate = |id: Option<CustomerId>| id.and_then(|id| plates.get(&id)).cloned();
    Ok(items.iter().map(|it| row(it, plate(it.customer_id).unwrap_or_default(), now)).collect())
}

fn row(item: &CallItem, plate: String, now: Timestamp) -> CallRow {
    let talk = item.answered_at.map(|answered| item.ended_at.unwrap_or(now).since(answered));
    let number = match (item.direction, item.presentation) {
        // No side is a customer: the colleague called stands there.
        (Direction::Internal, _) => item.called_number.as_str(),
        (Direction::Outbound, _) | (Direction::Inbound, Presentation::Allowed) => {
            &item.customer_number
        }
        // Some gateways send `anonymous` where a number would be.
        (Direction::Inbound, Presentation::Withheld | Presentation::Unavailable) => "",
    };
    CallRow {
        call_id: item.call_id.0,
        direction: item.direction.as_str().into(),
        offered_at: item.offered_at.as_micros(),
        answered_at: item.answered_at.map(Timestamp::as_micros),
        ended_at: item.ended_at.map(Timestamp::as_micros),
        talk_ms: talk.map_or(0, |talk| i64::try_from(talk.as_millis()).unwrap_or(i64::MAX)),
        number: number.into(),
        line_name: item.line_name.clone(),
        extension: item.extension.clone(),
        user_name: item.user_name.clone(),
        customer_id: item.customer_id.map(|id| id.0),
        customer_name: item.customer_name.clone(),
        plate,
        cause: item.cause.map_or("", |cause| cause.as_str()).into(),
        outcome: item.outcome.map_or("", Outcome::as_str).into(),
        follow_up_id: item.follow_up_id.map(|id| id.0),
        recording_id: item.recording_id.map(|id| id.0),
        verdict: item.verdict.map_or("", |verdict| verdict.as_str()).into(),
    }
}

/// What the sender of a request is to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tie {
    /// Talks, talked or dialled.
    Party,
    /// Has talked, and handed the call on.
    Former,
    /// Was rung; somebody else may have answered.
    Rung,
    /// May see it as it may see all.
    Overseer,
}

/// A call that the sender may see.
///
/// # Errors
/// [`ApiError::NotFound`], also for the call of another dealership or, for who sees only own calls,
/// of a colleague.
pub async fn visible(request: &Request, id: Uuid) -> Result<(CallItem, Tie), ApiError> {
    let (app, user) = (&request.app, request.user()?);
    let found = call::item(&app.database, user.dealership_id, CallId(id)).await;
    let item = found.map_err(|error| missing(error, "call"))?;
    // Of a call between colleagues the row names the one who answered: the desk knows both.
    let live = app.desk.live_calls(user.user_id).into_iter();
    let live = live.filter(|call| call.state != LiveState::Ringing);
    let is_on_it = live.map(|call| call.offered.call_id).any(|id| id == item.call_id);
    if is_on_it || item.user_id == Some(user.user_id) {
        return Ok((item, Tie::Party));
    }
    let legs = call::legs(&app.database, item.call_id).await?;
    let mut own = legs.iter().filter(|leg| leg.user_id == Some(user.user_id)).peekable();
    if own.peek().is_some() {
        let has_talked = own.any(|leg| leg.answered_at.is_some());
        return Ok((item, if has_talked { Tie::Former } else { Tie::Rung }));
    }
    match request.holds(Right::SeeAllCalls) {
        true => Ok((item, Tie::Overseer)),
        false => Err(ApiError::NotFound("call")),
    }
}

/// Names the thing that is not there.
pub fn missing(error: cheling_records::Error, what: &'static str) -> ApiError {
    match error {
        cheling_records::Error::NotFound => ApiError::NotFound(what),
        error => error.into(),
    }
}

/// A call with its phones.
///
/// # Errors
/// [`ApiError::NotFound`].
pub async fn detail(request: &Request, call_id: CallId) -> Result<CallDetail, ApiError> {
    let (app, me) = (&request.app, request.user()?);
    let item = call::item(&app.database, me.dealership_id, call_id).await?;
    let legs = call::legs(&app.database, call_id).await?;
    let users = user::list(&app.database, me.dealership_id).await?;
    let name = |id| users.iter().find(|user| Some(user.user_id) == id);
    let legs = legs
        .into_iter()
        .map(|leg| CallLegRow {
            user_name: name(leg.user_id).map_or(String::new(), |user| user.display_name.clone()),
            extension: leg.extension,
            ringing_at: leg.ringing_at.unwrap_or(item.offered_at).as_micros(),
            answered_at: leg.answered_at.map(Timestamp::as_micros),
            withdrawn_reason: leg.withdrawn.unwrap_or_default(),
        })
        .collect();
    let route = call::route(&app.database, call_id).await?.into_iter();
    let route = route.map(|stop| CallStopRow {
        at: stop.at.as_micros(),
        kind: stop.kind.as_str().into(),
        name: stop.name,
        why: stop.why.as_str().into(),
    });
    let route = route.collect();
    let guests = guest::of_call(&app.database, call_id).await?;
    let guests = guests
        .into_iter()
        .map(|guest| CallGuestRow {
            guest: u8::try_from(guest.guest).unwrap_or_default(),
            role: guest.role.as_str().into(),
            user_name: name(guest.user_id).map_or(String::new(), |user| user.display_name.clone()),
            number: guest.number,
            joined_at: guest.joined_at.as_micros(),
            left_at: guest.left_at.map(Timestamp::as_micros),
        })
        // Who is listened to is not to know while it goes on, nor after.
        .filter(|guest| {
            guest.role != GuestRole::Listen.as_str() || request.holds(Right::SeeAllCalls)
        })
        .collect();
    let match_method = match item.match_method {
        MatchMethod::None => "",
        method => method.as_str(),
    };
    let mut rows = rows(app, std::slice::from_ref(&item)).await?;
    Ok(CallDetail {
        row: rows.pop().ok_or(ApiError::NotFound("call"))?,
        hangup_by: item.hangup_by.map_or("", |lane| lane.as_str()).into(),
        match_method: match_method.into(),
        note: item.note,
        legs,
        route,
        guests,
    })
}
