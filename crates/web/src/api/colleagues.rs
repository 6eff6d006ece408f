//! `/colleagues`: to whom a call can be handed on by a click, and who of them is free.

use super::{Group, registrations};
use crate::app::App;
use crate::auth::right::Right;
use crate::endpoint::{Endpoint, Gives, NoPart, Request, Takes, Verb, json, route, schema_of};
use crate::error::ApiResult;
use crate::wire::Page;
use crate::wire::admin::Colleague;
use cheling_records::switchboard::{self, Phone};
use warp::filters::BoxedFilter;
use warp::reply::Response;

pub const GROUP: Group = Group { segment: "colleagues", endpoints: &[&LIST], routes };

static LIST: Endpoint = Endpoint {
    verb: Verb::Get,
    path: "/colleagues",
    right: Right::Desk,
    summary: "The other phones of the dealership, by number: who sits there, and whether a call can \
              go there now",
    query: &[],
    takes: Takes::Nothing,
    gives: Gives::Page(schema_of::<Colleague>()),
};

fn routes(app: &App) -> Vec<BoxedFilter<(Response,)>> {
    vec![route(app, &LIST, list)]
}

async fn list(request: Request, _: NoPart) -> ApiResult {
    let (app, user) = (&request.app, request.user()?);
    let phones = switchboard::phones(&app.database, Some(user.dealership_id)).await?;
    let registered = registrations(app).await;
    let busy = app.desk.busy_phones(user.dealership_id);
    let state = |number: &String| {
        let is_there = registered.iter().any(|it| it.extension == *number);
        match (is_there, busy.contains(number)) {
            (false, _) => "offline",
            (true, true) => "busy",
            (true, false) => "free",
        }
    };
    let row = |phone: Phone| Colleague {
        state: state(&phone.number).into(),
        name: phone.user_name.unwrap_or(phone.display_name),
        extension: phone.number,
    };
    let others = phones.into_iter().filter(|phone| {
        !phone.disabled && Some(phone.number.as_str()) != user.extension.as_deref()
    });
    json(&Page::<Colleague> { items: others.map(row).collect(), next_cursor: None })
}
