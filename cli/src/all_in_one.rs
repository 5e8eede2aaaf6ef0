//! Coordinator, workers and, where wanted, S3 in this process, on loopback.
//!
//! They are wired as in a cluster: workers and commands reach the coordinator through gRPC. What differs is that files of
//! this machine can be read and written, and that the state lies in SQLite.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use warifu_common::error_chain::Chain;
use warifu_common::object_store::{
    CaCertificates, LocalFiles, ObjectStore as _, ObjectStores, S3Settings, S3Store,
};
use warifu_common::wire::v1::GetClusterRequest;
use warifu_coordinator::state_store::SqliteStore;
use warifu_coordinator::{Coordinator, CoordinatorHandle};

use crate::client::Client;
use crate::data_dir::DataDir;
use crate::embedded_s3::EmbeddedS3;
use crate::handlers::Handlers;
use crate::local_worker::{self, LocalWorker, LocalWorkerSettings};
use crate::problem::Problem;
use crate::text;

/// The access key of the embedded S3. It listens on loopback only, and its data lies open beside it.
const S3_ACCESS_KEY: &str = "warifu";
const S3_SECRET_KEY: &str = "warifu-secret";
/// Where it claims to be.
pub(crate) const S3_REGION: &str = "us-east-1";
/// Buckets that a development server begins with.
pub(crate) const BUCKETS: [&str; 2] = ["input", "output"];

/// How long the start may take; it takes well under a second.
const READY_TIMEOUT: Duration = Duration::from_secs(15);
/// Between two looks whether all are there.
const READY_PAUSE: Duration = Duration::from_millis(2);

/// What runs in the process.
pub(crate) struct Settings {
    /// Ports to listen on; 0: any that is free.
    pub(crate) ports: Ports,
    /// Whether S3 is served.
    pub(crate) s3: bool,
    /// How many workers.
    pub(crate) workers: u32,
    /// Batches that each may run at once.
    pub(crate) slots: u32,
    /// Bytes of a shard.
    pub(crate) shard_bytes: u64,
    /// What workers can do.
    pub(crate) handlers: Handlers,
}

/// Ports on loopback; 0: any that is free.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Ports {
    /// gRPC.
    pub(crate) grpc: u16,
    /// HTTP: metrics and health.
    pub(crate) http: u16,
    /// S3.
    pub(crate) s3: u16,
}

impl Ports {
    /// Three ports in a row; a base of 0 means any that are free.
    pub(crate) fn from_base(base: u16) -> Option<Self> {
        match base {
            0 => Some(Self::default()),
            grpc => Some(Self { grpc, http: grpc.checked_add(1)?, s3: grpc.checked_add(2)? }),
        }
    }
}

/// Everything, running.
pub(crate) struct AllInOne {
    endpoint: String,
    ports: Ports,
    s3: Option<EmbeddedS3>,
    coordinator: CoordinatorHandle,
    workers: JoinSet<anyhow::Result<()>>,
    stop_workers: CancellationToken,
    stop_s3: CancellationToken,
}

impl AllInOne {
    /// Starts S3, the coordinator and the workers, in this order. Returns once the coordinator takes calls.
    pub(crate) async fn start(data_dir: &DataDir, settings: Settings) -> anyhow::Result<Self> {
        let listeners = Listeners::bind(settings.ports).await?;
        let ports = listeners.ports()?;
        let endpoint = format!("http://127.0.0.1:{}", ports.grpc);
        // The store's lock keeps a second process out, so it comes before anything is served from the directory.
        let store = Arc::new(SqliteStore::open(data_dir.path()).await?);
        let stop_s3 = CancellationToken::new();
        let s3 = match settings.s3 {
            true => Some(start_s3(data_dir, listeners.s3, stop_s3.clone()).await?),
            false => None,
        };
        let objects = Arc::new(object_stores(s3.as_ref().map(|s3| s3.endpoint.as_str()))?);
        let config = coordinator_settings(data_dir, settings.shard_bytes);
        let http = Some(listeners.http);
        let coordinator = Coordinator::start(config, store, objects.clone(), listeners.grpc, http).await?;
        let stop_workers = CancellationToken::new();
        let workers = start_workers(data_dir, &endpoint, &settings, &objects, &stop_workers)?;
        let process = Self { endpoint, ports, s3, coordinator, workers, stop_workers, stop_s3 };
        process.wait_for_workers(settings.workers).await?;
        Ok(process)
    }

    /// Waits until the coordinator leads and its workers are there: a run that comes earlier would be warned that
    /// nobody has its handler.
    pub(crate) async fn wait_for_workers(&self, workers: u32) -> anyhow::Result<()> {
        let client = Client::connect_within_process(&self.endpoint).await?;
        let give_up_at = Instant::now() + READY_TIMEOUT;
        loop {
            let problem = match client.fleet().get_cluster(GetClusterRequest {}).await {
                Ok(cluster) if cluster.get_ref().worker_count >= workers => return Ok(()),
                Ok(cluster) => {
                    anyhow::anyhow!("{} of {workers} workers came", cluster.get_ref().worker_count)
                }
                Err(status) => status.into(),
            };
            if Instant::now() >= give_up_at {
                return Err(
                    problem.context(format!("nothing was ready after {}", text::time_span(READY_TIMEOUT)))
                );
            }
            sleep(READY_PAUSE).await;
        }
    }

    /// The coordinator's gRPC endpoint.
    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The ports that everything listens on.
    pub(crate) fn ports(&self) -> Ports {
        self.ports
    }

    /// The embedded S3, if it is served.
    pub(crate) fn s3(&self) -> Option<&EmbeddedS3> {
        self.s3.as_ref()
    }

    /// Stops in the order in which nothing is missed: workers report what they did, the coordinator writes it down,
    /// and S3 goes last.
    pub(crate) async fn shut_down(mut self) {
        self.stop_workers.cancel();
        while let Some(ended) = self.workers.join_next().await {
            if let Err(error) = ended.map_err(anyhow::Error::from).flatten() {
                tracing::warn!(error = format!("{error:#}"), "a worker did not stop cleanly");
            }
        }
        if let Err(error) = self.coordinator.shutdown().await {
            tracing::warn!(error = %Chain(&error), "the coordinator did not stop cleanly");
        }
        self.stop_s3.cancel();
        if let Some(s3) = self.s3
            && let Err(error) = s3.stopped().await
        {
            tracing::warn!(error = format!("{error:#}"), "the embedded S3 did not stop cleanly");
        }
    }
}

fn coordinator_settings(data_dir: &DataDir, shard_bytes: u64) -> warifu_coordinator::Settings {
    let mut settings =
        warifu_coordinator::Settings { shard_bytes, ..warifu_coordinator::Settings::default() };
    settings.scheduler.system_location = (data_dir.system_bucket(), String::new());
    settings
}

/// Starts workers named `worker-1` and on.
fn start_workers(
    data_dir: &DataDir,
    endpoint: &str,
    settings: &Settings,
    objects: &Arc<ObjectStores>,
    stop: &CancellationToken,
) -> anyhow::Result<JoinSet<anyhow::Result<()>>> {
    let mut workers = JoinSet::new();
    for number in 1..=settings.workers {
        let worker = LocalWorker::new(LocalWorkerSettings {
            id: local_worker::id(number),
            data_dir,
            endpoint,
            slots: settings.slots,
            handlers: settings.handlers.clone(),
            objects: objects.clone(),
        })?;
        workers.spawn(worker.run(stop.clone()));
    }
    Ok(workers)
}

/// The stores that this process may use: files of this machine, and the embedded S3 at an endpoint or the one that the
/// environment names.
pub(crate) fn object_stores(embedded_s3: Option<&str>) -> anyhow::Result<ObjectStores> {
    let settings = match embedded_s3 {
        Some(endpoint) => S3Settings {
            region: S3_REGION.to_owned(),
            endpoint_url: Some(endpoint.to_owned()),
            force_path_style: true,
            credentials: Some((S3_ACCESS_KEY.to_owned(), S3_SECRET_KEY.to_owned())),
            ..S3Settings::default()
        },
        None => s3_settings_from_environment()?,
    };
    Ok(ObjectStores::with_local_files(S3Store::on_demand(settings), LocalFiles::new()))
}

/// Region, endpoint and authorities as AWS's own tools take them. Stores that are not AWS want the bucket in the path.
fn s3_settings_from_environment() -> anyhow::Result<S3Settings> {
    let variable = |names: &[&str]| {
        names.iter().filter_map(|name| std::env::var(name).ok()).find(|value| !value.is_empty())
    };
    let endpoint_url = variable(&["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"]);
    let ca_file = variable(&["AWS_CA_BUNDLE"]);
    let ca = ca_file.map(|path| CaCertificates::read(path.as_ref())).transpose().context("AWS_CA_BUNDLE")?;
    let defaults = S3Settings::default();
    Ok(S3Settings {
        region: variable(&["AWS_REGION", "AWS_DEFAULT_REGION"]).unwrap_or(defaults.region.clone()),
        force_path_style: endpoint_url.is_some(),
        endpoint_url,
        ca,
        ..defaults
    })
}

/// Sockets that are bound before anything starts: a port that is taken then costs nothing.
struct Listeners {
    grpc: TcpListener,
    http: TcpListener,
    s3: TcpListener,
}

impl Listeners {
    async fn bind(ports: Ports) -> anyhow::Result<Self> {
        Ok(Self { grpc: bind(ports.grpc).await?, http: bind(ports.http).await?, s3: bind(ports.s3).await? })
    }

    fn ports(&self) -> anyhow::Result<Ports> {
        let port = |listener: &TcpListener| listener.local_addr().map(|address| address.port());
        Ok(Ports { grpc: port(&self.grpc)?, http: port(&self.http)?, s3: port(&self.s3)? })
    }
}

async fn bind(port: u16) -> anyhow::Result<TcpListener> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let bound = TcpListener::bind(address).await.map_err(|error| {
        Problem::new(format!("cannot listen on {address}"))
            .advise("another process may use the port; choose others with --port-base")
            .caused_by(error)
    });
    Ok(bound?)
}

async fn start_s3(
    data_dir: &DataDir,
    listener: TcpListener,
    stop: CancellationToken,
) -> anyhow::Result<EmbeddedS3> {
    let s3 = EmbeddedS3::start(&data_dir.s3_root(), listener, S3_ACCESS_KEY, S3_SECRET_KEY, stop)?;
    let objects = object_stores(Some(&s3.endpoint))?;
    for bucket in BUCKETS {
        objects.ensure_bucket(bucket).await?;
    }
    Ok(s3)
}
