//! The databases, and how each spells what they all can.

use warifu_common::config::handlers::SqlType;

/// Which database a handler writes into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// SQLite 3.
    Sqlite,
    /// PostgreSQL 12 or later.
    Postgres,
    /// MySQL 8, MariaDB 10.5, or later.
    MySql,
}

impl Dialect {
    /// By the scheme of a database's URL.
    pub fn of_url(url: &str) -> Option<Self> {
        match url.split_once(':')?.0 {
            "sqlite" => Some(Self::Sqlite),
            "postgres" | "postgresql" => Some(Self::Postgres),
            "mysql" | "mariadb" => Some(Self::MySql),
            _ => None,
        }
    }

    /// A name of a table's part or a column, so that the database takes it as it is.
    pub(super) fn quoted(self, name: &str) -> String {
        match self {
            Self::Sqlite | Self::Postgres => format!("\"{}\"", name.replace('"', "\"\"")),
            Self::MySql => format!("`{}`", name.replace('`', "``")),
        }
    }

    /// `NAME` or `SCHEMA.NAME`, quoted.
    pub(super) fn quoted_table(self, table: &str) -> String {
        let parts: Vec<String> = table.splitn(2, '.').map(|part| self.quoted(part)).collect();
        parts.join(".")
    }

    /// The type of a column of `batch`, where it must be said.
    pub(super) fn type_name(self, column_type: SqlType) -> &'static str {
        match self {
            // Values keep the type that they are bound with.
            Self::Sqlite => "",
            Self::Postgres => postgres_type(column_type),
            Self::MySql => mysql_type(column_type),
        }
    }

    /// The most values that one statement may bind.
    pub(super) fn max_bound_values(self) -> usize {
        match self {
            Self::Sqlite => 32_766,
            // PostgreSQL gets one array for each column.
            Self::Postgres => usize::MAX,
            Self::MySql => 65_535,
        }
    }
}

fn postgres_type(column_type: SqlType) -> &'static str {
    match column_type {
        SqlType::Text => "text",
        SqlType::Int2 => "int2",
        SqlType::Int4 => "int4",
        SqlType::Int8 => "int8",
        SqlType::Numeric => "numeric",
        SqlType::Float8 => "float8",
        SqlType::Bool => "bool",
        SqlType::Date => "date",
        SqlType::Time => "time",
        SqlType::Timestamp => "timestamp",
        SqlType::Timestamptz => "timestamptz",
        SqlType::Uuid => "uuid",
        SqlType::Json => "jsonb",
        SqlType::Bytea => "bytea",
    }
}

fn mysql_type(column_type: SqlType) -> &'static str {
    match column_type {
        SqlType::Text | SqlType::Json => "LONGTEXT",
        SqlType::Int2 => "SMALLINT",
        SqlType::Int4 => "INT",
        SqlType::Int8 => "BIGINT",
        SqlType::Numeric => "DECIMAL(65,30)",
        SqlType::Float8 => "DOUBLE",
        SqlType::Bool => "TINYINT",
        SqlType::Date => "DATE",
        SqlType::Time => "TIME(6)",
        SqlType::Timestamp | SqlType::Timestamptz => "DATETIME(6)",
        SqlType::Uuid => "CHAR(36)",
        SqlType::Bytea => "LONGBLOB",
    }
}
