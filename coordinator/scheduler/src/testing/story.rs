//! One run (and others that compete with it), its leaders and workers, and a store that writes everything at once.

use std::collections::BTreeMap;
use std::time::Duration;

use warifu_model::protocol::{
    BatchReport, CallOutcome, CoordinatorMessage, FailedItems, Grant, GrantedBatch, HeldBatch, HeldLease,
    HeldProgress, Hello, Report, ReportVerdict, RunFault, SourcePin, WorkerMessage,
};
use warifu_model::spec::MapRunSpec;
use warifu_model::*;

use super::job::spec;
use crate::record::{
    PlanRecord, Record, RosterRecord, ShardRecord, Snapshot, SpecRecord, StatusRecord, StoredMapRun,
};
use crate::{CommitOutcome, Config, CreateMapRun, Effect, Effects, Event, RequestId, Scheduler, StreamId};

pub(crate) const W1: u128 = 1;
pub(crate) const W2: u128 = 2;
pub(crate) const WAIT: u64 = 60;

pub(crate) fn run() -> MapRunId {
    MapRunId::new("r").unwrap()
}

/// A run that competes with it. Its name comes first, so that it is read first.
pub(crate) fn rival() -> MapRunId {
    MapRunId::new("a").unwrap()
}

/// A leader, what it says, and what a store that writes everything at once holds.
pub(crate) struct Story {
    pub(crate) scheduler: Scheduler,
    pub(crate) seconds: f64,
    /// Of each worker.
    pub(crate) slots: u32,
    pub(crate) sent: Vec<(StreamId, CoordinatorMessage)>,
    /// What workers find when they are told to read a run's source. Without it they never answer.
    pub(super) data: BTreeMap<MapRunId, Vec<u8>>,
    /// Scans are answered only when the test says so.
    pub(crate) holds_scans: bool,
    spec: Option<SpecRecord>,
    pub(crate) status: Option<StatusRecord>,
    pub(crate) plan: Option<PlanRecord>,
    /// Deletions of staged objects that were asked for: the object that stays.
    pub(crate) cleaned: Vec<Option<String>>,
    shards: BTreeMap<ShardNumber, ShardRecord>,
    roster: BTreeMap<Incarnation, WorkerId>,
    pub(crate) manifests: u32,
    pub(crate) unwritable_manifests: u32,
    term: u64,
}

impl Story {
    /// A run that is to be compensated for everything, running.
    pub(crate) fn begin() -> Self {
        Self::of(spec(), Config::default())
    }

    pub(crate) fn of(spec: MapRunSpec, config: Config) -> Self {
        let mut story = Self::without_runs(config);
        story.create(run(), spec, 9);
        story
    }

    fn without_runs(config: Config) -> Self {
        Self {
            scheduler: Scheduler::empty(config, LeaderTerm(1), at(0.0), 1),
            seconds: 0.0,
            slots: 1,
            sent: Vec::new(),
            data: BTreeMap::new(),
            holds_scans: false,
            spec: None,
            status: None,
            plan: None,
            cleaned: Vec::new(),
            shards: BTreeMap::new(),
            roster: BTreeMap::new(),
            manifests: 0,
            unwritable_manifests: 0,
            term: 1,
        }
    }

    /// A run over so many rows of one letter, which workers read.
    pub(crate) fn over_rows(rows: usize, spec: MapRunSpec, config: Config) -> Self {
        let mut story = Self::without_runs(config);
        story.create_over_rows(run(), rows, spec);
        story
    }

    pub(crate) fn create_over_rows(&mut self, id: MapRunId, rows: usize, spec: MapRunSpec) {
        let bytes = self.write_rows(&id, rows);
        self.create(id, spec, bytes);
    }

    /// A run over so many shards of so many rows of one letter, and a header before the first.
    pub(crate) fn over_shards(shards: usize, rows: usize, spec: MapRunSpec, config: Config) -> Self {
        let mut story = Self { holds_scans: true, ..Self::without_runs(config) };
        let bytes = story.write_rows(&run(), shards * rows);
        story.create_in_shards(run(), spec, bytes, rows as u64 * 2);
        story
    }

    fn write_rows(&mut self, id: &MapRunId, rows: usize) -> u64 {
        let data = "a\n".repeat(rows + 1).into_bytes();
        let bytes = data.len() as u64;
        self.data.insert(id.clone(), data);
        bytes
    }

    pub(crate) fn create(&mut self, id: MapRunId, spec: MapRunSpec, size_bytes: u64) {
        self.create_in_shards(id, spec, size_bytes, size_bytes);
    }

    fn create_in_shards(&mut self, id: MapRunId, spec: MapRunSpec, size_bytes: u64, shard_bytes: u64) {
        let source =
            SourcePin { bucket: "b".into(), key: "k".into(), version_id: None, etag: "e".into(), size_bytes };
        let create = CreateMapRun {
            id,
            uid: 0,
            spec,
            submitted: Vec::new(),
            source,
            shard_bytes,
            require_handler: false,
        };
        self.step(Event::CreateRequested { request: RequestId(1), create: Box::new(create) });
    }

    pub(crate) fn step(&mut self, event: Event) {
        let mut events = vec![event];
        while let Some(event) = events.pop() {
            let mut effects = Effects::new();
            self.scheduler.step(at(self.seconds), event, &mut effects);
            self.scheduler.check_invariants().unwrap();
            events.extend(self.carry_out(effects));
        }
    }

    pub(crate) fn carry_out(&mut self, mut effects: Effects) -> Vec<Event> {
        let effects: Vec<_> = effects.drain().collect();
        effects.into_iter().filter_map(|effect| self.answer(effect)).collect()
    }

    fn answer(&mut self, effect: Effect) -> Option<Event> {
        match effect {
            Effect::Commit(commit) => {
                commit.records.into_iter().for_each(|record| self.store(record));
                Some(Event::CommitFinished { commit: commit.id, outcome: CommitOutcome::Done })
            }
            Effect::WriteManifest(order) => {
                self.manifests += 1;
                let fault = RunFault { error: error_name::RESULT_WRITER_FAILED.into(), cause: "full".into() };
                let location = ResultLocation { bucket: order.bucket, manifest_key: "m".into() };
                let fails = self.manifests <= self.unwritable_manifests;
                let result = if fails { Err(fault) } else { Ok(location) };
                Some(Event::ManifestWritten { map_run: order.map_run, redrive: order.redrive, result })
            }
            Effect::CleanStaged { map_run, keep, .. } => {
                self.cleaned.push(keep);
                Some(Event::StagedCleaned { map_run })
            }
            Effect::Send { stream, message } => {
                let waits = self.holds_scans && matches!(message, CoordinatorMessage::Scan(_));
                let answer = if waits { None } else { self.read(&message) };
                self.sent.push((stream, message));
                answer.map(|message| Event::MessageReceived { stream, message })
            }
            _ => None,
        }
    }

    pub(crate) fn max_items(&self) -> u32 {
        self.spec.as_ref().map_or(1, |record| record.spec.item_batcher.max_items_per_batch)
    }

    fn store(&mut self, record: Record) {
        match record {
            Record::PutSpec(id, spec) if id == run() => self.spec = Some(*spec),
            Record::PutStatus(id, status) if id == run() => self.status = Some(*status),
            Record::PutShard(id, number, shard) if id == run() => {
                self.shards.insert(number, *shard);
            }
            Record::PutPlan(id, plan) if id == run() => self.plan = Some(*plan),
            Record::PutRoster(worker, roster) => drop(self.roster.insert(roster.incarnation, worker)),
            Record::RemoveRoster(_, incarnation) => drop(self.roster.remove(&incarnation)),
            _ => {}
        }
    }

    /// Lets time pass, from one deadline to the next; `alive` workers send heartbeats.
    pub(crate) fn pass(&mut self, seconds: f64, alive: &[u128]) {
        let end = self.seconds + seconds;
        while self.seconds < end {
            self.seconds = (self.seconds + 0.1).min(end);
            for worker in alive {
                self.says(*worker, WorkerMessage::Heartbeat { nonce: 1 });
            }
            self.step(Event::DeadlineReached);
        }
    }

    pub(crate) fn says(&mut self, worker: u128, message: WorkerMessage) {
        self.step(Event::MessageReceived { stream: stream(worker), message });
    }

    pub(crate) fn hello(&mut self, worker: u128, leases: Vec<HeldLease>) {
        let handlers = [name("h"), name("undo")];
        self.hello_with(worker, &handlers, leases, true);
    }

    pub(crate) fn hello_with(
        &mut self,
        worker: u128,
        handlers: &[HandlerName],
        leases: Vec<HeldLease>,
        compensates: bool,
    ) {
        let handlers = handlers.iter().cloned();
        let held = u32::try_from(leases.len()).unwrap();
        self.says(
            worker,
            WorkerMessage::Hello(Hello {
                worker: worker_id(worker),
                incarnation: Incarnation(worker),
                hello_number: 1,
                dead_incarnation: None,
                version: String::new(),
                slots: self.slots,
                handlers: handlers.map(|name| WorkerHandler { name, unavailable: None }).collect(),
                cache_bytes: 0,
                cut_versions: warifu_dataset::CUT_VERSIONS.collect(),
                draining: false,
                held_slots: (held > 0).then(|| (run(), held)).into_iter().collect(),
                leases,
                compensates,
            }),
        );
        self.says(worker, WorkerMessage::Heartbeat { nonce: 0 });
    }

    pub(crate) fn stop(&mut self) {
        let cause = "enough".to_owned();
        self.step(Event::StopRequested { request: RequestId(2), map_run: run(), cause });
        self.pass(1.0, &[]);
    }

    /// What was granted since the last call.
    pub(crate) fn grants(&mut self) -> Vec<Grant> {
        let grants = std::mem::take(&mut self.sent).into_iter().filter_map(|(_, message)| match message {
            CoordinatorMessage::Grant(grant) => Some(grant),
            _ => None,
        });
        grants.collect()
    }

    #[track_caller]
    pub(crate) fn grant(&mut self) -> Grant {
        let mut grants = self.grants();
        assert_eq!(grants.len(), 1, "{grants:?}");
        grants.remove(0)
    }

    /// A worker's report, and what it is told.
    pub(crate) fn report(
        &mut self,
        worker: u128,
        grant: &Grant,
        failure: Option<&str>,
    ) -> Option<ReportVerdict> {
        let failure = failure.map(|error| CallFailure::system(error, "why"));
        self.report_failure(worker, grant, failure)
    }

    pub(crate) fn report_failure(
        &mut self,
        worker: u128,
        grant: &Grant,
        failure: Option<CallFailure>,
    ) -> Option<ReportVerdict> {
        self.sent.clear();
        self.says(worker, WorkerMessage::Report(report(grant, self.max_items(), failure)));
        self.pass(0.5, &[]);
        let mut answers = self.sent.iter().filter_map(|(_, message)| match message {
            CoordinatorMessage::ReportAnswer { verdict, .. } => Some(verdict.clone()),
            _ => None,
        });
        answers.next_back()
    }

    pub(crate) fn gives_back_the_slot(&mut self, worker: u128) {
        self.says(worker, WorkerMessage::Shrink { map_run: run(), slots: 1 });
    }

    /// A worker begins what it was granted.
    pub(crate) fn begins(&mut self, worker: u128, grant: &Grant) {
        let batches = grant.batches.iter().map(|batch| batch.batch.0).collect();
        self.says(worker, WorkerMessage::Begun { lease: grant.lease, batches });
    }

    /// Time during which nobody leads.
    pub(crate) fn nobody_leads_for(&mut self, seconds: f64) {
        self.seconds += seconds;
    }

    /// Another leader, with what the store holds. `window`: workers may still hold something.
    pub(crate) fn new_leader(&mut self, window: bool) {
        self.term += 1;
        let step_down_after = window.then(|| Duration::from_secs(4));
        let config = Config { step_down_after, ..self.scheduler.config.clone() };
        let stored = StoredMapRun {
            id: run(),
            spec: self.spec.clone().unwrap(),
            status: self.status.clone().unwrap(),
            plan: self.plan.clone(),
            shards: self.shards.iter().map(|(number, shard)| (*number, shard.clone())).collect(),
            outputs: Vec::new(),
        };
        let roster = self
            .roster
            .iter()
            .map(|(incarnation, worker)| (worker.clone(), RosterRecord { incarnation: *incarnation }));
        let snapshot = Snapshot { map_runs: vec![stored], roster: roster.collect(), ..Snapshot::default() };
        let mut effects = Effects::new();
        let now = at(self.seconds);
        self.scheduler = Scheduler::new(config, LeaderTerm(self.term), snapshot, now, 1, &mut effects);
        self.sent.clear();
        let events = self.carry_out(effects);
        events.into_iter().for_each(|event| self.step(event));
    }

    pub(crate) fn compensation(&self) -> CompensationStatus {
        self.status.as_ref().and_then(|status| status.compensation.clone()).expect("it is due")
    }

    pub(crate) fn state(&self) -> MapRunState {
        self.status.as_ref().unwrap().state
    }
}

pub(crate) fn at(seconds: f64) -> Now {
    Now { at: Timestamp((seconds * 1e6) as u64), wall: WallTime((seconds * 1e3) as i64) }
}

pub(crate) fn stream(worker: u128) -> StreamId {
    StreamId(u64::try_from(worker).unwrap())
}

pub(crate) fn worker_id(worker: u128) -> WorkerId {
    WorkerId::new(&format!("w{worker}")).unwrap()
}

pub(crate) fn name(name: &str) -> HandlerName {
    HandlerName::new(name).unwrap()
}

pub(crate) fn held(grant: &Grant, attempt: u32) -> HeldLease {
    let batch =
        HeldBatch { batch: BatchOrdinal(0), attempt, round: grant.redrive, progress: HeldProgress::Running };
    HeldLease {
        lease: grant.lease,
        map_run: run(),
        redrive: grant.redrive,
        shard: ShardNumber::COMPENSATION,
        batches: vec![batch],
    }
}

/// All batches of a grant ended alike; each has as many items as a shard of full batches gives it.
pub(crate) fn report(grant: &Grant, max_items: u32, failure: Option<CallFailure>) -> Report {
    let items_of = |batch: u32| max_items.min(grant.shard.items - max_items * batch);
    let failed = |items: u32| {
        failure.clone().map(|failure| FailedItems {
            items: RangeSet::from_range(0..items),
            failure,
            places: Vec::new(),
        })
    };
    let entry = |granted: &GrantedBatch| BatchReport {
        batch: granted.batch,
        attempt: granted.attempt,
        round: granted.round,
        first_item: granted.batch.0 * max_items,
        item_count: items_of(granted.batch.0),
        bytes: warifu_dataset::ByteRange::new(0, 1),
        call: if failure.is_some() { CallOutcome::Failed } else { CallOutcome::Answered },
        failed: failed(items_of(granted.batch.0)).into_iter().collect(),
        undecided: RangeSet::new(),
        retriers: Vec::new(),
        handler_time: Duration::ZERO,
    };
    Report {
        lease: grant.lease,
        number: ReportNumber(1),
        map_run: grant.map_run.clone(),
        redrive: grant.redrive,
        shard: grant.shard.shard,
        entries: grant.batches.iter().map(entry).collect(),
        succeeded_part: None,
        failed_part: None,
        inline_outputs: Vec::new(),
        inline_outputs_truncated: false,
    }
}

/// The same report of calls that failed, and whose items are to be sent again.
pub(crate) fn to_be_retried(mut report: Report) -> Report {
    for batch in &mut report.entries {
        batch.call = CallOutcome::Failed;
        batch.undecided = RangeSet::from_range(0..batch.item_count);
        batch.retriers = vec![0];
    }
    report
}
