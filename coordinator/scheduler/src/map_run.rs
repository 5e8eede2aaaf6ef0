//! A map run as the leader holds it: what the store says, what is staged for it, what is live.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use warifu_dataset::{Composer, Limits, ShardPlan, ShardScan};
use warifu_model::protocol::{Report, RunContext};
use warifu_model::spec::{LimitsUpdate, MapRunSpec};
use warifu_model::{
    Incarnation, ItemCounts, MapRunId, MapRunState, RunError, Timestamp, Tolerance, TotalItems, WallTime,
};

use crate::adaptive::Adaptive;
use crate::compensation::{Compensating, StagedCompensation};
use crate::open_shards::OpenShards;
use crate::pace::Pace;
use crate::record::{OpenBatch, PartsRecord, PlanRecord, SpecRecord, StatusRecord};
use crate::shard::Shard;
use crate::{Config, RequestId};

/// A map run.
#[derive(Debug)]
pub(crate) struct MapRun {
    pub(crate) id: MapRunId,
    pub(crate) record: SpecRecord,
    /// As the store has it.
    pub(crate) status: StatusRecord,
    /// The specification with the limits of `status`.
    pub(crate) spec: Arc<MapRunSpec>,
    pub(crate) staged: Staged,
    pub(crate) source: Source,
    /// The plan as it is stored, also while the run is finished.
    pub(crate) stored_plan: Option<PlanRecord>,
    pub(crate) shards: BTreeMap<u32, Shard>,
    /// Shards with batches that may be leased, or soon may be.
    pub(crate) open_shards: OpenShards,
    /// When waiting batches may be sent again.
    pub(crate) retries: BTreeSet<(Timestamp, u32, u32)>,
    /// Shards that hold undecided batches.
    pub(crate) undecided_shards: BTreeSet<u32>,
    pub(crate) outputs: Vec<String>,
    /// The last entry of the log of parts, if this leader began it.
    pub(crate) last_parts: Option<PartsEntry>,
    /// Slots that workers not heard since a take-over may hold.
    pub(crate) unknown_slots: u32,
    /// Slots held, over all workers.
    pub(crate) held_slots: u32,
    /// A record that stops the run, or lowers its limit, may be on its way: nothing is granted meanwhile.
    pub(crate) grants_suspended: bool,
    pub(crate) finish: Finish,
    /// A compensation that is due and has not ended.
    pub(crate) compensating: Option<Compensating>,
    /// Rises when what workers must know of the run changes.
    pub(crate) context_version: u64,
    pub(crate) context: Option<Arc<RunContext>>,
    pub(crate) rate: Rate,
    pub(crate) pace: Pace,
    /// Where the run's limit of concurrency is chosen while it runs.
    pub(crate) adaptive: Option<Adaptive>,
    /// Handler time of a batch, lately.
    pub(crate) batch_time: Option<std::time::Duration>,
    /// Shards are wanted for a redrive and on their way.
    pub(crate) loading: Option<RedriveRequest>,
    /// A redrive or a deletion is under way, from its request until it is durable.
    pub(crate) leaves_end: bool,
    /// Who asked for the deletion, while what was staged is deleted.
    pub(crate) deletion: Option<RequestId>,
    pub(crate) started_at: Timestamp,
}

/// What is known of the source.
#[derive(Debug)]
pub(crate) enum Source {
    /// The head was not read yet.
    Unprobed,
    /// Shards are planned; some are scanned, a prefix of them is composed.
    Planned(Box<Planned>),
}

/// The plan and how far it is.
#[derive(Debug)]
pub(crate) struct Planned {
    pub(crate) record: PlanRecord,
    pub(crate) composer: Composer,
    /// Scans of shards that composition has not reached.
    pub(crate) scans: BTreeMap<u32, (ShardScan, Option<Incarnation>)>,
    /// Shards under way at workers.
    pub(crate) under_way: BTreeMap<u32, Incarnation>,
    /// Composition waits for this shard to be scanned again from its true entry.
    pub(crate) rescan: bool,
}

/// Changes that wait for their transaction.
#[derive(Debug, Default)]
pub(crate) struct Staged {
    /// Write the specification: the run is new.
    pub(crate) create: bool,
    /// Leave `Queued`.
    pub(crate) start: bool,
    pub(crate) plan: bool,
    pub(crate) update: Option<LimitsUpdate>,
    pub(crate) stop: Option<Stop>,
    pub(crate) redrive: Option<LimitsUpdate>,
    /// Shards to be written although no report touches them.
    pub(crate) shards: BTreeSet<u32>,
    pub(crate) reports: std::collections::VecDeque<StagedReport>,
    pub(crate) losses: Vec<(u32, u32)>,
    pub(crate) compensation: Option<StagedCompensation>,
    pub(crate) terminal: Option<Terminal>,
    pub(crate) total_known: bool,
    pub(crate) delete: bool,
    pub(crate) replies: Vec<RequestId>,
}

impl Staged {
    pub(crate) fn is_empty(&self) -> bool {
        !(self.create || self.start || self.plan || self.total_known || self.delete)
            && self.update.is_none()
            && self.stop.is_none()
            && self.redrive.is_none()
            && self.shards.is_empty()
            && self.reports.is_empty()
            && self.losses.is_empty()
            && self.compensation.is_none()
            && self.terminal.is_none()
            && self.replies.is_empty()
    }
}

/// A report that was accepted for counting.
#[derive(Debug, Clone)]
pub(crate) struct StagedReport {
    pub(crate) report: Report,
    pub(crate) holder: Incarnation,
    pub(crate) worker: warifu_model::WorkerId,
}

/// An entry of a run's log of parts.
#[derive(Debug, Clone)]
pub(crate) struct PartsEntry {
    pub(crate) number: u64,
    pub(crate) parts: PartsRecord,
}

impl PartsEntry {
    /// With so many files an entry is left as it is, and a new one begins. A key takes as much as two files: a small
    /// entry is mostly key, a large one is written again too often.
    pub(crate) const ENOUGH_PARTS: usize = 16;
}

/// Why a run is to stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stop {
    pub(crate) to: MapRunState,
    pub(crate) error: RunError,
}

/// The end of a run, its results written.
#[derive(Debug, Clone)]
pub(crate) struct Terminal {
    pub(crate) state: MapRunState,
    pub(crate) location: Option<warifu_model::ResultLocation>,
    pub(crate) error: Option<RunError>,
}

/// A redrive that waits for the shards to be read.
#[derive(Debug, Clone)]
pub(crate) struct RedriveRequest {
    pub(crate) request: RequestId,
    pub(crate) update: LimitsUpdate,
}

/// How far the end of a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Finish {
    NotYet,
    /// The manifest is being written; nothing changes any more.
    Writing,
    /// The manifest is written; the compensation is due, or has ended.
    Compensating,
    /// The terminal record is staged or on its way.
    Staged,
}

/// Decided items over the last seconds.
#[derive(Debug, Default)]
pub(crate) struct Rate {
    samples: std::collections::VecDeque<(Timestamp, u64)>,
}

impl Rate {
    /// Rates are taken over this long.
    const WINDOW: std::time::Duration = std::time::Duration::from_secs(10);
    /// Samples closer than this melt into one.
    const STEP: std::time::Duration = std::time::Duration::from_millis(200);

    pub(crate) fn sample(&mut self, now: Timestamp, decided: u64) {
        if self.samples.back().is_some_and(|(at, _)| now.since(*at) < Self::STEP) && self.samples.len() > 1 {
            self.samples.pop_back();
        }
        self.samples.push_back((now, decided));
        while self.samples.len() > 2 && now.since(self.samples[1].0) > Self::WINDOW {
            self.samples.pop_front();
        }
    }

    pub(crate) fn per_second(&self) -> f64 {
        match (self.samples.front(), self.samples.back()) {
            (Some((start, before)), Some((end, after))) if end > start => {
                after.saturating_sub(*before) as f64 / end.since(*start).as_secs_f64()
            }
            _ => 0.0,
        }
    }
}

impl MapRun {
    pub(crate) fn new(id: MapRunId, record: SpecRecord, status: StatusRecord, now: Timestamp) -> Self {
        let spec = Arc::new(spec_with_limits(&record.spec, &status));
        let adaptive = spec.adaptive_concurrency.map(|_| Adaptive::new(status.adapted, now));
        Self {
            id,
            record,
            status,
            spec,
            staged: Staged::default(),
            source: Source::Unprobed,
            stored_plan: None,
            shards: BTreeMap::new(),
            open_shards: OpenShards::default(),
            retries: BTreeSet::new(),
            undecided_shards: BTreeSet::new(),
            outputs: Vec::new(),
            last_parts: None,
            unknown_slots: 0,
            held_slots: 0,
            grants_suspended: false,
            finish: Finish::NotYet,
            compensating: None,
            context_version: 1,
            context: None,
            rate: Rate::default(),
            pace: Pace::new(now),
            adaptive,
            batch_time: None,
            loading: None,
            leaves_end: false,
            deletion: None,
            started_at: now,
        }
    }

    /// Plans shards by the header that the probe found.
    pub(crate) fn plan(&mut self, record: PlanRecord, config: &Config, composer: Option<Composer>) {
        let composer = composer.unwrap_or_else(|| {
            let reader = &self.spec.item_reader;
            let limits = Limits {
                max_record_bytes: config.max_record_bytes,
                max_header_bytes: config.max_header_bytes,
                max_columns: config.max_columns as usize,
            };
            Composer::new(&self.shard_plan(&record), reader.max_items, reader.record_format(), &limits)
        });
        self.stored_plan = Some(record.clone());
        self.source = Source::Planned(Box::new(Planned {
            record,
            composer,
            scans: BTreeMap::new(),
            under_way: BTreeMap::new(),
            rescan: false,
        }));
        self.context_changed();
    }

    fn shard_plan(&self, record: &PlanRecord) -> ShardPlan {
        let size = record.staged.as_ref().unwrap_or(&self.record.source).size_bytes;
        let data_start = record.probe.data_start.min(size);
        let (from, last) = self.spec.item_reader.range.unwrap_or((0, None));
        let end = last.map_or(size, |last| last.saturating_add(1).min(size)).max(data_start);
        let count_from = from.clamp(data_start, end);
        ShardPlan { data_start, count_from, end, object_size: size, shard_size: self.record.shard_bytes }
    }

    pub(crate) fn planned(&self) -> Option<&Planned> {
        match &self.source {
            Source::Planned(planned) => Some(planned),
            Source::Unprobed => None,
        }
    }

    pub(crate) fn planned_mut(&mut self) -> Option<&mut Planned> {
        match &mut self.source {
            Source::Planned(planned) => Some(planned),
            Source::Unprobed => None,
        }
    }

    /// What workers know of the run is out of date.
    pub(crate) fn context_changed(&mut self) {
        self.context_version += 1;
        self.context = None;
    }

    /// Batches may be leased and shards scanned.
    pub(crate) fn is_running(&self) -> bool {
        self.status.state == MapRunState::Running && self.finish == Finish::NotYet
    }

    /// Every item that the run will ever have is composed.
    pub(crate) fn is_composed(&self) -> bool {
        self.planned().is_some_and(|planned| planned.composer.is_complete())
    }

    /// Items composed so far.
    pub(crate) fn total_items(&self) -> u64 {
        self.planned().map_or(self.status.item_counts.total, |planned| planned.composer.items())
    }

    /// Batches composed so far.
    pub(crate) fn total_batches(&self) -> u64 {
        self.planned().map_or(self.status.batch_counts.total, |planned| planned.composer.batches())
    }

    /// What a tolerance may count on.
    pub(crate) fn known_total(&self) -> TotalItems {
        match self.planned() {
            Some(planned) if planned.composer.is_complete() => TotalItems::Known(planned.composer.items()),
            Some(planned) => TotalItems::AtMost {
                counted: planned.composer.items(),
                unscanned_bytes: planned.composer.plan().end.saturating_sub(self.composed_until()),
            },
            None => TotalItems::AtMost { counted: 0, unscanned_bytes: self.record.source.size_bytes },
        }
    }

    /// One past the last byte of the last composed shard.
    pub(crate) fn composed_until(&self) -> u64 {
        match self.planned().map(|planned| &planned.composer) {
            Some(composer) if composer.next_shard() > 0 => {
                composer.plan().range(composer.next_shard() - 1).end
            }
            Some(composer) => composer.plan().data_start,
            None => 0,
        }
    }

    /// Slots that may still be given.
    pub(crate) fn room(&self) -> u32 {
        self.concurrency_limit().saturating_sub(self.held_slots).saturating_sub(self.unknown_slots)
    }

    /// Nothing is leased, waits or is being counted.
    pub(crate) fn is_quiet(&self) -> bool {
        self.undecided_shards.is_empty()
    }

    /// Refreshes the derived sets after `shard` changed.
    pub(crate) fn shard_changed(&mut self, number: u32) {
        let Some(shard) = self.shards.get(&number) else { return };
        self.open_shards.update(number, shard);
        if shard.is_decided() {
            self.undecided_shards.remove(&number);
        } else {
            self.undecided_shards.insert(number);
        }
    }

    /// Batches that were sent and wait to be sent again: aborted, if the run ends now.
    pub(crate) fn begun_and_undecided(&self) -> impl Iterator<Item = (&Shard, u32, &OpenBatch)> {
        let of_shard = |shard: &Shard| shard.record.open.len();
        self.shards.values().filter(move |shard| of_shard(shard) > 0).flat_map(|shard| {
            let begun = |open: &OpenBatch| open.attempts > 0 && !open.undecided.is_empty();
            shard
                .record
                .open
                .iter()
                .filter(move |(_, open)| begun(open))
                .map(move |(batch, open)| (shard, *batch, open))
        })
    }

    /// The counts with which the run ends.
    pub(crate) fn final_counts(&self, status: &StatusRecord) -> (ItemCounts, ItemCounts) {
        let (mut items, mut batches) = (status.item_counts, status.batch_counts);
        for (_, _, open) in self.begun_and_undecided() {
            items.aborted += open.undecided.len();
            batches.aborted += 1;
        }
        for (counts, total) in [(&mut items, self.total_items()), (&mut batches, self.total_batches())] {
            counts.total = total;
            counts.pending = 0;
            counts.pending = total.saturating_sub(counts.sum());
            counts.results_written = total;
        }
        (items, batches)
    }
}

/// The specification with the limits that hold now.
pub(crate) fn spec_with_limits(spec: &MapRunSpec, status: &StatusRecord) -> MapRunSpec {
    MapRunSpec {
        max_concurrency: status.max_concurrency,
        max_items_per_second: status.max_items_per_second,
        tolerance: status.tolerance,
        ..spec.clone()
    }
}

/// The status of a run that was just asked for.
pub(crate) fn new_status(spec: &MapRunSpec) -> StatusRecord {
    StatusRecord {
        state: MapRunState::Queued,
        stopping_to: None,
        error: None,
        redrive: 0,
        start_time: None,
        stop_time: None,
        max_concurrency: spec.max_concurrency,
        max_items_per_second: spec.max_items_per_second,
        tolerance: Tolerance { ..spec.tolerance },
        concurrency_ceiling: spec.max_concurrency,
        item_counts: ItemCounts::default(),
        batch_counts: ItemCounts::default(),
        total_known: false,
        errors: BTreeMap::new(),
        error_groups: Vec::new(),
        stored_failures: 0,
        part_entries: 0,
        output_chunks: 0,
        output_bytes: 0,
        outputs_truncated: false,
        warnings: Vec::new(),
        result_location: None,
        compensation: None,
        adapted: None,
    }
}

/// A time of day for a run that has none.
pub(crate) const NO_TIME: WallTime = WallTime(0);
