//! The bytes of a recording: by range, as a player seeks, or as a download; and its outline.
//!
//! Each play leaves one audit row, however many ranges the player asks for; each download one.

use super::recordings::audible;
use super::{audit, opus_copy};
use crate::app::App;
use crate::auth::right::Right;
use crate::day;
use crate::endpoint::{Endpoint, Gives, Request, Takes, Verb};
use crate::error::{ApiError, ApiResult};
use crate::range::{Selection, if_range_holds, is_unchanged, select};
use cheling_model::Timestamp;
use cheling_model::recording::{Container, Recording};
use cheling_records::recording::{self, RecordingItem};
use serde::Deserialize;
use std::io::SeekFrom;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio_util::io::ReaderStream;
use uuid::Uuid;
use warp::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use warp::reply::{Reply as _, Response};

/// Read from the disk at once.
const CHUNK_BYTES: usize = 64 * 1024;
/// The ending of the outline beside the audio.
const PEAKS_ENDING: &str = "peaks";

pub static AUDIO: Endpoint = Endpoint {
    verb: Verb::Get,
    path: "/recordings/{id}/audio",
    right: Right::SignedIn,
    summary: "The audio: left the customer, right our side. Range, HEAD, If-Range, ETag; audited",
    query: &[
        (
            "format",
            "wav or opus; opus of a WAV is encoded on the way, without Range; wav of an opus is 406",
        ),
        ("download", "1: as an attachment with a file name"),
    ],
    takes: Takes::Nothing,
    gives: Gives::Bytes(&["audio/wav", "audio/ogg"]),
};
pub static PEAKS: Endpoint = Endpoint {
    verb: Verb::Get,
    path: "/recordings/{id}/peaks",
    right: Right::SignedIn,
    summary: "The outline, little endian: \"CLPK\", u8 version 1, u8 lanes 2, u16 window in ms, \
              u32 windows; then for each window one u8 a lane, left first",
    query: &[],
    takes: Takes::Nothing,
    gives: Gives::Bytes(&["application/octet-stream"]),
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Query {
    format: Option<String>,
    download: Option<String>,
}

/// Answers `GET` and `HEAD /recordings/{id}/audio`.
///
/// # Errors
/// [`ApiError::NotFound`], [`ApiError::FormatNotAvailable`], [`ApiError::RangeNotSatisfiable`],
/// [`ApiError::Busy`].
pub async fn audio(request: Request, id: Uuid) -> ApiResult {
    let query: Query = request.query()?;
    let is_download = query.download.as_deref().is_some_and(|text| text != "0");
    let item = audible(&request, id).await?;
    let (app, user) = (&request.app, request.user()?);
    let whole = recording::find(&app.database, user.dealership_id, item.recording_id).await?;
    let delivery = delivery(query.format.as_deref(), whole.container)?;
    let path = app.files.resolve(&whole.path).map_err(|_| ApiError::NotFound("audio"))?;
    let (file, length) = open(path).await?;
    if delivery == Delivery::OpusCopy {
        return encoded(&request, &item, whole, is_download).await;
    }

    let etag = format!("\"{}\"", whole.sha256);
    let modified = modified(&whole);
    let head = &request.head;
    let none_match = head.header("if-none-match");
    if is_unchanged(none_match, head.header("if-modified-since"), &etag, &modified) {
        let mut response = StatusCode::NOT_MODIFIED.into_response();
        validators(response.headers_mut(), &etag, &modified);
        return Ok(response);
    }
    let range = head.header("range");
    let range = range.filter(|_| if_range_holds(head.header("if-range"), &etag, &modified));
    let selection = select(range, length);
    if selection == Selection::Unsatisfiable {
        return Err(ApiError::RangeNotSatisfiable { length_bytes: length });
    }
    let is_head = head.method == Method::HEAD;
    if !is_head {
        let begins = matches!(&selection, Selection::Whole)
            || matches!(&selection, Selection::Part(part) if part.start == 0);
        let action = match is_download {
            true => begins.then_some("recording.download"),
            false => app.begins_play(user.user_id, item.recording_id).then_some("recording.play"),
        };
        if let Some(action) = action {
            let written = audit(app, head, user, action, ("recording", id.to_string())).await;
            written.inspect_err(|_| app.forget_play(user.user_id, item.recording_id))?;
        }
    }
    let mut response = body(file, length, selection, is_head).await?;
    let headers = response.headers_mut();
    validators(headers, &etag, &modified);
    insert(headers, header::CONTENT_TYPE, mime(whole.container));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    if is_download {
        let name = attachment(app, &item, &whole, whole.container);
        insert(headers, header::CONTENT_DISPOSITION, &name);
    }
    Ok(response)
}

/// The Opus copy of a WAV, encoded on the way. All of it, so a download whatever it is for.
async fn encoded(
    request: &Request,
    item: &RecordingItem,
    whole: Recording,
    is_download: bool,
) -> ApiResult {
    let (app, head, user) = (&request.app, &request.head, request.user()?);
    let etag = format!("\"{}-opus\"", whole.sha256);
    let modified = modified(&whole);
    let (none_match, since) = (head.header("if-none-match"), head.header("if-modified-since"));
    if is_unchanged(none_match, since, &etag, &modified) {
        let mut response = StatusCode::NOT_MODIFIED.into_response();
        validators(response.headers_mut(), &etag, &modified);
        return Ok(response);
    }
    let name = attachment(app, item, &whole, Container::OggOpus);
    let mut response = if head.method == Method::HEAD {
        StatusCode::OK.into_response()
    } else {
        let copy = opus_copy::begin(app, whole).await?;
        let object = ("recording", item.recording_id.to_string());
        audit(app, head, user, "recording.download", object).await?;
        warp::reply::stream(copy).into_response()
    };
    let headers = response.headers_mut();
    validators(headers, &etag, &modified);
    insert(headers, header::CONTENT_TYPE, mime(Container::OggOpus));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("none"));
    if is_download {
        insert(headers, header::CONTENT_DISPOSITION, &name);
    }
    Ok(response)
}

/// Where the bytes come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Delivery {
    AsKept,
    OpusCopy,
}

fn delivery(format: Option<&str>, container: Container) -> Result<Delivery, ApiError> {
    match (format, container) {
        (None | Some(""), _)
        | (Some("wav"), Container::Wav)
        | (Some("opus"), Container::OggOpus) => Ok(Delivery::AsKept),
        (Some("opus"), Container::Wav) => Ok(Delivery::OpusCopy),
        (Some("wav"), Container::OggOpus) => Err(ApiError::FormatNotAvailable("opus")),
        (Some(_), _) => Err(ApiError::invalid("format", "must be wav or opus")),
    }
}

/// When the file got its last sample, as HTTP writes it.
fn modified(whole: &Recording) -> String {
    let length = Duration::from_micros(u64::try_from(whole.duration_us).unwrap_or(0));
    day::http_date(whole.started_at + length)
}

fn mime(container: Container) -> &'static str {
    match container {
        Container::Wav => "audio/wav",
        Container::OggOpus => "audio/ogg",
    }
}

async fn open(path: PathBuf) -> Result<(File, u64), ApiError> {
    let missing = |error: std::io::Error| {
        // A row has its file, always: `cheling check` will name it.
        tracing::error!(path = %path.display(), %error, "a recording's file cannot be read");
        ApiError::NotFound("audio")
    };
    let file = File::open(&path).await.map_err(missing)?;
    let length = file.metadata().await.map_err(missing)?.len();
    Ok((file, length))
}

/// 200 or 206 with the bytes selected.
async fn body(
    mut file: File,
    length: u64,
    selection: Selection,
    is_head: bool,
) -> Result<Response, ApiError> {
    let (status, part) = match selection {
        Selection::Part(part) => (StatusCode::PARTIAL_CONTENT, part),
        _ => (StatusCode::OK, Range { start: 0, end: length }),
    };
    let bytes = part.end - part.start;
    let mut response = if is_head {
        StatusCode::OK.into_response()
    } else {
        let sought = file.seek(SeekFrom::Start(part.start)).await;
        sought.map_err(|error| ApiError::internal("seek", error))?;
        let stream = ReaderStream::with_capacity(file.take(bytes), CHUNK_BYTES);
        warp::reply::stream(stream).into_response()
    };
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes));
    if status == StatusCode::PARTIAL_CONTENT {
        let text = format!("bytes {}-{}/{length}", part.start, part.end.saturating_sub(1));
        insert(headers, header::CONTENT_RANGE, &text);
    }
    Ok(response)
}

fn validators(headers: &mut HeaderMap, etag: &str, modified: &str) {
    insert(headers, header::ETAG, etag);
    insert(headers, header::LAST_MODIFIED, modified);
    // A browser may keep it, but asks each time: whoever lost the right to hear it is told so.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
}

fn insert(headers: &mut HeaderMap, name: HeaderName, text: &str) {
    if let Ok(value) = HeaderValue::try_from(text) {
        headers.insert(name, value);
    }
}

/// `Content-Disposition` with a name that sorts by time: `20261122-103015-8001-王建国.wav`
/// (RFC 6266, RFC 8187).
fn attachment(app: &App, item: &RecordingItem, whole: &Recording, as_what: Container) -> String {
    let at = day::moment(whole.started_at, &app.settings.time_zone);
    file_name(&at, &item.extension, &item.customer_name, as_what)
}

fn file_name(at: &jiff::Zoned, extension: &str, customer: &str, container: Container) -> String {
    let mut plain = at.strftime("%Y%m%d-%H%M%S").to_string();
    if !extension.is_empty() && extension.bytes().all(|letter| letter.is_ascii_alphanumeric()) {
        plain.push('-');
        plain.push_str(extension);
    }
    let ending = match container {
        Container::Wav => "wav",
        Container::OggOpus => "opus",
    };
    let is_safe = |letter: &char| letter.is_alphanumeric() || matches!(letter, '-' | '_');
    let customer: String = customer.chars().filter(is_safe).take(40).collect();
    let full = match customer.is_empty() {
        true => format!("{plain}.{ending}"),
        false => format!("{plain}-{customer}.{ending}"),
    };
    let encoded: String = full
        .bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => {
                char::from(byte).to_string()
            }
            byte => format!("%{byte:02X}"),
        })
        .collect();
    format!("attachment; filename=\"{plain}.{ending}\"; filename*=UTF-8''{encoded}")
}

/// Answers `GET /recordings/{id}/peaks`.
///
/// # Errors
/// [`ApiError::NotFound`], also for a recording without an outline.
pub async fn peaks(request: Request, id: Uuid) -> ApiResult {
    let item = audible(&request, id).await?;
    let (app, user) = (&request.app, request.user()?);
    let whole = recording::find(&app.database, user.dealership_id, item.recording_id).await?;
    let etag = format!("\"{}-peaks\"", whole.sha256);
    let modified = day::http_date(Timestamp::from_micros(whole.started_at.as_micros()));
    if is_unchanged(request.head.header("if-none-match"), None, &etag, &modified) {
        let mut response = StatusCode::NOT_MODIFIED.into_response();
        validators(response.headers_mut(), &etag, &modified);
        return Ok(response);
    }
    let path = app.files.companion(&whole.path, PEAKS_ENDING);
    let path = path.map_err(|_| ApiError::NotFound("peaks"))?;
    // Three kilobytes a minute: small enough to be read whole.
    let bytes = tokio::fs::read(path).await.map_err(|_| ApiError::NotFound("peaks"))?;
    let mut response = bytes.into_response();
    validators(response.headers_mut(), &etag, &modified);
    insert(response.headers_mut(), header::CONTENT_TYPE, "application/octet-stream");
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_download_is_named_by_its_time_phone_and_customer() {
        let zone = jiff::tz::TimeZone::fixed(jiff::tz::offset(8));
        let at = jiff::Timestamp::from_second(1_795_314_615).unwrap().to_zoned(zone);
        for (extension, customer, want) in [
            (
                "8001",
                "王建国",
                "attachment; filename=\"20261122-103015-8001.wav\"; filename*=UTF-8''\
                 20261122-103015-8001-%E7%8E%8B%E5%BB%BA%E5%9B%BD.wav",
            ),
            (
                "",
                "../\"\r\n",
                "attachment; filename=\"20261122-103015.wav\"; filename*=UTF-8''\
                 20261122-103015.wav",
            ),
        ] {
            assert_eq!(file_name(&at, extension, customer, Container::Wav), want);
        }
    }

    #[test]
    fn opus_is_made_of_a_wav_and_no_wav_of_opus() {
        for (format, container, want) in [
            (None, Container::Wav, Delivery::AsKept),
            (None, Container::OggOpus, Delivery::AsKept),
            (Some("wav"), Container::Wav, Delivery::AsKept),
            (Some("opus"), Container::OggOpus, Delivery::AsKept),
            (Some("opus"), Container::Wav, Delivery::OpusCopy),
        ] {
            assert_eq!(delivery(format, container).unwrap(), want, "{format:?} {container:?}");
        }
        assert!(matches!(
            delivery(Some("wav"), Container::OggOpus),
            Err(ApiError::FormatNotAvailable("opus"))
        ));
        assert!(matches!(
            delivery(Some("mp3"), Container::Wav),
            Err(ApiError::Invalid { field: "format", .. })
        ));
    }
}
