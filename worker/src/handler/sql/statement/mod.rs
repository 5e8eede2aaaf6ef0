//! SQL texts. Identifiers are quoted, values are always bound.

mod conflict;
mod own_tables;
mod row_function;
#[cfg(test)]
mod tests;

pub use own_tables::schema;
pub(super) use own_tables::{
    AUDIT_COLUMNS, LEDGER_COLUMNS, claim_in_ledger, prune_ledger, read_ledger, write_audit, write_failures,
};
pub(super) use row_function::{call_row_function, row_function};

use super::catalogue::Catalogue;
use super::dialect::Dialect;
use super::plan::{PlannedColumn, Target, WriteMode};
use conflict::{conflict_clause, no_conflict_clause};

/// The most rows of one statement with a text of its own for each number of rows: beyond it a longer text gains nothing.
const MAX_ROWS: usize = 500;

/// How many rows of so many columns one statement takes.
pub(super) fn rows_per_statement(dialect: Dialect, columns: usize) -> usize {
    (dialect.max_bound_values() / columns.max(1)).clamp(1, MAX_ROWS)
}

/// The same for writing to a target: an update takes one, but in PostgreSQL.
pub(super) fn rows_per_write(dialect: Dialect, target: &Target, columns: usize) -> usize {
    match (&target.mode, dialect) {
        (WriteMode::Update { .. }, Dialect::Sqlite | Dialect::MySql) => 1,
        _ => rows_per_statement(dialect, columns),
    }
}

/// Where a statement's rows come from in PostgreSQL, within one that begins with other parameters.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    /// Number of the first array's parameter.
    pub(super) first_parameter: usize,
    /// Which part of each array, as `[1:2]`; empty: all.
    pub(super) slice: &'a str,
    /// Holds for each row; empty: all.
    pub(super) condition: &'a str,
}

impl Place<'_> {
    /// A statement of its own.
    pub(super) const ALONE: Self = Self { first_parameter: 1, slice: "", condition: "" };
}

/// Writes rows. Within one statement equal keys act in the order of the rows; PostgreSQL takes each key once.
pub(super) fn write_rows(
    catalogue: &Catalogue,
    target: &Target,
    columns: &[PlannedColumn],
    rows: usize,
) -> String {
    match catalogue.dialect {
        Dialect::Postgres => write_arrays(catalogue, target, columns, Place::ALONE),
        Dialect::Sqlite | Dialect::MySql => write_values(catalogue.dialect, target, columns, rows),
    }
}

fn write_values(dialect: Dialect, target: &Target, columns: &[PlannedColumn], rows: usize) -> String {
    let (table, names) = (dialect.quoted_table(&target.table), column_names(dialect, columns));
    let values = values(columns.len(), rows);
    match (&target.mode, dialect) {
        (WriteMode::Update { key }, _) => update_row(dialect, target, key, columns),
        // The rows are in the table `batch` already.
        (WriteMode::Statement { sql }, Dialect::MySql) => sql.clone(),
        (WriteMode::Statement { sql }, _) => {
            with_batch(sql, &format!("batch ({names}) AS (VALUES {values})"))
        }
        (mode, Dialect::MySql) => {
            let clause = conflict_clause(dialect, target, mode, columns);
            format!("INSERT INTO {table} ({names}) VALUES {values}{clause}")
        }
        (mode, _) => {
            let clause = conflict_clause(dialect, target, mode, columns);
            format!("INSERT INTO {table} AS target ({names}) VALUES {values}{clause}")
        }
    }
}

/// PostgreSQL: one text array for each column, whatever the number of rows, so that the statement is prepared once.
pub(super) fn write_arrays(
    catalogue: &Catalogue,
    target: &Target,
    columns: &[PlannedColumn],
    place: Place<'_>,
) -> String {
    let dialect = Dialect::Postgres;
    let (table, names) = (dialect.quoted_table(&target.table), column_names(dialect, columns));
    let rows = array_rows(catalogue, columns, place);
    match &target.mode {
        WriteMode::Statement { sql } => with_batch(sql, &format!("batch AS ({rows})")),
        WriteMode::Update { key } => {
            let pair = |left: &str, column: &PlannedColumn| {
                let name = dialect.quoted(&column.name);
                format!("{left}{name} = batch.{name}")
            };
            let (keys, others): (Vec<_>, Vec<_>) =
                columns.iter().partition(|column| key.contains(&column.name));
            let sets: Vec<String> = others.into_iter().map(|column| pair("", column)).collect();
            let mut conditions: Vec<String> =
                keys.into_iter().map(|column| pair("target.", column)).collect();
            conditions.extend(no_conflict_clause(dialect, target, "batch"));
            format!(
                "UPDATE {table} AS target SET {} FROM ({rows}) AS batch WHERE {}",
                sets.join(","),
                conditions.join(" AND ")
            )
        }
        mode => {
            let clause = conflict_clause(dialect, target, mode, columns);
            format!("INSERT INTO {table} AS target ({names}) {rows}{clause}")
        }
    }
}

/// Rows out of arrays, each column cast to its own type: an explicit length would cut what is too long, so none is named.
fn array_rows(catalogue: &Catalogue, columns: &[PlannedColumn], place: Place<'_>) -> String {
    let dialect = Dialect::Postgres;
    let cast = |(column, n): (&PlannedColumn, usize)| {
        let type_name =
            catalogue.cast_of(&column.name).unwrap_or_else(|| dialect.type_name(column.column_type));
        format!("rows.c{n}::{type_name} AS {}", dialect.quoted(&column.name))
    };
    let casts: Vec<String> = columns.iter().zip(1..).map(cast).collect();
    let count = columns.len();
    let array = |n: usize| format!("(${}::text[]){}", place.first_parameter + n, place.slice);
    let arrays: Vec<String> = (0..count).map(array).collect();
    let names: Vec<String> = (1..=count).map(|n| format!("c{n}")).collect();
    let condition =
        if place.condition.is_empty() { String::new() } else { format!(" WHERE {}", place.condition) };
    format!(
        "SELECT {} FROM unnest({}) WITH ORDINALITY AS rows ({},n){condition} ORDER BY rows.n",
        casts.join(","),
        arrays.join(","),
        names.join(",")
    )
}

/// MySQL has no `WITH` before what changes rows, so `batch` is a temporary table of the connection there.
pub(super) fn create_batch_table(columns: &[PlannedColumn]) -> String {
    let dialect = Dialect::MySql;
    let column = |column: &PlannedColumn| {
        format!("{} {}", dialect.quoted(&column.name), dialect.type_name(column.column_type))
    };
    let columns: Vec<String> = columns.iter().map(column).collect();
    format!("CREATE TEMPORARY TABLE batch ({})", columns.join(","))
}

/// Fills MySQL's table `batch`.
pub(super) fn fill_batch_table(columns: &[PlannedColumn], rows: usize) -> String {
    format!(
        "INSERT INTO batch ({}) VALUES {}",
        column_names(Dialect::MySql, columns),
        values(columns.len(), rows)
    )
}

/// Puts the relation in front of a statement that may have relations of its own.
fn with_batch(sql: &str, batch: &str) -> String {
    let text = sql.trim_start();
    let after = |word: &str, text: &str| {
        let (head, rest) = text.split_at_checked(word.len())?;
        (head.eq_ignore_ascii_case(word) && rest.starts_with(char::is_whitespace))
            .then(|| rest.trim_start().to_owned())
    };
    match after("WITH", text) {
        None => format!("WITH {batch} {text}"),
        Some(rest) => match after("RECURSIVE", &rest) {
            None => format!("WITH {batch}, {rest}"),
            Some(rest) => format!("WITH RECURSIVE {batch}, {rest}"),
        },
    }
}

/// Updates the row whose key is equal; one that is not there is left alone, as SQL has it.
///
/// SQLite binds each value where its number stands. MySQL binds them in the order of the text: see [`update_order`].
fn update_row(dialect: Dialect, target: &Target, key: &[String], columns: &[PlannedColumn]) -> String {
    let (mut sets, mut conditions) = (Vec::new(), Vec::new());
    let place_of = |place: usize| match dialect {
        Dialect::MySql => "?".to_owned(),
        Dialect::Sqlite | Dialect::Postgres => format!("?{place}"),
    };
    for (column, place) in columns.iter().zip(1..) {
        let part = format!("{} = {}", dialect.quoted(&column.name), place_of(place));
        if key.contains(&column.name) { conditions.push(part) } else { sets.push(part) }
    }
    if let Some(guard) = &target.guard {
        let place = columns.iter().position(|column| column.name == *guard).map_or(0, |index| index + 1);
        let guard = dialect.quoted(guard);
        conditions.push(format!("coalesce({guard} <= {}, true)", place_of(place)));
    }
    format!(
        "UPDATE {} SET {} WHERE {}",
        dialect.quoted_table(&target.table),
        sets.join(","),
        conditions.join(" AND ")
    )
}

/// The columns whose values MySQL's update binds, in its order: what is set, the key, and once more the guard.
pub(super) fn update_order(target: &Target, columns: &[PlannedColumn]) -> Vec<usize> {
    let is_key = |place: &usize| target.mode.key().contains(&columns[*place].name);
    let guard = columns.iter().position(|column| Some(&column.name) == target.guard.as_ref());
    let (keys, sets): (Vec<usize>, Vec<usize>) = (0..columns.len()).partition(is_key);
    sets.into_iter().chain(keys).chain(guard).collect()
}

fn column_names(dialect: Dialect, columns: &[PlannedColumn]) -> String {
    let names: Vec<String> = columns.iter().map(|column| dialect.quoted(&column.name)).collect();
    names.join(",")
}

/// `(?,?),(?,?)`
fn values(columns: usize, rows: usize) -> String {
    let row = format!("({})", vec!["?"; columns].join(","));
    vec![row; rows].join(",")
}
