//! Which columns are written, and how an item becomes a row.

use warifu_common::model::protocol::RunFault;
use warifu_common::model::{CallFailure, error_name};

use super::config::{ColumnConfig, ColumnType, ContextValue, EmptyText, OnConflict, SqlConfig};
use super::datetime::rfc3339;
use super::value::{SqlValue, convert, sql_failure};
use crate::clock::wall_now;
use crate::handler::{BatchCall, CallItem};

/// What becomes of a row whose key exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum WriteMode {
    Insert,
    InsertIgnore,
    Upsert { key: Vec<String> },
}

/// Where rows go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) table: String,
    pub(super) mode: WriteMode,
}

impl Target {
    /// Exactly one of the configuration's targets.
    pub(super) fn of(config: &SqlConfig) -> Result<Self, String> {
        let upsert = config
            .upsert
            .as_ref()
            .map(|target| (&target.table, WriteMode::Upsert { key: target.key.clone() }));
        let insert = config.insert.as_ref().map(|target| (&target.table, WriteMode::Insert));
        let ignore = config.insert_ignore.as_ref().map(|target| (&target.table, WriteMode::InsertIgnore));
        let mut targets = [upsert, insert, ignore].into_iter().flatten();
        let (Some((table, mode)), None) = (targets.next(), targets.next()) else {
            return Err("give exactly one of insert, insert_ignore and upsert".to_owned());
        };
        if mode == (WriteMode::Upsert { key: Vec::new() }) {
            return Err("upsert.key names no column".to_owned());
        }
        Ok(Self { table: table.clone(), mode })
    }
}

/// One column of the rows.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct PlannedColumn {
    pub(super) name: String,
    pub(super) on_conflict: OnConflict,
    origin: Origin,
    column_type: ColumnType,
    empty: EmptyText,
    null_values: Vec<String>,
    default: Option<SqlValue>,
}

#[derive(Debug, Clone, PartialEq)]
enum Origin {
    Field(String),
    Value(SqlValue),
    Context(ContextValue),
}

impl PlannedColumn {
    /// A column as it is configured.
    pub(super) fn configured(name: &str, config: &ColumnConfig) -> Result<Self, String> {
        let constant = |text: &str| {
            convert(config.column_type, text)
                .map_err(|mismatch| mismatch.into_failure(name, config.column_type, text).cause)
        };
        let origin = match (&config.from, &config.value, config.context) {
            (Some(from), None, None) => Origin::Field(field_name(from)?),
            (None, Some(value), None) => Origin::Value(constant(value)?),
            (None, None, Some(context)) => Origin::Context(context),
            _ => return Err(format!("column {name:?}: give exactly one of from, value and context")),
        };
        let default = config.default.as_deref().map(constant).transpose()?;
        Ok(Self {
            name: name.to_owned(),
            on_conflict: config.on_conflict,
            origin,
            column_type: config.column_type,
            empty: config.empty.unwrap_or_else(|| empty_by_type(config.column_type)),
            null_values: config.null_values.clone(),
            default,
        })
    }

    /// A column that holds the field of the same name.
    pub(super) fn by_name(name: &str, column_type: ColumnType) -> Self {
        Self {
            name: name.to_owned(),
            on_conflict: OnConflict::Replace,
            origin: Origin::Field(name.to_owned()),
            column_type,
            empty: empty_by_type(column_type),
            null_values: Vec::new(),
            default: None,
        }
    }

    /// The field that it needs, if the item must have it.
    fn required_field(&self) -> Option<&str> {
        match &self.origin {
            Origin::Field(field) if self.default.is_none() => Some(field),
            Origin::Field(_) | Origin::Value(_) | Origin::Context(_) => None,
        }
    }

    fn value(&self, call: &BatchCall, item: &CallItem<'_>) -> Result<SqlValue, CallFailure> {
        match &self.origin {
            Origin::Field(field) => self.field_value(item.get(field)),
            Origin::Value(value) => Ok(value.clone()),
            Origin::Context(context) => Ok(context_value(*context, call, item)),
        }
    }

    fn field_value(&self, text: Option<&str>) -> Result<SqlValue, CallFailure> {
        let Some(text) = text.filter(|text| !self.null_values.iter().any(|null| null == text)) else {
            return Ok(self.null());
        };
        let text = if self.column_type == ColumnType::Text { text } else { text.trim() };
        if text.is_empty() {
            match self.empty {
                EmptyText::Null => return Ok(self.null()),
                EmptyText::Error => {
                    return Err(sql_failure("22004", format!("column {:?}: the field is empty", self.name)));
                }
                EmptyText::Keep => {}
            }
        }
        convert(self.column_type, text)
            .map_err(|mismatch| mismatch.into_failure(&self.name, self.column_type, text))
    }

    fn null(&self) -> SqlValue {
        self.default.clone().unwrap_or(SqlValue::Null)
    }
}

fn empty_by_type(column_type: ColumnType) -> EmptyText {
    if column_type == ColumnType::Text { EmptyText::Keep } else { EmptyText::Null }
}

/// Fields of flat items have a name, or the simplest of JSONPaths.
fn field_name(from: &str) -> Result<String, String> {
    let Some(path) = from.strip_prefix('$') else { return Ok(from.to_owned()) };
    let quoted = || path.strip_prefix("['")?.strip_suffix("']");
    let dotted = || path.strip_prefix('.').filter(|name| !name.contains(['.', '[', '*']));
    let name = dotted().or_else(quoted).filter(|name| !name.is_empty());
    name.map(str::to_owned)
        .ok_or_else(|| format!("{from:?}: only $.name and $['name'] reach a field of a CSV item"))
}

fn context_value(context: ContextValue, call: &BatchCall, item: &CallItem<'_>) -> SqlValue {
    match context {
        ContextValue::MapRunId => SqlValue::Text(call.run().map_run.to_string()),
        ContextValue::Index => number(item.index()),
        ContextValue::BatchNumber => number(call.identity().batch_number),
        ContextValue::Source => SqlValue::Text(call.run().source.clone()),
        ContextValue::Now => SqlValue::Text(rfc3339(wall_now())),
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

/// The rows of a call. An error if the data set lacks a field that a column needs: then no batch can succeed.
pub(super) fn plan_rows(columns: &[PlannedColumn], call: &BatchCall) -> Result<Vec<PlannedRow>, RunFault> {
    let first = call.item(0);
    if let Some(field) =
        columns.iter().filter_map(PlannedColumn::required_field).find(|field| first.get(field).is_none())
    {
        let names: Vec<_> = first.fields().map(|(name, _)| format!("{name:?}")).collect();
        let cause = format!("items have no field {field:?}; they have {}", names.join(", "));
        return Err(RunFault { error: error_name::COLUMN_MISSING.to_owned(), cause });
    }
    let row = |item: CallItem<'_>| PlannedRow {
        index: item.index(),
        values: columns.iter().map(|column| column.value(call, &item)).collect(),
    };
    Ok(call.items().map(row).collect())
}
