//! The process `warifu-worker`: configuration, logs, signals; nothing else.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::info;
use warifu_common::model::{Incarnation, WorkerId};
use warifu_common::object_store::{ObjectStores, S3Store};
use warifu_worker::config::WorkerConfig;
use warifu_worker::{StateDir, Worker};

/// Wrong usage or configuration.
const EXIT_INVALID: u8 = 2;

/// Runs batches of map runs for a coordinator.
#[derive(Debug, Parser)]
#[command(name = "warifu-worker", version)]
struct Args {
    /// The configuration file
    #[arg(long, value_name = "FILE", default_value = "worker.toml", env = "WARIFU_WORKER_CONFIG")]
    config: PathBuf,
    /// Print the effective configuration without secrets, and end
    #[arg(long)]
    check_config: bool,
    /// A coordinator, in place of the configured ones; may be repeated
    #[arg(long, value_name = "URL")]
    endpoint: Vec<String>,
    /// The worker's id; by default the host's name and a random number
    #[arg(long, value_name = "ID", value_parser = worker_id)]
    id: Option<WorkerId>,
    /// Batches in progress at once
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    slots: Option<u32>,
}

fn worker_id(text: &str) -> Result<WorkerId, String> {
    WorkerId::new(text).map_err(|error| error.to_string())
}

fn main() -> ExitCode {
    let args = Args::parse();
    let config = match WorkerConfig::load(&args.config) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("warifu-worker: {error}");
            return ExitCode::from(EXIT_INVALID);
        }
    };
    if args.check_config {
        print!("{}", config.shown);
        return ExitCode::SUCCESS;
    }
    match run(args, config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("warifu-worker: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run(args: Args, config: WorkerConfig) -> anyhow::Result<()> {
    start_logs(config.json_logs);
    let incarnation = Incarnation(rand::random());
    let state_dir = config.state_dir.as_deref().map(|path| StateDir::lock(path, incarnation)).transpose()?;
    let dead_incarnation = state_dir.as_ref().and_then(|state_dir| state_dir.dead_incarnation);
    let id = match args.id.or(config.id) {
        Some(id) => id,
        None => random_id()?,
    };
    let store = ObjectStores::s3_only(S3Store::connect(config.s3).await);
    let endpoints = if args.endpoint.is_empty() { config.endpoints } else { args.endpoint };
    let mut worker = Worker::builder(id, Arc::new(store))
        .endpoints(endpoints)
        .slots(args.slots.unwrap_or(config.slots))
        .cache_bytes(config.cache_bytes)
        .drain_timeout(config.drain_timeout)
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

fn start_logs(json: bool) {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into());
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if json {
        logs.json().init();
    } else {
        logs.init();
    }
}

/// The host's name makes it readable, the number unique.
fn random_id() -> anyhow::Result<WorkerId> {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' };
    let host: String = host.trim().chars().take(64).map(plain).collect();
    let host = if host.is_empty() { "worker".to_owned() } else { host };
    Ok(WorkerId::new(&format!("{host}-{:08x}", rand::random::<u32>()))?)
}
