//! What users see of runs, workers and the cluster: snapshots, built on request, never stored.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::spec::MapRunSpec;
use crate::{
    AdaptedLimit, BatchCounts, BatchSize, CompensationStatus, ErrorGroup, FailureCounts, HandlerName,
    Incarnation, ItemCounts, LeaderTerm, LimitedBy, MapRunId, MapRunState, RunError, WallTime, WorkerId,
};

/// One map run at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct MapRunView {
    /// The run's id.
    pub id: MapRunId,
    /// Random; tells runs apart even across stores.
    pub uid: u128,
    /// The specification, defaults filled in, updates applied.
    pub spec: Arc<MapRunSpec>,
    /// Where it is in its life.
    pub state: MapRunState,
    /// When it was created.
    pub create_time: WallTime,
    /// When it, or its latest redrive, left `Queued`.
    pub start_time: Option<WallTime>,
    /// When it became terminal.
    pub stop_time: Option<WallTime>,
    /// Items by state.
    pub item_counts: ItemCounts,
    /// Batches by state.
    pub batch_counts: BatchCounts,
    /// True once every shard is composed.
    pub total_known: bool,
    /// Share of the work that is decided, 0 to 1.
    pub fraction: f64,
    /// Decided items a second, lately.
    pub items_per_second: f64,
    /// What keeps it from going faster; only while running.
    pub limited_by: Option<LimitedBy>,
    /// Why it failed or was aborted.
    pub error: Option<RunError>,
    /// Items that failed or timed out, by whose fault it is.
    pub failure_counts: FailureCounts,
    /// The most frequent failures, at most five.
    pub error_groups: Vec<ErrorGroup>,
    /// What its submitter should know.
    pub warnings: Vec<Warning>,
    /// What became of its compensation, if it was called for.
    pub compensation: Option<CompensationStatus>,
    /// How often it was redriven.
    pub redrive_count: u32,
    /// Where results are, once the manifest is written.
    pub result_location: Option<ResultLocation>,
    /// Outputs of a run without a result writer: JSON lines, bounded.
    pub outputs: Vec<String>,
    /// True if `outputs` is not all.
    pub outputs_truncated: bool,
    /// Bytes of the source object.
    pub source_bytes: u64,
    /// The limit of batches in progress that `adaptiveConcurrency` chose; only while running.
    pub adapted_limit: Option<AdaptedLimit>,
    /// The size of batches that `autoSize` chose, once it has.
    pub batch_size: Option<BatchSize>,
}

/// Something that does not stop a run but that its submitter should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warning {
    /// A stable name, such as `HANDLER_NOT_AVAILABLE`.
    pub reason: String,
    /// What it means here, and what to do.
    pub message: String,
}

/// Where a run's manifest lies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResultLocation {
    /// The bucket.
    pub bucket: String,
    /// Key of `manifest.json`.
    pub manifest_key: String,
}

/// One uploaded result file that counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartRef {
    /// File name below the run's prefix.
    pub name: String,
    /// Bytes as stored.
    pub size_bytes: u64,
    /// Outcomes in it.
    pub item_count: u64,
}

/// Whether a worker gets work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WorkerState {
    /// Connected, takes work.
    Active,
    /// Connected, gets nothing new, finishes or returns what it holds.
    Draining,
    /// Silent; its leases stand until its session expires.
    Suspect,
}

/// One worker at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkerView {
    /// The worker's id.
    pub id: WorkerId,
    /// Its process.
    pub incarnation: Incarnation,
    /// Whether it gets work.
    pub state: WorkerState,
    /// Batches that it may run at once.
    pub slots: u32,
    /// Slots that it holds now.
    pub held_slots: u32,
    /// Leases that it holds.
    pub lease_count: u32,
    /// Batches that it began and did not report.
    pub running_batches: u32,
    /// Its handlers, unavailable ones with the reason.
    pub handlers: Vec<WorkerHandler>,
    /// Its version.
    pub version: String,
    /// When it connected.
    pub connect_time: WallTime,
    /// When it was last heard.
    pub last_heard_time: WallTime,
}

/// A handler that a worker has configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerHandler {
    /// Its name.
    pub name: HandlerName,
    /// Why it takes no work, if it does not.
    pub unavailable: Option<String>,
}

/// The coordinators at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterView {
    /// The leader's term.
    pub term: LeaderTerm,
    /// Workers with a live session.
    pub worker_count: u32,
    /// Slots of those workers.
    pub slot_count: u32,
    /// Slots held.
    pub held_slot_count: u32,
    /// Runs that are not terminal.
    pub active_map_run_count: u32,
}
