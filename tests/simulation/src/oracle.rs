//! What must be true from outside, whatever the processes believe.
//!
//! 1. Handler calls in progress of a run never exceed what its limit allowed, also across a change of leader.
//! 2. What is counted follows from the shard records, at every transaction; a terminal state is left by a redrive alone.
//! 3. Nothing is granted once the stop is durable, but a compensation (see `compensation.rs`).
//! 4. The manifest's parts hold exactly the outcomes that were counted, each item once.
//! 5. What is acknowledged is durable; what is refused is not reported for ever.
//! 6. Failures by kind and name add up to what failed; operators hear of a high error rate once for each level.
//! 7. A run with a rate keeps to it (see `pace.rs`).
//! 8. Every batch is listed once, in the states that the counts tell (see `listing.rs`).
//! 9. A run whose concurrency is chosen keeps to it (see `adaptive.rs`).
//! 10. After the last fault every run ends.

use std::collections::{BTreeMap, BTreeSet};

use warifu_model::protocol::Grant;
use warifu_model::{
    BatchOrdinal, FailureCounts, FailureKind, LeaseId, MapRunId, MapRunState, PartRef, RangeSet,
    ReportNumber, TotalItems,
};
use warifu_scheduler::record::{PartsRecord, Record, StatusRecord};
use warifu_scheduler::{AlertLevel, Commit, ErrorRateAlert, ManifestOrder, Rejection, Reply};

use crate::compensation::Compensations;
use crate::measure::written_bytes;
use crate::pace::Paces;
use crate::world::{Statistics, World};

/// What etcd takes in one transaction: 128 operations, of which the guard needs some, and 1.5 MiB.
const MAX_COMMIT_RECORDS: usize = 120;
const MAX_COMMIT_BYTES: u64 = 3 << 19;

/// A report goes out again with each new stream until its answer comes: so often at most in these worlds.
const MAX_REFUSALS: u32 = 50;

/// What the oracle remembers.
#[derive(Debug, Default)]
pub(crate) struct Oracle {
    pub(crate) statistics: Statistics,
    /// Items of each stored part.
    pub(crate) parts: BTreeMap<(MapRunId, String), Vec<u64>>,
    /// Which report each of them belongs to.
    pub(crate) reports_of_parts: BTreeMap<String, (LeaseId, u32)>,
    /// What failed in each report, by kind.
    pub(crate) failures_of_reports: BTreeMap<(LeaseId, u32), FailureCounts>,
    /// Reports that some transaction counted.
    counted_reports: BTreeSet<(LeaseId, u32)>,
    counted_batches: BTreeMap<MapRunId, u64>,
    told_alerts: BTreeSet<(MapRunId, u32, AlertLevel)>,
    pub(crate) compensations: Compensations,
    pub(crate) paces: Paces,
    /// How often each batch was refused under a lease.
    refusals: BTreeMap<(LeaseId, u32), u32>,
    last_status: BTreeMap<MapRunId, (MapRunState, u32)>,
}

impl Oracle {
    /// What a transaction says of reports: an undecided shard names them, a finished one has left only their parts.
    fn note_counted(&mut self, record: &Record) {
        match record {
            Record::PutShard(_, _, shard) => {
                let reports = shard.reports.iter();
                let each = reports.flat_map(|(lease, numbers)| numbers.iter().map(|number| (*lease, number)));
                self.counted_reports.extend(each);
            }
            Record::PutParts { parts, .. } => {
                let reports = parts.iter().filter_map(|part| self.reports_of_parts.get(&part.name));
                self.counted_reports.extend(reports);
            }
            _ => {}
        }
    }
}

impl World {
    /// A handler is about to be called.
    pub(crate) fn check_begin(&self, index: usize, grant: &Grant, batch: BatchOrdinal) -> Result<(), String> {
        let valid = || self.workers.iter().enumerate().filter(|(_, worker)| worker.is_valid(self.now));
        for (other, worker) in valid() {
            for ((lease, running), call) in &worker.calls {
                let same =
                    call.map_run == grant.map_run && call.shard == grant.shard.shard.0 && *running == batch.0;
                if same && (other != index || *lease != grant.lease) {
                    return Err(format!(
                        "batch {batch} of {} runs twice: under {lease} and {}",
                        grant.map_run, grant.lease
                    ));
                }
            }
        }
        let of_run = |worker: &crate::worker::SimWorker| {
            worker.calls.values().filter(|call| call.map_run == grant.map_run).count()
        };
        let in_progress = valid().map(|(_, worker)| of_run(worker)).sum::<usize>() + 1;
        let allowed = self.store.runs.get(&grant.map_run).and_then(|run| run.status.as_ref());
        let allowed = allowed.map_or(Some(0), |status| status.concurrency_ceiling);
        match allowed {
            Some(allowed) if in_progress > allowed as usize => {
                Err(format!("{} has {in_progress} batches in progress, {allowed} are allowed", grant.map_run))
            }
            _ => Ok(()),
        }
    }

    /// A leader grants a lease.
    pub(crate) fn check_grant(&self, grant: &Grant) -> Result<(), String> {
        let Some(run) = self.store.runs.get(&grant.map_run) else {
            return Err(format!("{} is leased and not stored", grant.map_run));
        };
        let running = run.status.as_ref().is_some_and(|status| status.state == MapRunState::Running);
        if !running {
            let state = run.status.as_ref().map(|status| status.state);
            return Err(format!("{} is leased while {state:?}", grant.map_run));
        }
        if !run.shards.contains_key(&grant.shard.shard.0) {
            return Err(format!(
                "shard {} of {} is leased before it is durable",
                grant.shard.shard, grant.map_run
            ));
        }
        Ok(())
    }

    /// A leader acknowledges a report.
    pub(crate) fn check_acknowledged(&self, lease: LeaseId, report: ReportNumber) -> Result<(), String> {
        let counted = self.oracle.counted_reports.contains(&(lease, report.0));
        if self.try_is_counted(lease).unwrap_or(counted) {
            Ok(())
        } else {
            Err(format!("report {lease}/{report} is acknowledged and not durable"))
        }
    }

    /// A leader refuses batches: their worker forgets them, and does not report them again and again.
    fn note_refused(&mut self, lease: LeaseId, batch: u32) -> Result<(), String> {
        let times = self.oracle.refusals.entry((lease, batch)).or_default();
        *times += 1;
        if *times <= MAX_REFUSALS {
            return Ok(());
        }
        Err(format!("batch {batch} was refused {times} times under lease {lease}"))
    }

    /// A leader refuses a report in whole or in part.
    pub(crate) fn check_refused(&mut self, lease: LeaseId, batches: &RangeSet) -> Result<(), String> {
        batches.iter().try_for_each(|batch| self.note_refused(lease, batch))
    }

    pub(crate) fn check_reply(&mut self, reply: &Result<Reply, Rejection>) -> Result<(), String> {
        if let Ok(Reply::MapRun(view)) = reply
            && !self.store.runs.contains_key(&view.id)
        {
            return Err(format!("{} was answered for and is not durable", view.id));
        }
        Ok(())
    }

    /// A transaction was applied.
    pub(crate) fn check_applied(&mut self, commit: &Commit) -> Result<(), String> {
        let bytes: u64 = commit.records.iter().map(written_bytes).sum();
        if commit.records.len() > MAX_COMMIT_RECORDS || bytes > MAX_COMMIT_BYTES {
            return Err(format!("a transaction has {} records of {bytes} bytes", commit.records.len()));
        }
        commit.records.iter().for_each(|record| self.oracle.note_counted(record));
        let runs: BTreeSet<MapRunId> = commit.records.iter().filter_map(run_of).cloned().collect();
        for id in runs {
            let Some(status) = self.store.runs.get(&id).and_then(|run| run.status.clone()) else { continue };
            self.check_transition(&id, &status)?;
            self.check_counted(&id, &status)?;
            self.check_compensation(&id, &status)?;
            self.check_adapted(&id, &status)?;
        }
        Ok(())
    }

    fn check_transition(&mut self, id: &MapRunId, status: &StatusRecord) -> Result<(), String> {
        let after = (status.state, status.redrive);
        let before = self.oracle.last_status.insert(id.clone(), after);
        if let Some(before) = before.filter(|before| *before != after) {
            let redriven = after.1 == before.1 + 1 && before.0.is_terminal();
            let absorbed = before.0.is_terminal() && !redriven;
            let restarted = before.0 == MapRunState::Stopping && after.0 == MapRunState::Running;
            if absorbed || restarted || (after.1 != before.1 && !redriven) {
                return Err(format!("{id} went from {before:?} to {after:?}"));
            }
            self.oracle.statistics.redrives += u64::from(redriven);
            self.oracle.statistics.finished_runs += u64::from(after.0.is_terminal());
        }
        Ok(())
    }

    /// Counts follow from the shard records.
    fn check_counted(&mut self, id: &MapRunId, status: &StatusRecord) -> Result<(), String> {
        let run = &self.store.runs[id];
        if run.shards.values().any(|shard| shard.redrive != status.redrive) {
            return Ok(()); // reopened on demand
        }
        let (mut succeeded, mut unsuccessful, mut batches) = (0, 0, 0);
        for shard in run.shards.values() {
            let finished: u64 =
                shard.finished.iter().map(|range| u64::from(range.end_item - range.first_item)).sum();
            batches += shard
                .finished
                .iter()
                .map(|range| u64::from(range.end_batch - range.first_batch))
                .sum::<u64>();
            succeeded += finished;
            for open in shard.open.values() {
                unsuccessful += open.failed.len();
                if open.undecided.is_empty() {
                    succeeded -= open.failed.len();
                } else {
                    succeeded += u64::from(open.item_count) - open.undecided.len() - open.failed.len();
                }
            }
        }
        let counts = &status.item_counts;
        let counted =
            counts.failed + counts.timed_out + if status.state.is_terminal() { 0 } else { counts.aborted };
        let at_rest = status.state.is_terminal();
        if counts.succeeded != succeeded || (!at_rest && counted != unsuccessful) {
            return Err(format!(
                "{id}: counted {counts:?}, records say {succeeded} succeeded, {unsuccessful} did not"
            ));
        }
        let by_name: u64 = status.errors.values().sum();
        if by_name != counts.unsuccessful() {
            return Err(format!("{id}: counted {counts:?}, failures by name {:?}", status.errors));
        }
        let before = self.oracle.counted_batches.insert(id.clone(), batches).unwrap_or(0);
        self.oracle.statistics.counted_batches += batches.saturating_sub(before);
        Ok(())
    }

    /// Operators hear of an error rate once for each level of a run and redrive, and only of what is durable.
    pub(crate) fn check_alert(&mut self, alert: &ErrorRateAlert) -> Result<(), String> {
        let status = self.store.runs.get(&alert.map_run).and_then(|run| run.status.as_ref());
        if let Some(status) = status.filter(|status| status.redrive == alert.redrive) {
            let reasons = AlertLevel::ALL.into_iter().filter(|level| *level >= alert.level);
            let mut reasons = reasons.map(AlertLevel::reason);
            if !reasons.any(|reason| status.warnings.iter().any(|warning| warning.reason == reason)) {
                return Err(format!("{alert:?} is told and not durable"));
            }
        }
        if !self.oracle.told_alerts.insert((alert.map_run.clone(), alert.redrive, alert.level)) {
            return Err(format!("{alert:?} is told once more"));
        }
        self.oracle.statistics.alerts += 1;
        Ok(())
    }

    /// A manifest is written by the leader of the store's term.
    pub(crate) fn check_manifest(&self, order: &ManifestOrder) -> Result<(), String> {
        let id = &order.map_run;
        let counts = &order.summary.item_counts;
        let log = self.log_of_parts(order)?;
        let succeeded = self.items_of(id, log.iter().flat_map(|entry| &entry.succeeded))?;
        let of_redrive = log.iter().filter(|entry| entry.redrive == order.redrive);
        let failed = self.items_of(id, of_redrive.flat_map(|entry| &entry.failed))?;
        let coordinators: u64 = order.aborted.iter().map(|aborted| aborted.indexes.len() as u64).sum();
        if succeeded.len() as u64 != counts.succeeded {
            return Err(format!(
                "{id}: parts hold {} succeeded items, {} are counted",
                succeeded.len(),
                counts.succeeded
            ));
        }
        let unsuccessful = counts.failed + counts.timed_out + counts.aborted;
        if failed.len() as u64 + coordinators != unsuccessful {
            return Err(format!(
                "{id}: parts hold {} failed items, {unsuccessful} are counted",
                failed.len()
            ));
        }
        if let Some(item) = succeeded.intersection(&failed).next() {
            return Err(format!("{id}: item {item} succeeded and failed"));
        }
        self.check_kinds(order, &log)?;
        let pending: u64 = order.pending.iter().map(|range| range.last_index - range.first_index + 1).sum();
        if pending != counts.pending {
            return Err(format!(
                "{id}: the manifest lists {pending} pending items, {} are counted",
                counts.pending
            ));
        }
        self.check_ends_right(order)
    }

    /// Both kinds of failures are counted as handlers gave them, whichever leaders counted them.
    fn check_kinds(&self, order: &ManifestOrder, log: &[&PartsRecord]) -> Result<(), String> {
        let of_redrive = log.iter().filter(|entry| entry.redrive == order.redrive);
        let parts = of_redrive.flat_map(|entry| &entry.failed);
        let reports = parts.filter_map(|part| self.oracle.reports_of_parts.get(&part.name));
        let mut given = FailureCounts::default();
        for failures in reports.filter_map(|report| self.oracle.failures_of_reports.get(report)) {
            given.add(FailureKind::Business, failures.business);
            given.add(FailureKind::System, failures.system);
        }
        let counted = order.summary.failure_counts;
        if given != counted {
            return Err(format!("{}: handlers gave {given:?}, {counted:?} are counted", order.map_run));
        }
        Ok(())
    }

    /// The entries of the log that the order names: they must be there, whoever wrote more since.
    fn log_of_parts(&self, order: &ManifestOrder) -> Result<Vec<&PartsRecord>, String> {
        let log = self.store.runs.get(&order.map_run).map(|run| &run.parts);
        let entry = |number| log.and_then(|log| log.get(&number));
        let entries: Vec<_> = (0..order.part_entries).filter_map(entry).collect();
        let missing = order.part_entries - entries.len() as u64;
        if missing > 0 {
            return Err(format!("{}: {missing} entries of the log of parts are missing", order.map_run));
        }
        Ok(entries)
    }

    fn items_of<'a>(
        &self,
        id: &MapRunId,
        parts: impl Iterator<Item = &'a PartRef>,
    ) -> Result<BTreeSet<u64>, String> {
        let mut items = BTreeSet::new();
        for PartRef { name, .. } in parts {
            let Some(part) = self.oracle.parts.get(&(id.clone(), name.clone())) else {
                return Err(format!("{id}: part {name} does not exist"));
            };
            for item in part {
                if !items.insert(*item) {
                    return Err(format!("{id}: item {item} is in two parts"));
                }
            }
        }
        Ok(items)
    }

    fn check_ends_right(&self, order: &ManifestOrder) -> Result<(), String> {
        let id = &order.map_run;
        let counts = &order.summary.item_counts;
        let Some(status) = self.store.runs.get(id).and_then(|run| run.status.as_ref()) else { return Ok(()) };
        let exceeded = status.tolerance.is_exceeded(counts.unsuccessful(), TotalItems::Known(counts.total));
        if order.state == MapRunState::Succeeded {
            let items = self.runs[id].data.items;
            if counts.total != items || counts.succeeded + counts.unsuccessful() != items {
                return Err(format!("{id} succeeds with {counts:?} of {items} items"));
            }
            if exceeded {
                return Err(format!("{id} succeeds over its tolerance: {counts:?}"));
            }
        }
        Ok(())
    }

    /// Everything ended: nothing may be left behind.
    pub(crate) fn check_end(&self) -> Result<(), String> {
        let running = self
            .workers
            .iter()
            .filter(|worker| worker.is_valid(self.now))
            .flat_map(|w| w.calls.values())
            .count();
        let open = self.store.runs.values().filter_map(|run| run.status.as_ref());
        if let Some(status) = open.clone().find(|status| status.item_counts.total != status.item_counts.sum())
        {
            return Err(format!("a finished run's counts do not add up: {:?}", status.item_counts));
        }
        if running > 0 { Err(format!("{running} handler calls outlive their runs")) } else { Ok(()) }
    }
}

fn run_of(record: &Record) -> Option<&MapRunId> {
    match record {
        Record::PutSpec(id, _)
        | Record::PutStatus(id, _)
        | Record::PutPlan(id, _)
        | Record::PutShard(id, _, _)
        | Record::RemoveFailures(id)
        | Record::RemoveParts(id)
        | Record::RemoveMapRun(id) => Some(id),
        Record::PutFailures { map_run, .. }
        | Record::PutParts { map_run, .. }
        | Record::PutOutputs { map_run, .. } => Some(map_run),
        Record::PutRoster(..) | Record::RemoveRoster(..) => None,
    }
}
