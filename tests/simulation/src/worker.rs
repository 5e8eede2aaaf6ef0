//! Workers: real session states over simulated handlers, readers and result writers.

use std::collections::BTreeMap;
use std::sync::Arc;

use warifu_model::protocol::{CallOutcome, Grant, GrantedBatch, RunFault};
use warifu_model::{
    BatchOrdinal, FailureCounts, HandlerName, Incarnation, LeaseId, MapRunId, PartRef, RangeSet,
    ReportNumber, WorkerHandler, WorkerId,
};
use warifu_scheduler::StreamId;
use warifu_session::{
    ConnectionId, FinishedBatch, SessionEffect, SessionEffects, SessionEvent, SessionSettings, SessionState,
    StoredParts, WorkerIdentity,
};

use crate::leader::Clock;
use crate::world::{Happening, Instant, MS, SECOND, Stream, World};

/// One worker: a process that comes and goes.
pub(crate) struct SimWorker {
    pub(crate) life: u64,
    pub(crate) session: Option<SessionState>,
    pub(crate) incarnation: Incarnation,
    pub(crate) paused_until: Instant,
    pub(crate) unreachable_until: Instant,
    pub(crate) clock: Clock,
    wake: Option<Instant>,
    next_connection: u64,
    grants: BTreeMap<LeaseId, Arc<Grant>>,
    contexts: BTreeMap<MapRunId, Arc<warifu_model::protocol::RunContext>>,
    /// Handler calls in progress.
    pub(crate) calls: BTreeMap<(LeaseId, u32), Call>,
    outcomes: BTreeMap<(LeaseId, u32), FinishedBatch>,
}

/// A handler call in progress.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    number: u64,
    cancelled: bool,
    pub(crate) map_run: MapRunId,
    pub(crate) shard: u32,
}

impl SimWorker {
    pub(crate) fn dead() -> Self {
        Self {
            life: 0,
            session: None,
            incarnation: Incarnation(0),
            paused_until: 0,
            unreachable_until: 0,
            clock: Clock::new(1_000_000, 0),
            wake: None,
            next_connection: 0,
            grants: BTreeMap::new(),
            contexts: BTreeMap::new(),
            calls: BTreeMap::new(),
            outcomes: BTreeMap::new(),
        }
    }

    /// True while what it runs counts as its own.
    pub(crate) fn is_valid(&self, now: Instant) -> bool {
        self.session.as_ref().is_some_and(|session| session.is_valid(self.clock.read(now)))
    }
}

/// The one handler of this world.
pub(crate) fn handler() -> HandlerName {
    HandlerName::new("h").expect("a letter is a valid name")
}

impl World {
    pub(crate) fn worker_starts(&mut self, index: usize) -> Result<(), String> {
        if self.workers[index].session.is_some() {
            return Ok(());
        }
        let clock = self.new_clock();
        let incarnation = Incarnation(u128::from(self.random.next()));
        let proves_death = self.random.chance(50) && self.workers[index].incarnation.0 != 0;
        let identity = WorkerIdentity {
            worker: WorkerId::new(&format!("w{index}")).expect("a plain name is a valid id"),
            incarnation,
            dead_incarnation: proves_death.then_some(self.workers[index].incarnation),
            version: "sim".to_owned(),
            slots: self.plan.slots,
            handlers: self.handlers_of(index),
            cache_bytes: 0,
        };
        let settings =
            SessionSettings { broken: self.plan.broken_session_rule, ..SessionSettings::default() };
        let session = SessionState::new(identity, settings, self.random.next());
        let life = self.workers[index].life + 1;
        self.workers[index] =
            SimWorker { life, session: Some(session), incarnation, clock, ..SimWorker::dead() };
        self.tell_worker(index, life, SessionEvent::DeadlineReached)
    }

    fn handlers_of(&self, index: usize) -> Vec<WorkerHandler> {
        let undo = (index < self.plan.undoing_workers).then(crate::compensation::undo);
        let names = [handler()].into_iter().chain(undo);
        names.map(|name| WorkerHandler { name, unavailable: None }).collect()
    }

    /// The process is gone at once, with everything that it ran.
    pub(crate) fn kill_worker(&mut self, index: usize) {
        let worker = &mut self.workers[index];
        if worker.session.take().is_none() {
            return;
        }
        self.oracle.statistics.losses += u64::from(!worker.calls.is_empty());
        worker.calls.clear();
        let life = worker.life;
        let of_worker = |stream: &Stream| stream.worker == index && stream.life == life;
        let streams: Vec<StreamId> =
            self.streams.iter().filter(|(_, s)| of_worker(s)).map(|(id, _)| *id).collect();
        for stream in streams {
            self.cut(stream, SECOND);
        }
        let delay = self.random.between(10 * MS, 40 * SECOND);
        self.after(delay, Happening::WorkerStarts(index));
    }

    pub(crate) fn tell_worker(&mut self, index: usize, life: u64, event: SessionEvent) -> Result<(), String> {
        let worker = &mut self.workers[index];
        let Some(session) = worker.session.as_mut().filter(|_| worker.life == life) else { return Ok(()) };
        if worker.paused_until > self.now {
            let resumes = worker.paused_until;
            self.at(resumes, Happening::ToWorker(index, life, event));
            return Ok(());
        }
        let now = worker.clock.read(self.now);
        let mut effects = SessionEffects::new();
        session.step(now, event, &mut effects);
        self.carry_out_at_worker(index, effects)
    }

    pub(crate) fn worker_wakes(&mut self, index: usize, life: u64) -> Result<(), String> {
        if self.workers[index].life == life && self.workers[index].wake.is_some_and(|wake| wake <= self.now) {
            self.workers[index].wake = None;
            return self.tell_worker(index, life, SessionEvent::DeadlineReached);
        }
        Ok(())
    }

    fn carry_out_at_worker(&mut self, index: usize, mut effects: SessionEffects) -> Result<(), String> {
        let life = self.workers[index].life;
        for effect in effects.drain() {
            self.note(|| format!("worker {index}: {effect:?}"));
            match effect {
                SessionEffect::Send(connection, message) => {
                    if let Some(stream) = self.stream_of(index, life, connection) {
                        self.send_to_leader(stream, message);
                    }
                }
                SessionEffect::Disconnect(connection) => {
                    if let Some(stream) = self.stream_of(index, life, connection) {
                        self.cut(stream, 100 * MS);
                    }
                }
                SessionEffect::Connect { not_before } => {
                    let at = self.workers[index].clock.when(not_before);
                    self.at(at, Happening::Connect(index, life));
                }
                SessionEffect::OpenRun(context) => {
                    self.workers[index].contexts.insert(context.map_run.clone(), context);
                }
                SessionEffect::CloseRun(_) | SessionEffect::Refused => {}
                SessionEffect::Probe(map_run) => self.probe(index, life, map_run),
                SessionEffect::Scan(order) => self.scan(index, life, &order),
                SessionEffect::Stage(map_run) => return Err(format!("{map_run} needs no staging")),
                SessionEffect::OpenLease(grant) => {
                    self.workers[index].grants.insert(grant.lease, grant);
                }
                SessionEffect::BeginBatch { lease, batch } => self.begin_batch(index, lease, batch)?,
                SessionEffect::CancelBatch { lease, batch } => self.cancel_batch(index, lease, batch),
                SessionEffect::StoreParts { lease, number, batches } => {
                    self.store_parts(index, lease, number, &batches)?;
                }
                SessionEffect::DropBatches { lease, batches } => {
                    for batch in batches.iter() {
                        self.workers[index].calls.remove(&(lease, batch));
                        self.workers[index].outcomes.remove(&(lease, batch));
                    }
                }
                SessionEffect::CloseLease(lease) => {
                    self.workers[index].grants.remove(&lease);
                }
                SessionEffect::Finished => self.worker_leaves(index),
            }
        }
        self.wake_worker(index);
        Ok(())
    }

    fn worker_leaves(&mut self, index: usize) {
        self.workers[index].session = None;
        let delay = self.random.between(SECOND, 20 * SECOND);
        self.after(delay, Happening::WorkerStarts(index));
    }

    fn wake_worker(&mut self, index: usize) {
        let worker = &mut self.workers[index];
        let Some(deadline) = worker.session.as_ref().and_then(SessionState::next_deadline) else { return };
        let wake = worker.clock.when(deadline).max(self.now);
        if worker.wake.is_none_or(|standing| wake < standing) {
            worker.wake = Some(wake);
            let life = worker.life;
            self.at(wake, Happening::WorkerWakes(index, life));
        }
    }

    fn stream_of(&self, worker: usize, life: u64, connection: ConnectionId) -> Option<StreamId> {
        let same = |stream: &Stream| {
            stream.worker == worker && stream.life == life && stream.connection == connection
        };
        self.streams.iter().rev().find(|(_, stream)| same(stream)).map(|(id, _)| *id)
    }

    /// A worker dials: mostly the leader, sometimes one of the past.
    pub(crate) fn connect(&mut self, index: usize, life: u64) -> Result<(), String> {
        if self.workers[index].life != life || self.workers[index].session.is_none() {
            return Ok(());
        }
        self.workers[index].next_connection += 1;
        let connection = ConnectionId(self.workers[index].next_connection);
        let alive: Vec<usize> =
            (0..self.leaders.len()).filter(|leader| self.leaders[*leader].alive).collect();
        let any = if self.healing { None } else { self.random.pick(&alive).copied() };
        let leader = if self.random.chance(20) { any } else { self.current_leader() };
        let reachable = self.workers[index].unreachable_until <= self.now;
        let Some(leader) = leader.filter(|_| reachable) else {
            let delay = self.random.between(MS, 500 * MS);
            let event = SessionEvent::Disconnected(connection);
            self.after(delay, Happening::ToWorker(index, life, event));
            return Ok(());
        };
        self.next_stream += 1;
        let stream = Stream {
            worker: index,
            life,
            connection,
            leader,
            lost_to_leader_from: Instant::MAX,
            lost_to_worker_from: Instant::MAX,
            last_to_leader: 0,
            last_to_worker: 0,
        };
        self.streams.insert(StreamId(self.next_stream), stream);
        self.tell_worker(index, life, SessionEvent::Connected(connection))
    }

    fn probe(&mut self, index: usize, life: u64, map_run: MapRunId) {
        let Some(run) = self.runs.get(&map_run) else { return };
        let event = SessionEvent::Probed { probe: Ok(run.data.probe.clone()), map_run };
        let delay = self.random.between(MS, 20 * MS);
        self.after(delay, Happening::ToWorker(index, life, event));
    }

    fn scan(&mut self, index: usize, life: u64, order: &warifu_model::protocol::ScanOrder) {
        let Some(run) = self.runs.get(&order.map_run) else { return };
        let scan = run.data.scan(order);
        let event =
            SessionEvent::Scanned { map_run: order.map_run.clone(), shard: order.shard, scan: Ok(scan) };
        let delay = self.random.between(MS, 50 * MS);
        self.after(delay, Happening::ToWorker(index, life, event));
    }

    fn begin_batch(&mut self, index: usize, lease: LeaseId, batch: BatchOrdinal) -> Result<(), String> {
        let Some(grant) = self.workers[index].grants.get(&lease).cloned() else { return Ok(()) };
        let Some(run) = self.runs.get(&grant.map_run).cloned() else { return Ok(()) };
        let granted = granted(&grant, batch);
        self.check_begin(index, &grant, batch)?;
        if grant.compensation.is_some() {
            self.note_try_begun(&grant)?;
        } else {
            self.check_begun_pace(&grant, &granted)?;
        }
        let number = self.random.next();
        let call =
            Call { number, cancelled: false, map_run: grant.map_run.clone(), shard: grant.shard.shard.0 };
        self.workers[index].calls.insert((lease, batch.0), call);
        if run.poison == Some((grant.shard.shard.0, batch.0)) && !granted.give_up {
            self.kill_worker(index);
            return Ok(());
        }
        let delay = if grant.compensation.is_some() && self.random.chance(30) {
            self.random.below(20 * SECOND)
        } else if self.random.chance(5) {
            self.random.below(5 * SECOND)
        } else {
            self.random.between(MS, 300 * MS)
        };
        let life = self.workers[index].life;
        self.after(delay, Happening::HandlerReturns { worker: index, life, lease, batch, call: number });
        Ok(())
    }

    fn cancel_batch(&mut self, index: usize, lease: LeaseId, batch: BatchOrdinal) {
        let life = self.workers[index].life;
        let Some(call) = self.workers[index].calls.get_mut(&(lease, batch.0)) else { return };
        call.cancelled = true;
        let number = call.number;
        self.after(MS, Happening::HandlerReturns { worker: index, life, lease, batch, call: number });
    }

    pub(crate) fn handler_returns(
        &mut self,
        index: usize,
        life: u64,
        lease: LeaseId,
        batch: BatchOrdinal,
        call: u64,
    ) -> Result<(), String> {
        let worker = &self.workers[index];
        if worker.life != life || worker.paused_until > self.now {
            let resumes = worker.paused_until;
            if worker.life == life {
                self.at(resumes, Happening::HandlerReturns { worker: index, life, lease, batch, call });
            }
            return Ok(());
        }
        let Some(running) =
            worker.calls.get(&(lease, batch.0)).filter(|running| running.number == call).cloned()
        else {
            return Ok(());
        };
        let Some(grant) = worker.grants.get(&lease).cloned() else { return Ok(()) };
        self.workers[index].calls.remove(&(lease, batch.0));
        let finished = if grant.compensation.is_some() {
            self.compensation_outcome(&grant, batch, running.cancelled)
        } else {
            self.outcome(&grant, batch, running.cancelled)
        };
        self.workers[index].outcomes.insert((lease, batch.0), finished.clone());
        self.tell_worker(index, life, SessionEvent::BatchFinished(finished))
    }

    fn store_parts(
        &mut self,
        index: usize,
        lease: LeaseId,
        number: ReportNumber,
        batches: &RangeSet,
    ) -> Result<(), String> {
        let Some(grant) = self.workers[index].grants.get(&lease).cloned() else { return Ok(()) };
        let (mut succeeded, mut unsuccessful) = (Vec::new(), Vec::new());
        let mut kinds = FailureCounts::default();
        let of_items = grant.compensation.is_none();
        for batch in batches.iter().filter(|_| of_items) {
            let Some(outcome) = self.workers[index].outcomes.get(&(lease, batch)) else { continue };
            let granted = granted(&grant, BatchOrdinal(batch));
            let sent = granted.items.unwrap_or_else(|| RangeSet::from_range(0..outcome.item_count));
            let first = self.runs[&grant.map_run].data.first_item(grant.shard.shard.0)
                + u64::from(outcome.first_item);
            let mut good = sent;
            good.subtract(&outcome.undecided);
            for group in &outcome.failed {
                if outcome.call != CallOutcome::Aborted {
                    kinds.add(group.failure.kind, group.items.len());
                }
                good.subtract(&group.items);
                unsuccessful.extend(group.items.iter().map(|offset| first + u64::from(offset)));
            }
            succeeded.extend(good.iter().map(|offset| first + u64::from(offset)));
        }
        let report = (lease, number.0);
        self.oracle.failures_of_reports.insert(report, kinds);
        let parts = StoredParts {
            succeeded: self.store_part(&grant.map_run, "SUCCEEDED", report, succeeded)?,
            failed: self.store_part(&grant.map_run, "FAILED", report, unsuccessful)?,
            ..StoredParts::default()
        };
        let life = self.workers[index].life;
        let delay = self.random.between(MS, 100 * MS);
        if !self.healing && self.random.below(10_000) < self.plan.faults.parts_trouble {
            let fault =
                RunFault { error: "States.ResultWriterFailed".to_owned(), cause: "simulated".to_owned() };
            let (map_run, redrive) = (grant.map_run.clone(), grant.redrive);
            let seen = SessionEvent::FaultSeen { map_run, redrive, fault };
            self.after(delay, Happening::ToWorker(index, life, seen));
            self.after(
                delay + 1,
                Happening::ToWorker(index, life, SessionEvent::PartsFailed { lease, number }),
            );
            self.oracle.statistics.failed_parts += 1;
            return Ok(());
        }
        self.after(
            delay,
            Happening::ToWorker(index, life, SessionEvent::PartsStored { lease, number, parts }),
        );
        Ok(())
    }

    fn store_part(
        &mut self,
        run: &MapRunId,
        kind: &str,
        (lease, number): (LeaseId, u32),
        items: Vec<u64>,
    ) -> Result<Option<PartRef>, String> {
        if items.is_empty() {
            return Ok(None);
        }
        let name = format!("{kind}_{lease}-{number}");
        self.oracle.reports_of_parts.insert(name.clone(), (lease, number));
        let part =
            PartRef { name: name.clone(), size_bytes: items.len() as u64, item_count: items.len() as u64 };
        let old = self.oracle.parts.insert((run.clone(), name.clone()), items);
        if old.is_some() {
            return Err(format!("part {name} of {run} was overwritten"));
        }
        Ok(Some(part))
    }
}

pub(crate) fn granted(grant: &Grant, batch: BatchOrdinal) -> GrantedBatch {
    grant.batches.iter().find(|granted| granted.batch == batch).cloned().expect("a batch begun was granted")
}
