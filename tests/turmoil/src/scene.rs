//! What the hosts of one simulation share outside the network: the truth that the oracle judges by, and the levers that
//! faults pull.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use warifu_model::Incarnation;

use crate::ledger::Ledger;
use crate::objects::Objects;
use crate::plan::{Host, Plan};
use crate::store::Records;

/// How long the simulation has been running, for whoever runs in it.
pub(crate) fn elapsed() -> Duration {
    turmoil::sim_elapsed().expect("only hosts ask for the time")
}

/// Shared by all hosts of one simulation.
#[derive(Debug)]
pub(crate) struct Scene {
    pub(crate) plan: Plan,
    pub(crate) objects: Arc<Objects>,
    pub(crate) records: Arc<Records>,
    pub(crate) ledger: Arc<Ledger>,
    levers: Mutex<Levers>,
}

/// What the user is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// Drain a worker.
    Drain(Host),
    /// Let it work again.
    Uncordon(Host),
}

#[derive(Debug, Default)]
struct Levers {
    stalled_until: BTreeMap<Host, Duration>,
    /// Tells the process of a host to leave, and for how long it then stays away.
    running: BTreeMap<Host, CancellationToken>,
    away_for: BTreeMap<Host, Duration>,
    orders: Vec<Order>,
    incarnations: BTreeMap<Host, Incarnation>,
    worker_processes: u64,
    connections: u64,
}

impl Scene {
    pub(crate) fn new(plan: Plan) -> Arc<Self> {
        Arc::new(Self {
            objects: Arc::new(Objects::with_source(&plan)),
            records: Arc::new(Records::new(plan.coordinators)),
            ledger: Arc::new(Ledger::new(plan.max_concurrency)),
            levers: Mutex::default(),
            plan,
        })
    }

    fn levers(&self) -> MutexGuard<'_, Levers> {
        self.levers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Until then the host reads nothing from its connections.
    pub(crate) fn stall(&self, host: Host, until: Duration) {
        self.levers().stalled_until.insert(host, until);
    }

    pub(crate) fn stalled_until(&self, host: Host) -> Option<Duration> {
        self.levers().stalled_until.get(&host).copied()
    }

    /// A process starts on `host`; the token tells it to leave.
    pub(crate) fn started(&self, host: Host) -> CancellationToken {
        let stop = CancellationToken::new();
        self.levers().running.insert(host, stop.clone());
        stop
    }

    /// Tells the process of a host to leave, and to come again after a while.
    pub(crate) fn leave(&self, host: Host, away_for: Duration) {
        let mut levers = self.levers();
        levers.away_for.insert(host, away_for);
        if let Some(stop) = levers.running.get(&host) {
            stop.cancel();
        }
    }

    pub(crate) fn away_for(&self, host: Host) -> Duration {
        self.levers().away_for.get(&host).copied().unwrap_or_default()
    }

    /// Tells the user to do something.
    pub(crate) fn order(&self, order: Order) {
        self.levers().orders.push(order);
    }

    /// What the user has not done yet.
    pub(crate) fn take_orders(&self) -> Vec<Order> {
        std::mem::take(&mut self.levers().orders)
    }

    /// The next process of a worker, and the last one.
    pub(crate) fn incarnation(&self, host: Host) -> (Incarnation, Option<Incarnation>) {
        let mut levers = self.levers();
        levers.worker_processes += 1;
        let next = Incarnation(levers.worker_processes.into());
        let last = levers.incarnations.insert(host, next);
        (next, last)
    }

    /// A connection was made.
    pub(crate) fn connected(&self) {
        self.levers().connections += 1;
    }

    pub(crate) fn connections(&self) -> u64 {
        self.levers().connections
    }

    /// Processes of workers that were started.
    pub(crate) fn worker_processes(&self) -> u64 {
        self.levers().worker_processes
    }
}
