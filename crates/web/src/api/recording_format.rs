//! `/recording-format`: what files the dealership's recordings become.

use super::{Group, audit, word};
use crate::app::App;
use crate::auth::right::Right;
use crate::endpoint::{Endpoint, Gives, NoPart, Request, Takes, Verb, json, route, schema_of};
use crate::error::{ApiError, ApiResult};
use crate::wire::admin::{RecordingFormat, RecordingFormatDraft};
use cheling_model::DealershipId;
use cheling_model::recording::Container;
use cheling_records::recording;
use warp::filters::BoxedFilter;
use warp::reply::Response;

pub const GROUP: Group =
    Group { segment: "recording-format", endpoints: &[&SHOW, &CHANGE], routes };

static SHOW: Endpoint = Endpoint {
    verb: Verb::Get,
    path: "/recording-format",
    right: Right::ChangeRecording,
    summary: "What files this dealership's recordings become",
    query: &[],
    takes: Takes::Nothing,
    gives: Gives::Json(200, schema_of::<RecordingFormat>()),
};
static CHANGE: Endpoint = Endpoint {
    verb: Verb::Put,
    path: "/recording-format",
    right: Right::ChangeRecording,
    summary: "Chooses the files of recordings that are made from now on",
    query: &[],
    takes: Takes::Json(schema_of::<RecordingFormatDraft>()),
    gives: Gives::Json(200, schema_of::<RecordingFormat>()),
};

fn routes(app: &App) -> Vec<BoxedFilter<(Response,)>> {
    vec![route(app, &SHOW, show), route(app, &CHANGE, change)]
}

async fn show(request: Request, _: NoPart) -> ApiResult {
    let dealership_id = request.user()?.dealership_id;
    json(&read(&request.app, dealership_id).await?)
}

async fn read(app: &App, dealership_id: DealershipId) -> Result<RecordingFormat, ApiError> {
    let container = recording::container(&app.database, dealership_id).await?;
    let kbit = app.settings.opus.bitrate_bps / 1000;
    Ok(RecordingFormat {
        container: container.map(|it| it.as_str().into()),
        usual: app.settings.container.as_str().into(),
        opus_kbit: u32::try_from(kbit).unwrap_or(0),
        opus_after_days: app.settings.opus_after_days,
    })
}

async fn change(mut request: Request, _: NoPart) -> ApiResult {
    let draft: RecordingFormatDraft = request.json().await?;
    let (app, admin) = (&request.app, request.user()?);
    let container = draft.container.as_deref();
    let container = container.map(|it| word(it, "container", Container::from_word)).transpose()?;
    let dealership_id = admin.dealership_id;
    recording::set_container(&app.database, dealership_id, container, app.now()).await?;
    let object = ("dealership", dealership_id.to_string());
    audit(app, &request.head, admin, "recording.format", object).await?;
    json(&read(app, dealership_id).await?)
}
