//! The records of one batch of CSV: their bytes, and the fields in them, which are looked for when the first is asked for.

use std::sync::{Arc, OnceLock};

use crate::columns::Columns;
use crate::fields::{FieldVisitor, visit_fields};
use crate::item::ItemProblem;
use crate::range::{ByteRange, Window};

/// Consecutive records of an object, at least one.
#[derive(Debug)]
pub(crate) struct CsvRecords {
    pub(crate) columns: Arc<Columns>,
    delimiter: u8,
    /// From the first record's first byte to the last one's end.
    bytes: Box<[u8]>,
    /// Line feeds before that, counted from the shard's start.
    newlines_before: u64,
    /// The same before each record; counted when the first is asked for.
    newlines: OnceLock<Vec<u64>>,
    records: Vec<ByteRange>,
    /// Why each cannot be read; empty if all can.
    problems: Vec<Option<ItemProblem>>,
    fields: OnceLock<Fields>,
}

/// The values of all records, one after another.
#[derive(Debug)]
struct Fields {
    text: String,
    /// Where each value ends in the text.
    ends: Vec<usize>,
    /// The index in `ends` of each record's first value.
    firsts: Vec<usize>,
}

impl PartialEq for CsvRecords {
    fn eq(&self, other: &Self) -> bool {
        // All else follows from these.
        self.columns == other.columns
            && self.delimiter == other.delimiter
            && self.bytes == other.bytes
            && self.newlines_before == other.newlines_before
            && self.records == other.records
    }
}

impl Eq for CsvRecords {}

impl CsvRecords {
    /// `records` of a window; `newlines_before` the first of them.
    pub(crate) fn new(
        columns: &Arc<Columns>,
        delimiter: u8,
        records: &[ByteRange],
        window: &Window<'_>,
        newlines_before: u64,
    ) -> Self {
        let all = match records {
            [first, .., last] => ByteRange::new(first.start, last.end),
            [only] => *only,
            [] => ByteRange::new(window.base, window.base),
        };
        let bytes = window.slice(all);
        let is_text = std::str::from_utf8(bytes).is_ok();
        let problem = |record: &ByteRange| first_invalid(window.slice(*record), record.start);
        Self {
            columns: Arc::clone(columns),
            delimiter,
            bytes: bytes.into(),
            newlines_before,
            newlines: OnceLock::new(),
            records: records.to_vec(),
            problems: if is_text { Vec::new() } else { records.iter().map(problem).collect() },
            fields: OnceLock::new(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }

    /// Where a record is in the object.
    pub(crate) fn range(&self, index: usize) -> ByteRange {
        self.records[index]
    }

    /// Line feeds between the shard's start and a record.
    pub(crate) fn newlines_before(&self, index: usize) -> u64 {
        let newlines = self
            .newlines
            .get_or_init(|| self.window().newlines_before_each(&self.records, self.newlines_before));
        newlines[index]
    }

    /// Whether none has a problem.
    pub(crate) fn are_readable(&self) -> bool {
        self.problems.is_empty()
    }

    pub(crate) fn problem(&self, index: usize) -> Option<ItemProblem> {
        self.problems.get(index).copied().flatten()
    }

    /// What a record holds in a column, with U+FFFD for what is not UTF-8; `""` where it has fewer fields.
    pub(crate) fn value(&self, index: usize, column: usize) -> &str {
        let Fields { text, ends, firsts } = self.fields.get_or_init(|| self.find_fields());
        let field = firsts[index] + column;
        if field >= firsts.get(index + 1).copied().unwrap_or(ends.len()) {
            return "";
        }
        let start = field.checked_sub(1).map_or(0, |before| ends[before]);
        &text[start..ends[field]]
    }

    fn window(&self) -> Window<'_> {
        Window { base: self.records.first().map_or(0, |first| first.start), bytes: &self.bytes }
    }

    fn find_fields(&self) -> Fields {
        let window = self.window();
        let (mut ends, mut firsts) = (Vec::new(), Vec::with_capacity(self.records.len()));
        let mut text = Vec::with_capacity(self.bytes.len());
        for (index, record) in self.records.iter().enumerate() {
            firsts.push(ends.len());
            let is_lossy = self.problem(index).is_some();
            let (field_start, columns_left) = (text.len(), self.columns.len());
            let mut values = Values { text: &mut text, ends: &mut ends, field_start, columns_left, is_lossy };
            if columns_left > 0 {
                visit_fields(window.slice(*record), self.delimiter, &mut values);
            }
        }
        let text = String::from_utf8(text).expect("values of valid records are valid, others were replaced");
        Fields { text, ends, firsts }
    }
}

/// Appends the values of the fields that have a column.
struct Values<'a> {
    text: &'a mut Vec<u8>,
    ends: &'a mut Vec<usize>,
    field_start: usize,
    columns_left: usize,
    is_lossy: bool,
}

impl FieldVisitor for Values<'_> {
    fn piece(&mut self, bytes: &[u8]) {
        self.text.extend_from_slice(bytes);
    }

    fn field_end(&mut self) -> bool {
        if self.is_lossy {
            let field = self.text.split_off(self.field_start);
            self.text.extend_from_slice(String::from_utf8_lossy(&field).as_bytes());
        }
        self.field_start = self.text.len();
        self.ends.push(self.field_start);
        self.columns_left -= 1;
        self.columns_left > 0
    }
}

/// Where `bytes`, which begin at `base` in the object, are not UTF-8.
pub(crate) fn first_invalid(bytes: &[u8], base: u64) -> Option<ItemProblem> {
    let error = std::str::from_utf8(bytes).err()?;
    Some(ItemProblem::InvalidUtf8 { offset: base + error.valid_up_to() as u64 })
}
