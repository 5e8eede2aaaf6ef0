//! Items of one batch, which share what they were read from.

use std::borrow::Cow;
use std::sync::Arc;

use crate::columns::empty_item_bytes;
use crate::csv_records::CsvRecords;
use crate::item_field::Field;
use crate::items::Items;
use crate::json::{self, JsonError, Members};
use crate::json_path::{JsonPath, PathStep};
use crate::json_records::JsonRecords;
use crate::range::ByteRange;

/// Consecutive items that one handler call gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Ordinal within the shard.
    pub ordinal: u32,
    /// Ordinal within the shard of its first item.
    pub first_item: u32,
    /// Its items in order; at least one.
    pub items: Items,
    /// From its first item's first byte to just past the CR or LF that ends its last.
    pub bytes: ByteRange,
    /// Line feeds between the shard's start and the batch.
    pub newlines_before: u64,
}

/// One record: of CSV with the header's names, of JSON lines the value itself. Cheap to clone: the items of a batch share
/// their text. The fields of a batch of CSV are looked for when the first of them is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    records: Arc<Records>,
    index: usize,
}

/// The records of a batch.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Records {
    Csv(CsvRecords),
    Json(JsonRecords),
}

impl Records {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Csv(records) => records.len(),
            Self::Json(records) => records.len(),
        }
    }

    /// Whether none has a problem.
    pub(crate) fn are_readable(&self) -> bool {
        match self {
            Self::Csv(records) => records.are_readable(),
            Self::Json(records) => records.are_readable(),
        }
    }
}

impl From<CsvRecords> for Records {
    fn from(records: CsvRecords) -> Self {
        Self::Csv(records)
    }
}

impl From<JsonRecords> for Records {
    fn from(records: JsonRecords) -> Self {
        Self::Json(records)
    }
}

/// Why a record is no item. Such a record fails alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ItemProblem {
    /// It is not UTF-8 from here on.
    InvalidUtf8 {
        /// Offset in the object.
        offset: u64,
    },
    /// It is not JSON from here on.
    InvalidJson {
        /// Offset in the object.
        offset: u64,
        /// What is wrong.
        error: JsonError,
    },
}

impl Item {
    pub(crate) fn new(records: Arc<Records>, index: usize) -> Self {
        Self { records, index }
    }

    /// The record's bytes in the object, without its terminator.
    pub fn bytes(&self) -> ByteRange {
        match &*self.records {
            Records::Csv(records) => records.range(self.index),
            Records::Json(records) => records.range(self.index),
        }
    }

    /// Line feeds between the shard's start and the item.
    pub fn newlines_before(&self) -> u64 {
        match &*self.records {
            Records::Csv(records) => records.newlines_before(self.index),
            Records::Json(records) => records.newlines_before(self.index),
        }
    }

    /// Why the record cannot be read. Such an item has no fields and fails alone.
    pub fn problem(&self) -> Option<ItemProblem> {
        match &*self.records {
            Records::Csv(records) => records.problem(self.index),
            Records::Json(records) => records.problem(self.index),
        }
    }

    /// What it holds in the column, or of a JSON object in the member, `name`. A record of fewer fields than columns holds
    /// `""` in the others; of members of one name the last counts.
    pub fn field(&self, name: &str) -> Field<'_> {
        if self.problem().is_some() {
            return Field::Missing;
        }
        match &*self.records {
            Records::Csv(records) => records.columns.position(name).map_or(Field::Missing, |column| {
                Field::Text(Cow::Borrowed(records.value(self.index, column)))
            }),
            Records::Json(records) => {
                let is_named = |member: &(&str, &str)| json::unescape(member.0) == name;
                Members::of(records.value(self.index))
                    .filter(is_named)
                    .last()
                    .map_or(Field::Missing, |(_, value)| Field::of_json(Cow::Borrowed(value)))
            }
        }
    }

    /// The text of the field `name`; `None` if there is none, or it is null.
    pub fn get(&self, name: &str) -> Option<Cow<'_, str>> {
        self.field(name).into_text()
    }

    /// Names of columns in header order, or of a JSON object's members as they stand; none if the record cannot be read.
    pub fn names(&self) -> impl Iterator<Item = Cow<'_, str>> {
        let (columns, members) = match &*self.records {
            _ if self.problem().is_some() => (&[][..], ""),
            Records::Csv(records) => (&records.columns.names[..], ""),
            Records::Json(records) => (&[][..], records.value(self.index)),
        };
        let columns = columns.iter().map(|name| Cow::Borrowed(name.as_str()));
        columns.chain(Members::of(members).map(|(name, _)| json::unescape(name)))
    }

    /// Names and values of a CSV record in header order; nothing of JSON, or if the record cannot be read.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        let records = match &*self.records {
            Records::Csv(records) if self.problem().is_none() => Some(records),
            Records::Csv(_) | Records::Json(_) => None,
        };
        records.into_iter().flat_map(|records| {
            let names = records.columns.names.iter().enumerate();
            names.map(|(column, name)| (name.as_str(), records.value(self.index, column)))
        })
    }

    /// The value of a record of JSON lines as compact JSON; `None` of CSV.
    pub fn json(&self) -> Option<&str> {
        match &*self.records {
            Records::Csv(_) => None,
            Records::Json(records) => Some(records.value(self.index)),
        }
    }

    /// Appends the item as compact JSON: of CSV an object with its keys in header order, all values strings.
    ///
    /// Of a record that cannot be read it is a form for reports, never for handlers: U+FFFD stands for what is not UTF-8,
    /// and a string for what is not JSON.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        match &*self.records {
            Records::Csv(records) => {
                records.columns.write_item(|column| records.value(self.index, column), out);
            }
            Records::Json(records) => out.extend_from_slice(records.value(self.index).as_bytes()),
        }
    }

    /// Whether `path` names a value of the item; in JSON `null` is one.
    pub fn has(&self, path: &JsonPath) -> bool {
        match &*self.records {
            _ if path.steps().is_empty() => true,
            Records::Csv(records) => self.column_at(records, path).is_some(),
            Records::Json(records) => self.json_at(records, path).is_some(),
        }
    }

    /// Appends the JSON of the value that `path` names; `false`: it names none.
    pub fn write_json_at(&self, path: &JsonPath, out: &mut Vec<u8>) -> bool {
        if path.steps().is_empty() {
            self.write_json(out);
            return true;
        }
        match &*self.records {
            Records::Csv(records) => {
                let text = self.column_at(records, path);
                text.map(|text| json::write_string(text, out)).is_some()
            }
            Records::Json(records) => {
                let json = self.json_at(records, path);
                json.map(|json| out.extend_from_slice(json.as_bytes())).is_some()
            }
        }
    }

    /// The bytes of the JSON of the value that `path` names; 0 if it names none.
    pub fn json_bytes_at(&self, path: &JsonPath) -> u64 {
        match &*self.records {
            Records::Csv(records) if path.steps().is_empty() => {
                let columns = &records.columns;
                let value = |column| records.value(self.index, column).as_bytes();
                let values = (0..columns.len()).map(|column| json::escaped_len(value(column)));
                empty_item_bytes(&columns.names) + values.sum::<u64>()
            }
            Records::Csv(records) => {
                self.column_at(records, path).map_or(0, |text| json::escaped_len(text.as_bytes()) + 2)
            }
            Records::Json(records) => self.json_at(records, path).map_or(0, |json| json.len() as u64),
        }
    }

    /// The object that it comes from as a JSON string; `""` if its record does not say so.
    pub(crate) fn source_json(&self) -> &str {
        match &*self.records {
            Records::Csv(_) => "",
            Records::Json(records) => records.source(self.index),
        }
    }

    /// What `path` names.
    pub fn field_at(&self, path: &JsonPath) -> Field<'_> {
        match &*self.records {
            Records::Csv(_) if path.steps().is_empty() => {
                let mut json = Vec::new();
                self.write_json(&mut json);
                Field::Json(Cow::Owned(String::from_utf8(json).expect("names and values are text")))
            }
            Records::Csv(records) => {
                self.column_at(records, path).map_or(Field::Missing, |text| Field::Text(Cow::Borrowed(text)))
            }
            Records::Json(records) => {
                self.json_at(records, path).map_or(Field::Missing, |json| Field::of_json(Cow::Borrowed(json)))
            }
        }
    }

    /// The value of the column that `path` names. Every value of CSV is a text, which holds nothing.
    fn column_at<'a>(&self, records: &'a CsvRecords, path: &JsonPath) -> Option<&'a str> {
        match path.steps() {
            [PathStep::Name(name)] if self.problem().is_none() => {
                records.columns.position(name).map(|column| records.value(self.index, column))
            }
            _ => None,
        }
    }

    /// The JSON that `path` names in a record of JSON.
    fn json_at<'a>(&self, records: &'a JsonRecords, path: &JsonPath) -> Option<&'a str> {
        if self.problem().is_some() {
            return None;
        }
        path.find_in_text(records.value(self.index))
    }
}
