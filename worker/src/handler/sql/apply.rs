//! One call's effect within a transaction: ledger, rows, audit.

use std::ops::Range;

use serde::{Deserialize, Serialize};
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteConnection};
use sqlx::{AssertSqlSafe, Row, Sqlite};
use warifu_common::model::{CallFailure, FailureKind};

use super::datetime::rfc3339;
use super::plan::{PlannedRow, Target, number};
use super::sqlite_error::failure_of;
use super::statement::{
    AUDIT_COLUMNS, READ_LEDGER, WRITE_LEDGER, rows_per_statement, rows_per_write, write_audit, write_rows,
};
use super::value::SqlValue;
use super::writer::Job;
use crate::clock::wall_now;
use crate::handler::FailedItem;

/// Where calls write to.
#[derive(Debug, Clone)]
pub(super) struct Tables {
    pub(super) target: std::sync::Arc<Target>,
    pub(super) audit: Option<String>,
}

/// One failed item as the ledger keeps it.
#[derive(Debug, Serialize, Deserialize)]
struct LedgerFailure {
    position: usize,
    error: String,
    cause: String,
    business: bool,
}

/// Applies a call, or finds that it was applied: either way these are its failed items.
///
/// An error means that the caller must roll back: something around the items is at fault.
pub(super) async fn apply(
    connection: &mut SqliteConnection,
    tables: &Tables,
    job: &Job,
) -> Result<Vec<FailedItem>, CallFailure> {
    if let Some(failures) = read_ledger(connection, job).await? {
        return Ok(failures);
    }
    let failures = apply_rows(connection, &tables.target, job).await?;
    if let Some(audit) = &tables.audit {
        write_audit_rows(connection, audit, &tables.target, job, &failures).await?;
    }
    write_ledger(connection, job, &failures).await?;
    Ok(failures)
}

async fn read_ledger(
    connection: &mut SqliteConnection,
    job: &Job,
) -> Result<Option<Vec<FailedItem>>, CallFailure> {
    let key = job.key();
    let query = bind_all(sqlx::query(READ_LEDGER), &key);
    let row = query.fetch_optional(connection).await.map_err(|error| failure_of(&error))?;
    let Some(row) = row else { return Ok(None) };
    let failures: Option<String> = row.try_get(0).map_err(|error| failure_of(&error))?;
    let Some(failures) = failures else { return Ok(Some(Vec::new())) };
    let failures: Vec<LedgerFailure> = serde_json::from_str(&failures).map_err(|error| {
        CallFailure::system("Sql.XX001", format!("the ledger row of this batch is damaged: {error}"))
    })?;
    Ok(Some(failures.into_iter().map(LedgerFailure::into_item).collect()))
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

async fn write_ledger(
    connection: &mut SqliteConnection,
    job: &Job,
    failures: &[FailedItem],
) -> Result<(), CallFailure> {
    let kept: Vec<_> = failures.iter().map(LedgerFailure::of).collect();
    let kept = if kept.is_empty() {
        SqlValue::Null
    } else {
        SqlValue::Text(serde_json::to_string(&kept).expect("texts and numbers are JSON"))
    };
    let more = [
        SqlValue::Integer(i64::from(job.identity.attempt)),
        number(job.rows.len() as u64),
        kept,
        SqlValue::Text(job.worker.to_string()),
        SqlValue::Text(rfc3339(wall_now())),
    ];
    let key = job.key();
    let query = bind_all(bind_all(sqlx::query(WRITE_LEDGER), &key), &more);
    query.execute(connection).await.map_err(|error| failure_of(&error))?;
    Ok(())
}

/// Writes the rows in order, and finds those that the database refuses.
///
/// A statement that fails leaves nothing of itself behind (SQLite backs it out alone), so it is cut in halves until the
/// refused row stands alone: k refused rows of n take about k log n statements.
async fn apply_rows(
    connection: &mut SqliteConnection,
    target: &Target,
    job: &Job,
) -> Result<Vec<FailedItem>, CallFailure> {
    let mut failures = Vec::new();
    let mut good: Vec<(usize, &[SqlValue])> = Vec::with_capacity(job.rows.len());
    for (position, PlannedRow { values, .. }) in job.rows.iter().enumerate() {
        match values {
            Ok(values) => good.push((position, values)),
            Err(failure) => failures.push(FailedItem { position, failure: failure.clone() }),
        }
    }
    let step = rows_per_write(target, job.columns.len());
    let mut waiting: Vec<Range<usize>> =
        (0..good.len()).step_by(step).map(|start| start..good.len().min(start + step)).rev().collect();
    while let Some(range) = waiting.pop() {
        let Err(error) = write_range(connection, target, job, &good[range.clone()]).await else { continue };
        let failure = failure_of(&error);
        if failure.kind == FailureKind::System {
            return Err(failure);
        }
        if let [(position, _)] = good[range.clone()] {
            failures.push(FailedItem { position, failure });
        } else {
            let middle = range.start + range.len() / 2;
            waiting.extend([middle..range.end, range.start..middle]);
        }
    }
    failures.sort_by_key(|failed| failed.position);
    Ok(failures)
}

async fn write_range(
    connection: &mut SqliteConnection,
    target: &Target,
    job: &Job,
    rows: &[(usize, &[SqlValue])],
) -> Result<(), sqlx::Error> {
    let sql = write_rows(target, &job.columns, rows.len());
    let query =
        rows.iter().fold(sqlx::query(AssertSqlSafe(sql)), |query, (_, values)| bind_all(query, values));
    query.execute(connection).await?;
    Ok(())
}

async fn write_audit_rows(
    connection: &mut SqliteConnection,
    table: &str,
    target: &Target,
    job: &Job,
    failures: &[FailedItem],
) -> Result<(), CallFailure> {
    let recorded_at = rfc3339(wall_now());
    let mut failures = failures.iter().peekable();
    let mut rows: Vec<[SqlValue; AUDIT_COLUMNS.len()]> = Vec::with_capacity(job.rows.len());
    for (position, row) in job.rows.iter().enumerate() {
        let failed = failures.next_if(|failed| failed.position == position);
        rows.push(audit_row(job, target, row, failed.map(|failed| &failed.failure), &recorded_at));
    }
    for rows in rows.chunks(rows_per_statement(AUDIT_COLUMNS.len())) {
        let query = sqlx::query(AssertSqlSafe(write_audit(table, rows.len())));
        let query = rows.iter().fold(query, |query, row| bind_all(query, row));
        query.execute(&mut *connection).await.map_err(|error| audit_failure(table, &error))?;
    }
    Ok(())
}

/// An audit table that refuses a row is not the item's fault.
fn audit_failure(table: &str, error: &sqlx::Error) -> CallFailure {
    let failure = failure_of(error);
    CallFailure::system(failure.error, format!("the audit table {table:?} refuses a row: {}", failure.cause))
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
    let part = |name: &String| {
        let place = job.columns.iter().position(|column| column.name == *name)?;
        match &values[place] {
            SqlValue::Text(text) => Some(text.clone()),
            SqlValue::Integer(value) => Some(value.to_string()),
            SqlValue::Real(value) => Some(value.to_string()),
            SqlValue::Null | SqlValue::Blob(_) => None,
        }
    };
    let parts: Option<Vec<String>> = key.iter().map(part).collect();
    parts.map_or(SqlValue::Null, |parts| SqlValue::Text(parts.join(",")))
}

fn bind_all<'q>(
    query: Query<'q, Sqlite, SqliteArguments>,
    values: &'q [SqlValue],
) -> Query<'q, Sqlite, SqliteArguments> {
    values.iter().fold(query, |query, value| match value {
        SqlValue::Null => query.bind(None::<i64>),
        SqlValue::Integer(value) => query.bind(*value),
        SqlValue::Real(value) => query.bind(*value),
        SqlValue::Text(value) => query.bind(value.as_str()),
        SqlValue::Blob(value) => query.bind(value.as_slice()),
    })
}
