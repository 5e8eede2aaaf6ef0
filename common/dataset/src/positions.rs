//! Where the items and batches of one shard begin, under one entry state.

use serde::{Deserialize, Serialize};

use crate::blocks::{Csv, Grammar, JsonLines, MeasuredCsv};
use crate::cut::{CutRules, Cutter, Record};
use crate::dialect::Dialect;
use crate::entries::EntryExit;
use crate::format::RecordFormat;
use crate::guess::Guess;
use crate::looks::RecordLooks;
use crate::machine::EntryState;
use crate::range::{ByteRange, Window};
use crate::record_walk::{FirstQuote, RecordWalk};
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

/// What one walk through a shard found.
pub(crate) struct Walked {
    pub(crate) positions: Positions,
    /// Known unless the item limit ended the walk.
    pub(crate) exit: Option<EntryExit>,
    /// Line feeds in the shard, all of it.
    pub(crate) newlines: u64,
    /// Index of the shard's first quote, where quotes mean something.
    pub(crate) first_quote: Option<usize>,
}

/// Walks the request's shard from the entry that is known or, if none is, likely.
pub(crate) fn find_positions(request: &ScanRequest<'_>) -> Walked {
    match request.rules.format {
        RecordFormat::Csv(Dialect { delimiter, .. }) if Cutter::new(request.rules).wants_looks() => {
            find_by(request, MeasuredCsv { delimiter })
        }
        RecordFormat::Csv(Dialect { delimiter, .. }) => find_by(request, Csv { delimiter }),
        RecordFormat::JsonLines => find_by(request, JsonLines),
    }
}

fn find_by(request: &ScanRequest<'_>, grammar: impl Grammar) -> Walked {
    let (entry, guess) = match request.entry {
        Some(entry) => (entry, None),
        None => Guess::first(request),
    };
    let walk = RecordWalk::new(request.bytes, grammar, entry);
    walk_from(request, entry, walk, guess).unwrap_or_else(|Misguessed { likelier, first_quote }| {
        let walk = if likelier == EntryState::Quoted {
            RecordWalk::in_quotes(request.bytes, grammar, first_quote)
        } else {
            RecordWalk::new(request.bytes, grammar, likelier)
        };
        walk_from(request, likelier, walk, None).unwrap_or_else(|_| unreachable!("no guess, no wrong guess"))
    })
}

/// A walk's first quote says that another entry is likelier.
struct Misguessed {
    likelier: EntryState,
    first_quote: FirstQuote,
}

fn walk_from<G: Grammar>(
    request: &ScanRequest<'_>,
    entry: EntryState,
    mut walk: RecordWalk<'_, G>,
    mut guess: Option<Guess<'_>>,
) -> Result<Walked, Misguessed> {
    let mut finder = Finder::new(request, entry);
    let inherited_end = if entry.in_record() { walk.next_end() } else { None };
    let mut last_end = inherited_end;
    let mut open = entry.in_record() && inherited_end.is_none();
    while !open && let Some(start) = walk.next_start() {
        if let Some(first_quote) = walk.first_quote()
            && let Some(guess) = guess.take()
        {
            let likelier = guess.likeliest(first_quote.index);
            if likelier != entry {
                return Err(Misguessed { likelier, first_quote });
            }
        }
        if finder.is_full() {
            finder.positions.truncated = true;
            break;
        }
        if finder.may_keep(start) {
            finder.newlines = walk.line_feeds_before(start);
        }
        if let Some(last) = finder.last_certain(start)
            && walk.pass(finder.max_items, last).is_some()
        {
            finder.take_whole_batch(start);
            continue;
        }
        let before = walk.looks_before(start);
        let end = walk.next_end();
        let looks = end.filter(|_| G::MEASURES).map(|end| walk.looks_before(end) - before);
        finder.take(start, end, looks);
        last_end = end.or(last_end);
        open = end.is_none();
    }
    let (newlines, first_quote) = walk.finish();
    let positions = finder.positions;
    let exit = (!positions.truncated).then(|| exit(request, &positions, inherited_end, last_end));
    Ok(Walked { positions, exit, newlines, first_quote })
}

/// Where a walk leads to that went through the shard. `last_end`: where the last record ended, if any did. From there, or
/// from the record that is open, the machine goes on in leaps: the walk knows records, but no states.
fn exit(
    request: &ScanRequest<'_>,
    positions: &Positions,
    inherited_end: Option<usize>,
    last_end: Option<usize>,
) -> EntryExit {
    let (window, format, entry) = (request.window(), request.rules.format, positions.entry);
    let bytes = window.bytes;
    let after_line_end = |end: usize| {
        let state = if bytes[end] == b'\r' { EntryState::AfterCr } else { EntryState::RecordStart };
        Cursor { index: end + 1, ..Cursor::at_start(state) }
    };
    let mut cursor = match (positions.open_record, last_end) {
        (Some(start), _) => {
            Cursor { index: window.index(start), ..Cursor::at_start(EntryState::RecordStart) }
        }
        (None, Some(end)) => after_line_end(end),
        (None, None) => Cursor::at_start(entry),
    };
    if cursor.state.in_record() || cursor.seek_record(bytes, format).is_some() {
        cursor.seek_record_end(bytes, format);
    }
    EntryExit {
        entry,
        exit: cursor.state,
        open_quote: cursor.open_quote.map(|index| window.offset(index)),
        open_record: positions.open_record,
        inherited_end: inherited_end.map(|index| window.offset(index + 1)),
    }
}

/// Takes the records of a shard in order and notes what is worth it.
struct Finder<'a> {
    window: Window<'a>,
    rules: &'a CutRules,
    ends_object: bool,
    cutter: Cutter,
    max_items: u32,
    /// How many items are counted at most.
    limit: u32,
    /// In so many bytes a batch of `max_items` items is certainly within all bounds.
    certain_bytes: u64,
    /// Index of the first item of the batch in progress.
    batch_start: usize,
    spacing: u64,
    /// Line feeds before the record in progress, if a checkpoint may be kept at it.
    newlines: u64,
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
        let cutter = Cutter::new(request.rules);
        let limit = request.item_limit.map_or(u32::MAX, |limit| u32::try_from(limit).unwrap_or(u32::MAX));
        Self {
            window: request.window(),
            rules: request.rules,
            ends_object: request.ends_object,
            max_items: request.rules.max_items.max(1),
            limit,
            certain_bytes: cutter.certain_batch_bytes().min(request.rules.max_record_bytes),
            batch_start: 0,
            cutter,
            spacing: CHECKPOINT_SPACING.max(request.range.len().div_ceil(MAX_CHECKPOINTS)),
            newlines: 0,
            positions,
        }
    }

    /// Whether a checkpoint would be kept if a batch begins at index `start`.
    fn may_keep(&self, start: usize) -> bool {
        let last = self.positions.checkpoints.last();
        last.is_none_or(|last| self.window.offset(start) - last.offset >= self.spacing)
    }

    /// Whether no more items are to be counted.
    fn is_full(&self) -> bool {
        self.positions.items == self.limit
    }

    /// Where the next batch must begin at the latest if the one that begins at index `start` needs no look at its records.
    ///
    /// `None`: it needs one, or is likely to: the last one was too long for that.
    fn last_certain(&self, start: usize) -> Option<usize> {
        // So many items take more bytes than that anyway.
        let possible = u64::from(self.max_items) <= self.certain_bytes;
        let counted = self.limit - self.positions.items >= self.max_items;
        let likely = (start - self.batch_start) as u64 <= self.certain_bytes;
        let begins = !self.cutter.has_room();
        let last = usize::try_from(self.certain_bytes).unwrap_or(usize::MAX);
        (possible && begins && counted && likely).then_some(start.saturating_add(last))
    }

    /// Takes a batch of `max_items` items, the first of which begins at index `start`.
    fn take_whole_batch(&mut self, start: usize) {
        self.begin_batch(start);
        self.positions.items += self.max_items;
    }

    /// Takes the record that begins at index `start` and is terminated at `end`, if in the shard, and holds `looks`.
    fn take(&mut self, start: usize, end: Option<usize>, looks: Option<RecordLooks>) {
        let end_or_border = end.unwrap_or(self.window.bytes.len());
        let range = ByteRange::new(self.window.offset(start), self.window.offset(end_or_border));
        let crossing = end.is_none() && !self.ends_object;
        if self.cutter.take(Record { range, crossing, looks }, &self.window) {
            self.begin_batch(start);
        }
        self.positions.items += 1;
        if end.is_none() {
            self.positions.open_record = Some(range.start);
        }
        if range.len() > self.rules.max_record_bytes {
            self.positions.too_large.get_or_insert(range);
        }
    }

    fn begin_batch(&mut self, start: usize) {
        self.batch_start = start;
        if self.may_keep(start) {
            self.positions.checkpoints.push(Checkpoint {
                batch: self.positions.batches,
                item: self.positions.items,
                offset: self.window.offset(start),
                newlines: self.newlines,
            });
        }
        self.positions.batches += 1;
    }
}
