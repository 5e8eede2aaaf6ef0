//! What happens to a row whose key is there already.

use warifu_common::config::handlers::OnConflict;

use crate::handler::sql::dialect::Dialect;
use crate::handler::sql::plan::{PlannedColumn, Target, WriteMode};

/// The end of an insert.
pub(super) fn conflict_clause(
    dialect: Dialect,
    target: &Target,
    mode: &WriteMode,
    columns: &[PlannedColumn],
) -> String {
    let key = match mode {
        WriteMode::Insert | WriteMode::Update { .. } | WriteMode::Statement { .. } => return String::new(),
        WriteMode::InsertIgnore => &[][..],
        WriteMode::Upsert { key } => key,
    };
    let ignores = matches!(mode, WriteMode::InsertIgnore);
    // The guard goes last: MySQL's assignments see those before them.
    let is_guard = |column: &&PlannedColumn| Some(&column.name) == target.guard.as_ref();
    let changed = columns.iter().filter(|column| !ignores && !key.contains(&column.name));
    let (guard, others): (Vec<_>, Vec<_>) = changed.partition(is_guard);
    let sets: Vec<String> =
        others.into_iter().chain(guard).filter_map(|column| set_clause(dialect, target, column)).collect();
    if dialect == Dialect::MySql {
        let nothing = || {
            columns.first().map(|column| dialect.quoted(&column.name)).map(|name| format!("{name} = {name}"))
        };
        let sets = if sets.is_empty() { nothing().unwrap_or_default() } else { sets.join(",") };
        return format!(" ON DUPLICATE KEY UPDATE {sets}");
    }
    if ignores {
        return " ON CONFLICT DO NOTHING".to_owned();
    }
    let key: Vec<String> = key.iter().map(|name| dialect.quoted(name)).collect();
    let action = if sets.is_empty() {
        "NOTHING".to_owned()
    } else {
        let guard = no_conflict_clause(dialect, target, "excluded");
        let guard = guard.map(|guard| format!(" WHERE {guard}")).unwrap_or_default();
        format!("UPDATE SET {}{guard}", sets.join(","))
    };
    format!(" ON CONFLICT ({}) DO {action}", key.join(","))
}

/// Holds if the row that is there is not of a later item.
pub(super) fn no_conflict_clause(dialect: Dialect, target: &Target, new: &str) -> Option<String> {
    let guard = dialect.quoted(target.guard.as_ref()?);
    Some(format!("coalesce(target.{guard} <= {new}.{guard}, true)"))
}

/// NULL on one side leaves the other, but under `replace`.
fn set_clause(dialect: Dialect, target: &Target, column: &PlannedColumn) -> Option<String> {
    let name = dialect.quoted(&column.name);
    let (old, new) = match dialect {
        Dialect::Sqlite | Dialect::Postgres => (format!("target.{name}"), format!("excluded.{name}")),
        Dialect::MySql => (name.clone(), format!("VALUES({name})")),
    };
    // SQLite's max and min of two are what others call greatest and least; PostgreSQL's pass over NULL by themselves.
    let (greatest, least) = match dialect {
        Dialect::Sqlite => ("max", "min"),
        Dialect::Postgres | Dialect::MySql => ("greatest", "least"),
    };
    let value = match column.on_conflict {
        OnConflict::Keep => return None,
        OnConflict::Replace => new,
        OnConflict::Add => format!("coalesce({old} + {new}, {old}, {new})"),
        OnConflict::Greatest => format!("coalesce({greatest}({old}, {new}), {old}, {new})"),
        OnConflict::Least => format!("coalesce({least}({old}, {new}), {old}, {new})"),
        OnConflict::Coalesce => format!("coalesce({new}, {old})"),
    };
    let value = match (&target.guard, dialect) {
        (Some(guard), Dialect::MySql) => {
            let guard = dialect.quoted(guard);
            format!("if(coalesce({guard} <= VALUES({guard}), true), {value}, {name})")
        }
        _ => value,
    };
    Some(format!("{name} = {value}"))
}
