//! `warifu drain`: takes a worker out of service.

use std::time::Duration;

use clap::Args;
use warifu_common::wire::v1::DrainWorkerRequest;

use crate::args::{GlobalArgs, parse_duration, parse_worker_name};
use crate::client::Client;
use crate::commands::workers;
use crate::exit::Exit;
use crate::output::Output;

/// Arguments of `drain`.
#[derive(Debug, Args)]
pub(crate) struct DrainArgs {
    /// The worker: ID or workers/ID
    #[arg(value_name = "WORKER", value_parser = parse_worker_name)]
    name: String,
    /// Cancel and return what still runs after this time; absent: the worker's own drain_timeout
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    timeout: Option<Duration>,
}

/// Drains a worker.
pub(crate) async fn drain(args: DrainArgs, global: &GlobalArgs, output: &Output) -> anyhow::Result<Exit> {
    let client = Client::connect(global).await?;
    let timeout = args.timeout.map(prost_types::Duration::try_from).transpose()?;
    let request = DrainWorkerRequest { name: args.name, timeout };
    let worker = client.fleet().drain_worker(request).await?.into_inner();
    output.message(&worker, || workers::table(std::slice::from_ref(&worker)))?;
    Ok(Exit::Succeeded)
}
