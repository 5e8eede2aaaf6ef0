//! The machine in leaps, in CSV from quote to quote: for entries of which only the exit is wanted.

use memchr::{memchr, memrchr, memrchr2};

use crate::entries::EntryExit;
use crate::format::RecordFormat;
use crate::machine::{EntryState, QUOTE};
use crate::range::Window;
use crate::walk::Cursor;

/// A piece of a shard that is walked from several states; its first quote is looked for once.
pub(crate) struct Leap<'a> {
    window: &'a Window<'a>,
    format: RecordFormat,
    /// Only in CSV.
    first_quote: Option<usize>,
}

impl<'a> Leap<'a> {
    /// `quotes`: whether there may be quotes that mean something.
    pub(crate) fn new(window: &'a Window<'a>, format: RecordFormat, quotes: bool) -> Self {
        let first_quote = match format {
            RecordFormat::Csv(_) if quotes => memchr(QUOTE, window.bytes),
            RecordFormat::Csv(_) | RecordFormat::JsonLines => None,
        };
        Self { window, format, first_quote }
    }

    /// Walks the piece, which is not empty, from `entry`.
    pub(crate) fn walk(&self, entry: EntryState) -> EntryExit {
        let bytes = self.window.bytes;
        let mut cursor = Cursor::at_start(entry);
        let mut inherited_end = None;
        if entry == EntryState::Quoted && self.first_quote.is_none() {
            return EntryExit::nothing(entry);
        }
        if entry.in_record() {
            inherited_end = cursor.seek_record_end(bytes, self.format);
        }
        let mut open_record = None;
        if !cursor.state.in_record() && cursor.index < bytes.len() {
            let begin = cursor.index;
            let line_start = self.last_line_start(begin);
            cursor =
                Cursor { index: line_start, state: self.state_at_line_start(begin, line_start), ..cursor };
            open_record = cursor.seek_record(bytes, self.format);
            if open_record.is_some() {
                cursor.seek_record_end(bytes, self.format);
            }
        }
        EntryExit {
            entry,
            exit: cursor.state,
            open_quote: cursor.open_quote.map(|index| self.window.offset(index)),
            open_record: open_record.map(|index| self.window.offset(index)),
            inherited_end: inherited_end.map(|index| self.window.offset(index + 1)),
        }
    }

    /// Just past the last line end outside quotes; `begin`, where no record is in progress, if there is none.
    fn last_line_start(&self, begin: usize) -> usize {
        match self.format {
            RecordFormat::Csv(dialect) => self.last_csv_line_start(begin, dialect.delimiter),
            RecordFormat::JsonLines => {
                let line_end = memrchr(b'\n', &self.window.bytes[begin..]);
                line_end.map_or(begin, |distance| begin + distance + 1)
            }
        }
    }

    fn last_csv_line_start(&self, begin: usize, delimiter: u8) -> usize {
        let bytes = self.window.bytes;
        let mut line_start = begin;
        let mut outside = begin;
        while let Some(quote) = self.opening_quote(outside, begin, delimiter) {
            line_start = line_start_in(bytes, outside, quote).unwrap_or(line_start);
            match closing_quote(bytes, quote + 1) {
                Some(close) => outside = close + 1,
                None => return line_start,
            }
        }
        line_start_in(bytes, outside, bytes.len()).unwrap_or(line_start)
    }

    /// The next quote that opens a field, from index `outside` on, which is not in quotes.
    fn opening_quote(&self, outside: usize, begin: usize, delimiter: u8) -> Option<usize> {
        let bytes = self.window.bytes;
        let mut found = match self.first_quote? {
            first if first >= outside => Some(first),
            _ => next_quote(bytes, outside),
        };
        while let Some(quote) = found {
            let before = if quote == begin { b'\n' } else { bytes[quote - 1] };
            if before == delimiter || before == b'\n' || before == b'\r' {
                return Some(quote);
            }
            found = next_quote(bytes, quote + 1);
        }
        None
    }

    /// The state at `line_start`: only a CR that ended a record leaves `AfterCr`. Nothing is in progress at `begin`.
    fn state_at_line_start(&self, begin: usize, line_start: usize) -> EntryState {
        match &self.window.bytes[begin..line_start] {
            [.., before, b'\r'] if !matches!(before, b'\r' | b'\n') => EntryState::AfterCr,
            _ => EntryState::RecordStart,
        }
    }
}

fn next_quote(bytes: &[u8], from: usize) -> Option<usize> {
    memchr(QUOTE, &bytes[from..]).map(|distance| from + distance)
}

/// The quote that closes a field whose content begins at `from`: one that no other follows.
fn closing_quote(bytes: &[u8], mut from: usize) -> Option<usize> {
    loop {
        let quote = next_quote(bytes, from)?;
        if bytes.get(quote + 1) != Some(&QUOTE) {
            return Some(quote);
        }
        from = quote + 2;
    }
}

/// Just past the last line end in `[from, to)`.
fn line_start_in(bytes: &[u8], from: usize, to: usize) -> Option<usize> {
    memrchr2(b'\r', b'\n', &bytes[from..to]).map(|distance| from + distance + 1)
}
