//! The simulated world: processes, streams and a queue of what happens next.

use std::cmp::Reverse;
use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BinaryHeap};
use std::hash::{Hash, Hasher};

use warifu_model::protocol::{CoordinatorMessage, WorkerMessage};
use warifu_model::{BatchOrdinal, LeaseId, MapRunId};
use warifu_scheduler::{Commit, CommitOutcome, Event, ManifestOrder, StreamId};
use warifu_session::{ConnectionId, SessionEvent};

use crate::data::DataSet;
use crate::leader::Leader;
use crate::measure::LiveBytes;
use crate::oracle::Oracle;
use crate::plan::Plan;
use crate::random::Random;
use crate::store::Store;
use crate::worker::SimWorker;

/// Microseconds of true time.
pub(crate) type Instant = u64;
pub(crate) const MS: u64 = 1_000;
pub(crate) const SECOND: u64 = 1_000_000;

/// After the last fault everything must have ended within so many steps.
const STEPS_TO_END: u64 = 200_000;

/// Something that happens at a time.
#[derive(Debug, Clone)]
pub(crate) enum Happening {
    ToLeader(usize, Event),
    LeaderWakes(usize),
    ToWorker(usize, u64, SessionEvent),
    WorkerWakes(usize, u64),
    DeliverToLeader(StreamId, WorkerMessage),
    DeliverToWorker(StreamId, CoordinatorMessage),
    Connect(usize, u64),
    CommitArrives(usize, Box<Commit>, Fate),
    HandlerReturns { worker: usize, life: u64, lease: LeaseId, batch: BatchOrdinal, call: u64 },
    ManifestWritten(usize, Box<ManifestOrder>),
    WorkerStarts(usize),
    Elect,
    UserActs,
    FaultStrikes,
}

/// What becomes of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Applied if the term still holds, and answered.
    Plain,
    /// Not applied, and answered so.
    Refused,
    /// Applied if the term still holds, answered as unknown.
    AppliedUnknown,
    /// Never applied, answered as unknown.
    LostUnknown,
    /// Its answer was given; this is the write that arrives late.
    Late,
}

/// A connection between a worker and a leader.
#[derive(Debug, Clone)]
pub(crate) struct Stream {
    pub(crate) worker: usize,
    pub(crate) life: u64,
    pub(crate) connection: ConnectionId,
    pub(crate) leader: usize,
    /// Messages that would arrive from then on are lost.
    pub(crate) lost_to_leader_from: Instant,
    pub(crate) lost_to_worker_from: Instant,
    pub(crate) last_to_leader: Instant,
    pub(crate) last_to_worker: Instant,
}

/// One map run, as its creator knows it.
#[derive(Debug, Clone)]
pub(crate) struct KnownRun {
    pub(crate) data: std::rc::Rc<DataSet>,
    /// Items that fail, of a hundred.
    pub(crate) bad_percent: u64,
    /// Calls that fail or time out as a whole, of a hundred.
    pub(crate) crash_percent: u64,
    /// Tries of a compensation that fail, of a hundred.
    pub(crate) undo_fails_percent: u64,
    /// A batch that kills whoever runs it.
    pub(crate) poison: Option<(u32, u32)>,
}

pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) random: Random,
    pub(crate) now: Instant,
    pub(crate) queue: BinaryHeap<Reverse<(Instant, u64)>>,
    pub(crate) happenings: BTreeMap<u64, Happening>,
    next_happening: u64,
    pub(crate) store: Store,
    pub(crate) leaders: Vec<Leader>,
    pub(crate) workers: Vec<SimWorker>,
    pub(crate) streams: BTreeMap<StreamId, Stream>,
    pub(crate) next_stream: u64,
    pub(crate) next_request: u64,
    pub(crate) next_run: u64,
    pub(crate) runs: BTreeMap<MapRunId, KnownRun>,
    pub(crate) oracle: Oracle,
    pub(crate) healing: bool,
    pub(crate) electing: bool,
    trace: DefaultHasher,
    log: Vec<String>,
}

/// How a simulation ended.
#[derive(Debug)]
pub struct Outcome {
    /// What was violated, if anything.
    pub violation: Option<String>,
    /// A hash over everything that happened.
    pub trace: u64,
    /// The event log, if it was wanted.
    pub log: Vec<String>,
    /// What happened, in numbers.
    pub statistics: Statistics,
    /// What the first run takes in the store at the end.
    pub live: LiveBytes,
}

/// What happened, in numbers: a simulation in which nothing happens proves nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Statistics {
    /// Steps taken.
    pub steps: u64,
    /// Runs that became terminal.
    pub finished_runs: u64,
    /// Batches counted.
    pub counted_batches: u64,
    /// Leaders elected.
    pub leaders: u64,
    /// Leaders that handed over.
    pub resignations: u64,
    /// Leases adopted by a new leader.
    pub adoptions: u64,
    /// Workers that were lost with begun batches.
    pub losses: u64,
    /// Transactions of the store.
    pub commits: u64,
    /// Bytes written to the store.
    pub bytes_written: u64,
    /// Reports refused.
    pub refused_reports: u64,
    /// Reports whose result files could not be written.
    pub failed_parts: u64,
    /// Redrives begun.
    pub redrives: u64,
    /// Error rates that operators were told of.
    pub alerts: u64,
    /// Leases of runs with a rate.
    pub paced_grants: u64,
    /// Times that slots were given below a run's `maxConcurrency`, by a limit that was chosen.
    pub adapted_slots: u64,
    /// The highest of the limits that were chosen and stored.
    pub highest_adapted: u64,
    /// Tries of compensations that were begun.
    pub tries: u64,
    /// Compensations that succeeded.
    pub compensated: u64,
    /// Compensations that failed.
    pub failed_compensations: u64,
    /// Compensations that nobody took.
    pub not_compensated: u64,
}

impl Statistics {
    /// Adds the numbers of another world.
    pub fn add(&mut self, other: &Statistics) {
        self.steps += other.steps;
        self.finished_runs += other.finished_runs;
        self.counted_batches += other.counted_batches;
        self.leaders += other.leaders;
        self.resignations += other.resignations;
        self.adoptions += other.adoptions;
        self.losses += other.losses;
        self.commits += other.commits;
        self.bytes_written += other.bytes_written;
        self.refused_reports += other.refused_reports;
        self.failed_parts += other.failed_parts;
        self.redrives += other.redrives;
        self.alerts += other.alerts;
        self.paced_grants += other.paced_grants;
        self.adapted_slots += other.adapted_slots;
        self.highest_adapted = self.highest_adapted.max(other.highest_adapted);
        self.tries += other.tries;
        self.compensated += other.compensated;
        self.failed_compensations += other.failed_compensations;
        self.not_compensated += other.not_compensated;
    }
}

/// Runs one world to its end.
pub fn run(plan: &Plan) -> Outcome {
    let mut world = World::new(plan.clone());
    let result = world.run_to_end();
    let mut statistics = world.oracle.statistics;
    statistics.commits = world.store.commits;
    statistics.bytes_written = world.store.bytes_written;
    let live = world.store.runs.values().next().map(LiveBytes::of).unwrap_or_default();
    Outcome { violation: result.err(), trace: world.trace.finish(), log: world.log, statistics, live }
}

impl World {
    fn new(plan: Plan) -> Self {
        let mut world = Self {
            random: Random::new(plan.seed),
            now: 0,
            queue: BinaryHeap::new(),
            happenings: BTreeMap::new(),
            next_happening: 0,
            store: Store::default(),
            leaders: Vec::new(),
            workers: Vec::new(),
            streams: BTreeMap::new(),
            next_stream: 0,
            next_request: 0,
            next_run: 0,
            runs: BTreeMap::new(),
            oracle: Oracle::default(),
            healing: false,
            electing: true,
            trace: DefaultHasher::new(),
            log: Vec::new(),
            plan,
        };
        world.at(0, Happening::Elect);
        for worker in 0..world.plan.workers {
            world.workers.push(SimWorker::dead());
            world.at(worker as u64 * MS, Happening::WorkerStarts(worker));
        }
        world.at(10 * MS, Happening::UserActs);
        world.at(SECOND, Happening::FaultStrikes);
        world
    }

    fn run_to_end(&mut self) -> Result<(), String> {
        for _ in 0..self.plan.steps {
            self.step()?;
        }
        self.heal();
        for _ in 0..STEPS_TO_END {
            if self.everything_ended() {
                return self.check_end();
            }
            self.step()?;
        }
        Err(format!("stuck: {}", self.unfinished()))
    }

    /// Puts something into the future.
    pub(crate) fn at(&mut self, time: Instant, happening: Happening) {
        self.next_happening += 1;
        self.happenings.insert(self.next_happening, happening);
        self.queue.push(Reverse((time.max(self.now), self.next_happening)));
    }

    pub(crate) fn after(&mut self, delay: Instant, happening: Happening) {
        self.at(self.now + delay, happening);
    }

    fn step(&mut self) -> Result<(), String> {
        let Some(Reverse((time, id))) = self.queue.pop() else {
            return Err("nothing happens any more".to_owned());
        };
        self.now = time;
        let Some(happening) = self.happenings.remove(&id) else { return Ok(()) };
        (time, std::mem::discriminant(&happening)).hash(&mut self.trace);
        if self.plan.log {
            self.log.push(format!("{:>12} {happening:?}", self.now));
        }
        self.oracle.statistics.steps += 1;
        self.happen(happening)
    }

    fn happen(&mut self, happening: Happening) -> Result<(), String> {
        match happening {
            Happening::ToLeader(leader, event) => self.tell_leader(leader, event),
            Happening::LeaderWakes(leader) => self.leader_wakes(leader),
            Happening::ToWorker(worker, life, event) => self.tell_worker(worker, life, event),
            Happening::WorkerWakes(worker, life) => self.worker_wakes(worker, life),
            Happening::DeliverToLeader(stream, message) => self.deliver_to_leader(stream, message),
            Happening::DeliverToWorker(stream, message) => self.deliver_to_worker(stream, message),
            Happening::Connect(worker, life) => self.connect(worker, life),
            Happening::CommitArrives(leader, commit, fate) => self.commit_arrives(leader, &commit, fate),
            Happening::HandlerReturns { worker, life, lease, batch, call } => {
                self.handler_returns(worker, life, lease, batch, call)
            }
            Happening::ManifestWritten(leader, order) => self.manifest_written(leader, &order),
            Happening::WorkerStarts(worker) => self.worker_starts(worker),
            Happening::Elect => self.elect(),
            Happening::UserActs => self.user_acts(),
            Happening::FaultStrikes => {
                self.fault_strikes();
                Ok(())
            }
        }
    }

    pub(crate) fn note(&mut self, text: impl FnOnce() -> String) {
        if self.plan.log {
            let text = text();
            self.log.push(format!("{:>12}   {text}", self.now));
        }
    }

    /// How long a message takes.
    pub(crate) fn delay(&mut self) -> Instant {
        let slow = self.plan.faults.slow_network && !self.healing;
        if slow && self.random.chance(10) {
            self.random.between(MS, 3 * SECOND)
        } else {
            self.random.between(50, 2 * MS)
        }
    }

    pub(crate) fn send_to_leader(&mut self, id: StreamId, message: WorkerMessage) {
        let delay = self.delay();
        let now = self.now;
        let Some(stream) = self.streams.get_mut(&id) else { return };
        let time = stream.last_to_leader.max(now + delay);
        stream.last_to_leader = time;
        self.at(time, Happening::DeliverToLeader(id, message));
    }

    pub(crate) fn send_to_worker(&mut self, id: StreamId, message: CoordinatorMessage) {
        let delay = self.delay();
        let now = self.now;
        let Some(stream) = self.streams.get_mut(&id) else { return };
        let time = stream.last_to_worker.max(now + delay);
        stream.last_to_worker = time;
        self.at(time, Happening::DeliverToWorker(id, message));
    }

    fn deliver_to_leader(&mut self, id: StreamId, message: WorkerMessage) -> Result<(), String> {
        let Some(stream) = self.streams.get(&id) else { return Ok(()) };
        if self.now >= stream.lost_to_leader_from {
            return Ok(());
        }
        let leader = stream.leader;
        self.tell_leader(leader, Event::MessageReceived { stream: id, message })
    }

    fn deliver_to_worker(&mut self, id: StreamId, message: CoordinatorMessage) -> Result<(), String> {
        let Some(stream) = self.streams.get(&id) else { return Ok(()) };
        if self.now >= stream.lost_to_worker_from {
            return Ok(());
        }
        let (worker, life, connection) = (stream.worker, stream.life, stream.connection);
        self.tell_worker(worker, life, SessionEvent::Received(connection, message))
    }

    /// Cuts a stream: what is under way arrives up to some moment in each direction, then each side notices, at its time.
    pub(crate) fn cut(&mut self, id: StreamId, worst: Instant) {
        let (to_leader, to_worker) = (self.random.below(worst + 1), self.random.below(worst + 1));
        let (leader_notices, worker_notices) =
            (self.random.below(worst * 4 + 1), self.random.below(worst * 2 + 1));
        let now = self.now;
        let Some(stream) = self.streams.get_mut(&id) else { return };
        if stream.lost_to_leader_from != Instant::MAX {
            return;
        }
        stream.lost_to_leader_from = now + to_leader;
        stream.lost_to_worker_from = now + to_worker;
        let (leader, worker, life, connection) =
            (stream.leader, stream.worker, stream.life, stream.connection);
        self.at(
            now + to_leader + leader_notices,
            Happening::ToLeader(leader, Event::StreamClosed { stream: id }),
        );
        let disconnected = SessionEvent::Disconnected(connection);
        self.at(now + to_worker + worker_notices, Happening::ToWorker(worker, life, disconnected));
    }

    fn commit_arrives(&mut self, leader: usize, commit: &Commit, fate: Fate) -> Result<(), String> {
        let applied = match fate {
            Fate::Plain | Fate::AppliedUnknown | Fate::Late => self.store.apply(commit),
            Fate::Refused | Fate::LostUnknown => false,
        };
        if applied {
            self.check_applied(commit)?;
        }
        let outcome = match fate {
            Fate::Plain if applied => CommitOutcome::Done,
            Fate::Plain => CommitOutcome::Deposed,
            Fate::Refused => CommitOutcome::Refused,
            Fate::AppliedUnknown | Fate::LostUnknown => CommitOutcome::Unknown,
            Fate::Late => return Ok(()),
        };
        let delay = self.random.between(50, 2 * MS);
        self.after(delay, Happening::ToLeader(leader, Event::CommitFinished { commit: commit.id, outcome }));
        Ok(())
    }

    fn everything_ended(&self) -> bool {
        let ended = |run: &crate::store::StoredRun| {
            run.status.as_ref().is_some_and(|status| status.state.is_terminal())
        };
        self.runs.keys().all(|id| self.store.runs.get(id).is_none_or(ended))
    }

    fn unfinished(&self) -> String {
        let states = self.store.runs.iter().filter_map(|(id, run)| {
            let status = run.status.as_ref()?;
            (!status.state.is_terminal())
                .then(|| format!("{id} is {:?} with {:?}", status.state, status.item_counts))
        });
        states.collect::<Vec<_>>().join("; ")
    }
}
