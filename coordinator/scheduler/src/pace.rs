//! Pacing: a run with `maxItemsPerSecond` begins no more items in a second than that, in the whole fleet.
//!
//! What is granted begins at once, as fast as its handler is: so a lease of such a run has a slot for each of its batches, and
//! is granted no earlier than its batches may begin. A batch is granted as soon as what was granted before is paid for, and
//! pays afterwards: one that is larger than a second's items runs, too, and the next one waits the longer.
//!
//! **Invariant:** of what one leader grants, the items of any span of time are at most the rate times that span and [`BURST`],
//! and those of one batch. A new leader does not know what the last one granted, and begins as if a batch had just been.

use std::time::Duration;

use warifu_model::{MapRunId, Now, Timestamp};

use crate::map_run::MapRun;
use crate::scheduler::Scheduler;
use crate::shard::Shard;
use crate::timers::Timer;
use crate::worker::Worker;
use crate::{BrokenRule, lease::Lease};

/// How far a run may catch up with what it could have begun: enough for messages and transactions that come late, and 2 % of
/// ten seconds.
const BURST: Duration = Duration::from_millis(200);

/// What was granted and is not begun, over all workers, in time at the run's rate: it may begin at once when a link that was
/// slow is not any more. But each worker may hold one batch.
const BACKLOG: Duration = Duration::from_millis(200);

/// A look at the fleet for each batch would be too much where a batch takes less than this: later ones share it.
const STEP: Duration = Duration::from_millis(5);

/// How far a run's grants are ahead of its rate.
#[derive(Debug)]
pub(crate) struct Pace {
    /// When all that was granted is paid for.
    paid_at: Timestamp,
    /// The last leader may have granted a batch a moment ago.
    owes_a_batch: bool,
    /// There is work, and it is too early for it.
    pub(crate) holds_back: bool,
}

impl Pace {
    /// Of a run that has begun nothing.
    pub(crate) fn new(now: Timestamp) -> Self {
        Self { paid_at: now, owes_a_batch: false, holds_back: false }
    }

    /// Of a run that another leader may have granted batches of until this one grants some.
    pub(crate) fn taken_over(now: Timestamp) -> Self {
        Self { owes_a_batch: true, ..Self::new(now) }
    }

    /// How many batches may begin, each of which pays for `each` at most.
    fn batches(&mut self, now: Timestamp, each: Duration) -> u32 {
        if std::mem::take(&mut self.owes_a_batch) {
            self.paid_at = now + each;
        }
        self.holds_back = now < self.paid_at;
        if self.holds_back {
            return 0;
        }
        let credit = now.since(self.paid_at).min(BURST).as_micros();
        u32::try_from(credit / each.as_micros().max(1)).unwrap_or(u32::MAX).saturating_add(1)
    }

    fn pay(&mut self, now: Timestamp, cost: Duration) {
        self.paid_at = self.paid_at.max(now - BURST) + cost;
    }

    /// What is owed is owed in items: at another rate it takes another time.
    pub(crate) fn change_rate(&mut self, now: Timestamp, old: Option<f64>, new: Option<f64>) {
        let owed = self.paid_at.since(now);
        self.paid_at = match (old, new) {
            (Some(old), Some(new)) if !owed.is_zero() => now + seconds(owed.as_secs_f64() * old / new),
            (Some(_), Some(_)) => self.paid_at,
            (None, _) | (_, None) => now,
        };
        self.holds_back &= new.is_some();
    }
}

/// As long as a clock may run at all: the least rate and the largest batch are within it.
fn seconds(seconds: f64) -> Duration {
    const LONGEST: f64 = 1e11;
    Duration::from_secs_f64(seconds.clamp(0.0, LONGEST))
}

impl MapRun {
    pub(crate) fn is_paced(&self) -> bool {
        self.spec.max_items_per_second.is_some()
    }

    fn largest_batch(&self) -> f64 {
        f64::from(self.spec.item_batcher.max_items_per_batch)
    }

    /// What batches of a shard pay for when they are granted.
    pub(crate) fn pay_for(&mut self, now: Timestamp, number: u32, batches: &[u32]) {
        let Some(rate) = self.spec.max_items_per_second else { return };
        let Some(shard) = self.shards.get(&number) else { return };
        let most = self.spec.item_batcher.max_items_per_batch;
        let items: u64 = batches.iter().map(|batch| items_to_send(shard, *batch, most)).sum();
        self.pace.pay(now, seconds(items as f64 / rate));
    }
}

impl Scheduler {
    /// How many batches of the run may begin now. If it is none, placement is looked at again when it is time.
    pub(crate) fn batches_in_time(&mut self, now: Now, id: &MapRunId) -> u32 {
        let ignores_rate = self.breaks(BrokenRule::IgnoreRate);
        let Some(map_run) = self.map_runs.get_mut(id) else { return 0 };
        let Some(rate) = map_run.spec.max_items_per_second.filter(|_| !ignores_rate) else { return u32::MAX };
        let batches = map_run.pace.batches(now.at, seconds(map_run.largest_batch() / rate));
        if batches == 0 {
            let at = map_run.pace.paid_at.max(now.at + STEP);
            self.timers.set(Timer::Pace(id.clone()), at);
        }
        batches
    }

    /// Batches that a worker may be given of a run before it says that it began those that it has.
    pub(crate) fn unbegun_room(&self, worker: &Worker, map_run: &MapRun) -> u32 {
        let Some(rate) = map_run.spec.max_items_per_second else { return u32::MAX };
        let items = rate * BACKLOG.as_secs_f64() / self.workers.len().max(1) as f64;
        // The cast saturates: what is beyond 32 bits is no bound.
        let most = ((items / map_run.largest_batch()) as u32).max(1);
        let leases = worker.leases.iter().filter_map(|lease| self.leases.get(lease));
        let unbegun: u32 =
            leases.filter(|lease| lease.map_run == map_run.id).map(Lease::not_begun_count).sum();
        most.saturating_sub(unbegun)
    }
}

/// Items that a call of `batch` begins with: exact where batches are cut by their number of items alone, and over all batches
/// from one checkpoint to the next.
fn items_to_send(shard: &Shard, batch: u32, most: u32) -> u64 {
    if let Some(open) = shard.record.open.get(&batch) {
        return open.undecided.len();
    }
    let composed = &shard.record.composed;
    let next = composed.checkpoints.partition_point(|checkpoint| checkpoint.batch <= batch);
    let first = next.checked_sub(1).and_then(|at| composed.checkpoints.get(at));
    let (first_batch, first_item) = first.map_or((0, 0), |first| (first.batch, first.item));
    let end = composed.checkpoints.get(next);
    let (end_batch, end_item) = end.map_or((composed.batches, composed.items), |end| (end.batch, end.item));
    items_of(batch - first_batch, end_batch - first_batch, end_item - first_item, most)
}

/// Items of one of consecutive `batches` that have `items` together.
///
/// Cut by their number all are full but two at a shard's end: what is left, and the record that crosses the border, which is a
/// batch of its own. Where that does not fit they are cut by bytes, and each pays for a fair part.
fn items_of(batch: u32, batches: u32, items: u32, most: u32) -> u64 {
    let (batch, batches, items, most) =
        (u64::from(batch), u64::from(batches.max(1)), u64::from(items), u64::from(most));
    let full = batches.saturating_sub(2) * most;
    if items <= full {
        return items.div_ceil(batches);
    }
    let rest = items - full;
    let last_but_one = if batches == 1 { 0 } else { most.min(rest - 1) };
    match batches - 1 - batch.min(batches - 1) {
        0 => rest - last_but_one,
        1 => last_but_one,
        _ => most,
    }
}

#[cfg(test)]
mod tests;
