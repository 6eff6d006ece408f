//! Customers: rows, search, and everything that the screen-pop card shows of one.

use crate::admin::{Filter, begins, contains};
use crate::database::On;
use crate::row::{Page, Read as _, cursor, fetch_limit, parse_cursor, row};
use crate::value::args;
use crate::{Result, Value};
use cheling_model::follow_up::Lifecycle;
use cheling_model::{CallId, CustomerId, DealershipId, Timestamp, UserId};
use pinyin::ToPinyin as _;
use uuid::Uuid;

row! {
    /// A customer.
    Customer in "customer" {
        customer_id: CustomerId = "customer_id",
        dealership_id: DealershipId = "dealership_id",
        /// `C0021837`, unique in its dealership.
        customer_no: String = "customer_no",
        /// `person` or `org`.
        kind: String = "kind",
        name: String = "name",
        /// `wangjianguo`: see [`pinyin`].
        pinyin: String = "pinyin",
        /// `wjg`.
        pinyin_initials: String = "pinyin_initials",
        /// `先生`, `女士` or empty.
        salutation: String = "salutation",
        lifecycle: Lifecycle = "lifecycle",
        lead_grade: String = "lead_grade",
        source: String = "source",
        owner_user_id: Option<UserId> = "owner_user_id",
        address: String = "address",
        note: String = "note",
        created_at: Timestamp = "created_at_us",
        updated_at: Timestamp = "updated_at_us",
        deleted_at: Option<Timestamp> = "deleted_at_us",
    }
}

row! {
    /// A customer in a list.
    CustomerItem {
        customer_id: CustomerId = "customer.customer_id",
        customer_no: String = "customer.customer_no",
        name: String = "customer.name",
        salutation: String = "customer.salutation",
        lifecycle: Lifecycle = "customer.lifecycle",
        lead_grade: String = "customer.lead_grade",
        source: String = "customer.source",
        note: String = "customer.note",
        owner_name: String = "coalesce((select display_name from app_user \
            where user_id = customer.owner_user_id), '')",
        /// The primary number as written, or empty.
        phone: String = "coalesce((select number from customer_phone p \
            where p.customer_id = customer.customer_id \
            order by p.is_primary desc, p.phone_id limit 1), '')",
        /// Its key.
        phone_key: String = "coalesce((select number_key from customer_phone p \
            where p.customer_id = customer.customer_id \
            order by p.is_primary desc, p.phone_id limit 1), '')",
        /// The first vehicle's plate, or empty.
        plate: String = "coalesce((select plate from customer_vehicle cv \
            join vehicle on vehicle.vehicle_id = cv.vehicle_id \
            where cv.customer_id = customer.customer_id and cv.until_us is null \
            order by coalesce(vehicle.last_visit_on, '') desc, vehicle.vehicle_id limit 1), '')",
        /// The first vehicle's model, or empty.
        vehicle_model: String = "coalesce((select vehicle.model from customer_vehicle cv \
            join vehicle on vehicle.vehicle_id = cv.vehicle_id \
            where cv.customer_id = customer.customer_id and cv.until_us is null \
            order by coalesce(vehicle.last_visit_on, '') desc, vehicle.vehicle_id limit 1), '')",
        last_contact_at: Option<Timestamp> = "(select max(offered_at_us) from call \
            where call.customer_id = customer.customer_id)",
        created_at: Timestamp = "customer.created_at_us",
    }
}

row! {
    /// One of the customers who have a number, with what ranks them.
    Match {
        customer_id: CustomerId = "customer.customer_id",
        customer_no: String = "customer.customer_no",
        kind: String = "customer.kind",
        name: String = "customer.name",
        salutation: String = "customer.salutation",
        lifecycle: Lifecycle = "customer.lifecycle",
        lead_grade: String = "customer.lead_grade",
        source: String = "customer.source",
        note: String = "customer.note",
        owner_name: String = "coalesce((select display_name from app_user \
            where user_id = customer.owner_user_id), '')",
        /// What the number is to the customer.
        phone_label: String = "p.label",
        plate: String = "coalesce((select plate from customer_vehicle cv \
            join vehicle on vehicle.vehicle_id = cv.vehicle_id \
            where cv.customer_id = customer.customer_id and cv.until_us is null \
            order by coalesce(vehicle.last_visit_on, '') desc, vehicle.vehicle_id limit 1), '')",
        open_items: i64 = "(select count(*) from follow_up f \
            where f.customer_id = customer.customer_id and f.state in ('open', 'in_progress') \
                and f.type <> 'inbound_contact')",
        /// The earliest due date of an open task, if any.
        due_on: Option<String> = "(select min(f.due_on) from follow_up f \
            where f.customer_id = customer.customer_id and f.state in ('open', 'in_progress') \
                and f.type <> 'inbound_contact')",
        open_complaint: bool = "exists (select 1 from follow_up f \
            where f.customer_id = customer.customer_id and f.state in ('open', 'in_progress') \
                and f.type = 'complaint_handling')",
        owns_vehicle: bool = "exists (select 1 from customer_vehicle cv \
            where cv.customer_id = customer.customer_id and cv.role = 'owner' \
                and cv.until_us is null)",
        last_contact_at: Option<Timestamp> = "(select max(offered_at_us) from call \
            where call.customer_id = customer.customer_id and call.answered_at_us is not null \
                and ($3 is null or call.call_id <> $3))",
        created_at: Timestamp = "customer.created_at_us",
    }
}

/// The most customers that one number brings up.
pub const MAX_MATCHES: i64 = 20;

/// The customers who have this number, unranked. `current` is the call that asks: it is not its
/// own last contact.
///
/// # Errors
/// [`crate::Error::Unavailable`].
pub async fn matches(
    on: impl Into<On<'_>>,
    dealership_id: DealershipId,
    number_key: &str,
    current: Option<CallId>,
) -> Result<Vec<Match>> {
    let sql = format!(
        "select {} from customer_phone p join customer on customer.customer_id = p.customer_id \
         where p.dealership_id = $1 and p.number_key = $2 and customer.deleted_at_us is null \
         order by customer.created_at_us desc limit {MAX_MATCHES}",
        Match::columns()
    );
    on.into().list(sql, args![dealership_id, number_key, current]).await
}

/// The same of one customer known by id; `phone_label` is that of its primary number.
///
/// # Errors
/// [`crate::Error::NotFound`].
pub async fn match_of(
    on: impl Into<On<'_>>,
    dealership_id: DealershipId,
    customer_id: CustomerId,
    current: Option<CallId>,
) -> Result<Match> {
    let sql = format!(
        "select {} from customer left join (select customer_id, label from customer_phone \
             where customer_id = $2 order by is_primary desc, phone_id limit 1) p \
             on p.customer_id = customer.customer_id \
         where customer.dealership_id = $1 and customer.customer_id = $2 \
             and customer.deleted_at_us is null",
        Match::COLUMNS.join(", ").replace("p.label", "coalesce(p.label, '')")
    );
    on.into().one(sql, args![dealership_id, customer_id, current]).await
}

/// What a search box and its filters ask for.
#[derive(Clone, Debug, Default)]
pub struct CustomerSearch {
    /// Part of a number, plate, name, pinyin, VIN or customer number. Empty: everybody.
    pub text: String,
    /// Only these.
    pub lifecycle: Option<Lifecycle>,
    /// Only with this segment.
    pub segment: Option<String>,
    /// Only of this consultant.
    pub owner_user_id: Option<UserId>,
}

/// Customers, newest first.
///
/// # Errors
/// [`crate::Error::Refused`] for a cursor that is none.
pub async fn search(
    on: impl Into<On<'_>>,
    dealership_id: DealershipId,
    search: &CustomerSearch,
    after: Option<&str>,
    limit: u32,
) -> Result<Page<CustomerItem>> {
    let mut filter = Filter::new(
        format!(
            "select {} from customer where dealership_id = $1 and deleted_at_us is null",
            CustomerItem::columns()
        ),
        args![dealership_id],
    );
    filter_text(&mut filter, search.text.trim(), dealership_id);
    filter.and_some("lifecycle = $?", search.lifecycle);
    filter.and_some("owner_user_id = $?", search.owner_user_id);
    filter.and_some(
        "exists (select 1 from customer_segment s where s.customer_id = customer.customer_id \
         and s.until_us is null and s.code = $?)",
        search.segment.as_deref(),
    );
    if let Some(after) = after {
        let (created, id) = parse_cursor::<i64>(after)?;
        let (created, id) = (filter.bind(created), filter.bind(id));
        filter.push(&format!(" and (created_at_us, customer_id) < ({created}, {id})"));
    }
    let limit_at = filter.bind(fetch_limit(limit));
    filter.push(&format!(" order by created_at_us desc, customer_id desc limit {limit_at}"));
    let items = on.into().list(filter.sql, filter.args).await?;
    Ok(Page::cut(items, limit, |it: &CustomerItem| {
        cursor(it.created_at.as_micros(), it.customer_id)
    }))
}

/// Adds what the text may mean: a number, a plate, a VIN, pinyin, a name, a customer number.
fn filter_text(filter: &mut Filter, text: &str, dealership_id: DealershipId) {
    if text.is_empty() {
        return;
    }
    let mut any: Vec<String> = Vec::new();
    let name = filter.bind(contains(text));
    any.push(format!("name like {name} escape '!'"));
    let dialable = text.chars().all(|c| c.is_ascii_digit() || " -+()".contains(c));
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    let digits = digits.trim_start_matches('0');
    if dialable && digits.len() >= 3 {
        let (dealership, key) = (filter.bind(dealership_id), filter.bind(contains(digits)));
        any.push(format!(
            "customer_id in (select customer_id from customer_phone \
             where dealership_id = {dealership} and number_key like {key} escape '!')"
        ));
    }
    let key = plate_key(text);
    if key.chars().count() >= 2 {
        let (dealership, plate) = (filter.bind(dealership_id), filter.bind(contains(&key)));
        let vin = if key.len() >= 4 && key.is_ascii() {
            format!(" or vin like {plate} escape '!'")
        } else {
            String::new()
        };
        any.push(format!(
            "customer_id in (select cv.customer_id from vehicle \
             join customer_vehicle cv on cv.vehicle_id = vehicle.vehicle_id \
             where vehicle.dealership_id = {dealership} and (plate_key like {plate} escape '!'{vin}))"
        ));
        if key.is_ascii() {
            any.push(format!("customer_no like {plate} escape '!'"));
        }
    }
    let letters: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    if letters.chars().all(|c| c.is_ascii_alphabetic()) {
        let pattern = filter.bind(begins(&letters.to_lowercase()));
        any.push(format!(
            "pinyin like {pattern} escape '!' or pinyin_initials like {pattern} escape '!'"
        ));
    }
    filter.push(&format!(" and ({})", any.join(" or ")));
}

/// One customer of a dealership.
///
/// # Errors
/// [`crate::Error::NotFound`].
pub async fn find(
    on: impl Into<On<'_>>,
    dealership_id: DealershipId,
    customer_id: CustomerId,
) -> Result<Customer> {
    let sql = format!(
        "select {} from customer where dealership_id = $1 and customer_id = $2 \
         and deleted_at_us is null",
        Customer::columns()
    );
    on.into().one(sql, args![dealership_id, customer_id]).await
}

/// One customer, by the number on paper.
///
/// # Errors
/// [`crate::Error::Unavailable`].
pub async fn by_no(
    on: impl Into<On<'_>>,
    dealership_id: DealershipId,
    customer_no: &str,
) -> Result<Option<Customer>> {
    let sql = format!(
        "select {} from customer where dealership_id = $1 and customer_no = $2 \
         and deleted_at_us is null",
        Customer::columns()
    );
    on.into().find(sql, args![dealership_id, customer_no]).await
}

/// The customer of this name who has one of these numbers.
///
/// # Errors
/// [`crate::Error::Unavailable`].
pub async fn by_name_and_phone(
    on: impl Into<On<'_>>,
    dealership_id: DealershipId,
    name: &str,
    number_keys: &[String],
) -> Result<Option<Customer>> {
    let mut filter = Filter::new(
        format!(
            "select {} from customer where dealership_id = $1 and name = $2 \
             and deleted_at_us is null and customer_id in (select customer_id from customer_phone \
             where dealership_id = $1 and number_key in (",
            Customer::columns()
        ),
        args![dealership_id, name],
    );
    push_list(&mut filter, number_keys.iter().map(|key| Value::from(key.as_str())));
    filter.push(")) order by customer_id limit 1");
    on.into().find(filter.sql, filter.args).await
}

/// `$3, $4, …`, or `null` for none.
pub(crate) fn push_list(filter: &mut Filter, values: impl Iterator<Item = Value>) {
    let names: Vec<_> = values.map(|value| filter.bind(value)).collect();
    filter.push(if names.is_empty() { "null".to_owned() } else { names.join(", ") }.as_str());
}

/// Writes every column of a customer but its key, number and birth.
///
/// # Errors
/// [`crate::Error::NotFound`].
pub async fn update(on: impl Into<On<'_>>, customer: &Customer) -> Result<()> {
    let sql = "update customer set kind = $3, name = $4, pinyin = $5, pinyin_initials = $6, \
               salutation = $7, lifecycle = $8, lead_grade = $9, source = $10, \
               owner_user_id = $11, address = $12, note = $13, updated_at_us = $14, \
               deleted_at_us = $15 where dealership_id = $1 and customer_id = $2";
    let c = customer;
    let args = args![
        c.dealership_id,
        c.customer_id,
        &c.kind,
        &c.name,
        &c.pinyin,
        &c.pinyin_initials,
        &c.salutation,
        c.lifecycle,
        &c.lead_grade,
        &c.source,
        c.owner_user_id,
        &c.address,
        &c.note,
        c.updated_at,
        c.deleted_at,
    ];
    on.into().change(sql, args).await
}

/// The next free customer number: `C` and seven digits, one above the highest of that form.
///
/// # Errors
/// [`crate::Error::Unavailable`].
pub async fn next_no(on: impl Into<On<'_>>, dealership_id: DealershipId) -> Result<String> {
    let sql = "select max(customer_no) from customer \
               where dealership_id = $1 and customer_no like 'C_______'";
    let highest: Option<String> = on.into().scalar(sql, args![dealership_id]).await?;
    let highest = highest.and_then(|no| no[1..].parse::<u64>().ok()).unwrap_or(0);
    Ok(format!("C{:07}", highest + 1))
}

/// How many customers a dealership has.
///
/// # Errors
/// [`crate::Error::Unavailable`].
pub async fn count(on: impl Into<On<'_>>, dealership_id: DealershipId) -> Result<i64> {
    let sql = "select count(*) from customer where dealership_id = $1 and deleted_at_us is null";
    on.into().scalar(sql, args![dealership_id]).await
}

/// A plate as it is compared: `沪A·D3962` → `沪AD3962`.
pub fn plate_key(plate: &str) -> String {
    plate.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_uppercase).collect()
}

/// A name's pinyin and initials, lower case without tones: `王建国` → (`wangjianguo`, `wjg`).
/// What is no Chinese character is kept if it is a letter or digit.
pub fn pinyin(name: &str) -> (String, String) {
    let (mut full, mut initials) = (String::new(), String::new());
    let mut in_word = false;
    for c in name.chars() {
        if let Some(syllable) = c.to_pinyin() {
            full.push_str(syllable.plain());
            initials.push_str(syllable.first_letter());
            in_word = false;
        } else if c.is_ascii_alphanumeric() {
            full.push(c.to_ascii_lowercase());
            if !in_word {
                initials.push(c.to_ascii_lowercase());
            }
            in_word = true;
        } else {
            in_word = false;
        }
    }
    (full, initials)
}

row! {
    /// A present segment of a customer.
    SegmentOf {
        customer_id: CustomerId = "customer_id",
        code: String = "code",
    }
}

/// The present segments of some customers.
///
/// # Errors
/// [`crate::Error::Unavailable`].
pub async fn segments_of(
    on: impl Into<On<'_>>,
    customers: &[CustomerId],
) -> Result<Vec<SegmentOf>> {
    let mut filter = Filter::new(
        "select customer_id, code from customer_segment where until_us is null \
         and customer_id in ("
            .to_owned(),
        args![],
    );
    push_list(&mut filter, customers.iter().map(|&id| Value::from(id)));
    filter.push(") order by code");
    on.into().list(filter.sql, filter.args).await
}

row! {
    /// `vip`, `caution_list`, `complainant`, `at_risk` …
    Segment in "customer_segment" {
        segment_id: Uuid = "segment_id",
        customer_id: CustomerId = "customer_id",
        code: String = "code",
        /// `rule`, `manual` or `import`.
        origin: String = "origin",
        reason: String = "reason",
        since: Timestamp = "since_us",
        until: Option<Timestamp> = "until_us",
    }
}

/// Replaces the present segments of a customer; those that stay keep their beginning.
///
/// # Errors
/// [`crate::Error::Refused`] if there is no such customer.
pub async fn set_segments(
    on: impl Into<On<'_>>,
    customer_id: CustomerId,
    codes: &[String],
    origin: &str,
    at: Timestamp,
) -> Result<()> {
    let mut on = on.into();
    let present = segments_of(&mut on, &[customer_id]).await?;
    for old in present.iter().filter(|old| !codes.contains(&old.code)) {
        let sql = "update customer_segment set until_us = $3 \
                   where customer_id = $1 and code = $2 and until_us is null";
        on.execute(sql, args![customer_id, &old.code, at]).await?;
    }
    for code in codes.iter().filter(|code| !present.iter().any(|old| old.code == **code)) {
        let row = Segment {
            segment_id: crate::mint(),
            customer_id,
            code: code.clone(),
            origin: origin.to_owned(),
            reason: String::new(),
            since: at,
            until: None,
        };
        crate::insert(&mut on, &row).await?;
    }
    Ok(())
}
