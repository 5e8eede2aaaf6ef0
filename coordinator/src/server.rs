//! A whole coordinator in this process: its tasks, their start and their end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use warifu_common::object_store::ObjectStore;
use warifu_common::wire::FILE_DESCRIPTOR_SET;
use warifu_common::wire::v1::fleet_service_server::FleetServiceServer;
use warifu_common::wire::v1::map_run_service_server::MapRunServiceServer;
use warifu_common::wire::v1::worker_service_server::WorkerServiceServer;

use crate::api::{Context, Fleet, MapRuns};
use crate::driver::{Driver, DriverHandle};
use crate::metrics::Metrics;
use crate::sessions::Sessions;
use crate::state_store::StateStore;

/// HTTP/2 pings find a dead connection within fifteen seconds.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(5));

/// Windows of a stream and of a connection: a stream that nobody reads must not block the others.
const WINDOWS: (u32, u32) = (1 << 20, 8 << 20);

/// Streams of one connection. The slowest reader of them may fill a stream's window, together not the connection's.
const MAX_STREAMS: u32 = 128;

/// Header list of a request: metadata and tokens.
const MAX_HEADER_BYTES: u32 = 16 << 10;

/// Messages on workers' streams.
const MAX_WORKER_MESSAGE: usize = 1 << 20;

/// Requests of API callers: a specification has at most 256 KiB, its parts written as protobuf take little more.
const MAX_API_REQUEST: usize = 1 << 20;

/// Answers to API callers: gRPC clients take 4 MiB by default.
const MAX_API_ANSWER: usize = 4 << 20;

/// How long the servers may take to end their calls once everything behind them has ended.
const SERVER_END_TIMEOUT: Duration = Duration::from_secs(5);

/// What a coordinator is told at its start, besides the scheduler's own settings.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Settings of the core.
    pub scheduler: warifu_scheduler::Config,
    /// Bytes of a shard of new runs.
    pub shard_bytes: u64,
    /// How others reach this process; absent: by the address that it listens on.
    pub advertise: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            scheduler: warifu_scheduler::Config::default(),
            shard_bytes: warifu_model::spec::DEFAULT_SHARD_BYTES,
            advertise: None,
        }
    }
}

/// Why a coordinator did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listener has no address.
    #[error("a listener has no address")]
    Listener(#[source] std::io::Error),
    /// Server reflection cannot be built: a bug.
    #[error("the compiled proto files cannot be read")]
    Reflection(#[source] tonic_reflection::server::Error),
}

/// Starts coordinators.
#[derive(Debug)]
pub struct Coordinator;

/// A coordinator that runs in this process. Dropping it tells it to stop without waiting for that.
#[derive(Debug)]
pub struct CoordinatorHandle {
    grpc_addr: SocketAddr,
    http_addr: Option<SocketAddr>,
    /// Ends the driver; the rest follows.
    stop: CancellationToken,
    tasks: JoinSet<TaskEnd>,
}

/// Which task ended, and how.
#[derive(Debug)]
struct TaskEnd {
    task: &'static str,
    result: Result<(), Box<dyn std::error::Error + Send + Sync>>,
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
        let http_addr =
            http_listener.as_ref().map(TcpListener::local_addr).transpose().map_err(StartError::Listener)?;
        let (stop, metrics) = (CancellationToken::new(), Arc::new(Metrics::default()));
        let scheduler = settings.scheduler.clone();
        let (driver, handle) =
            Driver::new(scheduler, store.clone(), objects.clone(), metrics.clone(), stop.clone());
        let context = Context {
            driver: handle.clone(),
            store,
            objects,
            limits: settings.scheduler,
            shard_bytes: settings.shard_bytes,
            advertise: settings.advertise.unwrap_or_else(|| format!("http://{grpc_addr}")),
            shutdown: stop.clone(),
        };
        let mut tasks = JoinSet::new();
        let grpc = serve_grpc(context, listener, stop.clone())?;
        tasks.spawn(async move { TaskEnd { task: "gRPC server", result: grpc.await.map_err(Into::into) } });
        if let Some(listener) = http_listener {
            let http = crate::http::serve(listener, handle, metrics, stop.clone());
            tasks.spawn(
                async move { TaskEnd { task: "HTTP server", result: http.await.map_err(Into::into) } },
            );
        }
        tasks.spawn(async move {
            driver.run().await;
            TaskEnd { task: "driver", result: Ok(()) }
        });
        Ok(CoordinatorHandle { grpc_addr, http_addr, stop, tasks })
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

    /// Ends it: nothing new is taken, the transaction in flight is finished, streams are closed.
    pub async fn shutdown(mut self) {
        self.stop.cancel();
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(SERVER_END_TIMEOUT + crate::driver::DRAIN_TIMEOUT, ended).await.is_err() {
            tracing::warn!("some calls did not end in time and are dropped");
        }
    }

    /// Waits until it ends by itself, which it does only by a bug or a listener that fails; returns what to tell.
    ///
    /// Cancel-safe: the handle can be waited on again, or shut down.
    pub async fn ended(&mut self) -> String {
        match self.tasks.join_next().await {
            None => "everything has ended".to_owned(),
            Some(Ok(TaskEnd { task, result: Ok(()) })) => format!("the {task} has ended"),
            Some(Ok(TaskEnd { task, result: Err(error) })) => {
                format!("the {task} failed: {}", crate::error_chain(&*error))
            }
            Some(Err(error)) => format!("a task ended by a bug: {error}"),
        }
    }
}

impl Drop for CoordinatorHandle {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// The gRPC server as a future that ends after `stop`.
fn serve_grpc(
    context: Context,
    listener: TcpListener,
    stop: CancellationToken,
) -> Result<impl Future<Output = Result<(), tonic::transport::Error>> + Send, StartError> {
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let sessions = WorkerServiceServer::new(Sessions::new(context.driver.clone(), stop.clone()))
        .max_decoding_message_size(MAX_WORKER_MESSAGE)
        .max_encoding_message_size(MAX_WORKER_MESSAGE);
    let map_runs = MapRunServiceServer::new(MapRuns { context: context.clone() })
        .max_decoding_message_size(MAX_API_REQUEST)
        .max_encoding_message_size(MAX_API_ANSWER);
    let fleet = FleetServiceServer::new(Fleet { context: context.clone() })
        .max_decoding_message_size(MAX_API_REQUEST)
        .max_encoding_message_size(MAX_API_ANSWER);
    let (health, health_service) = tonic_health::server::health_reporter();
    let router = Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE.0))
        .http2_keepalive_timeout(Some(KEEPALIVE.1))
        .initial_stream_window_size(WINDOWS.0)
        .initial_connection_window_size(WINDOWS.1)
        .max_concurrent_streams(MAX_STREAMS)
        .http2_max_header_list_size(MAX_HEADER_BYTES)
        .add_service(map_runs)
        .add_service(fleet)
        .add_service(sessions)
        .add_service(health_service)
        .add_service(reflection().build_v1().map_err(StartError::Reflection)?)
        .add_service(reflection().build_v1alpha().map_err(StartError::Reflection)?);
    let incoming = TcpListenerStream::new(listener).map(|connection| {
        let connection = connection?;
        // Messages are small and wait for each other: delaying them costs a round trip each.
        connection.set_nodelay(true)?;
        Ok::<_, std::io::Error>(connection)
    });
    let reporting = report_health(context.driver, health, stop.clone());
    Ok(async move {
        let reporting = tokio::spawn(reporting);
        let served = router.serve_with_incoming_shutdown(incoming, stop.cancelled_owned()).await;
        reporting.abort();
        served
    })
}

/// Says `SERVING` while this process leads.
async fn report_health(
    driver: DriverHandle,
    health: tonic_health::server::HealthReporter,
    stop: CancellationToken,
) {
    let mut leading = driver.leading();
    loop {
        let status = match *leading.borrow_and_update() {
            Some(_) => tonic_health::ServingStatus::Serving,
            None => tonic_health::ServingStatus::NotServing,
        };
        for service in ["", "warifu.v1.MapRunService", "warifu.v1.FleetService", "warifu.v1.WorkerService"] {
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
