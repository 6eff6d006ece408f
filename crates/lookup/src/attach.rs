//! Which follow-up a call, and with it its recordings, was for.
//!
//! The same run happens when the call is answered, when it ends, when its recording lands, when
//! the agent saves, and at start-up: each may be the first, and none undoes another. What is not
//! clear stays unattached, for a person.

use crate::{Result, date};
use cheling_model::follow_up::{AttachMethod, FollowUpState, FollowUpType};
use cheling_model::{CallId, DealershipId, Direction, FollowUpId, Timestamp};
use cheling_records::call::Call;
use cheling_records::follow_up::FollowUp;
use cheling_records::{Database, On, attach, call, customer, follow_up, insert_new, switchboard};

/// What a call belongs to, and how that is known.
pub type Link = (FollowUpId, AttachMethod);

/// Decides once, and gives the call's recordings what the call has. A call whose row is not there
/// yet is left for the next run.
///
/// # Errors
/// [`crate::Error::Unavailable`]: nothing changed.
pub async fn run(db: &Database, call_id: CallId) -> Result<Option<Link>> {
    let mut tx = db.begin().await?;
    let link = run_in(&mut tx, call_id).await?;
    tx.commit().await?;
    Ok(link)
}

/// [`run`], as part of more.
///
/// # Errors
/// [`crate::Error::Unavailable`].
pub async fn run_in(on: impl Into<On<'_>>, call_id: CallId) -> Result<Option<Link>> {
    let mut on = on.into();
    let Some(call) = call::any(&mut on, call_id).await? else { return Ok(None) };
    let link = match (call.follow_up_id, call.attach_method) {
        (Some(follow_up_id), Some(method)) => Some((follow_up_id, method)),
        // A person took the link away.
        (None, Some(_)) => None,
        (_, None) => decide(&mut on, &call).await?,
    };
    attach::copy_to_recordings(&mut on, call_id).await?;
    Ok(link)
}

async fn decide(on: &mut On<'_>, call: &Call) -> Result<Option<Link>> {
    let link = match call.direction {
        Direction::Internal => None,
        Direction::Inbound => {
            contact_record(on, call).await?.map(|id| (id, AttachMethod::InboundContact))
        }
        Direction::Outbound => {
            only_task(&mut *on, call).await?.map(|id| (id, AttachMethod::Inferred))
        }
    };
    if let Some((follow_up_id, method)) = link {
        attach::link_if_free(on, call.call_id, follow_up_id, method).await?;
    }
    Ok(link)
}

/// The one open task of whoever dialled that this number fits; none if there are more.
///
/// # Errors
/// [`crate::Error::Unavailable`].
pub(crate) async fn only_task(on: impl Into<On<'_>>, call: &Call) -> Result<Option<FollowUpId>> {
    let mut on = on.into();
    if call.customer_key.is_empty() {
        return Ok(None);
    }
    let user_id = match call.user_id {
        Some(user_id) => Some(user_id),
        None => switchboard::user_at(&mut on, &call.extension, call.offered_at).await?,
    };
    let Some(user_id) = user_id else { return Ok(None) };
    let fitting =
        attach::fitting(on, call.dealership_id, user_id, &call.customer_key, call.offered_at)
            .await?;
    Ok(match fitting.as_slice() {
        [only] => Some(*only),
        _ => None,
    })
}

/// The contact record of an answered inbound call, made if it is not there.
async fn contact_record(on: &mut On<'_>, call: &Call) -> Result<Option<FollowUpId>> {
    if let Some(record) = contact_of(call)
        && insert_new(&mut *on, &record).await?
    {
        return Ok(Some(record.follow_up_id));
    }
    // Another run was first: its record counts.
    Ok(follow_up::of_origin(on, call.call_id).await?.map(|record| record.follow_up_id))
}

/// The contact record that an inbound call ought to have; none until it is answered. Its id comes
/// from the call, so that whoever makes it makes the same.
pub(crate) fn contact_of(call: &Call) -> Option<FollowUp> {
    let answered_at = call.answered_at?;
    let mut random = [0; 10];
    random.copy_from_slice(&call.call_id.0.as_bytes()[6..]);
    Some(FollowUp {
        follow_up_id: FollowUpId::mint(answered_at, random),
        dealership_id: call.dealership_id,
        follow_up_type: FollowUpType::InboundContact,
        customer_id: call.customer_id,
        vehicle_id: None,
        origin_call_id: Some(call.call_id),
        previous_id: None,
        due_on: date::text(answered_at),
        owner_user_id: call.user_id,
        state: FollowUpState::InProgress,
        subject: String::new(),
        attempts: 0,
        result: None,
        note: String::new(),
        call_made: true,
        created_at: answered_at,
        updated_at: answered_at,
        closed_at: None,
        closed_by: None,
    })
}

/// A person's decision: links a call to a follow-up, or to none. A customer that the call lacks
/// comes with the follow-up.
///
/// # Errors
/// [`crate::Error::NotFound`] if call or follow-up are not of this dealership.
pub async fn relink(
    db: &Database,
    dealership_id: DealershipId,
    call_id: CallId,
    follow_up_id: Option<FollowUpId>,
) -> Result<()> {
    let mut tx = db.begin().await?;
    attach::relink(&mut tx, dealership_id, call_id, follow_up_id).await?;
    attach::copy_to_recordings(&mut tx, call_id).await?;
    if let Some(follow_up_id) = follow_up_id {
        let follow_up = follow_up::find(&mut tx, dealership_id, follow_up_id).await?;
        let call = call::find(&mut tx, dealership_id, call_id).await?;
        if call.customer_id.is_none()
            && let Some(customer_id) = follow_up.customer_id
            && customer::find(&mut tx, dealership_id, customer_id).await.is_ok()
        {
            let method = call::MatchMethod::Manual;
            call::link_customer(&mut tx, dealership_id, call_id, Some(customer_id), method).await?;
        }
    }
    tx.commit().await
}

/// Runs over recent recordings that belong to nothing: at start-up and at night. Answers how many
/// found their place.
///
/// # Errors
/// [`crate::Error::Unavailable`].
pub async fn reconcile(db: &Database, since: Timestamp) -> Result<usize> {
    const AT_ONCE: u32 = 5_000;
    let mut attached = 0;
    for call_id in attach::unattached_since(db, since, AT_ONCE).await? {
        attached += usize::from(run(db, call_id).await?.is_some());
    }
    Ok(attached)
}
