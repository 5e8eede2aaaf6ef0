//! One simulation from its first to its last step.

use std::ops::AddAssign;
use std::time::Duration;

use turmoil::Builder;

use crate::faults::{Fault, Faults};
use crate::plan::{Host, Plan};
use crate::scene::Scene;
use crate::{client, hosts, oracle, panics};

/// A step of the network. Finer ones cost more and show no more: nothing here is faster than some milliseconds.
const TICK: Duration = Duration::from_millis(10);
const MIN_LATENCY: Duration = Duration::from_millis(1);

/// How long a run may take once nothing goes wrong any more: sessions that expire, back-off, and the work itself.
const PATIENCE: Duration = Duration::from_secs(240);

/// What came of one seed.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// The first promise that was broken.
    pub(crate) violation: Option<String>,
    pub(crate) statistics: Statistics,
    /// What happened when.
    pub(crate) log: Vec<String>,
}

/// What happened, to tell whether anything did.
#[derive(Debug, Default, Clone)]
pub(crate) struct Statistics {
    pub(crate) seeds: u64,
    /// Faults that came before the run had ended.
    pub(crate) faults: u64,
    /// Seeds without any.
    pub(crate) quiet_seeds: u64,
    pub(crate) cuts: u64,
    pub(crate) deaths: u64,
    pub(crate) stalls: u64,
    pub(crate) leaves: u64,
    pub(crate) drains: u64,
    pub(crate) store_faults: u64,
    /// Connections that were made; a fleet at peace makes one for each worker and client.
    pub(crate) connections: u64,
    /// Terms of leadership.
    pub(crate) terms: u64,
    pub(crate) worker_processes: u64,
    /// Handler calls for items beyond what a fleet at peace would make.
    pub(crate) repeated_calls: u64,
    /// Seeds in which as many calls were in progress as may be.
    pub(crate) at_the_limit: u64,
    pub(crate) simulated_seconds: u64,
}

impl AddAssign<&Statistics> for Statistics {
    fn add_assign(&mut self, other: &Statistics) {
        self.seeds += other.seeds;
        self.faults += other.faults;
        self.quiet_seeds += other.quiet_seeds;
        self.cuts += other.cuts;
        self.deaths += other.deaths;
        self.stalls += other.stalls;
        self.leaves += other.leaves;
        self.drains += other.drains;
        self.store_faults += other.store_faults;
        self.connections += other.connections;
        self.terms += other.terms;
        self.worker_processes += other.worker_processes;
        self.repeated_calls += other.repeated_calls;
        self.at_the_limit += other.at_the_limit;
        self.simulated_seconds += other.simulated_seconds;
    }
}

/// Runs what a seed stands for.
pub(crate) fn run(plan: &Plan) -> Outcome {
    let scene = Scene::new(plan.clone());
    let mut faults = Faults::of(plan);
    let deadline = plan.calm_from() + PATIENCE;
    let mut sim = Builder::new()
        .rng_seed(plan.seed)
        .tick_duration(TICK)
        .simulation_duration(deadline * 2)
        .min_message_latency(MIN_LATENCY)
        .max_message_latency(plan.max_latency)
        .repair_rate(1.0)
        .enable_random_order()
        .build();
    for index in 0..plan.coordinators {
        let scene = scene.clone();
        sim.host(Host::Coordinator(index).to_string(), move || hosts::coordinator(scene.clone(), index));
    }
    for index in 0..plan.workers.len() {
        let scene = scene.clone();
        sim.host(Host::Worker(index).to_string(), move || hosts::worker(scene.clone(), index));
    }
    let watched = scene.clone();
    sim.host(Host::Watcher.to_string(), move || client::watcher(watched.clone()));
    sim.client(Host::Client.to_string(), client::run(scene.clone()));
    let mut violation = None;
    panics::watch();
    while violation.is_none() {
        faults.step(&mut sim, &scene);
        match sim.step() {
            Ok(true) => {
                violation = oracle::check(&scene).err();
                break;
            }
            Ok(false) if sim.elapsed() > deadline => {
                let in_progress = scene.ledger.in_progress();
                violation = Some(format!("the run does not end; {in_progress} calls are in progress"));
            }
            Ok(false) => violation = scene.ledger.violation().or_else(panics::take),
            Err(error) => violation = Some(error.to_string()),
        }
    }
    Outcome { violation, statistics: statistics(&scene, &faults, sim.elapsed()), log: faults.log }
}

fn statistics(scene: &Scene, faults: &Faults, lasted: Duration) -> Statistics {
    let count =
        |wanted: fn(&Fault) -> bool| faults.happened.iter().filter(|fault| wanted(fault)).count() as u64;
    let plan = &scene.plan;
    let peaceful =
        |batch: u64| 1 + u64::from(plan.fails_every.is_some_and(|every| batch.is_multiple_of(every)));
    let begun = scene.ledger.begun();
    let needed: u64 = begun.keys().map(|item| peaceful(item / u64::from(plan.batch_items))).sum();
    let calls: u64 = begun.values().map(|calls| u64::from(*calls)).sum();
    Statistics {
        seeds: 1,
        faults: faults.happened.len() as u64,
        quiet_seeds: u64::from(faults.happened.is_empty()),
        cuts: count(|fault| {
            use Fault::{CutOff, Hold, Lossy, OneWay, Partition, Slow, Vanish};
            matches!(
                fault,
                Partition(..) | OneWay(..) | Hold(..) | Lossy(..) | Slow(..) | CutOff(_) | Vanish(_)
            )
        }),
        deaths: count(|fault| matches!(fault, Fault::Crash(_) | Fault::Vanish(_) | Fault::Bounce(_))),
        stalls: count(|fault| matches!(fault, Fault::Stall(_))),
        leaves: count(|fault| matches!(fault, Fault::Leave(_))),
        drains: count(|fault| matches!(fault, Fault::Drain(_))),
        store_faults: count(|fault| matches!(fault, Fault::NoStore(_) | Fault::LostAnswers)),
        connections: scene.connections(),
        terms: scene.records.terms(),
        worker_processes: scene.worker_processes(),
        repeated_calls: calls.saturating_sub(needed),
        at_the_limit: u64::from(scene.ledger.most_at_once() == plan.max_concurrency),
        simulated_seconds: lasted.as_secs(),
    }
}
