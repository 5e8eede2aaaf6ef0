//! The simulated world: one real scheduler, real worker sessions, and a queue of what happens next. Nothing goes wrong here.

use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use warifu_model::protocol::{CallOutcome, Grant, SourcePin, WorkerMessage};
use warifu_model::spec::{ItemBatcher, ItemReader, MapRunSpec};
use warifu_model::{
    BatchOrdinal, HandlerName, Incarnation, InputForm, LeaderTerm, LeaseId, MapRunId, Now, RangeSet,
    ResultLocation, Timestamp, WallTime, WorkerHandler, WorkerId,
};
use warifu_scheduler::record::{Record, Snapshot};
use warifu_scheduler::{
    Commit, CommitOutcome, Config, CreateMapRun, Effect, Effects, Event, RequestId, Scheduler, StreamId,
};
use warifu_session::{
    ConnectionId, FinishedBatch, SessionEffect, SessionEffects, SessionEvent, SessionSettings, SessionState,
    StoredParts, WorkerIdentity,
};

use super::source::{SHARD_BYTES, Source};
use crate::scanned::BATCH;

/// Microseconds that a message, a write and a handler call take.
const MESSAGE: u64 = 500;
const WRITE: u64 = 2_000;
const CALL: u64 = 100_000;

/// Workers dial once.
const CONNECTION: ConnectionId = ConnectionId(1);

/// What a run of the world came to.
#[derive(Default)]
pub struct Outcome {
    /// Batches of the run, all of which succeeded.
    pub batches: u64,
    /// Time in the scheduler's steps.
    pub scheduler: Duration,
    /// How many there were.
    pub steps: u64,
    /// Reports of workers.
    pub reports: u64,
    /// Time in the steps that took them.
    pub reporting: Duration,
    /// Transactions of the store.
    pub commits: u64,
    /// Roughly the bytes of the records that were written.
    pub written: u64,
    /// What was written, if it was to be kept.
    pub kept: Option<Vec<Commit>>,
}

enum Happening {
    Leader(Box<Event>),
    LeaderWakes,
    Worker(usize, Box<SessionEvent>),
    WorkerWakes(usize),
    HandlerReturns(usize, LeaseId, BatchOrdinal),
}

/// Something in the queue; what was put in first of two at the same time happens first.
struct Queued(u64, u64, Happening);

impl PartialEq for Queued {
    fn eq(&self, other: &Self) -> bool {
        (self.0, self.1) == (other.0, other.1)
    }
}
impl Eq for Queued {}
impl PartialOrd for Queued {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Queued {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (other.0, other.1).cmp(&(self.0, self.1))
    }
}

struct Worker {
    session: SessionState,
    wake: Option<u64>,
    grants: BTreeMap<LeaseId, Arc<Grant>>,
}

/// One scheduler, its workers, and a queue of what happens next.
pub struct World {
    source: Source,
    now: u64,
    queue: BinaryHeap<Queued>,
    queued: u64,
    scheduler: Scheduler,
    leader_wake: Option<u64>,
    workers: Vec<Worker>,
    outcome: Outcome,
}

impl World {
    /// A run of `items` with `workers` of so many slots each.
    pub fn new(workers: u32, slots: u32) -> anyhow::Result<Self> {
        let (config, mut effects) = (Config::default(), Effects::new());
        let scheduler =
            Scheduler::new(config, LeaderTerm(1), Snapshot::default(), reading(0), 1, &mut effects);
        let outcome = Outcome::default();
        let mut world = Self {
            source: Source::new()?,
            now: 0,
            queue: BinaryHeap::new(),
            queued: 0,
            scheduler,
            leader_wake: None,
            workers: (0..workers).map(|number| Worker::new(number, slots)).collect::<Result<_, _>>()?,
            outcome,
        };
        world.carry_out(effects)?;
        for worker in 0..world.workers.len() {
            world.at(0, Happening::WorkerWakes(worker));
            world.workers[worker].wake = Some(0);
        }
        Ok(world)
    }

    /// Keeps what is written for the outcome.
    pub fn keep_commits(&mut self) {
        self.outcome.kept = Some(Vec::new());
    }

    /// Runs to the end, at which everything must have succeeded.
    pub fn run(mut self, items: u64) -> anyhow::Result<Outcome> {
        let id = MapRunId::new("scale")?;
        let create =
            Event::CreateRequested { request: RequestId(1), create: Box::new(self.create(&id, items)?) };
        // Everybody is there by then.
        self.at(1_000_000, Happening::Leader(Box::new(create)));
        while let Some(Queued(time, _, happening)) = self.queue.pop() {
            self.now = time;
            let of_leader = matches!(happening, Happening::Leader(_) | Happening::LeaderWakes);
            self.happen(happening)?;
            // A run that is not there yet counts as ended, too.
            if of_leader && self.scheduler.has_ended(&id) && self.scheduler.map_run(&id).is_some() {
                return self.finish(&id, items);
            }
        }
        bail!("nothing happens any more")
    }

    fn finish(mut self, id: &MapRunId, items: u64) -> anyhow::Result<Outcome> {
        let view = self.scheduler.map_run(id).context("the run is gone")?;
        let counts = view.item_counts;
        ensure!(
            (counts.total, counts.succeeded) == (items, items),
            "of {items} items {} were counted, and {} succeeded",
            counts.total,
            counts.succeeded
        );
        self.outcome.batches = items / u64::from(BATCH);
        Ok(self.outcome)
    }

    fn create(&self, id: &MapRunId, items: u64) -> anyhow::Result<CreateMapRun> {
        let source = SourcePin {
            bucket: "b".to_owned(),
            key: "k".to_owned(),
            version_id: None,
            etag: "e".to_owned(),
            size_bytes: self.source.size_bytes(items),
        };
        Ok(CreateMapRun {
            id: id.clone(),
            uid: 1,
            spec: spec()?,
            submitted: Vec::new(),
            source,
            shard_bytes: SHARD_BYTES,
            require_handler: false,
        })
    }

    fn at(&mut self, time: u64, happening: Happening) {
        self.queued += 1;
        self.queue.push(Queued(time.max(self.now), self.queued, happening));
    }

    fn happen(&mut self, happening: Happening) -> anyhow::Result<()> {
        match happening {
            Happening::Leader(event) => self.tell_leader(*event),
            Happening::LeaderWakes if self.leader_wake.is_some_and(|wake| wake <= self.now) => {
                self.leader_wake = None;
                self.tell_leader(Event::DeadlineReached)
            }
            Happening::Worker(worker, event) => self.tell_worker(worker, *event),
            Happening::WorkerWakes(worker)
                if self.workers[worker].wake.is_some_and(|wake| wake <= self.now) =>
            {
                self.workers[worker].wake = None;
                self.tell_worker(worker, SessionEvent::DeadlineReached)
            }
            Happening::LeaderWakes | Happening::WorkerWakes(_) => Ok(()),
            Happening::HandlerReturns(worker, lease, batch) => self.handler_returns(worker, lease, batch),
        }
    }

    fn tell_leader(&mut self, event: Event) -> anyhow::Result<()> {
        let mut effects = Effects::new();
        let now = reading(self.now);
        let reports = matches!(&event, Event::MessageReceived { message: WorkerMessage::Report(_), .. });
        let begun = Instant::now();
        self.scheduler.step(now, event, &mut effects);
        let took = begun.elapsed();
        self.outcome.scheduler += took;
        self.outcome.steps += 1;
        if reports {
            self.outcome.reporting += took;
            self.outcome.reports += 1;
        }
        self.scheduler.take_changed();
        self.carry_out(effects)
    }

    fn carry_out(&mut self, mut effects: Effects) -> anyhow::Result<()> {
        for effect in effects.drain() {
            match effect {
                Effect::Send { stream, message } => {
                    let worker = usize::try_from(stream.0)?;
                    let event = SessionEvent::Received(CONNECTION, message);
                    self.at(self.now + MESSAGE, Happening::Worker(worker, Box::new(event)));
                }
                Effect::Commit(commit) => {
                    self.outcome.commits += 1;
                    self.outcome.written +=
                        commit.records.iter().map(Record::estimated_bytes).sum::<usize>() as u64;
                    let outcome = CommitOutcome::Done;
                    let event = Event::CommitFinished { commit: commit.id, outcome };
                    self.at(self.now + WRITE, Happening::Leader(Box::new(event)));
                    self.outcome.kept.iter_mut().for_each(|kept| kept.push(commit.clone()));
                }
                Effect::WriteManifest(order) => {
                    let location = ResultLocation { bucket: order.bucket, manifest_key: "m".to_owned() };
                    let (map_run, redrive) = (order.map_run, order.redrive);
                    let event = Event::ManifestWritten { map_run, redrive, result: Ok(location) };
                    self.at(self.now + WRITE, Happening::Leader(Box::new(event)));
                }
                Effect::Reply { reply, .. } => drop(reply?),
                unexpected => bail!("the scheduler asks for {unexpected:?}"),
            }
        }
        let wake = self.scheduler.next_deadline().map(|deadline| deadline.0.max(self.now));
        if let Some(wake) = wake.filter(|wake| self.leader_wake.is_none_or(|standing| *wake < standing)) {
            self.leader_wake = Some(wake);
            self.at(wake, Happening::LeaderWakes);
        }
        Ok(())
    }

    fn tell_worker(&mut self, index: usize, event: SessionEvent) -> anyhow::Result<()> {
        let mut effects = SessionEffects::new();
        self.workers[index].session.step(Timestamp(self.now), event, &mut effects);
        for effect in effects.drain() {
            self.carry_out_at_worker(index, effect)?;
        }
        let worker = &mut self.workers[index];
        let wake = worker.session.next_deadline().map(|deadline| deadline.0.max(self.now));
        if let Some(wake) = wake.filter(|wake| worker.wake.is_none_or(|standing| *wake < standing)) {
            worker.wake = Some(wake);
            self.at(wake, Happening::WorkerWakes(index));
        }
        Ok(())
    }

    fn carry_out_at_worker(&mut self, index: usize, effect: SessionEffect) -> anyhow::Result<()> {
        let soon = self.now + MESSAGE;
        match effect {
            SessionEffect::Send(_, message) => {
                let event = Event::MessageReceived { stream: StreamId(index as u64), message };
                self.at(soon, Happening::Leader(Box::new(event)));
            }
            SessionEffect::Connect { not_before } => {
                let event = SessionEvent::Connected(CONNECTION);
                self.at(not_before.0, Happening::Worker(index, Box::new(event)));
            }
            SessionEffect::Probe(map_run) => {
                let event = SessionEvent::Probed { map_run, probe: Ok(self.source.probe.clone()) };
                self.at(soon, Happening::Worker(index, Box::new(event)));
            }
            SessionEffect::Scan(order) => {
                let scan = Ok(self.source.scan(&order));
                let event = SessionEvent::Scanned { map_run: order.map_run, shard: order.shard, scan };
                self.at(soon, Happening::Worker(index, Box::new(event)));
            }
            SessionEffect::OpenLease(grant) => drop(self.workers[index].grants.insert(grant.lease, grant)),
            SessionEffect::BeginBatch { lease, batch } => {
                self.at(self.now + CALL, Happening::HandlerReturns(index, lease, batch));
            }
            SessionEffect::StoreParts { lease, number, .. } => {
                let event = SessionEvent::PartsStored { lease, number, parts: StoredParts::default() };
                self.at(self.now, Happening::Worker(index, Box::new(event)));
            }
            SessionEffect::CloseLease(lease) => drop(self.workers[index].grants.remove(&lease)),
            SessionEffect::OpenRun(_) | SessionEffect::CloseRun(_) | SessionEffect::DropBatches { .. } => {}
            unexpected => bail!("worker {index} asks for {unexpected:?}"),
        }
        Ok(())
    }

    fn handler_returns(&mut self, index: usize, lease: LeaseId, batch: BatchOrdinal) -> anyhow::Result<()> {
        // A batch that was given back meanwhile is nobody's.
        let Some(grant) = self.workers[index].grants.get(&lease) else { return Ok(()) };
        let finished = FinishedBatch {
            lease,
            batch,
            call: CallOutcome::Answered,
            first_item: batch.0 * BATCH,
            item_count: BATCH,
            bytes: self.source.batch(grant.shard.range.start, batch.0),
            failed: Vec::new(),
            undecided: RangeSet::new(),
            retriers: Vec::new(),
            handler_time: Duration::from_micros(CALL),
            buffered_bytes: 0,
        };
        self.tell_worker(index, SessionEvent::BatchFinished(finished))
    }
}

impl Worker {
    fn new(number: u32, slots: u32) -> anyhow::Result<Self> {
        let identity = WorkerIdentity {
            worker: WorkerId::new(&format!("w{number}"))?,
            incarnation: Incarnation(u128::from(number) + 1),
            dead_incarnation: None,
            version: "scale".to_owned(),
            slots,
            handlers: vec![WorkerHandler { name: HandlerName::new("h")?, unavailable: None }],
            cache_bytes: 0,
        };
        let session = SessionState::new(identity, SessionSettings::default(), u64::from(number));
        Ok(Self { session, wake: None, grants: BTreeMap::new() })
    }
}

fn reading(now: u64) -> Now {
    Now { at: Timestamp(now), wall: WallTime((now / 1_000) as i64) }
}

fn spec() -> anyhow::Result<MapRunSpec> {
    Ok(MapRunSpec {
        item_batcher: ItemBatcher { configured: true, max_items_per_batch: BATCH, ..ItemBatcher::default() },
        ..MapRunSpec::new(ItemReader::of_object("b", "k", InputForm::default()), HandlerName::new("h")?)
    })
}
