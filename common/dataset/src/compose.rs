//! Scans of single shards, folded from left to right into what is true of the object.
//!
//! **Invariant:** whatever a [`Composer`] has given out stays true: numbers and offsets never change afterwards.
//! **Invariant:** a scan that does not settle the next shard changes nothing.

use serde::{Deserialize, Serialize};

use crate::dialect::Limits;
use crate::entries::EntryExit;
use crate::format::RecordFormat;
use crate::machine::EntryState;
use crate::plan::ShardPlan;
use crate::positions::Checkpoint;
use crate::problem::DataProblem;
use crate::range::ByteRange;
use crate::scan::ShardScan;

/// The fold's state: small, and all that a new leader needs to go on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Composer {
    plan: ShardPlan,
    max_items: Option<u64>,
    max_record_bytes: u64,
    lenient_quotes: bool,
    next_shard: u32,
    entry: EntryState,
    items: u64,
    batches: u64,
    newlines: u64,
    open_record: Option<u64>,
    open_quote: Option<u64>,
}

/// What became of a scan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Composed {
    /// The next shard is settled.
    Shard(ComposedShard),
    /// Scan the same shard again, so; compose the result next. Nothing has changed.
    Rescan {
        /// The shard's true entry state.
        entry: EntryState,
        /// How many items may be counted in it.
        item_limit: Option<u64>,
    },
    /// The data cannot be read. Nothing has changed; no later shard can be composed.
    Invalid(DataProblem),
}

/// One shard of which everything is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComposedShard {
    /// Its number in the plan.
    pub shard: u32,
    /// Its bytes.
    pub range: ByteRange,
    /// The machine's state before them.
    pub entry: EntryState,
    /// The machine's state after them.
    pub exit: EntryState,
    /// Index over the whole object of its first item.
    pub first_item: u64,
    /// Number over the whole object of its first batch.
    pub first_batch: u64,
    /// Line feeds between the start of the data and the shard. An item's line, counted from 1 in the whole object, is
    /// `newlines_before_data` of the probe + `first_line` + the item's `newlines_before` + 1.
    pub first_line: u64,
    /// Items that begin in it; none in a shard before `count_from`.
    pub items: u32,
    /// Batches that they make.
    pub batches: u32,
    /// Where cutting can start again.
    #[serde(with = "crate::packed")]
    pub checkpoints: Vec<Checkpoint>,
}

impl Composer {
    /// A fold at the start of the data. `max_items`: how many items are wanted at most.
    pub fn new(plan: &ShardPlan, max_items: Option<u64>, format: RecordFormat, limits: &Limits) -> Self {
        Self {
            plan: plan.clone(),
            max_items,
            max_record_bytes: limits.max_record_bytes,
            lenient_quotes: format.ends_in_quotes(),
            next_shard: 0,
            entry: EntryState::RecordStart,
            items: 0,
            batches: 0,
            newlines: 0,
            open_record: None,
            open_quote: None,
        }
    }

    /// Composes the scan of [`next_shard`](Self::next_shard).
    ///
    /// A scan of any other range, or one whose facts do not fit, is answered with `Rescan`.
    ///
    /// # Panics
    ///
    /// If the fold [is complete](Self::is_complete).
    pub fn compose(&mut self, scan: &ShardScan) -> Composed {
        assert!(!self.is_complete(), "a complete fold takes no more scans");
        let Some(exit) = self.settling_exit(scan) else {
            return Composed::Rescan { entry: self.entry, item_limit: self.item_limit() };
        };
        match self.find_problem(scan, &exit) {
            Some(problem) => Composed::Invalid(problem),
            None => Composed::Shard(self.take(scan, &exit)),
        }
    }

    /// Whether nothing more needs to be scanned: the last shard is composed, or `max_items` are found.
    pub fn is_complete(&self) -> bool {
        self.next_shard == self.plan.shard_count() || self.items_left() == Some(0)
    }

    /// The shard to be composed next.
    pub fn next_shard(&self) -> u32 {
        self.next_shard
    }

    /// The entry state of that shard.
    pub fn entry(&self) -> EntryState {
        self.entry
    }

    /// Items in the shards composed so far; in all, once complete.
    pub fn items(&self) -> u64 {
        self.items
    }

    /// Batches in the shards composed so far; in all, once complete.
    pub fn batches(&self) -> u64 {
        self.batches
    }

    /// The plan that is composed.
    pub fn plan(&self) -> &ShardPlan {
        &self.plan
    }

    /// How many items the next shard's scan need count at most; shards before `count_from` are scanned for states only.
    pub fn item_limit(&self) -> Option<u64> {
        if self.plan.counts_items(self.next_shard) { self.items_left() } else { Some(0) }
    }

    /// How many of `max_items` are not found yet.
    fn items_left(&self) -> Option<u64> {
        self.max_items.map(|max_items| max_items.saturating_sub(self.items))
    }

    /// The exit of the next shard if `scan` settles it.
    fn settling_exit(&self, scan: &ShardScan) -> Option<EntryExit> {
        if scan.range != self.plan.range(self.next_shard) {
            return None;
        }
        let exit = exit_from(scan, self.entry)?;
        let settled = !self.plan.counts_items(self.next_shard)
            || (positions_hold(scan, &exit) && self.counts_enough(scan));
        settled.then_some(exit)
    }

    /// Whether the scan counted all items that are wanted of its shard, and no more.
    fn counts_enough(&self, scan: &ShardScan) -> bool {
        let items = u64::from(scan.positions.items);
        match self.items_left() {
            Some(left) if items >= left => items == left,
            Some(_) | None => !scan.positions.truncated,
        }
    }

    /// The first problem that is now certain, in the order of the bytes.
    fn find_problem(&self, scan: &ShardScan, exit: &EntryExit) -> Option<DataProblem> {
        let counted = self.plan.counts_items(self.next_shard).then_some(());
        counted
            .and_then(|()| self.inherited_too_large(scan, exit))
            .or_else(|| counted.and_then(|()| self.own_too_large(scan)))
            .or_else(|| self.quote_open_at_end(scan, exit))
    }

    /// A record that began in an earlier shard may prove too large in this one, whether it ends here or not.
    fn inherited_too_large(&self, scan: &ShardScan, exit: &EntryExit) -> Option<DataProblem> {
        let start = self.open_record?;
        let known_end =
            exit.inherited_end.map_or(scan.range.end, |after_terminator| after_terminator.saturating_sub(1));
        self.too_large(start, known_end)
    }

    fn own_too_large(&self, scan: &ShardScan) -> Option<DataProblem> {
        let record = scan.positions.too_large?;
        self.too_large(record.start, record.end)
    }

    fn too_large(&self, start: u64, known_end: u64) -> Option<DataProblem> {
        let (length_at_least, limit) = (known_end.saturating_sub(start), self.max_record_bytes);
        (length_at_least > limit).then_some(DataProblem::RecordTooLarge { start, length_at_least, limit })
    }

    fn quote_open_at_end(&self, scan: &ShardScan, exit: &EntryExit) -> Option<DataProblem> {
        let open = exit.exit == EntryState::Quoted && self.plan.ends_object(self.next_shard);
        // Beyond max_items nothing is judged: a truncated scan's last record is none of ours.
        let judged = open && !self.lenient_quotes && !self.is_truncated(scan);
        judged.then(|| DataProblem::QuoteOpenAtEnd {
            quote_offset: self.open_quote_after(exit).unwrap_or(scan.range.start),
            record_start: self.open_record_after(exit).unwrap_or(scan.range.start),
        })
    }

    fn is_truncated(&self, scan: &ShardScan) -> bool {
        self.plan.counts_items(self.next_shard) && scan.positions.truncated
    }

    fn open_quote_after(&self, exit: &EntryExit) -> Option<u64> {
        exit.open_quote.or(self.open_quote.filter(|_| exit.exit.in_quotes()))
    }

    fn open_record_after(&self, exit: &EntryExit) -> Option<u64> {
        exit.open_record.or(self.open_record.filter(|_| exit.inherited_end.is_none()))
    }

    fn take(&mut self, scan: &ShardScan, exit: &EntryExit) -> ComposedShard {
        let composed = self.composed(scan, exit);
        self.next_shard += 1;
        self.entry = exit.exit;
        self.items += u64::from(composed.items);
        self.batches += u64::from(composed.batches);
        self.newlines += scan.newlines;
        self.open_quote = self.open_quote_after(exit);
        self.open_record = self.open_record_after(exit);
        composed
    }

    fn composed(&self, scan: &ShardScan, exit: &EntryExit) -> ComposedShard {
        let mut composed = ComposedShard {
            shard: self.next_shard,
            range: scan.range,
            entry: self.entry,
            exit: exit.exit,
            first_item: self.items,
            first_batch: self.batches,
            first_line: self.newlines,
            items: 0,
            batches: 0,
            checkpoints: Vec::new(),
        };
        if self.plan.counts_items(self.next_shard) {
            composed.items = scan.positions.items;
            composed.batches = scan.positions.batches;
            composed.checkpoints.clone_from(&scan.positions.checkpoints);
        }
        composed
    }
}

fn exit_from(scan: &ShardScan, entry: EntryState) -> Option<EntryExit> {
    scan.exits.iter().find(|exit| exit.entry == entry).copied()
}

/// Whether the scan's positions are those of the true entry: it guessed right, or both found the same first record.
fn positions_hold(scan: &ShardScan, exit: &EntryExit) -> bool {
    exit_from(scan, scan.positions.entry).is_some_and(|guessed| guessed.finds_same_records_as(exit))
}
