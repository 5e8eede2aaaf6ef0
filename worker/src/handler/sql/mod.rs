//! `sql`: writes items as rows, exactly once, into SQLite, PostgreSQL, MySQL or MariaDB.
//!
//! The ledger row of a call (`warifu_ledger`; run, batch number, round) commits in the same transaction as the call's
//! rows and audit rows, and holds the outcome of each item. So a repeat, after a timeout, a crash or a lost answer, finds
//! it, touches no row, and answers the same.
//!
//! - **Invariant:** a transaction runs in a task that nothing cancels; a call that gives up leaves it to finish.
//! - **Invariant:** identifiers come from the worker's configuration or the items' header and are quoted; values are bound.
//!
//! Start at [`Sql`]; a call becomes a job (`job.rs`), which `apply.rs` carries out in a transaction of the writer (`writer.rs`,
//! SQLite) or of a connection of the pool (`pool.rs`).

mod apply;
mod catalogue;
mod config;
mod datetime;
mod dialect;
mod failure;
mod job;
mod open;
mod plan;
mod pool;
mod prune;
#[cfg(test)]
mod server_tests;
mod session;
mod statement;
#[cfg(test)]
mod test_support;
#[cfg(test)]
mod tests;
mod value;
mod writer;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::OnceCell;
use tokio_util::sync::{CancellationToken, DropGuard};
use warifu_common::config::handlers as file;

pub use self::config::{AuditTarget, InsertTarget, SqlConfig, UpsertTarget};
pub use self::dialect::Dialect;
pub use self::statement::schema;

use self::apply::Tables;
use self::catalogue::Catalogue;
use self::job::Job;
use self::plan::{PlannedColumn, Target, WriteMode, plan_rows};
use self::pool::Pool;
use self::value::sql_failure;
use self::writer::Writer;
use super::{BatchCall, Handler, HandlerAnswer};

/// Writes items as rows of one table.
pub struct Sql {
    config: file::SqlConfig,
    dialect: Dialect,
    target: Arc<Target>,
    /// As configured; absent: by the items' header.
    columns: Option<Arc<[PlannedColumn]>>,
    /// The columns for the header that was seen last, where they go by it.
    by_header: Mutex<Option<Arc<[PlannedColumn]>>>,
    database: OnceCell<Database>,
}

/// A database that was opened and found to fit.
struct Database {
    tables: Arc<Tables>,
    way: Way,
    /// Ends the pruning with the handler.
    _pruning: Option<DropGuard>,
}

/// How calls get into it.
enum Way {
    Queue(Writer),
    Pool(Pool),
}

impl Sql {
    /// Checks what can be checked without the database.
    pub fn new(config: impl TryInto<file::SqlConfig, Error: ToString>) -> Result<Self, String> {
        let config = config.try_into().map_err(|error| error.to_string())?;
        let dialect = Dialect::of_url(&config.url)
            .ok_or("the url must begin with sqlite:, postgres: or mysql:".to_owned())?;
        let target = Arc::new(Target::of(&config.statement, config.order_guard.clone())?);
        let configured = config.columns.iter().map(|column| PlannedColumn::configured(dialect, column));
        let mut columns = configured.collect::<Result<Vec<_>, _>>()?;
        if columns.is_empty() && matches!(target.mode, WriteMode::Statement { .. }) {
            return Err("a statement needs columns: they are what the relation batch has".to_owned());
        }
        if !columns.is_empty() {
            add_guard(&mut columns, dialect, &target);
        }
        let columns = Some(columns.into()).filter(|columns: &Arc<[_]>| !columns.is_empty());
        let (by_header, database) = (Mutex::new(None), OnceCell::new());
        Ok(Self { config, dialect, target, columns, by_header, database })
    }

    async fn database(&self) -> Result<&Database, String> {
        self.database.get_or_try_init(|| self.open()).await
    }

    async fn open(&self) -> Result<Database, String> {
        let (session, tables) = open::open(&self.config, &self.target, self.columns.as_deref()).await?;
        let tables = Arc::new(tables);
        let way = match self.dialect {
            Dialect::Sqlite => Way::Queue(Writer::start(session, Arc::clone(&tables))),
            Dialect::Postgres | Dialect::MySql => {
                let (url, columns) = (self.config.url.clone(), self.columns.clone());
                let most = usize::try_from(self.config.pool_size).unwrap_or(usize::MAX);
                Way::Pool(Pool::start(url, columns, Arc::clone(&tables), session, most).await?)
            }
        };
        Ok(Database { tables, way, _pruning: self.start_pruning() })
    }

    fn start_pruning(&self) -> Option<DropGuard> {
        let retention = Some(self.config.ledger_retention).filter(|retention| *retention > Duration::ZERO)?;
        let stop = CancellationToken::new();
        tokio::spawn(prune::prune(self.config.url.clone(), retention, stop.clone()));
        Some(stop.drop_guard())
    }

    /// The columns for a call's items.
    fn columns_for(&self, call: &BatchCall, catalogue: &Catalogue) -> Result<Arc<[PlannedColumn]>, String> {
        if let Some(columns) = &self.columns {
            return Ok(Arc::clone(columns));
        }
        let item = call.item(0);
        let mut kept = self.by_header.lock().unwrap_or_else(PoisonError::into_inner);
        let names: Vec<_> = item.names().collect();
        let names = || names.iter().map(AsRef::as_ref);
        let guard = || self.target.guard.as_deref().filter(|guard| names().all(|name: &str| name != *guard));
        let fits = |columns: &[PlannedColumn]| {
            columns.iter().map(|column| column.name.as_str()).eq(names().chain(guard()))
        };
        if let Some(columns) = kept.as_ref().filter(|columns| fits(columns)) {
            return Ok(Arc::clone(columns));
        }
        let by_name = |name: &str| {
            let column_type = catalogue.type_of(name)?;
            Ok(PlannedColumn::by_name(self.dialect, name, column_type))
        };
        let mut columns = names().map(by_name).collect::<Result<Vec<_>, String>>()?;
        add_guard(&mut columns, self.dialect, &self.target);
        let columns: Arc<[PlannedColumn]> = columns.into();
        *kept = Some(Arc::clone(&columns));
        Ok(columns)
    }
}

/// The guard's column holds the item's index, unless it is configured with a source of its own.
fn add_guard(columns: &mut Vec<PlannedColumn>, dialect: Dialect, target: &Target) {
    let missing = |guard: &&String| columns.iter().all(|column| column.name != **guard);
    if let Some(guard) = target.guard.as_ref().filter(missing) {
        columns.push(PlannedColumn::guard(dialect, guard));
    }
}

#[async_trait]
impl Handler for Sql {
    fn puts_out(&self) -> bool {
        false
    }

    async fn check(&self) -> Result<(), String> {
        self.database().await.map(|_| ())
    }

    async fn call(&self, call: BatchCall, cancel: CancellationToken) -> HandlerAnswer {
        let database = match self.database().await {
            Ok(database) => database,
            Err(reason) => return HandlerAnswer::Failed(sql_failure("08001", reason)),
        };
        let columns = match self.columns_for(&call, &database.tables.catalogue) {
            Ok(columns) => columns,
            Err(reason) => return HandlerAnswer::Failed(sql_failure("42703", reason)),
        };
        let rows = match plan_rows(&columns, &call) {
            Ok(rows) => rows,
            Err(fault) => return HandlerAnswer::RunFailed(fault),
        };
        let job = Job::new(&call, columns, rows);
        match &database.way {
            Way::Queue(writer) => writer.write(job, &cancel).await,
            Way::Pool(pool) => pool.write(job, &cancel).await,
        }
    }
}
