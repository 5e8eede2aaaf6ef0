//! What only the leader can say: how active runs and workers stand at this moment.

use std::collections::BTreeMap;

use warifu_common::telemetry::families::{Family, Kind};
use warifu_common::telemetry::metric;
use warifu_model::{MapRunState, MapRunView, Now, Timestamp, WorkerState, WorkerView};

/// What the leader knows when somebody asks.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) now: Now,
    pub(crate) oldest_lease: Option<Timestamp>,
    pub(crate) workers: Vec<WorkerView>,
    /// Runs that are neither queued nor terminal.
    pub(crate) active: Vec<MapRunView>,
}

/// Active runs of one name.
#[derive(Debug, Default)]
struct Named {
    runs: u64,
    running_batches: u64,
    open_items: u64,
    items_per_second: f64,
    decided: u64,
    failed: u64,
    /// Of the run that is furthest from its end.
    progress: f64,
    /// Of the run that ends last; absent if none can tell.
    remaining_seconds: Option<f64>,
}

impl Named {
    fn add(&mut self, view: &MapRunView) {
        let items = &view.item_counts;
        let open = items.pending + items.running + items.pending_redrive;
        self.progress = if self.runs == 0 { view.fraction } else { self.progress.min(view.fraction) };
        self.runs += 1;
        self.running_batches += view.batch_counts.running;
        self.open_items += open;
        self.items_per_second += view.items_per_second;
        self.decided += items.total - open;
        self.failed += items.unsuccessful();
        if view.state == MapRunState::Running && view.total_known && view.items_per_second > 0.0 {
            let remaining = open as f64 / view.items_per_second;
            self.remaining_seconds =
                Some(self.remaining_seconds.map_or(remaining, |known| known.max(remaining)));
        }
    }
}

/// Families of active runs by name; `name_of` gives a run's.
pub(super) fn of_runs(active: &[MapRunView], mut name_of: impl FnMut(&MapRunView) -> String) -> Vec<Family> {
    let mut named: BTreeMap<String, Named> = BTreeMap::new();
    for view in active {
        named.entry(name_of(view)).or_default().add(view);
    }
    let gauge = |name, help, value: &dyn Fn(&Named) -> Option<f64>| {
        let mut family = Family::new(name, Kind::Gauge, help);
        for (map_run, named) in &named {
            if let Some(value) = value(named) {
                family.push(&[("map_run", map_run.as_str())], value);
            }
        }
        family
    };
    vec![
        gauge(metric::MAP_RUN_ACTIVE, "Map runs that are neither queued nor terminal, by name.", &|named| {
            Some(named.runs as f64)
        }),
        gauge(metric::MAP_RUN_BATCHES_RUNNING, "Batches in progress, by name of the map run.", &|named| {
            Some(named.running_batches as f64)
        }),
        gauge(
            metric::MAP_RUN_ITEMS_OPEN,
            "Items that are known and not decided, by name of the map run.",
            &|named| Some(named.open_items as f64),
        ),
        gauge(
            metric::MAP_RUN_PROGRESS_RATIO,
            "Decided share of the map run of that name that is furthest from its end.",
            &|named| Some(named.progress),
        ),
        gauge(
            metric::MAP_RUN_RATE,
            "Items decided a second, over the last seconds, by name of the map run.",
            &|named| Some(named.items_per_second),
        ),
        gauge(
            metric::MAP_RUN_ERROR_RATIO,
            "Share of decided items of active map runs that failed or timed out, by name.",
            &|named| (named.decided > 0).then(|| named.failed as f64 / named.decided as f64),
        ),
        gauge(
            metric::MAP_RUN_REMAINING_SECONDS,
            "Time that is left at the present rate for the map run of that name that ends last.",
            &|named| named.remaining_seconds,
        ),
    ]
}

/// Families of workers.
pub(super) fn of_workers(live: &Live) -> Vec<Family> {
    let workers = &live.workers;
    let in_state = |state| workers.iter().filter(|worker| worker.state == state).count() as f64;
    let slots: u64 = workers.iter().map(|worker| u64::from(worker.slots)).sum();
    let held: u64 = workers.iter().map(|worker| u64::from(worker.held_slots)).sum();
    let running: u64 = workers.iter().map(|worker| u64::from(worker.running_batches)).sum();
    let leases: u64 = workers.iter().map(|worker| u64::from(worker.lease_count)).sum();
    let silence =
        |worker: &WorkerView| live.now.wall.0.saturating_sub(worker.last_heard_time.0).max(0) as f64 / 1e3;
    let holders = workers.iter().filter(|worker| worker.lease_count > 0);
    let age = holders.map(silence).fold(0.0, f64::max);
    vec![
        Family::new(metric::WORKERS, Kind::Gauge, "Workers with a session, by state.")
            .with(&[("state", "active")], in_state(WorkerState::Active))
            .with(&[("state", "draining")], in_state(WorkerState::Draining))
            .with(&[("state", "suspect")], in_state(WorkerState::Suspect)),
        Family::new(metric::SLOTS, Kind::Gauge, "Slots of all workers, by use.")
            .with(&[("use", "held")], held as f64)
            .with(&[("use", "free")], slots.saturating_sub(held) as f64),
        Family::new(
            metric::BATCHES_IN_PROGRESS,
            Kind::Gauge,
            "Batches that workers began and did not report.",
        )
        .with(&[], running as f64),
        Family::new(metric::LEASES, Kind::Gauge, "Leases that workers hold.").with(&[], leases as f64),
        Family::new(metric::LEASE_AGE_SECONDS, Kind::Gauge, "Age of the oldest lease; 0 if there is none.")
            .with(&[], live.oldest_lease.map_or(0.0, |since| live.now.at.since(since).as_secs_f64())),
        Family::new(
            metric::LEASE_RENEWAL_AGE_SECONDS,
            Kind::Gauge,
            "Time since the holder of a lease was last heard, of the one that is silent longest.",
        )
        .with(&[], age),
    ]
}
