//! The task that owns the session's state: feeds events and time in, carries effects out.
//!
//! It waits for its next event or deadline and for nothing else. What an effect asks for is either done on the spot or
//! begun in a task of its own; a queue that is full is never waited for.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, debug, error, info, warn};
use warifu_common::model::protocol::{CoordinatorMessage, Grant, RunFault, ScanOrder, WorkerMessage};
use warifu_common::model::{HandlerName, LeaseId, MapRunId, RangeSet, ReportNumber, Timestamp, WorkerId};
use warifu_common::object_store::ObjectStore;
use warifu_session::{
    ConnectionId, FinishedBatch, SessionEffect, SessionEffects, SessionEvent, SessionState,
};

use crate::clock::Clock;
use crate::compensation;
use crate::connection::{self, Coordinators};
use crate::events::{EndedBatch, EventSender, Outbox, ShellEvent};
use crate::handler::Handler;
use crate::leases::Leases;
use crate::metrics::WorkerMetrics;
use crate::result_writer::{PartsOrder, store_parts};
use crate::run::OpenRun;
use crate::scanner::Scanner;
use crate::source::Sources;
use crate::staging::Stager;

/// A timer runs on a clock that stops while the machine is suspended: it is never trusted for longer than this.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

/// Events that are taken at once; more wait.
const EVENTS_AT_ONCE: usize = 64;

/// Reports whose parts are uploaded at once; the others wait.
const UPLOADS_AT_ONCE: usize = 2;

/// How long the last messages may take to leave.
const FAREWELL_PATIENCE: Duration = Duration::from_secs(3);

/// What the session needs from the outside.
pub(crate) struct SessionParts {
    pub(crate) worker: WorkerId,
    pub(crate) state: SessionState,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) coordinators: Arc<Coordinators>,
    pub(crate) handlers: BTreeMap<HandlerName, Arc<dyn Handler>>,
    pub(crate) metrics: Arc<WorkerMetrics>,
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) cache_bytes: u64,
    pub(crate) drain_timeout: Duration,
}

/// The session's task.
pub(crate) struct Session {
    parts: SessionParts,
    effects: SessionEffects,
    /// Calls that ended, until the state takes them together.
    finished_batches: Vec<FinishedBatch>,
    events: EventSender,
    incoming: mpsc::Receiver<ShellEvent>,
    stream: Option<Stream>,
    next_connection: u64,
    sources: Sources,
    scanner: Scanner,
    stager: Stager,
    runs: HashMap<MapRunId, Arc<OpenRun>>,
    leases: Leases,
    uploads: Arc<Semaphore>,
    finished: bool,
}

struct Stream {
    id: ConnectionId,
    /// Absent until the connection stands.
    outbox: Option<Outbox>,
    task: JoinHandle<()>,
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Session {
    pub(crate) fn new(parts: SessionParts) -> Self {
        let (events, incoming) = mpsc::channel(crate::events::MAX_WAITING_EVENTS);
        let sources = Sources::new(Arc::clone(&parts.store), parts.cache_bytes);
        Self {
            effects: SessionEffects::new(),
            finished_batches: Vec::new(),
            incoming,
            stream: None,
            next_connection: 1,
            scanner: Scanner::start(sources.clone(), events.clone()),
            stager: Stager::new(Arc::clone(&parts.store), events.clone(), parts.handlers.clone()),
            runs: HashMap::new(),
            leases: Leases::new(sources.clone(), events.clone()),
            uploads: Arc::new(Semaphore::new(UPLOADS_AT_ONCE)),
            finished: false,
            sources,
            events,
            parts,
        }
    }

    /// Runs until it is drained; `drain` begins that.
    pub(crate) async fn run(mut self, drain: CancellationToken) {
        let mut draining = false;
        let mut events = Vec::with_capacity(EVENTS_AT_ONCE);
        while !self.finished {
            let sleep = self.until_deadline();
            // Every arm is cancel-safe: a channel, a timer, a token.
            tokio::select! {
                _ = self.incoming.recv_many(&mut events, EVENTS_AT_ONCE) => self.on_events(&mut events),
                () = tokio::time::sleep(sleep) => self.step_if_due(),
                () = drain.cancelled(), if !draining => {
                    draining = true;
                    info!("draining: nothing new is taken, what runs may finish");
                    let deadline = self.now() + self.parts.drain_timeout;
                    self.step(SessionEvent::DrainRequested { deadline });
                }
            }
        }
        self.say_farewell().await;
    }

    fn now(&self) -> Timestamp {
        self.parts.clock.now()
    }

    fn until_deadline(&self) -> Duration {
        let deadline = self.parts.state.next_deadline().unwrap_or(Timestamp::NEVER);
        deadline.since(self.now()).min(LONGEST_SLEEP)
    }

    fn step_if_due(&mut self) {
        if self.parts.state.next_deadline().is_some_and(|deadline| deadline <= self.now()) {
            self.step(SessionEvent::DeadlineReached);
        }
    }

    /// Takes what happened, in its order; calls that ended one after the other are taken together.
    fn on_events(&mut self, events: &mut Vec<ShellEvent>) {
        for event in events.drain(..) {
            if !matches!(event, ShellEvent::BatchEnded(_)) {
                self.finish_batches();
            }
            self.on_event(event);
        }
        self.finish_batches();
    }

    fn on_event(&mut self, event: ShellEvent) {
        match event {
            ShellEvent::Session(event) => self.step(event),
            ShellEvent::Opened(id, outbox) => self.on_opened(id, outbox),
            ShellEvent::BatchEnded(ended) => self.on_batch_ended(*ended),
            ShellEvent::LeaseFailed(lease, fault) => self.on_lease_failed(lease, fault),
            ShellEvent::PartsFailed(lease, number, fault) => {
                // In this order: the batches must not be leased once more before the run stops.
                self.on_lease_failed(lease, fault);
                self.step(SessionEvent::PartsFailed { lease, number });
            }
        }
    }

    fn step(&mut self, event: SessionEvent) {
        if let SessionEvent::Received(_, CoordinatorMessage::ReportAnswer { lease, verdict, .. }) = &event {
            self.leases.report_answered(*lease, verdict);
        }
        let now = self.now();
        self.parts.state.step(now, event, &mut self.effects);
        self.carry_out_all();
    }

    fn carry_out_all(&mut self) {
        let mut effects = std::mem::take(&mut self.effects);
        effects.drain().for_each(|effect| self.carry_out(effect));
        self.parts.metrics.set_running(self.leases.running_batches());
    }

    fn carry_out(&mut self, effect: SessionEffect) {
        match effect {
            SessionEffect::Send(id, message) => self.send(id, message),
            SessionEffect::Disconnect(id) => {
                warn!("the coordinator does not answer, or its term is over: the stream is given up");
                self.disconnect(id);
            }
            SessionEffect::Connect { not_before } => self.connect(not_before),
            SessionEffect::OpenRun(context) => {
                let run = OpenRun::new(context, self.parts.worker.clone());
                self.runs.insert(run.context.map_run.clone(), Arc::new(run));
            }
            SessionEffect::CloseRun(map_run) => self.close_run(&map_run),
            SessionEffect::Probe(map_run) => self.probe(&map_run),
            SessionEffect::Stage(map_run) => self.stage(&map_run),
            SessionEffect::Scan(order) => self.scan(order),
            SessionEffect::OpenLease(grant) => self.open_lease(grant),
            SessionEffect::BeginBatch { lease, batch } => self.leases.begin(lease, batch),
            SessionEffect::CancelBatch { lease, batch } => self.leases.cancel(lease, batch),
            SessionEffect::StoreParts { lease, number, batches } => self.store_parts(lease, number, &batches),
            SessionEffect::DropBatches { lease, batches } => self.leases.drop_batches(lease, &batches),
            SessionEffect::CloseLease(lease) => self.leases.close(lease),
            SessionEffect::Finished => self.finished = true,
            SessionEffect::Refused => {
                error!(worker_id = %self.parts.worker, "another process uses this worker's id; give each its own");
            }
        }
    }

    fn connect(&mut self, not_before: Timestamp) {
        let id = ConnectionId(self.next_connection);
        self.next_connection += 1;
        let delay = not_before.since(self.now());
        let serving = connection::serve(id, Arc::clone(&self.parts.coordinators), delay, self.events.clone());
        self.stream = Some(Stream { id, outbox: None, task: tokio::spawn(serving) });
    }

    fn on_opened(&mut self, id: ConnectionId, outbox: Outbox) {
        if let Some(stream) = self.stream.as_mut().filter(|stream| stream.id == id) {
            stream.outbox = Some(outbox);
            self.step(SessionEvent::Connected(id));
        }
    }

    fn send(&mut self, id: ConnectionId, message: WorkerMessage) {
        let Some(stream) = self.stream.as_mut().filter(|stream| stream.id == id) else { return };
        let Some(outbox) = &stream.outbox else { return };
        if let WorkerMessage::Report(report) = &message {
            self.leases.report_sent(report.lease, report.number);
        }
        if let Err(mpsc::error::TrySendError::Full(_)) = outbox.try_send(message) {
            warn!("the coordinator does not take messages, the stream is given up");
            self.disconnect(id);
            self.begin_disconnected(id);
        }
    }

    /// Tells the state about a stream that the shell gave up, after the effects at hand are carried out.
    fn begin_disconnected(&self, id: ConnectionId) {
        let events = self.events.clone();
        tokio::spawn(async move {
            // The session is gone only if the worker ends.
            let _ = events.send(ShellEvent::Session(SessionEvent::Disconnected(id))).await;
        });
    }

    fn disconnect(&mut self, id: ConnectionId) {
        if self.stream.as_ref().is_some_and(|stream| stream.id == id) {
            self.stream = None;
        }
    }

    fn close_run(&mut self, map_run: &MapRunId) {
        self.stager.forget(map_run);
        if let Some(run) = self.runs.remove(map_run) {
            self.sources.forget(&run.object);
        }
    }

    fn probe(&self, map_run: &MapRunId) {
        match self.runs.get(map_run) {
            Some(run) => self.scanner.probe(Arc::clone(run)),
            None => warn!(map_run_id = %map_run, "asked to probe for a run that was never opened here"),
        }
    }

    fn stage(&mut self, map_run: &MapRunId) {
        match self.runs.get(map_run) {
            Some(run) => self.stager.stage(Arc::clone(run)),
            None => warn!(map_run_id = %map_run, "asked to stage for a run that was never opened here"),
        }
    }

    fn scan(&self, order: ScanOrder) {
        match self.runs.get(&order.map_run) {
            Some(run) => self.scanner.scan(Arc::clone(run), order),
            None => warn!(map_run_id = %order.map_run, "asked to scan for a run that was never opened here"),
        }
    }

    fn open_lease(&mut self, grant: Arc<Grant>) {
        let Some(run) = self.runs.get(&grant.map_run) else {
            return warn!(map_run_id = %grant.map_run, "granted a lease of a run that was never opened here");
        };
        debug!(lease_id = %grant.lease, map_run_id = %grant.map_run, batches = grant.batches.len(), "lease granted");
        let name = compensation::handler_of(&run.context, grant.compensation.is_some());
        let handler = self.parts.handlers.get(name).cloned();
        self.leases.open(Arc::clone(run), handler, grant);
    }

    fn on_batch_ended(&mut self, mut ended: EndedBatch) {
        let lease = ended.finished.lease;
        if let Some(fault) = ended.fault.take() {
            self.see_fault(lease, fault);
        }
        if let Some(finished) = self.leases.ended(ended) {
            if let Some(handler) = self.leases.handler_of(lease) {
                self.parts.metrics.note_batch(handler, &finished);
            }
            self.finished_batches.push(finished);
        }
    }

    fn finish_batches(&mut self) {
        if self.finished_batches.is_empty() {
            return;
        }
        let now = self.now();
        self.parts.state.finish_batches(now, self.finished_batches.drain(..), &mut self.effects);
        self.carry_out_all();
    }

    fn on_lease_failed(&mut self, lease: LeaseId, fault: RunFault) {
        warn!(lease_id = %lease, error = fault.error, cause = fault.cause, "a lease cannot go on, the run ends");
        self.see_fault(lease, fault);
    }

    fn see_fault(&mut self, lease: LeaseId, fault: RunFault) {
        if let Some((map_run, redrive)) = self.leases.run_and_redrive(lease) {
            self.step(SessionEvent::FaultSeen { map_run, redrive, fault });
        }
    }

    fn store_parts(&mut self, lease: LeaseId, number: ReportNumber, batches: &RangeSet) {
        let Some((run, lines)) = self.leases.lines_of(lease, batches) else { return };
        let order = PartsOrder { run, lease, number, lines };
        let (store, uploads, events) =
            (Arc::clone(&self.parts.store), Arc::clone(&self.uploads), self.events.clone());
        let span = self.leases.report_span(lease, number);
        tokio::spawn(async move {
            let permit = uploads.acquire_owned().await;
            let event = match store_parts(store, order).instrument(span).await {
                Ok(parts) => ShellEvent::Session(SessionEvent::PartsStored { lease, number, parts }),
                Err(fault) => ShellEvent::PartsFailed(lease, number, fault),
            };
            drop(permit);
            // The session is gone only if the worker ends.
            let _ = events.send(event).await;
        });
    }

    /// Lets the last messages leave: the request ends, and the coordinator ends its answer.
    async fn say_farewell(mut self) {
        let Some(mut stream) = self.stream.take() else { return };
        stream.outbox = None;
        // The stream's task tells of its end over the events, which nobody takes any more; they have room for it.
        self.incoming.close();
        if tokio::time::timeout(FAREWELL_PATIENCE, &mut stream.task).await.is_err() {
            debug!("the coordinator did not end the stream in time");
        }
    }
}
