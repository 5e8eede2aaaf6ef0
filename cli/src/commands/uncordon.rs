//! `warifu uncordon`: lets a draining worker take work again.

use clap::Args;
use warifu_common::wire::v1::UncordonWorkerRequest;

use crate::args::{GlobalArgs, parse_worker_name};
use crate::client::Client;
use crate::commands::workers;
use crate::exit::Exit;
use crate::output::Output;

/// Arguments of `uncordon`.
#[derive(Debug, Args)]
pub(crate) struct UncordonArgs {
    /// The worker: ID or workers/ID
    #[arg(value_name = "WORKER", value_parser = parse_worker_name)]
    name: String,
}

/// Uncordons a worker.
pub(crate) async fn uncordon(
    args: UncordonArgs,
    global: &GlobalArgs,
    output: &Output,
) -> anyhow::Result<Exit> {
    let client = Client::connect(global).await?;
    let worker =
        client.fleet().uncordon_worker(UncordonWorkerRequest { name: args.name }).await?.into_inner();
    output.message(&worker, || workers::table(std::slice::from_ref(&worker)))?;
    Ok(Exit::Succeeded)
}
