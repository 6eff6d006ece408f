//! Which header of a file means which of our fields.

use super::table::Table;
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap};

/// Rows at the top among which the header is looked for: titles stand above it.
const HEADER_ROWS: usize = 12;

/// What a column may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "each names the field it fills")]
pub enum Field {
    CustomerNo,
    Name,
    Salutation,
    Phone,
    ContactPhone,
    Lifecycle,
    LeadGrade,
    Source,
    Owner,
    Address,
    Note,
    Segments,
    Plate,
    Vin,
    Brand,
    Model,
    Displacement,
    Transmission,
    Colour,
    DeliveredOn,
    MileageKm,
    LastVisitOn,
    NextServiceOn,
    InspectionDueOn,
    InsuranceDueOn,
}

/// The headers of one source of files: `{"name": …, "columns": {"phone": ["手机", …]}}`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// What it is asked for by.
    pub name: String,
    columns: BTreeMap<Field, Vec<String>>,
}

impl Profile {
    /// The one that comes with Cheling.
    ///
    /// # Panics
    /// Never: a test reads it.
    pub fn standard() -> Self {
        #[allow(clippy::unwrap_used, reason = "a test reads it")]
        Self::parse(include_str!("standard.json")).unwrap()
    }

    /// Reads a profile of the user's own.
    ///
    /// # Errors
    /// What is wrong in the JSON, and where.
    pub fn parse(json: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(json)
    }
}

/// Where the fields are in one file.
#[derive(Clone, Debug, PartialEq)]
pub struct Columns {
    /// Index of the first row below the header.
    pub first_row: usize,
    /// Columns of each field, leftmost first, each with its header.
    by_field: HashMap<Field, Vec<(usize, String)>>,
}

impl Columns {
    /// Finds the header: the row of the first dozen that names most fields, a name and a phone
    /// among them. A cell that is empty there, since cells are merged, counts as the one above.
    pub fn find(table: &Table, profile: &Profile) -> Option<Self> {
        let fields: HashMap<String, Field> = profile
            .columns
            .iter()
            .flat_map(|(&field, names)| names.iter().map(move |name| (plain(name), field)))
            .collect();
        let mut best: Option<Self> = None;
        for (index, row) in table.rows.iter().take(HEADER_ROWS).enumerate() {
            let mut by_field: HashMap<Field, Vec<(usize, String)>> = HashMap::new();
            let width = table.rows[..=index].iter().map(|row| row.cells.len()).max().unwrap_or(0);
            let mut own = 0;
            for column in 0..width {
                let above = index.checked_sub(1).map_or("", |above| table.rows[above].cell(column));
                let here = row.cell(column);
                let header = if here.is_empty() { above } else { here };
                if let Some(&field) = fields.get(&plain(header)) {
                    own += usize::from(!here.is_empty());
                    by_field.entry(field).or_default().push((column, header.to_owned()));
                }
            }
            let names_enough = by_field.contains_key(&Field::Name)
                && (by_field.contains_key(&Field::Phone)
                    || by_field.contains_key(&Field::ContactPhone));
            let is_better = best.as_ref().is_none_or(|best| best.by_field.len() < by_field.len());
            if names_enough && own > 0 && is_better {
                best = Some(Self { first_row: index + 1, by_field });
            }
        }
        best
    }

    /// The columns of a field, leftmost first, each with its header.
    pub fn of(&self, field: Field) -> &[(usize, String)] {
        self.by_field.get(&field).map_or(&[], Vec::as_slice)
    }
}

/// A header without spaces, stars, units in brackets and case.
fn plain(header: &str) -> String {
    let end = header.find(['(', '（']).unwrap_or(header.len());
    header[..end]
        .chars()
        .filter(|c| !c.is_whitespace() && !matches!(c, '*' | ':' | '：' | '_' | '·' | '-'))
        .flat_map(char::to_lowercase)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_profile_that_comes_with_us_is_readable_and_unambiguous() {
        let profile = Profile::standard();
        let mut seen = HashMap::new();
        for (field, names) in &profile.columns {
            for name in names {
                assert_eq!(seen.insert(plain(name), field), None, "{name}");
            }
        }
    }
}
