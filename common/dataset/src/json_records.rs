//! The records of one batch of JSON lines: compact, with the object that each comes from.

use crate::csv_records::first_invalid;
use crate::item::ItemProblem;
use crate::json;
use crate::range::{ByteRange, Window};
use crate::sourced::split_sourced;

/// Consecutive records of an object, at least one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct JsonRecords {
    /// Their values and addresses, one after another.
    text: String,
    records: Vec<JsonRecord>,
}

/// One record: where it comes from, and where its value is.
#[derive(Debug, PartialEq, Eq)]
struct JsonRecord {
    range: ByteRange,
    newlines_before: u64,
    problem: Option<ItemProblem>,
    /// Where its value ends in the text.
    value_end: usize,
    /// Where the address of its object ends, which follows the value and may be none.
    source_end: usize,
}

impl JsonRecords {
    /// `records` of a window; `newlines_before` the first of them.
    pub(crate) fn new(
        records: &[ByteRange],
        window: &Window<'_>,
        newlines_before: u64,
        is_sourced: bool,
    ) -> Self {
        let mut batch = Self { text: String::new(), records: Vec::with_capacity(records.len()) };
        let newlines = window.newlines_before_each(records, newlines_before);
        for (range, newlines_before) in records.iter().zip(newlines) {
            batch.push(*range, window.slice(*range), newlines_before, is_sourced);
        }
        batch
    }

    fn push(&mut self, range: ByteRange, record: &[u8], newlines_before: u64, is_sourced: bool) {
        let (source, line) = if is_sourced { split_sourced(record) } else { (&[][..], record) };
        let before = (record.len() - line.len()) as u64;
        let problem = write_value(line, range.start + before, &mut self.text);
        let value_end = self.text.len();
        self.text.push_str(std::str::from_utf8(source).unwrap_or_default());
        let source_end = self.text.len();
        self.records.push(JsonRecord { range, newlines_before, problem, value_end, source_end });
    }

    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }

    /// Where a record is in the object.
    pub(crate) fn range(&self, index: usize) -> ByteRange {
        self.records[index].range
    }

    /// Line feeds between the shard's start and a record.
    pub(crate) fn newlines_before(&self, index: usize) -> u64 {
        self.records[index].newlines_before
    }

    /// Whether none has a problem.
    pub(crate) fn are_readable(&self) -> bool {
        self.records.iter().all(|record| record.problem.is_none())
    }

    pub(crate) fn problem(&self, index: usize) -> Option<ItemProblem> {
        self.records[index].problem
    }

    /// A record's value, or a string that stands for it if it is none.
    pub(crate) fn value(&self, index: usize) -> &str {
        let start = index.checked_sub(1).map_or(0, |before| self.records[before].source_end);
        &self.text[start..self.records[index].value_end]
    }

    /// The object that a record comes from as a JSON string; `""` if the record does not say so.
    pub(crate) fn source(&self, index: usize) -> &str {
        let record = &self.records[index];
        &self.text[record.value_end..record.source_end]
    }
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
