//! The `warifu` command: client commands, and coordinator, workers and S3 in one process.
//!
//! Owns the command line, what is printed, and the exit status. It deliberately knows nothing of scheduling or of data
//! formats: in one process, too, it speaks to its coordinator through the public API.
//!
//! Start reading at `args` for the commands, at `commands` for what each does, at `all_in_one` for one process, at `asl` for
//! state machines that become jobs.

mod advice;
mod all_in_one;
mod args;
mod asl;
mod client;
mod commands;
mod data_dir;
mod describe;
pub mod embedded_s3;
mod ending;
mod exit;
mod follow;
mod handlers;
mod interrupts;
mod limited;
mod local_run;
mod local_worker;
mod output;
mod problem;
mod progress;
mod table;
mod text;
mod text_file;
mod worker_process;

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;
use tokio::runtime::{Builder, Runtime};
use warifu_common::config::TelemetryConfig;
use warifu_common::telemetry::{self, Service, Telemetry};

use args::Cli;
use exit::Exit;

/// Threads for blocking work in one process: reads of local files and SQLite. Each costs memory of its own.
const BLOCKING_THREADS: usize = 8;

/// What is logged beside a command's own words: what a person must look at. (The AWS chain warns of every way to find
/// credentials that does not apply here; the error that follows says what counts.)
const QUIET_FILTER: &str = "warn,aws_config=error";

/// Runs the command that the arguments name.
pub fn main() -> ExitCode {
    let exit = execute(Cli::parse());
    exit.unwrap_or_else(|error| {
        let exit = Exit::of_error(&error);
        if exit != Exit::Succeeded {
            eprint!("{}", problem::render(&error));
        }
        exit
    })
    .into()
}

fn execute(cli: Cli) -> anyhow::Result<Exit> {
    runtime(&cli)?.block_on(traced(cli))
}

/// Carries out the command; what it and servers in this process record goes to the collector that the environment names.
async fn traced(cli: Cli) -> anyhow::Result<Exit> {
    let filter = if cli.command.is_server() { telemetry::DEFAULT_FILTER } else { QUIET_FILTER };
    let service = Service {
        name: "warifu",
        version: env!("CARGO_PKG_VERSION"),
        instance: ulid::Ulid::new().to_string().to_lowercase(),
    };
    let telemetry = Telemetry::start(&TelemetryConfig::from_environment()?, filter, service)?;
    let exit = commands::execute(cli).await;
    telemetry.shut_down().await;
    exit
}

/// One thread suffices to ask a coordinator; everything in one process takes them all.
fn runtime(cli: &Cli) -> anyhow::Result<Runtime> {
    let mut builder = if cli.command.is_one_process() {
        Builder::new_multi_thread()
    } else {
        Builder::new_current_thread()
    };
    builder.enable_all().max_blocking_threads(BLOCKING_THREADS).build().context("cannot start threads")
}
