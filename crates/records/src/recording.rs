//! Recordings: a row has its file.

use crate::admin::{Filter, contains, set_setting, setting};
use crate::call::digits_of;
use crate::database::On;
use crate::row::{Page, Read, cursor, fetch_limit, parse_cursor, push_values, row, rows_at_once};
use crate::value::{Cells, args};
use crate::{Error, Result, Value};
use cheling_model::follow_up::{AttachMethod, FollowUpType, Outcome};
use cheling_model::recording::{Container, LaneQuality, Recording, Span, SpeechMeasures};
use cheling_model::{
    CallId, CustomerId, DealershipId, Direction, FollowUpId, RecordingId, Timestamp, UserId,
    Verdict,
};

impl Read for Recording {
    const COLUMNS: &'static [&'static str] = &[
        "r.recording_id",
        "r.call_id",
        "r.dealership_id",
        "r.path",
        "r.container",
        "r.started_at_us",
        "r.duration_us",
        "r.sample_rate_hz",
        "r.bytes",
        "r.sha256",
        "r.verdict",
        "r.verdict_detail",
        "r.encoding_customer",
        "r.encoding_agent",
        "r.quality",
        "r.speech",
        "r.pauses",
        "r.digits",
    ];

    fn read(cells: &mut Cells<'_>) -> Result<Self> {
        Ok(Self {
            recording_id: cells.take()?,
            call_id: cells.take()?,
            dealership_id: cells.take()?,
            path: cells.take()?,
            container: cells.take()?,
            started_at: cells.take()?,
            duration_us: cells.take()?,
            sample_rate_hz: u32::try_from(cells.take::<i64>()?).unwrap_or(0),
            bytes: cells.take()?,
            sha256: cells.take()?,
            verdict: cells.take()?,
            verdict_detail: cells.take()?,
            encodings: [cells.take()?, cells.take()?],
            quality: json::<[LaneQuality; 2]>(&cells.take::<String>()?)?,
            speech: json::<SpeechMeasures>(&cells.take::<String>()?)?,
            pauses: json::<Vec<Span>>(&cells.take::<String>()?)?,
            digits: json::<Vec<Span>>(&cells.take::<String>()?)?,
        })
    }
}

fn json<T: serde::de::DeserializeOwned>(text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|err| Error::Corrupt(err.to_string()))
}

/// Writes a finished recording; its file must be in place. Written again (rendered again after a
/// crash), it replaces all but what it is attached to. It begins with the link that its call has.
///
/// # Errors
/// [`Error::Refused`] if there is no such dealership.
pub async fn insert(on: impl Into<On<'_>>, recording: &Recording) -> Result<()> {
    insert_all(on, std::slice::from_ref(recording)).await
}

/// [`insert`] of many. Each is named once.
///
/// # Errors
/// As [`insert`]; with a `&Database` the chunks before the failing one stay.
pub async fn insert_all(on: impl Into<On<'_>>, recordings: &[Recording]) -> Result<()> {
    const COLUMNS: &str = "recording_id, call_id, dealership_id, path, container, started_at_us, \
                           duration_us, sample_rate_hz, bytes, sha256, verdict, verdict_detail, \
                           encoding_customer, encoding_agent, quality, speech, pauses, digits";
    const WIDTH: usize = Recording::COLUMNS.len();
    let columns: Vec<_> = (1..=WIDTH).map(|n| format!("v.column{n}")).collect();
    let mut on = on.into();
    for chunk in recordings.chunks(rows_at_once(WIDTH)) {
        let mut sql = format!(
            "insert into recording ({COLUMNS}, follow_up_id, attach_method) \
             select {}, c.follow_up_id, c.attach_method from (",
            columns.join(", ")
        );
        push_values(&mut sql, on.engine(), WIDTH, chunk.len());
        // The condition tells SQLite's parser that no join ends with the conflict's `on`.
        sql.push_str(
            ") v left join call c on c.call_id = v.column2 where true \
             on conflict (recording_id) do update set path = excluded.path, \
             container = excluded.container, started_at_us = excluded.started_at_us, \
             duration_us = excluded.duration_us, sample_rate_hz = excluded.sample_rate_hz, \
             bytes = excluded.bytes, sha256 = excluded.sha256, verdict = excluded.verdict, \
             verdict_detail = excluded.verdict_detail, \
             encoding_customer = excluded.encoding_customer, \
             encoding_agent = excluded.encoding_agent, quality = excluded.quality, \
             speech = excluded.speech, pauses = excluded.pauses, \
             digits = excluded.digits",
        );
        let mut args = Vec::with_capacity(WIDTH * chunk.len());
        for recording in chunk {
            args.extend(values(recording)?);
        }
        on.execute(sql, args).await?;
    }
    Ok(())
}

/// In the order of the columns.
fn values(r: &Recording) -> Result<Vec<Value>> {
    let [customer, agent] = &r.encodings;
    let text = |value: serde_json::Result<String>| {
        value.map_err(|err| Error::Refused(format!("recording measures: {err}")))
    };
    Ok(args![
        r.recording_id,
        r.call_id,
        r.dealership_id,
        &r.path,
        r.container,
        r.started_at,
        r.duration_us,
        i64::from(r.sample_rate_hz),
        r.bytes,
        &r.sha256,
        r.verdict,
        &r.verdict_detail,
        customer,
        agent,
        text(serde_json::to_string(&r.quality))?,
        text(serde_json::to_string(&r.speech))?,
        text(serde_json::to_string(&r.pauses))?,
        text(serde_json::to_string(&r.digits))?,
    ])
}

row! {
    /// What a recording that landed belongs to.
    Landing {
        call_id: CallId = "c.call_id",
        direction: Direction = "c.direction",
        /// Who talked.
        user_id: Option<UserId> = "c.user_id",
        follow_up_id: Option<FollowUpId> = "c.follow_up_id",
        attach_method: Option<AttachMethod> = "c.attach_method",
        /// A recording of it has another link than the call.
        is_behind: bool = "exists (select 1 from recording r where r.call_id = c.call_id and ( \
            coalesce(r.follow_up_id, c.call_id) <> coalesce(c.follow_up_id, c.call_id) \
            or coalesce(r.attach_method, '') <> coalesce(c.attach_method, '')))",
    }
}

/// What the recordings of these calls belong to; a call without a row is left out.
///
/// # Errors
/// [`Error::Unavailable`].
pub async fn landings(on: impl Into<On<'_>>, calls: &[CallId]) -> Result<Vec<Landing>> {
    let mut on = on.into();
    let mut landings = Vec::with_capacity(calls.len());
    for chunk in calls.chunks(rows_at_once(1)) {
        let places: Vec<_> = (1..=chunk.len()).map(|n| format!("${n}")).collect();
        let sql = format!(
            "select {} from call c where c.call_id in ({})",
            Landing::columns(),
            places.join(", ")
        );
        let args = chunk.iter().map(|id| Value::Uuid(Some(id.0))).collect();
        landings.extend(on.list::<Landing>(sql, args).await?);
    }
    Ok(landings)
}

/// One recording of a dealership.
///
/// # Errors
/// [`Error::NotFound`].
pub async fn find(
    on: impl Into<On<'_>>,
    dealership_id: DealershipId,
    recording_id: RecordingId,
) -> Result<Recording> {
    let sql = format!(
        "select {} from recording r where r.dealership_id = $1 and r.recording_id = $2",
        Recording::columns()
    );
    on.into().one(sql, args![dealership_id, recording_id]).await
}

/// A call's recordings, the first part first.
///
/// # Errors
/// [`Error::Unavailable`].
pub async fn of_call(on: impl Into<On<'_>>, call_id: CallId) -> Result<Vec<Recording>> {
    let sql = format!(
        "select {} from recording r where r.call_id = $1 \
         order by r.started_at_us, r.recording_id",
        Recording::columns()
    );
    on.into().list(sql, args![call_id]).await
}

/// Whether a call has a recording row: then it need not be rendered.
///
/// # Errors
/// [`Error::Unavailable`].
pub async fn exists_of_call(on: impl Into<On<'_>>, call_id: CallId) -> Result<bool> {
    on.into()
        .scalar("select exists (select 1 from recording where call_id = $1)", args![call_id])
        .await
}

/// All recordings in the order of their ids, `limit` after `after`: for `check`.
///
/// # Errors
/// [`Error::Unavailable`].
pub async fn walk(
    on: impl Into<On<'_>>,
    after: Option<RecordingId>,
    limit: u32,
) -> Result<Vec<Recording>> {
    let after = after.unwrap_or(RecordingId(uuid::Uuid::nil()));
    let sql = format!(
        "select {} from recording r where r.recording_id > $1 order by r.recording_id limit $2",
        Recording::columns()
    );
    on.into().list(sql, args![after, i64::from(limit)]).await
}

row! {
    /// An answered call without a recording row.
    UnrecordedCall {
        call_id: CallId = "call.call_id",
        dealership_id: DealershipId = "call.dealership_id",
        answered_at: Timestamp = "call.answered_at_us",
    }
}

/// Calls that were answered, are over, were offered before `before` and have no recording row, in
/// the order of their ids, `limit` after `after`: for `check`.
///
/// # Errors
/// [`Error::Unavailable`].
pub async fn unrecorded(
    on: impl Into<On<'_>>,
    before: Timestamp,
    after: Option<CallId>,
    limit: u32,
) -> Result<Vec<UnrecordedCall>> {
    let after = after.unwrap_or(CallId(uuid::Uuid::nil()));
    let sql = format!(
        "select {} from call where call.call_id > $1 and call.answered_at_us is not null \
         and call.ended_at_us is not null and call.offered_at_us < $2 and not exists \
         (select 1 from recording r where r.call_id = call.call_id) \
         order by call.call_id limit $3",
        UnrecordedCall::columns()
    );
    on.into().list(sql, args![after, before, i64::from(limit)]).await
}

/// One recording, of whatever dealership.
///
/// # Errors
/// [`Error::Unavailable`].
pub async fn get(on: impl Into<On<'_>>, recording_id: RecordingId) -> Result<Option<Recording>> {
    let sql = format!("select {} from recording r where r.recording_id = $1", Recording::columns());
    Ok(on.into().list(sql, args![recording_id]).await?.pop())
}

/// Recordings with a WAV file that began before `older_than`, in the order of their ids, `limit`
/// after `after`: for the conversion to Opus.
///
/// # Errors
/// [`Error::Unavailable`].
pub async fn wavs(
    on: impl Into<On<'_>>,
    older_than: Timestamp,
    after: Option<RecordingId>,
    limit: u32,
) -> Result<Vec<Recording>> {
    let after = after.unwrap_or(RecordingId(uuid::Uuid::nil()));
    let sql = format!(
        "select {} from recording r where r.recording_id > $1 and r.container = 'wav' \
         and r.path <> '' and r.started_at_us < $2 order by r.recording_id limit $3",
        Recording::columns()
    );
    on.into().list(sql, args![after, older_than, i64::from(limit)]).await
}

/// How many recordings [`wavs`] has in all.
///
/// # Errors
/// [`Error::Unavailable`].
pub async fn count_wavs(on: impl Into<On<'_>>, older_than: Timestamp) -> Result<i64> {
    let sql = "select count(*) from recording where container = 'wav' and path <> '' \
               and started_at_us < $1";
    on.into().scalar(sql, args![older_than]).await
}

/// Makes a row tell of another file with the same sound; false if its file is not (any more) the
/// one that `original` tells of.
///
/// # Errors
/// [`Error::Unavailable`].
pub async fn replace_file(
    on: impl Into<On<'_>>,
    original: &Recording,
    copy: &Recording,
) -> Result<bool> {
    let sql = "update recording set path = $1, container = $2, bytes = $3, sha256 = $4 \
               where recording_id = $5 and path = $6 and sha256 = $7";
    let args = args![
        &copy.path,
        copy.container,
        copy.bytes,
        &copy.sha256,
        original.recording_id,
        &original.path,
        &original.sha256,
    ];
    Ok(on.into().execute(sql, args).await? > 0)
}

/// The setting that holds a dealership's container.
const CONTAINER: &str = "recording_container";

/// The container that a dealership wants for its recordings, if it wants another than is usual.
///
/// # Errors
/// [`Error::Corrupt`] if the setting holds no container.
pub async fn container(
    on: impl Into<On<'_>>,
    dealership_id: DealershipId,
) -> Result<Option<Container>> {
    let value = setting(on, dealership_id, CONTAINER).await?;
    value.as_deref().map_or(Ok(None), json::<Option<Container>>)
}

/// Says what container a dealership wants for new recordings; `None`: the usual one.
///
/// # Errors
/// [`Error::Refused`] if there is no such dealership.
pub async fn set_container(
    on: impl Into<On<'_>>,
    dealership_id: DealershipId,
    container: Option<Container>,
    at: Timestamp,
) -> Result<()> {
    let value = serde_json::to_string(&container);
    let value = value.map_err(|err| Error::Refused(format!("container: {err}")))?;
    set_setting(on, dealership_id, CONTAINER, &value, at).await
}

/// Whether a file below the recordings root has its row.
///
/// # Errors
/// [`Error::Unavailable`].
pub async fn has_path(on: impl Into<On<'_>>, path: &str) -> Result<bool> {
    on.into().scalar("select exists (select 1 from recording where path = $1)", args![path]).await
}

row! {
    /// A recording in a list, with whose it is.
    RecordingItem {
        recording_id: RecordingId = "r.recording_id",
        call_id: CallId = "r.call_id",
        started_at: Timestamp = "r.started_at_us",
        duration_us: i64 = "r.duration_us",
        container: String = "r.container",
        bytes: i64 = "r.bytes",
        sha256: String = "r.sha256",
        verdict: Verdict = "r.verdict",
        verdict_detail: String = "r.verdict_detail",
        /// None if the call's own row is not there yet.
        direction: Option<Direction> = "call.direction",
        extension: String = "coalesce(call.extension, '')",
        user_id: Option<UserId> = "call.user_id",
        user_name: String = "coalesce(u.display_name, '')",
        customer_id: Option<CustomerId> = "call.customer_id",
        customer_name: String = "coalesce(c.name, '')",
        salutation: String = "coalesce(c.salutation, '')",
        customer_number: String = "coalesce(call.customer_number, '')",
        customer_key: String = "coalesce(call.customer_key, '')",
        line_name: String = "coalesce((select name from line \
            where line.line_id = call.line_id), '')",
        follow_up_id: Option<FollowUpId> = "r.follow_up_id",
        attach_method: Option<AttachMethod> = "r.attach_method",
        follow_up_type: Option<FollowUpType> = "f.type",
        follow_up_subject: String = "coalesce(f.subject, '')",
        outcome: Option<Outcome> = "w.outcome",
        note: String = "coalesce(w.note, '')",
    }
}

const ITEMS: &str = "from recording r left join call on call.call_id = r.call_id \
     left join app_user u on u.user_id = call.user_id \
     left join customer c on c.customer_id = call.customer_id \
     left join follow_up f on f.follow_up_id = r.follow_up_id \
     left join wrap_up w on w.call_id = r.call_id";

/// What a list of recordings is narrowed to.
#[derive(Clone, Debug, Default)]
pub struct RecordingFilter {
    /// Begun at or after.
    pub from: Option<Timestamp>,
    /// Begun before.
    pub until: Option<Timestamp>,
    /// Only of this user.
    pub user_id: Option<UserId>,
    /// Only of this customer.
    pub customer_id: Option<CustomerId>,
    /// Only of this follow-up.
    pub follow_up_id: Option<FollowUpId>,
    /// Only these.
    pub direction: Option<Direction>,
    /// Only with this verdict.
    pub verdict: Option<Verdict>,
    /// Only what belongs to no follow-up (待关联), or only what does. Internal calls are in
    /// neither list of unattached.
    pub attached: Option<bool>,
    /// Only on this phone of ours.
    pub extension: Option<String>,
    /// Part of a number or of the customer's name.
    pub text: String,
}

/// Recordings, newest first.
///
/// # Errors
/// [`Error::Refused`] for a cursor that is none.
pub async fn list(
    on: impl Into<On<'_>>,
    dealership_id: DealershipId,
    wanted: &RecordingFilter,
    after: Option<&str>,
    limit: u32,
) -> Result<Page<RecordingItem>> {
    let sql = format!("select {} {ITEMS} where r.dealership_id = $1", RecordingItem::columns());
    let mut filter = Filter::new(sql, args![dealership_id]);
    filter.and_some("r.started_at_us >= $?", wanted.from);
    filter.and_some("r.started_at_us < $?", wanted.until);
    filter.and_some("call.user_id = $?", wanted.user_id);
    filter.and_some("call.customer_id = $?", wanted.customer_id);
    filter.and_some("r.follow_up_id = $?", wanted.follow_up_id);
    filter.and_some("call.direction = $?", wanted.direction);
    filter.and_some("r.verdict = $?", wanted.verdict);
    filter.and_some("call.extension = $?", wanted.extension.as_deref());
    match wanted.attached {
        Some(true) => filter.push(" and r.follow_up_id is not null"),
        Some(false) => filter
            .push(" and r.follow_up_id is null and coalesce(call.direction, '') <> 'internal'"),
        None => {}
    }
    let text = wanted.text.trim();
    if !text.is_empty() {
        let (number, name) = (filter.bind(contains(&digits_of(text))), filter.bind(contains(text)));
        filter.push(&format!(
            " and (call.customer_key like {number} escape '!' \
             or call.extension like {name} escape '!' or c.name like {name} escape '!')"
        ));
    }
    if let Some(after) = after {
        let (at, id) = parse_cursor::<i64>(after)?;
        let (at, id) = (filter.bind(at), filter.bind(id));
        filter.push(&format!(" and (r.started_at_us, r.recording_id) < ({at}, {id})"));
    }
    let limit_at = filter.bind(fetch_limit(limit));
    filter.push(&format!(" order by r.started_at_us desc, r.recording_id desc limit {limit_at}"));
    let items = on.into().list(filter.sql, filter.args).await?;
    Ok(Page::cut(items, limit, |it: &RecordingItem| {
        cursor(it.started_at.as_micros(), it.recording_id)
    }))
}

/// One recording in the form of the list.
///
/// # Errors
/// [`Error::NotFound`].
pub async fn item(
    on: impl Into<On<'_>>,
    dealership_id: DealershipId,
    recording_id: RecordingId,
) -> Result<RecordingItem> {
    let sql = format!(
        "select {} {ITEMS} where r.dealership_id = $1 and r.recording_id = $2",
        RecordingItem::columns()
    );
    on.into().one(sql, args![dealership_id, recording_id]).await
}
