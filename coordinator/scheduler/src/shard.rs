//! A composed shard: which of its batches wait, are leased, are being counted, are decided.
//!
//! **Invariant:** every batch is in exactly one of: pending, orphan, leased, waiting for its next attempt,
//! decided. A batch that is being counted is still leased.

use std::collections::BTreeMap;

use warifu_dataset::Checkpoint;
use warifu_model::{Incarnation, LeaseId, RangeSet, Timestamp};

use crate::record::{FinishedRange, OpenBatch, ShardRecord};

/// A shard as the leader holds it.
#[derive(Debug, Clone)]
pub(crate) struct Shard {
    /// What the store holds, or will hold after the first write.
    pub(crate) record: ShardRecord,
    /// The store holds it: batches may be leased.
    pub(crate) opened: bool,
    /// Never reported, not leased.
    pub(crate) pending: RangeSet,
    /// Undecided at a take-over; a worker that is not heard yet may hold them.
    pub(crate) orphan: RangeSet,
    /// To be sent again, not before a time.
    pub(crate) waiting: BTreeMap<u32, Timestamp>,
    /// Under a lease.
    pub(crate) leased: BTreeMap<u32, LeaseId>,
    /// Of those, in a report that is staged or on its way to the store.
    pub(crate) committing: RangeSet,
    /// The worker that probably still holds its bytes.
    pub(crate) affinity: Option<Incarnation>,
}

/// Whether there are batches to lease that never were.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Readiness {
    /// When the store holds the shard.
    Soon,
    Now,
    Nothing,
}

impl Shard {
    /// A shard that was just composed.
    pub(crate) fn composed(record: ShardRecord, affinity: Option<Incarnation>) -> Self {
        let pending = RangeSet::from_range(0..record.composed.batches);
        Self {
            record,
            opened: false,
            pending,
            orphan: RangeSet::new(),
            waiting: BTreeMap::new(),
            leased: BTreeMap::new(),
            committing: RangeSet::new(),
            affinity,
        }
    }

    /// A shard as a new leader finds it: what is undecided is nobody's yet, or an orphan if workers may hold it.
    pub(crate) fn recovered(record: ShardRecord, now: Timestamp, workers_may_hold_it: bool) -> Self {
        let mut undecided = RangeSet::from_range(0..record.composed.batches);
        for range in &record.finished {
            undecided.remove_range(range.first_batch..range.end_batch);
        }
        let mut shard = Self::composed(record, None);
        shard.opened = true;
        shard.pending = RangeSet::new();
        if workers_may_hold_it {
            shard.orphan = undecided;
        } else {
            shard.requeue_all(undecided, now);
        }
        shard
    }

    pub(crate) fn readiness(&self) -> Readiness {
        match (self.opened, self.pending.is_empty()) {
            (false, _) => Readiness::Soon,
            (true, false) => Readiness::Now,
            (true, true) => Readiness::Nothing,
        }
    }

    /// Whether a batch may be sent again.
    pub(crate) fn has_due(&self, now: Timestamp) -> bool {
        self.waiting.values().any(|at| *at <= now)
    }

    /// Whether batches may be leased, or soon may be.
    pub(crate) fn is_open(&self) -> bool {
        !(self.pending.is_empty() && self.waiting.is_empty())
    }

    /// True once every batch is decided.
    pub(crate) fn is_decided(&self) -> bool {
        self.pending.is_empty() && self.orphan.is_empty() && self.waiting.is_empty() && self.leased.is_empty()
    }

    /// Makes undecided batches available again. Those that were never sent are ranges, and many.
    pub(crate) fn requeue_all(&mut self, mut batches: RangeSet, now: Timestamp) {
        let sent: Vec<u32> =
            self.record.open.keys().copied().filter(|batch| batches.contains(*batch)).collect();
        for batch in sent {
            batches.remove(batch);
            self.waiting.insert(batch, now);
        }
        self.pending.union_with(&batches);
    }

    /// Makes an undecided batch available again: at once if it was never reported or waits no longer.
    pub(crate) fn requeue(&mut self, batch: u32, now: Timestamp) {
        if self.record.open.contains_key(&batch) {
            self.waiting.insert(batch, now);
        } else {
            self.pending.insert(batch);
        }
    }

    /// The checkpoint at or before `batch`, and a byte at or after the end of batch `last`.
    pub(crate) fn read_span(&self, batch: u32, last: u32) -> (Checkpoint, u64) {
        let checkpoints = &self.record.composed.checkpoints;
        let after = checkpoints.partition_point(|checkpoint| checkpoint.batch <= batch);
        let start = checkpoints[after.saturating_sub(1)];
        let end = checkpoints.iter().find(|checkpoint| checkpoint.batch > last);
        (start, end.map_or(self.record.composed.range.end, |checkpoint| checkpoint.offset))
    }

    /// Handler calls of `batch` that were lost with their worker.
    pub(crate) fn losses(&self, batch: u32) -> u32 {
        self.record.losses.get(&batch).copied().unwrap_or(0)
    }

    /// Deaths of this very process, in a row, that happened while `batch` was in progress.
    pub(crate) fn deaths(&self, batch: u32) -> u32 {
        self.record.deaths.get(&batch).copied().unwrap_or(0)
    }

    /// The attempt and round that the next lease of `batch` is for.
    pub(crate) fn granted_for(&self, batch: u32) -> crate::lease::GrantedFor {
        granted_for(self.record.open.get(&batch))
    }

    /// Items that wait for a redrive's turn.
    pub(crate) fn pending_redrive_items(&self) -> u64 {
        let waits = |batch: &u32| self.waiting.contains_key(batch) || self.orphan.contains(*batch);
        self.record
            .open
            .iter()
            .filter(|(batch, open)| open.redriven && waits(batch))
            .map(|(_, open)| open.undecided.len())
            .sum()
    }
}

/// The attempt and round that a batch is to be granted for, by its durable record.
pub(crate) fn granted_for(open: Option<&OpenBatch>) -> crate::lease::GrantedFor {
    let (attempts, round) = open.map_or((0, 0), |open| (open.attempts, open.round));
    crate::lease::GrantedFor { attempt: attempts + 1, round }
}

/// Adds a decided batch to the finished ranges. Ranges melt together where batches and items continue each other.
pub(crate) fn insert_finished(finished: &mut Vec<FinishedRange>, batch: FinishedRange) {
    let at = finished.partition_point(|range| range.first_batch < batch.first_batch);
    finished.insert(at, batch);
    merge_at(finished, at);
}

fn merge_at(finished: &mut Vec<FinishedRange>, at: usize) {
    let lefts = std::iter::once(at).chain(at.checked_sub(1));
    for left in lefts {
        let (Some(a), Some(b)) = (finished.get(left).copied(), finished.get(left + 1).copied()) else {
            continue;
        };
        if a.end_batch == b.first_batch && a.end_item == b.first_item {
            finished[left] =
                FinishedRange { end_batch: b.end_batch, end_item: b.end_item, end_byte: b.end_byte, ..a };
            finished.remove(left + 1);
        }
    }
}

/// Removes one batch from the finished ranges; its neighbours keep their places. `place` is the batch's own.
pub(crate) fn remove_finished(finished: &mut Vec<FinishedRange>, place: FinishedRange) {
    let Some(at) = finished
        .iter()
        .position(|range| range.first_batch <= place.first_batch && place.end_batch <= range.end_batch)
    else {
        return;
    };
    let range = finished.remove(at);
    let after = FinishedRange {
        first_batch: place.end_batch,
        first_item: place.end_item,
        start_byte: place.end_byte,
        ..range
    };
    let before = FinishedRange {
        end_batch: place.first_batch,
        end_item: place.first_item,
        end_byte: place.start_byte,
        ..range
    };
    for part in [after, before] {
        if part.first_batch < part.end_batch {
            finished.insert(at, part);
        }
    }
}
