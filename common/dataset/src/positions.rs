//! Where the items and batches of one shard begin, under one entry state.

use serde::{Deserialize, Serialize};

use crate::cut::{CutRules, Cutter, Record};
use crate::entries::EntryExit;
use crate::machine::EntryState;
use crate::range::{ByteRange, Window};
use crate::scan::ScanRequest;
use crate::walk::Cursor;

/// The most checkpoints that a shard keeps.
const MAX_CHECKPOINTS: u64 = 64;

/// The least distance between two checkpoints: what a worker may have to cut again before its lease's first batch.
const CHECKPOINT_SPACING: u64 = 128 << 10;

/// A batch border from which cutting can start again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Ordinal within the shard of the batch that begins here.
    pub batch: u32,
    /// Ordinal within the shard of its first item.
    pub item: u32,
    /// Offset of that item's first byte.
    pub offset: u64,
    /// Line feeds between the shard's start and `offset`.
    pub newlines: u64,
}

/// What a scan found in a shard, if `entry` is its entry state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Positions {
    /// The entry state, guessed or known.
    pub entry: EntryState,
    /// Records whose first byte lies in the shard; at most the limit that was asked for.
    pub items: u32,
    /// Batches that those make.
    pub batches: u32,
    /// Some of the batches' borders in order, the first batch's always among them.
    pub checkpoints: Vec<Checkpoint>,
    /// Start of the last of those records, if it is not terminated within the shard.
    pub open_record: Option<u64>,
    /// The first of those records that is longer than a record may be, as far as it lies in the shard.
    pub too_large: Option<ByteRange>,
    /// Whether more records begin in the shard than the limit let count.
    pub truncated: bool,
    /// The most items of a batch by the rules that it was cut by.
    pub max_items_per_batch: u32,
}

/// Walks the request's shard from `entry`. The exit is known unless the item limit ended the walk.
pub(crate) fn find_positions(request: &ScanRequest<'_>, entry: EntryState) -> (Positions, Option<EntryExit>) {
    let format = request.rules.format;
    let limit = request.item_limit.map_or(u32::MAX, |limit| u32::try_from(limit).unwrap_or(u32::MAX));
    let mut cursor = Cursor::at_start(entry);
    let mut finder = Finder::new(request, entry);
    let mut inherited_end = None;
    if entry.in_record() {
        inherited_end = cursor.seek_record_end(request.bytes, format);
    }
    while !cursor.state.in_record() {
        let Some(start) = cursor.seek_record(request.bytes, format) else { break };
        if finder.positions.items == limit {
            finder.positions.truncated = true;
            break;
        }
        let end = cursor.seek_record_end(request.bytes, format);
        finder.take(start, end);
    }
    let positions = finder.positions;
    let window = request.window();
    let exit = EntryExit {
        entry,
        exit: cursor.state,
        open_quote: cursor.open_quote.map(|index| window.offset(index)),
        open_record: positions.open_record,
        inherited_end: inherited_end.map(|index| window.offset(index + 1)),
    };
    let walked_through = !positions.truncated;
    (positions, walked_through.then_some(exit))
}

/// Takes the records of a shard in order and notes what is worth it.
struct Finder<'a> {
    window: Window<'a>,
    rules: &'a CutRules,
    ends_object: bool,
    cutter: Cutter,
    spacing: u64,
    positions: Positions,
}

impl<'a> Finder<'a> {
    fn new(request: &ScanRequest<'a>, entry: EntryState) -> Self {
        let positions = Positions {
            entry,
            items: 0,
            batches: 0,
            checkpoints: Vec::new(),
            open_record: None,
            too_large: None,
            truncated: false,
            max_items_per_batch: request.rules.max_items,
        };
        Self {
            window: request.window(),
            rules: request.rules,
            ends_object: request.ends_object,
            cutter: Cutter::new(request.rules),
            spacing: CHECKPOINT_SPACING.max(request.range.len().div_ceil(MAX_CHECKPOINTS)),
            positions,
        }
    }

    /// Takes the record that begins at index `start` and is terminated at `end`, if in the shard.
    fn take(&mut self, start: usize, end: Option<usize>) {
        let end_or_border = end.unwrap_or(self.window.bytes.len());
        let range = ByteRange::new(self.window.offset(start), self.window.offset(end_or_border));
        let crossing = end.is_none() && !self.ends_object;
        if self.cutter.take(Record { range, crossing }, &self.window) {
            self.begin_batch(range.start);
        }
        self.positions.items += 1;
        if end.is_none() {
            self.positions.open_record = Some(range.start);
        }
        if range.len() > self.rules.max_record_bytes {
            self.positions.too_large.get_or_insert(range);
        }
    }

    fn begin_batch(&mut self, offset: u64) {
        let last = self.positions.checkpoints.last();
        if last.is_none_or(|last| offset - last.offset >= self.spacing) {
            let (counted_to, newlines) =
                last.map_or((self.window.base, 0), |last| (last.offset, last.newlines));
            let checkpoint = Checkpoint {
                batch: self.positions.batches,
                item: self.positions.items,
                offset,
                newlines: newlines + self.window.newlines(ByteRange::new(counted_to, offset)),
            };
            self.positions.checkpoints.push(checkpoint);
        }
        self.positions.batches += 1;
    }
}
