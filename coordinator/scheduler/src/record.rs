//! What must survive: the records of the state store, as plain data.
//!
//! A shard has one record, rewritten when it changed. Everything that a new leader needs in order to go
//! on exactly is in these types; everything else it learns from workers or scans again.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use warifu_dataset::{ComposedShard, Composer, Probe};
use warifu_model::protocol::SourcePin;
use warifu_model::spec::MapRunSpec;
use warifu_model::{
    BatchSize, CompensationStatus, ErrorGroup, FailureCounts, FailureKind, Incarnation, ItemCounts,
    ItemFailure, LeaseId, MapRunId, MapRunState, PartRef, RangeSet, ResultLocation, RunError, ShardNumber,
    WallTime, Warning, WorkerId,
};

use crate::adaptive::ControllerRecord;

/// One write of a transaction.
#[derive(Debug, Clone, PartialEq)]
pub enum Record {
    /// What a run does: written once.
    PutSpec(MapRunId, Box<SpecRecord>),
    /// How a run stands.
    PutStatus(MapRunId, Box<StatusRecord>),
    /// The header and the plan of a run: written once, and once more when the size of its batches is chosen.
    PutPlan(MapRunId, Box<PlanRecord>),
    /// How a shard stands.
    PutShard(MapRunId, ShardNumber, Box<ShardRecord>),
    /// Failed items number `first` (counted over the run) and on.
    PutFailures {
        /// The run.
        map_run: MapRunId,
        /// How many failures the store held before these.
        first: u64,
        /// The failures.
        failures: Vec<ItemFailure>,
    },
    /// Forget the failures of a run: a redrive begins.
    RemoveFailures(MapRunId),
    /// Files that reports left: entry number `number` of the run's log of parts, new or with more files than before.
    PutParts {
        /// The run.
        map_run: MapRunId,
        /// From 0, over all redrives.
        number: u64,
        /// The files.
        parts: PartsRecord,
    },
    /// Forget the log of parts: the manifest names them, and no redrive will write another one.
    RemoveParts(MapRunId),
    /// Outputs of a run without a result writer: chunk number `chunk`.
    PutOutputs {
        /// The run.
        map_run: MapRunId,
        /// From 0.
        chunk: u32,
        /// JSON lines.
        lines: Vec<String>,
    },
    /// Forget everything of a run but that its id was used.
    RemoveMapRun(MapRunId),
    /// A worker's process may hold leases or slots.
    PutRoster(WorkerId, RosterRecord),
    /// It holds none, and will not be believed if it says otherwise.
    RemoveRoster(WorkerId, Incarnation),
}

impl Record {
    /// Roughly the bytes that it takes, for the limit of a transaction.
    pub fn estimated_bytes(&self) -> usize {
        match self {
            Record::PutSpec(_, spec) => 2048 + spec.submitted.len() * 2,
            Record::PutStatus(_, status) => status.estimated_bytes(),
            Record::PutPlan(_, plan) => 256 + plan.probe.header.names.iter().map(String::len).sum::<usize>(),
            Record::PutShard(_, _, shard) => shard.estimated_bytes(),
            Record::PutFailures { failures, .. } => failures_bytes(failures),
            Record::PutParts { parts, .. } => 16 + parts.iter().map(part_bytes).sum::<usize>(),
            Record::PutOutputs { lines, .. } => lines.iter().map(String::len).sum(),
            Record::RemoveFailures(_)
            | Record::RemoveParts(_)
            | Record::RemoveMapRun(_)
            | Record::PutRoster(..)
            | Record::RemoveRoster(..) => 64,
        }
    }
}

/// The bytes that a compensation takes at most, texts included.
const COMPENSATION_BYTES: usize = 2048;

/// Roughly the bytes of a stored failure beside its reason, which is stored once for all that share it.
const FAILURE_BYTES: usize = 48;

/// Roughly the bytes of a count of failures beside its name.
const ERROR_COUNT_BYTES: usize = 8;

/// Roughly the bytes that failures take.
pub(crate) fn failures_bytes(failures: &[ItemFailure]) -> usize {
    let reasons = failures.chunk_by(|one, next| one.failure == next.failure);
    let texts = reasons.map(|alike| alike[0].failure.error.len() + alike[0].failure.cause.len());
    failures.len() * FAILURE_BYTES + texts.sum::<usize>()
}

/// Roughly the bytes that a file's entry in the log of parts takes.
pub(crate) fn part_bytes(part: &PartRef) -> usize {
    part.name.len() + 16
}

/// What a run does: immutable.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SpecRecord {
    /// Random.
    pub uid: u128,
    /// The specification at creation, defaults filled in.
    pub spec: MapRunSpec,
    /// The specification as submitted, to recognise a repeated request.
    pub submitted: Vec<u8>,
    /// The source at creation.
    pub source: SourcePin,
    /// Bytes of a shard.
    pub shard_bytes: u64,
    /// Version of batch cutting.
    pub cut_version: u32,
    /// When it was created.
    pub create_time: WallTime,
    /// Its place among all runs.
    pub sequence: u64,
}

/// How a run stands. Rewritten with every transaction that changes the run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StatusRecord {
    /// Where it is in its life.
    pub state: MapRunState,
    /// The state that `Stopping` leads to.
    pub stopping_to: Option<MapRunState>,
    /// Why it failed or was aborted.
    pub error: Option<RunError>,
    /// The current redrive; 0 at first.
    pub redrive: u32,
    /// When it left `Queued` (the latest redrive's).
    pub start_time: Option<WallTime>,
    /// When it became terminal.
    pub stop_time: Option<WallTime>,
    /// Limits as they are now.
    pub max_concurrency: Option<u32>,
    /// Limits as they are now. Left out of the record's own serialised form, as `compensation` is.
    #[serde(skip)]
    pub max_items_per_second: Option<f64>,
    /// Limits as they are now.
    pub tolerance: warifu_model::Tolerance,
    /// `M`: the highest `max_concurrency` that may still be in use; absent: no limit.
    pub concurrency_ceiling: Option<u32>,
    /// Decided items; `total`, `pending` and `running` are those of the terminal state only.
    pub item_counts: ItemCounts,
    /// Decided batches; likewise.
    pub batch_counts: ItemCounts,
    /// Every shard is composed.
    pub total_known: bool,
    /// Items that failed or timed out by kind and name, names within a bound (the rest under `…`, by kind, too).
    pub errors: BTreeMap<(FailureKind, String), u64>,
    /// The most frequent failures.
    pub error_groups: Vec<ErrorGroup>,
    /// Failed items in the store.
    pub stored_failures: u64,
    /// Entries of the log of parts in the store.
    pub part_entries: u64,
    /// Chunks of outputs in the store.
    pub output_chunks: u32,
    /// Bytes of outputs in the store.
    pub output_bytes: u64,
    /// Outputs were left out.
    pub outputs_truncated: bool,
    /// What the submitter should know.
    pub warnings: Vec<Warning>,
    /// Where the results are.
    pub result_location: Option<ResultLocation>,
    /// What became of the compensation, from when it is due. A redrive begins without one. Left out of the record's own
    /// serialised form, which is older: state stores keep it behind that.
    #[serde(skip)]
    pub compensation: Option<CompensationStatus>,
    /// The limit that `adaptiveConcurrency` chose, as it was at the last write. Left out likewise.
    #[serde(skip)]
    pub adapted: Option<ControllerRecord>,
}

impl StatusRecord {
    /// Items that failed or timed out, by whose fault it is: exact, whatever their names.
    pub fn failure_counts(&self) -> FailureCounts {
        let mut counts = FailureCounts::default();
        for ((kind, _), items) in &self.errors {
            counts.add(*kind, *items);
        }
        counts
    }

    fn estimated_bytes(&self) -> usize {
        let names: usize = self.errors.keys().map(|(_, name)| name.len() + ERROR_COUNT_BYTES).sum();
        let compensation = self.compensation.as_ref().map_or(0, |_| COMPENSATION_BYTES);
        1024 + names + self.error_groups.len() * 4096 + compensation
    }
}

/// The header and the plan of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlanRecord {
    /// What the probe found.
    pub probe: Probe,
    /// The object that the source was rewritten as. Left out of the record's own serialised form, which is older, as what
    /// follows: state stores keep them behind that.
    #[serde(skip)]
    pub staged: Option<SourcePin>,
    /// The size of batches, where the job lets it be chosen: from when the first items are known, and before any shard is
    /// stored.
    #[serde(skip)]
    pub batch_size: Option<BatchSize>,
}

/// How a shard stands: composed, opened for leasing, some of it finished.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShardRecord {
    /// The redrive that the record is of; an older one than the run's is yet to be reopened for it.
    pub redrive: u32,
    /// What composition found.
    pub composed: ComposedShard,
    /// The composer after this shard: where a new leader goes on.
    pub composer: Composer,
    /// Batches decided, as ranges with their place in the data.
    pub finished: Vec<FinishedRange>,
    /// Batches with items to send again, or failed items that a redrive would send again.
    pub open: BTreeMap<u32, OpenBatch>,
    /// Batches whose handler was called and whose outcome is not here, as far as it was known at the last write.
    pub begun: RangeSet,
    /// Losses of begun batches.
    pub losses: BTreeMap<u32, u32>,
    /// Deaths in a row of a single-process installation, by batches that were in progress.
    pub deaths: BTreeMap<u32, u32>,
    /// Which reports were counted that left batches undecided, by lease; empty once every batch is decided.
    pub reports: Vec<(LeaseId, RangeSet)>,
}

impl ShardRecord {
    /// True once every batch is decided.
    pub(crate) fn is_decided(&self) -> bool {
        let decided = self.finished.iter().map(|range| range.end_batch - range.first_batch);
        decided.sum::<u32>() == self.composed.batches
    }

    /// Forgets what only an undecided shard needs: which batches are begun, which reports were counted, and where cutting
    /// can start again but for batches that a redrive would send again.
    ///
    /// A report that comes once more is still not counted: all its batches are decided.
    pub(crate) fn settle(&mut self) {
        self.begun = RangeSet::new();
        self.reports.clear();
        let open = &self.open;
        let checkpoints = std::mem::take(&mut self.composed.checkpoints);
        // Batches from one checkpoint on, up to the next one: of those that hold an open batch both ends are kept.
        let holds_open = |from: usize| {
            let end = checkpoints.get(from + 1).map_or(u32::MAX, |next| next.batch);
            open.range(checkpoints[from].batch..end).next().is_some()
        };
        let needed = |at: &usize| holds_open(*at) || at.checked_sub(1).is_some_and(holds_open);
        self.composed.checkpoints = (0..checkpoints.len()).filter(needed).map(|at| checkpoints[at]).collect();
    }

    /// Roughly the bytes that it takes.
    pub fn estimated_bytes(&self) -> usize {
        128 + self.composed.checkpoints.len() * 16
            + self.finished.len() * 24
            + self
                .open
                .values()
                .map(|open| 32 + open.undecided.range_count() * 4 + open.failed.range_count() * 4)
                .sum::<usize>()
            + self.begun.range_count() * 6
            + (self.losses.len() + self.deaths.len()) * 6
            + self.reports.len() * 16
    }
}

/// An entry of a run's log of parts: files of reports that one or a few transactions counted.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PartsRecord {
    /// The redrive that counted the reports.
    pub redrive: u32,
    /// Files with succeeded outputs: they count in every later redrive, too.
    pub succeeded: Vec<PartRef>,
    /// Files with final failures: they count in this redrive alone, the next one runs their items again.
    pub failed: Vec<PartRef>,
}

impl PartsRecord {
    /// Every file.
    pub fn iter(&self) -> impl Iterator<Item = &PartRef> {
        self.succeeded.iter().chain(&self.failed)
    }

    /// How many files there are.
    pub fn len(&self) -> usize {
        self.succeeded.len() + self.failed.len()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Consecutive batches that are decided, and where they lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FinishedRange {
    /// First batch.
    pub first_batch: u32,
    /// One past the last batch.
    pub end_batch: u32,
    /// Index within the shard of the first item.
    pub first_item: u32,
    /// One past the index within the shard of the last item.
    pub end_item: u32,
    /// First byte.
    pub start_byte: u64,
    /// One past the last record's last byte.
    pub end_byte: u64,
}

/// A batch that is not wholly succeeded.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct OpenBatch {
    /// Handler calls that were answered or failed in this redrive.
    pub attempts: u32,
    /// Grows when an answered attempt leaves items to send again.
    pub round: u32,
    /// Offsets of items to send again; empty once the batch is decided.
    pub undecided: RangeSet,
    /// Offsets of items that failed for good in this redrive.
    pub failed: RangeSet,
    /// Of those, by timeout.
    pub timed_out: RangeSet,
    /// Of those, aborted.
    pub aborted: RangeSet,
    /// Retries ordered, by retrier.
    pub retries_used: Vec<u32>,
    /// How the last call ended, for the batch's own status.
    pub last_call: Option<warifu_model::protocol::CallOutcome>,
    /// Index within the shard of its first item.
    pub first_item: u32,
    /// Items of the whole batch.
    pub item_count: u32,
    /// Its bytes.
    pub bytes: (u64, u64),
    /// It waits for the redrive's turn: items count as pending_redrive.
    pub redriven: bool,
}

/// A worker's process that may hold leases or slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RosterRecord {
    /// The process.
    pub incarnation: Incarnation,
}

/// Everything that a new leader reads, at one revision, after its first guarded write.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// All runs; shards only of those that are not terminal.
    pub map_runs: Vec<StoredMapRun>,
    /// Ids that were used by deleted runs.
    pub used_ids: Vec<MapRunId>,
    /// Workers that may hold leases or slots.
    pub roster: Vec<(WorkerId, RosterRecord)>,
    /// The last leader handed the lead over: it has certainly stopped deciding.
    pub handed_over: bool,
}

/// One stored run.
#[derive(Debug, Clone)]
pub struct StoredMapRun {
    /// Its id.
    pub id: MapRunId,
    /// What it does.
    pub spec: SpecRecord,
    /// How it stands.
    pub status: StatusRecord,
    /// Its plan, once probed.
    pub plan: Option<PlanRecord>,
    /// Its shards, in order; empty for terminal runs.
    pub shards: Vec<(ShardNumber, ShardRecord)>,
    /// Its outputs, in order.
    pub outputs: Vec<String>,
}

#[cfg(test)]
mod tests;
