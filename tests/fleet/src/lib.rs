//! Thousands of workers in one process, for tests of a coordinator: each has the real session (`warifu-session`) and a
//! connection of its own, as in a fleet, and handlers that only take time.
//!
//! Owns the workers' shell and the [`Ledger`], which writes down what happens at them. Deliberately knows nothing of what
//! should happen: that is for the test to say. It reads no object storage: the source's bytes are given.
//!
//! Start reading at [`Fleet`], then `worker.rs`.

mod connection;
mod ledger;
mod source;
mod worker;

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use ledger::{Answers, Ledger};
pub use source::Source;

use worker::SimulatedWorker;

/// Threads for all workers: they hardly compute.
const THREADS: usize = 2;

/// How a fleet is made.
#[derive(Debug, Clone)]
pub struct FleetPlan {
    /// The coordinator, `http://host:port`.
    pub endpoint: String,
    /// Workers.
    pub workers: u32,
    /// Batches that each may run at once.
    pub slots: u32,
    /// Workers that connect at the same time; the others wait for their turn.
    pub connecting_at_once: usize,
    /// The one handler that all have.
    pub handler: String,
    /// The object that runs read.
    pub source: Source,
    /// A handler call takes at least so long.
    pub least_batch_time: Duration,
    /// And at most so much longer; how much depends on its batch alone.
    pub batch_time_spread: Duration,
    /// A worker that hears no answer for so long gives its stream up.
    pub answer_timeout: Duration,
}

/// Workers that run until they are stopped or dropped.
pub struct Fleet {
    runtime: Runtime,
    workers: JoinSet<()>,
    drain: CancellationToken,
    ledger: Arc<Ledger>,
}

impl Fleet {
    /// Starts all workers.
    ///
    /// # Panics
    /// If the machine has no room for two threads.
    pub fn start(plan: FleetPlan) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(THREADS).enable_all().build();
        let runtime = runtime.expect("a test may have two threads");
        let drain = CancellationToken::new();
        let ledger = Arc::new(Ledger::new(plan.source.records()));
        let plan = Arc::new(plan);
        let door = Arc::new(Semaphore::new(plan.connecting_at_once));
        let mut workers = JoinSet::new();
        for number in 0..plan.workers {
            let worker = SimulatedWorker::new(number, plan.clone(), ledger.clone());
            workers.spawn_on(worker.run(door.clone(), drain.clone()), runtime.handle());
        }
        Self { runtime, workers, drain, ledger }
    }

    /// What has happened so far.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Drains all workers. Returns how many left in peace within `patience`.
    pub fn stop(mut self, patience: Duration) -> usize {
        self.drain.cancel();
        let workers = &mut self.workers;
        self.runtime.block_on(async {
            let mut left = 0;
            let all = async {
                while let Some(ended) = workers.join_next().await {
                    left += usize::from(ended.is_ok());
                }
            };
            // Those that did not leave are not counted, which is for the test to judge.
            _ = tokio::time::timeout(patience, all).await;
            left
        })
    }
}
