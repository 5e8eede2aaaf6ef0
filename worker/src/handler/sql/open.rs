//! Opening a database: what can be wrong with the configuration is said here, before a job meets it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use warifu_common::config::handlers::SqlConfig;
use warifu_common::model::CallFailure;

use super::apply::Tables;
use super::catalogue::Catalogue;
use super::dialect::Dialect;
use super::failure::failure_of;
use super::plan::{PlannedColumn, Target, WriteMode};
use super::session::Session;
use super::statement::{
    claim_in_ledger, create_batch_table, fill_batch_table, read_ledger, schema, write_audit, write_rows,
};
use super::value::SqlValue;

/// How often making our own tables is tried while others make them too.
const CREATE_ATTEMPTS: usize = 5;

/// Connects, checks that the table takes what will be written, and creates our own tables.
pub(super) async fn open(
    config: &SqlConfig,
    target: &Arc<Target>,
    columns: Option<&[PlannedColumn]>,
) -> Result<(Session, Tables), String> {
    let session = connect(&config.url, target, columns).await;
    let mut session = session.map_err(|failure| format!("cannot open the database: {}", failure.cause))?;
    let catalogue = Catalogue::read(&mut session, target).await?;
    catalogue.check(target, columns)?;
    if let WriteMode::Upsert { key } = &target.mode
        && session.dialect() == Dialect::MySql
    {
        check_unique_index(&mut session, &target.table, key).await?;
    }
    let audit = config.audit.as_ref().map(|audit| audit.table.clone());
    if let Some(columns) = columns {
        check_write(&mut session, &catalogue, target, columns).await?;
    }
    if config.create_tables {
        create_tables(&mut session, audit.as_deref()).await?;
    }
    let dialect = session.dialect();
    let audit_statement = audit.as_deref().map(|table| write_audit(dialect, table, 1, 1, ""));
    let own = [read_ledger(dialect), claim_in_ledger(dialect)].into_iter().chain(audit_statement);
    for sql in own {
        session.prepare(&sql).await.map_err(|error| does_not_fit(&error))?;
    }
    Ok((session, Tables { target: Arc::clone(target), audit, catalogue }))
}

/// A connection as calls use it.
pub(super) async fn connect(
    url: &str,
    target: &Target,
    columns: Option<&[PlannedColumn]>,
) -> Result<Session, CallFailure> {
    let mut session = Session::connect(url).await.map_err(|error| failure_of(&error))?;
    if session.dialect() == Dialect::MySql && matches!(target.mode, WriteMode::Statement { .. }) {
        let created = session.run(&create_batch_table(columns.unwrap_or_default())).await;
        created.map_err(|error| failure_of(&error))?;
    }
    Ok(session)
}

async fn create_tables(session: &mut Session, audit: Option<&str>) -> Result<(), String> {
    for sql in schema(session.dialect(), audit) {
        let mut attempts = 0;
        while let Err(error) = session.run(&sql).await {
            attempts += 1;
            // PostgreSQL's IF NOT EXISTS fails under who creates it at the same moment; then it is there.
            if attempts == CREATE_ATTEMPTS || error.as_database_error().is_none() {
                return Err(format!("cannot create the ledger or audit table: {error}"));
            }
        }
    }
    Ok(())
}

/// Lets the database itself say whether what is written fits the schema: the key needs a unique index, for one.
async fn check_write(
    session: &mut Session,
    catalogue: &Catalogue,
    target: &Target,
    columns: &[PlannedColumn],
) -> Result<(), String> {
    let sql = write_rows(catalogue, target, columns, 1);
    let fits = async {
        session.prepare(&sql).await?;
        match (session.dialect(), &target.mode) {
            (Dialect::MySql, WriteMode::Statement { .. }) => {
                session.prepare(&fill_batch_table(columns, 1)).await
            }
            (Dialect::Sqlite | Dialect::MySql, _) => Ok(()),
            (Dialect::Postgres, _) => {
                // It looks for the key's index only when it runs: without a row, and rolled back.
                session.run("BEGIN").await?;
                let tried = session.execute_rows(&sql, &[], columns.len()).await;
                session.run("ROLLBACK").await?;
                tried
            }
        }
    };
    fits.await.map_err(|error| does_not_fit(&error))
}

fn does_not_fit(error: &sqlx::Error) -> String {
    format!("the tables do not fit: {}", failure_of(error).cause)
}

/// MySQL changes a row under any unique index; the one that is meant must be there at least.
async fn check_unique_index(session: &mut Session, table: &str, key: &[String]) -> Result<(), String> {
    let (schema, name) = table.split_once('.').map_or((None, table), |(schema, name)| (Some(schema), name));
    let sql = "SELECT CAST(index_name AS CHAR), CAST(column_name AS CHAR) FROM information_schema.statistics \
               WHERE table_schema = coalesce(?, database()) AND table_name = ? AND non_unique = 0";
    let text = |text: &str| SqlValue::Text(text.to_owned());
    let rows = session.fetch_rows(sql, &[schema.map_or(SqlValue::Null, text), text(name)]).await;
    let rows = rows.map_err(|error| format!("cannot read the catalogue: {error}"))?;
    let mut indexes = BTreeMap::<String, Vec<String>>::new();
    for row in rows {
        if let [Some(index), Some(column)] = &row[..] {
            indexes.entry(index.clone()).or_default().push(column.to_lowercase());
        }
    }
    let wanted: BTreeSet<String> = key.iter().map(|name| name.to_lowercase()).collect();
    let fits = |columns: &Vec<String>| columns.iter().cloned().collect::<BTreeSet<_>>() == wanted;
    if indexes.values().any(fits) {
        Ok(())
    } else {
        Err(format!("the tables do not fit: {table:?} has no unique index on {}", key.join(", ")))
    }
}
