//! A whole coordinator in this process: its tasks, their start and their end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_stream::{Stream, StreamExt};
use tokio_util::sync::CancellationToken;
use tonic::transport::server::Connected;
use warifu_common::config::CallLimits;
use warifu_common::object_store::ObjectStore;
use warifu_common::security::{FileProblem, ServerCertificates};
use warifu_common::telemetry::MetricSource;
use warifu_common::transport::{self, Dial};
use warifu_common::wire::FILE_DESCRIPTOR_SET;

use crate::api::{Context, Fleet, MapRuns, Scaler};
use crate::driver::{Driver, DriverHandle};
use crate::forward::Forward;
use crate::http::Admission;
use crate::intercept::Before;
use crate::json::JsonCalls;
use crate::metrics::{MetricGatherer, Metrics};
use crate::security::{Authority, Connections, Guard, WorkerGuard};
use crate::sessions::Sessions;
use crate::settings::Settings;
use crate::state_store::StateStore;

/// How long everything may take to end: the transaction in flight first, then the calls that waited for it.
const END_TIMEOUT: Duration = crate::driver::DRAIN_TIMEOUT.saturating_add(Duration::from_secs(5));

/// Why a coordinator did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listener has no address.
    #[error("a listener has no address")]
    Listener(#[source] std::io::Error),
    /// A file of certificates or tokens cannot be used.
    #[error(transparent)]
    Security(#[from] FileProblem),
    /// Server reflection cannot be built: a bug.
    #[error("the compiled proto files cannot be read")]
    Reflection(#[source] tonic_reflection::server::Error),
}

/// A connection that gRPC can be served on.
pub trait Connection: Connected + AsyncRead + AsyncWrite + Unpin + Send + 'static {}

impl<C: Connected + AsyncRead + AsyncWrite + Unpin + Send + 'static> Connection for C {}

/// Starts coordinators.
#[derive(Debug)]
pub struct Coordinator;

/// A coordinator that runs in this process. Dropping it tells it to stop without waiting for that.
#[derive(Debug)]
pub struct CoordinatorHandle {
    grpc_addr: SocketAddr,
    http_addr: Option<SocketAddr>,
    metric_source: MetricsOf,
    /// Ends the driver; the rest follows.
    stop: CancellationToken,
    tasks: JoinSet<TaskEnd>,
}

/// Asks for a coordinator's metrics.
struct MetricsOf(MetricSource);

impl std::fmt::Debug for MetricsOf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MetricsOf")
    }
}

/// Why a coordinator ended, or did not end as it should.
#[derive(Debug, thiserror::Error)]
pub enum EndError {
    /// A part of it failed.
    #[error("the {task} failed")]
    Failed {
        /// Which part.
        task: &'static str,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A part of it ended although nobody told it to.
    #[error("the {task} has ended by itself")]
    Ended {
        /// Which part.
        task: &'static str,
    },
    /// A bug: what the process knows cannot be trusted. Start it again.
    #[error("a task panicked")]
    Panicked(#[source] tokio::task::JoinError),
    /// Calls did not end in time and were dropped.
    #[error("some calls did not end within {}s and were dropped", .0.as_secs())]
    TimedOut(Duration),
}

/// Which task ended, and how.
#[derive(Debug)]
struct TaskEnd {
    task: &'static str,
    result: Result<(), Box<dyn std::error::Error + Send + Sync>>,
}

impl TaskEnd {
    /// A task that ended because it was told to, or failed at that.
    fn expected(ended: Result<TaskEnd, tokio::task::JoinError>) -> Result<&'static str, EndError> {
        match ended {
            Ok(TaskEnd { task, result: Ok(()) }) => Ok(task),
            Ok(TaskEnd { task, result: Err(source) }) => Err(EndError::Failed { task, source }),
            Err(error) => Err(EndError::Panicked(error)),
        }
    }
}

impl Coordinator {
    /// Starts a coordinator on listeners that are bound already. It leads as soon as the store lets it.
    ///
    /// Must be called within a Tokio runtime.
    pub async fn start(
        settings: Settings,
        store: Arc<dyn StateStore>,
        objects: Arc<dyn ObjectStore>,
        listener: TcpListener,
        http_listener: Option<TcpListener>,
    ) -> Result<CoordinatorHandle, StartError> {
        let grpc_addr = listener.local_addr().map_err(StartError::Listener)?;
        let security = &settings.security;
        let certificates = security.tls.as_ref().map(ServerCertificates::for_api).transpose()?;
        let stop = CancellationToken::new();
        // Dropped when the server has ended: then nothing more is taken.
        let taking = stop.clone().drop_guard();
        let connections = Connections::accept(listener, certificates, security.limits.max_connections, stop);
        let incoming = connections.into_stream().map(move |connection| {
            let _ = &taking;
            connection
        });
        Self::start_on(settings, store, objects, (grpc_addr, incoming), http_listener).await
    }

    /// Starts a coordinator that takes gRPC connections from `incoming`, which come to its address, over whatever
    /// network that is.
    ///
    /// Must be called within a Tokio runtime.
    pub async fn start_on<C: Connection>(
        settings: Settings,
        store: Arc<dyn StateStore>,
        objects: Arc<dyn ObjectStore>,
        (grpc_addr, incoming): (SocketAddr, impl Stream<Item = std::io::Result<C>> + Send + 'static),
        http_listener: Option<TcpListener>,
    ) -> Result<CoordinatorHandle, StartError> {
        let http_addr =
            http_listener.as_ref().map(TcpListener::local_addr).transpose().map_err(StartError::Listener)?;
        let (stop, metrics) = (CancellationToken::new(), Arc::new(Metrics::default()));
        let (scheduler, clock) = (settings.scheduler.clone(), settings.clock.clone());
        let (driver, handle) =
            Driver::new(scheduler, clock, store.clone(), objects.clone(), metrics.clone(), stop.clone());
        let gatherer = MetricGatherer {
            metrics,
            driver: handle.clone(),
            store: store.clone(),
            clock: settings.clock.clone(),
        };
        let metric_source = gatherer.source();
        let context = Context {
            driver: handle.clone(),
            store,
            objects,
            limits: settings.scheduler,
            redrive_requests: Arc::default(),
            clock: settings.clock.clone(),
            shard_bytes: settings.shard_bytes,
            advertise: settings.advertise.unwrap_or_else(|| {
                let scheme = if settings.security.tls.is_some() { "https" } else { "http" };
                format!("{scheme}://{grpc_addr}")
            }),
            shutdown: stop.clone(),
        };
        let security = settings.security;
        let authority = security.auth.as_ref().map(Authority::new).transpose()?.map(Arc::new);
        let mut tasks = JoinSet::new();
        let secured = (authority.clone(), security.limits);
        let grpc = serve_grpc(context, settings.dial, secured, incoming, stop.clone())?;
        tasks.spawn(async move { TaskEnd { task: "gRPC server", result: grpc.await.map_err(Into::into) } });
        if let Some(listener) = http_listener {
            let admission =
                Admission { authority, certificates_wanted: security.wants_client_certificates() };
            let certificates = security.tls.as_ref().map(ServerCertificates::for_http).transpose()?;
            let most = security.limits.max_connections;
            let connections = Connections::accept(listener, certificates, most, stop.clone());
            let http = crate::http::serve(connections, handle.clone(), gatherer, admission, stop.clone());
            tasks.spawn(
                async move { TaskEnd { task: "HTTP server", result: http.await.map_err(Into::into) } },
            );
        }
        if let Some(kept) = settings.retention {
            let enforced = crate::retention::enforce(handle.clone(), kept, settings.clock, stop.clone());
            tasks.spawn(async move {
                enforced.await;
                TaskEnd { task: "retention", result: Ok(()) }
            });
        }
        tasks.spawn(async move {
            driver.run().await;
            TaskEnd { task: "driver", result: Ok(()) }
        });
        Ok(CoordinatorHandle { grpc_addr, http_addr, metric_source: MetricsOf(metric_source), stop, tasks })
    }
}

impl CoordinatorHandle {
    /// Where it serves gRPC.
    pub fn grpc_addr(&self) -> SocketAddr {
        self.grpc_addr
    }

    /// Where it serves HTTP, if it does.
    pub fn http_addr(&self) -> Option<SocketAddr> {
        self.http_addr
    }

    /// What asks it for its metrics, for a collector.
    pub fn metric_source(&self) -> MetricSource {
        Arc::clone(&self.metric_source.0)
    }

    /// Ends it: nothing new is taken, the transaction in flight is finished, streams are closed.
    pub async fn shutdown(mut self) -> Result<(), EndError> {
        self.stop.cancel();
        let mut first_error = None;
        let ended = async {
            while let Some(ended) = self.tasks.join_next().await {
                first_error = first_error.take().or(TaskEnd::expected(ended).err());
            }
        };
        match tokio::time::timeout(END_TIMEOUT, ended).await {
            Ok(()) => first_error.map_or(Ok(()), Err),
            Err(_) => Err(EndError::TimedOut(END_TIMEOUT)),
        }
    }

    /// Waits until it ends by itself, which it does only by a bug or a listener that fails.
    ///
    /// Cancel-safe: the handle can be waited on again, or shut down.
    pub async fn ended(&mut self) -> EndError {
        match self.tasks.join_next().await {
            Some(ended) => {
                TaskEnd::expected(ended).map_or_else(|error| error, |task| EndError::Ended { task })
            }
            None => EndError::Ended { task: "coordinator" },
        }
    }
}

impl Drop for CoordinatorHandle {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// The gRPC server as a future that ends after `stop`.
fn serve_grpc<C: Connection>(
    context: Context,
    dial: Arc<dyn Dial>,
    (authority, limits): (Option<Arc<Authority>>, CallLimits),
    incoming: impl Stream<Item = std::io::Result<C>> + Send + 'static,
    stop: CancellationToken,
) -> Result<impl Future<Output = Result<(), tonic::transport::Error>> + Send, StartError> {
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let workers = WorkerGuard::new(authority.clone(), context.driver.clone());
    let sessions = Sessions::new(context.driver.clone(), workers, stop.clone());
    let (health, health_service) = tonic_health::server::health_reporter();
    let most = limits.max_message_bytes;
    let map_runs = transport::map_run_service(MapRuns { context: context.clone() });
    let fleet = transport::fleet_service(Fleet { context: context.clone() });
    let router = transport::server()
        .max_concurrent_streams(limits.max_streams_per_connection)
        // Calls as JSON come over HTTP/1.1 as well; all behind this layer sees gRPC.
        .accept_http1(true)
        .layer(Before(JsonCalls))
        .layer(Before(Guard::new(authority, limits)))
        .layer(Before(Forward::new(context.driver.clone(), dial, stop.clone())))
        .add_service(map_runs.max_decoding_message_size(most))
        .add_service(fleet.max_decoding_message_size(most))
        .add_service(transport::external_scaler(Scaler { context: context.clone() }))
        .add_service(transport::worker_service(sessions).max_decoding_message_size(most))
        .add_service(health_service)
        .add_service(reflection().build_v1().map_err(StartError::Reflection)?)
        .add_service(reflection().build_v1alpha().map_err(StartError::Reflection)?);
    let reporting = report_health(context.driver, health, stop.clone());
    Ok(async move {
        let reporting = tokio::spawn(reporting);
        let served = router.serve_with_incoming_shutdown(incoming, stop.cancelled_owned()).await;
        reporting.abort();
        served
    })
}

/// What `grpc.health.v1` speaks for: the process as a whole, and each service.
const SERVICES: [&str; 5] = [
    "",
    "warifu.v1.MapRunService",
    "warifu.v1.FleetService",
    "warifu.v1.WorkerService",
    "externalscaler.ExternalScaler",
];

/// Says `SERVING` while this process leads, or knows who does.
async fn report_health(
    driver: DriverHandle,
    health: tonic_health::server::HealthReporter,
    stop: CancellationToken,
) {
    let mut leading = driver.leading();
    loop {
        let status = match leading.borrow_and_update().is_settled() {
            true => tonic_health::ServingStatus::Serving,
            false => tonic_health::ServingStatus::NotServing,
        };
        for service in SERVICES {
            health.set_service_status(service, status).await;
        }
        // Both only wait.
        tokio::select! {
            changed = leading.changed() => if changed.is_err() { return },
            () = stop.cancelled() => return,
        }
    }
}

#[cfg(test)]
mod tests;
