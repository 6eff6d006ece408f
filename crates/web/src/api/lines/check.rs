//! Whether lines, opening hours and groups as a form sends them make sense together.

use crate::api::required;
use crate::error::{ApiError, Reason};
use crate::wire::admin::{DestinationRow, GroupRow, LineRow, Lines, ScheduleRow, SpanRow};
use cheling_lookup::number;
use cheling_model::directory::{Destination, Strategy};
use cheling_model::hours::{Hours, HoursError, Span, SpecialDay, TimeOfDay};
use cheling_model::number::NumberKind;
use cheling_model::{DealershipId, GroupId, LineId, reach};
use cheling_records::mint;
use cheling_records::switchboard::{Line, Member, Phone, RingGroup, Schedule};
use std::collections::{HashMap, HashSet};
use uuid::Uuid;

/// Lines, groups and schedules of one dealership, and blocked prefixes.
const MOST: usize = 500;

/// What the tables are to hold.
pub(super) struct Wanted {
    pub(super) schedules: Vec<Schedule>,
    pub(super) groups: Vec<RingGroup>,
    pub(super) members: Vec<Member>,
    pub(super) lines: Vec<Line>,
    /// `None` leaves them as they are.
    pub(super) blocked_prefixes: Option<Vec<String>>,
}

/// What a form's names stand for.
struct Known<'a> {
    dealership_id: DealershipId,
    area_code: &'a str,
    phones: &'a [Phone],
    groups: HashMap<String, GroupId>,
    schedules: HashMap<String, Uuid>,
}

pub(super) fn all(
    draft: Lines,
    dealership_id: DealershipId,
    area_code: &str,
    phones: &[Phone],
    old: &Lines,
) -> Result<Wanted, ApiError> {
    let longest = draft.lines.len().max(draft.groups.len()).max(draft.schedules.len());
    if longest > MOST {
        let reason = Reason { code: "too_many", value: MOST.to_string(), ..Reason::default() };
        let message = format!("at most {MOST} lines and {MOST} groups");
        return Err(ApiError::because("lines", reason, message));
    }
    let (groups, schedules) = (HashMap::new(), HashMap::new());
    let mut known = Known { dealership_id, area_code, phones, groups, schedules };
    let mut schedules = Vec::with_capacity(draft.schedules.len());
    for row in &draft.schedules {
        schedules.push(known.schedule(row, old)?);
    }
    for row in &draft.groups {
        known.name_group(row, old)?;
    }
    let (mut groups, mut members) = (Vec::with_capacity(draft.groups.len()), Vec::new());
    for row in &draft.groups {
        groups.push(known.group(row, &mut members)?);
    }
    let lines = known.lines(draft.lines, old)?;
    let blocked_prefixes = draft.blocked_prefixes.map(prefixes).transpose()?;
    Ok(Wanted { schedules, groups, members, lines, blocked_prefixes })
}

impl Known<'_> {
    fn schedule(&mut self, row: &ScheduleRow, old: &Lines) -> Result<Schedule, ApiError> {
        let name = required(&row.name, "schedules", 64)?;
        let is_known = |id| old.schedules.iter().any(|it| it.schedule_id == Some(id));
        let schedule_id = match row.schedule_id {
            Some(id) if is_known(id) => id,
            Some(_) => return Err(ApiError::invalid("schedules", "there are no such hours")),
            None => mint(),
        };
        if self.schedules.insert(name.clone(), schedule_id).is_some() {
            return Err(twice("schedules", "schedule_twice", &name, "opening hours are called"));
        }
        let hours = hours(row).map_err(|error| {
            let reason = Reason { code: "bad_hours", about: name.clone(), value: String::new() };
            ApiError::because("schedules", reason, format!("{name}: {error}"))
        })?;
        let dealership_id = self.dealership_id;
        Ok(Schedule { schedule_id, dealership_id, name, hours })
    }

    fn name_group(&mut self, row: &GroupRow, old: &Lines) -> Result<(), ApiError> {
        let name = required(&row.name, "groups", 64)?;
        let is_known = |id| old.groups.iter().any(|group| group.group_id == Some(id));
        // An id that is not ours would take another dealership's group.
        let group_id = match row.group_id {
            Some(id) if is_known(id) => GroupId(id),
            Some(_) => return Err(ApiError::invalid("groups", "there is no such group")),
            None => mint(),
        };
        if self.groups.insert(name.clone(), group_id).is_some() {
            return Err(twice("groups", "group_twice", &name, "groups are called"));
        }
        Ok(())
    }

    fn group(&self, row: &GroupRow, members: &mut Vec<Member>) -> Result<RingGroup, ApiError> {
        let name = row.name.trim().to_owned();
        let invalid = |wrong: Wrong| wrong.of("groups", &name, "");
        let group_id = *self.groups.get(&name).ok_or(ApiError::NotFound("group"))?;
        for (key, seconds) in
            [("ring_seconds", row.ring_seconds), ("member_seconds", row.member_seconds)]
        {
            if !(5..=300).contains(&seconds) {
                let message = format!("{key} must be from 5 to 300");
                return Err(invalid(Wrong::new("ring_seconds", &seconds.to_string(), message)));
            }
        }
        let strategy = Strategy::from_word(&row.strategy).ok_or_else(|| {
            let message = "strategy must be ring_all, in_order or longest_idle".to_owned();
            invalid(Wrong::new("strategy", &row.strategy, message))
        })?;
        let mut seen = HashSet::new();
        for (number, position) in row.members.iter().zip(0..) {
            let phone = self.phone(number).ok_or_else(|| invalid(Wrong::no_extension(number)))?;
            if seen.insert(phone.extension_id) {
                members.push(Member { group_id, extension_id: phone.extension_id, position });
            }
        }
        let destination = |key: &str, row: &DestinationRow| {
            let destination = self.destination(row);
            let destination = destination.map_err(|why| why.of("groups", &name, key))?;
            match destination {
                Destination::Group(id) if id == group_id => {
                    let message = "the group cannot go on to itself".to_owned();
                    Err(Wrong::new("group_to_itself", &row.to, message).of("groups", &name, key))
                }
                destination => Ok(destination),
            }
        };
        let no_answer = destination("no_answer", &row.no_answer)?;
        let all_busy = destination("all_busy", &row.all_busy)?;
        let nobody = destination("nobody", &row.nobody)?;
        Ok(RingGroup {
            group_id,
            dealership_id: self.dealership_id,
            ring_seconds: row.ring_seconds.into(),
            strategy,
            member_seconds: row.member_seconds.into(),
            skip_busy: row.skip_busy,
            no_answer,
            all_busy,
            nobody,
            name,
        })
    }

    fn phone(&self, number: &str) -> Option<&Phone> {
        self.phones.iter().find(|phone| phone.number == number && !phone.disabled)
    }

    fn destination(&self, row: &DestinationRow) -> Result<Destination, Wrong> {
        let to = row.to.trim();
        match row.kind.as_str() {
            "unavailable" => Ok(Destination::Unavailable),
            "busy" => Ok(Destination::Busy),
            "group" => match self.groups.get(to) {
                Some(id) => Ok(Destination::Group(*id)),
                None => Err(Wrong::no_group(to)),
            },
            "extension" => match self.phone(to) {
                Some(phone) => Ok(Destination::Extension(phone.number.clone())),
                None => Err(Wrong::no_extension(to)),
            },
            "outside" => self.outside(to).map(Destination::Outside),
            kind => {
                let message =
                    format!("{kind:?} is none of unavailable, busy, group, extension, outside");
                Err(Wrong::new("destination", kind, message))
            }
        }
    }

    /// A number that calls are sent on to: a telephone of somebody's, not one for help.
    fn outside(&self, typed: &str) -> Result<String, Wrong> {
        let number = number::read(typed, self.area_code);
        let number = number.filter(|number| {
            !reach::is_emergency(&number.key)
                && (number.kind != NumberKind::Foreign || number.key.starts_with('+'))
        });
        let number = number.ok_or_else(|| {
            let message = format!("{typed:?} is no number to send calls to");
            Wrong::new("no_number", typed, message)
        })?;
        Ok(number::national(&number))
    }

    fn lines(&self, draft: Vec<LineRow>, old: &Lines) -> Result<Vec<Line>, ApiError> {
        let is_known = |id| old.lines.iter().any(|line| line.line_id == Some(id));
        let mut dids = HashSet::new();
        let mut lines = Vec::with_capacity(draft.len());
        for row in draft {
            let did = row.did.trim().to_owned();
            let digits = did.strip_prefix('+').unwrap_or(&did);
            if !(2..=20).contains(&digits.len()) || !digits.bytes().all(|it| it.is_ascii_digit()) {
                let reason = Reason { code: "bad_did", about: String::new(), value: did.clone() };
                let message = format!("{did:?} is not 2 to 20 digits");
                return Err(ApiError::because("did", reason, message));
            }
            if !dids.insert(did.clone()) {
                return Err(twice("did", "line_twice", &did, "lines have"));
            }
            let line_id = match row.line_id {
                Some(id) if is_known(id) => LineId(id),
                Some(_) => return Err(ApiError::invalid("lines", "there is no such line")),
                None => mint(),
            };
            let group_id = self.groups.get(row.group.trim()).copied();
            let group_id =
                group_id.ok_or_else(|| Wrong::no_group(&row.group).of("lines", &did, ""))?;
            let name = required(&row.name, "lines", 64)?;
            let schedule = row.schedule.as_deref().map(str::trim).filter(|it| !it.is_empty());
            let schedule_id = schedule.map(|schedule| {
                self.schedules.get(schedule).copied().ok_or_else(|| {
                    let message = format!("there are no opening hours called {schedule:?}");
                    Wrong::new("no_schedule", schedule, message).of("lines", &name, "")
                })
            });
            let closed = self.destination(&row.closed);
            let closed = closed.map_err(|why| why.of("lines", &name, "closed"))?;
            let (schedule_id, dealership_id) = (schedule_id.transpose()?, self.dealership_id);
            lines.push(Line { line_id, dealership_id, did, name, group_id, schedule_id, closed });
        }
        Ok(lines)
    }
}

/// What is wrong with one value of a group or a line.
struct Wrong {
    code: &'static str,
    value: String,
    message: String,
}

impl Wrong {
    fn new(code: &'static str, value: &str, message: String) -> Self {
        Self { code, value: value.to_owned(), message }
    }

    fn no_group(name: &str) -> Self {
        Self::new("no_group", name, format!("there is no group called {name:?}"))
    }

    fn no_extension(number: &str) -> Self {
        Self::new("no_extension", number, format!("there is no extension {number}"))
    }

    /// Says whose value it is: of this group or line, and of which of its keys.
    fn of(self, field: &'static str, about: &str, key: &str) -> ApiError {
        let Self { code, value, message } = self;
        let key = if key.is_empty() { String::new() } else { format!("{key}: ") };
        let reason = Reason { code, about: about.to_owned(), value };
        ApiError::because(field, reason, format!("{about}: {key}{message}"))
    }
}

/// Two things have the same name or number.
fn twice(field: &'static str, code: &'static str, name: &str, what: &str) -> ApiError {
    let reason = Reason { code, about: name.to_owned(), value: String::new() };
    ApiError::because(field, reason, format!("two {what} {name}"))
}

fn hours(row: &ScheduleRow) -> Result<Hours, HoursError> {
    let time = |text: &str| TimeOfDay::try_from(text.trim().to_owned());
    let spans = |rows: &[SpanRow]| -> Result<Vec<Span>, HoursError> {
        rows.iter().map(|it| Ok(Span { from: time(&it.from)?, to: time(&it.to)? })).collect()
    };
    let mut hours = Hours::default();
    if row.week.len() != hours.week.len() {
        return Err(HoursError::Week);
    }
    for (day, rows) in hours.week.iter_mut().zip(&row.week) {
        *day = spans(rows)?;
    }
    for day in &row.days {
        let name = day.name.trim().chars().take(40).collect();
        let day = SpecialDay { day: day.day.trim().to_owned(), name, spans: spans(&day.spans)? };
        hours.days.push(day);
    }
    hours.check()?;
    Ok(hours)
}

fn prefixes(typed: Vec<String>) -> Result<Vec<String>, ApiError> {
    if typed.len() > MOST {
        return Err(ApiError::invalid("blocked_prefixes", format!("at most {MOST} prefixes")));
    }
    let mut prefixes = Vec::with_capacity(typed.len());
    for prefix in typed {
        let prefix = prefix.trim().to_owned();
        let digits = prefix.strip_prefix('+').unwrap_or(&prefix);
        let is_prefix =
            (1..=15).contains(&digits.len()) && digits.bytes().all(|it| it.is_ascii_digit());
        if !is_prefix {
            let message = format!("{prefix:?} is not 1 to 15 digits");
            let reason = Reason { code: "bad_prefix", about: String::new(), value: prefix };
            return Err(ApiError::because("blocked_prefixes", reason, message));
        }
        if !prefixes.contains(&prefix) {
            prefixes.push(prefix);
        }
    }
    Ok(prefixes)
}
