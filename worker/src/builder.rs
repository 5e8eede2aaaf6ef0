//! What a worker is to be: said in code, in a configuration, or by the environment.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;
use warifu_common::config::{ClientTlsConfig, S3Config, Secret, Source, WorkerConfig};
use warifu_common::model::{HandlerName, IdError, Incarnation, WorkerId};
use warifu_common::object_store::{
    AllowedObjects, InvalidCaFile, ObjectStore, ObjectStores, S3Settings, S3Store,
};
use warifu_common::security::{BearerToken, SecureDial};
use warifu_common::transport::Dial;
use warifu_session::SessionSettings;

use crate::clock::{BootClock, Clock};
use crate::handler::Handler;
use crate::sdk::{Batch, BatchOutcome, Context, HandlerError, handler_of};
use crate::{StateDir, Worker, WorkerError, WorkerMetrics};

/// Where settings come from that the code does not make.
pub(crate) enum Basis {
    /// The environment of this process.
    Environment,
    /// A configuration that was read before.
    Settings(Box<WorkerConfig>),
    /// The documented defaults.
    Defaults,
}

/// Says what a worker is to be. What is said here counts before any configuration.
pub struct WorkerBuilder {
    basis: Basis,
    id: Option<WorkerId>,
    store: Option<Arc<dyn ObjectStore>>,
    endpoints: Option<Vec<String>>,
    slots: Option<u32>,
    cache_bytes: Option<u64>,
    drain_timeout: Option<Duration>,
    state_dir: Option<PathBuf>,
    incarnation: Option<(Incarnation, Option<Incarnation>)>,
    handlers: BTreeMap<HandlerName, Arc<dyn Handler>>,
    /// The first name that cannot be one.
    invalid_name: Option<IdError>,
    session: SessionSettings,
    clock: Arc<dyn Clock>,
    /// Absent: this machine's network, with the certificates and the token of the settings.
    dial: Option<Arc<dyn Dial>>,
    metrics: Option<Arc<WorkerMetrics>>,
}

/// All that a worker is made of.
pub(crate) struct ResolvedSettings {
    pub(crate) id: WorkerId,
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) endpoints: Vec<String>,
    pub(crate) slots: u32,
    pub(crate) cache_bytes: u64,
    pub(crate) drain_timeout: Duration,
    pub(crate) incarnation: Incarnation,
    pub(crate) dead_incarnation: Option<Incarnation>,
    /// Held while the worker runs.
    pub(crate) state_dir: Option<StateDir>,
    pub(crate) handlers: BTreeMap<HandlerName, Arc<dyn Handler>>,
    pub(crate) session: SessionSettings,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) dial: Arc<dyn Dial>,
    pub(crate) http_listen: Option<SocketAddr>,
    pub(crate) metrics: Arc<WorkerMetrics>,
}

impl WorkerBuilder {
    pub(crate) fn new(basis: Basis) -> Self {
        Self {
            basis,
            id: None,
            store: None,
            endpoints: None,
            slots: None,
            cache_bytes: None,
            drain_timeout: None,
            state_dir: None,
            incarnation: None,
            handlers: BTreeMap::new(),
            invalid_name: None,
            session: SessionSettings::default(),
            clock: Arc::new(BootClock),
            dial: None,
            metrics: None,
        }
    }

    /// What worker.toml, the environment and flags say, in place of the environment alone. Its handlers are not taken; see
    /// [`config`](crate::config).
    pub fn settings(self, settings: WorkerConfig) -> Self {
        Self { basis: Basis::Settings(Box::new(settings)), ..self }
    }

    /// The worker's name, which no other process may use at the same time; by default the host's and a random number.
    pub fn id(mut self, id: &str) -> Self {
        self.id = self.valid(WorkerId::new(id)).or(self.id);
        self
    }

    pub(crate) fn worker_id(self, id: WorkerId) -> Self {
        Self { id: Some(id), ..self }
    }

    /// Where coordinators are, `http://host:port`; any of them leads to the leader.
    pub fn endpoints(self, endpoints: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { endpoints: Some(endpoints.into_iter().map(Into::into).collect()), ..self }
    }

    /// Where sources are read from and results are written to, in place of S3.
    pub fn store(self, store: Arc<dyn ObjectStore>) -> Self {
        Self { store: Some(store), ..self }
    }

    /// Batches in progress at once; at least 1.
    pub fn slots(self, slots: u32) -> Self {
        Self { slots: Some(slots.max(1)), ..self }
    }

    /// Scanned bytes that are kept; a shard that is larger is read twice.
    pub fn cache_bytes(self, cache_bytes: u64) -> Self {
        Self { cache_bytes: Some(cache_bytes), ..self }
    }

    /// Time for what runs when the worker is told to stop.
    pub fn drain_timeout(self, drain_timeout: Duration) -> Self {
        Self { drain_timeout: Some(drain_timeout), ..self }
    }

    /// A directory whose lock proves that this worker's older process is dead, so that its batches run again at once.
    pub fn state_dir(self, state_dir: impl Into<PathBuf>) -> Self {
        Self { state_dir: Some(state_dir.into()), ..self }
    }

    /// This process, and an older one of the worker that is certainly dead; in place of a state directory.
    pub fn incarnation(self, incarnation: Incarnation, dead_incarnation: Option<Incarnation>) -> Self {
        Self { incarnation: Some((incarnation, dead_incarnation)), ..self }
    }

    /// Adds a handler that jobs may name.
    pub fn handler(mut self, name: HandlerName, handler: Arc<dyn Handler>) -> Self {
        self.handlers.insert(name, handler);
        self
    }

    /// Adds a function as a handler that jobs may name `name`. It gets the items of a batch, each as a `T`, and who they
    /// are; it returns what became of them. [`sdk`](crate::sdk) says more.
    pub fn handler_fn<T, F, A, O, E>(mut self, name: &str, function: F) -> Self
    where
        T: DeserializeOwned + Send + 'static,
        F: Fn(Batch<T>, Context) -> A + Send + Sync + 'static,
        A: Future<Output = Result<O, E>> + Send + 'static,
        O: Into<BatchOutcome> + Send,
        E: Into<HandlerError> + Send,
    {
        match self.valid(HandlerName::new(name)) {
            Some(name) => self.handler(name, handler_of(function)),
            None => self,
        }
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
        Self { dial: Some(dial), ..self }
    }

    /// Where it counts what it does, for programs that send that elsewhere; made for its handlers.
    pub fn metrics(self, metrics: Arc<WorkerMetrics>) -> Self {
        Self { metrics: Some(metrics), ..self }
    }

    /// The worker.
    pub fn build(self) -> Worker {
        Worker { settings: self }
    }

    /// Works until `end` is over and what runs then has ended, at most the drain timeout later. Coordinators that cannot be
    /// reached are no error: the worker tries again. [`termination`](crate::termination) is what most programs wait for.
    pub async fn run_until(self, end: impl Future<Output = ()> + Send) -> Result<(), WorkerError> {
        let drain = CancellationToken::new();
        let running = self.build().run(drain.clone());
        tokio::pin!(running, end);
        // Both go on after the select: `running` below, `end` is over.
        tokio::select! {
            ended = &mut running => return ended,
            () = &mut end => drain.cancel(),
        }
        running.await
    }

    fn valid<T>(&mut self, name: Result<T, IdError>) -> Option<T> {
        name.map_err(|error| self.invalid_name.get_or_insert(error).clone()).ok()
    }

    /// Fills in what was not said, and connects what must be there before anything runs.
    pub(crate) async fn resolve(self) -> Result<ResolvedSettings, WorkerError> {
        if let Some(error) = self.invalid_name {
            return Err(error.into());
        }
        let settings = match self.basis {
            Basis::Environment => WorkerConfig::load(None, Vec::new())?,
            Basis::Settings(settings) => *settings,
            Basis::Defaults => WorkerConfig::from_source(Source::default())?,
        };
        let section = settings.worker;
        let id = self.id.or(section.id).map_or_else(random_id, Ok)?;
        let (incarnation, dead_incarnation, state_dir) = match self.incarnation {
            Some((incarnation, dead_incarnation)) => (incarnation, dead_incarnation, None),
            None => new_incarnation(self.state_dir.or(section.state_dir))?,
        };
        let store = match self.store {
            Some(store) => store,
            None => s3_store(settings.s3).await?,
        };
        let endpoints = self.endpoints.unwrap_or(settings.coordinator.endpoints);
        let dial = match self.dial {
            Some(dial) => dial,
            None => {
                let coordinator = (settings.coordinator.token_file, settings.coordinator.token);
                secure_dial(&endpoints, &settings.tls, coordinator)?
            }
        };
        let slots = self.slots.unwrap_or(section.slots);
        let new_metrics = || Arc::new(WorkerMetrics::new(self.handlers.keys(), slots));
        let metrics = self.metrics.unwrap_or_else(new_metrics);
        Ok(ResolvedSettings {
            id,
            store,
            endpoints,
            slots,
            cache_bytes: self.cache_bytes.unwrap_or(section.cache_bytes),
            drain_timeout: self.drain_timeout.unwrap_or(section.drain_timeout),
            incarnation,
            dead_incarnation,
            state_dir,
            handlers: self.handlers,
            session: self.session,
            clock: self.clock,
            dial,
            http_listen: section.http_listen,
            metrics,
        })
    }
}

/// The way to coordinators, with the certificates and the token that the settings name.
fn secure_dial(
    endpoints: &[String],
    tls: &ClientTlsConfig,
    (token_file, token): (Option<PathBuf>, Option<Secret>),
) -> Result<Arc<dyn Dial>, WorkerError> {
    let token = match (token_file, token) {
        (Some(file), _) => BearerToken::file(file)?,
        (None, Some(token)) => BearerToken::fixed(token.expose())?,
        (None, None) => BearerToken::None,
    };
    Ok(Arc::new(SecureDial::new(endpoints, tls, token)?))
}

/// A new process of the worker; with a state directory it also knows the one before.
fn new_incarnation(
    state_dir: Option<PathBuf>,
) -> Result<(Incarnation, Option<Incarnation>, Option<StateDir>), WorkerError> {
    let incarnation = Incarnation(rand::random());
    let state_dir = state_dir.map(|path| StateDir::lock(&path, incarnation)).transpose();
    let state_dir = state_dir.map_err(WorkerError::StateDir)?;
    let dead_incarnation = state_dir.as_ref().and_then(|state_dir| state_dir.dead_incarnation);
    Ok((incarnation, dead_incarnation, state_dir))
}

/// S3, as far as jobs may use it.
async fn s3_store(s3: S3Config) -> Result<Arc<dyn ObjectStore>, InvalidCaFile> {
    let store = ObjectStores::s3_only(S3Store::connect(S3Settings::configured(&s3)?).await);
    Ok(Arc::new(AllowedObjects::new(Arc::new(store), s3)))
}

/// The host's name makes it readable, the number unique.
fn random_id() -> Result<WorkerId, IdError> {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' };
    let host: String = host.trim().chars().take(64).map(plain).collect();
    let host = if host.is_empty() { "worker".to_owned() } else { host };
    WorkerId::new(&format!("{host}-{:08x}", rand::random::<u32>()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::MemoryStore;

    async fn nothing(_: Batch<()>, _: Context) -> Result<(), HandlerError> {
        Ok(())
    }

    #[tokio::test]
    async fn what_is_said_in_code_counts_before_a_configuration_and_that_before_defaults() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text =
            "[worker]\nid = 'w'\nslots = 3\ncache_bytes = 7\n[coordinator]\nendpoints = ['http://a:1']\n";
        std::fs::write(file.path(), text).unwrap();
        let settings = WorkerConfig::load(Some(file.path()), Vec::new()).unwrap();
        let builder = WorkerBuilder::new(Basis::Settings(Box::new(settings))).slots(5);
        let builder = builder.store(Arc::new(MemoryStore::default())).handler_fn("h", nothing);
        let resolved = builder.resolve().await.unwrap();
        assert_eq!((resolved.id.as_str(), resolved.slots, resolved.cache_bytes), ("w", 5, 7));
        assert_eq!(resolved.endpoints, ["http://a:1"]);
        assert_eq!(resolved.drain_timeout, Duration::from_secs(100));
        assert_eq!(resolved.handlers.keys().map(HandlerName::as_str).collect::<Vec<_>>(), ["h"]);
    }

    #[tokio::test]
    async fn a_name_that_cannot_be_one_is_told_when_the_worker_runs() {
        let worker =
            WorkerBuilder::new(Basis::Defaults).id("w").handler_fn("no name", nothing).id("also none!");
        let error = worker.run_until(std::future::pending()).await.unwrap_err();
        assert!(error.to_string().contains("no name"), "{error}");
    }

    #[tokio::test]
    async fn a_state_directory_tells_which_process_is_dead() {
        let directory = tempfile::tempdir().unwrap();
        let builder = || {
            let store = Arc::new(MemoryStore::default());
            WorkerBuilder::new(Basis::Defaults).store(store).state_dir(directory.path())
        };
        let first = builder().resolve().await.unwrap();
        assert!(matches!(builder().resolve().await, Err(WorkerError::StateDir(_))));
        let incarnation = first.incarnation;
        drop(first);
        assert_eq!(builder().resolve().await.unwrap().dead_incarnation, Some(incarnation));
    }
}
