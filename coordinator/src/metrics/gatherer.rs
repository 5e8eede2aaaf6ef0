//! Asks everything that has something to say for metrics: the process's own counts, the scheduler, the state store.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use warifu_common::telemetry::MetricSource;
use warifu_common::telemetry::families::Family;
use warifu_model::{MapRunState, Now};
use warifu_scheduler::Scheduler;

use super::{Live, Metrics};
use crate::clock::Clock;
use crate::driver::DriverHandle;
use crate::state_store::StateStore;

/// How long the state store may take to tell its size: a scrape is answered without it when the store hangs.
const SIZE_TIMEOUT: Duration = Duration::from_secs(1);

/// Gathers metrics; cheap to clone.
#[derive(Clone)]
pub(crate) struct MetricGatherer {
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) driver: DriverHandle,
    pub(crate) store: Arc<dyn StateStore>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl MetricGatherer {
    /// All families as they are now.
    pub(crate) async fn gather(&self) -> Vec<Family> {
        let now = self.clock.now();
        let live = self.driver.query(move |scheduler| live(scheduler, now)).await.ok();
        let store_bytes = timeout(SIZE_TIMEOUT, self.store.size_bytes()).await.ok().and_then(Result::ok);
        let store = store_bytes.map(|bytes| (self.store.kind(), bytes));
        self.metrics.families(live.as_ref(), store)
    }

    /// The same for a collector.
    pub(crate) fn source(&self) -> MetricSource {
        let gatherer = self.clone();
        Arc::new(move || {
            let gatherer = gatherer.clone();
            Box::pin(async move { gatherer.gather().await })
        })
    }
}

fn live(scheduler: &Scheduler, now: Now) -> Live {
    let ids = scheduler.map_run_ids();
    let open = ids.iter().filter(|id| !scheduler.has_ended(id)).filter_map(|id| scheduler.map_run(id));
    let active = open.filter(|view| view.state != MapRunState::Queued);
    Live {
        now,
        oldest_lease: scheduler.oldest_lease_since(),
        workers: scheduler.workers(),
        active: active.collect(),
    }
}
