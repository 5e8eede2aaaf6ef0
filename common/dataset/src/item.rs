//! Items of one batch, in one shared buffer.

use std::borrow::Cow;
use std::sync::Arc;

use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::columns::{Columns, empty_item_bytes};
use crate::fields::{FieldVisitor, visit_fields};
use crate::json;
use crate::json_path::{JsonPath, PathStep};
use crate::range::{ByteRange, Window};

/// Consecutive items that one handler call gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Ordinal within the shard.
    pub ordinal: u32,
    /// Ordinal within the shard of its first item.
    pub first_item: u32,
    /// Its items in order; at least one.
    pub items: Vec<Item>,
    /// From its first item's first byte to just past the CR or LF that ends its last.
    pub bytes: ByteRange,
    /// Line feeds between the shard's start and the batch.
    pub newlines_before: u64,
}

/// One record with the header's names. Cheap to clone: the items of a batch share their text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    texts: Arc<ItemTexts>,
    index: usize,
}

impl Item {
    /// The record's bytes in the object, without its terminator.
    pub fn bytes(&self) -> ByteRange {
        self.place().bytes
    }

    /// Line feeds between the shard's start and the item.
    pub fn newlines_before(&self) -> u64 {
        self.place().newlines_before
    }

    /// Offset of the first byte that is not UTF-8. Such an item has no fields and fails alone.
    pub fn invalid_utf8(&self) -> Option<u64> {
        self.place().invalid_utf8
    }

    /// The value in the column `name`: `""` if the record has fewer fields. `None`: no such column, or not UTF-8.
    pub fn get(&self, name: &str) -> Option<&str> {
        if self.invalid_utf8().is_some() {
            return None;
        }
        Some(self.value(self.texts.columns.position(name)?))
    }

    /// Names and values in header order; nothing if the record is not UTF-8.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        let names = if self.invalid_utf8().is_none() { &self.texts.columns.names[..] } else { &[] };
        names.iter().enumerate().map(|(column, name)| (name.as_str(), self.value(column)))
    }

    /// Appends the item as a compact JSON object: keys in header order, all values strings.
    ///
    /// If the record is not UTF-8, U+FFFD stands for what is not: a form for reports, never for handlers.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        self.texts.columns.write_item(|column| self.value(column), out);
    }

    /// Whether `path` names a value of the item.
    pub fn has(&self, path: &JsonPath) -> bool {
        match path.steps() {
            [] => true,
            [PathStep::Name(name)] => self.get(name).is_some(),
            // Every value is a text, which holds nothing.
            [PathStep::Name(_) | PathStep::Index(_), ..] => false,
        }
    }

    /// Appends the JSON of the value that `path` names; `false`: it names none.
    pub fn write_json_at(&self, path: &JsonPath, out: &mut Vec<u8>) -> bool {
        if path.steps().is_empty() {
            self.write_json(out);
            return true;
        }
        match self.text_at(path) {
            Some(text) => {
                json::write_string(&text, out);
                true
            }
            None => false,
        }
    }

    /// The bytes of the JSON of the value that `path` names; 0 if it names none.
    pub fn json_bytes_at(&self, path: &JsonPath) -> u64 {
        let quoted = |text: &str| json::escaped_len(text.as_bytes()) + 2;
        if path.steps().is_empty() {
            let columns = &self.texts.columns;
            let values = (0..columns.len()).map(|column| json::escaped_len(self.value(column).as_bytes()));
            return empty_item_bytes(&columns.names) + values.sum::<u64>();
        }
        self.text_at(path).map_or(0, |text| quoted(&text))
    }

    /// The text that `path` names; `None`: it names no value, or one that is no text.
    pub fn text_at(&self, path: &JsonPath) -> Option<Cow<'_, str>> {
        match path.steps() {
            [PathStep::Name(name)] => self.get(name).map(Cow::Borrowed),
            [] | [PathStep::Name(_) | PathStep::Index(_), ..] => None,
        }
    }

    fn place(&self) -> &Place {
        &self.texts.places[self.index]
    }

    /// The value in `column`; replacements included.
    fn value(&self, column: usize) -> &str {
        let first_field = self.place().first_field;
        let next_first = self.texts.places.get(self.index + 1).map(|place| place.first_field);
        let field = first_field + column;
        if field >= next_first.unwrap_or(self.texts.field_ends.len()) {
            return "";
        }
        let start = field.checked_sub(1).map_or(0, |before| self.texts.field_ends[before]);
        &self.texts.text[start..self.texts.field_ends[field]]
    }
}

/// The same object as [`Item::write_json`] writes.
impl Serialize for Item {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let names = &self.texts.columns.names;
        let mut map = serializer.serialize_map(Some(names.len()))?;
        for (column, name) in names.iter().enumerate() {
            map.serialize_entry(name, self.value(column))?;
        }
        map.end()
    }
}

/// The values of a batch's items, one after another.
#[derive(Debug, PartialEq, Eq)]
struct ItemTexts {
    columns: Arc<Columns>,
    text: String,
    /// Where each value ends in `text`.
    field_ends: Vec<usize>,
    places: Vec<Place>,
}

/// Where an item comes from, and where its values are.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    bytes: ByteRange,
    newlines_before: u64,
    invalid_utf8: Option<u64>,
    /// Index of its first value in `field_ends`.
    first_field: usize,
}

/// Builds the items of one batch from `records`, in a window whose first line feed is the shard's `newlines_before`th.
pub(crate) fn build_items(
    columns: &Arc<Columns>,
    delimiter: u8,
    records: &[ByteRange],
    window: &Window<'_>,
    newlines_before: u64,
) -> Vec<Item> {
    let mut builder = Builder::new(columns.len(), delimiter, records, window);
    let mut newlines = newlines_before;
    let mut counted_to = records.first().map_or(window.base, |record| record.start);
    for record in records {
        newlines += window.newlines(ByteRange::new(counted_to, record.start));
        counted_to = record.start;
        builder.add(*record, window, newlines);
    }
    let texts = Arc::new(builder.finish(columns));
    (0..records.len()).map(|index| Item { texts: Arc::clone(&texts), index }).collect()
}

struct Builder {
    column_count: usize,
    delimiter: u8,
    /// The whole batch is UTF-8, so no record needs to be looked at alone.
    all_utf8: bool,
    text: Vec<u8>,
    field_ends: Vec<usize>,
    places: Vec<Place>,
}

impl Builder {
    fn new(column_count: usize, delimiter: u8, records: &[ByteRange], window: &Window<'_>) -> Self {
        let all = match records {
            [first, .., last] => ByteRange::new(first.start, last.end),
            [only] => *only,
            [] => ByteRange::new(window.base, window.base),
        };
        let bytes = window.slice(all);
        Self {
            column_count,
            delimiter,
            all_utf8: std::str::from_utf8(bytes).is_ok(),
            text: Vec::with_capacity(bytes.len()),
            field_ends: Vec::new(),
            places: Vec::with_capacity(records.len()),
        }
    }

    fn add(&mut self, record: ByteRange, window: &Window<'_>, newlines_before: u64) {
        let bytes = window.slice(record);
        let invalid_utf8 = if self.all_utf8 { None } else { first_invalid(bytes, record.start) };
        let first_field = self.field_ends.len();
        self.places.push(Place { bytes: record, newlines_before, invalid_utf8, first_field });
        let mut values = Values {
            field_start: self.text.len(),
            columns_left: self.column_count,
            lossy: invalid_utf8.is_some(),
            builder: self,
        };
        if values.columns_left > 0 {
            visit_fields(bytes, values.builder.delimiter, &mut values);
        }
    }

    fn finish(self, columns: &Arc<Columns>) -> ItemTexts {
        ItemTexts {
            columns: Arc::clone(columns),
            text: String::from_utf8(self.text)
                .expect("values of valid records are valid, others were replaced"),
            field_ends: self.field_ends,
            places: self.places,
        }
    }
}

/// Appends the values of the fields that have a column.
struct Values<'a> {
    builder: &'a mut Builder,
    field_start: usize,
    columns_left: usize,
    lossy: bool,
}

impl FieldVisitor for Values<'_> {
    fn piece(&mut self, bytes: &[u8]) {
        self.builder.text.extend_from_slice(bytes);
    }

    fn field_end(&mut self) -> bool {
        if self.lossy {
            let field = self.builder.text.split_off(self.field_start);
            self.builder.text.extend_from_slice(String::from_utf8_lossy(&field).as_bytes());
        }
        self.field_start = self.builder.text.len();
        self.builder.field_ends.push(self.field_start);
        self.columns_left -= 1;
        self.columns_left > 0
    }
}

fn first_invalid(bytes: &[u8], base: u64) -> Option<u64> {
    std::str::from_utf8(bytes).err().map(|error| base + error.valid_up_to() as u64)
}
