//! The process `warifu-worker`: configuration, logs, signals; nothing else.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use tracing::info;
use warifu_common::config::Setting;
use warifu_common::telemetry::{self, Service, Telemetry};
use warifu_worker::config::WorkerConfig;
use warifu_worker::{Worker, WorkerMetrics, termination};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Wrong usage or configuration.
const EXIT_INVALID: u8 = 2;

/// Read where no other file is named, if it is there.
const DEFAULT_CONFIG: &str = "worker.toml";

/// Runs batches of map runs for a coordinator.
#[derive(Debug, Parser)]
#[command(name = "warifu-worker", version)]
struct Args {
    /// The configuration file [default: ./worker.toml, if it is there]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print the effective configuration without secrets, and end
    #[arg(long)]
    check_config: bool,
    /// A coordinator, in place of the configured ones; may be repeated
    #[arg(long, value_name = "URL")]
    endpoint: Vec<String>,
    /// The worker's id; by default the host's name and a random number
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// Batches in progress at once
    #[arg(long, value_name = "NUMBER")]
    slots: Option<u32>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let config = match WorkerConfig::load_with(args.config_file().as_deref(), args.settings()) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("warifu-worker: {error}");
            return ExitCode::from(EXIT_INVALID);
        }
    };
    if args.check_config {
        print!("{}", config.settings.to_redacted_toml());
        return ExitCode::SUCCESS;
    }
    match run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("warifu-worker: {error:#}");
            ExitCode::FAILURE
        }
    }
}

impl Args {
    /// The file that is named; else ./worker.toml if it is there.
    fn config_file(&self) -> Option<PathBuf> {
        let default = PathBuf::from(DEFAULT_CONFIG);
        self.config.clone().or_else(|| default.exists().then_some(default))
    }

    /// Flags that stand over the file and the environment.
    fn settings(&self) -> Vec<Setting> {
        let setting = |flag: &str, key: &str, value: String| Setting {
            flag: flag.to_owned(),
            key: key.to_owned(),
            value,
        };
        let endpoints = (!self.endpoint.is_empty()).then(|| self.endpoint.join(","));
        let endpoints = endpoints.map(|endpoints| setting("--endpoint", "coordinator.endpoints", endpoints));
        let id = self.id.as_ref().map(|id| setting("--id", "worker.id", id.clone()));
        let slots = self.slots.map(|slots| setting("--slots", "worker.slots", slots.to_string()));
        endpoints.into_iter().chain(id).chain(slots).collect()
    }
}

#[tokio::main]
async fn run(config: WorkerConfig) -> anyhow::Result<()> {
    let service = Service {
        name: "warifu-worker",
        version: env!("CARGO_PKG_VERSION"),
        instance: config.settings.worker.id.as_ref().map_or_else(instance, ToString::to_string),
    };
    let mut telemetry = Telemetry::start(&config.settings.telemetry, telemetry::DEFAULT_FILTER, service)?;
    let metrics = Arc::new(WorkerMetrics::new(config.handlers.keys(), config.settings.worker.slots));
    telemetry.send_metrics(metrics.source());
    let ended = Box::pin(work(config, metrics)).await;
    telemetry.shut_down().await;
    ended
}

/// What stands for a worker's ID where none is configured.
fn instance() -> String {
    format!("{:016x}", rand::random::<u64>())
}

async fn work(config: WorkerConfig, metrics: Arc<WorkerMetrics>) -> anyhow::Result<()> {
    let mut worker = Worker::builder().settings(config.settings).metrics(metrics);
    for (name, handler) in config.handlers {
        worker = worker.handler(name, handler);
    }
    worker.run_until(termination()?).await?;
    info!("worker ended");
    Ok(())
}
