//! The probe: what an object's first bytes say about all of it.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::dialect::{Dialect, HeaderLocation, Limits};
use crate::fields::{FieldVisitor, visit_fields};
use crate::format::RecordFormat;
use crate::machine::EntryState;
use crate::range::{ByteRange, count_newlines};
use crate::walk::Cursor;

const UTF8_BOM: &[u8] = b"\xef\xbb\xbf";

/// The least that is worth asking for at once.
const MIN_HEAD_BYTES: u64 = 64 << 10;

/// The names of an object's columns, and where they stand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Names in column order; unique. None if the object holds no record, or its records have no columns.
    pub names: Vec<String>,
    /// The header record without its terminator; empty if the names were given.
    pub range: ByteRange,
}

impl Header {
    /// That of data without columns.
    pub fn none() -> Self {
        Self { names: Vec::new(), range: ByteRange::new(0, 0) }
    }
}

/// What an object's head says about the whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// The object's header.
    pub header: Header,
    /// Offset of the first byte of data, where no record is in progress. The object's size if there is none.
    pub data_start: u64,
    /// Line feeds before `data_start`: add them to a line number counted from there.
    pub newlines_before_data: u64,
}

/// Why a probe gave no header.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum ProbeError {
    /// The header goes on. Probe again with the first `bytes` bytes of the object, or all of it if it is shorter.
    #[error("the header needs the first {bytes} bytes of the object")]
    NeedMore {
        /// More than were given.
        bytes: u64,
    },
    /// The object cannot be read with this header; the run fails.
    #[error("{problem}")]
    Header {
        /// What is wrong.
        problem: HeaderProblem,
        /// Offset in the object of what is wrong, or of the record that it is in; 0 for names that were given.
        offset: u64,
        /// The particulars, for the reader of the error.
        detail: String,
    },
}

/// What can be wrong with a header.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum HeaderProblem {
    /// A name stands twice. Columns count from 1.
    #[error("CSV headers cannot contain duplicates.")]
    Duplicate {
        /// The name.
        name: String,
        /// Where it stands first.
        first_column: usize,
        /// Where it stands again.
        second_column: usize,
    },
    /// The header record, or what stands before it, is longer than a header may be.
    #[error("the CSV header is longer than {limit} bytes")]
    TooLong {
        /// The bound.
        limit: u64,
    },
    /// The header has more names than it may have.
    #[error("the CSV header has more than {limit} columns")]
    TooManyColumns {
        /// The bound.
        limit: usize,
    },
    /// The header is not UTF-8.
    #[error("the CSV header is not valid UTF-8")]
    InvalidUtf8,
    /// A quote is open at the object's end.
    #[error("a quote in the CSV header is still open at the end of the object")]
    QuoteOpenAtEnd,
    /// The delimiter is not one that a spec can name.
    #[error("the CSV delimiter is not supported")]
    UnsupportedDelimiter,
}

/// Reads the header from `head`, the object's first bytes; `at_end` says that they are all of them.
///
/// A UTF-8 byte order mark is taken off here and nowhere else. Empty lines before the header are no records. An object
/// without any record is no error: its header has no names and its data is empty. JSON lines have no header, wherever it
/// is said to be.
pub fn probe(
    head: &[u8],
    at_end: bool,
    format: RecordFormat,
    location: &HeaderLocation,
    limits: &Limits,
) -> Result<Probe, ProbeError> {
    let dialect = match format {
        RecordFormat::Csv(dialect) if !dialect.is_supported() => {
            let detail =
                format!("byte {:#04x} is none of comma, pipe, semicolon, space and tab", dialect.delimiter);
            return Err(refuse(HeaderProblem::UnsupportedDelimiter, 0, detail));
        }
        RecordFormat::Csv(dialect) => Some(dialect),
        RecordFormat::JsonLines => None,
    };
    let head = Head { bytes: head, at_end, text_start: text_start(head, at_end)? };
    match (dialect, location) {
        (Some(dialect), HeaderLocation::FirstRow) => head.read_first_row(dialect, limits),
        (Some(_), HeaderLocation::Given(names)) => head.take_given(names, limits),
        (None, _) => head.take_given(&[], limits),
    }
}

/// The object's first bytes; indexes are offsets.
struct Head<'a> {
    bytes: &'a [u8],
    at_end: bool,
    /// Just past the byte order mark.
    text_start: usize,
}

impl Head<'_> {
    fn take_given(&self, names: &[String], limits: &Limits) -> Result<Probe, ProbeError> {
        if names.len() > limits.max_columns {
            return Err(too_many_columns(limits, 0));
        }
        refuse_duplicates(names, 0)?;
        let range = ByteRange::new(self.text_start as u64, self.text_start as u64);
        Ok(self.probe_of(Header { names: names.to_vec(), range }, self.text_start))
    }

    fn read_first_row(&self, dialect: Dialect, limits: &Limits) -> Result<Probe, ProbeError> {
        let mut cursor = Cursor::at_start(EntryState::RecordStart);
        cursor.index = self.text_start;
        let Some(start) = cursor.seek_record(self.bytes, dialect.into()) else {
            return self.no_record_yet(limits);
        };
        let end = cursor.seek_record_end(self.bytes, dialect.into());
        let record = &self.bytes[start..end.unwrap_or(self.bytes.len())];
        if record.len() as u64 > limits.max_header_bytes || self.is_too_long(start, limits) {
            return Err(too_long(limits, start));
        }
        if end.is_none() {
            self.check_end(&cursor, start, dialect)?;
        }
        let data_start = self.after_terminator(end)?;
        let names = parse_names(record, start, dialect.delimiter, limits)?;
        refuse_duplicates(&names, start)?;
        let range = ByteRange::new(start as u64, (start + record.len()) as u64);
        Ok(self.probe_of(Header { names, range }, data_start))
    }

    fn no_record_yet(&self, limits: &Limits) -> Result<Probe, ProbeError> {
        if self.is_too_long(self.bytes.len(), limits) {
            return Err(too_long(limits, self.text_start));
        }
        if !self.at_end {
            return Err(self.need_more());
        }
        let end = self.bytes.len() as u64;
        Ok(self.probe_of(Header { names: Vec::new(), range: ByteRange::new(end, end) }, self.bytes.len()))
    }

    /// Whether what stands before a record at `start` is more than a header may be.
    fn is_too_long(&self, start: usize, limits: &Limits) -> bool {
        (start - self.text_start) as u64 > limits.max_header_bytes
    }

    /// The header has no terminator in the head: that is right only at the object's end, outside quotes.
    fn check_end(&self, cursor: &Cursor, start: usize, dialect: Dialect) -> Result<(), ProbeError> {
        if !self.at_end {
            return Err(self.need_more());
        }
        if cursor.state != EntryState::Quoted || dialect.lenient_quotes {
            return Ok(());
        }
        let quote = cursor.open_quote.unwrap_or(start);
        let detail = format!("the quote at byte {quote} is not closed; close it, or set lenientQuotes");
        Err(refuse(HeaderProblem::QuoteOpenAtEnd, quote, detail))
    }

    /// Where the data starts if the byte at `end` ends the header: an LF after a CR belongs to it.
    fn after_terminator(&self, end: Option<usize>) -> Result<usize, ProbeError> {
        let Some(end) = end else { return Ok(self.bytes.len()) };
        match (self.bytes[end], self.bytes.get(end + 1)) {
            (b'\r', None) if !self.at_end => Err(self.need_more()),
            (b'\r', Some(b'\n')) => Ok(end + 2),
            _ => Ok(end + 1),
        }
    }

    fn need_more(&self) -> ProbeError {
        ProbeError::NeedMore { bytes: (2 * self.bytes.len() as u64).max(MIN_HEAD_BYTES) }
    }

    fn probe_of(&self, header: Header, data_start: usize) -> Probe {
        Probe {
            header,
            data_start: data_start as u64,
            newlines_before_data: count_newlines(&self.bytes[..data_start]),
        }
    }
}

/// Where the text begins: just past a byte order mark.
fn text_start(head: &[u8], at_end: bool) -> Result<usize, ProbeError> {
    if !at_end && head.len() < UTF8_BOM.len() && UTF8_BOM.starts_with(head) {
        return Err(ProbeError::NeedMore { bytes: MIN_HEAD_BYTES });
    }
    Ok(if head.starts_with(UTF8_BOM) { UTF8_BOM.len() } else { 0 })
}

/// The header's names; counts them before it keeps any.
fn parse_names(
    record: &[u8],
    start: usize,
    delimiter: u8,
    limits: &Limits,
) -> Result<Vec<String>, ProbeError> {
    if let Err(error) = std::str::from_utf8(record) {
        let offset = start + error.valid_up_to();
        let detail =
            format!("byte {offset} is not UTF-8; convert the object, or name its encoding in csvEncoding");
        return Err(refuse(HeaderProblem::InvalidUtf8, offset, detail));
    }
    let mut names = Names { complete: Vec::new(), current: Vec::new(), limit: limits.max_columns };
    visit_fields(record, delimiter, &mut names);
    if names.complete.len() > limits.max_columns {
        return Err(too_many_columns(limits, start));
    }
    Ok(names.complete)
}

/// Collects names, one more than the limit at most.
struct Names {
    complete: Vec<String>,
    current: Vec<u8>,
    limit: usize,
}

impl FieldVisitor for Names {
    fn piece(&mut self, bytes: &[u8]) {
        self.current.extend_from_slice(bytes);
    }

    fn field_end(&mut self) -> bool {
        let name = String::from_utf8(std::mem::take(&mut self.current));
        self.complete
            .push(name.expect("a field of a valid record is valid: it is split at ASCII bytes only"));
        self.complete.len() <= self.limit
    }
}

fn refuse_duplicates(names: &[String], start: usize) -> Result<(), ProbeError> {
    let mut first_columns = HashMap::with_capacity(names.len());
    for (name, column) in names.iter().zip(1..) {
        if let Some(first_column) = first_columns.insert(name, column) {
            let detail = format!("{name:?} is the name of column {first_column} and of column {column}");
            let problem =
                HeaderProblem::Duplicate { name: name.clone(), first_column, second_column: column };
            return Err(refuse(problem, start, detail));
        }
    }
    Ok(())
}

fn too_long(limits: &Limits, start: usize) -> ProbeError {
    let limit = limits.max_header_bytes;
    let detail = format!(
        "no header of at most {limit} bytes begins at byte {start}; look for a quote that is not closed"
    );
    refuse(HeaderProblem::TooLong { limit }, start, detail)
}

fn too_many_columns(limits: &Limits, start: usize) -> ProbeError {
    let limit = limits.max_columns;
    let detail = format!("the header at byte {start} has more than {limit} columns; is the delimiter right?");
    refuse(HeaderProblem::TooManyColumns { limit }, start, detail)
}

fn refuse(problem: HeaderProblem, offset: usize, detail: String) -> ProbeError {
    ProbeError::Header { problem, offset: offset as u64, detail }
}
