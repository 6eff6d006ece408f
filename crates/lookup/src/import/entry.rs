//! One row, read: every cell is what its column says, or the row is refused with the reason.

use super::profile::{Columns, Field};
use super::serial_date;
use super::table::Row;
use crate::number;
use cheling_model::follow_up::Lifecycle;
use cheling_model::number::{NumberKind, PhoneNumber};
use jiff::civil::Date;

/// Why a row is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// There is no name.
    NameMissing,
    /// There is no number.
    PhoneMissing,
    /// It is no number.
    PhoneInvalid,
    /// A spreadsheet rounded it: `1.38E+10`.
    PhoneDigitsLost,
    /// A vehicle needs its model, displacement and transmission.
    VehicleIncomplete,
    /// It is no plate.
    PlateInvalid,
    /// It is not 17 letters and digits without I, O and Q.
    VinInvalid,
    /// Another vehicle has it.
    VinTaken,
    /// It is no date.
    DateInvalid,
    /// It is no whole number from 0.
    MileageInvalid,
    /// It says neither existing nor prospect.
    LifecycleInvalid,
    /// Another row has this value.
    Conflict,
}

impl Reason {
    /// All there are.
    pub const ALL: [Self; 12] = [
        Self::NameMissing,
        Self::PhoneMissing,
        Self::PhoneInvalid,
        Self::PhoneDigitsLost,
        Self::VehicleIncomplete,
        Self::PlateInvalid,
        Self::VinInvalid,
        Self::VinTaken,
        Self::DateInvalid,
        Self::MileageInvalid,
        Self::LifecycleInvalid,
        Self::Conflict,
    ];

    /// The reason of a word, if it is one.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == word)
    }

    /// The word in JSON and SQL.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NameMissing => "name_missing",
            Self::PhoneMissing => "phone_missing",
            Self::PhoneInvalid => "phone_invalid",
            Self::PhoneDigitsLost => "phone_digits_lost",
            Self::VehicleIncomplete => "vehicle_incomplete",
            Self::PlateInvalid => "plate_invalid",
            Self::VinInvalid => "vin_invalid",
            Self::VinTaken => "vin_taken",
            Self::DateInvalid => "date_invalid",
            Self::MileageInvalid => "mileage_invalid",
            Self::LifecycleInvalid => "lifecycle_invalid",
            Self::Conflict => "conflict",
        }
    }

    /// In words, for who runs the command line.
    pub const fn text(self) -> &'static str {
        match self {
            Self::NameMissing => "缺少姓名",
            Self::PhoneMissing => "缺少电话",
            Self::PhoneInvalid => "不是有效的电话号码",
            Self::PhoneDigitsLost => "科学计数法丢失了号码尾数，请改为文本格式",
            Self::VehicleIncomplete => "填写了车辆，但缺少车型、排量或变速箱",
            Self::PlateInvalid => "不是有效的车牌号",
            Self::VinInvalid => "车架号应为17位字母或数字",
            Self::VinTaken => "车架号已属于另一辆车",
            Self::DateInvalid => "不是有效的日期",
            Self::MileageInvalid => "里程应为数字",
            Self::LifecycleInvalid => "客户类型应为现有客户或潜在客户",
            Self::Conflict => "与已有数据重复",
        }
    }
}

/// What is wrong with a row, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The header of the column.
    pub column: String,
    /// What stands there.
    pub cell: String,
    /// Why that will not do.
    pub reason: Reason,
}

/// One row.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "the fields are those of the customer")]
pub struct Entry {
    pub customer_no: String,
    pub name: String,
    pub salutation: String,
    pub lifecycle: Option<Lifecycle>,
    pub lead_grade: String,
    pub source: String,
    /// The consultant, by name.
    pub owner: String,
    pub address: String,
    pub note: String,
    pub segments: Vec<String>,
    pub phones: Vec<PhoneEntry>,
    pub vehicle: Option<VehicleEntry>,
}

/// A number of the row.
#[derive(Clone, Debug, PartialEq)]
pub struct PhoneEntry {
    /// As it is shown.
    pub raw: String,
    /// As it is compared.
    pub number: PhoneNumber,
    /// Whose it is.
    pub label: &'static str,
}

/// The vehicle of the row.
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(missing_docs, reason = "the fields are those of the vehicle")]
pub struct VehicleEntry {
    pub plate: String,
    pub vin: String,
    pub brand: String,
    pub model: String,
    pub displacement: String,
    pub transmission: String,
    pub colour: String,
    pub delivered_on: Option<Date>,
    pub mileage_km: Option<i64>,
    pub last_visit_on: Option<Date>,
    pub next_service_on: Option<Date>,
    pub inspection_due_on: Option<Date>,
    pub insurance_due_on: Option<Date>,
}

impl Entry {
    /// Reads a row.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn read(row: &Row, columns: &Columns, area_code: &str) -> Result<Self, Problem> {
        let cells = Cells { row, columns };
        let name = cells.text(Field::Name);
        if name.is_empty() {
            return Err(cells.problem(Field::Name, Reason::NameMissing));
        }
        let mut phones = cells.phones(Field::Phone, "本人", area_code)?;
        for phone in cells.phones(Field::ContactPhone, "送修人", area_code)? {
            if !phones.iter().any(|it| it.number.key == phone.number.key) {
                phones.push(phone);
            }
        }
        if phones.is_empty() {
            let field = if columns.of(Field::Phone).is_empty() {
                Field::ContactPhone
            } else {
                Field::Phone
            };
            return Err(cells.problem(field, Reason::PhoneMissing));
        }
        let salutation = match cells.text(Field::Salutation).as_str() {
            "男" | "M" | "m" => "先生".to_owned(),
            "女" | "F" | "f" => "女士".to_owned(),
            other => other.to_owned(),
        };
        Ok(Self {
            customer_no: cells.text(Field::CustomerNo),
            name,
            salutation,
            lifecycle: cells.lifecycle()?,
            lead_grade: cells.text(Field::LeadGrade),
            source: cells.text(Field::Source),
            owner: cells.text(Field::Owner),
            address: cells.text(Field::Address),
            note: cells.text(Field::Note),
            segments: split(&cells.text(Field::Segments)).map(segment).collect(),
            phones,
            vehicle: cells.vehicle()?,
        })
    }

    /// Whether the name is a firm's.
    pub fn is_firm(&self) -> bool {
        ["公司", "集团", "厂", "中心", "店"].iter().any(|tail| self.name.ends_with(tail))
    }

    /// What the row says, or else: who has a vehicle is a customer.
    pub fn lifecycle_or_guess(&self) -> Lifecycle {
        self.lifecycle.unwrap_or(match self.vehicle {
            Some(_) => Lifecycle::Existing,
            None => Lifecycle::Prospect,
        })
    }
}

struct Cells<'a> {
    row: &'a Row,
    columns: &'a Columns,
}

impl Cells<'_> {
    /// The first filled cell of a field, or empty.
    fn text(&self, field: Field) -> String {
        let columns = self.columns.of(field).iter();
        let mut filled = columns.map(|(at, _)| self.row.cell(*at)).filter(|cell| !cell.is_empty());
        filled.next().unwrap_or("").to_owned()
    }

    fn problem(&self, field: Field, reason: Reason) -> Problem {
        let column = self.columns.of(field).first();
        Problem {
            column: column.map(|(_, header)| header.clone()).unwrap_or_default(),
            cell: self.text(field),
            reason,
        }
    }

    fn phones(
        &self,
        field: Field,
        label: &'static str,
        area_code: &str,
    ) -> Result<Vec<PhoneEntry>, Problem> {
        let mut phones: Vec<PhoneEntry> = Vec::new();
        for (at, header) in self.columns.of(field) {
            let cell = self.row.cell(*at);
            for part in split(cell) {
                let refuse =
                    |reason| Problem { column: header.clone(), cell: cell.to_owned(), reason };
                if number::has_lost_digits(part) {
                    return Err(refuse(Reason::PhoneDigitsLost));
                }
                let number = number::read_cell(part, area_code)
                    .filter(is_whole)
                    .ok_or_else(|| refuse(Reason::PhoneInvalid))?;
                if phones.iter().any(|it| it.number.key == number.key) {
                    continue;
                }
                let raw = shown(part, &number);
                phones.push(PhoneEntry { raw, number, label });
            }
        }
        Ok(phones)
    }

    fn lifecycle(&self) -> Result<Option<Lifecycle>, Problem> {
        let text = self.text(Field::Lifecycle);
        Ok(match text.as_str() {
            "" => None,
            "现有" | "现有客户" | "保有" | "保有客户" | "基盘客户" | "existing" => {
                Some(Lifecycle::Existing)
            }
            "潜在" | "潜在客户" | "潜客" | "意向客户" | "prospect" => {
                Some(Lifecycle::Prospect)
            }
            _ => return Err(self.problem(Field::Lifecycle, Reason::LifecycleInvalid)),
        })
    }

    fn vehicle(&self) -> Result<Option<VehicleEntry>, Problem> {
        let plate = self.text(Field::Plate);
        let vin = self.text(Field::Vin).to_ascii_uppercase();
        let model = self.text(Field::Model);
        if plate.is_empty() && vin.is_empty() && model.is_empty() {
            return Ok(None);
        }
        let given = VehicleEntry {
            plate: if plate.is_empty() { plate } else { self.plate(&plate)? },
            vin,
            brand: self.text(Field::Brand),
            model,
            displacement: self.text(Field::Displacement),
            transmission: self.text(Field::Transmission),
            colour: self.text(Field::Colour),
            delivered_on: self.date(Field::DeliveredOn)?,
            mileage_km: self.mileage()?,
            last_visit_on: self.date(Field::LastVisitOn)?,
            next_service_on: self.date(Field::NextServiceOn)?,
            inspection_due_on: self.date(Field::InspectionDueOn)?,
            insurance_due_on: self.date(Field::InsuranceDueOn)?,
        };
        for (field, value) in [
            (Field::Model, &given.model),
            (Field::Displacement, &given.displacement),
            (Field::Transmission, &given.transmission),
        ] {
            if value.is_empty() {
                return Err(self.problem(field, Reason::VehicleIncomplete));
            }
        }
        if !given.vin.is_empty() && super::vin_check_digit(&given.vin).is_none() {
            return Err(self.problem(Field::Vin, Reason::VinInvalid));
        }
        Ok(Some(given))
    }

    /// `沪A·D3962` from `沪AD3962`, `沪A D3962`, `沪a-d3962`.
    fn plate(&self, text: &str) -> Result<String, Problem> {
        let key: Vec<char> = cheling_records::customer::plate_key(text).chars().collect();
        match key.as_slice() {
            [province, city, tail @ ..]
                if !province.is_ascii()
                    && city.is_ascii_uppercase()
                    && matches!(tail.len(), 4..=6) =>
            {
                Ok(format!("{province}{city}·{}", tail.iter().collect::<String>()))
            }
            _ => Err(self.problem(Field::Plate, Reason::PlateInvalid)),
        }
    }

    fn date(&self, field: Field) -> Result<Option<Date>, Problem> {
        let text = self.text(field);
        if text.is_empty() {
            return Ok(None);
        }
        match read_date(&text) {
            Some(date) => Ok(Some(date)),
            None => Err(self.problem(field, Reason::DateInvalid)),
        }
    }

    fn mileage(&self) -> Result<Option<i64>, Problem> {
        let text = self.text(Field::MileageKm);
        let digits: String = text
            .trim_end_matches("公里")
            .trim_end_matches("km")
            .trim_end_matches("KM")
            .chars()
            .filter(|c| !matches!(c, ',' | ' ' | '，'))
            .collect();
        if digits.is_empty() {
            return Ok(None);
        }
        match digits.parse::<f64>() {
            Ok(value) if (0.0..10_000_000.0).contains(&value) => Ok(Some(value.round() as i64)),
            _ => Err(self.problem(Field::MileageKm, Reason::MileageInvalid)),
        }
    }
}

/// Parts of a cell that holds several.
fn split(cell: &str) -> impl Iterator<Item = &str> {
    cell.split(['/', ';', ',', '、', '；', '，', '／', '\n'])
        .map(str::trim)
        .filter(|it| !it.is_empty())
}

/// A number that somebody can be called by.
fn is_whole(number: &PhoneNumber) -> bool {
    match number.kind {
        NumberKind::Mobile | NumberKind::Landline | NumberKind::Service => true,
        NumberKind::Foreign => number.key.starts_with('+'),
        NumberKind::Short | NumberKind::Internal => false,
    }
}

/// As it was written, unless a spreadsheet wrote it.
fn shown(part: &str, number: &PhoneNumber) -> String {
    let national = number.key.strip_prefix("+86").unwrap_or(&number.key);
    match number.kind {
        NumberKind::Mobile => national.to_owned(),
        NumberKind::Landline if part.bytes().all(|b| b.is_ascii_digit() || b == b'.') => {
            format!("0{national}")
        }
        _ => part.to_owned(),
    }
}

fn segment(text: &str) -> String {
    match text {
        "VIP" | "vip" | "贵宾" => "vip",
        "黑名单" | "谨慎" => "caution_list",
        "投诉" | "投诉客户" | "抱怨客户" => "complainant",
        "流失" | "流失风险" | "流失预警" => "at_risk",
        other => other,
    }
    .to_owned()
}

/// `2026-11-22`, `2026/1/2`, `2026.1.2`, `2026年1月2日`, `20260102`, or a serial number; a time
/// of day behind it is dropped.
pub fn read_date(text: &str) -> Option<Date> {
    if let Ok(number) = text.parse::<f64>() {
        if let Some(date) = serial_date(number) {
            return Some(date);
        }
        let digits = text.trim_end_matches(".0");
        if digits.len() != 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        return civil(&[&digits[..4], &digits[4..6], &digits[6..]]);
    }
    let day = text.split([' ', 'T']).next()?;
    let parts: Vec<_> =
        day.split(['-', '/', '.', '年', '月', '日']).filter(|part| !part.is_empty()).collect();
    civil(&parts)
}

fn civil(parts: &[&str]) -> Option<Date> {
    let [year, month, day] = parts else { return None };
    let year = year.parse().ok().filter(|year| (1900..2200).contains(year))?;
    Date::new(year, month.parse().ok()?, day.parse().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read_as_people_and_spreadsheets_write_them() {
        for (text, date) in [
            ("2026-11-22", "2026-11-22"),
            ("2026/1/2", "2026-01-02"),
            ("2026.1.2", "2026-01-02"),
            ("2026年1月2日", "2026-01-02"),
            ("2026-11-22 09:30:00", "2026-11-22"),
            ("2026-11-22T09:30", "2026-11-22"),
            ("20240102", "2024-01-02"),
            ("45292", "2024-01-01"),
            ("45292.5", "2024-01-01"),
        ] {
            assert_eq!(read_date(text).map(|it| it.to_string()).as_deref(), Some(date), "{text}");
        }
        for text in ["", "abc", "2026-13-01", "2026-02-30", "2026-01", "99999999", "-5", "1e300"] {
            assert_eq!(read_date(text), None, "{text}");
        }
    }
}
