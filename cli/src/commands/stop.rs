//! `warifu stop`: ends a map run as ABORTED.

use clap::Args;
use warifu_common::wire::v1::StopMapRunRequest;

use crate::args::{GlobalArgs, parse_map_run_name};
use crate::client::Client;
use crate::describe;
use crate::exit::Exit;
use crate::output::Output;

/// Arguments of `stop`.
#[derive(Debug, Args)]
pub(crate) struct StopArgs {
    /// The run: ID or mapRuns/ID
    #[arg(value_name = "ID", value_parser = parse_map_run_name)]
    name: String,
    /// Why; becomes part of the run's error
    #[arg(long, value_name = "TEXT", default_value = "")]
    cause: String,
}

/// Stops a map run.
pub(crate) async fn stop(args: StopArgs, global: &GlobalArgs, output: &Output) -> anyhow::Result<Exit> {
    let client = Client::connect(global).await?;
    let request = StopMapRunRequest { name: args.name, cause: args.cause };
    let run = client.map_runs().stop_map_run(request).await?.into_inner();
    output.message(&run, || describe::full(&run))?;
    Ok(Exit::Succeeded)
}
