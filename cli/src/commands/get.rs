//! `warifu get`: one map run, or the job file that would create it again.

use anyhow::Context as _;
use clap::Args;
use warifu_common::wire::codec;
use warifu_common::wire::v1::{GetMapRunRequest, MapRun};

use crate::args::{GlobalArgs, parse_map_run_name};
use crate::client::Client;
use crate::describe;
use crate::exit::Exit;
use crate::output::Output;

/// Arguments of `get`.
#[derive(Debug, Args)]
pub(crate) struct GetArgs {
    /// The run: ID or mapRuns/ID
    #[arg(value_name = "ID", value_parser = parse_map_run_name)]
    name: String,
    /// Print the run's specification as a job file that `submit` takes
    #[arg(long)]
    spec: bool,
}

/// Shows a map run.
pub(crate) async fn get(args: GetArgs, global: &GlobalArgs, output: &Output) -> anyhow::Result<Exit> {
    let client = Client::connect(global).await?;
    let run = fetch(&client, &args.name).await?;
    if args.spec {
        let spec = run.spec.context("the coordinator's answer has no spec")?;
        output.message(&spec, || codec::to_yaml(&spec))?;
    } else {
        output.message(&run, || describe::full(&run))?;
    }
    Ok(Exit::Succeeded)
}

/// Fetches a map run by its resource name.
pub(crate) async fn fetch(client: &Client, name: &str) -> Result<MapRun, tonic::Status> {
    let request = GetMapRunRequest { name: name.to_owned() };
    Ok(client.map_runs().get_map_run(request).await?.into_inner())
}
