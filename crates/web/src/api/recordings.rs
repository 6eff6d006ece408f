//! `/recordings`: what was said, what it is worth, what it belongs to.

use super::call_rows::{self, missing};
use super::calls::tell;
use super::{Group, audio, audit, checked, page_rows, word};
use crate::app::App;
use crate::auth::right::Right;
use crate::day;
use crate::endpoint::{Endpoint, Gives, NoPart, Request, Takes, Verb, json, route, schema_of};
use crate::error::{ApiError, ApiResult};
use crate::wire::Page;
use crate::wire::call::CallRow;
use crate::wire::recording::{
    Attach, LaneQualityRow, ListenerRow, RecordingDetail, RecordingRow, SpeechRow, StretchRow,
};
use cheling_model::console::ConsoleEvent;
use cheling_model::follow_up::{AttachMethod, FollowUpType};
use cheling_model::recording::{LaneQuality, Span, SpeechMeasures};
use cheling_model::{CallId, CustomerId, FollowUpId, RecordingId, Verdict};
use cheling_records::recording::{self, RecordingFilter, RecordingItem};
use cheling_records::{console, follow_up};
use serde::Deserialize;
use std::collections::HashMap;
use uuid::Uuid;
use warp::filters::BoxedFilter;
use warp::reply::Response;

pub const GROUP: Group = Group {
    segment: "recordings",
    endpoints: &[&LIST, &SHOW, &audio::AUDIO, &audio::PEAKS, &ATTACH],
    routes,
};

/// Listeners shown.
const LISTENERS: u32 = 20;

static LIST: Endpoint = Endpoint {
    verb: Verb::Get,
    path: "/recordings",
    right: Right::SignedIn,
    summary: "Recordings, newest first; without the right to see all, one's own",
    query: &[
        ("cursor", "From the page before"),
        ("limit", "Rows, 1 to 200; 50 if missing"),
        ("q", "Part of a number, extension or customer's name"),
        ("from_on", "First day, 2026-11-22"),
        ("to_on", "Last day"),
        ("extension", "Only on this phone"),
        ("customer_id", "Only of this customer"),
        ("verdict", "Only of this worth"),
        ("attached", "true: belongs to a follow-up; false: waits for one"),
    ],
    takes: Takes::Nothing,
    gives: Gives::Page(schema_of::<RecordingRow>()),
};
static SHOW: Endpoint = Endpoint {
    verb: Verb::Get,
    path: "/recordings/{id}",
    right: Right::SignedIn,
    summary: "One recording with its measures and who listened",
    query: &[],
    takes: Takes::Nothing,
    gives: Gives::Json(200, schema_of::<RecordingDetail>()),
};
static ATTACH: Endpoint = Endpoint {
    verb: Verb::Put,
    path: "/recordings/{id}/follow-up",
    right: Right::Desk,
    summary: "Attaches the recording's call to a follow-up, or detaches it",
    query: &[],
    takes: Takes::Json(schema_of::<Attach>()),
    gives: Gives::Json(200, schema_of::<RecordingDetail>()),
};

fn routes(app: &App) -> Vec<BoxedFilter<(Response,)>> {
    vec![
        route(app, &LIST, list),
        route(app, &SHOW, show),
        route(app, &audio::AUDIO, audio::audio),
        route(app, &audio::PEAKS, audio::peaks),
        route(app, &ATTACH, attach),
    ]
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Query {
    cursor: Option<String>,
    limit: Option<u32>,
    #[serde(default)]
    q: String,
    from_on: Option<String>,
    to_on: Option<String>,
    extension: Option<String>,
    customer_id: Option<Uuid>,
    verdict: Option<String>,
    attached: Option<bool>,
}

async fn list(request: Request, _: NoPart) -> ApiResult {
    let query: Query = request.query()?;
    let (app, user) = (&request.app, request.user()?);
    let zone = &app.settings.time_zone;
    let span = day::span(query.from_on.as_deref(), query.to_on.as_deref(), zone)?;
    let verdict = query.verdict.filter(|text| !text.is_empty());
    let wanted = RecordingFilter {
        from: query.from_on.is_some().then_some(span.start),
        until: query.to_on.is_some().then_some(span.end),
        user_id: (!request.holds(Right::SeeAllCalls)).then_some(user.user_id),
        customer_id: query.customer_id.map(CustomerId),
        verdict: verdict.map(|text| word(&text, "verdict", Verdict::from_word)).transpose()?,
        attached: query.attached,
        extension: query.extension.filter(|number| !number.is_empty()),
        text: checked(&query.q, "q", 100)?,
        ..RecordingFilter::default()
    };
    let limit = page_rows(query.limit)?;
    let cursor = query.cursor.as_deref();
    let page = recording::list(&app.database, user.dealership_id, &wanted, cursor, limit).await?;
    json(&Page { items: rows(&request, page.items).await?, next_cursor: page.next })
}

async fn rows(request: &Request, items: Vec<RecordingItem>) -> Result<Vec<RecordingRow>, ApiError> {
    let (app, user) = (&request.app, request.user()?);
    if items.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<CallId> = items.iter().map(|item| item.call_id).collect();
    let calls = console::calls(&app.database, user.dealership_id, &ids).await?;
    let calls = call_rows::rows(app, &calls).await?;
    let mut calls: HashMap<Uuid, CallRow> =
        calls.into_iter().map(|call| (call.call_id, call)).collect();
    let row = |item: RecordingItem| RecordingRow {
        recording_id: item.recording_id.0,
        started_at: item.started_at.as_micros(),
        duration_ms: item.duration_us / 1000,
        verdict: item.verdict.as_str().into(),
        container: item.container.clone(),
        bytes: item.bytes,
        attach_method: attach_method(&item).into(),
        follow_up_type: item.follow_up_type.map_or("", FollowUpType::as_str).into(),
        call: calls.remove(&item.call_id.0).unwrap_or_else(|| without_call(&item)),
        verdict_detail: item.verdict_detail,
    };
    Ok(items.into_iter().map(row).collect())
}

/// How it was attached; a link that a person took away is one no longer.
fn attach_method(item: &RecordingItem) -> &'static str {
    let method = item.attach_method.filter(|_| item.follow_up_id.is_some());
    method.map_or("", AttachMethod::as_str)
}

/// A recording whose call's own row is not written yet.
fn without_call(item: &RecordingItem) -> CallRow {
    CallRow {
        call_id: item.call_id.0,
        direction: String::new(),
        offered_at: item.started_at.as_micros(),
        answered_at: Some(item.started_at.as_micros()),
        ended_at: None,
        talk_ms: item.duration_us / 1000,
        number: String::new(),
        line_name: String::new(),
        extension: String::new(),
        user_name: String::new(),
        customer_id: None,
        customer_name: String::new(),
        plate: String::new(),
        cause: String::new(),
        outcome: String::new(),
        follow_up_id: item.follow_up_id.map(|id| id.0),
        recording_id: Some(item.recording_id.0),
        verdict: item.verdict.as_str().into(),
    }
}

/// A recording that the sender may hear.
///
/// # Errors
/// [`ApiError::NotFound`], also for one of another dealership or, for who hears only own calls, of
/// a colleague.
pub async fn audible(request: &Request, id: Uuid) -> Result<RecordingItem, ApiError> {
    let (app, user) = (&request.app, request.user()?);
    let found = recording::item(&app.database, user.dealership_id, RecordingId(id)).await;
    let item = found.map_err(|error| missing(error, "recording"))?;
    let is_own = item.user_id == Some(user.user_id);
    match is_own || request.holds(Right::SeeAllCalls) {
        true => Ok(item),
        false => Err(ApiError::NotFound("recording")),
    }
}

async fn show(request: Request, id: Uuid) -> ApiResult {
    let item = audible(&request, id).await?;
    json(&detail(&request, item).await?)
}

async fn detail(request: &Request, item: RecordingItem) -> Result<RecordingDetail, ApiError> {
    let (app, user) = (&request.app, request.user()?);
    let id = item.recording_id;
    let whole = recording::find(&app.database, user.dealership_id, id).await?;
    let listeners = console::listeners(&app.database, id, LISTENERS).await?;
    let listeners = listeners
        .into_iter()
        .map(|it| ListenerRow {
            user_name: it.user_name,
            at: it.at.as_micros(),
            action: it.action.trim_start_matches("recording.").into(),
        })
        .collect();
    let note = item.note.clone();
    let mut rows = rows(request, vec![item]).await?;
    Ok(RecordingDetail {
        row: rows.pop().ok_or(ApiError::NotFound("recording"))?,
        sha256: whole.sha256,
        sample_rate_hz: whole.sample_rate_hz,
        encodings: whole.encodings,
        quality: whole.quality.map(quality),
        speech: speech(whole.speech),
        pauses: whole.pauses.iter().map(stretch).collect(),
        digits: whole.digits.iter().map(stretch).collect(),
        note,
        listeners,
    })
}

fn quality(lane: LaneQuality) -> LaneQualityRow {
    LaneQualityRow {
        received_packets: lane.received_packets,
        lost_packets: lane.lost_packets,
        reordered_packets: lane.reordered_packets,
        duplicate_packets: lane.duplicate_packets,
        tap_dropped_packets: lane.tap_dropped_packets,
        jitter_us: lane.jitter_us,
        concealed_ms: lane.concealed_ms,
        mos: lane.mos,
        round_trip_us: lane.round_trip_us,
    }
}

fn stretch(span: &Span) -> StretchRow {
    StretchRow { from_ms: span.from_ms, until_ms: span.until_ms }
}

fn speech(measures: SpeechMeasures) -> SpeechRow {
    SpeechRow {
        talk_ratio: measures.talk_ratio,
        silence_ratio: measures.silence_ratio,
        longest_silence_ms: measures.longest_silence_us / 1000,
        overlaps: measures.overlaps,
        first_response_ms: measures.first_response_us / 1000,
    }
}

async fn attach(mut request: Request, id: Uuid) -> ApiResult {
    let Attach { follow_up_id } = request.json().await?;
    let item = audible(&request, id).await?;
    let (app, user) = (&request.app, request.user()?);
    let wanted = follow_up_id.map(FollowUpId);
    let mut owners = Vec::new();
    if let Some(id) = wanted {
        let task = follow_up::find(&app.database, user.dealership_id, id).await;
        let task =
            task.map_err(|_| ApiError::invalid("follow_up_id", "there is no such follow-up"))?;
        owners.push((id, task.owner_user_id));
    }
    if let Some(old) = item.follow_up_id.filter(|old| Some(*old) != wanted) {
        owners.push((old, None));
    }
    let (db, dealership_id) = (&app.database, user.dealership_id);
    let done = cheling_lookup::attach::relink(db, dealership_id, item.call_id, wanted).await;
    done.map_err(|error| missing(error, "call"))?;
    let object = ("recording", id.to_string());
    audit(app, &request.head, user, "recording.attach", object).await?;
    for (follow_up_id, owner) in owners {
        let owner = owner.filter(|owner| *owner != user.user_id);
        tell(app, [Some(user.user_id), owner], ConsoleEvent::TaskChanged { follow_up_id });
    }
    let item = audible(&request, id).await?;
    json(&detail(&request, item).await?)
}
