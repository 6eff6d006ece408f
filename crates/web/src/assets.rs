//! Serves the console's files, which are inside the binary.
//!
//! `assets/` holds files whose names change with their content: kept by browsers for good. All else
//! is asked for again each time, with an `ETag`. A path that is no file is a page of the console and
//! gets `index.html`, except below `assets/` (a stale tab must see 404, not HTML where it expects a
//! script) and `api/`.

use rust_embed::{Embed, EmbeddedFile};
use warp::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use warp::reply::{Reply, Response};

/// The built console. A development build reads it from the source tree at each request.
#[derive(Embed)]
#[folder = "ui/dist"]
#[allow_missing = true]
struct Console;

const INDEX: &str = "index.html";
const NOT_BUILT: &str = "<!doctype html><meta charset=\"utf-8\"><title>Cheling</title>\
    <p>The console is not built. Run <code>make console</code>, then build again.</p>\n";

/// Whether the console is inside this binary.
pub fn is_built() -> bool {
    Console::get(INDEX).is_some()
}

/// Answers a GET or HEAD for a path of the console, without its leading `/`.
pub fn serve(method: &Method, path: &str, headers: &HeaderMap) -> Response {
    let answer = answer(path, headers);
    if method == Method::HEAD { without_body(answer) } else { answer }
}

fn answer(path: &str, headers: &HeaderMap) -> Response {
    let path = if path.is_empty() { INDEX } else { path };
    // Compressed twins are chosen by `Accept-Encoding`, not asked for by name.
    let is_twin = path.ends_with(".br") || path.ends_with(".gz");
    if let Some(file) = Console::get(path).filter(|_| !is_twin) {
        return file_response(path, file, headers);
    }
    if path == "api" || path.starts_with("api/") || path.starts_with("assets/") {
        return StatusCode::NOT_FOUND.into_response();
    }
    match Console::get(INDEX) {
        Some(file) => file_response(INDEX, file, headers),
        None => {
            let mut response = warp::reply::html(NOT_BUILT).into_response();
            let no_store = HeaderValue::from_static("no-store");
            response.headers_mut().insert(header::CACHE_CONTROL, no_store);
            response
        }
    }
}

fn file_response(path: &str, file: EmbeddedFile, request: &HeaderMap) -> Response {
    let mime = file.metadata.mimetype().to_owned();
    let (file, encoding) = compressed(path, request).unwrap_or((file, ""));
    let etag = format!("\"{}\"", &crate::auth::session::hex(&file.metadata.sha256_hash())[..32]);
    let cache = match path.starts_with("assets/") {
        true => "public, max-age=31536000, immutable",
        false => "no-cache",
    };
    let known = request.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    let is_known = crate::range::is_unchanged(known, None, &etag, "");
    let mut response = match is_known {
        true => StatusCode::NOT_MODIFIED.into_response(),
        false => match file.data {
            std::borrow::Cow::Borrowed(bytes) => bytes.into_response(),
            std::borrow::Cow::Owned(bytes) => bytes.into_response(),
        },
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    let mime = if mime.starts_with("text/") { format!("{mime}; charset=utf-8") } else { mime };
    for (name, value) in [(header::CONTENT_TYPE, mime), (header::ETAG, etag)] {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    }
    if !encoding.is_empty() && !is_known {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding));
    }
    response
}

/// The smallest twin of a file that the browser takes.
fn compressed(path: &str, request: &HeaderMap) -> Option<(EmbeddedFile, &'static str)> {
    let accepted = request.get(header::ACCEPT_ENCODING)?.to_str().ok()?;
    [("br", "br"), ("gzip", "gz")]
        .into_iter()
        .filter(|(encoding, _)| takes(accepted, encoding))
        .find_map(|(encoding, ending)| Some((Console::get(&format!("{path}.{ending}"))?, encoding)))
}

/// Whether `Accept-Encoding` names this encoding and does not refuse it with `q=0`.
fn takes(accepted: &str, wanted: &str) -> bool {
    accepted.split(',').any(|item| {
        let mut parts = item.split(';').map(str::trim);
        let name = parts.next().unwrap_or("");
        let is_refused = parts.any(|p| p.replace(' ', "").trim_end_matches(['0', '.']) == "q=");
        name.eq_ignore_ascii_case(wanted) && !is_refused
    })
}

/// Turns the answer to a GET into the one to a HEAD: the same headers and no body.
pub(crate) fn without_body(response: Response) -> Response {
    use hyper::body::Body as _;
    let (mut head, body) = response.into_parts();
    if let Some(length) = body.size_hint().exact()
        && head.status == StatusCode::OK
        && !head.headers.contains_key(header::CONTENT_LENGTH)
    {
        head.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    Response::from_parts(head, warp::reply::reply().into_response().into_body())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(path: &str) -> Response {
        serve(&Method::GET, path, &HeaderMap::new())
    }

    #[test]
    fn pages_get_the_console_and_missing_files_do_not() {
        for (path, want) in [
            ("", StatusCode::OK),
            ("calls", StatusCode::OK),
            ("recordings/0199", StatusCode::OK),
            ("assets/index-1a2b.js", StatusCode::NOT_FOUND),
            ("api", StatusCode::NOT_FOUND),
            ("api/v1/nothing", StatusCode::NOT_FOUND),
        ] {
            assert_eq!(get(path).status(), want, "{path}");
        }
        let page = get("calls");
        assert!(page.headers()[header::CONTENT_TYPE].to_str().unwrap().starts_with("text/html"));
        assert_ne!(page.headers()[header::CACHE_CONTROL], "public, max-age=31536000, immutable");
    }

    #[test]
    fn a_compressed_twin_is_sent_only_to_who_takes_it() {
        for (accepted, want) in [
            ("gzip, deflate, br", true),
            ("BR;q=1.0", true),
            ("gzip, br;q=0.5", true),
            ("gzip, br;q=0", false),
            ("gzip, br; q = 0.000", false),
            ("gzip, deflate", false),
            ("identity", false),
            ("", false),
        ] {
            assert_eq!(takes(accepted, "br"), want, "{accepted}");
        }
    }

    #[test]
    fn a_head_has_the_headers_of_the_get_and_no_body() {
        use hyper::body::Body as _;
        let get = get("");
        let head = serve(&Method::HEAD, "", &HeaderMap::new());
        assert_eq!(head.status(), get.status());
        let length = get.body().size_hint().exact().unwrap().to_string();
        assert_eq!(head.headers()[header::CONTENT_LENGTH], length.as_str());
        assert_eq!(head.body().size_hint().exact(), Some(0));
    }
}
