//! Customers, their numbers and vehicles from a file of another system.
//!
//! One row is one customer with numbers and, maybe, one vehicle. A row goes in whole or not at
//! all; a bad one is told by row, column and reason, and keeps none of the others out.
//!
//! Belongs here: what rows mean and what becomes of them. Does not: reading files ([`table`]),
//! which header means what ([`profile`]), reading cells ([`entry`]).

pub mod entry;
pub mod profile;
pub mod table;
mod vin;

use crate::{Error, date};
use cheling_model::{CustomerId, DealershipId, Timestamp, UserId, VehicleId};
use cheling_records::customer::{self, Customer, pinyin, plate_key};
use cheling_records::import::{self as jobs, ImportJob, JobState, RowError};
use cheling_records::phone::{self, Phone};
use cheling_records::vehicle::{self, Tie, Vehicle};
use cheling_records::{Database, On, admin, insert, insert_all, mint, user};
use entry::{Entry, Problem, Reason, VehicleEntry};
use profile::{Columns, Profile};
use std::collections::{HashMap, HashSet};
use table::{Table, TableError};
pub use vin::{is_vin, vin_check_digit};

/// Refused rows that are kept with their reasons; more are counted only.
pub const MAX_KEPT_ERRORS: usize = 1_000;
/// Rows between two reports of progress.
const PROGRESS_ROWS: usize = 200;

/// What to do with the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Say what would happen, change nothing.
    DryRun,
    /// Do it.
    Apply,
}

/// One import.
#[derive(Clone, Debug)]
pub struct Options<'a> {
    /// Into whose customers.
    pub dealership_id: DealershipId,
    /// Who does it; none from the command line.
    pub user_id: Option<UserId>,
    /// The file's name: its ending says what it is.
    pub file_name: &'a str,
    /// Which header means what.
    pub profile: &'a Profile,
    /// Whether to change anything.
    pub mode: Mode,
    /// The present moment.
    pub now: Timestamp,
}

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Rows read.
    pub done: usize,
    /// Rows there are.
    pub total: usize,
}

/// What became of the rows.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Report {
    /// The counts, as they are in the database.
    pub job: ImportJob,
    /// The refused rows, at most [`MAX_KEPT_ERRORS`].
    pub errors: Vec<RowError>,
}

/// Why a file could not be imported at all.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// It is no table.
    #[error(transparent)]
    Table(#[from] TableError),
    /// No row names the columns that a customer needs.
    #[error("no header row with a name and a phone column was found")]
    NoHeader,
    /// The database.
    #[error(transparent)]
    Records(#[from] Error),
}

/// What became of one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Created,
    Updated,
    Skipped,
}

/// Reads a file and brings its rows in, telling `progress` on the way. The run and its refused
/// rows are kept.
///
/// # Errors
/// [`ImportError`] if it cannot be read, or the database is away; rows before that stay in.
pub async fn run(
    db: &Database,
    bytes: &[u8],
    options: &Options<'_>,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<Report, ImportError> {
    let table = Table::read(options.file_name, bytes)?;
    let columns = Columns::find(&table, options.profile).ok_or(ImportError::NoHeader)?;
    let rows: Vec<_> =
        table.rows.iter().skip(columns.first_row).filter(|row| !row.is_empty()).collect();
    let mut job = new_job(options, rows.len());
    insert(db, &job).await?;
    let mut run = Run::prepare(db, options).await?;
    let mut errors = Vec::new();
    for (index, row) in rows.iter().enumerate() {
        let fate = match Entry::read(row, &columns, &run.area_code) {
            Ok(entry) => run.bring_in(db, &entry).await,
            Err(problem) => Ok(Err(problem)),
        };
        match fate {
            Ok(Ok(Fate::Created)) => job.created_rows += 1,
            Ok(Ok(Fate::Updated)) => job.updated_rows += 1,
            Ok(Ok(Fate::Skipped)) => job.skipped_rows += 1,
            Ok(Err(problem)) => {
                if errors.len() < MAX_KEPT_ERRORS {
                    errors.push(row_error(&job, errors.len(), row.number, problem));
                }
                job.bad_rows += 1;
            }
            Err(err) => {
                job.state = JobState::Failed;
                job.finished_at = Some(options.now);
                jobs::update(db, &job).await?;
                return Err(err.into());
            }
        }
        if (index + 1) % PROGRESS_ROWS == 0 || index + 1 == rows.len() {
            progress(Progress { done: index + 1, total: rows.len() });
        }
    }
    job.state = JobState::Done;
    job.finished_at = Some(options.now);
    insert_all(db, &errors).await?;
    jobs::update(db, &job).await?;
    Ok(Report { job, errors })
}

fn new_job(options: &Options<'_>, rows: usize) -> ImportJob {
    ImportJob {
        import_job_id: mint(),
        dealership_id: options.dealership_id,
        user_id: options.user_id,
        file_name: options.file_name.to_owned(),
        profile: options.profile.name.clone(),
        dry_run: options.mode == Mode::DryRun,
        state: JobState::Running,
        total_rows: i64::try_from(rows).unwrap_or(i64::MAX),
        created_rows: 0,
        updated_rows: 0,
        skipped_rows: 0,
        bad_rows: 0,
        started_at: options.now,
        finished_at: None,
    }
}

fn row_error(job: &ImportJob, position: usize, row_number: usize, problem: Problem) -> RowError {
    RowError {
        import_job_id: job.import_job_id,
        position: i64::try_from(position).unwrap_or(i64::MAX),
        row_number: i64::try_from(row_number).unwrap_or(i64::MAX),
        column_name: problem.column,
        cell: problem.cell.chars().take(200).collect(),
        reason: problem.reason.as_str().to_owned(),
    }
}

/// What is asked for each row.
struct Run {
    dealership_id: DealershipId,
    mode: Mode,
    now: Timestamp,
    area_code: String,
    users: HashMap<String, UserId>,
    next_no: u64,
    /// Of a dry run: customers that rows before would have made.
    imagined: HashSet<String>,
}

impl Run {
    async fn prepare(db: &Database, options: &Options<'_>) -> Result<Self, Error> {
        let dealership_id = options.dealership_id;
        let users = user::list(db, dealership_id).await?;
        let next_no = customer::next_no(db, dealership_id).await?;
        Ok(Self {
            dealership_id,
            mode: options.mode,
            now: options.now,
            area_code: admin::dealership(db, dealership_id).await?.area_code,
            users: users.into_iter().map(|it| (it.display_name, it.user_id)).collect(),
            next_no: next_no[1..].parse().unwrap_or(1),
            imagined: HashSet::new(),
        })
    }

    /// One row, in one transaction.
    async fn bring_in(
        &mut self,
        db: &Database,
        entry: &Entry,
    ) -> Result<Result<Fate, Problem>, Error> {
        let mut tx = db.begin().await?;
        let fate = match self.apply(On::from(&mut tx), entry).await {
            // What a check of ours could not foresee: another has the VIN or the number.
            Err(Error::Conflict { field }) => {
                let reason = if field == "vin" { Reason::VinTaken } else { Reason::Conflict };
                return Ok(Err(Problem { column: field, cell: String::new(), reason }));
            }
            other => other?,
        };
        match self.mode {
            Mode::Apply => tx.commit().await?,
            Mode::DryRun => {
                drop(tx);
                let keys =
                    entry.phones.iter().map(|it| format!("{}\n{}", entry.name, it.number.key));
                let mut keys: Vec<_> = keys.collect();
                keys.extend((!entry.customer_no.is_empty()).then(|| entry.customer_no.clone()));
                let seen = keys.iter().any(|key| self.imagined.contains(key));
                self.imagined.extend(keys);
                if seen && fate == Fate::Created {
                    return Ok(Ok(Fate::Updated));
                }
            }
        }
        Ok(Ok(fate))
    }

    async fn apply(&mut self, mut on: On<'_>, entry: &Entry) -> Result<Fate, Error> {
        let on = &mut on;
        let found = match entry.customer_no.as_str() {
            "" => {
                let keys: Vec<_> = entry.phones.iter().map(|it| it.number.key.clone()).collect();
                customer::by_name_and_phone(&mut *on, self.dealership_id, &entry.name, &keys)
                    .await?
            }
            no => customer::by_no(&mut *on, self.dealership_id, no).await?,
        };
        let (customer_id, mut fate) = match found {
            Some(known) => {
                let changed = self.changed(&known, entry);
                let fate = if changed == known { Fate::Skipped } else { Fate::Updated };
                if fate == Fate::Updated {
                    customer::update(&mut *on, &changed).await?;
                }
                (known.customer_id, fate)
            }
            None => {
                let new = self.new_customer(entry);
                insert(&mut *on, &new).await?;
                (new.customer_id, Fate::Created)
            }
        };
        if self.add_phones(on, customer_id, entry).await? && fate == Fate::Skipped {
            fate = Fate::Updated;
        }
        if !entry.segments.is_empty() {
            let mut codes = entry.segments.clone();
            let present = customer::segments_of(&mut *on, &[customer_id]).await?;
            if codes.iter().any(|code| !present.iter().any(|it| it.code == *code)) {
                codes.extend(present.into_iter().map(|it| it.code));
                customer::set_segments(&mut *on, customer_id, &codes, "import", self.now).await?;
                fate = if fate == Fate::Skipped { Fate::Updated } else { fate };
            }
        }
        if let Some(given) = &entry.vehicle
            && self.add_vehicle(on, customer_id, given).await?
            && fate == Fate::Skipped
        {
            fate = Fate::Updated;
        }
        Ok(fate)
    }

    fn new_customer(&mut self, entry: &Entry) -> Customer {
        let customer_no = if entry.customer_no.is_empty() {
            let no = format!("C{:07}", self.next_no);
            // Rolled back in a dry run, but a gap in the numbers is no harm.
            self.next_no += 1;
            no
        } else {
            entry.customer_no.clone()
        };
        let blank = Customer {
            customer_id: mint(),
            dealership_id: self.dealership_id,
            customer_no,
            kind: if entry.is_firm() { "org" } else { "person" }.to_owned(),
            name: entry.name.clone(),
            pinyin: String::new(),
            pinyin_initials: String::new(),
            salutation: String::new(),
            lifecycle: entry.lifecycle_or_guess(),
            lead_grade: String::new(),
            source: String::new(),
            owner_user_id: None,
            address: String::new(),
            note: String::new(),
            created_at: self.now,
            updated_at: self.now,
            deleted_at: None,
        };
        self.changed(&blank, entry)
    }

    /// A customer with what the row says over what is there; an empty cell says nothing.
    fn changed(&self, known: &Customer, entry: &Entry) -> Customer {
        let mut new = known.clone();
        let set = |to: &mut String, from: &str| {
            if !from.is_empty() {
                from.clone_into(to);
            }
        };
        set(&mut new.name, &entry.name);
        set(&mut new.salutation, &entry.salutation);
        set(&mut new.lead_grade, &entry.lead_grade);
        set(&mut new.source, &entry.source);
        set(&mut new.address, &entry.address);
        set(&mut new.note, &entry.note);
        (new.pinyin, new.pinyin_initials) = pinyin(&new.name);
        new.lifecycle = entry.lifecycle.unwrap_or(known.lifecycle);
        // A consultant who has left is nobody here.
        new.owner_user_id = self.users.get(&entry.owner).copied().or(known.owner_user_id);
        if new != *known {
            new.updated_at = self.now;
        }
        new
    }

    async fn add_phones(
        &self,
        on: &mut On<'_>,
        customer_id: CustomerId,
        entry: &Entry,
    ) -> Result<bool, Error> {
        let present = phone::of_customer(&mut *on, customer_id).await?;
        let mut added = false;
        for given in &entry.phones {
            let key = &given.number.key;
            if present.iter().any(|it| it.number_key == *key) {
                continue;
            }
            let row = Phone {
                phone_id: mint(),
                dealership_id: self.dealership_id,
                customer_id,
                number: given.raw.clone(),
                number_key: key.clone(),
                number_kind: given.number.kind,
                label: given.label.to_owned(),
                is_primary: present.is_empty() && !added,
                status: "ok".to_owned(),
                created_at: self.now,
            };
            phone::add(&mut *on, &row).await?;
            added = true;
        }
        Ok(added)
    }

    async fn add_vehicle(
        &self,
        on: &mut On<'_>,
        customer_id: CustomerId,
        given: &VehicleEntry,
    ) -> Result<bool, Error> {
        let key = plate_key(&given.plate);
        let found =
            vehicle::by_vin_or_plate(&mut *on, self.dealership_id, &given.vin, &key).await?;
        let (vehicle_id, changed) = match found {
            Some(known) => {
                let mut new = with(known.clone(), given);
                let changed = new != known;
                if changed {
                    new.updated_at = self.now;
                    vehicle::update(&mut *on, &new).await?;
                }
                (known.vehicle_id, changed)
            }
            None => {
                let new = with(self.blank_vehicle(), given);
                insert(&mut *on, &new).await?;
                (new.vehicle_id, true)
            }
        };
        let theirs = vehicle::of_customer(&mut *on, customer_id).await?;
        if theirs.iter().any(|it| it.vehicle_id == vehicle_id) {
            return Ok(changed);
        }
        let tie =
            Tie { customer_id, vehicle_id, role: "owner".to_owned(), since: self.now, until: None };
        vehicle::tie(on, &tie).await?;
        Ok(true)
    }

    fn blank_vehicle(&self) -> Vehicle {
        Vehicle {
            vehicle_id: mint::<VehicleId>(),
            dealership_id: self.dealership_id,
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
            created_at: self.now,
            updated_at: self.now,
        }
    }
}

/// A vehicle with what the row says over what is there; an empty cell says nothing.
fn with(known: Vehicle, given: &VehicleEntry) -> Vehicle {
    let text = |given: &String, known: String| if given.is_empty() { known } else { given.clone() };
    let day = |given: Option<jiff::civil::Date>, known: Option<String>| {
        given.map(|it| it.to_string()).or(known)
    };
    let plate = text(&given.plate, known.plate);
    Vehicle {
        plate_key: plate_key(&plate),
        plate,
        vin: text(&given.vin, known.vin),
        brand: text(&given.brand, known.brand),
        model: text(&given.model, known.model),
        displacement: text(&given.displacement, known.displacement),
        transmission: text(&given.transmission, known.transmission),
        colour: text(&given.colour, known.colour),
        delivered_on: day(given.delivered_on, known.delivered_on),
        mileage_km: given.mileage_km.or(known.mileage_km),
        last_visit_on: day(given.last_visit_on, known.last_visit_on),
        next_service_on: day(given.next_service_on, known.next_service_on),
        inspection_due_on: day(given.inspection_due_on, known.inspection_due_on),
        insurance_due_on: day(given.insurance_due_on, known.insurance_due_on),
        ..known
    }
}

/// The date of a spreadsheet's serial number (1 is 1900-01-01; the leap day of 1900 that never
/// was is skipped).
pub(crate) fn serial_date(serial: f64) -> Option<jiff::civil::Date> {
    // Beyond 100 000 (the year 2173) it is a date written as 20240102.
    if !(61.0..100_000.0).contains(&serial) {
        return None;
    }
    let first = jiff::civil::date(1899, 12, 30);
    Some(date::plus_days(first, serial.floor() as i64))
}

#[cfg(test)]
mod tests;
