//! The machine that finds records: its states at a byte border, and one step of it.
//!
//! This is the definition; `walk.rs` does the same in leaps and `blocks.rs` as bits, and tests hold all together. The states are those of the
//! `csv` crate with its default terminator: `AfterCr` behaves as `RecordStart` does, but is kept apart so that a state
//! says exactly what the crate's machine would. JSON lines need two of them: `RecordStart` and `Unquoted`.

use serde::{Deserialize, Serialize};

use crate::format::RecordFormat;

/// The quote byte.
pub(crate) const QUOTE: u8 = b'"';

/// The machine's state between two bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum EntryState {
    /// No record is in progress.
    RecordStart,
    /// A delimiter was the last byte: a quote here would open a quoted field.
    FieldStart,
    /// Inside a field that is not, or no longer, quoted.
    Unquoted,
    /// Inside quotes.
    Quoted,
    /// A quote was seen inside quotes: it closes them unless another follows.
    QuoteInQuoted,
    /// A CR ended a record; an LF that follows belongs to it. No record is in progress.
    AfterCr,
}

impl EntryState {
    /// Whether a record is in progress.
    pub fn in_record(self) -> bool {
        !matches!(self, Self::RecordStart | Self::AfterCr)
    }

    /// Whether a quoted field is in progress, or may be.
    pub(crate) fn in_quotes(self) -> bool {
        matches!(self, Self::Quoted | Self::QuoteInQuoted)
    }

    /// Whether both states find the same records in whatever follows.
    pub fn finds_same_records_as(self, other: Self) -> bool {
        self == other || !(self.in_record() || other.in_record())
    }

    /// The state after `byte`.
    pub fn step(self, byte: u8, format: RecordFormat) -> Self {
        match format {
            RecordFormat::Csv(dialect) => self.step_in_csv(byte, dialect.delimiter),
            RecordFormat::JsonLines => self.step_in_lines(byte),
        }
    }

    fn step_in_lines(self, byte: u8) -> Self {
        match byte {
            b'\n' => Self::RecordStart,
            byte if is_json_space(byte) && !self.in_record() => Self::RecordStart,
            _ => Self::Unquoted,
        }
    }

    fn step_in_csv(self, byte: u8, delimiter: u8) -> Self {
        match (self, byte) {
            (Self::RecordStart | Self::AfterCr, b'\r' | b'\n') => Self::RecordStart,
            (Self::Quoted, QUOTE) => Self::QuoteInQuoted,
            (Self::Quoted, _) => Self::Quoted,
            (Self::RecordStart | Self::AfterCr | Self::FieldStart | Self::QuoteInQuoted, QUOTE) => {
                Self::Quoted
            }
            (_, b'\r') => Self::AfterCr,
            (_, b'\n') => Self::RecordStart,
            (_, byte) if byte == delimiter => Self::FieldStart,
            (_, _) => Self::Unquoted,
        }
    }

    /// Every state that is possible after `previous`, the likely ones first; at most three.
    ///
    /// `None` stands for the start of the data, where only `RecordStart` is possible.
    pub fn possible_after(previous: Option<u8>, format: RecordFormat) -> &'static [Self] {
        match format {
            RecordFormat::Csv(dialect) => Self::possible_in_csv(previous, dialect.delimiter),
            RecordFormat::JsonLines => Self::possible_in_lines(previous),
        }
    }

    fn possible_in_lines(previous: Option<u8>) -> &'static [Self] {
        match previous {
            None | Some(b'\n') => &[Self::RecordStart],
            Some(byte) if is_json_space(byte) => &[Self::Unquoted, Self::RecordStart],
            Some(_) => &[Self::Unquoted],
        }
    }

    fn possible_in_csv(previous: Option<u8>, delimiter: u8) -> &'static [Self] {
        match previous {
            None => &[Self::RecordStart],
            Some(b'\n') => &[Self::RecordStart, Self::Quoted],
            Some(b'\r') => &[Self::AfterCr, Self::RecordStart, Self::Quoted],
            Some(QUOTE) => &[Self::QuoteInQuoted, Self::Quoted, Self::Unquoted],
            Some(byte) if byte == delimiter => &[Self::FieldStart, Self::Quoted],
            Some(_) => &[Self::Unquoted, Self::Quoted],
        }
    }
}

/// Whether `byte` is white space to JSON.
pub(crate) fn is_json_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}
