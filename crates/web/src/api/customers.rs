//! `/customers`: searching, showing, making and changing them.

use super::call_rows::{missing, visible};
use super::calls::choose;
use super::{Group, audit, checked, page_rows, required, word};
use crate::app::App;
use crate::auth::right::Right;
use crate::endpoint::{
    Endpoint, Gives, NoPart, Request, Takes, Verb, json, json_with, route, schema_of,
};
use crate::error::{ApiError, ApiResult};
use crate::wire::Page;
use crate::wire::customer::{CustomerDetail, CustomerDraft, CustomerRow, PhoneDraft, VehicleDraft};
use cheling_lookup::{card, number};
use cheling_model::follow_up::Lifecycle;
use cheling_model::number::PhoneNumber;
use cheling_model::{CustomerId, Timestamp};
use cheling_records::customer::{self, Customer, CustomerSearch, pinyin, plate_key};
use cheling_records::phone::{self, Phone};
use cheling_records::session::SignedIn;
use cheling_records::vehicle::{self, Tie, Vehicle};
use cheling_records::{Transaction, insert, mint};
use serde::Deserialize;
use uuid::Uuid;
use warp::filters::BoxedFilter;
use warp::http::StatusCode;
use warp::reply::Response;

pub const GROUP: Group =
    Group { segment: "customers", endpoints: &[&LIST, &MAKE, &SHOW, &CHANGE], routes };

/// Numbers, and vehicles, of one customer.
const MOST: usize = 20;

static LIST: Endpoint = Endpoint {
    verb: Verb::Get,
    path: "/customers",
    right: Right::SignedIn,
    summary: "Customers, newest first",
    query: &[
        ("cursor", "From the page before"),
        ("limit", "Rows, 1 to 200; 50 if missing"),
        ("q", "Part of a number, plate, VIN, name, pinyin or customer number"),
        ("lifecycle", "existing or prospect"),
        ("segment", "Only of this segment: vip, caution_list …"),
    ],
    takes: Takes::Nothing,
    gives: Gives::Page(schema_of::<CustomerRow>()),
};
static MAKE: Endpoint = Endpoint {
    verb: Verb::Post,
    path: "/customers",
    right: Right::ChangeCustomers,
    summary: "Makes a customer, and links the call it was made from",
    query: &[],
    takes: Takes::Json(schema_of::<CustomerDraft>()),
    gives: Gives::Json(201, schema_of::<CustomerDetail>()),
};
static SHOW: Endpoint = Endpoint {
    verb: Verb::Get,
    path: "/customers/{id}",
    right: Right::SignedIn,
    summary: "One customer, as the desk shows it",
    query: &[],
    takes: Takes::Nothing,
    gives: Gives::Json(200, schema_of::<CustomerDetail>()),
};
static CHANGE: Endpoint = Endpoint {
    verb: Verb::Put,
    path: "/customers/{id}",
    right: Right::ChangeCustomers,
    summary: "Changes a customer: the numbers and vehicles become those given",
    query: &[],
    takes: Takes::Json(schema_of::<CustomerDraft>()),
    gives: Gives::Json(200, schema_of::<CustomerDetail>()),
};

fn routes(app: &App) -> Vec<BoxedFilter<(Response,)>> {
    vec![
        route(app, &LIST, list),
        route(app, &MAKE, make),
        route(app, &SHOW, show),
        route(app, &CHANGE, change),
    ]
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Query {
    cursor: Option<String>,
    limit: Option<u32>,
    #[serde(default)]
    q: String,
    lifecycle: Option<String>,
    segment: Option<String>,
}

async fn list(request: Request, _: NoPart) -> ApiResult {
    let query: Query = request.query()?;
    let (app, user) = (&request.app, request.user()?);
    let lifecycle = query.lifecycle.filter(|text| !text.is_empty());
    let wanted = CustomerSearch {
        text: checked(&query.q, "q", 100)?,
        lifecycle: lifecycle
            .map(|text| word(&text, "lifecycle", Lifecycle::from_word))
            .transpose()?,
        segment: query.segment.filter(|text| !text.is_empty()),
        owner_user_id: None,
    };
    let limit = page_rows(query.limit)?;
    let (db, cursor) = (&app.database, query.cursor.as_deref());
    let page = customer::search(db, user.dealership_id, &wanted, cursor, limit).await?;
    let ids: Vec<_> = page.items.iter().map(|item| item.customer_id).collect();
    let segments = match ids.is_empty() {
        true => Vec::new(),
        false => customer::segments_of(db, &ids).await?,
    };
    let items = page
        .items
        .into_iter()
        .map(|item| CustomerRow {
            segments: segments
                .iter()
                .filter(|segment| segment.customer_id == item.customer_id)
                .map(|segment| segment.code.clone())
                .collect(),
            customer_id: item.customer_id.0,
            customer_no: item.customer_no,
            name: item.name,
            salutation: item.salutation,
            lifecycle: item.lifecycle.as_str().into(),
            number: item.phone,
            plate: item.plate,
            model: item.vehicle_model,
            owner_name: item.owner_name,
            last_contact_at: item.last_contact_at.map(Timestamp::as_micros),
        })
        .collect();
    json(&Page::<CustomerRow> { items, next_cursor: page.next })
}

async fn show(request: Request, id: Uuid) -> ApiResult {
    answer(&request.app, request.user()?, StatusCode::OK, CustomerId(id)).await
}

async fn answer(app: &App, user: &SignedIn, status: StatusCode, id: CustomerId) -> ApiResult {
    let (db, dealership_id) = (&app.database, user.dealership_id);
    let row = customer::find(db, dealership_id, id).await;
    let row = row.map_err(|error| missing(error, "customer"))?;
    let card = card::of_customer(db, dealership_id, id, "", None, None).await?;
    json_with(
        status,
        &CustomerDetail {
            card: card.customer.ok_or(ApiError::NotFound("customer"))?,
            created_at: row.created_at.as_micros(),
            address: row.address,
        },
    )
}

/// A draft whose fields can be.
struct Checked {
    name: String,
    salutation: String,
    lifecycle: Lifecycle,
    source: String,
    address: String,
    note: String,
    phones: Vec<CheckedPhone>,
    vehicles: Vec<VehicleDraft>,
}

struct CheckedPhone {
    written: String,
    number: PhoneNumber,
    label: String,
    is_primary: bool,
}

fn check(draft: CustomerDraft, area_code: &str) -> Result<Checked, ApiError> {
    let source = required(&draft.source, "source", 40)?;
    if draft.vehicles.len() > MOST {
        return Err(ApiError::invalid("vehicles", format!("at most {MOST}")));
    }
    Ok(Checked {
        name: required(&draft.name, "name", 100)?,
        salutation: checked(&draft.salutation, "salutation", 10)?,
        lifecycle: word(&draft.lifecycle, "lifecycle", Lifecycle::from_word)?,
        source,
        address: checked(&draft.address, "address", 300)?,
        note: checked(&draft.note, "note", 2000)?,
        phones: check_phones(draft.phones, area_code)?,
        vehicles: draft.vehicles.into_iter().map(check_vehicle).collect::<Result<_, _>>()?,
    })
}

fn check_phones(drafts: Vec<PhoneDraft>, area_code: &str) -> Result<Vec<CheckedPhone>, ApiError> {
    if drafts.is_empty() || drafts.len() > MOST {
        return Err(ApiError::invalid("phones", format!("must be 1 to {MOST}")));
    }
    let mut phones: Vec<CheckedPhone> = Vec::with_capacity(drafts.len());
    for draft in drafts {
        let written = required(&draft.number, "phones", 40)?;
        let Some(number) = number::read(&written, area_code) else {
            let message = format!("{written:?} is no telephone number");
            return Err(ApiError::invalid("phones", message));
        };
        if phones.iter().any(|phone| phone.number.key == number.key) {
            return Err(ApiError::invalid("phones", format!("{written} is there twice")));
        }
        let label = checked(&draft.label, "phones", 20)?;
        // One is tried first: the one marked, or else the first.
        let is_primary = draft.is_primary && !phones.iter().any(|phone| phone.is_primary);
        phones.push(CheckedPhone { written, number, label, is_primary });
    }
    if !phones.iter().any(|phone| phone.is_primary)
        && let Some(first) = phones.first_mut()
    {
        first.is_primary = true;
    }
    Ok(phones)
}

fn check_vehicle(draft: VehicleDraft) -> Result<VehicleDraft, ApiError> {
    let vin = checked(&draft.vin, "vin", 17)?.to_uppercase();
    let is_vin = vin.len() == 17 && vin.bytes().all(|letter| letter.is_ascii_alphanumeric());
    if !vin.is_empty() && !is_vin {
        return Err(ApiError::invalid("vin", "must be 17 letters and digits"));
    }
    Ok(VehicleDraft {
        plate: checked(&draft.plate, "plate", 12)?,
        vin,
        model: required(&draft.model, "model", 100)?,
        displacement: checked(&draft.displacement, "displacement", 20)?,
        transmission: checked(&draft.transmission, "transmission", 20)?,
    })
}

async fn make(mut request: Request, _: NoPart) -> ApiResult {
    let draft: CustomerDraft = request.json().await?;
    let call = match draft.call_id {
        Some(id) => Some(visible(&request, id).await?.0.call_id),
        None => None,
    };
    let (app, user) = (&request.app, request.user()?);
    let draft = check(draft, &user.area_code)?;
    let now = app.now();
    let (pinyin, pinyin_initials) = pinyin(&draft.name);
    let mut tx = app.database.begin().await?;
    let new = Customer {
        customer_id: mint(),
        dealership_id: user.dealership_id,
        customer_no: customer::next_no(&mut tx, user.dealership_id).await?,
        kind: "person".into(),
        name: draft.name.clone(),
        pinyin,
        pinyin_initials,
        salutation: draft.salutation.clone(),
        lifecycle: draft.lifecycle,
        lead_grade: String::new(),
        source: draft.source.clone(),
        owner_user_id: None,
        address: draft.address.clone(),
        note: draft.note.clone(),
        created_at: now,
        updated_at: now,
        deleted_at: None,
    };
    insert(&mut tx, &new).await?;
    write_phones(&mut tx, user, new.customer_id, draft.phones, now).await?;
    write_vehicles(&mut tx, user, new.customer_id, draft.vehicles, now).await?;
    tx.commit().await?;
    if let Some(call_id) = call {
        choose(app, user.dealership_id, call_id, new.customer_id).await?;
    }
    let object = ("customer", new.customer_id.to_string());
    audit(app, &request.head, user, "customer.create", object).await?;
    answer(app, user, StatusCode::CREATED, new.customer_id).await
}

async fn change(mut request: Request, id: Uuid) -> ApiResult {
    let draft: CustomerDraft = request.json().await?;
    let call = match draft.call_id {
        Some(id) => Some(visible(&request, id).await?.0.call_id),
        None => None,
    };
    let (app, user) = (&request.app, request.user()?);
    let customer_id = CustomerId(id);
    let draft = check(draft, &user.area_code)?;
    let old = customer::find(&app.database, user.dealership_id, customer_id).await;
    let old = old.map_err(|error| missing(error, "customer"))?;
    let now = app.now();
    let (pinyin, pinyin_initials) = pinyin(&draft.name);
    let new = Customer {
        name: draft.name.clone(),
        pinyin,
        pinyin_initials,
        salutation: draft.salutation.clone(),
        lifecycle: draft.lifecycle,
        source: draft.source.clone(),
        address: draft.address.clone(),
        note: draft.note.clone(),
        updated_at: now,
        ..old
    };
    let mut tx = app.database.begin().await?;
    customer::update(&mut tx, &new).await?;
    for old in phone::of_customer(&mut tx, customer_id).await? {
        if !draft.phones.iter().any(|phone| phone.number.key == old.number_key) {
            phone::remove(&mut tx, user.dealership_id, customer_id, &old.number_key).await?;
        }
    }
    write_phones(&mut tx, user, customer_id, draft.phones, now).await?;
    write_vehicles(&mut tx, user, customer_id, draft.vehicles, now).await?;
    tx.commit().await?;
    if let Some(call_id) = call {
        choose(app, user.dealership_id, call_id, customer_id).await?;
    }
    let object = ("customer", id.to_string());
    audit(app, &request.head, user, "customer.change", object).await?;
    answer(app, user, StatusCode::OK, customer_id).await
}

async fn write_phones(
    tx: &mut Transaction,
    user: &SignedIn,
    customer_id: CustomerId,
    phones: Vec<CheckedPhone>,
    now: Timestamp,
) -> Result<(), ApiError> {
    for it in phones {
        let row = Phone {
            phone_id: mint(),
            dealership_id: user.dealership_id,
            customer_id,
            number: it.written,
            number_key: it.number.key,
            number_kind: it.number.kind,
            label: it.label,
            is_primary: it.is_primary,
            status: "ok".into(),
            created_at: now,
        };
        phone::add(&mut *tx, &row).await?;
    }
    Ok(())
}

/// Makes the customer's vehicles those of the drafts. A vehicle is known by its VIN, by its plate,
/// or, having neither, by its model among the customer's own.
async fn write_vehicles(
    tx: &mut Transaction,
    user: &SignedIn,
    customer_id: CustomerId,
    drafts: Vec<VehicleDraft>,
    now: Timestamp,
) -> Result<(), ApiError> {
    let own = vehicle::of_customer(&mut *tx, customer_id).await?;
    let mut kept = Vec::new();
    for draft in drafts {
        let key = plate_key(&draft.plate);
        let nameless = draft.vin.is_empty() && key.is_empty();
        let known = match nameless {
            true => own.iter().find(|it| is_model(it, &draft) && !kept.contains(&it.vehicle_id)),
            false => None,
        };
        let known = match (known, nameless) {
            (Some(it), _) => Some(it.clone()),
            (None, true) => None,
            (None, false) => {
                let dealership_id = user.dealership_id;
                vehicle::by_vin_or_plate(&mut *tx, dealership_id, &draft.vin, &key).await?
            }
        };
        let vehicle = match known {
            Some(old) => {
                let new = described(old, &draft, key, now);
                vehicle::update(&mut *tx, &new).await?;
                new
            }
            None => {
                let new = described(blank(user, now), &draft, key, now);
                insert(&mut *tx, &new).await?;
                new
            }
        };
        kept.push(vehicle.vehicle_id);
        if !own.iter().any(|it| it.vehicle_id == vehicle.vehicle_id) {
            let tie = Tie {
                customer_id,
                vehicle_id: vehicle.vehicle_id,
                role: "owner".into(),
                since: now,
                until: None,
            };
            vehicle::tie(&mut *tx, &tie).await?;
        }
    }
    for old in own.iter().filter(|it| !kept.contains(&it.vehicle_id)) {
        vehicle::untie(&mut *tx, customer_id, old.vehicle_id, now).await?;
    }
    Ok(())
}

/// Whether the draft names the vehicle's model: as it is kept, or as the card shows it, behind the
/// brand.
fn is_model(vehicle: &Vehicle, draft: &VehicleDraft) -> bool {
    let shown = format!("{} {}", vehicle.brand, vehicle.model);
    draft.model == vehicle.model || draft.model == shown
}

/// A vehicle with what the draft says of it; an empty field says nothing.
fn described(old: Vehicle, draft: &VehicleDraft, key: String, now: Timestamp) -> Vehicle {
    let or = |new: &str, old: String| if new.is_empty() { old } else { new.to_owned() };
    let (brand, model) = match is_model(&old, draft) {
        true => (old.brand, old.model),
        false => (String::new(), draft.model.clone()),
    };
    Vehicle {
        plate: or(&draft.plate, old.plate),
        plate_key: or(&key, old.plate_key),
        vin: or(&draft.vin, old.vin),
        brand,
        model,
        displacement: or(&draft.displacement, old.displacement),
        transmission: or(&draft.transmission, old.transmission),
        updated_at: now,
        ..old
    }
}

fn blank(user: &SignedIn, now: Timestamp) -> Vehicle {
    Vehicle {
        vehicle_id: mint(),
        dealership_id: user.dealership_id,
        plate: String::new(),
        plate_key: String::new(),
        vin: String::new(),
        brand: String::new(),
        model: String::new(),
        displacement: String::new(),
        transmission: String::new(),
        colour: String::new(),
        delivered_on: None,
        mileage_km: None,
        last_visit_on: None,
        next_service_on: None,
        inspection_due_on: None,
        insurance_due_on: None,
        created_at: now,
        updated_at: now,
    }
}
