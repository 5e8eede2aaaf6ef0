//! Who watches a run, and when they are shown what.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use warifu_model::{MapRunId, MapRunView};
use warifu_scheduler::Scheduler;

use super::handle::RunWatch;
use crate::metrics::Metrics;

/// Least time between two looks at runs that changed. Building a snapshot costs microseconds, so a second of hundreds of
/// runs that change all the time costs a few milliseconds.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// Snapshots for watchers, and counts for metrics, of runs that changed.
pub(super) struct Watchers {
    watched: BTreeMap<MapRunId, watch::Sender<Arc<MapRunView>>>,
    changed: BTreeSet<MapRunId>,
    next_look: Instant,
    metrics: Arc<Metrics>,
}

impl Watchers {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        Self { watched: BTreeMap::new(), changed: BTreeSet::new(), next_look: Instant::now(), metrics }
    }

    /// Adds a watcher of a run; `None`: there is no such run.
    pub(super) fn subscribe(&mut self, scheduler: &Scheduler, map_run: MapRunId) -> Option<RunWatch> {
        let view = Arc::new(scheduler.map_run(&map_run)?);
        let sender = self.watched.entry(map_run).or_insert_with(|| watch::Sender::new(view.clone()));
        sender.send_replace(view);
        Some(sender.subscribe())
    }

    /// Notes runs that changed; those that watchers have waited for the end of are shown at once.
    pub(super) fn note(&mut self, scheduler: &Scheduler, changed: BTreeSet<MapRunId>) {
        for map_run in changed {
            let ended = self.watched.contains_key(&map_run) && scheduler.has_ended(&map_run);
            if ended {
                self.show(scheduler, &map_run);
            } else {
                self.changed.insert(map_run);
            }
        }
    }

    /// When to call [`look`](Self::look); `None`: nothing changed.
    pub(super) fn next_look(&self) -> Option<Instant> {
        (!self.changed.is_empty()).then_some(self.next_look)
    }

    /// Shows every run that changed since the last look.
    pub(super) fn look(&mut self, scheduler: &Scheduler) {
        for map_run in std::mem::take(&mut self.changed) {
            self.show(scheduler, &map_run);
        }
        self.next_look = Instant::now() + LOOK_INTERVAL;
    }

    /// A new term began: everything may look different.
    pub(super) fn begin_term(&mut self, scheduler: &Scheduler) {
        let map_runs = scheduler.map_run_ids();
        for view in map_runs.iter().filter_map(|id| scheduler.map_run(id)) {
            self.metrics.note_recovered(&view);
        }
        let gone = self.watched.keys().filter(|id| scheduler.map_run(id).is_none()).cloned();
        self.changed = gone.chain(map_runs).collect();
        self.look(scheduler);
    }

    fn show(&mut self, scheduler: &Scheduler, map_run: &MapRunId) {
        self.changed.remove(map_run);
        let Some(view) = scheduler.map_run(map_run) else {
            self.watched.remove(map_run);
            self.metrics.forget_map_run(map_run);
            return;
        };
        self.metrics.note_map_run(&view);
        let Some(sender) = self.watched.get(map_run) else { return };
        if sender.receiver_count() == 0 {
            self.watched.remove(map_run);
        } else {
            sender.send_replace(Arc::new(view));
        }
    }
}
