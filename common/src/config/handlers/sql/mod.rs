//! `type = "sql"`: an item becomes a row.

use std::time::Duration;

use serde::Serialize;

mod columns;

pub use columns::{ColumnConfig, ColumnSource, ContextValue, EmptyRule, Literal, OnConflict, SqlType};

use crate::config::parts::redacted_url;
use crate::config::section::Section;
use columns::read_columns;

/// Longest name of a table or column that the databases take.
const MAX_NAME_BYTES: usize = 63;

/// Rows of a table.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SqlConfig {
    /// Which database: `sqlite://…`, `postgres://…`, `mysql://…`.
    #[serde(serialize_with = "serialize_url")]
    pub url: String,
    /// What is done with a row.
    pub statement: SqlStatement,
    /// One row per item about its outcome.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audit: Option<AuditConfig>,
    /// Its columns, in the file's order. Empty: the header's names, typed by the database's catalogue.
    pub columns: Vec<ColumnConfig>,
    /// Whether ledger and audit table are created if they are not there.
    pub create_tables: bool,
    /// A column that holds the index of the item that wrote the row: an older item never overwrites a newer one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order_guard: Option<String>,
    /// Connections to a server in use at once.
    pub pool_size: u64,
    /// How long the ledger remembers. Zero: for ever.
    #[serde(serialize_with = "serialize_seconds")]
    pub ledger_retention: Duration,
}

impl SqlConfig {
    /// As many connections as slots want, up to what servers give by default.
    pub const DEFAULT_POOL_SIZE: u64 = 64;
    /// As long as coordinators keep runs by default.
    pub const DEFAULT_LEDGER_RETENTION: Duration = Duration::from_secs(30 * 24 * 3600);
}

fn serialize_seconds<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format!("{}s", duration.as_secs()))
}

fn serialize_url<S: serde::Serializer>(url: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&redacted_url(url))
}

/// What is done with a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SqlStatement {
    /// Inserted; an equal key fails the item.
    Insert {
        /// The table.
        table: String,
    },
    /// Inserted unless a row with an equal key is there.
    InsertIgnore {
        /// The table.
        table: String,
    },
    /// Inserted, or the row with an equal key is updated.
    Upsert {
        /// The table.
        table: String,
        /// Columns that make rows equal. At least one.
        key: Vec<String>,
    },
    /// The rows with an equal key are updated.
    Update {
        /// The table.
        table: String,
        /// Columns that make rows equal. At least one.
        key: Vec<String>,
    },
    /// Whatever the statement does with the relation `batch`, which has the configured columns.
    Statement {
        /// One statement.
        sql: String,
    },
}

impl SqlStatement {
    /// The table that it is about; empty where only the statement itself knows.
    pub fn table(&self) -> &str {
        match self {
            Self::Insert { table } | Self::InsertIgnore { table } => table,
            Self::Upsert { table, .. } | Self::Update { table, .. } => table,
            Self::Statement { .. } => "",
        }
    }

    /// The columns that make rows equal, where that matters.
    pub fn key(&self) -> &[String] {
        match self {
            Self::Insert { .. } | Self::InsertIgnore { .. } | Self::Statement { .. } => &[],
            Self::Upsert { key, .. } | Self::Update { key, .. } => key,
        }
    }
}

/// `audit = { table = "…" }`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AuditConfig {
    /// The table; one row per item.
    pub table: String,
}

pub(super) fn read(mut section: Section<'_>) -> Option<SqlConfig> {
    let url = section.required_text("url");
    let url = url.filter(|url| check_url(&mut section, url));
    let statement = read_statement(&mut section);
    let columns = read_columns(&mut section, statement.as_ref());
    let audit = section.table("audit").map(|mut audit| {
        let table = read_table(&mut audit);
        audit.finish();
        AuditConfig { table: table.unwrap_or_default() }
    });
    let create_tables = section.boolean("create_tables").unwrap_or(true);
    let order_guard = read_guard(&mut section, statement.as_ref(), &columns);
    let pool_size = section.integer("pool_size", 1, 10_000).unwrap_or(SqlConfig::DEFAULT_POOL_SIZE);
    let retention = section.duration("ledger_retention").unwrap_or(SqlConfig::DEFAULT_LEDGER_RETENTION);
    if matches!(statement, Some(SqlStatement::Statement { .. })) && columns.is_empty() {
        section.problem("columns", "are required with a statement: they are what the relation batch has");
    }
    section.finish();
    Some(SqlConfig {
        url: url?,
        statement: statement?,
        audit,
        columns,
        create_tables,
        order_guard,
        pool_size,
        ledger_retention: retention,
    })
}

fn check_url(section: &mut Section<'_>, url: &str) -> bool {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", ""));
    let problem = match scheme {
        "sqlite" | "postgres" | "postgresql" | "mysql" | "mariadb" if !rest.is_empty() => return true,
        "sqlite" => "write sqlite://PATH, as in sqlite:///data/users.db",
        "postgres" | "postgresql" | "mysql" | "mariadb" => {
            "names no host: postgres://USER:PASSWORD@HOST/DATABASE"
        }
        _ => "is no URL of a database; write postgres://…, mysql://… or sqlite://PATH",
    };
    section.problem("url", problem);
    false
}

/// A guard orders what replaces; under it a sum would lose what comes late.
fn read_guard(
    section: &mut Section<'_>,
    statement: Option<&SqlStatement>,
    columns: &[ColumnConfig],
) -> Option<String> {
    let guard = section.filled_text("order_guard")?;
    if !is_name(&guard) {
        section.problem("order_guard", format!("{guard:?} is no name of a column"));
    }
    if !matches!(statement, None | Some(SqlStatement::Upsert { .. } | SqlStatement::Update { .. })) {
        section.problem("order_guard", "is only for an upsert or an update");
    }
    if statement.is_some_and(|statement| statement.key().contains(&guard)) {
        section.problem("order_guard", "cannot be a column of the key");
    }
    if let Some(sum) = columns.iter().find(|column| column.on_conflict == OnConflict::Add) {
        let name = &sum.name;
        section.problem(
            "order_guard",
            format!("would lose what the column {name:?} adds: items come in any order"),
        );
    }
    Some(guard)
}

/// Exactly one of the statements.
fn read_statement(section: &mut Section<'_>) -> Option<SqlStatement> {
    let mut found = Vec::new();
    for kind in ["insert", "insert_ignore", "upsert", "update"] {
        if let Some(table) = section.table(kind) {
            found.push((kind, table));
        }
    }
    let own = section.filled_text("statement");
    if let (Some(_), Some((kind, _))) = (&own, found.first()) {
        section.problem("statement", format!("only one of {kind} and statement can be done with a row"));
    }
    if found.len() > 1 {
        let kinds: Vec<&str> = found.iter().map(|(kind, _)| *kind).collect();
        section.problem(kinds[1], format!("only one of {} can be done with a row", kinds.join(", ")));
    }
    if found.is_empty() && own.is_none() {
        section.problem(
            "upsert",
            "is required, or one of insert, insert_ignore, update, statement: upsert = { table = \"users\", \
             key = [\"id\"] }",
        );
    }
    if let Some(sql) = own {
        return Some(SqlStatement::Statement { sql });
    }
    let (kind, table) = found.into_iter().next()?;
    statement(kind, table)
}

fn statement(kind: &str, mut section: Section<'_>) -> Option<SqlStatement> {
    let table = read_table(&mut section);
    let statement = match kind {
        "insert" => table.map(|table| SqlStatement::Insert { table }),
        "insert_ignore" => table.map(|table| SqlStatement::InsertIgnore { table }),
        _ => {
            let key = read_key(&mut section);
            let upsert = kind == "upsert";
            table.zip(key).map(|(table, key)| {
                if upsert { SqlStatement::Upsert { table, key } } else { SqlStatement::Update { table, key } }
            })
        }
    };
    section.finish();
    statement
}

fn read_table(section: &mut Section<'_>) -> Option<String> {
    let table = section.required_text("table")?;
    let parts: Vec<&str> = table.split('.').collect();
    if parts.len() > 2 || !parts.iter().all(|part| is_name(part)) {
        section.problem("table", format!("{table:?} is no name of a table; write NAME or SCHEMA.NAME"));
        return None;
    }
    Some(table)
}

fn is_name(name: &str) -> bool {
    let fine = |c: char| !c.is_control() && !matches!(c, '"' | '`' | '\'' | ';' | '\\' | '[' | ']');
    !name.is_empty() && name.len() <= MAX_NAME_BYTES && name.chars().all(fine)
}

fn read_key(section: &mut Section<'_>) -> Option<Vec<String>> {
    let key = section.texts("key").unwrap_or_default();
    if key.is_empty() {
        section.problem("key", "is required: the columns that make rows equal, [\"id\"]");
        return None;
    }
    if let Some(twice) = first_repeated(&key) {
        section.problem("key", format!("names {twice:?} twice"));
    }
    Some(key)
}

fn first_repeated(names: &[String]) -> Option<&String> {
    names.iter().enumerate().find(|(i, name)| names[..*i].contains(name)).map(|(_, name)| name)
}
