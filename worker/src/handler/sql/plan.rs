//! Which columns are written, and how an item becomes a row.

use warifu_common::config::handlers::{
    ColumnConfig, ColumnSource, ContextValue, EmptyRule, Literal, OnConflict, SqlStatement, SqlType,
};
use warifu_common::dataset::{Field, JsonPath};
use warifu_common::model::protocol::RunFault;
use warifu_common::model::{CallFailure, error_name};

use super::datetime::{TimeRule, rfc3339};
use super::dialect::Dialect;
use super::value::{Mismatch, SqlValue, convert, sql_failure};
use crate::clock::wall_now;
use crate::handler::{BatchCall, CallItem};

/// What is done with a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum WriteMode {
    Insert,
    InsertIgnore,
    Upsert {
        key: Vec<String>,
    },
    Update {
        key: Vec<String>,
    },
    /// A statement of the user's own, which sees the rows as the relation `batch`.
    Statement {
        sql: String,
    },
}

impl WriteMode {
    /// The columns that make rows equal, where that matters.
    pub(super) fn key(&self) -> &[String] {
        match self {
            WriteMode::Insert | WriteMode::InsertIgnore | WriteMode::Statement { .. } => &[],
            WriteMode::Upsert { key } | WriteMode::Update { key } => key,
        }
    }
}

/// Where rows go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    /// `NAME` or `SCHEMA.NAME`; empty for a statement of the user's own.
    pub(super) table: String,
    pub(super) mode: WriteMode,
    /// The column that holds the index of the item that wrote the row; an older one never overwrites a newer.
    pub(super) guard: Option<String>,
}

impl Target {
    pub(super) fn of(statement: &SqlStatement, guard: Option<String>) -> Result<Self, String> {
        let mode = match statement {
            SqlStatement::Insert { .. } => WriteMode::Insert,
            SqlStatement::InsertIgnore { .. } => WriteMode::InsertIgnore,
            SqlStatement::Upsert { key, .. } => WriteMode::Upsert { key: key.clone() },
            SqlStatement::Update { key, .. } => WriteMode::Update { key: key.clone() },
            SqlStatement::Statement { sql } => WriteMode::Statement { sql: sql.clone() },
        };
        if mode.key().is_empty() && matches!(mode, WriteMode::Upsert { .. } | WriteMode::Update { .. }) {
            return Err("the key names no column".to_owned());
        }
        Ok(Self { table: statement.table().to_owned(), mode, guard })
    }
}

/// One column of the rows.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct PlannedColumn {
    pub(super) name: String,
    pub(super) on_conflict: OnConflict,
    pub(super) column_type: SqlType,
    dialect: Dialect,
    origin: Origin,
    empty: EmptyRule,
    null_values: Vec<String>,
    times: TimeRule,
    default: Option<SqlValue>,
}

#[derive(Debug, Clone, PartialEq)]
enum Origin {
    Field(String),
    Path(JsonPath),
    Value(SqlValue),
    Context(ContextValue),
}

impl PlannedColumn {
    /// A column as it is configured.
    pub(super) fn configured(dialect: Dialect, config: &ColumnConfig) -> Result<Self, String> {
        let constant = |literal: &Literal| {
            let text = literal_text(literal);
            convert(config.r#type, &TimeRule::default(), &text)
                .and_then(|value| in_dialect(dialect, config.r#type, value))
                .map_err(|mismatch| mismatch.into_failure(&config.name, config.r#type, &text).cause)
        };
        Ok(Self {
            name: config.name.clone(),
            on_conflict: config.on_conflict,
            dialect,
            origin: match &config.source {
                ColumnSource::From(field) => Origin::Field(field.clone()),
                ColumnSource::FromPath(path) => Origin::Path(path.clone()),
                ColumnSource::Value(literal) => Origin::Value(constant(literal)?),
                ColumnSource::Context(context) => Origin::Context(*context),
            },
            column_type: config.r#type,
            empty: config.empty,
            null_values: config.null_values.clone(),
            times: TimeRule::configured(config)
                .map_err(|problem| format!("column {:?}: {problem}", config.name))?,
            default: config.default.as_ref().map(constant).transpose()?,
        })
    }

    /// The column that holds the item's index.
    pub(super) fn guard(dialect: Dialect, name: &str) -> Self {
        Self { origin: Origin::Context(ContextValue::Index), ..Self::by_name(dialect, name, SqlType::Int8) }
    }

    /// A column that holds the field of the same name.
    pub(super) fn by_name(dialect: Dialect, name: &str, column_type: SqlType) -> Self {
        Self {
            name: name.to_owned(),
            on_conflict: OnConflict::Replace,
            dialect,
            origin: Origin::Field(name.to_owned()),
            column_type,
            empty: empty_by_type(column_type),
            null_values: Vec::new(),
            times: TimeRule::default(),
            default: None,
        }
    }

    /// The field that it needs, if the item must have it.
    fn required_field(&self) -> Option<&str> {
        match &self.origin {
            Origin::Field(field) if self.default.is_none() => Some(field),
            Origin::Field(_) | Origin::Path(_) | Origin::Value(_) | Origin::Context(_) => None,
        }
    }

    /// The path that it needs, if the item must have what it names.
    fn required_path(&self) -> Option<&JsonPath> {
        match &self.origin {
            Origin::Path(path) if self.default.is_none() => Some(path),
            Origin::Field(_) | Origin::Path(_) | Origin::Value(_) | Origin::Context(_) => None,
        }
    }

    fn value(&self, call: &BatchCall, item: &CallItem<'_>) -> Result<SqlValue, CallFailure> {
        match &self.origin {
            Origin::Field(field) => match item.field(field) {
                Field::Missing if self.default.is_none() => {
                    Err(CallFailure::business(error_name::COLUMN_MISSING, missing_field(field, item)))
                }
                found => self.field_value(found.into_text().as_deref()),
            },
            Origin::Path(path) => match item.field_at(path) {
                Field::Missing if self.default.is_none() => {
                    let cause = format!("column {:?}: {path} names nothing in the item", self.name);
                    Err(CallFailure::business(error_name::COLUMN_MISSING, cause))
                }
                found => self.field_value(found.into_text().as_deref()),
            },
            Origin::Value(value) => Ok(value.clone()),
            Origin::Context(context) => Ok(context_value(self.dialect, *context, call, item)),
        }
    }

    fn field_value(&self, text: Option<&str>) -> Result<SqlValue, CallFailure> {
        let Some(text) = text.filter(|text| !self.null_values.iter().any(|null| null == text)) else {
            return Ok(self.null());
        };
        let text = if self.column_type == SqlType::Text { text } else { text.trim() };
        if text.is_empty() {
            match self.empty {
                EmptyRule::Null => return Ok(self.null()),
                EmptyRule::Error => {
                    return Err(sql_failure("22004", format!("column {:?}: the field is empty", self.name)));
                }
                EmptyRule::Keep => {}
            }
        }
        convert(self.column_type, &self.times, text)
            .and_then(|value| in_dialect(self.dialect, self.column_type, value))
            .map_err(|mismatch| mismatch.into_failure(&self.name, self.column_type, text))
    }

    fn null(&self) -> SqlValue {
        self.default.clone().unwrap_or(SqlValue::Null)
    }
}

/// MySQL's times have no zone; its connections are in UTC. PostgreSQL refuses a whole statement for a NUL byte in a text.
fn in_dialect(dialect: Dialect, column_type: SqlType, value: SqlValue) -> Result<SqlValue, Mismatch> {
    Ok(match (dialect, column_type, value) {
        (Dialect::MySql, SqlType::Timestamptz, SqlValue::Text(text)) => {
            SqlValue::Text(text.trim_end_matches("+00:00").to_owned())
        }
        (Dialect::Postgres, _, SqlValue::Text(text)) if text.contains('\0') => return Err(Mismatch::NulByte),
        (Dialect::Postgres, SqlType::Bool, SqlValue::Integer(value)) => {
            SqlValue::Text(if value == 0 { "false" } else { "true" }.to_owned())
        }
        (.., value) => value,
    })
}

fn empty_by_type(column_type: SqlType) -> EmptyRule {
    if column_type == SqlType::Text { EmptyRule::Keep } else { EmptyRule::Null }
}

fn literal_text(literal: &Literal) -> String {
    match literal {
        Literal::Bool(value) => value.to_string(),
        Literal::Integer(value) => value.to_string(),
        Literal::Float(value) => value.to_string(),
        Literal::Text(text) => text.clone(),
    }
}

fn context_value(dialect: Dialect, context: ContextValue, call: &BatchCall, item: &CallItem<'_>) -> SqlValue {
    match context {
        ContextValue::MapRunId => SqlValue::Text(call.run().map_run.to_string()),
        ContextValue::Index => number(item.index()),
        ContextValue::BatchNumber => number(call.identity().batch_number),
        ContextValue::Source => SqlValue::Text(call.run().source.clone()),
        ContextValue::Now => SqlValue::Text(now_text(dialect)),
    }
}

fn now_text(dialect: Dialect) -> String {
    let now = rfc3339(wall_now());
    match dialect {
        Dialect::Sqlite | Dialect::Postgres => now,
        Dialect::MySql => now.replace('T', " ").replace('Z', ""),
    }
}

/// Indexes and numbers stay far below the bound of a signed integer.
pub(super) fn number(value: u64) -> SqlValue {
    SqlValue::Integer(i64::try_from(value).unwrap_or(i64::MAX))
}

/// One item as a row, or why it is none.
pub(super) struct PlannedRow {
    pub(super) index: u64,
    pub(super) values: Result<Vec<SqlValue>, CallFailure>,
}

/// The rows of a call. An error if the data set lacks a field that a column needs: then no batch can succeed. Items of JSON
/// may differ, so of them only the whole first batch speaks for the data set.
pub(super) fn plan_rows(columns: &[PlannedColumn], call: &BatchCall) -> Result<Vec<PlannedRow>, RunFault> {
    let first = call.item(0);
    let all_lack = |field: &&str| call.items().all(|item| item.field(field) == Field::Missing);
    let speaks_for_all = first.json().is_none() || call.identity().batch_number == 0;
    if speaks_for_all
        && let Some(field) = columns.iter().filter_map(PlannedColumn::required_field).find(all_lack)
    {
        let cause = missing_field(field, &first);
        return Err(RunFault { error: error_name::COLUMN_MISSING.to_owned(), cause });
    }
    let paths = columns.iter().filter_map(PlannedColumn::required_path);
    for path in paths {
        if call.items().all(|item| item.field_at(path) == Field::Missing) {
            let cause = format!("{path} names nothing in any item of the batch");
            return Err(RunFault { error: error_name::COLUMN_MISSING.to_owned(), cause });
        }
    }
    let row = |item: CallItem<'_>| PlannedRow {
        index: item.index(),
        values: columns.iter().map(|column| column.value(call, &item)).collect(),
    };
    Ok(call.items().map(row).collect())
}

fn missing_field(field: &str, item: &CallItem<'_>) -> String {
    let names: Vec<_> = item.names().map(|name| format!("{name:?}")).collect();
    format!("items have no field {field:?}; they have {}", names.join(", "))
}
