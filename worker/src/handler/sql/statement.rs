//! SQL texts for SQLite. Identifiers are quoted, values are always bound.

use warifu_common::config::handlers::OnConflict;

use super::plan::{PlannedColumn, Target, WriteMode};

/// The most values that one statement may bind (SQLite's own default).
const MAX_BOUND_VALUES: usize = 32_766;

/// The most rows of one statement: beyond it a longer text gains nothing.
const MAX_ROWS: usize = 500;

/// How many rows of so many columns one statement takes.
pub(super) fn rows_per_statement(columns: usize) -> usize {
    (MAX_BOUND_VALUES / columns.max(1)).clamp(1, MAX_ROWS)
}

/// The same for writing to a target: an update takes one.
pub(super) fn rows_per_write(target: &Target, columns: usize) -> usize {
    match target.mode {
        WriteMode::Update { .. } => 1,
        WriteMode::Insert | WriteMode::InsertIgnore | WriteMode::Upsert { .. } => rows_per_statement(columns),
    }
}

/// Writes rows. Within one statement equal keys act in the order of the rows.
pub(super) fn write_rows(target: &Target, columns: &[PlannedColumn], rows: usize) -> String {
    if let WriteMode::Update { key } = &target.mode {
        return update_row(&target.table, key, columns);
    }
    let names: Vec<String> = columns.iter().map(|column| quoted(&column.name)).collect();
    let row = format!("({})", vec!["?"; columns.len()].join(","));
    let rows = vec![row; rows].join(",");
    let conflict = conflict_clause(&target.mode, columns);
    format!(
        "INSERT INTO {} AS target ({}) VALUES {rows}{conflict}",
        quoted_table(&target.table),
        names.join(",")
    )
}

/// Updates the row whose key is equal; one that is not there is left alone, as SQL has it. Values are bound in the order of
/// the columns, wherever they stand.
fn update_row(table: &str, key: &[String], columns: &[PlannedColumn]) -> String {
    let (mut sets, mut conditions) = (Vec::new(), Vec::new());
    for (column, place) in columns.iter().zip(1..) {
        let part = format!("{} = ?{place}", quoted(&column.name));
        if key.contains(&column.name) { conditions.push(part) } else { sets.push(part) }
    }
    format!("UPDATE {} SET {} WHERE {}", quoted_table(table), sets.join(","), conditions.join(" AND "))
}

fn conflict_clause(mode: &WriteMode, columns: &[PlannedColumn]) -> String {
    let key = match mode {
        WriteMode::Insert | WriteMode::Update { .. } => return String::new(),
        WriteMode::InsertIgnore => return " ON CONFLICT DO NOTHING".to_owned(),
        WriteMode::Upsert { key } => key,
    };
    let sets: Vec<String> =
        columns.iter().filter(|column| !key.contains(&column.name)).filter_map(set_clause).collect();
    let key: Vec<String> = key.iter().map(|name| quoted(name)).collect();
    let action =
        if sets.is_empty() { "NOTHING".to_owned() } else { format!("UPDATE SET {}", sets.join(",")) };
    format!(" ON CONFLICT ({}) DO {action}", key.join(","))
}

/// NULL on one side leaves the other, but under `replace`.
fn set_clause(column: &PlannedColumn) -> Option<String> {
    let name = quoted(&column.name);
    let (old, new) = (format!("target.{name}"), format!("excluded.{name}"));
    let value = match column.on_conflict {
        OnConflict::Keep => return None,
        OnConflict::Replace => new,
        OnConflict::Add => format!("coalesce({old} + {new}, {old}, {new})"),
        OnConflict::Greatest => format!("coalesce(max({old}, {new}), {old}, {new})"),
        OnConflict::Least => format!("coalesce(min({old}, {new}), {old}, {new})"),
        OnConflict::Coalesce => format!("coalesce({new}, {old})"),
    };
    Some(format!("{name} = {value}"))
}

/// Reads what an earlier call under the same key did.
pub(super) const READ_LEDGER: &str =
    "SELECT failures FROM warifu_ledger WHERE map_run_id = ? AND batch_number = ? AND round = ?";

/// Writes down what a call did.
pub(super) const WRITE_LEDGER: &str = "INSERT INTO warifu_ledger (map_run_id, batch_number, round, attempt, item_count, failures, worker, recorded_at) \
     VALUES (?, ?, ?, ?, ?, ?, ?, ?)";

const LEDGER_TABLE: &str = "CREATE TABLE IF NOT EXISTS warifu_ledger (\
    map_run_id TEXT NOT NULL, batch_number INTEGER NOT NULL, round INTEGER NOT NULL, attempt INTEGER NOT NULL, \
    item_count INTEGER NOT NULL, failures TEXT, worker TEXT NOT NULL, recorded_at TEXT NOT NULL, \
    PRIMARY KEY (map_run_id, batch_number, round)) WITHOUT ROWID";

/// Columns of the audit table, in the order of [`write_audit`].
pub(super) const AUDIT_COLUMNS: [&str; 11] = [
    "map_run_id",
    "item_index",
    "round",
    "batch_number",
    "attempt",
    "status",
    "error_type",
    "error_message",
    "item_key",
    "worker",
    "recorded_at",
];

/// Writes audit rows. A row can be there only if its ledger row was deleted; then the newer one is true.
pub(super) fn write_audit(table: &str, rows: usize) -> String {
    let row = format!("({})", ["?"; AUDIT_COLUMNS.len()].join(","));
    let rows = vec![row; rows].join(",");
    format!("INSERT OR REPLACE INTO {} ({}) VALUES {rows}", quoted_table(table), AUDIT_COLUMNS.join(","))
}

/// Creates the ledger and, if it is named, the audit table, unless they are there.
pub fn sqlite_schema(audit_table: Option<&str>) -> Vec<String> {
    let audit = audit_table.map(|table| {
        format!(
            "CREATE TABLE IF NOT EXISTS {} (map_run_id TEXT NOT NULL, item_index INTEGER NOT NULL, \
             round INTEGER NOT NULL, batch_number INTEGER NOT NULL, attempt INTEGER NOT NULL, status TEXT NOT NULL, \
             error_type TEXT, error_message TEXT, item_key TEXT, worker TEXT NOT NULL, recorded_at TEXT NOT NULL, \
             PRIMARY KEY (map_run_id, item_index, round)) WITHOUT ROWID",
            quoted_table(table)
        )
    });
    [LEDGER_TABLE.to_owned()].into_iter().chain(audit).collect()
}

/// A table's schema, `main` unless it is named, and its bare name.
pub(super) fn split_table(table: &str) -> (&str, &str) {
    table.split_once('.').unwrap_or(("main", table))
}

fn quoted_table(table: &str) -> String {
    let parts: Vec<String> = table.splitn(2, '.').map(quoted).collect();
    parts.join(".")
}

fn quoted(identifier: &str) -> String {
    format!("\"{}\"", identifier.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use warifu_common::config::handlers::SqlType;

    fn column(name: &str, on_conflict: OnConflict) -> PlannedColumn {
        let mut column = PlannedColumn::by_name(name, SqlType::Text);
        column.on_conflict = on_conflict;
        column
    }

    #[test]
    fn statements_quote_names_and_bind_values() {
        let columns = [
            column("id", OnConflict::Replace),
            column("a\"b", OnConflict::Add),
            column("c", OnConflict::Keep),
        ];
        let target = |mode| Target { table: "t".into(), mode };
        let insert = r#"INSERT INTO "t" AS target ("id","a""b","c") VALUES (?,?,?),(?,?,?)"#;
        assert_eq!(write_rows(&target(WriteMode::Insert), &columns, 2), insert);
        assert_eq!(
            write_rows(&target(WriteMode::InsertIgnore), &columns, 2),
            format!("{insert} ON CONFLICT DO NOTHING")
        );
        let upsert = WriteMode::Upsert { key: vec!["id".into()] };
        assert_eq!(
            write_rows(&target(upsert.clone()), &columns, 2),
            format!(
                r#"{insert} ON CONFLICT ("id") DO UPDATE SET "a""b" = coalesce(target."a""b" + excluded."a""b", target."a""b", excluded."a""b")"#
            )
        );
        let key_only = write_rows(&target(upsert), &columns[..1], 1);
        assert!(key_only.ends_with(r#"ON CONFLICT ("id") DO NOTHING"#), "{key_only}");
    }

    #[test]
    fn an_update_binds_each_column_where_it_stands() {
        let columns = [column("a", OnConflict::Replace), column("id", OnConflict::Replace)];
        let target = Target { table: "main.t".into(), mode: WriteMode::Update { key: vec!["id".into()] } };
        assert_eq!(write_rows(&target, &columns, 1), r#"UPDATE "main"."t" SET "a" = ?1 WHERE "id" = ?2"#);
        assert_eq!(rows_per_write(&target, 2), 1);
    }

    #[test]
    fn a_statement_never_binds_more_than_sqlite_takes() {
        for columns in [1, 3, 100, 2000, 32_766] {
            assert!(rows_per_statement(columns) * columns <= MAX_BOUND_VALUES);
        }
    }
}
