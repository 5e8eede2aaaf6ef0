//! What users see. Built on request from what is durable, plus what is live: leases, rates, what limits a run.

use warifu_dataset::Probe;
use warifu_model::protocol::SourcePin;
use warifu_model::template::ItemSource;
use warifu_model::{
    ClusterView, ErrorGroup, Incarnation, ItemCounts, LeaseId, LimitedBy, MapRunId, MapRunState, MapRunView,
    Timestamp, WorkerId, WorkerView,
};

use crate::map_run::MapRun;
use crate::scheduler::Scheduler;

/// Error groups that users see.
const SHOWN_ERROR_GROUPS: usize = 5;

/// Where a run's records are, and how they are read.
#[derive(Debug, Clone)]
pub struct DataSource {
    /// The object that is cut into shards: the source, or what it was rewritten as.
    pub pin: SourcePin,
    /// Its head; absent if it was never read.
    pub probe: Option<Probe>,
    /// What the run's templates take for the object that an item comes from.
    pub item_source: ItemSource,
}

impl Scheduler {
    /// One run as users see it.
    pub fn map_run(&self, id: &MapRunId) -> Option<MapRunView> {
        let map_run = self.map_runs.get(id)?;
        let (item_counts, batch_counts) = self.live_counts(map_run);
        let running = map_run.status.state == MapRunState::Running;
        Some(MapRunView {
            id: id.clone(),
            uid: map_run.record.uid,
            spec: map_run.spec.clone(),
            state: map_run.status.state,
            create_time: map_run.record.create_time,
            start_time: map_run.status.start_time,
            stop_time: map_run.status.stop_time,
            adapted_limit: map_run.adapted_limit(),
            batch_size: map_run.stored_plan.as_ref().and_then(|plan| plan.batch_size),
            item_counts,
            batch_counts,
            total_known: map_run.status.total_known,
            fraction: map_run.fraction(&item_counts),
            items_per_second: if running { map_run.rate.per_second() } else { 0.0 },
            limited_by: running.then(|| self.limited_by(map_run)).flatten(),
            error: map_run.status.error.clone(),
            failure_counts: map_run.status.failure_counts(),
            error_groups: largest_groups(&map_run.status.error_groups),
            warnings: map_run.status.warnings.clone(),
            compensation: self.compensation_view(map_run),
            redrive_count: map_run.status.redrive,
            result_location: map_run.status.result_location.clone(),
            outputs: map_run.outputs.clone(),
            outputs_truncated: map_run.status.outputs_truncated,
            source_bytes: map_run.record.source.size_bytes,
        })
    }

    /// Whether a run is terminal or gone; much cheaper than its view.
    pub fn has_ended(&self, id: &MapRunId) -> bool {
        self.map_runs.get(id).is_none_or(|map_run| map_run.status.state.is_terminal())
    }

    /// All runs, newest first.
    pub fn map_run_ids(&self) -> Vec<MapRunId> {
        let mut runs: Vec<_> =
            self.map_runs.values().map(|map_run| (map_run.record.sequence, map_run.id.clone())).collect();
        runs.sort_unstable_by_key(|(sequence, _)| std::cmp::Reverse(*sequence));
        runs.into_iter().map(|(_, id)| id).collect()
    }

    /// Where a run's records are, for reading failed ones again.
    pub fn source(&self, id: &MapRunId) -> Option<DataSource> {
        let map_run = self.map_runs.get(id)?;
        Some(DataSource {
            pin: map_run.data_source().clone(),
            probe: map_run.stored_plan.as_ref().map(|plan| plan.probe.clone()),
            item_source: map_run.item_source(),
        })
    }

    /// All workers that may hold something, by name.
    pub fn workers(&self) -> Vec<WorkerView> {
        let mut workers: Vec<_> =
            self.workers.keys().filter_map(|incarnation| self.worker_view(*incarnation)).collect();
        workers.sort_by(|a, b| (&a.id, a.incarnation).cmp(&(&b.id, b.incarnation)));
        workers
    }

    /// One worker; of several processes under one name the one heard last.
    pub fn worker(&self, id: &WorkerId) -> Option<WorkerView> {
        self.worker_incarnation(id).and_then(|incarnation| self.worker_view(incarnation))
    }

    pub(crate) fn worker_incarnation(&self, id: &WorkerId) -> Option<Incarnation> {
        let same = self.workers.values().filter(|worker| worker.id == *id);
        same.max_by_key(|worker| worker.last_heard).map(|worker| worker.incarnation)
    }

    pub(crate) fn worker_view(&self, incarnation: Incarnation) -> Option<WorkerView> {
        let worker = self.workers.get(&incarnation)?;
        let leases = worker.leases.iter().filter_map(|lease| self.leases.get(lease));
        let running: u64 = leases.map(|lease| lease.begun.len()).sum();
        Some(worker.view(u32::try_from(running).unwrap_or(u32::MAX)))
    }

    /// The worker that a process is, if it is known.
    pub fn worker_of(&self, incarnation: Incarnation) -> Option<WorkerId> {
        let worker = self.workers.get(&incarnation).map(|worker| &worker.id);
        worker.or_else(|| self.roster.get(&incarnation)).cloned()
    }

    /// The process that holds a lease.
    pub fn process_with(&self, lease: LeaseId) -> Option<Incarnation> {
        self.leases.get(&lease).map(|lease| lease.holder)
    }

    /// When the oldest of all leases was granted, or adopted by this leader.
    pub fn oldest_lease_since(&self) -> Option<Timestamp> {
        self.leases.values().map(|lease| lease.since).min()
    }

    /// The cluster as this leader sees it.
    pub fn cluster(&self) -> ClusterView {
        let reachable = || self.workers.values().filter(|worker| worker.is_reachable());
        ClusterView {
            term: self.term,
            worker_count: u32::try_from(reachable().count()).unwrap_or(u32::MAX),
            slot_count: reachable().map(|worker| worker.slots).sum(),
            held_slot_count: self.workers.values().map(crate::worker::Worker::held_slots).sum(),
            active_map_run_count: u32::try_from(self.active_map_runs()).unwrap_or(u32::MAX),
        }
    }

    fn live_counts(&self, map_run: &MapRun) -> (ItemCounts, ItemCounts) {
        let (mut items, mut batches) = (map_run.status.item_counts, map_run.status.batch_counts);
        if map_run.status.state.is_terminal() {
            return (items, batches);
        }
        let begun: u64 = self
            .leases
            .values()
            .filter(|lease| lease.map_run == map_run.id && !lease.is_compensation())
            .map(|lease| lease.begun.len())
            .sum();
        items.pending_redrive = map_run.shards.values().map(crate::shard::Shard::pending_redrive_items).sum();
        let items_of_batch = u64::from(map_run.spec.item_batcher.max_items_per_batch);
        fill_counts(&mut items, map_run.total_items(), begun.saturating_mul(items_of_batch));
        fill_counts(&mut batches, map_run.total_batches(), begun);
        (items, batches)
    }

    /// What keeps a running run from going faster.
    fn limited_by(&self, map_run: &MapRun) -> Option<LimitedBy> {
        let work_waits = !map_run.open_shards.is_empty();
        let retries_only =
            map_run.shards.values().all(|shard| shard.pending.is_empty() && shard.leased.is_empty());
        if map_run.planned().is_none() || (!map_run.is_composed() && !work_waits && map_run.held_slots == 0) {
            return Some(LimitedBy::Source);
        }
        if work_waits && retries_only {
            return Some(LimitedBy::RetryBackoff);
        }
        match (work_waits, map_run.room()) {
            (true, 0) => Some(LimitedBy::Concurrency),
            (true, _) if map_run.pace.holds_back => Some(LimitedBy::Rate),
            (true, _) => Some(LimitedBy::Workers),
            (false, _) if map_run.held_slots > 0 => Some(LimitedBy::Handler),
            (false, _) => Some(LimitedBy::Store),
        }
    }
}

/// Puts every item that is not decided under pending or running, so that the states add up.
fn fill_counts(counts: &mut ItemCounts, total: u64, running: u64) {
    counts.total = total;
    counts.pending = 0;
    counts.running = 0;
    let open = total.saturating_sub(counts.sum());
    counts.running = running.min(open);
    counts.pending = open - counts.running;
}

fn largest_groups(groups: &[ErrorGroup]) -> Vec<ErrorGroup> {
    let mut largest = groups.to_vec();
    largest.sort_by_key(|group| std::cmp::Reverse(group.count));
    largest.truncate(SHOWN_ERROR_GROUPS);
    largest
}

impl MapRun {
    /// Decided share: of items once all are known, else of bytes.
    fn fraction(&self, counts: &ItemCounts) -> f64 {
        let decided = counts.total - counts.pending - counts.running - counts.pending_redrive;
        if self.status.state == MapRunState::Succeeded {
            return 1.0;
        }
        let of_composed = if counts.total == 0 { 0.0 } else { decided as f64 / counts.total as f64 };
        if self.status.total_known || self.status.state.is_terminal() {
            return of_composed;
        }
        let composed = self.composed_until() as f64 / self.data_source().size_bytes.max(1) as f64;
        of_composed * composed.min(1.0)
    }
}
