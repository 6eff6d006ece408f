//! `/alarms`: what is wrong with the recorder now.

use super::Group;
use crate::app::App;
use crate::auth::right::Right;
use crate::endpoint::{Endpoint, Gives, NoPart, Request, Takes, Verb, json, route, schema_of};
use crate::error::ApiResult;
use crate::wire::admin::{AlarmRow, AlarmRows};
use warp::filters::BoxedFilter;
use warp::reply::Response;

pub const GROUP: Group = Group { segment: "alarms", endpoints: &[&SHOW], routes };

static SHOW: Endpoint = Endpoint {
    verb: Verb::Get,
    path: "/alarms",
    right: Right::Oversee,
    summary: "What is wrong with the recorder now: calls go on and are not recorded, or not wholly",
    query: &[],
    takes: Takes::Nothing,
    gives: Gives::Json(200, schema_of::<AlarmRows>()),
};

fn routes(app: &App) -> Vec<BoxedFilter<(Response,)>> {
    vec![route(app, &SHOW, show)]
}

async fn show(request: Request, _: NoPart) -> ApiResult {
    let row = |alarm: crate::alarm::Alarm| AlarmRow {
        kind: alarm.kind.as_str().into(),
        disk: alarm.disk,
        free_bytes: alarm.free_bytes,
        lost: alarm.lost,
        since: alarm.since.as_micros(),
    };
    json(&AlarmRows { alarms: (request.app.alarms)().into_iter().map(row).collect() })
}
