//! Whether lines, opening hours and groups as a form sends them make sense together.

use crate::api::required;
use crate::error::ApiError;
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
        return Err(ApiError::invalid("lines", format!("at most {MOST} lines and {MOST} groups")));
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
            let message = format!("two opening hours are called {name}");
            return Err(ApiError::invalid("schedules", message));
        }
        let hours = hours(row)
            .map_err(|error| ApiError::invalid("schedules", format!("{name}: {error}")))?;
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
            return Err(ApiError::invalid("groups", format!("two groups are called {name}")));
        }
        Ok(())
    }

    fn group(&self, row: &GroupRow, members: &mut Vec<Member>) -> Result<RingGroup, ApiError> {
        let invalid = |message: String| ApiError::invalid("groups", message);
        let name = row.name.trim().to_owned();
        let group_id = *self.groups.get(&name).ok_or(ApiError::NotFound("group"))?;
        for (key, seconds) in
            [("ring_seconds", row.ring_seconds), ("member_seconds", row.member_seconds)]
        {
            if !(5..=300).contains(&seconds) {
                return Err(invalid(format!("{name}: {key} must be from 5 to 300")));
            }
        }
        let strategy = Strategy::from_word(&row.strategy).ok_or_else(|| {
            invalid(format!("{name}: strategy must be ring_all, in_order or longest_idle"))
        })?;
        let mut seen = HashSet::new();
        for (number, position) in row.members.iter().zip(0..) {
            let phone = self
                .phone(number)
                .ok_or_else(|| invalid(format!("{name}: there is no extension {number}")))?;
            if seen.insert(phone.extension_id) {
                members.push(Member { group_id, extension_id: phone.extension_id, position });
            }
        }
        let destination = |key: &str, row: &DestinationRow| {
            let destination = self.destination(row);
            let destination =
                destination.map_err(|why| invalid(format!("{name}: {key}: {why}")))?;
            match destination {
                Destination::Group(id) if id == group_id => {
                    Err(invalid(format!("{name}: {key}: the group cannot go on to itself")))
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

    fn destination(&self, row: &DestinationRow) -> Result<Destination, String> {
        let to = row.to.trim();
        match row.kind.as_str() {
            "unavailable" => Ok(Destination::Unavailable),
            "busy" => Ok(Destination::Busy),
            "group" => match self.groups.get(to) {
                Some(id) => Ok(Destination::Group(*id)),
                None => Err(format!("there is no group called {to:?}")),
            },
            "extension" => match self.phone(to) {
                Some(phone) => Ok(Destination::Extension(phone.number.clone())),
                None => Err(format!("there is no extension {to:?}")),
            },
            "outside" => self.outside(to).map(Destination::Outside),
            kind => {
                Err(format!("{kind:?} is none of unavailable, busy, group, extension, outside"))
            }
        }
    }

    /// A number that calls are sent on to: a telephone of somebody's, not one for help.
    fn outside(&self, typed: &str) -> Result<String, String> {
        let number = number::read(typed, self.area_code);
        let number = number.filter(|number| {
            !reach::is_emergency(&number.key)
                && (number.kind != NumberKind::Foreign || number.key.starts_with('+'))
        });
        let number = number.ok_or_else(|| format!("{typed:?} is no number to send calls to"))?;
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
                let message = format!("{did:?} is not 2 to 20 digits");
                return Err(ApiError::invalid("did", message));
            }
            if !dids.insert(did.clone()) {
                return Err(ApiError::invalid("did", format!("two lines have {did}")));
            }
            let line_id = match row.line_id {
                Some(id) if is_known(id) => LineId(id),
                Some(_) => return Err(ApiError::invalid("lines", "there is no such line")),
                None => mint(),
            };
            let group_id = *self.groups.get(row.group.trim()).ok_or_else(|| {
                ApiError::invalid("lines", format!("there is no group called {:?}", row.group))
            })?;
            let name = required(&row.name, "lines", 64)?;
            let schedule = row.schedule.as_deref().map(str::trim).filter(|it| !it.is_empty());
            let schedule_id = schedule.map(|schedule| {
                let message = format!("{name}: there are no opening hours called {schedule:?}");
                self.schedules.get(schedule).copied().ok_or(ApiError::invalid("lines", message))
            });
            let closed = self
                .destination(&row.closed)
                .map_err(|why| ApiError::invalid("lines", format!("{name}: closed: {why}")))?;
            let (schedule_id, dealership_id) = (schedule_id.transpose()?, self.dealership_id);
            lines.push(Line { line_id, dealership_id, did, name, group_id, schedule_id, closed });
        }
        Ok(lines)
    }
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
            return Err(ApiError::invalid("blocked_prefixes", message));
        }
        if !prefixes.contains(&prefix) {
            prefixes.push(prefix);
        }
    }
    Ok(prefixes)
}
