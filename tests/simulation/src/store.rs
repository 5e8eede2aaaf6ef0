//! A simulated state store: transactions are applied after a while, or never, or their answer is lost.

use std::collections::{BTreeMap, BTreeSet};

use warifu_model::{Incarnation, ItemFailure, LeaderTerm, MapRunId, ShardNumber, WorkerId};
use warifu_scheduler::Commit;
use warifu_scheduler::record::{
    PartsRecord, PlanRecord, Record, RosterRecord, ShardRecord, Snapshot, SpecRecord, StatusRecord,
    StoredMapRun,
};

use crate::measure::written_bytes;

/// One stored run.
#[derive(Debug, Clone, Default)]
pub(crate) struct StoredRun {
    pub(crate) spec: Option<SpecRecord>,
    pub(crate) status: Option<StatusRecord>,
    pub(crate) plan: Option<PlanRecord>,
    pub(crate) shards: BTreeMap<u32, ShardRecord>,
    pub(crate) failures: BTreeMap<u64, ItemFailure>,
    pub(crate) parts: BTreeMap<u64, PartsRecord>,
    pub(crate) outputs: BTreeMap<u32, Vec<String>>,
}

/// The store.
#[derive(Debug, Default)]
pub(crate) struct Store {
    pub(crate) term: LeaderTerm,
    /// The term's leader has said that it stopped: nothing of that term is applied any more.
    resigned: bool,
    pub(crate) runs: BTreeMap<MapRunId, StoredRun>,
    used_ids: BTreeSet<MapRunId>,
    pub(crate) roster: BTreeMap<Incarnation, WorkerId>,
    pub(crate) bytes_written: u64,
    pub(crate) commits: u64,
}

impl Store {
    /// Begins a new term and reads everything.
    pub(crate) fn lead(&mut self) -> (LeaderTerm, Snapshot) {
        self.term.0 += 1;
        let map_runs = self.runs.iter().filter_map(|(id, run)| stored(id, run)).collect();
        let roster = self.roster.iter().map(|(i, w)| (w.clone(), RosterRecord { incarnation: *i })).collect();
        let used_ids = self.used_ids.iter().cloned().collect();
        let handed_over = std::mem::take(&mut self.resigned);
        (self.term, Snapshot { map_runs, used_ids, roster, handed_over })
    }

    /// Ends a term, if it is the current one.
    pub(crate) fn resign(&mut self, term: LeaderTerm) {
        self.resigned |= term == self.term;
    }

    /// Applies a transaction unless its term is over; false then.
    pub(crate) fn apply(&mut self, commit: &Commit) -> bool {
        if commit.term != self.term || self.resigned {
            return false;
        }
        self.commits += 1;
        for record in &commit.records {
            self.bytes_written += written_bytes(record);
            self.put(record.clone());
        }
        true
    }

    fn put(&mut self, record: Record) {
        match record {
            Record::PutSpec(id, spec) => self.run(id).spec = Some(*spec),
            Record::PutStatus(id, status) => self.run(id).status = Some(*status),
            Record::PutPlan(id, plan) => self.run(id).plan = Some(*plan),
            Record::PutShard(id, number, shard) => {
                self.run(id).shards.insert(number.0, *shard);
            }
            Record::PutFailures { map_run, first, failures } => {
                self.run(map_run).failures.extend((first..).zip(failures));
            }
            Record::PutParts { map_run, number, parts } => {
                self.run(map_run).parts.insert(number, parts);
            }
            Record::RemoveFailures(id) => self.run(id).failures.clear(),
            Record::RemoveParts(id) => self.run(id).parts.clear(),
            Record::PutOutputs { map_run, chunk, lines } => {
                self.run(map_run).outputs.insert(chunk, lines);
            }
            Record::RemoveMapRun(id) => {
                self.runs.remove(&id);
                self.used_ids.insert(id);
            }
            Record::PutRoster(worker, record) => {
                self.roster.insert(record.incarnation, worker);
            }
            Record::RemoveRoster(_, incarnation) => {
                self.roster.remove(&incarnation);
            }
        }
    }

    fn run(&mut self, id: MapRunId) -> &mut StoredRun {
        self.runs.entry(id).or_default()
    }

    pub(crate) fn shards(&self, id: &MapRunId) -> Vec<(ShardNumber, ShardRecord)> {
        let shards = self.runs.get(id).map(|run| run.shards.clone()).unwrap_or_default();
        shards.into_iter().map(|(number, record)| (ShardNumber(number), record)).collect()
    }
}

fn stored(id: &MapRunId, run: &StoredRun) -> Option<StoredMapRun> {
    let (spec, status) = (run.spec.clone()?, run.status.clone()?);
    let terminal = status.state.is_terminal();
    let shards = run.shards.iter().map(|(number, record)| (ShardNumber(*number), record.clone()));
    Some(StoredMapRun {
        id: id.clone(),
        spec,
        status,
        plan: run.plan.clone(),
        shards: if terminal { Vec::new() } else { shards.collect() },
        outputs: run.outputs.values().flatten().cloned().collect(),
    })
}
