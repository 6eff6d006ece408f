//! One entry of the API: what it is called, who may use it, what goes in and comes out; and the
//! filter that turns a request for it into a call of its handler.
//!
//! The same entry makes the route and its description in `openapi`, so the two cannot disagree.

use crate::app::App;
use crate::auth::right::Right;
use crate::auth::{origin, session};
use crate::error::{ApiError, ApiResult};
use bytes::{Bytes, BytesMut};
use cheling_records::session::SignedIn;
use futures_util::future::BoxFuture;
use futures_util::{Stream, StreamExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use warp::filters::BoxedFilter;
use warp::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use warp::reply::{Reply as _, Response};
use warp::{Filter as _, Rejection};

/// Largest JSON body.
pub const JSON_LIMIT_BYTES: usize = 256 * 1024;
/// How long it may take to come.
const BODY_PATIENCE: Duration = Duration::from_secs(30);

/// What a request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Reads; HEAD is answered too.
    Get,
    /// Makes.
    Post,
    /// Changes.
    Put,
    /// Ends or removes.
    Delete,
}

/// A schema of the API's description, not yet written.
#[derive(Clone, Copy)]
pub struct SchemaOf {
    /// Its name among the components.
    pub name: fn() -> std::borrow::Cow<'static, str>,
    /// Itself.
    pub schema: fn() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema>,
    /// Those it refers to.
    pub parts: fn(&mut Vec<(String, utoipa::openapi::RefOr<utoipa::openapi::schema::Schema>)>),
}

/// The schema of a wire struct.
pub const fn schema_of<T: utoipa::ToSchema>() -> SchemaOf {
    SchemaOf { name: T::name, schema: T::schema, parts: T::schemas }
}

/// A request's body.
#[derive(Clone, Copy)]
pub enum Takes {
    /// None.
    Nothing,
    /// JSON of this form.
    Json(SchemaOf),
    /// A form with a file.
    File,
}

/// A good answer.
#[derive(Clone, Copy)]
pub enum Gives {
    /// JSON of this form, with this status.
    Json(u16, SchemaOf),
    /// A page of these.
    Page(SchemaOf),
    /// JSON that `model` describes.
    Object,
    /// Nothing, with this status.
    Empty(u16),
    /// Bytes of one of these types.
    Bytes(&'static [&'static str]),
    /// A WebSocket.
    Socket,
}

/// One entry of the API.
pub struct Endpoint {
    /// What it does.
    pub verb: Verb,
    /// Below `/api/v1`, with at most one `{…}`.
    pub path: &'static str,
    /// Who may.
    pub right: Right,
    /// In a sentence.
    pub summary: &'static str,
    /// Names and meanings of its query parameters.
    pub query: &'static [(&'static str, &'static str)],
    /// What goes in.
    pub takes: Takes,
    /// What comes out.
    pub gives: Gives,
}

/// The address of the other end of the connection, put into each request by the accept loop.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

/// A request without its body.
#[derive(Clone, Debug)]
pub struct Head {
    /// Its method.
    pub method: Method,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its query, as it came.
    pub query: String,
    /// The other end of the connection.
    pub peer: Option<SocketAddr>,
}

impl Head {
    /// A header's text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Whether a proxy that we believe passed the request on.
    fn is_proxied(&self, app: &App) -> bool {
        self.peer.is_some_and(|peer| app.trusts(peer.ip().to_canonical()))
    }

    /// The authority that the browser addressed.
    pub fn host(&self, app: &App) -> Option<&str> {
        let forwarded = self.header("x-forwarded-host").filter(|_| self.is_proxied(app));
        forwarded.or_else(|| self.header("host"))
    }

    /// Whether the browser spoke https.
    pub fn is_secure(&self, app: &App) -> bool {
        self.header("x-forwarded-proto") == Some("https") && self.is_proxied(app)
    }

    /// Who is at the other end.
    pub fn client(&self, app: &App) -> IpAddr {
        app.client(self.peer, self.header("x-forwarded-for"))
    }

    /// Whether it was sent on this machine. A proxy here that we were not told of does not make the
    /// whole world local.
    pub fn is_local(&self, app: &App) -> bool {
        let is_hidden = self.headers.contains_key("x-forwarded-for") && !self.is_proxied(app);
        !is_hidden && self.client(app).is_loopback()
    }

    /// Who is signed in, if anybody is. Prolongs the session.
    pub async fn signed_in(&self, app: &App) -> Result<SignedIn, ApiError> {
        let token = session::token_of(&self.headers).ok_or(ApiError::NotSignedIn)?;
        let now = app.now();
        let hash = session::hash_of(token);
        let found = cheling_records::session::signed_in(&app.database, &hash, now).await?;
        let user = found.ok_or(ApiError::NotSignedIn)?;
        if let Some(end) = session::prolonged(session::born(user.session_id), user.expires_at, now)
        {
            // A read must not fail because the database is being written to: the next use tries again.
            let prolonged = cheling_records::session::extend(&app.database, user.session_id, end);
            if let Err(error) = prolonged.await {
                tracing::warn!(%error, "a session could not be prolonged");
            }
        }
        Ok(user)
    }

    /// Refuses what another site's page asks for in the user's name.
    pub fn check_origin(&self, app: &App) -> Result<(), ApiError> {
        match origin::is_same_origin(&self.headers, self.host(app)) {
            true => Ok(()),
            false => Err(ApiError::CrossOrigin),
        }
    }
}

/// A request's body as it comes in.
type Body = Pin<Box<dyn Stream<Item = Result<Bytes, warp::Error>> + Send + Sync>>;

/// A request that may be answered: its sender holds the right.
pub struct Request {
    /// What the routes share.
    pub app: App,
    /// The request without its body.
    pub head: Head,
    user: Option<SignedIn>,
    body: Body,
}

impl Request {
    /// Who is signed in.
    ///
    /// # Errors
    /// [`ApiError::NotSignedIn`] on a path that anyone may ask for.
    pub fn user(&self) -> Result<&SignedIn, ApiError> {
        self.user.as_ref().ok_or(ApiError::NotSignedIn)
    }

    /// Whether the user holds a further right.
    pub fn holds(&self, right: Right) -> bool {
        self.user.as_ref().is_some_and(|user| right.is_held_by(user.role))
    }

    /// The query as a struct that refuses unknown parameters.
    ///
    /// # Errors
    /// [`ApiError::Malformed`] says which one.
    pub fn query<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        serde_urlencoded::from_str(&self.head.query)
            .map_err(|error| ApiError::Malformed(format!("query: {error}")))
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// [`ApiError::UnsupportedMediaType`], [`ApiError::TooLarge`], [`ApiError::Malformed`].
    pub async fn json<T: DeserializeOwned>(&mut self) -> Result<T, ApiError> {
        let mime = self.head.header("content-type").unwrap_or("");
        let mime = mime.split(';').next().unwrap_or("").trim();
        if !mime.eq_ignore_ascii_case("application/json") {
            return Err(ApiError::UnsupportedMediaType("application/json"));
        }
        let bytes = tokio::time::timeout(BODY_PATIENCE, self.bytes(JSON_LIMIT_BYTES)).await;
        let bytes = bytes.map_err(|_| ApiError::Malformed("the body did not come".into()))??;
        serde_json::from_slice(&bytes).map_err(|error| ApiError::Malformed(error.to_string()))
    }

    async fn bytes(&mut self, limit_bytes: usize) -> Result<Bytes, ApiError> {
        let mut all = BytesMut::new();
        while let Some(chunk) = self.body.next().await {
            let chunk = chunk.map_err(|error| ApiError::Malformed(format!("body: {error}")))?;
            if all.len() + chunk.len() > limit_bytes {
                return Err(ApiError::TooLarge { limit_bytes });
            }
            all.extend_from_slice(&chunk);
        }
        Ok(all.freeze())
    }
}

/// The one variable part of a path that has none.
#[derive(Clone, Copy, Debug)]
pub struct NoPart;

impl FromStr for NoPart {
    type Err = std::convert::Infallible;
    fn from_str(_: &str) -> Result<Self, Self::Err> {
        Ok(Self)
    }
}

type Handler = Arc<dyn Fn(Request, String) -> BoxFuture<'static, ApiResult> + Send + Sync>;
type Route = BoxedFilter<(Response,)>;

/// The route of an entry: what its handler answers, or why it was not asked.
pub fn route<P, H, F>(app: &App, endpoint: &'static Endpoint, handler: H) -> Route
where
    P: FromStr + Send + 'static,
    H: Fn(Request, P) -> F + Send + Sync + 'static,
    F: Future<Output = ApiResult> + Send + 'static,
{
    let handler: Handler = Arc::new(move |request, part| match part.parse() {
        Ok(part) => Box::pin(handler(request, part)),
        Err(_) => Box::pin(async { Err(ApiError::NotFound("path")) }),
    });
    erased_route(app.clone(), endpoint, handler)
}

fn erased_route(app: App, endpoint: &'static Endpoint, handler: Handler) -> Route {
    path(endpoint)
        .and(verb(endpoint.verb))
        .and(head())
        .and(warp::body::stream().map(boxed))
        .and_then(move |part: String, head: Head, body| {
            let (app, handler) = (app.clone(), Arc::clone(&handler));
            async move {
                let admitted = admit(&app, endpoint, &head).await;
                let answer = match admitted {
                    Ok(user) => handler(Request { app, head, user, body }, part).await,
                    Err(error) => Err(error),
                };
                Ok::<_, Rejection>(finish(answer))
            }
        })
        .boxed()
}

fn boxed<S, B>(stream: S) -> Body
where
    S: Stream<Item = Result<B, warp::Error>> + Send + Sync + 'static,
    B: bytes::Buf,
{
    Box::pin(stream.map(|chunk| chunk.map(|mut bytes| bytes.copy_to_bytes(bytes.remaining()))))
}

/// Who sends the request, if that person may.
///
/// # Errors
/// Why not.
pub async fn admit(
    app: &App,
    endpoint: &Endpoint,
    head: &Head,
) -> Result<Option<SignedIn>, ApiError> {
    if endpoint.verb != Verb::Get || matches!(endpoint.gives, Gives::Socket) {
        head.check_origin(app)?;
    }
    if endpoint.right == Right::Anyone {
        return Ok(None);
    }
    let user = head.signed_in(app).await?;
    app.settle().await;
    match endpoint.right.is_held_by(user.role) {
        true => Ok(Some(user)),
        false => Err(ApiError::Forbidden),
    }
}

/// An answer as it leaves: facts are not kept by caches unless the handler says so.
pub fn finish(answer: ApiResult) -> Response {
    let mut response = answer.unwrap_or_else(ApiError::into_response);
    let headers = response.headers_mut();
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// What is known of a request before its body.
pub fn head() -> BoxedFilter<(Head,)> {
    let query = warp::query::raw().or(warp::any().map(String::new)).unify();
    warp::method()
        .and(warp::header::headers_cloned())
        .and(query)
        .and(warp::ext::optional::<Peer>())
        .map(|method, headers, query, peer: Option<Peer>| {
            let peer = peer.map(|peer| peer.0);
            Head { method, headers, query, peer }
        })
        .boxed()
}

/// Matches an entry's path behind its first segment (the group's), and gives its variable part.
pub fn path(endpoint: &'static Endpoint) -> BoxedFilter<(String,)> {
    let mut segments = endpoint.path.split('/').skip(2);
    let mut fixed = warp::any().boxed();
    while let Some(segment) = segments.next() {
        if segment.starts_with('{') {
            let mut open = fixed.and(warp::path::param::<String>()).boxed();
            for segment in segments {
                open = open.and(warp::path(segment)).boxed();
            }
            return open.and(warp::path::end()).boxed();
        }
        fixed = fixed.and(warp::path(segment)).boxed();
    }
    fixed.and(warp::path::end()).map(String::new).boxed()
}

/// Matches the method.
pub fn verb(verb: Verb) -> BoxedFilter<()> {
    match verb {
        Verb::Get => warp::get().or(warp::head()).unify().boxed(),
        Verb::Post => warp::post().boxed(),
        Verb::Put => warp::put().boxed(),
        Verb::Delete => warp::delete().boxed(),
    }
}

/// 200 with JSON.
///
/// # Errors
/// None; so that a handler can end with it.
pub fn json<T: Serialize>(value: &T) -> ApiResult {
    Ok(warp::reply::json(value).into_response())
}

/// JSON with another status.
///
/// # Errors
/// None.
pub fn json_with<T: Serialize>(status: StatusCode, value: &T) -> ApiResult {
    Ok(warp::reply::with_status(warp::reply::json(value), status).into_response())
}

/// A status alone.
///
/// # Errors
/// None.
pub fn empty(status: StatusCode) -> ApiResult {
    Ok(status.into_response())
}
