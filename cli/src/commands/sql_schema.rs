//! `warifu sql-schema`: the tables of our own that SQL handlers write to, for who creates them by hand.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use warifu_common::config::handlers::{HandlerConfig, SqlConfig};
use warifu_worker::config::WorkerConfig;
use warifu_worker::handler::sql::{Dialect, schema};

use crate::exit::Exit;
use crate::output::Output;
use crate::problem::Problem;

/// Read where no other worker configuration is named.
const DEFAULT_CONFIG: &str = "worker.toml";

/// Arguments of `sql-schema`.
#[derive(Debug, Args)]
pub(crate) struct SqlSchemaArgs {
    /// The database that the tables are for; absent: each of the SQL handlers that worker.toml configures
    #[arg(long, value_enum, value_name = "DATABASE")]
    database: Option<Database>,
    /// The audit table, if there is to be one
    #[arg(long, value_name = "TABLE", requires = "database")]
    audit_table: Option<String>,
    /// Where the handlers are configured [default: ./worker.toml]
    #[arg(long, value_name = "FILE", conflicts_with = "database")]
    worker_config: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Database {
    Postgres,
    /// MariaDB, too.
    Mysql,
    Sqlite,
}

impl From<Database> for Dialect {
    fn from(database: Database) -> Self {
        match database {
            Database::Postgres => Self::Postgres,
            Database::Mysql => Self::MySql,
            Database::Sqlite => Self::Sqlite,
        }
    }
}

/// Prints the statements that create the tables.
pub(crate) fn sql_schema(args: SqlSchemaArgs, output: &Output) -> anyhow::Result<Exit> {
    let text = match args.database {
        Some(database) => statements(database.into(), args.audit_table.as_deref()),
        None => of_worker_config(args.worker_config)?,
    };
    output.bytes(text.as_bytes())?;
    Ok(Exit::Succeeded)
}

fn of_worker_config(path: Option<PathBuf>) -> anyhow::Result<String> {
    let path = path.unwrap_or_else(|| PathBuf::from(DEFAULT_CONFIG));
    let config = WorkerConfig::load(&path)?;
    let mut text = String::new();
    for (name, handler) in &config.settings.handlers {
        if let HandlerConfig::Sql(SqlConfig { url, audit, .. }) = &handler.handler
            && let Some(dialect) = Dialect::of_url(url)
        {
            let audit = audit.as_ref().map(|audit| audit.table.as_str());
            // Writing to a text does not fail.
            _ = write!(text, "-- handlers.{name}\n{}", statements(dialect, audit));
        }
    }
    if text.is_empty() {
        return Err(Problem::new(format!("{} configures no SQL handler", path.display()))
            .advise("name the database: --database postgres")
            .into());
    }
    Ok(text)
}

fn statements(dialect: Dialect, audit: Option<&str>) -> String {
    schema(dialect, audit).into_iter().map(|sql| format!("{sql};\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_sql_handler_of_a_file_gets_its_tables() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = "[handlers.a]\ntype = 'sql'\nurl = 'postgres://h/d'\ninsert = { table = 't' }\naudit = { table = 'log' }\n\
                    [handlers.b]\ntype = 'sql'\nurl = 'mysql://h/d'\ninsert = { table = 't' }\n";
        std::fs::write(file.path(), text).unwrap();
        let text = of_worker_config(Some(file.path().to_owned())).unwrap();
        assert_eq!(text.matches("CREATE TABLE IF NOT EXISTS warifu_ledger").count(), 2, "{text}");
        assert!(
            text.contains("-- handlers.a\n") && text.contains("EXISTS \"log\"") && text.contains("InnoDB;\n")
        );
        std::fs::write(file.path(), "").unwrap();
        assert!(of_worker_config(Some(file.path().to_owned())).is_err());
    }
}
