//! `/session`: signing in and out.

use super::{Group, registrations};
use crate::app::App;
use crate::auth::right::Right;
use crate::auth::session;
use crate::endpoint::{
    Endpoint, Gives, NoPart, Request, Takes, Verb, empty, json, route, schema_of,
};
use crate::error::{ApiError, ApiResult};
use crate::wire::session::{Me, SignIn};
use cheling_records::admin::Audit;
use cheling_records::session::{Session, SignedIn};
use cheling_records::{admin, insert, mint, user};
use std::net::IpAddr;
use warp::filters::BoxedFilter;
use warp::http::{StatusCode, header};
use warp::reply::Response;

pub const GROUP: Group =
    Group { segment: "session", endpoints: &[&SIGN_IN, &SHOW, &SIGN_OUT], routes };

static SIGN_IN: Endpoint = Endpoint {
    verb: Verb::Post,
    path: "/session",
    right: Right::Anyone,
    summary: "Signs in: sets the cookie cheling_session",
    query: &[],
    takes: Takes::Json(schema_of::<SignIn>()),
    gives: Gives::Json(200, schema_of::<Me>()),
};
static SHOW: Endpoint = Endpoint {
    verb: Verb::Get,
    path: "/session",
    right: Right::SignedIn,
    summary: "Who is signed in",
    query: &[],
    takes: Takes::Nothing,
    gives: Gives::Json(200, schema_of::<Me>()),
};
static SIGN_OUT: Endpoint = Endpoint {
    verb: Verb::Delete,
    path: "/session",
    right: Right::SignedIn,
    summary: "Signs out",
    query: &[],
    takes: Takes::Nothing,
    gives: Gives::Empty(204),
};

fn routes(app: &App) -> Vec<BoxedFilter<(Response,)>> {
    vec![route(app, &SIGN_IN, sign_in), route(app, &SHOW, show), route(app, &SIGN_OUT, sign_out)]
}

async fn sign_in(mut request: Request, _: NoPart) -> ApiResult {
    let SignIn { username, password } = request.json().await?;
    let Request { app, head, .. } = request;
    let ip = head.client(&app);
    let username = username.trim();
    if username.chars().count() > 100 {
        return Err(ApiError::BadCredentials);
    }
    app.count_attempt(username, ip)?;
    let found = user::by_sign_in_name(&app.database, username).await?;
    let hash = found.as_ref().map_or(String::new(), |user| user.password_hash.clone());
    let is_right = app.passwords.is_right(password, hash).await;
    let Some(user) = found else {
        tracing::info!(%ip, "sign-in refused: no such user");
        return Err(ApiError::BadCredentials);
    };
    if !is_right || user.disabled {
        audit(&app, &user, ip, "session.refuse").await?;
        return Err(ApiError::BadCredentials);
    }
    app.forgive_attempt(username, ip);
    let now = app.now();
    let token = session::mint_token();
    let row = Session {
        session_id: mint(),
        token_hash: session::hash_of(&token),
        user_id: user.user_id,
        created_at: now,
        expires_at: now + session::IDLE,
        ip: ip.to_string(),
    };
    cheling_records::session::purge(&app.database, now).await?;
    insert(&app.database, &row).await?;
    audit(&app, &user, ip, "session.create").await?;
    let signed_in =
        cheling_records::session::signed_in(&app.database, &row.token_hash, now).await?;
    let me = me(&app, &signed_in.ok_or(ApiError::NotSignedIn)?).await;
    let mut response = json(&me)?;
    let is_secure = app.settings.secure_cookies || head.is_secure(&app);
    response.headers_mut().insert(header::SET_COOKIE, session::set_cookie(&token, is_secure));
    Ok(response)
}

/// Like `super::audit`, of somebody who is not signed in.
async fn audit(app: &App, user: &user::User, ip: IpAddr, action: &str) -> Result<(), ApiError> {
    let line = Audit {
        audit_id: mint(),
        dealership_id: user.dealership_id,
        user_id: Some(user.user_id),
        action: action.into(),
        object_kind: "user".into(),
        object_id: user.user_id.to_string(),
        ip: ip.to_string(),
        reason: String::new(),
        detail: String::new(),
        at: app.now(),
    };
    Ok(admin::audit(&app.database, &line).await?)
}

async fn show(request: Request, _: NoPart) -> ApiResult {
    json(&me(&request.app, request.user()?).await)
}

async fn sign_out(request: Request, _: NoPart) -> ApiResult {
    let Request { app, head, .. } = &request;
    let token = session::token_of(&head.headers).ok_or(ApiError::NotSignedIn)?;
    cheling_records::session::end(&app.database, &session::hash_of(token)).await?;
    let user = request.user()?;
    // The user's other browsers resume at once.
    app.hub.disconnect(user.user_id);
    super::audit(app, head, user, "session.end", ("user", user.user_id.to_string())).await?;
    let mut response = empty(StatusCode::NO_CONTENT)?;
    let is_secure = app.settings.secure_cookies || head.is_secure(app);
    response.headers_mut().insert(header::SET_COOKIE, session::set_cookie("", is_secure));
    Ok(response)
}

async fn me(app: &App, user: &SignedIn) -> Me {
    let registered = registrations(app).await;
    let is_registered = |number: &String| registered.iter().any(|it| it.extension == *number);
    Me {
        user_id: user.user_id.0,
        username: user.sign_in_name.clone(),
        name: user.display_name.clone(),
        role: user.role.as_str().into(),
        extension_registered: user.extension.as_ref().is_some_and(is_registered),
        extension: user.extension.clone(),
        dealership_id: user.dealership_id.0,
        dealership_name: user.dealership_name.clone(),
    }
}
