//! One migration text for both engines, and the few words that differ.
//!
//! A file uses `uuid`, `bigint`, `text`, `boolean`, `double` and `bytes` for types, has one column
//! on a line, and ends each `create table` with a `);` of its own line.

use crate::Engine;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{AssertSqlSafe, SqlSafeStr as _};

/// Number, name and text of each; once released a file never changes.
const FILES: &[(i64, &str, &str)] = &[
    (1, "people", include_str!("../../../migrations/0001_people.sql")),
    (2, "customers", include_str!("../../../migrations/0002_customers.sql")),
    (3, "calls", include_str!("../../../migrations/0003_calls.sql")),
    (4, "pauses", include_str!("../../../migrations/0004_pauses.sql")),
    (5, "routing", include_str!("../../../migrations/0005_routing.sql")),
    (6, "call_guests", include_str!("../../../migrations/0006_call_guests.sql")),
    (7, "digits", include_str!("../../../migrations/0007_digits.sql")),
];

/// All migrations, in the words of `engine`.
pub fn migrator(engine: Engine) -> Migrator {
    Migrator::with_migrations(
        FILES
            .iter()
            .map(|&(version, name, text)| {
                let sql = AssertSqlSafe(translate(engine, text)).into_sql_str();
                Migration::new(version, name.into(), MigrationType::Simple, sql, false)
            })
            .collect(),
    )
}

/// Rewrites the second word of each line, which is where a column's type stands.
fn translate(engine: Engine, text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 256);
    for line in text.lines() {
        if engine == Engine::Sqlite && line == ");" {
            out.push_str(") strict;");
        } else {
            let is_break = |c: char| c == ' ' || c == ',';
            let indent = line.len() - line.trim_start().len();
            let name_end = line[indent..].find(' ').map_or(line.len(), |at| indent + at);
            let gap = line[name_end..].len() - line[name_end..].trim_start().len();
            let start = name_end + gap;
            let end = line[start..].find(is_break).map_or(line.len(), |at| start + at);
            out.push_str(&line[..start]);
            out.push_str(type_word(engine, &line[start..end]));
            out.push_str(&line[end..]);
        }
        out.push('\n');
    }
    out
}

fn type_word(engine: Engine, word: &str) -> &str {
    match (engine, word) {
        (Engine::Sqlite, "uuid" | "bytes") => "blob",
        (Engine::Sqlite, "bigint" | "boolean") => "integer",
        (Engine::Sqlite, "double") => "real",
        (Engine::Postgres, "bytes") => "bytea",
        (Engine::Postgres, "double") => "double precision",
        (_, word) => word,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEUTRAL: &str = "create table t (\n    a uuid, -- a uuid\n    b boolean check (b in ('double')),\n    c double,\n    bytes bytes check (bytes > 0)\n);\n";

    #[test]
    fn types_are_rewritten_and_nothing_else() {
        assert_eq!(
            translate(Engine::Sqlite, NEUTRAL),
            "create table t (\n    a blob, -- a uuid\n    b integer check (b in ('double')),\n    c real,\n    bytes blob check (bytes > 0)\n) strict;\n"
        );
        assert_eq!(
            translate(Engine::Postgres, NEUTRAL),
            "create table t (\n    a uuid, -- a uuid\n    b boolean check (b in ('double')),\n    c double precision,\n    bytes bytea check (bytes > 0)\n);\n"
        );
    }

    #[test]
    fn every_table_is_strict_on_sqlite() {
        for &(_, name, text) in FILES {
            let tables = text.matches("create table ").count();
            let strict = translate(Engine::Sqlite, text).matches(") strict;").count();
            assert_eq!(tables, strict, "{name}");
        }
    }
}
