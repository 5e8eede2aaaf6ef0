//! Who is served next: the workers with a free slot for a run, in the order of their load.
//!
//! A round of placement grants lease after lease, and each grant changes one worker. So the order is made once for each run
//! of the round and then kept up to date: sorting two thousand workers anew for each of two thousand grants takes longer
//! than a worker waits for an answer.

use std::collections::{BTreeMap, BTreeSet};

use warifu_model::{Incarnation, MapRunId};

use crate::map_run::MapRun;
use crate::scheduler::Scheduler;
use crate::worker::Worker;

/// Slots held for the run, then slots held at all; the incarnation makes it unique.
type Load = (u32, u32, Incarnation);

/// The candidates of each run that was asked about in a round of placement.
#[derive(Debug, Default)]
pub(crate) struct Candidates {
    by_run: BTreeMap<MapRunId, BTreeSet<Load>>,
}

impl Candidates {
    /// The least loaded candidate of a run, and how many there are.
    pub(crate) fn first(&mut self, scheduler: &Scheduler, id: &MapRunId) -> Option<(Incarnation, usize)> {
        let candidates = self.by_run.entry(id.clone()).or_insert_with(|| {
            let map_run = &scheduler.map_runs[id];
            scheduler.free_for(map_run).map(|worker| load(worker, id)).collect()
        });
        candidates.first().map(|(_, _, worker)| (*worker, candidates.len()))
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
