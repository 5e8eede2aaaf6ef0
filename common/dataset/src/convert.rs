//! CSV as JSON lines, for data sets that are put together from several objects.

use std::sync::Arc;

use crate::columns::Columns;
use crate::csv_records::CsvRecords;
use crate::dialect::{Dialect, HeaderLocation, Limits};
use crate::header::{ProbeError, probe};
use crate::items::Items;
use crate::machine::EntryState;
use crate::problem::DataProblem;
use crate::range::{ByteRange, Window};
use crate::walk::Cursor;

/// Rewrites an object of CSV that comes piece by piece. It holds a piece and the record in progress.
///
/// A record that is not UTF-8 becomes a line that is none either, so that it fails alone as an item.
#[derive(Debug)]
pub struct CsvToJsonLines {
    dialect: Dialect,
    location: HeaderLocation,
    limits: Limits,
    columns: Option<Arc<Columns>>,
    /// What is not rewritten yet.
    pending: Vec<u8>,
    /// Where that lies in the object.
    base: u64,
    cursor: Cursor,
    records: u64,
}

/// Why an object cannot be rewritten.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConvertError {
    /// Its header cannot be used.
    #[error(transparent)]
    Header(#[from] ProbeError),
    /// Its data cannot be read.
    #[error(transparent)]
    Data(#[from] DataProblem),
}

impl CsvToJsonLines {
    /// Before an object's first byte.
    pub fn new(dialect: Dialect, location: HeaderLocation, limits: Limits) -> Self {
        Self {
            dialect,
            location,
            limits,
            columns: None,
            pending: Vec::new(),
            base: 0,
            cursor: Cursor::at_start(EntryState::RecordStart),
            records: 0,
        }
    }

    /// Records rewritten so far.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Takes the next bytes, which may be none, and appends lines; `at_end`: nothing follows them.
    pub fn feed(&mut self, bytes: &[u8], at_end: bool, out: &mut Vec<u8>) -> Result<(), ConvertError> {
        self.pending.extend_from_slice(bytes);
        let Some(columns) = self.columns(at_end)? else { return Ok(()) };
        let (records, rest) = self.complete_records(at_end)?;
        let window = Window { base: self.base, bytes: &self.pending };
        for item in &Items::new(CsvRecords::new(&columns, self.dialect.delimiter, &records, &window, 0)) {
            if item.problem().is_none() {
                item.write_json(out);
            } else {
                let record = window.slice(item.bytes()).iter();
                out.extend(record.map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { *byte }));
            }
            out.push(b'\n');
        }
        self.records += records.len() as u64;
        self.release(rest);
        Ok(())
    }

    /// The columns, once the header is complete.
    fn columns(&mut self, at_end: bool) -> Result<Option<Arc<Columns>>, ConvertError> {
        if self.columns.is_none() {
            match probe(&self.pending, at_end, self.dialect.into(), &self.location, &self.limits) {
                Err(ProbeError::NeedMore { .. }) if !at_end => return Ok(None),
                Err(error) => return Err(error.into()),
                Ok(probe) => {
                    self.columns = Some(Arc::new(Columns::new(&probe.header.names)));
                    self.release(probe.data_start as usize);
                }
            }
        }
        Ok(self.columns.clone())
    }

    /// The records that are complete, and the index of what is not.
    fn complete_records(&mut self, at_end: bool) -> Result<(Vec<ByteRange>, usize), DataProblem> {
        let format = self.dialect.into();
        let (mut records, mut from) = (Vec::new(), 0);
        let mut begun = self.cursor.state.in_record();
        loop {
            let start = if std::mem::take(&mut begun) {
                0
            } else {
                from = self.cursor.index;
                match self.cursor.seek_record(&self.pending, format) {
                    Some(start) => start,
                    None => return Ok((records, self.cursor.index)),
                }
            };
            from = from.max(start);
            let end = self.cursor.seek_record_end(&self.pending, format);
            let range = ByteRange::new(
                self.base + start as u64,
                self.base + end.unwrap_or(self.pending.len()) as u64,
            );
            self.check(range, end.is_none() && at_end)?;
            if end.is_none() && !at_end {
                return Ok((records, from));
            }
            records.push(range);
            if end.is_none() {
                return Ok((records, self.pending.len()));
            }
        }
    }

    fn check(&self, record: ByteRange, ends_object: bool) -> Result<(), DataProblem> {
        let (start, limit) = (record.start, self.limits.max_record_bytes);
        if record.len() > limit {
            return Err(DataProblem::RecordTooLarge { start, length_at_least: record.len(), limit });
        }
        let open = ends_object && self.cursor.state == EntryState::Quoted && !self.dialect.lenient_quotes;
        if open {
            let quote_offset = self.cursor.open_quote.map_or(start, |index| self.base + index as u64);
            return Err(DataProblem::QuoteOpenAtEnd { quote_offset, record_start: start });
        }
        Ok(())
    }

    /// Forgets the first bytes of what is pending.
    fn release(&mut self, count: usize) {
        self.pending.drain(..count);
        self.base += count as u64;
        self.cursor.rebase(count.min(self.cursor.index));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    fn convert(csv: &[u8], size: usize, location: &HeaderLocation) -> Result<Vec<u8>, ConvertError> {
        let limits = Limits { max_record_bytes: 40, ..Limits::default() };
        let mut converter = CsvToJsonLines::new(Dialect::default(), location.clone(), limits);
        let mut out = Vec::new();
        for piece in csv.chunks(size) {
            converter.feed(piece, false, &mut out)?;
        }
        converter.feed(&[], true, &mut out)?;
        assert_eq!(out.iter().filter(|byte| **byte == b'\n').count() as u64, converter.records());
        Ok(out)
    }

    #[test]
    fn records_become_lines_whatever_the_sizes_of_the_pieces() {
        let csv = b"\xef\xbb\xbfa,b\r\n1,\"x\r\n\"\"y\"\"\"\r\n\r\n2\n\xff,\"p\nq\"\n3,z";
        let lines: &[u8] =
            b"{\"a\":\"1\",\"b\":\"x\\r\\n\\\"y\\\"\"}\n{\"a\":\"2\",\"b\":\"\"}\n\xff,\"p q\"\n{\"a\":\"3\",\"b\":\"z\"}\n";
        for size in 1..=csv.len() {
            let out = convert(csv, size, &HeaderLocation::FirstRow).unwrap();
            assert_eq!(String::from_utf8_lossy(&out), String::from_utf8_lossy(lines), "{size}");
        }
        let ends_quoted = b"a\n1\n\"x\ny\"";
        for size in 1..=ends_quoted.len() {
            let out = convert(ends_quoted, size, &HeaderLocation::FirstRow).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), "{\"a\":\"1\"}\n{\"a\":\"x\\ny\"}\n", "{size}");
        }
        let given = HeaderLocation::Given(vec!["k".into()]);
        assert_eq!(convert(b"1,2\n3\n", 2, &given).unwrap(), b"{\"k\":\"1\"}\n{\"k\":\"3\"}\n");
        for nothing in [&b""[..], b"a,b\n", b"a,b"] {
            assert_eq!(convert(nothing, 1, &HeaderLocation::FirstRow).unwrap(), b"");
        }
    }

    #[test]
    fn what_cannot_be_read_is_told_with_its_place() {
        for size in [1, 3, 100] {
            let first_row = HeaderLocation::FirstRow;
            let open = convert(b"a\n1\n\"2\n", size, &first_row).unwrap_err();
            let place = DataProblem::QuoteOpenAtEnd { quote_offset: 4, record_start: 4 };
            assert_eq!(open, ConvertError::Data(place));
            let long = [&b"a\n1\n"[..], &[b'x'; 50]].concat();
            let error = convert(&long, size, &first_row).unwrap_err();
            assert!(
                matches!(error, ConvertError::Data(DataProblem::RecordTooLarge { start: 4, .. })),
                "{error}"
            );
            let twice = convert(b"a,a\n1,2\n", size, &first_row).unwrap_err();
            assert!(twice.to_string().contains("duplicates"), "{twice}");
        }
    }
}
