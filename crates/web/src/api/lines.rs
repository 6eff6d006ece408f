//! `/lines`: the numbers that customers call, and the phones that ring for them.

use super::{Group, audit, required};
use crate::app::App;
use crate::auth::right::Right;
use crate::endpoint::{Endpoint, Gives, NoPart, Request, Takes, Verb, json, route, schema_of};
use crate::error::{ApiError, ApiResult};
use crate::wire::admin::{GroupRow, LineRow, Lines};
use cheling_model::{DealershipId, GroupId, LineId};
use cheling_records::switchboard::{self, Line, Member, Phone, RingGroup};
use cheling_records::{console, mint};
use std::collections::{HashMap, HashSet};
use warp::filters::BoxedFilter;
use warp::reply::Response;

pub const GROUP: Group = Group { segment: "lines", endpoints: &[&SHOW, &REPLACE], routes };

/// Lines, and groups, of one dealership.
const MOST: usize = 500;

static SHOW: Endpoint = Endpoint {
    verb: Verb::Get,
    path: "/lines",
    right: Right::ChangePhones,
    summary: "All lines and ring groups",
    query: &[],
    takes: Takes::Nothing,
    gives: Gives::Json(200, schema_of::<Lines>()),
};
static REPLACE: Endpoint = Endpoint {
    verb: Verb::Put,
    path: "/lines",
    right: Right::ChangePhones,
    summary: "Replaces all lines and ring groups",
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
    let scope = Some(dealership_id);
    let lines = switchboard::lines(&app.database, scope).await?;
    let groups = switchboard::groups(&app.database, scope).await?;
    let members = switchboard::members(&app.database, scope).await?;
    let name_of = |id: GroupId| groups.iter().find(|group| group.group_id == id);
    let lines = lines
        .into_iter()
        .map(|line| LineRow {
            line_id: Some(line.line_id.0),
            group: name_of(line.group_id).map_or(String::new(), |group| group.name.clone()),
            did: line.did,
            name: line.name,
        })
        .collect();
    let groups = groups
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
        })
        .collect();
    Ok(Lines { lines, groups })
}

/// What the tables are to hold.
struct Wanted {
    groups: Vec<RingGroup>,
    members: Vec<Member>,
    lines: Vec<Line>,
}

fn check(
    draft: Lines,
    dealership_id: DealershipId,
    phones: &[Phone],
    old: &Lines,
) -> Result<Wanted, ApiError> {
    if draft.lines.len() > MOST || draft.groups.len() > MOST {
        return Err(ApiError::invalid("lines", format!("at most {MOST} lines and {MOST} groups")));
    }
    let known = |id| old.groups.iter().any(|group| group.group_id == Some(id));
    let mut by_name = HashMap::new();
    let (mut groups, mut members) = (Vec::new(), Vec::new());
    for group in draft.groups {
        let name = required(&group.name, "groups", 64)?;
        // An id that is not ours would take another dealership's group.
        let group_id = match group.group_id {
            Some(id) if known(id) => GroupId(id),
            Some(_) => return Err(ApiError::invalid("groups", "there is no such group")),
            None => mint(),
        };
        if by_name.insert(name.clone(), group_id).is_some() {
            return Err(ApiError::invalid("groups", format!("two groups are called {name}")));
        }
        if !(5..=300).contains(&group.ring_seconds) {
            return Err(ApiError::invalid("groups", "ring_seconds must be from 5 to 300"));
        }
        let mut seen = HashSet::new();
        for (number, position) in group.members.iter().zip(0..) {
            let mut used = phones.iter().filter(|phone| !phone.disabled);
            let Some(phone) = used.find(|phone| phone.number == *number) else {
                let message = format!("there is no extension {number}");
                return Err(ApiError::invalid("groups", message));
            };
            if seen.insert(phone.extension_id) {
                members.push(Member { group_id, extension_id: phone.extension_id, position });
            }
        }
        let ring_seconds = group.ring_seconds.into();
        groups.push(RingGroup { group_id, dealership_id, name, ring_seconds });
    }
    let lines = check_lines(draft.lines, dealership_id, &by_name, old)?;
    Ok(Wanted { groups, members, lines })
}

fn check_lines(
    draft: Vec<LineRow>,
    dealership_id: DealershipId,
    groups: &HashMap<String, GroupId>,
    old: &Lines,
) -> Result<Vec<Line>, ApiError> {
    let known = |id| old.lines.iter().any(|line| line.line_id == Some(id));
    let mut dids = HashSet::new();
    let mut lines = Vec::new();
    for line in draft {
        let did = line.did.trim().to_owned();
        let digits = did.strip_prefix('+').unwrap_or(&did);
        if !(2..=20).contains(&digits.len()) || !digits.bytes().all(|it| it.is_ascii_digit()) {
            let message = format!("{did:?} is not 2 to 20 digits");
            return Err(ApiError::invalid("did", message));
        }
        if !dids.insert(did.clone()) {
            return Err(ApiError::invalid("did", format!("two lines have {did}")));
        }
        let line_id = match line.line_id {
            Some(id) if known(id) => LineId(id),
            Some(_) => return Err(ApiError::invalid("lines", "there is no such line")),
            None => mint(),
        };
        let group_id = *groups.get(line.group.trim()).ok_or_else(|| {
            ApiError::invalid("lines", format!("there is no group called {:?}", line.group))
        })?;
        let name = required(&line.name, "lines", 64)?;
        lines.push(Line { line_id, dealership_id, did, name, group_id });
    }
    Ok(lines)
}

async fn replace(mut request: Request, _: NoPart) -> ApiResult {
    let draft: Lines = request.json().await?;
    let (app, admin) = (&request.app, request.user()?);
    let dealership_id = admin.dealership_id;
    let phones = switchboard::phones(&app.database, Some(dealership_id)).await?;
    let old = read(app, dealership_id).await?;
    let Wanted { groups, members, lines } = check(draft, dealership_id, &phones, &old)?;
    console::replace_lines(&app.database, dealership_id, &groups, &members, &lines).await?;
    app.directory_changed().await;
    let object = ("dealership", dealership_id.to_string());
    audit(app, &request.head, admin, "lines.change", object).await?;
    json(&read(app, dealership_id).await?)
}
