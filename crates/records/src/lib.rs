//! Every SQL statement, on SQLite and PostgreSQL.
