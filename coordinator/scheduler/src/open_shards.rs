//! Shards with batches that wait: what of them is due, and who scanned them. Those get what was never leased before others,
//! who would have to fetch it again.

use std::collections::{BTreeMap, BTreeSet};

use warifu_model::{Incarnation, Timestamp};

use crate::map_run::MapRun;
use crate::scheduler::Scheduler;
use crate::shard::{Readiness, Shard};
use crate::worker::Worker;

/// The numbers of a run's open shards with their pending batches, and the sum of those, which is asked for each worker at each
/// step.
#[derive(Debug, Default)]
pub(crate) struct OpenShards {
    pending: BTreeMap<u32, u64>,
    pending_batches: u64,
}

impl OpenShards {
    /// Brings it up to date with a shard that changed.
    pub(crate) fn update(&mut self, number: u32, shard: &Shard) {
        let before = if shard.is_open() {
            self.pending.insert(number, shard.pending.len())
        } else {
            self.pending.remove(&number)
        };
        self.pending_batches = self.pending_batches + shard.pending.len() - before.unwrap_or(0);
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(crate) fn numbers(&self) -> impl Iterator<Item = u32> + '_ {
        self.pending.keys().copied()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Batches that are neither leased nor reported: those left out that wait for their next attempt.
    pub(crate) fn pending_batches(&self) -> u64 {
        self.pending_batches
    }
}

/// The workers that scanned a run's open shards.
#[derive(Debug, Default)]
pub(crate) struct Scanners {
    have_their_own: BTreeSet<Incarnation>,
    will_have_their_own: BTreeSet<Incarnation>,
}

impl Scanners {
    pub(crate) fn of(map_run: &MapRun) -> Self {
        let mut scanners = Self::default();
        for shard in map_run.open_shards() {
            match shard.readiness() {
                Readiness::Soon => scanners.will_have_their_own.extend(shard.affinity),
                Readiness::Now => scanners.have_their_own.extend(shard.affinity),
                Readiness::Nothing => {}
            }
        }
        scanners
    }

    /// As [`MapRun::waits_for_its_own`] of one worker.
    pub(crate) fn wait(&self, worker: &Worker, map_run: &MapRun) -> bool {
        let soon = worker.is_scanning(&map_run.id) || self.will_have_their_own.contains(&worker.incarnation);
        map_run.keeps_shards() && soon && !self.have_their_own.contains(&worker.incarnation)
    }
}

impl MapRun {
    /// Shards with batches that may be leased, or soon may be.
    pub(crate) fn open_shards(&self) -> impl Iterator<Item = &Shard> {
        self.numbered_open_shards().map(|(_, shard)| shard)
    }

    /// The same with their numbers.
    pub(crate) fn numbered_open_shards(&self) -> impl Iterator<Item = (u32, &Shard)> {
        self.open_shards.numbers().filter_map(|number| self.shards.get(&number).map(|shard| (number, shard)))
    }

    /// Whether a batch may be sent again.
    pub(crate) fn has_due(&self, now: Timestamp) -> bool {
        self.open_shards().any(|shard| shard.opened && shard.has_due(now))
    }

    /// Whether a worker that will soon have a shard of its own leaves others theirs. With a limit of concurrency all slots would
    /// be held by others before.
    fn keeps_shards(&self) -> bool {
        self.concurrency_limit() == u32::MAX
    }

    /// Whether a worker gets nothing that is kept for others: it will soon have a shard of its own, and has none.
    pub(crate) fn waits_for_its_own(&self, worker: &Worker) -> bool {
        if !self.keeps_shards() {
            return false;
        }
        let own = self.open_shards().filter(|shard| shard.affinity == Some(worker.incarnation));
        let mut soon = worker.is_scanning(&self.id);
        for shard in own {
            match shard.readiness() {
                Readiness::Soon => soon = true,
                Readiness::Now => return false,
                Readiness::Nothing => {}
            }
        }
        soon
    }
}

impl Scheduler {
    /// Whether who scanned a shard can be leased its batches.
    pub(crate) fn is_kept(&self, map_run: &MapRun, shard: &Shard) -> bool {
        let scanner = shard.affinity.and_then(|scanner| self.workers.get(&scanner));
        scanner.is_some_and(|scanner| self.may_take(scanner, map_run))
    }

    /// Whether there is something that is kept for nobody.
    pub(crate) fn some_is_for_any(&self, map_run: &MapRun) -> bool {
        let mut now = map_run.open_shards().filter(|shard| shard.readiness() == Readiness::Now);
        now.any(|shard| !self.is_kept(map_run, shard))
    }
}
