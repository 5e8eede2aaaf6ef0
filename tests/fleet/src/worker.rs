//! One simulated worker: the shell around the real session. It waits for messages, deadlines and the ends of handler calls,
//! in one task; its stream has a second one.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use warifu_common::model::protocol::{
    CallOutcome, CoordinatorMessage, Grant, RunContext, RunFault, WorkerMessage,
};
use warifu_common::model::{
    BatchOrdinal, HandlerName, Incarnation, LeaseId, MapRunId, RangeSet, Timestamp, WorkerHandler, WorkerId,
};
use warifu_session::{
    ConnectionId, FinishedBatch, SessionEffect, SessionEffects, SessionEvent, SessionSettings, SessionState,
    StoredParts, WorkerIdentity,
};

use crate::FleetPlan;
use crate::connection::{self, Happening};
use crate::ledger::Ledger;

/// Messages that wait for the worker's task; a connection waits while they are too many.
const MAX_WAITING_EVENTS: usize = 64;
/// The longest wait without a look at the session's deadlines.
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// How long the last messages may take to leave.
const FAREWELL_PATIENCE: Duration = Duration::from_secs(10);
/// What still runs when a worker was told to stop may take so long.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(60);

/// A call of the handler: when it returns, and how long it takes.
#[derive(Debug, Clone, Copy)]
struct Call {
    ends_at: Instant,
    takes: Duration,
}

struct Stream {
    id: ConnectionId,
    outbox: Option<mpsc::Sender<WorkerMessage>>,
    task: JoinHandle<()>,
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A worker.
pub(crate) struct SimulatedWorker {
    plan: Arc<FleetPlan>,
    ledger: Arc<Ledger>,
    state: SessionState,
    began_at: Instant,
    events: mpsc::Sender<Happening>,
    incoming: mpsc::Receiver<Happening>,
    /// Events that follow from what is being done.
    soon: VecDeque<SessionEvent>,
    stream: Option<Stream>,
    next_connection: u64,
    contexts: HashMap<MapRunId, Arc<RunContext>>,
    grants: HashMap<LeaseId, Arc<Grant>>,
    calls: BTreeMap<(LeaseId, BatchOrdinal), Call>,
    heartbeats: BTreeMap<u64, Instant>,
    finished: bool,
    /// Held until the first Welcome.
    turn: Option<OwnedSemaphorePermit>,
}

impl SimulatedWorker {
    pub(crate) fn new(number: u32, plan: Arc<FleetPlan>, ledger: Arc<Ledger>) -> Self {
        let identity = WorkerIdentity {
            worker: WorkerId::new(&format!("simulated-{number:05}")).expect("a plain name is an id"),
            incarnation: Incarnation(u128::from(number) + 1),
            dead_incarnation: None,
            version: "simulated".to_owned(),
            slots: plan.slots,
            handlers: vec![WorkerHandler {
                name: HandlerName::new(&plan.handler).expect("the plan names a handler"),
                unavailable: None,
            }],
            cache_bytes: plan.source.csv().len() as u64,
        };
        let settings = SessionSettings { answer_timeout: plan.answer_timeout, ..SessionSettings::default() };
        let (events, incoming) = mpsc::channel(MAX_WAITING_EVENTS);
        Self {
            plan,
            ledger,
            state: SessionState::new(identity, settings, u64::from(number)),
            began_at: Instant::now(),
            events,
            incoming,
            soon: VecDeque::new(),
            stream: None,
            next_connection: 1,
            contexts: HashMap::new(),
            grants: HashMap::new(),
            calls: BTreeMap::new(),
            heartbeats: BTreeMap::new(),
            finished: false,
            turn: None,
        }
    }

    /// Begins when there is room in `door`, and works until `drain` fires and everything is reported.
    pub(crate) async fn run(mut self, door: Arc<Semaphore>, drain: CancellationToken) {
        self.turn = door.acquire_owned().await.ok();
        self.began_at = Instant::now();
        let mut draining = false;
        while !self.finished {
            let wake_at = self.wake_at();
            // Every arm is cancel-safe: a channel with a timer, a token.
            tokio::select! {
                event = timeout_at(wake_at, self.incoming.recv()) => {
                    if let Ok(Some(event)) = event {
                        self.on_event(event);
                    }
                }
                () = drain.cancelled(), if !draining => {
                    draining = true;
                    let deadline = self.now() + DRAIN_TIMEOUT;
                    self.step(SessionEvent::DrainRequested { deadline });
                }
            }
            self.end_calls();
            if self.state.next_deadline().is_some_and(|deadline| deadline <= self.now()) {
                self.step(SessionEvent::DeadlineReached);
            }
        }
        self.say_farewell().await;
    }

    /// Microseconds since the worker began.
    fn now(&self) -> Timestamp {
        Timestamp(u64::try_from(self.began_at.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    fn wake_at(&self) -> Instant {
        let deadline = self.state.next_deadline().unwrap_or(Timestamp::NEVER);
        let session = Instant::now() + deadline.since(self.now()).min(LONGEST_WAIT);
        self.calls.values().map(|call| call.ends_at).fold(session, Instant::min)
    }

    fn on_event(&mut self, event: Happening) {
        match event {
            Happening::Opened(id, outbox) => {
                if let Some(stream) = self.stream.as_mut().filter(|stream| stream.id == id) {
                    stream.outbox = Some(outbox);
                    self.step(SessionEvent::Connected(id));
                }
            }
            Happening::Session(event) => {
                self.note(&event);
                self.step(event);
            }
        }
    }

    fn note(&mut self, event: &SessionEvent) {
        match event {
            SessionEvent::Received(_, CoordinatorMessage::Welcome(_)) => {
                self.turn = None;
                self.ledger.welcome_heard();
            }
            SessionEvent::Received(_, CoordinatorMessage::HeartbeatAck { nonce }) => {
                if let Some(sent_at) = self.heartbeats.remove(nonce) {
                    self.ledger.heartbeat_answered(sent_at.elapsed());
                }
            }
            _ => {}
        }
    }

    /// Steps, and steps on with what follows at once.
    fn step(&mut self, event: SessionEvent) {
        self.soon.push_back(event);
        while let Some(event) = self.soon.pop_front() {
            let mut effects = SessionEffects::new();
            self.state.step(self.now(), event, &mut effects);
            effects.drain().for_each(|effect| self.carry_out(effect));
        }
    }

    /// What is read or stored is there at once, which the session hears after the effects at hand.
    fn carry_out(&mut self, effect: SessionEffect) {
        match effect {
            SessionEffect::Send(id, message) => self.send(id, message),
            SessionEffect::Disconnect(id) => {
                self.ledger.connection_given_up();
                self.stream.take_if(|stream| stream.id == id);
            }
            SessionEffect::Connect { not_before } => self.connect(not_before),
            SessionEffect::OpenRun(context) => drop(self.contexts.insert(context.map_run.clone(), context)),
            SessionEffect::CloseRun(map_run) => drop(self.contexts.remove(&map_run)),
            SessionEffect::Probe(map_run) => {
                let probe = self.in_context(&map_run, |plan, context| plan.source.probe(context));
                self.soon.push_back(SessionEvent::Probed { map_run, probe });
            }
            SessionEffect::Stage(map_run) => unreachable!("{map_run} needs no staging"),
            SessionEffect::Scan(order) => {
                let scan = self.in_context(&order.map_run, |plan, context| plan.source.scan(context, &order));
                let (map_run, shard) = (order.map_run, order.shard);
                self.soon.push_back(SessionEvent::Scanned { map_run, shard, scan });
            }
            SessionEffect::OpenLease(grant) => drop(self.grants.insert(grant.lease, grant)),
            SessionEffect::BeginBatch { lease, batch } => self.begin(lease, batch),
            SessionEffect::CancelBatch { lease, batch } => {
                self.ledger.call_cancelled();
                if let Some(call) = self.calls.get_mut(&(lease, batch)) {
                    call.ends_at = Instant::now();
                }
            }
            SessionEffect::StoreParts { lease, number, .. } => {
                let parts = StoredParts::default();
                self.soon.push_back(SessionEvent::PartsStored { lease, number, parts });
            }
            SessionEffect::DropBatches { lease, batches } => self.drop_calls(lease, &batches),
            SessionEffect::CloseLease(lease) => drop(self.grants.remove(&lease)),
            SessionEffect::Finished => self.finished = true,
            SessionEffect::Refused => self.ledger.worker_refused(),
        }
    }

    fn in_context<T>(
        &self,
        map_run: &MapRunId,
        read: impl FnOnce(&FleetPlan, &RunContext) -> Result<T, RunFault>,
    ) -> Result<T, RunFault> {
        let unknown = || RunFault { error: "Fleet.UnknownRun".into(), cause: map_run.to_string() };
        let result = self.contexts.get(map_run).ok_or_else(unknown);
        let result = result.and_then(|context| read(&self.plan, context));
        if result.is_err() {
            self.ledger.fault_seen();
        }
        result
    }

    fn connect(&mut self, not_before: Timestamp) {
        self.ledger.connection_asked();
        let id = ConnectionId(self.next_connection);
        self.next_connection += 1;
        let delay = not_before.since(self.now());
        let serving = connection::serve(id, self.plan.endpoint.clone(), delay, self.events.clone());
        self.stream = Some(Stream { id, outbox: None, task: tokio::spawn(serving) });
    }

    fn send(&mut self, id: ConnectionId, message: WorkerMessage) {
        match &message {
            WorkerMessage::Hello(_) => self.ledger.hello_sent(),
            WorkerMessage::Heartbeat { nonce } => {
                self.heartbeats.insert(*nonce, Instant::now());
                self.ledger.heartbeat_sent();
            }
            _ => {}
        }
        let Some(stream) = self.stream.as_mut().filter(|stream| stream.id == id) else { return };
        let Some(outbox) = &stream.outbox else { return };
        if let Err(mpsc::error::TrySendError::Full(_)) = outbox.try_send(message) {
            // The session hears of it from the connection, which ends when nobody holds its outbox.
            self.ledger.connection_given_up();
            stream.outbox = None;
        }
    }

    fn begin(&mut self, lease: LeaseId, batch: BatchOrdinal) {
        let Some(grant) = self.grants.get(&lease) else { return };
        let number = grant.shard.first_batch + u64::from(batch.0);
        self.ledger.call_begins(number);
        let takes = self.plan.least_batch_time + self.plan.batch_time_spread.mul_f64(fraction_of(number));
        self.calls.insert((lease, batch), Call { ends_at: Instant::now() + takes, takes });
    }

    fn end_calls(&mut self) {
        let now = Instant::now();
        let due: Vec<_> =
            self.calls.iter().filter(|(_, call)| call.ends_at <= now).map(|(id, _)| *id).collect();
        for (lease, batch) in due {
            let Some(call) = self.calls.remove(&(lease, batch)) else { continue };
            self.ledger.call_ended();
            let Some(grant) = self.grants.get(&lease) else { continue };
            let finished = FinishedBatch {
                lease,
                batch,
                call: CallOutcome::Answered,
                first_item: batch.0,
                item_count: 1,
                bytes: self.plan.source.record_range(grant.shard.first_item + u64::from(batch.0)),
                failed: Vec::new(),
                undecided: RangeSet::new(),
                retriers: Vec::new(),
                handler_time: call.takes,
                buffered_bytes: 0,
            };
            self.step(SessionEvent::BatchFinished(finished));
        }
    }

    fn drop_calls(&mut self, lease: LeaseId, batches: &RangeSet) {
        for batch in batches.iter() {
            if self.calls.remove(&(lease, BatchOrdinal(batch))).is_some() {
                self.ledger.call_cancelled();
                self.ledger.call_ended();
            }
        }
    }

    /// Lets the last messages leave: the request ends, and the coordinator ends its answer.
    async fn say_farewell(mut self) {
        let Some(mut stream) = self.stream.take() else { return };
        stream.outbox = None;
        self.incoming.close();
        // One that does not end is given up; whether it should have ended shows at the coordinator.
        _ = timeout(FAREWELL_PATIENCE, &mut stream.task).await;
    }
}

/// A number in [0, 1) that looks random and depends on the batch alone (the finalizer of SplitMix64).
fn fraction_of(batch: u64) -> f64 {
    let mut mixed = batch.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed ^ (mixed >> 31)) as f64 / u64::MAX as f64
}
