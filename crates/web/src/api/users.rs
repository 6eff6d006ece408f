//! `/users`: who signs in, as what, and at which phone.

use super::{Group, audit, checked, required, word};
use crate::app::App;
use crate::auth::password::{self, PasswordError};
use crate::auth::right::Right;
use crate::endpoint::{
    Endpoint, Gives, NoPart, Request, Takes, Verb, json, json_with, route, schema_of,
};
use crate::error::{ApiError, ApiResult};
use crate::wire::Page;
use crate::wire::admin::{UserDraft, UserRow};
use cheling_model::follow_up::Role;
use cheling_model::{DealershipId, UserId};
use cheling_records::switchboard::{self, Phone};
use cheling_records::user::{self, User, UserChange};
use cheling_records::{insert, mint, session};
use uuid::Uuid;
use warp::filters::BoxedFilter;
use warp::http::StatusCode;
use warp::reply::Response;

pub const GROUP: Group = Group { segment: "users", endpoints: &[&LIST, &MAKE, &CHANGE], routes };

static LIST: Endpoint = Endpoint {
    verb: Verb::Get,
    path: "/users",
    right: Right::SeeUsers,
    summary: "All users of the dealership, by name",
    query: &[],
    takes: Takes::Nothing,
    gives: Gives::Page(schema_of::<UserRow>()),
};
static MAKE: Endpoint = Endpoint {
    verb: Verb::Post,
    path: "/users",
    right: Right::ChangeUsers,
    summary: "Makes a user",
    query: &[],
    takes: Takes::Json(schema_of::<UserDraft>()),
    gives: Gives::Json(201, schema_of::<UserRow>()),
};
static CHANGE: Endpoint = Endpoint {
    verb: Verb::Put,
    path: "/users/{id}",
    right: Right::ChangeUsers,
    summary: "Changes a user; a new password, role or disabling signs that user out everywhere",
    query: &[],
    takes: Takes::Json(schema_of::<UserDraft>()),
    gives: Gives::Json(200, schema_of::<UserRow>()),
};

fn routes(app: &App) -> Vec<BoxedFilter<(Response,)>> {
    vec![route(app, &LIST, list), route(app, &MAKE, make), route(app, &CHANGE, change)]
}

async fn list(request: Request, _: NoPart) -> ApiResult {
    let dealership_id = request.user()?.dealership_id;
    let users = user::list(&request.app.database, dealership_id).await?;
    let phones = switchboard::phones(&request.app.database, Some(dealership_id)).await?;
    let items = users.iter().map(|user| row(user, &phones)).collect();
    json(&Page::<UserRow> { items, next_cursor: None })
}

fn row(user: &User, phones: &[Phone]) -> UserRow {
    let seat = phones.iter().find(|phone| phone.user_id == Some(user.user_id) && !phone.disabled);
    UserRow {
        user_id: user.user_id.0,
        username: user.sign_in_name.clone(),
        name: user.display_name.clone(),
        role: user.role.as_str().into(),
        extension: seat.map(|phone| phone.number.clone()),
        disabled: user.disabled,
    }
}

/// A draft whose fields can be.
struct Checked {
    username: String,
    name: String,
    role: Role,
    extension: Option<String>,
    password: Option<String>,
    disabled: bool,
}

fn check(draft: UserDraft) -> Result<Checked, ApiError> {
    let username = required(&draft.username, "username", 64)?.to_lowercase();
    if !username.chars().all(|letter| letter.is_alphanumeric() || "._-@".contains(letter)) {
        let message = "may have letters, digits and . _ - @ only";
        return Err(ApiError::invalid("username", message));
    }
    if let Some(password) = &draft.password {
        password::check(password).map_err(refuse_password)?;
    }
    let name = checked(&draft.name, "name", 64)?;
    Ok(Checked {
        name: if name.is_empty() { username.clone() } else { name },
        username,
        role: word(&draft.role, "role", Role::from_word)?,
        extension: draft.extension.filter(|number| !number.is_empty()),
        password: draft.password,
        disabled: draft.disabled,
    })
}

fn refuse_password(error: PasswordError) -> ApiError {
    match error {
        PasswordError::Hash(error) => ApiError::internal("password", error),
        error => ApiError::invalid("password", error.to_string()),
    }
}

async fn make(mut request: Request, _: NoPart) -> ApiResult {
    let draft = check(request.json().await?)?;
    let password = draft
        .password
        .ok_or_else(|| ApiError::invalid("password", "a new user needs a password"))?;
    let (app, admin) = (&request.app, request.user()?);
    let phones = switchboard::phones(&app.database, Some(admin.dealership_id)).await?;
    seat_of(draft.extension.as_deref(), &phones)?;
    let now = app.now();
    let new = User {
        user_id: mint(),
        dealership_id: admin.dealership_id,
        sign_in_name: draft.username,
        display_name: draft.name,
        role: draft.role,
        team: String::new(),
        password_hash: app.passwords.hash(password).await.map_err(refuse_password)?,
        disabled: draft.disabled,
        created_at: now,
        updated_at: now,
    };
    insert(&app.database, &new).await?;
    seat(app, admin.dealership_id, new.user_id, draft.extension.as_deref(), &phones).await?;
    audit(app, &request.head, admin, "user.create", ("user", new.user_id.to_string())).await?;
    answer(app, StatusCode::CREATED, admin.dealership_id, new.user_id).await
}

async fn change(mut request: Request, id: Uuid) -> ApiResult {
    let draft = check(request.json().await?)?;
    let (app, admin) = (&request.app, request.user()?);
    let user_id = UserId(id);
    let dealership_id = admin.dealership_id;
    let old = user::find(&app.database, dealership_id, user_id).await?;
    if draft.username != old.sign_in_name {
        return Err(ApiError::invalid("username", "cannot be changed"));
    }
    if user_id == admin.user_id && (draft.disabled || draft.role != Role::Admin) {
        return Err(ApiError::Conflict {
            code: "last_admin",
            field: Some(if draft.disabled { "disabled" } else { "role" }),
            message: "you cannot take your own access away; another admin can".into(),
        });
    }
    let phones = switchboard::phones(&app.database, Some(dealership_id)).await?;
    seat_of(draft.extension.as_deref(), &phones)?;
    let hash = match draft.password {
        Some(password) => Some(app.passwords.hash(password).await.map_err(refuse_password)?),
        None => None,
    };
    let loses_sessions = hash.is_some() || draft.disabled || draft.role != old.role;
    let new = UserChange {
        display_name: draft.name,
        role: draft.role,
        team: old.team,
        disabled: draft.disabled,
    };
    user::update(&app.database, dealership_id, user_id, &new, app.now()).await?;
    if let Some(hash) = hash {
        user::set_password(&app.database, user_id, &hash, app.now()).await?;
    }
    if loses_sessions {
        session::end_all_of(&app.database, user_id).await?;
        app.hub.disconnect(user_id);
    }
    seat(app, dealership_id, user_id, draft.extension.as_deref(), &phones).await?;
    audit(app, &request.head, admin, "user.change", ("user", id.to_string())).await?;
    answer(app, StatusCode::OK, dealership_id, user_id).await
}

async fn answer(
    app: &App,
    status: StatusCode,
    dealership_id: DealershipId,
    user_id: UserId,
) -> ApiResult {
    let user = user::find(&app.database, dealership_id, user_id).await?;
    let phones = switchboard::phones(&app.database, Some(dealership_id)).await?;
    json_with(status, &row(&user, &phones))
}

/// The phone of that number, if it may be used.
fn seat_of<'a>(wanted: Option<&str>, phones: &'a [Phone]) -> Result<Option<&'a Phone>, ApiError> {
    let Some(number) = wanted else { return Ok(None) };
    let mut usable = phones.iter().filter(|phone| !phone.disabled);
    let phone = usable.find(|phone| phone.number == number);
    phone.map(Some).ok_or_else(|| ApiError::invalid("extension", "there is no such extension"))
}

/// Seats a user at the phone wanted, and at no other.
async fn seat(
    app: &App,
    dealership_id: DealershipId,
    user_id: UserId,
    wanted: Option<&str>,
    phones: &[Phone],
) -> Result<(), ApiError> {
    let now = app.now();
    let wanted = seat_of(wanted, phones)?;
    for phone in phones {
        let is_wanted = wanted.is_some_and(|it| it.extension_id == phone.extension_id);
        let is_seated = phone.user_id == Some(user_id);
        if is_wanted != is_seated {
            let sitter = is_wanted.then_some(user_id);
            switchboard::assign(&app.database, dealership_id, phone.extension_id, sitter, now)
                .await?;
        }
    }
    // Also if nobody moved: pops say users' names.
    app.directory_changed().await;
    Ok(())
}
