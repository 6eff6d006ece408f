//! Builds what the call machines must know from the database.

use crate::Result;
use cheling_model::directory::{Dealership, Directory, Extension, Line, RingGroup};
use cheling_records::{Database, admin, switchboard};

/// The phones, lines and groups of all dealerships, as they are now. A phone that is disabled is
/// not among them. `utc_offset_s`: how far their clocks are ahead of UTC, in seconds.
///
/// # Errors
/// [`crate::Error::Unavailable`].
pub async fn build(db: &Database, realm: &str, utc_offset_s: i32) -> Result<Directory> {
    let (houses, phones, lines, schedules, groups, members) = tokio::try_join!(
        admin::dealerships(db),
        switchboard::phones(db, None),
        switchboard::lines(db, None),
        switchboard::schedules(db, None),
        switchboard::groups(db, None),
        switchboard::members(db, None),
    )?;
    let mut dealerships = Vec::with_capacity(houses.len());
    for house in houses {
        dealerships.push(Dealership {
            blocked_prefixes: switchboard::blocked_prefixes(db, house.dealership_id).await?,
            dealership_id: house.dealership_id,
            area_code: house.area_code,
            utc_offset_s,
        });
    }
    let hours_of = |schedule_id| {
        let schedule = schedules.iter().find(|it| Some(it.schedule_id) == schedule_id);
        schedule.map(|schedule| schedule.hours.clone())
    };
    Ok(Directory {
        dealerships,
        realm: realm.to_owned(),
        extensions: phones
            .into_iter()
            .filter(|phone| !phone.disabled)
            .map(|phone| Extension {
                number: phone.number,
                dealership_id: phone.dealership_id,
                user_id: phone.user_id,
                display_name: phone.display_name,
                ha1_md5: phone.ha1_md5,
                ha1_sha256: phone.ha1_sha256,
                reach: phone.reach,
            })
            .collect(),
        lines: lines
            .into_iter()
            .map(|line| Line {
                line_id: line.line_id,
                dealership_id: line.dealership_id,
                did: line.did,
                name: line.name,
                group_id: line.group_id,
                hours: hours_of(line.schedule_id),
                closed: line.closed,
            })
            .collect(),
        groups: groups
            .into_iter()
            .map(|group| RingGroup {
                group_id: group.group_id,
                name: group.name,
                members: members
                    .iter()
                    .filter(|member| member.group_id == group.group_id)
                    .map(|member| member.number.clone())
                    .collect(),
                strategy: group.strategy,
                ring_seconds: u32::try_from(group.ring_seconds).unwrap_or(30),
                member_seconds: u32::try_from(group.member_seconds).unwrap_or(20),
                skip_busy: group.skip_busy,
                no_answer: group.no_answer,
                all_busy: group.all_busy,
                nobody: group.nobody,
            })
            .collect(),
    })
}
