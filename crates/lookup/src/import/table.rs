//! CSV and Excel files as rows of text.
//!
//! Belongs here: encodings, delimiters, sheets, and turning cells into text that loses nothing.

use calamine::{Data, Reader as _};
use std::io::Cursor;

/// More rows than any dealership has customers.
const MAX_ROWS: usize = 300_000;
/// Columns beyond this are not read.
const MAX_COLUMNS: usize = 200;

/// A file's rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// In the order of the file.
    pub rows: Vec<Row>,
}

/// One row.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// As the spreadsheet counts, from 1.
    pub number: usize,
    /// Trimmed texts.
    pub cells: Vec<String>,
}

impl Row {
    /// Whether every cell is empty.
    pub fn is_empty(&self) -> bool {
        self.cells.iter().all(String::is_empty)
    }

    /// The cell of a column; empty if the row is shorter.
    pub fn cell(&self, column: usize) -> &str {
        self.cells.get(column).map_or("", String::as_str)
    }
}

/// Why a file is no table.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// Its name ends in none of these.
    #[error("{0:?} is none of .csv, .txt, .xlsx, .xlsm, .xls, .xlsb, .ods")]
    Unknown(String),
    /// It is not what its name says.
    #[error("the file cannot be read: {0}")]
    Unreadable(String),
    /// It has no rows.
    #[error("the file has no rows")]
    Empty,
    /// It has too many.
    #[error("the file has more than {MAX_ROWS} rows")]
    TooLong,
}

impl Table {
    /// Reads a file by the ending of its name.
    ///
    /// # Errors
    /// [`TableError`].
    pub fn read(file_name: &str, bytes: &[u8]) -> Result<Self, TableError> {
        let ending = file_name.rsplit('.').next().unwrap_or("").to_ascii_lowercase();
        let rows = match ending.as_str() {
            "csv" | "txt" | "tsv" => read_csv(bytes)?,
            "xlsx" | "xlsm" | "xls" | "xlsb" | "ods" => read_workbook(bytes)?,
            _ => return Err(TableError::Unknown(file_name.to_owned())),
        };
        if rows.iter().all(Row::is_empty) {
            return Err(TableError::Empty);
        }
        Ok(Self { rows })
    }
}

fn read_csv(bytes: &[u8]) -> Result<Vec<Row>, TableError> {
    let text = decode(bytes);
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(delimiter(&text))
        .from_reader(text.as_bytes());
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|err| TableError::Unreadable(err.to_string()))?;
        if rows.len() >= MAX_ROWS {
            return Err(TableError::TooLong);
        }
        let line = record.position().map_or(rows.len() as u64 + 1, csv::Position::line);
        rows.push(Row {
            number: usize::try_from(line).unwrap_or(usize::MAX),
            cells: record.iter().take(MAX_COLUMNS).map(tidy).collect(),
        });
    }
    Ok(rows)
}

/// UTF-8, with or without its mark; else GB18030, which Excel in China writes.
fn decode(bytes: &[u8]) -> String {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    if let Some((encoding, _)) = encoding_rs::Encoding::for_bom(bytes) {
        return encoding.decode(bytes).0.into_owned();
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => encoding_rs::GB18030.decode(bytes).0.into_owned(),
    }
}

/// The one of comma, tab and semicolon that the first lines have most of.
fn delimiter(text: &str) -> u8 {
    let head: Vec<_> = text.lines().take(5).collect();
    let count = |of: char| head.iter().map(|line| line.matches(of).count()).sum::<usize>();
    [(count(','), b','), (count('\t'), b'\t'), (count(';'), b';')]
        .into_iter()
        .max_by_key(|&(count, delimiter)| (count, delimiter == b','))
        .map_or(b',', |(_, delimiter)| delimiter)
}

fn read_workbook(bytes: &[u8]) -> Result<Vec<Row>, TableError> {
    let unreadable = |err: calamine::Error| TableError::Unreadable(err.to_string());
    let mut book = calamine::open_workbook_auto_from_rs(Cursor::new(bytes)).map_err(unreadable)?;
    // The first sheet that holds anything.
    for name in book.sheet_names() {
        let range = book.worksheet_range(&name).map_err(unreadable)?;
        if range.is_empty() {
            continue;
        }
        if range.height() > MAX_ROWS {
            return Err(TableError::TooLong);
        }
        let (first_row, first_column) = range.start().unwrap_or_default();
        let rows = range.rows().zip(first_row as usize + 1..).map(|(cells, number)| {
            let indent = std::iter::repeat_n(String::new(), first_column as usize);
            let cells = indent.chain(cells.iter().map(cell_text)).take(MAX_COLUMNS).collect();
            Row { number, cells }
        });
        return Ok(rows.collect());
    }
    Err(TableError::Empty)
}

/// A whole number without `.0`, a date as `2026-11-22`, all else as it is.
fn cell_text(cell: &Data) -> String {
    match cell {
        Data::Float(value) if value.fract() == 0.0 && value.abs() < 1e15 => format!("{value:.0}"),
        Data::DateTime(moment) => match super::serial_date(moment.as_f64()) {
            Some(date) => date.to_string(),
            None => moment.as_f64().to_string(),
        },
        Data::Error(_) | Data::Empty => String::new(),
        other => tidy(&other.to_string()),
    }
}

fn tidy(text: &str) -> String {
    // Excel's no-break and full-width spaces, and the apostrophe that marks text.
    text.trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}' || c == '\'').to_owned()
}
