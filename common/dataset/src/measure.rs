//! How many bytes an item takes as compact JSON, in its shape if it has one.
//!
//! Either way it is a fixed number of bytes, and of each column's escaped value so many copies.

use crate::columns::empty_item_bytes;
use crate::cut::CutRules;
use crate::fields::{FieldVisitor, visit_fields};
use crate::json::{MAX_ESCAPED_BYTES, escaped_len};
use crate::json_path::PathStep;
use crate::shape::{ItemHole, ItemShape, MEASURED_DIGITS};

/// Measures records as the items that they are.
#[derive(Debug, Clone)]
pub(crate) struct ItemMeasure {
    /// Bytes of the item if all its values are empty.
    fixed_bytes: u64,
    /// How often the value of each column stands in the item.
    copies: Vec<u64>,
    /// The largest of `copies`.
    most_copies: u64,
    delimiter: u8,
}

impl ItemMeasure {
    pub(crate) fn new(rules: &CutRules) -> Self {
        let names = &rules.header.names;
        let bare = Self {
            fixed_bytes: empty_item_bytes(names),
            copies: vec![1; names.len()],
            most_copies: 1,
            delimiter: rules.dialect.delimiter,
        };
        match &rules.shape {
            Some(shape) => bare.shaped(names, shape),
            None => bare,
        }
    }

    /// A path that names nothing counts nothing: such an item is never sent.
    fn shaped(self, names: &[String], shape: &ItemShape) -> Self {
        let mut fixed_bytes = shape.constant_bytes();
        let mut copies = vec![0; names.len()];
        for hole in shape.holes() {
            match hole {
                ItemHole::Index => fixed_bytes += MEASURED_DIGITS,
                ItemHole::Value(path) if path.steps().is_empty() => {
                    fixed_bytes += self.fixed_bytes;
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
        let most_copies = copies.iter().copied().max().unwrap_or(0);
        Self { fixed_bytes, copies, most_copies, ..self }
    }

    /// At least the bytes of a record's item.
    pub(crate) fn upper_bound(&self, record_bytes: u64) -> u64 {
        let values = MAX_ESCAPED_BYTES.saturating_mul(record_bytes).saturating_mul(self.most_copies);
        self.fixed_bytes.saturating_add(values)
    }

    /// Bytes that are not UTF-8 count one each: such an item is never sent.
    pub(crate) fn exact(&self, record: &[u8]) -> u64 {
        let mut values = EscapedValues { bytes: 0, copies: &self.copies };
        if self.most_copies > 0 && !self.copies.is_empty() {
            visit_fields(record, self.delimiter, &mut values);
        }
        self.fixed_bytes + values.bytes
    }
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
