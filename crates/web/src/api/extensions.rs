//! `/extensions`: SIP accounts. A password is made here, shown once, and kept as digests only.

use super::{Group, audit, checked, registrations};
use crate::app::App;
use crate::auth::password;
use crate::auth::right::Right;
use crate::control::Registration;
use crate::endpoint::{
    Endpoint, Gives, NoPart, Request, Takes, Verb, empty, json, json_with, route, schema_of,
};
use crate::error::{ApiError, ApiResult};
use crate::wire::Page;
use crate::wire::admin::{ExtensionDraft, ExtensionRow};
use cheling_model::DealershipId;
use cheling_model::reach::{self, Reach};
use cheling_records::switchboard::{self, Extension, Phone};
use cheling_records::{insert, mint};
use cheling_sip::digest::{Algorithm, ha1};
use warp::filters::BoxedFilter;
use warp::http::StatusCode;
use warp::reply::Response;

pub const GROUP: Group = Group {
    segment: "extensions",
    endpoints: &[&LIST, &MAKE, &CHANGE, &REMOVE, &NEW_PASSWORD],
    routes,
};

/// 16 of 56 signs: 92 bits, and still to be typed into a desk phone.
const PASSWORD_LENGTH: usize = 16;

static LIST: Endpoint = Endpoint {
    verb: Verb::Get,
    path: "/extensions",
    right: Right::ChangePhones,
    summary: "All SIP accounts of the dealership, by number, and which are registered",
    query: &[],
    takes: Takes::Nothing,
    gives: Gives::Page(schema_of::<ExtensionRow>()),
};
static MAKE: Endpoint = Endpoint {
    verb: Verb::Post,
    path: "/extensions",
    right: Right::ChangePhones,
    summary: "Makes a SIP account; the answer alone has its password",
    query: &[],
    takes: Takes::Json(schema_of::<ExtensionDraft>()),
    gives: Gives::Json(201, schema_of::<ExtensionRow>()),
};
static CHANGE: Endpoint = Endpoint {
    verb: Verb::Put,
    path: "/extensions/{number}",
    right: Right::ChangePhones,
    summary: "Changes what a SIP account is called and how far it may dial",
    query: &[],
    takes: Takes::Json(schema_of::<ExtensionDraft>()),
    gives: Gives::Json(200, schema_of::<ExtensionRow>()),
};
static REMOVE: Endpoint = Endpoint {
    verb: Verb::Delete,
    path: "/extensions/{number}",
    right: Right::ChangePhones,
    summary: "Takes a SIP account out of use; its past calls stay",
    query: &[],
    takes: Takes::Nothing,
    gives: Gives::Empty(204),
};
static NEW_PASSWORD: Endpoint = Endpoint {
    verb: Verb::Post,
    path: "/extensions/{number}/password",
    right: Right::ChangePhones,
    summary: "Gives a SIP account a new password; the answer alone has it",
    query: &[],
    takes: Takes::Nothing,
    gives: Gives::Json(200, schema_of::<ExtensionRow>()),
};

fn routes(app: &App) -> Vec<BoxedFilter<(Response,)>> {
    vec![
        route(app, &LIST, list),
        route(app, &MAKE, make),
        route(app, &CHANGE, change),
        route(app, &REMOVE, remove),
        route(app, &NEW_PASSWORD, new_password),
    ]
}

fn row(app: &App, phone: &Phone, registered: &[Registration]) -> ExtensionRow {
    let registration = registered.iter().find(|it| it.extension == phone.number);
    ExtensionRow {
        number: phone.number.clone(),
        display_name: phone.display_name.clone(),
        user_name: phone.user_name.clone().unwrap_or_default(),
        reach: phone.reach.as_str().into(),
        registered: registration.is_some(),
        user_agent: registration.map_or(String::new(), |it| it.user_agent.clone()),
        address: registration.map_or(String::new(), |it| it.address.clone()),
        password: None,
        registrar: app.settings.registrar.clone(),
    }
}

/// A phone of this dealership that is in use.
async fn find(app: &App, dealership_id: DealershipId, number: &str) -> Result<Phone, ApiError> {
    switchboard::phone(&app.database, number)
        .await?
        .filter(|phone| phone.dealership_id == dealership_id && !phone.disabled)
        .ok_or(ApiError::NotFound("extension"))
}

async fn list(request: Request, _: NoPart) -> ApiResult {
    let dealership_id = request.user()?.dealership_id;
    let phones = switchboard::phones(&request.app.database, Some(dealership_id)).await?;
    let registered = registrations(&request.app).await;
    let used = phones.iter().filter(|phone| !phone.disabled);
    let items = used.map(|phone| row(&request.app, phone, &registered)).collect();
    json(&Page::<ExtensionRow> { items, next_cursor: None })
}

/// The name and how far the phone may dial.
fn check(draft: &ExtensionDraft) -> Result<(String, Option<Reach>), ApiError> {
    let number = &draft.number;
    if !(2..=8).contains(&number.len()) || !number.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(ApiError::invalid("number", "must be 2 to 8 digits"));
    }
    if reach::is_emergency(number) {
        return Err(ApiError::invalid("number", "is an emergency number: phones must reach it"));
    }
    let word = draft.reach.as_deref();
    let reach = word.map(|word| {
        let message = "must be internal, local, national or international";
        Reach::from_word(word).ok_or_else(|| ApiError::invalid("reach", message))
    });
    Ok((checked(&draft.display_name, "display_name", 64)?, reach.transpose()?))
}

async fn make(mut request: Request, _: NoPart) -> ApiResult {
    let draft: ExtensionDraft = request.json().await?;
    let (display_name, reach) = check(&draft)?;
    let reach = reach.unwrap_or_default();
    let (app, admin) = (&request.app, request.user()?);
    let secret = password::generate(PASSWORD_LENGTH);
    let [ha1_md5, ha1_sha256] = digests(app, &draft.number, &secret);
    let dealership_id = admin.dealership_id;
    match switchboard::phone(&app.database, &draft.number).await? {
        // One that was taken out of use comes back, with its past calls.
        Some(old) if old.dealership_id == dealership_id && old.disabled => {
            let id = old.extension_id;
            switchboard::set_secret(&app.database, id, &ha1_md5, &ha1_sha256).await?;
            let (db, name) = (&app.database, &display_name);
            switchboard::update_extension(db, dealership_id, id, name, reach, false).await?;
        }
        _ => {
            let new = Extension {
                extension_id: mint(),
                dealership_id,
                number: draft.number.clone(),
                display_name,
                ha1_md5,
                ha1_sha256,
                reach,
                disabled: false,
                created_at: app.now(),
            };
            insert(&app.database, &new).await?;
        }
    }
    app.directory_changed().await;
    let object = ("extension", draft.number.clone());
    audit(app, &request.head, admin, "extension.create", object).await?;
    let phone = find(app, dealership_id, &draft.number).await?;
    let mut row = row(app, &phone, &[]);
    row.password = Some(secret);
    json_with(StatusCode::CREATED, &row)
}

async fn change(mut request: Request, number: String) -> ApiResult {
    let draft: ExtensionDraft = request.json().await?;
    let (display_name, reach) = check(&draft)?;
    if draft.number != number {
        return Err(ApiError::invalid("number", "cannot be changed"));
    }
    let (app, admin) = (&request.app, request.user()?);
    let dealership_id = admin.dealership_id;
    let phone = find(app, dealership_id, &number).await?;
    let (id, reach) = (phone.extension_id, reach.unwrap_or(phone.reach));
    let (db, name) = (&app.database, &display_name);
    switchboard::update_extension(db, dealership_id, id, name, reach, false).await?;
    app.directory_changed().await;
    let object = ("extension", number.clone());
    audit(app, &request.head, admin, "extension.change", object).await?;
    let phone = find(app, dealership_id, &number).await?;
    json(&row(app, &phone, &registrations(app).await))
}

async fn remove(request: Request, number: String) -> ApiResult {
    let (app, admin) = (&request.app, request.user()?);
    let dealership_id = admin.dealership_id;
    let phone = find(app, dealership_id, &number).await?;
    let id = phone.extension_id;
    switchboard::assign(&app.database, dealership_id, id, None, app.now()).await?;
    let (db, name) = (&app.database, &phone.display_name);
    switchboard::update_extension(db, dealership_id, id, name, phone.reach, true).await?;
    app.directory_changed().await;
    audit(app, &request.head, admin, "extension.remove", ("extension", number)).await?;
    empty(StatusCode::NO_CONTENT)
}

async fn new_password(request: Request, number: String) -> ApiResult {
    let (app, admin) = (&request.app, request.user()?);
    let phone = find(app, admin.dealership_id, &number).await?;
    let secret = password::generate(PASSWORD_LENGTH);
    let [ha1_md5, ha1_sha256] = digests(app, &number, &secret);
    switchboard::set_secret(&app.database, phone.extension_id, &ha1_md5, &ha1_sha256).await?;
    app.directory_changed().await;
    audit(app, &request.head, admin, "extension.password", ("extension", number)).await?;
    let mut row = row(app, &phone, &registrations(app).await);
    row.password = Some(secret);
    json(&row)
}

/// What is kept of a phone's password.
fn digests(app: &App, number: &str, secret: &str) -> [String; 2] {
    [Algorithm::Md5, Algorithm::Sha256]
        .map(|algorithm| ha1(algorithm, number, &app.settings.realm, secret))
}
