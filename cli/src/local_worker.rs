//! One worker of this machine: of this process, or the only one of a process that `warifu quickstart` starts.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio_util::sync::CancellationToken;
use ulid::Ulid;
use warifu_common::model::{Incarnation, WorkerId};
use warifu_common::object_store::ObjectStores;
use warifu_worker::{StateDir, Worker};

use crate::data_dir::DataDir;
use crate::handlers::Handlers;

/// Scanned bytes that a worker keeps: four shards, with what is read beyond each. One machine reads from the page cache anyway.
const CACHE_BYTES: u64 = 33 * 1024 * 1024;
/// How long a worker may finish what it runs when it is told to end.
pub(crate) const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// What a worker is made of.
pub(crate) struct LocalWorkerSettings<'a> {
    /// Its name; see [`id`].
    pub(crate) id: String,
    /// Where it notes which process of it runs.
    pub(crate) data_dir: &'a DataDir,
    /// The coordinator.
    pub(crate) endpoint: &'a str,
    /// Batches that it may run at once.
    pub(crate) slots: u32,
    /// What it can do.
    pub(crate) handlers: Handlers,
    /// Where sources and results are.
    pub(crate) objects: Arc<ObjectStores>,
}

/// A worker that holds its directory and does not run yet.
pub(crate) struct LocalWorker {
    worker: Worker,
    state_dir: StateDir,
}

/// The name of the worker with a number.
pub(crate) fn id(number: u32) -> String {
    format!("worker-{number}")
}

impl LocalWorker {
    /// Makes it. Fails if another process of the worker is alive.
    pub(crate) fn new(settings: LocalWorkerSettings<'_>) -> anyhow::Result<Self> {
        let id = WorkerId::new(&settings.id).context("a worker cannot be named")?;
        // It tells the coordinator that the process before is dead, which need not be waited for then.
        let incarnation = Incarnation(Ulid::new().0);
        let state_dir = StateDir::lock(&settings.data_dir.worker_dir(id.as_str()), incarnation)?;
        let mut worker = Worker::builder_with(id, settings.objects)
            .endpoints([settings.endpoint])
            .slots(settings.slots)
            .cache_bytes(CACHE_BYTES)
            .drain_timeout(DRAIN_TIMEOUT)
            .incarnation(incarnation, state_dir.dead_incarnation);
        for (name, handler) in settings.handlers.into_map() {
            worker = worker.handler(name, handler);
        }
        Ok(Self { worker: worker.build(), state_dir })
    }

    /// Works until `stop` fires and what runs has ended.
    pub(crate) async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let _held_while_it_runs = self.state_dir;
        self.worker.run(stop).await.map_err(Into::into)
    }
}
