//! Items of one batch, in one shared buffer.

use std::borrow::Cow;
use std::sync::Arc;

use crate::columns::{Columns, empty_item_bytes};
use crate::fields::{FieldVisitor, visit_fields};
use crate::json::{self, JsonError, Members};
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

/// One record: of CSV with the header's names, of JSON lines the value itself. Cheap to clone: the items of a batch share
/// their text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    texts: Arc<ItemTexts>,
    index: usize,
}

/// What an item holds under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Field<'a> {
    /// There is no such column or member, or the record cannot be read.
    Missing,
    /// `null`, which only JSON has.
    Null,
    /// A text: every value of CSV, a string of JSON.
    Text(Cow<'a, str>),
    /// A number, `true`, `false`, an array or an object, as compact JSON: numbers keep their text.
    Json(Cow<'a, str>),
}

impl<'a> Field<'a> {
    /// The text, or the JSON; `None` for what is missing or null.
    pub fn into_text(self) -> Option<Cow<'a, str>> {
        match self {
            Self::Missing | Self::Null => None,
            Self::Text(text) => Some(text),
            Self::Json(json) => Some(json),
        }
    }

    /// What compact JSON is as a field.
    pub fn of_json(json: Cow<'a, str>) -> Self {
        match (json.as_bytes().first().copied(), json) {
            (Some(b'"'), Cow::Borrowed(json)) => Self::Text(json::unescape(json)),
            (Some(b'"'), Cow::Owned(json)) => Self::Text(Cow::Owned(json::unescape(&json).into_owned())),
            (Some(b'n'), _) => Self::Null,
            (_, json) => Self::Json(json),
        }
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
    /// The record's bytes in the object, without its terminator.
    pub fn bytes(&self) -> ByteRange {
        self.place().bytes
    }

    /// Line feeds between the shard's start and the item.
    pub fn newlines_before(&self) -> u64 {
        self.place().newlines_before
    }

    /// Why the record cannot be read. Such an item has no fields and fails alone.
    pub fn problem(&self) -> Option<ItemProblem> {
        self.place().problem
    }

    /// What it holds in the column, or of a JSON object in the member, `name`. A record of fewer fields than columns holds
    /// `""` in the others; of members of one name the last counts.
    pub fn field(&self, name: &str) -> Field<'_> {
        if self.problem().is_some() {
            return Field::Missing;
        }
        match &self.texts.values {
            Layout::Fields { columns, .. } => columns
                .position(name)
                .map_or(Field::Missing, |column| Field::Text(Cow::Borrowed(self.value(column)))),
            Layout::Json { .. } => {
                let is_named = |member: &(&str, &str)| json::unescape(member.0) == name;
                Members::of(self.json_text())
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
        let (columns, members) = match &self.texts.values {
            _ if self.problem().is_some() => (&[][..], ""),
            Layout::Fields { columns, .. } => (&columns.names[..], ""),
            Layout::Json { .. } => (&[][..], self.json_text()),
        };
        let columns = columns.iter().map(|name| Cow::Borrowed(name.as_str()));
        columns.chain(Members::of(members).map(|(name, _)| json::unescape(name)))
    }

    /// Names and values of a CSV record in header order; nothing of JSON, or if the record cannot be read.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        let names = match &self.texts.values {
            Layout::Fields { columns, .. } if self.problem().is_none() => &columns.names[..],
            Layout::Fields { .. } | Layout::Json { .. } => &[],
        };
        names.iter().enumerate().map(|(column, name)| (name.as_str(), self.value(column)))
    }

    /// The value of a record of JSON lines as compact JSON; `None` of CSV.
    pub fn json(&self) -> Option<&str> {
        match &self.texts.values {
            Layout::Fields { .. } => None,
            Layout::Json { .. } => Some(self.json_text()),
        }
    }

    /// Appends the item as compact JSON: of CSV an object with its keys in header order, all values strings.
    ///
    /// Of a record that cannot be read it is a form for reports, never for handlers: U+FFFD stands for what is not UTF-8,
    /// and a string for what is not JSON.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        match &self.texts.values {
            Layout::Fields { columns, .. } => columns.write_item(|column| self.value(column), out),
            Layout::Json { .. } => out.extend_from_slice(self.json_text().as_bytes()),
        }
    }

    /// Whether `path` names a value of the item; in JSON `null` is one.
    pub fn has(&self, path: &JsonPath) -> bool {
        match &self.texts.values {
            _ if path.steps().is_empty() => true,
            Layout::Fields { .. } => self.column_at(path).is_some(),
            Layout::Json { .. } => self.json_at(path).is_some(),
        }
    }

    /// Appends the JSON of the value that `path` names; `false`: it names none.
    pub fn write_json_at(&self, path: &JsonPath, out: &mut Vec<u8>) -> bool {
        if path.steps().is_empty() {
            self.write_json(out);
            return true;
        }
        match &self.texts.values {
            Layout::Fields { .. } => {
                let text = self.column_at(path);
                text.map(|text| json::write_string(text, out)).is_some()
            }
            Layout::Json { .. } => {
                let json = self.json_at(path);
                json.map(|json| out.extend_from_slice(json.as_bytes())).is_some()
            }
        }
    }

    /// The bytes of the JSON of the value that `path` names; 0 if it names none.
    pub fn json_bytes_at(&self, path: &JsonPath) -> u64 {
        match &self.texts.values {
            Layout::Fields { columns, .. } if path.steps().is_empty() => {
                let values =
                    (0..columns.len()).map(|column| json::escaped_len(self.value(column).as_bytes()));
                empty_item_bytes(&columns.names) + values.sum::<u64>()
            }
            Layout::Fields { .. } => {
                self.column_at(path).map_or(0, |text| json::escaped_len(text.as_bytes()) + 2)
            }
            Layout::Json { .. } => self.json_at(path).map_or(0, |json| json.len() as u64),
        }
    }

    /// What `path` names.
    pub fn field_at(&self, path: &JsonPath) -> Field<'_> {
        match &self.texts.values {
            Layout::Fields { .. } if path.steps().is_empty() => {
                let mut json = Vec::new();
                self.write_json(&mut json);
                Field::Json(Cow::Owned(String::from_utf8(json).expect("names and values are text")))
            }
            Layout::Fields { .. } => {
                self.column_at(path).map_or(Field::Missing, |text| Field::Text(Cow::Borrowed(text)))
            }
            Layout::Json { .. } => {
                self.json_at(path).map_or(Field::Missing, |json| Field::of_json(Cow::Borrowed(json)))
            }
        }
    }

    /// The value of the column that `path` names. Every value of CSV is a text, which holds nothing.
    fn column_at(&self, path: &JsonPath) -> Option<&str> {
        match (path.steps(), &self.texts.values) {
            ([PathStep::Name(name)], Layout::Fields { columns, .. }) if self.problem().is_none() => {
                columns.position(name).map(|column| self.value(column))
            }
            _ => None,
        }
    }

    /// The JSON that `path` names in a record of JSON.
    fn json_at(&self, path: &JsonPath) -> Option<&str> {
        if self.problem().is_some() {
            return None;
        }
        path.find_in_text(self.json()?)
    }

    fn place(&self) -> &Place {
        &self.texts.places[self.index]
    }

    /// The value in `column`; replacements included.
    fn value(&self, column: usize) -> &str {
        let Layout::Fields { field_ends, .. } = &self.texts.values else { return "" };
        let first_field = self.place().first_value;
        let next_first = self.texts.places.get(self.index + 1).map(|place| place.first_value);
        let field = first_field + column;
        if field >= next_first.unwrap_or(field_ends.len()) {
            return "";
        }
        let start = field.checked_sub(1).map_or(0, |before| field_ends[before]);
        &self.texts.text[start..field_ends[field]]
    }

    fn json_text(&self) -> &str {
        let Layout::Json { value_ends } = &self.texts.values else { return "" };
        let start = self.index.checked_sub(1).map_or(0, |before| value_ends[before]);
        &self.texts.text[start..value_ends[self.index]]
    }
}

/// The values of a batch's items, one after another.
#[derive(Debug, PartialEq, Eq)]
struct ItemTexts {
    text: String,
    values: Layout,
    places: Vec<Place>,
}

/// Where values end in the text.
#[derive(Debug, PartialEq, Eq)]
enum Layout {
    Fields { columns: Arc<Columns>, field_ends: Vec<usize> },
    Json { value_ends: Vec<usize> },
}

/// Where an item comes from, and where its values are.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    bytes: ByteRange,
    newlines_before: u64,
    problem: Option<ItemProblem>,
    /// Index of its first value in `field_ends`; of JSON its own index.
    first_value: usize,
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
    for_each_record(records, window, newlines_before, |record, newlines| {
        builder.add(record, window, newlines);
    });
    share(builder.finish(columns))
}

/// The same for JSON lines.
pub(crate) fn build_json_items(
    records: &[ByteRange],
    window: &Window<'_>,
    newlines_before: u64,
) -> Vec<Item> {
    let (mut text, mut value_ends, mut places) = (String::new(), Vec::new(), Vec::new());
    for_each_record(records, window, newlines_before, |bytes, newlines_before| {
        let problem = write_value(window.slice(bytes), bytes.start, &mut text);
        places.push(Place { bytes, newlines_before, problem, first_value: value_ends.len() });
        value_ends.push(text.len());
    });
    share(ItemTexts { text, values: Layout::Json { value_ends }, places })
}

/// Appends a record's value, or a string that stands for it if it is none.
fn write_value(record: &[u8], base: u64, text: &mut String) -> Option<ItemProblem> {
    let mut value = Vec::with_capacity(record.len());
    let problem = match first_invalid(record, base) {
        None => json::compact(record, &mut value)
            .err()
            .map(|(index, error)| ItemProblem::InvalidJson { offset: base + index as u64, error }),
        invalid => invalid,
    };
    if problem.is_some() {
        value.clear();
        json::write_string(String::from_utf8_lossy(record).trim_end(), &mut value);
    }
    text.push_str(std::str::from_utf8(&value).expect("parts of valid text between ASCII bytes are valid"));
    problem
}

/// Calls `visit` with each record and the line feeds before it.
fn for_each_record(
    records: &[ByteRange],
    window: &Window<'_>,
    newlines_before: u64,
    mut visit: impl FnMut(ByteRange, u64),
) {
    let mut newlines = newlines_before;
    let mut counted_to = records.first().map_or(window.base, |record| record.start);
    for record in records {
        newlines += window.newlines(ByteRange::new(counted_to, record.start));
        counted_to = record.start;
        visit(*record, newlines);
    }
}

fn share(texts: ItemTexts) -> Vec<Item> {
    let texts = Arc::new(texts);
    (0..texts.places.len()).map(|index| Item { texts: Arc::clone(&texts), index }).collect()
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
        let problem = if self.all_utf8 { None } else { first_invalid(bytes, record.start) };
        let first_value = self.field_ends.len();
        self.places.push(Place { bytes: record, newlines_before, problem, first_value });
        let mut values = Values {
            field_start: self.text.len(),
            columns_left: self.column_count,
            lossy: problem.is_some(),
            builder: self,
        };
        if values.columns_left > 0 {
            visit_fields(bytes, values.builder.delimiter, &mut values);
        }
    }

    fn finish(self, columns: &Arc<Columns>) -> ItemTexts {
        ItemTexts {
            text: String::from_utf8(self.text)
                .expect("values of valid records are valid, others were replaced"),
            values: Layout::Fields { columns: Arc::clone(columns), field_ends: self.field_ends },
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

fn first_invalid(bytes: &[u8], base: u64) -> Option<ItemProblem> {
    let error = std::str::from_utf8(bytes).err()?;
    Some(ItemProblem::InvalidUtf8 { offset: base + error.valid_up_to() as u64 })
}
