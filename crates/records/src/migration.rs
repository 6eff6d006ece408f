//! One migration text for both engines, and the few words that differ.
//!
//! A file uses `uuid`, `bigint`, `text`, `boolean`, `double` and `bytes` for types, and ends each
//! `create table` with a `);` of its own line.

use crate::Engine;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{AssertSqlSafe, SqlSafeStr as _};

/// Number, name and text of each; once released a file never changes.
const FILES: &[(i64, &str, &str)] = &[
    (1, "people", include_str!("../../../migrations/0001_people.sql")),
    (2, "customers", include_str!("../../../migrations/0002_customers.sql")),
    (3, "calls", include_str!("../../../migrations/0003_calls.sql")),
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

/// Rewrites the types outside comments and quotes.
fn translate(engine: Engine, text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 256);
    for line in text.lines() {
        let (code, comment) = line.split_at(line.find("--").unwrap_or(line.len()));
        if engine == Engine::Sqlite && code.trim_end() == ");" {
            out.push_str(") strict;");
        } else {
            translate_words(engine, code, &mut out);
        }
        out.push_str(comment);
        out.push('\n');
    }
    out
}

fn translate_words(engine: Engine, code: &str, out: &mut String) {
    // Every second piece between quotes is a literal.
    for (index, piece) in code.split('\'').enumerate() {
        if index > 0 {
            out.push('\'');
        }
        if index % 2 == 1 {
            out.push_str(piece);
            continue;
        }
        for word in piece.split_inclusive(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
            let end = word.trim_end_matches(|c: char| !c.is_ascii_alphanumeric() && c != '_').len();
            let (name, rest) = word.split_at(end);
            out.push_str(type_word(engine, name));
            out.push_str(rest);
        }
    }
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

    const NEUTRAL: &str = "create table t (\n    a uuid, -- a uuid\n    b boolean check (b in ('double')),\n    c double,\n    d bytes\n);\n";

    #[test]
    fn types_are_rewritten_but_comments_and_literals_are_not() {
        assert_eq!(
            translate(Engine::Sqlite, NEUTRAL),
            "create table t (\n    a blob, -- a uuid\n    b integer check (b in ('double')),\n    c real,\n    d blob\n) strict;\n"
        );
        assert_eq!(
            translate(Engine::Postgres, NEUTRAL),
            "create table t (\n    a uuid, -- a uuid\n    b boolean check (b in ('double')),\n    c double precision,\n    d bytea\n);\n"
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
