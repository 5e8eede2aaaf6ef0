//! What users see of single batches.

use crate::{BatchOrdinal, ShardNumber, WallTime, WorkerId};

/// Where a batch is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BatchState {
    /// Not begun: it waits for a worker, for its next attempt, or at a worker for a slot.
    Pending,
    /// A worker has begun it and its outcome is not counted.
    Running,
    /// The last handler call answered; single items may have failed nevertheless.
    Succeeded,
    /// The last handler call failed as a whole.
    Failed,
    /// The last handler call took too long.
    TimedOut,
    /// Begun, then stopped with the run.
    Aborted,
    /// It waits for its turn in a redrive.
    PendingRedrive,
}

/// A place in the order of all batches of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BatchPlace {
    /// The shard.
    pub shard: ShardNumber,
    /// The batch within it.
    pub batch: BatchOrdinal,
}

impl BatchPlace {
    /// Before every batch.
    pub const FIRST: BatchPlace = BatchPlace { shard: ShardNumber(0), batch: BatchOrdinal(0) };

    /// Before the first batch of the next shard.
    pub fn next_shard(shard: ShardNumber) -> Self {
        Self { shard: ShardNumber(shard.0.saturating_add(1)), batch: BatchOrdinal(0) }
    }
}

/// One batch at one moment. Of a batch that succeeded without a failed item only its number is kept, and often its items.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchView {
    /// Number over the whole data set.
    pub number: u64,
    /// Where it is.
    pub state: BatchState,
    /// Index over the whole data set of its first item, if that is known.
    pub first_index: Option<u64>,
    /// Its items, if that is known.
    pub item_count: Option<u32>,
    /// Handler calls that were answered or failed, and the one in progress; 0 also where none is kept.
    pub attempts: u32,
    /// Grows when an answered attempt leaves items to send again.
    pub round: u32,
    /// Times that its worker was lost while it ran.
    pub losses: u32,
    /// Items of it that failed for good in this redrive, aborted ones included.
    pub failed_items: u64,
    /// Who holds it.
    pub worker: Option<WorkerId>,
    /// Since when.
    pub lease_time: Option<WallTime>,
    /// When its next attempt may start.
    pub next_attempt_time: Option<WallTime>,
}
