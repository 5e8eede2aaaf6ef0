//! What worker.toml says about a SQL handler.

use std::collections::BTreeMap;

use serde::Deserialize;

/// A SQL handler as it is configured.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SqlConfig {
    /// The database; its scheme says which kind.
    pub url: String,
    /// Write rows; one whose key exists replaces what the columns' `on_conflict` says.
    pub upsert: Option<UpsertTarget>,
    /// Write rows; one whose key exists fails.
    pub insert: Option<InsertTarget>,
    /// Write rows; one whose key exists is left as it is, and succeeds.
    pub insert_ignore: Option<InsertTarget>,
    /// Write down what became of each item.
    pub audit: Option<AuditTarget>,
    /// Columns and where their values come from. Absent: every field of the items, by its name.
    pub columns: Option<BTreeMap<String, ColumnConfig>>,
    /// Whether the ledger and the audit table are created if they are missing.
    #[serde(default = "yes")]
    pub create_tables: bool,
}

fn yes() -> bool {
    true
}

/// Where rows go whose key may exist.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpsertTarget {
    /// The table.
    pub table: String,
    /// Columns of a primary key or unique index.
    pub key: Vec<String>,
}

/// Where rows go.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InsertTarget {
    /// The table.
    pub table: String,
}

/// Where a row per item goes.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditTarget {
    /// The table.
    pub table: String,
}

/// Where one column's value comes from.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ColumnConfig {
    /// A field of the item, or `$.field`.
    pub from: Option<String>,
    /// The same text for every row.
    pub value: Option<String>,
    /// Something that the item does not say.
    pub context: Option<ContextValue>,
    /// What the text is converted to.
    #[serde(default, rename = "type")]
    pub column_type: ColumnType,
    /// What an empty text means; kept for text, NULL for others, unless this says otherwise.
    pub empty: Option<EmptyText>,
    /// Texts that mean NULL.
    #[serde(default)]
    pub null_values: Vec<String>,
    /// Stands for a missing field, and for NULL.
    pub default: Option<String>,
    /// What becomes of the old value when the key exists.
    #[serde(default)]
    pub on_conflict: OnConflict,
}

/// Types that values are converted to, named as PostgreSQL names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum ColumnType {
    #[default]
    Text,
    Int2,
    Int4,
    Int8,
    Numeric,
    Float8,
    Bool,
    Date,
    Time,
    Timestamp,
    Timestamptz,
    Uuid,
    Json,
    Bytea,
}

/// What an empty text means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EmptyText {
    /// NULL, or the default.
    Null,
    /// A text like any other.
    Keep,
    /// The item fails.
    Error,
}

/// What becomes of the old value when a row's key exists. NULL never replaces a value but under `Replace`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnConflict {
    /// The new value takes its place.
    #[default]
    Replace,
    /// It stays.
    Keep,
    /// Their sum.
    Add,
    /// The greater of the two.
    Greatest,
    /// The lesser of the two.
    Least,
    /// The new value, unless it is NULL.
    Coalesce,
}

/// What a column can hold besides the item's fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ContextValue {
    /// The run's id.
    MapRunId,
    /// The item's global index.
    Index,
    /// The batch's global number.
    BatchNumber,
    /// The object that the item comes from.
    Source,
    /// When the row was made, in UTC.
    Now,
}
