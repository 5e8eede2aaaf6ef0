//! How many bytes an item takes as compact JSON, in its shape if it has one.
//!
//! Of CSV it is a fixed number of bytes, and of each column's escaped value so many copies. Of JSON it is a fixed number of
//! bytes, the record itself without the white space between its parts so many times, and the values that paths name in it.

use crate::columns::empty_item_bytes;
use crate::cut::CutRules;
use crate::fields::{FieldVisitor, visit_fields};
use crate::format::RecordFormat;
use crate::json::{MAX_ESCAPED_BYTES, compact_len, escaped_len};
use crate::json_path::{JsonPath, PathStep};
use crate::shape::{ItemHole, ItemShape, MEASURED_DIGITS};

/// Measures records as the items that they are.
#[derive(Debug, Clone)]
pub(crate) struct ItemMeasure {
    /// Bytes of the item without what comes from the record.
    fixed_bytes: u64,
    values: Values,
}

/// What an item takes from its record.
#[derive(Debug, Clone)]
enum Values {
    /// How often the value of each column stands in the item.
    Fields { copies: Vec<u64>, most_copies: u64, delimiter: u8 },
    /// How often the record itself stands in it, and the parts of it that do.
    Json { copies: u64, parts: Vec<JsonPath> },
}

impl ItemMeasure {
    pub(crate) fn new(rules: &CutRules) -> Self {
        match rules.format {
            RecordFormat::Csv(dialect) => Self::of_fields(rules, dialect.delimiter),
            RecordFormat::JsonLines => Self::of_json(rules.shape.as_ref()),
        }
    }

    fn of_fields(rules: &CutRules, delimiter: u8) -> Self {
        let names = &rules.header.names;
        let bare = empty_item_bytes(names);
        let (fixed_bytes, copies) = match &rules.shape {
            Some(shape) => shaped_fields(names, bare, shape),
            None => (bare, vec![1; names.len()]),
        };
        let most_copies = copies.iter().copied().max().unwrap_or(0);
        Self { fixed_bytes, values: Values::Fields { copies, most_copies, delimiter } }
    }

    fn of_json(shape: Option<&ItemShape>) -> Self {
        let Some(shape) = shape else {
            return Self { fixed_bytes: 0, values: Values::Json { copies: 1, parts: Vec::new() } };
        };
        let (mut fixed_bytes, mut copies, mut parts) = (shape.constant_bytes(), 0, Vec::new());
        for hole in shape.holes() {
            match hole {
                ItemHole::Index => fixed_bytes += MEASURED_DIGITS,
                ItemHole::Value(path) if path.steps().is_empty() => copies += 1,
                ItemHole::Value(path) => parts.push(path.clone()),
            }
        }
        Self { fixed_bytes, values: Values::Json { copies, parts } }
    }

    /// At least the bytes of a record's item.
    pub(crate) fn upper_bound(&self, record_bytes: u64) -> u64 {
        let copies = match &self.values {
            Values::Fields { most_copies, .. } => MAX_ESCAPED_BYTES.saturating_mul(*most_copies),
            Values::Json { copies, parts } => copies + parts.len() as u64,
        };
        self.fixed_bytes.saturating_add(record_bytes.saturating_mul(copies))
    }

    /// Bytes that are not UTF-8 count one each, and all bytes of what is not JSON count: such an item is never sent. A path
    /// that names nothing counts nothing: nor is that one.
    pub(crate) fn exact(&self, record: &[u8]) -> u64 {
        let of_record = match &self.values {
            Values::Fields { copies, most_copies, delimiter } => {
                let mut values = EscapedValues { bytes: 0, copies };
                if *most_copies > 0 {
                    visit_fields(record, *delimiter, &mut values);
                }
                values.bytes
            }
            Values::Json { copies, parts } => {
                let whole = if *copies > 0 { compact_len(record).saturating_mul(*copies) } else { 0 };
                whole.saturating_add(parts_len(record, parts))
            }
        };
        self.fixed_bytes.saturating_add(of_record)
    }
}

/// The fixed bytes of a shaped CSV item, and the copies of each column's value; `bare` are the fixed bytes of one without a
/// shape.
fn shaped_fields(names: &[String], bare: u64, shape: &ItemShape) -> (u64, Vec<u64>) {
    let mut fixed_bytes = shape.constant_bytes();
    let mut copies = vec![0; names.len()];
    for hole in shape.holes() {
        match hole {
            ItemHole::Index => fixed_bytes += MEASURED_DIGITS,
            ItemHole::Value(path) if path.steps().is_empty() => {
                fixed_bytes += bare;
                copies.iter_mut().for_each(|copies| *copies += 1);
            }
            ItemHole::Value(path) => {
                let column = match path.steps() {
                    [PathStep::Name(name)] => names.iter().position(|column| column == name),
                    _ => None,
                };
                if let Some(column) = column {
                    copies[column] += 1;
                    fixed_bytes += QUOTES;
                }
            }
        }
    }
    (fixed_bytes, copies)
}

/// The compact bytes of the parts of a JSON record that `paths` name.
fn parts_len(record: &[u8], paths: &[JsonPath]) -> u64 {
    if paths.is_empty() {
        return 0;
    }
    let Ok(text) = std::str::from_utf8(record) else { return 0 };
    let parts = paths.iter().filter_map(|path| path.find_in_text(text));
    parts.map(|part| compact_len(part.as_bytes())).sum()
}

/// The quotes around a value.
const QUOTES: u64 = 2;

/// Sums up the escaped values of the fields that have a column.
struct EscapedValues<'a> {
    bytes: u64,
    /// Of the field in progress and those after it.
    copies: &'a [u64],
}

impl FieldVisitor for EscapedValues<'_> {
    fn piece(&mut self, bytes: &[u8]) {
        if self.copies[0] > 0 {
            self.bytes += escaped_len(bytes) * self.copies[0];
        }
    }

    fn field_end(&mut self) -> bool {
        self.copies = &self.copies[1..];
        !self.copies.is_empty()
    }
}
