//! `warifu delete`: deletes an ended map run's record; its results stay.

use clap::Args;
use warifu_common::wire::v1::DeleteMapRunRequest;

use crate::args::{GlobalArgs, parse_map_run_name};
use crate::client::Client;
use crate::exit::Exit;

/// Arguments of `delete`.
#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    /// The run: ID or mapRuns/ID
    #[arg(value_name = "ID", value_parser = parse_map_run_name)]
    name: String,
}

/// Deletes a map run.
pub(crate) async fn delete(args: DeleteArgs, global: &GlobalArgs) -> anyhow::Result<Exit> {
    let client = Client::connect(global).await?;
    client.map_runs().delete_map_run(DeleteMapRunRequest { name: args.name.clone() }).await?;
    eprintln!("{} is deleted; its results stay", args.name);
    Ok(Exit::Succeeded)
}
