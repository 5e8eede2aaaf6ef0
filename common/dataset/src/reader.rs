//! What a worker uses to get the items of the batches that it leased.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::columns::Columns;
use crate::csv_records::CsvRecords;
use crate::cut::{CutRules, Cutter, Record};
use crate::format::RecordFormat;
use crate::item::{Batch, items_of};
use crate::json_records::JsonRecords;
use crate::machine::EntryState;
use crate::positions::Checkpoint;
use crate::problem::DataProblem;
use crate::range::{ByteRange, Window};
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
/// It never reads by itself and keeps no bytes: each call gets the object's bytes from [`position`](Self::position) on. It
/// remembers how far it has looked at them, so growing the input piece by piece costs nothing twice.
#[derive(Debug, Clone)]
pub struct SpanReader {
    rules: Arc<CutRules>,
    columns: Arc<Columns>,
    shard: SpanShard,
    cutter: Cutter,
    /// Ordinal of the first batch that is wanted.
    wanted_from: u32,
    /// Offset of the first byte that is still needed.
    position: u64,
    /// Line feeds between the shard's start and `position`.
    newlines: u64,
    /// How far the input is walked; indexes count from `position`.
    cursor: Cursor,
    /// Start of the record that `cursor` is in.
    record_start: Option<u64>,
    /// Records of the batch in progress.
    records: Vec<ByteRange>,
    /// Ordinal of the batch in progress.
    batch: u32,
    /// Ordinal of its first item.
    item: u32,
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
            cursor: Cursor::at_start(EntryState::RecordStart),
            record_start: None,
            records: Vec::new(),
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
        while self.fill_batch(&window, at_object_end)? {
            let wanted = self.batch >= self.wanted_from;
            let batch = wanted.then(|| self.build_batch(&window));
            self.leave_batch(&window);
            if let Some(batch) = batch {
                return Ok(SpanStep::Batch(batch));
            }
        }
        self.release(&window);
        Ok(if self.items_left() == 0 { SpanStep::End } else { SpanStep::NeedMore })
    }

    /// Items of the shard that no batch holds yet, the one in progress included.
    fn items_left(&self) -> u32 {
        self.shard.items.saturating_sub(self.item).saturating_sub(self.records.len() as u32)
    }

    /// Adds records to the batch in progress until it is complete; `false`: the input ends first, or no item is left.
    fn fill_batch(&mut self, window: &Window<'_>, at_object_end: bool) -> Result<bool, DataProblem> {
        while self.items_left() > 0 && (self.records.is_empty() || self.cutter.has_room()) {
            let Some(record) = self.next_record(window, at_object_end)? else {
                return Ok(false);
            };
            if self.cutter.take(record, window) && !self.records.is_empty() {
                return Ok(true);
            }
            self.check_length(record.range)?;
            self.records.push(record.range);
        }
        Ok(!self.records.is_empty())
    }

    /// The next record. One whose end is not in the input is given only if it is enough to know that it crosses.
    fn next_record(
        &mut self,
        window: &Window<'_>,
        at_object_end: bool,
    ) -> Result<Option<Record>, DataProblem> {
        let Some(start) = self.begin_record(window, at_object_end)? else {
            return Ok(None);
        };
        let bytes = window.bytes_from(self.position);
        if let Some(index) = self.cursor.seek_record_end(bytes, self.rules.format) {
            let range = ByteRange::new(start, self.position + index as u64);
            self.record_start = None;
            return Ok(Some(Record { range, crossing: range.end >= self.shard.range.end }));
        }
        let range = ByteRange::new(start, window.end());
        let shard_ends = range.end >= self.shard.range.end;
        if shard_ends && !self.shard.ends_object && !self.records.is_empty() {
            return Ok(Some(Record { range, crossing: true }));
        }
        if at_object_end || shard_ends && self.shard.ends_object {
            self.check_length(range)?;
            self.check_quote(start)?;
            self.record_start = None;
            return Ok(Some(Record { range, crossing: !self.shard.ends_object }));
        }
        self.check_length(range)?;
        Ok(None)
    }

    /// Start of the record in progress or, if there is none, of the next one.
    fn begin_record(&mut self, window: &Window<'_>, at_object_end: bool) -> Result<Option<u64>, DataProblem> {
        if self.record_start.is_none() {
            let found = self.cursor.seek_record(window.bytes_from(self.position), self.rules.format);
            self.record_start = found.map(|index| self.position + index as u64);
        }
        let begins_beyond = self.record_start.unwrap_or(window.end()) >= self.shard.range.end;
        if begins_beyond || (at_object_end && self.record_start.is_none()) {
            let offset = self.shard.range.end.min(window.end());
            return Err(DataProblem::ItemsMissing { offset, missing_items: self.items_left() });
        }
        Ok(self.record_start)
    }

    fn check_length(&self, record: ByteRange) -> Result<(), DataProblem> {
        let (start, length_at_least, limit) = (record.start, record.len(), self.rules.max_record_bytes);
        if length_at_least > limit {
            return Err(DataProblem::RecordTooLarge { start, length_at_least, limit });
        }
        Ok(())
    }

    /// The object ends in the record that begins at `record_start`.
    fn check_quote(&self, record_start: u64) -> Result<(), DataProblem> {
        if self.cursor.state != EntryState::Quoted || self.rules.format.ends_in_quotes() {
            return Ok(());
        }
        let quote_offset = self.cursor.open_quote.map_or(record_start, |index| self.position + index as u64);
        Err(DataProblem::QuoteOpenAtEnd { quote_offset, record_start })
    }

    fn build_batch(&self, window: &Window<'_>) -> Batch {
        let bytes = ByteRange::new(self.batch_start(), self.batch_end(window));
        let newlines_before = self.newlines + window.newlines(ByteRange::new(self.position, bytes.start));
        let items = match self.rules.format {
            RecordFormat::Csv(dialect) => {
                let (columns, delimiter) = (&self.columns, dialect.delimiter);
                items_of(CsvRecords::new(columns, delimiter, &self.records, window, newlines_before))
            }
            RecordFormat::JsonLines => {
                items_of(JsonRecords::new(&self.records, window, newlines_before, self.rules.sourced))
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

    /// Moves to the batch after the one in progress.
    fn leave_batch(&mut self, window: &Window<'_>) {
        self.advance(self.batch_end(window), window);
        self.batch += 1;
        self.item += self.records.len() as u32;
        self.records.clear();
        self.cutter.close_batch();
        // A record that was looked at and belongs to the next batch is walked once more.
        self.record_start = None;
        self.cursor = Cursor::at_start(EntryState::RecordStart);
    }

    /// Moves `position` to the first byte that is still needed.
    fn release(&mut self, window: &Window<'_>) {
        let walked_to = self.position + self.cursor.index as u64;
        let needed_from = self.records.first().map(|record| record.start).or(self.record_start);
        let to = needed_from.unwrap_or(walked_to);
        let distance = usize::try_from(to - self.position).expect("the input lies in memory");
        self.advance(to, window);
        self.cursor.rebase(distance);
    }

    fn advance(&mut self, to: u64, window: &Window<'_>) {
        self.newlines += window.newlines(ByteRange::new(self.position, to));
        self.position = to;
    }
}
