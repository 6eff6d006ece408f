//! The screen-pop card: two rounds of indexed statements, those of a round side by side.

use crate::{Result, place};
use cheling_model::card::{
    Card, CardKind, ContactBrief, CustomerBrief, CustomerCard, OpenItem, PhoneBrief, VehicleBrief,
};
use cheling_model::number::{NumberKind, PhoneNumber};
use cheling_model::{CallId, CustomerId, DealershipId};
use cheling_records::call::Contact;
use cheling_records::customer::Match;
use cheling_records::{Database, call, customer, follow_up, phone, vehicle};
use std::cmp::Reverse;

/// Contacts shown.
const CONTACTS: i64 = 5;

/// The card of a withheld number. Nothing is looked up.
pub fn withheld() -> Card {
    empty(CardKind::Withheld, "", "")
}

/// The card of a colleague's phone.
pub fn internal(extension: &str) -> Card {
    empty(CardKind::Internal, extension, extension)
}

/// The card of a number that could not be looked up, or is not known.
pub fn unknown(raw: &str, number: &PhoneNumber) -> Card {
    Card { place: place::of(number).to_owned(), ..empty(CardKind::Unknown, raw, &number.key) }
}

fn empty(kind: CardKind, number: &str, number_key: &str) -> Card {
    Card {
        kind,
        number: number.to_owned(),
        number_key: number_key.to_owned(),
        place: String::new(),
        customer: None,
        candidates: Vec::new(),
        past_calls: Vec::new(),
    }
}

/// Looks a number up. `current` is the call that asks; `today` is `2026-11-22`.
///
/// # Errors
/// [`crate::Error::Unavailable`].
pub async fn of_number(
    db: &Database,
    dealership_id: DealershipId,
    raw: &str,
    number: &PhoneNumber,
    current: Option<CallId>,
    today: &str,
) -> Result<Card> {
    if number.kind == NumberKind::Internal {
        return Ok(internal(&number.key));
    }
    let (mut matches, past) = tokio::try_join!(
        customer::matches(db, dealership_id, &number.key, current),
        call::contacts_of_number(db, dealership_id, &number.key, current, CONTACTS),
    )?;
    let mut card = unknown(raw, number);
    card.past_calls = past.into_iter().map(contact).collect();
    match matches.len() {
        0 => {}
        1 => {
            card.kind = CardKind::Known;
            card.customer = Some(full(db, matches.remove(0), current).await?);
        }
        _ => {
            rank(&mut matches, today);
            card.kind = CardKind::Candidates;
            card.candidates = matches.into_iter().map(brief).collect();
        }
    }
    Ok(card)
}

/// The card of a customer who is known, by a task or by choice, whatever number it is.
///
/// # Errors
/// [`crate::Error::NotFound`], or [`crate::Error::Unavailable`].
pub async fn of_customer(
    db: &Database,
    dealership_id: DealershipId,
    customer_id: CustomerId,
    raw: &str,
    number: Option<&PhoneNumber>,
    current: Option<CallId>,
) -> Result<Card> {
    let found = customer::match_of(db, dealership_id, customer_id, current).await?;
    let mut card = match number {
        Some(number) => unknown(raw, number),
        None => withheld(),
    };
    card.kind = CardKind::Known;
    card.customer = Some(full(db, found, current).await?);
    Ok(card)
}

/// The likeliest first: a task due, a complaint, the last one talked with, the owner before the
/// contact, the newest.
fn rank(matches: &mut [Match], today: &str) {
    matches.sort_by_key(|it| {
        Reverse((
            it.due_on.as_deref().is_some_and(|due| due <= today),
            it.open_complaint,
            it.last_contact_at,
            it.owns_vehicle,
            it.created_at,
        ))
    });
}

fn brief(it: Match) -> CustomerBrief {
    CustomerBrief {
        customer_id: it.customer_id,
        name: it.name,
        salutation: it.salutation,
        plate: it.plate,
        phone_label: it.phone_label,
        open_items: u32::try_from(it.open_items).unwrap_or(0),
        last_contact_at: it.last_contact_at,
    }
}

async fn full(db: &Database, it: Match, current: Option<CallId>) -> Result<CustomerCard> {
    let id = it.customer_id;
    let ids = [id];
    let (segments, phones, vehicles, open, contacts) = tokio::try_join!(
        customer::segments_of(db, &ids),
        phone::of_customer(db, id),
        vehicle::of_customer(db, id),
        follow_up::open_of(db, id),
        call::contacts_of(db, id, current, CONTACTS),
    )?;
    Ok(CustomerCard {
        customer_id: id,
        customer_no: it.customer_no,
        name: it.name,
        salutation: it.salutation,
        lifecycle: it.lifecycle,
        segments: segments.into_iter().map(|segment| segment.code).collect(),
        lead_grade: it.lead_grade,
        owner_name: it.owner_name,
        source: it.source,
        note: it.note,
        phones: phones
            .into_iter()
            .map(|phone| PhoneBrief {
                number: phone.number,
                number_key: phone.number_key,
                label: phone.label,
                is_primary: phone.is_primary,
            })
            .collect(),
        vehicles: vehicles.into_iter().map(vehicle_brief).collect(),
        open_items: open
            .into_iter()
            .map(|open| OpenItem {
                follow_up_id: open.follow_up_id,
                follow_up_type: open.follow_up_type,
                state: open.state,
                due_on: open.due_on,
                subject: open.subject,
                owner_name: open.owner_name,
            })
            .collect(),
        last_contacts: contacts.into_iter().map(contact).collect(),
    })
}

/// A vehicle as the card shows it.
pub fn vehicle_brief(it: vehicle::Vehicle) -> VehicleBrief {
    let model = if it.brand.is_empty() { it.model } else { format!("{} {}", it.brand, it.model) };
    VehicleBrief {
        vehicle_id: it.vehicle_id,
        plate: it.plate,
        vin: it.vin,
        model,
        displacement: it.displacement,
        transmission: it.transmission,
        mileage_km: it.mileage_km,
        last_visit_on: it.last_visit_on,
        next_service_on: it.next_service_on,
        insurance_due_on: it.insurance_due_on,
    }
}

/// A past call as the card shows it.
pub fn contact(it: Contact) -> ContactBrief {
    let talk_ms = match (it.answered_at, it.ended_at) {
        (Some(answered), Some(ended)) => {
            i64::try_from(ended.since(answered).as_millis()).unwrap_or(i64::MAX)
        }
        _ => 0,
    };
    let result = match (it.outcome, it.cause) {
        (Some(outcome), _) => outcome.as_str(),
        (None, Some(cause)) => cause.as_str(),
        (None, None) => "",
    };
    ContactBrief {
        call_id: Some(it.call_id),
        at: it.at,
        kind: it.direction.as_str().to_owned(),
        user_name: it.user_name,
        result: result.to_owned(),
        note: it.note,
        talk_ms,
        recording_id: it.recording_id,
    }
}
