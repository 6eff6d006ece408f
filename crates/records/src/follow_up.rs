//! Follow-up tasks (回访任务), contact records, and the attempts made for them.

use crate::admin::{Filter, contains};
use crate::customer::push_list;
use crate::database::On;
use crate::row::{Page, Read as _, cursor, fetch_limit, parse_cursor, row};
use crate::value::args;
use crate::{Result, Value};
use cheling_model::follow_up::{FollowUpState, FollowUpType, Outcome};
use cheling_model::{CallId, CustomerId, DealershipId, FollowUpId, Timestamp, UserId, VehicleId};
use uuid::Uuid;

row! {
    /// A task, or the contact record made for an inbound call.
    FollowUp in "follow_up" {
        follow_up_id: FollowUpId = "follow_up_id",
        dealership_id: DealershipId = "dealership_id",
        follow_up_type: FollowUpType = "type",
        /// None: an unknown caller.
        customer_id: Option<CustomerId> = "customer_id",
        vehicle_id: Option<VehicleId> = "vehicle_id",
        /// The inbound call that this record was made for.
        origin_call_id: Option<CallId> = "origin_call_id",
        /// The task whose wrap-up made this one.
        previous_id: Option<FollowUpId> = "previous_id",
        /// `2026-11-22`.
        due_on: String = "due_on",
        owner_user_id: Option<UserId> = "owner_user_id",
        state: FollowUpState = "state",
        /// One line on it.
        subject: String = "subject",
        attempts: i64 = "attempts",
        /// The last outcome.
        result: Option<Outcome> = "result",
        note: String = "note",
        /// A call of ours was answered for it.
        call_made: bool = "call_made",
        created_at: Timestamp = "created_at_us",
        updated_at: Timestamp = "updated_at_us",
        closed_at: Option<Timestamp> = "closed_at_us",
        closed_by: Option<UserId> = "closed_by",
    }
}

row! {
    /// One try at a follow-up.
    Attempt in "follow_up_attempt" {
        attempt_id: Uuid = "attempt_id",
        follow_up_id: FollowUpId = "follow_up_id",
        call_id: Option<CallId> = "call_id",
        user_id: Option<UserId> = "user_id",
        outcome: Outcome = "outcome",
        at: Timestamp = "at_us",
    }
}

row! {
    /// A follow-up in a list, with whom to call.
    FollowUpItem {
        follow_up_id: FollowUpId = "f.follow_up_id",
        follow_up_type: FollowUpType = "f.type",
        state: FollowUpState = "f.state",
        due_on: String = "f.due_on",
        subject: String = "f.subject",
        attempts: i64 = "f.attempts",
        result: Option<Outcome> = "f.result",
        note: String = "f.note",
        call_made: bool = "f.call_made",
        owner_user_id: Option<UserId> = "f.owner_user_id",
        owner_name: String = "coalesce((select display_name from app_user \
            where app_user.user_id = f.owner_user_id), '')",
        origin_call_id: Option<CallId> = "f.origin_call_id",
        customer_id: Option<CustomerId> = "f.customer_id",
        customer_no: String = "coalesce(c.customer_no, '')",
        customer_name: String = "coalesce(c.name, '')",
        salutation: String = "coalesce(c.salutation, '')",
        /// The customer's primary number as written, or empty.
        phone: String = "coalesce((select number from customer_phone p \
            where p.customer_id = f.customer_id \
            order by p.is_primary desc, p.phone_id limit 1), '')",
        /// Its key.
        phone_key: String = "coalesce((select number_key from customer_phone p \
            where p.customer_id = f.customer_id \
            order by p.is_primary desc, p.phone_id limit 1), '')",
        vehicle_id: Option<VehicleId> = "f.vehicle_id",
        plate: String = "coalesce(v.plate, '')",
        vehicle_model: String = "coalesce(v.model, '')",
        recordings: i64 = "(select count(*) from recording r \
            where r.follow_up_id = f.follow_up_id)",
        created_at: Timestamp = "f.created_at_us",
        updated_at: Timestamp = "f.updated_at_us",
        closed_at: Option<Timestamp> = "f.closed_at_us",
    }
}

const ITEMS: &str = "from follow_up f left join customer c on c.customer_id = f.customer_id \
     left join vehicle v on v.vehicle_id = f.vehicle_id";

/// What a list of follow-ups is narrowed to.
#[derive(Clone, Debug, Default)]
pub struct FollowUpFilter {
    /// Only of this user.
    pub owner_user_id: Option<UserId>,
    /// Only of this customer.
    pub customer_id: Option<CustomerId>,
    /// Only in one of these states; empty: any.
    pub states: Vec<FollowUpState>,
    /// Only of one of these types; empty: any.
    pub types: Vec<FollowUpType>,
    /// Due on or after, `2026-11-22`.
    pub due_from: Option<String>,
    /// Due on or before.
    pub due_until: Option<String>,
    /// Closed at or after.
    pub closed_from: Option<Timestamp>,
    /// Part of the customer's name or of the subject.
    pub text: String,
}

/// Follow-ups, the earliest due first.
///
/// # Errors
/// [`crate::Error::Refused`] for a cursor that is none.
pub async fn list(
    on: impl Into<On<'_>>,
    dealership_id: DealershipId,
    wanted: &FollowUpFilter,
    after: Option<&str>,
    limit: u32,
) -> Result<Page<FollowUpItem>> {
    let sql = format!("select {} {ITEMS} where f.dealership_id = $1", FollowUpItem::columns());
    let mut filter = Filter::new(sql, args![dealership_id]);
    filter.and_some("f.owner_user_id = $?", wanted.owner_user_id);
    filter.and_some("f.customer_id = $?", wanted.customer_id);
    filter.and_some("f.due_on >= $?", wanted.due_from.as_deref());
    filter.and_some("f.due_on <= $?", wanted.due_until.as_deref());
    filter.and_some("f.closed_at_us >= $?", wanted.closed_from);
    if !wanted.states.is_empty() {
        filter.push(" and f.state in (");
        push_list(&mut filter, wanted.states.iter().map(|&it| Value::from(it)));
        filter.push(")");
    }
    if !wanted.types.is_empty() {
        filter.push(" and f.type in (");
        push_list(&mut filter, wanted.types.iter().map(|&it| Value::from(it)));
        filter.push(")");
    }
    let text = wanted.text.trim();
    if !text.is_empty() {
        filter.and("(c.name like $? escape '!' or f.subject like $? escape '!')", contains(text));
    }
    if let Some(after) = after {
        let (due, id) = parse_cursor::<String>(after)?;
        let (due, id) = (filter.bind(due), filter.bind(id));
        filter.push(&format!(" and (f.due_on, f.follow_up_id) > ({due}, {id})"));
    }
    let limit_at = filter.bind(fetch_limit(limit));
    filter.push(&format!(" order by f.due_on, f.follow_up_id limit {limit_at}"));
    let items = on.into().list(filter.sql, filter.args).await?;
    Ok(Page::cut(items, limit, |it: &FollowUpItem| cursor(&it.due_on, it.follow_up_id)))
}

/// One follow-up in the form of the list.
///
/// # Errors
/// [`crate::Error::NotFound`].
pub async fn item(
    on: impl Into<On<'_>>,
    dealership_id: DealershipId,
    follow_up_id: FollowUpId,
) -> Result<FollowUpItem> {
    let sql = format!(
        "select {} {ITEMS} where f.dealership_id = $1 and f.follow_up_id = $2",
        FollowUpItem::columns()
    );
    on.into().one(sql, args![dealership_id, follow_up_id]).await
}

/// One follow-up's row.
///
/// # Errors
/// [`crate::Error::NotFound`].
pub async fn find(
    on: impl Into<On<'_>>,
    dealership_id: DealershipId,
    follow_up_id: FollowUpId,
) -> Result<FollowUp> {
    let sql = format!(
        "select {} from follow_up where dealership_id = $1 and follow_up_id = $2",
        FollowUp::columns()
    );
    on.into().one(sql, args![dealership_id, follow_up_id]).await
}

/// The contact record of a call, if it has one.
///
/// # Errors
/// [`crate::Error::Unavailable`].
pub async fn of_origin(on: impl Into<On<'_>>, call_id: CallId) -> Result<Option<FollowUp>> {
    let sql = format!("select {} from follow_up where origin_call_id = $1", FollowUp::columns());
    on.into().find(sql, args![call_id]).await
}

/// The task that a wrap-up of this one made, if it did.
///
/// # Errors
/// [`crate::Error::Unavailable`].
pub async fn following(on: impl Into<On<'_>>, previous: FollowUpId) -> Result<Option<FollowUp>> {
    let sql = format!("select {} from follow_up where previous_id = $1", FollowUp::columns());
    on.into().find(sql, args![previous]).await
}

/// Writes what may change of a follow-up: all but its key, type, origin and birth.
///
/// # Errors
/// [`crate::Error::NotFound`].
pub async fn update(on: impl Into<On<'_>>, follow_up: &FollowUp) -> Result<()> {
    let sql = "update follow_up set customer_id = $3, vehicle_id = $4, due_on = $5, \
               owner_user_id = $6, state = $7, subject = $8, attempts = $9, result = $10, \
               note = $11, call_made = $12, updated_at_us = $13, closed_at_us = $14, \
               closed_by = $15 where dealership_id = $1 and follow_up_id = $2";
    let f = follow_up;
    let args = args![
        f.dealership_id,
        f.follow_up_id,
        f.customer_id,
        f.vehicle_id,
        &f.due_on,
        f.owner_user_id,
        f.state,
        &f.subject,
        f.attempts,
        f.result,
        &f.note,
        f.call_made,
        f.updated_at,
        f.closed_at,
        f.closed_by,
    ];
    on.into().change(sql, args).await
}

/// Gives the contact record of a call its customer, when the call gets one.
///
/// # Errors
/// [`crate::Error::Unavailable`].
pub async fn set_origin_customer(
    on: impl Into<On<'_>>,
    call_id: CallId,
    customer_id: Option<CustomerId>,
    at: Timestamp,
) -> Result<()> {
    let sql = "update follow_up set customer_id = $2, updated_at_us = $3 \
               where origin_call_id = $1";
    on.into().execute(sql, args![call_id, customer_id, at]).await.map(|_| ())
}

/// Writes one attempt; a second one of the same call replaces its outcome. Answers whether it is
/// a new one.
///
/// # Errors
/// [`crate::Error::Refused`] if there is no such follow-up.
pub async fn attempt(on: impl Into<On<'_>>, attempt: &Attempt) -> Result<bool> {
    let mut on = on.into();
    let sql = "update follow_up_attempt set outcome = $3 where follow_up_id = $1 and call_id = $2";
    let args = args![attempt.follow_up_id, attempt.call_id, attempt.outcome];
    if attempt.call_id.is_some() && on.execute(sql, args).await? > 0 {
        return Ok(false);
    }
    crate::row::insert_new(&mut on, attempt).await
}

/// The attempts of a follow-up, newest first.
///
/// # Errors
/// [`crate::Error::Unavailable`].
pub async fn attempts(on: impl Into<On<'_>>, follow_up_id: FollowUpId) -> Result<Vec<Attempt>> {
    let sql = format!(
        "select {} from follow_up_attempt where follow_up_id = $1 \
         order by at_us desc, attempt_id desc limit 100",
        Attempt::columns()
    );
    on.into().list(sql, args![follow_up_id]).await
}

row! {
    /// An open follow-up, for the card.
    Open {
        follow_up_id: FollowUpId = "f.follow_up_id",
        follow_up_type: FollowUpType = "f.type",
        state: FollowUpState = "f.state",
        due_on: String = "f.due_on",
        subject: String = "f.subject",
        owner_name: String = "coalesce((select display_name from app_user \
            where app_user.user_id = f.owner_user_id), '')",
    }
}

/// What is open for a customer: complaints first, then the earliest due, at most 10. Contact
/// records are not among them.
///
/// # Errors
/// [`crate::Error::Unavailable`].
pub async fn open_of(on: impl Into<On<'_>>, customer_id: CustomerId) -> Result<Vec<Open>> {
    let sql = format!(
        "select {} from follow_up f where f.customer_id = $1 \
         and f.state in ('open', 'in_progress') and f.type <> 'inbound_contact' \
         order by case when f.type = 'complaint_handling' then 0 else 1 end, f.due_on, \
             f.follow_up_id limit 10",
        Open::columns()
    );
    on.into().list(sql, args![customer_id]).await
}

row! {
    /// A user's day in three numbers.
    Counts {
        due_today: i64 = "(select count(*) from follow_up where owner_user_id = $1 \
            and state in ('open', 'in_progress') and due_on = $2 and type <> 'inbound_contact')",
        overdue: i64 = "(select count(*) from follow_up where owner_user_id = $1 \
            and state in ('open', 'in_progress') and due_on < $2 and type <> 'inbound_contact')",
        done_today: i64 = "(select count(*) from follow_up where closed_by = $1 \
            and closed_at_us >= $3 and type <> 'inbound_contact')",
    }
}

/// A user's day: `today` is the date, `midnight` its beginning.
///
/// # Errors
/// [`crate::Error::Unavailable`].
pub async fn counts(
    on: impl Into<On<'_>>,
    user_id: UserId,
    today: &str,
    midnight: Timestamp,
) -> Result<Counts> {
    let sql = format!("select {}", Counts::columns());
    on.into().one(sql, args![user_id, today, midnight]).await
}
