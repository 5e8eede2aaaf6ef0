//! The process `warifu-worker`: configuration, logs, signals; nothing else.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::info;
use warifu_common::config::Setting;
use warifu_common::model::{Incarnation, WorkerId};
use warifu_common::object_store::{ObjectStores, S3Store};
use warifu_common::telemetry;
use warifu_worker::config::WorkerConfig;
use warifu_worker::{AllowedObjects, StateDir, Worker};

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
    telemetry::set_up(config.settings.telemetry.log_format, telemetry::DEFAULT_FILTER)?;
    let incarnation = Incarnation(rand::random());
    let section = &config.settings.worker;
    let state_dir = section.state_dir.as_deref().map(|path| StateDir::lock(path, incarnation)).transpose()?;
    let dead_incarnation = state_dir.as_ref().and_then(|state_dir| state_dir.dead_incarnation);
    let id = section.id.clone().map_or_else(random_id, Ok)?;
    let store = ObjectStores::s3_only(S3Store::connect(config.s3_settings()).await);
    let store = AllowedObjects::new(Arc::new(store), config.settings.s3.clone());
    let mut worker = Worker::builder(id, Arc::new(store))
        .endpoints(&config.settings.coordinator.endpoints)
        .slots(section.slots)
        .cache_bytes(section.cache_bytes)
        .drain_timeout(section.drain_timeout)
        .incarnation(incarnation, dead_incarnation);
    for (name, handler) in config.handlers {
        worker = worker.handler(name, handler);
    }
    worker.build().run(drain_on_signal()?).await?;
    info!("worker ended");
    Ok(())
}

/// The first SIGTERM or SIGINT drains; a second one ends the process at once.
fn drain_on_signal() -> anyhow::Result<CancellationToken> {
    let drain = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
    let token = drain.clone();
    tokio::spawn(async move {
        for status in [None, Some(130)] {
            // Both arms are cancel-safe.
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            match status {
                None => token.cancel(),
                Some(status) => std::process::exit(status),
            }
        }
    });
    Ok(drain)
}

/// The host's name makes it readable, the number unique.
fn random_id() -> anyhow::Result<WorkerId> {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' };
    let host: String = host.trim().chars().take(64).map(plain).collect();
    let host = if host.is_empty() { "worker".to_owned() } else { host };
    Ok(WorkerId::new(&format!("{host}-{:08x}", rand::random::<u32>()))?)
}
