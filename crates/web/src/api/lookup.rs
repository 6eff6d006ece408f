//! `/lookup`: who has a number.

use super::Group;
use crate::app::App;
use crate::auth::right::Right;
use crate::endpoint::{Endpoint, Gives, NoPart, Request, Takes, Verb, json, route};
use crate::error::{ApiError, ApiResult};
use cheling_lookup::{card, number};
use cheling_model::card::Card;
use cheling_model::{Direction, Presentation};
use cheling_records::call::CallItem;
use cheling_records::session::SignedIn;
use serde::Deserialize;
use warp::filters::BoxedFilter;
use warp::reply::Response;

pub const GROUP: Group = Group { segment: "lookup", endpoints: &[&LOOK_UP], routes };

static LOOK_UP: Endpoint = Endpoint {
    verb: Verb::Get,
    path: "/lookup",
    right: Right::SignedIn,
    summary: "The card of a number, as it pops up when that number calls",
    query: &[("number", "As typed or as the wire named it")],
    takes: Takes::Nothing,
    gives: Gives::Object,
};

fn routes(app: &App) -> Vec<BoxedFilter<(Response,)>> {
    vec![route(app, &LOOK_UP, look_up)]
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Query {
    number: String,
}

async fn look_up(request: Request, _: NoPart) -> ApiResult {
    let Query { number } = request.query()?;
    let (app, user) = (&request.app, request.user()?);
    let number = number.trim();
    if number.is_empty() || number.chars().count() > 64 {
        return Err(ApiError::invalid("number", "must have 1 to 64 characters"));
    }
    json(&app.desk.lookup(user.dealership_id, number, app.now()).await?)
}

/// The card of a call as it is now.
///
/// # Errors
/// [`ApiError::Unavailable`].
pub async fn card_of_call(app: &App, user: &SignedIn, item: &CallItem) -> Result<Card, ApiError> {
    if item.direction == Direction::Internal {
        let is_callee = user.extension.as_deref() == Some(item.called_number.as_str());
        let colleague = if is_callee { &item.caller_number } else { &item.called_number };
        return Ok(card::internal(colleague));
    }
    let db = &app.database;
    let dealership_id = user.dealership_id;
    let raw = &item.customer_number;
    let read = match item.presentation {
        Presentation::Allowed => number::read(raw, &user.area_code),
        Presentation::Withheld | Presentation::Unavailable => None,
    };
    let current = Some(item.call_id);
    match (item.customer_id, &read) {
        (Some(customer_id), read) => {
            let read = read.as_ref();
            Ok(card::of_customer(db, dealership_id, customer_id, raw, read, current).await?)
        }
        (None, Some(read)) => {
            Ok(card::of_number(db, dealership_id, raw, read, current, &app.today()).await?)
        }
        (None, None) => Ok(card::withheld()),
    }
}
