//! `columns`: what a row's values are made of.

use serde::Serialize;
use toml::Value;
use warifu_dataset::JsonPath;

use super::{SqlStatement, is_name};
use crate::config::section::Section;

/// One column of the row.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ColumnConfig {
    /// Its name.
    pub name: String,
    /// Where its value comes from.
    pub source: ColumnSource,
    /// Its type.
    pub r#type: SqlType,
    /// What an upsert does to it if the row is there.
    pub on_conflict: OnConflict,
    /// What an empty text is.
    pub empty: EmptyRule,
    /// Texts that stand for NULL.
    pub null_values: Vec<String>,
    /// How dates and times are written in items, as `strptime` reads them. Absent: ISO 8601.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// IANA name of the zone of times that name none. Absent: UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// The value where the item has no such key. Absent: the item fails with `Warifu.ColumnMissing`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<Literal>,
}

/// Where a column's value comes from.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ColumnSource {
    /// A top-level key of the item.
    From(String),
    /// A value within the item.
    #[serde(rename = "from", serialize_with = "as_text")]
    FromPath(JsonPath),
    /// The same for every item.
    Value(Literal),
    /// The run's or the item's own data.
    Context(ContextValue),
}

fn as_text<S: serde::Serializer>(path: &JsonPath, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(path)
}

/// A value that stands in the file.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Literal {
    /// true or false.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// A number.
    Float(f64),
    /// A text.
    Text(String),
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
        pub enum $name {
            $($(#[$variant_doc])* #[serde(rename = $word)] $variant,)+
        }

        impl $name {
            const WORDS: &'static [(&'static str, Self)] = &[$(($word, Self::$variant),)+];

            /// As configuration spells it.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }
    };
}

words! {
    /// Data of the run or the item that a column may hold.
    ContextValue {
        /// The map run's ID.
        MapRunId = "mapRunId",
        /// The item's index over the whole data set.
        Index = "index",
        /// The batch's number over the whole data set.
        BatchNumber = "batchNumber",
        /// The source object, `s3://bucket/key`.
        Source = "source",
        /// The time of the database.
        Now = "now",
    }
}

words! {
    /// A column's type. Everything but text is trimmed before it is read.
    SqlType {
        /// Text, as it is.
        Text = "text",
        /// 16 bits.
        Int2 = "int2",
        /// 32 bits.
        Int4 = "int4",
        /// 64 bits.
        Int8 = "int8",
        /// Decimal digits, any number of them.
        Numeric = "numeric",
        /// A double.
        Float8 = "float8",
        /// true or false.
        Bool = "bool",
        /// A date.
        Date = "date",
        /// A time of day.
        Time = "time",
        /// Date and time.
        Timestamp = "timestamp",
        /// Date and time in a time zone.
        Timestamptz = "timestamptz",
        /// A UUID.
        Uuid = "uuid",
        /// JSON.
        Json = "json",
        /// Bytes, in hexadecimal digits.
        Bytea = "bytea",
    }
}

impl SqlType {
    /// True for dates and times.
    fn is_time(self) -> bool {
        matches!(self, Self::Date | Self::Time | Self::Timestamp | Self::Timestamptz)
    }
}

words! {
    /// What an upsert does to a column of a row that is there.
    OnConflict {
        /// The new value.
        Replace = "replace",
        /// The old value.
        Keep = "keep",
        /// Their sum.
        Add = "add",
        /// The greater one.
        Greatest = "greatest",
        /// The lesser one.
        Least = "least",
        /// The new value, or the old one if the new one is NULL.
        Coalesce = "coalesce",
    }
}

words! {
    /// What an empty text is.
    EmptyRule {
        /// NULL.
        Null = "null",
        /// An empty text.
        Keep = "keep",
        /// A failure of the item.
        Error = "error",
    }
}

pub(super) fn read_columns(section: &mut Section<'_>, statement: Option<&SqlStatement>) -> Vec<ColumnConfig> {
    let Some(mut table) = section.table("columns") else { return Vec::new() };
    let mut columns = Vec::new();
    for (name, column) in table.tables() {
        if !is_name(&name) {
            section.problem("columns", format!("{name:?} is no name of a column"));
        }
        columns.extend(read_column(name, column, statement));
    }
    let key = statement.map_or(&[][..], SqlStatement::key);
    for missing in key.iter().filter(|key| !columns.iter().any(|column| column.name == **key)) {
        section.problem("columns", format!("has no column {missing:?}, which the key names"));
    }
    columns
}

fn read_column(
    name: String,
    mut section: Section<'_>,
    statement: Option<&SqlStatement>,
) -> Option<ColumnConfig> {
    let source = read_source(&mut section);
    let kind = section.choice("type", SqlType::WORDS).unwrap_or(SqlType::Text);
    let on_conflict = section.choice("on_conflict", OnConflict::WORDS);
    check_on_conflict(&section, &name, on_conflict, statement);
    let empty = section.choice("empty", EmptyRule::WORDS);
    let format = section.text("format");
    if format.is_some() && !kind.is_time() {
        section.problem("format", "is only for the types date, time, timestamp and timestamptz");
    }
    let time_zone = section.text("time_zone");
    if time_zone.is_some() && kind != SqlType::Timestamptz {
        section.problem("time_zone", "is only for the type timestamptz");
    }
    let null_values = section.texts("null_values").unwrap_or_default();
    let default = read_literal(&mut section, "default");
    let of_item = matches!(source, Some(ColumnSource::From(_) | ColumnSource::FromPath(_)) | None);
    if default.is_some() && !of_item {
        section.problem("default", "is only for a column that comes `from` the item");
    }
    section.finish();
    let empty_by_type = if kind == SqlType::Text { EmptyRule::Keep } else { EmptyRule::Null };
    Some(ColumnConfig {
        name,
        source: source?,
        r#type: kind,
        on_conflict: on_conflict.unwrap_or(OnConflict::Replace),
        empty: empty.unwrap_or(empty_by_type),
        null_values,
        format,
        time_zone,
        default,
    })
}

fn check_on_conflict(
    section: &Section<'_>,
    column: &String,
    rule: Option<OnConflict>,
    statement: Option<&SqlStatement>,
) {
    match (rule, statement) {
        (None, _) | (_, None) => {}
        (Some(_), Some(SqlStatement::Upsert { key, .. })) if key.contains(column) => {
            section
                .problem("on_conflict", "makes no sense for a column of the key: it is equal in both rows");
        }
        (Some(_), Some(SqlStatement::Upsert { .. })) => {}
        (Some(_), Some(_)) => section.problem("on_conflict", "is only for an upsert"),
    }
}

/// Exactly one of `from`, `value`, `context`.
fn read_source(section: &mut Section<'_>) -> Option<ColumnSource> {
    let from = section.text("from");
    let value = read_literal(section, "value");
    let context = section.choice("context", ContextValue::WORDS);
    let mut sources = Vec::new();
    if let Some(key) = from {
        sources.push(item_source(section, key));
    }
    sources.extend(value.map(ColumnSource::Value));
    sources.extend(context.map(ColumnSource::Context));
    if sources.len() != 1 {
        section.problem("from", "exactly one of from, value and context is required");
    }
    sources.pop().filter(|_| sources.is_empty())
}

/// A top-level key, or a JSONPath if it begins with `$`.
fn item_source(section: &Section<'_>, text: String) -> ColumnSource {
    if !text.starts_with('$') {
        return ColumnSource::From(text);
    }
    match JsonPath::parse(&text) {
        Ok(path) => ColumnSource::FromPath(path),
        Err(problem) => {
            section.problem("from", problem.to_string());
            ColumnSource::From(text)
        }
    }
}

fn read_literal(section: &mut Section<'_>, key: &'static str) -> Option<Literal> {
    match section.value(key)? {
        Value::String(text) => Some(Literal::Text(text)),
        Value::Integer(number) => Some(Literal::Integer(number)),
        Value::Float(number) => Some(Literal::Float(number)),
        Value::Boolean(value) => Some(Literal::Bool(value)),
        Value::Datetime(time) => Some(Literal::Text(time.to_string())),
        Value::Array(_) | Value::Table(_) => {
            section.problem(key, "wants a text, a number, true or false");
            None
        }
    }
}
