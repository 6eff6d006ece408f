//! `/imports`: customers from a spreadsheet.

/// Largest form with its file.
pub const LIMIT_BYTES: usize = 50 * 1024 * 1024;
