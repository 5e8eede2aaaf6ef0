//! A worker as a whole: its settings, and its life from the first connection to the last message.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use warifu_common::model::{HandlerName, Incarnation, WorkerHandler, WorkerId};
use warifu_common::object_store::ObjectStore;
use warifu_common::transport::{self, Dial, InvalidEndpoint, Tcp};
use warifu_session::{SessionSettings, SessionState, WorkerIdentity};

use crate::clock::{BootClock, Clock};
use crate::connection::Coordinators;
use crate::handler::Handler;
use crate::session::{Session, SessionParts};

/// Batches in progress at once unless it is said otherwise.
pub const DEFAULT_SLOTS: u32 = 8;
/// Scanned bytes that are kept unless it is said otherwise.
pub const DEFAULT_CACHE_BYTES: u64 = 256 << 20;
/// Time for what runs when the worker is told to stop, unless it is said otherwise.
pub const DEFAULT_DRAIN_TIMEOUT: Duration = Duration::from_secs(100);

/// How long handlers may take to let go of what they keep: the end of an input, SIGTERM, five seconds, SIGKILL, and some.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a worker cannot run.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// Name at least one coordinator.
    #[error("no coordinator endpoint is given")]
    NoEndpoint,
    /// Write it as `http://host:port`.
    #[error(transparent)]
    InvalidEndpoint(#[from] InvalidEndpoint),
}

/// A worker that is not running yet.
pub struct Worker {
    settings: WorkerBuilder,
}

/// Says what a worker is to be.
pub struct WorkerBuilder {
    id: WorkerId,
    store: Arc<dyn ObjectStore>,
    endpoints: Vec<String>,
    slots: u32,
    cache_bytes: u64,
    drain_timeout: Duration,
    incarnation: Incarnation,
    dead_incarnation: Option<Incarnation>,
    handlers: BTreeMap<HandlerName, Arc<dyn Handler>>,
    session: SessionSettings,
    clock: Arc<dyn Clock>,
    dial: Arc<dyn Dial>,
}

impl Worker {
    /// A worker named `id`, which no other process may use at the same time. It reads sources from `store` and writes
    /// results to it.
    pub fn builder(id: WorkerId, store: Arc<dyn ObjectStore>) -> WorkerBuilder {
        WorkerBuilder {
            id,
            store,
            endpoints: Vec::new(),
            slots: DEFAULT_SLOTS,
            cache_bytes: DEFAULT_CACHE_BYTES,
            drain_timeout: DEFAULT_DRAIN_TIMEOUT,
            incarnation: Incarnation(rand::random()),
            dead_incarnation: None,
            handlers: BTreeMap::new(),
            session: SessionSettings::default(),
            clock: Arc::new(BootClock),
            dial: Arc::new(Tcp),
        }
    }

    /// Works until `cancel` fires and what runs has ended, at most the drain timeout later.
    ///
    /// Coordinators that cannot be reached are no error: the worker tries again until it is told to stop.
    pub async fn run(self, cancel: CancellationToken) -> Result<(), WorkerError> {
        let settings = self.settings;
        check_endpoints(&settings.endpoints)?;
        let identity = WorkerIdentity {
            worker: settings.id.clone(),
            incarnation: settings.incarnation,
            dead_incarnation: settings.dead_incarnation,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            slots: settings.slots,
            handlers: check_handlers(&settings.handlers).await,
            cache_bytes: settings.cache_bytes,
        };
        let handlers: Vec<Arc<dyn Handler>> = settings.handlers.values().cloned().collect();
        info!(worker_id = %settings.id, slots = settings.slots, "worker started");
        let session = Session::new(SessionParts {
            worker: settings.id,
            state: SessionState::new(identity, settings.session, rand::random()),
            clock: settings.clock,
            coordinators: Arc::new(Coordinators::new(settings.endpoints, settings.dial)),
            handlers: settings.handlers,
            store: settings.store,
            cache_bytes: settings.cache_bytes,
            drain_timeout: settings.drain_timeout,
        });
        session.run(cancel).await;
        close_handlers(&handlers).await;
        Ok(())
    }
}

impl WorkerBuilder {
    /// Where coordinators are; any of them leads to the leader.
    pub fn endpoints(self, endpoints: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { endpoints: endpoints.into_iter().map(Into::into).collect(), ..self }
    }

    /// Batches in progress at once; at least 1.
    pub fn slots(self, slots: u32) -> Self {
        Self { slots: slots.max(1), ..self }
    }

    /// Scanned bytes that are kept; a shard that is larger is read twice.
    pub fn cache_bytes(self, cache_bytes: u64) -> Self {
        Self { cache_bytes, ..self }
    }

    /// Time for what runs when the worker is told to stop.
    pub fn drain_timeout(self, drain_timeout: Duration) -> Self {
        Self { drain_timeout, ..self }
    }

    /// This process, and an older one of the worker that is certainly dead.
    pub fn incarnation(self, incarnation: Incarnation, dead_incarnation: Option<Incarnation>) -> Self {
        Self { incarnation, dead_incarnation, ..self }
    }

    /// Adds a handler that jobs may name.
    pub fn handler(mut self, name: HandlerName, handler: Arc<dyn Handler>) -> Self {
        self.handlers.insert(name, handler);
        self
    }

    /// Times and bounds of the session.
    pub fn session_settings(self, session: SessionSettings) -> Self {
        Self { session, ..self }
    }

    /// Another clock, for tests.
    pub fn clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
    }

    /// Another network, for tests.
    pub fn dial(self, dial: Arc<dyn Dial>) -> Self {
        Self { dial, ..self }
    }

    /// The worker.
    pub fn build(self) -> Worker {
        Worker { settings: self }
    }
}

async fn close_handlers(handlers: &[Arc<dyn Handler>]) {
    let closing = futures::future::join_all(handlers.iter().map(|handler| handler.close()));
    if timeout(CLOSE_TIMEOUT, closing).await.is_err() {
        warn!("handlers did not let go of what they keep in time, it is dropped");
    }
}

fn check_endpoints(endpoints: &[String]) -> Result<(), WorkerError> {
    if endpoints.is_empty() {
        return Err(WorkerError::NoEndpoint);
    }
    for endpoint in endpoints {
        transport::endpoint(endpoint)?;
    }
    Ok(())
}

/// Asks every handler whether it can work; one that cannot is shown with its reason and gets nothing.
async fn check_handlers(handlers: &BTreeMap<HandlerName, Arc<dyn Handler>>) -> Vec<WorkerHandler> {
    let check = |(name, handler): (&HandlerName, &Arc<dyn Handler>)| {
        let (name, handler) = (name.clone(), Arc::clone(handler));
        // A task of its own: a check may open a transaction, which a timeout must not cut off.
        let patience = handler.check_timeout();
        let checking = tokio::spawn(async move { handler.check().await });
        async move {
            let unavailable = match timeout(patience, checking).await {
                Ok(Ok(Ok(()))) => None,
                Ok(Ok(Err(reason))) => Some(reason),
                Ok(Err(_)) => Some("its check panicked".to_owned()),
                Err(_) => Some(format!("its check took longer than {} s", patience.as_secs())),
            };
            if let Some(reason) = &unavailable {
                warn!(handler = %name, reason, "a handler is not offered");
            }
            WorkerHandler { name, unavailable }
        }
    };
    futures::future::join_all(handlers.iter().map(check)).await
}
