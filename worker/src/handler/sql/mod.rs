//! `sql`: writes items as rows, exactly once. SQLite so far.
//!
//! The ledger row of a call (`warifu_ledger`; run, batch number, round) commits in the same transaction as the call's
//! rows and audit rows, and holds the outcome of each item. So a repeat, after a timeout, a crash or a lost answer, finds
//! it, touches no row, and answers the same.
//!
//! - **Invariant:** a transaction runs in a task that nothing cancels; a call that gives up leaves it to finish.
//! - **Invariant:** identifiers come from the worker's configuration or the items' header and are quoted; values are bound.

mod apply;
mod config;
mod datetime;
mod plan;
mod sqlite_error;
mod statement;
#[cfg(test)]
mod tests;
mod value;
mod writer;

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;
use warifu_common::config::handlers as file;

pub use self::config::{AuditTarget, InsertTarget, SqlConfig, UpsertTarget};
pub use self::statement::sqlite_schema;

use self::plan::{PlannedColumn, Target, plan_rows};
use self::value::sql_failure;
use self::writer::{Catalogue, Job, Writer};
use super::{BatchCall, Handler, HandlerAnswer};

/// Writes items as rows of one table.
pub struct Sql {
    config: file::SqlConfig,
    target: Arc<Target>,
    /// As configured; absent: by the items' header.
    columns: Option<Arc<[PlannedColumn]>>,
    /// The columns for the header that was seen last, where they go by it.
    by_header: Mutex<Option<Arc<[PlannedColumn]>>>,
    writer: OnceCell<Writer>,
}

impl Sql {
    /// Checks what can be checked without the database.
    pub fn new(config: impl TryInto<file::SqlConfig, Error: ToString>) -> Result<Self, String> {
        let config = config.try_into().map_err(|error| error.to_string())?;
        if !config.url.starts_with("sqlite:") {
            return Err(
                "the url must begin with sqlite: (PostgreSQL and MySQL are not supported yet)".to_owned()
            );
        }
        let columns =
            config.columns.iter().map(PlannedColumn::configured).collect::<Result<Arc<[_]>, _>>()?;
        let columns = Some(columns).filter(|columns| !columns.is_empty());
        let target = Arc::new(Target::of(&config.statement)?);
        Ok(Self { target, columns, config, by_header: Mutex::new(None), writer: OnceCell::new() })
    }

    async fn writer(&self) -> Result<&Writer, String> {
        self.writer
            .get_or_try_init(|| Writer::open(&self.config, &self.target, self.columns.as_deref()))
            .await
    }

    /// The columns for a call's items.
    fn columns_for(&self, call: &BatchCall, catalogue: &Catalogue) -> Result<Arc<[PlannedColumn]>, String> {
        if let Some(columns) = &self.columns {
            return Ok(Arc::clone(columns));
        }
        let item = call.item(0);
        let mut kept = self.by_header.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |columns: &[PlannedColumn]| {
            columns.iter().map(|column| column.name.as_str()).eq(item.fields().map(|field| field.0))
        };
        if let Some(columns) = kept.as_ref().filter(|columns| fits(columns)) {
            return Ok(Arc::clone(columns));
        }
        let by_name = |(name, _): (&str, &str)| {
            catalogue.type_of(name).map(|column_type| PlannedColumn::by_name(name, column_type))
        };
        let columns: Arc<[PlannedColumn]> = item.fields().map(by_name).collect::<Result<_, _>>()?;
        *kept = Some(Arc::clone(&columns));
        Ok(columns)
    }
}

#[async_trait]
impl Handler for Sql {
    async fn check(&self) -> Result<(), String> {
        self.writer().await.map(|_| ())
    }

    async fn call(&self, call: BatchCall, cancel: CancellationToken) -> HandlerAnswer {
        let writer = match self.writer().await {
            Ok(writer) => writer,
            Err(reason) => return HandlerAnswer::Failed(sql_failure("08001", reason)),
        };
        let columns = match self.columns_for(&call, writer.catalogue()) {
            Ok(columns) => columns,
            Err(reason) => return HandlerAnswer::Failed(sql_failure("42703", reason)),
        };
        match plan_rows(&columns, &call) {
            Ok(rows) => writer.write(Job::new(&call, columns, rows), &cancel).await,
            Err(fault) => HandlerAnswer::RunFailed(fault),
        }
    }
}
