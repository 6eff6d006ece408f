//! What only the console's pages ask: names and numbers beside the rows of a list, for a whole page
//! at once.

use crate::admin::Filter;
use crate::call::CallItem;
use crate::customer::push_list;
use crate::database::{Database, On};
use crate::follow_up::Counts;
use crate::row::{Read as _, row};
use crate::switchboard::{Line, Member, RingGroup, Schedule};
use crate::value::args;
use crate::{Result, Value};
use cheling_model::{CallId, CustomerId, DealershipId, FollowUpId, RecordingId, Timestamp, UserId};

/// Calls of a dealership by their ids, in no order.
///
/// # Errors
/// [`crate::Error::Unavailable`].
pub async fn calls(
    on: impl Into<On<'_>>,
    dealership_id: DealershipId,
    call_ids: &[CallId],
) -> Result<Vec<CallItem>> {
    let mut filter = Filter::new(
        format!(
            "select {} from call where call.dealership_id = $1 and call.call_id in (",
            CallItem::columns()
        ),
        args![dealership_id],
    );
    push_list(&mut filter, call_ids.iter().map(|&id| Value::from(id)));
    filter.push(")");
    on.into().list(filter.sql, filter.args).await
}

row! {
    /// The plate of a customer's first vehicle.
    PlateOf {
        customer_id: CustomerId = "customer.customer_id",
        plate: String = "coalesce((select plate from customer_vehicle cv \
            join vehicle on vehicle.vehicle_id = cv.vehicle_id \
            where cv.customer_id = customer.customer_id and cv.until_us is null \
            order by coalesce(vehicle.last_visit_on, '') desc, vehicle.vehicle_id limit 1), '')",
    }
}

/// The first plates of some customers.
///
/// # Errors
/// [`crate::Error::Unavailable`].
pub async fn plates_of(on: impl Into<On<'_>>, customers: &[CustomerId]) -> Result<Vec<PlateOf>> {
    let sql = format!("select {} from customer where customer_id in (", PlateOf::columns());
    let mut filter = Filter::new(sql, args![]);
    push_list(&mut filter, customers.iter().map(|&id| Value::from(id)));
    filter.push(")");
    on.into().list(filter.sql, filter.args).await
}

row! {
    /// A recording attached to a follow-up.
    RecordingOf {
        follow_up_id: FollowUpId = "follow_up_id",
        recording_id: RecordingId = "recording_id",
    }
}

/// The recordings attached to some follow-ups, newest first.
///
/// # Errors
/// [`crate::Error::Unavailable`].
pub async fn recordings_of(
    on: impl Into<On<'_>>,
    follow_ups: &[FollowUpId],
) -> Result<Vec<RecordingOf>> {
    let sql = format!("select {} from recording where follow_up_id in (", RecordingOf::columns());
    let mut filter = Filter::new(sql, args![]);
    push_list(&mut filter, follow_ups.iter().map(|&id| Value::from(id)));
    filter.push(") order by started_at_us desc, recording_id desc");
    on.into().list(filter.sql, filter.args).await
}

row! {
    /// Somebody who listened to a recording.
    Listener {
        user_name: String = "coalesce(app_user.display_name, '')",
        at: Timestamp = "audit_log.at_us",
        /// `recording.play` or `recording.download`.
        action: String = "audit_log.action",
    }
}

/// Who played or downloaded a recording, newest first, at most `limit`.
///
/// # Errors
/// [`crate::Error::Unavailable`].
pub async fn listeners(
    on: impl Into<On<'_>>,
    recording_id: RecordingId,
    limit: u32,
) -> Result<Vec<Listener>> {
    let sql = format!(
        "select {} from audit_log left join app_user on app_user.user_id = audit_log.user_id \
         where audit_log.object_kind = 'recording' and audit_log.object_id = $1 \
             and audit_log.action in ('recording.play', 'recording.download') \
         order by audit_log.at_us desc, audit_log.audit_id desc limit $2",
        Listener::columns()
    );
    on.into().list(sql, args![recording_id.to_string(), i64::from(limit)]).await
}

/// The whole dealership's day in three numbers; [`crate::follow_up::counts`] has one user's.
///
/// # Errors
/// [`crate::Error::Unavailable`].
pub async fn counts(
    on: impl Into<On<'_>>,
    dealership_id: DealershipId,
    today: &str,
    midnight: Timestamp,
) -> Result<Counts> {
    let columns = Counts::columns()
        .replace("owner_user_id = $1", "dealership_id = $1")
        .replace("closed_by = $1", "dealership_id = $1");
    on.into().one(format!("select {columns}"), args![dealership_id, today, midnight]).await
}

/// The calls that a user talked in, that ended since `since`, and that still wait for a wrap-up;
/// the oldest first, at most 10.
///
/// # Errors
/// [`crate::Error::Unavailable`].
pub async fn awaiting_wrap_up(
    on: impl Into<On<'_>>,
    user_id: UserId,
    since: Timestamp,
) -> Result<Vec<CallItem>> {
    let sql = format!(
        "select {} from call where call.user_id = $1 and call.ended_at_us >= $2 \
         and call.offered_at_us >= $2 - 86400000000 and call.answered_at_us is not null \
         and call.direction <> 'internal' \
         and not exists (select 1 from wrap_up w where w.call_id = call.call_id) \
         order by call.offered_at_us, call.call_id limit 10",
        CallItem::columns()
    );
    on.into().list(sql, args![user_id, since]).await
}

/// Gives back a key whose call was not made: the next request with it may dial.
///
/// # Errors
/// [`crate::Error::Unavailable`].
pub async fn release_idempotency(on: impl Into<On<'_>>, user_id: UserId, key: &str) -> Result<()> {
    let sql = "delete from idempotency where user_id = $1 and idempotency_key = $2";
    on.into().execute(sql, args![user_id, key]).await.map(|_| ())
}

/// Replaces all lines, opening hours and ring groups of a dealership. Each of `members` is a phone
/// of one of `groups`.
///
/// # Errors
/// [`crate::Error::Conflict`] for a DID that another line has; [`crate::Error::Refused`] for a
/// phone that is not there.
pub async fn replace_lines(
    db: &Database,
    dealership_id: DealershipId,
    schedules: &[Schedule],
    groups: &[RingGroup],
    members: &[Member],
    lines: &[Line],
) -> Result<()> {
    let mut tx = db.begin().await?;
    for sql in [
        "delete from line where dealership_id = $1",
        "delete from schedule where dealership_id = $1",
        "delete from ring_group_member where group_id in \
             (select group_id from ring_group where dealership_id = $1)",
        "delete from ring_group where dealership_id = $1",
    ] {
        On::from(&mut tx).execute(sql, args![dealership_id]).await?;
    }
    crate::insert_all(&mut tx, schedules).await?;
    crate::insert_all(&mut tx, groups).await?;
    crate::insert_all(&mut tx, members).await?;
    crate::insert_all(&mut tx, lines).await?;
    tx.commit().await
}
