//! SQLite's errors under the SQLSTATEs that other databases give in their place.

use warifu_common::model::CallFailure;

use super::value::sql_failure;

/// An error of the database as an item's or a call's failure.
pub(super) fn failure_of(error: &sqlx::Error) -> CallFailure {
    let Some(database) = error.as_database_error() else {
        return sql_failure("08006", error.to_string());
    };
    let code = database.code().and_then(|code| code.parse().ok()).unwrap_or(1);
    sql_failure(sqlstate(code), database.message().to_owned())
}

/// The SQLSTATE for an extended result code (sqlite.org/rescode.html).
fn sqlstate(code: i32) -> &'static str {
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
    use warifu_common::model::FailureKind;

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
            let failure = sql_failure(sqlstate(code), "");
            assert_eq!((failure.error.as_str(), failure.kind), (error, kind), "{code}");
        }
    }
}
