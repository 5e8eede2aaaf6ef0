//! The machine in leaps: from record to record without looking at every byte.

use memchr::{memchr, memchr3};

use crate::format::RecordFormat;
use crate::machine::{EntryState, QUOTE, is_json_space};

/// A place in a byte slice, and the machine's state there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cursor {
    /// Index of the next byte.
    pub(crate) index: usize,
    /// The state before that byte.
    pub(crate) state: EntryState,
    /// Index of the quote that opened the field in progress; `None` if it is not quoted or began before the slice.
    pub(crate) open_quote: Option<usize>,
}

impl Cursor {
    /// A cursor before the first byte.
    pub(crate) fn at_start(state: EntryState) -> Self {
        Self { index: 0, state, open_quote: None }
    }

    /// Makes indexes count from `distance` bytes further on. A quote before that began before the slice: that of a last
    /// field without a line end is never left.
    pub(crate) fn rebase(&mut self, distance: usize) {
        self.index -= distance;
        self.open_quote = self.open_quote.and_then(|index| index.checked_sub(distance));
    }

    /// Moves to the first byte of the next record, over line ends, and returns its index.
    ///
    /// `None`: no record begins before the slice ends. No record may be in progress.
    pub(crate) fn seek_record(&mut self, bytes: &[u8], format: RecordFormat) -> Option<usize> {
        debug_assert!(!self.state.in_record());
        let in_lines = format == RecordFormat::JsonLines;
        while let Some(byte) = bytes.get(self.index) {
            if !(matches!(byte, b'\r' | b'\n') || in_lines && is_json_space(*byte)) {
                break;
            }
            self.index += 1;
            self.state = EntryState::RecordStart;
        }
        (self.index < bytes.len()).then_some(self.index)
    }

    /// Moves past the CR or LF that ends the record in progress, and returns the index of that byte.
    ///
    /// `None`: the record does not end in the slice; the cursor is at its end and can go on in a longer one.
    pub(crate) fn seek_record_end(&mut self, bytes: &[u8], format: RecordFormat) -> Option<usize> {
        match format {
            RecordFormat::Csv(dialect) => self.seek_csv_record_end(bytes, dialect.delimiter),
            RecordFormat::JsonLines => self.seek_line_end(bytes),
        }
    }

    fn seek_line_end(&mut self, bytes: &[u8]) -> Option<usize> {
        let Some(distance) = memchr(b'\n', &bytes[self.index..]) else {
            self.state = EntryState::Unquoted;
            self.index = bytes.len();
            return None;
        };
        let end = self.index + distance;
        self.end_record_at(end, b'\n');
        Some(end)
    }

    fn seek_csv_record_end(&mut self, bytes: &[u8], delimiter: u8) -> Option<usize> {
        loop {
            if self.state.in_quotes() {
                self.leave_quotes(bytes, delimiter)?;
            }
            if self.state != EntryState::Unquoted && bytes.get(self.index) == Some(&QUOTE) {
                self.open_quote_at(self.index);
            } else if let Some(end) = self.seek_unquoted(bytes, delimiter)? {
                return Some(end);
            }
        }
    }

    /// From inside quotes to outside. What follows the closing quote is taken with it, but for a line end.
    fn leave_quotes(&mut self, bytes: &[u8], delimiter: u8) -> Option<()> {
        loop {
            if self.state == EntryState::Quoted {
                self.seek_quote(bytes)?;
            }
            let next = *bytes.get(self.index)?;
            if next != QUOTE {
                self.state = if next == delimiter { EntryState::FieldStart } else { EntryState::Unquoted };
                self.index += usize::from(!matches!(next, b'\r' | b'\n'));
                self.open_quote = None;
                return Some(());
            }
            self.state = EntryState::Quoted;
            self.index += 1;
        }
    }

    /// From inside quotes to just past the next quote.
    fn seek_quote(&mut self, bytes: &[u8]) -> Option<()> {
        let Some(distance) = memchr(QUOTE, &bytes[self.index..]) else {
            self.index = bytes.len();
            return None;
        };
        self.index += distance + 1;
        self.state = EntryState::QuoteInQuoted;
        Some(())
    }

    /// From outside quotes to the next opening quote (`Some(None)`) or past a line end (`Some(Some(its index))`).
    ///
    /// A quote opens only at a field's start; the caller has ruled out that the next byte is such a quote.
    fn seek_unquoted(&mut self, bytes: &[u8], delimiter: u8) -> Option<Option<usize>> {
        let begin = self.index;
        let mut from = begin;
        while let Some(distance) = memchr3(QUOTE, b'\r', b'\n', &bytes[from..]) {
            let found = from + distance;
            match bytes[found] {
                QUOTE if found > begin && bytes[found - 1] == delimiter => {
                    self.open_quote_at(found);
                    return Some(None);
                }
                QUOTE => from = found + 1,
                byte => {
                    self.end_record_at(found, byte);
                    return Some(Some(found));
                }
            }
        }
        self.stop_outside_quotes(begin, bytes, delimiter);
        None
    }

    fn open_quote_at(&mut self, index: usize) {
        self.state = EntryState::Quoted;
        self.open_quote = Some(index);
        self.index = index + 1;
    }

    fn end_record_at(&mut self, index: usize, byte: u8) {
        self.state = if byte == b'\r' { EntryState::AfterCr } else { EntryState::RecordStart };
        self.index = index + 1;
    }

    /// The slice ended in a run outside quotes that began at `begin`: its last byte tells the state.
    fn stop_outside_quotes(&mut self, begin: usize, bytes: &[u8], delimiter: u8) {
        if let Some(last) = bytes[begin..].last() {
            self.state = if *last == delimiter { EntryState::FieldStart } else { EntryState::Unquoted };
        }
        self.index = bytes.len();
    }
}
