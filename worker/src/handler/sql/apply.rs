//! One call's effect within a transaction: ledger, rows, audit.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use warifu_common::model::{CallFailure, FailureKind};

use super::catalogue::Catalogue;
use super::datetime::rfc3339;
use super::dialect::Dialect;
use super::failure::{failure_of, is_of_rows, refusal_cause};
use super::job::Job;
use super::plan::{PlannedColumn, PlannedRow, Target, WriteMode, number};
use super::session::Session;
use super::statement::{
    AUDIT_COLUMNS, LEDGER_COLUMNS, call_row_function, claim_in_ledger, fill_batch_table, read_ledger,
    rows_per_statement, rows_per_write, update_order, write_audit, write_failures, write_rows,
};
use super::value::{SqlValue, sql_failure};
use crate::clock::wall_now;
use crate::handler::FailedItem;

/// Where calls write to.
#[derive(Debug)]
pub(super) struct Tables {
    pub(super) target: Arc<Target>,
    pub(super) audit: Option<String>,
    pub(super) catalogue: Catalogue,
}

/// One failed item as the ledger keeps it.
#[derive(Debug, Serialize, Deserialize)]
struct LedgerFailure {
    position: usize,
    error: String,
    cause: String,
    business: bool,
}

/// A row that is fit to be written, by its position among the items.
pub(super) type GoodRow<'a> = (usize, &'a [SqlValue]);

/// Applies a call, or finds that it was applied: either way these are its failed items.
///
/// An error means that the caller must roll back: something around the items is at fault.
pub(super) async fn apply(
    session: &mut Session,
    tables: &Tables,
    job: &Job,
) -> Result<Vec<FailedItem>, CallFailure> {
    let (good, unfit) = sort_rows(job);
    if !claim(session, job, &unfit).await? {
        return read_outcome(session, job).await;
    }
    let known = unfit.len();
    let failures = apply_rows(session, tables, job, good, unfit).await?;
    if let Some(audit) = &tables.audit {
        write_audit_rows(session, audit, &tables.target, job, &failures).await?;
    }
    if failures.len() > known {
        let values: Vec<SqlValue> = [failures_json(&failures)].into_iter().chain(job.key()).collect();
        let sql = write_failures(session.dialect());
        session.execute(&sql, &values).await.map_err(|error| failure_of(&error))?;
    }
    Ok(failures)
}

/// Takes the ledger's row of the call; whether it was free.
async fn claim(session: &mut Session, job: &Job, unfit: &[FailedItem]) -> Result<bool, CallFailure> {
    let sql = claim_in_ledger(session.dialect());
    match session.execute(&sql, &ledger_row(job, unfit)).await {
        Ok(rows) => Ok(rows > 0),
        Err(error) if session.dialect() == Dialect::MySql && is_unique_violation(&error) => Ok(false),
        Err(error) => Err(failure_of(&error)),
    }
}

fn is_unique_violation(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(sqlx::error::DatabaseError::is_unique_violation)
}

/// What became of a call that was applied before.
pub(super) async fn read_outcome(session: &mut Session, job: &Job) -> Result<Vec<FailedItem>, CallFailure> {
    let rows = session.fetch_rows(&read_ledger(session.dialect()), &job.key()).await;
    let rows = rows.map_err(|error| failure_of(&error))?;
    let Some(failures) = rows.into_iter().next().and_then(|row| row.into_iter().next()) else {
        // It was there a moment ago: whoever deleted it decided that it is not needed.
        return Err(CallFailure::system("Sql.40001", "the ledger's row of this batch was deleted meanwhile"));
    };
    let Some(failures) = failures else { return Ok(Vec::new()) };
    let failures: Vec<LedgerFailure> = serde_json::from_str(&failures).map_err(|error| {
        CallFailure::system("Sql.XX001", format!("the ledger row of this batch is damaged: {error}"))
    })?;
    Ok(failures.into_iter().map(LedgerFailure::into_item).collect())
}

impl LedgerFailure {
    fn of(failed: &FailedItem) -> Self {
        let FailedItem { position, failure } = failed.clone();
        let business = failure.kind == FailureKind::Business;
        Self { position, error: failure.error, cause: failure.cause, business }
    }

    fn into_item(self) -> FailedItem {
        let kind = if self.business { FailureKind::Business } else { FailureKind::System };
        let failure = CallFailure { error: self.error, cause: self.cause, kind, retryable: false };
        FailedItem { position: self.position, failure }
    }
}

fn failures_json(failures: &[FailedItem]) -> SqlValue {
    if failures.is_empty() {
        return SqlValue::Null;
    }
    let kept: Vec<_> = failures.iter().map(LedgerFailure::of).collect();
    SqlValue::Text(serde_json::to_string(&kept).expect("texts and numbers are JSON"))
}

/// The ledger's row of a call in which these items fail.
pub(super) fn ledger_row(job: &Job, failures: &[FailedItem]) -> [SqlValue; LEDGER_COLUMNS.len()] {
    let [map_run, batch, round] = job.key();
    [
        map_run,
        batch,
        round,
        SqlValue::Integer(i64::from(job.identity.attempt)),
        number(job.rows.len() as u64),
        failures_json(failures),
        SqlValue::Text(job.worker.to_string()),
        SqlValue::Text(rfc3339(wall_now())),
    ]
}

/// The rows that can be written, and the items that failed before.
pub(super) fn sort_rows(job: &Job) -> (Vec<GoodRow<'_>>, Vec<FailedItem>) {
    let mut failures = Vec::new();
    let mut good = Vec::with_capacity(job.rows.len());
    for (position, PlannedRow { values, .. }) in job.rows.iter().enumerate() {
        match values {
            Ok(values) => good.push((position, values.as_slice())),
            Err(failure) => failures.push(FailedItem { position, failure: failure.clone() }),
        }
    }
    (good, failures)
}

/// Writes the rows, and finds those that the database refuses; they join the failures so far.
///
/// A statement that fails leaves nothing of itself behind, so it is cut in halves until the refused row stands alone: k
/// refused rows of n take about k log n statements.
async fn apply_rows(
    session: &mut Session,
    tables: &Tables,
    job: &Job,
    good: Vec<GoodRow<'_>>,
    mut failures: Vec<FailedItem>,
) -> Result<Vec<FailedItem>, CallFailure> {
    let layers = layers(session.dialect(), &tables.target, &job.columns, good);
    if session.has_row_function() {
        failures.extend(write_in_halves(session, job, &layers.concat()).await?);
        failures.sort_by_key(|failed| failed.position);
        return Ok(failures);
    }
    let step = rows_per_write(session.dialect(), &tables.target, job.columns.len());
    for layer in layers {
        let mut waiting: Vec<Range<usize>> =
            (0..layer.len()).step_by(step).map(|start| start..layer.len().min(start + step)).rev().collect();
        while let Some(range) = waiting.pop() {
            let rows = &layer[range.clone()];
            let Err(error) = write_range(session, tables, job, rows).await else { continue };
            let failure = failure_of(&error);
            if !is_of_rows(&failure) {
                return Err(failure);
            }
            if let [(position, _)] = rows {
                failures.push(FailedItem { position: *position, failure });
            } else {
                let middle = range.start + range.len() / 2;
                waiting.extend([middle..range.end, range.start..middle]);
            }
        }
    }
    failures.sort_by_key(|failed| failed.position);
    Ok(failures)
}

/// PostgreSQL's own function finds what it refuses, in one call.
async fn write_in_halves(
    session: &mut Session,
    job: &Job,
    rows: &[GoodRow<'_>],
) -> Result<Vec<FailedItem>, CallFailure> {
    let values: Vec<&[SqlValue]> = rows.iter().map(|(_, values)| *values).collect();
    let columns = job.columns.len();
    let refused = session.fetch_for_rows(&call_row_function(columns), &values, columns).await;
    let refused = refused.map_err(|error| failure_of(&error))?;
    let failed_item = |refused: Vec<Option<String>>| {
        let mut parts = refused.into_iter().map(Option::unwrap_or_default);
        let mut part = || parts.next().unwrap_or_default();
        let (place, state) = (part().parse::<usize>().unwrap_or(0), part());
        let (position, _) = rows.get(place.checked_sub(1)?)?;
        let cause = refusal_cause(part(), [("column", part()), ("constraint", part())], part());
        Some(FailedItem { position: *position, failure: sql_failure(&state, cause) })
    };
    Ok(refused.into_iter().filter_map(failed_item).collect())
}

/// Rows to be written one list after another.
///
/// PostgreSQL takes a key once in a statement, so the n-th row of each key goes into the n-th list. Where several
/// connections write, rows go in the order of their keys, lest two calls wait for each other; equal keys stay in order.
pub(super) fn layers<'a>(
    dialect: Dialect,
    target: &Target,
    columns: &[PlannedColumn],
    rows: Vec<GoodRow<'a>>,
) -> Vec<Vec<GoodRow<'a>>> {
    let key: Vec<usize> = target.mode.key().iter().filter_map(|name| place_of(columns, name)).collect();
    if key.is_empty() || dialect == Dialect::Sqlite {
        return vec![rows];
    }
    let key_of = |row: &GoodRow<'_>| key.iter().map(|place| row.1[*place].sort_key()).collect::<Vec<_>>();
    let mut keyed: Vec<(Vec<String>, GoodRow<'a>)> =
        rows.into_iter().map(|row| (key_of(&row), row)).collect();
    keyed.sort_by(|a, b| a.0.cmp(&b.0));
    if dialect == Dialect::MySql {
        return vec![keyed.into_iter().map(|(_, row)| row).collect()];
    }
    let mut layers: Vec<Vec<GoodRow<'a>>> = vec![Vec::with_capacity(keyed.len())];
    let mut seen: HashMap<Vec<String>, usize> = HashMap::with_capacity(keyed.len());
    for (key, row) in keyed {
        let count = seen.entry(key).or_default();
        if *count == layers.len() {
            layers.push(Vec::new());
        }
        layers[*count].push(row);
        *count += 1;
    }
    layers
}

fn place_of(columns: &[PlannedColumn], name: &str) -> Option<usize> {
    columns.iter().position(|column| column.name == name)
}

/// Writes rows by one statement; after an error nothing of it is left, and the transaction goes on.
async fn write_range(
    session: &mut Session,
    tables: &Tables,
    job: &Job,
    rows: &[GoodRow<'_>],
) -> Result<(), sqlx::Error> {
    let (target, columns) = (&*tables.target, &*job.columns);
    let values: Vec<&[SqlValue]> = rows.iter().map(|(_, values)| *values).collect();
    let sql = write_rows(&tables.catalogue, target, columns, rows.len());
    match (session.dialect(), &target.mode) {
        // An error ends a transaction of PostgreSQL, but for its savepoints.
        (Dialect::Postgres, _) => {
            session.run("SAVEPOINT part").await?;
            let written = session.execute_rows(&sql, &values, columns.len()).await;
            if written.as_ref().is_err_and(|error| error.as_database_error().is_some()) {
                session.run("ROLLBACK TO SAVEPOINT part").await?;
            }
            written
        }
        (Dialect::MySql, WriteMode::Statement { .. }) => {
            session.run("DELETE FROM batch").await?;
            session.execute_rows(&fill_batch_table(columns, rows.len()), &values, columns.len()).await?;
            session.execute_rows(&sql, &[], 0).await
        }
        (Dialect::MySql, WriteMode::Update { .. }) => {
            let order = update_order(target, columns);
            let ordered: Vec<Vec<SqlValue>> =
                values.iter().map(|row| order.iter().map(|place| row[*place].clone()).collect()).collect();
            let ordered: Vec<&[SqlValue]> = ordered.iter().map(Vec::as_slice).collect();
            session.execute_rows(&sql, &ordered, order.len()).await
        }
        _ => session.execute_rows(&sql, &values, columns.len()).await,
    }
}

async fn write_audit_rows(
    session: &mut Session,
    table: &str,
    target: &Target,
    job: &Job,
    failures: &[FailedItem],
) -> Result<(), CallFailure> {
    let dialect = session.dialect();
    let rows = audit_rows(target, job, failures);
    for rows in rows.chunks(rows_per_statement(dialect, AUDIT_COLUMNS.len())) {
        let values: Vec<&[SqlValue]> = rows.iter().map(<[SqlValue; _]>::as_slice).collect();
        let sql = write_audit(dialect, table, rows.len(), 1, "");
        let written = session.execute_rows(&sql, &values, AUDIT_COLUMNS.len()).await;
        written.map_err(|error| audit_failure(table, &error))?;
    }
    Ok(())
}

/// An audit table that refuses a row is not the item's fault.
fn audit_failure(table: &str, error: &sqlx::Error) -> CallFailure {
    let failure = failure_of(error);
    CallFailure::system(failure.error, format!("the audit table {table:?} refuses a row: {}", failure.cause))
}

/// A row for each item of a call.
pub(super) fn audit_rows(
    target: &Target,
    job: &Job,
    failures: &[FailedItem],
) -> Vec<[SqlValue; AUDIT_COLUMNS.len()]> {
    let recorded_at = rfc3339(wall_now());
    let mut failures = failures.iter().peekable();
    let row = |(position, row): (usize, &PlannedRow)| {
        let failed = failures.next_if(|failed| failed.position == position);
        audit_row(job, target, row, failed.map(|failed| &failed.failure), &recorded_at)
    };
    job.rows.iter().enumerate().map(row).collect()
}

fn audit_row(
    job: &Job,
    target: &Target,
    row: &PlannedRow,
    failure: Option<&CallFailure>,
    recorded_at: &str,
) -> [SqlValue; AUDIT_COLUMNS.len()] {
    let text = |text: &str| SqlValue::Text(text.to_owned());
    let status = if failure.is_some() { "FAILED" } else { "SUCCEEDED" };
    let failed =
        |part: fn(&CallFailure) -> &str| failure.map_or(SqlValue::Null, |failure| text(part(failure)));
    [
        text(job.map_run.as_str()),
        number(row.index),
        SqlValue::Integer(i64::from(job.identity.round)),
        number(job.identity.batch_number),
        SqlValue::Integer(i64::from(job.identity.attempt)),
        text(status),
        failed(|failure| &failure.error),
        failed(|failure| &failure.cause),
        item_key(job, target, row),
        text(job.worker.as_str()),
        text(recorded_at),
    ]
}

/// The row's key as text; the parts of one with several columns are joined by commas.
fn item_key(job: &Job, target: &Target, row: &PlannedRow) -> SqlValue {
    let (key @ [_, ..], Ok(values)) = (target.mode.key(), &row.values) else { return SqlValue::Null };
    let part = |name: &String| match &values[place_of(&job.columns, name)?] {
        SqlValue::Text(text) => Some(text.clone()),
        SqlValue::Integer(value) => Some(value.to_string()),
        SqlValue::Real(value) => Some(value.to_string()),
        SqlValue::Null | SqlValue::Blob(_) => None,
    };
    let parts: Option<Vec<String>> = key.iter().map(part).collect();
    parts.map_or(SqlValue::Null, |parts| SqlValue::Text(parts.join(",")))
}
