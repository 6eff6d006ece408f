//! Calls and their legs, as they are read. What is written while they go on is in `ledger`.

use crate::Result;
use crate::admin::{Filter, contains};
use crate::database::On;
use crate::row::{Page, Read as _, cursor, fetch_limit, parse_cursor, row};
use crate::value::args;
use cheling_model::call::{StopKind, StopReason};
use cheling_model::follow_up::{AttachMethod, FollowUpType, Outcome};
use cheling_model::{
    CallId, CustomerId, DealershipId, Direction, EndCause, FollowUpId, Lane, LegId, LineId,
    Presentation, RecordingId, Timestamp, UserId, Verdict, call::Party,
};

/// How a call found its customer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MatchMethod {
    /// It did not.
    None,
    /// One customer has the number.
    Number,
    /// The agent chose among several.
    Chosen,
    /// It was dialled from the customer's task.
    Task,
    /// The customer was made, or got the number, after the call.
    Adopted,
    /// A person linked it later.
    Manual,
}

impl MatchMethod {
    /// The word used in JSON and SQL.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Number => "number",
            Self::Chosen => "chosen",
            Self::Task => "task",
            Self::Adopted => "adopted",
            Self::Manual => "manual",
        }
    }

    /// The variant of a word, if it is one.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::None, Self::Number, Self::Chosen, Self::Task, Self::Adopted, Self::Manual]
            .into_iter()
            .find(|it| it.as_str() == word)
    }
}

row! {
    /// One conversation.
    Call in "call" {
        call_id: CallId = "call_id",
        dealership_id: DealershipId = "dealership_id",
        direction: Direction = "direction",
        caller_number: String = "caller_number",
        caller_name: String = "caller_name",
        presentation: Presentation = "presentation",
        called_number: String = "called_number",
        /// The side that is not ours, as it came; empty if withheld or internal.
        customer_number: String = "customer_number",
        /// Its normalised key.
        customer_key: String = "customer_key",
        trunk: String = "trunk",
        line_id: Option<LineId> = "line_id",
        /// Ours that talked, or dialled; else empty.
        extension: String = "extension",
        /// Who used it at that time.
        user_id: Option<UserId> = "user_id",
        offered_at: Timestamp = "offered_at_us",
        ringing_at: Option<Timestamp> = "ringing_at_us",
        answered_at: Option<Timestamp> = "answered_at_us",
        ended_at: Option<Timestamp> = "ended_at_us",
        cause: Option<EndCause> = "cause",
        hangup_by: Option<Lane> = "hangup_by",
        sip_status: Option<i64> = "sip_status",
        customer_id: Option<CustomerId> = "customer_id",
        match_method: MatchMethod = "match_method",
        follow_up_id: Option<FollowUpId> = "follow_up_id",
        attach_method: Option<AttachMethod> = "attach_method",
    }
}

row! {
    /// One phone of ours that rang or dialled.
    Leg in "call_leg" {
        leg_id: LegId = "leg_id",
        call_id: CallId = "call_id",
        extension: String = "extension",
        user_id: Option<UserId> = "user_id",
        ringing_at: Option<Timestamp> = "ringing_at_us",
        answered_at: Option<Timestamp> = "answered_at_us",
        ended_at: Option<Timestamp> = "ended_at_us",
        /// Why it stopped ringing without talking.
        withdrawn: Option<String> = "withdrawn",
        sip_status: Option<i64> = "sip_status",
    }
}

row! {
    /// A call in a list.
    CallItem {
        call_id: CallId = "call.call_id",
        direction: Direction = "call.direction",
        presentation: Presentation = "call.presentation",
        caller_number: String = "call.caller_number",
        called_number: String = "call.called_number",
        customer_number: String = "call.customer_number",
        customer_key: String = "call.customer_key",
        extension: String = "call.extension",
        line_name: String = "coalesce((select name from line \
            where line.line_id = call.line_id), '')",
        user_id: Option<UserId> = "call.user_id",
        user_name: String = "coalesce((select display_name from app_user \
            where app_user.user_id = call.user_id), '')",
        customer_id: Option<CustomerId> = "call.customer_id",
        customer_name: String = "coalesce((select name from customer \
            where customer.customer_id = call.customer_id), '')",
        match_method: MatchMethod = "call.match_method",
        offered_at: Timestamp = "call.offered_at_us",
        ringing_at: Option<Timestamp> = "call.ringing_at_us",
        answered_at: Option<Timestamp> = "call.answered_at_us",
        ended_at: Option<Timestamp> = "call.ended_at_us",
        cause: Option<EndCause> = "call.cause",
        hangup_by: Option<Lane> = "call.hangup_by",
        sip_status: Option<i64> = "call.sip_status",
        follow_up_id: Option<FollowUpId> = "call.follow_up_id",
        follow_up_type: Option<FollowUpType> = "(select type from follow_up f \
            where f.follow_up_id = call.follow_up_id)",
        attach_method: Option<AttachMethod> = "call.attach_method",
        outcome: Option<Outcome> = "(select outcome from wrap_up w \
            where w.call_id = call.call_id)",
        note: String = "coalesce((select note from wrap_up w where w.call_id = call.call_id), '')",
        /// The first recording, if any is finished.
        recording_id: Option<RecordingId> = "(select recording_id from recording r \
            where r.call_id = call.call_id order by r.started_at_us, r.recording_id limit 1)",
        verdict: Option<Verdict> = "(select verdict from recording r \
            where r.call_id = call.call_id order by r.started_at_us, r.recording_id limit 1)",
    }
}

/// Writes the caller's number that came late, and who that is.
///
/// # Errors
/// [`crate::Error::NotFound`].
pub async fn caller_changed(
    on: impl Into<On<'_>>,
    call_id: CallId,
    caller: &Party,
    customer_key: &str,
    customer: Option<CustomerId>,
) -> Result<()> {
    let method = if customer.is_some() { MatchMethod::Number } else { MatchMethod::None };
    let sql = "update call set caller_number = $2, caller_name = $3, presentation = $4, \
               customer_number = $2, customer_key = $5, customer_id = $6, match_method = $7 \
               where call_id = $1 and match_method in ('none', 'number')";
    let name = caller.display_name.as_deref().unwrap_or("");
    let args =
        args![call_id, &caller.number, name, caller.presentation, customer_key, customer, method];
    // A call that a person has linked keeps its customer and number.
    on.into().execute(sql, args).await.map(|_| ())
}

row! {
    /// One place that a call to a line was sent to.
    Route in "call_route" {
        call_id: CallId = "call_id",
        at: Timestamp = "at_us",
        kind: StopKind = "kind",
        /// The group's name, the extension or the number; may be empty.
        name: String = "name",
        why: StopReason = "why",
        /// Counted from 0.
        position: i64 = "position",
    }
}

/// Where a call was sent, in order.
///
/// # Errors
/// [`crate::Error::Unavailable`].
pub async fn route(on: impl Into<On<'_>>, call_id: CallId) -> Result<Vec<Route>> {
    let sql =
        format!("select {} from call_route where call_id = $1 order by position", Route::columns());
    on.into().list(sql, args![call_id]).await
}

/// Ends calls that were offered before `before` and have no end: the process that carried them is
/// gone and its journal does not know them. Answers how many.
///
/// # Errors
/// [`crate::Error::Unavailable`].
pub async fn close_stale(on: impl Into<On<'_>>, before: Timestamp) -> Result<u64> {
    let sql = "update call set ended_at_us = coalesce(answered_at_us, offered_at_us), \
               cause = 'shutdown' where ended_at_us is null and offered_at_us < $1";
    on.into().execute(sql, args![before]).await
}

/// When the last call of each of our phones ended that was offered since `since`, in no order. Of a
/// call between colleagues both count.
///
/// # Errors
/// [`crate::Error::Unavailable`].
pub async fn last_calls(
    on: impl Into<On<'_>>,
    dealership_id: DealershipId,
    since: Timestamp,
) -> Result<Vec<(String, Timestamp)>> {
    let sql = "select phone, max(ended_at_us) from ( \
               select extension as phone, ended_at_us from call \
               where dealership_id = $1 and offered_at_us >= $2 and answered_at_us is not null \
               union all \
               select caller_number as phone, ended_at_us from call \
               where dealership_id = $1 and offered_at_us >= $2 and answered_at_us is not null \
                   and direction = 'internal') phones \
               where phone <> '' and ended_at_us is not null group by phone";
    let rows = on.into().fetch(sql, args![dealership_id, since]).await?;
    let read = |row: &crate::value::Row| {
        let mut cells = row.cells();
        Ok((cells.take()?, cells.take()?))
    };
    rows.iter().map(read).collect()
}

/// Links a call to a customer, or to none.
///
/// # Errors
/// [`crate::Error::NotFound`] if call or customer are not of this dealership.
pub async fn link_customer(
    on: impl Into<On<'_>>,
    dealership_id: DealershipId,
    call_id: CallId,
    customer_id: Option<CustomerId>,
    method: MatchMethod,
) -> Result<()> {
    let sql = "update call set customer_id = $3, match_method = $4 \
               where dealership_id = $1 and call_id = $2 and ($3 is null or exists \
                   (select 1 from customer where customer_id = $3 and dealership_id = $1))";
    on.into().change(sql, args![dealership_id, call_id, customer_id, method]).await
}

/// One call of a dealership.
///
/// # Errors
/// [`crate::Error::NotFound`].
pub async fn find(
    on: impl Into<On<'_>>,
    dealership_id: DealershipId,
    call_id: CallId,
) -> Result<Call> {
    let sql =
        format!("select {} from call where dealership_id = $1 and call_id = $2", Call::columns());
    on.into().one(sql, args![dealership_id, call_id]).await
}

/// One call, whosever it is: for what has no user, like the end of a recording.
///
/// # Errors
/// [`crate::Error::Unavailable`].
pub async fn any(on: impl Into<On<'_>>, call_id: CallId) -> Result<Option<Call>> {
    let sql = format!("select {} from call where call_id = $1", Call::columns());
    on.into().find(sql, args![call_id]).await
}

/// A call's phones, in the order they rang.
///
/// # Errors
/// [`crate::Error::Unavailable`].
pub async fn legs(on: impl Into<On<'_>>, call_id: CallId) -> Result<Vec<Leg>> {
    let sql = format!(
        "select {} from call_leg where call_id = $1 order by ringing_at_us, leg_id",
        Leg::columns()
    );
    on.into().list(sql, args![call_id]).await
}

/// What a list of calls is narrowed to.
#[derive(Clone, Debug, Default)]
pub struct CallFilter {
    /// Offered at or after.
    pub from: Option<Timestamp>,
    /// Offered before.
    pub until: Option<Timestamp>,
    /// Only these.
    pub direction: Option<Direction>,
    /// Only of this user: talked, or whose phone rang.
    pub user_id: Option<UserId>,
    /// Only of this customer.
    pub customer_id: Option<CustomerId>,
    /// Only of this follow-up.
    pub follow_up_id: Option<FollowUpId>,
    /// Only answered, or only not.
    pub answered: Option<bool>,
    /// Only on this phone of ours: talked, or rang.
    pub extension: Option<String>,
    /// Part of a number, or of the customer's name.
    pub text: String,
}

/// Calls, newest first.
///
/// # Errors
/// [`crate::Error::Refused`] for a cursor that is none.
pub async fn list(
    on: impl Into<On<'_>>,
    dealership_id: DealershipId,
    wanted: &CallFilter,
    after: Option<&str>,
    limit: u32,
) -> Result<Page<CallItem>> {
    let sql = format!("select {} from call where call.dealership_id = $1", CallItem::columns());
    let mut filter = Filter::new(sql, args![dealership_id]);
    filter.and_some("call.offered_at_us >= $?", wanted.from);
    filter.and_some("call.offered_at_us < $?", wanted.until);
    filter.and_some("call.direction = $?", wanted.direction);
    filter.and_some("call.customer_id = $?", wanted.customer_id);
    filter.and_some("call.follow_up_id = $?", wanted.follow_up_id);
    filter.and_some(
        "(call.user_id = $? or exists (select 1 from call_leg l \
         where l.call_id = call.call_id and l.user_id = $?))",
        wanted.user_id,
    );
    filter.and_some(
        "(call.extension = $? or exists (select 1 from call_leg l \
         where l.call_id = call.call_id and l.extension = $?))",
        wanted.extension.as_deref(),
    );
    match wanted.answered {
        Some(true) => filter.push(" and call.answered_at_us is not null"),
        Some(false) => filter.push(" and call.answered_at_us is null"),
        None => {}
    }
    let text = wanted.text.trim();
    if !text.is_empty() {
        let (number, name) = (filter.bind(contains(&digits_of(text))), filter.bind(contains(text)));
        filter.push(&format!(
            " and (call.customer_key like {number} escape '!' \
             or call.customer_number like {name} escape '!' \
             or call.extension like {name} escape '!' or call.customer_id in (select customer_id from customer \
             where dealership_id = $1 and name like {name} escape '!'))"
        ));
    }
    if let Some(after) = after {
        let (at, id) = parse_cursor::<i64>(after)?;
        let (at, id) = (filter.bind(at), filter.bind(id));
        filter.push(&format!(" and (call.offered_at_us, call.call_id) < ({at}, {id})"));
    }
    let limit_at = filter.bind(fetch_limit(limit));
    filter.push(&format!(" order by call.offered_at_us desc, call.call_id desc limit {limit_at}"));
    let items = on.into().list(filter.sql, filter.args).await?;
    Ok(Page::cut(items, limit, |it: &CallItem| cursor(it.offered_at.as_micros(), it.call_id)))
}

/// The digits of a number without the zeros in front, or the text if it has none.
pub(crate) fn digits_of(text: &str) -> String {
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    let digits = digits.trim_start_matches('0');
    if digits.is_empty() { text.to_owned() } else { digits.to_owned() }
}

/// One call in the form of the list.
///
/// # Errors
/// [`crate::Error::NotFound`].
pub async fn item(
    on: impl Into<On<'_>>,
    dealership_id: DealershipId,
    call_id: CallId,
) -> Result<CallItem> {
    let sql = format!(
        "select {} from call where call.dealership_id = $1 and call.call_id = $2",
        CallItem::columns()
    );
    on.into().one(sql, args![dealership_id, call_id]).await
}

row! {
    /// A past contact, for the card.
    Contact {
        call_id: CallId = "call.call_id",
        at: Timestamp = "call.offered_at_us",
        direction: Direction = "call.direction",
        user_name: String = "coalesce((select display_name from app_user \
            where app_user.user_id = call.user_id), '')",
        outcome: Option<Outcome> = "(select outcome from wrap_up w \
            where w.call_id = call.call_id)",
        cause: Option<EndCause> = "call.cause",
        note: String = "coalesce((select note from wrap_up w where w.call_id = call.call_id), '')",
        answered_at: Option<Timestamp> = "call.answered_at_us",
        ended_at: Option<Timestamp> = "call.ended_at_us",
        recording_id: Option<RecordingId> = "(select recording_id from recording r \
            where r.call_id = call.call_id and r.path <> '' \
            order by r.started_at_us, r.recording_id limit 1)",
    }
}

/// The last calls of a customer but `current`, newest first.
///
/// # Errors
/// [`crate::Error::Unavailable`].
pub async fn contacts_of(
    on: impl Into<On<'_>>,
    customer_id: CustomerId,
    current: Option<CallId>,
    limit: i64,
) -> Result<Vec<Contact>> {
    let sql = format!(
        "select {} from call where call.customer_id = $1 \
         and ($2 is null or call.call_id <> $2) order by call.offered_at_us desc limit {limit}",
        Contact::columns()
    );
    on.into().list(sql, args![customer_id, current]).await
}

/// The last calls of a number but `current`, newest first.
///
/// # Errors
/// [`crate::Error::Unavailable`].
pub async fn contacts_of_number(
    on: impl Into<On<'_>>,
    dealership_id: DealershipId,
    number_key: &str,
    current: Option<CallId>,
    limit: i64,
) -> Result<Vec<Contact>> {
    let sql = format!(
        "select {} from call where call.dealership_id = $1 and call.customer_key = $2 \
         and ($3 is null or call.call_id <> $3) order by call.offered_at_us desc limit {limit}",
        Contact::columns()
    );
    on.into().list(sql, args![dealership_id, number_key, current]).await
}
