//! Which columns are written, and how an item becomes a row.

use warifu_common::config::handlers::{
    ColumnConfig, ColumnSource, ContextValue, EmptyRule, Literal, OnConflict, SqlStatement, SqlType,
};
use warifu_common::model::protocol::RunFault;
use warifu_common::model::{CallFailure, error_name};

use super::datetime::rfc3339;
use super::value::{SqlValue, convert, sql_failure};
use crate::clock::wall_now;
use crate::handler::{BatchCall, CallItem};

/// What is done with a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum WriteMode {
    Insert,
    InsertIgnore,
    Upsert { key: Vec<String> },
    Update { key: Vec<String> },
}

impl WriteMode {
    /// The columns that make rows equal, where that matters.
    pub(super) fn key(&self) -> &[String] {
        match self {
            WriteMode::Insert | WriteMode::InsertIgnore => &[],
            WriteMode::Upsert { key } | WriteMode::Update { key } => key,
        }
    }
}

/// Where rows go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    /// `NAME` or `SCHEMA.NAME`.
    pub(super) table: String,
    pub(super) mode: WriteMode,
}

impl Target {
    pub(super) fn of(statement: &SqlStatement) -> Result<Self, String> {
        let mode = match statement {
            SqlStatement::Insert { .. } => WriteMode::Insert,
            SqlStatement::InsertIgnore { .. } => WriteMode::InsertIgnore,
            SqlStatement::Upsert { key, .. } => WriteMode::Upsert { key: key.clone() },
            SqlStatement::Update { key, .. } => WriteMode::Update { key: key.clone() },
        };
        if mode.key().is_empty() && matches!(mode, WriteMode::Upsert { .. } | WriteMode::Update { .. }) {
            return Err("the key names no column".to_owned());
        }
        Ok(Self { table: statement.table().to_owned(), mode })
    }
}

/// One column of the rows.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct PlannedColumn {
    pub(super) name: String,
    pub(super) on_conflict: OnConflict,
    origin: Origin,
    column_type: SqlType,
    empty: EmptyRule,
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
    pub(super) fn configured(config: &ColumnConfig) -> Result<Self, String> {
        let constant = |literal: &Literal| {
            let text = literal_text(literal);
            convert(config.r#type, &text)
                .map_err(|mismatch| mismatch.into_failure(&config.name, config.r#type, &text).cause)
        };
        Ok(Self {
            name: config.name.clone(),
            on_conflict: config.on_conflict,
            origin: match &config.source {
                ColumnSource::From(field) => Origin::Field(field.clone()),
                ColumnSource::Value(literal) => Origin::Value(constant(literal)?),
                ColumnSource::Context(context) => Origin::Context(*context),
            },
            column_type: config.r#type,
            empty: config.empty,
            null_values: config.null_values.clone(),
            default: config.default.as_ref().map(constant).transpose()?,
        })
    }

    /// A column that holds the field of the same name.
    pub(super) fn by_name(name: &str, column_type: SqlType) -> Self {
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
        convert(self.column_type, text)
            .map_err(|mismatch| mismatch.into_failure(&self.name, self.column_type, text))
    }

    fn null(&self) -> SqlValue {
        self.default.clone().unwrap_or(SqlValue::Null)
    }
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
