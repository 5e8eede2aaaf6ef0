//! One run, its leaders and workers, and a store that writes everything at once.

use std::collections::BTreeMap;
use std::time::Duration;

use warifu_dataset::HeaderLocation;
use warifu_model::protocol::{
    BatchReport, CallOutcome, CoordinatorMessage, FailedItems, Grant, HeldBatch, HeldLease, HeldProgress,
    Hello, Report, ReportVerdict, RunFault, SourcePin, WorkerMessage,
};
use warifu_model::spec::{
    Compression, Delimiter, ItemBatcher, ItemProcessor, ItemReader, MapRunSpec, ResultWriter,
};
use warifu_model::*;

use crate::record::{PlanRecord, Record, RosterRecord, Snapshot, SpecRecord, StatusRecord, StoredMapRun};
use crate::{CommitOutcome, Config, CreateMapRun, Effect, Effects, Event, RequestId, Scheduler, StreamId};

pub(crate) const W1: u128 = 1;
pub(crate) const W2: u128 = 2;
pub(crate) const WAIT: u64 = 60;

pub(crate) fn run() -> MapRunId {
    MapRunId::new("r").unwrap()
}

/// A leader, what it says, and what a store that writes everything at once holds.
pub(crate) struct Story {
    pub(crate) scheduler: Scheduler,
    pub(crate) seconds: f64,
    pub(crate) sent: Vec<(StreamId, CoordinatorMessage)>,
    spec: Option<SpecRecord>,
    pub(crate) status: Option<StatusRecord>,
    roster: BTreeMap<Incarnation, WorkerId>,
    pub(crate) plan: Option<PlanRecord>,
    /// Deletions of staged objects that were asked for: the object that stays.
    pub(crate) cleaned: Vec<Option<String>>,
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
        let mut story = Self {
            scheduler: Scheduler::empty(config, LeaderTerm(1), at(0.0), 1),
            seconds: 0.0,
            sent: Vec::new(),
            spec: None,
            status: None,
            roster: BTreeMap::new(),
            plan: None,
            cleaned: Vec::new(),
            manifests: 0,
            unwritable_manifests: 0,
            term: 1,
        };
        let source = SourcePin {
            bucket: "b".into(),
            key: "k".into(),
            version_id: None,
            etag: "e".into(),
            size_bytes: 9,
        };
        let create = CreateMapRun {
            id: run(),
            uid: 0,
            spec,
            submitted: Vec::new(),
            source,
            shard_bytes: 9,
            require_handler: false,
        };
        story.step(Event::CreateRequested { request: RequestId(1), create: Box::new(create) });
        story
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
                self.sent.push((stream, message));
                None
            }
            _ => None,
        }
    }

    fn store(&mut self, record: Record) {
        match record {
            Record::PutSpec(_, spec) => self.spec = Some(*spec),
            Record::PutStatus(_, status) => self.status = Some(*status),
            Record::PutPlan(_, plan) => self.plan = Some(*plan),
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
                slots: 1,
                handlers: handlers.map(|name| WorkerHandler { name, unavailable: None }).collect(),
                cache_bytes: 0,
                cut_versions: vec![warifu_dataset::CUT_VERSION],
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

    /// Compensations that were granted, since the last call.
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
        self.sent.clear();
        self.says(worker, WorkerMessage::Report(report(grant, failure)));
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
            shards: Vec::new(),
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

fn report(grant: &Grant, failure: Option<&str>) -> Report {
    let failed = failure.map(|error| FailedItems {
        items: RangeSet::from_range(0..1),
        failure: CallFailure::system(error, "why"),
        places: Vec::new(),
    });
    Report {
        lease: grant.lease,
        number: ReportNumber(1),
        map_run: run(),
        redrive: grant.redrive,
        shard: ShardNumber::COMPENSATION,
        entries: vec![BatchReport {
            batch: BatchOrdinal(0),
            attempt: grant.batches[0].attempt,
            round: grant.batches[0].round,
            first_item: 0,
            item_count: 1,
            bytes: warifu_dataset::ByteRange::new(0, 1),
            call: if failure.is_some() { CallOutcome::Failed } else { CallOutcome::Answered },
            failed: failed.into_iter().collect(),
            undecided: RangeSet::new(),
            retriers: Vec::new(),
            handler_time: Duration::ZERO,
        }],
        succeeded_part: None,
        failed_part: None,
        inline_outputs: Vec::new(),
        inline_outputs_truncated: false,
    }
}

pub(crate) fn spec() -> MapRunSpec {
    let on =
        [CompensationTrigger::ToleranceExceeded, CompensationTrigger::Error, CompensationTrigger::Stopped];
    MapRunSpec {
        item_reader: ItemReader {
            bucket: "b".into(),
            key: "k".into(),
            version_id: None,
            expected_bucket_owner: None,
            objects: Default::default(),
            form: Default::default(),
            encoding: Default::default(),
            header_location: HeaderLocation::FirstRow,
            delimiter: Delimiter::Comma,
            lenient_quotes: false,
            max_items: None,
            range: None,
        },
        items: None,
        item_batcher: ItemBatcher {
            configured: true,
            max_items_per_batch: 1,
            max_input_bytes_per_batch: 1 << 18,
            batch_input: None,
        },
        item_processor: ItemProcessor {
            handler: name("h"),
            timeout: Duration::from_secs(30),
            retry: Vec::new(),
        },
        max_concurrency: Some(1),
        tolerance: Tolerance::default(),
        timeout: None,
        result_writer: Some(ResultWriter {
            bucket: "out".into(),
            prefix: String::new(),
            compression: Compression::None,
        }),
        compensation: Some(Compensation { handler: name("undo"), on: on.into() }),
        input: Default::default(),
        labels: BTreeMap::new(),
    }
}
