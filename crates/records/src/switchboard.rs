//! Phones, who sits at them, the numbers that customers call and the groups that ring.

use crate::database::On;
use crate::row::{Read as _, row};
use crate::value::args;
use crate::{Database, Result, admin, insert, mint};
use cheling_model::directory::{Destination, Strategy};
use cheling_model::hours::Hours;
use cheling_model::reach::Reach;
use cheling_model::{DealershipId, GroupId, LineId, Timestamp, UserId};
use uuid::Uuid;

row! {
    /// A SIP account.
    Extension in "extension" {
        extension_id: Uuid = "extension_id",
        dealership_id: DealershipId = "dealership_id",
        /// The user part: `8001`.
        number: String = "number",
        display_name: String = "display_name",
        /// Hex of MD5(user:realm:password).
        ha1_md5: String = "ha1_md5",
        /// Hex of SHA-256(user:realm:password).
        ha1_sha256: String = "ha1_sha256",
        /// How far it may dial.
        reach: Reach = "reach",
        disabled: bool = "disabled",
        created_at: Timestamp = "created_at_us",
    }
}

row! {
    /// Who sat at a phone, and when.
    Assignment in "extension_assignment" {
        assignment_id: Uuid = "assignment_id",
        extension_id: Uuid = "extension_id",
        user_id: UserId = "user_id",
        since: Timestamp = "since_us",
        until: Option<Timestamp> = "until_us",
    }
}

row! {
    /// A number that customers call.
    Line in "line" {
        line_id: LineId = "line_id",
        dealership_id: DealershipId = "dealership_id",
        /// The digits as the trunk sends them.
        did: String = "did",
        name: String = "name",
        group_id: GroupId = "group_id",
        /// When it is open; always if there is none.
        schedule_id: Option<Uuid> = "schedule_id",
        /// Where its calls go while it is closed.
        closed: Destination = "closed",
    }
}

row! {
    /// When somebody is there.
    Schedule in "schedule" {
        schedule_id: Uuid = "schedule_id",
        dealership_id: DealershipId = "dealership_id",
        name: String = "name",
        hours: Hours = "hours",
    }
}

row! {
    /// Phones that ring together.
    RingGroup in "ring_group" {
        group_id: GroupId = "group_id",
        dealership_id: DealershipId = "dealership_id",
        name: String = "name",
        ring_seconds: i64 = "ring_seconds",
        /// Who rings when.
        strategy: Strategy = "strategy",
        /// How long one phone rings before the next.
        member_seconds: i64 = "member_seconds",
        /// Whether phones in a call are left alone.
        skip_busy: bool = "skip_busy",
        /// Where calls go that nobody took.
        no_answer: Destination = "no_answer",
        /// Where calls go while all phones are in a call.
        all_busy: Destination = "all_busy",
        /// Where calls go while no phone is registered.
        nobody: Destination = "nobody",
    }
}

impl RingGroup {
    /// A group whose phones all ring at once, for so many seconds, after which the call is over.
    pub fn ring_all(
        group_id: GroupId,
        dealership_id: DealershipId,
        name: &str,
        ring_seconds: i64,
    ) -> Self {
        Self {
            group_id,
            dealership_id,
            name: name.to_owned(),
            ring_seconds,
            strategy: Strategy::RingAll,
            member_seconds: ring_seconds,
            skip_busy: false,
            no_answer: Destination::Unavailable,
            all_busy: Destination::Busy,
            nobody: Destination::Unavailable,
        }
    }
}

row! {
    /// A phone of a ring group.
    Member in "ring_group_member" {
        group_id: GroupId = "group_id",
        extension_id: Uuid = "extension_id",
        position: i64 = "position",
    }
}

row! {
    /// A phone and who uses it now.
    Phone {
        extension_id: Uuid = "extension.extension_id",
        dealership_id: DealershipId = "extension.dealership_id",
        number: String = "extension.number",
        display_name: String = "extension.display_name",
        ha1_md5: String = "extension.ha1_md5",
        ha1_sha256: String = "extension.ha1_sha256",
        reach: Reach = "extension.reach",
        disabled: bool = "extension.disabled",
        user_id: Option<UserId> = "app_user.user_id",
        user_name: Option<String> = "app_user.display_name",
    }
}

const PHONES: &str = "from extension \
     left join extension_assignment a on a.extension_id = extension.extension_id \
         and a.until_us is null \
     left join app_user on app_user.user_id = a.user_id";

/// Phones of one dealership, or of all, by number.
///
/// # Errors
/// [`crate::Error::Unavailable`].
pub async fn phones(
    on: impl Into<On<'_>>,
    dealership_id: Option<DealershipId>,
) -> Result<Vec<Phone>> {
    let sql = format!(
        "select {} {PHONES} where ($1 is null or extension.dealership_id = $1) \
         order by extension.number",
        Phone::columns()
    );
    on.into().list(sql, args![dealership_id]).await
}

/// One phone, by number.
///
/// # Errors
/// [`crate::Error::Unavailable`].
pub async fn phone(on: impl Into<On<'_>>, number: &str) -> Result<Option<Phone>> {
    let sql = format!("select {} {PHONES} where extension.number = $1", Phone::columns());
    on.into().find(sql, args![number]).await
}

/// Changes what a phone is called, how far it may dial, and whether it may register.
///
/// # Errors
/// [`crate::Error::NotFound`].
pub async fn update_extension(
    on: impl Into<On<'_>>,
    dealership_id: DealershipId,
    extension_id: Uuid,
    display_name: &str,
    reach: Reach,
    disabled: bool,
) -> Result<()> {
    let sql = "update extension set display_name = $3, disabled = $4, reach = $5 \
               where dealership_id = $1 and extension_id = $2";
    let args = args![dealership_id, extension_id, display_name, disabled, reach];
    on.into().change(sql, args).await
}

/// Replaces a phone's password digests.
///
/// # Errors
/// [`crate::Error::NotFound`].
pub async fn set_secret(
    on: impl Into<On<'_>>,
    extension_id: Uuid,
    ha1_md5: &str,
    ha1_sha256: &str,
) -> Result<()> {
    let sql = "update extension set ha1_md5 = $2, ha1_sha256 = $3 where extension_id = $1";
    on.into().change(sql, args![extension_id, ha1_md5, ha1_sha256]).await
}

/// Seats a user at a phone from `at` on, or nobody. A user may sit at several phones.
///
/// # Errors
/// [`crate::Error::NotFound`] if the phone or user is not of this dealership.
pub async fn assign(
    db: &Database,
    dealership_id: DealershipId,
    extension_id: Uuid,
    user_id: Option<UserId>,
    at: Timestamp,
) -> Result<()> {
    let mut tx = db.begin().await?;
    let sql = "select count(*) from extension where extension_id = $2 and dealership_id = $1 \
               and ($3 is null or exists (select 1 from app_user where user_id = $3 \
                   and dealership_id = $1))";
    let found: i64 =
        On::from(&mut tx).scalar(sql, args![dealership_id, extension_id, user_id]).await?;
    if found == 0 {
        return Err(crate::Error::NotFound);
    }
    let sql = "update extension_assignment set until_us = $2 \
               where extension_id = $1 and until_us is null";
    On::from(&mut tx).execute(sql, args![extension_id, at]).await?;
    if let Some(user_id) = user_id {
        let assignment_id = mint();
        let seat = Assignment { assignment_id, extension_id, user_id, since: at, until: None };
        insert(&mut tx, &seat).await?;
    }
    tx.commit().await
}

/// Lines of one dealership, or of all, by name.
///
/// # Errors
/// [`crate::Error::Unavailable`].
pub async fn lines(
    on: impl Into<On<'_>>,
    dealership_id: Option<DealershipId>,
) -> Result<Vec<Line>> {
    let sql = format!(
        "select {} from line where ($1 is null or dealership_id = $1) order by name, did",
        Line::columns()
    );
    on.into().list(sql, args![dealership_id]).await
}

/// Opening hours of one dealership, or of all, by name.
///
/// # Errors
/// [`crate::Error::Unavailable`].
pub async fn schedules(
    on: impl Into<On<'_>>,
    dealership_id: Option<DealershipId>,
) -> Result<Vec<Schedule>> {
    let sql = format!(
        "select {} from schedule where ($1 is null or dealership_id = $1) order by name",
        Schedule::columns()
    );
    on.into().list(sql, args![dealership_id]).await
}

/// The name of the setting that holds the prefixes that nobody may dial, a JSON list of texts.
const BLOCKED_PREFIXES: &str = "blocked_prefixes";

/// What numbers begin with that nobody of this dealership may dial.
///
/// # Errors
/// [`crate::Error::Unavailable`]; [`crate::Error::Corrupt`].
pub async fn blocked_prefixes(
    on: impl Into<On<'_>>,
    dealership_id: DealershipId,
) -> Result<Vec<String>> {
    let Some(text) = admin::setting(on, dealership_id, BLOCKED_PREFIXES).await? else {
        return Ok(Vec::new());
    };
    serde_json::from_str(&text)
        .map_err(|error| crate::Error::Corrupt(format!("{BLOCKED_PREFIXES}: {error}")))
}

/// Replaces what numbers begin with that nobody may dial.
///
/// # Errors
/// [`crate::Error::Refused`] if there is no such dealership.
pub async fn set_blocked_prefixes(
    on: impl Into<On<'_>>,
    dealership_id: DealershipId,
    prefixes: &[String],
    at: Timestamp,
) -> Result<()> {
    let value = serde_json::Value::from(prefixes).to_string();
    admin::set_setting(on, dealership_id, BLOCKED_PREFIXES, &value, at).await
}

/// Ring groups of one dealership, or of all, by name.
///
/// # Errors
/// [`crate::Error::Unavailable`].
pub async fn groups(
    on: impl Into<On<'_>>,
    dealership_id: Option<DealershipId>,
) -> Result<Vec<RingGroup>> {
    let sql = format!(
        "select {} from ring_group where ($1 is null or dealership_id = $1) order by name",
        RingGroup::columns()
    );
    on.into().list(sql, args![dealership_id]).await
}

row! {
    /// A phone of a group, by number.
    MemberNumber {
        group_id: GroupId = "ring_group_member.group_id",
        extension_id: Uuid = "extension.extension_id",
        number: String = "extension.number",
    }
}

/// The phones of all groups of one dealership, or of all, in their order.
///
/// # Errors
/// [`crate::Error::Unavailable`].
pub async fn members(
    on: impl Into<On<'_>>,
    dealership_id: Option<DealershipId>,
) -> Result<Vec<MemberNumber>> {
    let sql = format!(
        "select {} from ring_group_member \
         join extension on extension.extension_id = ring_group_member.extension_id \
         where ($1 is null or extension.dealership_id = $1) and not extension.disabled \
         order by ring_group_member.group_id, ring_group_member.position, extension.number",
        MemberNumber::columns()
    );
    on.into().list(sql, args![dealership_id]).await
}

/// Replaces the phones of a group.
///
/// # Errors
/// [`crate::Error::Refused`] if a phone is not there.
pub async fn set_members(db: &Database, group_id: GroupId, extensions: &[Uuid]) -> Result<()> {
    let mut tx = db.begin().await?;
    On::from(&mut tx)
        .execute("delete from ring_group_member where group_id = $1", args![group_id])
        .await?;
    let rows: Vec<_> = extensions
        .iter()
        .zip(0..)
        .map(|(&extension_id, position)| Member { group_id, extension_id, position })
        .collect();
    crate::insert_all(&mut tx, &rows).await?;
    tx.commit().await
}

/// Who sat at a phone at a moment.
///
/// # Errors
/// [`crate::Error::Unavailable`].
pub async fn user_at(on: impl Into<On<'_>>, number: &str, at: Timestamp) -> Result<Option<UserId>> {
    let sql = "select a.user_id from extension_assignment a \
               join extension on extension.extension_id = a.extension_id \
               where extension.number = $1 and a.since_us <= $2 \
                   and (a.until_us is null or a.until_us > $2) \
               order by a.since_us desc limit 1";
    let rows = on.into().fetch(sql, args![number, at]).await?;
    rows.first().map(|row| row.cells().take()).transpose()
}
