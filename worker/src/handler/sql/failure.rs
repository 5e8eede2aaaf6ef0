//! Errors of databases as failures under SQLSTATEs; those of SQLite and MySQL that have none get what PostgreSQL says.

use sqlx::mysql::MySqlDatabaseError;
use sqlx::postgres::PgDatabaseError;
use sqlx::sqlite::SqliteError;
use warifu_common::model::{CallFailure, FailureKind};

use super::value::sql_failure;

/// A row that is in one statement twice: PostgreSQL takes the two one after the other.
const ROW_TWICE: &str = "Sql.21000";

/// Failures that pass: lost and refused connections, shutdowns, too many connections, deadlocks, serialization, locks.
const TRANSIENT: [&str; 6] = ["Sql.08", "Sql.57P0", "Sql.53300", "Sql.40001", "Sql.40P01", "Sql.55P03"];

/// An error of the database as an item's or a call's failure.
pub(super) fn failure_of(error: &sqlx::Error) -> CallFailure {
    let Some(database) = error.as_database_error() else {
        return match error {
            sqlx::Error::Configuration(_) | sqlx::Error::Encode(_) | sqlx::Error::ColumnDecode { .. } => {
                sql_failure("XX000", error.to_string())
            }
            _ => sql_failure("08006", error.to_string()),
        };
    };
    if let Some(postgres) = database.try_downcast_ref::<PgDatabaseError>() {
        return sql_failure(postgres.code(), postgres_cause(postgres));
    }
    if let Some(mysql) = database.try_downcast_ref::<MySqlDatabaseError>() {
        let state = mysql_sqlstate(mysql.number(), mysql.code().unwrap_or("HY000"));
        return sql_failure(state, mysql.message());
    }
    let code = database.try_downcast_ref::<SqliteError>().and_then(|_| database.code()?.parse().ok());
    sql_failure(sqlite_sqlstate(code.unwrap_or(1)), database.message())
}

/// Whether the statement may be cut in halves to find what it refuses.
pub(super) fn is_of_rows(failure: &CallFailure) -> bool {
    failure.kind == FailureKind::Business || failure.error == ROW_TWICE
}

/// Whether it may pass when the same is tried again.
pub(super) fn is_transient(failure: &CallFailure) -> bool {
    TRANSIENT.iter().any(|start| failure.error.starts_with(start))
}

fn postgres_cause(error: &PgDatabaseError) -> String {
    let name = |name: Option<&str>| name.unwrap_or_default().to_owned();
    let names = [("column", name(error.column())), ("constraint", name(error.constraint()))];
    refusal_cause(error.message().to_owned(), names, name(error.detail()))
}

/// The database's words, and the column or constraint that it names besides.
pub(super) fn refusal_cause(message: String, names: [(&str, String); 2], detail: String) -> String {
    let mut cause = message;
    for (what, name) in names {
        if !name.is_empty() && !cause.contains(&name) {
            cause += &format!(" ({what} {name:?})");
        }
    }
    if detail.is_empty() { cause } else { format!("{cause}: {detail}") }
}

/// MySQL's own SQLSTATE, but for errors under which it says nothing: dev.mysql.com/doc/mysql-errors, mariadb.com/kb.
fn mysql_sqlstate(number: u16, own: &str) -> &str {
    match number {
        1366 | 1292 => "22007",        // incorrect value for a column
        1265 | 4078 => "22000",        // data truncated, wrong type
        1364 => "23502",               // no default value
        3819 | 4025 => "23514",        // check
        3140 | 3141 => "22032",        // JSON
        1205 => "55P03",               // lock wait
        1213 => "40001",               // deadlock
        1040 | 1203 => "53300",        // too many connections
        1053 | 1077 | 1927 => "57P01", // shutdown, killed
        1317 => "57014",               // statement cancelled
        1290 | 1836 => "25006",        // read-only
        1114 => "53100",               // table or disk full
        _ => own,
    }
}

/// The SQLSTATE for an extended result code (sqlite.org/rescode.html).
fn sqlite_sqlstate(code: i32) -> &'static str {
    match code {
        1555 | 2067 | 2579 => "23505", // primary key, unique, rowid
        1299 => "23502",               // not null
        275 => "23514",                // check
        787 => "23503",                // foreign key
        3091 => "22P02",               // datatype, in STRICT tables
        _ => primary_sqlstate(code & 0xff),
    }
}

fn primary_sqlstate(code: i32) -> &'static str {
    match code {
        1 => "42000",       // error: SQL that does not fit the schema
        5 | 6 => "55P03",   // busy, locked
        8 => "25006",       // read-only
        7 => "53200",       // out of memory
        10 => "58030",      // I/O
        13 => "53100",      // disk full
        14 => "08001",      // cannot open
        18 => "22001",      // too big
        19 => "23000",      // another constraint
        20 => "22P02",      // mismatch
        11 | 26 => "XX001", // corrupt, not a database
        _ => "XX000",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constraints_are_the_datas_fault_and_the_rest_is_not() {
        let table = [
            (2067, "Sql.23505", FailureKind::Business),
            (1299, "Sql.23502", FailureKind::Business),
            (1811, "Sql.23000", FailureKind::Business),
            (18, "Sql.22001", FailureKind::Business),
            (5, "Sql.55P03", FailureKind::System),
            (517, "Sql.55P03", FailureKind::System),
            (13, "Sql.53100", FailureKind::System),
            (778, "Sql.58030", FailureKind::System),
        ];
        for (code, error, kind) in table {
            let failure = sql_failure(sqlite_sqlstate(code), "");
            assert_eq!((failure.error.as_str(), failure.kind), (error, kind), "{code}");
        }
    }

    #[test]
    fn what_passes_is_told_from_what_stays() {
        for (state, expected) in
            [("08006", true), ("40P01", true), ("57P03", true), ("57014", false), ("23505", false)]
        {
            assert_eq!(is_transient(&sql_failure(state, "")), expected, "{state}");
        }
        assert!(is_of_rows(&sql_failure("21000", "")) && !is_of_rows(&sql_failure("42P01", "")));
    }
}
