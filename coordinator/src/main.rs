//! The process `warifu-coordinator`: configuration, logs, wiring, signals; nothing else.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Parser;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use warifu_common::config::{
    CompactionConfig, CoordinatorConfig, EtcdConfig, S3Config, Secret, Setting, StoreConfig,
};
use warifu_common::object_store::{AllowedObjects, ObjectStores, S3Settings, S3Store};
use warifu_common::telemetry::{self, Service, Telemetry};
use warifu_coordinator::state_store::etcd::{Compaction, EtcdSettings, EtcdStore, EtcdTls};
use warifu_coordinator::state_store::{Member, SqliteStore, StateStore};
use warifu_coordinator::{Coordinator, Settings};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Wrong usage or configuration.
const EXIT_INVALID: u8 = 2;

/// Where the AWS SDKs look for a region, in this order.
const REGION_VARIABLES: [&str; 2] = ["AWS_REGION", "AWS_DEFAULT_REGION"];

/// Plans map runs, leases batches to workers, and counts what becomes of them.
#[derive(Debug, Parser)]
#[command(name = "warifu-coordinator", version)]
struct Args {
    /// The configuration file
    #[arg(long, value_name = "FILE", env = "WARIFU_COORDINATOR_CONFIG")]
    config: Option<PathBuf>,
    /// Print the effective configuration without secrets, and end
    #[arg(long)]
    check_config: bool,
    /// Ask the coordinator that runs here with this configuration whether it is ready, and end
    #[arg(long, conflicts_with = "check_config")]
    probe: bool,
    /// Where to listen for gRPC, in place of server.listen
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<String>,
    /// Where to listen for HTTP, in place of server.http_listen
    #[arg(long, value_name = "ADDRESS:PORT")]
    http_listen: Option<String>,
}

impl Args {
    fn settings(&self) -> Vec<Setting> {
        let flags = [
            ("--listen", "server.listen", &self.listen),
            ("--http-listen", "server.http_listen", &self.http_listen),
        ];
        let given = |(flag, key, value): (&str, &str, &Option<String>)| {
            Some(Setting { flag: flag.to_owned(), key: key.to_owned(), value: value.clone()? })
        };
        flags.into_iter().filter_map(given).collect()
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    let config = match CoordinatorConfig::load(args.config.as_deref(), args.settings()) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("warifu-coordinator: {error}");
            return ExitCode::from(EXIT_INVALID);
        }
    };
    if args.check_config {
        print!("{}", config.to_redacted_toml());
        return ExitCode::SUCCESS;
    }
    if args.probe {
        return probe(config.server.http_listen);
    }
    match run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("warifu-coordinator: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn probe(http_listen: SocketAddr) -> ExitCode {
    match warifu_coordinator::probe::readiness(http_listen) {
        Ok(said) => {
            println!("{said}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("warifu-coordinator: {:#}", anyhow::Error::new(error));
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run(config: CoordinatorConfig) -> anyhow::Result<()> {
    let mut telemetry = Telemetry::start(&config.telemetry, telemetry::DEFAULT_FILTER, service(&config))?;
    let ended = Box::pin(serve(&config, &mut telemetry)).await;
    telemetry.shut_down().await;
    ended
}

/// Who this process is to a collector.
fn service(config: &CoordinatorConfig) -> Service {
    Service {
        name: "warifu-coordinator",
        version: env!("CARGO_PKG_VERSION"),
        instance: config.server.advertise.clone(),
    }
}

async fn serve(config: &CoordinatorConfig, telemetry: &mut Telemetry) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let store: Arc<dyn StateStore> = match &config.store {
        StoreConfig::Sqlite { path } => Arc::new(SqliteStore::open_file(path).await?),
        StoreConfig::Etcd(etcd) => Arc::new(EtcdStore::connect(etcd_settings(config, etcd)?)?),
    };
    let objects = ObjectStores::s3_only(S3Store::connect(s3_settings(&config.s3)?).await);
    let objects = AllowedObjects::new(Arc::new(objects), config.s3.clone());
    let listener = bind(config.server.listen).await?;
    let http_listener = bind(config.server.http_listen).await?;
    let mut coordinator = Coordinator::start(
        Settings::secured(config)?,
        store,
        Arc::new(objects),
        listener,
        Some(http_listener),
    )
    .await?;
    telemetry.send_metrics(coordinator.metric_source());
    let (listen, http_listen) = (config.server.listen, config.server.http_listen);
    tracing::info!(%listen, %http_listen, version = env!("CARGO_PKG_VERSION"), "started");
    // Every arm can be dropped without loss.
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        error = coordinator.ended() => return Err(error.into()),
    }
    tracing::info!("stopping");
    Ok(coordinator.shutdown().await?)
}

async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))
}

fn etcd_settings(config: &CoordinatorConfig, etcd: &EtcdConfig) -> anyhow::Result<EtcdSettings> {
    let from_file = |path: &PathBuf| {
        let password = std::fs::read_to_string(path);
        let password =
            password.with_context(|| format!("cannot read store.password_file {}", path.display()))?;
        anyhow::Ok(Secret::new(password.trim_end_matches(['\n', '\r'])))
    };
    let password = match &etcd.password_file {
        Some(path) => Some(from_file(path)?),
        None => etcd.password.clone(),
    };
    Ok(EtcdSettings {
        endpoints: etcd.endpoints.clone(),
        prefix: etcd.prefix.clone(),
        user: etcd.user.clone().zip(password),
        tls: EtcdTls {
            ca_file: etcd.tls.ca_file.clone(),
            identity: etcd.tls.cert_file.clone().zip(etcd.tls.key_file.clone()),
        },
        leader_ttl: config.leases.leader_ttl,
        member: Member {
            endpoint: config.server.advertise.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        },
        compaction: match etcd.compaction {
            CompactionConfig::Own => Compaction::Own,
            CompactionConfig::Server => Compaction::Server,
        },
    })
}

fn s3_settings(config: &S3Config) -> anyhow::Result<S3Settings> {
    let environment = || REGION_VARIABLES.iter().find_map(|variable| std::env::var(variable).ok());
    let settings = S3Settings::configured(config).context("s3.ca_file")?;
    Ok(S3Settings {
        region: config.region.clone().or_else(environment).unwrap_or(settings.region),
        ..settings
    })
}
