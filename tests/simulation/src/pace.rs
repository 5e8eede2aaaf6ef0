//! Rates in the simulated world: what must be true of runs with `maxItemsPerSecond` from outside.
//!
//! 1. In no ten seconds more items are granted than the rate allows and 5 % more, and one batch: whoever leads.
//! 2. The same of what begins, and one batch more for each worker: what a slow link held back begins late.
//!
//! Both hold while the rate stays as it is; what was given before it changed is not counted.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use warifu_model::protocol::{Grant, GrantedBatch};
use warifu_model::{LeaseId, MapRunId};

use crate::world::{Instant, SECOND, World};

/// Over so long a rate is held.
const WINDOW: Instant = 10 * SECOND;
/// What it may be exceeded by.
const TOLERANCE: f64 = 1.05;

/// What the oracle remembers of runs with a rate.
#[derive(Debug, Default)]
pub(crate) struct Paces {
    by_run: BTreeMap<MapRunId, Paced>,
}

/// A run since its rate is what it is.
#[derive(Debug)]
struct Paced {
    rate: f64,
    largest_batch: u32,
    leases: BTreeSet<LeaseId>,
    granted: Recent,
    begun: Recent,
}

/// Items of the last ten seconds.
#[derive(Debug, Default)]
struct Recent(VecDeque<(Instant, u64)>);

impl Recent {
    fn add(&mut self, now: Instant, items: u64) -> u64 {
        self.0.push_back((now, items));
        while self.0.front().is_some_and(|(time, _)| time + WINDOW <= now) {
            self.0.pop_front();
        }
        self.0.iter().map(|(_, items)| items).sum()
    }
}

impl Paced {
    fn most(&self, batches: usize) -> f64 {
        let of_rate = self.rate * (WINDOW / SECOND) as f64 * TOLERANCE;
        of_rate + batches as f64 * f64::from(self.largest_batch)
    }
}

impl World {
    /// A leader grants batches.
    pub(crate) fn check_granted_pace(&mut self, grant: &Grant) -> Result<(), String> {
        let items = grant.batches.iter().map(|batch| self.items_sent(grant, batch)).sum();
        let now = self.now;
        let Some(paced) = self.pace_of(&grant.map_run) else { return Ok(()) };
        paced.leases.insert(grant.lease);
        let (sum, most, rate) = (paced.granted.add(now, items), paced.most(1), paced.rate);
        self.oracle.statistics.paced_grants += 1;
        if sum as f64 <= most {
            return Ok(());
        }
        Err(format!("{}: {sum} items granted in ten seconds at {rate} a second", grant.map_run))
    }

    /// A worker begins a batch.
    pub(crate) fn check_begun_pace(&mut self, grant: &Grant, batch: &GrantedBatch) -> Result<(), String> {
        let (now, items, workers) = (self.now, self.items_sent(grant, batch), self.plan.workers);
        let Some(paced) = self.pace_of(&grant.map_run) else { return Ok(()) };
        if !paced.leases.contains(&grant.lease) {
            return Ok(());
        }
        let (sum, most, rate) = (paced.begun.add(now, items), paced.most(1 + workers), paced.rate);
        if sum as f64 <= most {
            return Ok(());
        }
        Err(format!("{}: {sum} items begun in ten seconds at {rate} a second", grant.map_run))
    }

    /// The run, if it has a rate, as it is durable.
    fn pace_of(&mut self, id: &MapRunId) -> Option<&mut Paced> {
        let stored = self.store.runs.get(id)?;
        let largest_batch = stored.spec.as_ref()?.spec.item_batcher.max_items_per_batch;
        let by_run = &mut self.oracle.paces.by_run;
        let Some(rate) = stored.status.as_ref()?.max_items_per_second else {
            by_run.remove(id);
            return None;
        };
        let new = || Paced {
            rate,
            largest_batch,
            leases: BTreeSet::new(),
            granted: Recent::default(),
            begun: Recent::default(),
        };
        let paced = by_run.entry(id.clone()).or_insert_with(new);
        if paced.rate != rate {
            *paced = new();
        }
        Some(paced)
    }

    fn items_sent(&self, grant: &Grant, batch: &GrantedBatch) -> u64 {
        let whole = || {
            let run = self.runs.get(&grant.map_run)?;
            Some(u64::from(run.data.batch(grant.shard.shard.0, batch.batch.0).item_count))
        };
        batch.items.as_ref().map(|items| items.len()).or_else(whole).unwrap_or(0)
    }
}
