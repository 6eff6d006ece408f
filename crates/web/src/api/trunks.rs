//! `/trunks`: how the gateways, providers and telephone systems of the configuration are.

use super::{Group, SWITCH_PATIENCE};
use crate::app::App;
use crate::auth::right::Right;
use crate::control::TrunkState;
use crate::endpoint::{Endpoint, Gives, NoPart, Request, Takes, Verb, json, route, schema_of};
use crate::error::ApiResult;
use crate::wire::Page;
use crate::wire::admin::{TrunkRegistrationRow, TrunkRow};
use warp::filters::BoxedFilter;
use warp::reply::Response;

pub const GROUP: Group = Group { segment: "trunks", endpoints: &[&LIST], routes };

static LIST: Endpoint = Endpoint {
    verb: Verb::Get,
    path: "/trunks",
    right: Right::ChangePhones,
    summary: "All trunks in the order in which they are tried, and how they are",
    query: &[],
    takes: Takes::Nothing,
    gives: Gives::Page(schema_of::<TrunkRow>()),
};

fn routes(app: &App) -> Vec<BoxedFilter<(Response,)>> {
    vec![route(app, &LIST, list)]
}

async fn list(request: Request, _: NoPart) -> ApiResult {
    let items = rows(&request.app).await;
    json(&Page::<TrunkRow> { items, next_cursor: None })
}

/// How all trunks are; none if the switch does not answer in time.
pub async fn rows(app: &App) -> Vec<TrunkRow> {
    let asked = tokio::time::timeout(SWITCH_PATIENCE, app.calls.trunks());
    asked.await.unwrap_or_default().into_iter().map(row).collect()
}

fn row(trunk: TrunkState) -> TrunkRow {
    TrunkRow {
        state: trunk.standing().to_owned(),
        name: trunk.name,
        addresses: trunk.addresses,
        answers: trunk.answers,
        registration: trunk.registration.map(|it| TrunkRegistrationRow {
            registered: it.is_registered,
            address: it.address,
            since_at: it.since.map(|at| at.as_micros()),
            expires_at: it.expires_at.map(|at| at.as_micros()),
            last_status: it.last_status,
        }),
        calls: trunk.calls,
        max_calls: trunk.max_calls,
    }
}
