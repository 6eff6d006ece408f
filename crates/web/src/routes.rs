//! All routes of the server: the API by the first segment of its paths, what monitoring asks for,
//! and the console for everything else.

use crate::api;
use crate::app::App;
use crate::assets;
use crate::endpoint::{Endpoint, Head, finish, head, json};
use crate::error::{ApiError, ApiResult};
use warp::filters::BoxedFilter;
use warp::http::{HeaderName, HeaderValue, StatusCode, header};
use warp::reject::InvalidHeader;
use warp::reply::{Reply as _, Response};
use warp::{Filter as _, Rejection};

/// Sent with every answer. The console runs no script and loads nothing but its own; styles are set
/// by its component library from scripts.
const SECURITY_HEADERS: [(HeaderName, &str); 5] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'self'; script-src 'self'; worker-src 'self'; style-src 'self' \
         'unsafe-inline'; img-src 'self' data: blob:; media-src 'self' data: blob:; \
         connect-src 'self' ws: wss:; object-src 'none'; base-uri 'self'; form-action 'self'; \
         frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

type Route = BoxedFilter<(Response,)>;

/// Everything, ready for `warp::service`.
pub fn routes(app: &App) -> Route {
    let metrics = app.metrics.clone();
    api(app)
        .or(root(app))
        .unify()
        .or(console())
        .unify()
        .map(move |mut response: Response| {
            for (name, value) in SECURITY_HEADERS {
                response.headers_mut().insert(name, HeaderValue::from_static(value));
            }
            metrics.count_answer(response.status().as_u16());
            response
        })
        .boxed()
}

/// Every entry of the API, in the order of its description.
pub fn endpoints() -> Vec<&'static Endpoint> {
    api::GROUPS.iter().flat_map(|group| group.endpoints.iter().copied()).collect()
}

fn api(app: &App) -> Route {
    let description = serde_json::to_value(crate::openapi::describe(&endpoints()));
    let description = description.unwrap_or_default();
    let openapi = warp::path("openapi.json")
        .and(warp::path::end())
        .and(warp::get().or(warp::head()).unify())
        .map(move || finish(json(&description)))
        .boxed();
    let mut all: Route = openapi;
    for group in api::GROUPS {
        let mut routes = (group.routes)(app).into_iter();
        let Some(mut members) = routes.next() else { continue };
        for route in routes {
            members = members.or(route).unify().boxed();
        }
        all = all.or(warp::path(group.segment).and(members)).unify().boxed();
    }
    warp::path("api").and(warp::path("v1")).and(all).recover(refused).unify().boxed()
}

/// Says in our form why no route took a request.
async fn refused(rejection: Rejection) -> Result<Response, Rejection> {
    // Other versions of the API, and paths that only begin like ours.
    let error = if rejection.is_not_found() {
        return Err(rejection);
    } else if let Some(header) = rejection.find::<InvalidHeader>() {
        by_header(header.name())
    } else if let Some(header) = rejection.find::<warp::reject::MissingHeader>() {
        by_header(header.name())
    } else if rejection.find::<warp::ws::MissingConnectionUpgrade>().is_some() {
        ApiError::UpgradeRequired
    } else if rejection.find::<warp::reject::PayloadTooLarge>().is_some() {
        ApiError::TooLarge { limit_bytes: api::imports::LIMIT_BYTES }
    } else if rejection.find::<warp::reject::LengthRequired>().is_some() {
        ApiError::Malformed("the length of the body must be told beforehand".into())
    } else if rejection.find::<warp::reject::MethodNotAllowed>().is_some() {
        ApiError::MethodNotAllowed
    } else {
        ApiError::Malformed("the request cannot be read".into())
    };
    Ok(finish(Err(error)))
}

fn by_header(name: &str) -> ApiError {
    match name {
        "content-type" => ApiError::UnsupportedMediaType("multipart/form-data"),
        "content-length" => {
            ApiError::Malformed("the length of the body must be told beforehand".into())
        }
        _ => ApiError::UpgradeRequired,
    }
}

/// What monitoring and load balancers ask for.
fn root(app: &App) -> Route {
    let reads = || warp::get().or(warp::head()).unify();
    let health = warp::path("healthz")
        .and(warp::path::end())
        .and(reads())
        .map(|| finish(Ok("ok\n".into_response())))
        .boxed();
    let for_ready = app.clone();
    let ready = warp::path("readyz")
        .and(warp::path::end())
        .and(reads())
        .and(head())
        .and_then(move |head: Head| {
            let app = for_ready.clone();
            async move { Ok::<_, Rejection>(finish(ready(&app, &head).await)) }
        })
        .boxed();
    let for_metrics = app.clone();
    let metrics = warp::path("metrics")
        .and(warp::path::end())
        .and(reads())
        .and(head())
        .map(move |head: Head| finish(metrics(&for_metrics, &head)))
        .boxed();
    health.or(ready).unify().or(metrics).unify().boxed()
}

/// Whether calls are taken and the console works. A trunk that is down does not make this node
/// unready: phones still talk, other trunks too, and no other node would do better. How trunks are
/// is told to those who may know.
async fn ready(app: &App, head: &Head) -> ApiResult {
    if app.stop.is_cancelled() {
        return Err(ApiError::Unavailable("shutting down"));
    }
    app.database.ping().await?;
    // Still ready: calls go on. A word a line, for monitoring that reads them.
    let alarms: Vec<_> = (app.alarms)().iter().map(|alarm| alarm.kind.as_str()).collect();
    let may_look = may_look_inside(app, head);
    let trunks = if may_look { crate::api::trunks::rows(app).await } else { Vec::new() };
    if head.header("accept").is_some_and(|accept| accept.contains("application/json")) {
        return json(&serde_json::json!({ "ready": true, "alarms": alarms, "trunks": trunks }));
    }
    let alarms = alarms.iter().map(|alarm| format!("alarm {alarm}\n"));
    let trunks = trunks.iter().map(|trunk| format!("trunk {}: {}\n", trunk.name, trunk.state));
    Ok(format!("ready\n{}", alarms.chain(trunks).collect::<String>()).into_response())
}

/// This machine, and whoever knows the token.
fn may_look_inside(app: &App, head: &Head) -> bool {
    let bearer = head.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
    let knows_token = match (&app.settings.metrics_token, bearer) {
        (Some(token), Some(given)) => is_same_secret(token, given),
        _ => false,
    };
    knows_token || head.is_local(app)
}

/// The process's counters: for this machine, and for whoever knows the token.
fn metrics(app: &App, head: &Head) -> ApiResult {
    if !app.settings.metrics_open && !may_look_inside(app, head) {
        return Err(ApiError::Forbidden);
    }
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &app.registry)
        .map_err(|error| ApiError::internal("metrics", error))?;
    let mut response = text.into_response();
    let mime = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(mime));
    Ok(response)
}

/// Compares hashes, so that the time taken says nothing about the secret.
fn is_same_secret(secret: &str, given: &str) -> bool {
    crate::auth::session::hash_of(secret) == crate::auth::session::hash_of(given)
}

fn console() -> Route {
    warp::method()
        .and(warp::path::full())
        .and(warp::header::headers_cloned())
        .map(|method: warp::http::Method, path: warp::path::FullPath, headers| {
            let path = path.as_str().trim_start_matches('/');
            if path == "api" || path.starts_with("api/") {
                return finish(Err(ApiError::NotFound("path")));
            }
            match method {
                warp::http::Method::GET | warp::http::Method::HEAD => {
                    assets::serve(&method, path, &headers)
                }
                _ => StatusCode::METHOD_NOT_ALLOWED.into_response(),
            }
        })
        .boxed()
}
