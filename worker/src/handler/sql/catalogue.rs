//! What the database itself says of the table.

use std::collections::BTreeMap;

use warifu_common::config::handlers::SqlType;

use super::dialect::Dialect;
use super::plan::{PlannedColumn, Target, WriteMode};
use super::session::Session;
use super::value::SqlValue;

/// The table's columns and the types that their declarations stand for.
#[derive(Debug)]
pub(super) struct Catalogue {
    pub(super) dialect: Dialect,
    table: String,
    columns: BTreeMap<String, CatalogueColumn>,
}

#[derive(Debug)]
struct CatalogueColumn {
    column_type: SqlType,
    /// What a text is cast to, where that must be said.
    cast: Option<String>,
}

impl Catalogue {
    /// Reads it. A statement of the user's own has no table that we know of.
    pub(super) async fn read(session: &mut Session, target: &Target) -> Result<Self, String> {
        let dialect = session.dialect();
        let table = target.table.clone();
        if matches!(target.mode, WriteMode::Statement { .. }) {
            return Ok(Self { dialect, table, columns: BTreeMap::new() });
        }
        let (sql, values) = columns_query(dialect, &table);
        let rows = session.fetch_rows(&sql, &values).await;
        let rows = rows.map_err(|error| format!("cannot read the catalogue: {error}"))?;
        if rows.is_empty() {
            return Err(format!("table {table:?} does not exist, or may not be seen; create it first"));
        }
        let columns = rows.into_iter().filter_map(|row| catalogue_column(dialect, row)).collect();
        Ok(Self { dialect, table, columns })
    }

    /// The type of a column; an error names those that exist.
    pub(super) fn type_of(&self, name: &str) -> Result<SqlType, String> {
        self.columns.get(name).map(|column| column.column_type).ok_or_else(|| {
            let names: Vec<_> = self.columns.keys().map(|name| format!("{name:?}")).collect();
            let table = &self.table;
            format!(
                "table {table:?} has no column {name:?}; it has {} (map fields to columns under columns)",
                names.join(", ")
            )
        })
    }

    /// The type that a text is cast to, without a length.
    pub(super) fn cast_of(&self, name: &str) -> Option<&str> {
        self.columns.get(name)?.cast.as_deref()
    }

    /// Whether the table has what the configuration names.
    pub(super) fn check(&self, target: &Target, columns: Option<&[PlannedColumn]>) -> Result<(), String> {
        if matches!(target.mode, WriteMode::Statement { .. }) {
            return Ok(());
        }
        let key = target.mode.key();
        let columns = columns.unwrap_or_default();
        for name in columns.iter().map(|column| &column.name).chain(key).chain(&target.guard) {
            self.type_of(name)?;
        }
        let missing = key.iter().find(|name| columns.iter().all(|column| column.name != **name));
        match missing.filter(|_| !columns.is_empty()) {
            Some(name) => Err(format!("the key column {name:?} is not among columns")),
            None => Ok(()),
        }
    }
}

/// Name, type, and its schema, of each column that can be written.
fn columns_query(dialect: Dialect, table: &str) -> (String, Vec<SqlValue>) {
    let text = |text: &str| SqlValue::Text(text.to_owned());
    let (schema, name) = table.split_once('.').map_or((None, table), |(schema, name)| (Some(schema), name));
    match dialect {
        Dialect::Sqlite => (
            "SELECT name, type, '' FROM pragma_table_info(?, ?)".to_owned(),
            vec![text(name), text(schema.unwrap_or("main"))],
        ),
        Dialect::Postgres => (
            "SELECT a.attname::text, t.typname::text, n.nspname::text FROM pg_attribute a \
             JOIN pg_type t ON t.oid = a.atttypid JOIN pg_namespace n ON n.oid = t.typnamespace \
             WHERE a.attrelid = to_regclass($1::text) AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''"
                .to_owned(),
            vec![text(&dialect.quoted_table(table))],
        ),
        Dialect::MySql => (
            "SELECT CAST(column_name AS CHAR), CAST(column_type AS CHAR), '' FROM information_schema.columns \
             WHERE table_schema = coalesce(?, database()) AND table_name = ?"
                .to_owned(),
            vec![schema.map_or(SqlValue::Null, text), text(name)],
        ),
    }
}

fn catalogue_column(dialect: Dialect, row: Vec<Option<String>>) -> Option<(String, CatalogueColumn)> {
    let mut row = row.into_iter();
    let (name, declared, schema) = (row.next()??, row.next()??, row.next()??);
    let column = match dialect {
        Dialect::Sqlite => CatalogueColumn { column_type: sqlite_type(&declared), cast: None },
        Dialect::MySql => CatalogueColumn { column_type: mysql_type(&declared), cast: None },
        Dialect::Postgres => CatalogueColumn {
            column_type: postgres_type(&declared),
            cast: Some(format!("{}.{}", dialect.quoted(&schema), dialect.quoted(&declared))),
        },
    };
    Some((name, column))
}

/// SQLite's own rules for affinity, with the names that say more.
fn sqlite_type(declared: &str) -> SqlType {
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

fn postgres_type(name: &str) -> SqlType {
    match name {
        "int2" => SqlType::Int2,
        "int4" => SqlType::Int4,
        "int8" => SqlType::Int8,
        "numeric" => SqlType::Numeric,
        "float4" | "float8" => SqlType::Float8,
        "bool" => SqlType::Bool,
        "date" => SqlType::Date,
        "time" => SqlType::Time,
        "timestamp" => SqlType::Timestamp,
        "timestamptz" => SqlType::Timestamptz,
        "uuid" => SqlType::Uuid,
        "json" | "jsonb" => SqlType::Json,
        "bytea" => SqlType::Bytea,
        // What we do not know the database converts from text itself.
        _ => SqlType::Text,
    }
}

fn mysql_type(declared: &str) -> SqlType {
    let name = declared.split(['(', ' ']).next().unwrap_or_default();
    let unsigned = declared.contains("unsigned");
    match name {
        "tinyint" if declared.starts_with("tinyint(1)") => SqlType::Bool,
        "tinyint" | "smallint" if !unsigned => SqlType::Int2,
        "tinyint" | "smallint" | "mediumint" | "int" if !unsigned || name != "int" => SqlType::Int4,
        "int" => SqlType::Int8,
        "bigint" if !unsigned => SqlType::Int8,
        "bigint" | "decimal" => SqlType::Numeric,
        "float" | "double" => SqlType::Float8,
        "date" => SqlType::Date,
        "time" => SqlType::Time,
        "datetime" => SqlType::Timestamp,
        "timestamp" => SqlType::Timestamptz,
        "json" => SqlType::Json,
        "binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" => SqlType::Bytea,
        _ => SqlType::Text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declared_types_become_those_that_texts_are_converted_to() {
        let table = [
            ("tinyint(1)", SqlType::Bool),
            ("tinyint(4)", SqlType::Int2),
            ("smallint(5) unsigned", SqlType::Int4),
            ("int(11)", SqlType::Int4),
            ("int unsigned", SqlType::Int8),
            ("bigint unsigned", SqlType::Numeric),
            ("varchar(10)", SqlType::Text),
            ("datetime(6)", SqlType::Timestamp),
        ];
        for (declared, expected) in table {
            assert_eq!(mysql_type(declared), expected, "{declared}");
        }
        assert_eq!(sqlite_type("VARCHAR(9)"), SqlType::Text);
        assert_eq!(sqlite_type("UNSIGNED BIG INT"), SqlType::Int8);
    }
}
