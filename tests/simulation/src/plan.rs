//! What one seed's world is like: how many processes, which faults, which rule is left out.

use warifu_scheduler::BrokenRule;
use warifu_session::BrokenSessionRule;

use crate::random::Random;

/// A world to be simulated.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What everything follows from.
    pub seed: u64,
    /// Steps with faults; afterwards everything heals and must end.
    pub steps: u64,
    /// A coordinator's rule left out.
    pub broken_rule: Option<BrokenRule>,
    /// A worker's rule left out.
    pub broken_session_rule: Option<BrokenSessionRule>,
    /// Keep the event log.
    pub log: bool,
    pub(crate) workers: usize,
    pub(crate) slots: u32,
    /// So many of the workers offer the handler of compensations.
    pub(crate) undoing_workers: usize,
    pub(crate) faults: Faults,
    /// One large run without failures instead of many small ones.
    pub(crate) large_run: bool,
}

/// Which faults a world has, each in events of ten thousand.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Faults {
    pub(crate) cut_stream: u64,
    pub(crate) kill_worker: u64,
    pub(crate) pause_worker: u64,
    pub(crate) new_leader: u64,
    pub(crate) pause_leader: u64,
    pub(crate) drain: u64,
    pub(crate) commit_trouble: u64,
    /// Result files that cannot be written.
    pub(crate) parts_trouble: u64,
    pub(crate) slow_network: bool,
    pub(crate) drifting_clocks: bool,
    pub(crate) partition: u64,
}

impl Plan {
    /// The world of a seed: each has some of the faults only, so that rare mixtures come up, too.
    pub fn of_seed(seed: u64, steps: u64) -> Self {
        let mut random = Random::new(seed);
        let mut some = |per_ten_thousand: u64| if random.chance(60) { per_ten_thousand } else { 0 };
        let faults = Faults {
            cut_stream: some(40),
            kill_worker: some(8),
            pause_worker: some(8),
            new_leader: some(10),
            pause_leader: some(6),
            drain: some(4),
            commit_trouble: some(300),
            parts_trouble: some(40),
            slow_network: some(1) > 0,
            drifting_clocks: some(1) > 0,
            partition: some(8),
        };
        let workers = random.between(1, 4) as usize;
        let slots = random.between(1, 4) as u32;
        let undoing_workers = if random.chance(20) { random.below(2) as usize } else { workers };
        Self {
            seed,
            steps,
            broken_rule: None,
            broken_session_rule: None,
            log: false,
            workers,
            slots,
            undoing_workers,
            faults,
            large_run: false,
        }
    }

    /// The same world with far more lost streams and silent workers: what only comes up when several of them meet.
    pub fn in_storm(mut self) -> Self {
        self.faults.cut_stream = 200;
        self.faults.pause_worker = 40;
        self.faults.partition = 40;
        self.faults.slow_network = true;
        self
    }

    /// A world without faults, in which one large run shows what a batch costs the store.
    pub fn for_measuring(seed: u64, slots: u32) -> Self {
        let mut plan = Self::of_seed(seed, 0);
        plan.faults = Faults::default();
        plan.workers = 4;
        plan.slots = slots;
        plan.large_run = true;
        plan.steps = 2_000;
        plan
    }
}
