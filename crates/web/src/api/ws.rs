//! `/ws`: what happens, as it happens.

use super::Group;
use crate::app::App;
use crate::auth::right::Right;
use crate::auth::session;
use crate::endpoint::{Endpoint, Gives, Head, Takes, Verb, admit, finish, head, path};
use crate::error::{ApiError, ApiResult};
use crate::socket::{self, Listener};
use serde::Deserialize;
use warp::filters::BoxedFilter;
use warp::reply::Response;
use warp::ws::Ws;
use warp::{Filter as _, Rejection};

pub const GROUP: Group = Group { segment: "ws", endpoints: &[&LISTEN], routes };

static LISTEN: Endpoint = Endpoint {
    verb: Verb::Get,
    path: "/ws",
    right: Right::SignedIn,
    summary: "This user's events as JSON texts {seq, at, type, …}, and a heartbeat each 5 s",
    query: &[("since", "The last seq seen: later events come first, or one reset")],
    takes: Takes::Nothing,
    gives: Gives::Socket,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Query {
    since: Option<u64>,
}

fn routes(app: &App) -> Vec<BoxedFilter<(Response,)>> {
    let app = app.clone();
    let listen = path(&LISTEN)
        .and(head())
        .and(warp::ws())
        .and_then(move |_, head: Head, handshake: Ws| {
            let app = app.clone();
            async move { Ok::<_, Rejection>(finish(listen(&app, &head, handshake).await)) }
        })
        .boxed();
    vec![listen]
}

async fn listen(app: &App, head: &Head, handshake: Ws) -> ApiResult {
    let user = admit(app, &LISTEN, head).await?.ok_or(ApiError::NotSignedIn)?;
    let Query { since } = serde_urlencoded::from_str(&head.query)
        .map_err(|error| ApiError::Malformed(format!("query: {error}")))?;
    let token = session::token_of(&head.headers).ok_or(ApiError::NotSignedIn)?;
    let listener = Listener { user_id: user.user_id, token_hash: session::hash_of(token), since };
    Ok(socket::accept(app, handshake, listener))
}
