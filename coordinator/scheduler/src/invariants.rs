//! The scheduler's own invariants, checked by the simulation after every step.

use std::collections::BTreeMap;

use warifu_model::MapRunState;

use crate::compensation::Try;
use crate::lease::Lease;
use crate::map_run::MapRun;
use crate::scheduler::Scheduler;
use crate::shard::Shard;
use crate::worker::Worker;

/// An invariant that does not hold, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation(pub String);

impl Scheduler {
    /// Checks everything that can be seen from inside; the simulation checks the rest from outside.
    pub fn check_invariants(&self) -> Result<(), Violation> {
        if self.stepped_down {
            return Ok(());
        }
        for map_run in self.map_runs.values() {
            self.check_counts(map_run)?;
            self.check_slots(map_run)?;
            check_open_shards(map_run)?;
            for (number, shard) in &map_run.shards {
                check_shard(map_run, *number, shard)?;
            }
        }
        self.check_leases()
    }

    /// Total is the sum of the other states, and what failed the sum of both kinds, always.
    fn check_counts(&self, map_run: &MapRun) -> Result<(), Violation> {
        let Some(view) = self.map_run(&map_run.id) else { return Ok(()) };
        for (what, counts) in [("items", view.item_counts), ("batches", view.batch_counts)] {
            if counts.total != counts.sum() {
                return violation(format!("{what} of {} do not add up: {counts:?}", map_run.id));
            }
        }
        let (failures, unsuccessful) = (view.failure_counts, view.item_counts.unsuccessful());
        if failures.sum() != unsuccessful {
            return violation(format!(
                "{}: {unsuccessful} items did not succeed, by kind {failures:?}",
                map_run.id
            ));
        }
        Ok(())
    }

    fn check_slots(&self, map_run: &MapRun) -> Result<(), Violation> {
        let held: u32 = self.workers.values().map(|worker| worker.held_for(&map_run.id)).sum();
        if held != map_run.held_slots {
            return violation(format!(
                "{}: workers hold {held} slots, counted {}",
                map_run.id, map_run.held_slots
            ));
        }
        Ok(())
    }

    /// A compensation's lease is the run's current try, or the one whose outcome is on its way; its run stops.
    fn check_compensation(&self, lease: &Lease) -> Result<(), Violation> {
        let map_run = self.map_runs.get(&lease.map_run);
        let current = map_run.and_then(|map_run| map_run.compensating.as_ref()).is_some_and(|compensating| {
            match compensating.attempt {
                Try::Leased(id) | Try::Writing(Some((id, _))) => id == lease.id,
                Try::Waiting { .. } | Try::Writing(None) | Try::Counted | Try::Orphan => false,
            }
        });
        let stopping = map_run.is_some_and(|map_run| map_run.status.state == MapRunState::Stopping);
        if current && stopping {
            return Ok(());
        }
        violation(format!("lease {} of {} is no current compensation", lease.id, lease.map_run))
    }

    fn check_leases(&self) -> Result<(), Violation> {
        let is_stale = |worker: &&Worker| worker.alone.is_some_and(|alone| !worker.leases.contains(&alone));
        if let Some(worker) = self.workers.values().find(is_stale) {
            return violation(format!("{} runs a lease alone that is over", worker.id));
        }
        let mut by_shard: BTreeMap<_, usize> = BTreeMap::new();
        for lease in self.leases.values() {
            if lease.is_compensation() {
                self.check_compensation(lease)?;
                continue;
            }
            *by_shard.entry((lease.map_run.clone(), lease.shard.0)).or_default() += lease.remaining.len();
            let Some(map_run) = self.map_runs.get(&lease.map_run) else {
                return violation(format!("lease {} is of no run", lease.id));
            };
            let Some(shard) = map_run.shards.get(&lease.shard.0) else {
                return violation(format!("lease {} is of no shard", lease.id));
            };
            let foreign = lease.remaining.keys().find(|batch| shard.leased.get(batch) != Some(&lease.id));
            if let Some(batch) = foreign {
                return violation(format!("lease {} holds batch {batch}, its shard disagrees", lease.id));
            }
        }
        for ((id, number), leased) in by_shard {
            if self.map_runs[&id].shards[&number].leased.len() != leased {
                return violation(format!(
                    "{id} shard {number}: leases and shard disagree on what is leased"
                ));
            }
        }
        Ok(())
    }
}

/// Every batch is in exactly one place.
fn check_shard(map_run: &MapRun, number: u32, shard: &Shard) -> Result<(), Violation> {
    let finished: u64 =
        shard.record.finished.iter().map(|range| u64::from(range.end_batch - range.first_batch)).sum();
    let places = shard.pending.len()
        + shard.orphan.len()
        + shard.waiting.len() as u64
        + shard.leased.len() as u64
        + finished;
    if places != u64::from(shard.record.composed.batches) {
        return violation(format!(
            "{} shard {number}: {} batches, {} pending, {} orphans, {} waiting, {} leased, {finished} finished",
            map_run.id,
            shard.record.composed.batches,
            shard.pending.len(),
            shard.orphan.len(),
            shard.waiting.len(),
            shard.leased.len()
        ));
    }
    if shard.is_decided() == map_run.undecided_shards.contains(&number) {
        return violation(format!("{} shard {number}: undecided_shards is out of date", map_run.id));
    }
    Ok(())
}

/// What is kept up to date of the open shards is what a count of them gives.
fn check_open_shards(map_run: &MapRun) -> Result<(), Violation> {
    let shards = map_run.shards.iter();
    let open = shards.filter(|(_, shard)| shard.is_open()).map(|(number, _)| *number);
    let pending: u64 = map_run.shards.values().map(|shard| shard.pending.len()).sum();
    if open.eq(map_run.open_shards.numbers()) && pending == map_run.open_shards.pending_batches() {
        return Ok(());
    }
    violation(format!("{}: {pending} batches are pending, open_shards is out of date", map_run.id))
}

fn violation(text: String) -> Result<(), Violation> {
    Err(Violation(text))
}
