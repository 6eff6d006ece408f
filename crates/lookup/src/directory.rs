//! Builds what the call machines must know from the database.

use crate::Result;
use cheling_model::directory::{Directory, Extension, Line, RingGroup};
use cheling_records::{Database, switchboard};

/// The phones, lines and groups of all dealerships, as they are now. A phone that is disabled is
/// not among them.
///
/// # Errors
/// [`crate::Error::Unavailable`].
pub async fn build(db: &Database, realm: &str) -> Result<Directory> {
    let (phones, lines, groups, members) = tokio::try_join!(
        switchboard::phones(db, None),
        switchboard::lines(db, None),
        switchboard::groups(db, None),
        switchboard::members(db, None),
    )?;
    Ok(Directory {
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
                ring_seconds: u32::try_from(group.ring_seconds).unwrap_or(30),
            })
            .collect(),
    })
}
