//! Connections to a database server: a call takes an idle one or opens one, and gives it back.
//!
//! Not sqlx's pool: it hides why a database cannot be reached behind a timeout, leaves a transaction open when beginning it
//! is cancelled, and does not know what the server calls a connection, which cancelling needs.
//!
//! - **Invariant:** a transaction runs in a task that nothing cancels; a call that gives up tells the server to end the
//!   statement, and the task rolls back.
//! - **Invariant:** a connection goes back only when no transaction can be open on it, and no cancellation on its way to it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};
use warifu_common::model::CallFailure;

use super::apply::{Tables, apply, audit_rows, layers, ledger_row, read_outcome, sort_rows};
use super::failure::{failure_of, is_of_rows, is_transient};
use super::job::{Job, Outcome, as_answer, gone};
use super::open::connect;
use super::plan::{PlannedColumn, WriteMode};
use super::session::{Session, fetch_count};
use super::statement::{
    AUDIT_COLUMNS, LEDGER_COLUMNS, Place, claim_in_ledger, row_function, rows_per_write, write_arrays,
    write_audit,
};
use super::value::{SqlValue, sql_failure};
use crate::handler::{FailedItem, HandlerAnswer};

/// How long a call tries again while the database restarts, refuses connections or breaks deadlocks.
pub(super) const UNAVAILABLE_PATIENCE: Duration = Duration::from_secs(60);

/// Waits between two tries: the first, and the longest.
const RETRY_DELAY: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(2));

/// How long cancelling may take, and how long the statement may then still run.
const CANCEL_PATIENCE: Duration = Duration::from_secs(3);

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The connections of one handler.
pub(super) struct Pool(Arc<Shared>);

struct Shared {
    url: String,
    columns: Option<Arc<[PlannedColumn]>>,
    tables: Arc<Tables>,
    idle: Mutex<Vec<Pooled>>,
    /// One for each connection that may be in use.
    permits: Semaphore,
}

struct Pooled {
    session: Session,
    /// What the server calls it.
    server_id: Option<String>,
}

impl Pool {
    /// Starts with one connection; at most `max_connections` are in use at once.
    pub(super) async fn start(
        url: String,
        columns: Option<Arc<[PlannedColumn]>>,
        tables: Arc<Tables>,
        session: Session,
        max_connections: usize,
    ) -> Result<Self, String> {
        let first = Pooled::of(session).await.map_err(|failure| failure.cause)?;
        let (idle, permits) = (Mutex::new(vec![first]), Semaphore::new(max_connections));
        Ok(Self(Arc::new(Shared { url, columns, tables, idle, permits })))
    }

    /// Applies a job; after a cancellation nobody knows whether it was, but the ledger does.
    pub(super) async fn write(&self, job: Job, cancel: &CancellationToken) -> HandlerAnswer {
        let task = tokio::spawn(Arc::clone(&self.0).settle(job, cancel.clone()));
        // It is never aborted; a panic of its own is the call's.
        match task.await {
            Ok(outcome) => as_answer(outcome),
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
}

impl Pooled {
    async fn of(mut session: Session) -> Result<Self, CallFailure> {
        let server_id = session.server_id().await.map_err(|error| failure_of(&error))?;
        Ok(Self { session, server_id })
    }
}

impl Shared {
    /// Tries until the call is applied, or fails for a reason that stays.
    async fn settle(self: Arc<Self>, job: Job, cancel: CancellationToken) -> Outcome {
        let give_up_at = Instant::now() + UNAVAILABLE_PATIENCE;
        let mut delay = RETRY_DELAY.0;
        loop {
            let outcome = self.attempt(&job, &cancel).await;
            let failure = match &outcome {
                Err(failure) if is_transient(failure) && Instant::now() < give_up_at => failure,
                _ => return outcome,
            };
            debug!(error = failure.error, cause = failure.cause, retry_in = ?delay, "the database did not do it");
            // Both arms only wait.
            tokio::select! {
                () = tokio::time::sleep(delay.mul_f64(rand::random_range(0.5..1.0))) => {}
                () = cancel.cancelled() => return outcome,
            }
            delay = RETRY_DELAY.1.min(delay * 2);
        }
    }

    async fn attempt(&self, job: &Job, cancel: &CancellationToken) -> Outcome {
        // Cancel-safe: a permit that is not waited for is not taken.
        let _permit = tokio::select! {
            permit = self.permits.acquire() => permit.map_err(|_| sql_failure("08006", "the pool is closed"))?,
            () = cancel.cancelled() => return Err(cancelled()),
        };
        let mut pooled = self.take().await?;
        let outcome = self.carry_out(&mut pooled, job, cancel).await;
        match outcome {
            Ok(failures) => {
                self.give_back(pooled, cancel);
                Ok(failures)
            }
            Err(Undone { failure, rolled_back }) => {
                if rolled_back {
                    self.give_back(pooled, cancel);
                } else {
                    // The server may have gone; what waits here was connected to the same one.
                    self.lock().clear();
                }
                Err(failure)
            }
        }
    }

    /// Works until the transaction is over, or the server does not even end it.
    async fn carry_out(
        &self,
        pooled: &mut Pooled,
        job: &Job,
        cancel: &CancellationToken,
    ) -> Result<Vec<FailedItem>, Undone> {
        let work = in_transaction(&mut pooled.session, &self.tables, job);
        tokio::pin!(work);
        // `work` lives on after the select; the other arm only waits.
        tokio::select! {
            outcome = &mut work => return outcome,
            () = cancel.cancelled() => {}
        }
        self.cancel(pooled.server_id.as_deref()).await;
        timeout(CANCEL_PATIENCE, work).await.unwrap_or_else(|_| Err(Undone::lost(cancelled())))
    }

    async fn take(&self) -> Result<Pooled, CallFailure> {
        if let Some(idle) = self.lock().pop() {
            return Ok(idle);
        }
        let connecting = async {
            Pooled::of(connect(&self.url, &self.tables.target, self.columns.as_deref()).await?).await
        };
        let connected = timeout(CONNECT_TIMEOUT, connecting).await;
        connected.unwrap_or_else(|_| Err(sql_failure("08001", "the database does not answer")))
    }

    /// Not after a cancellation: the server may carry it out late, and would hit another call's statement.
    fn give_back(&self, pooled: Pooled, cancel: &CancellationToken) {
        if !cancel.is_cancelled() {
            self.lock().push(pooled);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Pooled>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends a statement, from a connection of its own.
    async fn cancel(&self, server_id: Option<&str>) {
        let Some(server_id) = server_id else { return };
        let cancelling = async {
            let mut session = Session::connect(&self.url).await?;
            session.cancel_other(server_id).await?;
            session.close().await
        };
        match timeout(CANCEL_PATIENCE, cancelling).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => warn!(%error, "a statement was not cancelled"),
            Err(_) => warn!("a statement was not cancelled: the database does not answer"),
        }
    }
}

fn cancelled() -> CallFailure {
    match gone() {
        HandlerAnswer::Failed(failure) => failure,
        _ => unreachable!("it is a failure"),
    }
}

/// A transaction that did not commit, as far as is known.
struct Undone {
    failure: CallFailure,
    /// Whether the connection is fit for another.
    rolled_back: bool,
}

impl Undone {
    fn lost(failure: CallFailure) -> Self {
        Self { failure, rolled_back: false }
    }
}

async fn in_transaction(
    session: &mut Session,
    tables: &Tables,
    job: &Job,
) -> Result<Vec<FailedItem>, Undone> {
    if let Some(outcome) = at_once(session, tables, job).await? {
        return Ok(outcome);
    }
    let lost = |error: sqlx::Error| Undone::lost(failure_of(&error));
    if let Some(function) = row_function(&tables.catalogue, &tables.target, &job.columns) {
        session.make_row_function(function).await.map_err(lost)?;
    }
    session.run("BEGIN").await.map_err(lost)?;
    match apply(session, tables, job).await {
        Ok(failures) => {
            session.run("COMMIT").await.map_err(lost)?;
            Ok(failures)
        }
        Err(failure) => {
            let rolled_back = session.run("ROLLBACK").await.is_ok();
            Err(Undone { failure, rolled_back })
        }
    }
}

/// PostgreSQL can do all of a call in one statement: its ledger's row, its rows if that row is new, their audit. `None`: this
/// call needs more than one.
async fn at_once(
    session: &mut Session,
    tables: &Tables,
    job: &Job,
) -> Result<Option<Vec<FailedItem>>, Undone> {
    let Session::Postgres(connection, _) = session else { return Ok(None) };
    let (target, columns) = (&*tables.target, &*job.columns);
    let dialect = tables.catalogue.dialect;
    let (good, unfit) = sort_rows(job);
    let most = rows_per_write(dialect, target, columns.len());
    if matches!(target.mode, WriteMode::Statement { .. }) || good.is_empty() || good.len() > most {
        return Ok(None);
    }
    let Ok([rows]): Result<[_; 1], _> = layers(dialect, target, columns, good).try_into() else {
        return Ok(None);
    };
    let rows: Vec<&[SqlValue]> = rows.into_iter().map(|(_, values)| values).collect();
    let audit = tables.audit.as_deref().map(|_| audit_rows(target, job, &unfit)).unwrap_or_default();
    let audit: Vec<&[SqlValue]> = audit.iter().map(<[SqlValue; _]>::as_slice).collect();
    let sql = statement_at_once(tables, columns);
    let audit_columns = if tables.audit.is_some() { AUDIT_COLUMNS.len() } else { 0 };
    let lists = [(&rows[..], columns.len()), (&audit[..], audit_columns)];
    match fetch_count(connection, sql, &ledger_row(job, &unfit), lists).await {
        Ok(0) => {
            let outcome = read_outcome(session, job).await;
            outcome.map(Some).map_err(|failure| Undone { failure, rolled_back: true })
        }
        Ok(_) => Ok(Some(unfit)),
        Err(error) => {
            let failure = failure_of(&error);
            let rolled_back = error.as_database_error().is_some() && !failure.error.starts_with("Sql.57P0");
            if rolled_back && is_of_rows(&failure) { Ok(None) } else { Err(Undone { failure, rolled_back }) }
        }
    }
}

fn statement_at_once(tables: &Tables, columns: &[PlannedColumn]) -> String {
    const IF_NEW: &str = "EXISTS (SELECT FROM claimed)";
    let dialect = tables.catalogue.dialect;
    let claim = claim_in_ledger(dialect);
    let place = Place { first_parameter: LEDGER_COLUMNS.len() + 1, slice: "", condition: IF_NEW };
    let write = write_arrays(&tables.catalogue, &tables.target, columns, place);
    let audit = tables.audit.as_deref().map(|table| {
        let first = LEDGER_COLUMNS.len() + columns.len() + 1;
        format!(", audited AS ({})", write_audit(dialect, table, 1, first, IF_NEW))
    });
    format!(
        "WITH claimed AS ({claim} RETURNING 1), written AS ({write}){} SELECT count(*) FROM claimed",
        audit.unwrap_or_default()
    )
}
