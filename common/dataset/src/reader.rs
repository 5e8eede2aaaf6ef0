//! What a worker uses to get the items of the batches that it leased.

use std::collections::VecDeque;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::blocks::{Csv, Grammar, JsonLines, MeasuredCsv};
use crate::columns::Columns;
use crate::csv_records::CsvRecords;
use crate::cut::{CutRules, Cutter, Record};
use crate::dialect::Dialect;
use crate::format::RecordFormat;
use crate::item::Batch;
use crate::items::Items;
use crate::json_records::JsonRecords;
use crate::looks::RecordLooks;
use crate::machine::EntryState;
use crate::positions::Checkpoint;
use crate::problem::DataProblem;
use crate::range::{ByteRange, Window};
use crate::record_walk::RecordWalk;
use crate::walk::Cursor;

/// What a reader must know of a composed shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpanShard {
    /// Its bytes.
    pub range: ByteRange,
    /// Whether nothing of the object follows it.
    pub ends_object: bool,
    /// Its items, as composed: `maxItems` may have left some out.
    pub items: u32,
}

/// What came of some input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SpanStep {
    /// The next batch.
    Batch(Batch),
    /// Give a longer input from [`SpanReader::position`], which may have moved.
    NeedMore,
    /// The shard's batches are all read.
    End,
}

/// Cuts a composed shard again from a checkpoint on, and gives the items of its batches.
///
/// It never reads by itself and keeps no bytes: each call gets the object's bytes from [`position`](Self::position) on. Where
/// they end within a record, that record is looked at from its begin again when there are more: whoever gives twice as many each
/// time has each byte looked at twice. What an input holds less than the one before is looked for again.
#[derive(Debug, Clone)]
pub struct SpanReader {
    rules: Arc<CutRules>,
    columns: Arc<Columns>,
    shard: SpanShard,
    cutter: Cutter,
    /// Ordinal of the first batch that is wanted.
    wanted_from: u32,
    /// Offset of the first byte that is still needed: no record is in progress there.
    position: u64,
    /// Line feeds between the shard's start and `position`.
    newlines: u64,
    /// Records of the batch in progress.
    records: Vec<ByteRange>,
    /// Records that follow them, found already and whole, at most [`FOUND_AT_ONCE`].
    found: VecDeque<Found>,
    /// Offset from which more are looked for, not below `position`: no record is in progress there.
    found_to: u64,
    /// Ordinal of the batch in progress.
    batch: u32,
    /// Ordinal of its first item.
    item: u32,
}

/// How many records are looked for at once: where the look ends, up to a chunk's bytes were looked at in vain.
const FOUND_AT_ONCE: usize = 256;

/// How far a batch came.
enum Filled {
    /// It is complete.
    Batch,
    /// The input ends before it. What lies before this offset is not needed any more.
    NeedMore { from: u64 },
    /// No item is left for it.
    End,
}

/// A record that was found.
#[derive(Debug, Clone, Copy)]
struct Found {
    range: ByteRange,
    looks: Option<RecordLooks>,
}

/// What there is of the next record.
enum Next {
    Record(Record),
    /// Its end is not in the input, nor is its start, if it is `None`.
    Open(Option<u64>),
}

impl SpanReader {
    /// A reader of `shard` from `start`, one of its checkpoints.
    pub fn new(rules: Arc<CutRules>, shard: SpanShard, start: Checkpoint) -> Self {
        Self {
            columns: Arc::new(Columns::new(&rules.header.names)),
            cutter: Cutter::new(&rules),
            rules,
            shard,
            wanted_from: start.batch,
            position: start.offset,
            newlines: start.newlines,
            records: Vec::new(),
            found: VecDeque::new(),
            found_to: start.offset,
            batch: start.batch,
            item: start.item,
        }
    }

    /// Passes over all batches before `ordinal`, without building their items.
    pub fn skip_to(&mut self, ordinal: u32) {
        self.wanted_from = ordinal;
    }

    /// Absolute offset from which it needs bytes next.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Reads on. `input` holds the object's bytes from [`position`](Self::position) on; `at_object_end`: nothing follows them.
    ///
    /// A crossing record is read on beyond the shard, to its end. After an error the reader gives nothing more.
    pub fn next_batch(&mut self, input: &[u8], at_object_end: bool) -> Result<SpanStep, DataProblem> {
        let window = Window { base: self.position, bytes: input };
        if window.end() < self.found_to {
            self.forget_found();
        }
        loop {
            match self.fill_batch(&window, at_object_end)? {
                Filled::Batch => {}
                Filled::NeedMore { from } => {
                    self.advance(from, &window);
                    return Ok(SpanStep::NeedMore);
                }
                Filled::End => return Ok(SpanStep::End),
            }
            let wanted = self.batch >= self.wanted_from;
            let batch = wanted.then(|| self.build_batch(&window));
            self.leave_batch(&window);
            if let Some(batch) = batch {
                return Ok(SpanStep::Batch(batch));
            }
        }
    }

    /// Items of the shard that no batch holds yet, the one in progress included.
    fn items_left(&self) -> u32 {
        self.shard.items.saturating_sub(self.item).saturating_sub(self.records.len() as u32)
    }

    /// Adds records to the batch in progress until it is complete.
    fn fill_batch(&mut self, window: &Window<'_>, at_object_end: bool) -> Result<Filled, DataProblem> {
        if self.fill_by_count()? {
            return Ok(Filled::Batch);
        }
        while self.items_left() > 0 && (self.records.is_empty() || self.cutter.has_room()) {
            let record = match self.next_record(window, at_object_end)? {
                Next::Record(record) => record,
                Next::Open(start) => {
                    let from = self.records.first().map(|record| record.start).or(start);
                    return Ok(Filled::NeedMore { from: from.unwrap_or(window.end()) });
                }
            };
            // One that begins the next batch is taken once more, for that.
            if self.cutter.take(record, window) && !self.records.is_empty() {
                return Ok(Filled::Batch);
            }
            self.check_length(record.range)?;
            self.records.push(record.range);
            if self.found.pop_front().is_none() {
                // It is open, and the last: nothing follows it.
                self.found_to = record.range.end;
            }
        }
        Ok(if self.records.is_empty() { Filled::End } else { Filled::Batch })
    }

    /// Takes as many of the found records as a batch holds at most, where these are certain to be one, whatever they hold.
    fn fill_by_count(&mut self) -> Result<bool, DataProblem> {
        let items = self.cutter.max_items() as usize;
        if !self.records.is_empty() || self.items_left() as usize <= items {
            return Ok(false);
        }
        let (Some(first), Some(last), Some(next)) =
            (self.found.front(), self.found.get(items - 1), self.found.get(items))
        else {
            return Ok(false);
        };
        let is_certain = next.range.start - first.range.start <= self.cutter.certain_batch_bytes();
        if !is_certain || last.range.end >= self.shard.range.end {
            return Ok(false);
        }
        self.records.extend(self.found.drain(..items).map(|found| found.range));
        for record in &self.records {
            self.check_length(*record)?;
        }
        Ok(true)
    }

    /// The next record. One whose end is not in the input is given only if it is enough to know that it crosses.
    fn next_record(&mut self, window: &Window<'_>, at_object_end: bool) -> Result<Next, DataProblem> {
        let open = if self.found.is_empty() { self.find_records(window) } else { None };
        let (start, shard_end) =
            (self.found.front().map(|found| found.range.start).or(open), self.shard.range.end);
        if start.unwrap_or(window.end()) >= shard_end || (at_object_end && start.is_none()) {
            let offset = shard_end.min(window.end());
            return Err(DataProblem::ItemsMissing { offset, missing_items: self.items_left() });
        }
        if let Some(Found { range, looks }) = self.found.front().copied() {
            return Ok(Next::Record(Record { range, crossing: range.end >= shard_end, looks }));
        }
        let Some(start) = open else { return Ok(Next::Open(None)) };
        let range = ByteRange::new(start, window.end());
        let shard_ends = range.end >= shard_end;
        if shard_ends && !self.shard.ends_object && !self.records.is_empty() {
            return Ok(Next::Record(Record { range, crossing: true, looks: None }));
        }
        self.check_length(range)?;
        if at_object_end || shard_ends && self.shard.ends_object {
            self.check_quote(range, window)?;
            return Ok(Next::Record(Record { range, crossing: !self.shard.ends_object, looks: None }));
        }
        Ok(Next::Open(Some(start)))
    }

    /// Looks for more whole records. If there is none, the start of one that is open where the input ends.
    fn find_records(&mut self, window: &Window<'_>) -> Option<u64> {
        match self.rules.format {
            RecordFormat::Csv(Dialect { delimiter, .. }) if self.cutter.wants_looks() => {
                self.find_records_by(MeasuredCsv { delimiter }, window)
            }
            RecordFormat::Csv(Dialect { delimiter, .. }) => self.find_records_by(Csv { delimiter }, window),
            RecordFormat::JsonLines => self.find_records_by(JsonLines, window),
        }
    }

    fn find_records_by<G: Grammar>(&mut self, grammar: G, window: &Window<'_>) -> Option<u64> {
        let from = self.found_to;
        let mut walk = RecordWalk::new(window.bytes_from(from), grammar, EntryState::RecordStart);
        while self.found.len() < FOUND_AT_ONCE {
            let start = walk.next_start()?;
            let before = walk.looks_before(start);
            let Some(end) = walk.next_end() else {
                return self.found.is_empty().then_some(from + start as u64);
            };
            let looks = G::MEASURES.then(|| walk.looks_before(end) - before);
            let range = ByteRange::new(from + start as u64, from + end as u64);
            self.found.push_back(Found { range, looks });
            self.found_to = range.end + 1;
        }
        None
    }

    fn check_length(&self, record: ByteRange) -> Result<(), DataProblem> {
        let (start, length_at_least, limit) = (record.start, record.len(), self.rules.max_record_bytes);
        if length_at_least > limit {
            return Err(DataProblem::RecordTooLarge { start, length_at_least, limit });
        }
        Ok(())
    }

    /// The object ends in `record`.
    fn check_quote(&self, record: ByteRange, window: &Window<'_>) -> Result<(), DataProblem> {
        let mut cursor = Cursor::at_start(EntryState::RecordStart);
        cursor.seek_record_end(window.slice(record), self.rules.format);
        if cursor.state != EntryState::Quoted || self.rules.format.ends_in_quotes() {
            return Ok(());
        }
        let quote_offset = record.start + cursor.open_quote.map_or(0, |index| index as u64);
        Err(DataProblem::QuoteOpenAtEnd { quote_offset, record_start: record.start })
    }

    fn build_batch(&self, window: &Window<'_>) -> Batch {
        let bytes = ByteRange::new(self.batch_start(), self.batch_end(window));
        let newlines_before = self.newlines + window.newlines(ByteRange::new(self.position, bytes.start));
        let items = match self.rules.format {
            RecordFormat::Csv(dialect) => {
                let (columns, delimiter) = (&self.columns, dialect.delimiter);
                Items::new(CsvRecords::new(columns, delimiter, &self.records, window, newlines_before))
            }
            RecordFormat::JsonLines => {
                Items::new(JsonRecords::new(&self.records, window, newlines_before, self.rules.sourced))
            }
        };
        Batch { ordinal: self.batch, first_item: self.item, items, bytes, newlines_before }
    }

    fn batch_start(&self) -> u64 {
        self.records.first().map_or(self.position, |record| record.start)
    }

    /// Just past the terminator of the batch's last record, which only the object's end lacks.
    fn batch_end(&self, window: &Window<'_>) -> u64 {
        self.records.last().map_or(self.position, |record| window.end().min(record.end + 1))
    }

    /// Begins anew at `position`: what was found is not in the input any more.
    fn forget_found(&mut self) {
        self.found.clear();
        self.found_to = self.position;
        self.records.clear();
        self.cutter.close_batch();
    }

    /// Moves to the batch after the one in progress.
    fn leave_batch(&mut self, window: &Window<'_>) {
        self.advance(self.batch_end(window), window);
        self.batch += 1;
        self.item += self.records.len() as u32;
        self.records.clear();
        self.cutter.close_batch();
    }

    fn advance(&mut self, to: u64, window: &Window<'_>) {
        self.newlines += window.newlines(ByteRange::new(self.position, to));
        self.position = to;
        self.found_to = self.found_to.max(to);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;
    use crate::header::Header;

    /// A reader of all of an object without a header, of two items a batch.
    fn reader_of(object: &[u8], items: u32) -> SpanReader {
        let rules = CutRules {
            max_items: 2,
            max_input_bytes: 1_000,
            envelope_bytes: 0,
            header: Header { names: vec!["a".to_owned()], range: ByteRange::new(0, 0) },
            format: RecordFormat::default(),
            sourced: false,
            max_record_bytes: 1_000,
            shape: None,
        };
        let shard = SpanShard { range: ByteRange::new(0, object.len() as u64), ends_object: true, items };
        SpanReader::new(Arc::new(rules), shard, Checkpoint { batch: 0, item: 0, offset: 0, newlines: 0 })
    }

    #[test]
    fn a_shard_of_fewer_items_than_were_composed_is_told() {
        for object in [&b"a\nb\nc\n"[..], b"a\nb\nc", b"a\nb\n\"c\"\r\n\n"] {
            let mut reader = reader_of(object, 5);
            assert!(matches!(reader.next_batch(object, true), Ok(SpanStep::Batch(_))));
            let rest = &object[reader.position() as usize..];
            let problem = DataProblem::ItemsMissing { offset: object.len() as u64, missing_items: 2 };
            assert_eq!(reader.next_batch(rest, true), Err(problem));
        }
    }

    #[test]
    fn an_input_may_end_before_the_one_before_it() {
        let object = b"a\nb\nc\nd\n";
        let mut reader = reader_of(object, 4);
        assert!(matches!(reader.next_batch(object, true), Ok(SpanStep::Batch(_))));
        assert_eq!(reader.next_batch(&object[4..5], false), Ok(SpanStep::NeedMore));
        let Ok(SpanStep::Batch(batch)) = reader.next_batch(&object[4..], true) else {
            unreachable!("it is all there")
        };
        assert_eq!((batch.ordinal, batch.first_item, batch.bytes), (1, 2, ByteRange::new(4, 8)));
        assert_eq!(batch.newlines_before, 2);
    }
}
