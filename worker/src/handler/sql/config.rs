//! What a SQL handler is configured with, for programs that make one without a file.

use warifu_common::config::handlers as file;

/// A SQL handler without configured columns: they go by the items' header, typed by the database's catalogue.
#[derive(Debug, Clone)]
pub struct SqlConfig {
    /// The database; its scheme says which kind.
    pub url: String,
    /// Write rows; one whose key exists is replaced.
    pub upsert: Option<UpsertTarget>,
    /// Write rows; one whose key exists fails.
    pub insert: Option<InsertTarget>,
    /// Write rows; one whose key exists is left as it is, and succeeds.
    pub insert_ignore: Option<InsertTarget>,
    /// Write down what became of each item.
    pub audit: Option<AuditTarget>,
    /// Columns and where their values come from. Absent: every field of the items, by its name.
    pub columns: Option<Vec<file::ColumnConfig>>,
    /// Whether the ledger and the audit table are created if they are missing.
    pub create_tables: bool,
}

/// Where rows go whose key may exist.
#[derive(Debug, Clone)]
pub struct UpsertTarget {
    /// The table.
    pub table: String,
    /// Columns of a primary key or unique index.
    pub key: Vec<String>,
}

/// Where rows go.
#[derive(Debug, Clone)]
pub struct InsertTarget {
    /// The table.
    pub table: String,
}

/// Where a row per item goes.
#[derive(Debug, Clone)]
pub struct AuditTarget {
    /// The table.
    pub table: String,
}

impl TryFrom<SqlConfig> for file::SqlConfig {
    type Error = String;

    fn try_from(config: SqlConfig) -> Result<Self, String> {
        let upsert =
            config.upsert.map(|UpsertTarget { table, key }| file::SqlStatement::Upsert { table, key });
        let insert = config.insert.map(|InsertTarget { table }| file::SqlStatement::Insert { table });
        let ignore =
            config.insert_ignore.map(|InsertTarget { table }| file::SqlStatement::InsertIgnore { table });
        let mut statements = [upsert, insert, ignore].into_iter().flatten();
        let (Some(statement), None) = (statements.next(), statements.next()) else {
            return Err("give exactly one of insert, insert_ignore and upsert".to_owned());
        };
        Ok(Self {
            url: config.url,
            statement,
            audit: config.audit.map(|AuditTarget { table }| file::AuditConfig { table }),
            columns: config.columns.unwrap_or_default(),
            create_tables: config.create_tables,
            order_guard: None,
            pool_size: file::SqlConfig::DEFAULT_POOL_SIZE,
            ledger_retention: file::SqlConfig::DEFAULT_LEDGER_RETENTION,
        })
    }
}
