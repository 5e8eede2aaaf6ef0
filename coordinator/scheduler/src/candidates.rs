//! Who is served next: the workers with a free slot for a run, in the order of their load.
//!
//! A round of placement grants lease after lease, and each grant changes one worker. So the order is made once for each run
//! of the round and then kept up to date: sorting two thousand workers anew for each of two thousand grants takes longer
//! than a worker waits for an answer.

use std::collections::{BTreeMap, BTreeSet};

use warifu_model::{Incarnation, MapRunId, Timestamp};

use crate::map_run::MapRun;
use crate::open_shards::Scanners;
use crate::scheduler::Scheduler;
use crate::shard::Readiness;
use crate::worker::Worker;

/// Slots held for the run, then slots held at all; the incarnation makes it unique.
type Load = (u32, u32, Incarnation);

/// The candidates of each run that was asked about in a round of placement.
#[derive(Debug, Default)]
pub(crate) struct Candidates {
    by_run: BTreeMap<MapRunId, BTreeSet<Load>>,
}

impl Candidates {
    /// The candidate of a run that is served next, and how many there are: the least loaded one; of those that hold as many
    /// slots for the run rather one that scanned what waits. One that will soon have a shard of its own comes last, and only
    /// for what is kept for none.
    pub(crate) fn first(
        &mut self,
        now: Timestamp,
        scheduler: &Scheduler,
        id: &MapRunId,
    ) -> Option<(Incarnation, usize)> {
        let map_run = &scheduler.map_runs[id];
        let candidates = self
            .by_run
            .entry(id.clone())
            .or_insert_with(|| scheduler.free_for(map_run).map(|worker| load(worker, id)).collect());
        let (least, _, first) = candidates.first()?;
        let own =
            map_run.open_shards().filter(|shard| shard.readiness() == Readiness::Now).find_map(|shard| {
                let load = load(scheduler.workers.get(&shard.affinity?)?, id);
                (load.0 == *least && candidates.contains(&load)).then_some(load)
            });
        let chosen = own.or_else(|| {
            let scanners = Scanners::of(map_run);
            let waits = |load: &&Load| scanners.wait(&scheduler.workers[&load.2], map_run);
            candidates.iter().find(|load| !waits(load)).copied()
        });
        let for_any = || (map_run.has_due(now) || scheduler.some_is_for_any(map_run)).then_some(*first);
        let chosen = chosen.map(|(_, _, worker)| worker).or_else(for_any)?;
        Some((chosen, candidates.len()))
    }

    /// Takes a worker out before something changes at it.
    pub(crate) fn take_out(&mut self, worker: &Worker) {
        for (id, candidates) in &mut self.by_run {
            candidates.remove(&load(worker, id));
        }
    }

    /// Puts a worker back where it belongs now.
    pub(crate) fn put_back(&mut self, scheduler: &Scheduler, worker: &Worker) {
        for (id, candidates) in &mut self.by_run {
            if scheduler.is_free_for(worker, &scheduler.map_runs[id]) {
                candidates.insert(load(worker, id));
            }
        }
    }
}

fn load(worker: &Worker, id: &MapRunId) -> Load {
    (worker.held_for(id), worker.held_slots(), worker.incarnation)
}

impl Scheduler {
    /// Workers that may take the run's batches and have a free slot, in no order that means anything.
    pub(crate) fn free_for<'a>(&'a self, map_run: &'a MapRun) -> impl Iterator<Item = &'a Worker> {
        self.workers.values().filter(|worker| self.is_free_for(worker, map_run))
    }

    fn is_free_for(&self, worker: &Worker, map_run: &MapRun) -> bool {
        worker.free_slots() > 0 && self.may_take(worker, map_run) && self.unbegun_room(worker, map_run) > 0
    }
}
