//! A worker as a whole: its life from the first connection to the last message.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::AbortOnDropHandle;
use tracing::{Instrument as _, info, warn};
use warifu_common::config::ConfigError;
use warifu_common::model::{HandlerName, IdError, WorkerHandler, WorkerId};
use warifu_common::object_store::{InvalidCaFile, ObjectStore};
use warifu_common::security::{FileProblem, TokenProblem};
use warifu_common::transport::{self, InvalidEndpoint};
use warifu_session::{SessionState, WorkerIdentity};

use crate::builder::{Basis, WorkerBuilder};
use crate::connection::Coordinators;
use crate::handler::Handler;
use crate::metrics::WorkerMetrics;
use crate::session::{Session, SessionParts};

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
    /// A file of certificates or with a token cannot be used.
    #[error(transparent)]
    Security(#[from] FileProblem),
    /// `WARIFU_TOKEN` holds no token.
    #[error("WARIFU_TOKEN {0}")]
    Token(#[from] TokenProblem),
    /// The worker or one of its handlers cannot have this name.
    #[error(transparent)]
    InvalidName(#[from] IdError),
    /// What the environment says cannot be; the message names each variable.
    #[error(transparent)]
    InvalidEnvironment(#[from] ConfigError),
    /// `s3.ca_file` names no usable certificates.
    #[error(transparent)]
    InvalidCaFile(#[from] InvalidCaFile),
    /// The state directory cannot be used, or another process of the worker lives.
    #[error("the worker's state directory cannot be taken")]
    StateDir(#[source] anyhow::Error),
    /// Another process listens there, or the address is not this machine's.
    #[error("cannot listen on {address} (worker.http_listen)")]
    Listener {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
}

/// A worker that is not running yet.
pub struct Worker {
    pub(crate) settings: WorkerBuilder,
}

impl Worker {
    /// A worker that is described in code; what is not said there comes from the environment, as for the program
    /// `warifu-worker`: variables such as `WARIFU_COORDINATOR__ENDPOINTS`, `WARIFU_WORKER__SLOTS` and
    /// `WARIFU_S3__ENDPOINT_URL`, and AWS's own for credentials. What is not there either has the documented defaults.
    pub fn builder() -> WorkerBuilder {
        WorkerBuilder::new(Basis::Environment)
    }

    /// A worker named `id`, which no other process may use at the same time. It reads sources from `store` and writes
    /// results to it. Nothing comes from the environment.
    pub fn builder_with(id: WorkerId, store: Arc<dyn ObjectStore>) -> WorkerBuilder {
        WorkerBuilder::new(Basis::Defaults).worker_id(id).store(store)
    }

    /// Works until `cancel` fires and what runs has ended, at most the drain timeout later.
    ///
    /// Coordinators that cannot be reached are no error: the worker tries again until it is told to stop. Whoever drops this
    /// future ends the worker without waiting for what it is just doing.
    pub async fn run(self, cancel: CancellationToken) -> Result<(), WorkerError> {
        let settings = self.settings.resolve().await?;
        let _held_while_it_runs = settings.state_dir;
        check_endpoints(&settings.endpoints)?;
        let _serves_while_it_runs = match settings.http_listen {
            Some(address) => Some(serve_http(address, Arc::clone(&settings.metrics)).await?),
            None => None,
        };
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
            metrics: settings.metrics,
            store: settings.store,
            cache_bytes: settings.cache_bytes,
            drain_timeout: settings.drain_timeout,
        });
        // In a task: what a program's main function waits for has a thread of its own, and would be woken, and wake others, for every
        // call that ends or begins.
        let session = AbortOnDropHandle::new(tokio::spawn(session.run(cancel).in_current_span()));
        if let Err(error) = session.await
            && let Ok(panic) = error.try_into_panic()
        {
            std::panic::resume_unwind(panic);
        }
        close_handlers(&handlers).await;
        Ok(())
    }
}

/// Serves HTTP in a task that ends when the guard goes.
async fn serve_http(address: SocketAddr, metrics: Arc<WorkerMetrics>) -> Result<DropGuard, WorkerError> {
    let bound = TcpListener::bind(address).await;
    let listener = bound.map_err(|source| WorkerError::Listener { address, source })?;
    let stop = CancellationToken::new();
    let serving = crate::metrics::serve(listener, metrics, stop.clone());
    tokio::spawn(async move {
        if let Err(error) = serving.await {
            warn!(%error, "metrics are not served any more");
        }
    });
    Ok(stop.drop_guard())
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
