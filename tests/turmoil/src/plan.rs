//! What a seed stands for: the fleet, the run, and which faults come when.

use std::fmt;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use warifu_scheduler::BrokenRule;
use warifu_session::BrokenSessionRule;

use crate::faults::Fault;

/// A host of the simulated network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Host {
    /// Creates the run and asks for it.
    Client,
    /// Watches the run.
    Watcher,
    Coordinator(usize),
    Worker(usize),
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Client => f.write_str("client"),
            Host::Watcher => f.write_str("watcher"),
            Host::Coordinator(index) => write!(f, "coordinator-{index}"),
            Host::Worker(index) => write!(f, "worker-{index}"),
        }
    }
}

/// A fault, when it begins, and how long it lasts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PlannedFault {
    pub(crate) at: Duration,
    pub(crate) lasts: Duration,
    pub(crate) fault: Fault,
}

/// Everything that follows from a seed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) coordinators: usize,
    /// Slots of each worker.
    pub(crate) workers: Vec<u32>,
    pub(crate) items: u64,
    pub(crate) batch_items: u32,
    pub(crate) shard_bytes: u64,
    pub(crate) max_concurrency: u32,
    /// How long a handler call takes, on average.
    pub(crate) call_time: Duration,
    /// The first attempt at every batch whose number this divides fails.
    pub(crate) fails_every: Option<u64>,
    pub(crate) session_ttl: Duration,
    pub(crate) max_latency: Duration,
    /// A worker's next process proves that the one before is dead.
    pub(crate) proves_death: bool,
    /// In time.
    pub(crate) faults: Vec<PlannedFault>,
    /// A rule of the protocol that is left out, to prove that it is missed.
    pub(crate) broken: Option<Broken>,
}

/// A rule that is left out, of the coordinator or of the worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Broken {
    Coordinator(BrokenRule),
    Worker(BrokenSessionRule),
}

impl Plan {
    pub(crate) fn of_seed(seed: u64) -> Self {
        let rng = &mut StdRng::seed_from_u64(seed);
        let coordinators = rng.random_range(1..=2);
        let workers: Vec<u32> = (0..rng.random_range(2..=3)).map(|_| rng.random_range(1..=4)).collect();
        // Calls that outlive streams, sessions and leaders, or many short ones.
        let long_calls = rng.random_bool(0.4);
        let items: u64 = if long_calls { rng.random_range(5..=30) } else { rng.random_range(60..=300) };
        let batch_items = rng.random_range(1..=if long_calls { 3 } else { 6 });
        let max_concurrency = rng.random_range(1..=6);
        // So that the faults meet the run at work.
        let busy = if long_calls { 25_000..=60_000 } else { 10_000..=25_000 };
        let busy = Duration::from_millis(rng.random_range(busy));
        let at_once = max_concurrency.min(workers.iter().sum());
        let batches = items.div_ceil(u64::from(batch_items)) as u32;
        let faults = faults(rng, coordinators, workers.len(), busy);
        Self {
            seed,
            coordinators,
            items,
            batch_items,
            shard_bytes: rng.random_range(300..=4_000),
            max_concurrency,
            call_time: (busy * at_once / batches).clamp(Duration::from_millis(10), Duration::from_secs(30)),
            fails_every: rng.random_bool(0.5).then(|| rng.random_range(2..=9)),
            session_ttl: Duration::from_secs(*[10, 15, 20].choose(rng).expect("it has elements")),
            max_latency: Duration::from_millis(rng.random_range(2..=120)),
            proves_death: rng.random_bool(0.5),
            faults,
            broken: None,
            workers,
        }
    }

    /// All hosts, users first.
    pub(crate) fn hosts(&self) -> Vec<Host> {
        let coordinators = (0..self.coordinators).map(Host::Coordinator);
        let workers = (0..self.workers.len()).map(Host::Worker);
        [Host::Client, Host::Watcher].into_iter().chain(coordinators).chain(workers).collect()
    }

    /// When the last fault is over.
    pub(crate) fn calm_from(&self) -> Duration {
        self.faults.iter().map(|fault| fault.at + fault.lasts).max().unwrap_or_default()
    }
}

fn faults(rng: &mut StdRng, coordinators: usize, workers: usize, busy: Duration) -> Vec<PlannedFault> {
    let count = rng.random_range(4..=14);
    let mut faults: Vec<_> = (0..count)
        .map(|_| PlannedFault {
            at: Duration::from_millis(rng.random_range(300..busy.as_millis() as u64 * 3 / 2)),
            lasts: lasting(rng),
            fault: fault(rng, coordinators, workers),
        })
        .collect();
    faults.sort_by_key(|fault| fault.at);
    faults
}

/// Short ones that only delay, and some that outlive keep-alives, sessions and terms.
fn lasting(rng: &mut StdRng) -> Duration {
    let most = *[500, 4_000, 12_000, 30_000].choose(rng).expect("it has elements");
    Duration::from_millis(rng.random_range(50..=most))
}

fn fault(rng: &mut StdRng, coordinators: usize, workers: usize) -> Fault {
    let coordinator = Host::Coordinator(rng.random_range(0..coordinators));
    let worker = Host::Worker(rng.random_range(0..workers));
    let either = if rng.random_bool(0.35) { coordinator } else { worker };
    let anybody = if rng.random_bool(0.2) { Host::Watcher } else { either };
    match rng.random_range(0..18) {
        0 | 1 => Fault::Partition(worker, coordinator),
        2 => Fault::OneWay(worker, coordinator),
        3 => Fault::OneWay(coordinator, worker),
        4 => Fault::Hold(worker, coordinator),
        5 => Fault::Lossy(worker, coordinator),
        6 => Fault::Slow(worker, coordinator),
        7 => Fault::CutOff(anybody),
        8 => Fault::Crash(either),
        9 => Fault::Vanish(either),
        10 => Fault::Bounce(either),
        11 | 12 => Fault::Stall(anybody),
        13 => Fault::Leave(either),
        14 => Fault::NoStore(coordinator),
        15 => Fault::Drain(worker),
        16 => Fault::Partition(Host::Client, coordinator),
        _ => Fault::LostAnswers,
    }
}
