//! `--sql URL --table T --key COLUMN`: columns are found by the header's names, types in the database's catalogue.

use clap::Args;
use warifu_worker::handler::sql::{AuditTarget, Sql, SqlConfig, UpsertTarget};

use crate::problem::Problem;

/// Where the outcome of each item is recorded.
const AUDIT_TABLE: &str = "audit_log";

/// Flags of the SQL handler.
#[derive(Debug, Args)]
pub(super) struct SqlArgs {
    /// Write the items into a database: postgres://…, mysql://… or sqlite://FILE
    #[arg(long, value_name = "URL", requires = "table", requires = "key")]
    pub(super) sql: Option<String>,
    /// The table; its columns are found by the header's names, their types in the database
    #[arg(long, value_name = "TABLE", requires = "sql")]
    table: Option<String>,
    // The same name, and so the same type, as the global flag that it stands in for here.
    /// The column that tells rows apart; a row that exists is replaced. May be repeated
    #[arg(id = "key", long = "key", value_name = "COLUMN", requires = "sql")]
    pub(super) key_columns: Vec<String>,
}

impl SqlArgs {
    /// The handler that writes into `url`.
    pub(super) fn to_handler(&self, url: &str) -> Result<Sql, Problem> {
        let config = SqlConfig {
            url: url.to_owned(),
            upsert: Some(UpsertTarget {
                table: self.table.clone().unwrap_or_default(),
                key: self.key_columns.clone(),
            }),
            insert: None,
            insert_ignore: None,
            audit: Some(AuditTarget { table: AUDIT_TABLE.to_owned() }),
            columns: None,
            create_tables: true,
        };
        Sql::new(config).map_err(|reason| Problem::new(format!("--sql cannot be used: {reason}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn databases_that_are_not_known_are_refused() {
        let sql = SqlArgs { sql: None, table: Some("t".into()), key_columns: vec!["id".into()] };
        for url in ["sqlite://u.db", "postgres://localhost/db", "mysql://localhost/db"] {
            assert!(sql.to_handler(url).is_ok(), "{url}");
        }
        let Err(problem) = sql.to_handler("oracle://localhost/db") else { panic!("it is not known") };
        assert!(problem.to_string().contains("postgres:"), "{problem}");
    }
}
