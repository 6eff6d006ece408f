//! `/lines`: the numbers that customers call, when they are open, and the phones that ring for them.

mod check;

use super::{Group, audit};
use crate::app::App;
use crate::auth::right::Right;
use crate::endpoint::{Endpoint, Gives, NoPart, Request, Takes, Verb, json, route, schema_of};
use crate::error::{ApiError, ApiResult};
use crate::wire::admin::{
    DestinationRow, GroupRow, LineRow, Lines, ScheduleRow, SpanRow, SpecialDayRow,
};
use check::Wanted;
use cheling_model::directory::Destination;
use cheling_model::hours::Span;
use cheling_model::{DealershipId, GroupId};
use cheling_records::console;
use cheling_records::switchboard::{self, RingGroup, Schedule};
use uuid::Uuid;
use warp::filters::BoxedFilter;
use warp::reply::Response;

pub const GROUP: Group = Group { segment: "lines", endpoints: &[&SHOW, &REPLACE], routes };

static SHOW: Endpoint = Endpoint {
    verb: Verb::Get,
    path: "/lines",
    right: Right::ChangePhones,
    summary: "All lines, opening hours and ring groups, and the prefixes that nobody may dial",
    query: &[],
    takes: Takes::Nothing,
    gives: Gives::Json(200, schema_of::<Lines>()),
};
static REPLACE: Endpoint = Endpoint {
    verb: Verb::Put,
    path: "/lines",
    right: Right::ChangePhones,
    summary: "Replaces all lines, opening hours and ring groups",
    query: &[],
    takes: Takes::Json(schema_of::<Lines>()),
    gives: Gives::Json(200, schema_of::<Lines>()),
};

fn routes(app: &App) -> Vec<BoxedFilter<(Response,)>> {
    vec![route(app, &SHOW, show), route(app, &REPLACE, replace)]
}

async fn show(request: Request, _: NoPart) -> ApiResult {
    let dealership_id = request.user()?.dealership_id;
    json(&read(&request.app, dealership_id).await?)
}

async fn read(app: &App, dealership_id: DealershipId) -> Result<Lines, ApiError> {
    let (db, scope) = (&app.database, Some(dealership_id));
    let lines = switchboard::lines(db, scope).await?;
    let groups = switchboard::groups(db, scope).await?;
    let schedules = switchboard::schedules(db, scope).await?;
    let members = switchboard::members(db, scope).await?;
    let names = Names { groups: &groups, schedules: &schedules };
    let lines = lines
        .into_iter()
        .map(|line| LineRow {
            line_id: Some(line.line_id.0),
            group: names.group(line.group_id),
            schedule: names.schedule(line.schedule_id),
            closed: names.destination(&line.closed),
            did: line.did,
            name: line.name,
        })
        .collect();
    let group_rows = groups
        .iter()
        .map(|group| GroupRow {
            group_id: Some(group.group_id.0),
            name: group.name.clone(),
            members: members
                .iter()
                .filter(|member| member.group_id == group.group_id)
                .map(|member| member.number.clone())
                .collect(),
            ring_seconds: u32::try_from(group.ring_seconds).unwrap_or(0),
            strategy: group.strategy.as_str().into(),
            member_seconds: u32::try_from(group.member_seconds).unwrap_or(0),
            skip_busy: group.skip_busy,
            no_answer: names.destination(&group.no_answer),
            all_busy: names.destination(&group.all_busy),
            nobody: names.destination(&group.nobody),
        })
        .collect();
    let blocked_prefixes = Some(switchboard::blocked_prefixes(db, dealership_id).await?);
    let schedules = schedules.iter().map(schedule_row).collect();
    Ok(Lines { lines, groups: group_rows, schedules, blocked_prefixes })
}

/// What things are called.
struct Names<'a> {
    groups: &'a [RingGroup],
    schedules: &'a [Schedule],
}

impl Names<'_> {
    fn group(&self, id: GroupId) -> String {
        let group = self.groups.iter().find(|group| group.group_id == id);
        group.map_or(String::new(), |group| group.name.clone())
    }

    fn schedule(&self, id: Option<Uuid>) -> Option<String> {
        let schedule = self.schedules.iter().find(|schedule| Some(schedule.schedule_id) == id);
        schedule.map(|schedule| schedule.name.clone())
    }

    fn destination(&self, destination: &Destination) -> DestinationRow {
        let (kind, to) = match destination {
            Destination::Unavailable => ("unavailable", String::new()),
            Destination::Busy => ("busy", String::new()),
            Destination::Group(id) => ("group", self.group(*id)),
            Destination::Extension(number) => ("extension", number.clone()),
            Destination::Outside(number) => ("outside", number.clone()),
        };
        DestinationRow { kind: kind.into(), to }
    }
}

fn schedule_row(schedule: &Schedule) -> ScheduleRow {
    let spans = |spans: &Vec<Span>| -> Vec<SpanRow> {
        spans.iter().map(|it| SpanRow { from: it.from.into(), to: it.to.into() }).collect()
    };
    let day = |day: &cheling_model::hours::SpecialDay| SpecialDayRow {
        day: day.day.clone(),
        name: day.name.clone(),
        spans: spans(&day.spans),
    };
    ScheduleRow {
        schedule_id: Some(schedule.schedule_id),
        name: schedule.name.clone(),
        week: schedule.hours.week.iter().map(spans).collect(),
        days: schedule.hours.days.iter().map(day).collect(),
    }
}

async fn replace(mut request: Request, _: NoPart) -> ApiResult {
    let draft: Lines = request.json().await?;
    let (app, admin) = (&request.app, request.user()?);
    let (db, dealership_id) = (&app.database, admin.dealership_id);
    let phones = switchboard::phones(db, Some(dealership_id)).await?;
    let old = read(app, dealership_id).await?;
    let wanted = check::all(draft, dealership_id, &admin.area_code, &phones, &old)?;
    let Wanted { schedules, groups, members, lines, blocked_prefixes } = wanted;
    console::replace_lines(db, dealership_id, &schedules, &groups, &members, &lines).await?;
    if let Some(prefixes) = blocked_prefixes {
        switchboard::set_blocked_prefixes(db, dealership_id, &prefixes, app.now()).await?;
    }
    app.directory_changed().await;
    let object = ("dealership", dealership_id.to_string());
    audit(app, &request.head, admin, "lines.change", object).await?;
    json(&read(app, dealership_id).await?)
}
