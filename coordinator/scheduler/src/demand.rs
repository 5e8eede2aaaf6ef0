//! How many slots the fleet should have for what could run now: what an autoscaler is told.
//!
//! A run wants a slot for every batch that could run now, up to its `maxConcurrency` and to what its rate can keep busy.
//! While its source is not scanned to the end, the batches that are still to be found are estimated from those found so
//! far. What is being finished by workers that drain is theirs: it takes room of the run, and needs no other slot.
//!
//! Two steps: [`Work`] is what counts of a run, as plain numbers; [`Work::slots`] decides by it. Nothing here changes anything.

use std::collections::BTreeSet;
use std::time::Duration;

use warifu_model::{HandlerName, Timestamp};

use crate::compensation::Try;
use crate::map_run::MapRun;
use crate::scheduler::Scheduler;
use crate::shard::Shard;

/// A batch whose next attempt is due within this time counts as work: about what it takes until an autoscaler has looked
/// (KEDA does every 30 s) and a new worker is connected. What waits longer needs nobody meanwhile.
const WORKER_START: Duration = Duration::from_secs(60);

/// Handler time of a batch of a run with a rate until one is measured.
const FIRST_BATCH_TIME: Duration = Duration::from_secs(1);

/// What a fleet should have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SlotDemand {
    /// Slots that could all be busy now, in workers that do not drain.
    pub slots: u64,
    /// Something could run, or somebody still has something: the fleet must not be empty.
    pub is_active: bool,
}

impl Scheduler {
    /// The slots for all active runs, or only for what needs one of `handlers`, unless that is empty.
    pub fn slot_demand(&self, now: Timestamp, handlers: &BTreeSet<HandlerName>) -> SlotDemand {
        let wanted = |handler: &HandlerName| handlers.is_empty() || handlers.contains(handler);
        let mut demand = SlotDemand::default();
        for map_run in self.map_runs.values() {
            if wanted(&map_run.spec.item_processor.handler) {
                demand.add(&self.work(now, map_run));
            } else if map_run.spec.item_reader.handler.as_ref().is_some_and(wanted) && map_run.is_read() {
                demand.add(&Work { runnable: 1, ..Work::default() });
            }
            if map_run.spec.compensation.as_ref().is_some_and(|compensation| wanted(&compensation.handler)) {
                demand.add(&compensation_work(now, map_run));
            }
        }
        demand
    }

    fn work(&self, now: Timestamp, map_run: &MapRun) -> Work {
        let begins_batches = map_run.is_running() && map_run.staged.stop.is_none();
        // A run that is compensated has no batch any more: what is held for it is its compensation's.
        if map_run.status.state.is_terminal() || map_run.compensating.is_some() {
            return Work::default();
        }
        let draining = || self.workers.values().filter(|worker| worker.draining);
        let held_by_draining: u32 = draining().map(|worker| worker.held_for(&map_run.id)).sum();
        let held = map_run.held_slots.saturating_sub(held_by_draining);
        if !begins_batches {
            return Work { held, held_by_draining, ends: true, ..Work::default() };
        }
        let of_draining = draining().flat_map(|worker| &worker.leases);
        let of_draining = of_draining.filter_map(|lease| self.leases.get(lease));
        let begun_by_draining: u64 =
            of_draining.filter(|lease| lease.map_run == map_run.id).map(|lease| lease.begun.len()).sum();
        let limit = Some(map_run.concurrency_limit()).filter(|limit| *limit < u32::MAX).map(u64::from);
        let enough = limit.unwrap_or(u64::MAX).saturating_add(begun_by_draining);
        Work {
            runnable: map_run.runnable(now, enough).saturating_sub(begun_by_draining),
            unscanned: map_run.still_to_scan().batches(),
            limit,
            held,
            held_by_draining,
            pace: map_run.batches_at_its_rate(),
            ends: false,
        }
    }
}

/// One slot, from when its next try is due until it has ended.
fn compensation_work(now: Timestamp, map_run: &MapRun) -> Work {
    let is_due = match map_run.compensating.as_ref().map(|compensating| compensating.attempt) {
        Some(Try::Waiting { not_before }) => not_before <= now + WORKER_START,
        Some(Try::Writing(_) | Try::Counted | Try::Orphan | Try::Leased(_)) => true,
        None => false,
    };
    Work { runnable: u64::from(is_due), ..Work::default() }
}

impl MapRun {
    /// Batches that could run by the time a new worker is there, leased ones included; counts no further than `enough`.
    fn runnable(&self, now: Timestamp, enough: u64) -> u64 {
        let mut runnable: u64 = 0;
        for shard in self.undecided_shards.iter().filter_map(|number| self.shards.get(number)) {
            runnable += shard.runnable(now);
            if runnable >= enough {
                break;
            }
        }
        runnable
    }

    fn still_to_scan(&self) -> Unscanned {
        let (bytes, scanned_bytes) = match self.planned() {
            Some(planned) => {
                let (until, plan) = (self.composed_until(), planned.composer.plan());
                (plan.end.saturating_sub(until), until.saturating_sub(plan.data_start))
            }
            None => (self.record.source.size_bytes, 0),
        };
        let batcher = &self.spec.item_batcher;
        Unscanned {
            is_known: self.is_composed(),
            bytes,
            scanned_bytes,
            batches: self.total_batches(),
            items: self.total_items(),
            items_left: self.spec.item_reader.max_items.map(|most| most.saturating_sub(self.total_items())),
            most_items: u64::from(batcher.max_items_per_batch),
            most_bytes: batcher.max_input_bytes_per_batch,
        }
    }

    /// Batches in progress at once that begin `maxItemsPerSecond`: so many a second, for so long each.
    fn batches_at_its_rate(&self) -> Option<f64> {
        let rate = self.spec.max_items_per_second?;
        let items_per_batch = match (self.total_items(), self.total_batches()) {
            (0, _) | (_, 0) => f64::from(self.spec.item_batcher.max_items_per_batch),
            (items, batches) => items as f64 / batches as f64,
        };
        Some(rate / items_per_batch * self.batch_time.unwrap_or(FIRST_BATCH_TIME).as_secs_f64())
    }
}

impl Shard {
    fn runnable(&self, now: Timestamp) -> u64 {
        let due = self.waiting.values().filter(|at| **at <= now + WORKER_START).count();
        let leased = (self.leased.len() as u64).saturating_sub(self.committing.len());
        self.pending.len() + self.orphan.len() + due as u64 + leased
    }
}

/// What counts of one run.
#[derive(Debug, Clone, Default)]
struct Work {
    /// Batches that could run now, leased or not, without those that draining workers began.
    runnable: u64,
    /// Batches that are probably still to be found.
    unscanned: u64,
    /// `maxConcurrency`.
    limit: Option<u64>,
    /// Slots held by workers that do not drain.
    held: u32,
    /// Slots held by workers that do.
    held_by_draining: u32,
    /// Batches in progress that keep the run's rate.
    pace: Option<f64>,
    /// Nothing new begins any more.
    ends: bool,
}

impl Work {
    /// Slots that could be busy in workers that do not drain.
    ///
    /// What workers not heard since a change of leader may hold is not taken off the limit: it is all of it for some
    /// seconds, and a fleet that shrank for that would be missed right after.
    fn slots(&self) -> u64 {
        if self.ends {
            return u64::from(self.held);
        }
        let room = self.limit.unwrap_or(u64::MAX).saturating_sub(u64::from(self.held_by_draining));
        // One more than the rate needs on average: batches do not take equally long.
        let paced = self.pace.map_or(u64::MAX, |pace| (pace.ceil() as u64).saturating_add(1));
        self.runnable.saturating_add(self.unscanned).min(room).min(paced)
    }

    fn is_active(&self) -> bool {
        self.runnable > 0 || self.unscanned > 0 || self.held > 0 || self.held_by_draining > 0
    }
}

impl SlotDemand {
    fn add(&mut self, work: &Work) {
        self.slots = self.slots.saturating_add(work.slots());
        self.is_active |= work.is_active();
    }
}

/// What is known about the part of a source that is not scanned.
#[derive(Debug, Clone, Default)]
struct Unscanned {
    /// There is no such part.
    is_known: bool,
    bytes: u64,
    /// What was found so far, and in how many bytes.
    scanned_bytes: u64,
    batches: u64,
    items: u64,
    /// What `maxItems` leaves.
    items_left: Option<u64>,
    most_items: u64,
    most_bytes: u64,
}

impl Unscanned {
    /// As many batches in a byte as in the bytes before; of a source that nobody read yet as few as there can be. At least
    /// one: somebody has to scan.
    fn batches(&self) -> u64 {
        if self.is_known {
            return 0;
        }
        let by_bytes = match self.batches {
            0 => self.bytes.div_ceil(self.most_bytes.max(1)),
            found => share(self.bytes, found, self.scanned_bytes),
        };
        let by_items = self.items_left.map_or(u64::MAX, |left| match self.batches {
            0 => left.div_ceil(self.most_items.max(1)),
            found => share(left, found, self.items),
        });
        by_bytes.min(by_items).max(1)
    }
}

/// `amount × parts / whole`, rounded up.
fn share(amount: u64, parts: u64, whole: u64) -> u64 {
    let product = u128::from(amount) * u128::from(parts);
    u64::try_from(product.div_ceil(u128::from(whole.max(1)))).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
