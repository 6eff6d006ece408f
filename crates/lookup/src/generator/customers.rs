//! Invented customers with their numbers and vehicles.

use super::words::{
    COLOURS, FAMILY, FEMALE, FIRM_HEADS, FIRM_TAILS, MALE, MOBILE_HEADS, MODELS, REMARKS, STREETS,
};
use super::{Generated, Scene, later};
use crate::date;
use cheling_model::follow_up::{Lifecycle, Role};
use cheling_model::number::NumberKind;
use cheling_model::{CustomerId, Timestamp, UserId, VehicleId};
use cheling_records::customer::{Customer, Segment, pinyin, plate_key};
use cheling_records::phone::Phone;
use cheling_records::vehicle::{Tie, Vehicle};
use std::collections::HashSet;

pub(super) fn add(made: &mut Generated, scene: &mut Scene, count: usize) {
    let consultants: Vec<_> = made
        .users
        .iter()
        .filter(|user| user.role == Role::Agent)
        .map(|user| user.user_id)
        .collect();
    let mut taken = HashSet::new();
    for index in 0..count {
        // Older customers came earlier, the last ones in these weeks.
        let age_days = 1 + (count - index) as i64 * 2_000 / count.max(1) as i64;
        let since = scene.working_hour(age_days);
        let mut customer = customer(scene, index, since, &consultants);
        if scene.random.percent(2) {
            firm(scene, &mut customer);
        }
        segments(made, scene, &customer);
        phones(made, scene, &customer, &mut taken);
        vehicles(made, scene, &customer, index, age_days);
        made.customers.push(customer);
    }
}

fn customer(scene: &mut Scene, index: usize, since: Timestamp, consultants: &[UserId]) -> Customer {
    let random = &mut scene.random;
    let is_female = random.percent(38);
    let given = if is_female { random.pick(FEMALE) } else { random.pick(MALE) };
    let name = format!("{}{given}", random.pick(FAMILY));
    let (full, initials) = pinyin(&name);
    let lifecycle = if random.percent(82) { Lifecycle::Existing } else { Lifecycle::Prospect };
    let lead_grade = match lifecycle {
        Lifecycle::Existing => "",
        Lifecycle::Prospect => random.pick(&["H", "HOT_A", "A", "B", "C"]),
    };
    let source = match lifecycle {
        Lifecycle::Existing => random.pick(&["bought_here", "bought_here", "transferred_in"]),
        Lifecycle::Prospect => {
            random.pick(&["walk_in", "phone", "online", "referral", "auto_show"])
        }
    };
    let address = format!(
        "上海市浦东新区{}{}弄{}号",
        random.pick(STREETS),
        random.between(10, 2_500),
        random.between(1, 90)
    );
    let note = if random.percent(12) { *random.pick(REMARKS) } else { "" };
    Customer {
        customer_id: CustomerId::mint(since, random.bytes()),
        dealership_id: scene.dealership_id,
        customer_no: format!("C{:07}", index + 1),
        kind: "person".to_owned(),
        name,
        pinyin: full,
        pinyin_initials: initials,
        salutation: if is_female { "女士" } else { "先生" }.to_owned(),
        lifecycle,
        lead_grade: lead_grade.to_owned(),
        source: (*source).to_owned(),
        owner_user_id: Some(*random.pick(consultants)),
        address,
        note: note.to_owned(),
        created_at: since,
        updated_at: since,
        deleted_at: None,
    }
}

fn firm(scene: &mut Scene, customer: &mut Customer) {
    let random = &mut scene.random;
    customer.kind = "org".to_owned();
    customer.name = format!("{}{}", random.pick(FIRM_HEADS), random.pick(FIRM_TAILS));
    (customer.pinyin, customer.pinyin_initials) = pinyin(&customer.name);
    customer.salutation.clear();
    customer.lifecycle = Lifecycle::Existing;
    customer.lead_grade.clear();
    customer.source = "bought_here".to_owned();
}

fn segments(made: &mut Generated, scene: &mut Scene, customer: &Customer) {
    for (code, of_hundred) in [("vip", 6), ("complainant", 3), ("at_risk", 8), ("caution_list", 1)]
    {
        if !scene.random.percent(of_hundred) {
            continue;
        }
        made.segments.push(Segment {
            segment_id: scene.random.uuid(customer.created_at),
            customer_id: customer.customer_id,
            code: code.to_owned(),
            origin: "rule".to_owned(),
            reason: String::new(),
            since: customer.created_at,
            until: None,
        });
    }
}

fn phones(
    made: &mut Generated,
    scene: &mut Scene,
    customer: &Customer,
    taken: &mut HashSet<String>,
) {
    let is_firm = customer.kind == "org";
    let mut numbers =
        vec![(mobile(scene, taken), NumberKind::Mobile, if is_firm { "送修人" } else { "本人" })];
    if is_firm || scene.random.percent(6) {
        let digits =
            format!("021{}{:07}", scene.random.between(5, 6), scene.random.below(10_000_000));
        numbers.push((digits, NumberKind::Landline, "公司"));
    }
    if scene.random.percent(25) {
        let label = *scene.random.pick(&["配偶", "送修人", "司机"]);
        numbers.push((mobile(scene, taken), NumberKind::Mobile, label));
    }
    // A few share the number of somebody who came before: a couple, a driver of two firms.
    if scene.random.percent(3)
        && let Some(shared) = (!made.phones.is_empty()).then(|| scene.random.pick(&made.phones))
        && shared.customer_id != customer.customer_id
    {
        numbers.push((shared.number.clone(), shared.number_kind, "配偶"));
    }
    for (index, (number, kind, label)) in numbers.into_iter().enumerate() {
        let national = if kind == NumberKind::Landline { &number[1..] } else { &number };
        made.phones.push(Phone {
            phone_id: scene.random.uuid(later(customer.created_at, index as i64)),
            dealership_id: scene.dealership_id,
            customer_id: customer.customer_id,
            number_key: format!("+86{national}"),
            number_kind: kind,
            label: label.to_owned(),
            is_primary: index == 0,
            status: "ok".to_owned(),
            created_at: customer.created_at,
            number,
        });
    }
}

fn mobile(scene: &mut Scene, taken: &mut HashSet<String>) -> String {
    loop {
        let head = scene.random.pick(MOBILE_HEADS);
        let number = format!("{head}{:08}", scene.random.below(100_000_000));
        if taken.insert(number.clone()) {
            return number;
        }
    }
}

fn vehicles(
    made: &mut Generated,
    scene: &mut Scene,
    customer: &Customer,
    index: usize,
    age_days: i64,
) {
    let count = match (customer.lifecycle, customer.kind.as_str()) {
        (Lifecycle::Prospect, _) => 0,
        (Lifecycle::Existing, "org") => scene.random.between(2, 5),
        (Lifecycle::Existing, _) => 1 + i64::from(scene.random.percent(9)),
    };
    for nth in 0..count {
        let vehicle = vehicle(scene, customer, index as u64 * 8 + nth as u64, age_days);
        made.ties.push(Tie {
            customer_id: customer.customer_id,
            vehicle_id: vehicle.vehicle_id,
            role: "owner".to_owned(),
            since: customer.created_at,
            until: None,
        });
        made.vehicles.push(vehicle);
    }
}

fn vehicle(scene: &mut Scene, customer: &Customer, serial: u64, age_days: i64) -> Vehicle {
    let today = scene.today;
    let random = &mut scene.random;
    let &(model, displacement, transmission, is_green) = random.pick(MODELS);
    let delivered = date::plus_days(today, -age_days);
    let visited_days_ago = random.between(1, age_days.min(400));
    let visited = date::plus_days(today, -visited_days_ago);
    let kilometres =
        (age_days - visited_days_ago) * random.between(18, 55) + random.between(10, 900);
    let years = i64::from(today.year() - delivered.year());
    let anniversary = |plus: i64| {
        delivered.checked_add(jiff::Span::new().years(years + plus)).unwrap_or(delivered)
    };
    let insured_until = if anniversary(0) >= today { anniversary(0) } else { anniversary(1) };
    let plate = plate(scene, is_green);
    Vehicle {
        vehicle_id: VehicleId::mint(customer.created_at, scene.random.bytes()),
        dealership_id: scene.dealership_id,
        plate_key: plate_key(&plate),
        plate,
        vin: vin(scene, delivered.year(), serial),
        brand: "远航".to_owned(),
        model: model.trim_start_matches("远航 ").to_owned(),
        displacement: displacement.to_owned(),
        transmission: transmission.to_owned(),
        colour: (*scene.random.pick(COLOURS)).to_owned(),
        delivered_on: Some(delivered.to_string()),
        mileage_km: Some(kilometres),
        last_visit_on: Some(visited.to_string()),
        next_service_on: Some(date::plus_days(visited, 183).to_string()),
        inspection_due_on: Some(anniversary(2).to_string()),
        insurance_due_on: Some(insured_until.to_string()),
        created_at: customer.created_at,
        updated_at: customer.created_at,
    }
}

/// `沪A·D3962`; `沪A·D12345` for new energy. No I and no O.
fn plate(scene: &mut Scene, is_green: bool) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHJKLMNPQRSTUVWXYZ";
    let random = &mut scene.random;
    let (province, city) = if random.percent(88) {
        ("沪", *random.pick(b"ABCDEFGHJKLMN"))
    } else {
        (*random.pick(&["苏", "浙", "皖", "京", "粤"]), *random.pick(b"ABCDEF"))
    };
    let tail = if is_green {
        format!("{}{:05}", char::from(*random.pick(b"DF")), random.below(100_000))
    } else {
        let lettered = random.below(3) as usize; // which places hold a letter
        (0..5)
            .map(|place| {
                let is_letter = place < lettered && (place == 0 || random.percent(50));
                let of: &[u8] = if is_letter { LETTERS } else { b"0123456789" };
                char::from(*random.pick(of))
            })
            .collect()
    };
    format!("{province}{}·{tail}", char::from(city))
}

/// A VIN of an invented maker, with its model year and check digit (ISO 3779, GB 16735).
fn vin(scene: &mut Scene, year: i16, serial: u64) -> String {
    const YEARS: &[u8] = b"ABCDEFGHJKLMNPRSTVWXY123456789";
    let year_code = YEARS[usize::try_from(year - 2010).unwrap_or(0) % YEARS.len()];
    let random = &mut scene.random;
    let descriptor: String =
        (0..5).map(|_| char::from(*random.pick(b"ABCDEFGHJKLMNPRSTUVWXYZ0123456789"))).collect();
    // Plant letter and serial number make it unique.
    let plant = char::from(b"ABCDEFGH"[(serial / 1_000_000 % 8) as usize]);
    let text = format!("LYH{descriptor}0{}{plant}{:06}", char::from(year_code), serial % 1_000_000);
    let check = crate::import::vin_check_digit(&text).unwrap_or('0');
    format!("{}{check}{}", &text[..8], &text[9..])
}
