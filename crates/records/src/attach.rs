//! The link from a call, and with it from its recordings, to the follow-up it was for.
//!
//! The link is kept on the call; recordings carry a copy so that a list needs no join to know
//! what is unattached. Deciding is `lookup`'s.

use crate::Result;
use crate::database::On;
use crate::value::args;
use cheling_model::follow_up::AttachMethod;
use cheling_model::{CallId, DealershipId, FollowUpId, Timestamp, UserId};

/// The open tasks of a user that a call to this number at that time may have been for; two are
/// enough to know that it is not clear.
///
/// # Errors
/// [`crate::Error::Unavailable`].
pub async fn fitting(
    on: impl Into<On<'_>>,
    dealership_id: DealershipId,
    user_id: UserId,
    customer_key: &str,
    at: Timestamp,
) -> Result<Vec<FollowUpId>> {
    let sql = "select f.follow_up_id from follow_up f \
               where f.dealership_id = $1 and f.owner_user_id = $2 \
                   and f.state in ('open', 'in_progress') and f.type <> 'inbound_contact' \
                   and f.created_at_us <= $4 \
                   and f.customer_id in (select p.customer_id from customer_phone p \
                       where p.dealership_id = $1 and p.number_key = $3) \
               order by f.due_on, f.follow_up_id limit 2";
    let rows = on.into().fetch(sql, args![dealership_id, user_id, customer_key, at]).await?;
    rows.iter().map(|row| row.cells().take()).collect()
}

/// Links a call that has no link yet. Answers whether this was the one that did.
///
/// # Errors
/// [`crate::Error::Unavailable`].
pub async fn link_if_free(
    on: impl Into<On<'_>>,
    call_id: CallId,
    follow_up_id: FollowUpId,
    method: AttachMethod,
) -> Result<bool> {
    let sql = "update call set follow_up_id = $2, attach_method = $3 \
               where call_id = $1 and follow_up_id is null and attach_method is null";
    Ok(on.into().execute(sql, args![call_id, follow_up_id, method]).await? > 0)
}

/// Links a call, whatever it was linked to. `None` takes the link away, for good: a person said so.
///
/// # Errors
/// [`crate::Error::NotFound`] if call or follow-up are not of this dealership.
pub async fn relink(
    on: impl Into<On<'_>>,
    dealership_id: DealershipId,
    call_id: CallId,
    follow_up_id: Option<FollowUpId>,
) -> Result<()> {
    let method = AttachMethod::Manual;
    let sql = "update call set follow_up_id = $3, attach_method = $4 \
               where dealership_id = $1 and call_id = $2 and ($3 is null or exists \
                   (select 1 from follow_up where follow_up_id = $3 and dealership_id = $1))";
    on.into().change(sql, args![dealership_id, call_id, follow_up_id, method]).await
}

/// Copies the call's link to its recordings. Answers how many changed.
///
/// # Errors
/// [`crate::Error::Unavailable`].
pub async fn copy_to_recordings(on: impl Into<On<'_>>, call_id: CallId) -> Result<u64> {
    let sql = "update recording set \
               follow_up_id = (select c.follow_up_id from call c where c.call_id = $1), \
               attach_method = (select c.attach_method from call c where c.call_id = $1) \
               where call_id = $1 and exists (select 1 from call c where c.call_id = $1 and ( \
                   coalesce(c.follow_up_id, $2) <> coalesce(recording.follow_up_id, $2) \
                   or coalesce(c.attach_method, '') <> coalesce(recording.attach_method, '')))";
    on.into().execute(sql, args![call_id, uuid::Uuid::nil()]).await
}

/// Calls whose recording has not got their link, or that have a recording and no link although
/// they could: for the run at start-up and at night.
///
/// # Errors
/// [`crate::Error::Unavailable`].
pub async fn unattached_since(
    on: impl Into<On<'_>>,
    since: Timestamp,
    limit: u32,
) -> Result<Vec<CallId>> {
    let sql = "select distinct r.call_id from recording r join call c on c.call_id = r.call_id \
               where r.started_at_us >= $1 and r.follow_up_id is null \
                   and c.direction <> 'internal' limit $2";
    let rows = on.into().fetch(sql, args![since, i64::from(limit)]).await?;
    rows.iter().map(|row| row.cells().take()).collect()
}
