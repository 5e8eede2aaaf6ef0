//! Single batches as users see them, in pages: from a live shard, or from the record that the store keeps.
//!
//! A page costs what it shows and the shards that it passes over, both bounded. What is shown is what is known: a shard
//! remembers batches that are not simply pending or succeeded one by one, all others as ranges.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use warifu_model::protocol::CallOutcome;
use warifu_model::{
    BatchOrdinal, BatchPlace, BatchState, BatchView, MapRunId, Now, RangeSet, ShardNumber, Timestamp,
    WallTime,
};

use crate::lease::Lease;
use crate::record::{OpenBatch, ShardRecord};
use crate::redrive::reopened;
use crate::scheduler::Scheduler;
use crate::shard::Shard;

/// Shards that a page passes over: it is taken between two steps of the scheduler, which wait meanwhile.
const MAX_SHARDS: usize = 4_096;

/// Runs of alike batches that a page passes over before it ends with a shard. A shard's record bounds what one adds.
const MAX_STRETCHES: usize = 4_096;

/// Which batches are wanted.
#[derive(Debug, Clone)]
pub struct BatchQuery {
    /// From here on.
    pub from: BatchPlace,
    /// In these states; empty: all.
    pub states: BTreeSet<BatchState>,
    /// At most so many.
    pub limit: usize,
}

/// Batches in their order.
#[derive(Debug, Default)]
pub struct BatchPage {
    /// The batches; there may be fewer than asked for although more follow.
    pub batches: Vec<BatchView>,
    /// Where to go on, if there is more.
    pub next: Option<BatchPlace>,
    stretches: usize,
}

/// Where a run's batches are known.
#[derive(Debug)]
pub enum Batches {
    /// The run has not ended.
    Live(BatchPage),
    /// It has: its shards are in the store alone.
    Stored {
        /// The run's latest redrive.
        redrive: u32,
        /// Items of its batches, at most.
        max_items_per_batch: u32,
    },
}

impl Scheduler {
    /// A page of a run's batches; `None` if there is no such run.
    pub fn batches(&self, now: Now, id: &MapRunId, query: &BatchQuery) -> Option<Batches> {
        let map_run = self.map_runs.get(id)?;
        let max_items_per_batch = map_run.spec.item_batcher.max_items_per_batch;
        if map_run.status.state.is_terminal() {
            return Some(Batches::Stored { redrive: map_run.status.redrive, max_items_per_batch });
        }
        let mut page = BatchPage::default();
        for (passed, (number, shard)) in map_run.shards.range(query.from.shard.0..).enumerate() {
            if passed == MAX_SHARDS || page.stretches >= MAX_STRETCHES {
                page.next = Some(BatchPlace { shard: ShardNumber(*number), batch: BatchOrdinal(0) });
                break;
            }
            let look = Look { shard, max_items_per_batch, ended: false, leases: Some((self, now)) };
            if !look.add_to(&mut page, query) {
                break;
            }
        }
        Some(Batches::Live(page))
    }
}

impl BatchPage {
    /// Adds the batches of a shard of an ended run; false if the page is full.
    pub fn add_stored(
        &mut self,
        record: ShardRecord,
        redrive: u32,
        max_items_per_batch: u32,
        query: &BatchQuery,
    ) -> bool {
        let shard = Shard::recovered(reopened(record, redrive), Timestamp(0), false);
        let look = Look { shard: &shard, max_items_per_batch, ended: true, leases: None };
        look.add_to(self, query)
    }
}

/// Consecutive batches about which the same is known.
struct Stretch {
    batches: Range<u32>,
    state: BatchState,
}

/// A look at one shard.
struct Look<'a> {
    shard: &'a Shard,
    max_items_per_batch: u32,
    /// The run has ended: what was begun and is undecided was aborted.
    ended: bool,
    leases: Option<(&'a Scheduler, Now)>,
}

impl Look<'_> {
    /// Adds what is wanted; false if the page is full.
    fn add_to(&self, page: &mut BatchPage, query: &BatchQuery) -> bool {
        let shard = ShardNumber(self.shard.record.composed.shard);
        let from = if shard == query.from.shard { query.from.batch.0 } else { 0 };
        let wanted = |state: &BatchState| query.states.is_empty() || query.states.contains(state);
        if !self.may_have(wanted) {
            return true;
        }
        let stretches = self.stretches();
        page.stretches += stretches.len();
        let places = Places::of(&self.shard.record, self.max_items_per_batch);
        for stretch in stretches.iter().filter(|stretch| wanted(&stretch.state)) {
            for batch in stretch.batches.start.max(from)..stretch.batches.end {
                if page.batches.len() == query.limit {
                    page.next = Some(BatchPlace { shard, batch: BatchOrdinal(batch) });
                    return false;
                }
                page.batches.push(self.view(batch, stretch.state, &places));
            }
        }
        true
    }

    /// False for a shard of which every batch has simply succeeded, if those are not wanted: most shards, most of the time.
    fn may_have(&self, wanted: impl Fn(&BatchState) -> bool) -> bool {
        wanted(&BatchState::Succeeded) || !self.shard.record.open.is_empty() || !self.shard.is_decided()
    }

    /// All batches of the shard, in order.
    fn stretches(&self) -> Vec<Stretch> {
        let batches = self.shard.record.composed.batches;
        let mut decided = RangeSet::new();
        for range in &self.shard.record.finished {
            decided.insert_range(range.first_batch..range.end_batch);
        }
        let singles: BTreeSet<u32> =
            self.shard.record.open.keys().chain(self.shard.leased.keys()).copied().collect();
        let mut alike = RangeSet::from_range(0..batches);
        singles.iter().for_each(|batch| _ = alike.remove(*batch));
        let mut undecided = alike.clone();
        undecided.subtract(&decided);
        let of = |set: &RangeSet, state| -> Vec<Stretch> {
            set.ranges().map(|batches| Stretch { batches, state }).collect()
        };
        let mut stretches = of(&alike.intersection(&decided), BatchState::Succeeded);
        stretches.extend(of(&undecided, BatchState::Pending));
        stretches.extend(singles.into_iter().filter(|batch| *batch < batches).map(|batch| Stretch {
            batches: batch..batch + 1,
            state: self.state_of(batch, decided.contains(batch)),
        }));
        stretches.sort_unstable_by_key(|stretch| stretch.batches.start);
        stretches
    }

    fn state_of(&self, batch: u32, is_decided: bool) -> BatchState {
        if self.lease(batch).is_some_and(|(lease, _)| lease.begun.contains(batch)) {
            return BatchState::Running;
        }
        let Some(open) = self.shard.record.open.get(&batch) else { return BatchState::Pending };
        if !is_decided {
            return self.undecided_state(batch, open);
        }
        match open.last_call {
            Some(CallOutcome::Failed) => BatchState::Failed,
            Some(CallOutcome::TimedOut) => BatchState::TimedOut,
            Some(CallOutcome::Aborted) => BatchState::Aborted,
            Some(CallOutcome::Answered) | None => BatchState::Succeeded,
        }
    }

    fn undecided_state(&self, batch: u32, open: &OpenBatch) -> BatchState {
        if self.ended {
            return if open.attempts > 0 { BatchState::Aborted } else { BatchState::Pending };
        }
        let is_leased = self.shard.leased.contains_key(&batch);
        if open.redriven && !is_leased { BatchState::PendingRedrive } else { BatchState::Pending }
    }

    fn lease(&self, batch: u32) -> Option<(&Lease, &Scheduler)> {
        let (scheduler, _) = self.leases?;
        let lease = scheduler.leases.get(self.shard.leased.get(&batch)?)?;
        Some((lease, scheduler))
    }

    fn view(&self, batch: u32, state: BatchState, places: &Places) -> BatchView {
        let record = &self.shard.record;
        let open = record.open.get(&batch);
        let lease = self.lease(batch);
        let place = places.items_of(batch);
        let now = self.leases.map(|(_, now)| now);
        let waits_until = self.shard.waiting.get(&batch).copied();
        BatchView {
            number: record.composed.first_batch + u64::from(batch),
            state,
            first_index: place.as_ref().map(|items| record.composed.first_item + u64::from(items.start)),
            item_count: place.map(|items| items.end - items.start),
            attempts: open.map_or(0, |open| open.attempts) + u32::from(state == BatchState::Running),
            round: open.map_or(0, |open| open.round),
            losses: self.shard.losses(batch),
            failed_items: open.map_or(0, |open| open.failed.len()),
            worker: lease
                .and_then(|(lease, scheduler)| Some(scheduler.workers.get(&lease.holder)?.id.clone())),
            lease_time: now.zip(lease).map(|(now, (lease, _))| wall_time(now, lease.since)),
            next_attempt_time: now
                .zip(waits_until)
                .filter(|(now, at)| *at > now.at)
                .map(|(now, at)| wall_time(now, at)),
        }
    }
}

/// The time of day at an instant near now.
fn wall_time(now: Now, at: Timestamp) -> WallTime {
    let millis = |span: std::time::Duration| i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
    let ahead = millis(at.since(now.at)).saturating_sub(millis(now.at.since(at)));
    WallTime(now.wall.0.saturating_add(ahead))
}

/// Where batches of a shard begin, as far as it is remembered.
struct Places {
    /// First items of batches; of the batch behind the last one, the number of items.
    first_items: BTreeMap<u32, u32>,
    max_items_per_batch: u32,
}

impl Places {
    fn of(record: &ShardRecord, max_items_per_batch: u32) -> Self {
        let composed = &record.composed;
        let mut first_items = BTreeMap::from([(0, 0), (composed.batches, composed.items)]);
        first_items.extend(composed.checkpoints.iter().map(|checkpoint| (checkpoint.batch, checkpoint.item)));
        for range in &record.finished {
            first_items.insert(range.first_batch, range.first_item);
            first_items.insert(range.end_batch, range.end_item);
        }
        // A batch that never was reported has no place in its record.
        for (batch, open) in record.open.iter().filter(|(_, open)| open.item_count > 0) {
            first_items.insert(*batch, open.first_item);
            first_items.insert(batch + 1, open.first_item + open.item_count);
        }
        Self { first_items, max_items_per_batch }
    }

    /// The items of a batch within the shard: where both its ends are remembered, or stand in a row of full batches.
    fn items_of(&self, batch: u32) -> Option<Range<u32>> {
        let (first_batch, first_item) = self.first_items.range(..=batch).next_back()?;
        let (end_batch, end_item) = self.first_items.range(batch + 1..).next()?;
        let (batches, items) = (end_batch - first_batch, end_item.saturating_sub(*first_item));
        if batches == 1 {
            return Some(*first_item..*end_item);
        }
        let all_full = u64::from(batches) * u64::from(self.max_items_per_batch) == u64::from(items);
        let start = first_item + (batch - first_batch).saturating_mul(self.max_items_per_batch);
        all_full.then(|| start..start + self.max_items_per_batch)
    }
}

#[cfg(test)]
mod tests;
