//! The one task that writes to a database: SQLite has one writer at a time, and a queue is fairer than its lock.
//!
//! Calls that wait together share a transaction, each under its own savepoint, so that one `fsync` serves many. A call
//! whose caller is gone before its turn is passed over; one that was begun is finished.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, Row, SqlSafeStr};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::warn;
use warifu_common::config::handlers::{SqlConfig, SqlType};
use warifu_common::model::{CallFailure, MapRunId, WorkerId};

use super::apply::{Tables, apply};
use super::plan::{PlannedColumn, PlannedRow, Target, number};
use super::sqlite_error::failure_of;
use super::statement::{READ_LEDGER, WRITE_LEDGER, split_table, sqlite_schema, write_audit, write_rows};
use super::value::{SqlValue, sql_failure};
use crate::handler::{BatchCall, BatchIdentity, FailedItem, HandlerAnswer};

/// Calls that may wait; the slots of a worker bound them too.
const MAX_WAITING_JOBS: usize = 256;

/// Calls that share a transaction at most: a failure to commit repeats that many one by one.
const MAX_JOBS_PER_TRANSACTION: usize = 32;

/// How long SQLite waits for another process's transaction.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);

/// One call to be applied.
pub(super) struct Job {
    pub(super) map_run: MapRunId,
    pub(super) worker: WorkerId,
    pub(super) identity: BatchIdentity,
    pub(super) columns: Arc<[PlannedColumn]>,
    pub(super) rows: Vec<PlannedRow>,
}

impl Job {
    pub(super) fn new(call: &BatchCall, columns: Arc<[PlannedColumn]>, rows: Vec<PlannedRow>) -> Self {
        let (map_run, worker) = (call.run().map_run.clone(), call.run().worker.clone());
        Self { map_run, worker, identity: call.identity(), columns, rows }
    }

    /// The ledger's key.
    pub(super) fn key(&self) -> [SqlValue; 3] {
        [
            SqlValue::Text(self.map_run.to_string()),
            number(self.identity.batch_number),
            SqlValue::Integer(i64::from(self.identity.round)),
        ]
    }
}

type Outcome = Result<Vec<FailedItem>, CallFailure>;

struct WaitingJob {
    job: Job,
    reply: oneshot::Sender<Outcome>,
}

/// The table's columns and the types that their declarations stand for.
#[derive(Debug, Default)]
pub(super) struct Catalogue {
    table: String,
    columns: BTreeMap<String, SqlType>,
}

impl Catalogue {
    /// The type of a column; an error names those that exist.
    pub(super) fn type_of(&self, name: &str) -> Result<SqlType, String> {
        self.columns.get(name).copied().ok_or_else(|| {
            let names: Vec<_> = self.columns.keys().map(|name| format!("{name:?}")).collect();
            let table = &self.table;
            format!(
                "table {table:?} has no column {name:?}; it has {} (map fields to columns under columns)",
                names.join(", ")
            )
        })
    }
}

/// Hands calls to the writing task.
pub(super) struct Writer {
    jobs: mpsc::Sender<WaitingJob>,
    catalogue: Catalogue,
}

impl Writer {
    /// Opens the database, checks that the table takes what will be written, and starts the task.
    pub(super) async fn open(
        config: &SqlConfig,
        target: &Arc<Target>,
        columns: Option<&[PlannedColumn]>,
    ) -> Result<Self, String> {
        let mut connection = connect(&config.url).await?;
        let tables = Tables {
            target: Arc::clone(target),
            audit: config.audit.as_ref().map(|audit| audit.table.clone()),
        };
        let catalogue = read_catalogue(&mut connection, &target.table).await?;
        check_columns(&catalogue, target, columns)?;
        check_statements(&mut connection, columns.map(|columns| write_rows(target, columns, 1))).await?;
        if config.create_tables {
            create_tables(&mut connection, &tables).await?;
        }
        let audit = tables.audit.as_deref().map(|table| write_audit(table, 1));
        let ledger = [READ_LEDGER.to_owned(), WRITE_LEDGER.to_owned()];
        check_statements(&mut connection, ledger.into_iter().chain(audit)).await?;
        let (jobs, queue) = mpsc::channel(MAX_WAITING_JOBS);
        // It ends by itself when the handler is gone and the queue is empty: a transaction is never cut off.
        tokio::spawn(work_off(connection, tables, queue));
        Ok(Self { jobs, catalogue })
    }

    pub(super) fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// Applies a job; after a cancellation nobody knows whether it was, but the ledger does.
    pub(super) async fn write(&self, job: Job, cancel: &CancellationToken) -> HandlerAnswer {
        let (reply, answer) = oneshot::channel();
        // Cancel-safe arms: a send that does not happen loses only a job that nobody waits for.
        tokio::select! {
            sent = self.jobs.send(WaitingJob { job, reply }) => if sent.is_err() { return gone() },
            () = cancel.cancelled() => return gone(),
        }
        tokio::select! {
            answer = answer => answer.map_or_else(|_| gone(), as_answer),
            () = cancel.cancelled() => gone(),
        }
    }
}

fn gone() -> HandlerAnswer {
    HandlerAnswer::Failed(sql_failure("57014", "the call was cancelled while it waited for the database"))
}

fn as_answer(outcome: Outcome) -> HandlerAnswer {
    match outcome {
        Ok(failures) if failures.is_empty() => HandlerAnswer::Succeeded,
        Ok(failures) => HandlerAnswer::Answered { outputs: None, failures },
        Err(failure) => HandlerAnswer::Failed(failure),
    }
}

async fn connect(url: &str) -> Result<SqliteConnection, String> {
    let options =
        SqliteConnectOptions::from_str(url).map_err(|error| format!("the url is not valid: {error}"))?;
    // FULL: an outcome is counted for ever once it is reported, so it must survive a loss of power here too.
    let options = options
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY_TIMEOUT)
        .disable_statement_logging();
    options.connect().await.map_err(|error| format!("cannot open the database: {error}"))
}

async fn read_catalogue(connection: &mut SqliteConnection, table: &str) -> Result<Catalogue, String> {
    let (schema, name) = split_table(table);
    let query = sqlx::query("SELECT name, type FROM pragma_table_info(?, ?)").bind(name).bind(schema);
    let rows =
        query.fetch_all(connection).await.map_err(|error| format!("cannot read the catalogue: {error}"))?;
    let mut columns = BTreeMap::new();
    for row in rows {
        let (name, declared): (String, String) = (row.get(0), row.get(1));
        columns.insert(name, type_by_declaration(&declared));
    }
    if columns.is_empty() {
        return Err(format!("table {table:?} does not exist; create it first"));
    }
    Ok(Catalogue { table: table.to_owned(), columns })
}

/// SQLite's own rules for affinity, with the names that say more.
fn type_by_declaration(declared: &str) -> SqlType {
    let declared = declared.to_ascii_uppercase();
    let has = |part: &str| declared.contains(part);
    if has("INT") {
        SqlType::Int8
    } else if has("CHAR") || has("CLOB") || has("TEXT") || has("BLOB") || declared.is_empty() {
        SqlType::Text
    } else if has("REAL") || has("FLOA") || has("DOUB") {
        SqlType::Float8
    } else if has("BOOL") {
        SqlType::Bool
    } else if has("DATETIME") || has("TIMESTAMP") {
        SqlType::Timestamp
    } else if has("DATE") {
        SqlType::Date
    } else if has("NUMERIC") || has("DECIMAL") {
        SqlType::Numeric
    } else {
        SqlType::Text
    }
}

fn check_columns(
    catalogue: &Catalogue,
    target: &Target,
    columns: Option<&[PlannedColumn]>,
) -> Result<(), String> {
    let key = target.mode.key();
    let columns = columns.unwrap_or_default();
    for name in columns.iter().map(|column| &column.name).chain(key) {
        catalogue.type_of(name)?;
    }
    match key.iter().find(|name| !columns.is_empty() && columns.iter().all(|column| column.name != **name)) {
        Some(name) => Err(format!("the key column {name:?} is not among columns")),
        None => Ok(()),
    }
}

async fn create_tables(connection: &mut SqliteConnection, tables: &Tables) -> Result<(), String> {
    for sql in sqlite_schema(tables.audit.as_deref()) {
        let created = connection.execute(AssertSqlSafe(sql)).await;
        created.map_err(|error| format!("cannot create the ledger or audit table: {error}"))?;
    }
    Ok(())
}

/// Lets SQLite itself say whether the statements fit the schema: the key needs a unique index, for one.
async fn check_statements(
    connection: &mut SqliteConnection,
    statements: impl IntoIterator<Item = String>,
) -> Result<(), String> {
    for sql in statements {
        let prepared = connection.prepare(AssertSqlSafe(sql).into_sql_str()).await;
        prepared.map_err(|error| format!("the tables do not fit: {}", failure_of(&error).cause))?;
    }
    Ok(())
}

async fn work_off(mut connection: SqliteConnection, tables: Tables, mut queue: mpsc::Receiver<WaitingJob>) {
    let mut group = Vec::with_capacity(MAX_JOBS_PER_TRANSACTION);
    while queue.recv_many(&mut group, MAX_JOBS_PER_TRANSACTION).await > 0 {
        group.retain(|waiting| !waiting.reply.is_closed());
        write_group(&mut connection, &tables, std::mem::take(&mut group)).await;
    }
    if let Err(error) = connection.close().await {
        warn!(%error, "the database was not closed cleanly");
    }
}

async fn write_group(connection: &mut SqliteConnection, tables: &Tables, group: Vec<WaitingJob>) {
    let outcomes = in_transaction(connection, tables, &group).await;
    match outcomes {
        Ok(outcomes) => {
            for (waiting, outcome) in group.into_iter().zip(outcomes) {
                // The caller may have given up; the ledger remembers for it.
                let _ = waiting.reply.send(outcome);
            }
        }
        Err(_) if group.len() > 1 => {
            for waiting in group {
                Box::pin(write_group(connection, tables, vec![waiting])).await;
            }
        }
        Err(failure) => {
            for waiting in group {
                let _ = waiting.reply.send(Err(failure.clone()));
            }
        }
    }
}

/// Applies jobs in one transaction; an error means that none of them was applied, as far as is known.
async fn in_transaction(
    connection: &mut SqliteConnection,
    tables: &Tables,
    group: &[WaitingJob],
) -> Result<Vec<Outcome>, CallFailure> {
    if group.is_empty() {
        return Ok(Vec::new());
    }
    run(connection, "BEGIN IMMEDIATE").await?;
    let applied = apply_all(connection, tables, group).await;
    let committed = match applied {
        Ok(outcomes) => run(connection, "COMMIT").await.map(|()| outcomes),
        Err(failure) => Err(failure),
    };
    if committed.is_err() {
        // It fails if SQLite has rolled back by itself.
        let _ = run(connection, "ROLLBACK").await;
    }
    committed
}

async fn apply_all(
    connection: &mut SqliteConnection,
    tables: &Tables,
    group: &[WaitingJob],
) -> Result<Vec<Outcome>, CallFailure> {
    let mut outcomes = Vec::with_capacity(group.len());
    for waiting in group {
        run(connection, "SAVEPOINT job").await?;
        let outcome = apply(connection, tables, &waiting.job).await;
        if outcome.is_err() {
            run(connection, "ROLLBACK TO job").await?;
        }
        run(connection, "RELEASE job").await?;
        outcomes.push(outcome);
    }
    Ok(outcomes)
}

async fn run(connection: &mut SqliteConnection, sql: &'static str) -> Result<(), CallFailure> {
    connection.execute(sql).await.map(|_| ()).map_err(|error| failure_of(&error))
}
