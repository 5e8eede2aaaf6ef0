//! One run's part of a transaction: what is staged, applied to copies of what the store has.

use std::collections::BTreeMap;

use warifu_model::protocol::Report;
use warifu_model::{
    ItemFailure, LeaseId, MapRunId, MapRunState, Now, ReportNumber, RunError, ShardNumber, error_name,
};

use crate::alert::{self, ErrorRateAlert};
use crate::counting::{CountedBy, count_report};
use crate::map_run::{MapRun, PartsEntry, StagedReport, Stop, Terminal};
use crate::record::{PartsRecord, PlanRecord, Record, ShardRecord, StatusRecord, failures_bytes, part_bytes};
use crate::redrive::redriven_status;
use crate::{CommitId, RequestId};

/// What a transaction may still take.
#[derive(Debug)]
pub(crate) struct Budget {
    records: usize,
    bytes: usize,
    fresh: bool,
}

impl Budget {
    /// Room that one run needs beside its shards: specification (with the id that it takes), status, plan, failures
    /// (removed and added), parts, outputs.
    const RUN_RECORDS: usize = 8;
    /// Kept free for the roster and for what is begun, so that many runs cannot keep workers from joining.
    const FLEET_RECORDS: usize = 20;

    /// For the runs' part of a transaction.
    pub(crate) fn new(records: usize, bytes: usize) -> Self {
        Self { records: records.saturating_sub(Self::FLEET_RECORDS), bytes, fresh: true }
    }

    /// Notes that a run found no room at all.
    pub(crate) fn leave_out(&mut self) {
        self.fresh = false;
    }

    /// What is left for the fleet's part.
    pub(crate) fn for_fleet(&self) -> usize {
        self.records + Self::FLEET_RECORDS
    }

    pub(crate) fn is_spent(&self) -> bool {
        self.records < Self::RUN_RECORDS + 1 || self.bytes == 0
    }

    /// True if everything that was staged found room.
    pub(crate) fn is_fresh(&self) -> bool {
        self.fresh
    }

    fn take(&mut self, record: &Record) {
        self.records = self.records.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(record.estimated_bytes());
    }
}

/// What the reports of one transaction leave beside their shards.
#[derive(Debug)]
struct Counted {
    failures: Vec<ItemFailure>,
    /// The entry of the log of parts that takes their files, with those that it has.
    entry: PartsEntry,
    parts: usize,
    bytes: usize,
}

impl Counted {
    /// Files of one transaction at most: some 60 KiB, so that pages of entries are read in little memory.
    const MAX_PARTS: usize = 1_024;

    fn into(entry: PartsEntry) -> Self {
        Self { failures: Vec::new(), entry, parts: 0, bytes: 0 }
    }

    fn is_full(&self) -> bool {
        // Another report may bring a file of each kind.
        self.parts + 2 > Self::MAX_PARTS
    }

    fn add(&mut self, staged: &StagedReport, failures: Vec<ItemFailure>) {
        let Report { succeeded_part, failed_part, .. } = &staged.report;
        let parts = succeeded_part.iter().chain(failed_part);
        self.parts += parts.clone().count();
        self.bytes += failures_bytes(&failures) + parts.map(part_bytes).sum::<usize>();
        self.failures.extend(failures);
        self.entry.parts.succeeded.extend(succeeded_part.clone());
        self.entry.parts.failed.extend(failed_part.clone());
    }
}

/// What every run's part is built with.
#[derive(Debug, Clone)]
pub(crate) struct CommitContext {
    pub(crate) now: Now,
    /// After a take-over, while the old leader may still decide: nothing that stops, lowers or counts.
    pub(crate) hold_decisions: bool,
    pub(crate) ignore_tolerance: bool,
    /// No adoption window is open: the ceiling may come down.
    pub(crate) all_workers_known: bool,
    pub(crate) max_stored_failures: u64,
    pub(crate) max_output_bytes: u64,
    pub(crate) min_alert_items: u64,
}

/// One run's part of a transaction in flight.
#[derive(Debug)]
pub(crate) struct RunCommit {
    pub(crate) id: MapRunId,
    pub(crate) status: StatusRecord,
    pub(crate) shards: BTreeMap<u32, ShardRecord>,
    pub(crate) reports: Vec<StagedReport>,
    pub(crate) last_parts: Option<PartsEntry>,
    pub(crate) outputs: Vec<String>,
    pub(crate) replies: Vec<RequestId>,
    /// What is to be told once this is durable.
    pub(crate) alert: Option<ErrorRateAlert>,
    /// The compensation changed, and the report that it follows from.
    pub(crate) compensation: Option<Option<(LeaseId, ReportNumber)>>,
    pub(crate) redriven: bool,
    pub(crate) deleted: bool,
}

impl MapRun {
    /// Takes what is staged, as far as the budget reaches, and adds its records.
    pub(crate) fn build_commit(
        &mut self,
        context: &CommitContext,
        budget: &mut Budget,
        records: &mut Vec<Record>,
    ) -> Option<RunCommit> {
        let mut part = RunCommit {
            id: self.id.clone(),
            status: self.status.clone(),
            shards: BTreeMap::new(),
            reports: Vec::new(),
            last_parts: None,
            outputs: Vec::new(),
            replies: Vec::new(),
            alert: None,
            compensation: None,
            redriven: false,
            deleted: self.staged.delete,
        };
        let before = records.len();
        if self.staged.delete {
            part.replies = std::mem::take(&mut self.staged).replies;
            records.push(Record::RemoveMapRun(self.id.clone()));
        } else {
            self.build_changes(context, budget, records, &mut part);
        }
        for record in &records[before..] {
            budget.take(record);
        }
        (records.len() > before).then_some(part)
    }

    fn build_changes(
        &mut self,
        context: &CommitContext,
        budget: &mut Budget,
        records: &mut Vec<Record>,
        part: &mut RunCommit,
    ) {
        let before = (part.status.clone(), records.len());
        self.build_beginning(context.now, records, &mut part.status);
        self.build_shards(budget, part);
        if !context.hold_decisions {
            self.build_redrive(context.now, records, part);
            self.build_reports(context, budget, records, part);
            self.build_limits(&mut part.status);
            self.build_stop(context, part);
            self.build_compensation(part);
            self.build_terminal(context.now, records, part);
            part.replies = std::mem::take(&mut self.staged.replies);
        }
        self.settle_ceiling(context, &mut part.status);
        part.status.adapted = self.adapted_record();
        let changed = before.0 != part.status || !part.replies.is_empty() || records.len() > before.1;
        if !changed && part.shards.is_empty() {
            return;
        }
        for (number, shard) in &part.shards {
            records.push(Record::PutShard(self.id.clone(), ShardNumber(*number), Box::new(shard.clone())));
        }
        records.push(Record::PutStatus(self.id.clone(), Box::new(part.status.clone())));
    }

    fn build_beginning(&mut self, now: Now, records: &mut Vec<Record>, status: &mut StatusRecord) {
        if std::mem::take(&mut self.staged.create) {
            records.push(Record::PutSpec(self.id.clone(), Box::new(self.record.clone())));
        }
        if std::mem::take(&mut self.staged.start) {
            status.state = MapRunState::Running;
            status.start_time = Some(now.wall);
        }
        if std::mem::take(&mut self.staged.plan)
            && let Some(planned) = self.planned()
        {
            let plan: PlanRecord = planned.record.clone();
            records.push(Record::PutPlan(self.id.clone(), Box::new(plan)));
        }
        if self.staged.total_known && self.staged.shards.is_empty() {
            self.staged.total_known = false;
            status.total_known = true;
        }
    }

    /// Shards in ascending order: what the store holds of a run's composition is always a prefix.
    fn build_shards(&mut self, budget: &mut Budget, part: &mut RunCommit) {
        let room = budget.records.saturating_sub(Budget::RUN_RECORDS);
        while part.shards.len() < room
            && let Some(number) = self.staged.shards.pop_first()
        {
            if let Some(shard) = self.shards.get(&number) {
                part.shards.insert(number, shard.record.clone());
            }
        }
        for (number, batch) in std::mem::take(&mut self.staged.losses) {
            if part.shards.len() >= room && !part.shards.contains_key(&number) {
                self.staged.losses.push((number, batch));
            } else if let Some(record) = self.copy_of_shard(number, &mut part.shards) {
                *record.losses.entry(batch).or_default() += 1;
            }
        }
        budget.fresh &= self.staged.shards.is_empty() && self.staged.losses.is_empty();
    }

    fn copy_of_shard<'a>(
        &self,
        number: u32,
        copies: &'a mut BTreeMap<u32, ShardRecord>,
    ) -> Option<&'a mut ShardRecord> {
        let shard = self.shards.get(&number)?;
        Some(copies.entry(number).or_insert_with(|| shard.record.clone()))
    }

    fn build_redrive(&mut self, now: Now, records: &mut Vec<Record>, part: &mut RunCommit) {
        let Some(update) = self.staged.redrive.take() else { return };
        part.status =
            redriven_status(&self.status, self.shards.values().map(|shard| &shard.record), now.wall);
        let mut spec = (*self.spec).clone();
        update.apply_to(&mut spec);
        take_limits(&mut part.status, &spec);
        part.redriven = true;
        records.push(Record::RemoveFailures(self.id.clone()));
    }

    fn build_reports(
        &mut self,
        context: &CommitContext,
        budget: &mut Budget,
        records: &mut Vec<Record>,
        part: &mut RunCommit,
    ) {
        let first = part.status.stored_failures;
        let mut counted = Counted::into(self.parts_entry(&part.status));
        let room = budget.records.saturating_sub(Budget::RUN_RECORDS);
        while part.shards.len() < room && counted.bytes < budget.bytes && !counted.is_full() {
            let Some(staged) = self.staged.reports.pop_front() else { break };
            let number = staged.report.shard.0;
            let bytes_before = part.shards.get(&number).map_or(0, ShardRecord::estimated_bytes);
            let Some(shard) = self.copy_of_shard(number, &mut part.shards) else { continue };
            let stored = first + counted.failures.len() as u64;
            let room_for_failures = context.max_stored_failures.saturating_sub(stored);
            let by = CountedBy { worker: &staged.worker, time: context.now.wall, room_for_failures };
            counted.add(&staged, count_report(shard, &mut part.status, &staged.report, &by));
            counted.bytes += shard.estimated_bytes().saturating_sub(bytes_before);
            keep_outputs(&staged, context.max_output_bytes, part);
            part.reports.push(staged);
        }
        budget.fresh &= self.staged.reports.is_empty();
        if !part.reports.is_empty() {
            part.alert = alert::raise(&mut part.status, &self.id, context.min_alert_items);
        }
        self.push_counted(counted, records, part);
        if !part.outputs.is_empty() {
            let (chunk, lines) = (part.status.output_chunks, part.outputs.clone());
            part.status.output_chunks += 1;
            records.push(Record::PutOutputs { map_run: self.id.clone(), chunk, lines });
        }
    }

    /// The entry of the log of parts for what is counted next: the last one while it is small.
    ///
    /// A new leader begins a new entry: it need not read the log, and never touches what an older one may be reading.
    fn parts_entry(&self, status: &StatusRecord) -> PartsEntry {
        let takes_more = |last: &&PartsEntry| {
            last.parts.redrive == status.redrive && last.parts.len() < PartsEntry::ENOUGH_PARTS
        };
        let new = || PartsEntry {
            number: status.part_entries,
            parts: PartsRecord { redrive: status.redrive, ..PartsRecord::default() },
        };
        self.last_parts.as_ref().filter(takes_more).cloned().unwrap_or_else(new)
    }

    /// What reports left beside their shards: in the same transaction, so that it holds exactly what was counted.
    fn push_counted(&self, counted: Counted, records: &mut Vec<Record>, part: &mut RunCommit) {
        let (map_run, status) = (self.id.clone(), &mut part.status);
        if !counted.failures.is_empty() {
            let first = status.stored_failures;
            status.stored_failures += counted.failures.len() as u64;
            records.push(Record::PutFailures { map_run: map_run.clone(), first, failures: counted.failures });
        }
        if counted.parts > 0 {
            let PartsEntry { number, parts } = counted.entry.clone();
            status.part_entries = number + 1;
            records.push(Record::PutParts { map_run, number, parts });
            part.last_parts = Some(counted.entry);
        }
    }

    fn build_limits(&mut self, status: &mut StatusRecord) {
        if let Some(update) = self.staged.update.take() {
            let mut spec = (*self.spec).clone();
            update.apply_to(&mut spec);
            take_limits(status, &spec);
            self.grants_suspended = true;
        }
    }

    /// The stop is in the same transaction as the failure that crosses the tolerance.
    fn build_stop(&mut self, context: &CommitContext, part: &mut RunCommit) {
        let status = &mut part.status;
        let stop = self.staged.stop.take().or_else(|| self.exceeded(context, status));
        let Some(stop) = stop.filter(|_| matches!(status.state, MapRunState::Running | MapRunState::Queued))
        else {
            return;
        };
        status.state = MapRunState::Stopping;
        status.stopping_to = Some(stop.to);
        status.error = Some(stop.error);
        self.grants_suspended = true;
    }

    fn exceeded(&self, context: &CommitContext, status: &StatusRecord) -> Option<Stop> {
        let exceeded = status.tolerance.is_exceeded(status.item_counts.unsuccessful(), self.known_total());
        (exceeded && !context.ignore_tolerance && status.state == MapRunState::Running).then(|| Stop {
            to: MapRunState::Failed,
            error: RunError {
                error: error_name::TOLERANCE_EXCEEDED.to_owned(),
                cause: "The specified tolerated failure threshold was exceeded".to_owned(),
            },
        })
    }

    /// With the first change how the run will end is durable, too: a new leader writes no manifest again.
    fn build_compensation(&mut self, part: &mut RunCommit) {
        let Some(staged) = self.staged.compensation.take() else { return };
        if let Some(Terminal { state, location, error }) = staged.ends_as {
            part.status.stopping_to = Some(state);
            part.status.error = error.or_else(|| part.status.error.take());
            part.status.result_location = location;
            // Nothing more is decided: whoever watches should not hear of it after the compensation only.
            part.alert = alert::raise(&mut part.status, &self.id, 1).or(part.alert.take());
        }
        part.status.compensation = Some(staged.status);
        part.compensation = Some(staged.report);
    }

    fn build_terminal(&mut self, now: Now, records: &mut Vec<Record>, part: &mut RunCommit) {
        let Some(Terminal { state, location, error }) = self.staged.terminal.take() else { return };
        (part.status.item_counts, part.status.batch_counts) = self.final_counts(&part.status);
        part.alert = alert::raise(&mut part.status, &self.id, 1).or(part.alert.take());
        let status = &mut part.status;
        status.state = state;
        status.stopping_to = None;
        status.error = error.or_else(|| status.error.take());
        status.stop_time = Some(now.wall);
        status.result_location = location;
        if status.part_entries > 0 && is_wholly_successful(status) {
            status.part_entries = 0;
            records.push(Record::RemoveParts(self.id.clone()));
        }
    }

    /// Raises `M` with the limit; lowers it once nobody can hold more slots than the new limit allows.
    fn settle_ceiling(&self, context: &CommitContext, status: &mut StatusRecord) {
        let at_most = |limit: Option<u32>| limit.unwrap_or(u32::MAX);
        let limit = at_most(status.max_concurrency);
        let nobody_holds_more =
            context.all_workers_known && self.held_slots <= limit && self.unknown_slots == 0;
        if limit > at_most(status.concurrency_ceiling) || nobody_holds_more {
            status.concurrency_ceiling = status.max_concurrency;
        }
    }
}

/// Nothing is left that a redrive could run.
pub(crate) fn is_wholly_successful(status: &StatusRecord) -> bool {
    status.state == MapRunState::Succeeded && status.item_counts.succeeded == status.item_counts.total
}

fn take_limits(status: &mut StatusRecord, spec: &warifu_model::spec::MapRunSpec) {
    status.max_concurrency = spec.max_concurrency;
    status.max_items_per_second = spec.max_items_per_second;
    status.tolerance = spec.tolerance;
}

fn keep_outputs(staged: &StagedReport, max_bytes: u64, part: &mut RunCommit) {
    part.status.outputs_truncated |= staged.report.inline_outputs_truncated;
    for line in &staged.report.inline_outputs {
        let bytes = part.status.output_bytes + line.len() as u64;
        if bytes > max_bytes {
            part.status.outputs_truncated = true;
            return;
        }
        part.status.output_bytes = bytes;
        part.outputs.push(line.clone());
    }
}

/// Orders transactions in logs.
impl std::fmt::Display for CommitId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}
